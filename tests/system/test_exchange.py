"""token_exchange, jwt_bearer and on_behalf_of: tokens that are made from other tokens, and the parents they come from."""

import json
import math
import os
import time

import pytest
from attack import SANITIZED
from authority.exchange import TYPE
from harness import person, service, wait_until

TENANT = "c0470500-0000-4000-8000-00000000c050"
CHALLENGE = {"access_token": {"polids": {"essential": True, "values": ["9ab03e19-ed42-4168-b6b7-7001fb3e933a"]}}}


@pytest.fixture
def trader(authority):
    """A confidential client that may trade tokens in."""
    return authority.add_client("trader", secret="secretMARKtrader", grants=("token_exchange", "jwt_bearer"))


def child(authority, home, grant="token_exchange", **more):
    return service(authority, home, "trader", **{"grant": grant, "parent": "me", **more})


def entra(authority, home, **more):
    return child(authority, home, "on_behalf_of", base=f"{authority.http}/{TENANT}/v2.0", dialect="entra",
                 scope="https://next.example/.default", **more)


def entra_me(authority):
    return person(authority, "native", base=f"{authority.http}/{TENANT}/v2.0", dialect="entra",
                  scope="openid offline_access api://trader/access")


def outside(authority, home, name="subject", lifetime=3600, **claims):
    token = authority.mint({"iss": "https://outside.example", **claims}, lifetime=lifetime)
    home.known_secrets.append(token)
    return token, home.write("projected/" + name, token + "\n", 0o644)


def trades(authority, client="trader"):
    return [r.form for r in authority.requests("token", client)]


def user_of(authority, result):
    return authority.store.access_tokens[result.ok().out.strip()].user


# ---- the parent ----

def test_a_token_is_made_from_the_parents(authority, home, start_agent, mltoken, trader):
    home.config({"me": person(authority), "p": child(authority, home, audience="https://next.example")})
    start_agent()
    mltoken.login(authority, "me").ok()
    parent = mltoken("get", "me").ok().out.strip()
    result = mltoken("get", "p", "--json").ok().json()
    assert authority.store.access_tokens[result["value"]].user == "alice"
    form = trades(authority)[0]
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:token-exchange"
    assert form["subject_token"] == parent and form["subject_token_type"] == TYPE + "access_token"
    assert form["audience"] == "https://next.example" and form["scope"] == "api"
    assert "requested_token_type" not in form and "actor_token" not in form
    assert mltoken("get", "p").out.strip() == result["value"] and len(trades(authority)) == 1


def test_a_service_may_be_the_parent_and_be_asked_once(authority, home, start_agent, mltoken, trader):
    """Children that begin together share the parent's flight."""
    home.config({"me": service(authority, home), **{f"p{i}": child(authority, home) for i in range(5)}})
    start_agent()
    authority.set_delay(0.3)
    running = [mltoken.start("get", f"p{i}") for i in range(5)]
    for process in running:
        mltoken.finish(process).ok()
    assert len(authority.requests("token", "svc")) == 1 and len(trades(authority)) == 5


def test_a_parent_of_a_parent(authority, home, start_agent, mltoken, trader):
    home.config({"me": person(authority), "middle": child(authority, home), "p": child(authority, home, parent="middle")})
    start_agent()
    err = mltoken("get", "p").failed(4)
    assert "parent middle: parent me: " in err and err.strip().endswith("mltoken login me"), err
    mltoken.login(authority, "me").ok()
    assert user_of(authority, mltoken("get", "p")) == "alice"
    assert trades(authority)[1]["subject_token"] == mltoken("get", "middle").out.strip()


def test_a_parent_at_which_nobody_is_signed_in(authority, home, start_agent, mltoken, trader):
    home.config({"me": person(authority), "p": child(authority, home)})
    agent = start_agent()
    err = mltoken("get", "p").failed(4)
    assert "for p:" in err and "parent me: " in err and "mltoken login me" in err, err
    with agent.varlink() as v:
        assert v.error("GetToken", profile="p").parameters["profile"] == "me"
    status = {p["name"]: p for p in mltoken("status", "--json").json()["profiles"]}
    assert status["p"]["state"] == "login_required" and "parent me" in status["p"]["lastError"]
    mltoken.login(authority, "me").ok()
    assert user_of(authority, mltoken("get", "p")) == "alice"


def test_signing_in_from_get(authority, home, start_agent, mltoken, trader):
    authority.set_client("device", auto_approve="alice")
    home.config({"me": person(authority), "p": child(authority, home)})
    start_agent()
    assert user_of(authority, mltoken("get", "p", "--login")) == "alice"


def test_another_account_at_the_parent(authority, home, start_agent, mltoken, trader):
    """What was made from one person's token is not served to who asks after another has signed in."""
    home.config({"me": person(authority), "p": child(authority, home), "q": child(authority, home, parent="p")})
    start_agent()
    mltoken.login(authority, "me", "alice").ok()
    assert user_of(authority, mltoken("get", "q")) == "alice"
    mltoken.login(authority, "me", "bob", False, "--switch-account").ok()
    assert user_of(authority, mltoken("get", "q")) == "bob" and user_of(authority, mltoken("get", "p")) == "bob"
    mltoken("logout", "me").ok()
    for name in ("p", "q"):
        assert "mltoken login me" in mltoken("get", name).failed(4)


def test_a_parents_sign_in_that_was_ended_elsewhere(authority, home, start_agent, mltoken, trader):
    home.config({"me": person(authority), "p": child(authority, home)})
    start_agent()
    mltoken.login(authority, "me").ok()
    authority.revoke_refresh_tokens()
    err = mltoken("get", "p").failed(4)
    assert "parent me: " in err and "mltoken login me" in err, err


def test_a_parents_password_that_was_refused(authority, home, start_agent, mltoken, trader):
    """It is not sent again for a child's sake."""
    me = {"grant": "password", "authority": authority.oidc, "client_id": "typed", "scope": "openid", "username": "alice",
          "password": home.secret("wrongMARK", "password")}
    home.config({"me": me, "p": child(authority, home)})
    agent = start_agent()
    for _ in range(3):
        err = mltoken("get", "p")
        assert err.code in (4, 5) and "parent me" in err.err, err.err
    assert len(authority.requests("token", "typed")) == 1 and not trades(authority)
    assert "wrongMARK" not in agent.log()


def test_a_parent_that_the_authority_refuses(authority, home, start_agent, mltoken, trader):
    """The refusal is the parent's, remembered there alone: mending it mends the child at once."""
    me = {**service(authority, home), "client_secret": "stored", "store": "memory"}
    home.config({"me": me, "p": child(authority, home)})
    start_agent()
    mltoken("secret", "set", "me", "client_secret", input="wrongMARK").ok()
    for _ in range(3):
        err = mltoken("get", "p").failed(5)
        assert "invalid_client" in err and "parent me" in err, err
    assert len(authority.requests("token", "svc")) == 1
    mltoken("secret", "set", "me", "client_secret", input=authority.client("svc").secret).ok()
    mltoken("get", "p").ok()


def test_a_parents_token_that_was_taken_back(authority, home, start_agent, mltoken, trader):
    """Between its issue and the trade: the parent is asked for a new one, once."""
    home.config({"me": person(authority), "p": child(authority, home)})
    start_agent()
    mltoken.login(authority, "me").ok()
    old = mltoken("get", "me").out.strip()
    authority.store.access_tokens[old].revoked = True
    assert user_of(authority, mltoken("get", "p")) == "alice"
    assert [f["subject_token"] == old for f in trades(authority)] == [True, False]


def test_a_refusal_is_not_asked_for_twice(authority, home, start_agent, mltoken, trader):
    authority.exchange_rules["problem"] = ("invalid_request", {})
    home.config({"me": service(authority, home), "p": child(authority, home)})
    start_agent()
    for _ in range(3):
        assert "invalid_request" in mltoken("get", "p").failed(5)
    assert len(trades(authority)) == 2 and len(authority.requests("token", "svc")) == 2


def test_a_parent_that_has_one_token_only(authority, home, start_agent, mltoken, trader):
    """It is not sent a second time."""
    home.config({"me": {"grant": "static", "token": home.secret("staticMARKtoken", "static")},
                 "p": child(authority, home)})
    agent = start_agent()
    assert "not known" in mltoken("get", "p").failed(5)
    assert len(trades(authority)) == 1 and "staticMARK" not in agent.log()


def test_a_parent_that_hangs(authority, home, start_agent, mltoken, trader):
    authority.set_delay(30, "token")
    home.config({"me": service(authority, home, timeout="60"), "p": child(authority, home, timeout="1")})
    start_agent()
    err = mltoken("get", "p").failed(6)
    assert "parent me" in err and "within 3 s" in err, err
    authority.set_delay(0, "token")


def test_a_locked_agent_trades_nothing(authority, home, start_agent, mltoken, trader):
    home.config({"me": service(authority, home), "p": child(authority, home)})
    agent = start_agent()
    mltoken("get", "p").ok()
    with agent.varlink() as v:
        v.call("Lock", passphrase="a passphrase")
    assert mltoken("get", "p").code == 8
    with agent.varlink() as v:
        v.call("Unlock", passphrase="a passphrase")
    mltoken("get", "p").ok()
    assert len(trades(authority)) == 1


def test_changed_settings_of_the_parent(authority, home, start_agent, mltoken, trader):
    home.config({"me": service(authority, home), "p": child(authority, home)})
    start_agent()
    first = mltoken("get", "p").ok().out
    home.config({"me": service(authority, home, scope="other"), "p": child(authority, home)})
    wait_until(lambda: mltoken("get", "p").ok().out != first)


def test_the_parents_guard_is_for_clients(authority, home, start_agent, mltoken, trader):
    """Who may have what is made from its token is said by the child's own."""
    home.config({"me": service(authority, home, allow="/usr/bin/true"), "p": child(authority, home),
                 "q": child(authority, home, allow="/usr/bin/true")})
    start_agent()
    mltoken("get", "p").ok()
    for name in ("me", "q"):
        mltoken("get", name).failed(8)


# ---- mistakes ----

@pytest.mark.parametrize("parents, words", [
    ({"a": "b", "b": "a"}, "a -> b -> a"),
    ({"a": "a"}, "a -> a"),
    ({"a": "b", "b": "c", "c": "b"}, "a -> b -> c -> b"),
    ({f"p{i}": f"p{i + 1}" for i in range(9)}, "more than 8"),
])
def test_parents_without_an_end(authority, home, start_agent, mltoken, trader, parents, words):
    last = {"p9": service(authority, home)} if "p9" in parents.values() else {}
    home.config({**{name: child(authority, home, parent=above) for name, above in parents.items()}, **last})
    result = mltoken("config", "check")
    assert result.code == 3 and words in result.out + result.err, result.out + result.err
    start_agent()
    first = next(iter(parents))
    assert words in mltoken("get", first).failed(3)
    assert authority.count("token") == 0


def test_eight_parents_are_taken(authority, home, start_agent, mltoken, trader):
    chain = {f"p{i}": child(authority, home, parent=f"p{i + 1}") for i in range(8)}
    home.config({**chain, "p8": service(authority, home)})
    start_agent()
    mltoken("get", "p0").ok()
    assert len(trades(authority)) == 8


@pytest.mark.parametrize("keys, words", [
    ({"parent": None}, "subject_token_file"),
    ({"parent": "mee"}, "did you mean me"),
    ({"subject_token_file": "/run/token"}, "drop one"),
    ({"subject_token_type": "bearer"}, "subject_token_type"),
    ({"requested_token_type": "refresh_token"}, "handed to nobody"),
    ({"requested_token_type": TYPE + "refresh_token"}, "handed to nobody"),
    ({"actor_token_type": "jwt"}, "without actor_token_file"),
    ({"actor_token_file": "relative"}, "whole path"),
    ({"grant": "jwt_bearer", "actor_token_file": "/run/actor"}, "token_exchange alone"),
    ({"grant": "jwt_bearer", "subject_token_type": "jwt"}, "subject_token_type"),
    ({"grant": "on_behalf_of"}, "dialect = entra"),
    ({"grant": "on_behalf_of", "dialect": "entra", "client_secret": None}, "client_secret"),
])
def test_mistakes_in_the_profile(authority, home, mltoken, trader, keys, words):
    profile = child(authority, home, **keys)
    if keys.get("dialect") == "entra":
        profile["authority"] = f"{authority.http}/{TENANT}/v2.0"
    home.config({"me": service(authority, home), "p": profile})
    result = mltoken("config", "check")
    assert result.code == 3 and words in result.out + result.err, result.out + result.err


# ---- token exchange ----

def test_every_parameter(authority, home, start_agent, mltoken, trader):
    subject, subject_path = outside(authority, home, sub="sub-bob-2")
    actor, actor_path = outside(authority, home, "actor")
    authority.exchange_rules["issued"] = TYPE + "jwt"
    home.config({"p": child(authority, home, parent=None, subject_token_file=subject_path, subject_token_type="id_token",
                            requested_token_type=TYPE + "access_token", actor_token_file=actor_path,
                            audience="next", resource="https://next.example/api")})
    start_agent()
    assert user_of(authority, mltoken("get", "p")) == "bob"
    form = trades(authority)[0]
    assert form["subject_token"] == subject and form["subject_token_type"] == TYPE + "id_token"
    assert form["actor_token"] == actor and form["actor_token_type"] == TYPE + "jwt"
    assert form["requested_token_type"] == TYPE + "access_token"
    assert form["audience"] == "next" and form["resource"] == "https://next.example/api"


def test_a_file_is_read_anew(authority, home, start_agent, mltoken, trader):
    _, path = outside(authority, home)
    home.config({"p": child(authority, home, parent=None, subject_token_file=path)})
    start_agent()
    assert user_of(authority, mltoken("get", "p")) == "alice"
    outside(authority, home, sub="sub-bob-2")
    assert user_of(authority, mltoken("get", "p", "--refresh")) == "bob"
    assert trades(authority)[0]["subject_token_type"] == TYPE + "jwt"
    os.remove(path)
    err = mltoken("get", "p", "--refresh").failed(3)
    assert path in err and "no such file" in err, err


@pytest.mark.parametrize("text, mode, words", [("", 0o644, "one token"), ("two words", 0o644, "one token"),
                                               ("a.b.c", 0o666, "open to other users")])
def test_a_file_that_cannot_do(authority, home, start_agent, mltoken, trader, text, mode, words):
    path = home.write("projected/subject", text, mode)
    home.config({"p": child(authority, home, parent=None, subject_token_file=path)})
    start_agent()
    err = mltoken("get", "p").failed(3)
    assert path in err and words in err, err
    assert authority.count("token") == 0


def test_a_file_whose_token_has_ended(authority, home, start_agent, mltoken, trader):
    _, path = outside(authority, home, lifetime=-10)
    home.config({"p": child(authority, home, parent=None, subject_token_file=path)})
    start_agent()
    assert "has ended" in mltoken("get", "p").failed(5)
    assert len(trades(authority)) == 1


def test_a_token_that_is_no_access_token(authority, home, start_agent, mltoken, trader):
    authority.exchange_rules.update(issued=TYPE + "saml2", token_type="N_A", members={"access_token": "PHNhbWw-"})
    home.config({"me": service(authority, home), "p": child(authority, home, requested_token_type="saml2",
                                                            header="X-Assertion: {token}")})
    agent = start_agent()
    assert mltoken("get", "p", "--header").ok().out == "X-Assertion: PHNhbWw-\n"
    with agent.varlink() as v:
        assert v.call("GetToken", profile="p")["token"]["type"] == "N_A"


@pytest.mark.parametrize("rules, words", [
    ({"issued": False}, "no issued_token_type"),
    ({"issued": 7}, "no issued_token_type"),
    ({"issued": TYPE + "refresh_token"}, "another kind"),
    ({"issued": TYPE + "id_token"}, "another kind"),
    ({"token_type": "DPoP"}, "DPoP"),
    ({"members": {"access_token": None}}, "no access_token"),
    ({"members": {"expires_in": 0}}, "expired already"),
    ({"members": {"scope": "less"}}, "without the scope"),
])
def test_answers_that_cannot_be_used(authority, home, start_agent, mltoken, trader, rules, words):
    authority.exchange_rules.update(rules)
    home.config({"me": service(authority, home), "p": child(authority, home, requested_token_type="access_token")})
    start_agent()
    assert words in mltoken("get", "p").failed(5)


@pytest.mark.parametrize("members", [{"expires_in": None}, {"expires_in": "3600"}, {"expires_in": 3600.5}])
def test_lives_in_every_form(authority, home, start_agent, mltoken, trader, members):
    authority.exchange_rules["members"] = members
    home.config({"me": service(authority, home), "p": child(authority, home)})
    start_agent()
    left = mltoken("get", "p", "--json").ok().json()["expiresAt"] - time.time()
    assert 0 < left <= 3601 and (left <= 300) == (members["expires_in"] is None)


def test_no_tokens_for_that_audience(authority, home, start_agent, mltoken, trader):
    authority.exchange_rules["audiences"] = ["https://next.example"]
    home.config({"me": service(authority, home), "p": child(authority, home, audience="https://other.example")})
    start_agent()
    err = mltoken("get", "p").failed(5)
    assert "invalid_target" in err and "https://other.example" in err, err
    assert len(trades(authority)) == 1
    mltoken("get", "p", "--audience", "https://next.example").ok()


def test_a_kind_that_the_authority_does_not_take(authority, home, start_agent, mltoken, trader):
    home.config({"me": service(authority, home), "p": child(authority, home, subject_token_type="saml1")})
    start_agent()
    assert "saml1 is not supported" in mltoken("get", "p").failed(5)


def test_an_authority_without_the_grant(authority, home, start_agent, mltoken):
    authority.add_client("trader", secret="secretMARKtrader", grants=("client_credentials",))
    home.config({"me": service(authority, home), "p": child(authority, home)})
    start_agent()
    assert "unauthorized_client" in mltoken("get", "p").failed(5)


def test_what_a_refresh_token_would_be_for(authority, home, start_agent, mltoken, trader):
    """One that comes along is neither kept nor used."""
    home.config({"me": service(authority, home), "p": child(authority, home)})
    agent = start_agent()
    for _ in range(2):
        mltoken("get", "p", "--refresh").ok()
    assert all("refresh_token" not in form for form in trades(authority))
    assert SANITIZED or wait_until(lambda: not agent.memory_has(b"refreshMARKunwanted"))  # what was in flight goes too


# ---- JWT bearer ----

def test_jwt_bearer(authority, home, start_agent, mltoken, trader):
    subject, path = outside(authority, home)
    home.config({"p": child(authority, home, "jwt_bearer", parent=None, subject_token_file=path)})
    start_agent()
    assert user_of(authority, mltoken("get", "p")) == "alice"
    form = trades(authority)[0]
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer" and form["assertion"] == subject
    assert "requested_token_use" not in form and "subject_token" not in form


def test_jwt_bearer_without_a_client(authority, home, start_agent, mltoken):
    """Client authentication is optional there."""
    authority.add_client("open", grants=("jwt_bearer",))
    _, path = outside(authority, home)
    home.config({"p": {"grant": "jwt_bearer", "authority": authority.oidc, "client_id": "open", "scope": "api",
                       "subject_token_file": path}})
    start_agent()
    mltoken("get", "p").ok()
    assert "authorization" not in authority.requests("token")[0].headers


def test_an_assertion_that_has_ended(authority, home, start_agent, mltoken, trader):
    _, path = outside(authority, home, lifetime=-10)
    home.config({"p": child(authority, home, "jwt_bearer", parent=None, subject_token_file=path)})
    start_agent()
    assert "invalid_grant" in mltoken("get", "p").failed(5)


# ---- on behalf of ----

def test_on_behalf_of(authority, home, start_agent, mltoken, trader):
    home.config({"me": entra_me(authority), "p": entra(authority, home)})
    start_agent()
    mltoken.login(authority, "me").ok()
    parent = mltoken("get", "me").out.strip()
    assert user_of(authority, mltoken("get", "p")) == "alice"
    form = trades(authority)[0]
    assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer" and form["assertion"] == parent
    assert form["requested_token_use"] == "on_behalf_of" and form["scope"] == "https://next.example/.default"
    assert form["client_id"] == "trader" and form["client_secret"] == trader.secret


def test_on_behalf_of_by_the_first_version(authority, home, start_agent, mltoken, trader):
    base = f"{authority.http}/{TENANT}"
    _, path = outside(authority, home)
    home.config({"p": service(authority, home, "trader", base=base, grant="on_behalf_of", dialect="entra_v1",
                              subject_token_file=path, scope=None, resource="https://graph.example/")})
    start_agent()
    assert user_of(authority, mltoken("get", "p")) == "alice"
    form = trades(authority)[0]
    assert form["resource"] == "https://graph.example/" and form["requested_token_use"] == "on_behalf_of"


def test_the_person_has_to_do_something(authority, home, start_agent, mltoken, trader):
    """The error names who signs in where, and brings the claims along; a sign-in with them mends it at once."""
    authority.set_client("native", auto_approve="alice")
    home.config({"me": entra_me(authority), "p": entra(authority, home)})
    agent = start_agent()
    mltoken("login", "me").ok()
    authority.exchange_rules["problem"] = ("interaction_required", {"claims": json.dumps(CHALLENGE), "aadsts": 50079,
                                                                    "suberror": "basic_action"})
    with agent.varlink() as v:
        error = v.error("GetToken", profile="p")
    assert error.name == "LoginRequired" and error.parameters["profile"] == "me"
    assert json.loads(error.parameters["claims"]) == CHALLENGE and "parent me" in error.parameters["reason"]
    asked = len(trades(authority))
    err = mltoken("get", "p").failed(4)
    assert f"mltoken login me --claims '{json.dumps(CHALLENGE)}'" in err, err
    assert len(trades(authority)) == asked == 1, "the authority was asked again for what only a person can mend"
    assert "polids" not in agent.log()
    authority.exchange_rules["problem"] = None
    mltoken("login", "me", "--claims", json.dumps(CHALLENGE)).ok()
    assert json.loads(authority.requests("token", "native")[-1].form["claims"]) == CHALLENGE
    assert user_of(authority, mltoken("get", "p")) == "alice"


def test_signing_in_with_the_claims_from_get(authority, home, start_agent, mltoken, trader):
    authority.set_client("native", auto_approve="alice")
    home.config({"me": entra_me(authority), "p": entra(authority, home)})
    start_agent()
    mltoken("login", "me").ok()
    authority.exchange_rules["problem"] = ("interaction_required", {"claims": json.dumps(CHALLENGE)})
    assert mltoken("get", "p", "--login").code == 4  # the authority goes on asking
    forms = [r.form for r in authority.requests("token", "native") if "claims" in r.form]
    assert forms and json.loads(forms[-1]["claims"]) == CHALLENGE


@pytest.mark.parametrize("claims", ["no json", "[1]", json.dumps({"x": "y" * 2000})])
def test_claims_that_are_none(authority, home, start_agent, mltoken, trader, claims):
    home.config({"me": entra_me(authority), "p": entra(authority, home)})
    agent = start_agent()
    mltoken.login(authority, "me").ok()
    authority.exchange_rules["problem"] = ("interaction_required", {"claims": claims})
    with agent.varlink() as v:
        error = v.error("GetToken", profile="p")
    assert error.name == "LoginRequired" and "claims" not in error.parameters


def test_a_service_cannot_do_what_a_person_must(authority, home, start_agent, mltoken, trader):
    """Nobody can sign in there: it is a refusal."""
    _, path = outside(authority, home)
    home.config({"p": entra(authority, home, parent=None, subject_token_file=path)})
    start_agent()
    authority.exchange_rules["problem"] = ("interaction_required", {})
    assert "interaction_required" in mltoken("get", "p").failed(5)


def test_a_token_for_somebody_else(authority, home, start_agent, mltoken, trader):
    """A wrong audience is no reason to send for the person."""
    authority.exchange_rules["subject_audience"] = "api://other"
    home.config({"me": entra_me(authority), "p": entra(authority, home)})
    start_agent()
    mltoken.login(authority, "me").ok()
    err = mltoken("get", "p").failed(5)
    assert "AADSTS50013" in err and "audience" in err, err


def test_throttled(authority, home, start_agent, mltoken, trader):
    authority.exchange_rules["problem"] = ("invalid_grant", {"aadsts": 50196})
    home.config({"me": entra_me(authority), "p": entra(authority, home)})
    start_agent()
    mltoken.login(authority, "me").ok()
    began = time.monotonic()
    while time.monotonic() - began < 3:
        mltoken("get", "p").failed(6)
    assert 1 <= len(trades(authority)) <= 2 + math.log2(1 + time.monotonic() - began)  # each wait is twice the one before


# ---- the rest ----

def test_nothing_of_it_in_the_log(authority, home, start_agent, mltoken, trader):
    subject, path = outside(authority, home)
    home.config({"me": entra_me(authority), "p": entra(authority, home),
                 "q": child(authority, home, parent=None, subject_token_file=path, actor_token_file=path)})
    agent = start_agent()
    mltoken.login(authority, "me").ok()
    out = mltoken("get", "p").ok().out + mltoken("get", "q").ok().out
    authority.exchange_rules["problem"] = ("invalid_grant", {})
    err = mltoken("get", "p", "--refresh").err + mltoken("get", "q", "--refresh").err
    for secret in authority.secrets() + [subject, subject.split(".")[2], trader.secret, *out.split()]:
        assert secret not in agent.log() + err


def test_the_doctor_looks_up_the_chain(authority, home, mltoken, trader):
    _, path = outside(authority, home)
    home.config({"me": service(authority, home), "p": child(authority, home),
                 "q": child(authority, home, parent=None, subject_token_file=path),
                 "r": child(authority, home, parent=None, subject_token_file=path + ".gone"),
                 "broken": {"grant": "static"}, "s": child(authority, home, parent="broken")})
    out = mltoken("doctor", "p").out
    assert "ok    p: its token is made from that of me" in out and "ok    me: client_secret can be read" in out, out
    result = mltoken("doctor")
    assert f"q: subject_token_file {path} can be read" in result.out
    assert f"r: subject_token_file {path}.gone: " in result.out
    assert "FAIL  s: its parent broken cannot be used" in result.out and result.code == 3


def test_the_doctor_tells_of_a_guard_that_is_gone_round(authority, home, mltoken, trader):
    home.config({"me": service(authority, home, allow="/usr/bin/true"), "p": child(authority, home),
                 "q": child(authority, home, allow="/usr/bin/true")})
    out = mltoken("doctor").out
    assert "warn  p: " in out and "its parent me is guarded" in out and "warn  q: its parent" not in out
