#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod cluster;
pub mod simulated_tee;
pub mod slow_device;
pub mod storage_nodes;

pub use cluster::{Options, Sandbox};
pub use simulated_tee::SimulatedTee;
pub use slow_device::SlowDevice;
pub use storage_nodes::StorageNodes;
