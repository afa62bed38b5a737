#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod cpio;
pub mod digest;
pub mod eif;
pub mod image;
pub mod kernel;
pub mod measure;
pub mod measurements;
pub mod oyster;
pub mod programs;
pub mod progress;
pub mod recipe;
pub mod tool;
