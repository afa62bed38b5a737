/** Receipts hold together, or it is said what does not. */

import { expect, test } from "@playwright/test";
import { brokenIn, type Receipt } from "../src/console/chain.ts";
import { receipt } from "./receipt.ts";

function chain(): Receipt[] {
  const first = receipt(0, null);
  const second = receipt(1, first.hash);
  return [receipt(2, second.hash), second, first];
}

test("receipts that follow one another hold together, and so does a later part of them", () => {
  expect(brokenIn(chain())).toBeNull();
  expect(brokenIn(chain().slice(0, 2))).toBeNull();
  expect(brokenIn([])).toBeNull();
});

test("a receipt that was altered, taken away or exchanged is told", () => {
  const [third, second, first] = chain() as [Receipt, Receipt, Receipt];
  const altered = { ...second, accesses: second.accesses.map((access) => ({ ...access, records: 0 })) };
  expect(brokenIn([third, altered, first])).toBe("Receipt 1 was altered.");
  expect(brokenIn([third, { ...second, lost: 3 }, first])).toBe("Receipt 1 was altered.");
  expect(brokenIn([third, first])).toBe("Receipt 1 is missing.");
  expect(brokenIn([third, receipt(1, "00".repeat(32)), first])).toBe("Receipt 2 does not follow the one before it.");
});

test("another chain begins where its owner deleted the end of one", () => {
  expect(brokenIn([receipt(0, null, "b"), ...chain()])).toBeNull();
});
