//! A client in JSON, for whoever keeps its grant: what was established about it when the grant was made, which does not
//! change when the client publishes something else.

use adyton_protocol::did::Did;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::client::{Binding, Client, ClientAuthentication};
use crate::client_id::ClientId;
use crate::client_name::ClientName;
use crate::jwk::Jwk;
use crate::redirect_uri::RedirectUri;

/// The JSON is not a client that was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a client as it is kept")]
pub struct InvalidKeptClient;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Wire {
    id: String,
    name: Option<String>,
    redirect_uris: Vec<String>,
    /// By keys; none and no DID: a public client.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<Value>,
    /// By the key of a DID.
    did: Option<String>,
    bound: bool,
}

impl Client {
    /// The client in JSON.
    pub fn to_kept(&self) -> Value {
        let (keys, did) = match &self.authentication {
            ClientAuthentication::PublicClient => (Vec::new(), None),
            ClientAuthentication::Keys(keys) => (keys.iter().map(Jwk::to_value).collect(), None),
            ClientAuthentication::Did(did) => (Vec::new(), Some(did.as_given().to_owned())),
        };
        let wire = Wire {
            id: self.id.as_str().to_owned(),
            name: self.name().map(str::to_owned),
            redirect_uris: self
                .redirect_uris
                .iter()
                .map(|uri| uri.as_str().to_owned())
                .collect(),
            keys,
            did,
            bound: self.binding == Binding::Required,
        };
        // Texts and booleans always have a JSON.
        serde_json::to_value(wire).unwrap_or_default()
    }

    /// Reads what [`Client::to_kept`] has written.
    pub fn of_kept(value: Value) -> Result<Self, InvalidKeptClient> {
        let wire: Wire = serde_json::from_value(value).map_err(|_| InvalidKeptClient)?;
        let id = ClientId::parse(&wire.id).map_err(|_| InvalidKeptClient)?;
        let name = wire.name.as_deref().map(ClientName::parse).transpose();
        let uris = wire.redirect_uris.iter().map(|uri| RedirectUri::parse(uri));
        let keys = wire.keys.into_iter().map(serde_json::from_value::<Jwk>);
        let keys: Vec<Jwk> = keys
            .collect::<Result<_, _>>()
            .map_err(|_| InvalidKeptClient)?;
        let did: Option<Did> = wire
            .did
            .map(|did| did.parse())
            .transpose()
            .map_err(|_| InvalidKeptClient)?;
        let authentication = match (did, keys.is_empty()) {
            (None, true) => ClientAuthentication::PublicClient,
            (None, false) => ClientAuthentication::Keys(keys),
            (Some(did), true) => ClientAuthentication::Did(did),
            (Some(_), false) => return Err(InvalidKeptClient),
        };
        Ok(Self {
            id,
            name: name.map_err(|_| InvalidKeptClient)?,
            redirect_uris: uris
                .collect::<Result<_, _>>()
                .map_err(|_| InvalidKeptClient)?,
            authentication,
            binding: match wire.bound {
                true => Binding::Required,
                false => Binding::Optional,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_metadata;
    use serde_json::json;

    fn document(more: &Value) -> Client {
        let url = "https://app.example/client.json";
        let mut document = json!({
            "client_id": url, "client_name": "An app", "redirect_uris": ["https://app.example/back"],
            "grant_types": ["authorization_code", "refresh_token"],
        });
        let members = document.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        let ClientId::Document(url) = ClientId::parse(url).unwrap() else {
            panic!("not a document")
        };
        client_metadata::parse(&url, document.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_client_is_read_back_as_it_was() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let key = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
        let did: Did = "did:vda:polamoy:0x8fd379246834eac74B8419FfdA202CF8051F7A03"
            .parse()
            .unwrap();
        for client in [
            document(&json!({ "token_endpoint_auth_method": "none" })),
            document(&json!({
                "token_endpoint_auth_method": "private_key_jwt", "jwks": { "keys": [key] },
                "dpop_bound_access_tokens": true,
            })),
            Client::of_did(
                &did,
                vec![RedirectUri::parse("https://a.example/b").unwrap()],
            ),
        ] {
            let kept = client.to_kept();
            let read = Client::of_kept(kept.clone()).unwrap();
            assert_eq!(format!("{read:?}"), format!("{client:?}"));
            assert_eq!(read.to_kept(), kept);
        }
        assert!(Client::of_kept(json!({})).is_err());
    }
}
