//! Synthetic records of a fixed size: words by Zipf's law, HTML with the escapes of real mail.

use serde_json::{Map, Value, json};

/// A small deterministic generator (SplitMix64): the same data on every machine.
pub(crate) struct Words(u64);

impl Words {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn word(&mut self, out: &mut String) {
        const SYLLABLES: [&str; 32] = [
            "ba", "co", "de", "fi", "go", "hu", "ja", "ke", "li", "mo", "nu", "pa", "qui", "re",
            "so", "tu", "va", "we", "xi", "yo", "zu", "ster", "ing", "tion", "ment", "ly", "er",
            "an", "on", "al", "is", "us",
        ];
        // A rank by Zipf's law over 40,000 words, spelled in syllables.
        let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        let mut rank = (40_000_f64.powf(uniform) - 1.0) as usize;
        loop {
            out.push_str(SYLLABLES.get(rank % 32).unwrap_or(&"a"));
            rank /= 32;
            if rank == 0 {
                return;
            }
        }
    }

    /// Characters that look like something sealed.
    pub(crate) fn base64(&mut self, characters: usize) -> String {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::with_capacity(characters + 10);
        while text.len() < characters {
            let bits = self.next();
            for six in 0..10 {
                let index = (bits >> (6 * six)) & 63;
                text.push(ALPHABET.get(index as usize).map_or('A', |c| char::from(*c)));
            }
        }
        text.truncate(characters);
        text
    }

    pub(crate) fn text(&mut self, bytes: usize) -> String {
        let mut text = String::with_capacity(bytes + 16);
        while text.len() < bytes {
            self.word(&mut text);
            text.push(if self.next().is_multiple_of(12) {
                '\n'
            } else {
                ' '
            });
        }
        text.truncate(bytes);
        text
    }
}

fn time(n: usize) -> String {
    let (minute, hour, day) = (n % 60, n / 60 % 24, n / 1440);
    format!(
        "20{:02}-{:02}-{:02}T{hour:02}:{minute:02}:00.000Z",
        20 + day / 336,
        day / 28 % 12 + 1,
        day % 28 + 1
    )
}

/// About 61 KB of JSON: 9 KB of text, the rest HTML.
pub(crate) fn email(n: usize, words: &mut Words) -> Map<String, Value> {
    let from = words.next() % 200;
    let text = words.text(9_000);
    let mut html = String::with_capacity(48_000);
    while html.len() < 46_000 {
        let part = words.text(180);
        html.push_str(&format!(
            "<p style=\"font-family: Arial\" class=\"x\">{part}</p>\r\n"
        ));
    }
    members(json!({
        "_id": format!("google-gmail-{n:06}"), "name": words.text(40), "type": "receive",
        "fromName": format!("Sender {from}"), "fromEmail": format!("sender{from}@example.com"),
        "toName": "Owner", "toEmail": "owner@example.org", "messageText": text, "messageHTML": html,
        "sentAt": time(words.next() as usize % 2_000_000), "threadId": format!("thread-{}", n / 3),
        "sourceApplication": "https://www.google.com/", "sourceId": format!("{n}"), "sourceAccountId": "bench",
        "sourceData": {}, "attachments": [],
    }))
}

/// About 300 bytes of JSON before metadata and signature.
pub(crate) fn chat(n: usize, words: &mut Words) -> Map<String, Value> {
    let from = words.next() % 500;
    members(json!({
        "_id": format!("telegram-{n:07}"), "name": "Message", "groupId": format!("group-{}", words.next() % 60),
        "type": "receive", "messageText": words.text(90), "fromId": format!("u{from}"),
        "fromName": format!("User {from}"), "sentAt": time(n * 3), "sourceId": format!("{n}"),
    }))
}

fn members(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}
