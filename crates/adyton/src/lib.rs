#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod account;
pub mod args;
pub mod connect;
pub mod demo;
pub mod failure;
pub mod import;
pub mod mail;
pub mod node_access;
pub mod query;
pub mod receipts;
pub mod sandbox_node;
pub mod secret_file;
pub mod signals;
pub mod token;
pub mod upload;
