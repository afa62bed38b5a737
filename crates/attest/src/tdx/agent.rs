//! The answers of dstack's guest agent (`POST /GetQuote` on its unix socket), read strictly.
//!
//! Guarantees: quote and events are within their limits; only the events of RTMR3 are kept. Refuses to know sockets.

use serde::Deserialize;

use super::document::MAX_QUOTE_BYTES;
use super::event_log::{Event, EventLog, EventLogError};

/// Longest answer that is read. The log of a whole start has 20 to 60 kB.
pub const MAX_ANSWER_BYTES: usize = 512 * 1024;

/// The register that holds what the system says about the application.
const APPLICATION_REGISTER: u32 = 3;

/// A quote with the log that explains its fourth register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quoted {
    /// Intel's quote.
    pub quote: Vec<u8>,
    /// The events of RTMR3.
    pub event_log: EventLog,
}

/// The body of a question for a quote about these bytes.
#[must_use]
pub fn question(report_data: &[u8; 64]) -> Vec<u8> {
    format!(r#"{{"report_data":"{}"}}"#, hex::encode(report_data)).into_bytes()
}

impl Quoted {
    /// Reads the answer to [`question`]. Members that are not needed are ignored: versions of the agent differ in them.
    ///
    /// # Errors
    /// [`AgentError`] says what is not as promised.
    pub fn from_json(answer: &[u8]) -> Result<Self, AgentError> {
        if answer.len() > MAX_ANSWER_BYTES {
            return Err(AgentError::TooLong);
        }
        let answer: Answer = serde_json::from_slice(answer).map_err(|_| AgentError::Json)?;
        let quote = hex::decode(&answer.quote).map_err(|_| AgentError::Quote)?;
        if !(1..=MAX_QUOTE_BYTES).contains(&quote.len()) {
            return Err(AgentError::Quote);
        }
        let events: Vec<Logged> =
            serde_json::from_str(&answer.event_log).map_err(|_| AgentError::EventLog)?;
        let events = events
            .into_iter()
            .filter(|logged| logged.imr == APPLICATION_REGISTER)
            .map(|logged| {
                let payload =
                    hex::decode(&logged.event_payload).map_err(|_| AgentError::EventLog)?;
                Ok(Event::new(&logged.event, payload)?)
            })
            .collect::<Result<_, AgentError>>()?;
        Ok(Self {
            quote,
            event_log: EventLog::new(events)?,
        })
    }
}

#[derive(Deserialize)]
struct Answer {
    quote: String,
    /// JSON in JSON.
    event_log: String,
}

#[derive(Deserialize)]
struct Logged {
    imr: u32,
    event: String,
    event_payload: String,
}

/// Why an answer is not one. The fault is the agent's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// Over [`MAX_ANSWER_BYTES`].
    #[error("the guest agent's answer is longer than {MAX_ANSWER_BYTES} bytes")]
    TooLong,
    /// Not the promised JSON object.
    #[error("the guest agent's answer is not the promised json object")]
    Json,
    /// No quote within its limit.
    #[error("the guest agent gave no quote in form")]
    Quote,
    /// No readable log.
    #[error("the guest agent gave no event log in form")]
    EventLog,
    /// An event outside its limits.
    #[error(transparent)]
    Event(#[from] EventLogError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(quote: &str, log: &str) -> Vec<u8> {
        serde_json::to_vec(&serde_json::json!({
            "quote": quote, "event_log": log, "report_data": "00", "vm_config": "{}",
        }))
        .unwrap()
    }

    const LOG: &str = r#"[
        {"imr":0,"event_type":1,"digest":"00","event":"","event_payload":"not hexadecimal"},
        {"imr":3,"event_type":134217729,"digest":"00","event":"app-id","event_payload":"0102"}
    ]"#;

    #[test]
    fn the_question_holds_all_64_bytes() {
        let expected = format!(r#"{{"report_data":"{}"}}"#, "0a".repeat(64));
        assert_eq!(question(&[10; 64]), expected.into_bytes());
    }

    #[test]
    fn a_quote_and_the_events_of_the_fourth_register_are_read() {
        let quoted = Quoted::from_json(&answer("0400", LOG)).unwrap();
        assert_eq!(quoted.quote, [4, 0]);
        let event = Event::new("app-id", vec![1, 2]).unwrap();
        assert_eq!(quoted.event_log.events(), [event]);
    }

    #[test]
    fn an_answer_that_is_not_in_form_is_refused() {
        let quote = |hex: &str| Quoted::from_json(&answer(hex, LOG));
        assert_eq!(quote(""), Err(AgentError::Quote));
        assert_eq!(quote("0"), Err(AgentError::Quote));
        assert!(quote(&"00".repeat(MAX_QUOTE_BYTES)).is_ok());
        assert_eq!(
            quote(&"00".repeat(MAX_QUOTE_BYTES + 1)),
            Err(AgentError::Quote)
        );
        for log in [
            "",
            "{}",
            "[1]",
            r#"[{"imr":3,"event":"a","event_payload":"x"}]"#,
        ] {
            let read = Quoted::from_json(&answer("0400", log));
            assert_eq!(read, Err(AgentError::EventLog), "{log}");
        }
        for json in [b"".as_slice(), b"{}", b"[]", br#"{"error":"no"}"#] {
            assert_eq!(Quoted::from_json(json), Err(AgentError::Json));
        }
        let mut long = answer("0400", LOG);
        long.resize(MAX_ANSWER_BYTES, b' ');
        assert!(Quoted::from_json(&long).is_ok());
        long.push(b' ');
        assert_eq!(Quoted::from_json(&long), Err(AgentError::TooLong));
    }
}
