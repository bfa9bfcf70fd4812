//! `WordPiece`: the static embedder's tokens, and the unit in which chunks and budgets are counted.
//!
//! Token for token what the package `tokenizers` makes of the same `tokenizer.json`, without truncation, padding or special
//! tokens: a table of vectors trained over one tokenisation means nothing over another. Most words of a page are ASCII and
//! whole in the vocabulary, so the common way is a scan of bytes and one look into a hash table; everything else takes the
//! general way, character by character, with the tables of BERT's normaliser.

use std::borrow::Cow;
use std::fmt;
use std::hash::BuildHasher;
use std::path::Path;

use rustc_hash::FxBuildHasher;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use unicode_normalization::char::decompose_canonical;

use crate::error::{Error, Result};

#[allow(clippy::unreadable_literal)] // Code points.
mod characters;

use characters::{IDEOGRAPHS, MARKS, PUNCTUATION, REMOVED};

/// A `WordPiece` vocabulary with BERT's normalisation (Devlin et al., 2019; greedy longest match first).
#[derive(Debug)]
pub struct WordPiece {
    whole: Table,
    continuing: Table,
    added: Vec<(Box<str>, u32)>,
    size: usize,
    unknown: u32,
    max_word_chars: usize,
    normalizer: Normalizer,
}

#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // The file's own switches.
struct Normalizer {
    clean: bool,
    ideographs: bool,
    strip_accents: bool,
    lowercase: bool,
}

impl WordPiece {
    /// Reads a `tokenizer.json` of Hugging Face's layout whose model is `WordPiece`, with BERT's normaliser and
    /// pre-tokenizer. Its truncation, padding and post-processing are not applied.
    ///
    /// # Errors
    /// [`Error::ModelInvalid`] when the file is missing or is no such tokenizer.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes =
            std::fs::read(path).map_err(|error| invalid(path, format!("{} cannot be read: {error}", name(path))))?;
        let text = std::str::from_utf8(&bytes).map_err(|_| invalid(path, format!("{} is not UTF-8", name(path))))?;
        Self::parse(text).map_err(|reason| invalid(path, format!("{}: {reason}", name(path))))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: File<'_> = serde_json::from_str(text).map_err(|error| error.to_string())?;
        require("the model", &file.model.kind, "WordPiece")?;
        require("the normalizer", &file.normalizer.kind, "BertNormalizer")?;
        require("the pre_tokenizer", &file.pre_tokenizer.kind, "BertPreTokenizer")?;
        let prefix = &*file.model.continuing_subword_prefix;
        if prefix.is_empty() {
            return Err("the model's continuing_subword_prefix is empty".to_owned());
        }
        let entries = &file.model.vocab.0;
        let added = file.added_tokens.iter().map(AddedToken::checked).collect::<Result<Vec<_>, _>>()?;
        let ids = || entries.iter().map(|entry| entry.1).chain(added.iter().map(|added| added.1));
        let size = ids().max().map_or(0, |id| id as usize + 1);
        if size > 2 * (entries.len() + added.len()) {
            return Err(format!("ids reach {size} in a vocabulary of {}", entries.len()));
        }
        let unknown = entries.iter().find(|entry| entry.0 == file.model.unk_token).map(|entry| entry.1);
        let (continuing, whole): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry.0.starts_with(prefix));
        // A token that is the prefix and more can still be a whole word, where the prefix is no punctuation.
        let words = whole.iter().chain(&continuing).map(|entry| (&*entry.0, entry.1));
        let pieces = continuing.iter().map(|entry| (&entry.0[prefix.len()..], entry.1));
        Ok(Self {
            whole: Table::new(words.filter(|word| !word.0.is_empty())),
            continuing: Table::new(pieces.filter(|piece| !piece.0.is_empty())),
            added,
            size,
            unknown: unknown.ok_or_else(|| format!("the unknown token {} is not in it", file.model.unk_token))?,
            max_word_chars: file.model.max_input_chars_per_word,
            normalizer: Normalizer {
                clean: file.normalizer.clean_text,
                ideographs: file.normalizer.handle_chinese_chars,
                strip_accents: file.normalizer.strip_accents.unwrap_or(file.normalizer.lowercase),
                lowercase: file.normalizer.lowercase,
            },
        })
    }

    /// Appends the ids of the tokens of `text`, special tokens not included, to `ids`.
    pub fn encode(&self, text: &str, ids: &mut Vec<u32>) {
        self.for_each(text, |id, _| ids.push(id));
    }

    /// The number of tokens of `text`.
    #[must_use]
    pub fn count(&self, text: &str) -> usize {
        let mut count = 0;
        self.for_each(text, |_, _| count += 1);
        count
    }

    /// Appends the byte offset in `text` after each token to `ends`, in order; as many as [`WordPiece::count`] says. An
    /// accent that was dropped belongs to the token before it. A text is looked at up to 4 GiB.
    pub fn ends(&self, text: &str, ends: &mut Vec<u32>) {
        self.for_each(text, |_, end| ends.push(end as u32));
    }

    /// One more than the largest id.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The id of a word that the vocabulary cannot spell.
    #[must_use]
    pub fn unknown(&self) -> u32 {
        self.unknown
    }

    /// Calls `sink` with the id of each token of `text` and the byte after it.
    #[inline]
    pub fn for_each(&self, text: &str, mut sink: impl FnMut(u32, usize)) {
        let bytes = &text.as_bytes()[..text.floor_char_boundary(u32::MAX as usize)];
        let mut slow = Slow::default();
        let mut lower = [0_u8; SHORT_WORD];
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match CLASSES[byte as usize] {
                Class::Space => at += 1,
                Class::Punctuation => {
                    if let Some((length, id)) = self.added_at(&bytes[at..]) {
                        at += length;
                        sink(id, at);
                    } else {
                        at += 1;
                        sink(self.whole.find(&[byte]).unwrap_or(self.unknown), at);
                    }
                }
                Class::Word => {
                    let end = run(bytes, at, |class| class == Class::Word);
                    let next = bytes.get(end).map_or(Class::Space, |&byte| CLASSES[byte as usize]);
                    if next == Class::Other || end - at > SHORT_WORD.min(self.max_word_chars) {
                        at = self.slowly(text, at, &mut slow, &mut sink);
                        continue;
                    }
                    let word = &mut lower[..end - at];
                    word.copy_from_slice(&bytes[at..end]);
                    if self.normalizer.lowercase {
                        word.make_ascii_lowercase();
                    }
                    match self.whole.find(word) {
                        Some(id) => sink(id, end),
                        None => self.pieces(word, |id, inner| sink(id, inner.map_or(end, |inner| at + inner))),
                    }
                    at = end;
                }
                Class::Other => at = self.slowly(text, at, &mut slow, &mut sink),
            }
        }
    }

    /// The longest added token that `bytes` begins with, its length and its id.
    fn added_at(&self, bytes: &[u8]) -> Option<(usize, u32)> {
        let matching = self.added.iter().filter(|(token, _)| bytes.starts_with(token.as_bytes()));
        matching.max_by_key(|(token, _)| token.len()).map(|(token, id)| (token.len(), *id))
    }

    /// Splits a word that is not in the vocabulary. The sink gets the bytes of the word up to the token's end, or `None`
    /// for the word's own end.
    fn pieces(&self, word: &[u8], mut sink: impl FnMut(u32, Option<usize>)) {
        let mut found = [(0_u32, 0_u32); SHORT_WORD];
        let mut long = Vec::new();
        let found: &mut [(u32, u32)] = if word.len() <= SHORT_WORD {
            &mut found
        } else {
            long.resize(word.len(), (0, 0));
            &mut long
        };
        let (mut at, mut count) = (0, 0);
        while at < word.len() {
            let table = if at == 0 { &self.whole } else { &self.continuing };
            let Some((length, id)) = table.longest(&word[at..]) else {
                sink(self.unknown, None);
                return;
            };
            at += length;
            found[count] = (id, at as u32);
            count += 1;
        }
        for &(id, end) in &found[..count] {
            sink(id, Some(end as usize).filter(|&end| end < word.len()));
        }
    }

    /// Tokenises from `start` to the next ASCII white space or punctuation by the general rules, and returns where that is.
    #[cold]
    fn slowly(&self, text: &str, start: usize, slow: &mut Slow, sink: &mut impl FnMut(u32, usize)) -> usize {
        let end = run(text.as_bytes(), start, |class| matches!(class, Class::Word | Class::Other));
        for (at, c) in text[start..end].char_indices() {
            let (from, to) = (start + at, start + at + c.len_utf8());
            if self.normalizer.clean && contains(REMOVED, c) {
                slow.drop_until(from, to);
            } else if self.normalizer.ideographs && contains(IDEOGRAPHS, c) {
                self.flush(slow, sink);
                self.push(c, from, to, slow, sink);
                self.flush(slow, sink);
            } else {
                self.push(c, from, to, slow, sink);
            }
        }
        self.flush(slow, sink);
        end
    }

    /// Adds a character's decomposition to the word, ending words where it must.
    fn push(&self, c: char, from: usize, to: usize, slow: &mut Slow, sink: &mut impl FnMut(u32, usize)) {
        if c.is_whitespace() {
            self.flush(slow, sink);
            return;
        }
        if !self.normalizer.strip_accents {
            self.push_lower(c, to, slow, sink);
            return;
        }
        decompose_canonical(c, |part| {
            if contains(MARKS, part) {
                slow.drop_until(from, to);
            } else {
                self.push_lower(part, to, slow, sink);
            }
        });
    }

    fn push_lower(&self, c: char, to: usize, slow: &mut Slow, sink: &mut impl FnMut(u32, usize)) {
        let mut push = |c: char| {
            if is_punctuation(c) {
                self.flush(slow, sink);
                slow.push(c, to);
                self.flush(slow, sink);
            } else if c.is_whitespace() {
                self.flush(slow, sink);
            } else {
                slow.push(c, to);
            }
        };
        if self.normalizer.lowercase { c.to_lowercase().for_each(&mut push) } else { push(c) }
    }

    /// Tokenises the word gathered and begins a new one.
    fn flush(&self, slow: &mut Slow, sink: &mut impl FnMut(u32, usize)) {
        let Some(&end) = slow.ends.last() else { return };
        if slow.chars > self.max_word_chars {
            sink(self.unknown, end);
        } else {
            let ends = &slow.ends;
            self.pieces(slow.word.as_bytes(), |id, inner| {
                sink(id, inner.and_then(|inner| ends.get(inner - 1).copied()).unwrap_or(end));
            });
        }
        slow.clear();
    }
}

/// Words of at most so many bytes are lowered on the stack.
const SHORT_WORD: usize = 64;

/// A word being normalised: its text, for each byte of it the end of what it came from, and its length.
#[derive(Default)]
struct Slow {
    word: String,
    ends: Vec<usize>,
    chars: usize,
}

impl Slow {
    fn push(&mut self, c: char, end: usize) {
        self.word.push(c);
        self.ends.resize(self.word.len(), end);
        self.chars += 1;
    }

    /// Gives a character that leaves nothing to the one directly before it.
    fn drop_until(&mut self, from: usize, to: usize) {
        let Some(&last) = self.ends.last() else { return };
        if last == from || last == to {
            self.ends.iter_mut().rev().take_while(|end| **end == last).for_each(|end| *end = to);
        }
    }

    fn clear(&mut self) {
        self.word.clear();
        self.ends.clear();
        self.chars = 0;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Word,
    Space,
    Punctuation,
    /// Control characters and what is not ASCII.
    Other,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0;
    while byte < 128 {
        let b = byte as u8;
        classes[byte] = if b.is_ascii_alphanumeric() {
            Class::Word
        } else if matches!(b, b' ' | b'\t' | b'\n' | b'\r') {
            Class::Space
        } else if b.is_ascii_punctuation() {
            Class::Punctuation
        } else {
            Class::Other
        };
        byte += 1;
    }
    classes
};

#[inline]
fn run(bytes: &[u8], start: usize, holds: impl Fn(Class) -> bool) -> usize {
    let length = bytes[start..].iter().position(|&byte| !holds(CLASSES[byte as usize]));
    length.map_or(bytes.len(), |length| start + length)
}

fn contains(ranges: &[(u32, u32)], c: char) -> bool {
    let c = c as u32;
    let at = ranges.partition_point(|range| range.1 < c);
    ranges.get(at).is_some_and(|range| range.0 <= c)
}

fn is_punctuation(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_punctuation() } else { contains(PUNCTUATION, c) }
}

/// Tokens by their bytes: open addressing over one arena, at most half full.
#[derive(Debug)]
struct Table {
    slots: Vec<Slot>,
    text: Vec<u8>,
    longest: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    hash: u32,
    start: u32,
    /// Zero for an empty slot: no token is empty.
    length: u32,
    id: u32,
}

fn hash_of(token: &[u8]) -> u64 {
    FxBuildHasher.hash_one(token)
}

impl Table {
    fn new<'a>(tokens: impl Iterator<Item = (&'a str, u32)> + Clone) -> Self {
        let count = tokens.clone().count();
        let mut table =
            Self { slots: vec![Slot::default(); (count * 2).next_power_of_two()], text: Vec::new(), longest: 0 };
        let mask = table.slots.len() - 1;
        for (token, id) in tokens {
            let hash = hash_of(token.as_bytes());
            let mut slot = hash as usize & mask;
            while table.slots[slot].length != 0 {
                slot = (slot + 1) & mask;
            }
            let start = table.text.len() as u32;
            table.text.extend_from_slice(token.as_bytes());
            table.slots[slot] = Slot { hash: (hash >> 32) as u32, start, length: token.len() as u32, id };
            table.longest = table.longest.max(token.len());
        }
        table
    }

    #[inline]
    fn find(&self, token: &[u8]) -> Option<u32> {
        let hash = hash_of(token);
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot.length == 0 {
                return None;
            }
            let same = slot.hash == (hash >> 32) as u32 && slot.length as usize == token.len();
            if same && &self.text[slot.start as usize..slot.start as usize + token.len()] == token {
                return Some(slot.id);
            }
            at = (at + 1) & mask;
        }
    }

    /// The longest token that `word` begins with: its length in bytes and its id.
    fn longest(&self, word: &[u8]) -> Option<(usize, u32)> {
        (1..=word.len().min(self.longest)).rev().find_map(|length| Some((length, self.find(&word[..length])?)))
    }
}

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    normalizer: BertNormalizer<'a>,
    #[serde(borrow)]
    pre_tokenizer: Kind<'a>,
    #[serde(borrow)]
    model: Model<'a>,
    #[serde(borrow, default)]
    added_tokens: Vec<AddedToken<'a>>,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

#[derive(Deserialize)]
struct BertNormalizer<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default = "yes")]
    clean_text: bool,
    #[serde(default = "yes")]
    handle_chinese_chars: bool,
    #[serde(default)]
    strip_accents: Option<bool>,
    #[serde(default = "yes")]
    lowercase: bool,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    unk_token: Cow<'a, str>,
    #[serde(borrow)]
    continuing_subword_prefix: Cow<'a, str>,
    max_input_chars_per_word: usize,
    #[serde(borrow)]
    vocab: Vocabulary<'a>,
}

#[derive(Deserialize)]
#[allow(clippy::struct_excessive_bools)] // The file's own fields.
struct AddedToken<'a> {
    id: u32,
    #[serde(borrow)]
    content: Cow<'a, str>,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
}

impl AddedToken<'_> {
    /// The token, if it is of the kind that is read: found as it stands, anywhere, beginning with punctuation.
    fn checked(&self) -> Result<(Box<str>, u32), String> {
        let plain = !(self.single_word || self.lstrip || self.rstrip || self.normalized);
        if plain && self.content.starts_with(|c: char| c.is_ascii_punctuation()) {
            Ok((self.content.as_ref().into(), self.id))
        } else {
            Err(format!("the added token {:?} is of a kind that is not supported", self.content))
        }
    }
}

/// The tokens and their ids in the file's order, borrowed from it where they have no escapes.
struct Vocabulary<'a>(Vec<(Cow<'a, str>, u32)>);

impl<'de: 'a, 'a> Deserialize<'de> for Vocabulary<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Token<'a>(#[serde(borrow)] Cow<'a, str>);
        struct Tokens;
        impl<'de> Visitor<'de> for Tokens {
            type Value = Vocabulary<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a map from tokens to ids")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut tokens = Vec::with_capacity(1 << 15);
                while let Some((Token(token), id)) = map.next_entry::<Token<'de>, u32>()? {
                    tokens.push((token, id));
                }
                Ok(Vocabulary(tokens))
            }
        }
        deserializer.deserialize_map(Tokens)
    }
}

fn require(what: &str, found: &str, expected: &str) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what} is {found}, not {expected}")) }
}

fn name(path: &Path) -> Cow<'_, str> {
    path.file_name().map_or(Cow::Borrowed("the file"), std::ffi::OsStr::to_string_lossy)
}

fn invalid(path: &Path, reason: String) -> Error {
    Error::ModelInvalid { path: path.parent().unwrap_or(path).to_path_buf(), reason }
}

#[cfg(test)]
mod tests;
