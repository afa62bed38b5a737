//! Where a text says what was looked for: short pieces of it, with the words marked.
//!
//! Guarantees: the pieces are escaped for HTML and have no tag but `<mark>`; they are made of the text that is given
//! and of nothing else.

use std::collections::HashSet;

use crate::search::Match;
use crate::text::{Reading, Words};

/// Marks words in texts.
#[derive(Debug, Default)]
pub struct Highlighter {
    wanted: HashSet<String>,
    words: Words,
}

/// Words before the first marked one, and in a piece.
const BEFORE: usize = 8;
const PIECE_WORDS: usize = 32;
/// The longest text that is looked through, in bytes.
const MAX_TEXT: usize = 256 * 1024;

impl Highlighter {
    /// For the words by which a document matches.
    #[must_use]
    pub fn new(matches: &[Match]) -> Self {
        Self {
            wanted: matches.iter().map(|found| found.found.clone()).collect(),
            words: Words::default(),
        }
    }

    /// At most `most` pieces of `text` with marked words.
    #[must_use]
    pub fn pieces(&mut self, text: &str, is_mail: bool, most: usize) -> Vec<String> {
        let mut end = text.len().min(MAX_TEXT);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let text = text.get(..end).unwrap_or_default();
        let mut spans = Vec::new();
        let mut places = Vec::new();
        let reading = if is_mail {
            Reading::Mail
        } else {
            Reading::Text
        };
        let wanted = &self.wanted;
        self.words.read(text, reading, |word| {
            if wanted.contains(word.folded) {
                places.push(spans.len());
            }
            spans.push((word.start, word.end));
            true
        });
        let mut pieces = Vec::new();
        let mut places = places.into_iter().peekable();
        while let Some(first) = places.peek().copied() {
            if pieces.len() >= most {
                break;
            }
            let from = first.saturating_sub(BEFORE);
            let to = (from + PIECE_WORDS).min(spans.len());
            let mut marked = HashSet::new();
            while let Some(place) = places.next_if(|place| *place < to) {
                marked.insert(place);
            }
            pieces.push(piece(
                text,
                spans.get(from..to).unwrap_or_default(),
                from,
                &marked,
                to < spans.len(),
            ));
        }
        pieces
    }
}

/// The pieces of several texts of one document, by field.
#[must_use]
pub fn snippets<'t>(
    highlighter: &mut Highlighter,
    texts: impl Iterator<Item = (String, &'t str, bool)>,
    most: usize,
) -> Vec<(String, Vec<String>)> {
    texts
        .map(|(field, text, is_mail)| (field, highlighter.pieces(text, is_mail, most)))
        .filter(|(_, pieces)| !pieces.is_empty())
        .collect()
}

fn piece(
    text: &str,
    spans: &[(usize, usize)],
    first: usize,
    marked: &HashSet<usize>,
    goes_on: bool,
) -> String {
    let mut out = String::new();
    if first > 0 {
        out.push('…');
    }
    let mut at = spans.first().map_or(0, |(start, _)| *start);
    for (place, (start, end)) in (first..).zip(spans) {
        // Pairs of signs overlap.
        let start = (*start).max(at);
        between(text.get(at..start).unwrap_or_default(), &mut out);
        if start >= *end {
            continue;
        }
        let is_marked = marked.contains(&place);
        out.push_str(if is_marked { "<mark>" } else { "" });
        escape(text.get(start..*end).unwrap_or_default(), &mut out);
        out.push_str(if is_marked { "</mark>" } else { "" });
        at = *end;
    }
    if goes_on {
        out.push('…');
    }
    out
}

/// What lies between words: short, it stands as it is; long, it was no text.
fn between(text: &str, out: &mut String) {
    if text.len() > 12 || text.contains('<') {
        out.push(' ');
        return;
    }
    let (mut was_space, mut buffer) = (false, [0; 4]);
    for sign in text.chars() {
        let is_space = sign.is_whitespace() || sign.is_control();
        if !(is_space && was_space) {
            escape(
                if is_space {
                    " "
                } else {
                    sign.encode_utf8(&mut buffer)
                },
                out,
            );
        }
        was_space = is_space;
    }
}

fn escape(text: &str, out: &mut String) {
    for sign in text.chars() {
        match sign {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            sign if sign.is_control() => out.push(' '),
            sign => out.push(sign),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn highlighter(words: &[&str]) -> Highlighter {
        let found = |word: &&str| Match {
            asked: (*word).to_owned(),
            found: (*word).to_owned(),
            fields: Vec::new(),
        };
        Highlighter::new(&words.iter().map(found).collect::<Vec<_>>())
    }

    #[test]
    fn words_are_marked_and_everything_else_is_escaped() {
        let text =
            "See \"A&B\" <b onclick='x'>in</b> Köln, <script>alert(1)</script>köln's < bridge";
        let pieces = highlighter(&["koln"]).pieces(text, false, 3);
        assert_eq!(
            pieces,
            ["See &quot;A&amp;B in <mark>Köln</mark> <mark>köln</mark> bridge"]
        );
        assert!(highlighter(&["paris"]).pieces(text, false, 3).is_empty());
    }

    #[test]
    fn long_texts_give_a_few_pieces() {
        let text = "filler ".repeat(100) + "needle " + &"filler ".repeat(100) + "needle end";
        let pieces = highlighter(&["needle"]).pieces(&text, true, 5);
        assert_eq!(pieces.len(), 2);
        assert!(pieces[0].starts_with('…') && pieces[0].ends_with('…'));
        assert!(
            pieces
                .iter()
                .all(|piece| piece.contains("<mark>needle</mark>") && piece.len() < 300)
        );
        assert_eq!(highlighter(&["needle"]).pieces(&text, true, 1).len(), 1);
    }

    #[test]
    fn a_pair_of_signs_is_marked() {
        assert_eq!(
            highlighter(&["京都"]).pieces("東京都", false, 1),
            ["東京<mark>都</mark>"]
        );
    }
}
