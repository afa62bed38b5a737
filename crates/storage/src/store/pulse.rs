//! What a database's file tells when something was written: the feeds that wait, and those who replicate it.

use adyton_protocol::database::DatabaseHash;
use tokio::sync::watch;

use crate::replicate::News;

/// Where a file tells of new changes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pulse {
    pub(crate) feeds: watch::Sender<u64>,
    pub(crate) hash: DatabaseHash,
    pub(crate) news: News,
}

impl Pulse {
    /// Of a file that nobody waits for.
    #[cfg(test)]
    pub(super) fn unheard() -> Self {
        let hash = format!("v{}", "0".repeat(64));
        Self {
            feeds: watch::Sender::new(0),
            hash: hash.parse().unwrap(),
            news: News::default(),
        }
    }

    /// Wakes those who wait for changes, if there are any beyond what they know.
    pub(super) fn tell(&self, newest: u64) {
        let new = self.feeds.send_if_modified(|seq| {
            let news = newest > *seq;
            *seq = newest.max(*seq);
            news
        });
        if new {
            self.news.written(self.hash);
        }
    }
}
