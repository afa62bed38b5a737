//! Tenants and their databases: loaded on the first request, followed, written through, evicted.
//!
//! The records themselves are in [`crate::memory`]; here is who owns them and how they come and go.

mod admission;
mod cursor;
mod database_task;
mod error;
mod lanes;
mod limits;
mod loaded;
mod loading;
mod patience;
mod receipt;
mod room;
mod schedule;
mod schemas;
mod search;
mod tenant;
#[allow(
    clippy::module_inception,
    reason = "the vault is the door of this module"
)]
mod vault;
mod watch;
mod watch_seats;

pub use cursor::Cursors;
pub use database_task::{BulkSaved, Saved};
pub use error::VaultError;
pub use limits::VaultLimits;
pub use loading::LoadedSoFar;
pub(crate) use patience::{Patience, StillLoading};
pub use schemas::TenantSchemas;
pub(crate) use schemas::record_of;
pub use vault::{Answer, Found, Vault};
pub use watch::{Beginning, Ended, Watch, Word};
pub use watch_seats::{TooManyWatches, WatchLimits};
