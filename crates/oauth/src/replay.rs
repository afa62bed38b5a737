//! What may be used once: remembered until it could not be used any more anyway.

use std::collections::{BTreeSet, HashMap};
use std::time::SystemTime;

use aws_lc_rs::digest::{Context, SHA256};

use crate::refused::{ErrorCode, Refused};

/// Names a thing that may be used once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OnceId([u8; 32]);

impl OnceId {
    /// The name of something that these parts make, and no other parts.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut id = [0; 32];
        id.copy_from_slice(context.finish().as_ref());
        Self(id)
    }
}

/// What was used. Bounded: when it is full of things that could be used again, nothing more is accepted.
#[derive(Debug)]
pub struct Replays {
    until: HashMap<OnceId, SystemTime>,
    order: BTreeSet<(SystemTime, OnceId)>,
    capacity: usize,
}

impl Replays {
    /// Room for this many.
    pub fn new(capacity: usize) -> Self {
        Self {
            until: HashMap::new(),
            order: BTreeSet::new(),
            capacity,
        }
    }

    /// Accepts the first use of something that is valid until then.
    pub fn use_once(
        &mut self,
        id: OnceId,
        until: SystemTime,
        now: SystemTime,
        used: Refused,
    ) -> Result<(), Refused> {
        while let Some(first) = self
            .order
            .first()
            .copied()
            .filter(|(until, _)| *until < now)
        {
            self.order.remove(&first);
            self.until.remove(&first.1);
        }
        if self.until.contains_key(&id) {
            return Err(used);
        }
        if self.until.len() >= self.capacity {
            return Err(Refused::new(
                ErrorCode::TemporarilyUnavailable,
                "the node remembers too many requests; try again in a minute",
            ));
        }
        self.until.insert(id, until);
        self.order.insert((until, id));
        Ok(())
    }
}
