/** What apps did: the newest receipts of the user's own database `access_receipts`, and whether their chain holds. */

import type { ContextSession } from "../keys/context_session.ts";
import { fill, h } from "../dom.ts";
import { ask, Refused } from "../node.ts";
import { moment, records } from "../words.ts";
import { brokenIn, isReceipt, type Access, type Receipt } from "./chain.ts";

/** Receipts that are fetched at once; each can list many accesses. */
const AT_ONCE = 20;
const QUERY = "/api/rest/v1/db/query/access_receipts";

export function receiptsSection(session: ContextSession): HTMLElement {
  const error = h("p", { class: "error", attributes: { role: "alert" } });
  const state = h("p", { attributes: { role: "status" } }, "Loading …");
  const body = h("tbody", {});
  const table = h("div", { class: "scroll", attributes: { tabindex: 0, role: "region", "aria-label": "Receipts, newest first" } });
  table.hidden = true;
  const more = h("button", { attributes: { type: "button" }, on: { click: () => void load() } }, "Show older");
  more.hidden = true;
  const shown: Receipt[] = [];
  const load = async (): Promise<void> => {
    more.disabled = true;
    try {
      const options = { sort: [{ insertedAt: "desc" }, { seq: "desc" }], limit: AT_ONCE, skip: shown.length };
      const { items } = (await ask("POST", QUERY, { session, body: { query: { seq: { $gte: 0 }, _id: { $gt: "receipt-" } }, options } })) as { items: unknown[] };
      const receipts = items.filter(isReceipt);
      shown.push(...receipts);
      body.append(...receipts.flatMap((receipt) => [...receipt.accesses].reverse().map(row)));
      table.hidden = shown.length === 0;
      more.hidden = items.length < AT_ONCE;
      fill(state, stateOf(shown));
      fill(error);
      const broken = brokenIn(shown);
      if (broken) fill(error, `These receipts do not hold together. ${broken}`);
    } catch (failure) {
      fill(state);
      fill(error, failure instanceof Refused ? failure.message : "The receipts cannot be shown.");
    }
    more.disabled = false;
  };
  void load();
  const head = h("tr", {}, ...["When", "App", "What it did", "How many"].map((title) => h("th", { attributes: { scope: "col" } }, title)));
  table.append(h("table", {}, h("thead", {}, head), body));
  return h(
    "section",
    { class: "card", attributes: { "aria-labelledby": "receipts" } },
    h("h2", { id: "receipts" }, "What apps did"),
    h("p", { class: "hint" }, "Every access leaves a receipt in your own storage, encrypted like your other data. No app can read or change them. They are written within a minute."),
    error,
    state,
    table,
    h("div", { class: "actions" }, more),
  );
}

function stateOf(shown: readonly Receipt[]): string {
  if (shown.length === 0) return "There is no receipt yet.";
  const lost = shown.reduce((sum, receipt) => sum + (receipt.lost ?? 0), 0);
  return lost > 0 ? `${lost} accesses are missing here: they could not be written at the time.` : "Nothing is missing between these receipts.";
}

/** "social/email" of a published schema's records; a database as it is called. */
function shortOf(target: string): string {
  return /^ds:https:\/\/common\.schemas\.verida\.io\/(.+)\/v[\d.]+\/schema\.json$/.exec(target)?.[1] ?? target.replace(/^db:/, "");
}

function row(access: Access): HTMLElement {
  const when = access.until ? `${moment(access.at)} to ${moment(access.until)}` : moment(access.at);
  const what = `${access.kind} ${shortOf(access.target)}${access.times > 1 ? `, ${access.times} times` : ""}`;
  return h("tr", {}, h("td", {}, when), h("td", {}, access.app ?? "a token of yours"), h("td", {}, what), h("td", {}, records(access.records)));
}
