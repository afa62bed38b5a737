//! `measure` and `describe`: what somebody's image is.

use std::error::Error;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use adyton_enclave::cpio::{self, Item};
use adyton_enclave::eif::{Eif, EifError};
use adyton_enclave::measure::Measurements;
use adyton_enclave::measurements::FileRecord;
use serde::Serialize;

use crate::args::OneImage;

pub(crate) fn measure(image: &OneImage) -> Result<String, Box<dyn Error>> {
    let measurements = Measurements::of(&read(&image.file)?);
    Ok(match image.json {
        true => json(&measurements)?,
        false => registers(&measurements),
    })
}

pub(crate) fn describe(image: &OneImage) -> Result<String, Box<dyn Error>> {
    let eif = read(&image.file)?;
    let description = Description::of(&eif);
    if image.json {
        return json(&description);
    }
    let mut text = registers(&description.measurements);
    let part = |name: &str, file: &FileRecord| {
        format!(
            "{name:<9} {:>9} bytes, SHA-256 {}\n",
            file.bytes, file.sha256
        )
    };
    text.push_str(&part("kernel", &description.kernel));
    writeln!(text, "cmdline   {}", description.cmdline)?;
    for (index, disk) in description.ramdisks.iter().enumerate() {
        text.push_str(&part(&format!("ramdisk{index}"), &disk.file));
        match &disk.items {
            Some(items) => {
                for item in items {
                    writeln!(text, "  {:06o} {:>9} {}", item.mode, item.bytes, item.name)?;
                }
            }
            None => text.push_str("  (not an archive of this builder: contents not listed)\n"),
        }
    }
    let signed = if eif.signature.is_some() { "yes" } else { "no" };
    writeln!(text, "signed    {signed}")?;
    Ok(text)
}

fn read(path: &Path) -> Result<Eif, Box<dyn Error>> {
    let in_file = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut bytes = Vec::new();
    // One byte more than allowed, so that a longer file is refused and not cut.
    let most = Eif::MAX_BYTES as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(most).read_to_end(&mut bytes))
        .map_err(|error| in_file(&error))?;
    Ok(Eif::parse(&bytes).map_err(|error: EifError| in_file(&error))?)
}

fn registers(measurements: &Measurements) -> String {
    let Measurements { pcr0, pcr1, pcr2 } = measurements;
    format!("PCR0      {pcr0}\nPCR1      {pcr1}\nPCR2      {pcr2}\n")
}

fn json(value: &impl Serialize) -> Result<String, Box<dyn Error>> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

#[derive(Serialize)]
struct Description<'a> {
    measurements: Measurements,
    kernel: FileRecord,
    cmdline: &'a str,
    ramdisks: Vec<Ramdisk>,
    signed: bool,
}

#[derive(Serialize)]
struct Ramdisk {
    #[serde(flatten)]
    file: FileRecord,
    /// Nothing for an archive of another builder.
    items: Option<Vec<Item>>,
}

impl<'a> Description<'a> {
    fn of(eif: &'a Eif) -> Self {
        Self {
            measurements: Measurements::of(eif),
            kernel: FileRecord::of(&eif.kernel),
            cmdline: &eif.cmdline,
            ramdisks: eif
                .ramdisks
                .iter()
                .map(|disk| Ramdisk {
                    file: FileRecord::of(disk),
                    items: cpio::read(disk).ok(),
                })
                .collect(),
            signed: eif.signature.is_some(),
        }
    }
}
