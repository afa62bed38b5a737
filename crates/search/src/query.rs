//! What a person asks: words, phrases, operators, fields and times. The language is in `SPEC.md`.
//!
//! Guarantees: whatever the text is, it means something; only what is too long or too deep is refused. Parsing never
//! panics and what it makes is bounded.

use time::{Date, Month, OffsetDateTime, format_description::well_known::Rfc3339};

use crate::text::{Reading, Words};

/// A parsed query.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Query {
    pub(crate) root: Node,
    pub(crate) leaves: Vec<Leaf>,
    /// Only what is at or after this time, in milliseconds since 1970.
    pub after: Option<i64>,
    /// Only what is before this time.
    pub before: Option<i64>,
}

/// How parts of a query go together.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Node {
    /// Nothing was asked.
    #[default]
    Nothing,
    /// The number of a leaf.
    Leaf(usize),
    /// All of them.
    All(Vec<Node>),
    /// At least one of them.
    Any(Vec<Node>),
    /// Not this.
    Not(Box<Node>),
    /// In a sequence: it must be there.
    Must(Box<Node>),
    /// One after the other, without operators between them.
    Sequence(Vec<Node>),
}

/// A word or a phrase.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Leaf {
    /// As it was written.
    pub(crate) text: String,
    /// One word, or those of a phrase.
    pub(crate) words: Vec<String>,
    /// Whether the last word may go on.
    pub(crate) ends_open: bool,
    /// Whether it stands exactly so, in quotes.
    pub(crate) is_exact: bool,
    /// The name of the field that it must stand in.
    pub(crate) field: Option<String>,
}

/// The query is too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QueryTooLarge {
    /// Too long.
    #[error("the keywords are longer than {} bytes", Query::MAX_BYTES)]
    Bytes,
    /// Too many words.
    #[error("the keywords are more than {} words", Query::MAX_WORDS)]
    Words,
    /// Too many parentheses in each other.
    #[error("the keywords nest deeper than {} levels", Query::MAX_DEPTH)]
    Depth,
}

impl Query {
    /// The longest text, in bytes.
    pub const MAX_BYTES: usize = 2048;
    /// Most words, those of phrases included.
    pub const MAX_WORDS: usize = 64;
    /// Most parentheses in each other.
    pub const MAX_DEPTH: usize = 8;

    /// Reads a query.
    ///
    /// # Errors
    /// When it exceeds a limit.
    pub fn parse(text: &str) -> Result<Self, QueryTooLarge> {
        if text.len() > Self::MAX_BYTES {
            return Err(QueryTooLarge::Bytes);
        }
        let mut parser = Parser {
            rest: text,
            query: Self::default(),
            words: Words::default(),
            count: 0,
        };
        let mut parts = Vec::new();
        loop {
            parts.extend(parser.any(0)?);
            // A closing parenthesis that nothing opened is just a sign.
            if !parser.take_sign(')') {
                break;
            }
        }
        let root = one_or(parts, Node::Sequence).unwrap_or_default();
        let mut query = parser.query;
        query.root = root;
        // The last word may not be finished yet.
        if text.ends_with(char::is_alphanumeric)
            && let Some(last) = query.leaves.last_mut()
            && !last.is_exact
            && text.ends_with(&last.text)
        {
            last.ends_open = true;
        }
        Ok(query)
    }

    /// Whether nothing was asked at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.root == Node::Nothing && self.after.is_none() && self.before.is_none()
    }

    /// Whether it asks for words, so that answers differ in how well they fit.
    #[must_use]
    pub fn has_words(&self) -> bool {
        !self.leaves.is_empty()
    }

    /// How many words it has.
    #[must_use]
    pub fn words(&self) -> usize {
        self.leaves.iter().map(|leaf| leaf.words.len()).sum()
    }

    /// The names of fields that it asks about.
    pub fn fields(&self) -> impl Iterator<Item = &str> {
        self.leaves.iter().filter_map(|leaf| leaf.field.as_deref())
    }

    /// Whether it asks about time.
    #[must_use]
    pub fn asks_time(&self) -> bool {
        self.after.is_some() || self.before.is_some()
    }
}

struct Parser<'q> {
    rest: &'q str,
    query: Query,
    words: Words,
    count: usize,
}

impl<'q> Parser<'q> {
    /// `a OR b OR …`
    fn any(&mut self, depth: usize) -> Result<Option<Node>, QueryTooLarge> {
        if depth > Query::MAX_DEPTH {
            return Err(QueryTooLarge::Depth);
        }
        let mut parts = Vec::new();
        loop {
            parts.extend(self.all(depth)?);
            if !self.take_word("OR") && !self.take_sign('|') {
                return Ok(one_or(parts, Node::Any));
            }
        }
    }

    /// `a AND b AND …`
    fn all(&mut self, depth: usize) -> Result<Option<Node>, QueryTooLarge> {
        let mut parts = Vec::new();
        loop {
            parts.extend(self.sequence(depth)?);
            if !self.take_word("AND") && !self.take_sign('&') {
                return Ok(one_or(parts, Node::All));
            }
        }
    }

    fn sequence(&mut self, depth: usize) -> Result<Option<Node>, QueryTooLarge> {
        let mut parts = Vec::new();
        loop {
            self.rest = self.rest.trim_start();
            if self.rest.is_empty()
                || self.rest.starts_with([')', '|', '&'])
                || ["OR", "AND"].iter().any(|word| self.sees_word(word))
            {
                return Ok(one_or(parts, Node::Sequence));
            }
            let is_not = self.take_word("NOT") || self.take_prefix('-');
            let is_must = !is_not && self.take_prefix('+');
            let Some(part) = self.part(depth)? else {
                continue;
            };
            parts.push(match part {
                part if is_not => Node::Not(Box::new(part)),
                part if is_must => Node::Must(Box::new(part)),
                part => part,
            });
        }
    }

    /// A word, a phrase, a field's, or what stands in parentheses.
    fn part(&mut self, depth: usize) -> Result<Option<Node>, QueryTooLarge> {
        if self.take_sign('(') {
            let inside = self.any(depth + 1)?;
            self.take_sign(')');
            return Ok(inside);
        }
        if let Some(phrase) = self.take_quoted() {
            return self.leaf(phrase, phrase, true, None);
        }
        let end = self
            .rest
            .find(|sign: char| sign.is_whitespace() || matches!(sign, '(' | ')' | '"' | '|'))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        if word.is_empty() {
            // A sign that begins nothing.
            self.rest = rest
                .get(rest.chars().next().map_or(0, char::len_utf8)..)
                .unwrap_or_default();
            return Ok(None);
        }
        if let Some((name, value)) = word.split_once(':')
            && is_name(name)
            && !value.starts_with("//")
        {
            if self.take_time(name, value) {
                return Ok(None);
            }
            if value.is_empty() {
                if let Some(phrase) = self.take_quoted() {
                    return self.leaf(phrase, phrase, true, Some(name));
                }
            } else {
                return self.leaf(word, value, false, Some(name));
            }
        }
        self.leaf(word, word, false, None)
    }

    fn leaf(
        &mut self,
        text: &str,
        value: &str,
        is_exact: bool,
        field: Option<&str>,
    ) -> Result<Option<Node>, QueryTooLarge> {
        let mut words = Vec::new();
        self.words.read(value, Reading::Query, |word| {
            words.push(word.folded.to_owned());
            words.len() <= Query::MAX_WORDS
        });
        if words.is_empty() {
            return Ok(None);
        }
        self.count += words.len();
        if self.count > Query::MAX_WORDS {
            return Err(QueryTooLarge::Words);
        }
        self.query.leaves.push(Leaf {
            text: text.to_owned(),
            words,
            ends_open: !is_exact && value.ends_with('*'),
            is_exact,
            field: field.map(str::to_owned),
        });
        let leaf = Node::Leaf(self.query.leaves.len() - 1);
        Ok(Some(match is_exact || field.is_some() {
            true => Node::Must(Box::new(leaf)),
            false => leaf,
        }))
    }

    /// `after:2026-01-01`, `before:2026-02`, and the same under other names. Several narrow each other.
    fn take_time(&mut self, name: &str, value: &str) -> bool {
        let name = name.to_ascii_lowercase();
        let is_after = matches!(name.as_str(), "after" | "since" | "newer");
        if !is_after && !matches!(name.as_str(), "before" | "until" | "older") {
            return false;
        }
        let Some(time) = parse_time(value) else {
            return false;
        };
        match is_after {
            true => self.query.after = Some(self.query.after.map_or(time, |other| other.max(time))),
            false => {
                self.query.before = Some(self.query.before.map_or(time, |other| other.min(time)))
            }
        }
        true
    }

    /// What stands between quotes; to the end, when they do not close.
    fn take_quoted(&mut self) -> Option<&'q str> {
        let rest = self.rest.strip_prefix(['"', '“', '”', '„'])?;
        let end = rest.find(['"', '“', '”']).unwrap_or(rest.len());
        let (inside, after) = rest.split_at(end);
        self.rest = after
            .get(after.chars().next().map_or(0, char::len_utf8)..)
            .unwrap_or_default();
        Some(inside)
    }

    fn sees_word(&self, word: &str) -> bool {
        self.rest.strip_prefix(word).is_some_and(|rest| {
            rest.is_empty() || rest.starts_with(|sign: char| sign.is_whitespace() || sign == '(')
        })
    }

    fn take_word(&mut self, word: &str) -> bool {
        self.rest = self.rest.trim_start();
        let sees = self.sees_word(word);
        if sees {
            self.rest = self.rest.get(word.len()..).unwrap_or_default().trim_start();
        }
        sees
    }

    fn take_sign(&mut self, sign: char) -> bool {
        self.rest = self.rest.trim_start();
        let rest = self
            .rest
            .trim_start_matches(|next| next == sign && sign != '(' && sign != ')');
        let rest = match rest.len() == self.rest.len() {
            true => self.rest.strip_prefix(sign),
            false => Some(rest),
        };
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// A sign that stands directly before a word.
    fn take_prefix(&mut self, sign: char) -> bool {
        let Some(rest) = self.rest.strip_prefix(sign) else {
            return false;
        };
        let counts = rest
            .starts_with(|next: char| next.is_alphanumeric() || matches!(next, '"' | '(' | '“'));
        if counts {
            self.rest = rest;
        }
        counts
    }
}

fn one_or(mut parts: Vec<Node>, all: impl FnOnce(Vec<Node>) -> Node) -> Option<Node> {
    match parts.len() {
        0 | 1 => parts.pop(),
        _ => Some(all(parts)),
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|sign: char| sign.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_'))
}

/// `2026`, `2026-03`, `2026-03-01` or RFC 3339, as milliseconds since 1970.
#[must_use]
pub fn parse_time(text: &str) -> Option<i64> {
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return i64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok();
    }
    let mut parts = text.splitn(3, '-').map(|part| {
        let is_number =
            (1..=4).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| part.parse::<u16>().ok()).flatten()
    });
    let year = parts.next()?.filter(|year| *year >= 1000)?;
    let month = parts.next().unwrap_or(Some(1))?;
    let day = parts.next().unwrap_or(Some(1))?;
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(i32::from(year), month, u8::try_from(day).ok()?).ok()?;
    Some(date.midnight().assume_utc().unix_timestamp() * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The query, written so that its structure shows.
    fn shown(text: &str) -> String {
        let query = Query::parse(text).unwrap();
        show(&query, &query.root)
    }

    fn show(query: &Query, node: &Node) -> String {
        let many = |nodes: &[Node], with: &str| {
            let shown: Vec<String> = nodes.iter().map(|node| show(query, node)).collect();
            format!("({})", shown.join(with))
        };
        match node {
            Node::Nothing => "nothing".to_owned(),
            Node::Leaf(at) => {
                let leaf = &query.leaves[*at];
                let field = leaf
                    .field
                    .as_ref()
                    .map_or(String::new(), |name| format!("{name}:"));
                format!(
                    "{field}{}{}",
                    leaf.words.join("_"),
                    if leaf.ends_open { "*" } else { "" }
                )
            }
            Node::All(nodes) => many(nodes, "&"),
            Node::Any(nodes) => many(nodes, "|"),
            Node::Sequence(nodes) => many(nodes, " "),
            Node::Not(node) => format!("-{}", show(query, node)),
            Node::Must(node) => format!("+{}", show(query, node)),
        }
    }

    #[test]
    fn a_query_is_read_as_it_is_meant() {
        for (text, expected) in [
            ("", "nothing"),
            ("  \t", "nothing"),
            ("train tickets", "(train tickets*)"),
            ("train tickets ", "(train tickets)"),
            ("inv*oice inv* x", "(inv_oice inv* x*)"),
            ("\"night train\" köln", "(+night_train koln*)"),
            ("a AND b OR c ", "((a&b)|c)"),
            ("a (b OR c) -d ", "(a (b|c) -d)"),
            ("NOT spam ham ", "(-spam ham)"),
            ("-spam", "-spam*"),
            ("from:ann \"to\" +x y ", "(+from:ann +to +x y)"),
            ("subject:\"paper cities\" ", "+subject:paper_cities"),
            ("ann@example.com ", "ann_example_com"),
            ("https://example.com ", "https_example_com"),
            ("e-mail - and or x ", "(e_mail and or x)"),
            ("AND", "nothing"),
            ("OR a", "a*"),
            ("((a", "a*"),
            ("a)) b ", "(a b)"),
            ("\"open end", "+open_end"),
            ("東京都 ", "東京_京都"),
            ("12:30 ", "12_30"),
            ("a || b && c ", "(a|(b&c))"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn times_narrow() {
        let query =
            Query::parse("train after:2024-03 before:2024-04-02 after:2024-02 before:soon ")
                .unwrap();
        assert_eq!(query.after, parse_time("2024-03-01T00:00:00Z"));
        assert_eq!(query.before, parse_time("2024-04-02T00:00:00Z"));
        assert_eq!(query.leaves.len(), 2);
        assert_eq!(query.fields().collect::<Vec<_>>(), ["before"]);
        assert_eq!(parse_time("2024-13"), None);
        assert_eq!(parse_time("2024-02-30"), None);
        assert_eq!(parse_time("1970"), None.or(Some(0)));
    }

    #[test]
    fn a_query_has_limits() {
        let long = |len| Query::parse(&"x".repeat(len)).map(drop);
        assert_eq!(long(Query::MAX_BYTES), Ok(()));
        assert_eq!(long(Query::MAX_BYTES + 1), Err(QueryTooLarge::Bytes));
        let many = |len| Query::parse(&"x ".repeat(len)).map(drop);
        assert_eq!(many(Query::MAX_WORDS), Ok(()));
        assert_eq!(many(Query::MAX_WORDS + 1), Err(QueryTooLarge::Words));
        assert_eq!(
            Query::parse(&"a.".repeat(65)).map(drop),
            Err(QueryTooLarge::Words)
        );
        let deep = |depth| Query::parse(&format!("{}x", "(".repeat(depth))).map(drop);
        assert_eq!(deep(Query::MAX_DEPTH), Ok(()));
        assert_eq!(deep(Query::MAX_DEPTH + 1), Err(QueryTooLarge::Depth));
    }
}
