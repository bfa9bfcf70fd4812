//! Documents and chunks on disk: their ids, records, texts and the ranges that chunks are made of.
//!
//! A record is opaque here: the Python package encodes it as `MessagePack` and decodes it in one step, so a field can be
//! added without touching the core. The core keeps beside it only what a query computes with: ids, which document a chunk
//! belongs to, and ranges of text.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::storage::{BlockFile, FileWriter, SegmentWriter};

/// A 128-bit id.
pub type Id = [u8; 16];

/// A half-open range of a canonical text, in bytes and in code points.
#[derive(Clone, Copy, Debug, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Span {
    /// The first byte.
    pub byte_start: u32,
    /// The byte after the last.
    pub byte_end: u32,
    /// The first code point.
    pub start: u32,
    /// The code point after the last.
    pub end: u32,
}

impl Span {
    /// The range in bytes.
    #[must_use]
    pub fn bytes(&self) -> Range<usize> {
        self.byte_start as usize..self.byte_end as usize
    }
}

/// A chunk to be written.
#[derive(Clone, Debug)]
pub struct ChunkRecord {
    /// The chunk's id.
    pub id: Id,
    /// The encoded record.
    pub record: Vec<u8>,
    /// The number of its section in the document, from 0: one more wherever the headings change.
    pub section: u32,
    /// The ranges of the document's text that the chunk is made of.
    pub spans: Vec<Span>,
}

/// A document to be written, with its chunks in reading order.
#[derive(Clone, Debug)]
pub struct DocumentRecord {
    /// The document's id.
    pub id: Id,
    /// The encoded record.
    pub record: Vec<u8>,
    /// The canonical text.
    pub text: String,
    /// The chunks.
    pub chunks: Vec<ChunkRecord>,
}

const DOCUMENTS_MAGIC: [u8; 8] = *b"CRAGDOC1";
const CHUNKS_MAGIC: [u8; 8] = *b"CRAGCHK1";
const HEADER: usize = 64;

/// Writes the files `documents`, `chunks` and `text` of a segment. Documents must ascend by id.
///
/// # Errors
/// [`Error::InvalidArgument`] for documents that do not ascend, [`Error::Io`] when a file cannot be written.
pub fn write(segment: &mut SegmentWriter, documents: &[DocumentRecord]) -> Result<()> {
    if !documents.is_sorted_by(|left, right| left.id < right.id) {
        return Err(Error::InvalidArgument("documents must ascend by id, each once".to_owned()));
    }
    segment.file("text", |file| documents.iter().try_for_each(|document| file.put(document.text.as_bytes())))?;
    segment.file("documents", |file| {
        let rows = documents.len();
        header(file, DOCUMENTS_MAGIC, rows, 0)?;
        documents.iter().try_for_each(|document| file.put(&document.id))?;
        offsets(file, documents.iter().map(|document| document.chunks.len()))?;
        offsets(file, documents.iter().map(|document| document.text.len()))?;
        offsets(file, documents.iter().map(|document| document.record.len()))?;
        documents.iter().try_for_each(|document| file.put(&document.record))
    })?;
    segment.file("chunks", |file| {
        let chunks = || documents.iter().flat_map(|document| &document.chunks);
        let spans: usize = chunks().map(|chunk| chunk.spans.len()).sum();
        header(file, CHUNKS_MAGIC, chunks().count(), spans)?;
        chunks().try_for_each(|chunk| file.put(&chunk.id))?;
        for (row, document) in documents.iter().enumerate() {
            for chunk in &document.chunks {
                file.put(&(row as u32).to_le_bytes())?;
                file.put(&chunk.section.to_le_bytes())?;
            }
        }
        offsets(file, chunks().map(|chunk| chunk.spans.len()))?;
        chunks().try_for_each(|chunk| file.put(bytemuck::cast_slice(&chunk.spans)))?;
        offsets(file, chunks().map(|chunk| chunk.record.len()))?;
        chunks().try_for_each(|chunk| file.put(&chunk.record))
    })
}

fn header(file: &mut FileWriter, magic: [u8; 8], rows: usize, spans: usize) -> Result<()> {
    file.put(&magic)?;
    file.put(&(rows as u64).to_le_bytes())?;
    file.put(&(spans as u64).to_le_bytes())?;
    file.align(HEADER)
}

/// Writes the running sums of `lengths`, from 0, one more than there are lengths.
fn offsets(file: &mut FileWriter, lengths: impl Iterator<Item = usize>) -> Result<()> {
    let mut sum = 0u64;
    file.put(&sum.to_le_bytes())?;
    lengths.into_iter().try_for_each(|length| {
        sum += length as u64;
        file.put(&sum.to_le_bytes())
    })
}

/// Reads a `u64` at `index` of the column that begins at `column`.
fn number(file: &BlockFile, column: usize, index: usize) -> Result<usize> {
    let start = column + index * 8;
    let bytes = file.bytes(start..start + 8)?;
    bytes
        .first_chunk::<8>()
        .and_then(|bytes| usize::try_from(u64::from_le_bytes(*bytes)).ok())
        .ok_or_else(|| Error::corrupt(file.path(), "a number in it is too large"))
}

/// The range between two neighbouring running sums.
fn range(file: &BlockFile, column: usize, index: usize) -> Result<Range<usize>> {
    let (start, end) = (number(file, column, index)?, number(file, column, index + 1)?);
    if start <= end {
        Ok(start..end)
    } else {
        Err(Error::corrupt(file.path(), format!("a range in it ends before it starts: {start}..{end}")))
    }
}

fn read_header(file: &BlockFile, magic: [u8; 8]) -> Result<(usize, usize)> {
    if file.bytes(0..8)? != magic {
        return Err(Error::corrupt(file.path(), "it does not begin as such a file does"));
    }
    let (rows, spans) = (number(file, 0, 1)?, number(file, 0, 2)?);
    // Every row takes more than 16 bytes, so this also keeps the offsets below from overflowing.
    if rows > file.len() / 16 || spans > file.len() / 16 || u32::try_from(rows).is_err() {
        return Err(Error::corrupt(file.path(), format!("it cannot hold {rows} rows")));
    }
    Ok((rows, spans))
}

/// The documents and chunks of one opened segment.
#[derive(Clone, Copy, Debug)]
pub struct Records<'a> {
    documents: &'a BlockFile,
    chunks: &'a BlockFile,
    text: &'a BlockFile,
    document_rows: usize,
    chunk_rows: usize,
    span_rows: usize,
}

impl<'a> Records<'a> {
    /// The records in the three files of a segment.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when a header does not hold.
    pub fn open(segment: &'a crate::storage::Segment) -> Result<Self> {
        Self::of_files(segment.file("documents")?, segment.file("chunks")?, segment.file("text")?)
    }

    /// The records in three files.
    pub(crate) fn of_files(documents: &'a BlockFile, chunks: &'a BlockFile, text: &'a BlockFile) -> Result<Self> {
        let (document_rows, _) = read_header(documents, DOCUMENTS_MAGIC)?;
        let (chunk_rows, span_rows) = read_header(chunks, CHUNKS_MAGIC)?;
        Ok(Self { documents, chunks, text, document_rows, chunk_rows, span_rows })
    }

    /// How many documents there are.
    #[must_use]
    pub fn documents(&self) -> u32 {
        self.document_rows as u32
    }

    /// How many chunks there are.
    #[must_use]
    pub fn chunks(&self) -> u32 {
        self.chunk_rows as u32
    }

    fn check(file: &BlockFile, row: u32, rows: usize) -> Result<usize> {
        let index = row as usize;
        if index < rows { Ok(index) } else { Err(Error::corrupt(file.path(), format!("it has no row {row}"))) }
    }

    fn id(file: &BlockFile, index: usize) -> Result<Id> {
        let start = HEADER + index * 16;
        file.bytes(start..start + 16)?
            .first_chunk::<16>()
            .copied()
            .ok_or_else(|| Error::corrupt(file.path(), "an id in it is cut"))
    }

    /// The id of a document.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when there is no such row or its bytes are damaged; so for every method here.
    pub fn document_id(&self, row: u32) -> Result<Id> {
        Self::id(self.documents, Self::check(self.documents, row, self.document_rows)?)
    }

    /// The row of the document with `id`, found by bisection.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when bytes on the way are damaged.
    pub fn find_document(&self, id: &Id) -> Result<Option<u32>> {
        let (mut low, mut high) = (0, self.document_rows);
        while low < high {
            let middle = usize::midpoint(low, high);
            match Self::id(self.documents, middle)?.cmp(id) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(Some(middle as u32)),
            }
        }
        Ok(None)
    }

    /// The rows of a document's chunks.
    ///
    /// # Errors
    /// See [`Records::document_id`].
    pub fn chunk_rows(&self, row: u32) -> Result<Range<u32>> {
        let index = Self::check(self.documents, row, self.document_rows)?;
        let range = range(self.documents, HEADER + 16 * self.document_rows, index)?;
        if range.end > self.chunk_rows {
            return Err(Error::corrupt(self.documents.path(), format!("document {row} has chunks beyond the last")));
        }
        Ok(range.start as u32..range.end as u32)
    }

    /// A document's canonical text, or the given part of it in bytes.
    ///
    /// # Errors
    /// See [`Records::document_id`]; also for a part that leaves the text or cuts a character.
    pub fn text(&self, row: u32, part: Option<Range<usize>>) -> Result<&'a str> {
        let index = Self::check(self.documents, row, self.document_rows)?;
        let column = HEADER + 16 * self.document_rows + 8 * (self.document_rows + 1);
        let whole = range(self.documents, column, index)?;
        let part = part.unwrap_or(0..whole.len());
        if part.start > part.end || part.end > whole.len() {
            return Err(Error::corrupt(
                self.text.path(),
                format!("bytes {}..{} lie outside document {row}", part.start, part.end),
            ));
        }
        let bytes = self.text.bytes(whole.start + part.start..whole.start + part.end)?;
        std::str::from_utf8(bytes).map_err(|_| Error::corrupt(self.text.path(), format!("document {row} is no UTF-8")))
    }

    /// A document's encoded record.
    ///
    /// # Errors
    /// See [`Records::document_id`].
    pub fn document_record(&self, row: u32) -> Result<&'a [u8]> {
        let index = Self::check(self.documents, row, self.document_rows)?;
        let rows = self.document_rows;
        blob(self.documents, HEADER + 16 * rows + 16 * (rows + 1), rows, index)
    }

    /// The id of a chunk.
    ///
    /// # Errors
    /// See [`Records::document_id`].
    pub fn chunk_id(&self, row: u32) -> Result<Id> {
        Self::id(self.chunks, Self::check(self.chunks, row, self.chunk_rows)?)
    }

    /// The row of the chunk with `id`, found by reading all ids.
    ///
    /// # Errors
    /// See [`Records::document_id`].
    pub fn find_chunk(&self, id: &Id) -> Result<Option<u32>> {
        let ids = self.chunks.bytes(HEADER..HEADER + 16 * self.chunk_rows)?;
        Ok(ids.chunks_exact(16).position(|own| own == id).map(|row| row as u32))
    }

    /// The document row of a chunk.
    ///
    /// # Errors
    /// See [`Records::document_id`].
    pub fn document_of(&self, row: u32) -> Result<u32> {
        self.place_of(row).map(|(document, _)| document)
    }

    /// The document row of a chunk, and the number of its section in the document.
    ///
    /// # Errors
    /// See [`Records::document_id`].
    pub fn place_of(&self, row: u32) -> Result<(u32, u32)> {
        let index = Self::check(self.chunks, row, self.chunk_rows)?;
        let both = number(self.chunks, HEADER + 16 * self.chunk_rows, index)? as u64;
        let (document, section) = (both as u32, (both >> 32) as u32);
        if document as usize >= self.document_rows {
            return Err(Error::corrupt(self.chunks.path(), format!("chunk {row} belongs to no document")));
        }
        Ok((document, section))
    }

    /// The ranges of its document's text that a chunk is made of.
    ///
    /// # Errors
    /// See [`Records::document_id`].
    pub fn spans(&self, row: u32) -> Result<Vec<Span>> {
        let index = Self::check(self.chunks, row, self.chunk_rows)?;
        let column = HEADER + 24 * self.chunk_rows;
        let range = range(self.chunks, column, index)?;
        if range.end > self.span_rows {
            return Err(Error::corrupt(self.chunks.path(), format!("chunk {row} has ranges beyond the last")));
        }
        let start = column + 8 * (self.chunk_rows + 1);
        let bytes = self.chunks.bytes(start + 16 * range.start..start + 16 * range.end)?;
        Ok(bytes.chunks_exact(16).map(bytemuck::pod_read_unaligned).collect())
    }

    /// A chunk's text: the slices at its spans, joined by one newline.
    ///
    /// # Errors
    /// See [`Records::document_id`].
    pub fn chunk_text(&self, row: u32) -> Result<String> {
        let document = self.document_of(row)?;
        let mut text = String::new();
        for (number, span) in self.spans(row)?.iter().enumerate() {
            if number > 0 {
                text.push('\n');
            }
            text.push_str(self.text(document, Some(span.bytes()))?);
        }
        Ok(text)
    }

    /// A chunk's encoded record.
    ///
    /// # Errors
    /// See [`Records::document_id`].
    pub fn chunk_record(&self, row: u32) -> Result<&'a [u8]> {
        let index = Self::check(self.chunks, row, self.chunk_rows)?;
        let rows = self.chunk_rows;
        blob(self.chunks, HEADER + 24 * rows + 8 * (rows + 1) + 16 * self.span_rows, rows, index)
    }
}

fn blob(file: &BlockFile, column: usize, rows: usize, index: usize) -> Result<&[u8]> {
    let range = range(file, column, index)?;
    let start = column + 8 * (rows + 1);
    let (Some(first), Some(last)) = (start.checked_add(range.start), start.checked_add(range.end)) else {
        return Err(Error::corrupt(file.path(), "a range in it is too large"));
    };
    file.bytes(first..last)
}

/// Turns spans in code points of `text` into [`Span`]s.
///
/// # Errors
/// [`Error::InvalidArgument`] for a span that is reversed or leaves the text.
pub fn byte_spans(text: &str, spans: &[(u32, u32)]) -> Result<Vec<Span>> {
    let invalid =
        |&(start, end): &(u32, u32)| Error::InvalidArgument(format!("the span {start}..{end} is not in its text"));
    if text.is_ascii() {
        let inside = |span: &&(u32, u32)| span.0 <= span.1 && span.1 as usize <= text.len();
        return spans
            .iter()
            .map(|span| {
                let &(start, end) = Some(span).filter(inside).ok_or_else(|| invalid(span))?;
                Ok(Span { byte_start: start, byte_end: end, start, end })
            })
            .collect();
    }
    let mut boundaries: Vec<u32> = text.char_indices().map(|(byte, _)| byte as u32).collect();
    boundaries.push(text.len() as u32);
    let byte = |point: u32| boundaries.get(point as usize).copied();
    spans
        .iter()
        .map(|span| match (byte(span.0), byte(span.1)) {
            (Some(byte_start), Some(byte_end)) if byte_start <= byte_end => {
                Ok(Span { byte_start, byte_end, start: span.0, end: span.1 })
            }
            _ => Err(invalid(span)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(number: usize) -> Id {
        (number as u128).to_be_bytes()
    }

    prop_compose! {
        fn document()(text in "\\PC{0,60}", record in prop::collection::vec(any::<u8>(), 0..20),
                      cuts in prop::collection::vec((0u32..60, 0u32..60), 0..4)) -> (String, Vec<u8>, Vec<(u32, u32)>) {
            let length = text.chars().count() as u32;
            let cuts = cuts.into_iter().map(|(a, b)| (a.min(b).min(length), a.max(b).min(length))).collect();
            (text, record, cuts)
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(input in prop::collection::vec(document(), 0..12)) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("segment");
            let mut writer = SegmentWriter::create(&path).unwrap();
            let documents: Vec<DocumentRecord> = input.iter().enumerate().map(|(number, (text, record, cuts))| DocumentRecord {
                id: id(number * 3),
                record: record.clone(),
                text: text.clone(),
                chunks: cuts.iter().enumerate().map(|(chunk, &cut)| ChunkRecord {
                    section: chunk as u32 / 2,
                    id: id(1000 * number + chunk),
                    record: record.iter().rev().copied().collect(),
                    spans: byte_spans(text, &[cut, cut]).unwrap(),
                }).collect(),
            }).collect();
            write(&mut writer, &documents).unwrap();
            let entries = writer.finish().unwrap();
            let segment = crate::storage::Segment::open(&path, &entries).unwrap();
            let records = Records::open(&segment).unwrap();
            prop_assert_eq!(records.documents() as usize, documents.len());
            let mut row = 0;
            for (number, document) in documents.iter().enumerate() {
                let number = number as u32;
                prop_assert_eq!(records.find_document(&document.id).unwrap(), Some(number));
                prop_assert_eq!(records.text(number, None).unwrap(), &document.text);
                prop_assert_eq!(records.document_record(number).unwrap(), &document.record);
                prop_assert_eq!(records.chunk_rows(number).unwrap(), row..row + document.chunks.len() as u32);
                for chunk in &document.chunks {
                    let (start, end) = (chunk.spans[0].start as usize, chunk.spans[0].end as usize);
                    let slice: String = document.text.chars().skip(start).take(end - start).collect();
                    prop_assert_eq!(records.chunk_text(row).unwrap(), format!("{slice}\n{slice}"));
                    prop_assert_eq!(records.chunk_record(row).unwrap(), &chunk.record);
                    prop_assert_eq!(records.find_chunk(&chunk.id).unwrap(), Some(row));
                    prop_assert_eq!(records.document_of(row).unwrap(), number);
                    prop_assert_eq!(records.place_of(row).unwrap(), (number, chunk.section));
                    row += 1;
                }
            }
            prop_assert_eq!(records.chunks(), row);
            prop_assert_eq!(records.find_document(&id(1)).unwrap(), None);
            prop_assert!(records.document_record(records.documents()).is_err());
            prop_assert!(records.chunk_record(row).is_err());
        }
    }

    #[test]
    fn spans_outside_the_text_are_refused() {
        assert!(byte_spans("é", &[(0, 2)]).is_err());
        assert!(byte_spans("e", &[(0, 2)]).is_err());
        assert!(byte_spans("été", &[(2, 1)]).is_err());
        assert_eq!(byte_spans("été", &[(1, 3)]).unwrap()[0].bytes(), 2..5);
    }
}
