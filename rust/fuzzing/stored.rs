//! Files of an index, and archives of one, that somebody else wrote: with hashes that match, so that the readers are reached.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::archive;
use crate::bitmap::Bitmap;
use crate::bm25::{self, Parameters, QueryTerm, Scorer};
use crate::error::{Error, Result};
use crate::lexical::{BLOCK, Corrections, Level, List, Lists, Postings};
use crate::records::Records;
use crate::segment::Tombstones;
use crate::storage::{BlockFile, Manifest, seal};

/// Terms of a file, and rows of a level, that are read; more say nothing new.
const TERMS: u32 = 16;
const ROWS: u32 = 64;

/// The value, where there is one; a reader's only error is that the file is corrupt.
fn sound<T>(outcome: Result<T>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(Error::IndexCorrupt { .. }) => None,
        Err(failure) => panic!("not an error of a damaged file: {failure}"),
    }
}

fn file(bytes: Vec<u8>) -> Arc<BlockFile> {
    Arc::new(BlockFile::from_bytes(bytes))
}

/// Takes numbers and bytes off an input, zeros where it has ended.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    fn number(&mut self) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    fn until(&mut self, end: u8) -> &'a [u8] {
        let bytes = self.bytes(self.0.iter().position(|&byte| byte == end).unwrap_or(self.0.len()));
        self.byte();
        bytes
    }
}

/// Any bytes as a file of posting lists, whole or as the lists behind a header that fits: every way to read a list gives ascending
/// rows and the same frequencies, or says that the file is corrupt; so does every search in it.
pub fn postings(data: &[u8]) {
    let mut input = Input(data);
    let bytes = if input.byte() & 1 == 0 { input.0.to_vec() } else { file_of_lists(&mut input) };
    let Some(postings) = sound(Postings::open(&file(bytes))) else { return };
    for level in [Level::Chunks, Level::Documents] {
        let lists = postings.lists(level);
        let mut whole = Vec::new();
        for ordinal in 0..postings.terms().min(TERMS) {
            sound(postings.document_frequencies(ordinal));
            let rows = sound(lists.list(ordinal)).and_then(|list| sound(rows_of(&lists, &list)));
            if let Some(rows) = rows {
                check_rows(&postings, &lists, ordinal, &rows);
                whole.push(ordinal);
            }
        }
        assert!(lists.list(postings.terms()).is_err());
        let every: Vec<u32> = (0..postings.terms().min(TERMS)).collect();
        search(&postings, level, &every);
        search(&postings, level, &whole);
    }
    let deleted = |level| {
        let mut rows = Bitmap::empty(postings.rows(level));
        (0..postings.rows(level)).step_by(3).for_each(|row| rows.insert(row));
        rows
    };
    if let Some(corrections) = sound(Corrections::of(&postings, &deleted(Level::Chunks), &deleted(Level::Documents))) {
        assert_eq!(Corrections::from_bytes(&corrections.to_bytes()).ok(), Some(corrections));
    }
}

/// A file with as many terms and rows as the input's first bytes say, all of one length, and the rest of it as lists.
fn file_of_lists(input: &mut Input<'_>) -> Vec<u8> {
    let terms = 1 + u32::from(input.byte()) % 6;
    let rows = [input.number() as u32 % 1500, u32::from(input.byte())];
    let lengths = [1, 1, u32::from(input.byte())];
    let cuts: Vec<usize> = (0..2 * terms).map(|_| input.number()).collect();
    let lists: Vec<&[u8]> = cuts.into_iter().map(|cut| input.bytes(cut)).collect();
    let (chunks, documents) = lists.split_at(terms as usize);
    let mut bytes = b"CRPOST\0\x01".to_vec();
    bytes.extend([terms, rows[0], rows[1], 0].into_iter().flat_map(u32::to_le_bytes));
    for rows in rows {
        bytes.extend(lengths.into_iter().flat_map(|length| (u64::from(length) * u64::from(rows)).to_le_bytes()));
    }
    bytes.extend([chunks, documents].into_iter().flat_map(|lists| (lists.concat().len() as u64).to_le_bytes()));
    for (rows, lists) in rows.into_iter().zip([chunks, documents]) {
        bytes.extend(lengths.into_iter().flat_map(|length| length.to_le_bytes().repeat(rows as usize)));
        let mut offset = 0u32;
        bytes.extend(offset.to_le_bytes());
        for list in lists {
            offset += list.len() as u32;
            bytes.extend(offset.to_le_bytes());
        }
    }
    bytes.extend(lists.concat());
    bytes
}

/// The rows of a list, read in every way there is.
fn rows_of(lists: &Lists<'_>, list: &List<'_>) -> Result<Vec<u32>> {
    let mut found = Vec::new();
    let (mut rows, mut body) = ([0; BLOCK], [0; BLOCK]);
    for block in 0..list.blocks() {
        let decoded = list.decode_rows(block, &mut rows);
        if decoded.is_ok() {
            assert_eq!(rows[BLOCK - 1], list.skip(block).last());
            assert!(rows[0] >= list.first(block));
            found.extend(rows);
        }
        let mut outside = [(0, 0); BLOCK];
        let frequencies = list
            .decode_frequencies(block, &mut body)
            .and_then(|exceptions| exceptions.for_each(|at, title, headings| outside[at] = (title, headings)));
        for at in 0..BLOCK {
            let own = list.frequencies_at(block, at);
            if frequencies.is_ok() {
                assert_eq!(own?, [outside[at].0, outside[at].1, body[at]]);
            } else {
                sound(own);
            }
        }
        decoded.and(frequencies)?;
    }
    for posting in list.tail() {
        found.push(posting?.row);
    }
    assert!(found.is_sorted_by(|left, right| left < right), "rows do not ascend");
    assert!(found.last().is_none_or(|&row| row < lists.rows()), "a row leaves the level");
    Ok(found)
}

/// What holds of a list that can be read from end to end.
fn check_rows(postings: &Postings, lists: &Lists<'_>, ordinal: u32, rows: &[u32]) {
    let list = lists.list(ordinal).expect("it was read");
    assert_eq!(list.count() as usize, rows.len());
    assert_eq!(list.count_of(rows).expect("all of it can be read") as usize, rows.len());
    let some: Vec<u32> = (0..lists.rows()).step_by(7).collect();
    let expected = some.iter().filter(|row| rows.binary_search(row).is_ok()).count();
    assert_eq!(list.count_of(&some).expect("all of it can be read") as usize, expected);
    for &row in rows.iter().step_by(1 + rows.len() / 8) {
        let block = list.find_block(0, row);
        assert!(block == list.blocks() || (list.first(block)..=list.skip(block).last()).contains(&row));
    }
    sound(postings.document_frequencies(ordinal));
}

/// Searches for all of `ordinals`: what is found is in order, within the level, and has the score that its explanation says.
fn search(postings: &Postings, level: Level, ordinals: &[u32]) {
    let statistics = postings.statistics(level);
    let scorer = Scorer::new(Parameters::default(), level, statistics).expect("the parameters are valid");
    let terms: Vec<QueryTerm> =
        ordinals.iter().map(|&ordinal| QueryTerm::new(Some(ordinal), 1, 1.0, &statistics)).collect();
    let Some(found) = sound(bm25::top_k(postings, &terms, &scorer, None, 5)) else { return };
    let in_order =
        |left: &(u32, f32), right: &(u32, f32)| right.1.total_cmp(&left.1).then(left.0.cmp(&right.0)).is_lt();
    assert!(found.len() <= 5 && found.is_sorted_by(in_order), "what is found is not in order");
    for (row, score) in found {
        assert!(row < postings.rows(level) && score > 0.0);
        if let Some(explained) = sound(scorer.explain(postings, &terms, row)) {
            assert_eq!(explained.score.to_bits(), score.to_bits());
        }
    }
}

/// Any bytes as the three files of documents, chunks and texts: what can be read of them lies within them.
pub fn records(data: &[u8]) {
    let mut input = Input(data);
    let (documents, chunks) = (input.number(), input.number());
    let [documents, chunks] = [documents, chunks].map(|length| file(input.bytes(length).to_vec()));
    let text = file(input.0.to_vec());
    let Some(records) = sound(Records::of_files(&documents, &chunks, &text)) else { return };
    for row in 0..records.documents().min(ROWS) {
        let whole = sound(records.text(row, None));
        let cut = sound(records.text(row, Some(1..3)));
        assert!(whole.zip(cut).is_none_or(|(whole, cut)| whole.get(1..3) == Some(cut)));
        let own = sound(records.chunk_rows(row));
        assert!(own.is_none_or(|own| own.start <= own.end && own.end <= records.chunks()));
        sound(records.document_record(row));
        if let Some(id) = sound(records.document_id(row)) {
            let found = sound(records.find_document(&id)).flatten();
            assert!(found.is_none_or(|found| sound(records.document_id(found)) == Some(id)));
        }
    }
    for row in 0..records.chunks().min(ROWS) {
        sound(records.chunk_record(row));
        if let Some(id) = sound(records.chunk_id(row)) {
            let found = sound(records.find_chunk(&id)).flatten();
            assert!(found.is_none_or(|found| found <= row));
        }
        let Some((document, _)) = sound(records.place_of(row)) else { continue };
        assert!(document < records.documents());
        let (Some(spans), Some(text)) = (sound(records.spans(row)), sound(records.chunk_text(row))) else { continue };
        let lengths = spans.iter().map(|span| span.bytes().len() + 1).sum::<usize>();
        assert_eq!(text.len() + usize::from(!spans.is_empty()), lengths);
    }
    let (documents, chunks) = (records.documents(), records.chunks());
    assert!(records.document_id(documents).is_err() && records.document_record(documents).is_err());
    assert!(records.chunk_id(chunks).is_err() && records.chunk_record(chunks).is_err());
}

/// Any bytes as the deleted rows of a segment: rows that there are, or an error.
pub fn tombstones(data: &[u8]) {
    let mut input = Input(data);
    let (documents, chunks) = (u32::from(input.byte()), input.number() as u32);
    let Some(read) = sound(Tombstones::from_file(&file(input.0.to_vec()), documents, chunks)) else { return };
    assert_eq!((read.documents.len(), read.chunks.len()), (documents, chunks));
    assert!(read.documents.iter().all(|row| row < documents) && read.chunks.iter().all(|row| row < chunks));
    let bytes = read.to_bytes().expect("what was read can be written");
    let again = Tombstones::from_file(&file(bytes), documents, chunks).expect("what was written can be read");
    assert_eq!((again.documents, again.chunks, again.corrections), (read.documents, read.chunks, read.corrections));
}

/// Any bytes as a manifest, as they stand and with the hash that they should carry: what is read is what is written again, and
/// where its names are vetted, none leads out of the index.
pub fn manifest(data: &[u8]) {
    let path = Path::new("generations/000001.json");
    let read = |bytes: &[u8]| match Manifest::from_bytes(path, bytes) {
        Ok((manifest, _)) => Some(manifest),
        Err(Error::IndexCorrupt { .. } | Error::IndexIncompatible { .. }) => None,
        Err(failure) => panic!("{failure}"),
    };
    let sealed = seal("manifest", data).0;
    for manifest in [read(data), read(&sealed)].into_iter().flatten() {
        let (bytes, _) = manifest.to_bytes().expect("what was read can be written");
        assert_eq!(read(&bytes).as_ref(), Some(&manifest));
        if manifest.check_names().is_ok() {
            assert!(manifest.files().iter().all(|(name, _)| is_below(name)), "a name leads out of the index");
        }
    }
}

fn is_below(name: &str) -> bool {
    let parts: Vec<_> = Path::new(name).components().collect();
    (2..=4).contains(&parts.len()) && parts.iter().all(|part| matches!(part, Component::Normal(_)))
}

/// Any bytes as an archive, or as the listing or the manifest of one whose hashes match: restored into a folder of its own, nothing
/// beside that folder changes, there is nothing but files and folders in it, and nothing is left of what was refused.
pub fn archive(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    let bytes = match choice % 3 {
        0 => Some(input.0.to_vec()),
        1 => archive::with_listing(input.until(0), input.0),
        _ => {
            let manifest = input.until(0);
            archive::with_manifest(manifest, &input.0.split(|&byte| byte == 0).collect::<Vec<_>>())
        }
    };
    let Some(bytes) = bytes else { return };
    archive::read_through(&bytes);
    let sandbox = Sandbox::new();
    let (file, root) = (sandbox.0.join("x.tar"), sandbox.0.join("index"));
    fs::write(&file, &bytes).expect("a file can be written");
    let into = choice & 4 != 0;
    if into {
        fs::create_dir(&root).expect("a folder can be made");
    }
    match archive::restore(&file, &root, false) {
        Ok(_) => {}
        Err(Error::SnapshotInvalid { .. } | Error::IndexIncompatible { .. } | Error::IndexCorrupt { .. }) => {
            assert!(into || !root.exists(), "something is left of what was refused");
        }
        Err(failure) => panic!("not an error of an archive: {failure}"),
    }
    assert_eq!(fs::read(&file).expect("it is still there"), bytes);
    let mut beside: Vec<_> = children(&sandbox.0);
    beside.retain(|path| *path != file && *path != root);
    assert!(beside.is_empty(), "{beside:?} lies beside the index");
    if root.exists() {
        check_tree(&root);
    }
}

fn children(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder can be listed");
    entries.map(|entry| entry.expect("a folder can be listed").path()).collect()
}

fn check_tree(folder: &Path) {
    for path in children(folder) {
        let metadata = fs::symlink_metadata(&path).expect("it is there");
        assert!(metadata.is_dir() || metadata.is_file(), "{} is neither file nor folder", path.display());
        if metadata.is_dir() {
            check_tree(&path);
        }
    }
}

/// A folder that is removed with all that is in it.
struct Sandbox(PathBuf);

impl Sandbox {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let name = format!("clockify-rag-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("a folder can be made");
        Self(folder)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
