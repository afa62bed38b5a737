//! Who is asked where a DID's document lies.
//!
//! Guarantees: an answer is a bounded list of places, or the word that there is none. Nobody here is believed about the
//! document itself.

use std::sync::Arc;

use adyton_protocol::did::{Anchor, Did};
use adyton_protocol::did_registry::public_rpc;
use url::Url;

use crate::chain::{ChainRegistry, Now};
use crate::directory::DirectoryRegistry;
use crate::registry_file::FileRegistry;
use crate::web::{Pending, Web, plain_url};

/// Most places of one document that are asked.
pub const MAX_PLACES: usize = 16;

/// What a registry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// The document lies at these URLs, at most [`MAX_PLACES`].
    At(Vec<Url>),
    /// The DID is not registered, or was revoked.
    Absent,
}

/// Nobody who must know has answered: that says nothing about the DID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the DID registry cannot be asked")]
pub struct NoAnswer;

/// How many are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opinion {
    /// Whoever answers first, in the configured order.
    First,
    /// All: the first one's places had nothing that could be verified.
    Every,
}

/// Knows where documents lie.
pub trait Registry: Send + Sync {
    /// Where the document of this DID lies.
    fn lookup<'a>(
        &'a self,
        did: &'a Did,
        opinion: Opinion,
    ) -> Pending<'a, Result<Registered, NoAnswer>>;
}

/// Which registry, as programs are told by their configuration.
#[derive(Debug)]
pub enum Source {
    /// The contract on a chain, through these JSON-RPC endpoints; none: the public one.
    Chain(Anchor, Vec<Url>),
    /// Storage nodes that keep registrations, by their base URLs.
    Directories(Vec<Url>),
    /// A file.
    File(FileRegistry),
}

impl Source {
    /// The registry, over a network and a clock.
    pub fn open(self, web: Arc<dyn Web>, now: Now) -> Arc<dyn Registry> {
        match self {
            Self::Chain(anchor, mut rpc) => {
                if rpc.is_empty() {
                    rpc.extend(Url::parse(public_rpc(anchor)));
                }
                Arc::new(ChainRegistry::new(anchor, rpc, web, now))
            }
            Self::Directories(bases) => Arc::new(DirectoryRegistry::new(bases, web)),
            Self::File(file) => Arc::new(file),
        }
    }
}

/// The places among texts that strangers wrote: what is no plain URL is left out, and nothing is there twice.
pub fn places<'t>(texts: impl IntoIterator<Item = &'t str>) -> Vec<Url> {
    let mut found = Vec::new();
    for url in texts.into_iter().filter_map(plain_url) {
        if found.len() == MAX_PLACES {
            break;
        }
        if !found.contains(&url) {
            found.push(url);
        }
    }
    found
}

/// Where a storage node with this base URL (it ends in `/`) keeps a DID's document (`spec/protocol.md` §6.7).
pub fn place_at(base: &Url, did: &Did) -> Option<Url> {
    base.join(&format!("./did/{}", did.lowercase())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_plain_few_and_different() {
        let texts = [
            "https://a.example/did/x",
            "https://a.example/did/x",
            "ftp://a.example/x",
            "https://user:word@a.example/x",
            "not a URL",
            "http://b.example/did/x",
        ];
        let found = places(texts);
        let found: Vec<&str> = found.iter().map(Url::as_str).collect();
        assert_eq!(found, ["https://a.example/did/x", "http://b.example/did/x"]);
        let many: Vec<String> = (0..100).map(|n| format!("https://n{n}.example/")).collect();
        assert_eq!(places(many.iter().map(String::as_str)).len(), MAX_PLACES);
        let long = format!("https://a.example/{}", "x".repeat(3000));
        assert!(places([long.as_str()]).is_empty());
    }

    #[test]
    fn a_document_lies_below_its_nodes_address() {
        let did: Did = "did:vda:polamoy:0x19E7e376e7c213b7e7e7e46cc70a5dd086daff2a"
            .parse()
            .unwrap();
        let base = Url::parse("https://node.example/below/").unwrap();
        assert_eq!(
            place_at(&base, &did).unwrap().as_str(),
            "https://node.example/below/did/did:vda:polamoy:0x19e7e376e7c213b7e7e7e46cc70a5dd086daff2a"
        );
    }
}
