//! `adyton receipts`: what apps did with your data, and whether the chain of it holds.
//!
//! Read from the storage node and opened here, with the owner's own key: no confidential node has to be asked, or believed,
//! about what it wrote. Personal data goes to standard output, and nowhere else.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use adyton_client::clock::Clock;
use adyton_client::pull::{Feed, PlainRow, Pull};
use adyton_client::session::Session;
use adyton_protocol::database::DatabaseName;
use adyton_protocol::receipt::{self, Checked, DATABASE, HEAD};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::args::ReceiptsArgs;
use crate::connect::open_vault;
use crate::failure::Failure;
use crate::query::Found;

/// Most rows that are taken of the storage node.
const MAX_ROWS: u64 = 500_000;
/// Most bytes of receipts that are held.
const MAX_BYTES: usize = 512 << 20;

/// Runs the command.
pub async fn run(args: &ReceiptsArgs, json: bool, clock: &Clock) -> Result<Found, Failure> {
    let vault = open_vault(&args.vault, clock).await?;
    let receipts = Receipts::read(&vault.session).await?;
    if args.check {
        let text = receipts.check(args.known.as_deref(), json)?;
        return Ok(Found { text, note: None });
    }
    Ok(receipts.list(args.limit, json))
}

/// The receipts of a vault.
#[derive(Debug, Default)]
struct Receipts {
    records: Vec<Value>,
    /// Records that do not open.
    unreadable: usize,
}

impl Receipts {
    async fn read(session: &Session) -> Result<Self, Failure> {
        let failed = |error: &dyn std::error::Error| Failure::of("cannot read the receipts", error);
        let name = DatabaseName::new(DATABASE).map_err(|error| failed(&error))?;
        let database = session.database(&name);
        let mut receipts = Self::default();
        if database
            .info()
            .await
            .map_err(|error| failed(&error))?
            .is_none()
        {
            return Ok(receipts);
        }
        let feed = Feed::Snapshot { max_rows: MAX_ROWS };
        let pull = Pull::start(&database, database.cipher().into(), feed, 1).await;
        let mut pull = pull.map_err(|error| failed(&error))?;
        let mut held = 0_usize;
        while let Some(batch) = pull.next().await {
            let batch = batch.map_err(|error| failed(&error))?;
            receipts.unreadable += batch.faults.len();
            let (bytes, rows) = batch.records.into_parts();
            for row in rows {
                let PlainRow::Record { object, .. } = row else {
                    continue;
                };
                held = held.saturating_add(object.len());
                if held > MAX_BYTES {
                    let words = format!("there are more than {} MiB of receipts", MAX_BYTES >> 20);
                    return Err(Failure::new(words));
                }
                let text = bytes.get(object).unwrap_or_default();
                match serde_json::from_slice(text) {
                    Ok(record) => receipts.records.push(record),
                    Err(_) => receipts.unreadable += 1,
                }
            }
        }
        Ok(receipts)
    }

    /// Whether the chain holds, in words; or what of it does not.
    fn check(&self, known: Option<&str>, json: bool) -> Result<Zeroizing<String>, Failure> {
        let broken = |words: String| {
            Failure::broken(words).hint(
                "receipts were changed or taken away after they were written; was it you? docs/receipts.md says what can be found out",
            )
        };
        if self.unreadable > 0 {
            let words = format!("{} records of the receipts cannot be read", self.unreadable);
            return Err(broken(words));
        }
        let checked = receipt::check(&self.records)
            .map_err(|error| broken(format!("the receipts do not hold together: {error}")))?;
        let is_known = |record: &Value| record.get("hash").and_then(Value::as_str) == known;
        if known.is_some() && !self.receipts().any(is_known) {
            let words = "no receipt has the hash that you know: the end was taken away";
            return Err(broken(words.to_owned()));
        }
        let last = self.last();
        Ok(Zeroizing::new(match json {
            true => json!({
                "holds": true, "chains": checked.chains, "receipts": checked.receipts,
                "accesses": checked.accesses, "lost": checked.lost, "last": last,
            })
            .to_string(),
            false => told(&checked, &last),
        }))
    }

    /// The records without the one that names the end.
    fn receipts(&self) -> impl Iterator<Item = &Value> {
        let is_receipt = |record: &&Value| record.get("_id") != Some(&HEAD.into());
        self.records.iter().filter(is_receipt)
    }

    /// The last receipt of each chain.
    fn last(&self) -> Vec<Value> {
        let mut last: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
        for record in self.receipts() {
            let text = |name: &str| record.get(name).and_then(Value::as_str);
            let seq = record.get("seq").and_then(Value::as_u64);
            if let (Some(chain), Some(seq), Some(hash)) = (text("chain"), seq, text("hash")) {
                let end = last.entry(chain).or_insert((seq, hash));
                *end = (*end).max((seq, hash));
            }
        }
        let ends = last.into_iter();
        ends.map(|(chain, (seq, hash))| json!({ "chain": chain, "seq": seq, "hash": hash }))
            .collect()
    }

    /// The accesses, the newest first.
    fn list(&self, limit: usize, json: bool) -> Found {
        let accesses = self.receipts().flat_map(|record| {
            let id = record.get("_id").cloned().unwrap_or_default();
            let list = record.get("accesses").and_then(Value::as_array);
            list.into_iter().flatten().map(move |access| {
                let mut access = access.clone();
                if let Some(members) = access.as_object_mut() {
                    members.insert("receipt".to_owned(), id.clone());
                }
                access
            })
        });
        let mut accesses: Vec<Value> = accesses.collect();
        // Moments are written in one form, whose order is that of time.
        let at = |access: &Value| access.get("at").and_then(Value::as_str).map(str::to_owned);
        accesses.sort_by_cached_key(|access| Reverse(at(access)));
        let of = accesses.len();
        accesses.truncate(limit);
        if json {
            let text = json!({ "accesses": accesses, "of": of, "unreadable": self.unreadable });
            let text = Zeroizing::new(text.to_string());
            return Found { text, note: None };
        }
        let mut text = Zeroizing::new(String::new());
        for access in &accesses {
            text.push_str(&line(access));
            text.push('\n');
        }
        let mut note = match of {
            0 => "no receipts: no app has done anything that was written down".to_owned(),
            _ => format!("{} shown of {of}", accesses.len()),
        };
        if self.unreadable > 0 {
            note.push_str(&format!("; {} records cannot be read", self.unreadable));
        }
        Found {
            text,
            note: Some(note),
        }
    }
}

fn told(checked: &Checked, last: &[Value]) -> String {
    let Checked {
        chains,
        receipts,
        accesses,
        lost,
    } = checked;
    let mut told = match receipts {
        0 => "holds      there are no receipts".to_owned(),
        _ => {
            let chains = match chains {
                1 => "one chain".to_owned(),
                more => format!("{more} chains"),
            };
            format!("holds      {receipts} receipts with {accesses} accesses, in {chains}")
        }
    };
    if *lost > 0 {
        told.push_str(&format!(
            "\nlost       {lost} accesses that could not be written, as the receipts say themselves"
        ));
    }
    for end in last {
        let text = |name: &str| end.get(name).map(shown).unwrap_or_default();
        let (hash, seq, chain) = (text("hash"), text("seq"), text("chain"));
        told.push_str(&format!(
            "\nlast       {hash} (receipt {seq} of chain {chain})"
        ));
    }
    told
}

/// An access for a terminal.
fn line(access: &Value) -> String {
    let text = |name: &str| access.get(name).map(shown).unwrap_or_default();
    let app = match access.get("app") {
        Some(Value::String(_)) => text("app"),
        _ => "whoever has the token".to_owned(),
    };
    let times = access.get("times").and_then(Value::as_u64).unwrap_or(1);
    let times = match times {
        1 => String::new(),
        more => format!(" in {more} accesses"),
    };
    let (at, kind, records) = (text("at"), text("kind"), text("records"));
    let (target, grant) = (text("target"), text("grant"));
    format!("{at}  {kind:9}  {records} records{times}  {target}  {app}  grant {grant}")
}

/// A value without what could steer a terminal or turn its text around.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.escape_debug().to_string(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipts(length: u64) -> Receipts {
        let mut receipts = Receipts::default();
        let mut previous: Option<String> = None;
        for seq in 0..length {
            let access = json!({
                "at": format!("2026-11-2{seq}T00:00:00.000Z"), "grant": "8a52", "app": "https://app.example/client.json",
                "kind": "query", "target": "db:social_email", "times": 2, "records": seq, "digest": "77e1",
            });
            let (record, hash) = receipt::next("c", seq, previous.as_deref(), vec![access], 0);
            receipts.records.push(Value::Object(record));
            previous = Some(hash);
        }
        let head = json!({ "_id": HEAD, "chain": "c", "seq": length - 1, "hash": previous });
        receipts.records.push(head);
        receipts
    }

    #[test]
    fn accesses_are_listed_the_newest_first_and_no_more_than_wanted() {
        let found = receipts(3).list(2, false);
        let lines: Vec<&str> = found.text.lines().collect();
        assert_eq!(
            lines,
            [
                "2026-11-22T00:00:00.000Z  query      2 records in 2 accesses  db:social_email  https://app.example/client.json  grant 8a52",
                "2026-11-21T00:00:00.000Z  query      1 records in 2 accesses  db:social_email  https://app.example/client.json  grant 8a52",
            ]
        );
        assert_eq!(found.note.unwrap(), "2 shown of 3");
        let found = receipts(3).list(9, true);
        let found: Value = serde_json::from_str(&found.text).unwrap();
        assert_eq!(found["of"], 3);
        assert_eq!(found["accesses"][2]["receipt"], "receipt-c-0000000000");
    }

    #[test]
    fn a_chain_that_holds_says_where_it_ends_and_one_that_does_not_is_no_success() {
        let good = receipts(3);
        let hash = good.records[2]["hash"].as_str().unwrap();
        let told = good.check(Some(hash), false).unwrap();
        assert_eq!(
            *told,
            format!(
                "holds      3 receipts with 6 accesses, in one chain\nlast       {hash} (receipt 2 of chain c)"
            )
        );
        let told: Value = serde_json::from_str(&good.check(None, true).unwrap()).unwrap();
        assert_eq!(
            (&told["holds"], &told["receipts"]),
            (&json!(true), &json!(3))
        );
        let broken = |receipts: &Receipts, known: Option<&str>| {
            let failure = receipts.check(known, false).unwrap_err();
            assert_eq!(failure.status(), 3);
            failure.message().to_owned()
        };
        let mut cut = receipts(3);
        cut.records.remove(2);
        assert!(broken(&cut, None).contains("the end of chain c is missing"));
        // With the record that names the end gone as well, only who remembers it finds out.
        cut.records.pop();
        assert!(cut.check(None, false).is_ok());
        assert!(broken(&cut, Some(hash)).contains("the end was taken away"));
        let mut holed = receipts(3);
        holed.records.remove(1);
        assert!(broken(&holed, None).contains("receipt 1 of chain c is missing"));
        let unreadable = Receipts {
            unreadable: 1,
            ..receipts(3)
        };
        assert!(broken(&unreadable, None).contains("cannot be read"));
        let none = Receipts::default().check(None, false).unwrap();
        assert_eq!(*none, "holds      there are no receipts");
    }

    #[test]
    fn what_an_app_called_itself_cannot_steer_the_terminal() {
        let line = line(&json!({ "app": "https://a\u{1b}[2J\u{202e}", "kind": "get" }));
        assert!(!line.contains(['\u{1b}', '\u{202e}']), "{line}");
    }
}
