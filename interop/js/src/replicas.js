// What two replicas must agree on, and waiting for them.
import assert from "node:assert/strict";

// In front of a CouchDB it stands in every database, and travels as everything does.
const OWN = "_design/only_permit_write_users";

// How many documents there are, without the node's own.
export const count = async (database) => {
  const [{ doc_count }, own] = [await database.info(), await database.get(OWN).then(() => 1, () => 0)];
  return doc_count - own;
};

// Everything that two replicas must agree on: winners, conflicts, members, and the contents of attachments.
const state = async (database) => {
  const { rows } = await database.allDocs({ include_docs: true, conflicts: true });
  const told = new Map();
  for (const { id, doc } of rows.filter(({ id }) => id !== OWN)) {
    doc._conflicts?.sort();
    const attachments = Object.entries(doc._attachments ?? {}).map(([name, { digest, content_type, length }]) => {
      // Not `revpos`: PouchDB gives what it pulls the revision's own generation.
      return { name, digest, content_type, length };
    });
    attachments.sort((a, b) => (a.name < b.name ? -1 : 1));
    told.set(id, { ...doc, _attachments: attachments });
  }
  return told;
};

export const agree = async (...databases) => {
  const [first, ...others] = await Promise.all(databases.map(state));
  for (const other of others) {
    assert.equal(other.size, first.size);
    for (const [id, doc] of first) assert.deepEqual(other.get(id), doc, id);
  }
  return first.size;
};

export const bytes = async (blob) => (Buffer.isBuffer(blob) ? blob : Buffer.from(await blob.arrayBuffer()));

export async function until(holds, otherwise, seconds = 30) {
  const deadline = Date.now() + seconds * 1000;
  while (!(await holds())) {
    assert(Date.now() < deadline, otherwise);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export async function stop(replication) {
  const ended = new Promise((resolve) => replication.on("complete", resolve).on("error", resolve));
  replication.cancel();
  await ended;
}
