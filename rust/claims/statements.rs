//! What of a draft states something: its claims.

use std::ops::Range;

use crate::sentences::{self, is_digit, is_space};

/// What numbers a part of the answer, and nothing of the product: `Step 2:`.
const LABELS: &[&str] = &[
    "step", "option", "example", "schritt", "beispiel", "étape", "exemple", "paso", "ejemplo", "passo", "esempio",
    "stap", "krok",
];

/// Fewer words than these, without a figure, are a heading or a name.
const FEWEST_WORDS: usize = 3;

/// A sentence of a draft, or a row of a table, that can be true or false of a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Where it lies, in bytes, without what numbers it.
    pub range: Range<usize>,
    /// The number of its paragraph or list.
    pub block: usize,
    /// Whether it has a figure, other than its number in a list.
    pub figure: bool,
}

/// The statements of a draft: no questions, headings or lines that lead to a list, unless they have a figure, and no header of a table.
#[must_use]
pub fn statements(draft: &str) -> Vec<Statement> {
    let mut found: Vec<Statement> = Vec::new();
    for (block, range) in sentences::blocks(draft).into_iter().enumerate() {
        let text = draft.get(range.clone()).unwrap_or_default();
        for unit in sentences::units(text) {
            let sentence = text.get(unit.clone()).unwrap_or_default();
            if sentence.starts_with('|') && sentence.trim_matches(['|', '-', ':', ' ', '\t']).is_empty() {
                // The row above it is a table's header.
                found.pop_if(|above| above.block == block);
                continue;
            }
            let label = label(sentence);
            let end = if sentence.ends_with('|') {
                sentence.trim_end_matches(['|', ' ', '\t']).len()
            } else {
                sentence.len()
            };
            let stated = sentence.get(label..end).unwrap_or_default();
            let bare = without_number(stated);
            if states(stated, bare) {
                let start = range.start + unit.start + label;
                let figure = bare.contains(is_digit);
                found.push(Statement { range: start..start + stated.len(), block, figure });
            }
        }
    }
    found
}

/// The length of what numbers a part of the answer at a sentence's beginning.
fn label(sentence: &str) -> usize {
    let rest = sentence.trim_start_matches(|character| matches!(character, '#' | '*') || is_space(character));
    let word = rest.split(|character: char| !character.is_alphabetic()).next().unwrap_or_default();
    if !LABELS.contains(&word.to_lowercase().as_str()) {
        return 0;
    }
    let after = rest.get(word.len()..).unwrap_or_default();
    let number = after.trim_start_matches(is_space);
    let rest = number.trim_start_matches(is_digit);
    let digits = number.get(..number.len() - rest.len()).map_or(0, |digits| digits.chars().count());
    let goes_on = rest.starts_with(|character: char| character.is_alphanumeric() || character == '_');
    if number.len() == after.len() || !(1..=2).contains(&digits) || goes_on {
        return 0;
    }
    let marks = |character| matches!(character, '*' | ':' | '.' | ')' | '\u{2013}' | '-') || is_space(character);
    sentence.len() - rest.trim_start_matches(marks).len()
}

/// A sentence without the number or mark of a list, a heading or a quotation.
fn without_number(sentence: &str) -> &str {
    let rest = sentence.trim_start_matches(is_space);
    let marks = rest.trim_start_matches(['-', '*', '•', '#', '>']);
    let text = if marks.len() < rest.len() { Some(marks) } else { sentences::after_number(rest) };
    text.map_or(sentence, |text| text.trim_start_matches(is_space))
}

fn states(sentence: &str, bare: &str) -> bool {
    let bare = bare.trim_matches([' ', '*', '_', '`']);
    if bare.ends_with(['?', '？']) {
        return false;
    }
    if bare.contains(is_digit) {
        return bare.contains(char::is_alphabetic);
    }
    !bare.ends_with([':', '：']) && !sentence.starts_with('#') && sentences::word_count(bare) >= FEWEST_WORDS
}
