//! Names that were resolved, for as long as the resolver allows and no longer than an hour.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::dns_message::{DnsError, Resolved};

/// Most names. Each has at most [`super::dns_message::MAX_ADDRESSES`] addresses.
const MAX_NAMES: usize = 1024;

/// Longest belief in an answer.
const MAX_LIFETIME: Duration = Duration::from_secs(3600);

/// How long it is believed that a name does not exist, or has no address.
const ABSENT: Duration = Duration::from_secs(10);

/// What is remembered of a name.
pub(super) type Remembered = Result<Arc<[IpAddr]>, DnsError>;

/// The memory. Bounded: the entry that would end first makes room.
#[derive(Debug, Default)]
pub(super) struct NameCache(Mutex<HashMap<String, (Remembered, Instant)>>);

impl NameCache {
    /// What was said of this name, if it still holds.
    pub(super) fn get(&self, name: &str, now: Instant) -> Option<Remembered> {
        let entries = self.entries();
        let (remembered, until) = entries.get(name)?;
        (*until > now).then(|| remembered.clone())
    }

    /// Remembers an answer, and gives it back.
    pub(super) fn put(
        &self,
        name: &str,
        said: Result<Resolved, DnsError>,
        now: Instant,
    ) -> Remembered {
        let (remembered, lifetime): (Remembered, _) = match said {
            Ok(Resolved { addresses, .. }) if addresses.is_empty() => {
                (Err(DnsError::NoSuchName), ABSENT)
            }
            Ok(Resolved {
                addresses,
                lifetime,
            }) => (Ok(addresses.into()), lifetime.min(MAX_LIFETIME)),
            Err(DnsError::NoSuchName) => (Err(DnsError::NoSuchName), ABSENT),
            // Not known is not an answer.
            Err(error) => return Err(error),
        };
        let mut entries = self.entries();
        if entries.len() >= MAX_NAMES && !entries.contains_key(name) {
            entries.retain(|_, (_, until)| *until > now);
            let first = entries
                .iter()
                .min_by_key(|(_, (_, until))| *until)
                .map(|(name, _)| name.clone());
            if let Some(first) = first.filter(|_| entries.len() >= MAX_NAMES) {
                entries.remove(&first);
            }
        }
        entries.insert(name.to_owned(), (remembered.clone(), now + lifetime));
        remembered
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<String, (Remembered, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(seconds: u64) -> Result<Resolved, DnsError> {
        Ok(Resolved {
            addresses: vec![[1, 2, 3, 4].into()],
            lifetime: Duration::from_secs(seconds),
        })
    }

    #[test]
    fn an_answer_is_believed_as_long_as_it_says_and_an_hour_at_most() {
        let (cache, now) = (NameCache::default(), Instant::now());
        for (seconds, believed) in [(60, 60), (0, 0), (1 << 30, 3600)] {
            cache.put("a", said(seconds), now).unwrap();
            let after = |seconds| cache.get("a", now + Duration::from_secs(seconds));
            assert!(believed == 0 || after(believed - 1).is_some());
            assert_eq!(after(believed), None);
        }
    }

    #[test]
    fn absence_is_believed_shortly_and_failure_not_at_all() {
        let (cache, now) = (NameCache::default(), Instant::now());
        let none = Err(DnsError::NoSuchName);
        assert!(cache.put("a", none, now).is_err());
        assert_eq!(cache.get("a", now), Some(Err(DnsError::NoSuchName)));
        assert_eq!(cache.get("a", now + ABSENT), None);
        assert!(cache.put("b", Err(DnsError::Failed), now).is_err());
        assert_eq!(cache.get("b", now), None);
    }

    #[test]
    fn the_number_of_names_is_bounded_and_the_first_to_end_goes() {
        let (cache, now) = (NameCache::default(), Instant::now());
        for n in 0..MAX_NAMES as u64 + 10 {
            cache.put(&n.to_string(), said(100 + n), now).unwrap();
        }
        assert_eq!(cache.entries().len(), MAX_NAMES);
        assert_eq!(cache.get("9", now), None);
        assert!(cache.get("10", now).is_some());
    }
}
