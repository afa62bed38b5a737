//! All slabs of one database, and the care for bytes that are no longer anybody's.
//!
//! Guarantees: after [`Slabs::tidy`] no byte of an updated or deleted record is left in any slab of
//! this database; a slab that a reader still holds lives on untouched outside it until the reader
//! is done. Dead space stays under a third, small slabs are merged.

use std::ops::Range;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::budget::{Budget, OverBudget, Reservation};
use super::slab::Slab;

/// Slabs shorter than this are merged when there are many.
const SMALL: usize = 64 * 1024;
/// How many small slabs there may be.
const MANY: usize = 32;

/// The place of a record: its text and its id.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) slab: u32,
    pub(super) at: u32,
    /// Zero: no record.
    pub(super) len: u32,
    pub(super) id_at: u32,
    pub(super) id_len: u16,
}

impl Place {
    /// Where in the text the id is; `None` when it is kept elsewhere.
    fn id_inside(self) -> Option<u32> {
        self.id_at
            .checked_sub(self.at)
            .filter(|inside| *inside < self.len)
    }

    /// The bytes that must stay together.
    fn size(self) -> usize {
        let id = if self.id_inside().is_some() {
            0
        } else {
            self.id_len.into()
        };
        self.len as usize + id
    }
}

/// Whoever keeps the places of records, so that records can be moved.
pub(super) trait Tenants {
    /// The place of a tenant, if it still has one.
    fn place(&mut self, tenant: u32) -> Option<&mut Place>;
}

#[derive(Default)]
pub(super) struct Slabs {
    slabs: Vec<Option<Held>>,
    vacant: Vec<u32>,
    /// Slabs in which something died since the last tidying.
    dirty: Vec<u32>,
}

struct Held {
    slab: Arc<Slab>,
    /// Who has ever lived here; whose place is elsewhere now is to be skipped.
    tenants: Vec<u32>,
    dead: usize,
    to_wipe: Vec<Range<usize>>,
}

impl Slabs {
    /// What a batch of `bytes` bytes and `rows` rows costs here, beside the rows' places.
    pub(super) fn cost(bytes: usize, rows: usize) -> usize {
        bytes + rows * size_of::<u32>() + Slab::OVERHEAD + size_of::<Option<Held>>()
    }

    /// Takes over a batch's bytes as a new slab and says its number. `counted` covers its cost.
    pub(super) fn add(
        &mut self,
        bytes: Zeroizing<Vec<u8>>,
        tenants: usize,
        counted: Reservation,
    ) -> u32 {
        let held = Held {
            slab: Arc::new(Slab::new(bytes, counted)),
            tenants: Vec::with_capacity(tenants),
            dead: 0,
            to_wipe: Vec::new(),
        };
        if let Some(number) = self.vacant.pop()
            && let Some(vacant) = self.slabs.get_mut(number as usize)
        {
            *vacant = Some(held);
            return number;
        }
        self.slabs.push(Some(held));
        u32::try_from(self.slabs.len() - 1).unwrap_or(u32::MAX)
    }

    pub(super) fn slab(&self, number: u32) -> Option<&Arc<Slab>> {
        self.slabs
            .get(number as usize)?
            .as_ref()
            .map(|held| &held.slab)
    }

    #[inline]
    pub(super) fn text(&self, slab: u32, at: u32, len: usize) -> &[u8] {
        self.slab(slab).map_or(&[], |slab| slab.text(at, len))
    }

    /// Notes that `tenant` lives in the slab.
    pub(super) fn moved_in(&mut self, slab: u32, tenant: u32) {
        if let Some(held) = self.held(slab) {
            held.tenants.push(tenant);
        }
    }

    /// Notes that nobody lives at `place` any more.
    pub(super) fn moved_out(&mut self, place: Place) {
        let range = |at: u32, len: usize| at as usize..at as usize + len;
        let Some(held) = self.held(place.slab) else {
            return;
        };
        held.dead += place.size();
        held.to_wipe.push(range(place.at, place.len as usize));
        if place.id_inside().is_none() {
            held.to_wipe.push(range(place.id_at, place.id_len.into()));
        }
        if !self.dirty.contains(&place.slab) {
            self.dirty.push(place.slab);
        }
    }

    /// Removes all that died, and gathers what is scattered.
    pub(super) fn tidy(&mut self, tenants: &mut impl Tenants, budget: &Budget) {
        for number in std::mem::take(&mut self.dirty) {
            let Some(held) = self.held(number) else {
                continue;
            };
            let mostly_alive = held.dead * 3 < held.slab.len();
            match Arc::get_mut(&mut held.slab) {
                Some(slab) if mostly_alive => {
                    held.to_wipe.drain(..).for_each(|range| slab.wipe(range));
                }
                _ => self.rewrite(&[number], tenants, budget),
            }
        }
        let small: Vec<u32> = (0_u32..)
            .zip(&self.slabs)
            .filter(|(_, held)| held.as_ref().is_some_and(|held| held.slab.len() < SMALL))
            .map(|(number, _)| number)
            .collect();
        if small.len() >= MANY {
            self.rewrite(&small, tenants, budget);
        }
    }

    /// What is counted for the slabs.
    pub(super) fn counted(&self) -> usize {
        self.slabs
            .iter()
            .flatten()
            .map(|held| held.slab.counted())
            .sum()
    }

    /// The bytes in all slabs.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slabs
            .iter()
            .flatten()
            .map(|held| held.slab.len())
            .sum()
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.slabs.iter().flatten().count()
    }

    #[cfg(test)]
    pub(super) fn contains(&self, needle: &[u8]) -> bool {
        self.slabs
            .iter()
            .flatten()
            .any(|held| memchr::memmem::find(held.slab.text(0, held.slab.len()), needle).is_some())
    }

    /// Moves all who live in these slabs to a new one, and lets the old ones go.
    fn rewrite(&mut self, numbers: &[u32], tenants: &mut impl Tenants, budget: &Budget) {
        let mut moving: Vec<(u32, Place)> = Vec::new();
        for number in numbers {
            let Some(held) = self.held(*number) else {
                continue;
            };
            let mut here = std::mem::take(&mut held.tenants);
            here.sort_unstable();
            here.dedup();
            moving.extend(here.into_iter().filter_map(|tenant| {
                let place = *tenants.place(tenant)?;
                (place.slab == *number).then_some((tenant, place))
            }));
        }
        let length: usize = moving.iter().map(|(_, place)| place.size()).sum();
        if !moving.is_empty() {
            let mut bytes = Zeroizing::new(Vec::with_capacity(length));
            let mut places = Vec::with_capacity(moving.len());
            for (tenant, place) in moving {
                places.push((tenant, self.copy(place, &mut bytes)));
            }
            let counted = budget.reserve_beyond_limit(Self::cost(bytes.capacity(), places.len()));
            let new = self.add(bytes, places.len(), counted);
            for (tenant, place) in places {
                if let Some(old) = tenants.place(tenant) {
                    *old = Place { slab: new, ..place };
                    self.moved_in(new, tenant);
                }
            }
        }
        for number in numbers {
            if let Some(held) = self.slabs.get_mut(*number as usize)
                && held.take().is_some()
            {
                self.vacant.push(*number);
            }
        }
    }

    /// Copies a record to the end of `bytes`, and says where it is there.
    fn copy(&self, place: Place, bytes: &mut Vec<u8>) -> Place {
        // Slabs are at most `PlainBatch::MAX_BYTES` long, or the sum of `MANY` small ones.
        let end = |bytes: &Vec<u8>| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let at = end(bytes);
        bytes.extend_from_slice(self.text(place.slab, place.at, place.len as usize));
        let id_at = match place.id_inside() {
            Some(inside) => at + inside,
            None => {
                let id_at = end(bytes);
                bytes.extend_from_slice(self.text(place.slab, place.id_at, place.id_len.into()));
                id_at
            }
        };
        Place { at, id_at, ..place }
    }

    fn held(&mut self, number: u32) -> Option<&mut Held> {
        self.slabs.get_mut(number as usize)?.as_mut()
    }
}

/// Reserves what a batch costs, or says that it does not fit.
pub(super) fn reserve(
    budget: &Budget,
    bytes: usize,
    rows: usize,
) -> Result<Reservation, OverBudget> {
    budget.reserve(Slabs::cost(bytes, rows))
}
