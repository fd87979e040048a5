"""mltoken show --remote: what the authority says of a token, by introspection (RFC 7662) or userinfo."""

import pytest

from harness import person, service
from test_exchange import TENANT, child, entra, entra_me, trader  # noqa: F401
from test_private_key_jwt import Pair, keyed, register


def remote(mltoken, profile):
    return mltoken("show", profile, "--remote", "--json")


def test_a_client_asks_introspection(authority, home, start_agent, mltoken):
    authority.set_client("svc", token_format="opaque")
    home.config({"p": service(authority, home)})
    agent = start_agent()
    token = mltoken("get", "p").ok().out.strip()
    result = remote(mltoken, "p").ok()
    said = result.json()
    assert said["claims"]["active"] is True and said["claims"]["client_id"] == "svc" and said["claims"]["scope"] == "api"
    assert said["expiresAt"] == said["claims"]["exp"]
    request = authority.requests("introspect")[0]
    assert request.form["token"] == token and request.form["token_type_hint"] == "access_token"
    assert request.headers["authorization"].startswith("Basic ")
    assert authority.count("token") == 1 and authority.count("userinfo") == 0
    shown = mltoken("show", "p", "--remote").ok()
    assert "active: true" in shown.out
    for text in result.out, shown.out, shown.err, agent.log():
        assert token not in text and authority.client("svc").secret not in text


def test_a_revoked_token_is_said_so(authority, home, start_agent, mltoken):
    home.config({"p": service(authority, home), "me": person(authority)})
    start_agent()
    authority.set_client("device", auto_approve="alice", interval=1)
    mltoken("login", "me", "--json").ok()
    for profile in "p", "me":  # introspection, userinfo
        token = mltoken("get", profile).ok().out.strip()
        remote(mltoken, profile).ok()
        authority.store.access_tokens[token].revoked = True
        result = remote(mltoken, profile)
        assert result.code == 5 and "not active" in result.err and result.json()["claims"]["active"] is False
        assert token not in result.out + result.err


def test_a_person_s_client_without_a_secret_asks_userinfo(authority, home, start_agent, mltoken):
    authority.set_userinfo(nick="al\u0007ice\u202e")
    authority.set_client("device", auto_approve="alice", interval=1)
    home.config({"me": person(authority)})
    start_agent()
    mltoken("login", "me", "--json").ok()
    token = mltoken("get", "me").ok().out.strip()
    shown = mltoken("show", "me", "--remote").ok()
    assert "alice@example.org" in shown.out and "\u202e" not in shown.out and "\u0007" not in shown.out
    request = authority.requests("userinfo")[0]
    assert request.headers["authorization"] == "Bearer " + token
    assert authority.count("introspect") == 0 and token not in shown.out


def test_a_client_with_a_key(authority, home, start_agent, mltoken):
    pair = Pair(home)
    register(authority, pair)
    home.config({"p": keyed(authority, pair)})
    start_agent()
    assert remote(mltoken, "p").ok().json()["claims"]["active"] is True
    assert "client_assertion" in authority.requests("introspect")[0].form


def test_userinfo_where_there_is_no_introspection(authority, home, start_agent, mltoken):
    authority.switch("introspection", False)
    home.config({"p": service(authority, home)})
    start_agent()
    result = remote(mltoken, "p")  # a service is nobody there
    assert result.code == 5 and authority.count("userinfo") == 1


def test_neither(authority, home, start_agent, mltoken):
    authority.switch("introspection", False)
    authority.switch("userinfo", False)
    home.config({"p": service(authority, home),
                 "k": {"grant": "static", "token": home.secret("valueMARK", "token")}})
    start_agent()
    assert "neither introspection nor userinfo" in remote(mltoken, "p").failed(3)
    assert "static" in remote(mltoken, "k").failed(3)


@pytest.mark.parametrize("body", [{"active": "true"}, {}, {"active": True, "x": "y" * 70000}])
def test_what_no_answer_is(authority, home, start_agent, mltoken, body):
    import json
    home.config({"p": service(authority, home)})
    start_agent()
    authority.fault("introspect", body=json.dumps(body), status=200)
    result = remote(mltoken, "p")
    assert result.code in (5, 6) and result.out == "", result.err


def test_a_token_that_is_repeated_is_left_out(authority, home, start_agent, mltoken):
    import json
    home.config({"p": service(authority, home)})
    start_agent()
    token = mltoken("get", "p").ok().out.strip()
    authority.fault("introspect", body=json.dumps({"active": True, "token": token, "a": "b"}), status=200)
    assert remote(mltoken, "p").ok().json()["claims"] == {"active": True, "a": "b"}


def test_an_endpoint_on_another_host_is_not_used(authority, home, start_agent, mltoken):
    authority.set_metadata(introspection_endpoint="https://evil.example/introspect",
                           userinfo_endpoint="https://evil.example/userinfo")
    home.config({"p": service(authority, home)})
    start_agent()
    mltoken("get", "p").ok()
    assert "neither" in remote(mltoken, "p").failed(3)


def test_the_authority_hangs_up(authority, home, start_agent, mltoken):
    home.config({"p": service(authority, home)})
    start_agent()
    mltoken("get", "p").ok()
    authority.fault("introspect", status=503, body="busy")
    remote(mltoken, "p").failed(6)
    mltoken("get", "p").ok()


@pytest.mark.parametrize("grant", ["token_exchange", "jwt_bearer"])
def test_a_token_that_was_made_from_another(authority, home, start_agent, mltoken, trader, grant):
    """By the client that traded it, and by nobody else: the parent's proof is not used for it."""
    authority.set_client("trader", token_format="opaque")
    home.config({"me": person(authority), "p": child(authority, home, grant)})
    agent = start_agent()
    mltoken.login(authority, "me").ok()
    token, parent = (mltoken("get", name).ok().out.strip() for name in ("p", "me"))
    said = remote(mltoken, "p").ok()
    assert said.json()["claims"]["active"] is True and said.json()["claims"]["client_id"] == "trader"
    request, = authority.requests("introspect")
    assert request.form["token"] == token and request.headers["authorization"].startswith("Basic ")
    authority.store.access_tokens[token].revoked = True
    gone = remote(mltoken, "p")
    assert gone.code == 5 and "not active" in gone.err
    for text in said.out, gone.out, gone.err, agent.log():
        assert token not in text and parent not in text and trader.secret not in text


@pytest.mark.parametrize("place, shown", [(None, True), ("https://graph.example/oidc/userinfo", False)])
def test_a_token_on_behalf_of_a_person(authority, home, start_agent, mltoken, trader, place, shown):
    """Entra has no introspection, and its userinfo is on a host that is not the authority's: it gets no token."""
    if place:
        authority.set_metadata(f"/{TENANT}/v2.0", userinfo_endpoint=place)
    authority.set_client("native", auto_approve="alice")
    home.config({"me": entra_me(authority), "p": entra(authority, home)})
    start_agent()
    mltoken("login", "me").ok()
    mltoken("get", "p").ok()
    if shown:
        assert remote(mltoken, "p").ok().json()["claims"]["preferred_username"] == "alice@example.org"
    else:
        assert "neither introspection nor userinfo" in remote(mltoken, "p").failed(3)
    assert authority.count("userinfo") == shown
