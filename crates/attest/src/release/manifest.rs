//! The manifest of a release: what was built, from what, and what an enclave of it measures.
//!
//! Guarantees: every field within its limits, every measurement whole and not in debug mode, nothing beside them.
//! Refuses to know who signed it.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::measurement::{Measurement, MeasurementError, entry, is_name};
use crate::nitro::{AWS_NITRO_ROOT_G1, Pcrs};
use crate::words::{foreign, quoted};

/// Longest release file, signatures included.
pub const MAX_RELEASE_BYTES: usize = 256 * 1024;

/// Most measurements in one manifest.
pub const MAX_RELEASE_MEASUREMENTS: usize = 64;

/// Most signature lines under one manifest.
pub const MAX_SIGNATURES: usize = 64;

/// The format's version.
const VERSION: u8 = 1;

/// What a release is, in the words of whoever wrote the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    seq: u64,
    name: String,
    release: String,
    commit: String,
    not_after: Option<SystemTime>,
    measurements_sha256: Option<String>,
    nitro: Vec<Measurement>,
}

impl Manifest {
    /// Reads the text above the signatures (TOML; an unknown key is an error).
    pub(super) fn from_toml(text: &str) -> Result<Self, ManifestError> {
        let file: File = toml::from_str(text).map_err(|error| {
            // Only the words: the quoted line is the file's, and may be hostile.
            ManifestError::Toml(foreign(error.message()))
        })?;
        if file.version != VERSION {
            return Err(ManifestError::Version {
                found: file.version,
            });
        }
        if file.seq == 0 {
            return Err(ManifestError::Seq);
        }
        if !is_name(&file.name) || !is_name(&file.release) {
            return Err(ManifestError::Name);
        }
        if !is_hex(&file.commit, &[40, 64]) {
            return Err(ManifestError::Commit);
        }
        let record = file.measurements_sha256;
        if record.as_ref().is_some_and(|hash| !is_hex(hash, &[64])) {
            return Err(ManifestError::Record);
        }
        if file.nitro.is_empty() {
            return Err(ManifestError::NothingListed);
        }
        if file.nitro.len() > MAX_RELEASE_MEASUREMENTS {
            return Err(ManifestError::TooMany);
        }
        let nitro = file
            .nitro
            .into_iter()
            .map(|image| Measurement::read(image.name, AWS_NITRO_ROOT_G1, image.pcrs));
        Ok(Self {
            seq: file.seq,
            name: file.name,
            release: file.release,
            commit: file.commit,
            not_after: file.not_after.as_deref().map(expiry).transpose()?,
            measurements_sha256: record,
            nitro: nitro.collect::<Result<_, _>>()?,
        })
    }

    /// Its number: a later manifest of the same keys has a higher one.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// What was released.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its version, as the project counts.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The git commit it was built from, in hexadecimal digits.
    #[must_use]
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// Until when it counts, if it says so.
    #[must_use]
    pub fn not_after(&self) -> Option<SystemTime> {
        self.not_after
    }

    /// SHA-256 of the build's full record, in hexadecimal digits, if it names one.
    #[must_use]
    pub fn measurements_sha256(&self) -> Option<&str> {
        self.measurements_sha256.as_deref()
    }

    /// Its measurements, as far as it knows them: neither a root nor a configuration is its business.
    #[must_use]
    pub fn nitro(&self) -> &[Measurement] {
        &self.nitro
    }
}

fn is_hex(text: &str, lengths: &[usize]) -> bool {
    let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    lengths.contains(&text.len()) && text.bytes().all(digit)
}

fn expiry(text: &str) -> Result<SystemTime, ManifestError> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map(SystemTime::from)
        .map_err(|_| ManifestError::NotAfter)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u8,
    seq: u64,
    name: String,
    release: String,
    commit: String,
    not_after: Option<String>,
    measurements_sha256: Option<String>,
    #[serde(default)]
    nitro: Vec<Image>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Image {
    name: String,
    pcrs: BTreeMap<String, String>,
}

/// A manifest that is about to be written.
#[derive(Clone, Debug)]
pub struct Draft {
    /// [`Manifest::seq`].
    pub seq: u64,
    /// [`Manifest::name`].
    pub name: String,
    /// [`Manifest::release`].
    pub release: String,
    /// [`Manifest::commit`].
    pub commit: String,
    /// [`Manifest::not_after`], as RFC 3339 writes it.
    pub not_after: Option<String>,
    /// [`Manifest::measurements_sha256`].
    pub measurements_sha256: Option<String>,
    /// Name and registers of each image.
    pub nitro: Vec<(String, Pcrs)>,
}

impl Draft {
    /// The manifest's text. The same draft gives the same bytes. What is wrong with a draft is found by reading it back.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut lines = vec![
            format!("version = {VERSION}"),
            format!("seq = {}", self.seq),
            format!("name = {}", quoted(&self.name)),
            format!("release = {}", quoted(&self.release)),
            format!("commit = {}", quoted(&self.commit)),
        ];
        if let Some(at) = &self.not_after {
            lines.push(format!("not_after = {}", quoted(at)));
        }
        if let Some(hash) = &self.measurements_sha256 {
            lines.push(format!("measurements_sha256 = {}", quoted(hash)));
        }
        let entries = self.nitro.iter().map(|(name, pcrs)| entry(name, pcrs));
        lines
            .into_iter()
            .chain(entries)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Why a text is no manifest. The fault is its author's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Over [`MAX_RELEASE_BYTES`].
    #[error("the release file is longer than {MAX_RELEASE_BYTES} bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("the release file is not text")]
    NotText,
    /// Not TOML, or not the promised keys.
    #[error("the manifest cannot be read: {0}")]
    Toml(String),
    /// Another format.
    #[error("the manifest has version {found}, this program reads version {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// Numbers begin at 1.
    #[error("seq is 0; numbers begin at 1")]
    Seq,
    /// A name or release that is empty, too long or unprintable.
    #[error("name and release must be printable and not longer than a line")]
    Name,
    /// Not a git commit.
    #[error("commit is not 40 or 64 lower-case hexadecimal digits")]
    Commit,
    /// Not a time.
    #[error("not_after is not a time like 2027-01-31T00:00:00Z")]
    NotAfter,
    /// Not a hash.
    #[error("measurements_sha256 is not 64 lower-case hexadecimal digits")]
    Record,
    /// No measurement.
    #[error("the manifest lists no measurement")]
    NothingListed,
    /// Over [`MAX_RELEASE_MEASUREMENTS`].
    #[error("the manifest lists more than {MAX_RELEASE_MEASUREMENTS} measurements")]
    TooMany,
    /// An entry that is no measurement.
    #[error(transparent)]
    Measurement(#[from] MeasurementError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nitro::Pcr;
    use std::time::{Duration, UNIX_EPOCH};

    fn draft() -> Draft {
        let pcrs: Pcrs = (0..3).map(|index| (index, Pcr::of(&[index]))).collect();
        Draft {
            seq: 14,
            name: "adyton".to_owned(),
            release: "1.4.2 \"quoted\"".to_owned(),
            commit: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            not_after: Some("2030-03-17T17:46:40Z".to_owned()),
            measurements_sha256: Some("ab".repeat(32)),
            nitro: vec![("x86_64".to_owned(), pcrs)],
        }
    }

    fn with(change: impl FnOnce(&mut Draft)) -> Result<Manifest, ManifestError> {
        let mut draft = draft();
        change(&mut draft);
        Manifest::from_toml(&draft.to_text())
    }

    #[test]
    fn a_manifest_is_read_back_as_drafted() {
        let manifest = with(|_| ()).unwrap();
        assert_eq!(manifest.seq(), 14);
        assert_eq!(
            (manifest.name(), manifest.release()),
            ("adyton", "1.4.2 \"quoted\"")
        );
        assert_eq!(manifest.commit(), draft().commit);
        let expiry = UNIX_EPOCH + Duration::from_secs(1_900_000_000);
        assert_eq!(manifest.not_after(), Some(expiry));
        assert_eq!(
            manifest.measurements_sha256().map(str::to_owned),
            draft().measurements_sha256
        );
        let [image] = manifest.nitro() else {
            panic!("one image")
        };
        assert_eq!(image.name(), "x86_64");
        assert_eq!(*image.pcrs(), draft().nitro[0].1);
    }

    #[test]
    fn the_text_is_the_one_that_is_written_down() {
        let text = draft().to_text();
        let head = "version = 1\nseq = 14\nname = \"adyton\"\n";
        assert!(text.starts_with(head), "{text}");
        assert!(
            text.contains("not_after = \"2030-03-17T17:46:40Z\"\n"),
            "{text}"
        );
        assert!(
            text.contains("\n\n[[nitro]]\nname = \"x86_64\"\npcrs.0 = \""),
            "{text}"
        );
        assert!(text.ends_with("\"\n"));
    }

    #[test]
    fn a_field_that_is_not_in_form_is_refused() {
        assert_eq!(with(|draft| draft.seq = 0), Err(ManifestError::Seq));
        for name in [String::new(), "n".repeat(121), "a\u{1b}b".to_owned()] {
            let in_name = with(|draft| draft.name = name.clone());
            let in_release = with(|draft| draft.release = name.clone());
            assert_eq!(in_name, Err(ManifestError::Name));
            assert_eq!(in_release, Err(ManifestError::Name));
        }
        for commit in ["", "abc", &"A".repeat(40), &"a".repeat(41), &"g".repeat(40)] {
            let refused = with(|draft| draft.commit = commit.to_owned());
            assert_eq!(refused, Err(ManifestError::Commit), "{commit}");
        }
        assert!(with(|draft| draft.commit = "a".repeat(64)).is_ok());
        let record = with(|draft| draft.measurements_sha256 = Some("ab".repeat(31)));
        assert_eq!(record, Err(ManifestError::Record));
        let text = draft().to_text().replace("2030-03-17T", "2030-03-32T");
        assert_eq!(Manifest::from_toml(&text), Err(ManifestError::NotAfter));
        let text = draft().to_text().replace("version = 1", "version = 2");
        let version = Err(ManifestError::Version { found: 2 });
        assert_eq!(Manifest::from_toml(&text), version);
    }

    #[test]
    fn an_unknown_or_doubled_key_is_refused() {
        for line in ["root_sha256 = \"\"", "seq = 15", "debug = true", "[policy]"] {
            let text = format!("{line}\n{}", draft().to_text());
            let refused = Manifest::from_toml(&text);
            assert!(matches!(refused, Err(ManifestError::Toml(_))), "{line}");
        }
        // No manifest can name the root that its measurements are signed under.
        let text = format!(
            "{}root_sha256 = \"{}\"\n",
            draft().to_text(),
            "1".repeat(64)
        );
        let refused = Manifest::from_toml(&text);
        assert!(matches!(refused, Err(ManifestError::Toml(_))));
    }

    #[test]
    fn debug_mode_cannot_be_released() {
        for index in 0..3 {
            let zero = with(|draft| {
                draft.nitro[0].1.insert(index, Pcr::ZERO);
            });
            assert!(
                matches!(zero, Err(ManifestError::Measurement(MeasurementError::Debug { index: found, .. })) if found == index)
            );
            let missing = with(|draft| {
                draft.nitro[0].1.remove(&index);
            });
            assert!(
                matches!(missing, Err(ManifestError::Measurement(MeasurementError::ImagePcrMissing { index: found, .. })) if found == index)
            );
        }
    }

    #[test]
    fn a_manifest_lists_something_and_not_too_much() {
        let many = |count| with(|draft| draft.nitro = vec![draft.nitro[0].clone(); count]);
        assert_eq!(many(0), Err(ManifestError::NothingListed));
        assert!(many(MAX_RELEASE_MEASUREMENTS).is_ok());
        assert_eq!(
            many(MAX_RELEASE_MEASUREMENTS + 1),
            Err(ManifestError::TooMany)
        );
    }
}
