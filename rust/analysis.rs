//! Text to terms: normalise, segment, fold, stem, stop.
//!
//! The rules, in order. A *piece* is a run without white space or punctuation other than `_ - . , '`. A piece is put into
//! NFKC, cut where an East or South-East Asian script begins or ends (such a run becomes bigrams, one position each), and
//! the rest is segmented by Unicode's rules for words. Words joined by single hyphens, by `_` or by `.`, words with capitals
//! inside and words of letters and digits are *identifiers*: the whole and its parts (`time-off`, `time`, `off`) share one
//! position, so that every way of writing them meets. A term is the word folded to lower case and stemmed by the language's
//! rules; where it has accents, the stem of the word without them stands beside it. A whole with connectors or digits is
//! not stemmed. Stop words leave a gap; English negations (`cannot`, `isn't`) all become `not`.
//!
//! What a piece yields depends on the piece and the language alone. That decides the shape of this module: an [`Analyzer`]
//! remembers pieces, and in running text nineteen of twenty are answered by one look into a table, whatever their script.
//! Only the others are normalised, segmented and stemmed.

use std::sync::OnceLock;

use frostem::Stemmer;
use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::{canonical_combining_class, decompose_compatible, is_combining_mark};
use unicode_segmentation::UnicodeSegmentation;
use xxhash_rust::xxh3::Xxh3;

mod language;
mod memory;

pub use language::{Language, detect_code, detect_language};
use memory::Memory;

/// The longest term, in bytes of UTF-8. A longer word (an encoded blob) takes a position and yields no term.
pub const MAX_TERM_BYTES: usize = 255;
/// A chain of more parts than this is text with odd separators: its parts stand one after another.
const MAX_PARTS: usize = 16;

/// One term of a text. Several terms may share a position: an identifier and its parts, a word with and without accents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// The term as it is indexed.
    pub term: &'a str,
    /// The first byte of what it came from.
    pub start: u32,
    /// The byte after what it came from.
    pub end: u32,
    /// The number of the word in the text; terms of one word share it. Stop words leave a gap.
    pub position: u32,
}

/// Turns text of one language into terms; holds scratch space, so each thread has its own.
#[derive(Debug)]
pub struct Analyzer {
    rules: Rules,
    scratch: Scratch,
    terms: Terms,
    memory: Memory,
}

impl Analyzer {
    /// An analyser for `language`.
    #[must_use]
    pub fn new(language: Language) -> Self {
        Self {
            rules: Rules::new(language, Mode::Index),
            scratch: Scratch::default(),
            terms: Terms::default(),
            memory: Memory::default(),
        }
    }

    /// The analyser's language.
    #[must_use]
    pub fn language(&self) -> Language {
        self.rules.language
    }

    /// Calls `sink` with each term of `text` in order of position, then of start. Offsets are bytes of `text` as it was
    /// given. A text is looked at up to 4 GiB.
    pub fn analyze(&mut self, text: &str, mut sink: impl FnMut(Token<'_>)) {
        let mut position = 0_u32;
        for (start, piece) in pieces(text) {
            let start = start as u32;
            if let Some(known) = self.memory.find(piece) {
                for token in known.tokens() {
                    sink(Token {
                        term: token.term,
                        start: start + token.start,
                        end: start + token.end,
                        position: position + token.position,
                    });
                }
                position += known.positions();
                continue;
            }
            self.terms.clear();
            self.rules.analyze_piece(piece, &mut self.scratch, &mut self.terms);
            for token in self.terms.iter() {
                sink(Token {
                    start: start + token.start,
                    end: start + token.end,
                    position: position + token.position,
                    ..token
                });
            }
            position += self.terms.positions;
            self.memory.remember(piece, &self.terms);
        }
    }
}

/// A word of a question.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuestionWord {
    /// The terms that each stand for all of it: stemmed, without accents, folded without stemming.
    pub forms: Vec<String>,
    /// For an identifier the forms of each of its parts.
    pub parts: Vec<Vec<String>>,
}

impl QuestionWord {
    /// Every term of the word: its forms, then those of its parts.
    pub fn terms(&self) -> impl Iterator<Item = &String> {
        self.forms.iter().chain(self.parts.iter().flatten())
    }
}

/// The distinct words of a question, in order: each with the terms of its language and beside them its words folded without
/// stemming. A question of stop words alone has them. Words that share their first form are one.
#[must_use]
pub fn question_words(question: &str, language: Language) -> Vec<QuestionWord> {
    let words = collect_question_words(question, &Rules::new(language, Mode::Question));
    if words.is_empty() {
        collect_question_words(question, &Rules::new(language, Mode::QuestionWithStopWords))
    } else {
        words
    }
}

/// The distinct terms that a question is searched by: those of its words, in order.
#[must_use]
pub fn question_terms(question: &str, language: Language) -> Vec<String> {
    let words = question_words(question, language);
    let mut distinct: FxHashSet<&str> = FxHashSet::default();
    words.iter().flat_map(QuestionWord::terms).filter(|term| distinct.insert(term)).cloned().collect()
}

fn collect_question_words(question: &str, rules: &Rules) -> Vec<QuestionWord> {
    let mut scratch = Scratch::default();
    let mut found = Terms::default();
    for (_, piece) in pieces(question) {
        rules.analyze_piece(piece, &mut scratch, &mut found);
    }
    let tokens: Vec<Token<'_>> = found.iter().collect();
    let mut words: Vec<QuestionWord> = Vec::new();
    let mut numbers: FxHashMap<String, usize> = FxHashMap::default();
    for tokens in tokens.chunk_by(|left, right| left.position == right.position) {
        let word = question_word(tokens);
        let Some(first) = word.forms.first() else { continue };
        let number = *numbers.entry(first.clone()).or_insert(words.len());
        match words.get_mut(number) {
            Some(known) => {
                let new = word.forms.into_iter().filter(|form| !known.forms.contains(form)).collect::<Vec<_>>();
                known.forms.extend(new);
                known
                    .parts
                    .extend(word.parts.into_iter().filter(|part| !known.parts.contains(part)).collect::<Vec<_>>());
            }
            None => words.push(word),
        }
    }
    words
}

/// The word of one position: terms of the first one's place stand for the whole, others for the part at their place.
fn question_word(tokens: &[Token<'_>]) -> QuestionWord {
    let mut word = QuestionWord::default();
    for (index, tokens) in tokens.chunk_by(|left, right| (left.start, left.end) == (right.start, right.end)).enumerate()
    {
        let forms = tokens.iter().map(|token| token.term.to_owned()).collect();
        if index == 0 { word.forms = forms } else { word.parts.push(forms) }
    }
    word
}

/// What [`fingerprint`] returns: a build writes what it has computed, a search compares this with it, because making the
/// analysers of all languages takes longer than opening an index and answering. A test compares the two; where they should
/// ever differ, a search refuses the index.
pub const FINGERPRINT: &str = "4b79ca9cb1a988931ea36ca4dec7e058";

/// A hash of what the analyser makes of a fixed text of every language: two analysers that index alike have the same.
///
/// It covers behaviour, not versions: the stop lists, the stemmers, the tables of Unicode and the rules of this module.
#[must_use]
pub fn fingerprint() -> String {
    static FINGERPRINT: OnceLock<String> = OnceLock::new();
    FINGERPRINT.get_or_init(|| fingerprint_of(Language::ALL).0).clone()
}

/// The fingerprint over these languages and [`Language::Unknown`], and the number of terms it covers.
fn fingerprint_of(languages: &[Language]) -> (String, usize) {
    let mut hash = Xxh3::new();
    let mut count = 0;
    for &language in [Language::Unknown].iter().chain(languages) {
        hash.update(language.code().as_bytes());
        Analyzer::new(language).analyze(&specimen(language), |token| {
            count += 1;
            hash.update(token.term.as_bytes());
            for number in [token.start, token.end, token.position] {
                hash.update(&number.to_le_bytes());
            }
        });
    }
    (format!("{:032x}", hash.digest128()), count)
}

/// Sentences that use every rule, before what each language adds.
const SPECIMEN: &str = "Hours logged on time-off days weren't counted: see getUserById, HTTPServer, api_key, v1.2, \
    SAML2.0, OAuth2, 1,000.50, 2024-05-01 and node.js. L'utilisateur a oublié son e-mail; Äpfel, Straße, ÖFFNEN, ﬁnal, ＡＢＣ. \
    Zażółć gęślą jaźń. İstanbul ILIK ığdır. Ο χρήστης άλλαξε τον κωδικό του. Пользователь изменил пароль и отчёт. \
    時間を記録する方法。ﾀｲﾏｰ 사용자 시간표를 รายงาน जानकारी المستخدمين کاربران \u{1F642} x\u{200d}y soft\u{ad}hyphen cafe\u{301} ";

/// Words that are made for each language: enough for 10,000 terms of all, and few, since every process that searches pays.
const SPECIMEN_WORDS: usize = 160;

/// The fixed text for one language: the specimen, the language's stop words, and words made of its stop words' halves by
/// a fixed sequence, so that each stemmer sees endings of its own language.
fn specimen(language: Language) -> String {
    let words = stop_words::lookup(language.code()).unwrap_or(&["alpha", "beta", "running", "reports"]);
    let mut text = String::from(SPECIMEN);
    let mut state = 0x9E37_79B9_7F4A_7C15_u64 ^ u64::from(language as u8);
    let mut draw = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        words.get((state % words.len().max(1) as u64) as usize).copied().unwrap_or_default()
    };
    for _ in 0..SPECIMEN_WORDS {
        text.push_str(draw());
        text.push_str(draw());
        text.push(' ');
    }
    for word in words {
        text.push_str(word);
        text.push(' ');
    }
    text
}

/// Bytes of a piece: ASCII letters, digits and the signs that can join them, and whatever is not ASCII.
const IN_PIECE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        table[byte] = b >= 0x80 || b.is_ascii_alphanumeric() || is_joint(b);
        byte += 1;
    }
    table
};

/// Whether a character cannot be the last of a word: a sign that joins only what follows, or nothing.
fn ends_nothing(c: char) -> bool {
    !c.is_alphanumeric() && !is_combining_mark(c)
}

const fn is_joint(byte: u8) -> bool {
    matches!(byte, b'_' | b'-' | b'.' | b',' | b'\'')
}

/// The pieces of a text with the byte each starts at. The signs at a piece's ends join nothing and are left out.
fn pieces(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = &text[..text.floor_char_boundary(u32::MAX as usize)];
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            while let Some(&byte) = bytes.get(at)
                && (!IN_PIECE[byte as usize] || is_joint(byte))
            {
                at += 1;
            }
            let start = at;
            while let Some(&byte) = bytes.get(at)
                && IN_PIECE[byte as usize]
            {
                at += 1;
            }
            let mut end = at;
            while end > start && is_joint(bytes[end - 1]) {
                end -= 1;
            }
            if start == bytes.len() {
                return None;
            }
            if end > start {
                return Some((start, &text[start..end]));
            }
        }
    })
}

/// What a word becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Stems; stop words removed.
    Index,
    /// Stems and the folded words; stop words removed.
    Question,
    /// Stems and the folded words of all.
    QuestionWithStopWords,
}

/// The terms of a piece, or of several: one string, and for each term its range there and where it came from.
#[derive(Debug, Default)]
struct Terms {
    text: String,
    spans: Vec<Span>,
    /// The number of positions taken so far; the next word's position.
    positions: u32,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    term_start: u32,
    term_end: u32,
    start: u32,
    end: u32,
    position: u32,
}

impl Terms {
    fn clear(&mut self) {
        self.text.clear();
        self.spans.clear();
        self.positions = 0;
    }

    fn iter(&self) -> impl Iterator<Item = Token<'_>> {
        self.spans.iter().map(|span| Token {
            term: &self.text[span.term_start as usize..span.term_end as usize],
            start: span.start,
            end: span.end,
            position: span.position,
        })
    }

    /// Adds a term at the current position unless it is there already.
    fn push(&mut self, term: &str, (start, end): (u32, u32)) {
        if term.is_empty() || term.len() > MAX_TERM_BYTES {
            return;
        }
        let here = self.spans.iter().rev().take_while(|span| span.position == self.positions);
        for span in here {
            if &self.text[span.term_start as usize..span.term_end as usize] == term {
                return;
            }
        }
        let term_start = self.text.len() as u32;
        self.text.push_str(term);
        self.spans.push(Span { term_start, term_end: self.text.len() as u32, start, end, position: self.positions });
    }
}

/// Space that is used again for each piece.
#[derive(Debug, Default)]
struct Scratch {
    normal: Normal,
    word: String,
    plain: String,
    parts: Vec<(usize, usize)>,
}

/// A piece in NFKC and where each of its bytes came from.
#[derive(Debug, Default)]
struct Normal {
    text: String,
    /// For each unit that was normalised by itself: where it begins in `text`, and where in the piece. Empty for ASCII,
    /// where both are the same.
    units: Vec<(u32, u32)>,
    original_length: u32,
}

impl Normal {
    fn set(&mut self, piece: &str) {
        self.text.clear();
        self.units.clear();
        self.original_length = piece.len() as u32;
        if piece.is_ascii() {
            self.text.push_str(piece);
            return;
        }
        let mut start = 0;
        for (at, c) in piece.char_indices() {
            if at > start && begins_unit(c) {
                self.push_unit(piece, start, at);
                start = at;
            }
        }
        self.push_unit(piece, start, piece.len());
    }

    fn push_unit(&mut self, piece: &str, start: usize, end: usize) {
        self.units.push((self.text.len() as u32, start as u32));
        let unit = &piece[start..end];
        if unit.len() == 1 {
            self.text.push_str(unit);
        } else {
            self.text.extend(unit.nfkc().map(plain_sign));
        }
    }

    /// The range of the piece that a non-empty range of the normalised text came from.
    fn original(&self, start: usize, end: usize) -> (u32, u32) {
        if self.units.is_empty() {
            return (start as u32, end as u32);
        }
        let first = self.units.partition_point(|unit| unit.0 as usize <= start).saturating_sub(1);
        let next = self.units.partition_point(|unit| (unit.0 as usize) < end);
        (
            self.units.get(first).map_or(0, |unit| unit.1),
            self.units.get(next).map_or(self.original_length, |unit| unit.1),
        )
    }
}

/// Whether normalisation never joins this character with what stands before it.
fn begins_unit(c: char) -> bool {
    if c.is_ascii() {
        return true;
    }
    let mut first = None;
    decompose_compatible(c, |part| first = first.or(Some(part)));
    let first = first.unwrap_or(c);
    canonical_combining_class(first) == 0
        && unicode_normalization::is_nfc_quick(std::iter::once(first)) == unicode_normalization::IsNormalized::Yes
}

/// Typographic apostrophes and hyphens as the keyboard has them.
fn plain_sign(c: char) -> char {
    match c {
        '\u{2018}' | '\u{2019}' | '\u{201B}' => '\'',
        '\u{2010}' | '\u{2011}' => '-',
        _ => c,
    }
}

/// Characters without width that only steer layout; they are in no term.
fn is_ignorable(c: char) -> bool {
    matches!(c, '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{2064}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{E0100}'..='\u{E01EF}')
}

/// Whether words of the character's script are cut into pairs: it has no spaces, or is Hangul, whose words carry particles.
fn is_paired(c: char) -> bool {
    is_unspaced(c) || matches!(c as u32, 0x1100..=0x11FF | 0xAC00..=0xD7A3)
}

/// Whether the character belongs to a script that is written without spaces between words.
pub(crate) fn is_unspaced(c: char) -> bool {
    matches!(c as u32,
        0x0E01..=0x0E3A | 0x0E40..=0x0E4E | 0x0E81..=0x0ECD | 0x1000..=0x103F | 0x1780..=0x17D3
        | 0x3005..=0x3007 | 0x3041..=0x3096 | 0x309D..=0x309F | 0x30A1..=0x30FA
        | 0x30FC..=0x30FF | 0x3105..=0x312F | 0x31A0..=0x31BF | 0x31F0..=0x31FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF
        | 0xF900..=0xFAFF | 0x2_0000..=0x3_FFFF)
}

/// Appends `text` in lower case, with sharp s and final sigma as their other forms, and without ignorable characters.
/// Turkish has two letters i; its capitals become the right ones.
fn fold_into(text: &str, language: Language, out: &mut String) {
    for c in text.chars() {
        match c {
            'I' if language == Language::Turkish => out.push('ı'),
            'İ' if language == Language::Turkish => out.push('i'),
            _ if c.is_ascii() => out.push(c.to_ascii_lowercase()),
            'ß' | 'ẞ' => out.push_str("ss"),
            'ς' => out.push('σ'),
            '\u{2019}' => out.push('\''),
            _ if is_ignorable(c) => {}
            _ => out.extend(c.to_lowercase()),
        }
    }
}

/// Appends a folded word without its accents and with its Latin letters spelt in ASCII. Only marks that readers leave out
/// when they type are dropped: й and the vowel signs of Indic scripts are letters in their own right.
fn strip_accents_into(word: &str, out: &mut String) {
    for c in word.chars() {
        match c {
            _ if c.is_ascii() => out.push(c),
            'ı' => out.push('i'),
            'ł' => out.push('l'),
            'ø' => out.push('o'),
            'đ' | 'ð' => out.push('d'),
            'ħ' => out.push('h'),
            'æ' => out.push_str("ae"),
            'œ' => out.push_str("oe"),
            'þ' => out.push_str("th"),
            'ё' => out.push('е'),
            '\u{300}'..='\u{36F}'
            | '\u{591}'..='\u{5BD}'
            | '\u{5BF}'..='\u{5C7}'
            | '\u{64B}'..='\u{652}'
            | '\u{670}' => {}
            '\u{C0}'..'\u{250}' | '\u{370}'..'\u{400}' | '\u{1E00}'..'\u{2000}' => {
                let mut marks_dropped = |part: char| {
                    if !is_combining_mark(part) {
                        out.push(part);
                    }
                };
                unicode_normalization::char::decompose_canonical(c, &mut marks_dropped);
            }
            _ => out.push(c),
        }
    }
}

/// The rules of one language.
struct Rules {
    language: Language,
    mode: Mode,
    stemmer: Option<Stemmer>,
    stop_words: &'static FxHashSet<Box<str>>,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Rules")
            .field("language", &self.language)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl Rules {
    fn new(language: Language, mode: Mode) -> Self {
        Self { language, mode, stemmer: language.stemmer(), stop_words: language.stop_words() }
    }

    /// Appends the terms of a piece, with offsets into it.
    fn analyze_piece(&self, piece: &str, scratch: &mut Scratch, terms: &mut Terms) {
        if is_plain_word(piece.as_bytes()) {
            self.push_word(piece, (0, piece.len() as u32), &mut scratch.word, &mut scratch.plain, terms);
            terms.positions += 1;
            return;
        }
        let mut normal = std::mem::take(&mut scratch.normal);
        normal.set(piece);
        // Normalisation can bring signs that end a piece: the full-width percent sign becomes the plain one.
        for (start, inner) in pieces(&normal.text) {
            self.analyze_normal(start, start + inner.len(), &normal, scratch, terms);
        }
        scratch.normal = normal;
    }

    /// Cuts a normalised piece into runs of unspaced scripts, which become bigrams, and chains of words.
    fn analyze_normal(&self, start: usize, end: usize, normal: &Normal, scratch: &mut Scratch, terms: &mut Terms) {
        let mut run_start = start;
        while run_start < end {
            let rest = &normal.text[run_start..end];
            let unspaced = rest.chars().next().is_some_and(is_paired);
            let length = rest.find(|c| is_paired(c) != unspaced).unwrap_or(rest.len());
            let run_end = run_start + length;
            if unspaced {
                push_bigrams(run_start, run_end, normal, terms);
            } else {
                self.analyze_chains(run_start, run_end, normal, scratch, terms);
            }
            run_start = run_end;
        }
    }

    /// Joins the words of a run that single hyphens connect, and analyses each chain.
    fn analyze_chains(&self, start: usize, end: usize, normal: &Normal, scratch: &mut Scratch, terms: &mut Terms) {
        let mut chain: Option<(usize, usize)> = None;
        for (at, word) in normal.text[start..end].unicode_word_indices() {
            let leading = word.len() - word.trim_start_matches(|c: char| !c.is_alphanumeric()).len();
            let word_start = start + at + leading;
            let word_end = start + at + word.trim_end_matches(ends_nothing).len();
            if word_end <= word_start {
                continue;
            }
            chain = match chain {
                Some((first, last)) if &normal.text[last..word_start] == "-" => Some((first, word_end)),
                Some((first, last)) => {
                    self.analyze_chain(first, last, normal, scratch, terms);
                    Some((word_start, word_end))
                }
                None => Some((word_start, word_end)),
            };
        }
        if let Some((first, last)) = chain {
            self.analyze_chain(first, last, normal, scratch, terms);
        }
    }

    /// Appends a word, or an identifier whole and in parts.
    fn analyze_chain(&self, start: usize, end: usize, normal: &Normal, scratch: &mut Scratch, terms: &mut Terms) {
        let text = &normal.text[start..end];
        let Scratch { word, plain, parts, .. } = scratch;
        parts.clear();
        split_identifier(text, parts);
        if parts.len() > MAX_PARTS {
            for &(from, to) in parts.iter() {
                self.push_word(&text[from..to], normal.original(start + from, start + to), word, plain, terms);
                terms.positions += 1;
            }
            return;
        }
        let whole = normal.original(start, end);
        if parts.len() <= 1 || text.chars().all(char::is_alphabetic) {
            self.push_word(text, whole, word, plain, terms);
        } else {
            self.push_whole(text, whole, word, plain, terms);
        }
        if parts.len() > 1 {
            for &(from, to) in parts.iter() {
                self.push_word(&text[from..to], normal.original(start + from, start + to), word, plain, terms);
            }
        } else if let Some(ungrouped) = ungrouped(text) {
            terms.push(&ungrouped, whole);
        }
        terms.positions += 1;
    }

    /// Appends an identifier as it is written but for case, and without accents.
    fn push_whole(&self, text: &str, at: (u32, u32), word: &mut String, plain: &mut String, terms: &mut Terms) {
        word.clear();
        fold_into(text, self.language, word);
        let word = word.trim_end_matches(ends_nothing);
        terms.push(word, at);
        if !word.is_ascii() {
            plain.clear();
            strip_accents_into(word, plain);
            terms.push(plain, at);
        }
    }

    /// Appends the terms of one word; none for a stop word.
    fn push_word(&self, text: &str, at: (u32, u32), word: &mut String, plain: &mut String, terms: &mut Terms) {
        if text.len() > 4 * MAX_TERM_BYTES {
            return;
        }
        word.clear();
        fold_into(text, self.language, word);
        // A sign may have stood before a character without width only.
        let word = word.trim_end_matches(ends_nothing);
        let (word, at) = match self.elided(word) {
            // The elided word keeps its letters unless it was normalised; then the offsets stay those of both.
            Some(rest) if text.len() == word.len() && text.len() == (at.1 - at.0) as usize => {
                (rest, (at.0 + (word.len() - rest.len()) as u32, at.1))
            }
            Some(rest) => (rest, at),
            None => (word, at),
        };
        let word = if self.language == Language::English { negation(word) } else { word };
        if self.mode != Mode::QuestionWithStopWords && self.stop_words.contains(word) {
            return;
        }
        self.push_stem(word, at, terms);
        let plain: &str = if word.is_ascii() {
            word
        } else {
            plain.clear();
            strip_accents_into(word, plain);
            if plain.as_str() != word && !self.stop_words.contains(plain.as_str()) {
                self.push_stem(plain, at, terms);
            }
            plain
        };
        if self.mode != Mode::Index {
            terms.push(plain, at);
        }
    }

    fn push_stem(&self, word: &str, at: (u32, u32), terms: &mut Terms) {
        match &self.stemmer {
            Some(stemmer) if word.len() <= MAX_TERM_BYTES && !word.bytes().any(|byte| byte.is_ascii_digit()) => {
                terms.push(&stemmer.stem(word), at);
            }
            _ => terms.push(word, at),
        }
    }

    /// The word after an elided one, where the language elides.
    fn elided<'a>(&self, word: &'a str) -> Option<&'a str> {
        let (head, rest) = word.split_once('\'')?;
        (!rest.is_empty() && self.language.elisions().contains(&head)).then_some(rest)
    }
}

/// Whether a piece is an ASCII word without anything inside that could part it: the usual case.
fn is_plain_word(piece: &[u8]) -> bool {
    match piece {
        [first, rest @ ..] if first.is_ascii_alphabetic() => {
            rest.iter().all(u8::is_ascii_lowercase)
                || (first.is_ascii_uppercase() && rest.iter().all(u8::is_ascii_uppercase))
        }
        _ => !piece.is_empty() && piece.iter().all(u8::is_ascii_digit),
    }
}

/// English has many words for no: all of them are the term `not`, so that `can't export` meets `can not export`.
fn negation(word: &str) -> &str {
    if word == "cannot" || word.ends_with("n't") { "not" } else { word }
}

/// A number without the commas between its thousands, where it has such.
fn ungrouped(number: &str) -> Option<String> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let (head, groups) = whole.split_once(',')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let grouped = matches!(head.len(), 1..=3)
        && digits(head)
        && groups.split(',').all(|group| group.len() == 3 && digits(group))
        && digits(fraction);
    grouped.then(|| number.replace(',', ""))
}

/// Appends the pairs of neighbouring characters of a run, a position each; a lone character is itself a term.
fn push_bigrams(start: usize, end: usize, normal: &Normal, terms: &mut Terms) {
    let run = &normal.text[start..end];
    let mut ends = run.char_indices().map(|(at, c)| at + c.len_utf8());
    let mut previous = 0;
    let Some(mut middle) = ends.next() else { return };
    if middle == run.len() {
        terms.push(run, normal.original(start, end));
        terms.positions += 1;
    }
    for next in ends {
        terms.push(&run[previous..next], normal.original(start + previous, start + next));
        terms.positions += 1;
        (previous, middle) = (middle, next);
    }
}

/// What a character is to the borders inside an identifier.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Upper,
    Letter,
    Digit,
    Joint,
    /// An apostrophe, a mark: part of what stands before it.
    Other,
}

fn kind(c: char) -> Kind {
    match c {
        '-' | '_' | '.' | ',' => Kind::Joint,
        _ if c.is_ascii_lowercase() => Kind::Letter,
        _ if is_combining_mark(c) => Kind::Other,
        _ if c.is_uppercase() => Kind::Upper,
        _ if c.is_alphabetic() => Kind::Letter,
        _ if c.is_numeric() => Kind::Digit,
        _ => Kind::Other,
    }
}

/// Appends the byte ranges of the parts of an identifier: between connectors, at a capital after a small letter, before the
/// last capital of several, and between letters and digits. Points and commas inside a number stay in it; the plural of an
/// acronym (`APIs`) is one part.
fn split_identifier(text: &str, parts: &mut Vec<(usize, usize)>) {
    let mut characters = text.char_indices().map(|(at, c)| (at, c, kind(c))).peekable();
    let mut start: Option<usize> = None;
    let mut before = Kind::Joint;
    while let Some((at, c, current)) = characters.next() {
        let next = characters.peek().map(|&(_, _, kind)| kind);
        let joins_number = matches!(c, '.' | ',') && before == Kind::Digit && next == Some(Kind::Digit);
        if joins_number {
            continue;
        }
        let border = match (before, current) {
            (Kind::Upper, Kind::Upper) => next == Some(Kind::Letter) && !is_plural_s(&text[at + c.len_utf8()..]),
            (Kind::Letter, Kind::Upper | Kind::Digit)
            | (Kind::Upper, Kind::Digit)
            | (Kind::Digit, Kind::Upper | Kind::Letter) => true,
            _ => current == Kind::Joint,
        };
        if border && let Some(from) = start.take() {
            parts.push((from, from + text[from..at].trim_end_matches(ends_nothing).len()));
        }
        if !matches!(current, Kind::Joint | Kind::Other) && start.is_none() {
            start = Some(at);
        }
        if current != Kind::Other {
            before = current;
        }
    }
    if let Some(from) = start {
        parts.push((from, text.len()));
    }
}

/// Whether what follows an acronym is its plural ending.
fn is_plural_s(rest: &str) -> bool {
    let mut rest = rest.chars();
    rest.next() == Some('s') && rest.next().is_none_or(|c| !c.is_alphabetic())
}

#[cfg(test)]
mod tests;
