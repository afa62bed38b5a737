//! Search as apps see it, by the original's names and shapes. Beside them: what the original got wrong.

use serde_json::{Value, json};

use super::{EMAIL, Scene, email};
use crate::support::Answer;

const DATASTORE: &str = "/search/datastore/social-email";

fn mail(id: &str, subject: &str, text: &str) -> Value {
    let mut mail = email(id, subject);
    mail["messageText"] = json!(text);
    mail
}

fn message(id: &str, group: &str, text: &str, minute: u32) -> Value {
    json!({
        "_id": id, "name": "Message", "groupId": group, "type": "receive", "messageText": text, "fromId": "7",
        "fromName": "Bob", "fromHandle": "bob", "sentAt": format!("2024-01-01T00:{minute:02}:00.000Z"),
    })
}

/// The ids of the items, in their order.
fn order(answer: &Answer) -> Vec<String> {
    let answer = answer.ok();
    let items = answer["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| item["_id"].as_str().unwrap().to_owned())
        .collect()
}

async fn mailbox() -> Scene {
    let mut scene = Scene::set().await;
    for mail in [
        mail("m1", "Night train", "The zebra leaves at nine."),
        mail("m2", "Invoice", "Two invoices for <b>March</b>."),
        mail("m3", "Hello", "no train today"),
    ] {
        scene.create("/ds/social-email", &mail).await;
    }
    scene
}

#[tokio::test]
async fn a_datastore_is_searched_by_every_name_with_the_shape_of_the_original() {
    let mut scene = mailbox().await;
    let encoded = adyton_protocol::schema::SchemaUri::parse_lenient(EMAIL)
        .unwrap()
        .to_base64();
    for path in [
        DATASTORE,
        "/search/ds/social-email",
        &format!("/search/datastore/{encoded}"),
    ] {
        for extra in [
            json!({}),
            json!({ "index": [], "store": [] }),
            json!({ "index": ["name", "messageText", "attachments_0.textContent"], "store": ["name"], "limit": 20 }),
            json!({ "indexFields": ["name", "messageText"], "storeFields": ["name"] }),
            json!({ "options": { "prefix": true, "fuzzy": 0.2, "boost": { "name": 2 }, "combineWith": "OR" } }),
        ] {
            let mut body = json!({ "keywords": "train" });
            body.as_object_mut()
                .unwrap()
                .extend(extra.as_object().unwrap().clone());
            let answer = scene.ask("POST", path, &body).await;
            assert_eq!(order(&answer), ["m1", "m3"], "{path} {body}");
            let answer = answer.ok();
            assert_eq!(answer["total"], 2);
            let item = &answer["items"][0];
            assert_eq!(
                (&item["messageText"], &item["schema"]),
                (&json!("The zebra leaves at nine."), &json!(EMAIL))
            );
            let found = &item["_match"];
            assert_eq!(
                (&found["id"], &found["terms"], &found["queryTerms"]),
                (&json!("m1"), &json!(["train"]), &json!(["train"]))
            );
            assert_eq!(found["match"], json!({ "train": ["name"] }));
            assert!(found["score"].as_f64().unwrap() > 0.0);
        }
    }
    for (keywords, expected) in [
        ("zeb", vec!["m1"]),
        ("zerba ", vec!["m1"]),
        ("\"night train\"", vec!["m1"]),
        ("from:ada -train ", vec!["m2"]),
    ] {
        let answer = scene
            .ask("POST", DATASTORE, &json!({ "keywords": keywords }))
            .await;
        assert_eq!(order(&answer), expected, "{keywords}");
    }
    let body = json!({ "keywords": "march", "highlight": true, "facets": ["sender", "month"] });
    let answer = scene.ask("POST", DATASTORE, &body).await.ok();
    assert_eq!(
        answer["items"][0]["_match"]["highlights"]["messageText"],
        json!(["Two invoices for <mark>March</mark>"])
    );
    assert_eq!(
        answer["facets"]["sender"],
        json!([{ "value": "ada@example.com", "count": 1 }])
    );
    assert_eq!(
        answer["facets"]["month"],
        json!([{ "value": "2024-01", "count": 1 }])
    );
}

/// Defect 26 of the original: its index ignores updates and deletes.
#[tokio::test]
async fn a_search_knows_every_write_as_soon_as_it_is_acknowledged() {
    let mut scene = mailbox().await;
    let zebra = json!({ "keywords": "zebra" });
    assert_eq!(order(&scene.ask("POST", DATASTORE, &zebra).await), ["m1"]);
    let mut changed = mail("m1", "Night train", "The okapi leaves at nine.");
    changed["_id"] = json!("m1");
    let body = json!({ "record": changed, "options": { "forceUpdate": true } });
    scene.ask("PUT", "/ds/social-email/m1", &body).await.ok();
    assert_eq!(order(&scene.ask("POST", DATASTORE, &zebra).await), [""; 0]);
    assert_eq!(
        order(
            &scene
                .ask("POST", DATASTORE, &json!({ "keywords": "okapi" }))
                .await
        ),
        ["m1"]
    );
    scene
        .ask("DELETE", "/ds/social-email/m1", &Value::Null)
        .await
        .ok();
    assert_eq!(
        order(
            &scene
                .ask("POST", DATASTORE, &json!({ "keywords": "okapi" }))
                .await
        ),
        [""; 0]
    );
    scene
        .create("/ds/social-email", &mail("m9", "New", "zebra"))
        .await;
    assert_eq!(order(&scene.ask("POST", DATASTORE, &zebra).await), ["m9"]);
}

#[tokio::test]
async fn pages_of_a_search_go_on_with_a_cursor() {
    let mut scene = Scene::set().await;
    for n in 0..5 {
        scene
            .create("/ds/social-email", &mail(&format!("m{n}"), "Train", "text"))
            .await;
    }
    let mut body = json!({ "keywords": "train", "limit": 2 });
    let mut seen = Vec::new();
    loop {
        let answer = scene.ask("POST", DATASTORE, &body).await;
        assert_eq!(answer.ok()["total"], 5);
        seen.extend(order(&answer));
        match answer.ok()["cursor"].as_str() {
            Some(cursor) => body["cursor"] = json!(cursor),
            None => break,
        }
    }
    assert_eq!(seen, ["m0", "m1", "m2", "m3", "m4"]);
}

#[tokio::test]
async fn universal_search_has_the_types_that_were_granted() {
    let mut scene = mailbox().await;
    for minute in 0..3 {
        let message = message(
            &format!("c{minute}"),
            "g1",
            if minute == 1 { "which train?" } else { "yes" },
            minute,
        );
        scene.create("/ds/social-chat-message", &message).await;
    }
    let event = json!({
        "_id": "e1", "name": "Train to Vienna", "start": { "dateTime": "2024-03-01T09:00:00.000Z" },
        "end": { "dateTime": "2024-03-01T19:00:00.000Z" }, "calendarId": "c", "status": "confirmed", "uri": "https://x/",
        "location": "", "description": "", "creator": { "email": "a@example.org" }, "organizer": { "email": "a@example.org" }, "attendees": [],
    });
    scene.create("/ds/social-event", &event).await;
    let all = "/search/universal?keywords=train&searchTypes=emails,messages,calendar,files,unknown&limit=10&minResultsPerType=2&timeframe=all";
    let answer = scene.ask("GET", all, &Value::Null).await;
    let mut found = order(&answer);
    found.sort();
    assert_eq!(found, ["c1", "e1", "m1", "m3"]);
    let answer = answer.ok();
    assert_eq!(
        answer["totals"],
        json!({ "files": 0, "messages": 1, "emails": 2, "calendar": 1 })
    );
    for item in answer["items"].as_array().unwrap() {
        assert!(
            ["messages", "emails", "calendar"].contains(&item["_match"]["type"].as_str().unwrap())
        );
    }
    // Defect 27 of the original: a search of the calendar failed as soon as something was found.
    let calendar = scene
        .ask(
            "GET",
            "/search/universal?keywords=vienna%20after:2024-02&searchTypes=calendar",
            &Value::Null,
        )
        .await;
    assert_eq!(order(&calendar), ["e1"]);
    let body = json!({ "keywords": "train", "searchTypes": ["emails"] });
    assert_eq!(
        order(&scene.ask("POST", "/search/universal", &body).await),
        ["m1", "m3"]
    );

    let app = scene
        .token(&["api:search-universal", "ds:r:social-email"])
        .await;
    let narrow = scene.ask_as(&app, "GET", all, &Value::Null).await;
    assert_eq!(order(&narrow), ["m1", "m3"]);
    assert_eq!(narrow.ok()["searched"], json!(["emails"]));
    let nothing = "/search/universal?keywords=train&searchTypes=messages";
    scene
        .ask_as(&app, "GET", nothing, &Value::Null)
        .await
        .problem(403, "scope-missing");
    scene
        .ask("GET", "/search/universal?searchTypes=unknown", &Value::Null)
        .await
        .problem(400, "request-malformed");
    assert_eq!(
        order(&scene.ask("GET", "/search/universal", &Value::Null).await),
        [""; 0]
    );
    let recent = scene
        .ask(
            "GET",
            "/search/universal?keywords=train&timeframe=week",
            &Value::Null,
        )
        .await;
    assert_eq!(order(&recent), [""; 0]);
}

/// Defect 2 of the original: whoever had no scope read all chats, and whoever had them was refused. And all groups but
/// the first came without messages.
#[tokio::test]
async fn chat_threads_are_for_those_who_may_read_messages_and_groups() {
    let mut scene = Scene::set().await;
    for (group, name) in [("g1", "Family"), ("g2", "Work")] {
        let group = json!({ "_id": group, "name": name, "sourceId": group, "sourceApplication": "https://telegram.org/", "sourceAccountId": "a", "newestId": "1" });
        scene.create("/ds/social-chat-group", &group).await;
    }
    for minute in 0..20 {
        let text = if minute == 10 {
            "the lighthouse"
        } else {
            "chatter"
        };
        let (one, two) = (format!("a{}", 99 - minute), format!("b{minute}"));
        scene
            .create(
                "/ds/social-chat-message",
                &message(&one, "g1", text, minute),
            )
            .await;
        scene
            .create(
                "/ds/social-chat-message",
                &message(&two, "g2", text, minute),
            )
            .await;
    }
    let scopes = [
        "api:search-chat-threads",
        "ds:r:social-chat-message",
        "ds:r:social-chat-group",
    ];
    let app = scene.token(&scopes).await;
    for path in ["/search/chatThreads", "/search/chat-threads"] {
        for more in [
            "",
            "&limit=20&skip=0",
            "&merge=false",
            "&limit=20&merge=true&timeframe=all",
        ] {
            let path = format!("{path}?keywords=lighthouse&threadSize=6{more}");
            let answer = scene.ask_as(&app, "GET", &path, &Value::Null).await.ok();
            let items = answer["items"].as_array().unwrap();
            assert_eq!(items.len(), 2, "{path}");
            for item in items {
                assert!(
                    item["schemaUrl"]
                        .as_str()
                        .unwrap()
                        .contains("social/chat/message")
                );
                let group = if item["id"] == "g1" { "Family" } else { "Work" };
                assert_eq!(item["group"]["name"], group);
                let times: Vec<&str> = item["messages"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|message| message["sentAt"].as_str().unwrap())
                    .collect();
                assert_eq!(times.len(), 6, "{path}");
                assert!(times.is_sorted() && times.contains(&"2024-01-01T00:10:00.000Z"));
            }
        }
    }
    for lacking in scopes {
        let others: Vec<&str> = scopes
            .into_iter()
            .filter(|scope| *scope != lacking)
            .chain(["ds:r:social-email"])
            .collect();
        let app = scene.token(&others).await;
        let refused = scene
            .ask_as(
                &app,
                "GET",
                "/search/chatThreads?keywords=lighthouse",
                &Value::Null,
            )
            .await;
        refused.problem(403, "scope-missing");
    }
}

#[tokio::test]
async fn a_search_stays_within_what_was_granted() {
    let mut scene = mailbox().await;
    let mut late = mail("m4", "Train", "a late zebra");
    late["sentAt"] = json!("2024-06-01T00:00:00.000Z");
    scene.create("/ds/social-email", &late).await;
    let narrow = json!([{ "target": format!("ds:{EMAIL}"), "from": "2024-05-01T00:00:00Z", "without": ["messageText"] }]);
    let terms = json!({ "scopes": ["api:search-ds", "api:search-universal", "ds:r:social-email"], "narrow": narrow });
    let minted = scene.ask("POST", "/auth/token", &terms).await.ok();
    let app = minted["token"].as_str().unwrap().to_owned();
    let answer = scene
        .ask_as(
            &app,
            "POST",
            DATASTORE,
            &json!({ "keywords": "train", "facets": ["month"] }),
        )
        .await;
    assert_eq!(order(&answer), ["m4"]);
    let answer = answer.ok();
    assert_eq!(
        (&answer["total"], &answer["facets"]["month"]),
        (&json!(1), &json!([{ "value": "2024-06", "count": 1 }]))
    );
    assert!(answer["items"][0].get("messageText").is_none());
    for (keywords, expected) in [("zebra", 0), ("trian ", 1)] {
        let answer = scene
            .ask_as(&app, "POST", DATASTORE, &json!({ "keywords": keywords }))
            .await;
        assert_eq!(order(&answer).len(), expected, "{keywords}");
    }
    for body in [
        json!({ "keywords": "body:zebra" }),
        json!({ "keywords": "train", "index": ["messageText"] }),
        json!({ "keywords": "train", "store": ["messageText"] }),
        json!({ "keywords": "train", "options": { "boost": { "messageText": 2 } } }),
    ] {
        scene
            .ask_as(&app, "POST", DATASTORE, &body)
            .await
            .problem(403, "field-not-granted");
    }
}

#[tokio::test]
async fn what_a_search_does_not_know_or_cannot_bear_is_refused_with_a_reason() {
    let mut scene = Scene::set().await;
    for body in [
        json!({}),
        json!({ "keywords": 7 }),
        json!({ "keywords": "x", "keyword": "y" }),
        json!({ "keywords": "x".repeat(2049) }),
        json!({ "keywords": "a ".repeat(65) }),
        json!({ "keywords": "(".repeat(9) + "x" }),
        json!({ "keywords": "x", "limit": 1001 }),
        json!({ "keywords": "x", "cursor": "nonsense" }),
        json!({ "keywords": "x", "facets": ["secrets"] }),
        json!({ "keywords": "x", "options": { "tokenize": "f" } }),
        json!({ "keywords": "x", "index": vec!["a"; 65] }),
    ] {
        let code = scene.ask("POST", DATASTORE, &body).await.json()["code"].clone();
        assert!(
            ["request-malformed", "query-unsupported"].contains(&code.as_str().unwrap()),
            "{body}: {code}"
        );
    }
    for query in [
        "keyword=x",
        "keywords=x&threadSize=201",
        "keywords=x&merge=perhaps",
        "keywords=x&timeframe=decade",
    ] {
        let path = format!("/search/chatThreads?{query}");
        scene
            .ask("GET", &path, &Value::Null)
            .await
            .problem(400, "request-malformed");
    }
    scene
        .ask(
            "POST",
            "/search/ds/https%3A%2F%2Fexample.org%2Fx.json",
            &json!({ "keywords": "x" }),
        )
        .await
        .problem(404, "not-found");
}
