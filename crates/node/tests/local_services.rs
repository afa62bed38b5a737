//! The node's two local services, played by servers that keep to their protocols: dstack's guest agent on a unix socket, and
//! Oyster's derive service on the loopback interface; and what happens when they do not.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adyton_attest::attester::{AttestationRequest, Attester as _, AttesterError, SealedAttester};
use adyton_attest::tdx::Document;
use adyton_attest::{
    AnswerKey, AttestedKeys, Binding, ChannelBinding, ConfigDigest, Exporter, HpkeKey, Nonce, Spki,
    TeeKind,
};
use adyton_node::key_release::{KeyRelease as _, KeyReleaseError, OysterDerive};
use adyton_node::local_http::LocalHttpError;
use adyton_node::tee::{DstackAttester, GuestAgent};
use aws_lc_rs::hmac;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixListener};

/// Reads one request: its first line and its body.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let head = loop {
        let mut chunk = [0; 1024];
        let read = stream.read(&mut chunk).await.unwrap();
        bytes.extend_from_slice(&chunk[..read]);
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        assert_ne!(read, 0, "the request ended in its head");
    };
    let text = String::from_utf8(bytes[..head].to_vec()).unwrap();
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.parse().unwrap());
    while bytes.len() < head + length {
        let mut chunk = [0; 1024];
        let read = stream.read(&mut chunk).await.unwrap();
        bytes.extend_from_slice(&chunk[..read]);
    }
    (
        text.lines().next().unwrap().to_owned(),
        bytes.split_off(head),
    )
}

async fn reply(stream: &mut (impl AsyncWrite + Unpin), status: &str, body: &[u8]) {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    // Whoever asked may be gone.
    let _ = stream.write_all(&[head.as_bytes(), body].concat()).await;
}

/// What the agent does with a question.
#[derive(Clone, Copy)]
enum Manner {
    Honest,
    OtherReportData,
    NoLog,
    Fails,
    TooLong,
    Silent,
    Garbage,
}

/// A guest agent that quotes 64 bytes: enough of a quote for a node, which is not the one to verify it.
fn agent(folder: &Path, manner: Manner) -> (PathBuf, Arc<Mutex<Vec<String>>>) {
    let socket = folder.join("agent.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&asked);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (line, body) = request(&mut stream).await;
            lines.lock().unwrap().push(line);
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            let report_data = body["report_data"].as_str().unwrap();
            assert_eq!(report_data.len(), 128);
            let quote = match manner {
                Manner::OtherReportData => format!("0400{}", "00".repeat(64)),
                _ => format!("0400{report_data}"),
            };
            let log = r#"[{"imr":0,"event_type":1,"digest":"00","event":"","event_payload":""},
                {"imr":3,"event_type":134217729,"digest":"00","event":"app-id","event_payload":"0102"}]"#;
            let mut answer = serde_json::json!({
                "quote": quote, "event_log": log, "report_data": report_data, "vm_config": "{}",
            });
            match manner {
                Manner::Fails => {
                    reply(
                        &mut stream,
                        "500 Internal Server Error",
                        br#"{"error":"no tdx"}"#,
                    )
                    .await;
                    continue;
                }
                Manner::Silent => {
                    tokio::time::sleep(Duration::from_secs(3600)).await;
                }
                Manner::Garbage => {
                    stream.write_all(b"garbage\r\n\r\n").await.unwrap();
                    continue;
                }
                Manner::NoLog => answer["event_log"] = "".into(),
                Manner::TooLong => answer["vm_config"] = " ".repeat(600 * 1024).into(),
                Manner::Honest | Manner::OtherReportData => {}
            }
            reply(&mut stream, "200 OK", &serde_json::to_vec(&answer).unwrap()).await;
        }
    });
    (socket, asked)
}

fn attester(folder: &Path, manner: Manner) -> DstackAttester {
    DstackAttester::at(GuestAgent::Current, agent(folder, manner).0, None)
}

fn binding() -> Binding {
    let key = rcgen::KeyPair::generate().unwrap();
    let tls = Spki::from_der(&rcgen::PublicKeyData::subject_public_key_info(&key)).unwrap();
    Binding {
        keys: AttestedKeys {
            tls,
            answer: AnswerKey::new([1; 32]),
            hpke: HpkeKey::new([2; 32]),
        },
        channel: ChannelBinding::TlsExporter(Exporter::new([3; 32])),
        config: ConfigDigest::of("c"),
    }
}

#[tokio::test]
async fn the_document_quotes_exactly_the_binding_and_the_challenge() {
    let folder = tempfile::tempdir().unwrap();
    for (agent_kind, path) in [
        (GuestAgent::Current, "POST /GetQuote HTTP/1.1"),
        (GuestAgent::Tappd, "POST /prpc/Tappd.RawQuote HTTP/1.1"),
    ] {
        let _ = std::fs::remove_file(folder.path().join("agent.sock"));
        let (socket, asked) = agent(folder.path(), Manner::Honest);
        let attester = DstackAttester::at(agent_kind, socket, None);
        assert_eq!(attester.kind(), TeeKind::DstackTdx);
        let request = AttestationRequest {
            binding: binding(),
            nonce: Some(Nonce::new([9; 32])),
        };
        let document = Document::parse(&attester.attest(&request).await.unwrap()).unwrap();
        let expected = request.binding.report_data(request.nonce.as_ref());
        assert_eq!(document.quote[2..], expected);
        assert_eq!(document.public_key, request.binding.keys.tls.as_der());
        assert_eq!(document.user_data, request.binding.user_data().to_bytes());
        assert_eq!(document.nonce, Some([9; 32]));
        assert_eq!(document.event_log.events().len(), 1, "rtmr3 only");
        assert_eq!(document.collateral, None);
        assert_eq!(*asked.lock().unwrap(), [path]);
    }
}

#[tokio::test]
async fn without_an_agent_that_quotes_nothing_is_sealed() {
    for manner in [
        Manner::OtherReportData,
        Manner::NoLog,
        Manner::Fails,
        Manner::TooLong,
        Manner::Garbage,
    ] {
        let folder = tempfile::tempdir().unwrap();
        let attester = Arc::new(attester(folder.path(), manner));
        assert!(SealedAttester::seal(attester, "c").await.is_err());
    }
    let folder = tempfile::tempdir().unwrap();
    let nobody = DstackAttester::at(GuestAgent::Current, folder.path().join("none"), None);
    let refused = SealedAttester::seal(Arc::new(nobody), "c").await;
    assert!(matches!(refused, Err(AttesterError::Device(_))));
    let folder = tempfile::tempdir().unwrap();
    let honest = Arc::new(attester(folder.path(), Manner::Honest));
    assert!(SealedAttester::seal(honest, "c").await.is_ok());
}

#[tokio::test]
async fn an_agent_that_is_silent_is_not_waited_for_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let attester = attester(folder.path(), Manner::Silent).within(Duration::from_millis(50));
    let attester = Arc::new(attester);
    assert!(matches!(
        SealedAttester::seal(attester, "c").await,
        Err(AttesterError::Device(_))
    ));
}

#[tokio::test]
async fn collateral_is_shown_as_it_stands_in_the_file_and_left_out_when_it_is_none() {
    use adyton_attest::tdx::Collateral;
    let folder = tempfile::tempdir().unwrap();
    let (socket, _) = agent(folder.path(), Manner::Honest);
    let file = folder.path().join("collateral.json");
    let attester = DstackAttester::at(GuestAgent::Current, socket, Some(file.clone()));
    let request = AttestationRequest {
        binding: binding(),
        nonce: None,
    };
    let shown = async || {
        Document::parse(&attester.attest(&request).await.unwrap())
            .unwrap()
            .collateral
    };
    assert_eq!(shown().await, None);
    let collateral = Collateral {
        pck_crl_issuer_chain: "a".to_owned(),
        root_ca_crl: vec![1],
        pck_crl: vec![2],
        tcb_info_issuer_chain: "b".to_owned(),
        tcb_info: "{}".to_owned(),
        tcb_info_signature: vec![3],
        qe_identity_issuer_chain: "c".to_owned(),
        qe_identity: "{}".to_owned(),
        qe_identity_signature: vec![4],
        pck_certificate_chain: None,
    };
    std::fs::write(&file, collateral.to_json()).unwrap();
    assert_eq!(shown().await, Some(collateral));
    std::fs::write(&file, "{}").unwrap();
    assert_eq!(shown().await, None);
    std::fs::write(&file, vec![b' '; 1 << 20]).unwrap();
    assert_eq!(shown().await, None);
}

/// Oyster's scheme: the seed of an image is a MAC over its id by a MAC over its id by the root; a path's seed likewise.
fn oyster_secret(root: &[u8], image_id: &[u8; 32], path: &str) -> [u8; 64] {
    let mac = |key: &[u8], text: &[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA512, key);
        <[u8; 64]>::try_from(hmac::sign(&key, text).as_ref()).unwrap()
    };
    let twice = |key: &[u8], text: &[u8]| mac(&mac(key, text), text);
    twice(&twice(root, image_id), path.as_bytes())
}

/// A derive service for an image, which does this to an honest answer.
async fn derive_service(
    image_id: [u8; 32],
    spoil: fn(&mut Vec<u8>) -> &'static str,
) -> OysterDerive {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (line, _) = request(&mut stream).await;
            let path = line.strip_prefix("GET /derive?path=").unwrap();
            let path = path.strip_suffix(" HTTP/1.1").unwrap();
            let mut body = oyster_secret(b"root", &image_id, path).to_vec();
            let status = spoil(&mut body);
            reply(&mut stream, status, &body).await;
        }
    });
    OysterDerive::at(&format!("http://{address}")).unwrap()
}

#[tokio::test]
async fn the_same_image_gets_the_same_answer_key_after_a_restart() {
    let seed = async |image: u8, config: &str| {
        let service = derive_service([image; 32], |_| "200 OK").await;
        let secret = service
            .release(adyton_node::boot::ANSWER_KEY_PATH)
            .await
            .unwrap();
        *secret.answer_key_seed(&ConfigDigest::of(config)).unwrap()
    };
    let first = seed(1, "c").await;
    assert_eq!(first, seed(1, "c").await, "another process, the same image");
    assert_ne!(first, seed(2, "c").await, "another image");
    assert_ne!(first, seed(1, "d").await, "another configuration");
}

#[tokio::test]
async fn what_is_released_is_what_the_service_derives() {
    let service = derive_service([1; 32], |_| "200 OK").await;
    let secret = service.release("a").await.unwrap();
    let expected =
        adyton_node::key_release::ReleasedSecret::new(oyster_secret(b"root", &[1; 32], "a").into());
    let config = ConfigDigest::of("c");
    assert_eq!(
        secret.answer_key_seed(&config).unwrap(),
        expected.answer_key_seed(&config).unwrap()
    );
}

#[tokio::test]
async fn an_answer_that_is_no_secret_is_refused() {
    let ask = async |spoil| {
        let service = derive_service([1; 32], spoil).await;
        service.release("a").await.unwrap_err()
    };
    let short = ask(|body| {
        body.pop();
        "200 OK"
    });
    assert!(matches!(short.await, KeyReleaseError::Length { found: 63 }));
    let empty = ask(|body| {
        body.clear();
        "200 OK"
    });
    assert!(matches!(empty.await, KeyReleaseError::Length { found: 0 }));
    let one_more = ask(|body| {
        body.push(0);
        "200 OK"
    });
    assert!(matches!(
        one_more.await,
        KeyReleaseError::Length { found: 65 }
    ));
    let long = ask(|body| {
        body.resize(1 << 20, 0);
        "200 OK"
    });
    let error = long.await;
    assert!(
        matches!(
            &error,
            KeyReleaseError::Answer(LocalHttpError::TooLong { most: 65 })
        ),
        "{error}"
    );
    let refused = ask(|_| "500 Internal Server Error").await;
    assert!(matches!(
        refused,
        KeyReleaseError::Answer(LocalHttpError::Status(_))
    ));
    let elsewhere = ask(|_| "302 Found\r\nlocation: http://example.org/").await;
    assert!(matches!(
        elsewhere,
        KeyReleaseError::Answer(LocalHttpError::Status(_))
    ));
}

#[tokio::test]
async fn a_service_that_is_not_there_or_says_nothing_is_an_error_and_soon() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let silent = OysterDerive::at(&format!("http://{address}")).unwrap();
    let silent = silent.within(Duration::from_millis(50));
    let error = silent.release("a").await.unwrap_err();
    assert!(
        matches!(error, KeyReleaseError::Answer(LocalHttpError::Silent)),
        "{error}"
    );
    drop(listener);
    let error = silent.release("a").await.unwrap_err();
    assert!(matches!(error, KeyReleaseError::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn a_path_that_could_say_something_else_is_not_asked() {
    let service = derive_service([1; 32], |_| panic!("nobody may be asked")).await;
    for path in [
        "",
        "a b",
        "a&x=1",
        "a%20",
        "../a",
        "a\r\nX: y",
        &"a".repeat(65),
    ] {
        let error = service.release(path).await.unwrap_err();
        assert!(matches!(error, KeyReleaseError::Path), "{path:?}");
    }
}
