//! What proves a draft: quotes and claims against the passages that were shown.

use std::ops::Range;

use pyo3::prelude::*;

use super::Border;
use super::documents::in_characters;
use super::vectors::StaticEmbedder;
use crate::claims::{self, Kind, Passage, Sentence, Support};
use crate::quotes::{self, Judged, Text};

/// Passages that a draft is compared with; what comparing needs of them is derived once.
#[pyclass(frozen, module = "clockify_rag._core")]
pub(super) struct Passages(Vec<Passage>);

/// The first mark that is not the source's where the quote is found, passage, first and last code point, likeness.
type JudgedRow = (Option<String>, usize, usize, usize, f32);

/// Window, cosine, passage, first and last code point.
type SupportRow = (f32, Option<f32>, usize, usize, usize);

#[pymethods]
impl Passages {
    #[new]
    fn new(passages: Vec<(String, String, String)>) -> Self {
        let made = passages.into_iter().map(|(text, above, language)| Passage::new(text, above, &language));
        Self(made.collect())
    }

    #[allow(clippy::needless_pass_by_value)]
    fn judge(&self, py: Python<'_>, quotes: Vec<(String, Vec<usize>)>) -> PyResult<Vec<Option<JudgedRow>>> {
        py.enter(|| {
            let texts: Vec<&Text> = self.0.iter().map(Passage::text).collect();
            let judged = quotes.iter().map(|(quote, order)| match quotes::judge(quote, &texts, order) {
                Judged::Verbatim { left, text, run } => {
                    let left = left.map_or_else(String::new, String::from);
                    Some((Some(left), text, run.characters.start, run.characters.end, 1.0))
                }
                Judged::Resembling { text, run, likeness } => {
                    Some((None, text, run.characters.start, run.characters.end, likeness))
                }
                Judged::Unknown => None,
            });
            Ok(judged.collect())
        })
    }

    #[pyo3(signature = (sentences, language, embedder=None))]
    #[allow(clippy::type_complexity)]
    fn check(
        &self,
        py: Python<'_>,
        sentences: Vec<(String, Vec<usize>)>,
        language: &str,
        embedder: Option<&StaticEmbedder>,
    ) -> PyResult<Vec<(Vec<(&'static str, String)>, Option<SupportRow>, bool)>> {
        py.enter(|| {
            let checked = sentences.into_iter().map(|(sentence, cited)| {
                let sentence = Sentence::new(sentence, language);
                let found = claims::check(&sentence, &self.0, &cited, embedder.map(|embedder| &embedder.0));
                let problems = found.problems.into_iter().map(|problem| (name(problem.kind), problem.words)).collect();
                (problems, found.support.map(support_row), found.comparable)
            });
            Ok(checked.collect())
        })
    }

    #[pyo3(signature = (sentence, places, language, embedder=None))]
    #[allow(clippy::needless_pass_by_value)]
    fn saying(
        &self,
        py: Python<'_>,
        sentence: String,
        places: Vec<usize>,
        language: &str,
        embedder: Option<&StaticEmbedder>,
    ) -> PyResult<Vec<SupportRow>> {
        py.enter(|| {
            let sentence = Sentence::new(sentence, language);
            let found = claims::saying(&sentence, &self.0, &places, embedder.map(|embedder| &embedder.0));
            Ok(found.into_iter().map(support_row).collect())
        })
    }
}

fn support_row(support: Support) -> SupportRow {
    let (passage, run) = support.place;
    (support.window, support.cosine, passage, run.characters.start, run.characters.end)
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Number => "number",
        Kind::Unit => "unit",
        Kind::Identifier => "identifier",
        Kind::Name => "name",
        Kind::Negation => "negation",
    }
}

/// The statements of a draft: first and last code point, the number of the block, whether there is a figure.
#[pyfunction]
pub(super) fn statements(py: Python<'_>, draft: &str) -> PyResult<Vec<(usize, usize, usize, bool)>> {
    py.enter(|| {
        let found = claims::statements(draft);
        let ranges: Vec<Range<usize>> = found.iter().map(|one| one.range.clone()).collect();
        let spans = in_characters(draft, &ranges).into_iter();
        Ok(spans.zip(found).map(|((start, end), one)| (start, end, one.block, one.figure)).collect())
    })
}
