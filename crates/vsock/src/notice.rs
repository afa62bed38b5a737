//! What an enclave tells its operator: one line each, boot steps and reasons of a refusal. Nothing personal is ever said
//! there; and what arrives is made harmless before it is shown, because an operator's terminal obeys bytes.

/// Longest line, with its end.
pub const MAX_LINE: usize = 512;

/// A text as one line that can be sent: printable ASCII, at most [`MAX_LINE`] bytes, ends in a line feed.
#[must_use]
pub fn line(text: &str) -> String {
    let mut line = printable(text.as_bytes());
    line.push('\n');
    line
}

/// What a terminal can show without obeying: other bytes become `?`, and the end of a long line is cut off.
#[must_use]
pub fn printable(bytes: &[u8]) -> String {
    bytes
        .iter()
        .take(MAX_LINE - 1)
        .map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '?',
        })
        .collect()
}

/// Cuts arriving bytes into lines. Holds one line at most, whatever comes.
#[derive(Debug, Default)]
pub struct Lines {
    line: Vec<u8>,
}

impl Lines {
    /// Takes some bytes and gives the lines that are complete, made [`printable`]. What is too long is cut, not split:
    /// a line cannot pretend to be two.
    pub fn take<'a>(&'a mut self, bytes: &'a [u8]) -> impl Iterator<Item = String> + 'a {
        bytes.iter().filter_map(|byte| match byte {
            b'\n' => {
                let line = printable(&self.line);
                self.line.clear();
                Some(line)
            }
            _ => {
                if self.line.len() < MAX_LINE {
                    self.line.push(*byte);
                }
                None
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_of_printable_bytes() {
        assert_eq!(line("boot: heartbeat"), "boot: heartbeat\n");
        assert_eq!(line("a\nb\x1b[31m"), "a?b?[31m\n");
        assert_eq!(line(&"x".repeat(5000)).len(), MAX_LINE);
    }

    #[test]
    fn lines_come_out_as_they_went_in_however_they_were_cut() {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for piece in ["on", "e\ntwo\nth", "ree", "\n", "unfinished"] {
            seen.extend(lines.take(piece.as_bytes()));
        }
        assert_eq!(seen, ["one", "two", "three"]);
    }

    #[test]
    fn a_line_without_end_takes_no_more_than_one_line() {
        let mut lines = Lines::default();
        for _ in 0..1000 {
            assert_eq!(lines.take(&[b'x'; 1000]).count(), 0);
        }
        assert!(lines.line.len() <= MAX_LINE);
        assert_eq!(lines.take(b"\n").next().unwrap().len(), MAX_LINE - 1);
    }
}
