use adyton_oauth::approval::Requested;
use adyton_oauth::authorization::{Addressed, AuthorizationRequest};
use adyton_oauth::client::Client;
use adyton_oauth::client_id::ClientId;
use adyton_oauth::client_metadata;
use adyton_oauth::form::Parameters;
use adyton_oauth::pkce::Challenge;
use adyton_protocol::database::DatabaseName;
use adyton_protocol::schema::{SchemaDirectory, SchemaUri};
use adyton_protocol::scope::Terms;

use crate::{Case, case, origin};

/// RFC 7636 appendix B.
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// Knows the shortcuts, and a wallet.
pub struct Directory;

impl SchemaDirectory for Directory {
    fn database_of(&self, schema: &SchemaUri) -> Option<DatabaseName> {
        let path = schema
            .as_str()
            .strip_prefix("https://common.schemas.verida.io/")?;
        let path = path.strip_suffix("/v0.1.0/schema.json")?;
        let name = match path {
            "wallets" => "user_wallet".to_owned(),
            path => path.replace('/', "_"),
        };
        DatabaseName::new(name).ok()
    }
}

pub fn client() -> Client {
    let url = "https://app.example/client.json";
    let Ok(ClientId::Document(url)) = ClientId::parse(url) else {
        panic!()
    };
    let text = r#"{"client_id":"https://app.example/client.json","redirect_uris":["https://app.example/back?a=b"]}"#;
    client_metadata::parse(&url, text.as_bytes()).unwrap()
}

fn good() -> Vec<(String, String)> {
    [
        ("client_id", "https://app.example/client.json"),
        ("redirect_uri", "https://app.example/back?a=b"),
        ("response_type", "code"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("state", "x y&z=1#"),
        ("scope", "ds:r:social-email api:ds-query"),
        ("resource", "https://node.example"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

fn parameters(changed: &str, value: Option<&str>) -> Parameters {
    let mut pairs = good();
    pairs.retain(|(name, _)| name != changed);
    pairs.extend(value.map(|value| (changed.to_owned(), value.to_owned())));
    Parameters::of_pairs(pairs).unwrap()
}

/// Never redirected: the answer would go to an address that nobody published.
fn kept(says: &'static str, changed: &str, value: Option<&str>, reason: &str) -> Case {
    case(
        says,
        Addressed::of(&parameters(changed, value), &client()),
        reason,
    )
}

/// Sent back to the client, with a code.
fn sent_back(says: &'static str, changed: &str, value: Option<&str>, code: &str) -> Case {
    let parameters = parameters(changed, value);
    let to = Addressed::of(&parameters, &client()).unwrap();
    let read = AuthorizationRequest::read(&parameters, to.clone(), &origin(), &Directory);
    if let Err(refused) = &read {
        let url = to.refusal(*refused, &origin());
        assert!(
            url.starts_with("https://app.example/back?a=b&error="),
            "{url}"
        );
        let end = "&iss=https%3A%2F%2Fnode.example&state=x%20y%26z%3D1%23";
        assert!(url.ends_with(end) || changed == "state", "{url}");
    }
    case(says, read.map_err(|refused| refused.code.name()), code)
}

fn details(says: &'static str, details: &str, code: &str) -> Case {
    sent_back(says, "authorization_details", Some(details), code)
}

fn verifier(says: &'static str, verifier: &str, code: &str) -> Case {
    let challenge = Challenge::of(&parameters("", None)).unwrap();
    let met = challenge
        .met_by(verifier)
        .map_err(|refused| refused.code.name());
    case(says, met, code)
}

fn wider(says: &'static str, asked: &str, approved: &str) -> Case {
    let terms = |text: &str| Terms::parse(text, &Directory).unwrap();
    let requested = Requested::new(terms(asked));
    assert!(requested.narrow(terms(asked)).is_ok());
    case(
        says,
        requested.narrow(terms(approved)),
        "the terms allow more than what the app has asked for",
    )
}

pub fn cases() -> Vec<Case> {
    let accepted = parameters("", None);
    let to = Addressed::of(&accepted, &client()).unwrap();
    let read = AuthorizationRequest::read(&accepted, to, &origin(), &Directory).unwrap();
    assert!(read.challenge.met_by(VERIFIER).is_ok());
    let published = "redirect_uri is not one that the client published";
    let long = "x".repeat(1025);
    let email = r#"{"scopes":["ds:r:social-email","api:ds-query"],"expiresIn":3600,"rate":{"requests":10,"seconds":60},"purpose":"p"}"#;
    let changed = |from: &str, to: &str| {
        assert!(email.contains(from), "{from}");
        email.replace(from, to)
    };
    vec![
        kept(
            "a request without client_id",
            "client_id",
            None,
            "client_id is needed",
        ),
        kept(
            "a request of another client",
            "client_id",
            Some("https://bank.example/c"),
            "client_id is another one",
        ),
        kept(
            "a request without redirect_uri",
            "redirect_uri",
            None,
            "redirect_uri is needed",
        ),
        kept(
            "a redirect elsewhere",
            "redirect_uri",
            Some("https://evil.example/back"),
            published,
        ),
        kept(
            "a redirect with less than was published",
            "redirect_uri",
            Some("https://app.example/back"),
            published,
        ),
        kept(
            "a redirect with more than was published",
            "redirect_uri",
            Some("https://app.example/back?a=b&c=d"),
            published,
        ),
        kept(
            "a state that is one byte too long",
            "state",
            Some(&long),
            "state must be at most 1024 printable ASCII characters",
        ),
        kept(
            "a state with a line end",
            "state",
            Some("a\r\nSet-Cookie: b"),
            "state must be at most 1024 printable ASCII characters",
        ),
        kept(
            "a state beyond ASCII",
            "state",
            Some("ü"),
            "state must be at most 1024 printable ASCII characters",
        ),
        sent_back(
            "a request without response_type",
            "response_type",
            None,
            "invalid_request",
        ),
        sent_back(
            "an implicit request",
            "response_type",
            Some("token"),
            "unsupported_response_type",
        ),
        sent_back(
            "a hybrid request",
            "response_type",
            Some("code id_token"),
            "unsupported_response_type",
        ),
        sent_back(
            "an answer in a fragment",
            "response_mode",
            Some("fragment"),
            "invalid_request",
        ),
        sent_back(
            "an answer in a form",
            "response_mode",
            Some("form_post"),
            "invalid_request",
        ),
        sent_back(
            "a request without a challenge",
            "code_challenge",
            None,
            "invalid_request",
        ),
        sent_back(
            "a request without a method of challenge",
            "code_challenge_method",
            None,
            "invalid_request",
        ),
        sent_back(
            "a plain challenge",
            "code_challenge_method",
            Some("plain"),
            "invalid_request",
        ),
        sent_back(
            "a method of challenge in small letters",
            "code_challenge_method",
            Some("s256"),
            "invalid_request",
        ),
        sent_back(
            "a challenge that is too short",
            "code_challenge",
            Some("E9Melhoa2Owv"),
            "invalid_request",
        ),
        sent_back(
            "a challenge with padding",
            "code_challenge",
            Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM="),
            "invalid_request",
        ),
        sent_back(
            "a challenge in the other alphabet",
            "code_challenge",
            Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw+cM"),
            "invalid_request",
        ),
        sent_back("a request without scopes", "scope", None, "invalid_scope"),
        sent_back(
            "scopes with two spaces between them",
            "scope",
            Some("api:ds-query  api:ds-create"),
            "invalid_scope",
        ),
        sent_back(
            "scopes with commas between them",
            "scope",
            Some("api:ds-query,api:ds-create"),
            "invalid_scope",
        ),
        sent_back(
            "a scope with a quote in it",
            "scope",
            Some("api:\"ds-query\""),
            "invalid_scope",
        ),
        sent_back(
            "an unknown scope",
            "scope",
            Some("api:everything"),
            "invalid_scope",
        ),
        sent_back(
            "one unknown scope among good ones",
            "scope",
            Some("api:ds-query test-scope"),
            "invalid_scope",
        ),
        sent_back(
            "a scope of OpenID",
            "scope",
            Some("openid profile"),
            "invalid_scope",
        ),
        sent_back(
            "a wallet by its database",
            "scope",
            Some("db:r:user_wallet"),
            "invalid_scope",
        ),
        sent_back(
            "a wallet by its schema",
            "scope",
            Some("ds:r:https://common.schemas.verida.io/wallets/v0.1.0/schema.json"),
            "invalid_scope",
        ),
        sent_back(
            "the user's connections",
            "scope",
            Some("db:r:data_connections"),
            "invalid_scope",
        ),
        sent_back(
            "the user's receipts",
            "scope",
            Some("db:r:access_receipts"),
            "invalid_scope",
        ),
        sent_back(
            "a schema that the app hosts",
            "scope",
            Some("ds:rwd:https://evil.example/schema.json"),
            "invalid_scope",
        ),
        sent_back(
            "another resource",
            "resource",
            Some("https://other.example"),
            "invalid_target",
        ),
        sent_back(
            "this resource over plain http",
            "resource",
            Some("http://node.example"),
            "invalid_target",
        ),
        sent_back(
            "a path of this resource",
            "resource",
            Some("https://node.example/api"),
            "invalid_target",
        ),
        sent_back(
            "a path of its API",
            "resource",
            Some("https://node.example/api/rest/v1/ds"),
            "invalid_target",
        ),
        sent_back(
            "its API with a slash more",
            "resource",
            Some("https://node.example/api/rest/v1/"),
            "invalid_target",
        ),
        sent_back(
            "its API at another origin that begins alike",
            "resource",
            Some("https://node.example.evil.example/api/rest/v1"),
            "invalid_target",
        ),
        sent_back(
            "a key that is no thumbprint",
            "dpop_jkt",
            Some("short"),
            "invalid_request",
        ),
        details(
            "details that are not JSON",
            "{",
            "invalid_authorization_details",
        ),
        details(
            "details that are an object",
            "{}",
            "invalid_authorization_details",
        ),
        details(
            "details that are an empty list",
            "[]",
            "invalid_authorization_details",
        ),
        details(
            "details without a type",
            "[{}]",
            "invalid_authorization_details",
        ),
        details(
            "details of another type",
            r#"[{"type":"payment"}]"#,
            "invalid_authorization_details",
        ),
        details(
            "details twice",
            r#"[{"type":"adyton_terms"},{"type":"adyton_terms"}]"#,
            "invalid_authorization_details",
        ),
        details(
            "details with an unknown member",
            r#"[{"type":"adyton_terms","all":true}]"#,
            "invalid_authorization_details",
        ),
        details(
            "scopes in two places",
            r#"[{"type":"adyton_terms","scopes":["api:ds-query"]}]"#,
            "invalid_authorization_details",
        ),
        details(
            "a narrowing of what is not asked",
            r#"[{"type":"adyton_terms","narrow":[{"target":"db:favourite","without":["x"]}]}]"#,
            "invalid_authorization_details",
        ),
        details(
            "a life of no time",
            r#"[{"type":"adyton_terms","expiresIn":0}]"#,
            "invalid_authorization_details",
        ),
        details(
            "a life of a thousand years",
            r#"[{"type":"adyton_terms","expiresIn":31536000000}]"#,
            "invalid_authorization_details",
        ),
        details(
            "a purpose of two lines",
            r#"[{"type":"adyton_terms","purpose":"a\nb"}]"#,
            "invalid_authorization_details",
        ),
        verifier(
            "a verifier of another challenge",
            &"a".repeat(43),
            "invalid_grant",
        ),
        verifier(
            "the challenge itself as verifier",
            CHALLENGE,
            "invalid_grant",
        ),
        verifier(
            "a verifier one letter short",
            &VERIFIER[1..],
            "invalid_request",
        ),
        verifier(
            "a verifier one letter too long",
            &"a".repeat(129),
            "invalid_request",
        ),
        verifier(
            "a verifier with a reserved letter",
            &format!("{}+", &VERIFIER[1..]),
            "invalid_request",
        ),
        verifier("an empty verifier", "", "invalid_request"),
        wider(
            "writing where reading was asked",
            email,
            &changed("ds:r:", "ds:rw:"),
        ),
        wider(
            "another capability than was asked",
            email,
            &changed("api:ds-query", "api:ds-create"),
        ),
        wider(
            "another schema than was asked",
            email,
            &changed("social-email", "social-event"),
        ),
        wider(
            "the whole database where its mails were asked",
            email,
            &changed("ds:r:social-email", "db:r:social_email"),
        ),
        wider(
            "a longer life than was asked",
            email,
            &changed("3600", "3601"),
        ),
        wider(
            "a life without end where an end was asked",
            email,
            &changed(r#""expiresIn":3600,"#, ""),
        ),
        wider(
            "a higher rate than was asked",
            email,
            &changed(r#""requests":10"#, r#""requests":11"#),
        ),
        wider(
            "a shorter time for the rate",
            email,
            &changed(r#""seconds":60"#, r#""seconds":59"#),
        ),
        wider(
            "another purpose than was said",
            email,
            &changed(r#""purpose":"p""#, r#""purpose":"q""#),
        ),
    ]
}
