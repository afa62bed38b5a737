//! Oyster's formulas against values that another implementation computed, and the command that prints them.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output};

use adyton_enclave::oyster::params::Measured;
use adyton_enclave::oyster::{BaseImage, InitParam, InitParams};
use serde::Deserialize;

#[derive(Deserialize)]
struct Vector {
    params: Vec<Param>,
    pcrs: [String; 3],
    digest: String,
    pcr16: String,
    image_id: String,
}

#[derive(Deserialize)]
struct Param {
    path: String,
    measured: bool,
    content: String,
}

fn vectors() -> Vec<Vector> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/oyster.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn digest_register_and_image_id_are_those_of_the_vectors() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 4);
    for vector in vectors {
        let (first, others) = vector.params.split_first().unwrap();
        let param = |param: &Param| {
            let measured = if param.measured {
                Measured::Yes
            } else {
                Measured::No
            };
            InitParam::new(&param.path, param.content.clone().into_bytes(), measured).unwrap()
        };
        let others = others.iter().map(param).collect();
        let params = InitParams::new(first.content.clone().into_bytes(), others).unwrap();
        let base = BaseImage::new([0, 1, 2].map(|at| vector.pcrs[at].as_str())).unwrap();
        assert_eq!(hex::encode(params.digest()), vector.digest);
        assert_eq!(hex::encode(params.pcr16()), vector.pcr16);
        assert_eq!(hex::encode(params.image_id(&base)), vector.image_id);
    }
}

fn oyster(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_adyton-enclave"))
        .arg("oyster")
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_command_prints_a_policy_with_the_vectors_values() {
    let vector = &vectors()[1];
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("compose.yml", &vector.params[0].content);
    write("n.toml", &vector.params[1].content);
    let output = oyster(
        folder.path(),
        &[
            "compose.yml",
            "--preset",
            "blue-v3-amd64",
            "--init-param",
            "node.toml:1:0:file:n.toml",
            "--config",
            "n.toml",
        ],
    );
    let (stdout, stderr) = said(&output);
    assert!(output.status.success(), "{stderr}");
    for value in [&vector.digest, &vector.pcr16, &vector.image_id] {
        assert!(stdout.contains(value.as_str()), "{stdout}");
    }
    // The verifier reads the same file in a test of its own.
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/oyster-policy.toml");
    assert_eq!(stdout, std::fs::read_to_string(recorded).unwrap());

    let [pcr0, pcr1, pcr2] = &vector.pcrs;
    let by_value = oyster(
        folder.path(),
        &[
            "compose.yml",
            "--pcr0",
            pcr0,
            "--pcr1",
            pcr1,
            "--pcr2",
            pcr2,
            "--init-param",
            "node.toml:1:0:file:n.toml",
            "--config",
            "n.toml",
        ],
    );
    assert_eq!(said(&by_value).0, stdout);

    let json = oyster(
        folder.path(),
        &["compose.yml", "--preset", "blue-v3-amd64", "--json"],
    );
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let bare = &vectors()[0];
    assert_eq!(json["digest"], bare.digest.as_str());
    assert_eq!(json["pcrs"]["16"], bare.pcr16.as_str());
    assert_eq!(json["image_id"], bare.image_id.as_str());
}

#[test]
fn the_command_refuses_what_leaves_open_what_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("compose.yml");
    std::fs::write(&file, "services:\n  node:\n    image: node:latest\n").unwrap();
    let output = oyster(folder.path(), &["compose.yml", "--preset", "blue-v3-amd64"]);
    let (stdout, stderr) = said(&output);
    assert_eq!((output.status.code(), stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("by digest"), "{stderr}");

    std::fs::write(&file, &vectors()[0].params[0].content).unwrap();
    let zero = "0".repeat(96);
    for (args, reason) in [
        (vec!["--preset", "debug"], "no base image"),
        (
            vec!["--pcr0", &zero, "--pcr1", &zero, "--pcr2", &zero],
            "debug mode",
        ),
        (
            vec![
                "--preset",
                "blue-v3-amd64",
                "--init-param",
                "docker-compose.yml:1:0:utf8:a",
            ],
            "same path",
        ),
        (
            vec!["--preset", "blue-v3-amd64", "--init-param", "a:1:utf8:b"],
            "path:attest:encrypt",
        ),
        (
            vec!["--preset", "blue-v3-amd64", "--init-param", "a:2:0:utf8:b"],
            "path:attest:encrypt",
        ),
        (
            vec![
                "--preset",
                "blue-v3-amd64",
                "--init-param",
                "../a:1:0:utf8:b",
            ],
            "relative",
        ),
        (
            vec![
                "--preset",
                "blue-v3-amd64",
                "--init-param",
                "a:1:0:file:nowhere",
            ],
            "nowhere",
        ),
        (
            vec![
                "--preset",
                "blue-v3-amd64",
                "--init-param",
                ".env:0:0:utf8:A=b",
            ],
            ".env",
        ),
    ] {
        let all: Vec<&str> = [&["compose.yml"], args.as_slice()].concat();
        let output = oyster(folder.path(), &all);
        let (stdout, stderr) = said(&output);
        assert_eq!(
            (output.status.code(), stdout.as_str()),
            (Some(1), ""),
            "{args:?}"
        );
        assert!(stderr.contains(reason), "{args:?}: {stderr}");
    }
}

#[test]
fn the_compose_file_that_we_ship_is_refused_until_somebody_fills_in_the_digest() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../enclave/oyster/compose.yml");
    let text = std::fs::read_to_string(shipped).unwrap();
    assert!(adyton_enclave::oyster::Compose::parse(&text).is_err());
    let filled = text.replace("REPLACE-WITH-THE-DIGEST", &"ab".repeat(32));
    let compose = adyton_enclave::oyster::Compose::parse(&filled).unwrap();
    assert_eq!(compose.images().len(), 1);
}
