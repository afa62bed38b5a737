//! Programs of the machine that the build calls.
//!
//! Guarantees: each gets a known environment and nothing of the caller's besides what it needs to be found; what went
//! wrong is told with the end of what the program said, and a missing program with what to install.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A program about to be called.
#[derive(Debug)]
pub struct Tool {
    name: String,
    command: Command,
}

/// Where programs are found, and what their own state is. Read once, at the edge.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Names and values of variables that are passed on.
    pub variables: Vec<(String, String)>,
    /// Where built and fetched things are kept.
    pub cache: PathBuf,
}

/// The variables that are passed on: where programs are, and where Rust's own tools keep their state.
pub const PASSED_ON: [&str; 5] = [
    "PATH",
    "HOME",
    "CARGO_HOME",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
];

impl Tool {
    /// A program, by name or path.
    #[must_use]
    pub fn new(program: &Path, surroundings: &Surroundings) -> Self {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(surroundings.variables.iter().cloned())
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        Self {
            name: program.display().to_string(),
            command,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<std::ffi::OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it in a folder.
    #[must_use]
    pub fn within(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Calls it, and gives what it wrote to its standard output.
    ///
    /// # Errors
    /// [`ToolError`] when it is missing or fails.
    pub fn output(mut self) -> Result<String, ToolError> {
        let output = self.command.output();
        let output = output.map_err(|source| ToolError::from_start(&self.name, source))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(ToolError::Failed {
            tool: self.name,
            said: last_lines(&String::from_utf8_lossy(&said)),
        })
    }

    /// Calls it and lets it say what it does, on standard error.
    ///
    /// # Errors
    /// [`ToolError`] when it is missing or fails.
    pub fn run_aloud(mut self) -> Result<(), ToolError> {
        let status = self.command.stdout(io::stderr()).status();
        let status = status.map_err(|source| ToolError::from_start(&self.name, source))?;
        match status.success() {
            true => Ok(()),
            false => Err(ToolError::Failed {
                tool: self.name,
                said: "see above".to_owned(),
            }),
        }
    }
}

/// The end of what a program said, where the reason is.
fn last_lines(said: &str) -> String {
    let lines: Vec<&str> = said.lines().collect();
    lines
        .get(lines.len().saturating_sub(LAST_LINES)..)
        .unwrap_or_default()
        .join("\n")
}

const LAST_LINES: usize = 25;

/// A program of the machine did not do its part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ToolError {
    /// It is not installed.
    #[error("{tool} is not installed: {}", hint(tool))]
    Missing {
        /// Its name.
        tool: String,
    },
    /// It cannot be started.
    #[error("{tool} cannot be started")]
    Start {
        /// Its name.
        tool: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended with an error.
    #[error("{tool} failed: {said}")]
    Failed {
        /// Its name.
        tool: String,
        /// The end of what it said.
        said: String,
    },
}

impl ToolError {
    fn from_start(tool: &str, source: io::Error) -> Self {
        let tool = tool.to_owned();
        match source.kind() {
            ErrorKind::NotFound => Self::Missing { tool },
            _ => Self::Start { tool, source },
        }
    }
}

/// What to type.
fn hint(tool: &str) -> &'static str {
    match tool {
        "musl-gcc" => "apt-get install musl-tools",
        "cargo" | "rustc" | "rustup" => "see https://rustup.rs",
        "dpkg-query" | "dpkg-deb" => "images are built on Debian (a container will do)",
        _ => "apt-get install build-essential flex bison bc libelf-dev xz-utils musl-tools",
    }
}
