"""Nothing of a secret, key, code or assertion in logs, errors or what commands print: for every grant there is, in success and
in each kind of failure, also where an authority repeats in its error what it was sent. Debug is on.

What counts as secret is taken from the wire: every value of a request that is not known to be public, and all that was
given out. A grant without a row here fails the first test."""

import base64
import collections
import json
import os
import re
import signal
import urllib.parse

import pytest

from authority import BrowserError, visit
from authority.azure import ACCOUNT, ENDPOINT
from harness import ROOT, person, service, wait_until
from test_managed_identity import KEY, Arc
from test_private_key_jwt import Pair, register

TENANT = "c0470500-0000-4000-8000-00000000c050"
PASSWORD = "typedMARKpassword horse"
PUBLIC = {"grant_type", "response_type", "scope", "client_id", "resource", "audience", "username", "redirect_uri", "api-version",
          "client_assertion_type", "token_type_hint", "subject_token_type", "requested_token_type", "requested_token_use",
          "code_challenge", "code_challenge_method", "prompt", "login_hint", "keyType", "keyName"}
PLAIN_HEADERS = {"host", "accept", "content-type", "content-length", "user-agent", "metadata", "connection",
                 "x-ms-lib-capability", "client-request-id"}
TROUBLE = [{"status": 500}, {"html": True}, {"reset": "body"}, {"invalid_json": True}, {"status": 429, "body": "slow down"},
           {"set": {"token_type": "DPoP"}}, {"status": 401},
           {"error": {"error": "invalid_request", "error_description": "you sent what you sent"}}] + \
          [{"echo": n} for n in range(12)]
SHORTEST = 8


class World:
    """An agent, its profiles, and all that was said of them."""

    def __init__(self, authority, home, mltoken):
        self.authority, self.home, self.mltoken = authority, home, mltoken
        self.profiles, self.environment, self.known, self.said = {}, {}, {}, []
        self.logins, self.rotations, self.stored, self.endpoints = {}, [], [], ["token"]

    def secret(self, name, value):
        """Something that does not travel as it is."""
        self.known[value] = name
        return value

    def run(self, *args, token=False, **more):
        done = self.mltoken(*args, **more)
        self.said.append((args, done.err if token and done.code == 0 else done.out + done.err))
        return done

    def collect(self):
        """{secret: what it was}: a value may be more than one thing."""
        found = collections.defaultdict(set, {value: {name} for value, name in self.known.items()})
        for request in list(self.authority.records):
            # what a browser shows is not secret towards its person: its address has a state and a nonce
            for place in () if request.endpoint == "authorize" else (request.form, request.query, self.body(request)):
                for name, value in place.items():
                    if name not in PUBLIC and isinstance(value, str):
                        found[value].add(name)
            for name, value in request.headers.items():
                scheme, _, rest = value.partition(" ")
                if name not in PLAIN_HEADERS:
                    found[rest if name == "authorization" else value].add(name)
                if scheme == "Basic" and request.endpoint != "identity":  # Arc's is the file as it is
                    found[urllib.parse.unquote_plus(base64.b64decode(rest).decode().partition(":")[2])].add("client_secret")
        store = self.authority.store
        given = [(store.refresh_tokens, "refresh_token"), (store.access_tokens, "access token"), (store.codes, "code"),
                 (store.device_codes, "device_code"), (store.id_tokens, "id_token"),
                 (self.authority.identity.tokens, "access token"),
                 ([key for keys in self.authority.azure_state.keys.values() for key in keys], "key")]
        for values, name in given:
            for value in list(values):
                found[value].add(name)
        for value, names in list(found.items()):  # each long part of a JWT alone is too much
            for part in value.split("."):
                if len(part) > 40:
                    found[part] |= names
        return {value: names for value, names in found.items() if len(value) >= SHORTEST}

    @staticmethod
    def body(request):
        try:
            body = json.loads(request.body)
        except ValueError:
            return {}
        return body if isinstance(body, dict) else {}


def stored(world, profile, name, value):
    world.stored.append((profile, name, world.secret(name, value)))
    return "stored"


def parent(world):
    world.profiles["mgmt"] = service(world.authority, world.home)


# ---- the grants: each sets up profiles, and says which secrets must have been seen ----

def client_credentials(world):
    pair = Pair(world.home, password=world.secret("key_password", "keyMARKpassword"))
    register(world.authority, pair)
    world.profiles.update({
        "basic": service(world.authority, world.home, client_auth="client_secret_basic"),
        "odd": service(world.authority, world.home, "svc odd:id/+%", client_auth="client_secret_basic"),
        "post": service(world.authority, world.home, "svc-post", client_auth="client_secret_post"),
        "keyed": {"grant": "client_credentials", "authority": world.authority.oidc, "client_id": "keyed", "scope": "api",
                  "client_key": pair.key, "client_certificate": pair.certificate,
                  "key_password": world.home.secret("keyMARKpassword", "key_password")},
        "federated": {"grant": "client_credentials", "authority": f"{world.authority.http}/{TENANT}/v2.0", "dialect": "entra",
                      "client_id": "keyed", "scope": "x/.default", "client_assertion_file":
                      world.home.write("projected", world.secret("client_assertion", "eyJhbGciOiJub25lIn0.e30.outsideMARK"))}})
    return {"client_secret", "client_assertion", "access token"}, {"federated"}


def device_code(world):
    world.authority.set_client("device-conf", auto_approve="alice")
    world.profiles["me"] = {**person(world.authority, "device-conf"),
                            "client_secret": stored(world, "me", "client_secret", world.authority.client("device-conf").secret)}
    world.logins["me"] = lambda: world.run("login", "me", "--json")
    world.endpoints += ["device", "revoke"]
    return {"device_code", "refresh_token", "client_secret", "id_token"}, set()


def authorization_code(world):
    def login():
        process = world.mltoken.start("login", "me", "--json")
        line = process.stdout.readline()
        if line:
            try:
                visit(json.loads(line)["prompt"]["verificationUri"])
            except (BrowserError, OSError):  # the authority's page is in trouble, too
                process.terminate()
        done = world.mltoken.finish(process)
        world.said.append((("login", "me"), done.out + done.err))
        return done

    world.profiles["me"] = {"grant": "authorization_code", "authority": world.authority.oidc, "client_id": "web-conf",
                            "client_secret": world.home.secret(world.authority.client("web-conf").secret),
                            "scope": "openid offline_access"}
    world.logins["me"] = login
    world.endpoints += ["revoke"]
    return {"code", "code_verifier", "refresh_token", "client_secret", "id_token"}, set()


def password(world):
    world.authority.set_user("alice", password=PASSWORD)
    both = {"grant": "password", "authority": world.authority.oidc, "client_id": "typed", "scope": "openid offline_access",
            "username": "alice"}
    world.profiles.update({"file": {**both, "password": world.home.secret(PASSWORD, "password")}, "typed": both})
    world.logins["typed"] = lambda: world.run("login", "typed", input=PASSWORD + "\n")
    world.endpoints += ["revoke"]
    return {"password", "refresh_token", "id_token"}, set()


def mlserver(world):
    world.authority.set_user("alice", password=PASSWORD)
    both = {"grant": "mlserver", "authority": world.authority.mls, "username": "alice"}
    world.profiles.update({"kept": {**both, "password": stored(world, "kept", "password", PASSWORD)}, "typed": both})
    world.logins["typed"] = lambda: world.run("login", "typed", input=PASSWORD + "\n")
    world.endpoints = ["mls_login", "mls_renewal", "mls_status"]
    return {"password", "refreshToken", "refresh_token", "authorization"}, set()


def managed_identity(world):
    world.profiles["p"] = {"grant": "managed_identity", "resource": "https://ml.azure.com"}
    world.environment = {"IDENTITY_ENDPOINT": world.authority.http + "/msi/token",
                         "IDENTITY_HEADER": world.authority.identity.secret}
    world.endpoints = ["identity"]
    return {"x-identity-header", "access token"}, set()


def azure_arc(world):
    """The file of a challenge, whose contents are the proof."""
    world.profiles["p"] = {"grant": "managed_identity", "resource": "https://ml.azure.com"}
    world.environment = Arc(world.authority, world.home).environment
    world.secret("file", KEY)
    world.endpoints = ["identity"]
    return {"file", "authorization", "access token"}, set()


def traded(world, grant, **more):
    parent(world)
    world.authority.add_client("trader", secret="secretMARKtrader", grants=("token_exchange", "jwt_bearer"))
    world.profiles["p"] = service(world.authority, world.home, "trader", grant=grant, parent="mgmt", **more)


def token_exchange(world):
    token = world.authority.mint({"iss": "https://outside.example"})
    traded(world, "token_exchange", actor_token_file=world.home.write("actor", token))
    return {"subject_token", "actor_token", "client_secret"}, set()


def jwt_bearer(world):
    traded(world, "jwt_bearer")
    return {"assertion", "client_secret"}, set()


def on_behalf_of(world):
    traded(world, "on_behalf_of", base=f"{world.authority.http}/{TENANT}/v2.0", dialect="entra",
           scope="https://next.example/.default")
    return {"assertion", "client_secret"}, set()


def azure(world, grant, place):
    parent(world)
    world.profiles["p"] = {"grant": grant, "authority": world.authority.http + place, "parent": "mgmt"}
    world.endpoints = ["arm_list", "arm_regenerate", "arm_operation", "arm_token"]


def azure_key(world):
    azure(world, "azure_key", ACCOUNT)
    world.rotations.append("p")
    return {"key", "authorization"}, set()


def azureml_key(world):
    azure(world, "azureml_key", ENDPOINT)
    world.rotations.append("p")
    return {"key", "authorization"}, set()


def azureml_token(world):
    azure(world, "azureml_token", ENDPOINT)
    for n in range(200):
        world.secret("key", f"amltoken-MARK-{n}")
    return {"key", "authorization"}, set()


def static(world):
    world.profiles["p"] = {"grant": "static", "token": stored(world, "p", "token", "staticMARKfirst"),
                           "token_secondary": stored(world, "p", "token_secondary", "staticMARKsecond"), "expires": "2999-01-01"}
    world.profiles["q"] = {"grant": "static", "token": world.home.secret(world.secret("token", "staticMARK broken one"), "q")}
    world.rotations.append("p")
    return {"token", "token_secondary"}, {"q"}


ROWS = {f.__name__: f for f in (client_credentials, device_code, authorization_code, password, mlserver, managed_identity,
                                token_exchange, jwt_bearer, on_behalf_of, azure_key, azureml_key, azureml_token, static)}
MORE = {"managed_identity at Azure Arc": azure_arc}  # ways of a grant with secrets of their own


def test_every_grant_has_a_row(home, mltoken):
    """By the table of the source, and by what the built program says that it knows."""
    with open(os.path.join(ROOT, "agent", "grant", "grant.c"), encoding="utf-8") as f:
        table = re.search(r"table\[\] = \{(.*?)\};", f.read(), re.S).group(1)
    assert set(re.findall(r"&grant_(\w+)", table)) == set(ROWS)
    home.config({"p": {"grant": "none_such"}})
    said = mltoken("config", "check")
    assert set(re.search(r"one of:? ([\w, ]+)", said.out + said.err).group(1).replace(",", " ").split()) == set(ROWS)


def everything(world, name):
    """What a person may ask of a profile."""
    world.run("get", name, "--refresh", token=True)
    world.run("show", name)
    world.run("show", name, "--remote")
    world.run("status", name)


def forgive(agent, world, name, fault):
    """The memory of a refusal goes: the authority is asked, and says no."""
    agent.process.send_signal(signal.SIGHUP)

    def asked():
        everything(world, name)
        return fault.hits

    wait_until(asked, step=0.1)


@pytest.mark.parametrize("grant", {**ROWS, **MORE})
def test_nothing_of_it_is_told(authority, home, start_agent, mltoken, grant):
    world = World(authority, home, mltoken)
    wanted, refused = {**ROWS, **MORE}[grant](world)
    home.config(world.profiles, {"store": "file", "key_file": home.write("key", "k" * 40)})
    agent = start_agent(**world.environment)
    for profile, name, value in world.stored:
        world.run("secret", "set", profile, name, input=value).ok()
        world.run("secret", "list", profile)
    # all goes well
    for login in world.logins.values():
        assert login().code == 0, world.said[-1]
    for name in world.profiles:
        done = world.run("get", name, token=True)
        assert (done.code == 0) == (name not in refused), (name, done)
        everything(world, name)
    for name in world.rotations:
        world.run("rotate", name).ok()
    world.run("doctor")
    # nothing does
    for members in TROUBLE if grant != "static" else ():
        fault = authority.fault("*", **members)
        for name in world.profiles:
            before = fault.hits
            forgive(agent, world, name, fault) if fault.hits == before else everything(world, name)
        for login in world.logins.values():
            login()
        for name in world.rotations:
            world.run("rotate", name)
        world.run("status")
        authority.clear_faults()
        if grant == "authorization_code":  # the page works, and then the code's exchange does not
            authority.fault("token", **members)
            world.logins["me"]()
            authority.clear_faults()
    for value in ("wrongMARKpassword", "x"):
        for name in world.logins:
            world.secret("password", value)
            world.run("login", name, "--json", input=value + "\n") if grant in ("password", "mlserver") else None
    agent.process.send_signal(signal.SIGHUP)
    for login in world.logins.values():
        login()
    for members in [{"echo": n} for n in range(8)]:  # at signing out, too
        authority.fault("*", **members)
        for name in world.logins:
            world.run("logout", name)
        authority.clear_faults()
        for login in world.logins.values():
            login()
    world.run("logout", "--all")
    world.run("status", "--json")
    log = agent.log()
    found = world.collect()
    assert not wanted - set().union(*found.values()), "not seen on the wire"
    assert log.count("\n") > 5 and (grant == "static" or "request" in log), "debug is on, so requests are in the log"
    for secret, names in found.items():
        for form in {secret, urllib.parse.quote(secret, safe=""), urllib.parse.quote_plus(secret), json.dumps(secret)[1:-1]}:
            assert form not in log, f"{names} {secret[:24]}... in the log: " + next(line for line in log.splitlines() if form in line)
            for args, said in world.said:
                assert form not in said, f"{names} {secret[:24]}... said by {args}: {said}"
