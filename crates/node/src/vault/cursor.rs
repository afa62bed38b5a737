//! Cursors: a position among the changes of one loaded database, as its watchers carry it.
//!
//! Guarantees: only the load of the database that made a cursor can read it, so it is worth nothing with another tenant,
//! another database, or after a reload; it does not say how many changes there were, which would count records that its
//! holder may not see. It is no credential: whoever resumes with it is authorised anew.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64_simd::URL_SAFE_NO_PAD;
use rand_core::{OsRng, RngCore, TryRngCore};
use zeroize::Zeroizing;

/// The length of a cursor's text: nonce, position and tag in base64url.
const CHARS: usize = (NONCE_LEN + size_of::<u64>() + 16) / 3 * 4;

/// What makes and reads the cursors of one load of a database.
pub struct Cursors {
    key: Option<RandomizedNonceKey>,
}

impl Cursors {
    /// With a key of its own.
    #[must_use]
    pub fn generate() -> Self {
        let mut key = Zeroizing::new([0; 32]);
        OsRng.unwrap_err().fill_bytes(&mut *key);
        Self {
            key: RandomizedNonceKey::new(&AES_256_GCM, &*key).ok(),
        }
    }

    /// The cursor for a position.
    #[must_use]
    pub fn seal(&self, position: u64) -> Option<String> {
        let mut sealed = position.to_be_bytes().to_vec();
        let key = self.key.as_ref()?;
        let nonce = key
            .seal_in_place_append_tag(Aad::empty(), &mut sealed)
            .ok()?;
        let text = [nonce.as_ref().as_slice(), &sealed].concat();
        Some(URL_SAFE_NO_PAD.encode_to_string(text))
    }

    /// The position, if the cursor was made here.
    #[must_use]
    pub fn open(&self, cursor: &str) -> Option<u64> {
        if cursor.len() != CHARS {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode_to_vec(cursor).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key.as_ref()?;
        let position = opened
            .open_in_place(nonce, Aad::empty(), &mut sealed)
            .ok()?;
        Some(u64::from_be_bytes((&*position).try_into().ok()?))
    }
}

impl std::fmt::Debug for Cursors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cursors(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_where_it_was_made_and_says_nothing_elsewhere() {
        let (here, there) = (Cursors::generate(), Cursors::generate());
        for position in [0, 1, 77, u64::MAX] {
            let cursor = here.seal(position).unwrap();
            assert_eq!((cursor.len(), here.open(&cursor)), (CHARS, Some(position)));
            assert_eq!(there.open(&cursor), None);
            for at in 0..cursor.len() {
                let mut changed = cursor.clone().into_bytes();
                changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
                assert_eq!(here.open(std::str::from_utf8(&changed).unwrap()), None);
            }
        }
        assert_ne!(
            here.seal(1),
            here.seal(1),
            "who has two cannot compare them"
        );
    }
}
