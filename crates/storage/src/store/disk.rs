//! A disk in memory for tests: it fails as it is told, fills up, and loses power.
//!
//! 1. What is written is seen at once, and is on the platter after the next `fsync` that succeeds.
//! 2. A write that fails may have been done in part.
//! 3. An `fsync` that fails puts some of what was written on the platter; the rest counts as written from then on, as with Linux:
//!    it is seen, and the next `fsync` does not write it.
//! 4. A power cut leaves, of every sector, what was on the platter or any of what was written since; and any length the file had.

use std::collections::BTreeSet;
use std::io::{Error, ErrorKind};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

use super::engine::Medium;

const SECTOR: usize = 512;
const BLOCK: usize = 4096;

/// A reproducible source of choices: SplitMix64.
#[derive(Debug, Clone)]
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub(super) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// Which operations fail, of all those that are counted, and how.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) operations: Range<u64>,
    pub(super) kind: ErrorKind,
}

/// Cheap to clone; every clone is the same disk.
#[derive(Debug, Clone)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    seen: Vec<u8>,
    platter: Vec<u8>,
    /// What was written and is not on the platter.
    pending: Vec<Pending>,
    /// Writes, changes of length and `fsync`s so far.
    operations: u64,
    fault: Option<Fault>,
    reads_fail: bool,
    /// Blocks that the file may take.
    room: usize,
    taken: BTreeSet<usize>,
    chance: Chance,
}

#[derive(Debug, Clone)]
enum Pending {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Disk {
    pub(super) fn new(seed: u64) -> Self {
        Self::holding(Vec::new(), seed)
    }

    pub(super) fn holding(bytes: Vec<u8>, seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            seen: bytes.clone(),
            platter: bytes,
            pending: Vec::new(),
            operations: 0,
            fault: None,
            reads_fail: false,
            room: usize::MAX,
            taken: BTreeSet::new(),
            chance: Chance(seed),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn medium(&self) -> Medium {
        let disk = self.clone();
        Box::new(move || Ok(Box::new(disk.clone())))
    }

    /// Operations so far.
    pub(super) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The file as it is seen.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.state().seen.clone()
    }

    pub(super) fn fail(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    pub(super) fn fail_reads(&self, fail: bool) {
        self.state().reads_fail = fail;
    }

    /// Leaves room for so many blocks more than the file takes now. None: for all.
    pub(super) fn leave_room(&self, blocks: Option<usize>) {
        let mut state = self.state();
        state.room = blocks.map_or(usize::MAX, |blocks| state.taken.len() + blocks);
    }

    /// The disk as it is found when there is power again.
    pub(super) fn after_power_cut(&self, chance: &mut Chance) -> Self {
        let state = self.state();
        let kept = [0, 5, 50, 95, 100][chance.below(5)];
        let mut lengths = vec![state.platter.len()];
        for pending in &state.pending {
            match pending {
                Pending::Length(length) => lengths.push(*length),
                Pending::Write(at, bytes) => {
                    lengths.push(state.platter.len().max(at + bytes.len()));
                }
            }
        }
        let newest = lengths.iter().copied().max().unwrap();
        let mut found = state.platter.clone();
        found.resize(newest.max(found.len()), 0);
        for pending in &state.pending {
            if let Pending::Write(at, bytes) = pending {
                // Sector by sector: whichever of the versions was written back last.
                let mut from = 0;
                while from < bytes.len() {
                    let end = bytes.len().min(from + SECTOR - (at + from) % SECTOR);
                    if chance.percent(kept) {
                        found[at + from..at + end].copy_from_slice(&bytes[from..end]);
                    }
                    from = end;
                }
            }
        }
        let length = match chance.percent(50) {
            true => state.seen.len(),
            false => lengths[chance.below(lengths.len())],
        };
        found.resize(length, 0);
        Self::holding(found, chance.next())
    }
}

impl State {
    /// Counts an operation, and says whether it fails.
    fn count(&mut self) -> Result<(), Error> {
        let number = self.operations;
        self.operations += 1;
        match &self.fault {
            Some(fault) if fault.operations.contains(&number) => Err(fault.kind.into()),
            _ => Ok(()),
        }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        if end > self.seen.len() {
            self.seen.resize(end, 0);
        }
        self.seen[at..end].copy_from_slice(bytes);
        self.pending.push(Pending::Write(at, bytes.to_vec()));
    }

    fn onto_platter(&mut self, pending: Pending) {
        match pending {
            Pending::Write(at, bytes) => {
                let end = at + bytes.len();
                if end > self.platter.len() {
                    self.platter.resize(end, 0);
                }
                self.platter[at..end].copy_from_slice(&bytes);
            }
            Pending::Length(length) => self.platter.resize(length, 0),
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, Error> {
        Ok(self.state().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let state = self.state();
        if state.reads_fail {
            return Err(Error::other("a bad sector"));
        }
        let from = usize::try_from(offset).unwrap();
        let bytes = state.seen.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or(ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        let mut state = self.state();
        state.count()?;
        let length = usize::try_from(len).unwrap();
        state.seen.resize(length, 0);
        state.taken.retain(|block| block * BLOCK < length);
        state.pending.push(Pending::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), Error> {
        let mut state = self.state();
        let outcome = state.count();
        for pending in std::mem::take(&mut state.pending) {
            // The length is the file system's own, and in its journal.
            let whole = outcome.is_ok() || matches!(pending, Pending::Length(_));
            if whole || state.chance.percent(50) {
                state.onto_platter(pending);
            }
        }
        outcome
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let mut state = self.state();
        let at = usize::try_from(offset).unwrap();
        if let Err(error) = state.count() {
            let done = state.chance.below(data.len() + 1);
            state.put(at, &data[..done]);
            return Err(error);
        }
        for block in at / BLOCK..(at + data.len()).div_ceil(BLOCK) {
            if !state.taken.contains(&block) && state.taken.len() >= state.room {
                let done = (block * BLOCK).saturating_sub(at);
                state.put(at, &data[..done]);
                return Err(ErrorKind::StorageFull.into());
            }
            state.taken.insert(block);
        }
        state.put(at, data);
        Ok(())
    }
}
