//! From JSON to a [`Condition`].

use serde_json::{Map, Value};

use super::condition::{Condition, Relation, Test, TypeName};
use super::operand::Operand;
use super::path::FieldPath;
use super::pattern::Pattern;
use super::{Selector, SelectorError};
use crate::lazy_json::MemberNames;

/// What an object of conditions speaks about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Subject {
    /// The document: names are its members.
    Document,
    /// Some value in it: operators test it, names are below it.
    Value,
}

/// Reads one selector and counts what it has read.
#[derive(Default)]
pub(super) struct Parser {
    /// The document's members that the selector reads.
    pub(super) names: MemberNames,
    terms: usize,
}

impl Parser {
    /// Parses the text of a selector. Also returns it as JSON in one form.
    pub(super) fn selector(&mut self, text: &str) -> Result<(Condition, String), SelectorError> {
        if text.len() > Selector::MAX_BYTES {
            return Err(SelectorError::TooLong);
        }
        if nesting(text) > Selector::MAX_DEPTH {
            return Err(SelectorError::TooDeep);
        }
        let value: Value = serde_json::from_str(text).map_err(|_| SelectorError::NotJson)?;
        let object = value.as_object().ok_or(SelectorError::NotAnObject)?;
        let condition = self.object(object, Subject::Document)?;
        Ok((condition, value.to_string()))
    }

    fn object(
        &mut self,
        object: &Map<String, Value>,
        subject: Subject,
    ) -> Result<Condition, SelectorError> {
        let mut all = Vec::with_capacity(object.len());
        for (name, value) in object {
            all.push(if name.starts_with('$') {
                self.operator(name, value, subject)?
            } else {
                self.field(name, value, subject)?
            });
        }
        Ok(match all.pop() {
            Some(only) if all.is_empty() => only,
            last => {
                all.extend(last);
                Condition::All(all)
            }
        })
    }

    fn field(
        &mut self,
        name: &str,
        value: &Value,
        subject: Subject,
    ) -> Result<Condition, SelectorError> {
        let path = FieldPath::parse(name)?;
        let is = Box::new(match value {
            Value::Object(object) => self.object(object, Subject::Value)?,
            _ => Condition::Is(Test::Compare(Relation::Equal, self.operand(value)?)),
        });
        Ok(match subject {
            Subject::Document => Condition::Member {
                slot: self.names.slot(path.first()),
                path,
                is,
            },
            Subject::Value => Condition::Below { path, is },
        })
    }

    fn operator(
        &mut self,
        name: &str,
        value: &Value,
        subject: Subject,
    ) -> Result<Condition, SelectorError> {
        match name {
            "$and" => Ok(Condition::All(self.list("$and", value, subject)?)),
            "$or" => Ok(Condition::Any(self.list("$or", value, subject)?)),
            "$nor" => Ok(Condition::None(self.list("$nor", value, subject)?)),
            "$not" => Ok(Condition::Not(Box::new(
                self.nested("$not", value, subject)?,
            ))),
            _ => {
                let test = self.test(name, value)?;
                match subject {
                    Subject::Document => Err(SelectorError::WrongOperand(
                        "at the top level",
                        "$and, $or, $nor or $not",
                    )),
                    Subject::Value => Ok(Condition::Is(test)),
                }
            }
        }
    }

    fn test(&mut self, name: &str, value: &Value) -> Result<Test, SelectorError> {
        Ok(match name {
            "$eq" => Test::Compare(Relation::Equal, self.operand(value)?),
            "$lt" => Test::Compare(Relation::Less, self.operand(value)?),
            "$lte" => Test::Compare(Relation::LessOrEqual, self.operand(value)?),
            "$gt" => Test::Compare(Relation::Greater, self.operand(value)?),
            "$gte" => Test::Compare(Relation::GreaterOrEqual, self.operand(value)?),
            "$ne" => Test::NotEqual(self.operand(value)?),
            "$exists" => {
                self.term()?;
                let wrong = SelectorError::WrongOperand("$exists", "a boolean");
                Test::Exists(value.as_bool().ok_or(wrong)?)
            }
            "$in" => Test::OneOf(self.operands("$in", value)?),
            "$nin" => Test::NoneOf(self.operands("$nin", value)?),
            "$all" => Test::Contains(self.operands("$all", value)?),
            "$size" => {
                self.term()?;
                let size = value
                    .as_u64()
                    .ok_or(SelectorError::WrongOperand("$size", "an integer"))?;
                Test::Size(size as f64)
            }
            "$mod" => {
                self.term()?;
                remainder(value)?
            }
            "$regex" => {
                self.term()?;
                let wrong = SelectorError::WrongOperand("$regex", "a string");
                Test::Matches(Pattern::new(value.as_str().ok_or(wrong)?)?)
            }
            "$elemMatch" => Test::AnyElement(Box::new(self.nested(
                "$elemMatch",
                value,
                Subject::Value,
            )?)),
            "$allMatch" => {
                Test::EveryElement(Box::new(self.nested("$allMatch", value, Subject::Value)?))
            }
            "$type" => {
                self.term()?;
                Test::Type(type_name(value)?)
            }
            unknown => {
                return Err(SelectorError::UnknownOperator(nameable(unknown)));
            }
        })
    }

    fn list(
        &mut self,
        operator: &'static str,
        value: &Value,
        subject: Subject,
    ) -> Result<Vec<Condition>, SelectorError> {
        let list = value
            .as_array()
            .ok_or(SelectorError::WrongOperand(operator, "an array"))?;
        list.iter()
            .map(|item| match item {
                Value::Object(object) => {
                    self.term()?;
                    self.object(object, subject)
                }
                _ => Err(SelectorError::WrongOperand(operator, "an array of objects")),
            })
            .collect()
    }

    fn nested(
        &mut self,
        operator: &'static str,
        value: &Value,
        subject: Subject,
    ) -> Result<Condition, SelectorError> {
        self.term()?;
        let object = value
            .as_object()
            .ok_or(SelectorError::WrongOperand(operator, "an object"))?;
        self.object(object, subject)
    }

    fn operands(
        &mut self,
        operator: &'static str,
        value: &Value,
    ) -> Result<Vec<Operand>, SelectorError> {
        let list = value
            .as_array()
            .ok_or(SelectorError::WrongOperand(operator, "an array"))?;
        self.term()?;
        list.iter().map(|item| self.operand(item)).collect()
    }

    fn operand(&mut self, value: &Value) -> Result<Operand, SelectorError> {
        self.term()?;
        Ok(Operand::new(value))
    }

    fn term(&mut self) -> Result<(), SelectorError> {
        self.terms += 1;
        if self.terms > Selector::MAX_TERMS {
            return Err(SelectorError::TooManyTerms);
        }
        Ok(())
    }
}

/// The most brackets that are open at once. Not recursive: this is what stands before the parser.
fn nesting(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0_usize);
    let (mut in_text, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_text,
            b'"' => in_text = !in_text,
            b'{' | b'[' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

fn remainder(value: &Value) -> Result<Test, SelectorError> {
    let wrong = || {
        SelectorError::WrongOperand(
            "$mod",
            "in the format [divisor, remainder], both integers, the divisor not 0",
        )
    };
    let integer = |value: &Value| {
        value
            .as_f64()
            .filter(|number| number.trunc() == *number)
            .ok_or_else(wrong)
    };
    match value.as_array().map(Vec::as_slice) {
        Some([divisor, remainder]) if integer(divisor)? != 0.0 => Ok(Test::Remainder {
            divisor: integer(divisor)?,
            remainder: integer(remainder)?,
        }),
        _ => Err(wrong()),
    }
}

fn type_name(value: &Value) -> Result<TypeName, SelectorError> {
    Ok(match value.as_str() {
        Some("null") => TypeName::Null,
        Some("boolean") => TypeName::Boolean,
        Some("number") => TypeName::Number,
        Some("string") => TypeName::String,
        Some("array") => TypeName::Array,
        Some("object") => TypeName::Object,
        _ => {
            return Err(SelectorError::WrongOperand(
                "$type",
                "\"null\", \"boolean\", \"number\", \"string\", \"array\" or \"object\"",
            ));
        }
    })
}

/// A misspelt operator helps in an error; anything else under a `$` could be data, and errors hold none.
fn nameable(operator: &str) -> String {
    let letters = operator.strip_prefix('$').unwrap_or_default();
    let is_word =
        (1..=16).contains(&letters.len()) && letters.bytes().all(|b| b.is_ascii_alphabetic());
    if is_word {
        operator.to_owned()
    } else {
        "$…".to_owned()
    }
}
