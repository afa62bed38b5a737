//! The text of a grant that is kept beyond the process. Pure.
//!
//! Guarantees: nothing in it opens the owner's session without a token, and no token is in it; what is read was written in this
//! form, to the last member, or is nothing. That nobody else wrote it is the business of the cipher around it.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use adyton_oauth::client::Client;
use adyton_oauth::jwk::Thumbprint;
use adyton_protocol::context::ContextName;
use adyton_protocol::database::DatabaseName;
use adyton_protocol::schema::{SchemaDirectory, SchemaUri};
use adyton_protocol::scope::{Scope, ScopeSet, Terms};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::grant::{App, Grant};
use super::rate::Meter;
use super::sealed::{SealedSession, WrappedKey};
use super::state::{Entry, MAX_TOKENS, What};
use super::store::bytes_of;
use super::token::TokenHash;
use crate::authn::TenantId;

/// The form of the text. Another one is not read.
const FORM: u8 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wire {
    form: u8,
    did: String,
    context: String,
    terms: Value,
    /// The databases of the schemas in the terms that are the owner's own, as they were when it was granted. What is reached by one
    /// of them is looked up anew by every request; if that is another database by now, nothing is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    own: BTreeMap<String, String>,
    app: WireApp,
    /// The thumbprint that tokens are bound to.
    key: Option<String>,
    /// Seconds since 1970.
    created: u64,
    expires: u64,
    session: String,
    tokens: Vec<WireToken>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
enum WireApp {
    Nobody,
    Named(String),
    Client(Value),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct WireToken {
    hash: String,
    key: String,
    what: WireWhat,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum WireWhat {
    /// An access token, until then.
    Access(u64),
    /// An access token for a part of the scopes, until then.
    Part { until: u64, scopes: Vec<String> },
    /// A refresh token that was not used.
    Refresh,
    /// One that was: whoever brings it ends the grant.
    Used,
}

/// A grant that was kept, and its tokens, the oldest first.
pub(super) struct Kept {
    pub(super) grant: Arc<Grant>,
    pub(super) tokens: Vec<(TokenHash, WrappedKey, What)>,
}

/// The text for a grant; `None` while it has no tokens that are worth it: a code lives for a minute.
pub(super) fn write<'e>(
    grant: &Grant,
    published: &impl SchemaDirectory,
    tokens: impl Iterator<Item = (TokenHash, &'e Entry)>,
) -> Option<Value> {
    let tokens: Vec<WireToken> = tokens
        .filter_map(|(hash, entry)| {
            let what = match &entry.what {
                What::Access { until, part: None } => WireWhat::Access(seconds(*until)),
                What::Access {
                    until,
                    part: Some(part),
                } => WireWhat::Part {
                    until: seconds(*until),
                    scopes: grant.terms.only(part).scopes().to_texts(),
                },
                What::Refresh { used: false } => WireWhat::Refresh,
                What::Refresh { used: true } => WireWhat::Used,
                What::Code { .. } => return None,
            };
            Some(WireToken {
                hash: hash.to_text(),
                key: entry.key.as_str().to_owned(),
                what,
            })
        })
        .collect();
    let wire = Wire {
        form: FORM,
        did: grant.tenant.did().as_given().to_owned(),
        context: grant.tenant.context().as_str().to_owned(),
        terms: grant.terms.to_value(),
        own: own_of(&grant.terms, published),
        app: match &grant.app {
            App::Nobody => WireApp::Nobody,
            App::Named(did) => WireApp::Named(did.as_given().to_owned()),
            App::Client(client) => WireApp::Client(client.to_kept()),
        },
        key: grant.key.get().map(ToString::to_string),
        created: seconds(grant.created),
        expires: seconds(grant.expires),
        session: grant.session.as_str().to_owned(),
        tokens,
    };
    match wire.tokens.is_empty() {
        true => None,
        false => serde_json::to_value(wire).ok(),
    }
}

/// Reads a text; `None` when it is not one of ours.
pub(super) fn read(
    id: Uuid,
    text: Value,
    directory: &impl SchemaDirectory,
    now: SystemTime,
) -> Option<Kept> {
    let wire: Wire = serde_json::from_value(text).ok()?;
    if wire.form != FORM || wire.tokens.len() > MAX_TOKENS {
        return None;
    }
    let directory = AsGranted {
        published: directory,
        own: &wire.own,
    };
    let terms = Terms::from_value(wire.terms, &directory).ok()?;
    let app = match wire.app {
        WireApp::Nobody => App::Nobody,
        WireApp::Named(did) => App::Named(did.parse().ok()?),
        WireApp::Client(client) => App::Client(Arc::new(Client::of_kept(client).ok()?)),
    };
    let key = OnceLock::new();
    if let Some(text) = wire.key {
        // It is empty: this cannot fail.
        let _: Result<(), _> = key.set(Thumbprint::parse(&text)?);
    }
    let tokens = wire.tokens.into_iter().map(|token| {
        let what = match token.what {
            WireWhat::Access(until) => What::Access {
                until: time(until)?,
                part: None,
            },
            WireWhat::Part { until, scopes } => {
                let scopes = scopes.iter().map(String::as_str);
                let scopes = ScopeSet::parse(scopes, &directory).ok()?;
                What::Access {
                    until: time(until)?,
                    part: terms.part(&scopes).ok()?,
                }
            }
            WireWhat::Refresh => What::Refresh { used: false },
            WireWhat::Used => What::Refresh { used: true },
        };
        let key = WrappedKey::of_kept(token.key);
        Some((TokenHash::parse(&token.hash)?, key, what))
    });
    let tokens = tokens.collect::<Option<Vec<_>>>()?;
    let session = SealedSession::of_kept(wire.session);
    let grant = Grant {
        id,
        tenant: TenantId::of_kept(wire.did.parse().ok()?, ContextName::new(wire.context).ok()?),
        meter: Meter::new(terms.rate(), now),
        bytes: bytes_of(&session, &terms, &app),
        terms,
        app,
        key,
        created: time(wire.created)?,
        expires: time(wire.expires)?,
        last_used: AtomicU64::new(0),
        session,
        revoked: CancellationToken::new(),
    };
    Some(Kept {
        grant: Arc::new(grant),
        tokens,
    })
}

/// The databases of the schemas that are not published.
fn own_of(terms: &Terms, published: &impl SchemaDirectory) -> BTreeMap<String, String> {
    let scopes = terms.scopes().iter();
    let own = scopes.filter_map(|scope| match scope {
        Scope::Datastore {
            schema, database, ..
        } if published.database_of(schema).is_none() => Some((
            schema.as_str().to_owned(),
            database.name().as_str().to_owned(),
        )),
        Scope::Datastore { .. } | Scope::Api(_) | Scope::Database { .. } => None,
    });
    own.collect()
}

/// What schemas were when a grant was made. A published one is what is published.
struct AsGranted<'k, D> {
    published: &'k D,
    own: &'k BTreeMap<String, String>,
}

impl<D: SchemaDirectory> SchemaDirectory for AsGranted<'_, D> {
    fn database_of(&self, schema: &SchemaUri) -> Option<DatabaseName> {
        self.published.database_of(schema).or_else(|| {
            let is_own = self.published.may_be_own(schema);
            let name = self.own.get(schema.as_str()).filter(|_| is_own)?;
            DatabaseName::new(name.as_str()).ok()
        })
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn time(seconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
