// Adyton's own client (crates/client/examples/among_strangers.rs) with express-pouchdb, a server of CouchDB's protocol by others: push, pull
// and the live feed, conflicts, deletions, restarts in the middle, and writes to three of them.
//   node src/client.js PROGRAM [DOCUMENTS]
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import express from "express";
import expressPouchdb from "express-pouchdb";
import memory from "pouchdb-adapter-memory";
import PouchDB from "pouchdb-core";

PouchDB.plugin(memory);

const directory = await mkdtemp(join(tmpdir(), "adyton-interop-"));
const count = Number(process.argv[3] ?? 10000);

// express-pouchdb behind just so much of a storage node's middleware that our client finds its way to it: it believes everybody.
class Stranger {
  constructor(name) {
    this.PouchDB = PouchDB.defaults({ adapter: "memory", prefix: `${name}-` });
    this.documents = new Map();
    this.port = 0;
    this.restarts = 0;
    const app = express();
    const json = express.json({ limit: "1mb" });
    app.get("/did/:did", (asked, answer) => {
      const data = this.documents.get(asked.params.did);
      answer.status(data ? 200 : 404).json({ data });
    });
    const keep = (asked, answer) => {
      this.documents.set(asked.params.did, asked.body.document);
      answer.json({});
    };
    app.post("/did/:did", json, keep).put("/did/:did", json, keep);
    const tokens = { refreshToken: "refresh", accessToken: "access" };
    const host = () => `http://127.0.0.1:${this.port}/`;
    app.post("/auth/generateAuthJwt", (_, answer) => answer.json({ authJwt: { authRequestId: "1", authJwt: "challenge" } }));
    app.post("/auth/authenticate", (_, answer) => answer.json({ ...tokens, host: host() }));
    app.post("/auth/connect", (_, answer) => answer.json({ accessToken: "access", host: host() }));
    app.post("/user/createDatabase", (_, answer) => answer.json({}));
    // A database is made when it is first asked for, as its public name is the client's to derive.
    app.use(async (asked, _answer, next) => {
      const name = asked.path.split("/")[1];
      if (/^v[0-9a-f]{64}$/.test(name)) await this.database(name).info();
      next();
    });
    const mode = { mode: "minimumForPouchDB", inMemoryConfig: true, logPath: join(directory, `${name}.txt`) };
    app.use("/", expressPouchdb(this.PouchDB, mode));
    this.app = app;
  }

  database(name) {
    return new this.PouchDB(name);
  }

  async start() {
    this.server = this.app.listen(this.port, "127.0.0.1");
    await once(this.server, "listening");
    this.port = this.server.address().port;
  }

  // Its connections break, nobody answers for a while, and it is back with what it had.
  async restart() {
    const closed = once(this.server, "close");
    this.server.close();
    this.server.closeAllConnections();
    await closed;
    await sleep(300);
    await this.start();
    this.restarts += 1;
  }
}

const strangers = [0, 1, 2].map((n) => new Stranger(`stranger${n}`));
for (const stranger of strangers) await stranger.start();
const [stranger] = strangers;

const hash = (seed) => createHash("md5").update(seed).digest("hex");
const leaf = ({ start, ids }) => ({ _rev: `${start}-${ids[0]}`, _revisions: { start, ids } });

// What another client does: with the payloads of our making, as it has no key.
const edit = async (name) => {
  const database = stranger.database(name);
  const at = async (id, rev) => (await database.get(id, { rev })).payload;
  const history = async (id) => (await database.get(id, { revs: true }))._revisions;
  await database.remove(await database.get("n2"));
  // The first content of n3, made the winner from its first revision on, beside our second one.
  const [, first3] = (await history("n3")).ids;
  const branch3 = { start: 3, ids: [hash("3"), hash("2"), first3] };
  await database.bulkDocs([{ _id: "n3", payload: await at("n3", `1-${first3}`), ...leaf(branch3) }], { new_edits: false });
  // The same for n4, and then what had won is deleted: the edit beside it is what is left.
  const { ids: ids4 } = await history("n4");
  const branch4 = { start: 2, ids: [ids4[0] < "8" ? "0".repeat(32) : "7".repeat(32), ids4[1]] };
  await database.bulkDocs([{ _id: "n4", payload: await at("n4", `1-${ids4[1]}`), ...leaf(branch4) }], { new_edits: false });
  await database.bulkDocs([{ _id: "n4", _deleted: true, ...leaf({ start: 3, ids: [hash("gone"), ...ids4] }) }], { new_edits: false });
  assert.equal((await database.get("n3", { conflicts: true }))._conflicts.length, 1);
};

const tasks = {
  restart: () => stranger.restart(),
  pushed: async (name) => {
    const { rows } = await stranger.database(name).allDocs({ include_docs: true });
    assert.equal(rows.length, count);
    for (const { doc } of rows) {
      assert.deepEqual(Object.keys(doc).sort(), ["_id", "_rev", "payload"]);
      assert(doc._rev.startsWith("1-"));
    }
  },
  edit,
  resolved: async (rev, name) => {
    const document = await stranger.database(name).get("n3", { conflicts: true });
    assert.equal(document._rev, rev);
    assert.equal(document._conflicts.length, 1);
  },
  delete: async (id, name) => {
    const database = stranger.database(name);
    await database.remove(await database.get(id));
  },
  quorum: async (rev, name) => {
    const leaves = strangers.map(async (one) => {
      const database = one.database(name);
      const { rows } = await database.allDocs({ include_docs: true, conflicts: true });
      assert.equal(rows.length, 51);
      assert.equal((await database.get("q"))._rev, rev);
      return rows.map(({ doc }) => [doc._id, doc._rev, doc.payload, doc._conflicts]);
    });
    const [one, ...others] = await Promise.all(leaves);
    for (const other of others) assert.deepEqual(other, one);
  },
};

const ours = spawn(process.argv[2], [String(count), ...strangers.map(({ port }) => `http://127.0.0.1:${port}/`)], {
  stdio: ["pipe", "pipe", "inherit"],
});
const ended = once(ours, "exit");
try {
  for await (const line of createInterface({ input: ours.stdout })) {
    const [task, ...words] = line.split(" ");
    await tasks[task](...words);
    ours.stdin.write("done\n");
  }
  const [status] = await ended;
  assert.equal(status, 0, "our client ended early");
  assert.equal(stranger.restarts, 3);
  console.log(`our client among express-pouchdbs: ${count} documents, conflicts, deletions, a live feed, 3 restarts, a quorum of three`);
} finally {
  ours.kill();
  await rm(directory, { recursive: true });
}
process.exit(0);
