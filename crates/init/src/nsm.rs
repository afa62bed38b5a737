//! The one question that the boot asks the Nitro Secure Module: 256 bytes of randomness.
//!
//! The module speaks CBOR. There is one request and one form of the answer, so both are written out here instead of
//! bringing a parser into the first program of the enclave.

/// Where the module is.
pub(crate) const DEVICE: &str = "/dev/nsm";

/// Longest answer that the module gives.
pub(crate) const MAX_ANSWER: usize = 0x3000;

/// The text string `GetRandom`.
pub(crate) const GET_RANDOM: &[u8] = b"\x69GetRandom";

/// Fewer would not be worth the name.
const LEAST: usize = 32;

/// The answer is not randomness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the module's answer is not randomness")]
pub(crate) struct NotRandomness;

/// The bytes in `{"GetRandom": {"random": bytes}}`.
pub(crate) fn randomness(answer: &[u8]) -> Result<&[u8], NotRandomness> {
    let rest = answer
        .strip_prefix(b"\xA1\x69GetRandom\xA1\x66random")
        .ok_or(NotRandomness)?;
    let (length, bytes) = match rest {
        [0x58, length, bytes @ ..] => (usize::from(*length), bytes),
        [0x59, high, low, bytes @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), bytes),
        _ => return Err(NotRandomness),
    };
    if length < LEAST || bytes.len() != length {
        return Err(NotRandomness);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(length: &[u8], bytes: usize) -> Vec<u8> {
        let mut answer = b"\xA1\x69GetRandom\xA1\x66random".to_vec();
        answer.extend_from_slice(length);
        answer.resize(answer.len() + bytes, 7);
        answer
    }

    #[test]
    fn an_answer_gives_all_of_its_bytes() {
        assert_eq!(randomness(&answer(&[0x59, 1, 0], 256)), Ok(&[7; 256][..]));
        assert_eq!(randomness(&answer(&[0x58, 32], 32)), Ok(&[7; 32][..]));
    }

    #[test]
    fn too_few_or_cut_or_additional_bytes_are_refused() {
        for (length, bytes) in [
            (&[0x58, 31][..], 31),
            (&[0x59, 1, 0], 255),
            (&[0x59, 1, 0], 257),
            (&[0x59, 0, 0], 0),
            (&[0x59, 1], 0),
            (&[0x41], 1),
            (&[], 0),
        ] {
            assert_eq!(randomness(&answer(length, bytes)), Err(NotRandomness));
        }
    }

    #[test]
    fn an_error_of_the_module_is_refused() {
        assert_eq!(
            randomness(b"\xA1\x65Error\x6DInternalError"),
            Err(NotRandomness)
        );
    }

    #[test]
    fn any_bytes_get_an_answer() {
        bolero::check!().for_each(|bytes: &[u8]| {
            if let Ok(random) = randomness(bytes) {
                assert!(random.len() >= LEAST && bytes.ends_with(random));
            }
        });
    }
}
