/**
 * What the person chose, and the terms that follow from it. Pure: the page shows choices, the node judges terms. A choice can
 * only take something away from the request.
 */

import type { ConsentRequest, Narrowing, Permission, Rate, Sensitivity, Terms } from "./request.ts";

/** The choices about one permission. */
export interface Choice {
  readonly permission: Permission;
  kept: boolean;
  read: boolean;
  write: boolean;
  delete: boolean;
  /** Records from this day on; empty: no bound. */
  from: string;
  /** Records up to and with this day; empty: no bound. */
  until: string;
  readonly without: Set<string>;
}

export interface Choices {
  readonly permissions: readonly Choice[];
  /** The capabilities of the API that stay. */
  readonly api: Set<string>;
  /** Seconds. */
  expiresIn: number;
  rate: Rate | null;
}

const DAY = 86_400;
/** Offered lives of a grant, in seconds. */
export const LIVES: readonly number[] = [3600, DAY, 7 * DAY, 30 * DAY, 90 * DAY, 365 * DAY];
/** What is chosen when the app named no life. */
const USUAL_LIFE = 30 * DAY;
/** Offered rates. */
export const RATES: readonly Rate[] = [
  { requests: 60, seconds: 3600 },
  { requests: 600, seconds: 3600 },
  { requests: 6000, seconds: 3600 },
];

/** Everything that was asked for. */
export function asAsked(request: ConsentRequest): Choices {
  const narrowed = new Map((request.terms.narrow ?? []).map((narrowing) => [narrowing.target, narrowing]));
  return {
    permissions: request.permissions.map((permission) => {
      const narrowing = narrowed.get(permission.target);
      return {
        permission,
        kept: true,
        ...permission.actions,
        from: dayOf(narrowing?.from),
        until: lastDayBefore(narrowing?.until),
        without: new Set(narrowing?.without ?? []),
      };
    }),
    api: new Set(request.api.map((capability) => capability.scope)),
    expiresIn: Math.min(request.terms.expiresIn ?? USUAL_LIFE, USUAL_LIFE),
    rate: request.terms.rate ?? null,
  };
}

/** Takes over what was chosen before: nothing that was held back comes back, and what was chosen for all holds for what is new. */
export function keep(choices: Choices, before: Choices, asked: ConsentRequest): void {
  const changing = before.permissions.filter(({ permission: { actions } }) => actions.write || actions.delete);
  if (changing.length > 0 && changing.every((choice) => !choice.write && !choice.delete)) readOnly(choices, true);
  for (const kind of ["body", "source"] as const) if (isLeftOut(before, kind) === true) leaveOut(choices, kind, true);
  const dated = before.permissions.filter((choice) => choice.permission.timeField).map(({ from }) => from);
  const earliest = dated.sort()[0] ?? "";
  for (const choice of choices.permissions) {
    if (choice.permission.timeField && choice.from < earliest) choice.from = earliest;
    const made = before.permissions.find((one) => one.permission.target === choice.permission.target);
    if (!made) continue;
    Object.assign(choice, { kept: made.kept, read: made.read, write: made.write, delete: made.delete, from: made.from, until: made.until });
    for (const field of made.without) choice.without.add(field);
  }
  for (const { scope } of asked.api) if (!before.api.has(scope)) choices.api.delete(scope);
  choices.expiresIn = before.expiresIn;
  choices.rate = before.rate;
}

/** The terms. `null` when nothing is left that could be allowed. */
export function termsOf(request: ConsentRequest, choices: Choices): Terms | null {
  const left = choices.permissions.filter((choice) => choice.kept && (choice.read || choice.write || choice.delete));
  const api = request.terms.scopes.filter((scope) => choices.api.has(scope));
  if (left.length === 0 && api.length === 0) return null;
  if (left.length === 0 && request.permissions.length > 0) return null;
  const narrow = left.map((choice) => narrowingOf(request, choice)).filter((narrowing) => narrowing !== null);
  return {
    scopes: [...left.map(scopeOf), ...api],
    ...(narrow.length > 0 ? { narrow } : {}),
    ...(request.purpose ? { purpose: request.purpose } : {}),
    expiresIn: choices.expiresIn,
    ...(choices.rate ? { rate: choices.rate } : {}),
  };
}

function scopeOf(choice: Choice): string {
  const letters = `${choice.read ? "r" : ""}${choice.write ? "w" : ""}${choice.delete ? "d" : ""}`;
  const [kind, target] = split(choice.permission.target);
  return `${kind}:${letters}:${target}`;
}

function split(target: string): [string, string] {
  const at = target.indexOf(":");
  return [target.slice(0, at), target.slice(at + 1)];
}

function narrowingOf(request: ConsentRequest, choice: Choice): Narrowing | null {
  const target = choice.permission.target;
  const asked = (request.terms.narrow ?? []).find((narrowing) => narrowing.target === target);
  // A bound that was not touched stays to the second as it was asked.
  const from = choice.from === dayOf(asked?.from) ? asked?.from : startOf(choice.from);
  const until = choice.until === lastDayBefore(asked?.until) ? asked?.until : startOf(nextDay(choice.until));
  const without = [...choice.without].sort();
  if (!from && !until && without.length === 0) return null;
  return { target, ...(from ? { from } : {}), ...(until ? { until } : {}), ...(without.length > 0 ? { without } : {}) };
}

/** Reading alone, for all permissions. Writing and deleting come back as they were asked. */
export function readOnly(choices: Choices, on: boolean): void {
  for (const choice of choices.permissions) {
    choice.write = !on && choice.permission.actions.write;
    choice.delete = !on && choice.permission.actions.delete;
  }
}

/** Leaves out all fields of a kind, or takes them back in. */
export function leaveOut(choices: Choices, kind: Sensitivity, on: boolean): void {
  for (const choice of choices.permissions) {
    for (const field of choice.permission.fields) {
      if (field.sensitive !== kind) continue;
      if (on) choice.without.add(field.path);
      else choice.without.delete(field.path);
    }
  }
}

/** Is every field of this kind left out? `null` when there is none. */
export function isLeftOut(choices: Choices, kind: Sensitivity): boolean | "some" | null {
  const fields = choices.permissions.flatMap((choice) =>
    choice.permission.fields.filter((field) => field.sensitive === kind).map((field) => choice.without.has(field.path)),
  );
  if (fields.length === 0) return null;
  return fields.every(Boolean) ? true : fields.some(Boolean) ? "some" : false;
}

/** Only the last `days`, for all that have a time; `null`: as far back as it goes. */
export function goBack(choices: Choices, days: number | null, now: Date): void {
  for (const choice of choices.permissions) {
    if (!choice.permission.timeField) continue;
    choice.from = days === null ? "" : new Date(now.getTime() - days * DAY * 1000).toISOString().slice(0, 10);
  }
}

const startOf = (day: string): string | undefined => (day === "" ? undefined : `${day}T00:00:00Z`);
const dayOf = (time: string | undefined): string => time?.slice(0, 10) ?? "";

/** The last day before a time: `until` is the first moment that is outside. */
function lastDayBefore(time: string | undefined): string {
  return time === undefined ? "" : new Date(Date.parse(time) - 1).toISOString().slice(0, 10);
}

function nextDay(day: string): string {
  return day === "" ? "" : new Date(Date.parse(`${day}T00:00:00Z`) + DAY * 1000).toISOString().slice(0, 10);
}

/**
 * The permission for a whole database, if it makes the narrowing of this one void: what is held back here would be open there.
 * The node refuses such terms.
 */
export function wholeBehind(choices: Choices, choice: Choice): Choice | null {
  if (!isGiven(choice) || !choice.permission.schema) return null;
  const whole = choices.permissions.find((other) => isGiven(other) && !other.permission.schema && other.permission.database === choice.permission.database);
  return whole && !isWithin(whole, choice) ? whole : null;
}

/** Narrows the whole database at least as much. */
export function narrowAlike(whole: Choice, choice: Choice): void {
  if (whole.from < choice.from) whole.from = choice.from;
  if (choice.until && (!whole.until || whole.until > choice.until)) whole.until = choice.until;
  for (const field of choice.without) whole.without.add(field);
}

function isGiven(choice: Choice): boolean {
  return choice.kept && (choice.read || choice.write || choice.delete);
}

/** Whether `choice` leaves nothing that `other` holds back. */
function isWithin(choice: Choice, other: Choice): boolean {
  const from = !other.from || choice.from >= other.from;
  const until = !other.until || (choice.until !== "" && choice.until <= other.until);
  const isOut = (field: string): boolean => [...choice.without].some((out) => field === out || field.startsWith(`${out}.`));
  return from && until && [...other.without].every(isOut);
}
