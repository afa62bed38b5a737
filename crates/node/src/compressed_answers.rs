//! Answers are compressed (gzip, RFC 1952) for callers that ask for it with `Accept-Encoding`, inside of the layer that signs:
//! what is signed is what is sent.
//!
//! Guarantees: the bytes of one record never make those of another shorter. Whoever watches the wire sees lengths, and whoever
//! sends somebody a mail has a record in the same answer as that person's secrets; so the compressor forgets everything between
//! two records. An answer whose writer cannot tell records apart is sent as it is. Streams are compressed as they come, and
//! nothing is gathered. Refuses to know: what is answered, and who asked, beyond whether a credential came along.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::{Buf, Bytes};
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
    ETAG, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::{Body as HttpBody, Frame};
use miniz_oxide::deflate::core::CompressorOxide;
use miniz_oxide::deflate::{CompressionLevel, stream::deflate};
use miniz_oxide::{DataFormat, MZFlush, MZStatus};

use crate::memory::{Budget, Reservation};

/// Shorter answers are not worth it.
const LEAST: u64 = 1024;
/// How much of a large piece is compressed before others get their turn.
const STEP: usize = 64 * 1024;
/// What one compressor takes in memory.
const COMPRESSOR_BYTES: usize = 384 * 1024;
/// No name, no time, no system.
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 255];

/// Put into an answer's extensions by a writer that can give each record in frames of its own, and does so when it is told to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Separable(Arc<AtomicBool>);

impl Separable {
    /// Must frames be cut between records?
    pub(crate) fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn want(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The layer around all routes.
pub(crate) async fn compress(budget: Budget, request: Request, next: Next) -> Response {
    let takes_gzip = takes_gzip(request.headers());
    // Without a credential, an answer to GET is the same for everybody.
    let is_public = request.method() == Method::GET
        && !request.headers().contains_key(AUTHORIZATION)
        && !request.headers().contains_key("x-api-key");
    let mut response = next.run(request).await;
    let separable = response.extensions_mut().remove::<Separable>();
    if !(is_public || separable.is_some()) || !is_compressible(&response) {
        return response;
    }
    response
        .headers_mut()
        .append(VARY, HeaderValue::from_static("accept-encoding"));
    // Without room for a compressor the answer is longer, and an answer all the same.
    let Some(room) = takes_gzip
        .then(|| budget.reserve(COMPRESSOR_BYTES).ok())
        .flatten()
    else {
        return response;
    };
    if let Some(separable) = separable {
        separable.want();
    }
    let (mut head, body) = response.into_parts();
    head.headers
        .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers.remove(CONTENT_LENGTH);
    head.headers.remove(ACCEPT_RANGES);
    weaken(&mut head.headers);
    Response::from_parts(head, Body::new(Gzip::new(body, room)))
}

/// Does the caller take gzip, named or as one of all?
fn takes_gzip(headers: &HeaderMap) -> bool {
    let (mut named, mut all) = (None, None);
    for value in headers.get_all(ACCEPT_ENCODING) {
        for coding in value.to_str().unwrap_or_default().split(',') {
            let mut parts = coding.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            let is_wanted =
                weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|q| q > 0.0));
            if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
                named = Some(is_wanted);
            } else if name == "*" {
                all = Some(is_wanted);
            }
        }
    }
    named.or(all).unwrap_or(false)
}

fn is_compressible(response: &Response) -> bool {
    let headers = response.headers();
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let kind = kind.and_then(|kind| kind.split(|byte| *byte == b';').next());
    let is_text = matches!(
        kind,
        Some(
            b"application/json"
                | b"application/x-ndjson"
                | b"text/html"
                | b"text/css"
                | b"text/javascript"
                | b"image/svg+xml"
        )
    );
    is_text
        && response.status() == StatusCode::OK
        && !headers.contains_key(CONTENT_ENCODING)
        && response
            .body()
            .size_hint()
            .upper()
            .is_none_or(|most| most >= LEAST)
}

/// The compressed answer is another text of the same version.
fn weaken(headers: &mut HeaderMap) {
    let weak = headers.get(ETAG).and_then(|tag| {
        let tag = tag.to_str().ok().filter(|tag| !tag.starts_with("W/"))?;
        HeaderValue::from_str(&format!("W/{tag}")).ok()
    });
    if let Some(weak) = weak {
        headers.insert(ETAG, weak);
    }
}

/// A body that is compressed while it is read.
struct Gzip {
    inner: Body,
    _room: Reservation,
    compressor: Box<CompressorOxide>,
    /// Of a frame that is too long for one step.
    pending: Bytes,
    sum: Sum,
    begun: bool,
    ended: bool,
}

impl Gzip {
    fn new(inner: Body, room: Reservation) -> Self {
        Self {
            inner,
            _room: room,
            compressor: Box::new(CompressorOxide::with_format_and_level(
                DataFormat::Raw,
                CompressionLevel::BestSpeed,
            )),
            pending: Bytes::new(),
            sum: Sum::default(),
            begun: false,
            ended: false,
        }
    }

    /// A step of the pending frame. At the end of the frame the compressor forgets it.
    fn step(&mut self) -> io::Result<Bytes> {
        let step = self.pending.split_to(STEP.min(self.pending.len()));
        let flush = match self.pending.has_remaining() {
            true => MZFlush::Sync,
            false => MZFlush::Full,
        };
        self.sum.add(&step);
        self.write(&step, flush)
    }

    fn finish(&mut self) -> io::Result<Bytes> {
        self.ended = true;
        let mut last = self.write(&[], MZFlush::Finish)?.to_vec();
        last.extend_from_slice(&self.sum.trailer());
        Ok(last.into())
    }

    fn write(&mut self, mut input: &[u8], flush: MZFlush) -> io::Result<Bytes> {
        let mut out = Vec::new();
        if !std::mem::replace(&mut self.begun, true) {
            out.extend_from_slice(&GZIP_HEAD);
        }
        loop {
            let written = out.len();
            out.resize(written + input.len() / 2 + 256, 0);
            let room = out.get_mut(written..).unwrap_or_default();
            let result = deflate(&mut self.compressor, input, room, flush);
            let is_full = result.bytes_written == room.len();
            out.truncate(written + result.bytes_written);
            input = input.get(result.bytes_consumed..).unwrap_or_default();
            match result.status {
                Ok(MZStatus::StreamEnd) => break,
                Ok(_) if is_full || !input.is_empty() => {}
                Ok(_) if flush != MZFlush::Finish => break,
                Ok(_) => {}
                // It has nothing more to say.
                Err(miniz_oxide::MZError::Buf) if flush != MZFlush::Finish => break,
                Err(_) => return Err(io::Error::other("the answer cannot be compressed")),
            }
        }
        Ok(out.into())
    }
}

impl HttpBody for Gzip {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        loop {
            if self.pending.has_remaining() {
                let step = self.step();
                return Poll::Ready(Some(step.map(Frame::data).map_err(Into::into)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                Some(Ok(frame)) => {
                    // No handler sends trailers; a signature's are added outside of here.
                    self.pending = frame.into_data().unwrap_or_default();
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => {
                    let last = self.finish();
                    return Poll::Ready(Some(last.map(Frame::data).map_err(Into::into)));
                }
            }
        }
    }
}

/// The checksum and length at the end (RFC 1952 section 8).
struct Sum {
    crc: u32,
    length: u32,
}

impl Default for Sum {
    fn default() -> Self {
        Self {
            crc: u32::MAX,
            length: 0,
        }
    }
}

const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let (mut value, mut bit) = (n as u32, 0);
        while bit < 8 {
            value = (value >> 1) ^ (0xedb8_8320 * (value & 1));
            bit += 1;
        }
        // In a constant: past the end would not compile.
        #[allow(clippy::indexing_slicing)]
        {
            table[n] = value;
        }
        n += 1;
    }
    table
};

impl Sum {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let at = (self.crc ^ u32::from(*byte)) & 0xff;
            let entry = CRC.get(at as usize).copied().unwrap_or_default();
            self.crc = (self.crc >> 8) ^ entry;
        }
        // The length is counted modulo 2^32.
        self.length = self.length.wrapping_add(bytes.len() as u32);
    }

    fn trailer(&self) -> [u8; 8] {
        let (crc, length) = ((!self.crc).to_le_bytes(), self.length.to_le_bytes());
        let mut trailer = [0; 8];
        for (to, from) in trailer.iter_mut().zip(crc.into_iter().chain(length)) {
            *to = from;
        }
        trailer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use http_body_util::BodyExt;

    async fn compressed(frames: &[&[u8]]) -> Vec<Vec<u8>> {
        let frames: Vec<_> = frames
            .iter()
            .map(|frame| Ok::<_, io::Error>(Bytes::copy_from_slice(frame)))
            .collect();
        let body = Body::from_stream(stream::iter(frames));
        let room = Budget::new(1 << 20).reserve(COMPRESSOR_BYTES).unwrap();
        let mut body = Gzip::new(body, room);
        let mut pieces = Vec::new();
        while let Some(frame) = body.frame().await {
            pieces.push(frame.unwrap().into_data().unwrap().to_vec());
        }
        pieces
    }

    fn opened(gzip: &[u8]) -> Vec<u8> {
        assert_eq!(gzip[..10], GZIP_HEAD);
        let (deflated, trailer) = gzip[10..].split_at(gzip.len() - 18);
        let bytes = miniz_oxide::inflate::decompress_to_vec(deflated).unwrap();
        let mut sum = Sum::default();
        sum.add(&bytes);
        assert_eq!(trailer, sum.trailer());
        bytes
    }

    #[test]
    fn the_checksum_is_that_of_everybody_else() {
        let mut sum = Sum::default();
        sum.add(b"123456789");
        assert_eq!(!sum.crc, 0xcbf4_3926);
    }

    #[tokio::test]
    async fn what_is_compressed_opens_to_the_same_bytes_at_every_length() {
        let noise: Vec<u8> = (0..300_000_u64)
            .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8)
            .collect();
        let text = b"all work and no play ".repeat(20_000);
        for frames in [
            vec![],
            vec![&b""[..]],
            vec![b"a"],
            vec![b"a", b"", b"b"],
            vec![&noise[..STEP], &noise[..STEP + 1], &noise[..]],
            vec![&text[..], b"{", &noise[..1000], &text[..]],
        ] {
            let whole = opened(&compressed(&frames).await.concat());
            assert!(whole == frames.concat(), "{}", frames.len());
        }
        assert!(compressed(&[&text]).await.concat().len() < text.len() / 20);
    }

    #[tokio::test]
    async fn one_record_never_makes_another_shorter() {
        // The guesser's record is the last; the secret is in the one before it, and once it is what was guessed.
        let secret = b"{\"text\":\"your code is 815-4711-0042, tell nobody\"}".repeat(50);
        let other = b"{\"text\":\"my dear, the weather is fine here today!\"}".repeat(50);
        for (guess, same) in [(&secret, &secret), (&secret, &other)] {
            let alone = compressed(&[guess]).await;
            let beside = compressed(&[same, guess]).await;
            // After the head, which is in the first piece.
            assert_eq!(
                alone[0][10..],
                beside[1],
                "the same bytes, whatever stands before"
            );
        }
    }

    #[test]
    fn gzip_is_for_those_who_ask_for_it() {
        let takes = |value: &'static str| {
            takes_gzip(&HeaderMap::from_iter([(
                ACCEPT_ENCODING,
                HeaderValue::from_static(value),
            )]))
        };
        for value in ["gzip", "br, GZIP;q=0.5", "*", "identity, *;q=0.1", "x-gzip"] {
            assert!(takes(value), "{value}");
        }
        for value in ["", "br", "gzip;q=0", "*, gzip;q=0", "gzip;q=x", "*;q=0"] {
            assert!(!takes(value), "{value}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
