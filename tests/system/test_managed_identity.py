"""Managed identities: what each platform is asked, what it answers, and what happens where there is none."""

import json
import os
import subprocess
import time

import pytest

from attack import SANITIZED
from harness import PATIENCE, program, wait_until
from namespaces import Net, run_in, with_folders

RESOURCE = "https://ml.azure.com"
USER = {"client_id": "11111111-2222-3333-4444-555555555555", "object_id": "66666666-2222-3333-4444-555555555555",
        "mi_res_id": "/subscriptions/S/resourceGroups/G/providers/Microsoft.ManagedIdentity/userAssignedIdentities/U"}


def profile(**more):
    return {"grant": "managed_identity", "resource": RESOURCE, **more}


def environment(authority, kind):
    """What a platform puts into the environment."""
    secret = authority.identity.secret
    return {
        "app_service": {"IDENTITY_ENDPOINT": authority.http + "/msi/token", "IDENTITY_HEADER": secret},
        "app_service_old": {"MSI_ENDPOINT": authority.http + "/msi/token", "MSI_SECRET": secret},
        "azureml": {"MSI_ENDPOINT": authority.http + "/msi/token", "MSI_SECRET": secret,
                    "DEFAULT_IDENTITY_CLIENT_ID": USER["client_id"]},
        "cloud_shell": {"MSI_ENDPOINT": authority.http + "/shell/token"},
        "arc": {"IDENTITY_ENDPOINT": authority.http + "/metadata/identity/oauth2/token",
                "IMDS_ENDPOINT": authority.http},
        "imds": {"AZURE_POD_IDENTITY_AUTHORITY_HOST": authority.http},
    }[kind]


def asked(authority, index=-1):
    """(method, query or form, headers) of a request."""
    request = authority.requests("identity")[index]
    return request.method, request.form or request.query, request.headers


# What is asked, field by field

@pytest.mark.parametrize("kind, parameters, headers", [
    ("imds", {"api-version": "2018-02-01", "resource": RESOURCE}, {"metadata": "true"}),
    ("app_service", {"api-version": "2019-08-01", "resource": RESOURCE}, {"x-identity-header": "SECRET"}),
    ("app_service_old", {"api-version": "2017-09-01", "resource": RESOURCE}, {"secret": "SECRET"}),
    ("azureml", {"api-version": "2017-09-01", "resource": RESOURCE, "clientid": USER["client_id"]},
     {"secret": "SECRET", "metadata": "true"}),
    ("cloud_shell", {"resource": RESOURCE}, {"metadata": "true"}),
    ("arc", {"api-version": "2020-06-01", "resource": RESOURCE}, {"metadata": "true"}),
])
@pytest.mark.parametrize("chosen", [False, True])
def test_each_platform_is_asked_its_way(authority, home, start_agent, mltoken, kind, parameters, headers, chosen):
    authority.set_identity(users=[USER])
    source = {"source": kind.removesuffix("_old")} if chosen else {}
    home.config({"p": profile(**source)})
    start_agent(**environment(authority, kind))
    result = mltoken("get", "p")
    assert result.code == 0 and result.out.startswith("identityMARK"), result.err
    method, found, sent = asked(authority)
    assert method == ("POST" if kind == "cloud_shell" else "GET") and found == parameters
    for name, value in headers.items():
        assert sent[name] == (authority.identity.secret if value == "SECRET" else value)
    names = {"x-identity-header", "secret", "authorization", "x-proxied"} - set(headers)
    assert not names & set(sent)
    # IMDS is tried without the header first when nothing said that it is there
    assert authority.count("identity") == (2 if kind == "imds" and not chosen else 1)


@pytest.mark.parametrize("kind, key, parameter", [
    ("imds", "client_id", "client_id"), ("imds", "object_id", "object_id"), ("imds", "mi_res_id", "msi_res_id"),
    ("app_service", "client_id", "client_id"), ("app_service", "object_id", "object_id"),
    ("app_service", "mi_res_id", "mi_res_id"), ("app_service_old", "client_id", "clientid"),
    ("azureml", "client_id", "clientid"),
])
def test_an_identity_is_named(authority, home, start_agent, mltoken, kind, key, parameter):
    authority.set_identity(users=[USER])
    home.config({"p": profile(**{key: USER[key]})})
    start_agent(**environment(authority, kind))
    assert mltoken("get", "p").code == 0
    assert asked(authority)[1][parameter] == USER[key]


@pytest.mark.parametrize("kind, key", [
    ("arc", "client_id"), ("cloud_shell", "client_id"), ("arc", "mi_res_id"), ("azureml", "object_id"),
    ("app_service_old", "mi_res_id"),
])
@pytest.mark.parametrize("chosen", [False, True])
def test_an_identity_that_cannot_be_named(authority, home, start_agent, mltoken, kind, key, chosen):
    home.config({"p": profile(**{key: USER[key]}, **({"source": kind.removesuffix("_old")} if chosen else {}))})
    start_agent(**environment(authority, kind))
    result = mltoken("get", "p")
    assert result.code == 3 and ("identity" in result.err or "client_id" in result.err), result.err
    assert authority.count("identity") == 0


def test_the_resource_of_a_scope(authority, home, start_agent, mltoken):
    home.config({"p": profile(resource=None, scope="https://database.windows.net//.default"), "q": profile()})
    start_agent(**environment(authority, "app_service"))
    assert mltoken("get", "p").code == 0
    assert asked(authority)[1]["resource"] == "https://database.windows.net/"
    assert mltoken("get", "q", "--scope", "https://other.example/.default").code == 0
    assert asked(authority)[1]["resource"] == "https://other.example"
    assert mltoken("get", "q", "--resource", "https://third.example").code == 0
    assert asked(authority)[1]["resource"] == "https://third.example"
    for more in (["--scope", "User.Read"], ["--scope", "a/.default", "--scope", "b/.default"],
                 ["--claims", "{}"], ["--audience", "x"]):
        assert mltoken("get", "q", *more).code == 3


# What is answered

@pytest.mark.parametrize("dates", ["epoch", "number", "us", "us12", "iso"])
@pytest.mark.parametrize("kind", ["app_service", "app_service_old"])
def test_every_form_of_the_end(authority, home, start_agent, mltoken, kind, dates):
    authority.set_identity(dates=dates, lifetime=7000)
    home.config({"p": profile()})
    start_agent(**environment(authority, kind))
    before = time.time()
    token = json.loads(mltoken("get", "p", "--json").ok().out)
    assert before + 6990 <= token["expiresAt"] <= time.time() + 7001


@pytest.mark.parametrize("expires", ["soon", "", "13/13/2019 02:57:58 +00:00", None])
def test_an_end_that_nobody_understands(authority, home, start_agent, mltoken, expires):
    authority.fault("identity", set={"expires_on": expires})
    home.config({"p": profile()})
    start_agent(**environment(authority, "app_service"))
    token = json.loads(mltoken("get", "p", "--json").ok().out)
    assert token["expiresAt"] <= time.time() + 301


def test_a_long_life_is_renewed_at_half(authority, home, start_agent, mltoken):
    home.config({"p": profile()})
    start_agent(**environment(authority, "imds"))
    token = json.loads(mltoken("get", "p", "--json").ok().out)
    life = token["expiresAt"] - time.time()
    assert 86000 < life <= 86400
    assert 0.44 * 86400 < token["refreshAt"] - time.time() <= 0.5 * 86400


def test_whose_token_it_is(authority, home, start_agent, mltoken):
    """A request for the system's identity can be answered with the only user-assigned one."""
    authority.set_identity(system=None, users=[USER])
    home.config({"p": profile(), "q": profile(client_id=USER["client_id"])})
    start_agent(**environment(authority, "imds"))
    assert json.loads(mltoken("get", "p", "--json").out)["account"] == USER["client_id"]
    assert json.loads(mltoken("get", "q", "--json").out).get("account") is None
    assert USER["client_id"] in mltoken("status", "p").out


# What is refused

@pytest.mark.parametrize("kind, keys, words", [
    ("imds", {}, "system-assigned"), ("imds", {"client_id": USER["client_id"]}, "no such identity"),
    ("app_service", {}, "system-assigned"), ("app_service", {"object_id": USER["object_id"]}, "no such identity"),
    ("azureml", {}, "No User Assigned"),
])
def test_identities_that_are_not_there(authority, home, start_agent, mltoken, kind, keys, words):
    authority.set_identity(system=None)
    home.config({"p": profile(**keys)})
    start_agent(**environment(authority, kind))
    result = mltoken("get", "p")
    assert result.code == 5 and words in result.err, result.err
    assert authority.count("identity") == (2 if kind == "imds" else 1)


def test_an_unknown_resource(authority, home, start_agent, mltoken):
    home.config({"p": profile(resource="nonsense")})
    start_agent(**environment(authority, "imds"))
    result = mltoken("get", "p")
    assert result.code == 5 and "invalid_resource" in result.err and "AADSTS500011" in result.err, result.err


@pytest.mark.parametrize("status, requests", [(404, 2), (429, 2), (503, 2), (400, 1), (403, 1)])
def test_imds_is_asked_again(authority, home, start_agent, mltoken, status, requests):
    authority.fault("identity", status=status, times=1)
    home.config({"p": profile(source="imds")})
    start_agent(**environment(authority, "imds"))
    assert (mltoken("get", "p").code == 0) == (requests == 2)
    assert authority.count("identity") == requests
    if requests == 2:
        first, second = authority.requests("identity")
        assert second.time - first.time >= 0.9


def test_imds_while_it_is_upgraded(authority, home, start_agent, mltoken):
    authority.fault("identity", status=410, times=1)
    home.config({"p": profile(source="imds")})
    start_agent(**environment(authority, "imds"))
    assert mltoken("get", "p").code == 0
    first, second = authority.requests("identity")
    assert second.time - first.time >= 9.5


def test_imds_is_upgraded_for_longer_than_a_caller_waits(authority, home, start_agent, mltoken):
    """With an agent whose times are short: 0.7 s between two questions, and an end after 2 s."""
    home.impatient()
    authority.fault("identity", status=410)
    home.config({"p": profile(source="imds")})
    start_agent(**environment(authority, "imds"))
    result = mltoken("get", "p")
    assert result.code == 6 and "it is being upgraded" in result.err, result.err
    asked = authority.requests("identity")
    assert len(asked) == 3 and all(b.time - a.time >= 0.6 for a, b in zip(asked, asked[1:]))
    authority.clear_faults()
    wait_until(lambda: mltoken("get", "p").code == 0)


@pytest.mark.parametrize("kind, status, requests", [
    ("app_service", 500, 2), ("app_service", 429, 2), ("app_service", 404, 1), ("cloud_shell", 503, 2)])
def test_others_are_asked_again(authority, home, start_agent, mltoken, kind, status, requests):
    authority.fault("identity", status=status, times=1)
    home.config({"p": profile()})
    start_agent(**environment(authority, kind))
    assert (mltoken("get", "p").code == 0) == (requests == 2)
    assert authority.count("identity") == requests


def test_retry_after_beyond_the_call_is_said(authority, home, start_agent, mltoken):
    authority.fault("identity", status=429, retry_after=120)
    home.config({"p": profile()})
    start_agent(**environment(authority, "app_service"))
    result = mltoken("get", "p")
    assert result.code == 6 and "App Service answered 429" in result.err, result.err
    assert authority.count("identity") == 1


def test_a_lost_answer_is_asked_for_again(authority, home, start_agent, mltoken):
    authority.fault("identity", reset="before", times=1)
    home.config({"p": profile(source="imds")})
    start_agent(**environment(authority, "imds"))
    assert mltoken("get", "p").code == 0


# Where it is looked for

@pytest.mark.parametrize("name, value, words", [
    ("IDENTITY_ENDPOINT", "http://10.0.0.4/msi/token", "IDENTITY_ENDPOINT"),
    ("IDENTITY_ENDPOINT", "http://example.org/msi/token", "IDENTITY_ENDPOINT"),
    ("IDENTITY_ENDPOINT", "ftp://127.0.0.1/", "IDENTITY_ENDPOINT"),
    ("IDENTITY_ENDPOINT", "http://user@127.0.0.1/", "IDENTITY_ENDPOINT"),
    ("IDENTITY_HEADER", "two\nlines", "IDENTITY_HEADER"),
])
def test_an_environment_that_leads_elsewhere(authority, home, start_agent, mltoken, name, value, words):
    home.config({"p": profile()})
    start_agent(**{**environment(authority, "app_service"), name: value})
    result = mltoken("get", "p")
    assert result.code == 3 and words in result.err, result.err
    assert authority.count("identity") == 0


@pytest.mark.parametrize("source, name", [
    ("app_service", "IDENTITY_ENDPOINT"), ("azureml", "MSI_ENDPOINT"), ("cloud_shell", "MSI_ENDPOINT"),
    ("service_fabric", "IDENTITY_ENDPOINT")])
def test_a_source_that_is_not_there(home, start_agent, mltoken, source, name):
    home.config({"p": profile(source=source)})
    start_agent()
    result = mltoken("get", "p")
    assert result.code == 3 and name in result.err, result.err
    assert "start it anew" not in result.err


def test_the_environment_is_kept_only_for_such_a_profile(authority, home, start_agent, mltoken):
    home.config({"p": {"grant": "static", "token": home.secret("x"), "header": "managed_identity: {token}"}})
    agent = start_agent(**environment(authority, "app_service"))
    assert SANITIZED or not agent.memory_has(authority.identity.secret.encode())
    home.config({"p": profile(source="app_service")})
    result = mltoken("get", "p")
    assert result.code == 3 and "start it anew" in result.err, result.err


def test_no_proxy_is_ever_used(authority, home, start_agent, mltoken):
    home.config({"p": profile()})
    start_agent(**environment(authority, "imds"), http_proxy="http://127.0.0.1:9", all_proxy="http://127.0.0.1:9")
    assert mltoken("get", "p").code == 0
    home.config({"p": profile(proxy=authority.http)})
    result = mltoken("get", "p")
    assert result.code == 3 and "proxy" in result.err


@pytest.mark.parametrize("keys, words", [
    ({"resource": None}, "resource"), ({"resource": None, "scope": "User.Read"}, "/.default"),
    ({"source": "gce"}, "imds"), ({"client_id": "x", "object_id": USER["object_id"]}, "one of"),
    ({"object_id": "x"}, "object id"), ({"mi_res_id": "x"}, "resource id"), ({"authority": "https://x.example"}, "authority"),
    ({"source": "arc", "client_id": "x"}, "arc"), ({"source": "service_fabric", "client_id": "x"}, "cluster"),
    ({"source": "azureml", "object_id": USER["object_id"]}, "client_id"),
])
def test_mistakes_in_the_profile(home, mltoken, keys, words):
    result = mltoken("config", "check", home.config({"p": profile(**keys)}))
    assert result.code == 3 and words in result.out + result.err, result.out + result.err


# The doctor

@pytest.mark.parametrize("kind, words", [("app_service", "App Service"), ("azureml", "Azure ML"), ("arc", "Azure Arc"),
                                         ("imds", "IMDS"), ("cloud_shell", "Cloud Shell")])
def test_the_doctor_says_where_it_comes_from(authority, home, mltoken, kind, words):
    home.config({"p": profile()})
    result = mltoken("doctor", "p", env=environment(authority, kind))
    assert result.code == 0 and words in result.out and "accepts connections" in result.out, result.out + result.err
    assert authority.identity.secret not in result.out + result.err


def test_the_doctor_says_what_is_missing(home, mltoken):
    home.config({"p": profile(source="app_service")})
    result = mltoken("doctor", "p")
    assert "IDENTITY_ENDPOINT" in result.out, result.out
    home.config({"p": profile()})
    result = mltoken("doctor", "p", env={"IDENTITY_ENDPOINT": "http://10.0.0.4/", "IDENTITY_HEADER": "x"})
    assert "does not lead to this host" in result.out, result.out


# IMDS at its own address

@pytest.fixture
def net():
    made = Net()
    yield made
    made.close()


def test_imds_at_its_literal_address(authority, home, start_agent, mltoken, net):
    server = authority.listen_on(net.listen("169.254.169.254", 80))
    home.config({"p": profile()})
    run_in(home, net.prefix())
    start_agent()
    assert mltoken("get", "p").code == 0
    request = authority.requests("identity")[-1]
    assert request.headers["host"] == "169.254.169.254" and request.headers["metadata"] == "true"
    authority.unlisten(server)


def test_imds_that_was_chosen_is_not_waited_for_either(authority, home, start_agent, mltoken, net):
    net.deaf()
    home.config({"p": profile(source="imds")})
    run_in(home, net.prefix())
    start_agent()
    result = mltoken("get", "p")
    assert result.code == 6 and "169.254.169.254" in result.err and "within 1 s" in result.err, result.err


@pytest.mark.parametrize("there", ["deaf", "closed", "silent"])
def test_a_laptop_does_not_hang(authority, home, start_agent, mltoken, net, there):
    if there == "deaf":
        net.deaf()
    if there == "silent":
        net.listen("169.254.169.254", 80, 16)
    home.config({"p": profile()})
    run_in(home, net.prefix())
    start_agent()
    start = time.monotonic()
    result = mltoken("get", "p")
    assert result.code == 6 and time.monotonic() - start < 25
    for word in ("169.254.169.254", "IDENTITY_ENDPOINT", "MSI_ENDPOINT", "Arc"):
        assert word in result.err, result.err
    assert there == "closed" or "within 1 s" in result.err, result.err


# Service Fabric

def cluster(authority, thumbprint, base):
    return {"IDENTITY_ENDPOINT": base + "/metadata/identity/oauth2/token", "IDENTITY_HEADER": authority.identity.secret,
            "IDENTITY_SERVER_THUMBPRINT": thumbprint}


@pytest.mark.parametrize("form", [str, str.upper])
@pytest.mark.parametrize("dates", ["number", "epoch"])
def test_service_fabric(authority, home, start_agent, mltoken, form, dates):
    authority.set_identity(dates=dates)
    base = authority.listen("self_signed", host="127.0.0.1")
    home.config({"p": profile()})
    start_agent(**cluster(authority, form(authority.ca.thumbprint("self_signed")), base))
    assert mltoken("get", "p").code == 0
    method, query, headers = asked(authority)
    assert query == {"api-version": "2019-07-01-preview", "resource": RESOURCE}
    assert method == "GET" and headers["secret"] == authority.identity.secret


def test_another_certificate_is_sent_nothing(authority, home, start_agent, mltoken):
    """Not even one that the system, or the profile's ca_file, would trust for any other server."""
    home.config({"p": profile(), "q": profile(ca_file=authority.ca_file)})
    start_agent(**cluster(authority, authority.ca.thumbprint("self_signed"), authority.https))
    for name in "pq":
        result = mltoken("get", name)
        assert result.code == 6 and "thumbprint" in result.err, result.err
    assert authority.count("identity") == 0


@pytest.mark.parametrize("change", [
    lambda t: ("1" if t[0] == "0" else "0") + t[1:], lambda t: t[:-1] + ("1" if t[-1] == "0" else "0"),
    lambda t: t[:-1], lambda t: t + "0", lambda t: "g" + t[1:], lambda t: t[:38], lambda t: "x" * 100])
def test_a_thumbprint_that_is_nearly_right(authority, home, start_agent, mltoken, change):
    base = authority.listen("self_signed", host="127.0.0.1")
    home.config({"p": profile()})
    start_agent(**cluster(authority, change(authority.ca.thumbprint("self_signed")), base))
    result = mltoken("get", "p")
    assert result.code in (3, 6) and ("thumbprint" in result.err or "THUMBPRINT" in result.err), result.err
    assert authority.count("identity") == 0


def test_a_connection_by_thumbprint_serves_nobody_else(authority, home, start_agent, mltoken):
    """What was trusted by its thumbprint is not trusted by a profile that asks for a chain."""
    base = authority.listen("self_signed", host="localhost")
    home.config({"p": profile(), "q": {"grant": "client_credentials", "token_endpoint": base + "/oidc/token",
                                       "client_id": "svc", "client_secret": home.secret("x")}})
    start_agent(**cluster(authority, authority.ca.thumbprint("self_signed"), base))
    assert mltoken("get", "p").code == 0
    result = mltoken("get", "q")
    assert result.code == 6 and "TLS" in result.err, result.err
    assert authority.count("token") == 0


def test_service_fabric_over_plain_http(authority, home, start_agent, mltoken):
    home.config({"p": profile()})
    start_agent(**cluster(authority, authority.ca.thumbprint("self_signed"), authority.http))
    result = mltoken("get", "p")
    assert result.code == 3 and "IDENTITY_ENDPOINT" in result.err and authority.count("identity") == 0, result.err


def test_service_fabric_errors(authority, home, start_agent, mltoken):
    base = authority.listen("self_signed", host="127.0.0.1")
    home.config({"p": profile(), "u": profile(client_id=USER["client_id"])})
    start_agent(**cluster(authority, authority.ca.thumbprint("self_signed"), base))
    authority.set_identity(system=None)
    result = mltoken("get", "p")
    assert result.code == 5 and "ManagedIdentityNotFound" in result.err and authority.count("identity") == 1, result.err
    assert "client_id" not in result.err
    assert "cluster" in mltoken("get", "u").err and authority.count("identity") == 1


def test_service_fabric_is_asked_again(authority, home, start_agent, mltoken):
    base = authority.listen("self_signed", host="127.0.0.1")
    home.config({"p": profile()})
    start_agent(**cluster(authority, authority.ca.thumbprint("self_signed"), base))
    authority.fault("identity", status=429, times=2)
    assert mltoken("get", "p").code == 0
    first, second, third = authority.requests("identity")
    assert second.time - first.time >= 0.9 and third.time - second.time >= 1.9


# Azure Arc

TOKENS = "/var/opt/azcmagent/tokens/"
KEY = "keyfileMARK-0123456789abcdef"


class Arc:
    """A machine of Azure Arc: its folders as the agent sees them, and its environment."""

    def __init__(self, authority, home):
        self.authority, self.home = authority, home
        self.opt, self.var_opt = home._dir("opt"), home._dir("var_opt")
        self.tokens = os.path.join(self.var_opt, "azcmagent", "tokens")
        os.makedirs(self.tokens)
        run_in(home, with_folders(var_opt=self.var_opt, opt=self.opt))
        self.environment = {"IDENTITY_ENDPOINT": authority.http + "/metadata/identity/oauth2/token",
                            "IMDS_ENDPOINT": authority.http}
        self.put("good.key", KEY)
        authority.set_identity(key=KEY, challenge=TOKENS + "good.key")
        home.config({"p": profile()})

    def put(self, name, text):
        with open(os.path.join(self.tokens, name), "w", encoding="ascii") as f:
            f.write(text)

    def challenge(self, path):
        self.authority.set_identity(challenge=path)


@pytest.fixture
def arc(authority, home):
    return Arc(authority, home)


def test_arc_asks_for_a_file(authority, arc, start_agent, mltoken):
    agent = start_agent(**arc.environment)
    assert mltoken("get", "p").code == 0
    first, second = authority.requests("identity")
    assert first.query == second.query == {"api-version": "2020-06-01", "resource": RESOURCE}
    assert "authorization" not in first.headers and second.headers["authorization"] == "Basic " + KEY
    assert first.headers["metadata"] == second.headers["metadata"] == "true"
    assert KEY not in agent.log()


@pytest.mark.parametrize("scheme", ['Basic realm=', 'basic Realm=', 'Basic realm="'])
def test_arc_challenges_are_written_in_several_ways(authority, arc, start_agent, mltoken, scheme):
    authority.set_identity(challenge_scheme=scheme, challenge=TOKENS + "good.key" + ('"' if scheme[-1] == '"' else ""))
    start_agent(**arc.environment)
    assert mltoken("get", "p").code == 0


@pytest.mark.parametrize("path", [
    "/etc/shadow", "/etc/good.key", TOKENS + "../good.key", TOKENS + "sub/good.key", TOKENS + "good.txt", TOKENS + ".key",
    TOKENS.replace("tokens", "token") + "good.key", "tokens/good.key", TOKENS, "", TOKENS + "x" * 300 + ".key",
    TOKENS + "good.key/../../../../../etc/passwd.key", TOKENS + "a b.key", "/var/opt//azcmagent/tokens/good.key",
    TOKENS + "good.key, Bearer",
])
def test_arc_challenges_that_point_elsewhere(authority, arc, start_agent, mltoken, path):
    arc.put("good.txt", KEY)
    arc.challenge(path)
    start_agent(**arc.environment)
    result = mltoken("get", "p")
    assert result.code == 5 and "challenge" in result.err and TOKENS in result.err, result.err
    assert authority.count("identity") == 1


@pytest.mark.parametrize("scheme", ["Bearer realm=", "Basic ", "Negotiate realm="])
def test_arc_challenges_of_another_kind(authority, arc, start_agent, mltoken, scheme):
    authority.set_identity(challenge_scheme=scheme)
    start_agent(**arc.environment)
    assert mltoken("get", "p").code == 5 and authority.count("identity") == 1


@pytest.mark.parametrize("kind, words", [
    ("file", "symbolic link"), ("dangling", "symbolic link"), ("folder", "symbolic link"), ("directory", "regular"),
    ("fifo", "regular"), ("missing", "no such file"), ("long", "4096"), ("empty", "cannot be sent"),
    ("lines", "cannot be sent"),
])
def test_arc_files_that_are_not_what_they_should_be(authority, arc, start_agent, mltoken, kind, words):
    bad = os.path.join(arc.tokens, "bad.key")
    secret = os.path.join(arc.home.path, "elsewhere")
    with open(secret, "w", encoding="ascii") as f:
        f.write(KEY)
    if kind == "file":
        os.symlink(os.path.join(arc.tokens, "good.key"), bad)
    elif kind == "dangling":
        os.symlink("/nowhere", bad)
    elif kind == "folder":
        os.rename(arc.tokens, arc.tokens + "-real")
        os.symlink(arc.tokens + "-real", arc.tokens)
        arc.put("bad.key", KEY)
    elif kind == "directory":
        os.mkdir(bad)
    elif kind == "fifo":
        os.mkfifo(bad)
    elif kind != "missing":
        arc.put("bad.key", {"long": "x" * 4097, "empty": "", "lines": "a\r\nX: b"}[kind])
    arc.challenge(TOKENS + "bad.key")
    start_agent(**arc.environment)
    result = mltoken("get", "p")
    assert result.code == 3 and words in result.err, result.err
    assert authority.count("identity") == 1


@pytest.mark.parametrize("length", [1, 4095, 4096])
def test_arc_files_up_to_the_limit(authority, arc, start_agent, mltoken, length):
    arc.put("good.key", "k" * length)
    authority.set_identity(key="k" * length)
    start_agent(**arc.environment)
    assert mltoken("get", "p").code == 0


def test_arc_does_not_take_the_file(authority, arc, start_agent, mltoken):
    authority.set_identity(key="another")
    start_agent(**arc.environment)
    result = mltoken("get", "p")
    assert result.code == 5 and "Azure Arc answered 401" in result.err, result.err
    assert authority.count("identity") == 2


def test_arc_is_known_by_its_program(authority, home, start_agent, mltoken, net):
    """Without a word in the environment, at the address that it always has."""
    arc = Arc(authority, home)
    server = authority.listen_on(net.listen("127.0.0.1", 40342))
    os.makedirs(os.path.join(arc.opt, "azcmagent", "bin"))
    with open(os.path.join(arc.opt, "azcmagent", "bin", "himds"), "w", encoding="ascii") as f:
        f.write("#!/bin/sh")
    run_in(home, net.prefix())
    start_agent()
    assert mltoken("get", "p").code == 0
    assert authority.requests("identity")[-1].headers["host"] == "localhost:40342"
    authority.unlisten(server)


def test_arc_for_somebody_who_may_not_read_it(authority, home, start_agent):
    """Neither root nor in the group himds."""
    somebody = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups"]
    run_in(home, somebody)
    arc = Arc(authority, home)
    os.chmod(os.path.join(arc.tokens, "good.key"), 0o440)
    os.chmod(home.path, 0o755)
    for folder in (home.home, home.runtime):
        subprocess.run(["chown", "-R", "12345:12345", folder], check=True)
    subprocess.run(["chmod", "755", home.path, arc.var_opt], check=True)
    agent = start_agent(wait=False, **arc.environment)
    waits = 'until [ -S "$1" ]; do sleep 0.1; done; exec "$0" get p'
    found = subprocess.run([*somebody, "sh", "-c", waits, program("mltoken"), home.socket], env=home.env(),
                           capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert found.returncode == 3 and "himds" in found.stderr, found.stderr + agent.log()
    assert authority.count("identity") == 1


# Secrets

def test_no_secret_in_log_or_error(authority, home, start_agent, mltoken):
    home.config({"p": profile()})
    agent = start_agent(**environment(authority, "app_service"))
    said = []
    for fault in ({}, {"status": 400}, {"set": {"access_token": "bad token"}}, {"invalid_json": True}):
        authority.clear_faults()
        authority.fault("identity", times=1, **fault)
        result = mltoken("get", "p", "--refresh")
        said.append(result.err)
    text = "".join(said) + agent.log() + mltoken("status", "p").out
    assert not [s for s in authority.secrets() if s in text]
    with open(f"/proc/{agent.pid}/environ", "rb") as f:
        assert authority.identity.secret.encode() not in f.read()
