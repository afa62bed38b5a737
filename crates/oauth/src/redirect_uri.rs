//! Where an answer may be sent: a URI that the client published, and nothing that merely resembles one.

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::{Host, Url};

use crate::refused::Refused;

/// Longest URI, in bytes.
pub const MAX_REDIRECT_BYTES: usize = 2048;

/// Everything but RFC 3986's unreserved characters.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// A redirect URI as its client published it, or as a request named it and it was found among those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedirectUri {
    text: String,
    kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// A server's: the host is shown to the user.
    Web { host: String },
    /// A program on the user's machine (RFC 8252 section 7.3).
    Loopback { url: Url },
    /// A program that claimed a scheme of its own (RFC 8252 section 7.1).
    Private { scheme: String },
}

/// The text is no redirect URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRedirectUri {
    /// It is longer than [`MAX_REDIRECT_BYTES`].
    #[error("a redirect URI is too long")]
    TooLong,
    /// It is no absolute URI, or another reader would read it as another one.
    #[error("a redirect URI is not an absolute URI")]
    Syntax,
    /// Answers would end in a fragment.
    #[error("a redirect URI has a fragment")]
    Fragment,
    /// A name or a password before the host.
    #[error("a redirect URI has a user name or a password in it")]
    UserInfo,
    /// Plain HTTP over a network.
    #[error("a redirect URI is plain http to another machine")]
    PlainHttp,
    /// Neither https, nor this machine, nor a scheme with a dot.
    #[error(
        "a redirect URI has a scheme that is neither https nor a domain name written backwards"
    )]
    Scheme,
}

impl RedirectUri {
    /// Reads a URI that a client publishes.
    pub fn parse(text: &str) -> Result<Self, InvalidRedirectUri> {
        if text.len() > MAX_REDIRECT_BYTES {
            return Err(InvalidRedirectUri::TooLong);
        }
        // What URL parsers drop or repair in silence.
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&byte);
        if !text.bytes().all(plain) {
            return Err(InvalidRedirectUri::Syntax);
        }
        let url = Url::parse(text).map_err(|_| InvalidRedirectUri::Syntax)?;
        if text.contains('#') {
            return Err(InvalidRedirectUri::Fragment);
        }
        if !url.username().is_empty() || url.password().is_some() || authority(text).contains('@') {
            return Err(InvalidRedirectUri::UserInfo);
        }
        let kind = match (url.scheme(), url.host()) {
            ("https" | "http", _) if !text.contains("://") => {
                return Err(InvalidRedirectUri::Syntax);
            }
            // A wildcard is no host, though parsers take it for one.
            ("https", Some(host)) if host.to_string().contains('*') => {
                return Err(InvalidRedirectUri::Syntax);
            }
            ("https", Some(host)) => Kind::Web {
                host: host.to_string(),
            },
            ("http", Some(host)) if is_this_machine(&host) => Kind::Loopback { url },
            ("http", _) => return Err(InvalidRedirectUri::PlainHttp),
            (scheme, _) if scheme.contains('.') => Kind::Private {
                scheme: scheme.to_owned(),
            },
            _ => return Err(InvalidRedirectUri::Scheme),
        };
        Ok(Self {
            text: text.to_owned(),
            kind,
        })
    }

    /// The URI of a request, if it is one of those that were published: the very same text. Only the port of a program on the
    /// user's own machine is free, for it learns its port when it starts (RFC 8252 section 7.3).
    pub fn among(published: &[Self], asked: &str) -> Result<Self, Refused> {
        const NOT_PUBLISHED: Refused =
            Refused::request("redirect_uri is not one that the client published");
        if let Some(same) = published.iter().find(|one| one.text == asked) {
            return Ok(same.clone());
        }
        let asked = Self::parse(asked).map_err(|_| NOT_PUBLISHED)?;
        let same_but_port = |one: &Self| match (&one.kind, &asked.kind) {
            (Kind::Loopback { url: one }, Kind::Loopback { url: asked }) => {
                let mut moved = one.clone();
                moved.set_port(asked.port()).is_ok() && moved == *asked
            }
            _ => false,
        };
        match published.iter().any(same_but_port) {
            true => Ok(asked),
            false => Err(NOT_PUBLISHED),
        }
    }

    /// The text as published.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What a person is shown: the host, this device, or the scheme.
    pub fn shown(&self) -> &str {
        match &self.kind {
            Kind::Web { host } => host,
            Kind::Loopback { .. } => "this device",
            Kind::Private { scheme } => scheme,
        }
    }

    /// Whether it leads to a program on the user's own machine.
    pub fn is_loopback(&self) -> bool {
        matches!(self.kind, Kind::Loopback { .. })
    }

    /// The URL of an answer: the parameters after those that the URI already has.
    pub fn with<'p>(&self, answer: impl IntoIterator<Item = (&'p str, &'p str)>) -> String {
        let mut url = self.text.clone();
        for (name, value) in answer {
            let separator = match url.split_once('?') {
                None => "?",
                Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
                Some(_) => "&",
            };
            url.push_str(separator);
            url.push_str(name);
            url.push('=');
            url.extend(utf8_percent_encode(value, VALUE));
        }
        url
    }
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The part between `//` and the path: `url` forgets an empty user name.
fn authority(text: &str) -> &str {
    let after = text.split_once("://").map_or("", |(_, after)| after);
    after.split(['/', '?', '#']).next().unwrap_or_default()
}

/// Whether a host is the machine of whoever resolves it.
pub(crate) fn is_this_machine(host: &Host<&str>) -> bool {
    match host {
        Host::Ipv4(ip) => ip.is_loopback(),
        Host::Ipv6(ip) => ip.is_loopback(),
        Host::Domain(name) => *name == "localhost",
    }
}
