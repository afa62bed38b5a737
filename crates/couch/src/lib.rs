#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod document;
pub mod limits;
pub mod rev;
pub mod rev_tree;
pub mod seq;
pub mod wire;
