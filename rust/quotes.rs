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
//!
//! An answer has several quotes and several texts to look for them in, so a [`Text`] remembers what it was folded to.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use rustc_hash::{FxHashMap, FxHashSet};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_segmentation::UnicodeSegmentation;

use crate::analysis::is_unspaced;

/// Quotes of more words have no [`closest`] run.
pub const MAX_CLOSEST_WORDS: usize = 1000;

/// Fewer words that a quote has in common with a text, one after the other, are no piece of it.
pub const PIECE_WORDS: usize = 3;

/// Quotes of fewer words resemble a text only in their order: any text has three common words somewhere.
const ORDERLESS_WORDS: usize = 6;

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
    pub(crate) fn of(text: &str, bytes: Range<usize>) -> Option<Self> {
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
    find_folded(&Folded::new(quote, case).text, text, &Folded::new(text, case))
}

fn find_folded(quote: &str, text: &str, folded: &Folded) -> Option<Run> {
    let start = folded.find(quote)?;
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
    let worded = Worded::new(Folded::new(text, Case::Ignored));
    let quote = Folded::new(quote, Case::Ignored).text;
    let quote = Quoted::new(&quote)?;
    closest_of(&quote, &quote.numbers_of(&worded), text, &worded)
}

fn closest_of(quote: &Quoted<'_>, numbers: &[u32], text: &str, worded: &Worded) -> Option<Closest> {
    let (_, window) = densest(quote, numbers)?;
    let length = quote.words.len();
    let around = window.saturating_sub(length)..numbers.len().min(window + 2 * length);
    let aligned = align(&quote.words, numbers.get(around.clone())?)?;
    let first = worded.words.get(around.start + aligned.first)?;
    let last = worded.words.get(around.start + aligned.last)?;
    let similarity = (2 * aligned.shared) as f32 / (length + aligned.last + 1 - aligned.first) as f32;
    Some(Closest { run: Run::of(text, worded.folded.source(first.start..last.end)?)?, similarity })
}

/// A text that several quotes are looked for in: it is folded once, when that is first needed, and without case from that.
#[derive(Debug)]
pub struct Text {
    content: String,
    folded: OnceLock<Arc<Folded>>,
    worded: OnceLock<Worded>,
}

/// What the texts say of a quote.
#[derive(Clone, Debug, PartialEq)]
pub enum Judged {
    /// It stands in one of them, word for word.
    Verbatim {
        /// The first of the marks at the quote's end that are not the text's.
        left: Option<char>,
        /// The text that has it.
        text: usize,
        /// Where.
        run: Run,
    },
    /// It stands in none.
    Resembling {
        /// The text that has the run most like it.
        text: usize,
        /// That run.
        run: Run,
        /// How much of the quote the texts have, 0 to 1: the largest of the run's similarity, the share of the quote's words that
        /// stand together in some order, and the share that stands in pieces of at least [`PIECE_WORDS`] words.
        likeness: f32,
    },
    /// No text has a word of it.
    Unknown,
}

impl Text {
    /// A text as it will be cited.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self { content: text, folded: OnceLock::new(), worded: OnceLock::new() }
    }

    /// The text as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.content
    }

    /// The text after folding, its case kept.
    pub(crate) fn folded(&self) -> &Arc<Folded> {
        self.folded.get_or_init(|| Arc::new(Folded::new(&self.content, Case::Kept)))
    }

    fn find(&self, folded_quote: &str) -> Option<Run> {
        find_folded(folded_quote, &self.content, self.folded())
    }

    fn worded(&self) -> &Worded {
        self.worded.get_or_init(|| Worded::new(self.folded().without_case()))
    }

    /// Whether some words stand in it, whatever the case, from the beginning of a word to the end of one.
    #[must_use]
    pub fn names(&self, words: &Words) -> bool {
        self.worded().folded.find(&words.0).is_some()
    }
}

/// Words that are looked for in several texts, whatever the case.
#[derive(Debug)]
pub struct Words(String);

impl Words {
    /// Folds them.
    #[must_use]
    pub fn new(words: &str) -> Self {
        Self(Folded::new(words, Case::Ignored).text)
    }
}

/// What `texts` say of a quote; a wording of it ([`wordings`]) is looked for before the next one, and a text before the next
/// in `order`.
#[must_use]
pub fn judge(quote: &str, texts: &[&Text], order: &[usize]) -> Judged {
    for (wording, left) in wordings(quote) {
        let folded = Folded::new(&wording, Case::Kept).text;
        for &text in order {
            if let Some(run) = texts.get(text).and_then(|text| text.find(&folded)) {
                return Judged::Verbatim { left, text, run };
            }
        }
    }
    resembling(&Folded::new(quote, Case::Ignored).text, texts, order).unwrap_or(Judged::Unknown)
}

/// The ways in which a quote may stand in its source, each once, with the first of the marks that are then not the source's.
///
/// A quote within a sentence begins with a small letter and ends with the sentence's comma; a model emphasises words.
#[must_use]
pub fn wordings(quote: &str) -> Vec<(String, Option<char>)> {
    let plain = without_emphasis(quote);
    let ended = plain.trim_end_matches(['.', ',', ';', ':', '!', '?', '…']);
    let left = plain.get(ended.len()..).and_then(|marks| marks.chars().next());
    let bare = if left.is_some() { ended.trim_end().to_owned() } else { plain.clone() };
    let mut found = vec![(quote.to_owned(), None), (plain, None), (bare, left)];
    for row in 0..found.len() {
        let swapped = found.get(row).map(|(wording, left)| (with_other_case(wording), *left));
        found.extend(swapped);
    }
    let mut known = FxHashSet::default();
    found.retain(|(wording, _)| !wording.is_empty() && known.insert(wording.clone()));
    found
}

/// A text without Markdown's marks of emphasis and of code.
fn without_emphasis(text: &str) -> String {
    let within_word = |character: char| character.is_alphanumeric() || character == '_';
    let mut kept = String::with_capacity(text.len());
    let mut before: Option<char> = None;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let next = characters.peek().copied();
        let marks = matches!(character, '*' | '_');
        let opens = before.is_none_or(|before| !within_word(before)) && next.is_some_and(|next| !next.is_whitespace());
        let closes = before.is_some_and(|before| !before.is_whitespace()) && next.is_none_or(|next| !within_word(next));
        before = Some(character);
        if marks && next == Some(character) {
            characters.next();
        } else if !(character == '`' || marks && (opens || closes)) {
            kept.push(character);
        }
    }
    kept
}

/// A text with its first letter small if it is a capital, and the other way round.
fn with_other_case(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next();
    let rest = characters.as_str();
    match first {
        Some(first) if first.is_uppercase() => first.to_lowercase().chain(rest.chars()).collect(),
        Some(first) if first.is_lowercase() => first.to_uppercase().chain(rest.chars()).collect(),
        _ => text.to_owned(),
    }
}

fn resembling(folded: &str, texts: &[&Text], order: &[usize]) -> Option<Judged> {
    let quote = Quoted::new(folded)?;
    let length = quote.words.len();
    let mut in_pieces = vec![false; length];
    let mut together = 0;
    let mut best: Option<(usize, Closest)> = None;
    for &place in order {
        let Some(text) = texts.get(place) else { continue };
        let worded = text.worded();
        let numbers = quote.numbers_of(worded);
        let Some((shared, _)) = densest(&quote, &numbers) else { continue };
        together = together.max(shared);
        mark_pieces(&quote.words, &numbers, &mut in_pieces);
        if let Some(closest) = closest_of(&quote, &numbers, &text.content, worded)
            && best.as_ref().is_none_or(|(_, best)| closest.similarity > best.similarity)
        {
            best = Some((place, closest));
        }
    }
    let (text, closest) = best?;
    let pieces = in_pieces.iter().filter(|piece| **piece).count();
    let together = if length < ORDERLESS_WORDS { 0 } else { together };
    let likeness = closest.similarity.max(pieces.max(together) as f32 / length as f32);
    Some(Judged::Resembling { text, run: closest.run, likeness })
}

/// Marks the words of `quote` that lie in runs of at least [`PIECE_WORDS`] words that `text` has too.
fn mark_pieces(quote: &[u32], text: &[u32], marked: &mut [bool]) {
    let mut before = vec![0_usize; quote.len() + 1];
    for word in text {
        for (index, wanted) in quote.iter().enumerate().rev() {
            let length = if word == wanted { before[index] + 1 } else { 0 };
            before[index + 1] = length;
            if length >= PIECE_WORDS {
                marked[index + 1 - PIECE_WORDS..=index].fill(true);
            }
        }
    }
}

/// A text without case, in words.
#[derive(Debug)]
struct Worded {
    folded: Folded,
    words: Vec<Range<usize>>,
}

impl Worded {
    fn new(folded: Folded) -> Self {
        let words = words(&folded.text);
        Self { folded, words }
    }
}

/// A text after folding, and where each of its bytes came from.
#[derive(Debug)]
pub(crate) struct Folded {
    pub(crate) text: String,
    origin: Origin,
}

/// For each byte of a folded text, the range of the source that it was folded from.
#[derive(Clone, Debug)]
struct Origin {
    length: usize,
    starts: Vec<u32>,
    ends: Vec<u32>,
}

impl Origin {
    fn with_capacity(length: usize, capacity: usize) -> Self {
        Self { length, starts: Vec::with_capacity(capacity), ends: Vec::with_capacity(capacity) }
    }

    /// Lets the bytes of a folded text up to `end` come from there.
    fn extend(&mut self, end: usize, (start, stop): (u32, u32)) {
        self.starts.resize(end, start);
        self.ends.resize(end, stop);
    }
}

impl Folded {
    pub(crate) fn new(source: &str, case: Case) -> Self {
        let origin = Origin::with_capacity(source.len(), source.len());
        let mut folded = Self { text: String::with_capacity(source.len()), origin };
        let mut space: Option<Range<usize>> = None;
        let mut take = |character: char, range: Range<usize>| {
            if character.is_whitespace() {
                space = Some(space.as_ref().map_or(range.start, |space| space.start)..range.end);
                return;
            }
            if let Some(space) = space.take().filter(|_| !folded.text.is_empty()) {
                folded.push(' ', &space);
            }
            folded.push(character, &range);
        };
        let mut at = 0;
        while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
            // An ASCII character before another one is folded to itself.
            let other = rest.bytes().position(|byte| !byte.is_ascii());
            let plain = other.map_or(rest.len(), |other| other.saturating_sub(1));
            for &byte in rest.as_bytes().iter().take(plain) {
                take(char::from(byte), at..at + 1);
                at += 1;
            }
            let Some((length, characters)) = rest.get(plain..).and_then(first_cluster) else { continue };
            for character in characters {
                take(character, at..at + length);
            }
            at += length;
        }
        if case == Case::Ignored { folded.without_case() } else { folded }
    }

    fn push(&mut self, character: char, range: &Range<usize>) {
        self.text.push(character);
        self.origin.extend(self.text.len(), (range.start as u32, range.end as u32));
    }

    /// The same without capital letters.
    fn without_case(&self) -> Self {
        if self.text.is_ascii() {
            return Self { text: self.text.to_ascii_lowercase(), origin: self.origin.clone() };
        }
        let mut text = String::with_capacity(self.text.len());
        let mut origin = Origin::with_capacity(self.origin.length, self.text.len());
        for (at, character) in self.text.char_indices() {
            text.extend(character.to_lowercase().map(|lower| if lower == 'ς' { 'σ' } else { lower }));
            let from = |places: &[u32]| places.get(at).copied().unwrap_or_default();
            origin.extend(text.len(), (from(&self.origin.starts), from(&self.origin.ends)));
        }
        Self { text, origin }
    }

    /// Where `quote`, folded alike, first begins and ends as words do.
    fn find(&self, quote: &str) -> Option<usize> {
        if quote.is_empty() {
            return None;
        }
        let first = self.text.find(quote)?;
        if self.may_begin_and_end(first, first + quote.len()) {
            return Some(first);
        }
        occurrences(quote.as_bytes(), self.text.as_bytes().get(first..)?)
            .find(|start| self.may_begin_and_end(first + start, first + start + quote.len()))
            .map(|start| first + start)
    }

    /// Whether a quote may lie there: both ends are between words and between characters of the source.
    fn may_begin_and_end(&self, start: usize, end: usize) -> bool {
        let between_characters = |at: usize| {
            let starts = &self.origin.starts;
            at == 0 || starts.get(at).is_none_or(|start| starts.get(at - 1) != Some(start))
        };
        [start, end].into_iter().all(|at| between_characters(at) && between_words(&self.text, at))
    }

    pub(crate) fn source(&self, folded: Range<usize>) -> Option<Range<usize>> {
        let (start, end) = (*self.origin.starts.get(folded.start)?, *self.origin.ends.get(folded.end.checked_sub(1)?)?);
        (end as usize <= self.origin.length).then_some(start as usize..end as usize)
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

/// The length of the first piece of a source that normalises independently of what follows, and what it is folded to.
///
/// A character is a piece of its own where what follows cannot compose with it; otherwise a grapheme cluster is.
fn first_cluster(rest: &str) -> Option<(usize, Cluster)> {
    let mut characters = rest.chars();
    let (first, next) = (characters.next()?, characters.next());
    let alone = next.is_none_or(|next| next.is_ascii() || first.is_ascii() && !is_combining_mark(next));
    let length = if alone { first.len_utf8() } else { rest.graphemes(true).next()?.len() };
    let folded = match plain(first) {
        None if alone => Cluster::One(None.into_iter()),
        Some(ascii) if alone && ascii.is_ascii() => Cluster::One(Some(ascii).into_iter()),
        _ => {
            let piece = rest.get(..length)?;
            Cluster::Many(piece.chars().filter_map(plain).nfkc().filter_map(plain).collect::<Vec<_>>().into_iter())
        }
    };
    Some((length, folded))
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
pub(crate) fn is_letter(character: char) -> bool {
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

    /// The words of a text as the quote numbers them.
    fn numbers_of(&self, text: &Worded) -> Vec<u32> {
        let number = |word: &Range<usize>| {
            text.folded.text.get(word.clone()).and_then(|word| self.numbers.get(word)).copied().unwrap_or(ELSEWHERE)
        };
        text.words.iter().map(number).collect()
    }
}

/// The words of a folded text; a character of a script without spaces is one.
pub(crate) fn words(text: &str) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start: Option<usize> = None;
    let mut after_letter = false;
    for (at, character) in text.char_indices() {
        let letter = is_letter(character);
        let within = after_letter && letter;
        after_letter = letter;
        if let Some(begun) = start
            && !within
            && between_words(text, at)
        {
            words.push(begun..at);
            start = None;
        }
        if start.is_none() && (letter || is_unspaced(character) && character.is_alphanumeric()) {
            start = Some(at);
        }
    }
    words.extend(start.map(|begun| begun..text.len()));
    words
}

/// The most words of the quote that a window of as many words has, and where the first such window begins.
fn densest(quote: &Quoted<'_>, text: &[u32]) -> Option<(usize, usize)> {
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
    (best.0 > 0).then_some(best)
}

/// A run of words and how many of them are the quote's.
#[derive(Clone, Copy)]
pub(crate) struct Aligned {
    score: i64,
    pub(crate) first: usize,
    pub(crate) last: usize,
    pub(crate) shared: usize,
}

/// The run of `text` that counts most: 4 for each word of `quote` in order, less 1 for each of its own words.
pub(crate) fn align(quote: &[u32], text: &[u32]) -> Option<Aligned> {
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
mod tests;
