// The CouchDB that a storage node stands in front of: the one that ADYTON_COUCHDB names (http://admin:password@host:5984), or
// express-pouchdb, which runs the validation functions and keeps `_security` itself. What that one lacks of CouchDB stands before it
// here: JWTs. By itself it serves that one until it is killed:
//   node src/couch.js PORT
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { tmpdir } from "node:os";
import { rmSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import express from "express";
import expressPouchdb from "express-pouchdb";
import memory from "pouchdb-adapter-memory";
import PouchDB from "pouchdb-core";
import find from "pouchdb-find";
import replication from "pouchdb-replication";

// `[jwt_keys] hmac:_default` is its base64: dGhlIGFjY2VzcyBrZXkgb2YgdGhlIHRlc3Q=
const ACCESS_KEY = "the access key of the test";
const STAND_IN = "http://admin:admin%20password@127.0.0.1";

PouchDB.plugin(memory).plugin(replication).plugin(find);

const base64url = (text) => Buffer.from(text).toString("base64url");
const tag = (text) => createHmac("sha256", ACCESS_KEY).update(text).digest("base64url");

// A token as the node signs them.
export const signed = (claims) => {
  const text = `${base64url('{"alg":"HS256","typ":"JWT"}')}.${base64url(JSON.stringify(claims))}`;
  return `${text}.${tag(text)}`;
};

const basic = ({ username, password }) =>
  `Basic ${Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString("base64")}`;

// As CouchDB: an admin by Basic, users and roles by JWT, and nobody else.
const callerOf = (authorization = "") => {
  if (authorization === basic(new URL(STAND_IN))) return { name: "admin", roles: ["_admin"] };
  const [head, claims, mac] = authorization.replace(/^Bearer /, "").split(".");
  if (mac !== tag(`${head}.${claims}`)) return null;
  const { sub, exp, ["_couchdb.roles"]: roles } = JSON.parse(Buffer.from(claims, "base64url"));
  return exp * 1000 > Date.now() ? { name: sub, roles: roles ?? [] } : null;
};

const serve = async (port) => {
  const directory = await mkdtemp(join(tmpdir(), "adyton-couch-"));
  process.on("exit", () => rmSync(directory, { recursive: true, force: true }));
  const kept = PouchDB.defaults({ adapter: "memory", prefix: "kept-" });
  const heard = new Set();
  const app = express();
  app.use((request, response, next) => {
    const userCtx = callerOf(request.headers.authorization);
    if (!userCtx) return response.status(401).json({ error: "unauthorized", reason: "You are not authorized." });
    heard.add(userCtx.name);
    delete request.headers.authorization;
    const session = { ok: true, userCtx, info: {} };
    Object.defineProperty(request, "couchSession", { get: () => session, set: () => {} });
    next();
  });
  app.use("/", expressPouchdb(kept, { inMemoryConfig: true, logPath: join(directory, "log.txt"), overrideMode: { exclude: ["routes/fauxton"] } }));
  const server = app.listen(port, "127.0.0.1");
  await once(server, "listening");
  return { heard, port: server.address().port };
};

// Where it is, how its admin asks, and whom it heard (not known of a real one).
export const couchdb = async () => {
  const named = process.env.ADYTON_COUCHDB;
  const { heard, port } = named ? {} : await serve(0);
  const url = named ?? `${STAND_IN}:${port}`;
  const parsed = new URL(url);
  return { url, base: `${parsed.protocol}//${parsed.host}`, admin: basic(parsed), heard };
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { port } = await serve(Number(process.argv[2] ?? 0));
  console.log(`${STAND_IN}:${port}`);
}
