//! The total order of JSON values, as CouchDB and PouchDB sort them:
//! null < false < true < numbers < strings < arrays < objects.
//!
//! Guarantees: the order lives in one place, the byte encoding of [`Key`]; keys compare as plain
//! bytes and everything else in this crate agrees with them. Numbers compare as doubles, strings
//! by UTF-16 code units, arrays element by element and then by length. Objects compare by their
//! members sorted by name (PouchDB takes the order they were written in, so that equal objects
//! can differ; see `selector/SPEC.md`). Refuses to know: what lies more than [`MAX_DEPTH`] levels
//! deep; values that differ only there are equal.

use std::cmp::Ordering;

use crate::lazy_json::{Kind, LazyText, LazyValue, Piece};

/// How many levels of arrays and objects take part in the order.
pub const MAX_DEPTH: usize = 40;

const END: u8 = 0;
const NULL: u8 = 1;
const FALSE: u8 = 2;
const TRUE: u8 = 3;
const NUMBER: u8 = 4;
const TEXT: u8 = 5;
const ARRAY: u8 = 6;
const OBJECT: u8 = 7;

/// A JSON value in the form in which comparing bytes compares values.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Box<[u8]>);

impl Key {
    /// The key of `value`.
    #[must_use]
    pub fn of(value: LazyValue<'_>) -> Self {
        let mut encoder = Encoder::new(Vec::new(), usize::MAX);
        encoder.value(value, 0);
        Self(encoder.out.into())
    }

    /// The key as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The first byte of every key of that kind, and the first byte of no smaller value's key.
    #[must_use]
    pub fn first_byte(kind: Kind) -> u8 {
        match kind {
            Kind::Null => NULL,
            Kind::False => FALSE,
            Kind::True => TRUE,
            Kind::Number => NUMBER,
            Kind::Text => TEXT,
            Kind::Array => ARRAY,
            Kind::Object => OBJECT,
        }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Key(..)")
    }
}

/// Appends the key of `value` to `out`, but no more than `limit` bytes of it: a key of exactly
/// `limit` bytes may be cut off, a shorter one is whole.
pub fn write_key(value: LazyValue<'_>, limit: usize, out: &mut Vec<u8>) {
    let end = out.len().saturating_add(limit);
    let mut encoder = Encoder::new(std::mem::take(out), end);
    encoder.value(value, 0);
    *out = encoder.out;
    out.truncate(end);
}

/// Compares two values.
#[must_use]
pub fn compare(left: LazyValue<'_>, right: LazyValue<'_>) -> Ordering {
    left.kind()
        .cmp(&right.kind())
        .then_with(|| match left.kind() {
            Kind::Null | Kind::False | Kind::True => Ordering::Equal,
            Kind::Number => compare_numbers(number(left), number(right)),
            Kind::Text | Kind::Array | Kind::Object => Key::of(left).cmp(&Key::of(right)),
        })
}

pub(crate) fn compare_numbers(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right).unwrap_or(Ordering::Equal)
}

/// Compares two strings by UTF-16 code units. In UTF-8 the order of bytes is the same, except that
/// the characters beyond U+FFFF, whose bytes begin with 0xF0 and up, sort below U+E000..U+FFFF.
#[must_use]
pub fn compare_text(left: &[u8], right: &[u8]) -> Ordering {
    match left.iter().zip(right).find(|(left, right)| left != right) {
        None => left.len().cmp(&right.len()),
        Some((left, right)) => {
            let rank = |byte: u8| {
                if byte == 0xEE || byte == 0xEF {
                    byte + 0x10
                } else {
                    byte
                }
            };
            rank(*left).cmp(&rank(*right))
        }
    }
}

pub(crate) fn number(value: LazyValue<'_>) -> f64 {
    value.as_number().unwrap_or(0.0)
}

/// Writes keys: one byte for the kind; then eight for a number, the code units as CESU-8 (whose
/// byte order is that of UTF-16) with an end byte for a string, the contents with an end byte for
/// an array or object.
struct Encoder {
    out: Vec<u8>,
    /// No more is read once `out` is this long.
    enough: usize,
}

impl Encoder {
    fn new(out: Vec<u8>, enough: usize) -> Self {
        Self { out, enough }
    }

    fn value(&mut self, value: LazyValue<'_>, depth: usize) {
        self.out.push(Key::first_byte(value.kind()));
        match value.kind() {
            Kind::Null | Kind::False | Kind::True => {}
            Kind::Number => self.number(number(value)),
            Kind::Text => {
                if let Some(text) = value.as_text() {
                    self.text(text);
                }
            }
            Kind::Array if depth < MAX_DEPTH => {
                for element in value.elements().into_iter().flatten() {
                    if self.out.len() >= self.enough {
                        return;
                    }
                    self.value(element, depth + 1);
                }
                self.out.push(END);
            }
            Kind::Object if depth < MAX_DEPTH => self.object(value, depth),
            Kind::Array | Kind::Object => self.out.push(END),
        }
    }

    fn number(&mut self, number: f64) {
        // Adding zero turns -0 into 0, which is its equal.
        let bits = (number + 0.0).to_bits();
        let ordered = if bits >> 63 == 1 {
            !bits
        } else {
            bits | 1 << 63
        };
        self.out.extend_from_slice(&ordered.to_be_bytes());
    }

    fn object(&mut self, value: LazyValue<'_>, depth: usize) {
        let mut members: Vec<(Vec<u8>, LazyValue<'_>)> = Vec::new();
        for member in value.members().into_iter().flatten() {
            let mut name = Encoder::new(Vec::new(), usize::MAX);
            name.out.push(TEXT);
            name.text(member.name);
            members.push((name.out, member.value));
        }
        members.sort_by(|left, right| left.0.cmp(&right.0));
        // Of members of the same name the first counts, as everywhere in this crate.
        members.dedup_by(|later, earlier| later.0 == earlier.0);
        for (name, value) in members {
            if self.out.len() >= self.enough {
                return;
            }
            self.out.extend_from_slice(&name);
            self.value(value, depth + 1);
        }
        self.out.push(END);
    }

    fn text(&mut self, text: LazyText<'_>) {
        if text.is_escaped() {
            for piece in text.pieces() {
                if self.out.len() >= self.enough {
                    return;
                }
                match piece {
                    Piece::Plain(bytes) => self.plain(bytes),
                    Piece::Char(character) => {
                        self.plain(character.encode_utf8(&mut [0; 4]).as_bytes());
                    }
                    Piece::Surrogate(unit) => self.surrogate(unit),
                }
            }
        } else {
            self.plain(text.raw());
        }
        self.out.push(END);
    }

    fn plain(&mut self, bytes: &[u8]) {
        // Three more than wanted, so that the last character wanted is whole.
        let wanted = self.enough.saturating_sub(self.out.len()).saturating_add(3);
        let bytes = bytes.get(..wanted).unwrap_or(bytes);
        if bytes.iter().all(|byte| (2..0xF0).contains(byte)) {
            self.out.extend_from_slice(bytes);
            return;
        }
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                // The end byte must sort below everything in a string, so 0 and 1 take two bytes.
                0 | 1 => self.out.extend_from_slice(&[1, byte + 1]),
                0xF0.. => {
                    let character = bytes.get(at..at + 4).and_then(|four| {
                        std::str::from_utf8(four)
                            .ok()?
                            .chars()
                            .next()
                            .map(u32::from)
                    });
                    // `None` only behind what is wanted, or in bytes that are no UTF-8.
                    let above = character.unwrap_or(0x1_0000).saturating_sub(0x1_0000);
                    self.surrogate(0xD800 | (above >> 10) as u16);
                    self.surrogate(0xDC00 | (above & 0x3FF) as u16);
                }
                0x80..0xC0 if in_long_character(bytes, at) => {}
                _ => self.out.push(*byte),
            }
        }
    }

    fn surrogate(&mut self, unit: u16) {
        let [high, low] = unit.to_be_bytes();
        self.out.extend_from_slice(&[
            0xE0 | high >> 4,
            0x80 | (high & 0x0F) << 2 | low >> 6,
            0x80 | low & 0x3F,
        ]);
    }
}

/// Whether the continuation byte at `at` belongs to a character of four bytes.
fn in_long_character(bytes: &[u8], at: usize) -> bool {
    (1..=3).any(|back| {
        at.checked_sub(back)
            .and_then(|lead| bytes.get(lead))
            .is_some_and(|lead| *lead >= 0xF0)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// The order, written down a second time in the plainest way.
    fn model(left: &Value, right: &Value) -> Ordering {
        fn rank(value: &Value) -> u8 {
            match value {
                Value::Null => 1,
                Value::Bool(false) => 2,
                Value::Bool(true) => 3,
                Value::Number(_) => 4,
                Value::String(_) => 5,
                Value::Array(_) => 6,
                Value::Object(_) => 7,
            }
        }
        match (left, right) {
            (Value::Number(left), Value::Number(right)) => left
                .as_f64()
                .unwrap()
                .partial_cmp(&right.as_f64().unwrap())
                .unwrap(),
            (Value::String(left), Value::String(right)) => {
                left.encode_utf16().cmp(right.encode_utf16())
            }
            (Value::Array(left), Value::Array(right)) => left
                .iter()
                .zip(right)
                .map(|(left, right)| model(left, right))
                .find(|order| order.is_ne())
                .unwrap_or(left.len().cmp(&right.len())),
            (Value::Object(left), Value::Object(right)) => {
                let sorted = |object: &serde_json::Map<String, Value>| {
                    let mut members: Vec<_> = object
                        .iter()
                        .map(|(name, value)| (name.clone(), value.clone()))
                        .collect();
                    members.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
                    members
                };
                let (left, right) = (sorted(left), sorted(right));
                left.iter()
                    .zip(&right)
                    .map(|(left, right)| {
                        left.0
                            .encode_utf16()
                            .cmp(right.0.encode_utf16())
                            .then_with(|| model(&left.1, &right.1))
                    })
                    .find(|order| order.is_ne())
                    .unwrap_or(left.len().cmp(&right.len()))
            }
            _ => rank(left).cmp(&rank(right)),
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let text = proptest::collection::vec(
            prop_oneof![
                Just('a'),
                Just('b'),
                Just('\0'),
                Just('\u{1}'),
                Just('\u{2}'),
                Just('é'),
                Just('\u{ffff}'),
                Just('\u{e000}'),
                Just('😀'),
                Just('\u{10ffff}'),
                Just('\\'),
                Just('"'),
                any::<char>()
            ],
            0..5,
        )
        .prop_map(|characters| characters.into_iter().collect::<String>());
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            (-3i64..4).prop_map(Value::from),
            any::<f64>().prop_filter_map("finite", |number| {
                serde_json::Number::from_f64(number).map(Value::Number)
            }),
            text.clone().prop_map(Value::String),
        ];
        leaf.prop_recursive(3, 16, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
                proptest::collection::vec((text.clone(), inner), 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn lazy(text: &str) -> LazyValue<'_> {
        LazyValue::first_of(text.as_bytes()).unwrap()
    }

    proptest! {
        #[test]
        fn keys_order_as_the_model_orders(left in json(), right in json()) {
            let (left_text, right_text) = (left.to_string(), right.to_string());
            let (left_lazy, right_lazy) = (lazy(&left_text), lazy(&right_text));
            let expected = model(&left, &right);
            prop_assert_eq!(Key::of(left_lazy).cmp(&Key::of(right_lazy)), expected);
            prop_assert_eq!(compare(left_lazy, right_lazy), expected);
            if let (Value::String(left), Value::String(right)) = (&left, &right) {
                prop_assert_eq!(compare_text(left.as_bytes(), right.as_bytes()), expected);
            }
        }

        #[test]
        fn a_cut_key_is_the_beginning_of_the_whole_key(value in json(), limit in 0_usize..40) {
            let text = value.to_string();
            let mut cut = b"before".to_vec();
            write_key(lazy(&text), limit, &mut cut);
            let whole = Key::of(lazy(&text));
            let cut = cut.strip_prefix(b"before").unwrap();
            let expected = whole.as_bytes().get(..limit).unwrap_or(whole.as_bytes());
            prop_assert_eq!(cut, expected);
        }
    }

    #[test]
    fn a_lone_surrogate_has_its_place() {
        let ordered = [
            r#""\ud7ff""#,
            r#""\ud83d""#,
            r#""\ud83da""#,
            "\"😀\"",
            r#""\ud83e""#,
            "\"\u{e000}\"",
        ];
        for pair in ordered.windows(2) {
            assert_eq!(
                compare(lazy(pair[0]), lazy(pair[1])),
                Ordering::Less,
                "{pair:?}"
            );
        }
        assert_eq!(
            compare(lazy(r#""\ud83d\ude00""#), lazy("\"😀\"")),
            Ordering::Equal
        );
    }

    #[test]
    fn what_lies_too_deep_is_equal() {
        let deep = |levels: usize, inside: &str| {
            format!("{}{inside}{}", "[".repeat(levels), "]".repeat(levels))
        };
        let (one, two) = (deep(MAX_DEPTH, "1"), deep(MAX_DEPTH, "2"));
        assert_eq!(compare(lazy(&one), lazy(&two)), Ordering::Less);
        let (one, two) = (deep(100_000, "1"), deep(100_000, "2"));
        assert_eq!(compare(lazy(&one), lazy(&two)), Ordering::Equal);
    }

    #[test]
    fn numbers_compare_as_doubles() {
        for (left, right) in [
            ("0", "-0.0"),
            ("1", "1.0e0"),
            ("9007199254740993", "9007199254740992"),
        ] {
            assert_eq!(compare(lazy(left), lazy(right)), Ordering::Equal);
            assert_eq!(Key::of(lazy(left)), Key::of(lazy(right)));
        }
    }
}
