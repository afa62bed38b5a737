use std::collections::BTreeSet;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::UNIX_EPOCH;

use adyton_protocol::context::ContextName;
use adyton_protocol::database::{DatabaseName, Permissions};
use adyton_protocol::did::Did;

use super::compaction::Compacting;
use super::*;
use crate::access::User;

struct Made {
    databases: Databases,
    /// Unix seconds.
    now: Arc<AtomicU64>,
    _dir: tempfile::TempDir,
}

async fn made(limits: Limits) -> Made {
    let dir = tempfile::tempdir().unwrap();
    let node = NodeStore::open(&dir.path().join("node.redb")).unwrap();
    let directory = dir.path().join("databases");
    std::fs::create_dir(&directory).unwrap();
    let now = Arc::new(AtomicU64::new(0));
    let seconds = Arc::clone(&now);
    let clock =
        Clock::from_fn(move || UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::SeqCst)));
    Made {
        databases: Databases::open(node, directory, limits, (clock, News::default()))
            .await
            .unwrap(),
        now,
        _dir: dir,
    }
}

fn record(person: char, name: &str) -> DatabaseRecord {
    let did: Did = format!("did:vda:polamoy:0x{}", person.to_string().repeat(40))
        .parse()
        .unwrap();
    let context = ContextName::new("Test: App").unwrap();
    let name = DatabaseName::new(name).unwrap();
    DatabaseRecord::new(&did, &context, &name, Permissions::default()).unwrap()
}

/// Looks once whether something is done.
async fn look<F: Future>(mut work: Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await
}

/// Looks so many times whether something is done, and then hangs up.
async fn hang_up_after<F: Future>(looks: usize, work: F) -> Option<F::Output> {
    let mut work = pin!(work);
    for _ in 0..looks {
        if let Poll::Ready(done) = look(work.as_mut()).await {
            return Some(done);
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    None
}

#[tokio::test]
async fn whoever_hangs_up_while_files_are_closed_leaves_none_of_them_counted() {
    let made = made(Limits {
        open_databases: 1,
        ..Limits::default()
    })
    .await;
    let databases = &made.databases;
    let records = [record('1', "a"), record('1', "b")];
    for record in &records {
        databases.create(record.clone(), 0).await.unwrap();
    }
    for round in 0..24 {
        for record in &records {
            hang_up_after(1 + round % 6, databases.own_file(record)).await;
        }
    }
    for record in &records {
        databases.own_file(record).await.unwrap();
    }
    let slots: Vec<_> = databases.slots().values().cloned().collect();
    let mut open = 0;
    for slot in slots {
        open += usize::from(slot.file.lock().await.is_some());
    }
    assert_eq!(databases.open_files.load(Ordering::Relaxed), open);
}

#[tokio::test]
async fn databases_that_were_all_in_use_at_once_open_again_when_nobody_uses_them() {
    let made = made(Limits {
        open_databases: 2,
        ..Limits::default()
    })
    .await;
    let databases = &made.databases;
    let records = ["a", "b", "c", "d", "e", "f", "g"].map(|name| record('1', name));
    for record in &records {
        databases.create(record.clone(), 0).await.unwrap();
    }
    let mut used = Vec::new();
    for record in &records[..4] {
        used.push(databases.own_file(record).await.unwrap());
    }
    for record in &records[4..] {
        assert!(matches!(
            databases.own_file(record).await,
            Err(DatabaseError::Refused(refusal)) if refusal.kind == ErrorKind::Unavailable
        ));
    }
    used.pop();
    databases.own_file(&records[4]).await.unwrap();
    used.clear();
    for record in &records {
        databases.own_file(record).await.unwrap();
    }
    let open = databases.open_files.load(Ordering::Relaxed);
    assert_eq!(open, 2, "what nobody uses is closed");
}

#[tokio::test]
async fn an_accounts_busy_database_keeps_no_other_account_waiting() {
    let made = made(Limits::default()).await;
    let databases = &made.databases;
    let busy = record('1', "a");
    databases.create(busy.clone(), 0).await.unwrap();
    let hash = hash_of(&busy).unwrap();
    let slot = databases.slot(hash);
    let held = slot.file.lock().await;
    let mut deleting = pin!(databases.delete(&busy.owner, hash));
    for _ in 0..10 {
        assert!(look(deleting.as_mut()).await.is_pending());
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    let other = databases.create(record('2', "a"), 0);
    let done = tokio::time::timeout(Duration::from_secs(2), other).await;
    done.expect("kept waiting").unwrap();
    drop(held);
    assert!(deleting.await.unwrap());
}

#[tokio::test]
async fn a_database_that_is_being_compacted_is_not_deleted_meanwhile() {
    let made = made(Limits::default()).await;
    let databases = &made.databases;
    let busy = record('1', "a");
    databases.create(busy.clone(), 0).await.unwrap();
    let hash = hash_of(&busy).unwrap();
    let compacting = Compacting::begin(databases.slot(hash));
    let refused = databases.delete(&busy.owner, hash).await;
    assert!(matches!(
        refused,
        Err(DatabaseError::Refused(refusal)) if refusal.kind == ErrorKind::Unavailable
    ));
    drop(compacting);
    assert!(databases.delete(&busy.owner, hash).await.unwrap());
    assert!(databases.slots().is_empty());
}

#[tokio::test]
async fn compactions_of_one_account_keep_no_other_waiting() {
    let made = made(Limits::default()).await;
    let databases = &made.databases;
    let mut permits = Vec::new();
    for (person, name) in [("1", "a"), ("1", "b"), ("1", "c"), ("1", "d"), ("2", "a")] {
        let person = person.chars().next().unwrap();
        let record = record(person, name);
        let hash = hash_of(&record).unwrap();
        databases.create(record, 0).await.unwrap();
        permits.push(databases.authorise(&user(person), hash).await.unwrap());
    }
    let (others, own) = permits.split_last().unwrap();
    let busy = databases.compacting.lock().await;
    let mut many: Vec<_> = (0..40)
        .map(|n| Box::pin(databases.compact(&own[n % 4])))
        .collect();
    for work in &mut many {
        assert!(look(work.as_mut()).await.is_pending());
    }
    let mut other = pin!(databases.compact(others));
    assert!(look(other.as_mut()).await.is_pending());
    drop(busy);
    // First the one that waited before, with whoever joined it; then the other account's.
    let first = many.remove(0).await;
    first.unwrap();
    for work in &mut many[..3] {
        assert!(look(work.as_mut()).await.is_pending());
    }
    let done = tokio::time::timeout(Duration::from_secs(5), other).await;
    done.expect("kept waiting").unwrap();

    // Nothing is compacted again for those who asked before: they would wait for the next one's turn, whom nobody asks to go on.
    let (joined, waiting): (Vec<_>, Vec<_>) = (1..40).zip(many).partition(|(n, _)| n % 4 == 0);
    assert_eq!(joined.len(), 9);
    for (_, work) in joined {
        let done = tokio::time::timeout(Duration::from_secs(5), work).await;
        done.expect("compacted again").unwrap();
    }
    let done = futures_util::future::join_all(waiting.into_iter().map(|(_, work)| work)).await;
    assert!(done.into_iter().all(|done| done.is_ok()));
}

/// The holder of a token in the context of [`record`].
fn user(person: char) -> Principal {
    Principal::User(token(person))
}

fn token(person: char) -> User {
    let did = format!("did:vda:polamoy:0x{}", person.to_string().repeat(40));
    User {
        did: did.parse().unwrap(),
        context: ContextName::new("Test: App").unwrap(),
        expires: u64::MAX,
    }
}

#[tokio::test]
async fn a_permit_for_a_database_that_was_deleted_does_not_open_the_one_that_was_made_anew() {
    let made = made(Limits::default()).await;
    let databases = &made.databases;
    let mut open = record('1', "a");
    open.rules.read = crate::database_record::Audience::Everyone;
    let hash = hash_of(&open).unwrap();
    databases.create(open.clone(), 0).await.unwrap();

    let stranger = databases.authorise(&user('2'), hash).await.unwrap();
    databases.file(&stranger).await.unwrap();
    // What changed elsewhere costs nobody anything.
    databases.create(record('3', "a"), 0).await.unwrap();
    databases.file(&stranger).await.unwrap();

    assert!(databases.delete(&open.owner, hash).await.unwrap());
    let refusal = async |permit: &Permit| match databases.file(permit).await {
        Err(DatabaseError::Refused(refusal)) => refusal.kind,
        Err(DatabaseError::Store(error)) => panic!("a fault instead of a refusal: {error}"),
        Ok(_) => panic!("an old permit opens a database"),
    };
    assert_eq!(refusal(&stranger).await, ErrorKind::NotFound);
    databases.create(record('1', "a"), 0).await.unwrap();
    assert_eq!(refusal(&stranger).await, ErrorKind::Forbidden);
    assert!(databases.authorise(&user('2'), hash).await.is_err());

    // A right that was taken away in the same moment is gone, too.
    databases.update(open).await.unwrap();
    let stranger = databases.authorise(&user('2'), hash).await.unwrap();
    databases.update(record('1', "a")).await.unwrap();
    assert_eq!(refusal(&stranger).await, ErrorKind::Forbidden);
}

#[tokio::test]
async fn a_permit_ends_with_its_token() {
    let made = made(Limits::default()).await;
    let databases = &made.databases;
    let own = record('1', "a");
    databases.create(own.clone(), 0).await.unwrap();
    let owner = Principal::User(User {
        expires: 10,
        ..token('1')
    });
    let permit = databases.authorise(&owner, hash_of(&own).unwrap()).await;
    let permit = permit.unwrap();
    made.now.store(9, Ordering::SeqCst);
    databases.file(&permit).await.unwrap();
    made.now.store(10, Ordering::SeqCst);
    assert!(matches!(
        databases.file(&permit).await,
        Err(DatabaseError::Refused(refusal)) if refusal.kind == ErrorKind::Unauthorized
    ));
}

/// The moment at which a database's file was made.
async fn made_at(databases: &Databases, record: &DatabaseRecord) -> u64 {
    let file = databases.own_file(record).await.unwrap();
    file.view().unwrap().counters.created
}

#[tokio::test]
async fn a_copy_does_not_count_when_its_database_was_deleted_by_somebody_who_hung_up() {
    let made = made(Limits::default()).await;
    let databases = &made.databases;
    let busy = record('1', "a");
    let hash = hash_of(&busy).unwrap();
    databases.create(busy.clone(), 0).await.unwrap();
    let (mut kept, mut replaced) = (0, 0);
    for round in 1..=24 {
        let before = made_at(databases, &busy).await;
        let backup = databases.begin_backup().unwrap();
        assert!(databases.begin_backup().is_none());
        let listed = backup.databases().await.unwrap();
        assert_eq!(listed, BTreeSet::from([hash.to_string()]));
        let copied = backup.file(hash).await.unwrap().unwrap();
        assert_eq!(copied.view().unwrap().counters.created, before);
        let looks = [usize::MAX, 0, 1, 2, 3, 5, 8, 13][round as usize % 8];
        hang_up_after(looks, databases.delete(&busy.owner, hash)).await;
        databases.create(busy.clone(), round).await.unwrap();
        let (_, standing) = backup.end().await.unwrap();
        let is_the_same = made_at(databases, &busy).await == before;
        assert!(is_the_same || standing.is_empty());
        kept += u64::from(!standing.is_empty());
        replaced += u64::from(!is_the_same);
    }
    assert!(kept > 0 && replaced > 0, "{kept} kept, {replaced} replaced");
}

#[tokio::test]
async fn files_that_the_nodes_file_does_not_know_are_moved_aside_and_never_over_each_other() {
    let Made {
        databases, _dir, ..
    } = made(Limits::default()).await;
    let (known, lost) = (record('1', "known"), record('1', "lost"));
    let hash = hash_of(&lost).unwrap();
    let aside = databases.directory.join(UNKNOWN);
    let lost_file = databases.path(hash);
    let (directory, node) = (databases.directory.clone(), databases.node.clone());
    databases.create(known.clone(), 0).await.unwrap();
    databases.create(lost.clone(), 0).await.unwrap();
    drop(databases);
    // As with a node's file that is older than the databases.
    let forget = || node.remove_database(lost.owner.clone(), lost.database_hash.clone(), |_| {});
    forget().await.unwrap();
    node.forget_deleted(vec![hash]).await.unwrap();
    for life in 0..2 {
        std::fs::write(&lost_file, [life]).unwrap();
        let (node, directory, limits) = (node.clone(), directory.clone(), Limits::default());
        let parts = (Clock::system(), News::default());
        let databases = Databases::open(node, directory, limits, parts);
        let databases = databases.await.unwrap();
        databases.own_file(&known).await.unwrap();
        assert!(!lost_file.exists());
        let moved = aside.join(format!("{hash}.redb.{life}"));
        assert_eq!(std::fs::read(moved).unwrap(), [life]);
    }
}

/// Waits until a file is gone.
async fn is_gone(path: &Path) -> bool {
    for _ in 0..500 {
        if !path.exists() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

#[tokio::test]
async fn a_deletion_is_done_to_its_end_whether_somebody_waits_or_not() {
    let made = made(Limits::default()).await;
    let databases = &made.databases;
    let (record, owner) = (record('1', "a"), record('1', "a").owner);
    let hash = hash_of(&record).unwrap();
    for looks in 1..12 {
        databases.create(record.clone(), 0).await.unwrap();
        hang_up_after(looks, databases.delete(&owner, hash)).await;
        // Whoever makes it anew waits for the deletion, if it began.
        let gone = databases.node.database(hash.to_string()).await.unwrap();
        if gone.is_none() {
            assert!(is_gone(&databases.path(hash)).await, "{looks}");
        }
    }
    let _whatever = databases.delete(&owner, hash).await.unwrap();
    assert!(databases.node.deleted().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_deletion_that_a_crash_interrupted_ends_at_the_next_start_and_unknown_files_stay() {
    let made = made(Limits::default()).await;
    let Made {
        databases, _dir, ..
    } = made;
    let records = ["deleted", "made anew", "unknown"].map(|name| record('1', name));
    let hashes = [0, 1, 2].map(|at| hash_of(&records[at]).unwrap());
    for record in &records {
        databases.create(record.clone(), 0).await.unwrap();
    }
    let (node, owner) = (databases.node.clone(), records[0].owner.clone());
    for hash in [hashes[0], hashes[1]] {
        // As far as a deletion is when its record is gone.
        let removed = node.remove_database(owner.clone(), hash.to_string(), |_| {});
        removed.await.unwrap();
    }
    node.put_database(records[1].clone()).await.unwrap();
    let noted = node.deleted().await.unwrap();
    assert_eq!(noted, [hashes[0]]);
    // As if the node's file were older than this database.
    let removed = node.remove_database(owner, hashes[2].to_string(), |_| {});
    removed.await.unwrap();
    node.forget_deleted(vec![hashes[2]]).await.unwrap();

    let (directory, paths) = (
        databases.directory.clone(),
        hashes.map(|h| databases.path(h)),
    );
    drop(databases);
    let parts = (Clock::system(), News::default());
    let again = Databases::open(node, directory.clone(), Limits::default(), parts);
    let again = again.await.unwrap();
    assert!(!paths[0].exists() && paths[1].exists() && !paths[2].exists());
    let aside = std::fs::read_dir(directory.join(UNKNOWN)).unwrap();
    let aside: Vec<_> = aside.map(|file| file.unwrap().file_name()).collect();
    assert_eq!(aside.len(), 1);
    let name = aside[0].to_str().unwrap();
    assert!(name.starts_with(&hashes[2].to_string()), "{name}");
    assert!(again.node.deleted().await.unwrap().is_empty());
    again.own_file(&records[1]).await.unwrap();
}

/// `ADYTON_DIRECTORY=… cargo test -p adyton-storage --lib so_many_databases -- --ignored --nocapture`: makes a node's directory with
/// `ADYTON_DATABASES` databases, for a start to be measured on. Files are copies of one: what is in them is not looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "makes gigabytes"]
async fn a_node_takes_over_so_many_databases_and_loses_none() {
    #[expect(
        clippy::disallowed_methods,
        reason = "how much a test tries is said beside it"
    )]
    let text = |name: &str| std::env::var(name).ok();
    let many: usize = text("ADYTON_DATABASES").map_or(100_000, |many| many.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let data = text("ADYTON_DIRECTORY").map_or_else(|| dir.path().to_owned(), PathBuf::from);
    let directory = data.join("databases");
    std::fs::create_dir_all(&directory).unwrap();
    let node_file = data.join("node.redb");
    let node = NodeStore::open(&node_file).unwrap();
    let template = data.join("template");
    let pulse = Pulse {
        feeds: watch::Sender::new(0),
        hash: hash_of(&record('1', "template")).unwrap(),
        news: News::default(),
    };
    drop(DatabaseFile::create(&template, 1, pulse).unwrap());
    let mut writes = JoinSet::new();
    for number in 0..many {
        let person = char::from_digit(u32::try_from(number % 16).unwrap(), 16).unwrap();
        let record = record(person, &format!("d{number}"));
        let path = file_in(&directory, hash_of(&record).unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::copy(&template, path).unwrap();
        let node = node.clone();
        writes.spawn(async move { node.put_database(record).await.unwrap() });
    }
    writes.join_all().await;
    std::fs::remove_file(template).unwrap();
    let closed = node.closed();
    drop(node);
    closed.await;

    let begin = Instant::now();
    let node = NodeStore::open(&node_file).unwrap();
    let parts = (Clock::system(), News::default());
    let opened = Databases::open(node, directory.clone(), Limits::default(), parts);
    let databases = opened.await.unwrap();
    eprintln!("{many} databases taken over in {:?}", begin.elapsed());
    drop(databases);
    assert_eq!(database_files(&directory).unwrap().len(), many);
}
