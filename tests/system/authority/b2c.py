"""Azure AD B2C (WIRE section 8): the user flow in the path, numbers now as texts and now not, no device codes.

Each flow has its own refresh tokens; one for which a test puts a KeySet into Authority.flow_keys has its own keys too.

http://127.0.0.1:PORT/fabrikamb2c.onmicrosoft.com/B2C_1_ropc is one (or /tfp/..., or the tenant's id).
"""

import time
import uuid

from .dialects import EntraV2, Problem

NAME = "fabrikamb2c.onmicrosoft.com"
ID = "b2c00000-0000-4000-8000-0000000000b2"


class B2c(EntraV2):
    """Of one tenant and user flow; the issuer names the tenant by its id, and the flow in small letters or not at all."""

    name = "b2c"
    features = {"openid", "jwks"}

    def __init__(self, before, policy):
        super().__init__(before.rpartition("/")[2])
        self.tfp = before.startswith("/tfp/")
        self.prefix, self.policy = f"{before}/{policy}", policy
        self.paths = {self.prefix + "/oauth2/v2.0/token": "token", self.prefix + "/oauth2/v2.0/authorize": "authorize", self.prefix + "/discovery/v2.0/keys": "jwks",
                      self.prefix + "/v2.0/.well-known/openid-configuration": "metadata:openid"}

    def issuer(self, base, store=None, user=None):
        return f"{base}/tfp/{ID}/{self.policy.lower()}/v2.0/" if self.tfp else f"{base}/{ID}/v2.0/"

    def metadata(self, base, store, features, auth_methods):
        root = base + self.prefix
        return {"issuer": self.issuer(base), "authorization_endpoint": root + "/oauth2/v2.0/authorize",
                "token_endpoint": root + "/oauth2/v2.0/token", "jwks_uri": root + "/discovery/v2.0/keys",
                "end_session_endpoint": root + "/oauth2/v2.0/logout",
                "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
                "response_types_supported": ["code", "code id_token", "code token", "id_token", "id_token token", "token"],
                "scopes_supported": ["openid"], "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"]}

    def grant(self, form):
        grant, scopes = super().grant(form), form.get("scope", "").split()
        if grant == "device_code":
            return None
        if grant == "client_credentials" and not (len(scopes) == 1 and scopes[0].endswith("/.default")):
            raise Problem("invalid_scope", "AADB2C90117: The scope provided in the request is not supported.")
        if grant == "password":
            if form.get("response_type") != "token id_token":
                raise Problem("unsupported_response_type", "AADB2C90056: response_type is missing or not supported.")
            if "openid" not in scopes or form.get("client_id") not in scopes:
                raise Problem("invalid_scope", "AADB2C90117: The scope provided in the request is not supported.")
            if "client_secret" in form:
                raise Problem("invalid_request", "AADB2C90058: not for confidential clients in these tests.")
        return grant

    def identity_claims(self):
        return {"acr" if self.policy.lower().startswith("b2c_1_old") else "tfp": self.policy}

    def owns(self, prefix):
        return prefix.lower() == self.prefix.lower()

    def tokens(self, body, grant):
        now, life = int(time.time()), body.get("expires_in", 3600)
        body.pop("scope", None)
        if grant == "password":
            return {**body, "expires_in": str(life)}
        body.update(not_before=now, expires_on=now + life, resource=ID)
        if grant == "refresh_token":
            body.update(id_token_expires_in=life, profile_info="e30", refresh_token_expires_in=1209600)
        return body

    def error(self, problem):
        error, text = problem.error, problem.description
        if "unknown refresh token" in text:
            text = "AADB2C90088: The provided grant has not been issued for this endpoint."
        if error == "invalid_grant" and "password" in text:
            error, text = "access_denied", "AADB2C90225: The username or password provided in the request are invalid."
        return {"error": error, "error_description": f"{text}\r\nCorrelation ID: {uuid.uuid4()}\r\nTimestamp: "
                                                     f"{time.strftime('%Y-%m-%d %H:%M:%SZ', time.gmtime())}\r\n"}


def route(path):
    """(dialect, endpoint), or None when it is not below a tenant of ours."""
    parts = path.split("/")[1:]
    tfp = parts[0].lower() == "tfp"
    tenant = parts[tfp] if len(parts) > tfp else ""
    if tenant not in (NAME, ID) or len(parts) < 3 + tfp:
        return None
    dialect = B2c("/" + "/".join(parts[:1 + tfp]), parts[1 + tfp])
    endpoint = dialect.paths.get(path)
    return (dialect, endpoint) if endpoint else (None, None)
