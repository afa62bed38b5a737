//! How long a grant lives, for who does something under it that lasts.

use std::fmt;
use std::future::pending;
use std::time::{Duration, SystemTime};

use adyton_client::clock::Clock;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::store::GrantError;

/// A grant's life. Holds nothing of the token and nothing of the session.
#[derive(Clone)]
pub struct GrantLife {
    id: Uuid,
    revoked: CancellationToken,
    expires: SystemTime,
    clock: Clock,
}

impl GrantLife {
    pub(super) fn new(
        id: Uuid,
        revoked: CancellationToken,
        expires: SystemTime,
        clock: Clock,
    ) -> Self {
        Self {
            id,
            revoked,
            expires,
            clock,
        }
    }

    /// Names the grant; not secret.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Why the grant has ended, if it has.
    pub fn end(&self) -> Option<GrantError> {
        if self.revoked.is_cancelled() {
            return Some(GrantError::Revoked);
        }
        (self.clock.now() >= self.expires).then_some(GrantError::Expired)
    }

    /// Ready when the grant is revoked or expires.
    pub async fn ended(&self) -> GrantError {
        let left = self.expires.duration_since(self.clock.now());
        let expiry = async {
            match left {
                // Further away than timers go.
                Ok(left) if left > LONGEST_TIMER => pending().await,
                Ok(left) => tokio::time::sleep(left).await,
                Err(_) => {}
            }
        };
        tokio::select! {
            () = self.revoked.cancelled() => GrantError::Revoked,
            () = expiry => GrantError::Expired,
        }
    }
}

/// Nothing under a grant lasts so long without asking again.
const LONGEST_TIMER: Duration = Duration::from_secs(365 * 24 * 3600);

impl fmt::Debug for GrantLife {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrantLife(..)")
    }
}
