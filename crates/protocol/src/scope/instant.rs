//! Moments, as records and windows write them.

use std::fmt;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment, in milliseconds since 1970 in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(i64);

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

impl Instant {
    /// Longest text that is read, in bytes.
    pub const MAX_LENGTH: usize = 40;

    /// Reads what names one moment: RFC 3339 with an offset, or a date alone, which is midnight UTC as in
    /// ECMAScript. What lies below a millisecond is cut off. A date and time without an offset names no moment.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > Self::MAX_LENGTH {
            return None;
        }
        let mut read = Reader { rest: text };
        let year = read.digits(4)?;
        read.one_of(b"-")?;
        let month = read.digits(2)?;
        read.one_of(b"-")?;
        let day = read.digits(2)?;
        if !(1..=12).contains(&month) || !(1..=days_of_month(year, month)).contains(&day) {
            return None;
        }
        let midnight = days_since_1970(year, month, day) * DAY;
        if read.rest.is_empty() {
            return Some(Self(midnight));
        }
        read.one_of(b"Tt ")?;
        let hour = read.digits(2)?;
        read.one_of(b":")?;
        let minute = read.digits(2)?;
        read.one_of(b":")?;
        let second = read.digits(2)?;
        // A leap second counts as the one before it.
        if hour > 23 || minute > 59 || second > 60 {
            return None;
        }
        let millisecond = match read.rest.first() {
            Some(b'.') => read.fraction()?,
            _ => 0,
        };
        let offset = match read.one_of(b"Zz+-")? {
            b'Z' | b'z' => 0,
            sign => {
                let hours = read.digits(2)?;
                read.one_of(b":")?;
                let minutes = read.digits(2)?;
                if hours > 23 || minutes > 59 {
                    return None;
                }
                let east = (hours * 60 + minutes) * 60_000;
                if sign == b'-' { -east } else { east }
            }
        };
        if !read.rest.is_empty() {
            return None;
        }
        let of_day = ((hour * 60 + minute) * 60 + second.min(59)) * 1000 + millisecond;
        Some(Self(midnight + of_day - offset))
    }

    /// Milliseconds since 1970.
    pub const fn milliseconds(self) -> i64 {
        self.0
    }

    /// The moment that many milliseconds after 1970, or before it.
    pub const fn of_milliseconds(milliseconds: i64) -> Self {
        Self(milliseconds)
    }

    /// The day in UTC, `2026-01-31`; `None` outside of the years that four digits can write.
    pub fn date(self) -> Option<String> {
        let text = self.to_string();
        (text.len() >= 20).then(|| text.get(..10).map(str::to_owned))?
    }
}

impl fmt::Display for Instant {
    /// RFC 3339 in UTC; milliseconds only where there are some.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanoseconds = i128::from(self.0) * 1_000_000;
        let text = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds)
            .ok()
            .and_then(|moment| moment.format(&Rfc3339).ok());
        match text {
            Some(text) => f.write_str(&text),
            None => write!(f, "{} ms", self.0),
        }
    }
}

struct Reader<'t> {
    rest: &'t [u8],
}

impl Reader<'_> {
    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        digits.iter().try_fold(0, |number, digit| {
            digit
                .is_ascii_digit()
                .then(|| number * 10 + i64::from(digit - b'0'))
        })
    }

    fn one_of(&mut self, allowed: &[u8]) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        allowed.contains(first).then_some(*first)
    }

    /// The digits after the point, as milliseconds.
    fn fraction(&mut self) -> Option<i64> {
        self.one_of(b".")?;
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit());
        let count = count.count();
        if count == 0 {
            return None;
        }
        let (digits, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        let padded = digits.iter().copied().chain(std::iter::repeat(b'0'));
        Some(
            padded
                .take(3)
                .fold(0, |number, digit| number * 10 + i64::from(digit - b'0')),
        )
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, counted in years that begin with March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Option<i64> {
        Instant::parse(text.as_bytes()).map(Instant::milliseconds)
    }

    #[test]
    fn what_names_one_moment_is_read_and_nothing_else() {
        assert_eq!(at("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(at("1970-01-01"), Some(0));
        assert_eq!(at("1970-01-01T01:30:00+01:30"), Some(0));
        assert_eq!(at("1969-12-31T23:59:59.9999-00:00"), Some(-1));
        assert_eq!(at("2024-02-29 12:00:00.5z"), Some(1_709_208_000_500));
        for text in [
            "",
            "2026",
            "2026-01-01T00:00:00",
            "2026-01-01T00:00Z",
            "2026-02-29",
            "2026-13-01",
            "2026-01-00",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00Zx",
            "2026-01-01T00:00:00+24:00",
            "+2026-01-01",
            "１２３４-01-01",
            "2026-01-01T00:00:00.0000000000000000000000000Z",
        ] {
            assert_eq!(at(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_as_the_same_moment(milliseconds in -62_167_219_200_000_i64..253_402_300_800_000) {
            let moment = Instant::of_milliseconds(milliseconds);
            let text = moment.to_string();
            prop_assert_eq!(Instant::parse(text.as_bytes()), Some(moment));
            let day = Instant::parse(moment.date().unwrap().as_bytes()).unwrap();
            prop_assert_eq!(milliseconds - day.milliseconds(), milliseconds.rem_euclid(DAY));
        }
    }
}
