//! What is left of a generation whose files may be damaged: every file that can be opened, and why the others cannot.
//!
//! A reader of an index stops at the first damage, because it must not answer from less than was written. To repair one needs
//! the opposite: all that is still what was written, block by block.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use super::{
    BLOCK_BYTES, BLOCK_TABLE, BlockFile, Data, FileEntry, Layout, Manifest, PIECE_BYTES, Segment, check_name,
    hash_of_blocks, is_generation, is_segment, line_of, list, lock_shared, open_regular, open_whole, write_replacing,
};
use crate::error::{Error, Result};

/// A generation as far as it can be read.
#[derive(Debug)]
pub struct Remains {
    layout: Layout,
    manifest: Manifest,
    passed_over: Vec<Error>,
    segments: Vec<(Segment, Vec<Error>)>,
    _lock: File,
}

impl Remains {
    /// Opens the generation of that number; by default the one that is served, or, where it is not known which that is or its
    /// manifest is damaged, the newest whose manifest is not.
    ///
    /// # Errors
    /// [`Error::IndexNotFound`] when there is no generation, [`Error::IndexCorrupt`] when no manifest can be read,
    /// [`Error::IndexIncompatible`] when it is of another format, [`Error::Io`].
    pub fn open(root: &Path, number: Option<u64>) -> Result<Self> {
        let layout = Layout::new(root);
        let mut passed_over = Vec::new();
        let mut candidates = Vec::new();
        if let Some(number) = number {
            candidates.push(number);
        } else {
            let numbers = layout.list_generations()?;
            match layout.read_current() {
                Ok((served, _)) => candidates.push(served),
                Err(failure) if numbers.is_empty() => return Err(failure),
                Err(Error::IndexNotFound { .. }) => passed_over.push(Error::corrupt(layout.current(), "it is missing")),
                Err(failure) => passed_over.push(failure),
            }
            // What comes after the generation that is served never was, or stopped being.
            let served = candidates.first().copied().unwrap_or(u64::MAX);
            candidates.extend(numbers.into_iter().rev().filter(|&other| other < served));
        }
        for candidate in candidates {
            match layout.read_manifest(candidate) {
                Ok((manifest, _, file)) => return Self::of(layout, manifest, passed_over, file),
                Err(failure @ Error::IndexCorrupt { .. }) => passed_over.push(failure),
                Err(failure) => return Err(failure),
            }
        }
        Err(passed_over.pop().unwrap_or_else(|| Error::IndexNotFound { path: root.to_path_buf() }))
    }

    fn of(layout: Layout, manifest: Manifest, passed_over: Vec<Error>, file: File) -> Result<Self> {
        lock_shared(&file, &layout.manifest(manifest.generation))?;
        let mut segments = Vec::with_capacity(manifest.segments.len());
        for entry in &manifest.segments {
            check_name(&layout, &entry.id)?;
            entry.files.iter().try_for_each(|file| check_name(&layout, &file.name))?;
            segments.push(left_of(&layout.segments().join(&entry.id), &entry.files));
        }
        Ok(Self { layout, manifest, passed_over, segments, _lock: file })
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Why a newer generation, or the one that should be served, was not opened.
    #[must_use]
    pub fn passed_over(&self) -> &[Error] {
        &self.passed_over
    }

    /// What can be opened of a segment.
    #[must_use]
    pub fn segment(&self, number: usize) -> Option<&Segment> {
        self.segments.get(number).map(|(segment, _)| segment)
    }

    /// Reads every byte of a segment and of its tombstones, and says what is not what was written; nothing where all is.
    #[must_use]
    pub fn damage(&self, number: usize) -> Vec<String> {
        let Some((segment, failures)) = self.segments.get(number) else { return Vec::new() };
        let mut found: Vec<String> = failures.iter().map(ToString::to_string).collect();
        let is_new = |failure: &Error| !failures.iter().any(|known| path_of(known) == path_of(failure));
        let damaged = segment.files().filter_map(|(_, file)| file.all().err()).filter(is_new);
        found.extend(damaged.map(|failure| failure.to_string()));
        found.extend(self.tombstones(number).err().map(|failure| failure.to_string()));
        found
    }

    /// The tombstones of a segment, where it has any.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when the file is not what was written.
    pub fn tombstones(&self, number: usize) -> Result<Option<BlockFile>> {
        let entry = self.manifest.segments.get(number).and_then(|entry| entry.tombstones.as_ref());
        entry.map(|entry| open_whole(&self.layout.tombstones(), &self.layout, entry)).transpose()
    }

    /// The bytes of the state file; empty where there is none.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when they are not what was written.
    pub fn state(&self) -> Result<Vec<u8>> {
        match &self.manifest.state {
            Some(entry) => open_whole(&self.layout.generations(), &self.layout, entry)?.all().map(<[u8]>::to_vec),
            None => Ok(Vec::new()),
        }
    }
}

impl Layout {
    /// The highest number of a generation that anything was written for, also by builds that were killed.
    pub(super) fn highest_number(&self) -> Result<u64> {
        let mut numbers = Vec::new();
        for name in list(&self.generations())? {
            numbers.extend(name.split_once('.').map(|(number, _)| number.to_owned()));
        }
        for name in list(&self.segments())?.into_iter().filter(|name| is_segment(name)) {
            numbers.extend(name.split_once('-').map(|(number, _)| number.to_owned()));
        }
        for name in list(&self.tombstones())? {
            numbers.extend(name.split_once('.').map(|(_, number)| number.to_owned()));
        }
        let own = numbers.iter().filter(|number| is_generation(number));
        Ok(own.filter_map(|number| number.parse().ok()).max().unwrap_or(0))
    }

    /// Serves a first generation that is whole, although `CURRENT` does not name it: the build that made it was killed at its last
    /// step, or the file was lost.
    pub(super) fn adopt_first(&self) -> Result<()> {
        if self.list_generations()? != [1] || !matches!(self.read_current(), Err(Error::IndexNotFound { .. })) {
            return Ok(());
        }
        match self.open_former(1) {
            Ok(first) => write_replacing(&self.current(), line_of(1, first.hash()).as_bytes()),
            Err(_) => Ok(()),
        }
    }
}

/// Maps the files of a segment that can be mapped, and says why the others cannot.
///
/// A file whose block hashes are lost is either whole, by its own hash, or not there.
fn left_of(directory: &Path, entries: &[FileEntry]) -> (Segment, Vec<Error>) {
    let (mut files, mut failures) = (Vec::new(), Vec::new());
    let entries = match entries.split_last() {
        Some((last, entries)) if last.name == BLOCK_TABLE => entries,
        _ => entries,
    };
    let table = read_table(&directory.join(BLOCK_TABLE)).map_err(|failure| failures.push(failure)).unwrap_or_default();
    let mut rest = table.as_slice();
    let mut is_table_sound = failures.is_empty();
    for entry in entries {
        let path = directory.join(&entry.name);
        let (own, others) = rest.split_at((entry.length as usize).div_ceil(BLOCK_BYTES).min(rest.len()));
        rest = others;
        let is_known = hash_of_blocks(own) == entry.hash;
        if !is_known && std::mem::take(&mut is_table_sound) {
            let reason = "it is not the table that the manifest names";
            failures.push(Error::corrupt(directory.join(BLOCK_TABLE), reason));
        }
        let hashes = if is_known { Ok(own.to_vec()) } else { hashes_of(&path, entry) };
        let opened = hashes.and_then(|hashes| BlockFile::open(&path, entry.length, hashes));
        let file = opened.unwrap_or_else(|failure| {
            failures.push(failure);
            rest_of(&path, entry, own)
        });
        files.push((entry.name.clone(), Arc::new(file)));
    }
    if is_table_sound && !rest.is_empty() {
        failures.push(Error::corrupt(directory.join(BLOCK_TABLE), "it covers more than the manifest's files"));
    }
    (Segment { directory: directory.to_path_buf(), files }, failures)
}

/// The file that a failure is of.
fn path_of(failure: &Error) -> Option<&Path> {
    match failure {
        Error::Io { path, .. } | Error::IndexCorrupt { path, .. } => Some(path),
        _ => None,
    }
}

/// A file that is shorter, longer or not there, as far as it can be read, with zeros where bytes are missing.
fn rest_of(path: &Path, entry: &FileEntry, own: &[u64]) -> BlockFile {
    let mut bytes = Vec::new();
    // What a manifest says of a length is not believed: where there is no room for it, there is nothing.
    if bytes.try_reserve_exact(entry.length as usize).is_ok() {
        if let Ok((file, _)) = open_regular(path) {
            // Whatever cannot be read is missing, and no block of it has its hash.
            let _ = file.take(entry.length).read_to_end(&mut bytes);
        }
        bytes.resize(entry.length as usize, 0);
    }
    let is_known = hash_of_blocks(own) == entry.hash;
    let hashes = if is_known { own.to_vec() } else { vec![0; bytes.len().div_ceil(BLOCK_BYTES)] };
    BlockFile::with(path.to_path_buf(), Data::Owned(bytes), hashes)
}

/// The block hashes of a segment's files as the table has them, whether they are right or not.
fn read_table(path: &Path) -> Result<Vec<u64>> {
    let (mut file, _) = open_regular(path)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
}

/// The block hashes of a file that is whole.
fn hashes_of(path: &Path, entry: &FileEntry) -> Result<Vec<u64>> {
    let (file, metadata) = open_regular(path)?;
    let mut hashes = Vec::new();
    if metadata.len() == entry.length {
        // Block by block: it may be larger than the memory there is.
        let mut file = BufReader::with_capacity(PIECE_BYTES, file);
        let mut block = Vec::with_capacity(BLOCK_BYTES);
        loop {
            block.clear();
            file.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut block).map_err(Error::io("read", path))?;
            if block.is_empty() {
                break;
            }
            hashes.push(xxh3_64(&block));
        }
    }
    if metadata.len() == entry.length && hash_of_blocks(&hashes) == entry.hash {
        Ok(hashes)
    } else {
        Err(Error::corrupt(path, "it is not the file that the manifest names"))
    }
}
