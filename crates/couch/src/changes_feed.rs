//! Reading a changes feed as it arrives: cuts the rows out of a byte stream without parsing them
//! and without holding more than one unfinished row.
//!
//! Works for every `feed` of CouchDB and its relatives: one JSON document with a `results` list, or
//! rows line by line. It knows JSON strings and nesting, nothing else.

use memchr::memchr2;

/// Longest row that is kept, in bytes: a document of 64 MiB in base64, and its envelope.
pub const MAX_ROW_BYTES: usize = 90 * 1024 * 1024;

/// Whole rows in one buffer.
#[derive(Debug, Default)]
pub struct Rows {
    bytes: Vec<u8>,
    ends: Vec<(usize, usize)>,
    oversized: usize,
}

impl Rows {
    /// The JSON text of each row, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.ends
            .iter()
            .filter_map(|(start, end)| self.bytes.get(*start..*end))
    }

    /// One `Rows` for each row, and one for what was dropped.
    pub fn into_single_rows(self) -> impl Iterator<Item = Rows> {
        let dropped = (self.oversized > 0).then(|| Rows {
            oversized: self.oversized,
            ..Rows::default()
        });
        let singles: Vec<Rows> = self
            .iter()
            .map(|row| Rows {
                bytes: row.to_vec(),
                ends: vec![(0, row.len())],
                oversized: 0,
            })
            .collect();
        singles.into_iter().chain(dropped)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True when no row is complete.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes held.
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Rows that were longer than the limit and were dropped while they arrived.
    pub fn oversized(&self) -> usize {
        self.oversized
    }
}

/// The state of a feed between two reads.
#[derive(Debug)]
pub struct RowCutter {
    /// Bytes of the unfinished row, and of finished rows since the last [`RowCutter::take`].
    buffer: Vec<u8>,
    rows: Vec<(usize, usize)>,
    oversized: usize,
    max_row: usize,
    /// Objects and lists open inside the row; 0 between rows.
    depth: usize,
    in_string: bool,
    escaped: bool,
    row_start: usize,
    /// The row is too long: its bytes are counted and dropped.
    skipping: bool,
    /// Bytes of the wrapper `{"results":[` that are not rows.
    wrapper: Wrapper,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Wrapper {
    /// Nothing but white space was seen.
    Unknown,
    /// A `results` list is open: its items are the rows.
    List,
    /// The list was closed; what follows (`last_seq`, `pending`) is not a row.
    Closed,
    /// Rows stand line by line.
    Lines,
}

const RESULTS: &[u8] = b"{\"results\":[";

impl RowCutter {
    /// A cutter at the start of a feed.
    pub fn new() -> Self {
        Self::with_max_row(MAX_ROW_BYTES)
    }

    /// A cutter with another limit for one row, in bytes.
    pub fn with_max_row(max_row: usize) -> Self {
        Self {
            buffer: Vec::new(),
            rows: Vec::new(),
            oversized: 0,
            max_row,
            depth: 0,
            in_string: false,
            escaped: false,
            row_start: 0,
            skipping: false,
            wrapper: Wrapper::Unknown,
        }
    }

    /// Bytes of finished and unfinished rows held now.
    pub fn byte_len(&self) -> usize {
        self.buffer.len()
    }

    /// True while a row is unfinished.
    pub fn is_inside_row(&self) -> bool {
        self.depth > 0
    }

    /// True when the `results` list was closed by the peer: the feed is complete.
    pub fn is_complete(&self) -> bool {
        self.wrapper == Wrapper::Closed
    }

    /// Takes the next bytes of the feed.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while let Some(first) = bytes.first() {
            if self.depth == 0 {
                bytes = self.between_rows(*first, bytes);
            } else {
                bytes = self.inside_row(bytes);
            }
        }
    }

    /// All finished rows, leaving the unfinished one.
    pub fn take(&mut self) -> Rows {
        let unfinished_at = if self.depth > 0 && !self.skipping {
            self.row_start
        } else if self.wrapper == Wrapper::Unknown {
            0
        } else {
            self.buffer.len()
        };
        let tail = self.buffer.split_off(unfinished_at.min(self.buffer.len()));
        self.row_start = 0;
        Rows {
            bytes: std::mem::replace(&mut self.buffer, tail),
            ends: std::mem::take(&mut self.rows),
            oversized: std::mem::take(&mut self.oversized),
        }
    }

    /// `depth` is 0: skip to the start of a row, and recognise the wrapper.
    fn between_rows<'a>(&mut self, first: u8, bytes: &'a [u8]) -> &'a [u8] {
        let rest = bytes.split_at(1).1;
        if self.wrapper == Wrapper::Unknown {
            // White space inside the wrapper is not significant, and never part of its only key.
            if first.is_ascii_whitespace() {
                return rest;
            }
            self.buffer.push(first);
            if self.buffer == RESULTS {
                self.wrapper = Wrapper::List;
                self.buffer.clear();
            } else if !RESULTS.starts_with(&self.buffer) {
                // Not a list: these bytes are the beginning of the first row.
                self.wrapper = Wrapper::Lines;
                let held = std::mem::take(&mut self.buffer);
                self.push(&held);
            }
            return rest;
        }
        match first {
            b'{' if self.wrapper != Wrapper::Closed => {
                self.row_start = self.buffer.len();
                self.depth = 1;
                self.keep(&[first]);
            }
            b']' if self.wrapper == Wrapper::List => self.wrapper = Wrapper::Closed,
            _ => {}
        }
        rest
    }

    fn inside_row<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.in_string {
            if self.escaped {
                self.escaped = false;
                let (one, rest) = bytes.split_at(1);
                self.keep(one);
                return rest;
            }
            let Some(at) = memchr2(b'"', b'\\', bytes) else {
                self.keep(bytes);
                return &[];
            };
            let (text, rest) = bytes.split_at(at + 1);
            self.keep(text);
            match text.last() {
                Some(b'"') => self.in_string = false,
                _ => self.escaped = true,
            }
            return rest;
        }
        let at = bytes
            .iter()
            .position(|b| matches!(b, b'"' | b'{' | b'[' | b'}' | b']'))
            .map_or(bytes.len(), |at| at + 1);
        let (text, rest) = bytes.split_at(at);
        self.keep(text);
        match text.last() {
            Some(b'"') => self.in_string = true,
            Some(b'{' | b'[') => self.depth += 1,
            Some(b'}' | b']') => {
                self.depth -= 1;
                if self.depth == 0 {
                    self.finish_row();
                }
            }
            _ => {}
        }
        rest
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.skipping {
            return;
        }
        if self.buffer.len() - self.row_start + bytes.len() > self.max_row {
            self.skipping = true;
            self.buffer.truncate(self.row_start);
            return;
        }
        self.buffer.extend_from_slice(bytes);
    }

    fn finish_row(&mut self) {
        if std::mem::take(&mut self.skipping) {
            self.oversized += 1;
        } else {
            self.rows.push((self.row_start, self.buffer.len()));
        }
    }
}

impl Default for RowCutter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(feed: &[u8], chunk: usize) -> (Vec<String>, usize, bool) {
        let mut cutter = RowCutter::with_max_row(60);
        let (mut rows, mut oversized) = (Vec::new(), 0);
        for part in feed.chunks(chunk) {
            cutter.push(part);
            let taken = cutter.take();
            rows.extend(
                taken
                    .iter()
                    .map(|row| String::from_utf8(row.to_vec()).unwrap()),
            );
            oversized += taken.oversized();
        }
        (rows, oversized, cutter.is_complete())
    }

    #[test]
    fn rows_are_the_same_however_the_bytes_arrive() {
        let one = r#"{"seq":1,"id":"a}]\"","doc":{"x":[1,{"y":"\\"}]}}"#;
        let two = r#"{"seq":"2-x","id":"b"}"#;
        let listed = format!("{{\"results\":[\n{one},\n{two}\n],\n\"last_seq\":2,\"x\":{{}}}}");
        let spaced = format!("{{ \"results\" : [ {one} , {two} ] , \"pending\": 0 }}\n");
        let lines = format!("{one}\n\n{two}\n");
        for chunk in 1..40 {
            assert_eq!(
                cut(listed.as_bytes(), chunk),
                (vec![one.into(), two.into()], 0, true)
            );
            assert_eq!(
                cut(spaced.as_bytes(), chunk),
                (vec![one.into(), two.into()], 0, true)
            );
            assert_eq!(
                cut(lines.as_bytes(), chunk),
                (vec![one.into(), two.into()], 0, false)
            );
        }
    }

    #[test]
    fn a_row_over_the_limit_is_dropped_and_counted_and_the_next_is_kept() {
        let long = format!("{{\"id\":\"{}\"}}", "x".repeat(53));
        assert_eq!(long.len(), 62);
        let fits = format!("{{\"id\":\"{}\"}}", "x".repeat(51));
        assert_eq!(fits.len(), 60);
        for chunk in [1, 7, 1000] {
            let feed = format!("{{\"results\":[{long},{fits}]}}");
            assert_eq!(cut(feed.as_bytes(), chunk), (vec![fits.clone()], 1, true));
        }
    }

    #[test]
    fn a_feed_that_ends_in_the_middle_of_a_row_is_not_complete() {
        let (rows, _, complete) = cut(br#"{"results":[{"seq":1},{"seq":"#, 3);
        assert_eq!((rows.len(), complete), (1, false));
    }

    #[test]
    fn hostile_bytes_never_panic() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let mut cutter = RowCutter::with_max_row(64);
            for part in bytes.chunks(3) {
                cutter.push(part);
                let rows = cutter.take();
                assert!(rows.iter().all(|row| row.first() == Some(&b'{')));
                assert!(cutter.byte_len() <= 64 + RESULTS.len());
            }
        });
    }
}
