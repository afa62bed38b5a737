//! Lists of foreign length: the limit is checked while reading, before the memory is taken.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// A list of at most `N` items; one more is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounded<T, const N: usize>(pub Vec<T>);

impl<T, const N: usize> Default for Bounded<T, N> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for Bounded<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T, const N: usize>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Reader<T, N> {
            type Value = Bounded<T, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {N} items")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if items.len() == N {
                        return Err(de::Error::custom(TOO_MANY));
                    }
                    items.push(item);
                }
                Ok(Bounded(items))
            }
        }
        deserializer.deserialize_seq(Reader(PhantomData))
    }
}

/// The error text of a list that is too long.
pub(crate) const TOO_MANY: &str = "too many items";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_item_over_the_limit_is_refused() {
        assert_eq!(
            serde_json::from_str::<Bounded<u8, 2>>("[1,2]").unwrap().0,
            [1, 2]
        );
        let error = serde_json::from_str::<Bounded<u8, 2>>("[1,2,3]").unwrap_err();
        assert!(error.to_string().starts_with(TOO_MANY));
    }
}
