//! Whatever the other end of the wire says, it is taken apart within limits and without a panic.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use adyton_vsock::notice::{Lines, MAX_LINE};
use adyton_vsock::{configuration, egress, hybrid};

#[test]
fn what_is_understood_as_a_request_is_written_as_it_was_read() {
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Some(end) = egress::head_end(bytes) {
            assert!(bytes[..end].ends_with(egress::HEAD_END));
        }
        if let Ok(address) = egress::parse_request(bytes) {
            let line = format!("CONNECT {address} HTTP/1.1\r\n");
            assert!(bytes.starts_with(line.as_bytes()));
            assert_eq!(
                egress::parse_request(egress::request(address).as_bytes()),
                Ok(address)
            );
        }
        if egress::parse_answer(bytes).is_ok() {
            assert!(bytes.starts_with(b"HTTP/1.1 ") && bytes.len() <= egress::MAX_HEAD);
        }
    });
}

#[test]
fn the_emulators_line_is_ok_or_not() {
    bolero::check!().for_each(|bytes: &[u8]| {
        if hybrid::is_ok(bytes) {
            let text = str::from_utf8(bytes).unwrap();
            assert!(text[3..].parse::<u32>().is_ok());
        }
    });
}

#[test]
fn notices_are_printable_and_short() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let mut lines = Lines::default();
        for line in lines.take(bytes) {
            assert!(line.len() < MAX_LINE);
            assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
    });
}

#[test]
fn a_configuration_is_read_as_it_was_sent() {
    bolero::check!().for_each(|bytes: &[u8]| {
        if let Ok(text) = configuration::read(&mut &*bytes) {
            let mut sent = configuration::head(&text).unwrap().to_vec();
            sent.extend_from_slice(text.as_bytes());
            assert!(bytes.starts_with(&sent));
        }
    });
}
