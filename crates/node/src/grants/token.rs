//! Tokens and codes: a prefix, 256 random bits, and a checksum so that a secret scanner can tell one.

use std::fmt;

use adyton_keys::SecretBytes;
use aws_lc_rs::{digest, hmac};
use base64_simd::URL_SAFE_NO_PAD;
use rand_core::{OsRng, RngCore, TryRngCore};
use zeroize::Zeroizing;

/// Characters of base64url: 32 random bytes and 3 of checksum.
const BODY_CHARS: usize = 47;

/// What a secret is for. Each kind has its own prefix, hash and sealing key: one never passes for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Opens data.
    Access,
    /// Is exchanged for the next tokens.
    Refresh,
    /// Is exchanged for the first tokens (RFC 6749 section 1.3.1).
    Code,
}

impl TokenKind {
    const ALL: [Self; 3] = [Self::Access, Self::Refresh, Self::Code];

    /// What its text begins with.
    const fn prefix(self) -> &'static str {
        match self {
            Self::Access => "adyt_",
            Self::Refresh => "adyr_",
            Self::Code => "adyc_",
        }
    }

    const fn hash_label(self) -> &'static [u8] {
        match self {
            Self::Access => b"adyton access token hash v1",
            Self::Refresh => b"adyton refresh token hash v1",
            Self::Code => b"adyton code hash v1",
        }
    }

    const fn seal_label(self) -> &'static [u8] {
        match self {
            Self::Access => b"adyton access token seal v1",
            Self::Refresh => b"adyton refresh token seal v1",
            Self::Code => b"adyton code seal v1",
        }
    }
}

/// The secret of a token or a code.
#[derive(Debug)]
pub struct TokenSecret {
    kind: TokenKind,
    secret: SecretBytes<32>,
}

/// The hash by which a token is found. Says nothing about the token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct TokenHash([u8; 32]);

impl TokenHash {
    /// Reads what [`TokenHash::to_text`] has written.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode_to_vec(text).ok()?;
        bytes.try_into().ok().map(Self)
    }

    /// The hash, to be kept.
    pub(super) fn to_text(self) -> String {
        URL_SAFE_NO_PAD.encode_to_string(self.0)
    }
}

impl TokenSecret {
    /// A new access token.
    pub fn generate() -> Self {
        Self::of_kind(TokenKind::Access)
    }

    /// A new secret.
    pub(super) fn of_kind(kind: TokenKind) -> Self {
        let mut bytes = [0; 32];
        OsRng.unwrap_err().fill_bytes(&mut bytes);
        Self {
            kind,
            secret: SecretBytes::take(&mut bytes),
        }
    }

    /// Reads an access token; `None` when it cannot be one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        Self::parse_any(text).filter(|token| token.kind == TokenKind::Access)
    }

    /// Reads a token or a code; `None` when it cannot be one of ours.
    pub(crate) fn parse_any(text: &str) -> Option<Self> {
        let (kind, body) = TokenKind::ALL
            .into_iter()
            .find_map(|kind| Some((kind, text.strip_prefix(kind.prefix())?)))
            .filter(|(_, body)| body.len() == BODY_CHARS)?;
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode_to_vec(body).ok()?);
        let (secret, checksum) = bytes.split_first_chunk::<32>()?;
        let mut secret = *secret;
        let parsed = Self {
            kind,
            secret: SecretBytes::take(&mut secret),
        };
        (parsed.checksum() == *checksum).then_some(parsed)
    }

    /// What it is for.
    pub fn kind(&self) -> TokenKind {
        self.kind
    }

    /// The text for the app.
    pub fn expose(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new([self.secret.expose().as_slice(), &self.checksum()].concat());
        Zeroizing::new(format!(
            "{}{}",
            self.kind.prefix(),
            URL_SAFE_NO_PAD.encode_to_string(&*bytes)
        ))
    }

    /// The hash under which the grant is kept.
    pub(super) fn hash(&self) -> TokenHash {
        TokenHash(self.labelled(self.kind.hash_label()))
    }

    /// The key that seals the grant's key for this token.
    pub(super) fn sealing_key(&self) -> SecretBytes<32> {
        SecretBytes::take(&mut self.labelled(self.kind.seal_label()))
    }

    fn labelled(&self, label: &[u8]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.expose());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(hmac::sign(&key, label).as_ref());
        bytes
    }

    fn checksum(&self) -> [u8; 3] {
        let digest = digest::digest(&digest::SHA256, self.secret.expose());
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
        for kind in TokenKind::ALL {
            let token = TokenSecret::of_kind(kind);
            let text = token.expose();
            let read = TokenSecret::parse_any(&text).unwrap();
            assert_eq!((read.hash(), read.kind()), (token.hash(), kind));
            for at in 0..text.len() {
                let mut changed = text.as_bytes().to_vec();
                changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
                let changed = std::str::from_utf8(&changed).unwrap();
                assert!(TokenSecret::parse_any(changed).is_none(), "{at}");
            }
            assert!(TokenSecret::parse_any(&text[1..]).is_none());
        }
    }

    #[test]
    fn a_refresh_token_or_a_code_is_no_access_token_whatever_prefix_it_is_given() {
        let access = TokenSecret::generate();
        for kind in [TokenKind::Refresh, TokenKind::Code] {
            let other = TokenSecret::of_kind(kind);
            let text = other.expose();
            assert!(TokenSecret::parse(&text).is_none());
            let renamed = text.replace(kind.prefix(), TokenKind::Access.prefix());
            let renamed = TokenSecret::parse(&renamed).unwrap();
            assert_ne!(renamed.hash(), other.hash());
            assert_ne!(renamed.sealing_key().expose(), other.sealing_key().expose());
        }
        assert!(TokenSecret::parse(&access.expose()).is_some());
    }

    #[test]
    fn hash_and_sealing_key_have_nothing_in_common() {
        let token = TokenSecret::generate();
        assert_ne!(&token.hash().0, token.sealing_key().expose());
    }
}
