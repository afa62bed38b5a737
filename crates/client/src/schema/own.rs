//! Schemas of a user's own, read from bytes that nobody vouches for: what makes one fit to be used. Pure.
//!
//! Guarantees: a schema that is fit names itself, a database that may be shared, and nothing outside of the published schemas and
//! the same user's; it is unfolded to a limited size before anything is compiled, so that neither compiling it nor holding a record
//! to it takes longer than a limit says. Refuses to know: whose it is.

use adyton_protocol::database::DatabaseName;
use adyton_protocol::schema::SchemaUri;
use adyton_protocol::scope::GrantableDatabase;
use serde_json::Value;

use super::SchemaSet;
use super::set::Schema;
use super::violation::Violation;

/// Most schemas of one user.
pub const MAX_OWN_SCHEMAS: usize = 64;
/// Longest text of one, in bytes.
pub const MAX_OWN_BYTES: usize = 64 * 1024;
/// Longest title, in characters.
pub const MAX_TITLE: usize = 80;
/// The one dialect.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A schema of a user's own cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Unfit {
    /// It has the name of a published schema, or a name that only those may have.
    #[error(
        "the name is one of the published registries: a schema of your own has a host of your own"
    )]
    Published,
    /// Its name is not the plain form of an https URL.
    #[error(
        "the name must be an https URL in its plain form: lower-case host, no port, no user, nothing to normalise"
    )]
    Name,
    /// Longer than [`MAX_OWN_BYTES`].
    #[error("the schema is longer than {MAX_OWN_BYTES} bytes")]
    TooLong,
    /// More than [`MAX_OWN_SCHEMAS`].
    #[error("there are {MAX_OWN_SCHEMAS} schemas of your own already; delete one")]
    TooMany,
    /// Not a JSON object.
    #[error("the schema must be a JSON object")]
    NotAnObject,
    /// `$id` is another one.
    #[error("`$id` must be the URL under which the schema is put")]
    Id,
    /// Another dialect.
    #[error("`$schema` must be {DIALECT}, or left out")]
    Dialect,
    /// `title` or `titlePlural` is not a name.
    #[error(
        "`title` must be, and `titlePlural` may be, a text of one line, at most {MAX_TITLE} characters, without invisible ones"
    )]
    Title,
    /// `database` does not say where its records are.
    #[error(
        "`database.name` must be the name of a database, and `database.indexes` lists of fields by name"
    )]
    Database,
    /// `database.name` is one that no app may have.
    #[error("`database.name` is a database that is never shared")]
    NeverShared,
    /// A keyword that could point anywhere, or that has its record read again and again.
    #[error("the schema has `{0}`, which schemas of your own cannot have")]
    Keyword(&'static str),
    /// A reference to what is not there.
    #[error(
        "a `$ref` points to nothing: it must be a published schema or one of your own, with or without `#/` and a path; nothing is fetched"
    )]
    Reference,
    /// It contains itself.
    #[error("the schema contains itself by `$ref`: schemas of your own cannot be recursive")]
    Recursive,
    /// Deeper than 48 levels (`unfolded::MAX_DEPTH`).
    #[error(
        "the schema is nested more than {} levels deep, references included",
        super::unfolded::MAX_DEPTH
    )]
    TooDeep,
    /// Larger than 4,000 values when written out (`unfolded::MAX_WEIGHT`).
    #[error(
        "the schema is too large with everything it refers to written out: {} values, of which a pattern counts as {}",
        super::unfolded::MAX_WEIGHT,
        super::unfolded::PATTERN_WEIGHT
    )]
    TooLarge,
    /// All of them together are larger than 16,000 values (`unfolded::MAX_WEIGHT_OF_ALL`).
    #[error("your schemas are too large together; delete one")]
    TooLargeTogether,
    /// It is not a JSON Schema, or a pattern of it is too large.
    #[error("the schema is not a valid JSON Schema")]
    Broken(Box<Violation>),
}

impl Unfit {
    /// The rule of JSON Schema that it breaks, and where.
    pub fn violation(&self) -> Option<&Violation> {
        match self {
            Self::Broken(violation) => Some(violation),
            _ => None,
        }
    }
}

impl SchemaSet {
    /// Whether a user may have a schema of this name: it is plain, and no published registry could ever have it.
    pub fn own_name(&self, uri: &SchemaUri) -> Result<(), Unfit> {
        let text = uri.as_str();
        let plain = url::Url::parse(text).map_err(|_| Unfit::Name)?;
        let host = plain.host_str().unwrap_or_default();
        let is_plain = plain.as_str() == text
            && plain.scheme() == "https"
            && plain.port().is_none()
            && plain.username().is_empty()
            && plain.password().is_none()
            && !host.is_empty()
            && !host.ends_with('.')
            && !text.contains('%');
        if !is_plain {
            return Err(Unfit::Name);
        }
        let is_published = self.iter().filter(|schema| !schema.is_own()).any(|schema| {
            let published = url::Url::parse(schema.uri()).ok();
            published.and_then(|one| one.host_str().map(|one| one == host)) == Some(true)
        });
        match is_published || is_below(host, "verida.io") {
            true => Err(Unfit::Published),
            false => Ok(()),
        }
    }
}

/// The published registries may grow by hosts that this program does not know yet.
fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Reads one document: everything that can be said of it alone.
pub(super) fn read(uri: &SchemaUri, text: &str) -> Result<Schema, Unfit> {
    if text.len() > MAX_OWN_BYTES {
        return Err(Unfit::TooLong);
    }
    let document: Value = serde_json::from_str(text).map_err(|_| Unfit::NotAnObject)?;
    let members = document.as_object().ok_or(Unfit::NotAnObject)?;
    let text_of = |name: &str| members.get(name).map(|value| value.as_str());
    if text_of("$id") != Some(Some(uri.as_str())) {
        return Err(Unfit::Id);
    }
    match text_of("$schema") {
        None => {}
        Some(Some(DIALECT)) => {}
        Some(_) => return Err(Unfit::Dialect),
    }
    let is_title = |title: Option<Option<&str>>| title.flatten().is_some_and(is_name);
    if !is_title(text_of("title"))
        || (members.contains_key("titlePlural") && !is_title(text_of("titlePlural")))
    {
        return Err(Unfit::Title);
    }
    let schema = Schema::of_own(uri.as_str(), document).map_err(|_| Unfit::Database)?;
    let name = schema.database().filter(|name| !name.is_empty());
    let name = DatabaseName::new(name.ok_or(Unfit::Database)?).map_err(|_| Unfit::Database)?;
    GrantableDatabase::new(name).map_err(|_| Unfit::NeverShared)?;
    Ok(schema)
}

/// A name that shows on a page as what it is: no line ends, nothing invisible, nothing that turns the direction of text.
fn is_name(title: &str) -> bool {
    let invisible = |letter: char| {
        letter.is_control()
            || matches!(
                letter,
                '\u{ad}'
                    | '\u{61c}'
                    | '\u{115f}'
                    | '\u{1160}'
                    | '\u{3164}'
                    | '\u{feff}'
                    | '\u{fff9}'..='\u{fffb}'
            )
            || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
            || matches!(letter, '\u{e0000}'..='\u{e0fff}')
    };
    let length = title.chars().count();
    (1..=MAX_TITLE).contains(&length) && title == title.trim() && !title.chars().any(invisible)
}
