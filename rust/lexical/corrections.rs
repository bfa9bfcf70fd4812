//! What deleted rows take from a segment's statistics, so that scores stay those of a fresh build.

use std::path::Path;

use rayon::prelude::*;

use super::postings::{FIELDS, Level, Lists, Postings, Statistics};
use crate::bitmap::Bitmap;
use crate::error::{Error, Result};

const MAGIC: [u8; 8] = *b"CRCORR\0\x01";
const HEADER_BYTES: usize = 8 + 2 * 8 * (1 + FIELDS);
const ENTRY_BYTES: usize = 12;

/// By how much the statistics of one segment fall with its deleted rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Corrections {
    /// Deleted chunks and their lengths.
    pub chunks: Statistics,
    /// Deleted documents and their lengths.
    pub documents: Statistics,
    /// Ordinal, chunks and documents that no longer have the term; ordinals ascend.
    entries: Vec<[u32; 3]>,
}

impl Corrections {
    pub(crate) fn of(postings: &Postings, deleted: &Bitmap, deleted_documents: &Bitmap) -> Result<Self> {
        let (chunk_lists, document_lists) = (postings.lists(Level::Chunks), postings.lists(Level::Documents));
        let within = |bitmap: &Bitmap, rows: u32| bitmap.iter().take_while(|&row| row < rows).collect::<Vec<_>>();
        let chunks = within(deleted, chunk_lists.rows());
        let documents = within(deleted_documents, document_lists.rows());
        let count = |lists: &Lists<'_>, rows: &[u32], ordinal| {
            if rows.is_empty() { Ok(0) } else { lists.list(ordinal)?.count_of(rows) }
        };
        let entries = (0..postings.terms())
            .into_par_iter()
            .with_min_len(1024)
            .map(|ordinal| {
                let entry =
                    [ordinal, count(&chunk_lists, &chunks, ordinal)?, count(&document_lists, &documents, ordinal)?];
                Ok((entry[1] > 0 || entry[2] > 0).then_some(entry))
            })
            .filter_map(Result::transpose)
            .collect::<Result<_>>()?;
        let taken = |lists: &Lists<'_>, rows: &[u32]| {
            let add = |sum: Statistics, &row: &u32| {
                sum.plus(Statistics { rows: 1, totals: lists.lengths(row).map(u64::from) })
            };
            rows.iter().fold(Statistics::default(), add)
        };
        Ok(Self { chunks: taken(&chunk_lists, &chunks), documents: taken(&document_lists, &documents), entries })
    }

    /// How many deleted chunks and documents have the term.
    #[must_use]
    pub fn get(&self, ordinal: u32) -> (u32, u32) {
        let found = self.entries.binary_search_by_key(&ordinal, |entry| entry[0]);
        found.ok().and_then(|index| self.entries.get(index)).map_or((0, 0), |entry| (entry[1], entry[2]))
    }

    /// The deleted rows and lengths of a level.
    #[must_use]
    pub fn statistics(&self, level: Level) -> Statistics {
        match level {
            Level::Chunks => self.chunks,
            Level::Documents => self.documents,
        }
    }

    /// The form that is stored beside a generation's tombstones.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for level in [self.chunks, self.documents] {
            for value in std::iter::once(level.rows).chain(level.totals) {
                bytes.extend_from_slice(&value.to_le_bytes());
            }
        }
        bytes.extend(self.entries.iter().flatten().flat_map(|value| value.to_le_bytes()));
        bytes
    }

    /// Reads what [`Self::to_bytes`] made.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when the bytes are not of this form or exceed their own totals.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::parse(bytes)
            .ok_or_else(|| Error::corrupt(Path::new("tombstones"), "it holds no list of frequency corrections"))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (header, entries) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let mut numbers =
            header.strip_prefix(&MAGIC)?.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes));
        let mut level =
            || Some(Statistics { rows: numbers.next()?, totals: [numbers.next()?, numbers.next()?, numbers.next()?] });
        let (chunks, documents) = (level()?, level()?);
        let (entries, []) = entries.as_chunks::<ENTRY_BYTES>() else {
            return None;
        };
        let word = |entry: &[u8; ENTRY_BYTES], at: usize| {
            u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]])
        };
        let entries: Vec<[u32; 3]> =
            entries.iter().map(|entry| [word(entry, 0), word(entry, 4), word(entry, 8)]).collect();
        let rising = entries.windows(2).all(|pair| pair[0][0] < pair[1][0]);
        let bounded = |entry: &[u32; 3]| u64::from(entry[1]) <= chunks.rows && u64::from(entry[2]) <= documents.rows;
        (rising && entries.iter().all(bounded)).then_some(Self { chunks, documents, entries })
    }
}
