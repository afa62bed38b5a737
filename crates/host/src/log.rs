//! Lines for the operator. What is written here is about this program and its enclave; no address, no content.

use std::fmt;
use std::io::{self, Write as _};
use std::sync::Arc;

/// Where lines go. Cheap to clone.
#[derive(Clone)]
pub struct Log(Arc<dyn Fn(&str) + Send + Sync>);

impl Log {
    /// To standard error.
    #[must_use]
    pub fn stderr() -> Self {
        // Nobody is left to tell if this fails.
        Self::of(|line| drop(writeln!(io::stderr(), "{line}")))
    }

    /// To whoever wants them.
    pub fn of(write: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(write))
    }

    /// One line.
    pub fn say(&self, line: &str) {
        (self.0)(line);
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Log")
    }
}
