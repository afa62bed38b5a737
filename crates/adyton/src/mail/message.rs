//! One message of a mailbox as a record.
//!
//! 1. Refuse what is built to exhaust the parser.
//! 2. Parse header and MIME tree, guessing the charset where none is given.
//! 3. Fill every member of the record, each with a fallback that does not depend on the run.
//! 4. Take the tree apart without recursion.
//!
//! A fault of the parser itself is caught and counts as a broken message.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mail_parser::{Addr, Address, DateTime, HeaderValue, Message, MessageParser, PartType};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::attachment::attachments;
use super::digest::FieldHash;
use super::html::html_to_text;
use super::legacy;
use super::mbox::RawMessage;
use super::owner::{self, Owner};
use super::record::{EMAIL_SCHEMA, EmailRecord, MessageType, Source};

/// A message with more MIME parts than this is refused.
pub const MAX_PARTS: usize = 2_000;

/// A message in which the word `boundary` appears more often than this is refused: for each, the
/// parser may search the whole rest.
pub const MAX_BOUNDARIES: usize = 1_000;

/// The text of a message is cut here.
const MAX_TEXT_BYTES: usize = 4 << 20;
/// The HTML of a message is cut here.
const MAX_HTML_BYTES: usize = 8 << 20;
/// A header that becomes a member of the record is cut here.
const MAX_HEADER_BYTES: usize = 998;
/// At most this many addresses or labels are kept of one header.
const MAX_LISTED: usize = 32;

const GMAIL: &str = "https://gmail.com/";
const MBOX: &str = "application/mbox";

/// Why a message gives no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// Nothing in it is a header of a message.
    #[error("it has no message header")]
    NoHeader,
    /// No header names a sender.
    #[error("no header says who sent it")]
    NoSender,
    /// It has more bytes than a message may have.
    #[error("it is larger than {} MiB", super::mbox::MAX_MESSAGE_BYTES >> 20)]
    TooLarge,
    /// It has more MIME parts than a message may have.
    #[error("it has too many parts")]
    TooManyParts,
    /// The parser failed on it.
    #[error("the parser failed on it")]
    ParserFault,
}

/// The record of a message, or why there is none.
pub fn read_message(raw: RawMessage, owner: &Owner) -> Result<EmailRecord, Broken> {
    catch_unwind(AssertUnwindSafe(|| read(raw, owner))).unwrap_or(Err(Broken::ParserFault))
}

fn read(mut raw: RawMessage, owner: &Owner) -> Result<EmailRecord, Broken> {
    if count_ignoring_case(&raw.bytes, b"boundary") > MAX_BOUNDARIES {
        return Err(Broken::TooManyParts);
    }
    hide_encoded_messages(&mut raw.bytes);
    let header_length = header_block_length(&raw.bytes);
    legacy::make_header_utf8(&mut raw.bytes, header_length);
    let message = MessageParser::default()
        .parse(&raw.bytes)
        .ok_or(Broken::NoHeader)?;
    let record = if message.parts.len() > MAX_PARTS {
        Err(Broken::TooManyParts)
    } else if !is_mail(&message) {
        Err(Broken::NoHeader)
    } else {
        record(&message, &raw, owner)
    };
    take_apart(message);
    record
}

fn record(message: &Message<'_>, raw: &RawMessage, owner: &Owner) -> Result<EmailRecord, Broken> {
    let separator = raw.separator.as_ref();
    let labels = owner::labels(message);
    let sent_by_label = owner::has_sent_label(&labels);

    let (from_name, from_email) = sender(message)
        .or_else(|| bare(separator.and_then(|separator| separator.sender())))
        .or_else(|| bare(owner.account().filter(|_| sent_by_label)))
        .ok_or(Broken::NoSender)?;
    let direction = if sent_by_label || owner.is(&from_email) {
        MessageType::Send
    } else {
        MessageType::Receive
    };
    let (to_name, to_email) = [message.to(), message.cc(), message.bcc()]
        .into_iter()
        .flatten()
        .find_map(first_mailbox)
        .or_else(|| bare(owner::delivered_to(message).first().map(String::as_str)))
        .or_else(|| {
            bare(
                owner
                    .account()
                    .filter(|_| direction == MessageType::Receive),
            )
        })
        .unwrap_or_default();

    let dated = message.date().and_then(seconds);
    let delivered = separator.and_then(|separator| separator.delivered());
    let received = message
        .received()
        .and_then(|hop| hop.date())
        .and_then(|date| seconds(&date));
    let sent = dated.or(delivered).or(received);
    let sent_at = iso(sent.unwrap_or_default());
    let inserted_at = delivered.map_or_else(|| sent_at.clone(), iso);

    let mut name = message.subject().map(tidy).unwrap_or_default();
    clip(&mut name, MAX_HEADER_BYTES);
    if name.is_empty() {
        "No email subject".clone_into(&mut name);
    }
    let (mut message_text, mut message_html) = bodies(message);
    let (attachments, mut truncated) = attachments(message);
    truncated |= clip(&mut message_text, MAX_TEXT_BYTES);
    truncated |= clip(&mut message_html, MAX_HTML_BYTES);
    if message_text.trim().is_empty() {
        "No email body".clone_into(&mut message_text);
    }

    let message_id = identifier(message.message_id());
    let in_reply_to = identifiers(message.in_reply_to())
        .next()
        .unwrap_or_default();

    // What the message is, and nothing of how it reached this file: labels, delivery and quoting
    // differ between two exports of one mailbox.
    let mut hash = FieldHash::new("social/email");
    let dated = dated.map(iso).unwrap_or_default();
    for field in [
        &message_id,
        &dated,
        &from_email,
        &to_email,
        &name,
        &message_text,
        &message_html,
    ] {
        hash.field(field.as_bytes());
    }
    for attachment in &attachments {
        hash.field(attachment.id.as_bytes());
    }
    let hash = hash.hex(40);

    let gmail_thread = owner::header_text(message, "X-GM-THRID");
    let thread_id = gmail_thread
        .as_deref()
        .map(gmail_number)
        .or_else(|| identifiers(message.references()).next())
        .or_else(|| Some(in_reply_to.clone()).filter(|id| !id.is_empty()))
        .or_else(|| Some(message_id.clone()).filter(|id| !id.is_empty()))
        .unwrap_or_else(|| hash.clone());
    let source_id = separator
        .and_then(|separator| separator.gmail_id())
        .map(|number| format!("{number:x}"))
        .or_else(|| {
            owner::header_text(message, "X-GM-MSGID")
                .as_deref()
                .map(gmail_number)
        })
        .or_else(|| Some(message_id.clone()).filter(|id| !id.is_empty()))
        .unwrap_or_else(|| hash.clone());
    let account = owner.account().map(str::to_owned);
    let account = account.or_else(|| owner::delivered_to(message).into_iter().next());

    Ok(EmailRecord {
        id: format!("mbox-{hash}"),
        schema: EMAIL_SCHEMA.to_owned(),
        name,
        direction,
        from_name,
        from_email,
        to_name,
        to_email,
        message_text,
        message_html,
        sent_at,
        inserted_at,
        thread_id,
        attachments,
        source_application: if gmail_thread.is_some() { GMAIL } else { MBOX }.to_owned(),
        source_id,
        source_account_id: account.unwrap_or_default(),
        source_data: Source {
            message_id,
            in_reply_to,
            to: addresses(message.to()),
            cc: addresses(message.cc()),
            labels: labels
                .into_iter()
                .take(MAX_LISTED)
                .map(|label| clipped(&label))
                .collect(),
            list_id: owner::header_text(message, "List-Id")
                .map(|id| clipped(&id))
                .unwrap_or_default(),
            undated: sent.is_none(),
            truncated,
        },
    })
}

/// Text and HTML of the message itself.
fn bodies(message: &Message<'_>) -> (String, String) {
    let mut texts = Vec::new();
    for part in message.text_bodies() {
        match &part.body {
            PartType::Text(_) => texts.push(legacy::text_of(message, part)),
            PartType::Html(_) => texts.push(html_to_text(&legacy::text_of(message, part))),
            _ => {}
        }
    }
    let mut htmls = Vec::new();
    for part in message.html_bodies() {
        if let PartType::Html(_) = &part.body {
            htmls.push(legacy::text_of(message, part));
        }
    }
    let mut text = texts.join("\n\n");
    // A text alternative without a word in it, beside HTML that has some.
    if text.trim().is_empty() {
        text = htmls
            .iter()
            .map(|html| html_to_text(html))
            .collect::<Vec<_>>()
            .join("\n\n");
    }
    (text, htmls.join("\n"))
}

fn is_mail(message: &Message<'_>) -> bool {
    use mail_parser::HeaderName::{Date, From, MessageId, Received, ReturnPath, Subject, To};
    message.headers().iter().any(|header| {
        matches!(
            header.name,
            Date | From | MessageId | Received | ReturnPath | Subject | To
        )
    })
}

fn sender(message: &Message<'_>) -> Option<(String, String)> {
    let named = [message.from(), message.sender(), message.reply_to()];
    named
        .into_iter()
        .flatten()
        .find_map(first_mailbox)
        .or_else(|| {
            bare(
                message
                    .return_address()
                    .filter(|address| address.contains('@')),
            )
        })
}

/// Name and address of the first one who has an address.
fn first_mailbox(address: &Address<'_>) -> Option<(String, String)> {
    address.iter().find_map(|mailbox| {
        let address = address_of(mailbox)?;
        let mut name = mailbox.name().map(tidy).unwrap_or_default();
        clip(&mut name, MAX_HEADER_BYTES);
        if name.is_empty() {
            name.clone_from(&address);
        }
        Some((name, address))
    })
}

fn bare(address: Option<&str>) -> Option<(String, String)> {
    let address = address
        .map(clipped)
        .filter(|address| !address.is_empty())?
        .to_lowercase();
    Some((address.clone(), address))
}

fn addresses(header: Option<&Address<'_>>) -> Vec<String> {
    header
        .map(|header| {
            header
                .iter()
                .filter_map(address_of)
                .take(MAX_LISTED)
                .collect()
        })
        .unwrap_or_default()
}

fn address_of(mailbox: &Addr<'_>) -> Option<String> {
    let address = clipped(mailbox.address()?).to_lowercase();
    (!address.is_empty()).then_some(address)
}

fn identifier(id: Option<&str>) -> String {
    id.map(|id| clipped(id.trim_matches(['<', '>', ' '])))
        .unwrap_or_default()
}

fn identifiers(header: &HeaderValue<'_>) -> impl Iterator<Item = String> {
    let ids: Vec<String> = match header {
        HeaderValue::Text(id) => vec![identifier(Some(id))],
        HeaderValue::TextList(ids) => ids.iter().take(1).map(|id| identifier(Some(id))).collect(),
        _ => Vec::new(),
    };
    ids.into_iter().filter(|id| !id.is_empty())
}

/// Takeout writes Gmail's numbers in decimal, Gmail's API in hexadecimal.
fn gmail_number(text: &str) -> String {
    text.parse::<u64>()
        .map_or_else(|_| clipped(text), |number| format!("{number:x}"))
}

fn seconds(date: &DateTime) -> Option<i64> {
    let seconds = Some(date).filter(|date| date.is_valid())?.to_timestamp();
    let year = OffsetDateTime::from_unix_timestamp(seconds).ok()?.year();
    (1..=9999).contains(&year).then_some(seconds)
}

fn iso(seconds: i64) -> String {
    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].000Z");
    OffsetDateTime::from_unix_timestamp(seconds)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .format(FORMAT)
        .unwrap_or_default()
}

/// One line without control characters: header folding and smuggled breaks become spaces.
pub(super) fn tidy(text: &str) -> String {
    let spaced = |c: char| c.is_whitespace() || c.is_control();
    text.split(spaced)
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn clipped(text: &str) -> String {
    let mut text = tidy(text);
    clip(&mut text, MAX_HEADER_BYTES);
    text
}

/// Cuts at a character, not within one. Says whether it cut.
pub(super) fn clip(text: &mut String, limit: usize) -> bool {
    let cut = text.len() > limit;
    text.truncate(text.floor_char_boundary(limit));
    cut
}

fn count_ignoring_case(haystack: &[u8], lower_case_needle: &[u8]) -> usize {
    places_ignoring_case(haystack, lower_case_needle).count()
}

fn places_ignoring_case<'h>(
    haystack: &'h [u8],
    lower_case_needle: &'h [u8],
) -> impl Iterator<Item = usize> + 'h {
    let (first, rest) = lower_case_needle.split_first().unwrap_or((&0, &[]));
    memchr::memchr2_iter(*first, first.to_ascii_uppercase(), haystack).filter(move |at| {
        let tail = haystack.get(at + 1..at + 1 + rest.len());
        tail.is_some_and(|tail| tail.eq_ignore_ascii_case(rest))
    })
}

/// Hides messages that are attached in an encoded form from the parser, by changing their type.
///
/// RFC 2046 forbids the form, and the parser unpacks it with recursion that the sender controls.
/// They stay attachments like any other file.
fn hide_encoded_messages(bytes: &mut [u8]) {
    const SUBTYPES: [&[u8]; 2] = [b"rfc822", b"global"];
    if SUBTYPES
        .iter()
        .all(|subtype| count_ignoring_case(bytes, subtype) == 0)
    {
        return;
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        let (block, after) = rest.split_at_mut(header_block_length(rest));
        rest = after;
        let encoded = ["base64", "quoted-printable"]
            .iter()
            .any(|encoding| count_ignoring_case(block, encoding.as_bytes()) > 0);
        if encoded {
            for subtype in SUBTYPES {
                let places: Vec<usize> = places_ignoring_case(block, subtype).collect();
                for first in places {
                    if let Some(first) = block.get_mut(first) {
                        *first = b'x';
                    }
                }
            }
        }
    }
}

/// How many bytes there are up to the next blank line, with it.
fn header_block_length(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes)
        .find_map(|at| match bytes.get(at + 1..)? {
            [b'\n', ..] => Some(at + 2),
            [b'\r', b'\n', ..] => Some(at + 3),
            _ => None,
        })
        .unwrap_or(bytes.len())
}

/// Drops a message with its inner messages one level at a time. They can lie as deep as the
/// sender likes, and the compiler's own drop would recurse.
fn take_apart(message: Message<'_>) {
    let mut waiting = vec![message];
    while let Some(mut message) = waiting.pop() {
        for part in &mut message.parts {
            if let PartType::Message(inner) = std::mem::take(&mut part.body) {
                waiting.push(inner);
            }
        }
    }
}
