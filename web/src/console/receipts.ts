/** What apps did: the newest of the receipts in the user's own database `access_receipts`. */

import type { ContextSession } from "../keys/context_session.ts";
import { fill, h } from "../dom.ts";
import { ask, Refused } from "../node.ts";
import { moment, records } from "../words.ts";

const AT_ONCE = 25;

export function receiptsSection(session: ContextSession): HTMLElement {
  const error = h("p", { class: "error", attributes: { role: "alert" } });
  const body = h("tbody", {});
  const none = h("p", {}, "Loading …");
  const more = h("button", { attributes: { type: "button" }, on: { click: () => void load() } }, "Show older");
  more.hidden = true;
  const table = h("div", { class: "scroll", attributes: { tabindex: 0, role: "region", "aria-label": "Receipts, newest first" } });
  table.hidden = true;
  let shown = 0;
  const load = async (): Promise<void> => {
    more.disabled = true;
    try {
      const body_ = { query: {}, options: { sort: [{ insertedAt: "desc" }], limit: AT_ONCE, skip: shown } };
      const { items } = (await ask("POST", "/api/rest/v1/db/query/access_receipts", { session, body: body_ })) as { items: Record<string, unknown>[] };
      shown += items.length;
      body.append(...items.map(row));
      table.hidden = shown === 0;
      fill(none, shown === 0 ? "No app has looked at anything yet." : "");
      more.hidden = items.length < AT_ONCE;
      fill(error);
    } catch (failure) {
      fill(none);
      if (failure instanceof Refused && failure.code === "not-found") fill(none, "No app has looked at anything yet.");
      else fill(error, failure instanceof Refused ? failure.message : "The receipts cannot be shown.");
    }
    more.disabled = false;
  };
  void load();
  const head = h("tr", {}, ...["When", "App", "What", "How many"].map((title) => h("th", { attributes: { scope: "col" } }, title)));
  table.append(h("table", {}, h("thead", {}, head), body));
  return h(
    "section",
    { class: "card", attributes: { "aria-labelledby": "receipts" } },
    h("h2", { id: "receipts" }, "What apps did"),
    h("p", { class: "hint" }, "Every access leaves a receipt in your own storage, encrypted like your other data. No app can read or change them."),
    error,
    none,
    table,
    h("div", { class: "actions" }, more),
  );
}

function row(receipt: Record<string, unknown>): HTMLElement {
  const text = (member: string): string => (typeof receipt[member] === "string" ? receipt[member] : "");
  const count = receipt["records"];
  return h(
    "tr",
    {},
    h("td", {}, moment(text("when") || text("insertedAt"))),
    h("td", {}, text("app") || "unknown"),
    h("td", {}, `${text("kind")} ${text("target")}`.trim()),
    h("td", {}, typeof count === "number" ? records(count) : ""),
  );
}
