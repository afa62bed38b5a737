#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

pub mod vault;
pub mod zeroing_allocator;
