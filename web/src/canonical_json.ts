/**
 * Canonical JSON as nodes and clients write it before they sign it (`spec/protocol.md` §3.2): members sorted by their names,
 * no white space. For the values that a consent is made of: texts, whole numbers, booleans, lists, and objects whose
 * member names are words.
 */

export type Json = string | number | boolean | null | readonly Json[] | { readonly [member: string]: Json | undefined };

export function canonicalJson(value: Json): string {
  if (value === null || typeof value === "string" || typeof value === "boolean") return JSON.stringify(value);
  if (typeof value === "number") {
    if (!Number.isSafeInteger(value)) throw new RangeError("only whole numbers have one form");
    return JSON.stringify(value);
  }
  if (isList(value)) return `[${value.map(canonicalJson).join(",")}]`;
  const members = Object.entries(value).flatMap(([name, member]) => (member === undefined ? [] : [[name, member] as const]));
  // Names that read as numbers sort by another rule; none of ours does.
  if (members.some(([name]) => !/^[A-Za-z_][A-Za-z0-9_]*$/.test(name))) throw new RangeError("a member name is not a word");
  members.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonicalJson(member)}`).join(",")}}`;
}

function isList(value: Json): value is readonly Json[] {
  return Array.isArray(value);
}
