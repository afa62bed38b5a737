//! Finding where JSON values end. Byte positions in, byte positions out; trusts, never panics.

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

/// The first quote or backslash at or after `at`.
#[inline]
fn quote_or_backslash(text: &[u8], at: usize) -> Option<usize> {
    special::<false>(text, at)
}

/// The first byte at or after `at` that may not simply stand in a string: a quote, a backslash or,
/// if they are asked for, a control character.
///
/// Most strings end soon: the first sixteen bytes are looked at eight at once. Then blocks are
/// judged as a whole, which compiles to a handful of vector instructions.
#[inline]
pub(super) fn special<const CONTROLS: bool>(text: &[u8], at: usize) -> Option<usize> {
    const BLOCK: usize = 32;
    let mut at = at;
    for _ in 0..2 {
        let Some(word) = text.get(at..at + 8) else {
            break;
        };
        if let Some(found) = place::<CONTROLS>(word) {
            return Some(at + found);
        }
        at += 8;
    }
    let rest = text.get(at..)?;
    let (blocks, tail) = rest.as_chunks::<BLOCK>();
    for (number, block) in blocks.iter().enumerate() {
        let any = block.iter().fold(0_u8, |any, byte| {
            let control = CONTROLS && *byte < 0x20;
            any | u8::from(*byte == b'"') | u8::from(*byte == b'\\') | u8::from(control)
        });
        if any != 0 {
            return place::<CONTROLS>(block).map(|found| at + number * BLOCK + found);
        }
    }
    place::<CONTROLS>(tail).map(|found| at + blocks.len() * BLOCK + found)
}

#[inline]
fn place<const CONTROLS: bool>(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let (words, tail) = bytes.as_chunks::<8>();
    for (number, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = word ^ (ONES * 0x22);
        let backslash = word ^ (ONES * 0x5c);
        let mut hits =
            (quote.wrapping_sub(ONES) & !quote) | (backslash.wrapping_sub(ONES) & !backslash);
        if CONTROLS {
            hits |= word.wrapping_sub(ONES * 0x20) & !word;
        }
        if hits & HIGHS != 0 {
            return Some(number * 8 + (hits & HIGHS).trailing_zeros() as usize / 8);
        }
    }
    let found = tail
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\') || (CONTROLS && *byte < 0x20));
    found.map(|found| words.len() * 8 + found)
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
