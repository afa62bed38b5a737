//! The parameters of reading, writing and deleting one document.

use super::bounded::Bounded;
use super::error::CouchError;
use super::query::{boolean, parameters};
use crate::attachment::Encodings;
use crate::limits::MAX_BULK_ITEMS;
use crate::rev::Rev;

/// `open_revs`: several revisions of one document at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenRevs {
    /// Every leaf.
    All,
    /// These.
    These(Vec<Rev>),
}

/// Which attachments are told with their content; the others are stubs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum AttachmentsWanted {
    /// None.
    #[default]
    Stubs,
    /// All.
    All,
    /// Those that came after the deepest of these revisions that is an ancestor (`atts_since`).
    Since(Vec<Rev>),
}

impl AttachmentsWanted {
    /// What `attachments=true` and `attachments=false` mean.
    pub(super) fn all_if(wanted: bool) -> Self {
        match wanted {
            true => Self::All,
            false => Self::Stubs,
        }
    }
}

/// The parameters of a request for one document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DocumentQuery {
    /// The revision to read, replace or delete.
    pub rev: Option<Rev>,
    /// With `_revisions`.
    pub revs: bool,
    /// With `_revs_info`.
    pub revs_info: bool,
    /// With `_conflicts`.
    pub conflicts: bool,
    /// With `_deleted_conflicts`.
    pub deleted_conflicts: bool,
    /// With `_local_seq`.
    pub local_seq: bool,
    /// The leaves that follow the named revision instead of itself.
    pub latest: bool,
    /// Several revisions.
    pub open_revs: Option<OpenRevs>,
    /// With the contents of attachments, not only their names.
    pub attachments: AttachmentsWanted,
    /// Whether the encodings of attachments are told.
    pub encodings: Encodings,
    /// `new_edits=false`: the written revision is history made elsewhere.
    pub replicated: bool,
}

impl DocumentQuery {
    /// Reads the query string.
    pub fn parse(query: &str) -> Result<Self, CouchError> {
        const BAD_REV: CouchError = CouchError::bad_request("Invalid rev format");
        let mut out = Self::default();
        for (name, value) in parameters(query)? {
            match &*name {
                "rev" => out.rev = Some(value.parse().map_err(|_| BAD_REV)?),
                "revs" => out.revs = boolean(&value)?,
                "revs_info" => out.revs_info = boolean(&value)?,
                "conflicts" => out.conflicts = boolean(&value)?,
                "deleted_conflicts" => out.deleted_conflicts = boolean(&value)?,
                "meta" => {
                    let meta = boolean(&value)?;
                    out.revs_info |= meta;
                    out.conflicts |= meta;
                    out.deleted_conflicts |= meta;
                }
                "local_seq" => out.local_seq = boolean(&value)?,
                "latest" => out.latest = boolean(&value)?,
                "new_edits" => out.replicated = !boolean(&value)?,
                "open_revs" if &*value == "all" => out.open_revs = Some(OpenRevs::All),
                "open_revs" => {
                    let revs: Bounded<Rev, MAX_BULK_ITEMS> =
                        serde_json::from_str(&value).map_err(|_| BAD_REV)?;
                    out.open_revs = Some(OpenRevs::These(revs.0));
                }
                // `atts_since` says more, wherever it stands.
                "attachments" => {
                    let all = boolean(&value)? && out.attachments == AttachmentsWanted::Stubs;
                    if all {
                        out.attachments = AttachmentsWanted::All;
                    }
                }
                "atts_since" => {
                    let revs: Bounded<Rev, MAX_BULK_ITEMS> =
                        serde_json::from_str(&value).map_err(|_| BAD_REV)?;
                    out.attachments = AttachmentsWanted::Since(revs.0);
                }
                "att_encoding_info" if boolean(&value)? => out.encodings = Encodings::Told,
                // Further parameters (batch …) change nothing that we answer.
                _ => {}
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REV: &str = "1-967a00dff5e02add41819138abb3284d";

    #[test]
    fn parameters_are_read() {
        let query = DocumentQuery::parse(&format!("rev={REV}&revs=true&latest=true&open_revs=all"))
            .unwrap();
        assert_eq!(query.rev.unwrap().to_string(), REV);
        assert!(query.revs && query.latest);
        assert_eq!(query.open_revs, Some(OpenRevs::All));
        let query = DocumentQuery::parse(&format!("open_revs=%5B%22{REV}%22%5D")).unwrap();
        assert_eq!(
            query.open_revs,
            Some(OpenRevs::These(vec![REV.parse().unwrap()]))
        );
        let wanted = |query: &str| DocumentQuery::parse(query).unwrap().attachments;
        assert_eq!(wanted("attachments=false"), AttachmentsWanted::Stubs);
        assert_eq!(wanted("attachments=true"), AttachmentsWanted::All);
        let since = AttachmentsWanted::Since(vec![REV.parse().unwrap()]);
        let asked = format!("atts_since=%5B%22{REV}%22%5D&attachments=true");
        assert_eq!(wanted(&asked), since);
    }

    #[test]
    fn malformed_parameters_are_refused() {
        for query in [
            "rev=undefined",
            "revs=1",
            "open_revs=x",
            "open_revs=[1]",
            "new_edits=no",
            "attachments=1",
            "atts_since=x",
            "att_encoding_info=yes",
        ] {
            assert!(DocumentQuery::parse(query).is_err(), "{query}");
        }
    }
}
