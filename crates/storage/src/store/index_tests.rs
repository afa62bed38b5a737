//! Stored indexes against looking at every document: random histories, indexes and queries, through power cuts. A failure prints its
//! seed, and `ADYTON_SEED` runs it again; `ADYTON_INDEX_HISTORIES` says how many histories to try.

use std::io::ErrorKind;
use std::path::Path;

use adyton_couch::document::{DocumentId, Envelope};
use adyton_couch::mango::{FindQuery, NewIndex, Plan, with_view};
use adyton_couch::rev::{Rev, RevHash};
use adyton_couch::rev_tree::{LiveLeaves, Liveness, Revisions};
use redb::{Database, ReadableTable, WriteTransaction};
use serde_json::{Value, json};

use super::check;
use super::database::DatabaseFile;
use super::disk::{Chance, Disk, Fault};
use super::engine::Engine;
use super::indexes::{INDEX_KEYS, INDEX_ROWS, INDEXES};
use super::pulse::Pulse;
use super::write::{DocumentWrite, WriteKind};
use crate::config::Limits;
use crate::databases::DatabaseError;
use crate::indexing::{self, Stride};
use crate::query::{self, Way};

const CACHE_BYTES: usize = 256 << 10;
/// Small enough that documents are edited, deleted and come again.
const DOCUMENTS: usize = 40;
const DEEDS: usize = 60;

fn open(disk: &Disk) -> DatabaseFile {
    let engine = Engine::on(disk.medium(), CACHE_BYTES).unwrap();
    DatabaseFile::filled(engine, Path::new("in memory"), 1, Pulse::unheard()).unwrap()
}

async fn close(file: DatabaseFile) {
    let closed = file.closed();
    drop(file);
    closed.await;
}

fn one<T: Clone>(chance: &mut Chance, of: &[T]) -> T {
    of[chance.below(of.len())].clone()
}

fn value(chance: &mut Chance) -> Value {
    let long = |end: &str| format!("{}{end}", "x".repeat(1_020 + end.len()));
    match chance.below(14) {
        0 => Value::Null,
        1 => chance.percent(50).into(),
        2..=6 => (chance.below(5) as i64 - 2).into(),
        7 => json!(0.5),
        8 => one(
            chance,
            &["", "a", "ab", "b", "\u{0}", "\u{ffff}", "😀", "é"],
        )
        .into(),
        9 => long(one(chance, &["", "a", "aa", "aaa", "ab", "abc"])).into(),
        10 => json!([]),
        11 => json!([chance.below(3)]),
        12 => json!([chance.below(2), "a"]),
        _ => json!({"z": chance.below(3)}),
    }
}

fn document(chance: &mut Chance) -> Value {
    let mut document = json!({});
    for field in ["a", "b"] {
        if chance.percent(85) {
            document[field] = value(chance);
        }
    }
    if chance.percent(60) {
        document["c"] = json!({"d": value(chance)});
    }
    document["kind"] = one(chance, &["x", "y"]).into();
    document
}

fn name(chance: &mut Chance) -> String {
    one(chance, &["", "é", "Z"]).to_owned() + &chance.below(DOCUMENTS / 3).to_string()
}

fn index(chance: &mut Chance) -> Value {
    let fields = one(
        chance,
        &[
            json!(["a"]),
            json!(["a", "b"]),
            json!(["b", "a"]),
            json!([{"b": "desc"}]),
            json!(["c.d"]),
            json!(["c.d", "a"]),
            json!(["a", "_id"]),
            json!(["_rev"]),
        ],
    );
    let mut index = json!({"fields": fields});
    if chance.percent(20) {
        index["partial_filter_selector"] = json!({"kind": "x"});
    }
    json!({"index": index, "ddoc": format!("i{}", chance.below(4)), "name": format!("n{}", chance.below(2))})
}

fn demand(chance: &mut Chance) -> Value {
    let field = one(chance, &["a", "a", "a", "b", "b", "c.d", "kind", "_id"]);
    if field == "_id" {
        let relation = one(chance, &["$gt", "$gte", "$lt", "$lte", "$eq"]);
        return json!({"_id": {relation: name(chance)}});
    }
    let is = match chance.below(9) {
        0 | 1 => json!({"$eq": value(chance)}),
        2 | 3 => json!({one(chance, &["$gt", "$gte"]): value(chance)}),
        4 => json!({one(chance, &["$lt", "$lte"]): value(chance)}),
        5 => {
            json!({one(chance, &["$gt", "$gte"]): value(chance), one(chance, &["$lt", "$lte"]): value(chance)})
        }
        6 => json!({"$in": [value(chance), value(chance)]}),
        7 => json!({"$exists": chance.percent(80)}),
        _ => json!({"$ne": value(chance)}),
    };
    json!({field: is})
}

fn selector(chance: &mut Chance) -> Value {
    let demands: Vec<Value> = (0..chance.below(4)).map(|_| demand(chance)).collect();
    match chance.below(6) {
        0 if !demands.is_empty() => json!({"$or": demands}),
        1 if !demands.is_empty() => json!({"$and": [{"$nor": demands}, demand(chance)]}),
        _ => json!({"$and": demands}),
    }
}

fn asked(chance: &mut Chance) -> Value {
    let mut query = json!({"selector": selector(chance), "limit": one(chance, &[0, 1, 2, 3, 7, 100]), "execution_stats": true});
    if chance.percent(25) {
        query["skip"] = chance.below(5).into();
    }
    if chance.percent(60) {
        let fields = one(
            chance,
            &[
                &["a"][..],
                &["b"],
                &["a", "b"],
                &["b", "a"],
                &["c.d"],
                &["_id"],
                &["_rev"],
            ],
        );
        let word = one(chance, &["asc", "desc"]);
        query["sort"] = fields.iter().map(|field| json!({*field: word})).collect();
    }
    if chance.percent(30) {
        query["use_index"] = json!([
            format!("i{}", chance.below(4)),
            format!("n{}", chance.below(2))
        ]);
    }
    query
}

struct Subject {
    disk: Disk,
    /// None only while it is opened again.
    file: Option<DatabaseFile>,
    /// Pages that were read by rows of an index, and such rows.
    by_rows: u64,
    keys: u64,
}

impl Subject {
    fn file(&self) -> &DatabaseFile {
        self.file.as_ref().unwrap()
    }

    async fn write(&self, id: &str, content: Value, liveness: Liveness, chance: &mut Chance) {
        let leaf = {
            let row = self.file().view().unwrap().document(id).unwrap();
            let leaves = row.map_or(Vec::new(), |row| row.tree.leaves());
            match leaves.is_empty() {
                true => None,
                false => Some(leaves[chance.below(leaves.len())]),
            }
        };
        let base = leaf.filter(|leaf| !leaf.deleted).map(|leaf| leaf.rev);
        let kind = if chance.percent(75) && !id.starts_with("_design/") {
            // A replicator's way: history made elsewhere, a conflict or the next of a leaf, perhaps another winner.
            let parent = leaf.map(|leaf| leaf.rev).filter(|_| chance.percent(50));
            let generation = parent.map_or(chance.below(2) as u64, |rev| rev.generation()) + 1;
            let mut hash = [0; 16];
            hash[..8].copy_from_slice(&chance.next().to_be_bytes());
            let child = Rev::new(generation, RevHash::from_bytes(hash)).unwrap();
            let revisions = match parent {
                Some(parent) => Revisions::child_of(parent, child),
                None => Revisions::alone(child),
            };
            WriteKind::History(revisions, LiveLeaves::End)
        } else {
            WriteKind::Edit { base }
        };
        let write = DocumentWrite {
            id: id.parse().unwrap(),
            liveness,
            members: Envelope::parse(content.to_string().as_bytes())
                .unwrap()
                .members,
            attachments: Vec::new(),
            kind,
        };
        // Refused when it is an edit of what lies beneath a conflict: that is a deed, too.
        let _outcome = self.file().write(vec![write], ()).await.unwrap();
    }

    async fn define(&self, chance: &mut Chance) {
        let new = NewIndex::parse(index(chance).to_string().as_bytes()).unwrap();
        let existing = {
            let view = self.file().view().unwrap();
            let row = view.document(&new.design).unwrap().unwrap_or_default();
            let body = query::living(&row).and_then(|leaf| leaf.body);
            body.map(|body| view.body(body).unwrap())
        };
        let (text, liveness) = match chance.percent(70) {
            true => (
                with_view(existing.as_deref(), &new.index).unwrap(),
                Liveness::Live,
            ),
            false => (existing.map(|_| b"{}".to_vec()), Liveness::Deleted),
        };
        if let Some(text) = text {
            let text = serde_json::from_slice(&text).unwrap();
            self.write(&new.design, text, liveness, chance).await;
        }
    }

    async fn purge(&self, chance: &mut Chance) {
        let id: DocumentId = name(chance).parse().unwrap();
        let row = self.file().view().unwrap().document(id.as_str()).unwrap();
        let leaves = row.map_or(Vec::new(), |row| row.tree.leaves());
        let all = chance.percent(50);
        let revs = leaves.iter().map(|leaf| leaf.rev);
        let revs: Vec<Rev> = revs.take(if all { usize::MAX } else { 1 }).collect();
        self.file().purge(vec![(id, revs)]).await.unwrap();
    }

    /// What happens between a look at the feed and the writing of rows.
    async fn meanwhile(&self, chance: &mut Chance) {
        for _ in 0..chance.below(3) {
            match chance.below(8) {
                0 => self.purge(chance).await,
                1 => self.define(chance).await,
                _ => self.write_one(chance).await,
            }
        }
    }

    async fn write_one(&self, chance: &mut Chance) {
        let (id, content) = (name(chance), document(chance));
        let liveness = match chance.percent(20) {
            true => Liveness::Deleted,
            false => Liveness::Live,
        };
        self.write(&id, content, liveness, chance).await;
    }

    async fn bring_up(&self, query: &FindQuery, chance: &mut Chance) {
        let stride = Stride {
            lines: 1 + chance.below(8),
            ..Stride::default()
        };
        for _ in 0..chance.below(12) {
            let most = chance.below(3) as u64;
            let step = query::next_step(&self.file().indexed_view().unwrap(), query, most, stride);
            let Ok(Some(step)) = step else { return };
            match chance.below(6) {
                0 => self.meanwhile(chance).await,
                1 => self.overtake(query, chance).await,
                _ => {}
            }
            let written = self.file().write_index(step.batch, step.unused, ());
            written.await.unwrap();
        }
    }

    /// Another's steps, between a look at the feed and the writing of rows.
    async fn overtake(&self, query: &FindQuery, chance: &mut Chance) {
        for _ in 0..=chance.below(3) {
            let stored = self.file().indexed_view().unwrap();
            let step = query::next_step(&stored, query, 0, Stride::default());
            drop(stored);
            let Ok(Some(step)) = step else { return };
            let written = self.file().write_index(step.batch, step.unused, ());
            written.await.unwrap();
            self.meanwhile(chance).await;
        }
    }

    /// Asks by rows and by looking at everything: page after page, with the file changing in between.
    async fn ask(&mut self, chance: &mut Chance) {
        let mut text = asked(chance);
        for _ in 0..4 {
            let query = FindQuery::parse(text.to_string().as_bytes()).unwrap();
            if chance.percent(80) {
                self.bring_up(&query, chance).await;
            }
            let stored = self.file().indexed_view().unwrap();
            let limits = Limits::default();
            let indexes = query::indexes(&stored.0).unwrap();
            let Ok(plan) = Plan::of(&query, &indexes) else {
                return;
            };
            let by = |way| {
                let page = query::page_by(way, (&stored.0, &stored.1), &query, &plan, &limits);
                match page {
                    Ok(page) => Ok(page.found()),
                    Err(DatabaseError::Refused(refusal)) => Err(refusal),
                    Err(_) => panic!("the store failed"),
                }
            };
            let expected = by(Way::ById);
            let found = match plan.index.is_all_docs() {
                true => by(Way::ById),
                false => by(Way::ByIndex),
            };
            match (expected, found) {
                (Ok((expected, _, mark)), Ok((found, keys, found_mark))) => {
                    assert_eq!(found, expected, "{text} by {}", plan.index.definition());
                    assert_eq!(found_mark, mark, "{text}");
                    self.by_rows += u64::from(keys > 0);
                    self.keys += keys;
                    if found.is_empty() {
                        return;
                    }
                    text["bookmark"] = mark.into();
                }
                (expected, found) => {
                    // The index was defined anew: the bookmark is another's now, either way.
                    assert_eq!(expected.err(), found.err(), "{text}");
                    return;
                }
            }
            if chance.percent(30) {
                self.meanwhile(chance).await;
            }
        }
    }

    async fn deed(&mut self, chance: &mut Chance) {
        match chance.below(20) {
            0 | 1 => self.define(chance).await,
            2 => self.purge(chance).await,
            3 => {
                // The power goes: perhaps in the middle of a step.
                let query = FindQuery::parse(asked(chance).to_string().as_bytes()).unwrap();
                let stored = self.file().indexed_view().unwrap();
                let step = query::next_step(&stored, &query, 0, Stride::default());
                drop(stored);
                if let Ok(Some(step)) = step {
                    let from = self.disk.operations() + chance.below(40) as u64;
                    self.disk.fail(Some(Fault {
                        operations: from..u64::MAX,
                        kind: ErrorKind::Other,
                    }));
                    let _written = self.file().write_index(step.batch, step.unused, ()).await;
                }
                let disk = self.disk.after_power_cut(chance);
                close(self.file.take().unwrap()).await;
                self.disk = disk;
                self.file = Some(open(&self.disk));
            }
            4 => {
                let file = std::sync::Arc::new(self.file.take().unwrap());
                indexing::clear(&file).await.unwrap();
                self.file = std::sync::Arc::try_unwrap(file).ok();
            }
            5..=11 => self.write_one(chance).await,
            _ => self.ask(chance).await,
        }
    }

    fn check(&self) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), self.disk.bytes()).unwrap();
        let faults = check::database(file.path()).unwrap();
        assert!(faults.0.is_empty(), "{faults:?}");
    }
}

async fn history(seed: u64) -> (u64, u64) {
    let mut chance = Chance(seed);
    let disk = Disk::new(chance.next());
    let mut subject = Subject {
        file: Some(open(&disk)),
        disk,
        by_rows: 0,
        keys: 0,
    };
    for _ in 0..2 {
        subject.define(&mut chance).await;
    }
    for _ in 0..chance.below(DOCUMENTS) {
        subject.write_one(&mut chance).await;
    }
    for _ in 0..DEEDS {
        subject.deed(&mut chance).await;
    }
    close(subject.file.take().unwrap()).await;
    subject.check();
    (subject.by_rows, subject.keys)
}

#[tokio::test]
async fn an_index_answers_as_looking_at_every_document_does() {
    #[expect(
        clippy::disallowed_methods,
        reason = "how much a test tries is said beside it"
    )]
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let first: u64 =
        number("ADYTON_SEED").unwrap_or_else(|| u64::from_be_bytes(super::random().unwrap()) >> 20);
    let histories = match number("ADYTON_SEED") {
        Some(_) => 1,
        None => number("ADYTON_INDEX_HISTORIES").unwrap_or(40),
    };
    let (mut by_rows, mut keys) = (0, 0);
    for seed in first..first + histories {
        let one = tokio::spawn(history(seed)).await;
        let (pages, looked_at) = one.unwrap_or_else(|_| panic!("ADYTON_SEED={seed}"));
        by_rows += pages;
        keys += looked_at;
    }
    // Else it proves nothing.
    assert!(by_rows >= histories && keys > by_rows, "{by_rows} {keys}");
}

/// A file with some documents and an index on `a`, made.
async fn indexed(file: DatabaseFile) -> (DatabaseFile, FindQuery) {
    let mut chance = Chance(1);
    let subject = Subject {
        disk: Disk::new(1),
        file: Some(file),
        by_rows: 0,
        keys: 0,
    };
    let new = NewIndex::parse(br#"{"index":{"fields":["a"]},"ddoc":"i","name":"n"}"#).unwrap();
    let text = with_view(None, &new.index).unwrap().unwrap();
    let text = serde_json::from_slice(&text).unwrap();
    subject
        .write(&new.design, text, Liveness::Live, &mut chance)
        .await;
    for n in 0..9 {
        let (id, content) = (format!("d{n}"), json!({"a": n}));
        subject
            .write(&id, content, Liveness::Live, &mut chance)
            .await;
    }
    let query = FindQuery::parse(br#"{"selector":{"a":{"$gt":3}}}"#).unwrap();
    let file = subject.file.unwrap();
    let step = query::next_step(&file.indexed_view().unwrap(), &query, 0, Stride::default());
    let step = step.ok().unwrap().unwrap();
    file.write_index(step.batch, step.unused, ()).await.unwrap();
    (file, query)
}

fn keys_looked_at(file: &DatabaseFile, query: &FindQuery) -> (usize, u64) {
    let stored = file.indexed_view().unwrap();
    let page = query::page(&stored, query, &Limits::default()).ok();
    let (places, keys, _) = page.unwrap().found();
    (places.len(), keys)
}

#[tokio::test]
async fn a_copy_has_no_rows_and_makes_them_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("a.redb"), dir.path().join("b.redb"));
    let (file, query) = indexed(DatabaseFile::create(&from, 1, Pulse::unheard()).unwrap()).await;
    assert_eq!(keys_looked_at(&file, &query), (5, 5));
    file.copy_to(&to).unwrap();
    assert_eq!(check::database(&to).unwrap(), check::Faults::default());
    let copy = DatabaseFile::open(&to, Pulse::unheard()).unwrap();
    assert_eq!(keys_looked_at(&copy, &query), (5, 0));
    let step = query::next_step(&copy.indexed_view().unwrap(), &query, 0, Stride::default());
    let step = step.ok().unwrap().unwrap();
    copy.write_index(step.batch, step.unused, ()).await.unwrap();
    assert_eq!(keys_looked_at(&copy, &query), (5, 5));
}

#[tokio::test]
async fn an_index_that_cannot_be_trusted_is_not_read_and_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.redb");
    // Of another form, and of before a purge that nobody told it of.
    for (form, purges) in [(2, 0), (1, 7)] {
        let _gone = std::fs::remove_file(&path);
        let file = DatabaseFile::create(&path, 1, Pulse::unheard()).unwrap();
        let (file, query) = indexed(file).await;
        assert_eq!(keys_looked_at(&file, &query), (5, 5));
        close(file).await;
        let database = Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut indexes = transaction.open_table(INDEXES).unwrap();
            let name = indexes.first().unwrap().unwrap().0.value().to_vec();
            indexes
                .insert(name.as_slice(), (form, 1, 10, purges))
                .unwrap();
        }
        transaction.commit().unwrap();
        drop(database);
        let file = DatabaseFile::open(&path, Pulse::unheard()).unwrap();
        assert_eq!(keys_looked_at(&file, &query), (5, 0));
        // First its rows go, then it is made.
        for _ in 0..2 {
            let step =
                query::next_step(&file.indexed_view().unwrap(), &query, 0, Stride::default());
            let step = step.ok().unwrap().unwrap();
            file.write_index(step.batch, step.unused, ()).await.unwrap();
        }
        assert_eq!(keys_looked_at(&file, &query), (5, 5));
        close(file).await;
        assert_eq!(check::database(&path).unwrap(), check::Faults::default());
    }
}

#[tokio::test]
async fn a_check_holds_rows_against_the_documents() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole.redb");
    let file = DatabaseFile::create(&whole, 1, Pulse::unheard()).unwrap();
    close(indexed(file).await.0).await;
    assert_eq!(check::database(&whole).unwrap(), check::Faults::default());
    let found_after = |harm: &dyn Fn(&WriteTransaction)| {
        let path = dir.path().join("harmed.redb");
        std::fs::copy(&whole, &path).unwrap();
        let database = Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        harm(&transaction);
        transaction.commit().unwrap();
        drop(database);
        let faults = check::database(&path).unwrap().0;
        faults.into_keys().collect::<Vec<_>>()
    };
    let zero = adyton_couch::mango::Index::in_design("_design/i", {
        br#"{"language":"query","views":{"n":{"map":{"fields":{"a":"asc"}}}}}"#
    });
    let key = |n: u64| {
        let text = json!({ "a": n }).to_string();
        zero[0].key_of(text.as_bytes()).unwrap()
    };
    let remove_row = |t: &WriteTransaction| {
        let mut rows = t.open_table(INDEX_ROWS).unwrap();
        let gone = rows.remove((1, key(0).as_slice(), "d0")).unwrap();
        assert!(gone.is_some());
    };
    let remove_key = |t: &WriteTransaction| {
        let mut keys = t.open_table(INDEX_KEYS).unwrap();
        assert!(keys.remove((1, "d0")).unwrap().is_some());
    };
    assert_eq!(
        found_after(&|t| {
            remove_row(t);
            remove_key(t);
        }),
        ["an index does not have a document as it is"]
    );
    assert_eq!(
        found_after(&remove_key),
        [
            "an index does not have a document as it is",
            "an index has more rows than documents"
        ]
    );
    assert_eq!(
        found_after(&remove_row),
        [
            "an index does not have a document as it is",
            "an index has more rows than documents",
            "the tables of an index disagree"
        ]
    );
    assert_eq!(
        found_after(&|t| {
            let mut rows = t.open_table(INDEX_ROWS).unwrap();
            rows.insert((1, key(0).as_slice(), "d0"), 7).unwrap();
        }),
        ["an index does not have a document as it is"]
    );
    assert_eq!(
        found_after(&|t| {
            let (mut rows, mut keys) = (
                t.open_table(INDEX_ROWS).unwrap(),
                t.open_table(INDEX_KEYS).unwrap(),
            );
            rows.insert((1, key(0).as_slice(), "gone"), 2).unwrap();
            keys.insert((1, "gone"), key(0).as_slice()).unwrap();
        }),
        ["an index has a document that is not there"]
    );
    assert_eq!(
        found_after(&|t| {
            let (mut rows, mut keys) = (
                t.open_table(INDEX_ROWS).unwrap(),
                t.open_table(INDEX_KEYS).unwrap(),
            );
            rows.insert((2, key(0).as_slice(), "d0"), 2).unwrap();
            keys.insert((2, "d0"), key(0).as_slice()).unwrap();
        }),
        ["a row of an index belongs to none"]
    );
    // An index that nobody may trust is nobody's fault.
    assert_eq!(
        found_after(&|t| {
            remove_row(t);
            remove_key(t);
            let mut indexes = t.open_table(INDEXES).unwrap();
            let name = zero[0].fingerprint();
            indexes.insert(name.as_slice(), (2, 1, 10, 0)).unwrap();
        }),
        [""; 0]
    );
}
