//! The real program with release manifests: on whose word an image is trusted, and that old releases are refused.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod node;
mod program;

use std::fs;
use std::path::{Path, PathBuf};

use adyton_attest::Policy;
use adyton_attest::release::{Draft, ReleaseSigner, UnverifiedRelease};
use node::{Lie, Node};
use program::{Ran, verify};
use tempfile::TempDir;

/// A node, and a project with three holders of release keys, two of which must agree.
struct Project {
    node: Node,
    holders: [ReleaseSigner; 3],
    folder: TempDir,
}

impl Project {
    fn new() -> Self {
        let project = Self {
            node: Node::start(Lie::None),
            holders: std::array::from_fn(|_| ReleaseSigner::generate().unwrap()),
            folder: tempfile::tempdir().unwrap(),
        };
        let keys: Vec<String> = project
            .holders
            .iter()
            .map(|holder| holder.key().to_string())
            .collect();
        let image = &project.by_value().nitro()[0].clone();
        let policy = format!(
            "version = 1\nallow_simulated = true\n[release_keys]\nthreshold = 2\nkeys = {keys:?}\nmin_seq = 3\n\
             root_sha256 = \"{}\"\n",
            image.root()
        );
        fs::write(project.path("policy.toml"), policy).unwrap();
        project
    }

    fn by_value(&self) -> Policy {
        Policy::from_toml(&self.node.tee.policy()).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a manifest of the node's image that these holders signed.
    fn release(&self, seq: u64, commit: &str, by: &[usize]) -> PathBuf {
        let image = &self.by_value().nitro()[0].clone();
        let draft = Draft {
            seq,
            name: "adyton".to_owned(),
            release: format!("0.{seq}.0"),
            commit: commit.repeat(40),
            not_after: None,
            measurements_sha256: None,
            nitro: vec![(
                "x86_64".to_owned(),
                image
                    .pcrs()
                    .range(0..3)
                    .map(|(at, pcr)| (*at, *pcr))
                    .collect(),
            )],
        };
        let unsigned = UnverifiedRelease::parse(draft.to_text().as_bytes()).unwrap();
        let signed = by.iter().fold(unsigned, |release, holder| {
            release.signed_by(&self.holders[*holder])
        });
        let path = self.path(&format!("{seq}-{commit}.release"));
        fs::write(&path, signed.to_text()).unwrap();
        path
    }

    fn judge(&self, manifest: Option<&Path>, flags: &[&str]) -> Ran {
        let (url, policy, memory) = (
            self.node.url(),
            self.path("policy.toml"),
            self.path("memory.json"),
        );
        let mut arguments = vec![url.as_str(), "--policy", policy.to_str().unwrap()];
        if let Some(manifest) = manifest {
            arguments.extend(["--manifest", manifest.to_str().unwrap()]);
            arguments.extend(["--remember", memory.to_str().unwrap()]);
        }
        arguments.extend(flags);
        verify(&arguments)
    }
}

#[test]
fn an_image_that_two_of_three_released_is_trusted_on_their_word() {
    let project = Project::new();
    let manifest = project.release(14, "c", &[0, 2]);
    let ran = project.judge(Some(&manifest), &[]);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    let words = "\"x86_64\": pcr 0, 1, 2 as the manifest of adyton 0.14.0 lists them (number 14, commit cccc";
    assert!(ran.out.contains(words), "{}", ran.out);
    assert!(
        ran.out.contains("signed by 2 of the policy's release keys"),
        "{}",
        ran.out
    );
    let accepts_any = "note: the policy lists no configuration";
    assert!(ran.out.contains(accepts_any), "{}", ran.out);

    let ran = project.judge(Some(&manifest), &["--json"]);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["verdict"], "trusted");
    assert_eq!(report["manifest_seq"], 14);
    assert_eq!(report["release"]["commit"], "c".repeat(40));
    assert_eq!(report["release"]["signed_by"].as_array().unwrap().len(), 2);
    assert_eq!(report["config_listed"], false);
}

#[test]
fn without_enough_signatures_there_is_nothing_to_judge_by() {
    let project = Project::new();
    for by in [&[][..], &[1]] {
        let manifest = project.release(14, "c", by);
        let ran = project.judge(Some(&manifest), &[]);
        assert_eq!(ran.status, 2, "{}{}", ran.out, ran.err);
        assert!(ran.out.contains("the policy asks for 2"), "{}", ran.out);
    }
    let ran = project.judge(None, &[]);
    assert_eq!(ran.status, 1, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("--manifest FILE"), "{}", ran.out);
    let too_old = project.release(2, "c", &[0, 1]);
    let ran = project.judge(Some(&too_old), &[]);
    assert_eq!(ran.status, 2, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("takes none below 3"), "{}", ran.out);
}

#[test]
fn an_older_release_is_refused_once_a_newer_one_was_seen() {
    let project = Project::new();
    let (older, newer) = (
        project.release(14, "c", &[0, 1]),
        project.release(15, "d", &[1, 2]),
    );
    let twin = project.release(15, "e", &[0, 2]);
    assert_eq!(project.judge(Some(&older), &[]).status, 0);
    assert_eq!(project.judge(Some(&newer), &[]).status, 0);
    let ran = project.judge(Some(&older), &[]);
    assert_eq!(ran.status, 2, "{}{}", ran.out, ran.err);
    let words = "the manifest has number 14, but number 15 of the same keys was seen before";
    assert!(ran.out.contains(words), "{}", ran.out);
    let ran = project.judge(Some(&twin), &[]);
    assert_eq!(ran.status, 2, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("another story"), "{}", ran.out);
    assert_eq!(project.judge(Some(&newer), &[]).status, 0);
}

#[test]
fn a_manifest_that_is_not_signed_leaves_no_trace_in_the_memory() {
    let project = Project::new();
    let forged = project.release(u64::from(u32::MAX), "f", &[0]);
    assert_eq!(project.judge(Some(&forged), &[]).status, 2);
    let genuine = project.release(14, "c", &[0, 1]);
    assert_eq!(project.judge(Some(&genuine), &[]).status, 0);
}

#[test]
fn a_memory_that_cannot_be_read_is_no_reason_to_forget() {
    let project = Project::new();
    fs::write(project.path("memory.json"), "{").unwrap();
    let manifest = project.release(14, "c", &[0, 1]);
    let ran = project.judge(Some(&manifest), &[]);
    assert_eq!(ran.status, 2, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("memory.json"), "{}", ran.out);
    assert_eq!(fs::read(project.path("memory.json")).unwrap(), b"{");
}
