use std::sync::atomic::{AtomicU64, Ordering};

use adyton_oauth::authorization::Addressed;
use adyton_oauth::client_metadata;
use adyton_oauth::form::Parameters;

use super::*;

const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn client(host: &str) -> Arc<Client> {
    let url = format!("https://{host}/c");
    let Ok(ClientId::Document(id)) = ClientId::parse(&url) else {
        panic!("{url}")
    };
    let text = format!(r#"{{"client_id":"{url}","redirect_uris":["https://{host}/back"]}}"#);
    Arc::new(client_metadata::parse(&id, text.as_bytes()).unwrap())
}

fn origin() -> Origin {
    Origin::parse("https://node.example").unwrap()
}

/// A request for this many databases.
fn request(client: &Client, schemas: &SchemaSet, scopes: usize) -> AuthorizationRequest {
    let host = client.host().unwrap();
    let scopes: Vec<String> = (0..scopes)
        .map(|n| format!("db:r:{}-{n}", "x".repeat(80)))
        .collect();
    let pairs = [
        ("client_id", format!("https://{host}/c")),
        ("redirect_uri", format!("https://{host}/back")),
        ("response_type", "code".to_owned()),
        ("code_challenge", CHALLENGE.to_owned()),
        ("code_challenge_method", "S256".to_owned()),
        ("scope", scopes.join(" ")),
    ];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value));
    let parameters = Parameters::of_pairs(pairs).unwrap();
    let to = Addressed::of(&parameters, client).unwrap();
    AuthorizationRequest::read(&parameters, to, &origin(), schemas).unwrap()
}

#[test]
fn one_client_cannot_take_the_room_of_others_by_number_or_by_length() {
    let schemas = SchemaSet::embedded().unwrap();
    let (loud, other) = (client("loud.example"), client("other.example"));
    for scopes in [1, 100] {
        let requests = PendingRequests::new(Clock::system());
        let asked = request(&loud, &schemas, scopes);
        let held = (0..)
            .take_while(|_| {
                let created = requests.create(Arc::clone(&loud), asked.clone(), origin());
                created.is_ok()
            })
            .count();
        let bytes = held * bytes_of(&asked);
        assert!(
            held <= MAX_PER_CLIENT && bytes <= MAX_BYTES_PER_CLIENT,
            "{held}"
        );
        assert!(held == MAX_PER_CLIENT || bytes + bytes_of(&asked) > MAX_BYTES_PER_CLIENT);
        while requests.push(Arc::clone(&loud), asked.clone()).is_ok() {}
        let asked = request(&other, &schemas, scopes);
        assert!(
            requests
                .create(Arc::clone(&other), asked.clone(), origin())
                .is_ok()
        );
        assert!(requests.push(Arc::clone(&other), asked).is_ok());
    }
}

#[test]
fn a_request_waits_ten_minutes_and_a_pushed_one_a_minute_and_a_half() {
    let schemas = SchemaSet::embedded().unwrap();
    let seconds = Arc::new(AtomicU64::new(1_000_000));
    let shown = Arc::clone(&seconds);
    let clock = Clock::of(move || {
        SystemTime::UNIX_EPOCH + Duration::from_secs(shown.load(Ordering::SeqCst))
    });
    let requests = PendingRequests::new(clock);
    let client = client("app.example");
    let asked = request(&client, &schemas, 1);
    let pending = requests
        .create(Arc::clone(&client), asked.clone(), origin())
        .unwrap();
    let denied = requests
        .create(Arc::clone(&client), asked.clone(), origin())
        .unwrap();
    let (key, life) = requests.push(Arc::clone(&client), asked.clone()).unwrap();
    assert!(requests.take_pushed(&key, client.id()).is_some());
    assert!(requests.take_pushed(&key, client.id()).is_none(), "once");
    let (key, _) = requests.push(Arc::clone(&client), asked).unwrap();
    seconds.fetch_add(life.as_secs(), Ordering::SeqCst);
    assert!(
        requests.take_pushed(&key, client.id()).is_none(),
        "too late"
    );
    let url = requests.deny(denied.id()).unwrap();
    assert!(
        url.starts_with("https://app.example/back?error=access_denied&"),
        "{url}"
    );
    assert!(requests.deny(denied.id()).is_none(), "once");
    assert!(requests.find(pending.id()).is_some());
    seconds.fetch_add(LIFE.as_secs() - life.as_secs(), Ordering::SeqCst);
    assert!(requests.find(pending.id()).is_none());
    assert!(requests.deny(pending.id()).is_none());
}
