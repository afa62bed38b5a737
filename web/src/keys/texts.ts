/** Every text that a key signs in the browser, verbatim (`crates/protocol/src/consent.rs` has the same ones). */

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
