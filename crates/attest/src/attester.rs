//! The device side: how a node gets evidence about itself.
//!
//! Guarantees: only a [`SealedAttester`], whose configuration was measured before, can make evidence.
//! Refuses to know TLS and HTTP: the key, the exporter and the nonce are handed in.

pub mod nsm;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::batch::{Batch, Challenge};
use crate::binding::{AttestedKeys, Binding, ChannelBinding, ConfigDigest, Nonce};
use crate::evidence::{Evidence, MAX_CONFIG_BYTES, TeeKind};

/// An answer of a device, which takes its time.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, AttesterError>> + Send + 'a>>;

/// A TEE, seen from inside.
pub trait Attester: Send + Sync {
    /// Which kind.
    fn kind(&self) -> TeeKind;

    /// Measures the configuration and locks the registers. Called once, before any listener exists.
    fn seal<'a>(&'a self, config: &'a ConfigDigest) -> Answer<'a, ()>;

    /// Has the hardware sign a document about this binding.
    fn attest<'a>(&'a self, request: &'a AttestationRequest) -> Answer<'a, Vec<u8>>;

    /// The time as the hardware tells it, if it tells one that the host cannot set.
    fn trusted_time(&self) -> Answer<'_, Option<SystemTime>>;
}

/// What a document is asked to vouch for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationRequest {
    /// Keys, channel, configuration.
    pub binding: Binding,
    /// The asker's challenge, or the root over those of many.
    pub nonce: Option<Nonce>,
}

/// An attester whose registers hold this configuration and are locked. Made by [`SealedAttester::seal`] alone: a boot
/// that takes one cannot open a listener before the configuration was measured.
#[derive(Clone)]
pub struct SealedAttester {
    attester: Arc<dyn Attester>,
    config: Arc<str>,
    digest: ConfigDigest,
}

impl SealedAttester {
    /// Measures `config` (public text, at most [`MAX_CONFIG_BYTES`]) and locks the registers.
    ///
    /// # Errors
    /// [`AttesterError`] when the device refuses.
    pub async fn seal(attester: Arc<dyn Attester>, config: &str) -> Result<Self, AttesterError> {
        if config.len() > MAX_CONFIG_BYTES {
            return Err(AttesterError::ConfigTooLong);
        }
        let digest = ConfigDigest::of(config);
        attester.seal(&digest).await?;
        Ok(Self {
            attester,
            config: config.into(),
            digest,
        })
    }

    /// Makes evidence for these keys, on this channel, for this challenge.
    ///
    /// # Errors
    /// [`AttesterError`] when the device does.
    pub async fn evidence(
        &self,
        keys: &AttestedKeys,
        channel: ChannelBinding,
        nonce: Option<Nonce>,
        now: SystemTime,
    ) -> Result<Evidence, AttesterError> {
        let channel_bound = channel.is_bound();
        let binding = Binding {
            keys: keys.clone(),
            channel,
            config: self.digest,
        };
        let document = self
            .attester
            .attest(&AttestationRequest { binding, nonce })
            .await?;
        let issued_ms = now
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO)
            .as_millis();
        Ok(Evidence {
            tee: self.attester.kind(),
            document,
            channel_bound,
            issued_ms: u64::try_from(issued_ms).unwrap_or(u64::MAX),
            config: self.config.to_string(),
            keys: keys.clone(),
            batch: None,
        })
    }

    /// Makes evidence for each of these challenges, in their order, with one document: a lone challenge is answered
    /// directly, several share a tree.
    ///
    /// # Errors
    /// [`AttesterError`] when the device does, or there are none or more than [`crate::batch::MAX_CHALLENGES`].
    pub async fn evidence_for_all(
        &self,
        keys: &AttestedKeys,
        challenges: &[Challenge],
        now: SystemTime,
    ) -> Result<Vec<Evidence>, AttesterError> {
        if let [Challenge { nonce, exporter }] = challenges {
            let channel = ChannelBinding::TlsExporter(*exporter);
            return Ok(vec![self.evidence(keys, channel, Some(*nonce), now).await?]);
        }
        let batch = Batch::over(challenges).ok_or(AttesterError::Challenges {
            found: challenges.len(),
        })?;
        let shared = self
            .evidence(keys, ChannelBinding::Batch, Some(batch.root()), now)
            .await?;
        let each = batch.proofs().map(|proof| Evidence {
            batch: Some(proof),
            ..shared.clone()
        });
        Ok(each.collect())
    }

    /// Which kind of TEE.
    #[must_use]
    pub fn kind(&self) -> TeeKind {
        self.attester.kind()
    }

    /// The measured configuration's digest.
    #[must_use]
    pub fn config_digest(&self) -> ConfigDigest {
        self.digest
    }

    /// The time as the hardware tells it.
    ///
    /// # Errors
    /// [`AttesterError`] when the device does not answer.
    pub async fn trusted_time(&self) -> Result<Option<SystemTime>, AttesterError> {
        self.attester.trusted_time().await
    }
}

impl fmt::Debug for SealedAttester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedAttester")
            .field("kind", &self.kind())
            .field("config", &self.digest)
            .finish()
    }
}

/// Why there is no evidence. The fault is on the node's side: its device, or where it runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttesterError {
    /// No such device: this machine is not that kind of TEE.
    #[error("there is no {device}: this machine is not an enclave of that kind")]
    NoDevice {
        /// The device's path.
        device: &'static str,
        /// What opening it said.
        #[source]
        source: std::io::Error,
    },
    /// The device did not take the request.
    #[error("the device did not answer")]
    Device(#[source] std::io::Error),
    /// The device answered with an error of its own.
    #[error("the device refused: {code}")]
    Refused {
        /// Its code.
        code: String,
    },
    /// The device answered something else than promised.
    #[error("the device answered in a form that nobody promised")]
    Answer,
    /// The configuration does not fit into evidence.
    #[error("the configuration is longer than {MAX_CONFIG_BYTES} bytes")]
    ConfigTooLong,
    /// No document can answer so many challenges.
    #[error("{found} challenges cannot share a document")]
    Challenges {
        /// How many there were.
        found: usize,
    },
    /// A register was locked before with something else in it, or cannot be locked.
    #[error("a register already holds something else, or cannot be locked")]
    AlreadySealed,
    /// The device's thread has ended.
    #[error("the attester has stopped")]
    Stopped,
}
