//! What the person trusts: the policy, and the release manifest that it takes.
//!
//! Guarantees: a manifest below one that was accepted before is refused, and what is accepted is remembered, durably,
//! before any node is asked. Refuses to know nodes.

use std::error::Error;
use std::path::Path;

use adyton_attest::Policy;
use adyton_attest::policy::MAX_POLICY_BYTES;
use adyton_attest::release::{
    MAX_MEMORY_BYTES, MAX_RELEASE_BYTES, Memory, Release, UnverifiedRelease,
};
use adyton_attest::with_causes;

use crate::args::Question;
use crate::kept::{self, Turn};

/// The policy to judge by; the reason in words when there is none.
pub(crate) fn policy(question: &Question) -> Result<Policy, String> {
    let policy = match &question.policy {
        None => Policy::default(),
        Some(path) => in_file("policy", path, || {
            let text = String::from_utf8(kept::read(path, MAX_POLICY_BYTES)?)?;
            Ok(Policy::from_toml(&text)?)
        })?,
    };
    let Some(path) = &question.manifest else {
        return Ok(policy);
    };
    let policy = in_file("manifest", path, || {
        let release = UnverifiedRelease::parse(&kept::read(path, MAX_RELEASE_BYTES)?)?;
        Ok(policy.with_release(release)?)
    })?;
    if let (Some(memory), Some(release)) = (&question.remember, policy.release()) {
        in_file("memory", memory, || remember(memory, release))?;
    }
    Ok(policy)
}

fn remember(path: &Path, release: &Release) -> Result<(), Box<dyn Error>> {
    let _turn = Turn::take(path)?;
    let mut memory = match kept::read_if_there(path, MAX_MEMORY_BYTES)? {
        Some(bytes) => Memory::from_json(&bytes)?,
        None => Memory::default(),
    };
    let before = memory.clone();
    memory.admit(release)?;
    if memory != before {
        kept::replace(path, &memory.to_json())?;
    }
    Ok(())
}

/// Names the file in what goes wrong with it.
fn in_file<T>(
    what: &str,
    path: &Path,
    work: impl FnOnce() -> Result<T, Box<dyn Error>>,
) -> Result<T, String> {
    work().map_err(|error| format!("the {what} {}: {}", path.display(), with_causes(&*error)))
}
