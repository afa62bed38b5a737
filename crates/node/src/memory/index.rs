//! The order of a database's records by one field.
//!
//! Guarantees: entries lie in the order of their keys, records that lack the field are kept apart;
//! no key of a record that is gone is left in memory. A key is cut at [`MAX_KEY`] bytes; whoever
//! needs the exact order of keys that long compares the records. Costs 8 bytes per record, and the
//! key once per distinct value.

mod times;

use std::ops::Range;

use adyton_couch::collate::{Key, write_key};
use adyton_couch::lazy_json::{Kind, LazyValue, MemberNames};
use adyton_couch::selector::{FieldPath, walk};
use zeroize::{Zeroize, Zeroizing};

use super::budget::{OverBudget, Reservation};

/// The longest key that is kept.
pub(super) const MAX_KEY: usize = 128;

/// The records of a database, or some of them, ordered by one field.
pub(super) struct Index {
    path: FieldPath,
    names: MemberNames,
    /// By key, then by slot.
    entries: Vec<Entry>,
    /// Slots of records without the field, ascending.
    missing: Vec<u32>,
    keys: Keys,
    counted: Reservation,
}

/// One record.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    /// Where its key is. Entries with equal keys share one.
    key: u32,
    pub(super) slot: u32,
}

/// A record on its way into the index.
struct Draft {
    /// The first bytes of the key, which decide most comparisons.
    head: u128,
    key: u32,
    slot: u32,
}

impl Index {
    /// Indexes the records in `slots`. `counted` is made to cover what is needed meanwhile, and
    /// what is left at the end.
    pub(super) fn build<'d>(
        path: FieldPath,
        slots: impl Iterator<Item = u32>,
        object: impl Fn(u32) -> &'d [u8],
        mut counted: Reservation,
    ) -> Result<Self, OverBudget> {
        let mut names = MemberNames::default();
        names.slot(path.first());
        let mut raw = Keys::default();
        let mut drafts: Vec<Draft> = Vec::new();
        let mut missing = Vec::new();
        for slot in slots {
            match field(&names, &path, object(slot)) {
                None => missing.push(slot),
                Some(value) => {
                    let key = raw.add(value)?;
                    drafts.push(Draft {
                        head: raw.head(key),
                        key,
                        slot,
                    });
                }
            }
            if (drafts.len() + missing.len()) % 1024 == 1023 {
                counted.resize(
                    raw.bytes() + drafts.capacity() * size_of::<Draft>() + missing.capacity() * 4,
                )?;
            }
        }
        raw.sort(&mut drafts);
        let mut index = Self {
            path,
            names,
            entries: Vec::with_capacity(drafts.len()),
            missing,
            keys: Keys::with_capacity(raw.distinct_bytes(&drafts)),
            counted,
        };
        index.missing.sort_unstable();
        let mut last: Option<(u32, u32)> = None;
        for draft in &drafts {
            let key = match last {
                Some((old, new)) if raw.get(old) == raw.get(draft.key) => new,
                _ => index.keys.copy(raw.get(draft.key))?,
            };
            last = Some((draft.key, key));
            index.entries.push(Entry {
                key,
                slot: draft.slot,
            });
        }
        drop((raw, drafts));
        index.missing.shrink_to_fit();
        index.recount()?;
        Ok(index)
    }

    pub(super) fn path(&self) -> &FieldPath {
        &self.path
    }

    pub(super) fn bytes(&self) -> usize {
        self.counted.bytes()
    }

    /// How many records have the field.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn missing(&self) -> &[u32] {
        &self.missing
    }

    pub(super) fn entries(&self, range: Range<usize>) -> &[Entry] {
        self.entries.get(range).unwrap_or_default()
    }

    /// Whether the key at this position may go on beyond what is kept.
    pub(super) fn is_cut(&self, at: usize) -> bool {
        self.entries
            .get(at)
            .is_some_and(|entry| self.keys.get(entry.key).len() >= MAX_KEY)
    }

    /// The positions of records whose field is null.
    pub(super) fn nulls(&self) -> Range<usize> {
        self.kinds(Kind::Null, Kind::False)
    }

    /// The positions of records whose field is of a kind from `from` up to, but not, `to`.
    pub(super) fn kinds(&self, from: Kind, to: Kind) -> Range<usize> {
        let before = |kind: Kind| {
            let first = [Key::first_byte(kind)];
            self.entries
                .partition_point(|entry| self.keys.get(entry.key) < first.as_slice())
        };
        before(from)..before(to)
    }

    /// The first position whose key is not below `key`.
    pub(super) fn lower(&self, key: &[u8]) -> usize {
        let key = cut(key);
        self.entries
            .partition_point(|entry| self.keys.get(entry.key) < key)
    }

    /// The first position whose key is above `key`.
    pub(super) fn upper(&self, key: &[u8]) -> usize {
        let key = cut(key);
        self.entries
            .partition_point(|entry| self.keys.get(entry.key) <= key)
    }

    /// The positions within `range` that share the key of the one at `at`.
    pub(super) fn group(&self, at: usize, range: Range<usize>) -> Range<usize> {
        let Some(entry) = self.entries.get(at) else {
            return at..at + 1;
        };
        let same = |other: &&Entry| other.key == entry.key;
        let before = self
            .entries(range.start..at)
            .iter()
            .rev()
            .take_while(same)
            .count();
        let after = self.entries(at..range.end).iter().take_while(same).count();
        at - before..at + after.max(1)
    }

    /// Brings the index up to date for slots whose records changed, came or went.
    pub(super) fn update<'d>(
        &mut self,
        touched: &[u32],
        object: impl Fn(u32) -> Option<&'d [u8]>,
    ) -> Result<(), OverBudget> {
        self.forget(touched);
        let mut raw = Keys::default();
        let mut drafts = Vec::new();
        for slot in touched {
            let Some(object) = object(*slot) else {
                continue;
            };
            match field(&self.names, &self.path, object) {
                None => {
                    let place = self.missing.partition_point(|other| other < slot);
                    self.missing.insert(place, *slot);
                }
                Some(value) => {
                    let key = raw.add(value)?;
                    drafts.push(Draft {
                        head: raw.head(key),
                        key,
                        slot: *slot,
                    });
                }
            }
        }
        raw.sort(&mut drafts);
        self.insert(&raw, &drafts)?;
        if self.keys.is_mostly_dead() {
            self.gather_keys()?;
        }
        self.recount()
    }

    #[cfg(test)]
    pub(super) fn contains(&self, needle: &[u8]) -> bool {
        memchr::memmem::find(&self.keys.bytes, needle).is_some()
    }

    /// Removes the entries of `touched` (ascending), and wipes keys that nobody has any more.
    fn forget(&mut self, touched: &[u32]) {
        let highest = touched.last().map_or(0, |slot| *slot as usize + 1);
        let mut marks = vec![0_u64; highest.div_ceil(64)];
        for slot in touched {
            if let Some(word) = marks.get_mut(*slot as usize / 64) {
                *word |= 1 << (slot % 64);
            }
        }
        let is_touched = |slot: u32| {
            marks
                .get(slot as usize / 64)
                .is_some_and(|word| word >> (slot % 64) & 1 == 1)
        };
        self.missing.retain(|slot| !is_touched(*slot));
        // Entries with one key lie together: when none of them stays, the key goes too.
        let keys = &mut self.keys;
        let mut group: Option<u32> = None;
        let mut stays = true;
        self.entries.retain(|entry| {
            if group != Some(entry.key) {
                if let Some(key) = group.filter(|_| !stays) {
                    keys.wipe(key);
                }
                group = Some(entry.key);
                stays = false;
            }
            let keep = !is_touched(entry.slot);
            stays |= keep;
            keep
        });
        if let Some(key) = group.filter(|_| !stays) {
            keys.wipe(key);
        }
    }

    /// Merges drafts, which are in order.
    fn insert(&mut self, raw: &Keys, drafts: &[Draft]) -> Result<(), OverBudget> {
        if drafts.is_empty() {
            return Ok(());
        }
        let mut incoming = Vec::with_capacity(drafts.len());
        let mut last: Option<(u32, u32)> = None;
        for draft in drafts {
            let text = raw.get(draft.key);
            let place = self.entries.partition_point(|entry| {
                self.keys
                    .get(entry.key)
                    .cmp(text)
                    .then(entry.slot.cmp(&draft.slot))
                    .is_lt()
            });
            let key = match last {
                Some((old, new)) if raw.get(old) == text => new,
                _ => {
                    let neighbours = [place.checked_sub(1), Some(place)];
                    let equal = neighbours
                        .into_iter()
                        .flatten()
                        .filter_map(|at| self.entries.get(at))
                        .find(|entry| self.keys.get(entry.key) == text);
                    match equal {
                        Some(entry) => entry.key,
                        None => self.keys.copy(text)?,
                    }
                }
            };
            last = Some((draft.key, key));
            incoming.push((
                place,
                Entry {
                    key,
                    slot: draft.slot,
                },
            ));
        }
        // From the back, so that every entry moves once.
        let mut end = self.entries.len();
        let grown = end + incoming.len();
        if grown > self.entries.capacity() {
            self.entries.reserve_exact(incoming.len().max(end / 8));
        }
        self.entries.resize(grown, Entry { key: 0, slot: 0 });
        for (shift, (place, entry)) in incoming.into_iter().enumerate().rev() {
            self.entries.copy_within(place..end, place + shift + 1);
            if let Some(free) = self.entries.get_mut(place + shift) {
                *free = entry;
            }
            end = place;
        }
        Ok(())
    }

    /// Copies the keys that are still somebody's to new memory.
    fn gather_keys(&mut self) -> Result<(), OverBudget> {
        let mut keys = Keys::with_capacity(self.keys.bytes.len() - self.keys.dead);
        let mut last: Option<(u32, u32)> = None;
        for entry in &mut self.entries {
            let new = match last {
                Some((old, new)) if old == entry.key => new,
                _ => keys.copy(self.keys.get(entry.key))?,
            };
            last = Some((entry.key, new));
            entry.key = new;
        }
        self.keys = keys;
        Ok(())
    }

    fn recount(&mut self) -> Result<(), OverBudget> {
        self.counted.resize(
            self.keys.bytes()
                + self.entries.capacity() * size_of::<Entry>()
                + self.missing.capacity() * size_of::<u32>()
                + size_of::<Self>(),
        )
    }
}

/// The field of a record.
pub(super) fn field<'d>(
    names: &MemberNames,
    path: &FieldPath,
    object: &'d [u8],
) -> Option<LazyValue<'d>> {
    let mut slots = [None];
    names.pick(object, &mut slots);
    walk(slots.first().copied().flatten()?, path.rest())
}

fn cut(key: &[u8]) -> &[u8] {
    key.get(..MAX_KEY).unwrap_or(key)
}

/// Keys, one behind the other, each after its length. Zeroized on drop and when it moves.
struct Keys {
    bytes: Zeroizing<Vec<u8>>,
    dead: usize,
    /// Whether every text among the keys that were copied here names a moment.
    are_times: bool,
}

impl Default for Keys {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl Keys {
    fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Zeroizing::new(Vec::with_capacity(bytes)),
            dead: 0,
            are_times: true,
        }
    }

    fn bytes(&self) -> usize {
        self.bytes.capacity()
    }

    fn get(&self, key: u32) -> &[u8] {
        let at = key as usize;
        let length = self.bytes.get(at).map_or(0, |length| usize::from(*length));
        self.bytes.get(at + 1..at + 1 + length).unwrap_or_default()
    }

    fn head(&self, key: u32) -> u128 {
        let mut head = [0; 16];
        for (head, byte) in head.iter_mut().zip(self.get(key)) {
            *head = *byte;
        }
        u128::from_be_bytes(head)
    }

    fn add(&mut self, value: LazyValue<'_>) -> Result<u32, OverBudget> {
        let at = self.make_room(MAX_KEY)?;
        self.bytes.push(0);
        write_key(value, MAX_KEY, &mut self.bytes);
        let length = self.bytes.len() - at as usize - 1;
        if let Some(place) = self.bytes.get_mut(at as usize) {
            *place = u8::try_from(length).unwrap_or(u8::MAX);
        }
        Ok(at)
    }

    fn copy(&mut self, key: &[u8]) -> Result<u32, OverBudget> {
        let at = self.make_room(key.len())?;
        self.are_times = self.are_times && times::is_no_other_text(key);
        self.bytes.push(u8::try_from(key.len()).unwrap_or(u8::MAX));
        self.bytes.extend_from_slice(key);
        Ok(at)
    }

    /// Grows by a quarter when needed; the old memory is zeroized.
    fn make_room(&mut self, length: usize) -> Result<u32, OverBudget> {
        let end = self.bytes.len();
        let needed = end + 1 + length;
        if needed > self.bytes.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(needed + needed / 4));
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
        u32::try_from(end).map_err(|_| OverBudget)
    }

    fn sort(&self, drafts: &mut [Draft]) {
        drafts.sort_unstable_by(|left, right| {
            left.head
                .cmp(&right.head)
                .then_with(|| self.get(left.key).cmp(self.get(right.key)))
                .then(left.slot.cmp(&right.slot))
        });
    }

    fn distinct_bytes(&self, drafts: &[Draft]) -> usize {
        let mut last: &[u8] = &[];
        let mut bytes = 0;
        for draft in drafts {
            let key = self.get(draft.key);
            if key != last {
                bytes += 1 + key.len();
                last = key;
            }
        }
        bytes
    }

    fn wipe(&mut self, key: u32) {
        let length = self.get(key).len();
        let at = key as usize + 1;
        self.bytes
            .get_mut(at..at + length)
            .into_iter()
            .for_each(Zeroize::zeroize);
        self.dead += length + 1;
    }

    fn is_mostly_dead(&self) -> bool {
        self.dead * 3 > self.bytes.len()
    }
}
