//! Steps 3, 4 and 6 for dstack: Intel's quote, by Intel's collateral, at a time.
//!
//! Guarantees: the quote is a TDX guest's, signed by a quoting enclave that a platform certificate vouches for, which leads
//! to a trusted root; nothing of it is revoked or expired; the guest cannot be migrated and no service guest is bound to it.
//! The walk along Intel's chain is the crate `dcap-qvl`'s, with the one crypto provider of this program. Refuses to know
//! clocks, the network, which TCB status is good enough, and whether a debugged guest is (never, but that is step 6).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, SHA384, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use dcap_qvl::QuoteCollateralV3;
use dcap_qvl::config::{Config, CryptoProvider};
use dcap_qvl::policy::QuotePolicy;
use dcap_qvl::quote::{Report, TDReport10};
use dcap_qvl::signature::DerSigEncoder;
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::x509::X509CertBackend;
use rustls_pki_types::{
    AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use x509_parser::pem::Pem;

use super::{Collateral, TcbStatus};
use crate::nitro::{Pcr, RootHash};
use crate::words::foreign;

/// A quote that Intel's chain vouches for. Made by [`VerifiedQuote::verify`] alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedQuote {
    registers: Registers,
    report_data: [u8; 64],
    under_debug: bool,
    tcb_status: TcbStatus,
    advisories: Vec<String>,
    root: RootHash,
    valid_until: SystemTime,
}

/// What a quote says was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers {
    /// The virtual firmware.
    pub mrtd: Pcr,
    /// RTMR0 to RTMR3: virtual hardware, kernel, command line and file system, application.
    pub rtmr: [Pcr; 4],
}

impl VerifiedQuote {
    /// Verifies a quote by its collateral. The root is the last certificate of the collateral's chain, and must be one of
    /// `trusted`.
    ///
    /// # Errors
    /// [`QuoteError`] says what does not hold.
    pub fn verify(
        quote: &[u8],
        collateral: &Collateral,
        trusted: &[RootHash],
        now: SystemTime,
    ) -> Result<Self, QuoteError> {
        let root_der = last_certificate(&collateral.tcb_info_issuer_chain)?;
        let root = RootHash::of(&root_der);
        if !trusted.contains(&root) {
            return Err(QuoteError::Root { found: root });
        }
        let now = now
            .duration_since(UNIX_EPOCH)
            .map_err(|_| QuoteError::Clock)?
            .as_secs();
        // The status is judged in step 7, by the policy's entry; what is revoked was refused before that.
        // Debugging is judged in step 6, so that it has a line of its own: no policy can allow it.
        let claims = QuoteVerifier::<OneProvider>::new_with_config(root_der)
            .allow_debug(true)
            .verify_with_policy(
                quote,
                theirs(collateral),
                now,
                &QuotePolicy::claims_only(now),
            )
            .map_err(|error| QuoteError::Chain(foreign(&format!("{error:#}"))))?;
        let guest = guest(&claims.report).ok_or(QuoteError::NotTdx)?;
        let status = claims.tcb.status.to_string();
        Ok(Self {
            registers: Registers {
                mrtd: Pcr::new(guest.mr_td),
                rtmr: [guest.rt_mr0, guest.rt_mr1, guest.rt_mr2, guest.rt_mr3].map(Pcr::new),
            },
            report_data: guest.report_data,
            under_debug: guest.td_attributes.first() != Some(&0),
            tcb_status: TcbStatus::from_name(&status)
                .ok_or_else(|| QuoteError::Status(foreign(&status)))?,
            advisories: claims.tcb.advisory_ids,
            root,
            valid_until: UNIX_EPOCH + Duration::from_secs(claims.earliest_expiration_date),
        })
    }

    /// What was started.
    #[must_use]
    pub fn registers(&self) -> &Registers {
        &self.registers
    }

    /// The 64 bytes that the guest had put in.
    #[must_use]
    pub fn report_data(&self) -> &[u8; 64] {
        &self.report_data
    }

    /// Whether any bit of the first byte of the guest's attributes is set (TDX module ABI, `ATTRIBUTES.TUD`): it is debugged
    /// or profiled, so the host learns what is in its memory.
    #[must_use]
    pub fn is_under_debug(&self) -> bool {
        self.under_debug
    }

    /// How up to date the platform is.
    #[must_use]
    pub fn tcb_status(&self) -> TcbStatus {
        self.tcb_status
    }

    /// Intel's advisories that are open on the platform.
    #[must_use]
    pub fn advisories(&self) -> &[String] {
        &self.advisories
    }

    /// The root that vouches for it.
    #[must_use]
    pub fn root(&self) -> RootHash {
        self.root
    }

    /// When the first certificate, list or level of the chain expires.
    #[must_use]
    pub fn valid_until(&self) -> SystemTime {
        self.valid_until
    }
}

fn guest(report: &Report) -> Option<&TDReport10> {
    match report {
        Report::SgxEnclave(_) => None,
        Report::TD10(_) | Report::TD15(_) | Report::TD15Ex(_) => report.as_td10(),
    }
}

fn last_certificate(chain: &str) -> Result<Vec<u8>, QuoteError> {
    let last = Pem::iter_from_buffer(chain.as_bytes()).last();
    match last {
        Some(Ok(pem)) => Ok(pem.contents),
        Some(Err(_)) | None => Err(QuoteError::NoRoot),
    }
}

fn theirs(ours: &Collateral) -> QuoteCollateralV3 {
    let ours = ours.clone();
    QuoteCollateralV3 {
        pck_crl_issuer_chain: ours.pck_crl_issuer_chain,
        root_ca_crl: ours.root_ca_crl,
        pck_crl: ours.pck_crl,
        tcb_info_issuer_chain: ours.tcb_info_issuer_chain,
        tcb_info: ours.tcb_info,
        tcb_info_signature: ours.tcb_info_signature,
        qe_identity_issuer_chain: ours.qe_identity_issuer_chain,
        qe_identity: ours.qe_identity,
        qe_identity_signature: ours.qe_identity_signature,
        pck_certificate_chain: ours.pck_certificate_chain,
    }
}

/// The crate's own reader of certificates with this program's only crypto provider.
struct OneProvider;

impl Config for OneProvider {
    type X509 = X509CertBackend;
    type SigEncoder = DerSigEncoder;
    type Crypto = AwsLc;
}

struct AwsLc;

impl CryptoProvider for AwsLc {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        &EcdsaP256Sha256
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(digest(&SHA256, data).as_ref());
        out
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        let mut out = [0; 48];
        out.copy_from_slice(digest(&SHA384, data).as_ref());
        out
    }
}

/// The only algorithm of Intel's chain.
#[derive(Debug)]
struct EcdsaP256Sha256;

impl SignatureVerificationAlgorithm for EcdsaP256Sha256 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public_key)
            .verify(message, signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA256
    }
}

/// Why a quote is not genuine, current and a production guest's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// The collateral's chain has no certificate to start from.
    #[error("the collateral has no root certificate")]
    NoRoot,
    /// The chain starts from a root that is not trusted.
    #[error("the collateral leads to the root {found}, which is not trusted")]
    Root {
        /// Its hash.
        found: RootHash,
    },
    /// The caller's clock is before 1970.
    #[error("the clock is before 1970")]
    Clock,
    /// A link of the chain, a signature, a date, a revocation, or the guest's attributes.
    #[error("the quote does not hold: {0}")]
    Chain(String),
    /// A quote of an SGX enclave.
    #[error("the quote is not a tdx guest's")]
    NotTdx,
    /// A status that no policy can allow.
    #[error("the platform has the status {0}, which can never be trusted")]
    Status(String),
}
