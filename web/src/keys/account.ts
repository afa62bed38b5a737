/** The key behind a DID (`spec/protocol.md` §4). It lives in this tab's memory, for as long as signing in takes. */

import { HDKey } from "@scure/bip32";
import { mnemonicToSeedSync, validateMnemonic } from "@scure/bip39";
import { wordlist } from "@scure/bip39/wordlists/english.js";
import { hexToBytes } from "./bytes.ts";
import { SigningKey } from "./signing_key.ts";
import { loginText, unlockText } from "./texts.ts";

/** The blockchains that anchor DIDs: the main net first. */
export const ANCHORS = ["polpos", "polamoy"] as const;
export type Anchor = (typeof ANCHORS)[number];

/** The text is neither a private key nor a seed phrase; `message` is for the person who typed it. */
export class InvalidSecret extends Error {}

export class Account {
  #key: SigningKey;

  /** Reads a private key (`0x…`) or a seed phrase, path `m/44'/60'/0'/0/0`. */
  static fromSecretText(text: string): Account {
    const typed = text.trim();
    if (typed.startsWith("0x")) {
      const key = /^0x[0-9a-fA-F]{64}$/.test(typed) ? SigningKey.take(hexToBytes(typed.slice(2))) : null;
      if (!key) throw new InvalidSecret("This is not a private key: it must be 0x and 64 digits from 0 to f.");
      return new Account(key);
    }
    const words = typed.toLowerCase().split(/\s+/).join(" ");
    if (!validateMnemonic(words, wordlist)) {
      throw new InvalidSecret("These are not 12 to 24 words of an English seed phrase, or one of them is misspelt.");
    }
    const seed = mnemonicToSeedSync(words);
    const master = HDKey.fromMasterSeed(seed);
    seed.fill(0);
    const child = master.derive("m/44'/60'/0'/0/0");
    const key = child.privateKey ? SigningKey.take(Uint8Array.from(child.privateKey)) : null;
    master.wipePrivateData();
    child.wipePrivateData();
    if (!key) throw new InvalidSecret("This seed phrase gives no key.");
    return new Account(key);
  }

  private constructor(key: SigningKey) {
    this.#key = key;
  }

  /** The DID on an anchor, its address in checksum casing. */
  did(anchor: Anchor): string {
    return `did:vda:${anchor}:${this.#key.address}`;
  }

  /** The seed of a context: the same on every device, for ever. */
  unlock(did: string, context: string): string {
    return this.#key.sign(unlockText(did, context));
  }

  /** The answer to a storage node's challenge. */
  answerLogin(did: string, context: string, authRequestId: string): string {
    return this.#key.sign(loginText(did, context, authRequestId));
  }

  wipe(): void {
    this.#key.wipe();
  }
}
