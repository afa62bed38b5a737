//! The way to a verdict: policy, connection (or a record of one), evidence, appraisal.
//!
//! Guarantees: "trusted" rests on an [`Appraised`] alone. Refuses to know how a verdict is shown.

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use adyton_attest::evidence::EvidenceError;
use adyton_attest::observe::{NodeAddress, ObserveError, Patience, observe};
use adyton_attest::record::{MAX_RECORD_BYTES, Record, RecordError};
use adyton_attest::{Appraised, Nonce, Policy, Refusal, appraise, with_causes};

use crate::args::Question;
use crate::{kept, trust};

/// What came out, and what it speaks of.
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    /// What was judged, if it is not a connection of this moment.
    pub(crate) archive: Option<Archive>,
    /// Number of the release manifest that counted.
    pub(crate) manifest_seq: Option<u64>,
}

/// A look at a node that is over.
pub(crate) struct Archive {
    pub(crate) node: String,
    pub(crate) at: SystemTime,
}

/// Whether the node is, or was, what the policy trusts.
pub(crate) enum Verdict {
    /// It is.
    Trusted(Box<Appraised>),
    /// The node showed evidence, and it does not hold.
    NotTrusted(Box<Refusal>),
    /// The node showed something else than evidence.
    NotEvidence(EvidenceError),
    /// There was nothing to judge, or nothing to judge by.
    CouldNotTell(String),
}

impl Judgement {
    pub(crate) fn could_not_tell(why: impl Into<String>) -> Self {
        Self::now(Verdict::CouldNotTell(why.into()))
    }

    fn now(verdict: Verdict) -> Self {
        Self {
            verdict,
            archive: None,
            manifest_seq: None,
        }
    }
}

impl Verdict {
    /// 0 trusted, 1 not trusted, 2 could not tell.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Trusted(_) => ExitCode::SUCCESS,
            Self::NotTrusted(_) | Self::NotEvidence(_) => ExitCode::from(1),
            Self::CouldNotTell(_) => ExitCode::from(2),
        }
    }

    fn of(result: Result<Appraised, Refusal>) -> Self {
        match result {
            Ok(appraised) => Self::Trusted(Box::new(appraised)),
            Err(refusal) => Self::NotTrusted(Box::new(refusal)),
        }
    }
}

/// Asks the node, or reads the record, and judges. The clock is read once the answer is here.
pub(crate) async fn reach(
    question: &Question,
    challenge: Nonce,
    clock: fn() -> SystemTime,
) -> Judgement {
    let policy = match trust::policy(question) {
        Ok(policy) => policy,
        Err(why) => return Judgement::could_not_tell(why),
    };
    let mut judgement = match (&question.evidence, &question.url) {
        (Some(record), _) => look_back(record, &policy),
        (None, Some(url)) => Judgement::now(ask(url, question, &policy, challenge, clock).await),
        (None, None) => Judgement::could_not_tell("there is no node to ask"),
    };
    judgement.manifest_seq = policy.release().map(|release| release.manifest().seq());
    judgement
}

async fn ask(
    url: &str,
    question: &Question,
    policy: &Policy,
    challenge: Nonce,
    clock: fn() -> SystemTime,
) -> Verdict {
    let node: NodeAddress = match url.parse() {
        Ok(node) => node,
        Err(error) => return Verdict::CouldNotTell(with_causes(&error)),
    };
    let observed = match observe(&node, Some(challenge), &Patience::default()).await {
        Ok(observed) => observed,
        Err(ObserveError::Evidence(error)) => return Verdict::NotEvidence(error),
        Err(error) => return Verdict::CouldNotTell(with_causes(&error)),
    };
    let now = clock();
    if let Some(path) = &question.save {
        let record = Record {
            node: url.to_owned(),
            at: now,
            seen: observed.seen.clone(),
            evidence: observed.evidence.clone(),
        };
        if let Err(why) = save(&record, path) {
            return Verdict::CouldNotTell(why);
        }
    }
    Verdict::of(appraise(&observed.evidence, policy, &observed.seen, now))
}

fn save(record: &Record, path: &Path) -> Result<(), String> {
    let cannot =
        |error: &dyn Error| format!("the record {}: {}", path.display(), with_causes(error));
    let bytes = record.to_json().map_err(|error| cannot(&error))?;
    kept::replace(path, &bytes).map_err(|error| cannot(&error))
}

/// Judges a record by the clock of whoever kept it.
fn look_back(path: &Path, policy: &Policy) -> Judgement {
    let cannot = |error: &dyn Error| {
        let why = format!("the record {}: {}", path.display(), with_causes(error));
        Judgement::could_not_tell(why)
    };
    let bytes = match kept::read(path, MAX_RECORD_BYTES) {
        Ok(bytes) => bytes,
        Err(error) => return cannot(&error),
    };
    let record = match Record::from_json(&bytes) {
        Ok(record) => record,
        Err(RecordError::Evidence(error)) => return Judgement::now(Verdict::NotEvidence(error)),
        Err(error) => return cannot(&error),
    };
    let result = appraise(&record.evidence, policy, &record.seen, record.at);
    Judgement {
        verdict: Verdict::of(result),
        archive: Some(Archive {
            node: record.node,
            at: record.at,
        }),
        manifest_seq: None,
    }
}
