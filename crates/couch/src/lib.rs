#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod attachment;
pub mod changes_feed;
pub mod collate;
pub mod document;
pub mod lazy_json;
pub mod limits;
pub mod mango;
pub mod multipart;
pub mod rev;
pub mod rev_tree;
pub mod selector;
pub mod seq;
pub mod wire;
