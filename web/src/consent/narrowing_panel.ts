/** What concerns all permissions at once: taps that take much away, for how long, and how often. */

import { freshId, h } from "../dom.ts";
import { duration, rateWords } from "../words.ts";
import { goBack, isLeftOut, leaveOut, LIVES, RATES, readOnly, type Choices } from "./choices.ts";
import { tick } from "./permission_card.ts";
import type { ConsentRequest, Sensitivity } from "./request.ts";

export interface NarrowingPanel {
  readonly element: HTMLElement;
  update(): void;
}

const SPANS: readonly { readonly words: string; readonly days: number | null }[] = [
  { words: "As far back as it goes", days: null },
  { words: "The last 12 months", days: 365 },
  { words: "The last 30 days", days: 30 },
  { words: "The last 7 days", days: 7 },
];

export function narrowingPanel(request: ConsentRequest, choices: Choices, now: () => Date, changed: () => void): NarrowingPanel {
  const reading = tick("Read only: it changes and deletes nothing", () => {
    readOnly(choices, reading.input.checked);
    changed();
  });
  const changes = request.permissions.some((permission) => permission.actions.write || permission.actions.delete);
  const taps = ([["body", "Leave out what messages say"], ["source", "Leave out raw source data"]] as const satisfies [Sensitivity, string][])
    .filter(([kind]) => isLeftOut(choices, kind) !== null)
    .map(([kind, words]) => {
      const control = tick(words, () => {
        leaveOut(choices, kind, control.input.checked);
        changed();
      });
      return { kind, control };
    });
  const dated = choices.permissions.some((choice) => choice.permission.timeField);
  const span = select("How far back", [...SPANS.map(({ words }) => words), "As chosen below"], (at) => {
    const chosen = SPANS[at];
    if (!chosen) return;
    goBack(choices, chosen.days, now());
    spanTaken = at;
    changed();
  });
  let spanTaken = 0;
  let fromTaken = "";

  const longest = request.terms.expiresIn ?? Math.max(...LIVES);
  const lives = [...LIVES.filter((life) => life < longest), longest];
  const life = select("For how long", lives.map(duration), (at) => {
    choices.expiresIn = lives[at] ?? choices.expiresIn;
    changed();
  });
  const asked = request.terms.rate ?? null;
  const rates = [asked, ...RATES.filter((rate) => !asked || (rate.requests < asked.requests && rate.seconds >= asked.seconds))];
  const rate = select("How often", rates.map((each) => (each ? `At most ${rateWords(each)}` : "As often as this node allows")), (at) => {
    choices.rate = rates[at] ?? null;
    changed();
  });
  life.input.value = String(Math.max(0, lives.indexOf(choices.expiresIn)));
  choices.expiresIn = lives[Number(life.input.value)] ?? choices.expiresIn;

  const element = h(
    "section",
    { class: "card", attributes: { "aria-labelledby": "narrowing" } },
    h("h2", { id: "narrowing" }, "Give less"),
    h("div", { class: "stack" }, changes ? reading.element : null, ...taps.map(({ control }) => control.element)),
    h("div", { class: "selects" }, dated ? span.element : null, life.element, rate.element),
  );
  return {
    element,
    update() {
      const kept = choices.permissions.filter((choice) => choice.kept);
      reading.input.checked = !kept.some((choice) => choice.write || choice.delete);
      for (const { kind, control } of taps) {
        const out = isLeftOut(choices, kind);
        control.input.checked = out === true;
        control.input.indeterminate = out === "some";
      }
      // The span that was taken holds until a date below says otherwise.
      const dates = kept.filter((choice) => choice.permission.timeField).map((choice) => `${choice.from}/${choice.until}`).join();
      const today = now();
      const matching = SPANS.findIndex(({ days }) => {
        const expected = days === null ? "" : new Date(today.getTime() - days * 86_400_000).toISOString().slice(0, 10);
        return kept.every((choice) => !choice.permission.timeField || (choice.from === expected && choice.until === ""));
      });
      if (dates !== fromTaken) spanTaken = matching === -1 ? SPANS.length : matching;
      fromTaken = dates;
      span.input.value = String(spanTaken);
    },
  };
}

/** A labelled choice of one; `changed` gets its place in the list. */
function select(label: string, options: readonly string[], changed: (at: number) => void): { element: HTMLElement; input: HTMLSelectElement } {
  const id = freshId("select");
  const input = h(
    "select",
    { id, on: { change: () => changed(Number(input.value)) } },
    ...options.map((words, at) => h("option", { attributes: { value: at } }, words)),
  );
  return { element: h("div", { class: "select" }, h("label", { attributes: { for: id } }, label), input), input };
}
