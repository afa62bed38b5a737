//! `/didRegistry/{function}`: the node as a directory, spoken to as the original's "gasless" service is
//! (`spec/protocol.md` §7.2): the functions of the contract by name, their parameters by theirs.

use adyton_protocol::address::Address;
use adyton_protocol::did::Did;
use adyton_protocol::signature::Signature;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::App;
use super::asked::Asked;
use super::reply::{self, Reply};
use super::route::Endpoint;
use crate::directory::DirectoryRefusal;

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Call {
    did_address: Option<String>,
    endpoints: Option<Vec<String>>,
    controller: Option<String>,
    signature: Option<String>,
}

const MISSING: &str = "a parameter is missing or malformed";

impl App {
    pub(super) async fn did_registry(&self, endpoint: Endpoint, asked: Asked) -> Reply {
        let (Some(directory), &Method::POST) = (&self.directory, &asked.head.method) else {
            return self.unknown(&asked.head);
        };
        if endpoint == Endpoint::RegistryRegister
            && let Err(error) = self.takes_did_write(&asked.head)
        {
            return self.later(&error);
        }
        let call: Call = match asked.call(self).await {
            Ok(call) => call,
            Err(refusal) => return refusal,
        };
        let Some(did) = call
            .did_address
            .as_deref()
            .and_then(|text| text.parse::<Address>().ok())
        else {
            return failure(StatusCode::BAD_REQUEST, MISSING);
        };
        let signature = call
            .signature
            .as_deref()
            .and_then(|text| text.parse::<Signature>().ok());
        let done = match (endpoint, signature) {
            (Endpoint::RegistryLookup, _) => directory
                .lookup(&did)
                .await
                .map(|found| json!([found.controller, found.endpoints])),
            (Endpoint::RegistryNonce, _) => directory
                .nonce(&did)
                .await
                .map(Value::from)
                .map_err(DirectoryRefusal::from),
            (Endpoint::RegistryRegister, Some(signature)) => {
                let Some(endpoints) = call.endpoints else {
                    return failure(StatusCode::BAD_REQUEST, MISSING);
                };
                let done = directory.register(&did, endpoints, &signature).await;
                done.map(|()| json!("registered"))
            }
            (Endpoint::RegistryRevoke, Some(signature)) => {
                let done = directory.revoke(&did, &signature).await;
                done.map(|()| json!("revoked"))
            }
            (Endpoint::RegistrySetController, Some(signature)) => {
                let next = call
                    .controller
                    .as_deref()
                    .and_then(|text| text.parse().ok());
                let Some(next) = next else {
                    return failure(StatusCode::BAD_REQUEST, MISSING);
                };
                let done = directory.set_controller(&did, &next, &signature).await;
                done.map(|()| json!("controller set"))
            }
            _ => return failure(StatusCode::BAD_REQUEST, MISSING),
        };
        match done {
            Ok(data) => {
                // What only reads changes nothing: or anybody could have every login asked for anew.
                if !matches!(endpoint, Endpoint::RegistryLookup | Endpoint::RegistryNonce) {
                    let did = Did::of_account(self.network.anchor(), did);
                    self.resolver.forget(&did);
                }
                reply::middleware(StatusCode::OK, &json!({"success": true, "data": data}))
            }
            Err(DirectoryRefusal::Store(error)) => reply::fault(&error),
            Err(refusal @ DirectoryRefusal::Unregistered) => {
                failure(StatusCode::NOT_FOUND, &refusal.to_string())
            }
            Err(refusal) => failure(StatusCode::BAD_REQUEST, &refusal.to_string()),
        }
    }
}

fn failure(status: StatusCode, word: &str) -> Reply {
    reply::middleware(status, &json!({"success": false, "data": word}))
}
