//! What is to be done when: work that is due, work that waits out its pause, and how much of it at one time.
//!
//! Guarantees: one key's work never runs twice at one time; not more than `at_once` runs, and of those whose last work failed or
//! was slow (or who never worked) half of it, so that nodes which answer late or never hold up nobody else; after a failure the
//! pause doubles up to the longest, spread at random, and no news shortens it (only word from the other side does). Finding what is
//! next does not take longer the more wait. Does no work, reads no clock.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// How fast a node replicates to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pace {
    /// From a write until it is pushed: writes of this time travel together.
    pub settle: Duration,
    /// The pause after a first failure; the shortest time between two attempts that others can ask for.
    pub first_pause: Duration,
    /// The longest pause: doubled pauses end here.
    pub longest_pause: Duration,
    /// Contexts and nodes that are worked for at one time.
    pub at_once: usize,
    /// Work that takes longer counts as slow.
    pub quick: Duration,
    /// The longest time that the nodes of a context are remembered.
    pub nodes_memory: Duration,
    /// The shortest time between two readings of what a node has that others can ask for: users, and the node itself.
    pub doubt_pause: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            settle: Duration::from_millis(20),
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(10 * 60),
            at_once: 8,
            quick: Duration::from_secs(10),
            nodes_memory: Duration::from_secs(10 * 60),
            doubt_pause: Duration::from_secs(60),
        }
    }
}

impl Pace {
    /// The pause after a failure that others came before. `roll` is a random number.
    pub(super) fn pause(&self, before: u32, roll: u64) -> Duration {
        let doubled = 2_u32.saturating_pow(before.min(31));
        let pause = self.first_pause.saturating_mul(doubled);
        let pause = pause.min(self.longest_pause);
        // Between half of it and all of it, so that those who failed together do not come back together.
        let spread = pause / 2 / 1_000 * u32::try_from(roll % 1_000).unwrap_or_default();
        pause / 2 + spread
    }
}

/// How a piece of work ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There is nothing left to do.
    Done,
    /// There is more, and others come first.
    More,
    /// It must be tried again, later.
    Failed,
}

#[derive(Debug, Default)]
struct Entry {
    due: Option<Instant>,
    started: Option<Instant>,
    running: bool,
    failures: u32,
    /// The last time it went well, and quickly.
    proven: bool,
    /// Where it stands among those that wait.
    place: Option<Place>,
}

/// When it is due, and the number of its entry in this order.
type Place = (Instant, u64);

/// Keys that are due or wait for it, in their order.
#[derive(Debug)]
struct Waiting<K> {
    proven: BTreeMap<Place, K>,
    unproven: BTreeMap<Place, K>,
    numbers: u64,
}

impl<K: Clone> Waiting<K> {
    fn of(&mut self, proven: bool) -> &mut BTreeMap<Place, K> {
        match proven {
            true => &mut self.proven,
            false => &mut self.unproven,
        }
    }

    /// Takes a key out of the order.
    fn leave(&mut self, entry: &mut Entry) {
        if let Some(place) = entry.place.take() {
            self.of(entry.proven).remove(&place);
        }
    }

    /// Puts a key into the order as its entry is now.
    fn stand(&mut self, key: &K, entry: &mut Entry) {
        let due = entry.due.filter(|_| !entry.running);
        if entry.place.map(|(at, _)| at) == due {
            return;
        }
        self.leave(entry);
        if let Some(due) = due {
            self.numbers += 1;
            let place = (due, self.numbers);
            self.of(entry.proven).insert(place, key.clone());
            entry.place = Some(place);
        }
    }
}

/// The work of a node.
#[derive(Debug)]
pub(super) struct Schedule<K> {
    pace: Pace,
    /// Those that have work.
    entries: HashMap<K, Entry>,
    waiting: Waiting<K>,
    /// Those that have none, and whose last work went well and quickly.
    proven: HashSet<K>,
    running: usize,
    /// Those of them that were not proven when they started.
    unproven: usize,
}

impl<K: Clone + Eq + Hash> Schedule<K> {
    pub(super) fn new(pace: Pace) -> Self {
        Self {
            pace,
            entries: HashMap::new(),
            waiting: Waiting {
                proven: BTreeMap::new(),
                unproven: BTreeMap::new(),
                numbers: 0,
            },
            proven: HashSet::new(),
            running: 0,
            unproven: 0,
        }
    }

    /// There is work, from this moment on. A failed key keeps its pause.
    pub(super) fn wake(&mut self, key: &K, now: Instant) {
        let proven = &mut self.proven;
        let entry = self.entries.entry(key.clone());
        let entry = entry.or_insert_with_key(|key| Entry {
            proven: proven.remove(key),
            ..Entry::default()
        });
        if entry.failures == 0 || entry.running || entry.due.is_none() {
            entry.due = Some(entry.due.map_or(now, |due| due.min(now)));
        }
        self.waiting.stand(key, entry);
    }

    /// The other side was heard of: a key that waits for it need not any more.
    pub(super) fn hasten(&mut self, key: &K, now: Instant) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        let earliest = entry
            .started
            .map_or(now, |started| now.max(started + self.pace.first_pause));
        entry.due = entry.due.map(|due| due.min(earliest));
        self.waiting.stand(key, entry);
    }

    /// The first of those that wait and for whom there is room.
    fn first(&self) -> Option<(&Place, &K)> {
        if self.running >= self.pace.at_once {
            return None;
        }
        let proven = self.waiting.proven.first_key_value();
        let room = self.unproven < (self.pace.at_once / 2).max(1);
        let unproven = self.waiting.unproven.first_key_value();
        let both = proven.into_iter().chain(unproven.filter(|_| room));
        both.min_by_key(|(place, _)| **place)
    }

    /// The work that is due for longest, which now runs.
    pub(super) fn next(&mut self, now: Instant) -> Option<K> {
        let ((due, _), key) = self.first()?;
        if *due > now {
            return None;
        }
        let key = key.clone();
        let entry = self.entries.get_mut(&key)?;
        self.waiting.leave(entry);
        entry.due = None;
        entry.running = true;
        entry.started = Some(now);
        self.running += 1;
        self.unproven += usize::from(!entry.proven);
        Some(key)
    }

    /// When [`Self::next`] has something, if nothing else happens.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.first().map(|((due, _), _)| *due)
    }

    /// A running key's work ended. `roll` is a random number.
    pub(super) fn finished(&mut self, key: &K, outcome: Outcome, now: Instant, roll: u64) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        entry.running = false;
        self.running = self.running.saturating_sub(1);
        let unproven = usize::from(!entry.proven);
        self.unproven = self.unproven.saturating_sub(unproven);
        let quick = entry
            .started
            .is_some_and(|started| now <= started + self.pace.quick);
        entry.proven = quick && outcome != Outcome::Failed;
        match outcome {
            Outcome::Done => {
                entry.failures = 0;
                if entry.due.is_none() {
                    if entry.proven {
                        self.proven.insert(key.clone());
                    }
                    self.entries.remove(key);
                }
            }
            Outcome::More => {
                entry.failures = 0;
                entry.due = Some(now);
            }
            Outcome::Failed => {
                entry.due = Some(now + self.pace.pause(entry.failures, roll));
                entry.failures = entry.failures.saturating_add(1);
            }
        }
        if let Some(entry) = self.entries.get_mut(key) {
            self.waiting.stand(key, entry);
        }
    }

    /// A key that [`Self::next`] gave has nothing to do before another moment after all.
    pub(super) fn passed_over(&mut self, key: &K, due: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(key) else {
            return;
        };
        entry.running = false;
        self.running = self.running.saturating_sub(1);
        let unproven = usize::from(!entry.proven);
        self.unproven = self.unproven.saturating_sub(unproven);
        entry.due = due;
        if due.is_none() && entry.failures == 0 {
            if entry.proven {
                self.proven.insert(key.clone());
            }
            self.entries.remove(key);
        } else {
            self.waiting.stand(key, entry);
        }
    }

    /// How often a key's work failed since it last succeeded.
    pub(super) fn failures(&self, key: &K) -> u32 {
        self.entries.get(key).map_or(0, |entry| entry.failures)
    }

    /// A key has no work any more. What runs, runs to its end.
    pub(super) fn forget(&mut self, key: &K) {
        self.proven.remove(key);
        match self.entries.get_mut(key) {
            Some(entry) if entry.running => entry.due = None,
            Some(entry) => {
                self.waiting.leave(entry);
                self.entries.remove(key);
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pace() -> Pace {
        Pace {
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(60),
            at_once: 2,
            ..Pace::default()
        }
    }

    #[test]
    fn work_runs_once_at_a_time_and_news_meanwhile_makes_it_run_again() {
        let now = Instant::now();
        let mut schedule = Schedule::new(pace());
        schedule.wake(&"a", now);
        assert_eq!(schedule.next(now), Some("a"));
        schedule.wake(&"a", now);
        assert_eq!((schedule.next(now), schedule.next_due()), (None, None));
        schedule.finished(&"a", Outcome::Done, now, 0);
        assert_eq!(schedule.next(now), Some("a"));
        schedule.finished(&"a", Outcome::Done, now, 0);
        assert_eq!(schedule.next(now), None);
        assert!(schedule.entries.is_empty());
    }

    #[test]
    fn no_more_runs_at_one_time_than_the_pace_says() {
        let now = Instant::now();
        let mut schedule = Schedule::new(Pace {
            at_once: 4,
            ..pace()
        });
        for key in 0..5 {
            schedule.wake(&key, now);
        }
        let first = schedule.next(now).unwrap();
        schedule.next(now).unwrap();
        assert_eq!(schedule.next(now), None);
        schedule.finished(&first, Outcome::More, now + Duration::from_secs(1), 0);
        // Who has more waits behind those who had nothing yet.
        assert_ne!(schedule.next(now + Duration::from_secs(1)), Some(first));
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_only_the_other_side_shortens_them() {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(pace());
        schedule.wake(&"a", now);
        for failure in 0..10_u32 {
            assert_eq!(schedule.next(now), Some("a"));
            schedule.finished(&"a", Outcome::Failed, now, u64::from(failure) * 333);
            let due = schedule.next_due().unwrap();
            let whole = Duration::from_secs(1 << failure.min(6)).min(Duration::from_secs(60));
            assert!(
                (whole / 2..=whole).contains(&(due - now)),
                "{failure}: {:?}",
                due - now
            );
            schedule.wake(&"a", now);
            assert_eq!(schedule.next_due(), Some(due));
            now = due;
        }
        assert_eq!(schedule.next(now), Some("a"));
        schedule.finished(&"a", Outcome::Failed, now, 0);
        schedule.hasten(&"a", now);
        assert_eq!(schedule.next_due(), Some(now + Duration::from_secs(1)));
        schedule.hasten(&"b", now);
        now += Duration::from_secs(1);
        assert_eq!(schedule.next(now), Some("a"));
        schedule.finished(&"a", Outcome::Done, now, 0);
        assert_eq!(schedule.failures(&"a"), 0);
    }

    #[test]
    fn those_that_fail_or_are_slow_hold_up_nobody_who_is_neither() {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(Pace {
            at_once: 4,
            ..pace()
        });
        let start = |schedule: &mut Schedule<u32>, key, now| {
            schedule.wake(&key, now);
            assert_eq!(schedule.next(now), Some(key));
        };
        start(&mut schedule, 0, now);
        schedule.finished(&0, Outcome::Done, now, 0);
        start(&mut schedule, 1, now);
        now += Duration::from_secs(11);
        schedule.finished(&1, Outcome::Done, now, 0);
        // Nobody knows what these are like: two of them at one time.
        for key in 1..100 {
            schedule.wake(&key, now);
        }
        let taken: Vec<_> = std::iter::from_fn(|| schedule.next(now)).collect();
        assert_eq!((taken.len(), schedule.next_due()), (2, None));
        // And who is known to be quick waits for none of them.
        start(&mut schedule, 0, now);
        schedule.finished(&0, Outcome::Failed, now, 999);
        schedule.hasten(&0, now);
        now += Duration::from_secs(1);
        assert_eq!(schedule.next(now), None);
        for key in taken {
            schedule.finished(&key, Outcome::More, now, 0);
        }
        assert!(schedule.next_due().is_some());
    }

    impl<K: Clone + Eq + Hash> Schedule<K> {
        /// Who has something due and does not run waits, once, where he belongs; nobody else does.
        fn is_in_order(&self) -> bool {
            let waits = |(key, entry): (&K, &Entry)| {
                let order = match entry.proven {
                    true => &self.waiting.proven,
                    false => &self.waiting.unproven,
                };
                let due = entry.due.filter(|_| !entry.running);
                let stands = entry
                    .place
                    .is_some_and(|place| order.get(&place) == Some(key));
                entry.place.map(|(at, _)| at) == due && stands == due.is_some()
            };
            let places = self.entries.values().filter(|entry| entry.place.is_some());
            let waiting = self.waiting.proven.len() + self.waiting.unproven.len();
            self.entries.iter().all(waits) && places.count() == waiting
        }
    }

    #[test]
    fn a_hundred_thousand_that_are_due_at_once_are_taken_up_soon_and_in_turn() {
        let now = Instant::now();
        let mut schedule = Schedule::new(pace());
        (0..100_000_u32).for_each(|key| schedule.wake(&key, now));
        let began = std::time::Instant::now();
        for key in 0..100_000 {
            assert_eq!(
                (schedule.next_due(), schedule.next(now)),
                (Some(now), Some(key))
            );
            schedule.finished(&key, Outcome::Done, now, 0);
        }
        // Looking at all of them each time would take minutes.
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{:?}",
            began.elapsed()
        );
        assert!(schedule.entries.is_empty() && schedule.is_in_order());
    }

    #[test]
    fn what_was_passed_over_is_as_it_was_and_due_when_it_was_said() {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(pace());
        schedule.wake(&"a", now);
        assert_eq!(schedule.next(now), Some("a"));
        let later = now + Duration::from_secs(5);
        schedule.passed_over(&"a", Some(later));
        assert_eq!(
            (schedule.next(now), schedule.next_due()),
            (None, Some(later))
        );
        // It proved nothing by it.
        assert!(!schedule.entries["a"].proven && schedule.running == 0 && schedule.unproven == 0);
        now = later;
        assert_eq!(schedule.next(now), Some("a"));
        schedule.passed_over(&"a", None);
        assert!(schedule.entries.is_empty() && schedule.proven.is_empty());
    }

    proptest! {
        #[test]
        fn whatever_happens_what_was_woken_runs_in_the_end(
            steps in proptest::collection::vec((0..5_u8, 0..3_u8, any::<u64>()), 0..60)
        ) {
            let mut now = Instant::now();
            let mut schedule = Schedule::new(pace());
            let mut running = Vec::new();
            for (step, key, roll) in steps {
                match step {
                    0 => schedule.wake(&key, now),
                    1 => schedule.hasten(&key, now),
                    2 => running.extend(schedule.next(now)),
                    3 if roll % 5 == 0 => {
                        let due = (roll % 10 > 0).then(|| now + Duration::from_millis(roll % 3_000));
                        if let Some(key) = running.pop() {
                            schedule.passed_over(&key, due);
                        }
                    }
                    _ => {
                        let outcomes = [Outcome::Done, Outcome::More, Outcome::Failed];
                        if let Some(key) = running.pop() {
                            let outcome = outcomes[usize::try_from(roll % 3).unwrap()];
                            schedule.finished(&key, outcome, now, roll);
                        }
                    }
                }
                prop_assert!(running.len() <= 2);
                prop_assert!(schedule.is_in_order());
                prop_assert!(schedule.unproven <= 1 && schedule.unproven <= schedule.running);
                now += Duration::from_millis(roll % 2_000);
            }
            for key in running {
                schedule.finished(&key, Outcome::Done, now, 0);
            }
            for key in 0..3 {
                schedule.wake(&key, now);
            }
            let mut ran = HashSet::new();
            while let Some(due) = schedule.next_due() {
                now = now.max(due);
                let key = schedule.next(now).unwrap();
                schedule.finished(&key, Outcome::Done, now, 0);
                ran.insert(key);
            }
            prop_assert_eq!(ran.len(), 3);
            prop_assert!(schedule.entries.is_empty() && schedule.unproven == 0);
            prop_assert!(schedule.is_in_order());
            (0..3).for_each(|key| schedule.forget(&key));
            prop_assert!(schedule.proven.is_empty());
        }
    }
}
