//! The core of clockify-rag: a local-first engine that finds and proves passages of documentation.
//!
//! # Vocabulary
//!
//! A *document* is a page; its *canonical text* is the visible text in reading order. A *chunk* is the unit that is
//! retrieved, a list of ranges of that text. A *segment* is an immutable part of an index; a *generation* is one immutable
//! state of it: some segments and, for each, the rows that are deleted. A *row* is a chunk's number inside its segment.
//!
//! # Decisions
//!
//! * BM25F is computed over posting lists of our own, derived from a tantivy segment when it is written ([`lexical`],
//!   [`bm25`]): exact lengths, any `k1`, `b` and field weights, bounds that never change a result.
//! * Vectors are scanned, not walked ([`dense`]): no build step, filters for free, the same answer each time.
//! * Files are never trusted ([`storage`]): what can mislead a parser is verified when it is opened, the rest block by block
//!   when it is first touched.
//! * The crate knows no Python unless the feature `python` is on.

#[macro_use]
mod failpoints;

pub mod analysis;
pub mod archive;
pub mod bitmap;
pub mod bm25;
pub mod chunking;
pub mod claims;
pub mod dense;
pub mod embedding;
pub mod error;
pub mod evidence;
pub mod execution;
pub mod fusion;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod lexical;
pub mod markup;
pub mod mmr;
pub mod publication;
#[cfg(feature = "python")]
mod python;
pub mod quotes;
pub mod records;
pub mod segment;
pub mod sentences;
pub mod snapshot;
pub mod storage;
pub mod wordpiece;
