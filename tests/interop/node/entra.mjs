// One sign-in with Entra ID by Azure's own SDK: node entra.mjs SETTINGS-JSON. Prints a line of JSON for each thing that
// the test waits for: the user code, and each token's length. Between two tokens it waits for a line of input.
import { once } from "node:events";
import { createInterface } from "node:readline";
import { ClientCertificateCredential, ClientSecretCredential, DeviceCodeCredential } from "@azure/identity";

const { kind, authorityHost, tenant, client, secret, certificatePath, sendCertificate, scopes } = JSON.parse(process.argv[2]);
// Nobody's cloud: else it would ask Microsoft's own host whether this one is a good authority.
const options = { authorityHost, disableInstanceDiscovery: true, retryOptions: { maxRetries: 0 } };
const say = (value) => console.log(JSON.stringify(value));

const make = {
  secret: () => new ClientSecretCredential(tenant, client, secret, options),
  certificate: () => new ClientCertificateCredential(tenant, client, { certificatePath },
    { ...options, sendCertificateChain: sendCertificate }),
  device: () => new DeviceCodeCredential({ ...options, tenantId: tenant, clientId: client,
    userPromptCallback: ({ userCode }) => say({ userCode }) }),
};
const credential = make[kind]();
const lines = createInterface({ input: process.stdin });
for (const [i, scope] of scopes.entries()) {
  if (i > 0) {
    await once(lines, "line");
  }
  const { token } = await credential.getToken(scope);
  say({ token: token.length });
}
lines.close();
