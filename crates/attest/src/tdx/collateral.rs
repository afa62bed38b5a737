//! What Intel says about a platform beside the quote: revocation lists, TCB levels, the quoting enclave's identity.
//!
//! Guarantees: every part is there, within its limit and decoded. Refuses to know whether it is true: Intel signed each
//! part, and [`super::quote`] checks that; so it does not matter who hands it over.

use serde::{Deserialize, Serialize};

/// Longest collateral. Genuine ones have 14 to 25 kB.
pub const MAX_COLLATERAL_BYTES: usize = 48 * 1024;

/// Intel's collateral for one platform (Intel PCS API v4), as JSON with hexadecimal bytes: the form in which the usual
/// tools print it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Collateral {
    /// PEM: who signed the PCK revocation list, up to the root.
    pub pck_crl_issuer_chain: String,
    /// DER: the root's revocation list.
    #[serde(with = "hexadecimal")]
    pub root_ca_crl: Vec<u8>,
    /// DER: the revocation list of the platform's authority.
    #[serde(with = "hexadecimal")]
    pub pck_crl: Vec<u8>,
    /// PEM: who signed the TCB levels, up to the root.
    pub tcb_info_issuer_chain: String,
    /// JSON, kept as it was signed.
    pub tcb_info: String,
    /// Its signature.
    #[serde(with = "hexadecimal")]
    pub tcb_info_signature: Vec<u8>,
    /// PEM: who signed the quoting enclave's identity, up to the root.
    pub qe_identity_issuer_chain: String,
    /// JSON, kept as it was signed.
    pub qe_identity: String,
    /// Its signature.
    #[serde(with = "hexadecimal")]
    pub qe_identity_signature: Vec<u8>,
    /// PEM: the platform's own certificates. Some tools add them; the quote has them, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pck_certificate_chain: Option<String>,
}

impl Collateral {
    /// Reads the JSON text. Unknown and doubled members are refused.
    ///
    /// # Errors
    /// [`CollateralError`].
    pub fn from_json(json: &[u8]) -> Result<Self, CollateralError> {
        if json.len() > MAX_COLLATERAL_BYTES {
            return Err(CollateralError::TooLong);
        }
        serde_json::from_slice(json).map_err(|_| CollateralError::Json)
    }

    /// Writes the JSON text.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        // A struct of strings: serialising it cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Bytes as hexadecimal text.
mod hexadecimal {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        hex::decode(String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// Why bytes are not collateral. The fault is whose they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CollateralError {
    /// Over [`MAX_COLLATERAL_BYTES`].
    #[error("the collateral is longer than {MAX_COLLATERAL_BYTES} bytes")]
    TooLong,
    /// Not the JSON object with exactly the promised members.
    #[error("the collateral is not the promised json object")]
    Json,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collateral() -> Collateral {
        Collateral {
            pck_crl_issuer_chain: "a".to_owned(),
            root_ca_crl: vec![1, 2],
            pck_crl: vec![3],
            tcb_info_issuer_chain: "b".to_owned(),
            tcb_info: "{}".to_owned(),
            tcb_info_signature: vec![4],
            qe_identity_issuer_chain: "c".to_owned(),
            qe_identity: "{}".to_owned(),
            qe_identity_signature: vec![5],
            pck_certificate_chain: None,
        }
    }

    #[test]
    fn collateral_is_read_back_as_written() {
        let json = collateral().to_json();
        assert_eq!(Collateral::from_json(&json), Ok(collateral()));
        assert!(
            String::from_utf8(json)
                .unwrap()
                .contains(r#""root_ca_crl":"0102""#)
        );
    }

    #[test]
    fn a_missing_unknown_or_doubled_member_is_refused() {
        let whole: serde_json::Map<_, _> = serde_json::from_slice(&collateral().to_json()).unwrap();
        for name in whole.keys() {
            let mut less = whole.clone();
            less.remove(name);
            let json = serde_json::to_vec(&less).unwrap();
            assert_eq!(
                Collateral::from_json(&json),
                Err(CollateralError::Json),
                "{name}"
            );
        }
        let mut more = whole;
        more.insert("x".to_owned(), 1.into());
        let json = serde_json::to_vec(&more).unwrap();
        assert_eq!(Collateral::from_json(&json), Err(CollateralError::Json));
        let text = String::from_utf8(collateral().to_json()).unwrap();
        let doubled = text.replacen('{', r#"{"tcb_info":"{}","#, 1);
        assert_eq!(
            Collateral::from_json(doubled.as_bytes()),
            Err(CollateralError::Json)
        );
    }

    #[test]
    fn one_byte_over_the_limit_is_refused_and_the_limit_itself_is_not() {
        let mut json = collateral().to_json();
        json.resize(MAX_COLLATERAL_BYTES, b' ');
        assert!(Collateral::from_json(&json).is_ok());
        json.push(b' ');
        assert_eq!(Collateral::from_json(&json), Err(CollateralError::TooLong));
    }
}
