//! Brings the records of a mailbox into a vault.
//!
//! Reading and uploading run side by side with a bounded queue between them. What the vault has
//! ever held is not sent again, so a repeated import adds nothing twice, goes on where the last one
//! stopped, and does not bring back what was deleted.

use std::io::Read;

use adyton_client::database::{Database, WriteError};
use adyton_client::database_registry::create_registered;
use adyton_client::record::{InvalidRecord, PreparedRecord, Save};
use adyton_client::schema::{SchemaError, SchemaSet};
use adyton_client::session::{Session, SessionError};
use adyton_keys::record_cipher::RecordCipher;
use adyton_protocol::database::{DatabaseName, InvalidDatabaseName, Permissions};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::mail::{EMAIL_SCHEMA, EmailRecord, Import, Item, MboxError, Skipped};

/// Records are sent together up to this many bytes of text…
const BATCH_BYTES: usize = 4 << 20;
/// … and up to this many of them.
const BATCH_RECORDS: usize = 200;
/// Batches that wait between reading and sending. A full queue makes the reader wait.
const QUEUED_BATCHES: usize = 2;
/// So many skipped messages are named; the others are only counted.
pub const MAX_NAMED_SKIPS: usize = 1_000;

/// What an import has done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Bytes of the file that are read and dealt with.
    pub position: u64,
    /// Records that are new in the vault.
    pub added: u64,
    /// Records that the vault had already.
    pub known: u64,
    /// Messages without a record.
    pub skipped: u64,
    /// The first of them.
    pub skips: Vec<Skipped>,
}

/// Why an import ends early. What was added before stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UploadError {
    /// The mailbox file cannot be read.
    #[error(transparent)]
    Mailbox(#[from] MboxError),
    /// The vault cannot be read or written.
    #[error(transparent)]
    Vault(#[from] WriteError),
    /// The embedded schema cannot be used.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// The schema names no usable database.
    #[error(transparent)]
    Database(#[from] InvalidDatabaseName),
    /// The reading part ended without a word.
    #[error("reading the mailbox was interrupted")]
    Interrupted,
}

impl From<SessionError> for UploadError {
    fn from(error: SessionError) -> Self {
        Self::Vault(error.into())
    }
}

impl From<InvalidRecord> for UploadError {
    fn from(error: InvalidRecord) -> Self {
        Self::Vault(error.into())
    }
}

/// Imports a mailbox into the vault of `session`, telling `on_progress` after each step.
pub async fn upload<R: Read + Send + 'static>(
    session: &Session,
    import: Import<R>,
    mut on_progress: impl FnMut(&Tally),
) -> Result<Tally, UploadError> {
    let schemas = SchemaSet::embedded()?;
    let name = schemas
        .get(EMAIL_SCHEMA)
        .and_then(|schema| schema.database())
        .unwrap_or_default();
    let database = session.database(&DatabaseName::new(name)?);
    create_registered(&database, &Permissions::default()).await?;
    let cipher = database.cipher();

    let (sender, mut batches) = mpsc::channel(QUEUED_BATCHES);
    let reader = tokio::task::spawn_blocking(move || read(import, &sender));
    let mut tally = Tally::default();
    let mut failure = None;
    while let Some(batch) = batches.recv().await {
        if let Err(error) = send(&database, &cipher, batch, &mut tally).await {
            failure = Some(error);
            break;
        }
        on_progress(&tally);
    }
    // With the queue gone the reader ends at its next batch.
    drop(batches);
    let read = reader.await.map_err(|_| UploadError::Interrupted)?;
    match failure {
        Some(error) => Err(error),
        None => read.map(|()| tally).map_err(UploadError::from),
    }
}

/// Reads a mailbox without storing anything.
pub fn dry_run<R: Read>(
    import: Import<R>,
    mut on_progress: impl FnMut(&Tally),
) -> Result<Tally, UploadError> {
    let mut tally = Tally::default();
    let mut import = import;
    while let Some(item) = import.next() {
        match item? {
            Item::Record(_) => tally.added += 1,
            Item::Skipped(skip) => tally.skip(&[skip]),
        }
        tally.position = import.position();
        on_progress(&tally);
    }
    Ok(tally)
}

impl Tally {
    fn skip(&mut self, skips: &[Skipped]) {
        self.skipped += skips.len() as u64;
        let room = MAX_NAMED_SKIPS.saturating_sub(self.skips.len());
        self.skips.extend(skips.iter().take(room));
    }
}

/// Records that are sent together.
#[derive(Default)]
struct Batch {
    records: Vec<EmailRecord>,
    skips: Vec<Skipped>,
    bytes: usize,
    position: u64,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES || self.records.len() + self.skips.len() >= BATCH_RECORDS
    }
}

/// Fills batches until the file ends or nobody takes them.
fn read<R: Read>(mut import: Import<R>, queue: &mpsc::Sender<Batch>) -> Result<(), MboxError> {
    let mut batch = Batch::default();
    let mut outcome = Ok(());
    while let Some(item) = import.next() {
        match item {
            Ok(Item::Record(record)) => {
                batch.bytes += text_bytes(&record);
                batch.records.push(*record);
            }
            Ok(Item::Skipped(skip)) => batch.skips.push(skip),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
        batch.position = import.position();
        if batch.is_full() && queue.blocking_send(std::mem::take(&mut batch)).is_err() {
            return outcome;
        }
    }
    batch.position = import.position();
    // Nobody waits for it only when sending failed, and that is told there.
    let _ = queue.blocking_send(batch);
    outcome
}

fn text_bytes(record: &EmailRecord) -> usize {
    let files: usize = record
        .attachments
        .iter()
        .map(|file| file.text_content.len())
        .sum();
    record.message_text.len() + record.message_html.len() + files
}

async fn send(
    database: &Database<'_>,
    cipher: &RecordCipher,
    batch: Batch,
    tally: &mut Tally,
) -> Result<(), UploadError> {
    if !batch.records.is_empty() {
        let ids: Vec<&str> = batch
            .records
            .iter()
            .map(|record| record.id.as_str())
            .collect();
        let held = database.holds(&ids).await?;
        let new = batch.records.iter().zip(&held).filter(|(_, held)| !**held);
        // An update without a revision: stored if the id is free, and `insertedAt` stays the mail's.
        let prepared = new
            .map(|(record, _)| {
                PreparedRecord::new(
                    members(record),
                    Save::Update,
                    Some(EMAIL_SCHEMA),
                    database.session(),
                )
            })
            .collect::<Result<Vec<_>, _>>()?;
        tally.known += (batch.records.len() - prepared.len()) as u64;
        if !prepared.is_empty() {
            for written in database.put_all(&prepared, cipher).await? {
                match written {
                    Ok(_) => tally.added += 1,
                    Err(WriteError::Conflict) => tally.known += 1,
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    tally.skip(&batch.skips);
    tally.position = batch.position;
    Ok(())
}

fn members(record: &EmailRecord) -> Map<String, Value> {
    // A record of texts and lists always serialises, to an object.
    match serde_json::to_value(record) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    }
}
