//! The image that is booted, and what its builder says of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use adyton_attest::nitro::{Pcr, Pcrs};
use serde_json::Value;

/// A built image.
#[derive(Debug, Clone)]
pub struct Image {
    /// The file.
    pub eif: PathBuf,
    /// PCR0, PCR1 and PCR2 as the builder's `measurements.json` has them.
    pub pcrs: Pcrs,
}

impl Image {
    /// The released image in a folder that `adyton-enclave build` wrote.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn in_folder(folder: &Path) -> Result<Self, ImageError> {
        let eif = folder.join("adyton.eif");
        let measurements = fs::read(folder.join("measurements.json"))?;
        let measurements: Value =
            serde_json::from_slice(&measurements).map_err(|_| ImageError::Measurements)?;
        let mut pcrs = Pcrs::new();
        for index in 0..=2 {
            let text =
                find(&measurements, &format!("PCR{index}")).ok_or(ImageError::Measurements)?;
            let pcr = Pcr::from_hex(text).ok_or(ImageError::Measurements)?;
            pcrs.insert(index, pcr);
        }
        fs::metadata(&eif)?;
        Ok(Self { eif, pcrs })
    }
}

/// The text with this name, wherever it stands.
fn find<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    let object = value.as_object()?;
    match object.get(name) {
        Some(found) => found.as_str(),
        None => object.values().find_map(|value| find(value, name)),
    }
}

/// There is no image to boot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// No files: `just enclave-test` builds them.
    #[error("the image cannot be read (just enclave-test builds it)")]
    File(#[from] io::Error),
    /// Not what the builder writes.
    #[error("measurements.json has no PCR0, PCR1 and PCR2")]
    Measurements,
}
