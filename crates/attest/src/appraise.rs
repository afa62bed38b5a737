//! The verdict: numbered steps, each of which the next one needs.
//!
//! Guarantees: an [`Appraised`] exists only if every step held, for the connection that the caller saw and the time it
//! gave. Reviewed as one piece: the steps are the list in `SPEC.md`, and a test deletes each of them.
//! Refuses to know clocks, sockets, files, and every member of the evidence that the document does not vouch for.

mod dstack;

use std::time::{Duration, SystemTime};

pub use self::dstack::DstackReason;

use crate::batch::Challenge;
use crate::binding::{
    AnswerKey, AttestedKeys, Binding, ChannelBinding, ChannelForm, ConfigDigest, HpkeKey, Seen,
    Spki, UserData, UserDataError,
};
use crate::evidence::{Evidence, TeeKind};
use crate::fact::{Fact, Outcome, Step};
use crate::measurement::Measurement;
use crate::nitro::document::DocumentError;
use crate::nitro::pcr::CONFIG_PCR;
use crate::nitro::{Claims, Pcr, Pcrs, RootHash, UnverifiedDocument, VerifiedDocument};
use crate::policy::Policy;
use crate::release::Release;
use crate::words::{foreign, moment, span};

/// Longest that a verdict about a TLS key is used before it is made again.
const MAX_PIN: Duration = Duration::from_secs(3600);

/// The word that every simulation carries in its name.
const SIMULATED: &str = "SIMULATED";

/// Proof that a node is what the policy trusts, on the connection that was seen, at the time that was given.
///
/// No public constructor and no `Clone`: it comes from [`appraise`] alone, so a function that takes one cannot be
/// called without a verdict:
///
/// ```compile_fail,E0451
/// let forged = adyton_attest::Appraised { simulated: false, ..todo!() };
/// ```
#[derive(Debug)]
#[must_use]
pub struct Appraised {
    measurement: String,
    release: Option<Release>,
    config_listed: bool,
    simulated: bool,
    keys: AttestedKeys,
    channel_bound: bool,
    config: String,
    module_id: String,
    issued: SystemTime,
    good_until: SystemTime,
    facts: Vec<Fact>,
}

impl Appraised {
    /// The signed manifest that lists the measurement, if the policy itself does not.
    #[must_use]
    pub fn release(&self) -> Option<&Release> {
        self.release.as_ref()
    }

    /// The name of the measurement that matched, as the policy or the manifest calls it.
    #[must_use]
    pub fn measurement(&self) -> &str {
        &self.measurement
    }

    /// Whether this is a simulation, which proves nothing. A person must be told.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        self.simulated
    }

    /// The TLS key that the evidence vouches for. Further connections to this node must present it.
    #[must_use]
    pub fn spki(&self) -> &Spki {
        &self.keys.tls
    }

    /// The key that this node signs its answers with ([`crate::signed_answer`]).
    #[must_use]
    pub fn answer_key(&self) -> &AnswerKey {
        &self.keys.answer
    }

    /// The key that bodies for this node can be encrypted to.
    #[must_use]
    pub fn hpke_key(&self) -> &HpkeKey {
        &self.keys.hpke
    }

    /// Whether the evidence covers the very connection it was shown on.
    #[must_use]
    pub fn is_channel_bound(&self) -> bool {
        self.channel_bound
    }

    /// The configuration text whose digest the evidence vouches for.
    #[must_use]
    pub fn config(&self) -> &str {
        &self.config
    }

    /// Whether the measurement lists the configuration's register. If not, [`Self::config`] is what the node runs, and
    /// nobody said that it is a good one.
    #[must_use]
    pub fn is_config_listed(&self) -> bool {
        self.config_listed
    }

    /// The enclave's own name.
    #[must_use]
    pub fn module_id(&self) -> &str {
        &self.module_id
    }

    /// When the TEE made the evidence.
    #[must_use]
    pub fn issued(&self) -> SystemTime {
        self.issued
    }

    /// Until when the key may be pinned; then ask again.
    #[must_use]
    pub fn good_until(&self) -> SystemTime {
        self.good_until
    }

    /// One line per step.
    #[must_use]
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }
}

/// Why evidence was refused: the first step that does not hold, and what was found until then.
#[derive(Debug, thiserror::Error)]
#[error("step {} ({step}) does not hold: {reason}", step.number())]
pub struct Refusal {
    step: Step,
    reason: Reason,
    simulated: bool,
    measured: Option<Pcrs>,
    facts: Vec<Fact>,
}

impl Refusal {
    /// The first step that failed.
    #[must_use]
    pub fn step(&self) -> Step {
        self.step
    }

    /// Why it failed.
    #[must_use]
    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// The registers, if a trusted root signed them (steps 1 to 4 held): for a person to compare with what was published.
    #[must_use]
    pub fn measured(&self) -> Option<&Pcrs> {
        self.measured.as_ref()
    }

    /// Whether anything about the evidence says that it is a simulation.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        self.simulated
    }

    /// One line per step, held, failed or not reached.
    #[must_use]
    pub fn facts(&self) -> &[Fact] {
        &self.facts
    }
}

/// The reasons of a [`Refusal`]. Each belongs to one step; the fault is the node's, or the policy does not list it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// What only evidence of a dstack guest can be refused for.
    #[error(transparent)]
    Dstack(Box<DstackReason>),
    /// Steps 1 to 4.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// Step 3: a simulation, and the policy does not say `allow_simulated = true`.
    #[error(
        "this is a SIMULATED enclave, which proves nothing, and the policy does not allow simulations"
    )]
    Simulated,
    /// Step 5.
    #[error("the document is {} old, the policy allows {}", span(*age), span(*allowed))]
    Stale {
        /// Its age.
        age: Duration,
        /// The policy's limit.
        allowed: Duration,
    },
    /// Step 5.
    #[error("the document is from {} in the future, the policy allows {}", span(*ahead), span(*allowed))]
    Future {
        /// How far ahead.
        ahead: Duration,
        /// The policy's limit.
        allowed: Duration,
    },
    /// Step 6.
    #[error(
        "pcr {index} is zero or missing: the enclave runs in debug mode, its operator can read its memory"
    )]
    Debug {
        /// The register.
        index: u8,
    },
    /// Step 7, with an empty policy.
    #[error("the policy lists no measurement, so it trusts no enclave")]
    NothingListed,
    /// Step 7.
    #[error("the measurements are none of those that the policy lists")]
    Measurements,
    /// Step 7: only an expired manifest lists the measurements.
    #[error("the manifest that lists these measurements expired at {}", moment(*since))]
    ReleaseExpired {
        /// Its `not_after`.
        since: SystemTime,
    },
    /// Step 8.
    #[error(
        "no challenge was sent, so the document could have been made for anyone, and the policy requires one"
    )]
    NonceRequired,
    /// Step 8.
    #[error("the document does not answer the challenge that was sent")]
    Nonce,
    /// Step 8.
    #[error(
        "the document does not answer the challenge that was sent on this connection: somebody may be in the middle"
    )]
    Batch,
    /// Step 8.
    #[error(
        "the evidence has a batch proof and the document is not shared, or the other way round"
    )]
    BatchForm,
    /// Step 8.
    #[error("the keys that the node shows are not those that the document vouches for")]
    Keys,
    /// Step 8.
    #[error("the document vouches for another tls key than this connection's")]
    TlsKey,
    /// Step 8.
    #[error("the document vouches for no connection, and the policy requires that it does")]
    ChannelRequired,
    /// Step 8.
    #[error(
        "the document vouches for another connection or key than this one: somebody may be in the middle"
    )]
    Channel,
    /// Step 8.
    #[error(transparent)]
    UserData(#[from] UserDataError),
    /// Step 8.
    #[error("the document has no user data")]
    NoUserData,
    /// Step 8.
    #[error("the configuration that the node shows is not the one the document vouches for")]
    Configuration,
    /// Step 8.
    #[error("pcr {CONFIG_PCR} does not hold the configuration that the document vouches for")]
    ConfigurationPcr,
}

/// Appraises evidence.
///
/// Pure: the same arguments give the same verdict. `seen` is what the caller saw on its own connection, `now` its own
/// clock. On failure the steps after the fourth are still reported (each is checked on a document that a trusted root
/// signed), but the first failure is the verdict.
///
/// # Errors
/// [`Refusal`] names the first step that does not hold.
pub fn appraise(
    evidence: &Evidence,
    policy: &Policy,
    seen: &Seen,
    now: SystemTime,
) -> Result<Appraised, Refusal> {
    match evidence.tee {
        TeeKind::AwsNitro | TeeKind::SimulatedNitro => {}
        TeeKind::DstackTdx => return dstack::appraise(evidence, policy, seen, now),
    }
    let mut report = Report {
        facts: Vec::new(),
        failure: None,
        simulated: evidence.tee == TeeKind::SimulatedNitro,
    };

    // 1 to 4. The document is genuine: nothing later means anything otherwise.
    let Some(document) = read_document(evidence, policy, now, &mut report) else {
        return Err(report.refuse(None));
    };
    let claims = document.claims();
    let root = document.chain().root();

    // 5. Fresh.
    report.step(Step::Freshness, freshness(claims, policy, seen, now));
    // 6. Not in debug mode; before the policy is asked, so that no policy can allow it.
    report.step(Step::Production, production(claims));
    // 7. Measurements that the policy names.
    let listed = report.step(Step::Measurements, measured(claims, root, policy, now));
    // 8. Bound to what the caller saw.
    report.step(Step::Nonce, nonce(evidence, claims, policy, seen));
    report.step(Step::TlsKey, tls_key(claims, seen));
    let user_data = report.step(Step::Channel, channel(evidence, claims, policy, seen));
    report.step(Step::Configuration, configuration(evidence, claims));

    // 9. Only now is anything returned.
    match (report.failure.is_some(), listed, user_data) {
        (false, Some(listed), Some(user_data)) => Ok(Appraised {
            measurement: listed.measurement.name().to_owned(),
            release: listed.release.cloned(),
            config_listed: listed.measurement.pcrs().contains_key(&CONFIG_PCR),
            simulated: report.simulated,
            keys: AttestedKeys {
                tls: seen.spki.clone(),
                answer: user_data.answer,
                hpke: user_data.hpke,
            },
            channel_bound: user_data.channel.is_bound(),
            config: evidence.config.clone(),
            module_id: claims.module_id.clone(),
            issued: claims.issued(),
            good_until: good_until(&document, &listed, now),
            facts: report.facts,
        }),
        _ => Err(report.refuse(Some(claims.pcrs.clone()))),
    }
}

/// Until the pin is too old, or what the verdict rests on expires.
fn good_until(document: &VerifiedDocument, listed: &Listed<'_>, now: SystemTime) -> SystemTime {
    let soonest = document.chain().valid_until().min(now + MAX_PIN);
    listed
        .expiry()
        .map_or(soonest, |expiry| soonest.min(expiry))
}

/// The lines so far, and the first failure among them.
struct Report {
    facts: Vec<Fact>,
    failure: Option<(Step, Reason)>,
    simulated: bool,
}

impl Report {
    /// Writes a step's line and passes on what it found.
    fn step<T>(&mut self, step: Step, result: Result<(T, String), Reason>) -> Option<T> {
        match result {
            Ok((found, says)) => {
                self.facts.push(Fact {
                    step,
                    outcome: Outcome::Held,
                    says,
                });
                Some(found)
            }
            Err(reason) => {
                self.facts.push(Fact {
                    step,
                    outcome: Outcome::Failed,
                    says: reason.to_string(),
                });
                self.failure.get_or_insert((step, reason));
                None
            }
        }
    }

    fn refuse(mut self, measured: Option<Pcrs>) -> Refusal {
        let reached = self.facts.last().map(|fact| fact.step);
        for step in Step::ALL.into_iter().filter(|step| Some(*step) > reached) {
            let says = "not checked, because an earlier step failed".to_owned();
            self.facts.push(Fact {
                step,
                outcome: Outcome::NotReached,
                says,
            });
        }
        // Without a failure there is an `Appraised`; should that ever be wrong, it is refused all the same.
        let (step, reason) = self
            .failure
            .unwrap_or((Step::Measurements, Reason::Measurements));
        Refusal {
            step,
            reason,
            simulated: self.simulated,
            measured,
            facts: self.facts,
        }
    }
}

/// Steps 1 to 4, with a line each.
fn read_document(
    evidence: &Evidence,
    policy: &Policy,
    now: SystemTime,
    report: &mut Report,
) -> Option<VerifiedDocument> {
    let read = UnverifiedDocument::parse(&evidence.document);
    let envelope = match &read {
        Err(DocumentError::Envelope(error)) => Err(DocumentError::from(error.clone()).into()),
        Ok(_) | Err(_) => Ok((
            (),
            format!(
                "a cose_sign1 document of {} bytes, es384",
                evidence.document.len()
            ),
        )),
    };
    report.step(Step::Envelope, envelope)?;

    let read = read.map_err(Reason::from);
    let document = report.step(
        Step::Claims,
        read.map(|document| {
            let says = format!(
                "all fields in form; module {}",
                foreign(&document.unverified_claims().module_id)
            );
            (document, says)
        }),
    )?;

    // A mark of simulation counts wherever it stands, even on a document that turns out to be false.
    let root = document.unverified_root();
    report.simulated |= document.unverified_claims().module_id.contains(SIMULATED)
        || root.as_ref().is_some_and(|(hash, subject)| {
            subject.contains(SIMULATED)
                || (!hash.is_hardware_vendor() && policy.roots().contains(hash))
        });

    let simulated = report.simulated;
    let verified = document.verify(&policy.roots(), now);
    let chain = match &verified {
        // Whoever signed it: not even the vendor's own root makes anything else of what calls itself a simulation.
        Ok(_) | Err(_) if simulated && !policy.allow_simulated() => Err(Reason::Simulated),
        Err(error @ DocumentError::Signature) => Ok((
            Err(error.clone()),
            "the certificates lead to a trusted root".to_owned(),
        )),
        Err(error) => Err(error.clone().into()),
        Ok(document) => {
            let chain = document.chain();
            let says = format!(
                "{} certificates lead to {} (sha256 {}); all valid until {}",
                chain.length(),
                chain.root_subject(),
                chain.root(),
                moment(chain.valid_until())
            );
            Ok((Ok(()), says))
        }
    };
    let signature = report.step(Step::Chain, chain)?;
    let signature = signature.map_err(Reason::from);
    report.step(
        Step::Signature,
        signature.map(|()| ((), "signed by the key of the last certificate".to_owned())),
    )?;
    verified.ok()
}

/// Step 5.
fn freshness(
    claims: &Claims,
    policy: &Policy,
    seen: &Seen,
    now: SystemTime,
) -> Result<((), String), Reason> {
    let issued = claims.issued();
    let allowed = if seen.nonce.is_some() {
        policy.max_age()
    } else {
        policy.max_cached_age()
    };
    match now.duration_since(issued) {
        Ok(age) if age > allowed => Err(Reason::Stale { age, allowed }),
        Ok(age) => Ok(((), format!("made at {}, {} ago", moment(issued), span(age)))),
        Err(ahead) if ahead.duration() > policy.max_future_skew() => Err(Reason::Future {
            ahead: ahead.duration(),
            allowed: policy.max_future_skew(),
        }),
        Err(_) => Ok(((), format!("made at {}, just now", moment(issued)))),
    }
}

/// Step 6.
fn production(claims: &Claims) -> Result<((), String), Reason> {
    for index in [0, 1, 2] {
        if claims.pcrs.get(&index).is_none_or(Pcr::is_zero) {
            return Err(Reason::Debug { index });
        }
    }
    Ok((
        (),
        "not in debug mode: pcr 0, 1 and 2 are measured".to_owned(),
    ))
}

/// What step 7 found, and whose word it is: the policy's own, or a manifest's.
struct Listed<'a> {
    measurement: &'a Measurement,
    release: Option<&'a Release>,
}

impl Listed<'_> {
    fn expiry(&self) -> Option<SystemTime> {
        self.release?.manifest().not_after()
    }

    fn says(&self) -> String {
        let registers: Vec<String> = self.measurement.pcrs().keys().map(u8::to_string).collect();
        let (name, registers) = (foreign(self.measurement.name()), registers.join(", "));
        match self.release {
            None => format!("\"{name}\": pcr {registers} as the policy lists them"),
            Some(release) => {
                let manifest = release.manifest();
                format!(
                    "\"{name}\": pcr {registers} as the manifest of {} {} lists them (number {}, commit {}, signed by {} \
                     of the policy's release keys)",
                    foreign(manifest.name()),
                    foreign(manifest.release()),
                    manifest.seq(),
                    manifest.commit(),
                    release.signed_by().len()
                )
            }
        }
    }
}

/// Step 7. By value first, so that a manifest cannot take away what the policy itself says.
fn measured<'a>(
    claims: &Claims,
    root: RootHash,
    policy: &'a Policy,
    now: SystemTime,
) -> Result<(Listed<'a>, String), Reason> {
    let (by_value, released) = (policy.nitro(), policy.released_nitro());
    if by_value.is_empty() && released.is_empty() {
        return Err(Reason::NothingListed);
    }
    let find = |listed: &'a [Measurement]| {
        let mut listed = listed.iter();
        listed.find(|measurement| measurement.matches(root, &claims.pcrs))
    };
    let listed = match (find(by_value), find(released)) {
        (Some(measurement), _) => Listed {
            measurement,
            release: None,
        },
        (None, Some(measurement)) => Listed {
            measurement,
            release: policy.release(),
        },
        (None, None) => return Err(Reason::Measurements),
    };
    let expiry = listed
        .release
        .and_then(|release| release.manifest().not_after());
    match expiry.filter(|since| now > *since) {
        Some(since) => Err(Reason::ReleaseExpired { since }),
        None => {
            let says = listed.says();
            Ok((listed, says))
        }
    }
}

/// Step 8a. What many askers share answers a challenge through the tree: the leaf is made of what was sent and seen.
fn nonce(
    evidence: &Evidence,
    claims: &Claims,
    policy: &Policy,
    seen: &Seen,
) -> Result<((), String), Reason> {
    let user_data = claims.user_data.as_deref().map(UserData::parse);
    let batched = matches!(&user_data, Some(Ok(data)) if data.channel == ChannelForm::Batched);
    let (expected, says) = match (batched, &evidence.batch, &seen.nonce) {
        (false, None, None) if policy.require_nonce() => return Err(Reason::NonceRequired),
        (false, None, None) => {
            let says = "no challenge was sent, and the policy requires none";
            return Ok(((), says.to_owned()));
        }
        (false, None, Some(nonce)) => (*nonce, "made for the challenge that was just sent"),
        (true, Some(proof), Some(nonce)) => {
            let challenge = Challenge {
                nonce: *nonce,
                exporter: seen.exporter,
            };
            (
                proof.root(&challenge),
                "made for several challenges, among them the one that was just sent on this connection",
            )
        }
        (true, Some(_), None) => return Err(Reason::NonceRequired),
        (true, None, _) | (false, Some(_), _) => return Err(Reason::BatchForm),
    };
    if claims.nonce.as_deref() == Some(expected.as_bytes()) {
        Ok(((), says.to_owned()))
    } else if batched {
        Err(Reason::Batch)
    } else {
        Err(Reason::Nonce)
    }
}

/// Step 8b.
fn tls_key(claims: &Claims, seen: &Seen) -> Result<((), String), Reason> {
    if claims.public_key.as_deref() == Some(seen.spki.as_der()) {
        Ok((
            (),
            format!(
                "vouches for the tls key of this connection, {}",
                seen.spki.pin()
            ),
        ))
    } else {
        Err(Reason::TlsKey)
    }
}

/// Step 8c: the whole binding is rebuilt from what was seen, and the keys that are shown are those that are signed.
fn channel(
    evidence: &Evidence,
    claims: &Claims,
    policy: &Policy,
    seen: &Seen,
) -> Result<(UserData, String), Reason> {
    let user_data = UserData::parse(claims.user_data.as_deref().ok_or(Reason::NoUserData)?)?;
    if !user_data.channel.is_bound() && policy.require_channel_binding() {
        return Err(Reason::ChannelRequired);
    }
    let (channel, says) = match user_data.channel {
        ChannelForm::Direct => (
            ChannelBinding::TlsExporter(seen.exporter),
            "vouches for this very connection (tls exporter)",
        ),
        ChannelForm::Batched => (
            ChannelBinding::Batch,
            "vouches for this very connection (tls exporter, among those of several askers)",
        ),
        ChannelForm::None => (
            ChannelBinding::None,
            "vouches for no particular connection, and the policy requires none",
        ),
    };
    let keys = AttestedKeys {
        tls: seen.spki.clone(),
        answer: user_data.answer,
        hpke: user_data.hpke,
    };
    if evidence.keys != keys {
        return Err(Reason::Keys);
    }
    let expected = Binding {
        keys,
        channel,
        config: user_data.config,
    };
    if expected.user_data() != user_data {
        return Err(Reason::Channel);
    }
    Ok((user_data, says.to_owned()))
}

/// Step 8d: the shown text has the digest that the document vouches for, and the register agrees where there is one.
fn configuration(evidence: &Evidence, claims: &Claims) -> Result<((), String), Reason> {
    let user_data = UserData::parse(claims.user_data.as_deref().ok_or(Reason::NoUserData)?)?;
    if ConfigDigest::of(&evidence.config) != user_data.config {
        return Err(Reason::Configuration);
    }
    match claims.pcrs.get(&CONFIG_PCR) {
        Some(pcr) if *pcr != Pcr::of_config(&user_data.config) => Err(Reason::ConfigurationPcr),
        Some(_) => Ok((
            (),
            format!(
                "runs the configuration it shows (sha256 {}), measured",
                user_data.config
            ),
        )),
        None => Ok((
            (),
            format!(
                "says it runs the configuration it shows (sha256 {})",
                user_data.config
            ),
        )),
    }
}
