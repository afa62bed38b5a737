//! How fast words are found: the index built at the first search, and searches of many kinds after it.

use std::time::{Duration, Instant};

use adyton_client::attested_node::{AttestedNode, NodeCredential};
use adyton_client::clock::Clock;
use clap::Args;
use http::Method;
use serde_json::{Value, json};

use crate::Outcome;
use crate::dataset::{DataSet, Person, connect};
use crate::figures::{print_latency, print_machine};
use crate::server::Server;
use crate::synthetic::Words;

#[derive(Args)]
pub(crate) struct Load {
    /// Emails (61 KB of JSON each).
    #[arg(long, default_value_t = 1_000)]
    emails: usize,
    /// Chat messages.
    #[arg(long, default_value_t = 100_000)]
    chats: usize,
    /// Searches of each kind.
    #[arg(long, default_value_t = 500)]
    searches: usize,
}

/// Searches by the owner over one TLS connection that is kept.
pub(crate) async fn measure(load: &Load) -> Outcome<()> {
    print_machine();
    let directory = tempfile::tempdir()?;
    let clock = Clock::system();
    let person = Person::new(directory.path(), &clock).await?;
    let server = Server::node()?;
    let mut node = connect(&server, &clock).await?;
    for mut set in [DataSet::emails(load.emails), DataSet::chats(load.chats)] {
        person.write(&mut set).await?;
        // Loaded first: what is measured is the index alone.
        set.ids(&mut node, &person.owner).await?;
        let path = format!("/api/rest/v1/search/ds/{}", set.shortcut);
        let before = server.resident()?;
        let built = ask(&mut node, &path, &person.owner, "zzz ").await?;
        println!(
            "{}: index of {:.1} MB built and asked in {:.3} s, {:.1} MB more resident",
            set.title,
            set.plaintext as f64 / 1e6,
            built.as_secs_f64(),
            (server.resident()? as f64 - before as f64) / 1e6
        );
        let mut words = Words::new(11);
        for (what, shape) in [
            ("one word", 0),
            ("two words, the last open", 1),
            ("a phrase", 2),
            ("a typing error", 3),
        ] {
            let mut times = Vec::new();
            for _ in 0..load.searches {
                let text = words.text(24);
                let mut some = text.split_whitespace();
                let (one, two) = (some.next().unwrap_or("ba"), some.next().unwrap_or("co"));
                let keywords = match shape {
                    0 => format!("{one} "),
                    1 => format!("{one} {two}"),
                    2 => format!("\"{one} {two}\""),
                    _ => format!("{one}x{two} "),
                };
                times.push(ask(&mut node, &path, &person.owner, &keywords).await?);
            }
            print_latency(what, &mut times);
        }
    }
    Ok(())
}

async fn ask(
    node: &mut AttestedNode,
    path: &str,
    owner: &NodeCredential,
    keywords: &str,
) -> Outcome<Duration> {
    let body: Value = json!({ "keywords": keywords, "limit": 20 });
    let begun = Instant::now();
    let answer = node
        .send(Method::POST, path, Some(owner), Some(&body))
        .await?;
    let took = begun.elapsed();
    match answer.status == 200 {
        true => Ok(took),
        false => Err(format!("a search was answered with {}", answer.status).into()),
    }
}
