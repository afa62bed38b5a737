#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

pub mod appraise;
pub mod attester;
pub mod binding;
pub mod evidence;
pub mod fact;
pub mod nitro;
#[cfg(feature = "observe")]
pub mod observe;
pub mod policy;
pub mod tdx;
mod words;

pub use appraise::{Appraised, Refusal, appraise};
pub use binding::{Binding, ChannelBinding, ConfigDigest, Exporter, Nonce, Seen, Spki};
pub use evidence::{Evidence, TeeKind};
pub use policy::Policy;
