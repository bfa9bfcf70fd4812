//! Text to terms: normalise, segment, fold, stem, stop. (Interface; the implementation is being written.)

/// A language the analyser has rules for, and the one it has none for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Language {
    /// No stemming, no stop words.
    #[default]
    Unknown = 0,
    /// English.
    English = 1,
}

impl Language {
    /// The language of an ISO 639-1 code, with or without a region (`en`, `pt-BR`); [`Language::Unknown`] for others.
    #[must_use]
    pub fn from_code(code: &str) -> Self {
        if code.starts_with("en") { Self::English } else { Self::Unknown }
    }

    /// The ISO 639-1 code, or the empty string for [`Language::Unknown`].
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Unknown => "",
        }
    }
}

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
    language: Language,
    buffer: String,
}

impl Analyzer {
    /// An analyser for `language`.
    #[must_use]
    pub fn new(language: Language) -> Self {
        Self { language, buffer: String::new() }
    }

    /// The analyser's language.
    #[must_use]
    pub fn language(&self) -> Language {
        self.language
    }

    /// Calls `sink` with each term of `text` in order of position, then of start.
    pub fn analyze(&mut self, text: &str, mut sink: impl FnMut(Token<'_>)) {
        let mut position = 0;
        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            let start = word.as_ptr() as usize - text.as_ptr() as usize;
            self.buffer.clear();
            self.buffer.extend(word.chars().flat_map(char::to_lowercase));
            sink(Token { term: &self.buffer, start: start as u32, end: (start + word.len()) as u32, position });
            position += 1;
        }
    }
}

/// The distinct terms that a question is searched by, in order: those of its language and beside them its words folded
/// without stemming.
#[must_use]
pub fn question_terms(question: &str, language: Language) -> Vec<String> {
    let mut terms = Vec::new();
    Analyzer::new(language).analyze(question, |token| {
        if !terms.iter().any(|term| term == token.term) {
            terms.push(token.term.to_owned());
        }
    });
    terms
}

/// The language a text is written in, judged by its script and its commonest words; `fallback` when that does not tell.
#[must_use]
pub fn detect_language(_text: &str, fallback: Language) -> Language {
    fallback
}

/// A hash of what the analyser makes of a fixed text: two analysers that index alike have the same.
#[must_use]
pub fn fingerprint() -> String {
    String::from("interface")
}
