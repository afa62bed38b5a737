//! Talking to a confidential node: appraise it first, and only then send a credential.
//!
//! Guarantees: whatever these commands send, they send through [`AttestedNode`], which cannot be had without an
//! appraisal that held. A simulation is called one on standard error, every time.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use adyton_attest::Policy;
use adyton_attest::policy::MAX_POLICY_BYTES;
use adyton_attest::release::{MAX_RELEASE_BYTES, UnverifiedRelease};
use adyton_client::attested_node::{AttestedNode, NodeCredential, NodeError};
use adyton_client::clock::Clock;
use bytes::Bytes;
use http::Method;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::args::{NodeArgs, TokenSource};
use crate::failure::Failure;
use crate::secret_file::{self, Kind};

/// What every access token begins with.
const TOKEN_PREFIX: &str = "adyt_";

/// A node that was appraised, with the name that the person gave it.
#[derive(Debug)]
pub struct Node {
    url: String,
    attested: AttestedNode,
}

impl Node {
    /// Appraises the node by the policy, and refuses it with the reason.
    pub async fn connect(args: &NodeArgs, clock: &Clock) -> Result<Self, Failure> {
        let mut policy = match &args.policy {
            Some(path) => read_policy(path)?,
            None => Policy::default(),
        };
        if let Some(path) = &args.manifest {
            policy = with_manifest(policy, path)?;
        }
        let node = Self::connect_by(&args.node, &policy, clock).await?;
        if node.is_simulated() {
            let notice =
                "SIMULATED: this node runs in no enclave, and its operator can read everything.";
            // Nobody is left to tell if this fails.
            let _ = writeln!(io::stderr(), "{notice}");
        }
        Ok(node)
    }

    /// The same with a policy at hand, for a caller that tells about simulations itself.
    pub async fn connect_by(url: &str, policy: &Policy, clock: &Clock) -> Result<Self, Failure> {
        let attested = AttestedNode::connect(url, policy, clock)
            .await
            .map_err(|error| refused(url, &error))?;
        Ok(Self {
            url: url.to_owned(),
            attested,
        })
    }

    /// Whether it proves nothing.
    pub fn is_simulated(&self) -> bool {
        self.attested.appraised().is_simulated()
    }

    /// Sends a request below `/api/rest/v1` and returns the body of a good answer.
    pub async fn ask(
        &mut self,
        method: Method,
        path: &str,
        credential: &NodeCredential,
        body: Option<&Value>,
    ) -> Result<Bytes, Failure> {
        let path = format!("/api/rest/v1{path}");
        let answer = self
            .attested
            .send(method, &path, Some(credential), body)
            .await
            .map_err(|error| {
                Failure::of(format_args!("asking {} did not work", self.url), &error)
            })?;
        if answer.status.is_success() {
            return Ok(answer.body);
        }
        Err(problem(answer.status.as_u16(), &answer.body))
    }

    /// Like [`Node::ask`], for an answer that is read as JSON.
    pub async fn ask_json(
        &mut self,
        method: Method,
        path: &str,
        credential: &NodeCredential,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let body = self.ask(method, path, credential, body).await?;
        serde_json::from_slice(&body).map_err(|_| not_json())
    }
}

/// The node said something else than its API promises.
pub fn not_json() -> Failure {
    Failure::new("the node's answer is not what its API promises")
}

/// Reads an access token from its file, or from standard input. Never from an argument, which others could read.
pub fn read_token(source: &TokenSource) -> Result<NodeCredential, Failure> {
    let text = match source {
        TokenSource::StandardInput => secret_file::read_from(io::stdin().lock())
            .map_err(|error| Failure::of("cannot read the token from standard input", &error))?,
        TokenSource::File(path) => secret_file::read(path, Kind::Token)?,
    };
    let token = text.trim();
    // A key file given by mistake must not travel.
    if !token.starts_with(TOKEN_PREFIX) || token.contains(char::is_whitespace) {
        return Err(
            Failure::new(format!("{source} holds no access token; nothing was sent")).hint(
                format!("a token is one word that begins with {TOKEN_PREFIX}"),
            ),
        );
    }
    Ok(NodeCredential::Token(Zeroizing::new(token.to_owned())))
}

fn read_policy(path: &Path) -> Result<Policy, Failure> {
    let doing = format!("cannot use the policy {}", path.display());
    let text = read(path, MAX_POLICY_BYTES, &doing)?;
    Policy::from_toml(&text).map_err(|error| Failure::of(&doing, &error))
}

/// The policy with what its release keys signed.
fn with_manifest(policy: Policy, path: &Path) -> Result<Policy, Failure> {
    let doing = format!("cannot use the manifest {}", path.display());
    let text = read(path, MAX_RELEASE_BYTES, &doing)?;
    UnverifiedRelease::parse(text.as_bytes())
        .and_then(|release| policy.with_release(release))
        .map_err(|error| Failure::of(&doing, &error))
}

/// At most one byte over the limit, so that a longer file is refused and not cut.
fn read(path: &Path, limit: usize, doing: &str) -> Result<String, Failure> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(limit as u64 + 1).read_to_string(&mut text))
        .map_err(|error| Failure::of(doing, &error))?;
    Ok(text)
}

fn refused(url: &str, error: &NodeError) -> Failure {
    match error {
        NodeError::NotTrusted(refusal) => {
            let kind = if refusal.is_simulated() {
                " (SIMULATED)"
            } else {
                ""
            };
            let text = format!("{url} is not trusted{kind}: {refusal}; nothing was sent to it");
            Failure::new(text)
                .hint("`adyton-verify` shows every step; --policy FILE names what you trust")
        }
        NodeError::Address(_) => Failure::of(format_args!("cannot use the node {url}"), error)
            .hint("expected for example https://node.example.org"),
        _ => Failure::of(format_args!("cannot use the node {url}"), error)
            .hint("is the node running at this address?"),
    }
}

/// What a node's refusal says (RFC 9457), with a way out where there is one.
fn problem(status: u16, body: &[u8]) -> Failure {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| problem.get(name).and_then(Value::as_str);
    let code = text("code").unwrap_or_default();
    let Some(detail) = text("detail").or_else(|| text("error")) else {
        return Failure::new(format!("the node answered with status {status}"));
    };
    // The node is appraised, and still its words are not ours: no control characters.
    let failure = Failure::new(format!(
        "the node refused: {} ({status} {})",
        detail.escape_debug(),
        code.escape_debug()
    ));
    match code {
        "token-expired" | "token-revoked" => failure.hint("make another with `adyton token new`"),
        "credentials-invalid" => failure.hint(
            "a node forgets its tokens when it restarts; make another with `adyton token new`",
        ),
        "scope-missing" => {
            failure.hint("make a token that may do this: `adyton token new --scope …`")
        }
        "scope-invalid" => {
            failure.hint("for example --scope api:ds-query --scope ds:r:social-email")
        }
        "storage-unreachable" => failure.hint("is the storage node of this vault running?"),
        "overloaded" | "draining" | "timeout" => failure.hint("try again in a while"),
        _ => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_in_the_nodes_words_with_a_way_out() {
        let body =
            br#"{"status":401,"code":"token-expired","detail":"the access token has expired"}"#;
        let text = problem(401, body).to_string();
        assert!(
            text.contains("the access token has expired (401 token-expired)"),
            "{text}"
        );
        assert!(text.contains("adyton token new"), "{text}");
    }

    #[test]
    fn an_answer_without_words_is_told_by_its_status() {
        for body in [&b""[..], b"<html>", b"[]", br#"{"detail":7}"#] {
            assert!(problem(502, body).to_string().contains("status 502"));
        }
    }

    #[test]
    fn a_nodes_words_cannot_steer_the_terminal() {
        let body = "{\"detail\":\"\\u001b[2J\"}".as_bytes();
        assert!(!problem(400, body).to_string().contains('\u{1b}'));
    }

    #[test]
    fn a_key_file_is_never_sent_as_a_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let words = "abandon ability able about above absent absorb abstract";
        secret_file::write(&path, Kind::Key, words).unwrap();
        let failure = read_token(&TokenSource::File(path)).unwrap_err();
        assert!(
            failure.to_string().contains("nothing was sent"),
            "{failure}"
        );
        assert!(!format!("{failure:?}").contains("abandon"), "{failure:?}");
    }
}
