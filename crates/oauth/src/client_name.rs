//! The name that an app gives itself, limited to what cannot be mistaken for something that was checked.

use std::fmt;

/// Most characters of a name.
pub const MAX_NAME_CHARS: usize = 60;

/// A name that may be shown to a person beside the host or DID that was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientName(String);

/// The name could fool a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidClientName {
    /// Nothing, or more than [`MAX_NAME_CHARS`].
    #[error("client_name must have 1 to {MAX_NAME_CHARS} characters")]
    Length,
    /// Spaces at an end, or two in a row: they hide how a name continues.
    #[error("client_name has spaces that cannot be seen")]
    Spaces,
    /// A character that is invisible, turns the direction of writing, or looks like another.
    #[error("client_name has a character that does not belong in a name")]
    Character,
    /// Letters of several alphabets that look alike.
    #[error("client_name mixes alphabets whose letters look alike")]
    MixedAlphabets,
    /// It looks like an address on the web, of which only the host of client_id is verified.
    #[error("client_name looks like an address")]
    Address,
}

/// Punctuation that names have.
const PUNCTUATION: &str = " -–_.&'’()+!,#";

impl ClientName {
    /// Reads a name.
    pub fn parse(text: &str) -> Result<Self, InvalidClientName> {
        // The shortest count first: a text of a million characters is not walked.
        if text.is_empty() || text.len() > 4 * MAX_NAME_CHARS {
            return Err(InvalidClientName::Length);
        }
        if text.chars().count() > MAX_NAME_CHARS {
            return Err(InvalidClientName::Length);
        }
        if text.trim() != text || text.contains("  ") {
            return Err(InvalidClientName::Spaces);
        }
        let fits = |letter: char| {
            PUNCTUATION.contains(letter)
                || (letter.is_alphanumeric() && !is_disguise(letter))
                || is_vowel_sign(letter)
        };
        if !text.chars().all(fits) || !text.chars().any(char::is_alphanumeric) {
            return Err(InvalidClientName::Character);
        }
        let alphabets = [LATIN, GREEK, CYRILLIC, ARMENIAN, CHEROKEE];
        let used = alphabets
            .iter()
            .filter(|ranges| text.chars().any(|letter| within(letter, ranges)))
            .count();
        if used > 1 {
            return Err(InvalidClientName::MixedAlphabets);
        }
        let dotted = text.split(|letter: char| !letter.is_alphanumeric() && letter != '.');
        if dotted.into_iter().any(looks_like_host) {
            return Err(InvalidClientName::Address);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

type Ranges = &'static [(char, char)];

const LATIN: Ranges = &[
    ('A', 'Z'),
    ('a', 'z'),
    ('\u{c0}', '\u{24f}'),
    ('\u{1e00}', '\u{1eff}'),
];
const GREEK: Ranges = &[('\u{370}', '\u{3ff}'), ('\u{1f00}', '\u{1fff}')];
const CYRILLIC: Ranges = &[('\u{400}', '\u{52f}'), ('\u{1c80}', '\u{1c8f}')];
const ARMENIAN: Ranges = &[('\u{530}', '\u{58f}')];
const CHEROKEE: Ranges = &[('\u{13a0}', '\u{13ff}'), ('\u{ab70}', '\u{abbf}')];

/// Letters and digits that exist to look like others: modifiers, letters in circles, letterlike signs, full width, mathematics;
/// and the Hangul fillers, which are letters that nobody sees.
const DISGUISES: Ranges = &[
    ('\u{aa}', '\u{aa}'),
    ('\u{b2}', '\u{be}'),
    ('\u{250}', '\u{36f}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{1d00}', '\u{1dff}'),
    ('\u{2000}', '\u{2bff}'),
    ('\u{2c60}', '\u{2c7f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{3200}', '\u{33ff}'),
    ('\u{a640}', '\u{a7ff}'),
    ('\u{ab30}', '\u{ab6f}'),
    ('\u{e000}', '\u{f8ff}'),
    ('\u{fb00}', '\u{ffff}'),
    ('\u{10000}', '\u{1ffff}'),
];

/// Marks without which the alphabets of South and South-East Asia cannot be written.
const VOWEL_SIGNS: Ranges = &[('\u{900}', '\u{eff}')];

fn within(letter: char, ranges: &[(char, char)]) -> bool {
    ranges
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&letter))
}

fn is_disguise(letter: char) -> bool {
    within(letter, DISGUISES)
}

fn is_vowel_sign(letter: char) -> bool {
    within(letter, VOWEL_SIGNS)
}

fn looks_like_host(word: &str) -> bool {
    let mut labels = word.rsplit('.');
    let (last, before) = (labels.next().unwrap_or_default(), labels.next());
    let letters = last.chars().count() >= 2 && last.chars().all(char::is_alphabetic);
    letters && before.is_some_and(|label| !label.is_empty())
}
