//! A file that is read and never written: what the engine writes to it stays in memory.
//!
//! Guarantees: the file need not be writable, and is the same to the last byte afterwards, also when the engine repairs what a killed
//! process left. Whoever has it open for writing is noticed, as a writer would notice him; others may read it at the same time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Error, ErrorKind};
use std::ops::{Bound, Range};
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use super::StoreError;

/// Bytes that are kept together once one of them is written. What a check makes the engine write is its list of free pages: some
/// 64 KiB for each GiB of the file.
const BLOCK_BYTES: usize = 4 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Unwritten {
    file: FileBackend,
    seen: Mutex<Seen>,
}

/// What the engine sees instead of the file.
#[derive(Debug)]
struct Seen {
    length: u64,
    /// So many bytes of the file are seen, where nothing was written; then zeros.
    of_file: u64,
    /// Number of a block → its bytes.
    written: BTreeMap<u64, Vec<u8>>,
}

impl Unwritten {
    pub(super) fn new(file: File) -> Result<Self, StoreError> {
        let length = file.metadata()?.len();
        Ok(Self {
            file: FileBackend::new(file)?,
            seen: Mutex::new(Seen {
                length,
                of_file: length,
                written: BTreeMap::new(),
            }),
        })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_seen(&self, seen: &Seen, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let end = offset + out.len() as u64;
        if end > seen.length {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let of_file = seen.of_file.saturating_sub(offset);
        let of_file = usize::try_from(of_file).map_or(out.len(), |most| most.min(out.len()));
        let (of_file, beyond) = out.split_at_mut(of_file);
        if !of_file.is_empty() {
            self.file.read(offset, of_file)?;
        }
        beyond.fill(0);
        for (number, block) in seen.written.range(numbers(offset, out.len())) {
            let (place, of_block) = meeting(offset, out.len(), *number);
            if let (Some(place), Some(bytes)) = (out.get_mut(place), block.get(of_block)) {
                place.copy_from_slice(bytes);
            }
        }
        Ok(())
    }
}

/// The blocks in which these bytes are.
fn numbers(offset: u64, length: usize) -> Range<u64> {
    let block = BLOCK_BYTES as u64;
    offset / block..(offset + length as u64).div_ceil(block)
}

/// Which of these bytes are in a block, and where in the block.
fn meeting(offset: u64, length: usize, number: u64) -> (Range<usize>, Range<usize>) {
    let begin = number * BLOCK_BYTES as u64;
    let (from, to) = (
        offset.max(begin),
        (offset + length as u64).min(begin + BLOCK_BYTES as u64),
    );
    // Below a length in memory, all of them.
    let place = |base: u64, at: u64| usize::try_from(at.saturating_sub(base)).unwrap_or(usize::MAX);
    (
        place(offset, from)..place(offset, to),
        place(begin, from)..place(begin, to),
    )
}

impl StorageBackend for Unwritten {
    fn len(&self) -> Result<u64, Error> {
        Ok(self.seen().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        self.read_seen(&self.seen(), offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), Error> {
        let mut seen = self.seen();
        seen.length = len;
        seen.of_file = seen.of_file.min(len);
        let block = BLOCK_BYTES as u64;
        seen.written.retain(|number, bytes| {
            let left = len.saturating_sub(number * block).min(block);
            let left = usize::try_from(left).unwrap_or(BLOCK_BYTES);
            bytes.truncate(left);
            bytes.resize(BLOCK_BYTES, 0);
            left > 0
        });
        Ok(())
    }

    fn sync_data(&self) -> Result<(), Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let mut seen = self.seen();
        seen.length = seen.length.max(offset + data.len() as u64);
        for number in numbers(offset, data.len()) {
            let mut block = match seen.written.remove(&number) {
                Some(block) => block,
                None => {
                    let begin = number * BLOCK_BYTES as u64;
                    let there = seen.of_file.saturating_sub(begin).min(BLOCK_BYTES as u64);
                    let mut block = vec![0; usize::try_from(there).unwrap_or_default()];
                    self.read_seen(&seen, begin, &mut block)?;
                    block.resize(BLOCK_BYTES, 0);
                    block
                }
            };
            let (of_data, place) = meeting(offset, data.len(), number);
            if let (Some(place), Some(bytes)) = (block.get_mut(place), data.get(of_data)) {
                place.copy_from_slice(bytes);
            }
            seen.written.insert(number, block);
        }
        Ok(())
    }

    fn close(&self) -> Result<(), Error> {
        self.file.close()
    }

    /// Shared, as who does not write may have no other; whoever writes has his own for himself alone.
    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::super::disk::Chance;
    use super::*;

    #[test]
    fn what_is_written_is_seen_and_the_file_stays_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        for seed in 0..50 {
            let mut chance = Chance(seed);
            let bytes: Vec<u8> = (0..chance.below(40_000))
                .map(|n| u8::try_from(n % 251).unwrap())
                .collect();
            std::fs::write(&path, &bytes).unwrap();
            let unwritten = Unwritten::new(File::open(&path).unwrap()).unwrap();
            let mut model = bytes.clone();
            for step in 0..60 {
                match chance.below(4) {
                    0 => {
                        let length = chance.below(50_000);
                        unwritten.set_len(length as u64).unwrap();
                        model.resize(length, 0);
                    }
                    1 => {
                        let at = chance.below(model.len() + 1);
                        let data = vec![step; chance.below(10_000)];
                        unwritten.write(at as u64, &data).unwrap();
                        model.resize(model.len().max(at + data.len()), 0);
                        model[at..at + data.len()].copy_from_slice(&data);
                    }
                    _ => {
                        let at = chance.below(model.len() + 1);
                        let mut out = vec![0xff; chance.below(model.len() - at + 1)];
                        unwritten.read(at as u64, &mut out).unwrap();
                        assert_eq!(out, model[at..at + out.len()], "{seed} {step}");
                    }
                }
                assert_eq!(unwritten.len().unwrap(), model.len() as u64);
            }
            let beyond = unwritten.read(model.len() as u64, &mut [0]);
            assert_eq!(beyond.unwrap_err().kind(), ErrorKind::UnexpectedEof);
            assert_eq!(std::fs::read(&path).unwrap(), bytes);
        }
    }
}
