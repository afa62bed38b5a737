//! Reads answers of servers that nobody trusts.

use std::error::Error;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body;

/// An answer was not read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It has more bytes than the limit.
    #[error("the answer is too large")]
    TooLarge,
    /// The connection broke.
    #[error("the answer broke off")]
    BrokenOff,
}

/// The whole of a body of at most `limit` bytes. Whoever calls it says how long it may take.
pub async fn read<B>(body: B, limit: usize) -> Result<Bytes, Unread>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    match Limited::new(body, limit).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Unread::TooLarge),
        Err(_) => Err(Unread::BrokenOff),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{Full, StreamBody};
    use hyper::body::Frame;

    #[tokio::test]
    async fn a_body_of_the_limit_is_read_and_one_byte_more_is_not() {
        let of = |bytes: usize| Full::new(Bytes::from(vec![b'a'; bytes]));
        assert_eq!(read(of(100), 100).await.unwrap().len(), 100);
        assert_eq!(read(of(101), 100).await, Err(Unread::TooLarge));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_not_taken_for_a_whole_one() {
        let pieces = [
            Ok(Frame::data(Bytes::from_static(b"half"))),
            Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
        ];
        let body = StreamBody::new(futures_util::stream::iter(pieces));
        assert_eq!(read(body, 100).await, Err(Unread::BrokenOff));
    }
}
