// Adyton's storage node in front of a CouchDB of others: the real one that ADYTON_COUCHDB names, or express-pouchdb (couch.js); and
// beside it a node in front of files, which holds the same context.
//   node src/couchdb.js PROGRAM
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import http from "pouchdb-adapter-http";
import PouchDB from "pouchdb-core";
import { couchdb, signed } from "./couch.js";
import { agree, bytes } from "./replicas.js";
import { Person, StorageNode, freePort } from "./storage.js";

PouchDB.plugin(http);

const directory = await mkdtemp(join(tmpdir(), "adyton-interop-"));
const { url: inFront, base: couch, admin: ADMIN, heard } = await couchdb();

const node = new StorageNode(process.argv[2], join(directory, "front"), [inFront]);
const files = new StorageNode(process.argv[2], join(directory, "files"), []);
files.address = `127.0.0.2:${await freePort("127.0.0.2")}`;
await node.start();
await files.start();
try {
  const people = [];
  for (const seed of [21, 22, 23]) {
    const person = new Person(node, seed, PouchDB.fetch);
    await person.publish();
    await person.logIn();
    people.push(person);
  }
  const [owner, writer, stranger] = people;
  const at = (url, person) => new PouchDB(url, { adapter: "http", skip_setup: true, fetch: person.fetch });

  // Replication both ways, with deletions, a conflict and an attachment.
  const ours = at(await owner.createDatabase("mail"), owner);
  const [source, target] = ["source", "target"].map((name) => new PouchDB(name, { adapter: "memory" }));
  const content = randomBytes(100_000);
  const written = await source.bulkDocs([
    ...Array.from({ length: 200 }, (_, n) => ({ _id: `e${n}`, n })),
    { _id: "with", _attachments: { "a b": { content_type: "image/png", data: content.toString("base64") } } },
  ]);
  await source.bulkDocs(written.slice(0, 100).map(({ id, rev }, n) => ({ _id: id, _rev: rev, _deleted: n % 2 === 0, edited: true })));
  const other = { _id: "e150", _rev: `1-${"e".repeat(32)}`, other: true };
  await source.bulkDocs([other], { new_edits: false });
  const there = await PouchDB.replicate(source, ours, { batch_size: 50 });
  assert.deepEqual([there.ok, there.doc_write_failures], [true, 0]);
  const back = await PouchDB.replicate(ours, target, { batch_size: 50 });
  assert.deepEqual([back.ok, back.doc_write_failures], [true, 0]);
  // The validation function came along, as from the original: it is a document of the database.
  await target.remove(await target.get("_design/only_permit_write_users"));
  await agree(source, target);
  assert((await bytes(await target.getAttachment("with", "a b"))).equals(content));

  // A live one, through the end of a token.
  const live = PouchDB.sync(source, ours, { live: true, retry: true });
  await Promise.all([node, files].map((one) => one.pass(700)));
  await source.put({ _id: "late", n: 1 });
  const deadline = Date.now() + 20_000;
  while (Date.now() < deadline && !(await ours.get("late").catch(() => null))) await new Promise((then) => setTimeout(then, 100));
  assert.equal((await ours.get("late")).n, 1);
  live.cancel();
  assert(owner.renewals > 0);

  // Rights: judged by the node, and by the CouchDB for whoever reaches it directly.
  for (const person of [writer, stranger]) await person.connect();
  const permissions = { read: "users", write: "users", readList: [writer.did], writeList: [writer.did] };
  const url = await owner.createDatabase("shared", permissions);
  const name = url.split("/").pop();
  await at(url, writer).put({ _id: "w" });
  await at(url, owner).put({ _id: "o" });
  const refused = await stranger.fetch(`${url}/w`, { headers: new Headers() });
  assert.equal(refused.status, 403);
  const direct = (person, path, options = {}) =>
    fetch(`${couch}/${name}/${path}`, { ...options, headers: { authorization: `Bearer ${person.access}`, "content-type": "application/json" } });
  assert.equal((await direct(writer, "w")).status, 200);
  assert([401, 403].includes((await direct(stranger, "w")).status));
  assert.equal((await direct(writer, "w2", { method: "PUT", body: "{}" })).status, 201);
  // A member who may not write: the validation function says so, in the original's words.
  await owner.createDatabase("shared", { ...permissions, write: "owner" });
  const unwritten = await direct(writer, "w3", { method: "PUT", body: "{}" });
  assert.equal(unwritten.status, 401);
  assert.equal((await unwritten.json()).reason, "User is not permitted to write to database");
  // A role opens what the context's other nodes write.
  const role = `r${(await (await fetch(`${couch}/${name}/_security`, { headers: { authorization: ADMIN } })).json()).admins.names[0].slice(1)}-replicater`;
  const peer = { access: signed({ sub: "r1", exp: 4_000_000_000, "_couchdb.roles": [role] }) };
  assert.equal((await direct(peer, "w4", { method: "PUT", body: "{}" })).status, 201);

  // Where all write, only the owner and the listed delete.
  const wall = await owner.createDatabase("wall", { read: "public", write: "public", deleteList: [writer.did] });
  const note = await at(wall, stranger).put({ _id: "n" });
  const bearer = { authorization: `Bearer ${stranger.access}` };
  const gone = await fetch(`${wall}/n?rev=${note.rev}`, { method: "DELETE", headers: bearer });
  assert.equal(gone.status, 401);
  await at(wall, writer).remove("n", note.rev);
  const { user } = await (await fetch(`${node.url}/auth/public`)).json();
  const publicly = `Basic ${Buffer.from(`${user.username}:${user.password}`).toString("base64")}`;
  const read = await fetch(`${wall}/_all_docs`, { headers: { authorization: publicly } });
  assert.equal(read.status, 200);

  // The same context on a node in front of files: what is written at either reaches the other.
  const nodes = [`${node.url}/`, `${files.url}/`];
  const [here, beyond] = [node, files].map((one) => new Person(one, 24, PouchDB.fetch));
  const both = [];
  for (const person of [here, beyond]) {
    await person.publish(nodes);
    await person.logIn();
    both.push(at(await person.createDatabase("both"), person));
  }
  const contents = [10_000, 3_000_000].map((size) => randomBytes(size));
  const [near, far] = both;
  const put = await near.bulkDocs(Array.from({ length: 300 }, (_, n) => ({ _id: `b${n}`, n })));
  await near.bulkDocs(put.slice(0, 50).map(({ id, rev }) => ({ _id: id, _rev: rev, _deleted: true })));
  await near.bulkDocs([{ _id: "b60", _rev: `1-${"e".repeat(32)}`, other: true }], { new_edits: false });
  for (const [n, content] of contents.entries()) {
    await near.put({ _id: `with${n}`, _attachments: { "a b": { content_type: "image/png", data: content.toString("base64") } } });
  }
  await far.put({ _id: "from files", n: 1 });
  const until = async (what, holds) => {
    const end = Date.now() + 30_000;
    while (!(await holds().catch(() => false))) {
      assert(Date.now() < end, what);
      await new Promise((then) => setTimeout(then, 100));
    }
  };
  await until("documents of the node in front", async () => (await far.info()).doc_count >= 253);
  await until("a document of the other node", async () => (await near.get("from files")).n === 1);
  const rows = async (database) => {
    const { results } = await database.changes({ style: "all_docs", since: 0 });
    const told = results.filter(({ id }) => !id.startsWith("_design/"));
    const leaves = told.map(({ id, changes, deleted }) => [id, changes.map(({ rev }) => rev).sort(), deleted ?? false]);
    return JSON.stringify(leaves.sort(([one], [other]) => (one < other ? -1 : 1)));
  };
  await until("the same leaves", async () => (await rows(near)) === (await rows(far)));
  for (const [n, content] of contents.entries()) {
    assert((await bytes(await far.getAttachment(`with${n}`, "a b"))).equals(content), `with${n}`);
  }
  const { failedEndpoints, endpoints } = await here.call("user/pingDatabases", { databaseHashes: [] });
  assert.deepEqual([failedEndpoints, endpoints], [[], [`${files.url}/`]]);

  const usage = await owner.call("user/usage", {});
  assert.equal(usage.result.databases, 3);
  const { results } = await owner.call("user/deleteDatabases", {});
  assert.deepEqual(results.sort(), ["mail", "shared", "wall"]);
  if (heard) assert(heard.has("everybody") && heard.has("admin") && heard.has("replicater-local"));
  console.log(`in front of ${heard ? "express-pouchdb" : "a CouchDB"}: replication both ways and live, rights of both, the original's layout, another node`);
} finally {
  await node.kill();
  await files.kill();
  await rm(directory, { recursive: true });
}
process.exit(0);
