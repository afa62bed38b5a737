#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod address;
pub mod canonical_json;
pub mod consent;
pub mod context;
pub mod context_config;
pub mod database;
pub mod did;
pub mod did_document;
pub mod did_registry;
pub mod hash;
pub mod jwt;
pub mod problem;
pub mod receipt;
pub mod record_signature;
pub mod schema;
pub mod scope;
pub mod signature;
pub mod uri;
