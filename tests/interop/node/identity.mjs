// A token for a managed identity, by Azure's own SDK: node identity.mjs SCOPE [OPTIONS-JSON]; the rest is environment.
import { ManagedIdentityCredential } from "@azure/identity";

const [scope, options] = process.argv.slice(2);
const credential = new ManagedIdentityCredential(JSON.parse(options ?? "{}"));
const token = await credential.getToken(scope);
console.log(JSON.stringify({ token: token.token, expires: token.expiresOnTimestamp }));
