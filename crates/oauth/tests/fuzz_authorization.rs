//! Any bytes as an authorization request: read or refused, never a panic; an answer goes to a published address and to no other.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use adyton_oauth::authorization::{Addressed, AuthorizationRequest};
use adyton_oauth::client_id::ClientId;
use adyton_oauth::client_metadata;
use adyton_oauth::form::{MAX_PARAMETERS, MAX_RESOURCES, Parameters};
use adyton_oauth::origin::Origin;
use adyton_oauth::token_request::TokenRequest;
use adyton_protocol::database::DatabaseName;
use adyton_protocol::schema::{SchemaDirectory, SchemaUri};

struct Nothing;

impl SchemaDirectory for Nothing {
    fn database_of(&self, _: &SchemaUri) -> Option<DatabaseName> {
        None
    }
}

fn check(bytes: &[u8]) {
    let Ok(parameters) = Parameters::parse(bytes) else {
        return;
    };
    assert!(parameters.resources().len() <= MAX_RESOURCES.min(MAX_PARAMETERS));
    let origin = Origin::parse("https://node.example").unwrap();
    let _token = TokenRequest::read(&parameters, &origin);
    let _id = parameters.one("client_id").map(ClientId::parse);
    let url = "https://app.example/c";
    let Ok(ClientId::Document(url)) = ClientId::parse(url) else {
        panic!()
    };
    let text = br#"{"client_id":"https://app.example/c","redirect_uris":["https://app.example/b?a=b","http://127.0.0.1/b"]}"#;
    let client = client_metadata::parse(&url, text).unwrap();
    let Ok(to) = Addressed::of(&parameters, &client) else {
        return;
    };
    let read = AuthorizationRequest::read(&parameters, to.clone(), &origin, &Nothing);
    let url = match read {
        Ok(_) => to.code("adyc_code", &origin),
        Err(refused) => to.refusal(refused, &origin),
    };
    let published = url.starts_with("https://app.example/b?a=b&")
        || (url.starts_with("http://127.0.0.1") && url.contains("/b?"));
    assert!(published && url.is_ascii() && !url.contains(' '), "{url}");
}

#[test]
fn any_bytes_as_an_authorization_request() {
    bolero::check!().for_each(check);
}

#[test]
fn seeds() {
    for seed in [
        "client_id=https://app.example/c&redirect_uri=https://app.example/b?a=b&response_type=code&state=%0a",
        "client_id=https%3A%2F%2Fapp.example%2Fc&redirect_uri=https%3A%2F%2Fapp.example%2Fb%3Fa%3Db&state=x%20%22",
        "client_id=https://app.example/c&redirect_uri=http://127.0.0.1:99/b&authorization_details=[{}]",
        "resource=a&resource=b&client_id=did:vda:polpos:0x",
        "grant_type=authorization_code&code=a&code_verifier=%ff",
        "",
    ] {
        check(seed.as_bytes());
    }
}
