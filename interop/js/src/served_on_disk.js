// express-pouchdb over LevelDB files, a server of CouchDB's protocol by others, for `bench/`: node src/served_on_disk.js DIRECTORY SYNC
//
// SYNC is `synced` (every batch of LevelDB is flushed to the disk before its writer is answered, as CouchDB does) or `unsynced` (as
// PouchDB comes). Says where it listens, and ends when its input ends.
import { once } from "node:events";
import { join } from "node:path";
import express from "express";
import expressPouchdb from "express-pouchdb";
import leveldown from "leveldown";
import leveldb from "pouchdb-adapter-leveldb";
import PouchDB from "pouchdb-core";
import find from "pouchdb-find";

const [directory, sync] = process.argv.slice(2);

const synced = (location) => {
  const store = leveldown(location);
  const batch = store._batch;
  store._batch = (operations, options, done) => batch.call(store, operations, { ...options, sync: true }, done);
  return store;
};
synced.destroy = leveldown.destroy;

PouchDB.plugin(leveldb).plugin(find);
const db = sync === "synced" ? synced : leveldown;
const kept = PouchDB.defaults({ adapter: "leveldb", prefix: `${directory}/`, db });
const overrideMode = { include: ["routes/find"] };
const mode = { mode: "minimumForPouchDB", overrideMode, inMemoryConfig: true, logPath: join(directory, "log.txt") };
const app = express();
app.use("/", expressPouchdb(kept, mode));
const server = app.listen(0, "127.0.0.1");
await once(server, "listening");
console.log(`listening on http://127.0.0.1:${server.address().port}`);
process.stdin.resume();
process.stdin.on("end", () => process.exit(0));
