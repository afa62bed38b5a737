//! Whom an enclave reaches under which number, and which number its host has.

use std::sync::atomic::{AtomicU32, Ordering};

/// The host of a Nitro enclave, as the enclave numbers it.
pub const PARENT: u32 = 3;

/// The host as everybody else numbers it; the only one that an emulated enclave reaches.
pub const EMULATOR: u32 = 2;

/// Where an enclave looks for its host, in this order.
pub const HOSTS: [u32; 2] = [PARENT, EMULATOR];

/// Binds to whatever number this machine has.
pub const ANY: u32 = u32::MAX;

/// The host's number, once somebody has reached it. One per process is meant; a copy that is shared learns once.
#[derive(Debug, Default)]
pub struct HostCid(AtomicU32);

impl HostCid {
    /// Not known yet.
    #[must_use]
    pub const fn unknown() -> Self {
        Self(AtomicU32::new(0))
    }

    /// The numbers to try: the known one alone, or all.
    pub fn candidates(&self) -> impl Iterator<Item = u32> + use<> {
        let known = self.0.load(Ordering::Relaxed);
        HOSTS
            .into_iter()
            .filter(move |cid| known == 0 || *cid == known)
    }

    /// Somebody answered there.
    pub fn learn(&self, cid: u32) {
        self.0.store(cid, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_numbers_are_tried_until_one_has_answered() {
        let host = HostCid::unknown();
        assert_eq!(host.candidates().collect::<Vec<_>>(), [3, 2]);
        host.learn(EMULATOR);
        assert_eq!(host.candidates().collect::<Vec<_>>(), [2]);
    }
}
