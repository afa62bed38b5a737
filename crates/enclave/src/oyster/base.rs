//! The image that Oyster starts, before it knows any compose file.
//!
//! Guarantees: three registers, none of them zero (which an enclave in debug mode shows). Refuses to know who built it: the
//! values of the presets are Marlin's word; whoever rebuilds their image can check it.

use std::fmt;
use std::str::FromStr;

/// PCR0, PCR1 and PCR2 of a base image.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BaseImage {
    pcrs: [[u8; 48]; 3],
}

/// Marlin's published base images, by a name that says the version: a new one never takes an old one's name.
pub const PRESETS: [(&str, [&str; 3]); 2] = [
    (
        "blue-v3-amd64",
        [
            "7d08525c48ff4b28d4539924f9944957cb30973be51a3bcefa2a284e504d91636d35be6d17fed21a520a755f115b0330",
            "ed7759aa996a2e94c6086f24f61f354f75f9ea7f93a74f55d65c2cb5590d1af3930c9adbc57bb543764fa1f5c444f495",
            "4b23d52967848dbbb7a4b8373282c9fa1629e65febf04d4887ac3f58e4a98ca7519b3d0512fec4008dfa09b5c41b99c1",
        ],
    ),
    (
        "blue-v3-arm64",
        [
            "3aa0e6e6ed7d8301655fced7e6ddcc443a3e57bf62f070caa6becf337069e859c0f03d68136440ff1cab8adefd20634c",
            "b0d319fa64f9c2c9d7e9187bc21001ddacfab4077e737957fa1b8b97cc993bed43a79019aebfd40ee5f6f213147909f8",
            "fdb2295dc5d9b67a653ed5f3ead5fc8166ec3cae1de1c7c6f31c3b43b2eb26ab5d063f414f3d2b93163426805dfe057e",
        ],
    ),
];

impl BaseImage {
    /// Takes three registers of 96 hexadecimal digits.
    ///
    /// # Errors
    /// [`BaseImageError`] when one is not, or is zero.
    pub fn new(pcrs: [&str; 3]) -> Result<Self, BaseImageError> {
        let mut image = Self { pcrs: [[0; 48]; 3] };
        for ((index, text), pcr) in (0..).zip(pcrs).zip(&mut image.pcrs) {
            hex::decode_to_slice(text, pcr).map_err(|_| BaseImageError::Pcr { index })?;
            if *pcr == [0; 48] {
                return Err(BaseImageError::Debug { index });
            }
        }
        Ok(image)
    }

    /// The registers.
    #[must_use]
    pub fn pcrs(&self) -> &[[u8; 48]; 3] {
        &self.pcrs
    }
}

impl FromStr for BaseImage {
    type Err = BaseImageError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let preset = PRESETS.iter().find(|(known, _)| *known == name);
        let (_, pcrs) = preset.ok_or(BaseImageError::Unknown)?;
        Self::new(*pcrs)
    }
}

impl fmt::Debug for BaseImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.pcrs.map(hex::encode)).finish()
    }
}

/// Why there is no base image. The fault is the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BaseImageError {
    /// A name that is no preset's.
    #[error("no base image has this name; known are blue-v3-amd64 and blue-v3-arm64")]
    Unknown,
    /// A register that is not one.
    #[error("pcr{index} is not 96 hexadecimal digits")]
    Pcr {
        /// Its number.
        index: u8,
    },
    /// A register of an enclave in debug mode.
    #[error("pcr{index} is zero, which means debug mode; that can never be trusted")]
    Debug {
        /// Its number.
        index: u8,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_whole_and_named_by_version() {
        for (name, pcrs) in PRESETS {
            let image: BaseImage = name.parse().unwrap();
            assert_eq!(image.pcrs().map(hex::encode), pcrs);
        }
        for name in ["blue", "debug", "", "blue-v3"] {
            assert_eq!(
                name.parse::<BaseImage>(),
                Err(BaseImageError::Unknown),
                "{name}"
            );
        }
    }

    #[test]
    fn a_register_that_is_zero_or_none_is_refused() {
        let good = "a".repeat(96);
        let zero = "0".repeat(96);
        assert!(BaseImage::new([&good, &good, &good]).is_ok());
        let debug = BaseImage::new([&good, &zero, &good]);
        assert_eq!(debug, Err(BaseImageError::Debug { index: 1 }));
        for wrong in ["", &good[1..], "x"] {
            let none = BaseImage::new([&good, &good, wrong]);
            assert_eq!(none, Err(BaseImageError::Pcr { index: 2 }), "{wrong}");
        }
    }
}
