//! Opens the rows of a feed: envelope, cipher, and one pass over the JSON. Pure, runs on a worker thread.

use std::borrow::Cow;

use adyton_couch::changes_feed::Rows;
use adyton_couch::rev::Rev;
use adyton_keys::record_cipher::{OpenError, RecordCipher, SealedRecord};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::batch::{FeedPosition, PullBatch, RecordFault};
use super::plain_batch::PlainBatch;
use super::{Misbehaviour, PullError};
use crate::record::{MAX_ID_BYTES, MAX_RECORD_BYTES};

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    seq: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    changes: Vec<Change<'a>>,
    #[serde(default)]
    deleted: bool,
    #[serde(borrow)]
    doc: Option<Document<'a>>,
    #[serde(borrow)]
    last_seq: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Change<'a> {
    #[serde(borrow)]
    rev: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow, rename = "_id")]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "_rev")]
    rev: Cow<'a, str>,
    #[serde(default, rename = "_deleted")]
    deleted: bool,
    #[serde(borrow)]
    payload: Option<Cow<'a, str>>,
}

/// Opens all rows.
pub(super) fn open_rows(rows: &Rows, cipher: &RecordCipher) -> Result<PullBatch, PullError> {
    let mut batch = PullBatch {
        records: PlainBatch::with_capacity(RecordCipher::plaintext_bound(rows.byte_len())),
        oversized: rows.oversized(),
        row_count: (rows.len() + rows.oversized()) as u64,
        ..PullBatch::default()
    };
    let mut scratch = Vec::new();
    for row in rows.iter() {
        open_row(row, cipher, &mut scratch, &mut batch).map_err(PullError::Misbehaved)?;
    }
    Ok(batch)
}

fn open_row(
    row: &[u8],
    cipher: &RecordCipher,
    scratch: &mut Vec<u8>,
    batch: &mut PullBatch,
) -> Result<(), Misbehaviour> {
    let row: Row<'_> = serde_json::from_slice(row).map_err(|_| Misbehaviour::Row)?;
    let (Some(id), Some(seq)) = (row.id, row.seq) else {
        // The last line of a continuous feed says only where it ended.
        return if row.last_seq.is_some() {
            Ok(())
        } else {
            Err(Misbehaviour::Row)
        };
    };
    let position = FeedPosition::parse(seq.get().trim_matches('"')).ok_or(Misbehaviour::Row)?;
    match &mut batch.positions {
        Some((_, last)) if !position.is_after(last) => return Err(Misbehaviour::Backwards),
        Some((_, last)) => *last = position,
        None => batch.positions = Some((position.clone(), position)),
    }
    if id.starts_with('_') {
        // Design documents, clear or encrypted, are not records.
        return Ok(());
    }
    if id.is_empty() || id.len() > MAX_ID_BYTES {
        return Err(Misbehaviour::Row);
    }
    let named = row.changes.first().ok_or(Misbehaviour::Row)?;
    let rev: Rev = named.rev.parse().map_err(|_| Misbehaviour::Row)?;
    batch.last_row = Some((id.clone().into(), rev));
    if let Some(document) = &row.doc {
        let agrees =
            document.id == id && document.rev == named.rev && document.deleted == row.deleted;
        if !agrees {
            return Err(Misbehaviour::Disagreement);
        }
    }
    if row.deleted {
        batch.records.remove(&id, rev);
        return Ok(());
    }
    let document = row.doc.ok_or(Misbehaviour::Row)?;
    let opened = match &document.payload {
        Some(payload) => open_record(
            &id,
            rev,
            payload.as_bytes(),
            cipher,
            scratch,
            &mut batch.records,
        ),
        None => Err(RecordFault::Malformed),
    };
    if let Err(fault) = opened {
        // An older version of the record must not stay visible in its place.
        batch.records.remove(&id, rev);
        batch.faults.push((id.into(), fault));
    }
    Ok(())
}

/// Opens one payload at the end of the batch; on a fault the batch is as it was.
fn open_record(
    id: &str,
    rev: Rev,
    payload: &[u8],
    cipher: &RecordCipher,
    scratch: &mut Vec<u8>,
    records: &mut PlainBatch,
) -> Result<(), RecordFault> {
    if RecordCipher::plaintext_bound(payload.len()) > MAX_RECORD_BYTES {
        return Err(RecordFault::TooLarge);
    }
    let fault = |error| match error {
        OpenError::Rejected => RecordFault::Rejected,
        _ => RecordFault::Malformed,
    };
    let sealed = SealedRecord::decode(payload, scratch).map_err(fault)?;
    records.push_with(id, rev, sealed.plaintext_len(), |out| {
        cipher.open_into(sealed, out).map_err(fault)
    })
}
