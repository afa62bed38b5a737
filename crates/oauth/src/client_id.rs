//! Who asks: `client_id` as a URL of a metadata document, as a DID, or (for development) as a page on this machine.

use std::fmt;

use adyton_protocol::did::Did;
use url::{Host, Url};

use crate::redirect_uri::is_this_machine;

/// Longest client id, in bytes.
pub const MAX_CLIENT_ID_BYTES: usize = 512;

/// The identity of an app.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClientId {
    /// A metadata document that is fetched over HTTPS; the name of its host is what is known of the app.
    Document(DocumentUrl),
    /// A DID, whose key signs the request.
    Did(Did),
    /// A document on the machine of whoever runs the node: for development, behind a setting. Nothing is known of the app.
    Local(DocumentUrl),
}

/// The URL of a metadata document, spelled as URL parsers spell it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DocumentUrl {
    text: String,
    host: String,
}

/// The text is no client id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidClientId {
    /// It is longer than [`MAX_CLIENT_ID_BYTES`].
    #[error("client_id is too long")]
    TooLong,
    /// Neither a DID nor an https URL.
    #[error("client_id must be the https URL of a metadata document, or a DID")]
    Kind,
    /// Two readers could read two URLs.
    #[error(
        "client_id must be spelled as URL parsers spell it: no dots in place of folders, no default port, lower-case host"
    )]
    Spelling,
    /// It has no path.
    #[error("client_id must have a path")]
    NoPath,
    /// Query, fragment, name or password.
    #[error("client_id must have neither query, fragment, user name nor password")]
    TooMuch,
    /// An address, a name without a dot, or a name that is not public.
    #[error("client_id must have a public host name")]
    Host,
}

/// Endings of names that the public DNS does not have, or that lead to the asker's own network.
const NOT_PUBLIC: [&str; 10] = [
    ".localhost",
    ".local",
    ".internal",
    ".intranet",
    ".lan",
    ".home",
    ".arpa",
    ".onion",
    ".invalid",
    ".test",
];

impl ClientId {
    /// Reads a client id.
    pub fn parse(text: &str) -> Result<Self, InvalidClientId> {
        if text.len() > MAX_CLIENT_ID_BYTES {
            return Err(InvalidClientId::TooLong);
        }
        if text.starts_with("did:") {
            return text
                .parse()
                .map(Self::Did)
                .map_err(|_| InvalidClientId::Kind);
        }
        let url = Url::parse(text).map_err(|_| InvalidClientId::Kind)?;
        let host = url.host().ok_or(InvalidClientId::Kind)?;
        let local = is_this_machine(&host);
        match url.scheme() {
            "https" => {}
            "http" if local => {}
            _ => return Err(InvalidClientId::Kind),
        }
        let more = url.query().is_some() || url.fragment().is_some();
        if more || !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidClientId::TooMuch);
        }
        if url.as_str() != text {
            return Err(InvalidClientId::Spelling);
        }
        if url.path() == "/" || url.path().contains("//") {
            return Err(InvalidClientId::NoPath);
        }
        // A server may unescape what a parser leaves alone.
        if url.path().to_ascii_lowercase().contains("%2") {
            return Err(InvalidClientId::Spelling);
        }
        let found = DocumentUrl {
            text: text.to_owned(),
            host: host.to_string(),
        };
        match host {
            _ if local => Ok(Self::Local(found)),
            Host::Domain(name) if is_public_name(name) => Ok(Self::Document(found)),
            Host::Domain(_) | Host::Ipv4(_) | Host::Ipv6(_) => Err(InvalidClientId::Host),
        }
    }

    /// The text, as it was sent.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Document(url) | Self::Local(url) => &url.text,
            Self::Did(did) => did.as_given(),
        }
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl DocumentUrl {
    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its host, in the form that the DNS sees (punycode): what a person is shown.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path, without the slash it begins with.
    pub fn path(&self) -> &str {
        let after = self.text.split_once("://").map_or("", |(_, after)| after);
        after.split_once('/').map_or("", |(_, path)| path)
    }
}

fn is_public_name(name: &str) -> bool {
    let bare = name.strip_suffix('.').unwrap_or(name);
    bare == name && bare.contains('.') && !NOT_PUBLIC.iter().any(|end| bare.ends_with(end))
}
