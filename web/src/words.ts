/** Numbers, times and actions in words. */

import type { Actions, Rate } from "./consent/request.ts";

const HOUR = 3600;
const DAY = 24 * HOUR;

/** "30 days" */
export function duration(seconds: number): string {
  const of = (count: number, unit: string): string => `${count} ${unit}${count === 1 ? "" : "s"}`;
  if (seconds % (365 * DAY) === 0) return of(seconds / (365 * DAY), "year");
  if (seconds >= DAY && seconds % DAY === 0) return of(seconds / DAY, "day");
  if (seconds >= HOUR && seconds % HOUR === 0) return of(seconds / HOUR, "hour");
  if (seconds >= 60) return of(Math.round(seconds / 60), "minute");
  return of(seconds, "second");
}

/** "600 requests in 1 hour" */
export function rateWords(rate: Rate): string {
  return `${rate.requests.toLocaleString("en")} requests in ${duration(rate.seconds)}`;
}

/** "read and change" */
export function actionWords(actions: Actions): string {
  const words = [actions.read && "read", actions.write && "add and change", actions.delete && "delete"].filter((word) => word !== false);
  return words.length <= 1 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1) ?? ""}`;
}

/** "22 Nov 2026, 23:10" in the person's own time zone. */
export function moment(iso: string): string {
  const time = new Date(iso);
  if (Number.isNaN(time.getTime())) return iso;
  return time.toLocaleString("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
}

/** "1 record", "1,204 records" */
export function records(count: number): string {
  return `${count.toLocaleString("en")} ${count === 1 ? "record" : "records"}`;
}
