//! `adyton import mbox`: the mailbox file, the progress on the screen, the report.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use adyton_client::clock::Clock;
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
    let owner = owner(args)?;
    let file = open(&args.file)?;
    let bytes = file
        .metadata()
        .map(|metadata| metadata.len())
        .unwrap_or_default();
    let import = Import::new(Mbox::new(file), owner.clone());

    let bar = progress_bar(bytes, quiet);
    let show = |tally: &Tally| {
        bar.set_position(tally.position);
        bar.set_message(summary(tally));
    };
    let tally = if args.dry_run {
        dry_run(import, show).map_err(|error| failed(&args.file, &error))?
    } else {
        let vault = open_vault(&args.vault, clock).await?;
        upload(&vault.session, import, show)
            .await
            .map_err(|error| failed(&args.file, &error))?
    };
    bar.finish_and_clear();
    Ok(Report {
        owner,
        tally,
        took: started.elapsed(),
        dry_run: args.dry_run,
    })
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

fn summary(tally: &Tally) -> String {
    format!(
        "{} new, {} known, {} skipped",
        tally.added, tally.known, tally.skipped
    )
}

fn owner(args: &MboxArgs) -> Result<Owner, Failure> {
    if !args.address.is_empty() {
        return Ok(Owner::new(&args.address));
    }
    let mbox = Mbox::new(open(&args.file)?);
    Owner::detect(mbox).map_err(|error| failed(&args.file, &error.into()))
}

fn open(path: &Path) -> Result<File, Failure> {
    let cannot =
        |error: &io::Error| Failure::of(format_args!("cannot open {}", path.display()), error);
    let file = File::open(path).map_err(|error| cannot(&error))?;
    match file.metadata() {
        Ok(metadata) if metadata.is_dir() => {
            Err(Failure::new(format!("{} is a folder", path.display()))
                .hint("name the mbox file in it; a Takeout archive has it under Takeout/Mail"))
        }
        Ok(_) => Ok(file),
        Err(error) => Err(cannot(&error)),
    }
}

fn failed(path: &Path, error: &UploadError) -> Failure {
    let failure = Failure::of(
        format_args!("the import of {} stopped", path.display()),
        error,
    );
    match error {
        UploadError::Mailbox(_) => failure,
        _ => failure.hint("what is imported stays; run the command again to go on from there"),
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
