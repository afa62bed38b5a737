//! A forger's workshop: whole P-384 chains and signed documents, each part of which a test can spoil.

#![allow(dead_code, reason = "each test file uses its own part of the workshop")]
#![allow(unreachable_pub, reason = "a module of tests has no outside")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adyton_attest::nitro::claims::{self, Certificates, Claims};
use adyton_attest::nitro::{Pcr, RootHash, envelope};
use adyton_attest::{
    AnswerKey, AttestedKeys, BatchProof, Binding, ChannelBinding, ConfigDigest, Evidence, Exporter,
    HpkeKey, Nonce, Policy, Seen, Spki, TeeKind,
};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P384_SHA384,
};

/// The moment at which everything here is valid.
pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

pub const HOUR: Duration = Duration::from_secs(3600);

/// Root, regional, zonal, instance, leaf.
pub const NAMES: [&str; 5] = ["test root", "regional", "zonal", "instance", "leaf"];

/// One certificate before it is signed.
pub struct Draft {
    pub params: CertificateParams,
    pub key: KeyPair,
    /// Signs it; the one before it unless a test puts another here.
    pub signer: Option<KeyPair>,
    /// Its issuer's name; that of the one before it unless a test says otherwise.
    pub issuer: Option<&'static str>,
}

/// Chain and the key that signs documents.
pub struct Pki {
    pub certificates: Certificates,
    pub leaf_key: KeyPair,
    /// Signs leaves.
    pub instance_key: KeyPair,
}

impl Pki {
    pub fn new() -> Self {
        Self::spoiled(|_| ())
    }

    /// A chain shaped like AWS's, after `spoil` had its way with the drafts.
    pub fn spoiled(spoil: impl FnOnce(&mut Vec<Draft>)) -> Self {
        let mut drafts: Vec<Draft> = (0..NAMES.len()).map(draft).collect();
        spoil(&mut drafts);
        let mut ders = Vec::new();
        for at in 0..drafts.len() {
            let draft = &drafts[at];
            let above = &drafts[at.saturating_sub(1)];
            let mut issuer = above.params.clone();
            if let Some(name) = draft.issuer {
                issuer.distinguished_name.push(DnType::CommonName, name);
            }
            let signer = draft.signer.as_ref().unwrap_or(&above.key);
            let issuer = Issuer::from_params(&issuer, signer);
            ders.push(
                draft
                    .params
                    .signed_by(&draft.key, &issuer)
                    .unwrap()
                    .der()
                    .to_vec(),
            );
        }
        let leaf = ders.pop().unwrap();
        let leaf_key = drafts.pop().unwrap().key;
        let instance_key = drafts.pop().unwrap().key;
        Self {
            certificates: Certificates { leaf, bundle: ders },
            leaf_key,
            instance_key,
        }
    }

    pub fn root(&self) -> RootHash {
        RootHash::of(&self.certificates.bundle[0])
    }

    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let key = EcdsaKeyPair::from_pkcs8(
            &ECDSA_P384_SHA384_FIXED_SIGNING,
            self.leaf_key.serialized_der(),
        )
        .unwrap();
        key.sign(&SystemRandom::new(), bytes)
            .unwrap()
            .as_ref()
            .to_vec()
    }

    pub fn document(&self, claims: &Claims) -> Vec<u8> {
        let payload = claims::write(claims, &self.certificates);
        envelope::seal(payload, |bytes| Ok::<_, ()>(self.sign(bytes))).unwrap()
    }
}

fn draft(at: usize) -> Draft {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, NAMES[at]);
    params.not_before = (now() - HOUR).into();
    params.not_after = (now() + HOUR * (NAMES.len() + 1 - at) as u32).into();
    params.is_ca = match at {
        0 => IsCa::Ca(BasicConstraints::Unconstrained),
        1..=3 => IsCa::Ca(BasicConstraints::Constrained((3 - at) as u8)),
        _ => IsCa::ExplicitNoCa,
    };
    params.key_usages = match at {
        0..=3 => vec![KeyUsagePurpose::KeyCertSign],
        _ => vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::ContentCommitment,
        ],
    };
    Draft {
        params,
        key: p384(),
        signer: None,
        issuer: None,
    }
}

pub fn p384() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()
}

pub const CONFIG: &str = "listen = \"0.0.0.0:443\"\n";

/// A genuine situation: evidence, what was seen, and a policy that trusts it.
pub struct Scene {
    pub pki: Pki,
    pub claims: Claims,
    pub seen: Seen,
    pub tee: TeeKind,
    pub config: String,
    pub keys: AttestedKeys,
    pub batch: Option<BatchProof>,
}

impl Scene {
    pub fn new() -> Self {
        Self::with(Pki::new())
    }

    pub fn with(pki: Pki) -> Self {
        let tls = rcgen::PublicKeyData::subject_public_key_info(&KeyPair::generate().unwrap());
        let seen = Seen {
            spki: Spki::from_der(&tls).unwrap(),
            exporter: Exporter::new([3; 32]),
            nonce: Some(Nonce::new([4; 32])),
        };
        let config = ConfigDigest::of(CONFIG);
        let keys = AttestedKeys {
            tls: seen.spki.clone(),
            answer: AnswerKey::new([5; 32]),
            hpke: HpkeKey::new([6; 32]),
        };
        let binding = Binding {
            keys: keys.clone(),
            channel: ChannelBinding::TlsExporter(seen.exporter),
            config,
        };
        let image = [
            (0, Pcr::of(b"image")),
            (1, Pcr::of(b"kernel")),
            (2, Pcr::of(b"app")),
        ];
        let claims = Claims {
            module_id: "i-test-enc0".to_owned(),
            timestamp_ms: 1_800_000_000_000,
            pcrs: image
                .into_iter()
                .chain([(17, Pcr::of_config(&config))])
                .collect(),
            public_key: Some(seen.spki.as_der().to_vec()),
            user_data: Some(binding.user_data().to_bytes().to_vec()),
            nonce: Some(vec![4; 32]),
        };
        Self {
            pki,
            claims,
            seen,
            tee: TeeKind::AwsNitro,
            config: CONFIG.to_owned(),
            keys,
            batch: None,
        }
    }

    pub fn evidence(&self) -> Evidence {
        Evidence {
            tee: self.tee,
            document: self.pki.document(&self.claims),
            channel_bound: true,
            issued_ms: 0,
            config: self.config.clone(),
            keys: self.keys.clone(),
            batch: self.batch.clone(),
        }
    }

    /// Makes the binding anew, with or without the channel.
    pub fn bind(&mut self, channel: ChannelBinding) {
        let binding = Binding {
            keys: self.keys.clone(),
            channel,
            config: ConfigDigest::of(&self.config),
        };
        self.claims.user_data = Some(binding.user_data().to_bytes().to_vec());
    }

    /// A policy that lists this scene's first measurements, with further lines at its head.
    pub fn policy(&self, lines: &str) -> Policy {
        let genuine = Self::with(Pki::new()).claims.pcrs;
        let pcr = |index| genuine[&index];
        let text = format!(
            "version = 1\nallow_simulated = true\n{lines}\n[[nitro]]\nname = \"test image\"\nroot_sha256 = \"{}\"\n\
             pcrs = {{ 0 = \"{}\", 1 = \"{}\", 2 = \"{}\", 17 = \"{}\" }}\n",
            self.pki.root(),
            pcr(0),
            pcr(1),
            pcr(2),
            pcr(17)
        );
        Policy::from_toml(&text).unwrap()
    }
}
