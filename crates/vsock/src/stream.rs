//! A blocking vsock stream, for a program without a runtime.
//!
//! Guarantees: no write is larger than [`MAX_WRITE`]; every connect has a time limit.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::MAX_WRITE;
use crate::cid::HostCid;

/// How long one number of the host is waited for: on the wrong one, nobody ever answers.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection to the host.
#[derive(Debug)]
pub struct VsockStream(Socket);

impl VsockStream {
    /// Connects to a port of one machine.
    ///
    /// # Errors
    /// When there is no vsock, or nobody listens there, or it takes too long.
    pub fn connect(cid: u32, port: u32, timeout: Duration) -> io::Result<Self> {
        let socket = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
        socket.connect_timeout(&SockAddr::vsock(cid, port), timeout)?;
        Ok(Self(socket))
    }

    /// Connects to a port of the enclave's host, whatever its number is.
    ///
    /// # Errors
    /// The last candidate's.
    pub fn connect_host(host: &HostCid, port: u32) -> io::Result<Self> {
        let mut last = io::ErrorKind::AddrNotAvailable.into();
        for cid in host.candidates() {
            match Self::connect(cid, port, CONNECT_TIMEOUT) {
                Ok(stream) => {
                    host.learn(cid);
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Limits every read and every write.
    ///
    /// # Errors
    /// When the system does not take the limit.
    pub fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.0.set_read_timeout(Some(timeout))?;
        self.0.set_write_timeout(Some(timeout))
    }

    /// Says that nothing more will be written. The other side should close first.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn finish(&self) -> io::Result<()> {
        self.0.shutdown(Shutdown::Write)
    }
}

impl Read for VsockStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for VsockStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes.get(..MAX_WRITE).unwrap_or(bytes);
        self.0.write(piece)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
