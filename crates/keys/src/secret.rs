//! The one way in which secret bytes are held.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// `N` secret bytes: mute, not copyable, zeroized on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes<const N: usize>(Box<[u8; N]>);

impl<const N: usize> SecretBytes<N> {
    /// Takes over the bytes; the caller's copy is zeroized.
    pub fn take(bytes: &mut [u8; N]) -> Self {
        let boxed = Box::new(*bytes);
        bytes.zeroize();
        Self(boxed)
    }

    /// The bytes, for the length of one call.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> fmt::Debug for SecretBytes<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}
