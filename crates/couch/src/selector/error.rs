//! Why a selector was refused. Always the caller's fault.

use super::pattern::PatternError;

/// Why a selector, path or pattern was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectorError {
    /// More bytes than [`Selector::MAX_BYTES`](super::Selector::MAX_BYTES).
    #[error("selector is longer than {} bytes", super::Selector::MAX_BYTES)]
    TooLong,
    /// More nested than [`Selector::MAX_DEPTH`](super::Selector::MAX_DEPTH).
    #[error("selector is nested deeper than {} levels", super::Selector::MAX_DEPTH)]
    TooDeep,
    /// More terms than [`Selector::MAX_TERMS`](super::Selector::MAX_TERMS).
    #[error("selector has more than {} terms", super::Selector::MAX_TERMS)]
    TooManyTerms,
    /// A path over its limits.
    #[error("field path is too long")]
    PathTooLong,
    /// Not JSON.
    #[error("selector is not valid json")]
    NotJson,
    /// JSON, but no object.
    #[error("selector must be an object")]
    NotAnObject,
    /// An operator that does not exist.
    #[error(
        "unknown operator \"{0}\" - should be one of $eq, $lte, $lt, $gt, $gte, $exists, $ne, $in, \
         $nin, $size, $mod, $regex, $elemMatch, $type, $allMatch, $all, $and, $or, $nor or $not"
    )]
    UnknownOperator(String),
    /// An operator with an operand it cannot use: the operator, and what it wants.
    #[error("query operator {0} must be {1}")]
    WrongOperand(&'static str, &'static str),
    /// A pattern that cannot be used.
    #[error("query operator $regex: {0}")]
    Pattern(#[from] PatternError),
}
