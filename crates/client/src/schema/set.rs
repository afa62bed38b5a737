//! A closed set of schema documents: found by identifier, compiled on first use.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use jsonschema::{Draft, Registry};
use serde::Deserialize;
use serde_json::Value;

use super::documents::DOCUMENTS;
use super::validator::Validator;

/// Why a schema cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// The set has no such schema.
    #[error("the schema is not known")]
    Unknown,
    /// A document of the set is not a schema document.
    #[error("the document of {uri} is not a schema document: {reason}")]
    Malformed {
        /// The identifier the document was listed under.
        uri: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A schema does not compile, or points outside the set.
    #[error("the schema {uri} does not compile: {reason}")]
    Uncompilable {
        /// The identifier of the schema.
        uri: String,
        /// What the compiler says.
        reason: String,
    },
}

/// Schemas that refer to each other and to nothing else.
///
/// ```
/// use adyton_client::schema::SchemaSet;
///
/// let schemas = SchemaSet::embedded()?;
/// let email = schemas.resolve("https://common.schemas.verida.io/social/email/latest/schema.json")?;
/// assert_eq!(email.database(), Some("social_email"));
/// # Ok::<(), adyton_client::schema::SchemaError>(())
/// ```
#[derive(Debug)]
pub struct SchemaSet {
    schemas: BTreeMap<String, Schema>,
    registry: Registry<'static>,
}

impl SchemaSet {
    /// The public schemas, as they are embedded in this program.
    pub fn embedded() -> Result<Self, SchemaError> {
        Self::from_documents(DOCUMENTS.iter().copied())
    }

    /// A set of other documents: pairs of identifier and JSON text.
    pub fn from_documents<'t>(
        documents: impl IntoIterator<Item = (&'t str, &'t str)>,
    ) -> Result<Self, SchemaError> {
        let schemas = documents
            .into_iter()
            .map(|(uri, text)| Ok((uri.to_owned(), Schema::parse(uri, text)?)))
            .collect::<Result<BTreeMap<_, _>, SchemaError>>()?;
        let registry = registry(&schemas).map_err(|error| SchemaError::Uncompilable {
            uri: "the set".to_owned(),
            reason: error.to_string(),
        })?;
        Ok(Self { schemas, registry })
    }

    /// The schema with exactly this identifier.
    pub fn get(&self, uri: &str) -> Option<&Schema> {
        self.schemas.get(uri)
    }

    /// The schema a caller means: the identifier itself, or `…/latest/schema.json` (or
    /// `…/latest`), which is the highest version in the set.
    pub fn resolve(&self, uri: &str) -> Result<&Schema, SchemaError> {
        let versionless = uri
            .strip_suffix("/schema.json")
            .unwrap_or(uri)
            .strip_suffix("/latest");
        match versionless {
            Some(base) => self
                .schemas
                .values()
                .filter_map(|schema| Some((version_below(base, &schema.uri)?, schema)))
                .max_by(|(left, _), (right, _)| left.cmp(right))
                .map(|(_, schema)| schema),
            None => self.get(uri),
        }
        .ok_or(SchemaError::Unknown)
    }

    /// The validator of the schema with exactly this identifier. Compiled at the first call.
    pub fn validator(&self, uri: &str) -> Result<&Validator, SchemaError> {
        let schema = self.get(uri).ok_or(SchemaError::Unknown)?;
        schema
            .validator
            .get_or_init(|| {
                Validator::compile(&schema.document, &self.registry).map_err(|reason| {
                    SchemaError::Uncompilable {
                        uri: schema.uri.clone(),
                        reason,
                    }
                })
            })
            .as_ref()
            .map_err(Clone::clone)
    }

    /// All schemas, ordered by identifier.
    pub fn iter(&self) -> impl Iterator<Item = &Schema> {
        self.schemas.values()
    }
}

/// One schema document and what it says about storage.
#[derive(Debug)]
pub struct Schema {
    uri: String,
    head: Head,
    document: Value,
    validator: OnceLock<Result<Validator, SchemaError>>,
}

impl Schema {
    fn parse(uri: &str, text: &str) -> Result<Self, SchemaError> {
        let malformed = |reason: String| SchemaError::Malformed {
            uri: uri.to_owned(),
            reason,
        };
        let document: Value =
            serde_json::from_str(text).map_err(|error| malformed(error.to_string()))?;
        let head = Head::deserialize(&document).map_err(|error| malformed(error.to_string()))?;
        if head.id != uri {
            return Err(malformed("its $id is another one".to_owned()));
        }
        Ok(Self {
            uri: uri.to_owned(),
            head,
            document,
            validator: OnceLock::new(),
        })
    }

    /// The identifier (`$id`): what records carry in their member `schema`.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// What one record is called.
    pub fn title(&self) -> &str {
        &self.head.title
    }

    /// What several records are called.
    pub fn title_plural(&self) -> &str {
        self.head
            .title_plural
            .as_deref()
            .unwrap_or(&self.head.title)
    }

    /// The database that keeps such records. Schemas that are only parts of others have none.
    pub fn database(&self) -> Option<&str> {
        self.head.database.name.as_deref()
    }

    /// The indexes of that database: name and fields.
    pub fn indexes(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.head
            .database
            .indexes
            .iter()
            .map(|(name, fields)| (name.as_str(), fields.as_slice()))
    }

    /// The whole document.
    pub fn document(&self) -> &Value {
        &self.document
    }
}

/// The members of a schema document that are ours to read.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(rename = "$id")]
    id: String,
    title: String,
    title_plural: Option<String>,
    #[serde(default)]
    database: DatabaseSection,
}

#[derive(Debug, Default, Deserialize)]
struct DatabaseSection {
    name: Option<String>,
    #[serde(default)]
    indexes: BTreeMap<String, Vec<String>>,
}

fn registry(
    schemas: &BTreeMap<String, Schema>,
) -> Result<Registry<'static>, jsonschema::ReferencingError> {
    Registry::new()
        .retriever(Nowhere)
        .draft(Draft::Draft202012)
        .extend(
            schemas
                .iter()
                .map(|(uri, schema)| (uri.clone(), schema.document.clone())),
        )?
        .prepare()
}

/// A retriever that retrieves nothing: a reference out of the set is an error.
struct Nowhere;

impl jsonschema::Retrieve for Nowhere {
    fn retrieve(
        &self,
        uri: &jsonschema::Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync>> {
        Err(format!("{uri} is outside the set").into())
    }
}

/// The version numbers of `uri` if it is `<base>/v<numbers>/schema.json`.
fn version_below(base: &str, uri: &str) -> Option<Vec<u32>> {
    uri.strip_prefix(base)?
        .strip_prefix("/v")?
        .strip_suffix("/schema.json")?
        .split('.')
        .map(|number| number.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "https://core.schemas.verida.io/base/v0.1.0/schema.json";

    #[test]
    fn latest_is_the_highest_version_by_number() {
        let at = |version: &str| {
            let uri = format!("https://x.example/a/v{version}/schema.json");
            let text = format!(r#"{{"$id":"{uri}","title":"{version}"}}"#);
            (uri, text)
        };
        let documents = ["0.9.0", "0.10.0", "0.1.12"].map(at);
        let set = SchemaSet::from_documents(
            documents
                .iter()
                .map(|(uri, text)| (uri.as_str(), text.as_str())),
        )
        .unwrap();
        for uri in [
            "https://x.example/a/latest",
            "https://x.example/a/latest/schema.json",
        ] {
            assert_eq!(set.resolve(uri).unwrap().title(), "0.10.0");
        }
    }

    #[test]
    fn a_schema_nobody_knows_is_an_error_and_not_a_download() {
        let set = SchemaSet::embedded().unwrap();
        for uri in [
            "",
            "https://x.example/schema.json",
            "/latest",
            "social/email",
            "latest",
        ] {
            assert_eq!(set.resolve(uri).unwrap_err(), SchemaError::Unknown, "{uri}");
            assert_eq!(
                set.validator(uri).unwrap_err(),
                SchemaError::Unknown,
                "{uri}"
            );
        }
    }

    #[test]
    fn a_reference_out_of_the_set_is_refused() {
        let uri = "https://x.example/a/v1/schema.json";
        let text = format!(r#"{{"$id":"{uri}","title":"A","$ref":"{BASE}"}}"#);
        let error = SchemaSet::from_documents([(uri, text.as_str())]).unwrap_err();
        assert!(matches!(error, SchemaError::Uncompilable { .. }), "{error}");
    }

    #[test]
    fn a_document_that_is_not_one_is_refused() {
        let uri = "https://x.example/a/v1/schema.json";
        for text in [
            "",
            "[]",
            "{}",
            r#"{"$id":"https://x.example/other","title":"A"}"#,
        ] {
            let error = SchemaSet::from_documents([(uri, text)]).unwrap_err();
            assert!(
                matches!(error, SchemaError::Malformed { .. }),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn a_schema_says_where_its_records_live() {
        let set = SchemaSet::embedded().unwrap();
        let event = set
            .resolve("https://common.schemas.verida.io/social/event/latest")
            .unwrap();
        assert_eq!(event.database(), Some("social_event"));
        assert_eq!(event.title_plural(), "Event");
        let start = event
            .indexes()
            .find(|(name, _)| *name == "startTime")
            .unwrap();
        assert_eq!(start.1, ["start.dateTime"]);
        assert_eq!(set.get(BASE).unwrap().database(), None);
    }
}
