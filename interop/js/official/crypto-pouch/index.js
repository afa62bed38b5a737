// The original client encrypts with a fork of crypto-pouch that only its git repository has. This does what the fork does with what the
// client gives it (spec/protocol.md §11.1, §11.2): XSalsa20-Poly1305 under PBKDF2-HMAC-SHA512 of the SHA-512 of the password. Written
// from that description; the vectors in vectors/encrypted_records.json are the original's.
const { createHash, pbkdf2Sync } = require("node:crypto");
const { transform } = require("transform-pouch");
const nacl = require("tweetnacl");

const CLEAR = ["_id", "_rev", "_deleted", "_conflicts"];

const clear = (document) => Object.fromEntries(CLEAR.filter((name) => name in document).map((name) => [name, document[name]]));

module.exports = {
  transform,
  async crypto({ password, salt, iterations }) {
    const secret = createHash("sha512").update(password).digest();
    const key = new Uint8Array(pbkdf2Sync(secret, salt, iterations, 32, "sha512"));
    this.transform({
      incoming: async (document) => {
        const nonce = nacl.randomBytes(nacl.secretbox.nonceLength);
        const sealed = nacl.secretbox(Buffer.from(JSON.stringify(document)), nonce, key);
        return { ...clear(document), payload: Buffer.concat([nonce, sealed]).toString("base64") };
      },
      outgoing: async (document) => {
        if (!document.payload) return document;
        const bytes = new Uint8Array(Buffer.from(document.payload, "base64"));
        const length = nacl.secretbox.nonceLength;
        const opened = nacl.secretbox.open(bytes.subarray(length), bytes.subarray(0, length), key);
        if (!opened) throw new Error("Could not decrypt!");
        return { ...JSON.parse(Buffer.from(opened).toString()), ...clear(document) };
      },
    });
  },
};
