/** One permission: what it is in words, how many records, three of them as the app would get them, and what can be taken away. */

import { fill, freshId, h } from "../dom.ts";
import { actionWords, moment, records } from "../words.ts";
import type { Choice } from "./choices.ts";
import type { Field, Preview } from "./request.ts";

/** Fields of an example that are shown before "everything in it". */
const SHOWN_FIELDS = 4;
const SHOWN_CHARACTERS = 90;
/** What says nothing about a record at a glance. */
const NO_GLANCE = ["schema", "signatures", "insertedAt", "modifiedAt", "icon", "messageHTML", "contentHtml"];

export interface PermissionCard {
  readonly element: HTMLElement;
  /** Shows the choice as it is now, and beside which whole database it would hold nothing back. */
  update(whole: Choice | null): void;
  /** Shows what the node says the app would get. */
  show(preview: Preview): void;
  /** Says why there are no examples now. */
  say(text: string): void;
}

export interface WaysOut {
  /** Narrows the whole database, too. */
  alike(whole: Choice): void;
  /** Leaves the whole database out. */
  without(whole: Choice): void;
}

export function permissionCard(choice: Choice, changed: () => void, out: WaysOut): PermissionCard {
  const { permission } = choice;
  const titleId = freshId("permission");
  const kept = tick(permission.title, () => {
    choice.kept = kept.input.checked;
    changed();
  });
  kept.input.setAttribute("aria-label", `Allow ${permission.title}`);
  const summary = h("p", { class: "words" });
  const count = h("p", { class: "count" });
  const examples = h("div", { class: "examples" });
  const clash = h("div", { class: "clash", attributes: { role: "status" } });
  let clashing: Choice | null = null;

  const actions = (["read", "write", "delete"] as const)
    .filter((action) => permission.actions[action])
    .map((action) => {
      const control = tick({ read: "Read", write: "Add and change", delete: "Delete" }[action], () => {
        choice[action] = control.input.checked;
        changed();
      });
      return { action, control };
    });
  const addOnly = h("p", { class: "hint" }, "With fields left out, the app can add records, but not change those that are there.");

  const fields = permission.fields.map((field) => {
    const control = tick(fieldWords(field), () => {
      if (control.input.checked) choice.without.delete(field.path);
      else choice.without.add(field.path);
      changed();
    });
    return { field, control };
  });
  const from = day("From", () => {
    choice.from = from.input.value;
    changed();
  });
  const until = day("Until", () => {
    choice.until = until.input.value;
    changed();
  });

  const narrowing = h(
    "details",
    { class: "narrow" },
    h("summary", {}, "Choose what it gets"),
    h("div", { class: "stack" },
      h("fieldset", {}, h("legend", {}, "It may"), ...actions.map(({ control }) => control.element), addOnly),
      permission.timeField
        ? h("fieldset", {}, h("legend", {}, "Only records dated"), h("div", { class: "days" }, from.element, until.element))
        : h("p", { class: "hint" }, "These records cannot be told apart by date."),
      fields.length > 0 ? h("fieldset", { class: "fields" }, h("legend", {}, "With these fields"), h("p", { class: "hint" }, "What is not in this list, the app gets, too."), ...fields.map(({ control }) => control.element)) : null,
    ),
  );

  const element = h(
    "li",
    { class: "card" },
    h("h3", { id: titleId }, kept.element),
    summary,
    permission.own ? h("p", { class: "hint" }, "A schema of your own, with the name that it was given when you put it: ", h("code", {}, permission.schema ?? "")) : null,
    h("p", { class: "hint" }, "Opens ", permission.schema ? "these records of your database " : "all of your database ", h("code", {}, permission.database)),
    count,
    clash,
    examples,
    narrowing,
  );

  return {
    element,
    update(whole) {
      if (whole !== clashing) {
        clashing = whole;
        fill(clash, ...(whole ? wordsOfClash(permission.title, whole, out) : []));
      }
      kept.input.checked = choice.kept;
      element.classList.toggle("dropped", !choice.kept);
      for (const { action, control } of actions) {
        control.input.checked = choice[action];
        control.input.disabled = !choice.kept;
      }
      for (const { field, control } of fields) {
        control.input.checked = !choice.without.has(field.path);
        control.input.disabled = !choice.kept;
      }
      from.input.value = choice.from;
      until.input.value = choice.until;
      from.input.disabled = !choice.kept;
      until.input.disabled = !choice.kept;
      addOnly.hidden = !(choice.write && choice.without.size > 0);
      fill(summary, choice.kept ? `The app may ${actionWords(choice) || "do nothing with"} them.` : "The app gets none of them.");
      if (!choice.kept) {
        fill(count);
        fill(examples);
      }
    },
    show(preview) {
      fill(count, choice.read ? `${records(preview.count)} now` : "The app cannot read them.");
      if (preview.examples.length === 0) {
        fill(examples, preview.count === 0 && choice.read ? h("p", { class: "hint" }, "There is nothing to show: no record is within these limits.") : null);
        return;
      }
      const label = preview.examples.length === 1 ? "An example, as the app would get it" : "Examples, as the app would get them";
      fill(examples, h("h4", {}, label), h("ol", {}, ...preview.examples.map((record) => example(record, permission.fields))));
    },
    say(text) {
      fill(count, text);
      fill(examples);
    },
  };
}

/** That a limit would hold nothing back, and the two ways to mean it. */
function wordsOfClash(title: string, whole: Choice, out: WaysOut): HTMLElement[] {
  const database = whole.permission.database;
  const button = (words: string, way: (whole: Choice) => void): HTMLElement => h("button", { attributes: { type: "button" }, on: { click: () => way(whole) } }, words);
  return [
    h("p", { class: "error" }, `This limit holds nothing back: the app would get the same ${title.toLowerCase()} with everything else in the database `, h("code", {}, database), "."),
    h("div", { class: "actions" }, button("Limit the whole database, too", out.alike), button("Leave the whole database out", out.without)),
  ];
}

/** A record: its first fields at a glance, and all of it on demand. */
function example(record: Readonly<Record<string, unknown>>, fields: readonly Field[]): HTMLElement {
  const titles = new Map(fields.map((field) => [field.path, field.title]));
  const glances = Object.keys(record)
    .filter((name) => !name.startsWith("_") && !NO_GLANCE.includes(name))
    .sort((a, b) => rank(a) - rank(b))
    .map((name) => ({ title: titles.get(name) ?? name, value: glance(record[name]) }))
    .filter((entry): entry is { title: string; value: string } => entry.value !== null)
    .slice(0, SHOWN_FIELDS);
  return h(
    "li",
    {},
    h("dl", {}, ...glances.map((entry) => h("div", {}, h("dt", {}, entry.title), h("dd", {}, entry.value)))),
    h("details", {}, h("summary", {}, "Everything in it"), h("pre", { attributes: { tabindex: 0 } }, JSON.stringify(record, null, 2))),
  );
}

/** What a person knows a record by, first. */
const FIRST = ["name", "fromName", "messageText", "content", "text", "sentAt", "description", "uri"];

function rank(name: string): number {
  const at = FIRST.indexOf(name);
  return at === -1 ? FIRST.length : at;
}

function glance(value: unknown): string | null {
  if (typeof value !== "string" && typeof value !== "number" && typeof value !== "boolean") return null;
  const text = typeof value === "string" && /^\d{4}-\d\d-\d\dT[\d:.]+Z$/.test(value) ? moment(value) : String(value).trim();
  if (text === "") return null;
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
}

function fieldWords(field: Field): string {
  return field.sensitive === "body" ? `${field.title} (the words themselves)` : field.sensitive === "source" ? `${field.title} (raw source data)` : field.title;
}

/** A labelled check box. */
export function tick(label: string, changed: () => void): { element: HTMLElement; input: HTMLInputElement } {
  const input = h("input", { attributes: { type: "checkbox" }, on: { change: changed } });
  return { element: h("label", { class: "choice" }, input, h("span", {}, label)), input };
}

function day(label: string, changed: () => void): { element: HTMLElement; input: HTMLInputElement } {
  const input = h("input", { attributes: { type: "date" }, on: { change: changed } });
  return { element: h("label", { class: "day" }, h("span", {}, label), input), input };
}
