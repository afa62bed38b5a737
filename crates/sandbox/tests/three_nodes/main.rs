//! A context on three storage nodes, whole: real nodes as an operator configures them, the real SDK, a real confidential node. Nodes
//! are killed, parted, and named and named no more while somebody writes; nothing that was acknowledged is lost.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "../child/mod.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
mod child;
#[path = "../../../storage/tests/support/fault.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
mod fault;
#[path = "../support/mod.rs"]
mod support;

mod changing;
mod killed;
mod parted;
#[allow(unreachable_pub, reason = "a module of a test")]
mod site;

use std::time::{Duration, UNIX_EPOCH};

use adyton_client::clock::Clock;
use adyton_client::database::{Database, WriteError};
use adyton_client::endpoint::Reach;
use adyton_client::record::{PreparedRecord, Save};
use adyton_client::session::{Session, SessionError};
use adyton_client::transport::{Patience, Transport};
use adyton_couch::rev::Rev;
use adyton_keys::context_session::ContextSession;
use adyton_protocol::database::{DatabaseName, Permissions};
use serde_json::{Map, Value, json};

#[test]
fn child() {
    child::serve_if_asked(|| {});
}

fn transport() -> Transport {
    let patience = Patience {
        head: Duration::from_secs(10),
        ..Patience::default()
    };
    Transport::with_patience(Reach::AlsoThisMachine, patience).unwrap()
}

/// A session of its own whose writers meet at the n-th node.
async fn open(context: &ContextSession, home: u64) -> Session {
    let clock = Clock::of(move || UNIX_EPOCH + Duration::from_secs(home * 3600));
    Session::open(context, transport(), clock).await.unwrap()
}

fn notes(session: &Session) -> Database<'_> {
    session.database(&DatabaseName::new("notes").unwrap())
}

async fn make(session: &Session) {
    notes(session)
        .create(&Permissions::default())
        .await
        .unwrap();
}

fn record(session: &Session, id: &str, rev: Option<Rev>, text: Option<&str>) -> PreparedRecord {
    let mut members = Map::from_iter([("_id".to_owned(), json!(id))]);
    if let Some(text) = text {
        members.insert("text".to_owned(), json!(text));
    }
    if let Some(rev) = rev {
        members.insert("_rev".to_owned(), json!(rev.to_string()));
    }
    let save = match (rev, text) {
        (None, _) => Save::Insert,
        (Some(_), Some(_)) => Save::Update,
        (Some(_), None) => Save::Delete,
    };
    PreparedRecord::new(members, save, None, session).unwrap()
}

/// Writes a note, or deletes it where there is no text.
async fn put(
    session: &Session,
    id: &str,
    rev: Option<Rev>,
    text: Option<&str>,
) -> Result<Rev, WriteError> {
    let database = notes(session);
    let record = record(session, id, rev, text);
    database.put(&record, &database.cipher()).await
}

async fn text_of(session: &Session, id: &str) -> Result<Option<String>, SessionError> {
    let database = notes(session);
    let record = database.read(id, &database.cipher()).await?;
    Ok(record.map(|record| record["text"].as_str().unwrap().to_owned()))
}

fn texts(answer: &Value) -> Vec<&str> {
    let items = answer["items"].as_array().unwrap().iter();
    items.filter_map(|item| item["text"].as_str()).collect()
}
