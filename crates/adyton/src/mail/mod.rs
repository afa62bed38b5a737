//! Mailbox files as `social/email` records.
//!
//! Guarantees: memory is bounded by one message; a message that cannot be read is reported with its
//! place and passed over; the same message gives the same record and the same `_id`, whatever file
//! it comes from and however often. Refuses to know: accounts, keys, nodes, the clock.

mod attachment;
mod digest;
mod html;
mod import;
mod legacy;
mod mbox;
mod message;
mod owner;
mod record;
mod separator;

pub use html::html_to_text;
pub use import::{Import, Item, Skipped};
pub use mbox::{Entry, MAX_MESSAGE_BYTES, Mbox, MboxError, RawMessage};
pub use message::{Broken, MAX_BOUNDARIES, MAX_PARTS, read_message};
pub use owner::Owner;
pub use record::{Attachment, EMAIL_SCHEMA, EmailRecord, MessageType, Source};
pub use separator::Separator;
