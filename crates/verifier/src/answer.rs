//! An answer that was kept, held against the key of a node that was judged.
//!
//! Guarantees: an answer counts only after the verdict on the node does. Refuses to know how the node was judged.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use adyton_attest::fact::moment;
use adyton_attest::signed_answer::{
    MAX_STORED_BYTES, SignedAnswerError, StoredAnswer, VerifiedAnswer, verify,
};
use adyton_attest::{AnswerKey, with_causes};

use crate::kept;
use crate::verdict::Verdict;

/// Whether the node gave the answer.
pub(crate) enum Given {
    /// It did.
    Yes(StoredAnswer, VerifiedAnswer),
    /// The answer proves nothing.
    NotProven(SignedAnswerError),
    /// The node is not trusted, so its signature says nothing.
    NoKey,
    /// There is nothing to judge.
    CouldNotTell(String),
}

/// Holds the file against the key that the verdict is about.
pub(crate) fn given(path: &Path, verdict: &Verdict) -> Given {
    match verdict {
        Verdict::Trusted(appraised) => by_key(path, appraised.answer_key()),
        Verdict::NotTrusted(_) | Verdict::NotEvidence(_) | Verdict::CouldNotTell(_) => Given::NoKey,
    }
}

fn by_key(path: &Path, key: &AnswerKey) -> Given {
    let cannot = |why: String| Given::CouldNotTell(format!("the answer {}: {why}", path.display()));
    let bytes = match kept::read(path, MAX_STORED_BYTES) {
        Ok(bytes) => bytes,
        Err(error) => return cannot(with_causes(&error)),
    };
    match StoredAnswer::from_json(&bytes) {
        Err(error) => cannot(with_causes(&error)),
        Ok(answer) => match verify(&answer, key) {
            Ok(verified) => Given::Yes(answer, verified),
            Err(error) => Given::NotProven(error),
        },
    }
}

impl Given {
    /// Lines for a person, below those about the node.
    pub(crate) fn words(&self) -> String {
        let mut text = String::new();
        // Writing into a String cannot fail.
        let _ = match self {
            Self::Yes(answer, verified) => {
                let nonce = verified.nonce().map_or_else(
                    || "without a challenge".to_owned(),
                    |nonce| format!("to the challenge {nonce:?}"),
                );
                writeln!(
                    text,
                    "SIGNED by this node's key at {} (the node's clock), {nonce}:\n  {} {}, {} bytes asked\n  {}, {} bytes answered",
                    moment(verified.created()),
                    answer.method.escape_debug(),
                    answer.target_uri.escape_debug(),
                    answer.request_body.len(),
                    answer.status,
                    answer.body.len(),
                )
            }
            Self::NotProven(error) => writeln!(text, "NOT PROVEN: {error}."),
            Self::NoKey => writeln!(
                text,
                "NOT PROVEN: the node is not trusted, so its signature says nothing."
            ),
            Self::CouldNotTell(why) => writeln!(text, "COULD NOT TELL: {}.", why.escape_debug()),
        };
        text
    }

    /// As for a node: 0 it did, 1 it is not proven, 2 could not tell.
    pub(crate) fn exit_code(&self, verdict: &Verdict) -> ExitCode {
        match self {
            Self::Yes(..) | Self::NoKey => verdict.exit_code(),
            Self::NotProven(_) => ExitCode::from(1),
            Self::CouldNotTell(_) => ExitCode::from(2),
        }
    }
}
