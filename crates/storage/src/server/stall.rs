//! A connection that stops taking bytes, or takes them too slowly for too long, is dropped: nobody holds a feed's memory, or pages of
//! a database, by not reading.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::pace::Pace;

/// A stream whose writes must make progress.
pub(super) struct StallGuard<S> {
    stream: S,
    limit: Duration,
    pace: Pace,
    /// While a write waits: since when, and until when it may.
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<S> StallGuard<S> {
    pub(super) fn new(stream: S, limit: Duration, pace: Pace) -> Self {
        Self {
            stream,
            limit,
            pace,
            waiting: None,
        }
    }

    /// Passes on what a write said, and watches the time while it says "not yet".
    fn watch(
        &mut self,
        cx: &mut Context<'_>,
        poll: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(done) = poll {
            let waited = self.waiting.take().map(|(since, _)| since.elapsed());
            let taken = done.as_ref().copied().unwrap_or(0);
            self.pace.took(waited.unwrap_or_default(), taken as u64);
            return Poll::Ready(done);
        }
        let time = self.limit.min(self.pace.left());
        let (_, deadline) = self.waiting.get_or_insert_with(|| {
            let now = Instant::now();
            (now, Box::pin(sleep_until(now + time)))
        });
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// The same, of what takes no bytes.
    fn watch_end(
        &mut self,
        cx: &mut Context<'_>,
        poll: Poll<io::Result<()>>,
    ) -> Poll<io::Result<()>> {
        let poll = poll.map_ok(|()| 0);
        self.watch(cx, poll).map_ok(drop)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StallGuard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for StallGuard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch_end(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch_end(cx, poll)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_dropped_and_one_that_reads_slowly_is_not() {
        let (ours, mut theirs) = duplex(4);
        let pace = Pace::new(Duration::from_secs(60));
        let mut guarded = StallGuard::new(ours, Duration::from_secs(30), pace);
        let reader = tokio::spawn(async move {
            let mut total = 0;
            let mut byte = [0; 4];
            while total < 12 {
                tokio::time::sleep(Duration::from_secs(29)).await;
                total += theirs.read(&mut byte).await.unwrap();
            }
            theirs
        });
        guarded.write_all(&[0; 12]).await.unwrap();
        let _still_open = reader.await.unwrap();
        guarded.write_all(&[0; 4]).await.unwrap();
        let error = guarded.write_all(&[0; 12]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_a_byte_now_and_then_is_dropped_when_its_time_is_over() {
        let (ours, mut theirs) = duplex(1);
        let pace = Pace::new(Duration::from_secs(60));
        let mut guarded = StallGuard::new(ours, Duration::from_secs(30), pace);
        tokio::spawn(async move {
            let mut byte = [0];
            loop {
                tokio::time::sleep(Duration::from_secs(29)).await;
                theirs.read_exact(&mut byte).await.unwrap();
            }
        });
        let began = Instant::now();
        let error = guarded.write_all(&[0; 100]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(began.elapsed().as_secs(), 60);
    }
}
