/**
 * Receipts as a node writes them into `access_receipts`, and whether a row of them holds together: each has the hash of its
 * content, and names the one before it by its hash (`crates/protocol/src/receipt.rs` says the same).
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { canonicalJson, type Json } from "../canonical_json.ts";
import { bytesToHex, utf8ToBytes } from "../keys/bytes.ts";

/** An access, or several like it. */
export interface Access {
  readonly at: string;
  readonly until?: string;
  readonly grant: string;
  readonly app: string | null;
  readonly kind: string;
  readonly target: string;
  readonly times: number;
  readonly records: number;
}

export interface Receipt {
  readonly _id: string;
  readonly chain: string;
  readonly seq: number;
  readonly previous: string | null;
  readonly hash: string;
  readonly accesses: readonly Access[];
  readonly lost?: number;
}

/** The members that a receipt's hash covers. */
const COVERED = ["chain", "seq", "previous", "accesses", "lost", "_id"] as const;

/** Does a row of receipts, the newest first, hold together? The text says what does not. */
export function brokenIn(receipts: readonly Receipt[]): string | null {
  for (const [at, receipt] of receipts.entries()) {
    if (hashOf(receipt) !== receipt.hash) return `Receipt ${receipt.seq} was altered.`;
    const before = receipts[at + 1];
    // After its owner deleted the end of a chain, another begins.
    if (!before || before.chain !== receipt.chain) continue;
    if (before.seq !== receipt.seq - 1) return `Receipt ${receipt.seq - 1} is missing.`;
    if (before.hash !== receipt.previous) return `Receipt ${receipt.seq} does not follow the one before it.`;
  }
  return null;
}

function hashOf(receipt: Receipt): string | null {
  const covered: Record<string, Json> = {};
  for (const name of COVERED) {
    const member = receipt[name];
    if (member !== undefined) covered[name] = member as unknown as Json;
  }
  try {
    return bytesToHex(sha256(utf8ToBytes(canonicalJson(covered))));
  } catch {
    return null;
  }
}

export function isReceipt(record: unknown): record is Receipt {
  const { _id, chain, seq, hash, accesses } = (record ?? {}) as Record<string, unknown>;
  return [_id, chain, hash].every((text) => typeof text === "string") && typeof seq === "number" && Array.isArray(accesses);
}
