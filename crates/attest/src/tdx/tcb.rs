//! How up to date a platform is, in Intel's words.
//!
//! Guarantees: a closed set without `Revoked`, which no policy can allow. Refuses to know which are good enough.

use std::fmt;

/// The status of a platform's trusted computing base (Intel PCS API v4, `tcbStatus`; the last two: Intel's DCAP verifier).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcbStatus {
    /// All security updates are in.
    UpToDate,
    /// Up to date, but software should harden itself.
    SwHardeningNeeded,
    /// Up to date, but the platform should be configured otherwise.
    ConfigurationNeeded,
    /// Both of the above.
    ConfigurationAndSwHardeningNeeded,
    /// Security updates are missing.
    OutOfDate,
    /// Security updates are missing, and the platform should be configured otherwise.
    OutOfDateConfigurationNeeded,
    /// The module was updated under the running guest, which was started by an older one.
    TdRelaunchAdvised,
    /// The same, and the platform should be configured otherwise.
    TdRelaunchAdvisedConfigurationNeeded,
}

impl TcbStatus {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::UpToDate,
        Self::SwHardeningNeeded,
        Self::ConfigurationNeeded,
        Self::ConfigurationAndSwHardeningNeeded,
        Self::OutOfDate,
        Self::OutOfDateConfigurationNeeded,
        Self::TdRelaunchAdvised,
        Self::TdRelaunchAdvisedConfigurationNeeded,
    ];

    /// Intel's name for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UpToDate => "UpToDate",
            Self::SwHardeningNeeded => "SWHardeningNeeded",
            Self::ConfigurationNeeded => "ConfigurationNeeded",
            Self::ConfigurationAndSwHardeningNeeded => "ConfigurationAndSWHardeningNeeded",
            Self::OutOfDate => "OutOfDate",
            Self::OutOfDateConfigurationNeeded => "OutOfDateConfigurationNeeded",
            Self::TdRelaunchAdvised => "TDRelaunchAdvised",
            Self::TdRelaunchAdvisedConfigurationNeeded => "TDRelaunchAdvisedConfigurationNeeded",
        }
    }

    /// Reads Intel's name. `Revoked`, and whatever Intel may add, is none of these.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

impl fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_a_revoked_platform_has_none() {
        for status in TcbStatus::ALL {
            assert_eq!(TcbStatus::from_name(status.name()), Some(status));
        }
        for other in ["Revoked", "", "uptodate", "UpToDate "] {
            assert_eq!(TcbStatus::from_name(other), None, "{other}");
        }
    }
}
