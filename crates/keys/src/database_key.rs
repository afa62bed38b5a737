//! The key of one database (`spec/protocol.md` §10.3).

use crate::secret::SecretBytes;

/// The key that a reader of a database needs, its owner derives and a `users` database shares.
/// Records are not encrypted with it directly: see [`crate::record_cipher::RecordCipher`].
#[derive(Debug)]
pub struct DatabaseKey(SecretBytes<32>);

/// The text is not a database key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a database key: expected 64 hex digits")]
pub struct InvalidDatabaseKey;

impl DatabaseKey {
    pub(crate) fn of_bytes(bytes: SecretBytes<32>) -> Self {
        Self(bytes)
    }

    /// A key received from another user: 64 hex digits, with or without `0x`.
    pub fn parse(text: &str) -> Result<Self, InvalidDatabaseKey> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut bytes)
            .map_err(|_| InvalidDatabaseKey)?;
        Ok(Self(SecretBytes::take(&mut bytes)))
    }

    /// 64 lower-case hex digits without prefix: the form in the registry and in sharing messages.
    pub fn expose_hex(&self) -> zeroize::Zeroizing<String> {
        zeroize::Zeroizing::new(hex::encode(self.0.expose()))
    }
}
