//! Long computations, on threads that step back for everything else.
//!
//! Guarantees: a thread that answers somebody's quick request waits for a processor no longer than a computation needs for
//! [`STRIDE`] bytes, whoever's it is: computations have a lower priority, and give way on their own, so that nothing
//! depends on the kernel's slices (some milliseconds, which would be the p99 of another tenant's gets). Refuses to know: whose
//! turn it is (the vault's schedule).

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::Duration;

use adyton_keys::dead_stack::wiped_after;
use rustix::process::{getpriority_process, setpriority_process};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// How far they step back: a tenth of the weight of the others, where a processor is contended for. So they go on.
const STEPS: i32 = 10;

/// The last of Linux's priorities (`setpriority(2)`).
const LAST: i32 = 19;

/// How many bytes a computation reads before it gives way: about a twentieth of a millisecond.
const STRIDE: usize = 64 << 10;

/// Most threads that compute: far more than there are turns, which are what limits them.
const MAX_THREADS: usize = 256;

/// How long a thread waits for the next computation before it ends.
const KEPT: Duration = Duration::from_secs(60);

/// What reading a record costs beside its bytes, as bytes.
const RECORD: usize = 128;

thread_local! {
    /// What may still be read before giving way; `None` on threads that never stepped back.
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The threads that compute: nothing else runs on them, as none of them can step forward again. Lives as long as the process, whose end
/// does not wait for what nobody waits for any more.
static THREADS: OnceLock<Option<Runtime>> = OnceLock::new();

/// Starts a computation that takes long. It goes on if nobody waits for it any more.
pub(crate) fn start<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let work = move || {
        step_back();
        wiped_after(work)
    };
    let threads = THREADS.get_or_init(|| {
        // Only what blocks ever runs on it.
        let mut threads = Builder::new_current_thread();
        threads.max_blocking_threads(MAX_THREADS);
        threads.thread_keep_alive(KEPT).thread_name("computing");
        threads.build().ok()
    });
    match threads {
        Some(threads) => threads.spawn_blocking(work),
        // Without threads of their own they are still computed.
        None => tokio::task::spawn_blocking(work),
    }
}

/// Tells that a record of so many bytes was read. Does nothing but on threads of [`start`].
pub(crate) fn has_read(bytes: usize) {
    let Some(left) = LEFT.get() else { return };
    let left = left.checked_sub(bytes.saturating_add(RECORD));
    if left.is_none() {
        std::thread::yield_now();
    }
    LEFT.set(Some(left.unwrap_or(STRIDE)));
}

/// Once for each thread: no thread can step forward again, and need not, as only what may wait is computed on these.
fn step_back() {
    if LEFT.replace(Some(STRIDE)).is_some() {
        return;
    }
    // On Linux `None` is the calling thread. Where it is refused, work goes on as it would without.
    if let Ok(now) = getpriority_process(None) {
        let _ = setpriority_process(None, (now + STEPS).min(LAST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_computation_steps_back_once_and_its_callers_thread_does_not() {
        let before = getpriority_process(None).unwrap();
        let stepped_back = (before + STEPS).min(LAST);
        for _ in 0..2 {
            let computing = start(|| getpriority_process(None).unwrap());
            assert_eq!(computing.await.unwrap(), stepped_back);
        }
        assert_eq!(getpriority_process(None).unwrap(), before);
    }

    #[tokio::test]
    async fn what_stepped_back_is_nobody_elses_thread() {
        let before = getpriority_process(None).unwrap();
        for _ in 0..16 {
            start(|| ()).await.unwrap();
            let others =
                tokio::task::spawn_blocking(|| (getpriority_process(None).unwrap(), LEFT.get()));
            assert_eq!(others.await.unwrap(), (before, None));
        }
    }

    #[tokio::test]
    async fn a_computation_that_panics_ends_nobody_but_its_caller() {
        let panicked = start(|| panic!("on purpose")).await;
        assert!(panicked.unwrap_err().is_panic());
        assert_eq!(start(|| 7).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn only_a_computation_counts_what_it_read() {
        has_read(usize::MAX);
        assert_eq!(LEFT.get(), None);
        let computing = start(|| {
            has_read(1_000);
            let after_one = LEFT.get();
            has_read(usize::MAX);
            (after_one, LEFT.get())
        });
        let after_one = STRIDE - 1_000 - RECORD;
        assert_eq!(computing.await.unwrap(), (Some(after_one), Some(STRIDE)));
    }
}
