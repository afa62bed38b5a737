//! Outgoing replication: what is written here reaches the other nodes of the same context (`spec/storage-node.md` §7; ADR 25).
//!
//! 1. Something is told ([`News`]): a write, a user's ping, another node that came back; at start, every context known to be shared.
//! 2. The owner's DID document says which nodes hold the context. For each there is one link.
//! 3. A link that has something to push takes a turn ([`push`]), when the [`schedule`] says so.
//!
//! Guarantees: one link never takes two turns at one time, and only so many links do; a change that came from another node is
//! offered back once, found there, and not sent. Everything here is owned by one task, which ends with the node.

mod batch;
mod checkpoint;
mod holds;
mod link;
mod news;
mod push;
mod schedule;
mod source;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use adyton_protocol::context::{ContextHash, ContextName};
use adyton_protocol::database::DatabaseHash;
use adyton_protocol::did::{Did, Network};
use adyton_protocol::did_document::DidDocument;
use adyton_resolver::web::plain_url;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use url::Url;

use self::holds::Holds;
pub(crate) use self::news::News;
use self::push::{Memory, Taken, Turn, Wanted};
pub use self::schedule::Pace;
use self::schedule::{Outcome, Schedule};
use crate::api::App;
use crate::did_documents::{Freshness, ResolveFailure};
use crate::outbound::Outbound;
use crate::store::StoreError;

/// Other nodes of one context at most. A document with more names the first ones.
pub(crate) const MAX_NODES: usize = 16;
/// Databases whose owner is remembered.
const MAX_OWNERS: usize = 100_000;

/// A context on another node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Link {
    account: Arc<str>,
    /// The other node's URL.
    node: Arc<str>,
}

/// What is scheduled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Work {
    /// To learn which nodes hold a context.
    Nodes(Arc<str>),
    /// A turn of a link.
    Push(Link),
}

/// What is known of an account's context.
#[derive(Default)]
struct Context {
    /// Whose it is and its name, once looked up.
    named: Option<(Did, ContextName)>,
    nodes: Vec<Arc<str>>,
    looked_up: Option<Instant>,
    /// A user asked: the document is to be asked for anew.
    asked: bool,
    /// What waits for the nodes to be known.
    wanted: Wanted,
}

/// What is known of a link. The memory is away while a turn is taken.
#[derive(Default)]
struct LinkState {
    wanted: Wanted,
    memory: Memory,
    /// Databases that it does not take at present.
    holds: Holds,
    /// A user asked, or the node came anew and may have lost something: the checkpoints are to be read again, of all databases.
    doubtful: bool,
}

impl LinkState {
    /// When it has something to do, from now on.
    fn due(&self, now: Instant, pace: &Pace) -> Option<Instant> {
        if !self.wanted.is_nothing() {
            return Some(now);
        }
        // It was done lately, and is due when it may be done again.
        let doubted = self.memory.doubted();
        let again = doubted.map_or(now, |at| now.max(at + pace.doubt_pause));
        let doubt = self.doubtful.then_some(again);
        doubt.into_iter().chain(self.holds.next_due()).min()
    }
}

/// What a finished task brings.
enum Finished {
    Nodes(Arc<str>, Result<Option<Named>, ResolveFailure>),
    Push(Box<Taken>),
}

/// A context with the other nodes that hold it.
struct Named {
    did: Did,
    context: ContextName,
    nodes: Vec<Arc<str>>,
}

/// Which links fail at present, for those who ask.
#[derive(Clone, Default)]
pub(crate) struct Standing(Arc<Mutex<HashSet<Link>>>);

impl Standing {
    pub(crate) fn fails(&self, account: &str, node: &str) -> bool {
        let link = Link {
            account: account.into(),
            node: node.into(),
        };
        self.failing().contains(&link)
    }

    fn set(&self, link: &Link, fails: bool) {
        match fails {
            true => self.failing().insert(link.clone()),
            false => self.failing().remove(link),
        };
    }

    fn failing(&self) -> MutexGuard<'_, HashSet<Link>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Replicates until the node ends.
pub(crate) async fn run(
    app: Arc<App>,
    outbound: Outbound,
    pace: Pace,
    seed: u64,
    mut stop: watch::Receiver<bool>,
) {
    let mut replicator = Replicator {
        app,
        outbound,
        schedule: Schedule::new(pace.clone()),
        pace,
        contexts: HashMap::new(),
        links: HashMap::new(),
        owners: HashMap::new(),
        tasks: JoinSet::new(),
        dice: Dice(seed),
    };
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        () = replicator.work() => {}
    }
    replicator.tasks.shutdown().await;
}

struct Replicator {
    app: Arc<App>,
    outbound: Outbound,
    pace: Pace,
    schedule: Schedule<Work>,
    contexts: HashMap<Arc<str>, Context>,
    links: HashMap<Link, LinkState>,
    owners: HashMap<DatabaseHash, Arc<str>>,
    /// Never more than the pace's `at_once`.
    tasks: JoinSet<Finished>,
    dice: Dice,
}

impl Replicator {
    async fn work(&mut self) {
        match self.app.node.replicated().await {
            Ok(accounts) => accounts
                .into_iter()
                .for_each(|account| self.wanted(account.into(), &Wanted::All)),
            Err(error) => tracing::error!(%error, "the shared contexts cannot be read"),
        }
        let news = self.app.news.clone();
        loop {
            self.start_what_is_due();
            let due = self.schedule.next_due();
            tokio::select! {
                () = news.some() => {
                    // Writes of this moment travel together.
                    tokio::time::sleep(self.pace.settle).await;
                    if let Err(error) = self.read(&news).await {
                        tracing::error!(%error, "what was written cannot be looked up");
                    }
                }
                Some(finished) = self.tasks.join_next() => match finished {
                    Ok(finished) => self.finished(finished).await,
                    Err(error) => tracing::error!(%error, "a turn of replication ended badly"),
                },
                () = until(due) => {}
            }
        }
    }

    /// Takes the news, and finds whose they are.
    async fn read(&mut self, news: &News) -> Result<(), StoreError> {
        let waiting = news.take();
        for hash in waiting.written {
            let account = match self.owners.get(&hash) {
                Some(account) => Arc::clone(account),
                None => {
                    let Some(owner) = self.app.databases.owner(hash).await? else {
                        continue;
                    };
                    if self.owners.len() >= MAX_OWNERS {
                        self.owners.clear();
                    }
                    let account: Arc<str> = owner.into();
                    self.owners.insert(hash, Arc::clone(&account));
                    account
                }
            };
            self.wanted(account, &Wanted::These(BTreeSet::from([hash])));
        }
        for account in waiting.asked {
            let account: Arc<str> = account.into();
            let context = self.contexts.entry(Arc::clone(&account)).or_default();
            context.looked_up = None;
            context.asked = true;
            for node in context.nodes.clone() {
                let account = Arc::clone(&account);
                let state = self.links.entry(Link { account, node }).or_default();
                state.doubtful = true;
            }
            self.wanted(Arc::clone(&account), &Wanted::All);
            self.hasten(&account);
        }
        for account in waiting.heard {
            self.hasten(&account.into());
        }
        for (account, node) in waiting.came {
            let account = account.into();
            self.hasten(&account);
            self.doubt(&account, &node);
        }
        Ok(())
    }

    /// There is something to push for an account.
    fn wanted(&mut self, account: Arc<str>, wanted: &Wanted) {
        let now = Instant::now();
        let memory = self.pace.nodes_memory;
        let context = self.contexts.entry(Arc::clone(&account)).or_default();
        if context
            .looked_up
            .is_some_and(|looked_up| now < looked_up + memory)
        {
            let nodes = context.nodes.clone();
            for node in nodes {
                let account = Arc::clone(&account);
                self.link_wants(Link { account, node }, wanted);
            }
        } else {
            context.wanted.add(wanted);
            self.schedule.wake(&Work::Nodes(account), now);
        }
    }

    fn link_wants(&mut self, link: Link, wanted: &Wanted) {
        let state = self.links.entry(link.clone()).or_default();
        state.wanted.add(wanted);
        self.schedule.wake(&Work::Push(link), Instant::now());
    }

    /// A node came anew. Where nothing is remembered of its account, there is nothing to doubt.
    fn doubt(&mut self, account: &Arc<str>, node: &Url) {
        let is_it = |known: &&Arc<str>| {
            let known = plain_url(known);
            known.is_some_and(|known| known.origin() == node.origin())
        };
        let nodes = self.contexts.get(account).map(|context| &context.nodes);
        if let Some(node) = nodes.and_then(|nodes| nodes.iter().find(is_it)) {
            let link = Link {
                account: Arc::clone(account),
                node: Arc::clone(node),
            };
            self.links.entry(link.clone()).or_default().doubtful = true;
            self.schedule.wake(&Work::Push(link), Instant::now());
        }
    }

    /// Who waits for a node of this account need not any more.
    fn hasten(&mut self, account: &Arc<str>) {
        let now = Instant::now();
        self.schedule.hasten(&Work::Nodes(Arc::clone(account)), now);
        let nodes = self.contexts.get(account).map(|context| &context.nodes);
        for node in nodes.into_iter().flatten() {
            let link = Link {
                account: Arc::clone(account),
                node: Arc::clone(node),
            };
            let state = self.links.get_mut(&link);
            let work = Work::Push(link);
            self.schedule.hasten(&work, now);
            let held = state.and_then(|state| {
                state.holds.hasten(now, &self.pace);
                state.holds.next_due()
            });
            if let Some(due) = held {
                self.schedule.wake(&work, due);
            }
        }
    }

    fn start_what_is_due(&mut self) {
        let now = Instant::now();
        while let Some(work) = self.schedule.next(now) {
            match work {
                Work::Nodes(account) => {
                    let app = Arc::clone(&self.app);
                    let context = self.contexts.get_mut(&account);
                    let asked = context.map(|context| std::mem::take(&mut context.asked));
                    let freshness = match asked {
                        Some(true) => Freshness::Asked,
                        Some(false) | None => Freshness::Remembered,
                    };
                    self.tasks.spawn(async move {
                        let found = nodes_of(&app, &account, freshness).await;
                        Finished::Nodes(account, found)
                    });
                }
                Work::Push(link) => {
                    let context = self.contexts.get(&link.account);
                    let named = context.and_then(|context| context.named.clone());
                    let (Some(named), Some(state)) = (named, self.links.get_mut(&link)) else {
                        let work = Work::Push(link);
                        self.schedule.finished(&work, Outcome::Done, now, 0);
                        self.schedule.forget(&work);
                        continue;
                    };
                    if state.doubtful && state.memory.doubt(now, self.pace.doubt_pause) {
                        state.doubtful = false;
                        state.wanted = Wanted::All;
                    }
                    state.wanted.add(&Wanted::These(state.holds.start(now)));
                    let held = state.holds.waiting();
                    state.wanted.remove(&held);
                    if state.wanted.is_nothing() {
                        let due = state.due(now, &self.pace);
                        self.schedule.passed_over(&Work::Push(link), due);
                        continue;
                    }
                    let mut turn = Turn::new(
                        (Arc::clone(&self.app), self.outbound.clone()),
                        link,
                        named,
                        std::mem::take(&mut state.wanted),
                        std::mem::take(&mut state.memory),
                    );
                    turn.held = held;
                    turn.doubtful = state.doubtful;
                    self.tasks
                        .spawn(async move { Finished::Push(Box::new(turn.take().await)) });
                }
            }
        }
    }

    async fn finished(&mut self, finished: Finished) {
        let now = Instant::now();
        let roll = self.dice.roll();
        match finished {
            Finished::Nodes(account, found) => {
                let work = Work::Nodes(Arc::clone(&account));
                let outcome = match found {
                    Ok(named) => {
                        self.learned(&account, named).await;
                        Outcome::Done
                    }
                    Err(error) => {
                        tracing::debug!(%error, "the nodes of a context are not known now");
                        Outcome::Failed
                    }
                };
                self.schedule.finished(&work, outcome, now, roll);
            }
            Finished::Push(taken) => {
                let work = Work::Push(taken.link.clone());
                self.schedule.finished(&work, taken.outcome, now, roll);
                let fails = self.schedule.failures(&work) > 0;
                // Gone when the owner's document stopped naming the node meanwhile.
                if let Some(state) = self.links.get_mut(&taken.link) {
                    state.holds.ended(&taken, now, (&self.pace, roll));
                    let fails = fails || !state.holds.is_empty();
                    self.app.standing.set(&taken.link, fails);
                    state.memory = taken.memory;
                    state.wanted.add(&taken.left);
                    state.doubtful |= taken.look_again;
                    if let Some(due) = state.due(now, &self.pace) {
                        self.schedule.wake(&work, due);
                    }
                } else {
                    self.schedule.forget(&work);
                    self.app.standing.set(&taken.link, false);
                }
            }
        }
    }

    /// Which nodes hold an account's context, now.
    async fn learned(&mut self, account: &Arc<str>, named: Option<Named>) {
        let shared = named.as_ref().is_some_and(|named| !named.nodes.is_empty());
        let kept = self.app.node.set_replicated(account.to_string(), shared);
        if let Err(error) = kept.await {
            tracing::error!(%error, "a shared context cannot be noted");
        }
        let context = self.contexts.entry(Arc::clone(account)).or_default();
        context.looked_up = Some(Instant::now());
        let wanted = std::mem::take(&mut context.wanted);
        let before = std::mem::take(&mut context.nodes);
        if let Some(named) = named {
            context.nodes = named.nodes;
            context.named = Some((named.did, named.context));
        }
        let nodes = context.nodes.clone();
        for node in before.iter().filter(|node| !nodes.contains(node)) {
            let link = Link {
                account: Arc::clone(account),
                node: Arc::clone(node),
            };
            self.links.remove(&link);
            self.app.standing.set(&link, false);
            self.schedule.forget(&Work::Push(link));
        }
        for node in nodes {
            let all = !before.contains(&node);
            let link = Link {
                account: Arc::clone(account),
                node,
            };
            // A node that is new to the context lacks everything.
            let wanted = if all { &Wanted::All } else { &wanted };
            if !wanted.is_nothing() {
                self.link_wants(link, wanted);
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Asks the owner's DID document. None: there is no such context (any more), or nothing in it.
async fn nodes_of(
    app: &App,
    account: &str,
    freshness: Freshness,
) -> Result<Option<Named>, ResolveFailure> {
    let records = app.databases.of_account(account.to_owned()).await?;
    let Some(record) = records.first() else {
        return Ok(None);
    };
    let corrupt = || StoreError::Corrupt("the owner of a database");
    let did: Did = record.did.parse().map_err(|_| corrupt())?;
    let context = ContextName::new(record.context_name.as_str()).map_err(|_| corrupt())?;
    // Perhaps it is shared: if this node ends before that is known, it asks again at its start.
    if !app.resolver.is_at_hand(&did, freshness) {
        note_perhaps_shared(app, account).await;
    }
    let document = match app.resolver.resolve_unasked(&did, freshness).await {
        Ok(document) => document,
        Err(failure) => {
            note_perhaps_shared(app, account).await;
            return Err(failure);
        }
    };
    let nodes = match document {
        Some(document) if !document.is_deactivated() => {
            let hash = ContextHash::of(&did, &context);
            other_nodes(&document, app.network, &hash, &app.public_url)
        }
        Some(_) | None => Vec::new(),
    };
    let nodes = nodes.into_iter().map(Arc::from).collect();
    Ok(Some(Named {
        did,
        context,
        nodes,
    }))
}

/// What cannot be noted does not keep the node from asking now.
async fn note_perhaps_shared(app: &App, account: &str) {
    if let Err(error) = app.node.set_replicated(account.to_owned(), true).await {
        tracing::error!(%error, "a context that may be shared cannot be noted");
    }
}

/// The other nodes that a document names for a context; none when it does not name this one.
pub(crate) fn other_nodes(
    document: &DidDocument,
    network: Network,
    context: &ContextHash,
    own: &str,
) -> Vec<String> {
    let named = document.context_endpoints(network, context).database;
    let Some(own) = plain_url(own) else {
        return Vec::new();
    };
    let urls: Vec<_> = named.iter().filter_map(|text| plain_url(text)).collect();
    if !urls.iter().any(|url| url.origin() == own.origin()) {
        return Vec::new();
    }
    let mut seen = HashSet::new();
    urls.into_iter()
        .filter(|url| url.origin() != own.origin() && seen.insert(url.origin()))
        .take(MAX_NODES)
        .map(String::from)
        .collect()
}

/// Random enough for pauses: SplitMix64.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
