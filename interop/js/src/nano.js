// nano, the CouchDB client of Apache, does with Adyton's storage node what applications do with it.
//   node src/nano.js PROGRAM
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import nano from "nano";
import { Person, StorageNode } from "./storage.js";

const directory = await mkdtemp(join(tmpdir(), "adyton-interop-"));
const node = new StorageNode(process.argv[2], directory);
await node.start();
try {
  const person = new Person(node, 9, fetch);
  await person.publish();
  await person.logIn();
  const name = new URL(await person.createDatabase("nano")).pathname.slice(1);
  const database = nano({ url: node.url, headers: { authorization: `Bearer ${person.access}` } }).use(name);
  await documents(database);
  await attachments(database);
  console.log("nano: documents, bulk, lists, changes, attachments, multipart");
} finally {
  await node.kill();
  await rm(directory, { recursive: true });
}

async function documents(database) {
  const first = await database.insert({ n: 1 }, "a/b");
  assert.equal(first.ok, true);
  await assert.rejects(database.insert({ n: 2 }, "a/b"), { statusCode: 409, error: "conflict" });
  const second = await database.insert({ _rev: first.rev, n: 2 }, "a/b");
  assert.equal((await database.get("a/b", { revs_info: true }))._revs_info.length, 2);
  assert.equal((await database.head("a/b")).etag, `"${second.rev}"`);
  const bulk = await database.bulk({ docs: [{ _id: "c" }, { _id: "d" }, { _id: "a/b" }] });
  assert.deepEqual(bulk.map(({ error }) => error), [undefined, undefined, "conflict"]);
  const { rows } = await database.list({ include_docs: true, startkey: "b", limit: 1 });
  assert.deepEqual(rows.map(({ id }) => id), ["c"]);
  const fetched = await database.fetch({ keys: ["d", "nobody"] });
  assert.deepEqual(fetched.rows.map(({ id, error }) => id ?? error), ["d", "not_found"]);
  const changes = await database.changes({ since: 0 });
  assert.deepEqual(changes.results.map(({ id }) => id).sort(), ["a/b", "c", "d"]);
  await database.destroy("a/b", second.rev);
  await assert.rejects(database.get("a/b"), { statusCode: 404, error: "not_found" });
  assert.equal((await database.info()).doc_del_count, 1);
}

async function attachments(database) {
  const [one, two] = [Buffer.from("hello"), randomBytes(300_000)];
  const sent = [
    { name: "one.txt", data: one, content_type: "text/plain" },
    { name: "two.bin", data: two, content_type: "application/x-test" },
  ];
  // `multipart/related`, of a stranger's making.
  const inserted = await database.multipart.insert({ n: 1 }, sent, "m");
  assert.equal(inserted.ok, true);
  for (const { name, data } of sent) {
    assert(Buffer.from(await database.attachment.get("m", name)).equals(data), name);
  }
  const told = await database.get("m");
  assert.deepEqual(told._attachments["one.txt"].length, 5);
  // nano hands the parts over as one text.
  const parts = String(await database.multipart.get("m"));
  assert(parts.includes('"follows":true') && parts.includes("\r\n\r\nhello\r\n--"), "the contents follow");
  const put = await database.attachment.insert("m", "three", "three", "text/plain", { rev: inserted.rev });
  const gone = await database.attachment.destroy("m", "one.txt", { rev: put.rev });
  assert.deepEqual(Object.keys((await database.get("m"))._attachments).sort(), ["three", "two.bin"]);
  await assert.rejects(database.attachment.get("m", "one.txt"), { statusCode: 404 });
  const stub = { ...(await database.get("m")), n: 2 };
  assert.notEqual((await database.insert(stub)).rev, gone.rev);
  assert(Buffer.from(await database.attachment.get("m", "two.bin")).equals(two));
}
