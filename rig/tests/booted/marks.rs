//! Marked words by the thousand: they begin alike, so that one search finds them all, in all the clothes they could wear.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use rand_core::{OsRng, RngCore as _, TryRngCore as _};

use crate::needle::Needle;

/// Digits of a word's number.
const DIGITS: usize = 6;

/// What storage nodes see by design.
const SEEN_BY_STORAGE: [&str; 2] = ["record id", "database name"];

/// The words of one run.
pub struct Marks {
    /// How every word begins; nothing else in the world does.
    beginning: String,
    forms: Vec<(&'static str, Vec<u8>)>,
    names: Vec<&'static str>,
    sent: BTreeSet<usize>,
}

impl Marks {
    pub fn new() -> Self {
        let mut bytes = [0; 8];
        OsRng.unwrap_err().fill_bytes(&mut bytes);
        let beginning = format!("canary{}", hex::encode(bytes));
        let forms = forms_of(&beginning);
        Self {
            beginning,
            forms,
            names: Vec::new(),
            sent: BTreeSet::new(),
        }
    }

    /// A word that was never used.
    pub fn next(&mut self, name: &'static str) -> Needle {
        let word = format!("{}{:0DIGITS$}", self.beginning, self.names.len());
        self.names.push(name);
        Needle::of(name, word)
    }

    /// Takes down which words a request contains.
    pub fn count(&mut self, sent: &str) {
        let found = self.numbers(sent.as_bytes());
        self.sent.extend(found);
    }

    /// How many different words were sent.
    pub fn sent(&self) -> usize {
        self.sent.len()
    }

    /// How many words stand in a text.
    pub fn in_text(&self, text: &str) -> usize {
        self.numbers(text.as_bytes()).len()
    }

    /// How many different words stand in memory.
    pub fn in_memory(&self, memory: &[u8]) -> usize {
        self.numbers(memory)
            .into_iter()
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// Every place where a word stands in any form, with what is around it.
    pub fn places(&self, hay: &[u8]) -> Vec<String> {
        let mut places = Vec::new();
        for (form, bytes) in &self.forms {
            for at in memchr::memmem::find_iter(hay, bytes) {
                places.push(format!("{form} at {at:#x}: {}", around(hay, at)));
            }
        }
        places
    }

    /// As [`Self::places`], without the words that storage nodes see by design.
    pub fn private_in(&self, hay: &[u8]) -> Vec<String> {
        let by_design = |number: &usize| {
            self.names
                .get(*number)
                .is_some_and(|name| SEEN_BY_STORAGE.contains(name))
        };
        let plain = self
            .numbers(hay)
            .into_iter()
            .filter(|number| !by_design(number));
        let mut places: Vec<String> = plain
            .map(|number| format!("{number}, a {}", self.names[number]))
            .collect();
        places.sort();
        places.dedup();
        places
    }

    /// The numbers of the words that stand there as they are.
    fn numbers(&self, hay: &[u8]) -> Vec<usize> {
        memchr::memmem::find_iter(hay, self.beginning.as_bytes())
            .filter_map(|at| {
                let from = at + self.beginning.len();
                str::from_utf8(hay.get(from..from + DIGITS)?)
                    .ok()?
                    .parse()
                    .ok()
            })
            .collect()
    }
}

/// As it stands, in UTF-16, as hexadecimal, and as what base64 makes of it inside a longer text.
fn forms_of(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = text.as_bytes();
    let wide = |order: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(order).collect::<Vec<u8>>();
    let mut forms = vec![
        ("plain", bytes.to_vec()),
        ("utf-16", wide(u16::to_le_bytes)),
        ("utf-16", wide(u16::to_be_bytes)),
        ("hexadecimal", hex::encode(bytes).into_bytes()),
        ("hexadecimal", hex::encode_upper(bytes).into_bytes()),
    ];
    for before in 0..3 {
        // Only whole groups of three bytes look the same wherever they stand.
        let skip = (3 - before) % 3;
        let whole = bytes[skip..].len() / 3 * 3;
        forms.push((
            "base64",
            STANDARD_NO_PAD
                .encode(&bytes[skip..skip + whole])
                .into_bytes(),
        ));
    }
    forms
}

fn around(hay: &[u8], at: usize) -> String {
    let part = &hay[at.saturating_sub(80)..(at + 80).min(hay.len())];
    String::from_utf8_lossy(part).replace(|letter: char| letter.is_control(), ".")
}
