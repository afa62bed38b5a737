//! An app that publishes itself on this machine, an owner who has mail, and the requests between them.
#![allow(dead_code, reason = "each test file uses its part")]

mod publish;

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use adyton_client::clock::Clock;
use adyton_keys::account::Account;
use adyton_keys::context_session::ContextSession;
use adyton_protocol::consent::{AppConsent, app_consent};
use adyton_protocol::context::ContextName;
use adyton_protocol::did::Did;
use adyton_protocol::signature::PublicKey;
use adyton_sandbox::cluster::NETWORK;
use adyton_sandbox::{Options, Sandbox};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand_core::{OsRng, TryRngCore};
use secp256k1::ecdsa::RecoverableSignature;
use secp256k1::{Message, SecretKey};
use serde_json::{Value, json};
use sha2::Digest as _;
use url::form_urlencoded;

use self::publish::publish;
use crate::caller::{Answer, Caller, Header};

/// RFC 7636 appendix B.
pub const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
pub const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

pub type Pairs = [(&'static str, String)];

/// Pairs as a form or a query.
pub fn form(pairs: &[(&str, String)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

/// What a URL brings in its query.
pub fn query(url: &str) -> BTreeMap<String, String> {
    let (_, query) = url.split_once('?').unwrap();
    form_urlencoded::parse(query.as_bytes())
        .into_owned()
        .collect()
}

pub fn seconds() -> u64 {
    let now = Clock::system().now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs()
}

pub struct Stage {
    pub sandbox: Sandbox,
    pub caller: Caller,
    /// Where the app is.
    pub app: String,
    /// The node, as everybody calls it.
    pub origin: String,
    pub account: Account,
    pub owner: ContextSession,
    pub stranger: ContextSession,
}

pub async fn log_in(sandbox: &Sandbox, account: &Account) -> ContextSession {
    let vault = ContextName::vault();
    sandbox.open_context(account, &vault).await.unwrap()
}

pub fn account() -> Account {
    Account::generate(NETWORK.anchor(), &mut OsRng.unwrap_err()).0
}

impl Stage {
    pub async fn new() -> Self {
        Self::with("").await
    }

    /// `config` is more of the node's configuration.
    pub async fn with(config: &str) -> Self {
        let options = Options {
            node_config: format!("[oauth]\nlocal_clients = true\n{config}"),
            ..Options::default()
        };
        let sandbox = Sandbox::start(options).await.unwrap();
        let (account, other) = (account(), account());
        let mut stage = Self {
            caller: Caller::connect(&sandbox.node_url()).await,
            app: publish().await,
            origin: sandbox.node_url().trim_end_matches('/').to_owned(),
            owner: log_in(&sandbox, &account).await,
            stranger: log_in(&sandbox, &other).await,
            account,
            sandbox,
        };
        let record = json!({ "record": {
            "_id": "mail-1", "name": "Letter", "type": "receive", "fromName": "ada", "fromEmail": "ada@example.com",
            "toEmail": "me@example.com", "messageText": "hello", "sentAt": "2026-01-01T00:00:00.000Z",
        } });
        let written = stage
            .owner("POST", "/api/rest/v1/ds/social-email", Some(&record))
            .await;
        assert_eq!(written.status, 201, "{}", written.json());
        stage
    }

    pub fn client_id(&self) -> String {
        format!("{}/client.json", self.app)
    }

    pub fn redirect_uri(&self) -> String {
        format!("{}/back?a=b", self.app)
    }

    /// A request that is in order.
    pub fn request(&self, scope: &str) -> Vec<(&'static str, String)> {
        vec![
            ("response_type", "code".to_owned()),
            ("client_id", self.client_id()),
            ("redirect_uri", self.redirect_uri()),
            ("code_challenge", CHALLENGE.to_owned()),
            ("code_challenge_method", "S256".to_owned()),
            ("scope", scope.to_owned()),
            ("state", "x y&z".to_owned()),
            ("resource", self.origin.clone()),
        ]
    }

    pub async fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[Header<'_>],
        body: Option<&Value>,
    ) -> Answer {
        self.caller.send(method, path, headers, body).await
    }

    /// A request of the owner.
    pub async fn owner(&mut self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let key = self.owner.expose_api_key();
        self.send(method, path, &[("x-api-key", &key)], body).await
    }

    /// A request with a token.
    pub async fn bearer(&mut self, method: &str, path: &str, token: &str) -> Answer {
        let header = format!("Bearer {token}");
        self.send(method, path, &[("authorization", &header)], None)
            .await
    }

    pub async fn form(
        &mut self,
        path: &str,
        pairs: &[(&str, String)],
        headers: &[Header<'_>],
    ) -> Answer {
        let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
        all.extend(headers);
        self.caller.send_text("POST", path, &all, form(pairs)).await
    }

    pub async fn authorize(&mut self, pairs: &[(&str, String)]) -> Answer {
        let path = format!("/oauth/authorize?{}", form(pairs));
        self.send("GET", &path, &[], None).await
    }

    /// The id of a request that waits for its user.
    pub async fn ask(&mut self, pairs: &[(&str, String)]) -> String {
        let answer = self.authorize(pairs).await;
        assert_eq!(
            answer.status,
            303,
            "{}",
            String::from_utf8_lossy(&answer.body)
        );
        let location = answer.headers["location"].to_str().unwrap();
        let id = location.strip_prefix("/consent?request=");
        id.unwrap_or_else(|| panic!("{location}")).to_owned()
    }

    /// The owner allows a request of the app; where that leads.
    pub async fn approve(&mut self, id: &str, terms: &Value) -> String {
        let client = self.client_id();
        self.approve_of(&client, id, terms).await
    }

    /// The same for another client.
    pub async fn approve_of(&mut self, client: &str, id: &str, terms: &Value) -> String {
        let redirect_uri = self.redirect_uri();
        let now = seconds();
        let consent = AppConsent {
            nonce: id,
            audience: &self.origin,
            client,
            redirect_uri: &redirect_uri,
            terms,
            not_before: now - 60,
            not_after: now + 300,
        };
        let text = app_consent(&consent).unwrap();
        let signature = self
            .owner
            .keyring()
            .unwrap()
            .sign_consent(&text)
            .to_string();
        let body = json!({ "consent": text.as_str(), "signature": signature });
        let path = format!("/consent/requests/{id}/approve");
        let answer = self.owner("POST", &path, Some(&body)).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()["redirect"].as_str().unwrap().to_owned()
    }

    /// A code for scopes that were asked and allowed.
    pub async fn code(&mut self, scope: &str) -> String {
        let id = self.ask(&self.request(scope)).await;
        let scopes: Vec<&str> = scope.split(' ').collect();
        let back = self.approve(&id, &json!({ "scopes": scopes })).await;
        query(&back)["code"].clone()
    }

    pub async fn try_exchange(&mut self, code: &str, headers: &[Header<'_>]) -> Answer {
        let pairs = [
            ("grant_type", "authorization_code".to_owned()),
            ("code", code.to_owned()),
            ("code_verifier", VERIFIER.to_owned()),
            ("client_id", self.client_id()),
            ("redirect_uri", self.redirect_uri()),
        ];
        self.form("/oauth/token", &pairs, headers).await
    }

    pub async fn exchange(&mut self, code: &str, headers: &[Header<'_>]) -> Value {
        let answer = self.try_exchange(code, headers).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()
    }

    pub async fn granted(&mut self, scope: &str, headers: &[Header<'_>]) -> Value {
        let code = self.code(scope).await;
        self.exchange(&code, headers).await
    }

    pub async fn refresh(&mut self, token: &str, headers: &[Header<'_>]) -> Answer {
        let pairs = [
            ("grant_type", "refresh_token".to_owned()),
            ("refresh_token", token.to_owned()),
            ("client_id", self.client_id()),
        ];
        self.form("/oauth/token", &pairs, headers).await
    }

    /// The same for some of the scopes.
    pub async fn refresh_for(&mut self, token: &str, scope: &str) -> Answer {
        let pairs = [
            ("grant_type", "refresh_token".to_owned()),
            ("refresh_token", token.to_owned()),
            ("client_id", self.client_id()),
            ("scope", scope.to_owned()),
        ];
        self.form("/oauth/token", &pairs, &[]).await
    }

    /// Asks for mail with a token: the status, and the problem if it is one.
    pub async fn query_mail(&mut self, token: &str) -> (u16, String) {
        let header = format!("Bearer {token}");
        let path = "/api/rest/v1/ds/query/social-email";
        let headers = [("authorization", header.as_str())];
        let answer = self.send("POST", path, &headers, Some(&json!({}))).await;
        match answer.status.as_u16() {
            200 => {
                assert_eq!(answer.json()["items"][0]["_id"], "mail-1");
                (200, String::new())
            }
            _ => answer.problem(),
        }
    }

    pub fn mail_path(&self) -> String {
        "/api/rest/v1/ds/get/social-email/mail-1".to_owned()
    }
}

/// A key of an app, to which its tokens are bound.
pub struct Key(EcdsaKeyPair);

impl Key {
    pub fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    /// A proof for one request (RFC 9449).
    pub fn proof(&self, method: &str, target: &str, token: Option<&str>, id: &str) -> String {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let point = self.0.public_key().as_ref();
        let jwk = json!({ "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..]) });
        let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk }).to_string();
        let mut claims = json!({ "jti": id, "htm": method, "htu": target, "iat": seconds() });
        if let Some(token) = token {
            claims["ath"] = json!(encode(digest(&SHA256, token.as_bytes()).as_ref()));
        }
        let signed = format!(
            "{}.{}",
            encode(header.as_bytes()),
            encode(claims.to_string().as_bytes())
        );
        let signature = self
            .0
            .sign(&SystemRandom::new(), signed.as_bytes())
            .unwrap();
        format!("{signed}.{}", encode(signature.as_ref()))
    }
}

/// An app that has a DID, and its key.
pub struct AppDid(SecretKey);

impl AppDid {
    pub fn new(seed: u8) -> Self {
        Self(SecretKey::from_secret_bytes([seed; 32]).unwrap())
    }

    pub fn did(&self) -> Did {
        let public = secp256k1::PublicKey::from_secret_key(&self.0);
        Did::of_account(NETWORK.anchor(), PublicKey::from_curve(public).address())
    }

    /// A JWT with ES256K.
    pub fn jwt(&self, kind: &str, claims: &Value) -> String {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let header = json!({ "alg": "ES256K", "typ": kind }).to_string();
        let signed = format!(
            "{}.{}",
            encode(header.as_bytes()),
            encode(claims.to_string().as_bytes())
        );
        let message = Message::from_digest(sha2::Sha256::digest(signed.as_bytes()).into());
        let signature = RecoverableSignature::sign_ecdsa_recoverable(message, &self.0);
        format!("{signed}.{}", encode(&signature.serialize_compact().1))
    }
}
