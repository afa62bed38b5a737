//! Times, ages, errors and foreign text in words a person can read, and that cannot steer a terminal.

use std::error::Error;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Longest piece of foreign text that is shown.
const MAX_SHOWN_CHARS: usize = 120;

/// `2026-11-22T15:04:05Z`, to the second.
#[must_use]
pub fn moment(at: SystemTime) -> String {
    let whole = match at.duration_since(UNIX_EPOCH) {
        Ok(since) => UNIX_EPOCH + Duration::from_secs(since.as_secs()),
        Err(_) => at,
    };
    OffsetDateTime::from(whole)
        .format(&Rfc3339)
        .unwrap_or_else(|_| "a time beyond the year 9999".to_owned())
}

/// `12 s`, `5 min`, `3 h`, `2 days`.
pub(crate) fn span(length: Duration) -> String {
    match length.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// An error and its causes in one line.
#[must_use]
pub fn with_causes(error: &dyn Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        // An error that shows its source repeats it; some end with a line.
        let next = next.trim_end();
        if !words.trim_end().ends_with(next) {
            words.push_str(": ");
            words.push_str(next);
        }
        cause = error.source();
    }
    words
}

/// Text that a peer chose: control characters escaped, cut to a line.
pub(crate) fn foreign(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(MAX_SHOWN_CHARS)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(MAX_SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// A TOML basic string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            _ if character.is_control() => {
                out.push_str(&format!("\\u{:04x}", u32::from(character)))
            }
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_spans_read_as_a_person_writes_them() {
        assert_eq!(
            moment(UNIX_EPOCH + Duration::from_millis(1_700_000_000_999)),
            "2023-11-14T22:13:20Z"
        );
        assert_eq!(span(Duration::from_secs(119)), "119 s");
        assert_eq!(span(Duration::from_secs(120)), "2 min");
        assert_eq!(span(Duration::from_secs(7200)), "2 h");
        assert_eq!(span(Duration::from_secs(400_000)), "4 days");
    }

    #[test]
    fn an_error_that_shows_its_source_is_not_said_twice() {
        #[derive(Debug, thiserror::Error)]
        enum Cause {
            #[error("cannot start")]
            Start(#[source] std::io::Error),
            #[error(transparent)]
            Transparent(#[from] std::io::Error),
            #[error("cannot read: {0}")]
            Shown(#[source] std::io::Error),
        }
        let io = || std::io::Error::other("no disk\n");
        assert_eq!(with_causes(&Cause::Start(io())), "cannot start: no disk");
        assert_eq!(with_causes(&Cause::Transparent(io())).trim_end(), "no disk");
        assert_eq!(
            with_causes(&Cause::Shown(io())).trim_end(),
            "cannot read: no disk"
        );
    }

    #[test]
    fn quoted_text_is_read_back_as_it_was() {
        for text in ["", "a \"b\" \\ c", "ä\u{1b}\n\u{7f}\u{85}"] {
            let table: toml::Table = format!("a = {}", quoted(text)).parse().unwrap();
            assert_eq!(table["a"].as_str(), Some(text));
        }
    }

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(foreign("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\n");
        assert!(foreign(&"x".repeat(5000)).len() < 200);
    }
}
