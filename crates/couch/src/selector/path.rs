//! A dotted path to a place inside a document.

use std::fmt;

use super::SelectorError;
use crate::lazy_json::{Kind, LazyValue};

/// A path such as `start.dateTime`. A dot or dollar that belongs to a name is written `\.` or
/// `\$`; a number steps into an array.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath {
    /// Never empty.
    steps: Box<[Box<str>]>,
}

impl FieldPath {
    /// The most steps a path may have.
    pub const MAX_STEPS: usize = 16;
    /// The longest path, in bytes as written.
    pub const MAX_BYTES: usize = 1024;

    /// Parses a path as it is written in selectors, sort orders and field lists.
    ///
    /// # Errors
    /// When the path is longer than [`Self::MAX_BYTES`] or has more than [`Self::MAX_STEPS`] steps.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        if text.len() > Self::MAX_BYTES {
            return Err(SelectorError::PathTooLong);
        }
        let mut steps: Vec<Box<str>> = Vec::new();
        let mut step = String::new();
        let mut rest = text.chars().peekable();
        while let Some(character) = rest.next() {
            match (character, rest.peek()) {
                ('\\', Some(next @ ('.' | '$'))) => {
                    step.push(*next);
                    rest.next();
                }
                ('.', _) => steps.push(std::mem::take(&mut step).into()),
                _ => step.push(character),
            }
        }
        steps.push(step.into());
        if steps.len() > Self::MAX_STEPS {
            return Err(SelectorError::PathTooLong);
        }
        Ok(Self {
            steps: steps.into(),
        })
    }

    /// The name of the document's member that the path starts in.
    #[must_use]
    pub fn first(&self) -> &str {
        self.steps.first().map_or("", |step| step)
    }

    /// The steps after the first.
    #[must_use]
    pub fn rest(&self) -> &[Box<str>] {
        self.steps.get(1..).unwrap_or_default()
    }

    /// All steps.
    #[must_use]
    pub fn steps(&self) -> &[Box<str>] {
        &self.steps
    }
}

/// Where `steps` lead from `value`; `None` when there is nothing.
#[must_use]
pub fn walk<'a>(value: LazyValue<'a>, steps: &[Box<str>]) -> Option<LazyValue<'a>> {
    steps
        .iter()
        .try_fold(value, |value, step| match value.kind() {
            Kind::Object => value.member(step),
            Kind::Array => value.element(step.parse().ok()?),
            Kind::Null | Kind::False | Kind::True | Kind::Number | Kind::Text => None,
        })
}

impl fmt::Display for FieldPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.steps.iter().enumerate() {
            let dot = if at == 0 { "" } else { "." };
            write!(
                formatter,
                "{dot}{}",
                step.replace('.', "\\.").replace('$', "\\$")
            )?;
        }
        Ok(())
    }
}

impl fmt::Debug for FieldPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Vec<String> {
        FieldPath::parse(text)
            .unwrap()
            .steps()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn dots_separate_unless_escaped() {
        assert_eq!(steps("start.dateTime"), ["start", "dateTime"]);
        assert_eq!(steps(r"a\.b.\$c"), ["a.b", "$c"]);
        assert_eq!(steps(r"a\b"), [r"a\b"]);
        assert_eq!(steps(""), [""]);
        assert_eq!(steps("a..b."), ["a", "", "b", ""]);
    }

    #[test]
    fn a_path_is_written_as_it_was_parsed() {
        for text in ["start.dateTime", r"a\.b.\$c", "", "a..b"] {
            assert_eq!(FieldPath::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_path_one_over_a_limit_is_refused() {
        assert!(FieldPath::parse(&"a".repeat(FieldPath::MAX_BYTES)).is_ok());
        assert!(FieldPath::parse(&"a".repeat(FieldPath::MAX_BYTES + 1)).is_err());
        assert!(FieldPath::parse(&".".repeat(FieldPath::MAX_STEPS - 1)).is_ok());
        assert!(FieldPath::parse(&".".repeat(FieldPath::MAX_STEPS)).is_err());
    }

    #[test]
    fn a_walk_steps_through_objects_and_arrays() {
        let value = LazyValue::first_of(br#"{"a":[{"b":1},{"b":2}],"s":"text"}"#).unwrap();
        let at = |path: &str| walk(value, FieldPath::parse(path).unwrap().steps());
        assert_eq!(at("a.1.b").unwrap().text(), b"2");
        assert!(at("a.2.b").is_none());
        assert!(at("s.length").is_none());
        assert!(at("a.-1").is_none());
    }
}
