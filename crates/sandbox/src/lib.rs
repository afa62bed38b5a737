#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod simulated_tee;

pub use simulated_tee::SimulatedTee;
