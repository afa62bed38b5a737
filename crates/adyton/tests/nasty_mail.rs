//! Mail as it comes: wrong, old, foreign, hostile. Every message gives a valid record or a reason.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use adyton::mail::{
    Broken, EmailRecord, Import, Item, MAX_BOUNDARIES, Mbox, MessageType, Owner, RawMessage,
    read_message,
};
use adyton_client::schema::SchemaSet;

const SEPARATOR: &str = "From - Thu Feb  1 10:11:12 2024\n";

fn owner() -> Owner {
    Owner::new(["me@example.org", "Me.Too@example.com"])
}

fn try_read(bytes: impl Into<Vec<u8>>) -> Result<EmailRecord, Broken> {
    let raw = RawMessage {
        offset: 0,
        separator: None,
        bytes: bytes.into(),
    };
    let record = read_message(raw, &owner())?;
    let value = serde_json::to_value(&record).unwrap();
    let schemas = SchemaSet::embedded().unwrap();
    schemas
        .validator(&record.schema)
        .unwrap()
        .validate(&value)
        .unwrap_or_else(|invalid| panic!("{:?}", invalid.violations()));
    Ok(record)
}

fn read(bytes: impl Into<Vec<u8>>) -> EmailRecord {
    try_read(bytes).unwrap()
}

#[test]
fn a_plain_message_fills_every_member() {
    let record = read(
        "From: \"Ann B.\" <Ann@Example.org>\r\nTo: Me <me@example.org>, you@example.org\r\n\
         Subject: Lunch\r\n on Friday\r\nDate: Thu, 1 Feb 2024 11:11:12 +0100\r\n\
         Message-ID: <m1@example.org>\r\nReferences: <root@example.org> <m0@example.org>\r\n\
         In-Reply-To: <m0@example.org>\r\n\r\nAt noon?\r\n",
    );
    assert_eq!(record.name, "Lunch on Friday");
    assert_eq!(record.direction, MessageType::Receive);
    assert_eq!(
        (&*record.from_name, &*record.from_email),
        ("Ann B.", "ann@example.org")
    );
    assert_eq!(
        (&*record.to_name, &*record.to_email),
        ("Me", "me@example.org")
    );
    assert_eq!(record.message_text, "At noon?\n");
    assert_eq!(record.message_html, "");
    assert_eq!(record.sent_at, "2024-02-01T10:11:12.000Z");
    assert_eq!(record.inserted_at, record.sent_at);
    assert_eq!(record.thread_id, "root@example.org");
    assert_eq!(record.source_id, "m1@example.org");
    assert_eq!(record.source_account_id, "me@example.org");
    assert_eq!(record.source_application, "application/mbox");
    assert_eq!(record.source_data.to, ["me@example.org", "you@example.org"]);
    assert_eq!(record.source_data.in_reply_to, "m0@example.org");
    assert!(record.attachments.is_empty());
}

#[test]
fn what_the_owner_writes_from_any_address_is_sent() {
    let record = read("From: me.too@EXAMPLE.com\nTo: a@example.org\nSubject: x\n\nx");
    assert_eq!(record.direction, MessageType::Send);
    assert_eq!(record.from_name, "me.too@example.com");
}

#[test]
fn gmail_takeout_keeps_gmails_own_numbers() {
    let text = "From 1785612345678901234@xxx Thu Dec 18 09:00:01 +0000 2023\n\
        X-GM-THRID: 1785612345678900000\nX-Gmail-Labels: Sent,Important\nFrom: other@example.net\n\
        To: a@example.org\nDate: Thu, 18 Dec 2023 09:00:00 +0000\nSubject: x\n\nx\n";
    let mut import = Import::new(Mbox::new(text.as_bytes()), owner());
    let Some(Ok(Item::Record(record))) = import.next() else {
        panic!("no record")
    };
    assert_eq!(record.direction, MessageType::Send);
    assert_eq!(
        record.thread_id,
        format!("{:x}", 1_785_612_345_678_900_000_u64)
    );
    assert_eq!(
        record.source_id,
        format!("{:x}", 1_785_612_345_678_901_234_u64)
    );
    assert_eq!(record.source_application, "https://gmail.com/");
    assert_eq!(record.source_data.labels, ["Sent", "Important"]);
    assert_eq!(record.sent_at, "2023-12-18T09:00:00.000Z");
    assert_eq!(record.inserted_at, "2023-12-18T09:00:01.000Z");
}

#[test]
fn headers_in_every_encoding_are_read() {
    let record = read(
        "From: =?ISO-8859-1?Q?J=F6rg_M=FCller?= <joerg@example.org>\n\
         To: =?UTF-8?B?5bGx55Sw5aSq6YOO?= <me@example.org>\n\
         Subject: =?koi8-r?B?8NLJ18XU?= =?UTF-8?Q?=2C_=D7=A9=D7=9C=D7=95=D7=9D?=\n =?gb2312?B?xOO6ww==?=\n\n.",
    );
    assert_eq!(record.from_name, "Jörg Müller");
    assert_eq!(record.to_name, "山田太郎");
    assert_eq!(record.name, "Привет, שלום你好");
}

#[test]
fn bodies_in_every_charset_are_read() {
    for (charset, bytes, text) in [
        ("iso-8859-1", &b"Gr\xFC\xDFe"[..], "Grüße"),
        ("windows-1252", b"\x8020 \x96 \x93ok\x94", "€20 – “ok”"),
        ("iso-8859-15", b"\xA4", "€"),
        ("koi8-r", b"\xF0\xD2\xC9\xD7\xC5\xD4", "Привет"),
        ("windows-1251", b"\xCF\xF0\xE8\xE2\xE5\xF2", "Привет"),
        (
            "shift_jis",
            b"\x82\xB1\x82\xF1\x82\xC9\x82\xBF\x82\xCD",
            "こんにちは",
        ),
        ("iso-2022-jp", b"\x1b$B$3$s$K$A$O\x1b(B", "こんにちは"),
        ("euc-kr", b"\xBE\xC8\xB3\xE7", "안녕"),
        ("gb18030", b"\xC4\xE3\xBA\xC3", "你好"),
        ("big5", b"\xA7\x41\xA6\x6E", "你好"),
        ("utf-7", b"Hi +AOQ-", "Hi ä"),
    ] {
        let mut raw = format!(
            "From: a@example.org\nContent-Type: text/plain; charset={charset}\n\
             Content-Transfer-Encoding: 8bit\n\n"
        )
        .into_bytes();
        raw.extend_from_slice(bytes);
        assert_eq!(read(raw).message_text, text, "{charset}");
    }
}

#[test]
fn an_unknown_charset_and_raw_bytes_lose_letters_and_not_the_message() {
    let mut raw = b"From: a@example.org\nSubject: \xFF\xFE caf\xE9\nContent-Type: text/plain; charset=x-klingon\n\n".to_vec();
    raw.extend(0..=255u8);
    let record = read(raw);
    assert!(record.name.contains("caf"));
    assert!(record.message_text.contains("ABC"));
}

#[test]
fn letters_without_a_charset_are_taken_for_windows_1252() {
    for kind in [
        "",
        "Content-Type: text/plain; charset=us-ascii\n",
        "Content-Type: text/plain; charset=odd\n",
    ] {
        let mut raw = b"From: J\xF6rg <j@example.org>\nSubject: caf\xE9 \x80\n".to_vec();
        raw.extend_from_slice(kind.as_bytes());
        raw.extend_from_slice(b"\nGr\xFC\xDFe\n");
        let record = read(raw);
        assert_eq!(record.from_name, "Jörg");
        assert_eq!(record.name, "café €");
        assert_eq!(record.message_text, "Grüße\n");
    }
    let record = read("From: Jörg <j@example.org>\nSubject: café\n\nGrüße");
    assert_eq!(
        (&*record.from_name, &*record.name, &*record.message_text),
        ("Jörg", "café", "Grüße")
    );
}

#[test]
fn html_alone_gives_text_as_well() {
    let record = read(
        "From: a@example.org\nContent-Type: text/html; charset=utf-8\n\
         Content-Transfer-Encoding: quoted-printable\n\n<p>Caf=C3=A9 &amp; <b>cake</b></p>=\n<p>B</p>",
    );
    assert_eq!(record.message_text, "Café & cake\n\nB");
    assert_eq!(record.message_html, "<p>Café &amp; <b>cake</b></p><p>B</p>");
}

#[test]
fn nested_multiparts_give_one_text_one_html_and_the_files() {
    let record = read(
        "From: a@example.org\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"o\"\n\n\
         preamble\n--o\nContent-Type: multipart/related; boundary=r\n\n\
         --r\nContent-Type: multipart/alternative; boundary=a\n\n\
         --a\nContent-Type: text/plain\n\nplain\n--a\nContent-Type: text/html\n\n<i>html</i>\n--a--\n\
         --r\nContent-Type: image/png; name=logo.png\nContent-ID: <l>\nContent-Transfer-Encoding: base64\n\niVBORw0KGgo=\n--r--\n\
         --o\nContent-Type: application/pdf\nContent-Disposition: attachment; filename*=UTF-8''Rechnung%20M%C3%A4rz.pdf\n\
         Content-Transfer-Encoding: base64\n\nJVBERi0xLjQK\n\
         --o\nContent-Type: text/csv\nContent-Disposition: attachment; filename=\"../../etc/a.csv\"\n\na;b\n1;2\n\
         --o--\nepilogue\n",
    );
    assert_eq!(record.message_text.trim(), "plain");
    assert_eq!(record.message_html.trim(), "<i>html</i>");
    let names: Vec<&str> = record
        .attachments
        .iter()
        .map(|file| &*file.filename)
        .collect();
    assert_eq!(names, ["logo.png", "Rechnung März.pdf", "a.csv"]);
    assert_eq!(record.attachments[2].text_content.trim(), "a;b\n1;2");
    assert_eq!(record.attachments[1].text_content, "");
}

#[test]
fn an_invitation_is_a_file_with_its_text() {
    let record = read(
        "From: a@example.org\nContent-Type: multipart/alternative; boundary=a\n\n\
         --a\nContent-Type: text/plain\n\nCome\n\
         --a\nContent-Type: text/calendar; method=REQUEST\n\nBEGIN:VCALENDAR\nEND:VCALENDAR\n--a--\n",
    );
    assert_eq!(record.message_text.trim(), "Come");
    assert_eq!(record.attachments[0].filename, "attachment-1.ics");
    assert!(
        record.attachments[0]
            .text_content
            .starts_with("BEGIN:VCALENDAR")
    );
}

#[test]
fn a_bounce_keeps_the_message_it_returns() {
    let record = read(
        "From: MAILER-DAEMON@example.net (Mail Delivery)\nTo: me@example.org\nSubject: failed\n\
         Content-Type: multipart/report; boundary=b\n\n--b\n\nIt failed.\n\
         --b\nContent-Type: message/delivery-status\n\nAction: failed\n\
         --b\nContent-Type: message/rfc822\n\nFrom: me@example.org\nSubject: My letter\n\nDear Bob\n--b--\n",
    );
    assert_eq!(record.message_text.trim(), "It failed.");
    let returned = record
        .attachments
        .iter()
        .find(|file| file.filename == "My letter.eml")
        .unwrap();
    assert!(
        returned.text_content.contains("Dear Bob"),
        "{}",
        returned.text_content
    );
}

#[test]
fn an_unfinished_multipart_gives_what_is_there() {
    for tail in [
        "",
        "--a",
        "--a\nContent-Type: text/plain",
        "--a\nContent-Type: text/plain\n\ncut o",
    ] {
        let record = read(format!(
            "From: a@example.org\nContent-Type: multipart/mixed; boundary=a\n\n{tail}"
        ));
        assert!(!record.message_text.is_empty());
    }
}

#[test]
fn broken_base64_and_quoted_printable_lose_no_message() {
    for (encoding, body) in [
        ("base64", "SGVsbG8*&^%$"),
        ("base64", "===="),
        ("quoted-printable", "a=ZZ=\n="),
    ] {
        read(format!(
            "From: a@example.org\nContent-Transfer-Encoding: {encoding}\n\n{body}"
        ));
    }
}

#[test]
fn a_missing_date_is_taken_from_where_there_is_one() {
    let separated = |message: &str| {
        let text = format!("{SEPARATOR}{message}");
        match Import::new(Mbox::new(text.as_bytes()), owner()).next() {
            Some(Ok(Item::Record(record))) => *record,
            other => panic!("{other:?}"),
        }
    };
    for date in [
        "",
        "Date: yesterday\n",
        "Date: Thu, 99 Foo 2024 99:99:99 +0000\n",
    ] {
        let record = separated(&format!("From: a@example.org\n{date}\nx"));
        assert_eq!(record.sent_at, "2024-02-01T10:11:12.000Z", "{date}");
    }
    let record =
        read("Received: from x by y; Thu, 1 Feb 2024 10:00:00 +0000\nFrom: a@example.org\n\nx");
    assert_eq!(record.sent_at, "2024-02-01T10:00:00.000Z");
    let record = read("From: a@example.org\n\nx");
    assert_eq!(record.sent_at, "1970-01-01T00:00:00.000Z");
    assert!(record.source_data.undated);
}

#[test]
fn a_message_without_an_identifier_still_has_one_id() {
    let message = "From: a@example.org\nSubject: x\n\nsame";
    let (first, second) = (read(message), read(message));
    assert_eq!(first.id, second.id);
    assert!(first.id.starts_with("mbox-"));
    assert_eq!(first.source_id, first.thread_id);
    assert_ne!(
        first.id,
        read("From: a@example.org\nSubject: x\n\nother").id
    );
}

#[test]
fn the_id_does_not_depend_on_the_export() {
    let message = |labels: &str| {
        format!(
            "{labels}From: a@example.org\nDate: Thu, 1 Feb 2024 10:00:00 +0000\n\
            Message-ID: <m@example.org>\nSubject: x\n\
            Content-Type: multipart/mixed; boundary=b\n\n\
            --b\n\nFrom here on\nsame\n--b\nContent-Type: text/csv\n\na\nb\n\
            --b\nContent-Type: message/rfc822\n\nSubject: inner\n\nx\ny\n--b--\n"
        )
    };
    let id = |text: String| match Import::new(Mbox::new(text.as_bytes()), owner()).next() {
        Some(Ok(Item::Record(record))) => record.id,
        other => panic!("{other:?}"),
    };
    let plain = id(format!(
        "{SEPARATOR}{}",
        message("").replace("\nFrom here", "\n>From here")
    ));
    let takeout = id(format!(
        "From 12@xxx Fri Feb  2 10:11:12 +0000 2024\n{}\n{SEPARATOR}",
        message("X-GM-THRID: 12\nX-Gmail-Labels: Inbox\n").replace("\nFrom here", "\n>From here")
    ));
    let crlf = id(message("").replace('\n', "\r\n"));
    assert_eq!(plain, takeout);
    assert_eq!(plain, crlf);
}

#[test]
fn two_messages_with_one_identifier_are_two_records() {
    let message = |body: &str| format!("From: a@example.org\nMessage-ID: <m@x>\n\n{body}");
    assert_ne!(read(message("one")).id, read(message("two")).id);
}

#[test]
fn no_sender_is_a_reason_and_a_fallback_is_tried_first() {
    assert_eq!(
        try_read("Subject: x\nTo: b@example.org\n\nx"),
        Err(Broken::NoSender)
    );
    assert_eq!(
        try_read("From: undisclosed\nSubject: x\n\nx"),
        Err(Broken::NoSender)
    );
    assert_eq!(
        read("Sender: s@example.org\nSubject: x\n\nx").from_email,
        "s@example.org"
    );
    assert_eq!(
        read("Return-Path: <r@example.org>\nSubject: x\n\nx").from_email,
        "r@example.org"
    );
    assert_eq!(
        read("X-Gmail-Labels: Sent\nSubject: x\n\nx").from_email,
        "me@example.org"
    );
}

#[test]
fn what_is_no_message_has_a_reason() {
    for noise in [
        "",
        "\n\n\n",
        "no header here",
        "\x00\x01\x02\x03",
        "{\"json\": true}",
        "X-Only: 1\n\nx",
    ] {
        assert_eq!(try_read(noise), Err(Broken::NoHeader), "{noise:?}");
    }
}

#[test]
fn huge_and_empty_headers_stay_small_in_the_record() {
    let long = "ä".repeat(500_000);
    let record = read(format!(
        "From: {long} <a@example.org>\nTo: {}\nSubject: {long}\nMessage-ID: <{long}>\nX-Long: {long}\n\nx",
        "b@example.org, ".repeat(50_000)
    ));
    assert!(serde_json::to_string(&record).unwrap().len() < 20_000);
    assert_eq!(record.source_data.to.len(), 32);
    let record =
        read("From: a@example.org\nTo:\nCc:\nSubject:\nMessage-ID:\nReferences:\nDate:\n\n");
    assert_eq!(record.name, "No email subject");
    assert_eq!(record.message_text, "No email body");
    assert_eq!(record.to_email, "me@example.org");
}

#[test]
fn a_subject_cannot_break_lines() {
    let record = read("From: a@example.org\nSubject: =?utf-8?Q?a=0D=0ABcc:_x=00=1B[31m?=\n\nx");
    assert_eq!(record.name, "a Bcc: x [31m");
}

#[test]
fn mixed_line_ends_make_no_difference() {
    let text = "From: a@example.org\r\nSubject: x\nTo: b@example.org\r\n\nline one\r\nline two\nline three\r\n";
    let record = read(text);
    assert_eq!(record.message_text, "line one\nline two\nline three\n");
}

#[test]
fn messages_inside_messages_may_lie_deep() {
    let deep = "Content-Type: message/rfc822\n\n".repeat(50_000);
    let record = read(format!(
        "From: a@example.org\n{deep}From: b@example.org\n\nx"
    ));
    assert_eq!(record.from_email, "a@example.org");
}

#[test]
fn encoded_messages_inside_messages_are_files_and_not_unpacked() {
    let deep = "Content-Type: message/rfc822\n\n".repeat(100_000);
    let encoded = deep.replace('=', "=3D");
    for subtype in ["rfc822", "RFC822", "global"] {
        let record = read(format!(
            "From: a@example.org\nContent-Type: message/{subtype}\nContent-Transfer-Encoding: quoted-printable\n\n{encoded}"
        ));
        assert_eq!(record.attachments.len(), 1);
    }
}

#[test]
fn multiparts_inside_multiparts_may_lie_deep_up_to_the_limit() {
    let nested = |depth: usize| {
        let mut text = "From: a@example.org\n".to_owned();
        for level in 0..depth {
            text += &format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n");
        }
        text + "\nx"
    };
    assert!(try_read(nested(MAX_BOUNDARIES)).is_ok());
    assert_eq!(
        try_read(nested(MAX_BOUNDARIES + 1)),
        Err(Broken::TooManyParts)
    );
}

#[test]
fn a_message_of_very_many_parts_is_refused() {
    let parts = "--b\n\nx\n".repeat(100_000);
    let message =
        format!("From: a@example.org\nContent-Type: multipart/mixed; boundary=b\n\n{parts}");
    assert_eq!(try_read(message), Err(Broken::TooManyParts));
}

#[test]
fn broken_messages_are_reported_with_their_place_and_the_rest_is_read() {
    let good = |n: u32| format!("{SEPARATOR}From: a@example.org\nSubject: {n}\n\nx\n\n");
    let text = format!(
        "{}{SEPARATOR}garbage\n\n{}{SEPARATOR}To: b@example.org\n\nx\n\n{}",
        good(1),
        good(2),
        good(3)
    );
    let mut names = Vec::new();
    let mut skipped = Vec::new();
    for item in Import::new(Mbox::new(text.as_bytes()), owner()) {
        match item.unwrap() {
            Item::Record(record) => names.push(record.name.clone()),
            Item::Skipped(skip) => skipped.push((skip.offset as usize, skip.reason)),
        }
    }
    assert_eq!(names, ["1", "2", "3"]);
    let one = good(1).len();
    assert_eq!(skipped[0], (one, Broken::NoHeader));
    assert_eq!(skipped[1].1, Broken::NoSender);
    assert!(text[skipped[1].0..].starts_with(&format!("{SEPARATOR}To: ")));
}
