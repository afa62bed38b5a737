//! The kernel: a pinned source package of Debian, configured by one fragment, built once and kept.
//!
//! Guarantees: the source is the pinned one to the byte; every line of the fragment holds in the built kernel, and what
//! the fragment does not name is off; what is kept is found again only by the same source, fragment and compiler. Refuses
//! to know which suite this machine runs: the source comes through `enclave/debian-source`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use crate::digest::Sha256Hex;
use crate::progress::Progress;
use crate::tool::{Surroundings, Tool, ToolError};

/// A built kernel.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// The `bzImage`.
    pub image: Vec<u8>,
    /// The file of its symbols, for whoever looks at an emulated enclave from outside.
    pub symbols: PathBuf,
}

/// What a kernel is built from.
#[derive(Clone, Debug)]
pub struct KernelRecipe {
    /// The pinned source package.
    pub source: PinnedPackage,
    /// What is on and what is off.
    pub fragment: String,
    script: PathBuf,
}

impl KernelRecipe {
    /// Reads `enclave/kernel/` of a checkout.
    ///
    /// # Errors
    /// [`KernelError`] when it is not there or not understood.
    pub fn read(checkout: &Path) -> Result<Self, KernelError> {
        let folder = checkout.join("enclave/kernel");
        let text = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(|source| KernelError::File { path, source })
        };
        Ok(Self {
            source: PinnedPackage::parse(&text("source.sha256")?)?,
            fragment: text("fragment")?,
            script: checkout.join("enclave/debian-source"),
        })
    }

    /// The kernel of this recipe: the one that is kept, or a new one (some minutes).
    ///
    /// # Errors
    /// [`KernelError`] says which part failed.
    pub fn build(
        &self,
        surroundings: &Surroundings,
        progress: &mut Progress<'_>,
    ) -> Result<Kernel, KernelError> {
        let compiler = compiler(surroundings)?;
        let folder = surroundings.cache.join("kernel").join(self.key(&compiler));
        fs::create_dir_all(&folder).map_err(KernelError::at(&folder))?;
        // Whoever else builds the same waits here.
        let lock_path = folder.join("lock");
        let lock = File::create(&lock_path).map_err(KernelError::at(&lock_path))?;
        lock.lock().map_err(KernelError::at(&lock_path))?;
        if !folder.join(BZIMAGE).exists() {
            self.build_into(&folder, surroundings, progress)?;
        }
        let image = folder.join(BZIMAGE);
        Ok(Kernel {
            image: fs::read(&image).map_err(KernelError::at(&image))?,
            symbols: folder.join(SYMBOLS),
        })
    }

    fn build_into(
        &self,
        folder: &Path,
        surroundings: &Surroundings,
        progress: &mut Progress<'_>,
    ) -> Result<(), KernelError> {
        let archive = self.fetch(surroundings, progress)?;
        let work = folder.join("work");
        if work.exists() {
            fs::remove_dir_all(&work).map_err(KernelError::at(&work))?;
        }
        let unpacked = work.join("package");
        fs::create_dir_all(&unpacked).map_err(KernelError::at(&unpacked))?;
        progress.say("kernel: unpacking");
        let tool = |name: &str| Tool::new(Path::new(name), surroundings).within(&work);
        tool("dpkg-deb")
            .args([
                "--extract".as_ref(),
                archive.as_os_str(),
                "package".as_ref(),
            ])
            .output()?;
        let tar = format!("package/usr/src/{}.tar.xz", self.source.name);
        tool("tar")
            .args(["--extract", "--xz", "--file", &tar])
            .output()?;
        let tree = work.join(&self.source.name);
        let fragment = work.join("fragment");
        fs::write(&fragment, &self.fragment).map_err(KernelError::at(&fragment))?;
        let make = || {
            let mut make = Tool::new(Path::new("make"), surroundings).within(&tree);
            for (name, value) in BUILD_VARIABLES {
                make = make.env(name, value);
            }
            make
        };
        make()
            .env("KCONFIG_ALLCONFIG", &fragment)
            .args(["allnoconfig"])
            .output()?;
        let config_path = tree.join(".config");
        let config = fs::read_to_string(&config_path).map_err(KernelError::at(&config_path))?;
        honours(&config, &self.fragment)?;
        let jobs = thread::available_parallelism().map_or(1, usize::from);
        progress.say("kernel: building (minutes; once)");
        make()
            .args([format!("-j{jobs}"), BZIMAGE.to_owned()])
            .output()?;
        let keep = |from: &Path, name: &str| {
            let to = folder.join(name);
            fs::copy(from, &to).map_err(KernelError::at(&to))
        };
        keep(&tree.join("System.map"), SYMBOLS)?;
        keep(&config_path, "config")?;
        // Last: it says that the rest is here. Renamed, so that it is whole.
        keep(&tree.join("arch/x86/boot").join(BZIMAGE), "unfinished")?;
        let (from, to) = (folder.join("unfinished"), folder.join(BZIMAGE));
        fs::rename(from, &to).map_err(KernelError::at(&to))?;
        fs::remove_dir_all(&work).map_err(KernelError::at(&work))
    }

    /// The pinned package, from what is kept or from the archive.
    fn fetch(
        &self,
        surroundings: &Surroundings,
        progress: &mut Progress<'_>,
    ) -> Result<PathBuf, KernelError> {
        let folder = surroundings.cache.join("sources");
        let file = folder.join(&self.source.file);
        if !file.exists() {
            progress.say("kernel: fetching its source");
            let wanted = format!("{}={}", self.source.name, self.source.version);
            Tool::new(&self.script, surroundings)
                .args([SUITE, &wanted, "deb"])
                .args([&folder])
                .output()
                .map_err(|source| KernelError::Fetch {
                    wanted,
                    suite: SUITE,
                    source,
                })?;
        }
        let found = Sha256Hex::of_file(&file).map_err(KernelError::at(&file))?;
        if found != self.source.sha256 {
            return Err(KernelError::Changed {
                file,
                pinned: self.source.sha256.clone(),
                found,
            });
        }
        Ok(file)
    }

    /// What a kept kernel is found by.
    fn key(&self, compiler: &str) -> String {
        let mut text = format!("{} {}\n{compiler}\n", self.source.sha256, self.source.file);
        for (name, value) in BUILD_VARIABLES {
            text.push_str(&format!("{name}={value}\n"));
        }
        text.push_str(&self.fragment);
        let key = Sha256Hex::of(text.as_bytes()).to_string();
        key.chars().take(32).collect()
    }
}

fn compiler(surroundings: &Surroundings) -> Result<String, ToolError> {
    let mut versions = String::new();
    for tool in ["gcc", "ld", "as"] {
        versions.push_str(
            &Tool::new(Path::new(tool), surroundings)
                .args(["--version"])
                .output()?,
        );
    }
    Ok(versions)
}

/// Whether a configuration is what a fragment asks for, line by line.
fn honours(config: &str, fragment: &str) -> Result<(), KernelError> {
    let set = |option: &str| {
        let start = format!("{option}=");
        config.lines().any(|line| line.starts_with(&start))
    };
    let broken: Vec<&str> = fragment
        .lines()
        .filter(|line| match line.strip_prefix("# ") {
            Some(comment) => comment
                .strip_suffix(" is not set")
                .is_some_and(|option| option.starts_with("CONFIG_") && set(option)),
            None => line.starts_with("CONFIG_") && !config.lines().any(|other| other == *line),
        })
        .collect();
    match broken.is_empty() {
        true => Ok(()),
        false => Err(KernelError::NotHonoured(broken.join(", "))),
    }
}

/// A binary package of Debian, to the byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PinnedPackage {
    /// The file's name in the archive.
    pub file: String,
    /// The hash of the file.
    pub sha256: Sha256Hex,
    /// The package's name.
    name: String,
    version: String,
}

impl PinnedPackage {
    /// From the one line of a file that `sha256sum --check` understands.
    fn parse(text: &str) -> Result<Self, KernelError> {
        let parts = || {
            let (hash, file) = text.trim_end().split_once("  ")?;
            let (name, rest) = file.split_once('_')?;
            let (version, _) = rest.split_once('_')?;
            let plain = |word: &str| {
                let allowed =
                    |letter: char| letter.is_ascii_alphanumeric() || "+-.~".contains(letter);
                !word.is_empty() && word.chars().all(allowed)
            };
            if !(plain(name) && plain(version) && file.ends_with(".deb")) {
                return None;
            }
            Some(Self {
                file: file.to_owned(),
                sha256: Sha256Hex::parse(hash)?,
                name: name.to_owned(),
                version: version.to_owned(),
            })
        };
        parts().ok_or(KernelError::Pin)
    }

    /// The version, without Debian's revision.
    #[must_use]
    pub fn upstream_version(&self) -> &str {
        self.version
            .split_once('-')
            .map_or(&*self.version, |(upstream, _)| upstream)
    }
}

/// Why there is no kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// A file of the recipe or of what is kept.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The pin is not understood.
    #[error("enclave/kernel/source.sha256 is not one line `SHA-256  PACKAGE_VERSION_ARCH.deb`")]
    Pin,
    /// The archive does not have the pinned version, or cannot be reached.
    #[error(
        "{wanted} cannot be fetched from {suite}: the archive keeps the newest versions only. To move to a newer one: \
         `enclave/debian-source {suite} linux-source-6.12 deb .`, `sha256sum` the file into \
         enclave/kernel/source.sha256, build, and publish the new measurements"
    )]
    Fetch {
        /// Which package.
        wanted: String,
        /// Where.
        suite: &'static str,
        /// What was said.
        #[source]
        source: ToolError,
    },
    /// The file is not the pinned one.
    #[error(
        "{} has SHA-256 {found}, and {pinned} is pinned in enclave/kernel/source.sha256. Delete the file to fetch it \
         again; if it stays different, do not trust it",
        file.display()
    )]
    Changed {
        /// The file that is kept.
        file: PathBuf,
        /// What it should have.
        pinned: Sha256Hex,
        /// What it has.
        found: Sha256Hex,
    },
    /// This source does not know an option, or forces one.
    #[error(
        "the kernel's configuration does not honour these lines of enclave/kernel/fragment: {0}"
    )]
    NotHonoured(String),
    /// A program of the machine.
    #[error(transparent)]
    Tool(#[from] ToolError),
}

impl KernelError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}

/// Where the source package comes from; the build runs anywhere.
const SUITE: &str = "trixie";

const BZIMAGE: &str = "bzImage";

const SYMBOLS: &str = "System.map";

/// What a kernel would otherwise take from the machine and the clock.
const BUILD_VARIABLES: [(&str, &str); 4] = [
    ("KBUILD_BUILD_TIMESTAMP", "1970-01-01"),
    ("KBUILD_BUILD_USER", "adyton"),
    ("KBUILD_BUILD_HOST", "adyton"),
    ("KBUILD_BUILD_VERSION", "1"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_one_line_with_a_hash_and_a_package() {
        let hash = "91".repeat(32);
        let pin = PinnedPackage::parse(&format!("{hash}  linux-source-6.12_6.12.117-1_all.deb\n"));
        let pin = pin.unwrap();
        assert_eq!(pin.name, "linux-source-6.12");
        assert_eq!(pin.version, "6.12.117-1");
        assert_eq!(pin.upstream_version(), "6.12.117");
        for wrong in [
            String::new(),
            format!("{hash} one-space_1_all.deb"),
            format!("{hash}  ../up_1_all.deb"),
            format!("{hash}  a_$(id)_all.deb"),
            format!("{hash}  a_1_all.tar"),
            format!("{}  a_1_all.deb", "91".repeat(31)),
        ] {
            assert!(PinnedPackage::parse(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_line_that_the_source_does_not_honour_is_named() {
        let fragment = "# A comment\nCONFIG_A=y\nCONFIG_B=\"x\"\n# CONFIG_C is not set\n";
        let fine = "CONFIG_A=y\nCONFIG_B=\"x\"\n# CONFIG_C is not set\nCONFIG_D=y\n";
        assert!(honours(fine, fragment).is_ok());
        assert!(honours("CONFIG_A=y\nCONFIG_B=\"x\"\n", fragment).is_ok());
        for (config, named) in [
            (fine.replace("CONFIG_A=y\n", ""), "CONFIG_A=y"),
            (fine.replace("\"x\"", "\"y\""), "CONFIG_B=\"x\""),
            (format!("{fine}CONFIG_C=y\n"), "# CONFIG_C is not set"),
        ] {
            let error = honours(&config, fragment).unwrap_err();
            assert!(error.to_string().ends_with(named), "{error}");
        }
    }

    #[test]
    fn the_recipe_of_this_checkout_is_understood() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let recipe = KernelRecipe::read(&checkout).unwrap();
        for needed in [
            "CONFIG_NSM=y",
            "CONFIG_SECURITY_LANDLOCK=y",
            "CONFIG_SECCOMP_FILTER=y",
            "# CONFIG_MODULES is not set",
            "# CONFIG_BLOCK is not set",
            "# CONFIG_DEVMEM is not set",
            "# CONFIG_IO_URING is not set",
            "# CONFIG_COREDUMP is not set",
            "# CONFIG_SWAP is not set",
        ] {
            let there = recipe.fragment.lines().any(|line| line == needed);
            assert!(there, "{needed}");
        }
    }

    #[test]
    fn another_fragment_or_compiler_is_another_kernel() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let recipe = KernelRecipe::read(&checkout).unwrap();
        let mut other = recipe.clone();
        other.fragment.push_str("CONFIG_BUG=y\n");
        assert_ne!(recipe.key("gcc 12"), other.key("gcc 12"));
        assert_ne!(recipe.key("gcc 12"), recipe.key("gcc 13"));
    }
}
