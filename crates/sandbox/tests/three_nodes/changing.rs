//! What changes under a writer: tokens end, nodes are named and named no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::site::{Direct, Owner, Sites, converged};
use crate::{make, notes, open, put};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_end_while_somebody_writes_cost_no_write() {
    let sites = Sites::start(3).await;
    let owner = Owner::new(&sites);
    let context = owner.named(&sites.urls()).await;
    let session = open(&context, 0).await;
    make(&session).await;
    let mut acknowledged: Vec<(String, String)> = Vec::new();
    let mut last = None;
    for n in 0..60 {
        if n % 20 == 10 {
            // More than a token lives: the nodes refuse those of this session, whose own clock stands still.
            sites.ahead.fetch_add(700, Ordering::SeqCst);
        }
        let id = format!("{n}");
        let rev = put(&session, &id, None, Some("new")).await.unwrap();
        acknowledged.push((id, rev.to_string()));
        let edit = put(&session, "edited", last, Some("again")).await.unwrap();
        acknowledged.push(("edited".to_owned(), edit.to_string()));
        last = Some(edit);
    }
    let db = notes(&session).hash().to_string();
    let told = converged(&context, &sites.urls(), &db, &acknowledged).await;
    assert_eq!(told.len(), 61);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_named_while_somebody_writes_gets_all_and_one_named_no_more_nothing_new() {
    let sites = Sites::start(3).await;
    let urls = sites.urls();
    let owner = Owner::new(&sites);
    let two = owner.named(&urls[..2]).await;
    let session = open(&two, 0).await;
    make(&session).await;
    let db = notes(&session).hash().to_string();
    let mut acknowledged: Vec<(String, String)> = Vec::new();
    for n in 0..20 {
        let id = format!("before-{n}");
        let rev = put(&session, &id, None, Some("before")).await.unwrap();
        acknowledged.push((id, rev.to_string()));
    }
    // One goes on with the session of before while the third node is named.
    let over = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let over = Arc::clone(&over);
        async move {
            let mut written = Vec::new();
            while !over.load(Ordering::SeqCst) {
                let id = format!("while-{}", written.len());
                let rev = put(&session, &id, None, Some("while")).await.unwrap();
                written.push((id, rev.to_string()));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            written
        }
    });
    let three = owner.named(&urls).await;
    let wider = open(&three, 2).await;
    // The owner's client makes the database on the new node.
    make(&wider).await;
    let rev = put(&wider, "wider", None, Some("new")).await.unwrap();
    acknowledged.push(("wider".to_owned(), rev.to_string()));
    tokio::time::sleep(Duration::from_millis(300)).await;
    over.store(true, Ordering::SeqCst);
    acknowledged.extend(writing.await.unwrap());
    converged(&three, &urls, &db, &acknowledged).await;

    // The first is named no more.
    let rest = owner.named(&urls[1..]).await;
    let narrower = open(&rest, 1).await;
    let direct = Direct::new(&three, &urls[0]).await;
    // It may take a moment until the others have read the new document.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let before = direct.told(&db).await.unwrap().len();
    for n in 0..20 {
        let id = format!("after-{n}");
        let rev = put(&narrower, &id, None, Some("after")).await.unwrap();
        acknowledged.push((id, rev.to_string()));
    }
    converged(&rest, &urls[1..], &db, &acknowledged).await;
    assert_eq!(direct.told(&db).await.unwrap().len(), before);
}
