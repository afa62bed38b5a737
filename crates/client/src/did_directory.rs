//! A directory of DIDs: a storage node that keeps registrations, or a service that carries them to the chain. Both are spoken to
//! alike (`spec/protocol.md` §7.2, "gasless").

use adyton_keys::account::Account;
use adyton_protocol::address::Address;
use adyton_resolver::directory::MAX_ANSWER_BYTES;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::endpoint::Endpoint;
use crate::transport::{Call, Transport, TransportError};

/// A directory, addressed.
#[derive(Debug, Clone)]
pub struct DidDirectory {
    transport: Transport,
    endpoint: Endpoint,
}

/// A DID could not be registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// No usable answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The directory refused: the DID was revoked, or the directory is full.
    #[error("the directory refused the registration with status {status}")]
    Refused {
        /// Its HTTP status.
        status: u16,
    },
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

impl DidDirectory {
    /// The directory at this address.
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

    /// Registers an account's document at these places, unless it is registered at just these.
    pub async fn register(
        &self,
        account: &Account,
        places: &[String],
    ) -> Result<(), DirectoryError> {
        let address = account.did().address();
        if self.places(&address).await?.as_deref() == Some(places) {
            return Ok(());
        }
        let asked = json!({"didAddress": address.lowercase()});
        let nonce: u64 = self.call("nonce", &asked).await?;
        let registration = json!({
            "didAddress": address.lowercase(),
            "endpoints": places,
            "signature": account.sign_registration(places, nonce).to_string(),
        });
        self.call::<Value>("register", &registration).await?;
        Ok(())
    }

    /// Where the directory says that a document lies; none when it is not registered.
    async fn places(&self, did: &Address) -> Result<Option<Vec<String>>, DirectoryError> {
        let asked = json!({"didAddress": did.lowercase()});
        match self.call::<(String, Vec<String>)>("lookup", &asked).await {
            Ok((_controller, places)) => Ok(Some(places)),
            Err(DirectoryError::Refused { status: 404 }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        function: &str,
        body: &Value,
    ) -> Result<T, DirectoryError> {
        let path = format!("didRegistry/{function}");
        let call = Call::json(Method::POST, &self.endpoint, path, body);
        let answer = self.transport.send(call).await?;
        match answer.status {
            StatusCode::OK if answer.body.len() <= MAX_ANSWER_BYTES => {
                Ok(answer.json::<Answer<T>>()?.data)
            }
            StatusCode::OK => Err(TransportError::TooLarge.into()),
            status => Err(DirectoryError::Refused {
                status: status.as_u16(),
            }),
        }
    }
}
