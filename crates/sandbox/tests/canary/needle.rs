//! A marked word, in all the clothes in which it could hide.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use rand_core::{OsRng, RngCore as _, TryRngCore as _};

/// A word to look for.
pub struct Needle {
    /// What it is; the word itself is never shown.
    pub name: &'static str,
    pub word: String,
    forms: Vec<Vec<u8>>,
}

impl Needle {
    /// A new word that was never seen before.
    pub fn random(name: &'static str) -> Self {
        let mut bytes = [0; 12];
        OsRng.unwrap_err().fill_bytes(&mut bytes);
        Self::of(name, format!("canary{}", hex::encode(bytes)))
    }

    /// A given word. One that is hexadecimal is looked for as bytes, too.
    pub fn of(name: &'static str, word: String) -> Self {
        assert!(word.len() >= 20, "{name} is too short to be unmistakable");
        let mut forms = forms_of(word.as_bytes());
        let digits = word.strip_prefix("0x").unwrap_or(&word);
        if let Ok(bytes) = hex::decode(digits) {
            forms.extend(forms_of(&bytes));
        }
        forms.sort();
        forms.dedup();
        Self { name, word, forms }
    }

    /// How often it is there, in any form.
    pub fn count_in(&self, hay: &[u8]) -> usize {
        let places = |form: &Vec<u8>| memchr::memmem::find_iter(hay, form).count();
        self.forms.iter().map(places).sum()
    }

    /// How often it is there as it stands.
    pub fn count_plain_in(&self, hay: &[u8]) -> usize {
        memchr::memmem::find_iter(hay, self.word.as_bytes()).count()
    }
}

/// As it stands, as hexadecimal, and as what base64 makes of it inside a longer text.
fn forms_of(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![
        bytes.to_vec(),
        hex::encode(bytes).into_bytes(),
        hex::encode_upper(bytes).into_bytes(),
    ];
    for before in 0..3 {
        // Only whole groups of three bytes look the same wherever they stand.
        let skip = (3 - before) % 3;
        let whole = bytes[skip..].len() / 3 * 3;
        let inside = &bytes[skip..skip + whole];
        forms.push(STANDARD_NO_PAD.encode(inside).into_bytes());
        forms.push(URL_SAFE_NO_PAD.encode(inside).into_bytes());
    }
    forms
}

#[test]
fn a_needle_is_found_in_every_form() {
    let needle = Needle::random("test");
    for before in ["", "x", "xy", "xyz"] {
        let hay = format!("{before}{} and more", needle.word);
        assert!(needle.count_in(hay.as_bytes()) > 0);
        assert!(needle.count_in(STANDARD_NO_PAD.encode(&hay).as_bytes()) > 0);
        assert!(needle.count_in(URL_SAFE_NO_PAD.encode(&hay).as_bytes()) > 0);
        assert!(needle.count_in(hex::encode(&hay).as_bytes()) > 0);
    }
    assert_eq!(needle.count_in(b"canary of nobody"), 0);
    let key = Needle::of("key", format!("0x{}", "a1".repeat(32)));
    assert!(key.count_in(&[0xa1; 32]) > 0);
}
