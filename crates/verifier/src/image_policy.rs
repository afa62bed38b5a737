//! A policy for one image, from its registers and its configuration.
//!
//! Guarantees: what is printed is a policy that this program reads. Refuses to know where the measurements come from:
//! whoever did not build them trusts whoever did.

use std::error::Error;
use std::fmt::Write as _;
use std::path::Path;

use adyton_attest::evidence::MAX_CONFIG_BYTES;
use adyton_attest::measurement::{BuiltImage, MAX_RECORD_BYTES, entry};
use adyton_attest::nitro::pcr::CONFIG_PCR;
use adyton_attest::nitro::{Pcr, Pcrs};
use adyton_attest::with_causes;
use adyton_attest::{ConfigDigest, Policy};

use crate::args::ImagePolicy;
use crate::kept;

/// The policy's text; the reason in words when there is none.
pub(crate) fn write(wanted: &ImagePolicy) -> Result<String, String> {
    let image = read(&wanted.measurements, MAX_RECORD_BYTES, |bytes| {
        Ok(BuiltImage::from_json(bytes)?)
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
    let text = text(&name, &image.pcrs, config.as_ref());
    match Policy::from_toml(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(format!(
            "{}: {}",
            wanted.measurements.display(),
            with_causes(&error)
        )),
    }
}

fn text(name: &str, image: &Pcrs, config: Option<&ConfigDigest>) -> String {
    let mut pcrs = image.clone();
    pcrs.extend(config.map(|config| (CONFIG_PCR, Pcr::of_config(config))));
    let mut text = format!("version = 1\n{}", entry(name, &pcrs));
    if config.is_none() {
        // Writing into a String cannot fail.
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
