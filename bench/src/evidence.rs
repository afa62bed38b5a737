//! How many askers a second a slow device serves with evidence bound to their own connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use adyton_attest::attester::SealedAttester;
use adyton_attest::evidence::WELL_KNOWN_PATH;
use adyton_attest::observe::{NodeAddress, Patience, observe};
use adyton_attest::{AttestedKeys, ChannelBinding, Evidence, Nonce, Policy, Seen, appraise};
use adyton_client::clock::Clock;
use adyton_node::server::ConnectionFacts;
use axum::Router;
use axum::extract::{Extension, RawQuery};
use axum::routing::get;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use rand_core::{OsRng, TryRngCore};

use crate::Outcome;
use crate::server::Server;

/// Askers that one connection allows at once; then a client connects anew, as honest ones do.
const PER_CONNECTION: usize = 5;

#[derive(Args)]
pub(crate) struct Load {
    /// What the device takes for one document.
    #[arg(long, default_value_t = 40)]
    device_ms: u64,
    /// Clients that ask at the same time, each on connections of its own.
    #[arg(long, default_value_t = 128)]
    clients: usize,
    /// How long each form is measured.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// One answer of so many is appraised by the client, from certificate chain to exporter.
    #[arg(long, default_value_t = 50)]
    appraise_one_of: usize,
}

/// How the server answers a challenge.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Form {
    /// As the node does: who comes while the device is busy shares its next document.
    Batched,
    /// A document for each.
    Direct,
}

impl Form {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Batched => "batched",
            Self::Direct => "direct",
        }
    }
}

/// Both forms under the same load.
pub(crate) async fn measure(load: &Load) -> Outcome<()> {
    println!(
        "evidence bound to nonce and connection; device {} ms, {} clients, {} s each, {PER_CONNECTION} answers per tls connection",
        load.device_ms, load.clients, load.seconds
    );
    for form in [Form::Batched, Form::Direct] {
        let server = Server::attesting(form, load.device_ms)?;
        let tally = Arc::new(Tally::new(&server, load)?);
        let start = Instant::now();
        let clients = (0..load.clients).map(|_| {
            let tally = Arc::clone(&tally);
            tokio::spawn(async move { tally.client().await })
        });
        let mut times = Vec::new();
        for client in futures_util::future::join_all(clients).await {
            times.extend(client??);
        }
        let took = start.elapsed();
        times.sort_unstable();
        let at = |part: usize| {
            let place = (times.len() * part / 100).min(times.len().saturating_sub(1));
            times.get(place).copied().unwrap_or_default()
        };
        let answers = tally.answers.load(Ordering::Relaxed);
        let rate = answers as f64 / took.as_secs_f64();
        println!(
            "{:<8} {rate:7.0} answers/s   p50 {:.0?}   p99 {:.0?}   {} answers, {} appraised, {} from shared documents, server {:.2} s cpu",
            form.name(),
            at(50),
            at(99),
            answers,
            tally.appraised.load(Ordering::Relaxed),
            tally.shared.load(Ordering::Relaxed),
            server.cpu()?.as_secs_f64(),
        );
    }
    Ok(())
}

struct Tally {
    address: NodeAddress,
    policy: Policy,
    until: Instant,
    one_of: usize,
    answers: AtomicUsize,
    appraised: AtomicUsize,
    shared: AtomicUsize,
}

impl Tally {
    fn new(server: &Server, load: &Load) -> Outcome<Self> {
        Ok(Self {
            address: server.said("url").parse()?,
            policy: Policy::from_toml(server.said("policy"))?,
            until: Instant::now() + Duration::from_secs(load.seconds),
            one_of: load.appraise_one_of.max(1),
            answers: AtomicUsize::new(0),
            appraised: AtomicUsize::new(0),
            shared: AtomicUsize::new(0),
        })
    }

    /// Asks until the time is over; how long each answer took, without the handshake.
    async fn client(&self) -> Outcome<Vec<Duration>> {
        let mut times = Vec::new();
        while Instant::now() < self.until {
            // The first answer's time would have the handshake in it: it is made and judged, and not timed.
            let first = observe(&self.address, Some(nonce()?), &Patience::default()).await?;
            self.judge(&first.evidence, &first.seen)?;
            let mut seen = first.seen.clone();
            // Only further challenges go over it, and each answer is judged as the tally says.
            let mut connection = first.dangerous_connection();
            for _ in 1..PER_CONNECTION {
                if Instant::now() >= self.until {
                    break;
                }
                let nonce = nonce()?;
                let request = Request::get(format!("{WELL_KNOWN_PATH}?nonce={nonce}"));
                let start = Instant::now();
                let answer = connection.send(request.body(Full::default())?).await?;
                let status = answer.status();
                let body = answer.into_body().collect().await?.to_bytes();
                times.push(start.elapsed());
                if !status.is_success() {
                    return Err(format!("the server answered {status}").into());
                }
                seen.nonce = Some(nonce);
                self.judge(&Evidence::from_json(&body)?, &seen)?;
            }
        }
        Ok(times)
    }

    fn judge(&self, evidence: &Evidence, seen: &Seen) -> Outcome<()> {
        if evidence.batch.is_some() {
            self.shared.fetch_add(1, Ordering::Relaxed);
        }
        if self
            .answers
            .fetch_add(1, Ordering::Relaxed)
            .is_multiple_of(self.one_of)
        {
            let appraised = appraise(evidence, &self.policy, seen, now())?;
            if !appraised.is_channel_bound() {
                return Err("the evidence is not bound to the connection".into());
            }
            self.appraised.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// A route that has a document made for every asker.
pub(crate) fn direct_router(attester: SealedAttester, keys: AttestedKeys, clock: Clock) -> Router {
    let answer = move |Extension(facts): Extension<ConnectionFacts>, RawQuery(query): RawQuery| {
        let (attester, keys, clock) = (attester.clone(), keys.clone(), clock.clone());
        async move {
            let query = query.unwrap_or_default();
            let nonce = query.strip_prefix("nonce=").and_then(Nonce::from_hex);
            let channel = ChannelBinding::TlsExporter(facts.exporter);
            let evidence = attester.evidence(&keys, channel, nonce, clock.now()).await;
            evidence.map_or_else(|_| Bytes::new(), |evidence| evidence.to_json().into())
        }
    };
    Router::new().route(WELL_KNOWN_PATH, get(answer))
}

fn nonce() -> Outcome<Nonce> {
    let mut bytes = [0; 32];
    OsRng.try_fill_bytes(&mut bytes)?;
    Ok(Nonce::new(bytes))
}

fn now() -> SystemTime {
    Clock::system().now()
}
