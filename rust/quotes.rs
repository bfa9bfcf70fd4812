//! Find a quote in a text after folding; the source's own characters come back.
//!
//! A model that quotes rarely keeps the source's typography, and always claims its words. So quote and text are folded alike
//! before they are compared, in what a reader does not see or does not mind:
//!
//! * NFKC (Unicode Annex 15);
//! * any run of white space is one space, and none at the ends;
//! * single and double quotation marks, primes, hyphens and dashes of all kinds are `'`, `"` and `-`;
//! * soft hyphens, zero-width characters, marks of direction and variation selectors are nothing;
//! * the case, where the caller asks for it.
//!
//! Then every character must be equal, and a quote begins and ends where words do: `12` is not in `12.50`, nor `form` in
//! `performed`. What is returned is a range of the text as it was given, and time is linear in both. Where a quote is not
//! found, [`closest`] returns the run that shares most of its words, for a caller who wants to say what the source does say.

use std::borrow::Cow;
use std::ops::Range;

use rustc_hash::FxHashMap;
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_segmentation::UnicodeSegmentation;

use crate::analysis::is_unspaced;

/// Quotes of more words have no [`closest`] run.
pub const MAX_CLOSEST_WORDS: usize = 1000;

/// Whether capital and small letters are told apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Case {
    /// They are.
    #[default]
    Kept,
    /// They are not.
    Ignored,
}

/// A run of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where it lies, in bytes.
    pub bytes: Range<usize>,
    /// Where it lies, in Unicode code points.
    pub characters: Range<usize>,
}

impl Run {
    fn of(text: &str, bytes: Range<usize>) -> Option<Self> {
        let start = text.get(..bytes.start)?.chars().count();
        let length = text.get(bytes.clone())?.chars().count();
        Some(Self { bytes, characters: start..start + length })
    }
}

/// A run of a text that resembles a quote.
#[derive(Clone, Debug, PartialEq)]
pub struct Closest {
    /// The run, from its first to its last shared word.
    pub run: Run,
    /// `2 m / (q + r)` with m words of the quote found in order among the r words of the run, q words in the quote (Dice): from
    /// 0 to 1. 1 means the same words in the same order; punctuation and case may still differ.
    pub similarity: f32,
}

/// The first place in `text` that is `quote` after folding both.
#[must_use]
pub fn find(quote: &str, text: &str, case: Case) -> Option<Run> {
    find_folded(&Folded::new(quote, case).text, text, case)
}

fn find_folded(quote: &str, text: &str, case: Case) -> Option<Run> {
    if quote.is_empty() {
        return None;
    }
    let folded = Folded::new(text, case);
    let first = folded.text.find(quote)?;
    let start = if folded.may_begin_and_end(first, first + quote.len()) {
        first
    } else {
        let rest = folded.text.as_bytes().get(first..)?;
        first
            + occurrences(quote.as_bytes(), rest)
                .find(|start| folded.may_begin_and_end(first + start, first + start + quote.len()))?
    };
    Run::of(text, folded.source(start..start + quote.len())?)
}

/// The run of `text` most like `quote`, whatever the case.
///
/// A run counts 4 for each word of the quote it has in order and loses 1 for each of its words; the best run, the first of
/// equals, is looked for around the place where as many words as the quote has share most with it (their order apart), so
/// that time is linear in the text and quadratic only in the quote.
///
/// `None` when no word is shared, or the quote has more than [`MAX_CLOSEST_WORDS`].
#[must_use]
pub fn closest(quote: &str, text: &str) -> Option<Closest> {
    closest_of(&Quoted::new(&Folded::new(quote, Case::Ignored).text)?, text)
}

fn closest_of(quote: &Quoted<'_>, text: &str) -> Option<Closest> {
    let folded = Folded::new(text, Case::Ignored);
    let words = words(&folded.text);
    let numbers: Vec<u32> =
        words.iter().map(|range| folded.text.get(range.clone()).map_or(ELSEWHERE, |word| quote.number(word))).collect();
    let window = densest(quote, &numbers)?;
    let length = quote.words.len();
    let around = window.saturating_sub(length)..numbers.len().min(window + 2 * length);
    let aligned = align(&quote.words, numbers.get(around.clone())?)?;
    let first = words.get(around.start + aligned.first)?;
    let last = words.get(around.start + aligned.last)?;
    let similarity = (2 * aligned.shared) as f32 / (length + aligned.last + 1 - aligned.first) as f32;
    Some(Closest { run: Run::of(text, folded.source(first.start..last.end)?)?, similarity })
}

/// A text after folding, and where each of its bytes came from.
struct Folded<'a> {
    text: String,
    origin: Origin<'a>,
    case: Case,
}

/// For each byte of a folded text, the range of the source that it was folded from.
struct Origin<'a> {
    source: &'a str,
    starts: Vec<u32>,
    ends: Vec<u32>,
}

impl<'a> Folded<'a> {
    fn new(source: &'a str, case: Case) -> Self {
        let (starts, ends) = (Vec::with_capacity(source.len()), Vec::with_capacity(source.len()));
        let origin = Origin { source, starts, ends };
        let mut folded = Self { text: String::with_capacity(source.len()), origin, case };
        let mut space: Option<Range<usize>> = None;
        for (range, cluster) in clusters(source) {
            for character in cluster {
                if character.is_whitespace() {
                    space = Some(space.map_or(range.start, |space| space.start)..range.end);
                } else {
                    if let Some(space) = space.take().filter(|_| !folded.text.is_empty()) {
                        folded.push(' ', &space);
                    }
                    folded.push(character, &range);
                }
            }
        }
        folded
    }

    fn push(&mut self, character: char, range: &Range<usize>) {
        match self.case {
            Case::Kept => self.text.push(character),
            Case::Ignored if character.is_ascii() => self.text.push(character.to_ascii_lowercase()),
            Case::Ignored => {
                self.text.extend(character.to_lowercase().map(|lower| if lower == 'ς' { 'σ' } else { lower }));
            }
        }
        self.origin.starts.resize(self.text.len(), range.start as u32);
        self.origin.ends.resize(self.text.len(), range.end as u32);
    }

    /// Whether a quote may lie there: both ends are between words and between characters of the source.
    fn may_begin_and_end(&self, start: usize, end: usize) -> bool {
        let between_characters = |at: usize| {
            let starts = &self.origin.starts;
            at == 0 || starts.get(at).is_none_or(|start| starts.get(at - 1) != Some(start))
        };
        [start, end].into_iter().all(|at| between_characters(at) && between_words(&self.text, at))
    }

    fn source(&self, folded: Range<usize>) -> Option<Range<usize>> {
        let (start, end) = (*self.origin.starts.get(folded.start)?, *self.origin.ends.get(folded.end.checked_sub(1)?)?);
        (end as usize <= self.origin.source.len()).then_some(start as usize..end as usize)
    }
}

/// The folded characters of a piece of the source.
enum Cluster {
    One(std::option::IntoIter<char>),
    Many(std::vec::IntoIter<char>),
}

impl Iterator for Cluster {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        match self {
            Self::One(character) => character.next(),
            Self::Many(characters) => characters.next(),
        }
    }
}

/// The pieces of a source that normalise independently of one another, and what each is folded to.
///
/// A character is a piece of its own where what follows cannot compose with it; otherwise a grapheme cluster is.
fn clusters(source: &str) -> impl Iterator<Item = (Range<usize>, Cluster)> {
    let mut rest = source;
    std::iter::from_fn(move || {
        let mut characters = rest.chars();
        let (first, next) = (characters.next()?, characters.next());
        let start = source.len() - rest.len();
        let alone = next.is_none_or(|next| next.is_ascii() || first.is_ascii() && !is_combining_mark(next));
        let length = if alone { first.len_utf8() } else { rest.graphemes(true).next()?.len() };
        let (piece, others) = rest.split_at_checked(length)?;
        rest = others;
        let folded = match plain(first) {
            None if alone => Cluster::One(None.into_iter()),
            Some(ascii) if alone && ascii.is_ascii() => Cluster::One(Some(ascii).into_iter()),
            _ => {
                Cluster::Many(piece.chars().filter_map(plain).nfkc().filter_map(plain).collect::<Vec<_>>().into_iter())
            }
        };
        Some((start..start + length, folded))
    })
}

/// A character without its typography; nothing for one that cannot be seen.
fn plain(character: char) -> Option<char> {
    Some(match character {
        '\u{00AD}'
        | '\u{034F}'
        | '\u{061C}'
        | '\u{180E}'
        | '\u{200B}'..='\u{200F}'
        | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{2064}'
        | '\u{2066}'..='\u{2069}'
        | '\u{FE00}'..='\u{FE0F}'
        | '\u{FEFF}' => return None,
        '\u{2018}'..='\u{201B}'
        | '\u{2032}'
        | '\u{2035}'
        | '\u{2039}'
        | '\u{203A}'
        | '\u{00B4}'
        | '\u{02B9}'
        | '\u{02BC}' => '\'',
        '\u{201C}'..='\u{201F}' | '\u{2033}' | '\u{2036}' | '\u{00AB}' | '\u{00BB}' | '\u{301D}'..='\u{301F}' => '"',
        '\u{2010}'..='\u{2015}' | '\u{2043}' | '\u{2212}' | '\u{FE58}' | '\u{FE63}' | '\u{FF0D}' => '-',
        other => other,
    })
}

/// Whether a quote may begin or end at byte `at`: roughly the word boundaries of Unicode Annex 29, but for hyphens.
fn between_words(text: &str, at: usize) -> bool {
    let Some((before, after)) = text.split_at_checked(at) else { return false };
    let (mut before, mut after) = (before.chars().rev(), after.chars());
    let (Some(last), Some(next)) = (before.next(), after.next()) else { return true };
    let joined = |left: Option<char>, joint: char, right: Option<char>| match (left, right) {
        (Some(left), Some(right)) => match joint {
            '\'' | '.' => is_letter(left) && is_letter(right),
            ',' | ':' => left.is_numeric() && right.is_numeric(),
            _ => false,
        },
        _ => false,
    };
    !(is_letter(last) && is_letter(next)
        || joined(Some(last), next, after.next())
        || joined(before.next(), last, Some(next)))
}

/// Whether a character makes one word with its like: a letter, digit, mark or underscore of a script that puts spaces between
/// words.
fn is_letter(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_alphanumeric() || character == '_';
    }
    (character.is_alphanumeric() || is_combining_mark(character)) && !is_unspaced(character)
}

/// Every place where `needle` begins in `text`, overlapping ones too, in linear time (Knuth, Morris & Pratt 1977).
fn occurrences(needle: &[u8], text: &[u8]) -> impl Iterator<Item = usize> {
    let mut borders = vec![0; needle.len() + 1];
    let mut length = 0;
    for (index, byte) in needle.iter().enumerate().skip(1) {
        while length > 0 && needle[length] != *byte {
            length = borders[length];
        }
        length += usize::from(needle[length] == *byte);
        borders[index + 1] = length;
    }
    let mut matched = 0;
    text.iter().enumerate().filter_map(move |(index, byte)| {
        while matched > 0 && needle.get(matched) != Some(byte) {
            matched = borders[matched];
        }
        matched += usize::from(needle.get(matched) == Some(byte));
        (matched == needle.len()).then(|| index + 1 - matched)
    })
}

/// The number of words that are not in the quote.
const ELSEWHERE: u32 = u32::MAX;

/// A quote as numbered words.
struct Quoted<'a> {
    numbers: FxHashMap<&'a str, u32>,
    words: Vec<u32>,
}

impl<'a> Quoted<'a> {
    fn new(folded: &'a str) -> Option<Self> {
        let mut numbers = FxHashMap::default();
        let mut numbered = Vec::new();
        for word in words(folded) {
            let next = numbers.len() as u32;
            numbered.push(*numbers.entry(folded.get(word)?).or_insert(next));
        }
        (1..=MAX_CLOSEST_WORDS).contains(&numbered.len()).then_some(Self { numbers, words: numbered })
    }

    fn number(&self, word: &str) -> u32 {
        self.numbers.get(word).copied().unwrap_or(ELSEWHERE)
    }
}

/// The words of a folded text; a character of a script without spaces is one.
fn words(text: &str) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start: Option<usize> = None;
    let mut after_letter = false;
    for (at, character) in text.char_indices() {
        let within = after_letter && is_letter(character);
        after_letter = is_letter(character);
        if let Some(begun) = start
            && !within
            && between_words(text, at)
        {
            words.push(begun..at);
            start = None;
        }
        if start.is_none() && (is_letter(character) || is_unspaced(character) && character.is_alphanumeric()) {
            start = Some(at);
        }
    }
    words.extend(start.map(|begun| begun..text.len()));
    words
}

/// Where the window of as many words as the quote has begins that shares most words with it, the first of equals.
fn densest(quote: &Quoted<'_>, text: &[u32]) -> Option<usize> {
    let mut missing = vec![0i64; quote.numbers.len()];
    for &word in &quote.words {
        missing[word as usize] += 1;
    }
    let (mut shared, mut best) = (0usize, (0usize, 0usize));
    for (index, &word) in text.iter().enumerate() {
        if let Some(missing) = missing.get_mut(word as usize) {
            shared += usize::from(*missing > 0);
            *missing -= 1;
        }
        if let Some(&gone) = index.checked_sub(quote.words.len()).and_then(|index| text.get(index))
            && let Some(missing) = missing.get_mut(gone as usize)
        {
            *missing += 1;
            shared -= usize::from(*missing > 0);
        }
        if shared > best.0 {
            best = (shared, (index + 1).saturating_sub(quote.words.len()));
        }
    }
    (best.0 > 0).then_some(best.1)
}

/// A run of words and how many of them are the quote's.
#[derive(Clone, Copy)]
struct Aligned {
    score: i64,
    first: usize,
    last: usize,
    shared: usize,
}

/// The run of `text` that counts most: 4 for each word of `quote` in order, less 1 for each of its own words.
fn align(quote: &[u32], text: &[u32]) -> Option<Aligned> {
    let nothing = Aligned { score: i64::MIN / 2, first: 0, last: 0, shared: 0 };
    // Of all runs that end at the word before: the best that uses the quote's first `index` words.
    let mut before = vec![nothing; quote.len() + 1];
    let mut best: Option<Aligned> = None;
    for (position, word) in text.iter().enumerate() {
        let mut diagonal = before[0];
        for (index, wanted) in quote.iter().enumerate() {
            let (matched, here) = (diagonal, before[index + 1]);
            diagonal = here;
            let mut cell = Aligned { score: here.score - 1, last: position, ..here };
            if word == wanted {
                let begun =
                    if matched.score > 0 { matched } else { Aligned { score: 0, first: position, last: 0, shared: 0 } };
                let taken = Aligned { score: begun.score + 3, last: position, shared: begun.shared + 1, ..begun };
                if taken.score >= cell.score {
                    cell = taken;
                }
                if best.is_none_or(|best| taken.score > best.score) {
                    best = Some(taken);
                }
            }
            if before[index].score > cell.score {
                cell = before[index];
            }
            before[index + 1] = cell;
        }
    }
    best
}

/// The text after folding, as it is compared: for tests and for showing why a quote was not found.
#[must_use]
pub fn folded(text: &str, case: Case) -> Cow<'static, str> {
    Cow::Owned(Folded::new(text, case).text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found<'a>(quote: &str, text: &'a str) -> Option<&'a str> {
        let run = find(quote, text, Case::Kept)?;
        assert_eq!(
            text.chars().skip(run.characters.start).take(run.characters.len()).collect::<String>(),
            text[run.bytes.clone()]
        );
        Some(&text[run.bytes])
    }

    #[test]
    fn typography_is_folded_and_the_source_comes_back() {
        let text = "Click\u{a0}“Add\u{200b} new”…  It’s\nthe co\u{ad}lour — ﬁnally, cafe\u{301} №\u{a0}5 ½.";
        for (quote, expected) in [
            ("Click \"Add new\"", "Click\u{a0}“Add\u{200b} new”"),
            ("\"Add new\"... It's the colour", "“Add\u{200b} new”…  It’s\nthe co\u{ad}lour"),
            ("  colour - finally ", "co\u{ad}lour — ﬁnally"),
            ("colour – ﬁnally, café", "co\u{ad}lour — ﬁnally, cafe\u{301}"),
            ("No 5", "№\u{a0}5"),
            ("\u{feff}½.", "½."),
        ] {
            assert_eq!(found(quote, text), Some(expected), "{quote}");
        }
    }

    #[test]
    fn quotes_are_of_whole_words() {
        let text = "It performed 12.50, 1,000 at 10:30 in time-off; don't go to example.com. Änderung e\u{301}tude";
        for quote in [
            "form",
            "12",
            "50",
            "1",
            "000",
            "10",
            "don",
            "don'",
            "t go",
            "com",
            "nderung",
            "Ä nderung",
            "tude",
            "exampl",
            "",
        ] {
            assert_eq!(found(quote, text), None, "{quote}");
        }
        for quote in [
            "performed",
            "12.50",
            "1,000 at 10:30",
            "time",
            "off",
            "time-off; don't",
            "example.com",
            "go",
            "Änderung étude",
        ] {
            assert!(found(quote, text).is_some(), "{quote}");
        }
        assert_eq!(found("ein", "einein eine ein").unwrap(), "ein");
        assert_eq!(found("ab ab", "ab abab ab ab"), Some("ab ab"));
        assert_eq!(find("ab ab", "ab abab ab ab", Case::Kept).unwrap().bytes, 8..13);
        assert_eq!(found("wait..", "wait…"), None);
        assert_eq!(found("设置时间", "请设置时间。"), Some("设置时间"));
    }

    #[test]
    fn the_case_counts_unless_it_is_ignored() {
        assert_eq!(find("time tracker", "the Time Tracker page", Case::Kept), None);
        assert_eq!(find("TIME tracker", "the Time Tracker page", Case::Ignored).unwrap().bytes, 4..16);
        assert_eq!(find("ΟΔΟΣ", "η οδος", Case::Ignored).unwrap().characters, 2..6);
        assert_eq!(find("istanbul", "İSTANBUL", Case::Ignored), None);
    }

    #[test]
    fn an_altered_quote_has_its_closest_run() {
        let text = "First open the page. Then click Settings, and choose the workspace you want to delete. It cannot be undone.";
        let closest = closest("Click settings and choose a workspace you wish to delete", text).unwrap();
        assert_eq!(&text[closest.run.bytes], "click Settings, and choose the workspace you want to delete");
        assert!((closest.similarity - 0.8).abs() < 1e-6, "{}", closest.similarity);
        assert_eq!(super::closest("entirely other words", text), None);
        assert_eq!(super::closest("…", text), None);
        let whole = super::closest("THE PAGE then", text).unwrap();
        assert_eq!((&text[whole.run.bytes], whole.similarity.to_bits()), ("the page. Then", 1f32.to_bits()));
    }

    #[test]
    fn a_long_quote_has_no_closest_run() {
        let words = "word ".repeat(MAX_CLOSEST_WORDS + 1);
        assert_eq!(super::closest(&words, &words), None);
        assert!(super::closest(&words[5..], &words).is_some());
    }

    /// What a typist, a browser or a model might put for the same character.
    fn disguise(character: char, choice: u8) -> String {
        let forms: &[&str] = match character {
            ' ' => &[" ", "\n", "\u{a0}", "  \t", "\u{2009}"],
            '\'' => &["'", "’", "‘", "′"],
            '"' => &["\"", "“", "”", "«"],
            '-' => &["-", "–", "—", "\u{2011}", "−"],
            'é' => &["é", "e\u{301}"],
            'f' => &["f", "ｆ", "f\u{ad}", "\u{200b}f"],
            _ => return character.to_string(),
        };
        forms[usize::from(choice) % forms.len()].to_owned()
    }

    fn disguised(text: &str, choices: &[u8]) -> String {
        text.chars().zip(choices.iter().cycle()).map(|(character, &choice)| disguise(character, choice)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn changed_typography_is_still_found(
            words in prop::collection::vec("[a-zé]{1,6}['\"-]?", 3..40), from in 0usize..30, count in 1usize..20,
            left in prop::collection::vec(any::<u8>(), 1..50), right in prop::collection::vec(any::<u8>(), 1..50),
        ) {
            let from = from.min(words.len() - 1);
            let to = (from + count).min(words.len());
            let quote = words[from..to].join(" ");
            let (text, written) = (disguised(&words.join(" "), &left), disguised(&quote, &right));
            let run = find(&written, &text, Case::Kept);
            prop_assert!(run.is_some(), "{written:?} in {text:?}");
            let bytes = run.unwrap().bytes;
            prop_assert_eq!(folded(&text[bytes], Case::Kept), folded(&quote, Case::Kept));
        }

        #[test]
        fn a_quote_is_found_where_its_words_are(
            words in prop::collection::vec("[ab]{1,3}", 1..30), quote in prop::collection::vec("[ab]{1,3}", 1..4),
        ) {
            let text = words.join(" ");
            let position = words.windows(quote.len()).position(|window| window == quote);
            let expected = position.map(|position| words[..position].iter().map(|word| word.len() + 1).sum::<usize>());
            prop_assert_eq!(find(&quote.join(" "), &text, Case::Kept).map(|run| run.bytes.start), expected);
        }

        #[test]
        fn a_changed_word_is_not_found(
            words in prop::collection::vec("[a-p0-9]{2,8}", 3..30), at in any::<prop::sample::Index>(), kind in 0u8..3,
        ) {
            let text = words.join(" ");
            let positions: Vec<usize> = text.char_indices().filter(|(_, c)| *c != ' ').map(|(at, _)| at).collect();
            let at = positions[at.index(positions.len())];
            let mut changed = text.clone();
            match kind {
                0 => changed.replace_range(at..=at, "z"),
                1 => changed.insert(at, 'z'),
                _ => { changed.remove(at); }
            }
            prop_assert_eq!(find(&changed, &format!("{text} {text}"), Case::Ignored), None);
        }

        #[test]
        fn anything_may_be_asked(quote in "\\PC{0,30}", text in "\\PC{0,60}", odd in ".{0,40}") {
            for (quote, text) in [(&quote, &text), (&text, &quote), (&odd, &text), (&text, &odd), (&text, &text)] {
                for case in [Case::Kept, Case::Ignored] {
                    if let Some(run) = find(quote, text, case) {
                        prop_assert_eq!(folded(&text[run.bytes], case), folded(quote, case));
                    }
                }
                if let Some(closest) = closest(quote, text) {
                    prop_assert!(closest.similarity > 0.0 && closest.similarity <= 1.0 && !text[closest.run.bytes].is_empty());
                }
            }
        }

        #[test]
        fn words_taken_out_leave_the_run_closest(
            words in prop::collection::hash_set("[a-p]{4,9}", 12..60), from in 0usize..40, drop in prop::collection::vec(1usize..7, 0..2),
        ) {
            let words: Vec<String> = words.into_iter().collect();
            let from = from.min(words.len() - 9);
            let run = &words[from..from + 9];
            let kept: Vec<&str> = run.iter().enumerate().filter(|(at, _)| !drop.contains(at)).map(|(_, word)| word.as_str()).collect();
            let text = words.join(" ");
            let closest = closest(&kept.join(" "), &text).unwrap();
            prop_assert_eq!(&text[closest.run.bytes], run.join(" "));
            prop_assert!((closest.similarity - 2.0 * kept.len() as f32 / (kept.len() + 9) as f32).abs() < 1e-6);
        }
    }
}
