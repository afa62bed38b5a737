/** The pictures in `docs/screenshots`, made anew on demand: pictures differ from machine to machine, so no check compares them. */

import { mkdirSync } from "node:fs";
import { expect, inLook, LOOKS, signIn, test, holdsToWcag } from "./stage.ts";
import { App, ask, redeem } from "./app.ts";

const FOLDER = `${import.meta.dirname}/../../docs/screenshots`;

/** Which looks of a page are kept as a picture. All of them are held to WCAG. */
const KEPT: Readonly<Record<string, readonly string[]>> = {
  consent: ["light", "dark", "narrow-light"],
  console: ["light", "narrow-dark"],
  docs: ["light", "narrow-dark"],
};

test.skip(!process.env["ADYTON_SCREENSHOTS"], "only on demand: ADYTON_SCREENSHOTS=1");

for (const look of LOOKS) {
  test(`pictures: ${look.name}`, async ({ page, request, stage }) => {
    mkdirSync(FOLDER, { recursive: true });
    const app = await App.start();
    await inLook(page, { ...look, width: Math.min(look.width, 720) });
    const picture = async (name: string): Promise<void> => {
      await holdsToWcag(page);
      // Small files: as wide as the text, and of what differs only.
      if (KEPT[name]?.includes(look.name)) await page.screenshot({ path: `${FOLDER}/${name}-${look.name}.png`, fullPage: name !== "docs", animations: "disabled" });
    };
    const verifier = await ask(page, stage, app, ["api:ds-query", "ds:rw:social-email", "db:r:notes"]);
    await signIn(page, stage);
    await expect(page.getByText("6 records now")).toBeVisible();
    await page.getByLabel("Leave out what messages say").check();
    await page.getByLabel("Read only").check();
    await expect(page.getByText("Shall we meet at the bridge")).toHaveCount(0);
    await picture("consent");
    await page.getByRole("button", { name: "Allow", exact: true }).click();
    const { access_token: token } = await redeem(page, request, stage, app, verifier);
    await request.post(`${stage.node}/api/rest/v1/ds/query/social-email`, { headers: { authorization: `Bearer ${token}` }, data: {} });
    await page.goto(`${stage.node}/console`);
    await signIn(page, stage);
    await expect(page.getByRole("heading", { name: "Letter Reader" }).first()).toBeVisible();
    await picture("console");
    await page.goto(`${stage.node}/docs`);
    await expect(page.getByLabel("Find a request")).toBeVisible();
    await picture("docs");
    // The next pictures begin with no grant.
    expect((await request.post(`${stage.node}/api/rest/v1/auth/revoke-all`, { headers: { "x-api-key": stage.session } })).status()).toBe(200);
    await app.stop();
  });
}
