//! The node's own keys beside that of TLS: one signs answers, one opens encrypted bodies.
//!
//! Guarantees: they are born in memory when the node starts and die with it (unless a key service is configured: then the
//! one that signs answers comes from what it released, and the other from nowhere else); the private halves never exist as bytes of
//! ours (the crypto library holds and wipes them) and say nothing when shown. Refuses to know: files, other nodes.

use std::fmt;
use std::sync::Arc;

use adyton_attest::{AnswerKey, AttestedKeys, HpkeKey, Spki};
use adyton_client::sealed_exchange::{AnswerSecret, HpkeError, open_request};
use aws_lc_rs::agreement::{PrivateKey, X25519};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use bytes::Bytes;

/// The private keys of one node.
#[derive(Clone)]
pub struct NodeKeys {
    signer: Arc<Ed25519KeyPair>,
    opener: Arc<PrivateKey>,
    answer: AnswerKey,
    hpke: HpkeKey,
}

impl NodeKeys {
    /// Makes both keys.
    ///
    /// # Errors
    /// [`NoKey`] when there is no randomness.
    pub fn generate() -> Result<Self, NoKey> {
        let signer = Ed25519KeyPair::generate().map_err(|_| NoKey)?;
        let opener = PrivateKey::generate(&X25519).map_err(|_| NoKey)?;
        let answer = signer.public_key().as_ref().try_into().map_err(|_| NoKey)?;
        let hpke = opener.compute_public_key().map_err(|_| NoKey)?;
        let hpke = hpke.as_ref().try_into().map_err(|_| NoKey)?;
        Ok(Self {
            signer: Arc::new(signer),
            opener: Arc::new(opener),
            answer: AnswerKey::new(answer),
            hpke: HpkeKey::new(hpke),
        })
    }

    /// The same keys, but the one that signs answers comes from this seed (RFC 8032), which may outlive the process.
    ///
    /// # Errors
    /// [`NoKey`], which does not happen with 32 bytes.
    pub fn with_answer_seed(self, seed: &[u8; 32]) -> Result<Self, NoKey> {
        let signer = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoKey)?;
        let answer = signer.public_key().as_ref().try_into().map_err(|_| NoKey)?;
        Ok(Self {
            signer: Arc::new(signer),
            answer: AnswerKey::new(answer),
            ..self
        })
    }

    /// The public halves, together with that of the key that terminates TLS: what evidence vouches for.
    #[must_use]
    pub fn attested(&self, tls: &Spki) -> AttestedKeys {
        AttestedKeys {
            tls: tls.clone(),
            answer: self.answer,
            hpke: self.hpke,
        }
    }

    /// The key that answers are verified with.
    #[must_use]
    pub fn answer_key(&self) -> AnswerKey {
        self.answer
    }

    /// Opens a request that was sealed for this node.
    pub(crate) fn open(&self, message: &[u8]) -> Result<(Bytes, AnswerSecret), HpkeError> {
        open_request(message, &self.opener, &self.hpke)
    }

    /// An Ed25519 signature (RFC 8032) over a text that was built by us.
    pub(crate) fn sign(&self, text: &[u8]) -> Option<Vec<u8>> {
        let signature = self.signer.try_sign(text).ok()?;
        Some(signature.as_ref().to_vec())
    }
}

impl fmt::Debug for NodeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKeys(..)")
    }
}

/// No key could be made: the machine has no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key cannot be made")]
pub struct NoKey;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_keys_of_its_own_and_says_nothing_of_them() {
        let (one, other) = (NodeKeys::generate().unwrap(), NodeKeys::generate().unwrap());
        assert_ne!(one.answer, other.answer);
        assert_ne!(one.hpke, other.hpke);
        assert_eq!(format!("{one:?}"), "NodeKeys(..)");
    }

    #[test]
    fn a_seed_gives_the_same_answer_key_again_and_leaves_the_others_alone() {
        let seeded = || {
            NodeKeys::generate()
                .unwrap()
                .with_answer_seed(&[1; 32])
                .unwrap()
        };
        let (one, other) = (seeded(), seeded());
        assert_eq!(one.answer, other.answer);
        assert_ne!(one.hpke, other.hpke);
        let another = NodeKeys::generate().unwrap().with_answer_seed(&[2; 32]);
        assert_ne!(another.unwrap().answer, one.answer);
    }
}
