//! One access: what was done, to what, and the digest of how it was asked for.

use adyton_couch::selector::Selector;
use adyton_protocol::scope::Resource;
use aws_lc_rs::digest::{Context, SHA256};

use crate::memory::{Direction, Query};

/// What an app can do with records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as receipts show it")]
pub enum Kind {
    Get,
    Query,
    Count,
    Aggregate,
    Explain,
    Search,
    Watch,
    Create,
    Update,
    Delete,
    Destroy,
}

impl Kind {
    /// The name in a receipt.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Query => "query",
            Self::Count => "count",
            Self::Aggregate => "aggregate",
            Self::Explain => "explain",
            Self::Search => "search",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Destroy => "destroy",
        }
    }
}

/// What is done, as the caller asked for it.
#[derive(Debug, Clone, Copy)]
pub enum Act<'a> {
    /// One record by its id.
    Get(&'a str),
    /// Records by their ids.
    GetAll(&'a [String]),
    /// A query.
    Query(&'a Query),
    /// How many records a selector takes.
    Count(&'a Selector),
    /// Sums over the records that a selector takes.
    Aggregate(&'a Selector),
    /// A search for these words.
    Search(&'a str),
    /// How a query would be answered.
    Explain(&'a Query),
    /// What changes among the records that a selector takes.
    Watch(&'a Selector),
    /// New records.
    Create,
    /// A change of a record, or of several when none is named.
    Update(&'a str),
    /// A record's deletion.
    Delete(&'a str),
    /// A whole database's.
    Destroy,
}

impl Act<'_> {
    /// What kind it is.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Get(_) | Self::GetAll(_) => Kind::Get,
            Self::Query(_) => Kind::Query,
            Self::Count(_) => Kind::Count,
            Self::Aggregate(_) => Kind::Aggregate,
            Self::Explain(_) => Kind::Explain,
            Self::Search(_) => Kind::Search,
            Self::Watch(_) => Kind::Watch,
            Self::Create => Kind::Create,
            Self::Update(_) => Kind::Update,
            Self::Delete(_) => Kind::Delete,
            Self::Destroy => Kind::Destroy,
        }
    }

    /// SHA-256 of the lines: the kind, the target, and then the ids, or the selector, the fields to sort by, skip and limit.
    /// The user can tell from it whether a question was a certain one; nobody else has it.
    #[must_use]
    pub(super) fn digest(&self, target: &str) -> [u8; 32] {
        let mut lines = Lines(Context::new(&SHA256));
        lines.add(self.kind().name());
        lines.add(target);
        match self {
            Self::Get(id) | Self::Update(id) | Self::Delete(id) => lines.add(id),
            Self::GetAll(ids) => ids.iter().for_each(|id| lines.add(id)),
            Self::Query(query) | Self::Explain(query) => {
                lines.add(query.selector.source());
                for key in &query.sort {
                    lines.add(&key.path.to_string());
                    lines.add(match key.direction {
                        Direction::Ascending => "asc",
                        Direction::Descending => "desc",
                    });
                }
                lines.add(&query.skip.to_string());
                lines.add(&query.limit.to_string());
            }
            Self::Count(selector) | Self::Aggregate(selector) | Self::Watch(selector) => {
                lines.add(selector.source());
            }
            Self::Search(words) => lines.add(words),
            Self::Create | Self::Destroy => {}
        }
        lines.digest()
    }
}

/// The target of an access, as scopes name it.
pub(super) fn target_of(resource: &Resource) -> String {
    match resource.schema() {
        Some(schema) => format!("ds:{}", schema.as_str()),
        None => format!("db:{}", resource.database()),
    }
}

struct Lines(Context);

impl Lines {
    fn add(&mut self, line: &str) {
        self.0.update(line.as_bytes());
        self.0.update(b"\n");
    }

    fn digest(self) -> [u8; 32] {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.0.finish().as_ref());
        digest
    }
}
