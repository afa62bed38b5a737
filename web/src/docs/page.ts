/** The API browser: what `/openapi.json` says, by group, with a form to try each request. */

import "../style.css";
import { byId, fill, freshId, h } from "../dom.ts";

interface Parameter {
  readonly name: string;
  readonly in: string;
  readonly required?: boolean;
  readonly description?: string;
}

interface Operation {
  readonly summary?: string;
  readonly description?: string;
  readonly tags?: readonly string[];
  readonly parameters?: readonly Parameter[];
  readonly requestBody?: { readonly description?: string; readonly content?: Readonly<Record<string, { readonly schema?: unknown; readonly example?: unknown }>> };
  readonly responses?: Readonly<Record<string, { readonly description?: string }>>;
  readonly security?: readonly unknown[];
}

interface Description {
  readonly info: { readonly title: string; readonly version: string; readonly description?: string };
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly security?: readonly unknown[];
}

const METHODS = ["get", "post", "put", "patch", "delete", "head"] as const;
/** More of an answer is not shown. */
const SHOWN_CHARACTERS = 20_000;

const main = byId("main");
const said = byId("said");

async function start(): Promise<void> {
  try {
    const response = await fetch("/openapi.json", { credentials: "omit", referrerPolicy: "no-referrer" });
    if (!response.ok) throw new Error();
    show((await response.json()) as Description);
  } catch {
    fill(main, h("h1", {}, "API of this node"), h("p", { attributes: { role: "alert" } }, "The node does not answer with its description. Load the page again in a moment."));
  }
}

function show(description: Description): void {
  document.title = description.info.title;
  const token = h("input", { id: "token", attributes: { type: "password", autocomplete: "off", spellcheck: "false", "aria-describedby": "token-hint" } });
  const filter = h("input", { id: "filter", attributes: { type: "search", autocomplete: "off", spellcheck: "false" }, on: { input: () => narrow() } });
  const groups = new Map<string, { words: string; element: HTMLElement }[]>();
  for (const [path, item] of Object.entries(description.paths)) {
    for (const method of METHODS) {
      const operation = item[method];
      if (!operation) continue;
      const group = operation.tags?.[0] ?? path.split("/").find((step) => step !== "" && !["api", "rest", "v1"].includes(step)) ?? "node";
      const entry = { words: `${method} ${path} ${operation.summary ?? ""}`.toLowerCase(), element: operationEntry(method, path, operation, token) };
      groups.set(group, [...(groups.get(group) ?? []), entry]);
    }
  }
  const sections = [...groups].map(([name, entries]) => {
    const id = freshId("group");
    const section = h("section", { attributes: { "aria-labelledby": id } }, h("h2", { id }, name), ...entries.map((entry) => entry.element));
    return { section, entries };
  });
  const narrow = (): void => {
    const wanted = filter.value.trim().toLowerCase();
    let left = 0;
    for (const { section, entries } of sections) {
      let inSection = 0;
      for (const { words, element } of entries) {
        element.hidden = !words.includes(wanted);
        if (!element.hidden) inSection += 1;
      }
      section.hidden = inSection === 0;
      left += inSection;
    }
    fill(said, `${left} requests shown`);
  };
  fill(
    main,
    h("h1", {}, description.info.title),
    h("p", { class: "hint" }, `Version ${description.info.version}. `, h("a", { attributes: { href: "/openapi.json" } }, "OpenAPI description")),
    ...paragraphs(description.info.description),
    h("div", { class: "card stack" },
      h("label", { attributes: { for: "filter" } }, "Find a request"),
      filter,
      h("label", { attributes: { for: "token" } }, "Access token, to try requests"),
      token,
      h("p", { class: "hint", id: "token-hint" }, "It stays in this tab and goes to this node only."),
    ),
    ...sections.map(({ section }) => section),
  );
}

function operationEntry(method: string, path: string, operation: Operation, token: HTMLInputElement): HTMLElement {
  const entry = h("details", { class: "card" }, h("summary", {}, h("span", { class: "method" }, method.toUpperCase()), h("code", {}, path), operation.summary ? ` ${operation.summary}` : ""));
  // Most entries are never opened.
  entry.addEventListener("toggle", () => entry.append(...operationParts(method, path, operation, token)), { once: true });
  return entry;
}

function operationParts(method: string, path: string, operation: Operation, token: HTMLInputElement): Node[] {
  const parameters = operation.parameters ?? [];
  const body = operation.requestBody?.content?.["application/json"];
  const table = (caption: string, rows: readonly [string, string][]): Node | null =>
    rows.length === 0
      ? null
      : h("div", { class: "scroll", attributes: { tabindex: 0, role: "group", "aria-label": caption } }, h("table", {}, h("caption", {}, caption), h("tbody", {}, ...rows.map(([name, words]) => h("tr", {}, h("th", { attributes: { scope: "row" } }, name), h("td", {}, words))))));
  const parts = [
    ...paragraphs(operation.description),
    table("Parameters", parameters.map((parameter) => [parameter.name, [parameter.in, parameter.required ? "required" : "optional", parameter.description].filter(Boolean).join(" · ")])),
    body?.schema ? h("details", {}, h("summary", {}, "Body"), h("pre", { attributes: { tabindex: 0 } }, JSON.stringify(body.schema, null, 2))) : null,
    table("Answers", Object.entries(operation.responses ?? {}).map(([status, response]) => [status, response.description ?? ""])),
    trial(method, path, parameters, body, token),
  ];
  return parts.filter((part): part is Node => part !== null);
}

/** The form that sends the request to this node. */
function trial(method: string, path: string, parameters: readonly Parameter[], body: { readonly example?: unknown } | undefined, token: HTMLInputElement): HTMLElement {
  const inputs = parameters
    .filter((parameter) => parameter.in === "path" || parameter.in === "query")
    .map((parameter) => {
      const id = freshId("parameter");
      return { parameter, label: h("label", { attributes: { for: id } }, parameter.name), input: h("input", { id, attributes: { autocomplete: "off", spellcheck: "false", required: parameter.required } }) };
    });
  const bodyId = freshId("body");
  const text = body ? h("textarea", { id: bodyId, attributes: { rows: 6, spellcheck: "false" } }) : null;
  if (text) text.value = JSON.stringify(body?.example ?? {}, null, 2);
  const answer = h("div", { attributes: { role: "status" } });
  const send = async (): Promise<void> => {
    let address = path;
    const query = new URLSearchParams();
    for (const { parameter, input } of inputs) {
      if (parameter.in === "path") address = address.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
      else if (input.value !== "") query.set(parameter.name, input.value);
    }
    const headers = new Headers();
    if (token.value.trim() !== "") headers.set("authorization", `Bearer ${token.value.trim()}`);
    if (text) headers.set("content-type", "application/json");
    try {
      const response = await fetch(query.size > 0 ? `${address}?${query}` : address, { method: method.toUpperCase(), headers, ...(text ? { body: text.value } : {}), credentials: "omit", cache: "no-store", redirect: "error" });
      const received = await response.text();
      fill(answer, h("p", {}, h("strong", {}, `${response.status} ${response.statusText}`)), h("pre", { attributes: { tabindex: 0 } }, pretty(received)));
    } catch {
      fill(answer, h("p", { class: "error" }, "The node does not answer."));
    }
  };
  return h(
    "details",
    {},
    h("summary", {}, "Try it"),
    h(
      "form",
      {
        class: "stack",
        on: {
          submit: (event) => {
            event.preventDefault();
            void send();
          },
        },
      },
      ...inputs.flatMap(({ label, input }) => [label, input]),
      text ? h("label", { attributes: { for: bodyId } }, "Body") : null,
      text,
      h("div", { class: "actions" }, h("button", { attributes: { type: "submit" } }, "Send")),
      answer,
    ),
  );
}

function pretty(text: string): string {
  let shown = text;
  try {
    shown = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // Not JSON: shown as it is.
  }
  return shown.length > SHOWN_CHARACTERS ? `${shown.slice(0, SHOWN_CHARACTERS)}\n…` : shown;
}

function paragraphs(text: string | undefined): HTMLElement[] {
  return (text ?? "").split(/\n\n+/).filter((part) => part.trim() !== "").map((part) => h("p", {}, part));
}

void start();
