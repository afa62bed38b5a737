//! The host's side of an emulated enclave: unix sockets, as vhost-device-vsock and Firecracker have them. Who wants a
//! port of the enclave connects to `PATH`, writes `CONNECT <port>\n` and reads `OK <number>\n`.

use std::io;
use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// Longest `OK` line, with its end.
pub const MAX_OK: usize = 32;

/// The line that asks for a port.
#[must_use]
pub fn request(port: u32) -> String {
    format!("CONNECT {port}\n")
}

/// Whether a line, without its end, says that the connection stands.
#[must_use]
pub fn is_ok(line: &[u8]) -> bool {
    let number = line
        .strip_prefix(b"OK ")
        .and_then(|rest| str::from_utf8(rest).ok());
    number.is_some_and(|number| {
        number.bytes().all(|byte| byte.is_ascii_digit()) && number.parse::<u32>().is_ok()
    })
}

/// Connects to a port of the enclave. Without a limit on time: the caller sets one.
///
/// # Errors
/// When the emulator is not there or nobody listens on the port.
pub async fn connect(path: &Path, port: u32) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(path).await?;
    stream.write_all(request(port).as_bytes()).await?;
    // Byte by byte: what follows the line is the enclave's.
    let mut line = Vec::with_capacity(MAX_OK);
    loop {
        match stream.read_u8().await? {
            b'\n' => break,
            byte if line.len() < MAX_OK - 1 => line.push(byte),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    if is_ok(&line) {
        Ok(stream)
    } else {
        Err(io::ErrorKind::ConnectionRefused.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ok_is_a_word_and_a_number() {
        for line in ["OK 0", "OK 1073741824", "OK 4294967295"] {
            assert!(is_ok(line.as_bytes()), "{line}");
        }
        for line in [
            "",
            "OK",
            "OK ",
            "OK x",
            "OK +1",
            "OK 4294967296",
            "ok 1",
            "OK 1 ",
            "ERR 1",
        ] {
            assert!(!is_ok(line.as_bytes()), "{line}");
        }
    }
}
