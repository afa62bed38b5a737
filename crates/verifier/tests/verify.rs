//! The real program against a real TLS server: verdict, exit status, and what it prints.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

#[path = "../../sandbox/tests/lacking/mod.rs"]
mod lacking;
mod node;
mod program;

use std::process::Command;

use node::{Lie, Node};
use program::{Ran, verify};

/// Runs against a node with the policy that the simulation wrote, with further lines at its head.
fn verify_with_policy(node: &Node, lines: &str, flags: &[&str]) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    std::fs::write(&path, format!("{lines}\n{}", node.tee.policy())).unwrap();
    let url = node.url();
    verify(&[&[url.as_str(), "--policy", path.to_str().unwrap()], flags].concat())
}

fn lied(lie: Lie) -> Ran {
    verify_with_policy(&Node::start(lie), "", &[])
}

#[test]
fn the_simulation_is_trusted_by_its_own_policy_and_called_simulated() {
    let node = Node::start(Lie::None);
    let ran = verify_with_policy(&node, "", &[]);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    assert!(
        ran.out.contains("*  SIMULATED: this is not an enclave."),
        "{}",
        ran.out
    );
    assert!(
        ran.out
            .ends_with("TRUSTED BY THIS POLICY, BUT SIMULATED: it proves nothing.\n"),
        "{}",
        ran.out
    );
    assert!(
        ran.out.contains(&format!("pin {}", node.pin)),
        "{}",
        ran.out
    );
    assert_eq!(
        ran.out
            .lines()
            .filter(|line| line.starts_with("  ok  "))
            .count(),
        11,
        "{}",
        ran.out
    );
    assert_eq!(ran.err, "");
}

#[test]
fn the_default_policy_does_not_trust_the_simulation() {
    let node = Node::start(Lie::None);
    let ran = verify(&[&node.url()]);
    assert_eq!(ran.status, 1, "{}{}", ran.out, ran.err);
    assert!(
        ran.out
            .contains("NOT TRUSTED (SIMULATED): step 3 (chain) does not hold"),
        "{}",
        ran.out
    );
    assert!(
        ran.out.contains("the policy does not allow simulations"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("--policy FILE"), "{}", ran.out);
}

#[test]
fn every_lie_is_found_and_named() {
    for (lie, step) in [
        (Lie::Nonce, "8a (nonce)"),
        (Lie::Relay, "8b (tls-key)"),
        (Lie::Exporter, "8c (channel)"),
        (Lie::Unbound, "8c (channel)"),
        (Lie::Config, "8d (configuration)"),
        (Lie::Bit, "4 (signature)"),
    ] {
        let ran = lied(lie);
        assert_eq!(ran.status, 1, "{lie:?}: {}{}", ran.out, ran.err);
        let verdict = format!("NOT TRUSTED (SIMULATED): step {step} does not hold");
        assert!(ran.out.contains(&verdict), "{lie:?}: {}", ran.out);
    }
}

#[test]
fn an_unbound_document_is_trusted_where_the_policy_says_so() {
    let ran = verify_with_policy(
        &Node::start(Lie::Unbound),
        "require_channel_binding = false",
        &[],
    );
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
}

#[test]
fn measurements_that_are_not_listed_are_shown_for_comparison() {
    let node = Node::start(Lie::None);
    let policy = node.tee.policy();
    let (head, _) = policy.split_once("pcrs").unwrap();
    let zeros = format!(
        "{head}pcrs = {{ 0 = \"{0}\", 1 = \"{0}\", 2 = \"{0}\" }}",
        "ab".repeat(48)
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    std::fs::write(&path, zeros).unwrap();
    let ran = verify(&[&node.url(), "--policy", path.to_str().unwrap()]);
    assert_eq!(ran.status, 1, "{}{}", ran.out, ran.err);
    assert_eq!(
        ran.out
            .lines()
            .filter(|line| line.starts_with("  measured: pcr "))
            .count(),
        4,
        "{}",
        ran.out
    );
    assert!(
        ran.out.contains("Compare the measurements above"),
        "{}",
        ran.out
    );
}

#[test]
fn an_answer_that_is_no_evidence_is_not_trusted() {
    for lie in [
        Lie::Says(200, "{}"),
        Lie::Says(200, "<html>"),
        Lie::Says(200, ""),
        Lie::Endless,
    ] {
        let ran = lied(lie);
        assert_eq!(ran.status, 1, "{lie:?}: {}{}", ran.out, ran.err);
        assert!(
            ran.out
                .contains("NOT TRUSTED: the node's answer is no evidence"),
            "{}",
            ran.out
        );
    }
}

#[test]
fn no_answer_is_no_verdict() {
    let gone = Node::start(Lie::None).stop();
    let not_tls = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("https://{}", not_tls.local_addr().unwrap());
    let garbage = std::thread::spawn(move || {
        let (mut stream, _) = not_tls.accept().unwrap();
        std::io::Write::write_all(&mut stream, b"220 mail.example ESMTP\r\n").unwrap();
    });
    for ran in [
        verify(&[&gone]),
        verify(&[&address]),
        lied(Lie::Closes),
        lied(Lie::Says(404, "")),
        lied(Lie::Says(301, "")),
    ] {
        assert_eq!(ran.status, 2, "{}{}", ran.out, ran.err);
        assert!(ran.out.contains("COULD NOT TELL: "), "{}", ran.out);
    }
    garbage.join().unwrap();
}

#[test]
fn a_policy_or_an_address_that_cannot_be_read_is_no_verdict() {
    let node = Node::start(Lie::None);
    let missing = verify(&[&node.url(), "--policy", "/nonexistent/policy.toml"]);
    assert_eq!(missing.status, 2, "{}", missing.out);
    assert!(
        missing.out.contains("/nonexistent/policy.toml"),
        "{}",
        missing.out
    );
    let misspelt = verify_with_policy(&node, "alow_simulated = true", &[]);
    assert_eq!(misspelt.status, 2, "{}", misspelt.out);
    assert!(misspelt.out.contains("alow_simulated"), "{}", misspelt.out);
    for url in ["http://localhost", "localhost:1", "https://localhost/path"] {
        assert_eq!(verify(&[url]).status, 2, "{url}");
    }
    assert_eq!(verify(&[]).status, 2);
}

#[test]
fn a_script_gets_one_json_object() {
    let node = Node::start(Lie::None);
    let ran = verify_with_policy(&node, "", &["--json"]);
    assert_eq!(ran.status, 0, "{}{}", ran.out, ran.err);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["verdict"], "trusted");
    assert_eq!(report["simulated"], true);
    assert_eq!(report["pin"], node.pin.as_str());
    assert_eq!(report["config"], "a = 1\n");
    assert_eq!(report["facts"].as_array().unwrap().len(), 11);

    let ran = verify(&[&node.url(), "--json"]);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.status, &report["verdict"]), (1, &"not-trusted".into()));
    assert_eq!(
        (&report["failed_step"], &report["simulated"]),
        (&"chain".into(), &true.into())
    );

    let ran = verify(&[&node.stop(), "--json"]);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        (ran.status, &report["verdict"]),
        (2, &"could-not-tell".into())
    );
}

#[test]
fn the_pin_is_printed_alone_and_only_of_a_trusted_node() {
    let node = Node::start(Lie::None);
    let ran = verify_with_policy(&node, "", &["--pin-out"]);
    assert_eq!((ran.status, ran.out), (0, format!("{}\n", node.pin)));
    assert!(ran.err.contains("SIMULATED"), "{}", ran.err);
    let refused = verify(&[&node.url(), "--pin-out"]);
    assert_eq!((refused.status, refused.out.as_str()), (1, ""));
}

/// Runs the curl of this machine; none if it has none.
fn curl(arguments: &[&str]) -> Option<(i32, String)> {
    let ran = Command::new("curl").args(arguments).output();
    let output = ran.ok()?;
    let body = String::from_utf8_lossy(&output.stdout).into_owned();
    Some((output.status.code().unwrap(), body))
}

#[test]
#[allow(clippy::print_stderr)]
fn curl_talks_to_the_appraised_key_and_to_no_other() {
    let node = Node::start(Lie::None);
    let ran = verify_with_policy(&node, "", &["--pin-out"]);
    let (pin, url) = (ran.out.trim(), node.url());
    // The certificate is the node's own; the pin stands for it.
    let get = |pin: &str| curl(&["--silent", "--insecure", "--pinnedpubkey", pin, &url]);
    let Some((status, body)) = get(pin) else {
        lacking::skip("there is no curl on this machine");
        return;
    };
    assert_eq!(status, 0, "{body}");
    assert!(body.contains("simulated-nitro"), "{body}");
    // CURLE_SSL_PINNEDPUBKEYNOTMATCH
    let other = Node::start(Lie::None);
    assert_eq!(get(&other.pin), Some((90, String::new())));
}
