//! The wire form of evidence: what `GET /.well-known/adyton-attestation` answers.
//!
//! Guarantees: every part is within its limit and decoded. Refuses to know whether any of it is true: that is
//! [`crate::appraise()`]'s, and nothing outside the signed document is ever believed.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::batch::{BatchProof, BatchProofError};
use crate::binding::{AnswerKey, AttestedKeys, HpkeKey, Spki, SpkiError};

/// Where a node answers with its evidence.
pub const WELL_KNOWN_PATH: &str = "/.well-known/adyton-attestation";

/// The wire version that this code speaks.
pub const VERSION: u8 = 1;

/// Longest evidence body that is read at all.
pub const MAX_EVIDENCE_JSON_BYTES: usize = 256 * 1024;

/// Longest TEE document inside the evidence (a Nitro document has its own, smaller limit).
pub const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

/// Longest configuration text.
pub const MAX_CONFIG_BYTES: usize = 64 * 1024;

/// Evidence as it came from a node, or as a node is about to send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Which kind of TEE says so.
    pub tee: TeeKind,
    /// The TEE's signed document.
    pub document: Vec<u8>,
    /// Whether the node says that the document covers this connection. Only the document's own flag counts.
    pub channel_bound: bool,
    /// When the node says it was made, in milliseconds since 1970. Only the document's own time counts.
    pub issued_ms: u64,
    /// The configuration that the node says was measured. Its digest must be in the document.
    pub config: String,
    /// The keys that the node says are its own. The document must vouch for exactly these.
    pub keys: AttestedKeys,
    /// How the asker's challenge leads to the document's nonce, where many askers share the document.
    pub batch: Option<BatchProof>,
}

impl Evidence {
    /// Reads the JSON body. Unknown members are ignored (nothing outside the document is believed), doubled ones refused.
    ///
    /// # Errors
    /// [`EvidenceError`] says what is wrong with the body.
    pub fn from_json(body: &[u8]) -> Result<Self, EvidenceError> {
        if body.len() > MAX_EVIDENCE_JSON_BYTES {
            return Err(EvidenceError::TooLong {
                what: "evidence",
                limit: MAX_EVIDENCE_JSON_BYTES,
            });
        }
        let wire: Wire = serde_json::from_slice(body).map_err(EvidenceError::Json)?;
        if wire.v != VERSION {
            return Err(EvidenceError::Version { found: wire.v });
        }
        if wire.config.len() > MAX_CONFIG_BYTES {
            return Err(EvidenceError::TooLong {
                what: "configuration",
                limit: MAX_CONFIG_BYTES,
            });
        }
        let document = STANDARD
            .decode(&wire.evidence)
            .map_err(|_| EvidenceError::Base64)?;
        if document.len() > MAX_DOCUMENT_BYTES {
            return Err(EvidenceError::TooLong {
                what: "document",
                limit: MAX_DOCUMENT_BYTES,
            });
        }
        Ok(Self {
            tee: TeeKind::parse(&wire.tee).ok_or(EvidenceError::UnknownTee)?,
            document,
            channel_bound: wire.channel_bound,
            issued_ms: wire.issued_ms,
            config: wire.config,
            keys: wire.keys.read()?,
            batch: wire.batch.map(WireBatch::read).transpose()?,
        })
    }

    /// Writes the JSON body.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let wire = Wire {
            v: VERSION,
            tee: self.tee.name().to_owned(),
            evidence: STANDARD.encode(&self.document),
            channel_bound: self.channel_bound,
            issued_ms: self.issued_ms,
            config: self.config.clone(),
            keys: WireKeys {
                tls_spki: STANDARD.encode(self.keys.tls.as_der()),
                sign: STANDARD.encode(self.keys.answer.as_bytes()),
                hpke: STANDARD.encode(self.keys.hpke.as_bytes()),
            },
            batch: self.batch.as_ref().map(|proof| WireBatch {
                place: proof.place(),
                path: proof
                    .path()
                    .iter()
                    .map(|node| STANDARD.encode(node))
                    .collect(),
            }),
        };
        // A struct of strings and numbers: serialising it cannot fail.
        serde_json::to_vec(&wire).unwrap_or_default()
    }
}

#[derive(Serialize, Deserialize)]
struct Wire {
    v: u8,
    tee: String,
    evidence: String,
    channel_bound: bool,
    issued_ms: u64,
    config: String,
    keys: WireKeys,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    batch: Option<WireBatch>,
}

#[derive(Serialize, Deserialize)]
struct WireKeys {
    tls_spki: String,
    sign: String,
    hpke: String,
}

impl WireKeys {
    fn read(&self) -> Result<AttestedKeys, EvidenceError> {
        let tls = STANDARD
            .decode(&self.tls_spki)
            .map_err(|_| EvidenceError::Base64)?;
        Ok(AttestedKeys {
            tls: Spki::from_der(&tls).map_err(EvidenceError::Key)?,
            answer: AnswerKey::new(thirty_two(&self.sign)?),
            hpke: HpkeKey::new(thirty_two(&self.hpke)?),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct WireBatch {
    place: u32,
    path: Vec<String>,
}

impl WireBatch {
    fn read(self) -> Result<BatchProof, EvidenceError> {
        let path: Result<_, _> = self.path.iter().map(|node| thirty_two(node)).collect();
        BatchProof::new(self.place, path?).map_err(EvidenceError::Batch)
    }
}

fn thirty_two(base64: &str) -> Result<[u8; 32], EvidenceError> {
    let bytes = STANDARD.decode(base64).map_err(|_| EvidenceError::Base64)?;
    bytes.try_into().map_err(|_| EvidenceError::ThirtyTwo)
}

/// The kinds of TEE that this code can appraise. A closed set: an unknown one is refused while parsing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TeeKind {
    /// An AWS Nitro Enclave.
    AwsNitro,
    /// An Intel TDX guest that runs under dstack.
    DstackTdx,
    /// A simulation in Nitro's document format, under a root of its own. Proves nothing; never trusted by default.
    SimulatedNitro,
}

impl TeeKind {
    /// The name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AwsNitro => "aws-nitro",
            Self::DstackTdx => "dstack-tdx",
            Self::SimulatedNitro => "simulated-nitro",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::AwsNitro, Self::DstackTdx, Self::SimulatedNitro]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

impl fmt::Display for TeeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AwsNitro => f.write_str("AWS Nitro Enclave"),
            Self::DstackTdx => f.write_str("Intel TDX (dstack)"),
            Self::SimulatedNitro => f.write_str("SIMULATED enclave (proves nothing)"),
        }
    }
}

/// Why a body is not evidence. The fault is the node's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// Over a limit.
    #[error("{what} is longer than {limit} bytes")]
    TooLong {
        /// Which part.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Not the JSON object that the endpoint promises.
    #[error("evidence is not the promised json object")]
    Json(#[source] serde_json::Error),
    /// A wire version this code does not speak.
    #[error("evidence has version {found}, this program speaks version {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// A kind of TEE that this code cannot appraise.
    #[error("evidence comes from a kind of tee that this program does not know")]
    UnknownTee,
    /// The document, a key or a hash is not base64.
    #[error("a part of the evidence is not base64")]
    Base64,
    /// A key or a hash has another length than 32 bytes.
    #[error("a key or a hash in the evidence does not have 32 bytes")]
    ThirtyTwo,
    /// The TLS key is none.
    #[error("the tls key in the evidence cannot be read")]
    Key(#[source] SpkiError),
    /// The batch proof is none.
    #[error(transparent)]
    Batch(BatchProofError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evidence() -> Evidence {
        Evidence {
            tee: TeeKind::SimulatedNitro,
            document: vec![1, 2, 3],
            channel_bound: true,
            issued_ms: 1_700_000_000_000,
            config: "a = \"ä\"\n".to_owned(),
            keys: AttestedKeys {
                tls: Spki::from_der(&hex::decode(SPKI).unwrap()).unwrap(),
                answer: AnswerKey::new([5; 32]),
                hpke: HpkeKey::new([6; 32]),
            },
            batch: None,
        }
    }

    /// The Ed25519 key of RFC 8410 section 10.1: a short one.
    const SPKI: &str =
        "302a300506032b657003210019bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1";

    fn batched() -> Evidence {
        Evidence {
            batch: Some(BatchProof::new(2, vec![[7; 32], [8; 32]]).unwrap()),
            ..evidence()
        }
    }

    fn json(change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let mut value: serde_json::Value = serde_json::from_slice(&evidence().to_json()).unwrap();
        change(&mut value);
        serde_json::to_vec(&value).unwrap()
    }

    #[test]
    fn evidence_is_read_back_as_written() {
        assert_eq!(
            Evidence::from_json(&evidence().to_json()).unwrap(),
            evidence()
        );
        assert_eq!(
            Evidence::from_json(&batched().to_json()).unwrap(),
            batched()
        );
    }

    #[test]
    fn the_members_are_the_ones_that_are_written_down() {
        let expected = r#"{"v":1,"tee":"simulated-nitro","evidence":"AQID","channel_bound":true,"issued_ms":1700000000000,"config":"a = \"ä\"\n","keys":{"tls_spki":"MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=","sign":"BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU=","hpke":"BgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgYGBgY="}}"#;
        assert_eq!(String::from_utf8(evidence().to_json()).unwrap(), expected);
    }

    #[test]
    fn a_later_node_may_say_more() {
        let more = json(|value| value["collateral"] = serde_json::json!({"sign": "x"}));
        assert_eq!(Evidence::from_json(&more).unwrap(), evidence());
    }

    #[test]
    fn keys_that_are_none_are_refused() {
        let (short, long) = (STANDARD.encode([1; 31]), STANDARD.encode([1; 33]));
        for member in ["sign", "hpke"] {
            for key in [&short, &long, ""] {
                let other = json(|value| value["keys"][member] = key.into());
                let refused = Evidence::from_json(&other);
                assert!(matches!(refused, Err(EvidenceError::ThirtyTwo)), "{key}");
            }
        }
        let other = json(|value| value["keys"]["tls_spki"] = short.into());
        let refused = Evidence::from_json(&other);
        assert!(matches!(refused, Err(EvidenceError::Key(_))));
        let other = json(|value| value["keys"]["sign"] = "?".into());
        let refused = Evidence::from_json(&other);
        assert!(matches!(refused, Err(EvidenceError::Base64)));
    }

    #[test]
    fn a_batch_proof_that_is_none_is_refused() {
        let node = STANDARD.encode([1; 32]);
        let proof = |place: u32, path: &[&str]| {
            Evidence::from_json(&json(|value| {
                value["batch"] = serde_json::json!({"place": place, "path": path});
            }))
        };
        assert!(proof(0, &[node.as_str(); 16]).is_ok());
        let refused = proof(0, &[node.as_str(); 17]);
        assert!(matches!(refused, Err(EvidenceError::Batch(_))));
        assert!(matches!(proof(0, &[]), Err(EvidenceError::Batch(_))));
        assert!(matches!(proof(2, &[&node]), Err(EvidenceError::Batch(_))));
        assert!(matches!(proof(0, &["AQ=="]), Err(EvidenceError::ThirtyTwo)));
    }

    #[test]
    fn a_doubled_member_is_refused() {
        let doubled = br#"{"v":1,"tee":"aws-nitro","tee":"aws-nitro","evidence":"","channel_bound":true,"issued_ms":1,"config":""}"#;
        assert!(matches!(
            Evidence::from_json(doubled),
            Err(EvidenceError::Json(_))
        ));
    }

    #[test]
    fn an_unknown_version_or_tee_is_refused() {
        let version = json(|value| value["v"] = 2.into());
        assert!(matches!(
            Evidence::from_json(&version),
            Err(EvidenceError::Version { found: 2 })
        ));
        for name in ["", "dev", "AWS-NITRO", "aws-nitro "] {
            let tee = json(|value| value["tee"] = name.into());
            assert!(
                matches!(Evidence::from_json(&tee), Err(EvidenceError::UnknownTee)),
                "{name}"
            );
        }
    }

    #[test]
    fn one_byte_over_a_limit_is_refused_and_the_limit_itself_is_not() {
        let config = |bytes| json(|value| value["config"] = "c".repeat(bytes).into());
        assert!(Evidence::from_json(&config(MAX_CONFIG_BYTES)).is_ok());
        let refused = Evidence::from_json(&config(MAX_CONFIG_BYTES + 1));
        assert!(matches!(
            refused,
            Err(EvidenceError::TooLong {
                what: "configuration",
                ..
            })
        ));

        let document =
            |bytes| json(|value| value["evidence"] = STANDARD.encode(vec![0; bytes]).into());
        assert!(Evidence::from_json(&document(MAX_DOCUMENT_BYTES)).is_ok());
        let refused = Evidence::from_json(&document(MAX_DOCUMENT_BYTES + 1));
        assert!(matches!(
            refused,
            Err(EvidenceError::TooLong {
                what: "document",
                ..
            })
        ));

        let mut body = evidence().to_json();
        body.resize(MAX_EVIDENCE_JSON_BYTES, b' ');
        assert!(Evidence::from_json(&body).is_ok());
        body.push(b' ');
        assert!(matches!(
            Evidence::from_json(&body),
            Err(EvidenceError::TooLong {
                what: "evidence",
                ..
            })
        ));
    }
}
