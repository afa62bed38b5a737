//! One short value per document, to be counted among matches.

use std::collections::HashMap;

/// The longest value that is told apart, in bytes.
const MAX_VALUE: usize = 128;

#[derive(Default)]
pub(crate) struct Column {
    /// The value of each document, as its number; 0 for none.
    of_doc: Vec<u32>,
    /// Value and how many documents have it, by number less one.
    values: Vec<(Box<str>, u32)>,
    numbers: HashMap<Box<str>, u32>,
    free: Vec<u32>,
    text: usize,
}

impl Column {
    pub(crate) fn set(&mut self, doc: u32, value: &str) {
        self.clear(doc);
        let mut cut = value.len().min(MAX_VALUE);
        while !value.is_char_boundary(cut) {
            cut -= 1;
        }
        let value = value.get(..cut).unwrap_or_default();
        if value.is_empty() {
            return;
        }
        let number = match self.numbers.get(value) {
            Some(number) => *number,
            None => self.add(value),
        };
        let at = doc as usize;
        if at >= self.of_doc.len() {
            self.of_doc.resize(at + 1, 0);
        }
        if let Some(place) = self.of_doc.get_mut(at) {
            *place = number;
        }
        if let Some((_, count)) = self.values.get_mut(number as usize - 1) {
            *count += 1;
        }
    }

    pub(crate) fn clear(&mut self, doc: u32) {
        let Some(place) = self.of_doc.get_mut(doc as usize) else {
            return;
        };
        let number = std::mem::take(place);
        let Some(at) = (number as usize).checked_sub(1) else {
            return;
        };
        let Some((value, count)) = self.values.get_mut(at) else {
            return;
        };
        *count = count.saturating_sub(1);
        if *count == 0 {
            // Nobody has it any more: it must not stay.
            let value = std::mem::take(value);
            self.text -= value.len();
            self.numbers.remove(&value);
            self.free.push(number);
        }
    }

    /// The values of these documents and how often each occurs, most frequent first.
    pub(crate) fn count(
        &self,
        docs: impl Iterator<Item = u32>,
        most: usize,
    ) -> Vec<(String, usize)> {
        let mut counts = vec![0_usize; self.values.len() + 1];
        for doc in docs {
            let number = self.of_doc.get(doc as usize).copied().unwrap_or(0);
            if let Some(count) = counts.get_mut(number as usize) {
                *count += 1;
            }
        }
        let mut found: Vec<(String, usize)> = counts
            .into_iter()
            .skip(1)
            .zip(&self.values)
            .filter(|(count, _)| *count > 0)
            .map(|(count, (value, _))| (value.to_string(), count))
            .collect();
        found.sort_unstable_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        found.truncate(most);
        found
    }

    /// The number that stands for the value of a document, while it has it.
    pub(crate) fn number_of(&self, doc: u32) -> Option<u32> {
        self.of_doc
            .get(doc as usize)
            .copied()
            .filter(|number| *number > 0)
    }

    /// The documents that have the value of this number.
    pub(crate) fn having(&self, number: u32) -> impl Iterator<Item = u32> {
        (0_u32..)
            .zip(&self.of_doc)
            .filter(move |(_, other)| **other == number)
            .map(|(doc, _)| doc)
    }

    pub(crate) fn bytes(&self) -> usize {
        const PER_VALUE: usize = size_of::<(Box<str>, u32)>() * 2 + 16;
        self.of_doc.capacity() * 4 + self.values.capacity() * PER_VALUE + self.text * 2
    }

    fn add(&mut self, value: &str) -> u32 {
        self.text += value.len();
        let number = match self.free.pop() {
            Some(number) => {
                if let Some(place) = self.values.get_mut(number as usize - 1) {
                    *place = (value.into(), 0);
                }
                number
            }
            None => {
                self.values.push((value.into(), 0));
                self.values.len() as u32
            }
        };
        self.numbers.insert(value.into(), number);
        number
    }
}
