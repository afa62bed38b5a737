//! `[[dstack]]`: one application on one system image that is trusted.
//!
//! Guarantees: a [`DstackMeasurement`] that exists names firmware, virtual hardware, kernel, system and the application's
//! code, none of them zero. Refuses to know evidence.

use serde::Deserialize;

use super::{PolicyError, root};
use crate::binding::ConfigDigest;
use crate::measurement::{MeasurementError, is_name};
use crate::nitro::{Pcr, RootHash};
use crate::tdx::event_log::{Application, MAX_KEY_PROVIDER_BYTES};
use crate::tdx::{INTEL_SGX_ROOT, TcbStatus};

/// Most values of RTMR0 in one entry: it changes with the number of processors and the memory.
pub const MAX_RTMR0: usize = 32;

/// One application on one system image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DstackMeasurement {
    name: String,
    root: RootHash,
    mrtd: Pcr,
    rtmr0: Vec<Pcr>,
    rtmr1: Pcr,
    rtmr2: Pcr,
    compose_hash: [u8; 32],
    app_id: Option<Vec<u8>>,
    key_provider: Option<String>,
    tcb_status: Vec<TcbStatus>,
    config: Option<ConfigDigest>,
}

/// What evidence says, to be compared with an entry.
#[derive(Clone, Copy, Debug)]
pub struct FoundGuest<'a> {
    /// Who vouches for the platform.
    pub root: RootHash,
    /// The virtual firmware.
    pub mrtd: Pcr,
    /// RTMR0 to RTMR2.
    pub rtmr: [Pcr; 3],
    /// What the replayed log says.
    pub application: &'a Application,
    /// How up to date the platform is.
    pub tcb_status: TcbStatus,
    /// The configuration that the node shows. (Step 8d finds out whether it is the one it runs.)
    pub config: ConfigDigest,
}

impl DstackMeasurement {
    pub(super) fn read(entry: DstackEntry, allow_simulated: bool) -> Result<Self, PolicyError> {
        let name = entry.name;
        if !is_name(&name) {
            return Err(MeasurementError::Name.into());
        }
        let root = root(
            &name,
            entry.root_sha256.as_deref(),
            INTEL_SGX_ROOT,
            allow_simulated,
        )?;
        let field = |what| PolicyError::Dstack {
            name: name.clone(),
            what,
        };
        let register = |what, text: &str| match Pcr::from_hex(text) {
            Some(pcr) if !pcr.is_zero() => Ok(pcr),
            Some(_) | None => Err(field(what)),
        };
        let rtmr0 = &entry.rtmr0;
        if !(1..=MAX_RTMR0).contains(&rtmr0.len()) {
            return Err(field("rtmr0"));
        }
        let mut compose_hash = [0; 32];
        hex::decode_to_slice(&entry.compose_hash, &mut compose_hash)
            .map_err(|_| field("compose_hash"))?;
        let app_id = match entry.app_id.as_deref().map(hex::decode) {
            None => None,
            Some(Ok(id)) if (1..=32).contains(&id.len()) => Some(id),
            Some(_) => return Err(field("app_id")),
        };
        let config = match entry.config_sha256.as_deref().map(ConfigDigest::from_hex) {
            None => None,
            Some(Some(config)) => Some(config),
            Some(None) => return Err(field("config_sha256")),
        };
        let key_provider = entry.key_provider;
        if key_provider
            .as_ref()
            .is_some_and(|text| text.is_empty() || text.len() > MAX_KEY_PROVIDER_BYTES)
        {
            return Err(field("key_provider"));
        }
        let tcb_status = match entry.tcb_status {
            None => vec![TcbStatus::UpToDate],
            Some(names) if names.is_empty() => return Err(field("tcb_status")),
            Some(names) => names
                .iter()
                .map(|status| TcbStatus::from_name(status).ok_or_else(|| field("tcb_status")))
                .collect::<Result<_, _>>()?,
        };
        Ok(Self {
            root,
            mrtd: register("mrtd", &entry.mrtd)?,
            rtmr0: rtmr0
                .iter()
                .map(|text| register("rtmr0", text))
                .collect::<Result<_, _>>()?,
            rtmr1: register("rtmr1", &entry.rtmr1)?,
            rtmr2: register("rtmr2", &entry.rtmr2)?,
            compose_hash,
            app_id,
            key_provider,
            tcb_status,
            config,
            name,
        })
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

    /// The configuration it must run, if the policy names one.
    #[must_use]
    pub fn config(&self) -> Option<ConfigDigest> {
        self.config
    }

    /// The first thing that evidence says otherwise than this entry, or `None` if it says all of it. The application's
    /// code counts apart from its id: a deployer can give any code the id of another.
    ///
    /// The number says how many fields agree before it.
    #[must_use]
    pub fn differs(&self, found: &FoundGuest<'_>) -> Option<(usize, &'static str)> {
        let [rtmr0, rtmr1, rtmr2] = &found.rtmr;
        let application = found.application;
        let app_id = self.app_id.as_ref();
        let key_provider = self.key_provider.as_ref();
        [
            (self.root == found.root, "root"),
            (self.mrtd == found.mrtd, "mrtd"),
            (self.rtmr0.contains(rtmr0), "rtmr0"),
            (self.rtmr1 == *rtmr1, "rtmr1"),
            (self.rtmr2 == *rtmr2, "rtmr2"),
            (
                self.compose_hash == application.compose_hash,
                "compose_hash",
            ),
            (app_id.is_none_or(|id| *id == application.app_id), "app_id"),
            (
                key_provider.is_none_or(|text| Some(text) == application.key_provider.as_ref()),
                "key_provider",
            ),
            (self.tcb_status.contains(&found.tcb_status), "tcb_status"),
            (
                self.config.is_none_or(|config| config == found.config),
                "config_sha256",
            ),
        ]
        .into_iter()
        .enumerate()
        .find_map(|(at, (same, what))| (!same).then_some((at, what)))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DstackEntry {
    name: String,
    root_sha256: Option<String>,
    mrtd: String,
    rtmr0: Vec<String>,
    rtmr1: String,
    rtmr2: String,
    compose_hash: String,
    app_id: Option<String>,
    key_provider: Option<String>,
    tcb_status: Option<Vec<String>>,
    config_sha256: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    fn register(digit: &str) -> String {
        digit.repeat(96)
    }

    /// A whole entry, with one line replaced.
    fn entry(name: &str, line: &str) -> String {
        let lines = [
            ("name", "name = \"n\"".to_owned()),
            ("mrtd", format!("mrtd = \"{}\"", register("a"))),
            (
                "rtmr0",
                format!("rtmr0 = [\"{}\", \"{}\"]", register("b"), register("c")),
            ),
            ("rtmr1", format!("rtmr1 = \"{}\"", register("d"))),
            ("rtmr2", format!("rtmr2 = \"{}\"", register("e"))),
            (
                "compose_hash",
                format!("compose_hash = \"{}\"", "01".repeat(32)),
            ),
            ("app_id", format!("app_id = \"{}\"", "02".repeat(20))),
            ("key_provider", "key_provider = \"kms\"".to_owned()),
            (
                "tcb_status",
                "tcb_status = [\"UpToDate\", \"OutOfDate\"]".to_owned(),
            ),
            (
                "config_sha256",
                format!("config_sha256 = \"{}\"", ConfigDigest::of("c")),
            ),
        ];
        let mut text = "version = 1\n[[dstack]]\n".to_owned();
        for (field, ours) in &lines {
            text.push_str(if *field == name { line } else { ours });
            text.push('\n');
        }
        if lines.iter().all(|(field, _)| *field != name) {
            text.push_str(line);
        }
        text
    }

    fn read(name: &str, line: &str) -> Result<DstackMeasurement, PolicyError> {
        Policy::from_toml(&entry(name, line)).map(|policy| policy.dstack()[0].clone())
    }

    fn application() -> Application {
        Application {
            compose_hash: [1; 32],
            app_id: vec![2; 20],
            key_provider: Some("kms".to_owned()),
        }
    }

    fn found(application: &Application) -> FoundGuest<'_> {
        let register = |digit| Pcr::from_hex(&register(digit)).unwrap();
        FoundGuest {
            root: INTEL_SGX_ROOT,
            mrtd: register("a"),
            rtmr: [register("c"), register("d"), register("e")],
            application,
            tcb_status: TcbStatus::OutOfDate,
            config: ConfigDigest::of("c"),
        }
    }

    #[test]
    fn all_that_is_listed_must_be_equal() {
        let measurement = read("", "").unwrap();
        let ours = application();
        assert_eq!(
            measurement.differs(&found(&ours)).map(|(_, what)| what),
            None
        );
        let zero = Pcr::ZERO;
        let [r0, r1, r2] = found(&ours).rtmr;
        let others = [
            (
                "root",
                FoundGuest {
                    root: crate::nitro::AWS_NITRO_ROOT_G1,
                    ..found(&ours)
                },
            ),
            (
                "mrtd",
                FoundGuest {
                    mrtd: zero,
                    ..found(&ours)
                },
            ),
            (
                "rtmr0",
                FoundGuest {
                    rtmr: [zero, r1, r2],
                    ..found(&ours)
                },
            ),
            (
                "rtmr1",
                FoundGuest {
                    rtmr: [r0, zero, r2],
                    ..found(&ours)
                },
            ),
            (
                "rtmr2",
                FoundGuest {
                    rtmr: [r0, r1, zero],
                    ..found(&ours)
                },
            ),
            (
                "config_sha256",
                FoundGuest {
                    config: ConfigDigest::of("d"),
                    ..found(&ours)
                },
            ),
            (
                "tcb_status",
                FoundGuest {
                    tcb_status: TcbStatus::ConfigurationNeeded,
                    ..found(&ours)
                },
            ),
        ];
        for (what, other) in others {
            assert_eq!(
                measurement.differs(&other).map(|(_, what)| what),
                Some(what)
            );
        }
        let code = Application {
            compose_hash: [9; 32],
            ..application()
        };
        assert_eq!(
            measurement.differs(&found(&code)).map(|(_, what)| what),
            Some("compose_hash")
        );
        let id = Application {
            app_id: vec![2; 19],
            ..application()
        };
        assert_eq!(
            measurement.differs(&found(&id)).map(|(_, what)| what),
            Some("app_id")
        );
        for key_provider in [None, Some("other".to_owned())] {
            let provider = Application {
                key_provider,
                ..application()
            };
            assert_eq!(
                measurement.differs(&found(&provider)).map(|(_, what)| what),
                Some("key_provider")
            );
        }
    }

    #[test]
    fn what_is_not_listed_is_not_compared_and_only_up_to_date_platforms_are_trusted() {
        let other = Application {
            app_id: vec![7],
            key_provider: None,
            ..application()
        };
        let text = entry("app_id", "").replace("key_provider = \"kms\"", "");
        let measurement = Policy::from_toml(&text).unwrap().dstack()[0].clone();
        assert_eq!(
            measurement.differs(&found(&other)).map(|(_, what)| what),
            None
        );
        let strict = read("tcb_status", "").unwrap();
        assert_eq!(
            strict.differs(&found(&application())).map(|(_, what)| what),
            Some("tcb_status")
        );
        let current = FoundGuest {
            tcb_status: TcbStatus::UpToDate,
            ..found(&other)
        };
        assert_eq!(measurement.differs(&current).map(|(_, what)| what), None);
    }

    #[test]
    fn a_register_that_is_missing_zero_or_no_register_is_refused() {
        for name in ["mrtd", "rtmr1", "rtmr2"] {
            assert!(
                matches!(read(name, ""), Err(PolicyError::Toml(_))),
                "{name}"
            );
            for value in [register("0"), "a".repeat(95), "a".repeat(97), String::new()] {
                let refused = read(name, &format!("{name} = \"{value}\""));
                assert_eq!(
                    refused,
                    Err(PolicyError::Dstack {
                        name: "n".to_owned(),
                        what: name
                    })
                );
            }
        }
        let many = format!(
            "rtmr0 = [{}]",
            format!("\"{}\",", register("b")).repeat(MAX_RTMR0 + 1)
        );
        for line in [
            "rtmr0 = []",
            &format!("rtmr0 = [\"{}\"]", register("0")),
            &many,
        ] {
            let refused = Err(PolicyError::Dstack {
                name: "n".to_owned(),
                what: "rtmr0",
            });
            assert_eq!(read("rtmr0", line), refused);
        }
    }

    #[test]
    fn no_policy_can_trust_a_revoked_platform_or_one_that_is_debugged() {
        for line in [
            "tcb_status = [\"Revoked\"]",
            "tcb_status = []",
            "tcb_status = [\"\"]",
        ] {
            let refused = Err(PolicyError::Dstack {
                name: "n".to_owned(),
                what: "tcb_status",
            });
            assert_eq!(read("tcb_status", line), refused, "{line}");
        }
        for line in ["debug = true", "debug = false", "allow_debug = true"] {
            assert!(
                matches!(read("debug", line), Err(PolicyError::Toml(_))),
                "{line}"
            );
        }
    }

    #[test]
    fn the_application_must_be_named_by_its_code() {
        assert!(matches!(
            read("compose_hash", ""),
            Err(PolicyError::Toml(_))
        ));
        for (what, line) in [
            ("compose_hash", "compose_hash = \"00\""),
            ("app_id", "app_id = \"\""),
            ("app_id", "app_id = \"x\""),
            ("config_sha256", "config_sha256 = \"x\""),
            ("key_provider", "key_provider = \"\""),
        ] {
            let refused = Err(PolicyError::Dstack {
                name: "n".to_owned(),
                what,
            });
            assert_eq!(read(what, line), refused);
        }
    }

    #[test]
    fn another_root_needs_the_word_simulated() {
        let line = format!("root_sha256 = \"{}\"", "11".repeat(32));
        let refused = Err(PolicyError::SimulatedRoot {
            name: "n".to_owned(),
        });
        assert_eq!(read("root_sha256", &line), refused);
        let allowed = format!("allow_simulated = true\n{}", entry("root_sha256", &line));
        let policy = Policy::from_toml(&allowed.replacen(
            "allow_simulated = true\nversion = 1",
            "version = 1\nallow_simulated = true",
            1,
        ));
        assert_eq!(
            policy.unwrap().dstack()[0].root(),
            RootHash::from_hex(&"11".repeat(32)).unwrap()
        );
        let intel = format!("root_sha256 = \"{INTEL_SGX_ROOT}\"");
        assert_eq!(read("root_sha256", &intel).unwrap().root(), INTEL_SGX_ROOT);
        let wrong = read("root_sha256", "root_sha256 = \"1\"");
        assert_eq!(
            wrong,
            Err(PolicyError::Root {
                name: "n".to_owned()
            })
        );
    }
}
