//! Segments and generations on disk: write, hash, publish, open, verify, collect.
//!
//! Nothing here is ever modified once it is published, and nothing is believed because it was written by us: one flipped bit
//! in a file of an index library was measured to crash the process or to change an answer silently. So each file is covered
//! by a hash per 4 KiB block, the blocks' hashes by one hash in the manifest, and a reader gets bytes only through
//! [`BlockFile::bytes`], which verifies each block before it is used for the first time.
//!
//! `docs/format.md` specifies every file to the byte. Every difference between operating systems lives in this module.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use memmap2::Mmap;
use xxhash_rust::xxh3::{Xxh3, xxh3_64, xxh3_128};

use crate::error::{Error, Result};
use crate::execution;

/// Bytes covered by one hash: a page of memory, so that verifying reads nothing that is not wanted. Of 300 questions to a million
/// chunks within 768 MB the first pass reads 600 MB so and the next nothing; with 64 KiB it is 1,650 MB, and pages go to and fro.
pub const BLOCK_BYTES: usize = 4096;

/// How many blocks are asked for at once where many are read in order.
const FETCHED_BLOCKS: usize = 256;

/// Reading of ranges that takes longer than this, and [`SLOW_RANGE`] for each, waited for the disk.
const SLOW: Duration = Duration::from_micros(100);

/// From memory a range takes a fifth of this, from a disk a hundred times as long.
const SLOW_RANGE: Duration = Duration::from_micros(1);

/// For how many calls memory is taken to be scarce after one that was slow.
const SCARCE_CALLS: u32 = 100;

/// Bytes that a file is handed to the system at once.
const PIECE_BYTES: usize = 64 * 1024;

/// One file of a segment as the manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
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
    /// For how many more calls of [`BlockFile::reading`] what was read before is taken to be dropped.
    scarce: AtomicU32,
}

enum Data {
    Mapped(Mmap),
    Owned(Vec<u8>),
}

/// How a range of a mapped file will be read.
#[derive(Clone, Copy)]
enum Access {
    /// Here and there: what is missing is read alone. A system may read eight megabytes around each missing page, which throws
    /// out what other queries need where memory is short: a million chunks within 768 MB then took 700 MB of reading per query.
    Scattered,
    /// From end to end.
    Scanned,
    /// Soon, all of it: reading begins now and goes on beside the program.
    Soon,
}

impl Data {
    /// Tells the system how `range` will be read; where it takes no advice, nothing happens.
    fn advise(&self, access: Access, range: Range<usize>) {
        #[cfg(unix)]
        if let Self::Mapped(map) = self {
            let advice = match access {
                Access::Scattered => memmap2::Advice::Random,
                Access::Scanned => memmap2::Advice::Normal,
                Access::Soon => memmap2::Advice::WillNeed,
            };
            // Advice that is not taken changes no answer.
            let _ = map.advise_range(advice, range.start, range.len());
        }
        #[cfg(not(unix))]
        let _ = (access, range);
    }
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
        data.advise(Access::Scattered, 0..length as usize);
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
        Self { path, data, hashes, verified, complete: AtomicBool::new(false), scarce: AtomicU32::new(0) }
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

    /// Reads the blocks of `range` again and compares each with its hash, whatever was verified before.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] for the first block that does not have its hash; [`Error::Cancelled`].
    pub fn reread(&self, range: Range<usize>) -> Result<()> {
        let end = range.end.min(self.len()).div_ceil(BLOCK_BYTES);
        for block in range.start / BLOCK_BYTES..end {
            if block % FETCHED_BLOCKS == 0 {
                execution::checkpoint()?;
                self.fetch(block, (block + FETCHED_BLOCKS).min(end));
            }
            self.check(block)?;
        }
        Ok(())
    }

    /// Says that the file will be read from end to end.
    pub fn scanned(&self) {
        self.data.advise(Access::Scanned, 0..self.len());
    }

    /// Lets the reading of `range` begin where no byte of it was read before, so that many ranges are read at once.
    fn expect(&self, range: Range<usize>) {
        if self.complete.load(Ordering::Acquire) || range.is_empty() || range.end > self.len() {
            return;
        }
        let (first, last) = (range.start / BLOCK_BYTES, (range.end - 1) / BLOCK_BYTES);
        if !(self.is_verified(first) && self.is_verified(last)) {
            self.fetch(first, last + 1);
        }
    }

    /// Runs `work`, which reads all of `ranges`, after it let the reading of those begin that are not in memory.
    ///
    /// Which those are, only the system knows, and to ask costs more than to read what is there. So where `work` is slow, memory
    /// is taken to be scarce, and for some calls all ranges are asked for.
    pub fn reading<T>(&self, ranges: impl ExactSizeIterator<Item = Range<usize>>, work: impl FnOnce() -> T) -> T {
        let (scarce, count) = (self.scarce.load(Ordering::Relaxed), ranges.len() as u32);
        for range in ranges {
            if scarce > 0 && !range.is_empty() && range.end <= self.len() {
                self.fetch(range.start / BLOCK_BYTES, range.end.div_ceil(BLOCK_BYTES));
            } else {
                self.expect(range);
            }
        }
        let began = Instant::now();
        let outcome = work();
        let is_slow = began.elapsed() > SLOW + SLOW_RANGE * count;
        self.scarce.store(if is_slow { SCARCE_CALLS } else { scarce.saturating_sub(1) }, Ordering::Relaxed);
        outcome
    }

    /// Lets the reading of the blocks from `first` up to `end` begin.
    fn fetch(&self, first: usize, end: usize) {
        let start = first * BLOCK_BYTES;
        self.data.advise(Access::Soon, start..self.len().min(end * BLOCK_BYTES).max(start));
    }

    fn is_verified(&self, block: usize) -> bool {
        self.verified.get(block / 64).is_some_and(|word| word.load(Ordering::Acquire) & 1 << (block % 64) != 0)
    }

    fn verify_blocks(&self, first: usize, last: usize) -> Result<()> {
        let mut fetched = first;
        for block in first..=last {
            if !self.is_verified(block) {
                if block >= fetched && last > block {
                    fetched = last.min(block + FETCHED_BLOCKS) + 1;
                    self.fetch(block, fetched);
                }
                self.verify(block)?;
            }
        }
        Ok(())
    }

    #[cold]
    fn verify(&self, block: usize) -> Result<()> {
        self.check(block)?;
        self.verified[block / 64].fetch_or(1 << (block % 64), Ordering::AcqRel);
        Ok(())
    }

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
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => Error::corrupt(path, "it is missing"),
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
///
/// A file is made durable while the next one is written; [`SegmentWriter::finish`] waits for all of them.
#[derive(Debug)]
pub struct SegmentWriter {
    directory: PathBuf,
    files: Vec<(FileEntry, Vec<u64>)>,
    folders: Vec<PathBuf>,
    synchronised: Vec<(PathBuf, JoinHandle<std::io::Result<()>>)>,
}

impl SegmentWriter {
    /// Creates the folder `directory`, which must not exist.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be created.
    pub fn create(directory: &Path) -> Result<Self> {
        fs::create_dir(directory).map_err(Error::io("create", directory))?;
        let directory = directory.to_path_buf();
        Ok(Self { directory, files: Vec::new(), folders: Vec::new(), synchronised: Vec::new() })
    }

    /// Writes the file `name` by the given function and begins to make it durable.
    ///
    /// # Errors
    /// What `write` returns, and [`Error::Io`] when the file cannot be written.
    pub fn file<T>(&mut self, name: &str, write: impl FnOnce(&mut FileWriter) -> Result<T>) -> Result<T> {
        let path = self.directory.join(name);
        let mut writer = FileWriter::create(&path)?;
        let value = write(&mut writer)?;
        let (file, length, hashes) = writer.finish()?;
        self.synchronise(path, file)?;
        self.record(name, length, hashes);
        Ok(value)
    }

    /// Lets a library write into the sub-folder `name`, then hashes and records each file it left there and begins to make
    /// it durable.
    ///
    /// # Errors
    /// What `write` returns, and [`Error::Io`] when a file cannot be read.
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
            let hashes = if metadata.len() == 0 {
                Vec::new()
            } else {
                // SAFETY: the file was closed by its writer, and the staging folder is ours alone.
                let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", &path))?;
                map.chunks(BLOCK_BYTES).map(xxh3_64).collect()
            };
            self.synchronise(path, file)?;
            self.record(&format!("{name}/{file_name}"), metadata.len(), hashes);
        }
        self.folders.push(folder);
        Ok(value)
    }

    /// Begins to make a file durable; where no thread can be started for that, ends it too.
    fn synchronise(&mut self, path: PathBuf, file: File) -> Result<()> {
        let file = Arc::new(file);
        let shared = Arc::clone(&file);
        let thread = std::thread::Builder::new().name("clockify-rag-fsync".into());
        match thread.spawn(move || shared.sync_all()) {
            Ok(thread) => self.synchronised.push((path, thread)),
            Err(_) => file.sync_all().map_err(Error::io("fsync", path))?,
        }
        Ok(())
    }

    /// Waits until every file is durable.
    fn wait(&mut self) -> Result<()> {
        for (path, thread) in self.synchronised.drain(..) {
            let ended = thread.join().unwrap_or_else(|_| Err(std::io::Error::other("its thread failed")));
            ended.map_err(Error::io("fsync", path))?;
        }
        Ok(())
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
        failpoint!("segment: written");
        self.wait()?;
        failpoint!("segment: files durable");
        self.folders.iter().try_for_each(|folder| sync_directory(folder))?;
        sync_directory(&self.directory)?;
        Ok(self.files.into_iter().map(|(entry, _)| entry).collect())
    }
}

/// The file of a segment that holds the block hashes of all others, in the manifest's order.
pub const BLOCK_TABLE: &str = "blocks";

/// A file being written: buffered, and hashed block by block on the way.
///
/// It reaches the kernel in pieces of 64 KiB. The kernel caches what one call writes in pages of up to two megabytes, and maps such
/// a page whole when a byte of it is touched: a hundred rows of a file of 50 MB took 46 MB.
pub struct FileWriter {
    path: PathBuf,
    file: BufWriter<File>,
    scanned: bool,
    hasher: Box<Xxh3>,
    length: u64,
    hashes: Vec<u64>,
}

impl std::fmt::Debug for FileWriter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut debug = formatter.debug_struct("FileWriter");
        debug.field("path", &self.path).field("length", &self.length).finish_non_exhaustive()
    }
}

impl FileWriter {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = File::options().write(true).create_new(true).open(path).map_err(Error::io("create", path))?;
        Ok(Self {
            path: path.to_path_buf(),
            file: BufWriter::with_capacity(PIECE_BYTES, file),
            scanned: false,
            hasher: Box::default(),
            length: 0,
            hashes: Vec::new(),
        })
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// [`Error::Io`] when they cannot be written, [`Error::Cancelled`] when the caller asked to stop.
    pub fn put(&mut self, mut bytes: &[u8]) -> Result<()> {
        execution::checkpoint()?;
        let piece = if self.scanned { bytes.len().max(1) } else { PIECE_BYTES };
        for piece in bytes.chunks(piece) {
            self.file.write_all(piece).map_err(Error::io("write", &self.path))?;
        }
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

    /// Says that the file will be read from end to end: then large pages are what is wanted.
    pub fn scanned(&mut self) {
        self.scanned = true;
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

    /// The file, all of which the operating system has, its length and its block hashes.
    pub(crate) fn finish(mut self) -> Result<(File, u64, Vec<u64>)> {
        if !(self.length as usize).is_multiple_of(BLOCK_BYTES) {
            self.hashes.push(self.hasher.digest());
        }
        let file = self.file.into_inner().map_err(|failure| Error::io("write", &self.path)(failure.into_error()))?;
        Ok((file, self.length, self.hashes))
    }
}

/// One opened segment: its files by name.
#[derive(Debug)]
pub struct Segment {
    directory: PathBuf,
    files: Vec<(String, Arc<BlockFile>)>,
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
            files.push((entry.name.clone(), Arc::new(BlockFile::open(&path, entry.length, hashes)?)));
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
    pub fn file(&self, name: &str) -> Result<&Arc<BlockFile>> {
        self.find(name).ok_or_else(|| Error::corrupt(self.directory.join(name), "the manifest does not name it"))
    }

    /// The file `name`, if the manifest names it.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Arc<BlockFile>> {
        self.files.iter().find_map(|(own, file)| (own == name).then_some(file))
    }

    /// The files below the sub-folder `name`, each with its path inside that folder.
    pub fn folder<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, &'a Arc<BlockFile>)> {
        self.files.iter().filter_map(move |(own, file)| Some((own.strip_prefix(name)?.strip_prefix('/')?, file)))
    }

    /// The bytes of the table of block hashes.
    fn table(&self) -> Vec<u8> {
        self.files.iter().flat_map(|(_, file)| &file.hashes).flat_map(|hash| hash.to_le_bytes()).collect()
    }

    /// Every file with its name.
    pub fn files(&self) -> impl Iterator<Item = (&str, &BlockFile)> {
        self.files.iter().map(|(name, file)| (name.as_str(), &**file))
    }
}

/// The hash of a file from those of its blocks.
pub(crate) fn hash_of_blocks(hashes: &[u64]) -> String {
    let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
    format!("{:032x}", xxh3_128(&bytes))
}

/// Gives freed memory back to the system, where the allocator does not do so by itself.
///
/// glibc keeps what each thread's part of the heap had at its fullest: after eight segments, a build of a million chunks held
/// 1,129 MB at its peak instead of the 996 that its largest segment takes.
pub fn return_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: the function of the C library that this target is linked with, of this signature; it may be called by any
        // thread at any time and touches free memory only. Whether it freed any is of no interest.
        let _ = unsafe { malloc_trim(0) };
    }
}

/// Makes the entries of `directory` durable.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be opened or synchronised.
pub fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory).and_then(|folder| folder.sync_all()).map_err(Error::io("fsync", directory))
}

/// The version of the format on disk that this crate writes and reads.
pub const FORMAT: u32 = 2;

/// The oldest format that this crate reads. `migrate` writes an index of an older one than [`FORMAT`] anew.
pub const OLDEST_FORMAT: u32 = 2;

/// How many generations stay when newer ones are published.
pub const KEPT_GENERATIONS: usize = 3;

/// How old, in seconds, a manifest must be before it is collected: a reader that has just read `CURRENT` may be opening it.
pub const COLLECTION_AGE_SECONDS: u64 = 60;

/// How the vectors of a generation were made.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EmbedderEntry {
    /// The embedder's name in the configuration.
    pub name: String,
    /// The hash of its vectors of fixed sentences.
    pub fingerprint: String,
    /// The width of its vectors.
    pub dimension: u32,
}

/// The fingerprints of what made an index: an index is read only by their equals.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Makers {
    /// The fingerprint of the analyser that made the terms.
    pub analyser: String,
    /// The fingerprint of the chunker and its settings.
    pub chunker: String,
    /// How the vectors were made; `None` for an index without vectors.
    pub embedder: Option<EmbedderEntry>,
}

/// One segment as a generation uses it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SegmentEntry {
    /// The name of its folder below `segments/`.
    pub id: String,
    /// Documents in it, deleted ones included.
    pub documents: u32,
    /// Chunks in it, deleted ones included.
    pub chunks: u32,
    /// Its files, the block table last.
    pub files: Vec<FileEntry>,
    /// Which rows are deleted in this generation: a file below `tombstones/`.
    pub tombstones: Option<FileEntry>,
    /// Documents that are deleted in this generation.
    pub deleted_documents: u32,
    /// Chunks that are deleted in this generation.
    pub deleted_chunks: u32,
}

/// One generation: everything that a reader must know before it opens a file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Manifest {
    /// [`FORMAT`] when it was written.
    pub format: u32,
    /// The generation's number; numbers only grow.
    pub generation: u64,
    /// What made the index.
    pub makers: Makers,
    /// The segments, oldest first.
    pub segments: Vec<SegmentEntry>,
    /// What changed of documents since their segment was written (`generations/<number>.state`), if anything.
    pub state: Option<FileEntry>,
}

/// A JSON object whose first member is the hash of the second, which is called `label`; and that hash.
pub(crate) fn seal(label: &str, body: &[u8]) -> (Vec<u8>, String) {
    let hash = format!("{:032x}", xxh3_128(body));
    let begin = format!("{{\"hash\":\"{hash}\",\"{label}\":");
    ([begin.as_bytes(), body, b"}\n"].concat(), hash)
}

/// The bytes of the second member of such an object, and their hash; else what is wrong.
pub(crate) fn unseal<'a>(label: &str, bytes: &'a [u8]) -> Result<(&'a [u8], String), String> {
    let middle = format!("\",\"{label}\":");
    let parts =
        bytes.strip_prefix(b"{\"hash\":\"").and_then(|rest| rest.split_at_checked(32)).and_then(|(hash, rest)| {
            let body = rest.strip_prefix(middle.as_bytes())?.strip_suffix(b"}\n")?;
            Some((std::str::from_utf8(hash).ok()?, body))
        });
    match parts {
        None => Err(format!("it is not a {label}")),
        Some((hash, body)) if format!("{:032x}", xxh3_128(body)) == hash => Ok((body, hash.to_owned())),
        Some(_) => Err("it does not have the hash that it carries".to_owned()),
    }
}

impl Manifest {
    /// The manifest as its file holds it: one JSON object whose first member is the hash of the second's bytes.
    pub(crate) fn to_bytes(&self) -> Result<(Vec<u8>, String)> {
        let body = serde_json::to_vec(self)
            .map_err(|failure| Error::InvalidArgument(format!("the manifest cannot be written: {failure}")))?;
        Ok(seal("manifest", &body))
    }

    /// Every file of the generation but the manifest: its path within the index, and its entry.
    #[must_use]
    pub fn files(&self) -> Vec<(String, &FileEntry)> {
        let mut files = Vec::new();
        for segment in &self.segments {
            files.extend(segment.files.iter().map(|file| (format!("segments/{}/{}", segment.id, file.name), file)));
            files.extend(segment.tombstones.iter().map(|file| (format!("tombstones/{}", file.name), file)));
        }
        files.extend(self.state.iter().map(|file| (format!("generations/{}", file.name), file)));
        files.sort();
        files
    }

    /// Says what name in it no builder of this generation can have given.
    pub(crate) fn check_names(&self) -> Result<(), String> {
        let is_past =
            |number: &str| is_generation(number) && number.parse().is_ok_and(|number: u64| number <= self.generation);
        let mut ids = std::collections::HashSet::new();
        for segment in &self.segments {
            let begin = segment.id.split_once('-').map(|(generation, _)| generation);
            if !(is_segment(&segment.id) && begin.is_some_and(is_past) && ids.insert(&segment.id)) {
                return Err(format!("its manifest names the segment {:?}", segment.id));
            }
            let number = |file: &FileEntry| file.name.strip_prefix(&segment.id)?.strip_prefix('.').map(is_past);
            let files = segment.files.iter().filter(|file| !is_safe(&file.name));
            let deleted = segment.tombstones.iter().filter(|file| number(file) != Some(true));
            if let Some(file) = files.chain(deleted).next() {
                return Err(format!("its manifest names the file {:?}", file.name));
            }
        }
        match &self.state {
            Some(file) if !file.name.strip_suffix(".state").is_some_and(is_past) => {
                Err(format!("its manifest names the state {:?}", file.name))
            }
            _ => Ok(()),
        }
    }

    /// Reads a manifest file's bytes and returns it with its hash.
    pub(crate) fn from_bytes(path: &Path, bytes: &[u8]) -> Result<(Self, String)> {
        #[derive(serde::Deserialize)]
        struct Version {
            format: u32,
        }
        let (body, hash) = unseal("manifest", bytes).map_err(|reason| Error::corrupt(path, reason))?;
        let unreadable = |failure: serde_json::Error| Error::corrupt(path, format!("it cannot be read: {failure}"));
        let version: Version = serde_json::from_slice(body).map_err(unreadable)?;
        if !(OLDEST_FORMAT..=FORMAT).contains(&version.format) {
            return Err(Error::IndexIncompatible {
                aspect: "format",
                found: version.format.to_string(),
                expected: FORMAT.to_string(),
            });
        }
        Ok((serde_json::from_slice(body).map_err(unreadable)?, hash))
    }
}

/// The folders and files of an index.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout of the index in `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    /// The index folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The file that names the generation served.
    #[must_use]
    pub fn current(&self) -> PathBuf {
        self.root.join("CURRENT")
    }

    /// The file of random bytes that markers in prompts are derived from, which no page's author can guess.
    #[must_use]
    pub fn secret(&self) -> PathBuf {
        self.root.join("secret")
    }

    /// The folder of manifests.
    #[must_use]
    pub fn generations(&self) -> PathBuf {
        self.root.join("generations")
    }

    /// The manifest of a generation.
    #[must_use]
    pub fn manifest(&self, generation: u64) -> PathBuf {
        self.generations().join(format!("{generation:06}.json"))
    }

    /// The state file of a generation.
    #[must_use]
    pub fn state(&self, generation: u64) -> PathBuf {
        self.generations().join(format!("{generation:06}.state"))
    }

    /// The folder of segments.
    #[must_use]
    pub fn segments(&self) -> PathBuf {
        self.root.join("segments")
    }

    /// The folder of tombstones.
    #[must_use]
    pub fn tombstones(&self) -> PathBuf {
        self.root.join("tombstones")
    }

    /// The folder of tags.
    #[must_use]
    pub fn tags_folder(&self) -> PathBuf {
        self.root.join("tags")
    }

    /// Reads `CURRENT`: the generation served and its manifest's hash.
    ///
    /// # Errors
    /// [`Error::IndexNotFound`] when there is none, and no generation but what a killed first build may have left;
    /// [`Error::IndexCorrupt`] when there are others, or it says no generation.
    pub fn read_current(&self) -> Result<(u64, String)> {
        let path = self.current();
        if fs::symlink_metadata(&path).is_err_and(|source| source.kind() == std::io::ErrorKind::NotFound) {
            return Err(match self.list_generations()?.as_slice() {
                [] | [1] => Error::IndexNotFound { path: self.root.clone() },
                _ => Error::corrupt(&path, "it is missing, but generations exist"),
            });
        }
        read_line(&path)
    }

    /// The numbers of all generations whose manifest exists, ascending.
    ///
    /// # Errors
    /// [`Error::Io`] when the folder cannot be listed.
    pub fn list_generations(&self) -> Result<Vec<u64>> {
        let number = |name: &String| name.strip_suffix(".json").filter(|number| is_generation(number))?.parse().ok();
        let mut numbers: Vec<u64> = list(&self.generations())?.iter().filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Reads and verifies the manifest of `generation`, returning it with its hash and the open file.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when it is missing or damaged, [`Error::IndexIncompatible`] for another format.
    pub fn read_manifest(&self, generation: u64) -> Result<(Manifest, String, File)> {
        let path = self.manifest(generation);
        let (mut file, _) = open_regular(&path)?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut bytes).map_err(Error::io("read", &path))?;
        let (manifest, hash) = Manifest::from_bytes(&path, &bytes)?;
        if manifest.generation != generation {
            return Err(Error::corrupt(&path, format!("it is the manifest of generation {}", manifest.generation)));
        }
        Ok((manifest, hash, file))
    }
}

impl Layout {
    /// Makes the folder, which is to be filled and then renamed, and takes its lock; what another that was killed left in it is
    /// removed.
    ///
    /// # Errors
    /// [`Error::IndexLocked`] when another process fills it, [`Error::InvalidArgument`] when it holds other files, [`Error::Io`].
    pub(crate) fn stage(&self) -> Result<ExclusiveLock> {
        let root = self.root();
        if fs::symlink_metadata(root).is_ok_and(|metadata| !metadata.is_dir()) || holds_other_files(root)? {
            return Err(Error::InvalidArgument(format!("{} is in the way: it holds something else", root.display())));
        }
        create_folder(root)?;
        let lock = take_lock(root)?;
        let names = list(root)?;
        names.iter().filter(|name| *name != "lock").try_for_each(|name| remove(&root.join(name)))?;
        Ok(lock)
    }

    /// Makes a folder that holds the files of one generation a whole index, durably, with that one served.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] or [`Error::Io`].
    pub(crate) fn serve_staged(&self, generation: u64, tags: &[String]) -> Result<()> {
        let (_, hash, _) = self.read_manifest(generation)?;
        write_replacing(&self.root().join(".gitignore"), b"*\n")?;
        write_secret(&self.secret())?;
        write_replacing(&self.current(), line_of(generation, &hash).as_bytes())?;
        tags.iter().try_for_each(|tag| self.tag(tag, generation, false))
    }
}

/// The line that names a generation and its manifest's hash, in `CURRENT` and in tags.
fn line_of(generation: u64, hash: &str) -> String {
    format!("{generation:06} {hash}\n")
}

/// Reads a file that is such a line.
fn read_line(path: &Path) -> Result<(u64, String)> {
    let (file, _) = open_regular(path)?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, 256), &mut bytes).map_err(Error::io("read", path))?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    let parts = text.strip_suffix('\n').and_then(|line| line.split_once(' '));
    match parts.and_then(|(number, hash)| Some((number.parse().ok()?, hash))) {
        Some((generation, hash)) if hash.len() == 32 && line_of(generation, hash) == text => {
            Ok((generation, hash.to_owned()))
        }
        _ => Err(Error::corrupt(path, "it names no generation")),
    }
}

/// The names in a folder, sorted; none when there is no such folder.
pub(crate) fn list(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::io("list", folder)(source)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(Error::io("list", folder))?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// An opened generation: its manifest, locked against collection, and the verified maps of its files.
#[derive(Debug)]
pub struct Generation {
    layout: Layout,
    manifest: Manifest,
    hash: String,
    segments: Vec<Arc<Segment>>,
    tombstones: Vec<Option<BlockFile>>,
    state: Option<BlockFile>,
    _lock: File,
}

impl Generation {
    /// Opens the generation that is served from the index in `root`.
    ///
    /// Needs no permission to write. Every file is mapped before one is used; when one vanished because a newer generation
    /// was published and this one collected meanwhile, the newer one is opened.
    ///
    /// # Errors
    /// [`Error::IndexNotFound`], [`Error::IndexCorrupt`], [`Error::IndexIncompatible`] or [`Error::Io`].
    pub fn open(root: &Path) -> Result<Self> {
        Self::open_after(root, None)
    }

    /// Opens the generation that is served, sharing the maps of segments that `previous` already has open and verified.
    ///
    /// # Errors
    /// See [`Generation::open`].
    pub fn open_after(root: &Path, previous: Option<&Self>) -> Result<Self> {
        let layout = Layout::new(root);
        let mut current = layout.read_current()?;
        loop {
            match Self::open_number(&layout, current.0, &current.1, previous) {
                Ok(generation) => return Ok(generation),
                Err(failure) => {
                    let newer = layout.read_current()?;
                    if newer == current {
                        return Err(failure);
                    }
                    current = newer;
                }
            }
        }
    }

    /// Opens the generation with that number, which must be published; it need not be the one that is served.
    ///
    /// # Errors
    /// [`Error::GenerationNotFound`] when there is none, or no longer; else see [`Generation::open`].
    pub fn open_at(root: &Path, number: u64, previous: Option<&Self>) -> Result<Self> {
        let layout = Layout::new(root);
        let (served, expected) = layout.read_current()?;
        if number == served {
            return Self::open_number(&layout, number, &expected, previous);
        }
        let opened =
            if number < served { Self::open_former(&layout, number, previous) } else { layout.no_generation(number) };
        opened.or_else(
            |failure| if layout.manifest(number).exists() { Err(failure) } else { layout.no_generation(number) },
        )
    }

    fn open_former(layout: &Layout, number: u64, previous: Option<&Self>) -> Result<Self> {
        let (_, hash, _) = layout.read_manifest(number)?;
        Self::open_number(layout, number, &hash, previous)
    }

    fn open_number(layout: &Layout, number: u64, expected: &str, previous: Option<&Self>) -> Result<Self> {
        let (manifest, hash, file) = layout.read_manifest(number)?;
        if expected != hash {
            return Err(Error::corrupt(layout.manifest(number), "it is not the manifest that CURRENT names"));
        }
        lock_shared(&file, &layout.manifest(number))?;
        let mut segments = Vec::with_capacity(manifest.segments.len());
        let mut tombstones = Vec::with_capacity(manifest.segments.len());
        for entry in &manifest.segments {
            check_name(layout, &entry.id)?;
            entry.files.iter().try_for_each(|file| check_name(layout, &file.name))?;
            let shared = previous.and_then(|previous| previous.shared(entry));
            segments.push(match shared {
                Some(segment) => segment,
                None => Arc::new(Segment::open(&layout.segments().join(&entry.id), &entry.files)?),
            });
            let open = |file: &FileEntry| open_whole(&layout.tombstones(), layout, file);
            tombstones.push(entry.tombstones.as_ref().map(open).transpose()?);
        }
        let state =
            manifest.state.as_ref().map(|entry| open_whole(&layout.generations(), layout, entry)).transpose()?;
        Ok(Self { layout: layout.clone(), manifest, hash, segments, tombstones, state, _lock: file })
    }

    fn shared(&self, entry: &SegmentEntry) -> Option<Arc<Segment>> {
        let own = self.manifest.segments.iter().position(|own| own.id == entry.id && own.files == entry.files)?;
        self.segments.get(own).map(Arc::clone)
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The manifest's hash: two generations with one hash are one.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The index folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// The opened segments, in the manifest's order.
    #[must_use]
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// The tombstones of each segment, in the manifest's order.
    #[must_use]
    pub fn tombstones(&self) -> &[Option<BlockFile>] {
        &self.tombstones
    }

    /// The bytes of the state file; empty when there is none.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when they are not what was written.
    pub fn state(&self) -> Result<&[u8]> {
        self.state.as_ref().map_or(Ok(&[]), BlockFile::all)
    }

    /// Every file of the generation, its manifest included, by its path within the index.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] when the manifest is no longer what was opened.
    pub(crate) fn contents(&self) -> Result<Vec<(FileEntry, Content<'_>)>> {
        let path = self.layout.manifest(self.manifest.generation);
        let (mut file, _) = open_regular(&path)?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut bytes).map_err(Error::io("read", &path))?;
        if Manifest::from_bytes(&path, &bytes)?.1 != self.hash {
            return Err(Error::corrupt(&path, "it is another than was opened"));
        }
        let mut contents = vec![owned(&format!("generations/{:06}.json", self.manifest.generation), bytes)];
        let named = |name: String, file: &FileEntry| FileEntry { name, ..file.clone() };
        let opened = self.manifest.segments.iter().zip(&self.segments).zip(&self.tombstones);
        for ((entry, segment), tombstones) in opened {
            for file in &entry.files {
                let content = match segment.find(&file.name) {
                    Some(opened) => Content::File(opened),
                    None => Content::Bytes(segment.table()),
                };
                contents.push((named(format!("segments/{}/{}", entry.id, file.name), file), content));
            }
            if let (Some(file), Some(opened)) = (&entry.tombstones, tombstones) {
                contents.push((named(format!("tombstones/{}", file.name), file), Content::File(opened)));
            }
        }
        if let (Some(file), Some(opened)) = (&self.manifest.state, &self.state) {
            contents.push((named(format!("generations/{}", file.name), file), Content::File(opened)));
        }
        Ok(contents)
    }

    /// Reads every byte of every file and compares it with its hash.
    ///
    /// # Errors
    /// [`Error::IndexCorrupt`] for the first difference.
    pub fn verify(&self) -> Result<()> {
        self.files().try_for_each(|file| file.reread(0..file.len()))
    }

    /// Every file but the tables of block hashes, which were compared when they were read.
    pub fn files(&self) -> impl Iterator<Item = &BlockFile> {
        let files = self.segments.iter().flat_map(|segment| segment.files().map(|(_, file)| file));
        files.chain(self.tombstones.iter().flatten()).chain(&self.state)
    }
}

/// Refuses names in a manifest that would leave the index folder.
fn check_name(layout: &Layout, name: &str) -> Result<()> {
    if is_safe(name) {
        Ok(())
    } else {
        Err(Error::corrupt(layout.generations(), format!("a manifest names the file {name:?}")))
    }
}

/// Whether a name stays below the folder that it is joined to.
fn is_safe(name: &str) -> bool {
    let safe = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    name.split('/').count() <= 2 && name.split('/').all(safe)
}

/// What a file of a generation holds.
#[derive(Debug)]
pub(crate) enum Content<'a> {
    /// These bytes.
    Bytes(Vec<u8>),
    /// What this file has, verified when it is read.
    File(&'a BlockFile),
}

/// Reads a regular file of at most `limit` bytes that is to be called `name`.
pub(crate) fn read_small<'a>(path: &Path, name: &str, limit: u64) -> Result<(FileEntry, Content<'a>)> {
    let (file, metadata) = open_regular(path)?;
    if metadata.len() > limit {
        return Err(Error::corrupt(path, format!("it has more than {limit} bytes")));
    }
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, limit), &mut bytes).map_err(Error::io("read", path))?;
    Ok(owned(name, bytes))
}

fn owned<'a>(name: &str, bytes: Vec<u8>) -> (FileEntry, Content<'a>) {
    let hashes: Vec<u64> = bytes.chunks(BLOCK_BYTES).map(xxh3_64).collect();
    let entry = FileEntry { name: name.to_owned(), length: bytes.len() as u64, hash: hash_of_blocks(&hashes) };
    (entry, Content::Bytes(bytes))
}

/// Opens a small file whose block hashes are not in a table: it is read, hashed and compared at once.
fn open_whole(folder: &Path, layout: &Layout, entry: &FileEntry) -> Result<BlockFile> {
    check_name(layout, &entry.name)?;
    let path = folder.join(&entry.name);
    let (mut file, _) = open_regular(&path)?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut file, &mut bytes).map_err(Error::io("read", &path))?;
    let hashes: Vec<u64> = bytes.chunks(BLOCK_BYTES).map(xxh3_64).collect();
    if bytes.len() as u64 != entry.length || hash_of_blocks(&hashes) != entry.hash {
        return Err(Error::corrupt(&path, "it is not the file that the manifest names"));
    }
    Ok(BlockFile::with(path, Data::Owned(bytes), hashes))
}

/// The one builder of an index: holds the kernel's lock from its creation until it is dropped.
#[derive(Debug)]
pub struct Publisher {
    layout: Layout,
    current: Option<Generation>,
    served: u64,
    next: u64,
    segments: u32,
    _lock: ExclusiveLock,
}

impl Publisher {
    /// Takes the lock of the index in `root`, creating the folder when it is missing, and clears what a killed build left.
    ///
    /// # Errors
    /// [`Error::IndexLocked`] when another process builds, [`Error::IndexCorrupt`] when the generation that is served
    /// cannot be opened, [`Error::Io`] when the folder cannot be written.
    pub fn open(root: &Path) -> Result<Self> {
        let layout = Layout::new(root);
        if let Err(failure) = layout.read_current()
            && !matches!(failure, Error::IndexNotFound { .. })
        {
            // Nothing is created in a folder whose `CURRENT` is not ours to replace.
            return Err(failure);
        }
        let lock = Self::prepare(&layout)?;
        layout.adopt_first()?;
        let current = match Generation::open(root) {
            Ok(generation) => Some(generation),
            Err(Error::IndexNotFound { .. }) => None,
            Err(failure) => return Err(failure),
        };
        let served = current.as_ref().map_or(0, |generation| generation.manifest.generation);
        let publisher = Self::after(layout, current, served, lock)?;
        publisher.layout.clear_leftovers()?;
        failpoint!("publisher: cleared");
        // What could not be cleared, because a tagged generation is damaged, is not written over.
        let highest = publisher.layout.highest_number()?;
        Ok(Self { next: publisher.next.max(highest + 1), ..publisher })
    }

    /// As [`Publisher::open`], also where the generation that is served cannot be opened: what is published takes its place,
    /// and nothing is removed before.
    ///
    /// # Errors
    /// [`Error::IndexLocked`] when another process builds, [`Error::Io`] when the folder cannot be written.
    pub fn open_over_damage(root: &Path) -> Result<Self> {
        let layout = Layout::new(root);
        let lock = Self::prepare(&layout)?;
        layout.adopt_first()?;
        // What was written by one that was killed is still there: numbers go on after all there are.
        let highest = layout.highest_number()?;
        if let Ok(generation) = Generation::open(root) {
            let served = generation.manifest.generation;
            let publisher = Self::after(layout, Some(generation), served, lock)?;
            return Ok(Self { next: publisher.next.max(highest + 1), ..publisher });
        }
        let served = layout.read_current().map_or(highest, |(served, _)| served);
        Ok(Self { layout, current: None, served, next: highest.max(served) + 1, segments: 0, _lock: lock })
    }

    /// Creates what of the folders is missing and takes the lock.
    fn prepare(layout: &Layout) -> Result<ExclusiveLock> {
        let root = layout.root();
        let is_own = holds_nothing_else(root)?;
        for folder in [root.to_path_buf(), layout.generations(), layout.segments(), layout.tombstones()] {
            create_folder(&folder)?;
        }
        let lock = take_lock(root)?;
        failpoint!("publisher: locked");
        let ignored = root.join(".gitignore");
        if is_own && !ignored.exists() {
            // The index is data derived from the sources, never part of the repository they may lie in.
            write_replacing(&ignored, b"*\n")?;
        }
        if !layout.secret().exists() {
            write_secret(&layout.secret())?;
        }
        Ok(lock)
    }

    /// The builder of what follows generation `served`.
    fn after(layout: Layout, current: Option<Generation>, served: u64, lock: ExclusiveLock) -> Result<Self> {
        let mut next = served + 1;
        match layout.list_generations()?.last() {
            // A build was killed before `CURRENT` named its manifest: nobody has read it.
            Some(&newest) if newest == served + 1 => remove(&layout.manifest(newest))?,
            // An older generation is served again: those after it were published, and keep their numbers.
            Some(&newest) if newest > served => next = newest + 1,
            _ => {}
        }
        Ok(Self { layout, current, served, next, segments: 0, _lock: lock })
    }

    /// The generation that is served while this one is built.
    #[must_use]
    pub fn current(&self) -> Option<&Generation> {
        self.current.as_ref()
    }

    /// The number that the next published generation will have.
    #[must_use]
    pub fn next_generation(&self) -> u64 {
        self.next
    }

    /// The index folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// Starts a new segment and returns its id and the writer of its files.
    ///
    /// # Errors
    /// [`Error::Io`] when its folder cannot be created.
    pub fn segment(&mut self) -> Result<(String, SegmentWriter)> {
        let id = format!("{:06}-{}", self.next, self.segments);
        self.segments += 1;
        let writer = SegmentWriter::create(&self.layout.segments().join(&id))?;
        Ok((id, writer))
    }

    /// Writes the tombstones of `segment` for the next generation.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be written.
    pub fn tombstones(&self, segment: &str, bytes: &[u8]) -> Result<FileEntry> {
        write_whole(&self.layout.tombstones(), &format!("{segment}.{:06}", self.next), bytes)
    }

    /// Publishes the next generation: durable when this returns.
    ///
    /// The order is: files (already durable), folders, manifest, `CURRENT`; each synchronised before the next, so that a
    /// crash at any point leaves the old generation served, or the new one whole. The new one is opened before `CURRENT` is
    /// replaced, so one that cannot be opened is never served.
    ///
    /// # Errors
    /// [`Error::Io`] when anything cannot be written, and as [`Generation::open`]; the old generation is then still served.
    /// Only where a folder cannot be synchronised after `CURRENT` was replaced, the new one is, and might not survive a loss of
    /// power; [`Publisher::current`] says which.
    pub fn publish(&mut self, makers: Makers, segments: Vec<SegmentEntry>, state: &[u8]) -> Result<u64> {
        self.publish_inspected(makers, segments, state, |_| Ok(()))
    }

    /// As [`Publisher::publish`], after `inspect` has seen the opened generation and found nothing wrong with it.
    ///
    /// # Errors
    /// As [`Publisher::publish`], and what `inspect` returns; the old generation is then still served.
    pub fn publish_inspected(
        &mut self,
        makers: Makers,
        segments: Vec<SegmentEntry>,
        state: &[u8],
        inspect: impl FnOnce(&Generation) -> Result<()>,
    ) -> Result<u64> {
        let state = self.write_state(state)?;
        self.publish_files(makers, segments, state, inspect)
    }

    /// As [`Publisher::publish_inspected`], with files that are all written and durable, the state's too.
    ///
    /// # Errors
    /// As [`Publisher::publish_inspected`].
    pub fn publish_files(
        &mut self,
        makers: Makers,
        segments: Vec<SegmentEntry>,
        state: Option<FileEntry>,
        inspect: impl FnOnce(&Generation) -> Result<()>,
    ) -> Result<u64> {
        let generation = self.next;
        let manifest = Manifest { format: FORMAT, generation, makers, segments, state };
        failpoint!("publish: state written");
        sync_directory(&self.layout.segments())?;
        sync_directory(&self.layout.tombstones())?;
        failpoint!("publish: folders durable");
        let (bytes, hash) = manifest.to_bytes()?;
        write_replacing(&self.layout.manifest(generation), &bytes)?;
        failpoint!("publish: manifest durable");
        let opened = Generation::open_number(&self.layout, generation, &hash, self.current.as_ref())?;
        inspect(&opened)?;
        failpoint!("publish: opened");
        let current = self.layout.current();
        let line = line_of(generation, &hash);
        replace(&write_temporary(&current, line.as_bytes(), |_| Ok(()))?, &current)?;
        self.current = Some(opened);
        self.served = generation;
        self.next += 1;
        self.segments = 0;
        failpoint!("publish: current replaced");
        sync_directory(parent(&current))?;
        sync_directory(parent(self.layout.root()))?;
        failpoint!("publish: durable");
        // What cannot be removed now is left to the next build.
        let _ = self.collect();
        Ok(generation)
    }

    /// Writes the state file of the next generation, where there is anything to write.
    fn write_state(&self, state: &[u8]) -> Result<Option<FileEntry>> {
        let name = format!("{:06}.state", self.next);
        if state.is_empty() { Ok(None) } else { write_whole(&self.layout.generations(), &name, state).map(Some) }
    }

    /// Removes what was written and not published, and releases the lock.
    ///
    /// What cannot be removed is left to the next build, as after a kill.
    pub fn close(self) {
        if self.layout.read_current().is_ok_and(|(served, _)| served == self.next) {
            // A rename that was reported as failed and was not.
            return;
        }
        let unpublished = self.layout.manifest(self.next);
        let removed = if unpublished.exists() { remove(&unpublished) } else { Ok(()) };
        if self.current.is_some() || self.served == 0 {
            let _ = removed.and_then(|()| self.layout.clear_leftovers());
        }
    }

    /// Removes generations that nothing keeps ([`Reason`]), and then the files that no generation names.
    ///
    /// # Errors
    /// [`Error::Io`] when something cannot be removed; [`Error::IndexCorrupt`] when a tag cannot be read, and it is not known
    /// what must stay.
    pub fn collect(&self) -> Result<Collected> {
        self.layout.collect(self.served)
    }
}

/// What lies in the folder of an index.
const NAMES: [&str; 11] = [
    "CURRENT",
    "generations",
    "segments",
    "tombstones",
    "tags",
    "lock",
    "secret",
    "cache",
    "pages",
    "calibration.json",
    ".gitignore",
];

/// Whether more lies in `folder` than an index consists of, whole or half made.
///
/// # Errors
/// [`Error::Io`] when the folder cannot be listed; one that is missing holds nothing.
pub fn holds_other_files(folder: &Path) -> Result<bool> {
    let is_own = |name: &String| NAMES.contains(&name.strip_suffix(".tmp").unwrap_or(name));
    Ok(!list(folder)?.iter().all(is_own))
}

/// What the root of an index may hold beside its folders while a build is under way.
const TEMPORARY_FILES: [&str; 3] = ["CURRENT.tmp", "secret.tmp", ".gitignore.tmp"];

/// Whether `root` is missing or empty but for what a killed first build may have left, and a calibration that was kept.
fn holds_nothing_else(root: &Path) -> Result<bool> {
    let own = ["generations", "segments", "tombstones", "tags", "lock", "secret", "pages", "calibration.json"];
    Ok(list(root)?.iter().all(|name| own.contains(&name.as_str()) || TEMPORARY_FILES.contains(&name.as_str())))
}

/// Whether a part of a name is a generation's number.
fn is_generation(text: &str) -> bool {
    text.len() >= 6 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a name is one that the folder of a segment has.
fn is_segment(name: &str) -> bool {
    let parts = name.split_once('-');
    parts.is_some_and(|(generation, number)| is_generation(generation) && number.parse::<u32>().is_ok())
}

/// Removes a file, or a folder with all that is in it.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(Error::io("remove", path))
}

/// Writes a new file whole, durable but for its folder.
fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> Result<FileEntry> {
    let mut writer = FileWriter::create(&folder.join(name))?;
    writer.put(bytes)?;
    let (file, length, hashes) = writer.finish()?;
    file.sync_all().map_err(Error::io("fsync", folder.join(name)))?;
    sync_directory(folder)?;
    Ok(FileEntry { name: name.to_owned(), length, hash: hash_of_blocks(&hashes) })
}

/// Replaces `path` by `bytes` in one step: a temporary file, made durable, renamed over it, the folder made durable.
fn write_replacing(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(&write_temporary(path, bytes, |_| Ok(()))?, path)?;
    sync_directory(parent(path))
}

/// Renames a temporary file over what it is to replace.
fn replace(temporary: &Path, path: &Path) -> Result<()> {
    fs::rename(temporary, path).map_err(Error::io("rename", temporary))
}

/// Writes the temporary file that is to replace `path`, with something done to it before it has bytes, and makes it durable.
fn write_temporary(path: &Path, bytes: &[u8], prepare: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let temporary = path.with_extension("tmp");
    match fs::remove_file(&temporary) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::io("remove", &temporary)(source));
        }
        _ => {}
    }
    let mut writer = FileWriter::create(&temporary)?;
    prepare(&temporary)?;
    writer.put(bytes)?;
    let (file, ..) = writer.finish()?;
    file.sync_all().map_err(Error::io("fsync", &temporary))?;
    Ok(temporary)
}

/// The folder that a path's last name is an entry of.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// Creates a folder and those above it that are missing, each made durable as an entry of the one above.
fn create_folder(folder: &Path) -> Result<()> {
    let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let missing: Vec<&Path> = folder.ancestors().take_while(is_missing).collect();
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    missing.iter().rev().try_for_each(|created| sync_directory(parent(created)))
}

/// Writes 32 random bytes that only this user may read.
fn write_secret(path: &Path) -> Result<()> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|failure| Error::io("make", path)(failure.into()))?;
    replace(&write_temporary(path, &bytes, restrict)?, path)?;
    sync_directory(parent(path))
}

#[cfg(unix)]
fn restrict(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(Error::io("restrict", path))
}

#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps)]
fn restrict(_path: &Path) -> Result<()> {
    Ok(())
}

/// An exclusive lock of a file or folder, given back when this is dropped; the kernel does it when the process ends, however it
/// ends.
///
/// A child that was forked while the lock was held has the same file open. To close it would leave the lock to the child for as long
/// as that lives, and let readers and builders wait for it: so the lock is taken off, by the process that took it.
#[derive(Debug)]
pub(crate) struct ExclusiveLock {
    file: File,
    process: u32,
}

impl ExclusiveLock {
    fn of(file: File) -> Self {
        Self { file, process: std::process::id() }
    }
}

impl Drop for ExclusiveLock {
    fn drop(&mut self) {
        if std::process::id() == self.process {
            // What cannot be unlocked is unlocked by being closed.
            let _ = self.file.unlock();
        }
    }
}

/// Takes the builder's lock.
fn take_lock(root: &Path) -> Result<ExclusiveLock> {
    let path = root.join("lock");
    if fs::symlink_metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
        // A link would have its target emptied; a FIFO has no lock.
        return Err(Error::corrupt(&path, "it is not a regular file"));
    }
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let read = std::io::Read::read_to_string(&mut file, &mut holder);
            let holder = read.ok().and_then(|_| holder.trim().parse().ok());
            return Err(Error::IndexLocked { path: root.to_path_buf(), holder });
        }
        Err(fs::TryLockError::Error(source)) => return Err(Error::io("lock", &path)(source)),
    }
    let mut lock = ExclusiveLock::of(file);
    let file = &mut lock.file;
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(Error::io("write", &path))?;
    Ok(lock)
}

/// Holds a reader's lock on a manifest as long as `file` lives.
fn lock_shared(file: &File, path: &Path) -> Result<()> {
    file.lock_shared().map_err(Error::io("lock", path))
}

/// The exclusive lock of a file, if nobody has one.
fn try_lock_exclusive(file: File) -> Option<ExclusiveLock> {
    file.try_lock().is_ok().then(|| ExclusiveLock::of(file))
}

mod purging;
mod remains;
pub use remains::Remains;
mod generations;
pub(crate) use generations::is_tag;
pub use generations::{Collected, Listed, Reason, Tag, collect_generations};

#[cfg(test)]
mod tests;
