#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod abroad;
mod access;
mod api;
mod auth;
mod backup;
mod changes;
mod check;
mod clock;
mod config;
mod crowd;
mod databases;
mod did_documents;
mod directory;
mod finds;
mod identity;
mod limits_table;
mod metrics;
mod outbound;
mod peers;
mod query;
mod quota;
mod registry;
mod resolution;
mod server;
mod storage;
mod store;
mod stream;
mod throttle;
mod tls;
mod token;

pub use api::route;
pub use backup::{BackupError, Copied, back_up, restore};
pub use check::{Report, check};
pub use clock::Clock;
pub use config::{Config, ConfigError, ConfigFile, Limits};
pub use did_documents::{DidResolver, Freshness, Resolution, ResolveFailure};
pub use limits_table::LimitsTable;
pub use outbound::Reach;
pub use registry::MAX_LISTED;
pub use resolution::{InvalidRegistry, RegistryChoice};
pub use storage::{StartError, Storage};
pub use store::StoreError;
pub use throttle::{Proxy, Rates};
pub use tls::{Reload, TlsError, TlsFiles};
