/**
 * The consent page. The node says what is asked and computes what would be given; the page shows it, lets the person take
 * away, and has the person's own key sign what is left.
 */

import "../style.css";
import type { ContextSession } from "../keys/context_session.ts";
import { appConsentText } from "../keys/texts.ts";
import { byId, fill, h } from "../dom.ts";
import { ask, Refused } from "../node.ts";
import { signInForm } from "../sign_in.ts";
import { duration } from "../words.ts";
import { asAsked, type Choices, keep, narrowAlike, termsOf, wholeBehind } from "./choices.ts";
import { asker } from "./asker.ts";
import { narrowingPanel } from "./narrowing_panel.ts";
import { permissionCard, tick } from "./permission_card.ts";
import type { ConsentRequest, Preview, Terms } from "./request.ts";
import { fromWallet, NotSigned, type Signed, toWallet, walletPanel } from "./wallet.ts";

/** How long choices may rest before the node is asked what they mean. */
const PREVIEW_REST_MILLISECONDS = 250;
/** How long a signed consent can be handed in. */
const CONSENT_SECONDS = 300;
/** The same where a wallet has to be opened first; the node takes a quarter of an hour. */
const WALLET_SECONDS = 600;

const main = byId("main");
const said = byId("said");

async function start(): Promise<void> {
  const id = new URLSearchParams(location.search).get("request") ?? "";
  if (!/^[A-Za-z0-9_-]{8,128}$/.test(id)) {
    return sorry("There is nothing to decide", "This page was opened without a request. Go back to the app and start again there.");
  }
  // First of all, so that what is signed does not stay in the address.
  const brought = fromWallet(id);
  brought?.catch(() => {});
  try {
    const [request, tee] = await Promise.all([ask("GET", `/consent/requests/${id}`), teeOfTheNode()]);
    const shown = show(id, request as ConsentRequest, tee);
    if (brought) await brought.then(shown.approve, (error: unknown) => shown.say(messageOf(error)));
  } catch (error) {
    const gone = error instanceof Refused && error.status === 404;
    sorry(
      gone ? "This request is over" : "This request cannot be shown",
      gone ? "It was answered, or it waited for more than ten minutes. Go back to the app and start again there." : messageOf(error),
    );
  }
}

function sorry(title: string, text: string): void {
  document.title = title;
  fill(main, h("h1", {}, title), h("p", { attributes: { role: "alert" } }, text), h("p", {}, "Nothing was given to anybody."));
}

/** What the node says that it runs in. Not knowing it keeps nobody from deciding. */
async function teeOfTheNode(): Promise<string | null> {
  const status = (await ask("GET", "/api/rest/v1/info/status").catch(() => null)) as { tee?: unknown } | null;
  return typeof status?.tee === "string" ? status.tee : null;
}

/** The page, for what a wallet brings back. */
interface Shown {
  approve(signed: Signed): Promise<void>;
  say(text: string): void;
}

function show(id: string, request: ConsentRequest, tee: string | null, signed: ContextSession | null = null, before: { choices: Choices; request: ConsentRequest } | null = null): Shown {
  document.title = `${request.client.name} asks for your data`;
  const choices = asAsked(request);
  if (before) keep(choices, before.choices, before.request);
  const unknown = request.unknown ?? [];
  let session: ContextSession | null = null;

  const changed = (): void => {
    cards.forEach((card, at) => {
      const choice = choices.permissions[at];
      card.update(choice ? wholeBehind(choices, choice) : null);
    });
    panel.update();
    conclude();
    preview();
  };
  const cards = choices.permissions.map((choice) =>
    permissionCard(choice, changed, {
      alike: (whole) => {
        narrowAlike(whole, choice);
        changed();
      },
      without: (whole) => {
        whole.kept = false;
        changed();
      },
    }),
  );
  /** The terms that can be allowed now. */
  const termsNow = (): Terms | null => (choices.permissions.some((choice) => wholeBehind(choices, choice)) ? null : termsOf(request, choices));
  const panel = narrowingPanel(request, choices, () => new Date(), changed);
  const capabilities = request.api.map(({ scope, words }) => {
    const control = tick(words, () => {
      if (control.input.checked) choices.api.add(scope);
      else choices.api.delete(scope);
      changed();
    });
    control.input.checked = choices.api.has(scope);
    return control.element;
  });

  const allow = h("button", { class: "primary", attributes: { type: "button" }, on: { click: () => void approve() } });
  const deny = h("button", { attributes: { type: "button" }, on: { click: () => void refuse() } }, "Deny");
  const conclusion = h("p", { id: "conclusion" });
  const error = h("p", { class: "error", attributes: { role: "alert" } });
  const signIn = h("section", { class: "card", attributes: { "aria-labelledby": "sign-in" } });

  const conclude = (): void => {
    const terms = termsNow();
    allow.disabled = !session || !terms;
    if (wallet) wallet.button.disabled = !terms;
    fill(allow, session ? "Allow" : "Sign in to allow");
    const nothing = termsOf(request, choices) ? "One of your limits holds nothing back: decide above what you mean." : "Nothing is left to allow.";
    fill(conclusion, terms ? `${request.client.name} gets what is shown above for ${duration(terms.expiresIn ?? 0)}. You can end it at any time in your console.` : nothing);
  };

  let resting: ReturnType<typeof setTimeout> | undefined;
  let asking: AbortController | undefined;
  const preview = (): void => {
    clearTimeout(resting);
    asking?.abort();
    const terms = termsNow();
    if (!session || !terms) return;
    resting = setTimeout(() => {
      asking = new AbortController();
      void load(terms, asking.signal);
    }, PREVIEW_REST_MILLISECONDS);
  };
  const load = async (terms: Terms, signal: AbortSignal): Promise<void> => {
    main.setAttribute("aria-busy", "true");
    try {
      const answer = (await ask("POST", `/consent/requests/${id}/preview`, { session, body: { terms }, signal })) as { targets: Preview[] };
      const byTarget = new Map(answer.targets.map((target) => [target.target, target]));
      cards.forEach((card, at) => {
        const target = byTarget.get(choices.permissions[at]?.permission.target ?? "");
        if (target) card.show(target);
      });
      fill(said, "The examples show what the app would get now.");
      fill(error);
    } catch (failure) {
      if (signal.aborted) return;
      choices.permissions.forEach((choice, at) => choice.kept && cards[at]?.say("The node could not show this."));
      fill(error, messageOf(failure));
    } finally {
      if (!signal.aborted) main.removeAttribute("aria-busy");
    }
  };

  /** What is signed, to be handed in within so many seconds. */
  const consentTo = (terms: Terms, seconds: number): string => {
    const now = Math.floor(Date.now() / 1000);
    return appConsentText({
      nonce: id,
      audience: location.origin,
      client: request.client.id,
      redirectUri: request.redirectUri,
      terms,
      notBefore: now - 60,
      notAfter: now + seconds,
    });
  };

  const approve = async (signed?: Signed): Promise<void> => {
    const terms = termsNow();
    session = signed?.session ?? session;
    if (!session || !(signed ?? terms)) return;
    allow.disabled = true;
    deny.disabled = true;
    try {
      const consent = signed?.consent ?? consentTo(terms as Terms, CONSENT_SECONDS);
      const signature = signed?.signature ?? session.signConsent(consent);
      leave(await ask("POST", `/consent/requests/${id}/approve`, { session, body: { consent, signature } }), "You allowed it");
    } catch (failure) {
      if (signed) {
        // Lent for this once.
        signed.session.wipe();
        session = null;
      }
      deny.disabled = false;
      conclude();
      fill(error, messageOf(failure));
    }
  };

  const refuse = async (): Promise<void> => {
    deny.disabled = true;
    try {
      leave(await ask("POST", `/consent/requests/${id}/deny`), "You denied it");
    } catch (failure) {
      deny.disabled = false;
      fill(error, messageOf(failure));
    }
  };

  const leave = (answer: unknown, title: string): void => {
    session?.wipe();
    session = null;
    const redirect = addressOf(answer);
    fill(main, h("h1", {}, title), h("p", {}, "Going back to ", h("code", {}, request.redirectHost), " …"), redirect ? h("p", {}, h("a", { attributes: { href: redirect, rel: "noreferrer" } }, "Go back now")) : null);
    if (redirect) location.assign(redirect);
  };

  /** What is asked for by a name of the person's own means something from now on: the node is asked once more. */
  const askAgain = async (made: ContextSession): Promise<void> => {
    try {
      show(id, (await ask("GET", `/consent/requests/${id}`, { session: made })) as ConsentRequest, tee, made, { choices, request });
    } catch (failure) {
      made.wipe();
      sorry("This request cannot be shown", messageOf(failure));
    }
  };
  const signedIn = (made: ContextSession): void => {
    if (unknown.length > 0 && !signed) return void askAgain(made);
    session = made;
    fill(signIn, h("h2", { id: "sign-in", attributes: { tabindex: -1 } }, "You are signed in"), h("p", {}, "As ", h("code", {}, made.did), ". Your key stays in this tab until you leave it."));
    signIn.querySelector("h2")?.focus();
    cards.forEach((card) => card.say("Loading your records …"));
    changed();
  };
  const wallet = request.wallet
    ? walletPanel(request.wallet, async (page) => {
        const terms = termsNow();
        if (terms) location.assign(await toWallet(page, id, consentTo(terms, WALLET_SECONDS)));
      })
    : null;
  if (!signed)
    fill(
      signIn,
      h("h2", { id: "sign-in" }, "Sign in"),
      wallet ? wallet.element : null,
      h("p", {}, "To see examples of your own records, and to allow anything."),
      signInForm(signedIn),
    );
  addEventListener("pagehide", () => session?.wipe());

  fill(
    main,
    h("h1", {}, request.client.name, " asks for your data"),
    asker(request, tee),
    h("section", { attributes: { "aria-labelledby": "permissions" } }, h("h2", { id: "permissions" }, "What it would get"), h("ul", { class: "cards" }, ...cards.map((card) => card.element))),
    unknown.length > 0
      ? h("section", { class: "card", attributes: { "aria-labelledby": "unknown" } }, h("h2", { id: "unknown" }, signed ? "What it asked for and you do not have" : "What it also asks for"), ...unknown.map(({ schema, words }) => h("p", {}, h("code", {}, schema), ` ${words}.`)))
      : null,
    capabilities.length > 0
      ? h("section", { class: "card", attributes: { "aria-labelledby": "ways" } }, h("h2", { id: "ways" }, "In which ways"), h("p", { class: "hint" }, "Only with the records above."), h("div", { class: "stack" }, ...capabilities))
      : null,
    panel.element,
    signIn,
    h("section", { class: "decision", attributes: { "aria-labelledby": "conclusion" } }, conclusion, error, h("div", { class: "actions" }, deny, allow)),
  );
  if (signed) signedIn(signed);
  else changed();
  return { approve, say: (text) => fill(error, text) };
}

/** Where the node sends the browser: an address of a kind that runs no script. */
function addressOf(answer: unknown): string | null {
  const { redirect } = (answer ?? {}) as { redirect?: unknown };
  if (typeof redirect !== "string" || !URL.canParse(redirect)) return null;
  const { protocol } = new URL(redirect);
  return ["javascript:", "data:", "blob:", "file:", "about:", "vbscript:"].includes(protocol) ? null : redirect;
}

function messageOf(error: unknown): string {
  return error instanceof Refused || error instanceof NotSigned ? error.message : "Something went wrong on this page. Nothing was given to anybody.";
}

void start();
