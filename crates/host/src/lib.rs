#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod config;
pub mod configuration;
pub mod egress;
pub mod front;
pub mod heartbeat;
pub mod host;
pub mod log;
pub mod notices;
pub mod pass;
pub mod rule;
pub mod supervisor;
