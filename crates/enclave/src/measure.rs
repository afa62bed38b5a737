//! What the hypervisor will measure of an image, computed before there is an enclave.
//!
//! Guarantees: the values of PCR0, 1 and 2 that a genuine attestation document of this image shows (the formulas are
//! AWS's; metadata and signature are not measured). Refuses to know: PCR3, 4 and 8, which come from where and how
//! an image is started.

use std::fmt;

use sha2::{Digest as _, Sha384};

use crate::eif::Eif;

/// A register's value: 48 bytes, written as hex.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Pcr([u8; 48]);

impl Pcr {
    /// A register that was extended once, with the hash of some parts one after the other:
    /// `SHA384(0⁴⁸ ‖ SHA384(parts))`.
    #[must_use]
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut content = Sha384::new();
        for part in parts {
            content.update(part);
        }
        let mut register = Sha384::new();
        register.update([0; 48]);
        register.update(content.finalize());
        Self(register.finalize().into())
    }
}

impl fmt::Display for Pcr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Pcr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Pcr {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The three registers that say which code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Measurements {
    /// The whole image: kernel, command line, all ramdisks.
    #[serde(rename = "PCR0")]
    pub pcr0: Pcr,
    /// Kernel, command line and the first ramdisk.
    #[serde(rename = "PCR1")]
    pub pcr1: Pcr,
    /// The other ramdisks: the application.
    #[serde(rename = "PCR2")]
    pub pcr2: Pcr,
}

impl Measurements {
    /// Measures an image.
    #[must_use]
    pub fn of(eif: &Eif) -> Self {
        let boot = [&*eif.kernel, eif.cmdline.as_bytes()];
        let disks = eif.ramdisks.iter().map(Vec::as_slice);
        Self {
            pcr0: Pcr::of(boot.into_iter().chain(disks.clone())),
            pcr1: Pcr::of(boot.into_iter().chain(disks.clone().take(1))),
            pcr2: Pcr::of(disks.skip(1)),
        }
    }
}
