//! Which index answers a query, and what lies where in its order.
//!
//! The choice is CouchDB's (documented under `/db/_find`, "Selector and indexes"; `use_index`): an index is usable when the
//! selector wants all of its fields to be there (fields that are sorted by are wanted anyhow); for a sort order its fields must
//! begin with those of the order; of several the one with the fewest unused fields is taken, then the shortest, then the first
//! by name. Without any, documents lie by id.

use super::query::{Direction, FindQuery};
use super::{Index, IndexName, Span};
use crate::selector::{Bound, Conjunction, FieldPath, Relation};
use crate::wire::{CouchError, ErrorKind};

/// A place in the order of an index.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    /// The values of the index' fields, as bytes that compare as they collate.
    pub key: Vec<u8>,
    /// The document.
    pub id: String,
}

/// How a query is answered.
#[derive(Debug)]
pub struct Plan<'i> {
    /// The index.
    pub index: &'i Index,
    /// The direction in which it is read.
    pub direction: Direction,
    /// What a person should know of the choice.
    pub warning: Option<String>,
}

impl<'i> Plan<'i> {
    /// Chooses one of `indexes`, among which is [`super::ALL_DOCS`].
    pub fn of(query: &FindQuery, indexes: &'i [Index]) -> Result<Self, CouchError> {
        let demands = query.selector.conjunction();
        let usable: Vec<&Index> = indexes
            .iter()
            .filter(|index| {
                let is_asked_for = query
                    .use_index
                    .as_ref()
                    .is_some_and(|name| name.names(index));
                (index.filter.is_none() || is_asked_for)
                    && is_usable(index, query)
                    && is_sorted(index, query, &demands)
            })
            .collect();
        if usable.is_empty() {
            let reason = "No index exists for this sort, try indexing by the sort fields.";
            return Err(CouchError::new(ErrorKind::NoUsableIndex, reason));
        }
        let asked_for: Vec<&Index> = match &query.use_index {
            None => Vec::new(),
            Some(name) => usable
                .iter()
                .copied()
                .filter(|index| name.names(index))
                .collect(),
        };
        if asked_for.is_empty() && query.use_index.is_some() && !query.allow_fallback {
            let reason = "There is no index available for this selector.";
            return Err(CouchError::new(ErrorKind::NoUsableIndex, reason));
        }
        let candidates = if asked_for.is_empty() {
            &usable
        } else {
            &asked_for
        };
        let unused = |index: &Index| index.columns.len() - used_columns(index, &demands);
        let index = candidates.iter().copied().min_by_key(|index| {
            let name = (index.design.as_deref(), index.name.as_str());
            (unused(index), index.columns.len(), name)
        });
        let index = index.ok_or(CouchError::new(ErrorKind::Internal, "no index was chosen"))?;
        let mut warnings = Vec::new();
        if let (Some(name), true) = (&query.use_index, asked_for.is_empty()) {
            warnings.push(unused_warning(name));
        }
        if index.is_all_docs() {
            let text = "No matching index found, create an index to optimize query time.";
            warnings.push(text.to_owned());
        }
        Ok(Self {
            index,
            direction: query.direction,
            warning: (!warnings.is_empty()).then(|| warnings.join("\n")),
        })
    }

    /// Where a document lies in the order, if the query takes it. `document` is its text, with `_id` and `_rev`.
    pub fn place_of(&self, query: &FindQuery, id: &str, document: &[u8]) -> Option<Place> {
        if !query.selector.takes(document) {
            return None;
        }
        Some(Place {
            key: self.index.key_of(document)?,
            id: id.to_owned(),
        })
    }

    /// The stretch of the index in which everything lies that the query takes.
    pub fn span<'q>(&self, query: &'q FindQuery) -> Span<'q> {
        Span::of(&query.selector, &self.index.columns)
    }

    /// The least and the greatest id that a document can have that the query takes, where the selector says so.
    pub fn id_range(query: &FindQuery) -> (Option<String>, Option<String>) {
        let (mut least, mut greatest): (Option<String>, Option<String>) = (None, None);
        for conjunct in query.selector.conjunction().conjuncts {
            let Bound::Compare(relation, operand) = conjunct.bound else {
                continue;
            };
            if conjunct.path.steps().len() != 1 || conjunct.path.first() != "_id" {
                continue;
            }
            // Ids beyond U+FFFF lie differently as code units and as bytes: such a bound narrows nothing.
            let Some(text) = operand.as_text().filter(|text| text.is_ascii()) else {
                continue;
            };
            let narrows_up = matches!(
                relation,
                Relation::Equal | Relation::Greater | Relation::GreaterOrEqual
            );
            let narrows_down = matches!(
                relation,
                Relation::Equal | Relation::Less | Relation::LessOrEqual
            );
            if narrows_up && least.as_deref().is_none_or(|least| least < text) {
                least = Some(text.to_owned());
            }
            if narrows_down && greatest.as_deref().is_none_or(|greatest| greatest > text) {
                greatest = Some(text.to_owned());
            }
        }
        (least, greatest)
    }
}

fn is_usable(index: &Index, query: &FindQuery) -> bool {
    index.columns.iter().all(|column| {
        query.sort.contains(column) || is_always_there(column) || query.selector.requires(column)
    })
}

fn is_always_there(column: &FieldPath) -> bool {
    column.steps().len() == 1 && matches!(column.first(), "_id" | "_rev")
}

/// Whether reading the index gives the order: fields that can have but one value do not count.
fn is_sorted(index: &Index, query: &FindQuery, demands: &Conjunction<'_>) -> bool {
    let is_constant = |path: &&FieldPath| {
        demands.conjuncts.iter().any(|conjunct| {
            conjunct.path == *path && matches!(conjunct.bound, Bound::Compare(Relation::Equal, _))
        })
    };
    let varying = |paths: &'_ [FieldPath]| -> Vec<FieldPath> {
        paths
            .iter()
            .filter(|path| !is_constant(path))
            .cloned()
            .collect()
    };
    index.columns.starts_with(&query.sort)
        || varying(&index.columns).starts_with(&varying(&query.sort))
            && !index.is_all_docs()
            && !query.sort.is_empty()
}

/// How many of the index' fields, from the first on, the selector compares with something.
fn used_columns(index: &Index, demands: &Conjunction<'_>) -> usize {
    let is_compared = |column: &&FieldPath| {
        demands.conjuncts.iter().any(|conjunct| {
            conjunct.path == *column && matches!(conjunct.bound, Bound::Compare(..))
        })
    };
    index.columns.iter().take_while(is_compared).count()
}

fn unused_warning(asked_for: &IndexName) -> String {
    match &asked_for.name {
        None => format!(
            "{} was not used because it does not contain a valid index for this query.",
            asked_for.design
        ),
        Some(name) => format!(
            "{}, {name} was not used because it is not a valid index for this query.",
            asked_for.design
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(design: &str, columns: &[&str]) -> Index {
        Index {
            design: Some(format!("_design/{design}")),
            name: "i".into(),
            columns: columns
                .iter()
                .map(|c| FieldPath::parse(c).unwrap())
                .collect(),
            direction: Direction::Ascending,
            filter: None,
        }
    }

    fn indexes() -> Vec<Index> {
        let mut partial = index("partial", &["a"]);
        partial.filter =
            Some(crate::selector::Selector::parse_as_couchdb(r#"{"kind":"x"}"#).unwrap());
        vec![
            Index::all_docs(),
            index("ab", &["a", "b"]),
            index("a", &["a"]),
            index("c", &["c.d"]),
            partial,
        ]
    }

    /// The design document of the chosen index, and the first words of the warning.
    fn chosen(body: &str) -> Result<(String, String), String> {
        let query = FindQuery::parse(body.as_bytes()).map_err(|error| error.to_string())?;
        let indexes = indexes();
        let plan = Plan::of(&query, &indexes).map_err(|error| error.kind.name().to_owned())?;
        let name = plan.index.design.clone().unwrap_or_else(|| "none".into());
        Ok((
            name.trim_start_matches("_design/").to_owned(),
            plan.warning.unwrap_or_default().chars().take(20).collect(),
        ))
    }

    #[test]
    fn the_index_is_the_one_that_couchdb_takes() {
        for (body, expected) in [
            (r#"{"selector":{"a":1}}"#, "a"),
            // Both are used in full: the shorter one.
            (r#"{"selector":{"a":{"$gt":1},"b":2}}"#, "a"),
            (r#"{"selector":{"b":2}}"#, "none"),
            // `$regex` wants the field, and compares with nothing: documents lie by id.
            (r#"{"selector":{"a":{"$regex":"x"}}}"#, "none"),
            (r#"{"selector":{"a":{"$exists":false}}}"#, "none"),
            (r#"{"selector":{"c":{"d":{"$gt":null}}}}"#, "none"),
            (r#"{"selector":{"c.d":{"$gt":null}}}"#, "c"),
            (r#"{"selector":{},"sort":["_id"]}"#, "none"),
            (r#"{"selector":{},"sort":["a"]}"#, "a"),
            (r#"{"selector":{"b":1},"sort":["a"]}"#, "a"),
            (r#"{"selector":{"a":1},"sort":["b"]}"#, "ab"),
            (r#"{"selector":{},"sort":["a","b"]}"#, "ab"),
            (r#"{"selector":{"a":1},"use_index":"ab"}"#, "a"),
            (r#"{"selector":{"a":1,"b":2},"use_index":"a"}"#, "a"),
            (
                r#"{"selector":{"a":1},"use_index":["partial","i"]}"#,
                "partial",
            ),
        ] {
            assert_eq!(
                chosen(body).map(|(name, _)| name),
                Ok(expected.into()),
                "{body}"
            );
        }
        for (body, expected) in [
            (r#"{"selector":{"a":1},"sort":["c"]}"#, "no_usable_index"),
            (r#"{"selector":{"a":1},"sort":["b","a"]}"#, "ab"),
            (r#"{"selector":{},"sort":["b"]}"#, "no_usable_index"),
            (
                r#"{"selector":{"b":1},"use_index":"a","allow_fallback":false}"#,
                "no_usable_index",
            ),
        ] {
            let found = chosen(body).map_or_else(|error| error, |(name, _)| name);
            assert_eq!(found, expected, "{body}");
        }
    }

    #[test]
    fn what_could_not_be_used_is_said() {
        let warning = |body| chosen(body).unwrap().1;
        assert_eq!(warning(r#"{"selector":{"a":1}}"#), "");
        assert_eq!(warning(r#"{"selector":{"z":1}}"#), "No matching index fo");
        assert_eq!(
            warning(r#"{"selector":{"a":1},"use_index":"nothing"}"#),
            "_design/nothing was "
        );
    }

    #[test]
    fn documents_lie_by_their_values_and_then_by_id() {
        let query = FindQuery::parse(br#"{"selector":{},"sort":["a","b"]}"#).unwrap();
        let indexes = indexes();
        let plan = Plan::of(&query, &indexes).unwrap();
        let place = |id: &str, text: &str| plan.place_of(&query, id, text.as_bytes());
        let ordered = [
            place("9", r#"{"a":null,"b":1}"#),
            place("8", r#"{"a":2,"b":1}"#),
            place("1", r#"{"a":10,"b":1}"#),
            place("2", r#"{"a":10,"b":1}"#),
            place("0", r#"{"a":10,"b":"x"}"#),
            place("0", r#"{"a":"","b":"x"}"#),
        ];
        assert!(ordered.iter().all(Option::is_some));
        assert!(ordered.is_sorted());
        assert_eq!(place("x", r#"{"a":1}"#), None);
    }

    #[test]
    fn ids_are_narrowed_by_what_the_selector_demands() {
        let range = |body: &str| Plan::id_range(&FindQuery::parse(body.as_bytes()).unwrap());
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(range(r#"{"selector":{"_id":"a"}}"#), (some("a"), some("a")));
        assert_eq!(
            range(r#"{"selector":{"_id":{"$gt":"a","$lte":"c"},"n":1}}"#),
            (some("a"), some("c"))
        );
        assert_eq!(range(r#"{"selector":{"$or":[{"_id":"a"}]}}"#), (None, None));
        assert_eq!(range(r#"{"selector":{"_id":{"$gt":null}}}"#), (None, None));
    }
}
