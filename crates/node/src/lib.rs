#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

pub mod api;
pub mod attestation;
pub mod authn;
pub mod authz;
pub mod boot;
pub mod client_documents;
mod compressed_answers;
mod computing;
pub mod config;
pub mod grants;
pub mod harden;
pub mod key_release;
pub mod local_http;
pub mod machine;
pub mod memory;
pub mod node;
pub mod receipts;
mod sealed_requests;
pub mod server;
mod signed_answers;
pub mod tee;
pub mod tls;
pub mod vault;
pub mod zeroing_allocator;
