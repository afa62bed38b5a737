//! Request bodies, read under limits: bytes of one body, bytes of all bodies together, time without progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body::Body as _;
use http_body_util::BodyExt;
use hyper::body::{Buf, Incoming};

/// Bytes of request bodies in memory, over all connections.
#[derive(Debug, Clone)]
pub(crate) struct BodyBudget {
    used: Arc<AtomicU64>,
    limit: u64,
}

/// A body that was read; it gives its bytes back to the budget when dropped.
#[derive(Debug)]
pub(crate) struct RequestBody {
    bytes: Vec<u8>,
    budget: BodyBudget,
}

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyRefusal {
    #[error("the request body is too large")]
    TooLarge,
    #[error("the server has too many requests in hand")]
    Overloaded,
    #[error("the request body stopped arriving")]
    Stalled,
    #[error("the request body broke off")]
    Broken,
}

impl BodyBudget {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            used: Arc::default(),
            limit,
        }
    }

    fn take(&self, bytes: u64) -> Result<(), BodyRefusal> {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.limit {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(BodyRefusal::Overloaded);
        }
        Ok(())
    }

    /// Reads a whole body of at most `limit` bytes. `stall` is the longest wait for the next piece.
    pub(crate) async fn read(
        &self,
        mut incoming: Incoming,
        limit: usize,
        stall: Duration,
    ) -> Result<RequestBody, BodyRefusal> {
        let announced = incoming.size_hint().exact();
        if announced.is_some_and(|bytes| bytes > limit as u64) {
            return Err(BodyRefusal::TooLarge);
        }
        let mut body = RequestBody {
            bytes: Vec::new(),
            budget: self.clone(),
        };
        loop {
            let frame = tokio::time::timeout(stall, incoming.frame())
                .await
                .map_err(|_| BodyRefusal::Stalled)?;
            let Some(frame) = frame else {
                return Ok(body);
            };
            let Ok(data) = frame.map_err(|_| BodyRefusal::Broken)?.into_data() else {
                continue;
            };
            if body.bytes.len() + data.remaining() > limit {
                return Err(BodyRefusal::TooLarge);
            }
            self.take(data.remaining() as u64)?;
            body.bytes.extend_from_slice(&data);
        }
    }
}

impl RequestBody {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes, to be shared. They count against the budget until the last share is dropped.
    pub(crate) fn into_shared(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for RequestBody {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        self.budget
            .used
            .fetch_sub(self.bytes.len() as u64, Ordering::Relaxed);
    }
}
