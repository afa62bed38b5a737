//! A partition with two real sides, each with a client of its own, through the SDK.

use adyton_client::ack::Ack;
use adyton_client::database::WriteError;
use adyton_couch::rev::Rev;
use adyton_keys::context_session::ContextSession;

use crate::site::{Owner, Sites, converged, through};
use crate::support::lying_node::LyingNode;
use crate::{make, notes, open, put, text_of};

/// A client's own way to each node.
struct Side {
    fronts: Vec<LyingNode>,
    context: ContextSession,
}

impl Side {
    async fn of(owner: &Owner, sites: &Sites) -> Self {
        let mut fronts = Vec::new();
        for site in &sites.all {
            fronts.push(LyingNode::start(&site.way.url()).await);
        }
        let urls = sites.urls();
        let own = owner.named_already(&urls).await;
        let pairs = urls
            .into_iter()
            .zip(fronts.iter().map(|front| front.url.clone()));
        let pairs: Vec<(String, String)> = pairs.collect();
        Self {
            context: through(&own, &pairs),
            fronts,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sides_that_write_apart_converge_and_lose_nothing_that_was_acknowledged() {
    let sites = Sites::start(3).await;
    let owner = Owner::new(&sites);
    let context = owner.named(&sites.urls()).await;
    let first = open(&context, 0).await.with_ack(Ack::All);
    make(&first).await;
    let db = notes(&first).hash().to_string();
    let mut acknowledged: Vec<(String, String)> = Vec::new();
    let mut known: Vec<Rev> = Vec::new();
    for n in 0..5 {
        let id = format!("common-{n}");
        let rev = put(&first, &id, None, Some("before")).await.unwrap();
        acknowledged.push((id, rev.to_string()));
        known.push(rev);
    }
    let (ada, bob) = (
        Side::of(&owner, &sites).await,
        Side::of(&owner, &sites).await,
    );
    let (ada_session, bob_session) = (
        open(&ada.context, 0).await.with_ack(Ack::One),
        open(&bob.context, 1).await,
    );
    for session in [&ada_session, &bob_session] {
        assert_eq!(
            text_of(session, "common-0").await.unwrap().unwrap(),
            "before"
        );
    }

    // Ada reaches the first node alone, Bob the others; and so do the nodes.
    sites.part(&[0], &[1, 2]);
    sites.part(&[1, 2], &[0]);
    ada.fronts[1].go_down();
    ada.fronts[2].go_down();
    bob.fronts[0].go_down();
    for (session, name) in [(&ada_session, "ada"), (&bob_session, "bob")] {
        let mut done = async |id: &str, rev: Option<Rev>, text: Option<&str>| {
            let rev = put(session, id, rev, text).await.unwrap();
            acknowledged.push((id.to_owned(), rev.to_string()));
            // What one wrote, one reads.
            let read = text_of(session, id).await.unwrap();
            assert_eq!(read.as_deref(), text, "{name} {id}");
            rev
        };
        // Both edit it; one edits and the other deletes, each way; one edits it twice; both delete it.
        done("common-0", Some(known[0]), Some(name)).await;
        let (deleted, edited) = match name {
            "ada" => (1, 2),
            _ => (2, 1),
        };
        done(&format!("common-{deleted}"), Some(known[deleted]), None).await;
        done(&format!("common-{edited}"), Some(known[edited]), Some(name)).await;
        let once = done("common-3", Some(known[3]), Some(name)).await;
        if name == "ada" {
            done("common-3", Some(once), Some("ada twice")).await;
        }
        done("common-4", Some(known[4]), None).await;
        for n in 0..20 {
            done(&format!("of-{name}-{n}"), None, Some(name)).await;
        }
        // Both make it anew under one name.
        done("same", None, Some(name)).await;
    }
    // Who asks for a quorum on the smaller side is told that there is none.
    let quorum = open(&ada.context, 0).await;
    let alone = put(&quorum, "alone", None, Some("ada")).await;
    let (reached, asked) = (1, 2);
    assert_eq!(alone, Err(WriteError::Unconfirmed { reached, asked }));
    // Nothing came through.
    let apart = open(&bob.context, 1).await;
    assert_eq!(text_of(&apart, "of-ada-0").await, Ok(None));
    assert_eq!(
        text_of(&ada_session, "common-0").await.unwrap().unwrap(),
        "ada"
    );

    sites.heal();
    for side in [&ada, &bob] {
        side.fronts.iter().for_each(LyingNode::come_up);
    }
    let told = converged(&context, &sites.urls(), &db, &acknowledged).await;
    // Both edits are kept, and one of them wins everywhere; of an edit and a deletion the edit.
    let leaves = |id: &str| told[id].0.len();
    assert_eq!(
        (leaves("common-0"), leaves("common-1"), leaves("same")),
        (2, 2, 2)
    );
    assert!(!told["common-1"].1 && !told["common-2"].1 && told["common-4"].1);
    for session in [&ada_session, &bob_session] {
        let read = async |id: &str| text_of(session, id).await.unwrap();
        assert_eq!(read("common-1").await.as_deref(), Some("bob"));
        assert_eq!(read("common-2").await.as_deref(), Some("ada"));
        assert_eq!(read("common-3").await.as_deref(), Some("ada twice"));
        assert_eq!(read("common-4").await, None);
        assert_eq!(read("of-ada-19").await.as_deref(), Some("ada"));
        assert_eq!(read("of-bob-19").await.as_deref(), Some("bob"));
    }
    let winners = [&ada_session, &bob_session].map(|session| text_of(session, "same"));
    let [one, other] = winners;
    assert_eq!(one.await, other.await);
}
