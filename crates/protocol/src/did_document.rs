//! DID documents: made, signed, parsed, and verified **against the DID's own address**
//! (`spec/protocol.md` §6).
//!
//! The reference checks a document's proof against a key inside the document, which proves nothing.
//! Here the key must have the address that the DID names.

use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

use crate::address::Address;
use crate::canonical_json::NotCanonical;
use crate::consent;
use crate::context::{ContextHash, ContextName};
use crate::did::{Did, Network};
use crate::hash::{HashError, hash_value};
use crate::signature::{PublicKey, Signature};

/// Whole seconds, UTC, suffix `Z`: the form of `created` and `updated`.
const SECONDS: &[FormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");

const VERIFICATION_KEY: &str = "EcdsaSecp256k1VerificationKey2019";

/// The kind of service whose endpoints are the redirect URIs of an app (docs/consent.md).
pub const REDIRECT_SERVICE: &str = "OAuthRedirectUri";

/// Largest accepted document, in bytes of JSON.
pub const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// The document is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DidDocumentError {
    /// A required member is missing or has the wrong form.
    #[error("the DID document lacks a valid `{0}`")]
    Member(&'static str),
    /// It describes another DID.
    #[error("the DID document belongs to another DID")]
    OtherDid,
    /// The proof was not made by the key that the DID names.
    #[error("the DID document's proof was not made by the DID's own key")]
    Proof,
    /// The proof of a context's signing key is missing or was not made by the DID's own key.
    #[error("the DID document names a context key without the DID's proof")]
    ContextProof,
    /// It cannot be signed faithfully.
    #[error("the DID document cannot be signed faithfully: {0}")]
    NotCanonical(#[from] NotCanonical),
    /// The new version number is not the next one.
    #[error("Incorrect value for versionId (Expected {expected})")]
    Version {
        /// The number that would have been right.
        expected: u64,
    },
    /// `created` was changed, or the first version is not number 0.
    #[error("the DID document changes `created`")]
    CreatedChanged,
    /// `updated` went backwards.
    #[error("updated must be after the current document")]
    UpdatedEarlier,
}

/// Service endpoints of one context, as URLs that end in `/`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContextEndpoints {
    /// Storage nodes that keep the databases.
    pub database: Vec<String>,
    /// Nodes that take messages.
    pub messaging: Vec<String>,
    /// File storage, optional.
    pub storage: Vec<String>,
    /// Notification servers, optional.
    pub notification: Vec<String>,
}

/// The public keys of one context and the DID's proof over its signing key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextKeys {
    /// The context's signing key.
    pub sign: PublicKey,
    /// The context's X25519 key.
    pub asym: [u8; 32],
    /// The account key's signature over [`consent::context_proof`].
    pub proof: Signature,
}

/// A document that its owner is about to sign.
#[derive(Debug, Clone)]
pub struct UnsignedDidDocument {
    did: Did,
    members: Map<String, Value>,
}

impl UnsignedDidDocument {
    /// A first version (number 0) without contexts.
    pub fn new(did: &Did, key: &PublicKey, now: OffsetDateTime) -> Self {
        let id = did.lowercase();
        let controller = format!("{id}#controller");
        let account = format!(
            "@eip155:{}:{}",
            did.anchor().chain_id_hex(),
            did.address().checksummed()
        );
        let value = json!({
            "id": id,
            "created": whole_seconds(now),
            "updated": whole_seconds(now),
            "controller": id,
            "versionId": 0,
            "assertionMethod": [controller, id],
            "verificationMethod": [
                { "id": controller, "type": "EcdsaSecp256k1RecoveryMethod2020", "controller": id,
                  "blockchainAccountId": account },
                { "id": id, "type": VERIFICATION_KEY, "controller": id,
                  "publicKeyHex": hex::encode(key.uncompressed()) },
            ],
            "authentication": [controller, id],
        });
        Self {
            did: did.clone(),
            members: object(value),
        }
    }

    /// The next version of a verified document: same content, number + 1, `updated` now.
    pub fn successor_of(current: &DidDocument, now: OffsetDateTime) -> Self {
        let mut members = current.members.clone();
        members.remove("proof");
        members.insert("versionId".to_owned(), json!(current.version_id + 1));
        members.insert("updated".to_owned(), json!(whole_seconds(now)));
        Self {
            did: current.did.clone(),
            members,
        }
    }

    /// Adds a context, replacing it if it is there (order as the reference writes it, §6.2).
    pub fn add_context(
        &mut self,
        network: Network,
        context: &ContextName,
        keys: &ContextKeys,
        endpoints: &ContextEndpoints,
    ) {
        let prefix = entry_prefix(
            &self.did,
            Some(network),
            &ContextHash::of(&self.did, context),
        );
        self.remove_context(network, context);
        let services = [
            ("database", "VeridaDatabase", &endpoints.database),
            ("messaging", "VeridaMessage", &endpoints.messaging),
            ("storage", "VeridaStorage", &endpoints.storage),
            (
                "notification",
                "VeridaNotification",
                &endpoints.notification,
            ),
        ];
        for (kind, type_name, urls) in services {
            let required = matches!(kind, "database" | "messaging");
            if required || !urls.is_empty() {
                let id = format!("{prefix}&type={kind}");
                self.push(
                    "service",
                    json!({
                        "id": id, "type": type_name, "serviceEndpoint": urls,
                    }),
                );
            }
        }
        let controller = self.did.lowercase().to_owned();
        let (sign_id, asym_id) = (format!("{prefix}&type=sign"), format!("{prefix}&type=asym"));
        self.push("verificationMethod", json!({
            "id": sign_id, "type": VERIFICATION_KEY, "controller": controller,
            "proof": keys.proof.to_string(), "publicKeyHex": hex::encode(keys.sign.compressed()),
        }));
        self.push("assertionMethod", json!(sign_id));
        self.push(
            "verificationMethod",
            json!({
                "id": asym_id, "type": "X25519KeyAgreementKey2019", "controller": controller,
                "publicKeyHex": hex::encode(keys.asym),
            }),
        );
        self.push("keyAgreement", json!(asym_id));
        self.push("assertionMethod", json!(asym_id));
    }

    /// Removes a context; a context that is not there is left alone.
    pub fn remove_context(&mut self, network: Network, context: &ContextName) {
        let prefix = entry_prefix(
            &self.did,
            Some(network),
            &ContextHash::of(&self.did, context),
        );
        let belongs = |id: Option<&str>| id.is_some_and(|id| id.starts_with(&prefix));
        for member in [
            "assertionMethod",
            "keyAgreement",
            "verificationMethod",
            "service",
        ] {
            let Some(Value::Array(entries)) = self.members.get_mut(member) else {
                continue;
            };
            entries.retain(|entry| {
                !belongs(
                    entry
                        .as_str()
                        .or_else(|| entry.get("id").and_then(Value::as_str)),
                )
            });
        }
    }

    /// The digest that the account key signs.
    pub fn proof_digest(&self) -> Result<[u8; 32], NotCanonical> {
        digest_without_proof(&self.members)
    }

    /// Attaches the proof and checks it.
    pub fn sign_with(self, proof: &Signature) -> Result<DidDocument, DidDocumentError> {
        let mut members = self.members;
        members.insert(
            "proof".to_owned(),
            json!({
                "type": VERIFICATION_KEY,
                "verificationMethod": self.did.lowercase(),
                "proofPurpose": "assertionMethod",
                "proofValue": proof.to_string(),
            }),
        );
        DidDocument::verify(Value::Object(members), &self.did)
    }

    /// Adds a service of the DID as a whole, such as where an app may be answered ([`REDIRECT_SERVICE`]), replacing the one of
    /// that kind.
    pub fn set_service(&mut self, kind: &str, endpoints: &[String]) {
        if let Some(Value::Array(entries)) = self.members.get_mut("service") {
            entries.retain(|entry| entry.get("type").and_then(Value::as_str) != Some(kind));
        }
        let id = format!("{}#{kind}", self.did.lowercase());
        let entry = json!({ "id": id, "type": kind, "serviceEndpoint": endpoints });
        self.push("service", entry);
    }

    /// Appends to a list, making it when it is not there.
    fn push(&mut self, member: &str, entry: Value) {
        match self.members.get_mut(member) {
            Some(Value::Array(list)) => list.push(entry),
            _ => {
                self.members
                    .insert(member.to_owned(), Value::Array(vec![entry]));
            }
        }
    }
}

/// A document whose proof was made by the key that its DID names. Made only by [`DidDocument::verify`].
#[derive(Debug, Clone)]
pub struct DidDocument {
    did: Did,
    members: Map<String, Value>,
    version_id: u64,
    created: String,
    updated: String,
}

impl DidDocument {
    /// Checks form, subject and proof (`spec/protocol.md` §§6.1, 6.5) of a document for `did`.
    pub fn verify(document: Value, did: &Did) -> Result<Self, DidDocumentError> {
        let Value::Object(members) = document else {
            return Err(DidDocumentError::Member("id"));
        };
        let text = |name: &'static str| {
            members
                .get(name)
                .and_then(Value::as_str)
                .ok_or(DidDocumentError::Member(name))
        };
        if text("id")?.to_ascii_lowercase() != did.lowercase() {
            return Err(DidDocumentError::OtherDid);
        }
        let version_id = members
            .get("versionId")
            .and_then(Value::as_u64)
            .ok_or(DidDocumentError::Member("versionId"))?;
        let created = timestamp(text("created")?, "created")?;
        let updated = timestamp(text("updated")?, "updated")?;
        if !members.get("deactivated").is_none_or(Value::is_boolean) {
            return Err(DidDocumentError::Member("deactivated"));
        }
        let proof = members
            .get("proof")
            .ok_or(DidDocumentError::Member("proof"))?;
        if proof.get("type").and_then(Value::as_str) != Some(VERIFICATION_KEY) {
            return Err(DidDocumentError::Member("proof"));
        }
        let signature: Signature = proof
            .get("proofValue")
            .and_then(Value::as_str)
            .and_then(|value| value.parse().ok())
            .ok_or(DidDocumentError::Member("proof"))?;
        let digest = digest_without_proof(&members)?;
        signature
            .verify(digest, &did.address())
            .map_err(|_| DidDocumentError::Proof)?;
        Ok(Self {
            did: did.clone(),
            members,
            version_id,
            created,
            updated,
        })
    }

    /// The DID that it describes.
    pub fn did(&self) -> &Did {
        &self.did
    }

    /// 0 for the first version, then one more with each.
    pub fn version_id(&self) -> u64 {
        self.version_id
    }

    /// True when the owner switched the DID off.
    pub fn is_deactivated(&self) -> bool {
        self.members
            .get("deactivated")
            .and_then(Value::as_bool)
            .unwrap_or(false)
    }

    /// The complete document.
    pub fn to_json(&self) -> Value {
        Value::Object(self.members.clone())
    }

    /// Checks the rules for replacing `current` by this document (§6.6), and returns this document.
    pub fn as_successor_of(self, current: &Self) -> Result<Self, DidDocumentError> {
        let expected = current.version_id + 1;
        if self.did != current.did {
            Err(DidDocumentError::OtherDid)
        } else if self.version_id != expected {
            Err(DidDocumentError::Version { expected })
        } else if self.created != current.created {
            Err(DidDocumentError::CreatedChanged)
        } else if self.updated < current.updated {
            // Fixed-width UTC text: order of text is order of time.
            Err(DidDocumentError::UpdatedEarlier)
        } else {
            Ok(self)
        }
    }

    /// Checks the rule for a first version, and returns this document.
    pub fn as_first(self) -> Result<Self, DidDocumentError> {
        if self.version_id == 0 {
            Ok(self)
        } else {
            Err(DidDocumentError::Version { expected: 0 })
        }
    }

    /// The keys of a context on a network, with the DID's proof over the signing key checked.
    /// `None` when the document has no such context.
    pub fn context_keys(
        &self,
        network: Network,
        context: &ContextHash,
    ) -> Result<Option<ContextKeys>, DidDocumentError> {
        let Some(prefix) = self.context_prefix(network, context) else {
            return Ok(None);
        };
        let method =
            |kind: &str| self.entry("verificationMethod", &format!("{prefix}&type={kind}"));
        let hex_key = |entry: &Value| {
            entry
                .get("publicKeyHex")
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let (Some(sign), Some(asym)) = (method("sign"), method("asym")) else {
            return Ok(None);
        };
        let key: PublicKey = hex_key(sign)
            .and_then(|text| text.parse().ok())
            .ok_or(DidDocumentError::Member("publicKeyHex"))?;
        let mut asym_key = [0; 32];
        let asym_text = hex_key(asym).ok_or(DidDocumentError::Member("publicKeyHex"))?;
        hex::decode_to_slice(
            asym_text.strip_prefix("0x").unwrap_or(&asym_text),
            &mut asym_key,
        )
        .map_err(|_| DidDocumentError::Member("publicKeyHex"))?;
        let proof: Signature = sign
            .get("proof")
            .and_then(Value::as_str)
            .and_then(|text| text.parse().ok())
            .ok_or(DidDocumentError::ContextProof)?;
        let digest = consent::context_proof(&self.did, &key.address()).digest();
        proof
            .verify(digest, &self.did.address())
            .map_err(|_| DidDocumentError::ContextProof)?;
        Ok(Some(ContextKeys {
            sign: key,
            asym: asym_key,
            proof,
        }))
    }

    /// The service endpoints of a context on a network.
    pub fn context_endpoints(&self, network: Network, context: &ContextHash) -> ContextEndpoints {
        let Some(prefix) = self.context_prefix(network, context) else {
            return ContextEndpoints::default();
        };
        let urls = |kind: &str| {
            self.entry("service", &format!("{prefix}&type={kind}"))
                .and_then(|service| service.get("serviceEndpoint"))
                .map(endpoint_urls)
                .unwrap_or_default()
        };
        ContextEndpoints {
            database: urls("database"),
            messaging: urls("messaging"),
            storage: urls("storage"),
            notification: urls("notification"),
        }
    }

    /// The endpoints of all services of a kind. The proof over the whole document covers them.
    pub fn service_endpoints(&self, kind: &str) -> Vec<String> {
        self.array("service")
            .iter()
            .filter(|entry| entry.get("type").and_then(Value::as_str) == Some(kind))
            .filter_map(|entry| entry.get("serviceEndpoint"))
            .flat_map(endpoint_urls)
            .collect()
    }

    /// The hashes of all contexts that have a key agreement entry on this network, in order.
    pub fn contexts(&self, network: Network) -> Vec<ContextHash> {
        let marker = format!("?network={}&context=", network.name());
        let old = "?context=";
        let mut found = Vec::new();
        for id in self.array("keyAgreement").iter().filter_map(Value::as_str) {
            let after = match id.split_once(marker.as_str()) {
                Some((_, after)) => after,
                None if network == Network::Myrtle => match id.split_once(old) {
                    Some((_, after)) => after,
                    None => continue,
                },
                None => continue,
            };
            let hash = after.split('&').next().and_then(|text| text.parse().ok());
            found.extend(hash.filter(|hash| !found.contains(hash)));
        }
        found
    }

    /// The addresses that may sign a login for this context: the account key, and the context key
    /// that releases 4.0 to 4.3 of the original client used.
    pub fn login_addresses(&self, network: Network, context: &ContextName) -> Vec<Address> {
        let hash = ContextHash::of(&self.did, context);
        let context_key = self.context_keys(network, &hash).ok().flatten();
        let mut addresses = vec![self.did.address()];
        addresses.extend(context_key.map(|keys| keys.sign.address()));
        addresses
    }

    /// Entries are looked up with the network in their id; on myrtle also without (old documents).
    fn context_prefix(&self, network: Network, context: &ContextHash) -> Option<String> {
        let modern = entry_prefix(&self.did, Some(network), context);
        let old = entry_prefix(&self.did, None, context);
        let has = |prefix: &str| {
            self.entry("verificationMethod", &format!("{prefix}&type=sign"))
                .is_some()
        };
        if has(&modern) {
            Some(modern)
        } else if network == Network::Myrtle && has(&old) {
            Some(old)
        } else {
            None
        }
    }

    fn array(&self, member: &str) -> &[Value] {
        self.members
            .get(member)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    fn entry(&self, member: &str, id: &str) -> Option<&Value> {
        self.array(member).iter().find(|entry| {
            entry
                .get("id")
                .and_then(Value::as_str)
                .is_some_and(|text| text.eq_ignore_ascii_case(id))
        })
    }
}

fn entry_prefix(did: &Did, network: Option<Network>, context: &ContextHash) -> String {
    match network {
        Some(network) => format!(
            "{}?network={}&context={context}",
            did.lowercase(),
            network.name()
        ),
        None => format!("{}?context={context}", did.lowercase()),
    }
}

fn endpoint_urls(endpoint: &Value) -> Vec<String> {
    match endpoint {
        Value::String(url) => vec![url.clone()],
        Value::Array(urls) => urls
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    }
}

fn digest_without_proof(members: &Map<String, Value>) -> Result<[u8; 32], NotCanonical> {
    let mut unsigned = members.clone();
    unsigned.remove("proof");
    hash_value(&Value::Object(unsigned)).map_err(|error| match error {
        HashError::NotCanonical(reason) => reason,
        // Only a text can be odd hex, and this is an object.
        HashError::OddHex => NotCanonical::DecimalKey,
    })
}

/// ISO time with whole seconds; milliseconds are cut off, not rounded.
fn whole_seconds(now: OffsetDateTime) -> String {
    // The format has no failing component for a valid date.
    now.to_offset(time::UtcOffset::UTC)
        .format(SECONDS)
        .unwrap_or_default()
}

fn timestamp(text: &str, member: &'static str) -> Result<String, DidDocumentError> {
    time::PrimitiveDateTime::parse(text, SECONDS)
        .map(|_| text.to_owned())
        .map_err(|_| DidDocumentError::Member(member))
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
