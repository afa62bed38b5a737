/**
 * The way to a wallet and back: it is sent the text to sign, and brings the signature, and the person's session sealed for this tab.
 *
 * A key pair is made for each way. Its private half stays in this tab's storage until the tab is back or closed; nothing that stands
 * in an address opens anything without it. What was signed must be, letter for letter, what was asked for.
 */

import { fill, h } from "../dom.ts";
import { fromBase64, toBase64, utf8ToBytes } from "../keys/bytes.ts";
import { ContextSession } from "../keys/context_session.ts";

/** What a wallet brought. */
export interface Signed {
  readonly consent: string;
  readonly signature: string;
  readonly session: ContextSession;
}

/** The wallet brought nothing that can be used. `message` is for people. */
export class NotSigned extends Error {}

/** The curve of the keys: what every browser's own cryptography has. */
export const CURVE = { name: "ECDH", namedCurve: "P-256" } as const;
/** Bytes of a public key, and of the nonce behind it. */
export const KEY_BYTES = 65;
export const NONCE_BYTES = 12;
const LABEL = "adyton wallet session v1";

/** What waits in this tab. */
interface Waiting {
  readonly consent: string;
  readonly key: JsonWebKey;
}

/**
 * The address of the wallet for this text. Where to go back to stands in the text itself (`audience`, `nonce`): were it told beside it, a link
 * could have the wallet bring the session to somebody else.
 */
export async function toWallet(wallet: string, id: string, consent: string): Promise<string> {
  const pair = await crypto.subtle.generateKey(CURVE, true, ["deriveBits"]);
  const waiting: Waiting = { consent, key: await crypto.subtle.exportKey("jwk", pair.privateKey) };
  sessionStorage.setItem(nameOf(id), JSON.stringify(waiting));
  const address = new URL(wallet);
  address.searchParams.set("request", toBase64Url(utf8ToBytes(consent)));
  address.searchParams.set("key", toBase64Url(await rawOf(pair.publicKey)));
  return address.href;
}

/** What stands in the address of this page because a wallet has sent it back; `null` when none has. */
export function fromWallet(id: string): Promise<Signed> | null {
  const brought = new URLSearchParams(location.hash.slice(1));
  if (!["signature", "error"].some((name) => brought.has(name))) return null;
  history.replaceState(null, "", location.pathname + location.search);
  const kept = sessionStorage.getItem(nameOf(id));
  sessionStorage.removeItem(nameOf(id));
  return read(brought, kept);
}

async function read(brought: URLSearchParams, kept: string | null): Promise<Signed> {
  if (brought.has("error")) throw new NotSigned("Your wallet did not sign. Nothing was given to anybody.");
  const [signature, session] = [brought.get("signature") ?? "", fromBase64(brought.get("session") ?? "")];
  const consent = new TextDecoder().decode(fromBase64(brought.get("consent") ?? "") ?? new Uint8Array());
  if (!kept || !session) throw new NotSigned("This tab did not ask a wallet. Nothing was given to anybody.");
  const waiting = JSON.parse(kept) as Waiting;
  if (consent !== waiting.consent) throw new NotSigned("Your wallet signed something else than what you chose here. Nothing was given to anybody.");
  try {
    const key = await crypto.subtle.importKey("jwk", waiting.key, CURVE, true, ["deriveBits"]);
    const open = await openSealed(key, await publicHalf(waiting.key), session, consent);
    return { consent, signature, session: ContextSession.parse(new TextDecoder().decode(open)) };
  } catch {
    throw new NotSigned("What your wallet brought back cannot be opened. Nothing was given to anybody.");
  }
}

/**
 * The key for one session: of both public keys, so that it fits this way alone. `mine` and `theirs` are the halves that agree.
 */
export async function sealingKey(mine: CryptoKey, theirs: Uint8Array<ArrayBuffer>, page: Uint8Array, wallet: Uint8Array, use: "encrypt" | "decrypt"): Promise<CryptoKey> {
  const other = await crypto.subtle.importKey("raw", theirs, CURVE, false, []);
  const shared = await crypto.subtle.deriveBits({ name: "ECDH", public: other }, mine, 256);
  const base = await crypto.subtle.importKey("raw", shared, "HKDF", false, ["deriveKey"]);
  const info = Uint8Array.from([...utf8ToBytes(LABEL), ...page, ...wallet]);
  return crypto.subtle.deriveKey({ name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info }, base, { name: "AES-GCM", length: 256 }, false, [use]);
}

/** The wallet's public key, a nonce, and the session under AES-256-GCM, bound to the text that was signed. */
async function openSealed(mine: CryptoKey, page: Uint8Array, sealed: Uint8Array, consent: string): Promise<ArrayBuffer> {
  const bytes = Uint8Array.from(sealed);
  const [wallet, iv, rest] = [bytes.slice(0, KEY_BYTES), bytes.slice(KEY_BYTES, KEY_BYTES + NONCE_BYTES), bytes.slice(KEY_BYTES + NONCE_BYTES)];
  const key = await sealingKey(mine, wallet, page, wallet, "decrypt");
  return crypto.subtle.decrypt({ name: "AES-GCM", iv, additionalData: Uint8Array.from(utf8ToBytes(consent)) }, key, rest);
}

async function publicHalf({ kty, crv, x, y }: JsonWebKey): Promise<Uint8Array> {
  const half = { kty, crv, x, y } as JsonWebKey;
  return rawOf(await crypto.subtle.importKey("jwk", half, CURVE, true, []));
}

async function rawOf(key: CryptoKey): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.exportKey("raw", key));
}

export function toBase64Url(bytes: Uint8Array): string {
  return toBase64(bytes).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

function nameOf(id: string): string {
  return `wallet ${id}`;
}

/** The button that goes there. */
export function walletPanel(wallet: string, go: (wallet: string) => Promise<void>): { element: HTMLElement; button: HTMLButtonElement } {
  const host = new URL(wallet).host;
  const error = h("p", { class: "error", attributes: { role: "alert" } });
  const button = h("button", {
    class: "primary",
    attributes: { type: "button" },
    on: { click: () => void go(wallet).catch(() => fill(error, "This browser cannot go to a wallet.")) },
  }, `Allow with your wallet at ${host}`);
  const hint = h("p", { class: "hint" }, "It shows you once more what you chose, signs it, and sends you back. Your key stays in the wallet.");
  return { element: h("div", { class: "stack wallet" }, h("div", { class: "actions" }, button), hint, error), button };
}
