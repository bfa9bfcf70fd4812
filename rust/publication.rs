//! From one generation to the next: which segments stay, which rows of them die, what is new.

use rustc_hash::FxHashSet;

use crate::analysis;
use crate::bitmap::Bitmap;
use crate::error::{Error, Result};
use crate::records::{Id, Records};
use crate::segment::{SegmentReader, Tombstones};
use crate::storage::{EmbedderEntry, Layout, Makers, Publisher, Segment, SegmentEntry};

/// What the next generation is made of.
#[derive(Debug)]
pub struct Change {
    /// New segments, already written.
    pub added: Vec<SegmentEntry>,
    /// Documents of the present generation that end with it: removed ones, and those that a new segment holds anew.
    pub deleted: Vec<Id>,
    /// Segments of the present generation that end with it, because new segments hold all that lived in them.
    pub dropped: Vec<String>,
    /// The fingerprint of the chunker.
    pub chunker: String,
    /// How the vectors were made.
    pub embedder: Option<EmbedderEntry>,
    /// The encoded state of documents that changed since their segment was written.
    pub state: Vec<u8>,
}

/// Publishes the next generation and returns its number; durable when this returns.
///
/// # Errors
/// [`Error::InvalidArgument`] when a document is in two of the new segments, [`Error::IndexCorrupt`] when a segment that stays
/// is damaged where it must be read, and [`Error::Io`] when something cannot be written. The present generation is then still
/// served.
pub fn publish(publisher: &mut Publisher, change: Change) -> Result<u64> {
    refuse_doubles(&Layout::new(publisher.root()), &change.added)?;
    let deleted: FxHashSet<Id> = change.deleted.into_iter().collect();
    let mut segments = Vec::new();
    if let Some(current) = publisher.current() {
        let entries = current.manifest().segments.iter().zip(current.segments()).zip(current.tombstones());
        for ((entry, files), tombstones) in entries.filter(|((entry, _), _)| !change.dropped.contains(&entry.id)) {
            let reader = SegmentReader::open(files)?;
            let before = match tombstones {
                Some(file) => Tombstones::from_file(file, entry.documents, entry.chunks)?.documents,
                None => Bitmap::empty(entry.documents),
            };
            segments.extend(survivor(publisher, entry, &reader, &before, &deleted)?);
        }
    }
    failpoint!("publication: tombstones written");
    segments.extend(change.added.into_iter().filter(|segment| segment.documents > 0));
    let makers = Makers { analyser: analysis::fingerprint(), chunker: change.chunker, embedder: change.embedder };
    publisher.publish(makers, segments, &change.state)
}

/// Refuses a document in two new segments: both would be found. In one segment its order refuses it.
fn refuse_doubles(layout: &Layout, added: &[SegmentEntry]) -> Result<()> {
    if added.len() < 2 {
        return Ok(());
    }
    let mut seen: FxHashSet<Id> = FxHashSet::default();
    for entry in added {
        let files = Segment::open(&layout.segments().join(&entry.id), &entry.files)?;
        let records = Records::open(&files)?;
        for row in 0..records.documents() {
            let id = records.document_id(row)?;
            if !seen.insert(id) {
                let id = u128::from_be_bytes(id);
                return Err(Error::InvalidArgument(format!("document {id:032x} is in two of the added segments")));
            }
        }
    }
    Ok(())
}

/// The entry of a segment in the next generation; `None` when no document of it is left.
fn survivor(
    publisher: &Publisher,
    entry: &SegmentEntry,
    reader: &SegmentReader,
    before: &Bitmap,
    deleted: &FxHashSet<Id>,
) -> Result<Option<SegmentEntry>> {
    let records = reader.records()?;
    let mut dead = before.clone();
    for id in deleted {
        if let Some(row) = records.find_document(id)? {
            dead.insert(row);
        }
    }
    if dead == *before {
        return Ok(Some(entry.clone()));
    }
    if dead.count() == entry.documents {
        return Ok(None);
    }
    let tombstones = Tombstones::of(reader, dead)?;
    let file = publisher.tombstones(&entry.id, &tombstones.to_bytes()?)?;
    Ok(Some(SegmentEntry {
        tombstones: Some(file),
        deleted_documents: tombstones.documents.count(),
        deleted_chunks: tombstones.chunks.count(),
        ..entry.clone()
    }))
}
