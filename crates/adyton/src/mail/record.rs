//! The record of the schema `social/email`, as the vault keeps it.

use serde::{Deserialize, Serialize};

/// The schema of the records made here.
pub const EMAIL_SCHEMA: &str = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EmailRecord {
    /// Made from the message's identifier and content: the same message, the same `_id`.
    #[serde(rename = "_id")]
    pub id: String,
    /// [`EMAIL_SCHEMA`].
    pub schema: String,
    /// The subject.
    pub name: String,
    /// Sent by the owner of the mailbox, or received.
    #[serde(rename = "type")]
    pub direction: MessageType,
    /// The sender's name, or the address if it has none.
    pub from_name: String,
    /// The sender's address, in lower case.
    pub from_email: String,
    /// The first recipient's name, or the address if it has none.
    pub to_name: String,
    /// The first recipient's address, in lower case. Empty if nobody is named.
    pub to_email: String,
    /// The text; read out of the HTML if there is no other.
    pub message_text: String,
    /// The HTML. Empty if the message has none.
    #[serde(rename = "messageHTML")]
    pub message_html: String,
    /// When the sender dated it: RFC 3339, UTC, milliseconds.
    pub sent_at: String,
    /// When it reached the mailbox, if the file says so; else `sent_at`.
    pub inserted_at: String,
    /// The conversation.
    pub thread_id: String,
    /// What came along.
    pub attachments: Vec<Attachment>,
    /// Where it comes from: a URL for Gmail, a media type for other mailboxes.
    pub source_application: String,
    /// The message's identifier there.
    pub source_id: String,
    /// The account there.
    pub source_account_id: String,
    /// What else the header says. Small.
    pub source_data: Source,
}

/// The way a message went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageType {
    /// The owner sent it.
    Send,
    /// The owner received it.
    Receive,
}

/// A file that came with a message. Its bytes are not kept, its text is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// Its place in the message and a hash of its bytes.
    pub id: String,
    /// Its name, or a made-up one.
    pub filename: String,
    /// Its text. Empty if it has none that can be read here.
    pub text_content: String,
}

/// What a message's header says beyond the schema.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Source {
    /// `Message-ID`, without its brackets.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message_id: String,
    /// `In-Reply-To`, without its brackets.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub in_reply_to: String,
    /// The addresses in `To`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub to: Vec<String>,
    /// The addresses in `Cc`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cc: Vec<String>,
    /// Gmail's labels.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// The mailing list.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub list_id: String,
    /// The message has no usable date: `sentAt` is made up.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub undated: bool,
    /// The message had more text than a record takes.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}
