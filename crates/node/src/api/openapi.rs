//! Makes `openapi.json` of the routes and of what is said about each in `operations/`: a route that nothing is said about, and
//! a description of no route, are failures here.
//!
//! A description is an entry `"METHOD /path": {…}` with `id`, `summary`, `answers` (status → description, schema), and where
//! they apply `tag`, `description`, `query`, `headers`, `body` and `problems`. `{door}` and `{name}` stand for `ds` and
//! `{schema}`, and for `db` and `{database}`.

use std::collections::{BTreeMap, BTreeSet};

use adyton_protocol::problem::ProblemKind;
use serde_json::{Map, Value, json};

use super::routes::{Route, routes};

const OPERATIONS: &[&str] = &[
    include_str!("operations/node.json"),
    include_str!("operations/auth.json"),
    include_str!("operations/oauth.json"),
    include_str!("operations/records.json"),
    include_str!("operations/schemas.json"),
    include_str!("operations/search.json"),
    include_str!("operations/watch.json"),
];
const SHAPES: &str = include_str!("operations/shapes.json");
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
const BELOW: &str = "/api/rest/v1";

/// What is said of each route, by method and path.
fn described() -> BTreeMap<String, Value> {
    let mut described = BTreeMap::new();
    for text in OPERATIONS {
        let file: Map<String, Value> = serde_json::from_str(text).unwrap();
        for (key, operation) in file {
            let forms = match key.contains("{door}") {
                true => vec![
                    said_of(&key, &operation, "ds", "schema"),
                    said_of(&key, &operation, "db", "database"),
                ],
                false => vec![(key, operation)],
            };
            for (key, operation) in forms {
                assert!(
                    described.insert(key.clone(), operation).is_none(),
                    "{key} is described twice"
                );
            }
        }
    }
    described
}

fn said_of(key: &str, operation: &Value, door: &str, name: &str) -> (String, Value) {
    let (method, path) = key.split_once(' ').unwrap();
    let path = path
        .replace("{door}", door)
        .replace("{name}", &format!("{{{name}}}"));
    let mut operation = operation.clone();
    let id = operation["id"].as_str().unwrap();
    operation["id"] = json!(format!("{door}{}{}", id[..1].to_uppercase(), &id[1..]));
    operation["tag"] = json!(door);
    (format!("{method} {BELOW}{path}"), operation)
}

/// The whole description.
fn document() -> Value {
    let mut described = described();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut silent = Vec::new();
    for route in routes() {
        let key = format!("{} {}", route.method, route.path);
        let Some(said) = described.remove(&key) else {
            silent.push(key);
            continue;
        };
        let method = route.method.to_lowercase();
        let item = paths.entry(route.path).or_default();
        let taken = item.insert(method, operation(route, &said));
        assert!(taken.is_none(), "{key} is a route twice");
    }
    assert!(
        silent.is_empty(),
        "described nowhere in operations/: {silent:?}"
    );
    let left: Vec<_> = described.keys().collect();
    assert!(left.is_empty(), "no such routes: {left:?}");
    let shapes: Value = serde_json::from_str(SHAPES).unwrap();
    json!({
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Adyton user data API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "A user's data, decrypted in attested memory only, for apps that the user allowed. Every error is a problem (RFC 9457); switch on its `code`. No credential is ever accepted in a URL.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{ "token": [] }, { "session": [] }],
        "paths": paths,
        "components": {
            "schemas": shapes,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "An app's access token." },
                "session": { "type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The owner's context session." },
            },
        },
    })
}

fn operation(route: &Route, said: &Value) -> Value {
    let text = |name: &str| {
        said[name]
            .as_str()
            .unwrap_or_else(|| panic!("{} has no {name}", route.path))
    };
    let mut operation = json!({
        "operationId": text("id"), "tags": [text("tag")], "summary": text("summary"),
        "parameters": parameters(route.path, said), "responses": responses(route, said),
    });
    if said["description"].is_string() {
        operation["description"] = said["description"].clone();
    }
    if route.public {
        operation["security"] = json!([]);
    }
    let body = &said["body"];
    if body.is_object() {
        let one = json!([body["type"].as_str().unwrap_or("application/json")]);
        let types = body["types"].as_array().or(one.as_array()).unwrap();
        let content = types.iter().map(|kind| {
            let mut content = json!({ "schema": shape(&body["schema"]) });
            if !body["example"].is_null() {
                content["example"] = body["example"].clone();
            }
            (kind.as_str().unwrap().to_owned(), content)
        });
        operation["requestBody"] =
            json!({ "required": true, "content": content.collect::<Map<_, _>>() });
    }
    operation
}

fn parameters(path: &str, said: &Value) -> Vec<Value> {
    let mut parameters = Vec::new();
    for name in path
        .split('{')
        .skip(1)
        .filter_map(|part| part.split('}').next())
    {
        let words = match name {
            "schema" => {
                "a shortcut such as `social-email`, or the schema's URL, percent-encoded or in base64 of any kind"
            }
            "database" => "the name of a database",
            "id" => "an id",
            _ => "a name",
        };
        parameters.push(json!({ "name": name, "in": "path", "required": true, "description": words, "schema": { "type": "string" } }));
    }
    for query in said["query"].as_array().into_iter().flatten() {
        let mut query = query.clone();
        query["in"] = json!("query");
        parameters.push(query);
    }
    let headers = said["headers"].as_array().into_iter().flatten();
    let headers = headers.map(|name| name.as_str().unwrap());
    let prefer = (said["loads"] == true).then_some("Prefer");
    for name in headers.chain(prefer) {
        let words = match name {
            "If-Match" => "the `ETag` of the record that is to be changed, or `*`",
            "If-None-Match" => {
                "an `ETag` that the caller has already; `*` at a creation: only if there is nothing"
            }
            "Last-Event-ID" => "where an earlier stream ended",
            "Idempotency-Key" => {
                "names this request, so that it is done once however often it is sent"
            }
            "Prefer" => {
                "`respond-async`, and perhaps `wait=` with seconds: who does not want to wait for a load is told how far it is (202)"
            }
            "permissions" => "`read=owner,write=owner`, and nothing else",
            other => panic!("no words for the header {other}"),
        };
        parameters.push(json!({ "name": name, "in": "header", "description": words, "schema": { "type": "string" } }));
    }
    parameters
}

fn responses(route: &Route, said: &Value) -> Value {
    let mut responses = Map::new();
    for (status, answer) in said["answers"].as_object().unwrap() {
        let mut response = json!({ "description": answer["description"] });
        if answer["schema"].is_string() {
            let kind = answer["type"].as_str().unwrap_or("application/json");
            response["content"] = json!({ kind: { "schema": shape(&answer["schema"]) } });
        }
        if answer["etag"] == true {
            response["headers"] = json!({ "ETag": { "description": "the record's revision", "schema": { "type": "string" } } });
        }
        responses.insert(status.clone(), response);
    }
    if said["loads"] == true {
        let words = "still loading, for who said `Prefer: respond-async`: nothing was read or changed, ask again";
        let text = |words: &str| json!({ "description": words, "schema": { "type": "string" } });
        let early = json!({
            "description": words,
            "headers": {
                "Preference-Applied": text("what was done about `Prefer`"),
                "Retry-After": text("seconds until it is worth asking again"),
            },
            "content": { "application/json": { "schema": shape(&json!("Loading")) } },
        });
        responses.insert("202".to_owned(), early);
    }
    let mut kinds: BTreeSet<&str> = BTreeSet::new();
    kinds.extend(
        said["problems"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|code| code.as_str().unwrap()),
    );
    if !route.public {
        kinds.extend([
            "credentials-missing",
            "credentials-invalid",
            "token-expired",
            "token-revoked",
            "scope-missing",
            "rate-limited",
        ]);
    }
    let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for code in kinds {
        let kind = ProblemKind::ALL
            .into_iter()
            .find(|kind| kind.slug() == code);
        let kind = kind.unwrap_or_else(|| panic!("no problem {code}"));
        by_status.entry(kind.status()).or_default().push(code);
    }
    let problem = |words: String| json!({ "description": words, "content": { "application/problem+json": { "schema": shape(&json!("Problem")) } } });
    for (status, codes) in by_status {
        responses.insert(status.to_string(), problem(codes.join(", ")));
    }
    responses.insert(
        "default".to_owned(),
        problem("any other problem".to_owned()),
    );
    Value::Object(responses)
}

fn shape(name: &Value) -> Value {
    json!({ "$ref": format!("#/components/schemas/{}", name.as_str().unwrap()) })
}

fn text() -> String {
    serde_json::to_string_pretty(&document()).unwrap() + "\n"
}

#[test]
fn the_committed_description_is_that_of_the_routes() {
    let committed = std::fs::read_to_string(PATH).unwrap();
    assert!(
        committed == text(),
        "it is not: run `cargo test -p adyton-node --lib openapi -- --ignored`, look at what has changed, and commit it"
    );
}

#[test]
#[ignore = "writes the description anew; see above"]
fn write() {
    std::fs::write(PATH, text()).unwrap();
}

#[test]
fn every_name_in_the_description_leads_somewhere_and_every_id_is_of_one_operation() {
    let document = document();
    let mut refs = Vec::new();
    collect(&document, &mut refs);
    assert!(refs.len() > 100);
    let mut used = BTreeSet::new();
    for name in refs {
        let pointer = name.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{name}");
        used.insert(name.rsplit('/').next().unwrap().to_owned());
    }
    for shape in document["components"]["schemas"]
        .as_object()
        .unwrap()
        .keys()
    {
        assert!(used.contains(shape), "nothing has the shape {shape}");
    }
    let mut ids = BTreeSet::new();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id), "{id} is twice");
        }
    }
}

fn collect(value: &Value, refs: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(name)) = members.get("$ref") {
                refs.push(name.clone());
            }
            members.values().for_each(|value| collect(value, refs));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, refs)),
        _ => {}
    }
}
