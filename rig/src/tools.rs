//! The programs that make the emulator: built by `enclave/rig/build-tools`, kept outside of the tree.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where this repository is.
#[must_use]
pub fn repository() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// A folder with the tools in it.
#[derive(Debug, Clone)]
pub struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Asks the recipe for the tools, which builds them if it must (some minutes, once a machine).
    ///
    /// # Errors
    /// [`NoTools`] when this machine cannot build them; the recipe has then said why on the standard error.
    pub fn find() -> Result<Self, NoTools> {
        let said = Command::new(repository().join("enclave/rig/build-tools"))
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()?;
        let folder = String::from_utf8_lossy(&said.stdout);
        match folder.trim_end() {
            "" => Err(NoTools::NotBuilt),
            folder => Ok(Self {
                folder: folder.into(),
            }),
        }
    }

    /// The machine's emulator.
    #[must_use]
    pub fn qemu(&self) -> PathBuf {
        self.folder.join("qemu-system-x86_64")
    }

    /// What the emulator starts a machine with.
    #[must_use]
    pub fn firmware(&self) -> PathBuf {
        self.folder.join("firmware")
    }

    /// The plugin that watches the guest's system calls.
    #[must_use]
    pub fn system_calls(&self) -> PathBuf {
        self.folder.join("system-calls.so")
    }

    /// The bridge between the guest's vsock and Unix sockets.
    #[must_use]
    pub fn vsock_bridge(&self) -> PathBuf {
        self.folder.join("vhost-device-vsock")
    }
}

/// There is nothing to emulate with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoTools {
    /// The recipe did not run.
    #[error("enclave/rig/build-tools cannot be run")]
    Recipe(#[from] io::Error),
    /// The recipe could not build them.
    #[error("the tools of the rig cannot be built on this machine")]
    NotBuilt,
}
