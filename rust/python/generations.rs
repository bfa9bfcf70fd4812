//! The life of generations.

use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use pyo3::prelude::*;

use super::Border;
use crate::archive::{self, Archived};
use crate::error::{Error, Result};
use crate::snapshot;
use crate::storage::{self, Layout, Listed, Manifest, Publisher, Reason};

/// Number, when it was published in seconds since 1970, living documents and chunks, files, what is damaged, reasons, tags.
type Row = (u64, f64, u64, u64, Vec<(String, u64)>, Option<String>, Vec<&'static str>, Vec<String>);

#[pyfunction]
#[allow(clippy::needless_pass_by_value)]
pub(super) fn list_generations(py: Python<'_>, path: PathBuf) -> PyResult<Vec<Row>> {
    py.enter(|| Layout::new(&path).listed()?.into_iter().map(row).collect())
}

fn row(listed: Listed) -> Result<Row> {
    let published = listed.published.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let (manifest, damage) = match listed.manifest {
        Ok(manifest) => (Some(manifest), None),
        Err(failure @ (Error::IndexCorrupt { .. } | Error::IndexIncompatible { .. })) => {
            (None, Some(failure.to_string()))
        }
        Err(failure) => return Err(failure),
    };
    let segments = manifest.iter().flat_map(|manifest| &manifest.segments);
    let (mut documents, mut chunks) = (0, 0);
    for segment in segments {
        documents += u64::from(segment.documents.saturating_sub(segment.deleted_documents));
        chunks += u64::from(segment.chunks.saturating_sub(segment.deleted_chunks));
    }
    let files = manifest.iter().flat_map(Manifest::files).map(|(name, file)| (name, file.length)).collect();
    let reasons = listed.kept.into_iter().map(word).collect();
    Ok((listed.generation, published, documents, chunks, files, damage, reasons, listed.tags))
}

fn word(reason: Reason) -> &'static str {
    match reason {
        Reason::Served => "served",
        Reason::Recent => "recent",
        Reason::Tagged => "tagged",
        Reason::Young => "young",
        Reason::Open => "open",
    }
}

#[pyfunction]
#[allow(clippy::needless_pass_by_value)]
pub(super) fn served_generation(py: Python<'_>, path: PathBuf) -> PyResult<u64> {
    py.enter(|| Layout::new(&path).read_current().map(|(number, _)| number))
}

#[pyfunction]
#[allow(clippy::needless_pass_by_value)]
pub(super) fn list_tags(py: Python<'_>, path: PathBuf) -> PyResult<Vec<(String, u64, String)>> {
    py.enter(|| {
        let tags = Layout::new(&path).tags()?;
        Ok(tags.into_iter().map(|(name, tag)| (name, tag.generation, tag.hash)).collect())
    })
}

#[pyfunction]
#[allow(clippy::needless_pass_by_value)]
pub(super) fn set_tag(py: Python<'_>, path: PathBuf, name: &str, generation: u64, moved: bool) -> PyResult<()> {
    py.enter(|| Layout::new(&path).tag(name, generation, moved))
}

#[pyfunction]
#[allow(clippy::needless_pass_by_value)]
pub(super) fn remove_tag(py: Python<'_>, path: PathBuf, name: &str) -> PyResult<bool> {
    py.enter(|| Layout::new(&path).untag(name))
}

#[pyfunction]
#[allow(clippy::needless_pass_by_value)]
pub(super) fn republish(py: Python<'_>, path: PathBuf, generation: u64) -> PyResult<u64> {
    py.enter(|| {
        // Nothing is created where there is no index.
        Layout::new(&path).list_generations().and_then(|numbers| match numbers.as_slice() {
            [] => Err(Error::IndexNotFound { path: path.clone() }),
            _ => Ok(()),
        })?;
        let mut publisher = Publisher::open_over_damage(&path)?;
        let published = publisher.republish(generation, snapshot::inspect);
        publisher.close();
        published
    })
}

#[pyfunction]
#[allow(clippy::needless_pass_by_value)]
pub(super) fn collect_generations(py: Python<'_>, path: PathBuf, asked: bool) -> PyResult<(Vec<u64>, u64, u64)> {
    py.enter(|| {
        let collected = storage::collect_generations(&path, asked)?;
        Ok((collected.generations, collected.files, collected.bytes))
    })
}

/// Generation, files, bytes, hash.
type ArchivedRow = (u64, usize, u64, String);

fn archived_row(archived: Archived) -> ArchivedRow {
    (archived.generation, archived.files, archived.bytes, archived.hash)
}

#[pyfunction]
#[allow(clippy::needless_pass_by_value)]
pub(super) fn write_snapshot(
    py: Python<'_>,
    path: PathBuf,
    generation: Option<u64>,
    file: PathBuf,
) -> PyResult<ArchivedRow> {
    py.enter_parallel(|| archive::write_file(&path, generation, &file)).map(archived_row)
}

#[pyfunction]
#[allow(clippy::needless_pass_by_value)]
pub(super) fn restore_snapshot(
    py: Python<'_>,
    file: PathBuf,
    path: PathBuf,
    replace: bool,
) -> PyResult<(u64, ArchivedRow)> {
    let (generation, archived) = py.enter_parallel(|| archive::restore(&file, &path, replace))?;
    Ok((generation, archived_row(archived)))
}
