//! Attachments over HTTP: by their own address, within documents, and in multipart bodies as replicators send and ask for them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use adyton_couch::multipart::{Boundary, parts};
use adyton_storage::Limits;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use support::{Answer, Credential, Node, Session, gzip, large, rev};

const HELLO: &str = "XUFAKrxLKna5cZ2REBfFkg==";

impl Session {
    async fn rev_of(&self, path: &str) -> String {
        let document = self.get(path).await.expect(200).json();
        document["_rev"].as_str().unwrap().to_owned()
    }

    /// Bytes of bodies and contents that the database counts.
    async fn bytes(&self, db: &str) -> u64 {
        let info = self.get(db).await.expect(200).json();
        info["sizes"]["active"].as_u64().unwrap()
    }
}

fn text(answer: &Answer, header: &str) -> String {
    answer.headers[header].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_attachment_is_put_read_replaced_and_deleted() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let doc = format!("{db}/a%2Fb");
    let at = format!("{doc}/dir/hello%20world.txt");
    let plain = [("content-type", "text/plain")];

    // A document that does not exist is made.
    let first = session.with("PUT", &at, &plain, "hello").await;
    let first = first.expect(201).json();
    assert_eq!((&first["ok"], &first["id"]), (&json!(true), &json!("a/b")));
    let first = first["rev"].as_str().unwrap().to_owned();
    let read = session.get(&at).await;
    assert_eq!(read.expect(200).text(), "hello");
    assert_eq!(text(&read, "content-type"), "text/plain");
    assert_eq!(text(&read, "content-length"), "5");
    assert_eq!(text(&read, "etag"), format!("\"{HELLO}\""));
    assert_eq!(text(&read, "content-md5"), HELLO);
    assert_eq!(text(&read, "accept-ranges"), "bytes");
    assert_eq!(text(&read, "content-security-policy"), "sandbox");
    let head = session.send("HEAD", &at, &Value::Null).await;
    assert_eq!(
        (text(&head, "content-length"), head.body.len()),
        ("5".into(), 0)
    );
    let etag = format!("\"{HELLO}\"");
    let known = session.get_with(&at, &[("if-none-match", &etag)]).await;
    assert!(known.expect(304).body.is_empty());

    let stub = json!({"content_type": "text/plain", "revpos": 1,
        "digest": format!("md5-{HELLO}"), "length": 5, "stub": true});
    let document = session.get(&doc).await.expect(200).json();
    assert_eq!(document["_attachments"]["dir/hello world.txt"], stub);
    for list in ["_changes", "_all_docs"] {
        let rows = session
            .get(&format!("{db}/{list}?include_docs=true"))
            .await
            .json();
        let rows = rows["results"]
            .as_array()
            .or(rows["rows"].as_array())
            .unwrap();
        assert_eq!(rows[0]["doc"], document);
    }

    // Without the current revision nothing is replaced.
    session.with("PUT", &at, &plain, "x").await.expect(409);
    let other = rev(1, 'a');
    session
        .with("PUT", &format!("{at}?rev={other}"), &plain, "x")
        .await
        .expect(409);
    session
        .with("PUT", &format!("{at}?rev=x"), &plain, "x")
        .await
        .expect(400);
    let second = session
        .with("PUT", &format!("{at}?rev={first}"), &plain, "world!")
        .await;
    let second = second.expect(201).json()["rev"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(second.starts_with("2-"));
    // A further one stands beside it, and members of the document stay.
    let mut document = session.get(&doc).await.json();
    document["n"] = 1.0.into();
    session.put(&doc, &document).await.expect(201);
    let third = session.rev_of(&doc).await;
    let if_match = format!("\"{third}\"");
    session
        .with(
            "PUT",
            &format!("{doc}/empty"),
            &[("if-match", &if_match)],
            "",
        )
        .await
        .expect(201);
    let document = session.get(&doc).await.json();
    assert_eq!(document["n"], json!(1.0));
    let attachments = &document["_attachments"];
    assert_eq!(attachments["dir/hello world.txt"]["revpos"], 2);
    let empty = &attachments["empty"];
    assert_eq!((&empty["revpos"], &empty["length"]), (&json!(4), &json!(0)));
    assert_eq!(empty["content_type"], "application/octet-stream");
    assert!(
        session
            .get(&format!("{doc}/empty"))
            .await
            .expect(200)
            .body
            .is_empty()
    );
    // An older revision's attachment is not found under the new one's name, nor the other way round.
    session.get(&format!("{at}?rev={second}")).await.expect(404);

    session.send("DELETE", &at, &Value::Null).await.expect(409);
    let last = session.rev_of(&doc).await;
    let missing = format!("{doc}/nothing?rev={last}");
    session
        .send("DELETE", &missing, &Value::Null)
        .await
        .expect(404);
    let gone = session
        .send("DELETE", &format!("{at}?rev={last}"), &Value::Null)
        .await;
    assert!(
        gone.expect(200).json()["rev"]
            .as_str()
            .unwrap()
            .starts_with("5-")
    );
    let missing = json!({"error": "not_found", "reason": "Document is missing attachment"});
    assert_eq!(session.get(&at).await.expect(404).json(), missing);
    session.get(&format!("{doc}/empty")).await.expect(200);
    session.get(&format!("{db}/nobody/a")).await.expect(404);
    session
        .send("DELETE", &format!("{db}/nobody/a"), &Value::Null)
        .await
        .expect(404);
    session.send("POST", &at, &Value::Null).await.expect(405);
    session
        .with("PUT", &format!("{doc}/_a"), &[], "x")
        .await
        .expect(400);
}

#[tokio::test]
async fn a_content_of_many_pieces_comes_back_whole_and_in_ranges() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let at = format!("{db}/x/large");
    let content = large(1_000_003);
    session
        .with("PUT", &at, &[], content.clone())
        .await
        .expect(201);
    assert_eq!(session.get(&at).await.body, content);
    let total = content.len();
    for (range, from, to) in [
        ("bytes=0-0", 0, 1),
        ("bytes=261000-524400", 261_000, 524_401),
        ("bytes=1000000-", 1_000_000, total),
        ("bytes=-7", total - 7, total),
        ("bytes=999999-99999999", 999_999, total),
    ] {
        let part = session.get_with(&at, &[("range", range)]).await;
        assert_eq!(part.expect(206).body, content[from..to], "{range}");
        let told = format!("bytes {from}-{}/{total}", to - 1);
        assert_eq!(text(&part, "content-range"), told);
        assert_eq!(text(&part, "content-length"), (to - from).to_string());
    }
    let none = session.get_with(&at, &[("range", "bytes=1000003-")]).await;
    assert_eq!(
        text(none.expect(416), "content-range"),
        format!("bytes */{total}")
    );
    for headers in [
        [("range", "bytes=0-1,5-6"), ("x", "")],
        [("range", "bytes=0-1"), ("if-range", "\"another\"")],
    ] {
        assert_eq!(
            session.get_with(&at, &headers).await.expect(200).body,
            content
        );
    }
    let inline = session.get(&format!("{db}/x?attachments=true")).await;
    assert_eq!(
        text(&inline, "content-length"),
        inline.body.len().to_string()
    );
    let data = inline.json()["_attachments"]["large"]["data"].clone();
    assert_eq!(STANDARD.decode(data.as_str().unwrap()).unwrap(), content);
}

#[tokio::test]
async fn inline_attachments_are_written_and_read_in_documents_and_in_bulk() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let hello = json!({"content_type": "text/plain", "data": "aGVsbG8="});
    let body = json!({"n": 1, "_attachments": {"a": hello, "b": {"data": ""}}});
    let written = session
        .put(&format!("{db}/x"), &body)
        .await
        .expect(201)
        .json();
    let docs = json!({"docs": [
        {"_id": "y", "_attachments": {"a": hello}},
        {"_id": "z", "_attachments": {"a": {"data": "?"}}},
        {"_id": "w", "_attachments": {"a": {"stub": true}}},
        {"_id": "v", "_attachments": {"a": {"follows": true, "length": 5}}},
    ]});
    let lines = session
        .post(&format!("{db}/_bulk_docs"), &docs)
        .await
        .expect(201)
        .json();
    assert_eq!(lines[0]["ok"], true);
    assert_eq!(lines[1]["error"], "bad_request");
    assert_eq!(lines[2]["error"], "missing_stub");
    assert_eq!(lines[2]["reason"], "Invalid attachment stub in w for a");
    assert_eq!(lines[3]["error"], "bad_request");
    assert_eq!(
        session.get(&format!("{db}/y/a")).await.expect(200).text(),
        "hello"
    );

    let told = json!({"content_type": "text/plain", "revpos": 1,
        "digest": format!("md5-{HELLO}"), "data": "aGVsbG8="});
    let read = session
        .get(&format!("{db}/x?attachments=true&conflicts=true&revs=true"))
        .await;
    let read = read.expect(200).json();
    assert_eq!(read["_attachments"]["a"], told);
    assert_eq!(read["_attachments"]["b"]["data"], "");
    assert_eq!(
        (&read["n"], &read["_revisions"]["start"]),
        (&json!(1), &json!(1))
    );
    let open = format!("{db}/x?attachments=true&open_revs=all");
    let open = session.get(&open).await.expect(200).json();
    assert_eq!(open[0]["ok"]["_attachments"]["a"], told);

    let list = format!("{db}/_all_docs?include_docs=true&attachments=true");
    let rows = session.get(&list).await.expect(200).json()["rows"].clone();
    assert_eq!(rows[0]["doc"]["_attachments"]["a"], told);
    assert_eq!(rows[1]["doc"]["_attachments"]["a"], told);

    let rev = written["rev"].as_str().unwrap();
    let wanted = json!({"docs": [
        {"id": "x", "rev": rev}, {"id": "nothing"}, {"id": "y"},
        {"id": "x", "rev": rev, "atts_since": [rev]},
    ]});
    let get = format!("{db}/_bulk_get?revs=true&attachments=true");
    let results = session.post(&get, &wanted).await.expect(200).json()["results"].clone();
    assert_eq!(results[0]["docs"][0]["ok"]["_attachments"]["a"], told);
    assert_eq!(results[1]["docs"][0]["error"]["error"], "not_found");
    assert_eq!(results[2]["docs"][0]["ok"]["_attachments"]["a"], told);
    assert_eq!(
        results[3]["docs"][0]["ok"]["_attachments"]["a"]["stub"],
        true
    );
    let get = format!("{db}/_bulk_get");
    let results = session.post(&get, &wanted).await.expect(200).json()["results"].clone();
    assert_eq!(
        results[0]["docs"][0]["ok"]["_attachments"]["a"]["stub"],
        true
    );
}

#[tokio::test]
async fn a_stub_keeps_what_the_parent_has_and_nothing_else() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let doc = format!("{db}/x");
    let body = json!({"_attachments": {"a": {"data": "aGVsbG8="}, "b": {"data": "Yg=="}}});
    let first = session.put(&doc, &body).await.expect(201).json()["rev"].clone();

    let with = |attachments: Value| json!({"_rev": first, "n": 2, "_attachments": attachments});
    for wrong in [
        json!({"c": {"stub": true}}),
        json!({"b": {"stub": true, "digest": format!("md5-{HELLO}")}}),
    ] {
        let refused = session.put(&doc, &with(wrong)).await.expect(412).json();
        assert_eq!(refused["error"], "missing_stub");
    }
    let kept = json!({"a": {"stub": true, "digest": format!("md5-{HELLO}"), "revpos": 7}});
    let second = session.put(&doc, &with(kept)).await.expect(201).json()["rev"].clone();
    let second = second.as_str().unwrap();
    let since = first.as_str().unwrap();
    let path = format!("{doc}?atts_since=%5B%22{since}%22%5D");
    let read = session.get(&path).await.expect(200).json();
    // The first revision is an ancestor: the reader has its contents.
    let attachments = json!({"a": {"content_type": "application/octet-stream", "revpos": 1,
        "digest": format!("md5-{HELLO}"), "length": 5, "stub": true}});
    assert_eq!(read["_attachments"], attachments);
    let foreign = rev(9, '9');
    let read = session
        .get(&format!("{doc}?atts_since=%5B%22{foreign}%22%5D"))
        .await;
    assert_eq!(read.json()["_attachments"]["a"]["data"], "aGVsbG8=");

    // A member that is left out is gone.
    let bare = json!({"_rev": second});
    session.put(&doc, &bare).await.expect(201);
    assert_eq!(session.get(&doc).await.json().get("_attachments"), None);
    session.get(&format!("{doc}/a")).await.expect(404);
}

#[tokio::test]
async fn replicated_stubs_stand_for_what_an_ancestor_has() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let bulk = format!("{db}/_bulk_docs");
    let write = async |generation: u64, digits: &str, attachments: Value| {
        let mut doc = support::history("x", generation, digits, json!(digits));
        doc["_attachments"] = attachments;
        let body = json!({"docs": [doc], "new_edits": false});
        session.post(&bulk, &body).await.expect(201).json()
    };
    let read = async |generation: u64, digit: char| {
        let path = format!("{db}/x/a?rev={}", rev(generation, digit));
        session.get(&path).await
    };
    let data = |data: &str, revpos: u64| json!({"a": {"data": data, "revpos": revpos}});
    assert_eq!(write(2, "21", data("aGVsbG8=", 2)).await, json!([]));
    // revpos 9 of a second generation is a lie that is corrected.
    assert_eq!(write(2, "91", data("Yg==", 9)).await, json!([]));
    // By its name the stub means what its own ancestor has, though another branch wins.
    let stub = json!({"a": {"stub": true}});
    assert_eq!(write(4, "4321", stub.clone()).await, json!([]));
    assert_eq!(read(4, '4').await.expect(200).text(), "hello");
    assert_eq!(read(2, '9').await.expect(200).text(), "b");
    // With its digest only that content, and none of another branch, which it does not descend from.
    let digest = json!({"a": {"stub": true, "digest": format!("md5-{HELLO}")}});
    let refused = write(3, "891", digest.clone()).await;
    assert_eq!(refused[0]["error"], "missing_stub");
    assert_eq!(write(5, "54321", digest).await, json!([]));
    assert_eq!(read(5, '5').await.expect(200).text(), "hello");
    // A stranger's history has no right to a name, nor to a content.
    assert_eq!(write(3, "765", stub).await[0]["error"], "missing_stub");
    let all = session.get(&format!("{db}/x?open_revs=all")).await.json();
    let revpos = |digit: char| {
        let rows = all.as_array().unwrap().iter();
        let row = rows
            .map(|row| &row["ok"])
            .find(|doc| doc["_rev"].as_str().unwrap().contains(digit));
        row.unwrap()["_attachments"]["a"]["revpos"].clone()
    };
    assert_eq!((revpos('5'), revpos('9')), (json!(2), json!(2)));
}

#[tokio::test]
async fn a_document_with_its_contents_behind_it_is_written_in_one_request() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let put = async |path: &str, document: Value, contents: &[(&str, &[u8])]| {
        let boundary = Boundary::new("=_b 1").unwrap();
        let mut body = b"preamble\r\n".to_vec();
        body.extend(boundary.before_part(false, &[("content-type", "application/json")]));
        body.extend(document.to_string().into_bytes());
        for (disposition, content) in contents {
            let headers = [("content-disposition", *disposition)];
            let headers = if disposition.is_empty() {
                &[][..]
            } else {
                &headers
            };
            body.extend(boundary.before_part(false, headers));
            body.extend_from_slice(content);
        }
        body.extend(boundary.end());
        let kind = boundary.content_type("related");
        session
            .with(
                "PUT",
                &format!("{db}/{path}"),
                &[("content-type", &kind)],
                body,
            )
            .await
    };
    let follows =
        |length: usize| json!({"content_type": "text/plain", "follows": true, "length": length});
    // In the order of the document, which is not that of the alphabet.
    let text = format!(
        r#"{{"_id":"x","z":1,"_attachments":{{"b":{},"a":{}}}}}"#,
        follows(5),
        follows(3)
    );
    let boundary = "abc";
    let body = format!(
        "--{boundary}\r\n\r\n{text}\r\n--{boundary}\r\n\r\nhello\r\n--{boundary}\r\n\r\n\r\n-\r\n--{boundary}--"
    );
    let kind = [("content-type", "multipart/related;boundary=abc")];
    session
        .with("PUT", &format!("{db}/x"), &kind, body)
        .await
        .expect(201);
    assert_eq!(session.get(&format!("{db}/x/b")).await.text(), "hello");
    assert_eq!(session.get(&format!("{db}/x/a")).await.text(), "\r\n-");

    // By their names, as a replicator sends history.
    let mut document = support::history("y", 2, "21", json!(1));
    document["_attachments"] = json!({"a": follows(1), "b": follows(2), "c": {"data": "Yw=="}});
    let contents: [(&str, &[u8]); 2] = [
        ("attachment; filename=\"b\"", b"bb"),
        ("attachment; filename=\"a\"", b"a"),
    ];
    put("y?new_edits=false", document.clone(), &contents)
        .await
        .expect(201);
    assert_eq!(session.rev_of(&format!("{db}/y")).await, rev(2, '2'));
    for (name, expected) in [("a", "a"), ("b", "bb"), ("c", "c")] {
        assert_eq!(
            session.get(&format!("{db}/y/{name}")).await.text(),
            expected
        );
    }

    let one = |attachment: Value| json!({"_attachments": {"a": attachment}});
    let wrong_digest = json!({"follows": true, "digest": format!("md5-{HELLO}")});
    let refused = put("w", one(wrong_digest), &[("", b"x")])
        .await
        .expect(400)
        .json();
    assert_eq!(refused["error"], "content_md5_mismatch");
    put("w", one(follows(2)), &[("", b"x")]).await.expect(400);
    put("w", one(follows(1)), &[]).await.expect(400);
    put("w", one(follows(1)), &[("", b"x"), ("", b"y")])
        .await
        .expect(400);
    put("w", json!([]), &[]).await.expect(400);
    session
        .with("PUT", &format!("{db}/w"), &kind, "--abc\r\n\r\n{}")
        .await
        .expect(400);
    let none = [("content-type", "multipart/related")];
    session
        .with("PUT", &format!("{db}/w"), &none, "--abc--")
        .await
        .expect(400);
    session.get(&format!("{db}/w")).await.expect(404);
}

#[tokio::test]
async fn who_can_read_parts_gets_contents_as_parts() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let doc = format!("{db}/x");
    let content = large(600_000);
    session
        .with(
            "PUT",
            &format!("{doc}/a%22b"),
            &[("content-type", "image/png")],
            content.clone(),
        )
        .await
        .expect(201);
    let related = [("accept", "multipart/related")];
    let answer = session
        .get_with(&format!("{doc}?attachments=true"), &related)
        .await;
    let kind = text(answer.expect(200), "content-type");
    assert!(kind.starts_with("multipart/related; boundary=\""), "{kind}");
    assert_eq!(
        text(&answer, "content-length"),
        answer.body.len().to_string()
    );
    let boundary = Boundary::of_content_type(&kind).unwrap();
    let read = parts(&answer.body, &boundary, 3).unwrap();
    let document: Value = serde_json::from_slice(read[0].body).unwrap();
    let attachment = &document["_attachments"]["a\"b"];
    assert_eq!(
        (&attachment["follows"], &attachment["length"]),
        (&json!(true), &json!(600_000))
    );
    assert_eq!(read[1].body, content);
    assert_eq!(
        read[1].header("content-disposition"),
        Some("attachment; filename=\"a\\\"b\"")
    );
    assert_eq!(read[1].header("content-type"), Some("image/png"));
    // What was told is written back as it is.
    let document = document.as_object().unwrap().clone();
    let path = format!("{db}/copy?new_edits=false");
    let mut copy = Value::Object(document);
    copy["_id"] = "copy".into();
    let body = {
        let mut body = boundary.before_part(true, &[]);
        body.extend(copy.to_string().into_bytes());
        body.extend(boundary.before_part(
            false,
            &[("content-disposition", "attachment; filename=\"a\\\"b\"")],
        ));
        body.extend_from_slice(&content);
        body.extend(boundary.end());
        body
    };
    session
        .with("PUT", &path, &[("content-type", &kind)], body)
        .await
        .expect(201);
    assert_eq!(session.get(&format!("{db}/copy/a%22b")).await.body, content);
    // Nothing to send behind it: JSON.
    let stubs = session.get_with(&doc, &related).await;
    assert_eq!(text(&stubs, "content-type"), "application/json");

    // Several revisions, one of which nobody knows.
    let known = session.rev_of(&doc).await;
    let wanted = format!("%5B%22{known}%22,%22{}%22%5D", rev(7, '7'));
    let path = format!("{doc}?revs=true&attachments=true&open_revs={wanted}");
    let mixed = session
        .get_with(&path, &[("accept", "multipart/mixed")])
        .await;
    let boundary = Boundary::of_content_type(&text(mixed.expect(200), "content-type")).unwrap();
    let read = parts(&mixed.body, &boundary, 3).unwrap();
    let inner = Boundary::of_content_type(read[0].header("content-type").unwrap()).unwrap();
    let inner = parts(read[0].body, &inner, 3).unwrap();
    let document: Value = serde_json::from_slice(inner[0].body).unwrap();
    assert_eq!(document["_revisions"]["start"], 1);
    assert_eq!(inner[1].body, content);
    assert_eq!(
        read[1].header("content-type"),
        Some("application/json; error=\"true\"")
    );
    let missing: Value = serde_json::from_slice(read[1].body).unwrap();
    assert_eq!(missing["missing"], rev(7, '7'));
}

#[tokio::test]
async fn a_gzipped_content_is_kept_as_it_is_and_decoded_for_who_cannot() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let at = format!("{db}/x/a");
    let content = large(400_000);
    let zipped = gzip(&content);
    let headers = [("content-encoding", "gzip"), ("content-type", "text/plain")];
    session
        .with("PUT", &at, &headers, zipped.clone())
        .await
        .expect(201);
    let read = session
        .get_with(&at, &[("accept-encoding", "br, gzip")])
        .await;
    assert_eq!(
        (text(&read, "content-encoding"), &read.body[..]),
        ("gzip".into(), &zipped[..])
    );
    for accept in ["identity", "gzip;q=0"] {
        let read = session.get_with(&at, &[("accept-encoding", accept)]).await;
        assert_eq!(read.expect(200).body, content);
        assert_eq!(text(&read, "content-length"), content.len().to_string());
        assert!(!read.headers.contains_key("content-encoding"));
        assert_eq!(text(&read, "accept-ranges"), "none");
    }
    let told = session
        .get(&format!("{db}/x?att_encoding_info=true"))
        .await
        .json();
    let told = &told["_attachments"]["a"];
    assert_eq!(
        (&told["encoding"], &told["length"]),
        (&json!("gzip"), &json!(400_000))
    );
    assert_eq!(told["encoded_length"], zipped.len());
    let stub = session.get(&format!("{db}/x")).await.json();
    assert_eq!(stub["_attachments"]["a"].get("encoding"), None);
    let inline = session
        .get(&format!("{db}/x?attachments=true"))
        .await
        .json();
    let data = inline["_attachments"]["a"]["data"].as_str().unwrap();
    assert_eq!(STANDARD.decode(data).unwrap(), content);
    // A replicator takes it as it is kept, and brings it so.
    let path = format!("{db}/x?attachments=true&att_encoding_info=true");
    let answer = session
        .get_with(&path, &[("accept", "multipart/related")])
        .await;
    let kind = text(&answer, "content-type");
    let read = parts(&answer.body, &Boundary::of_content_type(&kind).unwrap(), 3).unwrap();
    assert_eq!(
        (read[1].header("content-encoding"), read[1].body),
        (Some("gzip"), &zipped[..])
    );
    let body = answer.body.clone();
    let there = session.database("there").await;
    session
        .with(
            "PUT",
            &format!("{there}/x?new_edits=false"),
            &[("content-type", &kind)],
            body,
        )
        .await
        .expect(201);
    assert_eq!(session.get(&format!("{there}/x/a")).await.body, content);

    session
        .with("PUT", &format!("{db}/y/a"), &headers, "no gzip")
        .await
        .expect(400);
    let brotli = [("content-encoding", "br")];
    session
        .with("PUT", &format!("{db}/y/a"), &brotli, "x")
        .await
        .expect(415);
    let md5 = [("content-md5", HELLO)];
    let mismatch = session.with("PUT", &format!("{db}/y/a"), &md5, "x").await;
    assert_eq!(mismatch.expect(400).json()["error"], "content_md5_mismatch");
    session
        .with("PUT", &format!("{db}/y/a"), &md5, "hello")
        .await
        .expect(201);
}

#[tokio::test]
async fn only_who_may_write_puts_and_only_who_may_read_gets() {
    let node = Node::start().await;
    let owner = node.session(1).await;
    let public = json!({"read": "public", "write": "owner"});
    let db = owner.database_with("d", &public).await;
    let at = format!("{db}/x/a");
    owner.with("PUT", &at, &[], "hello").await.expect(201);
    let rev = owner.rev_of(&format!("{db}/x")).await;
    let reader = node.session(2).await;
    assert_eq!(reader.get(&at).await.expect(200).text(), "hello");
    reader
        .with("PUT", &format!("{at}?rev={rev}"), &[], "x")
        .await
        .expect(401);
    reader
        .with("PUT", &format!("{db}/y/a"), &[], "x")
        .await
        .expect(401);
    reader
        .send("DELETE", &format!("{at}?rev={rev}"), &Value::Null)
        .await
        .expect(401);
    let kind = [("content-type", "multipart/related; boundary=b")];
    let body = "--b\r\n\r\n{}\r\n--b--";
    reader
        .with("PUT", &format!("{db}/y"), &kind, body)
        .await
        .expect(401);
    let design = format!("{db}/_design/d/a");
    reader.with("PUT", &design, &[], "x").await.expect(401);
    owner.with("PUT", &design, &[], "x").await.expect(201);

    let private = owner.database("private").await;
    let at = format!("{private}/x/a");
    owner.with("PUT", &at, &[], "hello").await.expect(201);
    reader.get(&at).await.expect(403);
    node.client()
        .send("GET", &at, &Credential::None, "")
        .await
        .expect(401);
}

#[tokio::test]
async fn one_byte_over_a_limit_of_attachments_is_413() {
    let limits = Limits {
        attachment_bytes: 1_000,
        attachments_bytes: 2_000,
        ..Limits::default()
    };
    let node = Node::with_limits(limits).await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let of = |bytes: usize| vec![b'x'; bytes];
    session
        .with("PUT", &format!("{db}/a/a"), &[], of(1_000))
        .await
        .expect(201);
    let over = session
        .with("PUT", &format!("{db}/b/a"), &[], of(1_001))
        .await;
    assert_eq!(over.expect(413).json()["error"], "too_large");
    let inline = |sizes: &[usize]| {
        let attachment = |bytes: &usize| json!({"data": STANDARD.encode(of(*bytes))});
        let members = sizes.iter().enumerate();
        let members: serde_json::Map<String, Value> = members
            .map(|(i, size)| (format!("n{i}"), attachment(size)))
            .collect();
        json!({"_attachments": members})
    };
    session
        .put(&format!("{db}/c"), &inline(&[1_000, 1_000]))
        .await
        .expect(201);
    session
        .put(&format!("{db}/d"), &inline(&[1_000, 1_000, 1]))
        .await
        .expect(413);
    session
        .put(&format!("{db}/d"), &inline(&[1_001]))
        .await
        .expect(413);
    let bulk = json!({"docs": [inline(&[1_001]), inline(&[1])]});
    let lines = session
        .post(&format!("{db}/_bulk_docs"), &bulk)
        .await
        .expect(201)
        .json();
    assert_eq!(
        (&lines[0]["error"], &lines[1]["ok"]),
        (&json!("too_large"), &json!(true))
    );
    // Small as it is sent, large as it is read.
    let zipped = gzip(&of(1_001));
    let headers = [("content-encoding", "gzip")];
    session
        .with("PUT", &format!("{db}/e/a"), &headers, zipped)
        .await
        .expect(413);
    let names: serde_json::Map<String, Value> = (0..=1_000)
        .map(|n| (format!("n{n}"), json!({"data": ""})))
        .collect();
    let many = json!({"_attachments": names});
    session.put(&format!("{db}/f"), &many).await.expect(413);
}

#[tokio::test]
async fn a_content_is_counted_once_freed_with_its_last_revision_and_survives_a_restart() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    assert_eq!(session.bytes(&db).await, 0);
    let content = large(300_000);
    session
        .with("PUT", &format!("{db}/a/x"), &[], content.clone())
        .await
        .expect(201);
    let one = session.bytes(&db).await;
    assert!((300_000..301_000).contains(&one), "{one}");
    session
        .with("PUT", &format!("{db}/b/y"), &[], content.clone())
        .await
        .expect(201);
    assert!(session.bytes(&db).await < one + 1_000);

    let rev = session.rev_of(&format!("{db}/a")).await;
    session
        .send("DELETE", &format!("{db}/a?rev={rev}"), &Value::Null)
        .await
        .expect(200);
    assert_eq!(session.get(&format!("{db}/b/y")).await.body, content);
    // While an answer is under way, its content may go: what was begun is told to its end.
    let open = session
        .client
        .open("GET", &format!("{db}/b/y"), &session.access, "")
        .await;
    let rev = session.rev_of(&format!("{db}/b")).await;
    session
        .send("DELETE", &format!("{db}/b/y?rev={rev}"), &Value::Null)
        .await
        .expect(200);
    assert_eq!(Answer::read(open).await.body, content);
    assert!(session.bytes(&db).await < 1_000);

    session
        .with("PUT", &format!("{db}/p/x"), &[], content.clone())
        .await
        .expect(201);
    let rev = session.rev_of(&format!("{db}/p")).await;
    session
        .post(&format!("{db}/_purge"), &json!({"p": [rev]}))
        .await
        .expect(201);
    assert!(session.bytes(&db).await < 1_000);

    session
        .with("PUT", &format!("{db}/c/z"), &[], content.clone())
        .await
        .expect(201);
    let path = format!("{db}/c/z");
    let (access, node) = (session.access.clone(), node.restart().await);
    let read = node.client().send("GET", &path, &access, "").await;
    assert_eq!(read.expect(200).body, content);
}

#[tokio::test]
async fn any_text_is_kept_as_a_content_type_and_told_in_a_header_if_it_can_be() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let long = "x".repeat(300);
    for (i, (sent, kept, told)) in [
        ("text/plain", "text/plain", "text/plain"),
        ("", "", "application/octet-stream"),
        (long.as_str(), long.as_str(), "application/octet-stream"),
        (
            "text/plain; charset=ü",
            "text/plain; charset=ü",
            "application/octet-stream",
        ),
        ("a\r\nb: c", "ab: c", "ab: c"),
    ]
    .into_iter()
    .enumerate()
    {
        let revisions = json!({"start": 1, "ids": ["a".repeat(32)]});
        let attachments = json!({"f": {"content_type": sent, "data": "YQ=="}});
        let document =
            json!({"_id": i.to_string(), "_revisions": revisions, "_attachments": attachments});
        let body = json!({"docs": [document], "new_edits": false});
        let lines = session.post(&format!("{db}/_bulk_docs"), &body).await;
        assert_eq!(lines.expect(201).json(), json!([]));
        let read = session.get(&format!("{db}/{i}")).await.expect(200).json();
        assert_eq!(read["_attachments"]["f"]["content_type"], kept);
        let content = session.get(&format!("{db}/{i}/f")).await;
        assert_eq!(text(content.expect(200), "content-type"), told);
        let accept = [("accept", "multipart/related")];
        let parts = session
            .get_with(&format!("{db}/{i}?attachments=true"), &accept)
            .await;
        assert!(
            parts.text().contains(&format!("Content-Type: {told}\r\n")),
            "{}",
            parts.text()
        );
    }
}

#[tokio::test]
async fn a_reader_who_takes_his_time_keeps_nothing_from_being_given_back() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let content = large(8 << 20);
    let path = format!("{db}/a/f");
    session
        .with("PUT", &path, &[], content.clone())
        .await
        .expect(201);
    let gzipped = gzip(&large(4 << 20));
    let coding = [("content-encoding", "gzip")];
    session
        .with("PUT", &format!("{db}/g/f"), &coding, gzipped)
        .await
        .expect(201);
    let before = session.get(&db).await.json()["sizes"]["file"]
        .as_u64()
        .unwrap();

    // Each has begun to read, and goes on when he likes.
    let open = async |path: String| {
        let client = &session.client;
        let mut answer = client
            .open("GET", &path, &session.access, "")
            .await
            .into_body();
        let first = answer.frame().await.unwrap().unwrap().into_data().unwrap();
        (first.to_vec(), answer)
    };
    let (mut read, mut slow) = open(path).await;
    let _others = [
        open(format!("{db}/g/f")).await,
        open(format!("{db}/a?attachments=true")).await,
        open(format!("{db}/_all_docs?include_docs=true&attachments=true")).await,
        open(format!("{db}/_changes?include_docs=true&attachments=true")).await,
        open(format!("{db}/a?open_revs=all&attachments=true")).await,
    ];
    let mut document = json!({});
    for n in 0..150 {
        document["f"] = format!("{n}{}", "f".repeat(200_000)).into();
        let written = session
            .put(&format!("{db}/d"), &document)
            .await
            .expect(201)
            .json();
        document["_rev"] = written["rev"].clone();
        if let Some(frame) = slow.frame().await {
            read.extend(frame.unwrap().into_data().unwrap());
        }
    }
    let after = session.get(&db).await.json()["sizes"]["file"]
        .as_u64()
        .unwrap();
    assert!(after < before * 2, "{before} bytes have become {after}");
    while let Some(frame) = slow.frame().await {
        read.extend(frame.unwrap().into_data().unwrap());
    }
    assert!(read == content);
}

#[tokio::test]
async fn a_content_that_goes_while_it_is_told_ends_its_answer_in_the_middle() {
    let node = Node::start().await;
    let session = node.session(1).await;
    let db = session.database("d").await;
    let path = format!("{db}/a/f");
    let content = large(32 << 20);
    session
        .with("PUT", &path, &[], content.clone())
        .await
        .expect(201);
    let client = &session.client;
    let answer = client.open("GET", &path, &session.access, "").await;
    assert_eq!(
        text_of(&answer, "content-length"),
        content.len().to_string()
    );
    let mut answer = answer.into_body();
    let mut read = answer
        .frame()
        .await
        .unwrap()
        .unwrap()
        .into_data()
        .unwrap()
        .len();
    let rev = session.rev_of(&format!("{db}/a")).await;
    session
        .send("DELETE", &format!("{db}/a?rev={rev}"), &Value::Null)
        .await
        .expect(200);
    let broken = loop {
        match answer.frame().await {
            Some(Ok(frame)) => read += frame.into_data().unwrap().len(),
            Some(Err(_)) => break true,
            None => break false,
        }
    };
    assert!(broken && read < content.len(), "{read}");
}

fn text_of(answer: &http::Response<hyper::body::Incoming>, header: &str) -> String {
    answer.headers()[header].to_str().unwrap().to_owned()
}
