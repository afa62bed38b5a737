/**
 * The consent page by itself: the page, its headers and signing in are the node's own; what is asked for is given by the
 * test, so that every state can be seen. `consent_flow.spec.ts` has the whole way, with nothing given.
 */

import type { Page, Route } from "@playwright/test";
import { Account } from "../src/keys/account.ts";
import { signingKeyOf } from "../src/keys/context_session.ts";
import { signerOf } from "../src/keys/signing_key.ts";
import { VAULT } from "../src/keys/texts.ts";
import type { Terms } from "../src/consent/request.ts";
import { EMAIL, request } from "./asked.ts";
import { expect, holdsToWcag, inLook, LOOKS, signIn, test, type Stage } from "./stage.ts";

const ID = "request-0123456789";
const BACK = "https://reader.example/back?from=adyton&code=xyz";

interface Sent {
  readonly previews: Terms[];
  approved?: { consent: string; signature: string };
  denied?: boolean;
  apiKeys: string[];
}

/** Opens the page with a request behind it. */
async function open(page: Page, stage: Stage, asked = request()): Promise<Sent> {
  const sent: Sent = { previews: [], apiKeys: [] };
  const json = (route: Route, body: unknown): Promise<void> => route.fulfill({ contentType: "application/json", body: JSON.stringify(body) });
  await page.route(`**/consent/requests/${ID}`, (route) => json(route, asked));
  await page.route(`**/consent/requests/${ID}/preview`, async (route) => {
    const { terms } = route.request().postDataJSON() as { terms: Terms };
    sent.previews.push(terms);
    sent.apiKeys.push((await route.request().headerValue("x-api-key")) ?? "");
    const without = terms.narrow?.find((narrowing) => narrowing.target === `ds:${EMAIL}`)?.without ?? [];
    const record: Record<string, unknown> = { _id: "mail-1", name: "The bridge <img src=x onerror=alert(1)>", fromName: "Ada", sentAt: "2026-11-20T08:12:00.000Z", messageText: "At six?" };
    for (const field of without) delete record[field];
    await json(route, { targets: [{ target: `ds:${EMAIL}`, count: 1204, examples: [record, { ...record, _id: "mail-2", name: "Your sketches" }] }, { target: "db:notes", count: 0, examples: [] }] });
  });
  await page.route(`**/consent/requests/${ID}/approve`, (route) => {
    sent.approved = route.request().postDataJSON() as NonNullable<Sent["approved"]>;
    return json(route, { redirect: BACK });
  });
  await page.route(`**/consent/requests/${ID}/deny`, (route) => {
    sent.denied = true;
    return json(route, { redirect: "https://reader.example/back?error=access_denied" });
  });
  await page.route("https://reader.example/**", (route) => route.fulfill({ contentType: "text/html", body: "<title>the app</title>" }));
  await page.goto(`${stage.node}/consent?request=${ID}`);
  return sent;
}

test("who asks, why, what for and where it goes is told in words, and nothing of it is markup", async ({ page, stage }) => {
  await open(page, stage);
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Letter Reader asks for your data");
  const asker = page.getByRole("region", { name: "Who asks, and why" });
  await expect(asker).toContainText("reader.example publishes this name");
  await expect(asker).toContainText("Find letters that wait for an answer. <b>Not markup</b>");
  await expect(asker.locator("b")).toHaveCount(0);
  const mail = page.getByRole("listitem").filter({ hasText: "Emails" }).first();
  await expect(mail).toContainText("The app may read, add and change and delete them.");
  await expect(mail).toContainText("social_email");
  await expect(page.getByRole("button", { name: "Sign in to allow" })).toBeDisabled();
});

for (const look of LOOKS) {
  test(`the page holds to WCAG 2.2 AA in every state: ${look.name}`, async ({ page, stage }) => {
    await inLook(page, look);
    await open(page, stage);
    await expect(page.getByRole("heading", { level: 1 })).toContainText("Letter Reader");
    await holdsToWcag(page);
    // A mistake while signing in.
    await page.getByText("I have a session instead").click();
    await page.getByRole("button", { name: "Use this session" }).click();
    await expect(page.getByText("Paste a session, or choose its file.")).toBeVisible();
    await holdsToWcag(page);
    // Signed in, everything open.
    await signIn(page, stage);
    await expect(page.getByText("1,204 records now")).toBeVisible();
    for (const summary of await page.getByText("Choose what it gets").all()) await summary.click();
    for (const summary of await page.getByText("Everything in it").all()) await summary.click();
    await holdsToWcag(page);
    // Narrowed to nothing.
    for (const box of await page.getByRole("checkbox", { name: /^Allow / }).all()) await box.uncheck();
    await expect(page.getByText("Nothing is left to allow.")).toBeVisible();
    await holdsToWcag(page);
  });
}

test("what cannot be shown is said, and holds to WCAG, too", async ({ page, stage }) => {
  for (const path of ["/consent", "/consent?request=%3Cscript%3E", "/consent?request=gone-0123456789"]) {
    await page.goto(`${stage.node}${path}`);
    await expect(page.getByRole("alert")).toBeVisible();
    await expect(page.getByText("Nothing was given to anybody.")).toBeVisible();
    await holdsToWcag(page);
  }
});

test("the key stays in the browser: neither phrase nor account key is in any request, nor anywhere once signed in", async ({ page, stage }) => {
  const bodies: string[] = [];
  page.on("request", (sending) => bodies.push(`${sending.url()} ${sending.postData() ?? ""} ${JSON.stringify(sending.headers())}`));
  await open(page, stage);
  await signIn(page, stage);
  await expect(page.getByText("1,204 records now")).toBeVisible();
  expect(bodies.length).toBeGreaterThan(5);
  expect(bodies.filter((body) => body.includes(stage.phrase) || body.includes(encodeURIComponent(stage.phrase)))).toEqual([]);
  expect(await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]))).toBe('[{},{},""]');
  expect(await page.locator("html").innerHTML()).not.toContain(stage.phrase.split(" ").slice(0, 2).join(" "));
});

test("every choice is previewed as the terms that would be enforced", async ({ page, stage }) => {
  const sent = await open(page, stage);
  await signIn(page, stage);
  await expect(page.getByText("1,204 records now")).toBeVisible();
  await expect(page.getByText("At six?")).toHaveCount(4);
  await page.getByLabel("Leave out what messages say").check();
  await expect(page.getByText("At six?")).toHaveCount(0);
  await page.getByLabel("Read only").check();
  await page.getByRole("checkbox", { name: "Allow Notes" }).uncheck();
  await page.getByLabel("For how long").selectOption("7 days");
  await page.getByLabel("How often").selectOption("At most 60 requests in 1 hour");
  await expect.poll(() => sent.previews.at(-1)).toEqual({
    scopes: [`ds:r:${EMAIL}`, "api:ds-query", "api:ds-create"],
    narrow: [{ target: `ds:${EMAIL}`, without: ["messageHTML", "messageText"] }],
    purpose: "Find letters that wait for an answer. <b>Not markup</b>",
    expiresIn: 7 * 86_400,
    rate: { requests: 60, seconds: 3600 },
  });
  await expect(page.getByText(/for 7 days\. You can end it/)).toBeVisible();
  await page.getByLabel("How far back").selectOption("The last 30 days");
  const day = new Date(Date.now() - 30 * 86_400_000).toISOString().slice(0, 10);
  await expect.poll(() => sent.previews.at(-1)?.narrow?.[0]?.from).toBe(`${day}T00:00:00Z`);
});

test("what is approved is what was shown, signed by the context's key for this node, this app and this request", async ({ page, stage }) => {
  const sent = await open(page, stage);
  await signIn(page, stage);
  await page.getByLabel("Read only").check();
  await expect(page.getByText("1,204 records now")).toBeVisible();
  await page.getByRole("button", { name: "Allow", exact: true }).click();
  await page.waitForURL(BACK);
  const { consent, signature } = sent.approved!;
  const said = JSON.parse(consent) as Record<string, unknown>;
  const terms = sent.previews.at(-1);
  expect(said).toMatchObject({ nonce: ID, audience: stage.node, client: "https://reader.example/client.json", redirectUri: "https://reader.example/back?from=adyton", terms });
  const [notBefore, notAfter] = [said["notBefore"] as number, said["notAfter"] as number];
  expect(notBefore).toBeLessThanOrEqual(Date.now() / 1000);
  expect(notAfter - notBefore).toBeLessThanOrEqual(600);
  const account = Account.fromSecretText(stage.phrase);
  const seed = account.unlock(account.did("polamoy"), VAULT);
  expect(signerOf(consent, signature)).toBe(signingKeyOf(seed)?.address);
});

test("denying needs no key and goes back with nothing", async ({ page, stage }) => {
  const sent = await open(page, stage);
  await page.getByRole("button", { name: "Deny" }).click();
  await page.waitForURL("https://reader.example/back?error=access_denied");
  expect(sent.denied).toBe(true);
  expect(sent.approved).toBeUndefined();
  expect(sent.apiKeys).toEqual([]);
});

test("an address that would run a script is not gone to", async ({ page, stage }) => {
  await open(page, stage);
  await page.route(`**/consent/requests/${ID}/deny`, (route) => route.fulfill({ contentType: "application/json", body: JSON.stringify({ redirect: "javascript:alert(1)" }) }));
  await page.getByRole("button", { name: "Deny" }).click();
  await expect(page.getByRole("heading", { name: "You denied it" })).toBeVisible();
  await expect(page.getByRole("link")).toHaveCount(0);
});

test("a refusal of the node is shown in its words, and can be tried again", async ({ page, stage }) => {
  await open(page, stage);
  await signIn(page, stage);
  await expect(page.getByText("1,204 records now")).toBeVisible();
  const problem = { status: 503, contentType: "application/problem+json", body: JSON.stringify({ code: "overloaded", status: 503, title: "The node is busy", detail: "too much at once" }) };
  await page.route(`**/consent/requests/${ID}/approve`, (route) => route.fulfill(problem));
  await page.route(`**/consent/requests/${ID}/preview`, (route) => route.fulfill(problem));
  await page.getByLabel("Read only").check();
  await expect(page.getByText("The node could not show this.").first()).toBeVisible();
  await page.getByRole("button", { name: "Allow", exact: true }).click();
  await expect(page.getByText("Too much at once.")).toBeVisible();
  await expect(page.getByRole("button", { name: "Allow", exact: true })).toBeEnabled();
  await holdsToWcag(page);
});

test("a wrong phrase, an unknown storage node and a stranger's key are told apart in words", async ({ page, stage }) => {
  await open(page, stage);
  const phrase = page.getByLabel("Seed phrase or private key");
  const button = page.getByRole("button", { name: "Sign in", exact: true });
  await button.click();
  await expect(page.getByText("Type your seed phrase or your private key.")).toBeVisible();
  await phrase.fill("twelve words that are none");
  await button.click();
  await expect(page.getByText("Type the address of your storage node")).toBeVisible();
  await page.getByLabel("Storage node", { exact: true }).fill(stage.storage);
  await button.click();
  await expect(page.getByText("These are not 12 to 24 words")).toBeVisible();
  await phrase.fill(`0x${"11".repeat(32)}`);
  await button.click();
  await expect(page.getByText("This storage node knows no vault of this key.")).toBeVisible();
  await page.getByLabel("Storage node", { exact: true }).fill("http://10.0.0.1");
  await button.click();
  await expect(page.getByText("This storage node may not be contacted")).toBeVisible();
});

test("all of it can be done with the keyboard alone", async ({ page, stage }) => {
  const sent = await open(page, stage);
  await expect(page.getByRole("heading", { level: 1 })).toContainText("Letter Reader");
  const focused = async (): Promise<string> =>
    page.evaluate(() => {
      const element = document.activeElement as HTMLInputElement | null;
      return element?.getAttribute("aria-label") ?? element?.labels?.[0]?.textContent ?? element?.textContent ?? "";
    });
  const tabTo = async (words: string): Promise<void> => {
    for (let presses = 0; presses < 80; presses += 1) {
      if ((await focused()).trim().startsWith(words)) return;
      await page.keyboard.press("Tab");
    }
    throw new Error(`no way by keyboard to: ${words}`);
  };
  await tabTo("Allow Notes");
  await page.keyboard.press("Space");
  await tabTo("Read only");
  await page.keyboard.press("Space");
  await tabTo("I have a session instead");
  await page.keyboard.press("Enter");
  await tabTo("Session from your wallet");
  await page.keyboard.insertText(stage.session);
  await tabTo("Use this session");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "You are signed in" })).toBeFocused();
  await tabTo("Allow");
  await page.keyboard.press("Enter");
  await page.waitForURL(BACK);
  const { terms } = JSON.parse(sent.approved!.consent) as { terms: Terms };
  expect(terms.scopes).toEqual([`ds:r:${EMAIL}`, "api:ds-query", "api:ds-create"]);
});

test("a kind of record of the person's own is a name before signing in, and a card afterwards", async ({ page, stage }) => {
  await inLook(page, LOOKS[2]!);
  const own = "https://dive.example/a-rather-long-name-of-a-schema-that-somebody-has-put/v1/schema.json";
  const mine = request();
  const dives = { ...mine.permissions[1]!, target: `ds:${own}`, database: "dives", schema: own, own: true, title: "Dives", words: "Read your dives (a schema of your own)" };
  const known = { ...mine, permissions: [...mine.permissions, dives], terms: { ...mine.terms, scopes: [...mine.terms.scopes, `ds:r:${own}`] } };
  const sent = await open(page, stage, { ...mine, unknown: [{ schema: own, words: "is not published; sign in" }] });
  const also = page.getByRole("region", { name: "What it also asks for" });
  await expect(also).toContainText(`${own} is not published; sign in.`);
  await expect(page.getByRole("listitem").filter({ hasText: "Dives" })).toHaveCount(0);
  await holdsToWcag(page);
  await page.route(`**/consent/requests/${ID}`, (route) => route.fulfill({ contentType: "application/json", body: JSON.stringify(known) }));
  const asked = page.waitForRequest((one) => one.url().endsWith(`/consent/requests/${ID}`));
  // What was chosen before signing in stays chosen.
  await page.getByLabel("Read only").check();
  await page.getByLabel("For how long").selectOption("1 day");
  await page.getByLabel("Leave out what messages say").check();
  await signIn(page, stage);
  expect(await (await asked).headerValue("x-api-key")).toBeTruthy();
  const card = page.getByRole("listitem").filter({ hasText: "Dives" }).first();
  await expect(card).toContainText("dives");
  await expect(card).toContainText(`A schema of your own, with the name that it was given when you put it: ${own}`);
  await expect(also).toHaveCount(0);
  await expect(page.getByRole("button", { name: "Allow", exact: true })).toBeEnabled();
  await expect.poll(() => sent.previews.at(-1)?.scopes).toContain(`ds:r:${own}`);
  const chosen = sent.previews.at(-1)!;
  expect(chosen.scopes.filter((scope) => /^(ds|db):/.test(scope) && !/^(ds|db):r:/.test(scope))).toEqual([]);
  expect(chosen.expiresIn).toBe(86_400);
  expect(chosen.narrow?.some((one) => one.without?.includes("messageText"))).toBe(true);
  await holdsToWcag(page);
});
