// Clients of others ask Adyton's storage node by Mango queries: pouchdb-find over HTTP, and nano. The feed is read by selector and as
// an event stream, a database is purged and compacted.
//   node src/queries.js PROGRAM
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import nano from "nano";
import PouchDB from "pouchdb-core";
import http from "pouchdb-adapter-http";
import memory from "pouchdb-adapter-memory";
import find from "pouchdb-find";
import { Person, StorageNode } from "./storage.js";

PouchDB.plugin(http).plugin(memory).plugin(find);

const directory = await mkdtemp(join(tmpdir(), "adyton-interop-"));
const node = new StorageNode(process.argv[2], directory);
await node.start();
try {
  const person = new Person(node, 11, PouchDB.fetch);
  await person.publish();
  await person.logIn();
  const url = await person.createDatabase("queries");
  const pouch = new PouchDB(url, { fetch: person.fetch, skip_setup: true });
  const headers = { authorization: `Bearer ${person.access}` };
  const database = nano({ url: node.url, headers }).use(new URL(url).pathname.slice(1));
  // Enough for stored indexes: fewer are looked at one by one.
  const docs = Array.from({ length: 600 }, (_, n) => ({
    _id: String(n).padStart(3, "0"),
    n: 599 - n,
    even: n % 2 === 0,
    name: { first: `f${n % 7}`, last: `l${n % 5}` },
    ...(n % 3 === 0 && { word: `w${n}` }),
  }));
  await pouch.bulkDocs(docs);
  await queries(pouch, docs);
  await asking(database);
  await feeds(database, url, headers);
  await maintenance(database, url, headers);
  console.log("queries: pouchdb-find over HTTP, nano, feeds by selector and as events, purge, compaction");
} finally {
  await node.kill();
  await rm(directory, { recursive: true });
}

function plain({ _rev, ...members }) {
  return members;
}

// What pouchdb-find answers over HTTP is what it answers on the same documents in its own memory.
async function queries(remote, docs) {
  const local = new PouchDB("queries", { adapter: "memory" });
  await local.bulkDocs(docs.map((doc) => ({ ...doc })));
  for (const fields of [["n"], ["even", "n"], ["name.first", "name.last"], ["word"]]) {
    const definition = { index: { fields } };
    assert.equal((await remote.createIndex(definition)).result, "created");
    assert.equal((await remote.createIndex(definition)).result, "exists");
    await local.createIndex(definition);
  }
  const { indexes } = await remote.getIndexes();
  assert.deepEqual(indexes[0], { ddoc: null, name: "_all_docs", type: "special", def: { fields: [{ _id: "asc" }] } });
  assert.equal(indexes.length, 5);
  for (const query of [
    { selector: { n: { $gt: 10, $lte: 20 } } },
    // `$gte`: with `$gt` PouchDB in memory counts the row at the bound against the limit.
    { selector: { n: { $gte: 10 } }, sort: ["n"], limit: 5 },
    { selector: { n: { $gte: 10 } }, sort: [{ n: "desc" }], limit: 5, skip: 3 },
    { selector: { even: true, n: { $gte: 0 } }, sort: ["even", "n"] },
    { selector: { "name.first": "f3", "name.last": { $gt: "l1" } }, fields: ["_id", "name.last"] },
    { selector: { word: { $gte: "w3" } }, sort: ["word"], limit: 600 },
    { selector: { n: { $gte: 300 }, even: true }, sort: ["even", "n"], limit: 50, skip: 20 },
    { selector: { _id: { $gte: "100", $lt: "105" } } },
    { selector: { _id: { $gt: null }, n: { $in: [1, 5, 99] } } },
    { selector: { $or: [{ n: 3 }, { "name.first": "f1" }], _id: { $gt: null } } },
  ]) {
    const [theirs, ours] = [await local.find({ limit: 100, ...query }), await remote.find({ limit: 100, ...query })];
    assert(ours.docs.length > 0, JSON.stringify(query));
    assert.deepEqual(ours.docs.map(plain), theirs.docs.map(plain), JSON.stringify(query));
  }
  const explained = await remote.explain({ selector: { n: 1 }, sort: ["n"] });
  assert.deepEqual(explained.index.def, { fields: [{ n: "asc" }] });
  await assert.rejects(remote.find({ selector: { n: 1 }, sort: ["nothing"] }), { error: "no_usable_index", status: 400 });
  await remote.deleteIndex(indexes.find(({ def }) => def.fields[0].word));
  assert.equal((await remote.getIndexes()).indexes.length, 4);
  await local.destroy();
}

async function asking(database) {
  assert.equal((await database.createIndex({ index: { fields: ["n"] }, ddoc: "d", name: "by-n" })).result, "created");
  const pages = [];
  for (let bookmark; ; ) {
    const page = await database.find({ selector: { n: { $gte: 570 } }, limit: 7, bookmark, use_index: "d" });
    if (page.docs.length === 0) break;
    pages.push(...page.docs.map(({ n }) => n));
    bookmark = page.bookmark;
  }
  assert.deepEqual(pages, Array.from({ length: 30 }, (_, n) => n + 570));
  const counted = await database.find({ selector: { even: true }, execution_stats: true, limit: 3 });
  assert.equal(counted.execution_stats.results_returned, 3);
  await assert.rejects(database.find({ selector: { n: { $what: 1 } } }), { statusCode: 400 });
}

async function feeds(database, url, headers) {
  const wanted = { selector: { n: { $lt: 3 } } };
  const answer = await fetch(`${url}/_changes?filter=_selector`, {
    method: "POST",
    headers: { ...headers, "content-type": "application/json" },
    body: JSON.stringify(wanted),
  });
  assert.deepEqual((await answer.json()).results.map(({ id }) => id), ["597", "598", "599"]);
  const since = (await database.info()).update_seq;
  const events = await fetch(`${url}/_changes?feed=eventsource&since=${since}&heartbeat=200`, { headers });
  assert.equal(events.headers.get("content-type"), "text/event-stream");
  await database.insert({ live: true }, "live");
  let text = "";
  for await (const piece of events.body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    if (text.includes("event: heartbeat") && text.includes('"live"')) break;
  }
  const [, data, id] = text.match(/data: (\{.*\})\nid: (".*")\n\n/);
  assert.equal(JSON.parse(data).seq, JSON.parse(id));
  // nano's own reader follows the feed.
  const change = new Promise((resolve, reject) => {
    database.changesReader.get({ since: "now", wait: false }).on("change", resolve).on("error", reject);
  });
  await new Promise((resolve) => setTimeout(resolve, 200));
  await database.insert({}, "later");
  assert.equal((await change).id, "later");
  database.changesReader.stop();
}

async function maintenance(database, url, headers) {
  const { _rev } = await database.get("live");
  const call = async (path, body) => {
    const sent = { ...headers, "content-type": "application/json" };
    const answer = await fetch(`${url}/${path}`, { method: "POST", headers: sent, body: JSON.stringify(body) });
    return [answer.status, await answer.json()];
  };
  assert.deepEqual(await call("_purge", { live: [_rev] }), [201, { purge_seq: null, purged: { live: [_rev] } }]);
  await assert.rejects(database.get("live"), { statusCode: 404, reason: "missing" });
  assert.deepEqual(await call("_compact", {}), [202, { ok: true }]);
  assert.equal((await database.get("later"))._id, "later");
}
