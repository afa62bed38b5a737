//! `/did/{did}` and `/lookup/did/{did}`: DID documents.

use adyton_protocol::did::Did;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::App;
use super::asked::{Asked, Head};
use super::reply::{self, Reply};
use super::route::Endpoint;
use crate::auth::AuthError;
use crate::did_documents::{DidDocumentRefusal, DidDocuments, Freshness};
use crate::outgoing_resolution::Unresolved;
use crate::store::StoreError;
use crate::throttle::CallerKey;

/// Contexts of a new document that are looked at now; more of them when they are written to.
const MAX_LOOKED_AT: usize = 32;

#[derive(Deserialize)]
struct DocumentCall {
    document: Option<Box<RawValue>>,
}

impl App {
    pub(super) async fn did(&self, endpoint: Endpoint, did: &str, asked: Asked) -> Reply {
        let parsed = did.parse::<Did>();
        let method = asked.head.method.clone();
        match (endpoint, method) {
            (Endpoint::DidDocument, Method::GET) => match parsed {
                Ok(did) => self.did_document(&did, &asked.head).await,
                Err(_) => reply::fail(StatusCode::NOT_FOUND, "DID Document not found."),
            },
            (Endpoint::DidDocument, Method::POST | Method::PUT) => match parsed {
                Ok(did) => self.keep_did_document(&did, asked).await,
                Err(error) => reply::fail(
                    StatusCode::BAD_REQUEST,
                    &format!("Invalid DID Document: {error}"),
                ),
            },
            (Endpoint::DidDocument, Method::DELETE) => match parsed {
                Ok(did) => self.delete_did_document(&did, &asked.head).await,
                Err(_) => reply::fail(StatusCode::BAD_REQUEST, "DID Document not found"),
            },
            (Endpoint::DidMigrate, Method::POST) => {
                reply::fail(StatusCode::NOT_FOUND, "Not implemented (yet)")
            }
            (Endpoint::DidLookup, Method::GET) => match parsed {
                Ok(did) => self.look_up_did(&did, &asked.head).await,
                Err(_) => reply::fail(StatusCode::NOT_FOUND, "DID document not found"),
            },
            _ => self.unknown(&asked.head),
        }
    }

    async fn did_document(&self, did: &Did, head: &Head) -> Reply {
        let all = url::form_urlencoded::parse(head.query.as_bytes())
            .any(|(name, value)| name == "allVersions" && value == "true");
        let missing = || reply::fail(StatusCode::NOT_FOUND, "DID Document not found.");
        if all {
            return match self.did_documents.versions(did, 0).await {
                Ok(first) if first.is_empty() => missing(),
                Ok(first) => reply::middleware_stream(all_versions(
                    self.did_documents.clone(),
                    did.clone(),
                    first,
                )),
                Err(error) => reply::fault(&error),
            };
        }
        match self.did_documents.text(did).await {
            // The text goes out as its owner sent it.
            Ok(Some(text)) => reply::bytes(
                StatusCode::OK,
                reply::MIDDLEWARE_JSON,
                format!("{{\"status\":\"success\",\"data\":{text}}}"),
            ),
            Ok(None) => missing(),
            Err(error) => reply::fault(&error),
        }
    }

    async fn keep_did_document(&self, did: &Did, asked: Asked) -> Reply {
        if let Err(error) = self.takes_did_write(&asked.head) {
            return self.later(&error);
        }
        let first = asked.head.method == Method::POST;
        let caller = asked.head.caller.clone();
        let call: DocumentCall = match asked.call(self).await {
            Ok(call) => call,
            Err(refusal) => return refusal,
        };
        let Some(document) = call.document else {
            return reply::fail(StatusCode::BAD_REQUEST, "No document specified");
        };
        let kept = if first {
            self.did_documents.create(did, &document).await
        } else {
            self.did_documents.update(did, &document).await
        };
        match kept {
            Ok(()) => {
                self.resolver.forget(did);
                match self.look_again(&caller, did).await {
                    Ok(()) => reply::success(json!({"data": {}})),
                    Err(error) => reply::fault(&error),
                }
            }
            Err(refusal) => refused(&refusal),
        }
    }

    /// Takes a version or a registration from what the sender's address may bring. Identities cost nothing: those of one address count
    /// together.
    pub(super) fn takes_did_write(&self, head: &Head) -> Result<(), AuthError> {
        let Some(address) = head.address() else {
            return Ok(());
        };
        let (sender, now) = (CallerKey::Address(address), self.clock.unix_millis());
        let taken = self.did_writes.take(sender, now);
        taken.map_err(AuthError::TooMany)
    }

    /// A document may name other nodes than the one before it, for contexts that are here: those are replicated as it says. Others are
    /// asked for that, which is taken from the caller's allowance; without it, that is done when the old document is forgotten.
    async fn look_again(&self, caller: &CallerKey, did: &Did) -> Result<(), StoreError> {
        if self.databases.couch().is_some() {
            return Ok(());
        }
        let Some(document) = self.did_documents.current(did).await? else {
            return Ok(());
        };
        let contexts = document.contexts(self.network).into_iter();
        for context in contexts.take(MAX_LOOKED_AT) {
            let account = context.couch_user();
            if self.node.databases_of(account.clone()).await?.is_empty() {
                continue;
            }
            if self.resolver.may_ask(caller).is_err() {
                break;
            }
            self.news.asked(&account);
        }
        Ok(())
    }

    async fn delete_did_document(&self, did: &Did, head: &Head) -> Reply {
        let signature = head
            .headers
            .get("signature")
            .and_then(|value| value.to_str().ok());
        let Some(signature) = signature else {
            return reply::fail(StatusCode::BAD_REQUEST, "No signature specified");
        };
        match self
            .did_documents
            .delete(did, signature, self.clock.unix_seconds())
            .await
        {
            Ok(revisions) => {
                self.resolver.forget(did);
                reply::success(json!({"data": {"did": did.lowercase(), "revisions": revisions}}))
            }
            Err(refusal) => refused(&refusal),
        }
    }

    async fn look_up_did(&self, did: &Did, head: &Head) -> Reply {
        let fresh = url::form_urlencoded::parse(head.query.as_bytes())
            .any(|(name, value)| name == "ignoreCache" && !matches!(&*value, "" | "0" | "false"));
        let freshness = match fresh {
            true => Freshness::Asked,
            false => Freshness::Remembered,
        };
        match self.resolver.look_up(&head.caller, did, freshness).await {
            Ok(Some(document)) => {
                let document: Value = document.to_json();
                reply::success(json!({"data": {"did": did.lowercase(), "document": document}}))
            }
            Ok(None) => reply::fail(StatusCode::NOT_FOUND, "DID document not found"),
            Err(Unresolved::Store(error)) => reply::fault(&error),
            Err(error) => self.later(&error.into()),
        }
    }
}

/// All versions, as their owner sent them. A few at a time are in memory: there may be many megabytes, and anybody may ask.
fn all_versions(
    documents: DidDocuments,
    did: Did,
    first: Vec<String>,
) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static {
    unfold(Some((0, first)), move |next| {
        let (documents, did) = (documents.clone(), did.clone());
        async move {
            let (told, versions) = next?;
            if versions.is_empty() {
                return Some((Ok(Bytes::from_static(b"]}}")), None));
            }
            let lead = match told {
                0 => "{\"status\":\"success\",\"data\":{\"versions\":[",
                _ => ",",
            };
            let piece = Bytes::from(format!("{lead}{}", versions.join(",")));
            let told = told + versions.len() as u64;
            match documents.versions(&did, told).await {
                Ok(more) => Some((Ok(piece), Some((told, more)))),
                Err(error) => Some((Err(error), None)),
            }
        }
    })
}

fn refused(refusal: &DidDocumentRefusal) -> Reply {
    match refusal {
        DidDocumentRefusal::Store(error) => reply::fault(error),
        other => reply::fail(StatusCode::BAD_REQUEST, &other.to_string()),
    }
}
