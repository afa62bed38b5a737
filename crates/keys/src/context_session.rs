//! The context session: what a wallet hands to a server so that it can act for one context
//! (`spec/protocol.md` §8.3). It contains the seed.

use std::collections::BTreeMap;
use std::fmt;

use adyton_protocol::consent;
use adyton_protocol::context::ContextName;
use adyton_protocol::context_config::{ContextConfig, TypedKey};
use adyton_protocol::did::Did;
use adyton_protocol::signature::Signature;
use base64_simd::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::keyring::{ContextSeed, Keyring};

/// Longest accepted session as base64 text, in bytes.
pub const MAX_SESSION_BYTES: usize = 64 * 1024;
/// Most storage nodes named by one session.
pub const MAX_NODES: usize = 16;

/// The tokens for one storage node.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeAuth {
    /// Bearer secret for `auth/connect`; lives 30 days.
    pub refresh_token: String,
    /// Bearer secret for data; lives 10 minutes.
    #[serde(default)]
    pub access_token: String,
    /// Base URL of the node's databases.
    #[serde(default)]
    pub host: String,
    /// Base URL of the node, ends in `/`.
    pub endpoint_uri: String,
    /// The context's signing key.
    pub public_signing_key: TypedKey,
}

impl Drop for NodeAuth {
    fn drop(&mut self) {
        self.refresh_token.zeroize();
        self.access_token.zeroize();
    }
}

impl fmt::Debug for NodeAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeAuth(..)")
    }
}

/// A session whose unlock signature was made by the DID's own key. Made only by parsing and by
/// [`ContextSession::new`], both of which check that.
#[derive(Debug)]
pub struct ContextSession {
    did: Did,
    context: ContextName,
    seed: ContextSeed,
    config: ContextConfig,
    auths: BTreeMap<String, NodeAuth>,
}

/// The session cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSession {
    /// Not base64 of JSON, too long, or with a member missing.
    #[error("Invalid session config")]
    Malformed,
    /// The signature was not made by the DID's key for this context.
    #[error("Invalid signature")]
    Signature,
}

/// The JSON form. Strings that hold secrets are moved out or zeroized.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    did: String,
    #[serde(alias = "context")]
    context_name: String,
    signature: String,
    context_config: ContextConfig,
    #[serde(default)]
    context_auths: BTreeMap<String, NodeAuth>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.signature.zeroize();
    }
}

impl ContextSession {
    /// A session made by the owner's own client after logging in.
    pub fn new(
        did: Did,
        context: ContextName,
        seed: ContextSeed,
        config: ContextConfig,
        auths: Vec<NodeAuth>,
    ) -> Result<Self, InvalidSession> {
        let auths = auths
            .into_iter()
            .map(|auth| (auth.endpoint_uri.clone(), auth))
            .collect();
        Self {
            did,
            context,
            seed,
            config,
            auths,
        }
        .verified()
    }

    /// Reads the value of the `X-API-Key` header: base64 (any alphabet, padding optional) of JSON.
    pub fn parse_api_key(text: &str) -> Result<Self, InvalidSession> {
        if text.len() > MAX_SESSION_BYTES {
            return Err(InvalidSession::Malformed);
        }
        let bare = text.trim().trim_end_matches('=');
        let json = STANDARD_NO_PAD
            .decode_to_vec(bare)
            .or_else(|_| URL_SAFE_NO_PAD.decode_to_vec(bare))
            .map_err(|_| InvalidSession::Malformed)?;
        Self::parse_json(&Zeroizing::new(json))
    }

    /// Reads the JSON form.
    pub fn parse_json(json: &[u8]) -> Result<Self, InvalidSession> {
        if json.len() > MAX_SESSION_BYTES {
            return Err(InvalidSession::Malformed);
        }
        let mut wire: Wire = serde_json::from_slice(json).map_err(|_| InvalidSession::Malformed)?;
        let auths = std::mem::take(&mut wire.context_auths);
        let nodes = wire
            .context_config
            .services
            .database_server
            .endpoint_uri
            .len();
        if auths.len() > MAX_NODES || nodes > MAX_NODES {
            return Err(InvalidSession::Malformed);
        }
        Self {
            did: wire.did.parse().map_err(|_| InvalidSession::Malformed)?,
            context: ContextName::new(wire.context_name.as_str())
                .map_err(|_| InvalidSession::Malformed)?,
            seed: ContextSeed::of_text(&wire.signature),
            config: wire.context_config.clone(),
            auths,
        }
        .verified()
    }

    /// The one place that decides whether a seed belongs to a DID.
    fn verified(self) -> Result<Self, InvalidSession> {
        let signature: Signature = self
            .seed
            .expose()
            .parse()
            .map_err(|_| InvalidSession::Malformed)?;
        // The seed is the *text*: another spelling of the same signature would give other keys.
        if *Zeroizing::new(signature.to_string()) != *self.seed.expose() {
            return Err(InvalidSession::Signature);
        }
        let digest = consent::unlock(&self.did, &self.context).digest();
        match signature.verify(digest, &self.did.address()) {
            Ok(_) => Ok(self),
            Err(_) => Err(InvalidSession::Signature),
        }
    }

    /// The owner.
    pub fn did(&self) -> &Did {
        &self.did
    }

    /// The context.
    pub fn context(&self) -> &ContextName {
        &self.context
    }

    /// Keys and services of the context, as the wallet wrote them.
    pub fn config(&self) -> &ContextConfig {
        &self.config
    }

    /// The tokens, by endpoint.
    pub fn auths(&self) -> impl Iterator<Item = &NodeAuth> {
        self.auths.values()
    }

    /// Derives the context's keys.
    pub fn keyring(&self) -> Result<Keyring, InvalidSession> {
        Keyring::of_seed(&self.seed).map_err(|_| InvalidSession::Signature)
    }

    /// The JSON form, secrets included.
    pub fn expose_json(&self) -> Zeroizing<Vec<u8>> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct View<'a> {
            did: &'a str,
            context_name: &'a str,
            signature: &'a str,
            context_config: &'a ContextConfig,
            context_auths: &'a BTreeMap<String, NodeAuth>,
        }
        let view = View {
            did: self.did.as_given(),
            context_name: self.context.as_str(),
            signature: self.seed.expose(),
            context_config: &self.config,
            context_auths: &self.auths,
        };
        // Strings and maps with text keys always serialise.
        Zeroizing::new(serde_json::to_vec(&view).unwrap_or_default())
    }

    /// The value of the `X-API-Key` header, secrets included.
    pub fn expose_api_key(&self) -> Zeroizing<String> {
        Zeroizing::new(STANDARD.encode_to_string(&*self.expose_json()))
    }
}
