//! Schemas of a user's own: put by their owner, for whom an app can be allowed as little as for any other.

use adyton_client::schema::{MAX_OWN_BYTES, MAX_OWN_SCHEMAS};
use adyton_protocol::schema::SchemaUri;
use serde_json::{Value, json};

use super::{EMAIL, Scene};

const DIVE: &str = "https://dive.example/dive/v1/schema.json";
const SITE: &str = "https://dive.example/site/v1/schema.json";
const NOBODYS: &str = "https://dive.example/nothing/v1/schema.json";

/// A schema of dives, kept in this database.
fn dives(database: &str) -> Value {
    json!({
        "$id": DIVE, "title": "Dive", "titlePlural": "Dives", "database": { "name": database },
        "type": "object", "required": ["depth"], "properties": { "depth": { "type": "number", "maximum": 332 } },
    })
}

/// The path of a schema in the API, or of its records.
fn at(door: &str, uri: &str) -> String {
    format!("{door}/{}", uri.parse::<SchemaUri>().unwrap().to_base64())
}

fn ids(answer: &Value) -> Vec<&str> {
    let items = answer["items"].as_array().unwrap().iter();
    items.map(|item| item["_id"].as_str().unwrap()).collect()
}

impl Scene {
    async fn put_schema(&mut self, document: &Value) {
        let uri = document["$id"].as_str().unwrap();
        let put = self.ask("PUT", &at("/schemas", uri), document).await;
        assert_eq!(put.status, 201, "{}", put.json());
    }

    async fn query_as(&mut self, token: &str, uri: &str) -> (u16, Value) {
        let query = at("/ds/query", uri);
        let answer = self.ask_as(token, "POST", &query, &json!({})).await;
        (answer.status.as_u16(), answer.json())
    }
}

#[tokio::test]
async fn a_schema_of_ones_own_is_put_listed_replaced_and_ended() {
    let mut scene = Scene::set().await;
    let before = scene.ask("GET", "/schemas", &Value::Null).await.ok();
    assert!(
        before["schemas"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["own"] == false)
    );
    scene.put_schema(&dives("dives")).await;
    let listed = scene.ask("GET", "/schemas", &Value::Null).await.ok();
    let own: Vec<&Value> = listed["schemas"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|one| one["own"] == true)
        .collect();
    let shown = json!({ "uri": DIVE, "title": "Dive", "titlePlural": "Dives", "database": "dives", "own": true });
    assert_eq!(own, [&shown]);
    let got = scene
        .ask("GET", &at("/schemas", DIVE), &Value::Null)
        .await
        .ok();
    assert_eq!(got["schema"]["document"], dives("dives"));
    let email = scene
        .ask("GET", "/schemas/social-email", &Value::Null)
        .await
        .ok();
    assert_eq!(
        (&email["schema"]["uri"], &email["schema"]["own"]),
        (&json!(EMAIL), &json!(false))
    );

    let mut next = dives("dives");
    next["title"] = json!("Descent");
    let put = scene.ask("PUT", &at("/schemas", DIVE), &next).await;
    assert_eq!(
        (put.status.as_u16(), &put.json()["schema"]["title"]),
        (200, &json!("Descent"))
    );
    scene
        .ask("DELETE", &at("/schemas", DIVE), &Value::Null)
        .await
        .ok();
    for method in ["GET", "DELETE"] {
        scene
            .ask(method, &at("/schemas", DIVE), &Value::Null)
            .await
            .problem(404, "not-found");
    }
    // Once more, after it was there.
    scene.put_schema(&dives("dives")).await;
}

#[tokio::test]
async fn a_schema_that_cannot_be_used_is_refused_with_the_reason_and_the_place() {
    let mut scene = Scene::set().await;
    for (uri, document, status, code) in [
        (
            EMAIL,
            json!({ "$id": EMAIL, "title": "Email", "database": { "name": "mine" } }),
            409,
            "schema-published",
        ),
        (DIVE, dives("user_wallet"), 422, "schema-invalid"),
        (DIVE, dives("access_receipts"), 422, "schema-invalid"),
        (SITE, dives("dives"), 422, "schema-invalid"),
        (DIVE, json!({}), 422, "schema-invalid"),
        (
            DIVE,
            json!({ "$id": DIVE, "title": "x", "database": { "name": "d" }, "$ref": NOBODYS }),
            422,
            "schema-invalid",
        ),
        (
            DIVE,
            json!({ "$id": DIVE, "title": "x", "database": { "name": "d" }, "properties": { "a": { "format": "regex" } } }),
            422,
            "schema-invalid",
        ),
        (
            DIVE,
            json!({ "$id": DIVE, "title": "x", "database": { "name": "d" }, "$ref": "#" }),
            422,
            "schema-invalid",
        ),
        (
            DIVE,
            json!({ "$id": DIVE, "title": "x", "database": { "name": "d" }, "description": "x".repeat(MAX_OWN_BYTES) }),
            413,
            "request-too-large",
        ),
    ] {
        let put = scene.ask("PUT", &at("/schemas", uri), &document).await;
        put.problem(status, code);
    }
    scene
        .ask("DELETE", "/schemas/social-email", &Value::Null)
        .await
        .problem(409, "schema-published");
    let mut wrong = dives("dives");
    wrong["properties"]["depth"]["type"] = json!("metres");
    let refused = scene.ask("PUT", &at("/schemas", DIVE), &wrong).await;
    let problem = refused.problem(422, "schema-invalid");
    assert_eq!(
        problem["errors"][0]["instancePath"],
        "/properties/depth/type"
    );
    assert!(!problem.to_string().contains("metres"), "{problem}");
    let listed = scene.ask("GET", "/schemas", &Value::Null).await.ok();
    assert!(
        !listed.to_string().contains("dive.example"),
        "nothing of it was kept"
    );
}

#[tokio::test]
async fn records_are_written_under_a_schema_of_ones_own_and_held_to_it() {
    let mut scene = Scene::set().await;
    scene.put_schema(&dives("dives")).await;
    let path = at("/ds", DIVE);
    let made = scene
        .create(&path, &json!({ "_id": "blue-hole", "depth": 40 }))
        .await;
    assert_eq!(made["schema"], DIVE);
    let refused = scene
        .ask("POST", &path, &json!({ "record": { "depth": 400 } }))
        .await;
    let problem = refused.problem(422, "record-invalid");
    assert_eq!(problem["errors"][0]["instancePath"], "/depth");
    assert_eq!(problem["errors"][0]["keyword"], "maximum");
    // What is put anew holds for the next record.
    let mut deeper = dives("dives");
    deeper["properties"]["depth"]["maximum"] = json!(400);
    scene.ask("PUT", &at("/schemas", DIVE), &deeper).await.ok();
    scene
        .create(&path, &json!({ "_id": "deep", "depth": 400 }))
        .await;
    let bulk = json!({ "records": [{ "depth": 1 }, { "depth": 500 }] });
    let refused = scene.ask("POST", &at("/ds/bulk", DIVE), &bulk).await;
    refused.problem(422, "record-invalid");
    let found = scene
        .ask("POST", &at("/ds/query", DIVE), &json!({}))
        .await
        .ok();
    assert_eq!(ids(&found), ["blue-hole", "deep"]);
    let words = json!({ "keywords": "blue" });
    scene
        .ask("POST", &at("/search/ds", DIVE), &words)
        .await
        .ok();
}

#[tokio::test]
async fn the_records_of_one_request_are_checked_together_and_what_is_too_much_is_told_of_each() {
    let mut scene = Scene::set().await;
    let options: Vec<usize> = (1..3_000).collect();
    let mut slow = dives("dives");
    slow["properties"]["sites"] = json!({ "items": { "enum": options } });
    scene.put_schema(&slow).await;
    let sites = |count: usize| json!({ "depth": 1, "sites": vec![1; count] });
    let bulk = json!({ "records": [sites(1_200), sites(1_200), sites(1_200)] });
    let path = at("/ds/bulk", DIVE);
    let refused = scene.ask("POST", &path, &bulk).await;
    let problem = refused.problem(422, "record-invalid");
    assert!(problem.to_string().contains("too large to be checked"));
    assert_eq!(problem["errors"].as_array().unwrap().len(), 1, "{problem}");
    let bulk = json!({ "records": [sites(1_200), sites(1_200)] });
    scene.ask("POST", &path, &bulk).await.ok();
    // What does not fit anywhere is refused in one sentence.
    let wrong = json!({ "record": { "depth": 1, "sites": vec![0; 1_200] } });
    let refused = scene.ask("POST", &at("/ds", DIVE), &wrong).await;
    let problem = refused.problem(422, "record-invalid");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 1, "{problem}");
}

#[tokio::test]
async fn a_database_of_schemas_that_is_full_of_something_else_has_none_until_it_is_emptied() {
    let mut scene = Scene::set().await;
    scene.put_schema(&dives("dives")).await;
    let ids: Vec<String> = (0..4 * MAX_OWN_SCHEMAS)
        .map(|n| format!("junk-{n}"))
        .collect();
    let junk: Vec<Value> = ids.iter().map(|id| json!({ "_id": id })).collect();
    let bulk = json!({ "records": junk });
    scene.ask("POST", "/db/bulk/schemas", &bulk).await.ok();
    let query = at("/ds/query", DIVE);
    let refused = scene.ask("POST", &query, &json!({})).await;
    refused.problem(404, "not-found");
    let put = scene
        .ask("PUT", &at("/schemas", DIVE), &dives("dives"))
        .await;
    put.problem(422, "schema-invalid");
    let path = format!("/db/schemas/{}", ids[0]);
    scene.ask("DELETE", &path, &Value::Null).await.ok();
    scene.ask("POST", &query, &json!({})).await.ok();
}

#[tokio::test]
async fn an_app_with_a_grant_for_it_sees_its_records_and_nothing_else_of_the_database() {
    let mut scene = Scene::set().await;
    scene.put_schema(&dives("social_email")).await;
    scene
        .create(&at("/ds", DIVE), &json!({ "_id": "dive", "depth": 40 }))
        .await;
    scene
        .create("/ds/social-email", &super::email("mail", "secret"))
        .await;
    let scope = format!("ds:rw:{DIVE}");
    let token = scene
        .token(&[
            "api:ds-query",
            "api:ds-create",
            "api:db-query",
            "api:ds-get-by-id",
            &scope,
        ])
        .await;
    let (status, found) = scene.query_as(&token, DIVE).await;
    assert_eq!((status, ids(&found)), (200, vec!["dive"]));
    assert_eq!(found["dbRows"], 1);
    let get = scene
        .ask_as(
            &token,
            "GET",
            &format!("{}/mail", at("/ds/get", DIVE)),
            &Value::Null,
        )
        .await;
    get.problem(404, "not-found");
    let mail = scene
        .ask_as(&token, "POST", "/ds/query/social-email", &json!({}))
        .await;
    mail.problem(403, "scope-missing");
    let all = scene
        .ask_as(&token, "POST", "/db/query/social_email", &json!({}))
        .await;
    all.problem(403, "scope-missing");
    // It writes records of that schema, whatever they say that they are.
    let record = json!({ "record": { "_id": "another", "depth": 1, "schema": EMAIL } });
    let made = scene
        .ask_as(&token, "POST", &at("/ds", DIVE), &record)
        .await;
    assert_eq!(made.ok()["record"]["schema"], DIVE);
}

#[tokio::test]
async fn an_app_without_a_grant_for_it_cannot_tell_it_from_one_that_does_not_exist() {
    let mut scene = Scene::set().await;
    scene.put_schema(&dives("dives")).await;
    scene
        .create(&at("/ds", DIVE), &json!({ "_id": "dive", "depth": 40 }))
        .await;
    let every_api: Vec<String> = adyton_protocol::scope::ApiScope::ALL
        .into_iter()
        .map(|api| format!("api:{}", api.name()))
        .collect();
    let mut scopes: Vec<&str> = every_api.iter().map(String::as_str).collect();
    scopes.push("ds:rwd:social-email");
    let of_mail = scene.token(&scopes).await;
    // A whole other database: its schemas could be named.
    scopes.push("db:rwd:diary");
    let of_diary = scene.token(&scopes).await;
    for token in [of_mail, of_diary] {
        for (method, door) in [
            ("POST", "/ds/query"),
            ("POST", "/ds/count"),
            ("POST", "/ds/explain"),
            ("GET", "/ds/export"),
            ("POST", "/search/ds"),
            ("POST", "/ds"),
            ("DELETE", "/ds"),
            ("GET", "/ds/watch"),
            ("POST", "/ds/bulk"),
        ] {
            let mut answers = Vec::new();
            for uri in [DIVE, NOBODYS] {
                let body = match method {
                    "POST" => json!({ "keywords": "x" }),
                    _ => Value::Null,
                };
                let answer = scene.ask_as(&token, method, &at(door, uri), &body).await;
                answers.push(answer.problem(404, "not-found"));
            }
            assert_eq!(answers[0], answers[1], "{method} {door}");
        }
        for uri in [DIVE, NOBODYS] {
            let path = format!(
                "/auth/check-scope?scope=ds:r:{}",
                uri.replace(':', "%3A").replace('/', "%2F")
            );
            let checked = scene.ask_as(&token, "GET", &path, &Value::Null).await;
            assert_eq!(checked.ok()["authenticated"], false);
        }
        let list = scene.ask_as(&token, "GET", "/schemas", &Value::Null).await;
        list.problem(403, "scope-missing");
    }
}

#[tokio::test]
async fn nobody_but_the_owner_reads_or_writes_schemas_by_any_name() {
    let mut scene = Scene::set().await;
    scene.put_schema(&dives("dives")).await;
    for scope in [
        "db:r:schemas",
        "db:rwd:schemas",
        "db:w:Schemas",
        "db:r:schemas_of_mine",
    ] {
        let body = json!({ "scopes": [scope] });
        let minted = scene.ask("POST", "/auth/token", &body).await;
        minted.problem(400, "scope-invalid");
    }
    let token = scene
        .token(&[
            "api:db-query",
            "api:db-create",
            "api:db-update",
            &format!("ds:rwd:{DIVE}"),
        ])
        .await;
    scene
        .ask_as(&token, "POST", "/db/query/schemas", &json!({}))
        .await
        .problem(403, "scope-missing");
    scene
        .ask_as(&token, "POST", "/db/schemas", &json!({ "record": {} }))
        .await
        .problem(403, "scope-missing");
    scene
        .ask_as(&token, "PUT", &at("/schemas", DIVE), &dives("user_wallet"))
        .await
        .problem(403, "scope-missing");
    scene
        .ask_as(&token, "DELETE", &at("/schemas", DIVE), &Value::Null)
        .await
        .problem(403, "scope-missing");
}

#[tokio::test]
async fn the_end_of_a_schema_or_its_move_to_another_database_ends_what_was_granted() {
    let mut scene = Scene::set().await;
    scene.put_schema(&dives("dives")).await;
    scene
        .create(&at("/ds", DIVE), &json!({ "_id": "dive", "depth": 40 }))
        .await;
    scene
        .create("/ds/social-email", &super::email("mail", "secret"))
        .await;
    let scope = format!("ds:r:{DIVE}");
    let token = scene.token(&["api:ds-query", &scope]).await;
    assert_eq!(scene.query_as(&token, DIVE).await.0, 200);
    // What was granted is the schema in that database: moved, it is something else.
    scene
        .ask("PUT", &at("/schemas", DIVE), &dives("social_email"))
        .await
        .ok();
    assert_eq!(scene.query_as(&token, DIVE).await.0, 404);
    scene
        .ask("PUT", &at("/schemas", DIVE), &dives("dives"))
        .await
        .ok();
    assert_eq!(scene.query_as(&token, DIVE).await.0, 200);
    scene
        .ask("DELETE", &at("/schemas", DIVE), &Value::Null)
        .await
        .ok();
    assert_eq!(scene.query_as(&token, DIVE).await.0, 404);
    // The owner still has the records, and sees and ends the grant.
    let found = scene.ask("POST", "/db/query/dives", &json!({})).await.ok();
    assert_eq!(ids(&found), ["dive"]);
    let grants = scene.ask("GET", "/auth/grants", &Value::Null).await.ok();
    assert_eq!(grants["grants"][0]["permissions"][0]["database"], "dives");
}

#[tokio::test]
async fn two_users_with_the_same_name_have_two_schemas() {
    let mut scene = Scene::set().await;
    let first = scene.key.clone();
    let second = scene.world.person().await.key();
    scene.put_schema(&dives("dives")).await;
    scene
        .create(&at("/ds", DIVE), &json!({ "_id": "mine", "depth": 40 }))
        .await;
    let token = scene
        .token(&["api:ds-query", &format!("ds:r:{DIVE}")])
        .await;

    scene.key = second;
    scene
        .ask("GET", &at("/schemas", DIVE), &Value::Null)
        .await
        .problem(404, "not-found");
    let refused = json!({ "scopes": [format!("ds:r:{DIVE}")] });
    scene
        .ask("POST", "/auth/token", &refused)
        .await
        .problem(400, "scope-invalid");
    let mut other = dives("descents");
    other["title"] = json!("Descent");
    other["properties"] = json!({ "depth": { "type": "string" } });
    scene.put_schema(&other).await;
    scene
        .create(
            &at("/ds", DIVE),
            &json!({ "_id": "yours", "depth": "forty" }),
        )
        .await;
    let theirs = scene
        .token(&["api:ds-query", &format!("ds:r:{DIVE}")])
        .await;

    assert_eq!(ids(&scene.query_as(&token, DIVE).await.1), ["mine"]);
    assert_eq!(ids(&scene.query_as(&theirs, DIVE).await.1), ["yours"]);
    scene.key = first;
    let mine = scene
        .ask("GET", &at("/schemas", DIVE), &Value::Null)
        .await
        .ok();
    assert_eq!(mine["schema"]["database"], "dives");
    let wrong = json!({ "record": { "depth": "forty" } });
    scene
        .ask("POST", &at("/ds", DIVE), &wrong)
        .await
        .problem(422, "record-invalid");
}

#[tokio::test]
async fn what_another_client_left_in_the_database_is_used_or_told_and_breaks_nothing() {
    let mut scene = Scene::set().await;
    scene.put_schema(&dives("dives")).await;
    let id = |uri: &str| uri.parse::<SchemaUri>().unwrap().to_base64();
    let broken = dives("user_wallet").to_string().replace(DIVE, SITE);
    for record in [
        json!({ "_id": id(SITE), "uri": SITE, "document": broken }),
        // Under another id there could be two of one name.
        json!({ "_id": "other", "uri": DIVE, "document": dives("diary").to_string() }),
        json!({ "_id": id(EMAIL), "uri": EMAIL, "document": dives("diary").to_string().replace(DIVE, EMAIL) }),
        json!({ "_id": "nothing", "uri": 7 }),
    ] {
        scene.create("/db/schemas", &record).await;
    }
    let listed = scene.ask("GET", "/schemas", &Value::Null).await.ok();
    let of = |uri: &str| {
        let all = listed["schemas"].as_array().unwrap().iter();
        all.filter(|one| one["uri"] == uri)
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(of(DIVE).len(), 1);
    assert_eq!(of(DIVE)[0]["database"], "dives");
    assert!(
        of(SITE)[0]["unusable"]
            .as_str()
            .unwrap()
            .contains("never shared")
    );
    assert!(of(EMAIL).iter().any(|one| one["own"] == false));
    scene
        .ask("POST", &at("/ds/query", SITE), &json!({}))
        .await
        .problem(404, "not-found");
    scene
        .ask("DELETE", &at("/schemas", SITE), &Value::Null)
        .await
        .ok();
}

#[tokio::test]
async fn a_user_has_so_many_schemas_and_a_place_is_free_when_one_ends() {
    let mut scene = Scene::set().await;
    let named = |n: usize| {
        let uri = format!("https://dive.example/{n}/schema.json");
        json!({ "$id": uri, "title": "Dive", "database": { "name": "dives" } })
    };
    for n in 0..MAX_OWN_SCHEMAS {
        scene.put_schema(&named(n)).await;
    }
    let path = at("/schemas", "https://dive.example/64/schema.json");
    let refused = scene.ask("PUT", &path, &named(64)).await;
    refused.problem(422, "schema-invalid");
    // One that is there can be replaced all the same.
    let first = at("/schemas", "https://dive.example/0/schema.json");
    scene.ask("PUT", &first, &named(0)).await.ok();
    scene.ask("DELETE", &first, &Value::Null).await.ok();
    scene.put_schema(&named(64)).await;
}
