// One request after the other, each put to Adyton's storage node and to express-pouchdb, as written by nobody's client: what CouchDB's
// documentation says of a database and its documents, parameter by parameter. Both say the same, or what is said of the difference.
//   node src/requests.js PROGRAM
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import express from "express";
import expressPouchdb from "express-pouchdb";
import memory from "pouchdb-adapter-memory";
import PouchDB from "pouchdb-core";
import { Person, StorageNode } from "./storage.js";

PouchDB.plugin(memory);
const directory = await mkdtemp(join(tmpdir(), "adyton-interop-"));
const kept = PouchDB.defaults({ adapter: "memory", prefix: "asked-" });
const app = express();
app.use("/", expressPouchdb(kept, { mode: "minimumForPouchDB", inMemoryConfig: true, logPath: join(directory, "log.txt") }));
const server = app.listen(0, "127.0.0.1");
await once(server, "listening");
const theirs = `http://127.0.0.1:${server.address().port}/asked`;
await fetch(theirs, { method: "PUT" });

const node = new StorageNode(process.argv[2], join(directory, "node"));
await node.start();
const person = new Person(node, 12, fetch);
await person.publish();
await person.logIn();
const ours = await person.createDatabase("asked");

const rev = (n, digit) => `${n}-${digit.repeat(32)}`;
const json = (value) => JSON.stringify(value);
// Fixed revisions, so that both sides have the same ones.
const docs = [
  { _id: "a", _rev: rev(2, "a"), _revisions: { start: 2, ids: ["a".repeat(32), "0".repeat(32)] }, n: 1 },
  { _id: "a", _rev: rev(2, "1"), _revisions: { start: 2, ids: ["1".repeat(32), "0".repeat(32)] }, n: 2 },
  { _id: "a", _rev: rev(2, "2"), _revisions: { start: 2, ids: ["2".repeat(32), "0".repeat(32)] }, _deleted: true },
  { _id: "b/c ä", _rev: rev(1, "b"), n: 3 },
  { _id: "gone", _rev: rev(1, "d"), _deleted: true, why: "kept" },
  { _id: "with", _rev: rev(1, "e"), _attachments: { "x y": { content_type: "text/plain", data: "aGVsbG8=" } } },
  { _id: "_design/d", _rev: rev(1, "f"), language: "javascript" },
];
const filled = { method: "POST", body: json({ docs, new_edits: false }) };

const get = (path, headers) => ({ method: "GET", path, headers });
const post = (path, body, headers) => ({ method: "POST", path, body: json(body), headers });
const put = (path, body, headers) => ({ method: "PUT", path, body: json(body), headers });
const del = (path, headers) => ({ method: "DELETE", path, headers });
const copy = (path, destination) => ({ method: "COPY", path, headers: { destination } });
const quoted = encodeURIComponent;

// Where express-pouchdb is no CouchDB, and ours does what CouchDB's documentation says: why it is not the same.
const not = (why, ...requests) => requests.map((request) => ({ ...request, why }));

// What is compared: the status, and the members, without positions, reasons and revisions that each makes by itself.
const requests = [
  ...not("figures of its own", get(""), get("/"), post("/_ensure_full_commit", {})),
  { method: "HEAD", path: "" },
  get("/_all_docs"), get("/_all_docs?descending=true"), get("/_all_docs?limit=2&skip=1"), get("/_all_docs?limit=0"),
  get(`/_all_docs?startkey=${quoted('"b"')}`), get(`/_all_docs?start_key=${quoted('"b"')}&end_key=${quoted('"w"')}`),
  get(`/_all_docs?startkey=${quoted('"b"')}&endkey=${quoted('"with"')}&inclusive_end=false`),
  get(`/_all_docs?key=${quoted('"a"')}`), get(`/_all_docs?key=${quoted('"none"')}`),
  get("/_all_docs?startkey=null"), get("/_all_docs?startkey=1"), get("/_all_docs?key=1"),
  ...not("JavaScript's order", get(`/_all_docs?startkey=null&endkey=${quoted("{}")}`)),
  ...not("what no id can be is not found", get(`/_all_docs?keys=${quoted("[1]")}`)),
  get(`/_all_docs?keys=${quoted(json(["a"]))}&include_docs=true`), post("/_all_docs?include_docs=true&attachments=true", { keys: ["with", "gone"] }),
  ...not("a `doc` that is null where no documents are asked for", get(`/_all_docs?keys=${quoted(json(["a", "none", "gone"]))}`), post("/_all_docs", { keys: ["with", "a", "gone", "none"] })),
  get("/_all_docs?include_docs=true&conflicts=true"), get("/_all_docs?include_docs=true&attachments=true"),
  get("/_changes"), get("/_changes?style=all_docs"), get("/_changes?descending=true"), get("/_changes?descending=true&limit=5"),
  get("/_changes?include_docs=true&attachments=true&conflicts=true"), get("/_changes?include_docs=true&att_encoding_info=true"),
  get("/_changes?since=now"), get("/_changes?seq_interval=3"),
  get(`/_changes?descending=true&limit=1&filter=_doc_ids&doc_ids=${quoted(json(["with"]))}`),
  post("/_changes?filter=_doc_ids", { doc_ids: ["a", "none"] }), get(`/_changes?filter=_doc_ids&doc_ids=${quoted(json(["with"]))}`),
  ...not("no such filters", get("/_changes?filter=_design"), post("/_changes?filter=_selector", { selector: { n: { $gt: 2 } } })),
  ...not("what it does not know it leaves out", get("/_changes?feed=nonsense"), get("/_changes?style=nonsense")),
  get("/a"), { method: "HEAD", path: "/a" }, get(`/a?rev=${rev(2, "1")}`), get(`/a?rev=${rev(9, "9")}`),
  get("/a?revs=true"), get("/a?revs_info=true"), get("/a?conflicts=true"), get(`/a?rev=${rev(1, "0")}&latest=true`),
  ...not("no such parameters", get("/a?deleted_conflicts=true"), get("/a?meta=true"), get("/a?local_seq=true"), get("/a", { "if-none-match": `"${rev(2, "a")}"` })),
  get(`/a?open_revs=${quoted(json([rev(2, "1"), rev(9, "9")]))}`), get("/none?open_revs=all"), get(`/none?open_revs=${quoted(json([rev(1, "9")]))}`),
  ...not("in another order", get("/a?open_revs=all"), get("/a?open_revs=all&revs=true")),
  ...not("one of several leaves", get(`/a?open_revs=${quoted(json([rev(1, "0")]))}&latest=true`), post("/_bulk_get?latest=true", { docs: [{ id: "a", rev: rev(1, "0") }] })),
  ...not("what is malformed is not found, or a fault", get("/_all_docs?startkey=nonsense"), get("/a?rev=nonsense"), get("/a?open_revs=nonsense"), post("/_bulk_get", { docs: 1 })),
  get("/a", { "if-none-match": `"${rev(2, "1")}"` }),
  get(`/${quoted("b/c ä")}`), get("/gone"), get(`/gone?rev=${rev(1, "d")}`), get("/none"), get("/_nonsense"), get("/_design/d"), get("/_design%2Fd"), get("/_design/none"),
  get("/with"), get("/with?attachments=true"), get(`/with?atts_since=${quoted(json([rev(1, "e")]))}`),
  get(`/with?attachments=true&atts_since=${quoted(json([rev(1, "0")]))}`), get("/with?att_encoding_info=true"),
  get("/with/x%20y"), { method: "HEAD", path: "/with/x%20y" }, get("/with/none"), get("/none/none"), get(`/with/x%20y?rev=${rev(9, "9")}`),
  ...not("no ranges", get("/with/x%20y", { range: "bytes=1-2" }), get("/with/x%20y", { range: "bytes=9-" })),
  post("/_bulk_get?revs=true", { docs: [{ id: "a", rev: rev(2, "a") }] }), post("/_bulk_get?attachments=true", { docs: [{ id: "with" }] }), post("/_bulk_get", {}),
  ...not("`missing` for an error, and the winner alone", post("/_bulk_get", { docs: [{ id: "a" }, { id: "none" }, { id: "a", rev: rev(9, "9") }] })),
  ...not("no answer at all", post("/_bulk_get", { docs: [] })),
  post("/_revs_diff", { none: [rev(1, "1")], with: [rev(1, "e")] }), post("/_revs_diff", {}),
  ...not("no ancestors", post("/_revs_diff", { a: [rev(2, "a"), rev(3, "c")] })),
  put("/_local/x", { n: 1 }), get("/_local/x"), get("/_local/none"), put("/_local/x", { n: 2 }), put("/_local/x", { n: 3, _rev: "0-9" }),
  ...not("not there", get("/_local_docs"), get("/_security"), get("/_revs_limit"), get("/_design_docs"), post("/_missing_revs", { a: [rev(3, "c")] })),
  ...not("not there", post("/_all_docs/queries", { queries: [{ keys: ["a"] }, { limit: 1 }] }), post("/_sync_shards", {}), put("/_revs_limit", 5), post("/_purge", { posted: [rev(9, "9")] })),
  post("/_compact", {}), get("/_shards"), get("/_purged_infos_limit"), get("/_partition/x"),
  put("/new", { n: 1 }), put("/new", { n: 2 }), put("/new?batch=ok", { n: 2 }), put("/new2?batch=ok", { n: 2 }), put("/a", { n: 2, _rev: rev(1, "0") }), put("/a", { n: 2, _rev: "nonsense" }),
  { method: "PUT", path: "/new3", body: "{" }, { method: "PUT", path: "/new3", body: "[]" }, put("/new5?new_edits=false", { n: 1 }),
  ...not("what contradicts itself is taken, or a fault", put("/new6", { _id: "other" }), put("/new6", { _nonsense: 1 }), put(`/with?rev=${rev(1, "e")}`, { n: 5 }, { "if-match": `"${rev(9, "9")}"` })),
  ...not("an empty list", put("/new4?new_edits=false", { _rev: rev(3, "4"), n: 1 }), put("/new4?new_edits=false", { _rev: rev(3, "4"), n: 1 })),
  ...not("another name for it", put("/_nonsense", {})),
  ...not("`If-Match` is not read", put("/a", { n: 5 }, { "if-match": `"${rev(2, "a")}"` })),
  ...not("what is not said is the winner", del("/a")), ...not("a conflict is not found", del(`/a?rev=${rev(1, "0")}`)),
  del("/none"), del(`/none?rev=${rev(1, "0")}`), del("/gone"),
  post("", { _id: "posted" }), post("", { _id: "posted" }), post("?batch=ok", { _id: "posted2" }), ...not("an id of its own", post("", { n: 1 })),
  post("/_bulk_docs", { docs: [{ _id: "bulk", n: 1 }, { _id: "bulk", n: 2 }, { _id: "a" }] }), post("/_bulk_docs", { docs: "x" }), post("/_bulk_docs", {}), post("/_bulk_docs", []),
  post("/_bulk_docs", { docs: [{ _id: "h", _rev: rev(1, "1") }], new_edits: false }),
  ...not("a deletion is answered with 201", put("/new3", { _deleted: true })),
  ...not("the whole is refused for one document, or it is named anew", post("/_bulk_docs", { docs: [{ _id: "" }] }), post("/_bulk_docs", { docs: [{ _id: "h2" }], new_edits: false })),
  ...not("no revision of what was copied", copy("/posted", "copied")), copy("/posted", "copied"), copy("/none", "copied2"), { method: "COPY", path: "/posted" },
  ...not("another refusal", { method: "PATCH", path: "/a" }, { method: "POST", path: "/a" }, { method: "DELETE", path: "/_all_docs" }, { method: "PUT", path: "/_changes" }),
];

const asked = async (url, { method, path, headers, body }, authorization) => {
  const all = { "content-type": "application/json", accept: "application/json", ...headers, ...authorization };
  let answer, text;
  try {
    answer = await fetch(`${url}${path}`, { method, headers: all, body, signal: AbortSignal.timeout(3_000) });
    text = await answer.text();
  } catch {
    return { status: "none" };
  }
  let told;
  try {
    told = JSON.parse(text);
  } catch {
    told = text;
  }
  const header = (name) => answer.headers.get(name);
  return { status: answer.status, told, etag: header("etag"), type: header("content-type"), allow: header("allow") };
};
const normal = (value, key) => {
  if (Array.isArray(value)) {
    const all = value.map((one) => normal(one));
    // Bulk writes lie in another order there.
    return ["changes", "results", "revs", "possible_ancestors"].includes(key) ? all.sort((a, b) => (json(a) < json(b) ? -1 : 1)) : all;
  }
  if (value && typeof value === "object") {
    const names = Object.keys(value).sort().filter((name) => name !== "pending");
    return Object.fromEntries(names.map((name) => [name, normal(value[name], name)]));
  }
  if (["seq", "last_seq", "update_seq", "reason", "pending", "_local_seq", "offset"].includes(key)) return "…";
  if (key === "rev" && typeof value === "string" && !/([0-9a-f])\1{31}/.test(value)) return "rev";
  return value;
};

// Whether a feed ends at the last row that it told: a position to go on from.
const endsAtRow = ({ results, last_seq: last }) => json(results.at(-1).seq) === json(last);

try {
  const token = () => ({ authorization: `Bearer ${person.access}` });
  await asked(ours, { ...filled, path: "/_bulk_docs" }, token());
  await asked(theirs, { ...filled, path: "/_bulk_docs" }, {});
  const surprises = [];
  for (const request of requests) {
    const [here, there] = [await asked(ours, request, token()), await asked(theirs, request, {})];
    const ends = [here, there].map(({ told }) => !request.path.startsWith("/_changes?descending") || endsAtRow(told));
    const same = here.status === there.status && json(normal(here.told)) === json(normal(there.told)) && ends[0] === ends[1];
    // Who hears that a method is none hears which ones are.
    const helped = here.status !== 405 || here.allow?.includes(", ") || here.allow === "POST";
    if (same !== (request.why === undefined) || !helped) surprises.push({ request, here, there });
  }
  assert.deepEqual(surprises, []);
  const named = requests.filter(({ why }) => why).length;
  console.log(`requests: ${requests.length} put to both, ${requests.length - named} answered the same, ${named} differences named`);
} finally {
  await node.kill();
  await rm(directory, { recursive: true });
}
process.exit(0);
