//! The core's only error type.
//!
//! One enum, because every error leaves the core through one border and is turned there, exhaustively, into one class of
//! the Python package's error tree. A variant says what failed, on which thing and why; the hint a user can type belongs to
//! the edge that knows the command line.

use std::path::{Path, PathBuf};

/// What can go wrong in the core.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused an operation on a file.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb: `open`, `write`, `fsync`, `rename`.
        operation: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// There is no index at this path.
    #[error("there is no index in {}", path.display())]
    IndexNotFound {
        /// The folder that was to hold the index.
        path: PathBuf,
    },
    /// The index has no generation of that number, or no longer.
    #[error("{} has no generation {generation}", path.display())]
    GenerationNotFound {
        /// The index folder.
        path: PathBuf,
        /// The number.
        generation: u64,
    },
    /// There is an index already where one was to be made.
    #[error("{} holds an index", path.display())]
    IndexExists {
        /// The index folder.
        path: PathBuf,
    },
    /// A file is no snapshot, or not as it was written.
    #[error("{} cannot be restored: {reason}", path.display())]
    SnapshotInvalid {
        /// The file.
        path: PathBuf,
        /// What does not hold.
        reason: String,
    },
    /// Another process is building this index.
    #[error("{} is being built by another process{}", path.display(), holder.map_or_else(String::new, |pid| format!(" (pid {pid})")))]
    IndexLocked {
        /// The index folder.
        path: PathBuf,
        /// The process that holds the lock, where it could be read.
        holder: Option<u32>,
    },
    /// A file of the index is not what was written.
    #[error("{} is corrupt: {reason}", path.display())]
    IndexCorrupt {
        /// The damaged file.
        path: PathBuf,
        /// What does not hold.
        reason: String,
    },
    /// The index was made by another format, analyser or embedder than the one that is to read it.
    #[error("the index's {aspect} is {found}, this engine's is {expected}")]
    IndexIncompatible {
        /// What differs: `format`, `snapshot format`, `analyser` or `embedder`.
        aspect: &'static str,
        /// What the index says.
        found: String,
        /// What the engine can read.
        expected: String,
    },
    /// A model's files are missing or not in the layout that is read.
    #[error("the model in {} cannot be used: {reason}", path.display())]
    ModelInvalid {
        /// The model's folder or file.
        path: PathBuf,
        /// What does not hold.
        reason: String,
    },
    /// A document's bytes cannot be turned into text.
    #[error("the document cannot be read: {reason}")]
    DocumentUnreadable {
        /// What does not hold.
        reason: String,
    },
    /// An argument is outside what the operation is defined for.
    #[error("{0}")]
    InvalidArgument(String),
    /// The caller asked to stop (Ctrl-C, a deadline).
    #[error("cancelled")]
    Cancelled,
}

/// The core's result type.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An [`Error::Io`] for `operation` on `path`; made for `map_err`.
    pub fn io(operation: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { operation, path, source }
    }

    /// An [`Error::IndexCorrupt`] for `path`.
    pub fn corrupt(path: impl AsRef<Path>, reason: impl Into<String>) -> Self {
        Self::IndexCorrupt { path: path.as_ref().to_path_buf(), reason: reason.into() }
    }
}
