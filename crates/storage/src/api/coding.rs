//! Content codings (RFC 9110 §8.4): answers in gzip or zstd for those who name it, bodies of requests out of them.
//!
//! Guarantees: at most [`MAX_CODED_ANSWERS`] answers are coded at one time, each with a window of bounded size (RFC 9659); a body is
//! decoded under the limit of its size. An answer with an entity tag is told as it is: the tag is the revision, which clients read
//! from there, and it would not be that in a coding (RFC 9110 §8.8.3.3). So is a feed that waits: thousands wait, without memory.
//!
//! Refuses to know: whether lengths may tell anything. Who may be answered in a coding is the caller's to say.

use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;

use adyton_couch::wire::{CouchError, ErrorKind};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt};
use http::header::{self, HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::reply::{self, Reply, ReplyBody};
use crate::server::body::{BodyRefusal, RequestBody};
use crate::store::{StoreError, blocking};

/// Answers that are coded at one time; what is more is told as it is. A context takes up to 1.5 MiB.
const MAX_CODED_ANSWERS: usize = 32;
/// Shorter answers are told as they are.
const LEAST_BYTES: u64 = 1 << 10;
/// Larger pieces are coded on a thread that may take its time.
const PIECE_BYTES: usize = 16 << 10;
/// Fast: what is stored is mostly ciphertext, of which only the base64 can be saved.
const GZIP_LEVEL: u32 = 1;
const ZSTD_LEVEL: i32 = 1;
/// 512 KiB.
const ZSTD_WINDOW_LOG: u32 = 19;
/// 8 MiB, the largest window that a body may want (RFC 9659 §3).
const MAX_ZSTD_WINDOW_LOG: u32 = 23;

/// How bytes are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    /// They are not.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// Said of an answer that is told as it is, however it may be asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AsItIs;

impl Coding {
    /// The coding that a reader likes best, of those that his `Accept-Encoding` names (RFC 9110 §12.5.3); of equals zstd.
    pub(crate) fn accepted(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT_ENCODING).iter();
        let named = values.filter_map(|value| value.to_str().ok());
        let (mut best, mut most) = (Self::Identity, 0);
        for member in named.flat_map(|value| value.split(',')) {
            let (name, parameter) = member.split_once(';').unwrap_or((member, "q=1"));
            let (Some(coding), Some(weight)) = (Self::named(name.trim()), weight(parameter)) else {
                continue;
            };
            if weight > most || (weight == most && weight > 0 && coding.rank() > best.rank()) {
                (best, most) = (coding, weight);
            }
        }
        best
    }

    /// The coding of a request's body. What we do not read is refused, as by CouchDB.
    pub(crate) fn of_body(headers: &HeaderMap) -> Result<Self, CouchError> {
        let Some(value) = headers.get(header::CONTENT_ENCODING) else {
            return Ok(Self::Identity);
        };
        let named = value
            .to_str()
            .ok()
            .and_then(|name| Self::named(name.trim()));
        named.ok_or(CouchError::new(
            ErrorKind::BadContentType,
            "Only the content-encodings gzip, zstd and identity are supported",
        ))
    }

    fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Self::Identity),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    fn rank(self) -> u8 {
        match self {
            Self::Identity => 0,
            Self::Gzip => 1,
            Self::Zstd => 2,
        }
    }

    /// Decodes a body that is no longer than `limit` then, either.
    pub(crate) async fn decode(
        self,
        body: RequestBody,
        limit: usize,
    ) -> Result<RequestBody, crate::databases::DatabaseError> {
        let decoded = blocking(move || {
            let decoder = self.decoder(body.as_slice());
            Ok(decoder.and_then(|decoder| body.decoded(decoder, limit)))
        });
        let decoded = decoded.await?;
        Ok(decoded.map_err(|refusal| match refusal {
            BodyRefusal::Broken => {
                CouchError::bad_request("The request body is not coded as it is said to be.")
            }
            BodyRefusal::TooLarge | BodyRefusal::Overloaded | BodyRefusal::Stalled => {
                reply::couch_refusal(refusal)
            }
        })?)
    }

    fn decoder(self, bytes: &[u8]) -> Result<Box<dyn Read + '_>, BodyRefusal> {
        Ok(match self {
            Self::Identity => Box::new(bytes),
            Self::Gzip => Box::new(MultiGzDecoder::new(bytes)),
            Self::Zstd => {
                let broken = |_: io::Error| BodyRefusal::Broken;
                let bytes = BufReader::new(bytes);
                let mut decoder = zstd::Decoder::with_buffer(bytes).map_err(broken)?;
                decoder
                    .window_log_max(MAX_ZSTD_WINDOW_LOG)
                    .map_err(broken)?;
                Box::new(decoder)
            }
        })
    }
}

/// A weight in thousandths (RFC 9110 §12.4.2): `q=0.5`, with at most three decimals.
fn weight(parameter: &str) -> Option<u16> {
    let parameter = parameter.trim();
    let value = parameter
        .strip_prefix("q=")
        .or_else(|| parameter.strip_prefix("Q="))?;
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{decimals:0<3}").parse().ok()?;
    match (whole, thousandths) {
        ("0", thousandths) => Some(thousandths),
        ("1", 0) => Some(1_000),
        _ => None,
    }
}

/// Codes answers, so many at one time.
#[derive(Debug, Clone)]
pub(crate) struct Coder {
    contexts: Arc<Semaphore>,
}

impl Default for Coder {
    fn default() -> Self {
        Self {
            contexts: Arc::new(Semaphore::new(MAX_CODED_ANSWERS)),
        }
    }
}

impl Coder {
    /// The answer in the coding that the caller may be answered in, if any.
    pub(crate) fn code_if(&self, reply: Reply, coding: Option<Coding>) -> Reply {
        match coding {
            Some(coding) => self.code(reply, coding),
            None => reply,
        }
    }

    /// The answer in a coding, if it gains by it and there is room.
    fn code(&self, mut reply: Reply, coding: Coding) -> Reply {
        if !is_codable(&reply) {
            return reply;
        }
        let varies = HeaderValue::from_static("accept-encoding");
        reply.headers_mut().append(header::VARY, varies);
        let (Some(encoder), Ok(place)) = (
            Encoder::new(coding),
            Arc::clone(&self.contexts).try_acquire_owned(),
        ) else {
            return reply;
        };
        let headers = reply.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_ENCODING, encoder.name());
        reply.map(|body| {
            let coded = coded(body, encoder, place);
            StreamBody::new(coded.map(|piece| piece.map(Frame::data))).boxed_unsync()
        })
    }
}

/// Whether an answer is text of ours, long enough, that has no entity tag and does not wait.
fn is_codable(reply: &Reply) -> bool {
    let headers = reply.headers();
    let length = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .or_else(|| http_body::Body::size_hint(reply.body()).exact());
    reply.status().is_success()
        && reply.extensions().get::<AsItIs>().is_none()
        && headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
            let kind = kind.as_bytes();
            kind == reply::JSON.as_bytes() || kind.starts_with(b"multipart/")
        })
        && !headers.contains_key(header::ETAG)
        && !headers.contains_key(header::CONTENT_ENCODING)
        && length.is_none_or(|length| length >= LEAST_BYTES)
}

/// A coding under way.
enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    fn new(coding: Coding) -> Option<Self> {
        match coding {
            Coding::Identity => None,
            Coding::Gzip => {
                let level = flate2::Compression::new(GZIP_LEVEL);
                Some(Self::Gzip(GzEncoder::new(Vec::new(), level)))
            }
            Coding::Zstd => {
                let mut encoder = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL).ok()?;
                encoder.window_log(ZSTD_WINDOW_LOG).ok()?;
                Some(Self::Zstd(encoder))
            }
        }
    }

    fn name(&self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Gzip(_) => "gzip",
            Self::Zstd(_) => "zstd",
        })
    }

    /// What comes of a further piece; often nothing yet.
    fn write(&mut self, piece: &[u8]) -> io::Result<Bytes> {
        let out = match self {
            Self::Gzip(encoder) => {
                encoder.write_all(piece)?;
                encoder.get_mut()
            }
            Self::Zstd(encoder) => {
                encoder.write_all(piece)?;
                encoder.get_mut()
            }
        };
        Ok(std::mem::take(out).into())
    }

    fn finish(self) -> io::Result<Bytes> {
        Ok(match self {
            Self::Gzip(encoder) => encoder.finish()?.into(),
            Self::Zstd(encoder) => encoder.finish()?.into(),
        })
    }
}

/// A body, coded while it is sent. An error ends it without its end, so that nobody takes a part for the whole.
fn coded(
    body: ReplyBody,
    encoder: Encoder,
    place: OwnedSemaphorePermit,
) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + 'static {
    unfold(Some((body, encoder, place)), |state| async move {
        let (mut body, mut encoder, place) = state?;
        loop {
            let piece = match body.frame().await {
                None => return Some((encoder.finish().map_err(StoreError::from), None)),
                Some(Err(error)) => return Some((Err(error), None)),
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            };
            let made = if piece.len() < PIECE_BYTES {
                encoder.write(&piece).map_err(StoreError::from)
            } else {
                let work = blocking(move || {
                    let made = encoder.write(&piece)?;
                    Ok((encoder, made))
                });
                match work.await {
                    Ok((again, made)) => {
                        encoder = again;
                        Ok(made)
                    }
                    Err(error) => return Some((Err(error), None)),
                }
            };
            match made {
                Ok(made) if made.is_empty() => {}
                Ok(made) => return Some((Ok(made), Some((body, encoder, place)))),
                Err(error) => return Some((Err(error), None)),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    fn accepted(value: &str) -> Coding {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, value.parse().unwrap());
        Coding::accepted(&headers)
    }

    #[test]
    fn the_reader_says_which_coding_he_likes_best() {
        use Coding::{Gzip, Identity, Zstd};
        for (value, expected) in [
            ("gzip", Gzip),
            ("gzip, deflate, br", Gzip),
            ("gzip, deflate, br, zstd", Zstd),
            ("zstd;q=0.5, gzip;q=0.8", Gzip),
            ("gzip;q=0.8 , zstd; q=0.801", Zstd),
            ("X-GZIP", Gzip),
            ("gzip;q=0", Identity),
            ("identity;q=1, gzip;q=0.5", Identity),
            ("identity;q=0.5, gzip;q=0.6", Gzip),
            ("*", Identity),
            ("br", Identity),
            ("", Identity),
            ("gzip;q=2", Identity),
            ("gzip;q=0.0001", Identity),
            ("gzip;level=1", Identity),
        ] {
            assert_eq!(accepted(value), expected, "{value}");
        }
        assert_eq!(Coding::accepted(&HeaderMap::new()), Identity);
    }

    #[test]
    fn a_body_in_another_coding_is_refused() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_ENCODING, value.parse().unwrap());
            Coding::of_body(&headers).map_err(|refusal| refusal.kind)
        };
        assert_eq!(of("gzip"), Ok(Coding::Gzip));
        assert_eq!(of("zstd"), Ok(Coding::Zstd));
        assert_eq!(of("identity"), Ok(Coding::Identity));
        assert_eq!(of("br"), Err(ErrorKind::BadContentType));
        assert_eq!(of("gzip, gzip"), Err(ErrorKind::BadContentType));
    }

    fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut decoder = coding.decoder(bytes).unwrap();
        decoder.read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn whatever_is_coded_is_decoded_to_the_same_however_it_is_cut() {
        bolero::check!()
            .with_type::<Vec<Vec<u8>>>()
            .for_each(|pieces: &Vec<Vec<u8>>| {
                for coding in [Coding::Gzip, Coding::Zstd] {
                    let mut encoder = Encoder::new(coding).unwrap();
                    let mut made = Vec::new();
                    for piece in pieces {
                        made.extend_from_slice(&encoder.write(piece).unwrap());
                    }
                    made.extend_from_slice(&encoder.finish().unwrap());
                    assert_eq!(decoded(coding, &made), pieces.concat());
                }
            });
    }

    #[test]
    fn any_bytes_are_decoded_or_refused() {
        bolero::check!().for_each(|bytes: &[u8]| {
            for coding in [Coding::Gzip, Coding::Zstd] {
                let mut out = Vec::new();
                if let Ok(decoder) = coding.decoder(bytes) {
                    let _read = decoder.take(1 << 20).read_to_end(&mut out);
                }
                assert!(out.len() <= 1 << 20);
            }
        });
    }

    #[test]
    fn a_frame_that_wants_a_larger_window_is_refused() {
        let with_window = |log| {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(b"hello").unwrap();
            encoder.finish().unwrap()
        };
        let read = |bytes: Vec<u8>| {
            let mut out = Vec::new();
            let mut decoder = Coding::Zstd.decoder(&bytes).unwrap();
            decoder.read_to_end(&mut out).map(|_| out).ok()
        };
        assert_eq!(read(with_window(MAX_ZSTD_WINDOW_LOG)).unwrap(), b"hello");
        assert_eq!(read(with_window(MAX_ZSTD_WINDOW_LOG + 1)), None);
    }

    fn long() -> Reply {
        reply::bytes(StatusCode::OK, reply::JSON, vec![b'0'; 9_000])
    }

    #[tokio::test]
    async fn so_many_answers_are_coded_at_one_time_and_the_others_are_told_as_they_are() {
        let coder = Coder::default();
        let mut held = Vec::new();
        for _ in 0..MAX_CODED_ANSWERS {
            let reply = coder.code(long(), Coding::Zstd);
            assert!(reply.headers().contains_key(header::CONTENT_ENCODING));
            held.push(reply);
        }
        let plain = coder.code(long(), Coding::Zstd);
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
        assert_eq!(plain.headers()[header::VARY], "accept-encoding");
        held.pop();
        let reply = coder.code(long(), Coding::Zstd);
        let body = reply.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(decoded(Coding::Zstd, &body), vec![b'0'; 9_000]);
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_has_no_end_in_a_coding_either() {
        let pieces = [Ok(Bytes::from_static(b"[1,")), Err(StoreError::Closed)];
        let reply = reply::stream(futures_util::stream::iter(pieces));
        let coded = Coder::default().code(reply, Coding::Gzip);
        assert!(coded.into_body().collect().await.is_err());
    }

    #[test]
    fn what_has_an_entity_tag_or_waits_or_is_short_is_told_as_it_is() {
        let mut tagged = long();
        tagged
            .headers_mut()
            .insert(header::ETAG, HeaderValue::from_static("\"1-a\""));
        let mut waiting = long();
        waiting.extensions_mut().insert(AsItIs);
        let short = reply::bytes(StatusCode::OK, reply::JSON, vec![b'0'; 1_023]);
        let failed = reply::bytes(StatusCode::NOT_FOUND, reply::JSON, vec![b'0'; 9_000]);
        let other = reply::bytes(StatusCode::OK, "text/html", vec![b'0'; 9_000]);
        for reply in [tagged, waiting, short, failed, other] {
            let told = Coder::default().code(reply, Coding::Zstd);
            assert!(!told.headers().contains_key(header::CONTENT_ENCODING));
            assert!(!told.headers().contains_key(header::VARY));
        }
    }
}
