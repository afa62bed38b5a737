//! What is said to the device and what it says: CBOR both ways.
//!
//! Guarantees: a request fits into what the device takes; an answer in a form that nobody promised is an error.
//! Refuses to know the device itself.

use ciborium::value::Value;

use crate::attester::AttesterError;
use crate::nitro::Pcr;
use crate::nitro::envelope::whole_cbor;

/// Longest request the device takes.
const MAX_REQUEST_BYTES: usize = 0x1000;

/// What the device can be asked.
#[derive(Debug, PartialEq)]
pub(super) enum Request<'a> {
    DescribePcr {
        index: u8,
    },
    ExtendPcr {
        index: u8,
        data: &'a [u8],
    },
    /// Locks the registers `0..range`.
    LockPcrs {
        range: u8,
    },
    Attestation {
        public_key: Option<&'a [u8]>,
        user_data: Option<&'a [u8]>,
        nonce: Option<&'a [u8]>,
    },
    GetRandom,
}

impl Request<'_> {
    pub(super) fn to_cbor(&self) -> Result<Vec<u8>, AttesterError> {
        let named = |name: &str, fields: Vec<(&str, Value)>| {
            let fields = fields
                .into_iter()
                .map(|(key, value)| (Value::from(key), value))
                .collect();
            Value::Map(vec![(Value::from(name), Value::Map(fields))])
        };
        let optional =
            |bytes: Option<&[u8]>| bytes.map_or(Value::Null, |bytes| Value::Bytes(bytes.to_vec()));
        let value = match self {
            Self::DescribePcr { index } => {
                named("DescribePCR", vec![("index", Value::from(*index))])
            }
            Self::ExtendPcr { index, data } => {
                let fields = vec![
                    ("index", Value::from(*index)),
                    ("data", Value::Bytes(data.to_vec())),
                ];
                named("ExtendPCR", fields)
            }
            Self::LockPcrs { range } => named("LockPCRs", vec![("range", Value::from(*range))]),
            Self::Attestation {
                public_key,
                user_data,
                nonce,
            } => {
                let fields = vec![
                    ("user_data", optional(*user_data)),
                    ("nonce", optional(*nonce)),
                    ("public_key", optional(*public_key)),
                ];
                named("Attestation", fields)
            }
            Self::GetRandom => Value::from("GetRandom"),
        };
        let mut bytes = Vec::new();
        ciborium::into_writer(&value, &mut bytes).map_err(|_| AttesterError::Answer)?;
        if bytes.len() > MAX_REQUEST_BYTES {
            return Err(AttesterError::Refused {
                code: "InputTooLarge".to_owned(),
            });
        }
        Ok(bytes)
    }
}

/// What the device answers.
#[derive(Debug, PartialEq)]
pub(super) enum Response {
    DescribePcr {
        lock: bool,
        value: Pcr,
    },
    Attestation {
        document: Vec<u8>,
    },
    Random {
        random: Vec<u8>,
    },
    /// An operation that was done and has nothing more to say.
    Done,
}

impl Response {
    pub(super) fn from_cbor(bytes: &[u8]) -> Result<Self, AttesterError> {
        let (name, value) = match whole_cbor(bytes).ok_or(AttesterError::Answer)? {
            Value::Text(name) => (name, Value::Null),
            Value::Map(entries) => match <[_; 1]>::try_from(entries) {
                Ok([(Value::Text(name), value)]) => (name, value),
                Ok(_) | Err(_) => return Err(AttesterError::Answer),
            },
            _ => return Err(AttesterError::Answer),
        };
        if name == "Error" {
            let code = value.into_text().map_err(|_| AttesterError::Answer)?;
            let known = code.len() <= 40 && code.bytes().all(|byte| byte.is_ascii_alphanumeric());
            return Err(if known {
                AttesterError::Refused { code }
            } else {
                AttesterError::Answer
            });
        }
        let mut fields = Fields(value.into_map().unwrap_or_default());
        match name.as_str() {
            "DescribePCR" => {
                let lock = fields
                    .take("lock")?
                    .into_bool()
                    .map_err(|_| AttesterError::Answer)?;
                let value = fields
                    .take("data")?
                    .into_bytes()
                    .map_err(|_| AttesterError::Answer)?;
                let value = value.try_into().map_err(|_| AttesterError::Answer)?;
                Ok(Self::DescribePcr {
                    lock,
                    value: Pcr::new(value),
                })
            }
            "Attestation" => {
                let document = fields
                    .take("document")?
                    .into_bytes()
                    .map_err(|_| AttesterError::Answer)?;
                Ok(Self::Attestation { document })
            }
            "GetRandom" => {
                let random = fields
                    .take("random")?
                    .into_bytes()
                    .map_err(|_| AttesterError::Answer)?;
                Ok(Self::Random { random })
            }
            "ExtendPCR" | "LockPCRs" => Ok(Self::Done),
            _ => Err(AttesterError::Answer),
        }
    }
}

struct Fields(Vec<(Value, Value)>);

impl Fields {
    fn take(&mut self, name: &str) -> Result<Value, AttesterError> {
        let at = self
            .0
            .iter()
            .position(|(key, _)| key.as_text() == Some(name))
            .ok_or(AttesterError::Answer)?;
        Ok(self.0.swap_remove(at).1)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::attester::nsm) fn cbor(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        ciborium::into_writer(value, &mut bytes).unwrap();
        bytes
    }

    pub(in crate::attester::nsm) fn map(entries: Vec<(&str, Value)>) -> Value {
        Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| (Value::from(key), value))
                .collect(),
        )
    }

    #[test]
    fn requests_are_the_bytes_that_the_device_expects() {
        let bytes = |request: Request<'_>| hex::encode(request.to_cbor().unwrap());
        assert_eq!(
            bytes(Request::GetRandom),
            "69".to_owned() + &hex::encode("GetRandom")
        );
        assert_eq!(
            bytes(Request::DescribePcr { index: 17 }),
            format!(
                "a16b{}a165{}11",
                hex::encode("DescribePCR"),
                hex::encode("index")
            )
        );
        assert_eq!(
            bytes(Request::ExtendPcr {
                index: 17,
                data: &[1, 2]
            }),
            format!(
                "a169{}a265{}1164{}420102",
                hex::encode("ExtendPCR"),
                hex::encode("index"),
                hex::encode("data")
            )
        );
        assert_eq!(
            bytes(Request::LockPcrs { range: 32 }),
            format!(
                "a168{}a165{}1820",
                hex::encode("LockPCRs"),
                hex::encode("range")
            )
        );
        assert_eq!(
            bytes(Request::Attestation {
                public_key: Some(&[1]),
                user_data: None,
                nonce: Some(&[])
            }),
            format!(
                "a16b{}a369{}f665{}406a{}4101",
                hex::encode("Attestation"),
                hex::encode("user_data"),
                hex::encode("nonce"),
                hex::encode("public_key")
            )
        );
    }

    #[test]
    fn a_request_over_the_devices_limit_is_not_sent() {
        let data = vec![0; MAX_REQUEST_BYTES];
        let request = Request::Attestation {
            public_key: None,
            user_data: Some(&data),
            nonce: None,
        };
        assert!(matches!(
            request.to_cbor(),
            Err(AttesterError::Refused { .. })
        ));
    }

    #[test]
    fn answers_that_nobody_promised_are_refused() {
        let wrong = [
            Value::Null,
            Value::from("Attestation"),
            Value::from("DescribePCR"),
            map(vec![]),
            map(vec![("Attestation", Value::Null)]),
            map(vec![(
                "Attestation",
                map(vec![("document", Value::from("text"))]),
            )]),
            map(vec![
                ("Attestation", Value::Null),
                ("LockPCRs", Value::Null),
            ]),
            map(vec![("Error", Value::from("\u{1b}[2J"))]),
            map(vec![(
                "DescribePCR",
                map(vec![
                    ("lock", Value::Bool(true)),
                    ("data", Value::Bytes(vec![0; 32])),
                ]),
            )]),
        ];
        for value in wrong {
            assert!(
                matches!(
                    Response::from_cbor(&cbor(&value)),
                    Err(AttesterError::Answer)
                ),
                "{value:?}"
            );
        }
        let refused =
            Response::from_cbor(&cbor(&map(vec![("Error", Value::from("ReadOnlyIndex"))])))
                .unwrap_err();
        assert_eq!(refused.to_string(), "the device refused: ReadOnlyIndex");
    }
}
