#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod cache;
pub mod chain;
pub mod directory;
pub mod json_rpc;
pub mod registry;
pub mod registry_file;
pub mod resolver;
mod turns;
pub mod web;
