//! A policy for one image, from its registers and its configuration.
//!
//! Guarantees: what is printed is a policy that this program reads. Refuses to know where the measurements come from:
//! whoever did not build them trusts whoever did.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use adyton_attest::evidence::MAX_CONFIG_BYTES;
use adyton_attest::nitro::Pcr;
use adyton_attest::nitro::pcr::CONFIG_PCR;
use adyton_attest::{ConfigDigest, Policy};
use serde::Deserialize;

use crate::args::ImagePolicy;
use crate::kept;
use crate::verdict::with_causes;

/// Longest `measurements.json`. Written ones have about 3 kB.
const MAX_MEASUREMENTS_BYTES: usize = 256 * 1024;

/// The part of `measurements.json` that a policy is made of. (Also of what `nitro-cli build-enclave` prints.)
#[derive(Deserialize)]
struct Image {
    name: Option<String>,
    #[serde(alias = "Measurements")]
    measurements: Registers,
}

#[derive(Deserialize)]
struct Registers {
    #[serde(rename = "PCR0")]
    image: String,
    #[serde(rename = "PCR1")]
    kernel: String,
    #[serde(rename = "PCR2")]
    application: String,
}

/// The policy's text; the reason in words when there is none.
pub(crate) fn write(wanted: &ImagePolicy) -> Result<String, String> {
    let image: Image = read(&wanted.measurements, MAX_MEASUREMENTS_BYTES, |bytes| {
        Ok(serde_json::from_slice(bytes)?)
    })?;
    let config = match &wanted.config {
        None => None,
        Some(path) => Some(read(path, MAX_CONFIG_BYTES, |bytes| {
            if bytes.len() > MAX_CONFIG_BYTES {
                return Err("longer than any configuration".into());
            }
            Ok(ConfigDigest::of(std::str::from_utf8(bytes)?))
        })?),
    };
    let name = wanted.name.clone().or(image.name);
    let name = name.unwrap_or_else(|| "unnamed image".to_owned());
    let text = text(&name, &image.measurements, config.as_ref());
    match Policy::from_toml(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(format!(
            "{}: {}",
            wanted.measurements.display(),
            with_causes(&error)
        )),
    }
}

fn text(name: &str, registers: &Registers, config: Option<&ConfigDigest>) -> String {
    let mut text = String::from("version = 1\n\n[[nitro]]\n");
    let mut pcrs = vec![
        (0, registers.image.as_str()),
        (1, &registers.kernel),
        (2, &registers.application),
    ];
    let config_pcr = config.map(|config| Pcr::of_config(config).to_string());
    if let Some(pcr) = &config_pcr {
        pcrs.push((CONFIG_PCR, pcr));
    }
    // Writing into a String cannot fail.
    let _ = writeln!(text, "name = \"{}\"", name.escape_default());
    for (index, value) in pcrs {
        let _ = writeln!(text, "pcrs.{index} = \"{}\"", value.escape_default());
    }
    if config.is_none() {
        let _ = writeln!(
            text,
            "# pcrs.{CONFIG_PCR} is not listed: any configuration is accepted (--config FILE lists one)."
        );
    }
    text
}

fn read<T>(
    path: &Path,
    limit: usize,
    parse: impl FnOnce(&[u8]) -> Result<T, Box<dyn Error>>,
) -> Result<T, String> {
    let result = kept::read(path, limit)
        .map_err(Into::into)
        .and_then(|bytes| parse(&bytes));
    result.map_err(|error| format!("{}: {}", path.display(), with_causes(&*error)))
}
