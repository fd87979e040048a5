// oidc-provider on a free loopback port, for the interop tests.
//
// argv[2]: a JSON file { clients: [...], accessTtl, refreshTtl, deviceTtl, tls } written by the tests, so that ids and
// secrets are said in one place. tls: { cert, key, clientCa }, files; then it serves https, knows clients by their
// certificates (RFC 8705), and takes pushed authorization requests alone (RFC 9126). Prints one line, {"issuer": ...},
// when it serves; ends when its standard input ends.
// Two addresses are for the tests alone: /interop/refresh_tokens, what the server itself knows of the refresh tokens it
// gave; /interop/api, a service of RESOURCE that lets in who has a token for it.
import { createPublicKey, generateKeyPairSync, webcrypto, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createLocalJWKSet, jwtVerify } from 'jose';
import { errors, Provider } from 'oidc-provider';

// Debian 12 has Node 18, which lacks these two; oidc-provider asks for a newer Node but uses no more of it here.
globalThis.crypto ??= webcrypto;
URL.parse ??= (url, base) => (URL.canParse(url, base) ? new URL(url, base) : null);

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const { tls } = settings;
const RESOURCE = 'urn:mltoken:api';
const OPAQUE = 'urn:mltoken:opaque'; // its tokens are names that only introspection explains
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange';

function jwk(kid, alg, type, options) {
  const { privateKey } = generateKeyPairSync(type, options);
  return { ...privateKey.export({ format: 'jwk' }), kid, alg, use: 'sig' };
}

function publicPart({ d, p, q, dp, dq, qi, ...rest }) {
  return rest;
}

// A client that proves itself with a key has it as publicPem, its kid is the client's choice; one that does with a
// certificate of its own has certificatePem.
function client({ publicPem, certificatePem, kid, ...rest }) {
  const pem = publicPem ?? certificatePem;
  if (!pem) {
    return rest;
  }
  const key = { ...createPublicKey(pem).export({ format: 'jwk' }), kid, use: 'sig' };
  if (certificatePem) {
    key.x5c = [new X509Certificate(certificatePem).raw.toString('base64')];
  }
  return { ...rest, jwks: { keys: [key] } };
}

const mutualTls = {
  enabled: true,
  certificateBoundAccessTokens: true,
  selfSignedTlsClientAuth: true,
  tlsClientAuth: true,
  getCertificate: (ctx) => ctx.socket.getPeerX509Certificate(),
  certificateAuthorized: (ctx) => ctx.socket.authorized,
  certificateSubjectMatches: (ctx, property, expected) =>
    property === 'tls_client_auth_subject_dn' && ctx.socket.getPeerX509Certificate().subject === expected,
};

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
  clientAuthMethods: ['none', 'client_secret_basic', 'client_secret_post', 'private_key_jwt',
    ...(tls ? ['tls_client_auth', 'self_signed_tls_client_auth'] : [])],
  scopes: ['openid', 'offline_access'],
  enabledJWA: { idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256'] },
  features: {
    devInteractions: { enabled: true },
    deviceFlow: { enabled: true },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    userinfo: { enabled: true },
    ...(tls ? { mTLS: mutualTls, pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: true } } : {}),
    resourceIndicators: {
      enabled: true,
      // A client that names no resource gets a token for RESOURCE: so each access token here is a JWT.
      defaultResource: (ctx, client, oneOf) => oneOf ?? RESOURCE,
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, resource) => ({
        scope: 'api:read api:write',
        audience: resource,
        accessTokenFormat: resource === OPAQUE ? 'opaque' : 'jwt',
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

async function ownToken(issuer, token) {
  const { keys } = configuration.jwks;
  const { payload } = await jwtVerify(token ?? '', createLocalJWKSet({ keys: keys.map(publicPart) }), {
    issuer,
    audience: RESOURCE,
    typ: 'at+jwt',
  });
  return payload;
}

async function api(issuer, request) {
  const [, token] = /^Bearer (\S+)$/.exec(request.headers.authorization ?? '') ?? [];
  const { sub, scope } = await ownToken(issuer, token);
  return { sub, scope };
}

// Token exchange (RFC 8693): a token of this server's, for another audience. Client authentication, the form and the
// token are oidc-provider's; the grant is none of its own.
function exchange(provider, issuer) {
  return async (ctx) => {
    const { params, client: asker } = ctx.oidc;
    let subject;
    try {
      subject = await ownToken(issuer, params.subject_token);
    } catch (error) {
      throw new errors.InvalidRequest(`the subject token is not good: ${error.message}`);
    }
    const audience = params.audience ?? RESOURCE;
    const token = new provider.AccessToken({
      client: asker, accountId: subject.sub, scope: params.scope, gty: 'token_exchange', extra: { act: { sub: subject.client_id } },
    });
    token.resourceServer = new provider.ResourceServer(
      audience, configuration.features.resourceIndicators.getResourceServerInfo(ctx, audience));
    ctx.body = {
      access_token: await token.save(), issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      token_type: token.tokenType, expires_in: token.expiration, scope: token.scope,
    };
  };
}

const server = tls
  ? createTlsServer({ cert: readFileSync(tls.cert), key: readFileSync(tls.key), ca: readFileSync(tls.clientCa), requestCert: true,
    rejectUnauthorized: false })
  : createServer();
server.listen(0, '127.0.0.1', () => {
  const issuer = tls ? `https://localhost:${server.address().port}` : `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, configuration);
  provider.registerGrantType(EXCHANGE, exchange(provider, issuer),
    ['subject_token', 'subject_token_type', 'requested_token_type', 'audience', 'scope', 'resource']);
  provider.on('server_error', (ctx, error) => console.error(error));
  provider.on('grant.error', (ctx, error) => console.error(error.message, error.error_detail ?? ''));
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
