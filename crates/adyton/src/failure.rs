//! What went wrong, and what the person at the keyboard can do about it.

use std::fmt;

use adyton_attest::with_causes;

/// The end of a command that did not work. Holds no secrets: it is printed.
#[derive(Debug)]
pub struct Failure {
    message: String,
    hint: Option<String>,
    status: u8,
}

/// A command did not work.
const NOT_DONE: u8 = 1;
/// It worked, and found that something does not hold. (2 is for wrong arguments.)
const DOES_NOT_HOLD: u8 = 3;

impl Failure {
    /// A failure in words.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            status: NOT_DONE,
        }
    }

    /// What was to be checked does not hold.
    pub fn broken(message: impl Into<String>) -> Self {
        Self {
            status: DOES_NOT_HOLD,
            ..Self::new(message)
        }
    }

    /// The exit status of the program.
    pub fn status(&self) -> u8 {
        self.status
    }

    /// A failure from an error, with what was being done and the causes behind it.
    pub fn of(doing: impl fmt::Display, error: &dyn std::error::Error) -> Self {
        Self::new(format!("{doing}: {}", with_causes(error)))
    }

    /// Says what to do.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// What went wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The failure as one JSON object.
    pub fn to_json(&self) -> String {
        serde_json::json!({ "error": self.message, "hint": self.hint }).to_string()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n hint: {hint}"),
            None => Ok(()),
        }
    }
}
