//! Tickets: a watch that was opened with a credential, to be fetched once by who cannot send one.
//!
//! A browser's `EventSource` sends no headers, and no credential may stand in a URL. So the watch is opened first, with a
//! credential; what stands in the URL then names that one watch, once, for a minute. Guarantees: a ticket holds nothing of
//! the credential, and whoever finds it afterwards has nothing. Tickets are as few as watches may be open.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64_simd::URL_SAFE_NO_PAD;
use rand_core::{OsRng, RngCore, TryRngCore};
use tokio::time::Instant;

use crate::vault::Watch;

/// How long a ticket waits to be used.
pub(super) const LIFE: Duration = Duration::from_secs(60);
/// Random bytes of a ticket.
const BYTES: usize = 32;
/// The length of its text.
const CHARS: usize = (BYTES * 8).div_ceil(6);

/// The tickets that are not used yet. Each holds its watch's place among all watches, which limits them.
#[derive(Default)]
pub(super) struct Tickets {
    by_hash: Mutex<HashMap<[u8; 32], (Instant, Watch)>>,
}

impl Tickets {
    /// Keeps a watch for whoever brings the ticket.
    pub(super) fn issue(&self, watch: Watch) -> String {
        let mut bytes = [0; BYTES];
        OsRng.unwrap_err().fill_bytes(&mut bytes);
        let ticket = URL_SAFE_NO_PAD.encode_to_string(bytes);
        let until = Instant::now() + LIFE;
        self.lock().insert(hash(&ticket), (until, watch));
        ticket
    }

    /// The watch of a ticket, for the first who brings it in time.
    pub(super) fn take(&self, ticket: &str) -> Option<Watch> {
        if ticket.len() != CHARS {
            return None;
        }
        let (until, watch) = self.lock().remove(&hash(ticket))?;
        (Instant::now() < until).then_some(watch)
    }

    /// Drops the watches that nobody came for, and those that have ended meanwhile.
    pub(super) fn clear_up(&self) {
        let now = Instant::now();
        self.lock()
            .retain(|_, (until, watch)| now < *until && !watch.has_ended());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], (Instant, Watch)>> {
        self.by_hash.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Found by its hash: how long a comparison takes says nothing about a ticket.
fn hash(ticket: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, ticket.as_bytes()).as_ref());
    hash
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(..)")
    }
}
