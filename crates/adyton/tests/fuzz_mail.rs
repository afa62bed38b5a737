//! Any bytes as a mailbox: no panic, no lost byte count, and only records that their schema accepts.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use std::sync::LazyLock;

use adyton::mail::{Broken, Import, Item, Mbox, MboxError, Owner, html_to_text};
use adyton_client::schema::SchemaSet;

static SCHEMAS: LazyLock<SchemaSet> = LazyLock::new(|| SchemaSet::embedded().unwrap());

fn import(bytes: &[u8]) {
    let mut import = Import::new(Mbox::new(bytes), Owner::new(["me@example.org"]));
    let mut last = None;
    for item in import.by_ref() {
        match item {
            Ok(Item::Record(record)) => {
                let value = serde_json::to_value(&record).unwrap();
                let validator = SCHEMAS.validator(&record.schema).unwrap();
                validator
                    .validate(&value)
                    .unwrap_or_else(|bad| panic!("{:?}", bad.violations()));
            }
            Ok(Item::Skipped(skip)) => {
                assert!(last < Some(skip.offset), "offsets only grow");
                last = Some(skip.offset);
                assert_ne!(skip.reason, Broken::TooLarge);
            }
            Err(error) => {
                assert!(matches!(error, MboxError::NotMbox));
                return;
            }
        }
    }
    assert_eq!(import.position(), bytes.len() as u64);
}

#[test]
fn any_bytes_are_a_mailbox_or_refused() {
    bolero::check!().for_each(import);
}

#[test]
fn any_bytes_after_a_separator_are_a_message_or_reported() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let mut text =
            b"From a@example.org Thu Feb  1 10:11:12 2024\nFrom: a@example.org\n".to_vec();
        text.extend_from_slice(bytes);
        import(&text);
    });
}

/// Pieces that mean something to a mail parser, in any order.
#[test]
fn any_order_of_meaningful_pieces_is_survived() {
    const PIECES: &[&str] = &[
        "\n",
        "\r\n",
        "\n\n",
        "From a@example.org Thu Feb  1 10:11:12 2024\n",
        ">From ",
        "--b\n",
        "--b--\n",
        "From: =?utf-8?B?w6Q=?= <a@example.org>\n",
        "To: b@example.org, (c) d:;\n",
        "Date: Thu, 1 Feb 2024 10:00:00 +0100\n",
        "Content-Type: multipart/alternative; boundary=b\n",
        "Content-Type: text/html; charset=utf-7\n",
        "Content-Type: multipart/digest; boundary=\"b\"\n",
        "Content-Type: message/rfc822\n",
        "Content-Transfer-Encoding: base64\n",
        "Content-Transfer-Encoding: quoted-printable\n",
        "Content-Disposition: attachment; filename*0*=utf-8''%E4; filename*1=x\n",
        "Subject: =?gb2312?Q?=\n",
        "SGVsbG8=\n",
        "=C3=\n=A9",
        "<p>&amp;<!--",
        "--></script>",
        "References: <a> <b\n",
        "\u{0}",
        "\t",
        "ä",
        "=",
    ];
    bolero::check!().with_type::<Vec<u8>>().for_each(|choices| {
        let pieces = choices
            .iter()
            .map(|choice| PIECES[usize::from(*choice) % PIECES.len()]);
        let text: String = pieces.collect();
        import(text.as_bytes());
        import(format!("From - Thu Feb  1 10:11:12 2024\n{text}").as_bytes());
    });
}

#[test]
fn any_text_is_html() {
    bolero::check!().for_each(|bytes: &[u8]| {
        let html = String::from_utf8_lossy(bytes);
        assert!(html_to_text(&html).len() <= html.len() + 2 * html.matches('<').count());
    });
}
