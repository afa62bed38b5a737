//! Finding where JSON values end. Byte positions in, byte positions out; trusts, never panics.

use memchr::memchr2;

/// The first position at or after `at` that is no whitespace.
#[inline]
pub(super) fn skip_whitespace(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = text.get(at) {
        at += 1;
    }
    at
}

/// Where the next element or member starts; `None` at the end of the container.
#[inline]
pub(super) fn skip_separator(text: &[u8], at: usize) -> Option<usize> {
    let at = skip_whitespace(text, at);
    let at = match text.get(at)? {
        b',' => skip_whitespace(text, at + 1),
        _ => at,
    };
    match text.get(at)? {
        b'}' | b']' | b',' | b':' => None,
        _ => Some(at),
    }
}

/// Where the value after a member's name starts.
#[inline]
pub(super) fn skip_colon(text: &[u8], at: usize) -> Option<usize> {
    let at = skip_whitespace(text, at);
    (*text.get(at)? == b':').then(|| skip_whitespace(text, at + 1))
}

/// One past the closing quote of the string that opens at `start`, and whether it has escapes.
#[inline]
pub(super) fn string_end(text: &[u8], start: usize) -> Option<(usize, bool)> {
    if *text.get(start)? != b'"' {
        return None;
    }
    let mut at = start + 1;
    let mut escaped = false;
    loop {
        at = quote_or_backslash(text, at)?;
        if *text.get(at)? == b'"' {
            return Some((at + 1, escaped));
        }
        escaped = true;
        at += 2;
    }
}

/// One past the value that starts at `start`.
#[inline]
pub(super) fn value_end(text: &[u8], start: usize) -> Option<usize> {
    match text.get(start)? {
        b'"' => string_end(text, start).map(|(end, _)| end),
        b'{' | b'[' => container_end(text, start),
        b'}' | b']' | b',' | b':' => None,
        _ => {
            let rest = text.get(start..)?;
            let length = rest
                .iter()
                .position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'))
                .unwrap_or(rest.len());
            Some(start + length)
        }
    }
}

/// Counts brackets instead of recursing, so depth costs nothing.
fn container_end(text: &[u8], start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = start;
    loop {
        match text.get(at)? {
            b'"' => {
                at = string_end(text, at)?.0;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// Most strings are short: four words are looked at in place before the vector search is called.
#[inline]
fn quote_or_backslash(text: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    const QUOTES: u64 = ONES * 0x22;
    const BACKSLASHES: u64 = ONES * 0x5c;
    for _ in 0..4 {
        let Some(word) = text.get(at..at + 8).and_then(|word| word.try_into().ok()) else {
            break;
        };
        let word = u64::from_le_bytes(word);
        let quote = word ^ QUOTES;
        let backslash = word ^ BACKSLASHES;
        let hits = ((quote.wrapping_sub(ONES) & !quote)
            | (backslash.wrapping_sub(ONES) & !backslash))
            & HIGHS;
        if hits != 0 {
            return Some(at + hits.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    memchr2(b'"', b'\\', text.get(at..)?).map(|found| at + found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_ends_at_its_own_quote() {
        for length in 0..100 {
            for escape in ["", r#"\""#, r"\\", r"\u0041"] {
                let text = format!(
                    "\"{}{escape}{}\" tail\"",
                    "a".repeat(length),
                    "b".repeat(length / 3)
                );
                let end = text.len() - " tail\"".len();
                assert_eq!(
                    string_end(text.as_bytes(), 0),
                    Some((end, !escape.is_empty())),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(value_end(deep.as_bytes(), 0), Some(deep.len()));
        assert_eq!(value_end(&deep.as_bytes()[..1_500_000], 0), None);
    }
}
