//! A vsock socket for the runtime, and a listener.
//!
//! The runtime knows TCP and unix sockets. A connected vsock behaves as a connected unix socket does (bytes, two
//! directions, half-close), and nobody asks it for its address: so it goes by that type. No unsafe code, no new crate.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdUnixStream;

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::cid;
use crate::paced::Paced;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// One end of the wire: a vsock, or a unix socket that an emulator connects to one. Writes are paced.
pub type Wire = Paced<UnixStream>;

/// Connects to a vsock port. Without a limit on time: the caller sets one.
///
/// # Errors
/// When there is no vsock or nobody answers.
pub async fn connect(cid: u32, port: u32) -> io::Result<UnixStream> {
    let socket = stream_socket()?;
    match socket.connect(&SockAddr::vsock(cid, port)) {
        Ok(()) => {}
        Err(error) if is_in_progress(&error) => {}
        Err(error) => return Err(error),
    }
    let stream = for_the_runtime(socket)?;
    stream.writable().await?;
    match stream.take_error()? {
        Some(error) => Err(error),
        None => Ok(stream),
    }
}

/// Waits for connections to a vsock port of this machine.
#[derive(Debug)]
pub struct VsockListener {
    socket: Socket,
    /// The same socket as the runtime watches it. Never read from or written to.
    watched: UnixStream,
}

impl VsockListener {
    /// Binds a port.
    ///
    /// # Errors
    /// When there is no vsock or the port is taken.
    pub fn bind(port: u32) -> io::Result<Self> {
        let socket = stream_socket()?;
        socket.bind(&SockAddr::vsock(cid::ANY, port))?;
        socket.listen(BACKLOG)?;
        let watched = for_the_runtime(socket.try_clone()?)?;
        Ok(Self { socket, watched })
    }

    /// The next connection, and the number of the machine that made it.
    ///
    /// # Errors
    /// When the system does not give one.
    pub async fn accept(&self) -> io::Result<(UnixStream, u32)> {
        let accept = || self.socket.accept();
        let (socket, peer) = self.watched.async_io(Interest::READABLE, accept).await?;
        socket.set_nonblocking(true)?;
        let cid = peer.as_vsock_address().map_or(cid::ANY, |(cid, _)| cid);
        Ok((for_the_runtime(socket)?, cid))
    }
}

fn stream_socket() -> io::Result<Socket> {
    let socket = Socket::new(Domain::VSOCK, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn for_the_runtime(socket: Socket) -> io::Result<UnixStream> {
    UnixStream::from_std(StdUnixStream::from(OwnedFd::from(socket)))
}

/// `EINPROGRESS`, which has no stable name in the standard library.
fn is_in_progress(error: &io::Error) -> bool {
    const EINPROGRESS: i32 = 115;
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(EINPROGRESS)
}
