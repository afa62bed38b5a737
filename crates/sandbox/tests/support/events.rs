//! Reading an event stream as the standard says (WHATWG HTML, 9.2.6).

use std::any::Any;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

/// Nothing in a test takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// An open event stream. Dropping it closes its connection.
pub struct Events {
    body: Incoming,
    unread: String,
    /// The last event id, as the standard keeps it.
    pub last_id: String,
    pub retry: Option<u64>,
    _connection: Box<dyn Any + Send>,
}

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub name: String,
    pub id: String,
    pub data: Value,
}

impl Event {
    /// The id of the record that it is about.
    #[track_caller]
    pub fn record(&self) -> &str {
        self.data["value"]["_id"].as_str().unwrap()
    }

    /// Its name and its record, such as `created note-1`.
    #[track_caller]
    pub fn words(&self) -> String {
        format!("{} {}", self.name, self.record())
    }
}

impl Events {
    /// The stream of an answer's body; what it came on is kept as long.
    pub fn of(body: Incoming, connection: Box<dyn Any + Send>) -> Self {
        Self {
            body,
            unread: String::new(),
            last_id: String::new(),
            retry: None,
            _connection: connection,
        }
    }

    /// The next event, none at the end.
    pub async fn next(&mut self) -> Option<Event> {
        tokio::time::timeout(PATIENCE, self.read())
            .await
            .expect("no event came, and no end")
    }

    /// Reads the head: what comes before the first event.
    pub async fn open(mut self) -> Self {
        assert!(self.block().await.is_some_and(|event| event.is_none()));
        assert_eq!(self.retry, Some(10_000));
        assert!(!self.last_id.is_empty());
        self
    }

    /// The next events, as words.
    pub async fn words(&mut self, count: usize) -> Vec<String> {
        let mut words = Vec::new();
        for _ in 0..count {
            words.push(self.next().await.expect("the stream ended").words());
        }
        words
    }

    async fn read(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.block().await? {
                return Some(event);
            }
        }
    }

    /// The next lines up to an empty one: an event, or nothing to tell. None at the end.
    async fn block(&mut self) -> Option<Option<Event>> {
        let block = loop {
            if let Some((block, rest)) = self.unread.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.unread = rest;
                break block;
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.unread += std::str::from_utf8(&data).expect("utf-8 in each piece");
            }
        };
        let (mut name, mut data) = ("message".to_owned(), Vec::new());
        for line in block.split('\n') {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value).to_owned();
            match field {
                "" => {}
                "event" => name = value,
                "data" => data.push(value),
                "id" => self.last_id = value,
                "retry" => self.retry = Some(value.parse().unwrap()),
                other => panic!("a field that nobody knows: {other}"),
            }
        }
        Some((!data.is_empty()).then(|| Event {
            name,
            id: self.last_id.clone(),
            data: serde_json::from_str(&data.join("\n")).unwrap(),
        }))
    }
}
