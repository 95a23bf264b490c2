// oidc-provider on a free port of the loopback, told by one JSON line on standard input: {port, keys, audience, groups}.
// It signs people in by its own development pages, whatever password they type; `groups` are theirs by name.
// Prints {issuer} once it listens, and ends with its standard input.

import { createInterface } from "node:readline";
import { createServer } from "node:http";
import { Provider } from "oidc-provider";

const lines = createInterface({ input: process.stdin });
const told = JSON.parse(await new Promise((resolve) => lines.once("line", resolve)));
lines.on("close", () => process.exit(0));

const server = createServer();
await new Promise((resolve) => server.listen(told.port, "127.0.0.1", resolve));
const issuer = `http://127.0.0.1:${server.address().port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "web",
      client_secret: "a-secret-of-the-tests",
      redirect_uris: ["http://127.0.0.1:9/callback"],
      grant_types: ["authorization_code", "client_credentials"],
      response_types: ["code"],
      id_token_signed_response_alg: told.algorithm,
    },
  ],
  jwks: { keys: told.keys },
  enabledJWA: { idTokenSigningAlgValues: [told.algorithm] },
  conformIdTokenClaims: false,
  claims: { openid: ["sub"], profile: ["name", "groups"] },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, name: id, groups: told.groups[id] ?? [] }),
  }),
  extraTokenClaims: (_, token) => ({ groups: told.groups[token.accountId] ?? [] }),
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: () => told.audience,
      useGrantedResource: () => true,
      getResourceServerInfo: () => ({
        scope: "images/read images/write",
        audience: told.audience,
        accessTokenFormat: "jwt",
        accessTokenTTL: 600,
        jwt: { sign: { alg: told.algorithm } },
      }),
    },
  },
});
server.on("request", provider.callback());
console.log(JSON.stringify({ issuer }));
