//! What the boot says: a line on the console, and to the host if it listens.
//!
//! Guarantees: a host that does not listen, or does not read, delays the boot by half a second at most for each line.
//! Refuses to know anything personal: nothing personal is in the enclave yet.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use adyton_vsock::cid::HostCid;
use adyton_vsock::notice;
use adyton_vsock::port;
use adyton_vsock::stream::VsockStream;

/// Longest wait for a host that listens and does not take.
const PATIENCE: Duration = Duration::from_millis(500);

pub(crate) struct Notices {
    host: Option<VsockStream>,
}

impl Notices {
    /// As long as nobody else can be reached.
    pub(crate) fn to_console() -> Self {
        Self { host: None }
    }

    /// From now on the host hears it, too, if it wants to.
    pub(crate) fn reach(&mut self, host: &HostCid) {
        self.host = VsockStream::connect_host(host, port::NOTICES)
            .and_then(|stream| stream.set_timeout(PATIENCE).map(|()| stream))
            .ok();
    }

    /// One line.
    pub(crate) fn say(&mut self, text: &str) {
        let line = notice::line(text);
        // Nobody is left to tell if the console does not take it.
        let _ = std::io::stderr().write_all(line.as_bytes());
        let sent = self
            .host
            .as_mut()
            .map(|host| host.write_all(line.as_bytes()));
        if matches!(sent, Some(Err(_))) {
            self.host = None;
        }
    }

    /// The last line of an enclave that ends: what is on its way is lost with it, so this waits until the host has closed,
    /// or half a second.
    pub(crate) fn last(&mut self, text: &str) {
        self.say(text);
        if let Some(mut host) = self.host.take() {
            let _ = host.finish().and_then(|()| host.read(&mut [0]));
        }
    }
}
