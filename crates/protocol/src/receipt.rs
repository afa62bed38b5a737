//! Receipts: what apps did with a user's data, as the user's own database keeps it, and how a chain of them is checked.
//!
//! A receipt is a record of the database [`DATABASE`]. It lists accesses, names the receipt before it by its hash, and is
//! numbered: who takes one away, changes one or puts one in between breaks the chain. `docs/receipts.md` shows one.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::canonical_json;

/// The database of the receipts. No app is ever granted it.
pub const DATABASE: &str = "access_receipts";
/// The record that names the last receipt, so that a node finds the end of the chain.
pub const HEAD: &str = "head";
/// The members that a receipt's hash covers.
const COVERED: [&str; 6] = ["chain", "seq", "previous", "accesses", "lost", "_id"];

/// What does not hold in a chain of receipts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokenChain {
    /// The record is no receipt.
    #[error("a record of the receipts is no receipt")]
    NotAReceipt,
    /// Its content is not what its hash says.
    #[error("receipt {seq} of chain {chain} was altered")]
    Altered {
        /// The chain.
        chain: String,
        /// Which receipt of it.
        seq: u64,
    },
    /// Receipts are missing.
    #[error("receipt {seq} of chain {chain} is missing")]
    Missing {
        /// The chain.
        chain: String,
        /// The first that is missing.
        seq: u64,
    },
    /// The receipt that the record [`HEAD`] names as the last one is not there.
    #[error("the end of chain {chain} is missing")]
    EndMissing {
        /// The chain.
        chain: String,
    },
    /// It does not follow the one before it.
    #[error("receipt {seq} of chain {chain} does not follow the one before it")]
    Unlinked {
        /// The chain.
        chain: String,
        /// Which receipt of it.
        seq: u64,
    },
}

/// What receipts that hold together tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Chains: one, unless the user deleted the end of it.
    pub chains: usize,
    /// Receipts.
    pub receipts: usize,
    /// Accesses that they list.
    pub accesses: u64,
    /// Accesses that could not be written, which receipts own up to.
    pub lost: u64,
}

/// The next receipt of a chain, as a record without metadata, and its hash.
#[must_use]
pub fn next(
    chain: &str,
    seq: u64,
    previous: Option<&str>,
    accesses: Vec<Value>,
    lost: u64,
) -> (Map<String, Value>, String) {
    let mut receipt = Map::from_iter([
        ("_id".to_owned(), json!(id_of(chain, seq))),
        ("chain".to_owned(), json!(chain)),
        ("seq".to_owned(), json!(seq)),
        ("previous".to_owned(), json!(previous)),
        ("accesses".to_owned(), Value::Array(accesses)),
    ]);
    if lost > 0 {
        receipt.insert("lost".to_owned(), json!(lost));
    }
    let hash = hash_of(&receipt).unwrap_or_default();
    receipt.insert("hash".to_owned(), json!(hash));
    (receipt, hash)
}

/// The id of a receipt's record: two nodes that append at once collide here, and one of them goes on behind the other.
#[must_use]
pub fn id_of(chain: &str, seq: u64) -> String {
    format!("receipt-{chain}-{seq:010}")
}

/// The hash of a receipt, by its content: SHA-256 of the canonical JSON of the members that are covered. None when that is
/// not canonical.
#[must_use]
pub fn hash_of(receipt: &Map<String, Value>) -> Option<String> {
    let covered: Map<String, Value> = COVERED
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), receipt.get(*name)?.clone())))
        .collect();
    let text = canonical_json::to_string(&Value::Object(covered)).ok()?;
    Some(hex::encode(Sha256::digest(text.as_bytes())))
}

/// Checks all receipts of a database, in any order. What [`HEAD`] names as the last receipt must be there, if it is given.
///
/// # Errors
/// The first thing that does not hold.
pub fn check<'r>(records: impl IntoIterator<Item = &'r Value>) -> Result<Checked, BrokenChain> {
    let mut chains: BTreeMap<&str, BTreeMap<u64, &Map<String, Value>>> = BTreeMap::new();
    let mut end: Option<&Map<String, Value>> = None;
    for record in records {
        let receipt = record.as_object().ok_or(BrokenChain::NotAReceipt)?;
        if receipt.get("_id").and_then(Value::as_str) == Some(HEAD) {
            end = Some(receipt);
            continue;
        }
        let chain = receipt.get("chain").and_then(Value::as_str);
        let seq = receipt.get("seq").and_then(Value::as_u64);
        let (Some(chain), Some(seq)) = (chain, seq) else {
            return Err(BrokenChain::NotAReceipt);
        };
        chains.entry(chain).or_default().insert(seq, receipt);
    }
    let mut checked = Checked {
        chains: chains.len(),
        ..Checked::default()
    };
    for (name, receipts) in chains {
        let mut previous: Option<&str> = None;
        for (expected, (seq, receipt)) in (0..).zip(receipts) {
            let at = || (name.to_owned(), seq);
            if seq != expected {
                let (chain, seq) = (name.to_owned(), expected);
                return Err(BrokenChain::Missing { chain, seq });
            }
            let hash = receipt.get("hash").and_then(Value::as_str);
            if hash.is_none() || hash_of(receipt).as_deref() != hash {
                let (chain, seq) = at();
                return Err(BrokenChain::Altered { chain, seq });
            }
            if receipt.get("previous").and_then(Value::as_str) != previous {
                let (chain, seq) = at();
                return Err(BrokenChain::Unlinked { chain, seq });
            }
            previous = hash;
            // It is written after the receipt, and so never names one that has not been there.
            end = end.filter(|end| end.get("hash").and_then(Value::as_str) != hash);
            checked.receipts += 1;
            let accesses = receipt.get("accesses").and_then(Value::as_array);
            let times = |access: &Value| access.get("times").and_then(Value::as_u64).unwrap_or(1);
            checked.accesses += accesses.into_iter().flatten().map(times).sum::<u64>();
            checked.lost += receipt.get("lost").and_then(Value::as_u64).unwrap_or(0);
        }
    }
    match end {
        None => Ok(checked),
        Some(end) => {
            let chain = end.get("chain").and_then(Value::as_str);
            let chain = chain.unwrap_or_default().to_owned();
            Err(BrokenChain::EndMissing { chain })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(name: &str, length: u64) -> Vec<Value> {
        let mut previous = None;
        let mut all = Vec::new();
        for seq in 0..length {
            let accesses = vec![
                json!({ "kind": "get", "times": 2, "records": 1 }),
                json!({}),
            ];
            let (mut receipt, hash) = next(name, seq, previous.as_deref(), accesses, seq % 2);
            // What storage adds is not covered.
            receipt.insert("_rev".to_owned(), json!("1-x"));
            receipt.insert("modifiedAt".to_owned(), json!("now"));
            all.push(Value::Object(receipt));
            previous = Some(hash);
        }
        all.insert(0, json!({ "_id": HEAD, "chain": name, "hash": previous }));
        all
    }

    #[test]
    fn chains_hold_in_any_order_and_say_what_is_in_them() {
        // There is one head; of the chain before, only the receipts are left.
        let mut all = [chain("a", 4), chain("b", 1).split_off(1)].concat();
        all.reverse();
        let told = Checked {
            chains: 2,
            receipts: 5,
            accesses: 15,
            lost: 2,
        };
        assert_eq!(check(&all), Ok(told));
        assert_eq!(check([]), Ok(Checked::default()));
    }

    #[test]
    fn who_takes_one_away_changes_one_or_puts_one_in_is_found_out() {
        let good = chain("a", 4);
        let (chain, end) = ("a".to_owned(), 4);
        let mut all = good.clone();
        all.remove(end);
        assert_eq!(check(&all), Err(BrokenChain::EndMissing { chain }));
        // Without the record that names it, only who remembers the end misses it.
        assert_eq!(check(&all[1..]).map(|checked| checked.receipts), Ok(3));
        for missing in 1..4 {
            let mut all = good.clone();
            all.remove(missing);
            let (chain, seq) = ("a".to_owned(), missing as u64 - 1);
            assert_eq!(check(&all), Err(BrokenChain::Missing { chain, seq }));
        }
        for (member, value) in [
            ("accesses", json!([])),
            ("previous", json!(null)),
            ("lost", json!(7)),
            ("hash", json!("00")),
            ("_id", json!("receipt-a-0000000009")),
        ] {
            let mut all = good.clone();
            all[3][member] = value;
            let (chain, seq) = ("a".to_owned(), 2);
            assert_eq!(check(&all), Err(BrokenChain::Altered { chain, seq }));
        }
        let mut all = good;
        let (other, _) = next("a", 2, Some("not the one before"), vec![], 0);
        all[3] = Value::Object(other);
        let (chain, seq) = ("a".to_owned(), 2);
        assert_eq!(check(&all), Err(BrokenChain::Unlinked { chain, seq }));
        for nonsense in [json!(7), json!({}), json!({ "chain": "a", "seq": -1 })] {
            assert_eq!(check([&nonsense]), Err(BrokenChain::NotAReceipt));
        }
    }
}
