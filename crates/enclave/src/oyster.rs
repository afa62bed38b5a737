//! Marlin Oyster: what an enclave that runs somebody's compose file there will measure, and whose policy that makes.
//!
//! Guarantees: digest, register and image id are those that Oyster's own programs compute, and a compose file that leaves
//! open which image runs is refused before anything is computed of it. Refuses to know: networks, wallets, deploying.

pub mod base;
pub mod compose;
pub mod params;
pub mod policy;

pub use base::BaseImage;
pub use compose::{Compose, ComposeError};
pub use params::{InitParam, InitParams, ParamError};
