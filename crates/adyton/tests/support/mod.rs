//! The program as a person starts it.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// Runs `adyton` to its end.
pub(crate) fn adyton<'a>(folder: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Output {
    Command::new(env!("CARGO_BIN_EXE_adyton"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// What a command that worked printed.
pub(crate) fn stdout(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a command that worked printed, as JSON.
pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).unwrap()
}

/// What a command that did not work printed.
pub(crate) fn stderr(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A program that runs until it is told to end, or dropped.
pub(crate) struct Running {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
    /// Where it makes its temporary files, so that nothing stays of one that is killed.
    temporary: TempDir,
}

impl Running {
    /// Starts `adyton`.
    pub(crate) fn start<'a>(folder: &Path, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        Self::start_with(folder, arguments, Stdio::null())
    }

    /// The same, by somebody who goes on typing: see [`Self::type_line`].
    pub(crate) fn start_typing<'a>(
        folder: &Path,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        Self::start_with(folder, arguments, Stdio::piped())
    }

    fn start_with<'a>(
        folder: &Path,
        arguments: impl IntoIterator<Item = &'a str>,
        typed: Stdio,
    ) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_adyton"))
            .args(arguments)
            .current_dir(folder)
            .env("TMPDIR", temporary.path())
            .stdin(typed)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            out,
            temporary,
        }
    }

    /// Its next line. Ends with the program, and is then empty.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line
    }

    /// Types a line.
    pub(crate) fn type_line(&mut self, line: &str) {
        let typed = self.child.stdin.as_mut().unwrap();
        writeln!(typed, "{line}").unwrap();
    }

    /// Sends a signal, and waits for the end; returns how it ended and what it still said. Nothing temporary may stay.
    pub(crate) fn end(mut self, signal: &str) -> (ExitStatus, String) {
        let process = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &process]).status();
        assert!(sent.unwrap().success());
        let mut rest = String::new();
        self.out.read_to_string(&mut rest).unwrap();
        let status = self.child.wait().unwrap();
        let left = std::fs::read_dir(self.temporary.path()).unwrap().count();
        assert_eq!(left, 0, "temporary files stayed");
        (status, rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when it has ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
