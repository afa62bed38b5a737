//! Requests and answers as bytes: Binary HTTP, RFC 9292, in its known-length form.
//!
//! Guarantees: what is read is within its limits and in form; what is written is read back the same. Refuses to know:
//! what the fields mean, and the indeterminate-length form.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};

/// Most fields of a message.
const MAX_FIELDS: usize = 64;

/// Longest field section.
const MAX_FIELD_BYTES: usize = 32 * 1024;

/// Framing indicators, section 3.3.
const REQUEST: u64 = 0;
const RESPONSE: u64 = 1;

/// Reads a request. Its URI has scheme and authority; trailers are not taken.
///
/// # Errors
/// [`BinaryHttpError`] says what is not in form.
pub fn read_request(message: Bytes) -> Result<Request<Bytes>, BinaryHttpError> {
    let mut reader = Reader(message);
    if reader.number()? != REQUEST {
        return Err(BinaryHttpError::Framing);
    }
    let method = Method::from_bytes(&reader.text()?).map_err(|_| BinaryHttpError::Control)?;
    let (scheme, authority, path) = (reader.text()?, reader.text()?, reader.text()?);
    if !path.starts_with(b"/") {
        return Err(BinaryHttpError::Control);
    }
    let uri = Uri::builder()
        .scheme(scheme.as_ref())
        .authority(authority.as_ref())
        .path_and_query(path.as_ref());
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = method;
    *request.uri_mut() = uri.build().map_err(|_| BinaryHttpError::Control)?;
    *request.headers_mut() = reader.fields()?;
    *request.body_mut() = reader.content()?;
    Ok(request)
}

/// Writes a request to this authority.
///
/// # Errors
/// [`BinaryHttpError::Control`] if the URI has no scheme, authority or path.
pub fn write_request(request: &Request<Bytes>) -> Result<Vec<u8>, BinaryHttpError> {
    let uri = request.uri();
    let scheme = uri.scheme_str().ok_or(BinaryHttpError::Control)?;
    let authority = uri.authority().ok_or(BinaryHttpError::Control)?;
    let path = uri.path_and_query().ok_or(BinaryHttpError::Control)?;
    let mut out = Vec::new();
    number(&mut out, REQUEST);
    text(&mut out, request.method().as_str().as_bytes());
    text(&mut out, scheme.as_bytes());
    text(&mut out, authority.as_str().as_bytes());
    text(&mut out, path.as_str().as_bytes());
    fields(&mut out, request.headers());
    text(&mut out, request.body());
    Ok(out)
}

/// Reads a final answer. Informational answers before it are left out.
///
/// # Errors
/// [`BinaryHttpError`] says what is not in form.
pub fn read_response(message: Bytes) -> Result<Response<Bytes>, BinaryHttpError> {
    let mut reader = Reader(message);
    if reader.number()? != RESPONSE {
        return Err(BinaryHttpError::Framing);
    }
    loop {
        let status = reader.number()?;
        let status = u16::try_from(status).map_err(|_| BinaryHttpError::Control)?;
        let status = StatusCode::from_u16(status).map_err(|_| BinaryHttpError::Control)?;
        let headers = reader.fields()?;
        if !status.is_informational() {
            let mut response = Response::new(reader.content()?);
            *response.status_mut() = status;
            *response.headers_mut() = headers;
            return Ok(response);
        }
    }
}

/// Writes an answer.
#[must_use]
pub fn write_response(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + 1024);
    number(&mut out, RESPONSE);
    number(&mut out, status.as_u16().into());
    fields(&mut out, headers);
    text(&mut out, body);
    out
}

/// What is left of a message.
struct Reader(Bytes);

impl Reader {
    fn take(&mut self, bytes: usize) -> Result<Bytes, BinaryHttpError> {
        if bytes > self.0.len() {
            return Err(BinaryHttpError::Short);
        }
        Ok(self.0.split_to(bytes))
    }

    /// RFC 9000 section 16: the first two bits say how many bytes.
    fn number(&mut self) -> Result<u64, BinaryHttpError> {
        let first = *self.0.first().ok_or(BinaryHttpError::Short)?;
        let bytes = self.take(1 << (first >> 6))?;
        let whole = bytes
            .iter()
            .fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
        Ok(whole & (u64::MAX >> (66 - 8 * bytes.len())))
    }

    fn text(&mut self) -> Result<Bytes, BinaryHttpError> {
        let length = self.number()?;
        self.take(usize::try_from(length).map_err(|_| BinaryHttpError::Short)?)
    }

    /// Section 3.6. A message may end before any section (section 3.8).
    fn fields(&mut self) -> Result<HeaderMap, BinaryHttpError> {
        let mut headers = HeaderMap::new();
        if self.0.is_empty() {
            return Ok(headers);
        }
        let mut section = Reader(self.text()?);
        if section.0.len() > MAX_FIELD_BYTES {
            return Err(BinaryHttpError::Fields);
        }
        while !section.0.is_empty() {
            let name = section.text()?;
            // Lower case only, and no pseudo-header.
            if name.iter().any(u8::is_ascii_uppercase) {
                return Err(BinaryHttpError::Fields);
            }
            let name = HeaderName::from_bytes(&name).map_err(|_| BinaryHttpError::Fields)?;
            let value = HeaderValue::from_maybe_shared(section.text()?)
                .map_err(|_| BinaryHttpError::Fields)?;
            if headers.len() == MAX_FIELDS {
                return Err(BinaryHttpError::Fields);
            }
            headers.append(name, value);
        }
        Ok(headers)
    }

    /// Section 3.7, then trailers, which are empty, then padding, which is zeros.
    fn content(&mut self) -> Result<Bytes, BinaryHttpError> {
        if self.0.is_empty() {
            return Ok(Bytes::new());
        }
        let content = self.text()?;
        // An empty trailer section is a zero like the padding behind it.
        if self.0.iter().any(|byte| *byte != 0) {
            return Err(BinaryHttpError::Trailing);
        }
        Ok(content)
    }
}

fn number(out: &mut Vec<u8>, number: u64) {
    let bytes = number.to_be_bytes();
    let (prefix, length) = match number {
        0..0x40 => (0x00, 1),
        0x40..0x4000 => (0x40, 2),
        0x4000..0x4000_0000 => (0x80, 4),
        _ => (0xc0, 8),
    };
    let mut digits = bytes.iter().skip(bytes.len() - length);
    out.extend(digits.next().map(|first| first | prefix));
    out.extend(digits);
}

fn text(out: &mut Vec<u8>, text: &[u8]) {
    number(out, text.len() as u64);
    out.extend_from_slice(text);
}

fn fields(out: &mut Vec<u8>, headers: &HeaderMap) {
    let mut section = Vec::new();
    for (name, value) in headers {
        text(&mut section, name.as_str().as_bytes());
        text(&mut section, value.as_bytes());
    }
    text(out, &section);
}

/// Why bytes are no message. The fault is their writer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BinaryHttpError {
    /// Not the known-length form of the expected kind.
    #[error("not a binary http message of known length and of the expected kind")]
    Framing,
    /// It ends too early.
    #[error("the binary http message ends too early")]
    Short,
    /// Method, scheme, authority, path or status.
    #[error("the binary http message has no usable method and uri, or status")]
    Control,
    /// Too many, too long, or none.
    #[error("a field of the binary http message is malformed, or there are too many")]
    Fields,
    /// Trailers, or something else behind the content.
    #[error("the binary http message has something behind its content")]
    Trailing,
}

#[cfg(test)]
mod tests {
    use super::super::tests::hex;
    use super::*;

    #[test]
    fn the_shortest_messages_are_those_of_the_rfcs() {
        // RFC 9458 appendix A, both truncated as RFC 9292 section 3.8 allows.
        let request = hex("00034745540568747470730b6578616d706c652e636f6d012f");
        let request = read_request(request.into()).unwrap();
        assert_eq!(request.method(), Method::GET);
        assert_eq!(request.uri(), "https://example.com/");
        let response = read_response(hex("0140c8").into()).unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.headers().is_empty() && response.body().is_empty());
    }

    #[test]
    fn messages_are_read_back_as_written() {
        for body in ["", "hello", &"long ".repeat(30_000)] {
            let request = Request::put("https://node.example:8443/a/b?c=d")
                .header("x-api-key", "secret")
                .header("accept", "a")
                .header("accept", "b")
                .body(Bytes::from(body.to_owned()))
                .unwrap();
            let mut written = write_request(&request).unwrap();
            written.extend([0; 7]);
            let read = read_request(written.into()).unwrap();
            assert_eq!(read.method(), request.method());
            assert_eq!(read.uri(), request.uri());
            assert_eq!(read.headers(), request.headers());
            assert_eq!(read.body(), request.body());

            let written = write_response(StatusCode::CREATED, request.headers(), body.as_bytes());
            let read = read_response(written.into()).unwrap();
            assert_eq!(read.status(), StatusCode::CREATED);
            assert_eq!(read.headers(), request.headers());
            assert_eq!(read.body(), body);
        }
    }

    #[test]
    fn numbers_have_the_lengths_of_rfc_9000() {
        for (value, bytes) in [
            (37, "25"),
            (15_293, "7bbd"),
            (494_878_333, "9d7f3e7d"),
            (151_288_809_941_952_652, "c2197c5eff14e88c"),
        ] {
            let mut out = Vec::new();
            number(&mut out, value);
            assert_eq!(out, hex(bytes));
            assert_eq!(Reader(out.into()).number(), Ok(value));
        }
        assert_eq!(Reader(hex("4025").into()).number(), Ok(37));
    }

    #[test]
    fn what_is_out_of_form_is_refused() {
        let good = Request::get("https://h/")
            .header("a", "b")
            .body(Bytes::from("c"));
        let good = write_request(&good.unwrap()).unwrap();
        for length in 0..10 {
            let cut = Bytes::copy_from_slice(&good[..length]);
            assert!(read_request(cut).is_err(), "{length}");
        }
        let mut trailing = good.clone();
        trailing.extend(b"\0x");
        assert_eq!(
            read_request(trailing.into()).unwrap_err(),
            BinaryHttpError::Trailing
        );
        let mut indeterminate = good;
        indeterminate[0] = 2;
        assert_eq!(
            read_request(indeterminate.into()).unwrap_err(),
            BinaryHttpError::Framing
        );
        let message = |path: &[u8], name: &[u8], count: usize| {
            let mut out = vec![0];
            for part in [b"GET".as_slice(), b"https", b"h", path] {
                text(&mut out, part);
            }
            let mut section = Vec::new();
            for _ in 0..count {
                text(&mut section, name);
                text(&mut section, b"value");
            }
            text(&mut out, &section);
            read_request(out.into())
        };
        assert!(message(b"/", b"a", MAX_FIELDS).is_ok());
        for (path, name, count) in [
            (b"*".as_slice(), b"a".as_slice(), 1),
            (b"/", b"A", 1),
            (b"/", b":path", 1),
            (b"/", b"", 1),
            (b"/", b"a", MAX_FIELDS + 1),
            (b"/", &[b'a'; MAX_FIELD_BYTES], 1),
            (b"/ x", b"a", 1),
        ] {
            assert!(message(path, name, count).is_err());
        }
    }
}
