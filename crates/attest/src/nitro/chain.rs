//! Step 3: the certificates, from a pinned root to the key that signed the document.
//!
//! Guarantees: every link of `SPEC.md` step 3 held at the time given. All keys are P-384, all signatures
//! ecdsa-with-SHA384; nothing else is even tried. Refuses to know revocation lists and the network.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{ECDSA_P384_SHA384_ASN1, UnparsedPublicKey};
use x509_parser::extensions::{KeyUsage, ParsedExtension};
use x509_parser::oid_registry::{
    OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_SIG_ECDSA_WITH_SHA384,
    OID_X509_EXT_BASIC_CONSTRAINTS, OID_X509_EXT_KEY_USAGE, Oid,
};
use x509_parser::prelude::{AlgorithmIdentifier, FromDer as _, X509Certificate, X509Version};

use super::claims::Certificates;
use crate::binding::sha256;
use crate::words::{foreign, moment};

/// SHA-256 of the DER of the root of the commercial AWS partition (`CN=aws.nitro-enclaves`, valid 2019 to 2049).
pub const AWS_NITRO_ROOT_G1: RootHash = RootHash([
    0x64, 0x1a, 0x03, 0x21, 0xa3, 0xe2, 0x44, 0xef, 0xe4, 0x56, 0x46, 0x31, 0x95, 0xd6, 0x06, 0x31,
    0x7e, 0xd7, 0xcd, 0xcc, 0x3c, 0x17, 0x56, 0xe0, 0x98, 0x93, 0xf3, 0xc6, 0x8f, 0x79, 0xbb, 0x5b,
]);

/// SHA-256 of a root certificate's DER.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RootHash(pub(crate) [u8; 32]);

impl RootHash {
    /// Hash of a certificate.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(sha256(der))
    }

    /// Reads exactly 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// Whether a vendor of hardware holds this root's key, and nobody else. Compiled in; no file can add to it.
    #[must_use]
    pub fn is_hardware_vendor(&self) -> bool {
        *self == AWS_NITRO_ROOT_G1
    }
}

impl fmt::Display for RootHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for RootHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootHash({self})")
    }
}

/// A chain that held. Made by [`Chain::verify`] alone.
#[derive(Debug)]
pub struct Chain {
    root: RootHash,
    root_subject: String,
    leaf_key: Vec<u8>,
    valid_until: SystemTime,
    length: usize,
}

impl Chain {
    /// Walks from the root to the leaf.
    ///
    /// # Errors
    /// [`ChainError`] names the first certificate (0 is the root) that does not hold.
    pub fn verify(
        certificates: &Certificates,
        trusted: &[RootHash],
        now: SystemTime,
    ) -> Result<Self, ChainError> {
        let root_der = certificates.bundle.first().ok_or(ChainError::Empty)?;
        let root = RootHash::of(root_der);
        if !trusted.contains(&root) {
            return Err(ChainError::Root {
                found: root,
                subject: unverified_subject(root_der),
            });
        }

        let ders: Vec<&[u8]> = certificates
            .bundle
            .iter()
            .chain([&certificates.leaf])
            .map(Vec::as_slice)
            .collect();
        let last = ders.len() - 1;
        let mut valid_until = SystemTime::UNIX_EPOCH + FAR_FUTURE;
        let mut issuer: Option<Link<'_>> = None;
        for (at, der) in ders.into_iter().enumerate() {
            let link = Link::parse(at, der)?;
            link.check_validity(now)?;
            if at < last {
                // `last - at - 1` authorities follow before the leaf.
                link.check_authority(last - at - 1)?;
            } else {
                link.check_leaf()?;
            }
            // The root signs itself; its hash is pinned, but a root whose own signature fails is not that root's shape.
            link.check_issued_by(issuer.as_ref().unwrap_or(&link))?;
            valid_until = valid_until.min(link.not_after());
            issuer = Some(link);
        }
        let leaf = issuer.ok_or(ChainError::Empty)?;
        Ok(Self {
            root,
            root_subject: unverified_subject(root_der),
            leaf_key: leaf.key().to_vec(),
            valid_until,
            length: last + 1,
        })
    }

    /// The pinned root it ends in.
    #[must_use]
    pub fn root(&self) -> RootHash {
        self.root
    }

    /// The root's name, escaped for printing.
    #[must_use]
    pub fn root_subject(&self) -> &str {
        &self.root_subject
    }

    /// When the first of the certificates expires.
    #[must_use]
    pub fn valid_until(&self) -> SystemTime {
        self.valid_until
    }

    /// How many certificates, root and leaf included.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    pub(super) fn leaf_key(&self) -> &[u8] {
        &self.leaf_key
    }
}

/// Later than any certificate can say (the year 9999).
const FAR_FUTURE: Duration = Duration::from_secs(253_402_300_799);

/// The subject of a certificate that nobody verified, escaped for printing.
pub(super) fn unverified_subject(der: &[u8]) -> String {
    match X509Certificate::from_der(der) {
        Ok((_, certificate)) => foreign(&certificate.subject().to_string()),
        Err(_) => "unreadable".to_owned(),
    }
}

/// One certificate at its place in the chain.
struct Link<'a> {
    at: usize,
    certificate: X509Certificate<'a>,
}

impl<'a> Link<'a> {
    /// Reads it: DER to the last byte, version 3, our algorithms, no extension twice, none critical that we do not know.
    fn parse(at: usize, der: &'a [u8]) -> Result<Self, ChainError> {
        let Ok(([], certificate)) = X509Certificate::from_der(der) else {
            return Err(ChainError::Unreadable { at });
        };
        let outer = &certificate.signature_algorithm;
        if certificate.version() != X509Version::V3
            || !is_ecdsa_sha384(outer)
            || certificate.signature != *outer
        {
            return Err(ChainError::Algorithm { at });
        }
        if unsigned_parts_written(&certificate).as_deref() != Some(der) {
            return Err(ChainError::Unreadable { at });
        }
        let key = &certificate.public_key().algorithm;
        let curve = key
            .parameters
            .as_ref()
            .and_then(|parameters| parameters.as_oid().ok());
        if key.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY || curve.as_ref() != Some(&OID_NIST_EC_P384)
        {
            return Err(ChainError::Algorithm { at });
        }
        let extensions = certificate
            .extensions_map()
            .map_err(|_| ChainError::Extensions { at })?;
        let understood: [&Oid<'_>; 2] = [&OID_X509_EXT_BASIC_CONSTRAINTS, &OID_X509_EXT_KEY_USAGE];
        if extensions
            .values()
            .any(|extension| extension.critical && !understood.contains(&&extension.oid))
        {
            return Err(ChainError::Extensions { at });
        }
        Ok(Self { at, certificate })
    }

    fn check_validity(&self, now: SystemTime) -> Result<(), ChainError> {
        let at = self.at;
        let (not_before, not_after) = (self.not_before(), self.not_after());
        if now < not_before {
            return Err(ChainError::NotYetValid {
                at,
                since: moment(not_before),
            });
        }
        if now > not_after {
            return Err(ChainError::Expired {
                at,
                since: moment(not_after),
            });
        }
        Ok(())
    }

    /// An authority: CA, may sign certificates, and allows as many authorities below it as there are.
    fn check_authority(&self, authorities_below: usize) -> Result<(), ChainError> {
        let at = self.at;
        let (ca, path_length) = self
            .basic_constraints()?
            .ok_or(ChainError::NotAnAuthority { at })?;
        if !ca || !self.key_usage()?.is_some_and(|usage| usage.key_cert_sign()) {
            return Err(ChainError::NotAnAuthority { at });
        }
        match path_length {
            Some(most) if authorities_below > most => Err(ChainError::PathLength { at }),
            Some(_) | None => Ok(()),
        }
    }

    /// The leaf: not a CA, may sign, may not sign certificates.
    fn check_leaf(&self) -> Result<(), ChainError> {
        let at = self.at;
        let authority = self.basic_constraints()?.is_some_and(|(ca, _)| ca);
        let usage = self.key_usage()?.ok_or(ChainError::LeafUsage { at })?;
        if authority || !usage.digital_signature() || usage.key_cert_sign() {
            return Err(ChainError::LeafUsage { at });
        }
        Ok(())
    }

    fn check_issued_by(&self, issuer: &Self) -> Result<(), ChainError> {
        let at = self.at;
        if self.certificate.issuer().as_raw() != issuer.certificate.subject().as_raw() {
            return Err(ChainError::Issuer { at });
        }
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, issuer.key())
            .verify(
                self.certificate.tbs_certificate.as_ref(),
                &self.certificate.signature_value.data,
            )
            .map_err(|_| ChainError::Signature { at })
    }

    fn basic_constraints(&self) -> Result<Option<(bool, Option<usize>)>, ChainError> {
        let at = self.at;
        let Some(extension) = self.extension(&OID_X509_EXT_BASIC_CONSTRAINTS)? else {
            return Ok(None);
        };
        match extension {
            ParsedExtension::BasicConstraints(found) => {
                let length = found.path_len_constraint.map(usize::try_from).transpose();
                Ok(Some((
                    found.ca,
                    length.map_err(|_| ChainError::Extensions { at })?,
                )))
            }
            _ => Err(ChainError::Extensions { at }),
        }
    }

    fn key_usage(&self) -> Result<Option<KeyUsage>, ChainError> {
        match self.extension(&OID_X509_EXT_KEY_USAGE)? {
            None => Ok(None),
            Some(ParsedExtension::KeyUsage(usage)) => Ok(Some(*usage)),
            Some(_) => Err(ChainError::Extensions { at: self.at }),
        }
    }

    fn extension(&self, oid: &Oid<'_>) -> Result<Option<&ParsedExtension<'a>>, ChainError> {
        let found = self
            .certificate
            .get_extension_unique(oid)
            .map_err(|_| ChainError::Extensions { at: self.at })?;
        Ok(found.map(|extension| extension.parsed_extension()))
    }

    /// The raw P-384 point.
    fn key(&self) -> &[u8] {
        &self
            .certificate
            .tbs_certificate
            .subject_pki
            .subject_public_key
            .data
    }

    fn not_before(&self) -> SystemTime {
        system_time(self.certificate.validity().not_before.timestamp())
    }

    fn not_after(&self) -> SystemTime {
        system_time(self.certificate.validity().not_after.timestamp())
    }
}

/// The one DER of a certificate with this signed part and this signature (RFC 5280, section 4.1).
///
/// The reader of DER takes any tag where it expects an object identifier, and any class of a bit string's: bytes
/// that no signature covers, so that one certificate would have many spellings.
fn unsigned_parts_written(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    const ECDSA_WITH_SHA384: [u8; 12] = [
        0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03,
    ];
    let signature = [&[0][..], &certificate.signature_value.data].concat();
    let parts = [
        certificate.tbs_certificate.as_ref(),
        &ECDSA_WITH_SHA384,
        &tagged(0x03, &signature)?,
    ];
    tagged(0x30, &parts.concat())
}

/// One DER value of up to 65,535 bytes.
fn tagged(tag: u8, content: &[u8]) -> Option<Vec<u8>> {
    let [high, low] = u16::try_from(content.len()).ok()?.to_be_bytes();
    let header = match (high, low) {
        (0, 0..0x80) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    Some([&header, content].concat())
}

fn is_ecdsa_sha384(algorithm: &AlgorithmIdentifier<'_>) -> bool {
    algorithm.algorithm == OID_SIG_ECDSA_WITH_SHA384 && algorithm.parameters.is_none()
}

/// Certificates from before 1970 are from 1970: the clock is after that anyway.
fn system_time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0)).min(FAR_FUTURE)
}

/// Why the certificates are not believed. `at` counts from the root, which is 0. The fault is the document's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// No certificate at all.
    #[error("there are no certificates")]
    Empty,
    /// A root that the policy does not trust.
    #[error("the chain ends in a root that the policy does not trust: {subject}, sha256 {found}")]
    Root {
        /// Its hash.
        found: RootHash,
        /// Its name, escaped.
        subject: String,
    },
    /// Not one DER certificate.
    #[error("certificate {at} cannot be read")]
    Unreadable {
        /// Its place.
        at: usize,
    },
    /// Not version 3, not P-384, or not ecdsa-with-SHA384.
    #[error("certificate {at} uses another algorithm than p-384 with sha-384")]
    Algorithm {
        /// Its place.
        at: usize,
    },
    /// A doubled extension, an unreadable one, or an unknown critical one.
    #[error(
        "certificate {at} has extensions that are doubled, unreadable, or critical and unknown"
    )]
    Extensions {
        /// Its place.
        at: usize,
    },
    /// Not valid yet.
    #[error("certificate {at} is valid only from {since}")]
    NotYetValid {
        /// Its place.
        at: usize,
        /// Start of its validity.
        since: String,
    },
    /// Not valid any more.
    #[error("certificate {at} expired at {since}")]
    Expired {
        /// Its place.
        at: usize,
        /// End of its validity.
        since: String,
    },
    /// May not sign certificates, but did.
    #[error("certificate {at} is not that of an authority, but others rest on it")]
    NotAnAuthority {
        /// Its place.
        at: usize,
    },
    /// More authorities below it than it allows.
    #[error("certificate {at} does not allow so long a chain")]
    PathLength {
        /// Its place.
        at: usize,
    },
    /// An authority's certificate where the enclave's should be.
    #[error("certificate {at} may not sign documents")]
    LeafUsage {
        /// Its place.
        at: usize,
    },
    /// Issued by somebody else.
    #[error("certificate {at} names another issuer than the certificate before it")]
    Issuer {
        /// Its place.
        at: usize,
    },
    /// Signature does not verify.
    #[error("certificate {at} is not signed by the certificate before it")]
    Signature {
        /// Its place.
        at: usize,
    },
}
