/** Keys made in the browser are the keys that every other client makes: the vectors of `vectors/` hold both. */

import { readFileSync } from "node:fs";
import { expect, test } from "@playwright/test";
import { canonicalJson } from "../src/canonical_json.ts";
import { Account, InvalidSecret, type Anchor } from "../src/keys/account.ts";
import { ContextSession, InvalidSession, signingKeyOf } from "../src/keys/context_session.ts";
import { SigningKey, signerOf } from "../src/keys/signing_key.ts";
import { fromBase64, hexToBytes, keccakOfText } from "../src/keys/bytes.ts";
import { appConsentText, loginText, unlockText } from "../src/keys/texts.ts";

interface Vectors<T> {
  readonly vectors: readonly T[];
}

function vectors<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../../vectors/${name}.json`, import.meta.url), "utf8")) as T;
}

function keyOf(hex: string): SigningKey {
  const key = SigningKey.take(hexToBytes(hex.replace(/^0x/, "")));
  if (!key) throw new Error("the vector's key is none");
  return key;
}

test("an account has the DID of its private key or of its phrase", () => {
  const wallets = vectors<Vectors<{ input: string; anchor: Anchor; did: string }>>("wallets").vectors;
  expect(wallets.length).toBeGreaterThan(3);
  for (const wallet of wallets) expect(Account.fromSecretText(wallet.input).did(wallet.anchor)).toBe(wallet.did);
});

test("the unlock signature and the signing key are those of every other client", () => {
  const keyrings = vectors<Vectors<Record<string, string>>>("keyring").vectors;
  for (const vector of keyrings) {
    const { account, did, context_name, consent_message, seed_signature, sign_public_key_compressed, sign_public_address } = vector as Record<string, string>;
    expect(unlockText(did!, context_name!)).toBe(consent_message);
    const seed = Account.fromSecretText(account!).unlock(did!, context_name!);
    expect(seed).toBe(seed_signature);
    const key = signingKeyOf(seed);
    expect(key?.publicKeyHex).toBe(sign_public_key_compressed);
    expect(key?.address).toBe(sign_public_address);
  }
});

test("texts are signed as the protocol signs them, and their signer is found again", () => {
  const file = vectors<Vectors<{ data_json: string; data_type: string; signature: string }> & { private_key: string; address: string }>("signatures");
  const key = keyOf(file.private_key);
  let compared = 0;
  for (const vector of file.vectors) {
    // Texts that read as hex are hashed otherwise by the original; no consent text does.
    if (vector.data_type !== "string") continue;
    const text: unknown = JSON.parse(vector.data_json);
    if (typeof text !== "string" || text === "" || text.startsWith("0x")) continue;
    expect(key.sign(text)).toBe(vector.signature);
    expect(signerOf(text, vector.signature)).toBe(file.address);
    compared += 1;
  }
  expect(compared).toBeGreaterThan(1);
});

test("a storage node's challenge is answered with the account's key", () => {
  const file = vectors<Vectors<{ did: string; context_name: string; auth_request_id: string; authenticate: { message: string; signature_by_did_key: string } }> & { private_key: string }>("storage_node_auth");
  const vector = file.vectors[0]!;
  expect(loginText(vector.did, vector.context_name, vector.auth_request_id)).toBe(vector.authenticate.message);
  const answer = Account.fromSecretText(file.private_key).answerLogin(vector.did, vector.context_name, vector.auth_request_id);
  expect(answer).toBe(vector.authenticate.signature_by_did_key);
});

test("a session is read from JSON and from base64, and goes out as the header that nodes read", () => {
  const file = vectors<{ session_minified_json: string; x_api_key: string }>("context_session");
  for (const text of [file.session_minified_json, file.x_api_key, `${file.x_api_key.replace(/=+$/, "")}\n`]) {
    const session = ContextSession.parse(text);
    const sent: unknown = JSON.parse(new TextDecoder().decode(fromBase64(session.apiKey)!));
    expect(sent).toEqual(JSON.parse(file.session_minified_json));
  }
});

test("a session that its own DID did not make is refused", () => {
  const file = vectors<{ session: Record<string, unknown> }>("context_session");
  const wrong = [
    { ...file.session, contextName: "Another: Context" },
    { ...file.session, did: "did:vda:polamoy:0x2c7536E3605D9C16a7a3D7b1898e529396a65c23" },
    { ...file.session, signature: String(file.session["signature"]).toUpperCase() },
    { ...file.session, signature: "0x12" },
    { ...file.session, contextConfig: {} },
    { did: file.session["did"] },
    [],
    null,
  ];
  for (const session of wrong) expect(() => ContextSession.parse(JSON.stringify(session)), JSON.stringify(session)?.slice(0, 80)).toThrow(InvalidSession);
  for (const text of ["", "%%%", "bm8=", `{"a":"${"x".repeat(70_000)}"}`]) expect(() => ContextSession.parse(text)).toThrow(InvalidSession);
});

test("what is no key and no phrase is refused in words", () => {
  for (const text of ["", "0x12", "hello there", `0x${"0".repeat(64)}`, `0x${"f".repeat(64)}`, "abandon ".repeat(12)]) {
    expect(() => Account.fromSecretText(text), text).toThrow(InvalidSecret);
  }
});

test("a key that was wiped signs nothing", () => {
  const key = keyOf("0x1111111111111111111111111111111111111111111111111111111111111111");
  key.wipe();
  expect(() => key.sign("hello")).toThrow();
});

test("the consent to an app is the text that the node's own library makes", () => {
  const terms = { scopes: ["ds:r:social-email"], purpose: 'Sort "letters" – ż', expiresIn: 3600 };
  const text = appConsentText({ nonce: "request-1", audience: "https://node.example", client: "https://app.example/client.json", redirectUri: "https://app.example/back?a=b", terms, notBefore: 1_763_900_000, notAfter: 1_763_900_300 });
  // The same text stands in `crates/protocol/src/consent.rs`.
  expect(text).toBe(
    String.raw`{"audience":"https://node.example","client":"https://app.example/client.json","nonce":"request-1","notAfter":1763900300,"notBefore":1763900000,"redirectUri":"https://app.example/back?a=b","terms":{"expiresIn":3600,"purpose":"Sort \"letters\" – ż","scopes":["ds:r:social-email"]}}`,
  );
});

test("the consent text is canonical JSON as the protocol writes it", () => {
  expect(canonicalJson({ b: [1, { d: "ż\"", c: null }], a: true, left: undefined })).toBe('{"a":true,"b":[1,{"c":null,"d":"ż\\""}]}');
  expect(() => canonicalJson({ a: 1.5 })).toThrow(RangeError);
  expect(() => canonicalJson({ 7: "seven" })).toThrow(RangeError);
  expect(keccakOfText("hello")[0]).toBe(0x1c);
});
