"""Managed identities: what each platform is asked, what it answers, and what happens where there is none."""

import hashlib
import json
import os
import ssl
import time

import pytest

from authority.managed_identity import SYSTEM
from harness import PATIENCE
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
    home.config({"p": {"grant": "static", "token": home.secret("x")}})
    agent = start_agent(**environment(authority, "app_service"))
    assert not agent.memory_has(authority.identity.secret.encode())
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
    assert mltoken("doctor", "p").out.count("IMDS") >= 0
    authority.unlisten(server)


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
    assert result.code == 6 and time.monotonic() - start < 10
    for word in ("169.254.169.254", "IDENTITY_ENDPOINT", "MSI_ENDPOINT", "Arc"):
        assert word in result.err, result.err
    assert there == "closed" or "within 1 s" in result.err, result.err


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
