//! What the demo says when everything is ready.

use std::path::PathBuf;
use std::time::Duration;

use adyton_node::harden::{ThreadHardening, Wall};
use adyton_sandbox::cluster::NETWORK;
use serde_json::json;
use zeroize::Zeroizing;

use super::lines::Lines;
use super::place::Files;
use super::{App, Report, SCOPES};
use crate::import::summary;

const SIMULATED: &str = "\
************************************************************************
*  SIMULATED: the node below runs in no enclave. This shows how it     *
*  works; it proves nothing, and whoever runs this machine can read    *
*  everything. Never give it real secrets.                             *
************************************************************************
";

/// What can be typed where several storage nodes run.
const TERMINAL: &str = "\
Type here, in this terminal:
  stop 2     ends storage node 2; the lines above go on working
  write      writes an email to a quorum of the storage nodes
  start 2    starts it again, and tells when it has what it missed
  nodes      shows what each storage node has

";

/// Everything that is told.
pub(super) struct Ready {
    pub(super) node: String,
    /// Of all storage nodes.
    pub(super) storage: Vec<String>,
    pub(super) storage_directory: PathBuf,
    pub(super) is_kept: bool,
    pub(super) did: String,
    pub(super) is_new: bool,
    pub(super) key_file: PathBuf,
    pub(super) mailbox: String,
    pub(super) mail: Report,
    pub(super) app: App,
    pub(super) hardening: ThreadHardening,
    pub(super) files: Files,
    pub(super) lines: Lines,
    pub(super) took: Duration,
}

impl Ready {
    /// For a person. The lines to try are indented by four spaces, and nothing else is.
    pub(super) fn text(&self) -> Zeroizing<String> {
        let Self { app, lines, .. } = self;
        let account = if self.is_new { "new" } else { "as last time" };
        let storage = self.storage_directory.display();
        let warning = warning(self.hardening.landlock, self.hardening.seccomp);
        let several = match self.storage.len() {
            1 => "",
            _ => TERMINAL,
        };
        let nodes = match self.storage.len() {
            1 => "storage node ",
            _ => "storage nodes",
        };
        let kept = match self.is_kept {
            true => "Account and data stay; the same command goes on with them.",
            false => "Account, data and files are removed then.",
        };
        Zeroizing::new(format!(
            "{SIMULATED}
confidential node  {node}  (SIMULATED TEE, decrypts in memory only)
{nodes}      {urls}  (ciphertext only, in {storage})
account            {did}  ({account}, key in {key})
mail               {mailbox}: {mail}
app's token        {token}
                   allows {scopes}; until {expires}
asked as the app   {emails} emails, in {asked} ms from ciphertext to answer
node's threads     {hardening}{warning}
certificate        {certificate}
policy             {policy}

Paste any of these lines into a second terminal, in this directory.

# The three newest emails that were received:
    {query}

# How many emails there are:
    {count}

# What was not granted is refused, here a new email:
    {refused}

# What the node proves, by the policy that accepts this simulation:
    {verify}

# The same by the default policy, which accepts no simulation:
    {verify_default}

# The first query again, by a client that verifies the node before it shows its token:
    {adyton}

# As the owner: the tokens that are good now (`token revoke ID` takes one back):
    {owner}

{several}Ready in {seconds:.1} s. Ctrl-C ends the nodes. {kept}
",
            node = self.node,
            urls = self.storage.join("  "),
            did = self.did,
            key = self.key_file.display(),
            mailbox = self.mailbox,
            mail = summary(&self.mail.tally),
            token = *app.token,
            scopes = SCOPES.join(", "),
            expires = app.expires,
            emails = app.emails,
            asked = app.took.as_millis(),
            hardening = self.hardening,
            certificate = self.files.certificate.display(),
            policy = self.files.policy.display(),
            query = *lines.query,
            count = *lines.count,
            refused = *lines.refused,
            verify = lines.verify,
            verify_default = lines.verify_without_policy,
            adyton = lines.adyton,
            owner = lines.owner,
            seconds = self.took.as_secs_f64(),
        ))
    }

    /// For a script: one object on one line.
    pub(super) fn json(&self) -> Zeroizing<String> {
        let Self { app, lines, .. } = self;
        let tally = &self.mail.tally;
        let mut text = json!({
            "simulated": true,
            "node": self.node,
            "storage": self.storage.first(),
            "storageNodes": self.storage,
            "storageDirectory": self.storage_directory,
            "network": NETWORK.name(),
            "did": self.did,
            "newAccount": self.is_new,
            "keyFile": self.key_file,
            "certificateFile": self.files.certificate,
            "policyFile": self.files.policy,
            "tokenFile": self.files.token,
            "token": *app.token,
            "scopes": SCOPES,
            "expiresAt": app.expires,
            "mail": { "added": tally.added, "known": tally.known, "skipped": tally.skipped },
            "emails": app.emails,
            "hardening": self.hardening.to_string(),
            "fullyHardened": warning(self.hardening.landlock, self.hardening.seccomp).is_empty(),
            "lines": {
                "query": *lines.query,
                "count": *lines.count,
                "refused": *lines.refused,
                "verify": lines.verify,
                "verifyWithoutPolicy": lines.verify_without_policy,
                "adyton": lines.adyton,
                "owner": lines.owner,
            },
            "seconds": self.took.as_secs_f64(),
        })
        .to_string();
        text.push('\n');
        Zeroizing::new(text)
    }
}

/// What a person must know about a kernel that offers less than both walls, whole.
fn warning(landlock: Wall, seccomp: Wall) -> &'static str {
    match (landlock, seccomp) {
        (Wall::Whole, Wall::Whole) => "",
        (Wall::Absent, Wall::Absent) => {
            "\nWARNING            this kernel cannot keep the node from writing files; a bug in it could"
        }
        _ => "\nWARNING            this kernel offers the node less protection than it can use",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_offers_less_is_told_about() {
        let walls = [Wall::Whole, Wall::Partial, Wall::Absent];
        for landlock in walls {
            for seccomp in walls {
                let told = warning(landlock, seccomp).contains("WARNING");
                let is_less = landlock != Wall::Whole || seccomp != Wall::Whole;
                assert_eq!(told, is_less, "{landlock:?} {seccomp:?}");
            }
        }
        assert!(warning(Wall::Absent, Wall::Absent).contains("cannot keep"));
    }
}
