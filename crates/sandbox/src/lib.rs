#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod cluster;
pub mod simulated_tee;

pub use cluster::{Options, Sandbox};
pub use simulated_tee::SimulatedTee;
