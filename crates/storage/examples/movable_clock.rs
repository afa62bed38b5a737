//! The storage node with a clock that its caller moves: for `interop/js`, where tokens end in the middle of a replication.
//!
//! `movable_clock ADDRESS DIRECTORY SECONDS [directory | COUCHDB]`: says `listening on http://…` as the program does. The clock is the
//! system's plus SECONDS; each line on its input is a number of seconds to move it on by, and is answered with `moved`. With
//! `directory` it keeps registrations of DIDs, too, and lets in who is registered. With the URL of a CouchDB it stands in front of
//! that, with the credentials of `interop/js/src/couchdb.js`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for tests: what it is given is its caller's"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use percent_encoding::percent_decode_str;
use url::Url;

use adyton_storage::{Clock, Config, CouchConfig, Reach, RegistryChoice, Storage, StoreChoice};

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut argument = || arguments.next().unwrap();
    let mut config = Config::new(argument().parse().unwrap(), argument().into());
    // The other nodes of a context are on this machine, too.
    config.reach = Reach::AlsoThisMachine;
    let ahead = Arc::new(AtomicU64::new(argument().parse().unwrap()));
    match arguments.next().as_deref() {
        None => {}
        Some("directory") => config.registry = RegistryChoice::Directory(Vec::new()),
        Some(url) => {
            let mut url: Url = url.parse().unwrap();
            let word = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
            let admin = match url.password() {
                None => ("admin".to_owned(), "admin password".to_owned()),
                Some(password) => (word(url.username()), word(password)),
            };
            url.set_username("").unwrap();
            url.set_password(None).unwrap();
            config.store = StoreChoice::Couch(Box::new(CouchConfig::new(
                url,
                admin,
                (
                    "the access key of the test".to_owned(),
                    "the refresh key of the test".to_owned(),
                ),
                ("everybody".to_owned(), "public password".to_owned()),
            )));
        }
    }
    let read = Arc::clone(&ahead);
    #[expect(
        clippy::disallowed_methods,
        reason = "the edge: what stands in for the system's clock"
    )]
    let clock = Clock::from_fn(move || {
        SystemTime::now() + Duration::from_secs(read.load(Ordering::SeqCst))
    });
    let storage = Storage::start_with(config, clock, None).await.unwrap();
    println!("listening on http://{}", storage.address());
    let moved = tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lines() {
            ahead.fetch_add(line.unwrap().parse().unwrap(), Ordering::SeqCst);
            println!("moved");
        }
    });
    moved.await.unwrap();
    storage.shutdown().await;
}
