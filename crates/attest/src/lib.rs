#![doc = include_str!("../README.md")]
#![deny(unsafe_code)]

pub mod appraise;
pub mod attester;
pub mod batch;
pub mod binding;
pub mod evidence;
pub mod fact;
pub mod measurement;
pub mod nitro;
#[cfg(feature = "observe")]
pub mod observe;
pub mod policy;
pub mod record;
pub mod release;
pub mod signed_answer;
pub mod tdx;
mod words;

pub use appraise::{Appraised, Refusal, appraise};
pub use batch::{BatchProof, Challenge};
pub use binding::{
    AnswerKey, AttestedKeys, Binding, ChannelBinding, ConfigDigest, Exporter, HpkeKey, Nonce, Seen,
    Spki,
};
pub use evidence::{Evidence, TeeKind};
pub use policy::Policy;
pub use words::with_causes;
