//! Any bytes as a multipart body and as `_attachments`: read or refused, never a panic; what is read is written and read to the same.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use adyton_couch::attachment::read_attachments;
use adyton_couch::limits::MAX_ATTACHMENTS;
use adyton_couch::multipart::{Boundary, parameter, parts};

const LIMIT: usize = 8;

fn check(bytes: &[u8]) {
    let boundary = Boundary::new("b").unwrap();
    if let Ok(read) = parts(bytes, &boundary, LIMIT) {
        assert!(read.len() <= LIMIT);
        assert!(read.iter().map(|part| part.body.len()).sum::<usize>() <= bytes.len());
        // Another boundary, which no part of the body holds.
        let fresh = Boundary::new("never-in-a-seed-0123456789").unwrap();
        let mut written = Vec::new();
        for (i, part) in read.iter().enumerate() {
            let kind = part.header("content-type").unwrap_or("none");
            written.extend(fresh.before_part(i == 0, &[("content-type", kind)]));
            written.extend_from_slice(part.body);
        }
        written.extend(fresh.end());
        let again = parts(&written, &fresh, LIMIT).unwrap();
        assert_eq!(again.len(), read.len());
        for (again, part) in again.iter().zip(&read) {
            assert_eq!(again.body, part.body);
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _boundary = Boundary::of_content_type(text);
        let _name = parameter(text, "filename");
        if let Ok(read) = read_attachments(text) {
            assert!(read.len() <= MAX_ATTACHMENTS);
        }
    }
}

#[test]
fn any_bytes_as_a_multipart_body() {
    bolero::check!().for_each(check);
}

#[test]
fn seeds() {
    for seed in [
        &b"--b\r\nContent-Type: application/json\r\n\r\n{\"a\":1}\r\n--b\r\nContent-Disposition: attachment; filename=\"a\"\r\n\r\nhello\r\n--b--"[..],
        b"preamble\r\n--b\r\n\r\n\r\n--b\r\n\r\n\r\n--b-- epilogue",
        b"--b\r\n\r\n--bc\r\n--b",
        b"--b--",
        b"--b\r\n\r\n--b--",
        br#"{"a":{"data":"aGVsbG8="},"b":{"stub":true},"c":{"follows":true,"length":5}}"#,
        br#"{"a":{"data":"\u0061"}}"#,
        br#"multipart/related; boundary="a\"b"; filename="#,
    ] {
        check(seed);
    }
}
