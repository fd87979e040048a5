// oidc-provider on a free loopback port, for the interop tests.
//
// argv[2]: a JSON file { clients: [...], accessTtl, refreshTtl, deviceTtl } written by the tests, so that ids and secrets
// are said in one place. Prints one line, {"issuer": ...}, when it serves; ends when its standard input ends.
// Two addresses are for the tests alone: /interop/refresh_tokens, what the server itself knows of the refresh tokens it
// gave; /interop/api, a service of RESOURCE that lets in who has a token for it.
import { createPublicKey, generateKeyPairSync, webcrypto } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createLocalJWKSet, jwtVerify } from 'jose';
import { Provider } from 'oidc-provider';

// Debian 12 has Node 18, which lacks these two; oidc-provider asks for a newer Node but uses no more of it here.
globalThis.crypto ??= webcrypto;
URL.parse ??= (url, base) => (URL.canParse(url, base) ? new URL(url, base) : null);

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const RESOURCE = 'urn:mltoken:api';

function jwk(kid, alg, type, options) {
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: 'jwk' }), kid, alg, use: 'sig' };
}

function publicPart({ d, p, q, dp, dq, qi, ...rest }) {
  return rest;
}

// A client that proves itself with a key has it as publicPem; its kid is the client's choice.
function client({ publicPem, kid, ...rest }) {
  return publicPem
    ? { ...rest, jwks: { keys: [{ ...createPublicKey(publicPem).export({ format: 'jwk' }), kid, use: 'sig' }] } }
    : rest;
}

const configuration = {
  clients: settings.clients.map(client),
  jwks: {
    keys: [
      jwk('rsa-1', 'RS256', 'rsa', { modulusLength: 2048 }),
      jwk('rsa-2', 'PS256', 'rsa', { modulusLength: 2048 }),
      jwk('ec-1', 'ES256', 'ec', { namedCurve: 'P-256' }),
    ],
  },
  cookies: { keys: ['interop'] },
  scopes: ['openid', 'offline_access'],
  enabledJWA: { idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256'] },
  features: {
    devInteractions: { enabled: true },
    deviceFlow: { enabled: true },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    userinfo: { enabled: true },
    resourceIndicators: {
      enabled: true,
      // A client that names no resource gets a token for RESOURCE: so each access token here is a JWT.
      defaultResource: (ctx, client, oneOf) => oneOf ?? RESOURCE,
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, resource) => ({
        scope: 'api:read api:write',
        audience: resource,
        accessTokenFormat: 'jwt',
        accessTokenTTL: settings.accessTtl,
        jwt: { sign: { alg: 'RS256' } },
      }),
    },
  },
  rotateRefreshToken: true,
  // The same value for everybody: nobody logs out of a session here.
  expiresWithSession: () => false,
  findAccount: (ctx, sub) => ({ accountId: sub, claims: () => ({ sub, name: `${sub} of interop` }) }),
  ttl: {
    DeviceCode: settings.deviceTtl,
    RefreshToken: settings.refreshTtl,
    IdToken: 3600,
    Interaction: 600,
    Session: 3600,
    Grant: 86400,
  },
};

const issued = []; // { value, clientId } of each refresh token, oldest first

async function ledger(provider) {
  return Promise.all(issued.map(async ({ value, clientId }) => {
    const token = await provider.RefreshToken.find(value);
    return { value, client_id: clientId, live: Boolean(token && !token.consumed) };
  }));
}

async function api(issuer, request) {
  const { keys } = configuration.jwks;
  const [, token] = /^Bearer (\S+)$/.exec(request.headers.authorization ?? '') ?? [];
  const { payload } = await jwtVerify(token ?? '', createLocalJWKSet({ keys: keys.map(publicPart) }), {
    issuer,
    audience: RESOURCE,
    typ: 'at+jwt',
  });
  return { sub: payload.sub, scope: payload.scope };
}

const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration);
  provider.on('server_error', (ctx, error) => console.error(error));
  provider.on('refresh_token.saved', (token) => {
    if (!issued.some(({ value }) => value === token.jti)) {
      issued.push({ value: token.jti, clientId: token.clientId });
    }
  });
  const serve = provider.callback();
  server.on('request', (request, response) => {
    const say = (value) => response.end(JSON.stringify(value));
    if (request.url === '/interop/refresh_tokens') {
      ledger(provider).then(say);
    } else if (request.url === '/interop/api') {
      api(issuer, request).then(say, (error) => response.writeHead(401).end(String(error)));
    } else {
      serve(request, response);
    }
  });
  process.stdout.write(`${JSON.stringify({ issuer })}\n`);
});
process.stdin.on('end', () => process.exit(0)).resume();
