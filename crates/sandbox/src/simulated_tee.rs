//! A TEE that is none: Nitro's document format under a root made at start.
//!
//! Guarantees: everything a person could look at says SIMULATED; its key dies with it. The chain has AWS's shape
//! (root, regional, zonal, instance, leaf for three hours) and is renewed as AWS renews it, so that the verifier has
//! nothing to be lenient about. Refuses to know: what runs in it. It would sign for anyone in its process.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adyton_attest::attester::{Answer, AttestationRequest, Attester, AttesterError};
use adyton_attest::nitro::claims::{self, Certificates, Claims};
use adyton_attest::nitro::pcr::CONFIG_PCR;
use adyton_attest::nitro::{Pcr, Pcrs, RootHash, envelope};
use adyton_attest::{ConfigDigest, TeeKind};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384,
};

/// The name of the root, for whoever looks at a certificate.
pub const ROOT_NAME: &str = "SIMULATED adyton test root - trusts nothing";

/// The enclave's name in its documents.
pub const MODULE_ID: &str = "SIMULATED-i-0000000000000000-enc0000000000000000";

/// The texts whose SHA-384 stand where hardware puts the measurements of image, kernel and application.
pub const MEASURED_TEXTS: [&str; 3] = [
    "SIMULATED image: nothing was measured (pcr 0)",
    "SIMULATED kernel: nothing was measured (pcr 1)",
    "SIMULATED application: nothing was measured (pcr 2)",
];

/// The time, from whoever started the simulation.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How far before now a certificate starts: clocks differ.
const EARLIER: Duration = Duration::from_secs(300);

/// The authorities below the root and how long they live, as AWS has them.
const AUTHORITIES: [(&str, Duration); 3] = [
    ("SIMULATED regional", Duration::from_secs(20 * 24 * 3600)),
    ("SIMULATED zonal", Duration::from_secs(6 * 24 * 3600)),
    ("SIMULATED instance", DAY),
];

/// How long a leaf lives, and how early it is renewed.
const LEAF_LIFE: Duration = Duration::from_secs(3 * 3600);

/// A running simulation.
pub struct SimulatedTee {
    root: Authority,
    clock: Clock,
    pcrs: Mutex<Pcrs>,
    chain: Mutex<Chain>,
}

impl SimulatedTee {
    /// Makes a new root and a chain below it.
    ///
    /// # Errors
    /// [`SimulationError`] when keys or certificates cannot be made.
    pub fn start(clock: Clock) -> Result<Self, SimulationError> {
        let now = clock();
        let mut params = params(ROOT_NAME, now, DAY * 3650);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = p384()?;
        let der = params.self_signed(&key)?.der().to_vec();
        let root = Authority { params, key, der };
        let chain = Chain::below(&root, now)?;
        let pcrs = (0..)
            .zip(MEASURED_TEXTS)
            .map(|(index, text)| (index, Pcr::of(text.as_bytes())))
            .collect();
        Ok(Self {
            root,
            clock,
            pcrs: Mutex::new(pcrs),
            chain: Mutex::new(chain),
        })
    }

    /// The hash by which a policy names this simulation's root.
    #[must_use]
    pub fn root(&self) -> RootHash {
        RootHash::of(&self.root.der)
    }

    /// The text of a policy file that accepts this simulation; once it is sealed, with this configuration only.
    #[must_use]
    pub fn policy(&self) -> String {
        let pcrs = self.pcrs();
        let pcrs: Vec<String> = pcrs
            .iter()
            .map(|(index, pcr)| format!("{index} = \"{pcr}\""))
            .collect();
        format!(
            "# SIMULATED: this policy trusts a simulation, which proves nothing. Never use it for real data.\n\
             version = 1\n\
             allow_simulated = true\n\n\
             [[nitro]]\n\
             name = \"SIMULATED adyton node\"\n\
             root_sha256 = \"{}\"\n\
             pcrs = {{ {} }}\n",
            self.root(),
            pcrs.join(", ")
        )
    }

    fn sign(&self, request: &AttestationRequest) -> Result<Vec<u8>, SimulationError> {
        let now = (self.clock)();
        let claims = Claims {
            module_id: MODULE_ID.to_owned(),
            timestamp_ms: milliseconds(now),
            pcrs: self.pcrs().clone(),
            public_key: Some(request.binding.keys.tls.as_der().to_vec()),
            user_data: Some(request.binding.user_data().to_bytes().to_vec()),
            nonce: request.nonce.map(|nonce| nonce.as_bytes().to_vec()),
        };
        let mut chain = self.chain.lock().unwrap_or_else(PoisonError::into_inner);
        if !chain.serves(now) {
            *chain = Chain::below(&self.root, now)?;
        }
        let payload = claims::write(&claims, &chain.certificates);
        envelope::seal(payload, |bytes| {
            let signature = chain.leaf_key.sign(&SystemRandom::new(), bytes);
            signature
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| SimulationError::Signature)
        })
    }

    fn measure(&self, config: &ConfigDigest) -> Result<(), AttesterError> {
        let expected = Pcr::of_config(config);
        let mut pcrs = self.pcrs();
        match pcrs.insert(CONFIG_PCR, expected) {
            None => Ok(()),
            Some(before) if before == expected => Ok(()),
            Some(before) => {
                pcrs.insert(CONFIG_PCR, before);
                Err(AttesterError::AlreadySealed)
            }
        }
    }

    fn pcrs(&self) -> MutexGuard<'_, Pcrs> {
        self.pcrs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attester for SimulatedTee {
    fn kind(&self) -> TeeKind {
        TeeKind::SimulatedNitro
    }

    fn seal<'a>(&'a self, config: &'a ConfigDigest) -> Answer<'a, ()> {
        Box::pin(async { self.measure(config) })
    }

    fn attest<'a>(&'a self, request: &'a AttestationRequest) -> Answer<'a, Vec<u8>> {
        Box::pin(async {
            self.sign(request)
                .map_err(|error| AttesterError::Device(std::io::Error::other(error)))
        })
    }

    fn trusted_time(&self) -> Answer<'_, Option<SystemTime>> {
        Box::pin(async { Ok(Some((self.clock)())) })
    }
}

impl fmt::Debug for SimulatedTee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimulatedTee")
            .field("root", &self.root())
            .finish_non_exhaustive()
    }
}

/// A certificate that others rest on.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    der: Vec<u8>,
}

/// What is below the root: renewed as a whole when the leaf is old.
struct Chain {
    certificates: Certificates,
    leaf_key: EcdsaKeyPair,
    made: SystemTime,
}

impl Chain {
    fn below(root: &Authority, now: SystemTime) -> Result<Self, SimulationError> {
        let mut bundle = vec![root.der.clone()];
        let mut above: Option<Authority> = None;
        for (at, (name, life)) in (0_u8..).zip(AUTHORITIES) {
            let mut params = params(name, now, life);
            params.is_ca = IsCa::Ca(BasicConstraints::Constrained(2_u8.saturating_sub(at)));
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            let key = p384()?;
            let der = issue(&params, &key, above.as_ref().unwrap_or(root))?;
            bundle.push(der.clone());
            above = Some(Authority { params, key, der });
        }
        let mut params = params("SIMULATED leaf", now, LEAF_LIFE);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::ContentCommitment,
        ];
        let key = p384()?;
        let leaf = issue(&params, &key, above.as_ref().unwrap_or(root))?;
        let leaf_key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, key.serialized_der());
        let leaf_key = leaf_key.map_err(|_| SimulationError::Signature)?;
        Ok(Self {
            certificates: Certificates { leaf, bundle },
            leaf_key,
            made: now,
        })
    }

    /// Whether a document signed now stays valid for at least an hour.
    fn serves(&self, now: SystemTime) -> bool {
        now >= self.made && now <= self.made + (LEAF_LIFE - HOUR)
    }
}

fn issue(
    params: &CertificateParams,
    key: &KeyPair,
    by: &Authority,
) -> Result<Vec<u8>, SimulationError> {
    let issuer = Issuer::from_params(&by.params, &by.key);
    Ok(params.signed_by(key, &issuer)?.der().to_vec())
}

fn params(name: &str, now: SystemTime, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = (now - EARLIER).into();
    params.not_after = (now + life).into();
    params
}

fn p384() -> Result<KeyPair, SimulationError> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384)?)
}

fn milliseconds(now: SystemTime) -> u64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Why there is no simulation. The fault is ours.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimulationError {
    /// A key or certificate could not be made.
    #[error("a simulated certificate cannot be made")]
    Certificate(#[from] rcgen::Error),
    /// A document could not be signed.
    #[error("a simulated document cannot be signed")]
    Signature,
}
