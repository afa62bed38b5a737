//! What dstack measured into RTMR3 while it started the application, event by event.
//!
//! Guarantees: the names that say who the application is come once each and before the start was over, so that what an
//! application adds later cannot pass for what the system said. Refuses to know whether the log is true: it is, if
//! [`EventLog::replay`] gives the register of a verified quote.

use crate::nitro::Pcr;

/// Most events in a log. A start has about ten.
pub const MAX_EVENTS: usize = 256;

/// Longest name of an event.
pub const MAX_EVENT_NAME_BYTES: usize = 64;

/// Longest payload of an event.
pub const MAX_EVENT_PAYLOAD_BYTES: usize = 8 * 1024;

/// Longest `key-provider`: a short JSON text.
pub const MAX_KEY_PROVIDER_BYTES: usize = 1024;

/// The event type of dstack's own events, little-endian, as it is hashed.
const RUNTIME_EVENT: [u8; 4] = 0x0800_0001_u32.to_le_bytes();

/// Says that the start is over; what comes later was added by the application.
const STARTED: &str = "system-ready";

const COMPOSE_HASH: &str = "compose-hash";
const APP_ID: &str = "app-id";
const KEY_PROVIDER: &str = "key-provider";

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    name: String,
    payload: Vec<u8>,
}

impl Event {
    /// Takes a name of letters, digits, `-`, `_` and `.`, and a payload within its limit. (A name with a colon could be
    /// split from its payload in two ways, with one digest.)
    ///
    /// # Errors
    /// [`EventLogError`] when one of the two is not.
    pub fn new(name: &str, payload: Vec<u8>) -> Result<Self, EventLogError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !(1..=MAX_EVENT_NAME_BYTES).contains(&name.len()) || !name.bytes().all(plain) {
            return Err(EventLogError::Name);
        }
        if payload.len() > MAX_EVENT_PAYLOAD_BYTES {
            return Err(EventLogError::Payload);
        }
        Ok(Self {
            name: name.to_owned(),
            payload,
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// `SHA384(type ‖ ":" ‖ name ‖ ":" ‖ payload)`: what the register is extended with.
    fn digest(&self) -> Pcr {
        let text = [
            &RUNTIME_EVENT,
            b":".as_slice(),
            self.name.as_bytes(),
            b":",
            &self.payload,
        ];
        Pcr::of(&text.concat())
    }
}

/// All events of RTMR3, in their order.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct EventLog(Vec<Event>);

impl EventLog {
    /// Takes events.
    ///
    /// # Errors
    /// [`EventLogError::TooMany`].
    pub fn new(events: Vec<Event>) -> Result<Self, EventLogError> {
        if events.len() > MAX_EVENTS {
            return Err(EventLogError::TooMany);
        }
        Ok(Self(events))
    }

    /// The events.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.0
    }

    /// What RTMR3 holds after these events: from zeros, `SHA384(old ‖ digest)` for each.
    #[must_use]
    pub fn replay(&self) -> Pcr {
        self.0.iter().fold(Pcr::ZERO, |register, event| {
            register.extended(event.digest().as_bytes())
        })
    }

    /// Who the application is, as the system said before it was started.
    ///
    /// # Errors
    /// [`EventLogError`] when one of the names is missing, doubled, late or not in form.
    pub fn application(&self) -> Result<Application, EventLogError> {
        let form = |name| EventLogError::Form { name };
        let compose_hash = self.once(COMPOSE_HASH)?;
        let app_id = self.once(APP_ID)?;
        let key_provider = match self.once(KEY_PROVIDER) {
            Ok(payload) => Some(payload),
            Err(EventLogError::Missing { .. }) => None,
            Err(error) => return Err(error),
        };
        let key_provider = key_provider
            .map(|payload| match std::str::from_utf8(payload) {
                Ok(text) if payload.len() <= MAX_KEY_PROVIDER_BYTES => Ok(text.to_owned()),
                Ok(_) | Err(_) => Err(form(KEY_PROVIDER)),
            })
            .transpose()?;
        if !(1..=32).contains(&app_id.len()) {
            return Err(form(APP_ID));
        }
        Ok(Application {
            compose_hash: compose_hash.try_into().map_err(|_| form(COMPOSE_HASH))?,
            app_id: app_id.to_vec(),
            key_provider,
        })
    }

    fn once(&self, name: &'static str) -> Result<&[u8], EventLogError> {
        let mut started = false;
        let mut found = None;
        for event in &self.0 {
            if event.name == name {
                if started {
                    return Err(EventLogError::Late { name });
                }
                if found.replace(event.payload()).is_some() {
                    return Err(EventLogError::Doubled { name });
                }
            }
            started |= event.name == STARTED;
        }
        found.ok_or(EventLogError::Missing { name })
    }
}

/// What the system measured about the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// SHA-256 of the compose document: which containers run.
    pub compose_hash: [u8; 32],
    /// The name under which keys are released. A deployer can pin it, so it says nothing about the code.
    pub app_id: Vec<u8>,
    /// Who releases keys to it, if the system said so: a short JSON text.
    pub key_provider: Option<String>,
}

/// Why an event log cannot be used. The fault is the evidence's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventLogError {
    /// Over [`MAX_EVENTS`].
    #[error("the event log has more than {MAX_EVENTS} events")]
    TooMany,
    /// A name that is empty, too long, or has other characters.
    #[error("an event has no usable name")]
    Name,
    /// A payload over [`MAX_EVENT_PAYLOAD_BYTES`].
    #[error("an event's payload is longer than {MAX_EVENT_PAYLOAD_BYTES} bytes")]
    Payload,
    /// A needed event is not there.
    #[error("the event log has no {name}")]
    Missing {
        /// Its name.
        name: &'static str,
    },
    /// A needed event comes twice: one of them is the application's own.
    #[error("the event log has {name} twice")]
    Doubled {
        /// Its name.
        name: &'static str,
    },
    /// A needed event comes after the start was over: it is the application's own.
    #[error("the event log has {name} after the system was ready")]
    Late {
        /// Its name.
        name: &'static str,
    },
    /// A needed event of another length or kind.
    #[error("the event {name} is not in form")]
    Form {
        /// Its name.
        name: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(events: &[(&str, &[u8])]) -> EventLog {
        let event = |(name, payload): &(&str, &[u8])| Event::new(name, payload.to_vec()).unwrap();
        EventLog::new(events.iter().map(event).collect()).unwrap()
    }

    const START: [(&str, &[u8]); 5] = [
        ("system-preparing", b""),
        ("app-id", &[1; 20]),
        ("compose-hash", &[2; 32]),
        ("key-provider", br#"{"name":"kms","id":"00"}"#),
        ("system-ready", b""),
    ];

    /// Recomputed with another implementation (Python's hashlib) from the formulas above.
    #[test]
    fn a_replay_gives_the_register_that_another_implementation_gives() {
        assert_eq!(log(&[]).replay(), Pcr::ZERO);
        let expected = "7b91b0eaa251db449a974dfb9a0188ae3c7dec4a8289c4817a80596bf7a7b11089fb86a14b5a79f1311ce5699bf5fe50";
        assert_eq!(log(&START).replay().to_string(), expected);
    }

    #[test]
    fn the_application_is_read_from_the_start() {
        let application = log(&START).application().unwrap();
        assert_eq!(application.compose_hash, [2; 32]);
        assert_eq!(application.app_id, [1; 20]);
        assert_eq!(
            application.key_provider.as_deref(),
            Some(r#"{"name":"kms","id":"00"}"#)
        );
        let without: Vec<_> = START
            .iter()
            .filter(|event| event.0 != "key-provider")
            .copied()
            .collect();
        assert_eq!(log(&without).application().unwrap().key_provider, None);
    }

    #[test]
    fn what_an_application_adds_cannot_pass_for_what_the_system_said() {
        for name in [COMPOSE_HASH, APP_ID, KEY_PROVIDER] {
            let payload = START.iter().find(|event| event.0 == name).unwrap().1;
            let mut late = START.to_vec();
            late.push((name, payload));
            assert_eq!(log(&late).application(), Err(EventLogError::Late { name }));
            let mut doubled = START.to_vec();
            doubled.insert(0, (name, payload));
            assert_eq!(
                log(&doubled).application(),
                Err(EventLogError::Doubled { name })
            );
            let mut only_late: Vec<_> = START
                .iter()
                .filter(|event| event.0 != name)
                .copied()
                .collect();
            only_late.push((name, payload));
            assert_eq!(
                log(&only_late).application(),
                Err(EventLogError::Late { name })
            );
        }
    }

    #[test]
    fn an_application_without_code_or_name_is_refused() {
        for name in [COMPOSE_HASH, APP_ID] {
            let rest: Vec<_> = START
                .iter()
                .filter(|event| event.0 != name)
                .copied()
                .collect();
            assert_eq!(
                log(&rest).application(),
                Err(EventLogError::Missing { name })
            );
        }
        for (name, payload) in [
            (COMPOSE_HASH, vec![2; 31]),
            (COMPOSE_HASH, vec![2; 33]),
            (APP_ID, vec![]),
            (APP_ID, vec![1; 33]),
            (KEY_PROVIDER, vec![0xff]),
            (KEY_PROVIDER, vec![b' '; MAX_KEY_PROVIDER_BYTES + 1]),
        ] {
            let mut events = START.to_vec();
            events
                .iter_mut()
                .filter(|event| event.0 == name)
                .for_each(|event| event.1 = &payload);
            assert_eq!(
                log(&events).application(),
                Err(EventLogError::Form { name })
            );
        }
    }

    #[test]
    fn a_name_has_plain_letters_and_everything_has_a_limit() {
        for name in ["", "a:b", "a b", "ä", "a\n", &"a".repeat(65)] {
            assert_eq!(Event::new(name, vec![]), Err(EventLogError::Name), "{name}");
        }
        assert!(Event::new(&"a".repeat(64), vec![0; MAX_EVENT_PAYLOAD_BYTES]).is_ok());
        assert_eq!(
            Event::new("a", vec![0; MAX_EVENT_PAYLOAD_BYTES + 1]),
            Err(EventLogError::Payload)
        );
        let event = Event::new("a", vec![]).unwrap();
        assert!(EventLog::new(vec![event.clone(); MAX_EVENTS]).is_ok());
        assert_eq!(
            EventLog::new(vec![event; MAX_EVENTS + 1]),
            Err(EventLogError::TooMany)
        );
    }
}
