//! The operator's listener: `GET /metrics`, and nothing else.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::api::{App, reply};

/// Longest time for one scrape: they come one at a time.
const SCRAPE_TIME: Duration = Duration::from_secs(5);
/// Pause after the system refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` says otherwise.
pub(crate) async fn serve(listener: TcpListener, app: Arc<App>, mut stop: watch::Receiver<bool>) {
    loop {
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
            let app = Arc::clone(&app);
            async move {
                let known = request.method() == Method::GET && request.uri().path() == "/metrics";
                let answer = match known {
                    true => app.metrics_text().await,
                    false => reply::bytes(StatusCode::NOT_FOUND, "text/plain", "Not found"),
                };
                Ok::<_, Infallible>(answer)
            }
        });
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(SCRAPE_TIME)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        // Whoever scrapes badly scrapes again.
        let _ended = tokio::time::timeout(SCRAPE_TIME, serving).await;
    }
}
