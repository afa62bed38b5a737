//! `adyton import mbox`: the mailbox file, the progress on the screen, the report.

use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use adyton_client::clock::Clock;
use adyton_client::database::WriteError;
use adyton_client::session::Session;
use bytes::Bytes;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::args::MboxArgs;
use crate::connect::open_vault;
use crate::failure::Failure;
use crate::mail::{Import, Mbox, Owner};
use crate::upload::{MAX_NAMED_SKIPS, Tally, UploadError, dry_run, upload};

/// What an import ends with.
#[derive(Debug)]
pub struct Report {
    /// Whose mailbox it was taken for.
    pub owner: Owner,
    /// What became of the messages.
    pub tally: Tally,
    /// How long it took.
    pub took: Duration,
    /// Whether nothing was stored.
    pub dry_run: bool,
}

/// Runs the command. A bar is drawn where a person looks on.
pub async fn run(args: &MboxArgs, quiet: bool, clock: &Clock) -> Result<Report, Failure> {
    let started = Instant::now();
    let mailbox = Mailbox::File(args.file.clone());
    let owner = mailbox.owner(&args.address)?;
    if args.dry_run {
        let (import, bar) = mailbox.begin(&owner, quiet)?;
        let tally =
            dry_run(import, |tally| bar.show(tally)).map_err(|error| mailbox.failed(&error))?;
        bar.bar.finish_and_clear();
        return Ok(Report {
            owner,
            tally,
            took: started.elapsed(),
            dry_run: true,
        });
    }
    // A file that cannot be read is told before anybody logs in.
    mailbox.open()?;
    let vault = open_vault(&args.vault, clock).await?;
    mailbox.import(owner, &vault.session, quiet).await
}

/// Where mail comes from.
#[derive(Clone, Debug)]
pub enum Mailbox {
    /// A file.
    File(PathBuf),
    /// A mailbox that is part of this program.
    Bundled(&'static [u8]),
    /// One that was made here.
    Memory(Bytes),
}

impl Mailbox {
    /// Whose it is: the addresses given, or else who it is delivered to.
    pub fn owner(&self, addresses: &[String]) -> Result<Owner, Failure> {
        if !addresses.is_empty() {
            return Ok(Owner::new(addresses));
        }
        let (source, _) = self.open()?;
        Owner::detect(Mbox::new(source)).map_err(|error| self.failed(&error.into()))
    }

    /// Imports it into an open vault. A bar is drawn where a person looks on.
    pub async fn import(
        &self,
        owner: Owner,
        session: &Session,
        quiet: bool,
    ) -> Result<Report, Failure> {
        let started = Instant::now();
        let (import, bar) = self.begin(&owner, quiet)?;
        let tally = upload(session, import, |tally| bar.show(tally))
            .await
            .map_err(|error| self.failed(&error))?;
        bar.bar.finish_and_clear();
        Ok(Report {
            owner,
            tally,
            took: started.elapsed(),
            dry_run: false,
        })
    }

    fn begin(&self, owner: &Owner, quiet: bool) -> Result<(Import<Source>, Progress), Failure> {
        let (source, bytes) = self.open()?;
        let bar = progress_bar(bytes, quiet);
        Ok((
            Import::new(Mbox::new(source), owner.clone()),
            Progress { bar },
        ))
    }

    /// The mailbox and how long it is.
    fn open(&self) -> Result<(Source, u64), Failure> {
        match self {
            Self::Bundled(bytes) => Ok((Box::new(*bytes), bytes.len() as u64)),
            Self::Memory(bytes) => Ok((Box::new(Cursor::new(bytes.clone())), bytes.len() as u64)),
            Self::File(path) => {
                let (file, bytes) = open(path)?;
                Ok((Box::new(file), bytes))
            }
        }
    }

    fn failed(&self, error: &UploadError) -> Failure {
        let failure = Failure::of(format_args!("the import of {self} stopped"), error);
        match error {
            UploadError::Mailbox(_) => failure,
            UploadError::Vault(WriteError::TooFewNodes { .. }) => failure.hint(
                "name the vault's other nodes with --storage, too, or ask for less with --ack 1",
            ),
            _ => failure.hint("what is imported stays; run the command again to go on from there"),
        }
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Bundled(_) => f.write_str("the bundled sample"),
            Self::Memory(_) => f.write_str("new mail"),
        }
    }
}

/// A mailbox being read.
type Source = Box<dyn Read + Send>;

struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn show(&self, tally: &Tally) {
        self.bar.set_position(tally.position);
        self.bar.set_message(summary(tally));
    }
}

impl Report {
    /// The report as text, or as one JSON object.
    pub fn text(&self, json: bool) -> String {
        let tally = &self.tally;
        if json {
            let skips = tally
                .skips
                .iter()
                .map(|skip| json!({ "offset": skip.offset, "reason": skip.reason.to_string() }));
            return json!({
                "added": tally.added, "known": tally.known, "skipped": tally.skipped,
                "skips": skips.collect::<Vec<_>>(), "bytes": tally.position,
                "account": self.owner.account(), "dryRun": self.dry_run,
                "seconds": self.took.as_secs_f64(),
            })
            .to_string();
        }
        let mut lines = Vec::new();
        for skip in &tally.skips {
            lines.push(format!(
                "skipped the message at byte {}: {}",
                skip.offset, skip.reason
            ));
        }
        if tally.skipped > tally.skips.len() as u64 {
            lines.push(format!(
                "only the first {MAX_NAMED_SKIPS} skipped messages are named"
            ));
        }
        match self.owner.account() {
            Some(account) => lines.push(format!("mailbox of {account}")),
            None => lines.push(
                "nobody was found to be the owner, so every message counts as received; \
                 say who you are with --address"
                    .to_owned(),
            ),
        }
        let what = if self.dry_run {
            "read, nothing stored"
        } else {
            "imported"
        };
        let seconds = self.took.as_secs_f64();
        lines.push(format!("{what}: {} in {seconds:.1} s", summary(tally)));
        lines.join("\n")
    }
}

/// The figures of an import in words.
pub fn summary(tally: &Tally) -> String {
    format!(
        "{} new, {} known, {} skipped",
        tally.added, tally.known, tally.skipped
    )
}

fn open(path: &Path) -> Result<(File, u64), Failure> {
    let cannot =
        |error: &io::Error| Failure::of(format_args!("cannot open {}", path.display()), error);
    let file = File::open(path).map_err(|error| cannot(&error))?;
    match file.metadata() {
        Ok(metadata) if metadata.is_dir() => {
            Err(Failure::new(format!("{} is a folder", path.display()))
                .hint("name the mbox file in it; a Takeout archive has it under Takeout/Mail"))
        }
        Ok(metadata) => Ok((file, metadata.len())),
        Err(error) => Err(cannot(&error)),
    }
}

fn progress_bar(bytes: u64, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let template = "{wide_bar} {percent:>3} %  {decimal_bytes_per_sec}  {eta} left  {msg}";
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr()).with_style(style)
}
