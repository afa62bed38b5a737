//! What stands in a text and is not its own words: tags, scripts, styles, and what a mail quotes.

/// The end of the noise that begins at `at`, which is a `<`; `None` when it is just a sign.
pub(super) fn tag_end(text: &[u8], at: usize) -> Option<usize> {
    /// The longest tag: one with a whole style sheet in an attribute is longer, and is read as text.
    const LONGEST: usize = 4096;
    let rest = text.get(at + 1..)?;
    if rest.starts_with(b"!--") {
        return Some(find(rest, b"-->").map_or(text.len(), |end| at + 1 + end + 3));
    }
    let after_slash = usize::from(rest.first() == Some(&b'/'));
    let named = rest.get(after_slash..)?;
    let name_len = named
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-'))
        .count();
    let is_declaration = named.starts_with(b"!") || named.starts_with(b"?");
    if !is_declaration {
        if !named.first()?.is_ascii_alphabetic() {
            return None;
        }
        // `<ann@example.org>` and `<https://…>` are words, not tags.
        if !matches!(
            named.get(name_len),
            Some(b'>' | b'/' | b' ' | b'\t' | b'\r' | b'\n')
        ) || named.get(..name_len)?.ends_with(b":")
        {
            return None;
        }
    }
    let close = rest
        .iter()
        .take(LONGEST)
        .position(|byte| matches!(byte, b'>' | b'<'))
        .filter(|close| rest.get(*close) == Some(&b'>'))?;
    let end = at + 1 + close + 1;
    for (name, closing) in [
        (&b"script"[..], &b"</script"[..]),
        (b"style", b"</style"),
        (b"head", b"</head"),
    ] {
        if after_slash == 0 && named.get(..name_len)?.eq_ignore_ascii_case(name) {
            let body = text.get(end..).unwrap_or_default();
            return Some(find_ignoring_case(body, closing).map_or(text.len(), |close| end + close));
        }
    }
    Some(end)
}

/// The end of an entity such as `&nbsp;` or `&#39;` at `at`, which is a `&`.
pub(super) fn entity_end(text: &[u8], at: usize) -> Option<usize> {
    const LONGEST: usize = 10;
    let rest = text.get(at + 1..)?;
    let len = rest
        .iter()
        .take(LONGEST)
        .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'#')
        .count();
    (len > 0 && rest.get(len) == Some(&b';')).then_some(at + len + 2)
}

/// The end of what is quoted at `at`, the beginning of a line: quoted lines, and the line that says who wrote them.
pub(super) fn quote_end(text: &[u8], at: usize) -> Option<usize> {
    let line_end = end_of_line(text, at);
    let line = text.get(at..line_end)?;
    let first = line.iter().position(|byte| !matches!(byte, b' ' | b'\t'))?;
    if line.get(first) == Some(&b'>') {
        return Some(line_end);
    }
    let line = line.get(first..)?;
    if !OPENINGS.iter().any(|opening| line.starts_with(opening)) {
        return None;
    }
    // A long attribution is broken into two lines.
    let second_end = end_of_line(text, line_end);
    [line_end, second_end].into_iter().find(|end| {
        text.get(at..*end)
            .map(|said| said.trim_ascii_end())
            .is_some_and(|said| {
                said.len() <= 300
                    && said.ends_with(b":")
                    && WROTE
                        .iter()
                        .any(|wrote| find(said, wrote.as_bytes()).is_some())
            })
    })
}

const OPENINGS: [&[u8]; 8] = [
    b"On ", b"Am ", b"Le ", b"El ", b"Op ", b"Il ", b"Em ", b"Den ",
];
const WROTE: [&str; 8] = [
    "wrote", "schrieb", "crit", "escribi", "schreef", "scritto", "escreveu", "skrev",
];

/// One past the line feed of the line at `at`.
fn end_of_line(text: &[u8], at: usize) -> usize {
    text.get(at..)
        .and_then(|rest| rest.iter().position(|byte| *byte == b'\n'))
        .map_or(text.len(), |end| at + end + 1)
}

fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len())
        .position(|window| window == needle)
}

fn find_ignoring_case(text: &[u8], needle: &[u8]) -> Option<usize> {
    text.windows(needle.len())
        .position(|window| window.eq_ignore_ascii_case(needle))
}
