//! A storage node's middleware API as a client uses it before it has a session
//! (`spec/protocol.md` §§6.7, 9).

use adyton_keys::account::Account;
use adyton_keys::context_session::NodeAuth;
use adyton_keys::keyring::Keyring;
use adyton_protocol::consent;
use adyton_protocol::context::ContextName;
use adyton_protocol::context_config::TypedKey;
use adyton_protocol::did::Did;
use adyton_protocol::did_document::DidDocument;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::endpoint::Endpoint;
use crate::transport::{Call, Transport, TransportError};

/// A storage node, addressed without credentials.
#[derive(Debug, Clone)]
pub struct StorageNode {
    transport: Transport,
    endpoint: Endpoint,
}

/// What a storage node asks before it lets somebody in.
#[derive(Debug, Clone)]
pub struct LoginChallenge {
    /// What the signed text ends with: [`consent::authenticate`].
    pub request_id: String,
    /// Goes back with the answer; the node keeps nothing.
    pub token: String,
}

/// The answer to a challenge.
#[derive(Debug, Clone)]
pub struct LoginAnswer {
    /// [`LoginChallenge::token`].
    pub challenge: String,
    /// The account key's signature, `0x` and hex.
    pub signature: String,
}

/// A storage node did not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StorageNodeError {
    /// No usable answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The node does not accept this signature or token.
    #[error("the storage node refused the credentials")]
    Unauthorized,
    /// The node refused the request.
    #[error("the storage node refused the request with status {status}")]
    Refused {
        /// Its HTTP status.
        status: u16,
    },
}

impl StorageNodeError {
    fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            401 => Self::Unauthorized,
            status => Self::Refused { status },
        }
    }
}

#[derive(Deserialize)]
struct Challenge {
    #[serde(rename = "authJwt")]
    auth_jwt: ChallengeJwt,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ChallengeJwt {
    auth_request_id: String,
    auth_jwt: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LoggedIn {
    refresh_token: String,
    access_token: String,
    host: String,
}

impl StorageNode {
    /// The node at this address.
    pub fn new(transport: Transport, endpoint: Endpoint) -> Result<Self, TransportError> {
        transport.check(&endpoint)?;
        Ok(Self {
            transport,
            endpoint,
        })
    }

    /// Its address.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Logs in to a context with the account key (§9.2).
    pub async fn login(
        &self,
        account: &Account,
        context: &ContextName,
        keyring: &Keyring,
    ) -> Result<NodeAuth, StorageNodeError> {
        let did = account.did();
        let challenge = self.challenge(did, context).await?;
        let text = consent::authenticate(did, context, &challenge.request_id);
        let answer = LoginAnswer {
            challenge: challenge.token,
            signature: account.sign_consent(&text).to_string(),
        };
        let key = to_hex(&keyring.sign_public_key().compressed());
        self.authenticate(did, context, &answer, key).await
    }

    /// Asks for the challenge that begins a login. Whoever has the account key answers it: here, or in another program.
    pub async fn challenge(
        &self,
        did: &Did,
        context: &ContextName,
    ) -> Result<LoginChallenge, StorageNodeError> {
        let asked = json!({ "did": did.as_given(), "contextName": context.as_str() });
        let challenge: Challenge = self.post("auth/generateAuthJwt", &asked).await?;
        Ok(LoginChallenge {
            request_id: challenge.auth_jwt.auth_request_id,
            token: challenge.auth_jwt.auth_jwt,
        })
    }

    /// Ends a login with the answer to a challenge. `sign_key` is the context's signing key, compressed, `0x` and hex.
    pub async fn authenticate(
        &self,
        did: &Did,
        context: &ContextName,
        answer: &LoginAnswer,
        sign_key: String,
    ) -> Result<NodeAuth, StorageNodeError> {
        let answer = json!({
            "authJwt": answer.challenge,
            "did": did.as_given(),
            "contextName": context.as_str(),
            "signature": answer.signature,
        });
        let logged_in: LoggedIn = self.post("auth/authenticate", &answer).await?;
        Ok(NodeAuth {
            refresh_token: logged_in.refresh_token,
            access_token: logged_in.access_token,
            host: logged_in.host,
            endpoint_uri: self.endpoint.as_str().to_owned(),
            public_signing_key: TypedKey {
                kind: "EcdsaSecp256k1VerificationKey2019".to_owned(),
                public_key_hex: sign_key,
            },
        })
    }

    /// The DID document that this node holds, verified. `None` when it has none.
    pub async fn did_document(&self, did: &Did) -> Result<Option<DidDocument>, StorageNodeError> {
        let call = Call::get(&self.endpoint, format!("did/{}", did.lowercase()));
        let answer = self.transport.send(call).await?;
        match answer.status {
            StatusCode::OK => {
                let mut body: Value = answer.json()?;
                let document = body.get_mut("data").map(Value::take).unwrap_or_default();
                let verified = DidDocument::verify(document, did);
                verified
                    .map(Some)
                    .map_err(|_| TransportError::Misbehaved.into())
            }
            StatusCode::NOT_FOUND => Ok(None),
            other => Err(StorageNodeError::of(other)),
        }
    }

    /// Stores a DID document: a first version, or the next one.
    pub async fn put_did_document(&self, document: &DidDocument) -> Result<(), StorageNodeError> {
        let method = if document.version_id() == 0 {
            Method::POST
        } else {
            Method::PUT
        };
        let path = format!("did/{}", document.did().lowercase());
        let body = json!({ "document": document.to_json() });
        let answer = self
            .transport
            .send(Call::json(method, &self.endpoint, path, &body))
            .await?;
        match answer.status {
            StatusCode::OK => Ok(()),
            other => Err(StorageNodeError::of(other)),
        }
    }

    async fn post<T: serde::de::DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<T, StorageNodeError> {
        let call = Call::json(Method::POST, &self.endpoint, path, body);
        let answer = self.transport.send(call).await?;
        match answer.status {
            StatusCode::OK => Ok(answer.json()?),
            other => Err(StorageNodeError::of(other)),
        }
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}
