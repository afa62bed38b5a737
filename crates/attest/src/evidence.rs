//! The wire form of evidence: what `GET /.well-known/adyton-attestation` answers.
//!
//! Guarantees: every part is within its limit and decoded. Refuses to know whether any of it is true: that is
//! [`crate::appraise()`]'s, and nothing outside the signed document is ever believed.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

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
    /// The document is not base64.
    #[error("the document is not base64")]
    Base64,
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
    }

    #[test]
    fn the_members_are_the_ones_that_are_written_down() {
        let expected = r#"{"v":1,"tee":"simulated-nitro","evidence":"AQID","channel_bound":true,"issued_ms":1700000000000,"config":"a = \"ä\"\n"}"#;
        assert_eq!(String::from_utf8(evidence().to_json()).unwrap(), expected);
    }

    #[test]
    fn a_later_node_may_say_more() {
        let more = json(|value| value["keys"] = serde_json::json!({"sign": "x"}));
        assert_eq!(Evidence::from_json(&more).unwrap(), evidence());
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
