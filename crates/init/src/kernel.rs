//! Every request to the kernel that the standard library has no word for. The only `unsafe` of this crate.
//!
//! Guarantees: an error is the kernel's own; nothing here decides anything.

#![expect(
    unsafe_code,
    reason = "mounting, limits, identities and ioctls are system calls without a safe form in the standard library"
)]

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::ptr;

/// How a file system is attached.
pub(crate) struct Mount {
    pub(crate) kind: &'static CStr,
    pub(crate) at: &'static CStr,
    pub(crate) flags: libc::c_ulong,
}

/// Attaches a file system.
pub(crate) fn mount(mount: &Mount) -> io::Result<()> {
    call_mount(mount, mount.flags)
}

/// Makes what is attached read-only: the place and what lies beneath it.
pub(crate) fn remount_read_only(mount: &Mount) -> io::Result<()> {
    call_mount(mount, mount.flags | libc::MS_REMOUNT | libc::MS_RDONLY)
}

fn call_mount(mount: &Mount, flags: libc::c_ulong) -> io::Result<()> {
    // SAFETY: the three texts are static and end in zero; the file systems take no data, so it may be null.
    let done = unsafe {
        libc::mount(
            mount.kind.as_ptr(),
            mount.at.as_ptr(),
            mount.kind.as_ptr(),
            flags,
            ptr::null(),
        )
    };
    checked(done)
}

/// Brings the loopback interface up.
pub(crate) fn loopback_up() -> io::Result<()> {
    // SAFETY: plain numbers in, a descriptor or -1 out.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    checked(socket)?;
    // SAFETY: the descriptor is new, open, and belongs to nobody else.
    let socket = unsafe { File::from_raw_fd(socket) };
    // SAFETY: an ifreq is bytes and numbers, for which zeros are values.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (into, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *into = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is a whole ifreq with a name that ends in zero, and outlives the call.
    let done = unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as libc::Ioctl,
            &raw const request,
        )
    };
    checked(done)
}

/// One question to the Nitro Secure Module: `_IOWR(0x0A, 0, struct { iovec request; iovec response; })`.
pub(crate) fn ask_module(device: &File, question: &[u8], most: usize) -> io::Result<Vec<u8>> {
    #[repr(C)]
    struct Message {
        question: libc::iovec,
        answer: libc::iovec,
    }
    const ASK: u64 = (3 << 30) | ((size_of::<Message>() as u64) << 16) | (0x0A << 8);
    let mut answer = vec![0_u8; most];
    let mut message = Message {
        // The module only reads the question; an iovec has no const form.
        question: libc::iovec {
            iov_base: question.as_ptr().cast_mut().cast(),
            iov_len: question.len(),
        },
        answer: libc::iovec {
            iov_base: answer.as_mut_ptr().cast(),
            iov_len: answer.len(),
        },
    };
    // SAFETY: both buffers outlive the call and have the lengths that the iovecs say; the driver writes at most the
    // answer's length, and sets it to what it wrote.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), ASK as libc::Ioctl, &raw mut message) };
    checked(done)?;
    answer.truncate(message.answer.iov_len);
    Ok(answer)
}

/// Mixes bytes into the kernel's randomness and counts all of their bits (`RNDADDENTROPY`).
pub(crate) fn add_randomness(device: &File, bytes: &[u8]) -> io::Result<()> {
    /// `_IOW('R', 3, int[2])`.
    const ADD: u64 = (1 << 30) | (8 << 16) | (0x52 << 8) | 3;
    let numbers = [bytes.len() as u32 * 8, bytes.len() as u32];
    let mut pool: Vec<u8> = numbers.into_iter().flat_map(u32::to_ne_bytes).collect();
    pool.extend_from_slice(bytes);
    // SAFETY: the driver reads the two numbers and then as many bytes as the second says; they are all there, and it
    // reads bytes, which need no alignment.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), ADD as libc::Ioctl, pool.as_ptr()) };
    checked(done)
}

/// A file in memory that survives becoming another program.
pub(crate) fn memory_file(name: &CStr) -> io::Result<File> {
    // SAFETY: the name ends in zero; the flags are numbers.
    let descriptor =
        unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL) };
    checked(descriptor)?;
    // SAFETY: the descriptor is new, open, and belongs to nobody else.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

/// Not in every C library's header yet (`linux/memfd.h`).
const MFD_NOEXEC_SEAL: libc::c_uint = 8;

/// From now on nobody changes the file, nor this decision.
pub(crate) fn seal(file: &File) -> io::Result<()> {
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;
    // SAFETY: the descriptor is open as long as `file` is borrowed; the argument is a number.
    checked(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) })
}

/// A limit of this process and those that it becomes.
pub(crate) fn limit(what: Limit, to: u64) -> io::Result<()> {
    let resource = match what {
        Limit::CoreBytes => libc::RLIMIT_CORE,
        Limit::OpenFiles => libc::RLIMIT_NOFILE,
    };
    let limit = libc::rlimit {
        rlim_cur: to,
        rlim_max: to,
    };
    // SAFETY: the limit is valid for the length of the call.
    checked(unsafe { libc::setrlimit(resource, &raw const limit) })
}

/// What is limited.
#[derive(Clone, Copy)]
pub(crate) enum Limit {
    CoreBytes,
    OpenFiles,
}

/// Gives up root for good: no groups, another user, no way back through a program.
pub(crate) fn become_user(id: u32) -> io::Result<()> {
    // SAFETY: no groups are read from a null pointer when there are none; all other arguments are numbers.
    unsafe {
        checked(libc::setgroups(0, ptr::null()))?;
        checked(libc::setresgid(id, id, id))?;
        checked(libc::setresuid(id, id, id))?;
        checked(libc::prctl(
            libc::PR_SET_NO_NEW_PRIVS,
            1_u64,
            0_u64,
            0_u64,
            0_u64,
        ))
    }
}

/// Whether root could be had again.
pub(crate) fn can_become_root() -> bool {
    // SAFETY: numbers only; where it succeeds the boot is refused.
    unsafe { libc::setresuid(0, 0, 0) == 0 }
}

fn checked(done: libc::c_int) -> io::Result<()> {
    match done {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
