//! How long a grant lives, for who does something under it that lasts.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::grant::GrantError;
use super::store::NeverBack;

/// A grant's life. Holds nothing of the token and nothing of the session.
#[derive(Clone)]
pub struct GrantLife {
    id: Uuid,
    revoked: CancellationToken,
    expires: SystemTime,
    clock: Arc<NeverBack>,
    /// When it expires if nobody touches the clock: setting it back prolongs nothing. None: further away than timers go.
    until: Option<Instant>,
}

impl GrantLife {
    pub(super) fn new(
        id: Uuid,
        revoked: CancellationToken,
        expires: SystemTime,
        clock: Arc<NeverBack>,
    ) -> Self {
        let left = expires.duration_since(clock.now()).unwrap_or_default();
        Self {
            id,
            revoked,
            expires,
            until: Instant::now().checked_add(left),
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
        let is_late = self.until.is_some_and(|until| Instant::now() >= until);
        (is_late || self.clock.now() >= self.expires).then_some(GrantError::Expired)
    }

    /// Ready when the grant is revoked or expires.
    pub async fn ended(&self) -> GrantError {
        let expiry = async {
            match self.until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.revoked.cancelled() => GrantError::Revoked,
            () = expiry => GrantError::Expired,
        }
    }
}

impl fmt::Debug for GrantLife {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrantLife(..)")
    }
}
