//! Logging in: a challenge asked for, signed, and answered; one person, one connection.

use std::time::Instant;

use super::peer::Peer;
use super::table::{Column, Row};
use super::tell_times;
use crate::Outcome;

pub(super) async fn measure(peer: &Peer, logins: usize, column: &mut Column) -> Outcome<()> {
    let Some(owner) = &peer.owner else {
        return Ok(());
    };
    let mut times = Vec::new();
    for _ in 0..logins {
        let begun = Instant::now();
        let node = &owner.node;
        node.login(&owner.account, &owner.context, &owner.keyring)
            .await?;
        times.push(begun.elapsed());
    }
    tell_times(column, (Row::Login, Row::LoginTail), &mut times);
    Ok(())
}
