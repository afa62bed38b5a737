//! The list of local documents: `_local_docs`. They are few, and kept on this node only.

use std::sync::Arc;

use adyton_couch::document::write_json_text;
use adyton_couch::wire::AllDocsQuery;
use bytes::Bytes;

use crate::store::StoreError;
use crate::store::database::DatabaseFile;
use crate::stream::{BATCH_BYTES, Producer};

/// Rows that one batch reads at most.
const ROWS_PER_BATCH: usize = 1_000;

/// The answer to `_local_docs`, upwards by id.
pub(super) struct LocalDocsProducer {
    query: AllDocsQuery,
    left: u64,
    /// The last id looked at.
    last: Option<String>,
    told: bool,
    done: bool,
}

impl LocalDocsProducer {
    pub(super) fn new(query: AllDocsQuery) -> Self {
        Self {
            left: query.limit.unwrap_or(u64::MAX),
            query,
            last: None,
            told: false,
            done: false,
        }
    }

    fn row(&mut self, id: &str, rev: u64, text: &[u8], out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.told, true) {
            out.extend_from_slice(b",\n");
        }
        out.extend_from_slice(b"{\"id\":");
        write_json_text(id, out);
        out.extend_from_slice(b",\"key\":");
        write_json_text(id, out);
        out.extend_from_slice(format!(",\"value\":{{\"rev\":\"0-{rev}\"}}").as_bytes());
        if self.query.include_docs {
            out.extend_from_slice(b",\"doc\":");
            out.extend_from_slice(text);
        }
        out.push(b'}');
    }
}

impl Producer for LocalDocsProducer {
    fn batch(&mut self, file: &Arc<DatabaseFile>) -> Result<Option<Vec<Bytes>>, StoreError> {
        if self.done {
            return Ok(None);
        }
        let view = file.view()?;
        let mut out = Vec::new();
        if self.last.is_none() {
            out.extend_from_slice(b"{\"total_rows\":null,\"offset\":null,\"rows\":[\n");
        }
        let range = self.query.range.clone();
        let start = self.last.clone().or(range.start).unwrap_or_default();
        let mut looked_at = 0;
        self.done = true;
        for row in view.locals(&start)? {
            let (id, rev, text) = row?;
            if self.last.as_ref() == Some(&id) {
                continue;
            }
            let is_past = range
                .end
                .as_ref()
                .is_some_and(|end| match range.exclusive_end {
                    true => id >= *end,
                    false => id > *end,
                });
            if is_past || self.left == 0 {
                break;
            }
            looked_at += 1;
            if self.query.skip > 0 {
                self.query.skip -= 1;
            } else {
                self.left -= 1;
                self.row(&id, rev, &text, &mut out);
            }
            self.last = Some(id);
            if out.len() >= BATCH_BYTES || looked_at >= ROWS_PER_BATCH {
                self.done = false;
                break;
            }
        }
        if self.done {
            out.extend_from_slice(b"\n]}");
        }
        Ok(Some(vec![out.into()]))
    }

    fn is_complete(&self) -> bool {
        self.done
    }
}
