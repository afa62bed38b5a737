//! The embedded schema set: complete, closed, and in agreement with what the original wrote.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use adyton_client::schema::{MAX_VIOLATIONS, SchemaSet};
use serde_json::{Value, json};

const EMAIL: &str = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas")
}

fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            documents(&path, found);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            found.push(path);
        }
    }
}

#[test]
fn every_document_in_the_folder_is_embedded_and_nothing_else() {
    let mut paths = Vec::new();
    documents(&folder(), &mut paths);
    let in_folder: BTreeSet<String> = paths
        .iter()
        .map(|path| {
            let document: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            let uri = document["$id"].as_str().unwrap().to_owned();
            let (host, rest) = uri
                .strip_prefix("https://")
                .unwrap()
                .split_once('/')
                .unwrap();
            let place = folder().join(host.split('.').next().unwrap()).join(rest);
            assert_eq!(path, &place, "{uri} lies in the wrong place");
            uri
        })
        .collect();
    let set = SchemaSet::embedded().unwrap();
    let embedded: BTreeSet<String> = set.iter().map(|schema| schema.uri().to_owned()).collect();
    assert_eq!(in_folder, embedded);
    assert_eq!(embedded.len(), 46);
}

#[test]
fn every_schema_compiles_without_the_network() {
    let set = SchemaSet::embedded().unwrap();
    for schema in set.iter() {
        set.validator(schema.uri())
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn every_reference_is_absolute_or_local_and_resolves() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match member.as_str() {
                        Some(target) if name == "$ref" => found.push(target.to_owned()),
                        _ => references(member, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }
    let set = SchemaSet::embedded().unwrap();
    let mut seen = 0;
    for schema in set.iter() {
        let mut found = Vec::new();
        references(schema.document(), &mut found);
        for target in found {
            seen += 1;
            match target.strip_prefix('#') {
                Some(pointer) => assert!(schema.document().pointer(pointer).is_some(), "{target}"),
                None => assert!(set.get(&target).is_some(), "{target} in {}", schema.uri()),
            }
        }
    }
    assert!(seen > 40, "the set has references: {seen}");
}

#[test]
fn an_invalid_record_is_reported_as_the_original_reports_it() {
    let set = SchemaSet::embedded().unwrap();
    let record = json!({
        "schema": EMAIL, "name": "Subject", "fromEmail": "bob@example.com",
        "toEmail": "a@example.com", "messageText": "Hi", "sentAt": "2024-01-01T00:00:00.000Z",
    });
    let invalid = set.validator(EMAIL).unwrap().validate(&record).unwrap_err();
    assert_eq!(
        serde_json::to_value(&invalid).unwrap(),
        json!([{
            "instancePath": "", "schemaPath": "#/allOf/1/required", "keyword": "required",
            "params": { "missingProperty": "type" },
            "message": "must have required property 'type'",
        }])
    );
}

#[test]
fn a_record_without_its_schema_is_refused_by_the_base() {
    let set = SchemaSet::embedded().unwrap();
    let record = json!({
        "name": "Subject", "type": "send", "fromEmail": "bob@example.com",
        "toEmail": "a@example.com", "messageText": "Hi", "sentAt": "2024-01-01T00:00:00.000Z",
    });
    let invalid = set.validator(EMAIL).unwrap().validate(&record).unwrap_err();
    assert_eq!(
        invalid.violations()[0].message,
        "must have required property 'schema'"
    );
}

#[test]
fn an_error_names_the_rule_and_never_the_value() {
    let set = SchemaSet::embedded().unwrap();
    let canary = "canary-4711";
    let record = json!({
        "schema": canary, "name": [canary], "type": canary, "fromEmail": { canary: canary },
        "toEmail": canary, "messageText": 4711, "sentAt": canary, "summary": canary.repeat(40),
        "attachments": [{ "id": canary, "filename": [canary], canary: canary }],
        "insertedAt": canary, "sourceData": canary,
    });
    let invalid = set.validator(EMAIL).unwrap().validate(&record).unwrap_err();
    let keywords: BTreeSet<&str> = invalid
        .violations()
        .iter()
        .map(|violation| violation.keyword.as_str())
        .collect();
    assert_eq!(
        keywords,
        ["enum", "format", "maxLength", "required", "type"].into()
    );
    let text = format!(
        "{}{invalid}{invalid:?}",
        serde_json::to_string(&invalid).unwrap()
    );
    assert!(!text.contains("canary") && !text.contains("4711"), "{text}");
}

#[test]
fn the_list_of_errors_is_bounded() {
    let set = SchemaSet::embedded().unwrap();
    let record = json!({ "attachments": vec![json!(1); 10_000] });
    let invalid = set.validator(EMAIL).unwrap().validate(&record).unwrap_err();
    assert_eq!(invalid.violations().len(), MAX_VIOLATIONS);
}

#[test]
fn dates_and_time_zones_are_checked() {
    let set = SchemaSet::embedded().unwrap();
    let uri = "https://common.schemas.verida.io/social/calendar/v0.1.0/schema.json";
    let validator = set.validator(uri).unwrap();
    let record = |zone: &str, inserted: &str| json!({ "schema": uri, "name": "Home", "timezone": zone, "insertedAt": inserted });
    assert!(
        validator
            .validate(&record("+02:00", "2024-06-01T00:18:25.083Z"))
            .is_ok()
    );
    assert!(
        validator
            .validate(&record("+02:00", "2024-06-01T00:18:25+02:00"))
            .is_ok()
    );
    assert!(
        validator
            .validate(&record("+24:00", "2024-06-01T00:18:25Z"))
            .is_err()
    );
    assert!(
        validator
            .validate(&record("+02:00", "2024-06-31T00:18:25Z"))
            .is_err()
    );
    assert!(validator.validate(&record("+02:00", "yesterday")).is_err());
}

/// The records of the original client: the copies in the repository, or another set of the same
/// shape named by `ADYTON_VECTORS`. A file the folder lacks is skipped and named.
#[test]
fn the_records_of_the_original_client_are_valid() {
    #[allow(
        clippy::disallowed_methods,
        reason = "tests take their vector folder from here"
    )]
    let vectors = std::env::var_os("ADYTON_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../vectors"),
        PathBuf::from,
    );
    let set = SchemaSet::embedded().unwrap();
    for (file, schema) in [
        ("social_email.json", EMAIL),
        (
            "social_chat_group.json",
            "https://common.schemas.verida.io/social/chat/group/v0.1.0/schema.json",
        ),
        (
            "social_chat_message.json",
            "https://common.schemas.verida.io/social/chat/message/v0.1.0/schema.json",
        ),
    ] {
        let path = vectors.join("foreign_context").join(file);
        let Ok(text) = fs::read(&path) else {
            eprintln!("skipped: no file {}", path.display());
            continue;
        };
        let vector: Value = serde_json::from_slice(&text).unwrap();
        let validator = set.validator(schema).unwrap();
        let records = vector["plaintext"].as_object().unwrap();
        assert!(!records.is_empty());
        for (id, record) in records {
            let mut record = record.clone();
            // What a save does before it validates.
            record["schema"] = json!(schema);
            if let Err(invalid) = validator.validate(&record) {
                panic!("{id}: {:?}", invalid.violations());
            }
        }
    }
}
