/** Receipts as a node makes them, for tests of the page alone. */

import { createHash } from "node:crypto";
import type { Receipt } from "../src/console/chain.ts";

export function receipt(seq: number, previous: string | null, chain = "a"): Receipt {
  const _id = `receipt-${chain}-${String(seq).padStart(10, "0")}`;
  const accesses = [{ app: "https://reader.example/client.json", at: "2026-11-22T11:00:00Z", digest: "ab", grant: "g", kind: "query", records: 3, target: "social_email", times: 1 }];
  // Members in the order of their names, without spaces: canonical, written by hand.
  const covered = JSON.stringify({ _id, accesses, chain, previous, seq });
  return { _id, accesses, chain, previous, seq, hash: createHash("sha256").update(covered).digest("hex") };
}
