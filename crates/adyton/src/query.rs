//! `adyton query`: records of a schema, asked of a node that was appraised.

use adyton_client::attested_node::NodeCredential;
use adyton_client::clock::Clock;
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::args::QueryArgs;
use crate::connect::open_vault;
use crate::failure::Failure;
use crate::node_access::{Node, not_json, read_token};

/// The members of an answer that a person is told about.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    items: Vec<Box<RawValue>>,
    total: u64,
    db_rows: u64,
    #[serde(default)]
    unreadable: u64,
}

/// Runs the command. As text: one record per line on standard output, the figures behind them in the note.
pub async fn run(args: &QueryArgs, json: bool, clock: &Clock) -> Result<Found, Failure> {
    // What can fail without the network fails first; the credential is used only behind the appraisal.
    let token = args.token_file.as_ref().map(read_token).transpose()?;
    let mut node = Node::connect(&args.node, clock).await?;
    let credential = match token {
        Some(token) => token,
        None => {
            let vault = open_vault(&args.vault, clock).await?;
            NodeCredential::Session(vault.context_session.expose_api_key())
        }
    };
    let what = if args.count { "count" } else { "query" };
    let path = format!("/ds/{what}/{}", args.schema.to_base64());
    let answer = node
        .ask(Method::POST, &path, &credential, Some(&body(args)))
        .await?;
    let text = std::str::from_utf8(&answer).map_err(|_| not_json())?;
    if json {
        return Ok(Found {
            text: Zeroizing::new(marked(text, node.is_simulated())?),
            note: None,
        });
    }
    if args.count {
        let count: Value = serde_json::from_str(text).map_err(|_| not_json())?;
        let count = count.get("count").and_then(Value::as_u64);
        return Ok(Found {
            text: Zeroizing::new(count.ok_or_else(not_json)?.to_string()),
            note: None,
        });
    }
    let answer: Answer = serde_json::from_str(text).map_err(|_| not_json())?;
    Ok(answer.found())
}

/// What a query came to.
#[derive(Debug)]
pub struct Found {
    /// For standard output. Personal data.
    pub text: Zeroizing<String>,
    /// For standard error.
    pub note: Option<String>,
}

impl Answer {
    fn found(&self) -> Found {
        let mut text = Zeroizing::new(String::new());
        for item in &self.items {
            push_harmless(&mut text, item.get());
            text.push('\n');
        }
        let mut note = format!(
            "{} shown of {} that match, {} records in all",
            self.items.len(),
            self.total,
            self.db_rows
        );
        if self.unreadable > 0 {
            note.push_str(&format!(
                "; {} stored records cannot be read and are left out",
                self.unreadable
            ));
        }
        Found {
            text,
            note: Some(note),
        }
    }
}

fn body(args: &QueryArgs) -> Value {
    let mut body = Map::new();
    if let Some(selector) = &args.selector {
        body.insert("query".to_owned(), Value::Object(selector.clone()));
    }
    if args.count {
        return Value::Object(body);
    }
    let mut options = Map::new();
    if !args.sort.is_empty() {
        let keys: Vec<Value> = args
            .sort
            .iter()
            .map(|key| json!({ key.field.as_str(): key.direction.name() }))
            .collect();
        options.insert("sort".to_owned(), keys.into());
    }
    options.insert("limit".to_owned(), args.limit.into());
    if args.skip > 0 {
        options.insert("skip".to_owned(), args.skip.into());
    }
    if !args.fields.is_empty() {
        options.insert("fields".to_owned(), json!(args.fields));
    }
    body.insert("options".to_owned(), Value::Object(options));
    Value::Object(body)
}

/// The node's own answer, with whether it is a simulation in front: digit by digit what it sent.
fn marked(answer: &str, simulated: bool) -> Result<String, Failure> {
    let members = answer.trim().strip_prefix('{').ok_or_else(not_json)?;
    Ok(format!("{{\"simulated\":{simulated},{members}"))
}

/// A record for a terminal: characters that could steer it, or turn its text around, in JSON's own escapes. They occur
/// in texts alone, so that it stays the same JSON value.
fn push_harmless(out: &mut String, json: &str) {
    for c in json.chars() {
        match c {
            '\u{7f}'..='\u{9f}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push(c),
        }
    }
}

/// A field to sort by, as it is typed: `field`, `field:asc` or `field:desc`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortField {
    /// The field.
    pub field: String,
    /// The direction.
    pub direction: Direction,
}

/// A direction to sort in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The smallest first.
    Ascending,
    /// The largest first.
    Descending,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Self::Ascending => "asc",
            Self::Descending => "desc",
        }
    }
}

impl std::str::FromStr for SortField {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (field, direction) = match text.rsplit_once(':') {
            None => (text, Direction::Ascending),
            Some((field, "asc")) => (field, Direction::Ascending),
            Some((field, "desc")) => (field, Direction::Descending),
            Some(_) => return Err("expected FIELD, FIELD:asc or FIELD:desc".to_owned()),
        };
        if field.is_empty() {
            return Err("a field to sort by is missing".to_owned());
        }
        Ok(Self {
            field: field.to_owned(),
            direction,
        })
    }
}

/// Reads a selector.
pub fn selector(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(selector)) => Ok(selector),
        Ok(_) => Err(r#"expected a JSON object such as {"fromName":"Ada"}"#.to_owned()),
        Err(error) => Err(format!("not JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sort_fields_name_a_direction_or_none() {
        let field = |text: &str| text.parse::<SortField>();
        assert_eq!(field("sentAt").unwrap().direction, Direction::Ascending);
        assert_eq!(
            field("sentAt:desc").unwrap().direction,
            Direction::Descending
        );
        assert_eq!(field("a:asc").unwrap().field, "a");
        for text in ["", ":desc", "a:down", "a:"] {
            assert!(field(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_selector_is_an_object() {
        assert_eq!(selector(r#"{"a":1}"#).unwrap().len(), 1);
        for text in ["", "7", "[]", "{a:1}"] {
            assert!(selector(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_record_cannot_steer_the_terminal_and_stays_the_same_value() {
        let json = "{\"name\":\"a\u{9b}2J\u{202e}b\u{7f} äöü 日本\"}";
        let mut shown = String::new();
        push_harmless(&mut shown, json);
        assert!(!shown.contains(['\u{9b}', '\u{202e}', '\u{7f}']), "{shown}");
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(value(&shown), value(json));
    }

    #[test]
    fn the_nodes_own_digits_reach_a_script() {
        let answer = r#"{"items":[{"n":1.10}],"total":1}"#;
        assert_eq!(
            marked(answer, true).unwrap(),
            r#"{"simulated":true,"items":[{"n":1.10}],"total":1}"#
        );
        assert!(marked("[]", true).is_err());
    }
}
