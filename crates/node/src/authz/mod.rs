//! What a caller may do: a [`Permit`], without which the vault cannot be read or written.
//!
//! Guarantees: a permit names tenant, resource and action, and exists only when the owner acts or a
//! live grant covers exactly that. Refuses to know: HTTP, and how data is kept.

mod permit;

pub use permit::{Delete, Denied, Owner, Permit, PermitAction, Read, Resolve, Write};
