//! Boots that end before there is a listener, each with its reason on the console.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::stage;
use crate::stage::{BOOT, SERVES, Script, Stage, image, now, tools};
use adyton_rig::{Machine, TestPki};

/// A host that answers the heartbeat and hands out whatever it likes as a configuration.
fn lying_host(vsock: &Path, configuration: Vec<u8>) {
    let listen = |port: u16| UnixListener::bind(format!("{}_{port}", vsock.display())).unwrap();
    let (heartbeat, configurations) = (listen(9000), listen(9100));
    thread::spawn(move || {
        while let Ok((mut stream, _)) = heartbeat.accept() {
            let _ = stream.write_all(&[0xB7]);
            let _ = stream.read(&mut [0]);
        }
    });
    thread::spawn(move || {
        while let Ok((mut stream, _)) = configurations.accept() {
            let _ = stream.write_all(&configuration);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read(&mut [0; 64]);
        }
    });
}

fn announced(length: u32, text: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes(), text].concat()
}

fn whole(text: &[u8]) -> Vec<u8> {
    announced(u32::try_from(text.len()).unwrap(), text)
}

/// Boots with this from the host; answers what the console showed until the machine ended by itself.
fn stops(configuration: Vec<u8>) -> String {
    let pki = TestPki::make(now()).unwrap();
    let prepared = Machine::default().prepare(&tools(), &pki).unwrap();
    lying_host(&prepared.vsock(), configuration);
    let enclave = prepared.boot(&image().eif).unwrap();
    let ended = enclave.ends(BOOT);
    let console = enclave.console().text();
    assert!(ended, "it goes on: {console}");
    assert!(!console.contains(SERVES), "it served: {console}");
    console
}

#[test]
fn without_a_configuration_there_is_no_node() {
    let console = stops(Vec::new());
    assert!(
        console.contains("the configuration did not arrive"),
        "{console}"
    );
}

#[test]
fn a_configuration_that_is_too_long_is_refused_before_it_is_read() {
    let console = stops(announced(16 * 1024 + 1, b"listen = 1"));
    assert!(
        console.contains("the configuration has 16385 bytes"),
        "{console}"
    );
}

#[test]
fn a_configuration_that_is_no_text_is_refused() {
    let console = stops(whole(b"listen = \"\xff\xfe\""));
    assert!(
        console.contains("the configuration is not UTF-8"),
        "{console}"
    );
}

#[test]
fn a_configuration_with_an_unknown_name_is_refused_by_the_node() {
    let text = format!("admin = true\n{}", stage::CONFIG);
    let console = stops(whole(text.as_bytes()));
    assert!(console.contains("unknown field `admin`"), "{console}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_the_host_set_back_ends_the_boot() {
    let machine = Machine {
        clock: Some("2020-02-02T02:02:02"),
        ..Machine::default()
    };
    let stage = Stage::raise(Script {
        machine,
        ..Script::default()
    })
    .await;
    assert!(
        stage.enclave.ends(BOOT),
        "{}",
        stage.enclave.console().text()
    );
    let console = stage.enclave.console().text();
    assert!(
        console.contains("away from the time that the hardware tells"),
        "{console}"
    );
    assert!(!console.contains(SERVES), "{console}");
    // The operator hears it, too.
    let until = std::time::Instant::now() + Duration::from_secs(5);
    while !stage.host.said().contains("away from the time") && std::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(
        stage.host.said().contains("away from the time"),
        "{}",
        stage.host.said()
    );
}
