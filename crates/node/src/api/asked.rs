//! What an app asks for, in words that a person understands: one permission for each target of its terms.
//!
//! Says what the terms say and no more. Titles, databases and fields come from the published schemas and from the user's own, which
//! the words call so; never from the app: nothing that an app chose can make a permission look smaller than it is.

use std::collections::BTreeSet;

use adyton_client::schema::{Schema, SchemaSet};
use adyton_protocol::scope::{Action, FieldName, Scope, Target, Terms, time_field};
use serde::Serialize;
use serde_json::Value;

/// Schemas inside of schemas are followed this deep.
const MOST_NESTING: usize = 8;
/// Fields that are listed of one target.
const MOST_FIELDS: usize = 200;

/// Fields with the words of a message or a document in them.
const BODIES: [&str; 9] = [
    "messageText",
    "messageHTML",
    "content",
    "contentHtml",
    "contentText",
    "indexableText",
    "attachments",
    "description",
    "summary",
];
/// The name of a chat message is how it begins (`spec/user-data-api.md` §6.5).
const CHAT_MESSAGE: &str = "https://common.schemas.verida.io/social/chat/message/";
/// Fields with a record as its source sent it.
const SOURCES: [&str; 2] = ["sourceData", "syncData"];

/// A target of the terms.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Permission {
    target: String,
    /// The database that is really opened.
    database: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<String>,
    /// The schema is one of the user's own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    own: bool,
    title: String,
    words: String,
    actions: Actions,
    time_field: &'static str,
    fields: Vec<Field>,
}

/// A permission in few words: for the list of what was granted.
#[derive(Debug, Serialize)]
pub(super) struct Granted {
    target: String,
    database: String,
    title: String,
    words: String,
}

/// What terms allow, in words.
pub(super) fn granted(terms: &Terms, schemas: &SchemaSet) -> Vec<Granted> {
    let short = |permission: Permission| Granted {
        target: permission.target,
        database: permission.database,
        title: permission.title,
        words: permission.words,
    };
    permissions(terms, schemas).into_iter().map(short).collect()
}

/// What may be done.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
struct Actions {
    read: bool,
    write: bool,
    delete: bool,
}

/// A field that can be left out.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Field {
    path: String,
    title: String,
    sensitive: Option<Sensitivity>,
}

/// Why a field deserves a second look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Sensitivity {
    /// The words of a message or a document.
    Body,
    /// The record as its source sent it.
    Source,
}

/// The permissions of terms, in the order in which they name their targets.
pub(super) fn permissions(terms: &Terms, schemas: &SchemaSet) -> Vec<Permission> {
    let mut targets: Vec<(Target, Actions)> = Vec::new();
    for scope in terms.scopes().iter() {
        let (Some(target), Some(actions)) = (scope.target(), actions_of(scope)) else {
            continue;
        };
        match targets.iter_mut().find(|(known, _)| *known == target) {
            Some((_, known)) => known.add(actions),
            None => targets.push((target, actions)),
        }
    }
    targets
        .into_iter()
        .map(|(target, actions)| permission(&target, actions, schemas))
        .collect()
}

fn permission(target: &Target, actions: Actions, schemas: &SchemaSet) -> Permission {
    let database = target.database().name().as_str();
    let mut own = false;
    let (uri, title, fields) = match target {
        Target::Datastore { schema, .. } => {
            let known = schemas.get(schema.as_str());
            own = known.is_some_and(Schema::is_own);
            let title = known.map_or(database, Schema::title_plural);
            let fields = known.map(|known| fields_of([known], schemas));
            (Some(schema.as_str().to_owned()), title.to_owned(), fields)
        }
        Target::Database(_) => {
            let inside = schemas
                .iter()
                .filter(|schema| schema.database() == Some(database));
            let title = format!("Everything in the database {database}");
            (None, title, Some(fields_of(inside, schemas)))
        }
    };
    let what = match target {
        Target::Datastore { .. } if own => {
            format!("your {} (a schema of your own)", lower_first(&title))
        }
        Target::Datastore { .. } => format!("your {}", lower_first(&title)),
        Target::Database(_) => format!("everything in your database {database}"),
    };
    Permission {
        target: target.to_string(),
        database: database.to_owned(),
        time_field: time_field(uri.as_deref()),
        schema: uri,
        own,
        title,
        words: format!("{} {what}", actions.words()),
        actions,
        fields: fields.unwrap_or_default(),
    }
}

fn actions_of(scope: &Scope) -> Option<Actions> {
    match scope {
        Scope::Api(_) => None,
        Scope::Datastore { actions, .. } | Scope::Database { actions, .. } => Some(Actions {
            read: actions.contains(Action::Read),
            write: actions.contains(Action::Write),
            delete: actions.contains(Action::Delete),
        }),
    }
}

impl Actions {
    fn add(&mut self, more: Self) {
        self.read |= more.read;
        self.write |= more.write;
        self.delete |= more.delete;
    }

    /// "Read, add and change", with a capital.
    fn words(self) -> String {
        let named = [
            (self.read, "read"),
            (self.write, "add and change"),
            (self.delete, "delete"),
        ];
        let words: Vec<&str> = named
            .into_iter()
            .filter_map(|(is, word)| is.then_some(word))
            .collect();
        upper_first(&words.join(", "))
    }
}

/// The fields that records of these schemas have, in the order of their names. Where there are too many, what is sensitive is
/// among them, and a schema of one's own cannot push out what a published one names.
fn fields_of<'s>(wanted: impl IntoIterator<Item = &'s Schema>, schemas: &SchemaSet) -> Vec<Field> {
    let (mut published, mut own) = (BTreeSet::new(), BTreeSet::new());
    let mut are_names_bodies = false;
    for schema in wanted {
        are_names_bodies |= schema.uri().starts_with(CHAT_MESSAGE);
        let names = match schema.is_own() {
            true => &mut own,
            false => &mut published,
        };
        collect(schema.document(), schemas, MOST_NESTING, names);
    }
    let further = own.difference(&published).cloned().collect::<Vec<_>>();
    let mut fields: Vec<Field> = published
        .into_iter()
        .chain(further)
        // What cannot be left out is not offered.
        .filter(|name| name != "signatures" && FieldName::parse(name).is_ok())
        .map(|name| {
            let sensitive = match name.as_str() {
                name if BODIES.contains(&name) => Some(Sensitivity::Body),
                "name" if are_names_bodies => Some(Sensitivity::Body),
                name if SOURCES.contains(&name) => Some(Sensitivity::Source),
                _ => None,
            };
            Field {
                title: title_of(&name),
                path: name,
                sensitive,
            }
        })
        .collect();
    fields.sort_by_key(|field| field.sensitive.is_none());
    fields.truncate(MOST_FIELDS);
    fields.sort_by(|left, right| left.path.cmp(&right.path));
    fields
}

/// The names of a document's properties, of the schemas that it is made of, and of what it requires.
fn collect(document: &Value, schemas: &SchemaSet, depth: usize, names: &mut BTreeSet<String>) {
    let Some(depth) = depth.checked_sub(1) else {
        return;
    };
    if let Some(properties) = document.get("properties").and_then(Value::as_object) {
        names.extend(properties.keys().cloned());
    }
    if let Some(required) = document.get("required").and_then(Value::as_array) {
        names.extend(required.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    if let Some(parts) = document.get("allOf").and_then(Value::as_array) {
        parts
            .iter()
            .for_each(|part| collect(part, schemas, depth, names));
    }
    let inherited = document.get("$ref").and_then(Value::as_str);
    if let Some(schema) = inherited.and_then(|uri| schemas.get(uri)) {
        collect(schema.document(), schemas, depth, names);
    }
}

/// `messageText` as "Message text", `messageHTML` as "Message HTML".
fn title_of(name: &str) -> String {
    let mut words = String::new();
    let mut letters = name.chars().peekable();
    let mut before_is_lower = false;
    while let Some(letter) = letters.next() {
        let next_is_lower = letters.peek().is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && (before_is_lower || (next_is_lower && !words.is_empty())) {
            words.push(' ');
        }
        match letter.is_uppercase() && next_is_lower {
            true => words.extend(letter.to_lowercase()),
            false => words.push(letter),
        }
        before_is_lower = letter.is_lowercase() || letter.is_numeric();
    }
    upper_first(&words)
}

fn upper_first(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().into_iter().flat_map(char::to_lowercase);
    first.chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const EMAIL: &str = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";

    fn of(scopes: &[&str]) -> Vec<Permission> {
        let schemas = SchemaSet::embedded().unwrap();
        let terms = Terms::from_value(json!({ "scopes": scopes }), &schemas).unwrap();
        permissions(&terms, &schemas)
    }

    #[test]
    fn actions_of_several_scopes_on_one_target_are_one_permission() {
        let asked = of(&["ds:r:social-email", "api:ds-query", "ds:wd:social-email"]);
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].target, format!("ds:{EMAIL}"));
        assert_eq!(asked[0].words, "Read, add and change, delete your emails");
        assert_eq!(
            serde_json::to_value(asked[0].actions).unwrap(),
            json!({ "read": true, "write": true, "delete": true })
        );
    }

    #[test]
    fn a_permission_names_the_database_that_is_really_opened() {
        let asked = of(&["ds:r:social-calendar", "db:r:diary"]);
        assert_eq!(asked[0].database, "calendar_data");
        assert_eq!(asked[0].title, "Calendars");
        assert_eq!(asked[1].database, "diary");
        assert_eq!(asked[1].words, "Read everything in your database diary");
        assert_eq!(asked[1].schema, None);
    }

    #[test]
    fn a_schema_of_ones_own_pushes_no_field_out_of_what_can_be_left_out() {
        let published = std::sync::Arc::new(SchemaSet::embedded().unwrap());
        let many = (0..MOST_FIELDS).map(|n| (format!("A{n:03}"), json!({})));
        let document = json!({
            "$id": "https://a.example/x.json", "title": "X", "database": { "name": "social_email" },
            "properties": many.collect::<serde_json::Map<_, _>>(),
        });
        let own = (
            "https://a.example/x.json".parse().unwrap(),
            document.to_string(),
        );
        let (schemas, unfit) = SchemaSet::with_own(&published, [(own.0, own.1.as_str())]);
        assert!(unfit.is_empty());
        let terms = json!({ "scopes": ["db:r:social_email"] });
        let terms = Terms::from_value(terms, &schemas).unwrap();
        let [asked] = <[Permission; 1]>::try_from(permissions(&terms, &schemas))
            .ok()
            .unwrap();
        assert_eq!(asked.fields.len(), MOST_FIELDS);
        for name in ["messageText", "messageHTML", "sourceData", "fromEmail"] {
            assert!(
                asked.fields.iter().any(|field| field.path == name),
                "{name}"
            );
        }
        assert!(
            asked
                .fields
                .is_sorted_by(|left, right| left.path < right.path)
        );
    }

    #[test]
    fn the_fields_are_those_of_the_schema_and_of_what_it_is_made_of() {
        let asked = of(&["ds:r:social-email"]);
        let field = |name: &str| asked[0].fields.iter().find(|field| field.path == name);
        assert_eq!(
            field("messageText").unwrap().sensitive,
            Some(Sensitivity::Body)
        );
        assert_eq!(field("messageText").unwrap().title, "Message text");
        assert_eq!(field("messageHTML").unwrap().title, "Message HTML");
        // Required, though its type is not said; and out of the base schema.
        assert_eq!(field("toEmail").unwrap().sensitive, None);
        assert_eq!(
            field("sourceData").unwrap().sensitive,
            Some(Sensitivity::Source)
        );
        for needed in ["_id", "_rev", "schema", "signatures"] {
            assert_eq!(field(needed), None, "{needed}");
        }
        assert_eq!(asked[0].time_field, "sentAt");
    }

    #[test]
    fn the_name_of_a_chat_message_is_part_of_what_it_says() {
        for scope in ["ds:r:social-chat-message", "db:r:social_chat_message"] {
            let asked = of(&[scope]);
            let name = asked[0].fields.iter().find(|field| field.path == "name");
            assert_eq!(name.unwrap().sensitive, Some(Sensitivity::Body), "{scope}");
        }
    }

    #[test]
    fn a_whole_database_has_the_fields_of_every_schema_that_is_kept_in_it() {
        let asked = of(&["db:r:social_email"]);
        assert!(
            asked[0]
                .fields
                .iter()
                .any(|field| field.path == "messageText")
        );
    }
}
