//! The text of an event stream (WHATWG HTML, 9.2 server-sent events), written piece by piece.
//!
//! Guarantees: an event says what happened in its name (`created`, `updated`, `removed`, `deleted`) and in the JSON that
//! readers of the original API expect; a record cannot forge an event, because no line of it begins one; no piece is
//! longer than [`PIECE`] and a little, whatever a record's length.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Value, json};

use super::problem::ApiProblem;
use crate::authn::AuthenticationError;
use crate::memory::{Document, Told};
use crate::receipts::Unwritable;
use crate::vault::{Ended, VaultError, Word};
use adyton_couch::rev::Rev;
use adyton_protocol::problem::ProblemKind;

/// Pieces have about this size, in bytes.
const PIECE: usize = 32 * 1024;
/// How long a reader that lost its connection waits before it comes back, in milliseconds.
const RETRY: &str = "retry: 10000\n";

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct EventText {
    parts: VecDeque<Part>,
    begun: bool,
}

#[derive(Debug)]
enum Part {
    /// Written as it is.
    Frame(Bytes),
    /// A record's text: its line ends become spaces, which JSON allows wherever a line can end.
    Text(Bytes),
}

impl EventText {
    /// Puts a word of a watch behind what is to be written.
    pub(super) fn put(&mut self, word: Word) {
        if !std::mem::replace(&mut self.begun, true) {
            self.frame(RETRY.to_owned());
        }
        match word {
            Word::Begun(cursor) => self.frame(format!("{}\n", id_line(cursor))),
            Word::Silence(cursor) => self.frame(format!(":\n{}\n", id_line(cursor))),
            Word::Resync(cursor) => self.event("resync", cursor, &json!({ "type": "resync" })),
            Word::Told(told) => told
                .into_iter()
                .for_each(|(told, cursor)| self.told(told, cursor)),
            Word::Ended(Ended::Unloaded) => {
                self.event("resync", None, &json!({ "type": "resync" }));
            }
            Word::Ended(Ended::Grant(error)) => {
                self.error(AuthenticationError::Token(error).into());
            }
            Word::Ended(Ended::Draining) => self.error(ApiProblem::new(
                ProblemKind::Draining,
                "the node is shutting down; watch again in a moment",
            )),
            Word::Ended(Ended::Unwritable) => self.error(VaultError::Receipts(Unwritable).into()),
            Word::Ended(Ended::Overloaded) => self.error(VaultError::Overloaded.into()),
        }
    }

    /// The next piece; none when everything is written.
    pub(super) fn piece(&mut self) -> Option<Bytes> {
        let mut piece = Vec::new();
        while let Some(part) = self.parts.front_mut() {
            let (Part::Frame(rest) | Part::Text(rest)) = part;
            let taken = rest.split_to(rest.len().min(PIECE.saturating_sub(piece.len())));
            let is_empty = rest.is_empty();
            match part {
                Part::Frame(_) => piece.extend_from_slice(&taken),
                Part::Text(_) => piece.extend(taken.iter().map(|byte| match byte {
                    b'\n' | b'\r' => b' ',
                    other => *other,
                })),
            }
            if !is_empty {
                break;
            }
            self.parts.pop_front();
        }
        (!piece.is_empty()).then(|| piece.into())
    }

    fn told(&mut self, told: Told, cursor: Option<String>) {
        let gone = |id: Box<str>, rev: Rev| {
            let value = json!({ "_id": id, "_rev": rev.to_string() });
            json!({ "type": "deleted", "value": value })
        };
        match told {
            Told::Created(document) => self.record("created", cursor, &document),
            Told::Updated(document) => self.record("updated", cursor, &document),
            Told::Left(id, rev) => self.event("removed", cursor, &gone(id, rev)),
            Told::Deleted(id, rev) => self.event("deleted", cursor, &gone(id, rev)),
            Told::Complete => self.event("complete", cursor, &json!({ "type": "complete" })),
        }
    }

    fn record(&mut self, name: &str, cursor: Option<String>, document: &Document) {
        let head = format!(
            "{}event: {name}\ndata: {{\"type\":\"record\",\"value\":",
            id_line(cursor)
        );
        self.frame(head);
        self.parts.extend(document.served().map(Part::Text));
        self.frame("}\n\n".to_owned());
    }

    fn event(&mut self, name: &str, cursor: Option<String>, data: &Value) {
        self.frame(format!(
            "{}event: {name}\ndata: {data}\n\n",
            id_line(cursor)
        ));
    }

    /// In the original's shape, with the problem as every other route answers it beside.
    fn error(&mut self, problem: ApiProblem) {
        let problem = problem.into_body();
        let words = problem.get("detail").cloned().unwrap_or_default();
        let data = json!({ "type": "error", "value": words, "problem": problem });
        self.event("error", None, &data);
    }

    fn frame(&mut self, text: String) {
        self.parts.push_back(Part::Frame(text.into()));
    }
}

fn id_line(cursor: Option<String>) -> String {
    cursor.map_or_else(String::new, |cursor| format!("id: {cursor}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grants::GrantError;
    use crate::memory::{Budget, Documents, View};
    use adyton_client::pull::PlainBatch;

    fn document(object: &str) -> Document {
        let mut documents = Documents::new(Budget::new(1 << 24));
        let mut batch = PlainBatch::default();
        batch.push("a", Rev::LOWEST, object.as_bytes()).unwrap();
        documents.apply(batch).unwrap();
        documents
            .get(&View::whole_database(), "a")
            .unwrap()
            .unwrap()
    }

    fn written(text: &mut EventText) -> (String, usize) {
        let mut whole = Vec::new();
        let mut longest = 0;
        while let Some(piece) = text.piece() {
            longest = longest.max(piece.len());
            whole.extend_from_slice(&piece);
        }
        (String::from_utf8(whole).unwrap(), longest)
    }

    #[test]
    fn a_stream_begins_with_its_retry_and_its_cursor() {
        let mut text = EventText::default();
        text.put(Word::Begun(Some("c0".to_owned())));
        assert_eq!(written(&mut text).0, "retry: 10000\nid: c0\n\n");
        text.put(Word::Silence(Some("c1".to_owned())));
        assert_eq!(written(&mut text).0, ":\nid: c1\n\n");
    }

    #[test]
    fn events_have_a_name_a_cursor_and_the_shape_that_old_readers_know() {
        let mut text = EventText::default();
        let _: String = written(&mut text).0;
        text.put(Word::Told(vec![
            (
                Told::Created(document(r#"{"_id":"a","n":1}"#)),
                Some("c1".to_owned()),
            ),
            (Told::Deleted("a\n".into(), Rev::LOWEST), None),
        ]));
        text.put(Word::Ended(Ended::Grant(GrantError::Revoked)));
        let (stream, _) = written(&mut text);
        let events: Vec<&str> = stream.split_terminator("\n\n").collect();
        let rev = Rev::LOWEST;
        assert_eq!(
            events[0],
            format!(
                "retry: 10000\nid: c1\nevent: created\n\
                 data: {{\"type\":\"record\",\"value\":{{\"_rev\":\"{rev}\",\"_id\":\"a\",\"n\":1}}}}"
            )
        );
        assert_eq!(
            events[1],
            format!(
                "event: deleted\n\
                 data: {{\"type\":\"deleted\",\"value\":{{\"_id\":\"a\\n\",\"_rev\":\"{rev}\"}}}}"
            )
        );
        let data = events[2].strip_prefix("event: error\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["type"], "error");
        assert_eq!(data["value"], data["problem"]["detail"]);
        assert_eq!(data["problem"]["code"], "token-revoked");
        assert_eq!(events.len(), 3);
    }

    #[test]
    fn a_record_cannot_forge_an_event_and_a_long_one_comes_in_pieces() {
        let forged = "{\"_id\":\"a\",\n\nevent: deleted\r\rdata: x".replace("event", "\"e\":1,");
        assert!(
            PlainBatch::default()
                .push("a", Rev::LOWEST, forged.as_bytes())
                .is_err()
        );
        let lines = format!(
            "{{\"_id\":\"a\",\r\n\r\n\"text\":\"{}\",\n\"n\":\r1}}",
            "x".repeat(1 << 20)
        );
        let mut text = EventText::default();
        text.put(Word::Told(vec![(Told::Updated(document(&lines)), None)]));
        let (stream, longest) = written(&mut text);
        assert!(longest <= PIECE);
        let lines: Vec<&str> = stream.split(['\n', '\r']).collect();
        assert_eq!(lines.len(), 5, "retry, event, data, and an empty line");
        let data = lines[2].strip_prefix("data: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["value"]["n"], 1);
    }
}
