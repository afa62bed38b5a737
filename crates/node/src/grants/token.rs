//! Access tokens: `adyt_` and 256 random bits, with a checksum so that a secret scanner can tell one.

use std::fmt;

use adyton_keys::SecretBytes;
use aws_lc_rs::{digest, hmac};
use base64_simd::URL_SAFE_NO_PAD;
use rand_core::{OsRng, RngCore, TryRngCore};
use zeroize::Zeroizing;

/// What every token begins with.
const PREFIX: &str = "adyt_";
/// Characters of base64url: 32 random bytes and 3 of checksum.
const BODY_CHARS: usize = 47;

/// The secret of an access token.
#[derive(Debug)]
pub struct TokenSecret(SecretBytes<32>);

/// The hash by which a token is found. Says nothing about the token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenHash([u8; 32]);

impl TokenSecret {
    /// A new token.
    pub fn generate() -> Self {
        let mut bytes = [0; 32];
        OsRng.unwrap_err().fill_bytes(&mut bytes);
        Self(SecretBytes::take(&mut bytes))
    }

    /// Reads a token; `None` when it cannot be one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let body = text
            .strip_prefix(PREFIX)
            .filter(|body| body.len() == BODY_CHARS)?;
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode_to_vec(body).ok()?);
        let (secret, checksum) = bytes.split_first_chunk::<32>()?;
        let mut secret = *secret;
        let parsed = Self(SecretBytes::take(&mut secret));
        (parsed.checksum() == *checksum).then_some(parsed)
    }

    /// The text for the app.
    pub fn expose(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new([self.0.expose().as_slice(), &self.checksum()].concat());
        Zeroizing::new(format!(
            "{PREFIX}{}",
            URL_SAFE_NO_PAD.encode_to_string(&*bytes)
        ))
    }

    /// The hash under which the grant is kept.
    pub(super) fn hash(&self) -> TokenHash {
        TokenHash(self.labelled(b"adyton access token hash v1"))
    }

    /// The key that seals the owner's session inside the grant.
    pub(super) fn sealing_key(&self) -> SecretBytes<32> {
        SecretBytes::take(&mut self.labelled(b"adyton access token seal v1"))
    }

    fn labelled(&self, label: &[u8]) -> [u8; 32] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, self.0.expose()), label);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    fn checksum(&self) -> [u8; 3] {
        let digest = digest::digest(&digest::SHA256, self.0.expose());
        let mut sum = [0; 3];
        sum.copy_from_slice(digest.as_ref().split_at(3).0);
        sum
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_back_and_a_changed_one_is_not() {
        let token = TokenSecret::generate();
        let text = token.expose();
        assert_eq!(TokenSecret::parse(&text).unwrap().hash(), token.hash());
        for at in 0..text.len() {
            let mut changed = text.as_bytes().to_vec();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert!(
                TokenSecret::parse(std::str::from_utf8(&changed).unwrap()).is_none(),
                "{at}"
            );
        }
        assert!(TokenSecret::parse(&text[1..]).is_none());
    }

    #[test]
    fn hash_and_sealing_key_have_nothing_in_common() {
        let token = TokenSecret::generate();
        assert_ne!(&token.hash().0, token.sealing_key().expose());
    }
}
