//! Hands the node's configuration to an enclave that boots, read from the file anew for each boot.
//!
//! The enclave measures what it got: a host that hands over something else has another enclave, and everybody sees it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use adyton_vsock::configuration::{MAX_BYTES, head};
use adyton_vsock::enclave::Listener;
use adyton_vsock::socket::Wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};

use crate::front::ACCEPT_PAUSE;
use crate::log::Log;

/// How long an enclave may take to read it.
const READ_TIME: Duration = Duration::from_secs(10);

/// Hands over one file. One enclave boots at a time, so one is served at a time.
#[derive(Debug)]
pub struct Configuration {
    /// The file.
    pub path: PathBuf,
    /// The operator's.
    pub log: Log,
}

/// The file cannot be handed over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoFile {
    /// It cannot be read, or is not UTF-8.
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    /// It is empty or too long.
    #[error("it must have 1 to {MAX_BYTES} bytes")]
    Length,
    /// It is not TOML.
    #[error("it is not TOML: {0}")]
    Toml(String),
}

/// What is handed over: the bytes of the file, unchanged.
///
/// # Errors
/// [`NoFile`]. The enclave would refuse it, too; here an operator sees why.
pub fn read(path: &Path) -> Result<String, NoFile> {
    let mut text = String::new();
    let file = File::open(path)?;
    file.take(MAX_BYTES as u64 + 1).read_to_string(&mut text)?;
    if head(&text).is_none() {
        return Err(NoFile::Length);
    }
    match text.parse::<toml::Table>() {
        Ok(_) => Ok(text),
        Err(error) => Err(NoFile::Toml(error.message().to_owned())),
    }
}

impl Configuration {
    /// Serves until it is dropped.
    pub async fn run(self, listener: Listener) {
        loop {
            match listener.accept().await {
                Ok(wire) => self.serve(wire).await,
                Err(_) => sleep(ACCEPT_PAUSE).await,
            }
        }
    }

    async fn serve(&self, mut wire: Wire) {
        let text = match read(&self.path) {
            Ok(text) => text,
            Err(error) => {
                return self.log.say(&format!(
                    "the node's configuration is not handed over: {error}"
                ));
            }
        };
        let Some(head) = head(&text) else { return };
        let handed = async {
            wire.write_all(&head).await?;
            wire.write_all(text.as_bytes()).await?;
            wire.flush().await?;
            // The enclave ends first: it has everything then.
            wire.read(&mut [0]).await
        };
        self.log.say(match timeout(READ_TIME, handed).await {
            Ok(Ok(_)) => "the enclave has its configuration",
            Ok(Err(_)) | Err(_) => "the enclave did not take its configuration",
        });
    }
}
