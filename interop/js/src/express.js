// express-pouchdb, a server of CouchDB's protocol by others, as source and as target of a replication with Adyton's storage node.
//   node src/express.js PROGRAM
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import express from "express";
import expressPouchdb from "express-pouchdb";
import http from "pouchdb-adapter-http";
import memory from "pouchdb-adapter-memory";
import PouchDB from "pouchdb-core";
import replication from "pouchdb-replication";
import { agree, bytes } from "./replicas.js";
import { Person, StorageNode } from "./storage.js";

PouchDB.plugin(memory).plugin(http).plugin(replication);

const directory = await mkdtemp(join(tmpdir(), "adyton-interop-"));
const kept = PouchDB.defaults({ adapter: "memory", prefix: "served-" });
const app = express();
const mode = { mode: "minimumForPouchDB", inMemoryConfig: true, logPath: join(directory, "log.txt") };
app.use("/", expressPouchdb(kept, mode));
const server = app.listen(0, "127.0.0.1");
await once(server, "listening");
const stranger = (name) => new PouchDB(`http://127.0.0.1:${server.address().port}/${name}`, { adapter: "http" });

const node = new StorageNode(process.argv[2], directory);
await node.start();
try {
  const person = new Person(node, 11, PouchDB.fetch);
  await person.publish();
  await person.logIn();
  const ours = new PouchDB(await person.createDatabase("express"), { adapter: "http", skip_setup: true, fetch: person.fetch });
  const [source, target] = [stranger("source"), stranger("target")];

  const content = randomBytes(100_000);
  const data = content.toString("base64");
  const written = await source.bulkDocs([
    ...Array.from({ length: 200 }, (_, n) => ({ _id: `e${n}`, n })),
    { _id: "with", _attachments: { "a b": { content_type: "image/png", data } } },
  ]);
  const edits = written.slice(0, 100).map(({ id, rev }, n) => ({ _id: id, _rev: rev, _deleted: n % 2 === 0, edited: true }));
  await source.bulkDocs(edits);
  // A conflict of the stranger's making.
  const ids = ["f".repeat(32), written[150].rev.slice(2)];
  const branch = { _id: "e150", _rev: `2-${ids[0]}`, _revisions: { start: 2, ids }, branch: true };
  const other = { _id: "e150", _rev: `1-${"e".repeat(32)}`, other: true };
  await source.bulkDocs([branch, other], { new_edits: false });

  const replicate = (from, to) => PouchDB.replicate(from, to, { batch_size: 50 });
  const there = await replicate(source, ours);
  assert.deepEqual([there.ok, there.doc_write_failures], [true, 0]);
  const back = await replicate(ours, target);
  assert.deepEqual([back.ok, back.doc_write_failures], [true, 0]);
  assert.equal(await agree(source, ours, target), 151);
  for (const database of [ours, target]) {
    assert((await bytes(await database.getAttachment("with", "a b"))).equals(content));
    assert.deepEqual((await database.get("e150", { conflicts: true }))._conflicts, [other._rev]);
  }
  // And an edit of ours, back to where it all came from.
  await ours.put({ ...(await ours.get("with")), edited: true });
  await replicate(ours, source);
  assert.equal((await source.get("with")).edited, true);
  await agree(source, ours);
  console.log("express-pouchdb: source and target, 201 documents, deletions, a conflict, an attachment");
} finally {
  await node.kill();
  await rm(directory, { recursive: true });
}
process.exit(0);
