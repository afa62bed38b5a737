// Adyton's storage node as a process, and a person who uses it as the original client does: with a DID of their own, logging in by
// a signature, asking again with a new token when the old one has ended.
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { hmac } from "@noble/hashes/hmac.js";
import { sha256 } from "@noble/hashes/sha2.js";
import { keccak_256 } from "@noble/hashes/sha3.js";
import * as secp from "@noble/secp256k1";

secp.hashes.sha256 = sha256;
secp.hashes.hmacSha256 = (key, message) => hmac(sha256, key, message);

export const CONTEXT = "Interop: Test";

// In front of a CouchDB that keeps what earlier runs left, everybody is somebody new.
const COUCHDB = process.env.ADYTON_COUCHDB;
const RUN = randomBytes(16);

export class StorageNode {
  // In front of files, unless a CouchDB is named for all.
  constructor(program, directory, options = COUCHDB ? [COUCHDB] : []) {
    Object.assign(this, { program, directory, options, ahead: 0, address: "127.0.0.1:0" });
  }

  // The same address after a restart, as clients know it.
  async start() {
    if (this.address.endsWith(":0")) this.address = `127.0.0.1:${await freePort()}`;
    this.child = spawn(this.program, [this.address, this.directory, String(this.ahead), ...this.options], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
    const said = (await this.lines.next()).value ?? "";
    if (!said.startsWith("listening on ")) throw new Error(`the node does not start: ${said}`);
    this.url = said.slice("listening on ".length);
  }

  async kill() {
    const ended = once(this.child, "exit");
    this.child.kill("SIGKILL");
    await ended;
  }

  async pass(seconds) {
    this.ahead += seconds;
    this.child.stdin.write(`${seconds}\n`);
    await this.lines.next();
  }
}

export class Person {
  // `ask` is the fetch of the client that is tested.
  constructor(node, seed, ask) {
    Object.assign(this, { node, ask });
    this.key = COUCHDB ? keccak_256(Uint8Array.from([...RUN, seed])) : new Uint8Array(32).fill(seed);
    const address = hex(keccak_256(secp.getPublicKey(this.key, false).slice(1)).slice(-20));
    this.did = `did:vda:polamoy:0x${address}`;
    this.checksummed = checksummed(address);
    // How often a request met an ended token, or no node.
    this.renewals = 0;
    this.outages = 0;
  }

  // With a context on these nodes, if there are any.
  async publish(nodes = []) {
    const now = `${new Date(Date.now() + this.node.ahead * 1000).toISOString().slice(0, 19)}Z`;
    const controller = `${this.did}#controller`;
    const document = {
      id: this.did,
      created: now,
      updated: now,
      controller: this.did,
      versionId: 0,
      assertionMethod: [controller, this.did],
      verificationMethod: [
        {
          id: controller,
          type: "EcdsaSecp256k1RecoveryMethod2020",
          controller: this.did,
          blockchainAccountId: `@eip155:0x13882:${this.checksummed}`,
        },
        {
          id: this.did,
          type: "EcdsaSecp256k1VerificationKey2019",
          controller: this.did,
          publicKeyHex: hex(secp.getPublicKey(this.key, false)),
        },
      ],
      authentication: [controller, this.did],
    };
    if (nodes.length > 0) {
      const context = `${this.did}?network=banksia&context=0x${keccak(`${this.did}/${CONTEXT}`)}`;
      const service = (type) => ({ id: `${context}&type=${type.toLowerCase()}`, type: `Verida${type}`, serviceEndpoint: nodes });
      document.service = [service("Database")];
      const key = hex(secp.getPublicKey(this.key, true));
      const method = { id: `${context}&type=sign`, type: "EcdsaSecp256k1VerificationKey2019", controller: this.did, publicKeyHex: key };
      document.verificationMethod.push(method);
    }
    document.proof = {
      type: "EcdsaSecp256k1VerificationKey2019",
      verificationMethod: this.did,
      proofPurpose: "assertionMethod",
      proofValue: this.sign(sortedJson(document)),
    };
    await this.call(`did/${this.did}`, { document });
  }

  async logIn() {
    const who = { did: this.did, contextName: CONTEXT };
    const { authJwt } = await this.call("auth/generateAuthJwt", who);
    const text = `Authenticate this application context: "${CONTEXT}"?\n\n${this.did}\n${authJwt.authRequestId}`;
    const proof = { ...who, authJwt: authJwt.authJwt, signature: this.sign(text) };
    const tokens = await this.call("auth/authenticate", proof);
    this.access = tokens.accessToken;
    this.refresh = tokens.refreshToken;
  }

  async connect() {
    const known = { refreshToken: this.refresh, did: this.did, contextName: CONTEXT };
    this.access = (await this.call("auth/connect", known)).accessToken;
  }

  async createDatabase(name, permissions = { read: "owner", write: "owner" }) {
    const body = { databaseName: name, options: { permissions } };
    const { databaseHash } = await this.call("user/createDatabase", body);
    return `${this.node.url}/${databaseHash}`;
  }

  // What PouchDB asks with: the token in a header, and a new one when the node says 401.
  fetch = async (url, options = {}) => {
    for (;;) {
      const used = this.access;
      options.headers.set("Authorization", `Bearer ${used}`);
      let answer;
      try {
        answer = await this.ask(url, options);
      } catch (error) {
        if (error.name !== "AbortError") this.outages += 1;
        throw error;
      }
      if (answer.status !== 401) return answer;
      await answer.text();
      this.renewals += 1;
      if (this.access === used) await this.connect();
    }
  };

  async call(path, body) {
    const headers = { "content-type": "application/json" };
    if (this.access) headers.authorization = `Bearer ${this.access}`;
    const answer = await fetch(`${this.node.url}/${path}`, { method: "POST", headers, body: JSON.stringify(body) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${text}`);
    return JSON.parse(text);
  }

  sign(text) {
    return sign(text, this.key);
  }
}

export const sign = (text, key) => {
  const digest = keccak_256(new TextEncoder().encode(text));
  const [recovery, ...rs] = secp.sign(digest, key, { prehash: false, format: "recovered" });
  return `0x${hex(Uint8Array.from([...rs, 27 + recovery]))}`;
};

// The key that signed, uncompressed.
export const signer = (text, signature) => {
  const [rs, recovery] = [Buffer.from(signature.slice(2, 130), "hex"), parseInt(signature.slice(130), 16) - 27];
  const digest = keccak_256(new TextEncoder().encode(text));
  const key = secp.recoverPublicKey(Uint8Array.from([recovery, ...rs]), digest, { prehash: false });
  return uncompressed(secp.Point.fromBytes(key));
};

export const keyOf = (secret) => `0x${hex(secp.getPublicKey(secret, false))}`;

const uncompressed = (point) => `0x${hex(point.toBytes(false))}`;

export const keccak = (text) => hex(keccak_256(new TextEncoder().encode(text)));

const hex = (bytes) => Buffer.from(bytes).toString("hex");

// EIP-55: a digit is upper case where the hash of the address has a high one.
const checksummed = (address) => {
  const hash = hex(keccak_256(new TextEncoder().encode(address)));
  const cased = [...address].map((digit, n) => (parseInt(hash[n], 16) >= 8 ? digit.toUpperCase() : digit));
  return `0x${cased.join("")}`;
};

export const sortedJson = (value) => {
  if (Array.isArray(value)) return `[${value.map(sortedJson).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const names = Object.keys(value).sort();
  return `{${names.map((name) => `${JSON.stringify(name)}:${sortedJson(value[name])}`).join(",")}}`;
};

export const freePort = async (host = "127.0.0.1") => {
  const server = createServer().listen(0, host);
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
};
