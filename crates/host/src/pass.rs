//! The copy loop: bytes from one side to the other, both ways, unread.
//!
//! Guarantees: at most [`PIECE`] bytes of a direction lie here, so that who reads slowly is written to slowly; the end of
//! one direction is passed on as its end (half-close); a connection without a byte in either direction for the limit
//! ends. Refuses to know: what the bytes are.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use adyton_vsock::MAX_WRITE;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes};
use tokio::time::{Instant, sleep_until};

/// Most bytes of one direction of one connection that are taken from one side and not given to the other.
pub const PIECE: usize = MAX_WRITE;

/// How a passage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides said all they had to say.
    Complete,
    /// One of them broke off.
    Broken,
    /// Nobody said anything for too long.
    Idle,
}

/// What lies here, of all connections that share a meter.
#[derive(Debug, Default)]
pub struct Meter {
    held: AtomicUsize,
    peak: AtomicUsize,
    passed: AtomicU64,
}

impl Meter {
    /// Bytes that are taken and not given, now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// The most there ever were.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// All bytes that were taken.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    fn took(&self, count: usize) {
        let held = self.held.fetch_add(count, Ordering::Relaxed) + count;
        self.peak.fetch_max(held, Ordering::Relaxed);
        self.passed.fetch_add(count as u64, Ordering::Relaxed);
    }

    fn gave(&self, count: usize) {
        self.held.fetch_sub(count, Ordering::Relaxed);
    }
}

/// Passes bytes between two sides until both have ended, one breaks, or both are silent for `idle`.
pub async fn pass<A, B>(one: A, other: B, idle: Duration, meter: &Arc<Meter>) -> End
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let tally = Arc::new(Tally::begin(Arc::clone(meter)));
    let mut one = Watched::new(one, &tally);
    let mut other = Watched::new(other, &tally);
    tokio::select! {
        copied = copy_bidirectional_with_sizes(&mut one, &mut other, PIECE, PIECE) => match copied {
            Ok(_) => End::Complete,
            Err(_) => End::Broken,
        },
        () = tally.silent(idle) => End::Idle,
    }
}

/// What one connection holds, and when it last moved.
struct Tally {
    meter: Arc<Meter>,
    held: AtomicUsize,
    begun: Instant,
    /// Milliseconds after `begun`.
    moved: AtomicU64,
}

impl Tally {
    fn begin(meter: Arc<Meter>) -> Self {
        Self {
            meter,
            held: AtomicUsize::new(0),
            begun: Instant::now(),
            moved: AtomicU64::new(0),
        }
    }

    fn took(&self, count: usize) {
        self.held.fetch_add(count, Ordering::Relaxed);
        self.meter.took(count);
        self.moved();
    }

    fn gave(&self, count: usize) {
        self.held.fetch_sub(count, Ordering::Relaxed);
        self.meter.gave(count);
        self.moved();
    }

    fn moved(&self) {
        let now = self.begun.elapsed().as_millis();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        self.moved.store(now, Ordering::Relaxed);
    }

    /// Ready when nothing has moved for so long.
    async fn silent(&self, limit: Duration) {
        loop {
            let moved = Duration::from_millis(self.moved.load(Ordering::Relaxed));
            let until = self.begun + moved + limit;
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

impl Drop for Tally {
    /// What was taken and will not be given any more.
    fn drop(&mut self) {
        self.meter.gave(*self.held.get_mut());
    }
}

/// One side, counted.
struct Watched<T> {
    stream: T,
    tally: Arc<Tally>,
}

impl<T> Watched<T> {
    fn new(stream: T, tally: &Arc<Tally>) -> Self {
        Self {
            stream,
            tally: Arc::clone(tally),
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, into))?;
        let count = into.filled().len() - before;
        self.tally.took(count);
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.tally.gave(count);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::task::JoinHandle;

    const IDLE: Duration = Duration::from_secs(60);

    fn passing(meter: &Arc<Meter>) -> (DuplexStream, DuplexStream, JoinHandle<End>) {
        let ((near, one), (other, far)) = (duplex(4096), duplex(4096));
        let meter = Arc::clone(meter);
        let task = tokio::spawn(async move { pass(one, other, IDLE, &meter).await });
        (near, far, task)
    }

    #[tokio::test]
    async fn four_megabytes_pass_both_ways_unchanged() {
        let meter = Arc::new(Meter::default());
        let (near, far, task) = passing(&meter);
        let there: Vec<u8> = (0..4 << 20).map(|n: u32| (n % 251) as u8).collect();
        let back: Vec<u8> = there.iter().map(|byte| byte ^ 0xff).collect();
        let talk = |side: DuplexStream, say: Vec<u8>| async move {
            let (mut read, mut write) = tokio::io::split(side);
            let mut heard = Vec::new();
            let (said, read) = tokio::join!(
                async {
                    write.write_all(&say).await?;
                    write.shutdown().await
                },
                read.read_to_end(&mut heard)
            );
            said.and(read).unwrap();
            heard
        };
        let (heard_near, heard_far) =
            tokio::join!(talk(near, there.clone()), talk(far, back.clone()));
        assert!(heard_near == back && heard_far == there);
        assert_eq!(task.await.unwrap(), End::Complete);
        assert_eq!((meter.held(), meter.passed()), (0, 8 << 20));
        assert!(meter.peak() <= 2 * PIECE, "{}", meter.peak());
    }

    #[tokio::test]
    async fn who_does_not_read_is_not_written_for() {
        let meter = Arc::new(Meter::default());
        let (mut near, mut far, task) = passing(&meter);
        let mut taken = 0;
        let piece = [7; 1000];
        // Until nothing is taken any more: both pipes and the piece between them are full.
        while let Ok(count) =
            tokio::time::timeout(Duration::from_millis(200), near.write(&piece)).await
        {
            taken += count.unwrap();
            assert!(taken <= 2 * 4096 + PIECE, "{taken}");
        }
        assert!(meter.held() <= PIECE);
        // All of it arrives once somebody reads.
        drop(near);
        let mut arrived = Vec::new();
        far.read_to_end(&mut arrived).await.unwrap();
        assert_eq!(arrived.len(), taken);
        drop(far);
        assert_eq!(task.await.unwrap(), End::Complete);
    }

    #[tokio::test]
    async fn one_direction_ends_and_the_other_goes_on() {
        let meter = Arc::new(Meter::default());
        let (mut near, mut far, task) = passing(&meter);
        near.write_all(b"question").await.unwrap();
        near.shutdown().await.unwrap();
        let mut question = String::new();
        far.read_to_string(&mut question).await.unwrap();
        // The end of the question has arrived, and the answer still has a way back.
        far.write_all(b"answer").await.unwrap();
        far.shutdown().await.unwrap();
        let mut answer = String::new();
        near.read_to_string(&mut answer).await.unwrap();
        assert_eq!(question + &answer, "questionanswer");
        assert_eq!(task.await.unwrap(), End::Complete);
    }

    #[tokio::test]
    async fn silence_ends_a_connection_and_a_byte_now_and_then_does_not() {
        tokio::time::pause();
        let meter = Arc::new(Meter::default());
        let (mut near, mut far, task) = passing(&meter);
        for _ in 0..5 {
            tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
            near.write_all(b"x").await.unwrap();
            far.read_u8().await.unwrap();
        }
        let start = Instant::now();
        assert_eq!(task.await.unwrap(), End::Idle);
        assert!(start.elapsed() <= IDLE + Duration::from_millis(10));
        assert_eq!(meter.held(), 0);
    }
}
