//! Step 1: the COSE_Sign1 around the claims.
//!
//! Guarantees: size, algorithm, no header that could change the meaning, and the *received* bytes for the signature.
//! Refuses to know what the payload says.

use ciborium::value::Value;
use coset::{
    CborSerializable as _, CoseSign1, RegisteredLabelWithPrivate, SignatureContext,
    TaggedCborSerializable as _, iana, sig_structure_data,
};

/// Longest document that is read. Genuine ones have about 4.5 kB; the device answers with at most 12 kB.
pub const MAX_DOCUMENT_BYTES: usize = 16 * 1024;

/// A P-384 signature as COSE writes it: `r ‖ s`.
pub const SIGNATURE_BYTES: usize = 96;

/// CBOR tag 18 (COSE_Sign1), one byte. Genuine documents come without it.
const TAG_COSE_SIGN1: u8 = 0xd2;

/// The protected header, byte for byte: `{1: -35}`, which is ES384 and nothing else.
const PROTECTED: [u8; 4] = [0xa1, 0x01, 0x38, 0x22];

/// A document taken out of its envelope. Nothing in it is verified.
#[derive(Debug)]
pub struct Envelope {
    /// The payload as received.
    pub payload: Vec<u8>,
    /// The bytes that were signed.
    pub signed: Vec<u8>,
    /// `r ‖ s`.
    pub signature: [u8; SIGNATURE_BYTES],
}

impl Envelope {
    /// Opens a document.
    ///
    /// # Errors
    /// [`EnvelopeError`] names the first thing that is not as promised.
    pub fn parse(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_DOCUMENT_BYTES {
            return Err(EnvelopeError::TooLong { found: bytes.len() });
        }
        let cose = match bytes.first() {
            Some(&TAG_COSE_SIGN1) => CoseSign1::from_tagged_slice(bytes),
            _ => CoseSign1::from_slice(bytes),
        }
        .map_err(|_| EnvelopeError::NotCose)?;

        if cose.protected.header.alg
            != Some(RegisteredLabelWithPrivate::Assigned(iana::Algorithm::ES384))
        {
            return Err(EnvelopeError::Algorithm);
        }
        // Byte equality leaves no room for `crit`, a second algorithm or another spelling.
        if cose.protected.original_data.as_deref() != Some(&PROTECTED)
            || !cose.unprotected.is_empty()
        {
            return Err(EnvelopeError::Headers);
        }
        let signature =
            cose.signature
                .as_slice()
                .try_into()
                .map_err(|_| EnvelopeError::SignatureLength {
                    found: cose.signature.len(),
                })?;
        let payload = cose.payload.ok_or(EnvelopeError::NoPayload)?;
        let signed = sig_structure_data(
            SignatureContext::CoseSign1,
            cose.protected,
            None,
            &[],
            &payload,
        );
        Ok(Self {
            payload,
            signed,
            signature,
        })
    }
}

/// Puts claims into an envelope: what a TEE does, here for simulations and tests. `sign` gets the bytes to sign.
///
/// # Errors
/// The signer's own.
pub fn seal<E>(
    payload: Vec<u8>,
    sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    let header = coset::HeaderBuilder::new()
        .algorithm(iana::Algorithm::ES384)
        .build();
    let cose = coset::CoseSign1Builder::new()
        .protected(header)
        .payload(payload)
        .try_create_signature(&[], sign)?
        .build();
    Ok(cose.to_vec().unwrap_or_default())
}

/// Reads one CBOR item that fills `bytes` exactly.
pub(crate) fn whole_cbor(bytes: &[u8]) -> Option<Value> {
    let mut rest = bytes;
    let value = ciborium::from_reader(&mut rest).ok()?;
    rest.is_empty().then_some(value)
}

/// Why bytes are not a document's envelope. The fault is the document's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Over [`MAX_DOCUMENT_BYTES`].
    #[error("document has {found} bytes, more than {MAX_DOCUMENT_BYTES}")]
    TooLong {
        /// Bytes found.
        found: usize,
    },
    /// Not a CBOR array of the four parts of a COSE_Sign1.
    #[error("not a cose_sign1 message")]
    NotCose,
    /// Signed with something else than ES384.
    #[error("the algorithm is not es384")]
    Algorithm,
    /// A header beside the algorithm.
    #[error("the envelope has headers that nobody promised")]
    Headers,
    /// Not 96 bytes.
    #[error("the signature has {found} bytes instead of {SIGNATURE_BYTES}")]
    SignatureLength {
        /// Bytes found.
        found: usize,
    },
    /// A detached payload.
    #[error("the envelope is empty")]
    NoPayload,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(payload: &[u8]) -> Vec<u8> {
        seal(payload.to_vec(), |_| Ok::<_, ()>(vec![1; SIGNATURE_BYTES])).unwrap()
    }

    fn array(
        protected: &[u8],
        unprotected: Vec<(Value, Value)>,
        payload: Value,
        signature: usize,
    ) -> Vec<u8> {
        let parts = vec![
            Value::Bytes(protected.to_vec()),
            Value::Map(unprotected),
            payload,
            Value::Bytes(vec![1; signature]),
        ];
        let mut bytes = Vec::new();
        ciborium::into_writer(&Value::Array(parts), &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn an_envelope_is_opened_with_and_without_its_tag() {
        let plain = envelope(b"payload");
        let mut tagged = vec![TAG_COSE_SIGN1];
        tagged.extend(&plain);
        let (plain, tagged) = (
            Envelope::parse(&plain).unwrap(),
            Envelope::parse(&tagged).unwrap(),
        );
        assert_eq!(plain.payload, b"payload");
        assert_eq!(plain.signed, tagged.signed);
    }

    #[test]
    fn the_signed_bytes_are_those_of_rfc_9052() {
        let signed = Envelope::parse(&envelope(b"xy")).unwrap().signed;
        let mut expected = vec![0x84, 0x6a];
        expected.extend(b"Signature1");
        expected.extend([0x44, 0xa1, 0x01, 0x38, 0x22, 0x40, 0x42, b'x', b'y']);
        assert_eq!(signed, expected);
    }

    #[test]
    fn another_algorithm_is_refused() {
        for protected in [
            &[0xa1, 0x01, 0x26][..],
            &[0xa1, 0x01, 0x39, 0x01, 0x00],
            &[0xa0],
            &[],
        ] {
            let bytes = array(protected, vec![], Value::Bytes(vec![]), SIGNATURE_BYTES);
            assert_eq!(
                Envelope::parse(&bytes).unwrap_err(),
                EnvelopeError::Algorithm,
                "{protected:02x?}"
            );
        }
    }

    #[test]
    fn any_further_header_is_refused() {
        let critical = [0xa2, 0x01, 0x38, 0x22, 0x02, 0x81, 0x01];
        let spelled_otherwise = [0xa1, 0x01, 0x39, 0x00, 0x22];
        for protected in [&critical[..], &spelled_otherwise] {
            let bytes = array(protected, vec![], Value::Bytes(vec![]), SIGNATURE_BYTES);
            assert_eq!(
                Envelope::parse(&bytes).unwrap_err(),
                EnvelopeError::Headers,
                "{protected:02x?}"
            );
        }
        let unprotected = vec![(Value::from(4), Value::Bytes(vec![1]))];
        let bytes = array(
            &PROTECTED,
            unprotected,
            Value::Bytes(vec![]),
            SIGNATURE_BYTES,
        );
        assert_eq!(Envelope::parse(&bytes).unwrap_err(), EnvelopeError::Headers);
    }

    #[test]
    fn the_signature_has_96_bytes() {
        for found in [0, 95, 97] {
            let bytes = array(&PROTECTED, vec![], Value::Bytes(vec![]), found);
            assert_eq!(
                Envelope::parse(&bytes).unwrap_err(),
                EnvelopeError::SignatureLength { found }
            );
        }
    }

    #[test]
    fn a_detached_payload_is_refused() {
        let bytes = array(&PROTECTED, vec![], Value::Null, SIGNATURE_BYTES);
        assert_eq!(
            Envelope::parse(&bytes).unwrap_err(),
            EnvelopeError::NoPayload
        );
    }

    #[test]
    fn bytes_behind_the_envelope_are_refused() {
        let mut bytes = envelope(b"payload");
        bytes.push(0xf6);
        assert_eq!(Envelope::parse(&bytes).unwrap_err(), EnvelopeError::NotCose);
    }

    #[test]
    fn one_byte_over_the_limit_is_refused() {
        let overhead = envelope(&vec![0; 10_000]).len() - 10_000;
        let largest = envelope(&vec![0; MAX_DOCUMENT_BYTES - overhead]);
        assert_eq!(largest.len(), MAX_DOCUMENT_BYTES);
        assert!(Envelope::parse(&largest).is_ok());
        let over = envelope(&vec![0; MAX_DOCUMENT_BYTES - overhead + 1]);
        assert_eq!(
            Envelope::parse(&over).unwrap_err(),
            EnvelopeError::TooLong {
                found: MAX_DOCUMENT_BYTES + 1
            }
        );
    }
}
