//! One segment: documents to files, and files to everything a query reads.
//!
//! A segment holds each document whole: its text, its chunks, their terms and vectors, and the document's own terms and
//! vector. So a changed document is deleted from one segment and written into another, and nothing else is touched.

use std::ops::Range;
use std::sync::Arc;

use roaring::RoaringBitmap;

use crate::analysis::Language;
use crate::bitmap::Bitmap;
use crate::bm25::ScoredLists;
use crate::dense::{self, Halves, VectorSegment};
use crate::error::{Error, Result};
use crate::lexical::{self, ChunkText, Corrections, DocumentText, LexicalSegment, Piece};
use crate::records::{self, ChunkRecord, DocumentRecord, Id, Records, Span};
use crate::storage::{self, BlockFile, Publisher, Segment, SegmentEntry};

/// A chunk on its way into a segment.
#[derive(Clone, Debug)]
pub struct ChunkInput {
    /// The chunk's id.
    pub id: Id,
    /// The encoded record.
    pub record: Vec<u8>,
    /// The headings above it, as one text to be searched.
    pub headings: String,
    /// The ranges of the document's text that it is made of, in code points.
    pub spans: Vec<(u32, u32)>,
    /// The parts of `spans` that an earlier chunk also has.
    pub repeated: Vec<(u32, u32)>,
    /// Values that it can be filtered by, beside the document's.
    pub filters: Vec<String>,
    /// Its length in tokens: its weight in the document's vector.
    pub tokens: u32,
}

/// A document on its way into a segment.
#[derive(Clone, Debug)]
pub struct DocumentInput {
    /// The document's id.
    pub id: Id,
    /// The encoded record.
    pub record: Vec<u8>,
    /// The canonical text.
    pub text: String,
    /// The title, searched with each of the chunks.
    pub title: String,
    /// The language that it is analysed in.
    pub language: Language,
    /// Every heading of the document once.
    pub headings: Vec<String>,
    /// Values that it can be filtered by, as `field=value`.
    pub filters: Vec<String>,
    /// The chunks in reading order.
    pub chunks: Vec<ChunkInput>,
}

/// The vectors of all chunks of a segment, row by row.
#[derive(Clone, Copy, Debug)]
pub struct ChunkVectors<'a> {
    /// Numbers per row.
    pub dimension: usize,
    /// `rows × dimension` numbers.
    pub values: &'a [f32],
}

/// Writes documents, which must ascend by id, as a new segment of the next generation.
///
/// # Errors
/// [`Error::InvalidArgument`] for documents out of order, spans outside their text or vectors of another count;
/// [`Error::Io`] when a file cannot be written.
pub fn write(
    publisher: &mut Publisher,
    documents: Vec<DocumentInput>,
    vectors: Option<ChunkVectors<'_>>,
) -> Result<SegmentEntry> {
    if !documents.is_sorted_by(|left, right| left.id < right.id) {
        return Err(Error::InvalidArgument("documents must ascend by id, each once".to_owned()));
    }
    let rows: usize = documents.iter().map(|document| document.chunks.len()).sum();
    let mut draft = Draft::new(vectors.map_or(0, |vectors| vectors.dimension));
    let mut values = vectors.map(|vectors| vectors.values);
    if let Some(vectors) = vectors.filter(|vectors| vectors.values.len() != rows * vectors.dimension) {
        return Err(another_count(vectors.values.len(), vectors.dimension, rows));
    }
    for document in documents {
        let own = values.as_mut().and_then(|rest| rest.split_off(..document.chunks.len() * draft.dimension));
        draft.add(document, own)?;
    }
    draft.write(publisher)
}

fn another_count(values: usize, dimension: usize, chunks: usize) -> Error {
    Error::InvalidArgument(format!("{} vectors were given for {chunks} chunks", values / dimension.max(1)))
}

/// From this size on, a draft's memory is given back to the system when it was written.
const LARGE_BYTES: usize = 32 << 20;

/// What a chunk and a document take in memory beside their texts, records and vectors.
const OVERHEAD_BYTES: usize = 400;

/// Documents on their way into one segment, in any order, in little more memory than they will take on the disk.
#[derive(Debug, Default)]
pub struct Draft {
    dimension: usize,
    documents: Vec<(DocumentInput, Option<Halves>)>,
    bytes: usize,
}

impl Draft {
    /// A draft with vectors of so many numbers; 0 for one without vectors.
    #[must_use]
    pub fn new(dimension: usize) -> Self {
        Self { dimension, ..Self::default() }
    }

    /// Whether there are no documents.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// About how much memory the documents take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds a document with a row of numbers for each chunk; `None` for rows of zeros, which are no evidence.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for another count of numbers.
    pub fn add(&mut self, document: DocumentInput, vectors: Option<&[f32]>) -> Result<()> {
        let numbers = document.chunks.len() * self.dimension;
        let rows = match vectors {
            Some(values) if values.len() != numbers => {
                return Err(another_count(values.len(), self.dimension, document.chunks.len()));
            }
            _ if self.dimension == 0 => None,
            Some(values) => Some(Halves::from_floats(self.dimension, values)?),
            None => Some(Halves::from_floats(self.dimension, &vec![0.0; numbers])?),
        };
        let records = document.chunks.iter().map(|chunk| chunk.record.len() + chunk.headings.len());
        self.bytes += document.text.len() + document.record.len() + records.sum::<usize>() + 2 * numbers;
        self.bytes += OVERHEAD_BYTES * (1 + document.chunks.len());
        self.documents.push((document, rows));
        Ok(())
    }

    /// Writes the documents as a new segment of the next generation.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a document that comes twice or spans outside their text; [`Error::Io`] when a file
    /// cannot be written.
    pub fn write(self, publisher: &mut Publisher) -> Result<SegmentEntry> {
        let large = self.bytes >= LARGE_BYTES;
        let entry = self.write_files(publisher)?;
        if large {
            storage::return_freed_memory();
        }
        Ok(entry)
    }

    fn write_files(mut self, publisher: &mut Publisher) -> Result<SegmentEntry> {
        self.documents.sort_by_key(|(document, _)| document.id);
        let (documents, vectors): (Vec<_>, Vec<_>) = self.documents.into_iter().unzip();
        let chunks: usize = documents.iter().map(|document: &DocumentInput| document.chunks.len()).sum();
        let (id, mut writer) = publisher.segment()?;
        let spans = spans_of(&documents)?;
        let texts: Vec<DocumentText<'_>> =
            documents.iter().zip(&spans).map(|(document, spans)| document_text(document, spans)).collect();
        lexical::write(&mut writer, &texts)?;
        drop(texts);
        if self.dimension > 0 {
            let whole = document_vectors(&documents, self.dimension, &vectors);
            let mut rows = Halves::with_capacity(self.dimension, chunks);
            vectors.into_iter().flatten().for_each(|own| rows.append(own));
            dense::write_halves(&mut writer, &rows, &Halves::from_floats(self.dimension, &whole)?)?;
        }
        let count = documents.len() as u32;
        let records: Vec<DocumentRecord> =
            documents.into_iter().zip(spans).map(|(document, spans)| document_record(document, spans)).collect();
        records::write(&mut writer, &records)?;
        let files = writer.finish()?;
        Ok(SegmentEntry {
            id,
            documents: count,
            chunks: chunks as u32,
            files,
            tombstones: None,
            deleted_documents: 0,
            deleted_chunks: 0,
        })
    }
}

/// The spans of each chunk and the repeated ranges in bytes.
struct ChunkSpans {
    spans: Vec<Span>,
    repeated: Vec<Range<usize>>,
}

fn spans_of(documents: &[DocumentInput]) -> Result<Vec<Vec<ChunkSpans>>> {
    documents
        .iter()
        .map(|document| {
            let points = |chunk: &ChunkInput| chunk.spans.iter().chain(&chunk.repeated).copied().collect::<Vec<_>>();
            let all: Vec<(u32, u32)> = document.chunks.iter().flat_map(points).collect();
            let mut spans = records::byte_spans(&document.text, &all)?.into_iter();
            let mut take = |count: usize| spans.by_ref().take(count).collect::<Vec<_>>();
            Ok(document
                .chunks
                .iter()
                .map(|chunk| ChunkSpans {
                    spans: take(chunk.spans.len()),
                    repeated: take(chunk.repeated.len()).iter().map(Span::bytes).collect(),
                })
                .collect())
        })
        .collect()
}

fn document_text<'a>(document: &'a DocumentInput, spans: &[ChunkSpans]) -> DocumentText<'a> {
    let chunk_text = |(chunk, spans): (&'a ChunkInput, &ChunkSpans)| ChunkText {
        headings: &chunk.headings,
        body: spans.spans.iter().flat_map(|span| pieces(&document.text, span.bytes(), &spans.repeated)).collect(),
        filters: chunk.filters.clone(),
    };
    DocumentText {
        language: document.language,
        title: &document.title,
        headings: document.headings.iter().map(String::as_str).collect(),
        filters: document.filters.clone(),
        chunks: document.chunks.iter().zip(spans).map(chunk_text).collect(),
    }
}

/// Cuts `span` of `text` where repeated ranges begin and end. Repeated ranges ascend and do not overlap.
fn pieces<'a>(text: &'a str, span: Range<usize>, repeated: &[Range<usize>]) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    let mut at = span.start;
    let mut push = |range: Range<usize>, repeated: bool| {
        if let Some(text) = text.get(range).filter(|text| !text.is_empty()) {
            pieces.push(Piece { text, repeated });
        }
    };
    for range in repeated.iter().filter(|range| range.start < span.end && range.end > span.start) {
        let (start, end) = (range.start.max(at), range.end.min(span.end));
        push(at..start, false);
        push(start..end, true);
        at = end.max(at);
    }
    push(at..span.end, false);
    pieces
}

/// A document's vector: the mean of its chunks' vectors as they are stored, each weighted by its length. So a segment that
/// is merged from others has the vectors of one that is built anew.
fn document_vectors(documents: &[DocumentInput], dimension: usize, vectors: &[Option<Halves>]) -> Vec<f32> {
    let mut whole = Vec::with_capacity(documents.len() * dimension);
    for (document, rows) in documents.iter().zip(vectors) {
        let mut sum = vec![0f32; dimension];
        for (chunk, row) in document.chunks.iter().zip(rows.iter().flat_map(Halves::rows)) {
            let weight = chunk.tokens.max(1) as f32;
            sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value.to_f32());
        }
        whole.extend(sum);
    }
    whole
}

fn document_record(document: DocumentInput, spans: Vec<ChunkSpans>) -> DocumentRecord {
    let sections = sections(&document.chunks);
    let chunk_record = |((chunk, spans), section): ((ChunkInput, ChunkSpans), u32)| ChunkRecord {
        id: chunk.id,
        record: chunk.record,
        section,
        spans: spans.spans,
    };
    DocumentRecord {
        id: document.id,
        record: document.record,
        text: document.text,
        chunks: document.chunks.into_iter().zip(spans).zip(sections).map(chunk_record).collect(),
    }
}

/// The number of each chunk's section: one more wherever the headings change.
fn sections(chunks: &[ChunkInput]) -> Vec<u32> {
    let changes = chunks
        .windows(2)
        .map(|pair| pair.first().map(|chunk| &chunk.headings) != pair.get(1).map(|chunk| &chunk.headings));
    let numbers = changes.scan(0, |section, changed| {
        *section += u32::from(changed);
        Some(*section)
    });
    std::iter::once(0).chain(numbers).take(chunks.len()).collect()
}

/// The rows of a segment that are deleted in one generation, and what that takes from the segment's statistics.
#[derive(Debug)]
pub struct Tombstones {
    /// Deleted documents.
    pub documents: Bitmap,
    /// Deleted chunks: those of the deleted documents.
    pub chunks: Bitmap,
    /// What the deleted rows had added to document frequencies and lengths.
    pub corrections: Corrections,
}

const TOMBSTONES_MAGIC: [u8; 8] = *b"CRAGTMB1";

impl Tombstones {
    /// Marks documents, and with them their chunks, as deleted.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when the segment's records are damaged.
    pub fn of(segment: &SegmentReader, documents: Bitmap) -> Result<Self> {
        let records = segment.records()?;
        let mut chunks = Bitmap::empty(records.chunks());
        for document in documents.iter() {
            records.chunk_rows(document)?.for_each(|row| chunks.insert(row));
        }
        let corrections = segment.lexical.frequency_corrections(&chunks, &documents)?;
        Ok(Self { documents, chunks, corrections })
    }

    /// The bytes of a tombstone file: magic, the length of each part, the two bitmaps in Roaring's portable format, and the
    /// corrections.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when a bitmap cannot be encoded.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let encode = |bitmap: &Bitmap| {
            let mut bytes = Vec::new();
            let rows: RoaringBitmap = bitmap.iter().collect();
            rows.serialize_into(&mut bytes)
                .map_err(|failure| Error::InvalidArgument(format!("a bitmap cannot be encoded: {failure}")))?;
            Ok(bytes)
        };
        let parts = [encode(&self.documents)?, encode(&self.chunks)?, self.corrections.to_bytes()];
        let mut bytes = TOMBSTONES_MAGIC.to_vec();
        for part in &parts {
            bytes.extend((part.len() as u64).to_le_bytes());
        }
        bytes.extend(parts.concat());
        Ok(bytes)
    }

    /// Reads a tombstone file of a segment with so many documents and chunks.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when it is damaged or speaks of rows that there are not.
    pub fn from_file(file: &BlockFile, documents: u32, chunks: u32) -> Result<Self> {
        let bytes = file.all()?;
        let cut = || Error::corrupt(file.path(), "it is cut");
        let (magic, rest) = bytes.split_first_chunk::<8>().ok_or_else(cut)?;
        if *magic != TOMBSTONES_MAGIC {
            return Err(Error::corrupt(file.path(), "it does not begin as such a file does"));
        }
        let (lengths, mut rest) = rest.split_first_chunk::<24>().ok_or_else(cut)?;
        let mut part = |index: usize| {
            let length = lengths[8 * index..].first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            let (part, others) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            rest = others;
            Some(part)
        };
        let decode = |bytes: &[u8], rows: u32| {
            let set = RoaringBitmap::deserialize_from(bytes)
                .map_err(|failure| Error::corrupt(file.path(), format!("a bitmap in it cannot be read: {failure}")))?;
            if set.max().is_some_and(|last| last >= rows) {
                return Err(Error::corrupt(file.path(), "it deletes rows that there are not"));
            }
            let mut bitmap = Bitmap::empty(rows);
            set.iter().for_each(|row| bitmap.insert(row));
            Ok(bitmap)
        };
        let deleted_documents = decode(part(0).ok_or_else(cut)?, documents)?;
        let deleted_chunks = decode(part(1).ok_or_else(cut)?, chunks)?;
        let corrections = Corrections::from_bytes(part(2).ok_or_else(cut)?)
            .map_err(|failure| Error::corrupt(file.path(), failure.to_string()))?;
        Ok(Self { documents: deleted_documents, chunks: deleted_chunks, corrections })
    }
}

/// One opened segment.
#[derive(Debug)]
pub struct SegmentReader {
    files: Arc<Segment>,
    /// Terms, posting lists and filters.
    pub lexical: LexicalSegment,
    /// What is remembered of posting lists' scores.
    pub scored: ScoredLists,
    /// Vectors, where the index has them.
    pub vectors: Option<VectorSegment>,
}

impl SegmentReader {
    /// Opens what lies in `files`.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when a structure that is verified at once is damaged.
    pub fn open(files: &Arc<Segment>) -> Result<Self> {
        let lexical = LexicalSegment::open(files)?;
        let reader = Self {
            files: Arc::clone(files),
            scored: ScoredLists::new(lexical.chunks()),
            lexical,
            vectors: files.find("vectors.f16").map(|_| VectorSegment::open(files)).transpose()?,
        };
        let records = reader.records()?;
        if records.chunks() != reader.lexical.chunks() || records.documents() != reader.lexical.documents() {
            return Err(Error::corrupt(files.directory(), "its terms and its records speak of different rows"));
        }
        if let Some(vectors) = &reader.vectors
            && (vectors.rows() != reader.lexical.chunks() || vectors.documents() != reader.lexical.documents())
        {
            return Err(Error::corrupt(files.directory(), "its terms and its vectors speak of different rows"));
        }
        Ok(reader)
    }

    /// Whether this reads the very files given.
    #[must_use]
    pub fn reads(&self, files: &Arc<Segment>) -> bool {
        Arc::ptr_eq(&self.files, files)
    }

    /// The documents and chunks.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when a header is damaged.
    pub fn records(&self) -> Result<Records<'_>> {
        Records::open(&self.files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_ends_where_the_headings_change() {
        let below = |headings: &str| ChunkInput {
            id: [0; 16],
            record: Vec::new(),
            headings: headings.to_owned(),
            spans: Vec::new(),
            repeated: Vec::new(),
            filters: Vec::new(),
            tokens: 0,
        };
        let numbers = |headings: &[&str]| sections(&headings.iter().map(|&own| below(own)).collect::<Vec<_>>());
        assert_eq!(numbers(&[]), [0u32; 0]);
        assert_eq!(numbers(&["", "", "A", "A\nB", "A\nB", "A"]), [0, 0, 1, 2, 2, 3]);
    }

    #[test]
    #[allow(clippy::single_range_in_vec_init)]
    fn repeated_ranges_cut_a_span_into_pieces() {
        let cut = |span, repeated: &[Range<usize>]| {
            pieces("0123456789", span, repeated).iter().map(|piece| (piece.text, piece.repeated)).collect::<Vec<_>>()
        };
        assert_eq!(cut(2..8, &[]), [("234567", false)]);
        assert_eq!(cut(2..8, &[0..4]), [("23", true), ("4567", false)]);
        assert_eq!(cut(2..8, &[3..4, 6..9]), [("2", false), ("3", true), ("45", false), ("67", true)]);
        assert_eq!(cut(2..8, &[0..2, 8..9]), [("234567", false)]);
        assert_eq!(cut(2..8, &[2..8]), [("234567", true)]);
    }
}
