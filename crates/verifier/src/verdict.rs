//! The way to a verdict: policy, connection, evidence, appraisal.
//!
//! Guarantees: "trusted" rests on an [`Appraised`] alone. Refuses to know how a verdict is shown.

use std::error::Error;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use adyton_attest::evidence::EvidenceError;
use adyton_attest::observe::{NodeAddress, ObserveError, Patience, observe};
use adyton_attest::policy::MAX_POLICY_BYTES;
use adyton_attest::{Appraised, Nonce, Policy, Refusal, appraise};

use crate::args::Args;

/// What came out.
pub(crate) enum Verdict {
    /// The node is what the policy trusts.
    Trusted(Box<Appraised>),
    /// The node showed evidence, and it does not hold.
    NotTrusted(Box<Refusal>),
    /// The node showed something else than evidence.
    NotEvidence(EvidenceError),
    /// There was nothing to judge, or nothing to judge by.
    CouldNotTell(String),
}

impl Verdict {
    pub(crate) fn could_not_tell(why: impl Into<String>) -> Self {
        Self::CouldNotTell(why.into())
    }

    /// 0 trusted, 1 not trusted, 2 could not tell.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Trusted(_) => ExitCode::SUCCESS,
            Self::NotTrusted(_) | Self::NotEvidence(_) => ExitCode::from(1),
            Self::CouldNotTell(_) => ExitCode::from(2),
        }
    }
}

/// Asks the node and judges the answer. The clock is read once the answer is here.
pub(crate) async fn reach(args: &Args, challenge: Nonce, clock: fn() -> SystemTime) -> Verdict {
    let policy = match policy(args.policy.as_deref()) {
        Ok(policy) => policy,
        Err(why) => return Verdict::CouldNotTell(why),
    };
    let node: NodeAddress = match args.url.parse() {
        Ok(node) => node,
        Err(error) => return Verdict::could_not_tell(with_causes(&error)),
    };
    match observe(&node, Some(challenge), &Patience::default()).await {
        Ok(observed) => match appraise(&observed.evidence, &policy, &observed.seen, clock()) {
            Ok(appraised) => Verdict::Trusted(Box::new(appraised)),
            Err(refusal) => Verdict::NotTrusted(Box::new(refusal)),
        },
        Err(ObserveError::Evidence(error)) => Verdict::NotEvidence(error),
        Err(error) => Verdict::could_not_tell(with_causes(&error)),
    }
}

fn policy(path: Option<&Path>) -> Result<Policy, String> {
    let Some(path) = path else {
        return Ok(Policy::default());
    };
    let cannot =
        |error: &dyn Error| format!("the policy {}: {}", path.display(), with_causes(error));
    // One byte more than allowed, so that a longer file is refused and not cut.
    let mut text = String::new();
    let file = File::open(path).map_err(|error| cannot(&error))?;
    file.take(MAX_POLICY_BYTES as u64 + 1)
        .read_to_string(&mut text)
        .map_err(|error| cannot(&error))?;
    Policy::from_toml(&text).map_err(|error| cannot(&error))
}

/// An error and its causes in one line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !words.ends_with(&next) {
            words.push_str(": ");
            words.push_str(next.trim_end());
        }
        cause = error.source();
    }
    words
}
