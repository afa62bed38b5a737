//! Hostile bytes where a cursor is expected: an error, never a panic; what is accepted is printed as it came, and reads on
//! from some place of one's own view, or is refused.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use adyton_client::pull::PlainBatch;
use adyton_couch::rev::Rev;
use adyton_couch::selector::Selector;
use adyton_node::memory::{Budget, Cursor, Documents, Measure, Query, QueryError, SortKey, View};
use serde_json::json;

fn documents() -> Documents {
    let mut documents = Documents::new(Budget::new(1 << 24));
    let mut batch = PlainBatch::default();
    for n in 0..200 {
        let text = json!({ "_id": format!("id{n}"), "n": n % 9, "schema": if n % 2 == 0 { "https://s/" } else { "-" } });
        let id = format!("id{n}");
        batch
            .push(&id, Rev::LOWEST, text.to_string().as_bytes())
            .unwrap();
    }
    documents.apply(batch).unwrap();
    documents
}

fn query(text: &str) -> Query {
    Query {
        sort: SortKey::parse_list(&json!([{ "n": "desc" }])).unwrap(),
        after: Some(Cursor::parse(text).unwrap()),
        ..Query::new(Selector::everything())
    }
}

/// `\x01`, the question's name, one key, an id: the shape of a genuine one, made of other bytes.
fn reshaped(genuine: &str, bytes: &[u8]) -> String {
    let mut cursor = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(genuine).unwrap();
    cursor.truncate(18);
    let (key, id) = bytes.split_at(bytes.len() / 2);
    cursor.extend_from_slice(&u16::try_from(key.len().min(1024)).unwrap().to_be_bytes());
    cursor.extend_from_slice(key.get(..1024).unwrap_or(key));
    cursor.extend(id.iter().map(|byte| byte & 0x7F));
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(cursor)
}

#[test]
fn texts() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let Ok(text) = std::str::from_utf8(bytes) else {
            return;
        };
        if let Ok(cursor) = Cursor::parse(text) {
            assert_eq!(cursor.to_text(), text);
        }
    });
}

#[test]
fn places_that_nobody_gave() {
    let documents = documents();
    let view = View::of_schema("https://s/");
    let mut first = query(
        &Cursor::parse(&genuine(&documents, &view))
            .unwrap()
            .to_text(),
    );
    first.after = None;
    let all = documents.query(&view, &first).unwrap().total;
    let genuine = genuine(&documents, &view);
    bolero::check!().for_each(|bytes: &[u8]| {
        let made_up = reshaped(&genuine, bytes);
        if let Ok(cursor) = Cursor::parse(&made_up) {
            assert_eq!(cursor.to_text(), made_up);
            let page = documents.query(&view, &query(&made_up)).unwrap();
            assert_eq!(page.total, all);
            assert!(
                page.documents
                    .iter()
                    .all(|document| document.member("schema").unwrap().text() == b"\"https://s/\"")
            );
        }
    });
}

fn genuine(documents: &Documents, view: &View) -> String {
    let first = Query {
        sort: SortKey::parse_list(&json!([{ "n": "desc" }])).unwrap(),
        ..Query::new(Selector::everything())
    };
    documents
        .query(view, &first)
        .unwrap()
        .next
        .unwrap()
        .to_text()
}

#[test]
fn a_cursor_belongs_to_its_question_and_its_view() {
    let documents = documents();
    let view = View::of_schema("https://s/");
    let genuine = genuine(&documents, &view);
    assert!(documents.query(&view, &query(&genuine)).is_ok());
    let refused = |view: &View, query: &Query| {
        documents.query(view, query).unwrap_err() == QueryError::CursorOfAnother
    };
    assert!(refused(&View::whole_database(), &query(&genuine)));
    let mut other = query(&genuine);
    other.sort.clear();
    assert!(refused(&view, &other));
    let mut other = query(&genuine);
    other.selector = Selector::parse(r#"{"n":1}"#).unwrap();
    assert!(refused(&view, &other));
    let mut other = query(&genuine);
    other.limit = 3;
    assert!(!documents.query(&view, &other).unwrap().documents.is_empty());
}

#[test]
fn measures() {
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Ok(value) = serde_json::from_slice(bytes)
            && let Ok(measures) = Measure::parse_list(&value)
        {
            assert!(measures.len() <= Measure::MOST);
        }
    });
}
