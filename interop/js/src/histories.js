// Random histories of documents, applied to Adyton's storage node and to PouchDB: same answers to edits, and then the same leaves,
// winners, conflicts and changes.
//   node src/histories.js PROGRAM [HISTORIES [SEED]]
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import memory from "pouchdb-adapter-memory";
import PouchDB from "pouchdb-core";
import { Dice } from "./random.js";
import { Person, StorageNode } from "./storage.js";

PouchDB.plugin(memory);

const [program, histories = "2000", first = "1"] = process.argv.slice(2);
// Histories that share a database and its bulk writes, each with a document of its own.
const PER_DATABASE = 100;
const ROUNDS = 6;

const directory = await mkdtemp(join(tmpdir(), "adyton-interop-"));
const node = new StorageNode(program, directory);
await node.start();
const person = new Person(node, 13, fetch);
await person.publish();
await person.logIn();

const counts = { histories: 0, "made elsewhere": 0, told_twice: 0, edits: 0, refused: 0, leaves: 0, conflicts: 0, deleted: 0 };

// One document: every revision that was made, with its path to the root, newest first.
class History {
  constructor(id, dice) {
    Object.assign(this, { id, dice, paths: new Map(), writes: 0 });
  }

  body(extra) {
    this.writes += 1;
    const deleted = this.dice.below(4) === 0 ? { _deleted: true } : {};
    return { _id: this.id, n: this.writes, ...deleted, ...extra };
  }

  // A branch of one to three revisions, made elsewhere, from anything that is known or from nothing.
  branch() {
    const from = this.dice.below(5) === 0 ? [] : (this.paths.get(this.any()) ?? []);
    const path = [...from];
    for (let n = this.dice.below(3); n >= 0; n--) path.unshift(this.hash());
    return this.told(path);
  }

  told(path) {
    const _rev = `${path.length}-${path[0]}`;
    // Those between are known by their names only.
    for (let n = 0; n < path.length; n++) {
      const rev = `${path.length - n}-${path[n]}`;
      if (!this.paths.has(rev)) this.paths.set(rev, path.slice(n));
    }
    return this.body({ _rev, _revisions: { start: path.length, ids: path } });
  }

  any() {
    const revs = [...this.paths.keys()];
    return revs.length ? this.dice.pick(revs) : undefined;
  }

  hash() {
    // Few digits, so that winners are also decided by hashes that begin alike.
    const head = Array.from({ length: 4 }, () => "0f9"[this.dice.below(3)]).join("");
    return head + Array.from({ length: 28 }, () => this.dice.below(16).toString(16)).join("");
  }
}

const ask = async (url, path, body) => {
  const headers = { authorization: `Bearer ${person.access}`, "content-type": "application/json" };
  const method = body ? "POST" : "GET";
  const answer = await fetch(`${url}/${path}`, { method, headers, body: body && JSON.stringify(body) });
  assert(answer.ok, `${path}: ${answer.status}`);
  return answer.json();
};

const leavesOf = async (pouch, id) => {
  const leaves = await pouch.get(id, { open_revs: "all" }).catch(() => []);
  return leaves.map(({ ok }) => ({ rev: ok._rev, deleted: ok._deleted ?? false, n: ok.n }));
};

// What CouchDB's rules say: live before deleted, then the deeper, then the greater hash.
const winner = (leaves) => {
  const key = ({ rev, deleted }) => [deleted ? 0 : 1, parseInt(rev, 10), rev.split("-")[1]];
  return [...leaves].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    const at = x.findIndex((part, n) => part !== y[n]);
    return at < 0 ? 0 : x[at] < y[at] ? 1 : -1;
  })[0];
};

async function merge(url, pouch, docs) {
  if (docs.length === 0) return;
  assert.deepEqual(await ask(url, "_bulk_docs", { docs, new_edits: false }), []);
  await pouch.bulkDocs(docs, { new_edits: false });
}

async function edit(url, pouch, edits) {
  const docs = edits.map(({ doc }) => doc);
  const lines = docs.length ? await ask(url, "_bulk_docs", { docs }) : [];
  const mirrored = [];
  for (const [n, { history, doc }] of edits.entries()) {
    const leaves = await leavesOf(pouch, history.id);
    const won = winner(leaves);
    const allowed = doc._rev ? leaves.some(({ rev }) => rev === doc._rev) : !won || won.deleted;
    assert.equal(lines[n].error, allowed ? undefined : "conflict", `${history.id}: ${JSON.stringify(doc)}`);
    if (!allowed) {
      counts.refused += 1;
      continue;
    }
    const base = history.paths.get(doc._rev ?? won?.rev) ?? [];
    const path = [lines[n].rev.split("-")[1], ...base];
    assert.equal(lines[n].rev, `${path.length}-${path[0]}`);
    history.paths.set(lines[n].rev, path);
    mirrored.push({ ...doc, _rev: lines[n].rev, _revisions: { start: path.length, ids: path } });
    counts.edits += 1;
  }
  await pouch.bulkDocs(mirrored, { new_edits: false });
}

async function compare(url, pouch, written) {
  const ours = new Map((await ask(url, "_changes?style=all_docs")).results.map((row) => [row.id, row]));
  const theirs = (await pouch.changes({ style: "all_docs" })).results;
  // With all leaves PouchDB does not say which of them has won; without, it does.
  const won = new Map((await pouch.changes()).results.map(({ id, changes }) => [id, changes[0].rev]));
  assert.equal(ours.size, theirs.length);
  for (const { id, changes, deleted } of theirs) {
    const revs = (row) => row.map(({ rev }) => rev);
    const mine = ours.get(id);
    assert.equal(mine.changes[0].rev, won.get(id), `${id}: the winner`);
    assert.deepEqual(revs(mine.changes).sort(), revs(changes).sort(), id);
    assert.equal(mine.deleted ?? false, deleted ?? false, id);
    counts.deleted += deleted ? 1 : 0;
  }
  const documents = "_all_docs?include_docs=true&conflicts=true";
  const plain = ({ id, doc }) => [id, { ...doc, _conflicts: [...(doc._conflicts ?? [])].sort() }];
  const here = new Map((await ask(url, documents)).rows.map(plain));
  const there = new Map((await pouch.allDocs({ include_docs: true, conflicts: true })).rows.map(plain));
  assert.deepEqual([...here.keys()].sort(), [...there.keys()].sort());
  for (const [id, doc] of there) {
    assert.deepEqual(here.get(id), doc, id);
    counts.conflicts += doc._conflicts.length;
  }
  for (const { id } of written.filter(({ paths }) => paths.size)) {
    const leaves = (await ask(url, `${id}?open_revs=all`)).map(({ ok }) => {
      return { rev: ok._rev, deleted: ok._deleted ?? false, n: ok.n };
    });
    const sorted = (list) => list.sort((a, b) => (a.rev < b.rev ? -1 : 1));
    assert.deepEqual(sorted(leaves), sorted(await leavesOf(pouch, id)), id);
    counts.leaves += leaves.length;
  }
}

let seed = Number(first);
try {
  for (let done = 0; done < Number(histories); done += PER_DATABASE, seed += 1) {
    const dice = new Dice(seed);
    const url = await person.createDatabase(`histories-${seed}`);
    const pouch = new PouchDB(`histories-${seed}`, { adapter: "memory" });
    const written = Array.from({ length: PER_DATABASE }, (_, n) => new History(`h${n}`, dice));
    for (let round = 0; round < ROUNDS; round++) {
      const [elsewhere, edits] = [[], []];
      for (const history of written) {
        const choice = dice.below(10);
        if (choice < 4) {
          elsewhere.push(history.branch());
          counts["made elsewhere"] += 1;
        } else if (choice < 5 && history.paths.size) {
          elsewhere.push(history.told(history.paths.get(history.any())));
          counts.told_twice += 1;
        } else if (choice < 9) {
          const _rev = dice.below(4) ? history.any() : undefined;
          edits.push({ history, doc: history.body(_rev ? { _rev } : {}) });
        }
      }
      await merge(url, pouch, elsewhere);
      await edit(url, pouch, edits);
    }
    await compare(url, pouch, written);
    counts.histories += PER_DATABASE;
    await pouch.destroy();
    if (seed % 20 === 0) await person.connect();
  }
  for (const [name, count] of Object.entries(counts)) assert(count > 0, `nothing shows: ${name}`);
  console.log("histories beside PouchDB, all the same:", counts);
} catch (error) {
  console.error(`seed ${seed} (node src/histories.js PROGRAM ${PER_DATABASE} ${seed})`);
  throw error;
} finally {
  await node.kill();
  await rm(directory, { recursive: true });
}
