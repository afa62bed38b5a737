//! The steps of the boot, each a type that only the step before can make.
//!
//! Guarantees: the node is started only on a machine that is closed, with randomness in the kernel and a configuration
//! that nobody can change. Refuses to know: what the configuration says (the node parses and measures it), and time.

use std::convert::Infallible;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::process::{self, Command, Stdio};
use std::time::Duration;

use adyton_vsock::cid::HostCid;
use adyton_vsock::configuration::{self, NoConfiguration};
use adyton_vsock::port::{self, HEARTBEAT_BYTE};
use adyton_vsock::stream::VsockStream;

use crate::kernel::{self, Limit, Mount};
use crate::nsm;

/// 0. Nothing has happened yet.
pub(crate) struct Machine(());

impl Machine {
    /// Who is not PID 1 has no business here: the steps change the whole machine.
    pub(crate) fn started_by_the_kernel() -> Result<Self, Refusal> {
        match process::id() {
            1 => Ok(Self(())),
            _ => Err(Refusal::NotFirst),
        }
    }

    /// Attaches `/dev` and `/proc`. The console is open: the kernel opened it before it started this program.
    pub(crate) fn mount(self) -> Result<Mounted, Refusal> {
        for mount in [&DEVICES, &PROCESSES] {
            kernel::mount(mount).map_err(Refusal::step("mount the file systems"))?;
        }
        Ok(Mounted(()))
    }
}

/// 1. Devices can be opened.
pub(crate) struct Mounted(());

impl Mounted {
    /// Says that the enclave lives: the host's tools wait for this.
    pub(crate) fn reach_host(self) -> Result<Reached, Refusal> {
        kernel::loopback_up().map_err(Refusal::step("bring up the loopback interface"))?;
        let host = HostCid::unknown();
        let beat = || {
            let mut stream = connect(&host, port::HEARTBEAT)?;
            stream.write_all(&[HEARTBEAT_BYTE])?;
            let mut answer = [0];
            stream.read_exact(&mut answer)?;
            match answer {
                [HEARTBEAT_BYTE] => Ok(()),
                _ => Err(ErrorKind::InvalidData.into()),
            }
        };
        beat().map_err(Refusal::step("hear the host's heartbeat"))?;
        Ok(Reached { host })
    }
}

/// 2. The host answers.
pub(crate) struct Reached {
    host: HostCid,
}

impl Reached {
    /// Where the host is.
    pub(crate) fn host(&self) -> &HostCid {
        &self.host
    }

    /// Feeds the module's randomness to the kernel. Nothing before it asks for any.
    pub(crate) fn seed(self) -> Result<Seeded, Refusal> {
        let seed = || {
            let module = OpenOptions::new()
                .read(true)
                .write(true)
                .open(nsm::DEVICE)?;
            let answer = kernel::ask_module(&module, nsm::GET_RANDOM, nsm::MAX_ANSWER)?;
            let random = nsm::randomness(&answer)
                .map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
            let kernel = OpenOptions::new().write(true).open("/dev/urandom")?;
            kernel::add_randomness(&kernel, random)
        };
        seed().map_err(Refusal::step("take randomness from the module"))?;
        Ok(Seeded { host: self.host })
    }
}

/// 3. The kernel has randomness that the host does not know.
pub(crate) struct Seeded {
    host: HostCid,
}

impl Seeded {
    /// Takes the configuration into memory that nobody can change any more.
    pub(crate) fn configure(self) -> Result<Configured, Refusal> {
        let mut stream = connect(&self.host, port::CONFIGURATION)
            .map_err(Refusal::step("reach the host for the configuration"))?;
        let text = configuration::read(&mut stream)?;
        let keep = || {
            let mut file = kernel::memory_file(c"configuration")?;
            file.write_all(text.as_bytes())?;
            kernel::seal(&file)?;
            Ok(file)
        };
        let configuration = keep().map_err(Refusal::step("keep the configuration"))?;
        Ok(Configured { configuration })
    }
}

/// 4. The configuration is here and will not change.
pub(crate) struct Configured {
    configuration: File,
}

impl Configured {
    /// Limits, settings, everything read-only, no root. Then tries what must not work any more.
    pub(crate) fn close(self) -> Result<Closed, Refusal> {
        let limits = || {
            kernel::limit(Limit::CoreBytes, 0)?;
            kernel::limit(Limit::OpenFiles, MAX_OPEN_FILES)
        };
        limits().map_err(Refusal::step("set limits"))?;
        for (name, value) in SETTINGS {
            fs::write(name, value).map_err(Refusal::step("set what the kernel forbids"))?;
        }
        // The node, and only it, asks the module.
        chown(nsm::DEVICE, Some(NODE_USER), Some(NODE_USER))
            .map_err(Refusal::step("give the module to the node"))?;
        for mount in [&DEVICES, &PROCESSES, &ROOT] {
            kernel::remount_read_only(mount)
                .map_err(Refusal::step("make the file systems read-only"))?;
        }
        for place in ["/file", "/dev/file"] {
            refused_to_write(File::create_new(place))?;
        }
        for (name, _) in SETTINGS {
            refused_to_write(OpenOptions::new().write(true).open(name))?;
        }
        kernel::become_user(NODE_USER).map_err(Refusal::step("give up root"))?;
        if kernel::can_become_root() {
            return Err(Refusal::Open);
        }
        Ok(Closed {
            configuration: self.configuration,
        })
    }
}

/// 5. Nothing can be written but memory.
pub(crate) struct Closed {
    configuration: File,
}

impl Closed {
    /// Becomes the node, with an empty environment. Comes back only if that is impossible.
    pub(crate) fn become_node(self) -> Result<Infallible, Refusal> {
        let configuration = format!("/proc/self/fd/{}", self.configuration.as_raw_fd());
        let error = Command::new(NODE)
            .args(["--config", &configuration])
            .env_clear()
            .stdin(Stdio::null())
            .exec();
        Err(Refusal::step("start the node")(error))
    }
}

/// A connection to the host; its program may start a little later than the enclave.
fn connect(host: &HostCid, port: u32) -> io::Result<VsockStream> {
    let mut tries = 1;
    let stream = loop {
        match VsockStream::connect_host(host, port) {
            Ok(stream) => break stream,
            Err(error) if tries == MAX_TRIES => return Err(error),
            Err(_) => tries += 1,
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the only thread of the first program, with nothing else to do"
        )]
        std::thread::sleep(BETWEEN_TRIES);
    };
    stream.set_timeout(PATIENCE)?;
    Ok(stream)
}

/// Only "read-only" will do: another error could be another reason, gone a moment later.
fn refused_to_write(tried: io::Result<File>) -> Result<(), Refusal> {
    match tried {
        Err(error) if error.kind() == ErrorKind::ReadOnlyFilesystem => Ok(()),
        _ => Err(Refusal::Open),
    }
}

/// Why the boot ends here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// Started on an ordinary machine.
    #[error("this is the first program of an enclave, and does nothing anywhere else")]
    NotFirst,
    /// The kernel or the host did not do its part.
    #[error("cannot {step}: {source}")]
    Step {
        /// Which.
        step: &'static str,
        /// What was said.
        source: io::Error,
    },
    /// What the host sent is no configuration.
    #[error("cannot take the configuration: {0}")]
    Configuration(#[from] NoConfiguration),
    /// A write or a way back to root was possible after it had been closed.
    #[error("the machine is not closed: something can still be changed")]
    Open,
}

impl Refusal {
    fn step(step: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self::Step { step, source }
    }
}

const DEVICES: Mount = Mount {
    kind: c"devtmpfs",
    at: c"/dev",
    flags: libc::MS_NOSUID | libc::MS_NOEXEC,
};

const PROCESSES: Mount = Mount {
    kind: c"proc",
    at: c"/proc",
    flags: libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC,
};

/// What the kernel unpacked the ramdisks into.
const ROOT: Mount = Mount {
    kind: c"rootfs",
    at: c"/",
    flags: libc::MS_NOSUID | libc::MS_NODEV,
};

/// No tracing of any process by any other, no addresses of the kernel, no log, no counters.
const SETTINGS: [(&str, &str); 4] = [
    ("/proc/sys/kernel/yama/ptrace_scope", "3"),
    ("/proc/sys/kernel/kptr_restrict", "2"),
    ("/proc/sys/kernel/dmesg_restrict", "1"),
    ("/proc/sys/kernel/perf_event_paranoid", "3"),
];

/// Each connection is one; the node has its own limit below.
const MAX_OPEN_FILES: u64 = 65_536;

/// Nobody: a user without a name.
const NODE_USER: u32 = 65_534;

const NODE: &str = "/adyton-node";

/// How long the host may take for each read and write.
const PATIENCE: Duration = Duration::from_secs(5);

const MAX_TRIES: u32 = 20;

const BETWEEN_TRIES: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_an_ordinary_machine_nothing_is_touched() {
        let refusal = Machine::started_by_the_kernel().err().unwrap();
        assert!(matches!(refusal, Refusal::NotFirst));
    }

    #[test]
    fn a_write_that_works_or_fails_for_another_reason_is_a_refusal() {
        let folder = tempfile::tempdir().unwrap();
        let works = File::create_new(folder.path().join("file"));
        assert!(matches!(refused_to_write(works), Err(Refusal::Open)));
        let other = Err(ErrorKind::PermissionDenied.into());
        assert!(matches!(refused_to_write(other), Err(Refusal::Open)));
        let read_only = Err(ErrorKind::ReadOnlyFilesystem.into());
        assert!(refused_to_write(read_only).is_ok());
    }

    #[test]
    fn a_kept_configuration_can_be_read_and_not_changed() {
        let mut file = kernel::memory_file(c"test").unwrap();
        file.write_all(b"listen").unwrap();
        kernel::seal(&file).unwrap();
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        assert_eq!(fs::read(&path).unwrap(), b"listen");
        assert!(file.write_all(b"more").is_err());
        assert!(file.set_len(0).is_err());
        assert!(fs::write(&path, "other").is_err());
    }
}
