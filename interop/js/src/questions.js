// Random documents, selectors and orders, of all that a Mango selector can say.

const TEXTS = ["", "a", "b", "ab", "é", "\uffff", "😀", "a\"b", "a.b", "10", "2026-01-02"];
const NUMBERS = [0, 1, 2, 3, -1, 1.5, -0, 1e21, 0.1];
const FIELDS = ["a", "b", "c", "c.d", "c.e", "c.d.0", "b.1", "b.0.d", "a\\.b", "_id", "missing", "missing.x"];
const PATTERNS = ["a", "^a", "b$", "^$", "[ab]+", ".", "(a|é)", "\\d", "^a.b$", "x"];

export function scalar(dice) {
  switch (dice.below(8)) {
    case 0:
      return null;
    case 1:
      return dice.oneIn(2);
    case 2:
    case 3:
    case 4:
      return dice.pick(NUMBERS);
    default:
      return dice.pick(TEXTS);
  }
}

export function value(dice, depth = 2) {
  if (depth === 0 || dice.below(10) < 6) return scalar(dice);
  if (dice.oneIn(2)) return dice.list(3, () => value(dice, depth - 1));
  const object = {};
  const names = dice.oneIn(4) ? ["f", "e", "d"] : ["d", "e", "f"];
  for (const name of names) if (dice.oneIn(2)) object[name] = value(dice, depth - 1);
  return object;
}

export function document(dice, id) {
  const made = { _id: id };
  for (const name of ["a", "b", "c", "a.b"]) if (!dice.oneIn(4)) made[name] = value(dice);
  return made;
}

function ofElements(dice, depth) {
  const demand = test(dice, depth);
  const isDemand = typeof demand === "object" && demand !== null && !Array.isArray(demand);
  return isDemand && dice.oneIn(2) ? demand : { [dice.pick(["d", "e"])]: demand };
}

function test(dice, depth) {
  const operand = () => value(dice, 1);
  switch (dice.below(18)) {
    case 0:
    case 1:
    case 2:
    case 3:
      return { [dice.pick(["$eq", "$ne", "$lt", "$lte", "$gt", "$gte"])]: operand() };
    case 4:
      return { $gte: scalar(dice), $lt: scalar(dice) };
    case 5:
    case 6:
      return { [dice.pick(["$in", "$nin", "$all"])]: dice.list(3, operand) };
    case 7:
      return { $exists: dice.oneIn(2) };
    case 8:
      return { $type: dice.pick(["null", "boolean", "number", "string", "array", "object"]) };
    case 9:
      return { $size: dice.below(3) };
    case 10:
      return { $mod: [dice.pick([1, 2, 3, -2]), dice.below(3)] };
    case 11:
      return { $regex: dice.pick(PATTERNS) };
    case 12:
      return { [dice.pick(["$elemMatch", "$allMatch"])]: ofElements(dice, depth) };
    case 13:
      return dice.oneIn(2) ? { [dice.pick(["d", "e", "0"])]: test(dice, depth) } : { d: scalar(dice) };
    case 14:
      return { $ne: scalar(dice), $gt: scalar(dice) };
    default: {
      const wanted = value(dice, 1);
      return wanted;
    }
  }
}

export function selector(dice, depth = 2) {
  const made = {};
  const count = dice.below(3) + (depth < 2 ? 1 : 0);
  for (let n = 0; n < count; n++) made[dice.pick(FIELDS)] = test(dice, depth);
  if (depth > 0 && dice.oneIn(3)) {
    const operator = dice.pick(["$and", "$or", "$nor", "$not"]);
    made[operator] =
      operator === "$not" ? selector(dice, depth - 1) : dice.list(3, () => selector(dice, depth - 1));
  }
  return made;
}

/** Fields to sort by, in one direction: PouchDB knows no more. */
export function order(dice) {
  const fields = dice.oneIn(2) ? [dice.pick(["a", "b", "c", "c.d"])] : dice.pick([["a", "b"], ["b", "c"], ["c", "a"]]);
  const direction = dice.pick(["asc", "desc"]);
  return fields.map((field) => ({ [field]: direction }));
}
