//! Backups: made beside writers and of a directory at rest, restored, and told from what is none. The check that looks for faults finds them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "support/program.rs"]
mod program;
mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use adyton_storage::{BackupError, Clock, Config, StartError, Storage, back_up, check, restore};
use serde_json::{Value, json};
use support::{Client, Node, Person, Session};

/// A node on a directory of its own choosing.
async fn node_at(data: &Path, now: u64) -> Result<Storage, StartError> {
    let clock = Clock::from_fn(move || UNIX_EPOCH + Duration::from_secs(now));
    let config = Config::new("127.0.0.1:0".parse().unwrap(), data.to_owned());
    Storage::start_with(config, clock, None).await
}

fn client(storage: &Storage) -> Client {
    Client {
        address: storage.address(),
    }
}

/// Writes until told otherwise, and counts what was acknowledged.
fn writer(
    owner: &Session,
    db: &str,
    name: &str,
    acknowledged: &Arc<AtomicU64>,
) -> tokio::task::JoinHandle<()> {
    let (client, access) = (owner.client, owner.access.clone());
    let (db, name, acknowledged) = (db.to_owned(), name.to_owned(), Arc::clone(acknowledged));
    tokio::spawn(async move {
        for n in 0_u64.. {
            if acknowledged.load(Ordering::SeqCst) == u64::MAX {
                return;
            }
            let path = format!("{db}/{name}-{n:06}");
            let body = json!({"n": n, "f": "x".repeat(300)}).to_string();
            client.send("PUT", &path, &access, body).await.expect(201);
            let _ended = acknowledged.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| {
                count.checked_add(1)
            });
        }
    })
}

async fn ids(owner: &Session, db: &str) -> Vec<String> {
    let rows = owner.get(&format!("{db}/_all_docs")).await;
    let rows = rows.expect(200).json();
    let id = |row: &Value| row["id"].as_str().unwrap().to_owned();
    rows["rows"].as_array().unwrap().iter().map(id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_beside_writers_has_every_write_acknowledged_before_it_began() {
    let node = Node::start().await;
    let owner = node.session(1).await;
    let mut databases = Vec::new();
    for name in ["a", "b", "c"] {
        databases.push((owner.database(name).await, Arc::new(AtomicU64::new(0))));
    }
    let gone = owner.database("gone").await;
    owner
        .put(&format!("{gone}/x"), &json!({}))
        .await
        .expect(201);
    let put = owner
        .send(
            "PUT",
            &format!("{}/attached", databases[0].0),
            &json!({"_attachments": {"a": {"content_type": "text/plain", "data": "aGVsbG8="}}}),
        )
        .await;
    put.expect(201);
    let writers: Vec<_> = databases
        .iter()
        .map(|(db, acknowledged)| writer(&owner, db, "w", acknowledged))
        .collect();
    while databases.iter().any(|(_, n)| n.load(Ordering::SeqCst) < 20) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }

    let out = tempfile::tempdir().unwrap();
    let target = out.path().join("backup");
    let before: Vec<u64> = databases
        .iter()
        .map(|(_, acknowledged)| acknowledged.load(Ordering::SeqCst))
        .collect();
    let copied = node.storage.backup(&target).await.unwrap();
    assert_eq!(copied.databases, 4);
    for (_, acknowledged) in &databases {
        acknowledged.store(u64::MAX, Ordering::SeqCst);
    }
    for writer in writers {
        writer.await.unwrap();
    }
    // Where nothing can be made is named.
    let below = target.join("node.redb").join("x");
    let nowhere = node.storage.backup(&below).await.unwrap_err().to_string();
    assert!(nowhere.contains(below.to_str().unwrap()), "{nowhere}");
    // A target that is something already is left as it is.
    let again = node.storage.backup(&target).await;
    assert!(matches!(again, Err(BackupError::TargetNotEmpty)));

    let data = out.path().join("restored");
    assert_eq!(restore(&target, &data).unwrap(), copied);
    let found = check(&data).unwrap();
    assert_eq!(
        (found.faults, found.notices.len(), found.databases),
        (vec![], 0, 4)
    );
    let storage = node_at(&data, node.now()).await.unwrap();
    // Nobody's token counts here; the DID document and the account are there.
    let restored = client(&storage);
    let old = restored.send("GET", &databases[0].0, &owner.access, "");
    old.await.expect(400);
    let again = Person::new(1).log_in(&client(&storage)).await;
    for ((db, _), before) in databases.iter().zip(before) {
        let ids = ids(&again, db).await;
        for n in 0..before {
            let id = format!("w-{n:06}");
            assert!(ids.contains(&id), "{id} was acknowledged");
        }
    }
    let attached = again.get(&format!("{}/attached/a", databases[0].0)).await;
    assert_eq!(attached.expect(200).text(), "hello");
    again.get(&format!("{gone}/x")).await.expect(200);
    again
        .put(&format!("{gone}/y"), &json!({}))
        .await
        .expect(201);
    storage.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_and_made_while_a_backup_is_made_leaves_it_whole() {
    let node = Node::start().await;
    let owner = node.session(1).await;
    for n in 0..20 {
        let db = owner.database(&format!("d{n}")).await;
        owner
            .put(&format!("{db}/old"), &json!({}))
            .await
            .expect(201);
    }
    let out = tempfile::tempdir().unwrap();
    let target = out.path().join("backup");
    let changing = async {
        for n in 0..20 {
            let body = json!({"databaseName": format!("d{n}")});
            owner.post("/user/deleteDatabase", &body).await.expect(200);
            let db = owner.database(&format!("d{n}")).await;
            owner
                .put(&format!("{db}/new"), &json!({}))
                .await
                .expect(201);
        }
    };
    let (copied, ()) = tokio::join!(node.storage.backup(&target), changing);
    let copied = copied.unwrap();
    let data = out.path().join("restored");
    restore(&target, &data).unwrap();
    let found = check(&data).unwrap();
    assert_eq!(found.faults, vec![]);
    assert!(found.notices.is_empty(), "{:?}", found.notices);
    assert_eq!(found.databases, copied.databases);
    let storage = node_at(&data, node.now()).await.unwrap();
    let again = Person::new(1).log_in(&client(&storage)).await;
    let listed = again.post("/user/databases", &json!({})).await;
    let listed = listed.expect(200).json();
    let listed = listed["result"].as_array().unwrap();
    assert_eq!(listed.len() as u64, copied.databases);
    for record in listed {
        let db = format!("/{}", record["databaseHash"].as_str().unwrap());
        // As it was before, as it was after, or just made: never something of both.
        let ids = ids(&again, &db).await;
        assert!(
            ids == ["old"] || ids == ["new"] || ids.is_empty(),
            "{ids:?}"
        );
    }
    storage.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_who_stands_behind_a_backup_skips_nothing_of_what_is_written_after_it_was_restored()
 {
    let node = Node::start().await;
    let owner = node.session(1).await;
    let db = owner.database("d").await;
    let write = async |owner: &Session, ids: std::ops::Range<u32>| {
        for n in ids {
            let path = format!("{db}/w-{n:02}");
            owner.put(&path, &json!({})).await.expect(201);
        }
    };
    write(&owner, 0..4).await;
    let out = tempfile::tempdir().unwrap();
    let (target, data) = (out.path().join("backup"), out.path().join("restored"));
    node.storage.backup(&target).await.unwrap();
    write(&owner, 4..8).await;
    let read = owner.get(&format!("{db}/_changes")).await;
    let stands = read.expect(200).json()["last_seq"].clone();
    let stands = stands.as_str().unwrap().to_owned();

    restore(&target, &data).unwrap();
    let storage = node_at(&data, node.now()).await.unwrap();
    let restored = client(&storage);
    let owner = Person::new(1).log_in(&restored).await;
    // As many as were lost: the numbers are the same again.
    write(&owner, 10..14).await;
    let news = owner.get(&format!("{db}/_changes?since={stands}")).await;
    let news = news.expect(200).json();
    let row = |id: &str| {
        let rows = news["results"].as_array().unwrap();
        rows.iter().any(|row| row["id"] == id)
    };
    for n in 10..14 {
        assert!(row(&format!("w-{n:02}")), "w-{n:02} was skipped: {news}");
    }
    storage.shutdown().await;
}

/// A node's directory with a database, at rest, and a backup of it.
async fn at_rest() -> ([tempfile::TempDir; 2], PathBuf, PathBuf) {
    let node = Node::start().await;
    let owner = node.session(1).await;
    let db = owner.database("d").await;
    for id in ["x", "y"] {
        let body = json!({"_attachments": {"a": {"data": "aGVsbG8="}}});
        owner.put(&format!("{db}/{id}"), &body).await.expect(201);
    }
    let local = json!({"last": 1});
    owner
        .put(&format!("{db}/_local/c"), &local)
        .await
        .expect(201);
    let data = node.dir.path().to_owned();
    let out = tempfile::tempdir().unwrap();
    let target = out.path().join("backup");
    let running = back_up(&data, &target).await;
    assert!(matches!(running, Err(BackupError::InUse)), "{running:?}");
    assert!(matches!(check(&data), Err(BackupError::InUse)));
    node.storage.shutdown().await;
    back_up(&data, &target).await.unwrap();
    ([node.dir, out], data, target)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_was_cut_changed_or_is_none_is_not_restored() {
    let (_dir, data, backup) = at_rest().await;
    let out = tempfile::tempdir().unwrap();
    let to = |name: &str| out.path().join(name);

    assert!(matches!(
        restore(&backup, &data),
        Err(BackupError::TargetNotEmpty)
    ));
    assert!(matches!(
        restore(&data, &to("a")),
        Err(BackupError::Unfinished)
    ));
    let nothing = back_up(&to("nowhere"), &to("b")).await;
    assert!(matches!(nothing, Err(BackupError::NoNode)));

    let sums = backup.join("SHA256SUMS");
    let list = std::fs::read_to_string(&sums).unwrap();
    let file = list.lines().next().unwrap().split_once("  ").unwrap().1;
    let file = backup.join(file);
    let whole = std::fs::read(&file).unwrap();
    let mut changed = whole.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    std::fs::write(&file, changed).unwrap();
    assert!(matches!(
        restore(&backup, &to("c")),
        Err(BackupError::Changed(1))
    ));
    // Nothing starts in what a restore left behind.
    let started = node_at(&to("c"), support::START).await;
    assert!(
        matches!(started, Err(StartError::HalfRestored)),
        "{started:?}"
    );
    for done in [
        check(&to("c")).map(drop),
        back_up(&to("c"), &to("cc")).await.map(drop),
    ] {
        assert!(matches!(done, Err(BackupError::HalfRestored)), "{done:?}");
    }
    std::fs::write(&file, whole).unwrap();

    for wrong in [
        list.replace("  node.redb", "  ../node.redb"),
        list.replace("  databases/", "  /databases/"),
        format!("{list}{list}"),
        list.trim_end().to_owned(),
    ] {
        std::fs::write(&sums, wrong).unwrap();
        let refused = restore(&backup, &to("d"));
        assert!(
            matches!(refused, Err(BackupError::List(_) | BackupError::Io(_))),
            "{refused:?}"
        );
        std::fs::remove_dir_all(to("d")).unwrap();
    }
    let node_only = list.lines().next_back().unwrap();
    let databases_only = list.replace(&format!("{node_only}\n"), "");
    std::fs::write(&sums, databases_only).unwrap();
    assert!(matches!(
        restore(&backup, &to("e")),
        Err(BackupError::Unfinished)
    ));
    std::fs::write(&sums, list).unwrap();
    restore(&backup, &to("f")).unwrap();
    assert_eq!(check(&to("f")).unwrap().faults, vec![]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_for_its_owner_alone_and_makes_no_tokens() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, data, backup) = at_rest().await;
    let mut places = vec![backup.clone()];
    let mut files = 0;
    while let Some(place) = places.pop() {
        let mode = std::fs::metadata(&place).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", place.display());
        if place.is_dir() {
            places.extend(
                std::fs::read_dir(&place)
                    .unwrap()
                    .map(|e| e.unwrap().path()),
            );
        } else {
            files += 1;
        }
    }
    assert_eq!(files, 3);
    // The keys of tokens, as the node has them, are in its own file and not in the backup's.
    let secrets = redb::TableDefinition::<&str, &[u8]>::new("secrets");
    let names = |path: PathBuf| -> Vec<String> {
        use redb::{ReadableDatabase, ReadableTable};
        let database = redb::Database::open(path).unwrap();
        let read = database.begin_read().unwrap();
        let table = read.open_table(secrets).unwrap();
        let rows = table.iter().unwrap();
        rows.map(|row| row.unwrap().0.value().to_owned()).collect()
    };
    let kept = names(backup.join("node.redb"));
    assert_eq!(kept, ["identity", "public_password", "public_user", "uuid"]);
    assert!(names(data.join("node.redb")).contains(&"access_key".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_finds_what_is_not_whole() {
    use redb::{Database, ReadableTable, TableDefinition};
    const BYTES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("bodies");
    const CHANGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("changes");
    const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
    const CHUNKS: TableDefinition<'_, (&[u8; 32], u64), &[u8]> = TableDefinition::new("chunks");
    const ATTACHED: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("attached");
    const DATABASES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("databases");
    const DID_BYTES: TableDefinition<'_, &str, u64> = TableDefinition::new("did_document_bytes");

    let (_dir, _data, backup) = at_rest().await;
    let out = tempfile::tempdir().unwrap();
    let database = |data: &Path| {
        let report = check(data).unwrap();
        assert_eq!(report.faults, vec![]);
        let fan = std::fs::read_dir(data.join("databases")).unwrap().next();
        let mut files = std::fs::read_dir(fan.unwrap().unwrap().path()).unwrap();
        files.next().unwrap().unwrap().path()
    };
    let mut rounds = 0;
    let mut damaged = |harm: &dyn Fn(&Path, &Path)| {
        rounds += 1;
        let data = out.path().join(rounds.to_string());
        restore(&backup, &data).unwrap();
        harm(&data, &database(&data));
        let faults = check(&data).unwrap().faults;
        let mut kinds: Vec<_> = faults.into_iter().map(|(_, what, _)| what).collect();
        kinds.sort_unstable();
        kinds
    };
    macro_rules! harm {
        (|$transaction:ident| $work:expr) => {
            &|_, file: &Path| {
                let database = Database::open(file).unwrap();
                let $transaction = database.begin_write().unwrap();
                $work;
                $transaction.commit().unwrap();
            }
        };
    }
    assert_eq!(
        damaged(harm!(|t| {
            t.open_table(BYTES).unwrap().remove(1).unwrap();
        })),
        [
            "a body belongs to no revision",
            "a revision has no body",
            "attachments belong to no revision",
            "the number of bytes",
        ]
    );
    assert_eq!(
        damaged(harm!(|t| {
            let mut bodies = t.open_table(BYTES).unwrap();
            let text = bodies.get(1).unwrap().unwrap().value().to_vec();
            let text = String::from_utf8(text).unwrap().replace("\"x\"", "\"z\"");
            bodies.insert(1, text.as_bytes()).unwrap();
        })),
        ["a body is not that of its revision"]
    );
    assert_eq!(
        damaged(harm!(|t| {
            t.open_table(CHANGES).unwrap().remove(1).unwrap();
        })),
        [
            "a document and its line in the feed disagree",
            "the feed has more lines than there are documents"
        ]
    );
    assert_eq!(
        damaged(harm!(|t| {
            let mut meta = t.open_table(META).unwrap();
            meta.insert("update_seq", 1).unwrap();
            meta.insert("documents", 7).unwrap();
        })),
        ["the newest sequence number", "the number of documents"]
    );
    assert_eq!(
        damaged(harm!(|t| {
            let mut chunks = t.open_table(CHUNKS).unwrap();
            let (id, number) = {
                let row = chunks.iter().unwrap().next().unwrap().unwrap();
                (*row.0.value().0, row.0.value().1)
            };
            chunks.insert((&id, number), b"jello".as_slice()).unwrap();
        })),
        ["a content is not what its name says"]
    );
    assert_eq!(
        damaged(harm!(|t| {
            t.open_table(ATTACHED).unwrap().remove(1).unwrap();
        })),
        [
            "a content is not used as often as counted",
            "the number of attachments"
        ]
    );
    assert_eq!(
        damaged(&|_, file| std::fs::remove_file(file).unwrap()),
        ["a database has no file"]
    );
    assert_eq!(
        damaged(&|_, file| {
            let mut bytes = std::fs::read(file).unwrap();
            let length = bytes.len();
            bytes[4096..length].fill(0x5a);
            std::fs::write(file, bytes).unwrap();
        }),
        ["the engine cannot read the file"]
    );
    assert_eq!(
        damaged(&|data, _| {
            let node = Database::open(data.join("node.redb")).unwrap();
            let transaction = node.begin_write().unwrap();
            {
                let mut records = transaction.open_table(DATABASES).unwrap();
                let hash = {
                    let row = records.iter().unwrap().next().unwrap().unwrap();
                    row.0.value().to_owned()
                };
                records.remove(hash.as_str()).unwrap();
            }
            transaction.commit().unwrap();
        }),
        ["a database and its account disagree"]
    );
    assert_eq!(
        damaged(&|data, _| {
            let node = Database::open(data.join("node.redb")).unwrap();
            let transaction = node.begin_write().unwrap();
            let mut counted = transaction.open_table(DID_BYTES).unwrap();
            counted.insert("", 1).unwrap();
            drop(counted);
            transaction.commit().unwrap();
        }),
        ["the number of bytes of DID documents"]
    );
    // Lines that stand for nothing, in the tables that follow from others.
    assert_eq!(
        damaged(&|data, _| {
            let node = Database::open(data.join("node.redb")).unwrap();
            let transaction = node.begin_write().unwrap();
            macro_rules! stray {
                ($key:ty, $table:expr, $row:expr) => {
                    let table = TableDefinition::<$key, ()>::new($table);
                    transaction
                        .open_table(table)
                        .unwrap()
                        .insert($row, ())
                        .unwrap();
                };
            }
            stray!((u64, &str), "accounts_without_databases", (1, "v"));
            stray!((&str, u64, &str), "account_tokens", ("v", 1, "t"));
            stray!((u64, &str, &str), "peer_context_expiries", (1, "v", "n"));
            stray!((u64, &str, &str), "peer_kin_expiries", (1, "v", "n"));
            transaction.commit().unwrap();
        }),
        [
            "a line about an account without databases stands for none",
            "a line about an account's refresh token stands for none",
            "a line about the end of another node's row stands for none",
        ]
    );
}

/// Every file below a directory, and what is in it.
fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(self::files(&path)),
            false => drop(files.insert(path.clone(), std::fs::read(&path).unwrap())),
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_was_checked_is_the_same_to_the_last_byte_and_is_restored() {
    let node = Node::start().await;
    let owner = node.session(1).await;
    let db = owner.database("d").await;
    for n in 0..50 {
        let body = json!({"n": n, "_attachments": {"a": {"data": "aGVsbG8="}}});
        owner.put(&format!("{db}/{n}"), &body).await.expect(201);
    }
    let out = tempfile::tempdir().unwrap();
    let to = |name: &str| out.path().join(name);
    node.storage.backup(&to("running")).await.unwrap();
    // As a killed process leaves it.
    for (path, bytes) in files(node.dir.path()) {
        let copy = to("killed").join(path.strip_prefix(node.dir.path()).unwrap());
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::write(copy, bytes).unwrap();
    }
    node.storage.shutdown().await;
    back_up(node.dir.path(), &to("at rest")).await.unwrap();
    for name in ["running", "at rest", "killed"] {
        let before = files(&to(name));
        for _ in 0..2 {
            let report = check(&to(name)).unwrap();
            assert_eq!((report.faults, report.databases), (vec![], 1), "{name}");
            assert!(files(&to(name)) == before, "{name} is changed");
        }
    }
    for name in ["running", "at rest"] {
        let before = files(&to(name));
        let again = back_up(&to(name), &to("again")).await;
        assert!(matches!(again, Err(BackupError::IsBackup)), "{again:?}");
        assert!(files(&to(name)) == before, "{name} is changed");
        restore(&to(name), &to("restored").join(name)).unwrap();
    }

    // What a restore refuses, or leaves behind, a check finds.
    let (backup, list) = (to("at rest"), to("at rest").join("SHA256SUMS"));
    let lines = std::fs::read_to_string(&list).unwrap();
    let (database, node_line) = lines.split_once('\n').unwrap();
    let found = || {
        let report = check(&backup).unwrap();
        let name = |path: &Path| path.file_name().unwrap().to_owned();
        let faults = report.faults.iter();
        let faults = faults.map(|(path, what, _)| (name(path), *what));
        faults.collect::<Vec<_>>()
    };
    let changed = "is not what it was when the backup was made";
    let node_file = backup.join("node.redb");
    let whole = std::fs::read(&node_file).unwrap();
    std::fs::write(&node_file, [&whole[..], b"x"].concat()).unwrap();
    assert_eq!(found()[0], ("node.redb".into(), changed));
    std::fs::write(&node_file, whole).unwrap();
    std::fs::write(&list, node_line).unwrap();
    let path = backup.join(database.split_once("  ").unwrap().1);
    let name = path.file_name().unwrap();
    let unlisted = "a database is not in the list of the backup's files";
    assert_eq!(found(), [(name.to_owned(), unlisted)]);
    std::fs::write(&list, format!("{database}\n")).unwrap();
    let lacks_node = "the node's file is not on the list";
    assert_eq!(found(), [("SHA256SUMS".into(), lacks_node)]);
    std::fs::write(&list, format!("{lines}{node_line}x")).unwrap();
    let wrong = "the list of files is wrong";
    assert_eq!(found()[0], ("SHA256SUMS".into(), wrong));
    std::fs::write(&list, lines).unwrap();
    assert_eq!(found(), []);
    std::fs::remove_file(&path).unwrap();
    let (lacks, has_none) = ("the backup lacks a file", "a database has no file");
    let gone = [(name.to_owned(), lacks), (name.to_owned(), has_none)];
    assert_eq!(found(), gone);
    let refused = restore(&backup, &to("refused")).unwrap_err().to_string();
    assert!(refused.contains(name.to_str().unwrap()), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_of_what_may_only_be_read_finds_no_faults() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65_534;
    let (dir, _data, made) = at_rest().await;
    let out = tempfile::tempdir().unwrap();
    // Who may do everything is somebody else for this.
    let root = out.path().metadata().unwrap().uid() == 0;
    let (backup, program) = (out.path().join("backup"), out.path().join("program"));
    std::fs::rename(&made, &backup).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_adyton-storage"), &program).unwrap();
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let directories = |with: u32| {
        mode(out.path(), with);
        for file in files(&backup).keys() {
            for directory in file.ancestors().skip(1) {
                match directory.starts_with(&backup) {
                    true => mode(directory, with),
                    false => break,
                }
            }
        }
    };
    let checked = || {
        let mut command = std::process::Command::new(&program);
        command.arg("check").arg(&backup);
        if root {
            command.uid(NOBODY).gid(NOBODY);
        }
        let done = command.output().unwrap();
        let said = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
        (done.status.success(), said)
    };
    let node_file = backup.join("node.redb");
    for file in files(&backup).keys() {
        mode(file, 0o444);
    }
    directories(0o555);
    let (whole, said) = checked();
    assert!(whole && said.contains("0 kinds of faults"), "{said}");
    // What may not even be read is no fault of the file.
    for harm in [&node_file, &backup] {
        let before = std::fs::metadata(harm).unwrap().permissions().mode();
        mode(harm, 0);
        let (whole, said) = checked();
        mode(harm, before);
        assert!(!whole && !said.contains("faults"), "{said}");
        assert!(said.contains("Permission denied"), "{said}");
        assert!(said.contains(harm.to_str().unwrap()), "{said}");
    }
    directories(0o755);
    drop(dir);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_backs_up_a_running_node_checks_and_restores_with_the_program_alone() {
    let out = tempfile::tempdir().unwrap();
    let (data, backups) = (out.path().join("data"), out.path().join("backups"));
    let config = out.path().join("storage.toml");
    let lines = format!("listen = \"127.0.0.1:0\"\ndata = {data:?}\nbackups = {backups:?}\n");
    std::fs::write(&config, lines).unwrap();
    let (mut child, address) = program::start(&config, Stdio::null());
    let client = Client { address };
    client.get("/status").await.expect(200);
    // Without a certificate there is nothing to read again; it does not end the program.
    program::signal(&child, "-HUP");
    program::signal(&child, "-USR1");
    let mut looks = 0;
    let made = loop {
        looks += 1;
        assert!(looks < 1_000, "no backup was made");
        tokio::time::sleep(Duration::from_millis(20)).await;
        let Some(made) = std::fs::read_dir(&backups)
            .ok()
            .and_then(|mut entries| Some(entries.next()?.unwrap().path()))
        else {
            continue;
        };
        if made.join("SHA256SUMS").exists() {
            break made;
        }
    };
    let name = made.file_name().unwrap().to_str().unwrap();
    assert!(name.len() == 16 && name.ends_with('Z'), "{name}");
    let running = program::run(&[Path::new("check"), &data]);
    assert!(!running.status.success());
    assert!(String::from_utf8_lossy(&running.stderr).contains("in use"));
    client.get("/status").await.expect(200);
    program::signal(&child, "-TERM");
    assert!(child.wait().unwrap().success());

    let restored = out.path().join("restored");
    for arguments in [
        [Path::new("check"), data.as_path()].as_slice(),
        &[Path::new("restore"), &made, &restored],
        &[Path::new("check"), &restored],
        &[Path::new("backup"), &restored, &out.path().join("second")],
    ] {
        let done = program::run(arguments);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{arguments:?}: {said}");
    }
    let again = program::run(&[Path::new("restore"), &made, &restored]);
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("not an empty directory"));
}
