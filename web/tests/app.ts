/** An app, as a stranger would write it: its metadata document, its request, and what it does once it is called back. */

import { createHash, randomBytes } from "node:crypto";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { APIRequestContext, Page } from "@playwright/test";
import { expect, type Stage } from "./stage.ts";

/** An app on this machine: its metadata document, and the page that it is answered on. */
export class App {
  readonly #server: Server;
  readonly url: string;

  static async start(): Promise<App> {
    const server = createServer();
    await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
    return new App(server);
  }

  private constructor(server: Server) {
    this.#server = server;
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    server.on("request", (request, response) => {
      if (request.url === "/client.json") {
        response.setHeader("content-type", "application/json");
        response.end(JSON.stringify({ client_id: this.id, client_name: "Letter Reader", redirect_uris: [this.back], grant_types: ["authorization_code", "refresh_token"], token_endpoint_auth_method: "none" }));
      } else {
        response.setHeader("content-type", "text/html");
        response.end("<!doctype html><title>Letter Reader</title><h1>Back at the app</h1>");
      }
    });
  }

  get id(): string {
    return `${this.url}/client.json`;
  }

  get back(): string {
    return `${this.url}/back?from=adyton`;
  }

  stop(): Promise<void> {
    return new Promise((stopped) => {
      this.#server.closeAllConnections();
      this.#server.close(() => stopped());
    });
  }
}

export const STATE = "a state / that + comes = back";

/** Opens the consent page as the app does; returns the verifier of the request. */
export async function ask(page: Page, stage: Stage, app: App, scopes: readonly string[]): Promise<string> {
  const verifier = randomBytes(32).toString("base64url");
  const query = new URLSearchParams({
    client_id: app.id,
    redirect_uri: app.back,
    response_type: "code",
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
    state: STATE,
    authorization_details: JSON.stringify([{ type: "adyton_terms", scopes, purpose: "Find letters that wait for an answer" }]),
  });
  await page.goto(`${stage.node}/oauth/authorize?${query}`);
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("Letter Reader asks for your data");
  return verifier;
}

export interface Tokens {
  readonly access_token: string;
  readonly refresh_token: string;
}

/** What the app does once it is called back. */
export async function redeem(page: Page, request: APIRequestContext, stage: Stage, app: App, verifier: string): Promise<Tokens> {
  await page.waitForURL(`${app.url}/back?**`);
  const answer = new URL(page.url()).searchParams;
  expect(answer.get("from")).toBe("adyton");
  expect(answer.get("state")).toBe(STATE);
  expect(answer.get("iss")).toBe(stage.node);
  const response = await request.post(`${stage.node}/oauth/token`, {
    form: { grant_type: "authorization_code", client_id: app.id, code: answer.get("code") ?? "", code_verifier: verifier, redirect_uri: app.back },
  });
  expect(response.status(), await response.text()).toBe(200);
  return (await response.json()) as Tokens;
}
