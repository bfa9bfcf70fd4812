//! Static embedding and MMR.

use std::path::PathBuf;

use numpy::{IntoPyArray, PyArray2, PyArrayMethods, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::Border;
use crate::dense::Simd;
use crate::embedding::{self, StaticEmbedding};
use crate::mmr::select;

/// A static embedding table.
#[pyclass(frozen, module = "clockify_rag._core")]
pub(super) struct StaticEmbedder(pub(super) StaticEmbedding);

impl StaticEmbedder {
    fn values(&self, py: Python<'_>, texts: &[String]) -> PyResult<Vec<f32>> {
        py.enter_parallel(|| {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let mut values = vec![0f32; texts.len() * self.0.dimension()];
            self.0.embed_all(&texts, &mut values);
            Ok(values)
        })
    }
}

/// Numbers as rows cross the border without numpy.
pub(super) fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// What [`little_endian`] made, read again.
pub(super) fn from_little_endian(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

#[pymethods]
impl StaticEmbedder {
    #[new]
    #[allow(clippy::needless_pass_by_value)]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.enter(|| StaticEmbedding::open(&path)).map(Self)
    }

    #[getter]
    fn dimension(&self) -> usize {
        self.0.dimension()
    }

    fn fingerprint(&self, py: Python<'_>) -> PyResult<String> {
        py.enter(|| Ok(self.0.fingerprint()))
    }

    #[allow(clippy::needless_pass_by_value)]
    fn embed<'py>(&self, py: Python<'py>, texts: Vec<String>) -> PyResult<Bound<'py, PyArray2<f32>>> {
        // Making the first array imports numpy, and panics where that fails: by Ctrl-C, for one.
        py.import("numpy")?;
        self.values(py, &texts)?.into_pyarray(py).reshape([texts.len(), self.0.dimension()])
    }

    #[allow(clippy::needless_pass_by_value)]
    fn embed_rows<'py>(&self, py: Python<'py>, texts: Vec<String>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &little_endian(&self.values(py, &texts)?)))
    }

    #[allow(clippy::needless_pass_by_value)]
    fn similarities(&self, py: Python<'_>, text: String, others: Vec<String>) -> PyResult<Vec<f32>> {
        py.enter(|| {
            let others: Vec<&str> = others.iter().map(String::as_str).collect();
            Ok(self.0.similarities(&text, &others))
        })
    }
}

/// The rows of passages with their titles', as [`embedding::with_titles`] adds them.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)]
pub(super) fn with_titles<'py>(
    py: Python<'py>,
    passages: &[u8],
    titles: &[u8],
    owners: Vec<u32>,
    weight: f32,
    dimension: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let rows = py.enter(|| {
        let (passages, titles) = (from_little_endian(passages), from_little_endian(titles));
        Ok(little_endian(&embedding::with_titles(&passages, &titles, &owners, weight, dimension)?))
    })?;
    Ok(PyBytes::new(py, &rows))
}

/// The rows that maximal marginal relevance takes, in its order.
#[pyfunction]
#[allow(clippy::needless_pass_by_value)]
pub(super) fn mmr(
    py: Python<'_>,
    relevance: Vec<f32>,
    vectors: PyReadonlyArray2<'_, f32>,
    mmr_lambda: f32,
    k: usize,
) -> PyResult<Vec<usize>> {
    let [rows, dimension] = [vectors.shape()[0], vectors.shape()[1]];
    if rows != relevance.len() {
        return Err(PyValueError::new_err(format!("{} relevances for {rows} vectors", relevance.len())));
    }
    let vectors = vectors.as_slice()?;
    py.enter(|| select(&relevance, vectors, dimension, mmr_lambda, k))
}

/// The name of the SIMD level that the kernels use.
#[pyfunction]
pub(super) fn simd(py: Python<'_>) -> PyResult<&'static str> {
    py.enter(|| Ok(Simd::chosen()?.name()))
}
