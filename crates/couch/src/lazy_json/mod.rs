//! JSON text read without parsing it: a value is a span of bytes, looked at when somebody asks.
//!
//! Guarantees: no panic, no recursion and no allocation while walking, whatever the bytes are; on
//! text that is valid JSON every span is exact. Refuses to know: whether the text *is* valid JSON.
//! Who lets bytes in proves that once; on other bytes a walk ends early and finds less.

mod check;
mod scan;
mod text;

pub use check::{MAX_DEPTH, NotAnObject, read_object};
pub use text::LazyText;
pub(crate) use text::Piece;

/// One JSON value, as text that nobody has parsed yet.
#[derive(Clone, Copy)]
pub struct LazyValue<'a> {
    /// Never empty, no whitespace around it.
    text: &'a [u8],
}

/// What a JSON value is, told by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `null`
    Null,
    /// `false`
    False,
    /// `true`
    True,
    /// A number.
    Number,
    /// A string.
    Text,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl<'a> LazyValue<'a> {
    /// The value at the start of `text`; `None` when there is none.
    #[must_use]
    pub fn first_of(text: &'a [u8]) -> Option<Self> {
        let start = scan::skip_whitespace(text, 0);
        let end = scan::value_end(text, start)?;
        Some(Self {
            text: text.get(start..end)?,
        })
    }

    /// The text of the value as it was written.
    #[must_use]
    pub fn text(self) -> &'a [u8] {
        self.text
    }

    /// What kind of value this is.
    #[must_use]
    pub fn kind(self) -> Kind {
        match self.text.first() {
            Some(b'"') => Kind::Text,
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b't') => Kind::True,
            Some(b'f') => Kind::False,
            Some(b'n') | None => Kind::Null,
            Some(_) => Kind::Number,
        }
    }

    /// The number, as the double that JavaScript would read.
    #[must_use]
    pub fn as_number(self) -> Option<f64> {
        if self.kind() != Kind::Number {
            return None;
        }
        std::str::from_utf8(self.text).ok()?.parse().ok()
    }

    /// The string, still escaped.
    #[must_use]
    pub fn as_text(self) -> Option<LazyText<'a>> {
        if self.kind() != Kind::Text {
            return None;
        }
        let inner = self.text.get(1..self.text.len().checked_sub(1)?)?;
        Some(LazyText::new(inner))
    }

    /// The elements, when the value is an array.
    #[must_use]
    pub fn elements(self) -> Option<Elements<'a>> {
        (self.kind() == Kind::Array).then_some(Elements {
            text: self.text,
            at: 1,
        })
    }

    /// The members, when the value is an object.
    #[must_use]
    pub fn members(self) -> Option<Members<'a>> {
        (self.kind() == Kind::Object).then_some(Members {
            text: self.text,
            at: 1,
        })
    }

    /// The member of that name, when the value is an object that has one (the first, if several).
    #[must_use]
    pub fn member(self, name: &str) -> Option<LazyValue<'a>> {
        self.members()?
            .find(|member| member.name.is(name))
            .map(|member| member.value)
    }

    /// The element at `index`, when the value is an array that long.
    #[must_use]
    pub fn element(self, index: usize) -> Option<LazyValue<'a>> {
        self.elements()?.nth(index)
    }
}

/// The elements of an array, in order.
#[derive(Clone)]
pub struct Elements<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = LazyValue<'a>;

    fn next(&mut self) -> Option<LazyValue<'a>> {
        let start = scan::skip_separator(self.text, self.at)?;
        let end = scan::value_end(self.text, start)?;
        self.at = end;
        Some(LazyValue {
            text: self.text.get(start..end)?,
        })
    }
}

/// One member of an object.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    /// Its name.
    pub name: LazyText<'a>,
    /// Its value.
    pub value: LazyValue<'a>,
    /// Where the member's text (name and value, without commas) starts in the object's text.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
}

/// The members of an object, in the order they are written.
#[derive(Clone)]
pub struct Members<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    #[inline]
    fn next(&mut self) -> Option<Member<'a>> {
        let start = scan::skip_separator(self.text, self.at)?;
        let (name_end, escaped) = scan::string_end(self.text, start)?;
        let name = LazyText::scanned(self.text.get(start + 1..name_end - 1)?, escaped);
        let value_start = scan::skip_colon(self.text, name_end)?;
        let end = scan::value_end(self.text, value_start)?;
        self.at = end;
        let value = LazyValue {
            text: self.text.get(value_start..end)?,
        };
        Some(Member {
            name,
            value,
            start,
            end,
        })
    }
}

/// A set of member names to pick out of objects in one walk each.
#[derive(Clone, Debug, Default)]
pub struct MemberNames {
    /// Sorted by (length, text).
    names: Vec<(Box<str>, usize)>,
}

impl MemberNames {
    /// The slot of `name`, added if it is new. Slots count from zero in the order of adding.
    pub fn slot(&mut self, name: &str) -> usize {
        match self.place(name.as_bytes()) {
            Ok(found) => self.names.get(found).map_or(0, |(_, slot)| *slot),
            Err(place) => {
                let slot = self.names.len();
                self.names.insert(place, (name.into(), slot));
                slot
            }
        }
    }

    /// The slot of `name`, if it is one of the names.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<usize> {
        self.slot_of_plain(name.as_bytes())
    }

    /// How many names there are, which is how many slots [`MemberNames::pick`] needs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no name at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Fills `slots` with the members of `object` that have these names (the first of a name, if
    /// several) and leaves the other slots as they are. Stops as soon as all are found.
    pub fn pick<'a>(&self, object: &'a [u8], slots: &mut [Option<LazyValue<'a>>]) {
        let filled = slots.iter().flatten().count();
        let Some(mut missing @ 1..) = self.names.len().checked_sub(filled) else {
            return;
        };
        for member in (Members {
            text: object,
            at: 1,
        }) {
            let Some(slot) = self.slot_of(member.name) else {
                continue;
            };
            let Some(slot) = slots.get_mut(slot) else {
                continue;
            };
            if slot.is_none() {
                *slot = Some(member.value);
                missing -= 1;
                if missing == 0 {
                    return;
                }
            }
        }
    }

    #[inline]
    fn slot_of(&self, name: LazyText<'_>) -> Option<usize> {
        if name.is_escaped() {
            return self.slot_of_plain(name.decode().as_bytes());
        }
        self.slot_of_plain(name.raw())
    }

    #[inline]
    fn slot_of_plain(&self, name: &[u8]) -> Option<usize> {
        if self.names.len() <= 8 {
            return self
                .names
                .iter()
                .find(|(known, _)| known.as_bytes() == name)
                .map(|(_, slot)| *slot);
        }
        self.place(name)
            .ok()
            .and_then(|found| self.names.get(found))
            .map(|(_, slot)| *slot)
    }

    fn place(&self, name: &[u8]) -> Result<usize, usize> {
        self.names.binary_search_by(|(known, _)| {
            known
                .len()
                .cmp(&name.len())
                .then_with(|| known.as_bytes().cmp(name))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(object: &str) -> Vec<String> {
        LazyValue::first_of(object.as_bytes())
            .unwrap()
            .members()
            .unwrap()
            .map(|member| member.name.decode().into_owned())
            .collect()
    }

    #[test]
    fn members_come_in_the_order_written() {
        let object = r#" { "b" : [1,{"x":"}"}] , "a":"\"}" ,"c":{} , "":-1.5e3} "#;
        assert_eq!(names(object), ["b", "a", "c", ""]);
        let value = LazyValue::first_of(object.as_bytes()).unwrap();
        assert_eq!(value.member("b").unwrap().text(), br#"[1,{"x":"}"}]"#);
        assert_eq!(value.member("").unwrap().as_number(), Some(-1500.0));
        assert!(value.member("x").is_none());
    }

    #[test]
    fn an_escaped_name_is_found_by_its_meaning() {
        let value = LazyValue::first_of(br#"{"\u0061\/b":1}"#).unwrap();
        assert_eq!(value.member("a/b").unwrap().text(), b"1");
        let mut wanted = MemberNames::default();
        wanted.slot("a/b");
        let mut slots = [None];
        wanted.pick(value.text(), &mut slots);
        assert_eq!(slots[0].unwrap().text(), b"1");
    }

    #[test]
    fn many_names_are_picked_in_one_walk() {
        let mut wanted = MemberNames::default();
        for n in (0..40).rev() {
            assert_eq!(wanted.slot(&format!("field{n}")), 39 - n);
        }
        assert_eq!(wanted.slot("field39"), 0);
        let object = format!(
            "{{{}}}",
            (0..40)
                .map(|n| format!(r#""field{n}":{n}"#))
                .collect::<Vec<_>>()
                .join(",")
        );
        let mut slots = vec![None; wanted.len()];
        wanted.pick(object.as_bytes(), &mut slots);
        for (slot, value) in slots.iter().enumerate() {
            assert_eq!(value.unwrap().as_number(), Some((39 - slot) as f64));
        }
    }

    #[test]
    fn elements_are_counted_and_indexed() {
        let value = LazyValue::first_of(b"[ 1 , [2,3] , \"]\" , null ]").unwrap();
        assert_eq!(value.elements().unwrap().count(), 4);
        assert_eq!(value.element(1).unwrap().text(), b"[2,3]");
        assert_eq!(value.element(3).unwrap().kind(), Kind::Null);
        assert!(value.element(4).is_none());
        assert_eq!(
            LazyValue::first_of(b"[]")
                .unwrap()
                .elements()
                .unwrap()
                .count(),
            0
        );
    }

    #[test]
    fn text_that_is_no_json_ends_the_walk() {
        for bad in [
            "",
            "{",
            "{\"a",
            "{\"a\"",
            "{\"a\":",
            "{\"a\" 1}",
            "{,}",
            "{\"\\",
            "[",
            "\"\\",
        ] {
            if let Some(value) = LazyValue::first_of(bad.as_bytes()) {
                assert_eq!(value.members().map_or(0, Iterator::count), 0, "{bad}");
            }
        }
    }
}
