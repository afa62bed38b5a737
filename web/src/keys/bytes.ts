/** Bytes as texts and back. Nothing here knows what the bytes mean. */

import { keccak_256 } from "@noble/hashes/sha3.js";
import { bytesToHex, hexToBytes, utf8ToBytes } from "@noble/hashes/utils.js";

export { bytesToHex, hexToBytes, utf8ToBytes };

/** Keccak-256 of a text's UTF-8. */
export function keccakOfText(text: string): Uint8Array {
  return keccak_256(utf8ToBytes(text));
}

/** Standard base64 with padding: the alphabet of `X-API-Key`. */
export function toBase64(bytes: Uint8Array): string {
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary);
}

/** Any base64 alphabet, padding optional. `null` when it is none. */
export function fromBase64(text: string): Uint8Array | null {
  const standard = text.trim().replaceAll("-", "+").replaceAll("_", "/").replace(/=+$/, "");
  if (!/^[A-Za-z0-9+/]+$/.test(standard)) return null;
  try {
    return Uint8Array.from(atob(standard), (character) => character.charCodeAt(0));
  } catch {
    return null;
  }
}
