//! Objects of foreign making. A derived reader takes a list of its members' values, in the order in which we wrote them down, for an
//! object: what is behind [`Object`] is an object, or refused.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

/// Something that is read from an object, and from nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(Reader(PhantomData))
    }
}

/// Reads a text that is a JSON object.
pub fn read_object<'a, T: Deserialize<'a>>(text: &'a [u8]) -> serde_json::Result<T> {
    serde_json::from_slice(text).map(|Object(read)| read)
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::super::bounded::Bounded;
    use super::*;

    #[derive(serde::Deserialize, Debug)]
    #[serde(deny_unknown_fields)]
    struct Point<'a> {
        #[serde(borrow)]
        name: &'a RawValue,
        #[serde(default, borrow)]
        next: Option<Object<Inner<'a>>>,
    }

    #[derive(serde::Deserialize, Debug)]
    struct Inner<'a> {
        name: &'a str,
    }

    #[test]
    fn a_list_of_values_is_no_object() {
        let read = |text: &'static str| read_object::<Point<'_>>(text.as_bytes());
        let point = read(r#" {"name": [1, 2], "next": {"name": "n"}}"#).unwrap();
        assert_eq!(point.name.get(), "[1, 2]");
        assert_eq!(point.next.unwrap().0.name, "n");
        for text in [
            "[1]",
            r#"[1, {"name": "n"}]"#,
            r#"{"name": 1, "next": ["n"]}"#,
            "1",
            "null",
            "\"x\"",
            "[]",
        ] {
            assert!(read(text).unwrap_err().is_data(), "{text}");
        }
        let unknown = read(r#"{"name": 1, "x": 2}"#).unwrap_err();
        assert!(unknown.to_string().starts_with("unknown field"));
        assert!(read("{").unwrap_err().is_eof());
        let listed = serde_json::from_str::<Bounded<Object<Inner<'_>>, 2>>(r#"[["n"]]"#);
        assert!(listed.is_err());
    }
}
