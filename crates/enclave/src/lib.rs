#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod cpio;
pub mod eif;
pub mod measure;
