//! What a long build is doing, for the person who waits.

use std::io::Write;

/// Where progress is told.
pub struct Progress<'a> {
    to: &'a mut dyn Write,
}

impl<'a> Progress<'a> {
    /// Tells it there, a line each.
    #[must_use]
    pub fn to(to: &'a mut dyn Write) -> Self {
        Self { to }
    }

    /// One step.
    pub fn say(&mut self, step: &str) {
        // Nobody waits if this fails.
        let _ = writeln!(self.to, "{step}");
    }
}
