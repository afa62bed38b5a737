//! A stream that is never given more than [`MAX_WRITE`] bytes at once.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::MAX_WRITE;

/// Passes everything on, writes in pieces. Vectored writes are not offered: they would be one large write underneath.
#[derive(Debug)]
pub struct Paced<T>(T);

impl<T> Paced<T> {
    /// Paces a stream.
    pub fn new(stream: T) -> Self {
        Self(stream)
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &T {
        &self.0
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Paced<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Paced<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let piece = bytes.get(..MAX_WRITE).unwrap_or(bytes);
        Pin::new(&mut self.0).poll_write(cx, piece)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::IoSlice;
    use tokio::io::AsyncWriteExt as _;

    /// Remembers how much it was given at once.
    struct Largest(usize);

    impl AsyncWrite for Largest {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.0 = self.0.max(bytes.len());
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn no_write_is_larger_than_the_limit() {
        let mut paced = Paced::new(Largest(0));
        paced.write_all(&vec![0; 10 * MAX_WRITE + 1]).await.unwrap();
        let piece = vec![0; MAX_WRITE];
        let pieces = [IoSlice::new(&piece), IoSlice::new(&piece)];
        assert!(!paced.is_write_vectored());
        assert_eq!(paced.write_vectored(&pieces).await.unwrap(), MAX_WRITE);
        assert_eq!(paced.get_ref().0, MAX_WRITE);
    }
}
