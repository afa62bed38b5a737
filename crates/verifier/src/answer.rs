//! `answer`: whether a node that the policy trusts gave this answer.
//!
//! 1. The record's evidence is appraised as of the record's moment: it vouches for a key that signs answers.
//! 2. The answer is signed with that key, all of it.
//!
//! Guarantees: without the first step there is no key for the second.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use adyton_attest::fact::moment;
use adyton_attest::record::{MAX_RECORD_BYTES, Record};
use adyton_attest::signed_answer::{self, MAX_STORED_BYTES, StoredAnswer};
use adyton_attest::{Appraised, appraise};

use crate::args::SignedAnswer;
use crate::verdict::with_causes;
use crate::{kept, trust};

/// How it came out.
pub(crate) enum AnswerVerdict {
    /// The node gave this answer.
    Signed,
    /// It did not, or it is not what the policy trusts.
    NotSigned,
    /// There was nothing to judge, or nothing to judge by.
    CouldNotTell,
}

impl AnswerVerdict {
    /// 0 signed, 1 not signed, 2 could not tell.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Signed => ExitCode::SUCCESS,
            Self::NotSigned => ExitCode::from(1),
            Self::CouldNotTell => ExitCode::from(2),
        }
    }
}

/// The verdict and the words for it.
pub(crate) fn judge(signed: &SignedAnswer) -> (AnswerVerdict, String) {
    let read = |path: &Path, limit| kept::read(path, limit).map_err(|error| in_words(path, &error));
    let files = || {
        let policy = trust::read(Some(&signed.policy), signed.manifest.as_deref())?;
        let record = Record::from_json(&read(&signed.evidence, MAX_RECORD_BYTES)?)
            .map_err(|error| in_words(&signed.evidence, &error))?;
        let answer = StoredAnswer::from_json(&read(&signed.file, MAX_STORED_BYTES)?)
            .map_err(|error| in_words(&signed.file, &error))?;
        Ok::<_, String>((policy, record, answer))
    };
    let (policy, record, answer) = match files() {
        Ok(files) => files,
        Err(why) => {
            let text = format!("COULD NOT TELL: {why}.\n");
            return (AnswerVerdict::CouldNotTell, text);
        }
    };
    let appraised = match appraise(&record.evidence, &policy, &record.seen, record.at) {
        Ok(appraised) => appraised,
        Err(refusal) => {
            let text = format!("NOT PROVEN: the node's evidence does not hold: {refusal}.\n");
            return (AnswerVerdict::NotSigned, text);
        }
    };
    match signed_answer::verify(&answer, appraised.answer_key()) {
        Ok(verified) => {
            let text = words(&appraised, &record, &answer, &verified);
            (AnswerVerdict::Signed, text)
        }
        Err(error) => {
            let text = format!("NOT PROVEN: {}.\n", with_causes(&error));
            (AnswerVerdict::NotSigned, text)
        }
    }
}

fn words(
    appraised: &Appraised,
    record: &Record,
    answer: &StoredAnswer,
    verified: &signed_answer::VerifiedAnswer,
) -> String {
    let mut text = format!(
        "{} {} was answered with {}, {} bytes\n",
        answer.method.escape_debug(),
        answer.target_uri.escape_debug(),
        answer.status,
        answer.body.len()
    );
    // Writing into a String cannot fail.
    let _ = writeln!(
        text,
        "  signed at {} by the node's own clock",
        moment(verified.created())
    );
    let _ = match verified.nonce() {
        Some(nonce) => writeln!(text, "  for the asker's nonce \"{}\"", nonce.escape_debug()),
        None => writeln!(
            text,
            "  without a nonce: it may have been given to anyone, at any time"
        ),
    };
    let _ = writeln!(
        text,
        "  with the key that {:?} was found to hold at {}",
        appraised.measurement(),
        moment(record.at)
    );
    let _ = if appraised.is_simulated() {
        writeln!(text, "SIGNED, BUT SIMULATED: it proves nothing.")
    } else {
        writeln!(
            text,
            "SIGNED: the enclave gave this answer to this request."
        )
    };
    text
}

fn in_words(path: &Path, error: &dyn Error) -> String {
    format!("{}: {}", path.display(), with_causes(error))
}
