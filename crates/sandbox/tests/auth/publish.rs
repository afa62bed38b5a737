//! An app that publishes itself on this machine.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// An app on this machine that publishes its document, until the test ends.
pub async fn publish() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let document = json!({
        "client_id": format!("{url}/client.json"), "client_name": "Letter Reader",
        "redirect_uris": [format!("{url}/back?a=b")], "token_endpoint_auth_method": "none",
    })
    .to_string();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut asked = [0; 4096];
            // Requests of these tests come in one piece.
            let _read = socket.read(&mut asked).await;
            let length = document.len();
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            );
            let _sent = socket
                .write_all(format!("{head}{document}").as_bytes())
                .await;
        }
    });
    url
}
