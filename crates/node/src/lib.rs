#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

pub mod api;
pub mod authn;
pub mod authz;
pub mod config;
pub mod grants;
pub mod memory;
pub mod vault;
