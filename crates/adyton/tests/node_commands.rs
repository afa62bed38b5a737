//! `adyton token`, `query` and `sandbox-node` against real nodes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[allow(dead_code, reason = "each test file uses its part")]
mod support;

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{self, Stdio};

use adyton::args::{Cli, Command};
use adyton::connect::open_vault;
use adyton_client::clock::Clock;
use adyton_client::record::{PreparedRecord, Save};
use adyton_protocol::database::DatabaseName;
use adyton_protocol::receipt::DATABASE;
use clap::Parser;
use serde_json::Value;
use support::{Running, adyton, json, stderr, stdout};
use tempfile::TempDir;

/// A running demo, and a folder to work in.
struct World {
    demo: Value,
    folder: TempDir,
    running: Running,
}

impl World {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::start_in(folder, &["--storage-listen", "127.0.0.1:0"])
    }

    fn start_in(folder: TempDir, more: &[&str]) -> Self {
        let arguments = ["demo", "--json", "--listen", "127.0.0.1:0"];
        let arguments = arguments.iter().chain(more).copied();
        let mut running = Running::start(folder.path(), arguments);
        let demo = serde_json::from_str(&running.line()).unwrap();
        Self {
            demo,
            folder,
            running,
        }
    }

    /// Ends both nodes in order, and starts them again with the same data.
    fn restarted(self, more: &[&str]) -> Self {
        let (status, _) = self.running.end("-TERM");
        assert!(status.success(), "{status}");
        Self::start_in(self.folder, more)
    }

    fn of(&self, name: &str) -> &str {
        self.demo[name].as_str().unwrap()
    }

    fn here(&self) -> &Path {
        self.folder.path()
    }

    fn node(&self) -> [&str; 4] {
        ["--node", self.of("node"), "--policy", self.of("policyFile")]
    }

    fn vault(&self) -> [&str; 6] {
        [
            "--account",
            self.of("keyFile"),
            "--network",
            self.of("network"),
            "--storage",
            self.of("storage"),
        ]
    }

    /// Runs a command as the owner.
    fn owner(&self, arguments: &[&str]) -> process::Output {
        adyton(
            self.here(),
            [arguments, &self.node(), &self.vault()].concat(),
        )
    }

    /// Runs a query with the token in a file.
    fn app(&self, token_file: &str, arguments: &[&str]) -> process::Output {
        let token = ["--token-file", token_file];
        adyton(
            self.here(),
            [&["query"], arguments, &self.node(), &token].concat(),
        )
    }
}

#[test]
fn a_token_is_made_used_listed_and_taken_back() {
    let world = World::start();
    let new = [
        "token",
        "new",
        "--json",
        "--scope",
        "api:ds-query",
        "--scope",
        "ds:r:social-email",
        "--expires",
        "12h",
        "--app",
        "did:vda:polamoy:0x5F8e5E547a21f9a8FFeb8725ec9b72fd8940694b",
        "--out",
        "app.token",
    ];
    let made = json(&world.owner(&new));
    assert_eq!(
        (&made["tokenFile"], &made["simulated"]),
        (&"app.token".into(), &true.into())
    );
    assert!(made.get("token").is_none(), "{made}");
    let again = stderr(&world.owner(&new));
    assert!(
        again.contains("never overwritten") && !again.contains("adyt_"),
        "{again}"
    );

    let count = world.app("app.token", &["social-email", "--count"]);
    assert_eq!(stdout(&count), "254\n");
    let id = made["_id"].as_str().unwrap();
    let listed = json(&world.owner(&["token", "list", "--json"]));
    let listed = listed["tokens"].as_array().unwrap();
    let entry = listed.iter().find(|token| token["_id"] == id).unwrap();
    assert_eq!(
        entry["scopes"],
        serde_json::json!([
            "api:ds-query",
            "ds:r:https://common.schemas.verida.io/social/email/v0.1.0/schema.json"
        ])
    );
    assert!(entry["appDID"].is_string() && entry.get("token").is_none());

    // On the screen, the token alone is the first line.
    let shown = stdout(&world.owner(&["token", "new", "--scope", "api:ds-query"]));
    let token = shown.lines().next().unwrap();
    assert!(
        token.starts_with("adyt_") && !token.contains(' '),
        "{shown}"
    );

    assert!(stdout(&world.owner(&["token", "revoke", id])).contains("revoked"));
    let revoked = stderr(&world.app("app.token", &["social-email", "--count"]));
    assert!(
        revoked.contains("token-revoked") && revoked.contains("adyton token new"),
        "{revoked}"
    );
    let nothing = "00000000-0000-4000-8000-000000000000";
    let unknown = stderr(&world.owner(&["token", "revoke", nothing]));
    assert!(unknown.contains("adyton token list"), "{unknown}");
    let refused = stderr(&world.owner(&["token", "new", "--scope", "ds:everything"]));
    assert!(refused.contains("scope-invalid"), "{refused}");
}

#[test]
fn what_an_app_did_is_listed_and_a_receipt_that_was_taken_away_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let data = ["--data", "data", "--storage-listen", "127.0.0.1:0"];
    let world = World::start_in(folder, &data);
    let token_file = world.of("tokenFile").to_owned();
    let sent = ["social-email", "--where", r#"{"type":"send"}"#, "--count"];
    stdout(&world.app(&token_file, &sent));
    // The node writes what it has noted when it ends.
    let world = world.restarted(&data[..2]);
    let receipts = |more: &[&str]| {
        let arguments = [&["receipts"], more, &world.vault()].concat();
        adyton(world.here(), arguments)
    };
    let listed = stdout(&receipts(&[]));
    let first = listed.lines().next().unwrap();
    assert!(
        first.contains("count") && first.contains("social/email"),
        "{listed}"
    );
    let all = json(&receipts(&["--json", "--limit", "1000"]));
    let accesses = all["accesses"].as_array().unwrap();
    assert_eq!(accesses.len(), listed.lines().count());
    assert_eq!(
        (&all["of"], &accesses[0]["kind"]),
        (&accesses.len().into(), &"count".into())
    );
    let one = stdout(&receipts(&["--limit", "1"]));
    assert_eq!(one.lines().collect::<Vec<_>>(), [first]);

    let checked = json(&receipts(&["--check", "--json"]));
    assert_eq!(
        (&checked["holds"], &checked["chains"]),
        (&true.into(), &1.into())
    );
    let hash = checked["last"][0]["hash"].as_str().unwrap();
    let told = stdout(&receipts(&["--check", "--known", hash]));
    assert!(told.starts_with("holds ") && told.contains(hash), "{told}");
    let broken = |more: &[&str], words: &str| {
        let output = receipts(more);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(output.stdout.is_empty());
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains(words) && said.contains("docs/receipts.md"),
            "{said}"
        );
    };
    let unknown = "0".repeat(64);
    broken(&["--check", "--known", &unknown], "the end was taken away");
    let refused = receipts(&["--check", "--known", "short"]);
    assert_eq!(refused.status.code(), Some(2));

    // Somebody with the key takes the last receipt away.
    let id = accesses.first().unwrap()["receipt"].as_str().unwrap();
    let arguments = [&["adyton", "receipts"][..], &world.vault()].concat();
    take_away(&arguments, world.here(), id);
    broken(&["--check"], "the end of chain");
}

/// Deletes a receipt as its owner can.
fn take_away(arguments: &[&str], here: &Path, id: &str) {
    let Command::Receipts(mut args) = Cli::try_parse_from(arguments).unwrap().command else {
        panic!()
    };
    args.vault.account.key_file = here.join(&args.vault.account.key_file);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let vault = open_vault(&args.vault, &Clock::system()).await.unwrap();
        let name = DatabaseName::new(DATABASE).unwrap();
        let database = vault.session.database(&name);
        let cipher = database.cipher();
        let record = database.read(id, &cipher).await.unwrap().unwrap();
        let gone = PreparedRecord::new(record, Save::Delete, None, &vault.session).unwrap();
        database.put(&gone, &cipher).await.unwrap();
    });
}

#[test]
fn a_query_is_asked_with_everything_that_it_can_have() {
    let world = World::start();
    let token_file = world.of("tokenFile").to_owned();
    let arguments = [
        "social-email",
        "--where",
        r#"{"type":"receive"}"#,
        "--sort",
        "sentAt:desc",
        "--limit",
        "2",
        "--skip",
        "1",
        "--fields",
        "name,sentAt",
    ];
    let whole = json(&world.app(&token_file, &[&arguments[..], &["--json"]].concat()));
    assert_eq!(
        (&whole["simulated"], &whole["limit"]),
        (&true.into(), &2.into())
    );
    assert_eq!(whole["dbRows"], 254);
    let output = world.app(&token_file, &arguments);
    let lines: Vec<Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(whole["items"].as_array().unwrap(), &lines);
    assert_eq!(lines.len(), 2);
    assert!(lines[0]["sentAt"].as_str() >= lines[1]["sentAt"].as_str());
    assert!(lines[0].get("fromName").is_none(), "{lines:?}");
    let note = String::from_utf8(output.stderr).unwrap();
    let total = &whole["total"];
    assert!(
        note.contains(&format!(
            "2 shown of {total} that match, 254 records in all"
        )),
        "{note}"
    );

    // The owner needs no token; a schema has many names; standard input is a file, too.
    let url = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";
    let owner = world.owner(&["query", url, "--count", "--json"]);
    assert_eq!(json(&owner)["count"], 254);
    let mut child = process::Command::new(env!("CARGO_BIN_EXE_adyton"))
        .args(["query", "social-email", "--count", "--token-file", "-"])
        .args(world.node())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(world.of("token").as_bytes()).unwrap();
    drop(pipe);
    assert_eq!(stdout(&child.wait_with_output().unwrap()), "254\n");

    for (arguments, words) in [
        (&["social-calendar"][..], "scope-missing"),
        (&["https://example.org/none.json"], "not-found"),
        (
            &["social-email", "--where", r#"{"a":{"$where":"1"}}"#],
            "query-unsupported",
        ),
    ] {
        let said = stderr(&world.app(&token_file, arguments));
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn a_node_that_is_not_trusted_gets_nothing() {
    let world = World::start();
    // A storage node that would notice a login.
    let storage = TcpListener::bind("127.0.0.1:0").unwrap();
    storage.set_nonblocking(true).unwrap();
    let url = format!("http://{}", storage.local_addr().unwrap());
    let node = world.of("node");
    let owner = [
        "--account",
        world.of("keyFile"),
        "--network",
        "local",
        "--storage",
        &url,
    ];
    for command in [
        &["token", "list"][..],
        &["token", "new", "--scope", "api:ds-query"],
        &["query", "social-email"],
    ] {
        let arguments = [command, &["--node", node], &owner].concat();
        let said = stderr(&adyton(world.here(), arguments));
        assert!(said.contains("is not trusted (SIMULATED)"), "{said}");
        assert!(
            said.contains("nothing was sent") && said.contains("--policy"),
            "{said}"
        );
    }
    assert_eq!(storage.accept().unwrap_err().kind(), ErrorKind::WouldBlock);

    // The policy of another start does not do: every simulation has its own root.
    let other = World::start();
    let arguments = [
        "query",
        "social-email",
        "--node",
        node,
        "--policy",
        other.of("policyFile"),
        "--token-file",
        world.of("tokenFile"),
    ];
    let said = stderr(&adyton(world.here(), arguments));
    assert!(said.contains("is not trusted (SIMULATED)"), "{said}");
}

#[test]
fn what_goes_wrong_with_a_node_is_said_with_a_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    fs::write(here.join("policy.toml"), "version = 1\nadmin = true").unwrap();
    fs::write(here.join("loose"), "adyt_x").unwrap();
    #[cfg(unix)]
    fs::set_permissions(
        here.join("loose"),
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    for (more, words) in [
        (
            &["--node", "https://127.0.0.1:9"][..],
            "is the node running",
        ),
        (
            &["--node", "http://127.0.0.1:9"],
            "expected for example https://",
        ),
        (
            &["--node", "https://127.0.0.1:9", "--policy", "policy.toml"],
            "policy.toml",
        ),
        (
            &["--node", "https://127.0.0.1:9", "--policy", "none.toml"],
            "none.toml",
        ),
        (
            &["--node", "https://127.0.0.1:9", "--token-file", "loose"],
            "chmod 600 loose",
        ),
        (
            &["--node", "https://127.0.0.1:9", "--token-file", "none"],
            "adyton token new",
        ),
    ] {
        let said = stderr(&adyton(here, [&["query", "social-email"], more].concat()));
        assert!(said.contains(words), "{more:?}: {said}");
    }
}

#[test]
fn a_sandbox_node_serves_alone_until_it_is_told_to_end() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let config = "listen = \"127.0.0.1:0\"\nallow_loopback_storage = true\n";
    fs::write(here.join("node.toml"), config).unwrap();
    let arguments = [
        "sandbox-node",
        "--config",
        "node.toml",
        "--policy-out",
        "policy.toml",
        "--certificate-out",
        "certificate.pem",
    ];
    let mut running = Running::start(here, arguments);
    let url = running.line().trim().to_owned();
    assert!(url.starts_with("https://127.0.0.1:"), "{url}");
    let pem = fs::read_to_string(here.join("certificate.pem")).unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE-----"));

    // It is appraised, and then the token is none of its own.
    support_token(here);
    let query = [
        "query",
        "social-email",
        "--node",
        &url,
        "--policy",
        "policy.toml",
        "--token-file",
        "token",
    ];
    let said = stderr(&adyton(here, query));
    assert!(
        said.contains("the node refused") && said.contains("credentials-invalid"),
        "{said}"
    );
    let (status, _) = running.end("-TERM");
    assert!(status.success(), "{status}");

    fs::write(here.join("node.toml"), "listen = 7").unwrap();
    let said = stderr(&adyton(here, arguments));
    assert!(said.contains("node.toml"), "{said}");
}

/// A file with something that looks like a token.
fn support_token(folder: &Path) {
    let path = folder.join("token");
    fs::write(&path, format!("adyt_{}", "A".repeat(47))).unwrap();
    #[cfg(unix)]
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}
