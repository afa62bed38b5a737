// PouchDB replicates with Adyton's storage node, both ways: what a client written by others needs, one scenario after the other.
//   node src/replication.js PROGRAM [DOCUMENTS]
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import http from "pouchdb-adapter-http";
import memory from "pouchdb-adapter-memory";
import PouchDB from "pouchdb-core";
import replication from "pouchdb-replication";
import { agree, bytes, count, stop, until } from "./replicas.js";
import { Person, StorageNode } from "./storage.js";

PouchDB.plugin(memory).plugin(http).plugin(replication);

const [program, documents = "10000"] = process.argv.slice(2);
const DOCUMENTS = Number(documents);
// Seconds after which an access token has ended.
const TOKEN_LIFE = 601;

// PouchDB asks the node who it is without looking at the answer's end. When nobody is there, that is the outage that is tested; a
// browser would log it.
process.on("unhandledRejection", (error) => {
  if (error.name !== "FetchError") throw error;
});

const directory = await mkdtemp(join(tmpdir(), "adyton-interop-"));
const node = new StorageNode(program, directory);
await node.start();
const person = new Person(node, 7, PouchDB.fetch);
await person.publish();
await person.logIn();

let made = 0;
const local = () => new PouchDB(`local-${made++}`, { adapter: "memory" });
const remote = async (name) => {
  const url = await person.createDatabase(name);
  return new PouchDB(url, { adapter: "http", skip_setup: true, fetch: person.fetch });
};

const scenarios = {
  async "documents, edits and deletions, both ways"() {
    const [here, there, copy] = [local(), await remote("both"), local()];
    const docs = Array.from({ length: 300 }, (_, n) => ({ _id: `d${n}`, n, text: "ä\u0000\u2028 \"".repeat(n % 7) }));
    const written = await here.bulkDocs(docs);
    await here.bulkDocs(written.filter((_, n) => n % 3 === 0).map(({ id, rev }) => ({ _id: id, _rev: rev, edited: true })));
    await here.bulkDocs(written.filter((_, n) => n % 3 === 1).map(({ id, rev }) => ({ _id: id, _rev: rev, _deleted: true })));
    const pushed = await here.replicate.to(there);
    assert.deepEqual([pushed.ok, pushed.docs_written, pushed.doc_write_failures], [true, 300, 0]);
    await there.replicate.to(copy);
    assert.equal(await agree(here, there, copy), 200);
    assert.equal((await there.info()).doc_del_count, 100);
    // Nothing is done twice, and a written tombstone can be resurrected from the other side.
    assert.equal((await here.replicate.to(there)).docs_written, 0);
    await there.put({ _id: "d1", back: true });
    await here.sync(there);
    assert.equal((await here.get("d1")).back, true);
    await agree(here, there);
    return "300 documents";
  },

  async "conflicts, resolved by hand"() {
    const [one, two, there] = [local(), local(), await remote("conflicts")];
    for (const database of [one, two]) {
      const side = database === one ? "one" : "two";
      await database.bulkDocs(Array.from({ length: 50 }, (_, n) => ({ _id: `c${n}`, side, n })));
    }
    await one.sync(there);
    await two.sync(there);
    await one.sync(there);
    assert.equal(await agree(one, two, there), 50);
    const conflicted = await there.get("c7", { conflicts: true });
    assert.equal(conflicted._conflicts.length, 1);
    const all = await there.get("c7", { open_revs: "all", revs: true });
    assert.equal(all.filter(({ ok }) => ok._id === "c7").length, 2);
    await there.remove("c7", conflicted._conflicts[0]);
    await one.sync(there);
    assert.equal((await one.get("c7", { conflicts: true }))._conflicts, undefined);
    await two.sync(there);
    await agree(one, two, there);
    return "50 conflicts";
  },

  async "attachments, both ways"() {
    const [here, there, copy] = [local(), await remote("attachments"), local()];
    const contents = new Map();
    for (const [n, length] of [0, 1, 2, 3, 1000, 262_144, 700_001].entries()) {
      const name = `dir/ü ${n}.bin`;
      contents.set(name, randomBytes(length));
      const { rev } = await here.get("a").catch(() => ({}));
      const _rev = (await here.get("a").catch(() => ({ _rev: undefined })))._rev ?? rev;
      await here.putAttachment("a", name, _rev, contents.get(name), "application/x-test");
    }
    await here.put({ _id: "b", _attachments: { t: { content_type: "text/plain", data: Buffer.from("hello").toString("base64") } } });
    await here.replicate.to(there);
    await there.replicate.to(copy);
    await agree(here, there, copy);
    for (const database of [there, copy]) {
      for (const [name, content] of contents) {
        const read = await bytes(await database.getAttachment("a", name));
        assert(read.equals(content), name);
      }
      const inline = await database.get("a", { attachments: true, binary: false });
      for (const [name, content] of contents) {
        assert.equal(inline._attachments[name].data, content.toString("base64"), name);
        const digest = createHash("md5").update(content).digest("base64");
        assert.equal(inline._attachments[name].digest, `md5-${digest}`);
      }
    }
    // Put and taken away over there; an edit that only keeps its stubs.
    const { _rev } = await there.get("b");
    const put = await there.putAttachment("b", "new", _rev, Buffer.from("new"), "text/plain");
    await there.removeAttachment("b", "t", put.rev);
    await there.put({ ...(await there.get("a")), edited: true });
    await here.sync(there);
    await copy.sync(there);
    await agree(here, there, copy);
    const b = await here.get("b", { attachments: true });
    assert.deepEqual(Object.keys(b._attachments), ["new"]);
    assert((await bytes(await copy.getAttachment("a", "dir/ü 6.bin"))).equals(contents.get("dir/ü 6.bin")));
    // A conflict of two contents under one name.
    for (const [database, text] of [[here, "mine"], [copy, "yours"]]) {
      const { _rev } = await database.get("b");
      await database.putAttachment("b", "new", _rev, Buffer.from(text), "text/plain");
    }
    await here.sync(there);
    await copy.sync(there);
    await here.sync(there);
    await agree(here, there, copy);
    const { _conflicts } = await there.get("b", { conflicts: true });
    const [won, lost] = [await there.getAttachment("b", "new"), await there.getAttachment("b", "new", { rev: _conflicts[0] })];
    const texts = [(await bytes(won)).toString(), (await bytes(lost)).toString()].sort();
    assert.deepEqual(texts, ["mine", "yours"]);
    return `${contents.size + 4} contents`;
  },

  async "documents that the node does not take, and attachments of any type"() {
    // Nine arrive, and of the tenth PouchDB is told: it does not take it for written.
    const [here, there] = [local(), await remote("long")];
    const long = "i".repeat(1025);
    await here.bulkDocs([...Array.from({ length: 9 }, (_, n) => ({ _id: `d${n}` })), { _id: long }]);
    await assert.rejects(here.replicate.to(there), (error) => error.error === "illegal_docid" && error.id === long);
    assert.equal((await there.info()).doc_count, 9);
    const attached = (name) => ({ _attachments: { [name]: { content_type: "a/b", data: "YQ==" } } });
    const many = Object.fromEntries(Array.from({ length: 1001 }, (_, n) => [`k${n}`, attached("a")._attachments.a]));
    const refused = [{ "k\udc00": 1 }, attached("n".repeat(1100)), { _attachments: many }, { _replication_id: "x" }, { _access: [] }];
    for (const [n, document] of refused.entries()) {
      const [one, there] = [local(), await remote(`refused-${n}`)];
      await one.put({ _id: "d", ...document });
      for (const time of ["first", "second"]) {
        await assert.rejects(one.replicate.to(there), (error) => error.id === "d", `${n}, the ${time} time`);
      }
    }
    // A revision that PouchDB takes and the node does not: the others arrive, and it is told of each time.
    const [strange, found] = [local(), await remote("strange")];
    await strange.bulkDocs([{ _id: "s", _rev: "1-abc" }], { new_edits: false });
    await strange.bulkDocs(Array.from({ length: 9 }, (_, n) => ({ _id: `d${n}` })));
    for (const time of ["first", "second"]) {
      await assert.rejects(strange.replicate.to(found), (error) => error.id === "s" && error.rev === "1-abc", `the ${time} time`);
    }
    assert.equal((await found.info()).doc_count, 9);
    const types = ["x".repeat(300), "text/plain; charset=ü", "", "a\nb"];
    const [odd, taken] = [local(), await remote("types")];
    for (const [n, content_type] of types.entries()) {
      await odd.put({ _id: `t${n}`, _attachments: { a: { content_type, data: "YQ==" } } });
    }
    await odd.replicate.to(taken);
    for (const [n, type] of types.entries()) {
      assert.equal((await taken.get(`t${n}`))._attachments.a.content_type, type.replaceAll("\n", ""));
      assert.equal((await bytes(await taken.getAttachment(`t${n}`, "a"))).toString(), "a");
    }
    return `${refused.length + 2} of them, and ${types.length} types`;
  },

  async "live, both ways"() {
    const [one, two, there] = [local(), local(), await remote("live")];
    const syncs = [one, two].map((database) => database.sync(there, { live: true, retry: true }));
    const arrived = (database, id) =>
      until(() => database.get(id).then((doc) => !doc._deleted, () => false), `${id} has not arrived`);
    for (let n = 0; n < 20; n++) {
      const [from, to] = n % 2 ? [one, two] : [two, one];
      await from.put({ _id: `l${n}`, n });
      await arrived(to, `l${n}`);
    }
    const doc = await two.get("l3");
    await two.remove(doc);
    await until(() => one.get("l3").then(() => false, () => true), "a deletion has not arrived");
    await one.putAttachment("l4", "a", (await one.get("l4"))._rev, Buffer.from("live"), "text/plain");
    await until(
      () => two.getAttachment("l4", "a").then(async (blob) => (await bytes(blob)).toString() === "live", () => false),
      "an attachment has not arrived",
    );
    for (const sync of syncs) await stop(sync);
    assert.equal(await agree(one, two, there), 19);
    return "20 documents, one after the other";
  },

  async "a token ends in the middle"() {
    const [here, there, copy] = [local(), await remote("expiry"), local()];
    await here.bulkDocs(Array.from({ length: 1000 }, (_, n) => ({ _id: `t${n}`, n })));
    const before = person.renewals;
    const push = here.replicate.to(there, { batch_size: 50 });
    let expired = 0;
    // Between two batches the clock goes on, so that the next request has an ended token.
    push.on("change", async () => {
      expired += 1;
      if (expired % 5 === 1) await node.pass(TOKEN_LIFE);
    });
    assert.equal((await push).docs_written, 1000);
    const pull = there.replicate.to(copy, { live: true, retry: true });
    await until(async () => (await count(copy)) === 1000, "not all has arrived");
    await node.pass(TOKEN_LIFE);
    await there.put({ _id: "after" });
    await until(() => copy.get("after").then(() => true, () => false), "a live feed has not gone on");
    await stop(pull);
    await here.replicate.from(there);
    assert.equal(await agree(here, there, copy), 1001);
    assert(person.renewals - before >= 3, `${person.renewals - before} tokens ended`);
    return `${person.renewals - before} tokens ended`;
  },

  async [`${DOCUMENTS} documents, and the node is killed in the middle`]() {
    const [here, there, copy] = [local(), await remote("many"), local()];
    for (let from = 0; from < DOCUMENTS; from += 1000) {
      const batch = Array.from({ length: Math.min(1000, DOCUMENTS - from) }, (_, n) => {
        return { _id: `m${String(from + n).padStart(6, "0")}`, n: from + n, text: "x".repeat((from + n) % 300) };
      });
      await here.bulkDocs(batch);
    }
    const before = person.outages;
    let changes = 0;
    const killed = async () => {
      changes += 1;
      if (changes !== 4) return;
      await node.kill();
      await new Promise((resolve) => setTimeout(resolve, 300));
      await node.start();
    };
    const replicated = async (replication, done) => {
      changes = 0;
      replication.on("change", () => killed().catch((error) => replication.emit("error", error)));
      await until(done, "not all has arrived", 180);
      await stop(replication);
      assert(changes >= 4, "the node was never killed");
    };
    const options = { live: true, retry: true, batch_size: Math.ceil(DOCUMENTS / 20), back_off_function: () => 100 };
    const all = async (database) => (await count(database).catch(() => 0)) === DOCUMENTS;
    await replicated(here.replicate.to(there, options), () => all(there));
    await replicated(there.replicate.to(copy, options), () => all(copy));
    assert(person.outages > before, "nobody has met the outage");
    assert.equal(await agree(here, there, copy), DOCUMENTS);
    assert.equal((await here.replicate.to(there)).docs_written, 0);
    return `${person.outages - before} requests met no node`;
  },
};

let failed = 0;
for (const [name, scenario] of Object.entries(scenarios)) {
  const begun = Date.now();
  try {
    const told = await scenario();
    console.log(`PouchDB: ${name}: ${told} (${((Date.now() - begun) / 1000).toFixed(1)} s)`);
  } catch (error) {
    failed += 1;
    console.error(`PouchDB: ${name}: FAILED`, error);
  }
}
await node.kill();
await rm(directory, { recursive: true });
process.exit(failed === 0 ? 0 : 1);
