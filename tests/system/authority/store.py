"""What the authority knows: clients, users, device codes, token families. All of it plain data that a test may change."""

import secrets
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Optional

USER_CODE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"


@dataclass
class Client:
    """A client and how the authority treats it. An id that ends in * stands for all ids with that beginning."""

    id: str
    secret: Optional[str] = None                 # None: a public client
    public_key: Optional[str] = None             # PEM, for private_key_jwt
    certificate: Optional[str] = None            # PEM, whose thumbprint Entra's dialects ask for
    tls_certificate: Optional[str] = None        # x5t#S256 of what it shows in TLS
    auth: tuple = ("client_secret_basic", "client_secret_post", "none")  # "none" counts for public clients alone
    grants: tuple = ("client_credentials", "device_code", "refresh_token")
    scopes: Optional[list] = None                # allowed scopes; None: any
    default_scope: str = "default"
    audience: Optional[str] = None               # of access tokens; default: resource, audience asked for, or issuer

    token_lifetime: float = 3600                 # seconds, may be a fraction
    refresh_lifetime: float = 86400 * 90
    device_lifetime: float = 900
    id_token_lifetime: float = 3600
    interval: Any = 5                            # the device interval told; None: not told
    enforce_interval: bool = True                # polling faster than interval earns slow_down

    token_format: str = "jwt"                    # or opaque
    alg: str = "ES256"                           # of access tokens
    token_padding: int = 0                       # bytes of a padding claim (or of an opaque token)
    refresh_token: str = "offline_access"        # given when that scope was asked for; or always, never
    rotation: Any = True                         # True; False: never a new one; "same": told again;
                                                 # "overlap": a new one while the old lives on (Entra)
    reuse_grace: float = 0                       # seconds in which a used refresh token may come again
    revoke_family_on_reuse: bool = True
    cc_refresh_token: bool = False               # a refresh token with client_credentials

    id_token: bool = True                        # when openid was asked for
    id_token_alg: str = "RS256"
    id_token_claims: dict = field(default_factory=dict)  # None as a value leaves the claim out
    id_token_forge: Optional[str] = None         # see keys.py

    token_type: str = "Bearer"
    expires_in: Any = True                       # True: told as it is; False: left out; else this value is told
    scope_told: bool = True
    refresh_in: Any = None
    extra: dict = field(default_factory=dict)    # more members of a token answer
    device_extra: dict = field(default_factory=dict)
    access_token_claims: dict = field(default_factory=dict)

    verification_uri: Optional[str] = None       # overrules the page of this authority
    verification_uri_complete: bool = True
    auto_approve: Optional[str] = None           # approve device codes as this user ...
    auto_approve_after: int = 0                  # ... after so many polls
    redirect_extra: dict = field(default_factory=dict)  # more for a browser's way back; None leaves a member out
    device_script: list = field(default_factory=list)  # errors for the next polls, before anything else

    def accepts(self, method):
        return method in self.auth and (method == "none") == (self.secret is None)


@dataclass
class User:
    """A person. tid is the tenant for Entra's dialects."""

    name: str
    sub: str
    email: str
    full_name: str
    password: str = "correct horse"
    second_factor: bool = False                  # a password alone is not enough
    oid: str = ""
    tid: str = "9188040d-6c67-4c5b-b112-36a304b66dad"
    claims: dict = field(default_factory=dict)

    def identity_claims(self):
        return {"preferred_username": self.email, "email": self.email, "name": self.full_name, **self.claims}


@dataclass
class DeviceCode:
    code: str
    user_code: str
    client: str
    scopes: list
    resource: Optional[str]
    prefix: str
    expires: float
    interval: float
    state: str = "pending"                       # approved, denied, used
    user: Optional[str] = None
    polls: int = 0
    last_poll: float = 0
    nonce: Optional[str] = None


@dataclass
class Family:
    """A sign-in's refresh tokens: one is current, the others were used at a time."""

    client: str
    user: Optional[str]
    scopes: list
    resource: Optional[str]
    prefix: str
    expires: float
    auth_time: float
    nonce: Optional[str] = None                  # of the authorization request
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    current: Optional[str] = None
    used: dict = field(default_factory=dict)
    revoked: bool = False
    access: list = field(default_factory=list)
    issued: list = field(default_factory=list)   # (access token, the refresh token that came with it or None), in order


@dataclass
class AccessToken:
    value: str
    client: str
    user: Optional[str]
    scope: str
    audience: Any
    issuer: str
    expires: float
    issued: float
    family: Optional[str] = None
    revoked: bool = False


# Secrets with the characters that a wrong encoding loses; both marks are easy to grep for in a log.
SECRET_PLAIN = "secretMARKplain0123456789"
SECRET_ODD = "secretMARKodd p%ss:w+rd/ü&=?"


def default_clients():
    clients = [
        Client("svc", SECRET_PLAIN, grants=("client_credentials",)),
        Client("svc odd:id/+%", SECRET_ODD, grants=("client_credentials",)),
        Client("svc-basic", SECRET_ODD, auth=("client_secret_basic",), grants=("client_credentials",)),
        Client("svc-post", SECRET_ODD, auth=("client_secret_post",), grants=("client_credentials",)),
        Client("device", grants=("device_code", "refresh_token"), interval=1),
        Client("device-conf", SECRET_PLAIN, grants=("device_code", "refresh_token"), interval=1),
        Client("native", grants=("device_code", "refresh_token"), interval=1, rotation="overlap"),
        Client("web", grants=("authorization_code", "refresh_token")),
        Client("web-conf", SECRET_ODD, grants=("authorization_code", "refresh_token")),
        Client("web-native", grants=("authorization_code", "refresh_token"), rotation="overlap"),
        Client("typed", grants=("password", "refresh_token"), interval=1),
        Client("typed-native", grants=("password", "refresh_token"), rotation="overlap"),
        Client("mlserver", grants=(), rotation=True, token_format="opaque"),
        Client("load-*", SECRET_PLAIN, token_format="opaque", interval=1),
    ]
    return {c.id: c for c in clients}


def default_users():
    users = [
        User("alice", "sub-alice-1", "alice@example.org", "Alice Example", oid="a11ce000-0000-4000-8000-000000000001"),
        User("bob", "sub-bob-2", "bob@example.org", "Bob Example", oid="b0b00000-0000-4000-8000-000000000002"),
    ]
    return {u.name: u for u in users}


class Store:
    """Owns everything above. Not locked: its caller is."""

    def __init__(self):
        self.clients = default_clients()
        self.users = default_users()
        self.tenants = {"contoso.onmicrosoft.com": "c0470500-0000-4000-8000-00000000c050"}
        self.device_codes = {}
        self.user_codes = {}
        self.refresh_tokens = {}
        self.families = {}
        self.access_tokens = {}
        self.id_tokens = []
        self.used_jtis = {}
        self.codes = {}
        self.pushed = {}

    def client(self, client_id):
        found = self.clients.get(client_id)
        if found is None and client_id:
            for known in self.clients.values():
                if known.id.endswith("*") and client_id.startswith(known.id[:-1]):
                    return known
        return found

    def new_device_code(self, client_id, client, scopes, resource, prefix):
        letters = "".join(secrets.choice(USER_CODE_LETTERS) for _ in range(8))
        interval = client.interval if isinstance(client.interval, (int, float)) else 5
        code = DeviceCode("devicecodeMARK" + secrets.token_urlsafe(24), letters[:4] + "-" + letters[4:], client_id,
                          scopes, resource, prefix, time.time() + client.device_lifetime, max(interval, 0))
        self.device_codes[code.code] = code
        self.user_codes[letters] = code
        return code

    def by_user_code(self, user_code):
        return self.user_codes.get("".join(c for c in user_code.upper() if c.isalpha()))

    def new_refresh_token(self, family):
        value = "refreshMARK" + secrets.token_urlsafe(32)
        family.current = value
        self.families[family.id] = family
        self.refresh_tokens[value] = family
        return value

    def revoke_family(self, family):
        family.revoked = True
        for value in family.access:
            token = self.access_tokens.get(value)
            if token:
                token.revoked = True

    def secrets(self):
        """Each secret this authority knows of or handed out: none may appear in a log."""
        found = [c.secret for c in self.clients.values() if c.secret]
        found += list(self.codes)
        found += list(self.device_codes) + list(self.refresh_tokens) + list(self.access_tokens) + self.id_tokens
        return found
