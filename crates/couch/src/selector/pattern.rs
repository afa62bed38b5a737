//! `$regex`: patterns as JavaScript writes them, run in linear time.
//!
//! Guarantees: a pattern either means what JavaScript (without flags) would mean by it, or is
//! refused with the reason; matching is linear in the text and compiled size is bounded.
//! Differences, all towards whole characters: `.` and `[^…]` take a character beyond U+FFFF as one
//! (JavaScript sees two halves), `\p{…}` and `\u{…}` mean what they mean under its `u` flag, and
//! the groups `(?i)`, `(?m)`, `(?s)` set flags.

use std::fmt;
use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

use regex::{Regex, RegexBuilder};

/// A compiled pattern.
#[derive(Clone)]
pub struct Pattern {
    regex: Regex,
}

/// Why a pattern was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// Longer than [`Pattern::MAX_BYTES`].
    #[error("pattern is longer than {} bytes", Pattern::MAX_BYTES)]
    TooLong,
    /// Compiles to more than [`Pattern::MAX_COMPILED_BYTES`].
    #[error("pattern needs too much memory; use smaller repetitions")]
    TooBig,
    /// `(?=…)`, `(?!…)`, `(?<=…)` or `(?<!…)`.
    #[error("look-around is not supported, because it cannot be matched in linear time")]
    LookAround,
    /// `\1` or `\k<name>`.
    #[error("back-references are not supported, because they cannot be matched in linear time")]
    BackReference,
    /// Half of a surrogate pair.
    #[error("a lone surrogate is not supported")]
    LoneSurrogate,
    /// Not a pattern.
    #[error("pattern is not a valid regular expression")]
    Invalid,
}

const DIGIT: &str = "0-9";
const WORD: &str = "0-9A-Za-z_";
const SPACE: &str =
    r"\t\n\v\f\r\x20\xA0\u{1680}\u{2000}-\u{200A}\u{2028}\u{2029}\u{202F}\u{205F}\u{3000}\u{FEFF}";

impl Pattern {
    /// The longest pattern.
    pub const MAX_BYTES: usize = 1024;
    /// The most memory a compiled pattern may take, and again as much for its cache.
    pub const MAX_COMPILED_BYTES: usize = 1 << 20;

    /// Compiles a pattern.
    ///
    /// # Errors
    /// When the pattern is not valid, too big, or uses what cannot be matched in linear time.
    pub fn new(source: &str) -> Result<Self, PatternError> {
        if source.len() > Self::MAX_BYTES {
            return Err(PatternError::TooLong);
        }
        let translated = Translation::of(source)?;
        let regex = RegexBuilder::new(&translated)
            .size_limit(Self::MAX_COMPILED_BYTES)
            .dfa_size_limit(Self::MAX_COMPILED_BYTES)
            .nest_limit(50)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => PatternError::TooBig,
                _ => PatternError::Invalid,
            })?;
        Ok(Self { regex })
    }

    /// Whether the pattern occurs in `text`.
    #[must_use]
    pub fn occurs_in(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

/// Patterns are what a person looks for in their own data.
impl fmt::Debug for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Pattern(..)")
    }
}

/// A pattern on its way from JavaScript's syntax to that of the `regex` crate.
struct Translation<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
}

/// What one place in a pattern stands for.
enum Atom {
    Char(char),
    /// The inside of a character class.
    Class(&'static str),
    /// The inside of a character class that stands for all other characters.
    NotClass(&'static str),
    /// Something that means the same on both sides.
    Verbatim(String),
}

impl<'a> Translation<'a> {
    fn of(source: &'a str) -> Result<String, PatternError> {
        let mut translation = Self {
            rest: source.chars().peekable(),
            out: String::new(),
        };
        while let Some(character) = translation.rest.next() {
            translation.outside(character)?;
        }
        Ok(translation.out)
    }

    fn outside(&mut self, character: char) -> Result<(), PatternError> {
        match character {
            '\\' => match self.rest.peek() {
                Some('b') => self.take(r"(?-u:\b)"),
                Some('B') => self.take(r"\B"),
                Some('1'..='9' | 'k') => return Err(PatternError::BackReference),
                _ => match self.escape()? {
                    Atom::Char(character) => self.literal(character),
                    Atom::Class(inside) => self.write(format_args!("[{inside}]")),
                    Atom::NotClass(inside) => self.write(format_args!("[^{inside}]")),
                    Atom::Verbatim(text) => self.out.push_str(&text),
                },
            },
            '[' => self.class()?,
            '(' => self.group()?,
            '.' => self.out.push_str(r"[^\n\r\u{2028}\u{2029}]"),
            '{' => self.repetition(),
            '^' | '$' | '*' | '+' | '?' | '|' | ')' => self.out.push(character),
            other => self.literal(other),
        }
        Ok(())
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<Atom, PatternError> {
        let character = self.rest.next().ok_or(PatternError::Invalid)?;
        Ok(match character {
            'd' => Atom::Class(DIGIT),
            'D' => Atom::NotClass(DIGIT),
            'w' => Atom::Class(WORD),
            'W' => Atom::NotClass(WORD),
            's' => Atom::Class(SPACE),
            'S' => Atom::NotClass(SPACE),
            't' => Atom::Char('\t'),
            'n' => Atom::Char('\n'),
            'v' => Atom::Char('\u{b}'),
            'f' => Atom::Char('\u{c}'),
            'r' => Atom::Char('\r'),
            '0' => Atom::Char('\0'),
            'c' => match self.rest.next() {
                Some(letter) if letter.is_ascii_alphabetic() => {
                    Atom::Char(char::from(letter as u8 % 32))
                }
                _ => return Err(PatternError::Invalid),
            },
            'x' => Atom::Char(
                self.hex(2)
                    .and_then(char::from_u32)
                    .ok_or(PatternError::Invalid)?,
            ),
            'u' if self.rest.peek() == Some(&'{') => {
                Atom::Verbatim(format!("\\u{}", self.braced()?))
            }
            'u' => Atom::Char(self.code_unit()?),
            'p' | 'P' => Atom::Verbatim(format!("\\{character}{}", self.braced()?)),
            other => Atom::Char(other),
        })
    }

    fn code_unit(&mut self) -> Result<char, PatternError> {
        let first = self.hex(4).ok_or(PatternError::Invalid)?;
        if let Some(character) = char::from_u32(first) {
            return Ok(character);
        }
        if self.rest.next() != Some('\\') || self.rest.next() != Some('u') {
            return Err(PatternError::LoneSurrogate);
        }
        let second = self.hex(4).ok_or(PatternError::Invalid)?;
        let units = [first, second].map(|unit| u16::try_from(unit).unwrap_or(0));
        match char::decode_utf16(units).next() {
            Some(Ok(character)) => Ok(character),
            _ => Err(PatternError::LoneSurrogate),
        }
    }

    fn hex(&mut self, digits: usize) -> Option<u32> {
        (0..digits).try_fold(0, |value, _| {
            Some(value * 16 + self.rest.next()?.to_digit(16)?)
        })
    }

    /// `{…}`, braces included.
    fn braced(&mut self) -> Result<String, PatternError> {
        let mut text = String::new();
        for character in self.rest.by_ref() {
            text.push(character);
            match character {
                '{' if text.len() == 1 => {}
                '}' if text.len() > 1 => return Ok(text),
                _ if text.len() > 1
                    && (character.is_ascii_alphanumeric() || "_=".contains(character)) => {}
                _ => break,
            }
        }
        Err(PatternError::Invalid)
    }

    fn class(&mut self) -> Result<(), PatternError> {
        let negated = self.rest.next_if_eq(&'^').is_some();
        if self.rest.next_if_eq(&']').is_some() {
            // `[^]` takes any character, `[]` none.
            self.out.push_str(if negated {
                "(?s:.)"
            } else {
                r"[^\x00-\u{10FFFF}]"
            });
            return Ok(());
        }
        self.out.push_str(if negated { "[^" } else { "[" });
        loop {
            let first = match self.rest.next() {
                None => return Err(PatternError::Invalid),
                Some(']') => break,
                Some(character) => self.class_atom(character)?,
            };
            let mut ahead = self.rest.clone();
            let is_range =
                ahead.next() == Some('-') && ahead.next().is_some_and(|next| next != ']');
            if !is_range {
                self.class_item(&first);
                continue;
            }
            self.rest.next();
            let character = self.rest.next().ok_or(PatternError::Invalid)?;
            let last = self.class_atom(character)?;
            self.class_item(&first);
            let both = matches!((&first, &last), (Atom::Char(_), Atom::Char(_)));
            self.out.push_str(if both { "-" } else { r"\-" });
            self.class_item(&last);
        }
        self.out.push(']');
        Ok(())
    }

    fn class_atom(&mut self, character: char) -> Result<Atom, PatternError> {
        match character {
            '\\' if self.rest.next_if_eq(&'b').is_some() => Ok(Atom::Char('\u{8}')),
            '\\' if self
                .rest
                .peek()
                .is_some_and(|next| matches!(next, '1'..='9')) =>
            {
                Err(PatternError::Invalid)
            }
            '\\' => self.escape(),
            other => Ok(Atom::Char(other)),
        }
    }

    fn class_item(&mut self, atom: &Atom) {
        match atom {
            Atom::Char(character) => self.literal(*character),
            Atom::Class(inside) => self.out.push_str(inside),
            Atom::NotClass(inside) => self.write(format_args!("[^{inside}]")),
            Atom::Verbatim(text) => self.out.push_str(text),
        }
    }

    fn group(&mut self) -> Result<(), PatternError> {
        self.out.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            return Ok(());
        }
        self.out.push('?');
        match self.rest.next() {
            Some('=' | '!') => Err(PatternError::LookAround),
            Some('<')
                if self
                    .rest
                    .peek()
                    .is_some_and(|next| matches!(next, '=' | '!')) =>
            {
                Err(PatternError::LookAround)
            }
            Some(first @ ('<' | ':')) => {
                self.out.push(first);
                if first == '<' {
                    self.copy_while(|character| character.is_alphanumeric() || character == '_');
                    self.rest.next_if_eq(&'>').ok_or(PatternError::Invalid)?;
                    self.out.push('>');
                }
                Ok(())
            }
            Some(flag @ ('i' | 'm' | 's')) => {
                self.out.push(flag);
                self.copy_while(|character| matches!(character, 'i' | 'm' | 's'));
                let end = self
                    .rest
                    .next_if(|character| matches!(character, ':' | ')'));
                self.out.push(end.ok_or(PatternError::Invalid)?);
                Ok(())
            }
            _ => Err(PatternError::Invalid),
        }
    }

    fn copy_while(&mut self, wanted: impl Fn(char) -> bool) {
        while let Some(character) = self.rest.next_if(|character| wanted(*character)) {
            self.out.push(character);
        }
    }

    /// `{2}`, `{2,}` and `{2,3}` repeat; any other brace stands for itself.
    fn repetition(&mut self) {
        let ahead: String = self
            .rest
            .clone()
            .take_while(|character| *character != '}')
            .collect();
        let closed = self.rest.clone().nth(ahead.chars().count()) == Some('}');
        let mut bounds = ahead.splitn(2, ',');
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let low = bounds
            .next()
            .is_some_and(|low| !low.is_empty() && is_number(low));
        if closed && low && bounds.next().is_none_or(is_number) {
            self.write(format_args!("{{{ahead}}}"));
            self.rest.nth(ahead.len());
        } else {
            self.literal('{');
        }
    }

    fn take(&mut self, replacement: &str) {
        self.rest.next();
        self.out.push_str(replacement);
    }

    fn literal(&mut self, character: char) {
        if character.is_ascii_punctuation() {
            self.write(format_args!("\\x{:02X}", u32::from(character)));
        } else {
            self.out.push(character);
        }
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.out.write_fmt(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occurs(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern)
            .unwrap_or_else(|error| panic!("{pattern}: {error}"))
            .occurs_in(text)
    }

    #[test]
    fn patterns_mean_what_javascript_means() {
        // Each answer is that of `new RegExp(pattern).test(text)`.
        for (pattern, text, expected) in [
            ("^Re: ", "Re: hello", true),
            ("^Re: ", "re: hello", false),
            ("hello", "say hello twice", true),
            ("", "", true),
            (r"\d+", "٣", false),
            (r"\w", "é", false),
            (r"\s", "\u{feff}", true),
            (r"\s", "\u{3000}", true),
            (r"\bcaf\b", "café", true),
            (r"a.c", "a\u{2028}c", false),
            (r"a.c", "a\rc", false),
            (r"a[^]c", "a\nc", true),
            ("[]", "a", false),
            ("[[a]", "[", true),
            ("[a&&b]", "&", true),
            ("[+--]", ",", true),
            ("[a~~b]", "~", true),
            ("[^^]", "^", false),
            (r"[\d-x]", "-", true),
            (r"[a\]b]", "]", true),
            (r"[\b]", "\u{8}", true),
            (r"[a-]", "-", true),
            ("[-a]", "-", true),
            ("a{2}", "aa", true),
            ("a{2,3}$", "aaa", true),
            ("a{,2}", "a{,2}", true),
            ("a{", "a{", true),
            ("a}", "a}", true),
            ("a]", "a]", true),
            (r"\/path\-to", "/path-to", true),
            (r"\A", "A", true),
            (r"\<a\>", "<a>", true),
            (r"\u0041\x42\cA", "AB\u{1}", true),
            (r"\ud83d\ude00", "😀", true),
            ("(?:a|b)+$", "abab", true),
            ("(?<name>a)b", "ab", true),
            ("a+?b", "aab", true),
            ("^a$", "a\nb", false),
            ("#x y", "#x y", true),
            (r"[\W]", "é", true),
            ("(?i)subject", "SUBJECT", true),
            (r"\p{Lu}", "É", true),
        ] {
            assert_eq!(occurs(pattern, text), expected, "{pattern} on {text:?}");
        }
    }

    #[test]
    fn what_is_not_linear_is_refused_with_its_name() {
        for pattern in ["a(?=b)", "a(?!b)", "(?<=a)b", "(?<!a)b"] {
            assert_eq!(
                Pattern::new(pattern).unwrap_err(),
                PatternError::LookAround,
                "{pattern}"
            );
        }
        for pattern in [r"(a)\1", r"(?<x>a)\k<x>"] {
            assert_eq!(
                Pattern::new(pattern).unwrap_err(),
                PatternError::BackReference,
                "{pattern}"
            );
        }
        assert_eq!(
            Pattern::new(r"\ud83d").unwrap_err(),
            PatternError::LoneSurrogate
        );
        for pattern in [
            "(", ")", "*", "[", "[z-a]", "a\\", "(?x)a", "(?P<n>a)", "(?<n", r"\u{zz}", r"\p{",
            "(?i",
        ] {
            assert_eq!(
                Pattern::new(pattern).unwrap_err(),
                PatternError::Invalid,
                "{pattern}"
            );
        }
    }

    #[test]
    fn size_is_bounded() {
        assert!(Pattern::new(&"a".repeat(Pattern::MAX_BYTES)).is_ok());
        let long = "a".repeat(Pattern::MAX_BYTES + 1);
        assert_eq!(Pattern::new(&long).unwrap_err(), PatternError::TooLong);
        assert_eq!(
            Pattern::new("((a{1000}){1000}){1000}").unwrap_err(),
            PatternError::TooBig
        );
        assert!(Pattern::new(&"(".repeat(500)).is_err());
        assert!(Pattern::new(&format!("{}{}", "(".repeat(500), ")".repeat(500))).is_err());
    }
}
