//! A position in a database's feed of changes: a number, and the life of the database that the number counts in.
//!
//! Peers keep it as an opaque text. The life is there so that a position remembered from a database that was
//! since deleted and made again does not silently skip the new one's changes.

use std::fmt;

use serde::{Serialize, Serializer};

/// Names one life of a database: chosen at random when the database is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life(pub u64);

/// A position that this server hands out: `N-<life>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seq {
    /// Changes up to and including this number have been seen.
    pub number: u64,
    /// The life of the database in which the number counts.
    pub life: Life,
}

/// Where a peer asks to start: what the texts `0`, `42`, `now`, `"42-…"` mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Since {
    /// From the first change.
    #[default]
    Beginning,
    /// Only changes that happen from here on.
    Now,
    /// After this number, whatever the life (a peer that counts in plain numbers).
    Number(u64),
    /// After this position.
    Seq(Seq),
}

/// The text is not a position in a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed sequence supplied in `since` parameter")]
pub struct InvalidSince;

impl Since {
    /// Reads the text of a `since` parameter. It may be in JSON quotes, as some clients send it.
    pub fn parse(text: &str) -> Result<Self, InvalidSince> {
        let text = text
            .strip_prefix('"')
            .and_then(|t| t.strip_suffix('"'))
            .unwrap_or(text);
        match text {
            "" | "0" => return Ok(Self::Beginning),
            "now" => return Ok(Self::Now),
            _ => {}
        }
        let (number, life) = match text.split_once('-') {
            Some((number, life)) => (number, Some(life)),
            None => (text, None),
        };
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(InvalidSince);
        }
        let number = number.parse().map_err(|_| InvalidSince)?;
        let Some(life) = life else {
            return Ok(Self::Number(number));
        };
        // A life that we cannot read is another server's: start again rather than skip.
        match u64::from_str_radix(life, 16) {
            Ok(bits) if life.len() == 16 => Ok(Self::Seq(Seq {
                number,
                life: Life(bits),
            })),
            _ => Ok(Self::Beginning),
        }
    }

    /// The number after which the feed starts, for a database in this life whose newest change is `newest`.
    /// A position of another life, or one that this database has not reached, starts at the beginning.
    pub fn resolve(self, life: Life, newest: u64) -> u64 {
        match self {
            Self::Beginning => 0,
            Self::Now => newest,
            Self::Number(number) if number <= newest => number,
            Self::Seq(seq) if seq.life == life && seq.number <= newest => seq.number,
            Self::Number(_) | Self::Seq(_) => 0,
        }
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.number, self.life.0)
    }
}

impl Serialize for Seq {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Life = Life(0xabcd);

    #[test]
    fn a_position_is_read_as_it_was_printed() {
        let seq = Seq {
            number: 42,
            life: LIFE,
        };
        assert_eq!(seq.to_string(), "42-000000000000abcd");
        assert_eq!(Since::parse(&seq.to_string()), Ok(Since::Seq(seq)));
        assert_eq!(Since::parse(&format!("\"{seq}\"")), Ok(Since::Seq(seq)));
    }

    #[test]
    fn numbers_and_words_are_positions_too() {
        assert_eq!(Since::parse("0"), Ok(Since::Beginning));
        assert_eq!(Since::parse(""), Ok(Since::Beginning));
        assert_eq!(Since::parse("17"), Ok(Since::Number(17)));
        assert_eq!(Since::parse("now"), Ok(Since::Now));
        for text in ["-1", "x", "1e3", "99999999999999999999", "-", "null"] {
            assert_eq!(Since::parse(text), Err(InvalidSince), "{text}");
        }
    }

    #[test]
    fn a_position_of_another_life_starts_at_the_beginning() {
        let other = Since::Seq(Seq {
            number: 5,
            life: Life(1),
        });
        assert_eq!(other.resolve(LIFE, 10), 0);
        assert_eq!(
            Since::Seq(Seq {
                number: 5,
                life: LIFE
            })
            .resolve(LIFE, 10),
            5
        );
        assert_eq!(
            Since::parse("5-g1AAAABXeJzLY").unwrap().resolve(LIFE, 10),
            0
        );
    }

    #[test]
    fn a_position_ahead_of_the_database_starts_at_the_beginning() {
        assert_eq!(Since::Number(11).resolve(LIFE, 10), 0);
        assert_eq!(
            Since::Seq(Seq {
                number: 11,
                life: LIFE
            })
            .resolve(LIFE, 10),
            0
        );
        assert_eq!(Since::Now.resolve(LIFE, 10), 10);
    }
}
