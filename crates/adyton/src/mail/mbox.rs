//! Reads an mbox file, one message at a time, in memory bounded by one message.
//!
//! Guarantees: every byte of the file is given to at most one message; a message over the limit is
//! passed over, not kept; only the input's own failure ends the reading early. Understands the
//! mboxrd and mboxo quotings of `From ` and Gmail Takeout, LF and CRLF, and a bare message without
//! any separator. Content-Length (mboxcl) is not believed: the separators decide.

use std::io::{self, Read};

use super::separator::{Likeness, MAX_SEPARATOR_BYTES, Separator};

/// A message with more bytes than this is passed over.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// How much is read from the input at once.
const BUFFER_BYTES: usize = 256 << 10;

/// What one step of reading finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Entry {
    /// A message.
    Message(RawMessage),
    /// A message over the limit, not kept.
    TooLarge {
        /// Where it starts in the file.
        offset: u64,
        /// How many bytes it has.
        length: u64,
    },
}

/// The bytes of one message, unquoted, and where they come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMessage {
    /// Where the message starts in the file, its separator included.
    pub offset: u64,
    /// What its separator says. A bare message has none.
    pub separator: Option<Separator>,
    /// Header and body.
    pub bytes: Vec<u8>,
}

/// Why reading ends early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MboxError {
    /// The input fails.
    #[error("the file cannot be read further than byte {offset}")]
    Input {
        /// How far reading came.
        offset: u64,
        /// What the input says.
        source: io::Error,
    },
    /// The file begins with neither a separator nor a header.
    #[error("this is not an mbox file: it begins with neither \"From \" nor a mail header")]
    NotMbox,
}

/// An mbox file being read.
#[derive(Debug)]
pub struct Mbox<R> {
    lines: Lines<R>,
    limit: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Nothing is read yet.
    Start,
    /// The separator of the next message is read.
    At(u64, Separator),
    /// All is read, or reading failed.
    End,
}

impl<R: Read> Mbox<R> {
    /// Reads `input` from where it stands.
    pub fn new(input: R) -> Self {
        Self::with_limit(input, MAX_MESSAGE_BYTES)
    }

    /// Reads `input` with another limit for one message.
    pub fn with_limit(input: R, limit: usize) -> Self {
        Self {
            lines: Lines::new(input),
            limit,
            state: State::Start,
        }
    }

    /// How many bytes of the file are read.
    pub fn position(&self) -> u64 {
        self.lines.offset
    }

    fn step(&mut self) -> Result<Option<Entry>, MboxError> {
        match std::mem::replace(&mut self.state, State::End) {
            State::End => Ok(None),
            State::At(offset, separator) => self.message(offset, separator).map(Some),
            State::Start => match self.first_line()? {
                First::Nothing => Ok(None),
                First::Separator(offset, separator) => self.message(offset, separator).map(Some),
                First::Header(offset) => self.bare_message(offset).map(Some),
            },
        }
    }

    /// Finds out what kind of file this is. Leaves the line that tells in `self.lines`.
    fn first_line(&mut self) -> Result<First, MboxError> {
        loop {
            let offset = self.lines.offset;
            if !self.lines.next()? {
                return Ok(First::Nothing);
            }
            let line = self
                .lines
                .line
                .strip_prefix(b"\xEF\xBB\xBF")
                .unwrap_or(&self.lines.line);
            if is_blank(line) {
                continue;
            }
            if line.starts_with(b"From ") {
                // In the first line any form will do.
                let separator = Separator::parse(line).map(|(separator, _)| separator);
                return Ok(First::Separator(offset, separator.unwrap_or_default()));
            }
            return if is_header(line) {
                Ok(First::Header(offset))
            } else {
                Err(MboxError::NotMbox)
            };
        }
    }

    /// The message after a separator, up to the next one.
    fn message(&mut self, offset: u64, separator: Separator) -> Result<Entry, MboxError> {
        let mut body = Body::new(self.limit);
        let mut after_blank = false;
        loop {
            let line_offset = self.lines.offset;
            let at_start = self.lines.at_line_start;
            if !self.lines.next()? {
                break;
            }
            let line = self.lines.line.as_slice();
            if at_start
                && line.starts_with(b"From ")
                && let Some((next, likeness)) = Separator::parse(line)
                && (after_blank || likeness == Likeness::Strict)
            {
                self.state = State::At(line_offset, next);
                break;
            }
            body.push(if at_start { unquoted(line) } else { line });
            after_blank = at_start && is_blank(line);
        }
        // The blank line before a separator belongs to the file, not to the message.
        body.finish(offset, Some(separator), after_blank)
    }

    /// The whole input as one message. Its first line is in `self.lines`.
    fn bare_message(&mut self, offset: u64) -> Result<Entry, MboxError> {
        let mut body = Body::new(self.limit);
        loop {
            body.push(&self.lines.line);
            if !self.lines.next()? {
                return body.finish(offset, None, false);
            }
        }
    }
}

impl<R: Read> Iterator for Mbox<R> {
    type Item = Result<Entry, MboxError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

enum First {
    Nothing,
    Separator(u64, Separator),
    Header(u64),
}

/// A message while its lines come in: kept up to the limit, then only counted.
struct Body {
    bytes: Vec<u8>,
    length: u64,
    limit: usize,
}

impl Body {
    fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            length: 0,
            limit,
        }
    }

    fn push(&mut self, piece: &[u8]) {
        self.length += piece.len() as u64;
        if self.length <= self.limit as u64 {
            self.bytes.extend_from_slice(piece);
        } else {
            self.bytes = Vec::new();
        }
    }

    fn finish(
        mut self,
        offset: u64,
        separator: Option<Separator>,
        drop_blank: bool,
    ) -> Result<Entry, MboxError> {
        if self.length > self.limit as u64 {
            return Ok(Entry::TooLarge {
                offset,
                length: self.length,
            });
        }
        if drop_blank {
            let end = if self.bytes.ends_with(b"\r\n") { 2 } else { 1 };
            self.bytes.truncate(self.bytes.len().saturating_sub(end));
        }
        Ok(Entry::Message(RawMessage {
            offset,
            separator,
            bytes: self.bytes,
        }))
    }
}

/// Lines of an input. A line longer than the buffer comes in pieces.
#[derive(Debug)]
struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The bytes of the current line or piece, with its line end.
    line: Vec<u8>,
    /// Where the next line or piece starts in the input.
    offset: u64,
    /// Whether the next piece begins a line.
    at_line_start: bool,
}

impl<R: Read> Lines<R> {
    fn new(input: R) -> Self {
        Self {
            input,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            line: Vec::new(),
            offset: 0,
            at_line_start: true,
        }
    }

    /// Reads the next line, or a piece of it, into `self.line`. `false` at the end.
    fn next(&mut self) -> Result<bool, MboxError> {
        self.line.clear();
        loop {
            if self.start == self.end && !self.fill()? {
                break;
            }
            let unread = self.buffer.get(self.start..self.end).unwrap_or_default();
            let found = memchr::memchr(b'\n', unread);
            let piece = found.map_or(unread, |at| unread.get(..=at).unwrap_or(unread));
            self.line.extend_from_slice(piece);
            self.start += piece.len();
            // A piece is never shorter than what a separator can be.
            if found.is_some() || self.line.len() > MAX_SEPARATOR_BYTES.max(BUFFER_BYTES / 2) {
                break;
            }
        }
        self.at_line_start = self.line.ends_with(b"\n");
        self.offset += self.line.len() as u64;
        Ok(!self.line.is_empty())
    }

    fn fill(&mut self) -> Result<bool, MboxError> {
        loop {
            match self.input.read(&mut self.buffer) {
                Ok(count) => {
                    (self.start, self.end) = (0, count.min(self.buffer.len()));
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    let offset = self.offset + self.line.len() as u64;
                    return Err(MboxError::Input { offset, source });
                }
            }
        }
    }
}

/// The line without one level of mbox quoting: `>From ` is `From `, `>>From ` is `>From `.
fn unquoted(line: &[u8]) -> &[u8] {
    match line.split_first() {
        Some((b'>', rest)) => {
            let bare = rest
                .iter()
                .position(|byte| *byte != b'>')
                .unwrap_or(rest.len());
            if rest
                .get(bare..)
                .is_some_and(|bare| bare.starts_with(b"From "))
            {
                rest
            } else {
                line
            }
        }
        _ => line,
    }
}

fn is_blank(line: &[u8]) -> bool {
    matches!(line, b"\n" | b"\r\n")
}

fn is_header(line: &[u8]) -> bool {
    let name = line
        .iter()
        .position(|byte| *byte == b':')
        .and_then(|colon| line.get(..colon));
    let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    name.is_some_and(|name| !name.is_empty() && name.iter().all(of_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEPARATOR: &str = "From ann@example.org Thu Feb  1 10:11:12 2024\n";

    fn read(text: &[u8]) -> Vec<Entry> {
        Mbox::new(text).map(Result::unwrap).collect()
    }

    fn bodies(text: &str) -> Vec<String> {
        read(text.as_bytes())
            .into_iter()
            .map(|entry| match entry {
                Entry::Message(message) => String::from_utf8(message.bytes).unwrap(),
                Entry::TooLarge { .. } => panic!("too large"),
            })
            .collect()
    }

    #[test]
    fn messages_are_split_at_their_separators() {
        let text = format!("{SEPARATOR}Subject: a\n\nOne\n\n{SEPARATOR}Subject: b\n\nTwo\n");
        assert_eq!(
            bodies(&text),
            ["Subject: a\n\nOne\n", "Subject: b\n\nTwo\n"]
        );
    }

    #[test]
    fn carriage_returns_make_no_difference_to_the_split() {
        let text = format!("{SEPARATOR}Subject: a\n\nOne\n\n{SEPARATOR}Subject: b\n\nTwo\n")
            .replace('\n', "\r\n");
        assert_eq!(
            bodies(&text),
            ["Subject: a\r\n\r\nOne\r\n", "Subject: b\r\n\r\nTwo\r\n"]
        );
    }

    #[test]
    fn offsets_point_at_the_separators() {
        let one = format!("{SEPARATOR}Subject: a\n\nOne\n\n");
        let text = format!("\n{one}{SEPARATOR}Subject: b\n\nTwo\n");
        let offsets: Vec<u64> = read(text.as_bytes())
            .iter()
            .map(|entry| match entry {
                Entry::Message(message) => message.offset,
                Entry::TooLarge { offset, .. } => *offset,
            })
            .collect();
        assert_eq!(offsets, [1, 1 + one.len() as u64]);
    }

    #[test]
    fn one_level_of_quoting_is_taken_off() {
        let text = format!("{SEPARATOR}A: b\n\n>From me\n>>From you\n> From him\n>from her\n");
        assert_eq!(
            bodies(&text),
            ["A: b\n\nFrom me\n>From you\n> From him\n>from her\n"]
        );
    }

    #[test]
    fn text_that_begins_with_from_stays_text() {
        let text = format!("{SEPARATOR}A: b\n\nHello\n\nFrom now on it is 10:30 or never.\n");
        assert_eq!(bodies(&text).len(), 1);
    }

    #[test]
    fn a_whole_separator_needs_no_blank_line() {
        let text = format!("{SEPARATOR}A: b\n\nOne\n{SEPARATOR}A: c\n\nTwo\n");
        assert_eq!(bodies(&text), ["A: b\n\nOne\n", "A: c\n\nTwo\n"]);
    }

    #[test]
    fn a_bare_message_is_one_message() {
        let text = "\u{feff}Subject: a\nFrom: b@example.org\n\nFrom here to there\n";
        let entries = read(text.as_bytes());
        assert!(matches!(&entries[..], [Entry::Message(message)] if message.separator.is_none()));
    }

    #[test]
    fn other_files_are_refused() {
        for file in [
            &b"\x7fELF\x02\x01\x01"[..],
            b"{\"a\": 1}\n",
            b"hello\n",
            b": x\n",
        ] {
            let error = Mbox::new(file).next().unwrap().unwrap_err();
            assert!(matches!(error, MboxError::NotMbox));
        }
        assert!(Mbox::new(&b""[..]).next().is_none());
        assert!(Mbox::new(&b"\n\r\n"[..]).next().is_none());
    }

    #[test]
    fn a_message_one_byte_over_the_limit_is_passed_over_and_the_next_one_read() {
        let body = "A: b\n\n1234";
        let text = format!("{SEPARATOR}{body}5\n\n{SEPARATOR}{body}\n\n{SEPARATOR}A: c\n\n");
        let entries: Vec<Entry> = Mbox::with_limit(text.as_bytes(), body.len() + 2)
            .map(Result::unwrap)
            .collect();
        assert!(
            matches!(
                entries[0],
                Entry::TooLarge {
                    offset: 0,
                    length: 13
                }
            ),
            "{entries:?}"
        );
        assert!(
            matches!(&entries[1], Entry::Message(message) if message.bytes == b"A: b\n\n1234\n")
        );
        assert!(matches!(&entries[2], Entry::Message(_)));
    }

    #[test]
    fn a_line_longer_than_the_buffer_is_kept_whole() {
        let long = "From x".repeat(BUFFER_BYTES / 2);
        let text = format!("{SEPARATOR}A: b\n\n{long}\n\n{SEPARATOR}A: c\n\n>{long}");
        let found = bodies(&text);
        assert_eq!(
            found,
            [format!("A: b\n\n{long}\n"), format!("A: c\n\n{long}")]
        );
    }

    #[test]
    fn a_failing_input_ends_the_reading_with_its_place() {
        struct Failing(bool);
        impl Read for Failing {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(io::Error::other("gone"));
                }
                let text = b"From a Thu Feb  1 10:11:12 2024\nA: b\n\n";
                buffer[..text.len()].copy_from_slice(text);
                Ok(text.len())
            }
        }
        let mut mbox = Mbox::new(Failing(false));
        assert!(matches!(
            mbox.next(),
            Some(Err(MboxError::Input { offset: 38, .. }))
        ));
        assert!(mbox.next().is_none());
    }
}
