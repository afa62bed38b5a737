#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

pub mod api;
pub mod attestation;
pub mod authn;
pub mod authz;
pub mod boot;
pub mod config;
pub mod grants;
pub mod harden;
pub mod memory;
pub mod node;
pub mod server;
pub mod tls;
pub mod vault;
pub mod zeroing_allocator;
