"""Method Import: what a sign-in that was made elsewhere must be, and what becomes of it."""

import json
import os
import signal
import time

import pytest
from authority.keys import FORGED_SIGNATURES, decode
from elsewhere import sign_in
from harness import PATIENCE, VarlinkError, person, service, wait_until
from keyring_session import PASSWORD, Session

SANITIZED = bool(os.environ.get("MLTOKEN_SAN")) or os.geteuid() != 0  # what was freed stays, or cannot be looked for
LODGES = "the sign-in is in memory alone"


@pytest.fixture
def setup(authority, home, start_agent):
    home.config({"me": person(authority), "other": person(authority)}, {"default_profile": "me"})
    return start_agent()


def nothing_came_of_it(authority, mltoken, profile="me"):
    assert "mltoken login" in mltoken("get", profile).failed(4)
    assert authority.count("token", grant="refresh_token") == 0


def denied(varlink, words, brought, **changes):
    """The call is refused with these words, and with no part of what was brought."""
    error = varlink().error("Import", **{**brought, **changes})
    assert error.name == "Denied" and words in error.parameters["reason"], error
    for name in ("idToken", "refreshToken", "accessToken"):
        assert brought[name] not in json.dumps(error.parameters)
    return error.parameters["reason"]


# ---- what comes of it

def test_get_without_a_further_sign_in(setup, authority, varlink, mltoken):
    brought = sign_in(authority)
    assert varlink().call("Import", **brought) == {}
    told = mltoken("get", "me", "--json").ok().json()
    assert told["value"] == brought["accessToken"] and told["expiresAt"] == brought["expiresAt"]
    assert told["account"] == "alice@example.org"
    assert authority.count("token", grant="refresh_token") == 0
    assert mltoken("status", "me", "--json").ok().json()["account"] == "alice@example.org"
    mltoken("get", "other").failed(4)


def test_renewal_with_the_refresh_token_that_came(setup, authority, varlink, mltoken):
    brought = sign_in(authority)
    varlink().call("Import", **brought)
    token = mltoken("get", "me", "--refresh").ok().out.strip()
    assert token != brought["accessToken"]
    sent = authority.requests("token", grant="refresh_token")
    assert [r.form["refresh_token"] for r in sent] == [brought["refreshToken"]]


@pytest.mark.parametrize("left_out", ["accessToken", "expiresAt", "both"])
def test_without_an_access_token_or_its_end(setup, authority, varlink, mltoken, left_out):
    brought = sign_in(authority)
    for name in ("accessToken", "expiresAt") if left_out == "both" else (left_out,):
        brought[name] = None
    varlink().call("Import", **brought)
    mltoken("get", "me").ok()
    assert authority.count("token", grant="refresh_token") == (0 if left_out == "expiresAt" else 1)


def test_an_access_token_alone_ends_with_its_life(setup, authority, varlink, mltoken):
    brought = {**sign_in(authority), "refreshToken": None, "expiresAt": int(time.time()) + 12}
    varlink().call("Import", **brought)
    assert mltoken("get", "me").ok().out.strip() == brought["accessToken"]
    wait_until(lambda: mltoken("get", "me").code == 4)


def test_one_that_has_ended_is_not_served(setup, authority, varlink, mltoken):
    brought = {**sign_in(authority), "expiresAt": int(time.time()) - 1}
    denied(varlink, "there is no refresh token", {**brought}, refreshToken=None)
    nothing_came_of_it(authority, mltoken)
    varlink().call("Import", **brought)
    assert mltoken("get", "me").ok().out.strip() != brought["accessToken"]


def test_who_knows_what_the_token_is_for(authority, home, start_agent, varlink, mltoken):
    """A profile with a resource or an audience asks for its own token: the one that came may be for another."""
    home.config({"me": person(authority, resource="https://api.example")})
    start_agent()
    brought = sign_in(authority)
    denied(varlink, "no access token that this profile could serve", {**brought}, refreshToken=None)
    varlink().call("Import", **brought)
    assert mltoken("get", "me").ok().out.strip() != brought["accessToken"]
    assert authority.requests("token", grant="refresh_token")[0].form["resource"] == "https://api.example"


def test_logout_ends_it(setup, authority, varlink, mltoken):
    brought = sign_in(authority)
    varlink().call("Import", **brought)
    mltoken("logout", "me").ok()
    assert [r.form["token"] for r in authority.requests("revoke")] == [brought["refreshToken"]]
    nothing_came_of_it(authority, mltoken)


def test_a_restart_keeps_it(authority, home, start_agent, varlink, mltoken):
    key = home.write("key", os.urandom(32).hex() + "\n")
    home.config({"me": person(authority, store="file")}, {"key_file": key})
    agent = start_agent()
    brought = sign_in(authority)
    varlink().call("Import", **brought)
    agent.process.kill()  # at once: it was durable when it was answered
    agent.process.wait()
    agent.expect_exit = -signal.SIGKILL
    start_agent()
    assert mltoken("get", "me").ok().out.strip() != brought["accessToken"]
    assert authority.requests("token", grant="refresh_token")[0].form["refresh_token"] == brought["refreshToken"]


def test_again_by_the_same_person_ends_nobodys_watch(setup, authority, varlink, mltoken):
    varlink().call("Import", **{**sign_in(authority), "expiresAt": int(time.time()) + 600})
    watch = varlink().more("Watch", profile="me")
    first = next(watch)["token"]["value"]
    again = sign_in(authority)
    assert again["accessToken"] != first
    varlink().call("Import", **again)
    assert next(watch)["token"]["value"] == again["accessToken"]
    mltoken("get", "me", "--refresh").ok()
    assert authority.requests("token", grant="refresh_token")[0].form["refresh_token"] == again["refreshToken"]


def test_one_that_lives_longer_stays(setup, authority, varlink, mltoken):
    first, again = sign_in(authority), sign_in(authority)
    varlink().call("Import", **first)
    varlink().call("Import", **{**again, "expiresAt": first["expiresAt"] - 60})
    assert mltoken("get", "me").ok().out.strip() == first["accessToken"]


def test_a_renewal_under_way_does_not_replace_it(setup, authority, varlink, mltoken):
    """Its refresh token is of the sign-in before."""
    varlink().call("Import", **sign_in(authority))
    authority.fault("token", hold=True, times=1)
    process = mltoken.start("get", "me", "--refresh")
    wait_until(lambda: authority.count("token", grant="refresh_token") == 1)
    again = sign_in(authority)
    varlink().call("Import", **again)
    authority.release("token")
    assert mltoken.finish(process).code == 0
    mltoken("get", "me", "--refresh").ok()
    assert authority.requests("token", grant="refresh_token")[-1].form["refresh_token"] == again["refreshToken"]


def test_it_goes_on_when_who_brought_it_has_gone(setup, authority, varlink, mltoken):
    brought = sign_in(authority)
    authority.fault("jwks", hold=True, times=1)
    connection = varlink()
    connection.send("Import", brought)
    assert authority.wait_for("jwks")
    connection.close()
    authority.release("jwks")
    wait_until(lambda: mltoken("get", "me").code == 0)


# ---- what is denied

@pytest.mark.parametrize("issuer", ["other", "slash", "case", "tail"])
def test_another_issuer(setup, authority, varlink, mltoken, issuer):
    brought = sign_in(authority)
    own = brought["issuer"]
    wrong = {"other": "https://evil.example", "slash": own + "/", "case": own.replace("oidc", "OIDC"), "tail": own[:-1]}
    denied(varlink, "another issuer than the profile's", brought, issuer=wrong[issuer])
    nothing_came_of_it(authority, mltoken)


def test_a_sign_in_at_another_authority(authority, home, start_agent, varlink, mltoken):
    """Whole and valid, but of another issuer than the profile's."""
    home.config({"me": person(authority, "native",
                              base=f"{authority.http}/c0470500-0000-4000-8000-00000000c050/v2.0", dialect="entra")})
    start_agent()
    brought = sign_in(authority, client="native")
    denied(varlink, "another issuer", brought)
    brought["issuer"] = f"{authority.http}/c0470500-0000-4000-8000-00000000c050/v2.0"
    denied(varlink, "issuer", brought)


@pytest.mark.parametrize("client", ["native", "Device", "device ", "devic"])
def test_another_client(setup, authority, varlink, mltoken, client):
    denied(varlink, "another client id", sign_in(authority), clientId=client)
    nothing_came_of_it(authority, mltoken)


def test_a_sign_in_for_another_client(setup, authority, varlink, mltoken):
    """It says that it is for ours: its id_token says whose it is."""
    denied(varlink, "audience", sign_in(authority, client="native"), clientId="device")
    nothing_came_of_it(authority, mltoken)


BAD_CLAIMS = ("expired", "no_exp", "future", "wrong_aud", "no_aud", "wrong_iss", "iss_slash", "no_iss", "no_sub", "azp",
              "aud_list_no_azp", "aud_list_wrong_azp", "nul_sub", "number_sub", "huge_exp", "string_exp")
# they forge nothing on their own
GOOD = ("no_kid",)


def test_forged_id_tokens(setup, authority, varlink, mltoken):
    brought = sign_in(authority)
    reasons = {}
    for forge in (*FORGED_SIGNATURES, *BAD_CLAIMS):
        if forge in GOOD:
            continue
        error = varlink().error("Import", **{**brought, "idToken": authority.mint(forge=forge)})
        assert error.name == "Denied" and "id_token" in error.parameters["reason"], (forge, error)
        reasons[forge] = error.parameters["reason"]
        assert mltoken("get", "me").code == 4, forge
    assert len(set(reasons.values())) > 8, reasons
    assert "expired" in reasons["expired"] and "audience" in reasons["wrong_aud"]
    assert "signature" in reasons["tampered"]
    error = varlink().error("Import", **{**brought, "idToken": brought["accessToken"]})
    assert error.name == "Denied"
    nothing_came_of_it(authority, mltoken)
    varlink().call("Import", **brought)  # and the good one still is


def test_an_unsigned_one_is_nothing_for_entra_v1(authority, home, start_agent, varlink):
    """Where a sign-in of our own ends without a name, one that is brought is denied."""
    tenant = "c0470500-0000-4000-8000-00000000c050"
    home.config({"me": person(authority, "native", base=f"{authority.http}/{tenant}", dialect="entra_v1", scope=None,
                              resource="https://graph.example")})
    start_agent()
    brought = {**sign_in(authority, client="native"), "issuer": f"{authority.http}/{tenant}",
               "idToken": authority.mint({"aud": "native"}, forge="none", issuer=f"{authority.http}/{tenant}")}
    error = varlink().error("Import", **brought)
    assert error.name in ("Denied", "NotSupported"), error


def test_another_account_than_the_one_remembered(setup, authority, varlink, mltoken):
    mltoken.login(authority, "me", "alice").ok()
    token = mltoken("get", "me").ok().out
    denied(varlink, "another account", sign_in(authority, "bob"))
    assert mltoken("get", "me").ok().out == token
    varlink().call("Import", **sign_in(authority, "alice"))
    mltoken("logout", "me").ok()
    varlink().call("Import", **sign_in(authority, "bob"))
    assert mltoken("get", "me", "--json").ok().json()["account"] == "bob@example.org"


def test_another_account_than_the_one_in_the_store(authority, home, start_agent, varlink, mltoken):
    """Nothing was asked of the profile since the agent began."""
    key = home.write("key", os.urandom(32).hex() + "\n")
    home.config({"me": person(authority, store="file")}, {"key_file": key})
    agent = start_agent()
    mltoken.login(authority, "me", "alice").ok()
    agent.stop()
    start_agent()
    denied(varlink, "another account", sign_in(authority, "bob"))
    assert mltoken("get", "me", "--json").ok().json()["account"] == "alice@example.org"


def test_scopes_that_the_profile_needs(authority, home, start_agent, varlink, mltoken):
    home.config({"me": person(authority, scope="openid offline_access api")})
    start_agent()
    denied(varlink, "without the scope api", sign_in(authority))
    nothing_came_of_it(authority, mltoken)
    varlink().call("Import", **sign_in(authority, scope="openid offline_access api"))


def test_a_grant_without_a_sign_in(authority, home, start_agent, varlink):
    home.config({"me": {**service(authority, home), "client_id": "svc"}})
    start_agent()
    error = varlink().error("Import", **{**sign_in(authority), "clientId": "svc"})
    assert error.name == "NotSupported"
    assert varlink().error("Import", **{**sign_in(authority), "profile": "nobody"}).name == "NoSuchProfile"


def test_a_bound_access_token(setup, authority, varlink):
    bound = authority.mint({"cnf": {"jkt": "x" * 43}})
    denied(varlink, "bound to a key", {**sign_in(authority), "accessToken": bound})


def test_an_authority_that_cannot_be_asked(setup, authority, varlink, mltoken):
    """That is nobody's fault, and no reason to believe it."""
    brought = sign_in(authority)
    authority.fault("jwks", status=503)
    assert varlink().error("Import", **brought).name == "AuthorityUnreachable"
    authority.clear_faults()
    nothing_came_of_it(authority, mltoken)


def test_get_sock_does_not_take_it(setup, authority, home, varlink):
    assert varlink(home.get_socket).error("Import", **sign_in(authority)).name == "Denied"


# ---- its form

WRONG = {"issuer": "x" * 2049, "clientId": "x" * 513, "scopes": ["x" * 513], "idToken": "x y", "accessToken": "x\u00e9",
         "refreshToken": "x y", "expiresAt": -1}


@pytest.mark.parametrize("name", WRONG)
def test_each_member_is_bounded(setup, authority, varlink, mltoken, name):
    brought = sign_in(authority)
    for wrong in (WRONG[name], 7 if name != "expiresAt" else 10**12, [] if name != "scopes" else ["a b"], {}):
        error = varlink().error("Import", **{**brought, name: wrong})
        assert (error.name, error.parameters) == ("InvalidParameter", {"parameter": name}), (wrong, error)
    nothing_came_of_it(authority, mltoken)


@pytest.mark.parametrize("name", ["profile", "issuer", "clientId", "scopes", "idToken"])
def test_what_must_be_there(setup, authority, varlink, name):
    brought = sign_in(authority)
    del brought[name]
    error = varlink().error("Import", **brought)
    assert (error.name, error.parameters) == ("InvalidParameter", {"parameter": name})


def test_nothing_to_keep(setup, authority, varlink):
    denied(varlink, "no refresh token", {**sign_in(authority)}, accessToken=None, refreshToken=None)


def test_not_many_at_once(setup, authority, varlink):
    brought = sign_in(authority)
    authority.fault("jwks", hold=True, times=1)
    waiting = [varlink() for _ in range(5)]
    for connection in waiting:
        connection.send("Import", brought)
    with pytest.raises(VarlinkError, match="Busy"):
        waiting[4].reply()
    authority.release("jwks")
    assert waiting[0].reply() == {}


def test_several_sessions_at_once(setup, authority, varlink, mltoken):
    """Of one person: each is taken, one after the other, and the last one counts."""
    sessions = [sign_in(authority) for _ in range(4)]
    authority.fault("jwks", hold=True, times=1)
    waiting = [varlink() for _ in sessions]
    for connection, brought in zip(waiting, sessions):
        connection.send("Import", brought)
    assert authority.wait_for("jwks")
    authority.release("jwks")
    assert [connection.reply() for connection in waiting] == [{}] * 4
    mltoken("get", "me", "--refresh").ok()
    assert authority.requests("token", grant="refresh_token")[0].form["refresh_token"] == sessions[-1]["refreshToken"]


# ---- settings that change, people who come and go meanwhile

def held(authority, varlink, brought):
    """An Import that waits for the authority's keys."""
    seen = authority.count("jwks")
    authority.fault("jwks", hold=True, times=1)
    connection = varlink()
    connection.send("Import", brought)
    wait_until(lambda: authority.count("jwks") > seen)
    return connection


@pytest.mark.parametrize("what", ["settings", "client", "gone"])
def test_settings_that_change_meanwhile(setup, authority, home, varlink, mltoken, what):
    """What was brought for the old ones is not put under the new ones."""
    connection = held(authority, varlink, sign_in(authority))
    name = "you" if what == "gone" else "me"
    home.config({name: person(authority, "native" if what == "client" else "device", min_valid="1")})
    wait_until(lambda: mltoken("status", "other").code != 0)
    authority.release("jwks")
    with pytest.raises(VarlinkError, match="Busy"):
        connection.reply()
    if what != "gone":
        found = mltoken("get", "me")
        assert found.code == (4 if what == "client" else 0)  # the same binding: what is kept is its own


def test_a_sign_out_meanwhile(setup, authority, varlink, mltoken):
    mltoken.login(authority, "me", "alice").ok()
    authority.rollover()
    connection = held(authority, varlink, sign_in(authority))
    mltoken("logout", "me").ok()
    authority.release("jwks")
    with pytest.raises(VarlinkError, match="Busy"):
        connection.reply()
    nothing_came_of_it(authority, mltoken)


# ---- the lock

def test_a_locked_agent(setup, authority, varlink, mltoken):
    brought = sign_in(authority)
    mltoken("lock", input="MARKlock\n", timeout=6 * PATIENCE).ok()
    assert varlink().error("Import", **brought).name == "Locked"
    mltoken("unlock", input="MARKlock\n", timeout=6 * PATIENCE).ok()
    nothing_came_of_it(authority, mltoken)
    varlink().call("Import", **brought)
    mltoken("lock", input="MARKlock\n", timeout=6 * PATIENCE).ok()
    mltoken("unlock", input="MARKlock\n", timeout=6 * PATIENCE).ok()
    assert mltoken("get", "me").ok().out.strip() == brought["accessToken"]


def test_locked_in_the_midst_of_it(setup, authority, varlink, mltoken):
    authority.fault("jwks", hold=True, times=1)
    connection = varlink()
    connection.send("Import", sign_in(authority))
    assert authority.wait_for("jwks")
    mltoken("lock", input="MARKlock\n", timeout=6 * PATIENCE).ok()
    with pytest.raises(VarlinkError, match="Locked"):
        connection.reply()
    authority.release("jwks")
    mltoken("unlock", input="MARKlock\n", timeout=6 * PATIENCE).ok()
    nothing_came_of_it(authority, mltoken)


# ---- a locked keyring

@pytest.fixture
def session(home):
    session = Session(home)
    yield session.start_keyring()
    session.end()


@pytest.fixture
def shut(session, authority, home, start_agent):
    """A keyring that is locked, with nobody there to open it, and an agent that uses it."""
    home.config({"me": person(authority, store="keyring")}, {"default_profile": "me"})
    session.lock()
    return start_agent(DBUS_SESSION_BUS_ADDRESS=session.address)


def lodges(mltoken):
    return LODGES in (mltoken("status", "me", "--json").ok().json().get("waiting") or "")


def open_keyring(session):
    """gnome-keyring's own way of pam_gnome_keyring: the daemon is started anew with the password."""
    session.end_keyring()
    session.start_keyring()


def test_memory_until_the_keyring_opens(shut, session, authority, varlink, mltoken, start_agent):
    brought = sign_in(authority)
    varlink().call("Import", **brought)
    assert lodges(mltoken) and LODGES in mltoken("status").ok().out
    assert mltoken("get", "me").ok().out.strip() == brought["accessToken"]
    mltoken("get", "me", "--refresh").ok()  # renewals go on, in memory
    mltoken("get", "me", "--refresh").ok()
    assert len(session.items()) == 0 and lodges(mltoken)
    open_keyring(session)
    wait_until(lambda: not lodges(mltoken), 3 * PATIENCE)
    assert len(session.items()) == 1
    mltoken("get", "me", "--refresh").ok()
    shut.stop()
    start_agent(DBUS_SESSION_BUS_ADDRESS=session.address)
    mltoken("get", "me").ok()
    sent = [r.form["refresh_token"] for r in authority.requests("token", grant="refresh_token")]
    assert len(sent) == len(set(sent)) == 4  # each was used once: what was kept is the newest


def test_nobody_is_asked_to_open_it(shut, session, authority, varlink, mltoken):
    prompter = session.prompter("answer", PASSWORD)
    varlink().call("Import", **sign_in(authority))
    mltoken("get", "me", "--refresh").ok()
    assert lodges(mltoken)
    prompter.kill()
    assert "asked" not in prompter.stdout.read()


def test_an_agent_that_ends_forgets_it(shut, session, authority, varlink, mltoken, start_agent):
    varlink().call("Import", **sign_in(authority))
    shut.stop()
    open_keyring(session)
    start_agent(DBUS_SESSION_BUS_ADDRESS=session.address)
    mltoken("get", "me").failed(4)
    assert len(session.items()) == 0


def test_logout_of_a_lodger(shut, session, authority, varlink, mltoken):
    brought = sign_in(authority)
    varlink().call("Import", **brought)
    assert SANITIZED or shut.memory_has(brought["refreshToken"].encode()[8:40])
    mltoken("logout", "me").ok()
    assert not lodges(mltoken)
    assert [r.form["token"] for r in authority.requests("revoke")] == [brought["refreshToken"]]
    assert SANITIZED or not shut.memory_has(brought["refreshToken"].encode()[8:40])
    open_keyring(session)
    mltoken("get", "me").failed(4)
    assert len(session.items()) == 0


def test_who_is_signed_in_in_the_keyring_stays(session, authority, home, start_agent, varlink, mltoken):
    """It was locked when another account was brought, so nobody could know."""
    home.config({"me": person(authority, store="keyring")})
    agent = start_agent(DBUS_SESSION_BUS_ADDRESS=session.address)
    mltoken.login(authority, "me", "alice").ok()
    agent.stop()
    session.lock()
    agent = start_agent(DBUS_SESSION_BUS_ADDRESS=session.address)
    brought = sign_in(authority, "bob")
    varlink().call("Import", **brought)
    assert mltoken("get", "me", "--json").ok().json()["account"] == "bob@example.org"
    open_keyring(session)
    wait_until(lambda: not lodges(mltoken), 3 * PATIENCE)
    assert "another account is signed in in the store" in agent.log()
    assert mltoken("get", "me", "--json").ok().json()["account"] == "alice@example.org"
    assert len(session.items()) == 1


def test_the_same_person_in_the_keyring_is_replaced(session, authority, home, start_agent, varlink, mltoken):
    home.config({"me": person(authority, store="keyring")})
    agent = start_agent(DBUS_SESSION_BUS_ADDRESS=session.address)
    mltoken.login(authority, "me", "alice").ok()
    agent.stop()
    session.lock()
    agent = start_agent(DBUS_SESSION_BUS_ADDRESS=session.address)
    brought = sign_in(authority, "alice")
    varlink().call("Import", **brought)
    open_keyring(session)
    wait_until(lambda: not lodges(mltoken), 3 * PATIENCE)
    mltoken("get", "me", "--refresh").ok()
    assert authority.requests("token", grant="refresh_token")[-1].form["refresh_token"] == brought["refreshToken"]
    assert len(session.items()) == 1


def test_a_known_account_counts_also_when_the_keyring_is_locked(session, authority, home, start_agent, varlink, mltoken):
    home.config({"me": person(authority, store="keyring")})
    start_agent(DBUS_SESSION_BUS_ADDRESS=session.address)
    mltoken.login(authority, "me", "alice").ok()
    session.lock()
    denied(varlink, "another account", sign_in(authority, "bob"))


def test_the_lock_of_the_agent_seals_a_lodger(shut, session, authority, varlink, mltoken):
    brought = sign_in(authority)
    varlink().call("Import", **brought)
    mltoken("lock", input="MARKlock\n", timeout=6 * PATIENCE).ok()
    assert SANITIZED or not shut.memory_has(brought["refreshToken"].encode()[8:40])
    open_keyring(session)
    mltoken("unlock", input="MARKlock\n", timeout=6 * PATIENCE).ok()
    wait_until(lambda: not lodges(mltoken), 3 * PATIENCE)
    mltoken("get", "me", "--refresh").ok()


def test_move_leaves_a_lodger_alone(shut, authority, varlink, mltoken):
    varlink().call("Import", **sign_in(authority))
    assert "in memory until its store opens" in mltoken("secret", "move", "me", "memory").err
    mltoken("get", "me").ok()


# ---- secrets

def test_nothing_of_it_is_logged_or_shown(setup, authority, varlink, mltoken):
    brought = sign_in(authority)
    varlink().error("Import", **{**brought, "issuer": "https://evil.example"})
    varlink().error("Import", **{**brought, "idToken": authority.mint(forge="tampered")})
    varlink().call("Import", **brought)
    mltoken("get", "me", "--refresh").ok()
    shown = setup.log() + mltoken("status", "me", "--json").out + mltoken("log").out
    for secret in authority.secrets():
        assert secret not in shown and secret.split(".")[-1][:24] not in shown
    assert decode(brought["idToken"])[1]["sub"] == "sub-alice-1"
