//! `[replication]` of the configuration file: nodes of one machine that hold contexts together, for trying that out.
//!
//! Guarantees: what is opened of this machine is exactly the servers that the operator names, and only for a node which is itself
//! on this machine: a node that strangers reach never asks a server here because a stranger's document names it.

use adyton_egress::Reach;
use adyton_egress::reach::is_local;
use serde::Deserialize;
use url::Url;

use crate::config::ConfigError;
use crate::replicate::MAX_NODES;

/// See the module.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ReplicationTable {
    /// Base URLs of the nodes on this machine to which this one may push; it may itself be among them.
    pub loopback_nodes: Vec<String>,
}

impl ReplicationTable {
    /// Adds the nodes to what may be contacted. `own` is this node's own base URL.
    pub(crate) fn apply(self, reach: Reach, own: &str) -> Result<Reach, ConfigError> {
        if self.loopback_nodes.is_empty() {
            return Ok(reach);
        }
        let wrong = |why| ConfigError::Invalid("replication.loopback-nodes", why);
        if self.loopback_nodes.len() > MAX_NODES {
            return Err(wrong("too many"));
        }
        let own = Url::parse(own).ok().filter(is_local);
        let own = own.ok_or(wrong(
            "only for a node whose own address is on this machine",
        ))?;
        let mut nodes: Vec<Url> = Vec::new();
        for text in &self.loopback_nodes {
            let url = Url::parse(text).ok().filter(is_base);
            let url = url.ok_or(wrong("expected http(s)://host[:port] on this machine"))?;
            let is_like =
                |other: &Url| other.host() == url.host() && other.origin() != url.origin();
            if is_like(&own) || nodes.iter().any(is_like) {
                return Err(wrong(
                    "nodes are told apart by host: give each one its own, as 127.0.0.2",
                ));
            }
            nodes.push(url);
        }
        Ok(reach.and_also(&nodes))
    }
}

/// Whether this is the address of a server on this machine, and nothing more.
fn is_base(url: &Url) -> bool {
    let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let open = url.username().is_empty() && url.password().is_none();
    plain && open && matches!(url.scheme(), "http" | "https") && is_local(url)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigFile};

    fn with(listen: &str, lines: &str) -> Result<Config, ConfigError> {
        let text = format!("listen = \"{listen}\"\ndata = \"d\"\n{lines}");
        ConfigFile::parse(&text)?.into_config()
    }

    const TWO: &str =
        "[replication]\nloopback-nodes = [\"http://127.0.0.2:5100\", \"http://127.0.0.3:5100/\"]";

    #[test]
    fn nodes_of_this_machine_are_contacted_when_they_are_named_and_nothing_else_here_is() {
        let url = |text: &str| Url::parse(text).unwrap();
        let reach = with("127.0.0.1:5100", TWO).unwrap().reach;
        for text in ["http://127.0.0.2:5100/", "http://127.0.0.3:5100/status"] {
            assert!(reach.check(&url(text)).is_ok(), "{text}");
        }
        for text in [
            "http://127.0.0.2:5984/",
            "https://127.0.0.2:5100/",
            "http://127.0.0.4:5100/",
            "http://localhost:5100/",
            "http://10.0.0.1/",
        ] {
            assert!(reach.check(&url(text)).is_err(), "{text}");
        }
        let silent = with("127.0.0.1:5100", "").unwrap().reach;
        assert!(silent.check(&url("http://127.0.0.2:5100/")).is_err());
        // Beside a registry on this machine, which stays allowed.
        let both = format!(
            "[did]\nregistry = \"directory\"\nallow-loopback = true\ndirectories = [\"http://127.0.0.1:5100/\"]\n{TWO}"
        );
        let reach = with("127.0.0.2:5100", &both).unwrap().reach;
        for n in 1..=3 {
            let text = format!("http://127.0.0.{n}:5100/");
            assert!(reach.check(&url(&text)).is_ok(), "{text}");
        }
    }

    #[test]
    fn a_node_that_others_reach_opens_nothing_of_its_machine() {
        for (listen, lines) in [
            ("0.0.0.0:5100", ""),
            ("127.0.0.1:5100", "public-url = \"https://node.example\"\n"),
            ("10.0.0.1:5100", ""),
        ] {
            let wrong = with(listen, &format!("{lines}{TWO}"));
            let told = wrong.unwrap_err().to_string();
            assert!(told.contains("whose own address"), "{listen}: {told}");
        }
        let here = "public-url = \"http://localhost:5100\"\n";
        assert!(with("0.0.0.0:5100", &format!("{here}{TWO}")).is_ok());
        for wrong in [
            "\"https://node.example\"",
            "\"http://10.0.0.1\"",
            "\"http://127.0.0.2:1/x\"",
            "\"http://a:b@127.0.0.2:1\"",
            "\"ftp://127.0.0.2\"",
            "\"127.0.0.2:5100\"",
            // Two of one host would be one to each other.
            "\"http://127.0.0.1:5200\"",
            "\"http://127.0.0.2:1\", \"http://127.0.0.2:2\"",
        ] {
            let lines = format!("[replication]\nloopback-nodes = [{wrong}]");
            assert!(with("127.0.0.1:5100", &lines).is_err(), "{wrong}");
        }
        let many: Vec<String> = (2..=MAX_NODES + 2)
            .map(|n| format!("\"http://127.0.0.{n}:1\""))
            .collect();
        let lines = format!("[replication]\nloopback-nodes = [{}]", many.join(", "));
        assert!(with("127.0.0.1:5100", &lines).is_err());
    }
}
