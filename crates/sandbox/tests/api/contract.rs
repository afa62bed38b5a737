//! Holds every answer that a test of this folder gets to `openapi.json`: its status is one that is described, and its body has
//! the shape.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use jsonschema::Validator;
use serde_json::{Value, json};

use super::support::Answer;

struct Contract {
    document: Value,
    validators: Mutex<HashMap<String, &'static Validator>>,
}

fn contract() -> &'static Contract {
    static CONTRACT: OnceLock<Contract> = OnceLock::new();
    CONTRACT.get_or_init(|| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../node/openapi.json");
        let document = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        Contract {
            document,
            validators: Mutex::default(),
        }
    })
}

/// Panics when the description says something else about such a request.
pub fn hold(method: &str, path: &str, answer: &Answer) {
    let contract = contract();
    let path = path.split('?').next().unwrap();
    let Some((template, operation)) = contract.operation(method, path) else {
        // No route: the answers to these are problems.
        let code = answer.json()["code"].as_str().unwrap().to_owned();
        assert!(
            ["not-found", "method-not-allowed", "gone"].contains(&code.as_str()),
            "{method} {path}: {code}"
        );
        return;
    };
    let status = answer.status.as_u16().to_string();
    let responses = &operation["responses"];
    let response = match responses[&status].is_object() {
        true => &responses[&status],
        false if status.starts_with('2') => {
            panic!("{method} {template} is not described to answer {status}")
        }
        false => &responses["default"],
    };
    let Some(content) = response["content"].as_object() else {
        assert!(
            answer.body.is_empty(),
            "{method} {template} {status} has a body"
        );
        return;
    };
    let kind = answer.headers["content-type"].to_str().unwrap();
    let kind = kind.split(';').next().unwrap();
    let media = content.get(kind);
    let media =
        media.unwrap_or_else(|| panic!("{method} {template} {status} is not described as {kind}"));
    if !kind.ends_with("json")
        || kind.ends_with("ndjson")
        || answer.headers.contains_key("content-encoding")
    {
        return;
    }
    let shape = media["schema"]["$ref"].as_str().unwrap();
    let body = answer.json();
    let errors: Vec<String> = contract
        .validator(shape)
        .iter_errors(&body)
        .map(|error| error.to_string())
        .collect();
    assert!(
        errors.is_empty(),
        "{method} {template} {status} is not a {shape}: {errors:?}"
    );
}

impl Contract {
    /// The operation of a request. A part that is named goes before one that is a parameter, as in the router.
    fn operation(&self, method: &str, path: &str) -> Option<(&str, &Value)> {
        let asked: Vec<&str> = path.split('/').collect();
        let paths = self.document["paths"].as_object().unwrap();
        let mut best: Option<(Vec<bool>, &str, &Value)> = None;
        for (template, item) in paths {
            let parts: Vec<&str> = template.split('/').collect();
            let is_it = parts.len() == asked.len()
                && parts
                    .iter()
                    .zip(&asked)
                    .all(|(part, asked)| part.starts_with('{') || part == asked);
            let named: Vec<bool> = parts.iter().map(|part| !part.starts_with('{')).collect();
            if is_it && best.as_ref().is_none_or(|(best, ..)| named > *best) {
                best = Some((named, template, item));
            }
        }
        let (_, template, item) = best?;
        let operation = &item[method.to_lowercase()];
        operation.is_object().then_some((template, operation))
    }

    fn validator(&self, shape: &str) -> &'static Validator {
        let mut validators = self.validators.lock().unwrap();
        validators.entry(shape.to_owned()).or_insert_with(|| {
            let schema = json!({ "$ref": shape, "components": self.document["components"] });
            let validator = jsonschema::options()
                .with_draft(jsonschema::Draft::Draft202012)
                .build(&schema)
                .unwrap();
            Box::leak(Box::new(validator))
        })
    }
}
