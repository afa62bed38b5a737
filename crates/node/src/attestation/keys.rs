//! The node's own keys beside that of TLS: one signs answers, one opens encrypted bodies.
//!
//! Guarantees: they are born in memory when the node starts and die with it; the private halves never exist as bytes of
//! ours (the crypto library holds and wipes them) and say nothing when shown. Refuses to know: files, other nodes.

use std::fmt;
use std::sync::Arc;

use adyton_attest::{AnswerKey, AttestedKeys, HpkeKey, Spki};
use aws_lc_rs::agreement::{PrivateKey, X25519};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

/// The private keys of one node.
#[expect(dead_code, reason = "the routes that sign and open come next")]
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

    /// The public halves, together with that of the key that terminates TLS: what evidence vouches for.
    #[must_use]
    pub fn attested(&self, tls: &Spki) -> AttestedKeys {
        AttestedKeys {
            tls: tls.clone(),
            answer: self.answer,
            hpke: self.hpke,
        }
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
}
