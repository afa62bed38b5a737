//! The findings of an appraisal, one line each, for a person to read.
//!
//! Guarantees: every step that was run has a line, held or failed; steps that were not reached say so.
//! Refuses to know colours, terminals and JSON.

use std::fmt;

pub use crate::words::moment;

/// The steps of an appraisal, in their order. The numbers are those of `SPEC.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum Step {
    /// 1. The document is a COSE_Sign1 with ES384 within its size.
    Envelope = 1,
    /// 2. Its payload has exactly the promised fields, within their limits.
    Claims = 2,
    /// 3. Its certificates lead to a root that the policy trusts, and are valid now.
    Chain = 3,
    /// 4. The signature is by the key of the last certificate.
    Signature = 4,
    /// 5. It is neither too old nor from the future.
    Freshness = 5,
    /// 6. The enclave does not run in debug mode.
    Production = 6,
    /// 7. The measurements are ones that the policy names.
    Measurements = 7,
    /// 8a. It answers the challenge that was sent.
    Nonce = 8,
    /// 8b. It vouches for the TLS key of this connection.
    TlsKey = 9,
    /// 8c. It vouches for this very connection.
    Channel = 10,
    /// 8d. It vouches for the configuration that the node shows.
    Configuration = 11,
}

impl Step {
    /// All steps, in order.
    pub const ALL: [Self; 11] = [
        Self::Envelope,
        Self::Claims,
        Self::Chain,
        Self::Signature,
        Self::Freshness,
        Self::Production,
        Self::Measurements,
        Self::Nonce,
        Self::TlsKey,
        Self::Channel,
        Self::Configuration,
    ];

    /// The step's number as people cite it (`8a` … `8d` share the eighth step).
    #[must_use]
    pub fn number(self) -> &'static str {
        match self {
            Self::Envelope => "1",
            Self::Claims => "2",
            Self::Chain => "3",
            Self::Signature => "4",
            Self::Freshness => "5",
            Self::Production => "6",
            Self::Measurements => "7",
            Self::Nonce => "8a",
            Self::TlsKey => "8b",
            Self::Channel => "8c",
            Self::Configuration => "8d",
        }
    }

    /// One word for scripts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Envelope => "envelope",
            Self::Claims => "claims",
            Self::Chain => "chain",
            Self::Signature => "signature",
            Self::Freshness => "freshness",
            Self::Production => "production",
            Self::Measurements => "measurements",
            Self::Nonce => "nonce",
            Self::TlsKey => "tls-key",
            Self::Channel => "channel",
            Self::Configuration => "configuration",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a step came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Held,
    /// It does not hold: the evidence is refused.
    Failed,
    /// An earlier step failed, so there was nothing to check it on.
    NotReached,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Which step.
    pub step: Step,
    /// How it came out.
    pub outcome: Outcome,
    /// What was found, in words; foreign text in it is escaped.
    pub says: String,
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.outcome {
            Outcome::Held => "ok",
            Outcome::Failed => "NO",
            Outcome::NotReached => "--",
        };
        write!(f, "{mark}  {:<13} {}", self.step.name(), self.says)
    }
}
