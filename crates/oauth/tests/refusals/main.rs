//! What is refused, as sentences: each is a case in which an authorization server that says yes loses a user's data.
//!
//! Every module starts from something that is accepted, changes one thing, and names the refusal.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    missing_docs
)]

mod authorization;
mod clients;
mod consents;
mod forms;
mod names;
mod proofs;
mod signed;
mod uris;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adyton_oauth::origin::Origin;

/// A sentence, what happened, and the refusal that must have happened.
pub struct Case {
    pub says: &'static str,
    pub happened: Result<(), String>,
    pub refusal: String,
}

/// A case; the refusal is named by its code or by its `Debug`.
#[allow(
    clippy::needless_pass_by_value,
    reason = "a refusal is written where it is named"
)]
pub fn case<T, E: ToString>(
    says: &'static str,
    happened: Result<T, E>,
    refusal: impl std::fmt::Display,
) -> Case {
    Case {
        says,
        happened: happened.map(|_| ()).map_err(|error| error.to_string()),
        refusal: refusal.to_string(),
    }
}

pub fn origin() -> Origin {
    Origin::parse("https://node.example").unwrap()
}

pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

pub const NOW: u64 = 1_800_000_000;

#[test]
fn everything_that_must_be_refused_is_and_for_the_right_reason() {
    let cases: Vec<Case> = [
        forms::cases(),
        uris::cases(),
        names::cases(),
        clients::cases(),
        authorization::cases(),
        signed::cases(),
        proofs::cases(),
        consents::cases(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let mut wrong = Vec::new();
    for case in &cases {
        if case.happened.as_ref().err() != Some(&case.refusal) {
            wrong.push(format!(
                "{}: {:?}, not {:?}",
                case.says, case.happened, case.refusal
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let sentences: BTreeSet<&str> = cases.iter().map(|case| case.says).collect();
    assert_eq!(sentences.len(), cases.len(), "a sentence stands twice");
    assert!(cases.len() >= 381, "{}", cases.len());
    println!("{} refusals", cases.len());
}
