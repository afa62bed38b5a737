//! A stream whose end waits for the other side's.
//!
//! Guarantees: after our last byte, the socket stays open until the peer has closed or the limit is over. A device of an
//! emulated enclave drops what is still queued when the enclave closes first.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long the peer's end is waited for.
pub const LINGER: Duration = Duration::from_secs(5);

/// What arrives after our end is read in pieces of this many bytes, and thrown away.
const SCRAP: usize = 1024;

/// Passes everything on; `shutdown` also waits.
#[derive(Debug)]
pub struct Lingering<T> {
    stream: T,
    limit: Duration,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<T> Lingering<T> {
    /// A stream that waits this long at most.
    pub fn new(stream: T, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            waiting: None,
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Lingering<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.waiting.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        let limit = this.limit;
        let waiting = this.waiting.get_or_insert_with(|| Box::pin(sleep(limit)));
        let mut scrap = [0; SCRAP];
        loop {
            if waiting.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            let mut into = ReadBuf::new(&mut scrap);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut into)) {
                Ok(()) if !into.filled().is_empty() => {}
                // Its end, however it came.
                Ok(()) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn the_end_waits_for_the_other_side() {
        let (ours, mut theirs) = duplex(64);
        let ending = tokio::spawn(async move {
            let mut ours = Lingering::new(ours, LINGER);
            ours.write_all(b"last").await.unwrap();
            ours.shutdown().await.unwrap();
            Instant::now()
        });
        let mut read = Vec::new();
        theirs.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"last");
        sleep(Duration::from_secs(2)).await;
        // Still open for whatever comes, and nothing of it is kept.
        theirs.write_all(&[0; 10_000]).await.unwrap();
        assert!(!ending.is_finished());
        let closed = Instant::now();
        drop(theirs);
        assert_eq!(ending.await.unwrap(), closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_never_ends_is_not_waited_for() {
        let (ours, _theirs) = duplex(64);
        let start = Instant::now();
        Lingering::new(ours, LINGER).shutdown().await.unwrap();
        assert_eq!(start.elapsed(), LINGER);
    }
}
