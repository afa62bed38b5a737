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
pub(crate) struct Reader {
    databases: Arc<Databases>,
    permit: Permit,
}

impl Reader {
    pub(crate) fn new(databases: &Arc<Databases>, permit: Permit) -> Self {
        Self {
            databases: Arc::clone(databases),
            permit,
        }
    }

    /// Whether the reader may read at this moment.
    async fn may_read(&mut self) -> bool {
        match self.databases.renewed(&self.permit).await {
            Ok(None) => true,
            Ok(Some(again)) => {
                self.permit = again;
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
                        state.ready = pieces.into();
                        if !state.reader.may_read().await {
                            return Some((Err(StoreError::Closed), state));
                        }
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
