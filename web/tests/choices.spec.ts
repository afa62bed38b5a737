/** Choices become terms, and can only take away. */

import { expect, test } from "@playwright/test";
import { asAsked, goBack, isLeftOut, keep, leaveOut, narrowAlike, readOnly, termsOf, wholeBehind } from "../src/consent/choices.ts";
import type { Choice } from "../src/consent/choices.ts";
import { EMAIL, request } from "./asked.ts";

test("what was asked for and not touched is approved as it was asked", () => {
  const asked = request();
  const terms = termsOf(asked, asAsked(asked));
  expect(terms).toEqual({ ...asked.terms, expiresIn: 30 * 86_400 });
});

test("read only takes writing and deleting away, and gives back what was asked and no more", () => {
  const asked = request();
  const choices = asAsked(asked);
  readOnly(choices, true);
  expect(termsOf(asked, choices)?.scopes).toEqual([`ds:r:${EMAIL}`, "db:r:notes", "api:ds-query", "api:ds-create"]);
  readOnly(choices, false);
  expect(termsOf(asked, choices)?.scopes).toEqual(asked.terms.scopes);
});

test("a permission that is dropped takes its scopes and its narrowing along", () => {
  const asked = request();
  const choices = asAsked(asked);
  choices.permissions[0]!.without.add("messageText");
  choices.permissions[0]!.kept = false;
  const terms = termsOf(asked, choices);
  expect(terms?.scopes).toEqual(["db:r:notes", "api:ds-query", "api:ds-create"]);
  expect(terms?.narrow).toBeUndefined();
});

test("with every permission dropped there is nothing to approve", () => {
  const asked = request();
  const choices = asAsked(asked);
  for (const choice of choices.permissions) choice.kept = false;
  expect(termsOf(asked, choices)).toBeNull();
});

test("fields are left out by kind or one by one", () => {
  const asked = request();
  const choices = asAsked(asked);
  expect(isLeftOut(choices, "body")).toBe(false);
  leaveOut(choices, "body", true);
  expect(isLeftOut(choices, "body")).toBe(true);
  expect(termsOf(asked, choices)?.narrow).toEqual([{ target: `ds:${EMAIL}`, without: ["messageHTML", "messageText"] }]);
  choices.permissions[0]!.without.delete("messageHTML");
  expect(isLeftOut(choices, "body")).toBe("some");
});

test("a window of whole days is until the first moment after its last day", () => {
  const asked = request();
  const choices = asAsked(asked);
  choices.permissions[0]!.from = "2026-01-01";
  choices.permissions[0]!.until = "2026-01-31";
  expect(termsOf(asked, choices)?.narrow).toEqual([{ target: `ds:${EMAIL}`, from: "2026-01-01T00:00:00Z", until: "2026-02-01T00:00:00Z" }]);
});

test("a window that the app itself asked for stays to the second", () => {
  const narrow = [{ target: `ds:${EMAIL}`, from: "2026-01-01T12:34:56Z", until: "2026-02-03T04:05:06Z", without: ["messageHTML"] }];
  const asked = request({ narrow });
  const choices = asAsked(asked);
  expect(termsOf(asked, choices)?.narrow).toEqual(narrow);
});

test("going back a month touches only what has a time", () => {
  const asked = request();
  const choices = asAsked(asked);
  goBack(choices, 30, new Date("2026-03-31T10:00:00Z"));
  expect(choices.permissions.map((choice) => choice.from)).toEqual(["2026-03-01", ""]);
});

/** Mail, and everything in its database. */
function withWhole() {
  const asked = request();
  const whole = { target: "db:social_email", database: "social_email", title: "Everything in the database social_email", words: "", actions: { read: true, write: false, delete: false }, fields: [] };
  const both = { ...asked, permissions: [...asked.permissions, whole] };
  return asAsked(both);
}

test("a limit beside its whole database holds nothing back, until that is limited as much or left out", () => {
  const limits: ((choices: ReturnType<typeof withWhole>) => void)[] = [
    (choices) => (choices.permissions[0]!.from = "2026-01-01"),
    (choices) => (choices.permissions[0]!.until = "2026-01-31"),
    (choices) => choices.permissions[0]!.without.add("to.email"),
  ];
  for (const limit of limits) {
    const choices = withWhole();
    const [mail, notes, whole] = choices.permissions as [Choice, Choice, Choice];
    expect(wholeBehind(choices, mail)).toBeNull();
    limit(choices);
    expect(wholeBehind(choices, mail)).toBe(whole);
    expect(wholeBehind(choices, notes)).toBeNull();
    narrowAlike(whole, mail);
    expect(wholeBehind(choices, mail)).toBeNull();
    expect([whole.from, whole.until, [...whole.without]]).toEqual([mail.from, mail.until, [...mail.without]]);
  }
  const choices = withWhole();
  const [mail, , whole] = choices.permissions;
  mail!.without.add("to.email");
  whole!.without.add("to");
  expect(wholeBehind(choices, mail!)).toBeNull();
  whole!.without.clear();
  whole!.kept = false;
  expect(wholeBehind(choices, mail!)).toBeNull();
});

test("what the whole database was limited to stays as narrow as it was", () => {
  const choices = withWhole();
  const [mail, , whole] = choices.permissions;
  Object.assign(mail!, { from: "2026-01-01", until: "2026-06-30" });
  Object.assign(whole!, { from: "2026-02-01", until: "2026-12-31" });
  narrowAlike(whole!, mail!);
  expect([whole!.from, whole!.until]).toEqual(["2026-02-01", "2026-06-30"]);
});

test("what is asked for once more keeps what was chosen, also for what is new", () => {
  const before = request();
  const chosen = asAsked(before);
  readOnly(chosen, true);
  leaveOut(chosen, "body", true);
  goBack(chosen, 7, new Date("2026-06-08T12:00:00Z"));
  chosen.permissions[1]!.kept = false;
  chosen.api.delete("api:ds-create");
  chosen.expiresIn = 86_400;
  chosen.rate = { requests: 60, seconds: 3600 };
  const [mail] = before.permissions;
  const letters = { ...mail!, target: "ds:https://own.example/letter/v1/schema.json", schema: "https://own.example/letter/v1/schema.json", own: true, title: "Letters" };
  const after = { ...before, permissions: [...before.permissions, letters], terms: { ...before.terms, scopes: [...before.terms.scopes, `ds:rwd:${letters.schema}`] } };
  const kept = asAsked(after);
  keep(kept, chosen, before);
  const held = { from: "2026-06-01T00:00:00Z", without: ["messageHTML", "messageText"] };
  expect(termsOf(after, kept)).toEqual({
    scopes: [`ds:r:${EMAIL}`, `ds:r:${letters.schema}`, "api:ds-query"],
    narrow: [{ target: `ds:${EMAIL}`, ...held }, { target: letters.target, ...held }],
    purpose: before.purpose,
    expiresIn: 86_400,
    rate: { requests: 60, seconds: 3600 },
  });
});
