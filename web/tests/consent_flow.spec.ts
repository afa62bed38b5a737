/** The whole way, with nothing made up: an app asks, a person narrows and allows, the app gets exactly what the page showed, and the person ends it. */

import type { APIRequestContext, APIResponse } from "@playwright/test";
import { App, ask, redeem, STATE } from "./app.ts";
import { EMAIL } from "./asked.ts";
import { expect, holdsToWcag, signIn, test as base, type Stage } from "./stage.ts";

const test = base.extend<{ app: App }>({
  app: async ({}, use) => {
    const app = await App.start();
    await use(app);
    await app.stop();
  },
});

function query(request: APIRequestContext, stage: Stage, token: string, path: string, data: unknown): Promise<APIResponse> {
  return request.post(`${stage.node}/api/rest/v1/${path}`, { headers: { authorization: `Bearer ${token}` }, data });
}

test("an app gets exactly what the page showed, and nothing more", async ({ page, request, stage, app }) => {
  const verifier = await ask(page, stage, app, ["api:ds-query", "api:ds-create", "api:db-query", "ds:rw:social-email", "db:r:notes"]);
  await expect(page.getByRole("region", { name: "Who asks, and why" })).toContainText("Nobody checked this name");
  await expect(page.getByRole("region", { name: "Who asks, and why" })).toContainText(/SIMULATED/i);
  await signIn(page, stage);
  await expect(page.getByText("6 records now")).toBeVisible();

  await page.getByRole("checkbox", { name: "Allow Everything in the database notes" }).uncheck();
  await page.getByLabel("Read only").check();
  await page.getByLabel("Leave out what messages say").check();
  await page.getByText("Choose what it gets").first().click();
  await page.getByLabel("From", { exact: true }).first().fill("2026-01-01");
  await page.getByLabel("For how long").selectOption("1 day");
  await expect(page.getByText("4 records now")).toBeVisible();
  await expect(page.getByText("Shall we meet at the bridge")).toHaveCount(0);
  const shown = await page.locator("pre").allTextContents();
  await page.getByRole("button", { name: "Allow", exact: true }).click();

  const { access_token: token } = await redeem(page, request, stage, app, verifier);
  const answer = await query(request, stage, token, "ds/query/social-email", { query: {}, options: { sort: [{ sentAt: "desc" }], limit: 3 } });
  expect(answer.status(), await answer.text()).toBe(200);
  const got = (await answer.json()) as { items: unknown[]; total: number; dbRows: number };
  expect(got.total).toBe(4);
  expect(got.dbRows).toBe(4);
  expect(got.items).toEqual(shown.map((text) => JSON.parse(text) as unknown));
  expect(JSON.stringify(got)).not.toContain("bridge at six");

  // What was taken away is not there: fields, older letters, writing, the other database.
  const refused = async (path: string, data: unknown): Promise<[number, unknown]> => {
    const response = await query(request, stage, token, path, data);
    return [response.status(), ((await response.json()) as { code?: unknown }).code];
  };
  expect(await refused("ds/query/social-email", { query: { messageText: { $regex: "bridge" } } })).toEqual([403, "field-not-granted"]);
  expect(await refused("ds/social-email", { record: { name: "forged" } })).toEqual([403, "scope-missing"]);
  expect(await refused("db/query/notes", { query: {} })).toEqual([403, "scope-missing"]);
  const older = await query(request, stage, token, "ds/query/social-email", { query: { sentAt: { $lt: "2026-01-01" } } });
  expect(((await older.json()) as { total: number }).total).toBe(0);
});

test("what was denied gives the app a refusal and no code", async ({ page, stage, app }) => {
  await ask(page, stage, app, ["api:ds-query", "ds:r:social-email"]);
  await page.getByRole("button", { name: "Deny" }).click();
  await page.waitForURL(`${app.url}/back?**`);
  const answer = new URL(page.url()).searchParams;
  expect([answer.get("error"), answer.get("state"), answer.get("code")]).toEqual(["access_denied", STATE, null]);
  // The request is over: its page says so.
  await page.goBack();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("This request is over");
});

test("terms that were not asked for cannot be approved, whatever the page sends", async ({ page, stage, app }) => {
  await ask(page, stage, app, ["api:ds-query", "ds:r:social-email"]);
  await signIn(page, stage);
  await expect(page.getByText("6 records now")).toBeVisible();
  await page.route("**/consent/requests/*/preview", (route) => route.continue({ postData: JSON.stringify({ terms: { scopes: [`ds:rwd:${EMAIL}`], purpose: "Find letters that wait for an answer" } }) }));
  await page.getByLabel("For how long").selectOption("1 hour");
  await expect(page.getByText("more than what the app has asked for")).toBeVisible();
});

test("a limit that a whole database makes void can be meant in two ways, with one click each", async ({ page, request, stage, app }) => {
  const verifier = await ask(page, stage, app, ["api:ds-query", "api:db-query", "ds:r:social-email", "db:r:social_email"]);
  await signIn(page, stage);
  await expect(page.getByText("6 records now")).toHaveCount(2);
  await page.getByText("Choose what it gets").first().click();
  await page.getByLabel("From", { exact: true }).first().fill("2026-01-01");
  await expect(page.getByText("This limit holds nothing back")).toBeVisible();
  await expect(page.getByRole("button", { name: "Allow", exact: true })).toBeDisabled();
  await holdsToWcag(page);
  await page.getByRole("button", { name: "Limit the whole database, too" }).click();
  await expect(page.getByText("This limit holds nothing back")).toHaveCount(0);
  await expect(page.getByRole("button", { name: "Allow", exact: true })).toBeEnabled();
  // Another limit, and the other way.
  await page.getByLabel("From", { exact: true }).first().fill("2026-06-01");
  await page.getByRole("button", { name: "Leave the whole database out" }).click();
  await expect(page.getByRole("checkbox", { name: "Allow Everything in the database social_email" })).not.toBeChecked();
  await expect(page.getByText("3 records now")).toBeVisible();
  await page.getByRole("button", { name: "Allow", exact: true }).click();
  const { access_token: token } = await redeem(page, request, stage, app, verifier);
  const mail = await query(request, stage, token, "ds/query/social-email", { query: {} });
  expect(((await mail.json()) as { total: number }).total).toBe(3);
  expect((await query(request, stage, token, "db/query/social_email", { query: {} })).status()).toBe(403);
});

test("the console shows the grant, and ends it within a second", async ({ page, request, stage, app }) => {
  const verifier = await ask(page, stage, app, ["api:ds-query", "ds:r:social-email"]);
  await signIn(page, stage);
  await expect(page.getByText("6 records now")).toBeVisible();
  await page.getByRole("button", { name: "Allow", exact: true }).click();
  const { access_token: token } = await redeem(page, request, stage, app, verifier);
  const alive = async (): Promise<number> => (await query(request, stage, token, "ds/query/social-email", { query: {} })).status();
  expect(await alive()).toBe(200);

  await page.goto(`${stage.node}/console`);
  await signIn(page, stage);
  const grant = page.getByRole("listitem").filter({ has: page.getByRole("heading", { name: "Letter Reader" }) }).first();
  await expect(grant).toContainText("Find letters that wait for an answer");
  await expect(grant).not.toContainText("never");
  const ended = page.waitForResponse((response) => response.request().method() === "DELETE");
  await grant.getByRole("button", { name: "End access of Letter Reader" }).click();
  await ended;
  const began = Date.now();
  await expect.poll(alive, { intervals: [50] }).toBe(401);
  expect(Date.now() - began).toBeLessThan(1000);
});

test("what an app did is in the console: who, when, what and how many, and the receipts hold together", async ({ page, request, stage, app }) => {
  const verifier = await ask(page, stage, app, ["api:ds-query", "ds:r:social-email"]);
  await signIn(page, stage);
  await expect(page.getByText("6 records now")).toBeVisible();
  await page.getByRole("button", { name: "Allow", exact: true }).click();
  const { access_token: token } = await redeem(page, request, stage, app, verifier);
  expect((await query(request, stage, token, "ds/query/social-email", { query: {}, options: { limit: 5 } })).status()).toBe(200);
  // Receipts are written in batches; the page is looked at until this one is there.
  await expect(async () => {
    await page.goto(`${stage.node}/console`);
    await signIn(page, stage);
    const row = page.getByRole("row").filter({ hasText: app.id }).filter({ hasText: "query" });
    await expect(row.first()).toContainText("5 records", { timeout: 2000 });
  }).toPass({ timeout: 25_000 });
  await expect(page.getByText("Nothing is missing between these receipts.")).toBeVisible();
});

test("one button ends every grant and forgets the data, within a second", async ({ page, request, stage, app }) => {
  const tokens: string[] = [];
  for (let round = 0; round < 2; round += 1) {
    const verifier = await ask(page, stage, app, ["api:ds-query", "ds:r:social-email"]);
    await signIn(page, stage);
    await expect(page.getByText("6 records now")).toBeVisible();
    await page.getByRole("button", { name: "Allow", exact: true }).click();
    tokens.push((await redeem(page, request, stage, app, verifier)).access_token);
  }
  const statuses = (): Promise<number[]> => Promise.all(tokens.map(async (token) => (await query(request, stage, token, "ds/query/social-email", { query: {} })).status()));
  expect(await statuses()).toEqual([200, 200]);
  await page.goto(`${stage.node}/console`);
  await signIn(page, stage);
  const press = page.getByRole("button", { name: /Revoke all|Yes:/ });
  await press.click();
  const ended = page.waitForResponse("**/api/rest/v1/auth/revoke-all");
  await press.click();
  await ended;
  const began = Date.now();
  await expect.poll(statuses, { intervals: [50] }).toEqual([401, 401]);
  expect(Date.now() - began).toBeLessThan(1000);
  await expect(page.getByText("Done. No app has access")).toBeVisible();
  await expect(page.getByText("No app may see anything.")).toBeVisible();
});
