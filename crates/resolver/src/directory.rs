//! A directory: a storage node that keeps registrations, for networks without a chain.
//!
//! It is asked as the original's "gasless" service is: `POST <base>didRegistry/lookup` (`spec/protocol.md` §7.2).

use std::sync::Arc;
use std::time::Duration;

use adyton_protocol::did::Did;
use bytes::Bytes;
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::json;
use url::Url;

use crate::registry::{NoAnswer, Opinion, Registered, Registry, places};
use crate::web::{Ask, Pending, Web};

/// Most directories of a network.
pub const MAX_DIRECTORIES: usize = 8;
/// Largest answer that is read, in bytes.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// Longest wait for one directory.
const DIRECTORY_TIME: Duration = Duration::from_secs(5);
/// What a directory says of a DID that it does not have: the name of the contract's error.
pub const UNREGISTERED: &str = "UnregisteredDID";

/// Several directories of one network. Each may know DIDs that the others do not, so all are asked.
pub struct DirectoryRegistry {
    bases: Vec<Url>,
    web: Arc<dyn Web>,
}

impl DirectoryRegistry {
    /// The directories at these base URLs, which end in `/`; the first [`MAX_DIRECTORIES`] count.
    pub fn new(mut bases: Vec<Url>, web: Arc<dyn Web>) -> Self {
        bases.truncate(MAX_DIRECTORIES);
        Self { bases, web }
    }

    async fn ask(&self, base: &Url, did: &Did) -> Option<Registered> {
        let question = json!({"didAddress": did.address().lowercase()}).to_string();
        let ask = Ask {
            url: base.join("didRegistry/lookup").ok()?,
            body: Some(Bytes::from(question)),
            limit: MAX_ANSWER_BYTES,
            time: DIRECTORY_TIME,
        };
        read(&self.web.ask(ask).await.ok()?.body)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Data {
    Registration(String, Vec<String>),
    Word(String),
}

#[derive(Deserialize)]
struct Wire {
    success: bool,
    data: Data,
}

/// Reads a directory's answer; none when it is not one.
pub fn read(body: &[u8]) -> Option<Registered> {
    if body.len() > MAX_ANSWER_BYTES {
        return None;
    }
    let wire: Wire = serde_json::from_slice(body).ok()?;
    match (wire.success, wire.data) {
        (true, Data::Registration(_controller, endpoints)) => {
            Some(Registered::At(places(endpoints.iter().map(String::as_str))))
        }
        (false, Data::Word(word)) if word == UNREGISTERED => Some(Registered::Absent),
        _ => None,
    }
}

impl Registry for DirectoryRegistry {
    fn lookup<'a>(
        &'a self,
        did: &'a Did,
        _opinion: Opinion,
    ) -> Pending<'a, Result<Registered, NoAnswer>> {
        Box::pin(async move {
            let answers = join_all(self.bases.iter().map(|base| self.ask(base, did))).await;
            let mut found: Vec<Url> = Vec::new();
            let (mut registered, mut silent) = (false, self.bases.is_empty());
            for answer in answers {
                match answer {
                    Some(Registered::At(places)) => {
                        registered = true;
                        found.extend(places);
                    }
                    Some(Registered::Absent) => {}
                    None => silent = true,
                }
            }
            match (registered, silent) {
                (true, _) => Ok(Registered::At(places(found.iter().map(Url::as_str)))),
                (false, false) => Ok(Registered::Absent),
                (false, true) => Err(NoAnswer),
            }
        })
    }
}

impl std::fmt::Debug for DirectoryRegistry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DirectoryRegistry({})", self.bases.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_answers_as_the_original_gasless_service_was_recorded() {
        let recorded = br#"{"success":true,"data":["0x5cbdd86a2fa8dc4bddd8a8f69dba48572eec07fb",["http://127.0.0.1:7404/did/did:vda:polamoy:0x5cbdd86a2fa8dc4bddd8a8f69dba48572eec07fb"]]}"#;
        let Some(Registered::At(places)) = read(recorded) else {
            panic!("not read")
        };
        assert_eq!(places.len(), 1);
        let absent = br#"{"success":false,"data":"UnregisteredDID"}"#;
        assert_eq!(read(absent), Some(Registered::Absent));
        for other in [
            r#"{"success":false,"data":"out of order"}"#,
            r#"{"success":true,"data":"0xtx"}"#,
            r#"{"success":true}"#,
            "[]",
            "",
        ] {
            assert_eq!(read(other.as_bytes()), None, "{other}");
        }
    }
}
