//! How well storage nodes have answered, so that the nearest healthy one is asked first.
//!
//! Guarantees: whoever fails is left alone for a while that doubles each time, and is asked again afterwards; what was measured long
//! ago does not count; memory is bounded, as strangers choose which nodes there are. Refuses to know: who asked, and for what.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::endpoint::Endpoint;

/// First and longest time for which a node that failed is asked last.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(300));
/// What was measured longer ago counts no more: the node is measured anew.
const FRESH: Duration = Duration::from_secs(300);
/// A new measurement is one of so many parts of the average.
const PARTS: u32 = 4;
/// A node that takes so many times as long as usual is not waited for alone…
const LATE: u32 = 4;
/// … within these bounds; the upper one goes for a node that was not measured.
const PATIENCE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));
/// Most nodes that are remembered.
const MAX_NODES: usize = 1024;

/// What is known of the storage nodes that one pool of connections talks to.
#[derive(Debug, Default)]
pub(crate) struct Health {
    nodes: Mutex<HashMap<Endpoint, Standing>>,
}

#[derive(Debug, Clone, Copy)]
struct Standing {
    /// The moving average.
    latency: Option<Duration>,
    heard: Instant,
    /// In a row.
    failures: u32,
    rests_until: Instant,
}

/// What comes first is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    rests: bool,
    /// Zero for a node that was not measured: it is worth one question.
    latency: Duration,
}

impl Rank {
    /// Whether it failed just now and is left alone.
    pub(crate) fn rests(&self) -> bool {
        self.rests
    }
}

impl Health {
    /// A node has answered.
    pub(crate) fn answered(&self, node: &Endpoint, took: Duration, now: Instant) {
        self.standing(node, now, |standing| {
            standing.latency = Some(match standing.latency {
                Some(average) if now - standing.heard < FRESH => {
                    (average * (PARTS - 1) + took) / PARTS
                }
                _ => took,
            });
            standing.failures = 0;
            standing.rests_until = now;
            standing.heard = now;
        });
    }

    /// A node was too slow to be waited for any longer: it takes at least so long.
    pub(crate) fn outrun(&self, node: &Endpoint, waited: Duration, now: Instant) {
        self.standing(node, now, |standing| {
            let known = standing.latency.unwrap_or_default();
            standing.latency = Some(known.max(waited));
            standing.heard = now;
        });
    }

    /// A node has not answered, or not usefully.
    pub(crate) fn failed(&self, node: &Endpoint, now: Instant) {
        self.standing(node, now, |standing| {
            let rest = REST.0 * 2_u32.saturating_pow(standing.failures.min(16));
            standing.failures = standing.failures.saturating_add(1);
            standing.rests_until = now + rest.min(REST.1);
        });
    }

    /// Where a node stands among others.
    pub(crate) fn rank(&self, node: &Endpoint, now: Instant) -> Rank {
        let standing = self.lock().get(node).copied();
        let fresh = standing.filter(|standing| now - standing.heard < FRESH);
        Rank {
            rests: standing.is_some_and(|standing| standing.rests_until > now),
            latency: fresh
                .and_then(|standing| standing.latency)
                .unwrap_or_default(),
        }
    }

    /// After how long another node is asked, too.
    pub(crate) fn patience(&self, node: &Endpoint, now: Instant) -> Duration {
        match self.rank(node, now).latency {
            Duration::ZERO => PATIENCE.1,
            usual => (usual * LATE).clamp(PATIENCE.0, PATIENCE.1),
        }
    }

    fn standing(&self, node: &Endpoint, now: Instant, change: impl FnOnce(&mut Standing)) {
        let mut nodes = self.lock();
        if nodes.len() >= MAX_NODES && !nodes.contains_key(node) {
            let oldest = nodes.iter().min_by_key(|(_, standing)| standing.heard);
            if let Some(oldest) = oldest.map(|(node, _)| node.clone()) {
                nodes.remove(&oldest);
            }
        }
        change(nodes.entry(node.clone()).or_insert(Standing {
            latency: None,
            heard: now,
            failures: 0,
            rests_until: now,
        }));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Endpoint, Standing>> {
        // A map of numbers is never half changed.
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn node(n: usize) -> Endpoint {
        format!("https://node{n}.example/").parse().unwrap()
    }

    fn order(health: &Health, now: Instant) -> Vec<usize> {
        let mut nodes: Vec<usize> = (0..3).collect();
        nodes.sort_by_key(|n| health.rank(&node(*n), now));
        nodes
    }

    #[test]
    fn the_nearest_is_first_and_one_slow_answer_changes_little() {
        let (health, now) = (Health::default(), Instant::now());
        for (n, ms) in [(0, 90), (1, 30), (2, 60)] {
            health.answered(&node(n), MS * ms, now);
        }
        assert_eq!(order(&health, now), [1, 2, 0]);
        health.answered(&node(1), MS * 100, now);
        assert_eq!(order(&health, now), [1, 2, 0]);
        for _ in 0..10 {
            health.answered(&node(1), MS * 100, now);
        }
        assert_eq!(order(&health, now), [2, 0, 1]);
    }

    #[test]
    fn who_fails_rests_longer_each_time_and_comes_back_at_once_when_it_answers() {
        let (health, now) = (Health::default(), Instant::now());
        for n in 0..3 {
            health.answered(&node(n), MS * 10, now);
        }
        let mut expected = Duration::from_secs(1);
        for _ in 0..12 {
            health.failed(&node(0), now);
            assert_eq!(order(&health, now), [1, 2, 0]);
            assert!(health.rank(&node(0), now + expected - MS).rests());
            assert!(!health.rank(&node(0), now + expected).rests());
            expected = (expected * 2).min(Duration::from_secs(300));
        }
        health.answered(&node(0), MS * 10, now);
        assert_eq!(order(&health, now), [0, 1, 2]);
    }

    #[test]
    fn who_was_never_measured_or_long_ago_is_measured_next() {
        let (health, now) = (Health::default(), Instant::now());
        health.answered(&node(0), MS * 10, now);
        health.answered(&node(1), MS * 20, now);
        assert_eq!(order(&health, now), [2, 0, 1]);
        let later = now + FRESH;
        health.answered(&node(2), MS * 30, later);
        health.answered(&node(0), MS * 10, later);
        assert_eq!(order(&health, later), [1, 0, 2]);
        // What counts no more is no part of the new average.
        health.answered(&node(1), MS * 5, later);
        assert_eq!(order(&health, later), [1, 0, 2]);
    }

    #[test]
    fn who_was_outrun_is_no_longer_the_nearest() {
        let (health, now) = (Health::default(), Instant::now());
        for n in 0..3 {
            health.answered(&node(n), MS * 10, now);
        }
        health.outrun(&node(0), MS * 100, now);
        assert_eq!(order(&health, now), [1, 2, 0]);
        assert_eq!(health.patience(&node(1), now), MS * 100);
        assert_eq!(health.patience(&node(0), now), MS * 400);
        assert_eq!(health.patience(&node(3), now), MS * 1000);
    }

    #[test]
    fn strangers_who_name_many_nodes_do_not_fill_the_memory() {
        let (health, now) = (Health::default(), Instant::now());
        for n in 0..2 * MAX_NODES {
            health.failed(&node(n), now + MS * u32::try_from(n).unwrap());
        }
        assert_eq!(health.lock().len(), MAX_NODES);
    }
}
