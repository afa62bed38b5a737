#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod collate;
pub mod lazy_json;
pub mod selector;
