//! The system calls that a node never makes. They answer EPERM.
//!
//! Guarantees: everything on the list, on this architecture, and on x86-64 also under the numbers of its x32 twin.
//! A deny-list, because the allow-list of an async runtime and a C library changes with every version of either.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::{HardenError, Wall};

/// Looking into or steering other processes.
const OTHER_PROCESSES: &[i64] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
];

/// Starting programs.
const PROGRAMS: &[i64] = &[libc::SYS_execve, libc::SYS_execveat];

/// Doors around the filter: rings make system calls that no filter sees.
const RINGS: &[i64] = &[
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// The machine: kernel, modules, programs in the kernel, clocks, keys, swap.
const MACHINE: &[i64] = &[
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_bpf,
    libc::SYS_reboot,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
];

/// What is mounted where.
const MOUNTS: &[i64] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
];

/// Creating, changing and removing what a file system holds. (`openat2` hides its flags behind a pointer.)
const FILES: &[i64] = &[
    libc::SYS_openat2,
    libc::SYS_open_by_handle_at,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_unlinkat,
    libc::SYS_truncate,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_mq_open,
];

/// The same by the names that only older architectures have.
#[cfg(target_arch = "x86_64")]
const OLDER_FILES: &[i64] = &[
    libc::SYS_creat,
    libc::SYS_mkdir,
    libc::SYS_mknod,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_link,
    libc::SYS_symlink,
    libc::SYS_unlink,
    libc::SYS_rmdir,
    libc::SYS_chmod,
    libc::SYS_chown,
    libc::SYS_lchown,
    libc::SYS_utime,
    libc::SYS_utimes,
    libc::SYS_futimesat,
];

#[cfg(not(target_arch = "x86_64"))]
const OLDER_FILES: &[i64] = &[];

/// Opening a file with flags: the call's number, and which argument the flags are.
#[cfg(target_arch = "x86_64")]
const OPENING: &[(i64, u8)] = &[(libc::SYS_openat, 2), (libc::SYS_open, 1)];

#[cfg(not(target_arch = "x86_64"))]
const OPENING: &[(i64, u8)] = &[(libc::SYS_openat, 2)];

/// Flags with which opening creates or writes, as a mask and the value under it.
const WRITING: &[(i32, i32)] = &[
    (libc::O_CREAT, libc::O_CREAT),
    (libc::O_TRUNC, libc::O_TRUNC),
    // O_TMPFILE without the directory bit that it contains.
    (
        libc::O_TMPFILE & !libc::O_DIRECTORY,
        libc::O_TMPFILE & !libc::O_DIRECTORY,
    ),
    (libc::O_ACCMODE, libc::O_WRONLY),
    (libc::O_ACCMODE, libc::O_RDWR),
];

/// The bit that turns an x86-64 system call into its x32 twin, and the numbers that only x32 has.
#[cfg(target_arch = "x86_64")]
const X32: i64 = 0x4000_0000;
#[cfg(target_arch = "x86_64")]
const X32_ONLY: std::ops::RangeInclusive<i64> = 512..=547;

/// Puts the filter in force for this thread and those it starts.
pub(super) fn forbid() -> Result<Wall, HardenError> {
    let Ok(architecture) = TargetArch::try_from(std::env::consts::ARCH) else {
        return Ok(Wall::Absent);
    };
    if !offered() {
        return Ok(Wall::Absent);
    }
    let failed = |error| HardenError::Seccomp(Box::new(error));
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let rules = rules().map_err(|error| failed(error.into()))?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture);
    let program: BpfProgram = filter
        .and_then(TryInto::try_into)
        .map_err(|error| failed(error.into()))?;
    seccompiler::apply_filter(&program).map_err(failed)?;
    Ok(Wall::Whole)
}

/// Whether the kernel was built with filters: without, asking for the mode is an invalid argument.
fn offered() -> bool {
    #[expect(unsafe_code, reason = "prctl is variadic")]
    // SAFETY: PR_GET_SECCOMP takes no arguments.
    let mode = unsafe { libc::prctl(libc::PR_GET_SECCOMP) };
    mode >= 0
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let mut rules = BTreeMap::new();
    let always = [
        OTHER_PROCESSES,
        PROGRAMS,
        RINGS,
        MACHINE,
        MOUNTS,
        FILES,
        OLDER_FILES,
    ];
    rules.extend(always.into_iter().flatten().map(|call| (*call, Vec::new())));
    for (call, flags) in OPENING {
        let mut writing = Vec::new();
        for (mask, value) in WRITING {
            let compare = SeccompCmpOp::MaskedEq(u64::from(mask.unsigned_abs()));
            let value = u64::from(value.unsigned_abs());
            let condition = SeccompCondition::new(*flags, SeccompCmpArgLen::Dword, compare, value)?;
            writing.push(SeccompRule::new(vec![condition])?);
        }
        rules.insert(*call, writing);
    }
    #[cfg(target_arch = "x86_64")]
    {
        let twins: Vec<_> = rules
            .iter()
            .map(|(call, rules)| (call | X32, rules.clone()))
            .collect();
        rules.extend(twins);
        rules.extend(X32_ONLY.map(|call| (call | X32, Vec::new())));
    }
    Ok(rules)
}
