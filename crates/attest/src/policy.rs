//! What a person trusts: the policy file.
//!
//! Guarantees: a [`Policy`] that exists names only whole, non-debug measurements, and trusts roots that are not a
//! hardware vendor's only if its author also wrote `allow_simulated = true`. Refuses to know evidence.

mod dstack;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::measurement::{Measurement, MeasurementError, registers};
use crate::nitro::{AWS_NITRO_ROOT_G1, Pcrs, RootHash};
use crate::release::{Release, ReleaseError, ReleaseKeys, ReleaseKeysError, UnverifiedRelease};
use crate::tdx::INTEL_SGX_ROOT;

use self::dstack::DstackEntry;
pub use self::dstack::{DstackMeasurement, FoundGuest, MAX_RTMR0};

/// Longest policy file.
pub const MAX_POLICY_BYTES: usize = 256 * 1024;

/// Most measurements in one policy.
pub const MAX_MEASUREMENTS: usize = 256;

/// Oldest that a policy may let a document be: a Nitro leaf lives three hours, a day is beyond any use.
pub const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// The file format's version.
const VERSION: u8 = 1;

/// What errors about that part of the file call it.
const RELEASE_KEYS: &str = "release_keys";

/// A policy that was read and found sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    max_age: Duration,
    max_cached_age: Duration,
    max_future_skew: Duration,
    require_nonce: bool,
    require_channel_binding: bool,
    allow_simulated: bool,
    nitro: Vec<Measurement>,
    dstack: Vec<DstackMeasurement>,
    release_trust: Option<ReleaseTrust>,
    released: Option<Released>,
}

impl Default for Policy {
    /// Trusts AWS's root to sign documents, and no measurement: until one is listed, every node is refused.
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(300),
            max_cached_age: Duration::from_secs(3600),
            max_future_skew: Duration::from_secs(60),
            require_nonce: true,
            require_channel_binding: true,
            allow_simulated: false,
            nitro: Vec::new(),
            dstack: Vec::new(),
            release_trust: None,
            released: None,
        }
    }
}

impl Policy {
    /// Reads a policy file (TOML; an unknown key is an error, so a misspelt one cannot be overlooked).
    ///
    /// # Errors
    /// [`PolicyError`] says what to correct.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        if text.len() > MAX_POLICY_BYTES {
            return Err(PolicyError::TooLong);
        }
        let file: File =
            toml::from_str(text).map_err(|error| PolicyError::Toml(Box::new(error)))?;
        if file.version != VERSION {
            return Err(PolicyError::Version {
                found: file.version,
            });
        }
        if file.nitro.len() + file.dstack.len() > MAX_MEASUREMENTS {
            return Err(PolicyError::TooMany);
        }
        let default = Self::default();
        let age = |seconds: Option<u64>, default: Duration| match seconds.map(Duration::from_secs) {
            None => Ok(default),
            Some(age) if age <= MAX_AGE => Ok(age),
            Some(_) => Err(PolicyError::Age),
        };
        let allow_simulated = file.allow_simulated.unwrap_or(default.allow_simulated);
        let measurement = |entry: NitroEntry| {
            let root = root(
                &entry.name,
                entry.root_sha256.as_deref(),
                AWS_NITRO_ROOT_G1,
                allow_simulated,
            )?;
            Ok::<_, PolicyError>(Measurement::read(entry.name, root, entry.pcrs)?)
        };
        Ok(Self {
            max_age: age(file.max_age_seconds, default.max_age)?,
            max_cached_age: age(file.max_cached_age_seconds, default.max_cached_age)?,
            max_future_skew: age(file.max_future_skew_seconds, default.max_future_skew)?,
            require_nonce: file.require_nonce.unwrap_or(default.require_nonce),
            require_channel_binding: file
                .require_channel_binding
                .unwrap_or(default.require_channel_binding),
            allow_simulated,
            nitro: file
                .nitro
                .into_iter()
                .map(measurement)
                .collect::<Result<_, _>>()?,
            dstack: file
                .dstack
                .into_iter()
                .map(|entry| DstackMeasurement::read(entry, allow_simulated))
                .collect::<Result<_, _>>()?,
            release_trust: file
                .release_keys
                .map(|entry| ReleaseTrust::read(entry, allow_simulated))
                .transpose()?,
            released: None,
        })
    }

    /// Trusts what a release manifest lists as well, if enough of this policy's release keys signed it and its number
    /// is not below the policy's. A manifest that was accepted before is replaced: only the last one counts.
    ///
    /// Whether a higher number was seen earlier is not known here: [`crate::release::Memory`] keeps that.
    ///
    /// # Errors
    /// [`ReleaseError`]: the policy names no release keys, or the manifest is not theirs, or too old.
    pub fn with_release(mut self, release: UnverifiedRelease) -> Result<Self, ReleaseError> {
        let trust = self.release_trust.as_ref().ok_or(ReleaseError::NoKeys)?;
        let release = release.verify(&trust.keys)?;
        let (found, least) = (release.manifest().seq(), trust.min_seq);
        if found < least {
            return Err(ReleaseError::TooOld { found, least });
        }
        let nitro = release.manifest().nitro().iter();
        let nitro = nitro.map(|listed| listed.under(trust.root, &trust.pcrs));
        let nitro = nitro.collect::<Option<_>>();
        let nitro = nitro.ok_or(ReleaseError::Contradiction)?;
        self.released = Some(Released { release, nitro });
        Ok(self)
    }

    /// How old a document may be that answers a fresh nonce.
    #[must_use]
    pub fn max_age(&self) -> Duration {
        self.max_age
    }

    /// How old a document may be that answers none.
    #[must_use]
    pub fn max_cached_age(&self) -> Duration {
        self.max_cached_age
    }

    /// How far in the future a document may lie (clocks differ).
    #[must_use]
    pub fn max_future_skew(&self) -> Duration {
        self.max_future_skew
    }

    /// Whether evidence must answer a fresh nonce.
    #[must_use]
    pub fn require_nonce(&self) -> bool {
        self.require_nonce
    }

    /// Whether evidence must cover the very connection it is shown on.
    #[must_use]
    pub fn require_channel_binding(&self) -> bool {
        self.require_channel_binding
    }

    /// Whether a simulation may pass. A root is still trusted only if a measurement names it.
    #[must_use]
    pub fn allow_simulated(&self) -> bool {
        self.allow_simulated
    }

    /// The measurements that are trusted by value.
    #[must_use]
    pub fn nitro(&self) -> &[Measurement] {
        &self.nitro
    }

    /// The trusted applications on dstack.
    #[must_use]
    pub fn dstack(&self) -> &[DstackMeasurement] {
        &self.dstack
    }

    /// The roots that may vouch for TDX platforms: Intel's, and those that entries name.
    #[must_use]
    pub fn dstack_roots(&self) -> Vec<RootHash> {
        let mut roots = vec![INTEL_SGX_ROOT];
        for measurement in &self.dstack {
            if !roots.contains(&measurement.root()) {
                roots.push(measurement.root());
            }
        }
        roots
    }

    /// The measurements that are trusted because the accepted manifest lists them.
    #[must_use]
    pub fn released_nitro(&self) -> &[Measurement] {
        self.released
            .as_ref()
            .map_or(&[], |released| released.nitro.as_slice())
    }

    /// The accepted manifest.
    #[must_use]
    pub fn release(&self) -> Option<&Release> {
        self.released.as_ref().map(|released| &released.release)
    }

    /// The roots that may sign Nitro documents: AWS's, and those that measurements or the release keys name.
    #[must_use]
    pub fn roots(&self) -> Vec<RootHash> {
        let mut roots = vec![AWS_NITRO_ROOT_G1];
        let named = self.nitro.iter().map(Measurement::root);
        for root in named.chain(self.release_trust.iter().map(|trust| trust.root)) {
            if !roots.contains(&root) {
                roots.push(root);
            }
        }
        roots
    }
}

/// Whose manifests count: the keys, the oldest number, the root under which they may list measurements, and the registers
/// that an enclave must show beside those of the manifest (its configuration, which no manifest knows).
#[derive(Clone, Debug, PartialEq, Eq)]
struct ReleaseTrust {
    keys: ReleaseKeys,
    min_seq: u64,
    root: RootHash,
    pcrs: Pcrs,
}

impl ReleaseTrust {
    fn read(entry: ReleaseEntry, allow_simulated: bool) -> Result<Self, PolicyError> {
        let keys = ReleaseKeys::read(entry.threshold, &entry.keys)?;
        let root = root(
            RELEASE_KEYS,
            entry.root_sha256.as_deref(),
            AWS_NITRO_ROOT_G1,
            allow_simulated,
        )?;
        Ok(Self {
            keys,
            min_seq: entry.min_seq.unwrap_or(0),
            root,
            pcrs: registers(entry.pcrs).ok_or_else(|| MeasurementError::Pcr {
                name: RELEASE_KEYS.to_owned(),
            })?,
        })
    }
}

/// A manifest that the policy's keys signed, with its measurements under the policy's root.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Released {
    release: Release,
    nitro: Vec<Measurement>,
}

/// The root that an entry names, or the vendor's; one that is not the vendor's needs `allow_simulated`.
fn root(
    name: &str,
    hash: Option<&str>,
    vendor: RootHash,
    allow_simulated: bool,
) -> Result<RootHash, PolicyError> {
    let name = || name.to_owned();
    let root = match hash.map(RootHash::from_hex) {
        None => vendor,
        Some(Some(root)) => root,
        Some(None) => return Err(PolicyError::Root { name: name() }),
    };
    if root != vendor && !allow_simulated {
        return Err(PolicyError::SimulatedRoot { name: name() });
    }
    Ok(root)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u8,
    max_age_seconds: Option<u64>,
    max_cached_age_seconds: Option<u64>,
    max_future_skew_seconds: Option<u64>,
    require_nonce: Option<bool>,
    require_channel_binding: Option<bool>,
    allow_simulated: Option<bool>,
    #[serde(default)]
    nitro: Vec<NitroEntry>,
    #[serde(default)]
    dstack: Vec<DstackEntry>,
    release_keys: Option<ReleaseEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NitroEntry {
    name: String,
    root_sha256: Option<String>,
    pcrs: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleaseEntry {
    threshold: usize,
    keys: Vec<String>,
    min_seq: Option<u64>,
    root_sha256: Option<String>,
    #[serde(default)]
    pcrs: BTreeMap<String, String>,
}

/// Why a policy file is not one. The fault is its author's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Over [`MAX_POLICY_BYTES`].
    #[error("the policy is longer than {MAX_POLICY_BYTES} bytes")]
    TooLong,
    /// Not TOML, or not the promised keys.
    #[error("the policy cannot be read")]
    Toml(#[source] Box<toml::de::Error>),
    /// Another format.
    #[error("the policy has version {found}, this program reads version {VERSION}")]
    Version {
        /// The version found.
        found: u8,
    },
    /// Over [`MAX_MEASUREMENTS`].
    #[error("the policy lists more than {MAX_MEASUREMENTS} measurements")]
    TooMany,
    /// An age over [`MAX_AGE`].
    #[error("the policy allows documents older than a day")]
    Age,
    /// An entry that is no measurement.
    #[error(transparent)]
    Measurement(#[from] MeasurementError),
    /// Release keys that cannot be used.
    #[error("release_keys: {0}")]
    ReleaseKeys(#[from] ReleaseKeysError),
    /// A root hash that is not one.
    #[error("{name:?}: root_sha256 is not 64 hexadecimal digits")]
    Root {
        /// The measurement.
        name: String,
    },
    /// A root that is no hardware vendor's, without `allow_simulated`.
    #[error(
        "{name:?}: the root is not that of a hardware vendor; only allow_simulated = true trusts a simulation"
    )]
    SimulatedRoot {
        /// The measurement.
        name: String,
    },
    /// A field of a `[[dstack]]` entry that is missing its value, zero, or of another form.
    #[error("{name:?}: {what} is not in form, or says what can never be trusted")]
    Dstack {
        /// The measurement.
        name: String,
        /// The field.
        what: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nitro::Pcr;

    fn hex96(digit: &str) -> String {
        digit.repeat(96)
    }

    fn entry(root: &str, pcrs: &str) -> String {
        format!(
            "version = 1\nallow_simulated = true\n[[nitro]]\nname = \"n\"\n{root}\npcrs = {{ {pcrs} }}\n"
        )
    }

    fn image_pcrs() -> String {
        format!("0 = \"{0}\", 1 = \"{0}\", 2 = \"{0}\"", hex96("a"))
    }

    #[test]
    fn the_default_policy_is_an_empty_file_with_a_version() {
        assert_eq!(Policy::from_toml("version = 1"), Ok(Policy::default()));
        assert_eq!(Policy::default().roots(), [AWS_NITRO_ROOT_G1]);
        assert!(Policy::default().nitro().is_empty());
        assert!(!Policy::default().allow_simulated());
    }

    #[test]
    fn every_key_is_read() {
        let text = format!(
            "version = 1\nmax_age_seconds = 1\nmax_cached_age_seconds = 2\nmax_future_skew_seconds = 3\n\
             require_nonce = false\nrequire_channel_binding = false\nallow_simulated = true\n\
             [[nitro]]\nname = \"one\"\npcrs = {{ {0} }}\n\
             [[nitro]]\nname = \"two\"\nroot_sha256 = \"{1}\"\npcrs = {{ {0}, 17 = \"{2}\" }}",
            image_pcrs(),
            "1".repeat(64),
            hex96("0"),
        );
        let policy = Policy::from_toml(&text).unwrap();
        assert_eq!(policy.max_age(), Duration::from_secs(1));
        assert_eq!(policy.max_cached_age(), Duration::from_secs(2));
        assert_eq!(policy.max_future_skew(), Duration::from_secs(3));
        assert!(
            !policy.require_nonce()
                && !policy.require_channel_binding()
                && policy.allow_simulated()
        );
        let [one, two] = policy.nitro() else {
            panic!("two measurements")
        };
        assert_eq!(
            (one.name(), one.root(), one.pcrs().len()),
            ("one", AWS_NITRO_ROOT_G1, 3)
        );
        assert_eq!((two.name(), two.pcrs().get(&17)), ("two", Some(&Pcr::ZERO)));
        assert_eq!(
            policy.roots(),
            [
                AWS_NITRO_ROOT_G1,
                RootHash::from_hex(&"1".repeat(64)).unwrap()
            ]
        );
    }

    #[test]
    fn a_misspelt_key_is_an_error() {
        for text in [
            "version = 1\nallow_dev = true",
            "version = 1\nversion = 1",
            "",
            "version = 1\n[[nitro]]\nname = \"n\"\npcr = {}",
        ] {
            assert!(
                matches!(Policy::from_toml(text), Err(PolicyError::Toml(_))),
                "{text}"
            );
        }
        assert_eq!(
            Policy::from_toml("version = 2"),
            Err(PolicyError::Version { found: 2 })
        );
    }

    #[test]
    fn a_misspelt_key_beside_all_the_right_ones_is_an_error_too() {
        let whole = entry("", &image_pcrs());
        assert!(Policy::from_toml(&whole).is_ok());
        let more = Policy::from_toml(&entry("rot_sha256 = \"\"", &image_pcrs()));
        assert!(matches!(more, Err(PolicyError::Toml(_))));
    }

    #[test]
    fn a_root_that_is_no_vendors_needs_allow_simulated() {
        let root = format!("root_sha256 = \"{}\"", "1".repeat(64));
        let text = entry(&root, &image_pcrs());
        assert!(Policy::from_toml(&text).is_ok());
        let without = text.replace("allow_simulated = true", "");
        assert_eq!(
            Policy::from_toml(&without),
            Err(PolicyError::SimulatedRoot { name: "n".into() })
        );
    }

    #[test]
    fn an_entry_that_is_no_measurement_or_names_no_root_is_refused() {
        let zero = image_pcrs().replace(&hex96("a"), &hex96("0"));
        assert_eq!(
            Policy::from_toml(&entry("", &zero)),
            Err(PolicyError::Measurement(MeasurementError::Debug {
                name: "n".into(),
                index: 0
            }))
        );
        let root = Policy::from_toml(&entry("root_sha256 = \"ab\"", &image_pcrs()));
        assert_eq!(root, Err(PolicyError::Root { name: "n".into() }));
    }

    #[test]
    fn one_over_a_limit_is_refused() {
        let mut text = String::from("version = 1\n");
        text.push_str(&"#".repeat(MAX_POLICY_BYTES - text.len()));
        assert!(Policy::from_toml(&text).is_ok());
        text.push('#');
        assert_eq!(Policy::from_toml(&text), Err(PolicyError::TooLong));

        let many = |count| {
            let one = format!("[[nitro]]\nname = \"n\"\npcrs = {{ {} }}\n", image_pcrs());
            Policy::from_toml(&format!("version = 1\n{}", one.repeat(count)))
        };
        assert!(many(MAX_MEASUREMENTS).is_ok());
        assert_eq!(many(MAX_MEASUREMENTS + 1), Err(PolicyError::TooMany));

        assert!(Policy::from_toml("version = 1\nmax_age_seconds = 86400").is_ok());
        assert_eq!(
            Policy::from_toml("version = 1\nmax_age_seconds = 86401"),
            Err(PolicyError::Age)
        );
    }

    /// Written by `adyton-enclave oyster`, whose own test keeps the file as it is.
    #[test]
    fn the_policy_for_marlin_oyster_names_the_compose_file_and_the_configuration() {
        let text = include_str!("../../enclave/tests/vectors/oyster-policy.toml");
        let policy = Policy::from_toml(text).unwrap();
        let [measurement] = policy.nitro() else {
            panic!("one measurement")
        };
        assert_eq!(measurement.root(), AWS_NITRO_ROOT_G1);
        let named: Vec<u8> = measurement.pcrs().keys().copied().collect();
        assert_eq!(named, [0, 1, 2, 16, 17]);
        let config = crate::ConfigDigest::of("listen = \"0.0.0.0:443\"\n");
        assert_eq!(measurement.pcrs()[&17], Pcr::of_config(&config));
        let mut other = measurement.pcrs().clone();
        other.remove(&16);
        assert!(
            !measurement.matches(AWS_NITRO_ROOT_G1, &other),
            "a missing register is not zero"
        );
    }
}
