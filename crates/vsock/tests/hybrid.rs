//! The unix-socket form of the wire, both directions, with a process that plays the emulator.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use adyton_vsock::enclave::Enclave;
use adyton_vsock::guest::Host;
use adyton_vsock::{MAX_WRITE, port};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixListener;

#[tokio::test]
async fn an_enclave_is_reached_by_connect_and_ok_and_no_byte_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vm");
    let emulator = UnixListener::bind(&path).unwrap();
    let playing = tokio::spawn(async move {
        let (stream, _) = emulator.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        // The enclave's first bytes come in the same piece as the answer.
        stream.write_all(b"OK 1024\nhello").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        (line, rest)
    });
    let enclave = Enclave::Hybrid { path };
    let mut wire = enclave.connect(port::ENCLAVE_TLS).await.unwrap();
    let sent = vec![7; 5 * MAX_WRITE];
    wire.write_all(&sent).await.unwrap();
    wire.shutdown().await.unwrap();
    let mut read = String::new();
    wire.read_to_string(&mut read).await.unwrap();
    assert_eq!(read, "hello");
    assert_eq!(playing.await.unwrap(), ("CONNECT 8443\n".to_owned(), sent));
}

#[tokio::test]
async fn an_emulator_that_does_not_say_ok_is_refused_within_a_limit() {
    let endless = [b'x'; 1000];
    for answer in [b"ERR\n".as_slice(), b"".as_slice(), endless.as_slice()] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vm");
        let emulator = UnixListener::bind(&path).unwrap();
        let answer = answer.to_vec();
        let playing = tokio::spawn(async move {
            let (mut stream, _) = emulator.accept().await.unwrap();
            stream.write_all(&answer).await.unwrap();
        });
        let refused = Enclave::Hybrid { path }.connect(1).await;
        assert!(refused.is_err());
        playing.await.unwrap();
    }
}

#[tokio::test]
async fn the_host_is_reached_on_its_ports_also_after_a_process_died_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vm");
    let enclave = Enclave::Hybrid { path: path.clone() };
    drop(enclave.listen(port::EGRESS).unwrap());
    let listener = enclave.listen(port::EGRESS).unwrap();
    let host = Host::Unix(path);
    let (mut inside, mut outside) =
        tokio::try_join!(host.connect(port::EGRESS), listener.accept()).unwrap();
    inside.write_all(b"in").await.unwrap();
    outside.write_all(b"out").await.unwrap();
    inside.shutdown().await.unwrap();
    let mut read = String::new();
    outside.read_to_string(&mut read).await.unwrap();
    drop(outside);
    inside.read_to_string(&mut read).await.unwrap();
    assert_eq!(read, "inout");
    assert!(host.connect(port::NOTICES).await.is_err());
}

#[tokio::test]
async fn what_is_in_use_or_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vm");
    let enclave = Enclave::Hybrid { path };
    let _first = enclave.listen(port::EGRESS).unwrap();
    let second = enclave.listen(port::EGRESS).unwrap_err();
    assert_eq!(second.kind(), std::io::ErrorKind::AddrInUse);
    let file = folder.path().join("vm_9300");
    std::fs::write(&file, "somebody's").unwrap();
    assert!(enclave.listen(port::NOTICES).is_err());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "somebody's");
}
