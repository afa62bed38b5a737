/**
 * secp256k1 keys as the protocol uses them (`crates/keys/SPEC.md`): recoverable ECDSA, RFC 6979 nonces, low S, printed as
 * `0x` and 130 hex digits, r ‖ s ‖ v with v = 27 or 28.
 *
 * A key signs digests of texts that this program made, and nothing else: there is no way to sign given bytes.
 */

import { secp256k1 } from "@noble/curves/secp256k1.js";
import { keccak_256 } from "@noble/hashes/sha3.js";
import { bytesToHex, hexToBytes, keccakOfText, utf8ToBytes } from "./bytes.ts";

/** A secret key, with its public half. */
export class SigningKey {
  #secret: Uint8Array;
  /** `0x` and the compressed point. */
  readonly publicKeyHex: string;
  /** The Ethereum address in checksum casing (EIP-55). */
  readonly address: string;

  /** Takes the bytes over. `null` when they are no key of the curve. */
  static take(secret: Uint8Array): SigningKey | null {
    return secp256k1.utils.isValidSecretKey(secret) ? new SigningKey(secret) : null;
  }

  private constructor(secret: Uint8Array) {
    this.#secret = secret;
    this.publicKeyHex = `0x${bytesToHex(secp256k1.getPublicKey(secret, true))}`;
    this.address = addressOf(secp256k1.getPublicKey(secret, false));
  }

  /** Signs a text. */
  sign(text: string): string {
    // One byte of recovery, then r and s.
    const made = secp256k1.sign(keccakOfText(text), this.#secret, { prehash: false, format: "recovered" });
    const recovery = made[0] ?? 0;
    return `0x${bytesToHex(made.subarray(1))}${(27 + recovery).toString(16)}`;
  }

  /** Overwrites the secret. The key signs nothing after that. */
  wipe(): void {
    this.#secret.fill(0);
  }
}

/** Who signed this text, as an address in checksum casing; `null` when the signature is none. */
export function signerOf(text: string, signature: string): string | null {
  if (!/^0x[0-9a-f]{128}(1b|1c)$/.test(signature)) return null;
  const bytes = hexToBytes(signature.slice(2));
  const recovered = new Uint8Array(65);
  recovered[0] = (bytes[64] ?? 0) - 27;
  recovered.set(bytes.subarray(0, 64), 1);
  try {
    const point = secp256k1.recoverPublicKey(recovered, keccakOfText(text), { prehash: false });
    return addressOf(secp256k1.Point.fromBytes(point).toBytes(false));
  } catch {
    return null;
  }
}

function addressOf(uncompressed: Uint8Array): string {
  const lowercase = bytesToHex(keccak_256(uncompressed.subarray(1)).subarray(12));
  const casing = bytesToHex(keccak_256(utf8ToBytes(lowercase)));
  const digits = [...lowercase].map((digit, at) => (Number.parseInt(casing[at] ?? "0", 16) >= 8 ? digit.toUpperCase() : digit));
  return `0x${digits.join("")}`;
}
