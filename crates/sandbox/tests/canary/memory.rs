//! The memory of another process.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};

use crate::needle::Needle;

const CHUNK: usize = 1 << 20;
const PAGE: usize = 4096;
/// So that a word across two chunks is seen.
const OVERLAP: usize = 4096;

/// How often each needle stands, as it is, in the writable memory of a process, and where. `None` when the system does
/// not let us look.
pub fn traces(process: u64, needles: &[&Needle]) -> Option<Vec<Trace>> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
    let mut memory = File::open(format!("/proc/{process}/mem")).ok()?;
    let mut pages = File::open(format!("/proc/{process}/pagemap")).ok()?;
    let mut found: Vec<Trace> = Vec::new();
    let mut chunk = vec![0; CHUNK + OVERLAP];
    for line in maps.lines() {
        let mut columns = line.split_whitespace();
        let (range, rights) = (columns.next()?, columns.next()?);
        let region = columns.nth(3).unwrap_or("anonymous").to_owned();
        if !rights.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-')?;
        let (start, end) = (
            usize::from_str_radix(start, 16).ok()?,
            usize::from_str_radix(end, 16).ok()?,
        );
        for at in (start..end).step_by(CHUNK) {
            if !is_present(&mut pages, at, (end - at).min(CHUNK)) {
                continue;
            }
            let length = (end - at).min(CHUNK + OVERLAP);
            memory.seek(SeekFrom::Start(at as u64)).ok()?;
            let Ok(read) = memory.read(&mut chunk[..length]) else {
                continue;
            };
            let here = &chunk[..read.min(CHUNK + 512)];
            for needle in needles {
                let count = needle.count_plain_in(here);
                if count > 0 {
                    found.push(Trace {
                        name: needle.name,
                        region: region.clone(),
                        count,
                        around: around(here, needle),
                    });
                }
            }
        }
    }
    Some(found)
}

/// A place where a needle was found.
pub struct Trace {
    pub name: &'static str,
    pub region: String,
    pub count: usize,
    /// What stands around the first of them, for finding out who left it there.
    pub around: String,
}

/// That nothing was found; else says where it was.
pub fn assert_empty(traces: &[Trace], when: &str) {
    let left: Vec<String> = traces
        .iter()
        .map(|trace| {
            format!(
                "{} × {} in {}: {}",
                trace.count, trace.name, trace.region, trace.around
            )
        })
        .collect();
    assert!(
        left.is_empty(),
        "left in memory {when}:\n{}",
        left.join("\n")
    );
}

fn around(hay: &[u8], needle: &Needle) -> String {
    let at = memchr::memmem::find(hay, needle.word.as_bytes()).unwrap_or_default();
    let (from, to) = (
        at.saturating_sub(100),
        (at + needle.word.len() + 60).min(hay.len()),
    );
    String::from_utf8_lossy(&hay[from..to]).replace(|letter: char| letter.is_control(), ".")
}

/// Whether any page of the range is in memory, so that there is something to read.
fn is_present(pages: &mut File, at: usize, length: usize) -> bool {
    let mut entries = vec![0; length.div_ceil(PAGE) * 8];
    if pages.seek(SeekFrom::Start((at / PAGE * 8) as u64)).is_err() {
        return true;
    }
    match pages.read(&mut entries) {
        Ok(read) => entries[..read]
            .chunks_exact(8)
            .any(|entry| entry[7] & 0xC0 != 0),
        Err(_) => true,
    }
}
