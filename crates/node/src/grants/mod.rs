//! Grants: what an owner allowed an app, and the tokens that stand for it.
//!
//! Guarantees: the node keeps no token, only its hash; the owner's session inside a grant is sealed with
//! a key that only the grant's tokens hold, so a node without one cannot open it; expiry and
//! revocation are checked at every use. Grants live in memory and end with the process.

mod grant;
mod life;
mod pending;
mod rate;
mod sealed;
mod store;
mod token;

pub use grant::{App, Grant, GrantError, GrantView, LiveGrant, MintError};
pub use life::GrantLife;
pub use pending::{ApproveError, Pending, PendingRequests, TooManyPending};
pub use rate::RateLeft;
pub(crate) use store::ACCESS_LIFE;
pub use store::{CodeBinding, ExchangeError, Grants, Minted, TokenPair};
pub(crate) use token::TokenKind;
pub use token::TokenSecret;
