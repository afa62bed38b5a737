//! The way in, with an enclave that is a plain server: amounts, ends, and who reads slowly.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adyton_host::config::Config;
use adyton_host::host::Host;
use adyton_host::log::Log;
use adyton_host::pass::{Meter, PIECE};
use support::tap::Tap;
use support::world::emulate;
use support::{Folder, HostProcess, PATIENCE, wait_for};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::timeout;

const NODE: &str = "listen = \"vsock:8443\"\n";

/// A host as a part of this process, so that its meter can be read.
async fn host(folder: &Folder, more: &str) -> (SocketAddr, Arc<Meter>) {
    let config = Config::read(&folder.configure(NODE, more)).unwrap();
    let host = Host::bind(config, Log::of(|_| {})).await.unwrap();
    let (address, meter) = (host.addresses()[0], host.meter());
    tokio::spawn(host.run(std::future::pending()));
    (address, meter)
}

async fn enclave(folder: &Folder) -> TcpListener {
    let inside = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let vm = UnixListener::bind(folder.vm()).unwrap();
    let tap = Arc::new(Tap::default());
    tokio::spawn(emulate(vm, inside.local_addr().unwrap(), tap));
    inside
}

fn pattern(count: usize, salt: u8) -> Vec<u8> {
    (0..count).map(|n| (n % 251) as u8 ^ salt).collect()
}

/// Says all, ends, and hears all.
async fn talk(stream: TcpStream, say: Vec<u8>) -> Vec<u8> {
    let (mut read, mut write) = stream.into_split();
    let mut heard = Vec::new();
    let (said, heard_all) = tokio::join!(
        async {
            write.write_all(&say).await?;
            write.shutdown().await
        },
        read.read_to_end(&mut heard)
    );
    said.unwrap();
    heard_all.unwrap();
    heard
}

#[tokio::test]
async fn four_megabytes_go_both_ways_through_the_program() {
    let folder = Folder::new();
    let host = HostProcess::start(&folder.configure(NODE, ""));
    let inside = enclave(&folder).await;
    let outside = TcpStream::connect(host.address().await).await.unwrap();
    let (enclave, _) = inside.accept().await.unwrap();
    let (there, back) = (pattern(4 << 20, 0), pattern(4 << 20, 0xff));
    let (heard_outside, heard_inside) =
        tokio::join!(talk(outside, there.clone()), talk(enclave, back.clone()));
    assert!(heard_outside == back && heard_inside == there);
}

#[tokio::test]
async fn the_end_of_one_direction_arrives_and_the_other_goes_on() {
    let folder = Folder::new();
    let (address, meter) = host(&folder, "").await;
    let inside = enclave(&folder).await;
    let mut outside = TcpStream::connect(address).await.unwrap();
    outside.write_all(b"question").await.unwrap();
    outside.shutdown().await.unwrap();
    let (mut enclave, _) = inside.accept().await.unwrap();
    let mut text = String::new();
    enclave.read_to_string(&mut text).await.unwrap();
    // The question has ended; its answer comes after that.
    enclave.write_all(b" answer").await.unwrap();
    drop(enclave);
    outside.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "question answer");
    wait_for("nothing is held", || (meter.held() == 0).then_some(())).await;
}

#[tokio::test]
async fn who_reads_slowly_is_written_to_slowly_and_little_is_kept_for_them() {
    let folder = Folder::new();
    let (address, meter) = host(&folder, "").await;
    let inside = enclave(&folder).await;
    let mut outside = TcpStream::connect(address).await.unwrap();
    let (mut enclave, _) = inside.accept().await.unwrap();
    // The enclave has much to say, and nobody reads: it has to stop.
    let all = pattern(64 << 20, 3);
    let mut said = 0;
    while let Ok(count) = timeout(Duration::from_millis(500), enclave.write(&all[said..])).await {
        said += count.unwrap();
    }
    assert!(said < all.len(), "somebody keeps {said} bytes");
    assert!(meter.held() <= PIECE, "{}", meter.held());
    // What was said is not lost; it comes as fast as it is read.
    let rest = all.clone();
    let saying = tokio::spawn(async move {
        enclave.write_all(&rest[said..]).await.unwrap();
    });
    let mut heard = Vec::new();
    outside.read_to_end(&mut heard).await.unwrap();
    saying.await.unwrap();
    assert!(heard == all);
    assert!(meter.peak() <= 2 * PIECE, "{}", meter.peak());
    assert_eq!(meter.passed(), all.len() as u64);
}

#[tokio::test]
async fn a_silent_connection_ends_and_so_does_one_too_many() {
    let folder = Folder::new();
    let (address, _) = host(&folder, "[connections]\nmost = 1\nidle_seconds = 3\n").await;
    let inside = enclave(&folder).await;
    tokio::spawn(async move {
        let mut connections = Vec::new();
        loop {
            let (mut enclave, _) = inside.accept().await.unwrap();
            enclave.write_all(b"x").await.unwrap();
            connections.push(enclave);
        }
    });
    let heard = |mut stream: TcpStream| async move {
        let mut heard = Vec::new();
        let reading = timeout(PATIENCE, stream.read_to_end(&mut heard)).await;
        // However it ends, it ends.
        let _: std::io::Result<usize> = reading.unwrap();
        heard
    };
    let mut first = TcpStream::connect(address).await.unwrap();
    assert_eq!(first.read_u8().await.unwrap(), b'x');
    // The newcomer is sent away at once, the first one after its silence.
    let second = TcpStream::connect(address).await.unwrap();
    assert_eq!(heard(second).await, b"");
    assert_eq!(heard(first).await, b"");
    // Then there is room again.
    let until = tokio::time::Instant::now() + PATIENCE;
    while heard(TcpStream::connect(address).await.unwrap()).await != b"x" {
        assert!(tokio::time::Instant::now() < until);
    }
}

/// Open files and kilobytes of memory of the program.
fn use_of(host: &HostProcess) -> (usize, u64) {
    let proc = std::path::PathBuf::from(format!("/proc/{}", host.id()));
    let files = std::fs::read_dir(proc.join("fd")).unwrap().count();
    let status = std::fs::read_to_string(proc.join("status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    (files, kilobytes.parse().unwrap())
}

#[tokio::test]
async fn thousands_of_connections_leave_nothing_behind() {
    let folder = Folder::new();
    let host = HostProcess::start(&folder.configure(NODE, ""));
    let address = host.address().await;
    let inside = enclave(&folder).await;
    tokio::spawn(async move {
        loop {
            let (mut enclave, _) = inside.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut read, mut write) = enclave.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    let round = async |connections: usize| {
        let mut talks = tokio::task::JoinSet::new();
        for n in 0..connections {
            talks.spawn(async move {
                let stream = TcpStream::connect(address).await.unwrap();
                let say = pattern(64 * 1024, n as u8);
                assert!(talk(stream, say.clone()).await == say);
            });
            if talks.len() >= 100 {
                talks.join_next().await.unwrap().unwrap();
            }
        }
        while let Some(done) = talks.join_next().await {
            done.unwrap();
        }
    };
    round(500).await;
    let (files, before) = use_of(&host);
    round(3000).await;
    // The last ends are still on their way when the last byte is here.
    let settled = || (use_of(&host).0 <= files).then_some(());
    wait_for("no file is left open", settled).await;
    let (_, after) = use_of(&host);
    assert!(
        after <= before + 8 * 1024,
        "{before} kB before, {after} kB after"
    );
}

#[tokio::test]
async fn without_an_enclave_connections_are_closed_and_the_log_says_so_once() {
    let folder = Folder::new();
    let host = HostProcess::start(&folder.configure(NODE, ""));
    let address = host.address().await;
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
    }
    let inside = enclave(&folder).await;
    let _outside = TcpStream::connect(address).await.unwrap();
    let _enclave = inside.accept().await.unwrap();
    host.said("the enclave answers", 0).await;
    let log = host.log();
    let complaints = log.iter().filter(|line| line.contains("does not answer"));
    assert_eq!(complaints.count(), 1, "{log:?}");
    // No peer's address.
    assert_eq!(
        log.iter().filter(|line| line.contains("127.0.0.1")).count(),
        1
    );
}
