//! The line that opens a message in an mbox file: `From <sender> <date>`.
//!
//! No standard fixes it, so it is recognised by its shape and read as far as it can be read. The
//! sender and the date are the envelope's: they stand in for headers that a message lacks.

use time::{Date, Month, PrimitiveDateTime, Time, UtcOffset};

/// A separator line longer than this is taken for text.
pub(super) const MAX_SEPARATOR_BYTES: usize = 1_000;

/// What a separator line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Separator {
    sender: Option<String>,
    delivered: Option<i64>,
}

/// How sure a line is a separator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Likeness {
    /// A year and a time of day: enough after a blank line.
    Loose,
    /// A whole date in `ctime` order: enough anywhere, for writers that put no blank line.
    Strict,
}

impl Separator {
    /// Reads a line. `None` if it is text that happens to begin with `From `.
    pub(super) fn parse(line: &[u8]) -> Option<(Self, Likeness)> {
        let rest = line.strip_prefix(b"From ")?;
        if line.len() > MAX_SEPARATOR_BYTES {
            return None;
        }
        let rest = String::from_utf8_lossy(rest);
        let words: Vec<&str> = rest.split_ascii_whitespace().collect();
        let clock_at = words.iter().position(|word| clock(word).is_some())?;
        let (before, after) = words.split_at(clock_at);
        let clock = after.first().and_then(|word| clock(word))?;
        // After the time: the year, and a zone on either side of it.
        let year = after.iter().skip(1).take(3).find_map(|word| year(word))?;
        let zone = after.iter().skip(1).take(3).find_map(|word| zone(word));

        let day = before.last().and_then(|word| day(word));
        let month = before.iter().rev().nth(1).and_then(|word| month(word));
        let weekday = before
            .iter()
            .rev()
            .nth(2)
            .is_some_and(|word| is_weekday(word));

        let delivered = match (month, day) {
            (Some(month), Some(day)) => Date::from_calendar_date(year, month, day).ok(),
            _ => None,
        }
        .map(|date| {
            let offset = zone.unwrap_or(UtcOffset::UTC);
            PrimitiveDateTime::new(date, clock)
                .assume_offset(offset)
                .unix_timestamp()
        });
        let likeness = if weekday && delivered.is_some() {
            Likeness::Strict
        } else {
            Likeness::Loose
        };
        let sender = words
            .first()
            .filter(|word| !is_weekday(word) && **word != "-")
            .map(|word| (*word).to_owned());
        Some((Self { sender, delivered }, likeness))
    }

    /// The envelope sender, if it is a mail address.
    pub fn sender(&self) -> Option<&str> {
        self.sender
            .as_deref()
            .filter(|_| self.gmail_id().is_none())
            .filter(|sender| {
                sender
                    .split_once('@')
                    .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty())
            })
    }

    /// When the message was delivered, in seconds since 1970.
    pub fn delivered(&self) -> Option<i64> {
        self.delivered
    }

    /// Gmail's number of the message: Takeout writes it in the place of the sender.
    pub fn gmail_id(&self) -> Option<u64> {
        self.sender.as_deref()?.strip_suffix("@xxx")?.parse().ok()
    }
}

fn clock(word: &str) -> Option<Time> {
    let mut numbers = word.split(':');
    let hour = numbers.next()?.parse().ok()?;
    let minute = numbers.next()?.parse().ok()?;
    let second = numbers
        .next()
        .map_or(Some(0), |number| number.parse().ok())?;
    if numbers.next().is_some() {
        return None;
    }
    // A leap second is the second before it.
    Time::from_hms(hour, minute, if second == 60 { 59 } else { second }).ok()
}

fn year(word: &str) -> Option<i32> {
    let digits = word.len() == 4 && word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse()
        .ok()
        .filter(|year| digits && (1970..=9999).contains(year))
}

fn zone(word: &str) -> Option<UtcOffset> {
    let (sign, digits) = match word.as_bytes() {
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let number: i32 = std::str::from_utf8(digits)
        .ok()
        .filter(|text| text.len() == 4)?
        .parse()
        .ok()?;
    UtcOffset::from_whole_seconds(sign * ((number / 100) * 3_600 + (number % 100) * 60)).ok()
}

fn day(word: &str) -> Option<u8> {
    word.parse().ok().filter(|day| (1..=31).contains(day))
}

fn month(word: &str) -> Option<Month> {
    let lower = word.to_ascii_lowercase();
    let number = [
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ]
    .iter()
    .position(|name| *name == lower)?;
    Month::try_from(u8::try_from(number).ok()? + 1).ok()
}

fn is_weekday(word: &str) -> bool {
    ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
        .iter()
        .any(|name| word.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> (Separator, Likeness) {
        Separator::parse(line.as_bytes()).unwrap_or_else(|| panic!("{line}"))
    }

    #[test]
    fn the_usual_forms_are_read() {
        for (line, sender, delivered) in [
            (
                "From ann@example.org Thu Feb  1 10:11:12 2024",
                Some("ann@example.org"),
                1_706_782_272,
            ),
            ("From - Thu Feb 01 10:11:12 2024\r\n", None, 1_706_782_272),
            (
                "From MAILER-DAEMON Thu Feb  1 10:11:12 2024\n",
                None,
                1_706_782_272,
            ),
            (
                "From ann@example.org Thu Feb  1 11:11:12 +0100 2024",
                Some("ann@example.org"),
                1_706_782_272,
            ),
            (
                "From ann@example.org Thu Feb  1 05:11:12 2024 -0500",
                Some("ann@example.org"),
                1_706_782_272,
            ),
            (
                "From ann@example.org Thu Feb  1 10:11 2024",
                Some("ann@example.org"),
                1_706_782_260,
            ),
            ("From Thu Feb  1 10:11:60 2024", None, 1_706_782_319),
        ] {
            let (separator, likeness) = parsed(line);
            assert_eq!(separator.sender(), sender, "{line}");
            assert_eq!(separator.delivered(), Some(delivered), "{line}");
            assert_eq!(likeness, Likeness::Strict, "{line}");
        }
    }

    #[test]
    fn takeout_puts_gmails_number_in_the_place_of_the_sender() {
        let (separator, _) = parsed("From 1785612345678901234@xxx Thu Dec 18 09:00:00 +0000 2023");
        assert_eq!(separator.gmail_id(), Some(1_785_612_345_678_901_234));
        assert_eq!(separator.sender(), None);
    }

    #[test]
    fn a_date_in_another_order_still_separates_after_a_blank_line() {
        let (separator, likeness) = parsed("From ann@example.org 2 January 10:11:12 2024");
        assert_eq!(likeness, Likeness::Loose);
        assert_eq!(separator.delivered(), None);
    }

    #[test]
    fn text_is_not_a_separator() {
        for line in [
            "From the beginning, she knew.",
            "From 9:30 we will meet in the hall",
            "From here to 2024",
            "From ",
            "From",
            ">From ann@example.org Thu Feb  1 10:11:12 2024",
            "from ann@example.org Thu Feb  1 10:11:12 2024",
        ] {
            assert_eq!(Separator::parse(line.as_bytes()), None, "{line}");
        }
        let long = format!(
            "From {} Thu Feb  1 10:11:12 2024",
            "a".repeat(MAX_SEPARATOR_BYTES)
        );
        assert_eq!(Separator::parse(long.as_bytes()), None);
    }
}
