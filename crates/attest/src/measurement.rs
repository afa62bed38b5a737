//! One enclave image that somebody trusts: its registers, by number.
//!
//! Guarantees: a [`Measurement`] names registers 0, 1 and 2, and none of these is zero, whoever listed it: debug mode
//! cannot be written down. Refuses to know who listed it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::nitro::pcr::MAX_INDEX;
use crate::nitro::{Pcr, Pcrs, RootHash};
use crate::words::{foreign, quoted};

/// Longest name of a measurement.
pub const MAX_NAME_CHARS: usize = 120;

/// Longest record of a build. Written ones have about 3 kB.
pub const MAX_RECORD_BYTES: usize = 256 * 1024;

/// Registers that every measurement must name: image, kernel, application.
const IMAGE_PCRS: [u8; 3] = [0, 1, 2];

/// One enclave image that is trusted, under one root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measurement {
    name: String,
    root: RootHash,
    pcrs: Pcrs,
}

impl Measurement {
    /// Takes a name and registers as a file lists them: decimal numbers 0 to 31, 96 hexadecimal digits each.
    ///
    /// # Errors
    /// [`MeasurementError`] says what to correct.
    pub(crate) fn read(
        name: String,
        root: RootHash,
        entries: BTreeMap<String, String>,
    ) -> Result<Self, MeasurementError> {
        if !is_name(&name) {
            return Err(MeasurementError::Name);
        }
        let Some(pcrs) = registers(entries) else {
            return Err(MeasurementError::Pcr { name });
        };
        for index in IMAGE_PCRS {
            match pcrs.get(&index) {
                None => return Err(MeasurementError::ImagePcrMissing { name, index }),
                Some(pcr) if pcr.is_zero() => return Err(MeasurementError::Debug { name, index }),
                Some(_) => {}
            }
        }
        Ok(Self { name, root, pcrs })
    }

    /// The same registers and some more, under another root; none where the two disagree about a register.
    pub(crate) fn under(&self, root: RootHash, more: &Pcrs) -> Option<Self> {
        let mut pcrs = self.pcrs.clone();
        for (index, pcr) in more {
            if *pcrs.entry(*index).or_insert(*pcr) != *pcr {
                return None;
            }
        }
        Some(Self {
            name: self.name.clone(),
            root,
            pcrs,
        })
    }

    /// What its author calls it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The root it must be signed under.
    #[must_use]
    pub fn root(&self) -> RootHash {
        self.root
    }

    /// The registers that must be present and equal.
    #[must_use]
    pub fn pcrs(&self) -> &Pcrs {
        &self.pcrs
    }

    /// Whether an enclave under `root` with these registers is this one: each listed register present and equal.
    /// (At least registers 0, 1 and 2 are listed, so nothing matches an empty list.)
    #[must_use]
    pub fn matches(&self, root: RootHash, pcrs: &Pcrs) -> bool {
        self.root == root
            && self
                .pcrs
                .iter()
                .all(|(index, expected)| pcrs.get(index) == Some(expected))
    }
}

/// An image as its builder recorded it: the part of `measurements.json` that trust is made of. (Also of what
/// `nitro-cli build-enclave` prints.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltImage {
    /// What the builder calls it, if it does.
    pub name: Option<String>,
    /// Registers 0, 1 and 2.
    pub pcrs: Pcrs,
}

impl BuiltImage {
    /// Reads the builder's file; members that are not about registers are passed over.
    ///
    /// # Errors
    /// [`MeasurementError::Record`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, MeasurementError> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(MeasurementError::Record("too long".to_owned()));
        }
        let record: BuiltRecord = serde_json::from_slice(bytes)
            .map_err(|error| MeasurementError::Record(foreign(&error.to_string())))?;
        let named = record.measurements;
        let values = [
            ("0", named.image),
            ("1", named.kernel),
            ("2", named.application),
        ];
        let pcrs = registers(
            values
                .map(|(index, value)| (index.to_owned(), value))
                .into(),
        );
        let pcrs = pcrs.ok_or_else(|| MeasurementError::Pcr {
            name: "measurements".to_owned(),
        })?;
        let name = record.name;
        Ok(Self { name, pcrs })
    }
}

#[derive(Deserialize)]
struct BuiltRecord {
    name: Option<String>,
    #[serde(alias = "Measurements")]
    measurements: NamedRegisters,
}

#[derive(Deserialize)]
struct NamedRegisters {
    #[serde(rename = "PCR0")]
    image: String,
    #[serde(rename = "PCR1")]
    kernel: String,
    #[serde(rename = "PCR2")]
    application: String,
}

/// The `[[nitro]]` entry that lists an image, as policies and manifests are written.
#[must_use]
pub fn entry(name: &str, pcrs: &Pcrs) -> String {
    let registers = pcrs
        .iter()
        .map(|(index, pcr)| format!("pcrs.{index} = \"{pcr}\"\n"));
    let registers: String = registers.collect();
    format!("\n[[nitro]]\nname = {}\n{registers}", quoted(name))
}

/// Registers as a file lists them: decimal numbers 0 to 31, 96 hexadecimal digits each.
pub(crate) fn registers(entries: BTreeMap<String, String>) -> Option<Pcrs> {
    let register = |(index, value): (String, String)| {
        let number: u8 = index.parse().ok()?;
        let one_spelling = number <= MAX_INDEX && number.to_string() == index;
        one_spelling.then_some((number, Pcr::from_hex(&value)?))
    };
    entries.into_iter().map(register).collect()
}

/// A name that can stand in a line for a person.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.chars().count() <= MAX_NAME_CHARS
        && !text.chars().any(char::is_control)
}

/// Why an entry is no measurement. The fault is its author's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MeasurementError {
    /// A measurement without a usable name.
    #[error(
        "a measurement has no name, or one that is longer than {MAX_NAME_CHARS} characters or unprintable"
    )]
    Name,
    /// A register that is not one.
    #[error("{name:?}: pcrs must be numbers 0 to 31 with 96 hexadecimal digits each")]
    Pcr {
        /// The measurement.
        name: String,
    },
    /// Not the record of a build.
    #[error("this is not the record of a build: {0}")]
    Record(String),
    /// One of the image registers is not named.
    #[error("{name:?}: pcr {index} is missing; 0, 1 and 2 must all be named")]
    ImagePcrMissing {
        /// The measurement.
        name: String,
        /// The register.
        index: u8,
    },
    /// A zero image register, which only an enclave in debug mode has.
    #[error("{name:?}: pcr {index} is zero, which means debug mode; that can never be trusted")]
    Debug {
        /// The measurement.
        name: String,
        /// The register.
        index: u8,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nitro::AWS_NITRO_ROOT_G1;

    type Entries = Vec<(String, String)>;

    fn image() -> Entries {
        IMAGE_PCRS
            .map(|index| (index.to_string(), "a".repeat(96)))
            .into()
    }

    fn read(entries: Entries) -> Result<Measurement, MeasurementError> {
        let entries = entries.into_iter().collect();
        Measurement::read("n".to_owned(), AWS_NITRO_ROOT_G1, entries)
    }

    #[test]
    fn debug_mode_can_never_be_written_down() {
        for index in IMAGE_PCRS {
            let mut entries = image();
            entries[usize::from(index)].1 = "0".repeat(96);
            let name = "n".to_owned();
            assert_eq!(read(entries), Err(MeasurementError::Debug { name, index }));
        }
    }

    #[test]
    fn an_image_is_named_whole() {
        for index in IMAGE_PCRS {
            let mut entries = image();
            entries[usize::from(index)].0 = (index + 20).to_string();
            let name = "n".to_owned();
            let refused = Err(MeasurementError::ImagePcrMissing { name, index });
            assert_eq!(read(entries), refused);
        }
        assert!(matches!(
            read(Vec::new()),
            Err(MeasurementError::ImagePcrMissing { .. })
        ));
    }

    #[test]
    fn registers_that_are_none_are_refused() {
        for wrong in ["32", "00", "+3", "x", "-1", "", "256", " 3"] {
            let mut entries = image();
            entries.push((wrong.to_owned(), "b".repeat(96)));
            let name = "n".to_owned();
            let refused = Err(MeasurementError::Pcr { name });
            assert_eq!(read(entries), refused, "{wrong}");
        }
        let mut entries = image();
        entries.push(("3".to_owned(), "abcd".to_owned()));
        assert!(matches!(read(entries), Err(MeasurementError::Pcr { .. })));
    }

    #[test]
    fn a_builders_record_is_read_whoever_wrote_it() {
        let [one, two, three] = ["1", "2", "3"].map(|digit| digit.repeat(96));
        let registers = format!(r#"{{"PCR0":"{one}","PCR1":"{two}","PCR2":"{three}"}}"#);
        let ours = format!(r#"{{"version":1,"name":"n","measurements":{registers}}}"#);
        let read = BuiltImage::from_json(ours.as_bytes()).unwrap();
        assert_eq!(read.name.as_deref(), Some("n"));
        let values: Vec<String> = read.pcrs.values().map(Pcr::to_string).collect();
        assert_eq!(values, [one, two, three]);
        let theirs = format!(r#"{{"Measurements":{registers}}}"#);
        let read = BuiltImage::from_json(theirs.as_bytes()).unwrap();
        assert_eq!((read.name, read.pcrs.len()), (None, 3));
        let mut long = ours.clone().into_bytes();
        long.resize(MAX_RECORD_BYTES + 1, b' ');
        for wrong in [b"{}".as_slice(), b"", &long] {
            let refused = BuiltImage::from_json(wrong);
            assert!(matches!(refused, Err(MeasurementError::Record(_))));
        }
        let short = ours.replace("11", "1");
        let refused = BuiltImage::from_json(short.as_bytes());
        assert!(matches!(refused, Err(MeasurementError::Pcr { .. })));
    }

    #[test]
    fn a_measurement_has_a_name() {
        let entries = image().into_iter().collect();
        let nameless = Measurement::read(String::new(), AWS_NITRO_ROOT_G1, entries);
        assert_eq!(nameless, Err(MeasurementError::Name));
    }

    #[test]
    fn a_name_fits_a_line() {
        assert!(is_name(&"ä".repeat(MAX_NAME_CHARS)));
        for name in ["", &"n".repeat(MAX_NAME_CHARS + 1), "a\u{1b}b", "a\nb"] {
            assert!(!is_name(name), "{name:?}");
        }
    }

    #[test]
    fn a_measurement_matches_only_what_has_every_register_it_names() {
        let mut entries = image();
        entries.push(("16".to_owned(), "0".repeat(96)));
        let measurement = read(entries).unwrap();
        let mut pcrs = measurement.pcrs().clone();
        assert!(measurement.matches(AWS_NITRO_ROOT_G1, &pcrs));
        assert!(!measurement.matches(RootHash::of(b"other"), &pcrs));
        pcrs.insert(20, Pcr::of(b"more"));
        assert!(measurement.matches(AWS_NITRO_ROOT_G1, &pcrs));
        // An absent register is not a zero one.
        pcrs.remove(&16);
        assert!(!measurement.matches(AWS_NITRO_ROOT_G1, &pcrs));
        pcrs.insert(16, Pcr::of(b"other"));
        assert!(!measurement.matches(AWS_NITRO_ROOT_G1, &pcrs));
    }
}
