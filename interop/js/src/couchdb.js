// Adyton's storage node in front of a CouchDB of others: express-pouchdb, which runs the validation functions and keeps `_security`
// itself. What it lacks of CouchDB stands before it here: JWTs.
//   node src/couchdb.js PROGRAM
import assert from "node:assert/strict";
import { createHmac, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import express from "express";
import expressPouchdb from "express-pouchdb";
import http from "pouchdb-adapter-http";
import memory from "pouchdb-adapter-memory";
import PouchDB from "pouchdb-core";
import find from "pouchdb-find";
import replication from "pouchdb-replication";
import { agree, bytes } from "./replicas.js";
import { Person, StorageNode } from "./storage.js";

const ACCESS_KEY = "the access key of the test";
const ADMIN = `Basic ${Buffer.from("admin:admin password").toString("base64")}`;

PouchDB.plugin(memory).plugin(http).plugin(replication).plugin(find);

const directory = await mkdtemp(join(tmpdir(), "adyton-interop-"));
const kept = PouchDB.defaults({ adapter: "memory", prefix: "kept-" });

const base64url = (text) => Buffer.from(text).toString("base64url");
const signed = (claims) => {
  const text = `${base64url('{"alg":"HS256","typ":"JWT"}')}.${base64url(JSON.stringify(claims))}`;
  return `${text}.${createHmac("sha256", ACCESS_KEY).update(text).digest("base64url")}`;
};

// As CouchDB: an admin by Basic, users and roles by JWT, and nobody else.
const callerOf = (authorization = "") => {
  if (authorization === ADMIN) return { name: "admin", roles: ["_admin"] };
  const [head, claims, tag] = authorization.replace(/^Bearer /, "").split(".");
  const expected = createHmac("sha256", ACCESS_KEY).update(`${head}.${claims}`).digest("base64url");
  if (tag !== expected) return null;
  const { sub, exp, ["_couchdb.roles"]: roles } = JSON.parse(Buffer.from(claims, "base64url"));
  return exp === undefined ? null : { name: sub, roles: roles ?? [] };
};
const heard = new Set();
const app = express();
app.use((request, response, next) => {
  const userCtx = callerOf(request.headers.authorization);
  if (!userCtx) return response.status(401).json({ error: "unauthorized", reason: "You are not authorized." });
  heard.add(userCtx.name);
  delete request.headers.authorization;
  const session = { ok: true, userCtx, info: {} };
  Object.defineProperty(request, "couchSession", { get: () => session, set: () => {} });
  next();
});
app.use("/", expressPouchdb(kept, { inMemoryConfig: true, logPath: join(directory, "log.txt"), overrideMode: { exclude: ["routes/fauxton"] } }));
const server = app.listen(0, "127.0.0.1");
await once(server, "listening");
const couch = `http://127.0.0.1:${server.address().port}`;

const node = new StorageNode(process.argv[2], directory, [couch]);
await node.start();
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
  await node.pass(700);
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

  const usage = await owner.call("user/usage", {});
  assert.equal(usage.result.databases, 3);
  const { results } = await owner.call("user/deleteDatabases", {});
  assert.deepEqual(results.sort(), ["mail", "shared", "wall"]);
  assert(heard.has("everybody") && heard.has("admin"));
  console.log("in front of express-pouchdb: replication both ways and live, rights of both, the original's layout");
} finally {
  await node.kill();
  await rm(directory, { recursive: true });
}
process.exit(0);
