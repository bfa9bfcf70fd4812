//! tantivy's view of a segment: the files that are already mapped, read-only and verified.

use std::collections::HashMap;
use std::io;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stable_deref_trait::StableDeref;
use tantivy::directory::error::{DeleteError, LockError, OpenReadError, OpenWriteError};
use tantivy::directory::{DirectoryLock, FileHandle, Lock, OwnedBytes, WatchCallback, WatchHandle, WritePtr};
use tantivy::{Directory, Index, SegmentReader};

use super::{LEXICAL_FOLDER, unreadable};
use crate::error::{Error, Result};
use crate::storage::{BlockFile, Segment};

/// Opens the one tantivy segment in the lexical folder of `segment`.
pub(super) fn open(segment: &Segment, folder: &Path) -> Result<SegmentReader> {
    let mut files = HashMap::new();
    for (name, file) in segment.folder(LEXICAL_FOLDER) {
        file.all()?;
        files.insert(PathBuf::from(name), VerifiedFile(Arc::clone(file)));
    }
    let index = Index::open(ReadOnlyDirectory(Arc::new(files))).map_err(unreadable(folder))?;
    let segments = index.searchable_segments().map_err(unreadable(folder))?;
    match segments.as_slice() {
        [only] => SegmentReader::open(only).map_err(unreadable(folder)),
        _ => Err(Error::corrupt(folder, format!("it holds {} tantivy segments instead of one", segments.len()))),
    }
}

#[derive(Clone, Debug)]
struct ReadOnlyDirectory(Arc<HashMap<PathBuf, VerifiedFile>>);

impl ReadOnlyDirectory {
    fn find(&self, path: &Path) -> Result<&VerifiedFile, OpenReadError> {
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
        self.find(path).map(|file| file.to_vec())
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

/// A file all of whose blocks have been verified.
#[derive(Clone, Debug)]
struct VerifiedFile(Arc<BlockFile>);

impl Deref for VerifiedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.all().unwrap_or_default()
    }
}

// SAFETY: the bytes are those of a memory map or a heap buffer that the shared `BlockFile` owns and never replaces, so they
// stay where they are when the handle moves.
unsafe impl StableDeref for VerifiedFile {}

impl FileHandle for VerifiedFile {
    fn read_bytes(&self, range: Range<usize>) -> io::Result<OwnedBytes> {
        if range.start > range.end || range.end > self.0.len() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the range leaves the file"));
        }
        Ok(OwnedBytes::new(self.clone()).slice(range))
    }
}
