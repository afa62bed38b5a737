//! Several nodes, each behind a way that can be cut, and what they tell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use adyton_storage::{Clock, Config, Pace, Reach, RegistryChoice, Storage};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::fault::Way;
use super::{Client, Person, START, Session, put_context};

/// Longest wait for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A node that can go down and come back, at an address that stays.
pub struct Site {
    pub way: Way,
    pub dir: TempDir,
    /// Seconds that its clock is wrong by.
    pub skew: Arc<AtomicI64>,
    pub storage: Option<Storage>,
    pub pace: Pace,
    pub registry: RegistryChoice,
}

pub fn pace() -> Pace {
    Pace {
        settle: Duration::from_millis(5),
        first_pause: Duration::from_millis(50),
        longest_pause: Duration::from_millis(400),
        doubt_pause: Duration::from_millis(300),
        ..Pace::default()
    }
}

impl Site {
    pub async fn start(last_octet: u8, skew: i64) -> Self {
        Self::with_pace(last_octet, skew, pace()).await
    }

    pub async fn with_pace(last_octet: u8, skew: i64, pace: Pace) -> Self {
        Self::with(last_octet, skew, pace, RegistryChoice::Own).await
    }

    pub async fn with(last_octet: u8, skew: i64, pace: Pace, registry: RegistryChoice) -> Self {
        let mut site = Self {
            way: Way::open(last_octet).await,
            dir: tempfile::tempdir().unwrap(),
            skew: Arc::new(AtomicI64::new(skew)),
            storage: None,
            pace,
            registry,
        };
        site.up().await;
        site
    }

    pub async fn up(&mut self) {
        let data = self.dir.path().to_owned();
        let mut config = Config::new("127.0.0.1:0".parse().unwrap(), data);
        config.public_url = Some(self.way.url());
        config.reach = Reach::AlsoThisMachine;
        config.pace = self.pace.clone();
        config.registry = self.registry.clone();
        let skew = Arc::clone(&self.skew);
        let clock = Clock::from_fn(move || {
            let now = START.checked_add_signed(skew.load(Ordering::Relaxed));
            UNIX_EPOCH + Duration::from_secs(now.unwrap())
        });
        let storage = Storage::start_with(config, clock, None).await.unwrap();
        self.way.lead_to(Some(storage.address()));
        self.storage = Some(storage);
    }

    pub async fn down(&mut self) {
        self.way.lead_to(None);
        self.storage.take().unwrap().shutdown().await;
    }

    pub fn client(&self) -> Client {
        Client {
            address: self.storage.as_ref().unwrap().address(),
        }
    }

    pub async fn log_in(&self, seed: u8) -> Session {
        Person::new(seed).log_in(&self.client()).await
    }
}

/// Three nodes, and somebody whose context lies on all of them.
pub async fn three() -> Vec<Site> {
    three_whose_clocks_are_wrong_by([0, 40, -30]).await
}

pub async fn three_whose_clocks_are_wrong_by(skews: [i64; 3]) -> Vec<Site> {
    let mut sites = Vec::new();
    for (last_octet, skew) in (1..).zip(skews) {
        sites.push(Site::start(last_octet, skew).await);
    }
    let urls: Vec<String> = sites.iter().map(|site| site.way.url()).collect();
    for site in &sites {
        name(site, &urls).await;
    }
    sites
}

/// Tells a site that somebody's context lies on these nodes.
pub async fn name(site: &Site, urls: &[String]) {
    let person = Person::new(1);
    person.publish(&site.client(), START).await;
    rename(site, urls).await;
}

/// The same, of a site that has a document of the person.
pub async fn rename(site: &Site, urls: &[String]) {
    let person = Person::new(1);
    let urls = urls.iter().map(|url| format!("{url}/")).collect();
    put_context(&site.client(), &person, urls, START).await;
}

pub async fn databases(sites: &[Site], database: &str) -> String {
    let mut path = String::new();
    for site in sites {
        path = site.log_in(1).await.database(database).await;
    }
    path
}

/// Every document's leaves, and whether the winner is deleted.
pub async fn told(session: &Session, db: &str) -> BTreeMap<String, (BTreeSet<String>, bool)> {
    let answer = session.get(&format!("{db}/_changes?style=all_docs")).await;
    let answer = answer.expect(200).json();
    let rows = answer["results"].as_array().unwrap().iter();
    rows.map(|row| {
        let revs = row["changes"].as_array().unwrap().iter();
        let revs = revs.map(|change| change["rev"].as_str().unwrap().to_owned());
        let deleted = row["deleted"] == json!(true);
        (
            row["id"].as_str().unwrap().to_owned(),
            (revs.collect(), deleted),
        )
    })
    .collect()
}

/// Waits until all nodes tell the same, and at least these documents.
pub async fn converged(sites: &[Site], db: &str, least: usize) {
    let began = Instant::now();
    let mut sessions = Vec::new();
    for site in sites {
        sessions.push(site.log_in(1).await);
    }
    loop {
        let mut all = Vec::new();
        for session in &sessions {
            all.push(told(session, db).await);
        }
        if all[0].len() >= least && all.iter().all(|each| *each == all[0]) {
            return;
        }
        let counts: Vec<usize> = all.iter().map(BTreeMap::len).collect();
        assert!(
            began.elapsed() < PATIENCE,
            "{counts:?} of {least}: {}",
            differences(&all)
        );
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// What not all nodes tell.
pub fn differences(all: &[BTreeMap<String, (BTreeSet<String>, bool)>]) -> String {
    let ids: BTreeSet<&String> = all.iter().flat_map(BTreeMap::keys).collect();
    let lines = ids.into_iter().filter_map(|id| {
        let each: Vec<_> = all.iter().map(|one| one.get(id)).collect();
        let differ = each.iter().any(|one| *one != each[0]);
        differ.then(|| format!("{id}: {each:?}\n"))
    });
    lines.collect()
}

pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn bulk(session: &Session, db: &str, ids: impl Iterator<Item = String>) {
    let docs: Vec<Value> = ids.map(|id| json!({"_id": id, "n": 1})).collect();
    let body = json!({"docs": docs});
    session
        .post(&format!("{db}/_bulk_docs"), &body)
        .await
        .expect(201);
}
