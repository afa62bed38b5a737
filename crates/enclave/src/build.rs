//! `build`: the image of a checkout, once or twice.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use adyton_enclave::progress::Progress;
use adyton_enclave::recipe::{Built, Recipe, RecipeError};
use adyton_enclave::tool::{PASSED_ON, Surroundings, Tool};

use crate::args::{Build, Twice};

pub(crate) fn run(how: &Build) -> Result<String, Box<dyn Error>> {
    let mut stderr = std::io::stderr();
    let mut progress = Progress::to(&mut stderr);
    let surroundings = surroundings(how)?;
    let checkout = fs::canonicalize(&how.checkout)?;
    let recipe = Recipe {
        target: checkout.join("target"),
        kernel: how.kernel.clone(),
        checkout,
    };
    let built = recipe.build(&surroundings, &mut progress)?;
    if let Some(what) = how.twice {
        let other = elsewhere(&recipe, what, &surroundings, &mut progress)?;
        same(&built, &other)?;
        progress.say("image: the second build, in another folder, is the same to the byte");
    }
    let file = built.write(&how.out)?;
    if how.json {
        return Ok(built.record.to_json());
    }
    let measurements = &built.record.measurements;
    Ok(format!(
        "{}: {} bytes, SHA-256 {}\nPCR0 {}\nPCR1 {}\nPCR2 {}\n",
        file.display(),
        built.record.image.bytes,
        built.record.image.sha256,
        measurements.pcr0,
        measurements.pcr1,
        measurements.pcr2,
    ))
}

/// The same sources in another folder, with another folder for what is built.
fn elsewhere(
    recipe: &Recipe,
    what: Twice,
    surroundings: &Surroundings,
    progress: &mut Progress<'_>,
) -> Result<Built, Box<dyn Error>> {
    let folder = surroundings.cache.join("second-build");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    let copy = Recipe {
        checkout: folder.join("a/checkout"),
        target: folder.join("built"),
        kernel: recipe.kernel.clone(),
    };
    progress.say("image: copying the sources for the second build");
    copy_sources(&recipe.checkout, &copy.checkout, surroundings)?;
    let mut surroundings = surroundings.clone();
    if what == Twice::All {
        // The fetched source is checked again; nothing that was built is there.
        let sources = Path::new("sources");
        let from = fs::read_dir(surroundings.cache.join(sources))?;
        surroundings.cache = folder.join("cache");
        fs::create_dir_all(surroundings.cache.join(sources))?;
        for source in from {
            let source = source?;
            let to = surroundings.cache.join(sources).join(source.file_name());
            fs::copy(source.path(), to)?;
        }
    }
    let built = copy.build(&surroundings, progress)?;
    fs::remove_dir_all(&folder)?;
    Ok(built)
}

/// What git knows of a checkout, as it is now.
fn copy_sources(from: &Path, to: &Path, surroundings: &Surroundings) -> Result<(), Box<dyn Error>> {
    let list = Tool::new(Path::new("git"), surroundings)
        .within(from)
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .output()?;
    for name in list.split_terminator('\0') {
        let (source, target) = (from.join(name), to.join(name));
        // Deleted and not yet committed.
        if !source.exists() {
            continue;
        }
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(source, target)?;
    }
    Ok(())
}

/// Part by part, so that the refusal says which.
fn same(one: &Built, other: &Built) -> Result<(), RecipeError> {
    let (inputs, others) = (&one.record.inputs, &other.record.inputs);
    let parts = [
        ("the kernel", inputs.kernel == others.kernel),
        ("init", inputs.init == others.init),
        ("the node", inputs.node == others.node),
        ("measurements.json", one.record == other.record),
        ("the image", one.image == other.image),
    ];
    match parts.into_iter().find(|(_, same)| !same) {
        Some((name, _)) => Err(RecipeError::Differs(name)),
        None => Ok(()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a build has to find the machine's compilers and a place to keep kernels; it passes on nothing else"
)]
fn surroundings(how: &Build) -> Result<Surroundings, Box<dyn Error>> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let cache = how
        .cache
        .clone()
        .or_else(|| variable("XDG_CACHE_HOME").map(|folder| PathBuf::from(folder).join("adyton")))
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache/adyton")))
        .ok_or("no folder to keep things in: give one with --cache")?;
    fs::create_dir_all(&cache)?;
    Ok(Surroundings {
        variables: PASSED_ON
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), variable(name)?)))
            .collect(),
        cache: fs::canonicalize(cache)?,
    })
}
