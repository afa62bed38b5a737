//! The lines for a second terminal: complete, and working as they stand in the directory where the demo was started.

use std::path::{Path, PathBuf};

use adyton_sandbox::cluster::NETWORK;
use zeroize::Zeroizing;

use super::place::Files;

/// A query that every mailbox has an answer to.
const QUERY: &str = r#"{"query":{"type":"receive"},"options":{"sort":[{"sentAt":"desc"}],"limit":3,"fields":["name","fromName","sentAt"]}}"#;

/// The lines.
pub(super) struct Lines {
    pub(super) query: Zeroizing<String>,
    pub(super) count: Zeroizing<String>,
    pub(super) refused: Zeroizing<String>,
    pub(super) verify: String,
    pub(super) verify_without_policy: String,
    pub(super) adyton: String,
    pub(super) owner: String,
}

/// What the lines speak of.
pub(super) struct Subject<'a> {
    pub(super) node: &'a str,
    /// Of all storage nodes.
    pub(super) storage: &'a [String],
    pub(super) token: &'a str,
    pub(super) key_file: &'a Path,
    pub(super) files: &'a Files,
}

impl Lines {
    /// The lines for these nodes, this app and this owner.
    pub(super) fn new(subject: &Subject<'_>) -> Self {
        let Subject {
            node: url,
            storage,
            token,
            key_file,
            files,
        } = subject;
        let certificate = quoted(&files.certificate);
        let policy = quoted(&files.policy);
        let curl = |path: &str, body: &str| {
            Zeroizing::new(format!(
                "curl -sS --cacert {certificate} -H 'Authorization: Bearer {token}' \
                 -H 'Content-Type: application/json' -d '{body}' {url}/api/rest/v1{path}"
            ))
        };
        let storage: Vec<String> = storage
            .iter()
            .map(|url| format!("--storage {url}"))
            .collect();
        let storage = storage.join(" ");
        let programs = Programs::find();
        Self {
            query: curl("/ds/query/social-email", QUERY),
            count: curl("/ds/count/social-email", "{}"),
            refused: curl("/ds/social-email", r#"{"record":{}}"#),
            verify: format!("{} {url} --policy {policy}", programs.verify),
            verify_without_policy: format!("{} {url}", programs.verify),
            adyton: format!(
                "{} query social-email --where '{{\"type\":\"receive\"}}' --sort sentAt:desc --limit 3 \
                 --fields name,fromName,sentAt --node {url} --policy {policy} --token-file {}",
                programs.adyton,
                quoted(&files.token)
            ),
            owner: format!(
                "{} token list --account {} --network {} {storage} --node {url} --policy {policy}",
                programs.adyton,
                quoted(key_file),
                NETWORK.name()
            ),
        }
    }
}

/// How a shell in this directory calls our programs.
struct Programs {
    adyton: String,
    verify: String,
}

impl Programs {
    fn find() -> Self {
        let by_name = || Self {
            adyton: "adyton".to_owned(),
            verify: "adyton-verify".to_owned(),
        };
        let (Ok(here), Ok(program)) = (std::env::current_dir(), std::env::current_exe()) else {
            return by_name();
        };
        let verifier = program.with_file_name("adyton-verify");
        let verify = match profile_flag(&program) {
            // Started by cargo from the source: the verifier may not be built yet, and cargo sees to that. At the root,
            // `--bin` selects the same packages as `cargo run` did, so that nothing is built twice.
            Some(flag) if is_source(&here) => format!("cargo run {flag}-q --bin adyton-verify --"),
            Some(flag) if here.ancestors().any(is_source) => {
                format!("cargo run {flag}-q -p adyton-verifier --")
            }
            _ if verifier.exists() => quoted(&shortest(&verifier, &here)),
            _ => by_name().verify,
        };
        Self {
            adyton: quoted(&shortest(&program, &here)),
            verify,
        }
    }
}

/// The flag of the profile that cargo built this program with, if cargo did.
fn profile_flag(program: &Path) -> Option<&'static str> {
    match program.parent()?.file_name()?.to_str()? {
        "release" => Some("--release "),
        "debug" => Some(""),
        _ => None,
    }
}

/// Whether this is the root of our workspace.
fn is_source(here: &Path) -> bool {
    here.join("crates/verifier/Cargo.toml").is_file()
}

/// The path from here if the program is below, or else the whole path. Never a bare name, which a shell would look for
/// elsewhere.
fn shortest(program: &Path, here: &Path) -> PathBuf {
    match program.strip_prefix(here) {
        Ok(below) if below.components().count() > 1 => below.to_owned(),
        _ => program.to_owned(),
    }
}

/// A path as one word of a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        for name in [
            "/tmp/a-b.c",
            "/tmp/a b",
            "/tmp/it's",
            "/tmp/$(id)",
            "/tmp/\u{e4}",
        ] {
            let shell = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(Path::new(name)))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(shell.stdout).unwrap(), name);
        }
    }

    #[test]
    fn a_program_is_called_by_a_path_that_leads_to_it() {
        let program = Path::new("/src/target/release/adyton");
        let from = |here: &str| shortest(program, Path::new(here));
        assert_eq!(from("/src"), Path::new("target/release/adyton"));
        assert_eq!(from("/src/target/release"), program);
        assert_eq!(from("/home"), program);
    }
}
