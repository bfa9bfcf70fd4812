//! What is left of a generation, for those who repair it or make it forget.

use std::path::PathBuf;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::Border;
use super::vectors::little_endian;
use crate::dense;
use crate::error::{Error, Result};
use crate::records::Records;
use crate::segment::Tombstones;
use crate::storage::{self, Segment, SegmentEntry};

/// A generation as far as it can be read.
#[pyclass(frozen, module = "clockify_rag._core")]
pub(super) struct Remains(pub(super) Arc<storage::Remains>);

impl Remains {
    fn entry(&self, segment: usize) -> Result<&SegmentEntry> {
        let missing = || Error::InvalidArgument(format!("there is no segment {segment}"));
        self.0.manifest().segments.get(segment).ok_or_else(missing)
    }

    fn files(&self, segment: usize) -> Result<&Segment> {
        let missing = || Error::InvalidArgument(format!("there is no segment {segment}"));
        self.0.segment(segment).ok_or_else(missing)
    }

    fn records(&self, segment: usize) -> Result<Records<'_>> {
        let (records, entry) = (Records::open(self.files(segment)?)?, self.entry(segment)?);
        if records.documents() == entry.documents && records.chunks() == entry.chunks {
            Ok(records)
        } else {
            Err(Error::corrupt(self.files(segment)?.directory(), "it has other rows than the manifest says"))
        }
    }

    fn dimension(&self) -> usize {
        self.0.manifest().makers.embedder.as_ref().map_or(0, |embedder| embedder.dimension as usize)
    }
}

#[pymethods]
impl Remains {
    #[new]
    #[pyo3(signature = (path, generation = None))]
    #[allow(clippy::needless_pass_by_value)]
    fn new(py: Python<'_>, path: PathBuf, generation: Option<u64>) -> PyResult<Self> {
        py.enter(|| storage::Remains::open(&path, generation)).map(|remains| Self(Arc::new(remains)))
    }

    #[getter]
    fn generation(&self) -> u64 {
        self.0.manifest().generation
    }

    #[getter]
    fn passed_over(&self) -> Vec<String> {
        self.0.passed_over().iter().map(ToString::to_string).collect()
    }

    #[getter]
    fn analyser(&self) -> &str {
        &self.0.manifest().makers.analyser
    }

    #[getter]
    fn chunker(&self) -> &str {
        &self.0.manifest().makers.chunker
    }

    #[getter]
    fn embedder(&self) -> Option<(String, String, u32)> {
        let entry = self.0.manifest().makers.embedder.as_ref()?;
        Some((entry.name.clone(), entry.fingerprint.clone(), entry.dimension))
    }

    fn segments(&self) -> Vec<(String, u32, u32, u32, u32)> {
        let row = |entry: &SegmentEntry| {
            (entry.id.clone(), entry.documents, entry.chunks, entry.deleted_documents, entry.deleted_chunks)
        };
        self.0.manifest().segments.iter().map(row).collect()
    }

    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let state = py.enter(|| self.0.state())?;
        Ok(PyBytes::new(py, &state))
    }

    fn damage(&self, py: Python<'_>, segment: usize) -> PyResult<Vec<String>> {
        py.enter(|| Ok(self.0.damage(segment)))
    }

    fn dead(&self, py: Python<'_>, segment: usize) -> PyResult<Vec<u32>> {
        py.enter(|| {
            let entry = self.entry(segment)?;
            let Some(file) = self.0.tombstones(segment)? else { return Ok(Vec::new()) };
            Ok(Tombstones::from_file(&file, entry.documents, entry.chunks)?.documents.iter().collect())
        })
    }

    fn document_id(&self, py: Python<'_>, segment: usize, row: u32) -> PyResult<String> {
        py.enter(|| Ok(format!("{:032x}", u128::from_be_bytes(self.records(segment)?.document_id(row)?))))
    }

    fn document_record<'py>(&self, py: Python<'py>, segment: usize, row: u32) -> PyResult<Bound<'py, PyBytes>> {
        let record = py.enter(|| Ok(self.records(segment)?.document_record(row)?.to_vec()))?;
        Ok(PyBytes::new(py, &record))
    }

    fn content<'py>(&self, py: Python<'py>, segment: usize, row: u32) -> PyResult<Bound<'py, PyTuple>> {
        let (text, chunks) = py.enter(|| {
            let records = self.records(segment)?;
            let chunks =
                records.chunk_rows(row)?.map(|row| Ok((records.chunk_record(row)?.to_vec(), records.chunk_text(row)?)));
            Ok((records.text(row, None)?.to_owned(), chunks.collect::<Result<Vec<_>>>()?))
        })?;
        let chunks: Vec<_> = chunks.iter().map(|(record, text)| (PyBytes::new(py, record), text)).collect();
        (text, chunks).into_pyobject(py)
    }

    fn vectors<'py>(&self, py: Python<'py>, segment: usize, row: u32) -> PyResult<Bound<'py, PyBytes>> {
        let values = py.enter(|| {
            let rows = self.records(segment)?.chunk_rows(row)?;
            dense::stored_rows(self.files(segment)?, rows, self.dimension())
        })?;
        Ok(PyBytes::new(py, &little_endian(&values)))
    }
}
