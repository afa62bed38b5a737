//! The process forbids itself what it never does, so that a bug cannot do it either.
//!
//! - [`process`]: no core dumps, not readable by other processes of the same user. For the whole process.
//! - [`thread`]: no file can be created, written, renamed or removed, no program started, no other process looked into.
//!   For the calling thread and all that it starts: call it before the runtime is built. (So a sandbox can hold a node
//!   and a storage node, which must write, in one process.)
//! - [`quiet_panics`]: a panic says where, never what: messages can hold data.
//!
//! Files that are open stay usable: open devices (the NSM) and standard streams before.
//!
//! Guarantees: what the report says is in force. Two walls, Landlock and seccomp: where the kernel lacks one, the other
//! still stands, and the report says so. Refuses to know: networks; the node needs them.

mod system_calls;

use std::fmt;
use std::io::Write as _;

use landlock::{ABI, AccessFs, LandlockStatus, Ruleset, RulesetAttr as _, RulesetStatus};

/// What is in force for the whole process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessHardening {
    /// The kernel writes no core file of it.
    pub no_core_dumps: bool,
    /// Others of the same user cannot attach to it or read its memory.
    pub not_dumpable: bool,
}

/// Forbids core dumps and looking in from outside.
///
/// # Errors
/// [`HardenError`] when the kernel refuses; a node must not start then.
pub fn process() -> Result<ProcessHardening, HardenError> {
    let none = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    #[expect(unsafe_code, reason = "setrlimit takes a pointer")]
    // SAFETY: `none` is a valid rlimit for the length of the call.
    let done = unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    check("core dumps", done)?;
    #[expect(unsafe_code, reason = "prctl is variadic")]
    // SAFETY: PR_SET_DUMPABLE takes one integer and no pointers.
    let done = unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0_u64, 0_u64, 0_u64, 0_u64) };
    check("dumpable", done)?;
    Ok(ProcessHardening {
        no_core_dumps: true,
        not_dumpable: true,
    })
}

/// What is in force for one thread and those it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadHardening {
    /// No program can give it more rights than it has.
    pub no_new_privileges: bool,
    /// Whether files are out of reach by Landlock.
    pub landlock: Wall,
    /// Whether system calls are filtered.
    pub seccomp: Wall,
}

impl ThreadHardening {
    /// Whether no file can be created or written, by at least one of the two walls.
    #[must_use]
    pub fn forbids_writing(&self) -> bool {
        self.landlock != Wall::Absent || self.seccomp != Wall::Absent
    }
}

/// How far the kernel offers a protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wall {
    /// All that was asked for.
    Whole,
    /// An older kernel: a part.
    Partial,
    /// The kernel does not have it.
    Absent,
}

/// Forbids writing files, starting programs and looking into other processes.
///
/// # Errors
/// [`HardenError`] when the kernel has a protection and refuses to put it in force; a node must not start then. A kernel
/// that lacks one is no error: the report says it.
pub fn thread() -> Result<ThreadHardening, HardenError> {
    #[expect(unsafe_code, reason = "prctl is variadic")]
    // SAFETY: PR_SET_NO_NEW_PRIVS takes integers and no pointers.
    let done = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1_u64, 0_u64, 0_u64, 0_u64) };
    check("no new privileges", done)?;
    // Landlock first: the filter forbids nothing that it needs, but the order costs nothing.
    let landlock = landlock()?;
    let seccomp = system_calls::forbid()?;
    Ok(ThreadHardening {
        no_new_privileges: true,
        landlock,
        seccomp,
    })
}

/// Everything that changes a file system, and starting programs, without any exception.
fn landlock() -> Result<Wall, HardenError> {
    let forbidden = AccessFs::from_write(ABI::V5) | AccessFs::Execute;
    let status = Ruleset::default()
        .handle_access(forbidden)
        .and_then(Ruleset::create)
        .and_then(landlock::RulesetCreated::restrict_self)
        .map_err(|error| HardenError::Landlock(Box::new(error)))?;
    Ok(match (status.landlock, status.ruleset) {
        (LandlockStatus::Available { .. }, RulesetStatus::FullyEnforced) => Wall::Whole,
        (LandlockStatus::Available { .. }, RulesetStatus::PartiallyEnforced) => Wall::Partial,
        (_, RulesetStatus::NotEnforced)
        | (LandlockStatus::NotEnabled | LandlockStatus::NotImplemented, _) => Wall::Absent,
    })
}

/// From now on a panic prints its file and line, and nothing of its message.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        // Nobody to tell if standard error is closed.
        let _ = match panic.location() {
            Some(at) => writeln!(std::io::stderr(), "panic at {}:{}", at.file(), at.line()),
            None => writeln!(std::io::stderr(), "panic"),
        };
    }));
}

fn check(what: &'static str, done: libc::c_int) -> Result<(), HardenError> {
    if done == 0 {
        Ok(())
    } else {
        Err(HardenError::Refused {
            what,
            source: std::io::Error::last_os_error(),
        })
    }
}

impl fmt::Display for ProcessHardening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "core dumps off: {}, memory closed to others: {}",
            self.no_core_dumps, self.not_dumpable
        )
    }
}

impl fmt::Display for ThreadHardening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "files and programs out of reach by landlock: {}, by seccomp: {}",
            self.landlock, self.seccomp
        )
    }
}

impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Whole => "yes",
            Self::Partial => "in part (older kernel)",
            Self::Absent => "no (the kernel does not have it)",
        })
    }
}

/// Why a protection is not in force. The fault is the kernel's, or that of what runs us.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HardenError {
    /// A limit or a flag.
    #[error("the kernel refuses to set: {what}")]
    Refused {
        /// Which.
        what: &'static str,
        /// What it said.
        #[source]
        source: std::io::Error,
    },
    /// Landlock is there and does not work.
    #[error("landlock cannot be put in force")]
    Landlock(#[source] Box<landlock::RulesetError>),
    /// Seccomp is there and does not work.
    #[error("the system call filter cannot be put in force")]
    Seccomp(#[source] Box<seccompiler::Error>),
}
