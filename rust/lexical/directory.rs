//! tantivy's view of a segment: the files that are already mapped, read-only, each block verified before it is handed out.
//!
//! tantivy panics on some damage and answers wrongly on other, so it never sees a byte whose block was not compared with its
//! hash. It asks for ranges through [`FileHandle::read_bytes`], and only the blocks of those are read: of an index's positions
//! and of tantivy's own lists, a question needs next to nothing.

use std::collections::HashMap;
use std::io;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stable_deref_trait::StableDeref;
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{DirectoryLock, FileHandle, Lock, OwnedBytes, WatchCallback, WatchHandle, WritePtr};
use tantivy::{Directory, HasLen, Index, SegmentReader, TantivyError};

use super::LEXICAL_FOLDER;
use crate::error::{Error, Result};
use crate::storage::{BlockFile, Segment};

/// Opens the one tantivy segment in the lexical folder of `segment`.
pub(super) fn open(segment: &Segment, folder: &Path) -> Result<SegmentReader> {
    let files = segment.folder(LEXICAL_FOLDER);
    let files = files.map(|(name, file)| (PathBuf::from(name), BlockHandle(Arc::clone(file)))).collect();
    let index = Index::open(ReadOnlyDirectory(Arc::new(files))).map_err(unreadable(folder))?;
    let segments = index.searchable_segments().map_err(unreadable(folder))?;
    match segments.as_slice() {
        [only] => SegmentReader::open(only).map_err(unreadable(folder)),
        _ => Err(Error::corrupt(folder, format!("it holds {} tantivy segments instead of one", segments.len()))),
    }
}

/// What tantivy could not read, as [`Error::IndexCorrupt`]: of the file whose block did not have its hash, where that is why.
pub(super) fn unreadable<E: Into<TantivyError>>(folder: &Path) -> impl FnOnce(E) -> Error {
    move |failure| {
        let failure = failure.into();
        let source = match &failure {
            TantivyError::IoError(source)
            | TantivyError::OpenReadError(OpenReadError::IoError { io_error: source, .. }) => source.get_ref(),
            _ => None,
        };
        match source.and_then(|source| source.downcast_ref()) {
            Some(Error::IndexCorrupt { path, reason }) => Error::corrupt(path, reason),
            _ => Error::corrupt(folder, failure.to_string()),
        }
    }
}

#[derive(Clone, Debug)]
struct ReadOnlyDirectory(Arc<HashMap<PathBuf, BlockHandle>>);

impl ReadOnlyDirectory {
    fn find(&self, path: &Path) -> Result<&BlockHandle, OpenReadError> {
        self.0.get(path).ok_or_else(|| OpenReadError::FileDoesNotExist(path.to_path_buf()))
    }
}

fn read_only() -> io::Error {
    io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "a published segment is never modified")
}

impl Directory for ReadOnlyDirectory {
    fn get_file_handle(&self, path: &Path) -> Result<Arc<dyn FileHandle>, OpenReadError> {
        self.find(path).map(|file| Arc::new(file.clone()) as Arc<dyn FileHandle>)
    }

    fn delete(&self, path: &Path) -> Result<(), DeleteError> {
        Err(DeleteError::IoError { io_error: Arc::new(read_only()), filepath: path.to_path_buf() })
    }

    fn exists(&self, path: &Path) -> Result<bool, OpenReadError> {
        Ok(self.0.contains_key(path))
    }

    fn open_write(&self, path: &Path) -> Result<WritePtr, OpenWriteError> {
        Err(OpenWriteError::wrap_io_error(read_only(), path.to_path_buf()))
    }

    fn atomic_read(&self, path: &Path) -> Result<Vec<u8>, OpenReadError> {
        let file = self.find(path)?;
        match file.0.all() {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(failure) => Err(OpenReadError::wrap_io_error(io::Error::other(failure), path.to_path_buf())),
        }
    }

    fn atomic_write(&self, _path: &Path, _data: &[u8]) -> io::Result<()> {
        Err(read_only())
    }

    fn sync_directory(&self) -> io::Result<()> {
        Err(read_only())
    }

    fn acquire_lock(&self, _lock: &Lock) -> Result<DirectoryLock, LockError> {
        // Nothing is ever written, so nothing needs to be kept apart.
        Ok(DirectoryLock::from(Box::new(())))
    }

    fn watch(&self, _callback: WatchCallback) -> tantivy::Result<WatchHandle> {
        Ok(WatchHandle::empty())
    }
}

/// A file that hands out verified ranges.
#[derive(Clone, Debug)]
struct BlockHandle(Arc<BlockFile>);

impl HasLen for BlockHandle {
    fn len(&self) -> usize {
        self.0.len()
    }
}

impl FileHandle for BlockHandle {
    fn read_bytes(&self, range: Range<usize>) -> io::Result<OwnedBytes> {
        if range.start > range.end || range.end > self.0.len() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the range leaves the file"));
        }
        self.0.bytes(range.clone()).map_err(io::Error::other)?;
        Ok(OwnedBytes::new(VerifiedRange { file: Arc::clone(&self.0), range }))
    }
}

/// A range of a file, all of whose blocks were verified.
#[derive(Clone, Debug)]
struct VerifiedRange {
    file: Arc<BlockFile>,
    range: Range<usize>,
}

impl Deref for VerifiedRange {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.file.bytes(self.range.clone()).unwrap_or_default()
    }
}

// SAFETY: the bytes are those of a memory map or a heap buffer that the shared `BlockFile` owns and never replaces, and the
// range is never changed, so they stay where they are when the handle moves. What was verified once never fails again.
unsafe impl StableDeref for VerifiedRange {}
