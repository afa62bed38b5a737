//! A request that only an attested node can read, and its answer: Oblivious HTTP (RFC 9458) without the relay.
//!
//! For clients that cannot look at the TLS key of their own connection, because a browser does not show it or somebody
//! ends TLS before the node. They take the key from evidence, so the answer comes from the enclave or does not open.
//!
//! Guarantees: the byte layouts of both directions live here. Refuses to know: whether the key is attested, and whether
//! a request came before.

mod binary_http;
mod hpke;

use adyton_attest::HpkeKey;
use aws_lc_rs::agreement::PrivateKey;
use bytes::Bytes;

pub use self::binary_http::{
    BinaryHttpError, read_request, read_response, write_request, write_response,
};
pub use self::hpke::{Aead, HpkeError};
use self::hpke::{Context, Exporter, KDF_ID, KEM_ID, NONCE_BYTES, expand, extract, open, seal};

/// Media type of a sealed request, RFC 9458 section 9.
pub const REQUEST_TYPE: &str = "message/ohttp-req";

/// Media type of a sealed answer.
pub const RESPONSE_TYPE: &str = "message/ohttp-res";

/// The identifier of a node's only key: it has the one that its evidence vouches for.
const KEY_ID: u8 = 1;

/// Key identifier, three algorithms, `enc`.
const HEAD_BYTES: usize = 7 + 32;

/// The tag of AES-GCM.
const TAG_BYTES: usize = 16;

const REQUEST_INFO: &[u8] = b"message/bhttp request\0";
const RESPONSE_INFO: &[u8] = b"message/bhttp response";

/// What opens the answer to a sealed request, or seals it.
#[derive(Debug)]
pub struct AnswerSecret {
    enc: [u8; 32],
    exporter: Exporter,
}

/// Seals a request for the holder of this key, RFC 9458 section 4.3.
///
/// # Errors
/// [`HpkeError`] without randomness, or if the key is none.
pub fn seal_request(
    request: Vec<u8>,
    key: &HpkeKey,
    aead: Aead,
) -> Result<(Vec<u8>, AnswerSecret), HpkeError> {
    let head = head(aead);
    let (enc, context) = Context::of_sender(key, &info(&head), aead)?;
    seal_with(request, head, enc, context)
}

fn seal_with(
    request: Vec<u8>,
    head: [u8; 7],
    enc: [u8; 32],
    context: Context,
) -> Result<(Vec<u8>, AnswerSecret), HpkeError> {
    let (sealed, exporter) = context.seal(&[], request)?;
    let message = [&head[..], &enc, &sealed].concat();
    Ok((message, AnswerSecret { enc, exporter }))
}

/// Opens a request, RFC 9458 section 4.3.
///
/// # Errors
/// [`HpkeError`] for another key or algorithm, or a changed message.
pub fn open_request(
    message: &[u8],
    private: &PrivateKey,
    public: &HpkeKey,
) -> Result<(Bytes, AnswerSecret), HpkeError> {
    let (start, sealed) = message.split_at_checked(HEAD_BYTES).ok_or(HpkeError)?;
    let (shown, enc) = start.split_at_checked(7).ok_or(HpkeError)?;
    let enc: [u8; 32] = enc.try_into().map_err(|_| HpkeError)?;
    let aead = match shown {
        [.., high, low] => Aead::of_id(u16::from_be_bytes([*high, *low])).ok_or(HpkeError)?,
        _ => return Err(HpkeError),
    };
    let head = head(aead);
    if shown != head {
        return Err(HpkeError);
    }
    let context = Context::of_recipient(&enc, private, public, &info(&head), aead)?;
    let (request, exporter) = context.open(&[], sealed.to_vec())?;
    Ok((request.into(), AnswerSecret { enc, exporter }))
}

impl AnswerSecret {
    /// What tells one sealed request from another: the sender's key for this message.
    #[must_use]
    pub fn enc(&self) -> &[u8; 32] {
        &self.enc
    }

    /// How long a nonce [`Self::seal`] takes.
    #[must_use]
    pub fn nonce_bytes(&self) -> usize {
        self.exporter.aead().key_bytes().max(NONCE_BYTES)
    }

    /// Seals the one answer, with a fresh random nonce of [`Self::nonce_bytes`], RFC 9458 section 4.4.
    ///
    /// # Errors
    /// [`HpkeError`] for a nonce of another length.
    pub fn seal(self, response: Vec<u8>, nonce: &[u8]) -> Result<Vec<u8>, HpkeError> {
        if nonce.len() != self.nonce_bytes() {
            return Err(HpkeError);
        }
        let (key, iv) = self.keys(nonce)?;
        let mut message = nonce.to_vec();
        message.append(&mut seal(self.exporter.aead(), &key, iv, &[], response)?);
        Ok(message)
    }

    /// Opens the answer, RFC 9458 section 4.4.
    ///
    /// # Errors
    /// [`HpkeError`] if it is not by the node that the request was for, or not to this request.
    pub fn open(self, message: &[u8]) -> Result<Bytes, HpkeError> {
        let split = message.split_at_checked(self.nonce_bytes());
        let (nonce, sealed) = split.ok_or(HpkeError)?;
        if sealed.len() < TAG_BYTES {
            return Err(HpkeError);
        }
        let (key, iv) = self.keys(nonce)?;
        Ok(open(self.exporter.aead(), &key, iv, &[], sealed.to_vec())?.into())
    }

    fn keys(
        &self,
        nonce: &[u8],
    ) -> Result<(zeroize::Zeroizing<Vec<u8>>, [u8; NONCE_BYTES]), HpkeError> {
        let secret = self.exporter.export(RESPONSE_INFO, self.nonce_bytes());
        let prk = extract(&[&self.enc[..], nonce].concat(), &secret);
        let key = expand(&prk, b"key", self.exporter.aead().key_bytes());
        let iv = expand(&prk, b"nonce", NONCE_BYTES);
        Ok((key, iv.as_slice().try_into().map_err(|_| HpkeError)?))
    }
}

fn head(aead: Aead) -> [u8; 7] {
    let [[a, b], [c, d], [e, f]] = [KEM_ID, KDF_ID, aead.id()].map(u16::to_be_bytes);
    [KEY_ID, a, b, c, d, e, f]
}

fn info(head: &[u8; 7]) -> Vec<u8> {
    [REQUEST_INFO, head].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::agreement::X25519;

    pub(super) fn hex(text: &str) -> Vec<u8> {
        let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
        let pairs = text.as_bytes().chunks(2);
        pairs
            .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
            .collect()
    }

    pub(super) fn key_pair(private: &str) -> (PrivateKey, HpkeKey) {
        let private = PrivateKey::from_private_key(&X25519, &hex(private)).unwrap();
        let public = private.compute_public_key().unwrap();
        (private, HpkeKey::new(public.as_ref().try_into().unwrap()))
    }

    /// RFC 9458 appendix A.
    const NODE: &str = "3c168975674b2fa8e465970b79c8dcf09f1c741626480bd4c6162fc5b6a98e1a";
    const SENDER: &str = "bc51d5e930bda26589890ac7032f70ad12e4ecb37abb1b65b1256c9c48999c73";
    const REQUEST: &str = "00034745540568747470730b6578616d706c652e636f6d012f";
    const SEALED_REQUEST: &str = "010020000100014b28f881333e7c164ffc499ad9796f877f4e1051ee6d31bad19dec96c208b472\
                                  6374e469135906992e1268c594d2a10c695d858c40a026e7965e7d86b83dd440b2c0185204b4d63525";
    const NONCE: &str = "c789e7151fcba46158ca84b04464910d";
    const RESPONSE: &str = "0140c8";
    const SEALED_RESPONSE: &str =
        "c789e7151fcba46158ca84b04464910d86f9013e404feea014e7be4a441f234f857fbd";

    #[test]
    fn both_directions_are_those_of_the_rfc() {
        let (private, public) = key_pair(NODE);
        let (sender, _) = key_pair(SENDER);
        let aead = Aead::Aes128Gcm;
        let head = head(aead);
        let (enc, context) = Context::of_sender_with(&sender, &public, &info(&head), aead).unwrap();
        let (sealed, client) = seal_with(hex(REQUEST), head, enc, context).unwrap();
        assert_eq!(sealed, hex(SEALED_REQUEST));
        let (request, node) = open_request(&sealed, &private, &public).unwrap();
        assert_eq!(request, hex(REQUEST));
        let answer = node.seal(hex(RESPONSE), &hex(NONCE)).unwrap();
        assert_eq!(answer, hex(SEALED_RESPONSE));
        assert_eq!(client.open(&answer).unwrap(), hex(RESPONSE));
    }

    #[test]
    fn an_exchange_opens_for_its_two_ends_only() {
        let (private, public) = key_pair(NODE);
        let (other, other_public) = key_pair(SENDER);
        for aead in [Aead::Aes128Gcm, Aead::Aes256Gcm] {
            let seal = || seal_request(hex(REQUEST), &public, aead).unwrap();
            let (sealed, client) = seal();
            assert!(open_request(&sealed, &other, &other_public).is_err());
            let (request, node) = open_request(&sealed, &private, &public).unwrap();
            assert_eq!(request, hex(REQUEST));
            let nonce = vec![7; node.nonce_bytes()];
            let answer = node.seal(hex(RESPONSE), &nonce).unwrap();
            // The answer to one request is none to another, even to the same text.
            assert!(seal().1.open(&answer).is_err());
            let mut changed = answer.clone();
            changed[0] ^= 1;
            assert!(seal().1.open(&changed).is_err());
            assert_eq!(client.open(&answer).unwrap(), hex(RESPONSE));
            for length in [0, 7, HEAD_BYTES, sealed.len() - 1] {
                assert!(open_request(&sealed[..length], &private, &public).is_err());
            }
            for byte in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[byte] ^= 1;
                assert!(open_request(&changed, &private, &public).is_err(), "{byte}");
            }
            let (_, node) = open_request(&sealed, &private, &public).unwrap();
            assert!(node.seal(hex(RESPONSE), &nonce[1..]).is_err());
            assert!(seal().1.open(&answer[..nonce.len() + 15]).is_err());
        }
    }
}
