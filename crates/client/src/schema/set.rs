//! A closed set of schema documents: found by identifier, compiled on first use.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use adyton_protocol::schema::SchemaUri;
use jsonschema::{Draft, Registry};
use serde::Deserialize;
use serde_json::Value;

use super::documents::DOCUMENTS;
use super::own::{self, MAX_OWN_SCHEMAS, Unfit};
use super::unfolded::{BYTES_PER_WEIGHT, MAX_WEIGHT_OF_ALL, unfold};
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
    /// Of the documents, where they are no user's own.
    registry: Option<Registry<'static>>,
    /// The published schemas, where `schemas` are a user's own. What is there is never hidden by what is here.
    published: Option<Arc<SchemaSet>>,
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
        Ok(Self {
            schemas,
            registry: Some(registry),
            published: None,
        })
    }

    /// The published schemas and a user's own: pairs of name and JSON text, which nobody vouches for. Those that are not fit to be
    /// used are not in the set, and are told with the reason.
    pub fn with_own<'t>(
        published: &Arc<SchemaSet>,
        documents: impl IntoIterator<Item = (SchemaUri, &'t str)>,
    ) -> (Self, BTreeMap<SchemaUri, Unfit>) {
        let (mut read, mut unfit) = (BTreeMap::new(), BTreeMap::new());
        for (uri, text) in documents {
            let fit = published.own_name(&uri);
            let fit = fit.and_then(|()| own::read(&uri, text));
            match fit {
                Ok(_) if read.len() >= MAX_OWN_SCHEMAS => {
                    unfit.insert(uri, Unfit::TooMany);
                }
                Ok(schema) => {
                    read.insert(uri.as_str().to_owned(), (uri, schema));
                }
                Err(error) => {
                    unfit.insert(uri, error);
                }
            }
        }
        let document_of = |uri: &str| {
            let own = read.get(uri).map(|(_, schema)| schema.document());
            own.or_else(|| published.get(uri).map(Schema::document))
        };
        let measured: Vec<_> = read.keys().map(|uri| unfold(uri, document_of)).collect();
        let mut schemas = BTreeMap::new();
        let mut left = MAX_WEIGHT_OF_ALL;
        for ((text, (uri, mut schema)), measured) in read.into_iter().zip(measured) {
            let fits = measured.and_then(|unfolded| {
                let weight = unfolded.size.weight;
                left = left.checked_sub(weight).ok_or(Unfit::TooLargeTogether)?;
                Ok(Own {
                    parts: unfolded.parts,
                    weight,
                })
            });
            match fits {
                Ok(own) => {
                    schema.own = Some(own);
                    schemas.insert(text, schema);
                }
                Err(error) => {
                    unfit.insert(uri, error);
                }
            }
        }
        // A part of another that did not fit for all of them together takes the other one along.
        let is_there = |uri: &String| schemas.contains_key(uri) || published.get(uri).is_some();
        let broken: Vec<String> = schemas
            .values()
            .filter(|schema| !schema.parts().all(is_there))
            .map(|schema| schema.uri.clone())
            .collect();
        for uri in broken {
            schemas.remove(&uri);
            if let Ok(uri) = uri.parse() {
                unfit.insert(uri, Unfit::TooLargeTogether);
            }
        }
        let set = Self {
            schemas,
            registry: None,
            published: Some(Arc::clone(published)),
        };
        (set, unfit)
    }

    /// The schema with exactly this identifier.
    pub fn get(&self, uri: &str) -> Option<&Schema> {
        let published = self.published.as_ref().and_then(|set| set.get(uri));
        published.or_else(|| self.schemas.get(uri))
    }

    /// What a user's own schemas take in memory beside their texts once all of them are compiled, about.
    pub fn own_bytes(&self) -> usize {
        let own = self
            .schemas
            .values()
            .filter_map(|schema| schema.own.as_ref());
        own.map(|own| own.weight * BYTES_PER_WEIGHT).sum()
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
                .iter()
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
        if let (Some(published), None) = (&self.published, &schema.own) {
            return published.validator(uri);
        }
        let uncompilable = |reason: String| SchemaError::Uncompilable {
            uri: schema.uri.clone(),
            reason,
        };
        schema
            .validator
            .get_or_init(|| match &self.registry {
                Some(registry) => {
                    Validator::compile(&schema.document, registry).map_err(uncompilable)
                }
                None => self
                    .compile_own(schema)
                    .map_err(|unfit| uncompilable(unfit.to_string())),
            })
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Compiles a schema of the user's own, without keeping it: whether it is one at all.
    pub fn compile_own(&self, schema: &Schema) -> Result<Validator, Unfit> {
        let weight = schema.own.as_ref().map_or(0, |own| own.weight);
        let parts = schema.parts().filter_map(|uri| self.get(uri));
        let registry = Registry::new()
            .retriever(Nowhere)
            .draft(Draft::Draft202012)
            .extend(
                parts
                    .chain([schema])
                    .map(|schema| (schema.uri.clone(), schema.document.clone())),
            )
            .and_then(jsonschema::RegistryBuilder::prepare)
            // Every reference was followed when it was measured.
            .map_err(|_| Unfit::Reference)?;
        Validator::compile_own(&schema.document, &registry, weight).map_err(Unfit::Broken)
    }

    /// All schemas: the published ones, and a user's own after them, each ordered by identifier.
    pub fn iter(&self) -> impl Iterator<Item = &Schema> {
        let published = self.published.iter();
        published
            .flat_map(|published| published.schemas.values())
            .chain(self.schemas.values())
    }
}

/// One schema document and what it says about storage.
#[derive(Debug)]
pub struct Schema {
    uri: String,
    head: Head,
    document: Value,
    validator: OnceLock<Result<Validator, SchemaError>>,
    own: Option<Own>,
}

/// What is known of a schema of a user's own.
#[derive(Debug)]
struct Own {
    /// The others that it refers to, also through others.
    parts: BTreeSet<String>,
    /// How large it is with them written out.
    weight: usize,
}

impl Schema {
    /// A schema of a user's own; its name is `uri`.
    pub(super) fn of_own(uri: &str, document: Value) -> Result<Self, serde_json::Error> {
        Ok(Self {
            uri: uri.to_owned(),
            head: Head::deserialize(&document)?,
            document,
            validator: OnceLock::new(),
            own: Some(Own {
                parts: BTreeSet::new(),
                weight: 0,
            }),
        })
    }

    fn parts(&self) -> impl Iterator<Item = &String> {
        self.own.iter().flat_map(|own| &own.parts)
    }

    /// Whether it is a user's own, and no published one.
    pub fn is_own(&self) -> bool {
        self.own.is_some()
    }

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
            own: None,
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
