"""An authority that is slow, gone, or answers rubbish: bounded, classed, told in one line, and over when it is over."""

import email.utils
import math
import time

import pytest
from harness import PATIENCE, in_a_row, service, wait_until

UNREACHABLE = {
    "refuses": {"reset": "before"},
    "closes": {"close": "before"},
    "cut-in-headers": {"reset": "headers"},
    "cut-in-body": {"reset": "body"},
    "closed-in-body": {"close": "body"},
    "longer-than-said": {"length": "long"},
    "500": {"status": 500},
    "502-html": {"status": 502, "html": True},
    "503": {"status": 503, "body": "try later"},
    "504": {"status": 504},
    "429": {"status": 429, "body": "Too many requests", "headers": {"Content-Type": "text/plain"}},
    "temporarily": {"error": "temporarily_unavailable", "status": 503},
    "temporarily-400": {"error": "temporarily_unavailable", "status": 400},
}
RUBBISH = {
    "html": {"html": True},
    "invalid-json": {"invalid_json": True},
    "empty": {"body": ""},
    "array": {"json": []},
    "null": {"body": "null"},
    "text": {"json": "token"},
    "deep": {"deep": 10000},
    "shorter-than-said": {"length": "short"},
    "not-utf8": {"body": '{"access_token":"good","token_type":"Bearer","expires_in":3600,"x":"\udcff\udcfe"}'},
    "trailing": {"append": "}"},
    "two-documents": {"append": '{"access_token":"second"}'},
    "no-token": {"drop": ["access_token"]},
    "null-token": {"set": {"access_token": None}},
    "number-token": {"set": {"access_token": 7}},
    "empty-token": {"set": {"access_token": ""}},
    "token-with-crlf": {"set": {"access_token": "a\r\nX-Evil: b"}},
    "token-with-nul": {"set": {"access_token": "a\x00b"}},
    "token-with-blank": {"set": {"access_token": "a b"}},
    "token-with-escape": {"set": {"access_token": "a\x1b[2J"}},
    "token-not-ascii": {"set": {"access_token": "tökén"}},
    "token-with-del": {"set": {"access_token": "a\x7fb"}},
    "huge-token": {"set": {"access_token": "x" * (1 << 18)}},
    "huge": {"huge": 8},
    "huge-headers": {"headers_huge": 4},
    "dpop": {"set": {"token_type": "DPoP"}},
    "redirect": {"redirect": "https://evil.example/token"},
    "error-with-200": {"error": {"error": "invalid_client"}, "status": 200},
    "error-beside-token": {"set": {"error": "invalid_client"}},
    "negative-life": {"set": {"expires_in": -5}},
}
FINE = {
    "strings": {"strings": True},
    "unknown-members": {"set": {"x": {"y": [1, None]}, "deep": [[[[[]]]]]}},
    "chunked": {"chunked": True},
    "bearer": {"set": {"token_type": "bEaReR"}},
    "status-201": {"status": 201, "process": True},
    "content-type": {"headers": {"Content-Type": "text/plain"}},
    "no-life": {"drop": ["expires_in"]},
    "huge-life": {"set": {"expires_in": 10**18}},
    "huge-life-text": {"set": {"expires_in": "99999999999999999999999"}},
    "float-life": {"set": {"expires_in": 3599.5}},
    "null-life": {"set": {"expires_in": None}},
    "no-scope": {"drop": ["scope"]},
}


@pytest.fixture
def setup(authority, home, start_agent):
    home.config({"p": service(authority, home, token_endpoint=authority.oidc + "/token")})
    return start_agent()


@pytest.mark.parametrize("name", UNREACHABLE)
def test_unreachable(setup, authority, mltoken, varlink, name):
    authority.fault("token", **UNREACHABLE[name])
    asked = int(time.time())
    error = varlink().error("GetToken", profile="p")
    assert error.name == "AuthorityUnreachable", error
    assert asked <= error.parameters["retryAt"] <= time.time() + 600
    assert "p" in mltoken("get", "p").failed(6)
    authority.clear_faults()
    wait_until(lambda: mltoken("get", "p").code == 0, step=0.2)


@pytest.mark.parametrize("name", RUBBISH)
def test_rubbish(setup, authority, mltoken, name):
    authority.fault("token", **RUBBISH[name])
    result = mltoken("get", "p")
    assert result.code in (5, 6), result
    err = result.failed(result.code)
    assert len(err) < 3000 and "\x1b" not in err
    authority.clear_faults()
    assert setup.alive()


@pytest.mark.parametrize("name", FINE)
def test_odd_but_fine(setup, authority, mltoken, name):
    authority.fault("token", **FINE[name])
    token = mltoken("get", "p", "--json").ok().json()
    if token.get("expiresAt") is not None:
        assert time.time() < token["expiresAt"] < time.time() + 367 * 24 * 3600


def test_a_redirect_is_not_followed(setup, authority, mltoken):
    authority.fault("token", redirect=authority.oidc + "/jwks", status=307)
    mltoken("get", "p")
    assert authority.count("jwks") == 0 and authority.count("token") == 1


def test_an_expires_in_of_zero_is_never_served(setup, authority, mltoken):
    authority.fault("token", set={"expires_in": 0})
    mltoken("get", "p")
    assert mltoken("get", "p").code != 0 or authority.count("token") == 2


@pytest.mark.parametrize("value, status", [(300, 429), ("+300", 429), (300, 503), ("+300", 503)])
def test_retry_after_is_kept(setup, authority, varlink, mltoken, value, status):
    authority.fault("token", status=status, retry_after=value, body="slow down", headers={"Content-Type": "text/plain"})
    asked = int(time.time())
    error = varlink().error("GetToken", profile="p")
    assert error.name == "AuthorityUnreachable"
    assert asked + 299 <= error.parameters["retryAt"] <= time.time() + 302
    for _ in range(3):
        mltoken("get", "p").failed(6)
    assert authority.count("token") == 1


@pytest.mark.parametrize("value", [-5, "soon", "", "99999999999999999999", "Thu, 01 Jan 1970 00:00:00 GMT", "1.5"])
def test_retry_after_that_makes_no_sense_is_bounded(setup, authority, varlink, value):
    authority.fault("token", status=429, retry_after=value)
    asked = int(time.time())
    error = varlink().error("GetToken", profile="p")
    assert error.name == "AuthorityUnreachable"
    assert asked <= error.parameters["retryAt"] <= time.time() + 3700


def test_retry_after_date_is_in_gmt(setup, authority, varlink):
    when = int(time.time()) + 300
    authority.fault("token", status=429, retry_after=email.utils.formatdate(when, usegmt=True))
    assert abs(varlink().error("GetToken", profile="p").parameters["retryAt"] - when) <= 2


def test_a_dribbling_answer_ends(authority, home, start_agent, mltoken):
    home.config({"p": service(authority, home, timeout="2")})
    start_agent()
    authority.fault("token", dribble=1)
    started = time.monotonic()
    mltoken("get", "p").failed(6)
    assert time.monotonic() - started < 25  # without a timeout of its own: 30 s; to the end of the answer: minutes


def test_down_while_the_token_lives_then_exit_6_then_recovery(authority, home, start_agent, mltoken):
    """Issue row 6."""
    home.config({"p": service(authority, home)})
    start_agent()
    authority.set_client("svc", token_lifetime=16)
    token = mltoken("get", "p", "--json").ok().json()
    authority.pause()
    try:
        assert mltoken("get", "p").ok().out == token["value"] + "\n"
        wait_until(lambda: time.time() > token["expiresAt"])
        before = authority.count("token")
        started = time.monotonic()
        err = mltoken("get", "p").failed(6)
        assert time.monotonic() - started < 15  # what waits for the authority waits 30 s
        assert any(c.isdigit() for c in err.partition("p")[2])
        authority.set_client("svc", token_lifetime=3600)
    finally:
        authority.resume()
    assert authority.wait_for("token", before + 1, 2 * PATIENCE)  # by itself: nobody asks
    assert wait_until(lambda: mltoken("get", "p").code == 0)


def test_an_expired_token_is_never_handed_out(authority, home, start_agent, varlink):
    home.config({"p": service(authority, home)})
    start_agent()
    authority.set_client("svc", token_lifetime=4)  # of a shorter one, the second in which it ends is not taken off as a whole
    with varlink() as connection:
        took, found = in_a_row(connection, "p", seconds=8)
    assert found and all(token["expiresAt"] > asked for asked, token in found)
    assert authority.count("token") < 5 * took


def test_backing_off_asks_rarely(setup, authority, mltoken):
    authority.fault("token", status=500)
    began = time.monotonic()
    while time.monotonic() - began < 4:
        mltoken("get", "p").failed(6)
    assert 1 <= authority.count("token") <= 2 + math.log2(1 + time.monotonic() - began)  # each wait is twice the one before


METADATA = [{"html": True}, {"invalid_json": True}, {"status": 500}, {"reset": "body"}, {"huge": 8}, {"deep": 10000},
            {"json": []}, {"drop": ["token_endpoint"]}, {"set": {"token_endpoint": 7}}, {"set": {"token_endpoint": ""}},
            {"set": {"token_endpoint": "token"}}, {"duplicate": {"issuer": "https://evil.example"}},
            {"redirect": "https://evil.example/"}, {"set": {"token_endpoint": "file:///etc/passwd"}}]


@pytest.mark.parametrize("members", METADATA, ids=lambda m: next(iter(m)))
def test_rubbish_as_metadata(authority, home, start_agent, mltoken, members):
    home.config({"p": service(authority, home)})
    agent = start_agent()
    authority.fault("metadata", **members)
    result = mltoken("get", "p")
    assert result.code in (3, 5, 6), result
    result.failed(result.code)
    assert authority.count("token") == 0 and agent.alive()


def test_metadata_recovers_by_itself(authority, home, start_agent, mltoken):
    home.config({"p": service(authority, home)})
    start_agent()
    authority.fault("metadata", status=503)
    mltoken("get", "p").failed(6)
    authority.clear_faults()
    wait_until(lambda: mltoken("get", "p").code == 0, step=0.2)
