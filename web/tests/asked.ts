/** A request as the node describes it, for tests of the page alone. */

import type { ConsentRequest, Terms } from "../src/consent/request.ts";

export const EMAIL = "https://common.schemas.verida.io/social/email/v0.1.0/schema.json";

export function request(terms: Partial<Terms> = {}): ConsentRequest {
  return {
    client: { id: "https://reader.example/client.json", name: "Letter Reader", host: "reader.example", verifiedBy: "https-document" },
    redirectHost: "reader.example",
    redirectUri: "https://reader.example/back?from=adyton",
    purpose: "Find letters that wait for an answer. <b>Not markup</b>",
    permissions: [
      {
        target: `ds:${EMAIL}`,
        database: "social_email",
        schema: EMAIL,
        title: "Emails",
        words: "Read, add and change, delete your emails",
        actions: { read: true, write: true, delete: true },
        timeField: "sentAt",
        fields: [
          { path: "name", title: "Subject", sensitive: null },
          { path: "fromName", title: "From", sensitive: null },
          { path: "sentAt", title: "Sent", sensitive: null },
          { path: "messageText", title: "Message text", sensitive: "body" },
          { path: "messageHTML", title: "Message HTML", sensitive: "body" },
          { path: "sourceData", title: "Source data", sensitive: "source" },
        ],
      },
      { target: "db:notes", database: "notes", title: "Notes", words: "Read your database notes", actions: { read: true, write: false, delete: false }, fields: [] },
    ],
    api: [
      { scope: "api:ds-query", words: "Ask for records that fit a question" },
      { scope: "api:ds-create", words: "Add records" },
    ],
    terms: {
      scopes: [`ds:rwd:${EMAIL}`, "db:r:notes", "api:ds-query", "api:ds-create"],
      purpose: "Find letters that wait for an answer. <b>Not markup</b>",
      ...terms,
    },
    expiresAt: "2026-11-22T23:10:00Z",
  };
}
