//! Indexes as definitions: kept in design documents of the language `query`, in the form that CouchDB gives them, so that
//! they replicate. A definition says by which fields documents lie, and so where each document does ([`Index::key_of`]).

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::query::{Direction, SortField, common_direction};
use super::{MAX_COLUMN_BYTES, MAX_DESIGN_BYTES, MAX_INDEX_FIELDS, MAX_INDEXES};
use crate::collate::write_key;
use crate::document::write_json_text;
use crate::lazy_json::LazyValue;
use crate::selector::{FieldPath, Selector, walk};
use crate::wire::{Bounded, CouchError, ErrorKind, Object, read_object};

/// The name of the index that every database has: documents by id.
pub const ALL_DOCS: &str = "_all_docs";
/// Hexadecimal digits of a name that nobody gave.
const MADE_NAME_DIGITS: usize = 40;

/// An index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The design document that defines it; none for [`ALL_DOCS`].
    pub design: Option<String>,
    /// Its name there.
    pub name: String,
    /// The fields, from the first that documents lie by.
    pub columns: Vec<FieldPath>,
    /// The direction that the definition names. Reading goes in either.
    pub direction: Direction,
    /// Which documents are in it; none for all that have the fields.
    pub filter: Option<Selector>,
}

/// How requests name an index: a design document, and perhaps one of its views.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexName {
    /// `_design/…`.
    pub design: String,
    /// The view.
    pub name: Option<String>,
}

/// The body of `POST /{db}/_index`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIndex {
    /// What is to be.
    pub index: Index,
    /// `_design/…`.
    pub design: String,
}

impl IndexName {
    /// A name with or without `_design/`.
    pub fn new(design: &str, name: Option<String>) -> Self {
        Self {
            design: full_design(design),
            name,
        }
    }

    /// Whether this names `index`.
    pub fn names(&self, index: &Index) -> bool {
        index.design.as_ref() == Some(&self.design)
            && self.name.as_ref().is_none_or(|name| *name == index.name)
    }
}

fn full_design(design: &str) -> String {
    if design.starts_with("_design/") {
        design.to_owned()
    } else {
        format!("_design/{design}")
    }
}

impl Index {
    /// Whether it is the one that every database has.
    pub fn is_all_docs(&self) -> bool {
        self.design.is_none()
    }

    /// The index that every database has.
    pub fn all_docs() -> Self {
        Self {
            design: None,
            name: ALL_DOCS.to_owned(),
            columns: FieldPath::parse("_id").into_iter().collect(),
            direction: Direction::Ascending,
            filter: None,
        }
    }

    /// `{"fields":[{"a":"asc"}]}`, and the filter if there is one.
    pub fn definition(&self) -> String {
        let fields: Vec<Value> = self
            .columns
            .iter()
            .map(|column| json!({column.to_string(): self.direction.word()}))
            .collect();
        let mut definition = json!({ "fields": fields });
        if let (Some(filter), Value::Object(members)) = (&self.filter, &mut definition)
            && let Ok(filter) = serde_json::from_str(filter.source())
        {
            members.insert("partial_filter_selector".to_owned(), filter);
        }
        definition.to_string()
    }

    /// What names the rows of the index: the same for indexes whose rows are the same.
    pub fn fingerprint(&self) -> [u8; 32] {
        let ascending = Self {
            direction: Direction::Ascending,
            ..self.clone()
        };
        Sha256::digest(ascending.definition()).into()
    }

    /// Where a document lies, if it is in the index: it has all fields, and passes the filter. `document` is its text, with
    /// `_id` and `_rev`. By id alone, the id says it all, and the key is empty.
    ///
    /// A key is the values' [`crate::collate::Key`]s, one after another, of each the first [`MAX_COLUMN_BYTES`]. None is the
    /// beginning of another value's that is not equal so far, so that keys compare as the values do, one by one.
    pub fn key_of(&self, document: &[u8]) -> Option<Vec<u8>> {
        if let Some(filter) = &self.filter
            && !filter.takes(document)
        {
            return None;
        }
        let mut key = Vec::new();
        if !self.is_all_docs() {
            let document = LazyValue::first_of(document)?;
            for column in &self.columns {
                let value = walk(document, column.steps())?;
                write_key(value, MAX_COLUMN_BYTES, &mut key);
            }
        }
        Some(key)
    }

    /// How `_index` and `_explain` tell of it.
    pub fn to_json(&self) -> Value {
        let definition: Value = serde_json::from_str(&self.definition()).unwrap_or_default();
        if self.is_all_docs() {
            return json!({"ddoc": null, "name": self.name, "type": "special", "def": definition});
        }
        json!({
            "ddoc": self.design, "name": self.name, "type": "json", "partitioned": false,
            "def": definition,
        })
    }

    /// The indexes that a design document defines. A document that defines none, or not in a way we read, has none.
    pub fn in_design(design: &str, text: &[u8]) -> Vec<Self> {
        match Design::parse(text) {
            None => Vec::new(),
            Some(read) => read.indexes(design).take(MAX_INDEXES).collect(),
        }
    }

    /// The view that keeps this index, as CouchDB writes it.
    fn view(&self) -> String {
        let mut fields = Vec::new();
        let mut names = Vec::new();
        for (i, column) in self.columns.iter().enumerate() {
            if i > 0 {
                fields.push(b',');
                names.push(b',');
            }
            let name = column.to_string();
            write_json_text(&name, &mut fields);
            fields.extend_from_slice(format!(":\"{}\"", self.direction.word()).as_bytes());
            let word = self.direction.word();
            names.extend_from_slice(json!({ name: word }).to_string().as_bytes());
        }
        let filter = self.filter.as_ref().map_or("{}", |filter| filter.source());
        format!(
            "{{\"map\":{{\"fields\":{{{}}},\"partial_filter_selector\":{filter}}},\"reduce\":\"_count\",\"options\":{{\"def\":{{\"fields\":[{}]}}}}}}",
            String::from_utf8_lossy(&fields),
            String::from_utf8_lossy(&names),
        )
    }
}

impl NewIndex {
    /// Reads the body of the request.
    pub fn parse(body: &[u8]) -> Result<Self, CouchError> {
        #[derive(Deserialize)]
        struct Body<'a> {
            #[serde(borrow)]
            index: Option<Object<Definition<'a>>>,
            #[serde(default)]
            ddoc: Option<String>,
            #[serde(default)]
            name: Option<String>,
            #[serde(default, rename = "type")]
            kind: Option<String>,
        }
        #[derive(Deserialize)]
        struct Definition<'a> {
            fields: Bounded<SortField, MAX_INDEX_FIELDS>,
            #[serde(default, borrow)]
            partial_filter_selector: Option<&'a RawValue>,
        }
        let body: Body<'_> = read_object(body).map_err(|error| match error.is_data() {
            true => CouchError::bad_request("A member of the request has the wrong shape."),
            false => CouchError::bad_request("invalid UTF-8 JSON"),
        })?;
        if body.kind.is_some_and(|kind| kind != "json") {
            return Err(CouchError::bad_request("Supported index types: json"));
        }
        let Object(definition) = body.index.ok_or(CouchError::new(
            ErrorKind::MissingRequiredKey,
            "Missing required key: index",
        ))?;
        let fields: Vec<(String, Direction)> = definition
            .fields
            .0
            .into_iter()
            .map(SortField::read)
            .collect::<Result<_, _>>()?;
        if fields.is_empty() {
            return Err(CouchError::bad_request(
                "An index needs at least one field.",
            ));
        }
        let filter = match definition.partial_filter_selector.map(RawValue::get) {
            None | Some("{}") => None,
            Some(text) => Some(Selector::parse_as_couchdb(text)?),
        };
        let mut index = Index {
            design: None,
            name: String::new(),
            columns: fields
                .iter()
                .map(|(name, _)| FieldPath::parse(name))
                .collect::<Result<_, _>>()?,
            direction: common_direction(&fields)?,
            filter,
        };
        let made: String = hex::encode(Sha256::digest(index.definition()))
            .chars()
            .take(MADE_NAME_DIGITS)
            .collect();
        let given = |name: Option<String>| name.filter(|name| !name.is_empty());
        let design = full_design(given(body.ddoc).as_deref().unwrap_or(&made));
        index.name = given(body.name).unwrap_or(made);
        index.design = Some(design.clone());
        Ok(Self { index, design })
    }
}

/// The text of the design document with this index added to what it was (nothing, when it was not there), without `_id` and
/// `_rev`. None when it has the index already.
pub fn with_view(existing: Option<&[u8]>, index: &Index) -> Result<Option<Vec<u8>>, CouchError> {
    let mut design = match existing {
        None => Design::default(),
        Some(text) => Design::parse(text).ok_or(CouchError::bad_request(
            "The design document is not one of queries, or too large.",
        ))?,
    };
    let name = index.design.as_deref().unwrap_or_default();
    if design.indexes(name).any(|other| other == *index) {
        return Ok(None);
    }
    design.views.0.retain(|(name, _)| *name != index.name);
    if design.views.0.len() >= MAX_INDEXES {
        let reason = "The design document has as many indexes as it may.";
        return Err(CouchError::new(ErrorKind::TooLarge, reason));
    }
    let view = RawValue::from_string(index.view())
        .map_err(|_| CouchError::bad_request("The index cannot be written down."))?;
    design.views.0.push((index.name.clone(), view));
    Ok(Some(design.text()))
}

/// What is left of a design document without the view of this name.
pub enum Remainder {
    /// It has no such view.
    Unchanged,
    /// Other views, as text without `_id` and `_rev`.
    Text(Vec<u8>),
    /// Nothing.
    Nothing,
}

/// Takes an index out of its design document.
pub fn without_view(existing: &[u8], name: &str) -> Remainder {
    let Some(mut design) = Design::parse(existing) else {
        return Remainder::Unchanged;
    };
    let before = design.views.0.len();
    design.views.0.retain(|(other, _)| other != name);
    if design.views.0.len() == before {
        Remainder::Unchanged
    } else if design.views.0.is_empty() {
        Remainder::Nothing
    } else {
        Remainder::Text(design.text())
    }
}

/// A design document of the language `query`.
struct Design {
    /// Every member but the views, `_id` and `_rev`: what is not ours stays as it is.
    others: Ordered<Box<RawValue>>,
    views: Ordered<Box<RawValue>>,
}

impl Default for Design {
    fn default() -> Self {
        let language = RawValue::from_string("\"query\"".to_owned()).ok();
        let member = language.map(|language| ("language".to_owned(), language));
        Self {
            others: Ordered(member.into_iter().collect()),
            views: Ordered(Vec::new()),
        }
    }
}

impl Design {
    fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > MAX_DESIGN_BYTES {
            return None;
        }
        let mut others: Ordered<Box<RawValue>> = serde_json::from_slice(text).ok()?;
        let member = |name: &str| {
            let mut found = others.0.iter().filter(|(other, _)| other == name);
            found.next().map(|(_, value)| value.get())
        };
        let language: String = serde_json::from_str(member("language")?).ok()?;
        if language != "query" {
            return None;
        }
        let views = match member("views") {
            None => Ordered(Vec::new()),
            Some(views) => serde_json::from_str(views).ok()?,
        };
        others
            .0
            .retain(|(name, _)| !matches!(name.as_str(), "views" | "_id" | "_rev"));
        Some(Self { others, views })
    }

    fn indexes<'d>(&'d self, design: &'d str) -> impl Iterator<Item = Index> + 'd {
        self.views
            .0
            .iter()
            .filter_map(move |(name, view)| read_view(design, name.clone(), view.get()))
    }

    fn text(&self) -> Vec<u8> {
        let mut out = b"{".to_vec();
        for (name, value) in &self.others.0 {
            write_json_text(name, &mut out);
            out.extend_from_slice(format!(":{value},").as_bytes());
        }
        out.extend_from_slice(b"\"views\":{");
        for (i, (name, view)) in self.views.0.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            write_json_text(name, &mut out);
            out.extend_from_slice(format!(":{view}").as_bytes());
        }
        out.extend_from_slice(b"}}");
        out
    }
}

fn read_view(design: &str, name: String, text: &str) -> Option<Index> {
    #[derive(Deserialize)]
    struct View<'a> {
        #[serde(borrow)]
        map: Object<Map<'a>>,
        #[serde(default)]
        options: Option<Object<Options>>,
    }
    #[derive(Deserialize)]
    struct Map<'a> {
        fields: Ordered<String>,
        #[serde(default, borrow)]
        partial_filter_selector: Option<&'a RawValue>,
    }
    #[derive(Deserialize)]
    struct Options {
        def: Option<Object<Given>>,
    }
    #[derive(Deserialize)]
    struct Given {
        fields: Option<Bounded<SortField, MAX_INDEX_FIELDS>>,
    }
    let view: View<'_> = read_object(text.as_bytes()).ok()?;
    let Object(map) = view.map;
    // The list says the order for certain; a map that went through other hands may have lost it.
    let listed = view
        .options
        .and_then(|Object(options)| options.def)
        .and_then(|Object(def)| def.fields);
    let mapped = |name: &str| match map.fields.0.iter().find(|(other, _)| other == name) {
        Some((_, word)) if word == "desc" => Direction::Descending,
        Some(_) | None => Direction::Ascending,
    };
    let fields: Vec<(String, Direction)> = match listed {
        Some(listed) => listed
            .0
            .into_iter()
            .map(|field| {
                let (name, _) = field.read()?;
                let direction = mapped(&name);
                Ok((name, direction))
            })
            .collect::<Result<_, CouchError>>()
            .ok()?,
        None => map
            .fields
            .0
            .iter()
            .map(|(name, _)| (name.clone(), mapped(name)))
            .collect(),
    };
    let filter = match map.partial_filter_selector.map(RawValue::get) {
        None | Some("{}") => None,
        Some(text) => Some(Selector::parse_as_couchdb(text).ok()?),
    };
    let columns: Vec<FieldPath> = fields
        .iter()
        .map(|(name, _)| FieldPath::parse(name))
        .collect::<Result<_, _>>()
        .ok()?;
    if columns.is_empty() || columns.len() > MAX_INDEX_FIELDS {
        return None;
    }
    Some(Index {
        design: Some(design.to_owned()),
        name,
        columns,
        direction: common_direction(&fields).ok()?,
        filter,
    })
}

/// The members of an object, in the order in which they are written.
struct Ordered<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Ordered<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Ordered<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered<T>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Ordered(members))
            }
        }
        deserializer.deserialize_map(Reader(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(body: &str) -> NewIndex {
        NewIndex::parse(body.as_bytes()).unwrap()
    }

    #[test]
    fn a_defined_index_is_found_again_in_its_design_document() {
        let made = new(
            r#"{"index":{"fields":["b",{"a.c":"asc"}],"partial_filter_selector":{"x":{"$gt":1}}},"ddoc":"d","name":"n"}"#,
        );
        assert_eq!(
            (made.design.as_str(), made.index.name.as_str()),
            ("_design/d", "n")
        );
        let text = with_view(None, &made.index).unwrap().unwrap();
        assert_eq!(Index::in_design("_design/d", &text)[0], made.index);
        // The same once more changes nothing; another is added beside it; the name may be defined anew.
        assert_eq!(with_view(Some(&text), &made.index).unwrap(), None);
        let other = new(r#"{"index":{"fields":[{"z":"desc"}]},"ddoc":"_design/d","name":"o"}"#);
        let both = with_view(Some(&text), &other.index).unwrap().unwrap();
        assert_eq!(
            Index::in_design("_design/d", &both),
            [made.index, other.index]
        );
        let again = new(r#"{"index":{"fields":["q"]},"ddoc":"d","name":"n"}"#);
        let replaced = with_view(Some(&text), &again.index).unwrap().unwrap();
        assert_eq!(Index::in_design("_design/d", &replaced), [again.index]);
        assert!(matches!(without_view(&both, "x"), Remainder::Unchanged));
        assert!(matches!(without_view(&text, "n"), Remainder::Nothing));
        let Remainder::Text(left) = without_view(&both, "n") else {
            panic!("one index is left")
        };
        assert_eq!(Index::in_design("_design/d", &left)[0].name, "o");
    }

    #[test]
    fn what_else_a_design_document_holds_stays() {
        let text = br#"{"_id":"_design/d","_rev":"1-967a00dff5e02add41819138abb3284d","language":"query","n":1.0,"views":{}}"#;
        let made = new(r#"{"index":{"fields":["a"]},"ddoc":"d","name":"n"}"#);
        let text = with_view(Some(text), &made.index).unwrap().unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(
            text.starts_with(r#"{"language":"query","n":1.0,"views":{"n":{"map":"#),
            "{text}"
        );
    }

    #[test]
    fn names_that_nobody_gave_follow_from_the_definition() {
        let one = new(r#"{"index":{"fields":["a"]}}"#);
        let same = new(r#"{"index":{"fields":[{"a":"asc"}]},"type":"json"}"#);
        let other = new(r#"{"index":{"fields":["b"]}}"#);
        assert_eq!(one, same);
        assert_ne!(one.design, other.design);
        assert_eq!(one.design, format!("_design/{}", one.index.name));
        assert_eq!(one.index.name.len(), MADE_NAME_DIGITS);
    }

    #[test]
    fn an_index_that_couchdb_wrote_is_read_in_its_order() {
        let text = br#"{"_id":"_design/x","_rev":"1-967a00dff5e02add41819138abb3284d","language":"query",
            "views":{"by":{"map":{"fields":{"b":"asc","a":"asc"},"partial_filter_selector":{}},"reduce":"_count",
            "options":{"def":{"fields":["b","a"]}}}}}"#;
        let read = Index::in_design("_design/x", text);
        assert_eq!(
            read[0].definition(),
            r#"{"fields":[{"b":"asc"},{"a":"asc"}]}"#
        );
        for none in [
            &br#"{"language":"javascript","views":{"a":{"map":"function(){}"}}}"#[..],
            br#"{"payload":"AAAA"}"#,
            br#"{"language":"query","views":{"a":{"map":{"fields":{}}}}}"#,
            br#"{"language":"query","views":{"a":{"map":{"fields":{"a":"asc"},"partial_filter_selector":{"$x":1}}}}}"#,
            b"[]",
        ] {
            assert_eq!(Index::in_design("_design/x", none), []);
        }
    }

    #[test]
    fn what_is_no_definition_is_refused() {
        for body in [
            "",
            "{}",
            r#"{"index":{}}"#,
            r#"{"index":{"fields":[]}}"#,
            r#"{"index":{"fields":[1]}}"#,
            r#"{"index":{"fields":["a",{"b":"desc"}]}}"#,
            r#"{"index":{"fields":["a"]},"type":"text"}"#,
            r#"{"index":{"fields":["a"],"partial_filter_selector":1}}"#,
        ] {
            assert!(NewIndex::parse(body.as_bytes()).is_err(), "{body}");
        }
        let many = vec!["\"a\""; MAX_INDEX_FIELDS + 1].join(",");
        let body = format!("{{\"index\":{{\"fields\":[{many}]}}}}");
        assert!(NewIndex::parse(body.as_bytes()).is_err());
    }
}
