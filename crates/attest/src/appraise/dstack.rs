//! The verdict about a dstack guest: the same eleven steps, on a quote instead of a Nitro document.
//!
//! Guarantees: the binding is checked by the same code as Nitro's, on the three fields that the quote's report data covers.
//! A quote has no time in it: it is fresh only because it answers a challenge, so without one it is always refused.

use std::time::SystemTime;

use super::{Appraised, MAX_PIN, Reason, Refusal, Report, channel, configuration, nonce, tls_key};
use crate::binding::{AttestedKeys, Seen};
use crate::evidence::Evidence;
use crate::fact::Step;
use crate::nitro::{Claims, Pcrs};
use crate::policy::Policy;
use crate::tdx::Document;

/// Why evidence of a dstack guest was refused, beside what is common to all kinds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DstackReason {
    /// Steps 1 and 2.
    #[error(transparent)]
    Document(#[from] crate::tdx::document::DocumentError),
    /// Step 3: this program was built without what it takes.
    #[error("this program was built without the feature that verifies tdx quotes")]
    NotBuilt,
    /// Step 3: nobody supplied Intel's word about the platform.
    #[error("the evidence comes without intel's collateral, so nothing vouches for the quote")]
    NoCollateral,
    /// Steps 3 and 4.
    #[cfg(feature = "tdx")]
    #[error(transparent)]
    Quote(#[from] crate::tdx::quote::QuoteError),
    /// Step 4: the quote vouches for other bytes than those that the document shows.
    #[error("the quote's report data is not that of the binding and the challenge shown")]
    ReportData,
    /// Step 5.
    #[error("no challenge was sent, and a tdx quote has no time in it: it could be of any age")]
    NoFreshness,
    /// Step 6.
    #[error("the guest is debugged or profiled: its operator can look into its memory")]
    Debug,
    /// Step 7: the log does not give the register.
    #[error("the event log does not give the quote's rtmr3: it is not the log of this guest")]
    Replay,
    /// Step 7.
    #[error(transparent)]
    EventLog(#[from] crate::tdx::event_log::EventLogError),
    /// Step 7: no entry has all of it.
    #[error(
        "none of the policy's entries matches; the nearest, {nearest:?}, has another {differs}; found: {found}"
    )]
    Measurements {
        /// The entry that agrees longest.
        nearest: String,
        /// The first field in which it does not.
        differs: &'static str,
        /// What the quote and the log say.
        found: String,
    },
}

impl From<DstackReason> for Reason {
    fn from(reason: DstackReason) -> Self {
        Self::Dstack(Box::new(reason))
    }
}

/// The verdict about evidence of this kind.
pub(super) fn appraise(
    evidence: &Evidence,
    policy: &Policy,
    seen: &Seen,
    now: SystemTime,
) -> Result<Appraised, Refusal> {
    let mut report = Report {
        facts: Vec::new(),
        failure: None,
        simulated: false,
    };

    // 1 and 2. The parts are there and in form.
    let Some(document) = read_document(evidence, &mut report) else {
        return Err(report.refuse(None));
    };
    // 3 and 4. Intel vouches for the platform, the platform for the quote, and the quote for the binding shown.
    let Some(quote) = verified_quote(evidence, &document, policy, now, &mut report) else {
        return Err(report.refuse(None));
    };
    // What a Nitro document would say in the same place; the quote's report data covers the three fields.
    let claims = Claims {
        module_id: quote.module_id.clone(),
        timestamp_ms: 0,
        pcrs: Pcrs::new(),
        public_key: Some(document.public_key),
        user_data: Some(document.user_data),
        nonce: document.nonce.map(Vec::from),
    };

    // 5. Fresh: only an answered challenge says so.
    report.step(Step::Freshness, freshness(seen, &quote));
    // 6. Not in debug mode; before the policy is asked, so that no policy can allow it.
    report.step(Step::Production, production(&quote));
    // 7. Measurements that the policy names.
    let measurement = report.step(Step::Measurements, quote.measured.clone());
    // 8. Bound to what the caller saw.
    report.step(Step::Nonce, nonce(evidence, &claims, policy, seen));
    report.step(Step::TlsKey, tls_key(&claims, seen));
    let user_data = report.step(Step::Channel, channel(evidence, &claims, policy, seen));
    report.step(Step::Configuration, configuration(evidence, &claims));

    // 9. Only now is anything returned.
    match (report.failure.is_some(), measurement, user_data) {
        (false, Some(measurement), Some(user_data)) => Ok(Appraised {
            measurement: measurement.name,
            release: None,
            config_listed: measurement.config_listed,
            simulated: report.simulated,
            keys: AttestedKeys {
                tls: seen.spki.clone(),
                answer: user_data.answer,
                hpke: user_data.hpke,
            },
            channel_bound: user_data.channel.is_bound(),
            config: evidence.config.clone(),
            module_id: claims.module_id,
            issued: now,
            good_until: quote.valid_until.min(now + MAX_PIN),
            facts: report.facts,
        }),
        _ => Err(report.refuse(None)),
    }
}

/// What the later steps need of a verified quote.
struct Quote {
    module_id: String,
    debug: bool,
    /// The matching entry and its line, or why there is none.
    measured: Result<(Listed, String), Reason>,
    valid_until: SystemTime,
}

/// The entry of the policy that matched.
#[derive(Clone)]
struct Listed {
    name: String,
    config_listed: bool,
}

/// Steps 1 and 2, with a line each.
fn read_document(evidence: &Evidence, report: &mut Report) -> Option<Document> {
    use crate::tdx::document::DocumentError;
    let read = Document::parse(&evidence.document);
    let envelope = match &read {
        Err(error @ (DocumentError::TooLong | DocumentError::NotAMap)) => {
            Err(DstackReason::from(error.clone()).into())
        }
        Ok(_) | Err(_) => Ok((
            (),
            format!("a dstack document of {} bytes", evidence.document.len()),
        )),
    };
    report.step(Step::Envelope, envelope)?;
    let read = read.map_err(|error| DstackReason::from(error).into());
    report.step(
        Step::Claims,
        read.map(|document| {
            let says = format!(
                "all fields in form; a quote of {} bytes, {} events",
                document.quote.len(),
                document.event_log.events().len()
            );
            (document, says)
        }),
    )
}

#[cfg(not(feature = "tdx"))]
fn verified_quote(
    _: &Evidence,
    _: &Document,
    _: &Policy,
    _: SystemTime,
    report: &mut Report,
) -> Option<Quote> {
    report.step(Step::Chain, Err(DstackReason::NotBuilt.into()))
}

/// Steps 3 and 4, with a line each.
#[cfg(feature = "tdx")]
fn verified_quote(
    evidence: &Evidence,
    document: &Document,
    policy: &Policy,
    now: SystemTime,
    report: &mut Report,
) -> Option<Quote> {
    use crate::tdx::quote::VerifiedQuote;
    use crate::tdx::{INTEL_SGX_ROOT, report_data};
    use crate::words::moment;

    let verified = match &document.collateral {
        None => Err(DstackReason::NoCollateral),
        Some(collateral) => {
            VerifiedQuote::verify(&document.quote, collateral, &policy.dstack_roots(), now)
                .map_err(DstackReason::from)
        }
    };
    let chain = verified.map_err(Reason::from).and_then(|verified| {
        let root = verified.root();
        report.simulated |= root != INTEL_SGX_ROOT;
        if report.simulated && !policy.allow_simulated() {
            return Err(Reason::Simulated);
        }
        let advisories = match verified.advisories() {
            [] => String::new(),
            open => format!(", open: {}", crate::words::foreign(&open.join(" "))),
        };
        let says = format!(
            "a tdx quote; its platform's certificates lead to the root (sha256 {root}); all valid until {}; tcb status {}{advisories}",
            moment(verified.valid_until()),
            verified.tcb_status()
        );
        Ok((verified, says))
    });
    let verified = report.step(Step::Chain, chain)?;
    let expected = report_data(&document.user_data, document.nonce.as_ref());
    let signature = if *verified.report_data() == expected {
        Ok((
            (),
            "signed by the quoting enclave; vouches for the binding and the challenge shown"
                .to_owned(),
        ))
    } else {
        Err(DstackReason::ReportData.into())
    };
    report.step(Step::Signature, signature)?;
    let (module_id, measured) = measured(evidence, document, &verified, policy);
    Some(Quote {
        module_id,
        debug: verified.is_under_debug(),
        measured,
        valid_until: verified.valid_until(),
    })
}

/// Step 5.
fn freshness(seen: &Seen, quote: &Quote) -> Result<((), String), Reason> {
    match seen.nonce {
        None => Err(DstackReason::NoFreshness.into()),
        Some(_) => Ok((
            (),
            format!(
                "made after the challenge was sent, if step 8a holds; intel's word holds until {}",
                crate::words::moment(quote.valid_until)
            ),
        )),
    }
}

/// Step 6.
fn production(quote: &Quote) -> Result<((), String), Reason> {
    if quote.debug {
        return Err(DstackReason::Debug.into());
    }
    Ok(((), "not in debug mode".to_owned()))
}

/// Step 7: the log gives the register, and one entry of the policy has all that quote and log say.
#[cfg(feature = "tdx")]
fn measured(
    evidence: &Evidence,
    document: &Document,
    quote: &crate::tdx::quote::VerifiedQuote,
    policy: &Policy,
) -> (String, Result<(Listed, String), Reason>) {
    use crate::policy::FoundGuest;
    use crate::words::foreign;

    let registers = quote.registers();
    let [rtmr0, rtmr1, rtmr2, rtmr3] = registers.rtmr;
    let nameless = "dstack".to_owned();
    if document.event_log.replay() != rtmr3 {
        return (nameless, Err(DstackReason::Replay.into()));
    }
    let application = match document.event_log.application() {
        Ok(application) => application,
        Err(error) => return (nameless, Err(DstackReason::from(error).into())),
    };
    let module_id = format!("dstack app {}", hex::encode(&application.app_id));
    if policy.dstack().is_empty() {
        return (module_id, Err(Reason::NothingListed));
    }
    let found = FoundGuest {
        root: quote.root(),
        mrtd: registers.mrtd,
        rtmr: [rtmr0, rtmr1, rtmr2],
        application: &application,
        tcb_status: quote.tcb_status(),
        config: crate::binding::ConfigDigest::of(&evidence.config),
    };
    let mut nearest: Option<(usize, &str, &'static str)> = None;
    for entry in policy.dstack() {
        let Some((agreed, differs)) = entry.differs(&found) else {
            let says = format!(
                "{:?}: mrtd, rtmr0 to rtmr2 and the compose hash {} as the policy lists them; rtmr3 replayed",
                entry.name(),
                hex::encode(application.compose_hash)
            );
            let listed = Listed {
                name: entry.name().to_owned(),
                config_listed: entry.config().is_some(),
            };
            return (module_id, Ok((listed, says)));
        };
        if nearest.is_none_or(|(before, ..)| agreed > before) {
            nearest = Some((agreed, entry.name(), differs));
        }
    }
    let (_, nearest, differs) = nearest.unwrap_or_default();
    let provider = application.key_provider.as_deref().unwrap_or("none");
    let found = format!(
        "mrtd {} rtmr0 {rtmr0} rtmr1 {rtmr1} rtmr2 {rtmr2} compose_hash {} app_id {} key_provider {} tcb_status {}",
        registers.mrtd,
        hex::encode(application.compose_hash),
        hex::encode(&application.app_id),
        foreign(provider),
        quote.tcb_status()
    );
    let reason = DstackReason::Measurements {
        nearest: nearest.to_owned(),
        differs,
        found,
    };
    (module_id, Err(reason.into()))
}
