//! Long answers: made in batches on a blocking thread, the next one while the last one is sent.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::task::JoinHandle;

use crate::store::StoreError;

/// Bytes after which a batch ends. Two batches per answer are in memory at most (and the engine's pages that they lend).
pub(crate) const BATCH_BYTES: usize = 512 << 10;

/// Makes an answer batch by batch. May block.
pub(crate) trait Producer: Send + 'static {
    /// The next pieces; none when the answer is complete.
    fn batch(&mut self) -> Result<Option<Vec<Bytes>>, StoreError>;
}

type Batch<P> = (P, Result<Option<Vec<Bytes>>, StoreError>);

/// The answer as a stream of pieces.
pub(crate) fn produce<P: Producer>(
    producer: P,
) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static {
    unfold(
        State {
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::StreamExt;

    use super::*;

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

    #[tokio::test]
    async fn a_reader_who_does_not_read_has_one_batch_made_ahead_and_no_more() {
        let batches = Arc::new(AtomicUsize::new(0));
        let producer = Endless {
            batches: Arc::clone(&batches),
        };
        let mut stream = pin!(produce(producer));
        for taken in 0..7 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(batches.load(Ordering::SeqCst) <= taken / 2 + 2);
            stream.next().await.unwrap().unwrap();
        }
    }
}
