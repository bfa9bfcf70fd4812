//! The one builder of an index.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use super::remains::Remains;
use super::search::Snapshot;
use super::vectors::from_little_endian;
use super::{Border, hold, parse_id};
use crate::analysis::{self, Language};
use crate::error::{Error, Result};
use crate::publication::{self, Change, Replacements};
use crate::segment::{ChunkInput, DocumentInput, Draft};
use crate::storage::{EmbedderEntry, Makers, Publisher, SegmentEntry};

type Span = (u32, u32);
/// The generation that is served now, former ones written anew with their new numbers, and former ones that are gone.
type Purged = (u64, Vec<(u64, u64)>, Vec<u64>);
type ChunkRow = (String, PyBackedBytes, String, Vec<Span>, Vec<Span>, Vec<String>, u32);
type DocumentRow = (String, PyBackedBytes, String, String, String, Vec<String>, Vec<String>, Vec<ChunkRow>);

struct State {
    publisher: Publisher,
    draft: Option<Draft>,
    added: Vec<SegmentEntry>,
    /// Whether documents were lost: what is left must not be published in place of what it was to replace.
    failed: bool,
}

impl State {
    /// Runs `work`, which takes documents out of the state: where it fails they are lost.
    fn or_fail<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let outcome = work(self);
        self.failed |= outcome.is_err();
        outcome
    }

    /// Writes the segment being made and returns its id; `None` where there is none.
    fn flush(&mut self) -> Result<Option<String>> {
        let Some(draft) = self.draft.take().filter(|draft| !draft.is_empty()) else { return Ok(None) };
        let entry = draft.write(&mut self.publisher)?;
        let id = entry.id.clone();
        self.added.push(entry);
        Ok(Some(id))
    }
}

/// The one builder of an index; holds its lock until it is closed.
#[pyclass(frozen, module = "clockify_rag._core")]
pub(super) struct Writer {
    path: PathBuf,
    state: Mutex<Option<State>>,
}

impl Writer {
    /// Runs `work` on the open builder.
    fn with<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&mut State) -> Result<T> + Send) -> PyResult<T> {
        py.enter_parallel_with(&self.state, |state| work(state.filter(|state| !state.failed).ok_or_else(closed)?))
    }
}

#[pymethods]
impl Writer {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let publisher = py.enter(|| Publisher::open(&path))?;
        Ok(Self { path, state: Mutex::new(Some(State { publisher, draft: None, added: Vec::new(), failed: false })) })
    }

    #[staticmethod]
    #[allow(clippy::needless_pass_by_value)]
    fn over_damage(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let publisher = py.enter(|| Publisher::open_over_damage(&path))?;
        Ok(Self { path, state: Mutex::new(Some(State { publisher, draft: None, added: Vec::new(), failed: false })) })
    }

    #[getter]
    fn next_generation(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |state| Ok(state.publisher.next_generation()))
    }

    fn snapshot(&self, py: Python<'_>) -> PyResult<Option<Snapshot>> {
        if self.with(py, |state| Ok(state.publisher.current().is_none()))? {
            return Ok(None);
        }
        Snapshot::open(py, &self.path, None, None).map(Some)
    }

    #[allow(clippy::needless_pass_by_value)]
    fn add(&self, py: Python<'_>, document: DocumentRow, dimension: usize, vectors: Option<&[u8]>) -> PyResult<usize> {
        let document = document_input(document)?;
        py.enter(|| {
            let values = vectors.map(from_little_endian);
            let mut held = hold(&self.state);
            let state = held.as_mut().filter(|state| !state.failed).ok_or_else(closed)?;
            let draft = state.draft.get_or_insert_with(|| Draft::new(dimension));
            draft.add(document, values.as_deref())?;
            Ok(draft.bytes())
        })
    }

    fn flush(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.with(py, |open| open.or_fail(State::flush))
    }

    #[pyo3(signature = (*, deleted, dropped, chunker, embedder, state))]
    #[allow(clippy::needless_pass_by_value)]
    fn publish(
        &self,
        py: Python<'_>,
        deleted: Vec<String>,
        dropped: Vec<String>,
        chunker: String,
        embedder: Option<(String, String, u32)>,
        state: Vec<u8>,
    ) -> PyResult<u64> {
        let deleted = deleted.iter().map(|id| parse_id(id)).collect::<PyResult<_>>()?;
        let entry = |(name, fingerprint, dimension)| EmbedderEntry { name, fingerprint, dimension };
        let embedder = embedder.map(entry);
        self.with(py, |open| {
            open.or_fail(|open| {
                open.flush()?;
                let added = std::mem::take(&mut open.added);
                let change = Change { added, deleted, dropped, chunker, embedder, state };
                publication::publish(&mut open.publisher, change)
            })
        })
    }

    #[pyo3(signature = (*, remains, kept, state))]
    #[allow(clippy::needless_pass_by_value)]
    fn publish_beside(
        &self,
        py: Python<'_>,
        remains: PyRef<'_, Remains>,
        kept: Vec<usize>,
        state: Vec<u8>,
    ) -> PyResult<u64> {
        let remains = Arc::clone(&remains.0);
        self.with(py, |open| {
            open.or_fail(|open| {
                open.flush()?;
                let entries = &remains.manifest().segments;
                let mut segments: Vec<SegmentEntry> =
                    kept.iter().filter_map(|&number| entries.get(number)).cloned().collect();
                segments.append(&mut open.added);
                let makers = Makers { analyser: analysis::fingerprint(), ..remains.manifest().makers.clone() };
                open.publisher.publish(makers, segments, &state)
            })
        })
    }

    #[allow(clippy::needless_pass_by_value)]
    fn purge(&self, py: Python<'_>, replaced: Vec<(String, Option<String>)>, state: Vec<u8>) -> PyResult<Purged> {
        self.with(py, |open| {
            open.or_fail(|open| {
                open.flush()?;
                let added = std::mem::take(&mut open.added);
                // By an unknown one a segment would be replaced by nothing.
                let entry = |id: String| {
                    let found = added.iter().find(|entry| entry.id == id).cloned();
                    found.ok_or_else(|| Error::InvalidArgument(format!("segment {id} was not written here")))
                };
                let replacements: Result<Replacements> =
                    replaced.into_iter().map(|(old, new)| Ok((old, new.map(entry).transpose()?))).collect();
                let purged = publication::purge(&mut open.publisher, &replacements?, &state)?;
                Ok((purged.generation, purged.rewritten, purged.removed))
            })
        })
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        py.enter(|| {
            if let Some(state) = hold(&self.state).take() {
                state.publisher.close();
            }
            Ok(())
        })
    }
}

fn closed() -> Error {
    Error::InvalidArgument("the writer is closed, or failed before".to_owned())
}

fn document_input(row: DocumentRow) -> PyResult<DocumentInput> {
    let (id, record, text, title, language, headings, filters, chunks) = row;
    let chunk_input = |row: ChunkRow| {
        let (id, record, headings, spans, repeated, filters, tokens) = row;
        Ok(ChunkInput { id: parse_id(&id)?, record: record.to_vec(), headings, spans, repeated, filters, tokens })
    };
    Ok(DocumentInput {
        id: parse_id(&id)?,
        record: record.to_vec(),
        text,
        title,
        language: Language::from_code(&language),
        headings,
        filters,
        chunks: chunks.into_iter().map(chunk_input).collect::<PyResult<_>>()?,
    })
}
