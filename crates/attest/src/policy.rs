//! What a person trusts: the policy file.
//!
//! Guarantees: a [`Policy`] that exists names only whole, non-debug measurements, and trusts roots that are not a
//! hardware vendor's only if its author also wrote `allow_simulated = true`. Refuses to know evidence.

mod dstack;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::nitro::pcr::MAX_INDEX;
use crate::nitro::{AWS_NITRO_ROOT_G1, Pcr, Pcrs, RootHash};
use crate::tdx::INTEL_SGX_ROOT;

use self::dstack::DstackEntry;
#[cfg(feature = "tdx")]
pub(crate) use self::dstack::Found;
pub use self::dstack::{DstackMeasurement, MAX_RTMR0};

/// Longest policy file.
pub const MAX_POLICY_BYTES: usize = 256 * 1024;

/// Most measurements in one policy.
pub const MAX_MEASUREMENTS: usize = 256;

/// Longest name of a measurement.
pub const MAX_NAME_CHARS: usize = 120;

/// Oldest that a policy may let a document be: a Nitro leaf lives three hours, a day is beyond any use.
pub const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// The file format's version.
const VERSION: u8 = 1;

/// Registers that every measurement must name: image, kernel, application.
const IMAGE_PCRS: [u8; 3] = [0, 1, 2];

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
        let measurement = |entry| Measurement::read(entry, allow_simulated);
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
        })
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

    /// The trusted measurements.
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

    /// The roots that may sign Nitro documents: AWS's, and those that measurements name.
    #[must_use]
    pub fn roots(&self) -> Vec<RootHash> {
        let mut roots = vec![AWS_NITRO_ROOT_G1];
        for measurement in &self.nitro {
            if !roots.contains(&measurement.root) {
                roots.push(measurement.root);
            }
        }
        roots
    }
}

/// One enclave image that is trusted, under one root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measurement {
    name: String,
    root: RootHash,
    pcrs: Pcrs,
}

impl Measurement {
    fn read(entry: NitroEntry, allow_simulated: bool) -> Result<Self, PolicyError> {
        let name = entry.name;
        if name.is_empty()
            || name.chars().count() > MAX_NAME_CHARS
            || name.chars().any(char::is_control)
        {
            return Err(PolicyError::Name);
        }
        let root = match entry.root_sha256.as_deref().map(RootHash::from_hex) {
            None => AWS_NITRO_ROOT_G1,
            Some(Some(root)) => root,
            Some(None) => return Err(PolicyError::Root { name }),
        };
        if !root.is_hardware_vendor() && !allow_simulated {
            return Err(PolicyError::SimulatedRoot { name });
        }
        let mut pcrs = Pcrs::new();
        for (index, value) in entry.pcrs {
            let parsed = index
                .parse()
                .ok()
                .filter(|number: &u8| *number <= MAX_INDEX && number.to_string() == index);
            let (Some(number), Some(pcr)) = (parsed, Pcr::from_hex(&value)) else {
                return Err(PolicyError::Pcr { name });
            };
            pcrs.insert(number, pcr);
        }
        for index in IMAGE_PCRS {
            match pcrs.get(&index) {
                None => return Err(PolicyError::ImagePcrMissing { name, index }),
                Some(pcr) if pcr.is_zero() => return Err(PolicyError::Debug { name, index }),
                Some(_) => {}
            }
        }
        Ok(Self { name, root, pcrs })
    }

    /// What the policy's author calls it.
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
            && !self.pcrs.is_empty()
            && self
                .pcrs
                .iter()
                .all(|(index, expected)| pcrs.get(index) == Some(expected))
    }
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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NitroEntry {
    name: String,
    root_sha256: Option<String>,
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
    /// A measurement without a usable name.
    #[error(
        "a measurement has no name, or one that is longer than {MAX_NAME_CHARS} characters or unprintable"
    )]
    Name,
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
    /// A register that is not one.
    #[error("{name:?}: pcrs must be numbers 0 to 31 with 96 hexadecimal digits each")]
    Pcr {
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
    fn debug_mode_can_never_be_written_down() {
        for index in IMAGE_PCRS {
            let zero = image_pcrs().replace(
                &format!("{index} = \"{}\"", hex96("a")),
                &format!("{index} = \"{}\"", hex96("0")),
            );
            assert_eq!(
                Policy::from_toml(&entry("", &zero)),
                Err(PolicyError::Debug {
                    name: "n".into(),
                    index
                })
            );
        }
    }

    #[test]
    fn an_image_is_named_whole() {
        for index in IMAGE_PCRS {
            let missing =
                image_pcrs().replace(&format!("{index} = "), &format!("{} = ", index + 20));
            let refused = Policy::from_toml(&entry("", &missing));
            assert_eq!(
                refused,
                Err(PolicyError::ImagePcrMissing {
                    name: "n".into(),
                    index
                })
            );
        }
        assert!(matches!(
            Policy::from_toml(&entry("", "")),
            Err(PolicyError::ImagePcrMissing { .. })
        ));
    }

    #[test]
    fn registers_and_roots_that_are_none_are_refused() {
        for wrong in ["32 = \"", "00 = \"", "+3 = \"", "x = \"", "-1 = \""] {
            let pcrs = format!("{}, {wrong}{}\"", image_pcrs(), hex96("b"));
            let wrong_index = Policy::from_toml(&entry("", &pcrs));
            assert!(
                matches!(
                    wrong_index,
                    Err(PolicyError::Pcr { .. } | PolicyError::Toml(_))
                ),
                "{wrong}"
            );
        }
        let short = format!("{}, 3 = \"abcd\"", image_pcrs());
        assert_eq!(
            Policy::from_toml(&entry("", &short)),
            Err(PolicyError::Pcr { name: "n".into() })
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

        let named = |name: &str| {
            Policy::from_toml(&entry("", &image_pcrs()).replace("\"n\"", &format!("\"{name}\"")))
                .map(|_| ())
        };
        assert_eq!(named(&"n".repeat(MAX_NAME_CHARS)), Ok(()));
        for name in ["", &"n".repeat(MAX_NAME_CHARS + 1), "a\\u001bb"] {
            assert_eq!(named(name), Err(PolicyError::Name), "{name}");
        }
    }

    #[test]
    fn a_measurement_matches_only_what_has_every_register_it_names() {
        let policy = Policy::from_toml(&entry(
            "",
            &format!("{}, 16 = \"{}\"", image_pcrs(), hex96("0")),
        ))
        .unwrap();
        let measurement = &policy.nitro()[0];
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
