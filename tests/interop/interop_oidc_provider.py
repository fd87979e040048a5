"""oidc-provider (npm) as a child process, and the person at its pages."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess

from interop_browser import MAX_PAGES, Browser
from interop_oauth import DEVICE_GRANT, http

HERE = pathlib.Path(__file__).resolve().parent
INSTALL_TIMEOUT_S = 600

RESOURCE = "urn:mltoken:api"

# Each character that RFC 6749 2.3.1 form-encodes before Base64, and the colon that would end the name too early.
BASIC_ID = "ml:token+basic %41/1"
BASIC_SECRET = "s:e+c%72et &=?/~ \"x\""
POST_ID = "mltoken-post"
POST_SECRET = "post+secret&client_id=other %20"
PUBLIC_ID = "mltoken-device"
WEB_ID = "mltoken-browser"

CLIENTS = [
    {"client_id": BASIC_ID, "client_secret": BASIC_SECRET, "token_endpoint_auth_method": "client_secret_basic",
     "grant_types": ["client_credentials", DEVICE_GRANT, "refresh_token"],
     "id_token_signed_response_alg": "ES256"},
    {"client_id": POST_ID, "client_secret": POST_SECRET, "token_endpoint_auth_method": "client_secret_post",
     "grant_types": ["client_credentials", DEVICE_GRANT, "refresh_token"],
     "id_token_signed_response_alg": "PS256"},
    {"client_id": PUBLIC_ID, "token_endpoint_auth_method": "none", "application_type": "native",
     "grant_types": [DEVICE_GRANT, "refresh_token"]},
]
# Clients that prove themselves with a key of their own (RFC 7523).
KEY_CLIENTS = {"mltoken-rsa": ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
               "mltoken-ec": ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]}
for _client in CLIENTS:
    _client.update({"redirect_uris": [], "response_types": []})
# RFC 8252: of a native client's loopback address any port is good
CLIENTS.append({"client_id": WEB_ID, "token_endpoint_auth_method": "none", "application_type": "native",
                "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
                "redirect_uris": ["http://127.0.0.1/"]})

TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
PLAIN = {"grant_types": ["client_credentials"], "redirect_uris": [], "response_types": []}


def secure_clients(known):
    """Of a server with TLS. known: {name: certificate's PEM} of its clients."""
    browser = {"grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
               "application_type": "native", "redirect_uris": ["http://127.0.0.1/"]}
    return [
        {"client_id": "by-authority", "token_endpoint_auth_method": "tls_client_auth",
         "tls_client_auth_subject_dn": "CN=by-authority", **PLAIN},
        {"client_id": "self-signed", "token_endpoint_auth_method": "self_signed_tls_client_auth",
         "certificatePem": known["self-signed"], "kid": "own", **PLAIN},
        {"client_id": "bound", "token_endpoint_auth_method": "self_signed_tls_client_auth",
         "certificatePem": known["bound"], "kid": "own", "tls_client_certificate_bound_access_tokens": True, **PLAIN},
        {"client_id": "dpop-only", "client_secret": POST_SECRET, "dpop_bound_access_tokens": True, **PLAIN},
        {"client_id": "plain", "client_secret": POST_SECRET, "token_endpoint_auth_method": "client_secret_post", **PLAIN},
        {"client_id": "trader", "client_secret": POST_SECRET, **PLAIN, "grant_types": [TOKEN_EXCHANGE]},
        {"client_id": "pushing", "token_endpoint_auth_method": "none", **browser},
        {"client_id": "pushing-tls", "token_endpoint_auth_method": "tls_client_auth",
         "tls_client_auth_subject_dn": "CN=by-authority", **browser},
    ]


def install(folder):
    """The locked packages, installed into the build folder, once for each content of the lock. The lock names no
    registry: that is npm's own setting."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = (HERE / "node" / "package-lock.json").read_bytes()
    stamp = folder / "installed.json"
    if not stamp.exists() or stamp.read_bytes() != wanted:
        for name in ("package.json", "package-lock.json"):
            shutil.copyfile(HERE / "node" / name, folder / name)
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=folder, check=True,
                       timeout=INSTALL_TIMEOUT_S, stdin=subprocess.DEVNULL)
        stamp.write_bytes(wanted)
    # beside node_modules, so that node finds the package
    shutil.copyfile(HERE / "node" / "server.js", folder / "server.js")
    return folder


def node(folder):
    """The Node that the lock names: Debian 12's own is older than what these libraries take for granted. Another
    machine's kind, which the lock has none for, brings its own."""
    return next((str(ours) for ours in pathlib.Path(folder).glob("node_modules/node-linux-*/bin/node")), "node")


def key_client(name, folder):
    """Makes a client's key, KEY.pem in the folder; returns what the server knows of it."""
    path = pathlib.Path(folder) / f"{name}.pem"
    subprocess.run(["openssl", *KEY_CLIENTS[name], "-out", path], check=True, capture_output=True)
    path.chmod(0o600)
    public = subprocess.run(["openssl", "pkey", "-in", path, "-pubout"], check=True, capture_output=True, text=True)
    return {"client_id": name, "token_endpoint_auth_method": "private_key_jwt", "publicPem": public.stdout,
            "kid": name, "grant_types": ["client_credentials", DEVICE_GRANT, "refresh_token"], "redirect_uris": [],
            "response_types": []}


class OidcProvider:
    name = "oidc-provider"
    person = "alice"
    basic, post, public = (BASIC_ID, BASIC_SECRET), (POST_ID, POST_SECRET), PUBLIC_ID
    web = WEB_ID
    machine_scope = "api:read"
    # the access token is for RESOURCE, so its scopes are that resource's alone
    login_scope, granted_scope = "openid offline_access api:read", "api:read"
    machine_audience = login_audience = RESOURCE
    public_may_revoke = True

    def __init__(self, issuer, log, keys, ca_file=None):
        self.issuer, self.log, self.keys, self.ca_file = issuer, log, keys, ca_file
        self.door = issuer + "/interop/api"

    def refresh_tokens(self, client_id):
        """What the server itself says: [(value, live)] of each refresh token it gave this client, oldest first."""
        _, _, body = http(self.issuer + "/interop/refresh_tokens")
        return [(one["value"], one["live"]) for one in json.loads(body) if one["client_id"] == client_id]

    def browse(self, prompt, deny=False, typed=False, person=None, client_id=None):
        """The person: opens the address, gives the code, signs in, consents (or says no). The last page's text."""
        browser = Browser(self.ca_file)
        browser.open(prompt["verification_uri"] if typed else prompt["verification_uri_complete"])
        for _ in range(MAX_PAGES):
            assert browser.status == 200, f"{browser.status} {browser.url}\n{browser.text}"
            if not browser.forms:
                return browser.text
            form = browser.forms[0]
            if form["kinds"].get("user_code") == "text":
                browser.submit(form, user_code=prompt["user_code"].lower())
            elif "confirm" in form["fields"] and deny:
                browser.submit(form, abort="yes")
                return browser.text
            elif form["fields"].get("prompt") == "login":
                browser.submit(form, login=person or self.person, password="any")
            else:
                browser.submit(form)
        raise AssertionError(f"still a form after {MAX_PAGES} pages: {browser.url}\n{browser.text}")


@contextlib.contextmanager
def running(install_dir, work_dir, access_ttl=3600, refresh_ttl=86400, device_ttl=600, clients=None, tls=None):
    """The server on a free loopback port. It ends with our end of its standard input, at the latest when we die."""
    work_dir = pathlib.Path(work_dir)
    settings = work_dir / "settings.json"
    if clients is None:
        clients = CLIENTS + [key_client(name, work_dir) for name in KEY_CLIENTS]
    settings.write_text(json.dumps({"clients": clients, "accessTtl": access_ttl, "refreshTtl": refresh_ttl,
                                    "deviceTtl": device_ttl, "tls": tls}))
    log = work_dir / "oidc-provider.log"
    with open(log, "wb") as stderr:
        child = subprocess.Popen(
            [node(install_dir), str(pathlib.Path(install_dir) / "server.js"), str(settings)], cwd=install_dir,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": str(work_dir)})
    try:
        line = child.stdout.readline()
        assert line, f"oidc-provider did not start:\n{log.read_text()}"
        yield OidcProvider(json.loads(line)["issuer"], log, work_dir, tls and tls["ca"])
    finally:
        child.stdin.close()
        try:
            child.wait(timeout=60)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdout.close()
