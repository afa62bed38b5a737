#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod bits;
mod column;
mod expand;
mod gather;
mod highlight;
mod index;
mod plan;
mod postings;
mod query;
mod search;
mod terms;
mod text;

pub use bits::Bits;
pub use highlight::{Highlighter, snippets};
pub use index::{Draft, Index, MAX_WORDS};
pub use plan::{FieldSet, MAX_FIELDS, Plan, PlannedField};
pub use query::{Query, QueryTooLarge, parse_time};
pub use search::{
    After, Combine, FieldNotSeen, Gathered, Hit, Match, Options, Prefix, Sight, Spelling,
    Statistics,
};
