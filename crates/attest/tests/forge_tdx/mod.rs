//! A second workshop: a platform authority shaped like Intel's, quotes and collateral, each part of which a test can spoil.

#![allow(dead_code, reason = "each test file uses its own part of the workshop")]
#![allow(unreachable_pub, reason = "a module of tests has no outside")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adyton_attest::nitro::RootHash;
use adyton_attest::tdx::Collateral;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DnType,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};

/// The moment at which everything here is valid.
pub fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

pub const DAY: Duration = Duration::from_secs(24 * 3600);

/// What a guest's quote says.
#[derive(Clone)]
pub struct Guest {
    pub mrtd: [u8; 48],
    pub rtmr: [[u8; 48]; 4],
    pub attributes: [u8; 8],
    pub report_data: [u8; 64],
}

impl Guest {
    /// A production guest: SEPT_VE_DISABLE is set, and nothing else.
    pub fn new() -> Self {
        Self {
            mrtd: [0xa0; 48],
            rtmr: [[0xb0; 48], [0xb1; 48], [0xb2; 48], [0; 48]],
            attributes: [0, 0, 0, 0x10, 0, 0, 0, 0],
            report_data: [0; 64],
        }
    }
}

/// Certificates from the root to the platform, and whoever signs collateral.
pub struct Vendor {
    root: Certified,
    signer: Certified,
    authority: Certified,
    platform: Certified,
    attestation_key: KeyPair,
    /// The status of the platform's TCB level.
    pub tcb_status: &'static str,
    /// Whether the platform's certificate is on the revocation list.
    pub revoked: bool,
    /// When lists and levels were made; they hold for 30 days.
    pub issued: SystemTime,
}

struct Certified {
    params: CertificateParams,
    key: KeyPair,
    der: Vec<u8>,
}

impl Certified {
    fn root(now: SystemTime) -> Self {
        let params = params("test root", true, now);
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self { params, key, der }
    }

    fn below(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let issued = params.signed_by(&key, &self.issuer()).unwrap();
        let der = issued.der().to_vec();
        Self { params, key, der }
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    fn pem(&self) -> String {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        let text = STANDARD.encode(&self.der);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    }

    fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        sign(&self.key, bytes)
    }
}

fn sign(key: &KeyPair, bytes: &[u8]) -> Vec<u8> {
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.serialized_der());
    let signature = key.unwrap().sign(&SystemRandom::new(), bytes).unwrap();
    signature.as_ref().to_vec()
}

fn params(name: &str, ca: bool, now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = (now - DAY * 365).into();
    params.not_after = (now + DAY * 365).into();
    params.serial_number = Some(SerialNumber::from(name.len() as u64));
    if ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    } else {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    }
    params
}

const FMSPC: [u8; 6] = [0, 0x80, 0x6f, 5, 0, 0];
const CPU_SVN: [u8; 16] = [3; 16];
const PCE_SVN: u8 = 11;
const QE_SIGNER: [u8; 32] = [0xdc; 32];

/// DER of one value.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        short @ 0..128 => out.push(short as u8),
        long => out.extend([0x82, (long >> 8) as u8, long as u8]),
    }
    out.extend(content);
    out
}

/// `SEQUENCE { OID 1.2.840.113741.1.13.1.<last>, value }`.
fn item(last: &[u8], value: &[u8]) -> Vec<u8> {
    let oid = [&[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 1, 13, 1], last].concat();
    der(0x30, &[der(0x06, &oid), value.to_vec()].concat())
}

/// What a platform's certificate says about it (Intel SGX PCK certificate profile).
fn platform_extension() -> CustomExtension {
    let mut tcb = Vec::new();
    for at in 1..=16 {
        tcb.extend(item(&[2, at], &der(0x02, &[3])));
    }
    tcb.extend(item(&[2, 17], &der(0x02, &[PCE_SVN])));
    tcb.extend(item(&[2, 18], &der(0x04, &CPU_SVN)));
    let items = [
        item(&[1], &der(0x04, &[9; 16])),
        item(&[2], &der(0x30, &tcb)),
        item(&[3], &der(0x04, &[0, 0])),
        item(&[4], &der(0x04, &FMSPC)),
        item(&[5], &der(0x0a, &[0])),
    ];
    let oid = [1, 2, 840, 113_741, 1, 13, 1];
    CustomExtension::from_oid_content(&oid, der(0x30, &items.concat()))
}

impl Vendor {
    pub fn new() -> Self {
        Self::at(now())
    }

    /// With everything valid around this time.
    pub fn at(now: SystemTime) -> Self {
        let root = Certified::root(now);
        let authority = root.below(params("test Platform authority", true, now));
        let mut leaf = params("test platform", false, now);
        leaf.custom_extensions = vec![platform_extension()];
        Self {
            signer: root.below(params("test signer", false, now)),
            platform: authority.below(leaf),
            authority,
            root,
            attestation_key: KeyPair::generate().unwrap(),
            tcb_status: "UpToDate",
            revoked: false,
            issued: now - DAY,
        }
    }

    pub fn root(&self) -> RootHash {
        RootHash::of(&self.root.der)
    }

    fn list(&self, by: &Certified, revoked: Option<&Certified>) -> Vec<u8> {
        let revoked = revoked.map(|certified| RevokedCertParams {
            serial_number: certified.params.serial_number.clone().unwrap(),
            revocation_time: self.issued.into(),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: self.issued.into(),
            next_update: (self.issued + DAY * 30).into(),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.into_iter().collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&by.issuer()).unwrap().der().to_vec()
    }

    pub fn collateral(&self) -> Collateral {
        use serde_json::json;
        let date = |at: SystemTime| {
            let at = time::OffsetDateTime::from(at);
            let format = time::format_description::well_known::Rfc3339;
            at.format(&format).unwrap()
        };
        let (made, next) = (date(self.issued), date(self.issued + DAY * 30));
        let components = |svn: u8| vec![json!({ "svn": svn }); 16];
        let tcb_info = json!({
            "id": "TDX", "version": 3, "issueDate": made, "nextUpdate": next,
            "fmspc": hex::encode(FMSPC), "pceId": "0000", "tcbType": 0,
            "tcbEvaluationDataNumber": 17,
            "tdxModule": {
                "mrsigner": "00".repeat(48), "attributes": "00".repeat(8),
                "attributesMask": "ff".repeat(8),
            },
            "tcbLevels": [{
                "tcb": {
                    "sgxtcbcomponents": components(3), "pcesvn": PCE_SVN,
                    "tdxtcbcomponents": components(0),
                },
                "tcbDate": made, "tcbStatus": self.tcb_status,
            }],
        })
        .to_string();
        let qe_identity = json!({
            "id": "TD_QE", "version": 2, "issueDate": made, "nextUpdate": next,
            "tcbEvaluationDataNumber": 17, "miscselect": "00000000",
            "miscselectMask": "ffffffff", "attributes": "11".to_owned() + &"00".repeat(15),
            "attributesMask": "fb".to_owned() + &"ff".repeat(7) + &"00".repeat(8),
            "mrsigner": hex::encode(QE_SIGNER), "isvprodid": 2,
            "tcbLevels": [{ "tcb": { "isvsvn": 4 }, "tcbDate": made, "tcbStatus": "UpToDate" }],
        })
        .to_string();
        let chain = self.signer.pem() + &self.root.pem();
        Collateral {
            pck_crl_issuer_chain: self.authority.pem() + &self.root.pem(),
            root_ca_crl: self.list(&self.root, None),
            pck_crl: self.list(&self.authority, self.revoked.then_some(&self.platform)),
            tcb_info_issuer_chain: chain.clone(),
            tcb_info_signature: self.signer.sign(tcb_info.as_bytes()),
            tcb_info,
            qe_identity_issuer_chain: chain,
            qe_identity_signature: self.signer.sign(qe_identity.as_bytes()),
            qe_identity,
            pck_certificate_chain: None,
        }
    }

    /// A version 4 quote (Intel TDX DCAP quoting library API, appendix A.3).
    pub fn quote(&self, guest: &Guest) -> Vec<u8> {
        let mut quote = Vec::new();
        quote.extend(4_u16.to_le_bytes());
        quote.extend(2_u16.to_le_bytes());
        quote.extend(0x81_u32.to_le_bytes());
        quote.extend([0; 4]);
        quote.extend([
            0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f,
            0x06, 0x07,
        ]);
        quote.extend([0; 20]);
        // The guest's report: TCB numbers, module, its signer and attributes; then the guest's own.
        quote.extend([0; 16 + 48 + 48 + 8]);
        quote.extend(guest.attributes);
        quote.extend([0; 8]);
        quote.extend(guest.mrtd);
        quote.extend([0; 3 * 48]);
        guest
            .rtmr
            .iter()
            .for_each(|register| quote.extend(register));
        quote.extend(guest.report_data);
        assert_eq!(quote.len(), 48 + 584);

        let signature = sign(&self.attestation_key, &quote);
        let attestation_key = &self.attestation_key.public_key_raw()[1..];
        let authentication = [7; 32];
        let bound = [attestation_key, &authentication].concat();

        let mut report = vec![0; 16 + 4 + 28];
        report.push(0x11);
        report.extend([0; 15 + 32 + 32]);
        report.extend(QE_SIGNER);
        report.extend([0; 96]);
        report.extend(2_u16.to_le_bytes());
        report.extend(4_u16.to_le_bytes());
        report.extend([0; 60]);
        report.extend(digest(&SHA256, &bound).as_ref());
        report.extend([0; 32]);
        assert_eq!(report.len(), 384);

        let chain = self.platform.pem() + &self.authority.pem() + &self.root.pem();
        let mut certification = report.clone();
        certification.extend(self.platform.sign(&report));
        certification.extend(32_u16.to_le_bytes());
        certification.extend(authentication);
        certification.extend(5_u16.to_le_bytes());
        certification.extend((chain.len() as u32).to_le_bytes());
        certification.extend(chain.as_bytes());

        let mut signed = signature;
        signed.extend(attestation_key);
        signed.extend(6_u16.to_le_bytes());
        signed.extend((certification.len() as u32).to_le_bytes());
        signed.extend(certification);
        quote.extend((signed.len() as u32).to_le_bytes());
        quote.extend(signed);
        quote
    }
}
