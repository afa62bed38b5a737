//! What of a record is searched, and how much it counts.

/// Most fields of an index that are told apart; what is beyond shares the last one.
pub const MAX_FIELDS: usize = 32;
/// The field of what is beyond.
pub(crate) const OTHER_FIELD: u8 = MAX_FIELDS as u8 - 1;

/// A field that is searched.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedField {
    /// Member names with dots between them; an array on the way means each of its elements.
    pub path: String,
    /// How much a word in it counts; 1 is what a word in a long text counts.
    pub weight: f32,
    /// Whether it is a mail's text, with quotes of other mails in it.
    pub is_mail: bool,
}

/// How records of one kind are indexed.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The fields, at most [`MAX_FIELDS`] less one.
    pub fields: Vec<PlannedField>,
    /// Whether other texts of a record are searched, too.
    pub is_open: bool,
    /// The field with the time that the record is about.
    pub time: String,
    /// The field with the conversation that the record belongs to.
    pub group: Option<String>,
    /// What can be counted among the matches: (name, field).
    pub facets: Vec<(String, String)>,
}

/// One row of the table: kind, time, group, facets, fields.
type Row = (
    &'static str,
    &'static str,
    Option<&'static str>,
    &'static [(&'static str, &'static str)],
    &'static [(&'static str, f32)],
);

/// The kinds of records that have a plan of their own (`spec/user-data-api.md` §4.1), by the path of their schema.
#[rustfmt::skip]
const KNOWN: [Row; 8] = [
    ("/social/email/", "sentAt", Some("threadId"), &[("sender", "fromEmail"), ("type", "type")], &[
        ("name", 2.0), ("fromName", 1.5), ("fromEmail", 1.0), ("toName", 1.0), ("toEmail", 1.0), ("messageText", 1.0),
        ("attachments.filename", 1.0), ("attachments.textContent", 0.6), ("indexableText", 0.5), ("sourceApplication", 0.2)]),
    ("/social/chat/message/", "sentAt", Some("groupId"), &[("sender", "fromName"), ("type", "type")], &[
        ("messageText", 2.0), ("fromName", 1.5), ("fromHandle", 1.5), ("groupName", 1.2), ("indexableText", 0.5),
        ("groupId", 0.5), ("sourceApplication", 0.2)]),
    ("/social/chat/group/", "insertedAt", None, &[("type", "type")], &[
        ("name", 2.0), ("description", 1.0), ("sourceApplication", 0.2)]),
    ("/social/event/", "start.dateTime", Some("calendarId"), &[("type", "status")], &[
        ("name", 2.0), ("location", 1.5), ("description", 1.0), ("attendees.displayName", 1.2), ("attendees.email", 1.0),
        ("organizer.displayName", 1.2), ("status", 0.3), ("sourceApplication", 0.2)]),
    ("/file/", "insertedAt", None, &[("type", "extension")], &[
        ("name", 2.0), ("contentText", 1.0), ("indexableText", 0.5), ("extension", 0.5), ("sourceApplication", 0.2)]),
    ("/social/following/", "followedTimestamp", None, &[("type", "sourceApplication")], &[
        ("name", 2.0), ("description", 1.0), ("sourceApplication", 0.2)]),
    ("/social/post/", "insertedAt", None, &[("type", "type"), ("sender", "fromName")], &[
        ("name", 1.5), ("content", 1.0), ("fromName", 1.2), ("indexableText", 0.5), ("sourceApplication", 0.2)]),
    ("/favourite/", "insertedAt", None, &[("type", "favouriteType")], &[
        ("name", 2.0), ("description", 1.0), ("favouriteType", 0.5), ("contentType", 0.5), ("uri", 0.5),
        ("sourceApplication", 0.2)]),
];

/// Members that no person wrote or reads.
const NOT_WORDS: [&str; 12] = [
    "_id",
    "_rev",
    "schema",
    "signatures",
    "sourceData",
    "sourceId",
    "sourceAccountId",
    "insertedAt",
    "modifiedAt",
    "icon",
    "syncData",
    "_deleted",
];

/// What a person may call a field in a query.
const ALIASES: [(&str, &[&str]); 8] = [
    (
        "from",
        &[
            "fromName",
            "fromEmail",
            "fromHandle",
            "organizer.displayName",
        ],
    ),
    (
        "to",
        &[
            "toName",
            "toEmail",
            "attendees.displayName",
            "attendees.email",
        ],
    ),
    ("subject", &["name"]),
    ("title", &["name"]),
    (
        "body",
        &["messageText", "content", "contentText", "description"],
    ),
    (
        "text",
        &["messageText", "content", "contentText", "description"],
    ),
    (
        "attachment",
        &["attachments.filename", "attachments.textContent"],
    ),
    ("group", &["groupName", "groupId"]),
];

impl Plan {
    /// The plan for records of this schema: a tuned one, or one that takes every text.
    #[must_use]
    pub fn for_schema(schema: &str) -> Self {
        let known = KNOWN.iter().find(|(kind, ..)| is_kind(schema, kind));
        let Some((_, time, group, facets, fields)) = known else {
            return Self::open();
        };
        Self {
            fields: fields
                .iter()
                .map(|(path, weight)| PlannedField {
                    path: (*path).to_owned(),
                    weight: *weight,
                    is_mail: *path == "messageText",
                })
                .collect(),
            is_open: false,
            time: (*time).to_owned(),
            group: group.map(str::to_owned),
            facets: facets
                .iter()
                .map(|(name, path)| ((*name).to_owned(), (*path).to_owned()))
                .collect(),
        }
    }

    /// A plan for records of which nothing is known.
    #[must_use]
    pub fn open() -> Self {
        Self {
            fields: Vec::new(),
            is_open: true,
            time: "insertedAt".to_owned(),
            group: None,
            facets: Vec::new(),
        }
    }

    /// Whether an open plan takes the member of this name, at any depth.
    #[must_use]
    pub fn takes(name: &str) -> bool {
        !NOT_WORDS.contains(&name)
    }

    /// The weight of a field that an open plan meets.
    pub(crate) fn weight_of(path: &str) -> f32 {
        match path {
            "name" | "title" | "subject" => 2.0,
            _ => 1.0,
        }
    }
}

/// Whether a schema's address ends in this kind and a version.
fn is_kind(schema: &str, kind: &str) -> bool {
    schema.find(kind).is_some_and(|at| {
        let rest = schema.get(at + kind.len()..).unwrap_or_default();
        let is_last = rest.split('/').count() == 2 && rest.ends_with("/schema.json");
        // `/file/` is a kind of its own only directly below the registry.
        let registry = schema.get(..at).unwrap_or_default();
        is_last
            && registry
                .split("://")
                .nth(1)
                .is_some_and(|host| !host.contains('/'))
    })
}

/// The paths that a name in a query stands for.
pub(crate) fn aliases(name: &str) -> &'static [&'static str] {
    ALIASES
        .iter()
        .find(|(alias, _)| alias.eq_ignore_ascii_case(name))
        .map_or(&[], |(_, paths)| paths)
}

/// Some fields of an index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FieldSet(u32);

impl FieldSet {
    /// All.
    pub const ALL: Self = Self(u32::MAX);

    /// Whether the field is in it.
    #[inline]
    #[must_use]
    pub fn contains(self, field: u8) -> bool {
        self.0 >> (field & 31) & 1 == 1
    }

    /// With this field, too.
    #[must_use]
    pub fn with(self, field: u8) -> Self {
        Self(self.0 | 1 << (field & 31))
    }

    /// Without those of another.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those in either.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those in both.
    #[must_use]
    pub fn common(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_has_the_plan_of_its_kind() {
        let plan = |path: &str| {
            Plan::for_schema(&format!(
                "https://common.schemas.verida.io/{path}/v0.1.0/schema.json"
            ))
        };
        assert_eq!(plan("social/email").time, "sentAt");
        assert_eq!(plan("social/event").time, "start.dateTime");
        assert_eq!(plan("file").facets.len(), 1);
        for open in ["social/calendar", "my/file", "recipe"] {
            assert!(plan(open).is_open, "{open}");
        }
    }
}
