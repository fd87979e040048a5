"""mltoken-pam-login: who signed in. Each bad id_token is refused with words of its own; what claims say is told to the byte
or not at all."""

import json
import time

import pytest
from authority import Authority, keys
from harness import Home
from login_helper import Helper, issuer, person

NOW = time.time()
# forgery -> what is said of it
FORGED = {
    "none": "algorithm", "hs256": "algorithm", "hs256_jwk": "algorithm", "rs384": "algorithm", "alg_mismatch": "algorithm",
    "unknown_kid": "not among the authority's keys", "other_key": "signature is wrong", "tampered": "signature is wrong",
    "bad_signature": "signature is wrong", "empty_signature": "", "es256_zero": "signature is wrong", "es256_der": "signature is wrong",
    "crit": "header", "jku": "header", "jwk": "header", "two_parts": "well-formed", "not_json": "well-formed",
    "duplicate_claims": "well-formed", "duplicate_alg": "",
    "expired": "expired", "no_exp": "expiry", "huge_exp": "expiry", "string_exp": "expiry", "future": "not valid for another",
    "wrong_aud": "audience", "no_aud": "audience", "wrong_iss": "issuer", "iss_slash": "issuer", "no_iss": "issuer",
    "azp": "authorized party", "aud_list_no_azp": "authorized party", "aud_list_wrong_azp": "authorized party",
    "no_sub": "subject", "nul_sub": "subject", "number_sub": "subject",
}
# claims that replace the good ones -> what is said of them
CLAIMED = {
    "empty-sub": ({"sub": ""}, "subject"), "newline-sub": ({"sub": "sub-alice-1\n"}, "subject"),
    "long-sub": ({"sub": "x" * 256}, "subject"), "list-sub": ({"sub": ["sub-alice-1"]}, "subject"),
    "nonce": ({"nonce": "of another sign-in"}, "nonce"), "number-nonce": ({"nonce": 7}, "nonce"),
    "other-tenant": ({"iss": "https://login.example.org/00000000-0000-0000-0000-000000000001/v2.0"}, "issuer"),
    "nul-iss": ({"iss": "ISSUER\u0000"}, "issuer"), "nul-aud": ({"aud": "CLIENT\u0000"}, "audience"),
    "future-nbf": ({"nbf": int(NOW) + 7200}, "not valid for another"), "odd-nbf": ({"nbf": "now"}, "nbf"),
    "future-iat": ({"iat": int(NOW) + 7200}, "in the future"),
}
SIGNED = {
    # bodies that no JSON library would write
    "invalid-utf8": b'"name":"\xff\xfe"', "overlong-utf8": b'"name":"\xc0\x80"', "half-surrogate": b'"name":"\xed\xa0\x80"',
    "raw-newline": b'"name":"a\nb"', "two-subs": b'"sub":"mallory"',
}
GOOD = {"RS256": None, "PS256": None, "ES256": None, "aud_list": "aud_list", "no_kid": "no_kid"}


@pytest.fixture(scope="module")
def sign_ins():
    """Every kind of id_token, eight at a time: name -> (word, fields, what was on standard error)."""
    found = {}
    with Authority() as authority:
        home = Home()
        clients = {}

        def client(name, **settings):
            authority.add_client(name, grants=("device_code", "refresh_token"), interval=1, enforce_interval=False,
                                 auto_approve="alice", **settings)
            clients[name] = person(authority, name)

        for name, forge in GOOD.items():
            client("good-" + name, id_token_alg=name if forge is None else "RS256", id_token_forge=forge)
        for forge in FORGED:
            client(forge, id_token_forge=forge)
        for name, (claims, _) in CLAIMED.items():
            bent = {k: v.replace("ISSUER", issuer(authority)).replace("CLIENT", name) if isinstance(v, str) else v for k, v in claims.items()}
            client(name, id_token_claims=bent)
        for name, more in SIGNED.items():
            key = authority.keys.signer("RS256")
            now = int(time.time())
            body = json.dumps({"iss": issuer(authority), "sub": "sub-alice-1", "aud": name, "iat": now, "exp": now + 3600}).encode()
            token = keys.encode({"alg": "RS256", "kid": key.kid}, body[:-1] + b"," + more + b"}", lambda d, k=key: k.sign("RS256", d))
            client(name, extra={"id_token": token})
        client("without", id_token=False)
        client("empty", extra={"id_token": ""})
        client("no-text", extra={"id_token": 7})
        home.config(clients)
        todo = list(clients)
        try:
            for at in range(0, len(todo), 8):
                running = {name: Helper(home, "--profile", name, "--max-wait", "90", "--claim", "name") for name in todo[at:at + 8]}
                for name, helper in running.items():
                    found[name] = (*helper.result(), helper.error_text())
                    helper.close()
            yield found
        finally:
            home.remove()


@pytest.mark.parametrize("name", GOOD)
def test_a_good_one(sign_ins, name):
    word, fields, _ = sign_ins["good-" + name]
    assert word == "done" and fields["sub"] == "sub-alice-1", fields


@pytest.mark.parametrize("forge", FORGED)
def test_a_forged_one(sign_ins, forge):
    word, fields, log = sign_ins[forge]
    assert (word, fields["class"]) == ("fail", "untrusted") and "id_token" in fields["text"], fields
    assert FORGED[forge] in fields["text"] and "sign-in failed" in log


@pytest.mark.parametrize("name", CLAIMED)
def test_claims_that_are_not_believed(sign_ins, name):
    word, fields, _ = sign_ins[name]
    assert (word, fields["class"]) == ("fail", "untrusted") and CLAIMED[name][1] in fields["text"], fields


@pytest.mark.parametrize("name", SIGNED)
def test_bodies_that_are_no_json_of_ours(sign_ins, name):
    word, fields, _ = sign_ins[name]
    assert (word, fields["class"]) == ("fail", "untrusted") and "well-formed" in fields["text"], fields


@pytest.mark.parametrize("name", ["without", "empty", "no-text"])
def test_an_id_token_has_to_come(sign_ins, name):
    word, fields, _ = sign_ins[name]
    assert word == "fail" and fields["class"] in (("untrusted",) if name == "without" else ("untrusted", "refused")), fields
    assert name != "without" or "no id_token" in fields["text"]


def test_each_has_words_of_its_own(sign_ins):
    said = {name: sign_ins[name][1]["text"] for name in ("none", "unknown_kid", "other_key", "expired", "future", "no_sub", "nonce",
                                                         "azp", "wrong_iss", "wrong_aud", "no_exp", "without", "not_json")}
    assert len(set(said.values())) == len(said), said


# ---- what is told of claims ----

@pytest.fixture
def tell(authority, home):
    """Signs alice in with such claims in her id_token: tell({...}, "--claim", "email") -> (fields of done, standard error)."""
    def run(claims, *args, **settings):
        authority.set_client("device", auto_approve="alice", enforce_interval=False, id_token_claims=claims, **settings)
        home.config({"me": person(authority)})
        helper = Helper(home, "--max-wait", "60", *args)
        try:
            return helper.done(), helper.error_text()
        finally:
            helper.close()

    return run


def test_claims_are_told_as_they_are(tell):
    claims = {"upn": "älice@example.org", "email": "a@example.org", "email_verified": True, "name": "a b", "nickname": "%n\u202e",
              "tid": "t-1", "oid": "o-1", "aaa": None}
    done, _ = tell(claims, *sum((["--claim", name] for name in (*claims, "email_verified", "upn")), []))
    for name in ("upn", "email", "name", "nickname"):
        assert done["claim." + name] == claims[name]
    assert done["claim.email_verified"] == "true" and done["tid"] == "t-1" and done["oid"] == "o-1" and "claim.aaa" not in done


def test_the_name_of_a_claim_is_it_to_the_letter(tell):
    claims = {"onPremisesSamAccountName": "alice", "onpremisessamaccountname": "mallory", "X-1.a_B": "b", "UPN": "c", "upn": "d"}
    done, _ = tell(claims, "--claim", "onPremisesSamAccountName", "--claim", "X-1.a_B", "--claim", "UPN", "--claim", "OnPremisesSamAccountName")
    assert {name: value for name, value in done.items() if name.startswith("claim.")} == {
        "claim.onPremisesSamAccountName": "alice", "claim.X-1.a_B": "b", "claim.UPN": "c"}


@pytest.mark.parametrize("verified", ["true", 1, None, False, [True]])
def test_an_address_is_verified_by_true_alone(tell, verified):
    assert tell({"email": "a@b", "email_verified": verified}, "--claim", "email")[0]["claim.email_verified"] == "false"


def test_claims_that_are_no_plain_text_are_left_out(tell):
    odd = {"a": "alice\u0000x", "b": "alice\n", "c": "\u001b[2J", "d": "x\u007f", "e": "\u0085", "f": 7, "g": ["alice"], "h": {"x": 1},
           "i": "", "j": "x" * 256, "k": True, "tid": "t\u0000", "oid": 5}
    done, log = tell({**odd, "z": "good"}, *sum((["--claim", name] for name in (*odd, "z") if name not in ("tid", "oid")), []))
    assert done["claim.z"] == "good"
    assert not [name for name in odd if "claim." + name in done or name in done], done
    for name in odd:
        assert f"a claim is not told profile=me claim={name} why=" in log, (name, log)


def test_groups_and_roles(tell):
    done, _ = tell({"groups": ["b", "a", "", 7, "x\u0000", "x" * 256, ["c"], "a b"], "roles": "admin"})
    assert done["group"] == ["b", "a", "a b"] and done["role"] == ["admin"] and done["overage"] == "no"


@pytest.mark.parametrize("claims, overage", [
    ({"_claim_names": {"groups": "src1"}, "_claim_sources": {"src1": {"endpoint": "https://graph.example/x"}}}, "yes"),
    ({"hasgroups": True}, "yes"), ({"hasgroups": "true"}, "yes"), ({"_claim_names": "groups"}, "yes"), ({"_claim_sources": {}}, "yes"),
    ({"_claim_names": {"roles": "src1"}}, "yes"), ({"groups": ["a"], "hasgroups": True}, "yes"),
    ({"hasgroups": False}, "no"), ({"_claim_names": {"address": "src1"}, "_claim_sources": {"src1": {}}}, "no"), ({}, "no")])
def test_group_overage(tell, claims, overage):
    assert tell(claims)[0]["overage"] == overage


def test_as_many_groups_as_there_is_room_for(tell):
    groups = [f"{i:08x}-0000-4000-8000-000000000000" for i in range(200)]
    done, _ = tell({"groups": groups, "roles": groups})
    assert done["group"] == groups == done["role"] and done["overage"] == "no"
    done, _ = tell({"groups": groups + ["one more"]})
    assert done["group"] == [] and done["overage"] == "yes"


def test_tokens_that_fill_the_line(tell):
    """First the access token goes, where there is a refresh token; then the groups, which count as not known."""
    groups = [f"{i:08x}-0000-4000-8000-000000000000" for i in range(100)]
    done, _ = tell({"groups": groups}, token_format="opaque", token_padding=60000)
    assert done["group"] == groups and done["overage"] == "no" and "access_token" not in done and done["refresh_token"]
    done, _ = tell({"groups": groups}, token_format="opaque", token_padding=40000, refresh_token="never")
    assert done["overage"] == "yes" and done["group"] == [] and len(done["access_token"]) > 40000


def test_tokens_that_no_line_holds(authority, home):
    authority.set_client("device", auto_approve="alice", token_format="opaque", token_padding=60000, refresh_token="never")
    home.config({"me": person(authority)})
    helper = Helper(home, "--max-wait", "60")
    assert "too long" in helper.fail("internal")
    helper.close()
