//! From text to words: what is a word, and which words are the same.

mod fold;
mod language;
mod noise;
mod words;

pub(crate) use language::{Language, Languages};
pub(crate) use words::{Reading, Words};
