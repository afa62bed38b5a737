#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod ack;
pub mod attested_node;
pub mod clock;
pub mod database;
pub mod database_registry;
pub mod did_directory;
pub mod did_resolver;
pub mod egress;
pub mod endpoint;
mod health;
pub mod identity;
mod nodes;
mod ping;
pub mod pull;
pub mod record;
mod replicas;
pub mod schema;
pub mod sealed_exchange;
pub mod sealed_record;
pub mod session;
pub mod storage_node;
pub mod transport;
mod writing;
