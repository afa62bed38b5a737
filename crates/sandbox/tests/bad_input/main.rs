//! Everything that can be wrong with what others send, against the whole system: a storage node that lies or is ill,
//! records that were damaged, sessions and requests that are not what they should be, and more of everything than there is
//! room for. Each time: a clear problem, other people unharmed, nothing lost, the process alive.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

#[path = "../support/mod.rs"]
mod support;

mod admission;
mod budgets;
mod egress;
mod feed;
mod live;
mod outage;
mod records;
mod requests;
mod sessions;
mod sharing;

use support::lying_node::LyingNode;
use support::{Answer, Bystander, NodeClient, Person, World, ids};

/// One person with three notes whose storage node may lie, and somebody else with an honest one.
struct Scene {
    world: World,
    person: Person,
    lying: LyingNode,
    /// The person's session, over the lying node.
    key: String,
    node: NodeClient,
    bystander: Bystander,
}

impl Scene {
    async fn set() -> Self {
        Self::with("").await
    }

    /// `limits` as in the node's configuration.
    async fn with(limits: &str) -> Self {
        let world = World::with(limits).await;
        let person = world.person().await;
        person.write_notes(&world, 3).await;
        let lying = world.lying_node().await;
        let bystander = Bystander::of(&world).await;
        Self {
            key: person.key_at(&lying.url),
            node: world.node().await,
            world,
            person,
            lying,
            bystander,
        }
    }

    async fn notes(&mut self) -> Answer {
        self.node.notes(&self.key).await
    }

    /// The storage node tells the truth again: everything is there, and somebody else never noticed.
    async fn all_is_well_again(&mut self) {
        self.lying.be_honest();
        self.lying.come_up();
        let answer = self
            .node
            .notes_until(&self.key, |answer| answer.status.is_success())
            .await;
        assert_eq!(ids(&answer), ["note-0", "note-1", "note-2"]);
        assert_eq!(answer.json()["unreadable"], 0);
        self.bystander.is_unharmed().await;
    }
}
