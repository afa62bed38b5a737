//! The two programs of the image, built static and the same everywhere.
//!
//! Guarantees: dependencies are the locked ones; no path of the machine, no time, no user and no flag of the caller gets
//! into the programs. Refuses to know what the programs do.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::image::Programs;
use crate::progress::Progress;
use crate::tool::{Surroundings, Tool, ToolError};

/// Where programs are built from and into.
#[derive(Clone, Debug)]
pub struct Workshop {
    checkout: PathBuf,
    target: PathBuf,
    surroundings: Surroundings,
}

impl Workshop {
    /// A checkout of this repository, and the folder that its build goes to.
    ///
    /// # Errors
    /// [`ProgramError`] when the target for static programs is not installed.
    pub fn open(
        checkout: &Path,
        target: &Path,
        surroundings: &Surroundings,
    ) -> Result<Self, ProgramError> {
        let workshop = Self {
            checkout: checkout.to_owned(),
            target: target.to_owned(),
            surroundings: surroundings.clone(),
        };
        let libraries = workshop.sysroot()?.join("lib/rustlib").join(TARGET);
        if !libraries.exists() {
            return Err(ProgramError::NoTarget);
        }
        // Asked here, so that a missing one is told before minutes of compiling.
        workshop.tool("musl-gcc").args(["--version"]).output()?;
        Ok(workshop)
    }

    /// Builds both programs (minutes, the first time).
    ///
    /// # Errors
    /// [`ProgramError`] when one cannot be built.
    pub fn build(&self, progress: &mut Progress<'_>) -> Result<Programs, ProgramError> {
        // One after the other: together, one's features would become the other's.
        Ok(Programs {
            init: self.program("adyton-init", progress)?,
            node: self.program("adyton-node", progress)?,
        })
    }

    fn program(&self, package: &str, progress: &mut Progress<'_>) -> Result<Vec<u8>, ProgramError> {
        progress.say(&format!("{package}: building"));
        let maps = self.path_maps()?;
        let mut flags: Vec<String> = RUST_FLAGS.map(str::to_owned).to_vec();
        flags.extend(
            maps.iter()
                .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())),
        );
        let c_flags: Vec<String> = maps
            .iter()
            .map(|(from, to)| shell_word(&format!("-ffile-prefix-map={}={to}", from.display())))
            .collect();
        self.tool("cargo")
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            .env("CARGO_TARGET_DIR", &self.target)
            .env("CC_x86_64_unknown_linux_musl", "musl-gcc")
            .env("CFLAGS_x86_64_unknown_linux_musl", c_flags.join(" "))
            // A folder's name may have a space.
            .env("CC_SHELL_ESCAPED_FLAGS", "1")
            // The C library of the ciphers is built by the compiler alone, wherever CMake is installed.
            .env("AWS_LC_SYS_CMAKE_BUILDER", "0")
            .args([
                "build",
                "--locked",
                "--profile",
                PROFILE,
                "--target",
                TARGET,
            ])
            .args(["--package", package, "--bin", package])
            .run_aloud()?;
        let path = self.target.join(TARGET).join(PROFILE).join(package);
        fs::read(&path).map_err(|source| ProgramError::NotThere { path, source })
    }

    /// Folders of this machine, and what they are called in a program. The longest come first: the first that fits counts
    /// in C, the last in Rust, and none of them lies in another in a way that matters.
    fn path_maps(&self) -> Result<Vec<(PathBuf, &'static str)>, ProgramError> {
        let cargo = self.cargo_home();
        Ok(vec![
            (self.sysroot()?, "/rust"),
            (cargo, "/cargo"),
            (self.checkout.clone(), "/adyton"),
            (self.target.clone(), "/target"),
        ])
    }

    fn cargo_home(&self) -> PathBuf {
        let variable = |name: &str| {
            let mut all = self.surroundings.variables.iter();
            all.find(|(known, _)| known == name)
                .map(|(_, value)| PathBuf::from(value))
        };
        variable("CARGO_HOME")
            .or_else(|| variable("HOME").map(|home| home.join(".cargo")))
            .unwrap_or_else(|| PathBuf::from("/nonexistent"))
    }

    fn sysroot(&self) -> Result<PathBuf, ProgramError> {
        let printed = self.tool("rustc").args(["--print", "sysroot"]).output()?;
        Ok(PathBuf::from(printed.trim_end()))
    }

    fn tool(&self, name: &str) -> Tool {
        Tool::new(Path::new(name), &self.surroundings).within(&self.checkout)
    }
}

/// A text that a shell takes as one word.
fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Why a program cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProgramError {
    /// Rust's library for static programs is missing.
    #[error("the target {TARGET} is not installed: rustup target add {TARGET}")]
    NoTarget,
    /// A program of the machine.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// Cargo was content, and there is nothing.
    #[error("{} was not built", path.display())]
    NotThere {
        /// What should be there.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

const TARGET: &str = "x86_64-unknown-linux-musl";

/// A profile of the workspace's `Cargo.toml`.
const PROFILE: &str = "enclave";

/// A build id is a hash of paths, among other things.
const RUST_FLAGS: [&str; 1] = ["-Clink-arg=-Wl,--build-id=none"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_a_space_or_a_quote_stays_one_word() {
        assert_eq!(shell_word("-f=/a b=/c"), "'-f=/a b=/c'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
    }
}
