//! What the enclave tells its operator goes into the log: printable, short, and not faster than anybody can read.

use std::sync::Arc;
use std::time::Duration;

use adyton_vsock::enclave::Listener;
use adyton_vsock::notice::Lines;
use adyton_vsock::socket::Wire;
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::front::ACCEPT_PAUSE;
use crate::log::Log;

/// Most connections at a time; an enclave needs one.
const MOST: usize = 4;

/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(600);

/// How many lines may come at once, and one more for each [`EVERY`].
const AT_ONCE: u32 = 200;

/// How often one line may come for long.
const EVERY: Duration = Duration::from_millis(200);

/// Shows notices until it is dropped.
pub async fn run(listener: Listener, log: Log) {
    let pace = Arc::new(std::sync::Mutex::new(Pace::new(Instant::now())));
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MOST => match accepted {
                Ok(wire) => {
                    connections.spawn(show(wire, log.clone(), Arc::clone(&pace)));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
        }
    }
}

async fn show(mut wire: Wire, log: Log, pace: Arc<std::sync::Mutex<Pace>>) {
    let mut lines = Lines::default();
    let mut piece = [0; 1024];
    while let Ok(Ok(count @ 1..)) = timeout(SILENCE, wire.read(&mut piece)).await {
        for line in lines.take(piece.get(..count).unwrap_or_default()) {
            let mut pace = pace.lock().unwrap_or_else(|error| error.into_inner());
            if pace.allows(Instant::now()) {
                log.say(&format!("enclave: {line}"));
            }
        }
    }
}

/// A bucket of lines.
struct Pace {
    left: u32,
    at: Instant,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self {
            left: AT_ONCE,
            at: now,
        }
    }

    fn allows(&mut self, now: Instant) -> bool {
        let passed = now.duration_since(self.at).as_millis() / EVERY.as_millis();
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        if passed > 0 {
            self.at = now;
            self.left = self.left.saturating_add(passed).min(AT_ONCE);
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chattering_enclave_is_shown_in_part() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let shown = (0..10_000).filter(|_| pace.allows(start)).count();
        assert_eq!(shown, AT_ONCE as usize);
        assert!(pace.allows(start + EVERY));
        assert!(!pace.allows(start + EVERY));
        let later = start + EVERY * 100_000;
        let shown = (0..10_000).filter(|_| pace.allows(later)).count();
        assert_eq!(shown, AT_ONCE as usize);
    }
}
