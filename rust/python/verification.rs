//! What proves a draft: quotes and claims against the passages that were shown.

use pyo3::prelude::*;

use super::Border;
use super::vectors::StaticEmbedder;
use crate::claims::{self, Kind, Passage};
use crate::quotes::{self, Judged, Text};

/// Passages that a draft is compared with; what comparing needs of them is derived once.
#[pyclass(frozen, module = "clockify_rag._core")]
pub(super) struct Passages(Vec<Passage>);

/// Wording, passage, first and last code point, likeness; the wording is `None` where the quote is not found.
type JudgedRow = (Option<usize>, usize, usize, usize, f32);

/// Window, whole, cosine, passage, first and last code point.
type SupportRow = (f32, f32, Option<f32>, usize, usize, usize);

#[pymethods]
impl Passages {
    #[new]
    fn new(passages: Vec<(String, String, String)>) -> Self {
        let made = passages.into_iter().map(|(text, above, language)| Passage::new(text, above, &language));
        Self(made.collect())
    }

    #[allow(clippy::needless_pass_by_value)]
    fn judge(&self, py: Python<'_>, quotes: Vec<(Vec<String>, Vec<usize>)>) -> PyResult<Vec<Option<JudgedRow>>> {
        py.enter(|| {
            let texts: Vec<&Text> = self.0.iter().map(Passage::text).collect();
            let judged = quotes.iter().map(|(wordings, order)| {
                let wordings: Vec<&str> = wordings.iter().map(String::as_str).collect();
                match quotes::judge(&wordings, &texts, order) {
                    Judged::Verbatim { wording, text, run } => {
                        Some((Some(wording), text, run.characters.start, run.characters.end, 1.0))
                    }
                    Judged::Resembling { text, run, likeness } => {
                        Some((None, text, run.characters.start, run.characters.end, likeness))
                    }
                    Judged::Unknown => None,
                }
            });
            Ok(judged.collect())
        })
    }

    #[pyo3(signature = (sentences, language, embedder=None))]
    #[allow(clippy::needless_pass_by_value, clippy::type_complexity)]
    fn check(
        &self,
        py: Python<'_>,
        sentences: Vec<(String, Vec<usize>)>,
        language: &str,
        embedder: Option<&StaticEmbedder>,
    ) -> PyResult<Vec<(Vec<(&'static str, String)>, Option<SupportRow>, bool)>> {
        py.enter(|| {
            let checked = sentences.iter().map(|(sentence, cited)| {
                let found = claims::check(sentence, language, &self.0, cited, embedder.map(|embedder| &embedder.0));
                let problems = found.problems.into_iter().map(|problem| (name(problem.kind), problem.words)).collect();
                let support = found.support.map(|support| {
                    let (passage, run) = support.place;
                    let (start, end) = (run.characters.start, run.characters.end);
                    (support.window, support.whole, support.cosine, passage, start, end)
                });
                (problems, support, found.comparable)
            });
            Ok(checked.collect())
        })
    }
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
