//! Who is next: tenants in lanes, ordered by how much of the node's time each has had. Pure; [`super::schedule`] waits.
//!
//! Start-time fair queueing (Goyal, Vin, Cheng: SIGCOMM 1996). A lane's tag is the virtual time at which its next work
//! starts: what its work has taken, divided by its weight. The smallest tag goes next, and among equals who came first.
//! Guarantees: whoever was away begins where the others are, neither punished nor paid for it, so its first work waits for at
//! most one turn of each other lane; of two lanes that always have work, neither gets ahead by more than its longest work. A
//! thousand entries in a lane are one lane. Refuses to know: time and what the work is.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

/// A lane's part of the time, relative to other lanes.
pub(super) type Weight = NonZeroU32;

/// How many turns there are at the same time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turns {
    /// Of all lanes.
    pub(super) at_once: usize,
    /// Of one lane.
    pub(super) of_one: usize,
    /// Most entries that wait in one lane.
    pub(super) waiting_of_one: usize,
}

/// The lane is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too much of one tenant waits for its turn")]
pub(super) struct LaneFull;

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// An entry whose turn it is.
pub(super) struct Called<W> {
    /// What was put in.
    pub(super) entry: W,
    /// What its lane was charged in advance; [`Lanes::finish`] takes it back.
    pub(super) advance: Duration,
}

/// The lanes.
pub(super) struct Lanes<K, W> {
    turns: Turns,
    running: usize,
    /// The largest tag that was called.
    clock: Duration,
    tickets: u64,
    lanes: HashMap<K, Lane<W>>,
}

struct Lane<W> {
    weight: Weight,
    tag: Duration,
    /// What its work takes, as far as is known: the mean of the last ones.
    usual: Duration,
    running: usize,
    waiting: VecDeque<(Ticket, W)>,
}

impl<W> Lane<W> {
    fn is_idle(&self) -> bool {
        self.running == 0 && self.waiting.is_empty()
    }
}

impl<K: Clone + Eq + Hash, W> Lanes<K, W> {
    pub(super) fn new(turns: Turns) -> Self {
        Self {
            turns,
            running: 0,
            clock: Duration::ZERO,
            tickets: 0,
            lanes: HashMap::new(),
        }
    }

    /// Puts an entry at the end of its lane.
    pub(super) fn join(&mut self, key: &K, weight: Weight, entry: W) -> Result<Ticket, LaneFull> {
        let clock = self.clock;
        let lane = self.lanes.entry(key.clone()).or_insert_with(|| Lane {
            weight,
            tag: clock,
            usual: Duration::ZERO,
            running: 0,
            waiting: VecDeque::new(),
        });
        if lane.waiting.len() >= self.turns.waiting_of_one {
            return Err(LaneFull);
        }
        if lane.is_idle() {
            lane.tag = lane.tag.max(clock);
        }
        lane.weight = weight;
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        lane.waiting.push_back((ticket, entry));
        Ok(ticket)
    }

    /// Takes an entry out that is not wanted any more. It may have been called already.
    pub(super) fn leave(&mut self, key: &K, ticket: Ticket) -> Option<W> {
        let lane = self.lanes.get_mut(key)?;
        let at = lane
            .waiting
            .binary_search_by_key(&ticket, |(ticket, _)| *ticket)
            .ok()?;
        let (_, entry) = lane.waiting.remove(at)?;
        self.tidy();
        Some(entry)
    }

    /// The next entry, if there is a turn for it.
    pub(super) fn call(&mut self) -> Option<(K, Called<W>)> {
        if self.running >= self.turns.at_once {
            return None;
        }
        let may_run = |lane: &Lane<W>| lane.running < self.turns.of_one;
        let (key, _) = self
            .lanes
            .iter()
            .filter(|(_, lane)| may_run(lane))
            .filter_map(|(key, lane)| {
                let (ticket, _) = lane.waiting.front()?;
                Some((key, (lane.tag, *ticket)))
            })
            .min_by_key(|(_, order)| *order)?;
        let key = key.clone();
        let lane = self.lanes.get_mut(&key)?;
        let (_, entry) = lane.waiting.pop_front()?;
        let advance = lane.usual / lane.weight.get();
        self.clock = self.clock.max(lane.tag);
        lane.tag += advance;
        lane.running += 1;
        self.running += 1;
        Some((key, Called { entry, advance }))
    }

    /// An entry that was called is done, and took this long.
    pub(super) fn finish(&mut self, key: &K, advance: Duration, took: Duration) {
        if let Some(lane) = self.lanes.get_mut(key) {
            let charge = took / lane.weight.get();
            lane.tag = lane.tag.saturating_sub(advance).saturating_add(charge);
            lane.usual = (lane.usual * 3 + took) / 4;
            lane.running = lane.running.saturating_sub(1);
            self.running = self.running.saturating_sub(1);
        }
        self.tidy();
    }

    /// Forgets lanes that are empty and not ahead of the others: they would begin at the clock again.
    fn tidy(&mut self) {
        let clock = self.clock;
        self.lanes
            .retain(|_, lane| !lane.is_idle() || lane.tag > clock);
        if self.lanes.values().all(Lane::is_idle) {
            // Nobody waits, so nobody is ahead of anybody.
            self.lanes.clear();
            self.clock = Duration::ZERO;
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.lanes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EQUAL: Weight = Weight::MIN;
    const MS: Duration = Duration::from_millis(1);

    fn lanes(at_once: usize, of_one: usize) -> Lanes<u32, u32> {
        Lanes::new(Turns {
            at_once,
            of_one,
            waiting_of_one: 10_000,
        })
    }

    /// Calls, and finishes at once after `took`.
    fn run_one(lanes: &mut Lanes<u32, u32>, took: impl Fn(u32) -> Duration) -> u32 {
        let (key, called) = lanes.call().unwrap();
        lanes.finish(&key, called.advance, took(key));
        key
    }

    #[test]
    fn a_thousand_entries_of_one_do_not_delay_the_first_of_another() {
        let mut lanes = lanes(1, 1);
        for entry in 0..1000 {
            lanes.join(&1, EQUAL, entry).unwrap();
        }
        assert_eq!(run_one(&mut lanes, |_| 50 * MS), 1);
        lanes.join(&2, EQUAL, 0).unwrap();
        assert_eq!(run_one(&mut lanes, |_| MS), 2);
        assert_eq!(run_one(&mut lanes, |_| 50 * MS), 1);
    }

    #[test]
    fn who_is_cheap_goes_often_and_who_is_expensive_as_long() {
        let mut lanes = lanes(1, 1);
        for entry in 0..200 {
            lanes.join(&1, EQUAL, entry).unwrap();
            lanes.join(&2, EQUAL, entry).unwrap();
        }
        let cost = |key| if key == 1 { 10 * MS } else { MS };
        let order: Vec<u32> = (0..110).map(|_| run_one(&mut lanes, cost)).collect();
        assert_eq!(order.iter().filter(|key| **key == 1).count(), 10);
    }

    #[test]
    fn a_weight_is_a_part_of_the_time() {
        let mut lanes = lanes(1, 1);
        for entry in 0..400 {
            lanes.join(&1, Weight::new(3).unwrap(), entry).unwrap();
            lanes.join(&2, EQUAL, entry).unwrap();
        }
        let order: Vec<u32> = (0..400).map(|_| run_one(&mut lanes, |_| MS)).collect();
        let of_first = order.iter().filter(|key| **key == 1).count();
        assert!((299..=301).contains(&of_first), "{of_first}");
    }

    #[test]
    fn who_was_away_is_not_paid_for_it() {
        let mut lanes = lanes(1, 1);
        for entry in 0..100 {
            lanes.join(&1, EQUAL, entry).unwrap();
        }
        for _ in 0..50 {
            run_one(&mut lanes, |_| MS);
        }
        for entry in 0..50 {
            lanes.join(&2, EQUAL, entry).unwrap();
        }
        let order: Vec<u32> = (0..20).map(|_| run_one(&mut lanes, |_| MS)).collect();
        let of_second = order.iter().filter(|key| **key == 2).count();
        assert!((10..=11).contains(&of_second), "{of_second}");
    }

    #[test]
    fn one_lane_does_not_take_every_turn_when_it_may_not() {
        let mut lanes = lanes(2, 1);
        lanes.join(&1, EQUAL, 0).unwrap();
        lanes.join(&1, EQUAL, 1).unwrap();
        let (_, first) = lanes.call().unwrap();
        assert!(lanes.call().is_none());
        lanes.join(&2, EQUAL, 0).unwrap();
        assert_eq!(lanes.call().unwrap().0, 2);
        lanes.finish(&1, first.advance, MS);
        assert_eq!(lanes.call().unwrap().1.entry, 1);
    }

    #[test]
    fn a_full_lane_takes_no_more_and_who_leaves_makes_a_place() {
        let mut lanes = Lanes::new(Turns {
            at_once: 1,
            of_one: 1,
            waiting_of_one: 2,
        });
        let first = lanes.join(&1, EQUAL, 1).unwrap();
        lanes.join(&1, EQUAL, 2).unwrap();
        assert_eq!(lanes.join(&1, EQUAL, 3), Err(LaneFull));
        assert!(lanes.join(&2, EQUAL, 3).is_ok());
        assert_eq!(lanes.leave(&1, first), Some(1));
        assert_eq!(lanes.leave(&1, first), None);
        assert!(lanes.join(&1, EQUAL, 3).is_ok());
    }

    #[test]
    fn lanes_that_have_emptied_are_forgotten() {
        let mut lanes = lanes(1, 1);
        for key in 0..1000 {
            let ticket = lanes.join(&key, EQUAL, 0).unwrap();
            if key % 2 == 0 {
                lanes.leave(&key, ticket);
            }
        }
        for _ in 0..500 {
            run_one(&mut lanes, |_| MS);
        }
        assert_eq!(lanes.len(), 0);
    }

    proptest! {
        /// Whatever the others ask for and however long it takes.
        #[test]
        fn the_first_work_of_a_tenant_waits_for_at_most_one_turn_of_each_other(
            others in prop::collection::vec((1_u64..200, 1_usize..40), 1..12),
            before in 0_usize..60,
        ) {
            let mut lanes = lanes(1, 1);
            for (key, (_, entries)) in (0_u32..).zip(&others) {
                for entry in 0..*entries as u32 {
                    lanes.join(&key, EQUAL, entry).unwrap();
                }
            }
            let cost = |key: u32| others.get(key as usize).map_or(MS, |(cost, _)| MS * *cost as u32);
            for _ in 0..before.min(others.iter().map(|(_, entries)| entries).sum()) {
                run_one(&mut lanes, cost);
            }
            let late = 99;
            lanes.join(&late, EQUAL, 0).unwrap();
            let mut seen = Vec::new();
            loop {
                let key = run_one(&mut lanes, cost);
                if key == late {
                    break;
                }
                prop_assert!(!seen.contains(&key), "{key} went twice before it");
                seen.push(key);
            }
        }

        /// The bound of the paper: the longest work of either, and not the number of entries.
        #[test]
        fn of_two_tenants_with_work_none_gets_ahead_by_more_than_the_longest_work(
            costs in prop::collection::vec((1_u64..100, 1_u64..100), 100..200),
        ) {
            let mut lanes = lanes(1, 1);
            for entry in 0..400 {
                lanes.join(&0, EQUAL, entry).unwrap();
                lanes.join(&1, EQUAL, entry).unwrap();
            }
            let mut had = [Duration::ZERO; 2];
            for (of_first, of_second) in costs {
                let (key, called) = lanes.call().unwrap();
                let took = MS * if key == 0 { of_first } else { of_second } as u32;
                lanes.finish(&key, called.advance, took);
                had[key as usize] += took;
                prop_assert!(had[0].abs_diff(had[1]) <= 200 * MS);
            }
        }

        /// With several turns at once, too, everything that joined and did not leave is called, once.
        #[test]
        fn nothing_is_lost_and_nothing_is_called_twice(
            steps in prop::collection::vec((0_u8..4, 0_u32..6, 1_u64..50), 1..300),
        ) {
            let mut lanes = lanes(3, 2);
            let (mut waiting, mut running, mut called) = (Vec::new(), Vec::new(), 0_usize);
            let (mut joined, mut left) = (0_usize, 0_usize);
            for (step, key, took) in steps {
                match step {
                    0 | 1 => {
                        joined += 1;
                        waiting.push((key, lanes.join(&key, EQUAL, joined as u32).unwrap()));
                    }
                    2 if !waiting.is_empty() => {
                        let (key, ticket) = waiting.swap_remove(took as usize % waiting.len());
                        left += usize::from(lanes.leave(&key, ticket).is_some());
                    }
                    _ => if let Some((key, advance)) = running.pop() {
                        lanes.finish(&key, advance, MS * took as u32);
                    }
                }
                while let Some((key, entry)) = lanes.call() {
                    called += 1;
                    running.push((key, entry.advance));
                }
                prop_assert!(running.len() <= 3);
            }
            while let Some((key, advance)) = running.pop() {
                lanes.finish(&key, advance, MS);
                while let Some((key, entry)) = lanes.call() {
                    called += 1;
                    running.push((key, entry.advance));
                }
            }
            prop_assert_eq!(called + left, joined);
            prop_assert_eq!(lanes.len(), 0);
        }
    }
}
