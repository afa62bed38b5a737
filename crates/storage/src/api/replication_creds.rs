//! `/auth/replicationCreds`: another node asks to replicate a context to this one, with the original's handshake.
//!
//! 1. The parameters, in the original's order and words.
//! 2. The user's DID document names this node and that one as endpoints of the context: the user's signature allows it.
//! 3. The key that signed is the one that the other node shows at the address that the document names. Users write documents, so
//!    only public ones are asked, and only after (2).
//! 4. The account is here: a place is taken for no other one.
//! 5. What was signed names no recipient, so whoever got it may have passed it on: its password opens this context and no other
//!    one. Nodes of ours name the recipient.

use adyton_protocol::context::{ContextHash, ContextName};
use adyton_protocol::did::Did;
use adyton_protocol::hash::hash_value;
use adyton_protocol::signature::{PublicKey, Signature};
use adyton_resolver::web::plain_url;
use http::StatusCode;
use serde_json::{Map, Value, json};
use url::Url;

use super::App;
use super::asked::Asked;
use super::reply::{self, Reply};
use crate::auth::AuthError;
use crate::did_documents::Freshness;
use crate::outgoing_resolution::Unresolved;
use crate::peers::{Candidate, PASSWORD_BYTES, PasswordHash, kin, peer_name};
use crate::store::node::PeerOutcome;
use crate::throttle::CallerKey;

/// Minutes that clocks may differ.
const MINUTES: u64 = 2;

/// A request whose parameters are there.
struct Creds {
    endpoint: String,
    did: String,
    context: String,
    password: Option<String>,
    /// The node that it is meant for. The original does not say.
    to: Option<Value>,
    signature: String,
    /// What was signed: everything but the signature.
    signed: Value,
}

fn bad(message: &str) -> Reply {
    reply::fail(StatusCode::BAD_REQUEST, message)
}

impl Creds {
    /// The original's checks in its order. `minutes` is this node's time.
    fn read(mut body: Map<String, Value>, minutes: u64) -> Result<Self, String> {
        let text = |body: &Map<String, Value>, name: &str| {
            let text = body.get(name).and_then(Value::as_str);
            text.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let endpoint = text(&body, "endpointUri").ok_or("Endpoint not specified")?;
        let stamp = body.get("timestampMinutes").and_then(Value::as_u64);
        let difference = minutes.abs_diff(stamp.ok_or("Timestamp not specified")?);
        if difference > MINUTES {
            return Err(format!("Timestamp is out of range {difference}"));
        }
        let did = text(&body, "did").ok_or("DID not specified")?;
        let context = text(&body, "contextName").ok_or("Context not specified")?;
        let signature = text(&body, "signature").ok_or("Signature not specified")?;
        let password = text(&body, "password");
        let to = body.get("to").cloned();
        body.remove("signature");
        Ok(Self {
            endpoint,
            did,
            context,
            password,
            to,
            signature,
            signed: Value::Object(body),
        })
    }
}

impl App {
    pub(super) async fn replication_creds(&self, asked: Asked) -> Reply {
        let caller = asked.head.caller.clone();
        let body: Map<String, Value> = match asked.call(self).await {
            Ok(body) => body,
            Err(refusal) => return refusal,
        };
        match Creds::read(body, self.clock.unix_seconds() / 60) {
            Ok(creds) => self
                .admit_peer(&caller, &creds)
                .await
                .unwrap_or_else(|refusal| refusal),
            Err(message) => bad(&message),
        }
    }

    async fn admit_peer(&self, caller: &CallerKey, creds: &Creds) -> Result<Reply, Reply> {
        let unknown = || bad(&format!("Unable to locate DID: {}", creds.did));
        let did: Did = creds.did.parse().map_err(|_| unknown())?;
        let unlinked = || {
            let (did, context) = (&creds.did, &creds.context);
            bad(&format!(
                "Invalid context: DID not linked ({did}) to context {context}"
            ))
        };
        let context = ContextName::new(creds.context.as_str()).map_err(|_| unlinked())?;
        let hash = ContextHash::of(&did, &context);
        let endpoint = plain_url(&creds.endpoint).ok_or_else(|| bad("Endpoint not specified"))?;

        let document = match self.resolver.resolve(caller, &did, Freshness::Asked).await {
            Ok(Some(document)) if !document.is_deactivated() => document,
            Ok(_) => return Err(unknown()),
            Err(Unresolved::Store(error)) => return Err(reply::fault(&error)),
            Err(error) => return Err(self.later(&error.into())),
        };
        let nodes = document.context_endpoints(self.network, &hash).database;
        if nodes.is_empty() {
            return Err(unlinked());
        }
        let origins: Vec<String> = nodes
            .iter()
            .filter_map(|url| origin(&plain_url(url)?))
            .collect();
        let named = |url: &Url| origin(url).is_some_and(|origin| origins.contains(&origin));
        let own = plain_url(&self.public_url);
        if !own.as_ref().is_some_and(named) {
            return Err(unnamed(&self.public_url));
        }
        if !(named(&endpoint) && endpoint.path() == "/" && endpoint.query().is_none()) {
            return Err(unnamed(&creds.endpoint));
        }
        if let Some(to) = &creds.to {
            let to = to.as_str().and_then(plain_url);
            if to.as_ref().and_then(origin) != own.as_ref().and_then(origin) {
                return Err(bad("This request is for another node"));
            }
        }
        let password = creds.password.as_deref();
        if password.is_some_and(|password| !PASSWORD_BYTES.contains(&password.len())) {
            return Err(bad("Invalid password"));
        }

        // Another node is asked for a request that can be good only.
        let wrong = || reply::fail(StatusCode::UNAUTHORIZED, "Invalid signature");
        let signature: Signature = creds.signature.parse().map_err(|_| wrong())?;
        let digest = hash_value(&creds.signed).map_err(|_| wrong())?;
        let refused = |refusal| self.later(&AuthError::TooMany(refusal));
        self.resolver.may_ask(caller).map_err(refused)?;
        let fits = |key: &PublicKey| signature.verify(digest, &key.address()).is_ok();
        let key = self.node_keys.of(caller, &endpoint, fits).await;
        let key = key.map_err(|error| bad(&format!("Unknown error: {error}")))?;
        signature
            .verify(digest, &key.address())
            .map_err(|_| wrong())?;

        // Only now: who has an account here is told to nodes that its owner named.
        match self.records.has_account(hash.couch_user()).await {
            Ok(true) => {}
            Ok(false) => return Err(unlinked()),
            Err(error) => return Err(reply::fault(&error)),
        }
        let candidate = Candidate {
            name: peer_name(endpoint.host_str().unwrap_or_default()),
            password: password.map(|password| PasswordHash::of(password.as_bytes())),
            account: hash.couch_user(),
            kin: kin(did.lowercase(), &origins),
        };
        let (now, max) = (self.clock.unix_seconds(), self.limits.peers);
        match self.auth.peers().admit(candidate, now, max).await {
            Ok(PeerOutcome::Full) => Err(bad("This node replicates with no further nodes")),
            Ok(PeerOutcome::NoPassword) => Err(bad("Password not specified")),
            Ok(PeerOutcome::Admitted(change, _)) => {
                self.news.came(&hash.couch_user(), endpoint);
                Ok(self.signed_bare(json!({"result": change.word()})))
            }
            Err(error) => Err(reply::fault(&error)),
        }
    }

    /// Signed, without the member `status` that other answers have: so the original answers here.
    fn signed_bare(&self, mut members: Value) -> Reply {
        match self.identity.sign_value(&members) {
            Ok(signature) => {
                if let Value::Object(members) = &mut members {
                    members.insert("signature".to_owned(), signature.to_string().into());
                }
                reply::middleware(StatusCode::OK, &members)
            }
            Err(_) => reply::fail(StatusCode::INTERNAL_SERVER_ERROR, "cannot be signed"),
        }
    }
}

fn unnamed(url: &str) -> Reply {
    let message = "Invalid DID and context: Not associated with this endpoint";
    bad(&format!("{message} {url}"))
}

/// What nodes are told apart by when somebody says whom to ask: scheme, host and port. (The original compares hosts.)
fn origin(url: &Url) -> Option<String> {
    let origin = url.origin();
    origin.is_tuple().then(|| origin.ascii_serialization())
}
