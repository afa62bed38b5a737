//! Bodies with a digest: requests must have the one they promise, answers get theirs at the end.
//!
//! Guarantees: bytes pass unchanged and are not gathered.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::vec::IntoIter;

use aws_lc_rs::digest::{self, SHA256};
use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame};

/// SHA-256 of bytes at hand.
pub(super) fn sha256_of(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&SHA256, bytes).as_ref());
    out
}

/// A body of pieces that are at hand, not copied into one.
pub(super) fn pieces(pieces: Vec<Bytes>) -> Body {
    Body::from_stream(stream::iter(pieces.into_iter().map(Ok::<_, Infallible>)))
}

/// A request's body that has the digest it was sent with, or ends in an error.
pub(super) struct Arrived {
    body: Body,
    /// Until the end has come.
    expected: Option<(digest::Context, [u8; 32])>,
}

impl Arrived {
    pub(super) fn as_promised(body: Body, expected: [u8; 32]) -> Self {
        Self {
            body,
            expected: Some((digest::Context::new(&SHA256), expected)),
        }
    }
}

impl HttpBody for Arrived {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match frame {
            Some(Ok(frame)) => {
                if let (Some((digest, _)), Some(data)) = (&mut self.expected, frame.data_ref()) {
                    digest.update(data);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
            None => match self.expected.take() {
                Some((digest, expected)) if digest.clone().finish().as_ref() != expected => {
                    let words = "the body is not the one that content-digest promises";
                    let other = io::Error::new(io::ErrorKind::InvalidData, words);
                    Poll::Ready(Some(Err(other.into())))
                }
                Some(_) | None => Poll::Ready(None),
            },
        }
    }

    /// The end counts when the digest was compared, not before.
    fn is_end_stream(&self) -> bool {
        self.expected.is_none()
    }
}

/// An answer's body with fields behind it that are made of its digest.
pub(super) struct Trailing<E> {
    held: IntoIter<Bytes>,
    rest: Body,
    /// Until the trailers were given.
    end: Option<(digest::Context, E)>,
}

impl<E: FnOnce(digest::Context) -> Option<HeaderMap>> Trailing<E> {
    /// `held` is in the digest already.
    pub(super) fn new(held: Vec<Bytes>, rest: Body, digest: digest::Context, end: E) -> Self {
        Self {
            held: held.into_iter(),
            rest,
            end: Some((digest, end)),
        }
    }
}

impl<E: FnOnce(digest::Context) -> Option<HeaderMap> + Unpin> HttpBody for Trailing<E> {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(piece) = self.held.next() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        loop {
            let frame = ready!(Pin::new(&mut self.rest).poll_frame(context));
            match frame {
                // No answer of ours has trailers of its own: they are left out.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        if let Some((digest, _)) = &mut self.end {
                            digest.update(&data);
                        }
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                // Broken off: no trailers, no proper end.
                Some(Err(error)) => {
                    self.end = None;
                    return Poll::Ready(Some(Err(error.into())));
                }
                None => {
                    let Some((digest, end)) = self.end.take() else {
                        return Poll::Ready(None);
                    };
                    let fields = end(digest).ok_or_else(|| {
                        axum::BoxError::from("the answer's signature cannot be made")
                    });
                    return Poll::Ready(Some(fields.map(Frame::trailers)));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.end.is_none() && self.held.as_slice().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    fn body(text: &'static str) -> Body {
        pieces(text.as_bytes().chunks(3).map(Bytes::from_static).collect())
    }

    #[tokio::test]
    async fn a_body_arrives_with_its_digest_or_not_at_all() {
        for text in ["", "a", "hello, world"] {
            let good = Arrived::as_promised(body(text), sha256_of(text.as_bytes()));
            assert_eq!(good.collect().await.unwrap().to_bytes(), text);
            let wrong = Arrived::as_promised(body(text), [0; 32]);
            assert!(wrong.collect().await.is_err());
        }
        let cut = Arrived::as_promised(body("hello"), sha256_of(b"hello!"));
        assert!(cut.collect().await.is_err());
    }

    #[tokio::test]
    async fn an_answer_ends_with_the_fields_of_its_digest() {
        let mut digest = digest::Context::new(&SHA256);
        digest.update(b"he");
        let end = |digest: digest::Context| {
            let text = sha256_of(b"hello");
            assert_eq!(digest.finish().as_ref(), text);
            Some(HeaderMap::new())
        };
        let held = vec![Bytes::from_static(b"h"), Bytes::from_static(b"e")];
        let whole = Trailing::new(held, body("llo"), digest, end);
        let whole = whole.collect().await.unwrap();
        assert!(whole.trailers().is_some());
        assert_eq!(whole.to_bytes(), "hello");
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_has_no_fields() {
        let broken = stream::iter([
            Ok(Bytes::from_static(b"a")),
            Err(io::Error::other("broken")),
        ]);
        let digest = digest::Context::new(&SHA256);
        let end = |_| -> Option<HeaderMap> { panic!("it is signed") };
        let mut body = Trailing::new(Vec::new(), Body::from_stream(broken), digest, end);
        assert!(body.frame().await.unwrap().is_ok());
        assert!(body.frame().await.unwrap().is_err());
        assert!(body.frame().await.is_none());
    }
}
