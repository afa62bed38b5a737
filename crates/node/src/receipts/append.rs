//! Appending to a user's chain of receipts, on the user's storage node.
//!
//! 1. Find the end of the chain: in memory, or by the record `head`. 2. Make the receipt behind it. 3. Write it under the id
//!    that its number gives, which only one writer can have; whoever loses reads what the winner wrote and goes on behind
//!    that. A write whose answer got lost is recognised and not made twice.

use adyton_client::database::{Database, WriteError};
use adyton_client::database_registry;
use adyton_client::record::{InvalidRecord, PreparedRecord, Save};
use adyton_client::session::{Session, SessionError};
use adyton_keys::record_cipher::RecordCipher;
use adyton_protocol::database::{DatabaseName, InvalidDatabaseName, Permissions};
use adyton_protocol::receipt;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// How often the end of the chain is looked for, when others append to it at the same time.
const ATTEMPTS: usize = 64;

/// The end of a chain.
#[derive(Debug, Clone)]
pub(super) struct Head {
    chain: String,
    /// The number of the next receipt.
    seq: u64,
    /// The hash of the last.
    previous: Option<String>,
    /// The revision of the record `head`.
    rev: Option<String>,
}

/// A receipt was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum AppendError {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Record(#[from] InvalidRecord),
    #[error(transparent)]
    Name(#[from] InvalidDatabaseName),
    #[error("the end of the chain of receipts was not found")]
    NoEnd,
}

/// Writes one receipt. `known` is the end of the chain, if it is known, and from then on.
pub(super) async fn append(
    session: &Session,
    known: &mut Option<Head>,
    accesses: &[Value],
    lost: u64,
) -> Result<(), AppendError> {
    let name = DatabaseName::new(receipt::DATABASE)?;
    let database = session.database(&name);
    let cipher = database.cipher();
    let mut head = match known.take() {
        Some(head) => head,
        None => find(&database, &cipher).await?,
    };
    for _ in 0..ATTEMPTS {
        let previous = head.previous.as_deref();
        let (members, hash) =
            receipt::next(&head.chain, head.seq, previous, accesses.to_vec(), lost);
        let next = PreparedRecord::new(members, Save::Insert, None, session)?;
        match database.put(&next, &cipher).await {
            Ok(_) => {}
            Err(WriteError::Conflict) => {
                let id = receipt::id_of(&head.chain, head.seq);
                let there = database.read(&id, &cipher).await?;
                match there.as_ref().and_then(receipt::hash_of) {
                    // Ours: the answer was lost.
                    Some(theirs) if theirs == hash => {}
                    Some(theirs) => {
                        head.go_on_behind(theirs);
                        continue;
                    }
                    None => {
                        // The user has deleted it: what follows is another chain.
                        head = Head {
                            rev: head.rev.take(),
                            ..Head::of_new_chain()
                        };
                        continue;
                    }
                }
            }
            Err(error) => return Err(error.into()),
        }
        // It is only where somebody begins to look for the end: the receipt is written, whatever becomes of it.
        head.rev = write_end(&database, &cipher, head.record(&hash)).await;
        head.go_on_behind(hash);
        *known = Some(head);
        return Ok(());
    }
    Err(AppendError::NoEnd)
}

/// Writes the record `head`, and says its revision if that is known.
async fn write_end(
    database: &Database<'_>,
    cipher: &RecordCipher,
    record: Map<String, Value>,
) -> Option<String> {
    let save = match record.contains_key("_rev") {
        true => Save::Update,
        false => Save::Insert,
    };
    let record = PreparedRecord::new(record, save, None, database.session()).ok()?;
    match database.put(&record, cipher).await {
        Ok(rev) => Some(rev.to_string()),
        // Another node keeps it, too.
        Err(WriteError::Conflict) => {
            let rev = database.revision(receipt::HEAD).await.ok()??;
            Some(rev.to_string())
        }
        Err(_) => None,
    }
}

/// The end of the chain as the storage node has it; a new one if there is none.
async fn find(database: &Database<'_>, cipher: &RecordCipher) -> Result<Head, AppendError> {
    if database.info().await?.is_none() {
        database_registry::create_registered(database, &Permissions::default()).await?;
        return Ok(Head::of_new_chain());
    }
    let record = database.read(receipt::HEAD, cipher).await?;
    let Some(record) = record else {
        return Ok(Head::of_new_chain());
    };
    let text = |name: &str| Some(record.get(name)?.as_str()?.to_owned());
    let (chain, previous, rev) = (text("chain"), text("hash"), text("_rev"));
    let seq = record.get("seq").and_then(Value::as_u64);
    Ok(match (chain, seq) {
        (Some(chain), Some(seq)) => Head {
            chain,
            seq: seq.saturating_add(1),
            previous,
            rev,
        },
        _ => Head {
            rev,
            ..Head::of_new_chain()
        },
    })
}

impl Head {
    fn of_new_chain() -> Self {
        Self {
            chain: Uuid::new_v4().simple().to_string(),
            seq: 0,
            previous: None,
            rev: None,
        }
    }

    fn go_on_behind(&mut self, hash: String) {
        self.seq += 1;
        self.previous = Some(hash);
    }

    /// The record `head`, once the next receipt is written.
    fn record(&self, hash: &str) -> Map<String, Value> {
        let mut record = Map::from_iter([
            ("_id".to_owned(), json!(receipt::HEAD)),
            ("chain".to_owned(), json!(self.chain)),
            ("seq".to_owned(), json!(self.seq)),
            ("hash".to_owned(), json!(hash)),
        ]);
        if let Some(rev) = &self.rev {
            record.insert("_rev".to_owned(), json!(rev));
        }
        record
    }
}
