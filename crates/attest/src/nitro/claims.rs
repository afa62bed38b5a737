//! Step 2: what the document says, read strictly.
//!
//! Guarantees: exactly the nine promised fields, each once, of its type and within its limit (`SPEC.md` has the table).
//! Refuses to know whether any of it is true.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ciborium::value::Value;

use super::envelope::whole_cbor;
use super::pcr::{MAX_INDEX, PCR_BYTES, Pcr, Pcrs};

/// Longest certificate in a document.
pub const MAX_CERTIFICATE_BYTES: usize = 1024;
/// Most certificates in the bundle. Genuine ones have four.
pub const MAX_CABUNDLE: usize = 8;
/// Longest `public_key`.
pub const MAX_PUBLIC_KEY_BYTES: usize = 1024;
/// Longest `user_data`.
pub const MAX_USER_DATA_BYTES: usize = 512;
/// Longest `nonce`.
pub const MAX_NONCE_BYTES: usize = 512;
/// Longest `module_id`. Genuine ones have about 40 characters.
pub const MAX_MODULE_ID_BYTES: usize = 256;

/// The fields of a document, certificates apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `i-<instance>-enc<id>`, printable ASCII.
    pub module_id: String,
    /// When the hypervisor made the document, in milliseconds since 1970.
    pub timestamp_ms: u64,
    /// The locked registers.
    pub pcrs: Pcrs,
    /// A key of the enclave's choice.
    pub public_key: Option<Vec<u8>>,
    /// Bytes of the enclave's choice.
    pub user_data: Option<Vec<u8>>,
    /// The asker's challenge.
    pub nonce: Option<Vec<u8>>,
}

impl Claims {
    /// [`Self::timestamp_ms`] as a time.
    #[must_use]
    pub fn issued(&self) -> SystemTime {
        UNIX_EPOCH
            .checked_add(Duration::from_millis(self.timestamp_ms))
            .unwrap_or(UNIX_EPOCH)
    }
}

/// The certificates that came with the claims: DER, not yet looked into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificates {
    /// The one that signed the document.
    pub leaf: Vec<u8>,
    /// Root first.
    pub bundle: Vec<Vec<u8>>,
}

/// Reads the payload of an envelope.
///
/// # Errors
/// [`ClaimsError`] names the first field that is not as promised.
pub fn parse(payload: &[u8]) -> Result<(Claims, Certificates), ClaimsError> {
    let Some(Value::Map(entries)) = whole_cbor(payload) else {
        return Err(ClaimsError::NotAMap);
    };
    let mut fields = Fields::default();
    for (key, value) in entries {
        let Value::Text(key) = key else {
            return Err(ClaimsError::Key);
        };
        fields.put(&key, value)?;
    }

    if text(fields.digest, "digest")? != "SHA384" {
        return Err(ClaimsError::Digest);
    }
    let claims = Claims {
        module_id: module_id(fields.module_id)?,
        timestamp_ms: timestamp(fields.timestamp)?,
        pcrs: pcrs(fields.pcrs)?,
        public_key: optional_bytes(fields.public_key, "public_key", 1..=MAX_PUBLIC_KEY_BYTES)?,
        user_data: optional_bytes(fields.user_data, "user_data", 0..=MAX_USER_DATA_BYTES)?,
        nonce: optional_bytes(fields.nonce, "nonce", 0..=MAX_NONCE_BYTES)?,
    };
    let certificates = Certificates {
        leaf: bytes(
            present(fields.certificate, "certificate")?,
            "certificate",
            1..=MAX_CERTIFICATE_BYTES,
        )?,
        bundle: bundle(fields.cabundle)?,
    };
    Ok((claims, certificates))
}

/// Writes a payload in the order of genuine documents: what a TEE does, here for simulations and tests.
#[must_use]
pub fn write(claims: &Claims, certificates: &Certificates) -> Vec<u8> {
    let optional = |bytes: &Option<Vec<u8>>| bytes.clone().map_or(Value::Null, Value::Bytes);
    let pcrs = claims
        .pcrs
        .iter()
        .map(|(index, pcr)| (Value::from(*index), Value::Bytes(pcr.as_bytes().to_vec())));
    let fields = [
        ("module_id", Value::from(claims.module_id.as_str())),
        ("digest", Value::from("SHA384")),
        ("timestamp", Value::from(claims.timestamp_ms)),
        ("pcrs", Value::Map(pcrs.collect())),
        ("certificate", Value::Bytes(certificates.leaf.clone())),
        (
            "cabundle",
            Value::Array(
                certificates
                    .bundle
                    .iter()
                    .cloned()
                    .map(Value::Bytes)
                    .collect(),
            ),
        ),
        ("public_key", optional(&claims.public_key)),
        ("user_data", optional(&claims.user_data)),
        ("nonce", optional(&claims.nonce)),
    ];
    let map = Value::Map(
        fields
            .into_iter()
            .map(|(key, value)| (Value::from(key), value))
            .collect(),
    );
    let mut payload = Vec::new();
    // Writing to memory cannot fail; an empty payload would be refused by every reader.
    if ciborium::into_writer(&map, &mut payload).is_err() {
        payload.clear();
    }
    payload
}

/// The nine fields, each at most once.
#[derive(Default)]
struct Fields {
    module_id: Option<Value>,
    digest: Option<Value>,
    timestamp: Option<Value>,
    pcrs: Option<Value>,
    certificate: Option<Value>,
    cabundle: Option<Value>,
    public_key: Option<Value>,
    user_data: Option<Value>,
    nonce: Option<Value>,
}

impl Fields {
    fn put(&mut self, key: &str, value: Value) -> Result<(), ClaimsError> {
        let (slot, name) = match key {
            "module_id" => (&mut self.module_id, "module_id"),
            "digest" => (&mut self.digest, "digest"),
            "timestamp" => (&mut self.timestamp, "timestamp"),
            "pcrs" => (&mut self.pcrs, "pcrs"),
            "certificate" => (&mut self.certificate, "certificate"),
            "cabundle" => (&mut self.cabundle, "cabundle"),
            "public_key" => (&mut self.public_key, "public_key"),
            "user_data" => (&mut self.user_data, "user_data"),
            "nonce" => (&mut self.nonce, "nonce"),
            _ => return Err(ClaimsError::Key),
        };
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(ClaimsError::Duplicate { field: name }),
        }
    }
}

fn present(value: Option<Value>, field: &'static str) -> Result<Value, ClaimsError> {
    value.ok_or(ClaimsError::Missing { field })
}

fn text(value: Option<Value>, field: &'static str) -> Result<String, ClaimsError> {
    present(value, field)?
        .into_text()
        .map_err(|_| ClaimsError::Type { field })
}

fn module_id(value: Option<Value>) -> Result<String, ClaimsError> {
    let id = text(value, "module_id")?;
    let within = (1..=MAX_MODULE_ID_BYTES).contains(&id.len());
    let printable = id
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if within && printable {
        Ok(id)
    } else {
        Err(ClaimsError::Range { field: "module_id" })
    }
}

fn timestamp(value: Option<Value>) -> Result<u64, ClaimsError> {
    let integer = present(value, "timestamp")?
        .into_integer()
        .map_err(|_| ClaimsError::Type { field: "timestamp" })?;
    match u64::try_from(integer) {
        Ok(0) | Err(_) => Err(ClaimsError::Range { field: "timestamp" }),
        Ok(ms) => Ok(ms),
    }
}

fn pcrs(value: Option<Value>) -> Result<Pcrs, ClaimsError> {
    let field = "pcrs";
    let entries = present(value, field)?
        .into_map()
        .map_err(|_| ClaimsError::Type { field })?;
    let mut pcrs = Pcrs::new();
    for (index, value) in entries {
        let index = index
            .into_integer()
            .map_err(|_| ClaimsError::Type { field })?;
        let index = u8::try_from(index).ok().filter(|index| *index <= MAX_INDEX);
        let index = index.ok_or(ClaimsError::Range { field })?;
        let value = value
            .into_bytes()
            .map_err(|_| ClaimsError::Type { field })?;
        let value: [u8; PCR_BYTES] = value.try_into().map_err(|_| ClaimsError::Range { field })?;
        if pcrs.insert(index, Pcr::new(value)).is_some() {
            return Err(ClaimsError::Duplicate { field });
        }
    }
    if pcrs.is_empty() {
        Err(ClaimsError::Range { field })
    } else {
        Ok(pcrs)
    }
}

fn bundle(value: Option<Value>) -> Result<Vec<Vec<u8>>, ClaimsError> {
    let field = "cabundle";
    let items = present(value, field)?
        .into_array()
        .map_err(|_| ClaimsError::Type { field })?;
    if !(1..=MAX_CABUNDLE).contains(&items.len()) {
        return Err(ClaimsError::Range { field });
    }
    items
        .into_iter()
        .map(|item| bytes(item, field, 1..=MAX_CERTIFICATE_BYTES))
        .collect()
}

fn bytes(
    value: Value,
    field: &'static str,
    range: std::ops::RangeInclusive<usize>,
) -> Result<Vec<u8>, ClaimsError> {
    let bytes = value
        .into_bytes()
        .map_err(|_| ClaimsError::Type { field })?;
    if range.contains(&bytes.len()) {
        Ok(bytes)
    } else {
        Err(ClaimsError::Range { field })
    }
}

fn optional_bytes(
    value: Option<Value>,
    field: &'static str,
    range: std::ops::RangeInclusive<usize>,
) -> Result<Option<Vec<u8>>, ClaimsError> {
    match present(value, field)? {
        Value::Null => Ok(None),
        value => bytes(value, field, range).map(Some),
    }
}

/// Why a payload is not what was promised. The fault is the document's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimsError {
    /// Not exactly one CBOR map.
    #[error("the payload is not one cbor map")]
    NotAMap,
    /// A key that is not text, or not one of the nine.
    #[error("the payload has a key that nobody promised")]
    Key,
    /// A key that comes twice.
    #[error("{field} comes twice")]
    Duplicate {
        /// Which.
        field: &'static str,
    },
    /// A field that is not there.
    #[error("{field} is missing")]
    Missing {
        /// Which.
        field: &'static str,
    },
    /// A field of another type.
    #[error("{field} has the wrong type")]
    Type {
        /// Which.
        field: &'static str,
    },
    /// A field over or under its limits.
    #[error("{field} is outside its limits")]
    Range {
        /// Which.
        field: &'static str,
    },
    /// Registers of another hash.
    #[error("the digest is not sha384")]
    Digest,
}
