//! What an app asks for before it is known whom it asks.
//!
//! The published schemas are known to everybody; a schema of a user's own is known once that user has signed in. Guarantees: until
//! then nothing of it can be approved, because it has no database; afterwards it is what that user's directory says, and what
//! no directory knows is named and left out. Refuses to know: who signs in.

use std::cell::RefCell;
use std::collections::BTreeSet;

use adyton_protocol::database::DatabaseName;
use adyton_protocol::schema::{SchemaDirectory, SchemaUri};
use adyton_protocol::scope::{InvalidScope, InvalidTerms, Scope, Terms};
use serde_json::Value;

use crate::approval::Requested;

/// The terms that an app asks for, as text that was checked, for whoever answers.
#[derive(Debug, Clone)]
pub struct Asking {
    terms: Value,
    bytes: usize,
}

/// What the same terms are for one who knows some schemas.
#[derive(Debug, Clone)]
pub struct Asked {
    /// What can be approved; nothing when all of it is unknown.
    pub requested: Option<Requested>,
    /// The schemas that are asked for and not known, in the order of their names.
    pub unknown: Vec<SchemaUri>,
}

impl Asking {
    /// Reads terms. Every schema must be one that the directory knows, or one that a user may have.
    pub fn read(terms: Value, directory: &impl SchemaDirectory) -> Result<Self, InvalidTerms> {
        // In the order and the spelling of whoever asks: a page shows them so.
        let canonical = Terms::from_value(terms.clone(), &Anybodys(directory))?.to_text();
        Ok(Self {
            bytes: canonical.len().max(terms.to_string().len()),
            terms,
        })
    }

    /// How long they are, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What they are for one who knows the schemas of this directory.
    ///
    /// # Errors
    /// When they say something else now than what can be granted: two of their targets turn out to be in one database, and one
    /// of them takes back what the other gives.
    pub fn known_to(&self, directory: &impl SchemaDirectory) -> Result<Asked, InvalidTerms> {
        let noting = Noting {
            directory,
            unknown: RefCell::default(),
        };
        let mut terms = self.terms.clone();
        let mut has_scopes = true;
        if let Some(Value::Array(scopes)) = terms.get_mut("scopes") {
            scopes.retain(|scope| is_known(scope.as_str(), &noting));
            has_scopes = !scopes.is_empty();
        }
        if let Some(Value::Array(narrow)) = terms.get_mut("narrow") {
            narrow.retain(|one| is_known(one.get("target").and_then(Value::as_str), &noting));
        }
        let requested = match has_scopes {
            true => Some(Requested::new(Terms::from_value(terms, directory)?)),
            false => None,
        };
        Ok(Asked {
            requested,
            unknown: noting.unknown.into_inner().into_iter().collect(),
        })
    }
}

/// Whether nothing but an unknown schema is wrong with a scope or a target; what else is wrong is for the terms to say.
fn is_known(text: Option<&str>, directory: &impl SchemaDirectory) -> bool {
    let parsed = text.map(|text| Scope::parse(text, directory));
    !matches!(parsed, Some(Err(InvalidScope::UnknownSchema)))
}

/// Lets a schema pass that a user may have: to check everything else about terms. What is read with it is thrown away.
struct Anybodys<'d, D>(&'d D);

impl<D: SchemaDirectory> SchemaDirectory for Anybodys<'_, D> {
    fn database_of(&self, schema: &SchemaUri) -> Option<DatabaseName> {
        let known = self.0.database_of(schema);
        known.or_else(|| match self.0.may_be_own(schema) {
            true => DatabaseName::new("of somebody").ok(),
            false => None,
        })
    }
}

/// Notes what it is asked for and does not know.
struct Noting<'d, D> {
    directory: &'d D,
    unknown: RefCell<BTreeSet<SchemaUri>>,
}

impl<D: SchemaDirectory> SchemaDirectory for Noting<'_, D> {
    fn database_of(&self, schema: &SchemaUri) -> Option<DatabaseName> {
        let known = self.directory.database_of(schema);
        if known.is_none() {
            self.unknown.borrow_mut().insert(schema.clone());
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const OWN: &str = "https://dive.example/dive/v1/schema.json";

    /// Published: mail. Own: dives, of whoever has them, in the database that is said.
    struct Directory(Option<&'static str>);

    impl SchemaDirectory for Directory {
        fn database_of(&self, schema: &SchemaUri) -> Option<DatabaseName> {
            match schema.as_str() {
                OWN => DatabaseName::new(self.0?).ok(),
                _ => Some(DatabaseName::new("mail").unwrap()),
            }
            .filter(|_| !schema.as_str().contains("nobody"))
        }

        fn may_be_own(&self, schema: &SchemaUri) -> bool {
            schema.as_str().starts_with("https://dive.example/")
        }
    }

    fn asking(terms: Value) -> Result<Asking, InvalidTerms> {
        Asking::read(terms, &Directory(None))
    }

    #[test]
    fn a_schema_of_somebodys_own_can_be_asked_and_nothing_else_that_is_unknown() {
        let own = format!("ds:r:{OWN}");
        assert!(asking(json!({ "scopes": [own] })).is_ok());
        let unknown = asking(json!({ "scopes": ["ds:r:https://nobody.example/schema.json"] }));
        assert!(unknown.unwrap_err().is_unknown_schema());
        assert!(asking(json!({ "scopes": [own, "db:r:user_wallet"] })).is_err());
        assert!(asking(json!({ "scopes": [own], "purpose": "" })).is_err());
    }

    #[test]
    fn what_is_not_known_is_named_and_left_out_with_its_narrowings() {
        let terms = json!({
            "scopes": ["api:ds-query", format!("ds:rw:{OWN}"), "ds:r:social-email"],
            "narrow": [
                { "target": format!("ds:{OWN}"), "without": ["depth"] },
                { "target": "ds:social-email", "without": ["messageText"] },
            ],
        });
        let asking = asking(terms).unwrap();
        let asked = asking.known_to(&Directory(None)).unwrap();
        assert_eq!(asked.unknown, [OWN.parse().unwrap()]);
        let left = asked.requested.unwrap();
        assert_eq!(left.terms().scopes().to_texts().len(), 2);
        assert_eq!(left.terms().narrowings().len(), 1);
        let asked = asking.known_to(&Directory(Some("dives"))).unwrap();
        assert_eq!(asked.unknown, []);
        let all = asked.requested.unwrap();
        assert_eq!(all.terms().scopes().to_texts().len(), 3);
        assert_eq!(all.terms().narrowings().len(), 2);
        // What was approved with a directory is no part of what is asked without it.
        assert!(left.narrow(all.terms().clone()).is_err());
    }

    #[test]
    fn the_same_name_in_another_database_is_something_else() {
        let asking = asking(json!({ "scopes": [format!("ds:r:{OWN}")] })).unwrap();
        let of = |database| {
            let asked = asking.known_to(&Directory(Some(database))).unwrap();
            asked.requested.unwrap()
        };
        let (mine, yours) = (of("dives"), of("diary"));
        assert!(mine.narrow(mine.terms().clone()).is_ok());
        assert!(mine.narrow(yours.terms().clone()).is_err());
        // A directory that names a database which is never shared makes the terms invalid, not wider.
        assert!(asking.known_to(&Directory(Some("user_wallet"))).is_err());
    }

    #[test]
    fn a_request_for_nothing_that_is_known_leaves_nothing() {
        let asking = asking(json!({ "scopes": [format!("ds:r:{OWN}")] })).unwrap();
        let asked = asking.known_to(&Directory(None)).unwrap();
        assert!(asked.requested.is_none());
        assert_eq!(asked.unknown.len(), 1);
    }
}
