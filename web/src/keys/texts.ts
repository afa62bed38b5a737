/** Every text that a key signs in the browser, verbatim (`crates/protocol/src/consent.rs` has the same ones). */

import { canonicalJson, type Json } from "../canonical_json.ts";

/** The context that holds a user's data. */
export const VAULT = "Verida: Vault";

/** Unlocks a context: the signature over this text is the seed of all its keys. */
export function unlockText(did: string, context: string): string {
  return `Do you wish to unlock this storage context: "${context}"?\n\n${did.toLowerCase()}`;
}

/** Logs in to a storage node. */
export function loginText(did: string, context: string, authRequestId: string): string {
  return `Authenticate this application context: "${context}"?\n\n${did.toLowerCase()}\n${authRequestId}`;
}

/** What a user answers to an app that asks for data. Times are seconds since 1970. */
export interface AppConsent {
  readonly nonce: string;
  readonly audience: string;
  readonly client: string;
  readonly redirectUri: string;
  readonly terms: unknown;
  readonly notBefore: number;
  readonly notAfter: number;
}

/** Allows an app what the terms say, in answer to one request at one node. */
export function appConsentText(consent: AppConsent): string {
  const { nonce, audience, client, redirectUri, terms, notBefore, notAfter } = consent;
  return canonicalJson({ nonce, audience, client, redirectUri, terms: terms as Json, notBefore, notAfter });
}
