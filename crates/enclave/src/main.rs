//! `adyton-enclave`: see the library for what it guarantees.

#![forbid(unsafe_code)]

mod args;
mod build;
mod inspect;
mod oyster_command;
mod release;

use std::io::Write as _;
use std::process::ExitCode;

use adyton_attest::with_causes;
use clap::Parser as _;

use crate::args::{Args, Command};

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Build(how) => build::run(&how),
        Command::Oyster(how) => oyster_command::run(&how),
        Command::Measure(image) => inspect::measure(&image),
        Command::Describe(image) => inspect::describe(&image),
        Command::Release(command) => release::run(&command),
    };
    match done {
        Ok(text) => {
            // A reader that went away before the end has the exit status.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}
