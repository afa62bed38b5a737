//! Long answers: made in batches on a blocking thread, the next one while the last one is sent.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::task::JoinHandle;

use crate::access::Permit;
use crate::databases::Databases;
use crate::store::StoreError;

/// Bytes after which a batch ends. Two batches per answer are in memory at most (and the engine's pages that they lend).
pub(crate) const BATCH_BYTES: usize = 512 << 10;

/// Makes an answer batch by batch. May block.
pub(crate) trait Producer: Send + 'static {
    /// The next pieces; none when the answer is complete.
    fn batch(&mut self) -> Result<Option<Vec<Bytes>>, StoreError>;
}

/// Whoever is told an answer.
pub(crate) enum Reader {
    /// Somebody who asked, and may read.
    Caller {
        databases: Arc<Databases>,
        permit: Box<Permit>,
    },
    /// This node, which pushes to another one.
    Itself,
}

impl Reader {
    pub(crate) fn new(databases: &Arc<Databases>, permit: Permit) -> Self {
        Self::Caller {
            databases: Arc::clone(databases),
            permit: Box::new(permit),
        }
    }

    /// Whether the reader may read at this moment.
    async fn may_read(&mut self) -> bool {
        let (databases, permit) = match self {
            Self::Itself => return true,
            Self::Caller { databases, permit } => (databases, permit),
        };
        match databases.renewed(permit).await {
            Ok(None) => true,
            Ok(Some(again)) => {
                **permit = again;
                true
            }
            Err(_) => false,
        }
    }
}

type Batch<P> = (P, Result<Option<Vec<Bytes>>, StoreError>);

/// The answer as a stream of pieces, as long as its reader may read: whoever reads slowly is told nothing of what was written after
/// his right ended. The connection is cut then, so that nobody takes a part for the whole.
pub(crate) fn produce<P: Producer>(
    producer: P,
    reader: Reader,
) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static {
    unfold(
        State {
            reader,
            ready: VecDeque::new(),
            next: start(producer),
        },
        |mut state| async move {
            loop {
                if let Some(piece) = state.ready.pop_front() {
                    return Some((Ok(piece), state));
                }
                let (producer, batch) = match state.next.take()?.await {
                    Ok(done) => done,
                    Err(_) => return Some((Err(StoreError::Closed), state)),
                };
                match batch {
                    Ok(Some(pieces)) => {
                        if !state.reader.may_read().await {
                            return Some((Err(StoreError::Closed), state));
                        }
                        state.ready = pieces.into();
                        // While these are sent, the next ones are read.
                        state.next = start(producer);
                    }
                    Ok(None) => return None,
                    Err(error) => return Some((Err(error), state)),
                }
            }
        },
    )
}

struct State<P> {
    reader: Reader,
    ready: VecDeque<Bytes>,
    next: Option<JoinHandle<Batch<P>>>,
}

fn start<P: Producer>(mut producer: P) -> Option<JoinHandle<Batch<P>>> {
    Some(tokio::task::spawn_blocking(move || {
        let batch = producer.batch();
        (producer, batch)
    }))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    use std::time::{Duration, UNIX_EPOCH};

    use adyton_protocol::context::ContextName;
    use adyton_protocol::database::{DatabaseHash, DatabaseName, Permissions};
    use adyton_protocol::did::Did;
    use futures_util::StreamExt;

    use super::*;
    use crate::access::{Principal, User};
    use crate::clock::Clock;
    use crate::config::Limits;
    use crate::registry::DatabaseRecord;
    use crate::replicate::News;
    use crate::store::node::NodeStore;

    struct Endless {
        batches: Arc<AtomicUsize>,
    }

    impl Producer for Endless {
        fn batch(&mut self) -> Result<Option<Vec<Bytes>>, StoreError> {
            self.batches.fetch_add(1, Ordering::SeqCst);
            Ok(Some(vec![
                Bytes::from_static(b"a"),
                Bytes::from_static(b"b"),
            ]))
        }
    }

    /// Somebody whose token ends at second ten, in a node whose clock stands at the second that is given.
    struct Reading {
        reader: Reader,
        now: Arc<AtomicU64>,
        _dir: tempfile::TempDir,
    }

    async fn reading() -> Reading {
        let dir = tempfile::tempdir().unwrap();
        let node = NodeStore::open(&dir.path().join("node.redb")).unwrap();
        let directory = dir.path().join("databases");
        std::fs::create_dir(&directory).unwrap();
        let now = Arc::new(AtomicU64::new(0));
        let seconds = Arc::clone(&now);
        let clock = Clock::from_fn(move || {
            UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::SeqCst))
        });
        let databases =
            Databases::new(node, directory, Limits::default(), (clock, News::default()));
        let did: Did = format!("did:vda:polamoy:0x{}", "1".repeat(40))
            .parse()
            .unwrap();
        let context = ContextName::new("Test: App").unwrap();
        let name = DatabaseName::new("a").unwrap();
        let record = DatabaseRecord::new(&did, &context, &name, Permissions::default()).unwrap();
        databases.create(record, 0).await.unwrap();
        let hash = DatabaseHash::of(&did, &context, &name);
        let owner = Principal::User(User {
            did,
            context,
            expires: 10,
        });
        let permit = databases.authorise(&owner, hash).await.unwrap();
        Reading {
            reader: Reader::new(&Arc::new(databases), permit),
            now,
            _dir: dir,
        }
    }

    #[tokio::test]
    async fn whoever_may_not_read_any_more_is_cut_off_within_a_batch() {
        let Reading { reader, now, _dir } = reading().await;
        let batches = Arc::new(AtomicUsize::new(0));
        let producer = Endless {
            batches: Arc::clone(&batches),
        };
        let mut stream = pin!(produce(producer, reader));
        now.store(9, Ordering::SeqCst);
        for _ in 0..4 {
            stream.next().await.unwrap().unwrap();
        }
        now.store(10, Ordering::SeqCst);
        let mut told = 0;
        while let Some(Ok(_)) = stream.next().await {
            told += 1;
        }
        assert!(told < 2, "{told}");
        assert!(batches.load(Ordering::SeqCst) <= 3);
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_reader_who_does_not_read_has_one_batch_made_ahead_and_no_more() {
        let batches = Arc::new(AtomicUsize::new(0));
        let producer = Endless {
            batches: Arc::clone(&batches),
        };
        let Reading { reader, _dir, .. } = reading().await;
        let mut stream = pin!(produce(producer, reader));
        for taken in 0..7 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(batches.load(Ordering::SeqCst) <= taken / 2 + 2);
            stream.next().await.unwrap().unwrap();
        }
    }
}
