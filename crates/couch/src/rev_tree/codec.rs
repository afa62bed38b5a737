//! The stored form of a revision tree: a version byte, then the nodes from the deepest, each `flags, generation step,
//! hash, [parent hash], [body]`. A parent that is simply the next node is one flag, so a straight history costs 18 bytes a node.

use std::collections::BTreeMap;

use super::{BodyRef, Node};
use crate::rev::{Rev, RevHash};

/// The stored bytes are not a revision tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored revision tree is corrupt")]
pub struct CorruptTree;

const VERSION: u8 = 1;
const HAS_CHILD: u8 = 1;
const DELETED: u8 = 2;
const HAS_BODY: u8 = 4;
const HAS_PARENT: u8 = 8;
const PARENT_IS_NEXT: u8 = 16;

pub(super) fn encode(nodes: &BTreeMap<Rev, Node>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + nodes.len() * 19);
    out.push(VERSION);
    let mut deepest_first = nodes.iter().rev().peekable();
    while let Some((rev, node)) = deepest_first.next() {
        let next = deepest_first.peek().map(|(next, _)| **next);
        let parent = node.parent.map(|hash| (rev.generation() - 1, hash));
        let is_next = parent.is_some() && parent == next.map(|n| (n.generation(), n.hash()));
        let mut flags = 0;
        flags |= if node.has_child { HAS_CHILD } else { 0 };
        flags |= if node.deleted { DELETED } else { 0 };
        flags |= if node.body.is_some() { HAS_BODY } else { 0 };
        flags |= match (parent, is_next) {
            (None, _) => 0,
            (Some(_), true) => PARENT_IS_NEXT,
            (Some(_), false) => HAS_PARENT,
        };
        out.push(flags);
        write_varint(rev.generation(), &mut out);
        out.extend_from_slice(rev.hash().as_bytes());
        if flags & HAS_PARENT != 0 {
            out.extend(node.parent.iter().flat_map(|hash| *hash.as_bytes()));
        }
        if let Some(BodyRef(body)) = node.body {
            write_varint(body, &mut out);
        }
    }
    out
}

pub(super) fn decode(bytes: &[u8]) -> Result<BTreeMap<Rev, Node>, CorruptTree> {
    let (version, mut rest) = bytes.split_first().ok_or(CorruptTree)?;
    if *version != VERSION {
        return Err(CorruptTree);
    }
    let mut nodes: Vec<(Rev, Node, bool)> = Vec::new();
    while let Some((flags, tail)) = rest.split_first() {
        rest = tail;
        let generation = read_varint(&mut rest)?;
        let rev = Rev::new(generation, read_hash(&mut rest)?).map_err(|_| CorruptTree)?;
        let mut node = Node {
            parent: None,
            has_child: flags & HAS_CHILD != 0,
            deleted: flags & DELETED != 0,
            body: None,
        };
        if flags & HAS_PARENT != 0 {
            node.parent = Some(read_hash(&mut rest)?);
        }
        if flags & HAS_BODY != 0 {
            node.body = Some(BodyRef(read_varint(&mut rest)?));
        }
        if let Some((_, before, true)) = nodes.last_mut() {
            before.parent = Some(rev.hash());
        }
        nodes.push((rev, node, flags & PARENT_IS_NEXT != 0));
    }
    if matches!(nodes.last(), Some((_, _, true))) {
        return Err(CorruptTree);
    }
    Ok(nodes
        .into_iter()
        .map(|(rev, node, _)| (rev, node))
        .collect())
}

fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn read_varint(rest: &mut &[u8]) -> Result<u64, CorruptTree> {
    let mut value: u64 = 0;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first().ok_or(CorruptTree)?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(CorruptTree)
}

fn read_hash(rest: &mut &[u8]) -> Result<RevHash, CorruptTree> {
    let (hash, tail) = rest.split_first_chunk::<16>().ok_or(CorruptTree)?;
    *rest = tail;
    Ok(RevHash::from_bytes(*hash))
}
