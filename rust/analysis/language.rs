//! The languages the analyser knows, and how one is recognised.
//!
//! A question has about five words, too few for letter statistics: trigrams call every third English question Dutch or
//! Latin. Function words decide there: each known one votes for its languages, divided among them, and only a clear lead
//! counts. One word alone is a coincidence more often than a language (`link` is a Lithuanian preposition), so a language
//! that is not expected needs two, or one that is its own beyond doubt. In a long text every function word of a language
//! counts whole, because the share of them differs by a factor of five between the right language and the next. Trigrams
//! speak where the words leave a text of some length undecided.

use std::cmp::Ordering;
use std::sync::OnceLock;

use frostem::{Algorithm, Stemmer};
use rustc_hash::{FxHashMap, FxHashSet};

use super::fold_into;

macro_rules! languages {
    ($($name:ident = $number:literal, $code:literal, $english:literal;)+) => {
        /// A language the analyser has a stemmer and a stop list for, or none of these. The numbers are bits of a
        /// vote and part of what the analyser's fingerprint covers.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Language {
            /// No stemming, no stop words.
            #[default]
            Unknown = 0,
            $(#[doc = $english] $name = $number,)+
        }

        impl Language {
            /// Every language with rules, in order of number; [`Language::Unknown`] is not among them.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The language of an ISO 639-1 code, with or without a region and in either case (`en`, `pt-BR`, `DE_at`);
            /// [`Language::Unknown`] for others.
            #[must_use]
            pub fn from_code(code: &str) -> Self {
                let code = code.trim().split(['-', '_', '.']).next().unwrap_or_default().to_ascii_lowercase();
                match code.as_str() {
                    $($code => Self::$name,)+
                    "nb" | "nn" => Self::Norwegian,
                    _ => Self::Unknown,
                }
            }

            /// The ISO 639-1 code, or the empty string for [`Language::Unknown`].
            #[must_use]
            pub fn code(self) -> &'static str {
                match self {
                    Self::Unknown => "",
                    $(Self::$name => $code,)+
                }
            }

            fn algorithm(self) -> Option<Algorithm> {
                match self {
                    Self::Unknown => None,
                    $(Self::$name => Some(Algorithm::$name),)+
                }
            }
        }
    };
}

languages! {
    English = 1, "en", "English.";
    Arabic = 2, "ar", "Arabic.";
    Armenian = 3, "hy", "Armenian.";
    Basque = 4, "eu", "Basque.";
    Catalan = 5, "ca", "Catalan.";
    Czech = 6, "cs", "Czech.";
    Danish = 7, "da", "Danish.";
    Dutch = 8, "nl", "Dutch.";
    Esperanto = 9, "eo", "Esperanto.";
    Estonian = 10, "et", "Estonian.";
    Finnish = 11, "fi", "Finnish.";
    French = 12, "fr", "French.";
    German = 13, "de", "German.";
    Greek = 14, "el", "Greek.";
    Hindi = 15, "hi", "Hindi.";
    Hungarian = 16, "hu", "Hungarian.";
    Indonesian = 17, "id", "Indonesian.";
    Irish = 18, "ga", "Irish.";
    Italian = 19, "it", "Italian.";
    Lithuanian = 20, "lt", "Lithuanian.";
    Nepali = 21, "ne", "Nepali.";
    Norwegian = 22, "no", "Norwegian, either written form.";
    Persian = 23, "fa", "Persian.";
    Polish = 24, "pl", "Polish.";
    Portuguese = 25, "pt", "Portuguese.";
    Romanian = 26, "ro", "Romanian.";
    Russian = 27, "ru", "Russian.";
    Sesotho = 28, "st", "Sesotho.";
    Spanish = 29, "es", "Spanish.";
    Swedish = 30, "sv", "Swedish.";
    Tamil = 31, "ta", "Tamil.";
    Turkish = 32, "tr", "Turkish.";
    Ukrainian = 33, "uk", "Ukrainian.";
}

/// Words of the stop lists that carry the sense of a support question: negations (`can not export`), the particles of
/// phrasal verbs (`log out`, `time off`), order and place (`before`, `between`), and the single letters of shortcuts.
fn meaningful(language: Language) -> &'static str {
    match language {
        Language::English => {
            "no nor not only own same off on out over up down under above below before after again against \
             between during until once further now all each more most few other both d m o s t y ma re"
        }
        Language::German => "nicht nichts ohne kein keine keinen vor nach aus alle nur",
        Language::French => "pas c d j l m n s t",
        Language::Spanish => "no ni sin nada antes hasta todos todo",
        Language::Portuguese => "não nem sem",
        Language::Italian => "non contro tutti tutto c l",
        Language::Dutch => "niet niets geen zonder uit na alles",
        Language::Russian => "не нет без ничего",
        _ => "",
    }
}

/// Words of questions and requests that are missing from the stop lists; they vote, they are not removed. Names of things
/// that several languages share (`plan`, `timer`, `login`) are left out.
fn cues(language: Language) -> &'static str {
    match language {
        Language::English => {
            "how what where when why which who does can could should is are the without export get set add change \
             cannot can't use using there way possible many much see show delete remove turn enable create edit \
             missing track employee invoice time limit between difference allow account apply archive assign billing bulk \
             calendar cancel card care come comment copy cost custom dark date disable does download email expense \
             feature field file find free full good group hay hour hours install invite key language link list lock manage \
             month name number off one page password pay payment permission pricing public rate reminder report request \
             reset restore role save schedule search security send settings share sheet sign single stop submit \
             subscription sync table tag task timesheet upgrade user users view week weekly work workspace year"
        }
        Language::German => {
            "wie wo was wann warum wieso wer welche kann lösche löschen ändern ändere einen meine gibt geht \
             funktioniert möchte viele viel kosten kostet hinzufügen erstellen exportieren bitte rechnung \
             passwort zurücksetzen benutzer über dauert lange erfassen rechnungen speichern anmelden projekte zeit \
             berichte"
        }
        Language::French => {
            "comment pourquoi où quand quel quelle quels quelles combien est peut puis peux faire supprimer \
             ajouter modifier changer exporter utiliser mot passe créer compte facture rapport utilisateur il je \
             mon faut réinitialiser"
        }
        Language::Spanish => {
            "cómo como dónde donde cuándo cuánto cuánta cuántos cuesta cuál qué quién puedo puede hacer cambiar \
             eliminar añadir agregar crear usar borrar exportar contraseña informe factura cuenta restablecer mi \
             hay"
        }
        Language::Italian => {
            "come dove quando quanto perché quale quali posso può fare cambiare eliminare aggiungere creare \
             esportare modificare cosa che fattura costa utente esporto rapporto mia mio fatture reimpostare riesco \
             lingua progetto"
        }
        Language::Portuguese => {
            "como onde quando quanto porque por qual quais posso pode fazer alterar excluir adicionar criar \
             exportar usar senha relatório fatura meu minha você quanto custa mudar editar conta usuário faturas idioma"
        }
        Language::Dutch => {
            "hoe waar wanneer waarom welke wat kan ik een het mijn verwijderen toevoegen wijzigen maken factuur \
             wachtwoord gebruiker exporteren kost hoeveel"
        }
        Language::Polish => {
            "jak gdzie kiedy dlaczego czy ile mogę można który zmienić dodać usunąć kosztuje hasło hasła nie projekt raport \
             użytkownika fakturę faktury"
        }
        Language::Czech => "jak kde kdy proč mohu můžu kolik který lze změnit",
        Language::Swedish => "hur var när varför vilken kan jag mitt och ändra",
        Language::Danish => "hvordan hvor hvornår hvorfor hvilken kan jeg min ændre",
        Language::Norwegian => "hvordan hvor når hvorfor hvilken kan jeg min endre",
        Language::Finnish => "miten missä milloin miksi mikä voinko kuinka voi",
        Language::Hungarian => "hogyan hol mikor miért mennyi tudom lehet hogy",
        Language::Romanian => "cum unde când care cât pot este pentru",
        Language::Turkish => "nasıl nerede neden hangi nedir bir için kaç var",
        Language::Catalan => "com quan quin quina puc amb què per una",
        Language::Indonesian => "bagaimana dimana kapan mengapa apa cara saya apakah yang",
        _ => "",
    }
}

/// Letters that only one or two of the known languages write.
const LETTERS: &[(char, &[Language])] = &[
    ('ß', &[Language::German]),
    ('ñ', &[Language::Spanish, Language::Basque]),
    ('¿', &[Language::Spanish]),
    ('¡', &[Language::Spanish]),
    ('ã', &[Language::Portuguese]),
    ('õ', &[Language::Portuguese, Language::Estonian]),
    ('œ', &[Language::French]),
    ('ê', &[Language::French, Language::Portuguese]),
    ('ù', &[Language::French, Language::Italian]),
    ('å', &[Language::Swedish, Language::Danish, Language::Norwegian]),
    ('ø', &[Language::Danish, Language::Norwegian]),
    ('æ', &[Language::Danish, Language::Norwegian]),
    ('ł', &[Language::Polish]),
    ('ż', &[Language::Polish]),
    ('ś', &[Language::Polish]),
    ('ę', &[Language::Polish, Language::Lithuanian]),
    ('ě', &[Language::Czech]),
    ('ř', &[Language::Czech]),
    ('ů', &[Language::Czech]),
    ('ő', &[Language::Hungarian]),
    ('ű', &[Language::Hungarian]),
    ('ă', &[Language::Romanian]),
    ('ț', &[Language::Romanian]),
    ('ș', &[Language::Romanian]),
    ('ğ', &[Language::Turkish]),
    ('ı', &[Language::Turkish]),
    ('ş', &[Language::Turkish]),
    ('ė', &[Language::Lithuanian]),
    ('ĉ', &[Language::Esperanto]),
    ('ŭ', &[Language::Esperanto]),
];

const SLOTS: usize = Language::ALL.len() + 1;

impl Language {
    /// The Snowball stemmer of the language.
    pub(super) fn stemmer(self) -> Option<Stemmer> {
        self.algorithm().map(Stemmer::new)
    }

    /// The language's stop words, folded as terms are.
    pub(crate) fn stop_words(self) -> &'static FxHashSet<Box<str>> {
        static LISTS: [OnceLock<FxHashSet<Box<str>>>; SLOTS] = [const { OnceLock::new() }; SLOTS];
        static NONE: OnceLock<FxHashSet<Box<str>>> = OnceLock::new();
        let list = LISTS.get(self as usize).unwrap_or(&NONE);
        list.get_or_init(|| {
            let keep: Vec<&str> = meaningful(self).split_whitespace().collect();
            let words = stop_words::lookup(self.code()).unwrap_or_default().iter();
            words.filter(|word| !keep.contains(word)).map(|word| folded(word, self)).collect()
        })
    }

    /// The words that end in an apostrophe and lean on the next (`l'utilisateur`, `dell'utente`).
    pub(super) fn elisions(self) -> &'static [&'static str] {
        match self {
            Self::French => &["l", "d", "j", "m", "t", "s", "n", "c", "qu", "jusqu", "lorsqu", "puisqu", "quoiqu"],
            Self::Italian => &[
                "l", "un", "d", "c", "m", "t", "s", "v", "all", "dall", "dell", "nell", "sull", "quest", "quell",
                "agl", "dagl", "degl", "negl", "sugl", "dov", "com", "cos",
            ],
            Self::Catalan => &["l", "d", "m", "n", "s", "t"],
            _ => &[],
        }
    }
}

fn folded(word: &str, language: Language) -> Box<str> {
    let mut folded = String::with_capacity(word.len());
    fold_into(word, language, &mut folded);
    folded.into_boxed_str()
}

/// The languages that use a word, as bits.
#[derive(Clone, Copy, Default)]
struct Vote {
    languages: u64,
    /// Those of them that it belongs to beyond doubt: it was chosen by hand for them, or has a letter beyond ASCII.
    own: u64,
}

/// The function words of the languages in Latin letters.
fn votes() -> &'static FxHashMap<Box<str>, Vote> {
    static VOTES: OnceLock<FxHashMap<Box<str>, Vote>> = OnceLock::new();
    VOTES.get_or_init(|| {
        let mut votes: FxHashMap<Box<str>, Vote> = FxHashMap::default();
        for &language in Language::ALL {
            let bit = 1 << (language as u8);
            for word in stop_words::lookup(language.code()).unwrap_or_default() {
                if word.chars().next().is_some_and(|first| first < '\u{250}') {
                    let vote = votes.entry(folded(word, Language::Unknown)).or_default();
                    vote.languages |= bit;
                    vote.own |= if word.is_ascii() { 0 } else { bit };
                }
            }
            for word in cues(language).split_whitespace() {
                let vote = votes.entry(folded(word, Language::Unknown)).or_default();
                vote.languages |= bit;
                vote.own |= bit;
            }
        }
        votes
    })
}

/// The language a text is written in, judged by its script, its function words and, where it is long enough, its
/// trigrams; `fallback` when they do not tell. A script that no known language uses gives [`Language::Unknown`].
#[must_use]
pub fn detect_language(text: &str, fallback: Language) -> Language {
    let sample = &text[..text.floor_char_boundary(SAMPLE_BYTES)];
    match script(sample) {
        Script::None => fallback,
        Script::Latin => latin(sample, fallback),
        Script::Cyrillic => cyrillic(sample, fallback),
        Script::Arabic if sample.contains(['پ', 'چ', 'ژ', 'گ', 'ک', 'ی']) => Language::Persian,
        Script::Arabic => Language::Arabic,
        Script::Devanagari => devanagari(sample, fallback),
        Script::Greek => Language::Greek,
        Script::Tamil => Language::Tamil,
        Script::Armenian => Language::Armenian,
        Script::Other => Language::Unknown,
    }
}

/// The ISO 639-1 code of the language a text is written in: as [`detect_language`], and by script alone for languages the
/// analyser has no rules for. `fallback` when nothing tells.
#[must_use]
pub fn detect_code(text: &str, fallback: &str) -> String {
    let sample = &text[..text.floor_char_boundary(SAMPLE_BYTES)];
    if script(sample) == Script::Other {
        return code_of_script(sample).unwrap_or(fallback).to_owned();
    }
    match detect_language(sample, Language::from_code(fallback)) {
        Language::Unknown => fallback.to_owned(),
        found => found.code().to_owned(),
    }
}

/// The language that is nearly alone in writing the script of most letters.
fn code_of_script(text: &str) -> Option<&'static str> {
    const CODES: [&str; 8] = ["ja", "ko", "zh", "he", "th", "ka", "bn", "te"];
    let mut counts = [0_usize; CODES.len()];
    for c in text.chars() {
        let place = match c as u32 {
            0x3040..0x3100 => 0,
            0x1100..0x1200 | 0xAC00..0xD7A4 => 1,
            0x3400..0x4DC0 | 0x4E00..0xA000 => 2,
            0x590..0x600 => 3,
            0xE00..0xE80 => 4,
            0x10A0..0x1100 => 5,
            0x980..0xA00 => 6,
            0xC00..0xC80 => 7,
            _ => continue,
        };
        // Japanese is written with ideographs too; a Chinese text has no kana.
        counts[place] += if place == 0 { text.len() } else { 1 };
    }
    let (&most, code) = counts.iter().zip(CODES).max_by_key(|(count, _)| **count)?;
    (most > 0).then_some(code)
}

/// As much of a text as is looked at: more does not change the verdict.
const SAMPLE_BYTES: usize = 4096;
/// The letters from which on trigrams are worth asking.
const LONG_TEXT: usize = 120;
/// The least sum of votes, and the least lead over the second, that decide a short text.
const ENOUGH: f32 = 0.45;
const LEAD: f32 = 0.15;
/// What the fallback has in advance: it wins draws, not arguments.
const PRIOR: f32 = 0.1;
/// The least share of a vote that is telling: words of four languages and more are in all of them by accident.
const TELLING: f32 = 0.3;
/// The words from which on a text is long: the least share of them that are function words of its language, and the least
/// lead over the second as a share of those.
const LONG_WORDS: usize = 40;
const LONG_SHARE: f32 = 0.2;
const LONG_LEAD: f32 = 0.25;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Script {
    None,
    Latin,
    Cyrillic,
    Greek,
    Arabic,
    Devanagari,
    Tamil,
    Armenian,
    Other,
}

/// The script of most letters. Names of products are often Latin in any language, so another script wins from two fifths.
fn script(text: &str) -> Script {
    let mut counts = [0_usize; 9];
    for c in text.chars().filter(|c| c.is_alphabetic()) {
        let script = match c as u32 {
            ..0x250 | 0x1E00..0x1F00 => Script::Latin,
            0x370..0x400 | 0x1F00..0x2000 => Script::Greek,
            0x400..0x530 => Script::Cyrillic,
            0x530..0x590 => Script::Armenian,
            0x600..0x700 | 0x750..0x780 | 0xFB50..0xFE00 | 0xFE70..0xFF00 => Script::Arabic,
            0x900..0x980 => Script::Devanagari,
            0xB80..0xC00 => Script::Tamil,
            _ => Script::Other,
        };
        // An ideograph says as much as a word of letters.
        let weight = if script == Script::Other { 3 } else { 1 };
        if let Some(count) = counts.get_mut(script as usize) {
            *count += weight;
        }
    }
    let total: usize = counts.iter().sum();
    let others = [
        Script::Cyrillic,
        Script::Greek,
        Script::Arabic,
        Script::Devanagari,
        Script::Tamil,
        Script::Armenian,
        Script::Other,
    ];
    let best = others.into_iter().max_by_key(|script| counts.get(*script as usize).copied().unwrap_or(0));
    match best {
        _ if total == 0 => Script::None,
        Some(script) if counts.get(script as usize).is_some_and(|&count| count * 5 >= total * 2) => script,
        _ => Script::Latin,
    }
}

fn cyrillic(text: &str, fallback: Language) -> Language {
    let count = |letters: &[char]| text.chars().filter(|c| letters.contains(c)).count();
    let ukrainian = count(&['і', 'ї', 'є', 'ґ', 'І', 'Ї', 'Є', 'Ґ']);
    let russian = count(&['ы', 'э', 'ё', 'ъ', 'Ы', 'Э', 'Ё', 'Ъ']);
    match ukrainian.cmp(&russian) {
        Ordering::Greater => Language::Ukrainian,
        Ordering::Equal if fallback == Language::Ukrainian => Language::Ukrainian,
        Ordering::Less | Ordering::Equal => Language::Russian,
    }
}

fn devanagari(text: &str, fallback: Language) -> Language {
    let votes = |language: Language| {
        let list = language.stop_words();
        text.split(|c: char| c.is_whitespace() || c.is_ascii_punctuation()).filter(|word| list.contains(*word)).count()
    };
    let (hindi, nepali) = (votes(Language::Hindi), votes(Language::Nepali));
    if nepali > hindi || (nepali == hindi && fallback == Language::Nepali) { Language::Nepali } else { Language::Hindi }
}

fn latin(text: &str, fallback: Language) -> Language {
    let tally = Tally::of(text);
    if tally.words >= LONG_WORDS {
        let (best, second) = ranked(|language| tally.hits(language), fallback);
        if best.1 >= LONG_SHARE * tally.words as f32 && best.1 - second >= LONG_LEAD * best.1 {
            return best.0;
        }
    }
    let prior = |language| if language == fallback { PRIOR } else { 0.0 };
    let (best, second) = ranked(|language| tally.score(language) + prior(language), fallback);
    if best.1 >= ENOUGH && best.1 - second >= LEAD && tally.convinces(best.0, fallback) {
        return best.0;
    }
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let found = if letters >= LONG_TEXT { whatlang::detect(text).filter(whatlang::Info::is_reliable) } else { None };
    // Trigrams settle what the words leave open; they do not overrule them, because lists of names deceive them.
    match found.map(|found| Language::from_code(three_to_two(found.lang().code()))) {
        Some(language) if tally.score(language) > 0.0 && tally.score(language) + LEAD >= best.1 => language,
        _ => fallback,
    }
}

/// The language with the largest value and that value, and the second largest; `fallback` when all are 0.
fn ranked(value: impl Fn(Language) -> f32, fallback: Language) -> ((Language, f32), f32) {
    let mut best = (fallback, 0.0_f32);
    let mut second = 0.0_f32;
    for &language in Language::ALL {
        let value = value(language);
        if value > best.1 {
            second = best.1;
            best = (language, value);
        } else if value > second {
            second = value;
        }
    }
    (best, second)
}

/// What the words and letters of a text say for each language, by number.
struct Tally {
    /// Votes, each divided among the languages of its word.
    scores: [f32; SLOTS],
    /// Occurrences of words, each counted whole for all its languages.
    hits: [u32; SLOTS],
    /// Different words that few other languages have.
    telling: [u32; SLOTS],
    /// The languages with a word or a letter that is theirs beyond doubt.
    own: u64,
    /// All words.
    words: usize,
}

impl Tally {
    fn of(text: &str) -> Self {
        let mut tally = Self { scores: [0.0; SLOTS], hits: [0; SLOTS], telling: [0; SLOTS], own: 0, words: 0 };
        let mut seen: FxHashSet<Box<str>> = FxHashSet::default();
        let mut word = String::new();
        let inside = |c: char| c.is_alphanumeric() || matches!(c, '\'' | '\u{2019}' | '_');
        for run in text.split(|c: char| !inside(c)).map(|run| run.trim_matches(['\'', '\u{2019}'])) {
            if !run.starts_with(char::is_alphabetic) || run.contains('_') {
                continue;
            }
            if run.len() == 1 && !run.contains(['a', 'e', 'i', 'o', 'u', 'w', 'y', 'z']) {
                continue;
            }
            tally.words += 1;
            word.clear();
            fold_into(run, Language::Unknown, &mut word);
            let head = word.find('\'').map(|at| &word[..at]);
            for candidate in [Some(word.as_str()), head].into_iter().flatten() {
                if let Some(vote) = votes().get(candidate) {
                    tally.count(*vote, seen.insert(Box::from(candidate)));
                }
            }
        }
        for c in text.chars().filter(|c| !c.is_ascii()) {
            tally.count_letter(c.to_lowercase().next().unwrap_or(c));
        }
        tally
    }

    fn count(&mut self, vote: Vote, first: bool) {
        let share = 1.0 / (vote.languages.count_ones().max(1) as f32);
        for number in bits(vote.languages) {
            self.scores[number] += share;
            self.hits[number] += 1;
            self.telling[number] += u32::from(first && share >= TELLING);
        }
        if vote.own & 1 << (Language::English as u8) == 0 {
            self.own |= vote.own;
        }
    }

    fn count_letter(&mut self, letter: char) {
        let Some((_, languages)) = LETTERS.iter().find(|(known, _)| *known == letter) else { return };
        for &language in *languages {
            self.scores[language as usize] += 0.5 / languages.len() as f32;
            self.own |= 1 << (language as u8);
        }
    }

    fn score(&self, language: Language) -> f32 {
        self.scores[language as usize]
    }

    fn hits(&self, language: Language) -> f32 {
        self.hits[language as usize] as f32
    }

    /// Whether the words are more than a coincidence.
    fn convinces(&self, language: Language, fallback: Language) -> bool {
        let own = self.own & 1 << (language as u8) != 0;
        // English words are in the texts of every language, so they need company as well.
        let expected = language == fallback || (language == Language::English && fallback == Language::Unknown);
        own || expected || self.telling[language as usize] >= 2
    }
}

/// The numbers of the bits that are set.
fn bits(mut set: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let number = set.trailing_zeros() as usize;
        set &= set.wrapping_sub(1);
        (number < SLOTS).then_some(number)
    })
}

/// The ISO 639-1 code for the 639-3 code of a language that is both known here and told apart by trigrams.
fn three_to_two(code: &str) -> &'static str {
    match code {
        "eng" => "en",
        "cat" => "ca",
        "ces" => "cs",
        "dan" => "da",
        "nld" => "nl",
        "epo" => "eo",
        "est" => "et",
        "fin" => "fi",
        "fra" => "fr",
        "deu" => "de",
        "hun" => "hu",
        "ind" => "id",
        "ita" => "it",
        "lit" => "lt",
        "nob" => "no",
        "pol" => "pl",
        "por" => "pt",
        "ron" => "ro",
        "spa" => "es",
        "swe" => "sv",
        "tur" => "tr",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_has_a_code_and_stop_words() {
        for &language in Language::ALL {
            assert_eq!(Language::from_code(language.code()), language);
            assert!(!language.stop_words().is_empty(), "{language:?} has no stop words");
        }
        assert_eq!(SLOTS, Language::ALL.iter().map(|language| *language as usize).max().unwrap() + 1);
    }

    #[test]
    fn codes_with_regions() {
        assert_eq!(Language::from_code("pt-BR"), Language::Portuguese);
        assert_eq!(Language::from_code("DE_at"), Language::German);
        assert_eq!(Language::from_code("nb"), Language::Norwegian);
        assert_eq!(Language::from_code("xx"), Language::Unknown);
        assert_eq!(Language::from_code(""), Language::Unknown);
    }

    #[test]
    fn short_questions() {
        let cases = [
            (Language::English, "How do I export reports?"),
            (Language::English, "Where can I see invoices?"),
            (Language::English, "can not log in anymore"),
            (Language::English, "What is the API limit?"),
            (Language::English, "Why is my timer running?"),
            (Language::English, "Who can approve time off?"),
            (Language::English, "delete a project for good"),
            (Language::German, "Wie exportiere ich einen Bericht?"),
            (Language::German, "Kann ich Rechnungen exportieren?"),
            (Language::German, "Was kostet der Plan?"),
            (Language::German, "Passwort vergessen, was nun?"),
            (Language::German, "Wo finde ich meine Rechnungen?"),
            (Language::German, "Warum startet der Timer nicht?"),
            (Language::French, "Comment exporter un rapport ?"),
            (Language::French, "Où trouver mes factures ?"),
            (Language::French, "Puis-je supprimer mon compte ?"),
            (Language::French, "Pourquoi l'application ne démarre pas ?"),
            (Language::French, "Combien coûte cet abonnement ?"),
            (Language::Spanish, "¿Cómo exporto un informe?"),
            (Language::Spanish, "Donde veo mis facturas"),
            (Language::Spanish, "¿Puedo eliminar mi cuenta?"),
            (Language::Spanish, "¿Cuánto cuesta el plan?"),
            (Language::Spanish, "como cambiar la contraseña"),
            (Language::Italian, "Come posso esportare il rapporto?"),
            (Language::Portuguese, "Como posso exportar um relatório?"),
            (Language::Dutch, "Hoe kan ik een rapport exporteren?"),
            (Language::Polish, "Jak mogę zmienić hasło?"),
            (Language::Russian, "Как экспортировать отчёт?"),
            (Language::Ukrainian, "Як змінити пароль у програмі?"),
            (Language::Greek, "Πώς αλλάζω τον κωδικό;"),
            (Language::Arabic, "كيف أغير كلمة المرور؟"),
            (Language::Persian, "چگونه گذرواژه را تغییر دهم؟"),
            (Language::Hindi, "मैं पासवर्ड कैसे बदलूँ?"),
        ];
        for (language, question) in cases {
            for fallback in [Language::Unknown, Language::English, Language::German] {
                assert_eq!(detect_language(question, fallback), language, "{question} with {fallback:?}");
            }
        }
    }

    #[test]
    fn questions_and_fragments_are_the_default_language_unless_there_is_evidence() {
        let cases = [
            ("en", "How do I export reports?|password reset link|reset password|dark mode|invoice template"),
            ("en", "time off policy|bulk edit entries|API rate limits|kiosk pin|can not log in|billing"),
            ("en", "multi-factor authentication|link to a project|cancel subscription|team members"),
            ("en", "import data from CSV|what is a workspace|delete account|two step login|SSO setup"),
            ("en", "sign in via Google|max file size|comment on a task|hourly rates per member|pause timer"),
            ("en", "why is my report empty|mobile app offline|plan comparison|no data in dashboard"),
            ("en", "error 403 when exporting|GPS tracking on Android|come back to an old version|add a user"),
            ("en", "tag list|est time of arrival|refund|QuickBooks sync|dates in wrong format"),
            ("de", "Wie exportiere ich einen Bericht?|Passwort zurücksetzen|Wo finde ich meine Rechnungen?"),
            ("de", "Rechnung als PDF speichern|Kann man Projekte archivieren?|Zeit für andere Benutzer eintragen"),
            ("de", "Benutzer löschen|Wie lange dauert der Testzeitraum?|Was ist ein Arbeitsbereich?"),
            ("de", "Anmeldung funktioniert nicht mehr|Überstunden erfassen"),
            ("fr", "Comment exporter un rapport ?|mot de passe oublié|Où sont mes factures ?"),
            ("fr", "supprimer un utilisateur|Comment ajouter un projet|Puis-je changer la langue ?"),
            ("fr", "réinitialiser le mot de passe|Est-ce que le minuteur marche hors ligne ?"),
            ("fr", "Combien coûte l'abonnement|télécharger la facture"),
            ("es", "¿Cómo exporto un informe?|restablecer contraseña|Dónde están mis facturas|eliminar un usuario"),
            ("es", "cómo añadir un proyecto|¿Puedo cambiar el idioma?|no puedo iniciar sesión"),
            ("es", "cuánto cuesta el plan|descargar la factura"),
            ("pt", "Como exporto um relatório?|redefinir senha|Onde estão minhas faturas?|excluir um usuário"),
            ("pt", "como adicionar um projeto|Posso mudar o idioma?|não consigo entrar na minha conta"),
            ("pt", "quanto custa o plano"),
            ("it", "Come esporto un rapporto?|Dove sono le mie fatture?|eliminare un utente"),
            ("it", "come aggiungere un progetto|Posso cambiare la lingua?|quanto costa il piano"),
            ("it", "non riesco ad accedere|reimpostare la mia password"),
            ("nl", "Hoe exporteer ik een rapport?|wachtwoord vergeten|Waar vind ik mijn facturen?"),
            ("nl", "gebruiker verwijderen|hoe voeg ik een project toe|Kan ik de taal wijzigen?"),
            ("nl", "wat kost het abonnement|ik kan niet inloggen"),
            ("pl", "Jak wyeksportować raport?|resetowanie hasła|Gdzie są moje faktury?|usunąć użytkownika"),
            ("pl", "jak dodać projekt|Czy mogę zmienić język?|ile kosztuje plan|nie mogę się zalogować"),
            ("ru", "Как экспортировать отчёт?|сброс пароля"),
            ("uk", "Як змінити пароль?"),
            ("el", "Πώς αλλάζω τον κωδικό;"),
            ("ar", "كيف أغير كلمة المرور؟"),
            ("hi", "मैं पासवर्ड कैसे बदलूँ?"),
            ("ja", "レポートをエクスポートする方法|パスワードのリセット"),
            ("zh", "如何导出 PDF 报告|重置密码"),
            ("ko", "비밀번호 재설정"),
            ("th", "รีเซ็ตรหัสผ่าน"),
            ("he", "איך מאפסים סיסמה"),
        ];
        for (code, questions) in cases {
            for question in questions.split('|') {
                assert_eq!(detect_code(question, "en"), code, "{question}");
            }
        }
    }

    #[test]
    fn a_default_language_takes_fragments_and_not_questions() {
        for fragment in ["Timer Widget", "QuickBooks", "Bericht", "multi-node cluster", "num_cpus"] {
            assert_eq!(detect_code(fragment, "de"), "de", "{fragment}");
        }
        for question in ["How do I export reports?", "password reset link", "Who can approve time off?"] {
            assert_eq!(detect_code(question, "de"), "en", "{question}");
        }
        assert_eq!(detect_code("12345", "sr"), "sr");
    }

    #[test]
    fn a_long_text_is_told_by_its_function_words() {
        let names = "Comment on: Lin KL, Roy T, Das S, Dun ID. Numbers from the studies have been reported for U. aurea \
                     (n=21); U. minor (n=10); U. vulgaris (n=8) and U. dans (n=7). There are two races of them in the south, \
                     as the table shows, and one of these is not the same as the one that was found before.";
        assert_eq!(detect_code(names, ""), "en");
        let german = "Ein Plan legt fest, wie viele Benutzer arbeiten und welche Berichte sie sehen. Wer mehr braucht, wechselt \
                      den Plan in den Einstellungen; der Preis gilt vom nächsten Monat an, und was schon bezahlt ist, wird \
                      angerechnet. Team, Timer und Dashboard bleiben dabei so, wie sie sind.";
        assert_eq!(detect_code(german, "en"), "de");
        let spanish = "El plan dice cuántas personas trabajan en el espacio y qué informes ven. Quien necesita más cambia de \
                       plan en la configuración; el precio vale desde el mes que viene y lo que ya está pagado se descuenta. \
                       Los informes y las facturas quedan como están.";
        assert_eq!(detect_code(spanish, "en"), "es");
    }

    #[test]
    fn a_script_without_rules_is_not_the_fallback() {
        assert_eq!(detect_language("レポートをエクスポートする方法", Language::English), Language::Unknown);
        assert_eq!(detect_language("如何导出 PDF 报告", Language::English), Language::Unknown);
    }

    #[test]
    fn nothing_to_judge_gives_the_fallback() {
        for text in ["", "12345 :-)", "🙂🙂", "SSO SAML2.0", "xyzzy"] {
            assert_eq!(detect_language(text, Language::German), Language::German, "{text}");
        }
    }
}
