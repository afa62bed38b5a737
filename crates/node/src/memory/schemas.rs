//! The names of the schemas that the records of one database have.

/// The schemas of the records, each as a small number.
#[derive(Default)]
pub(super) struct Schemas {
    names: Vec<Box<str>>,
    /// How many records have each.
    counts: Vec<usize>,
}

impl Schemas {
    /// The code of records without a schema.
    pub(super) const NONE: u16 = u16::MAX;
    /// The code of records whose schema must be read from their text.
    pub(super) const OTHER: u16 = u16::MAX - 1;
    /// How many schemas get a number of their own; a database has one, or a handful.
    const MOST: usize = 32;
    const LONGEST: usize = 256;

    /// The number of a schema; a new one while there are numbers left.
    pub(super) fn code(&mut self, name: &[u8]) -> u16 {
        let known = self.names.iter().position(|known| known.as_bytes() == name);
        let number = match (known, std::str::from_utf8(name)) {
            (Some(number), _) => number,
            (None, Ok(name)) if self.names.len() < Self::MOST && name.len() <= Self::LONGEST => {
                self.names.push(name.into());
                self.counts.push(0);
                self.names.len() - 1
            }
            (None, _) => return Self::OTHER,
        };
        u16::try_from(number).unwrap_or(Self::OTHER)
    }

    /// The number of a schema that has one.
    pub(super) fn find(&self, name: &str) -> Option<u16> {
        let number = self.names.iter().position(|known| **known == *name)?;
        u16::try_from(number).ok()
    }

    /// The schema with this number.
    pub(super) fn name(&self, code: u16) -> Option<&str> {
        self.names.get(usize::from(code)).map(|name| &**name)
    }

    /// The schemas that have a number, and how many records have each.
    pub(super) fn names(&self) -> impl Iterator<Item = (&str, usize)> {
        self.names
            .iter()
            .map(|name| &**name)
            .zip(self.counts.iter().copied())
    }

    /// Notes that a record has this code now.
    pub(super) fn came(&mut self, code: u16) {
        self.counts
            .get_mut(usize::from(code))
            .into_iter()
            .for_each(|count| *count += 1);
    }

    /// Notes that a record no longer has this code.
    pub(super) fn went(&mut self, code: u16) {
        self.counts
            .get_mut(usize::from(code))
            .into_iter()
            .for_each(|count| *count -= 1);
    }

    /// How many records have this code.
    pub(super) fn count(&self, code: u16) -> usize {
        self.counts.get(usize::from(code)).copied().unwrap_or(0)
    }

    /// What they take at most: they are few, so it is not worth counting closer.
    pub(super) const BYTES: usize = Self::MOST * (size_of::<(Box<str>, usize)>() + Self::LONGEST);
}
