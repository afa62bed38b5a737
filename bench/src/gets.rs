//! How many small records a second a node gives by their ids, to many connections at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use adyton_client::clock::Clock;
use clap::Args;
use http::Method;
use serde_json::json;

use crate::Outcome;
use crate::dataset::{DataSet, Person, connect};
use crate::figures::{print_latency, print_machine};
use crate::server::Server;
use adyton_client::attested_node::NodeCredential;

#[derive(Args)]
pub(crate) struct Load {
    /// Small records in the database.
    #[arg(long, default_value_t = 10_000)]
    records: usize,
    /// Connections that ask at the same time, one request at a time each.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// How long.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// Gets by an app's token, over TLS connections that are kept. The clients share the processors with the node.
pub(crate) async fn measure(load: &Load) -> Outcome<()> {
    print_machine();
    let directory = tempfile::tempdir()?;
    let clock = Clock::system();
    let person = Person::new(directory.path(), &clock).await?;
    let mut set = DataSet::chats(load.records);
    person.write(&mut set).await?;
    let server = Server::node()?;
    let mut node = connect(&server, &clock).await?;
    let body =
        json!({ "scopes": [format!("ds:r:{}", set.shortcut), "api:ds-get-by-id", "api:ds-query"] });
    let minted = node
        .send(
            Method::POST,
            "/api/rest/v1/auth/token",
            Some(&person.owner),
            Some(&body),
        )
        .await?
        .json()?;
    let token = minted.get("token").and_then(|token| token.as_str());
    let token = token.ok_or("no token was minted")?.to_owned();
    let ids = Arc::new(set.ids(&mut node, &person.owner).await?);
    let path = Arc::new(set.path("get"));

    let before = server.cpu()?;
    let begun = Instant::now();
    let until = begun + Duration::from_secs(load.seconds);
    let mut clients = Vec::new();
    for number in 0..load.connections {
        let mut node = connect(&server, &clock).await?;
        let (ids, path) = (Arc::clone(&ids), Arc::clone(&path));
        let app = NodeCredential::Token(token.clone().into());
        clients.push(tokio::spawn(async move {
            let mut times = Vec::new();
            for id in ids.iter().cycle().skip(number) {
                let begun = Instant::now();
                if begun >= until {
                    break;
                }
                let answer = node
                    .send(Method::GET, &format!("{path}/{id}"), Some(&app), None)
                    .await?;
                times.push(begun.elapsed());
                if answer.status != 200 {
                    return Err(format!("a get was answered with {}", answer.status).into());
                }
            }
            Outcome::Ok(times)
        }));
    }
    let mut times = Vec::new();
    for client in futures_util::future::join_all(clients).await {
        times.extend(client??);
    }
    let took = begun.elapsed();
    let cpu = server.cpu()? - before;
    println!(
        "{:.0} gets a second over {} connections; the node's processor time for one: {:.1} us",
        times.len() as f64 / took.as_secs_f64(),
        load.connections,
        cpu.as_secs_f64() * 1e6 / times.len() as f64
    );
    print_latency("get by id under that load", &mut times);
    Ok(())
}
