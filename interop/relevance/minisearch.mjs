// MiniSearch on the judged set, one line of JSON for each way of asking it: {"engine", "ndcg"}.
import { readFileSync } from "node:fs";
import MiniSearch from "minisearch";

const judged = new URL("../../crates/search/judged/", import.meta.url);
const records = readFileSync(new URL("records.jsonl", judged), "utf8").trim().split("\n").map((line) => JSON.parse(line));
const queries = JSON.parse(readFileSync(new URL("queries.json", judged), "utf8"));
const fields = ["name", "fromName", "fromEmail", "toName", "toEmail", "messageText", "groupName", "attachments"];
const documents = records.map((record) => ({
  ...record,
  id: record._id,
  attachments: (record.attachments ?? []).map((file) => `${file.filename} ${file.textContent}`).join("\n"),
}));

const gain = (grade, place) => (2 ** grade - 1) / Math.log2(place + 2);
const sum = (grades) => grades.reduce((all, grade, place) => all + gain(grade, place), 0);

function ndcg(options) {
  const index = new MiniSearch({ fields });
  index.addAll(documents);
  const scores = queries.map(({ query, grades }) => {
    const found = index.search(query, options).slice(0, 10).map((hit) => grades[hit.id] ?? 0);
    const ideal = Object.values(grades).sort((one, other) => other - one).slice(0, 10);
    return sum(found) / sum(ideal);
  });
  return scores.reduce((all, score) => all + score, 0) / scores.length;
}

const boost = { name: 2, fromName: 1.5 };
for (const [engine, options] of [
  ["minisearch, as the original asks it", {}],
  ["minisearch, with boosts", { boost }],
  ["minisearch, with boosts, prefix and fuzzy 0.2", { boost, prefix: true, fuzzy: 0.2 }],
]) {
  console.log(JSON.stringify({ engine, ndcg: Number(ndcg(options).toFixed(4)) }));
}
