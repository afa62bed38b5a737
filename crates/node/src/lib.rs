#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

pub mod attestation;
pub mod harden;
pub mod server;
pub mod tls;
pub mod vault;
