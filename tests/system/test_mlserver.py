"""Machine Learning Server: grant = mlserver, against the scripted web node of WIRE section 3."""

import json
import time

import pytest

from harness import VarlinkError, wait_until

PASSWORD = "correct horse"


def server(service, home=None, **more):
    """A profile; with a home its password is in a file there."""
    profile = {"grant": "mlserver", "authority": service.mls, "username": "alice"}
    profile.update(more)
    if home:
        profile["password"] = home.secret(PASSWORD, "password")
    return profile


def sign_in(mltoken, profile, password=PASSWORD, *args):
    return mltoken("login", profile, *args, input=password + "\n")


def test_a_password_in_a_file_needs_no_person(authority, home, start_agent, mltoken):
    home.config({"mls": server(authority, home)})
    start_agent()
    result = mltoken("get", "mls")
    assert result.code == 0, result.err
    assert authority.store.access_tokens[result.out.strip()].user == "alice"
    request = authority.requests("mls_login")[0]
    assert json.loads(request.body) == {"username": "alice", "password": PASSWORD}
    assert mltoken("get", "mls").out == result.out
    assert authority.count("mls_login") == 1


def test_a_person_is_asked_by_login(authority, home, start_agent, mltoken):
    home.config({"mls": server(authority)})
    start_agent()
    refused = mltoken("get", "mls")
    assert refused.code == 4 and "mltoken login mls" in refused.err
    result = sign_in(mltoken, "mls")
    assert result.code == 0, result.err
    assert "signed in as alice" in result.out
    assert mltoken("get", "mls").code == 0
    assert authority.count("mls_login") == 1


def test_both_tokens_rotate_and_are_kept_before_anyone_is_answered(authority, home, start_agent, mltoken):
    home.config({"mls": server(authority)})
    start_agent()
    assert sign_in(mltoken, "mls").code == 0
    first = mltoken("get", "mls").out
    for _ in range(3):
        again = mltoken("get", "mls", "--refresh")
        assert again.code == 0 and again.out != first, again.err
        first = again.out
    assert authority.count("mls_login") == 1
    assert authority.count("mls_renewal") == 3
    sent = [json.loads(r.body)["refreshToken"] for r in authority.requests("mls_renewal")]
    assert len(set(sent)) == 3


def test_a_sign_in_that_ended_is_said_so(authority, home, start_agent, mltoken):
    home.config({"mls": server(authority)})
    start_agent()
    assert sign_in(mltoken, "mls").code == 0
    authority.revoke_refresh_tokens("mlserver")
    result = mltoken("get", "mls", "--refresh", "--min-valid", "3600")
    assert result.code == 4, result.err
    assert "mltoken login mls" in result.err and "invalid or has expired" in result.err + mltoken("status", "mls").out


def test_a_password_takes_over_when_the_sign_in_ended(authority, home, start_agent, mltoken):
    home.config({"mls": server(authority, home)})
    start_agent()
    first = mltoken("get", "mls").out
    authority.revoke_refresh_tokens("mlserver")
    result = mltoken("get", "mls", "--refresh")
    assert result.code == 0 and result.out != first, result.err
    assert authority.count("mls_login") == 2


def test_a_wrong_password_is_sent_once(authority, home, start_agent, mltoken):
    """A looping script must not lock the account."""
    authority.set_user("alice", password="another")
    home.config({"mls": server(authority, home)})
    start_agent()
    for arguments in (["get", "mls"], ["get", "mls", "--refresh"], ["get", "mls", "--scope", "other"]) * 3:
        result = mltoken(*arguments)
        assert result.code == 5, result.err
        assert "password is wrong" in result.err and "incorrect" in result.err
    assert authority.count("mls_login") == 1
    home.secret("another", "password")
    assert mltoken("login", "mls").code == 0
    assert mltoken("get", "mls").code == 0
    assert authority.count("mls_login") == 2


def test_a_wrong_password_of_a_person(authority, home, start_agent, mltoken):
    home.config({"mls": server(authority)})
    start_agent()
    result = sign_in(mltoken, "mls", "no")
    assert result.code == 5 and "password is wrong" in result.err, result.err
    assert sign_in(mltoken, "mls").code == 0


def test_logout_renews_and_removes_the_newest(authority, home, start_agent, mltoken):
    home.config({"mls": server(authority)})
    agent = start_agent()
    assert sign_in(mltoken, "mls").code == 0
    assert mltoken("logout", "mls").code == 0
    removal = authority.requests("mls_renewal")[-1]
    assert removal.method == "DELETE"
    assert authority.revoked == [removal.query["refreshToken"]]
    assert removal.query["refreshToken"] not in agent.log()
    assert mltoken("get", "mls").code == 4


def test_logout_of_an_ended_sign_in(authority, home, start_agent, mltoken):
    home.config({"mls": server(authority)})
    start_agent()
    assert sign_in(mltoken, "mls").code == 0
    authority.revoke_refresh_tokens("mlserver")
    assert mltoken("logout", "mls").code == 0
    assert mltoken("get", "mls").code == 4


def test_an_odd_refresh_token_is_percent_encoded(authority, home, start_agent, mltoken):
    home.config({"mls": server(authority)})
    make = authority.store.new_refresh_token

    def odd(family):
        value = make(family)
        del authority.store.refresh_tokens[value]
        value += "/+=&?%20 "[:-1]
        family.current = value
        authority.store.refresh_tokens[value] = family
        return value

    authority.store.new_refresh_token = odd
    start_agent()
    assert sign_in(mltoken, "mls").code == 0
    assert mltoken("logout", "mls").code == 0
    assert authority.revoked and authority.revoked[0].endswith("/+=&?%20")


@pytest.mark.parametrize("answer", [
    {"expires_in": None, "expires_on": lambda: str(int(time.time()) + 1800)},
    {"expires_in": None, "expires_on": lambda: int(time.time()) + 1800},
    {"expires_in": "1800", "expires_on": None},
])
def test_a_life_however_it_is_written(authority, home, start_agent, mltoken, answer):
    authority.set_client("mlserver", extra={k: v() if callable(v) else v for k, v in answer.items()})
    home.config({"mls": server(authority, home)})
    start_agent()
    token = json.loads(mltoken("get", "mls", "--json").out)
    assert 1700 < token["expiresAt"] - time.time() <= 1801


def test_status_says_when_the_sign_in_ends(authority, home, start_agent, varlink, mltoken):
    home.config({"mls": server(authority)})
    start_agent()
    assert sign_in(mltoken, "mls").code == 0
    profile = varlink().call("List", _flags={"more": True})["profile"]
    assert abs(profile["signInEndsAt"] - time.time() - 14 * 86400) < 60
    assert "warning" not in profile
    assert "signInEndsAt: " in mltoken("status", "mls").out


def test_the_path_can_be_changed(authority, home, start_agent, mltoken):
    home.config({"mls": server(authority, home, login_path="/user/login")})
    start_agent()
    assert mltoken("get", "mls").code == 0
    assert mltoken("get", "mls", "--refresh").code == 0
    assert [r.path for r in authority.requests() if r.endpoint.startswith("mls_")] == \
        ["/mls/user/login", "/mls/user/login/refreshToken"]


@pytest.mark.parametrize("keys, words", [
    ({"username": None}, "username"),
    ({"login_path": "login"}, "login_path"),
    ({"login_path": "/login?x"}, "login_path"),
    ({"dialect": "entra"}, "dialect"),
    ({"tenant": "contoso"}, "tenant"),
    ({"authority": "http://example.org:12800"}, "ssh"),
    ({"password": "hunter2"}, "password"),
])
def test_mistakes_in_the_profile(authority, home, mltoken, keys, words):
    path = home.config({"mls": server(authority, **keys)})
    result = mltoken("config", "check", path)
    assert result.code == 3 and words in result.out + result.err
    assert "hunter2" not in result.out + result.err


def test_another_user_name_does_not_use_the_sign_in(authority, home, start_agent, mltoken):
    home.config({"mls": server(authority)})
    agent = start_agent()
    assert sign_in(mltoken, "mls").code == 0
    home.config({"mls": server(authority, username="bob")})
    wait_until(lambda: mltoken("get", "mls").code == 4)
    assert authority.count("mls_renewal") == 0
    assert agent.alive()


def test_an_answer_for_nobody(authority, home, start_agent, varlink):
    home.config({"mls": server(authority)})
    start_agent()
    assert varlink().error("Answer", session="0" * 32, value="x").name == "InvalidParameter"
    login = varlink()
    login.send("Login", {"profile": "mls"}, more=True)
    prompt = login.reply()
    assert prompt["prompt"]["kind"] == "secret" and prompt["prompt"]["name"] == "password"
    other = varlink()
    other.call("Answer", session=prompt["session"], value="wrong")
    with pytest.raises(VarlinkError, match="AuthorityRefused"):
        login.reply()
    assert other.error("Answer", session=prompt["session"], value=PASSWORD).name == "InvalidParameter"


def test_a_sign_in_that_is_asked_ends_with_its_connection(authority, home, start_agent, varlink):
    home.config({"mls": server(authority)})
    agent = start_agent()
    login = varlink()
    login.send("Login", {"profile": "mls"}, more=True)
    session = login.reply()["session"]
    login.close()
    wait_until(lambda: varlink().error("Answer", session=session, value="x").name == "InvalidParameter")
    assert authority.count("mls_login") == 0 and agent.alive()


def test_a_lost_renewal_is_repeated_once(authority, home, start_agent, mltoken):
    authority.set_client("mlserver", reuse_grace=10)
    home.config({"mls": server(authority)})
    start_agent()
    assert sign_in(mltoken, "mls").code == 0
    authority.fault("mls_renewal", reset="headers", times=1)
    assert mltoken("get", "mls", "--refresh").code == 0
    assert authority.count("mls_renewal") == 2


def test_no_secret_in_log_or_error(authority, home, start_agent, mltoken):
    home.config({"mls": server(authority)})
    agent = start_agent()
    texts = [sign_in(mltoken, "mls", "hunterMARK2").err, sign_in(mltoken, "mls").err]
    texts += [mltoken("get", "mls", "--refresh").err, mltoken("logout", "mls").err, mltoken("status", "mls").out]
    texts.append(agent.log())
    for secret in authority.secrets() + ["hunterMARK2", PASSWORD]:
        assert all(secret not in text for text in texts)


def test_the_doctor_asks_the_node_how_it_is(authority, home, start_agent, mltoken):
    """With the token that the agent has, and only with one that it has."""
    home.config({"p": server(authority, home)})
    agent = start_agent()
    assert "asks for a sign-in as it should" in mltoken("doctor", "p").ok().out
    assert not authority.requests("mls_login")
    token = mltoken("get", "p").ok().out.strip()
    said = mltoken("doctor", "p").ok()
    assert "the web node says of itself: pass\n" in said.out
    asked = [r for r in authority.requests("mls_status") if "authorization" in r.headers]
    assert [r.headers["authorization"] for r in asked] == ["Bearer " + token]
    assert token not in said.out + said.err + agent.log()
    assert len(authority.requests("mls_login")) == 1


NODES = {"fail": ({"statusCode": "fail", "components": {"database": {"statusCode": "fail"}, "x": {"statusCode": "pass"}}}, 6,
                  "says of itself: fail; database is fail"),
         "warn": ({"statusCode": "warn", "components": {"nodes": {"statusCode": "warn"}}}, 0, "says of itself: warn; nodes is warn"),
         "green": ({"statusCode": "green", "components": []}, 0, "says of itself: green")}


@pytest.mark.parametrize("case", NODES)
def test_a_node_that_is_not_well(authority, home, start_agent, mltoken, case):
    answer, code, words = NODES[case]
    home.config({"p": server(authority, home)})
    start_agent()
    mltoken("get", "p").ok()
    authority.fault("mls_status", json=answer)
    said = mltoken("doctor", "p")
    assert said.code == code and words in said.out, said.out


def test_a_token_that_a_sibling_node_does_not_take(authority, home, start_agent, mltoken):
    home.config({"p": server(authority, home)})
    start_agent()
    mltoken("get", "p").ok()
    authority.fault("mls_status", status=401)
    said = mltoken("doctor", "p")
    assert "does not take the token" in said.out and "one certificate" in said.out


def test_a_token_goes_to_no_other_address_than_the_agents(authority, home, start_agent, mltoken):
    """The configuration of the doctor may be newer, or another one."""
    home.config({"p": server(authority, home)})
    start_agent()
    mltoken("get", "p").ok()
    other = home.write("other", f"[profile p]\ngrant = mlserver\nauthority = {authority.https}/mls\nusername = alice\n"
                                f"ca_file = {authority.ca_file}\n")
    assert "asks for a sign-in" in mltoken("doctor", "p", env={"MLTOKEN_CONFIG": other}).ok().out
    assert not [r for r in authority.requests() if r.method == "GET" and "authorization" in r.headers]
