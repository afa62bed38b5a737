//! A JSON string between its quotes, still escaped.

use std::borrow::Cow;

/// The text between the quotes of a JSON string.
#[derive(Clone, Copy)]
pub struct LazyText<'a> {
    raw: &'a [u8],
    escaped: bool,
}

/// One piece of a string: bytes that stand for themselves, or one UTF-16 code unit (or a whole
/// character) that was written as an escape.
pub(crate) enum Piece<'a> {
    /// UTF-8 as it stands.
    Plain(&'a [u8]),
    /// An escaped character that is no surrogate.
    Char(char),
    /// An escaped surrogate, half of a pair or alone.
    Surrogate(u16),
}

impl<'a> LazyText<'a> {
    pub(super) fn new(raw: &'a [u8]) -> Self {
        Self {
            raw,
            escaped: memchr::memchr(b'\\', raw).is_some(),
        }
    }

    #[inline]
    pub(super) fn scanned(raw: &'a [u8], escaped: bool) -> Self {
        Self { raw, escaped }
    }

    /// The bytes as written, escapes and all.
    #[must_use]
    pub fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// Whether the raw bytes differ from the meaning.
    #[must_use]
    pub fn is_escaped(self) -> bool {
        self.escaped
    }

    /// Whether this means exactly `text`.
    #[must_use]
    pub fn is(self, text: &str) -> bool {
        if self.escaped {
            self.decode() == text
        } else {
            self.raw == text.as_bytes()
        }
    }

    /// The meaning. A surrogate without its other half becomes U+FFFD.
    #[must_use]
    pub fn decode(self) -> Cow<'a, str> {
        if !self.escaped {
            return String::from_utf8_lossy(self.raw);
        }
        let mut text = String::with_capacity(self.raw.len());
        let mut high = None;
        for piece in self.pieces() {
            if let (Some(high), Piece::Surrogate(low @ 0xDC00..=0xDFFF)) = (high, &piece) {
                text.pop();
                text.extend(char::decode_utf16([high, *low]).flatten());
            } else {
                match piece {
                    Piece::Plain(bytes) => text.push_str(&String::from_utf8_lossy(bytes)),
                    Piece::Char(character) => text.push(character),
                    Piece::Surrogate(unit) => {
                        text.push(char::REPLACEMENT_CHARACTER);
                        high = (unit < 0xDC00).then_some(unit);
                        continue;
                    }
                }
            }
            high = None;
        }
        Cow::Owned(text)
    }

    pub(crate) fn pieces(self) -> impl Iterator<Item = Piece<'a>> {
        let mut rest = self.raw;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            let plain = memchr::memchr(b'\\', rest).unwrap_or(rest.len());
            if plain > 0 {
                let (piece, after) = rest.split_at_checked(plain)?;
                rest = after;
                return Some(Piece::Plain(piece));
            }
            let (piece, length) = unescape(rest)?;
            rest = rest.get(length..)?;
            Some(piece)
        })
    }
}

/// The escape at the start of `rest` and how many bytes it takes.
fn unescape(rest: &[u8]) -> Option<(Piece<'_>, usize)> {
    let character = match rest.get(1)? {
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'u' => {
            let digits = std::str::from_utf8(rest.get(2..6)?).ok()?;
            let unit = u16::from_str_radix(digits, 16).ok()?;
            let piece = match char::from_u32(unit.into()) {
                Some(character) => Piece::Char(character),
                None => Piece::Surrogate(unit),
            };
            return Some((piece, 6));
        }
        other if other.is_ascii() => char::from(*other),
        _ => return None,
    };
    Some((Piece::Char(character), 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(raw: &str) -> String {
        LazyText::new(raw.as_bytes()).decode().into_owned()
    }

    #[test]
    fn escapes_decode_as_serde_json_decodes_them() {
        for raw in [
            r"plain",
            r"",
            r#"\"\\\/\b\f\n\r\t"#,
            r"\u00e9\u4e2d",
            r"a\ud83d\ude00z",
            r"Ж\nЖ",
        ] {
            let expected: String = serde_json::from_str(&format!("\"{raw}\"")).unwrap();
            assert_eq!(decode(raw), expected);
        }
    }

    #[test]
    fn a_lone_surrogate_becomes_the_replacement_character() {
        assert_eq!(decode(r"a\ud83dz"), "a\u{fffd}z");
        assert_eq!(decode(r"\ude00\ud83d"), "\u{fffd}\u{fffd}");
        assert_eq!(decode(r"\ud83d\ud83d\ude00"), "\u{fffd}😀");
    }
}
