//! A tap on an enclave's vsock: everything between the enclave and its host passes through here and is kept.
//!
//! What it keeps is all that an operator of the host could ever keep. It changes nothing unless it is told to, and its
//! two sides look like the bridge's: the host's program does not notice.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Most bytes that are kept of one port and direction.
const MAX_BYTES: usize = 256 << 20;

/// Who spoke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Speaker {
    /// The enclave.
    Enclave,
    /// Its host, or whoever is behind it.
    Host,
}

/// Which port, of whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Port {
    /// Any port of the enclave's.
    OfEnclave,
    /// One of the host's.
    OfHost(u32),
}

/// What was said, by port and speaker.
pub type Heard = BTreeMap<(Port, Speaker), Vec<u8>>;

/// A tap that is open until the process ends.
#[derive(Debug, Clone, Default)]
pub struct Tap {
    heard: Arc<Mutex<Heard>>,
    change: Arc<Mutex<Option<Change>>>,
}

/// A lie that an operator could tell: other bytes instead of some, as long as they are.
#[derive(Debug, Clone)]
pub struct Change {
    /// On which port.
    pub port: Port,
    /// To what was said by whom.
    pub speaker: Speaker,
    /// Looks at each piece, and may change it.
    pub change: fn(&mut [u8]),
}

impl Tap {
    /// Puts it between the bridge (whose socket is `bridge`) and the host's program, which is told `host` instead.
    ///
    /// # Errors
    /// When a socket cannot be made.
    pub fn between(bridge: &Path, host: &Path, host_ports: &[u32]) -> io::Result<Self> {
        let tap = Self::default();
        tap.relay(Port::OfEnclave, host, bridge.to_owned())?;
        for &port in host_ports {
            tap.relay(
                Port::OfHost(port),
                &with_port(bridge, port),
                with_port(host, port),
            )?;
        }
        Ok(tap)
    }

    /// From now on tells a lie, or the truth again.
    pub fn lie(&self, change: Option<Change>) {
        *self.change.lock().unwrap_or_else(PoisonError::into_inner) = change;
    }

    /// Everything that somebody said on a port so far.
    #[must_use]
    pub fn heard(&self, port: Port, speaker: Speaker) -> Vec<u8> {
        self.lock()
            .get(&(port, speaker))
            .cloned()
            .unwrap_or_default()
    }

    /// Everything so far, by port and speaker.
    #[must_use]
    pub fn everything(&self) -> Heard {
        self.lock().clone()
    }

    fn relay(&self, port: Port, from: &Path, to: PathBuf) -> io::Result<()> {
        let listener = UnixListener::bind(from)?;
        let tap = self.clone();
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                // Nobody there: the caller sees a closed connection, as it would without the tap.
                let Ok(far) = UnixStream::connect(&to) else {
                    continue;
                };
                let (asks, answers) = match port {
                    Port::OfEnclave => (Speaker::Host, Speaker::Enclave),
                    Port::OfHost(_) => (Speaker::Enclave, Speaker::Host),
                };
                tap.copy((port, asks), &near, &far);
                tap.copy((port, answers), &far, &near);
            }
        });
        Ok(())
    }

    fn copy(&self, who: (Port, Speaker), from: &UnixStream, to: &UnixStream) {
        let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else {
            return;
        };
        let tap = self.clone();
        thread::spawn(move || {
            // As large as the bridge takes: see adyton-vsock on writes.
            let mut piece = [0; 16 * 1024];
            while let Ok(length @ 1..) = from.read(&mut piece) {
                let bytes = piece.get_mut(..length).unwrap_or_default();
                tap.keep(who, bytes);
                tap.change(who, bytes);
                if to.write_all(bytes).is_err() {
                    break;
                }
            }
            // The other direction may still have something to say.
            let _ = to.shutdown(Shutdown::Write);
        });
    }

    fn change(&self, who: (Port, Speaker), bytes: &mut [u8]) {
        let change = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(change) = &*change
            && (change.port, change.speaker) == who
        {
            (change.change)(bytes);
        }
    }

    fn keep(&self, who: (Port, Speaker), bytes: &[u8]) {
        let mut heard = self.lock();
        let kept = heard.entry(who).or_default();
        if kept.len() < MAX_BYTES {
            kept.extend_from_slice(bytes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn with_port(socket: &Path, port: u32) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(format!("_{port}"));
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_talk_through_it_and_it_keeps_who_said_what() {
        let folder = tempfile::tempdir().unwrap();
        let (bridge, host) = (folder.path().join("bridge"), folder.path().join("host"));
        let tap = Tap::between(&bridge, &host, &[9000]).unwrap();
        let listener = UnixListener::bind(with_port(&host, 9000)).unwrap();
        let answering = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut said = String::new();
            stream.read_to_string(&mut said).unwrap();
            stream.write_all(b"pong").unwrap();
            said
        });
        let mut enclave = UnixStream::connect(with_port(&bridge, 9000)).unwrap();
        enclave.write_all(b"ping").unwrap();
        enclave.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        enclave.read_to_string(&mut answer).unwrap();
        assert_eq!(
            (answering.join().unwrap().as_str(), answer.as_str()),
            ("ping", "pong")
        );
        assert_eq!(tap.heard(Port::OfHost(9000), Speaker::Enclave), b"ping");
        assert_eq!(tap.heard(Port::OfHost(9000), Speaker::Host), b"pong");
        assert_eq!(tap.heard(Port::OfEnclave, Speaker::Host), b"");
    }
}
