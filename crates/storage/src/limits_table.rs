//! `[limits]` of the configuration file: what an operator with much memory, little memory, or many strangers, sets otherwise.

use std::time::Duration;

use serde::Deserialize;

use crate::config::{ConfigError, Limits};

/// Keys are the fields of [`Limits`] (and of [`crate::Rates`]) of the same names.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LimitsTable {
    /// See [`Limits::body_bytes`].
    pub body_bytes: Option<usize>,
    /// See [`Limits::bulk_bytes`].
    pub bulk_bytes: Option<usize>,
    /// See [`Limits::bodies_in_flight_bytes`].
    pub bodies_in_flight_bytes: Option<u64>,
    /// See [`Limits::bodies_in_flight_bytes_per_sender`].
    pub bodies_in_flight_bytes_per_sender: Option<u64>,
    /// See [`Limits::repeated_bytes`].
    pub repeated_bytes: Option<u64>,
    /// See [`Limits::databases_per_account`].
    pub databases_per_account: Option<usize>,
    /// See [`Limits::connections_per_address`].
    pub connections_per_address: Option<usize>,
    /// See [`Limits::connections_per_account`].
    pub connections_per_account: Option<usize>,
    /// See [`Limits::feeds`].
    pub feeds: Option<usize>,
    /// See [`Limits::feeds_per_caller`].
    pub feeds_per_caller: Option<usize>,
    /// Seconds: see [`Limits::feed_timeout`].
    pub feed_seconds: Option<u32>,
    /// Seconds: see [`Limits::stall_timeout`].
    pub stall_seconds: Option<u32>,
    /// Seconds: see [`Limits::body_timeout`].
    pub body_seconds: Option<u32>,
    /// Seconds: see [`Limits::header_timeout`].
    pub header_seconds: Option<u32>,
    /// See [`crate::Rates::resolutions`].
    pub resolutions_per_minute: Option<u32>,
    /// See [`Limits::did_writes_per_minute`].
    pub did_writes_per_minute: Option<u32>,
}

impl LimitsTable {
    /// Sets what is given. A limit of nothing would refuse everything, and is a mistake.
    pub(crate) fn apply(self, limits: &mut Limits) -> Result<(), ConfigError> {
        let large = |bytes: usize| bytes > adyton_couch::limits::MAX_BULK_BYTES;
        if self.bulk_bytes.is_some_and(large) {
            let too_large = "larger than the protocol allows";
            return Err(ConfigError::Invalid("limits.bulk-bytes", too_large));
        }
        set("limits.body-bytes", &mut limits.body_bytes, self.body_bytes)?;
        set("limits.bulk-bytes", &mut limits.bulk_bytes, self.bulk_bytes)?;
        set(
            "limits.bodies-in-flight-bytes",
            &mut limits.bodies_in_flight_bytes,
            self.bodies_in_flight_bytes,
        )?;
        // A batch and what is made of it must fit beside what is kept for small bodies, or none of that size is ever taken.
        if limits.bodies_in_flight_bytes < 3 * limits.bulk_bytes as u64 {
            let too_small = "less than three times limits.bulk-bytes";
            return Err(ConfigError::Invalid(
                "limits.bodies-in-flight-bytes",
                too_small,
            ));
        }
        if let Some(bytes) = self.bodies_in_flight_bytes_per_sender {
            if bytes < limits.of_largest_request() {
                let too_small = "less than two and a quarter times limits.bulk-bytes";
                let name = "limits.bodies-in-flight-bytes-per-sender";
                return Err(ConfigError::Invalid(name, too_small));
            }
            limits.bodies_in_flight_bytes_per_sender = Some(bytes);
        }
        if let Some(bytes) = self.repeated_bytes {
            limits.repeated_bytes = bytes;
        }
        set(
            "limits.databases-per-account",
            &mut limits.databases_per_account,
            self.databases_per_account,
        )?;
        if let Some(most) = self.connections_per_address {
            let most = above_nothing("limits.connections-per-address", most)?;
            limits.connections_per_address = Some(most);
        }
        if let Some(most) = self.connections_per_account {
            let most = above_nothing("limits.connections-per-account", most)?;
            limits.connections_per_account = Some(most);
        }
        set("limits.feeds", &mut limits.feeds, self.feeds)?;
        set(
            "limits.feeds-per-caller",
            &mut limits.feeds_per_caller,
            self.feeds_per_caller,
        )?;
        for (name, field, seconds) in [
            (
                "limits.feed-seconds",
                &mut limits.feed_timeout,
                self.feed_seconds,
            ),
            (
                "limits.stall-seconds",
                &mut limits.stall_timeout,
                self.stall_seconds,
            ),
            (
                "limits.body-seconds",
                &mut limits.body_timeout,
                self.body_seconds,
            ),
            (
                "limits.header-seconds",
                &mut limits.header_timeout,
                self.header_seconds,
            ),
        ] {
            if let Some(seconds) = seconds {
                *field = Duration::from_secs(above_nothing(name, seconds)?.into());
            }
        }
        set(
            "limits.did-writes-per-minute",
            &mut limits.did_writes_per_minute,
            self.did_writes_per_minute,
        )?;
        set(
            "limits.resolutions-per-minute",
            &mut limits.rates.resolutions,
            self.resolutions_per_minute,
        )
    }
}

pub(crate) fn set<T: Default + PartialEq>(
    name: &'static str,
    field: &mut T,
    given: Option<T>,
) -> Result<(), ConfigError> {
    if let Some(given) = given {
        *field = above_nothing(name, given)?;
    }
    Ok(())
}

pub(crate) fn above_nothing<T: Default + PartialEq>(
    name: &'static str,
    given: T,
) -> Result<T, ConfigError> {
    match given == T::default() {
        true => Err(ConfigError::Invalid(name, "must be above zero")),
        false => Ok(given),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Limits, ConfigError> {
        let mut limits = Limits::default();
        let table: LimitsTable = toml::from_str(text)?;
        table.apply(&mut limits)?;
        Ok(limits)
    }

    #[test]
    fn what_is_given_counts_and_the_rest_stays() {
        assert_eq!(read("").unwrap(), Limits::default());
        let all = "body-bytes = 1\nbulk-bytes = 2\nbodies-in-flight-bytes = 6\nrepeated-bytes = 0\ndatabases-per-account = 5\n\
            connections-per-address = 6\nfeeds = 7\nfeeds-per-caller = 8\nfeed-seconds = 9\nstall-seconds = 10\nheader-seconds = 11\n\
            resolutions-per-minute = 12\nbodies-in-flight-bytes-per-sender = 13\nbody-seconds = 14\nconnections-per-account = 15\ndid-writes-per-minute = 16";
        let mut expected = Limits {
            body_bytes: 1,
            bulk_bytes: 2,
            bodies_in_flight_bytes: 6,
            bodies_in_flight_bytes_per_sender: Some(13),
            repeated_bytes: 0,
            databases_per_account: 5,
            connections_per_address: Some(6),
            connections_per_account: Some(15),
            feeds: 7,
            feeds_per_caller: 8,
            feed_timeout: Duration::from_secs(9),
            stall_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(11),
            body_timeout: Duration::from_secs(14),
            did_writes_per_minute: 16,
            ..Limits::default()
        };
        expected.rates.resolutions = 12;
        assert_eq!(read(all).unwrap(), expected);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, name) in [
            ("bulk-bytes = 999999999999", "limits.bulk-bytes"),
            ("feeds = 0", "limits.feeds"),
            ("bodies-in-flight-bytes = 1000", "limits.bulk-bytes"),
            ("stall-seconds = 0", "limits.stall-seconds"),
            (
                "connections-per-address = 0",
                "limits.connections-per-address",
            ),
            ("connection = 1", "connection"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
