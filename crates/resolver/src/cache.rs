//! What was found out, for a while: bounded in entries and bytes.
//!
//! Guarantees: nothing is answered from here after its time; a verified document that is still remembered keeps its place
//! against a lower version; DIDs without a document push out none that has one; a failure never makes a document look asked for.
//! Refuses to know: where documents come from.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use adyton_protocol::did::Did;
use adyton_protocol::did_document::DidDocument;

use crate::resolver::ResolveError;

/// How much is remembered, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// DIDs.
    pub entries: usize,
    /// Bytes of documents, as they came.
    pub bytes: usize,
    /// How long a document is answered without asking again.
    pub found: Duration,
    /// How long "absent" is.
    pub absent: Duration,
    /// How long a failure is.
    pub failed: Duration,
    /// How long a document is answered when nobody can be asked.
    pub stale: Duration,
    /// How long its version counts against lower ones.
    pub version: Duration,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self {
            entries: 10_000,
            bytes: 64 << 20,
            found: Duration::from_secs(5 * 60),
            absent: Duration::from_secs(30),
            failed: Duration::from_secs(5),
            stale: Duration::from_secs(60 * 60),
            version: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// What a resolution came to.
pub type Outcome = Result<Option<DidDocument>, ResolveError>;

/// The memory of a resolver.
#[derive(Debug)]
pub struct Cache {
    limits: CacheLimits,
    entries: HashMap<String, Entry>,
    /// Serial number of each entry's last use of space → its DID, of those without a document: the first is dropped first.
    barren: BTreeMap<u64, String>,
    /// The same of those with one, dropped when there are no others.
    documents: BTreeMap<u64, String>,
    serial: u64,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    serial: u64,
    asked: Option<SystemTime>,
    outcome: Outcome,
    /// Nobody could be asked: the outcome is what was seen before, if anything was.
    failed: bool,
    /// The highest verified version, when it was last seen, and its length.
    newest: Option<(DidDocument, SystemTime, usize)>,
}

impl Cache {
    /// An empty one.
    pub fn new(limits: CacheLimits) -> Self {
        Self {
            limits,
            entries: HashMap::new(),
            barren: BTreeMap::new(),
            documents: BTreeMap::new(),
            serial: 0,
            bytes: 0,
        }
    }

    /// What is known of a DID, unless it is older than it may be. `at_most` makes that time shorter.
    pub fn fresh(&self, did: &Did, now: SystemTime, at_most: Duration) -> Option<Outcome> {
        let entry = self.entries.get(did.lowercase())?;
        let life = match &entry.outcome {
            // Whoever wants it young wants those asked who could not be.
            Ok(Some(_)) if entry.failed && at_most < self.limits.found => return None,
            Ok(Some(_)) if entry.failed => self.limits.failed,
            Ok(Some(_)) => self.limits.found,
            Ok(None) => self.limits.absent,
            Err(_) => self.limits.failed,
        };
        let young = is_younger(entry.asked?, now, life.min(at_most));
        young.then(|| entry.outcome.clone())
    }

    /// What is told when nobody was asked in time: what was seen lately. Changes nothing.
    pub fn late(&self, did: &Did, now: SystemTime) -> Outcome {
        let entry = self.entries.get(did.lowercase());
        match entry.and_then(|entry| entry.newest.as_ref()) {
            Some((document, seen, _)) if is_younger(*seen, now, self.limits.stale) => {
                Ok(Some(document.clone()))
            }
            _ => Err(ResolveError::Time),
        }
    }

    /// Keeps an outcome, and says what it means beside what is remembered: a lower version than one that was seen does not
    /// count, and when nobody could be asked, what was seen lately does.
    pub fn keep(
        &mut self,
        did: &Did,
        outcome: Result<Option<(DidDocument, usize)>, ResolveError>,
        now: SystemTime,
    ) -> Outcome {
        let failed = outcome.is_err();
        let held = self.take(did.lowercase()).and_then(|entry| entry.newest);
        let held = held.filter(|(_, seen, _)| is_younger(*seen, now, self.limits.version));
        let (outcome, newest) = match (outcome, held) {
            (Ok(Some((document, length))), held) => {
                let newest = match held {
                    Some((held, _, length)) if held.version_id() > document.version_id() => {
                        (held, now, length)
                    }
                    _ => (document, now, length),
                };
                (Ok(Some(newest.0.clone())), Some(newest))
            }
            // Those who must know say that it is gone: so is its memory.
            (Ok(None), _) => (Ok(None), None),
            (Err(error), Some(held)) => match is_younger(held.1, now, self.limits.stale) {
                true => (Ok(Some(held.0.clone())), Some(held)),
                false => (Err(error), Some(held)),
            },
            (Err(error), None) => (Err(error), None),
        };
        self.put(
            did.lowercase().to_owned(),
            Entry {
                serial: 0,
                asked: Some(now),
                outcome: outcome.clone(),
                failed,
                newest,
            },
        );
        outcome
    }

    /// Answers nothing more of a DID before it is asked for anew; the version that was seen still counts.
    pub fn forget(&mut self, did: &Did) {
        if let Some(entry) = self.entries.get_mut(did.lowercase()) {
            entry.asked = None;
        }
    }

    /// Entries that are held.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn put(&mut self, did: String, mut entry: Entry) {
        self.serial += 1;
        entry.serial = self.serial;
        self.bytes += entry.length();
        let serial = entry.serial;
        self.order(&entry).insert(serial, did.clone());
        self.entries.insert(did, entry);
        while self.entries.len() > self.limits.entries || self.bytes > self.limits.bytes {
            let barren = match self.entries.len() > self.limits.entries {
                true => self.barren.pop_first(),
                false => None,
            };
            let Some((_, oldest)) = barren.or_else(|| self.documents.pop_first()) else {
                return;
            };
            if let Some(entry) = self.entries.remove(&oldest) {
                self.bytes -= entry.length();
            }
        }
    }

    fn order(&mut self, entry: &Entry) -> &mut BTreeMap<u64, String> {
        match entry.newest {
            Some(_) => &mut self.documents,
            None => &mut self.barren,
        }
    }

    fn take(&mut self, did: &str) -> Option<Entry> {
        let entry = self.entries.remove(did)?;
        self.order(&entry).remove(&entry.serial);
        self.bytes -= entry.length();
        Some(entry)
    }
}

impl Entry {
    fn length(&self) -> usize {
        self.newest.as_ref().map_or(0, |(_, _, length)| *length)
    }
}

/// What comes from the future is not young: the clock was set back, and nothing is known of its age.
fn is_younger(made: SystemTime, now: SystemTime, than: Duration) -> bool {
    now.duration_since(made).is_ok_and(|age| age < than)
}
