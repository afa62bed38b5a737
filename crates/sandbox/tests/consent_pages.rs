//! What the consent page asks the node, asked without a page: by the owner, by strangers, and with answers that do not fit.
//! `web/tests/consent_flow.spec.ts` goes the same way in a browser.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    missing_docs
)]

mod caller;
#[path = "auth/publish.rs"]
mod publish;

use std::time::UNIX_EPOCH;

use adyton_keys::account::Account;
use adyton_keys::context_session::ContextSession;
use adyton_protocol::consent::{AppConsent, app_consent};
use adyton_protocol::context::ContextName;
use adyton_protocol::schema::SchemaUri;
use adyton_sandbox::cluster::NETWORK;
use adyton_sandbox::{Options, Sandbox};
use caller::{Answer, Caller};
use publish::publish;
use rand_core::{OsRng, TryRngCore};
use serde_json::{Value, json};

const EMAIL: &str = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";
/// A schema of somebody's own.
const DIVE: &str = "https://dive.example/dive/v1/schema.json";
const CONFIG: &str = "names = [\"localhost\", \"127.0.0.1\"]\n[oauth]\nlocal_clients = true\n[consent]\nwallet = \"https://wallet.example/sign\"\n";
/// SHA-256 of a verifier that these tests never need: no code is redeemed here.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

struct Stage {
    sandbox: Sandbox,
    caller: Caller,
    app: String,
    owner: ContextSession,
    stranger: ContextSession,
}

impl Stage {
    async fn new() -> Self {
        let options = Options {
            node_config: CONFIG.to_owned(),
            ..Options::default()
        };
        let sandbox = Sandbox::start(options).await.unwrap();
        let mut stage = Self {
            caller: Caller::connect(&sandbox.node_url()).await,
            app: publish().await,
            owner: person(&sandbox).await,
            stranger: person(&sandbox).await,
            sandbox,
        };
        let key = stage.owner.expose_api_key();
        for n in 0..5 {
            let record = json!({ "record": {
                "_id": format!("mail-{n}"), "name": format!("Letter {n}"), "type": "receive", "fromName": "ada",
                "fromEmail": "ada@example.com", "toEmail": "me@example.com", "messageText": "only-the-owner-may-see-this",
                "sentAt": format!("2026-01-0{}T00:00:00.000Z", n + 1),
            } });
            let path = "/api/rest/v1/ds/social-email";
            let header = [("x-api-key", key.as_str())];
            let written = stage
                .caller
                .send("POST", path, &header, Some(&record))
                .await;
            assert_eq!(written.status, 201);
        }
        stage
    }

    /// An app asks; the id of its request.
    async fn ask(&mut self, scope: &str) -> String {
        let escaped = |text: &str| {
            text.replace(':', "%3A")
                .replace('/', "%2F")
                .replace('?', "%3F")
                .replace('=', "%3D")
        };
        let path = format!(
            "/oauth/authorize?response_type=code&client_id={}&redirect_uri={}&code_challenge={CHALLENGE}&code_challenge_method=S256&scope={}&state=x",
            escaped(&format!("{}/client.json", self.app)),
            escaped(&format!("{}/back?a=b", self.app)),
            scope.replace(' ', "%20"),
        );
        let host = self.sandbox.node_url().replace("https://", "");
        let sent = self
            .caller
            .send("GET", &path, &[("host", &host)], None)
            .await;
        assert!(sent.status.is_redirection(), "{}", sent.json());
        let location = sent.headers["location"].to_str().unwrap();
        let (page, id) = location.split_once("?request=").unwrap();
        assert!(page.ends_with("/consent"), "{location}");
        id.to_owned()
    }

    async fn asked(&mut self, id: &str) -> Value {
        self.asked_as(id, &[]).await
    }

    /// What is asked, for whom these headers name.
    async fn asked_as(&mut self, id: &str, headers: &[(&str, &str)]) -> Value {
        let answer = self
            .caller
            .send("GET", &format!("/consent/requests/{id}"), headers, None)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()
    }

    /// Gives somebody a schema of their own: dives, in this database, with one record in it.
    async fn dives(&mut self, who: &ContextSession, database: &str) {
        let key = who.expose_api_key();
        let header = [("x-api-key", key.as_str())];
        let path = DIVE.parse::<SchemaUri>().unwrap().to_base64();
        let document = json!({
            "$id": DIVE, "title": "Dive", "titlePlural": "Dives", "database": { "name": database },
            "properties": { "depth": { "type": "number" }, "buddy": { "type": "string" } },
        });
        for (method, path, body, status) in [
            ("PUT", format!("/api/rest/v1/schemas/{path}"), document, 201),
            (
                "POST",
                format!("/api/rest/v1/ds/{path}"),
                json!({ "record": { "_id": database, "depth": 40, "buddy": "secret" } }),
                201,
            ),
        ] {
            let done = self.caller.send(method, &path, &header, Some(&body)).await;
            assert_eq!(done.status, status, "{}", done.json());
        }
    }

    async fn post(
        &mut self,
        id: &str,
        what: &str,
        who: Option<&ContextSession>,
        body: &Value,
    ) -> Answer {
        let key = who.map(ContextSession::expose_api_key);
        let headers: Vec<(&str, &str)> =
            key.iter().map(|key| ("x-api-key", key.as_str())).collect();
        let path = format!("/consent/requests/{id}/{what}");
        self.caller.send("POST", &path, &headers, Some(body)).await
    }

    /// The consent that the owner's page would sign.
    fn consent<'c>(&'c self, id: &'c str, origin: &'c str, asked: &'c Value) -> AppConsent<'c> {
        let now = adyton_client::clock::Clock::system()
            .now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        AppConsent {
            nonce: id,
            audience: origin,
            client: asked["client"]["id"].as_str().unwrap(),
            redirect_uri: asked["redirectUri"].as_str().unwrap(),
            terms: &asked["terms"],
            not_before: now - 10,
            not_after: now + 300,
        }
    }
}

async fn person(sandbox: &Sandbox) -> ContextSession {
    let (account, _) = Account::generate(NETWORK.anchor(), &mut OsRng.unwrap_err());
    sandbox
        .open_context(&account, &ContextName::vault())
        .await
        .unwrap()
}

/// The body of an approval, signed by somebody's context key.
fn signed(consent: &AppConsent<'_>, who: &ContextSession) -> Value {
    let text = app_consent(consent).unwrap();
    let signature = who.keyring().unwrap().sign_consent(&text);
    json!({ "consent": text.as_str(), "signature": signature.to_string() })
}

#[tokio::test]
async fn who_asks_and_for_what_is_told_in_words_and_the_database_is_the_real_one() {
    let mut stage = Stage::new().await;
    let id = stage.ask("api:ds-query ds:rw:social-email").await;
    let asked = stage.asked(&id).await;
    assert_eq!(asked["wallet"], "https://wallet.example/sign");
    assert_eq!(asked["client"]["name"], "Letter Reader");
    assert_eq!(asked["client"]["verifiedBy"], "owner-typed");
    assert_eq!(asked["redirectUri"], format!("{}/back?a=b", stage.app));
    let permission = &asked["permissions"][0];
    assert_eq!(permission["target"], format!("ds:{EMAIL}"));
    assert_eq!(permission["database"], "social_email");
    assert_eq!(permission["words"], "Read, add and change your emails");
    assert_eq!(asked["api"][0]["scope"], "api:ds-query");
    assert!(!asked["api"][0]["words"].as_str().unwrap().is_empty());
    stage.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_preview_is_what_an_app_with_these_terms_would_see() {
    let mut stage = Stage::new().await;
    let id = stage.ask("api:ds-query ds:rwd:social-email").await;
    let target = format!("ds:{EMAIL}");
    let owner = person_like(&stage.owner);
    let mut shown = async |terms: Value| {
        let answer = stage
            .post(&id, "preview", Some(&owner), &json!({ "terms": terms }))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        let body = answer.json();
        assert_eq!(body["targets"].as_array().unwrap().len(), 1);
        body["targets"][0].clone()
    };
    let all = shown(json!({ "scopes": ["ds:r:social-email"] })).await;
    assert_eq!(
        (
            all["count"].as_u64(),
            all["examples"].as_array().unwrap().len()
        ),
        (Some(5), 3)
    );
    // The newest first.
    assert_eq!(all["examples"][0]["_id"], "mail-4");
    assert_eq!(
        all["examples"][0]["messageText"],
        "only-the-owner-may-see-this"
    );

    let narrowed = shown(json!({
        "scopes": ["ds:r:social-email"],
        "narrow": [{ "target": target, "from": "2026-01-02T00:00:00Z", "until": "2026-01-04T00:00:00Z", "without": ["messageText"] }],
    }))
    .await;
    assert_eq!(narrowed["count"], 2);
    assert_eq!(narrowed["examples"][0]["_id"], "mail-2");
    assert!(
        !narrowed.to_string().contains("only-the-owner"),
        "{narrowed}"
    );
    assert!(!narrowed.to_string().contains("signatures"), "{narrowed}");

    // Without its time a record has no order by it that would tell it.
    let timeless = shown(json!({
        "scopes": ["ds:r:social-email"], "narrow": [{ "target": target, "without": ["sentAt"] }],
    }))
    .await;
    assert_eq!(timeless["count"], 5);
    assert_eq!(timeless["examples"][0]["_id"], "mail-0");

    let writing = shown(json!({ "scopes": ["ds:w:social-email"] })).await;
    assert_eq!(
        (writing["count"].as_u64(), &writing["examples"]),
        (Some(0), &json!([]))
    );
    stage.sandbox.shutdown().await;
}

fn person_like(session: &ContextSession) -> ContextSession {
    ContextSession::parse_api_key(&session.expose_api_key()).unwrap()
}

#[tokio::test]
async fn a_stranger_with_the_link_sees_what_is_asked_and_only_their_own_data() {
    let mut stage = Stage::new().await;
    let id = stage.ask("api:ds-query ds:r:social-email").await;
    let body = json!({ "terms": { "scopes": ["ds:r:social-email"] } });
    let nobody = stage.post(&id, "preview", None, &body).await;
    assert_eq!(nobody.problem(), (401, "credentials-missing".to_owned()));
    let stranger = person_like(&stage.stranger);
    let own = stage.post(&id, "preview", Some(&stranger), &body).await;
    assert_eq!(own.status, 200);
    assert_eq!(own.json()["targets"][0]["count"], 0);
    stage.sandbox.shutdown().await;
}

#[tokio::test]
async fn terms_that_were_not_asked_for_are_neither_previewed_nor_approved() {
    let mut stage = Stage::new().await;
    let id = stage.ask("api:ds-query ds:r:social-email").await;
    let asked = stage.asked(&id).await;
    let (owner, origin) = (person_like(&stage.owner), stage.sandbox.node_url());
    for scopes in [
        json!(["ds:rw:social-email"]),
        json!(["ds:r:social-post"]),
        json!(["db:r:social_email"]),
        json!(["api:llm-prompt"]),
        json!(["db:r:user_wallet"]),
        json!([]),
    ] {
        let terms = json!({ "scopes": scopes });
        let preview = stage
            .post(&id, "preview", Some(&owner), &json!({ "terms": terms }))
            .await;
        assert_eq!(preview.problem().1, "scope-invalid", "{terms}");
        let consent = AppConsent {
            terms: &terms,
            ..stage.consent(&id, &origin, &asked)
        };
        let body = signed(&consent, &owner);
        let approval = stage.post(&id, "approve", Some(&owner), &body).await;
        assert_eq!(approval.problem().1, "scope-invalid", "{terms}");
    }
    stage.sandbox.shutdown().await;
}

#[tokio::test]
async fn only_the_owners_signature_over_this_very_request_approves_it_and_once() {
    let mut stage = Stage::new().await;
    let other = stage.ask("api:ds-query ds:r:social-email").await;
    let id = stage.ask("api:ds-query ds:r:social-email").await;
    let asked = stage.asked(&id).await;
    let (owner, stranger) = (person_like(&stage.owner), person_like(&stage.stranger));
    let origin = stage.sandbox.node_url();
    let wrong: Vec<(&str, Value)> = {
        let right = stage.consent(&id, &origin, &asked);
        let mut spaced = signed(&right, &owner);
        spaced["consent"] = json!(spaced["consent"].as_str().unwrap().replacen('{', "{ ", 1));
        let mut unsigned = signed(&right, &owner);
        unsigned["signature"] = json!(format!("0x{}1b", "11".repeat(64)));
        vec![
            ("somebody else's key", signed(&right, &stranger)),
            (
                "another request",
                signed(
                    &AppConsent {
                        nonce: &other,
                        ..right
                    },
                    &owner,
                ),
            ),
            (
                "another node",
                signed(
                    &AppConsent {
                        audience: "https://node.example",
                        ..right
                    },
                    &owner,
                ),
            ),
            (
                "another app",
                signed(
                    &AppConsent {
                        client: "https://app.example/client.json",
                        ..right
                    },
                    &owner,
                ),
            ),
            (
                "another way back",
                signed(
                    &AppConsent {
                        redirect_uri: "https://app.example/back",
                        ..right
                    },
                    &owner,
                ),
            ),
            (
                "too early",
                signed(
                    &AppConsent {
                        not_before: right.not_before + 3600,
                        not_after: right.not_after + 3600,
                        ..right
                    },
                    &owner,
                ),
            ),
            (
                "too late",
                signed(
                    &AppConsent {
                        not_before: right.not_before - 600,
                        not_after: right.not_after - 600,
                        ..right
                    },
                    &owner,
                ),
            ),
            (
                "too lasting",
                signed(
                    &AppConsent {
                        not_after: right.not_after + 86_400,
                        ..right
                    },
                    &owner,
                ),
            ),
            ("another spelling", spaced),
            ("a made-up signature", unsigned),
        ]
    };
    for (why, body) in wrong {
        let refused = stage.post(&id, "approve", Some(&owner), &body).await;
        assert!(
            refused.status.is_client_error(),
            "{why}: {}",
            refused.status
        );
        assert!(!refused.json().to_string().contains("code="), "{why}");
    }
    let right = signed(&stage.consent(&id, &origin, &asked), &owner);
    // The owner's signature in somebody else's hands: it takes the owner's session beside it.
    let refused = stage.post(&id, "approve", Some(&stranger), &right).await;
    assert!(refused.status.is_client_error());
    let nobody = stage.post(&id, "approve", None, &right).await;
    assert_eq!(nobody.problem(), (401, "credentials-missing".to_owned()));

    let approved = stage.post(&id, "approve", Some(&owner), &right).await;
    assert_eq!(approved.status, 200, "{}", approved.json());
    let redirect = approved.json()["redirect"].as_str().unwrap().to_owned();
    assert!(
        redirect.starts_with(&format!("{}/back?a=b&code=", stage.app)),
        "{redirect}"
    );
    let again = stage.post(&id, "approve", Some(&owner), &right).await;
    assert_eq!(again.problem(), (404, "not-found".to_owned()));
    let gone = stage.post(&id, "deny", None, &json!({})).await;
    assert_eq!(gone.problem(), (404, "not-found".to_owned()));
    stage.sandbox.shutdown().await;
}

#[tokio::test]
async fn an_owner_sees_the_grant_and_ends_it_and_nobody_else_does() {
    let mut stage = Stage::new().await;
    let id = stage.ask("api:ds-query ds:r:social-email").await;
    let asked = stage.asked(&id).await;
    let (owner, origin) = (person_like(&stage.owner), stage.sandbox.node_url());
    let body = signed(&stage.consent(&id, &origin, &asked), &owner);
    assert_eq!(
        stage.post(&id, "approve", Some(&owner), &body).await.status,
        200
    );

    let (key, strange) = (owner.expose_api_key(), stage.stranger.expose_api_key());
    let path = "/api/rest/v1/auth/grants";
    let listed = stage
        .caller
        .send("GET", path, &[("x-api-key", &key)], None)
        .await
        .json();
    let grant = &listed["grants"][0];
    assert_eq!(grant["client"]["name"], "Letter Reader");
    assert_eq!(grant["permissions"][0]["words"], "Read your emails");
    assert_eq!(grant["terms"]["scopes"], asked["terms"]["scopes"]);
    let theirs = stage
        .caller
        .send("GET", path, &[("x-api-key", &strange)], None)
        .await
        .json();
    assert_eq!(theirs, json!({ "grants": [] }));
    let one = format!("{path}/{}", grant["_id"].as_str().unwrap());
    let refused = stage
        .caller
        .send("DELETE", &one, &[("x-api-key", &strange)], None)
        .await;
    assert_eq!(refused.problem(), (404, "not-found".to_owned()));
    let ended = stage
        .caller
        .send("DELETE", &one, &[("x-api-key", &key)], None)
        .await;
    assert_eq!(ended.status, 200);
    let none = stage
        .caller
        .send("GET", path, &[("x-api-key", &key)], None)
        .await
        .json();
    assert_eq!(none, json!({ "grants": [] }));
    stage.sandbox.shutdown().await;
}

#[tokio::test]
async fn a_schema_of_ones_own_is_asked_for_by_name_and_means_what_its_owner_says_once_signed_in() {
    let mut stage = Stage::new().await;
    let (owner, stranger) = (person_like(&stage.owner), person_like(&stage.stranger));
    stage.dives(&owner, "dives").await;
    stage.dives(&stranger, "descents").await;
    let id = stage
        .ask(&format!("api:ds-query ds:r:{DIVE} ds:r:social-email"))
        .await;
    // Before anybody has signed in it is a name, and nothing that could be allowed.
    let nobody = stage.asked(&id).await;
    assert_eq!(nobody["permissions"].as_array().unwrap().len(), 1);
    assert_eq!(nobody["unknown"][0]["schema"], DIVE);
    assert!(
        nobody["unknown"][0]["words"]
            .as_str()
            .unwrap()
            .contains("signed in")
    );
    assert!(!nobody["terms"].to_string().contains(DIVE));
    // Afterwards it is what the one who asks has.
    let (key, strange) = (owner.expose_api_key(), stranger.expose_api_key());
    for (key, database) in [(&key, "dives"), (&strange, "descents")] {
        let asked = stage.asked_as(&id, &[("x-api-key", key)]).await;
        assert_eq!(asked.get("unknown"), None);
        let permission = &asked["permissions"][0];
        assert_eq!(permission["database"], database);
        assert_eq!(permission["own"], true);
        assert_eq!(
            permission["words"],
            "Read your dives (a schema of your own)"
        );
        assert!(permission["fields"].to_string().contains("buddy"));
    }
    let asked = stage.asked_as(&id, &[("x-api-key", &key)]).await;
    let target = format!("ds:{DIVE}");
    let terms = json!({
        "scopes": ["api:ds-query", format!("ds:r:{DIVE}")], "narrow": [{ "target": target, "without": ["buddy"] }],
    });
    let preview = stage
        .post(&id, "preview", Some(&owner), &json!({ "terms": terms }))
        .await
        .json();
    let shown = &preview["targets"][0];
    assert_eq!(
        (&shown["count"], &shown["examples"][0]["depth"]),
        (&json!(1), &json!(40))
    );
    assert!(!preview.to_string().contains("secret"), "{preview}");
    let origin = stage.sandbox.node_url();
    let consent = AppConsent {
        terms: &terms,
        ..stage.consent(&id, &origin, &asked)
    };
    let body = signed(&consent, &owner);
    let approved = stage.post(&id, "approve", Some(&owner), &body).await;
    assert_eq!(approved.status, 200, "{}", approved.json());
    let listed = stage
        .caller
        .send(
            "GET",
            "/api/rest/v1/auth/grants",
            &[("x-api-key", &key)],
            None,
        )
        .await
        .json();
    let granted = &listed["grants"][0]["permissions"][0];
    assert_eq!(
        (&granted["database"], &granted["title"]),
        (&json!("dives"), &json!("Dives"))
    );
    stage.sandbox.shutdown().await;
}

#[tokio::test]
async fn what_its_user_does_not_have_is_refused_by_name_and_the_rest_can_be_allowed() {
    let mut stage = Stage::new().await;
    let id = stage
        .ask(&format!("api:ds-query ds:rwd:{DIVE} ds:r:social-email"))
        .await;
    let owner = person_like(&stage.owner);
    let key = owner.expose_api_key();
    let asked = stage.asked_as(&id, &[("x-api-key", &key)]).await;
    assert_eq!(asked["unknown"][0]["schema"], DIVE);
    assert!(
        asked["unknown"][0]["words"]
            .as_str()
            .unwrap()
            .contains("cannot get it")
    );
    let origin = stage.sandbox.node_url();
    let wider = json!({ "scopes": [format!("ds:r:{DIVE}"), "ds:r:social-email"] });
    let consent = AppConsent {
        terms: &wider,
        ..stage.consent(&id, &origin, &asked)
    };
    let refused = signed(&consent, &owner);
    let refused = stage.post(&id, "approve", Some(&owner), &refused).await;
    assert_eq!(refused.problem(), (400, "scope-invalid".to_owned()));
    let rest = signed(&stage.consent(&id, &origin, &asked), &owner);
    let allowed = stage.post(&id, "approve", Some(&owner), &rest).await;
    assert_eq!(allowed.status, 200, "{}", allowed.json());

    // A request for nothing else can be denied, and nothing of it allowed.
    let id = stage.ask(&format!("ds:r:{DIVE}")).await;
    let asked = stage.asked_as(&id, &[("x-api-key", &key)]).await;
    assert_eq!(asked["terms"], json!({ "scopes": [] }));
    for scopes in [
        json!([]),
        json!(["ds:r:social-email"]),
        json!([format!("ds:r:{DIVE}")]),
    ] {
        let body = json!({ "terms": { "scopes": scopes } });
        let preview = stage.post(&id, "preview", Some(&owner), &body).await;
        assert_eq!(
            preview.problem(),
            (400, "scope-invalid".to_owned()),
            "{body}"
        );
    }
    stage.sandbox.shutdown().await;
}
