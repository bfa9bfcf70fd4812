//! One process-wide thread pool, owned by the core.
//!
//! It is created when it is first needed, so that a program that only searches pays nothing, and created again in a child
//! process, because threads do not survive a fork.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::{Error, Result};

struct Owned {
    process: u32,
    threads: usize,
    pool: Arc<ThreadPool>,
}

static POOL: Mutex<Option<Owned>> = Mutex::new(None);
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Sets how many threads the pool has from its next use on; 0 means one for each core that this process may use.
pub fn set_threads(threads: usize) {
    THREADS.store(threads, Ordering::Relaxed);
}

/// Runs `work` on the pool, where parallel iterators use its threads.
///
/// # Errors
/// What `work` returns, and [`Error::InvalidArgument`] when the threads cannot be started.
pub fn install<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    pool()?.install(work)
}

fn pool() -> Result<Arc<ThreadPool>> {
    let (process, threads) = (std::process::id(), THREADS.load(Ordering::Relaxed));
    let mut owned = POOL.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(current) = owned.as_ref().filter(|current| current.process == process && current.threads == threads) {
        return Ok(Arc::clone(&current.pool));
    }
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|number| format!("clockify-rag-{number}"))
        .build()
        .map_err(|failure| Error::InvalidArgument(format!("cannot start {threads} threads: {failure}")))?;
    let pool = Arc::new(pool);
    // A pool of the parent's process is leaked: its threads do not exist here, and joining them would wait for ever.
    if let Some(previous) = owned.replace(Owned { process, threads, pool: Arc::clone(&pool) })
        && previous.process != process
    {
        std::mem::forget(previous);
    }
    Ok(pool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_has_the_threads_that_were_set() {
        set_threads(3);
        assert_eq!(install(|| Ok(rayon::current_num_threads())).unwrap(), 3);
        set_threads(0);
        assert!(install(|| Ok(rayon::current_num_threads())).unwrap() >= 1);
    }
}
