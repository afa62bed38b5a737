/** The console: which apps may see what, what they looked at, and one button that ends it all. */

import "../style.css";
import type { ContextSession } from "../keys/context_session.ts";
import { byId, fill, h } from "../dom.ts";
import { ask, Refused } from "../node.ts";
import { signInForm } from "../sign_in.ts";
import { moment, rateWords } from "../words.ts";
import type { Terms } from "../consent/request.ts";
import { receiptsSection } from "./receipts.ts";

const main = byId("main");
const said = byId("said");

interface Grant {
  readonly _id: string;
  readonly client?: { readonly id: string; readonly name?: string };
  readonly appDID?: string;
  readonly terms?: Terms;
  readonly permissions?: readonly { readonly target: string; readonly database: string; readonly title: string; readonly words: string }[];
  readonly insertedAt?: string;
  readonly expiresAt?: string;
  readonly lastUsedAt?: string;
}

function start(): void {
  fill(main, h("h1", {}, "Your console"), h("section", { class: "card", attributes: { "aria-labelledby": "sign-in" } }, h("h2", { id: "sign-in" }, "Sign in"), h("p", {}, "To see which apps you let in, and what they did."), signInForm(signedIn)));
}

function signedIn(session: ContextSession): void {
  addEventListener("pagehide", () => session.wipe());
  const error = h("p", { class: "error", attributes: { role: "alert" } });
  const list = h("div", {});
  const heading = h("h1", { attributes: { tabindex: -1 } }, "Your console");
  const everything = endEverything(session, () => void load(), error);
  const load = async (): Promise<void> => {
    try {
      const { grants } = (await ask("GET", "/api/rest/v1/auth/grants", { session })) as { grants: Grant[] };
      fill(list, grants.length === 0 ? h("p", {}, "No app may see anything.") : h("ul", { class: "cards" }, ...grants.map((grant) => grantCard(grant, session, () => void load(), error))));
      fill(error);
    } catch (failure) {
      fill(error, messageOf(failure));
    }
  };
  fill(
    main,
    heading,
    h("p", {}, "Signed in as ", h("code", {}, session.did)),
    error,
    h("section", { attributes: { "aria-labelledby": "grants" } }, h("h2", { id: "grants" }, "Apps that may see your data"), list),
    everything,
    receiptsSection(session),
  );
  heading.focus();
  void load();
}

function grantCard(grant: Grant, session: ContextSession, reload: () => void, error: HTMLElement): HTMLElement {
  const name = grant.client?.name ?? grant.client?.id ?? grant.appDID ?? "A token that you made yourself";
  const scopes = grant.terms?.scopes ?? [];
  const narrow = grant.terms?.narrow ?? [];
  const titles = new Map((grant.permissions ?? []).map((permission) => [permission.target, permission.title]));
  const end = h(
    "button",
    {
      class: "danger",
      attributes: { type: "button", "aria-label": `End access of ${name}` },
      on: {
        click: () => {
          end.disabled = true;
          ask("DELETE", `/api/rest/v1/auth/grants/${encodeURIComponent(grant._id)}`, { session }).then(
            () => {
              fill(said, `${name} can no longer see your data.`);
              reload();
            },
            (failure: unknown) => {
              end.disabled = false;
              fill(error, messageOf(failure));
            },
          );
        },
      },
    },
    "End access",
  );
  return h(
    "li",
    { class: "card" },
    h("h3", {}, name),
    grant.client ? h("p", { class: "hint" }, grant.client.id) : null,
    h(
      "dl",
      { class: "facts" },
      ...(grant.permissions ?? []).map((permission) => fact("May", permission.words, " ", h("code", {}, permission.database))),
      ...narrow.map((narrowing) =>
        fact(`But of ${titles.get(narrowing.target) ?? narrowing.target} only those`, [narrowing.from && `from ${moment(narrowing.from)}`, narrowing.until && `until ${moment(narrowing.until)}`, narrowing.without?.length && `without ${narrowing.without.join(", ")}`].filter(Boolean).join(" ")),
      ),
      grant.terms?.purpose ? fact("For", h("q", {}, grant.terms.purpose)) : null,
      grant.terms?.rate ? fact("At most", rateWords(grant.terms.rate)) : null,
      fact("Since", grant.insertedAt ? moment(grant.insertedAt) : "unknown"),
      fact("Until", grant.expiresAt ? moment(grant.expiresAt) : "unknown"),
      fact("Last used", grant.lastUsedAt ? moment(grant.lastUsedAt) : "never"),
    ),
    h("details", {}, h("summary", {}, "As the node enforces it"), h("ul", {}, ...scopes.map((scope) => h("li", {}, h("code", {}, scope))))),
    h("div", { class: "actions" }, end),
  );
}

/** One button, and a second press: it cannot be undone. */
function endEverything(session: ContextSession, reload: () => void, error: HTMLElement): HTMLElement {
  const result = h("p", { attributes: { role: "status" } });
  const press = h("button", { class: "danger", attributes: { type: "button" } }, "Revoke all and evict");
  const idle = "Revoke all and evict";
  const sure = "Yes: end every app’s access now";
  press.addEventListener("click", () => {
    if (press.textContent === idle) {
      fill(press, sure);
      return;
    }
    press.disabled = true;
    ask("POST", "/api/rest/v1/auth/revoke-all", { session }).then(
      () => {
        fill(result, "Done. No app has access, and your data is out of this node’s memory.");
        press.disabled = false;
        fill(press, idle);
        reload();
      },
      (failure: unknown) => {
        press.disabled = false;
        fill(press, idle);
        fill(error, messageOf(failure));
      },
    );
  });
  press.addEventListener("blur", () => {
    if (!press.disabled) fill(press, idle);
  });
  return h(
    "section",
    { class: "card", attributes: { "aria-labelledby": "everything" } },
    h("h2", { id: "everything" }, "End everything"),
    h("p", {}, "Every app loses its access within a second, and this node forgets your data until you come back."),
    h("div", { class: "actions" }, press),
    result,
  );
}

function fact(term: string, ...words: (Node | string)[]): HTMLElement {
  return h("div", {}, h("dt", {}, term), h("dd", {}, ...words));
}

function messageOf(error: unknown): string {
  return error instanceof Refused ? error.message : "Something went wrong on this page. Nothing was changed.";
}

start();
