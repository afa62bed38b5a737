//! Receipts: every access by an app, written to the user's own database `access_receipts`.
//!
//! Guarantees: an access that needs a receipt happens only while receipts can be written, or could be until a few minutes
//! ago; receipts are chained by their hashes (`adyton_protocol::receipt`) and encrypted like every record; nothing of the
//! owner's own accesses is written. Many accesses are written at once, so that one costs next to nothing. Refuses to know:
//! what a record says; of a question only a digest is kept.

mod access;
mod append;
mod batch;
mod journal;

pub use access::{Act, Kind};
pub use batch::Entry;
pub use journal::{Accessor, Journal, Unwritable};
