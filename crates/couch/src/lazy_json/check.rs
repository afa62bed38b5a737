//! The one proof that bytes are JSON, and the first look at them, in one pass.
//!
//! Guarantees: accepts exactly the texts of RFC 8259 that are one object, in UTF-8 and nested at
//! most [`MAX_DEPTH`] deep; on what it accepts everything else in this module is exact. No
//! recursion, no allocation.

use std::ops::Range;

use super::scan::{skip_whitespace, special};
use super::{LazyText, LazyValue, Member};

/// The deepest nesting of arrays and objects: as deep as common parsers read.
pub const MAX_DEPTH: u32 = 127;

/// The text is not one JSON object, or nested too deep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a json object")]
pub struct NotAnObject;

/// Checks that `text` is one JSON object, with nothing but whitespace around it, shows `each` of
/// its members in order, and says where it is.
///
/// # Errors
/// When it is none. Members may have been shown before that is known.
pub fn read_object<'a>(
    text: &'a [u8],
    each: impl FnMut(Member<'a>),
) -> Result<Range<usize>, NotAnObject> {
    std::str::from_utf8(text).map_err(|_| NotAnObject)?;
    Reader { text, at: 0 }.object(each).ok_or(NotAnObject)
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn object(&mut self, mut each: impl FnMut(Member<'a>)) -> Option<Range<usize>> {
        self.space();
        let object = self.at;
        self.expect(b'{')?;
        self.space();
        if self.peek() != Some(b'}') {
            loop {
                let start = self.at;
                let escaped = self.string()?;
                let name = self.text.get(start + 1..self.at - 1)?;
                self.colon()?;
                let value_start = self.at;
                self.value()?;
                let value = LazyValue {
                    text: self.text.get(value_start..self.at)?,
                };
                each(Member {
                    name: LazyText::scanned(name, escaped),
                    value,
                    start: start - object,
                    end: self.at - object,
                });
                self.space();
                if self.peek() != Some(b',') {
                    break;
                }
                self.at += 1;
                self.space();
            }
        }
        self.expect(b'}')?;
        let end = self.at;
        self.space();
        (self.at == self.text.len()).then_some(object..end)
    }

    /// One value, however nested. The open containers are bits: one for an object, none for an
    /// array.
    fn value(&mut self) -> Option<()> {
        let mut objects = 0_u128;
        let mut depth = 0;
        loop {
            match self.peek()? {
                b'"' => {
                    self.string()?;
                }
                open @ (b'{' | b'[') => {
                    self.at += 1;
                    self.space();
                    let is_object = open == b'{';
                    // The object around this value is one level too.
                    depth += 1;
                    if depth >= MAX_DEPTH {
                        return None;
                    }
                    objects = objects << 1 | u128::from(is_object);
                    match (self.peek()?, is_object) {
                        (b'}', true) | (b']', false) => {}
                        (_, true) => {
                            self.string()?;
                            self.colon()?;
                            continue;
                        }
                        (_, false) => continue,
                    }
                }
                b't' => self.literal(b"true")?,
                b'f' => self.literal(b"false")?,
                b'n' => self.literal(b"null")?,
                _ => self.number()?,
            }
            // A value has ended, or an empty container is about to.
            loop {
                if depth == 0 {
                    return Some(());
                }
                self.space();
                let in_object = objects & 1 == 1;
                match (self.peek()?, in_object) {
                    (b',', true) => {
                        self.at += 1;
                        self.space();
                        self.string()?;
                        self.colon()?;
                        break;
                    }
                    (b',', false) => {
                        self.at += 1;
                        self.space();
                        break;
                    }
                    (b'}', true) | (b']', false) => {
                        self.at += 1;
                        objects >>= 1;
                        depth -= 1;
                    }
                    _ => return None,
                }
            }
        }
    }

    /// A string; says whether it has escapes.
    fn string(&mut self) -> Option<bool> {
        self.expect(b'"')?;
        let mut escaped = false;
        loop {
            self.at = special::<true>(self.text, self.at)?;
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(escaped);
                }
                b'\\' => {
                    escaped = true;
                    self.at += 1;
                    match self.peek()? {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
                        b'u' => {
                            let digits = self.text.get(self.at + 1..self.at + 5)?;
                            if !digits.iter().all(u8::is_ascii_hexdigit) {
                                return None;
                            }
                            self.at += 5;
                        }
                        _ => return None,
                    }
                }
                _ => return None,
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek()? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }

    fn literal(&mut self, literal: &[u8]) -> Option<()> {
        let there = self.text.get(self.at..self.at + literal.len())?;
        self.at += literal.len();
        (there == literal).then_some(())
    }

    fn colon(&mut self) -> Option<()> {
        self.space();
        self.expect(b':')?;
        self.space();
        Some(())
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    fn space(&mut self) {
        self.at = skip_whitespace(self.text, self.at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, NotAnObject> {
        let mut names = Vec::new();
        read_object(text.as_bytes(), |member| {
            names.push(member.name.decode().into_owned())
        })?;
        Ok(names)
    }

    #[test]
    fn an_object_shows_its_members_and_its_place() {
        let text = r#"  {"a":1 , "b\n" : {"x":[{},[ ],""]},"":-0.5e+7}  "#;
        assert_eq!(names(text).unwrap(), ["a", "b\n", ""]);
        let place = read_object(text.as_bytes(), |_| ()).unwrap();
        assert_eq!(place, 2..text.len() - 2);
        let mut checked = Vec::new();
        read_object(text.as_bytes(), |member| {
            checked.push((member.start, member.end, member.value.text()))
        })
        .unwrap();
        let walked = LazyValue::first_of(text.as_bytes())
            .unwrap()
            .members()
            .unwrap();
        assert!(checked.into_iter().eq(walked.map(|member| (
            member.start,
            member.end,
            member.value.text()
        ))));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for bad in [
            "",
            " ",
            "[]",
            "1",
            "\"a\"",
            "{",
            "{}x",
            "{} {}",
            "{,}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{"a" 1}"#,
            r#"{a:1}"#,
            r#"{"a":01}"#,
            r#"{"a":-}"#,
            r#"{"a":1.}"#,
            r#"{"a":.5}"#,
            r#"{"a":1e}"#,
            r#"{"a":+1}"#,
            r#"{"a":tru}"#,
            r#"{"a":nul"#,
            r#"{"a":"\x"}"#,
            r#"{"a":"\u12g4"}"#,
            r#"{"a":"\u123"#,
            "{\"a\":\"\n\"}",
            "{\"a\":\"\u{1f}\"}",
            r#"{"a":[1 2]}"#,
            r#"{"a":[1,]}"#,
            r#"{"a":[}"#,
            r#"{"a":{]}"#,
            r#"{"a":{"b"}}"#,
            r#"{"a":{1:2}}"#,
            r#"{"a":"b}"#,
            r#"{"a":'b'}"#,
            r#"{"a":NaN}"#,
            "\u{feff}{}",
        ] {
            assert!(names(bad).is_err(), "{bad}");
        }
        assert!(read_object(b"{\"a\":\"\xff\"}", |_| ()).is_err());
    }

    #[test]
    fn one_level_over_the_limit_is_refused() {
        let nested =
            |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        let most = MAX_DEPTH as usize - 1;
        assert!(names(&nested(most)).is_ok());
        assert!(serde_json::from_str::<serde_json::Value>(&nested(most)).is_ok());
        assert!(names(&nested(most + 1)).is_err());
        assert!(serde_json::from_str::<serde_json::Value>(&nested(most + 1)).is_err());
        assert!(names(&nested(1_000_000)).is_err());
    }

    #[test]
    fn long_strings_are_read_to_their_end() {
        for length in 0..200 {
            for tail in ["", "\\n", "\\u0041é", "\\\"x"] {
                let text = format!("{{\"a\":\"{}{tail}\"}}", "x".repeat(length));
                assert_eq!(names(&text).unwrap(), ["a"], "{text}");
                let bad = format!("{{\"a\":\"{}{tail}\u{1}\"}}", "x".repeat(length));
                assert!(names(&bad).is_err(), "{bad}");
            }
        }
    }
}
