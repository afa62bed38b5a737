//! Steps 1 and 2 for dstack: the document that carries a quote, read strictly.
//!
//! Guarantees: exactly the six promised fields, each once, of its type and within its limit (`SPEC.md` has the table).
//! Refuses to know whether any of it is true.

use ciborium::value::Value;

use super::collateral::{Collateral, CollateralError};
use super::event_log::{Event, EventLog, EventLogError};
use crate::evidence::MAX_DOCUMENT_BYTES;
use crate::nitro::claims::{MAX_PUBLIC_KEY_BYTES, MAX_USER_DATA_BYTES};
use crate::nitro::envelope::whole_cbor;

/// Longest quote. Genuine ones have 5 kB.
pub const MAX_QUOTE_BYTES: usize = 16 * 1024;

/// The parts of a dstack document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Intel's quote, as the guest agent gave it.
    pub quote: Vec<u8>,
    /// The events of RTMR3.
    pub event_log: EventLog,
    /// Intel's word about the platform, if the node has it.
    pub collateral: Option<Collateral>,
    /// The TLS key that the quote vouches for, as in a Nitro document.
    pub public_key: Vec<u8>,
    /// The binding that the quote vouches for, as in a Nitro document.
    pub user_data: Vec<u8>,
    /// The challenge that the quote answers, as in a Nitro document.
    pub nonce: Option<[u8; 32]>,
}

impl Document {
    /// Reads a document.
    ///
    /// # Errors
    /// [`DocumentError`] names the first field that is not as promised.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        if bytes.len() > MAX_DOCUMENT_BYTES {
            return Err(DocumentError::TooLong);
        }
        let Some(Value::Map(entries)) = whole_cbor(bytes) else {
            return Err(DocumentError::NotAMap);
        };
        let mut fields: [Option<Value>; FIELDS.len()] = [const { None }; FIELDS.len()];
        for (key, value) in entries {
            let name = key.as_text().ok_or(DocumentError::Key)?;
            let (field, slot) = FIELDS
                .iter()
                .zip(&mut fields)
                .find(|(field, _)| **field == name)
                .ok_or(DocumentError::Key)?;
            if slot.replace(value).is_some() {
                return Err(DocumentError::Duplicate { field });
            }
        }
        let [quote, event_log, collateral, public_key, user_data, nonce] = fields;
        Ok(Self {
            quote: bytes_within(quote, "quote", MAX_QUOTE_BYTES)?,
            event_log: read_event_log(event_log)?,
            collateral: optional_bytes(collateral, "collateral", MAX_DOCUMENT_BYTES)?
                .map(|json| Collateral::from_json(&json))
                .transpose()?,
            public_key: bytes_within(public_key, "public_key", MAX_PUBLIC_KEY_BYTES)?,
            user_data: bytes_within(user_data, "user_data", MAX_USER_DATA_BYTES)?,
            nonce: optional_bytes(nonce, "nonce", 32)?
                .map(<[u8; 32]>::try_from)
                .transpose()
                .map_err(|_| DocumentError::Range { field: "nonce" })?,
        })
    }

    /// Writes a document: what a node does.
    #[must_use]
    pub fn to_cbor(&self) -> Vec<u8> {
        let optional = |bytes: Option<Vec<u8>>| bytes.map_or(Value::Null, Value::Bytes);
        let event = |event: &Event| {
            Value::Array(vec![
                Value::from(event.name()),
                Value::Bytes(event.payload().to_vec()),
            ])
        };
        let values = [
            Value::Bytes(self.quote.clone()),
            Value::Array(self.event_log.events().iter().map(event).collect()),
            optional(self.collateral.as_ref().map(Collateral::to_json)),
            Value::Bytes(self.public_key.clone()),
            Value::Bytes(self.user_data.clone()),
            optional(self.nonce.map(Vec::from)),
        ];
        let fields = FIELDS.into_iter().map(Value::from).zip(values);
        let mut bytes = Vec::new();
        // Writing to memory cannot fail; an empty document would be refused by every reader.
        if ciborium::into_writer(&Value::Map(fields.collect()), &mut bytes).is_err() {
            bytes.clear();
        }
        bytes
    }
}

/// The fields, in the order in which they are written.
const FIELDS: [&str; 6] = [
    "quote",
    "event_log",
    "collateral",
    "public_key",
    "user_data",
    "nonce",
];

fn bytes_within(
    value: Option<Value>,
    field: &'static str,
    most: usize,
) -> Result<Vec<u8>, DocumentError> {
    match value {
        None => Err(DocumentError::Missing { field }),
        Some(Value::Bytes(bytes)) if (1..=most).contains(&bytes.len()) => Ok(bytes),
        Some(Value::Bytes(_)) => Err(DocumentError::Range { field }),
        Some(_) => Err(DocumentError::Type { field }),
    }
}

fn optional_bytes(
    value: Option<Value>,
    field: &'static str,
    most: usize,
) -> Result<Option<Vec<u8>>, DocumentError> {
    match value {
        Some(Value::Null) => Ok(None),
        value => bytes_within(value, field, most).map(Some),
    }
}

fn read_event_log(value: Option<Value>) -> Result<EventLog, DocumentError> {
    let field = "event_log";
    let events = match value {
        None => return Err(DocumentError::Missing { field }),
        Some(Value::Array(events)) => events,
        Some(_) => return Err(DocumentError::Type { field }),
    };
    let event = |value: Value| match value.into_array().map(<[_; 2]>::try_from) {
        Ok(Ok([Value::Text(name), Value::Bytes(payload)])) => Ok(Event::new(&name, payload)?),
        _ => Err(DocumentError::Type { field }),
    };
    let events = events.into_iter().map(event).collect::<Result<_, _>>()?;
    Ok(EventLog::new(events)?)
}

/// Why bytes are not a dstack document. The fault is the document's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    /// Over [`MAX_DOCUMENT_BYTES`].
    #[error("the document is longer than {MAX_DOCUMENT_BYTES} bytes")]
    TooLong,
    /// Not exactly one CBOR map.
    #[error("the document is not one cbor map")]
    NotAMap,
    /// A key that is not text, or not one of the six.
    #[error("the document has a key that nobody promised")]
    Key,
    /// A key that comes twice.
    #[error("{field} comes twice")]
    Duplicate {
        /// Which.
        field: &'static str,
    },
    /// A field that is not there.
    #[error("{field} is missing")]
    Missing {
        /// Which.
        field: &'static str,
    },
    /// A field of another type.
    #[error("{field} has the wrong type")]
    Type {
        /// Which.
        field: &'static str,
    },
    /// A field over or under its limits.
    #[error("{field} is outside its limits")]
    Range {
        /// Which.
        field: &'static str,
    },
    /// The events.
    #[error(transparent)]
    EventLog(#[from] EventLogError),
    /// The collateral.
    #[error(transparent)]
    Collateral(#[from] CollateralError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Document {
        let event = Event::new("app-id", vec![1; 20]).unwrap();
        Document {
            quote: vec![4, 0],
            event_log: EventLog::new(vec![event]).unwrap(),
            collateral: None,
            public_key: vec![1],
            user_data: vec![2],
            nonce: Some([3; 32]),
        }
    }

    /// The document with its CBOR map changed.
    fn changed(change: impl FnOnce(&mut Vec<(Value, Value)>)) -> Result<Document, DocumentError> {
        let mut map = whole_cbor(&document().to_cbor())
            .unwrap()
            .into_map()
            .unwrap();
        change(&mut map);
        let mut bytes = Vec::new();
        ciborium::into_writer(&Value::Map(map), &mut bytes).unwrap();
        Document::parse(&bytes)
    }

    fn put(name: &str, value: Value) -> Result<Document, DocumentError> {
        changed(|map| {
            let slot = map.iter_mut().find(|(key, _)| key.as_text() == Some(name));
            slot.unwrap().1 = value;
        })
    }

    #[test]
    fn a_document_is_read_back_as_written() {
        assert_eq!(Document::parse(&document().to_cbor()), Ok(document()));
        let bare = Document {
            nonce: None,
            event_log: EventLog::default(),
            ..document()
        };
        assert_eq!(Document::parse(&bare.to_cbor()), Ok(bare));
    }

    #[test]
    fn fields_come_once_each_and_no_others() {
        for at in 0..FIELDS.len() {
            let field = FIELDS[at];
            let missing = changed(|map| drop(map.remove(at)));
            assert_eq!(missing, Err(DocumentError::Missing { field }));
            let doubled = changed(|map| map.push(map[at].clone()));
            assert_eq!(doubled, Err(DocumentError::Duplicate { field }));
            assert_eq!(
                put(field, Value::from(1)),
                Err(DocumentError::Type { field })
            );
        }
        let more = changed(|map| map.push((Value::from("more"), Value::Null)));
        assert_eq!(more, Err(DocumentError::Key));
        let number = changed(|map| map.push((Value::from(1), Value::Null)));
        assert_eq!(number, Err(DocumentError::Key));
    }

    #[test]
    fn one_byte_over_a_limit_is_refused_and_the_limit_itself_is_not() {
        for (field, most) in [
            ("quote", MAX_QUOTE_BYTES),
            ("public_key", MAX_PUBLIC_KEY_BYTES),
            ("user_data", MAX_USER_DATA_BYTES),
            ("nonce", 32),
        ] {
            assert!(put(field, Value::Bytes(vec![0; most])).is_ok(), "{field}");
            let range = Err(DocumentError::Range { field });
            assert_eq!(put(field, Value::Bytes(vec![0; most + 1])), range);
            assert_eq!(put(field, Value::Bytes(vec![])), range);
        }
        let mut long = document().to_cbor();
        long.resize(MAX_DOCUMENT_BYTES + 1, 0);
        assert_eq!(Document::parse(&long), Err(DocumentError::TooLong));
        long.truncate(MAX_DOCUMENT_BYTES);
        assert_eq!(Document::parse(&long), Err(DocumentError::NotAMap));
    }

    #[test]
    fn a_nonce_has_32_bytes() {
        let short = put("nonce", Value::Bytes(vec![0; 31]));
        assert_eq!(short, Err(DocumentError::Range { field: "nonce" }));
    }

    #[test]
    fn an_event_is_a_name_and_a_payload() {
        let field = "event_log";
        let text = || Value::from("a");
        for event in [
            Value::from(1),
            Value::Array(vec![text()]),
            Value::Array(vec![text(), text()]),
            Value::Array(vec![Value::Bytes(vec![]), Value::Bytes(vec![])]),
            Value::Array(vec![text(), Value::Bytes(vec![]), text()]),
        ] {
            let read = put(field, Value::Array(vec![event]));
            assert_eq!(read, Err(DocumentError::Type { field }));
        }
        let nameless = Value::Array(vec![Value::from(""), Value::Bytes(vec![])]);
        assert_eq!(
            put(field, Value::Array(vec![nameless])),
            Err(DocumentError::EventLog(EventLogError::Name))
        );
    }

    #[test]
    fn collateral_must_be_collateral() {
        assert_eq!(
            put("collateral", Value::Bytes(b"{}".to_vec())),
            Err(DocumentError::Collateral(CollateralError::Json))
        );
    }
}
