//! `/did/{did}` and `/lookup/did/{did}`: DID documents.

use adyton_protocol::did::Did;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::reply::{self, Reply};
use super::route::Endpoint;
use super::{App, Asked};
use crate::did_documents::{DidDocumentRefusal, Freshness, ResolveFailure};

#[derive(Deserialize)]
struct DocumentCall {
    document: Option<Box<RawValue>>,
}

impl App {
    pub(super) async fn did(&self, endpoint: Endpoint, did: &str, asked: Asked) -> Reply {
        let parsed = did.parse::<Did>();
        let method = asked.method.clone();
        match (endpoint, method) {
            (Endpoint::DidDocument, Method::GET) => match parsed {
                Ok(did) => self.did_document(&did, &asked).await,
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
                Ok(did) => self.delete_did_document(&did, &asked).await,
                Err(_) => reply::fail(StatusCode::BAD_REQUEST, "DID Document not found"),
            },
            (Endpoint::DidMigrate, Method::POST) => {
                reply::fail(StatusCode::NOT_FOUND, "Not implemented (yet)")
            }
            (Endpoint::DidLookup, Method::GET) => match parsed {
                Ok(did) => self.look_up_did(&did, &asked).await,
                Err(_) => reply::fail(StatusCode::NOT_FOUND, "DID document not found"),
            },
            _ => self.unknown(&asked),
        }
    }

    async fn did_document(&self, did: &Did, asked: &Asked) -> Reply {
        let all = url::form_urlencoded::parse(asked.query.as_bytes())
            .any(|(name, value)| name == "allVersions" && value == "true");
        let found = if all {
            self.did_documents.versions(did).await.map(|versions| {
                (!versions.is_empty()).then(|| format!("{{\"versions\":[{}]}}", versions.join(",")))
            })
        } else {
            self.did_documents.text(did).await
        };
        match found {
            // The text goes out as its owner sent it.
            Ok(Some(text)) => reply::bytes(
                StatusCode::OK,
                "application/json; charset=utf-8",
                format!("{{\"status\":\"success\",\"data\":{text}}}"),
            ),
            Ok(None) => reply::fail(StatusCode::NOT_FOUND, "DID Document not found."),
            Err(error) => reply::fault(&error),
        }
    }

    async fn keep_did_document(&self, did: &Did, asked: Asked) -> Reply {
        let first = asked.method == Method::POST;
        let call: DocumentCall = match self.call(asked).await {
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
                reply::success(json!({"data": {}}))
            }
            Err(refusal) => refused(&refusal),
        }
    }

    async fn delete_did_document(&self, did: &Did, asked: &Asked) -> Reply {
        let signature = asked
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

    async fn look_up_did(&self, did: &Did, asked: &Asked) -> Reply {
        let fresh = url::form_urlencoded::parse(asked.query.as_bytes())
            .any(|(name, value)| name == "ignoreCache" && !matches!(&*value, "" | "0" | "false"));
        let freshness = match fresh {
            true => Freshness::Asked,
            false => Freshness::Remembered,
        };
        match self.resolver.resolve(did, freshness).await {
            Ok(Some(document)) => {
                let document: Value = document.to_json();
                reply::success(json!({"data": {"did": did.lowercase(), "document": document}}))
            }
            Ok(None) => reply::fail(StatusCode::NOT_FOUND, "DID document not found"),
            Err(ResolveFailure::Unreachable) => super::session::unresolved(),
            Err(ResolveFailure::Store(error)) => reply::fault(&error),
        }
    }
}

fn refused(refusal: &DidDocumentRefusal) -> Reply {
    match refusal {
        DidDocumentRefusal::Store(error) => reply::fault(error),
        other => reply::fail(StatusCode::BAD_REQUEST, &other.to_string()),
    }
}
