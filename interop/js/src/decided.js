// Where PouchDB-find's answer is an accident of how it is written, Adyton's is a decision: `crates/couch/src/selector/SPEC.md`
// lists each. A difference that none of these explains is a defect.

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);
const COMBINATORS = ["$and", "$or", "$nor", "$not"];

/** Calls `see(steps, value)` for every condition: the path to what it is about, and the condition itself. */
function walk(selector, see, path = []) {
  for (const [name, value] of Object.entries(selector)) {
    if (COMBINATORS.includes(name)) {
      for (const part of [value].flat()) walk(part, see, path);
    } else if (name.startsWith("$")) {
      see(path, name, value);
    } else {
      const steps = [...path, ...name.replaceAll("\\.", "\0").split(".").map((step) => step.replaceAll("\0", "."))];
      see(steps, null, value, path.length > 0);
      if (isObject(value)) walk(value, see, steps);
    }
  }
}

function some(selector, test) {
  let found = false;
  walk(selector, (...condition) => (found ||= test(...condition)));
  return found;
}

/** What JavaScript finds on the way. */
function at(doc, steps) {
  return steps.reduce((value, step) => (value === undefined || value === null ? undefined : value[step]), doc);
}

function hasSeveral(value) {
  if (Array.isArray(value)) return value.some(hasSeveral);
  return isObject(value) && (Object.keys(value).length > 1 || Object.values(value).some(hasSeveral));
}

/** Every `$and` in a selector, with the object in which it stands. */
function ands(selector, found = []) {
  if (Array.isArray(selector)) selector.forEach((part) => ands(part, found));
  else if (isObject(selector)) {
    if ("$and" in selector) found.push(selector);
    Object.values(selector).forEach((part) => ands(part, found));
  }
  return found;
}

const RULES = {
  // PouchDB takes what `$and` says for all that is said, and makes one condition of those on one field.
  "$and beside others, of nothing, or on one field": (selector) =>
    ands(selector).some((object) => {
      const fields = object.$and.flatMap(Object.keys);
      return (
        Object.keys(object).length > 1 ||
        object !== selector ||
        fields.length === 0 ||
        new Set(fields).size < fields.length ||
        fields.some((field) => COMBINATORS.includes(field))
      );
    }),
  // PouchDB stops with a TypeError where there is nothing to look into.
  "a path below nothing": (_selector, _doc, theirs) => theirs === "error TypeError",
  // PouchDB's path ends at null, false, 0 or "", and goes on into the letters of a text.
  "a path through a value that has no members": (selector, doc) =>
    some(selector, (steps) =>
      steps.some((_step, n) => {
        const value = at(doc, steps.slice(0, n));
        return n > 0 && value !== undefined && (value === null || typeof value !== "object");
      }),
    ),
  // PouchDB takes an array behind a path for an object whose members are its indexes.
  "an array behind a path": (selector) => some(selector, (_steps, operator, value) => operator === null && Array.isArray(value)),
  // PouchDB takes null behind an inner path for no condition.
  "null behind an inner path": (selector) =>
    some(selector, (_steps, operator, value, inner) => operator === null && inner && value === null),
  // PouchDB looks at the first element to know what all are, and takes operators on objects for fields.
  "$elemMatch and $allMatch on elements with members": (selector, doc) =>
    some(
      selector,
      (steps, operator, value) =>
        ["$elemMatch", "$allMatch"].includes(operator) &&
        [at(doc, steps)].flat().some((element) => typeof element === "object" || Object.keys(value).some((name) => !name.startsWith("$"))),
    ),
  // PouchDB takes an array behind `$ne` for a list of values, none of which it shall be.
  "$ne of an array": (selector) => some(selector, (_steps, operator, value) => operator === "$ne" && Array.isArray(value)),
  // PouchDB compares objects in the order in which their members were written.
  "objects of several members": (selector) => some(selector, (_steps, operator, value) => operator !== null && hasSeveral(value)),
  // PouchDB's whole numbers end at 1e21, where JavaScript begins to write exponents.
  "$mod of a number that is written with an exponent": (selector, doc) =>
    some(selector, (steps, operator) => operator === "$mod" && Math.abs(at(doc, steps)) >= 1e21),
};

export const NAMES = Object.keys(RULES);

/** Why the answers may differ, if they may. */
export function decided(selector, doc, theirs) {
  return NAMES.find((name) => RULES[name](selector, doc, theirs));
}
