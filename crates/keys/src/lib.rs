#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod account;
pub mod context_session;
pub mod database_key;
pub mod dead_stack;
pub mod keyring;
pub mod record_cipher;
pub mod sealed_box;
mod secret;
mod signing_key;
#[cfg(test)]
mod vectors;

pub use secret::SecretBytes;
