/**
 * The context session: what lets a node act for one context of a user (`spec/protocol.md` §8.3). It holds the seed of the
 * context's keys, and goes to this page's own node and to nobody else.
 */

import { HDKey } from "@scure/bip32";
import { fromBase64, keccakOfText, toBase64, utf8ToBytes } from "./bytes.ts";
import { SigningKey, signerOf } from "./signing_key.ts";
import { unlockText } from "./texts.ts";

/** Longest session that a node takes, as text. */
const MAX_SESSION_CHARACTERS = 64 * 1024;

/** Keys and services of a context, as its DID document has them. */
export interface ContextConfig {
  readonly publicKeys: { readonly signKey: { readonly publicKeyHex: string } };
  readonly [member: string]: unknown;
}

interface Wire {
  readonly did: string;
  readonly contextName: string;
  readonly signature: string;
  readonly contextConfig: ContextConfig;
  readonly contextAuths: Readonly<Record<string, unknown>>;
}

/** The session cannot be used; `message` is for the person who gave it. */
export class InvalidSession extends Error {}

/** A session whose unlock signature was made by the DID's own key, and whose keys are those of its configuration. */
export class ContextSession {
  readonly did: string;
  readonly context: string;
  /** The value of the `X-API-Key` header. */
  readonly apiKey: string;
  readonly #signing: SigningKey;

  /** Reads what a wallet or the command line wrote: JSON, or base64 of it. */
  static parse(text: string): ContextSession {
    const given = text.trim();
    if (given.length > MAX_SESSION_CHARACTERS) throw new InvalidSession("This is too long for a session.");
    const bytes = given.startsWith("{") ? null : fromBase64(given);
    const json = bytes ? new TextDecoder().decode(bytes) : given;
    let wire: unknown;
    try {
      wire = JSON.parse(json);
    } catch {
      throw new InvalidSession("This is not a session: neither its JSON nor base64 of it.");
    }
    if (!isWire(wire)) throw new InvalidSession("This session lacks a part: DID, context, signature or configuration.");
    return new ContextSession(wire);
  }

  /** Makes a session after logging in. */
  static of(did: string, context: string, seed: string, config: ContextConfig, auths: Record<string, unknown>): ContextSession {
    return new ContextSession({ did, contextName: context, signature: seed, contextConfig: config, contextAuths: auths });
  }

  private constructor(wire: Wire) {
    const signer = signerOf(unlockText(wire.did, wire.contextName), wire.signature);
    if (!signer || signer.toLowerCase() !== addressIn(wire.did)) {
      throw new InvalidSession("This session was not made by the key of its own DID.");
    }
    const signing = signingKeyOf(wire.signature);
    if (!signing || signing.publicKeyHex !== wire.contextConfig.publicKeys.signKey.publicKeyHex.toLowerCase()) {
      throw new InvalidSession("The keys of this session are not the ones in its DID document.");
    }
    this.did = wire.did;
    this.context = wire.contextName;
    this.#signing = signing;
    this.apiKey = toBase64(utf8ToBytes(JSON.stringify(wire)));
  }

  /** Signs a consent text with the context's key. */
  signConsent(text: string): string {
    return this.#signing.sign(text);
  }

  wipe(): void {
    this.#signing.wipe();
  }
}

/** The context's signing key: the BIP-32 master key of `H(seed ‖ "-sign")`. */
export function signingKeyOf(seed: string): SigningKey | null {
  const branch = keccakOfText(`${seed}-sign`);
  const master = HDKey.fromMasterSeed(branch);
  branch.fill(0);
  const key = master.privateKey ? SigningKey.take(Uint8Array.from(master.privateKey)) : null;
  master.wipePrivateData();
  return key;
}

function addressIn(did: string): string | undefined {
  return /^did:vda:[a-z]+:(0x[0-9a-f]{40})$/.exec(did.toLowerCase())?.[1];
}

function isWire(value: unknown): value is Wire {
  if (typeof value !== "object" || value === null) return false;
  const { did, contextName, signature, contextConfig, contextAuths } = value as Record<string, unknown>;
  const hex = (contextConfig as { publicKeys?: { signKey?: { publicKeyHex?: unknown } } } | undefined)?.publicKeys?.signKey?.publicKeyHex;
  return [did, contextName, signature, hex].every((text) => typeof text === "string") && typeof contextAuths === "object";
}
