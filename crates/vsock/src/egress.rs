//! How an enclave asks its host for a connection: `CONNECT address:port` of HTTP/1.1 (RFC 9110 §9.3.6), addresses only.
//! Names are never said: the host would answer them as it likes, and would learn them.
//!
//! Pure: bytes in, values out. Whoever reads from a stream stops at [`MAX_HEAD`].

use std::net::SocketAddr;

/// Longest request and longest answer, with the empty line that ends them.
pub const MAX_HEAD: usize = 512;

/// What ends a head.
pub const HEAD_END: &[u8] = b"\r\n\r\n";

/// The bytes that ask for a connection.
#[must_use]
pub fn request(to: SocketAddr) -> String {
    format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n")
}

/// What a host says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// From here on, bytes go to and from the address.
    Connected,
    /// It was no request.
    Malformed,
    /// The host does not connect to such addresses.
    Forbidden,
    /// Nobody answers there.
    Unreachable,
    /// The host has too many connections.
    Busy,
}

const ANSWERS: [(Answer, u16, &str); 5] = [
    (
        Answer::Connected,
        200,
        "HTTP/1.1 200 Connection established\r\n\r\n",
    ),
    (
        Answer::Malformed,
        400,
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        Answer::Forbidden,
        403,
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        Answer::Unreachable,
        502,
        "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        Answer::Busy,
        503,
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
    ),
];

impl Answer {
    /// The bytes that say it.
    #[must_use]
    pub fn head(self) -> &'static str {
        ANSWERS
            .iter()
            .find(|(answer, ..)| *answer == self)
            .map_or("", |(.., head)| head)
    }
}

/// The bytes are not what the protocol says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a message of the egress protocol")]
pub struct Malformed;

/// Where the head ends in what has arrived so far: the number of its bytes, the empty line included.
#[must_use]
pub fn head_end(arrived: &[u8]) -> Option<usize> {
    let at = arrived
        .windows(HEAD_END.len())
        .position(|window| window == HEAD_END)?;
    Some(at + HEAD_END.len())
}

/// Reads a request. The address stands in it as [`request`] writes it; headers are not looked at.
///
/// # Errors
/// [`Malformed`], also for a name in the place of an address, and for port 0.
pub fn parse_request(head: &[u8]) -> Result<SocketAddr, Malformed> {
    let line = first_line(head)?;
    let target = line
        .strip_prefix("CONNECT ")
        .and_then(|rest| rest.strip_suffix(" HTTP/1.1"))
        .ok_or(Malformed)?;
    let address: SocketAddr = target.parse().map_err(|_| Malformed)?;
    // One way of writing each: a zone (`%1`) is the host's own matter.
    if address.port() == 0 || address.to_string() != target || target.contains('%') {
        return Err(Malformed);
    }
    Ok(address)
}

/// Reads an answer.
///
/// # Errors
/// [`Malformed`], also for a status that [`Answer`] does not have.
pub fn parse_answer(head: &[u8]) -> Result<Answer, Malformed> {
    let line = first_line(head)?;
    let rest = line.strip_prefix("HTTP/1.1 ").ok_or(Malformed)?;
    let (status, _reason) = rest.split_once(' ').ok_or(Malformed)?;
    ANSWERS
        .iter()
        .find(|(_, number, _)| number.to_string() == status)
        .map(|(answer, ..)| *answer)
        .ok_or(Malformed)
}

fn first_line(head: &[u8]) -> Result<&str, Malformed> {
    if head.len() > MAX_HEAD || !head.ends_with(HEAD_END) {
        return Err(Malformed);
    }
    let text = str::from_utf8(head).map_err(|_| Malformed)?;
    text.split_once("\r\n")
        .map(|(line, _)| line)
        .ok_or(Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_says_what_was_asked() {
        for text in [
            "1.1.1.1:443",
            "127.0.0.1:5000",
            "[2606:4700::1111]:443",
            "[::1]:1",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(parse_request(request(address).as_bytes()), Ok(address));
        }
    }

    #[test]
    fn an_answer_says_what_was_answered() {
        for (answer, ..) in ANSWERS {
            assert_eq!(parse_answer(answer.head().as_bytes()), Ok(answer));
            assert!(answer.head().len() <= MAX_HEAD);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for line in [
            "",
            "GET / HTTP/1.1",
            "CONNECT example.com:443 HTTP/1.1",
            "CONNECT localhost:443 HTTP/1.1",
            "CONNECT 1.1.1.1 HTTP/1.1",
            "CONNECT 1.1.1.1:0 HTTP/1.1",
            "CONNECT 1.1.1.1:99999 HTTP/1.1",
            "CONNECT 1.1.1.1:0443 HTTP/1.1",
            "CONNECT 1.1.1.1:443 HTTP/1.0",
            "CONNECT  1.1.1.1:443 HTTP/1.1",
            "CONNECT [fe80::1%1]:443 HTTP/1.1",
            "connect 1.1.1.1:443 HTTP/1.1",
        ] {
            let head = format!("{line}\r\n\r\n");
            assert_eq!(parse_request(head.as_bytes()), Err(Malformed), "{line}");
        }
        let long = format!(
            "CONNECT 1.1.1.1:443 HTTP/1.1\r\nA: {}\r\n\r\n",
            "x".repeat(MAX_HEAD)
        );
        assert_eq!(parse_request(long.as_bytes()), Err(Malformed));
        for head in [
            "HTTP/1.1 200\r\n\r\n",
            "HTTP/1.1 302 Found\r\n\r\n",
            "HTTP/1.1 200 OK",
        ] {
            assert_eq!(parse_answer(head.as_bytes()), Err(Malformed), "{head}");
        }
    }

    #[test]
    fn the_end_of_a_head_is_found_and_what_follows_is_left() {
        assert_eq!(head_end(b"a\r\n\r\nrest"), Some(5));
        assert_eq!(head_end(b"a\r\n\r"), None);
    }
}
