//! Requests of which all but the end was sent, while something happens.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Client, Credential, rev};

/// A request with a body: method, path (below the database where it begins with `{db}`), content type, body.
pub type Row = (&'static str, &'static str, &'static str, String);

pub const JSON: &str = "application/json";

/// What somebody may send who may read and write.
pub fn members_requests() -> Vec<Row> {
    let all = json!({"selector": {"_id": {"$gt": null}}}).to_string();
    let revs = json!({"secret": [rev(1, 'a')]}).to_string();
    let multipart = "--x\r\ncontent-type: application/json\r\n\r\n{\"_attachments\":{\"a\":{\"follows\":true,\"length\":2,\
        \"content_type\":\"text/plain\"}}}\r\n--x\r\n\r\nhi\r\n--x--";
    let post = |path, body: Value| ("POST", path, JSON, body.to_string());
    vec![
        ("PUT", "{db}/late", JSON, json!({"a": 1}).to_string()),
        (
            "PUT",
            "{db}/late",
            "multipart/related; boundary=x",
            multipart.to_owned(),
        ),
        ("PUT", "{db}/late/a.txt", "text/plain", "hello".to_owned()),
        ("PUT", "{db}/_local/late", JSON, json!({"a": 1}).to_string()),
        post("{db}", json!({"_id": "late"})),
        post("{db}/_bulk_docs", json!({"docs": [{"_id": "late"}]})),
        post("{db}/_bulk_get", json!({"docs": [{"id": "secret"}]})),
        post("{db}/_all_docs", json!({"keys": ["secret"]})),
        post("{db}/_all_docs?include_docs=true", json!({})),
        post("{db}/_design_docs", json!({"keys": ["_design/x"]})),
        post("{db}/_changes?include_docs=true", json!({})),
        post(
            "{db}/_changes?feed=continuous&heartbeat=1000&include_docs=true",
            json!({}),
        ),
        (
            "POST",
            "{db}/_changes?filter=_selector&include_docs=true",
            JSON,
            all.clone(),
        ),
        ("POST", "{db}/_revs_diff", JSON, revs.clone()),
        ("POST", "{db}/_missing_revs", JSON, revs),
        ("POST", "{db}/_find", JSON, all.clone()),
        ("POST", "{db}/_explain", JSON, all),
    ]
}

/// A request of which all but the end was sent, and which the node reads: it let the sender in.
pub struct Begun {
    stream: TcpStream,
    rest: String,
    row: String,
}

impl Begun {
    /// `db` is the address of the database.
    pub async fn new(
        client: Client,
        credential: &Credential,
        db: &str,
        (method, path, kind, body): Row,
    ) -> Self {
        let authorization = match credential {
            Credential::Bearer(token) => format!("Bearer {token}"),
            Credential::Basic(user, password) => {
                format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
            }
            Credential::None | Credential::Raw(_) => panic!("a credential"),
        };
        let path = path.replace("{db}", db);
        let mut stream = TcpStream::connect(client.address).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: {authorization}\r\n\
             content-type: {kind}\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // The node says so when it begins to read the body, and not before.
        let mut said = [0; 25];
        stream.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"HTTP/1.1 100 Continue\r\n\r\n", "{method} {path}");
        let (first, rest) = body.split_at(1);
        stream.write_all(first.as_bytes()).await.unwrap();
        Self {
            stream,
            rest: rest.to_owned(),
            row: format!("{method} {path} {kind}"),
        }
    }

    /// Sends the end. The status, and the rest of the answer.
    pub async fn finish(mut self) -> (u16, String, String) {
        self.stream.write_all(self.rest.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = self.stream.read_to_end(&mut answer);
        let ended = tokio::time::timeout(Duration::from_secs(20), read).await;
        assert!(ended.is_ok(), "{}: no end", self.row);
        let answer = String::from_utf8(answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, answer, self.row)
    }
}
