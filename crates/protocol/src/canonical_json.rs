//! Canonical JSON as the reference's `json.sortify` writes it (`spec/protocol.md` §3.2). Not RFC 8785.

use serde_json::{Number, Value};

/// The value has members that the reference silently drops or alters, so that two different values
/// would share one signature. Refused instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotCanonical {
    /// An object key is a decimal integer that is not exactly a double.
    #[error("a decimal object key is too large to be canonical")]
    DecimalKey,
    /// An object has a member called `__proto__`.
    #[error("an object member is called __proto__")]
    ProtoKey,
    /// A number is an integer beyond ±2^53, which loses precision as a double.
    #[error("an integer is too large to be canonical")]
    LargeInteger,
}

/// Writes `value` as canonical JSON text.
///
/// Refuses what the reference loses (rule 3.2.3 c and d, and integers beyond 2^53): see
/// `spec/protocol.md` §21.14.
pub fn to_string(value: &Value) -> Result<String, NotCanonical> {
    let mut out = String::new();
    write_value(value, &mut out, Strictness::Refuse)?;
    Ok(out)
}

/// Writes `value` exactly as the reference does, dropping what it drops. For reproducing recorded
/// texts only; nothing that is signed or checked may use it.
pub fn to_string_lossy_like_reference(value: &Value) -> String {
    let mut out = String::new();
    // Infallible: nothing is refused in this mode.
    let _: Result<(), NotCanonical> = write_value(value, &mut out, Strictness::DropLikeReference);
    out
}

#[derive(Clone, Copy, PartialEq)]
enum Strictness {
    Refuse,
    DropLikeReference,
}

fn write_value(value: &Value, out: &mut String, mode: Strictness) -> Result<(), NotCanonical> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => write_number(number, out, mode)?,
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_value(item, out, mode)?;
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut keys = Vec::with_capacity(members.len());
            for (key, member) in members {
                match Key::of(key) {
                    Ok(sort_key) => keys.push((sort_key, key, member)),
                    Err(refusal) if mode == Strictness::Refuse => return Err(refusal),
                    Err(_) => {}
                }
            }
            keys.sort_by(|(a, ..), (b, ..)| a.cmp(b));
            out.push('{');
            for (i, (_, key, member)) in keys.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_text(key, out);
                out.push(':');
                write_value(member, out, mode)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

/// Order of object members: decimal keys first by number, then all others by UTF-16 code unit.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Decimal(u128),
    Text(Vec<u16>),
}

impl Key {
    fn of(key: &str) -> Result<Self, NotCanonical> {
        if key == "__proto__" {
            return Err(NotCanonical::ProtoKey);
        }
        let decimal = key == "0" || (!key.starts_with('0') && !key.is_empty());
        if !(decimal && key.bytes().all(|b| b.is_ascii_digit())) {
            return Ok(Self::Text(key.encode_utf16().collect()));
        }
        // A decimal key survives only when its double prints the same digits again.
        let double: f64 = key.parse().map_err(|_| NotCanonical::DecimalKey)?;
        if ryu_js::Buffer::new().format(double) == key {
            key.parse()
                .map(Self::Decimal)
                .map_err(|_| NotCanonical::DecimalKey)
        } else {
            Err(NotCanonical::DecimalKey)
        }
    }
}

fn write_number(number: &Number, out: &mut String, mode: Strictness) -> Result<(), NotCanonical> {
    const EXACT: u64 = 1 << 53;
    let inexact = match (number.as_u64(), number.as_i64()) {
        (Some(n), _) => n > EXACT,
        (None, Some(n)) => n.unsigned_abs() > EXACT,
        (None, None) => false,
    };
    if inexact && mode == Strictness::Refuse {
        return Err(NotCanonical::LargeInteger);
    }
    match number.as_f64() {
        Some(0.0) => out.push('0'),
        Some(double) if double.is_finite() => {
            out.push_str(ryu_js::Buffer::new().format_finite(double));
        }
        _ => out.push_str("null"),
    }
    Ok(())
}

/// ECMAScript JSON string escapes, which are the ones that serde_json writes.
fn write_text(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
        let (plain, from) = rest.split_at(at);
        out.push_str(plain);
        let mut chars = from.chars();
        match chars.next() {
            Some('"') => out.push_str("\\\""),
            Some('\\') => out.push_str("\\\\"),
            Some('\u{8}') => out.push_str("\\b"),
            Some('\t') => out.push_str("\\t"),
            Some('\n') => out.push_str("\\n"),
            Some('\u{c}') => out.push_str("\\f"),
            Some('\r') => out.push_str("\\r"),
            Some(control) => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push('"');
}
