"""The methods and errors of org.mltoken.agent, as the interface description has them."""

import os
import time

import pytest
from authority import keys
from harness import INTERFACE, ROOT, Varlink, VarlinkError, person, service, wait_until

DESCRIPTION = os.path.join(ROOT, "lib", "org.mltoken.agent.varlink")


@pytest.fixture
def setup(authority, home, start_agent):
    home.config({"p": service(authority, home), "me": person(authority)}, {"default_profile": "p"})
    authority.set_client("device", auto_approve="alice")
    return start_agent()


def test_introspection(setup, varlink):
    v = varlink()
    info = v.call("org.varlink.service.GetInfo")
    assert set(info) == {"vendor", "product", "version", "url", "interfaces"}
    assert {"org.varlink.service", INTERFACE} <= set(info["interfaces"])
    with open(DESCRIPTION, encoding="utf-8") as f:
        wanted = f.read()
    assert v.call("org.varlink.service.GetInterfaceDescription", interface=INTERFACE)["description"] == wanted
    assert "method GetInfo" in v.call("org.varlink.service.GetInterfaceDescription",
                                      interface="org.varlink.service")["description"]
    error = v.error("org.varlink.service.GetInterfaceDescription", interface="org.example.none")
    assert error.full == "org.varlink.service.InterfaceNotFound"


def test_unknown_things(setup, varlink):
    v = varlink()
    assert v.error("org.example.none.Do").full == "org.varlink.service.InterfaceNotFound"
    assert v.error("NoSuchMethod").full == "org.varlink.service.MethodNotFound"
    for method in ("", ".", "x", "GetToken.", ".GetToken", "org.mltoken.agent", "org.mltoken.agent."):
        v.raw(b'{"method":"' + method.encode() + b'"}\0')
        with pytest.raises(VarlinkError):
            v.reply()
    error = v.error("GetToken", profile="p", colour="red")
    assert error.full == "org.varlink.service.InvalidParameter" and error.parameters["parameter"] == "colour"


@pytest.mark.parametrize("method, parameters, culprit", [
    ("GetToken", {"profile": 7}, "profile"), ("GetToken", {"profile": ["p"]}, "profile"),
    ("GetToken", {"profile": "p", "scopes": "a"}, "scopes"), ("GetToken", {"profile": "p", "scopes": [7]}, "scopes"),
    ("GetToken", {"profile": "p", "minValid": "5"}, "minValid"), ("GetToken", {"profile": "p", "minValid": -1}, "minValid"),
    ("GetToken", {"profile": "p", "minValid": 2**63}, "minValid"), ("GetToken", {"profile": "p", "minValid": 2**70}, "minValid"),
    ("GetToken", {"profile": "p", "minValid": -2**63}, "minValid"),
    ("GetToken", {"profile": "p", "minValid": 1.5}, "minValid"), ("GetToken", {"profile": "p", "refresh": 1}, "refresh"),
    ("GetToken", {"profile": "p", "claims": "no json"}, "claims"),
    ("GetToken", {"profile": "p", "resource": "a\u0000b"}, "resource"),
    ("GetToken", {"profile": "p", "audience": "a\nb"}, "audience"),
    ("GetToken", {"profile": "p", "application": "a\u001bb"}, "application"),
    ("Verify", {}, "jwt"), ("Verify", {"jwt": 7}, "jwt"), ("ListSecrets", {}, "profile"),
])
def test_bad_parameters(setup, varlink, method, parameters, culprit):
    error = varlink().error(method, **parameters)
    assert error.full == "org.varlink.service.InvalidParameter" and error.parameters["parameter"] == culprit


def test_null_is_as_if_not_there(setup, varlink):
    v = varlink()
    token = v.call("GetToken", profile=None, scopes=None, resource=None, audience=None, claims=None, minValid=None,
                   refresh=None, application=None)["token"]
    assert token["profile"] == "p"
    assert v.call("GetToken")["token"] == token


def test_more_is_expected(setup, varlink):
    v = varlink()
    for method in ("List", "Watch", "Login"):
        assert v.error(method, **({} if method == "List" else {"profile": "me"})).full == "org.varlink.service.ExpectedMore"
    assert v.token("p")


def test_oneway_calls_are_not_answered(setup, varlink):
    v = varlink()
    v.send("GetToken", {"profile": "none"}, oneway=True)
    assert v.token("p")["profile"] == "p"


def test_token(setup, varlink, authority):
    token = varlink().token("p")
    claims = keys.decode(token["value"])[1]
    assert abs(token["expiresAt"] - claims["exp"]) <= 2
    assert isinstance(token["expiresAt"], int) and isinstance(token["refreshAt"], int)
    assert token["type"] == "Bearer" and token["scopes"] == ["api"]


def test_the_expiry_is_of_the_very_token(setup, varlink, authority):
    v = varlink()
    long = v.token("p", scopes=["long"])
    authority.set_client("svc", token_lifetime=100)
    asked = int(time.time())
    short = v.token("p", scopes=["short"])
    assert asked + 99 <= short["expiresAt"] <= time.time() + 101
    assert v.token("p", scopes=["long"])["expiresAt"] == long["expiresAt"]


def test_granted_scopes_are_told(setup, varlink, authority):
    authority.set_client("svc", extra={"scope": "more api"})
    assert sorted(varlink().token("p")["scopes"]) == ["api", "more"]


def test_errors_have_their_members(setup, varlink, authority):
    v = varlink()
    assert v.error("GetToken", profile="none").parameters["profile"] == "none"
    error = v.error("GetToken", profile="me")
    assert error.name == "LoginRequired" and error.parameters["profile"] == "me"
    authority.set_client("svc", token_lifetime=60)
    asked = int(time.time())
    error = v.error("GetToken", profile="p", minValid=600)
    assert error.name == "TokenTooShort" and error.parameters["minValid"] == 600
    assert asked + 59 <= error.parameters["expiresAt"] <= time.time() + 61
    authority.fault("token", error={"error": "invalid_scope", "error_description": "words"})
    error = v.error("GetToken", profile="p", refresh=True)
    assert error.name == "AuthorityRefused"
    assert error.parameters["error"] == "invalid_scope" and error.parameters["description"] == "words"


SIGNING = {"device_code": True, "authorization_code": True, "password": True, "mlserver": False, "managed_identity": False}


def test_at_which_profiles_a_person_signs_in(authority, home, start_agent, varlink):
    """That is what an import may be for: who it was must be known to the authority, and verified."""
    oidc = {"authority": authority.oidc, "client_id": "device"}
    home.config({"device_code": {"grant": "device_code", **oidc}, "authorization_code": {"grant": "authorization_code", **oidc},
                 "password": {"grant": "password", "username": "alice", **oidc},
                 "mlserver": {"grant": "mlserver", "authority": authority.mls, "username": "alice"},
                 "managed_identity": {"grant": "managed_identity", "resource": "r"}, "none": {"grant": "none_such"}})
    start_agent()
    profiles = {r["profile"]["name"]: r["profile"] for r in varlink().more("List")}
    assert [name for name, profile in profiles.items() if profile["state"] == "invalid"] == ["none"]
    assert {name: profile["signsIn"] for name, profile in profiles.items()} == {**SIGNING, "none": False}


def test_list(setup, varlink):
    profiles = {r["profile"]["name"]: r["profile"] for r in varlink().more("List")}
    assert set(profiles) == {"p", "me"}
    assert profiles["p"]["grant"] == "client_credentials" and profiles["p"]["state"] in ("empty", "ready")
    assert profiles["me"]["state"] == "empty"  # nobody has asked the store yet
    assert profiles["me"]["signsIn"] is True and profiles["p"]["signsIn"] is False
    assert varlink().error("GetToken", profile="me").name == "LoginRequired"
    varlink().token("p")
    profiles = {r["profile"]["name"]: r["profile"] for r in varlink().more("List")}
    assert profiles["me"]["state"] == "login_required"
    assert profiles["p"]["state"] == "ready" and profiles["p"]["expiresAt"] > time.time()


def test_list_of_nothing(home, start_agent, varlink):
    start_agent()
    v = varlink()
    v.send("List", {}, more=True)
    reply = v.receive()
    assert not reply.get("continues")


def test_states(authority, home, start_agent, varlink):
    home.config({"failing": service(authority, home, "load-1"), "invalid": {**service(authority, home), "grant": "magic"}})
    start_agent()
    authority.fault("token", status=503)
    v = varlink()
    for name in ("failing", "invalid"):
        v.error("GetToken", profile=name)
    states = {r["profile"]["name"]: r["profile"] for r in v.more("List")}
    assert states["failing"]["state"] == "failing" and states["failing"]["lastError"]
    assert states["invalid"]["state"] == "invalid" and "grant" in states["invalid"]["lastError"]


def test_login_and_its_prompts(setup, varlink, authority):
    replies = list(varlink().more("Login", profile="me"))
    assert [r["state"] for r in replies] == ["prompt", "done"]
    assert replies[0]["session"] == replies[1]["session"]
    assert replies[0]["prompt"]["kind"] == "device" and replies[0]["prompt"]["interval"] == 1
    assert replies[1]["account"] == "alice@example.org" and replies[1]["expiresAt"] > time.time()


def test_login_of_a_profile_that_cannot(setup, varlink):
    with pytest.raises(VarlinkError) as caught:
        list(varlink().more("Login", profile="p"))
    assert caught.value.name == "NotSupported"


def test_login_failures_have_their_reasons(setup, varlink, authority):
    authority.set_client("device", auto_approve=None, device_script=["access_denied"])
    with pytest.raises(VarlinkError) as caught:
        list(varlink().more("Login", profile="me"))
    assert caught.value.name == "SignInFailed" and caught.value.parameters == {"profile": "me", "reason": "declined"}
    authority.set_client("device", auto_approve="alice", device_script=[])
    list(varlink().more("Login", profile="me"))
    authority.set_client("device", auto_approve="bob")
    with pytest.raises(VarlinkError) as caught:
        list(varlink().more("Login", profile="me"))
    assert caught.value.parameters["reason"] == "other_account"


def test_watch_tells_the_token_now_and_at_each_renewal(setup, varlink, authority):
    authority.set_client("svc", token_lifetime=30, refresh_in=1)
    watch, found = varlink().more("Watch", profile="p"), set()
    while len(found) < 3:
        found.add(next(watch)["token"]["value"])


def test_watch_survives_a_failed_renewal(setup, varlink, authority):
    authority.set_client("svc", token_lifetime=30, refresh_in=1)
    fault = authority.fault("token", status=503, times=1, skip=1)  # the renewal
    watch = varlink().more("Watch", profile="p")
    first = next(watch)["token"]["value"]
    while next(watch)["token"]["value"] == first:
        pass
    assert fault.hits == 1


def test_watch_ends_when_the_sign_in_does(setup, varlink, authority):
    authority.set_client("device", token_lifetime=30, refresh_in=1)
    list(varlink().more("Login", profile="me"))
    watch = varlink().more("Watch", profile="me")
    next(watch)
    authority.revoke_refresh_tokens()
    with pytest.raises(VarlinkError) as caught:
        for _ in range(5):
            next(watch)
    assert caught.value.name == "LoginRequired"


def test_show_and_status(setup, varlink):
    v = varlink()
    v.token("p")
    shown = v.call("Show", profile="p")
    assert shown["claims"]["client_id"] == "svc" and shown["expiresAt"] > time.time()
    status = v.call("Status")
    assert status["pid"] == setup.pid and status["version"] and abs(status["startedAt"] - time.time()) < 60
    assert isinstance(status["counters"], dict) and status["store"]


def test_verify(setup, varlink, authority):
    v = varlink()
    assert v.call("Verify", jwt=authority.mint({"aud": "x"}), profile="p", audience="x")["claims"]["aud"] == "x"
    assert v.error("Verify", jwt=authority.mint({"aud": "x"}), profile="p", audience="y").name == "InvalidToken"


def test_list_secrets_names_but_never_tells(setup, varlink, home):
    secrets = varlink().call("ListSecrets", profile="p")["secrets"]
    entry = next(s for s in secrets if s["name"] == "client_secret")
    assert entry["source"].startswith("file") and entry["present"] is True
    assert home.known_secrets[0] not in str(secrets)


def test_logout(setup, varlink, authority):
    v = varlink()
    list(v.more("Login", profile="me"))
    assert v.call("Logout", profile="me") == {"revoked": True}
    assert len(authority.revoked) >= 1
    assert v.error("GetToken", profile="me").name == "LoginRequired"


def test_logout_where_nothing_can_be_revoked(setup, varlink, authority):
    v = varlink()
    authority.switch("revocation", False)
    list(v.more("Login", profile="me"))
    assert v.call("Logout", profile="me") == {"revoked": False}
    assert v.error("GetToken", profile="me").name == "LoginRequired"


@pytest.mark.parametrize("members", [{"status": 503, "retry_after": 1}, {"reset": "before"}, {"html": True, "status": 500},
                                     {"error": "unsupported_token_type"}])
def test_logout_forgets_here_whatever_the_authority_says(setup, varlink, authority, members):
    v = varlink()
    list(v.more("Login", profile="me"))
    authority.fault("revoke", **members)
    assert v.call("Logout", profile="me") == {"revoked": False}
    assert v.error("GetToken", profile="me").name == "LoginRequired"


# get.sock

def test_get_sock_answers_reading_methods_alone(setup, home, varlink):
    v = varlink(home.get_socket)
    assert v.token("p")["profile"] == "p"
    assert list(v.more("List"))
    assert v.call("Show", profile="p")["claims"]
    assert v.error("Verify", jwt="x", profile="p", audience="y").name == "InvalidToken"
    assert next(v.more("Watch", profile="p"))["token"]


@pytest.mark.parametrize("method, parameters", [
    ("Login", {"profile": "me"}), ("Logout", {"profile": "me"}), ("Answer", {"session": "x", "value": "y"}),
    ("SetSecret", {"profile": "p", "name": "client_secret", "value": "x"}), ("ListSecrets", {"profile": "p"}),
    ("Status", {}), ("Rotate", {"profile": "p"}), ("Lock", {"passphrase": "x"}), ("Unlock", {"passphrase": "x"}),
    ("Import", {"profile": "p", "issuer": "x", "clientId": "x", "scopes": [], "idToken": "x"}),
    ("MoveSecrets", {"store": "file"})])
def test_get_sock_refuses_the_others(setup, home, varlink, authority, method, parameters):
    v = varlink(home.get_socket)
    v.send(method, parameters, more=True)
    with pytest.raises(VarlinkError) as caught:
        v.reply()
    assert caught.value.name in ("Denied", "MethodNotFound")
    assert authority.count() == 0


def test_stopping_answers_who_waits(setup, home, authority):
    authority.fault("token", hang="before")
    connection = Varlink(home.socket)
    connection.send("GetToken", {"profile": "p"})
    assert authority.wait_for("token")
    started = time.monotonic()
    setup.stop()
    assert time.monotonic() - started < 25  # the request has 30 s
    try:
        assert "error" in connection.receive()
    except (EOFError, ConnectionError):
        pass
    connection.close()
    wait_until(lambda: not os.path.exists(home.socket))


def test_states_of_what_cannot_work(authority, home, start_agent, varlink):
    good = service(authority, home)
    home.config({"failing": service(authority, home, "load-1"), "invalid": {**good, "grant": "magic"},
                 "secretless": {**good, "client_secret": "file:/nonexistent"}})
    start_agent()
    authority.fault("token", status=503)
    v = varlink()
    for name in ("failing", "secretless", "invalid"):
        v.error("GetToken", profile=name)
    states = {r["profile"]["name"]: r["profile"] for r in v.more("List")}
    assert states["failing"]["state"] == "failing" and states["failing"]["lastError"]
    assert states["invalid"]["state"] == "invalid" and "grant" in states["invalid"]["lastError"]
    assert states["secretless"]["state"] == "secret_missing"


def test_watch_tells_no_token_twice(setup, varlink, authority):
    authority.set_client("svc", token_lifetime=30, refresh_in=1)
    watch = varlink().more("Watch", profile="p")
    found = [next(watch)["token"]["value"] for _ in range(3)]
    assert len(set(found)) == 3
