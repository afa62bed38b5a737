//! `application/x-www-form-urlencoded`, strictly: what two readers could read differently is refused.

use std::collections::BTreeMap;

use percent_encoding::percent_decode;

use crate::refused::Refused;

/// Longest form or query, in bytes.
pub const MAX_FORM_BYTES: usize = 64 * 1024;
/// Most parameters.
pub const MAX_PARAMETERS: usize = 48;
/// Most resources (RFC 8707 lets that parameter stand more than once).
pub const MAX_RESOURCES: usize = 8;

/// The parameters of a request. Unknown ones are ignored, as RFC 6749 section 3.1 demands; the same one twice is refused, as
/// it demands too. One without a value counts as left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parameters {
    values: BTreeMap<String, String>,
    resources: Vec<String>,
}

impl Parameters {
    /// Reads a form.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        if bytes.len() > MAX_FORM_BYTES {
            return Err(Refused::request("the request is too long"));
        }
        let mut read = Self::default();
        let pairs = bytes.split(|byte| *byte == b'&');
        for (index, pair) in pairs.filter(|pair| !pair.is_empty()).enumerate() {
            if index >= MAX_PARAMETERS {
                return Err(Refused::request("the request has too many parameters"));
            }
            let at = pair.iter().position(|byte| *byte == b'=');
            let (name, value) = match at.and_then(|at| pair.split_at_checked(at)) {
                Some((name, value)) => (name, value.get(1..).unwrap_or_default()),
                None => (pair, &[][..]),
            };
            read.insert(decode(name)?, decode(value)?)?;
        }
        Ok(read)
    }

    /// Reads parameters that came as members of a JSON object: those of a signed request (RFC 9101).
    pub fn of_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, Refused> {
        let mut read = Self::default();
        for (index, (name, value)) in pairs.into_iter().enumerate() {
            if index >= MAX_PARAMETERS || value.len() > MAX_FORM_BYTES {
                return Err(Refused::request("the request has too many parameters"));
            }
            if value.chars().any(is_control) {
                return Err(Refused::request("a parameter has a control character"));
            }
            read.insert(name, value)?;
        }
        Ok(read)
    }

    fn insert(&mut self, name: String, value: String) -> Result<(), Refused> {
        if value.is_empty() {
            return Ok(());
        }
        if name == "resource" {
            if self.resources.len() >= MAX_RESOURCES {
                return Err(Refused::request("too many resources"));
            }
            self.resources.push(value);
            return Ok(());
        }
        match self.values.insert(name, value) {
            None => Ok(()),
            Some(_) => Err(Refused::request("a parameter stands more than once")),
        }
    }

    /// A parameter's value.
    pub fn one(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The values of `resource`.
    pub fn resources(&self) -> &[String] {
        &self.resources
    }

    /// A value that must be there.
    pub fn required(&self, name: &str, reason: &'static str) -> Result<&str, Refused> {
        self.one(name).ok_or(Refused::request(reason))
    }
}

/// Control characters belong in no parameter: they end lines and headers.
fn is_control(letter: char) -> bool {
    letter.is_control() && !matches!(letter, '\t' | '\n' | '\r')
}

fn decode(bytes: &[u8]) -> Result<String, Refused> {
    let mut spaced = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        let escaped = after
            .get(..2)
            .is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
        if *byte == b'%' && !escaped {
            return Err(Refused::request("a parameter is not percent-encoded"));
        }
        spaced.push(if *byte == b'+' { b' ' } else { *byte });
        rest = after;
    }
    let text = percent_decode(&spaced)
        .decode_utf8()
        .map_err(|_| Refused::request("a parameter is not UTF-8"))?;
    if text.chars().any(is_control) {
        return Err(Refused::request("a parameter has a control character"));
    }
    Ok(text.into_owned())
}
