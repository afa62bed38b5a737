/** A person whose key is in a wallet: the page sends them there, and what comes back is approved if it is what they chose. */

import { randomBytes, webcrypto } from "node:crypto";
import type { Page } from "@playwright/test";
import { CURVE, sealingKey, toBase64Url } from "../src/consent/wallet.ts";
import { fromBase64 } from "../src/keys/bytes.ts";
import { ContextSession } from "../src/keys/context_session.ts";
import { App, ask, redeem } from "./app.ts";
import { EMAIL } from "./asked.ts";
import { expect, holdsToWcag, signIn, test as base, type Stage } from "./stage.ts";

const test = base.extend<{ app: App }>({
  app: async ({}, use) => {
    const app = await App.start();
    await use(app);
    await app.stop();
  },
});

interface Wallet {
  /** What it was asked to sign. */
  readonly asked: URL[];
  /** Changes the text before it is signed. */
  forge: (consent: string) => string;
  /** The text that it says it has signed. */
  claim: (consent: string) => string;
}

const SCOPES = ["api:ds-query", "api:ds-create", "ds:rw:social-email"];

/** A wallet: a page elsewhere that holds the session, signs, and sends back what it signed, the session sealed for the tab that asked. */
async function wallet(page: Page, stage: Stage): Promise<Wallet> {
  const made: Wallet = { asked: [], forge: (consent) => consent, claim: (consent) => consent };
  await page.route("https://wallet.example/**", async (route) => {
    const url = new URL(route.request().url());
    made.asked.push(url);
    const text = (name: string): string => url.searchParams.get(name) ?? "";
    const request = Buffer.from(text("request"), "base64url").toString();
    const consent = made.forge(request);
    const key = fromBase64(text("key")) ?? new Uint8Array();
    const back = new URLSearchParams({
      consent: toBase64Url(Buffer.from(made.claim(consent))),
      signature: ContextSession.parse(stage.session).signConsent(consent),
      session: toBase64Url(await sealed(stage.session, consent, key)),
    });
    // Back to whom the text is for, whatever else the link says.
    const { audience, nonce } = JSON.parse(request) as { audience: string; nonce: string };
    const page = `${audience}/consent?request=${nonce}`;
    const [yes, no] = [`${page}#${back}`, `${page}#error=access_denied`];
    const link = (address: string, words: string): string => `<a href="${address.replaceAll("&", "&amp;")}">${words}</a>`;
    await route.fulfill({ contentType: "text/html", body: `<!doctype html><title>Wallet</title><h1>Wallet</h1>${link(yes, "Sign")} ${link(no, "Do not")}` });
  });
  return made;
}

async function sealed(session: string, consent: string, page: Uint8Array): Promise<Uint8Array> {
  const pair = (await webcrypto.subtle.generateKey(CURVE, true, ["deriveBits"])) as CryptoKeyPair;
  const own = new Uint8Array(await webcrypto.subtle.exportKey("raw", pair.publicKey));
  const key = await sealingKey(pair.privateKey, Uint8Array.from(page), page, own, "encrypt");
  const iv = Uint8Array.from(randomBytes(12));
  const box = await webcrypto.subtle.encrypt({ name: "AES-GCM", iv, additionalData: Buffer.from(consent) }, key, Buffer.from(session));
  return Buffer.concat([own, iv, Buffer.from(box)]);
}

const button = (page: Page) => page.getByRole("button", { name: "Allow with your wallet at wallet.example" });

test("a wallet signs what was chosen, and the app gets that and no more", async ({ page, request, stage, app }) => {
  const it = await wallet(page, stage);
  const visited: string[] = [];
  page.on("request", (sending) => visited.push(sending.url()));
  const verifier = await ask(page, stage, app, SCOPES);
  await expect(button(page)).toBeEnabled();
  await holdsToWcag(page);
  await page.getByLabel("Read only").check();
  await page.getByLabel("For how long").selectOption("1 day");
  await button(page).click();
  await expect(page.getByRole("heading", { name: "Wallet" })).toBeVisible();
  const [asked] = it.asked;
  // The wallet's own parameters stay, and it is told the text and a key: no credential, and no place to go to but the text's.
  expect([...(asked?.searchParams.keys() ?? [])]).toEqual(["for", "request", "key"]);
  const consent = JSON.parse(Buffer.from(asked?.searchParams.get("request") ?? "", "base64url").toString()) as { audience: string; terms: { scopes: string[]; expiresIn: number } };
  expect(consent.audience).toBe(stage.node);
  expect([consent.terms.scopes, consent.terms.expiresIn]).toEqual([[`ds:r:${EMAIL}`, "api:ds-create", "api:ds-query"], 86_400]);
  await page.getByRole("link", { name: "Sign" }).click();
  const { access_token: token } = await redeem(page, request, stage, app, verifier);
  const headers = { authorization: `Bearer ${token}` };
  const read = await request.post(`${stage.node}/api/rest/v1/ds/query/social-email`, { headers, data: { query: {} } });
  expect([read.status(), ((await read.json()) as { total: number }).total]).toEqual([200, 6]);
  const written = await request.post(`${stage.node}/api/rest/v1/ds/social-email`, { headers, data: { record: { name: "forged" } } });
  expect(written.status()).toBe(403);
  // Neither session nor signature was in anything that was sent anywhere but in the request that allows; no address has the session.
  expect(visited.filter((url) => /signature|session=/.test(new URL(url).search))).toEqual([]);
  expect(visited.filter((url) => url.includes(stage.session))).toEqual([]);
  await page.goBack();
  expect(await page.evaluate(() => [location.hash, JSON.stringify({ ...sessionStorage })])).toEqual(["", "{}"]);
});

test("a wallet that says no leaves everything as it was, and the request open", async ({ page, stage, app }) => {
  await wallet(page, stage);
  await ask(page, stage, app, SCOPES);
  await button(page).click();
  await page.getByRole("link", { name: "Do not" }).click();
  await expect(page.getByText("Your wallet did not sign. Nothing was given to anybody.")).toBeVisible();
  expect(new URL(page.url()).hash).toBe("");
  await signIn(page, stage);
  await expect(page.getByText("6 records now")).toBeVisible();
  await expect(page.getByRole("button", { name: "Allow", exact: true })).toBeEnabled();
});

test("what was signed must be what was chosen, by the page's eyes and by the node's", async ({ page, stage, app }) => {
  const it = await wallet(page, stage);
  await ask(page, stage, app, SCOPES);
  // A wallet that says what it did.
  it.forge = (consent) => consent.replace(`"ds:rw:`, `"ds:rwd:`);
  await button(page).click();
  await page.getByRole("link", { name: "Sign" }).click();
  await expect(page.getByText("Your wallet signed something else than what you chose here.")).toBeVisible();
  // One that does not: the session is sealed for another text then.
  it.claim = (consent) => consent.replace(`"ds:rwd:`, `"ds:rw:`);
  await button(page).click();
  await page.getByRole("link", { name: "Sign" }).click();
  await expect(page.getByText("What your wallet brought back cannot be opened.")).toBeVisible();
});

test("a signature that the node does not accept is refused by it", async ({ page, stage, app }) => {
  await wallet(page, stage);
  await ask(page, stage, app, SCOPES);
  await page.route("**/approve", (route) => {
    const body = route.request().postDataJSON() as { consent: string; signature: string };
    return route.continue({ postData: JSON.stringify({ ...body, consent: body.consent.replace(`"ds:rw:`, `"ds:r:`) }) });
  });
  await button(page).click();
  await page.getByRole("link", { name: "Sign" }).click();
  await expect(page.getByText("The consent was not signed by the key of the user's context.")).toBeVisible();
  // What the wallet lent for this once does not stay.
  await expect(page.getByRole("button", { name: "Sign in to allow" })).toBeDisabled();
});

test("an address that nobody asked a wallet for gives nothing to anybody", async ({ page, stage, app }) => {
  await ask(page, stage, app, SCOPES);
  const approvals: string[] = [];
  page.on("request", (sending) => sending.url().endsWith("/approve") && approvals.push(sending.url()));
  await page.evaluate(() => {
    location.hash = "consent=e30&signature=0x00&session=AAAA";
    location.reload();
  });
  await expect(page.getByText("This tab did not ask a wallet.")).toBeVisible();
  expect(approvals).toEqual([]);
  expect(new URL(page.url()).hash).toBe("");
});
