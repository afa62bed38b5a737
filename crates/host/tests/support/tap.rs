//! A tap on a wire: passes bytes on, remembers them, and changes one if it is told to.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    In,
    Out,
}

/// What was heard on all connections, and what is to be changed on the next.
#[derive(Default)]
pub struct Tap {
    heard: Mutex<[Vec<u8>; 2]>,
    flip: Mutex<Option<(Way, usize)>>,
    flipped: AtomicBool,
    connections: AtomicUsize,
}

impl Tap {
    /// Everything that passed, both ways.
    pub fn heard(&self) -> Vec<u8> {
        self.heard.lock().unwrap().concat()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Flips one bit of this byte on the next connection.
    pub fn flip(&self, way: Way, byte: usize) {
        self.flipped.store(false, Ordering::SeqCst);
        *self.flip.lock().unwrap() = Some((way, byte));
    }

    /// Whether the byte came by and was changed.
    pub fn has_flipped(&self) -> bool {
        self.flipped.load(Ordering::SeqCst)
    }

    /// Passes both ways until both have ended. `one` is outside.
    pub async fn pass<A, B>(self: Arc<Self>, one: A, other: B)
    where
        A: AsyncRead + AsyncWrite,
        B: AsyncRead + AsyncWrite,
    {
        self.connections.fetch_add(1, Ordering::SeqCst);
        let flip = self.flip.lock().unwrap().take();
        let (one_read, one_write) = tokio::io::split(one);
        let (other_read, other_write) = tokio::io::split(other);
        tokio::join!(
            self.one_way(Way::In, flip, one_read, other_write),
            self.one_way(Way::Out, flip, other_read, one_write)
        );
    }

    async fn one_way(
        &self,
        way: Way,
        flip: Option<(Way, usize)>,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) {
        let mut piece = vec![0; 16 * 1024];
        let mut passed = 0;
        while let Ok(count @ 1..) = from.read(&mut piece).await {
            self.heard.lock().unwrap()[way as usize].extend(&piece[..count]);
            if let Some((_, byte)) = flip.filter(|(flipped, _)| *flipped == way)
                && (passed..passed + count).contains(&byte)
            {
                piece[byte - passed] ^= 1;
                self.flipped.store(true, Ordering::SeqCst);
            }
            passed += count;
            if to.write_all(&piece[..count]).await.is_err() {
                break;
            }
        }
        let _ = to.shutdown().await;
    }
}
