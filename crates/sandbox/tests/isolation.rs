//! Many tenants in one vault, in any order, with everything that comes and goes: nobody ever gets a byte of somebody else's.
//!
//! All tenants have records under the same ids, and every record says whose it is and which version: what is mixed up is seen.
//! Real permits of owners and apps, a real storage node; tenants are evicted on purpose and for lack of places, and loaded again.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use adyton_client::clock::Clock;
use adyton_client::record::{PreparedRecord, Save};
use adyton_client::schema::SchemaSet;
use adyton_client::session::Session;
use adyton_couch::selector::Selector;
use adyton_keys::context_session::ContextSession;
use adyton_node::authn::{Credential, Origins, Possession, Principal, authenticate};
use adyton_node::authz::{Permit, PermitAction, Read, Write};
use adyton_node::grants::{App, Grants};
use adyton_node::memory::{Document, Query, SortKey};
use adyton_node::vault::{Vault, VaultError, VaultLimits, WatchLimits};
use adyton_protocol::database::DatabaseName;
use adyton_protocol::scope::{ApiScope, Resource, Terms};
use http::Request;
use serde_json::{Map, Value, json};
use support::{World, note};
use tokio::sync::Mutex;

const TENANTS: usize = 104;
/// Tenants in memory at the same time.
const PLACES: usize = 90;
/// Who is asked for nearly always; the others take each other's places.
const USUAL: usize = 80;
/// Records of a schema, and as many of none, in one database.
const RECORDS: usize = 12;
const WORKERS: usize = 8;
const DATABASE: &str = "favourite";
const SCHEMA: &str = "https://common.schemas.verida.io/favourite/v0.1.0/schema.json";

/// A tenant as the test knows it.
struct Tenant {
    /// In each of its texts.
    mark: String,
    owner: Arc<Principal>,
    /// Sees the records of the schema, and of them not the notes.
    app: Arc<Principal>,
    /// The version of each record of no schema; whoever holds the lock may write.
    versions: Mutex<Vec<u64>>,
}

/// A small deterministic generator (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

fn plain_id(n: usize) -> String {
    format!("plain-{n}")
}

fn plain(mark: &str, n: usize, version: u64) -> Map<String, Value> {
    members(
        json!({ "_id": plain_id(n), "whose": mark, "n": n, "version": version, "text": format!("{mark} says {n}") }),
    )
}

fn favourite(mark: &str, n: usize) -> Map<String, Value> {
    members(json!({
        "_id": format!("favourite-{n}"), "name": format!("{mark} likes {n}"), "favouriteType": "like",
        "uri": format!("https://{mark}.example/{n}"), "insertedAt": format!("2026-01-{:02}T00:00:00.000Z", n + 1),
        "contentType": "website", "summary": format!("private {mark}"), "schema": SCHEMA,
    }))
}

fn members(record: Value) -> Map<String, Value> {
    match record {
        Value::Object(members) => members,
        _ => panic!("not an object"),
    }
}

fn principal(name: &str, value: &str, grants: &Grants) -> Arc<Principal> {
    let (head, ()) = Request::builder()
        .header(name, value)
        .body(())
        .unwrap()
        .into_parts();
    let origins = Origins::new(None, vec!["localhost".to_owned()]);
    let possession = Possession::new(origins, Clock::system());
    Arc::new(authenticate(&Credential::of(&head).unwrap(), grants, &possession).unwrap())
}

async fn tenant(world: &World, grants: &Grants, schemas: &SchemaSet, number: usize) -> Tenant {
    let mark = format!("mark{number:03}x{:08x}", number * 0x9e37_79b9 % 0xffff_ffff);
    let person = world.person().await;
    let session = person.sdk(world).await;
    write_all(&session, &mark).await;
    let owner = principal("x-api-key", &person.key(), grants);
    let terms = json!({
        "scopes": [format!("ds:r:{SCHEMA}"), "api:ds-query", "api:ds-get-by-id"],
        "narrow": [{ "target": format!("ds:{SCHEMA}"), "without": ["summary"] }],
    });
    let terms = Terms::parse(&terms.to_string(), schemas).unwrap();
    let minted = grants
        .mint(&owner.as_owner().unwrap(), terms, App::Nobody)
        .unwrap();
    let bearer = format!("Bearer {}", minted.token.as_str());
    Tenant {
        mark,
        owner,
        app: principal("authorization", &bearer, grants),
        versions: Mutex::new(vec![1; RECORDS]),
    }
}

async fn write_all(session: &Session, mark: &str) {
    let database = session.database(&DatabaseName::new(DATABASE).unwrap());
    database.create(&Default::default()).await.unwrap();
    let records: Vec<PreparedRecord> = (0..RECORDS)
        .flat_map(|n| {
            [
                (plain(mark, n, 1), None),
                (favourite(mark, n), Some(SCHEMA)),
            ]
        })
        .map(|(members, schema)| {
            PreparedRecord::new(members, Save::Insert, schema, session).unwrap()
        })
        .collect();
    let written = database.put_all(&records, &database.cipher()).await;
    assert!(written.unwrap().iter().all(Result::is_ok));
}

struct Stage {
    vault: Arc<Vault>,
    schemas: Arc<SchemaSet>,
    tenants: Vec<Tenant>,
    evictions: AtomicU64,
    refused: AtomicU64,
}

impl Stage {
    fn whole<A: PermitAction>(&self, who: &Arc<Principal>, api: ApiScope) -> Permit<A> {
        let database = DatabaseName::new(DATABASE).unwrap();
        who.permit(api, Resource::whole_database(database)).unwrap()
    }

    fn favourites(&self, who: &Arc<Principal>, api: ApiScope) -> Permit<Read> {
        let schema = SCHEMA.parse().unwrap();
        let resource = Resource::datastore(schema, &*self.schemas).unwrap();
        who.permit(api, resource).unwrap()
    }

    /// One request, and everything that its answer must be.
    async fn ask(&self, tenant: &Tenant, chance: &mut Chance) -> Result<(), VaultError> {
        let (owner, app) = (&tenant.owner, &tenant.app);
        let n = chance.below(RECORDS);
        match chance.below(1000) {
            0..500 => {
                let permit = self.whole(owner, ApiScope::DbGetById);
                let found = self.vault.get(&permit, &plain_id(n)).await?;
                self.is_of(tenant, &found);
            }
            500..600 => {
                let permit = self.favourites(app, ApiScope::DsGetById);
                let id = format!("favourite-{n}");
                let found = self.vault.get(&permit, &id).await?;
                assert_eq!(found.id(), id);
                self.is_of(tenant, &found);
                // What has no schema does not exist for it.
                let hidden = self.vault.get(&permit, &plain_id(n)).await;
                assert_eq!(hidden.unwrap_err(), VaultError::NotFound);
            }
            600..760 => {
                let permit = self.favourites(app, ApiScope::DsQuery);
                let query = query(&json!({}), &json!([{ "insertedAt": "desc" }]));
                let answer = self.vault.query(&permit, query).await?;
                assert_eq!((answer.page.total, answer.page.rows), (RECORDS, RECORDS));
                for found in &answer.page.documents {
                    self.is_of(tenant, found);
                }
            }
            760..850 => {
                let permit = self.whole(owner, ApiScope::DbQuery);
                let query = query(&json!({ "n": { "$gte": n } }), &json!([{ "n": "asc" }]));
                let answer = self.vault.query(&permit, query).await?;
                assert_eq!(answer.page.total, RECORDS - n);
                for found in &answer.page.documents {
                    self.is_of(tenant, found);
                }
            }
            850..985 => {
                let selector = Selector::parse(&json!({ "whose": tenant.mark }).to_string());
                let permit = self.whole(owner, ApiScope::DbQuery);
                let count = self.vault.count(&permit, selector.unwrap()).await?;
                assert_eq!(count, RECORDS);
                // Nobody finds who somebody else is.
                let other = &self.tenants[chance.below(self.tenants.len())];
                let selector = Selector::parse(&json!({ "whose": other.mark }).to_string());
                let count = self.vault.count(&permit, selector.unwrap()).await?;
                assert_eq!(count > 0, other.mark == tenant.mark);
            }
            985..995 => {
                let Ok(mut versions) = tenant.versions.try_lock() else {
                    return Ok(());
                };
                let permit: Permit<Write> = self.whole(owner, ApiScope::DbUpdate);
                let next = plain(&tenant.mark, n, versions[n] + 1);
                let saved = self.vault.update(&permit, plain_id(n), next, true).await?;
                versions[n] += 1;
                assert_eq!(saved.record["whose"], *tenant.mark);
                // Visible when it is answered, also to those who were evicted and loaded while it was written.
                let permit = self.whole(owner, ApiScope::DbGetById);
                let found = self.vault.get(&permit, &plain_id(n)).await?;
                assert_eq!(self.is_of(tenant, &found)["version"], versions[n]);
            }
            _ => {
                self.vault.evict(&owner.as_owner().unwrap());
                self.evictions.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Every byte of a record is its tenant's.
    fn is_of(&self, tenant: &Tenant, document: &Document) -> Value {
        let served = document.served().concat();
        let mut marks = 0;
        for at in memchr::memmem::find_iter(&served, b"mark") {
            assert!(
                served[at..].starts_with(tenant.mark.as_bytes()),
                "a foreign byte"
            );
            marks += 1;
        }
        assert!(marks > 0);
        serde_json::from_slice(&served).unwrap()
    }
}

fn query(selector: &Value, sort: &Value) -> Query {
    let selector = Selector::parse(&selector.to_string()).unwrap();
    Query {
        sort: SortKey::parse_list(sort).unwrap(),
        ..Query::new(selector)
    }
}

async fn nobody_gets_a_foreign_byte(requests: u64) {
    let world = World::start().await;
    let grants = Grants::new(Clock::system());
    let schemas = Arc::new(SchemaSet::embedded().unwrap());
    let limits = VaultLimits {
        node_bytes: 256 << 20,
        tenant_bytes: 16 << 20,
        tenants: PLACES,
        databases_per_tenant: 4,
        idle: Duration::from_secs(600),
        // Whoever is not asked for in this very moment may have to make room.
        crowded: Duration::ZERO,
        load: Duration::from_secs(60),
        stale: Duration::from_secs(600),
        workers: 2,
        watches: WatchLimits { node: 1, tenant: 1 },
        ack: None,
    };
    let transport = world.sandbox.transport().clone();
    let vault = Vault::new(transport, Clock::system(), limits, Arc::clone(&schemas));
    let mut tenants = Vec::new();
    for number in 0..TENANTS {
        tenants.push(tenant(&world, &grants, &schemas, number).await);
    }
    let stage = Arc::new(Stage {
        vault,
        schemas,
        tenants,
        evictions: AtomicU64::new(0),
        refused: AtomicU64::new(0),
    });
    let begun = Instant::now();
    let left = Arc::new(AtomicU64::new(requests));
    let working: Vec<_> = (0..WORKERS)
        .map(|worker| {
            let (stage, left) = (Arc::clone(&stage), Arc::clone(&left));
            tokio::spawn(async move {
                let mut chance = Chance(worker as u64);
                let take = |left: u64| left.checked_sub(1);
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                    .is_ok()
                {
                    let usual = chance.below(200) > 0;
                    let number = chance.below(if usual { USUAL } else { TENANTS });
                    match stage.ask(&stage.tenants[number], &mut chance).await {
                        Ok(()) => {}
                        // Evicted under way, or no place for it while others come: it says so, and no more.
                        Err(VaultError::Stopped | VaultError::Overloaded) => {
                            stage.refused.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(error) => panic!("{error:?}"),
                    }
                }
            })
        })
        .collect();
    for worker in working {
        worker.await.unwrap();
    }
    let [evictions, refused] =
        [&stage.evictions, &stage.refused].map(|count| count.load(Ordering::Relaxed));
    println!(
        "{requests} requests over {TENANTS} tenants in {:.1} s: 0 foreign bytes; {evictions} evictions on purpose, {refused} refused",
        begun.elapsed().as_secs_f64()
    );
    assert!(evictions > requests / 1000);
    assert!(refused < requests / 50, "{refused}");
}

/// What was read last on a connection stays in its buffers.
#[tokio::test]
async fn a_connection_to_a_storage_node_is_one_tenants_and_ends_with_its_eviction() {
    let world = World::with("idle_seconds = 1").await;
    let lying = world.lying_node().await;
    let person = world.person().await;
    let mut node = world.node().await;
    let key = person.key_at(&lying.url);
    // Until a write needs a connection beside that of the feed.
    for n in 0.. {
        assert_eq!(node.create_note(&key, &note(n)).await.status, 201);
        if lying.open_connections() > 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let evicted = async {
        while lying.open_connections() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let evicted = tokio::time::timeout(Duration::from_secs(20), evicted).await;
    evicted.expect("an idle connection is kept for a minute where it is anybody's");

    let before = lying.connections();
    for key in [key, world.person().await.key_at(&lying.url)] {
        let session = ContextSession::parse_api_key(&key).unwrap();
        let transport = world.sandbox.transport().clone();
        let opened = Session::open(&session, transport, Clock::system()).await;
        opened.unwrap();
    }
    assert_eq!(lying.connections() - before, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_a_foreign_byte_in_fifty_thousand_requests() {
    nobody_gets_a_foreign_byte(50_000).await;
}

/// `cargo test -p adyton-sandbox --test isolation -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn nobody_gets_a_foreign_byte_in_a_million_requests() {
    nobody_gets_a_foreign_byte(1_000_000).await;
}
