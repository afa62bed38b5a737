#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod approval;
pub mod asking;
pub mod authorization;
pub mod challenge;
pub mod client;
pub mod client_id;
pub mod client_metadata;
pub mod client_name;
pub mod consent;
pub mod did_signature;
pub mod dpop;
pub mod form;
pub mod jwk;
pub mod jws;
mod kept_client;
pub mod metadata;
pub mod origin;
pub mod pkce;
pub mod redirect_uri;
pub mod refused;
pub mod replay;
pub mod token_request;

pub use kept_client::InvalidKeptClient;
