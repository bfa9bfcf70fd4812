//! One opened generation.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use numpy::{PyArray1, PyArrayMethods, PyFixedString, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use serde_json::{Value, json};

use super::vectors::{StaticEmbedder, little_endian};
use super::{Border, exception, parse_id};
use crate::analysis::Language;
use crate::bm25::{Explanation, Parameters};
use crate::dense;
use crate::error::{Error, Result};
use crate::evidence::Evidence;
use crate::records::{Id, Records};
use crate::snapshot::{self, Options, Question, standing};
use crate::storage::{BlockFile, Layout};

/// How a generation is searched.
#[pyclass(frozen, module = "clockify_rag._core")]
pub(super) struct SearchOptions(Options);

#[pymethods]
impl SearchOptions {
    #[new]
    #[pyo3(signature = (*, top_k, candidates, k1, b, weights, dense_weight, document_weight, repeat_weight, mmr_lambda, dense = "auto"))]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        top_k: usize,
        candidates: usize,
        k1: f32,
        b: (f32, f32, f32),
        weights: (f32, f32, f32),
        dense_weight: f32,
        document_weight: f32,
        repeat_weight: f32,
        mmr_lambda: Option<f32>,
        dense: &str,
    ) -> PyResult<Self> {
        let parameters = Parameters { k1, b: b.into(), weights: weights.into() };
        let dense = py.enter(|| dense.parse())?;
        Ok(Self(Options {
            top_k,
            candidates,
            parameters,
            dense_weight,
            document_weight,
            repeat_weight,
            mmr_lambda,
            dense,
        }))
    }
}

/// What a search found. Records and texts are read when they are asked for: many callers want only some.
#[pyclass(frozen, module = "clockify_rag._core")]
pub(super) struct Found {
    snapshot: Arc<snapshot::Snapshot>,
    hits: Vec<snapshot::Found>,
    evidence: Evidence,
    /// Whether what `rows` returns was read before, so that it waits for no disk.
    is_read: bool,
    #[pyo3(get)]
    dense_path: Option<&'static str>,
    #[pyo3(get)]
    terms: Vec<String>,
    timings: Vec<(&'static str, f64)>,
}

#[pymethods]
impl Found {
    #[getter]
    fn rows<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        // To wait for the interpreter's lock again costs more than to read a few rows that are in memory.
        let read =
            if self.is_read { self.read().map_err(|error| exception(py, &error)) } else { py.enter(|| self.read()) }?;
        let rows = PyList::empty(py);
        for (found, (chunk, text, document)) in self.hits.iter().zip(read) {
            let items = (
                PyBytes::new(py, chunk),
                text.as_str(),
                PyBytes::new(py, document),
                found.score,
                found.fused,
                Some(found.bm25).filter(|&score| score > 0.0),
                found.cosine,
                Some(found.document_bm25).filter(|&score| score > 0.0),
                found.document_cosine,
            );
            rows.append(items)?;
        }
        Ok(rows)
    }

    #[getter]
    #[allow(clippy::type_complexity)]
    fn ids<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyArray1<PyFixedString<ID_DIGITS>>>, Bound<'py, PyArray1<f32>>)> {
        let ids = py.enter(|| {
            let records = self.snapshot.all_records()?;
            let id = |found: &snapshot::Found| {
                let records = records.get(found.place.segment as usize).ok_or_else(|| self.no_segment(found))?;
                records.chunk_id(found.place.row).map(|id| PyFixedString(hexadecimal(id)))
            };
            self.hits.iter().map(id).collect::<Result<Vec<_>>>()
        })?;
        let scores = self.hits.iter().map(|found| found.score);
        Ok((PyArray1::from_vec(py, ids), PyArray1::from_iter(py, scores)))
    }

    /// How many hits there are, how many have a word of the question, and how many a cosine.
    #[getter]
    fn counts(&self) -> (usize, usize, usize) {
        let lexical = self.hits.iter().filter(|found| found.bm25 > 0.0).count();
        (self.hits.len(), lexical, self.hits.iter().filter(|found| found.cosine.is_some()).count())
    }

    /// The chunk id and the score of the hit of that rank, from 1, by words or by meaning; `None` where there are fewer.
    fn at_rank(&self, py: Python<'_>, rank: usize, dense: bool) -> PyResult<Option<(String, f32)>> {
        let value = if dense { standing::dense } else { standing::lexical };
        py.enter(|| {
            let records = self.snapshot.all_records()?;
            let document = |found: &snapshot::Found| self.document_id(&records, found);
            let Some(found) = standing::at_rank(&self.hits, rank, value, document)? else { return Ok(None) };
            let of_segment = records.get(found.place.segment as usize).ok_or_else(|| self.no_segment(found))?;
            let id = hexadecimal(of_segment.chunk_id(found.place.row)?);
            Ok(Some((String::from_utf8_lossy(&id).into_owned(), value(found).unwrap_or_default())))
        })
    }

    /// Where chunks stand among all hits, in the order of `chunk_ids`; `None` for one that is no hit.
    #[allow(clippy::needless_pass_by_value)]
    fn standings<'py>(&self, py: Python<'py>, chunk_ids: Vec<String>) -> PyResult<Bound<'py, PyList>> {
        let ids = chunk_ids.iter().map(|id| parse_id(id)).collect::<PyResult<Vec<_>>>()?;
        let standings = py.enter(|| {
            let places = ids.iter().map(|id| self.snapshot.find_chunk(id)).collect::<Result<Vec<_>>>()?;
            let records = self.snapshot.all_records()?;
            standing::of(&self.hits, &places, |found| self.document_id(&records, found))
        })?;
        let list = PyList::empty(py);
        for standing in standings {
            list.append(standing.map(|own| {
                let numbers = (own.found.score, own.found.fused, own.lexical_rank.map(|_| own.found.bm25));
                let documents = (Some(own.found.document_bm25).filter(|&score| score > 0.0), own.found.document_cosine);
                (own.rank, own.lexical_rank, own.dense_rank, numbers, own.found.cosine, documents)
            }))?;
        }
        Ok(list)
    }

    #[getter]
    fn evidence(&self) -> (f32, f32, f32, f32, Option<f32>, Option<f32>, Option<f32>) {
        let Evidence {
            idf_coverage,
            title_coverage,
            covered_mass,
            lexical_margin,
            best_cosine,
            cosine_margin,
            agreement,
        } = self.evidence;
        (idf_coverage, title_coverage, covered_mass, lexical_margin, best_cosine, cosine_margin, agreement)
    }

    #[getter]
    fn timings_ms(&self) -> HashMap<&'static str, f64> {
        self.timings.iter().map(|&(part, milliseconds)| (part, (milliseconds * 1000.0).round() / 1000.0)).collect()
    }
}

/// A hit's record, its text, and its document's record.
type Row<'a> = (&'a [u8], String, &'a [u8]);

impl Found {
    fn read(&self) -> Result<Vec<Row<'_>>> {
        let records = self.snapshot.all_records()?;
        let row = |found: &snapshot::Found| {
            let records = records.get(found.place.segment as usize).ok_or_else(|| self.no_segment(found))?;
            let (chunk, text) = (records.chunk_record(found.place.row)?, records.chunk_text(found.place.row)?);
            Ok((chunk, text, records.document_record(found.document)?))
        };
        self.hits.iter().map(row).collect()
    }

    fn document_id(&self, records: &[Records<'_>], found: &snapshot::Found) -> Result<Id> {
        let records = records.get(found.place.segment as usize).ok_or_else(|| self.no_segment(found))?;
        records.document_id(found.document)
    }

    fn no_segment(&self, found: &snapshot::Found) -> Error {
        Error::corrupt(self.snapshot.generation().root(), format!("there is no segment {}", found.place.segment))
    }
}

/// How many digits an id has.
const ID_DIGITS: usize = 32;

/// The two digits of every byte.
const DIGITS: [[u8; 2]; 256] = {
    const fn digit(half: usize) -> u8 {
        b"0123456789abcdef"[half]
    }
    let mut digits = [[0; 2]; 256];
    let mut byte = 0;
    while byte < digits.len() {
        digits[byte] = [digit(byte >> 4), digit(byte & 15)];
        byte += 1;
    }
    digits
};

/// The digits of an id.
fn hexadecimal(id: Id) -> [u8; ID_DIGITS] {
    bytemuck::cast(id.map(|byte| DIGITS[usize::from(byte)]))
}

/// One opened generation.
#[pyclass(frozen, module = "clockify_rag._core")]
pub(super) struct Snapshot(Arc<snapshot::Snapshot>);

impl Snapshot {
    pub(super) fn open(
        py: Python<'_>,
        path: &Path,
        previous: Option<&Self>,
        generation: Option<u64>,
    ) -> PyResult<Self> {
        let previous = previous.map(|previous| Arc::clone(&previous.0));
        let opened = py.enter(|| match generation {
            None => snapshot::Snapshot::open(path, previous.as_deref()),
            Some(number) => snapshot::Snapshot::open_at(path, number, previous.as_deref()),
        })?;
        Ok(Self(Arc::new(opened)))
    }

    /// The file of that number among all files of the generation.
    fn file(&self, number: usize) -> Result<&BlockFile> {
        let file = self.0.generation().files().nth(number);
        file.ok_or_else(|| Error::InvalidArgument(format!("the generation has no file {number}")))
    }

    fn segment_number(&self, id: &str) -> Result<u32> {
        let segments = &self.0.generation().manifest().segments;
        let number = segments.iter().position(|segment| segment.id == id);
        number.map(|number| number as u32).ok_or_else(|| Error::InvalidArgument(format!("there is no segment {id:?}")))
    }
}

#[pymethods]
impl Snapshot {
    #[staticmethod]
    #[pyo3(name = "open", signature = (path, previous = None, generation = None))]
    #[allow(clippy::needless_pass_by_value)]
    fn open_path(py: Python<'_>, path: PathBuf, previous: Option<&Self>, generation: Option<u64>) -> PyResult<Self> {
        Self::open(py, &path, previous, generation)
    }

    #[getter]
    fn generation(&self) -> u64 {
        self.0.generation().manifest().generation
    }

    #[getter]
    fn format(&self) -> u32 {
        self.0.generation().manifest().format
    }

    #[getter]
    fn hash(&self) -> &str {
        self.0.generation().hash()
    }

    #[getter]
    fn analyser(&self) -> &str {
        &self.0.generation().manifest().makers.analyser
    }

    #[getter]
    fn chunker(&self) -> &str {
        &self.0.generation().manifest().makers.chunker
    }

    #[getter]
    fn embedder(&self) -> Option<(String, String, u32)> {
        let entry = self.0.generation().manifest().makers.embedder.as_ref()?;
        Some((entry.name.clone(), entry.fingerprint.clone(), entry.dimension))
    }

    #[getter]
    fn documents(&self) -> u64 {
        self.0.documents()
    }

    #[getter]
    fn chunks(&self) -> u64 {
        self.0.chunks()
    }

    #[getter]
    fn size(&self) -> u64 {
        let segments = &self.0.generation().manifest().segments;
        segments
            .iter()
            .flat_map(|segment| segment.files.iter().chain(&segment.tombstones))
            .map(|file| file.length)
            .sum()
    }

    fn segments(&self) -> Vec<(String, u32, u32, u32, u32)> {
        let segments = &self.0.generation().manifest().segments;
        segments
            .iter()
            .map(|segment| {
                let id = segment.id.clone();
                (id, segment.documents, segment.chunks, segment.deleted_documents, segment.deleted_chunks)
            })
            .collect()
    }

    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let state = py.enter(|| self.0.generation().state().map(<[u8]>::to_vec))?;
        Ok(PyBytes::new(py, &state))
    }

    fn is_current(&self, py: Python<'_>) -> PyResult<bool> {
        py.enter(|| {
            let (_, hash) = Layout::new(self.0.generation().root()).read_current()?;
            Ok(hash == self.0.generation().hash())
        })
    }

    #[pyo3(signature = (segment = None))]
    fn document_records<'py>(&self, py: Python<'py>, segment: Option<&str>) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let records = py.enter(|| {
            let segments = match segment {
                Some(id) => {
                    let number = self.segment_number(id)?;
                    number..number + 1
                }
                None => 0..self.0.generation().segments().len() as u32,
            };
            let mut found = Vec::new();
            for number in segments {
                let records = self.0.records(number)?;
                for row in self.0.living(number)? {
                    found.push((records.document_id(row)?, records.document_record(row)?.to_vec()));
                }
            }
            found.sort_unstable_by_key(|(id, _)| *id);
            Ok(found)
        })?;
        Ok(records.iter().map(|(_, record)| PyBytes::new(py, record)).collect())
    }

    fn document_record<'py>(&self, py: Python<'py>, document_id: &str) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let id = parse_id(document_id)?;
        let record = py.enter(|| {
            let Some((segment, row)) = self.0.find_document(&id)? else { return Ok(None) };
            self.0.records(segment)?.document_record(row).map(|record| Some(record.to_vec()))
        })?;
        Ok(record.map(|record| PyBytes::new(py, &record)))
    }

    fn place_of(&self, py: Python<'_>, document_id: &str) -> PyResult<Option<(String, usize)>> {
        let id = parse_id(document_id)?;
        py.enter(|| {
            let Some((segment, row)) = self.0.find_document(&id)? else { return Ok(None) };
            let chunks = self.0.records(segment)?.chunk_rows(row)?.len();
            let entry = self.0.generation().manifest().segments.get(segment as usize);
            Ok(entry.map(|entry| (entry.id.clone(), chunks)))
        })
    }

    fn text(&self, py: Python<'_>, document_id: &str) -> PyResult<Option<String>> {
        let id = parse_id(document_id)?;
        py.enter(|| {
            let Some((segment, row)) = self.0.find_document(&id)? else { return Ok(None) };
            self.0.records(segment)?.text(row, None).map(|text| Some(text.to_owned()))
        })
    }

    fn chunks_of<'py>(&self, py: Python<'py>, document_id: &str) -> PyResult<Vec<(Bound<'py, PyBytes>, String)>> {
        let id = parse_id(document_id)?;
        let chunks = py.enter(|| {
            let Some((segment, row)) = self.0.find_document(&id)? else { return Ok(Vec::new()) };
            let records = self.0.records(segment)?;
            let rows = records.chunk_rows(row)?;
            rows.map(|row| Ok((records.chunk_record(row)?.to_vec(), records.chunk_text(row)?)))
                .collect::<Result<Vec<_>>>()
        })?;
        Ok(chunks.into_iter().map(|(record, text)| (PyBytes::new(py, &record), text)).collect())
    }

    fn chunk<'py>(&self, py: Python<'py>, chunk_id: &str) -> PyResult<Option<Bound<'py, PyTuple>>> {
        let id = parse_id(chunk_id)?;
        let found = py.enter(|| {
            let Some(place) = self.0.find_chunk(&id)? else { return Ok(None) };
            let records = self.0.records(place.segment)?;
            let document = records.document_record(records.document_of(place.row)?)?.to_vec();
            Ok(Some((records.chunk_record(place.row)?.to_vec(), records.chunk_text(place.row)?, document)))
        })?;
        found
            .map(|(record, text, document)| {
                (PyBytes::new(py, &record), text, PyBytes::new(py, &document)).into_pyobject(py)
            })
            .transpose()
    }

    fn vectors_of<'py>(&self, py: Python<'py>, document_id: &str) -> PyResult<Bound<'py, PyBytes>> {
        let id = parse_id(document_id)?;
        let rows = py.enter(|| {
            let missing = || Error::InvalidArgument("that document has no vectors".to_owned());
            let (segment, row) = self.0.find_document(&id)?.ok_or_else(missing)?;
            let vectors = self.0.vectors(segment)?.ok_or_else(missing)?;
            let rows: Vec<u32> = self.0.records(segment)?.chunk_rows(row)?.collect();
            Ok(little_endian(&vectors.vectors(&rows)?))
        })?;
        Ok(PyBytes::new(py, &rows))
    }

    #[pyo3(signature = (question, language, filters, excluded, options, embedder = None, vector = None, excluded_documents = Vec::new(), expansions = Vec::new(), read = false))]
    #[allow(clippy::too_many_arguments, clippy::needless_pass_by_value)]
    fn search(
        &self,
        py: Python<'_>,
        question: &str,
        language: &str,
        filters: Vec<Vec<String>>,
        excluded: Vec<String>,
        options: &SearchOptions,
        embedder: Option<&StaticEmbedder>,
        vector: Option<PyReadonlyArray1<'_, f32>>,
        excluded_documents: Vec<String>,
        expansions: Vec<(String, f32)>,
        read: bool,
    ) -> PyResult<Found> {
        let options = options.0;
        let excluded_documents = excluded_documents.iter().map(|id| parse_id(id)).collect::<PyResult<Vec<_>>>()?;
        let embedder = embedder.map(|embedder| &embedder.0);
        let given = vector.as_ref().map(|vector| vector.to_vec()).transpose()?;
        py.enter(|| {
            let started = std::time::Instant::now();
            let vector = embedder.map(|embedder| {
                let mut vector = vec![0f32; embedder.dimension()];
                embedder.embed(question, &mut vector);
                vector
            });
            let embedded = started.elapsed().as_secs_f64() * 1000.0;
            let vector = vector.or(given);
            let language = Language::from_code(language);
            let question = Question {
                text: question,
                language,
                vector: vector.as_deref(),
                expansions: &expansions,
                filters: &filters,
                excluded: &excluded,
                excluded_documents: &excluded_documents,
            };
            let results = self.0.search(&question, &options)?;
            let mut timings = results.timings;
            if embedder.is_some() {
                timings.insert(0, ("embed", embedded));
            }
            let dense_path = results.dense.map(dense::Path::name);
            let found = Found {
                snapshot: Arc::clone(&self.0),
                hits: results.found,
                evidence: results.evidence,
                is_read: read,
                dense_path,
                terms: results.terms,
                timings,
            };
            if read {
                found.read()?;
            }
            Ok(found)
        })
    }

    #[pyo3(signature = (question, language, excluded, options, chunk_id, expansions = Vec::new()))]
    #[allow(clippy::needless_pass_by_value, clippy::too_many_arguments)]
    fn explain(
        &self,
        py: Python<'_>,
        question: &str,
        language: &str,
        excluded: Vec<String>,
        options: &SearchOptions,
        chunk_id: &str,
        expansions: Vec<(String, f32)>,
    ) -> PyResult<String> {
        let id = parse_id(chunk_id)?;
        let options = options.0;
        py.enter(|| {
            let missing = || Error::InvalidArgument(format!("there is no chunk {chunk_id}"));
            let place = self.0.find_chunk(&id)?.ok_or_else(missing)?;
            let language = Language::from_code(language);
            let question = Question {
                text: question,
                language,
                vector: None,
                expansions: &expansions,
                filters: &[],
                excluded: &excluded,
                excluded_documents: &[],
            };
            let explained = self.0.explain(&question, &options, place)?;
            Ok(json!({
                "chunk": explanation(&explained.chunk, &explained.terms),
                "document": explanation(&explained.document, &explained.terms),
            })
            .to_string())
        })
    }

    fn verify(&self, py: Python<'_>) -> PyResult<()> {
        py.enter(|| self.0.generation().verify())
    }

    fn files(&self) -> Vec<(String, usize)> {
        self.0.generation().files().map(|file| (file.path().display().to_string(), file.len())).collect()
    }

    fn verify_part(&self, py: Python<'_>, file: usize, start: usize, end: usize) -> PyResult<()> {
        py.enter(|| self.file(file)?.reread(start..end))
    }
}

/// An explanation in the textbook's letters.
fn explanation(explanation: &Explanation, terms: &[String]) -> Value {
    let explained: Vec<Value> = explanation
        .terms
        .iter()
        .map(|term| {
            let field = |index: usize| {
                let field = &term.fields[index];
                json!({
                    "tf": field.tf, "dl": field.dl, "avgdl": field.avgdl, "b": field.b, "weight": field.weight,
                    "normalised": field.normalised,
                })
            };
            json!({
                "term": terms.get(term.term), "weight": term.weight, "idf": term.idf, "N": term.n, "df": term.df,
                "k1": term.k1, "tf": term.tf, "score": term.score,
                "fields": { "title": field(0), "headings": field(1), "body": field(2) },
            })
        })
        .collect();
    json!({ "score": explanation.score, "terms": explained })
}
