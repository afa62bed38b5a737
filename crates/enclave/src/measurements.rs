//! `measurements.json`: what an image measures, and what it was made of.
//!
//! Guarantees: the same inputs and tools give the same text. Whoever rebuilds compares PCR0, 1 and 2; where they
//! differ, the inputs and tools say which side changed what.

use std::path::Path;

use serde::Serialize;

use crate::digest::Sha256Hex;
use crate::image;
use crate::measure::Measurements;
use crate::tool::{Surroundings, Tool, ToolError};

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The version of this format.
    pub version: u32,
    /// The image's name and version.
    pub name: String,
    /// The file.
    pub image: FileRecord,
    /// Its registers.
    pub measurements: Measurements,
    /// What it was made of.
    pub inputs: Inputs,
    /// What it was made with.
    pub tools: Tools,
}

/// A file, by content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileRecord {
    /// Its hash.
    pub sha256: Sha256Hex,
    /// Its length.
    pub bytes: usize,
}

impl FileRecord {
    /// Of a file's bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self {
            sha256: Sha256Hex::of(bytes),
            bytes: bytes.len(),
        }
    }
}

/// Everything that goes into an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Inputs {
    /// The package of the kernel's source, by its name in the archive.
    pub kernel_source: NamedHash,
    /// The kernel's configuration.
    pub kernel_fragment: Sha256Hex,
    /// The built kernel.
    pub kernel: FileRecord,
    /// The kernel's command line.
    pub cmdline: &'static str,
    /// The first program.
    pub init: FileRecord,
    /// The node.
    pub node: FileRecord,
    /// `Cargo.lock`: every dependency and its hash.
    pub cargo_lock: Sha256Hex,
}

/// A file of somebody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NamedHash {
    /// Its name.
    pub file: String,
    /// Its hash.
    pub sha256: Sha256Hex,
}

/// The compilers. Others of the same version give the same image; other versions may give another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tools {
    /// `rustc --version`.
    pub rustc: String,
    /// Debian packages with their versions, sorted by name.
    pub packages: Vec<String>,
}

impl Tools {
    /// Those of this machine.
    ///
    /// # Errors
    /// [`ToolError`] when one cannot be asked.
    pub fn of_machine(checkout: &Path, surroundings: &Surroundings) -> Result<Self, ToolError> {
        let ask = |program: &str, args: &[&str]| {
            Tool::new(Path::new(program), surroundings)
                .within(checkout)
                .args(args)
                .output()
        };
        let major = ask("gcc", &["-dumpversion"])?;
        let compiler = format!("gcc-{}", major.split('.').next().unwrap_or_default().trim());
        let mut query = vec!["--show", "--showformat=${Package} ${Version}\n", &*compiler];
        query.extend(PACKAGES);
        let mut packages: Vec<String> = ask("dpkg-query", &query)?
            .lines()
            .map(str::to_owned)
            .collect();
        packages.sort();
        Ok(Self {
            rustc: ask("rustc", &["--version"])?.trim_end().to_owned(),
            packages,
        })
    }
}

impl Record {
    /// The version of the format that is written.
    pub const VERSION: u32 = 1;

    /// What a build knows about itself.
    #[must_use]
    pub fn new(image: &[u8], measurements: Measurements, inputs: Inputs, tools: Tools) -> Self {
        Self {
            version: Self::VERSION,
            name: format!("{} {}", image::NAME, env!("CARGO_PKG_VERSION")),
            image: FileRecord::of(image),
            measurements,
            inputs,
            tools,
        }
    }

    /// The file's text.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Texts and numbers only: there is nothing that JSON cannot say.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// Besides the compiler: linker and assembler, the static C library and its headers, and what builds a kernel.
const PACKAGES: [&str; 7] = [
    "binutils",
    "bison",
    "flex",
    "libc6-dev",
    "libelf-dev",
    "make",
    "musl-dev",
];
