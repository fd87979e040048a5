"""Every row of WIRE section 1.1: how an error of Entra is classed, what is said of it, and what becomes of the sign-in.

Each error is met by a request of its own (another scope each), so that none hides behind the memory of the one before."""

import itertools
import json
import time

import pytest

from harness import VarlinkError, person, service

TENANT = "c0470500-0000-4000-8000-00000000c050"
TRACE, CORRELATION = "7aceMARK-0000-4000-8000-000000000001", "c0ffee00-0000-4000-8000-000000000002"
CHALLENGE = '{"access_token":{"capolids":{"essential":true,"values":["challengeMARK"]}}}'
# what a hint must have in it; without one a person would have a number alone
SIGN_IN = {50058: "session", 50072: "factor", 50074: "factor", 50076: "factor", 50078: "factor", 50079: "factor", 50085: "provider",
           50089: "session", 50132: "revoked", 50133: "revoked", 50173: "revoked", 65001: "consented", 70000: "no longer valid",
           70008: "expired", 70043: "frequency", 700082: "disuse", 700084: "age", 50055: "password has expired",
           50144: "password has expired"}
CONDITIONAL = {50097: "device", 50129: "device", 50131: "conditional access", 50158: "one more step", 53000: "managed device",
               53001: "joined device", 53002: "application", 53003: "blocks", 530032: "blocks", 530035: "security defaults"}
WRONG_USER = {50126: "wrong", 50034: "no such user", 50056: "wrong", 50053: "locked", 50057: "disabled"}
SET_UP = {7000215: ("invalid_client", "wrong"), 7000222: ("invalid_client", "has expired"), 7000112: ("unauthorized_client", "disabled"),
          7000218: ("invalid_client", "public client"), 700016: ("unauthorized_client", "client_id"),
          70001: ("unauthorized_client", "client_id"), 700025: ("invalid_client", "leave client_secret out"),
          700027: ("invalid_client", "certificate"), 700024: ("invalid_client", "clock"), 50012: ("invalid_client", "proof"),
          50194: ("invalid_request", "one tenant"), 500011: ("invalid_resource", "resource"), 70011: ("invalid_scope", ".default"),
          28002: ("invalid_scope", "one resource"), 9001023: ("invalid_request", "needs a tenant"),
          90002: ("invalid_request", "no such tenant"), 70021: ("invalid_request", "after some minutes"),
          700211: ("invalid_client", "after some minutes"), 700229: ("invalid_client", "not a person's")}
PASSING = [40010, 50033, 50087, 50088, 50166, 80005, 90006, 90012, 90024, 90033, 90090]
THROTTLING = [50196, 90055]
DEVICE = {70018: ("bad_verification_code", "try again"), 70019: ("expired_token", "expired"),
          50134: ("invalid_grant", "data centre"), 90120: ("invalid_request", "already")}
LOGIN_SUBERRORS = [None, "basic_action", "additional_action", "user_password_expired", "consent_required", "bad_token", "token_expired",
                   "client_mismatch", "device_authentication_failed", "not_known_yet"]
SHOWN_SUBERRORS = ["message_only", "protection_policy_required"]
CONFIGURATION = ["invalid_client", "unauthorized_client", "invalid_request", "invalid_scope", "invalid_resource", "unsupported_grant_type"]


def said(error, number=None, suberror=None, **more):
    """A body as Entra writes it."""
    number = number or 50000
    return {"error": error, "error_description": f"AADSTS{number}: wordsMARK. Trace ID: {TRACE} Correlation ID: {CORRELATION}",
            "error_codes": [number], "timestamp": "2026-01-01 00:00:00Z", "trace_id": TRACE, "correlation_id": CORRELATION,
            "claims": CHALLENGE, **({"suberror": suberror} if suberror else {}), **more}


class Desk:
    """A person and a robot at one authority, and each error that they meet."""

    def __init__(self, authority, home, mltoken, agent):
        self.authority, self.home, self.mltoken, self.agent = authority, home, mltoken, agent
        self.varlink, self.numbers = agent.varlink(), itertools.count()

    def meets(self, profile, times=None, **fault):
        """The VarlinkError of a call that meets a fault, and how often the authority was asked."""
        self.authority.clear_faults()
        fault = self.authority.fault("token", times=times, **fault)
        scope = f"https://r{next(self.numbers)}.example/.default"
        error = self.varlink.error("GetToken", profile=profile, scopes=[scope])
        line = self.mltoken("get", profile, "--scope", scope)
        self.authority.clear_faults()
        assert "challengeMARK" not in json.dumps(error.parameters) + line.err, "claims are for programs"
        return error, line, fault.hits

    def still_signed_in(self):
        """The refresh token lives on, and serves another resource."""
        return self.varlink.call("GetToken", profile="me", scopes=[f"https://other{next(self.numbers)}.example/.default"])["token"]


@pytest.fixture
def desk(authority, home, start_agent, mltoken):
    base = f"{authority.http}/{TENANT}/v2.0"
    home.config({"me": person(authority, "native", base=base, dialect="entra", scope="openid offline_access"),
                 "svc": service(authority, home, "svc-post", base=base, dialect="entra", scope="x/.default"),
                 **{f"typed{n}": {"grant": "password", "authority": base, "dialect": "entra", "client_id": "typed-native",
                                  "username": "alice", "password": home.secret("wrong horse", "password"), "scope": "openid"}
                    for n in WRONG_USER}})
    agent = start_agent()
    authority.set_client("native", auto_approve="alice")
    mltoken("login", "me", "--json").ok()
    desk = Desk(authority, home, mltoken, agent)
    yield desk
    desk.varlink.close()
    assert "challengeMARK" not in agent.log()


def check_ids(error, line):
    assert error.parameters["correlationId"] == CORRELATION and error.parameters["traceId"] == TRACE
    assert CORRELATION in line.err and TRACE in line.err


@pytest.mark.parametrize("numbers", [SIGN_IN, CONDITIONAL], ids=["sign in", "conditional access"])
def test_a_person_must_sign_in(desk, numbers):
    for number, hint in numbers.items():
        error, line, hits = desk.meets("me", error=said("invalid_grant", number))
        assert error.name == "LoginRequired" and hint in error.parameters["reason"], (number, error)
        assert line.code == 4 and "mltoken login me" in line.err and hint in line.err, (number, line)
        assert hits == 1, (number, "a person is awaited: it is not asked again")
        desk.still_signed_in()


@pytest.mark.parametrize("word", ["interaction_required", "consent_required", "login_required"])
def test_words_for_a_person(desk, word):
    error, line, _ = desk.meets("me", error=said(word, 50076 if word == "interaction_required" else 65001))
    assert error.name == "LoginRequired" and word in error.parameters["reason"] and line.code == 4
    desk.still_signed_in()


@pytest.mark.parametrize("suberror", LOGIN_SUBERRORS)
def test_suberrors_that_a_sign_in_mends(desk, suberror):
    error, line, hits = desk.meets("me", error=said("invalid_grant", None, suberror))
    assert error.name == "LoginRequired" and "wordsMARK" in error.parameters["reason"] and line.code == 4 and hits == 1
    desk.still_signed_in()


@pytest.mark.parametrize("suberror", SHOWN_SUBERRORS)
def test_suberrors_that_are_shown(desk, suberror):
    error, line, hits = desk.meets("me", error=said("invalid_grant", 53003, suberror))
    assert error.name == "AuthorityRefused" and "wordsMARK" in error.parameters["description"]
    assert line.code == 5 and "wordsMARK" in line.err and "mltoken login" not in line.err and hits == 1
    check_ids(error, line)
    desk.still_signed_in()


def test_wrong_credentials_are_never_sent_again(desk, authority):
    for number, hint in WRONG_USER.items():
        fault = authority.fault("token", error=said("invalid_grant", number))
        line = desk.mltoken("get", f"typed{number}")
        assert line.code == 5 and hint in line.err and "not sent again" in line.err, (number, line)
        for _ in range(3):
            desk.mltoken("get", f"typed{number}", "--refresh")
        assert fault.hits == 1, number
        authority.clear_faults()


def test_how_the_application_is_set_up(desk):
    for number, (word, hint) in SET_UP.items():
        error, line, hits = desk.meets("svc", error=said(word, number), status=401 if word == "invalid_client" else 400)
        assert error.name == "AuthorityRefused" and error.parameters["error"] == word, (number, error)
        assert line.code == 5 and hint in line.err and f"AADSTS{number}" in line.err, (number, line)
        assert hits == 1, (number, "asked again though nothing has changed")
        check_ids(error, line)


@pytest.mark.parametrize("word", CONFIGURATION)
@pytest.mark.parametrize("profile", ["me", "svc"])
def test_words_of_a_configuration(desk, word, profile):
    error, line, hits = desk.meets(profile, error=said(word))
    assert error.name == "AuthorityRefused" and error.parameters["error"] == word and line.code == 5 and hits == 1
    check_ids(error, line)
    if profile == "me":
        desk.still_signed_in()


def test_what_passes(desk):
    """invalid_grant is what such an answer may say: the sign-in is not dead."""
    for number in PASSING:
        for profile, word in (("me", "invalid_grant"), ("svc", "temporarily_unavailable")):
            error, line, _ = desk.meets(profile, error=said(word, number))
            assert error.name == "AuthorityUnreachable" and error.parameters["retryAt"], (number, profile, error)
            assert line.code == 6 and "mltoken login" not in line.err, (number, line)
        desk.still_signed_in()


def test_who_is_throttled_waits(desk):
    for number in THROTTLING:
        error, line, hits = desk.meets("me", error=said("invalid_grant", number))
        assert error.name == "AuthorityUnreachable" and error.parameters["retryAt"], (number, error)
        assert line.code == 6 and "mltoken login" not in line.err and ("throttl" in line.err or "too many" in line.err), line
        assert hits == 1, "the second call had to wait"
        desk.still_signed_in()


TROUBLE = {"429 as Entra says it": {"status": 429, "error": said("invalid_request", 50196), "retry_after": 60},
           "plain text": {"status": 429, "body": "Too many requests", "headers": {"Content-Type": "text/plain"}, "retry_after": 60},
           "plain text and no time": {"status": 429, "body": "Too many requests", "headers": {"Content-Type": "text/plain"}},
           "a date": {"status": 429, "body": "", "retry_after": "+60"},
           "503": {"status": 503}, "503 with a time": {"status": 503, "retry_after": 60}, "500": {"status": 500, "body": "<html>"},
           "temporarily_unavailable": {"error": said("temporarily_unavailable")},
           "no answer": {"reset": "before"}}


@pytest.mark.parametrize("case", TROUBLE)
@pytest.mark.parametrize("profile", ["me", "svc"])
def test_trouble_of_the_server_passes(desk, authority, case, profile):
    error, line, hits = desk.meets(profile, **TROUBLE[case])
    assert error.name == "AuthorityUnreachable", error
    assert line.code == 6 and "mltoken login" not in line.err
    assert hits == 1 or case == "no answer", "what was told to wait did not"
    if "retry_after" in TROUBLE[case]:
        assert 30 < error.parameters["retryAt"] - time.time() <= 61
    if profile == "me":
        desk.still_signed_in()


def test_what_a_device_code_may_meet(desk, authority):
    authority.set_client("native", auto_approve=None)
    for number, (word, hint) in DEVICE.items():
        authority.fault("token", error=said(word, number))
        done = desk.mltoken("login", "me")
        assert done.code in (4, 5) and hint in done.err, (number, done)
        authority.clear_faults()
    authority.fault("token", times=1, error=said("authorization_pending", 70016))
    authority.set_client("native", auto_approve="alice")
    assert desk.mltoken("login", "me", "--json").code == 0


def test_a_claims_challenge_is_handed_in_and_its_token_kept_apart(desk, authority):
    """Sent as it is, past the cached token, again at its renewals, and to nobody who did not ask."""
    plain = desk.mltoken("get", "me").ok().out
    assert not [r for r in authority.requests("token") if "claims" in r.form], "capabilities are declared for who asks alone"
    claims = json.dumps({"access_token": {"xms_cc": {"values": ["cp1"]}, "nbf": {"essential": True, "value": "1700000000"}}})
    authority.set_client("native", token_lifetime=28 * 3600)  # what who can be challenged may be given
    stepped = desk.mltoken("get", "me", "--claims", claims, "--json").ok().json()
    assert json.loads(authority.requests("token")[-1].form["claims"]) == json.loads(claims)
    assert stepped["value"] != plain.strip() and 27 * 3600 < stepped["expiresAt"] - time.time() <= 28 * 3600
    count = authority.count("token")
    assert desk.mltoken("get", "me", "--claims", claims).ok().out.strip() == stepped["value"] and authority.count("token") == count
    assert desk.mltoken("get", "me").ok().out == plain and authority.count("token") == count
    desk.mltoken("get", "me", "--claims", claims, "--refresh").ok()
    assert json.loads(authority.requests("token")[-1].form["claims"]) == json.loads(claims)
    desk.mltoken("get", "me", "--refresh").ok()
    assert "claims" not in authority.requests("token")[-1].form
    fault = authority.fault("token", error=said("interaction_required", 50076))
    other = json.dumps({"access_token": {"acrs": {"essential": True, "value": "c1"}}})
    refused = desk.mltoken("get", "me", "--claims", other)
    assert refused.code == 4 and "mltoken login me" in refused.err and fault.hits == 1
    authority.clear_faults()
    assert desk.mltoken("get", "me").code == 0, "who did not ask for it is not locked out"
    for wrong in ("cp1", "[1]", "{", '{"a":"' + "x" * 8192 + '"}'):
        assert desk.mltoken("get", "me", "--claims", wrong).code == 2


def claims_sent(authority):
    """Of each exchange of a sign-in."""
    return [json.loads(r.form["claims"]) if "claims" in r.form else None for r in authority.requests("token", "native")
            if r.grant != "refresh_token"]


def test_what_a_refused_renewal_asks_for_goes_with_the_next_sign_in(desk, authority):
    """Nobody carries it there; it is in no message, and sent until a sign-in is made."""
    assert claims_sent(authority) == [None]
    refusal = said("interaction_required", 50076)
    authority.fault("token", times=1, error=refusal)
    line = desk.mltoken("get", "me", "--scope", "https://r.example/.default")
    assert line.code == 4 and "sign in with: mltoken login me\n" in line.err and "challengeMARK" not in line.err, line
    for command in (("status", "me", "--json"), ("status", "me"), ("log",)):
        outcome = desk.mltoken(*command)
        assert "challengeMARK" not in outcome.out + outcome.err, command
    desk.still_signed_in()  # which does not take it off
    authority.fault("token", times=1, error=said("invalid_request", 90002))
    assert desk.mltoken("login", "me", "--json").code == 5
    assert desk.mltoken("login", "me", "--json").code == 0
    assert desk.mltoken("login", "me", "--json").code == 0
    challenge = json.loads(CHALLENGE)
    assert claims_sent(authority) == [None, challenge, challenge, None]
    assert desk.mltoken("get", "me", "--refresh").code == 0
    assert "claims" not in authority.requests("token")[-1].form


def test_what_a_person_says_outranks_a_challenge_and_signing_out_ends_it(desk, authority):
    refusal = said("interaction_required", 50076)

    def refuse():
        authority.fault("token", times=1, error=refusal)
        desk.mltoken("get", "me", "--scope", f"https://r{next(desk.numbers)}.example/.default").failed(4)

    refuse()
    assert desk.mltoken("login", "me", "--json", "--claims", "{}").code == 0
    refuse()
    desk.mltoken("logout", "me").ok()
    assert desk.mltoken("login", "me", "--json").code == 0
    refuse()
    refusal["claims"] = "no json"  # one that is none leaves what was there
    refuse()
    assert desk.mltoken("login", "me", "--json").code == 0
    assert claims_sent(authority) == [None, {}, None, json.loads(CHALLENGE)]


def test_a_robot_hands_a_challenge_in_too(desk, authority):
    claims = '{"access_token":{"nbf":{"essential":true,"value":"1700000000"}}}'
    desk.mltoken("get", "svc", "--claims", claims).ok()
    assert authority.requests("token", "svc-post")[-1].form["claims"] == claims
    with pytest.raises(VarlinkError) as wrong:
        desk.varlink.call("GetToken", profile="svc", claims="cp1")
    assert wrong.value.name in ("InvalidParameter", "InvalidConfiguration")
