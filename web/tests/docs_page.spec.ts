/** The API browser over the node's own description. */

import { expect, holdsToWcag, inLook, LOOKS, test } from "./stage.ts";

for (const look of LOOKS) {
  test(`the API browser holds to WCAG 2.2 AA: ${look.name}`, async ({ page, stage }) => {
    await inLook(page, look);
    await page.goto(`${stage.node}/docs`);
    await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
    await holdsToWcag(page);
    await page.getByLabel("Find a request").fill("livez");
    const entry = page.locator("details.card:visible");
    await expect(entry).toHaveCount(1);
    await entry.locator("summary").first().click();
    await page.getByText("Try it").click();
    await page.getByRole("button", { name: "Send" }).click();
    await expect(page.getByText('"status": "ok"')).toBeVisible();
    await holdsToWcag(page);
  });
}

test("every request of the description can be found, and a refusal is shown as it is", async ({ page, stage }) => {
  await page.goto(`${stage.node}/docs`);
  await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  const described = (await (await page.request.get(`${stage.node}/openapi.json`)).json()) as { paths: Record<string, Record<string, unknown>> };
  const methods = ["get", "post", "put", "patch", "delete", "head"];
  const requests = Object.values(described.paths).flatMap((item) => Object.keys(item).filter((name) => methods.includes(name)));
  expect(requests.length).toBeGreaterThan(20);
  await expect(page.locator("details.card")).toHaveCount(requests.length);
  await page.getByLabel("Find a request").fill("get /api/rest/v1/auth/me");
  await page.locator("details.card:visible summary").first().click();
  await page.locator("details.card:visible").getByText("Try it").click();
  await page.getByLabel("Access token, to try requests").fill("adyt_nonsense");
  await page.getByRole("button", { name: "Send" }).click();
  await expect(page.getByText("credentials-invalid").first()).toBeVisible();
});

test("without its description the API browser says so", async ({ page, stage }) => {
  await page.route("**/openapi.json", (route) => route.fulfill({ status: 503, json: {} }));
  await page.goto(`${stage.node}/docs`);
  await expect(page.getByRole("alert")).toContainText("does not answer with its description");
  await holdsToWcag(page);
});
