//! A verdict in plain words, or as JSON.
//!
//! Guarantees: a simulation is called one at the top and in the verdict. Foreign text was escaped where it was read.

use std::fmt::Write as _;

use adyton_attest::appraise::Reason;
use adyton_attest::fact::{Fact, Outcome};
use adyton_attest::nitro::Pcrs;
use serde::Serialize;

use crate::args::Args;
use crate::verdict::{Verdict, with_causes};

const SIMULATED: &str = "\
************************************************************************
*  SIMULATED: this is not an enclave. Nothing about it is proven,      *
*  and its operator can read everything. Never give it real data.      *
************************************************************************
";

/// Lines for a person.
pub(crate) fn plain(args: &Args, verdict: &Verdict) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _ = write_plain(&mut text, args, verdict);
    text
}

fn write_plain(text: &mut String, args: &Args, verdict: &Verdict) -> std::fmt::Result {
    writeln!(text, "{}", args.url.escape_debug())?;
    if is_simulated(verdict) {
        text.push_str(SIMULATED);
    }
    for fact in facts(verdict) {
        writeln!(text, "  {fact}")?;
    }
    match verdict {
        Verdict::Trusted(appraised) => {
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
            match advice(refusal.reason(), args) {
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

/// What a person can do about it, where the cause may lie with them.
fn advice(reason: &Reason, args: &Args) -> Option<&'static str> {
    match reason {
        Reason::NothingListed | Reason::Measurements => Some(
            "Compare the measurements above with those that were published, or that you built yourself, and list them \
             in a policy.",
        ),
        Reason::Document(_) | Reason::Simulated if args.policy.is_none() => Some(
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
pub(crate) fn json(args: &Args, verdict: &Verdict) -> String {
    let mut report = Report {
        node: &args.url,
        verdict: "could-not-tell",
        simulated: is_simulated(verdict),
        reason: None,
        failed_step: None,
        measurement: None,
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
            report.verdict = "trusted";
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
    simulated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failed_step: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    measurement: Option<&'a str>,
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
