//! What a selector demands, as a tree, and how a document answers it.

use std::cmp::Ordering;

use super::operand::Operand;
use super::path::{FieldPath, walk};
use super::pattern::Pattern;
use crate::collate::number;
use crate::lazy_json::{Kind, LazyValue};

/// A demand on a document or on a value in it. Depth is bounded by the parser.
#[derive(Clone, Debug)]
pub(super) enum Condition {
    /// All hold. Of none: holds.
    All(Vec<Condition>),
    /// At least one holds.
    Any(Vec<Condition>),
    /// None holds.
    None(Vec<Condition>),
    /// Does not hold.
    Not(Box<Condition>),
    /// Holds for the value at a path of the document, whose first step is in a slot.
    Member {
        slot: usize,
        path: FieldPath,
        is: Box<Condition>,
    },
    /// Holds for the value at a path below the value at hand.
    Below { path: FieldPath, is: Box<Condition> },
    /// The value at hand passes a test.
    Is(Test),
}

/// What one operator asks of one value.
#[derive(Clone, Debug)]
pub(super) enum Test {
    Compare(Relation, Operand),
    NotEqual(Operand),
    Exists(bool),
    OneOf(Vec<Operand>),
    NoneOf(Vec<Operand>),
    Size(f64),
    Remainder { divisor: f64, remainder: f64 },
    Matches(Pattern),
    AnyElement(Box<Condition>),
    EveryElement(Box<Condition>),
    Contains(Vec<Operand>),
    Type(TypeName),
}

/// How a value must lie to an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `$lt`
    Less,
    /// `$lte`
    LessOrEqual,
    /// `$eq`
    Equal,
    /// `$gte`
    GreaterOrEqual,
    /// `$gt`
    Greater,
}

/// The names that `$type` knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TypeName {
    Null,
    Boolean,
    Number,
    String,
    Array,
    Object,
}

impl Relation {
    pub(super) fn holds(self, order: Ordering) -> bool {
        match self {
            Relation::Less => order.is_lt(),
            Relation::LessOrEqual => order.is_le(),
            Relation::Equal => order.is_eq(),
            Relation::GreaterOrEqual => order.is_ge(),
            Relation::Greater => order.is_gt(),
        }
    }
}

impl Condition {
    /// Whether this holds for `here`, in a document with these members in its slots.
    pub(super) fn holds(
        &self,
        members: &[Option<LazyValue<'_>>],
        here: Option<LazyValue<'_>>,
    ) -> bool {
        match self {
            Condition::All(all) => all.iter().all(|one| one.holds(members, here)),
            Condition::Any(any) => any.iter().any(|one| one.holds(members, here)),
            Condition::None(none) => !none.iter().any(|one| one.holds(members, here)),
            Condition::Not(not) => !not.holds(members, here),
            Condition::Member { slot, path, is } => {
                let member = members.get(*slot).copied().flatten();
                is.holds(members, member.and_then(|member| walk(member, path.rest())))
            }
            Condition::Below { path, is } => {
                is.holds(members, here.and_then(|here| walk(here, path.steps())))
            }
            Condition::Is(test) => test.passes(here),
        }
    }
}

impl Condition {
    /// Adds the places that this looks at, `here` being those of the value at hand. Depth is bounded by the parser.
    pub(super) fn places<'s>(&'s self, here: &mut Vec<&'s str>, places: &mut Vec<Vec<&'s str>>) {
        match self {
            Condition::All(list) | Condition::Any(list) | Condition::None(list) => {
                // Of no conditions: the value is named, if not looked at.
                if list.is_empty() && !here.is_empty() {
                    places.push(here.clone());
                }
                list.iter().for_each(|one| one.places(here, places));
            }
            Condition::Not(not) => not.places(here, places),
            Condition::Member { path, is, .. } | Condition::Below { path, is } => {
                let depth = here.len();
                here.extend(path.steps().iter().map(|step| &**step));
                is.places(here, places);
                here.truncate(depth);
            }
            Condition::Is(Test::AnyElement(element) | Test::EveryElement(element)) => {
                element.places(here, places);
            }
            Condition::Is(_) => places.push(here.clone()),
        }
    }
}

impl Condition {
    /// Whether this cannot hold where there is nothing at `path`, `here` being the steps to the value at hand.
    pub(super) fn requires<'s>(&'s self, path: &FieldPath, here: &mut Vec<&'s str>) -> bool {
        let is_there = |here: &[&str]| here.iter().copied().eq(path.steps().iter().map(|s| &**s));
        match self {
            Condition::All(all) => all.iter().any(|one| one.requires(path, here)),
            Condition::Any(any) => {
                !any.is_empty() && any.iter().all(|one| one.requires(path, here))
            }
            Condition::None(_) | Condition::Not(_) => false,
            Condition::Member {
                path: steps, is, ..
            }
            | Condition::Below { path: steps, is } => {
                let depth = here.len();
                here.extend(steps.steps().iter().map(|step| &**step));
                let requires = (is_there(here) && !is.holds(&[], None)) || is.requires(path, here);
                here.truncate(depth);
                requires
            }
            Condition::Is(_) => false,
        }
    }
}

impl Test {
    fn passes(&self, here: Option<LazyValue<'_>>) -> bool {
        let Some(value) = here else {
            return self.passes_nothing();
        };
        match self {
            Test::Compare(Relation::Equal, operand) => operand.is(value),
            Test::Compare(relation, operand) => relation.holds(operand.order_of(value)),
            Test::NotEqual(operand) => !operand.is(value),
            Test::Exists(wanted) => *wanted,
            Test::OneOf(operands) => value.kind() != Kind::Null && one_of(value, operands),
            Test::NoneOf(operands) => value.kind() != Kind::Null && !one_of(value, operands),
            Test::Size(size) => value
                .elements()
                .is_some_and(|elements| elements.count() as f64 == *size),
            Test::Remainder { divisor, remainder } => {
                let number = (value.kind() == Kind::Number).then(|| number(value));
                number.is_some_and(|number| {
                    number.trunc() == number && number % divisor == *remainder
                })
            }
            Test::Matches(pattern) => value
                .as_text()
                .is_some_and(|text| pattern.occurs_in(&text.decode())),
            Test::AnyElement(condition) => value.elements().is_some_and(|mut elements| {
                elements.any(|element| condition.holds(&[], Some(element)))
            }),
            Test::EveryElement(condition) => value.elements().is_some_and(|mut elements| {
                elements.clone().next().is_some()
                    && elements.all(|element| condition.holds(&[], Some(element)))
            }),
            Test::Contains(operands) => value.elements().is_some_and(|elements| {
                operands
                    .iter()
                    .all(|operand| elements.clone().any(|element| operand.is(element)))
            }),
            Test::Type(name) => name.names(value.kind()),
        }
    }

    /// The answer where the document has nothing.
    fn passes_nothing(&self) -> bool {
        match self {
            // A missing value compares as null here, and only here.
            Test::NotEqual(operand) => operand.kind() != Kind::Null,
            Test::Exists(wanted) => !wanted,
            Test::Compare(..)
            | Test::OneOf(_)
            | Test::NoneOf(_)
            | Test::Size(_)
            | Test::Remainder { .. }
            | Test::Matches(_)
            | Test::AnyElement(_)
            | Test::EveryElement(_)
            | Test::Contains(_)
            | Test::Type(_) => false,
        }
    }
}

impl TypeName {
    fn names(self, kind: Kind) -> bool {
        match self {
            TypeName::Null => kind == Kind::Null,
            TypeName::Boolean => matches!(kind, Kind::False | Kind::True),
            TypeName::Number => kind == Kind::Number,
            TypeName::String => kind == Kind::Text,
            TypeName::Array => kind == Kind::Array,
            TypeName::Object => kind == Kind::Object,
        }
    }
}

/// Whether the value is one of `operands`, or for an array one of its elements is.
fn one_of(value: LazyValue<'_>, operands: &[Operand]) -> bool {
    let is_listed = |value: LazyValue<'_>| operands.iter().any(|operand| operand.is(value));
    match value.elements() {
        Some(mut elements) => elements.any(is_listed),
        None => is_listed(value),
    }
}
