//! The files of a message: their names, and the text in them.

use std::borrow::Cow;

use mail_parser::{Message, MessagePart, MimeHeaders, PartType};

use super::digest::FieldHash;
use super::html::html_to_text;
use super::legacy;
use super::message::{clip, tidy};
use super::record::Attachment;

/// The text of one attachment is cut here.
pub(super) const MAX_ATTACHMENT_TEXT_BYTES: usize = 1 << 20;

/// The texts of all attachments of a message together are cut here.
pub(super) const MAX_ALL_ATTACHMENT_TEXT_BYTES: usize = 8 << 20;

/// A file name is cut here.
const MAX_FILENAME_BYTES: usize = 255;

/// All files of a message, and whether any text was cut.
pub(super) fn attachments(message: &Message<'_>) -> (Vec<Attachment>, bool) {
    let mut truncated = false;
    let mut room = MAX_ALL_ATTACHMENT_TEXT_BYTES;
    let mut found = Vec::new();
    for (index, part) in message.attachments().enumerate() {
        let number = index + 1;
        let mut text_content = text_of(message, part);
        truncated |= clip(&mut text_content, room.min(MAX_ATTACHMENT_TEXT_BYTES));
        room -= text_content.len();
        found.push(Attachment {
            id: format!("{number}-{}", content_hash(message, part)),
            filename: filename(part, number),
            text_content,
        });
    }
    (found, truncated)
}

/// A hash of the content, the same for every export: line ends of text do not count.
fn content_hash(message: &Message<'_>, part: &MessagePart<'_>) -> String {
    let mut hash = FieldHash::new("attachment");
    let without_cr = |text: &[u8]| text.iter().copied().filter(|byte| *byte != b'\r').collect();
    let content: Cow<'_, [u8]> = match &part.body {
        // The parser gives an inner message the bytes of the outer one.
        PartType::Message(_) => {
            let (start, end) = (part.offset_body as usize, part.offset_end as usize);
            Cow::Owned(without_cr(
                message.raw_message.get(start..end).unwrap_or_default(),
            ))
        }
        PartType::Text(text) | PartType::Html(text) => Cow::Owned(without_cr(text.as_bytes())),
        _ => Cow::Borrowed(part.contents()),
    };
    hash.field(&content);
    hash.hex(16)
}

/// The name as the sender gave it, without folders; or one made from the type.
fn filename(part: &MessagePart<'_>, number: usize) -> String {
    let given = part.attachment_name().map(tidy).unwrap_or_default();
    let mut name = given
        .rsplit(['/', '\\'])
        .next()
        .unwrap_or_default()
        .to_owned();
    if name.is_empty() {
        name = match &part.body {
            PartType::Message(inner) => match inner.subject().map(tidy) {
                Some(subject) if !subject.is_empty() => {
                    let mut subject = subject.replace(['/', '\\'], "-");
                    clip(&mut subject, 100);
                    format!("{subject}.eml")
                }
                _ => format!("attachment-{number}.eml"),
            },
            _ => format!("attachment-{number}.{}", extension(part)),
        };
    }
    clip(&mut name, MAX_FILENAME_BYTES);
    name
}

fn extension(part: &MessagePart<'_>) -> &'static str {
    let Some(media) = part.content_type() else {
        return "bin";
    };
    match (media.ctype(), media.subtype().unwrap_or_default()) {
        ("text", "calendar") => "ics",
        ("text", "html") => "html",
        ("text", "csv") => "csv",
        ("text", "vcard" | "x-vcard") => "vcf",
        ("text", _) => "txt",
        ("message", "delivery-status" | "disposition-notification") => "txt",
        ("message", _) => "eml",
        ("image", "jpeg" | "jpg") => "jpg",
        ("image", "png") => "png",
        ("image", "gif") => "gif",
        ("image", "svg+xml") => "svg",
        ("application", "pdf") => "pdf",
        ("application", "json") => "json",
        ("application", "pgp-signature") => "asc",
        ("application", "pkcs7-signature" | "x-pkcs7-signature") => "p7s",
        ("application", "zip") => "zip",
        _ => "bin",
    }
}

/// What can be read without knowing the file's format.
fn text_of(message: &Message<'_>, part: &MessagePart<'_>) -> String {
    match &part.body {
        PartType::Text(_) => legacy::text_of(message, part),
        PartType::Html(_) => html_to_text(&legacy::text_of(message, part)),
        PartType::Message(inner) => inner_text(inner),
        PartType::Binary(bytes) | PartType::InlineBinary(bytes) if is_text(part) => {
            String::from_utf8_lossy(bytes).replace("\r\n", "\n")
        }
        PartType::Binary(_) | PartType::InlineBinary(_) | PartType::Multipart(_) => String::new(),
    }
}

/// A message inside a message: who, what, and its first text.
fn inner_text(inner: &Message<'_>) -> String {
    let mut lines = Vec::new();
    if let Some(from) = inner.from().and_then(|from| from.first()) {
        let name = from.name().unwrap_or_default();
        let address = from.address().unwrap_or_default();
        lines.push(format!("From: {}", tidy(&format!("{name} {address}"))));
    }
    if let Some(subject) = inner.subject() {
        lines.push(format!("Subject: {}", tidy(subject)));
    }
    let body = inner.text_bodies().next().map(|part| {
        let text = legacy::text_of(inner, part);
        if part.is_text_html() {
            html_to_text(&text)
        } else {
            text
        }
    });
    if let Some(body) = body.filter(|body| !body.is_empty()) {
        lines.push(String::new());
        lines.push(body);
    }
    lines.join("\n")
}

fn is_text(part: &MessagePart<'_>) -> bool {
    part.content_type().is_some_and(|media| {
        let subtype = media.subtype().unwrap_or_default();
        match media.ctype() {
            "text" | "message" => true,
            "application" => {
                matches!(subtype, "json" | "xml" | "yaml" | "x-yaml" | "ics")
                    || subtype.ends_with("+json")
                    || subtype.ends_with("+xml")
            }
            _ => false,
        }
    })
}
