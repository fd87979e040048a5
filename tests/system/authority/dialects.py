"""How authorities differ: paths, metadata, the names of fields and the shape of errors.

A dialect is stateless; its prefix is the part of the path that names the issuer.
"""

import time
import urllib.parse
import uuid

GRANTS = {"authorization_code": "authorization_code", "client_credentials": "client_credentials", "refresh_token": "refresh_token", "password": "password",
          "urn:ietf:params:oauth:grant-type:device_code": "device_code",
          "urn:ietf:params:oauth:grant-type:token-exchange": "token_exchange",
          "urn:ietf:params:oauth:grant-type:jwt-bearer": "jwt_bearer"}
FEATURES = ("openid", "rfc8414", "revocation", "introspection", "userinfo", "jwks", "device")


class Problem(Exception):
    """An OAuth error on its way out."""

    def __init__(self, error, description="", status=400, headers=None, **members):
        super().__init__(error)
        self.error, self.description, self.status = error, description, status
        self.headers, self.members = headers or {}, members


class Oidc:
    """OpenID discovery and RFC 8414 documents, every endpoint below the issuer."""

    name = "oidc"
    features = {"openid", "rfc8414", "revocation", "introspection", "userinfo", "jwks", "device"}
    paths = {"/token": "token", "/authorize": "authorize", "/par": "push", "/device_authorization": "device", "/revoke": "revoke", "/introspect": "introspect",
             "/userinfo": "userinfo", "/jwks": "jwks", "/.well-known/openid-configuration": "metadata:openid"}
    device_code_field = "device_code"
    resource_is_scope = False

    def __init__(self, prefix):
        self.prefix = prefix

    def issuer(self, base, store=None, user=None):
        return base + self.prefix

    def grant(self, form):
        return GRANTS.get(form.get("grant_type", ""))

    def metadata(self, base, store, features, auth_methods):
        root = self.issuer(base, store)
        document = {
            "issuer": root,
            "authorization_endpoint": root + "/authorize",
            "token_endpoint": root + "/token",
            "response_types_supported": ["code"],
            "grant_types_supported": list(GRANTS),
            "token_endpoint_auth_methods_supported": list(auth_methods),
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256", "PS256", "ES256"],
        }
        for feature, name, path in (("jwks", "jwks_uri", "/jwks"), ("userinfo", "userinfo_endpoint", "/userinfo"),
                                    ("device", "device_authorization_endpoint", "/device_authorization"),
                                    ("revocation", "revocation_endpoint", "/revoke"),
                                    ("introspection", "introspection_endpoint", "/introspect")):
            if feature in features:
                document[name] = root + path
        return document

    def device(self, code, client, verification_uri, lifetime):
        body = {"device_code": code.code, "user_code": code.user_code, "verification_uri": verification_uri,
                "expires_in": int(lifetime) if lifetime == int(lifetime) else lifetime}
        if client.interval is not None:
            body["interval"] = client.interval
        if client.verification_uri_complete:
            joint = "&" if "?" in verification_uri else "?"
            body["verification_uri_complete"] = verification_uri + joint + "user_code=" + code.user_code
        return body

    def tokens(self, body, grant):
        return body

    def identity_claims(self):
        """What its tokens say beside."""
        return {}

    def owns(self, prefix):
        """Whether a refresh token of that issuer path is one of this."""
        return prefix.split("/")[1] == self.prefix.split("/")[1]

    def error(self, problem):
        body = {"error": problem.error}
        if problem.description:
            body["error_description"] = problem.description
        body.update(problem.members)
        return body


class OAuth(Oidc):
    """A plain OAuth server: only the RFC 8414 document (at the inserted place), no id_tokens."""

    name = "oauth"
    features = {"rfc8414", "revocation", "introspection", "device", "jwks"}
    paths = {k: v for k, v in Oidc.paths.items() if v != "userinfo"}

    def tokens(self, body, grant):
        body.pop("id_token", None)
        return body


# error word -> (AADSTS number, text)
ENTRA_ERRORS = {
    "authorization_pending": (70016, "OAuth 2.0 device flow error. Authorization is pending. Continue polling."),
    "authorization_declined": (70018, "The end user denied the authorization request."),
    "expired_token": (70020, "The provided value for the input parameter 'device_code' is not valid. It has expired."),
    "code_expired": (70019, "Verification code expired."),
    "bad_verification_code": (70018, "The provided value for the input parameter 'device_code' is not valid."),
    "slow_down": (70016, "Polling too fast."),
    "invalid_client": (7000215, "Invalid client secret provided. Ensure the secret being sent in the request is the "
                                "client secret value, not the client secret ID."),
    "unauthorized_client": (700016, "Application was not found in the directory."),
    "invalid_grant": (700082, "The refresh token has expired due to inactivity."),
    "invalid_scope": (70011, "The provided value for the input parameter 'scope' is not valid."),
    "invalid_request": (900144, "The request body must contain the required parameter."),
    "unsupported_grant_type": (70003, "The app returned an unsupported grant type."),
    "interaction_required": (50076, "Due to a configuration change made by your administrator, you must use "
                                    "multi-factor authentication to access the resource."),
    "temporarily_unavailable": (90033, "A transient error has occurred. Please try again."),
}
WORDS_V2 = {"access_denied": "authorization_declined"}
WORDS_V1 = {"expired_token": "code_expired"}


class EntraV2(Oidc):
    """/TENANT/v2.0 of Entra ID."""

    name = "entra"
    features = {"openid", "userinfo", "jwks", "device"}
    words = WORDS_V2
    resource_is_scope = True

    def __init__(self, tenant):
        super().__init__(f"/{tenant}/v2.0")
        self.tenant = tenant
        self.paths = {f"/{tenant}/oauth2/v2.0/token": "token", f"/{tenant}/oauth2/v2.0/authorize": "authorize",
                      f"/{tenant}/oauth2/v2.0/devicecode": "device",
                      f"/{tenant}/discovery/v2.0/keys": "jwks",
                      f"/{tenant}/v2.0/.well-known/openid-configuration": "metadata:openid",
                      "/oidc/userinfo": "userinfo"}

    def grant(self, form):
        word = form.get("grant_type", "")
        return word if word == "device_code" else GRANTS.get(word)  # the short form is npm's @azure/msal-node's

    def tenant_id(self, store, user=None):
        if self.tenant in ("common", "organizations", "consumers"):
            return user.tid if user else "{tenantid}"
        return store.tenants.get(self.tenant, self.tenant)

    def issuer(self, base, store=None, user=None):
        return f"{base}/{self.tenant_id(store, user)}/v2.0"

    def metadata(self, base, store, features, auth_methods):
        root = f"{base}/{self.tenant}"
        return {
            "token_endpoint": root + "/oauth2/v2.0/token",
            "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
            "jwks_uri": root + "/discovery/v2.0/keys",
            "response_modes_supported": ["query", "fragment", "form_post"],
            "subject_types_supported": ["pairwise"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
            "scopes_supported": ["openid", "profile", "email", "offline_access"],
            "issuer": self.issuer(base, store),
            "userinfo_endpoint": base + "/oidc/userinfo",
            "authorization_endpoint": root + "/oauth2/v2.0/authorize",
            "device_authorization_endpoint": root + "/oauth2/v2.0/devicecode",
            "http_logout_supported": True,
            "end_session_endpoint": root + "/oauth2/v2.0/logout",
            "tenant_region_scope": "EU",
            "cloud_instance_name": "microsoftonline.com",
        }

    def device(self, code, client, verification_uri, lifetime):
        return {"user_code": code.user_code.replace("-", ""), "device_code": code.code,
                "verification_uri": verification_uri, "expires_in": int(lifetime), "interval": client.interval,
                "message": f"To sign in, use a web browser to open the page {verification_uri} and enter the code "
                           f"{code.user_code.replace('-', '')} to authenticate."}

    def tokens(self, body, grant):
        if isinstance(body.get("expires_in"), int):
            body["ext_expires_in"] = body["expires_in"]
        return body

    def error(self, problem):
        error = self.words.get(problem.error, problem.error)
        number, text = ENTRA_ERRORS.get(error, (50000, problem.description or "There was an error."))
        number = problem.members.pop("aadsts", number)
        trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
        stamp = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
        if problem.description:
            text = problem.description
        return {"error": error,
                "error_description": f"AADSTS{number}: {text} Trace ID: {trace} Correlation ID: {correlation} "
                                     f"Timestamp: {stamp}",
                "error_codes": [number], "timestamp": stamp, "trace_id": trace, "correlation_id": correlation,
                "error_uri": f"https://login.microsoftonline.com/error?code={number}", **problem.members}


class EntraV1(EntraV2):
    """/TENANT/oauth2 of Entra ID: resource in place of scope, numbers as strings."""

    name = "entra_v1"
    words = WORDS_V1
    device_code_field = "code"
    resource_is_scope = False

    def __init__(self, tenant):
        super().__init__(tenant)
        self.prefix = f"/{tenant}"
        self.paths = {f"/{tenant}/oauth2/token": "token", f"/{tenant}/oauth2/authorize": "authorize",
                      f"/{tenant}/oauth2/devicecode": "device",
                      f"/{tenant}/discovery/keys": "jwks",
                      f"/{tenant}/.well-known/openid-configuration": "metadata:openid"}

    def issuer(self, base, store=None, user=None):
        return f"{base}/{self.tenant_id(store, user)}"

    def metadata(self, base, store, features, auth_methods):
        root = f"{base}/{self.tenant}"
        return {"authorization_endpoint": root + "/oauth2/authorize", "token_endpoint": root + "/oauth2/token",
                "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
                "jwks_uri": root + "/discovery/keys", "issuer": self.issuer(base, store),
                "device_authorization_endpoint": root + "/oauth2/devicecode",
                "response_types_supported": ["code", "id_token"], "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"]}

    def device(self, code, client, verification_uri, lifetime):
        body = super().device(code, client, verification_uri, lifetime)
        body["verification_url"] = body.pop("verification_uri")
        body["expires_in"] = str(body["expires_in"])
        body["interval"] = str(body["interval"])
        return body

    def tokens(self, body, grant):
        now = int(time.time())
        if isinstance(body.get("expires_in"), int):
            body["expires_on"] = str(now + body["expires_in"])
            body["ext_expires_in"] = str(body["expires_in"])
            body["expires_in"] = str(body["expires_in"])
            body["not_before"] = str(now - 300)
        return body


class MlServer(Oidc):
    """Machine Learning Server, at /mls: see mlserver.py."""

    name = "mlserver"
    features = set()
    paths = {"/login": "mls_login", "/login/refreshToken": "mls_renewal", "/status": "mls_status",
             "/user/login": "mls_login", "/user/login/refreshToken": "mls_renewal"}

    def error(self, problem):
        return {"message": problem.description or problem.error, "link": "https://example.org/errors",
                "exceptionType": "Unauthorized", **problem.members}


class ManagedIdentity(Oidc):
    """The endpoints of a platform for those who run on it, at fixed paths: see managed_identity.py."""

    name = "managed_identity"
    features = set()
    paths = ("/metadata/identity/oauth2/token", "/msi/token", "/shell/token")

    def error(self, problem):
        return problem.members["body"]


WELL_KNOWN_INSERTED = "/.well-known/oauth-authorization-server"


def route(path):
    """(dialect, endpoint) of a path; (None, None) for an unknown one."""
    if path.startswith(WELL_KNOWN_INSERTED):
        rest = path[len(WELL_KNOWN_INSERTED):]
        first = rest.strip("/").split("/")[0]
        if first in ("oidc", "oauth"):
            return (Oidc if first == "oidc" else OAuth)(rest), "metadata:rfc8414"
        return None, None
    if path.rstrip("/") in ManagedIdentity.paths:
        return ManagedIdentity("/identity"), "identity"
    from . import b2c  # it is made of what stands here
    found = b2c.route(path)
    if found:
        return found
    parts = path.split("/")
    if len(parts) < 3:
        return None, None
    if parts[1] == "mls":
        dialect = MlServer("/mls")
        endpoint = MlServer.paths.get(path[len("/mls"):])
        return (dialect, endpoint) if endpoint else (None, None)
    if parts[1] in ("oidc", "oauth"):
        kind = Oidc if parts[1] == "oidc" else OAuth
        for suffix, endpoint in kind.paths.items():
            if path.endswith(suffix):
                return kind(path[:-len(suffix)]), endpoint
        return None, None
    tenant = urllib.parse.unquote(parts[1])
    for kind in (EntraV2, EntraV1):
        dialect = kind(tenant)
        if path in dialect.paths:
            return dialect, dialect.paths[path]
    return None, None
