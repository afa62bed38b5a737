#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod address;
pub mod canonical_json;
pub mod hash;
