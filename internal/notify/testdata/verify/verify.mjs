// Reads requests as JSON, {secrets, requests: [{headers, body}]}, and has each library verify each of them with each
// secret. It prints what the libraries take the bodies for, and refuses a request whose body has changed.
import { readFileSync } from "node:fs";
import { Webhook as Standard } from "standardwebhooks";
import { Webhook as Svix } from "svix";

const { secrets, requests } = JSON.parse(readFileSync(0, "utf8"));
const verified = [];
for (const { headers, body } of requests) {
  for (const secret of secrets) {
    for (const Webhook of [Svix, Standard]) {
      const webhook = new Webhook(secret);
      verified.push(webhook.verify(body, headers) ?? null);
      try {
        webhook.verify(body + " ", headers);
      } catch {
        continue;
      }
      throw new Error("a changed body verifies");
    }
  }
}
console.log(JSON.stringify(verified));
