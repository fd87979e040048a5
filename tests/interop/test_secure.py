"""oidc-provider over TLS: clients that are known by a certificate (RFC 8705), pushed authorization requests (RFC 9126),
introspection (RFC 7662), token exchange (RFC 8693), resource indicators (RFC 8707), and tokens bound to a key."""

import json
import os

import pytest

import interop_oidc_provider
from authority.tls import LocalCa
from authority.assertions import thumbprint
from harness import wait_until
from interop_mltoken import User
from interop_oauth import claims
from test_private_key_jwt import Pair, openssl

OPAQUE, OTHER = "urn:mltoken:opaque", "urn:mltoken:other"
SECRET = interop_oidc_provider.POST_SECRET


def issue(ca, pair, name):
    """A certificate for the key of a pair from the authority that the server trusts for clients."""
    root, request = ca.ca_file("clients"), pair.certificate + ".csr"
    openssl("req", "-new", "-key", pair.key, "-subj", "/CN=" + name, "-out", request)
    openssl("x509", "-req", "-in", request, "-CA", root, "-CAkey", os.path.splitext(root)[0] + ".key", "-CAcreateserial",
            "-days", "30", "-out", pair.certificate)
    with open(pair.certificate, encoding="ascii") as f:
        pair.pem = f.read()
    return pair


@pytest.fixture(scope="module")
def user():
    mine = User()
    yield mine
    mine.stop()


@pytest.fixture(scope="module")
def pairs(user, ca):
    made = {name: Pair(user.home, name, kind="P-256") for name in ("self-signed", "bound", "stranger")}
    made["by-authority"] = issue(ca, Pair(user.home, "by-authority"), "by-authority")
    made["other-name"] = issue(ca, Pair(user.home, "other-name"), "somebody-else")
    return made


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return LocalCa(str(tmp_path_factory.mktemp("ca")))


@pytest.fixture(scope="module")
def server(tmp_path_factory, oidc_provider_folder, ca, pairs):
    cert, key = ca.certificate()
    tls = {"cert": cert, "key": key, "clientCa": ca.ca_file("clients"), "ca": ca.ca_file()}
    clients = interop_oidc_provider.secure_clients({name: pair.pem for name, pair in pairs.items()})
    with interop_oidc_provider.running(oidc_provider_folder, tmp_path_factory.mktemp("secure"), clients=clients,
                                       tls=tls) as server:
        yield server


@pytest.fixture(scope="module")
def ready(user, server, pairs):
    """The user with all profiles, and an agent."""
    def shows(name, client, pair, **more):
        user.profile(name, server, client, "client_credentials", "api:read", client_key=pairs[pair].key,
                     client_certificate=pairs[pair].certificate, ca_file=server.ca_file,
                     **{"client_auth": "self_signed_tls_client_auth", **more})

    def has_secret(name, client, grant="client_credentials", **more):
        user.profile(name, server, (client, SECRET), grant, "api:read", ca_file=server.ca_file, **more)

    shows("ca", "by-authority", "by-authority", client_auth="tls_client_auth")
    shows("ca-name", "by-authority", "other-name", client_auth="tls_client_auth")
    shows("ca-stranger", "by-authority", "stranger", client_auth="tls_client_auth")
    shows("own", "self-signed", "self-signed")
    shows("own-stranger", "self-signed", "stranger")
    shows("bound", "bound", "bound")
    shows("bound-wanted", "bound", "bound", allow_bound="yes")
    shows("bound-opaque", "bound", "bound", resource=OPAQUE)
    has_secret("dpop", "dpop-only")
    has_secret("plain", "plain", client_auth="client_secret_post")
    has_secret("opaque", "plain", client_auth="client_secret_post", resource=OPAQUE)
    has_secret("trade", "trader", "token_exchange", parent="plain", audience=OTHER)
    has_secret("trade-wrong", "trader", "token_exchange", parent="opaque", audience=OTHER)
    user.profile("push", server, "pushing", "authorization_code", server.login_scope, ca_file=server.ca_file)
    user.profile("push-tls", server, "pushing-tls", "authorization_code", server.login_scope, ca_file=server.ca_file,
                 client_key=pairs["by-authority"].key, client_certificate=pairs["by-authority"].certificate,
                 client_auth="tls_client_auth")
    return user.start()


# Certificates (RFC 8705)

@pytest.mark.parametrize("name, client", [("ca", "by-authority"), ("own", "self-signed")])
def test_known_by_a_certificate(ready, name, client):
    first = claims(ready.get(name))
    assert first["client_id"] == client and "cnf" not in first
    assert claims(ready.get("--refresh", name))["jti"] != first["jti"]


@pytest.mark.parametrize("name", ["ca-name", "ca-stranger", "own-stranger"])
def test_another_certificate(ready, name):
    assert "invalid_client" in ready.fails(5, "get", name)


def test_in_turns_each_is_who_it_is(ready):
    """On one host, with and without a certificate: connections are not shared between identities."""
    for _ in range(2):
        for name, client in (("ca", "by-authority"), ("plain", "plain"), ("own", "self-signed"), ("plain", "plain")):
            assert claims(ready.get("--refresh", name))["client_id"] == client
        ready.fails(5, "get", "--refresh", "own-stranger")


def test_a_bound_token(ready, pairs):
    why = ready.fails(5, "get", "bound")
    assert "bound to the client's certificate" in why and "allow_bound = yes" in why
    assert claims(ready.get("bound-wanted"))["cnf"] == {"x5t#S256": thumbprint(pairs["bound"].pem)}


# DPoP (RFC 9449)

def test_a_client_that_must_use_dpop(ready, server):
    """The server says no more than that its answer is no; why, it tells its own log."""
    assert "invalid_grant" in ready.fails(5, "get", "dpop")
    wait_until(lambda: "DPoP proof JWT not provided" in server.log.read_text())


# Introspection (RFC 7662), resource indicators (RFC 8707)

def test_introspection_of_an_opaque_token(ready):
    token = ready.get("opaque")
    assert "." not in token
    told = json.loads(ready.ok("show", "opaque", "--remote", "--json"))["claims"]
    assert told["active"] is True and told["client_id"] == "plain" and told["aud"] == OPAQUE and told["scope"] == "api:read"
    assert token not in json.dumps(told)


def test_introspection_shows_what_an_opaque_token_is_bound_to(ready, pairs):
    """Asked by a client that shows its certificate. Into the token itself nobody can look."""
    assert "." not in ready.get("bound-opaque")
    told = json.loads(ready.ok("show", "bound-opaque", "--remote", "--json"))["claims"]
    assert told["active"] is True and told["cnf"] == {"x5t#S256": thumbprint(pairs["bound"].pem)}


def test_a_resource(ready):
    assert claims(ready.get("plain"))["aud"] == "urn:mltoken:api"
    assert claims(ready.get("--resource", OTHER, "plain"))["aud"] == OTHER


# Token exchange (RFC 8693)

def test_a_token_for_a_token(ready):
    told = claims(ready.get("trade"))
    assert told["aud"] == OTHER and told["client_id"] == "trader" and told["sub"] == "plain"
    assert "invalid_request" in ready.fails(5, "get", "trade-wrong")


# Pushed authorization requests (RFC 9126)

@pytest.mark.parametrize("name", ["push", "push-tls"])
def test_the_request_is_pushed(ready, server, name):
    ready.sign_in(name, server, typed=True)
    first = claims(ready.get(name))
    assert first["sub"] == server.person
    assert claims(ready.get("--refresh", name))["jti"] != first["jti"]
    ready.ok("logout", name)
    ready.fails(4, "get", name)
