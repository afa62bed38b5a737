/**
 * Signing in: from a seed phrase, a private key or a session to a `ContextSession`.
 *
 * The account key never leaves this tab: it signs the unlock text and the storage nodes' challenges, and is overwritten. The
 * node carries challenges and answers to the storage nodes, because the page talks to nobody but its own node.
 */

import { ANCHORS, Account, InvalidSecret, type Anchor } from "./keys/account.ts";
import { ContextSession, InvalidSession, type ContextConfig } from "./keys/context_session.ts";
import { VAULT } from "./keys/texts.ts";
import { fill, freshId, h } from "./dom.ts";
import { ask, Refused } from "./node.ts";

const CHALLENGES = "/api/rest/v1/auth/session/challenges";
const SESSION = "/api/rest/v1/auth/session";

interface Challenges {
  readonly contextConfig: ContextConfig;
  readonly challenges: readonly { readonly endpointUri: string; readonly authRequestId: string; readonly authJwt: string }[];
}

/** Makes the session of the vault of whoever has this secret. */
export async function signInWith(secret: string, storageNode: string): Promise<ContextSession> {
  const account = Account.fromSecretText(secret);
  try {
    for (const anchor of ANCHORS) {
      const session = await signInOn(anchor, account, storageNode);
      if (session) return session;
    }
  } finally {
    account.wipe();
  }
  throw new InvalidSecret("This storage node knows no vault of this key. Is the phrase the right one, and the storage node yours?");
}

/** `null` when there is no vault on this anchor. */
async function signInOn(anchor: Anchor, account: Account, storageNode: string): Promise<ContextSession | null> {
  const did = account.did(anchor);
  let asked: Challenges;
  try {
    asked = (await ask("POST", CHALLENGES, { body: { did, contextName: VAULT, storageNode } })) as Challenges;
  } catch (error) {
    if (error instanceof Refused && error.code === "not-found") return null;
    throw error;
  }
  const answers = asked.challenges.map((challenge) => ({
    endpointUri: challenge.endpointUri,
    authJwt: challenge.authJwt,
    signature: account.answerLogin(did, VAULT, challenge.authRequestId),
  }));
  const signKey = asked.contextConfig.publicKeys.signKey;
  const tokens = await ask("POST", SESSION, { body: { did, contextName: VAULT, signKey, answers } });
  const { contextAuths } = tokens as { contextAuths: Record<string, unknown> };
  return ContextSession.of(did, VAULT, account.unlock(did, VAULT), asked.contextConfig, contextAuths);
}

/** The form. `done` gets the session; the form's own fields are empty by then. */
export function signInForm(done: (session: ContextSession) => void): HTMLElement {
  const [secretId, hintId, nodeId, sessionId, fileId, errorId] = ["secret", "secret-hint", "storage-node", "session", "session-file", "sign-in-error"].map(
    freshId,
  ) as [string, string, string, string, string, string];
  const error = h("p", { class: "error", id: errorId, attributes: { role: "alert" } });
  const secret = h("input", {
    id: secretId,
    attributes: {
      type: "password",
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      required: true,
      "aria-describedby": hintId,
    },
  });
  const reveal = h("input", {
    attributes: { type: "checkbox" },
    on: { change: () => (secret.type = reveal.checked ? "text" : "password") },
  });
  const node = h("input", {
    id: nodeId,
    attributes: { type: "url", autocomplete: "url", spellcheck: "false", placeholder: "https://", required: true, inputmode: "url" },
  });
  const pasted = h("textarea", { id: sessionId, attributes: { rows: 3, autocomplete: "off", spellcheck: "false", autocapitalize: "off" } });
  const file = h("input", { id: fileId, attributes: { type: "file", accept: ".json,.txt,application/json,text/plain" } });

  const attempt = async (button: HTMLButtonElement, field: HTMLElement, make: () => Promise<ContextSession>): Promise<void> => {
    fill(error);
    field.removeAttribute("aria-invalid");
    button.disabled = true;
    try {
      // A frame, so that the button is seen to work before keys are derived.
      await new Promise((next) => setTimeout(next, 20));
      const session = await make();
      secret.value = "";
      pasted.value = "";
      file.value = "";
      done(session);
    } catch (failure) {
      button.disabled = false;
      field.setAttribute("aria-invalid", "true");
      field.setAttribute("aria-errormessage", errorId);
      fill(error, failureText(failure));
      field.focus();
    }
  };

  const withSecret = h("button", { class: "primary", attributes: { type: "submit" } }, "Sign in");
  const secretForm = h(
    "form",
    {
      class: "stack",
      attributes: { novalidate: true },
      on: {
        submit: (event) => {
          event.preventDefault();
          const empty = secret.value.trim() === "" ? secret : node.value.trim() === "" ? node : null;
          void attempt(withSecret, empty ?? secret, async () => {
            if (empty === secret) throw new InvalidSecret("Type your seed phrase or your private key.");
            if (empty === node) throw new InvalidSecret("Type the address of your storage node; your wallet shows it.");
            return signInWith(secret.value, node.value.trim());
          });
        },
      },
    },
    h("label", { attributes: { for: secretId } }, "Seed phrase or private key"),
    secret,
    h("label", { class: "choice" }, reveal, h("span", {}, "Show what I type")),
    h("p", { class: "hint", id: hintId }, "It stays in this tab: it is never sent, never stored, and forgotten once you are signed in."),
    h("label", { attributes: { for: nodeId } }, "Storage node"),
    node,
    h("div", { class: "actions" }, withSecret),
  );

  const withSession = h("button", { attributes: { type: "submit" } }, "Use this session");
  const sessionForm = h(
    "form",
    {
      class: "stack",
      attributes: { novalidate: true },
      on: {
        submit: (event) => {
          event.preventDefault();
          void attempt(withSession, pasted, async () => {
            const chosen = file.files?.[0];
            const text = pasted.value.trim() === "" && chosen ? await chosen.slice(0, 64 * 1024 + 1).text() : pasted.value;
            if (text.trim() === "") throw new InvalidSession("Paste a session, or choose its file.");
            return ContextSession.parse(text);
          });
        },
      },
    },
    h("label", { attributes: { for: sessionId } }, "Session from your wallet or from the command line"),
    pasted,
    h("label", { attributes: { for: fileId } }, "or its file"),
    file,
    h("div", { class: "actions" }, withSession),
  );

  return h(
    "div",
    { class: "stack" },
    error,
    secretForm,
    h("details", {}, h("summary", {}, "I have a session instead"), sessionForm),
  );
}

function failureText(failure: unknown): string {
  if (failure instanceof InvalidSecret || failure instanceof InvalidSession || failure instanceof Refused) return failure.message;
  return "Signing in failed. Nothing was sent to the app.";
}
