//! Request bodies, read under limits: bytes of one body, bytes of all bodies together (with what is made of them), time without
//! progress.

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
    claim: Claim,
}

/// A share of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    bytes: u64,
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

    /// A share of so many bytes.
    pub(crate) fn claim(&self, bytes: u64) -> Result<Claim, BodyRefusal> {
        let mut claim = Claim {
            bytes: 0,
            budget: self.clone(),
        };
        claim.grow(bytes)?;
        Ok(claim)
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
            claim: self.claim(0)?,
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
            body.claim.grow(data.remaining() as u64)?;
            body.bytes.extend_from_slice(&data);
        }
    }
}

impl RequestBody {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// Room for what is made of the body: its documents and, decoded, its attachments are together no longer than it is.
    pub(crate) fn claim_copy(&self) -> Result<Claim, BodyRefusal> {
        self.claim.budget.claim(self.claim.bytes)
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

impl Claim {
    fn grow(&mut self, bytes: u64) -> Result<(), BodyRefusal> {
        let used = &self.budget.used;
        let before = used.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > self.budget.limit {
            used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(BodyRefusal::Overloaded);
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
