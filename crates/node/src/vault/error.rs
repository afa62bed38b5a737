//! Why the vault could not do what it was asked.

use adyton_client::database::WriteError;
use adyton_client::pull::PullError;
use adyton_client::record::InvalidRecord;
use adyton_client::schema;
use adyton_client::session::SessionError;
use adyton_couch::rev::Rev;
use adyton_keys::context_session::InvalidSession;

use super::lanes::LaneFull;
use super::watch_seats::TooManyWatches;
use crate::grants::GrantError;
use crate::memory::{OverBudget, QueryError};
use crate::receipts::Unwritable;

/// The vault could not do what it was asked.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// No such record for this caller.
    #[error("there is no such record")]
    NotFound,
    /// The record exists but was not written by this user, or was damaged.
    #[error("the record cannot be opened: it was altered, moved, or sealed with another key")]
    Unreadable,
    /// Nothing in the database opens with the user's key.
    #[error("no record of this database opens with the user's key")]
    NothingOpens,
    /// There is no memory for this.
    #[error("the memory budget is exhausted")]
    Overloaded,
    /// The grant has ended since the request came.
    #[error(transparent)]
    Grant(GrantError),
    /// No receipts can be written.
    #[error(transparent)]
    Receipts(#[from] Unwritable),
    /// Too much is watched.
    #[error(transparent)]
    Watches(#[from] TooManyWatches),
    /// There is not as much memory for this as it takes, and never will be here.
    #[error("the data is larger than this node holds for one user")]
    TooLarge,
    /// The caller did not want to wait until the data is loaded.
    #[error("the data is still being loaded")]
    StillLoading,
    /// The query cannot be answered.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The record was changed since, or exists already.
    #[error("the record was changed meanwhile")]
    Conflict {
        /// The current revision, when it is known.
        current: Option<Rev>,
    },
    /// The record cannot be saved.
    #[error(transparent)]
    Record(#[from] InvalidRecord),
    /// The record does not fit its schema.
    #[error("the record does not fit its schema")]
    Schema(schema::InvalidRecord),
    /// Some records of a bulk write cannot be saved: their places, and why. Nothing was written.
    #[error("some of the records cannot be saved, and none was")]
    Bulk(Vec<(usize, VaultError)>),
    /// The user's session is not valid.
    #[error(transparent)]
    InvalidSession(#[from] InvalidSession),
    /// The storage side does not work.
    #[error(transparent)]
    Storage(#[from] SessionError),
    /// A write is on fewer storage nodes than it must be on.
    #[error(transparent)]
    Acknowledged(WriteError),
    /// The storage node broke the protocol.
    #[error(transparent)]
    Pull(PullError),
    /// Loading took too long.
    #[error("loading the data took too long")]
    LoadTimeout,
    /// The tenant was evicted or the node is ending.
    #[error("the data was unloaded")]
    Stopped,
}

impl From<OverBudget> for VaultError {
    fn from(_: OverBudget) -> Self {
        Self::Overloaded
    }
}

impl From<LaneFull> for VaultError {
    fn from(_: LaneFull) -> Self {
        Self::Overloaded
    }
}

impl VaultError {
    /// Whether this tells of the storage node that was asked, and another node of the context may do better.
    pub(super) fn is_of_one_node(&self) -> bool {
        matches!(
            self,
            Self::Storage(SessionError::Transport(_) | SessionError::Refused { status: 500.. })
                | Self::Pull(PullError::Misbehaved(_))
        )
    }
}

impl From<PullError> for VaultError {
    fn from(error: PullError) -> Self {
        match error {
            PullError::Session(error) => Self::Storage(error),
            PullError::Stopped => Self::Stopped,
            PullError::NoRoom => Self::Overloaded,
            other => Self::Pull(other),
        }
    }
}

impl From<WriteError> for VaultError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Session(error) => Self::Storage(error),
            WriteError::Record(error) => Self::Record(error),
            WriteError::Conflict => Self::Conflict { current: None },
            WriteError::Unconfirmed { .. } | WriteError::TooFewNodes { .. } => {
                Self::Acknowledged(error)
            }
            // Future kinds are failures of the storage side.
            _ => Self::Stopped,
        }
    }
}
