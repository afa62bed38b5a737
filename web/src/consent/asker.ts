/** Who asks and how that is known, why, and where the data goes. */

import { h } from "../dom.ts";
import { moment } from "../words.ts";
import type { Client, ConsentRequest } from "./request.ts";

/** `tee`: what the node says that it runs in; nothing when it did not say. */
export function asker(request: ConsentRequest, tee: string | null): HTMLElement {
  const { client } = request;
  return h(
    "section",
    { class: "card", attributes: { "aria-labelledby": "asker" } },
    h("h2", { id: "asker" }, "Who asks, and why"),
    h("dl", { class: "facts" },
      fact("Who", h("strong", {}, client.name), " ", h("code", {}, client.host ?? client.did ?? client.id)),
      fact("How that is known", howKnown(client)),
      fact("Why", request.purpose ? h("q", {}, request.purpose) : "The app gives no reason.", request.purpose ? " These are the app’s own words." : ""),
      fact("Where it goes", "To the app at ", h("code", {}, request.redirectHost), ". What an app has read, nobody can take back; only what it may read next."),
      fact("By which node", h("code", {}, location.host), ...(tee ? [". It says of itself: ", h("q", {}, tee), ". Only its evidence can show that; a verifier reads it."] : ["."])),
      fact("Answer by", moment(request.expiresAt)),
    ),
  );
}

function howKnown(client: Client): string {
  switch (client.verifiedBy) {
    case "https-document":
      return `${client.host ?? client.id} publishes this name. That shows who runs that site; it does not show that they are honest.`;
    case "did-signature":
      return "The request is signed with the key of this identity. Its name is what it calls itself.";
    case "owner-typed":
      return "It is not known. Nobody checked this name: go on only if you are building this app yourself.";
  }
}

function fact(term: string, ...words: (Node | string)[]): HTMLElement {
  return h("div", {}, h("dt", {}, term), h("dd", {}, ...words));
}
