//! Segments and generations on disk: write, hash, publish, open, verify, collect.
//!
//! Nothing here is ever modified once it is published, and nothing is believed because it was written by us: one flipped bit
//! in a file of an index library was measured to crash the process or to change an answer silently. So each file is covered
//! by a hash per 64 KiB block, the blocks' hashes by one hash in the manifest, and a reader gets bytes only through
//! [`BlockFile::bytes`], which verifies each block before it is used for the first time.
//!
//! `docs/format.md` specifies every file to the byte. Every difference between operating systems lives in this module.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use memmap2::Mmap;
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128};

use crate::error::{Error, Result};

/// Bytes covered by one hash.
pub const BLOCK_BYTES: usize = 64 * 1024;

/// One file of a segment as the manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct FileEntry {
    /// The path inside the segment's folder, with `/`.
    pub name: String,
    /// Its length in bytes.
    pub length: u64,
    /// XXH3-128, in hexadecimal, of the file's block hashes (little-endian `u64`s in order).
    pub hash: String,
}

/// A memory-mapped file whose blocks are verified when they are first touched.
pub struct BlockFile {
    path: PathBuf,
    data: Data,
    hashes: Vec<u64>,
    verified: Vec<AtomicU64>,
    complete: AtomicBool,
}

enum Data {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

impl std::fmt::Debug for BlockFile {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("BlockFile")
            .field("path", &self.path)
            .field("length", &self.len())
            .finish_non_exhaustive()
    }
}

impl BlockFile {
    /// Maps `path`, whose blocks must hash to `hashes`.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when the file is missing, is no regular file or has another length than `length`;
    /// [`Error::Io`] when it cannot be opened or mapped.
    pub fn open(path: &Path, length: u64, hashes: Vec<u64>) -> Result<Self> {
        let (file, metadata) = open_regular(path)?;
        if metadata.len() != length {
            return Err(Error::corrupt(path, format!("it has {} bytes instead of {length}", metadata.len())));
        }
        if hashes.len() != (length as usize).div_ceil(BLOCK_BYTES) {
            return Err(Error::corrupt(path, format!("{} block hashes do not cover {length} bytes", hashes.len())));
        }
        let data = if length == 0 {
            Data::Owned(Vec::new())
        } else {
            // SAFETY: published files are never modified or truncated; a change by somebody else is a fault that the
            // block hashes report for all that was not touched before.
            Data::Mapped(unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?)
        };
        Ok(Self::with(path.to_path_buf(), data, hashes))
    }

    /// A file that lives in memory, already verified: for tests and for data that was never on disk.
    #[must_use]
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        let hashes = bytes.chunks(BLOCK_BYTES).map(xxh3_64).collect();
        let file = Self::with(PathBuf::from("(memory)"), Data::Owned(bytes), hashes);
        file.complete.store(true, Ordering::Release);
        file
    }

    fn with(path: PathBuf, data: Data, hashes: Vec<u64>) -> Self {
        let verified = (0..hashes.len().div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { path, data, hashes, verified, complete: AtomicBool::new(false) }
    }

    /// Where the file lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.unverified().len()
    }

    /// Whether the file has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn unverified(&self) -> &[u8] {
        match &self.data {
            Data::Mapped(map) => map,
            Data::Owned(bytes) => bytes,
        }
    }

    /// The bytes of `range`, every block of which has been verified, now or before.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when the range leaves the file or a block does not have its hash.
    #[inline]
    pub fn bytes(&self, range: Range<usize>) -> Result<&[u8]> {
        let data = self.unverified();
        let Some(bytes) = data.get(range.clone()) else {
            return Err(Error::corrupt(
                &self.path,
                format!("bytes {}..{} lie outside its {}", range.start, range.end, data.len()),
            ));
        };
        if !self.complete.load(Ordering::Acquire) && !bytes.is_empty() {
            self.verify_blocks(range.start / BLOCK_BYTES, (range.end - 1) / BLOCK_BYTES)?;
        }
        Ok(bytes)
    }

    /// All bytes, verified.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when a block does not have its hash.
    pub fn all(&self) -> Result<&[u8]> {
        let bytes = self.bytes(0..self.len())?;
        self.complete.store(true, Ordering::Release);
        Ok(bytes)
    }

    /// Reads every byte again and compares each block with its hash, whatever was verified before.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] for the first block that does not have its hash.
    pub fn reread(&self) -> Result<()> {
        (0..self.hashes.len()).try_for_each(|block| self.check(block))
    }

    fn verify_blocks(&self, first: usize, last: usize) -> Result<()> {
        for block in first..=last {
            let (word, bit) = (&self.verified[block / 64], 1 << (block % 64));
            if word.load(Ordering::Acquire) & bit == 0 {
                self.check(block)?;
                word.fetch_or(bit, Ordering::AcqRel);
            }
        }
        Ok(())
    }

    #[cold]
    fn check(&self, block: usize) -> Result<()> {
        let data = self.unverified();
        let start = block * BLOCK_BYTES;
        let end = data.len().min(start + BLOCK_BYTES);
        if xxh3_64(&data[start..end]) == self.hashes[block] {
            Ok(())
        } else {
            Err(Error::corrupt(
                &self.path,
                format!("bytes {start}..{end} do not have the hash that was recorded for them"),
            ))
        }
    }
}

/// Opens `path` for reading if it is a regular file and not a link, which a planted FIFO, device or link is not.
fn open_regular(path: &Path) -> Result<(File, fs::Metadata)> {
    let metadata = fs::symlink_metadata(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::corrupt(path, "it is missing"),
        _ => Error::io("read", path)(source),
    })?;
    if !metadata.is_file() {
        return Err(Error::corrupt(path, "it is not a regular file"));
    }
    let file = File::open(path).map_err(Error::io("open", path))?;
    let metadata = file.metadata().map_err(Error::io("read", path))?;
    Ok((file, metadata))
}

/// Writes the files of one new segment into a staging folder and records what they hash to.
#[derive(Debug)]
pub struct SegmentWriter {
    directory: PathBuf,
    files: Vec<(FileEntry, Vec<u64>)>,
}

impl SegmentWriter {
    /// Creates the folder `directory`, which must not exist.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be created.
    pub fn create(directory: &Path) -> Result<Self> {
        fs::create_dir(directory).map_err(Error::io("create", directory))?;
        Ok(Self { directory: directory.to_path_buf(), files: Vec::new() })
    }

    /// Writes the file `name` by the given function and makes it durable.
    ///
    /// # Errors
    /// What `write` returns, and [`Error::Io`] when the file cannot be written or synchronised.
    pub fn file<T>(&mut self, name: &str, write: impl FnOnce(&mut FileWriter) -> Result<T>) -> Result<T> {
        let path = self.directory.join(name);
        let mut writer = FileWriter::create(&path)?;
        let value = write(&mut writer)?;
        let (length, hashes) = writer.finish()?;
        self.record(name, length, hashes);
        Ok(value)
    }

    /// Lets a library write into the sub-folder `name`, then makes durable, hashes and records each file it left there.
    ///
    /// # Errors
    /// What `write` returns, and [`Error::Io`] when a file cannot be read or synchronised.
    pub fn folder<T>(&mut self, name: &str, write: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let folder = self.directory.join(name);
        fs::create_dir(&folder).map_err(Error::io("create", &folder))?;
        let value = write(&folder)?;
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).map_err(Error::io("list", &folder))? {
            let entry = entry.map_err(Error::io("list", &folder))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        for file_name in names {
            let path = folder.join(&file_name);
            let (file, metadata) = open_regular(&path)?;
            file.sync_all().map_err(Error::io("fsync", &path))?;
            let hashes = if metadata.len() == 0 {
                Vec::new()
            } else {
                // SAFETY: the file was closed by its writer, and the staging folder is ours alone.
                let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", &path))?;
                map.chunks(BLOCK_BYTES).map(xxh3_64).collect()
            };
            self.record(&format!("{name}/{file_name}"), metadata.len(), hashes);
        }
        sync_directory(&folder)?;
        Ok(value)
    }

    fn record(&mut self, name: &str, length: u64, hashes: Vec<u64>) {
        let hash = hash_of_blocks(&hashes);
        self.files.push((FileEntry { name: name.to_owned(), length, hash }, hashes));
    }

    /// Writes the table of block hashes, makes the folder durable and returns the files in order, the table last.
    ///
    /// # Errors
    /// [`Error::Io`] when the table or the folder cannot be written.
    pub fn finish(mut self) -> Result<Vec<FileEntry>> {
        self.files.sort_by(|(left, _), (right, _)| left.name.cmp(&right.name));
        let hashes: Vec<u64> = self.files.iter().flat_map(|(_, hashes)| hashes.iter().copied()).collect();
        self.file(BLOCK_TABLE, |writer| hashes.iter().try_for_each(|hash| writer.put(&hash.to_le_bytes())))?;
        sync_directory(&self.directory)?;
        Ok(self.files.into_iter().map(|(entry, _)| entry).collect())
    }
}

/// The file of a segment that holds the block hashes of all others, in the manifest's order.
pub const BLOCK_TABLE: &str = "blocks";

/// A file being written: buffered, and hashed block by block on the way.
#[derive(Debug)]
pub struct FileWriter {
    path: PathBuf,
    file: BufWriter<File>,
    hasher: Box<Xxh3>,
    length: u64,
    hashes: Vec<u64>,
}

impl FileWriter {
    fn create(path: &Path) -> Result<Self> {
        let file = File::options().write(true).create_new(true).open(path).map_err(Error::io("create", path))?;
        Ok(Self {
            path: path.to_path_buf(),
            file: BufWriter::with_capacity(1 << 18, file),
            hasher: Box::default(),
            length: 0,
            hashes: Vec::new(),
        })
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// [`Error::Io`] when they cannot be written.
    pub fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.path))?;
        while !bytes.is_empty() {
            let room = BLOCK_BYTES - self.length as usize % BLOCK_BYTES;
            let (head, tail) = bytes.split_at(room.min(bytes.len()));
            self.hasher.update(head);
            self.length += head.len() as u64;
            if head.len() == room {
                self.hashes.push(self.hasher.digest());
                self.hasher.reset();
            }
            bytes = tail;
        }
        Ok(())
    }

    /// How many bytes were put so far.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.length
    }

    /// Appends zeros until the position is a multiple of `alignment`.
    ///
    /// # Errors
    /// [`Error::Io`] when they cannot be written.
    pub fn align(&mut self, alignment: usize) -> Result<()> {
        let rest = self.length as usize % alignment;
        if rest == 0 { Ok(()) } else { self.put(&vec![0; alignment - rest]) }
    }

    fn finish(mut self) -> Result<(u64, Vec<u64>)> {
        if !(self.length as usize).is_multiple_of(BLOCK_BYTES) {
            self.hashes.push(self.hasher.digest());
        }
        let file = self.file.into_inner().map_err(|failure| Error::io("write", &self.path)(failure.into_error()))?;
        file.sync_all().map_err(Error::io("fsync", &self.path))?;
        Ok((self.length, self.hashes))
    }
}

/// One opened segment: its files by name.
#[derive(Debug)]
pub struct Segment {
    directory: PathBuf,
    files: Vec<(String, BlockFile)>,
}

impl Segment {
    /// Maps every file of `entries` in `directory` and verifies the table of block hashes, not yet the blocks.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when a file is missing or has another length, or the table is not the manifest's;
    /// [`Error::Io`] when a file cannot be opened.
    pub fn open(directory: &Path, entries: &[FileEntry]) -> Result<Self> {
        let table_path = directory.join(BLOCK_TABLE);
        let Some((table_entry, entries)) = entries.split_last().filter(|(last, _)| last.name == BLOCK_TABLE) else {
            return Err(Error::corrupt(directory, "its file list does not end with the block table"));
        };
        let (mut table_file, metadata) = open_regular(&table_path)?;
        let mut table = Vec::with_capacity(metadata.len() as usize);
        std::io::Read::read_to_end(&mut table_file, &mut table).map_err(Error::io("read", &table_path))?;
        let table_hashes: Vec<u64> = table.chunks(BLOCK_BYTES).map(xxh3_64).collect();
        if table.len() as u64 != table_entry.length || hash_of_blocks(&table_hashes) != table_entry.hash {
            return Err(Error::corrupt(&table_path, "it is not the table that the manifest names"));
        }
        let mut rest = table.as_chunks::<8>().0;
        let mut files = Vec::with_capacity(entries.len());
        for entry in entries {
            let path = directory.join(&entry.name);
            let blocks = (entry.length as usize).div_ceil(BLOCK_BYTES);
            let Some((mine, others)) = rest.split_at_checked(blocks) else {
                return Err(Error::corrupt(&table_path, format!("it ends before the blocks of {}", entry.name)));
            };
            rest = others;
            let hashes: Vec<u64> = mine.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
            if hash_of_blocks(&hashes) != entry.hash {
                return Err(Error::corrupt(
                    &table_path,
                    format!("its hashes for {} are not the manifest's", entry.name),
                ));
            }
            files.push((entry.name.clone(), BlockFile::open(&path, entry.length, hashes)?));
        }
        if !rest.is_empty() {
            return Err(Error::corrupt(&table_path, "it covers more than the manifest's files"));
        }
        Ok(Self { directory: directory.to_path_buf(), files })
    }

    /// The segment's folder.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The file `name`.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when the manifest names no such file.
    pub fn file(&self, name: &str) -> Result<&BlockFile> {
        self.find(name).ok_or_else(|| Error::corrupt(self.directory.join(name), "the manifest does not name it"))
    }

    /// The file `name`, if the manifest names it.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&BlockFile> {
        self.files.iter().find_map(|(own, file)| (own == name).then_some(file))
    }

    /// The files below the sub-folder `name`, each with its path inside that folder.
    pub fn folder<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, &'a BlockFile)> {
        self.files.iter().filter_map(move |(own, file)| Some((own.strip_prefix(name)?.strip_prefix('/')?, file)))
    }

    /// Every file with its name.
    pub fn files(&self) -> impl Iterator<Item = (&str, &BlockFile)> {
        self.files.iter().map(|(name, file)| (name.as_str(), file))
    }
}

fn hash_of_blocks(hashes: &[u64]) -> String {
    let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
    format!("{:032x}", xxh3_128(&bytes))
}

/// Makes the entries of `directory` durable.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be opened or synchronised.
pub fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory).and_then(|folder| folder.sync_all()).map_err(Error::io("fsync", directory))
}
