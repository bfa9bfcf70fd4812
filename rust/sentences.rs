//! Sentences, lines and blocks of a canonical text: the units that answers are made of and proved by.
//!
//! A line break of a canonical text always ends a unit, because every block and every item of a list stands on lines of its
//! own; within a line the usual marks end a sentence. So a unit never crosses two slices of a chunk, and each has exactly one
//! span in its document. Rules rather than a model: a wrong cut costs a sentence that is a little long, and never a wrong
//! quotation.

use std::ops::Range;

/// What stands before a full stop that ends no sentence.
const ABBREVIATIONS: &[&str] = &[
    "approx", "ca", "cf", "dept", "dr", "eg", "e.g", "est", "etc", "ex", "fig", "hr", "hrs", "i.e", "ie", "incl",
    "inc", "jr", "ltd", "max", "min", "mr", "mrs", "ms", "mt", "nr", "no", "nos", "p", "pp", "resp", "sr", "st", "vs",
    "bzw", "d.h", "evtl", "ggf", "inkl", "u.a", "usw", "vgl", "z.b", "p.ex", "m", "p.ej",
];

/// The zeros of the scripts in use, each followed by its other digits.
const ZEROS: &[u32] = &[
    0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50, 0xED0, 0xF20,
    0x1040, 0x1090, 0x17E0, 0x1810, 0xFF10,
];

/// The sentences of `text`, in order, in bytes, without the white space around them.
#[must_use]
pub fn units(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for line in text_lines(text, 0..text.len()) {
        sentences(text, line, &mut found);
    }
    found
}

/// The lines of `text` that are not blank, in bytes, without the white space around them.
#[must_use]
pub fn lines(text: &str) -> Vec<Range<usize>> {
    text_lines(text, 0..text.len()).filter_map(|line| trimmed(text, line)).collect()
}

/// The paragraphs, lists, tables and code of `text`, in order, in bytes, without the white space around them.
///
/// Blank lines separate them; a list also begins and ends where its lines stand directly among others.
#[must_use]
pub fn blocks(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let (mut start, mut at) = (0, 0);
    while let Some(end) = position(text, at, '\n') {
        at = end + 1;
        let blank = skip(text, at..text.len(), |character| character != '\n' && is_space(character));
        if text.get(blank..).is_some_and(|rest| rest.starts_with('\n')) {
            lists_apart(text, start..end, &mut found);
            at = skip(text, blank..text.len(), is_space);
            start = at;
        }
    }
    lists_apart(text, start..text.len(), &mut found);
    found
}

/// The number of words of `text`; in scripts without spaces two characters count as one word.
#[must_use]
pub fn word_count(text: &str) -> usize {
    let unspaced = |character: char| {
        matches!(character,
            '\u{3040}'..='\u{30FF}' | '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' | '\u{F900}'..='\u{FAFF}'
            | '\u{0E00}'..='\u{0E7F}')
    };
    let spaced = text.split(|character| is_space(character) || unspaced(character)).filter(|word| !word.is_empty());
    spaced.count() + text.chars().filter(|&character| unspaced(character)).count().div_ceil(2)
}

/// The sentence that most of a run of `text` lies in, the first of equals; the run where there is none.
#[must_use]
pub fn around(text: &str, run: Range<usize>) -> Range<usize> {
    let before = text.get(..run.start).and_then(|before| before.rfind('\n')).map_or(0, |line| line + 1);
    let after = position(text, run.end, '\n').unwrap_or(text.len());
    let mut found = Vec::new();
    for line in text_lines(text, before..after) {
        sentences(text, line, &mut found);
    }
    let shared = |unit: &Range<usize>| unit.end.min(run.end) as isize - unit.start.max(run.start) as isize;
    found.into_iter().rev().max_by_key(shared).unwrap_or(run)
}

/// Whether white space separates words there, as Python has it: with the separators of files, groups, records and units.
pub(crate) fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1C}'..='\u{1F}').contains(&character)
}

/// Whether a character is a decimal digit, of any script in use; a superscript, a fraction or a number in a circle is none.
pub(crate) fn is_digit(character: char) -> bool {
    let of = |zero: &u32| (*zero..zero + 10).contains(&u32::from(character));
    character.is_ascii_digit() || character > '\u{65F}' && ZEROS.iter().any(of)
}

fn position(text: &str, from: usize, character: char) -> Option<usize> {
    text.get(from..)?.find(character).map(|at| from + at)
}

/// Where the characters of a range end that are all `alike`.
fn skip(text: &str, range: Range<usize>, alike: impl Fn(char) -> bool) -> usize {
    let piece = text.get(range.clone()).unwrap_or_default();
    piece.find(|character| !alike(character)).map_or(range.end, |length| range.start + length)
}

fn trimmed(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let start = skip(text, range.clone(), is_space);
    let kept = text.get(start..range.end)?.trim_end_matches(is_space);
    (!kept.is_empty()).then(|| start..start + kept.len())
}

/// The lines within a range that have a character, without their breaks.
fn text_lines(text: &str, range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut at = range.start;
    text.get(range).unwrap_or_default().split('\n').filter_map(move |line| {
        let start = at;
        at += line.len() + 1;
        (!line.is_empty()).then(|| start..start + line.len())
    })
}

/// Where the text of an item begins, of a line that begins as one of a list does: with `1.`, `a)`, `-` and the like.
fn item(text: &str, line: &Range<usize>) -> Option<usize> {
    let start = skip(text, line.clone(), is_space);
    let rest = text.get(start..line.end)?;
    let text_of = rest.strip_prefix(['-', '*', '•']).or_else(|| after_number(rest))?;
    let marked = start + rest.len() - text_of.len();
    let after = skip(text, marked..line.end, is_space);
    (after > marked).then_some(after)
}

/// What follows the number of an item: up to three digits or a small letter, and a full stop or bracket.
pub(crate) fn after_number(rest: &str) -> Option<&str> {
    let counted = rest.trim_start_matches(is_digit);
    let digits = rest.get(..rest.len() - counted.len())?.chars().count();
    let after = if digits == 0 { rest.strip_prefix(|first: char| first.is_ascii_lowercase())? } else { counted };
    after.strip_prefix(['.', ')']).filter(|_| digits <= 3)
}

fn sentences(text: &str, line: Range<usize>, found: &mut Vec<Range<usize>>) {
    let mut begin = line.start;
    let mut at = item(text, &line).unwrap_or(line.start);
    while let Some(mark) = next_mark(text, at..line.end) {
        at = mark.end;
        if ends_sentence(text, begin, &mark, line.end) {
            found.extend(trimmed(text, begin..mark.end));
            begin = mark.end;
        }
    }
    found.extend(trimmed(text, begin..line.end));
}

/// The next marks that may end a sentence, with the quotation marks and brackets that are closed there.
fn next_mark(text: &str, range: Range<usize>) -> Option<Range<usize>> {
    let ends = |character| matches!(character, '.' | '!' | '?' | '…');
    let wide = |character| matches!(character, '。' | '！' | '？');
    let mut at = range.start;
    loop {
        let start = at + text.get(at..range.end)?.find(|character| ends(character) || wide(character))?;
        if text.get(start..).is_some_and(|rest| rest.starts_with(wide)) {
            let marks = skip(text, start..range.end, wide);
            let closed = |character| matches!(character, '”' | '’' | '」' | '』' | '）');
            return Some(start..skip(text, marks..range.end, closed));
        }
        at = skip(text, start..range.end, ends);
        let closed = |character| matches!(character, '"' | '\'' | '”' | '’' | '»' | ')' | ']');
        let end = skip(text, at..range.end, closed);
        if text.get(end..range.end)?.starts_with(is_space) {
            return Some(start..end);
        }
    }
}

/// Whether marks end the sentence that begins at `begin`: not before a small letter, nor behind an abbreviation or an initial.
fn ends_sentence(text: &str, begin: usize, mark: &Range<usize>, end: usize) -> bool {
    let next = text.get(mark.end..end).and_then(|rest| rest.trim_start_matches(is_space).chars().next());
    if next.is_some_and(char::is_lowercase) {
        return false;
    }
    if !text.get(mark.start..).is_some_and(|rest| rest.starts_with('.')) {
        return true;
    }
    let before = text.get(begin..mark.start).unwrap_or_default().trim_end_matches(is_space);
    let word = before.rsplit(is_space).next().unwrap_or_default();
    let word = word.trim_start_matches(['(', '[', '"', '\'', '“', '‘', '«']).to_lowercase();
    let mut characters = word.chars();
    let initial = characters.next().is_some_and(char::is_alphabetic) && characters.next().is_none();
    !initial && !ABBREVIATIONS.contains(&word.as_str())
}

fn lists_apart(text: &str, range: Range<usize>, found: &mut Vec<Range<usize>>) {
    let mut inside = None;
    let mut begin = range.start;
    for line in text_lines(text, range.clone()) {
        let first = text.get(line.clone()).and_then(|line| line.chars().next()).unwrap_or_default();
        let is_item = item(text, &line).is_some();
        let goes_on = is_space(first) || inside == Some(true) && first.is_lowercase();
        if inside.is_some_and(|inside| inside != is_item) && !goes_on {
            found.extend(trimmed(text, begin..line.start));
            begin = line.start;
        }
        if !goes_on || inside.is_none() {
            inside = Some(is_item);
        }
    }
    found.extend(trimmed(text, begin..range.end));
}

#[cfg(test)]
mod tests;
