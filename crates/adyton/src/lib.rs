#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod account;
pub mod args;
pub mod connect;
pub mod failure;
pub mod import;
pub mod mail;
pub mod upload;
