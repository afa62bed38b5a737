//! Text that does not say, or does not know, its charset: mail from before MIME and its heirs.
//!
//! What is not UTF-8 is taken for Windows-1252, as mail programs do: it holds all of Latin-1, and
//! a wrong letter is better than none.

use std::borrow::Cow;

use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::{Encoding, Message, MessagePart, MimeHeaders, PartType};

/// Makes the header UTF-8, line by line, where it is not.
pub(super) fn make_header_utf8(bytes: &mut Vec<u8>, header_length: usize) {
    let (header, body) = bytes.split_at(header_length.min(bytes.len()));
    if std::str::from_utf8(header).is_ok() {
        return;
    }
    let mut fixed = Vec::with_capacity(bytes.len() + 64);
    for line in header.split_inclusive(|byte| *byte == b'\n') {
        match std::str::from_utf8(line) {
            Ok(_) => fixed.extend_from_slice(line),
            Err(_) => fixed.extend_from_slice(windows_1252(line).as_bytes()),
        }
    }
    fixed.extend_from_slice(body);
    *bytes = fixed;
}

/// The text of a text part, with LF line ends.
pub(super) fn text_of(message: &Message<'_>, part: &MessagePart<'_>) -> String {
    let (PartType::Text(text) | PartType::Html(text)) = &part.body else {
        return String::new();
    };
    let text = match raw_text(message, part) {
        Some(raw) if text.contains(char::REPLACEMENT_CHARACTER) => Cow::Owned(windows_1252(raw)),
        _ => Cow::Borrowed(text.as_ref()),
    };
    text.replace("\r\n", "\n")
}

/// The bytes of a part that has no usable charset and is not UTF-8.
fn raw_text<'m>(message: &'m Message<'_>, part: &MessagePart<'_>) -> Option<&'m [u8]> {
    let charset = part
        .content_type()
        .and_then(|media| media.attribute("charset"));
    let unknown = charset.is_none_or(|charset| {
        charset.eq_ignore_ascii_case("us-ascii") || charset_decoder(charset.as_bytes()).is_none()
    });
    if !unknown || part.encoding != Encoding::None {
        return None;
    }
    let raw = message
        .raw_message
        .get(part.offset_body as usize..part.offset_end as usize)?;
    std::str::from_utf8(raw).is_err().then_some(raw)
}

fn windows_1252(bytes: &[u8]) -> String {
    match charset_decoder(b"windows-1252") {
        Some(decode) => decode(bytes),
        None => String::from_utf8_lossy(bytes).into_owned(),
    }
}
