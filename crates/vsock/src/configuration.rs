//! How the configuration comes into an enclave: 4 bytes of length, then the text, unchanged to the last byte, because
//! it is measured.

use std::io::Read;

/// Longest configuration. It travels with the evidence.
pub const MAX_BYTES: usize = 16 * 1024;

/// What came is no configuration. The fault is the host's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoConfiguration {
    /// The connection broke or stalled.
    #[error("the configuration did not arrive")]
    Lost(#[source] std::io::Error),
    /// Empty, or longer than [`MAX_BYTES`].
    #[error("the configuration has {0} bytes; 1 to {MAX_BYTES} are allowed")]
    Length(u32),
    /// Not UTF-8.
    #[error("the configuration is not UTF-8")]
    NotText,
}

/// What stands before the text; none when it is empty or too long.
#[must_use]
pub fn head(text: &str) -> Option<[u8; 4]> {
    let length = u32::try_from(text.len()).ok()?;
    within(length).then(|| length.to_be_bytes())
}

/// Reads a configuration as the enclave gets it. What comes after it is not read.
///
/// # Errors
/// [`NoConfiguration`]; nothing larger than allowed was kept.
pub fn read(from: &mut impl Read) -> Result<String, NoConfiguration> {
    let mut head = [0; 4];
    from.read_exact(&mut head).map_err(NoConfiguration::Lost)?;
    let length = u32::from_be_bytes(head);
    if !within(length) {
        return Err(NoConfiguration::Length(length));
    }
    let mut text = vec![0; length as usize];
    from.read_exact(&mut text).map_err(NoConfiguration::Lost)?;
    String::from_utf8(text).map_err(|_| NoConfiguration::NotText)
}

fn within(length: u32) -> bool {
    (1..=MAX_BYTES as u32).contains(&length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives_to_the_last_byte() {
        for text in ["a".to_owned(), "ä\r\n\n".to_owned(), "x".repeat(MAX_BYTES)] {
            let mut sent = head(&text).unwrap().to_vec();
            sent.extend_from_slice(text.as_bytes());
            sent.extend_from_slice(b"more");
            assert_eq!(read(&mut sent.as_slice()).unwrap(), text);
        }
    }

    #[test]
    fn nothing_and_one_byte_too_much_are_refused_on_both_sides() {
        assert_eq!(head(""), None);
        assert_eq!(head(&"x".repeat(MAX_BYTES + 1)), None);
        for length in [0, MAX_BYTES as u32 + 1, u32::MAX] {
            let sent = length.to_be_bytes();
            assert!(
                matches!(read(&mut sent.as_slice()), Err(NoConfiguration::Length(n)) if n == length)
            );
        }
    }

    #[test]
    fn what_breaks_off_or_is_no_text_is_refused() {
        assert!(matches!(
            read(&mut [0, 0, 0, 2, b'a'].as_slice()),
            Err(NoConfiguration::Lost(_))
        ));
        assert!(matches!(
            read(&mut [0, 0, 0, 1, 0xff].as_slice()),
            Err(NoConfiguration::NotText)
        ));
    }
}
