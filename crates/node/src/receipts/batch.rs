//! Accesses that are not written yet.
//!
//! Guarantees: each access is in the batch, by itself or with others of the same grant, kind and target, whose number,
//! records and digests it adds up; a batch never has more than [`Batch::MOST`] entries.

use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{Context, SHA256};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use super::access::Kind;

/// Accesses of one grant and kind to one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub(super) first: SystemTime,
    pub(super) last: SystemTime,
    pub(super) grant: Uuid,
    pub(super) app: Option<Arc<str>>,
    pub(super) kind: Kind,
    pub(super) target: Arc<str>,
    /// How many accesses.
    pub(super) times: u64,
    /// How many records they showed or changed.
    pub(super) records: u64,
    /// Of one access, its own; of several, SHA-256 of the one so far and the next.
    pub(super) digest: [u8; 32],
}

/// The accesses of one tenant since the last receipt.
#[derive(Debug, Default)]
pub(super) struct Batch {
    entries: Vec<Entry>,
}

/// There is no place for another grant, kind or target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl Batch {
    /// So many accesses have an entry of their own; those that follow join one like them.
    const SINGLE: usize = 100;
    /// Most entries.
    pub(super) const MOST: usize = 300;

    /// Takes an access in.
    pub(super) fn note(&mut self, access: Entry) -> Result<(), Full> {
        if self.entries.len() >= Self::SINGLE {
            let alike = self
                .entries
                .iter_mut()
                .rev()
                .find(|entry| entry.is_like(&access));
            if let Some(entry) = alike {
                entry.join(&access);
                return Ok(());
            }
        }
        if self.entries.len() >= Self::MOST {
            return Err(Full);
        }
        self.entries.push(access);
        Ok(())
    }

    /// Whether there are many: they are better written soon.
    pub(super) fn is_large(&self) -> bool {
        self.entries.len() >= Self::SINGLE
    }

    /// Whether an access unlike those that are in it finds no place.
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= Self::MOST
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many accesses are in it.
    pub(super) fn accesses(&self) -> u64 {
        self.entries.iter().map(|entry| entry.times).sum()
    }

    /// Puts later accesses behind these. Says how many found no place.
    pub(super) fn append(&mut self, later: Self) -> u64 {
        let lost = later.entries.into_iter().map(|entry| {
            let times = entry.times;
            self.note(entry).err().map_or(0, |Full| times)
        });
        lost.sum()
    }
}

impl Entry {
    fn is_like(&self, other: &Self) -> bool {
        self.grant == other.grant && self.kind == other.kind && self.target == other.target
    }

    fn join(&mut self, later: &Self) {
        self.last = later.last;
        self.times += later.times;
        self.records += later.records;
        let mut both = Context::new(&SHA256);
        both.update(&self.digest);
        both.update(&later.digest);
        self.digest.copy_from_slice(both.finish().as_ref());
    }

    /// As a receipt shows it.
    pub(super) fn to_json(&self) -> Value {
        let mut value = json!({
            "at": iso(self.first),
            "grant": self.grant.to_string(),
            "app": self.app.as_deref(),
            "kind": self.kind.name(),
            "target": &*self.target,
            "times": self.times,
            "records": self.records,
            "digest": hex_of(&self.digest),
        });
        if self.times > 1
            && let Some(members) = value.as_object_mut()
        {
            members.insert("until".to_owned(), json!(iso(self.last)));
        }
        value
    }
}

fn iso(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let time = time
        .replace_nanosecond(u32::from(time.millisecond()) * 1_000_000)
        .unwrap_or(time);
    time.format(&Rfc3339).unwrap_or_default()
}

fn hex_of(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn access(n: u64, target: &str) -> Entry {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(n);
        Entry {
            first: at,
            last: at,
            grant: Uuid::from_u128(1),
            app: None,
            kind: Kind::Get,
            target: target.into(),
            times: 1,
            records: 2,
            digest: [n as u8; 32],
        }
    }

    #[test]
    fn few_accesses_are_listed_and_many_are_added_up() {
        let mut batch = Batch::default();
        for n in 0..10_000 {
            batch.note(access(n, "db:notes")).unwrap();
        }
        assert_eq!(batch.entries.len(), Batch::SINGLE);
        assert!(batch.is_large());
        assert_eq!(batch.accesses(), 10_000);
        let last = batch.entries.last().unwrap();
        assert_eq!((last.times, last.records), (9_901, 19_802));
        let shown = last.to_json();
        assert_eq!(shown["at"], "1970-01-01T00:00:00.099Z");
        assert_eq!(shown["until"], "1970-01-01T00:00:09.999Z");
        // Another order of the same would be another digest.
        assert_ne!(last.digest, [99; 32]);
    }

    #[test]
    fn a_batch_is_bounded_whatever_is_asked_for() {
        let mut batch = Batch::default();
        let noted = (0..2_000).map(|n| batch.note(access(n, &format!("db:{n}"))));
        let refused = noted.filter(Result::is_err).count();
        assert_eq!(refused, 2_000 - Batch::MOST);
        assert_eq!(batch.entries.len(), Batch::MOST);
        // What is there already has its place.
        batch.note(access(7, "db:7")).unwrap();
        let mut later = Batch::default();
        later.note(access(1, "db:1")).unwrap();
        later.note(access(1, "db:new")).unwrap();
        assert_eq!(batch.append(later), 1);
    }
}
