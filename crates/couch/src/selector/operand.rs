//! The value on the right-hand side of a comparison.

use std::cmp::Ordering;
use std::fmt;

use serde_json::Value;

use crate::collate::{Key, compare_numbers, compare_text, number};
use crate::lazy_json::{Kind, LazyValue};

/// Whole numbers below this are told apart by doubles.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// A value to compare with: its key, and for the common kinds a form that compares without one.
#[derive(Clone)]
pub struct Operand {
    key: Key,
    form: Form,
}

#[derive(Clone)]
enum Form {
    Null,
    Bool(bool),
    Number(f64),
    Text(Box<str>),
    /// With its JSON text.
    Array(Box<str>),
    Object(Box<str>),
}

impl Operand {
    /// An operand for `value`.
    #[must_use]
    pub fn new(value: &Value) -> Self {
        let text = value.to_string();
        // The fallback is never used: what serde_json writes, the scanner reads.
        let key = LazyValue::first_of(text.as_bytes())
            .map(Key::of)
            .unwrap_or_default();
        let form = match value {
            Value::Null => Form::Null,
            Value::Bool(value) => Form::Bool(*value),
            Value::Number(value) => Form::Number(value.as_f64().unwrap_or(0.0)),
            Value::String(value) => Form::Text(value.as_str().into()),
            Value::Array(_) => Form::Array(text.into()),
            Value::Object(_) => Form::Object(text.into()),
        };
        Self { key, form }
    }

    /// The operand's place in the order.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// What kind of value it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.form {
            Form::Null => Kind::Null,
            Form::Bool(false) => Kind::False,
            Form::Bool(true) => Kind::True,
            Form::Number(_) => Kind::Number,
            Form::Text(_) => Kind::Text,
            Form::Array(_) => Kind::Array,
            Form::Object(_) => Kind::Object,
        }
    }

    /// The text, when it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match &self.form {
            Form::Text(text) => Some(text),
            Form::Null | Form::Bool(_) | Form::Number(_) | Form::Array(_) | Form::Object(_) => None,
        }
    }

    /// The value, for whoever tells what is compared.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match &self.form {
            Form::Null => Value::Null,
            Form::Bool(value) => Value::Bool(*value),
            // As it is written, where doubles are exact.
            Form::Number(value) if value.trunc() == *value && value.abs() < MAX_EXACT => {
                serde_json::json!(*value as i64)
            }
            Form::Number(value) => serde_json::json!(value),
            Form::Text(value) => Value::String(value.to_string()),
            Form::Array(text) | Form::Object(text) => {
                serde_json::from_str(text).unwrap_or_default()
            }
        }
    }

    /// How `value` compares to this operand.
    #[must_use]
    #[inline]
    pub fn order_of(&self, value: LazyValue<'_>) -> Ordering {
        let kind = value.kind();
        if kind != self.kind() {
            return kind.cmp(&self.kind());
        }
        match &self.form {
            Form::Null | Form::Bool(_) => Ordering::Equal,
            Form::Number(operand) => compare_numbers(number(value), *operand),
            Form::Text(operand) => match value.as_text() {
                Some(text) if !text.is_escaped() => compare_text(text.raw(), operand.as_bytes()),
                _ => Key::of(value).cmp(&self.key),
            },
            Form::Array(_) | Form::Object(_) => Key::of(value).cmp(&self.key),
        }
    }

    /// Whether `value` equals this operand.
    #[must_use]
    #[inline]
    pub fn is(&self, value: LazyValue<'_>) -> bool {
        if let (Form::Text(operand), Some(text)) = (&self.form, value.as_text())
            && !text.is_escaped()
        {
            return text.raw() == operand.as_bytes();
        }
        self.order_of(value).is_eq()
    }
}

/// Operands come from what a person asks about their own data.
impl fmt::Debug for Operand {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Operand({:?}, ..)", self.kind())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::collate;

    #[test]
    fn operands_compare_as_keys_do() {
        let values = [
            json!(null),
            json!(false),
            json!(true),
            json!(-1.5),
            json!(0),
            json!(2),
            json!(""),
            json!("a"),
            json!("a\"b"),
            json!("é"),
            json!("\u{ffff}"),
            json!("😀"),
            json!([]),
            json!([1]),
            json!({}),
            json!({"a": 1}),
            json!({"a": 1, "b": 2}),
        ];
        for left in &values {
            for right in &values {
                let (left_text, right_text) = (left.to_string(), right.to_string());
                let left_lazy = LazyValue::first_of(left_text.as_bytes()).unwrap();
                let right_lazy = LazyValue::first_of(right_text.as_bytes()).unwrap();
                let expected = collate::compare(left_lazy, right_lazy);
                let operand = Operand::new(right);
                assert_eq!(operand.order_of(left_lazy), expected, "{left} {right}");
                assert_eq!(operand.is(left_lazy), expected.is_eq(), "{left} {right}");
            }
        }
    }

    #[test]
    fn debug_output_keeps_the_value_to_itself() {
        assert_eq!(
            format!("{:?}", Operand::new(&json!("secret"))),
            "Operand(Text, ..)"
        );
    }
}
