//! Any text as a schema of a user's own: it is refused, or it is one that can be compiled or says why not, and that holds records.
#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::{Arc, LazyLock};

use adyton_client::schema::SchemaSet;
use serde_json::{Value, json};

const URI: &str = "https://dive.example/dive/v1/schema.json";

static PUBLISHED: LazyLock<Arc<SchemaSet>> =
    LazyLock::new(|| Arc::new(SchemaSet::embedded().unwrap()));

/// Pieces of schemas: bytes alone rarely make one.
const PIECES: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "1",
    "-1",
    "true",
    "\"$ref\"",
    "\"#\"",
    "\"#/$defs/a\"",
    "\"$defs\"",
    "\"a\"",
    "\"allOf\"",
    "\"properties\"",
    "\"items\"",
    "\"type\"",
    "\"string\"",
    "\"pattern\"",
    "\"(a|b)*\"",
    "\"$anchor\"",
    "\"not\"",
    "\"required\"",
];

#[test]
fn any_text_is_a_schema_or_is_refused() {
    bolero::check!()
        .with_type::<(Vec<u8>, Vec<u8>)>()
        .for_each(|(bytes, pieces)| {
            let pieces: String = pieces
                .iter()
                .filter_map(|piece| PIECES.get(usize::from(*piece) % PIECES.len()).copied())
                .collect();
            let text = String::from_utf8_lossy(bytes);
            let head = format!(r#"{{"$id":"{URI}","title":"A","database":{{"name":"a"}}"#);
            for text in [
                text.into_owned(),
                format!("{head},{pieces}}}"),
                format!(r#"{head},"$defs":{{"a":{pieces}}}}}"#),
            ] {
                let documents = [(URI.parse().unwrap(), text.as_str())];
                let (set, unfit) = SchemaSet::with_own(&PUBLISHED, documents);
                let Some(schema) = set.get(URI) else {
                    assert_eq!(unfit.len(), 1);
                    continue;
                };
                assert!(schema.is_own() && schema.database() == Some("a"));
                assert!(set.own_bytes() <= 4_000 * 1024);
                if let Ok(validator) = set.validator(URI) {
                    for record in [json!({}), json!({ "a": ["x", 1, null] }), Value::Null] {
                        let _ = validator.validate(&record);
                    }
                }
            }
        });
}
