"""mltoken get: its options, what it prints, and its exit codes."""

import json
import re
import shlex
import subprocess
import time

import pytest
from authority import keys
from harness import in_a_row, person, service, wait_until


@pytest.fixture
def setup(authority, home, start_agent):
    """A service profile and a person's, and an agent."""
    home.config({"svc": service(authority, home), "me": person(authority)}, {"default_profile": "svc"})
    return start_agent()


def test_prints_the_token_and_a_newline_and_caches_it(setup, authority, mltoken):
    first = mltoken("get", "svc").ok()
    assert first.err == ""
    assert first.out.count("\n") == 1 and first.out.endswith("\n")
    assert keys.decode(first.out.strip())[1]["client_id"] == "svc"
    assert mltoken("get", "svc").out == first.out
    assert mltoken("get").out == first.out  # the default profile
    assert authority.count("token") == 1
    assert authority.requests("token")[0].form["scope"] == "api"


def test_header_and_curl_forms(setup, authority, mltoken, home):
    token = mltoken("get", "svc").out.strip()
    assert mltoken("get", "svc", "--header").ok().out == f"Authorization: Bearer {token}\n"
    config = mltoken("get", "svc", "--curl").ok().out
    subprocess.run(["curl", "-sS", "-K", "-", authority.oidc + "/userinfo"], input=config, text=True, check=True,
                   capture_output=True, timeout=20)
    assert authority.requests("userinfo")[-1].headers["authorization"] == "Bearer " + token


def test_a_header_template_of_the_profile(authority, home, start_agent, mltoken):
    home.config({"key": service(authority, home, header="api-key: {token}")})
    start_agent()
    token = mltoken("get", "key").out.strip()
    assert mltoken("get", "key", "--header").ok().out == f"api-key: {token}\n"
    config = mltoken("get", "key", "--curl").ok().out
    subprocess.run(["curl", "-sS", "-K", "-", authority.oidc + "/userinfo"], input=config, text=True, check=True,
                   capture_output=True, timeout=20)
    assert authority.requests("userinfo")[-1].headers["api-key"] == token


def test_json_is_the_token_of_the_interface(setup, authority, mltoken):
    token = mltoken("get", "svc", "--json").ok().json()
    claims = keys.decode(token["value"])[1]
    assert token["profile"] == "svc" and token["type"] == "Bearer"
    assert token["header"] == "Authorization: Bearer " + token["value"]
    assert abs(token["expiresAt"] - claims["exp"]) <= 2
    assert time.time() < token["refreshAt"] < token["expiresAt"]
    assert token["scopes"] == ["api"]
    allowed = {"profile", "value", "type", "header", "expiresAt", "refreshAt", "scopes", "resource", "audience", "account"}
    assert set(token) <= allowed


def test_scopes_are_a_cache_key_in_any_order(setup, authority, mltoken):
    both = mltoken("get", "svc", "--scope", "b", "--scope", "a").ok().out
    assert mltoken("get", "svc", "--scope", "a", "--scope", "b").ok().out == both
    assert mltoken("get", "svc", "--scope", "a").ok().out != both
    assert authority.count("token") == 2
    assert sorted(authority.requests("token")[0].form["scope"].split()) == ["a", "b"]
    plain = mltoken("get", "svc").ok().out
    assert mltoken("get", "svc", "--scope", "api").ok().out == plain
    assert authority.count("token") == 3


def test_resource_audience_and_claims_are_sent_and_kept_apart(setup, authority, mltoken):
    found = {mltoken("get", "svc", *args).ok().out for args in (
        (), ("--resource", "https://one.example/"), ("--resource", "https://two.example/"), ("--audience", "three"),
        ("--claims", '{"access_token":{"x":null}}'))}
    assert len(found) == 5
    forms = [r.form for r in authority.requests("token")]
    assert [f.get("resource") for f in forms] == [None, "https://one.example/", "https://two.example/", None, None]
    assert forms[3]["audience"] == "three"
    assert json.loads(forms[4]["claims"]) == {"access_token": {"x": None}}
    mltoken("get", "svc", "--resource", "https://one.example/").ok()
    assert authority.count("token") == 5


def test_refresh_fetches_a_new_one_and_keeps_it(setup, authority, mltoken):
    first = mltoken("get", "svc").out
    second = mltoken("get", "svc", "--refresh").ok().out
    assert second != first
    assert mltoken("get", "svc").out == second
    assert authority.count("token") == 2


def test_a_token_shorter_than_asked_for(setup, authority, mltoken):
    authority.set_client("svc", token_lifetime=120)
    err = mltoken("get", "svc", "--min-valid", "600").failed(9)
    assert "svc" in err
    mltoken("get", "svc", "--min-valid", "60").ok()
    mltoken("get", "svc").ok()


def test_min_valid_that_is_no_number(setup, mltoken):
    for value in ("", "x", "-1", "99999999999999999999", "1.5", "10s"):
        mltoken("get", "svc", "--min-valid", value).failed(2)


def test_timeout_ends_the_wait(setup, authority, mltoken):
    authority.fault("token", hang="before")
    started = time.monotonic()
    err = mltoken("get", "svc", "--timeout", "1").failed(6)
    assert 0.9 < time.monotonic() - started < 25  # without it: 30 s
    assert "svc" in err


def test_a_token_type_in_lower_case(setup, authority, mltoken):
    authority.set_client("svc", token_type="bearer")
    assert mltoken("get", "svc", "--header").ok().out.startswith("Authorization: Bearer ")


def test_unknown_profile(setup, mltoken):
    assert "svk" in mltoken("get", "svk").failed(3)


def test_nobody_has_signed_in(setup, authority, mltoken):
    assert "mltoken login me" in mltoken("get", "me").failed(4)
    assert authority.count("token") == 0


def test_the_authority_refuses_in_its_own_words(setup, authority, mltoken):
    authority.fault("token", error={"error": "invalid_scope", "error_description": "no such thing as api"})
    err = mltoken("get", "svc").failed(5)
    assert "svc" in err and "invalid_scope" in err and "no such thing as api" in err


def test_a_refusal_is_remembered_until_the_configuration_changes(setup, authority, mltoken, home):
    authority.fault("token", error="invalid_client", status=401)
    for _ in range(3):
        mltoken("get", "svc").failed(5)
    mltoken("get", "svc", "--refresh").failed(5)
    assert authority.count("token") == 1
    authority.clear_faults()
    mltoken("get", "svc").failed(5)
    home.config({"svc": service(authority, home, scope="other")})
    wait_until(lambda: mltoken("get", "svc").code == 0)
    assert authority.count("token") == 2


def test_a_secret_that_was_replaced_in_its_file_is_tried_at_once(setup, authority, mltoken, home):
    good = authority.client("svc").secret
    authority.set_client("svc", secret="another")
    for _ in range(3):
        mltoken("get", "svc").failed(5)
    assert authority.count("token") == 1
    authority.set_client("svc", secret=good)
    mltoken("get", "svc").failed(5)
    assert authority.count("token") == 1, "nobody told us"
    home.secret(good, "secret-svc")
    mltoken("get", "svc").ok()
    assert authority.count("token") == 2


def test_no_agent(home, authority, mltoken):
    home.config({"svc": service(authority, home)})
    mltoken("get", "svc").failed(7)


def test_no_configuration(home, start_agent, mltoken):
    start_agent()
    assert "mltoken config new" in mltoken("get").failed(3)
    assert "mltoken config new" in mltoken("get", "svc").failed(3)


def test_no_default_profile(authority, home, start_agent, mltoken):
    home.config({"a": service(authority, home), "b": service(authority, home)})
    start_agent()
    assert mltoken("get").code in (2, 3)


def test_usage_errors_name_the_nearest(setup, mltoken):
    assert "--refresh" in mltoken("get", "svc", "--refesh").failed(2)
    assert "get" in mltoken("gt", "svc").failed(2)
    mltoken("get", "svc", "extra").failed(2)
    mltoken("get", "--scope").failed(2)
    mltoken().failed(2)


def test_help_and_version(mltoken):
    assert "Usage" in mltoken("--help").ok().out or "usage" in mltoken("--help").out
    assert mltoken("--version").ok().out.startswith("mltoken ")
    for command in ("get", "login", "logout", "status", "show", "verify", "config", "doctor"):
        shown = mltoken(command, "-h").ok()
        assert command in shown.out and shown.err == ""
        assert mltoken(command, "--help").ok().out == shown.out


def test_socket_option(setup, home, mltoken, tmp_path):
    err = mltoken("--socket", home.path + "/none.sock", "get", "svc").failed(7)
    assert "none.sock" in err
    mltoken("--socket", home.socket, "get", "svc", env={"XDG_RUNTIME_DIR": None}).ok()
    mltoken("get", "svc", env={"MLTOKEN_SOCK": home.socket, "XDG_RUNTIME_DIR": None}).ok()


def test_stdout_that_cannot_be_written(setup, home, mltoken):
    """A full disk must not look like success."""
    from harness import program
    done = subprocess.run(f"{shlex.quote(program('mltoken'))} get svc > /dev/full", shell=True, env=home.env(), check=False,
                          capture_output=True, timeout=20)
    assert done.returncode == 1


def test_min_valid_fetches_a_longer_one_when_the_cached_is_too_short(setup, authority, mltoken):
    authority.set_client("svc", token_lifetime=120)
    first = mltoken("get", "svc").out
    time.sleep(3.1)
    assert mltoken("get", "svc").out == first
    authority.set_client("svc", token_lifetime=3600)  # however long it takes to come
    second = mltoken("get", "svc", "--min-valid", "117").ok().out
    assert second != first
    assert mltoken("get", "svc").out == second


def test_a_longer_token_asked_for_while_the_authority_is_down(setup, authority, mltoken):
    """TokenTooShort is said of a new token alone; nobody knows what a new one would be."""
    authority.set_client("svc", token_lifetime=120)
    mltoken("get", "svc").ok()
    time.sleep(3.1)
    authority.pause()
    mltoken("get", "svc", "--min-valid", "117").failed(6)


def test_a_token_that_took_too_long_to_come_is_not_called_too_short_by_nature(setup, authority, mltoken):
    """It would have lived long enough: the sentence says nothing that contradicts itself."""
    authority.set_client("svc", token_lifetime=10)
    authority.set_delay(2, "token")
    err = mltoken("get", "svc", "--min-valid", "9").failed(9)
    left = re.search(r"it expires [-0-9]+ [:0-9]+ \((\d+) s left\), and 9 s were asked for", err)
    assert "even a new token ends too soon" in err and left and int(left[1]) < 9, err


def test_a_token_of_one_second_does_not_make_it_hammer(setup, authority, varlink):
    authority.set_client("svc", token_lifetime=1)
    with varlink() as connection:
        took, _ = in_a_row(connection, "svc")
    assert authority.count("token") < 5 * took
