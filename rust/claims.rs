//! Whether what a sentence states stands in the passages that it cites.
//!
//! A model's sentence is checked in what can be checked without understanding it. What must stand in the passages as it stands in the
//! sentence are its *facts*: numbers with their units, identifiers, names of products and menus, and whether it negates. How much of
//! the rest they say is measured twice, by words ([`Support::window`]) and by vectors ([`Support::cosine`]); what
//! these measures are worth is for the caller to say, who calibrates them.
//!
//! Facts are compared where the sentence comes from, not only anywhere: a passage that gives 20 seats to one plan and 50 to another
//! has both numbers, so where a sentence is nearly a run of the passage, that run must have its facts. A sentence in another language
//! than its passage shares no words with it: only numbers and identifiers are compared then, and nothing is measured.

use std::ops::Range;
use std::sync::OnceLock;

use rustc_hash::FxHashMap;

use crate::analysis::Language;
use crate::embedding::StaticEmbedding;
use crate::quotes::{Run, Text, Words, align};
use crate::sentences;

mod facts;
mod statements;

pub use statements::{Statement, statements};

use facts::{Name, Number, Polarity, Stated};

/// A sentence with this share of words (Dice) in a run of a passage is taken from that run.
const TAKEN: f32 = 0.6;

/// With this share it is the run, but for a word or two.
const VERBATIM: f32 = 0.9;

/// Words around a run in which its names and numbers may still stand.
const AROUND: usize = 4;

/// A text that may be cited.
#[derive(Debug)]
pub struct Passage {
    text: Text,
    above: Text,
    language: Language,
    stated: OnceLock<Stated>,
    named: OnceLock<Stated>,
}

/// What of a sentence does not stand in its passages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number.
    Number,
    /// A number that counts something else there.
    Unit,
    /// A word such as `user_id`, `CSV` or `/api/v1`.
    Identifier,
    /// A name of a product, a menu or a page.
    Name,
    /// A negation, or its absence.
    Negation,
}

/// A fact that does not stand in the passages, as the sentence has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Of what kind it is.
    pub kind: Kind,
    /// The sentence's own words; for a negation that is missing, the passage's.
    pub words: String,
}

/// How much of a sentence the passages say.
#[derive(Clone, Debug, PartialEq)]
pub struct Support {
    /// The share of its informative words that stand together in one place of a passage, headings counted, 0 to 1.
    pub window: f32,
    /// The cosine of its vector and that of the place; `None` without vectors, and where either is zero.
    pub cosine: Option<f32>,
    /// The passage of that place, and its sentence there that most of the run lies in that this sentence is nearest to.
    pub place: (usize, Run),
}

/// What was found of a sentence.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// The facts that are missing, in order of kind.
    pub problems: Vec<Problem>,
    /// `None` for a sentence that shares no word with its passages, or is of another language than all of them.
    pub support: Option<Support>,
    /// Whether one of the passages is of the sentence's language, so that its words could be compared.
    pub comparable: bool,
}

/// A sentence that is compared with passages: what comparing needs of it is derived once.
#[derive(Debug)]
pub struct Sentence {
    text: Text,
    language: Language,
    stated: Stated,
    /// Its informative words by stem, all its words where it has none, numbered.
    terms: FxHashMap<u64, usize>,
    /// All words by stem, numbered.
    words: FxHashMap<u64, u32>,
    /// The words in order.
    order: Vec<u32>,
}

impl Passage {
    /// A passage.
    ///
    /// `text` is what is cited and `above` the titles that stand over it; `language` is an ISO 639-1 code, empty when unknown.
    #[must_use]
    pub fn new(text: String, above: String, language: &str) -> Self {
        Self {
            text: Text::new(text),
            above: Text::new(above),
            language: Language::from_code(language),
            stated: OnceLock::new(),
            named: OnceLock::new(),
        }
    }

    /// The text in which quotes are looked for.
    #[must_use]
    pub fn text(&self) -> &Text {
        &self.text
    }

    fn stated(&self) -> &Stated {
        self.stated.get_or_init(|| Stated::new(&self.text, self.language))
    }

    fn named(&self) -> &Stated {
        self.named.get_or_init(|| Stated::new(&self.above, self.language))
    }

    fn names(&self, words: &Words) -> bool {
        self.text.names(words) || self.above.names(words)
    }

    fn numbers(&self) -> impl Iterator<Item = &Number> {
        self.stated().numbers.iter().chain(&self.named().numbers)
    }
}

/// Compares a sentence with the passages that it cites, by their places in `passages`; `embedding` should know its language.
#[must_use]
pub fn check(
    sentence: &Sentence,
    passages: &[Passage],
    cited: &[usize],
    embedding: Option<&StaticEmbedding>,
) -> Checked {
    let Compared { problems, best, comparable } = sentence.compare(passages, cited);
    Checked { problems, support: best.and_then(|place| sentence.support(&place, passages, embedding)), comparable }
}

/// How much of a sentence each of some passages says that has all its facts and could be compared, by their places in `passages`.
#[must_use]
pub fn saying(
    sentence: &Sentence,
    passages: &[Passage],
    places: &[usize],
    embedding: Option<&StaticEmbedding>,
) -> Vec<Support> {
    let says = |&place: &usize| {
        let compared = sentence.compare(passages, &[place]);
        let best = compared.best.filter(|_| compared.problems.is_empty())?;
        sentence.support(&best, passages, embedding)
    };
    places.iter().filter_map(says).collect()
}

/// What comparing words comes to.
struct Compared {
    problems: Vec<Problem>,
    /// Where most of the sentence stands.
    best: Option<Place>,
    comparable: bool,
}

impl Sentence {
    /// A sentence, and the ISO 639-1 code of its language, empty when unknown.
    #[must_use]
    pub fn new(text: String, language: &str) -> Self {
        let (text, language) = (Text::new(text), Language::from_code(language));
        let stated = Stated::new(&text, language);
        let mut terms = FxHashMap::default();
        let mut words = FxHashMap::default();
        let mut order = Vec::with_capacity(stated.words.len());
        let all = stated.words.iter().all(|word| !word.informative);
        for word in &stated.words {
            let number = words.len() as u32;
            order.push(*words.entry(word.stem).or_insert(number));
            if word.informative || all {
                let number = terms.len();
                terms.entry(word.stem).or_insert(number);
            }
        }
        Self { text, language, stated, terms, words, order }
    }

    fn compare(&self, passages: &[Passage], cited: &[usize]) -> Compared {
        let cited: Vec<(usize, &Passage)> =
            cited.iter().filter_map(|&place| passages.get(place).map(|passage| (place, passage))).collect();
        let alike = |passage: &Passage| {
            [self.language, passage.language].contains(&Language::Unknown) || self.language == passage.language
        };
        let same: Vec<(usize, &Passage)> = cited.iter().copied().filter(|(_, passage)| alike(passage)).collect();
        let comparable = !same.is_empty() || cited.is_empty();
        let places: Vec<Place> = same.iter().filter_map(|&(place, passage)| self.place(place, passage)).collect();
        let mut problems = numbers(&self.stated, &cited, comparable);
        problems.extend(identifiers(&self.stated, &cited));
        let nearer =
            |one: &Place, other: &Place| one.value().total_cmp(&other.value()).then(other.passage.cmp(&one.passage));
        let best = places.iter().enumerate().max_by(|(_, one), (_, other)| nearer(one, other)).map(|(row, _)| row);
        if comparable {
            let own = self.stated.names();
            problems.extend(names(&own, &same));
            problems.extend(negation(&self.stated, passages, &places));
            if let Some(place) = best.and_then(|best| places.get(best))
                && let Some(passage) = passages.get(place.passage)
            {
                problems.extend(self.elsewhere(&own, place, passage));
            }
        }
        problems.dedup();
        Compared { problems, best: best.and_then(|best| places.into_iter().nth(best)), comparable }
    }

    fn support(&self, place: &Place, passages: &[Passage], embedding: Option<&StaticEmbedding>) -> Option<Support> {
        let passage = passages.get(place.passage)?;
        let cosine = |embedding| cosine(embedding, self.text.as_str(), place.wording(passage)?);
        Some(Support {
            window: place.window,
            cosine: embedding.and_then(cosine),
            place: (place.passage, place.sentence(passage)?),
        })
    }

    /// Facts that stand in the passage, but not where the sentence was taken from, which has others; `own` are its names.
    fn elsewhere(&self, own: &[Name], place: &Place, passage: &Passage) -> Vec<Problem> {
        if place.taken < TAKEN {
            return Vec::new();
        }
        let theirs = passage.stated();
        let near = place.near(passage, AROUND);
        let here: Vec<&Number> =
            theirs.numbers.iter().filter(|number| near.contains(&number.word) && !number.implied).collect();
        let above = &passage.named().numbers;
        let unsaid = here.iter().any(|number| !self.stated.numbers.iter().any(|own| own.equals(number)));
        let moved = |own: &&Number| {
            let stands = here.iter().copied().chain(above).any(|number| number.equals(own));
            unsaid && !own.implied && !stands
        };
        let moved = self.stated.numbers.iter().filter(moved);
        let mut problems: Vec<Problem> =
            moved.map(|own| Problem { kind: Kind::Number, words: own.words.clone() }).collect();
        let unnamed = |name: &Name| !name.variants().any(|words| self.text.names(&words));
        if !own.is_empty() && theirs.names_in(near.clone()).iter().any(unnamed) {
            let near_by = Text::new(theirs.wording(near).to_owned());
            let missing =
                |name: &&Name| !name.variants().any(|words| near_by.names(&words) || passage.above.names(&words));
            let missing = own.iter().filter(missing);
            problems.extend(missing.map(|name| Problem { kind: Kind::Name, words: name.words().to_owned() }));
        }
        problems
    }

    /// The place of a passage that has most of the sentence's informative words, the first of equals.
    fn place(&self, number: usize, passage: &Passage) -> Option<Place> {
        let text = &passage.stated().words;
        let mut above = vec![false; self.terms.len()];
        for word in &passage.named().words {
            if let Some(&term) = self.terms.get(&word.stem) {
                above[term] = true;
            }
        }
        let length = self.order.len() * 3 / 2 + AROUND;
        let mut counts = vec![0_u32; self.terms.len()];
        let (mut held, mut best) = (0_usize, (0_usize, 0_usize));
        for (index, word) in text.iter().enumerate() {
            if let Some(&term) = self.terms.get(&word.stem) {
                held += usize::from(counts[term] == 0);
                counts[term] += 1;
            }
            if let Some(gone) = index.checked_sub(length).and_then(|index| text.get(index))
                && let Some(&term) = self.terms.get(&gone.stem)
            {
                counts[term] -= 1;
                held -= usize::from(counts[term] == 0);
            }
            if held > best.0 {
                best = (held, (index + 1).saturating_sub(length));
            }
        }
        if best.0 == 0 {
            return None;
        }
        let window = best.1..text.len().min(best.1 + length);
        let mut found = above;
        for word in text.get(window.clone())? {
            if let Some(&term) = self.terms.get(&word.stem) {
                found[term] = true;
            }
        }
        let around = window.start.saturating_sub(AROUND)..text.len().min(window.end + AROUND);
        let numbers: Vec<u32> = text
            .get(around.clone())?
            .iter()
            .map(|word| self.words.get(&word.stem).copied().unwrap_or(u32::MAX))
            .collect();
        let aligned = align(&self.order, &numbers)?;
        let run = around.start + aligned.first..around.start + aligned.last + 1;
        let taken = (2 * aligned.shared) as f32 / (self.order.len() + run.len()) as f32;
        Some(Place { passage: number, window: share(&found), around, run, taken })
    }
}

/// Where a sentence may come from.
#[derive(Debug)]
struct Place {
    passage: usize,
    /// Share of the informative words that stand there or above.
    window: f32,
    /// The words of the passage that were compared.
    around: Range<usize>,
    /// From the first to the last word that the sentence has in order.
    run: Range<usize>,
    /// Dice of the words of sentence and run.
    taken: f32,
}

fn share(found: &[bool]) -> f32 {
    found.iter().filter(|found| **found).count() as f32 / found.len().max(1) as f32
}

impl Place {
    /// What the best place has most of.
    fn value(&self) -> f32 {
        self.window + self.taken
    }

    fn wording<'a>(&self, passage: &'a Passage) -> Option<&'a str> {
        let stated = passage.stated();
        let (first, last) = (stated.words.get(self.around.start)?, stated.words.get(self.around.end.checked_sub(1)?)?);
        stated.folded.text.get(first.range.start..last.range.end)
    }

    /// The sentence of the passage that most of the run lies in.
    fn sentence(&self, passage: &Passage) -> Option<Run> {
        let stated = passage.stated();
        let (first, last) = (stated.words.get(self.run.start)?, stated.words.get(self.run.end.checked_sub(1)?)?);
        let run = stated.folded.source(first.range.start..last.range.end)?;
        Run::of(passage.text.as_str(), sentences::around(passage.text.as_str(), run))
    }

    /// The words of the sentences that the run lies in, and no more than `around` beside it.
    fn near(&self, passage: &Passage, around: usize) -> Range<usize> {
        let words = &passage.stated().words;
        let mut begin = self.run.start;
        while begin > self.run.start.saturating_sub(around) && words.get(begin).is_some_and(|word| !word.begins) {
            begin -= 1;
        }
        let mut end = self.run.end;
        while end < self.run.end.saturating_add(around) && words.get(end).is_some_and(|word| !word.begins) {
            end += 1;
        }
        begin..end
    }
}

fn cosine(embedding: &StaticEmbedding, one: &str, other: &str) -> Option<f32> {
    let mut vectors = vec![0_f32; 2 * embedding.dimension()];
    let (left, right) = vectors.split_at_mut(embedding.dimension());
    embedding.embed(one, left);
    embedding.embed(other, right);
    let known = left.iter().any(|value| *value != 0.0) && right.iter().any(|value| *value != 0.0);
    known.then(|| left.iter().zip(right.iter()).map(|(left, right)| left * right).sum())
}

/// The numbers that no passage has, or that count something else wherever they stand.
fn numbers(stated: &Stated, cited: &[(usize, &Passage)], comparable: bool) -> Vec<Problem> {
    let mut problems = Vec::new();
    for number in stated.numbers.iter().filter(|number| !number.implied) {
        let same: Vec<&Number> =
            cited.iter().flat_map(|(_, passage)| passage.numbers()).filter(|other| other.equals(number)).collect();
        if same.is_empty() {
            problems.push(Problem { kind: Kind::Number, words: number.words.clone() });
        } else if same.iter().all(|other| number.counts_another(other, comparable)) {
            problems.push(Problem { kind: Kind::Unit, words: number.words.clone() });
        }
    }
    problems
}

fn identifiers(stated: &Stated, cited: &[(usize, &Passage)]) -> Vec<Problem> {
    let stands = |word: &str| {
        let words = Words::new(word);
        cited.iter().any(|(_, passage)| passage.names(&words))
    };
    let missing = |word: &&String| {
        let singular = word.strip_suffix('s').filter(|word| word.len() > 1);
        let parts: Vec<&str> = word.split('-').filter(|part| facts::is_identifier(part)).collect();
        let in_parts =
            word.contains('-') && !word.starts_with('-') && !parts.is_empty() && parts.iter().all(|part| stands(part));
        !stands(word) && !singular.is_some_and(stands) && !in_parts
    };
    let missing = stated.identifiers().into_iter().filter(|word| missing(&word));
    missing.map(|words| Problem { kind: Kind::Identifier, words }).collect()
}

fn names(own: &[Name], cited: &[(usize, &Passage)]) -> Vec<Problem> {
    let missing = |name: &&Name| !name.variants().any(|words| cited.iter().any(|(_, passage)| passage.names(&words)));
    own.iter().filter(missing).map(|name| Problem { kind: Kind::Name, words: name.words().to_owned() }).collect()
}

/// A negation that stands in no sentence like it, or one of the passage's that the sentence leaves out.
fn negation(stated: &Stated, passages: &[Passage], places: &[Place]) -> Vec<Problem> {
    let found = |place: &Place, range: Range<usize>, polarity| {
        passages.get(place.passage).map(|passage| passage.stated().polarities(range, polarity)).unwrap_or_default()
    };
    let whole = |place: &Place| match passages.get(place.passage) {
        Some(passage) if place.taken >= TAKEN => place.near(passage, usize::MAX),
        _ => place.around.clone(),
    };
    let own = stated.polarities(0..stated.words.len(), Polarity::Negates);
    let best = places.iter().map(|place| place.window).fold(0.0, f32::max);
    let standing = |place: &Place| {
        [Polarity::Negates, Polarity::Restricts]
            .iter()
            .map(|polarity| found(place, whole(place), *polarity).len())
            .sum::<usize>()
    };
    let most = places.iter().filter(|place| place.window >= 0.8 * best).map(standing).max().unwrap_or(0);
    let nearest = places.iter().max_by(|one, other| one.taken.total_cmp(&other.taken));
    let doubled = nearest.is_some_and(|place| place.taken >= TAKEN && own.len() > standing(place));
    if let Some(word) = own.first()
        && (most == 0 || doubled)
    {
        return vec![Problem { kind: Kind::Negation, words: word.clone() }];
    }
    let Some(taken) = nearest else { return Vec::new() };
    let beside = passages.get(taken.passage).map_or(taken.run.clone(), |passage| taken.near(passage, 1));
    let theirs = found(taken, beside, Polarity::Negates);
    let enough = if own.is_empty() { TAKEN } else { VERBATIM };
    match theirs.first() {
        Some(word) if taken.taken >= enough && theirs.len() > own.len() => {
            vec![Problem { kind: Kind::Negation, words: word.clone() }]
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests;
