//! Time as a parameter: tests move it, programs take the system's.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the node takes the time from.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the edge: the one place that asks the system"
        )]
        Self(Arc::new(SystemTime::now))
    }

    /// Any other clock.
    pub fn from_fn(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// What reads this clock, for those who know nothing of this type.
    pub(crate) fn reader(&self) -> Arc<dyn Fn() -> SystemTime + Send + Sync> {
        Arc::clone(&self.0)
    }

    /// Milliseconds since 1970.
    pub(crate) fn unix_millis(&self) -> u64 {
        let since = (self.0)().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// The moment as a name: `20261123T024000Z`. None in years that have none.
    pub(crate) fn name(&self) -> Option<String> {
        let format =
            time::macros::format_description!("[year][month][day]T[hour][minute][second]Z");
        let seconds = i64::try_from(self.unix_seconds()).ok()?;
        let time = time::OffsetDateTime::from_unix_timestamp(seconds).ok()?;
        time.format(format).ok()
    }

    /// Seconds since 1970.
    pub(crate) fn unix_seconds(&self) -> u64 {
        self.unix_millis() / 1_000
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Clock(..)")
    }
}
