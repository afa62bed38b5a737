//! Every limit of the replication protocol, by name. A peer that exceeds one is refused; nothing is cut silently
//! except old ancestry (`REVS_LIMIT`), which is CouchDB's own rule.

/// Ancestors remembered behind each leaf of a revision tree.
pub const REVS_LIMIT: usize = 1_000;

/// Leaves (live branches) one document may have. A document with more conflicts than this accepts no new branch.
pub const MAX_LEAVES: usize = 1_000;

/// Revisions of one document that are remembered over all branches. A document that has as many accepts no new branch; an edit
/// of a leaf makes it forget the oldest.
pub const MAX_NODES: usize = 20_000;

/// The highest generation a peer may claim. Far above any honest history; keeps arithmetic from overflowing.
pub const MAX_GENERATION: u64 = (1 << 32) - 1;

/// Bytes of a document id.
pub const MAX_DOCUMENT_ID_BYTES: usize = 1_024;

/// Bytes of one document as sent. The server may be configured lower, never higher.
pub const MAX_DOCUMENT_BYTES: usize = 64 << 20;

/// Bytes of a request body that carries documents.
pub const MAX_BULK_BYTES: usize = 256 << 20;

/// Documents in one `_bulk_docs` or `_bulk_get` request, keys in one `_all_docs`, ids in one `_revs_diff`, revisions in one `open_revs`.
pub const MAX_BULK_ITEMS: usize = 100_000;

/// Lists in one `_all_docs/queries` request. Each may tell a whole database.
pub const MAX_LISTS: usize = 20;

/// Revisions in one `_revs_diff` request, over all ids.
pub const MAX_REVS_DIFF_REVS: usize = 1_000_000;

/// Revisions in `atts_since` of one `_bulk_get` request, over all items.
pub const MAX_ATTS_SINCE_REVS: usize = 1_000_000;

/// Bytes of a revision that only others can have, in `_revs_diff`. It is missing here, and told as it was sent.
pub const MAX_FOREIGN_REV_BYTES: usize = 1_024;

/// Documents in one `_purge` request, CouchDB's default.
pub const MAX_PURGED_DOCUMENTS: usize = 100;

/// Revisions in one `_purge` request, CouchDB's default.
pub const MAX_PURGED_REVS: usize = 1_000;

/// Attachments of one document.
pub const MAX_ATTACHMENTS: usize = 1_000;

/// Bytes of an attachment's name.
pub const MAX_ATTACHMENT_NAME_BYTES: usize = 1_024;

/// Bytes of what an attachment is given as its media type.
pub const MAX_CONTENT_TYPE_BYTES: usize = 64 << 10;

/// Bytes of a media type that is told in a header (RFC 6838 §4.2: 127 for each half). A longer one is told in the document only.
pub const MAX_CONTENT_TYPE_HEADER_BYTES: usize = 255;

/// Bytes of one attachment. The server may be configured lower, never higher.
pub const MAX_ATTACHMENT_BYTES: usize = MAX_BULK_BYTES;

/// Bytes of the header lines of one part of a multipart body.
pub const MAX_PART_HEAD_BYTES: usize = 8 << 10;

/// Bytes of a multipart boundary (RFC 2046 §5.1.1).
pub const MAX_BOUNDARY_BYTES: usize = 70;
