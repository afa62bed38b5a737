//! Grants: what an owner allowed an app, and the access tokens that stand for it.
//!
//! Guarantees: the node keeps no token, only its hash; the owner's session inside a grant is sealed with
//! a key that only the token holds, so a node without the token cannot open it; expiry and
//! revocation are checked at every use. Grants live in memory and end with the process.

mod life;
mod store;
mod token;

pub use life::GrantLife;
pub use store::{Grant, GrantError, GrantView, Grants, LiveGrant, MintError, Minted};
pub use token::TokenSecret;
