//! How long a caller waits for data that is still being loaded. Without a word about it: until the request's own time is over.
//!
//! It lies around the whole request, because every way into memory passes one place, [`super::Vault`]'s, and so no handler
//! can forget it. Only readers may be impatient: what was not read can be asked for again.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::loading::LoadedSoFar;

tokio::task_local! {
    static PATIENCE: Patience;
}

/// How long to wait, and where it is said how far the load was when the time was over.
#[derive(Debug, Clone)]
pub(crate) struct Patience {
    wait: Duration,
    met: Arc<OnceLock<StillLoading>>,
}

/// The data were not there in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StillLoading {
    /// How far it is.
    pub(crate) so_far: LoadedSoFar,
    /// Whether the caller may know how many records there are: an app may see a part of them only.
    pub(crate) may_count: bool,
}

impl Patience {
    pub(crate) fn of(wait: Duration) -> Self {
        Self {
            wait,
            met: Arc::default(),
        }
    }

    /// Runs a request with this patience.
    pub(crate) async fn around<T>(self, request: impl Future<Output = T>) -> T {
        PATIENCE.scope(self, request).await
    }

    /// What the request did not wait for.
    pub(crate) fn met(&self) -> Option<StillLoading> {
        self.met.get().copied()
    }

    /// That of the request under way.
    pub(super) fn current() -> Option<Self> {
        PATIENCE.try_with(Clone::clone).ok()
    }

    /// Waits for a load as long as there is patience; `None` when it is over.
    pub(super) async fn wait_for<T>(
        &self,
        load: impl Future<Output = T>,
        still: impl FnOnce() -> StillLoading,
    ) -> Option<T> {
        match tokio::time::timeout(self.wait, load).await {
            Ok(loaded) => Some(loaded),
            Err(_) => {
                // The first one counts: a request that needs two databases waits for the first.
                let _: Result<(), _> = self.met.set(still());
                None
            }
        }
    }
}
