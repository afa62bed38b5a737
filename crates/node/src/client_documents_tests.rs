use super::*;

use adyton_client::egress::compiled_in_roots;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn documents(local: LocalClients) -> ClientDocuments {
    ClientDocuments::new(&Route::Direct, &compiled_in_roots(), local, Clock::system()).unwrap()
}

/// Answers every connection with these bytes and counts them.
async fn server(
    answer: impl Fn(u16) -> String + Send + 'static,
) -> (u16, Arc<std::sync::atomic::AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let mut head = [0; 4096];
            let _read = stream.read(&mut head).await;
            let _sent = stream.write_all(answer(port).as_bytes()).await;
        }
    });
    (port, asked)
}

fn response(status: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

fn document(port: u16) -> String {
    format!(
        r#"{{"client_id":"http://localhost:{port}/app.json","client_name":"Notes","redirect_uris":["http://localhost:{port}/back"]}}"#
    )
}

fn id(port: u16) -> ClientId {
    ClientId::parse(&format!("http://localhost:{port}/app.json")).unwrap()
}

#[tokio::test]
async fn a_document_is_fetched_once_and_believed_for_a_while() {
    let (port, asked) =
        server(|port| response("200 OK", "application/json", &document(port))).await;
    let documents = documents(LocalClients::Allowed);
    for _ in 0..3 {
        let client = documents.find(&id(port)).await.unwrap();
        assert_eq!(client.name(), Some("Notes"));
    }
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn without_the_setting_for_developers_this_machine_is_never_asked() {
    let (port, asked) =
        server(|port| response("200 OK", "application/json", &document(port))).await;
    let documents = documents(LocalClients::Refused);
    let found = documents.find(&id(port)).await;
    assert_eq!(found.unwrap_err(), UnknownClient::NoDocument);
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_is_not_the_document_is_refused_and_not_asked_for_again_at_once() {
    type Answer = fn(u16) -> String;
    let cases: [(Answer, UnknownClient); 6] = [
        (
            |_| response("404 Not Found", "application/json", "{}"),
            UnknownClient::NotThere,
        ),
        (
            |port| {
                let to = format!("302 Found\r\nlocation: http://localhost:{port}/other");
                response(&to, "application/json", "{}")
            },
            UnknownClient::NotThere,
        ),
        (
            |port| response("200 OK", "text/html", &document(port)),
            UnknownClient::NotJson,
        ),
        (
            |_| response("200 OK", "application/json", "{}"),
            UnknownClient::Invalid(InvalidMetadata::Malformed),
        ),
        (
            |port| {
                let long = document(port) + &" ".repeat(MAX_DOCUMENT_BYTES);
                response("200 OK", "application/json", &long)
            },
            UnknownClient::Invalid(InvalidMetadata::TooLong),
        ),
        (
            |_| "nonsense\r\n\r\n".to_owned(),
            UnknownClient::Unreachable,
        ),
    ];
    for (answer, expected) in cases {
        let (port, asked) = server(answer).await;
        let documents = documents(LocalClients::Allowed);
        for _ in 0..2 {
            assert_eq!(documents.find(&id(port)).await.unwrap_err(), expected);
        }
        assert_eq!(
            asked.load(std::sync::atomic::Ordering::SeqCst),
            1,
            "{expected}"
        );
    }
}

/// A public name that points to a private address leads nowhere: the address is checked after it is resolved, and it is the
/// checked address that is connected to.
#[tokio::test]
async fn a_name_that_resolves_to_this_machine_is_never_connected_to() {
    let (port, asked) =
        server(|port| response("200 OK", "application/json", &document(port))).await;
    let documents = documents(LocalClients::Refused);
    // `localhost` is the one name that resolves to this machine wherever the tests run; a client id cannot have it, and so
    // the transport beneath is asked.
    let endpoint: Endpoint = format!("https://localhost:{port}/").parse().unwrap();
    assert!(
        documents
            .public
            .open(Call::get(&endpoint, "app.json"))
            .await
            .is_err()
    );
    assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[test]
fn a_slow_domain_is_not_in_the_way_of_others_whatever_names_it_makes_below_itself() {
    let under_way = Mutex::default();
    let mut held: Vec<Fetch<'_>> = (0..MAX_FETCHES_OF_ONE)
        .map(|n| Fetch::begin(&under_way, &format!("a{n}.slow.example")).unwrap())
        .collect();
    let fifth = Fetch::begin(&under_way, "b.slow.example").err();
    assert_eq!(fifth, Some(UnknownClient::Busy));
    while held.len() < MAX_FETCHES {
        held.push(Fetch::begin(&under_way, &format!("app.d{}.example", held.len())).unwrap());
    }
    assert!(Fetch::begin(&under_way, "app.more.example").is_err());
    held.clear();
    assert!(Fetch::begin(&under_way, "b.slow.example").is_ok());
}
