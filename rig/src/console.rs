//! What a machine prints on its serial console, as it comes.

use std::io::Read;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Most bytes that are kept; a machine that prints more has gone mad, and its beginning says why.
const MAX_BYTES: usize = 8 << 20;

/// A console that is being read to its end.
#[derive(Debug, Clone, Default)]
pub struct Console {
    shared: Arc<(Mutex<Printed>, Condvar)>,
}

#[derive(Debug, Default)]
struct Printed {
    bytes: Vec<u8>,
    ended: bool,
}

impl Console {
    /// Reads in a thread of its own, which ends with the console.
    pub fn read(mut from: impl Read + Send + 'static) -> Self {
        let console = Self::default();
        let writer = console.clone();
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut piece) {
                let mut printed = writer.lock();
                if printed.bytes.len() < MAX_BYTES {
                    printed
                        .bytes
                        .extend_from_slice(piece.get(..length).unwrap_or_default());
                }
                writer.shared.1.notify_all();
            }
            writer.lock().ended = true;
            writer.shared.1.notify_all();
        });
        console
    }

    /// Everything so far.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// Everything so far, as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().bytes).into_owned()
    }

    /// Waits until `words` stand on it. False when the time is over or the console has ended without them.
    #[must_use]
    pub fn shows(&self, words: &str, within: Duration) -> bool {
        self.wait(within, |printed| {
            memchr::memmem::find(&printed.bytes, words.as_bytes()).is_some()
        })
    }

    /// Waits for the end of whoever prints.
    #[must_use]
    pub fn ends(&self, within: Duration) -> bool {
        self.wait(within, |printed| printed.ended)
    }

    fn wait(&self, within: Duration, done: impl Fn(&Printed) -> bool) -> bool {
        let until = Instant::now() + within;
        let mut printed = self.lock();
        loop {
            if done(&printed) {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if printed.ended || left.is_zero() {
                return false;
            }
            printed = match self.shared.1.wait_timeout(printed, left) {
                Ok((printed, _)) => printed,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Printed> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_across_pieces_and_the_end_is_noticed() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let console = Console::read(reader);
        std::io::Write::write_all(&mut writer, b"the node lis").unwrap();
        assert!(!console.shows("listens", Duration::from_millis(20)));
        std::io::Write::write_all(&mut writer, b"tens\n").unwrap();
        assert!(console.shows("listens", Duration::from_secs(10)));
        assert!(!console.ends(Duration::ZERO));
        drop(writer);
        assert!(console.ends(Duration::from_secs(10)));
        assert!(!console.shows("nothing", Duration::from_secs(10)));
        assert_eq!(console.text(), "the node listens\n");
    }
}
