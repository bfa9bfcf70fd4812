//! tantivy: dictionary, positions, filters; and the posting lists that queries read.
//!
//! A segment has one dictionary for title, headings and body, held by a tantivy index of one field whose positions tell
//! the fields apart. tantivy also keeps the filters. What scoring reads is not tantivy's: its field lengths are rounded to
//! a byte and its `k1` and `b` are constants, so [`Postings`] holds exact lengths and lists with bounds that serve any
//! parameters, numbered by the ordinals of tantivy's dictionary.
//!
//! The tantivy files are written once by a single-segment writer, never opened by a writer again, and read through a
//! directory that can only read what the segment has mapped, and verifies each block before tantivy sees it: no lock file, no
//! second open.

mod corrections;
mod directory;
mod postings;
mod writing;

use std::path::PathBuf;
use std::sync::Arc;

use tantivy::schema::IndexRecordOption;
use tantivy::{DocSet, InvertedIndexReader, SegmentReader, TERMINATED, Term};

use self::directory::unreadable;
use crate::bitmap::Bitmap;
use crate::error::{Error, Result};
use crate::storage::Segment;

pub use corrections::Corrections;
pub use postings::{FIELDS, Level, PerField, Postings, Statistics};
pub use writing::{AnalyzerTokenizer, ChunkText, DocumentText, LexicalStatistics, Piece, write};

pub(crate) use postings::{BLOCK, List, Lists, Skip, is_too_long, length_of_code, tf_of_code, unpacked};

/// The sub-folder of a segment that holds tantivy's files.
pub const LEXICAL_FOLDER: &str = "lexical";
/// The file of a segment that holds the posting lists.
pub const POSTINGS_FILE: &str = "postings";

const TERMS_FIELD: &str = "terms";
const FILTERS_FIELD: &str = "filters";
/// How the filter value begins that is a weight and lets nothing pass.
const BOOST_FILTER: &str = "boost=";

/// The lexical files of one opened segment.
pub struct LexicalSegment {
    folder: PathBuf,
    terms: Arc<InvertedIndexReader>,
    filters: Arc<InvertedIndexReader>,
    filters_field: tantivy::schema::Field,
    postings: Postings,
    boosts: Vec<(f32, Bitmap)>,
}

impl std::fmt::Debug for LexicalSegment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LexicalSegment").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl LexicalSegment {
    /// Opens the lexical files of `segment`. What is parsed is verified before; the rest when it is first touched.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when a file is missing, damaged, or does not fit the others.
    pub fn open(segment: &Segment) -> Result<Self> {
        let folder = segment.directory().join(LEXICAL_FOLDER);
        let postings = Postings::open(segment.file(POSTINGS_FILE)?)?;
        let reader = directory::open(segment, &folder)?;
        let field = |name: &str| reader.schema().get_field(name).map_err(unreadable(&folder));
        let (terms_field, filters_field) = (field(TERMS_FIELD)?, field(FILTERS_FIELD)?);
        let terms = reader.inverted_index(terms_field).map_err(unreadable(&folder))?;
        let filters = reader.inverted_index(filters_field).map_err(unreadable(&folder))?;
        let mut opened = Self { folder, terms, filters, filters_field, postings, boosts: Vec::new() };
        opened.check(&reader)?;
        opened.boosts = opened.read_boosts()?;
        Ok(opened)
    }

    fn check(&self, reader: &SegmentReader) -> Result<()> {
        let rows = self.postings.rows(Level::Chunks);
        // One row more holds the terms that only documents have.
        let fits = reader.max_doc() == rows || reader.max_doc() == rows.saturating_add(1);
        if self.terms.terms().num_terms() == self.postings.terms() as usize && fits {
            Ok(())
        } else {
            Err(Error::corrupt(&self.folder, "the dictionary and the posting lists are not of one segment"))
        }
    }

    /// How many chunks it has, deleted ones included.
    #[must_use]
    pub fn chunks(&self) -> u32 {
        self.postings.rows(Level::Chunks)
    }

    /// How many documents it has, deleted ones included.
    #[must_use]
    pub fn documents(&self) -> u32 {
        self.postings.rows(Level::Documents)
    }

    /// The posting lists, lengths and totals.
    #[must_use]
    pub fn postings(&self) -> &Postings {
        &self.postings
    }

    /// The term's number in this segment, or `None` when no chunk or document of it has the term.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when the dictionary cannot be read.
    pub fn ordinal(&self, term: &str) -> Result<Option<u32>> {
        let ordinal = self.terms.terms().term_ord(term).map_err(unreadable(&self.folder))?;
        Ok(ordinal.and_then(|ordinal| u32::try_from(ordinal).ok()))
    }

    /// The chunks that carry the filter value, deleted ones included.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when the value's list cannot be read.
    pub fn filter(&self, value: &str) -> Result<Bitmap> {
        let mut rows = Bitmap::empty(self.postings.rows(Level::Chunks));
        let term = Term::from_field_text(self.filters_field, value);
        let found = self.filters.read_postings(&term, IndexRecordOption::Basic).map_err(unreadable(&self.folder))?;
        if let Some(mut found) = found {
            let mut row = found.doc();
            while row != TERMINATED {
                rows.insert(row);
                row = found.advance();
            }
        }
        Ok(rows)
    }

    /// What the relevance of a chunk is multiplied by, because its source has a weight.
    #[must_use]
    pub fn boost(&self, chunk: u32) -> f32 {
        self.boosts.iter().find(|(_, rows)| rows.contains(chunk)).map_or(1.0, |(boost, _)| *boost)
    }

    /// The weights there are, other than 1, each with its chunks: they are filter values, `boost=2.5`.
    fn read_boosts(&self) -> Result<Vec<(f32, Bitmap)>> {
        let (first, after) = (BOOST_FILTER.as_bytes(), BOOST_FILTER.replace('=', ">"));
        let range = self.filters.terms().range().ge(first).lt(after.as_bytes());
        let mut values = range.into_stream().map_err(unreadable(&self.folder))?;
        let mut boosts = Vec::new();
        while values.advance() {
            let value = String::from_utf8_lossy(values.key());
            let number = value.strip_prefix(BOOST_FILTER).and_then(|number| number.parse().ok());
            if let Some(boost) = number.filter(|boost: &f32| boost.is_finite() && *boost > 0.0) {
                boosts.push((boost, self.filter(&value)?));
            }
        }
        Ok(boosts)
    }

    /// By how much document frequencies, row counts and lengths fall when the given rows are deleted.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when a list cannot be read.
    pub fn frequency_corrections(&self, deleted: &Bitmap, deleted_documents: &Bitmap) -> Result<Corrections> {
        Corrections::of(&self.postings, deleted, deleted_documents)
    }
}

#[cfg(test)]
mod tests;
