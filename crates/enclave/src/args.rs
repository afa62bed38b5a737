//! What can be said on the command line. One variant, one module that does it.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Builds the enclave's image, bit for bit the same everywhere, and measures images.
#[derive(Debug, Parser)]
#[command(name = "adyton-enclave", version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Build the image of this checkout: adyton.eif and measurements.json
    Build(Build),
    /// Print the registers that an image will show: PCR0, PCR1, PCR2
    Measure(OneImage),
    /// Print what is in an image: parts, files, command line
    Describe(OneImage),
    /// Write, sign and check the manifest of a release
    #[command(subcommand)]
    Release(ReleaseCommand),
    /// Print the policy that trusts a compose file on Marlin Oyster
    Oyster(Oyster),
}

/// How to build.
#[derive(Debug, clap::Args)]
pub(crate) struct Build {
    /// Where the image goes
    #[arg(long, value_name = "FOLDER", default_value = "target/enclave-image")]
    pub(crate) out: PathBuf,
    /// The checkout to build
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub(crate) checkout: PathBuf,
    /// Use this bzImage and build none
    #[arg(long, value_name = "FILE")]
    pub(crate) kernel: Option<PathBuf>,
    /// Build a second time, from a copy in another folder, and refuse if a byte differs
    #[arg(long, value_name = "WHAT", num_args = 0..=1, require_equals = true, default_missing_value = "programs")]
    pub(crate) twice: Option<Twice>,
    /// Where built kernels and fetched sources are kept [default: adyton in the user's cache folder]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) cache: Option<PathBuf>,
    /// Print measurements.json
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a second build does again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Twice {
    /// Init and the node, and the image of them and the same kernel
    Programs,
    /// The kernel, too (some minutes more)
    All,
}

/// An image.
#[derive(Debug, clap::Args)]
pub(crate) struct OneImage {
    /// The image (EIF)
    pub(crate) file: PathBuf,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is done with a manifest.
#[derive(Debug, Subcommand)]
pub(crate) enum ReleaseCommand {
    /// Print the public half of a release key; if the file is not there, make a new key
    Key {
        /// The secret half (PKCS#8, PEM), readable to its owner only
        file: PathBuf,
    },
    /// Print a manifest that nobody signed yet
    New(NewManifest),
    /// Print the exact bytes that are signed, for keys that are kept elsewhere
    Message {
        /// The manifest
        manifest: PathBuf,
    },
    /// Add a signature to a manifest
    Sign {
        /// The manifest; it is rewritten
        manifest: PathBuf,
        /// The secret half of a release key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Add the signatures of other copies of the same manifest
    Join {
        /// The manifest; it is rewritten
        manifest: PathBuf,
        /// Copies that others signed
        #[arg(required = true)]
        copies: Vec<PathBuf>,
    },
    /// Say whether a policy accepts a manifest, and what it then trusts
    Check {
        /// The manifest
        manifest: PathBuf,
        /// The policy, with its release keys
        #[arg(long, value_name = "FILE")]
        policy: PathBuf,
    },
}

/// What a manifest says.
#[derive(Debug, clap::Args)]
pub(crate) struct NewManifest {
    /// measurements.json of an image; more than one if more than one is released
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) measurements: Vec<PathBuf>,
    /// Its number: higher than that of every manifest before
    #[arg(long)]
    pub(crate) seq: u64,
    /// The git commit that was built
    #[arg(long)]
    pub(crate) commit: String,
    /// The version as people call it
    #[arg(long, default_value = env!("CARGO_PKG_VERSION"))]
    pub(crate) release: String,
    /// Until when it counts, like 2027-01-31T00:00:00Z; without it, until a newer one is seen
    #[arg(long, value_name = "TIME")]
    pub(crate) not_after: Option<String>,
}

/// A compose file, and what it runs on.
#[derive(Debug, clap::Args)]
pub(crate) struct Oyster {
    /// The compose file; every image in it is named by digest
    pub(crate) compose: PathBuf,
    /// The base image, by name: blue-v3-amd64 or blue-v3-arm64
    #[arg(long, value_name = "NAME", conflicts_with_all = ["pcr0", "pcr1", "pcr2"])]
    pub(crate) preset: Option<String>,
    /// The base image, by value: 96 hexadecimal digits
    #[arg(long, value_name = "HEX", requires_all = ["pcr1", "pcr2"])]
    pub(crate) pcr0: Option<String>,
    #[arg(long, value_name = "HEX")]
    pub(crate) pcr1: Option<String>,
    #[arg(long, value_name = "HEX")]
    pub(crate) pcr2: Option<String>,
    /// A further init param, in the order of deploying: path:attest:encrypt:utf8|file:value
    #[arg(long = "init-param", value_name = "PARAM")]
    pub(crate) init_params: Vec<String>,
    /// The node's configuration, to name register 17, too
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// As JSON, without a policy
    #[arg(long)]
    pub(crate) json: bool,
}
