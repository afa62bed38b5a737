//! Answers that hold the contents of attachments: pieces, each made when it is sent. An answer of any size costs a batch of memory.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::Arc;

use adyton_couch::attachment::Encoding;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use crate::store::StoreError;
use crate::store::attachments::{Attached, BlobId, CHUNK_BYTES};
use crate::store::database::{DatabaseFile, View};
use crate::stream::{BATCH_BYTES, Producer};

/// Bytes that are decoded or encoded in one go. A multiple of three, so that base64 has no padding within.
const STEP_BYTES: usize = 192 << 10;

/// A piece of an answer.
pub(crate) enum Piece {
    /// Made already.
    Text(Bytes),
    /// A content as it is kept, from one byte up to another.
    Kept { blob: BlobId, from: u64, to: u64 },
    /// A content, decoded.
    Decoded(Attached),
    /// A content, decoded, in base64.
    Base64(Attached),
}

impl Piece {
    /// All of a content as it is kept.
    pub(super) fn whole(attached: &Attached) -> Self {
        Self::Kept {
            blob: attached.blob,
            from: 0,
            to: attached.attachment.encoded_length,
        }
    }

    /// Its bytes in the answer.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Kept { from, to, .. } => to.saturating_sub(*from),
            Self::Decoded(attached) => attached.attachment.length,
            Self::Base64(attached) => attached.attachment.length.div_ceil(3) * 4,
        }
    }
}

/// Pieces that are sent from one view of the database.
pub(crate) struct PieceProducer {
    /// Kept open until the answer is sent.
    _file: Arc<DatabaseFile>,
    view: Arc<View>,
    pieces: VecDeque<Piece>,
    under_way: Option<UnderWay>,
}

/// A content that is being decoded.
struct UnderWay {
    content: Box<dyn Read + Send>,
    base64: bool,
}

impl PieceProducer {
    pub(crate) fn new(file: Arc<DatabaseFile>, view: View, pieces: Vec<Piece>) -> Self {
        Self::sharing(file, Arc::new(view), pieces)
    }

    /// The same, from a view that others use, too.
    pub(super) fn sharing(file: Arc<DatabaseFile>, view: Arc<View>, pieces: Vec<Piece>) -> Self {
        Self {
            _file: file,
            view,
            pieces: pieces.into(),
            under_way: None,
        }
    }

    /// The next bytes; none at the end.
    fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            if let Some(under_way) = &mut self.under_way {
                match under_way.step()? {
                    Some(bytes) => return Ok(Some(bytes)),
                    None => self.under_way = None,
                }
            }
            match self.pieces.pop_front() {
                None => return Ok(None),
                Some(Piece::Text(text)) => return Ok(Some(text)),
                Some(Piece::Kept { from, to, .. }) if from >= to => {}
                Some(Piece::Kept { blob, from, to }) => {
                    let chunk = self.view.chunk(blob, from / CHUNK_BYTES)?;
                    let (bytes, next) = cut(&chunk, from, to)?;
                    self.pieces.push_front(Piece::Kept {
                        blob,
                        from: next,
                        to,
                    });
                    return Ok(Some(bytes));
                }
                Some(Piece::Decoded(attached)) => self.start(&attached, false),
                Some(Piece::Base64(attached)) => self.start(&attached, true),
            }
        }
    }

    fn start(&mut self, attached: &Attached, base64: bool) {
        let kept = KeptReader {
            view: Arc::clone(&self.view),
            blob: attached.blob,
            at: 0,
            to: attached.attachment.encoded_length,
            chunk: Bytes::new(),
        };
        let content: Box<dyn Read + Send> = match attached.attachment.encoding {
            Encoding::Identity => Box::new(kept),
            // No more than was counted when it was stored, whatever the decoder says.
            Encoding::Gzip => Box::new(MultiGzDecoder::new(kept).take(attached.attachment.length)),
        };
        self.under_way = Some(UnderWay { content, base64 });
    }
}

impl UnderWay {
    fn step(&mut self) -> Result<Option<Bytes>, StoreError> {
        let mut bytes = Vec::with_capacity(STEP_BYTES);
        self.content
            .by_ref()
            .take(STEP_BYTES as u64)
            .read_to_end(&mut bytes)?;
        Ok(match (bytes.is_empty(), self.base64) {
            (true, _) => None,
            (false, true) => Some(STANDARD.encode(bytes).into()),
            (false, false) => Some(bytes.into()),
        })
    }
}

impl Producer for PieceProducer {
    fn batch(&mut self) -> Result<Option<Vec<Bytes>>, StoreError> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < BATCH_BYTES {
            let Some(piece) = self.next()? else { break };
            bytes += piece.len();
            batch.push(piece);
        }
        Ok((!batch.is_empty()).then_some(batch))
    }
}

/// An answer of many documents: pieces for some of them at a time, each time from the view of that moment.
pub(super) trait PieceSource: Send + 'static {
    /// The next ones, up to a batch of text; none when the answer is complete. Contents are read only when they are sent.
    fn next_pieces(&mut self) -> Result<Option<PieceProducer>, StoreError>;
}

/// Sends what a source makes.
pub(super) struct Sending<S> {
    source: S,
    under_way: Option<PieceProducer>,
}

impl<S: PieceSource> Sending<S> {
    pub(super) fn new(source: S) -> Self {
        Self {
            source,
            under_way: None,
        }
    }
}

impl<S: PieceSource> Producer for Sending<S> {
    fn batch(&mut self) -> Result<Option<Vec<Bytes>>, StoreError> {
        loop {
            if let Some(under_way) = &mut self.under_way
                && let Some(batch) = under_way.batch()?
            {
                return Ok(Some(batch));
            }
            self.under_way = self.source.next_pieces()?;
            if self.under_way.is_none() {
                return Ok(None);
            }
        }
    }
}

/// What of the chunk at `from` is wanted, and where the next one begins.
fn cut(chunk: &Bytes, from: u64, to: u64) -> Result<(Bytes, u64), StoreError> {
    const SHORT: StoreError = StoreError::Corrupt("a piece of an attachment is too short");
    let start = from % CHUNK_BYTES;
    let end = (start + (to - from)).min(CHUNK_BYTES);
    let range =
        usize::try_from(start).map_err(|_| SHORT)?..usize::try_from(end).map_err(|_| SHORT)?;
    if chunk.len() < range.end {
        return Err(SHORT);
    }
    Ok((chunk.slice(range), from + (end - start)))
}

/// A content as it is kept, to be read by a decoder.
struct KeptReader {
    view: Arc<View>,
    blob: BlobId,
    at: u64,
    to: u64,
    chunk: Bytes,
}

impl Read for KeptReader {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.chunk.is_empty() && self.at < self.to {
            let chunk = self
                .view
                .chunk(self.blob, self.at / CHUNK_BYTES)
                .map_err(std::io::Error::other)?;
            let (bytes, next) = cut(&chunk, self.at, self.to).map_err(std::io::Error::other)?;
            (self.chunk, self.at) = (bytes, next);
        }
        let taken = self.chunk.split_to(out.len().min(self.chunk.len()));
        if let Some(out) = out.get_mut(..taken.len()) {
            out.copy_from_slice(&taken);
        }
        Ok(taken.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_at_the_bounds_of_pieces() {
        let chunk = Bytes::from(vec![1; CHUNK_BYTES as usize]);
        let (bytes, next) = cut(&chunk, CHUNK_BYTES - 1, CHUNK_BYTES + 5).unwrap();
        assert_eq!((bytes.len(), next), (1, CHUNK_BYTES));
        let (bytes, next) = cut(&chunk.slice(..9), CHUNK_BYTES, CHUNK_BYTES + 5).unwrap();
        assert_eq!((bytes.len(), next), (5, CHUNK_BYTES + 5));
        assert!(cut(&chunk.slice(..4), CHUNK_BYTES, CHUNK_BYTES + 5).is_err());
    }
}
