//! What of a text can be compared without understanding it: words, numbers, identifiers, names, negations.

use std::hash::Hasher;
use std::ops::Range;
use std::sync::Arc;

use rustc_hash::FxHasher;

use crate::analysis::Language;
use crate::quotes::{Folded, Text, Words, is_letter, words};

/// Longer words are told apart by as many characters.
const STEM_CHARACTERS: usize = 8;

/// Endings that inflect, of which a word loses the first that leaves three characters.
const ENDINGS: &[&str] = &[
    "ations", "ation", "ments", "ment", "ings", "ing", "ies", "ied", "ers", "er", "ed", "es", "en", "ly", "s", "e", "y",
];

/// A text in words, with its numbers.
#[derive(Debug)]
pub(super) struct Stated {
    pub(super) folded: Arc<Folded>,
    pub(super) words: Vec<Word>,
    pub(super) numbers: Vec<Number>,
    language: Language,
}

/// A word of a folded text.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) range: Range<usize>,
    pub(super) stem: u64,
    /// Whether it says what the text is about.
    pub(super) informative: bool,
    /// Whether a sentence or an item begins with it, so that its capital says nothing.
    pub(super) begins: bool,
    capital: bool,
    polarity: Option<Polarity>,
}

/// What a word does to what is stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Polarity {
    /// `not`, `never`, `kein`.
    Negates,
    /// `only`, `unless`: what is said of the rest is the contrary.
    Restricts,
}

/// A number, and what it counts.
#[derive(Debug)]
pub(super) struct Number {
    /// What it may mean, in digits: `1.000` is a thousand in some languages and one in others.
    values: Vec<String>,
    /// The unit, where it is one that is known by several names.
    unit: Option<u8>,
    /// The stem of the word that follows it.
    noun: Option<u64>,
    /// Whether it is only meant: a month is one month. It proves a number, and needs no proof.
    pub(super) implied: bool,
    /// The place of its word.
    pub(super) word: usize,
    /// As the text has it.
    pub(super) words: String,
}

/// Words with capitals, one after the other.
#[derive(Debug)]
pub(super) struct Name {
    whole: String,
    /// Without the first word, where that may be a sentence's.
    rest: Option<String>,
}

impl Name {
    pub(super) fn words(&self) -> &str {
        self.rest.as_ref().unwrap_or(&self.whole)
    }

    /// The ways in which it may stand elsewhere: one or many, and without what may be no part of it.
    pub(super) fn variants(&self) -> impl Iterator<Item = Words> {
        [Some(&self.whole), self.rest.as_ref()].into_iter().flatten().flat_map(|words| {
            (0..3).map(move |form| match form {
                0 => Words::new(words),
                1 => Words::new(&format!("{words}s")),
                _ => Words::new(words.strip_suffix("'s").or_else(|| words.strip_suffix('s')).unwrap_or(words)),
            })
        })
    }
}

impl Number {
    pub(super) fn equals(&self, other: &Self) -> bool {
        self.values.iter().any(|value| other.values.contains(value))
    }

    /// Whether `other` counts something that this number does not.
    pub(super) fn counts_another(&self, other: &Self, comparable: bool) -> bool {
        match (self.unit, other.unit) {
            (Some(own), Some(theirs)) => own != theirs,
            (None, None) if comparable => matches!((self.noun, other.noun), (Some(own), Some(theirs)) if own != theirs),
            _ => false,
        }
    }
}

impl Stated {
    pub(super) fn new(text: &Text, language: Language) -> Self {
        let folded = Arc::clone(text.folded());
        let stops = language.stop_words();
        let mut lower = String::new();
        let mut found = Vec::new();
        for range in words(&folded.text) {
            let Some(word) = folded.text.get(range.clone()) else { continue };
            lower.clear();
            if word.is_ascii() {
                lower.push_str(word);
                lower.make_ascii_lowercase();
            } else {
                lower.extend(word.chars().flat_map(char::to_lowercase));
            }
            let polarity = polarity(&lower, language);
            found.push(Word {
                stem: stem(&lower),
                informative: polarity.is_none() && !stops.contains(lower.as_str()),
                begins: begins(&folded.text, range.start),
                capital: word.chars().next().is_some_and(char::is_uppercase),
                polarity,
                range,
            });
        }
        let numbers = numbers(&folded.text, &found, language);
        Self { folded, words: found, numbers, language }
    }

    /// The folded text from the first to the last of some words.
    pub(super) fn wording(&self, words: Range<usize>) -> &str {
        let (first, last) =
            (self.words.get(words.start), words.end.checked_sub(1).and_then(|last| self.words.get(last)));
        let range = first.zip(last).map(|(first, last)| first.range.start..last.range.end);
        range.and_then(|range| self.folded.text.get(range)).unwrap_or_default()
    }

    /// The words among some that do `polarity`.
    pub(super) fn polarities(&self, words: Range<usize>, polarity: Polarity) -> Vec<String> {
        let words = self.words.get(words.start..words.end.min(self.words.len())).unwrap_or_default();
        let found = words.iter().filter(|word| word.polarity == Some(polarity));
        found.filter_map(|word| self.folded.text.get(word.range.clone())).map(str::to_owned).collect()
    }

    pub(super) fn identifiers(&self) -> Vec<String> {
        identifiers(&self.folded.text)
    }

    pub(super) fn names(&self) -> Vec<Name> {
        self.names_in(0..self.words.len())
    }

    /// The names among some words; none in German, where every noun has a capital.
    pub(super) fn names_in(&self, words: Range<usize>) -> Vec<Name> {
        if self.language == Language::German {
            return Vec::new();
        }
        let mut names = Vec::new();
        let mut at = words.start;
        while at < words.end.min(self.words.len()) {
            let first = at;
            at += 1;
            if !self.is_named(first) {
                continue;
            }
            while at < words.end && self.is_named(at) && self.joined(at) {
                at += 1;
            }
            let begins = self.words.get(first).is_some_and(|word| word.begins);
            if begins && at == first + 1 {
                continue;
            }
            let rest = begins.then(|| self.wording(first + 1..at).to_owned());
            names.push(Name { whole: self.wording(first..at).to_owned(), rest });
        }
        names
    }

    /// Whether a word has the capital of a name; abbreviations are identifiers.
    fn is_named(&self, at: usize) -> bool {
        let Some(word) = self.words.get(at) else { return false };
        let text = self.folded.text.get(word.range.clone()).unwrap_or_default();
        word.capital && word.polarity.is_none() && text.chars().nth(1).is_some_and(char::is_lowercase)
    }

    fn joined(&self, at: usize) -> bool {
        let (Some(before), Some(word)) = (at.checked_sub(1).and_then(|at| self.words.get(at)), self.words.get(at))
        else {
            return false;
        };
        self.folded.text.get(before.range.end..word.range.start) == Some(" ")
    }
}

/// Whether a sentence, an item or a cell of a table begins at byte `at`, marks of emphasis and quotation aside.
fn begins(text: &str, at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default().trim_end_matches([' ', '*', '_', '"', '\'', '`', '(', '[']);
    let before = before.strip_suffix('-').map_or(before, str::trim_end);
    before.is_empty() || before.ends_with(['.', '!', '?', ':', ';', '•', '|', '…', '。', '！', '？'])
}

/// A number for the forms of a word: what is left of its characters when an ending that inflects is taken off.
fn stem(lower: &str) -> u64 {
    let word = lower.split('\'').next().filter(|word| !word.is_empty()).unwrap_or(lower);
    let plain = word.chars().any(char::is_numeric);
    let kept = if plain { word } else { without_ending(word) };
    let mut hasher = FxHasher::default();
    let mut last = None;
    for character in kept.chars().take(if plain { usize::MAX } else { STEM_CHARACTERS }) {
        if plain || last != Some(character) {
            hasher.write_u32(character as u32);
        }
        last = Some(character);
    }
    hasher.finish()
}

fn without_ending(word: &str) -> &str {
    let long = |kept: &&str| kept.chars().take(3).count() == 3;
    ENDINGS.iter().filter_map(|ending| word.strip_suffix(ending)).find(long).unwrap_or(word)
}

fn polarity(lower: &str, language: Language) -> Option<Polarity> {
    if matches!(language, Language::English | Language::Unknown) && lower.ends_with("n't") {
        return Some(Polarity::Negates);
    }
    let (negations, restrictions): (&[&str], &[&str]) = match language {
        Language::German => (
            &[
                "nicht", "nie", "niemals", "kein", "keine", "keinen", "keinem", "keiner", "keines", "weder", "ohne",
                "nichts", "niemand",
            ],
            &["nur", "lediglich", "außer", "ausschließlich", "sofern"],
        ),
        Language::French => (
            &["pas", "jamais", "aucun", "aucune", "sans", "rien", "ni", "personne"],
            &["seul", "seule", "seuls", "seules", "seulement", "uniquement", "sauf", "que"],
        ),
        Language::Spanish => (
            &["no", "nunca", "jamás", "ningún", "ninguna", "ninguno", "sin", "nada", "nadie", "tampoco"],
            &["solo", "sólo", "solamente", "únicamente", "excepto", "salvo"],
        ),
        Language::Portuguese => (
            &["não", "nunca", "jamais", "nenhum", "nenhuma", "sem", "nada", "ninguém"],
            &["só", "somente", "apenas", "exceto"],
        ),
        Language::Italian => (
            &["non", "mai", "nessun", "nessuno", "nessuna", "senza", "niente"],
            &["solo", "soltanto", "solamente", "tranne", "eccetto"],
        ),
        Language::Dutch => {
            (&["niet", "nooit", "geen", "zonder", "niets", "niemand"], &["alleen", "slechts", "behalve"])
        }
        Language::English | Language::Unknown => (
            &[
                "not",
                "no",
                "never",
                "none",
                "nothing",
                "nobody",
                "neither",
                "nor",
                "without",
                "cannot",
                "unable",
                "cant",
                "dont",
                "doesnt",
                "isnt",
                "arent",
                "wont",
                "hardly",
                "impossible",
                "forbidden",
                "prohibited",
            ],
            &[
                "only",
                "except",
                "unless",
                "instead",
                "until",
                "exclusively",
                "just",
                "unavailable",
                "disabled",
                "unsupported",
            ],
        ),
        _ => (&[], &[]),
    };
    if negations.contains(&lower) {
        Some(Polarity::Negates)
    } else {
        restrictions.contains(&lower).then_some(Polarity::Restricts)
    }
}

fn numbers(text: &str, words: &[Word], language: Language) -> Vec<Number> {
    let mut found = Vec::new();
    let mut taken = 0;
    for (first, word) in words.iter().enumerate() {
        if first < taken {
            continue;
        }
        let Some(written) = text.get(word.range.clone()) else { continue };
        let (mut at, mut last, mut implied) = (first, word, false);
        let (mut values, mut suffix) = match in_digits(written) {
            Some(parsed) => parsed,
            None => match in_words(written, language) {
                Some(mut value) => {
                    if let Some(next) = words.get(first + 1)
                        && let Some(digit) = joined_digit(text, value, word, next, language)
                    {
                        (value, at, last) = (value + digit, first + 1, next);
                    }
                    (vec![value.to_string()], "")
                }
                None if is_one(written, language) => {
                    implied = !["one", "single"].iter().any(|one| one.eq_ignore_ascii_case(written));
                    (vec!["1".to_owned()], "")
                }
                None => continue,
            },
        };
        taken = at + 1;
        if let (Some(value), "k" | "K") = (values.first_mut().filter(|value| !value.contains('.')), suffix) {
            value.push_str("000");
            suffix = "";
        }
        if values.is_empty() || is_item(text, &last.range, word.begins) {
            continue;
        }
        let gap = |from: usize, to: usize| text.get(from..to).is_some_and(|gap| gap == " " || gap == "-");
        let following = words.get(at + 1).filter(|next| gap(last.range.end, next.range.start));
        let lower = following.and_then(|next| text.get(next.range.clone())).unwrap_or_default().to_lowercase();
        let symbol = text.get(last.range.end..).and_then(|rest| rest.trim_start_matches(' ').chars().next());
        let before = text.get(..word.range.start).and_then(|before| before.trim_end_matches(' ').chars().next_back());
        let inner = unit(&suffix.to_lowercase());
        if !suffix.is_empty() && inner.is_none() {
            continue;
        }
        let signs = [symbol, before].into_iter().flatten().filter(|sign| !sign.is_alphanumeric());
        let sign = signs.into_iter().find_map(|sign| unit(sign.encode_utf8(&mut [0; 4])));
        let named = unit(&lower);
        if named.is_none() && values == ["1"] && in_digits(written).is_none() {
            // "One of them" counts nothing.
            continue;
        }
        let end = if inner.is_none() && named.is_some() {
            following.map_or(last.range.end, |next| next.range.end)
        } else {
            last.range.end
        };
        let noun = following.filter(|next| next.informative && named.is_none()).map(|next| next.stem);
        let words = text.get(word.range.start..end).unwrap_or(written).to_owned();
        found.push(Number { values, unit: inner.or(sign).or(named), noun, implied, word: first, words });
    }
    found
}

/// Whether a word before a unit means one of it.
fn is_one(word: &str, language: Language) -> bool {
    matches!(language, Language::English | Language::Unknown)
        && ["one", "single", "a", "an", "per", "each", "every"].iter().any(|one| one.eq_ignore_ascii_case(word))
}

/// The ones of a number in two words, such as `twenty-four`.
fn joined_digit(text: &str, tens: u32, word: &Word, next: &Word, language: Language) -> Option<u32> {
    let gap = text.get(word.range.end..next.range.start)?;
    let written = text.get(next.range.clone())?;
    let digit = if written.eq_ignore_ascii_case("one") { 1 } else { in_words(written, language)? };
    ((20..100).contains(&tens) && tens.is_multiple_of(10) && digit < 10 && (gap == "-" || gap == " ")).then_some(digit)
}

/// Whether a number counts an item of a list.
fn is_item(text: &str, word: &Range<usize>, begins: bool) -> bool {
    begins && text.get(word.end..).is_some_and(|rest| rest.starts_with(". ") || rest.starts_with(") "))
}

/// What a word that begins with a digit may mean, and its letters; nothing for ordinals and for other words.
fn in_digits(word: &str) -> Option<(Vec<String>, &str)> {
    if !word.starts_with(|first: char| first.is_ascii_digit()) {
        return None;
    }
    let end = word.find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | ',' | ':' | '\'')).unwrap_or(word.len());
    let (digits, suffix) = word.split_at_checked(end)?;
    if ["st", "nd", "rd", "th"].contains(&suffix) || suffix.contains(|c: char| c.is_ascii_digit() || c == '_') {
        return Some((Vec::new(), ""));
    }
    let digits = digits.trim_end_matches(['.', ',', ':', '\'']);
    let separators: Vec<char> = digits.chars().filter(|c| !c.is_ascii_digit()).collect();
    let groups: Vec<&str> = digits.split(['.', ',', '\'']).collect();
    let mut values = Vec::new();
    let grouped = groups.len() > 1 && groups[0].len() <= 3 && groups[1..].iter().all(|group| group.len() == 3);
    if grouped && !separators.contains(&':') {
        values.push(groups.concat());
    }
    match separators[..] {
        [] => values.push(digits.trim_start_matches('0').to_owned()),
        ['.' | ','] => {
            let decimal = digits.replace(',', ".");
            values.push(decimal.trim_end_matches('0').trim_end_matches('.').to_owned());
        }
        _ if !grouped => values.push(digits.to_owned()),
        _ => {}
    }
    Some((values, suffix))
}

/// Numbers in words, in English.
const ENGLISH: &[(&str, u32)] = &[
    ("two", 2),
    ("three", 3),
    ("four", 4),
    ("five", 5),
    ("six", 6),
    ("seven", 7),
    ("eight", 8),
    ("nine", 9),
    ("ten", 10),
    ("eleven", 11),
    ("twelve", 12),
    ("dozen", 12),
    ("thirteen", 13),
    ("fourteen", 14),
    ("fifteen", 15),
    ("sixteen", 16),
    ("seventeen", 17),
    ("eighteen", 18),
    ("nineteen", 19),
    ("twenty", 20),
    ("thirty", 30),
    ("forty", 40),
    ("fifty", 50),
    ("sixty", 60),
    ("seventy", 70),
    ("eighty", 80),
    ("ninety", 90),
    ("hundred", 100),
    ("thousand", 1000),
];

/// Numbers in words, in German.
const GERMAN: &[(&str, u32)] = &[
    ("zwei", 2),
    ("drei", 3),
    ("vier", 4),
    ("fünf", 5),
    ("sechs", 6),
    ("sieben", 7),
    ("acht", 8),
    ("neun", 9),
    ("zehn", 10),
    ("elf", 11),
    ("zwölf", 12),
    ("dreizehn", 13),
    ("vierzehn", 14),
    ("fünfzehn", 15),
    ("vierundzwanzig", 24),
    ("achtundvierzig", 48),
    ("zwanzig", 20),
    ("dreißig", 30),
    ("vierzig", 40),
    ("fünfzig", 50),
    ("sechzig", 60),
    ("siebzig", 70),
    ("achtzig", 80),
    ("neunzig", 90),
    ("hundert", 100),
    ("tausend", 1000),
];

/// Numbers in words, in French.
const FRENCH: &[(&str, u32)] = &[
    ("deux", 2),
    ("trois", 3),
    ("quatre", 4),
    ("cinq", 5),
    ("six", 6),
    ("sept", 7),
    ("huit", 8),
    ("dix", 10),
    ("onze", 11),
    ("douze", 12),
    ("quinze", 15),
    ("vingt", 20),
    ("trente", 30),
    ("quarante", 40),
    ("cinquante", 50),
    ("soixante", 60),
    ("cent", 100),
    ("mille", 1000),
];

/// Numbers in words, in Spanish.
const SPANISH: &[(&str, u32)] = &[
    ("dos", 2),
    ("tres", 3),
    ("cuatro", 4),
    ("cinco", 5),
    ("seis", 6),
    ("siete", 7),
    ("ocho", 8),
    ("nueve", 9),
    ("diez", 10),
    ("doce", 12),
    ("quince", 15),
    ("veinte", 20),
    ("treinta", 30),
    ("cuarenta", 40),
    ("cincuenta", 50),
    ("sesenta", 60),
    ("noventa", 90),
    ("cien", 100),
    ("mil", 1000),
];

/// What a word says that is a number, whatever its case.
fn in_words(word: &str, language: Language) -> Option<u32> {
    let words: &[(&str, u32)] = match language {
        Language::English | Language::Unknown => ENGLISH,
        Language::German => GERMAN,
        Language::French => FRENCH,
        Language::Spanish => SPANISH,
        _ => &[],
    };
    words.iter().find(|(known, _)| known.eq_ignore_ascii_case(word)).map(|(_, value)| *value)
}

/// The number of a unit that has several names, in several languages.
fn unit(lower: &str) -> Option<u8> {
    const UNITS: &[&[&str]] = &[
        &["%", "percent", "prozent", "percento"],
        &["$", "usd", "dollar", "dollars"],
        &["€", "eur", "euro", "euros"],
        &["£", "gbp", "pound", "pounds"],
        &["ms", "millisecond", "milliseconds", "millisekunden", "millisecondes", "milisegundos"],
        &[
            "s", "sec", "secs", "second", "seconds", "sekunde", "sekunden", "seconde", "secondes", "segundo",
            "segundos", "secondi", "seconden",
        ],
        &["min", "mins", "minute", "minutes", "minuten", "minuto", "minutos", "minuti", "minuut"],
        &[
            "h", "hr", "hrs", "hour", "hours", "stunde", "stunden", "heure", "heures", "hora", "horas", "ora", "ore",
            "uur",
        ],
        &[
            "d", "day", "days", "tag", "tage", "tagen", "jour", "jours", "día", "días", "dia", "dias", "giorno",
            "giorni", "dag", "dagen",
        ],
        &[
            "week",
            "weeks",
            "woche",
            "wochen",
            "semaine",
            "semaines",
            "semana",
            "semanas",
            "settimana",
            "settimane",
            "weken",
        ],
        &[
            "month", "months", "monat", "monate", "monaten", "mois", "mes", "meses", "mês", "mese", "mesi", "maand",
            "maanden",
        ],
        &[
            "year", "years", "jahr", "jahre", "jahren", "an", "ans", "année", "années", "año", "años", "ano", "anos",
            "anno", "anni", "jaar",
        ],
        &["b", "byte", "bytes", "octets"],
        &["kb", "kib", "kilobyte", "kilobytes", "ko"],
        &["mb", "mib", "megabyte", "megabytes", "mo"],
        &["gb", "gib", "gigabyte", "gigabytes", "go"],
        &["tb", "tib", "terabyte", "terabytes"],
        &[
            "character",
            "characters",
            "zeichen",
            "caractère",
            "caractères",
            "carácter",
            "caracteres",
            "caratteri",
            "tekens",
        ],
        &["px", "pixel", "pixels"],
    ];
    UNITS.iter().position(|names| names.contains(&lower)).map(|unit| unit as u8)
}

/// What stands in back-quotes, and words that are written as no word of a language is.
fn identifiers(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, part) in text.split('`').enumerate() {
        if number % 2 == 1 && part.chars().any(char::is_alphanumeric) {
            found.push(part.trim().to_owned());
        } else {
            found.extend(part.split(' ').map(without_marks).filter(|word| is_identifier(word)).map(str::to_owned));
        }
    }
    found.dedup();
    found
}

fn without_marks(word: &str) -> &str {
    let word = word.trim_end_matches(|c: char| !c.is_alphanumeric()).trim_end_matches("'s");
    word.trim_start_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '/' | '-' | '@' | '_'))
}

/// Whether a word is an identifier: `user_id`, `userId`, `CSV`, `SHA256`, `--json`, `/api/v1`, `config.toml`, `a@example.com`.
pub(super) fn is_identifier(word: &str) -> bool {
    let letters = word.chars().filter(|c| c.is_alphabetic()).count();
    if letters == 0 || !word.chars().any(is_letter) {
        return false;
    }
    let path = word.starts_with('/') || word.starts_with("--");
    let capitals = word.strip_suffix('s').unwrap_or(word);
    let abbreviation = capitals.len() >= 2
        && capitals.starts_with(char::is_alphabetic)
        && capitals.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit());
    (path || abbreviation) && letters > 1 || word.contains(['_', '@']) || has_digits_and_letters(word) || inner(word)
}

/// Digits within letters; a number with a unit has letters behind its digits only.
fn has_digits_and_letters(word: &str) -> bool {
    let counted = word.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | ','));
    !word.contains('-') && counted.chars().any(|c| c.is_ascii_digit()) && word.chars().any(char::is_alphabetic)
}

/// A capital behind a small letter, or a dot between letters.
fn inner(word: &str) -> bool {
    let mut two = word.chars().zip(word.chars().skip(1));
    let capital = two.any(|(one, next)| one.is_lowercase() && next.is_uppercase());
    let dotted = word.split_once('.').is_some_and(|(name, ending)| {
        name.chars().count() > 1
            && ending.chars().count() > 1
            && name.chars().chain(ending.chars()).all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '/'))
    });
    capital || dotted && word.chars().next().is_some_and(char::is_alphabetic)
}
