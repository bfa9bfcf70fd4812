//! From one generation to the next: which segments stay, which rows of them die, what is new.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::analysis;
use crate::bitmap::Bitmap;
use crate::error::{Error, Result};
use crate::records::{Id, Records};
use crate::segment::{SegmentReader, Tombstones};
use crate::storage::{EmbedderEntry, Generation, Layout, Makers, Publisher, Segment, SegmentEntry};

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

/// Which segments a purge replaces: by the entry of one that has all of its documents but the purged ones, or by nothing where no
/// other is in it.
pub type Replacements = FxHashMap<String, Option<SegmentEntry>>;

/// What a purge made.
#[derive(Debug, PartialEq, Eq)]
pub struct Purged {
    /// The number of the generation that is served now.
    pub generation: u64,
    /// Former generations that were written anew: the old number and the new one.
    pub rewritten: Vec<(u64, u64)>,
    /// Former generations that are gone.
    pub removed: Vec<u64>,
}

/// Publishes the present generation with segments replaced, and writes the kept former ones anew in the same way; what only they
/// named is then gone from the disk. `state` is that of the generation that is served next; former ones keep theirs.
///
/// # Errors
/// [`Error::IndexNotFound`] without a present generation, [`Error::IndexCorrupt`] when a kept generation is damaged,
/// [`Error::Io`] when something cannot be written or removed: what is served was purged where [`Publisher::current`] is another
/// than before, and to purge again does the rest.
pub fn purge(publisher: &mut Publisher, replacements: &Replacements, state: &[u8]) -> Result<Purged> {
    let layout = Layout::new(publisher.root());
    let before = layout.list_generations()?;
    let (first, mut replaced, mut open) = (publisher.next_generation(), BTreeMap::new(), Vec::new());
    for number in publisher.kept_generations()? {
        let former = layout.open_former(number)?;
        let segments = carried(publisher, &former, replacements)?;
        let makers = former.manifest().makers.clone();
        let (new, hash, file) = publisher.publish_former(makers, segments, former.state()?)?;
        replaced.insert(number, (new, hash));
        open.push(file);
    }
    let Some(current) = publisher.current() else {
        return Err(Error::IndexNotFound { path: layout.root().to_path_buf() });
    };
    let segments = carried(publisher, current, replacements)?;
    let makers = current.manifest().makers.clone();
    let generation = publisher.publish(makers, segments, state)?;
    publisher.forget_before(first, &replaced)?;
    drop(open);
    let removed = before.into_iter().filter(|number| !replaced.contains_key(number)).collect();
    Ok(Purged { generation, rewritten: replaced.into_iter().map(|(old, (new, _))| (old, new)).collect(), removed })
}

/// The segments of a generation as they are in the next one written, with those replaced that are to be.
fn carried(publisher: &Publisher, generation: &Generation, replacements: &Replacements) -> Result<Vec<SegmentEntry>> {
    let mut segments = Vec::new();
    let parts = generation.manifest().segments.iter().zip(generation.segments()).zip(generation.tombstones());
    for ((entry, files), tombstones) in parts {
        match replacements.get(&entry.id) {
            None => segments.push(entry.clone()),
            Some(None) => {}
            Some(Some(new)) => {
                let reader = SegmentReader::open(files)?;
                let dead = match tombstones {
                    Some(file) => Tombstones::from_file(file, entry.documents, entry.chunks)?.documents,
                    None => Bitmap::empty(entry.documents),
                };
                segments.extend(without_dead(publisher, new, &reader, &dead)?);
            }
        }
    }
    Ok(segments)
}

/// The entry of a replacing segment in which those documents are deleted that were in the old one; `None` when none is left.
fn without_dead(
    publisher: &Publisher,
    new: &SegmentEntry,
    old: &SegmentReader,
    dead: &Bitmap,
) -> Result<Option<SegmentEntry>> {
    let files = Segment::open(&Layout::new(publisher.root()).segments().join(&new.id), &new.files)?;
    let reader = SegmentReader::open(&Arc::new(files))?;
    let (new_records, old_records) = (reader.records()?, old.records()?);
    let mut rows = Bitmap::empty(new.documents);
    for row in 0..new_records.documents() {
        let former = old_records.find_document(&new_records.document_id(row)?)?;
        if former.is_none_or(|former| dead.contains(former)) {
            rows.insert(row);
        }
    }
    marked(publisher, new, &reader, rows)
}

/// The entry of a segment with those rows deleted; `None` when no document of it is left.
fn marked(
    publisher: &Publisher,
    entry: &SegmentEntry,
    reader: &SegmentReader,
    dead: Bitmap,
) -> Result<Option<SegmentEntry>> {
    if dead.count() == entry.documents {
        return Ok(None);
    }
    if dead.count() == 0 {
        return Ok(Some(entry.clone()));
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
    marked(publisher, entry, reader, dead)
}
