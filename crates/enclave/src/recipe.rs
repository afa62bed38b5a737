//! From a checkout to an image: the steps in their order.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Sha256Hex;
use crate::eif::{Eif, EifError};
use crate::image::{self, TooLarge};
use crate::kernel::{KernelError, KernelRecipe};
use crate::measure::Measurements;
use crate::measurements::{FileRecord, Inputs, NamedHash, Record, Tools};
use crate::programs::{ProgramError, Workshop};
use crate::progress::Progress;
use crate::tool::{Surroundings, ToolError};

/// An image and what is known about it.
#[derive(Clone, Debug)]
pub struct Built {
    /// The file's bytes.
    pub image: Vec<u8>,
    /// What it measures and was made of.
    pub record: Record,
    /// The kernel's symbols, if the kernel was built here.
    pub symbols: Option<PathBuf>,
}

/// What to build from, and where.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// A checkout of this repository.
    pub checkout: PathBuf,
    /// The folder for what cargo builds.
    pub target: PathBuf,
    /// A kernel that somebody has built already, instead of building it.
    pub kernel: Option<PathBuf>,
}

impl Recipe {
    /// Builds the image.
    ///
    /// # Errors
    /// [`RecipeError`] says which step failed.
    pub fn build(
        &self,
        surroundings: &Surroundings,
        progress: &mut Progress<'_>,
    ) -> Result<Built, RecipeError> {
        // The quick refusals first.
        let workshop = Workshop::open(&self.checkout, &self.target, surroundings)?;
        let tools = Tools::of_machine(&self.checkout, surroundings)?;
        let kernel_recipe = KernelRecipe::read(&self.checkout)?;
        let lock = self.checkout.join("Cargo.lock");
        let cargo_lock = Sha256Hex::of_file(&lock).map_err(RecipeError::at(&lock))?;
        let (kernel, symbols) = match &self.kernel {
            Some(path) => (fs::read(path).map_err(RecipeError::at(path))?, None),
            None => {
                let kernel = kernel_recipe.build(surroundings, progress)?;
                (kernel.image, Some(kernel.symbols))
            }
        };
        let programs = workshop.build(progress)?;
        let inputs = Inputs {
            kernel_source: NamedHash {
                file: kernel_recipe.source.file.clone(),
                sha256: kernel_recipe.source.sha256.clone(),
            },
            kernel_fragment: Sha256Hex::of(kernel_recipe.fragment.as_bytes()),
            kernel: FileRecord::of(&kernel),
            cmdline: image::CMDLINE,
            init: FileRecord::of(&programs.init),
            node: FileRecord::of(&programs.node),
            cargo_lock,
        };
        progress.say("image: putting it together");
        let version = kernel_recipe.source.upstream_version();
        let image = image::compose(kernel, version, programs)?;
        // Measured from the file, by the code that measures anybody's.
        let measurements = Measurements::of(&Eif::parse(&image)?);
        Ok(Built {
            record: Record::new(&image, measurements, inputs, tools),
            image,
            symbols,
        })
    }
}

impl Built {
    /// Writes `adyton.eif` and `measurements.json`, and beside them the kernel's `System.map`, for tests that look at an
    /// emulated enclave from outside.
    ///
    /// # Errors
    /// [`RecipeError`] when the folder cannot be written.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, RecipeError> {
        fs::create_dir_all(folder).map_err(RecipeError::at(folder))?;
        let record = folder.join("measurements.json");
        fs::write(&record, self.record.to_json()).map_err(RecipeError::at(&record))?;
        if let Some(symbols) = &self.symbols {
            fs::copy(symbols, folder.join("System.map")).map_err(RecipeError::at(symbols))?;
        }
        let image = folder.join("adyton.eif");
        fs::write(&image, &self.image).map_err(RecipeError::at(&image))?;
        Ok(image)
    }
}

/// Why there is no image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// A file.
    #[error("{}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel.
    #[error("no kernel")]
    Kernel(#[from] KernelError),
    /// The programs.
    #[error("no programs")]
    Program(#[from] ProgramError),
    /// The compilers could not be asked for their versions.
    #[error("the compilers' versions are not known")]
    Tools(#[from] ToolError),
    /// It would not fit.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// The written image could not be read: a bug here.
    #[error("the image cannot be read back")]
    Image(#[from] EifError),
    /// Two builds differ.
    #[error("the image is not reproducible: {0} differs between two folders")]
    Differs(&'static str),
}

impl RecipeError {
    fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }
}
