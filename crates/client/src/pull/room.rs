//! What a pull may take of the machine, which others use too: room for what is on its way from a peer that is not
//! trusted, and turns of the processor for opening it.

use std::future::Future;
use std::pin::Pin;

/// Memory for rows that have arrived and were not handed over yet, and turns to open them.
pub trait Room: Send + Sync {
    /// Reserves bytes until the reservation is dropped; `None` when there is no room.
    fn reserve(&self, bytes: usize) -> Option<Reserved>;

    /// Waits until a batch of rows may be opened; it is opened when what this gives is dropped. `None` when there is no room.
    fn turn(&self) -> Turn<'_> {
        Box::pin(std::future::ready(Some(Box::new(()) as Reserved)))
    }
}

/// Waiting for a turn.
pub type Turn<'a> = Pin<Box<dyn Future<Output = Option<Reserved>> + Send + 'a>>;

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
