//! What a hardened thread cannot do, what its neighbour still can, and what it still must be able to do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use adyton_attest::attester::nsm::{NsmAttester, NsmDevice};
use adyton_node::harden::{self, Wall};

/// Runs on a hardened thread of its own.
fn hardened<T: Send>(test: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let run = || {
            let report = harden::thread().unwrap();
            assert!(report.no_new_privileges);
            if !report.forbids_writing() {
                eprintln!("NOTE: this kernel offers neither landlock nor seccomp");
            }
            test()
        };
        scope.spawn(run).join().unwrap()
    })
}

fn denied<T>(what: &str, result: io::Result<T>) {
    match result {
        Ok(_) => panic!("{what} was possible"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{what}: {error}"),
    }
}

/// Everything that could leave a trace in a folder that has a file `here` and a folder `sub`.
fn try_everything(folder: &Path) {
    let (here, new) = (folder.join("here"), folder.join("new"));
    denied("creating", File::create(&new));
    denied(
        "creating anew",
        OpenOptions::new().write(true).create_new(true).open(&new),
    );
    denied("overwriting", fs::write(&here, "x"));
    denied("appending", OpenOptions::new().append(true).open(&here));
    denied(
        "opening to write",
        OpenOptions::new().write(true).open(&here),
    );
    denied(
        "truncating",
        OpenOptions::new()
            .read(true)
            .write(true)
            .truncate(true)
            .open(&here),
    );
    denied(
        "an unnamed file",
        OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_TMPFILE)
            .open(folder),
    );
    denied("a folder", fs::create_dir(&new));
    denied("renaming", fs::rename(&here, &new));
    denied("linking", fs::hard_link(&here, &new));
    denied("a symbolic link", symlink(&here, &new));
    denied("removing", fs::remove_file(&here));
    denied("removing a folder", fs::remove_dir(folder.join("sub")));
    denied(
        "changing rights",
        fs::set_permissions(&here, fs::Permissions::from_mode(0o777)),
    );
    denied("a program", Command::new("/bin/true").status());
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("here"), "before").unwrap();
    fs::create_dir(folder.path().join("sub")).unwrap();
    folder
}

#[test]
fn a_hardened_thread_leaves_no_trace_on_disk() {
    let folder = folder();
    hardened(|| try_everything(folder.path()));
    let mut left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["here", "sub"]);
    assert_eq!(
        fs::read_to_string(folder.path().join("here")).unwrap(),
        "before"
    );
}

#[test]
fn the_threads_it_starts_are_as_hardened() {
    let folder = folder();
    hardened(|| {
        std::thread::scope(|scope| {
            scope
                .spawn(|| try_everything(folder.path()))
                .join()
                .unwrap()
        })
    });
}

/// What the kernel says about the thread of this name in this process.
fn status_of_thread(name: &str) -> Option<String> {
    fs::read_dir("/proc/self/task").unwrap().find_map(|task| {
        let task = task.unwrap().path();
        let comm = fs::read_to_string(task.join("comm")).ok()?;
        (comm.trim_end() == name).then(|| fs::read_to_string(task.join("status")).unwrap())
    })
}

#[test]
fn the_devices_thread_is_born_behind_the_walls() {
    // Any file stands for the device: what counts is that it was open before.
    let device = NsmDevice::from(File::open("/dev/null").unwrap());
    assert_eq!(status_of_thread("nsm"), None, "opening starts no thread");
    hardened(|| {
        let _attester = NsmAttester::start(device).unwrap();
        let named = || status_of_thread("nsm");
        let status = (0..1000).find_map(|_| {
            std::thread::yield_now();
            named()
        });
        let status = status.expect("it has no thread");
        assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
        assert!(status.contains("Seccomp:\t2\n"), "{status}");
    });
}

#[test]
fn its_neighbours_are_not_touched() {
    let folder = folder();
    let (hardened_now, wait) = std::sync::mpsc::channel();
    let (finish, finished) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            harden::thread().unwrap();
            hardened_now.send(()).unwrap();
            finished.recv().unwrap();
        });
        wait.recv().unwrap();
        fs::write(folder.path().join("new"), "x").unwrap();
        finish.send(()).unwrap();
    });
    assert!(folder.path().join("new").exists());
}

#[test]
fn it_can_still_read_and_talk() {
    let folder = folder();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    hardened(|| {
        assert_eq!(
            fs::read_to_string(folder.path().join("here")).unwrap(),
            "before"
        );
        assert!(fs::read_dir(folder.path()).unwrap().count() == 2);
        let mut out = TcpStream::connect(address).unwrap();
        let (mut incoming, _) = listener.accept().unwrap();
        out.write_all(b"hello").unwrap();
        let mut word = [0; 5];
        incoming.read_exact(&mut word).unwrap();
        assert_eq!(&word, b"hello");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let answer = runtime.block_on(async { tokio::spawn(async { 6 * 7 }).await.unwrap() });
        assert_eq!(answer, 42);
    });
}

#[test]
#[expect(unsafe_code, reason = "these system calls have no safe wrapper")]
fn system_calls_around_the_walls_are_refused() {
    hardened(|| {
        let calls: [(&str, i64, [u64; 2]); 9] = [
            ("ptrace", libc::SYS_ptrace, [0, 0]),
            ("process_vm_readv", libc::SYS_process_vm_readv, [0, 0]),
            ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0]),
            ("bpf", libc::SYS_bpf, [0, 0]),
            ("mount", libc::SYS_mount, [0, 0]),
            ("unshare", libc::SYS_unshare, [0, 0]),
            ("kexec_load", libc::SYS_kexec_load, [0, 0]),
            ("openat2", libc::SYS_openat2, [0, 0]),
            ("userfaultfd", libc::SYS_userfaultfd, [0, 0]),
        ];
        for (name, number, arguments) in calls {
            // SAFETY: zero or small arguments; with the filter none of these is carried out, without it each fails on
            // its null pointers or does nothing.
            let done = unsafe { libc::syscall(number, arguments[0], arguments[1], 0, 0, 0, 0) };
            let error = io::Error::last_os_error();
            assert_eq!(
                (done, error.raw_os_error()),
                (-1, Some(libc::EPERM)),
                "{name}"
            );
        }
    });
}

#[test]
fn hardening_twice_is_harmless() {
    hardened(|| {
        let again = harden::thread().unwrap();
        assert_eq!(again.seccomp, Wall::Whole);
    });
}

#[test]
fn the_process_cannot_be_dumped() {
    let report = harden::process().unwrap();
    assert!(report.no_core_dumps && report.not_dumpable);
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}

/// Child of the test below: panics with a secret in its message.
#[test]
fn child_that_panics() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the parent test says so by the environment"
    )]
    if std::env::var_os("ADYTON_TEST_PANIC").is_some() {
        harden::quiet_panics();
        panic!("the secret is {}", "canary-4711");
    }
}

#[test]
fn a_panic_says_where_and_never_what() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_panics", "--nocapture"])
        .env("ADYTON_TEST_PANIC", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr).into_owned()
        + &String::from_utf8_lossy(&child.stdout);
    assert!(
        said.contains("panic at crates/node/tests/harden.rs:"),
        "{said}"
    );
    assert!(!said.contains("canary-4711"), "{said}");
}
