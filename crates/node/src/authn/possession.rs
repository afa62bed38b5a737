//! Proofs of possession beside tokens (RFC 9449): checked against the request that brings them, and good once.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use adyton_client::clock::Clock;
use adyton_oauth::dpop::{DpopProof, Expected};
use adyton_oauth::jwk::Thumbprint;
use adyton_oauth::refused::{ErrorCode, Refused};
use adyton_oauth::replay::{OnceId, Replays};
use http::HeaderMap;
use http::request::Parts;

use super::origins::{Origins, called};

/// Most things of each sort that were used and are remembered. Each is forgotten within minutes.
const MAX_USED: usize = 200_000;

/// What can be used once. Each sort has room of its own: anybody can make assertions, and whoever fills their room must not be in the
/// way of those who prove possession of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Once {
    /// A proof beside a live token, a code or a refresh token.
    Proof,
    /// A statement that a client signed.
    Assertion,
    /// A consent in the original's form, with its owner's session.
    Consent,
}

/// What the node knows about its own name and about what was used before.
pub struct Possession {
    origins: Origins,
    used: Mutex<Used>,
    clock: Clock,
}

struct Used {
    proofs: Replays,
    assertions: Replays,
    consents: Replays,
}

/// A proof as it was sent, with the request that it must be for.
#[derive(Debug, Clone)]
pub struct UncheckedProof {
    text: String,
    method: http::Method,
    path: String,
    called: Option<String>,
}

impl UncheckedProof {
    /// The one proof of a request; two are none.
    pub fn of(head: &Parts) -> Option<Self> {
        let text = only_proof(&head.headers)?;
        Some(Self {
            text: text.to_owned(),
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            called: called(head).map(str::to_owned),
        })
    }
}

fn only_proof(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all("dpop").iter();
    match (values.next(), values.next()) {
        (Some(only), None) => only.to_str().ok(),
        _ => None,
    }
}

impl Possession {
    /// For a node that is called by these names.
    pub fn new(origins: Origins, clock: Clock) -> Self {
        Self {
            origins,
            used: Mutex::new(Used {
                proofs: Replays::new(MAX_USED),
                assertions: Replays::new(MAX_USED),
                consents: Replays::new(MAX_USED),
            }),
            clock,
        }
    }

    /// The node's names.
    pub fn origins(&self) -> &Origins {
        &self.origins
    }

    /// The time by which proofs are judged.
    pub fn now(&self) -> SystemTime {
        self.clock.now()
    }

    /// Checks a proof; the key that it proves. It still counts as unused: [`Possession::use_once`].
    pub fn check(
        &self,
        proof: &UncheckedProof,
        access_token: Option<&str>,
    ) -> Result<DpopProof, Refused> {
        let origin = self
            .origins
            .named(proof.called.as_deref())
            .ok_or(Refused::new(
                ErrorCode::InvalidDpopProof,
                "the request calls the node by a name that is not its own",
            ))?;
        let expected = Expected {
            method: proof.method.as_str(),
            origin: &origin,
            path: &proof.path,
            access_token,
            now: self.now(),
        };
        DpopProof::verify(&proof.text, &expected)
    }

    /// Uses a proof up, and gives the key that it proves.
    pub fn use_proof(&self, proof: &DpopProof) -> Result<Thumbprint, Refused> {
        self.use_once(Once::Proof, proof.once(), DpopProof::USED)?;
        Ok(proof.key())
    }

    /// Uses something up that is good once.
    pub fn use_once(
        &self,
        sort: Once,
        (id, until): (OnceId, SystemTime),
        used: Refused,
    ) -> Result<(), Refused> {
        let mut seen = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = match sort {
            Once::Proof => &mut seen.proofs,
            Once::Assertion => &mut seen.assertions,
            Once::Consent => &mut seen.consents,
        };
        seen.use_once(id, until, self.clock.now(), used)
    }
}

impl fmt::Debug for Possession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Possession")
    }
}
