//! Answers that hold the contents of attachments: pieces, each made when it is sent. An answer of any size costs a batch of memory.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

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

    /// Its text, if it is made already.
    pub(crate) fn made(&self) -> Option<Bytes> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Kept { .. } | Self::Decoded(_) | Self::Base64(_) => None,
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

/// Pieces that are sent. No view of the database is held while a reader takes his time, or what is written meanwhile could not take
/// the place of what it replaces, and the file would grow for as long as he likes. Contents are named by what is in them: one that is
/// gone ends the answer in the middle.
pub(crate) struct PieceProducer {
    contents: Contents,
    pieces: VecDeque<Piece>,
    under_way: Option<UnderWay>,
}

/// Where contents are read.
#[derive(Clone)]
enum Contents {
    /// In the database as it is when a batch is made, whose file is lent for so long.
    Now(Arc<Mutex<Option<Arc<DatabaseFile>>>>),
    /// In the database as it was: for what is made at once.
    Then(Arc<View>),
}

impl Contents {
    fn chunk(&self, blob: BlobId, number: u64) -> Result<Bytes, StoreError> {
        match self {
            Self::Now(lent) => {
                let lent = lent.lock().unwrap_or_else(PoisonError::into_inner);
                lent.as_ref().ok_or(StoreError::Closed)?.chunk(blob, number)
            }
            Self::Then(view) => view.chunk(blob, number),
        }
    }

    /// Lends a file, or takes it back.
    fn lend(&self, file: Option<&Arc<DatabaseFile>>) {
        if let Self::Now(lent) = self {
            *lent.lock().unwrap_or_else(PoisonError::into_inner) = file.cloned();
        }
    }
}

/// A content that is being decoded.
struct UnderWay {
    content: Box<dyn Read + Send>,
    base64: bool,
}

impl PieceProducer {
    pub(crate) fn new(pieces: Vec<Piece>) -> Self {
        Self::of(Contents::Now(Arc::default()), pieces)
    }

    /// What fits a batch is read from this view before it is let go: nothing of it can be gone when it is sent.
    pub(super) fn begun(view: View, pieces: Vec<Piece>) -> Result<Vec<Piece>, StoreError> {
        let length: u64 = pieces.iter().map(Piece::length).sum();
        if length > BATCH_BYTES as u64 {
            return Ok(pieces);
        }
        let texts = Self::at_once(view, pieces)?;
        Ok(texts.into_iter().map(Piece::Text).collect())
    }

    /// Pieces that are made at once, and wait for nobody.
    pub(crate) fn at_once(view: View, pieces: Vec<Piece>) -> Result<Vec<Bytes>, StoreError> {
        let mut from_view = Self::of(Contents::Then(Arc::new(view)), pieces);
        let mut texts = Vec::new();
        while let Some(text) = from_view.next()? {
            texts.push(text);
        }
        Ok(texts)
    }

    fn of(contents: Contents, pieces: Vec<Piece>) -> Self {
        Self {
            contents,
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
                    let chunk = self.contents.chunk(blob, from / CHUNK_BYTES)?;
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
            contents: self.contents.clone(),
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

impl PieceProducer {
    fn some(&mut self) -> Result<Option<Vec<Bytes>>, StoreError> {
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

impl Producer for PieceProducer {
    fn batch(&mut self, file: &Arc<DatabaseFile>) -> Result<Option<Vec<Bytes>>, StoreError> {
        self.contents.lend(Some(file));
        let batch = self.some();
        self.contents.lend(None);
        batch
    }

    fn is_complete(&self) -> bool {
        self.pieces.is_empty() && self.under_way.is_none()
    }
}

/// An answer of many documents: pieces for some of them at a time, each time from the view of that moment.
pub(super) trait PieceSource: Send + 'static {
    /// The next ones, up to a batch of text; nothing in the list when it looked at much and goes on the next time, none when the answer
    /// is complete. Contents are read only when they are sent.
    fn next_pieces(&mut self, file: &DatabaseFile) -> Result<Option<Vec<Piece>>, StoreError>;

    /// Whether there are none left.
    fn is_complete(&self) -> bool;
}

/// Sends what a source makes.
pub(super) struct Sending<S, Held = ()> {
    source: S,
    under_way: Option<PieceProducer>,
    _held: Held,
}

impl<S: PieceSource> Sending<S> {
    pub(super) fn new(source: S) -> Self {
        Self::holding(source, ())
    }
}

impl<S: PieceSource, Held> Sending<S, Held> {
    /// Holds the room that the source takes, until it is sent.
    pub(super) fn holding(source: S, held: Held) -> Self {
        Self {
            source,
            under_way: None,
            _held: held,
        }
    }
}

impl<S: PieceSource, Held: Send + 'static> Producer for Sending<S, Held> {
    fn batch(&mut self, file: &Arc<DatabaseFile>) -> Result<Option<Vec<Bytes>>, StoreError> {
        loop {
            if let Some(under_way) = &mut self.under_way
                && let Some(batch) = under_way.batch(file)?
            {
                return Ok(Some(batch));
            }
            match self.source.next_pieces(file)? {
                None => return Ok(None),
                Some(pieces) if pieces.is_empty() => return Ok(Some(Vec::new())),
                Some(pieces) => self.under_way = Some(PieceProducer::new(pieces)),
            }
        }
    }

    fn is_complete(&self) -> bool {
        let all_told = self.under_way.as_ref().is_none_or(Producer::is_complete);
        all_told && self.source.is_complete()
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
    contents: Contents,
    blob: BlobId,
    at: u64,
    to: u64,
    chunk: Bytes,
}

impl Read for KeptReader {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.chunk.is_empty() && self.at < self.to {
            let chunk = self
                .contents
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
