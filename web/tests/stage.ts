/** The real node that the pages come from: a sandbox with an invented person's vault, started once for a file of tests. */

import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import AxeBuilder from "@axe-core/playwright";
import { test as base, expect, type Page } from "@playwright/test";

export interface Stage {
  readonly node: string;
  readonly storage: string;
  readonly phrase: string;
  readonly session: string;
}

/** How long building the stage may take. */
const BUILD_MILLISECONDS = 15 * 60_000;

async function start(): Promise<{ stage: Stage; process: ChildProcess }> {
  const built = process.env["ADYTON_STAGE"];
  const [command, parameters] = built ? [built, []] : ["cargo", ["run", "--quiet", "--package", "adyton-sandbox", "--example", "stage"]];
  const child = spawn(command, parameters, { cwd: `${import.meta.dirname}/../..`, stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout });
  const line = await new Promise<string>((resolve, reject) => {
    lines.once("line", resolve);
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`the stage ended with ${code}`)));
  });
  return { stage: JSON.parse(line) as Stage, process: child };
}

interface Checks {
  /** What the browser complained about: violated policies, errors, requests to anybody but the node. */
  readonly complaints: string[];
}

export const test = base.extend<Checks, { stage: Stage }>({
  stage: [
    async ({}, use) => {
      const { stage, process: child } = await start();
      await use(stage);
      child.stdin?.end();
      await new Promise((ended) => child.once("exit", ended));
    },
    { scope: "worker", timeout: BUILD_MILLISECONDS },
  ],
  // Every page that a test opens is watched.
  complaints: [
    async ({ page, stage }, use) => {
      const complaints: string[] = [];
      page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
      page.on("console", (message) => {
        // A refused request is logged by the browser; that it is refused is what some tests are about.
        if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) complaints.push(message.text());
      });
      page.on("request", (request) => {
        const { origin, protocol } = new URL(request.url());
        if (protocol.startsWith("http") && origin !== stage.node && !request.isNavigationRequest()) complaints.push(`asked ${origin}`);
      });
      await use(complaints);
      expect(complaints).toEqual([]);
    },
    { auto: true },
  ],
});

export { expect };

/** WCAG 2.2 AA as far as a program can tell, in the state that the page is in. */
export async function holdsToWcag(page: Page): Promise<void> {
  const found = await new AxeBuilder({ page }).withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]).analyze();
  const words = found.violations.map((violation) => `${violation.id}: ${violation.help} (${violation.nodes.map((node) => node.target.join(" ")).join("; ")})`);
  expect(words).toEqual([]);
  // Nothing is wider than the screen.
  const [content, screen] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  expect(content).toBeLessThanOrEqual(screen ?? 0);
}

/** How a page is looked at. */
export interface Look {
  readonly name: string;
  readonly colorScheme: "light" | "dark";
  readonly width: number;
}

/** In both colour schemes, at both widths. */
export const LOOKS: readonly Look[] = [
  { name: "light", colorScheme: "light", width: 1024 },
  { name: "dark", colorScheme: "dark", width: 1024 },
  { name: "narrow-light", colorScheme: "light", width: 360 },
  { name: "narrow-dark", colorScheme: "dark", width: 360 },
];

export async function inLook(page: Page, look: Look): Promise<void> {
  await page.emulateMedia({ colorScheme: look.colorScheme, reducedMotion: "reduce" });
  await page.setViewportSize({ width: look.width, height: 800 });
}

/** Types the phrase, as a person does. */
export async function signIn(page: Page, stage: Stage): Promise<void> {
  await page.getByLabel("Seed phrase or private key").fill(stage.phrase);
  await page.getByLabel("Storage node", { exact: true }).fill(stage.storage);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
}
