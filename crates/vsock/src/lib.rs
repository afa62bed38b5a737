#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod cid;
pub mod port;
pub mod stream;

/// Most bytes that are given to a vsock at once, on both sides: a device of an emulated enclave loses larger writes, and
/// a TLS record fits.
pub const MAX_WRITE: usize = 16 * 1024;
