#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod cid;
pub mod configuration;
pub mod egress;
pub mod notice;
pub mod port;
pub mod stream;

#[cfg(feature = "tokio")]
pub mod enclave;
#[cfg(feature = "tokio")]
pub mod guest;
#[cfg(feature = "tokio")]
pub mod hybrid;
#[cfg(feature = "tokio")]
pub mod lingering;
#[cfg(feature = "tokio")]
pub mod paced;
#[cfg(feature = "tokio")]
pub mod socket;

/// Most bytes that are given to a vsock at once, on both sides: a device of an emulated enclave loses larger writes, and
/// a TLS record fits.
pub const MAX_WRITE: usize = 16 * 1024;
