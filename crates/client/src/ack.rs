//! How many of a context's storage nodes must have a write before it counts.
//!
//! Guarantees: what was acknowledged by [`Ack::Quorum`] is on more than half of the nodes that the context names, those included that
//! are away. Refuses to know: which nodes these are.

use std::fmt;
use std::str::FromStr;

/// How many nodes a write must have reached durably.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ack {
    /// One; the nodes replicate it among themselves.
    One,
    /// More than half of them.
    Quorum,
    /// Every one.
    All,
}

/// The text names no such choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected 1, quorum or all")]
pub struct InvalidAck;

impl Ack {
    /// What is meant when nobody says: a quorum where three nodes or more hold the context, else one.
    ///
    /// Of two nodes a quorum is both: whoever waits for it cannot write while either is away, and has no node more than a single
    /// one would give to fail. Such a price is for its owner to ask for, with [`Ack::All`].
    #[must_use]
    pub fn usual(nodes: usize) -> Self {
        match nodes {
            0..=2 => Self::One,
            3.. => Self::Quorum,
        }
    }

    /// How many of so many nodes that is. Never none.
    #[must_use]
    pub fn of(self, nodes: usize) -> usize {
        match self {
            Self::One => 1,
            Self::Quorum => nodes / 2 + 1,
            Self::All => nodes.max(1),
        }
    }
}

impl FromStr for Ack {
    type Err = InvalidAck;

    fn from_str(text: &str) -> Result<Self, InvalidAck> {
        match text {
            "1" => Ok(Self::One),
            "quorum" => Ok(Self::Quorum),
            "all" => Ok(Self::All),
            _ => Err(InvalidAck),
        }
    }
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::One => "1",
            Self::Quorum => "quorum",
            Self::All => "all",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Ack;

    #[test]
    fn a_quorum_is_more_than_half_and_two_quorums_always_meet() {
        for nodes in 1..20 {
            let quorum = Ack::Quorum.of(nodes);
            assert!(quorum <= nodes && 2 * quorum > nodes, "{nodes}");
            assert_eq!((Ack::One.of(nodes), Ack::All.of(nodes)), (1, nodes));
        }
    }

    #[test]
    fn three_nodes_make_the_usual_a_quorum_and_two_do_not() {
        let usual: Vec<Ack> = (0..5).map(Ack::usual).collect();
        let (one, quorum) = (Ack::One, Ack::Quorum);
        assert_eq!(usual, [one, one, one, quorum, quorum]);
    }

    #[test]
    fn it_is_read_as_it_is_printed_and_nothing_else_is() {
        for ack in [Ack::One, Ack::Quorum, Ack::All] {
            assert_eq!(ack.to_string().parse(), Ok(ack));
        }
        for wrong in ["", "2", "0", "one", "QUORUM", "all "] {
            assert!(wrong.parse::<Ack>().is_err(), "{wrong}");
        }
    }
}
