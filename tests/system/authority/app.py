"""The Authority: starts and stops it, changes it, asks what it saw. The public face of this package."""

import asyncio
import collections
import dataclasses
import json
import os
import shutil
import ssl
import tempfile
import threading
import time
import urllib.parse

from .assertions import AssertionEndpoints
from .authorization import AuthorizationEndpoints
from .azure import AzureEndpoints, AzureState
from .endpoints import Endpoints, json_response
from .exchange import ExchangeEndpoints, default_rules
from .faults import Fault
from .keys import KeySet
from .managed_identity import IdentityEndpoints, Platform
from .mlserver import MlServerEndpoints
from .mutual import MutualTls
from .server import Record, ServerThread, json_body
from .store import Client, Store, User
from .tls import LocalCa

MAX_RECORDS = 200_000
# What a separate process may call through /_control/call.
REMOTE_CALLS = ("reset", "set_client", "add_client", "set_user", "set_tenant", "fault", "clear_faults", "release",
                "approve", "deny", "switch", "set_metadata", "rollover", "mint", "count", "max_concurrent",
                "max_connections", "requests", "forget_requests", "wait_for", "revoke_refresh_tokens", "set_delay", "set_skew",
                "faults_state", "secrets", "counters", "set_userinfo", "set_identity", "pause", "resume", "drop_connections", "device_codes")


class Authority(Endpoints, AssertionEndpoints, AuthorizationEndpoints, MutualTls, MlServerEndpoints, IdentityEndpoints,
                ExchangeEndpoints, AzureEndpoints):
    """A scripted OAuth and OpenID authority on 127.0.0.1.

    authority = Authority().start(); authority.oidc is an issuer over http, authority.https + "/oidc" one over https
    (trust authority.ca_file). Everything may be called while it serves. stop() ends it and removes its files.
    """

    def __init__(self, port=0, https_port=0, https=True, ipv6=False, directory=None):
        self._ports = (port, https_port if https else None)
        self.mutual_contexts = []
        self._ipv6 = ipv6
        self._own_directory = directory is None
        self.directory = directory
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self.connections = set()
        self.current = collections.Counter()
        self.server = self._http_server = None
        self.keys = None
        self._clear_state()

    def _clear_state(self):
        self.store = Store()
        self.azure_state = AzureState()
        self.faults = []
        self.records = collections.deque(maxlen=MAX_RECORDS)
        self.highest = collections.Counter()
        self.totals = collections.Counter()
        self.accepted = 0
        self.switched_off = {}
        self.metadata_extra = {}
        self.flow_keys = {}                          # of user flows of B2C, by their names in small letters
        self.userinfo_extra = {}
        self.identity = Platform()
        self.auth_methods = ["client_secret_basic", "client_secret_post", "none"]
        self.delays = {}
        self.skew = 0
        self.revoked = []
        self.reuses = []
        self.redirects = []                          # where browsers were sent back to
        self.proxied, self.shown_to_proxy = [], []
        self.exchange_rules = default_rules()
        self.pages = "https"

    # Life

    def start(self):
        if self._own_directory:
            self.directory = tempfile.mkdtemp(prefix="authority-")
        os.makedirs(self.directory, exist_ok=True)
        self.ca = LocalCa(self.directory)
        self.keys = KeySet()
        self.server = ServerThread(self)
        self.http_port, self._http_server = self.server.listen("127.0.0.1", self._ports[0])
        self.http = f"http://127.0.0.1:{self.http_port}"
        self.https = self.ca_file = None
        if self._ports[1] is not None:
            self.https_port, self._https_server = self.server.listen("127.0.0.1", self._ports[1], self.ca.context())
            self.https = f"https://localhost:{self.https_port}"
            self.ca_file = self.ca.ca_file()
        self.ipv6 = None
        if self._ipv6:
            self.ipv6 = f"http://[::1]:{self.server.listen('::1', 0)[0]}"
        self.oidc, self.oauth, self.mls = self.http + "/oidc", self.http + "/oauth", self.http + "/mls"
        return self

    def stop(self):
        if self.server:
            self.server.stop()
            self.server = None
        if self._own_directory and self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *exc):
        self.stop()

    def urls(self):
        return {"http": self.http, "https": self.https, "ipv6": self.ipv6, "ca_file": self.ca_file, "oidc": self.oidc,
                "oauth": self.oauth, "control": self.http + "/_control", "pid": os.getpid()}

    def listen(self, certificate="good", max_version=None, host="localhost"):
        """One more https listener, with a certificate of tls.CERTIFICATES; returns its base URL."""
        version = getattr(ssl.TLSVersion, max_version) if max_version else None
        port, _ = self.server.listen("127.0.0.1", 0, self.ca.context(certificate, version))
        return f"https://{host}:{port}"

    def listen_on(self, sock):
        """Serves http on a socket that was bound elsewhere, such as in a network namespace of a test's own."""
        return self.server.listen(None, 0, sock=sock)[1]

    def unlisten(self, server):
        self.server.unlisten(server)

    def pause(self, https=False):
        """Stops listening on the http port, or on both, and cuts all connections: connection refused."""
        if self._http_server:
            self.server.unlisten(self._http_server)
            self._http_server = None
        if https and self._https_server:
            self.server.unlisten(self._https_server)
            self._https_server = None
        self.drop_connections()

    def resume(self):
        if not self._http_server:
            _, self._http_server = self.server.listen("127.0.0.1", self.http_port)
        if self.https and not self._https_server:
            _, self._https_server = self.server.listen("127.0.0.1", self.https_port, self.ca.context())

    def drop_connections(self):
        self.server.drop_connections()

    def reset(self):
        """As new: clients, users, tokens, faults, records. Keys that were rolled go back to a fresh set."""
        with self.lock:
            self.clear_faults()
            self._clear_state()
            if self.keys and self.keys.serial != 1:
                self.keys = KeySet()
        if self.server:
            self.drop_connections()
            self.resume()

    # Changing it

    def client(self, client_id):
        with self.lock:
            return self.store.client(client_id)

    def add_client(self, client_id, **settings):
        """A new client (or a new version of one) from the fields of store.Client."""
        with self.lock:
            self.store.clients[client_id] = Client(client_id, **settings)
            return self.store.clients[client_id]

    def set_client(self, client_id, **settings):
        """Changes fields of a client."""
        with self.lock:
            client = self.store.client(client_id)
            for name, value in settings.items():
                if not hasattr(client, name):
                    raise AttributeError(name)
                setattr(client, name, value)
            return client

    def set_user(self, name, **settings):
        with self.lock:
            user = self.store.users.get(name)
            if user is None:
                user = self.store.users[name] = User(name, f"sub-{name}", f"{name}@example.org", name)
            for key, value in settings.items():
                if not hasattr(user, key):
                    raise AttributeError(key)
                setattr(user, key, value)
            return user

    def set_tenant(self, name, tenant_id):
        self.store.tenants[name] = tenant_id

    def switch(self, feature, on, prefix="/oidc"):
        """Switches openid, rfc8414, revocation, introspection, userinfo, jwks or device of an issuer path (or *)."""
        with self.lock:
            off = self.switched_off.setdefault(prefix, set())
            (off.discard if on else off.add)(feature)

    def set_metadata(self, prefix="/oidc", **members):
        """Overrules members of the metadata documents of an issuer path; None leaves one out."""
        with self.lock:
            self.metadata_extra.setdefault(prefix, {}).update(members)

    def set_userinfo(self, **members):
        self.userinfo_extra.update(members)

    def set_delay(self, seconds, endpoint="*"):
        """A standing delay of an endpoint, or of all."""
        self.delays[endpoint] = seconds

    def set_skew(self, seconds):
        """Moves the Date header."""
        self.skew = seconds

    def rollover(self, keep_old=True):
        with self.lock:
            self.keys.rollover(keep_old)

    def page_base(self, request):
        """Where the person is sent: https on the same host name, unless pages is "same"."""
        if self.pages == "same" or request.scheme == "https" or not self.https:
            return request.base
        host = urllib.parse.urlsplit(request.base).hostname
        return f"https://{host}:{self.https_port}"

    def approve(self, user_code, user="alice"):
        """What a person does at the verification address."""
        self._decide(user_code, user, "approved")

    def deny(self, user_code, user="alice"):
        self._decide(user_code, user, "denied")

    def _decide(self, user_code, user, state):
        with self.lock:
            code = self.store.by_user_code(user_code)
            if code is None:
                raise KeyError(user_code)
            code.state, code.user = state, user

    def device_codes(self):
        """The device codes given out so far, oldest first."""
        with self.lock:
            return list(self.store.device_codes.values())

    def revoke_refresh_tokens(self, client=None):
        """Ends every sign-in (of a client)."""
        with self.lock:
            for family in self.store.families.values():
                if client in (None, family.client):
                    self.store.revoke_family(family)

    def mint(self, claims=None, alg="RS256", forge=None, header=None, lifetime=3600, issuer=None):
        """A JWT signed by this authority's keys, with the usual claims; None as a claim's value leaves it out."""
        now = int(time.time())
        full = {"iss": issuer or self.oidc, "sub": "sub-alice-1", "aud": "device", "iat": now, "nbf": now,
                "exp": now + lifetime, **(claims or {})}
        with self.lock:
            return self.keys.jwt({k: v for k, v in full.items() if v is not None}, alg, forge, header)

    # Faults

    def fault(self, endpoint="*", **members):
        """Adds a fault (see faults.Fault). Where several match a request, the oldest that is not used up wins."""
        fault = Fault(endpoint, **members)
        with self.lock:
            self.faults.append(fault)
        return fault

    def clear_faults(self, endpoint=None):
        """Ends faults; what hangs is cut, what is held is answered."""
        with self.lock:
            ended = [f for f in self.faults if endpoint in (None, f.endpoint)]
            self.faults = [f for f in self.faults if f not in ended]
        for fault in ended:
            self._wake(fault)

    def release(self, endpoint=None):
        """Lets held and hanging requests go on, and no further ones wait."""
        self.clear_faults(endpoint)

    def _wake(self, fault):
        with self.lock:
            fault.cleared = True
            waiting, fault.waiting = fault.waiting, []
        for future in waiting:
            self.server.loop.call_soon_threadsafe(lambda f=future: f.done() or f.set_result(None))

    async def wait_for_release(self, fault):
        future = asyncio.get_running_loop().create_future()
        with self.lock:
            if fault.cleared:
                return
            fault.waiting.append(future)
        await future

    def match_fault(self, request):
        prefix = request.dialect.prefix if request.dialect else None
        for fault in self.faults:
            if fault.matches(request.endpoint, request.client, request.form.get("grant_type"), prefix):
                fault.hits += 1
                return fault
        return None

    def faults_state(self):
        with self.lock:
            return [f.public() for f in self.faults]

    # What it saw

    def begin(self, request, peer_port):
        record = Record(request, peer_port)
        with self._changed:
            name = record.endpoint.split(":")[0]
            self.records.append(record)
            self.totals[name] += 1
            self.current[name] += 1
            self.highest[name] = max(self.highest[name], self.current[name])
            self._changed.notify_all()
        return record

    def end(self, record):
        with self._changed:
            record.finished = time.time()
            self.current[record.endpoint.split(":")[0]] -= 1
            self._changed.notify_all()

    def requests(self, endpoint=None, client=None, grant=None):
        """Records, oldest first; endpoint metadata means every metadata document."""
        with self.lock:
            return [r for r in self.records
                    if endpoint in (None, r.endpoint, r.endpoint.split(":")[0]) and client in (None, r.client) and
                    grant in (None, r.grant)]

    def count(self, endpoint=None, client=None, grant=None):
        if client is None and grant is None and endpoint is not None and ":" not in endpoint:
            return self.totals[endpoint]
        return len(self.requests(endpoint, client, grant))

    def counters(self):
        with self.lock:
            return dict(self.totals)

    def max_concurrent(self, endpoint="token"):
        return self.highest[endpoint]

    def max_connections(self):
        return self.accepted

    def forget_requests(self):
        with self.lock:
            self.records.clear()
            self.totals.clear()
            self.highest.clear()

    def wait_for(self, endpoint, count=1, timeout=10, client=None):
        """Waits until so many requests have come to an endpoint; True if they did."""
        end = time.monotonic() + timeout
        with self._changed:
            while self.count(endpoint, client) < count:
                left = end - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def secrets(self):
        with self.lock:
            return self.store.secrets() + [s for s in (*self.identity.tokens, self.identity.secret, self.identity.key) if s]

    # Control over http

    def control(self, request):
        """/_control/call takes {"call": NAME, "args": {...}}; /_control/state shows what is."""
        try:
            if request.path.startswith("/_control/state"):
                return json_response({**self.urls(), "counters": self.counters(), "faults": self.faults_state()})
            call = json_body(request)
            if call.get("call") not in REMOTE_CALLS:
                return json_response({"error": f"no such call: {call.get('call')}"}, 404)
            result = getattr(self, call["call"])(**call.get("args", {}))
            return json_response({"result": _plain(result)})
        except Exception as error:  # the caller is a test: it wants to know
            return json_response({"error": f"{type(error).__name__}: {error}"}, 400)


def _plain(value):
    if isinstance(value, (Record, Fault)):
        return value.public()
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if dataclasses.is_dataclass(value):
        return dataclasses.asdict(value)
    json.dumps(value)
    return value
