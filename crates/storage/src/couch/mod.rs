//! The second store: an existing Apache CouchDB 3.x in the original's layout (ADR 27).
//!
//! Guarantees: what the original keeps in CouchDB is read and written there in its shapes, so either node can take the other's
//! place; what a user could have written there directly is believed only as far as hashes prove it. Nothing is kept in memory
//! that CouchDB has not acknowledged.

pub(crate) mod client;
mod config;
pub(crate) mod databases;
pub(crate) mod designs;
pub(crate) mod layout;
pub(crate) mod reading;
pub(crate) mod records;
pub(crate) mod request;
pub(crate) mod start;

pub use self::config::CouchConfig;
pub(crate) use self::config::CouchTable;
