//! Bodies of several parts (RFC 2046 §5.1): `multipart/related` as replicators write documents with attachments, and both it and
//! `multipart/mixed` as they read them.
//!
//! Guarantees: reading lends parts from the body and never panics; what is written reads back to the same parts, as long as no
//! part holds the boundary, which is the writer's to choose at random. The caller limits the body before it is read.

use crate::limits::{MAX_BOUNDARY_BYTES, MAX_PART_HEAD_BYTES};

/// Header lines that one part may have.
const MAX_PART_HEADERS: usize = 32;

/// What separates the parts of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary(String);

/// One part of a body, lent from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part<'a> {
    headers: Vec<(&'a str, &'a str)>,
    /// The content.
    pub body: &'a [u8],
}

/// The bytes are not a multipart body that we read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMultipart {
    /// No boundary, or one that RFC 2046 does not allow.
    #[error("the multipart boundary is missing or wrong")]
    Boundary,
    /// The closing boundary is missing.
    #[error("the multipart body has no end")]
    Unfinished,
    /// A part's header lines are not header lines, too long, or too many.
    #[error("a part of the multipart body has a wrong head")]
    Head,
    /// More parts than the reader takes.
    #[error("the multipart body has too many parts")]
    TooManyParts,
}

impl Boundary {
    /// A boundary: 1 to 70 characters of RFC 2046's set, not ending in a space.
    pub fn new(text: &str) -> Result<Self, InvalidMultipart> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b);
        let good = (1..=MAX_BOUNDARY_BYTES).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.ends_with(' ');
        good.then(|| Self(text.to_owned()))
            .ok_or(InvalidMultipart::Boundary)
    }

    /// The boundary that a `Content-Type: multipart/…` names.
    pub fn of_content_type(value: &str) -> Result<Self, InvalidMultipart> {
        let text = parameter(value, "boundary").ok_or(InvalidMultipart::Boundary)?;
        Self::new(&text)
    }

    /// `multipart/<subtype>; boundary="…"`.
    pub fn content_type(&self, subtype: &str) -> String {
        format!("multipart/{subtype}; boundary=\"{}\"", self.0)
    }

    /// The lines between the end of one part (or the beginning) and the content of the next.
    pub fn before_part(&self, first: bool, headers: &[(&str, &str)]) -> Vec<u8> {
        let start = if first { "--" } else { "\r\n--" };
        let mut out = format!("{start}{}\r\n", self.0).into_bytes();
        for (name, value) in headers {
            out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    /// What ends the body after the last part.
    pub fn end(&self) -> Vec<u8> {
        format!("\r\n--{}--", self.0).into_bytes()
    }
}

impl<'a> Part<'a> {
    /// The value of a header, its name in any case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        let found = self
            .headers
            .iter()
            .find(|(given, _)| given.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value)
    }
}

/// Cuts a body into at most `limit` parts. What stands before the first boundary and after the last is not looked at.
pub fn parts<'a>(
    body: &'a [u8],
    boundary: &Boundary,
    limit: usize,
) -> Result<Vec<Part<'a>>, InvalidMultipart> {
    let dashed = format!("\r\n--{}", boundary.0);
    let finder = memchr::memmem::Finder::new(&dashed);
    // The first boundary may stand at the very start, without a line end before it.
    let at_start = dashed.as_bytes().get(2..).unwrap_or_default();
    let mut rest = match body.strip_prefix(at_start).map(after_boundary) {
        Some(Some(Line::Part(rest))) => rest,
        Some(Some(Line::End)) => return Ok(Vec::new()),
        Some(None) | None => match next_boundary(body, &finder) {
            Some((_, Line::Part(rest))) => rest,
            Some((_, Line::End)) => return Ok(Vec::new()),
            None => return Err(InvalidMultipart::Unfinished),
        },
    };
    let mut out = Vec::new();
    loop {
        if out.len() == limit {
            return Err(InvalidMultipart::TooManyParts);
        }
        let (headers, from) = head(rest)?;
        // The line end that closes the head may be the one that opens the next boundary: an empty part.
        let searched = rest.get(from.saturating_sub(2)..).unwrap_or_default();
        let (length, line) =
            next_boundary(searched, &finder).ok_or(InvalidMultipart::Unfinished)?;
        let body = searched.get(2..length.max(2)).unwrap_or_default();
        out.push(Part { headers, body });
        match line {
            Line::Part(next) => rest = next,
            Line::End => return Ok(out),
        }
    }
}

/// What a boundary line opens.
enum Line<'a> {
    /// A part: its head and what follows.
    Part(&'a [u8]),
    /// The end.
    End,
}

/// The next boundary line: where it begins, and what it opens.
fn next_boundary<'a>(
    bytes: &'a [u8],
    finder: &memchr::memmem::Finder<'_>,
) -> Option<(usize, Line<'a>)> {
    let mut from = 0;
    loop {
        let at = from + finder.find(bytes.get(from..)?)?;
        if let Some(line) = after_boundary(bytes.get(at + finder.needle().len()..)?) {
            return Some((at, line));
        }
        // The boundary's text went on: it was content.
        from = at + 2;
    }
}

/// What comes after a boundary's text: `--`, or spaces and a line end.
fn after_boundary(rest: &[u8]) -> Option<Line<'_>> {
    if rest.starts_with(b"--") {
        return Some(Line::End);
    }
    let spaces = rest
        .iter()
        .take_while(|b| matches!(b, b' ' | b'\t'))
        .count();
    let rest = rest.get(spaces..)?.strip_prefix(b"\r\n")?;
    Some(Line::Part(rest))
}

type Headers<'a> = Vec<(&'a str, &'a str)>;

/// The header lines of a part, and where its content begins.
fn head(part: &[u8]) -> Result<(Headers<'_>, usize), InvalidMultipart> {
    let mut headers = Vec::new();
    let mut at = 0;
    loop {
        let rest = part.get(at..).unwrap_or_default();
        let window = rest.get(..MAX_PART_HEAD_BYTES.saturating_sub(at).min(rest.len()));
        let end = memchr::memmem::find(window.unwrap_or_default(), b"\r\n")
            .ok_or(InvalidMultipart::Head)?;
        at += end + 2;
        let line = std::str::from_utf8(rest.get(..end).unwrap_or_default())
            .map_err(|_| InvalidMultipart::Head)?;
        if line.is_empty() {
            return Ok((headers, at));
        }
        let (name, value) = line.split_once(':').ok_or(InvalidMultipart::Head)?;
        let named = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
        if !named || headers.len() == MAX_PART_HEADERS {
            return Err(InvalidMultipart::Head);
        }
        headers.push((name, value.trim_matches([' ', '\t'])));
    }
}

/// A parameter of a header like `form; name=value; other="quoted \"value\""`, its name in any case.
pub fn parameter(header: &str, name: &str) -> Option<String> {
    let mut rest = header.split_once(';')?.1;
    loop {
        let (given, value) = rest.split_once('=')?;
        let value = value.trim_start();
        let (text, after) = match value.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = value.find(';').unwrap_or(value.len());
                let (text, after) = value.split_at(end);
                (text.trim_end().to_owned(), after)
            }
        };
        if given.trim().eq_ignore_ascii_case(name) {
            return Some(text);
        }
        rest = after.split_once(';')?.1;
    }
}

/// The text up to the closing quotation mark, and what follows it.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((text, quoted.get(at + 1..)?)),
            '\\' => text.push(chars.next()?.1),
            c => text.push(c),
        }
    }
    None
}

/// The text between quotation marks, for a parameter.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boundary() -> Boundary {
        Boundary::new("abc").unwrap()
    }

    fn bodies(body: &str) -> Result<Vec<String>, InvalidMultipart> {
        let read = parts(body.as_bytes(), &boundary(), 10)?;
        Ok(read
            .iter()
            .map(|part| String::from_utf8(part.body.to_vec()).unwrap())
            .collect())
    }

    #[test]
    fn parts_are_cut_at_their_boundaries_only() {
        let body = "preamble\r\n--abc\r\nContent-Type: application/json\r\nX:y\r\n\r\n{}\r\n--abc \t\r\n\r\n--abcd\r\n--ab\r\n--abc--epilogue";
        let read = parts(body.as_bytes(), &boundary(), 10).unwrap();
        assert_eq!(read[0].header("content-type"), Some("application/json"));
        assert_eq!(read[0].header("x"), Some("y"));
        assert_eq!(read[0].body, b"{}");
        assert_eq!(read[1].body, b"--abcd\r\n--ab");
        assert_eq!(read.len(), 2);
        assert_eq!(bodies("--abc\r\n\r\na\r\n--abc--").unwrap(), ["a"]);
        assert_eq!(bodies("--abc\r\n\r\n\r\n--abc--").unwrap(), [""]);
        assert_eq!(bodies("--abc\r\nA: b\r\n\r\n--abc--").unwrap(), [""]);
        assert_eq!(bodies("--abc--").unwrap(), [""; 0]);
    }

    #[test]
    fn what_has_no_end_or_no_head_is_refused() {
        use InvalidMultipart::{Head, Unfinished};
        for (body, expected) in [
            ("", Unfinished),
            ("--abc", Unfinished),
            ("--abc\r\n\r\na", Unfinished),
            ("--abc\r\n\r\na\r\n--abc", Unfinished),
            ("--abc\r\nno colon\r\n\r\na\r\n--abc--", Head),
            ("--abc\r\na: b", Head),
        ] {
            assert_eq!(bodies(body), Err(expected), "{body:?}");
        }
        let head = |bytes: usize| format!("--abc\r\nA: {}\r\n\r\nx\r\n--abc--", "h".repeat(bytes));
        let longest = MAX_PART_HEAD_BYTES - "A: \r\n\r\n".len();
        assert_eq!(bodies(&head(longest)).unwrap(), ["x"]);
        assert_eq!(bodies(&head(longest + 1)), Err(Head));
    }

    #[test]
    fn one_part_over_the_limit_is_refused() {
        let body = |n: usize| format!("{}--abc--", "--abc\r\n\r\nx\r\n".repeat(n));
        assert_eq!(bodies(&body(10)).unwrap().len(), 10);
        assert_eq!(bodies(&body(11)), Err(InvalidMultipart::TooManyParts));
    }

    #[test]
    fn parameters_are_read_quoted_or_not() {
        let of = |header: &str| Boundary::of_content_type(header).map(|boundary| boundary.0);
        assert_eq!(of("multipart/related;boundary=abc").unwrap(), "abc");
        assert_eq!(
            of("multipart/related; type=\"a;b\\\"\"; Boundary=\"a b\"").unwrap(),
            "a b"
        );
        for header in [
            "multipart/related",
            "multipart/related; boundary=",
            "m; boundary=\"a",
            "m; boundary=\"a\n\"",
        ] {
            assert_eq!(of(header), Err(InvalidMultipart::Boundary), "{header}");
        }
        assert!(Boundary::new(&"b".repeat(MAX_BOUNDARY_BYTES)).is_ok());
        assert!(Boundary::new(&"b".repeat(MAX_BOUNDARY_BYTES + 1)).is_err());
        let name = "a\\b\"c; d.txt";
        let header = format!("attachment; filename={}", quoted(name));
        assert_eq!(parameter(&header, "filename").as_deref(), Some(name));
    }
}
