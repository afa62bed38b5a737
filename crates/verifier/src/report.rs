//! A verdict in plain words, or as JSON.
//!
//! Guarantees: a simulation is called one at the top and in the verdict. Foreign text was escaped where it was read.

use std::fmt::Write as _;

use adyton_attest::Appraised;
use adyton_attest::appraise::Reason;
use adyton_attest::fact::{Fact, Outcome, moment};
use adyton_attest::nitro::Pcrs;
use adyton_attest::release::Release;
use adyton_attest::with_causes;
use serde::Serialize;

use crate::args::Question;
use crate::verdict::{Archive, Judgement, Verdict};

const SIMULATED: &str = "\
************************************************************************
*  SIMULATED: this is not an enclave. Nothing about it is proven,      *
*  and its operator can read everything. Never give it real data.      *
************************************************************************
";

/// Lines for a person.
pub(crate) fn plain(question: &Question, judgement: &Judgement) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = write_plain(&mut text, question, judgement);
    text
}

fn write_plain(text: &mut String, question: &Question, judgement: &Judgement) -> std::fmt::Result {
    let Judgement {
        verdict, archive, ..
    } = judgement;
    match archive {
        None => writeln!(text, "{}", node(question, judgement).escape_debug())?,
        Some(Archive { node, at }) => {
            let at = moment(*at);
            writeln!(text, "{}, as it was looked at {at}", node.escape_debug())?;
            writeln!(
                text,
                "  A record: no node was asked. Its time, key, challenge and connection are the word of whoever kept it."
            )?;
        }
    }
    if is_simulated(verdict) {
        text.push_str(SIMULATED);
    }
    for fact in facts(verdict) {
        writeln!(text, "  {fact}")?;
    }
    match verdict {
        Verdict::Trusted(appraised) => write_trusted(text, appraised, archive.as_ref()),
        Verdict::NotTrusted(refusal) => {
            for (index, pcr) in refusal
                .measured()
                .into_iter()
                .flatten()
                .filter(|(_, pcr)| !pcr.is_zero())
            {
                writeln!(text, "  measured: pcr {index} = {pcr}")?;
            }
            let simulated = if refusal.is_simulated() {
                " (SIMULATED)"
            } else {
                ""
            };
            writeln!(text, "NOT TRUSTED{simulated}: {refusal}.")?;
            match advice(refusal.reason(), question) {
                Some(advice) => writeln!(text, "{advice}"),
                None => writeln!(text, "Send it nothing secret."),
            }
        }
        Verdict::NotEvidence(error) => {
            writeln!(
                text,
                "NOT TRUSTED: the node's answer is no evidence: {}.",
                with_causes(error)
            )?;
            writeln!(text, "Send it nothing secret.")
        }
        Verdict::CouldNotTell(why) => {
            writeln!(text, "COULD NOT TELL: {}.", why.trim_end_matches('.'))
        }
    }
}

fn write_trusted(
    text: &mut String,
    appraised: &Appraised,
    archive: Option<&Archive>,
) -> std::fmt::Result {
    if !appraised.is_config_listed() {
        writeln!(
            text,
            "  note: the policy lists no configuration (pcr 17), so it accepts any; --json shows the one that runs"
        )?;
    }
    match archive {
        Some(_) if appraised.is_simulated() => {
            writeln!(text, "HELD THEN, BUT SIMULATED: it proves nothing.")
        }
        Some(_) => writeln!(
            text,
            "HELD THEN: {:?}, on the connection that the record tells of. This says nothing about the node today.",
            appraised.measurement()
        ),
        None => {
            writeln!(text, "  pin {}", appraised.spki().pin())?;
            if appraised.is_simulated() {
                writeln!(
                    text,
                    "TRUSTED BY THIS POLICY, BUT SIMULATED: it proves nothing."
                )
            } else {
                writeln!(
                    text,
                    "TRUSTED: {:?}, on this connection, with this key.",
                    appraised.measurement()
                )
            }
        }
    }
}

/// Which node the judgement speaks of.
fn node<'a>(question: &'a Question, judgement: &'a Judgement) -> &'a str {
    match &judgement.archive {
        Some(archive) => &archive.node,
        None => question.url.as_deref().unwrap_or("no node"),
    }
}

/// What a person can do about it, where the cause may lie with them.
fn advice(reason: &Reason, question: &Question) -> Option<&'static str> {
    match reason {
        Reason::NothingListed if question.policy.is_some() && question.manifest.is_none() => Some(
            "If the policy names release keys, name a manifest that they signed with --manifest FILE.",
        ),
        Reason::NothingListed | Reason::Measurements => Some(
            "Compare the measurements above with those that were published, or that you built yourself, and list them \
             in a policy.",
        ),
        Reason::Document(_) | Reason::Simulated if question.policy.is_none() => Some(
            "Only AWS's root is trusted without a policy. Name a policy with --policy FILE if you have one.",
        ),
        _ => None,
    }
}

fn is_simulated(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Trusted(appraised) => appraised.is_simulated(),
        Verdict::NotTrusted(refusal) => refusal.is_simulated(),
        Verdict::NotEvidence(_) | Verdict::CouldNotTell(_) => false,
    }
}

fn facts(verdict: &Verdict) -> &[Fact] {
    match verdict {
        Verdict::Trusted(appraised) => appraised.facts(),
        Verdict::NotTrusted(refusal) => refusal.facts(),
        Verdict::NotEvidence(_) | Verdict::CouldNotTell(_) => &[],
    }
}

/// One object for a script.
pub(crate) fn json(question: &Question, judgement: &Judgement) -> String {
    let verdict = &judgement.verdict;
    let archive = judgement.archive.as_ref();
    let mut report = Report {
        node: node(question, judgement),
        verdict: "could-not-tell",
        archive_at_ms: archive.and_then(|archive| milliseconds(archive.at)),
        simulated: is_simulated(verdict),
        reason: None,
        failed_step: None,
        measurement: None,
        manifest_seq: judgement.manifest_seq,
        release: None,
        config_listed: None,
        module_id: None,
        pin: None,
        channel_bound: None,
        config: None,
        issued_ms: None,
        good_until_ms: None,
        measured: None,
        facts: facts(verdict).iter().map(Line::of).collect(),
    };
    match verdict {
        Verdict::Trusted(appraised) => {
            report.verdict = match archive {
                None => "trusted",
                Some(_) => "held-then",
            };
            report.release = appraised.release().map(ReleaseLine::of);
            report.config_listed = Some(appraised.is_config_listed());
            report.measurement = Some(appraised.measurement());
            report.module_id = Some(appraised.module_id());
            report.pin = Some(appraised.spki().pin());
            report.channel_bound = Some(appraised.is_channel_bound());
            report.config = Some(appraised.config());
            report.issued_ms = milliseconds(appraised.issued());
            report.good_until_ms = milliseconds(appraised.good_until());
        }
        Verdict::NotTrusted(refusal) => {
            report.verdict = "not-trusted";
            report.reason = Some(refusal.reason().to_string());
            report.failed_step = Some(refusal.step().name());
            report.measured = refusal.measured().map(registers);
        }
        Verdict::NotEvidence(error) => {
            report.verdict = "not-trusted";
            report.reason = Some(with_causes(error));
        }
        Verdict::CouldNotTell(why) => report.reason = Some(why.clone()),
    }
    let mut text = serde_json::to_string_pretty(&report).unwrap_or_default();
    text.push('\n');
    text
}

#[derive(Serialize)]
struct Report<'a> {
    node: &'a str,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    archive_at_ms: Option<u64>,
    simulated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_step: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    measurement: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<ReleaseLine<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config_listed: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    module_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel_bound: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    good_until_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    measured: Option<std::collections::BTreeMap<u8, String>>,
    facts: Vec<Line<'a>>,
}

/// The manifest on whose word a measurement is trusted.
#[derive(Serialize)]
struct ReleaseLine<'a> {
    name: &'a str,
    release: &'a str,
    seq: u64,
    commit: &'a str,
    signed_by: Vec<String>,
}

impl<'a> ReleaseLine<'a> {
    fn of(release: &'a Release) -> Self {
        let manifest = release.manifest();
        Self {
            name: manifest.name(),
            release: manifest.release(),
            seq: manifest.seq(),
            commit: manifest.commit(),
            signed_by: release
                .signed_by()
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    number: &'static str,
    step: &'static str,
    outcome: &'static str,
    says: &'a str,
}

impl<'a> Line<'a> {
    fn of(fact: &'a Fact) -> Self {
        let outcome = match fact.outcome {
            Outcome::Held => "held",
            Outcome::Failed => "failed",
            Outcome::NotReached => "not-reached",
        };
        Self {
            number: fact.step.number(),
            step: fact.step.name(),
            outcome,
            says: &fact.says,
        }
    }
}

fn registers(pcrs: &Pcrs) -> std::collections::BTreeMap<u8, String> {
    pcrs.iter()
        .map(|(index, pcr)| (*index, pcr.to_string()))
        .collect()
}

fn milliseconds(at: std::time::SystemTime) -> Option<u64> {
    u64::try_from(at.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis()).ok()
}
