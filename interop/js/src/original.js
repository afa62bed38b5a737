// A context on two nodes: Adyton's, and one made as the original is (its handshake, CouchDB's protocol behind it by
// express-pouchdb, a continuous replication by PouchDB in the place of a `_replicator` job).
//   node src/original.js PROGRAM
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
import { agree, bytes, stop, until } from "./replicas.js";
import { CONTEXT, Person, StorageNode, freePort, keccak, keyOf, sign, signer, sortedJson } from "./storage.js";

PouchDB.plugin(memory).plugin(http).plugin(replication);

// Nodes are told apart by host, so it has another one than ours.
const HOST = "127.0.0.2";

class Original {
  constructor(kept, logPath) {
    Object.assign(this, { kept, key: new Uint8Array(32).fill(77), passwords: new Map(), asked: 0, refused: 0 });
    const couch = express();
    couch.use((request, response, next) => {
      this.asked += 1;
      const [name, password] = Buffer.from(request.headers.authorization?.slice(6) ?? "", "base64").toString().split(":");
      if (password && this.passwords.get(name) === password) return next();
      this.refused += 1;
      response.status(401).json({ error: "unauthorized", reason: "Name or password is incorrect." });
    });
    couch.use("/", expressPouchdb(kept, { mode: "minimumForPouchDB", inMemoryConfig: true, logPath }));
    const middleware = express();
    middleware.get("/status", (_, response) => {
      response.json({ status: "success", results: { publicKey: keyOf(this.key), couchUri: this.couchUri } });
    });
    middleware.post("/auth/replicationCreds", express.json(), (request, response) => this.letIn(request.body, response));
    this.apps = [middleware, couch];
  }

  async start() {
    this.ports ??= [await freePort(HOST), await freePort(HOST)];
    [this.url, this.couchUri] = this.ports.map((port) => `http://${HOST}:${port}`);
    this.servers = this.apps.map((app, n) => app.listen(this.ports[n], HOST));
    await Promise.all(this.servers.map((server) => once(server, "listening")));
  }

  async kill() {
    for (const server of this.servers) {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    }
  }

  // The original's checks, as far as a request that holds can meet them.
  async letIn({ signature, ...body }, response) {
    const { endpointUri, did, contextName, timestampMinutes, password } = body;
    const { results } = await (await fetch(`${endpointUri}/status`)).json();
    const minutes = Math.abs(timestampMinutes - Math.floor(Date.now() / 60_000));
    if (!(did && contextName && minutes <= 2) || signer(sortedJson(body), signature) !== results.publicKey) {
      return response.status(401).json({ status: "fail", message: "Invalid signature" });
    }
    this.passwords.set(`r${keccak(new URL(endpointUri).hostname)}`, password);
    response.json({ result: "created" });
  }

  // Its own way into another node's databases.
  async enter(node, did) {
    const password = randomBytes(32).toString("hex");
    const minutes = Math.floor(Date.now() / 60_000);
    const body = { endpointUri: this.url, did, contextName: CONTEXT, timestampMinutes: minutes, password };
    body.signature = sign(sortedJson(body), this.key);
    const headers = { "content-type": "application/json" };
    const answer = await fetch(`${node.url}/auth/replicationCreds`, { method: "POST", headers, body: JSON.stringify(body) });
    assert.equal(answer.status, 200, await answer.clone().text());
    const { signature, ...said } = await answer.json();
    const status = await (await fetch(`${node.url}/status`)).json();
    assert.equal(signer(sortedJson(said), signature), status.results.publicKey);
    return { username: `r${keccak(HOST)}`, password };
  }
}

const directory = await mkdtemp(join(tmpdir(), "adyton-interop-"));
// What express-pouchdb takes of attachments goes through files that it does not remove.
process.env.TMPDIR = directory;
const original = new Original(PouchDB.defaults({ adapter: "memory", prefix: "original-" }), join(directory, "log.txt"));
const node = new StorageNode(process.argv[2], join(directory, "node"));
await original.start();
await node.start();
try {
  const person = new Person(node, 12, PouchDB.fetch);
  await person.publish([`${node.url}/`, `${original.url}/`]);
  await person.logIn();
  const url = await person.createDatabase("shared");
  const ours = new PouchDB(url, { adapter: "http", skip_setup: true, fetch: person.fetch });
  const theirs = new original.kept(new URL(url).pathname.slice(1));
  await theirs.info();
  const meet = async (least) => {
    const equal = async () => (await agree(ours, theirs).catch(() => 0)) >= least;
    await until(equal, `they do not meet at ${least} documents`).catch(async (error) => {
      await agree(ours, theirs);
      throw error;
    });
  };

  // From ours: documents, edits, deletions, a conflict, attachments that travel inside and beside their documents.
  const written = await ours.bulkDocs(Array.from({ length: 500 }, (_, n) => ({ _id: `o ${n}/é`, n })));
  await ours.bulkDocs(written.slice(0, 100).map(({ id, rev }, n) => ({ _id: id, _rev: rev, _deleted: n % 2 === 0, edited: true })));
  await ours.bulkDocs([{ _id: written[200].id, _rev: `1-${"e".repeat(32)}`, other: true }], { new_edits: false });
  const contents = { small: randomBytes(10_000), large: randomBytes(3 << 20) };
  for (const [name, content] of Object.entries(contents)) {
    await ours.put({ _id: name, _attachments: { "a b": { content_type: "image/png", data: content.toString("base64") } } });
  }
  await meet(452);
  for (const [name, content] of Object.entries(contents)) {
    assert((await bytes(await theirs.getAttachment(name, "a b"))).equals(content), name);
  }

  // From theirs, as CouchDB's replicator pushes.
  const auth = await original.enter(node, person.did);
  const target = new PouchDB(url, { adapter: "http", skip_setup: true, auth });
  const job = theirs.replicate.to(target, { live: true, retry: true, back_off_function: () => 200 });
  await theirs.bulkDocs(Array.from({ length: 300 }, (_, n) => ({ _id: `t${n}`, n })));
  const edit = { ...(await theirs.get("small")), edited: true };
  await theirs.put(edit);
  await meet(752);

  // Both at once, the same documents.
  await Promise.all([ours, theirs].map(async (database, side) => {
    const { rows } = await database.allDocs({ include_docs: true, startkey: "t0", endkey: "t2" });
    await database.bulkDocs(rows.map(({ doc }) => ({ ...doc, side })));
  }));
  await until(async () => (await ours.get("t1", { conflicts: true }))._conflicts?.length === 1, "no conflict meets");
  await meet(752);

  // Neither goes on when there is nothing to tell.
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const asked = original.asked;
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  assert.equal(original.asked, asked);

  // The original is away while ours is written, and has forgotten the password when it comes back.
  await original.kill();
  await ours.bulkDocs(Array.from({ length: 250 }, (_, n) => ({ _id: `away${n}`, n })));
  original.passwords.clear();
  await original.start();
  await meet(1_002);
  // Ours is killed while theirs is written.
  await node.kill();
  await theirs.bulkDocs(Array.from({ length: 250 }, (_, n) => ({ _id: `back${n}`, n })));
  await node.start();
  await meet(1_252);
  assert(original.refused <= 4, `${original.refused} times without the password`);
  await stop(job);
  console.log("an original node: 1,252 documents, deletions, conflicts, attachments of 10 KB and 3 MB both ways, each of them away for a while");
} finally {
  await node.kill();
  await original.kill();
  await rm(directory, { recursive: true });
}
process.exit(0);
