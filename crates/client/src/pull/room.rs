//! Room for what is on its way from a peer that is not trusted.

/// Memory for rows that have arrived and were not handed over yet.
pub trait Room: Send + Sync {
    /// Reserves bytes until the reservation is dropped; `None` when there is no room.
    fn reserve(&self, bytes: usize) -> Option<Reserved>;
}

/// A reservation. Its room is given back when it is dropped.
pub type Reserved = Box<dyn Send>;

/// As much room as the machine has: for a client that pulls its own data from a node of its choice.
#[derive(Debug, Clone, Copy)]
pub struct Unlimited;

impl Room for Unlimited {
    fn reserve(&self, _bytes: usize) -> Option<Reserved> {
        Some(Box::new(()))
    }
}
