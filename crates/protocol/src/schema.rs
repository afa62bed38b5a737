//! Names of schemas: the URL that types a datastore's records (`spec/protocol.md` §15).

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::database::DatabaseName;
use crate::did::Network;

/// The `$id` of a schema: an https URL without query or fragment.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SchemaUri(String);

/// The text does not name a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a schema: expected an https URL that ends in .json, its base64, or a shortcut such as social-email"
)]
pub struct InvalidSchemaUri;

/// The nine shortcuts that the original API knows, and the path of each schema.
const SHORTCUTS: [(&str, &str); 9] = [
    ("social-following", "social/following"),
    ("social-post", "social/post"),
    ("social-email", "social/email"),
    ("favourite", "favourite"),
    ("file", "file"),
    ("social-chat-group", "social/chat/group"),
    ("social-chat-message", "social/chat/message"),
    ("social-calendar", "social/calendar"),
    ("social-event", "social/event"),
];

impl SchemaUri {
    /// Longest accepted URL, in bytes.
    pub const MAX_LENGTH: usize = 512;

    /// The schema behind a shortcut such as `social-email`.
    pub fn of_shortcut(shortcut: &str) -> Option<Self> {
        SHORTCUTS
            .iter()
            .find(|(name, _)| *name == shortcut)
            .map(|(_, path)| {
                Self(format!(
                    "https://common.schemas.verida.io/{path}/v0.1.0/schema.json"
                ))
            })
    }

    /// All shortcuts, in the order of the original API.
    pub fn shortcuts() -> impl Iterator<Item = (&'static str, Self)> {
        SHORTCUTS
            .iter()
            .filter_map(|(name, _)| Some((*name, Self::of_shortcut(name)?)))
    }

    /// Reads any form that clients send: a URL, a shortcut, or base64 of either (standard or
    /// url-safe alphabet, padding optional).
    pub fn parse_lenient(text: &str) -> Result<Self, InvalidSchemaUri> {
        if text.len() > 2 * Self::MAX_LENGTH {
            return Err(InvalidSchemaUri);
        }
        if let Some(uri) = Self::of_shortcut(text) {
            return Ok(uri);
        }
        if let Ok(uri) = text.parse() {
            return Ok(uri);
        }
        // Both alphabets at once, as the original's decoder takes them.
        let bare = text
            .trim_end_matches('=')
            .replace('+', "-")
            .replace('/', "_");
        let bytes = URL_SAFE_NO_PAD.decode(bare).map_err(|_| InvalidSchemaUri)?;
        let decoded = std::str::from_utf8(&bytes).map_err(|_| InvalidSchemaUri)?;
        Self::of_shortcut(decoded).map_or_else(|| decoded.parse(), Ok)
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL in base64url without padding: how a path names a schema.
    pub fn to_base64(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.0)
    }
}

impl FromStr for SchemaUri {
    type Err = InvalidSchemaUri;

    fn from_str(text: &str) -> Result<Self, InvalidSchemaUri> {
        let plain = text.starts_with("https://")
            && text.ends_with(".json")
            && text.len() <= Self::MAX_LENGTH
            && !text
                .contains(|c: char| c == '?' || c == '#' || c.is_whitespace() || c.is_control());
        if plain {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidSchemaUri)
        }
    }
}

impl fmt::Display for SchemaUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Tells which database holds the records of a schema. A schema that it does not know does not exist:
/// nothing is ever fetched because somebody named a URL.
pub trait SchemaDirectory {
    /// The database of this schema's records.
    fn database_of(&self, schema: &SchemaUri) -> Option<DatabaseName>;

    /// Whether a user may have a schema of this name that is not known here: then who asks for it is not told that it does not
    /// exist before the user is known.
    fn may_be_own(&self, _: &SchemaUri) -> bool {
        false
    }
}

/// Resolves a schema path as the original client does, quirks included (a leading `/` is doubled, a
/// URL is taken as it is).
pub fn resolve_path(network: Network, path: &str) -> String {
    let mut resolved = path.to_owned();
    if !path.contains("http") {
        resolved.insert(0, '/');
        if !resolved.ends_with(".json") {
            resolved.push_str("/schema.json");
        }
        resolved = resolved.replacen('/', "https://schemas.verida.io/", 1);
    }
    match network {
        Network::Myrtle => resolved,
        Network::Banksia | Network::Devnet | Network::Local => resolved
            .strip_prefix("https://schemas.verida.io/")
            .map(|rest| format!("https://schemas.testnet.verida.io/{rest}"))
            .unwrap_or(resolved),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_schema_names_the_same_schema() {
        let url = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";
        let uri: SchemaUri = url.parse().unwrap();
        let padded = base64::engine::general_purpose::STANDARD.encode(url);
        for form in [url, "social-email", &uri.to_base64(), &padded] {
            assert_eq!(SchemaUri::parse_lenient(form).unwrap(), uri, "{form}");
        }
    }

    #[test]
    fn urls_that_could_name_something_else_are_refused() {
        for text in [
            "http://x/schema.json",
            "https://x/schema.json?a",
            "https://x/schema.json#a.json",
            "file:///etc/passwd.json",
            "social-nothing",
            "",
            "https://x/ y.json",
        ] {
            assert!(SchemaUri::parse_lenient(text).is_err(), "{text}");
        }
    }
}
