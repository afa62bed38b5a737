//! The text of an HTML document, for messages that have no other.
//!
//! Guarantees: linear time, never more text than input, no panic on any input. This is for reading
//! and searching, not for display: the result is not safe to put back into a page.

use mail_parser::decoders::html::add_html_token;

/// A character reference is not longer than this.
const MAX_REFERENCE_BYTES: usize = 33;

/// What a person would read. Blocks become lines, list items get a dash, cells a space.
pub fn html_to_text(html: &str) -> String {
    let mut text = Text {
        out: String::new(),
        pending: Gap::None,
    };
    let mut rest = html;
    while let Some(at) = rest.find(['<', '&']) {
        let (before, from_mark) = rest.split_at(at);
        text.push(before);
        rest = if from_mark.starts_with('&') {
            reference(from_mark, &mut text)
        } else {
            markup(from_mark, &mut text)
        };
    }
    text.push(rest);
    text.out
}

/// Takes one character reference, or the bare ampersand.
fn reference<'h>(html: &'h str, text: &mut Text) -> &'h str {
    let end = html
        .bytes()
        .take(MAX_REFERENCE_BYTES)
        .position(|byte| byte == b';');
    let (token, rest) = match end.and_then(|end| html.split_at_checked(end + 1)) {
        Some((token, rest))
            if token
                .bytes()
                .skip(1)
                .all(|b| b.is_ascii_alphanumeric() || b"#;".contains(&b)) =>
        {
            (token, rest)
        }
        _ => html.split_at(1),
    };
    let mut decoded = String::new();
    add_html_token(&mut decoded, token.as_bytes(), false);
    text.push(&decoded);
    rest
}

/// Takes one tag, comment or element without readable content; or the bare `<`.
fn markup<'h>(html: &'h str, text: &mut Text) -> &'h str {
    if let Some(comment) = html.strip_prefix("<!--") {
        return comment.split_once("-->").map_or("", |(_, rest)| rest);
    }
    let named = html.get(1..).unwrap_or_default();
    let named = named.strip_prefix('/').unwrap_or(named);
    let length = named.bytes().take_while(u8::is_ascii_alphanumeric).count();
    let name = named.get(..length).unwrap_or_default().to_ascii_lowercase();
    let is_tag = name.starts_with(|first: char| first.is_ascii_alphabetic());
    if !is_tag && !html.starts_with("<!") && !html.starts_with("<?") {
        text.push("<");
        return html.get(1..).unwrap_or_default();
    }
    let Some((_, rest)) = html.split_once('>') else {
        return "";
    };
    if html.starts_with("</") || !is_tag {
        text.gap(closing_gap(&name));
        return rest;
    }
    match name.as_str() {
        "script" | "style" | "title" | "template" | "textarea" | "svg" => {
            after_element(rest, &name)
        }
        "br" => {
            text.line_break();
            rest
        }
        "li" => {
            text.gap(Gap::Line);
            text.push("- ");
            rest
        }
        _ => {
            text.gap(closing_gap(&name));
            rest
        }
    }
}

/// What stands between an element and its neighbours.
fn closing_gap(name: &str) -> Gap {
    match name {
        "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" | "table" | "ul" | "ol" | "dl" | "pre"
        | "blockquote" | "hr" => Gap::Paragraph,
        "div" | "tr" | "li" | "dt" | "dd" | "section" | "article" | "header" | "footer"
        | "main" | "body" | "center" | "address" | "form" | "figure" | "figcaption" | "caption" => {
            Gap::Line
        }
        "td" | "th" | "img" | "option" => Gap::Space,
        _ => Gap::None,
    }
}

/// What follows the closing tag of an element whose content is not text.
fn after_element<'h>(html: &'h str, name: &str) -> &'h str {
    let mut rest = html;
    while let Some((_, tail)) = rest.split_once("</") {
        rest = tail;
        if tail
            .get(..name.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(name))
        {
            return tail.split_once('>').map_or("", |(_, rest)| rest);
        }
    }
    ""
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Gap {
    None,
    Space,
    Line,
    Paragraph,
}

/// Text in which white space is owed until something follows it.
struct Text {
    out: String,
    pending: Gap,
}

impl Text {
    fn gap(&mut self, gap: Gap) {
        self.pending = self.pending.max(gap);
    }

    /// `<br>`: two of them in a row make a paragraph.
    fn line_break(&mut self) {
        self.pending = if self.pending >= Gap::Line {
            Gap::Paragraph
        } else {
            Gap::Line
        };
    }

    fn push(&mut self, piece: &str) {
        let is_space = |c: char| c.is_ascii_whitespace() || c == '\u{a0}';
        let mut words = piece.split(is_space);
        if let Some(word) = words.next() {
            self.word(word);
        }
        for word in words {
            self.gap(Gap::Space);
            self.word(word);
        }
    }

    fn word(&mut self, word: &str) {
        if word.is_empty() {
            return;
        }
        if !self.out.is_empty() {
            self.out.push_str(match self.pending {
                Gap::None => "",
                Gap::Space => " ",
                Gap::Line => "\n",
                Gap::Paragraph => "\n\n",
            });
        }
        self.pending = Gap::None;
        self.out.push_str(word);
    }
}

#[cfg(test)]
mod tests {
    use super::html_to_text;

    #[test]
    fn blocks_become_lines_and_inline_marks_vanish() {
        let html = "<html><head><title>x</title><style>p{color:red}</style></head>\
            <body><h1>Hello</h1><p>one <b>tw</b>o<br>three</p>\n<div>four</div><div>five</div>";
        assert_eq!(html_to_text(html), "Hello\n\none two\nthree\n\nfour\nfive");
    }

    #[test]
    fn lists_and_tables_stay_readable() {
        let html = "<ul><li>tea<li>milk</ul><table><tr><td>Sum</td><td>3,20</td></tr></table>";
        assert_eq!(html_to_text(html), "- tea\n- milk\n\nSum 3,20");
    }

    #[test]
    fn references_are_resolved_and_others_left() {
        let html = "Fish&nbsp;&amp;&#32;chips &euro;5 &#x1F41F; R&D &nonsense; &; AT&T";
        assert_eq!(
            html_to_text(html),
            "Fish & chips €5 🐟 R&D &nonsense; &; AT&T"
        );
    }

    #[test]
    fn scripts_and_comments_are_not_text() {
        let html = "a<!-- <p>no</p> -->b<SCRIPT>if (1 < 2) x('</b>')</Script >c<!DOCTYPE html>d";
        assert_eq!(html_to_text(html), "abcd");
    }

    #[test]
    fn a_bare_angle_bracket_is_text() {
        assert_eq!(html_to_text("1 < 2 and <3 and a<b"), "1 < 2 and <3 and a");
        assert_eq!(html_to_text("<"), "<");
        assert_eq!(html_to_text("<!-- open"), "");
    }

    #[test]
    fn scripts_of_the_world_pass_through() {
        assert_eq!(
            html_to_text("<p>שלום עולם</p><p>你好&hellip;</p>"),
            "שלום עולם\n\n你好…"
        );
    }

    #[test]
    fn hostile_markup_takes_linear_time() {
        for hostile in [
            "<",
            "<!--",
            "<script>",
            "&",
            "<a ",
            "</",
            "<style></",
            "&#x",
        ] {
            let text = html_to_text(&hostile.repeat(200_000));
            assert!(text.len() <= hostile.len() * 200_000);
        }
    }
}
