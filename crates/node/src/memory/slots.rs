//! What is known of each record beside its text: 40 bytes.

use super::schemas::Schemas;
use super::slabs::{Place, Slabs, Tenants};
use adyton_couch::rev::Rev;

/// What is known of one record.
#[derive(Clone, Copy)]
pub(super) struct Slot {
    pub(super) place: Place,
    pub(super) schema: u16,
    pub(super) rev: Rev,
}

/// The records' slots, found by number. A record keeps its number while it lives.
#[derive(Default)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    vacant: Vec<u32>,
}

impl Slots {
    #[inline]
    pub(super) fn slot(&self, number: u32) -> Option<&Slot> {
        self.slots
            .get(number as usize)
            .filter(|slot| slot.place.len > 0)
    }

    #[inline]
    pub(super) fn id<'s>(&self, number: u32, slabs: &'s Slabs) -> &'s [u8] {
        self.slot(number).map_or(&[], |slot| {
            slabs.text(slot.place.slab, slot.place.id_at, slot.place.id_len.into())
        })
    }

    pub(super) fn occupied(&self) -> impl Iterator<Item = (u32, &Slot)> {
        (0_u32..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.place.len > 0)
    }

    /// A number that nobody has.
    pub(super) fn vacancy(&mut self) -> u32 {
        self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Slot::VACANT);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        })
    }

    pub(super) fn set(&mut self, number: u32, new: Slot) {
        if let Some(slot) = self.slots.get_mut(number as usize) {
            *slot = new;
        }
    }

    pub(super) fn vacate(&mut self, number: u32) -> Option<Slot> {
        let slot = self.slots.get_mut(number as usize)?;
        self.vacant.push(number);
        Some(std::mem::replace(slot, Slot::VACANT))
    }

    /// The capacity to have for `new` more slots: a quarter more than needed when it must grow.
    pub(super) fn room_for(&self, new: usize) -> usize {
        let needed = self.slots.len() + new;
        if needed <= self.slots.capacity() {
            self.slots.capacity()
        } else {
            needed + needed / 4
        }
    }

    /// How many slots there are, occupied or not: one more than the highest number.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn vacancies(&self) -> usize {
        self.vacant.len()
    }

    /// Makes room for `capacity` slots in all.
    pub(super) fn make_room(&mut self, capacity: usize) {
        self.slots
            .reserve_exact(capacity.saturating_sub(self.slots.len()));
    }

    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>() + self.vacant.capacity() * size_of::<u32>()
    }
}

impl Tenants for Slots {
    fn place(&mut self, tenant: u32) -> Option<&mut Place> {
        self.slots
            .get_mut(tenant as usize)
            .map(|slot| &mut slot.place)
            .filter(|place| place.len > 0)
    }
}

impl Slot {
    const VACANT: Self = Self {
        place: Place {
            slab: 0,
            at: 0,
            len: 0,
            id_at: 0,
            id_len: 0,
        },
        schema: Schemas::NONE,
        rev: Rev::LOWEST,
    };
}
