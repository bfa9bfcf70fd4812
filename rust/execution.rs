//! One process-wide thread pool, owned by the core.
//!
//! It is created when it is first needed, so that a program that only searches pays nothing, and created again in a child
//! process, because threads do not survive a fork.
//!
//! Long work can be stopped: the thread that waits for it is asked again and again whether it should go on, and the work asks
//! at its [`checkpoint`]s. No signal handler is needed, and work that another thread waits for goes on.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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

/// How much work the pool was given that has not ended.
static GIVEN: AtomicUsize = AtomicUsize::new(0);

/// Work that the pool was given, until it ends, also by a panic.
struct Given;

impl Given {
    fn new() -> Self {
        GIVEN.fetch_add(1, Ordering::Relaxed);
        Self
    }

    /// Only when the pool has nothing to do.
    fn when_idle() -> Option<Self> {
        GIVEN.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed).is_ok().then_some(Self)
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        GIVEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How often the thread that waits is asked whether to go on.
const PATIENCE: Duration = Duration::from_millis(50);

thread_local! {
    /// Set when the work that this thread does should stop.
    static STOPPED: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// Runs `work` on the pool, where parallel iterators use its threads, and stops it at its next [`checkpoint`] once
/// `should_stop`, called on the waiting thread every 50 ms, says so.
///
/// # Errors
/// What `work` returns, and [`Error::InvalidArgument`] when the threads cannot be started.
pub fn install<T: Send>(work: impl FnOnce() -> Result<T> + Send, mut should_stop: impl FnMut() -> bool) -> Result<T> {
    let _given = Given::new();
    let stopped = Arc::new(AtomicBool::new(false));
    let mut outcome = Err(Error::Cancelled);
    let (ended, end) = sync_channel::<()>(0);
    pool()?.in_place_scope(|scope| {
        let (stopped, outcome) = (&stopped, &mut outcome);
        scope.spawn(move |_| {
            // Dropped when the work ends, also by a panic, and the waiting thread is told by that.
            let _ended = ended;
            let _before = Before(STOPPED.replace(Some(Arc::clone(stopped))));
            *outcome = work();
        });
        while end.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            if should_stop() {
                stopped.store(true, Ordering::Relaxed);
            }
        }
    });
    outcome
}

/// Runs `first` on this thread and, when the pool is idle and more than one thread may be used, `second` on the pool at the
/// same time; else one after the other.
///
/// What [`install`] runs is never split so, and its checkpoints stay on its thread.
pub fn beside<A, B: Send>(first: impl FnOnce() -> A, second: impl Fn() -> B + Sync) -> (A, B) {
    let idle = Given::when_idle().and_then(|given| Some((given, pool().ok()?)));
    let Some((_given, pool)) = idle.filter(|(_, pool)| pool.current_num_threads() > 1) else {
        return (first(), second());
    };
    let mut seconds = None;
    let firsts = pool.in_place_scope(|scope| {
        scope.spawn(|_| seconds = Some(second()));
        first()
    });
    (firsts, seconds.unwrap_or_else(second))
}

/// What a thread was asked to stop by before it began this work, put back when the work ends, also by a panic.
struct Before(Option<Arc<AtomicBool>>);

impl Drop for Before {
    fn drop(&mut self) {
        STOPPED.set(self.0.take());
    }
}

/// Where work asks whether it should go on.
///
/// Only the thread that [`install`] started the work on knows the answer. In the closures of parallel iterators, which run on
/// other threads, this never stops anything: ask between batches.
///
/// # Errors
/// [`Error::Cancelled`] when it should not.
pub fn checkpoint() -> Result<()> {
    let stopped = STOPPED.with_borrow(|stopped| stopped.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed)));
    if stopped { Err(Error::Cancelled) } else { Ok(()) }
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
        assert_eq!(install(|| Ok(rayon::current_num_threads()), || false).unwrap(), 3);
        set_threads(0);
        assert!(install(|| Ok(rayon::current_num_threads()), || false).unwrap() >= 1);
    }

    #[test]
    fn work_stops_at_a_checkpoint_and_other_work_goes_on() {
        let endless = || -> Result<()> {
            loop {
                checkpoint()?;
                std::thread::yield_now();
            }
        };
        assert!(matches!(install(endless, || true), Err(Error::Cancelled)));
        assert_eq!(install(|| checkpoint().map(|()| 7), || true).unwrap(), 7);
        checkpoint().unwrap();
    }

    #[test]
    fn work_beside_other_work_is_done_whatever_the_pool_does() {
        let both = || beside(|| 1, || 2);
        assert_eq!(both(), (1, 2));
        assert_eq!(install(|| Ok(both()), || false).unwrap(), (1, 2));
        assert!(std::panic::catch_unwind(|| beside(|| 1, || -> u8 { panic!("said") })).is_err());
        assert_eq!(both(), (1, 2));
    }

    #[test]
    fn a_panic_reaches_who_waits() {
        let panicked = std::panic::catch_unwind(|| install(|| -> Result<()> { panic!("said") }, || false));
        assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"said"));
        install(checkpoint, || false).unwrap();
    }

    #[test]
    fn a_panic_leaves_no_thread_stopped() {
        let until_stopped = || -> Result<()> {
            while checkpoint().is_ok() {
                std::thread::yield_now();
            }
            panic!("stopped")
        };
        assert!(std::panic::catch_unwind(|| install(until_stopped, || true)).is_err());
        assert!(pool().unwrap().broadcast(|_| checkpoint().is_ok()).into_iter().all(|goes_on| goes_on));
    }
}
