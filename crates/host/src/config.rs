//! The host's configuration: one TOML file, unknown names refused. Relative paths are relative to the file.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use adyton_vsock::enclave::{Enclave, InvalidEnclave};
use serde::Deserialize;

use crate::configuration::{self, NoFile};
use crate::rule::{InvalidNetwork, Loopback, Rule};
use crate::supervisor::{Mode, Run};

/// Longest accepted file.
const MAX_BYTES: u64 = 64 * 1024;

/// A parsed configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where the enclave is.
    pub enclave: Enclave,
    /// The node's configuration.
    pub configuration: PathBuf,
    /// Public addresses.
    pub listen: Vec<SocketAddr>,
    /// Connections from outside at a time.
    pub connections: usize,
    /// Connections of the enclave at a time.
    pub egress_connections: usize,
    /// Silence that ends a connection.
    pub idle: Duration,
    /// Where the enclave is connected to.
    pub rule: Rule,
    /// How the enclave is started, if this program does it.
    pub run: Option<Run>,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidConfig {
    /// The file.
    #[error("the file cannot be read: {0}")]
    Read(#[from] io::Error),
    /// Longer than any sensible one.
    #[error("the file is longer than {MAX_BYTES} bytes")]
    Length,
    /// It is not the TOML that is expected.
    #[error("{0}")]
    Toml(String),
    /// Where the enclave is.
    #[error("`enclave`: {0}")]
    Enclave(#[from] InvalidEnclave),
    /// Advice.
    #[error("`egress.networks`: {0}")]
    Network(#[from] InvalidNetwork),
    /// A number out of range.
    #[error("`{0}` is out of range")]
    Range(&'static str),
    /// Nobody could reach the enclave.
    #[error("`listen` names no address")]
    NoListener,
    /// A command without a program.
    #[error("`{0}` names no program")]
    NoProgram(&'static str),
    /// A command that is never used.
    #[error("`run.stop` is for a command that detaches")]
    NeedlessStop,
    /// The node's configuration.
    #[error("the node's configuration {}: {source}", path.display())]
    Configuration {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        source: NoFile,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    enclave: String,
    configuration: PathBuf,
    listen: Vec<SocketAddr>,
    #[serde(default)]
    connections: ConnectionsTable,
    #[serde(default)]
    egress: EgressTable,
    run: Option<RunTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ConnectionsTable {
    most: usize,
    idle_seconds: u64,
}

impl Default for ConnectionsTable {
    fn default() -> Self {
        Self {
            most: 10_000,
            idle_seconds: 900,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct EgressTable {
    most: usize,
    ports: Vec<u16>,
    networks: Vec<String>,
    allow_loopback: bool,
}

impl Default for EgressTable {
    fn default() -> Self {
        Self {
            most: 4096,
            ports: Vec::new(),
            networks: Vec::new(),
            allow_loopback: false,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RunTable {
    command: Vec<String>,
    #[serde(default)]
    detaches: bool,
    #[serde(default)]
    stop: Vec<String>,
    #[serde(default = "default_heartbeat")]
    heartbeat_seconds: u64,
}

fn default_heartbeat() -> u64 {
    120
}

impl Config {
    /// Reads a file, and the node's configuration that it names, so that mistakes are found before an enclave is started.
    ///
    /// # Errors
    /// [`InvalidConfig`].
    pub fn read(path: &Path) -> Result<Self, InvalidConfig> {
        if fs::metadata(path)?.len() > MAX_BYTES {
            return Err(InvalidConfig::Length);
        }
        let folder = path.parent().unwrap_or_else(|| Path::new("."));
        let config = Self::parse(&fs::read_to_string(path)?, folder)?;
        match configuration::read(&config.configuration) {
            Ok(_) => Ok(config),
            Err(source) => Err(InvalidConfig::Configuration {
                path: config.configuration,
                source,
            }),
        }
    }

    /// Parses a text. Relative paths in it are relative to `folder`.
    ///
    /// # Errors
    /// [`InvalidConfig`].
    pub fn parse(text: &str, folder: &Path) -> Result<Self, InvalidConfig> {
        let tables: Tables =
            toml::from_str(text).map_err(|error| InvalidConfig::Toml(error.to_string()))?;
        if tables.listen.is_empty() {
            return Err(InvalidConfig::NoListener);
        }
        let (connections, egress) = (tables.connections, tables.egress);
        let networks = egress.networks.iter().map(|text| text.parse());
        Ok(Self {
            enclave: tables.enclave.parse()?,
            configuration: folder.join(tables.configuration),
            listen: tables.listen,
            connections: places("connections.most", connections.most)?,
            egress_connections: places("egress.most", egress.most)?,
            idle: seconds("connections.idle_seconds", connections.idle_seconds)?,
            rule: Rule {
                ports: egress.ports,
                networks: networks.collect::<Result<_, _>>()?,
                loopback: match egress.allow_loopback {
                    true => Loopback::Allowed,
                    false => Loopback::Refused,
                },
            },
            run: tables.run.map(RunTable::parse).transpose()?,
        })
    }
}

impl RunTable {
    fn parse(self) -> Result<Run, InvalidConfig> {
        if self.command.is_empty() {
            return Err(InvalidConfig::NoProgram("run.command"));
        }
        let mode = match (self.detaches, self.stop) {
            (false, stop) if stop.is_empty() => Mode::Stays,
            (false, _) => return Err(InvalidConfig::NeedlessStop),
            // Otherwise nobody would end what runs on.
            (true, stop) if stop.is_empty() => return Err(InvalidConfig::NoProgram("run.stop")),
            (true, stop) => Mode::Detaches { stop },
        };
        Ok(Run {
            command: self.command,
            mode,
            heartbeat: seconds("run.heartbeat_seconds", self.heartbeat_seconds)?,
        })
    }
}

fn places(name: &'static str, value: usize) -> Result<usize, InvalidConfig> {
    match value {
        1..=1_000_000 => Ok(value),
        _ => Err(InvalidConfig::Range(name)),
    }
}

fn seconds(name: &'static str, value: u64) -> Result<Duration, InvalidConfig> {
    match value {
        1..=86_400 => Ok(Duration::from_secs(value)),
        _ => Err(InvalidConfig::Range(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str =
        "enclave = \"vsock:16\"\nconfiguration = \"node.toml\"\nlisten = [\"0.0.0.0:443\"]\n";

    fn parse(text: &str) -> Result<Config, InvalidConfig> {
        Config::parse(text, Path::new("/etc/adyton"))
    }

    #[test]
    fn the_smallest_file_has_the_documented_defaults() {
        let config = parse(SMALLEST).unwrap();
        assert_eq!(config.configuration, Path::new("/etc/adyton/node.toml"));
        assert_eq!(
            (config.connections, config.egress_connections),
            (10_000, 4096)
        );
        assert_eq!(config.idle, Duration::from_secs(900));
        assert_eq!(config.rule, Rule::default());
        assert_eq!(config.run, None);
    }

    #[test]
    fn a_real_enclave_is_started_and_stopped_by_commands() {
        let run =
            "[run]\ncommand = [\"nitro-cli\", \"run-enclave\"]\ndetaches = true\nstop = [\"x\"]";
        let config = parse(&format!("{SMALLEST}{run}")).unwrap();
        let run = config.run.unwrap();
        assert_eq!(run.heartbeat, Duration::from_secs(120));
        assert!(matches!(run.mode, Mode::Detaches { .. }));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("", "missing field `enclave`"),
            (
                "enclave = \"vsock:3\"\nconfiguration = \"a\"\nlisten = [\"0.0.0.0:1\"]",
                "`enclave`",
            ),
            (
                "enclave = \"vsock:16\"\nconfiguration = \"a\"\nlisten = []",
                "`listen`",
            ),
            (
                "enclave = \"vsock:16\"\nconfiguration = \"a\"\nlisten = [\"localhost\"]",
                "socket address",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        for (more, named) in [
            ("admin = true", "admin"),
            ("[connections]\nmost = 0", "connections.most"),
            (
                "[connections]\nidle_seconds = 99999999",
                "connections.idle_seconds",
            ),
            ("[egress]\nnetworks = [\"x\"]", "egress.networks"),
            ("[run]\ncommand = []", "run.command"),
            ("[run]\ncommand = [\"a\"]\nstop = [\"b\"]", "run.stop"),
            ("[run]\ncommand = [\"a\"]\ndetaches = true", "run.stop"),
        ] {
            let error = parse(&format!("{SMALLEST}{more}")).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
