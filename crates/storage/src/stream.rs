//! Long answers: made in batches on a blocking thread, the next one while the last one is sent.
//!
//! Guarantees: an answer that waits for its reader holds no file, so that nobody keeps others from opening theirs, nor a database from
//! being compacted, by not reading. It goes on in the database that it began in, or ends: not in one that was made anew under its
//! name.

use std::collections::VecDeque;
use std::sync::Arc;

use adyton_couch::seq::Life;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::task::JoinHandle;

use crate::access::Permit;
use crate::databases::{DatabaseError, Databases};
use crate::store::database::DatabaseFile;
use crate::store::{StoreError, blocking};

/// Bytes after which a batch ends. Two batches per answer are in memory at most.
pub(crate) const BATCH_BYTES: usize = 512 << 10;

/// Makes an answer batch by batch. May block.
pub(crate) trait Producer: Send + 'static {
    /// The next pieces, of the database as it is now; none when the answer is complete. It may have been compacted since the last one.
    fn batch(&mut self, file: &Arc<DatabaseFile>) -> Result<Option<Vec<Bytes>>, StoreError>;

    /// Whether it is known that nothing is left: no file is opened to hear it.
    fn is_complete(&self) -> bool;
}

/// Whoever is told an answer.
pub(crate) enum Reader {
    /// Somebody who asked, and may read.
    Caller {
        databases: Arc<Databases>,
        permit: Box<Permit>,
    },
    /// This node, which pushes to another one: it keeps the file open until it has.
    Itself(Arc<DatabaseFile>),
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
            Self::Itself(_) => return true,
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

    /// The file to go on in, if the reader may read.
    async fn file(&mut self, life: Life) -> Result<Arc<DatabaseFile>, StoreError> {
        let (databases, permit) = match self {
            Self::Itself(file) => return Ok(Arc::clone(file)),
            Self::Caller { databases, permit } => (databases, permit),
        };
        match databases.file_again(permit).await {
            Ok(file) if file.life() == life => Ok(file),
            Ok(_) | Err(DatabaseError::Refused(_)) => Err(StoreError::Closed),
            Err(DatabaseError::Store(error)) => Err(error),
        }
    }
}

/// The answer as a stream of pieces, as long as its reader may read: whoever reads slowly is told nothing of what was written after
/// his right ended. The connection is cut then, so that nobody takes a part for the whole. The first batch is made of `file`.
pub(crate) fn produce<P: Producer>(
    producer: P,
    file: Arc<DatabaseFile>,
    reader: Reader,
) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static {
    unfold(
        State {
            life: file.life(),
            ready: VecDeque::new(),
            next: Some(tokio::spawn(Answer { producer, reader }.batch(file))),
        },
        |mut state| async move {
            loop {
                if let Some(piece) = state.ready.pop_front() {
                    return Some((Ok(piece), state));
                }
                let made = state.next.take()?.await;
                let (mut answer, pieces) = match made.unwrap_or(Err(StoreError::Closed)) {
                    Ok((answer, Some(pieces))) => (answer, pieces),
                    Ok((_, None)) => return None,
                    Err(error) => return Some((Err(error), state)),
                };
                if !answer.reader.may_read().await {
                    return Some((Err(StoreError::Closed), state));
                }
                state.ready = pieces.into();
                // While these are sent, the next ones are read.
                let goes_on = !answer.producer.is_complete();
                state.next = goes_on.then(|| tokio::spawn(answer.go_on(state.life)));
            }
        },
    )
}

struct State<P> {
    /// Of the database that is told.
    life: Life,
    ready: VecDeque<Bytes>,
    next: Option<JoinHandle<Result<Made<P>, StoreError>>>,
}

struct Answer<P> {
    producer: P,
    reader: Reader,
}

/// What goes on, and the pieces that were made; none at the end.
type Made<P> = (Answer<P>, Option<Vec<Bytes>>);

impl<P: Producer> Answer<P> {
    async fn batch(mut self, file: Arc<DatabaseFile>) -> Result<Made<P>, StoreError> {
        blocking(move || {
            let pieces = self.producer.batch(&file)?;
            Ok((self, pieces))
        })
        .await
    }

    async fn go_on(mut self, life: Life) -> Result<Made<P>, StoreError> {
        let file = self.reader.file(life).await?;
        self.batch(file).await
    }
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
    use crate::database_record::DatabaseRecord;
    use crate::replicate::News;
    use crate::store::node::NodeStore;

    struct Endless {
        batches: Arc<AtomicUsize>,
    }

    impl Producer for Endless {
        fn batch(&mut self, _: &Arc<DatabaseFile>) -> Result<Option<Vec<Bytes>>, StoreError> {
            self.batches.fetch_add(1, Ordering::SeqCst);
            Ok(Some(vec![
                Bytes::from_static(b"a"),
                Bytes::from_static(b"b"),
            ]))
        }

        fn is_complete(&self) -> bool {
            false
        }
    }

    /// Somebody whose token ends at second ten, in a node whose clock stands at the second that is given.
    struct Reading {
        databases: Arc<Databases>,
        record: DatabaseRecord,
        file: Arc<DatabaseFile>,
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
        let databases = Arc::new(databases);
        let did: Did = format!("did:vda:polamoy:0x{}", "1".repeat(40))
            .parse()
            .unwrap();
        let context = ContextName::new("Test: App").unwrap();
        let name = DatabaseName::new("a").unwrap();
        let record = DatabaseRecord::new(&did, &context, &name, Permissions::default()).unwrap();
        databases.create(record.clone(), 0).await.unwrap();
        let hash = DatabaseHash::of(&did, &context, &name);
        let owner = Principal::User(User {
            did,
            context,
            expires: 10,
        });
        let permit = databases.authorise(&owner, hash).await.unwrap();
        Reading {
            file: databases.file(&permit).await.unwrap(),
            reader: Reader::new(&databases, permit),
            databases,
            record,
            now,
            _dir: dir,
        }
    }

    #[tokio::test]
    async fn whoever_may_not_read_any_more_is_cut_off_within_a_batch() {
        let Reading {
            file,
            reader,
            now,
            _dir,
            ..
        } = reading().await;
        let batches = Arc::new(AtomicUsize::new(0));
        let producer = Endless {
            batches: Arc::clone(&batches),
        };
        let mut stream = pin!(produce(producer, file, reader));
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
    async fn an_answer_does_not_go_on_in_a_database_that_was_made_anew_under_its_name() {
        let batches = Arc::default();
        let Reading {
            databases,
            record,
            file,
            reader,
            _dir,
            ..
        } = reading().await;
        let mut stream = pin!(produce(Endless { batches }, file, reader));
        stream.next().await.unwrap().unwrap();
        let hash = record.database_hash.parse().unwrap();
        assert!(databases.delete(&record.owner, hash).await.unwrap());
        databases.create(record, 0).await.unwrap();
        // What was made before is told.
        let mut told = 0;
        while let Some(Ok(_)) = stream.next().await {
            told += 1;
        }
        assert!(told <= 3, "{told}");
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_reader_who_does_not_read_has_one_batch_made_ahead_and_no_more() {
        let batches = Arc::new(AtomicUsize::new(0));
        let producer = Endless {
            batches: Arc::clone(&batches),
        };
        let Reading {
            file, reader, _dir, ..
        } = reading().await;
        let mut stream = pin!(produce(producer, file, reader));
        for taken in 0..7 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(batches.load(Ordering::SeqCst) <= taken / 2 + 2);
            stream.next().await.unwrap().unwrap();
        }
    }
}
