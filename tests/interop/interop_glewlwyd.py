"""glewlwyd (Debian) as a child process on a database of its own, set up through its admin API, and the person before it."""

import contextlib
import gzip
import json
import pathlib
import socket
import sqlite3
import subprocess
import time
import urllib.parse

from interop_browser import Browser

BINARY = "/usr/bin/glewlwyd"
# what dbconfig-common would run; the second is the same for who has the documentation only
SCHEMAS = ("/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3",
           "/usr/share/doc/glewlwyd/database/init.sqlite3.sql.gz")
MODULES = "/usr/lib/glewlwyd"
START_TIMEOUT_S = 120
START_TRIES = 5
PLUGIN = "glwd"
ADMIN = ("admin", "password")  # as the schema has it; only on loopback, only for the minutes of a test

BASIC_ID = "mltoken-basic"
POST_ID = "mltoken-post"
SECRET = "correct-horse-battery"
POST_SECRET = "post+secret&client_id=other %20"
PUBLIC_ID = "mltoken-device"
SCOPES = ("openid", "api:read", "api:write")

CONFIG = """
port={port}
bind_address="127.0.0.1"
external_url="{scheme}://127.0.0.1:{port}"
login_url="login.html"
api_prefix="api"
static_files_path="{work}/static/"
log_mode="file"
log_level="DEBUG"
log_file="{log}"
cookie_domain="127.0.0.1"
cookie_secure=0
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="{modules}/user"
user_middleware_module_path="{modules}/user_middleware"
client_module_path="{modules}/client"
user_auth_scheme_module_path="{modules}/scheme"
plugin_module_path="{modules}/plugin"
hash_algorithm="SHA512"
database = {{ type = "sqlite3" path = "{database}" }};
static_files_mime_types = ( {{ extension = ".html" mime_type = "text/html" compress = 0 }} )
"""
CONFIG_TLS = """
use_secure_connection=true
secure_connection_pem_file="{tls[cert]}"
secure_connection_key_file="{tls[key]}"
"""


def schema():
    for name in SCHEMAS:
        path = pathlib.Path(name)
        if path.exists():
            data = path.read_bytes()
            return (gzip.decompress(data) if name.endswith(".gz") else data).decode()
    raise FileNotFoundError("glewlwyd's sqlite schema: is the package glewlwyd installed?")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Api:
    """glewlwyd's own REST interface, as one signed-in user."""

    def __init__(self, base, user, password, ca_file=None):
        self.base, self.browser = base, Browser(ca_file)
        self.call("POST", "/auth", {"username": user, "password": password})

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        self.browser.open(self.base + path, data=data, headers=headers, method=method)
        assert self.browser.status == 200, f"{method} {path}: {self.browser.status} {self.browser.text}"
        return json.loads(self.browser.text) if self.browser.text else None


class Glewlwyd:
    name = "glewlwyd"
    person = "alice"
    password = "alice's pass phrase"
    # It does not undo the form-encoding of RFC 6749 2.3.1, so names and secrets for Basic are letters and hyphens here.
    basic, post, public = (BASIC_ID, SECRET), (POST_ID, POST_SECRET), PUBLIC_ID
    machine_scope = "api:read"
    # sorted, as mltoken sends them: the order is part of `aud` below
    login_scope = granted_scope = "api:read openid"
    # without a resource, `aud` is the list of scopes in one string
    machine_audience, login_audience = "api:read", "api:read openid"
    public_may_revoke = False

    def __init__(self, base, log, database, ca_file=None):
        self.base, self.log, self.database, self.ca_file = base, log, database, ca_file
        self.issuer = f"{base}/{PLUGIN}"
        self.door = f"{self.issuer}/userinfo"

    def _query(self, statement, client_id):
        with contextlib.closing(sqlite3.connect(self.database, timeout=20)) as database, database:
            return database.execute(statement, (client_id,)).fetchall()

    def refresh_tokens(self, client_id):
        """What the server itself says: [(None, live)] of each refresh token it gave this client, oldest first; it
        keeps hashes only."""
        rows = self._query("SELECT gpor_enabled FROM gpo_refresh_token WHERE gpor_client_id = ? ORDER BY gpor_id",
                           client_id)
        return [(None, enabled == 1) for (enabled,) in rows]

    def end_last_refresh_token(self, client_id):
        """As an administrator would who ends somebody's session."""
        self._query("UPDATE gpo_refresh_token SET gpor_enabled = 0 WHERE gpor_id ="
                    " (SELECT max(gpor_id) FROM gpo_refresh_token WHERE gpor_client_id = ?)", client_id)

    def browse(self, prompt, deny=False, typed=False, person=None, client_id=PUBLIC_ID):
        """The person: signs in, grants the scopes to the client, gives the code. The pages are a JavaScript
        application over exactly these calls. Returns where the last page led."""
        assert not deny, "glewlwyd's device pages have no way to say no"
        person = Api(self.base, person or self.person, self.password, self.ca_file)
        person.call("PUT", "/auth/grant/" + urllib.parse.quote(client_id), {"scope": self.login_scope})
        if typed:
            code = urllib.parse.urlencode({"code": prompt["user_code"]})
            address = f"{prompt['verification_uri']}?{code}&g_continue"
        else:
            address = prompt["verification_uri_complete"] + "&g_continue"
        person.browser.open(address)
        assert "prompt=deviceComplete" in person.browser.url, f"{person.browser.url}\n{person.browser.text}"
        return person.browser.url


def set_up(base, rsa_key, rsa_public, access_ttl, refresh_ttl, device_ttl, interval, ca_file=None):
    """Scopes, the OIDC plugin, a user and the clients."""
    admin = Api(base, *ADMIN, ca_file)
    for scope in SCOPES[1:]:
        admin.call("POST", "/scope/", {"name": scope, "display_name": scope, "password_required": True,
                                       "password_max_age": 0})
    admin.call("POST", "/mod/plugin/", {
        "module": "oidc", "name": PLUGIN, "display_name": PLUGIN, "enabled": True, "order_rank": 0, "readonly": False,
        "parameters": {
            "iss": f"{base}/{PLUGIN}", "jwt-type": "rsa", "jwt-key-size": "256", "key": rsa_key, "cert": rsa_public,
            "code-duration": 600, "refresh-token-duration": refresh_ttl, "access-token-duration": access_ttl,
            "refresh-token-rolling": False, "refresh-token-one-use": "always", "allow-non-oidc": True,
            "auth-type-client-enabled": True, "auth-type-code-enabled": True, "auth-type-token-enabled": False,
            "auth-type-password-enabled": False, "auth-type-refresh-enabled": True, "auth-type-device-enabled": True,
            "device-authorization-expiration": device_ttl, "device-authorization-interval": interval,
            "introspection-revocation-allowed": True, "introspection-revocation-allow-target-client": True,
            "jwks-show": True, "subject-type": "public",
        }})
    admin.call("POST", "/user/", {"username": Glewlwyd.person, "password": Glewlwyd.password, "name": "Alice",
                                  "scope": list(SCOPES), "enabled": True})
    grants = ["client_credentials", "device_authorization", "refresh_token", "delete_token"]
    for client_id, secret, method in ((BASIC_ID, SECRET, "client_secret_basic"),
                                      (POST_ID, POST_SECRET, "client_secret_post")):
        admin.call("POST", "/client/", {
            "client_id": client_id, "name": client_id, "client_secret": secret, "confidential": True, "enabled": True,
            "authorization_type": grants, "token_endpoint_auth_method": [method], "scope": ["api:read", "api:write"]})
    admin.call("POST", "/client/", {
        "client_id": PUBLIC_ID, "name": PUBLIC_ID, "confidential": False, "enabled": True, "scope": [],
        "authorization_type": grants[1:], "token_endpoint_auth_method": ["none"]})


def start(work, port, tls=None):
    """One try on one port; None when the port was taken in between."""
    scheme = "https" if tls else "http"
    log, config, database = work / "glewlwyd.log", work / "glewlwyd.conf", work / "glewlwyd.db"
    text = CONFIG + (CONFIG_TLS if tls else "")
    config.write_text(text.format(port=port, work=work, log=log, modules=MODULES, database=database, scheme=scheme, tls=tls))
    # setpriv: ends with us even if we are killed
    child = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", BINARY, "--config-file", str(config)], cwd=work,
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + START_TIMEOUT_S
    while child.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError):
            if Browser(tls and tls["ca"]).open(f"{scheme}://127.0.0.1:{port}/config").status == 200:
                return child
        time.sleep(0.05)
    stop(child)
    return None


def stop(child):
    child.terminate()
    try:
        child.wait(timeout=60)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


@contextlib.contextmanager
def running(work_dir, access_ttl=3600, refresh_ttl=86400, device_ttl=600, interval=1, tls=None):
    """tls: the files {"cert", "key", "ca"} to serve https with."""
    work = pathlib.Path(work_dir)
    (work / "static").mkdir()
    (work / "static" / "login.html").write_text("<!DOCTYPE html><title>glewlwyd</title>")
    database = sqlite3.connect(work / "glewlwyd.db")
    database.executescript(schema())
    database.close()
    key = work / "rsa.pem"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    public = subprocess.run(["openssl", "rsa", "-in", str(key), "-pubout"], check=True, capture_output=True).stdout
    for _ in range(START_TRIES):
        port = free_port()
        child = start(work, port, tls)
        if child:
            break
    else:
        raise AssertionError("glewlwyd did not start:\n" + (work / "glewlwyd.log").read_text(errors="replace"))
    try:
        base = f"{'https' if tls else 'http'}://127.0.0.1:{port}/api"
        ca_file = tls["ca"] if tls else None
        set_up(base, key.read_text(), public.decode(), access_ttl, refresh_ttl, device_ttl, interval, ca_file)
        yield Glewlwyd(base, work / "glewlwyd.log", work / "glewlwyd.db", ca_file)
    finally:
        stop(child)
