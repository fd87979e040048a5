"""What our agent asks Entra ID, field by field beside what Microsoft's own libraries ask the same authority: Debian's
python3-msal, and npm's @azure/identity with its @azure/msal-node.

Both would first ask Microsoft's own host whether this one is a good authority (instance discovery): that is switched off.
We ask nobody: which authority is good, the profile says. Each difference is listed in DIFFERENCES with its reason. One that is not listed fails, and so does a line that is not
true any more. What is only ever a library's own (its HTTP client, its telemetry) stands in OWN.
"""

import contextlib
import hashlib
import json
import os
import shutil
import ssl
import subprocess
import uuid

import msal
import pytest
import requests

import interop_oidc_provider
from authority import Authority
from authority.keys import decode
from authority.store import SECRET_PLAIN
from harness import Agent, Command, Home, wait_until
from test_private_key_jwt import Pair

TENANT = "c0470500-0000-4000-8000-00000000c050"
SCOPE, OTHER = "https://cognitiveservices.example/.default", "https://other.example/.default"
ALL = f"openid profile offline_access {SCOPE}"
IDENTITY_TIMEOUT_S = 180

# Never compared: what an HTTP client says of itself and of its connection, and what a library reports of itself.
OWN = {"host", "content-length", "connection", "accept-encoding", "user-agent", "accept", "x-client-sku", "x-client-ver",
       "x-client-os", "x-client-cpu", "x-client-current-telemetry", "x-client-last-telemetry", "x-ms-client-request-id"}
# Headers that @azure/msal-node sends as fields.
AS_FIELDS = {"x-ms-lib-capability", "x-anchormailbox", "client-request-id"}

MSAL, IDENTITY = "python3-msal", "@azure/identity"
EACH = ("secret", "certificate", "chain", "device", "renewal", "other")
KEYED, SIGNED_IN = ("certificate", "chain"), ("device", "renewal", "other")
MADE_THERE = "a number by which support finds a request: the authority makes one itself, which our messages carry"
WHO = "asks for its own note of who signed in; we read the id_token, which is signed"
NOBODY = "asks for its own note of who signed in, and nobody does"
MAILBOX = "names the person to a front end, for routing; nothing in the protocol needs it"
VERIFIED = "we verify the signature of the id_token, which they read as it is"
ANEW = "asks for an id_token each time; ours is of the sign-in"
LIFE = "600 s there, 300 s here: Entra advises 5 to 10 minutes, and it is used at once"
KEYS = f"/{TENANT}/discovery/v2.0/keys"
# (library, cases, where, name, kind): reason. kind: "theirs", "ours" (only one has it) or "value" (both, another).
DIFFERENCES = {
    (MSAL, EACH, "token header", "client-request-id", "theirs"): MADE_THERE,
    (MSAL, ("device",), "devicecode header", "client-request-id", "theirs"): MADE_THERE,
    (MSAL, ("secret", *KEYED), "token form", "client_info", "theirs"): NOBODY,
    (MSAL, SIGNED_IN, "token form", "client_info", "theirs"): WHO,
    (MSAL, ("renewal", "other"), "token header", "x-anchormailbox", "theirs"): MAILBOX,
    (MSAL, ("device",), "token form", "code", "theirs"): "the name that v1 has for device_code, which is there as well",
    (MSAL, SIGNED_IN, "request", KEYS, "ours"): VERIFIED,
    (MSAL, ("other",), "token form", "scope openid", "theirs"): ANEW,
    (MSAL, ("other",), "token form", "scope profile", "theirs"): ANEW,
    (MSAL, KEYED, "token assertion header", "x5t", "value"):
        "padded base64url, which RFC 7515 section 2 does not allow and Entra takes",
    (MSAL, ("chain",), "token assertion header", "x5c", "value"): "leaves the line ends of PEM in",
    (MSAL, KEYED, "token assertion claims", "nbf", "ours"): "Entra's documentation asks for it",
    (MSAL, KEYED, "token assertion claims", "lifetime", "value"): LIFE,
    (MSAL, KEYED, "token assertion claims", "fractions", "value"): "fractions of a second; ours are integers, as others' are",

    (IDENTITY, ("secret", *KEYED, "device"), "token header", "client-request-id", "theirs"): MADE_THERE,
    (IDENTITY, EACH, "token query", "client-request-id", "theirs"): MADE_THERE,
    (IDENTITY, SIGNED_IN, "token form", "client_info", "theirs"): WHO,
    (IDENTITY, ("other",), "token header", "x-anchormailbox", "theirs"): MAILBOX,
    (IDENTITY, ("device",), "token form", "grant_type", "value"):
        "the short name that v1 has; Entra's documentation and RFC 8628 have the long one",
    (IDENTITY, ("device",), "devicecode header", "x-ms-lib-capability", "ours"):
        "left out there of this request alone; what it says holds for each",
    **{(IDENTITY, ("device",), "token form", f"scope {scope}", "theirs"):
       "already said when the code was asked for (RFC 8628 section 3.4)" for scope in ALL.split()},
    (IDENTITY, SIGNED_IN, "request", KEYS, "ours"): VERIFIED,
    (IDENTITY, ("other",), "token form", "scope openid", "theirs"): ANEW,
    (IDENTITY, ("other",), "token form", "scope profile", "theirs"): ANEW,
    (IDENTITY, ("other",), "token form", "claims", "theirs"): "asks for two optional claims of the id_token, for its own use",
    (IDENTITY, KEYED, "token assertion claims", "lifetime", "value"): LIFE,
}


@pytest.fixture(scope="module")
def home():
    made = Home()
    yield made
    made.remove()


@pytest.fixture(scope="module")
def pair(home):
    pair = Pair(home)
    with open(pair.key, encoding="ascii") as f:
        pair.key_text = f.read()
    pair.both = home.write("keys/both.pem", pair.key_text + pair.pem)
    pair.sha1 = hashlib.sha1(ssl.PEM_cert_to_DER_cert(pair.pem)).hexdigest()
    return pair


@pytest.fixture(scope="module")
def entra(pair):
    with Authority() as made:
        made.add_client("keyed", grants=("client_credentials",), public_key=pair.public, certificate=pair.pem)
        made.set_client("svc", auth=("client_secret_post",))
        yield made


# What is compared of a request

def assertion_parts(form):
    """The client assertion, taken apart: values that are new each time become what they must look like."""
    if "client_assertion" not in form:
        return {}
    header, claims = decode(form.pop("client_assertion"))
    assert str(uuid.UUID(claims["jti"])) == claims["jti"]
    claims["jti"] = "a new UUID"
    claims["lifetime"] = round(claims["exp"] - claims["iat"], -1)
    claims["fractions"] = any(claims[name] != int(claims[name]) for name in ("exp", "iat"))
    assert abs(claims["iat"] - claims.get("nbf", claims["iat"])) <= 1
    for name in ("iat", "exp", "nbf"):
        if name in claims:
            claims[name] = "a time"
    return {"assertion header": header, "assertion claims": claims}


def parts(entra, request):
    """{where: {name: value}}: whatever this very sign-in made up is only named."""
    form = dict(request.form)
    for name, known in (("device_code", entra.store.device_codes), ("code", entra.store.device_codes),
                        ("refresh_token", entra.store.refresh_tokens)):
        if name in form:
            assert form[name] in known
            form[name] = "the one that was given"
    form.update({f"scope {scope}": "asked" for scope in form.pop("scope", "").split()})
    headers = {name: value.split(";")[0] for name, value in request.headers.items()}
    headers.update({name.lower(): form.pop(name) for name in list(form) if name.lower() in OWN | AS_FIELDS})
    query = {name: value for name, value in request.query.items() if name not in OWN}
    return {**assertion_parts(form), "form": form, "query": query,
            "header": {name: value for name, value in headers.items() if name not in OWN}}


def asked(entra):
    """{(method, path): parts} of what came, which is forgotten. Polls are alike, so the last one stands for all."""
    wait_until(lambda: all(r.finished for r in entra.requests()))
    told = [(r.path, r.status) for r in entra.requests()]
    assert all(status in (200, 400) for _, status in told) and told[-1][1] == 200, told
    found = {(r.method, r.path): parts(entra, r) for r in entra.requests()}
    entra.forget_requests()
    return found


def differences(ours, theirs):
    """{(where, name, kind)}; where begins with the last word of the path."""
    found = {("request", path, "ours" if (_, path) in ours else "theirs") for _, path in set(ours) ^ set(theirs)}
    for request in set(ours) & set(theirs):
        for part in set(ours[request]) | set(theirs[request]):
            mine, other = ours[request].get(part, {}), theirs[request].get(part, {})
            place = f"{request[1].rpartition('/')[2]} {part}"
            found |= {(place, name, "ours" if name in mine else "theirs") for name in set(mine) ^ set(other)}
            found |= {(place, name, "value") for name in set(mine) & set(other) if mine[name] != other[name]}
    return found


# Who asks

def msal_client(entra):
    """Its own would take the certificate authorities that the environment names."""
    session = requests.Session()
    session.trust_env, session.verify = False, entra.ca_file
    return {"http_client": session, "authority": f"{entra.https}/{TENANT}", "instance_discovery": False}


def by_msal(entra, pair, case):
    if case in ("secret", "certificate", "chain"):
        proof = {"private_key": pair.key_text, "thumbprint": pair.sha1}
        if case == "chain":
            proof["public_certificate"] = pair.pem
        app = msal.ConfidentialClientApplication("svc" if case == "secret" else "keyed", **msal_client(entra),
                                                 client_credential=SECRET_PLAIN if case == "secret" else proof)
        assert "access_token" in app.acquire_token_for_client([SCOPE])
        return asked(entra)
    app = msal.PublicClientApplication("native", **msal_client(entra))
    flow = app.initiate_device_flow([SCOPE])
    entra.approve(flow["user_code"])
    assert "access_token" in app.acquire_token_by_device_flow(flow)
    if case != "device":
        forget_all_but_metadata(entra)
        scope = SCOPE if case == "renewal" else OTHER
        assert "access_token" in app.acquire_token_silent([scope], app.get_accounts()[0], force_refresh=True)
    return asked(entra)


def forget_all_but_metadata(entra):
    """Before a renewal: how the person signed in is another case."""
    with entra.lock:
        kept = [r for r in entra.records if r.endpoint.split(":")[0] in ("metadata", "jwks")]
        entra.records.clear()
        entra.records.extend(kept)


def by_identity(entra, pair, case, folder, home):
    shutil.copyfile(interop_oidc_provider.HERE / "node" / "entra.mjs", folder / "entra.mjs")
    settings = {"kind": {"chain": "certificate", "other": "device"}.get(case, case), "authorityHost": entra.https,
                "tenant": TENANT, "client": {"secret": "svc", "certificate": "keyed", "chain": "keyed"}.get(case, "native"),
                "secret": SECRET_PLAIN, "certificatePath": pair.both, "sendCertificate": case == "chain",
                "scopes": [SCOPE, OTHER] if case == "other" else [SCOPE]}
    process = subprocess.Popen([interop_oidc_provider.node(folder), str(folder / "entra.mjs"), json.dumps(settings)], text=True, cwd=folder,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env=home.env(NODE_EXTRA_CA_CERTS=entra.ca_file))
    said = []
    with contextlib.closing(process.stdout), contextlib.closing(process.stdin):
        for line in process.stdout:
            said.append(json.loads(line))
            if "userCode" in said[-1]:
                entra.approve(said[-1]["userCode"])
            elif len(said) == 2 and case == "other":
                forget_all_but_metadata(entra)
                process.stdin.write("go on\n")
                process.stdin.flush()
        error = process.stderr.read()
        assert process.wait(IDENTITY_TIMEOUT_S) == 0, error
    assert len([one for one in said if "token" in one]) == len(settings["scopes"])
    return asked(entra)


def by_agent(entra, pair, case, alg, home):
    profile = {"authority": f"{entra.https}/{TENANT}/v2.0", "dialect": "entra", "ca_file": entra.ca_file, "scope": SCOPE}
    if case == "secret":
        profile.update(grant="client_credentials", client_id="svc", client_secret=home.secret(SECRET_PLAIN))
    elif case in ("certificate", "chain"):
        profile.update(grant="client_credentials", client_id="keyed", client_key=pair.key, assertion_alg=alg,
                       client_certificate=pair.certificate, send_certificate="yes" if case == "chain" else None)
    else:
        profile.update(grant="device_code", client_id="native", scope=ALL)
    home.config({"p": profile})
    agent, command = Agent(home).start(), Command(home)
    try:
        if profile["grant"] == "device_code":
            command.login(entra, "p").ok()
        if case in ("renewal", "other"):
            forget_all_but_metadata(entra)
        more = {"renewal": ["--refresh"], "other": ["--scope", OTHER]}.get(case, [])
        command("get", "p", *more).ok()
        command("logout", "p")
    finally:
        agent.stop()
    return asked(entra)


# @azure/identity has no way to renew a token before its time
CASES = [(library, case) for library in (MSAL, IDENTITY) for case in ("secret", "certificate", "chain", "device", "other")]
CASES.append((MSAL, "renewal"))


@pytest.fixture(scope="module")
def comparison(entra, pair, home, oidc_provider_folder):
    """{(library, case): differences}, each made when it is asked for."""
    made = {}

    def compare(library, case):
        if (library, case) not in made:
            entra.forget_requests()
            theirs = by_msal(entra, pair, case) if library == MSAL else \
                by_identity(entra, pair, case, oidc_provider_folder, home)
            ours = by_agent(entra, pair, case, "RS256" if library == MSAL else "PS256", home)
            assert theirs and ours
            made[library, case] = differences(ours, theirs)
        return made[library, case]

    return compare


@pytest.mark.parametrize("library, case", CASES)
def test_the_same_is_asked(comparison, library, case):
    listed = {(where, name, kind) for who, cases, where, name, kind in DIFFERENCES if who == library and case in cases}
    assert comparison(library, case) == listed


def test_the_parts_that_are_compared(entra):
    """This comparison finds what is there: a field less, a field more, another value, another request."""
    one = {("POST", "/t"): {"form": {"a": "1", "b": "2"}, "header": {"x": "1"}}}
    two = {("POST", "/t"): {"form": {"a": "1", "c": "2"}, "header": {"x": "2"}}, ("GET", "/k"): {}}
    assert differences(one, two) == {("t form", "b", "ours"), ("t form", "c", "theirs"), ("t header", "x", "value"),
                                     ("request", "/k", "theirs")}
    assert differences(one, one) == set()
