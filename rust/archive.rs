//! Snapshots: one generation of an index as one file, and back.
//!
//! The file is a tar archive in its plainest form, so that any system can look into it, but it is not read as one: its first entry
//! lists the names, lengths and hashes of all others, and from these every header follows, byte for byte. A header that is not
//! that one is refused, whatever else it may say. So there is nothing to parse by which an entry could be a link, a device, a
//! sparse file or a name outside the index, and nothing in the file is left unchecked.
//!
//! What is restored is written beside what is served, read again and compared, opened, and only then put in its place by one
//! rename.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};
use crate::execution;
use crate::snapshot;
use crate::storage::{
    BLOCK_BYTES, Content, FileEntry, FileWriter, Generation, Layout, Manifest, Publisher, SegmentEntry, hash_of_blocks,
    holds_other_files, is_tag, parent, read_small, remove, seal, sync_directory, unseal,
};

/// The version of the archive that this crate writes and reads.
pub const FORMAT: u32 = 1;

/// The name of the first entry.
const LISTING: &str = "SNAPSHOT";

/// The most bytes that the first entry may have: a hundred times what an index of ten million chunks needs.
const LISTING_BYTES: u64 = 16 * 1024 * 1024;

/// The most files that a generation may have.
const MAXIMUM_FILES: usize = 65_536;

/// The most tags that a generation in an archive may have: each is a file, and setting one looks at all.
const MAXIMUM_TAGS: usize = 1024;

/// The highest number of a generation in an archive, which no index reaches by counting and any can go on counting from.
const MAXIMUM_GENERATION: u64 = 1_000_000_000_000;

/// How the names of the manifest and of the state begin.
const GENERATIONS: &str = "generations/";

/// What turns evidence into a probability, beside the index.
const CALIBRATION: &str = "calibration.json";

/// The most bytes that it may have.
const CALIBRATION_BYTES: u64 = 16 * 1024 * 1024;

/// The most bytes that the state of documents' files may have: that of a million documents.
const STATE_BYTES: u64 = 256 * 1024 * 1024;

/// A unit of a tar archive.
const RECORD_BYTES: usize = 512;

/// Bytes that are read and written at once.
const PIECE_BYTES: usize = 1024 * 1024;

/// Above this length, an archive of which less than a hundredth is on the disk is taken for a bomb.
const SPARSE_BYTES: u64 = 64 * 1024 * 1024;

/// What an archive holds: its first entry.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Contents {
    /// [`FORMAT`] when it was written.
    pub format: u32,
    /// The generation's number.
    pub generation: u64,
    /// The generation's tags, ascending.
    pub tags: Vec<String>,
    /// The other entries, ascending by name, which is the path within the index.
    pub files: Vec<FileEntry>,
}

/// An archive that was written or restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archived {
    /// The generation in the archive.
    pub generation: u64,
    /// How many files of the index it holds.
    pub files: usize,
    /// The archive's bytes.
    pub bytes: u64,
    /// The hash over all: of names, lengths and hashes.
    pub hash: String,
}

/// The header of an entry: a regular file of ustar, all of whose fields but name and size are always the same.
///
/// # Errors
/// [`Error::InvalidArgument`] for a name or a size that such a header cannot say.
fn header(name: &str, size: u64) -> Result<[u8; RECORD_BYTES]> {
    let mut bytes = [0; RECORD_BYTES];
    if name.len() >= 100 || size >= 1 << 33 {
        return Err(Error::InvalidArgument(format!("{name:?} of {size} bytes does not fit into an archive")));
    }
    let mut put = |at: usize, text: &str| bytes[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000000");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = bytes.iter().map(|&byte| u32::from(byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(bytes)
}

/// The zeros after an entry of that many bytes.
fn padding(size: u64) -> usize {
    (RECORD_BYTES - (size % RECORD_BYTES as u64) as usize) % RECORD_BYTES
}

/// The bytes of an archive with such entries, its first included.
fn archive_bytes(listing: u64, files: &[FileEntry]) -> Option<u64> {
    let mut total = 2 * RECORD_BYTES as u64;
    for size in files.iter().map(|file| file.length).chain([listing]) {
        total = total.checked_add(RECORD_BYTES as u64)?.checked_add(size)?.checked_add(padding(size) as u64)?;
    }
    Some(total)
}

impl Contents {
    fn to_bytes(&self) -> Result<(Vec<u8>, String)> {
        let body = serde_json::to_vec(self)
            .map_err(|failure| Error::InvalidArgument(format!("the listing cannot be written: {failure}")))?;
        Ok(seal("snapshot", &body))
    }

    /// Reads a listing and returns it with its hash; what it names is checked.
    fn from_bytes(path: &Path, bytes: &[u8]) -> Result<(Self, String)> {
        #[derive(serde::Deserialize)]
        struct Version {
            format: u32,
        }
        let (body, hash) = unseal("snapshot", bytes).map_err(|reason| invalid(path, format!("{LISTING}: {reason}")))?;
        let unreadable = |failure: serde_json::Error| invalid(path, format!("{LISTING} cannot be read: {failure}"));
        let version: Version = serde_json::from_slice(body).map_err(unreadable)?;
        if version.format != FORMAT {
            let (found, expected) = (version.format.to_string(), FORMAT.to_string());
            return Err(Error::IndexIncompatible { aspect: "snapshot format", found, expected });
        }
        let contents: Self = serde_json::from_slice(body).map_err(unreadable)?;
        contents.check().map_err(|reason| invalid(path, reason))?;
        Ok((contents, hash))
    }

    /// Checks all that does not depend on the generation's manifest.
    fn check(&self) -> Result<(), String> {
        if self.files.len() > MAXIMUM_FILES {
            return Err(format!("it lists {} files, more than {MAXIMUM_FILES}", self.files.len()));
        }
        if !(1..=MAXIMUM_GENERATION).contains(&self.generation) {
            return Err(format!("it names the generation {}, which no index has", self.generation));
        }
        if self.tags.len() > MAXIMUM_TAGS {
            return Err(format!("it lists {} tags, more than {MAXIMUM_TAGS}", self.tags.len()));
        }
        if let Some(tag) = self.tags.iter().find(|tag| !is_tag(tag)) {
            return Err(format!("it names the tag {tag:?}, which is none"));
        }
        if let Some(pair) = self.files.windows(2).find(|pair| pair[0].name >= pair[1].name) {
            return Err(format!("{:?} is listed twice or out of order", pair[1].name));
        }
        let mut folded = HashSet::new();
        if let Some(file) = self.files.iter().find(|file| !folded.insert(file.name.to_ascii_lowercase())) {
            return Err(format!("{:?} differs from another file only by case", file.name));
        }
        let calibration = self.files.iter().find(|file| file.name == CALIBRATION);
        if calibration.is_some_and(|file| file.length > CALIBRATION_BYTES) {
            return Err(format!("its {CALIBRATION} has more than {CALIBRATION_BYTES} bytes"));
        }
        let manifest = self.manifest_name();
        let mut states = self.files.iter().filter(|file| file.name.starts_with(GENERATIONS) && file.name != manifest);
        if states.next().is_some_and(|state| state.length > STATE_BYTES) || states.next().is_some() {
            return Err(format!("it holds more than one state of at most {STATE_BYTES} bytes"));
        }
        match self.files.iter().find(|file| file.name == manifest) {
            Some(file) if file.length <= LISTING_BYTES => Ok(()),
            Some(_) => Err(format!("its {manifest} has more than {LISTING_BYTES} bytes")),
            None => Err(format!("it holds no {manifest}")),
        }
    }

    fn manifest_name(&self) -> String {
        format!("{GENERATIONS}{:06}.json", self.generation)
    }

    /// Checks that exactly the files of `manifest` are listed.
    fn check_against(&self, manifest: &Manifest) -> Result<(), String> {
        manifest.check_names()?;
        let mut expected: BTreeMap<String, &FileEntry> = BTreeMap::new();
        for (name, file) in manifest.files() {
            if expected.insert(name.clone(), file).is_some() {
                return Err(format!("its manifest names {name:?} twice"));
            }
        }
        let own = [CALIBRATION.to_owned(), self.manifest_name()];
        let listed = self.files.iter().filter(|file| !own.contains(&file.name));
        let same = |(listed, (name, file)): (&FileEntry, (&String, &&FileEntry))| {
            listed.name == *name && listed.length == file.length && listed.hash == file.hash
        };
        if listed.clone().count() == expected.len() && listed.zip(&expected).all(same) {
            Ok(())
        } else {
            Err("it does not hold exactly the files that its manifest names".to_owned())
        }
    }
}

/// An archive that is being read, entry by entry, from anything that gives bytes.
#[derive(Debug)]
pub struct Archive<R> {
    path: PathBuf,
    reader: R,
    contents: Contents,
    hash: String,
    bytes: u64,
    next: usize,
}

impl<R: Read> Archive<R> {
    /// Reads the first entry; `path` is what errors name.
    ///
    /// # Errors
    /// [`Error::SnapshotInvalid`], [`Error::IndexIncompatible`] for another version, or [`Error::Io`].
    pub fn open(mut reader: R, path: &Path) -> Result<Self> {
        let mut first = [0; RECORD_BYTES];
        fill(&mut reader, &mut first, path)?;
        let digits = first.get(124..135).and_then(|digits| std::str::from_utf8(digits).ok());
        let size = digits.and_then(|digits| u64::from_str_radix(digits, 8).ok()).filter(|&size| size <= LISTING_BYTES);
        let Some(size) = size.filter(|&size| header(LISTING, size).is_ok_and(|expected| expected == first)) else {
            return Err(invalid(path, format!("it does not begin with {LISTING}")));
        };
        let mut listing = vec![0; size as usize];
        fill(&mut reader, &mut listing, path)?;
        zeros(&mut reader, padding(size), path)?;
        let (contents, hash) = Contents::from_bytes(path, &listing)?;
        let bytes = archive_bytes(size, &contents.files).ok_or_else(|| invalid(path, "its lengths are too large"))?;
        Ok(Self { path: path.to_path_buf(), reader, contents, hash, bytes, next: 0 })
    }

    /// What it holds.
    #[must_use]
    pub fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Reads the next file, which `put` is given in pieces; they are the right ones only when this returns.
    ///
    /// # Errors
    /// [`Error::SnapshotInvalid`] where it is not what was listed, [`Error::Io`], and what `put` returns.
    pub fn file(&mut self, mut put: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let path = &self.path;
        let Some(entry) = self.contents.files.get(self.next) else {
            return Err(invalid(path, "it has no further file"));
        };
        self.next += 1;
        let mut found = [0; RECORD_BYTES];
        fill(&mut self.reader, &mut found, path)?;
        if header(&entry.name, entry.length).ok() != Some(found) {
            return Err(invalid(path, format!("where {} should begin is something else", entry.name)));
        }
        let mut rest = entry.length;
        let mut hashes = Vec::new();
        let mut piece = vec![0; (rest as usize).min(PIECE_BYTES)];
        while rest > 0 {
            execution::checkpoint()?;
            let size = rest.min(PIECE_BYTES as u64) as usize;
            let Some(part) = piece.get_mut(..size) else { break };
            fill(&mut self.reader, part, path)?;
            hashes.extend(part.chunks(BLOCK_BYTES).map(xxh3_64));
            put(part)?;
            rest -= size as u64;
        }
        zeros(&mut self.reader, padding(entry.length), path)?;
        if hash_of_blocks(&hashes) == entry.hash {
            Ok(())
        } else {
            Err(invalid(path, format!("{} does not have the hash that is listed", entry.name)))
        }
    }

    /// Checks that all files were read and that nothing follows them.
    ///
    /// # Errors
    /// [`Error::SnapshotInvalid`] or [`Error::Io`].
    pub fn end(mut self) -> Result<()> {
        if self.next != self.contents.files.len() {
            return Err(invalid(&self.path, "not all of it was read"));
        }
        zeros(&mut self.reader, 2 * RECORD_BYTES, &self.path)?;
        let more = self.reader.read(&mut [0]).map_err(Error::io("read", &self.path))?;
        if more == 0 { Ok(()) } else { Err(invalid(&self.path, "something follows its end")) }
    }
}

/// That an archive is not what was written.
fn invalid(path: &Path, reason: impl Into<String>) -> Error {
    Error::SnapshotInvalid { path: path.to_path_buf(), reason: reason.into() }
}

/// Reads exactly as many bytes as `bytes` has.
fn fill(reader: &mut impl Read, bytes: &mut [u8], path: &Path) -> Result<()> {
    reader.read_exact(bytes).map_err(|source| match source.kind() {
        std::io::ErrorKind::UnexpectedEof => invalid(path, "it ends early"),
        _ => Error::io("read", path)(source),
    })
}

/// Reads that many zeros.
fn zeros(reader: &mut impl Read, count: usize, path: &Path) -> Result<()> {
    let mut bytes = vec![1; count];
    fill(reader, &mut bytes, path)?;
    if bytes.iter().all(|&byte| byte == 0) {
        Ok(())
    } else {
        Err(invalid(path, "bytes between its files are not zero"))
    }
}

/// Writes a generation, which stays locked meanwhile, as an archive; equal generations with equal tags give equal bytes.
///
/// # Errors
/// [`Error::IndexCorrupt`] when a byte of it is not what was written, and [`Error::Io`].
pub fn write(generation: &Generation, out: &mut impl Write, path: &Path) -> Result<Archived> {
    let layout = Layout::new(generation.root());
    let mut files = generation.contents()?;
    let calibration = layout.root().join(CALIBRATION);
    if calibration.is_file() {
        files.push(read_small(&calibration, CALIBRATION, CALIBRATION_BYTES)?);
    }
    files.sort_by(|(left, _), (right, _)| left.name.cmp(&right.name));
    let number = generation.manifest().generation;
    let tags = layout.tags()?.into_iter().filter(|(_, tag)| tag.generation == number).map(|(name, _)| name).collect();
    let listed = files.iter().map(|(entry, _)| entry.clone()).collect();
    let contents = Contents { format: FORMAT, generation: number, tags, files: listed };
    // What restoring would refuse is not written.
    contents.check().map_err(|reason| {
        Error::InvalidArgument(format!("generation {number} does not fit into an archive: {reason}"))
    })?;
    let (listing, hash) = contents.to_bytes()?;
    let size = listing.len() as u64;
    let Some(bytes) = archive_bytes(size, &contents.files).filter(|_| size <= LISTING_BYTES) else {
        return Err(Error::InvalidArgument("the generation has too many files for an archive".to_owned()));
    };
    let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(Error::io("write", path));
    put(&header(LISTING, size)?)?;
    put(&listing)?;
    put(&vec![0; padding(size)])?;
    for (entry, content) in &files {
        put(&header(&entry.name, entry.length)?)?;
        match content {
            Content::Bytes(bytes) => put(bytes)?,
            Content::File(file) => {
                for start in (0..file.len()).step_by(PIECE_BYTES) {
                    execution::checkpoint()?;
                    put(file.bytes(start..file.len().min(start + PIECE_BYTES))?)?;
                }
            }
        }
        put(&vec![0; padding(entry.length)])?;
    }
    put(&[0; 2 * RECORD_BYTES])?;
    Ok(Archived { generation: number, files: files.len(), bytes, hash })
}

/// Writes a generation of the index in `root` into `file`: beside it first, then renamed over it; durable when this returns.
///
/// Builds may publish meanwhile, and collect: the generation stays locked.
///
/// # Errors
/// [`Error::InvalidArgument`] for a file within the index, or one that exists and is no snapshot; else as [`write`] and
/// [`Generation::open_at`].
pub fn write_file(root: &Path, number: Option<u64>, file: &Path) -> Result<Archived> {
    let generation = match number {
        None => Generation::open(root)?,
        Some(number) => Generation::open_at(root, number, None)?,
    };
    check_place(root, file)?;
    let part = beside(file, ".part")?;
    let out = lock_part(&part)?;
    let written = write_part(&generation, &out, &part).and_then(|archived| {
        fs::rename(&part, file).map_err(Error::io("rename", &part))?;
        sync_directory(parent(file))?;
        Ok(archived)
    });
    if written.is_err() {
        // What is left where this fails is taken over by the next one.
        let _ = fs::remove_file(&part);
    }
    written
}

fn write_part(generation: &Generation, out: &File, part: &Path) -> Result<Archived> {
    out.set_len(0).map_err(Error::io("empty", part))?;
    let mut writer = BufWriter::with_capacity(PIECE_BYTES, out);
    let archived = write(generation, &mut writer, part)?;
    writer.flush().map_err(Error::io("write", part))?;
    out.sync_all().map_err(Error::io("fsync", part))?;
    Ok(archived)
}

/// Refuses a place for an archive where something else would be lost or littered.
fn check_place(root: &Path, file: &Path) -> Result<()> {
    let folder = fs::canonicalize(parent(file)).map_err(Error::io("open", parent(file)))?;
    let index = fs::canonicalize(root).map_err(Error::io("open", root))?;
    if folder.starts_with(index) {
        return Err(Error::InvalidArgument(format!("{} lies within the index", file.display())));
    }
    match fs::symlink_metadata(file) {
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::io("read", file)(source)),
        Ok(metadata) if metadata.is_file() && begins_as_archive(file)? => Ok(()),
        Ok(_) => Err(Error::InvalidArgument(format!("{} exists and is no snapshot", file.display()))),
    }
}

fn begins_as_archive(file: &Path) -> Result<bool> {
    let mut begin = Vec::new();
    let opened = File::open(file).map_err(Error::io("open", file))?;
    opened.take(LISTING.len() as u64 + 1).read_to_end(&mut begin).map_err(Error::io("read", file))?;
    Ok(begin.strip_prefix(LISTING.as_bytes()) == Some(&[0]))
}

/// A name beside `path`, which it is given by `ending`.
fn beside(path: &Path, ending: &str) -> Result<PathBuf> {
    let Some(name) = path.file_name() else {
        return Err(Error::InvalidArgument(format!("{} is no name of a file or folder", path.display())));
    };
    let mut name = name.to_os_string();
    name.push(ending);
    Ok(path.with_file_name(name))
}

/// Opens the file that is to become the archive, which nobody else is writing.
fn lock_part(part: &Path) -> Result<File> {
    if fs::symlink_metadata(part).is_ok_and(|metadata| !metadata.is_file()) {
        // A link would have its target emptied.
        return Err(Error::InvalidArgument(format!("{} is in the way: it is not a regular file", part.display())));
    }
    let file = File::options().write(true).create(true).truncate(false).open(part).map_err(Error::io("open", part))?;
    // Between opening and locking it may have become somebody's archive.
    if file.try_lock().is_ok() && is_same_file(&file, part) {
        Ok(file)
    } else {
        Err(Error::InvalidArgument(format!("{} is being written by another process", part.display())))
    }
}

#[cfg(unix)]
fn is_same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    file.metadata().is_ok_and(|own| fs::symlink_metadata(path).is_ok_and(|named| identity(own) == identity(named)))
}

#[cfg(not(unix))]
fn is_same_file(_file: &File, path: &Path) -> bool {
    path.exists()
}

/// Makes the snapshot in `file` what the index in `root` serves, and returns the number it is served under.
///
/// Where there is no such folder it is made, with the generation under its own number: written beside it, read again, and put in
/// place by a rename. In a folder that exists it becomes the next generation, published as any other.
///
/// # Errors
/// [`Error::SnapshotInvalid`] and [`Error::IndexIncompatible`] for what cannot be restored, [`Error::IndexExists`] where an index
/// is and `replace` is not given, [`Error::InvalidArgument`] for a folder of other files, [`Error::IndexLocked`], [`Error::Io`].
/// Nothing is then left of it, and what was served still is.
pub fn restore(file: &Path, root: &Path, replace: bool) -> Result<(u64, Archived)> {
    let archive = open_file(file)?;
    let is_missing = fs::symlink_metadata(root).is_err_and(|source| source.kind() == std::io::ErrorKind::NotFound);
    if is_missing {
        return restore_beside(archive, root);
    }
    match Layout::new(root).read_current() {
        Err(Error::IndexNotFound { .. }) if holds_other_files(root)? => {
            Err(Error::InvalidArgument(format!("{} holds files and is no index", root.display())))
        }
        Err(Error::IndexNotFound { .. }) => restore_into(archive, root),
        _ if !replace => Err(Error::IndexExists { path: root.to_path_buf() }),
        _ => restore_into(archive, root),
    }
}

/// Opens an archive whose length is what it says.
fn open_file(path: &Path) -> Result<Archive<File>> {
    let metadata = fs::metadata(path).map_err(Error::io("open", path))?;
    if !metadata.is_file() {
        return Err(invalid(path, "it is not a regular file"));
    }
    let archive = Archive::open(File::open(path).map_err(Error::io("open", path))?, path)?;
    if metadata.len() != archive.bytes {
        return Err(invalid(path, format!("it has {} bytes instead of {}", metadata.len(), archive.bytes)));
    }
    if is_hollow(&metadata) {
        return Err(invalid(path, "almost nothing of it is on the disk"));
    }
    Ok(archive)
}

/// Whether a file is large and almost all of it holes, which no archive of vectors and text is. A file system that says of a file
/// with bytes that it takes no room does not tell.
#[cfg(unix)]
fn is_hollow(metadata: &fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    metadata.len() > SPARSE_BYTES && metadata.blocks() > 0 && metadata.blocks() < metadata.len() / 512 / 100
}

#[cfg(not(unix))]
fn is_hollow(_metadata: &fs::Metadata) -> bool {
    false
}

/// Where the files of an archive go, and what was made for them.
struct Target {
    layout: Layout,
    /// The names of segments in the index, by those in the archive; where there is none it keeps its own.
    segments: BTreeMap<String, String>,
    /// The number that tombstones and the state are named by, where not their own.
    number: Option<u64>,
    folders: Vec<PathBuf>,
    made: Vec<PathBuf>,
}

impl Target {
    /// The path within the index of a file of the archive, which the manifest names.
    fn name(&self, name: &str) -> String {
        let Some(number) = self.number else { return name.to_owned() };
        match name.split_once('/') {
            Some(("segments", rest)) => match rest.split_once('/') {
                Some((id, file)) => format!("segments/{}/{file}", self.segment(id)),
                None => name.to_owned(),
            },
            Some(("tombstones", rest)) => {
                let id = rest.split_once('.').map_or(rest, |(id, _)| id);
                format!("tombstones/{}.{number:06}", self.segment(id))
            }
            Some(("generations", _)) => format!("generations/{number:06}.state"),
            _ => name.to_owned(),
        }
    }

    fn segment<'a>(&'a self, id: &'a str) -> &'a str {
        self.segments.get(id).map_or(id, String::as_str)
    }

    /// The last part of that path, which the manifest names tombstones and states by.
    fn renamed(&self, folder: &str, file: &FileEntry) -> FileEntry {
        let name = self.name(&format!("{folder}/{}", file.name));
        FileEntry { name: name.rsplit('/').next().unwrap_or_default().to_owned(), ..file.clone() }
    }

    /// Writes a new file, durable but for its folder.
    fn write(&mut self, name: &str, write: impl FnOnce(&mut FileWriter) -> Result<()>) -> Result<()> {
        let path = self.layout.root().join(name);
        self.create_folders(parent(&path))?;
        if fs::symlink_metadata(&path).is_ok() {
            // A restore that was killed left it: nothing that is named has this name.
            remove(&path)?;
        }
        self.made.push(path.clone());
        let mut writer = FileWriter::create(&path)?;
        write(&mut writer)?;
        let (file, ..) = writer.finish()?;
        file.sync_all().map_err(Error::io("fsync", &path))
    }

    fn create_folders(&mut self, folder: &Path) -> Result<()> {
        if folder == self.layout.root() || self.folders.iter().any(|known| known == folder) {
            return Ok(());
        }
        self.create_folders(parent(folder))?;
        if !folder.is_dir() {
            fs::create_dir(folder).map_err(Error::io("create", folder))?;
            self.made.push(folder.to_path_buf());
        }
        self.folders.push(folder.to_path_buf());
        Ok(())
    }

    /// Makes the entries of every folder durable, the innermost first.
    fn synchronise(&self) -> Result<()> {
        self.folders.iter().rev().try_for_each(|folder| sync_directory(folder))?;
        sync_directory(self.layout.root())
    }

    /// Removes what was made.
    fn undo(&self) {
        for path in self.made.iter().rev() {
            let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
            // What cannot be removed is left to the next build.
            let _ = if is_folder { fs::remove_dir(path) } else { fs::remove_file(path) };
        }
    }
}

/// What an archive says beside the files of its generation.
struct Unpacked {
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    calibration: Option<Vec<u8>>,
    contents: Contents,
    archived: Archived,
}

/// Writes the files of an archive, each compared with its hash, into `target`; the manifest and the calibration are only read.
fn unpack(mut archive: Archive<File>, target: &mut Target) -> Result<Unpacked> {
    let path = archive.path.clone();
    let contents = archive.contents().clone();
    let (mut manifest, mut calibration, mut state) = (None, None, None);
    for entry in &contents.files {
        if entry.name == CALIBRATION {
            calibration = Some(held(&mut archive)?);
        } else if entry.name == contents.manifest_name() {
            let bytes = held(&mut archive)?;
            let (read, _) = Manifest::from_bytes(&path, &bytes).map_err(|failure| match failure {
                Error::IndexCorrupt { path, reason } => Error::SnapshotInvalid { path, reason },
                failure => failure,
            })?;
            if read.generation != contents.generation {
                return Err(invalid(&path, format!("its manifest is that of generation {}", read.generation)));
            }
            contents.check_against(&read).map_err(|reason| invalid(&path, reason))?;
            for (place, segment) in read.segments.iter().enumerate().filter(|_| target.number.is_some()) {
                let id = format!("{:06}-{place}", target.number.unwrap_or_default());
                target.segments.insert(segment.id.clone(), id);
            }
            manifest = Some((read, bytes));
        } else if entry.name.starts_with(GENERATIONS) {
            // A state of a lower number stands before the manifest, which says whether it belongs here. There is one at most.
            state = Some((entry.name.clone(), held(&mut archive)?));
        } else if manifest.is_some() {
            let name = target.name(&entry.name);
            target.write(&name, |writer| archive.file(|piece| writer.put(piece)))?;
        } else {
            return Err(invalid(&path, format!("it holds {:?}", entry.name)));
        }
    }
    let archived = Archived {
        generation: contents.generation,
        files: contents.files.len(),
        bytes: archive.bytes,
        hash: archive.hash.clone(),
    };
    archive.end()?;
    let (manifest, manifest_bytes) = manifest.ok_or_else(|| invalid(&path, "it holds no manifest"))?;
    if let Some((name, bytes)) = state {
        let name = target.name(&name);
        target.write(&name, |writer| writer.put(&bytes))?;
    }
    Ok(Unpacked { manifest, manifest_bytes, calibration, contents, archived })
}

/// The next file's bytes.
fn held(archive: &mut Archive<File>) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    archive.file(|piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(bytes)
}

/// Restores into a folder that is not there.
fn restore_beside(archive: Archive<File>, root: &Path) -> Result<(u64, Archived)> {
    let staging = beside(root, ".restoring")?;
    let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
    let above: Vec<&Path> = root.ancestors().skip(1).take_while(is_missing).collect();
    let lock = Layout::new(&staging).stage()?;
    let mut target = target_at(&staging);
    let restored = fill_staging(archive, &mut target).and_then(|archived| {
        fs::rename(&staging, root).map_err(Error::io("rename", &staging))?;
        sync_directory(parent(root))?;
        Ok((archived.generation, archived))
    });
    if restored.is_err() && staging.exists() {
        // What cannot be removed is taken over by the next restore.
        let _ = remove(&staging).and_then(|()| {
            above.iter().try_for_each(|folder| fs::remove_dir(folder).map_err(Error::io("remove", folder)))
        });
    }
    drop(lock);
    restored
}

fn target_at(root: &Path) -> Target {
    Target { layout: Layout::new(root), segments: BTreeMap::new(), number: None, folders: Vec::new(), made: Vec::new() }
}

/// Makes a whole index of an archive in an empty folder, and reads it again from end to end.
fn fill_staging(archive: Archive<File>, target: &mut Target) -> Result<Archived> {
    for folder in [target.layout.generations(), target.layout.segments(), target.layout.tombstones()] {
        target.create_folders(&folder)?;
    }
    let unpacked = unpack(archive, target)?;
    if let Some(bytes) = &unpacked.calibration {
        target.write(CALIBRATION, |writer| writer.put(bytes))?;
    }
    target.write(&unpacked.contents.manifest_name(), |writer| writer.put(&unpacked.manifest_bytes))?;
    target.synchronise()?;
    target.layout.serve_staged(unpacked.manifest.generation, &unpacked.contents.tags)?;
    let generation = Generation::open(target.layout.root())?;
    snapshot::inspect(&generation)?;
    generation.verify()?;
    Ok(unpacked.archived)
}

/// Restores into an index, or into a folder that holds what one may begin with: as its next generation.
fn restore_into(archive: Archive<File>, root: &Path) -> Result<(u64, Archived)> {
    let mut publisher = Publisher::open_over_damage(root)?;
    let mut target = Target { number: Some(publisher.next_generation()), ..target_at(root) };
    let restored = publish_restored(archive, &mut publisher, &mut target);
    if restored.is_err() && Layout::new(root).read_current().map(|(served, _)| served).ok() != target.number {
        target.undo();
    }
    publisher.close();
    restored
}

fn publish_restored(archive: Archive<File>, publisher: &mut Publisher, target: &mut Target) -> Result<(u64, Archived)> {
    let is_first = publisher.current().is_none() && publisher.next_generation() == 1;
    let unpacked = unpack(archive, target)?;
    if let Some(bytes) = unpacked.calibration.as_ref().filter(|_| is_first)
        && !target.layout.root().join(CALIBRATION).exists()
    {
        target.write(CALIBRATION, |writer| writer.put(bytes))?;
    }
    target.synchronise()?;
    let segments = unpacked.manifest.segments.iter().map(|segment| SegmentEntry {
        id: target.segment(&segment.id).to_owned(),
        tombstones: segment.tombstones.as_ref().map(|file| target.renamed("tombstones", file)),
        ..segment.clone()
    });
    let segments = segments.collect();
    let state = unpacked.manifest.state.as_ref().map(|file| target.renamed("generations", file));
    let number = publisher.publish_files(unpacked.manifest.makers, segments, state, |generation| {
        snapshot::inspect(generation)?;
        generation.verify()
    })?;
    for tag in &unpacked.contents.tags {
        // A tag that the index has already stays where it is.
        let _ = target.layout.tag(tag, number, false);
    }
    Ok((number, unpacked.archived))
}

#[cfg(test)]
mod tests;
