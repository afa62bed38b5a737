//! Grants: what an owner allowed an app, and the tokens that stand for it.
//!
//! Guarantees: the node keeps no token, only its hash; the owner's session inside a grant is sealed with
//! a key that only the grant's tokens hold, so a node without one cannot open it; expiry and
//! revocation are checked at every use. Grants live in memory and end with the process, unless the configuration names a place where
//! they are kept as ciphertext (`docs/adr/0022`).

mod grant;
mod keeper;
mod kept;
mod life;
mod node_context;
mod pending;
mod rate;
mod sealed;
mod state;
mod store;
mod token;

pub use grant::{App, Grant, GrantError, GrantView, LiveGrant, MintError};
pub use life::GrantLife;
pub(crate) use node_context::NodeContext;
pub use pending::{ApproveError, Pending, PendingRequests, TooManyPending};
pub use rate::RateLeft;
pub(crate) use state::ACCESS_LIFE;
pub use store::{CodeBinding, ExchangeError, Grants, Minted, NotKept, TokenPair};
pub(crate) use token::TokenKind;
pub use token::TokenSecret;
