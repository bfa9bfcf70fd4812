//! The four vector files of a segment: written from floats, opened and read through verified blocks.
//!
//! Everything is a function of one row alone (no centroid, no trained codebook): so the code of a row, and with it every
//! answer, does not depend on which segment the row lies in. `docs/format.md` specifies the files to the byte.

use std::ops::Range;
use std::sync::Arc;

use half::f16;
use rayon::prelude::*;

use super::kernels::{BLOCK_ROWS, BitBlock, ByteBlock, LANES};
use super::rotation::Rotation;
use crate::error::{Error, Result};
use crate::storage::{BlockFile, FileWriter, Segment, SegmentWriter};

/// The largest dimension a vector may have.
pub const MAX_DIMENSION: usize = 8192;

pub(super) const HALVES: &str = "vectors.f16";
pub(super) const BYTES: &str = "vectors.i8";
pub(super) const BITS: &str = "vectors.b1";
pub(super) const DOCUMENTS: &str = "documents.f16";

const HEADER_BYTES: usize = 64;
const VERSION: u32 = 1;
const HALVES_MAGIC: [u8; 8] = *b"CRAGvf16";
const BYTES_MAGIC: [u8; 8] = *b"CRAGvi08";
const BITS_MAGIC: [u8; 8] = *b"CRAGvb01";

#[cfg(target_endian = "big")]
compile_error!("the vector files are little-endian and read in place");

/// Rows of floats as they are stored: unit length, then half precision.
///
/// # Errors
/// [`Error::InvalidArgument`] as [`write`].
pub fn as_stored(dimension: usize, vectors: &[f32]) -> Result<Vec<f32>> {
    let halves = Halves::from_floats(dimension, vectors)?;
    Ok(halves.rows().flat_map(|row| row.iter().take(dimension).map(|value| value.to_f32())).collect())
}

/// Whether a row is one that was read from a segment: merging segments must not round it a second time.
fn is_stored_row(row: &[f32], norm: f64) -> bool {
    (norm - 1.0).abs() < 2e-3 && row.iter().all(|&value| f16::from_f32(value).to_f32().to_bits() == value.to_bits())
}

/// Writes the vector files of one segment.
///
/// `vectors` holds one row of `dimension` floats per chunk, `documents` one per document. Each row is divided by its
/// Euclidean length; a row that is zero or not finite is stored as a zero row, which is no evidence: it is never a neighbour
/// and its cosine is 0.
///
/// # Errors
/// [`Error::InvalidArgument`] when the dimension is 0 or above [`MAX_DIMENSION`], or does not divide the floats;
/// [`Error::Io`] when a file cannot be written.
pub fn write(segment: &mut SegmentWriter, dimension: usize, vectors: &[f32], documents: &[f32]) -> Result<()> {
    write_halves(segment, &Halves::from_floats(dimension, vectors)?, &Halves::from_floats(dimension, documents)?)
}

/// Writes the vector files of one segment from rows that have their stored form already.
///
/// # Errors
/// [`Error::Io`] when a file cannot be written.
pub(crate) fn write_halves(segment: &mut SegmentWriter, rows: &Halves, documents: &Halves) -> Result<()> {
    segment.file(HALVES, |file| rows.write(file))?;
    segment.file(BYTES, |file| write_bytes(file, rows))?;
    segment.file(BITS, |file| write_bits(file, rows))?;
    segment.file(DOCUMENTS, |file| documents.write(file))
}

/// Rows of unit vectors in half precision, each padded to a whole number of lanes.
#[derive(Debug)]
pub(crate) struct Halves {
    dimension: usize,
    rows: u32,
    stride: usize,
    values: Vec<f16>,
}

impl Halves {
    /// Room for so many rows; none yet.
    pub(crate) fn with_capacity(dimension: usize, rows: usize) -> Self {
        let stride = halves_stride(dimension);
        Self { dimension, rows: 0, stride, values: Vec::with_capacity(rows * stride) }
    }

    /// Appends the rows of `other`, which have the same dimension.
    pub(crate) fn append(&mut self, other: Self) {
        self.rows += other.rows;
        self.values.extend(other.values);
    }

    /// Rows of floats in their stored form.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] as [`write`].
    pub(crate) fn from_floats(dimension: usize, floats: &[f32]) -> Result<Self> {
        if dimension == 0 || dimension > MAX_DIMENSION || !floats.len().is_multiple_of(dimension) {
            return Err(Error::InvalidArgument(format!(
                "{} floats are not rows of {dimension} dimensions (1 to {MAX_DIMENSION} are possible)",
                floats.len()
            )));
        }
        let rows = u32::try_from(floats.len() / dimension)
            .map_err(|_| Error::InvalidArgument("a segment has fewer than 4294967296 rows".into()))?;
        let stride = halves_stride(dimension);
        let mut values = vec![f16::ZERO; rows as usize * stride];
        for (output, row) in values.chunks_exact_mut(stride).zip(floats.chunks_exact(dimension)) {
            if let Some(norm) = length(row) {
                let divisor = if is_stored_row(row, norm) { 1.0 } else { norm };
                for (value, &float) in output.iter_mut().zip(row) {
                    *value = f16::from_f32((f64::from(float) / divisor) as f32);
                }
            }
        }
        Ok(Self { dimension, rows, stride, values })
    }

    /// The rows, with their padding.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[f16]> {
        self.values.chunks_exact(self.stride)
    }

    fn write(&self, file: &mut FileWriter) -> Result<()> {
        file.put(&Header { magic: HALVES_MAGIC, dimension: self.dimension, rows: self.rows }.to_bytes())?;
        file.put(bytemuck::cast_slice(&self.values))
    }
}

/// The Euclidean length of a row, if it is finite and not zero.
pub(super) fn length(row: &[f32]) -> Option<f64> {
    let norm = row.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
    (norm.is_finite() && norm > 0.0).then_some(norm)
}

/// Writes the scales, the residual bounds and the codes of the int8 rows.
fn write_bytes(file: &mut FileWriter, rows: &Halves) -> Result<()> {
    let stride = bytes_stride(rows.dimension);
    let padded = (rows.rows as usize).next_multiple_of(BLOCK_ROWS);
    let (mut scales, mut residuals) = (vec![0f32; padded], vec![f32::NAN; padded]);
    let mut codes = vec![0i8; rows.rows as usize * stride];
    let outputs = codes.par_chunks_exact_mut(stride).zip(&mut scales).zip(&mut residuals);
    rows.values.par_chunks_exact(rows.stride).zip(outputs).with_min_len(1024).for_each(|(row, output)| {
        let ((codes, scale), residual) = output;
        if let Some(found) = quantise(row, codes) {
            (*scale, *residual) = found;
        }
    });
    file.scanned();
    file.put(&Header { magic: BYTES_MAGIC, dimension: rows.dimension, rows: rows.rows }.to_bytes())?;
    file.put(bytemuck::cast_slice(&scales))?;
    file.put(bytemuck::cast_slice(&residuals))?;
    file.put(bytemuck::cast_slice(&codes))
}

/// Fills `codes` and returns the scale and the length of what they lose, rounded up; nothing for a zero row.
fn quantise(row: &[f16], codes: &mut [i8]) -> Option<(f32, f32)> {
    let largest = row.iter().fold(0f32, |largest, value| largest.max(value.to_f32().abs()));
    if largest == 0.0 {
        return None;
    }
    let scale = largest / 127.0;
    let mut squares = 0f64;
    for (code, value) in codes.iter_mut().zip(row) {
        let value = value.to_f32();
        *code = (value / scale).round().clamp(-127.0, 127.0) as i8;
        let lost = f64::from(value) - f64::from(scale) * f64::from(*code);
        squares += lost * lost;
    }
    Some((scale, (squares.sqrt() as f32).next_up()))
}

/// Writes the factors and the sign codes of the rotated rows, [`BLOCK_ROWS`] rows interleaved byte by byte.
fn write_bits(file: &mut FileWriter, rows: &Halves) -> Result<()> {
    let (rotation, width) = (Rotation::new(rows.dimension), Rotation::width(rows.dimension));
    let padded = (rows.rows as usize).next_multiple_of(BLOCK_ROWS);
    let mut factors = vec![f32::NAN; padded];
    let mut codes = vec![0u8; padded * width / 8];
    let blocks = rows.values.par_chunks(BLOCK_ROWS * rows.stride);
    let outputs = codes.par_chunks_exact_mut(BLOCK_ROWS * width / 8).zip(factors.par_chunks_exact_mut(BLOCK_ROWS));
    blocks.zip(outputs).with_min_len(16).for_each_init(
        || vec![0f32; width],
        |rotated, (block, (codes, factors))| {
            for (place, row) in block.chunks_exact(rows.stride).enumerate() {
                rotated.fill(0.0);
                for (output, value) in rotated.iter_mut().zip(row) {
                    *output = value.to_f32();
                }
                rotation.apply(rotated);
                for (byte, signs) in rotated.as_chunks::<8>().0.iter().enumerate() {
                    let bits =
                        signs.iter().enumerate().fold(0, |bits, (bit, &sign)| bits | u8::from(sign >= 0.0) << bit);
                    codes[byte * BLOCK_ROWS + place] = bits;
                }
                let size: f64 = rotated.iter().map(|&value| f64::from(value.abs())).sum();
                if size > 0.0 {
                    factors[place] = (1.0 / size) as f32;
                }
            }
        },
    );
    file.scanned();
    file.put(&Header { magic: BITS_MAGIC, dimension: rows.dimension, rows: rows.rows }.to_bytes())?;
    file.put(bytemuck::cast_slice(&factors))?;
    file.put(&codes)
}

/// The vectors of some chunks as they are stored, read without the files that are derived from them; nothing for a dimension of 0.
///
/// # Errors
/// [`Error::IndexCorrupt`] when a row is damaged or missing.
pub fn stored_rows(segment: &Segment, rows: Range<u32>, dimension: usize) -> Result<Vec<f32>> {
    if dimension == 0 {
        return Ok(Vec::new());
    }
    let file = segment.file(HALVES)?;
    let header = Header::read(file, HALVES_MAGIC)?;
    if header.dimension != dimension {
        return Err(Error::corrupt(
            file.path(),
            format!("it has {} dimensions instead of {dimension}", header.dimension),
        ));
    }
    let halves = HalfRows { file, name: HALVES, rows: header.rows, stride: halves_stride(dimension) };
    let mut values = Vec::with_capacity(rows.len() * dimension);
    for row in rows {
        values.extend(halves.row(row)?.iter().take(dimension).map(|&bits| f16::from_bits(bits).to_f32()));
    }
    Ok(values)
}

fn halves_stride(dimension: usize) -> usize {
    dimension.next_multiple_of(LANES)
}

fn bytes_stride(dimension: usize) -> usize {
    dimension.next_multiple_of(64)
}

struct Header {
    magic: [u8; 8],
    dimension: usize,
    rows: u32,
}

impl Header {
    fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&self.magic);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&(self.dimension as u32).to_le_bytes());
        bytes[16..20].copy_from_slice(&self.rows.to_le_bytes());
        bytes
    }

    fn read(file: &BlockFile, magic: [u8; 8]) -> Result<Self> {
        let bytes = file.bytes(0..HEADER_BYTES)?;
        let word =
            |at: usize| bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_le_bytes);
        let header = Self { magic, dimension: word(12) as usize, rows: word(16) };
        if !bytes.starts_with(&magic) {
            return Err(Error::corrupt(file.path(), "it does not begin as a vector file of its kind does"));
        }
        if word(8) != VERSION {
            return Err(Error::IndexIncompatible {
                aspect: "format",
                found: format!("version {} of {}", word(8), file.path().display()),
                expected: format!("version {VERSION}"),
            });
        }
        if header.dimension == 0 || header.dimension > MAX_DIMENSION || header.to_bytes() != bytes {
            return Err(Error::corrupt(file.path(), "its header holds what no writer puts there"));
        }
        Ok(header)
    }

    /// Checks that the file has the length that its header asks for.
    fn expect(&self, file: &BlockFile, bytes_after_header: usize) -> Result<()> {
        if file.len() == HEADER_BYTES + bytes_after_header {
            Ok(())
        } else {
            Err(Error::corrupt(
                file.path(),
                format!("{} rows of {} dimensions do not fill its {} bytes", self.rows, self.dimension, file.len()),
            ))
        }
    }
}

/// The vectors of one opened segment.
#[derive(Clone, Debug)]
pub struct VectorSegment {
    segment: Arc<Segment>,
    dimension: usize,
    rows: u32,
    documents: u32,
}

impl VectorSegment {
    /// Validates the headers and lengths of the segment's vector files; rows are verified when they are first read.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when a file is missing or does not have the form its header states, or the files disagree;
    /// [`Error::IndexIncompatible`] for another version of the format.
    pub fn open(segment: &Arc<Segment>) -> Result<Self> {
        let (file, header) = Self::header(segment, HALVES, HALVES_MAGIC)?;
        let (dimension, rows) = (header.dimension, header.rows);
        let padded = (rows as usize).next_multiple_of(BLOCK_ROWS);
        header.expect(file, rows as usize * halves_stride(dimension) * 2)?;
        let (file, header) = Self::header(segment, BYTES, BYTES_MAGIC)?;
        header.expect(file, padded * 8 + rows as usize * bytes_stride(dimension))?;
        let bytes = (header.dimension, header.rows);
        let (file, header) = Self::header(segment, BITS, BITS_MAGIC)?;
        header.expect(file, padded * 4 + padded * Rotation::width(dimension) / 8)?;
        file.scanned();
        let bits = (header.dimension, header.rows);
        let (file, header) = Self::header(segment, DOCUMENTS, HALVES_MAGIC)?;
        header.expect(file, header.rows as usize * halves_stride(dimension) * 2)?;
        if bytes != (dimension, rows) || bits != (dimension, rows) || header.dimension != dimension {
            return Err(Error::corrupt(file.path(), "the vector files disagree about their rows or dimensions"));
        }
        Ok(Self { segment: Arc::clone(segment), dimension, rows, documents: header.rows })
    }

    fn header<'a>(segment: &'a Segment, name: &str, magic: [u8; 8]) -> Result<(&'a BlockFile, Header)> {
        let file = segment.file(name)?;
        Ok((file, Header::read(file, magic)?))
    }

    /// How many components a vector has.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// How many chunks' vectors there are, zero rows included.
    #[must_use]
    pub fn rows(&self) -> u32 {
        self.rows
    }

    /// How many documents' vectors there are, zero rows included.
    #[must_use]
    pub fn documents(&self) -> u32 {
        self.documents
    }

    /// The chunks' rows in half precision.
    pub(super) fn halves(&self) -> Result<HalfRows<'_>> {
        self.halves_of(HALVES, self.rows)
    }

    /// The documents' rows in half precision.
    pub(super) fn document_halves(&self) -> Result<HalfRows<'_>> {
        self.halves_of(DOCUMENTS, self.documents)
    }

    fn halves_of(&self, name: &'static str, rows: u32) -> Result<HalfRows<'_>> {
        Ok(HalfRows { file: self.segment.file(name)?, name, rows, stride: halves_stride(self.dimension) })
    }

    /// The int8 rows of the segment.
    pub(super) fn bytes(&self) -> Result<ByteRows<'_>> {
        Ok(ByteRows {
            file: self.segment.file(BYTES)?,
            rows: self.rows as usize,
            padded: (self.rows as usize).next_multiple_of(BLOCK_ROWS),
            stride: bytes_stride(self.dimension),
        })
    }

    /// The 1-bit rows of the segment.
    pub(super) fn bits(&self) -> Result<BitRows<'_>> {
        Ok(BitRows {
            file: self.segment.file(BITS)?,
            padded: (self.rows as usize).next_multiple_of(BLOCK_ROWS),
            block_bytes: BLOCK_ROWS * Rotation::width(self.dimension) / 8,
        })
    }
}

/// `length` verified bytes from `start` on, as values.
fn cast<T: bytemuck::AnyBitPattern>(file: &BlockFile, start: usize, length: usize) -> Result<&[T]> {
    bytemuck::try_cast_slice(file.bytes(start..start + length)?)
        .map_err(|_| Error::corrupt(file.path(), "its bytes are not aligned in memory"))
}

fn column(file: &BlockFile, start: usize) -> Result<&[f32; BLOCK_ROWS]> {
    cast(file, start, BLOCK_ROWS * 4)?.try_into().map_err(|_| Error::corrupt(file.path(), "a column ends early"))
}

/// Rows in half precision, each padded to a whole number of lanes.
#[derive(Clone, Copy)]
pub(super) struct HalfRows<'a> {
    file: &'a BlockFile,
    name: &'static str,
    rows: u32,
    stride: usize,
}

impl<'a> HalfRows<'a> {
    /// One row.
    pub fn row(&self, row: u32) -> Result<&'a [u16]> {
        if row >= self.rows {
            return Err(Error::InvalidArgument(format!("{} has {} rows, none of number {row}", self.name, self.rows)));
        }
        cast(self.file, self.start(row), self.stride * 2)
    }

    /// Runs `work`, which reads these rows, after it let their reading begin.
    pub fn reading<T>(&self, rows: impl ExactSizeIterator<Item = u32>, work: impl FnOnce() -> T) -> T {
        self.file.reading(rows.map(|row| self.start(row)..self.start(row) + self.stride * 2), work)
    }

    fn start(&self, row: u32) -> usize {
        HEADER_BYTES + row as usize * self.stride * 2
    }
}

/// One int8 row.
#[derive(Clone, Copy)]
pub(super) struct ByteRow<'a> {
    pub codes: &'a [i8],
    /// What one code is worth.
    pub scale: &'a f32,
    /// The residual bound; NaN for a zero row.
    pub residual: &'a f32,
}

/// The int8 rows of a segment, block by block.
#[derive(Clone, Copy)]
pub(super) struct ByteRows<'a> {
    file: &'a BlockFile,
    rows: usize,
    padded: usize,
    stride: usize,
}

impl<'a> ByteRows<'a> {
    /// The rows `64 * block` and following.
    pub fn block(&self, block: usize) -> Result<ByteBlock<'a>> {
        let first = block * BLOCK_ROWS;
        let count = self.rows.saturating_sub(first).min(BLOCK_ROWS);
        Ok(ByteBlock {
            codes: cast(self.file, HEADER_BYTES + self.padded * 8 + first * self.stride, count * self.stride)?,
            scales: column(self.file, HEADER_BYTES + first * 4)?,
            residuals: column(self.file, HEADER_BYTES + (self.padded + first) * 4)?,
        })
    }

    /// One row, given [`ByteRows::columns`].
    pub fn row(&self, row: u32, (scales, residuals): (&'a [f32], &'a [f32])) -> Result<ByteRow<'a>> {
        let codes = cast(self.file, self.start(row), self.stride)?;
        match (scales.get(row as usize), residuals.get(row as usize)) {
            (Some(scale), Some(residual)) => Ok(ByteRow { codes, scale, residual }),
            _ => Err(Error::InvalidArgument(format!("there is no vector {row}"))),
        }
    }

    /// Runs `work`, which reads these rows, after it let their reading begin.
    pub fn reading<T>(&self, rows: impl ExactSizeIterator<Item = u32>, work: impl FnOnce() -> T) -> T {
        self.file.reading(rows.map(|row| self.start(row)..self.start(row) + self.stride), work)
    }

    fn start(&self, row: u32) -> usize {
        HEADER_BYTES + self.padded * 8 + row as usize * self.stride
    }

    /// The scales and the residual bounds of all rows.
    pub fn columns(&self) -> Result<(&'a [f32], &'a [f32])> {
        Ok(cast(self.file, HEADER_BYTES, self.padded * 8)?.split_at(self.padded))
    }

    /// Notes that all blocks were verified, after a scan that read them all.
    pub fn complete(&self) -> Result<()> {
        self.file.all().map(|_| ())
    }
}

/// The 1-bit rows of a segment, block by block.
#[derive(Clone, Copy)]
pub(super) struct BitRows<'a> {
    file: &'a BlockFile,
    padded: usize,
    block_bytes: usize,
}

impl<'a> BitRows<'a> {
    /// The rows `64 * block` and following.
    pub fn block(&self, block: usize) -> Result<BitBlock<'a>> {
        Ok(BitBlock {
            codes: self.file.bytes({
                let start = HEADER_BYTES + self.padded * 4 + block * self.block_bytes;
                start..start + self.block_bytes
            })?,
            factors: column(self.file, HEADER_BYTES + block * BLOCK_ROWS * 4)?,
        })
    }

    /// Notes that all blocks were verified, after a scan that read them all.
    pub fn complete(&self) -> Result<()> {
        self.file.all().map(|_| ())
    }
}
