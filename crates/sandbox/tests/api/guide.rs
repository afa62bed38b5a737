//! Sends every request of `docs/api-guide.md`, and compares every answer with what the page says.

use serde_json::Value;

use super::{Scene, contract};

const GUIDE: &str = include_str!("../../../../docs/api-guide.md");

/// A part of the page that a test can do something with.
#[derive(Debug)]
enum Part {
    Request(String),
    Answer(u16, Value),
    Keep(String, String),
}

fn parts() -> Vec<Part> {
    let mut parts = Vec::new();
    let mut lines = GUIDE.lines();
    while let Some(line) = lines.next() {
        if let Some(kind) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let block = block.join("\n");
            match kind.split_once(' ') {
                Some(("json", status)) => {
                    let expected = serde_json::from_str(&block)
                        .unwrap_or_else(|error| panic!("{error}: {block}"));
                    parts.push(Part::Answer(status.parse().unwrap(), expected));
                }
                None if kind == "http" => parts.push(Part::Request(block)),
                _ => panic!("a snippet that no test runs: {kind}"),
            }
        } else if let Some((_, rest)) = line.split_once("<!-- keep ") {
            let (member, name) = rest
                .split_once(" -->")
                .unwrap()
                .0
                .split_once(" as ")
                .unwrap();
            parts.push(Part::Keep(member.to_owned(), format!("${name}")));
        }
    }
    parts
}

/// Whether an answer has all that the page says it has.
fn shows(answer: &Value, expected: &Value) -> bool {
    match (answer, expected) {
        (Value::String(_), Value::String(any)) if any == "…" => true,
        (Value::Object(answer), Value::Object(expected)) => expected
            .iter()
            .all(|(name, expected)| answer.get(name).is_some_and(|value| shows(value, expected))),
        (Value::Array(answer), Value::Array(expected)) => {
            answer.len() == expected.len()
                && answer
                    .iter()
                    .zip(expected)
                    .all(|(one, other)| shows(one, other))
        }
        _ => answer == expected,
    }
}

#[tokio::test]
async fn every_request_of_the_guide_is_answered_as_the_guide_says() {
    let mut scene = Scene::set().await;
    let mut kept = vec![("$SESSION".to_owned(), scene.key.clone())];
    let (mut last, mut asked, mut compared) = (Value::Null, String::new(), 0);
    let mut status = 0;
    for part in parts() {
        match part {
            Part::Request(mut text) => {
                for (name, value) in &kept {
                    text = text.replace(name, value);
                }
                let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
                let mut lines = head.lines();
                let (method, path) = lines.next().unwrap().split_once(' ').unwrap();
                let mut headers: Vec<(String, &str)> = lines
                    .map(|line| line.split_once(": ").unwrap())
                    .map(|(name, value)| (name.to_lowercase(), value))
                    .collect();
                if !body.is_empty() {
                    headers.push(("content-type".to_owned(), "application/json"));
                }
                let headers: Vec<(&str, &str)> = headers
                    .iter()
                    .map(|(name, value)| (name.as_str(), *value))
                    .collect();
                let answer = scene
                    .node
                    .send(method, path, &headers, body.to_owned())
                    .await;
                contract::hold(method, path, &answer);
                asked = format!("{method} {path}");
                (status, last) = (answer.status.as_u16(), answer.json());
            }
            Part::Answer(expected, body) => {
                assert_eq!(status, expected, "{asked}: {last}");
                assert!(
                    shows(&last, &body),
                    "{asked}: the guide says {body}, and the node {last}"
                );
                compared += 1;
            }
            Part::Keep(member, name) => {
                kept.push((name, last[&member].as_str().unwrap().to_owned()));
            }
        }
    }
    assert!(compared >= 15, "{compared}");
}

/// The page for those who come from the original names tests: each of them exists.
#[test]
fn the_page_for_those_who_come_from_the_original_names_tests_that_exist() {
    const PAGE: &str = include_str!("../../../../docs/migrating-from-verida.md");
    let sources = sources(std::path::Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests"
    )));
    let rows = PAGE.lines().filter(|line| line.ends_with("` |"));
    let names: Vec<&str> = rows
        .filter_map(|line| line.rsplit('`').nth(1))
        .filter(|name| name.contains('_'))
        .collect();
    assert!(names.len() > 25, "{}", names.len());
    for name in names {
        assert!(sources.contains(&format!("fn {name}()")), "no test {name}");
    }
}

fn sources(folder: &std::path::Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text.push_str(&sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
    text
}
