//! Open connections: a bounded number. When there are as many as may be, one gives way to the newcomer, so that those who hold
//! connections and ask nothing keep nobody out.
//!
//! Guarantees: it is one of the address that has most, one on which nothing is under way before others, and the oldest of these; so
//! whoever has few keeps them while somebody else has many. One on which an account's request is under way only when nothing else
//! rests, and only of the account that has most, if that is more than its part: a sixteenth of all, and less where many accounts have
//! some. So however many accounts there are, they leave room for a newcomer while one of them has more than its part, and whoever
//! has no more than that is never interrupted.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use super::line::Line;
use crate::throttle::network_of;

/// How soon it is looked again who might give way, when nobody can.
const LOOK: Duration = Duration::from_millis(100);

/// How much of all connections may be an account's without any of them giving way, and a newcomer's before he has asked for anything.
const PART: usize = 16;

/// The connections of one server.
pub(super) struct Crowd {
    most: usize,
    state: Mutex<State>,
    left: Notify,
}

#[derive(Default)]
struct State {
    next: u64,
    /// By age; at most `most`.
    open: BTreeMap<u64, Open>,
    of_each: HashMap<IpAddr, usize>,
}

struct Open {
    network: IpAddr,
    line: Arc<Line>,
    /// Dropped when it is to end.
    stays: Option<oneshot::Sender<()>>,
}

/// A connection's place, given back when dropped.
pub(super) struct Member {
    crowd: Arc<Crowd>,
    number: u64,
    gives_way: oneshot::Receiver<()>,
}

impl Member {
    /// Ends when the connection has to.
    pub(super) async fn gives_way(&mut self) {
        // Nothing is ever sent.
        let _dropped = (&mut self.gives_way).await;
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.crowd.state().leave(self.number);
        self.crowd.left.notify_one();
    }
}

impl Crowd {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most: most.max(1),
            state: Mutex::default(),
            left: Notify::new(),
        })
    }

    /// Waits until there is a place, and sees to it where somebody can give way.
    pub(super) async fn enter(self: &Arc<Self>, line: &Arc<Line>) -> Member {
        loop {
            if let Some(member) = self.try_enter(line) {
                return member;
            }
            // Whoever was told leaves at once. Where nobody could be told, one may be done in a moment.
            let _left = timeout(LOOK, self.left.notified()).await;
        }
    }

    fn try_enter(self: &Arc<Self>, line: &Arc<Line>) -> Option<Member> {
        let mut state = self.state();
        if state.open.len() >= self.most {
            state.tell_one(network_of(line.peer()), self.most);
            return None;
        }
        let (stays, gives_way) = oneshot::channel();
        let number = state.add(Arc::clone(line), stays);
        Some(Member {
            crowd: Arc::clone(self),
            number,
            gives_way,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, line: Arc<Line>, stays: oneshot::Sender<()>) -> u64 {
        let (number, network) = (self.next, network_of(line.peer()));
        self.next += 1;
        *self.of_each.entry(network).or_default() += 1;
        let stays = Some(stays);
        let open = Open {
            network,
            line,
            stays,
        };
        self.open.insert(number, open);
        number
    }

    fn leave(&mut self, number: u64) {
        let Some(open) = self.open.remove(&number) else {
            return;
        };
        if let Some(count) = self.of_each.get_mut(&open.network) {
            *count -= 1;
            if *count == 0 {
                self.of_each.remove(&open.network);
            }
        }
    }

    /// Tells one that may end to do so, in favour of a newcomer, unless one that was told is about to leave.
    fn tell_one(&mut self, newcomer: IpAddr, most: usize) {
        let mut open = self.open.values();
        if open.any(|open| open.stays.is_none()) {
            return;
        }
        let of = |network: &IpAddr| {
            let own = usize::from(*network == newcomer);
            own + self.of_each.get(network).copied().unwrap_or(0)
        };
        // Of the account that has most, and of those that no account holds.
        let (mut held, mut free, mut fresh) = (None, Vec::new(), 0);
        for (number, open) in &self.open {
            match open.line.held_by() {
                Some(standing) if standing.own > part(most, standing.ones) => {
                    held = held.max(Some((standing.own, Reverse(*number))));
                }
                Some(_) => {}
                None => {
                    fresh += usize::from(!open.line.is_resting());
                    free.push((*number, open));
                }
            }
        }
        // While an account has more than its part, others come as far as to ask.
        let are_spared = held.is_some() && fresh <= part(most, 0) as usize;
        let free = free
            .into_iter()
            .filter(|(_, open)| !are_spared || open.line.is_resting());
        let last = free.max_by_key(|(number, open)| {
            let is_idle = open.line.is_idle();
            (of(&open.network), is_idle, Reverse(*number))
        });
        let last = last.map(|(number, _)| number);
        let last = last.or(held.map(|(_, Reverse(number))| number));
        if let Some(open) = last.and_then(|number| self.open.get_mut(&number)) {
            open.stays = None;
        }
    }
}

/// An account's part of so many connections, where so many accounts have some.
fn part(most: usize, accounts: usize) -> u64 {
    let equal = most / accounts.saturating_add(1);
    (most / PART).min(equal).max(1) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Limits;
    use crate::server::line::Lines;
    use crate::throttle::{CallerKey, Proxy};

    fn line(last: u8) -> Arc<Line> {
        Arc::new(Line::new([192, 0, 2, last].into()))
    }

    async fn is_told(member: &mut Member) -> bool {
        timeout(Duration::ZERO, member.gives_way()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_most_gives_way_and_what_is_idle_before_what_is_not() {
        let crowd = Crowd::new(4);
        let lines = [line(1), line(2), line(2), line(2)];
        let mut members = Vec::new();
        for line in &lines {
            members.push(crowd.enter(line).await);
        }
        let _under_way = lines[1].begin();
        let newcomer = {
            let crowd = Arc::clone(&crowd);
            tokio::spawn(async move { crowd.enter(&line(3)).await })
        };
        tokio::task::yield_now().await;
        // The oldest of those on which nothing is under way.
        assert!(is_told(&mut members[2]).await);
        for at in [0, 1, 3] {
            assert!(!is_told(&mut members[at]).await, "{at}");
        }
        assert!(!newcomer.is_finished());
        members.remove(2);
        let mut newcomer = newcomer.await.unwrap();
        assert!(!is_told(&mut newcomer).await);
        drop((members, newcomer));
        assert!(crowd.state().open.is_empty() && crowd.state().of_each.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn accounts_that_have_more_than_their_part_make_room_and_others_keep_theirs() {
        let crowd = Crowd::new(32);
        let limits = Limits {
            connections: 32,
            ..Limits::default()
        };
        let lines = Lines::new(&limits, &Proxy::None);
        let mut members = Vec::new();
        for (account, many) in [("few", 2), ("many", 14), ("most", 16)] {
            for _ in 0..many {
                let line = line(1);
                let member = crowd.enter(&line).await;
                let account = CallerKey::Account(account.into());
                let hold = lines.enter(&line, &account, &Proxy::None).unwrap();
                members.push(Some((member, hold)));
            }
        }
        // The oldest of whoever has most, and of both, the oldest of all, when they have as many.
        let mut newcomers = Vec::new();
        for gives_way in [16, 17, 2] {
            let newcomer = line(2);
            assert!(crowd.try_enter(&newcomer).is_none());
            let (mut told, hold) = members[gives_way].take().unwrap();
            assert!(is_told(&mut told).await);
            drop((told, hold));
            newcomers.push(crowd.try_enter(&newcomer).unwrap());
        }
        // Before they have asked for anything, newcomers have no more than a part.
        assert!(crowd.try_enter(&line(2)).is_none());
        assert!(is_told(&mut newcomers[0]).await);
        for (member, _) in members.iter_mut().flatten() {
            assert!(!is_told(member).await);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_rests_gives_way_before_an_accounts_request() {
        let (crowd, limits) = (Crowd::new(16), Limits::default());
        let lines = Lines::new(&limits, &Proxy::None);
        let account = CallerKey::Account("v".into());
        let mut members = Vec::new();
        for _ in 0..15 {
            let line = line(1);
            let hold = lines.enter(&line, &account, &Proxy::None).unwrap();
            members.push((crowd.enter(&line).await, hold));
        }
        let resting = line(2);
        drop(resting.begin());
        let mut member = crowd.enter(&resting).await;
        assert!(crowd.try_enter(&line(3)).is_none() && is_told(&mut member).await);
        drop(member);
        let mut fresh = crowd.try_enter(&line(3)).unwrap();
        assert!(crowd.try_enter(&line(4)).is_none() && !is_told(&mut fresh).await);
        assert!(is_told(&mut members[0].0).await);
    }

    #[test]
    fn a_part_is_less_where_many_accounts_have_some() {
        let parts = [0, 1, 15, 16, 100, 4_000, 9_000].map(|accounts| part(4_096, accounts));
        assert_eq!(parts, [256, 256, 256, 240, 40, 1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_newcomer_waits_for_accounts_that_have_no_more_than_their_part() {
        let (crowd, first) = (Crowd::new(1), line(1));
        let mut member = crowd.enter(&first).await;
        let lines = Lines::new(&Limits::default(), &Proxy::None);
        let account = CallerKey::Account("v".into());
        let hold = lines.enter(&first, &account, &Proxy::None).unwrap();
        let wait = timeout(Duration::from_secs(9), async {
            crowd.enter(&line(2)).await
        });
        assert!(wait.await.is_err() && !is_told(&mut member).await);
        drop(hold);
        let wait = timeout(Duration::from_secs(9), async {
            crowd.enter(&line(2)).await
        });
        assert!(wait.await.is_err() && is_told(&mut member).await);
    }
}
