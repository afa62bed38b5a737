//! Backups: made beside writers and of a directory at rest, restored, and told from what is none. The check that looks for faults finds them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::path::{Path, PathBuf};
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

/// A node's directory with a database, at rest, and a backup of it.
async fn at_rest() -> (tempfile::TempDir, PathBuf, PathBuf) {
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
    let target = data.with_extension("backup");
    let running = back_up(&data, &target).await;
    assert!(matches!(running, Err(BackupError::InUse)), "{running:?}");
    assert!(matches!(check(&data), Err(BackupError::InUse)));
    node.storage.shutdown().await;
    back_up(&data, &target).await.unwrap();
    (node.dir, data, target)
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
        matches!(started, Err(StartError::NoNodeFile)),
        "{started:?}"
    );
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
}

/// The program, and what it says.
mod program {
    use std::io::{BufRead, BufReader};
    use std::net::SocketAddr;
    use std::process::{Child, Command, Output, Stdio};

    use super::Path;

    pub(crate) fn run(arguments: &[&Path]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adyton-storage"));
        command.args(arguments).output().unwrap()
    }

    pub(crate) fn start(config: &Path) -> (Child, SocketAddr) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_adyton-storage"))
            .arg("--config")
            .arg(config)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let address = line.split("http://").nth(1).unwrap();
        (child, address.split(' ').next().unwrap().parse().unwrap())
    }

    pub(crate) fn signal(child: &Child, name: &str) {
        let mut kill = Command::new("kill");
        kill.args([name, &child.id().to_string()]);
        assert!(kill.status().unwrap().success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_backs_up_a_running_node_checks_and_restores_with_the_program_alone() {
    let out = tempfile::tempdir().unwrap();
    let (data, backups) = (out.path().join("data"), out.path().join("backups"));
    let config = out.path().join("storage.toml");
    let lines = format!("listen = \"127.0.0.1:0\"\ndata = {data:?}\nbackups = {backups:?}\n");
    std::fs::write(&config, lines).unwrap();
    let (mut child, address) = program::start(&config);
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
