"""The password grant: a user name and a password, for those who still must."""

import json

import pytest

PASSWORD = "correct horse"


def typed(service, home=None, **more):
    """A profile; with a home its password is in a file there."""
    profile = {"grant": "password", "authority": service.oidc, "client_id": "typed", "username": "alice",
               "scope": "openid offline_access"}
    if home:
        profile["password"] = home.secret(PASSWORD, "password")
    profile.update(more)
    return profile


def test_a_password_in_a_file_needs_no_person(authority, home, start_agent, mltoken):
    home.config({"p": typed(authority, home)})
    start_agent()
    assert mltoken("get", "p").code == 0
    request = authority.requests("token")[0]
    assert {k: request.form[k] for k in ("grant_type", "username", "password", "client_id", "scope")} == {
        "grant_type": "password", "username": "alice", "password": PASSWORD, "client_id": "typed",
        "scope": "offline_access openid"}
    assert json.loads(mltoken("get", "p", "--json").out)["account"] == "alice@example.org"


def test_renewals_use_the_refresh_token(authority, home, start_agent, mltoken):
    home.config({"p": typed(authority, home)})
    start_agent()
    first = mltoken("get", "p").out
    assert mltoken("get", "p", "--refresh").out != first
    assert [r.grant for r in authority.requests("token")] == ["password", "refresh_token"]


def test_without_a_refresh_token_the_password_is_sent_again(authority, home, start_agent, mltoken):
    home.config({"p": typed(authority, home, scope="openid")})
    start_agent()
    assert mltoken("get", "p").code == 0
    assert mltoken("get", "p", "--refresh").code == 0
    assert [r.grant for r in authority.requests("token")] == ["password", "password"]


def test_a_person_is_asked_by_login(authority, home, start_agent, mltoken):
    home.config({"p": typed(authority)})
    start_agent()
    assert mltoken("get", "p").code == 4
    result = mltoken("login", "p", input=PASSWORD + "\n")
    assert result.code == 0 and "alice@example.org" in result.out, result.err
    assert mltoken("get", "p").code == 0
    assert mltoken("logout", "p").code == 0
    assert len(authority.revoked) == 1
    assert mltoken("get", "p").code == 4


def test_nothing_typed(authority, home, start_agent, mltoken):
    home.config({"p": typed(authority)})
    start_agent()
    result = mltoken("login", "p", input="\n")
    assert result.code == 2 and "nothing was typed" in result.err
    assert authority.count("token") == 0


@pytest.mark.parametrize("base, client, words", [
    ("oidc", "typed", "wrong user name or password"),
    ("c0470500-0000-4000-8000-00000000c050/v2.0", "typed-native", "AADSTS50126"),
])
def test_a_wrong_password_is_sent_once(authority, home, start_agent, mltoken, base, client, words):
    authority.set_user("alice", password="another")
    dialect = {} if base == "oidc" else {"dialect": "entra"}
    home.config({"p": typed(authority, home, authority=f"{authority.http}/{base}", client_id=client, **dialect)})
    start_agent()
    for more in ([], ["--refresh"], ["--scope", "openid"]) * 2:
        result = mltoken("get", "p", *more)
        assert result.code == 5 and words in result.err and "not sent again" in result.err, result.err
    assert authority.count("token") == 1


def test_another_password_in_the_file_is_sent(authority, home, start_agent, mltoken):
    authority.set_user("alice", password="another")
    home.config({"p": typed(authority, home)})
    start_agent()
    for _ in range(3):
        mltoken("get", "p").failed(5)
    assert authority.count("token") == 1
    home.secret("another", "password")
    mltoken("get", "p").ok()
    assert authority.count("token") == 2


def test_a_second_factor_is_said(authority, home, start_agent, mltoken):
    authority.set_user("alice", second_factor=True)
    home.config({"p": typed(authority, home, authority=authority.http + "/c0470500-0000-4000-8000-00000000c050/v2.0",
                            dialect="entra", client_id="typed-native")})
    start_agent()
    result = mltoken("get", "p")
    assert result.code in (4, 5) and "50076" in result.err, result.err


def test_the_id_token_is_verified(authority, home, start_agent, mltoken):
    authority.set_client("typed", id_token_forge="bad_signature")
    home.config({"p": typed(authority)})
    start_agent()
    result = mltoken("login", "p", input=PASSWORD + "\n")
    assert result.code == 5 and "signature" in result.err, result.err
    assert mltoken("get", "p").code == 4


def test_another_person_needs_a_switch(authority, home, start_agent, mltoken):
    home.config({"p": typed(authority)})
    start_agent()
    assert mltoken("login", "p", input=PASSWORD + "\n").code == 0
    authority.set_user("alice", sub="sub-other", password=PASSWORD)
    assert mltoken("login", "p", input=PASSWORD + "\n").code == 4
    assert mltoken("login", "p", "--switch-account", input=PASSWORD + "\n").code == 0


def test_v1_with_a_bare_guid(authority, home, start_agent, mltoken):
    """Machine Learning Server with Azure AD: resource is the web application's id."""
    resource = "11111111-2222-3333-4444-555555555555"
    home.config({"p": typed(authority, home, authority=authority.http + "/c0470500-0000-4000-8000-00000000c050", dialect="entra_v1",
                            client_id="typed-native", scope=None, resource=resource)})
    start_agent()
    assert mltoken("get", "p").code == 0
    form = authority.requests("token")[0].form
    assert form["resource"] == resource and "scope" not in form


def test_no_secret_in_log_or_error(authority, home, start_agent, mltoken):
    home.config({"p": typed(authority)})
    agent = start_agent()
    texts = [mltoken("login", "p", input="hunterMARK2\n").err, mltoken("login", "p", input=PASSWORD + "\n").err,
             mltoken("get", "p", "--refresh").err, mltoken("logout", "p").err, agent.log()]
    for secret in authority.secrets() + ["hunterMARK2", PASSWORD]:
        assert all(secret not in text for text in texts)
