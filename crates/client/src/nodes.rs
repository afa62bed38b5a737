//! The storage nodes of a session: which is asked first, and when the next one is.
//!
//! Guarantees: a node that fails or is late never keeps one from those that answer; absence, and what is older than this session has
//! seen, is believed only when more than half of the nodes say so, or nobody else answers. Refuses to know: what is asked.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adyton_couch::rev::Rev;
use adyton_protocol::database::DatabaseHash;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use crate::ack::Ack;
use crate::session::{NodeLink, SessionError};

/// How long those are waited for that are not needed any more.
const GRACE: Duration = Duration::from_millis(500);
/// Records whose newest known revision is remembered…
const MAX_SEEN: usize = 4096;
/// … for so long: by then the nodes have told each other.
const SEEN_FOR: Duration = Duration::from_secs(600);

/// See the module.
pub(crate) struct Nodes {
    links: Vec<Arc<NodeLink>>,
    /// How many the context names, those included that this session cannot use.
    named: usize,
    /// Whose feeds are followed: a position in a feed means something to its own node only.
    home: usize,
    ack: Ack,
    seen: Mutex<Seen>,
}

/// What a node has said.
#[derive(Debug)]
pub(crate) enum Said<T> {
    /// Nobody else need be asked.
    Surely(T),
    /// That it has nothing, or nothing newer than this: another node may know better.
    AtMost(Option<Rev>, T),
}

/// A state of a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct State {
    pub(crate) rev: Rev,
    pub(crate) is_deleted: bool,
}

/// What this session knows of a record, so that it reads what it wrote.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sight {
    /// What a node acknowledged; `None` where one only said that there is something newer.
    pub(crate) state: Option<State>,
    /// The node that said so.
    pub(crate) at: usize,
    when: Instant,
}

#[derive(Default)]
struct Seen {
    sights: HashMap<(DatabaseHash, String), Sight>,
    order: VecDeque<(Instant, (DatabaseHash, String))>,
}

impl Nodes {
    /// The nodes that a session can use, in the order of the document. `turn` is the one that writers meet at.
    pub(crate) fn new(links: Vec<NodeLink>, named: usize, turn: usize) -> Self {
        Self {
            ack: Ack::usual(named),
            links: links.into_iter().map(Arc::new).collect(),
            named,
            home: turn,
            seen: Mutex::default(),
        }
    }

    pub(crate) fn set_home(&mut self, home: usize) {
        self.home = home;
    }

    pub(crate) fn set_ack(&mut self, ack: Ack) {
        self.ack = ack;
    }

    pub(crate) fn home(&self) -> Option<&NodeLink> {
        self.link(self.home)
    }

    pub(crate) fn link(&self, n: usize) -> Option<&NodeLink> {
        self.links.get(n).map(Arc::as_ref)
    }

    /// The same node, for work that outlives the borrow.
    pub(crate) fn shared(&self, link: &NodeLink) -> Option<&Arc<NodeLink>> {
        let mut links = self.links.iter();
        links.find(|known| known.endpoint() == link.endpoint())
    }

    /// Whether the context lies on several nodes, also if this session can use one of them only.
    pub(crate) fn are_named_many(&self) -> bool {
        self.named > 1
    }

    /// How many can be used.
    pub(crate) fn usable(&self) -> usize {
        self.links.len()
    }

    /// Whether there is anybody else to ask.
    pub(crate) fn are_many(&self) -> bool {
        self.links.len() > 1
    }

    /// How many the context names besides one of them.
    pub(crate) fn others(&self) -> usize {
        self.named.saturating_sub(1)
    }

    /// How many must have a write.
    pub(crate) fn asked(&self) -> usize {
        self.ack.of(self.named)
    }

    /// The order in which nodes are asked to accept a write. All sessions of an hour have the same while all nodes are well: so two who
    /// write to one record meet at one node, and one of them learns of it.
    pub(crate) fn writers(&self) -> Vec<usize> {
        let now = Instant::now();
        let count = self.links.len().max(1);
        let mut order: Vec<usize> = (0..self.links.len())
            .map(|n| (self.home + n) % count)
            .collect();
        order.sort_by_key(|n| self.links.get(*n).is_some_and(|link| link.rests(now)));
        order
    }

    /// The order in which nodes are asked: the nearest healthy one first, before it one that is known to know.
    pub(crate) fn readers(&self, knows: Option<usize>) -> Vec<usize> {
        let now = Instant::now();
        let mut order: Vec<usize> = (0..self.links.len()).collect();
        order.sort_by_key(|n| {
            let rank = self.links.get(*n).map(|link| link.rank(now));
            let rests = rank.is_some_and(|rank| rank.rests());
            (rests, Some(*n) != knows, rank)
        });
        order
    }

    /// Asks nodes in this order until one says something sure. The next one is asked when one fails, is late, or may not know.
    pub(crate) async fn ask<'a, T, F>(
        &'a self,
        order: Vec<usize>,
        ask: impl Fn(&'a NodeLink) -> F,
    ) -> Result<(usize, T), SessionError>
    where
        F: Future<Output = Result<Said<T>, SessionError>> + Send + 'a,
    {
        let enough = Ack::Quorum.of(self.links.len());
        let mut waiting = order.into_iter();
        let mut running = Running::new(self);
        let mut best: Option<(Option<Rev>, usize, T)> = None;
        let (mut unsure, mut late) = (0, 0);
        let mut failure = SessionError::NoStorageNode;
        loop {
            let wanted = match best {
                Some(_) => enough.saturating_sub(unsure) + late,
                None => 1 + late,
            };
            while running.count() < wanted {
                let now = Instant::now();
                let next = waiting.find(|n| {
                    // Whoever rests is asked when there is nobody else, not to confirm.
                    best.is_none() || self.links.get(*n).is_some_and(|link| !link.rests(now))
                });
                match next.and_then(|n| Some((n, self.link(n)?))) {
                    Some((n, link)) => running.start(n, ask(link)),
                    None => break,
                }
            }
            if running.count() == 0 || (best.is_some() && unsure >= enough) {
                break;
            }
            let late_at = running.late_at;
            tokio::select! {
                Some((n, said)) = running.next() => match said {
                    Ok(Said::Surely(answer)) => return Ok((n, answer)),
                    Ok(Said::AtMost(rev, answer)) => {
                        unsure += 1;
                        if best.as_ref().is_none_or(|(held, ..)| *held < rev) {
                            best = Some((rev, n, answer));
                        }
                    }
                    Err(error) => {
                        if matches!(failure, SessionError::NoStorageNode) {
                            failure = error;
                        }
                    }
                },
                () = tokio::time::sleep_until(late_at), if best.is_some() || waiting.len() > 0 => {
                    match best.is_some() && waiting.len() == 0 {
                        true => break,
                        false => late += 1,
                    }
                    running.wait_on();
                }
            }
        }
        best.map(|(_, n, answer)| (n, answer)).ok_or(failure)
    }

    /// Asks nodes in this order until so many have done it, as many at a time as are missing. Says who has.
    pub(crate) async fn gather<'a, F>(
        &'a self,
        order: Vec<usize>,
        missing: usize,
        ask: impl Fn(&'a NodeLink) -> F,
    ) -> Vec<usize>
    where
        F: Future<Output = Result<(), SessionError>> + Send + 'a,
    {
        let mut waiting = order.into_iter();
        let mut running = Running::new(self);
        let mut done = Vec::new();
        let mut late = 0;
        while done.len() < missing {
            while running.count() < missing - done.len() + late {
                match waiting.next().and_then(|n| Some((n, self.link(n)?))) {
                    Some((n, link)) => running.start(n, ask(link)),
                    None => break,
                }
            }
            if running.count() == 0 {
                break;
            }
            let late_at = running.late_at;
            tokio::select! {
                Some((n, said)) = running.next() => if said.is_ok() {
                    done.push(n);
                },
                () = tokio::time::sleep_until(late_at), if waiting.len() > 0 => {
                    late += 1;
                    running.wait_on();
                }
            }
        }
        done
    }

    /// Asks all nodes at once. Fails if fewer than `needed` have done it; the others are not waited for any longer then.
    pub(crate) async fn everywhere<'a, F>(
        &'a self,
        needed: usize,
        ask: impl Fn(&'a NodeLink) -> F,
    ) -> Result<(), SessionError>
    where
        F: Future<Output = Result<(), SessionError>> + Send + 'a,
    {
        let mut running: FuturesUnordered<_> = self.links.iter().map(|link| ask(link)).collect();
        let mut failure = SessionError::NoStorageNode;
        let mut done = 0;
        let mut until = None;
        loop {
            let next = async {
                match until {
                    Some(until) => tokio::time::timeout_at(until, running.next()).await.ok()?,
                    None => running.next().await,
                }
            };
            match next.await {
                Some(Ok(())) => done += 1,
                Some(Err(error)) => failure = error,
                None => break,
            }
            if done >= needed {
                until = until.or_else(|| Some(Instant::now() + GRACE));
            }
        }
        match done >= needed {
            true => Ok(()),
            false => Err(failure),
        }
    }

    /// What this session knows of a record.
    pub(crate) fn sight(&self, database: &DatabaseHash, id: &str) -> Option<Sight> {
        let key = (*database, id.to_owned());
        let sight = self.seen().sights.get(&key).copied()?;
        (sight.when.elapsed() < SEEN_FOR).then_some(sight)
    }

    /// Remembers what a node said of a record.
    pub(crate) fn saw(&self, database: &DatabaseHash, id: &str, state: Option<State>, at: usize) {
        if !self.are_many() {
            return;
        }
        let (key, when) = ((*database, id.to_owned()), Instant::now());
        let mut seen = self.seen();
        seen.sights.insert(key.clone(), Sight { state, at, when });
        seen.order.push_back((when, key));
        while seen.order.len() > MAX_SEEN {
            if let Some((when, key)) = seen.order.pop_front()
                && seen
                    .sights
                    .get(&key)
                    .is_some_and(|sight| sight.when == when)
            {
                seen.sights.remove(&key);
            }
        }
    }

    /// Forgets a database that was destroyed.
    pub(crate) fn forget(&self, database: &DatabaseHash) {
        let mut seen = self.seen();
        seen.sights.retain(|(of, _), _| of != database);
        seen.order.retain(|(_, (of, _))| of != database);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // An entry that is missing on one side only costs a question.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Nodes({} of {})", self.links.len(), self.named)
    }
}

/// Questions under way. Whoever is still asked when it ends was outrun.
struct Running<'a, T> {
    nodes: &'a Nodes,
    answers: FuturesUnordered<Question<'a, T>>,
    since: HashMap<usize, Instant>,
    /// When the one that was asked last is late.
    late_at: Instant,
}

type Question<'a, T> = Pin<Box<dyn Future<Output = (usize, Result<T, SessionError>)> + Send + 'a>>;

impl<'a, T> Running<'a, T> {
    fn new(nodes: &'a Nodes) -> Self {
        Self {
            nodes,
            answers: FuturesUnordered::new(),
            since: HashMap::new(),
            late_at: Instant::now(),
        }
    }

    fn count(&self) -> usize {
        self.answers.len()
    }

    fn start(
        &mut self,
        n: usize,
        asking: impl Future<Output = Result<T, SessionError>> + Send + 'a,
    ) {
        let now = Instant::now();
        self.since.insert(n, now);
        self.answers
            .push(Box::pin(async move { (n, asking.await) }));
        let patience = self.nodes.link(n).map(|link| link.lateness(now));
        self.late_at = now + patience.unwrap_or_default();
    }

    async fn next(&mut self) -> Option<(usize, Result<T, SessionError>)> {
        let (n, answer) = self.answers.next().await?;
        self.since.remove(&n);
        Some((n, answer))
    }

    /// Waits once more, for nobody was left to be asked.
    fn wait_on(&mut self) {
        self.late_at = self.late_at.max(Instant::now()) + GRACE;
    }
}

impl<T> Drop for Running<'_, T> {
    fn drop(&mut self) {
        let now = Instant::now();
        for (n, since) in &self.since {
            if let Some(link) = self.nodes.link(*n) {
                link.outrun(now - *since);
            }
        }
    }
}
