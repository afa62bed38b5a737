//! A registry in a file: for a network that is one operator's, and for tests.
//!
//! `{"did:vda:polamoy:0x…": ["https://node.example/did/did:vda:polamoy:0x…"], …}`. What is not in it is absent.

use std::collections::{BTreeMap, HashMap};

use adyton_protocol::did::Did;
use url::Url;

use crate::registry::{NoAnswer, Opinion, Registered, Registry, places};
use crate::web::Pending;

/// Largest file, in bytes.
pub const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;

/// The file cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRegistryFile {
    /// It is larger than [`MAX_FILE_BYTES`].
    #[error("the registry file is larger than 16 MiB")]
    TooLarge,
    /// It is not an object of lists.
    #[error("the registry file is not a JSON object that maps DIDs to lists of URLs")]
    NotJson,
    /// A name in it is not a DID.
    #[error("the registry file names something that is no DID")]
    NotADid,
    /// A place in it is none.
    #[error(
        "the registry file has a place that is no plain http or https URL, or too many of them"
    )]
    NotAPlace,
}

/// The registrations of a file.
pub struct FileRegistry(HashMap<Did, Vec<Url>>);

impl FileRegistry {
    /// Reads the text of a file.
    pub fn parse(text: &[u8]) -> Result<Self, InvalidRegistryFile> {
        if text.len() > MAX_FILE_BYTES {
            return Err(InvalidRegistryFile::TooLarge);
        }
        let lists: BTreeMap<String, Vec<String>> =
            serde_json::from_slice(text).map_err(|_| InvalidRegistryFile::NotJson)?;
        let mut entries = HashMap::with_capacity(lists.len());
        for (did, texts) in lists {
            let did: Did = did.parse().map_err(|_| InvalidRegistryFile::NotADid)?;
            let found = places(texts.iter().map(String::as_str));
            // An operator's own file has no room for what is left out silently elsewhere.
            if found.len() != texts.len() {
                return Err(InvalidRegistryFile::NotAPlace);
            }
            entries.insert(did, found);
        }
        Ok(Self(entries))
    }
}

impl Registry for FileRegistry {
    fn lookup<'a>(
        &'a self,
        did: &'a Did,
        _opinion: Opinion,
    ) -> Pending<'a, Result<Registered, NoAnswer>> {
        let found = match self.0.get(did) {
            Some(places) => Registered::At(places.clone()),
            None => Registered::Absent,
        };
        Box::pin(std::future::ready(Ok(found)))
    }
}

impl std::fmt::Debug for FileRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileRegistry({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::MAX_PLACES;

    #[tokio::test]
    async fn a_file_says_where_or_that_there_is_nothing() {
        let text = br#"{"did:vda:polamoy:0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a": ["https://a.example/did/x"]}"#;
        let registry = FileRegistry::parse(text).unwrap();
        let there = "did:vda:polamoy:0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A"
            .parse()
            .unwrap();
        let elsewhere = "did:vda:polamoy:0x0000000000000000000000000000000000000001"
            .parse()
            .unwrap();
        let place = Url::parse("https://a.example/did/x").unwrap();
        let found = registry.lookup(&there, Opinion::First).await;
        assert_eq!(found, Ok(Registered::At(vec![place])));
        let found = registry.lookup(&elsewhere, Opinion::First).await;
        assert_eq!(found, Ok(Registered::Absent));
    }

    #[test]
    fn mistakes_in_a_file_are_named() {
        let did = "did:vda:polamoy:0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a";
        let many: Vec<String> = (0..=MAX_PLACES)
            .map(|n| format!("https://n{n}.example/"))
            .collect();
        for (text, error) in [
            ("[]".to_owned(), InvalidRegistryFile::NotJson),
            (r#"{"x": []}"#.to_owned(), InvalidRegistryFile::NotADid),
            (
                format!(r#"{{"{did}": ["ftp://x"]}}"#),
                InvalidRegistryFile::NotAPlace,
            ),
            (
                serde_json::json!({did: many}).to_string(),
                InvalidRegistryFile::NotAPlace,
            ),
        ] {
            assert_eq!(FileRegistry::parse(text.as_bytes()).unwrap_err(), error);
        }
    }
}
