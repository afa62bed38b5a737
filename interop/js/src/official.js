// The original client (@verida/client-ts 3.0) with Adyton's storage node: an account is made and registered, databases are written and read
// on one device and on another, and a token ends between.
//   node src/official.js PROGRAM
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { StorageNode } from "./storage.js";

const here = dirname(fileURLToPath(import.meta.url));
const official = join(here, "../official");
const { ethers } = createRequire(join(official, "package.json"))("ethers");
const schemas = join(here, "../../../schemas");

const directory = await mkdtemp(join(tmpdir(), "adyton-interop-"));
const node = new StorageNode(process.argv[2], join(directory, "node"), ["directory"]);
await mkdir(node.directory);
await node.start();

// What the client finds outside: a chain with the registry's contract, and the public schemas. The registrations are the storage node's, which
// checks their signatures as the contract does, and is itself the service that registers without gas.
const lookup = async (didAddress) => {
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify({ didAddress });
  const answer = await fetch(`${node.url}/didRegistry/lookup`, { method: "POST", headers, body });
  return answer.json();
};
const LOOKUP = "0xd4b6b5da";
const call = async ({ id, method, params }) => {
  const answer = (members) => ({ jsonrpc: "2.0", id, ...members });
  if (method === "eth_chainId") return answer({ result: "0x13881" });
  assert.equal(method, "eth_call");
  assert.equal(params[0].data.slice(0, LOOKUP.length), LOOKUP);
  const [didAddress] = ethers.utils.defaultAbiCoder.decode(["address"], `0x${params[0].data.slice(LOOKUP.length)}`);
  const { data } = await lookup(didAddress.toLowerCase());
  if (Array.isArray(data)) return answer({ result: ethers.utils.defaultAbiCoder.encode(["address", "string[]"], data) });
  return answer({ error: { code: 3, message: "execution reverted", data: "0xedabc40b" } });
};
const outside = createServer(async (asked, answer) => {
  const reply = (status, text) => answer.writeHead(status, { "content-type": "application/json" }).end(text);
  if (asked.method === "GET") {
    const path = join(schemas, new URL(asked.url, "http://outside").pathname);
    return readFile(path).then((text) => reply(200, text), () => reply(404, "{}"));
  }
  const body = Buffer.concat(await asked.toArray()).toString();
  return reply(200, JSON.stringify(await call(JSON.parse(body))));
});
outside.listen(0, "127.0.0.1");
await once(outside, "listening");
const chain = `http://127.0.0.1:${outside.address().port}`;

// A device keeps its replicas where it runs.
const privateKey = `0x${randomBytes(32).toString("hex")}`;
const device = async (name, part) => {
  const place = join(directory, name);
  await mkdir(place, { recursive: true });
  const settings = JSON.stringify({ node: node.url, chain, privateKey, part });
  const client = spawn(process.execPath, [join(official, "device.cjs"), settings], { cwd: place, stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(client, "exit");
  for await (const line of createInterface({ input: client.stdout })) {
    // The client itself writes there, too.
    const [word, argument] = line.split(" ");
    if (word !== "PASS") continue;
    await node.pass(Number(argument));
    client.stdin.write("passed\n");
  }
  const [status] = await ended;
  assert.equal(status, 0, `${name}, ${part}`);
};

try {
  await device("first", "begin");
  await device("second", "goOn");
  await device("first", "end");
  console.log("the original client: an account, three kinds of databases, two devices, an ended token");
} finally {
  await node.kill();
  await rm(directory, { recursive: true });
}
process.exit(0);
