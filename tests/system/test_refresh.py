"""Refresh tokens: rotation, what happens when an answer is lost, and when a sign-in is over."""

import json
import time

import pytest
from harness import PATIENCE, person, wait_until


@pytest.fixture
def signed_in(authority, home, start_agent, mltoken):
    """alice is signed in as profile me; records start after that."""
    home.config({"me": person(authority)}, {"default_profile": "me"})
    agent = start_agent()
    authority.set_client("device", auto_approve="alice")
    mltoken("login", "me", "--json").ok()
    authority.forget_requests()
    return agent


def refreshes(authority):
    return authority.requests("token", grant="refresh_token")


def test_each_refresh_uses_the_newest_token(signed_in, authority, mltoken):
    for _ in range(4):
        mltoken("get", "me", "--refresh").ok()
    used = [r.form["refresh_token"] for r in refreshes(authority)]
    assert len(set(used)) == 4 and not authority.reuses


@pytest.mark.parametrize("spoiled", [{"access_token": "two words"}, {"access_token": None}, {"token_type": "MAC"},
                                     {"expires_in": 0}])
def test_the_refresh_token_of_an_answer_that_cannot_be_used_is_kept(signed_in, authority, mltoken, spoiled):
    """The authority has rotated: to send the old one again would end the sign-in."""
    authority.set_client("device", extra=spoiled)
    mltoken("get", "me", "--refresh", "--min-valid", "100000").failed(5)
    authority.set_client("device", extra={})
    mltoken("get", "me", "--scope", "openid").ok()
    used = [r.form["refresh_token"] for r in refreshes(authority)]
    assert len(set(used)) == 2 and not authority.reuses


@pytest.mark.parametrize("rotation", [False, "same", "overlap"])
def test_authorities_that_do_not_rotate(signed_in, authority, mltoken, rotation):
    authority.set_client("device", rotation=rotation)
    found = {mltoken("get", "me", "--refresh").ok().out for _ in range(3)}
    assert len(found) == 3
    used = [r.form["refresh_token"] for r in refreshes(authority)]
    assert len(set(used)) == (3 if rotation == "overlap" else 1)


def test_many_scopes_at_once_share_one_refresh_token_in_turn(signed_in, authority, varlink):
    """One request in flight per refresh token: else reuse detection would end the sign-in."""
    authority.set_delay(0.05, "token")
    authority.set_client("device", scopes=None)
    for family in authority.store.families.values():
        family.scopes += [f"s{i}" for i in range(8)]
    connections = [varlink() for _ in range(8)]
    for i, connection in enumerate(connections):
        connection.send("GetToken", {"profile": "me", "scopes": [f"s{i}"]})
    assert len({c.reply()["token"]["value"] for c in connections}) == 8
    assert authority.max_concurrent("token") == 1 and not authority.reuses


def test_a_scope_beyond_the_grant_is_refused_aloud(signed_in, authority, mltoken):
    assert "invalid_scope" in mltoken("get", "me", "--scope", "admin").failed(5)
    mltoken("get", "me").ok()
    mltoken("get", "me", "--refresh").ok()


def test_a_lost_answer_is_asked_for_once_more(signed_in, authority, mltoken):
    authority.set_client("device", reuse_grace=60)
    authority.fault("token", reset="body", times=1)
    result = mltoken("get", "me", "--refresh")
    if result.code:
        result.failed(6)
        wait_until(lambda: mltoken("get", "me", "--refresh").code == 0)
    used = [r.form["refresh_token"] for r in refreshes(authority)]
    assert used[0] == used[1] and used.count(used[0]) == 2
    assert not authority.reuses


def test_a_lost_answer_is_never_asked_for_twice(signed_in, authority, mltoken):
    """Twice lost: the same refresh token must not go out a third time."""
    authority.set_client("device", reuse_grace=0)
    fault = authority.fault("token", reset="body")
    for _ in range(3):
        assert mltoken("get", "me", "--refresh").code in (4, 6)
        time.sleep(1.1)
    authority.clear_faults()
    time.sleep(0.5)
    used = [r.form["refresh_token"] for r in refreshes(authority)]
    assert fault.hits >= 1
    assert max(used.count(u) for u in used) <= 2, len(used)


def test_a_dead_sign_in_names_the_command_that_mends_it(signed_in, authority, mltoken):
    authority.revoke_refresh_tokens()
    err = mltoken("get", "me", "--refresh").failed(4)
    assert "mltoken login me" in err and "no longer valid" in err
    status = mltoken("status", "me", "--json").ok().json()
    assert "login_required" in json.dumps(status)
    mltoken("login", "me", "--json").ok()
    mltoken("get", "me", "--refresh").ok()


def test_a_dead_sign_in_is_not_tried_again(signed_in, authority, mltoken):
    authority.set_client("device", token_lifetime=8, refresh_in=1)
    mltoken("get", "me", "--refresh").ok()
    authority.revoke_refresh_tokens()
    wait_until(lambda: mltoken("get", "me").code == 4, step=0.2)  # what was there has ended
    before = len(refreshes(authority))
    for _ in range(3):
        mltoken("get", "me").failed(4)
    assert len(refreshes(authority)) - before <= 1


def test_entra_loop_detection_is_throttling_not_the_end(authority, home, start_agent, mltoken, varlink):
    tenant = "c0470500-0000-4000-8000-00000000c050"
    home.config({"me": person(authority, "native", base=f"{authority.http}/{tenant}/v2.0", dialect="entra")})
    start_agent()
    authority.set_client("native", auto_approve="alice")
    mltoken("login", "me", "--json").ok()
    authority.fault("token", times=1, error={
        "error": "invalid_grant", "error_codes": [50196], "trace_id": "t", "correlation_id": "c",
        "error_description": "AADSTS50196: The server terminated an operation because it encountered a client request loop."})
    asked = int(time.time())
    error = varlink().error("GetToken", profile="me", refresh=True)
    assert error.name == "AuthorityUnreachable" and error.parameters["retryAt"] >= asked
    wait_until(lambda: mltoken("get", "me", "--refresh").code == 0, 90, 0.5)
    assert authority.requests("token", grant="refresh_token")


def test_renewal_runs_ahead_by_itself(authority, home, start_agent, mltoken):
    home.config({"me": person(authority)})
    start_agent()
    authority.set_client("device", auto_approve="alice", token_lifetime=5)
    mltoken("login", "me", "--json").ok()
    first = mltoken("get", "me").ok().out
    assert authority.wait_for("token", 1 + len(authority.requests("token")), PATIENCE)
    second = wait_until(lambda: mltoken("get", "me").out.replace(first, ""))
    assert second and refreshes(authority)


def test_renewal_can_be_on_demand_only(authority, home, start_agent, mltoken):
    home.config({"me": person(authority, refresh_ahead="never")})
    start_agent()
    authority.set_client("device", auto_approve="alice", token_lifetime=2)
    mltoken("login", "me", "--json").ok()
    time.sleep(2.5)
    assert not refreshes(authority)
    authority.set_client("device", token_lifetime=3600)
    mltoken("get", "me").ok()
    assert len(refreshes(authority)) == 1


def test_the_authoritys_advice_when_to_renew(authority, home, start_agent, mltoken):
    home.config({"me": person(authority)})
    start_agent()
    authority.set_client("device", auto_approve="alice", token_lifetime=40, refresh_in=4)  # by itself it would be after 28 s
    mltoken("login", "me", "--json").ok()
    refresh = wait_until(lambda: refreshes(authority))[0]
    assert 3 < refresh.time - authority.requests("token", grant="urn:ietf:params:oauth:grant-type:device_code")[-1].time < 25
