//! `[tls.acme]`: what the operator says of the authority, and for what it is asked.

use std::path::{Path, PathBuf};

use adyton_egress::Reach;
use adyton_resolver::web::plain_url;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustls::RootCertStore;
use serde::Deserialize;
use url::{Host, Url};
use zeroize::Zeroizing;

use super::{AcmeConfig, ExternalAccount, MAX_NAMES};
use crate::config::{ConfigError, unread};
use crate::tls::{TlsError, chain, read_file};

/// Characters of a name (RFC 1035, §2.3.4, without the last dot).
const MAX_NAME: usize = 253;
/// Bytes of the key of an external account, at least.
const MIN_KEY_BYTES: usize = 16;

/// `[tls.acme]`. See [`AcmeConfig`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AcmeTable {
    /// See [`AcmeConfig::names`].
    pub names: Vec<String>,
    /// Must be true: the operator has read the authority's terms, and agrees.
    #[serde(default)]
    pub terms_agreed: bool,
    /// See [`AcmeConfig::contact`].
    pub email: Option<String>,
    /// See [`AcmeConfig::directory`]. Default: Let's Encrypt's.
    pub directory: Option<String>,
    /// A file with the certificates, PEM, against which the authority's own server is verified. Default: the roots of the WebPKI.
    pub ca: Option<PathBuf>,
    /// See [`AcmeConfig::allow_private`].
    #[serde(default)]
    pub allow_private: bool,
    /// The authority's name for the operator's account.
    pub account_key_id: Option<String>,
    /// A file with its key, in base64url.
    pub account_key_file: Option<PathBuf>,
}

fn wrong<T>(name: &'static str, why: &'static str) -> Result<T, ConfigError> {
    Err(ConfigError::Invalid(name, why))
}

impl AcmeTable {
    pub(crate) fn read(self, public_url: Option<&str>) -> Result<AcmeConfig, ConfigError> {
        let names = names(&self.names)?;
        if !self.terms_agreed {
            let why = "must be true: read the terms of service of the authority first";
            return wrong("tls.acme.terms-agreed", why);
        }
        let outside = public_url.map(|text| (text, host_of(text)));
        if let Some((text, host)) = outside
            && !(text.starts_with("https:") && host.is_some_and(|host| names.contains(&host)))
        {
            return wrong("public-url", "expected https and one of `tls.acme.names`");
        }
        let directory = self
            .directory
            .map(|text| directory(&text, self.allow_private));
        let external_account = match (self.account_key_id, self.account_key_file) {
            (None, None) => None,
            (Some(id), Some(file)) => Some(external_account(id, &file)?),
            (Some(_), None) => return Err(ConfigError::Missing("tls.acme.account-key-file")),
            (None, Some(_)) => return Err(ConfigError::Missing("tls.acme.account-key-id")),
        };
        let config = AcmeConfig::new(names, directory.transpose()?);
        Ok(AcmeConfig {
            contact: self.email.map(|text| contact(&text)).transpose()?,
            roots: self.ca.map(|path| roots(&path)).transpose()?,
            allow_private: self.allow_private,
            external_account,
            ..config.ok_or(ConfigError::Missing("tls.acme.directory"))?
        })
    }
}

/// Names of hosts as certificates have them: what is international is written in ASCII.
fn names(texts: &[String]) -> Result<Vec<String>, ConfigError> {
    const NAME: &str = "tls.acme.names";
    if !(1..=MAX_NAMES).contains(&texts.len()) {
        return wrong(NAME, "expected one name to a hundred");
    }
    let mut names = Vec::new();
    for text in texts {
        let name = match Host::parse(text) {
            Ok(Host::Domain(name)) if is_name(&name) => name,
            _ => {
                let why = "expected names of hosts, without wildcards, addresses and last dots";
                return wrong(NAME, why);
            }
        };
        if names.contains(&name) {
            return wrong(NAME, "one of them stands there twice");
        }
        names.push(name);
    }
    Ok(names)
}

fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let ends = label.starts_with('-') || label.ends_with('-');
        (1..=63).contains(&label.len()) && label.bytes().all(plain) && !ends
    };
    name.len() <= MAX_NAME && name.split('.').all(is_label)
}

fn host_of(text: &str) -> Option<String> {
    Some(Url::parse(text).ok()?.host_str()?.to_owned())
}

fn directory(text: &str, allow_private: bool) -> Result<Url, ConfigError> {
    let url = plain_url(text).filter(|url| url.scheme() == "https");
    let Some(url) = url else {
        return wrong("tls.acme.directory", "expected an https URL");
    };
    if !allow_private && Reach::Public.check(&url).is_err() {
        let why = "on this machine or in a private network, which `allow-private = true` allows";
        return wrong("tls.acme.directory", why);
    }
    Ok(url)
}

/// One address, and nothing that a mail program would do with it (RFC 8555, §7.3).
fn contact(text: &str) -> Result<String, ConfigError> {
    let strange = |c: char| !c.is_ascii_graphic() || ",?&%<>:;\"\\".contains(c);
    match text.split_once('@') {
        Some((name, host)) if !name.is_empty() && !host.is_empty() && !text.contains(strange) => {
            Ok(format!("mailto:{text}"))
        }
        _ => wrong("tls.acme.email", "expected one address"),
    }
}

fn roots(path: &Path) -> Result<RootCertStore, ConfigError> {
    const NAME: &str = "tls.acme.ca";
    let chain = read_file(path, "certificate").and_then(|pem| chain(&pem));
    let mut roots = RootCertStore::empty();
    match chain {
        Ok(chain) => {
            for one in chain {
                let added = roots.add(one);
                if added.is_err() {
                    return wrong(NAME, "one of the certificates cannot be used");
                }
            }
            Ok(roots)
        }
        Err(TlsError::Read(_, error)) => Err(unread(NAME, path)(error)),
        Err(_) => wrong(NAME, "expected certificates in PEM, ten at most"),
    }
}

/// Nothing of the key is told, whatever is wrong with it.
fn external_account(id: String, file: &Path) -> Result<ExternalAccount, ConfigError> {
    const NAME: &str = "tls.acme.account-key-file";
    let text = match read_file(file, "key of the external account") {
        Ok(text) => text,
        Err(TlsError::Read(_, error)) => return Err(unread(NAME, file)(error)),
        Err(_) => return wrong(NAME, "too large"),
    };
    let unpadded = text.trim_ascii();
    let unpadded = unpadded
        .split(|byte| *byte == b'=')
        .next()
        .unwrap_or_default();
    let key = BASE64_URL_SAFE_NO_PAD.decode(unpadded).map(Zeroizing::new);
    match key {
        Ok(key) if key.len() >= MIN_KEY_BYTES => Ok(ExternalAccount { id, key }),
        _ => wrong(NAME, "expected a key of 16 bytes or more, in base64url"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &str) -> Result<AcmeConfig, ConfigError> {
        read_at(lines, None)
    }

    fn read_at(lines: &str, public_url: Option<&str>) -> Result<AcmeConfig, ConfigError> {
        toml::from_str::<AcmeTable>(lines)?.read(public_url)
    }

    const LEAST: &str = "names = [\"node.example\"]\nterms-agreed = true\n";

    #[test]
    fn two_lines_are_enough_and_more_can_be_said() {
        let config = read(LEAST).unwrap();
        assert_eq!(config.names, ["node.example"]);
        assert_eq!(config.directory.as_str(), DEFAULT);
        assert!(config.contact.is_none() && config.roots.is_none());
        assert!(config.external_account.is_none() && !config.allow_private);
        let all = tempfile::tempdir().unwrap();
        let (ca, key) = (all.path().join("ca.pem"), all.path().join("key"));
        let made = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap();
        std::fs::write(&ca, made.cert.pem().repeat(2)).unwrap();
        std::fs::write(
            &key,
            format!("{}==\n", BASE64_URL_SAFE_NO_PAD.encode([7; 32])),
        )
        .unwrap();
        let lines = format!(
            "names = [\"Node.Example\", \"münchen.example\"]\nterms-agreed = true\nemail = \"ops@node.example\"\n\
             directory = \"https://10.0.0.1:9000/acme\"\nallow-private = true\nca = {ca:?}\n\
             account-key-id = \"kid\"\naccount-key-file = {key:?}\n"
        );
        let config = read(&lines).unwrap();
        assert_eq!(config.names, ["node.example", "xn--mnchen-3ya.example"]);
        assert_eq!(config.contact.as_deref(), Some("mailto:ops@node.example"));
        assert_eq!(config.roots.as_ref().unwrap().len(), 2);
        let account = config.external_account.as_ref().unwrap();
        assert_eq!(
            (account.id.as_str(), &account.key[..]),
            ("kid", &[7; 32][..])
        );
        assert!(!format!("{config:?}").contains("7, 7"));
        for wrong in ["", "short", "not in base64!!!!!!!!!!!!!!!!!!!"] {
            std::fs::write(&key, wrong).unwrap();
            let told = read(&lines).unwrap_err().to_string();
            assert!(wrong.is_empty() || !told.contains(wrong), "{told}");
        }
        std::fs::write(&ca, "nothing").unwrap();
        assert!(read(&lines).is_err());
    }

    const DEFAULT: &str = super::super::DEFAULT_DIRECTORY;

    #[test]
    fn what_cannot_be_asked_for_is_refused_with_a_reason() {
        for wrong in [
            "terms-agreed = true",
            "names = []\nterms-agreed = true",
            "names = [\"node.example\"]",
            "names = [\"node.example\"]\nterms-agreed = false",
            "names = [\"*.node.example\"]\nterms-agreed = true",
            "names = [\"node.example.\"]\nterms-agreed = true",
            "names = [\"node_1.example\"]\nterms-agreed = true",
            "names = [\"-node.example\"]\nterms-agreed = true",
            "names = [\"10.0.0.1\"]\nterms-agreed = true",
            "names = [\"[::1]\"]\nterms-agreed = true",
            "names = [\"node.example:443\"]\nterms-agreed = true",
            "names = [\"node.example\", \"NODE.example\"]\nterms-agreed = true",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        for line in [
            "terms = true",
            "email = \"nobody\"",
            "email = \"a@b.example,c@d.example\"",
            "email = \"a@b.example?subject=x\"",
            "directory = \"http://ca.example/\"",
            "directory = \"https://user:word@ca.example/\"",
            "directory = \"https://10.0.0.1/\"",
            "directory = \"https://localhost:14000/dir\"",
            "directory = \"ca.example\"",
            "ca = \"/does/not/exist\"",
            "account-key-id = \"x\"",
            "account-key-file = \"/does/not/exist\"",
        ] {
            assert!(read(&format!("{LEAST}{line}")).is_err(), "{line}");
        }
        let many: Vec<_> = (0..=MAX_NAMES)
            .map(|n| format!("\"n{n}.example\""))
            .collect();
        let many = |n: usize| format!("names = [{}]\nterms-agreed = true", many[..n].join(","));
        assert!(read(&many(MAX_NAMES)).is_ok() && read(&many(MAX_NAMES + 1)).is_err());
    }

    #[test]
    fn clients_are_told_a_name_that_the_certificate_has() {
        for right in ["https://node.example", "https://node.example:8443"] {
            assert!(read_at(LEAST, Some(right)).is_ok(), "{right}");
        }
        for wrong in [
            "http://node.example",
            "https://other.example",
            "https://10.0.0.1",
        ] {
            assert!(read_at(LEAST, Some(wrong)).is_err(), "{wrong}");
        }
    }
}
