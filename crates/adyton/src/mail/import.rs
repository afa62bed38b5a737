//! A mailbox file as a stream of records, with what is left out and why.

use std::io::Read;

use super::mbox::{Entry, Mbox, MboxError};
use super::message::{Broken, read_message};
use super::owner::Owner;
use super::record::EmailRecord;

/// What one message of the file became.
#[derive(Debug)]
pub enum Item {
    /// A record. Boxed: it is far larger than the other kind.
    Record(Box<EmailRecord>),
    /// Nothing.
    Skipped(Skipped),
}

/// A message that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Where it starts in the file.
    pub offset: u64,
    /// Why it is left out.
    pub reason: Broken,
}

/// A mailbox file being turned into records.
#[derive(Debug)]
pub struct Import<R> {
    mbox: Mbox<R>,
    owner: Owner,
}

impl<R: Read> Import<R> {
    /// Reads the mailbox of `owner`.
    pub fn new(mbox: Mbox<R>, owner: Owner) -> Self {
        Self { mbox, owner }
    }

    /// How many bytes of the file are read.
    pub fn position(&self) -> u64 {
        self.mbox.position()
    }
}

impl<R: Read> Iterator for Import<R> {
    type Item = Result<Item, MboxError>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = match self.mbox.next()? {
            Ok(entry) => entry,
            Err(error) => return Some(Err(error)),
        };
        let (offset, read) = match entry {
            Entry::Message(raw) => (raw.offset, read_message(raw, &self.owner)),
            Entry::TooLarge { offset, .. } => (offset, Err(Broken::TooLarge)),
        };
        Some(Ok(match read {
            Ok(record) => Item::Record(Box::new(record)),
            Err(reason) => Item::Skipped(Skipped { offset, reason }),
        }))
    }
}
