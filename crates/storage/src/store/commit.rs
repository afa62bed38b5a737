//! Group commit: one durable transaction at a time per file, shared by everyone who was waiting for it.
//!
//! 1. A writer queues its work.
//! 2. If nobody is committing, it starts the committer on a blocking thread; else the committer will find the work when its
//!    present transaction is durable.
//! 3. The committer applies all queued work in one transaction and makes it durable.
//! 4. Only then are the writers answered.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use redb::{ReadTransaction, WriteTransaction};
use tokio::sync::{oneshot, watch};

use super::engine::Engine;
use super::{StoreError, blocking};

/// Writers that share one transaction at most. Bounds the time the first of them waits.
const MAX_JOBS_PER_COMMIT: usize = 512;

/// Milliseconds for the thread of the last commit to let go of the file: it does so only after it has answered.
const LETTING_GO_TRIES: u32 = 100;

/// A database file with its queue of writers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Committer {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Engine,
    queue: Mutex<Queue>,
    /// Declared, and so dropped, after the engine: those who listen learn that the file is closed.
    closed: watch::Sender<()>,
    /// And those who listen to another file.
    also: OnceLock<watch::Sender<()>>,
}

#[derive(Default)]
struct Queue {
    /// Bounded by the number of requests that the server admits.
    jobs: VecDeque<Box<dyn Job>>,
    committing: bool,
}

/// One writer's work. `apply` may run once; `settle` tells the writer.
trait Job: Send {
    fn apply(&mut self, transaction: &WriteTransaction) -> Result<(), StoreError>;
    fn settle(self: Box<Self>, outcome: Result<(), StoreError>);
}

struct Pending<T, F, G> {
    work: Option<F>,
    value: Option<T>,
    then: G,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F, G> Job for Pending<T, F, G>
where
    T: Send,
    F: FnOnce(&WriteTransaction) -> Result<T, StoreError> + Send,
    G: FnOnce(&T) + Send,
{
    fn apply(&mut self, transaction: &WriteTransaction) -> Result<(), StoreError> {
        if let Some(work) = self.work.take() {
            self.value = Some(work(transaction)?);
        }
        Ok(())
    }

    fn settle(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self {
            value, reply, then, ..
        } = *self;
        if let (Ok(()), Some(value)) = (&outcome, &value) {
            then(value);
        }
        // A writer that has gone away is not told; its write stands.
        let _gone = reply.send(outcome.and_then(|()| value.ok_or(StoreError::Aborted)));
    }
}

impl Committer {
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            shared: Arc::new(Shared {
                engine,
                queue: Mutex::default(),
                closed: watch::Sender::new(()),
                also: OnceLock::new(),
            }),
        }
    }

    /// From now on those who listen to `first` wait for this file, too.
    pub(crate) fn closes_with(&self, first: &Self) {
        // Once is for ever: a file stays beside the one that it was opened beside.
        let _again = self.shared.also.set(first.shared.closed.clone());
    }

    /// Ends when the file is closed, and those that close with it: when every clone is dropped and the last commit is done.
    pub(crate) fn closed(&self) -> impl Future<Output = ()> + use<> {
        let mut closed = self.shared.closed.subscribe();
        async move { while closed.changed().await.is_ok() {} }
    }

    /// Gives unused bytes back to the file system, unless there is another clone, or somebody reads. May block.
    #[expect(
        clippy::disallowed_methods,
        reason = "on a thread that may block, and for a tenth of a second at most"
    )]
    pub(crate) fn compacted(self) -> (Self, Result<(), StoreError>) {
        let mut held = self.shared;
        let mut tries = 0;
        let mut shared = loop {
            match Arc::try_unwrap(held) {
                Ok(shared) => break shared,
                Err(shared) if tries == LETTING_GO_TRIES => return (Self { shared }, Ok(())),
                Err(shared) => held = shared,
            }
            tries += 1;
            std::thread::sleep(Duration::from_millis(1));
        };
        let done = shared.engine.compact();
        (
            Self {
                shared: Arc::new(shared),
            },
            done,
        )
    }

    /// A consistent view of what is durable.
    pub(crate) fn read(&self) -> Result<ReadTransaction, StoreError> {
        self.shared.engine.read()
    }

    /// Runs `work` in a write transaction and returns when it is durable. `work` must decide everything that may be refused
    /// before it changes anything: an `Err` aborts the transaction for all who share it.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&WriteTransaction) -> Result<T, StoreError> + Send + 'static,
    {
        self.write_then(work, |_| {}).await
    }

    /// The same; `then` is told when it is durable, even if the writer does not wait any more. It must be quick.
    pub(crate) async fn write_then<T, F, G>(&self, work: F, then: G) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&WriteTransaction) -> Result<T, StoreError> + Send + 'static,
        G: FnOnce(&T) + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let start = {
            let mut queue = self.shared.queue();
            queue.jobs.push_back(Box::new(Pending {
                work: Some(work),
                value: None,
                then,
                reply,
            }));
            !std::mem::replace(&mut queue.committing, true)
        };
        if start {
            let shared = Arc::clone(&self.shared);
            // The committer ends by itself when the queue is empty; the runtime joins it at shutdown.
            tokio::task::spawn_blocking(move || shared.commit_all());
        }
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Runs `work` on a thread that may block, with a consistent view.
    pub(crate) async fn view<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&ReadTransaction) -> Result<T, StoreError> + Send + 'static,
    {
        let this = self.clone();
        blocking(move || work(&this.read()?)).await
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Nothing that holds the lock can panic half-way through a change.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit_all(&self) {
        loop {
            let mut jobs: Vec<Box<dyn Job>> = {
                let mut queue = self.queue();
                let count = queue.jobs.len().min(MAX_JOBS_PER_COMMIT);
                if count == 0 {
                    queue.committing = false;
                    return;
                }
                queue.jobs.drain(..count).collect()
            };
            // A bug in a job aborts the transaction for all who share it; those who queue meanwhile must not be told that it was
            // theirs, nor wait for ever.
            let commit = AssertUnwindSafe(|| self.commit(&mut jobs));
            match catch_unwind(commit).unwrap_or(Err(StoreError::Aborted)) {
                Ok(()) => jobs.into_iter().for_each(|job| job.settle(Ok(()))),
                Err(error) => {
                    tracing::error!(%error, "a transaction failed");
                    let full = error.is_full();
                    jobs.into_iter().for_each(|job| {
                        job.settle(Err(match full {
                            true => StoreError::Full,
                            false => StoreError::Aborted,
                        }));
                    });
                    // If it was the disk, readers need not be the ones who find out.
                    if let Err(error) = self.engine.heal() {
                        tracing::error!(%error, "a file could not be opened again");
                    }
                }
            }
        }
    }

    fn commit(&self, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        let transaction = self.engine.write()?;
        for job in jobs {
            job.apply(&transaction)?;
        }
        transaction.commit()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use redb::{ReadableTableMetadata, TableDefinition};

    use super::*;

    const NUMBERS: TableDefinition<'_, u64, u64> = TableDefinition::new("numbers");

    fn committer(dir: &tempfile::TempDir) -> Committer {
        Committer::new(Engine::create(&dir.path().join("test.redb"), 1 << 20).unwrap())
    }

    fn add(n: u64) -> impl FnOnce(&WriteTransaction) -> Result<u64, StoreError> {
        move |transaction| {
            let mut table = transaction.open_table(NUMBERS)?;
            table.insert(n, n)?;
            Ok(table.len()?)
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_writer_of_a_crowd_is_answered_after_its_write_is_visible() {
        let dir = tempfile::tempdir().unwrap();
        let committer = committer(&dir);
        let writers = (0..200).map(|n| {
            let committer = committer.clone();
            tokio::spawn(async move {
                committer.write(add(n)).await.unwrap();
                committer
                    .view(move |view| Ok(view.open_table(NUMBERS)?.get(n)?.is_some()))
                    .await
                    .unwrap()
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            assert!(writer.await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_failed_write_leaves_nothing_and_later_writes_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let committer = committer(&dir);
        committer.write(add(1)).await.unwrap();
        let failed = committer
            .write(|transaction| {
                add(2)(transaction)?;
                Err::<(), _>(StoreError::Corrupt("test"))
            })
            .await;
        assert!(failed.is_err());
        assert_eq!(committer.write(add(3)).await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_panicking_write_does_not_stop_the_queue() {
        let dir = tempfile::tempdir().unwrap();
        let committer = committer(&dir);
        let panicked = committer
            .write(|_| -> Result<(), StoreError> { panic!("a bug in a job") })
            .await;
        assert!(panicked.is_err());
        assert_eq!(committer.write(add(1)).await.unwrap(), 1);
    }
}
