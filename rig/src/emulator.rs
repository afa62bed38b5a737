//! A machine with a `nitro-enclave` in it, and the Unix sockets that lead to its vsock.
//!
//! [`Machine`] is a machine that is put together and not switched on: its host's side can take its places first.
//! [`Emulator`] runs until it is dropped, or its guest ends.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::console::Console;
use crate::monitor::{Monitor, MonitorError};
use crate::pki::{PkiError, TestPki};
use crate::tools::Tools;

/// The role of the machine around the enclave, whose hash is in PCR3.
pub const PARENT_ROLE: &str = "arn:aws:iam::000000000000:role/test-adyton-rig";

/// The name of the machine around the enclave, whose hash is in PCR4.
pub const PARENT_ID: &str = "i-00000000000000000";

/// The enclave's name in its documents.
pub const MODULE_ID: &str = "i-00000000000000000-enc0000000000000000";

/// What the hypervisor appends to the image's command line, which nobody measures (a real one appends its devices, too).
/// A kernel on KVM does not test the timer; this one, in software, would, and fail when the machine is busy. And hardware
/// is switched off through a keyboard controller, which this machine has not: a triple fault switches it off.
const APPENDED: &str = "no_timer_check reboot=t";

/// How long the programs may take to make their sockets.
const SOCKETS: Duration = Duration::from_secs(20);

/// What kind of machine.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    /// Its memory.
    pub memory_mib: u32,
    /// Whether documents are made as on hardware in debug mode: PCR0, PCR1 and PCR2 are zero.
    pub debug_mode: bool,
    /// How long the security module takes for an answer.
    pub module_delay: Duration,
    /// What the machine's own clock shows at the start (as QEMU's `-rtc base=` has it); none: the right time. The
    /// security module has its own.
    pub clock: Option<&'static str>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            memory_mib: 192,
            debug_mode: false,
            module_delay: Duration::ZERO,
            clock: None,
        }
    }
}

/// A machine that is not switched on: the place where its vsock will be is known.
#[derive(Debug)]
pub struct Prepared {
    machine: Machine,
    tools: Tools,
    folder: TempDir,
    bridge: Killed,
}

/// A running machine.
#[derive(Debug)]
pub struct Emulator {
    machine: Machine,
    folder: TempDir,
    _qemu: Killed,
    console: Console,
    began: Instant,
    /// Ends after the machine.
    _bridge: Killed,
}

impl Machine {
    /// Puts it together. `pki` signs its documents.
    ///
    /// # Errors
    /// [`EmulatorError`].
    pub fn prepare(self, tools: &Tools, pki: &TestPki) -> Result<Prepared, EmulatorError> {
        let folder = TempDir::with_prefix("adyton-rig.")?;
        let at = |name: &str| folder.path().join(name);
        pki.write(&at("pki"))?;
        let bridge = Command::new(tools.vsock_bridge())
            .args(["--guest-cid", "16"])
            .arg("--socket")
            .arg(at("bridge"))
            .arg("--uds-path")
            .arg(at("vsock"))
            .stdin(Stdio::null())
            .stdout(File::create(at("bridge.out"))?)
            .stderr(File::create(at("bridge.err"))?)
            .spawn()?;
        let bridge = Killed(bridge);
        appears(&at("bridge"))?;
        Ok(Prepared {
            machine: self,
            tools: tools.clone(),
            folder,
            bridge,
        })
    }
}

impl Prepared {
    /// The Unix socket that leads into the enclave (`CONNECT port`); with `_port` behind its name, the one at which
    /// the host is asked for.
    #[must_use]
    pub fn vsock(&self) -> PathBuf {
        self.folder.path().join("vsock")
    }

    /// Switches the machine on, with an image in it.
    ///
    /// # Errors
    /// [`EmulatorError`].
    pub fn boot(self, image: &Path) -> Result<Emulator, EmulatorError> {
        let Self {
            machine,
            tools,
            folder,
            bridge,
        } = self;
        let at = |name: &str| folder.path().join(name);
        let began = Instant::now();
        let module = "virtio-nsm-device";
        let mut qemu = Command::new(tools.qemu())
            .arg("-L")
            .arg(tools.firmware())
            .arg("-M")
            .arg(format!(
                "nitro-enclave,vsock=bridge,id={MODULE_ID},parent-role={PARENT_ROLE},parent-id={PARENT_ID},accel=tcg"
            ))
            .arg("-kernel")
            .arg(image)
            .args(["-append", APPENDED])
            .args(["-cpu", "max", "-smp", "1", "-nodefaults", "-no-reboot"])
            .args(["-display", "none", "-monitor", "none", "-serial", "stdio"])
            .args(["-m", &machine.memory_mib.to_string()])
            .args(["-rtc", &format!("base={}", machine.clock.unwrap_or("utc"))])
            .arg("-chardev")
            .arg(format!("socket,id=bridge,path={}", at("bridge").display()))
            .arg("-qmp")
            .arg(format!(
                "unix:{},server=on,wait=off",
                at("monitor").display()
            ))
            .arg("-plugin")
            .arg(format!(
                "{},out={}",
                tools.system_calls().display(),
                at("calls").display()
            ))
            .args(["-global", &format!("{module}.test-pki={}", at("pki").display())])
            .args(["-global", &format!("{module}.delay-ms={}", machine.module_delay.as_millis())])
            .args(["-global", &format!("{module}.debug-mode={}", if machine.debug_mode { "on" } else { "off" })])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(at("qemu.err"))?)
            .spawn()?;
        let console = qemu
            .stdout
            .take()
            .map(Console::read)
            .ok_or(io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(Emulator {
            machine,
            _qemu: Killed(qemu),
            folder,
            console,
            began,
            _bridge: bridge,
        })
    }
}

impl Emulator {
    /// What it prints.
    #[must_use]
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// How long it has been on.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Where the plugin writes what it sees; see [`crate::system_calls`].
    #[must_use]
    pub fn system_calls(&self) -> PathBuf {
        self.folder.path().join("calls")
    }

    /// What QEMU and the bridge themselves complained about.
    #[must_use]
    pub fn complaints(&self) -> String {
        let said = ["qemu.err", "bridge.err"]
            .map(|name| std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default());
        said.concat()
    }

    /// Its monitor.
    ///
    /// # Errors
    /// [`EmulatorError::Monitor`].
    pub fn monitor(&self) -> Result<Monitor, EmulatorError> {
        Ok(Monitor::connect(&self.folder.path().join("monitor"))?)
    }

    /// All of the guest's memory, read while it runs: a stopped machine stops the bridge's queues as well, and what is on its way in
    /// them then is lost, and with it every later connection.
    ///
    /// # Errors
    /// [`EmulatorError`].
    pub fn memory(&self) -> Result<Memory, EmulatorError> {
        let file = self.folder.path().join("memory");
        let mut monitor = self.monitor()?;
        monitor.save_memory(u64::from(self.machine.memory_mib) << 20, &file)?;
        let taken = Instant::now();
        let bytes = std::fs::read(&file)?;
        std::fs::remove_file(&file)?;
        Ok(Memory { bytes, taken })
    }

    /// Whether the guest ends by itself in this time.
    #[must_use]
    pub fn ends(&self, within: Duration) -> bool {
        self.console.ends(within)
    }
}

/// A guest's memory, as its hypervisor sees it.
pub struct Memory {
    /// From physical address 0 on.
    pub bytes: Vec<u8>,
    /// When the last of it was read.
    pub taken: Instant,
}

impl std::fmt::Debug for Memory {
    /// Says nothing of what is in it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Memory({} bytes)", self.bytes.len())
    }
}

/// A program that does not outlive its owner.
#[derive(Debug)]
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for a socket that a program makes.
fn appears(socket: &Path) -> Result<(), EmulatorError> {
    let began = Instant::now();
    while !socket.exists() {
        if began.elapsed() > SOCKETS {
            return Err(EmulatorError::NoSocket);
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    Ok(())
}

/// No machine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmulatorError {
    /// A program or file.
    #[error("the emulator cannot be started")]
    Start(#[from] io::Error),
    /// The keys of its security module.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The bridge of its vsock.
    #[error("the vsock bridge does not come up")]
    NoSocket,
    /// Its monitor.
    #[error(transparent)]
    Monitor(#[from] MonitorError),
}
