/** The console by itself: signing in and the node are real; grants and receipts are given by the test, so that every state can be seen. */

import type { Page } from "@playwright/test";
import type { Receipt } from "../src/console/chain.ts";
import { receipt } from "./receipt.ts";
import { expect, holdsToWcag, inLook, LOOKS, signIn, test, type Stage } from "./stage.ts";

const GRANT = {
  _id: "1f6f2d3e-0000-4000-8000-000000000001",
  client: { id: "https://reader.example/client.json", name: "Letter Reader <i>", verifiedBy: "https-document" },
  permissions: [{ target: "ds:https://common.schemas.verida.io/social/email/v0.1.0/schema.json", database: "social_email", title: "Emails", words: "Read your emails" }],
  terms: {
    scopes: ["ds:r:https://common.schemas.verida.io/social/email/v0.1.0/schema.json"],
    narrow: [{ target: "ds:https://common.schemas.verida.io/social/email/v0.1.0/schema.json", from: "2026-01-01T00:00:00Z", without: ["messageText"] }],
    purpose: "Find letters",
    rate: { requests: 60, seconds: 3600 },
  },
  insertedAt: "2026-11-22T10:00:00Z",
  expiresAt: "2026-12-22T10:00:00Z",
  lastUsedAt: "2026-11-22T11:00:00Z",
};

async function open(page: Page, stage: Stage): Promise<{ grants: (typeof GRANT)[]; ended: string[]; receipts: Receipt[] }> {
  const state = { grants: [GRANT], ended: [] as string[], receipts: [receipt(1, receipt(0, null).hash), receipt(0, null)] };
  await page.route("**/api/rest/v1/auth/grants", (route) => route.fulfill({ json: { grants: state.grants } }));
  await page.route("**/api/rest/v1/auth/grants/*", (route) => {
    state.ended.push(`${route.request().method()} ${new URL(route.request().url()).pathname.split("/").at(-1)}`);
    state.grants = [];
    return route.fulfill({ json: { revoked: true } });
  });
  await page.route("**/api/rest/v1/auth/revoke-all", (route) => {
    state.ended.push("all");
    state.grants = [];
    return route.fulfill({ json: { revoked: 1 } });
  });
  await page.route("**/api/rest/v1/db/query/access_receipts", (route) =>
    route.fulfill({ json: { items: state.receipts } }),
  );
  await page.goto(`${stage.node}/console`);
  return state;
}

for (const look of LOOKS) {
  test(`the console holds to WCAG 2.2 AA in every state: ${look.name}`, async ({ page, stage }) => {
    await inLook(page, look);
    await open(page, stage);
    await holdsToWcag(page);
    await signIn(page, stage);
    await expect(page.getByRole("heading", { name: "Letter Reader <i>" })).toBeVisible();
    await expect(page.getByRole("cell", { name: "3 records" }).first()).toBeVisible();
    await holdsToWcag(page);
    await page.getByRole("button", { name: "Revoke all and evict" }).click();
    await holdsToWcag(page);
    await page.getByRole("button", { name: "Yes: end every app’s access now" }).click();
    await expect(page.getByText("No app may see anything.")).toBeVisible();
    await holdsToWcag(page);
  });
}

test("a grant is shown with how it is narrowed, and ended by its own button", async ({ page, stage }) => {
  const state = await open(page, stage);
  await signIn(page, stage);
  const grant = page.getByRole("listitem").filter({ has: page.getByRole("heading", { name: "Letter Reader <i>" }) });
  await expect(grant).toContainText("Read your emails");
  await expect(grant).toContainText("But of Emails only those");
  await expect(grant).toContainText("without messageText");
  await expect(grant).toContainText("60 requests in 1 hour");
  await page.getByRole("button", { name: "End access of Letter Reader <i>" }).click();
  await expect(page.getByText("No app may see anything.")).toBeVisible();
  expect(state.ended).toEqual([`DELETE ${GRANT._id}`]);
});

test("ending everything takes a second press, and looking away takes the first one back", async ({ page, stage }) => {
  const state = await open(page, stage);
  await signIn(page, stage);
  const press = page.getByRole("button", { name: /Revoke all|Yes:/ });
  await press.click();
  await expect(press).toHaveText("Yes: end every app’s access now");
  await page.keyboard.press("Tab");
  await expect(press).toHaveText("Revoke all and evict");
  expect(state.ended).toEqual([]);
  await press.click();
  await press.click();
  await expect(page.getByText("Done. No app has access")).toBeVisible();
  expect(state.ended).toEqual(["all"]);
});

test("receipts that do not hold together are told as such", async ({ page, stage }) => {
  const state = await open(page, stage);
  await signIn(page, stage);
  await expect(page.getByText("Nothing is missing between these receipts.")).toBeVisible();
  state.receipts = [receipt(2, "00".repeat(32)), receipt(0, null)];
  await page.reload();
  await signIn(page, stage);
  await expect(page.getByText("These receipts do not hold together. Receipt 1 is missing.")).toBeVisible();
  await holdsToWcag(page);
});

test("a refusal of the node is shown in its words", async ({ page, stage }) => {
  await open(page, stage);
  await page.route("**/api/rest/v1/auth/grants/*", (route) => route.fulfill({ status: 503, json: { code: "overloaded", detail: "too much at once" } }));
  await signIn(page, stage);
  await page.getByRole("button", { name: "End access of Letter Reader <i>" }).click();
  await expect(page.getByText("Too much at once.")).toBeVisible();
  await holdsToWcag(page);
});
