#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod public_address;

#[cfg(feature = "http")]
pub mod body;
#[cfg(feature = "http")]
pub mod names;
#[cfg(feature = "http")]
pub mod reach;
#[cfg(feature = "http")]
pub mod tls;

#[cfg(feature = "http")]
pub use self::reach::{Denied, Reach};
