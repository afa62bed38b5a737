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
