"""id_tokens of sign-ins and JWTs on stdin: what is checked, and that each check bites."""

import json

import pytest
from authority import keys
from harness import Agent, Home, VarlinkError, person

GOOD = [("RS256", None), ("PS256", None), ("ES256", None), ("RS256", "no_kid"), ("RS256", "aud_list")]
CLAIMS = ["expired", "no_exp", "future", "wrong_aud", "no_aud", "wrong_iss", "iss_slash", "no_iss", "no_sub", "azp",
          "aud_list_no_azp", "aud_list_wrong_azp", "nul_sub", "number_sub", "huge_exp", "string_exp"]
ID_TOKEN_ONLY = ("no_sub", "number_sub", "nul_sub", "azp", "aud_list_no_azp", "aud_list_wrong_azp")
SIGNATURES = [s for s in keys.FORGED_SIGNATURES if s != "no_kid"]


@pytest.fixture
def setup(authority, home, start_agent):
    home.config({"me": person(authority)}, {"default_profile": "me"})
    authority.set_client("device", auto_approve="alice", enforce_interval=False)
    return start_agent()


@pytest.fixture(scope="module")
def sign_ins(authority_of_session):
    """One sign-in for each kind of id_token, sixteen at a time: (alg, forgery) -> (how it ended, GetToken after it)."""
    authority, home = authority_of_session, Home()
    authority.reset()
    kinds = GOOD + [("RS256", forge) for forge in CLAIMS + SIGNATURES]
    for i, (alg, forge) in enumerate(kinds):
        authority.add_client(f"c{i}", grants=("device_code", "refresh_token"), interval=1, auto_approve="alice",
                             id_token_alg=alg, id_token_forge=forge)
    home.config({f"p{i}": person(authority, f"c{i}") for i in range(len(kinds))})
    agent, found = Agent(home).start(), {}
    try:
        for at in range(0, len(kinds), 16):
            running = {i: agent.varlink() for i in range(at, min(at + 16, len(kinds)))}
            for i, connection in running.items():
                connection.send("Login", {"profile": f"p{i}"}, more=True)
            for i, connection in running.items():
                found[kinds[i]] = (outcome(connection), outcome(connection, "GetToken", f"p{i}"))
                connection.close()
        agent.stop()
        yield found
    finally:
        if agent.process:
            agent.process.kill()
            agent.process.wait()
        home.remove()


def outcome(connection, method=None, profile=None):
    """done, or the name of the error that ended a call (already sent, or sent here)."""
    try:
        if method:
            connection.call(method, profile=profile)
            return "done"
        while connection.reply()["state"] != "done":
            pass
        return "done"
    except VarlinkError as error:
        reason = error.parameters.get("reason") if error.name in ("InvalidToken", "AuthorityRefused") else None
        return f"{error.name}: {reason}" if reason else error.name


@pytest.mark.parametrize("kind", GOOD, ids=str)
def test_a_good_one_signs_in(sign_ins, kind):
    assert sign_ins[kind] == ("done", "done")


@pytest.mark.parametrize("forge", CLAIMS + SIGNATURES)
def test_a_bad_one_does_not(sign_ins, forge):
    ended, after = sign_ins[("RS256", forge)]
    assert ended.startswith(("InvalidToken: ", "AuthorityRefused: ")) and "token" in ended and after == "LoginRequired"


def test_a_bad_one_at_the_command(setup, authority, mltoken):
    authority.set_client("device", id_token_forge="tampered")
    result = mltoken("login", "me", "--json")
    assert result.code == 5 and result.err.count("\n") == 1 and "done" not in result.out
    mltoken("get", "me").failed(4)


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256"])
def test_verify_prints_the_claims(setup, authority, mltoken, alg):
    result = mltoken("verify", "--json", input=authority.mint({"role": "x"}, alg) + "\n").ok()
    assert result.json()["role"] == "x"


@pytest.mark.parametrize("forge", [f for f in CLAIMS + SIGNATURES if f not in ID_TOKEN_ONLY])
def test_verify_refuses(setup, authority, mltoken, forge):
    mltoken("verify", input=authority.mint(forge=forge)).failed(5)


def test_verify_never_leaves_out_the_audience(setup, authority, mltoken):
    token = authority.mint({"aud": "api://one"})
    assert "audience" in mltoken("verify", input=token).failed(5)
    mltoken("verify", "--audience", "api://one", input=token).ok()
    mltoken("verify", "--profile", "me", "--audience", "api://two", input=token).failed(5)


def test_verify_uses_the_audience_of_the_profile(authority, home, start_agent, mltoken):
    home.config({"me": person(authority, audience="api://one")}, {"default_profile": "me"})
    start_agent()
    mltoken("verify", input=authority.mint({"aud": "api://one"})).ok()
    mltoken("verify", input=authority.mint({"aud": "device"})).failed(5)


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "...", "é.é.é", "A" * 70000, "a.b.c.d.e"])
def test_verify_of_what_is_no_jwt(setup, mltoken, text):
    mltoken("verify", input=text).failed(5)


def test_keys_are_fetched_once(setup, authority, mltoken):
    for _ in range(3):
        mltoken("verify", input=authority.mint()).ok()
    assert authority.count("jwks") == 1


def test_unknown_key_ids_do_not_make_it_hammer(setup, authority, mltoken):
    mltoken("verify", input=authority.mint()).ok()
    for _ in range(5):
        mltoken("verify", input=authority.mint(forge="unknown_kid")).failed(5)
    assert authority.count("jwks") <= 2


def test_a_jwks_that_is_down(setup, authority, mltoken):
    authority.fault("jwks", status=503)
    mltoken("verify", input=authority.mint()).failed(6)
    authority.clear_faults()
    # a moment of back-off is allowed, then it works again by itself
    for _ in range(100):
        if mltoken("verify", input=authority.mint()).code == 0:
            return
    raise AssertionError("never recovered")


@pytest.mark.parametrize("members", [{"html": True}, {"invalid_json": True}, {"json": {"keys": "none"}}, {"json": {"keys": [7]}},
                                     {"json": {}}, {"huge": 3}, {"deep": 5000},
                                     {"json": {"keys": [{"kty": "RSA", "kid": "rsa-1", "n": "!!", "e": "AQAB"}]}},
                                     {"json": {"keys": [{"kty": "RSA", "kid": "rsa-1", "n": "AQ", "e": "AQ"}]}},
                                     {"json": {"keys": [{"kty": "EC", "kid": "rsa-1", "crv": "P-256", "x": "AA", "y": "AA"}]}},
                                     {"json": {"keys": [{"kty": "oct", "kid": "rsa-1", "k": "AAAA"}]}}])
def test_a_jwks_that_is_rubbish(setup, authority, mltoken, members):
    authority.fault("jwks", **members)
    result = mltoken("verify", input=authority.mint())
    assert result.code in (5, 6), result
    result.failed(result.code)


def test_the_sign_in_works_when_other_keys_are_strange(setup, authority, mltoken):
    good = authority.keys.jwks()["keys"]
    strange = [{"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "kid": "e"}, {"kty": "RSA", "n": 5, "e": None}, {},
               {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA", "kid": "big"}]
    authority.fault("jwks", json={"keys": strange + good})
    mltoken("login", "me", "--json").ok()


def test_a_token_for_another_tenant_is_refused_for_common(authority, home, start_agent, mltoken):
    """{tenantid} in an issuer is for Microsoft's own hosts."""
    home.config({"me": person(authority, "native", base=authority.http + "/common/v2.0")})
    authority.set_client("native", auto_approve="alice", enforce_interval=False)
    start_agent()
    result = mltoken("login", "me", "--json")
    assert result.code in (3, 5, 6), result
    mltoken("get", "me").failed(4)


def test_escapes_in_claims_are_cleaned(setup, authority, mltoken):
    token = authority.mint({"name": "a\u001b[2Jb\u202ec\r\nd"})
    for option in (), ("--json",):
        out = mltoken("verify", *option, input=token).ok().out
        assert "\x1b" not in out and "\u202e" not in out and "\r" not in out
    assert json.loads(out)


def test_keys_are_fetched_once_and_again_when_they_roll_over(setup, authority, mltoken):
    for _ in range(3):
        mltoken("verify", "--profile", "me", input=authority.mint()).ok()
    assert authority.count("jwks") == 1
    authority.rollover()
    mltoken("verify", "--profile", "me", input=authority.mint()).ok()
    assert authority.count("jwks") == 2
