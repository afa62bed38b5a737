//! How many files and sockets the system lets this program have open. Connections that it does not wait in its queue, unanswered.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What follows from what the system allows now and at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Allowance {
    /// What to ask the system for, where that is more than it allows now.
    ask: Option<u64>,
    /// What there is in the end, where that is less than wanted.
    short: Option<u64>,
}

impl Allowance {
    /// None: without limit.
    fn of(current: Option<u64>, maximum: Option<u64>, wanted: u64) -> Self {
        let reach = maximum.map_or(wanted, |maximum| maximum.min(wanted));
        match current {
            Some(current) if current < wanted => Self {
                ask: (current < reach).then_some(reach),
                short: (reach < wanted).then_some(reach),
            },
            Some(_) | None => Self {
                ask: None,
                short: None,
            },
        }
    }
}

/// Asks the system for as many as are wanted, and says it when there are fewer: how many there are.
pub(crate) fn raise(wanted: u64) -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let mut allowance = Allowance::of(limit.current, limit.maximum, wanted);
    if let Some(ask) = allowance.ask {
        let asked = Rlimit {
            current: Some(ask),
            maximum: limit.maximum,
        };
        if setrlimit(Resource::Nofile, asked).is_err() {
            allowance.short = limit.current;
        }
    }
    let allowed = allowance.short?;
    tracing::warn!(
        allowed,
        wanted,
        "the system allows fewer open files than this node's limits need"
    );
    Some(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_is_asked_for_what_lacks_as_far_as_it_may_give() {
        let of = |current, maximum| {
            let Allowance { ask, short } = Allowance::of(current, maximum, 5_000);
            (ask, short)
        };
        assert_eq!(of(None, None), (None, None));
        assert_eq!(of(Some(5_000), Some(5_000)), (None, None));
        assert_eq!(of(Some(1_024), Some(1 << 20)), (Some(5_000), None));
        assert_eq!(of(Some(1_024), None), (Some(5_000), None));
        assert_eq!(of(Some(1_024), Some(4_096)), (Some(4_096), Some(4_096)));
        assert_eq!(of(Some(1_024), Some(1_024)), (None, Some(1_024)));
    }
}
