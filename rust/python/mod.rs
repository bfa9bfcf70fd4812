//! The border to Python: all of pyo3.
//!
//! One method, [`Border::enter`], carries every call across: it detaches from the interpreter, runs, catches a panic and turns
//! the core's error into the package's. So each function below checks its arguments, crosses once and wraps what comes back.
//! Strings and vectors cross in batches; classes are frozen, and what changes inside them is swapped whole.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::{Error, Result};
use crate::execution;
use crate::records::Id;
use crate::storage;

mod documents;
mod generations;
mod remains;
mod search;
mod vectors;
mod verification;
mod writing;

/// Crossing the border.
trait Border {
    /// Runs `work` without the interpreter's lock and raises what it returns as an error, or panics with, in Python.
    fn enter<T: Send>(self, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T>;

    /// As [`Border::enter`], on the core's thread pool; Ctrl-C stops the work at its next checkpoint.
    fn enter_parallel<T: Send>(self, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T>;

    /// As [`Border::enter_parallel`], with what `state` holds, or [`None`] when it holds nothing; after a panic it holds nothing.
    ///
    /// The calling thread takes the lock. A thread of the pool that waited for it could be the one that has it, since a thread
    /// that waits for part of its work takes up other work.
    fn enter_parallel_with<S: Send, T: Send>(
        self,
        state: &Mutex<Option<S>>,
        work: impl FnOnce(Option<&mut S>) -> Result<T> + Send,
    ) -> PyResult<T>;
}

impl Border for Python<'_> {
    fn enter<T: Send>(self, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
        match self.detach(|| catch_unwind(AssertUnwindSafe(work))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(exception(self, &error)),
            Err(panic) => Err(internal(self, panic.as_ref())),
        }
    }

    fn enter_parallel<T: Send>(self, work: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
        self.enter_parallel_with(&Mutex::new(Some(())), |_| work())
    }

    fn enter_parallel_with<S: Send, T: Send>(
        self,
        state: &Mutex<Option<S>>,
        work: impl FnOnce(Option<&mut S>) -> Result<T> + Send,
    ) -> PyResult<T> {
        let mut interruption = None;
        let outcome = self.enter(|| {
            let interruption = &mut interruption;
            let mut held = hold(state);
            let open = held.as_mut();
            execution::install(
                move || work(open),
                || {
                    // What a signal's handler raises ends the call; only the main thread runs such handlers.
                    if interruption.is_none() {
                        *interruption = Python::attach(|py| py.check_signals().err());
                    }
                    interruption.is_some()
                },
            )
        });
        interruption.map_or(outcome, Err)
    }
}

/// The lock of `state`, which a panic under the lock has emptied: what it held may be half changed.
fn hold<S>(state: &Mutex<Option<S>>) -> MutexGuard<'_, Option<S>> {
    state.lock().unwrap_or_else(|poisoned| {
        let mut held = poisoned.into_inner();
        *held = None;
        state.clear_poison();
        held
    })
}

/// The exception of the package that `error` is.
fn exception(py: Python<'_>, error: &Error) -> PyErr {
    let fields = PyDict::new(py);
    let set = |name: &str, value: String| fields.set_item(name, value);
    let (class, hint, filled) = match error {
        Error::Io { operation, path, source } => {
            let hint = match source.kind() {
                std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
                    "choose a folder that this user may write with --index DIR".to_owned()
                }
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                    "free space on that disk, then run the same command again: the index is as it was".to_owned()
                }
                _ => String::new(),
            };
            (
                "StoreError",
                hint,
                set("path", path.display().to_string()).and_then(|()| set("operation", (*operation).into())),
            )
        }
        Error::IndexNotFound { path } => {
            ("IndexNotFound", "clockify-rag build FOLDER makes one".to_owned(), set("path", path.display().to_string()))
        }
        Error::GenerationNotFound { path, generation } => (
            "GenerationNotFound",
            "clockify-rag generations lists them".to_owned(),
            set("path", path.display().to_string()).and_then(|()| fields.set_item("generation", *generation)),
        ),
        Error::IndexExists { path } => (
            "IndexExists",
            "clockify-rag restore --replace makes the snapshot its next generation".to_owned(),
            set("path", path.display().to_string()),
        ),
        Error::SnapshotInvalid { path, reason } => (
            "SnapshotInvalid",
            "clockify-rag snapshot FILE writes another one from the index".to_owned(),
            set("path", path.display().to_string()).and_then(|()| set("reason", reason.clone())),
        ),
        Error::IndexLocked { path, holder } => (
            "IndexLocked",
            "wait until that build has ended, then run the same command again".to_owned(),
            set("path", path.display().to_string()).and_then(|()| fields.set_item("holder", *holder)),
        ),
        Error::IndexCorrupt { path, reason } => (
            "IndexCorrupt",
            // Nobody is told to remove what may be no index at all, or holds something else.
            match path.ancestors().find(|folder| is_index_alone(folder)) {
                Some(folder) if folder.join("calibration.json").is_file() => {
                    "clockify-rag repair; where that does not help keep calibration.json, remove the rest of the index folder, and \
                     build it again from its sources"
                }
                Some(_) => {
                    "clockify-rag repair; where that does not help remove the index folder and build it again from its sources"
                }
                None => "name the folder of an index with --index DIR",
            }
            .to_owned(),
            set("path", path.display().to_string()).and_then(|()| set("reason", reason.clone())),
        ),
        Error::IndexIncompatible { aspect, found, expected } => (
            "IndexIncompatible",
            if aspect.ends_with("format") && is_newer(found, expected) {
                "pip install --upgrade clockify-rag, or use the version that made it".to_owned()
            } else if aspect.ends_with("format") {
                "use the version of clockify-rag that made the index, or remove its folder and build it again"
                    .to_owned()
            } else {
                "clockify-rag build with the same sources brings the index up to date".to_owned()
            },
            set("aspect", (*aspect).into())
                .and_then(|()| set("found", found.clone()))
                .and_then(|()| set("expected", expected.clone())),
        ),
        Error::ModelInvalid { path, reason } => (
            "InvalidSetting",
            "name a folder that holds model.safetensors and tokenizer.json".to_owned(),
            set("path", path.display().to_string()).and_then(|()| set("reason", reason.clone())),
        ),
        Error::DocumentUnreadable { reason } => ("DocumentUnreadable", String::new(), set("reason", reason.clone())),
        Error::InvalidArgument(_) => ("InvalidSetting", String::new(), Ok(())),
        Error::Cancelled => ("InternalError", String::new(), Ok(())),
    };
    filled.and_then(|()| raise(py, class, error.to_string(), &hint, &fields)).unwrap_or_else(|failure| failure)
}

/// Whether a format is a later one.
fn is_newer(found: &str, expected: &str) -> bool {
    let number = |text: &str| text.parse::<u32>().ok();
    number(found) > number(expected)
}

/// Whether a folder is an index and holds nothing else.
fn is_index_alone(folder: &Path) -> bool {
    folder.join("CURRENT").is_file() && matches!(storage::holds_other_files(folder), Ok(false))
}

/// Whether more lies in a folder than an index consists of.
#[pyfunction]
fn holds_other_files(py: Python<'_>, folder: &str) -> PyResult<bool> {
    py.enter(|| storage::holds_other_files(Path::new(folder)))
}

/// The numbers of all generations that have a manifest, ascending.
#[pyfunction]
fn generation_numbers(py: Python<'_>, folder: &str) -> PyResult<Vec<u64>> {
    py.enter(|| storage::Layout::new(Path::new(folder)).list_generations())
}

/// The exception for a panic, which is a defect of this crate.
fn internal(py: Python<'_>, panic: &(dyn Any + Send)) -> PyErr {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    let message = format!("the core failed, which is a defect of clockify-rag: {text}");
    let hint = "please report it with the command that led to it";
    raise(py, "InternalError", message, hint, &PyDict::new(py)).unwrap_or_else(|failure| failure)
}

fn raise(py: Python<'_>, class: &str, message: String, hint: &str, fields: &Bound<'_, PyDict>) -> PyResult<PyErr> {
    let class = py.import("clockify_rag.errors")?.getattr(class)?;
    fields.set_item("hint", hint)?;
    Ok(PyErr::from_value(class.call((message,), Some(fields))?))
}

/// An id from its 32 hexadecimal digits.
fn parse_id(text: &str) -> PyResult<Id> {
    let digits = Some(text).filter(|text| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()));
    digits.and_then(|digits| u128::from_str_radix(digits, 16).ok()).map(u128::to_be_bytes).ok_or_else(|| {
        let reason = format!("{text:?} is no id: ids have 32 hexadecimal digits");
        Python::attach(|py| exception(py, &Error::InvalidArgument(reason)))
    })
}

/// Sets the size of the process-wide pool.
#[pyfunction]
fn set_threads(threads: usize) {
    execution::set_threads(threads);
}

/// The module `clockify_rag._core`.
#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<documents::Page>()?;
    module.add_class::<documents::Tokenizer>()?;
    module.add_class::<documents::Cutting>()?;
    module.add_function(wrap_pyfunction!(documents::parse, module)?)?;
    module.add_function(wrap_pyfunction!(documents::links, module)?)?;
    module.add_function(wrap_pyfunction!(documents::chunk, module)?)?;
    module.add_function(wrap_pyfunction!(documents::chunk_units, module)?)?;
    module.add_function(wrap_pyfunction!(documents::chunking_fingerprint, module)?)?;
    module.add_function(wrap_pyfunction!(documents::detect_language, module)?)?;
    module.add_function(wrap_pyfunction!(documents::sentence_spans, module)?)?;
    module.add_function(wrap_pyfunction!(documents::line_spans, module)?)?;
    module.add_function(wrap_pyfunction!(documents::block_spans, module)?)?;
    module.add_function(wrap_pyfunction!(documents::word_count, module)?)?;
    module.add_function(wrap_pyfunction!(verification::statements, module)?)?;
    module.add_function(wrap_pyfunction!(documents::analyse, module)?)?;
    module.add_function(wrap_pyfunction!(documents::analyser_fingerprint, module)?)?;
    module.add_function(wrap_pyfunction!(documents::question_terms, module)?)?;
    module.add_class::<verification::Passages>()?;
    module.add_class::<vectors::StaticEmbedder>()?;
    module.add_function(wrap_pyfunction!(vectors::mmr, module)?)?;
    module.add_function(wrap_pyfunction!(vectors::with_titles, module)?)?;
    module.add_function(wrap_pyfunction!(vectors::simd, module)?)?;
    module.add_class::<search::SearchOptions>()?;
    module.add_class::<search::Found>()?;
    module.add_class::<search::Snapshot>()?;
    module.add_class::<writing::Writer>()?;
    module.add_class::<remains::Remains>()?;
    module.add_function(wrap_pyfunction!(generation_numbers, module)?)?;
    module.add_function(wrap_pyfunction!(generations::list_generations, module)?)?;
    module.add("FORMAT", storage::FORMAT)?;
    module.add_function(wrap_pyfunction!(generations::served_generation, module)?)?;
    module.add_function(wrap_pyfunction!(generations::list_tags, module)?)?;
    module.add_function(wrap_pyfunction!(generations::set_tag, module)?)?;
    module.add_function(wrap_pyfunction!(generations::remove_tag, module)?)?;
    module.add_function(wrap_pyfunction!(generations::republish, module)?)?;
    module.add_function(wrap_pyfunction!(generations::collect_generations, module)?)?;
    module.add_function(wrap_pyfunction!(generations::write_snapshot, module)?)?;
    module.add_function(wrap_pyfunction!(generations::restore_snapshot, module)?)?;
    module.add_function(wrap_pyfunction!(holds_other_files, module)?)?;
    module.add_function(wrap_pyfunction!(set_threads, module)?)
}
