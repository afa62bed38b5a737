//! Attachments as a peer sends them, made ready to be stored: within limits, as long as was said, decodable, and hashed.

use std::io::Read;

use adyton_couch::attachment::{
    AttachmentDigest, AttachmentName, ContentType, Encoding, SentAttachment, SentContent,
};
use adyton_couch::wire::{CouchError, ErrorKind};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;

use super::App;
use crate::config::Limits;
use crate::databases::DatabaseError;
use crate::store::attachments::{AttachmentWrite, Blob, Source};
use crate::store::blocking;

/// What an attachment takes besides its texts and its content, at most.
const ATTACHMENT_BYTES: u64 = 256;
// With what the allocator adds.
const _: () = assert!(size_of::<AttachmentWrite>() as u64 <= ATTACHMENT_BYTES * 3 / 4);
const _: () = assert!(size_of::<SentAttachment>() as u64 <= ATTACHMENT_BYTES * 3 / 4);

/// What attachments take besides their texts and contents: a stub is a few bytes as it is sent.
pub(super) fn bytes(sent: &[SentAttachment]) -> u64 {
    sent.len() as u64 * ATTACHMENT_BYTES
}

impl App {
    /// Makes the attachments of one document ready, on a thread that may take its time.
    pub(super) async fn incoming(
        &self,
        sent: Vec<SentAttachment>,
        parts: Vec<(AttachmentName, Bytes)>,
    ) -> Result<Vec<AttachmentWrite>, DatabaseError> {
        if sent.is_empty() {
            return Ok(Vec::new());
        }
        let limits = self.limits.clone();
        Ok(blocking(move || Ok(attachments(sent, parts, &limits))).await??)
    }
}

/// Makes the attachments of one document ready. `parts` are the contents that followed it. May take its time.
pub(super) fn attachments(
    sent: Vec<SentAttachment>,
    mut parts: Vec<(AttachmentName, Bytes)>,
    limits: &Limits,
) -> Result<Vec<AttachmentWrite>, CouchError> {
    let mut writes = Vec::with_capacity(sent.len());
    let mut total: u64 = 0;
    for SentAttachment {
        name,
        content_type,
        revpos,
        digest,
        content,
    } in sent
    {
        let (encoding, bytes, digest) = match content {
            SentContent::Stub => {
                let source = Source::Kept { digest, revpos };
                writes.push(AttachmentWrite { name, source });
                continue;
            }
            // What is said of inline data may be said of its gzipped form elsewhere: the data counts.
            SentContent::Inline(data) => (Encoding::Identity, data.into(), None),
            SentContent::Follows { encoding, bytes } => {
                let part = part_of(&name, &mut parts)?;
                if bytes.is_some_and(|said| said != part.len() as u64) {
                    let reason = "An attachment has not the length that was said.";
                    return Err(CouchError::bad_request(reason));
                }
                (encoding, part, digest)
            }
        };
        let write = attachment(
            name,
            (content_type, revpos),
            (encoding, bytes),
            digest,
            limits,
        )?;
        if let Source::New { length, blob, .. } = &write.source {
            total = total.saturating_add((*length).max(blob.length()));
        }
        if total > limits.attachments_bytes as u64 {
            let reason = "The attachments of the document are too large.";
            return Err(CouchError::new(ErrorKind::TooLarge, reason));
        }
        writes.push(write);
    }
    Ok(writes)
}

/// Makes one attachment ready. `digest` is what its bytes must have, if anything is said. May take its time.
pub(super) fn attachment(
    name: AttachmentName,
    (content_type, revpos): (ContentType, Option<u64>),
    (encoding, bytes): (Encoding, Bytes),
    digest: Option<AttachmentDigest>,
    limits: &Limits,
) -> Result<AttachmentWrite, CouchError> {
    if bytes.len() > limits.attachment_bytes {
        return Err(too_large());
    }
    let length = match encoding {
        Encoding::Identity => bytes.len() as u64,
        Encoding::Gzip => decoded_length(&bytes, limits.attachment_bytes as u64)?,
    };
    let blob = Blob::new(bytes);
    if digest.is_some_and(|digest| digest != blob.digest()) {
        let reason = "Possible message corruption.";
        return Err(CouchError::new(ErrorKind::ContentMd5Mismatch, reason));
    }
    let source = Source::New {
        content_type,
        revpos,
        encoding,
        length,
        blob,
    };
    Ok(AttachmentWrite { name, source })
}

pub(super) fn too_large() -> CouchError {
    CouchError::new(ErrorKind::TooLarge, "The attachment is too large.")
}

/// How long a gzipped content is, decoded. Nothing of it is kept.
fn decoded_length(bytes: &[u8], limit: u64) -> Result<u64, CouchError> {
    let mut decoder = MultiGzDecoder::new(bytes).take(limit.saturating_add(1));
    let length = std::io::copy(&mut decoder, &mut std::io::sink()).map_err(|_| {
        CouchError::bad_request("An attachment is not the gzip that it is said to be.")
    })?;
    if length > limit {
        return Err(too_large());
    }
    Ok(length)
}

fn part_of(
    name: &AttachmentName,
    parts: &mut Vec<(AttachmentName, Bytes)>,
) -> Result<Bytes, CouchError> {
    let at = parts.iter().position(|(part, _)| part == name);
    let at = at.ok_or(CouchError::bad_request(
        "An attachment is said to follow, and does not.",
    ))?;
    Ok(parts.swap_remove(at).1)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    fn read(encoding: Encoding, bytes: Bytes) -> Result<u64, ErrorKind> {
        let limits = Limits {
            attachment_bytes: 1_000,
            ..Limits::default()
        };
        let kind = (ContentType::default(), None);
        match attachment("a".parse().unwrap(), kind, (encoding, bytes), None, &limits) {
            Ok(AttachmentWrite {
                source: Source::New { length, .. },
                ..
            }) => Ok(length),
            Ok(_) => panic!("a kept attachment"),
            Err(error) => Err(error.kind),
        }
    }

    #[test]
    fn a_small_gzip_of_something_large_is_too_large() {
        assert_eq!(read(Encoding::Gzip, gzip(&[0; 1_000])), Ok(1_000));
        let bomb = gzip(&[0; 1_001]);
        assert!(bomb.len() < 1_000);
        assert_eq!(read(Encoding::Gzip, bomb), Err(ErrorKind::TooLarge));
        assert_eq!(
            read(Encoding::Identity, vec![0; 1_001].into()),
            Err(ErrorKind::TooLarge)
        );
    }

    #[test]
    fn what_cannot_be_decoded_is_refused_before_it_is_kept() {
        let good = gzip(b"hello");
        for bytes in [
            Bytes::from_static(b"hello"),
            good.slice(..good.len() - 1),
            Bytes::new(),
        ] {
            assert_eq!(read(Encoding::Gzip, bytes), Err(ErrorKind::BadRequest));
        }
    }
}
