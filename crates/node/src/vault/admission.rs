//! Who is let in: by the size that the storage node names, before a byte of the data is asked for.
//!
//! Guarantees: what can never fit is refused for good, what does not fit now is refused for now; what was let in keeps the room that it
//! needs while it loads, so that several loads do not all begin and then all fail; who has been idle longest makes
//! room, and nobody who was in use a moment ago. A storage node that names too small a size gains nothing: what is
//! loaded is counted as it comes, as ever. Refuses to know: whose data it is.

use std::time::Duration;

use adyton_client::database::DatabaseInfo;
use tokio::time::Instant;

use super::error::VaultError;
use crate::memory::{Budget, Reservation};

/// What finding a record takes beside its text.
const BESIDE_A_RECORD: usize = 64;
/// How long memory that was given up may take to be wiped.
const WIPING: Duration = Duration::from_secs(2);
/// Until it is looked at again.
const BETWEEN_TRIES: Duration = Duration::from_millis(5);

/// Room for a load, handed over bit by bit to what is loaded.
#[derive(Debug)]
pub(super) struct Advance(Reservation);

impl Advance {
    /// Gives back what `records` records of so many `bytes` will take, the moment before they do.
    pub(super) fn hand_over(&mut self, bytes: usize, records: usize) {
        let taken = bytes.saturating_add(records.saturating_mul(BESIDE_A_RECORD));
        let rest = self.0.bytes().saturating_sub(taken);
        // Less is never refused.
        let _: Result<(), _> = self.0.resize(rest);
    }
}

/// What a database will take in memory, as far as its storage node says.
pub(super) fn size_of(info: &DatabaseInfo) -> usize {
    let text = info.plaintext_estimate().unwrap_or_default();
    let beside = info.doc_count.saturating_mul(BESIDE_A_RECORD as u64);
    usize::try_from(text.saturating_add(beside)).unwrap_or(usize::MAX)
}

/// Reserves `bytes`. `relieve` is asked to make room and says whether somebody has to go for it.
pub(super) async fn admit(
    budget: &Budget,
    bytes: usize,
    mut relieve: impl FnMut(usize) -> bool,
) -> Result<Advance, VaultError> {
    if bytes > budget.most() {
        return Err(VaultError::TooLarge);
    }
    let until = Instant::now() + WIPING;
    let mut somebody_goes = false;
    loop {
        if let Ok(reservation) = budget.reserve(bytes) {
            return Ok(Advance(reservation));
        }
        somebody_goes |= relieve(bytes);
        if !somebody_goes || Instant::now() >= until {
            return Err(VaultError::Overloaded);
        }
        tokio::time::sleep(BETWEEN_TRIES).await;
    }
}

/// Somebody who could make room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate<K> {
    pub(super) who: K,
    pub(super) idle: Duration,
    pub(super) holds: usize,
}

/// Who has to go for `bytes` to be free: who has been idle longest first, nobody who was idle for less than
/// `crowded`, and nobody more than needed. Nobody at all if that is not enough.
pub(super) fn who_goes<K>(
    mut candidates: Vec<Candidate<K>>,
    bytes: usize,
    crowded: Duration,
) -> Vec<K> {
    candidates.retain(|candidate| candidate.idle >= crowded && candidate.holds > 0);
    candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.idle));
    let mut freed = 0_usize;
    let mut going = Vec::new();
    for candidate in candidates {
        if freed >= bytes {
            break;
        }
        freed = freed.saturating_add(candidate.holds);
        going.push(candidate.who);
    }
    match freed >= bytes {
        true => going,
        false => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn candidate(who: u8, idle: u64, holds: usize) -> Candidate<u8> {
        Candidate {
            who,
            idle: Duration::from_secs(idle),
            holds,
        }
    }

    #[test]
    fn who_has_been_idle_longest_goes_first_and_nobody_in_vain() {
        let crowd = [
            candidate(1, 70, 10),
            candidate(2, 500, 10),
            candidate(3, 5, 100),
            candidate(4, 90, 10),
            candidate(5, 900, 0),
        ];
        let goes = |bytes| who_goes(crowd.to_vec(), bytes, Duration::from_secs(60));
        assert_eq!(goes(0), [0_u8; 0]);
        assert_eq!(goes(10), [2]);
        assert_eq!(goes(11), [2, 4]);
        assert_eq!(goes(30), [2, 4, 1]);
        // Not enough, even without all of them: then they can stay.
        assert_eq!(goes(31), [0_u8; 0]);
    }

    #[tokio::test]
    async fn what_can_never_fit_is_told_apart_from_what_does_not_fit_now() {
        let node = Budget::new(100);
        let (ann, bob) = (node.within(60), node.within(60));
        let nobody = |_| false;
        let refused = admit(&ann, 61, nobody).await.unwrap_err();
        assert_eq!(refused, VaultError::TooLarge);
        let held = admit(&ann, 60, nobody).await.unwrap();
        // Two loads that do not fit together: the second is refused before it begins.
        let refused = admit(&bob, 41, nobody).await.unwrap_err();
        assert_eq!(refused, VaultError::Overloaded);
        drop(held);
        assert!(admit(&bob, 41, nobody).await.is_ok());
        let small_node = Budget::new(10).within(60);
        let refused = admit(&small_node, 11, nobody).await.unwrap_err();
        assert_eq!(refused, VaultError::TooLarge);
    }

    #[tokio::test]
    async fn a_load_waits_until_those_who_make_room_are_wiped() {
        let node = Budget::new(100);
        let mut held = Some(node.reserve(80).unwrap());
        let mut asked = 0;
        let admitted = admit(&node, 50, |bytes| {
            assert_eq!(bytes, 50);
            asked += 1;
            if asked == 3 {
                held.take();
            }
            asked == 1
        });
        assert!(admitted.await.is_ok());
    }

    #[test]
    fn an_advance_is_handed_over_as_the_records_come() {
        let budget = Budget::new(10_000);
        let mut advance = Advance(budget.reserve(1_000).unwrap());
        advance.hand_over(300, 2);
        assert_eq!(budget.used(), 1_000 - 300 - 2 * BESIDE_A_RECORD);
        advance.hand_over(usize::MAX, usize::MAX);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_size_that_cannot_be_is_larger_than_anything() {
        let absurd = format!(
            r#"{{"doc_count":{max},"sizes":{{"external":{max}}}}}"#,
            max = u64::MAX
        );
        assert_eq!(size_of(&serde_json::from_str(&absurd).unwrap()), usize::MAX);
        let silent = serde_json::from_str(r#"{"doc_count":10}"#).unwrap();
        assert_eq!(size_of(&silent), 640);
    }
}
