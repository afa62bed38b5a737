//! Where one word stands: documents, fields, places. Compressed, and changed in place.
//!
//! Guarantees: documents ascend; adding and removing touch one block of at most [`BLOCK`] documents, wherever the
//! document lies. A document's entry is: its distance to the one before, then for each field (ascending) a byte
//! (field, number of places up to 3 or a mark that it follows, mark of the last field), then all places, each as its
//! distance to the one before in its field.

/// Most documents in a block.
const BLOCK: usize = 128;
/// Bytes that a word's documents take before they get memory of their own.
const INLINE: usize = 19;

/// The documents of one word.
pub(crate) enum Postings {
    Few {
        len: u8,
        last: u32,
        bytes: [u8; INLINE],
    },
    Many(Vec<Block>),
}

/// Documents that lie side by side.
pub(crate) struct Block {
    /// What the first distance is measured from.
    base: u32,
    last: u32,
    docs: u32,
    bytes: Vec<u8>,
}

/// One field of a document in which the word stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FieldHits {
    pub(crate) field: u8,
    pub(crate) count: u32,
}

const FIELD_BITS: u8 = 0x1F;
const LAST_FIELD: u8 = 0x80;

impl Postings {
    pub(crate) const EMPTY: Self = Self::Few {
        len: 0,
        last: 0,
        bytes: [0; INLINE],
    };

    /// Adds a document that is not there, with its fields and places. Returns the change of [`Postings::heap`].
    pub(crate) fn insert(&mut self, doc: u32, payload: &[u8]) -> isize {
        let mut grown = 0;
        if let Self::Few { len, last, bytes } = self {
            let mut gap = [0; 5];
            let used = usize::from(*len);
            if used == 0 || doc > *last {
                let base = if used == 0 { 0 } else { *last };
                let gap = write_varint(doc - base, &mut gap);
                let needed = used + gap.len() + payload.len();
                if let Some(free) = bytes.get_mut(used..needed) {
                    let (head, tail) = free.split_at_mut(gap.len());
                    head.copy_from_slice(gap);
                    tail.copy_from_slice(payload);
                    (*len, *last) = (needed as u8, doc);
                    return 0;
                }
            }
            let mut block = Block {
                base: 0,
                last: *last,
                docs: 0,
                bytes: bytes.get(..used).unwrap_or_default().to_vec(),
            };
            bytes.fill(0);
            block.docs = block.entries().count() as u32;
            *self = Self::Many(vec![block]);
            grown = self.heap();
        }
        if let Self::Many(blocks) = self {
            let table = blocks.capacity() * size_of::<Block>();
            let change = insert_into(blocks, doc, payload);
            return change + signed(grown + blocks.capacity() * size_of::<Block>()) - signed(table);
        }
        0
    }

    /// Removes a document. Returns whether it was there, and the change of [`Postings::heap`].
    pub(crate) fn remove(&mut self, doc: u32) -> (bool, isize) {
        match self {
            Self::Few { len, last, bytes } => {
                let used = usize::from(*len);
                let mut block = Block {
                    base: 0,
                    last: *last,
                    docs: 0,
                    bytes: bytes.get(..used).unwrap_or_default().to_vec(),
                };
                let was_there = block.remove(doc);
                bytes.fill(0);
                for (place, byte) in bytes.iter_mut().zip(&block.bytes) {
                    *place = *byte;
                }
                (*len, *last) = (block.bytes.len() as u8, block.last);
                (was_there, 0)
            }
            Self::Many(blocks) => {
                let at = blocks.partition_point(|block| block.last < doc);
                let Some(block) = blocks.get_mut(at) else {
                    return (false, 0);
                };
                let before = block.bytes.capacity();
                let was_there = block.remove(doc);
                let mut change = signed(block.bytes.capacity()) - signed(before);
                if block.docs == 0 {
                    change -= signed(blocks.remove(at).bytes.capacity());
                }
                (was_there, change)
            }
        }
    }

    /// The documents, ascending.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let (few, many): (Option<Entries<'_>>, &[Block]) = match self {
            Self::Few { len, bytes, .. } => {
                let bytes = bytes.get(..usize::from(*len)).unwrap_or_default();
                (Some(Entries { bytes, doc: 0 }), &[])
            }
            Self::Many(blocks) => (None, blocks),
        };
        few.into_iter()
            .flatten()
            .chain(many.iter().flat_map(Block::entries))
    }

    /// A walk from the first document on.
    pub(crate) fn seeker(&self) -> Seeker<'_> {
        let (entries, blocks) = match self {
            Self::Few { len, bytes, .. } => {
                let bytes = bytes.get(..usize::from(*len)).unwrap_or_default();
                (Entries { bytes, doc: 0 }, &[][..])
            }
            Self::Many(blocks) => (
                blocks.first().map_or(Entries::NONE, Block::entries),
                blocks.as_slice(),
            ),
        };
        Seeker {
            blocks,
            entries,
            current: None,
        }
    }

    /// The entry of one document.
    pub(crate) fn entry(&self, doc: u32) -> Option<Entry<'_>> {
        match self {
            Self::Few { .. } => self.entries().find(|entry| entry.doc == doc),
            Self::Many(blocks) => {
                let at = blocks.partition_point(|block| block.last < doc);
                blocks.get(at)?.entries().find(|entry| entry.doc == doc)
            }
        }
    }

    /// Bytes beside the list itself.
    fn heap(&self) -> usize {
        match self {
            Self::Few { .. } => 0,
            Self::Many(blocks) => {
                let bytes: usize = blocks.iter().map(|block| block.bytes.capacity()).sum();
                bytes + blocks.capacity() * size_of::<Block>()
            }
        }
    }
}

/// Returns the change of what the blocks' bytes take.
fn insert_into(blocks: &mut Vec<Block>, doc: u32, payload: &[u8]) -> isize {
    let at = blocks
        .partition_point(|block| block.last < doc)
        .min(blocks.len().saturating_sub(1));
    let is_last = at + 1 == blocks.len();
    let Some(block) = blocks.get_mut(at) else {
        let block = Block::of(doc, payload);
        let change = signed(block.bytes.capacity());
        blocks.push(block);
        return change;
    };
    let before = signed(block.bytes.capacity());
    if (block.docs as usize) < BLOCK {
        block.insert(doc, payload);
        return signed(block.bytes.capacity()) - before;
    }
    if is_last && doc > block.last {
        block.bytes.shrink_to_fit();
        let next = Block::of(doc, payload);
        let change = signed(block.bytes.capacity() + next.bytes.capacity()) - before;
        blocks.push(next);
        return change;
    }
    let second = block.split();
    let change = signed(block.bytes.capacity() + second.bytes.capacity()) - before;
    blocks.insert(at + 1, second);
    change + insert_into(blocks, doc, payload)
}

/// Sizes of memory that exists fit.
fn signed(bytes: usize) -> isize {
    bytes as isize
}

impl Block {
    fn of(doc: u32, payload: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(1 + payload.len());
        bytes.push(0);
        bytes.extend_from_slice(payload);
        Self {
            base: doc,
            last: doc,
            docs: 1,
            bytes,
        }
    }

    fn entries(&self) -> Entries<'_> {
        Entries {
            bytes: &self.bytes,
            doc: self.base,
        }
    }

    fn insert(&mut self, doc: u32, payload: &[u8]) {
        let mut gap = [0; 5];
        if self.docs == 0 || doc > self.last {
            let from = if self.docs == 0 { self.base } else { self.last };
            let gap = write_varint(doc - from, &mut gap);
            self.bytes.extend_from_slice(gap);
            self.bytes.extend_from_slice(payload);
            (self.last, self.docs) = (doc, self.docs + 1);
            return;
        }
        if doc < self.base {
            // From its own number: all distances but the first stay.
            self.rebase(doc);
        }
        let mut previous = self.base;
        let mut entries = self.entries();
        let mut at = 0;
        while let Some(entry) = entries.next() {
            if entry.doc > doc {
                let rest = entry.payload_start(&self.bytes);
                let mut next_gap = [0; 5];
                let mut piece = write_varint(doc - previous, &mut gap).to_vec();
                piece.extend_from_slice(payload);
                piece.extend_from_slice(write_varint(entry.doc - doc, &mut next_gap));
                self.bytes.splice(at..rest, piece);
                break;
            }
            previous = entry.doc;
            at = self.bytes.len() - entries.bytes.len();
        }
        self.docs += 1;
    }

    fn remove(&mut self, doc: u32) -> bool {
        let mut previous = self.base;
        let mut at = 0;
        let mut entries = self.entries();
        while let Some(entry) = entries.next() {
            let end = self.bytes.len() - entries.bytes.len();
            if entry.doc == doc {
                match entries.next() {
                    Some(next) => {
                        let rest = next.payload_start(&self.bytes);
                        let mut gap = [0; 5];
                        let gap = write_varint(next.doc - previous, &mut gap).to_vec();
                        self.bytes.splice(at..rest, gap);
                    }
                    None => {
                        self.bytes.truncate(at);
                        self.last = previous;
                    }
                }
                self.docs = self.docs.saturating_sub(1);
                return true;
            }
            previous = entry.doc;
            at = end;
        }
        false
    }

    fn rebase(&mut self, base: u32) {
        let Some(first) = self.entries().next() else {
            self.base = base;
            return;
        };
        let rest = first.payload_start(&self.bytes);
        let mut gap = [0; 5];
        let gap = write_varint(first.doc - base, &mut gap).to_vec();
        self.bytes.splice(0..rest, gap);
        self.base = base;
    }

    /// Keeps the first half and returns the second.
    fn split(&mut self) -> Self {
        let half = self.docs / 2;
        let mut entries = self.entries();
        let mut last = self.base;
        for _ in 0..half {
            last = entries.next().map_or(last, |entry| entry.doc);
        }
        let at = self.bytes.len() - entries.bytes.len();
        let second = Self {
            base: last,
            last: self.last,
            docs: self.docs - half,
            bytes: self.bytes.get(at..).unwrap_or_default().to_vec(),
        };
        self.bytes.truncate(at);
        self.bytes.shrink_to_fit();
        (self.last, self.docs) = (last, half);
        second
    }
}

/// Walks a word's documents upwards, over blocks that need not be read.
pub(crate) struct Seeker<'p> {
    blocks: &'p [Block],
    entries: Entries<'p>,
    current: Option<Entry<'p>>,
}

impl<'p> Seeker<'p> {
    /// The first document at or after `doc`. Ask for ascending numbers.
    pub(crate) fn seek(&mut self, doc: u32) -> Option<Entry<'p>> {
        while let [block, rest @ ..] = self.blocks
            && block.last < doc
        {
            self.blocks = rest;
            (self.entries, self.current) =
                (rest.first().map_or(Entries::NONE, Block::entries), None);
        }
        loop {
            if let Some(current) = self.current.filter(|entry| entry.doc >= doc) {
                return Some(current);
            }
            self.current = Some(self.entries.next()?);
        }
    }
}

/// A document of a word.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'b> {
    pub(crate) doc: u32,
    /// Fields and places.
    payload: &'b [u8],
}

impl<'b> Entry<'b> {
    /// The fields in which the word stands.
    #[inline]
    pub(crate) fn fields(self) -> Fields<'b> {
        Fields {
            bytes: self.payload,
            more: true,
        }
    }

    /// The places in one field.
    pub(crate) fn places(self, field: u8) -> impl Iterator<Item = u32> + 'b {
        let mut fields = self.fields();
        let (mut skip, mut take) = (0, 0);
        for hits in fields.by_ref() {
            match hits.field.cmp(&field) {
                std::cmp::Ordering::Less => skip += hits.count,
                std::cmp::Ordering::Equal => take = hits.count,
                std::cmp::Ordering::Greater => {}
            }
        }
        let mut bytes = fields.bytes;
        for _ in 0..skip {
            read_varint(&mut bytes);
        }
        let mut place = 0;
        (0..take).map_while(move |_| {
            place += read_varint(&mut bytes)?;
            Some(place)
        })
    }

    fn payload_start(self, block: &[u8]) -> usize {
        self.payload.as_ptr() as usize - block.as_ptr() as usize
    }
}

/// The fields of an entry.
pub(crate) struct Fields<'b> {
    bytes: &'b [u8],
    more: bool,
}

impl Iterator for Fields<'_> {
    type Item = FieldHits;

    #[inline]
    fn next(&mut self) -> Option<FieldHits> {
        if !self.more {
            return None;
        }
        let (head, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        self.more = head & LAST_FIELD == 0;
        let count = match head >> 5 & 3 {
            0 => 4 + read_varint(&mut self.bytes)?,
            count => u32::from(count),
        };
        Some(FieldHits {
            field: head & FIELD_BITS,
            count,
        })
    }
}

struct Entries<'b> {
    bytes: &'b [u8],
    doc: u32,
}

impl Entries<'_> {
    const NONE: Self = Self { bytes: &[], doc: 0 };
}

impl<'b> Iterator for Entries<'b> {
    type Item = Entry<'b>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'b>> {
        if self.bytes.is_empty() {
            return None;
        }
        self.doc += read_varint(&mut self.bytes)?;
        let start = self.bytes;
        let mut fields = Fields {
            bytes: start,
            more: true,
        };
        let mut places = 0;
        for hits in fields.by_ref() {
            places += hits.count;
        }
        let mut rest = fields.bytes;
        for _ in 0..places {
            let ends = rest.iter().position(|byte| byte & 0x80 == 0)?;
            rest = rest.get(ends + 1..)?;
        }
        self.bytes = rest;
        let payload = start.get(..start.len() - rest.len())?;
        Some(Entry {
            doc: self.doc,
            payload,
        })
    }
}

/// Writes the payload of a document: `hits` are (field, place), ascending.
pub(crate) fn write_payload(hits: impl Iterator<Item = (u8, u32)> + Clone, out: &mut Vec<u8>) {
    out.clear();
    let mut fields = hits.clone().map(|(field, _)| field).peekable();
    while let Some(field) = fields.next() {
        let mut count = 1_u32;
        while fields.next_if_eq(&field).is_some() {
            count += 1;
        }
        let last = if fields.peek().is_none() {
            LAST_FIELD
        } else {
            0
        };
        let short = if count <= 3 { (count as u8) << 5 } else { 0 };
        out.push(field & FIELD_BITS | short | last);
        if count > 3 {
            push_varint(count - 4, out);
        }
    }
    let mut previous = (u8::MAX, 0);
    for (field, place) in hits {
        let from = if previous.0 == field { previous.1 } else { 0 };
        push_varint(place - from, out);
        previous = (field, place);
    }
}

pub(crate) fn push_varint(value: u32, out: &mut Vec<u8>) {
    let mut buffer = [0; 5];
    out.extend_from_slice(write_varint(value, &mut buffer));
}

fn write_varint(mut value: u32, buffer: &mut [u8; 5]) -> &[u8] {
    let mut len = 0;
    for byte in buffer.iter_mut() {
        len += 1;
        *byte = value as u8 & 0x7F;
        value >>= 7;
        if value == 0 {
            break;
        }
        *byte |= 0x80;
    }
    buffer.get(..len).unwrap_or_default()
}

#[inline]
pub(crate) fn read_varint(bytes: &mut &[u8]) -> Option<u32> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    if first & 0x80 == 0 {
        return Some(u32::from(*first));
    }
    let mut value = u32::from(first & 0x7F);
    for shift in [7, 14, 21, 28] {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u32::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Model = BTreeMap<u32, Vec<(u8, u32)>>;

    fn payload(hits: &[(u8, u32)]) -> Vec<u8> {
        let mut out = Vec::new();
        write_payload(hits.iter().copied(), &mut out);
        out
    }

    fn hold(postings: &Postings, model: &Model) {
        let read: Model = postings
            .entries()
            .map(|entry| {
                let mut hits = Vec::new();
                for found in entry.fields() {
                    let places: Vec<u32> = entry.places(found.field).collect();
                    assert_eq!(places.len(), found.count as usize);
                    hits.extend(places.into_iter().map(|place| (found.field, place)));
                }
                (entry.doc, hits)
            })
            .collect();
        assert_eq!(&read, model);
        for doc in model.keys() {
            assert_eq!(postings.entry(*doc).unwrap().doc, *doc);
        }
        let mut seeker = postings.seeker();
        for wanted in (0..=400).step_by(7) {
            let found = seeker.seek(wanted).map(|entry| entry.doc);
            assert_eq!(found, model.range(wanted..).next().map(|(doc, _)| *doc));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn postings_are_what_was_put_into_them_in_any_order(
            steps in proptest::collection::vec((0_u32..400, any::<bool>(), proptest::collection::btree_set((0_u8..4, 0_u32..3000), 1..6)), 1..500)
        ) {
            let (mut postings, mut model, mut heap) = (Postings::EMPTY, Model::new(), 0_isize);
            for (doc, put, hits) in steps {
                let hits: Vec<(u8, u32)> = hits.into_iter().collect();
                let (was_there, change) = postings.remove(doc);
                heap += change;
                prop_assert_eq!(was_there, model.remove(&doc).is_some());
                if put {
                    heap += postings.insert(doc, &payload(&hits));
                    model.insert(doc, hits);
                }
                prop_assert_eq!(heap, postings.heap() as isize);
            }
            hold(&postings, &model);
        }
    }

    #[test]
    fn ascending_documents_fill_blocks() {
        let (mut postings, mut model) = (Postings::EMPTY, Model::new());
        for doc in 0..1000 {
            let hits = vec![(3, doc % 7), (3, doc % 7 + 200), (4, 1)];
            postings.insert(doc * 3, &payload(&hits));
            model.insert(doc * 3, hits);
        }
        hold(&postings, &model);
        assert!(postings.entry(1).is_none());
        let Postings::Many(blocks) = &postings else {
            panic!("few")
        };
        assert_eq!(blocks.len(), 8);
    }
}
