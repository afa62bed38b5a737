#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod args;
mod report;
mod verdict;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

use adyton_attest::Nonce;
use clap::Parser as _;

use crate::args::Args;
use crate::verdict::Verdict;

fn main() -> ExitCode {
    let args = Args::parse();
    let verdict = judge(&args);
    // A reader that went away before the end has the exit status.
    let _ = say(&args, &verdict);
    verdict.exit_code()
}

/// The only place that reads the clock and draws randomness.
#[expect(
    clippy::disallowed_methods,
    reason = "main hands the clock in; everything below takes the time as a parameter"
)]
fn judge(args: &Args) -> Verdict {
    let mut challenge = [0; 32];
    if getrandom::fill(&mut challenge).is_err() {
        return Verdict::could_not_tell("the system gives no randomness for the challenge");
    }
    match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            runtime.block_on(verdict::reach(args, Nonce::new(challenge), SystemTime::now))
        }
        Err(error) => Verdict::could_not_tell(format!("the program cannot start: {error}")),
    }
}

/// The report to standard output, unless that is kept for the pin.
fn say(args: &Args, verdict: &Verdict) -> std::io::Result<()> {
    let report = if args.json {
        report::json(args, verdict)
    } else {
        report::plain(args, verdict)
    };
    if !args.pin_out {
        return std::io::stdout().write_all(report.as_bytes());
    }
    std::io::stderr().write_all(report.as_bytes())?;
    match verdict {
        Verdict::Trusted(appraised) => writeln!(std::io::stdout(), "{}", appraised.spki().pin()),
        Verdict::NotTrusted(_) | Verdict::NotEvidence(_) | Verdict::CouldNotTell(_) => Ok(()),
    }
}
