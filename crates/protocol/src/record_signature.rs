//! What a record signature covers, and checking it (`spec/protocol.md` §12).

use serde_json::{Map, Value};

use crate::canonical_json::NotCanonical;
use crate::context::{ContextHash, ContextName};
use crate::did::Did;
use crate::hash::keccak256;
use crate::signature::{PublicKey, Signature};

/// The member name under which a signer's signature is kept: `lower(did?context=hash)`.
pub fn signature_key(did: &Did, context: &ContextName) -> String {
    format!(
        "{}?context={}",
        did.lowercase(),
        ContextHash::of(did, context)
    )
}

/// The digest that is signed: the record without `signatures` and `_rev`, its schema without
/// version, in canonical JSON.
pub fn digest(record: &Map<String, Value>) -> Result<[u8; 32], NotCanonical> {
    signed_text(record).map(|text| keccak256(text.as_bytes()))
}

/// The canonical text behind [`digest`].
pub fn signed_text(record: &Map<String, Value>) -> Result<String, NotCanonical> {
    let mut covered = record.clone();
    covered.remove("signatures");
    covered.remove("_rev");
    if let Some(Value::String(schema)) = covered.get_mut("schema") {
        *schema = versionless_schema(schema);
    }
    crate::canonical_json::to_string(&Value::Object(covered))
}

/// Checks the signature that `signer` left on `record` with the context key `key`, and returns it.
/// `None` when it is absent or does not verify. Both value forms are read: the object, and the bare
/// text of old records.
pub fn verify(
    record: &Map<String, Value>,
    signer: &Did,
    context: &ContextName,
    key: &PublicKey,
) -> Option<Signature> {
    let entry = record
        .get("signatures")?
        .get(signature_key(signer, context))?;
    let text = entry
        .as_str()
        .or_else(|| entry.get("secp256k1").and_then(Value::as_str))?;
    let signature: Signature = text.parse().ok()?;
    signature
        .verify(digest(record).ok()?, &key.address())
        .ok()?;
    Some(signature)
}

/// `…/v0.1.0/schema.json` and `…/latest/schema.json` become `…/schema.json`; anything else stays.
pub fn versionless_schema(schema: &str) -> String {
    let versionless = || {
        let (base, version) = schema.strip_suffix("/schema.json")?.rsplit_once('/')?;
        let numbers = version
            .strip_prefix('v')
            .is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
        (numbers || version == "latest").then(|| format!("{base}/schema.json"))
    };
    versionless().unwrap_or_else(|| schema.to_owned())
}
