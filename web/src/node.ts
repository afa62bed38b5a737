/** The node that this page came from: the only place that the page talks to. */

import type { ContextSession } from "./keys/context_session.ts";

/** The node refused, or did not answer. `message` is for people. */
export class Refused extends Error {
  /** The last part of the problem's type (RFC 9457); `unreachable` when there was no answer. */
  readonly code: string;
  readonly status: number;

  constructor(status: number, code: string, message: string) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

export interface Asking {
  /** The owner, if the route needs one. */
  readonly session?: ContextSession | null;
  readonly body?: unknown;
  readonly signal?: AbortSignal;
}

/** Asks the node, and returns the JSON that it answers. */
export async function ask(method: string, path: string, asking: Asking = {}): Promise<unknown> {
  const headers = new Headers({ accept: "application/json" });
  if (asking.session) headers.set("x-api-key", asking.session.apiKey);
  const init: RequestInit = { method, headers, cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer" };
  if (asking.body !== undefined) {
    headers.set("content-type", "application/json");
    init.body = JSON.stringify(asking.body);
  }
  if (asking.signal) init.signal = asking.signal;
  let response: Response;
  try {
    response = await fetch(path, init);
  } catch (error) {
    if (asking.signal?.aborted) throw error;
    throw new Refused(0, "unreachable", "The node does not answer. Check your connection and try again.");
  }
  const answer: unknown = await response.json().catch(() => null);
  if (response.ok) return answer;
  const problem = (answer ?? {}) as { code?: unknown; title?: unknown; detail?: unknown };
  const code = typeof problem.code === "string" ? problem.code : "unknown";
  const detail = [problem.detail, problem.title].find((text) => typeof text === "string" && text !== "");
  throw new Refused(response.status, code, typeof detail === "string" ? sentence(detail) : `The node answers with status ${response.status}.`);
}

/** The node's texts begin in lower case and end without a period. */
function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}
