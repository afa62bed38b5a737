//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Tells whether an Adyton node is what it claims.
///
/// Exit status: 0 trusted, 1 not trusted, 2 could not tell.
#[derive(Debug, Parser)]
#[command(name = "adyton-verify", version)]
pub(crate) struct Args {
    /// The node, as https://host or https://host:port
    pub(crate) url: String,

    /// What you trust: measurements and limits (TOML). Without it nothing is trusted
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,

    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,

    /// Print only the TLS key of a trusted node, for `curl --pinnedpubkey`; the report goes to standard error
    #[arg(long)]
    pub(crate) pin_out: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_node_is_required() {
        assert!(Args::try_parse_from(["adyton-verify"]).is_err());
        let args = Args::try_parse_from(["adyton-verify", "https://h", "--policy", "p", "--json"])
            .unwrap();
        assert!(args.json && !args.pin_out && args.policy == Some("p".into()));
    }
}
