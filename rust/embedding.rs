//! Static embedding: a table with one row for each token; a text's vector is the mean of its tokens' rows, as a unit vector.
//!
//! The layout is model2vec's, so that any such model serves. The file is memory-mapped, because a search of one question
//! touches ten of thirty thousand rows, and its header is believed in nothing: every tensor must lie where it says and be
//! as long as its shape. Rows of int8 are summed in integers, which makes the vector the same on every machine; floats are
//! summed in one fixed order. Unlike model2vec a text is never cut at a length: the mean is over all of it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use half::f16;
use memmap2::Mmap;
use rayon::prelude::*;
use serde::Deserialize;
use xxhash_rust::xxh3::Xxh3;

use crate::error::{Error, Result};
use crate::wordpiece::WordPiece;

/// A table of token vectors and the tokenizer it was made for.
#[derive(Debug)]
pub struct StaticEmbedding {
    wordpiece: WordPiece,
    map: Mmap,
    table: Range<usize>,
    kind: Kind,
    dimension: usize,
    rows: Rows,
    fingerprint: OnceLock<String>,
}

/// How a row's numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    I8,
    F16,
    F32,
}

/// Which row of the table a token has, and with which weight.
#[derive(Debug)]
enum Rows {
    /// The row of the token's id, all alike.
    Plain,
    /// For each id its row and its weight.
    Mapped(Vec<(u32, f32)>),
}

impl StaticEmbedding {
    /// Opens a folder of model2vec's layout: `model.safetensors` with the tensor `embeddings` (int8, float16 or float32,
    /// one row a token) and optionally `weights` (one number a token, by which its row is scaled) and `mapping` (the row of
    /// each token), `tokenizer.json` (`WordPiece`) and `config.json`. The configuration's `normalize` and `max_length` change
    /// nothing here: vectors are always of unit length and of the whole text.
    ///
    /// # Errors
    /// [`Error::ModelInvalid`] when a file is missing, damaged or of another layout.
    pub fn open(folder: &Path) -> Result<Self> {
        let invalid = |reason: String| Error::ModelInvalid { path: folder.to_path_buf(), reason };
        let wordpiece = WordPiece::open(&folder.join("tokenizer.json"))?;
        check_config(&folder.join("config.json")).map_err(|reason| invalid(format!("config.json: {reason}")))?;
        let path = folder.join("model.safetensors");
        let unreadable = |error: std::io::Error| invalid(format!("model.safetensors cannot be read: {error}"));
        let file = File::open(&path).map_err(unreadable)?;
        // SAFETY: the map is only read, and a model's files are replaced, not rewritten, as those of any loaded library.
        let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
        Self::assemble(wordpiece, map).map_err(|reason| invalid(format!("model.safetensors: {reason}")))
    }

    fn assemble(wordpiece: WordPiece, map: Mmap) -> Result<Self, String> {
        let tensors = tensors(&map)?;
        let table = tensors.get("embeddings").ok_or("there is no tensor named embeddings")?;
        let kind = match table.dtype.as_ref() {
            "I8" => Kind::I8,
            "F16" => Kind::F16,
            "F32" => Kind::F32,
            other => return Err(format!("embeddings are {other}, not I8, F16 or F32")),
        };
        let &[row_count, dimension] = table.shape.as_slice() else {
            return Err(format!("embeddings have {} dimensions, not 2", table.shape.len()));
        };
        if dimension == 0 || row_count == 0 {
            return Err("embeddings are empty".to_owned());
        }
        let weights = tensors.get("weights").map(|tensor| tensor.floats(&map)).transpose()?;
        let mapping = tensors.get("mapping").map(|tensor| tensor.integers(&map)).transpose()?;
        let rows = rows(wordpiece.size(), row_count, weights.as_deref(), mapping.as_deref())?;
        let table = table.bytes.clone();
        Ok(Self { wordpiece, map, table, kind, dimension, rows, fingerprint: OnceLock::new() })
    }

    /// The length of a vector.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// The tokenizer the table was made for.
    #[must_use]
    pub fn wordpiece(&self) -> &WordPiece {
        &self.wordpiece
    }

    /// Writes the unit vector of `text` to `out`, of [`StaticEmbedding::dimension`] numbers. A text without a known token
    /// gives zeros. If `out` is shorter it gets the first components, made a unit vector again, which serves for tables in
    /// order of principal components; what is longer is filled with zeros.
    pub fn embed(&self, text: &str, out: &mut [f32]) {
        self.embed_with(text, out, &mut Scratch::default());
    }

    /// Writes the vectors of `texts` to `out`, one row of [`StaticEmbedding::dimension`] numbers after another, on the
    /// threads of the current pool. The result does not depend on their number.
    pub fn embed_all(&self, texts: &[&str], out: &mut [f32]) {
        out.par_chunks_mut(self.dimension)
            .zip(texts)
            .for_each_init(Scratch::default, |scratch, (row, text)| self.embed_with(text, row, scratch));
    }

    /// The cosine of `text` with each of `others`, summed in the order of components; 0 where either has no known token.
    #[must_use]
    pub fn similarities(&self, text: &str, others: &[&str]) -> Vec<f32> {
        let mut scratch = Scratch::default();
        let (mut wanted, mut row) = (vec![0.0; self.dimension], vec![0.0; self.dimension]);
        self.embed_with(text, &mut wanted, &mut scratch);
        let cosine = |other: &&str| {
            self.embed_with(other, &mut row, &mut scratch);
            wanted.iter().zip(&row).map(|(a, b)| a * b).sum()
        };
        others.iter().map(cosine).collect()
    }

    /// A hash of the vectors of fixed sentences: two models that embed alike have the same.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.fingerprint.get_or_init(|| self.hash_sentences()).clone()
    }

    fn hash_sentences(&self) -> String {
        let mut hash = Xxh3::new();
        let mut row = vec![0.0; self.dimension];
        for sentence in SENTENCES {
            self.embed(sentence, &mut row);
            for &x in &row {
                hash.update(&((x * 32_767.0).round() as i16).to_le_bytes());
            }
        }
        format!("{:032x}", hash.digest128())
    }

    fn embed_with(&self, text: &str, out: &mut [f32], scratch: &mut Scratch) {
        let unknown = self.wordpiece.unknown();
        scratch.ids.clear();
        // model2vec leaves unknown tokens out of the mean.
        self.wordpiece.for_each(text, |id, _| {
            if id != unknown {
                scratch.ids.push(id);
            }
        });
        scratch.sum.clear();
        scratch.sum.resize(self.dimension, 0.0);
        match (&self.rows, self.kind) {
            (Rows::Plain, Kind::I8) => self.sum_integers(scratch),
            (_, Kind::I8) => self.sum_floats(scratch, |row: &[u8; 1]| f32::from(row[0] as i8)),
            (_, Kind::F16) => self.sum_floats(scratch, |row: &[u8; 2]| f16::from_le_bytes(*row).to_f32()),
            (_, Kind::F32) => self.sum_floats(scratch, |row: &[u8; 4]| f32::from_le_bytes(*row)),
        }
        write_unit(&scratch.sum, out);
    }

    /// Sums int8 rows: exactly, in blocks that sixteen bits hold.
    fn sum_integers(&self, scratch: &mut Scratch) {
        let Some(table) = self.map.get(self.table.clone()) else { return };
        let Scratch { ids, sum, integers, .. } = scratch;
        let dimension = self.dimension;
        for block in ids.chunks(BLOCK) {
            integers.clear();
            integers.resize(dimension, 0_i16);
            for &id in block {
                let start = id as usize * dimension;
                let Some(row) = table.get(start..start + dimension) else { continue };
                for (sum, &x) in integers.iter_mut().zip(row) {
                    *sum += i16::from(x as i8);
                }
            }
            for (sum, &x) in sum.iter_mut().zip(integers.iter()) {
                *sum += f64::from(x);
            }
        }
    }

    /// Sums rows of `N`-byte numbers, each times its token's weight.
    fn sum_floats<const N: usize>(&self, scratch: &mut Scratch, decode: impl Fn(&[u8; N]) -> f32) {
        let Some(table) = self.map.get(self.table.clone()) else { return };
        let Scratch { ids, sum, floats, .. } = scratch;
        let length = self.dimension * N;
        for block in ids.chunks(BLOCK) {
            floats.clear();
            floats.resize(self.dimension, 0.0_f32);
            for &id in block {
                let (row, weight) = match &self.rows {
                    Rows::Plain => (id, 1.0),
                    Rows::Mapped(rows) => rows.get(id as usize).copied().unwrap_or((0, 0.0)),
                };
                let start = row as usize * length;
                let Some(row) = table.get(start..start + length) else { continue };
                for (sum, x) in floats.iter_mut().zip(row.as_chunks::<N>().0) {
                    *sum += decode(x) * weight;
                }
            }
            for (sum, &x) in sum.iter_mut().zip(floats.iter()) {
                *sum += f64::from(x);
            }
        }
    }
}

/// The most rows whose sum of int8 sixteen bits hold: 256 times -128 is the least of them.
const BLOCK: usize = 256;

/// Space that is used again for each text.
#[derive(Default)]
struct Scratch {
    ids: Vec<u32>,
    integers: Vec<i16>,
    floats: Vec<f32>,
    sum: Vec<f64>,
}

/// Writes as much of `sum` as `out` holds, as a unit vector; zeros where it has no finite length.
fn write_unit(sum: &[f64], out: &mut [f32]) {
    let sum = sum.get(..out.len()).unwrap_or(sum);
    let norm = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
    out.fill(0.0);
    if norm > 0.0 && norm.is_finite() {
        for (out, x) in out.iter_mut().zip(sum) {
            *out = (x / norm) as f32;
        }
    }
}

/// The row and the weight of each token, checked against the table.
fn rows(size: usize, row_count: usize, weights: Option<&[f32]>, mapping: Option<&[u32]>) -> Result<Rows, String> {
    for (name, length) in [("weights", weights.map(<[f32]>::len)), ("mapping", mapping.map(<[u32]>::len))] {
        if let Some(length) = length.filter(|&length| length < size) {
            return Err(format!("{name} has {length} entries for {size} tokens"));
        }
    }
    if mapping.is_none() && row_count != size {
        return Err(format!("embeddings have {row_count} rows for {size} tokens"));
    }
    if let Some(row) = mapping.into_iter().flatten().find(|row| **row as usize >= row_count) {
        return Err(format!("mapping names row {row} of {row_count}"));
    }
    if weights.into_iter().flatten().any(|weight| !weight.is_finite()) {
        return Err("weights has an entry that is no number".to_owned());
    }
    if weights.is_none() && mapping.is_none() {
        return Ok(Rows::Plain);
    }
    let row = |id: usize| mapping.map_or(Some(id as u32), |mapping| mapping.get(id).copied()).unwrap_or(0);
    let weight = |id: usize| weights.map_or(Some(1.0), |weights| weights.get(id).copied()).unwrap_or(0.0);
    Ok(Rows::Mapped((0..size).map(|id| (row(id), weight(id))).collect()))
}

#[derive(Deserialize)]
struct Config<'a> {
    #[serde(borrow, default)]
    pooling: Option<Cow<'a, str>>,
}

fn check_config(path: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let config: Config<'_> = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    match config.pooling {
        Some(pooling) if pooling != "mean" => Err(format!("pooling is {pooling}, not mean")),
        _ => Ok(()),
    }
}

/// A tensor of a safetensors file and the bytes of the file that it is.
struct Tensor {
    dtype: String,
    shape: Vec<usize>,
    bytes: Range<usize>,
}

#[derive(Deserialize)]
struct Header {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// Reads the header of a safetensors file: eight bytes of its length, JSON, and the tensors one after another without a
/// gap to the end of the file.
fn tensors(file: &[u8]) -> Result<BTreeMap<String, Tensor>, String> {
    let (length, rest) = file.split_first_chunk::<8>().ok_or("it is shorter than its header")?;
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let header = rest.get(..length).ok_or("it is shorter than its header")?;
    let data_start = 8 + length;
    let data_length = file.len() - data_start;
    let header: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(header).map_err(|error| format!("the header is no JSON object: {error}"))?;
    let mut tensors = BTreeMap::new();
    for (name, value) in header {
        if name != "__metadata__" {
            let header = Header::deserialize(value).map_err(|error| format!("tensor {name}: {error}"))?;
            let tensor = Tensor::checked(header, data_start, data_length)
                .map_err(|reason| format!("tensor {name}: {reason}"))?;
            tensors.insert(name, tensor);
        }
    }
    let mut ranges: Vec<&Range<usize>> = tensors.values().map(|tensor| &tensor.bytes).collect();
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let end = ranges.iter().try_fold(data_start, |end, range| (range.start == end).then_some(range.end));
    if end == Some(file.len()) {
        Ok(tensors)
    } else {
        Err("the tensors do not fill the file one after another".to_owned())
    }
}

impl Tensor {
    fn checked(header: Header, data_start: usize, data_length: usize) -> Result<Self, String> {
        let width = match header.dtype.as_str() {
            "BOOL" | "U8" | "I8" | "F8_E5M2" | "F8_E4M3" => 1,
            "U16" | "I16" | "F16" | "BF16" => 2,
            "U32" | "I32" | "F32" => 4,
            "U64" | "I64" | "F64" => 8,
            other => return Err(format!("unknown type {other}")),
        };
        let [start, end] = header.data_offsets;
        if start > end || end > data_length {
            return Err(format!("bytes {start} to {end} of {data_length}"));
        }
        let length = header.shape.iter().try_fold(width, |length: usize, &size| length.checked_mul(size));
        if length != Some(end - start) {
            return Err(format!("{} bytes for shape {:?} of {}", end - start, header.shape, header.dtype));
        }
        Ok(Self { dtype: header.dtype, shape: header.shape, bytes: data_start + start..data_start + end })
    }

    fn data<'a>(&self, file: &'a [u8]) -> Result<&'a [u8], String> {
        if self.shape.len() > 1 {
            return Err(format!("a tensor of shape {:?} is no list", self.shape));
        }
        file.get(self.bytes.clone()).ok_or_else(|| "a tensor lies outside of the file".to_owned())
    }

    fn floats(&self, file: &[u8]) -> Result<Vec<f32>, String> {
        let data = self.data(file)?;
        match self.dtype.as_str() {
            "F16" => Ok(data.as_chunks().0.iter().map(|x| f16::from_le_bytes(*x).to_f32()).collect()),
            "F32" => Ok(data.as_chunks().0.iter().map(|x| f32::from_le_bytes(*x)).collect()),
            "F64" => Ok(data.as_chunks().0.iter().map(|x| f64::from_le_bytes(*x) as f32).collect()),
            other => Err(format!("weights are {other}, not F16, F32 or F64")),
        }
    }

    fn integers(&self, file: &[u8]) -> Result<Vec<u32>, String> {
        let data = self.data(file)?;
        // What does not fit becomes the largest number, which is no row.
        let wide = |x: i64| u32::try_from(x).unwrap_or(u32::MAX);
        match self.dtype.as_str() {
            "I32" => Ok(data.as_chunks().0.iter().map(|x| wide(i64::from(i32::from_le_bytes(*x)))).collect()),
            "U32" => Ok(data.as_chunks().0.iter().map(|x| u32::from_le_bytes(*x)).collect()),
            "I64" | "U64" => Ok(data.as_chunks().0.iter().map(|x| wide(i64::from_le_bytes(*x))).collect()),
            "U16" => Ok(data.as_chunks().0.iter().map(|x| u32::from(u16::from_le_bytes(*x))).collect()),
            other => Err(format!("mapping is {other}, not I32, I64, U16, U32 or U64")),
        }
    }
}

/// What the fingerprint is taken over: the subjects and the letters that documentation is made of.
const SENTENCES: &[&str] = &[
    "Start the timer before you begin and stop it when you are done.",
    "Only owners and administrators can change the billing plan of a workspace.",
    "To export a report as PDF or CSV, open it, choose a range of dates and press Export.",
    "The request failed with status 429: too many requests; wait and try again.",
    "SELECT name, count(*) FROM customers WHERE created_at > '2024-01-31' GROUP BY name;",
    "Install the package, set the environment variable API_KEY and restart the server.",
    "Invite people by e-mail, assign them a role and add them to groups.",
    "How do I reset my password if I no longer have access to my phone?",
    "Die Rechnung wurde am 3. März verschickt; le fichier a été supprimé; ¿dónde está?",
    "Overtime, holidays and sick leave are approved by the manager of each team.",
    "Memory, disk, network, thread, process, kernel, cache, index, query, vector.",
    "0 1 2 3 4 5 6 7 8 9 + - * / = < > ( ) [ ] { } ! ? . , : ; \" ' # $ % & @",
];

/// Adds to each passage's vector, scaled to unit length, `weight` times its title's, scaled likewise, and scales the sum to unit
/// length: how long an embedder's vectors are has no part in how much a title counts.
///
/// `passages` and `titles` are rows of `dimension` numbers, `owners` names the title of each passage by its number. A passage or
/// a sum of zeros stays, or becomes, a row of zeros.
///
/// # Errors
/// [`Error::InvalidArgument`] when a title is named that is not there, the slices are not whole rows, or `weight` is negative or
/// not finite.
pub fn with_titles(
    passages: &[f32],
    titles: &[f32],
    owners: &[u32],
    weight: f32,
    dimension: usize,
) -> Result<Vec<f32>> {
    let whole = dimension > 0 && titles.len().is_multiple_of(dimension) && passages.len() == owners.len() * dimension;
    if !whole || !weight.is_finite() || weight < 0.0 {
        let reason = format!(
            "{} and {} numbers are no rows of {dimension} for {} passages, or {weight} is no weight",
            passages.len(),
            titles.len(),
            owners.len()
        );
        return Err(Error::InvalidArgument(reason));
    }
    let titles: Vec<(&[f32], f64)> =
        titles.chunks_exact(dimension).map(|title| (title, inverse_length(title))).collect();
    let mut rows = vec![0f32; passages.len()];
    let mut sum = vec![0f64; dimension];
    for ((passage, out), &owner) in passages.chunks_exact(dimension).zip(rows.chunks_exact_mut(dimension)).zip(owners) {
        let Some(&(title, scale)) = titles.get(owner as usize) else {
            return Err(Error::InvalidArgument(format!("there is no title {owner}")));
        };
        let own = inverse_length(passage);
        if own > 0.0 {
            let scale = f64::from(weight) * scale;
            let added = passage
                .iter()
                .zip(title)
                .map(|(&own_value, &title)| own * f64::from(own_value) + scale * f64::from(title));
            sum.iter_mut().zip(added).for_each(|(sum, added)| *sum = added);
            write_unit(&sum, out);
        }
    }
    Ok(rows)
}

/// What scales a row to unit length; 0 for one that is zero or not finite.
fn inverse_length(row: &[f32]) -> f64 {
    let norm = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    if norm > 0.0 && norm.is_finite() { 1.0 / norm } else { 0.0 }
}

#[cfg(test)]
mod tests;
