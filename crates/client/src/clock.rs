//! Time as a parameter: the one place that reads the system clock.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

const MILLISECONDS: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");

/// Tells the time. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// The system's clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the edge where time comes from"
    )]
    pub fn system() -> Self {
        Self(Arc::new(SystemTime::now))
    }

    /// A clock that a test moves.
    pub fn of(read: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The time now.
    pub fn now(&self) -> SystemTime {
        (self.0)()
    }

    /// What reads this clock, for those who know nothing of this type.
    pub fn reader(&self) -> Arc<dyn Fn() -> SystemTime + Send + Sync> {
        Arc::clone(&self.0)
    }

    /// The time now, as a date.
    pub fn date(&self) -> OffsetDateTime {
        self.now().into()
    }

    /// The time now as records write it: `2024-12-01T01:02:03.456Z`.
    pub fn iso(&self) -> String {
        // A valid date always has these components.
        self.date().format(MILLISECONDS).unwrap_or_default()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}
