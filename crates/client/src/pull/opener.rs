//! Opens the rows of a feed: envelope, cipher, and one pass over the JSON. Pure, runs on a worker thread.

use std::borrow::Cow;
use std::ops::Range;

use adyton_couch::changes_feed::Rows;
use adyton_couch::rev::Rev;
use adyton_keys::record_cipher::{OpenError, RecordCipher};
use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::batch::{FeedPosition, PlainBatch, PlainRow, RecordFault};
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

/// The members of a plaintext that are looked at; everything else is checked to be JSON and skipped.
#[derive(Deserialize)]
struct Plaintext<'a> {
    #[serde(borrow, rename = "_id")]
    id: Cow<'a, str>,
    #[serde(borrow, rename = "_rev")]
    rev: Option<&'a RawValue>,
}

/// Opens all rows.
pub(super) fn open_rows(rows: &Rows, cipher: &RecordCipher) -> Result<PlainBatch, PullError> {
    let mut batch = PlainBatch {
        bytes: Zeroizing::new(Vec::with_capacity(RecordCipher::plaintext_bound(
            rows.byte_len(),
        ))),
        rows: Vec::with_capacity(rows.len()),
        oversized: rows.oversized(),
        row_count: (rows.len() + rows.oversized()) as u64,
        ..PlainBatch::default()
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
    batch: &mut PlainBatch,
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
    let Some(document) = row.doc else {
        return match row.deleted {
            true => {
                batch.rows.push(PlainRow {
                    id: id.into(),
                    rev,
                    deleted: true,
                    span: 0..0,
                });
                Ok(())
            }
            false => Err(Misbehaviour::Row),
        };
    };
    if document.id != id || document.rev != named.rev || document.deleted != row.deleted {
        return Err(Misbehaviour::Disagreement);
    }
    if row.deleted {
        batch.rows.push(PlainRow {
            id: id.into(),
            rev,
            deleted: true,
            span: 0..0,
        });
        return Ok(());
    }
    let opened = match &document.payload {
        Some(payload) => open_record(&id, payload.as_bytes(), cipher, scratch, &mut batch.bytes),
        None => Err(RecordFault::Malformed),
    };
    match opened {
        Ok(span) => batch.rows.push(PlainRow {
            id: id.into(),
            rev,
            deleted: false,
            span,
        }),
        Err(fault) => batch.faults.push((id.into(), fault)),
    }
    Ok(())
}

/// Opens one payload at the end of `out`; on a fault `out` is as it was.
fn open_record(
    id: &str,
    payload: &[u8],
    cipher: &RecordCipher,
    scratch: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<Range<usize>, RecordFault> {
    if RecordCipher::plaintext_bound(payload.len()) > MAX_RECORD_BYTES {
        return Err(RecordFault::TooLarge);
    }
    let span = cipher
        .open_into(payload, scratch, out)
        .map_err(|error| match error {
            OpenError::Rejected => RecordFault::Rejected,
            OpenError::Malformed => RecordFault::Malformed,
            // The buffer has room for all payloads of the rows.
            _ => RecordFault::TooLarge,
        })?;
    let start = span.start;
    let kept = normalise(id, out.get_mut(span).unwrap_or_default());
    match kept {
        Ok(length) => {
            wipe_from(out, start + length);
            Ok(start..start + length)
        }
        Err(fault) => {
            wipe_from(out, start);
            Err(fault)
        }
    }
}

/// Checks that the text is one JSON object that names `id`, and moves its `_rev` member out: the
/// plaintext holds the *previous* revision. Returns the new length.
fn normalise(id: &str, text: &mut [u8]) -> Result<usize, RecordFault> {
    let length = text.len();
    let rev_value = {
        let plain: Plaintext<'_> =
            serde_json::from_slice(text).map_err(|_| RecordFault::NotJson)?;
        if plain.id != id {
            return Err(RecordFault::OtherId);
        }
        match plain.rev {
            None => None,
            Some(rev) => Some(offset_of(text, rev.get().as_bytes()).ok_or(RecordFault::NotJson)?),
        }
    };
    let Some(value) = rev_value else {
        return Ok(length);
    };
    let member = member_around(text, value).ok_or(RecordFault::NotJson)?;
    text.copy_within(member.end.., member.start);
    Ok(length - member.len())
}

/// Where `part`, a slice of `text`, stands in it.
fn offset_of(text: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let end = start.checked_add(part.len())?;
    (end <= text.len()).then_some(start..end)
}

/// The range of `"_rev": <value>` with one of the commas around it. `None` when the key is spelled
/// with escapes, which no client does.
fn member_around(text: &[u8], value: Range<usize>) -> Option<Range<usize>> {
    let before = text.get(..value.start)?;
    let before = before.trim_ascii_end().strip_suffix(b":")?;
    let before = before
        .trim_ascii_end()
        .strip_suffix(b"\"_rev\"")?
        .trim_ascii_end();
    if let Some(without_comma) = before.strip_suffix(b",") {
        return Some(without_comma.len()..value.end);
    }
    let after = text.get(value.end..)?;
    let skipped = after.len() - after.trim_ascii_start().len();
    let comma = usize::from(after.trim_ascii_start().first() == Some(&b','));
    Some(before.len()..value.end + skipped + comma)
}

fn wipe_from(out: &mut Vec<u8>, length: usize) {
    use zeroize::Zeroize;
    if let Some(tail) = out.get_mut(length..) {
        tail.zeroize();
    }
    out.truncate(length);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn normalised(text: &str) -> Result<String, RecordFault> {
        let mut bytes = text.as_bytes().to_vec();
        let length = normalise("a", &mut bytes)?;
        bytes.truncate(length);
        Ok(String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn the_previous_revision_is_cut_out_wherever_it_stands() {
        for (text, expected) in [
            (r#"{"_id":"a","_rev":"1-x","n":1}"#, r#"{"_id":"a","n":1}"#),
            (r#"{"_rev":"1-x","_id":"a"}"#, r#"{"_id":"a"}"#),
            (r#"{"_id":"a","_rev":"1-x"}"#, r#"{"_id":"a"}"#),
            (r#"{ "_rev" : "1-x" , "_id" : "a" }"#, r#"{ "_id" : "a" }"#),
            (
                r#"{"_id":"a","n":{"_rev":"kept"}}"#,
                r#"{"_id":"a","n":{"_rev":"kept"}}"#,
            ),
        ] {
            let result = normalised(text).unwrap();
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(&result).unwrap(),
                serde_json::from_str::<serde_json::Value>(expected).unwrap(),
                "{text} -> {result}"
            );
        }
    }

    #[test]
    fn what_is_not_this_record_is_refused() {
        assert_eq!(normalised(r#"{"_id":"b"}"#), Err(RecordFault::OtherId));
        for text in [
            "",
            "null",
            "[]",
            r#"{"_id":"a""#,
            r#"{"_id":"a"} x"#,
            r#"{"n":1}"#,
            r#"{"_id":7}"#,
            r#"{"_id":"a","_id":"a"}"#,
            r#"{"_id":"a","\u005frev":"1-x"}"#,
        ] {
            assert_eq!(normalised(text), Err(RecordFault::NotJson), "{text}");
        }
    }

    #[test]
    fn hostile_plaintext_never_panics_and_stays_json() {
        bolero::check!().for_each(|bytes: &[u8]| {
            let mut text = bytes.to_vec();
            if let Ok(length) = normalise("a", &mut text) {
                let value: serde_json::Value = serde_json::from_slice(&text[..length]).unwrap();
                assert!(value.get("_rev").is_none());
            }
        });
    }
}
