//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Tells whether an Adyton node is what it claims.
///
/// Exit status: 0 trusted, 1 not trusted, 2 could not tell.
#[derive(Debug, Parser)]
#[command(name = "adyton-verify", version)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    #[command(flatten)]
    pub(crate) question: Question,
}

/// What is judged, and by what.
#[derive(Debug, clap::Args)]
pub(crate) struct Question {
    /// The node, as https://host or https://host:port
    #[arg(required_unless_present = "evidence")]
    pub(crate) url: Option<String>,

    /// What you trust: measurements, release keys and limits (TOML). Without it nothing is trusted
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,

    /// A release manifest; it counts if enough of the policy's release keys signed it
    #[arg(long, value_name = "FILE", requires = "policy")]
    pub(crate) manifest: Option<PathBuf>,

    /// Where the highest manifest number of each set of keys is remembered; an older manifest is refused
    #[arg(long, value_name = "FILE", requires = "manifest")]
    pub(crate) remember: Option<PathBuf>,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,

    /// Print only the TLS key of a trusted node, for `curl --pinnedpubkey`; the report goes to standard error
    #[arg(long)]
    pub(crate) pin_out: bool,

    /// Keep the evidence and what the connection showed, whatever the verdict, to be judged again later
    #[arg(long, value_name = "FILE")]
    pub(crate) save: Option<PathBuf>,

    /// Ask no node: judge what --save kept, as of the moment it was kept
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "pin_out", "save"])]
    pub(crate) evidence: Option<PathBuf>,
}

/// What else it does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print a policy that trusts one image
    Policy(ImagePolicy),
    /// Tell whether a node gave an answer that was kept with its signature
    Answer(KeptAnswer),
}

/// An answer, and the node that is said to have given it.
#[derive(Debug, clap::Args)]
pub(crate) struct KeptAnswer {
    /// The exchange, as a JSON file (crates/attest/SPEC.md, section 6)
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// What --save kept when the node was looked at
    #[arg(long, value_name = "FILE", required_unless_present = "node")]
    pub(crate) evidence: Option<PathBuf>,

    /// Or the node itself, if it still runs
    #[arg(long, value_name = "URL", conflicts_with = "evidence")]
    pub(crate) node: Option<String>,

    /// What you trust: measurements, release keys and limits (TOML). Without it nothing is trusted
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,

    /// A release manifest; it counts if enough of the policy's release keys signed it
    #[arg(long, value_name = "FILE", requires = "policy")]
    pub(crate) manifest: Option<PathBuf>,
}

impl KeptAnswer {
    /// The question about the node.
    pub(crate) fn question(self) -> (PathBuf, Question) {
        let question = Question {
            url: self.node,
            policy: self.policy,
            manifest: self.manifest,
            remember: None,
            json: false,
            pin_out: false,
            save: None,
            evidence: self.evidence,
        };
        (self.file, question)
    }
}

/// The image that a policy is made for.
#[derive(Debug, clap::Args)]
pub(crate) struct ImagePolicy {
    /// The image's registers, as adyton-enclave writes them
    #[arg(long, value_name = "measurements.json")]
    pub(crate) measurements: PathBuf,

    /// The node's configuration; without it the policy accepts any
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// What the policy calls it, instead of the name in the file
    #[arg(long)]
    pub(crate) name: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from([&["adyton-verify"], arguments].concat())
    }

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_node_or_a_record_of_one_is_required() {
        assert!(parse(&[]).is_err());
        let question = parse(&["https://h", "--policy", "p", "--json"])
            .unwrap()
            .question;
        assert!(question.json && !question.pin_out && question.policy == Some("p".into()));
        assert!(parse(&["--evidence", "e"]).is_ok());
        assert!(parse(&["https://h", "--evidence", "e"]).is_err());
    }

    #[test]
    fn a_pin_is_not_taken_from_the_past() {
        assert!(parse(&["--evidence", "e", "--pin-out"]).is_err());
        assert!(parse(&["--evidence", "e", "--save", "f"]).is_err());
    }

    #[test]
    fn a_manifest_needs_a_policy_and_a_memory_needs_a_manifest() {
        assert!(parse(&["https://h", "--manifest", "m"]).is_err());
        assert!(parse(&["https://h", "--policy", "p", "--remember", "r"]).is_err());
        let all = [
            "https://h",
            "--policy",
            "p",
            "--manifest",
            "m",
            "--remember",
            "r",
        ];
        assert!(parse(&all).is_ok());
    }

    #[test]
    fn an_answer_is_held_against_a_record_or_a_node() {
        assert!(parse(&["answer", "f"]).is_err());
        assert!(parse(&["answer", "f", "--evidence", "e", "--policy", "p"]).is_ok());
        assert!(parse(&["answer", "f", "--node", "https://h"]).is_ok());
        assert!(parse(&["answer", "f", "--node", "https://h", "--evidence", "e"]).is_err());
    }

    #[test]
    fn a_policy_is_made_of_measurements() {
        assert!(parse(&["policy"]).is_err());
        assert!(parse(&["policy", "--measurements", "m"]).is_ok());
        assert!(parse(&["policy", "--measurements", "m", "https://h"]).is_err());
    }
}
