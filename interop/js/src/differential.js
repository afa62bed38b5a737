// The same questions to PouchDB-find and to Adyton. Says how many answers are the same, and why others are not; fails at the
// first difference that nobody decided.
import { strict as assert } from "node:assert";
import PouchDB from "pouchdb-core";
import memory from "pouchdb-adapter-memory";
import find from "pouchdb-find";
import selectorCore from "pouchdb-selector-core";
import { decided, NAMES } from "./decided.js";
import { Adyton } from "./node.js";
import { document, order, selector } from "./questions.js";
import { Dice } from "./random.js";

PouchDB.plugin(memory).plugin(find);

const [program, selectors = "5000", orders = "200"] = process.argv.slice(2);
const adyton = new Adyton(program);

function theirs(doc, asked) {
  try {
    return selectorCore.matchesSelector(doc, asked);
  } catch (error) {
    return `error ${error.constructor.name}`;
  }
}

async function compareSelectors(count) {
  const counts = { same: 0 };
  for (const name of NAMES) counts[name] = 0;
  for (let seed = 0; seed < count; seed++) {
    const dice = new Dice(seed);
    const docs = Array.from({ length: 8 }, (_, n) => document(dice, `id${n}`));
    const asked = selector(dice);
    const answer = await adyton.ask({ docs, selector: asked, sort: [] });
    for (const doc of docs) {
      const [ours, pouch] = [answer.refused ?? answer.ids.includes(doc._id), theirs(doc, asked)];
      if (ours === pouch) counts.same++;
      else {
        const why = decided(asked, doc, pouch);
        assert(why, `seed ${seed}: PouchDB ${pouch}, Adyton ${ours}\n${JSON.stringify(asked)}\n${JSON.stringify(doc)}`);
        counts[why]++;
      }
    }
  }
  return counts;
}

const at = (doc, field) => field.split(".").reduce((value, step) => value?.[step], doc);
// LevelDB orders texts by their bytes, and the collation by UTF-16: the two differ beyond U+FFFF.
const isPlain = (doc) => !/[\ud800-\udfff]/.test(JSON.stringify(doc));
// What PouchDB's index orders by. Members in another order make another key, as in its comparisons.
const isSorted = (value) => {
  if (Array.isArray(value)) return value.every(isSorted);
  if (typeof value !== "object" || value === null) return true;
  const names = Object.keys(value);
  return names.every((name, n) => n === 0 || names[n - 1] < name) && Object.values(value).every(isSorted);
};

async function compareOrders(count) {
  let records = 0;
  for (let seed = 0; seed < count; seed++) {
    const dice = new Dice(seed + 1_000_000);
    const made = Array.from({ length: 60 }, (_, n) => document(dice, `id${n}`));
    // Where there is null to look into, PouchDB's index has a TypeError and no record.
    const docs = made.filter((doc) => isPlain(doc) && isSorted(doc) && doc.c !== null);
    const sort = order(dice);
    const fields = sort.map((key) => Object.keys(key)[0]);
    const database = new PouchDB(`orders-${seed}`, { adapter: "memory" });
    await database.bulkDocs(docs);
    await database.createIndex({ index: { fields } });
    const asked = { [fields[0]]: { $gt: true } };
    const found = await database.find({ selector: asked, sort, limit: 1000 });
    // Where nothing, null or a boolean is to be sorted by, the two differ by decision: here missing and null come last. And
    // PouchDB's index of two fields gives what equals its bound, too, and does not look again. So: those that have values.
    const byId = new Map(docs.map((doc) => [doc._id, doc]));
    const hasValues = (id) =>
      fields.every((field) => {
        const value = at(byId.get(id), field);
        return value !== undefined && value !== null && typeof value !== "boolean";
      });
    const pouch = found.docs.map((doc) => doc._id).filter(hasValues);
    const answer = await adyton.ask({ docs, selector: asked, sort });
    await database.destroy();
    const ours = answer.ids.filter(hasValues);
    const keys = (ids) => ids.map((id) => JSON.stringify(fields.map((field) => at(byId.get(id), field))));
    assert.deepEqual(keys(ours), keys(pouch), `seed ${seed}: ${JSON.stringify(sort)}`);
    assert.deepEqual([...ours].sort(), [...pouch].sort());
    // Those that are equal lie by `_id`, here upwards in either direction.
    if (Object.values(sort[0])[0] === "asc") assert.deepEqual(ours, pouch, `seed ${seed}`);
    records += pouch.length;
  }
  return records;
}

const counts = await compareSelectors(Number(selectors));
console.log(`${selectors} selectors on 8 documents each:`, counts);
const all = Object.values(counts).reduce((sum, count) => sum + count);
// A rule that explained everything would hide everything.
assert(counts.same > all * 0.85, "too much is different");
if (Number(selectors) >= 5000) for (const name of NAMES) assert(counts[name] > 0, `nothing shows: ${name}`);
const records = await compareOrders(Number(orders));
console.log(`${orders} orders: ${records} records in the same order`);
assert(records > Number(orders) * 3, "too little was ordered");
adyton.end();
