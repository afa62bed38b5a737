//! A database's file through power cuts and failing disks: random histories, random moments. A failure prints its seed, and
//! `ADYTON_SEED` runs it again; `ADYTON_CRASHES` says how many histories to try.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use adyton_couch::attachment::Encoding;
use adyton_couch::document::{DocumentId, Envelope, LocalEnvelope, LocalRev};
use adyton_couch::rev::{Rev, RevHash};
use adyton_couch::rev_tree::{LiveLeaves, Liveness, Revisions};
use bytes::Bytes;

use super::StoreError;
use super::attachments::{AttachmentWrite, Blob, Source};
use super::database::{DatabaseFile, LocalWrite};
use super::disk::{Chance, Disk, Fault};
use super::engine::Engine;
use super::pulse::Pulse;
use super::write::{DocumentWrite, WriteKind};

/// Small enough that documents are edited again and again.
const DOCUMENTS: usize = 12;
const CACHE_BYTES: usize = 256 << 10;

/// What was acknowledged.
#[derive(Debug, Clone, Default)]
struct Ledger {
    documents: BTreeMap<String, Document>,
    /// Sequence numbers that a reader saw, with how many writes were acknowledged before.
    seen: Vec<(u64, u64)>,
    local: u64,
    writes: u64,
}

#[derive(Debug, Clone, Default)]
struct Document {
    /// Every revision, and its content if it is a current one.
    revs: BTreeMap<Rev, Option<Content>>,
    /// The last acknowledged write, counted over all documents.
    written: u64,
    /// A write of it failed: it may have been done or not.
    in_doubt: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Content {
    deleted: bool,
    number: u64,
    attachment: Option<Bytes>,
}

impl Document {
    fn leaf(&self, chance: &mut Chance) -> Option<(Rev, Content)> {
        let leaves: Vec<_> = self
            .revs
            .iter()
            .filter_map(|(rev, content)| Some((*rev, content.clone()?)))
            .filter(|(_, content)| !content.deleted)
            .collect();
        match leaves.len() {
            0 => None,
            some => Some(leaves[chance.below(some)].clone()),
        }
    }
}

/// One thing done to the file.
enum Deed {
    /// Documents written in one request: what was written, and on which revision.
    Write(Vec<(String, Option<Rev>, Content, DocumentWrite)>),
    Purge(String, Rev),
    Local,
    Look,
}

struct Subject {
    file: DatabaseFile,
    ledger: Ledger,
    number: u64,
}

fn open(disk: &Disk) -> Result<DatabaseFile, StoreError> {
    let engine = Engine::on(disk.medium(), CACHE_BYTES)?;
    DatabaseFile::filled(engine, Path::new("in memory"), 1, Pulse::unheard())
}

/// Closes the file. The thread of its last commit lets go of it a moment after it has answered.
async fn close(file: DatabaseFile) {
    let closed = file.closed();
    drop(file);
    closed.await;
}

impl Subject {
    fn deed(&mut self, chance: &mut Chance) -> Deed {
        match chance.below(20) {
            0 => return Deed::Local,
            1 | 2 => return Deed::Look,
            3 => {
                let id = name(chance);
                let known = self.ledger.documents.get(&id).cloned().unwrap_or_default();
                if let Some((rev, _)) = known.leaf(chance) {
                    return Deed::Purge(id, rev);
                }
            }
            _ => {}
        }
        let mut writes = BTreeMap::new();
        for _ in 0..=chance.below(6) {
            let id = name(chance);
            let known = self.ledger.documents.get(&id).cloned().unwrap_or_default();
            let (base, content, write) = self.document(&id, &known, chance);
            writes.insert(id, (base, content, write));
        }
        let writes = writes.into_iter();
        Deed::Write(
            writes
                .map(|(id, (base, content, write))| (id, base, content, write))
                .collect(),
        )
    }

    fn document(
        &mut self,
        id: &str,
        known: &Document,
        chance: &mut Chance,
    ) -> (Option<Rev>, Content, DocumentWrite) {
        self.number += 1;
        let leaf = known.leaf(chance);
        let deleted = leaf.is_some() && chance.percent(15);
        let attachment = chance.percent(30).then(|| {
            let bytes = match chance.below(8) {
                0 => 300 << 10,
                size => size * 700,
            };
            Bytes::from(vec![b'a' + u8::try_from(chance.below(3)).unwrap(); bytes])
        });
        let content = Content {
            deleted,
            number: self.number,
            attachment,
        };
        let filler = "f".repeat(chance.below(3) * 1_500);
        let envelope =
            Envelope::parse(format!(r#"{{"n":{},"f":"{filler}"}}"#, content.number).as_bytes());
        let attachments = content.attachment.iter().map(|bytes| AttachmentWrite {
            name: "a".parse().unwrap(),
            source: Source::New {
                content_type: "text/plain".parse().unwrap(),
                revpos: None,
                encoding: Encoding::Identity,
                length: bytes.len() as u64,
                blob: Blob::new(bytes.clone()),
            },
        });
        // A replicator's way: history made elsewhere, which may be a conflict.
        let merged = leaf.is_none() && !known.revs.is_empty() || chance.percent(20);
        let base = leaf.map(|(rev, _)| rev);
        let kind = match merged {
            false => WriteKind::Edit { base },
            true => {
                let parent = base.filter(|_| chance.percent(50));
                let generation = parent.map_or(0, |rev| rev.generation()) + 1;
                let mut hash = [0; 16];
                hash[..8].copy_from_slice(&chance.next().to_be_bytes());
                let child = Rev::new(generation, RevHash::from_bytes(hash)).unwrap();
                let revisions = match parent {
                    Some(parent) => Revisions::child_of(parent, child),
                    None => Revisions::alone(child),
                };
                WriteKind::History(revisions, LiveLeaves::End)
            }
        };
        let replaced = match &kind {
            WriteKind::Edit { base } => *base,
            WriteKind::History(revisions, _) | WriteKind::Deletion(revisions) => {
                revisions.iter().nth(1)
            }
        };
        let write = DocumentWrite {
            id: id.parse().unwrap(),
            liveness: match deleted {
                true => Liveness::Deleted,
                false => Liveness::Live,
            },
            members: envelope.unwrap().members,
            attachments: attachments.collect(),
            kind,
        };
        (replaced, content, write)
    }

    /// Does it, and notes what was acknowledged. False when it was not.
    async fn does(&mut self, deed: Deed) -> Result<(), StoreError> {
        match deed {
            Deed::Look => {
                let seq = self.file.view()?.counters.update_seq;
                self.ledger.seen.push((seq, self.ledger.writes));
            }
            Deed::Local => {
                let id: DocumentId = "_local/l".parse().unwrap();
                let base = (self.ledger.local > 0).then_some(LocalRev(self.ledger.local));
                let content = LocalEnvelope::parse(br#"{"_id":"_local/l","n":1}"#).unwrap();
                let write = LocalWrite {
                    id,
                    base,
                    content: Some(content),
                };
                let written = self.file.write_local(write, 10).await?;
                self.ledger.local = written.unwrap().0;
            }
            Deed::Purge(id, rev) => {
                let wanted = vec![(id.parse().unwrap(), vec![rev])];
                let known = self.ledger.documents.get_mut(&id).unwrap();
                match self.file.purge(wanted).await {
                    Ok(purged) => assert_eq!(purged[0].1, [rev]),
                    Err(error) => {
                        known.in_doubt = true;
                        return Err(error);
                    }
                }
                // Its ancestors may have gone with it.
                *known = Document::default();
                let view = self.file.view()?;
                let row = view.document(&id)?.unwrap_or_default();
                for leaf in row.tree.leaves() {
                    known
                        .revs
                        .insert(leaf.rev, Some(read(&view, leaf.rev, &id)));
                }
            }
            Deed::Write(writes) => {
                let (mut noted, mut sent) = (Vec::new(), Vec::new());
                for (id, base, content, write) in writes {
                    noted.push((id, base, content));
                    sent.push(write);
                }
                let outcomes = match self.file.write(sent, ()).await {
                    Ok(outcomes) => outcomes,
                    Err(error) => {
                        for (id, ..) in noted {
                            self.ledger.documents.entry(id).or_default().in_doubt = true;
                        }
                        return Err(error);
                    }
                };
                self.ledger.writes += 1;
                for ((id, base, content), outcome) in noted.into_iter().zip(outcomes) {
                    let document = self.ledger.documents.entry(id).or_default();
                    document.written = self.ledger.writes;
                    if let Some(base) = base {
                        document.revs.insert(base, None);
                    }
                    document.revs.insert(outcome.unwrap(), Some(content));
                }
            }
        }
        Ok(())
    }

    /// Everything that was acknowledged is there, and the file is whole.
    fn verify(&self) {
        let view = self.file.view().unwrap();
        for (id, document) in &self.ledger.documents {
            let row = view.document(id).unwrap().unwrap_or_default();
            for (rev, content) in &document.revs {
                let leaf = row.tree.leaf(*rev);
                if !document.in_doubt {
                    assert!(row.tree.contains(*rev), "{id} {rev} is lost");
                    assert_eq!(leaf.is_some(), content.is_some(), "{id} {rev}");
                }
                if let (Some(content), Some(_)) = (content, leaf) {
                    assert_eq!(*content, read(&view, *rev, id), "{id} {rev}");
                }
            }
        }
        let newest = view.counters.update_seq;
        for (seen, writes) in &self.ledger.seen {
            assert!(
                newest >= *seen,
                "a reader saw {seen}, and now there is {newest}"
            );
            let told: Vec<String> = view
                .changes(*seen, newest)
                .unwrap()
                .map(|row| row.unwrap().1.id)
                .collect();
            for (id, document) in &self.ledger.documents {
                let due = document.written > *writes && !document.in_doubt;
                assert!(!due || told.contains(id), "{id} is skipped after {seen}");
            }
        }
        assert!(view.local("_local/l").unwrap().is_some() || self.ledger.local == 0);
    }

    /// Takes note of what became of writes that were not acknowledged.
    fn settle(&mut self) {
        let view = self.file.view().unwrap();
        for (id, document) in &mut self.ledger.documents {
            if std::mem::take(&mut document.in_doubt) {
                let row = view.document(id).unwrap().unwrap_or_default();
                document.revs.clear();
                for leaf in row.tree.leaves() {
                    let content = read(&view, leaf.rev, id);
                    document.revs.insert(leaf.rev, Some(content));
                }
                if document.revs.is_empty() {
                    document.written = 0;
                }
            }
        }
        // A local document is written whole or not at all; its number shows which.
        let text = view.local("_local/l").unwrap();
        self.ledger.local = text.map_or(0, |text| {
            let text = String::from_utf8(text.to_vec()).unwrap();
            let rev = text.split("\"_rev\":\"0-").nth(1).unwrap();
            rev.split('"').next().unwrap().parse().unwrap()
        });
    }
}

fn read(view: &super::database::View, rev: Rev, id: &str) -> Content {
    let leaf = view.document(id).unwrap().unwrap().tree.leaf(rev).unwrap();
    let body = leaf.body.unwrap();
    let value: serde_json::Value = serde_json::from_slice(&view.body(body).unwrap()).unwrap();
    assert_eq!(value["_id"], *id);
    let attached = view.attached(body).unwrap();
    let attachment = attached.first().map(|attached| {
        let mut bytes = Vec::new();
        for number in 0.. {
            if bytes.len() as u64 == attached.attachment.length {
                break;
            }
            bytes.extend(view.chunk(attached.blob, number).unwrap());
        }
        Bytes::from(bytes)
    });
    Content {
        deleted: leaf.deleted,
        number: value["n"].as_u64().unwrap(),
        attachment,
    }
}

/// `adyton-storage check` finds nothing.
fn whole(disk: &Disk) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), disk.bytes()).unwrap();
    let faults = super::check::database(file.path()).unwrap();
    assert!(faults.0.is_empty(), "{faults:?}");
}

fn name(chance: &mut Chance) -> String {
    format!("d{}", chance.below(DOCUMENTS))
}

/// Runs one history after the other, each from its own seed, and tells the seed of one that fails.
fn histories(few: u64, history: impl AsyncFn(Chance)) {
    #[expect(
        clippy::disallowed_methods,
        reason = "how much a test tries is said beside it"
    )]
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let many = number("ADYTON_CRASHES").unwrap_or(few);
    let seeds = match number("ADYTON_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..many,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    for seed in seeds {
        let told = Told(seed);
        runtime.block_on(history(Chance(seed.wrapping_mul(0x1234_5678_9abc_def1))));
        std::mem::forget(told);
    }
}

struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        eprintln!("to run it again: ADYTON_SEED={}", self.0);
    }
}

#[test]
fn after_a_power_cut_every_acknowledged_write_is_there() {
    histories(60, async |mut chance: Chance| {
        let mut disk = Disk::new(chance.next());
        let mut subject = Subject {
            file: open(&disk).unwrap(),
            ledger: Ledger::default(),
            number: 0,
        };
        for _cut in 0..3 {
            let from = disk.operations() + chance.next() % 400;
            disk.fail(Some(Fault {
                operations: from..u64::MAX,
                kind: ErrorKind::Other,
            }));
            while disk.operations() <= from {
                let deed = subject.deed(&mut chance);
                if subject.does(deed).await.is_err() {
                    break;
                }
            }
            close(subject.file).await;
            disk = disk.after_power_cut(&mut chance);
            subject.file = open(&disk).unwrap();
            subject.verify();
            subject.settle();
        }
        close(subject.file).await;
        whole(&disk);
    });
}

#[test]
fn a_disk_that_fails_for_a_while_loses_nothing_and_serves_again() {
    histories(60, async |mut chance: Chance| {
        let disk = Disk::new(chance.next());
        let mut subject = Subject {
            file: open(&disk).unwrap(),
            ledger: Ledger::default(),
            number: 0,
        };
        for _spell in 0..4 {
            let from = disk.operations() + chance.next() % 200;
            // From one operation to so many that opening the file again fails as well.
            let until = from + [1, 1, 2, 5, 40][chance.below(5)];
            disk.fail(Some(Fault {
                operations: from..until,
                kind: [ErrorKind::Other, ErrorKind::StorageFull][chance.below(2)],
            }));
            while disk.operations() < until {
                let deed = subject.deed(&mut chance);
                if subject.does(deed).await.is_err() {
                    // What is in doubt is not built upon until it can be read.
                    // Opened again by whoever comes next, as soon as the disk lets it.
                    let mut before = disk.operations();
                    while let Err(error) = subject.file.view() {
                        let now = disk.operations();
                        assert!(before < until && now > before, "no service: {error}");
                        before = now;
                    }
                    subject.verify();
                    subject.settle();
                }
            }
            disk.fail(None);
            for _ in 0..5 {
                let deed = subject.deed(&mut chance);
                subject.does(deed).await.unwrap();
            }
            subject.verify();
            // And then the power goes: what the failed `fsync`s were about must have been made good.
            close(subject.file).await;
            subject.file = open(&disk.after_power_cut(&mut chance)).unwrap();
            subject.verify();
            close(subject.file).await;
            subject.file = open(&disk).unwrap();
        }
        close(subject.file).await;
        whole(&disk);
    });
}

#[tokio::test]
async fn a_full_disk_is_told_and_reading_goes_on_and_writing_when_there_is_room_again() {
    let disk = Disk::new(1);
    let mut chance = Chance(1);
    let mut subject = Subject {
        file: open(&disk).unwrap(),
        ledger: Ledger::default(),
        number: 0,
    };
    for _ in 0..30 {
        let deed = subject.deed(&mut chance);
        subject.does(deed).await.unwrap();
    }
    disk.leave_room(Some(3));
    let mut refused = 0;
    for _ in 0..60 {
        let deed = subject.deed(&mut chance);
        if let Err(error) = subject.does(deed).await {
            assert!(matches!(error, StoreError::Full), "{error}");
            refused += 1;
            subject.verify();
            subject.settle();
        }
    }
    assert!(refused > 10);
    disk.leave_room(None);
    for _ in 0..30 {
        let deed = subject.deed(&mut chance);
        subject.does(deed).await.unwrap();
    }
    subject.verify();
}

#[tokio::test]
async fn a_sector_that_cannot_be_read_for_a_while_costs_only_that_while() {
    let disk = Disk::new(2);
    let mut chance = Chance(2);
    let mut subject = Subject {
        file: open(&disk).unwrap(),
        ledger: Ledger::default(),
        number: 0,
    };
    for _ in 0..200 {
        let deed = subject.deed(&mut chance);
        subject.does(deed).await.unwrap();
    }
    disk.fail_reads(true);
    let mut failed = 0;
    for _ in 0..20 {
        let deed = subject.deed(&mut chance);
        failed += u32::from(subject.does(deed).await.is_err());
    }
    assert!(failed > 0);
    disk.fail_reads(false);
    subject.verify();
    subject.settle();
    let deed = subject.deed(&mut chance);
    subject.does(deed).await.unwrap();
    subject.verify();
}
