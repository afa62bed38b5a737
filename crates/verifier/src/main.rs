#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod answer;
mod args;
mod image_policy;
mod kept;
mod report;
mod trust;
mod verdict;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

use adyton_attest::Nonce;
use clap::Parser as _;

use crate::args::{Args, Command, ImagePolicy, KeptAnswer, Question};
use crate::verdict::{Judgement, Verdict};

fn main() -> ExitCode {
    let args = Args::parse();
    match args.command {
        Some(Command::Policy(image)) => print_policy(&image),
        Some(Command::Answer(kept)) => judge_answer(kept),
        None => {
            let judgement = judge(&args.question);
            // A reader that went away before the end has the exit status.
            let _ = say(&args.question, &judgement);
            judgement.verdict.exit_code()
        }
    }
}

/// The only place that reads the clock and draws randomness.
#[expect(
    clippy::disallowed_methods,
    reason = "main hands the clock in; everything below takes the time as a parameter"
)]
fn judge(question: &Question) -> Judgement {
    let mut challenge = [0; 32];
    if getrandom::fill(&mut challenge).is_err() {
        return Judgement::could_not_tell("the system gives no randomness for the challenge");
    }
    match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(verdict::reach(
            question,
            Nonce::new(challenge),
            SystemTime::now,
        )),
        Err(error) => Judgement::could_not_tell(format!("the program cannot start: {error}")),
    }
}

/// The report to standard output, unless that is kept for the pin.
fn say(question: &Question, judgement: &Judgement) -> std::io::Result<()> {
    let report = if question.json {
        report::json(question, judgement)
    } else {
        report::plain(question, judgement)
    };
    if !question.pin_out {
        return std::io::stdout().write_all(report.as_bytes());
    }
    std::io::stderr().write_all(report.as_bytes())?;
    match &judgement.verdict {
        Verdict::Trusted(appraised) => writeln!(std::io::stdout(), "{}", appraised.spki().pin()),
        Verdict::NotTrusted(_) | Verdict::NotEvidence(_) | Verdict::CouldNotTell(_) => Ok(()),
    }
}

fn judge_answer(kept: KeptAnswer) -> ExitCode {
    let (file, question) = kept.question();
    let judgement = judge(&question);
    let given = answer::given(&file, &judgement.verdict);
    let text = report::plain(&question, &judgement) + &given.words();
    // A reader that went away before the end has the exit status.
    let _ = std::io::stdout().write_all(text.as_bytes());
    given.exit_code(&judgement.verdict)
}

fn print_policy(image: &ImagePolicy) -> ExitCode {
    match image_policy::write(image) {
        Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(2),
        },
        Err(why) => {
            let _ = writeln!(std::io::stderr(), "{why}");
            ExitCode::from(2)
        }
    }
}
