//! Mistakes with marked words in all places of a request where a word can stand.

use adyton_protocol::schema::SchemaUri;
use serde_json::{Value, json};

use crate::Words;
use crate::caller::Header;

/// A request that must end in a problem.
pub struct Mistake<'w> {
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<Header<'w>>,
    pub body: Option<Value>,
}

impl<'w> Mistake<'w> {
    fn new(method: &'static str, path: impl Into<String>, headers: &[Header<'w>]) -> Self {
        Self {
            method,
            path: path.into(),
            headers: headers.to_vec(),
            body: None,
        }
    }

    fn with(self, body: Value) -> Self {
        Self {
            body: Some(body),
            ..self
        }
    }
}

/// The headers of one run: the owner's, an app's, and a credential that is none.
pub struct Credentials<'w> {
    pub owner: Header<'w>,
    pub app: Header<'w>,
    pub wrong: Header<'w>,
}

/// All of them.
pub fn mistakes<'w>(words: &'w Words, credentials: &Credentials<'w>) -> Vec<Mistake<'w>> {
    let Credentials { owner, app, wrong } = *credentials;
    let (nonsense, token) = (words.nonsense.word.as_str(), app.1);
    let (id, database) = (words.id.word.as_str(), words.database.word.as_str());
    let me = "/api/rest/v1/auth/me";
    let get = |path: String| Mistake::new("GET", format!("/api/rest/v1{path}"), &[owner]);
    let mut all = vec![
        Mistake::new("GET", format!("/{nonsense}"), &[]),
        Mistake::new("PATCH", me, &[owner]),
        Mistake::new("GET", me, &[wrong]),
        Mistake::new("GET", me, &[("authorization", nonsense)]),
        Mistake::new("GET", me, &[("x-api-key", nonsense)]),
        Mistake::new("GET", me, &[owner, app]),
        Mistake::new("GET", me, &[("key", nonsense)]),
        get(format!("/auth/me?token={nonsense}")),
        get(format!("/db/get/{database}/{nonsense}")),
        get(format!("/db/get/..%2F{nonsense}/{id}")),
        get(format!("/ds/get/{nonsense}/{id}")),
        get(format!("/db/watch/{database}?filter={nonsense}")),
        get(format!("/db/watch/{database}?{nonsense}=1")),
        get(format!("/watch/{nonsense}")),
        Mistake::new("POST", "/api/rest/v1/watch/tickets", &[owner])
            .with(json!({ "path": format!("/db/query/{database}"), nonsense: 1 })),
        Mistake::new("POST", format!("/api/rest/v1/db/watch/{nonsense}"), &[app]),
        get(format!("/ds/get/https:%2F%2F{nonsense}%2Fschema.json/{id}")),
        Mistake::new(
            "GET",
            format!("/api/rest/v1/db/get/{nonsense}/{id}"),
            &[app],
        ),
        Mistake::new(
            "GET",
            format!("/api/rest/v1/db/get/{database}/{id}-1"),
            &[app],
        ),
        Mistake::new(
            "GET",
            format!("/.well-known/adyton-attestation?nonce={nonsense}"),
            &[],
        ),
        Mistake::new(
            "DELETE",
            format!("/api/rest/v1/auth/tokens/{nonsense}"),
            &[owner],
        ),
        Mistake::new(
            "DELETE",
            format!(
                "/api/rest/v1/auth/tokens/{}",
                token.trim_start_matches("Bearer ")
            ),
            &[owner],
        ),
    ];
    all.extend(wrong_consents(words, owner));
    all.extend(wrong_requests_for_grants(words, owner, app));
    all.extend(wrong_records(words, owner, app));
    all.extend(wrong_queries(words, owner));
    all.extend(wrong_grants(words, owner, app));
    all.extend(wrong_searches(words, owner, app));
    all
}

fn wrong_searches<'w>(words: &Words, owner: Header<'w>, app: Header<'w>) -> Vec<Mistake<'w>> {
    let (text, nonsense) = (&words.text.word, words.nonsense.word.as_str());
    let search = "/api/rest/v1/search";
    let datastore = format!("{search}/datastore/social-email");
    let threads = format!("{search}/chatThreads?keywords={text}");
    let universal = format!("{search}/universal?keywords={text}");
    let mut all = vec![
        Mistake::new("GET", format!("{universal}&{nonsense}=1"), &[owner]),
        Mistake::new(
            "GET",
            format!("{universal}&searchTypes={nonsense}"),
            &[owner],
        ),
        Mistake::new("GET", format!("{universal}&timeframe={nonsense}"), &[owner]),
        Mistake::new("GET", &universal, &[app]),
        Mistake::new("GET", format!("{threads}&merge={nonsense}"), &[owner]),
        Mistake::new("GET", &threads, &[app]),
        Mistake::new("POST", format!("{search}/ds/{nonsense}"), &[owner])
            .with(json!({ "keywords": text })),
    ];
    for wrong in [
        json!({ "keywords": [text] }),
        json!({ "keywords": text, nonsense: 1 }),
        json!({ "keywords": text, "cursor": nonsense }),
        json!({ "keywords": text, "facets": [nonsense] }),
        json!({ "keywords": text, "options": { nonsense: text } }),
        json!({ "keywords": text, "options": { "combineWith": nonsense } }),
    ] {
        all.push(Mistake::new("POST", &datastore, &[owner]).with(wrong));
    }
    all
}

/// At the pages and at what they ask.
fn wrong_consents<'w>(words: &Words, owner: Header<'w>) -> Vec<Mistake<'w>> {
    let nonsense = &words.nonsense.word;
    let request = format!("/consent/requests/{nonsense}");
    let login = "/api/rest/v1/auth/session";
    vec![
        Mistake::new("GET", format!("/assets/{nonsense}"), &[]),
        Mistake::new("GET", &request, &[]),
        Mistake::new("POST", format!("{request}/deny"), &[]),
        Mistake::new("POST", format!("{request}/preview"), &[owner])
            .with(json!({ "terms": { nonsense: nonsense } })),
        Mistake::new("POST", format!("{request}/approve"), &[owner])
            .with(json!({ "consent": nonsense, "signature": nonsense })),
        Mistake::new(
            "DELETE",
            format!("/api/rest/v1/auth/grants/{nonsense}"),
            &[owner],
        ),
        Mistake::new("POST", format!("{login}/challenges"), &[])
            .with(json!({ "did": nonsense, "contextName": nonsense, "storageNode": nonsense })),
        Mistake::new("POST", login, &[]).with(json!({ "did": nonsense, "answers": [nonsense] })),
    ]
}

/// At what apps and wallets send when they ask for a grant. (`auth_oauth.rs` has those that are forms.)
fn wrong_requests_for_grants<'w>(
    words: &Words,
    owner: Header<'w>,
    app: Header<'w>,
) -> Vec<Mistake<'w>> {
    let nonsense = &words.nonsense.word;
    let auth = "/api/rest/v1/auth";
    let authorize = |query: String| Mistake::new("GET", format!("/oauth/authorize?{query}"), &[]);
    let consent = |body| Mistake::new("POST", format!("{auth}/auth"), &[owner]).with(body);
    let client = format!("https://localhost/{nonsense}");
    vec![
        authorize(format!("{nonsense}={nonsense}")),
        authorize(format!("client_id={nonsense}&state={nonsense}")),
        authorize(format!(
            "client_id={client}&redirect_uri=https://{nonsense}/"
        )),
        authorize(format!("client_id={client}&client_id={nonsense}")),
        authorize(format!("client_id={client}&request_uri={nonsense}")),
        authorize(format!(
            "client_id=did:vda:polpos:0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a&request={nonsense}.e30.{nonsense}"
        )),
        consent(json!({ nonsense: nonsense })),
        consent(json!({
            "client_id": client, "auth_request": nonsense, "redirect_uri": nonsense,
            "user_sig": format!("0x{}1b", "11".repeat(64)), "state": nonsense,
        })),
        Mistake::new(
            "GET",
            format!("{auth}/check-scope?{nonsense}={nonsense}"),
            &[app],
        ),
        Mistake::new(
            "GET",
            format!("{auth}/resolve-scopes?{nonsense}={nonsense}"),
            &[],
        ),
        Mistake::new("GET", format!("{auth}/token?tokenId={nonsense}"), &[]),
        Mistake::new("GET", format!("{auth}/revoke?tokenId={nonsense}"), &[owner]),
        Mistake::new("POST", format!("{auth}/revoke"), &[owner])
            .with(json!({ "tokenId": nonsense })),
    ]
}

fn wrong_records<'w>(words: &Words, owner: Header<'w>, app: Header<'w>) -> Vec<Mistake<'w>> {
    let (text, member, id) = (&words.text.word, words.member.word.as_str(), &words.id.word);
    let database = format!("/api/rest/v1/db/{}", words.database.word);
    let nonsense = &words.nonsense.word;
    let old = format!("7-{}", "ab".repeat(16));
    let email = |wrong: Value| {
        let mut record = json!({ "_id": id, "name": text, "type": text });
        record[member] = wrong;
        json!({ "record": record })
    };
    let mut all = vec![
        Mistake::new("POST", &database, &[app]).with(json!({ "record": { member: text } })),
        Mistake::new("PUT", format!("{database}/{id}-1"), &[owner])
            .with(json!({ "record": { "_rev": old, member: text } })),
        Mistake::new("PUT", format!("{database}/{nonsense}"), &[owner])
            .with(json!({ "record": { member: text } })),
        Mistake::new("DELETE", format!("{database}/{nonsense}"), &[owner]),
        Mistake::new(
            "DELETE",
            format!("{database}/{id}-1?destroy=true"),
            &[owner],
        ),
        Mistake::new("PATCH", format!("{database}/{id}-1"), &[owner])
            .with(json!({ "_rev": old, member: text })),
        Mistake::new("PATCH", format!("{database}/{nonsense}"), &[owner])
            .with(json!({ member: text })),
        Mistake::new("DELETE", format!("{database}?confirm={nonsense}"), &[owner]),
        Mistake::new("DELETE", format!("{database}?{nonsense}={text}"), &[owner]),
        Mistake::new("DELETE", format!("{database}?id={nonsense}"), &[owner]),
        Mistake::new("POST", "/api/rest/v1/ds/bulk/social-email", &[owner])
            .with(json!({ "records": [{ "_id": id, member: text }] })),
        Mistake::new("POST", "/api/rest/v1/ds/bulk/social-email", &[owner])
            .with(json!({ "records": [text] })),
        Mistake::new("POST", "/api/rest/v1/ds/bulk-get/social-email", &[owner])
            .with(json!({ "ids": { member: text } })),
        Mistake::new(
            "GET",
            format!("/api/rest/v1/ds/export/{nonsense}"),
            &[owner],
        ),
        Mistake::new("POST", "/api/rest/v1/ds/social-email", &[owner])
            .with(json!({ "record": { "sentAt": text } })),
        Mistake::new("POST", "/api/rest/v1/ds/social-email", &[owner])
            .with(email(json!({ member: [text] }))),
    ];
    let uri = "https://dive.example/dive/v1/schema.json";
    let schema = format!(
        "/api/rest/v1/schemas/{}",
        uri.parse::<SchemaUri>().unwrap().to_base64()
    );
    let documents = [
        json!({ member: text }),
        json!({ "$id": nonsense, "title": text, "database": { "name": database } }),
        json!({ "$id": uri, "title": format!("{text}\n"), "database": { "name": text } }),
        json!({ "$id": uri, "title": text, "database": { "name": text, "indexes": nonsense } }),
        json!({ "$id": uri, "title": text, "database": { "name": text }, "$ref": format!("https://{nonsense}.example/schema.json") }),
        json!({ "$id": uri, "title": text, "database": { "name": text }, "type": nonsense }),
        json!({ "$id": uri, "title": text, "database": { "name": text }, "pattern": format!("({nonsense}") }),
    ];
    all.extend(documents.map(|document| Mistake::new("PUT", &schema, &[owner]).with(document)));
    for method in ["GET", "PUT", "DELETE"] {
        let path = format!("/api/rest/v1/schemas/{nonsense}");
        all.push(Mistake::new(method, path, &[owner]));
    }
    let bodies = [
        json!({ "record": text }),
        json!({ "record": { "_id": format!("{id}-1"), member: text } }),
        json!({ "record": { "_id": format!("_{id}") } }),
        json!({ "record": {}, member: text }),
        json!({ "record": {}, "options": { member: text } }),
    ];
    all.extend(bodies.map(|body| Mistake::new("POST", &database, &[owner]).with(body)));
    all
}

fn wrong_queries<'w>(words: &Words, owner: Header<'w>) -> Vec<Mistake<'w>> {
    let (member, question) = (words.member.word.as_str(), words.question.word.as_str());
    let path = format!("/api/rest/v1/db/query/{}", words.database.word);
    let bodies = [
        json!({ "query": { member: { format!("${question}"): question } } }),
        json!({ "query": { member: { "$regex": format!("({question}") } } }),
        json!({ "query": { "$or": question } }),
        json!({ "query": {}, "options": { "sort": question } }),
        json!({ "query": {}, "options": { "sort": [{ member: question }] } }),
        json!({ "query": {}, "options": { "limit": question } }),
        json!({ "query": {}, "options": { "fields": { member: question } } }),
        json!({ "query": {}, question: member }),
    ];
    let query = |body| Mistake::new("POST", &path, &[owner]).with(body);
    bodies.map(query).into()
}

fn wrong_grants<'w>(words: &Words, owner: Header<'w>, app: Header<'w>) -> Vec<Mistake<'w>> {
    let (database, nonsense) = (&words.database.word, words.nonsense.word.as_str());
    let fine = ["api:ds-query"];
    let bodies = [
        json!({ "scopes": [format!("db:r:{database}"), nonsense] }),
        json!({ "scopes": [format!("db:{nonsense}:{database}")] }),
        json!({ "scopes": [format!("ds:r:{nonsense}")] }),
        json!({ "scopes": fine, "appDID": nonsense }),
        json!({ "scopes": fine, "expiresIn": nonsense }),
        json!({ nonsense: nonsense }),
    ];
    let grant =
        |caller, body| Mistake::new("POST", "/api/rest/v1/auth/token", &[caller]).with(body);
    let mut all: Vec<_> = bodies.into_iter().map(|body| grant(owner, body)).collect();
    all.push(grant(app, json!({ "scopes": fine })));
    all
}
