/** What an app asks for, as the node understood it: `GET /consent/requests/{id}`. */

export interface Actions {
  readonly read: boolean;
  readonly write: boolean;
  readonly delete: boolean;
}

/** Why a field deserves a second look: the words of a message, or the raw record of the source it came from. */
export type Sensitivity = "body" | "source";

export interface Field {
  readonly path: string;
  readonly title: string;
  readonly sensitive: Sensitivity | null;
}

export interface Permission {
  /** `ds:<schema>` or `db:<name>`. */
  readonly target: string;
  readonly database: string;
  readonly schema?: string;
  /** The schema is one of the person's own. */
  readonly own?: boolean;
  readonly title: string;
  readonly words: string;
  readonly actions: Actions;
  readonly timeField?: string;
  readonly fields: readonly Field[];
}

export interface Narrowing {
  readonly target: string;
  readonly from?: string;
  readonly until?: string;
  readonly without?: readonly string[];
}

export interface Rate {
  readonly requests: number;
  readonly seconds: number;
}

/** What a grant allows. */
export interface Terms {
  readonly scopes: readonly string[];
  readonly narrow?: readonly Narrowing[];
  readonly purpose?: string;
  readonly expiresIn?: number;
  readonly rate?: Rate;
}

export interface Client {
  readonly id: string;
  readonly name: string;
  readonly host?: string;
  readonly did?: string;
  readonly verifiedBy: "https-document" | "did-signature" | "owner-typed";
}

/** A schema that is asked for and is part of no permission: nobody knows it before its owner is signed in, or the owner has none. */
export interface Unknown {
  readonly schema: string;
  readonly words: string;
}

export interface ConsentRequest {
  readonly client: Client;
  readonly redirectHost: string;
  readonly redirectUri: string;
  readonly purpose?: string;
  readonly permissions: readonly Permission[];
  readonly unknown?: readonly Unknown[];
  readonly api: readonly { readonly scope: string; readonly words: string }[];
  /** What was asked for, exactly. What is approved is at most this. */
  readonly terms: Terms;
  readonly expiresAt: string;
  /** The page of a wallet that signs. */
  readonly wallet?: string;
}

/** What the app would get of one target under some terms. */
export interface Preview {
  readonly target: string;
  readonly count: number;
  readonly examples: readonly Readonly<Record<string, unknown>>[];
}
