"""azureml_key, azureml_token and azure_key on a parent profile, against the scripted services of WIRE sections 4 and 5."""

import json
import os
import signal
import time

import pytest

from authority.azure import ACCOUNT, ENDPOINT, SERVICE
from harness import service, wait_until

PLACES = {"endpoint": ENDPOINT, "service": SERVICE, "account": ACCOUNT}
SLOTS = ("primary", "secondary")
KIND_OF_GRANT = {"endpoint": "azureml_key", "service": "azureml_key", "account": "azure_key"}


def keyed(authority, kind="endpoint", **more):
    return {"grant": KIND_OF_GRANT[kind], "authority": authority.http + PLACES[kind], "parent": "mgmt", **more}


def tokened(authority, kind="endpoint", **more):
    return {"grant": "azureml_token", "authority": authority.http + PLACES[kind], "parent": "mgmt", **more}


@pytest.fixture
def begin(authority, home, start_agent):
    """Starts the agent with a profile `k` on its parent; what it keeps outlives it."""
    key = home.write("key", os.urandom(32).hex())

    def start(profile, parent=None):
        home.config({"mgmt": service(authority, home, **(parent or {})), "k": profile}, {"store": "file", "key_file": key})
        return start_agent()

    return start


def kill(agent):
    agent.expect_exit = -signal.SIGKILL
    os.kill(agent.pid, signal.SIGKILL)
    agent.process.wait()


def served(authority, mltoken, kind, *args):
    """The slot that is served, as `status` says too: what `get` gives must be a key that the service takes now."""
    result = mltoken("get", "k", *args)
    assert result.code == 0, result.err
    assert result.out.strip() in authority.azure_state.keys[kind], "a key that the service does not know is served"
    slot = SLOTS[authority.azure_state.keys[kind].index(result.out.strip())]
    assert mltoken("status", "k", "--json").ok().json()["slot"] == slot
    return slot


# ---- keys ----


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("slot", [None, "primary", "secondary"])
def test_a_key_of_a_slot(authority, begin, mltoken, kind, slot):
    begin(keyed(authority, kind, slot=slot))
    assert served(authority, mltoken, kind) == (slot or "primary")
    assert mltoken("get", "k").code == 0 and authority.count("arm_list") == 1
    request = authority.requests("arm_list")[0]
    assert request.method == "POST" and request.headers["content-length"] == "0" and request.body == b""
    assert request.headers["authorization"].startswith("Bearer ")
    assert request.query.get("api-version") == {"endpoint": "2024-10-01", "account": "2025-09-01"}.get(kind)
    header = mltoken("get", "k", "--header").out
    assert header.startswith("api-key: " if kind == "account" else "Authorization: Bearer ")
    token = json.loads(mltoken("get", "k", "--json").out)
    assert "expiresAt" not in token and token["refreshAt"] - time.time() <= 900, "others may make it anew"
    assert mltoken("status", "k").code == 0


def test_another_api_version(authority, begin, mltoken):
    begin(keyed(authority, api_version="2022-10-01"))
    assert served(authority, mltoken, "endpoint") == "primary"
    assert authority.requests("arm_list")[0].query["api-version"] == "2022-10-01"


def test_a_key_that_was_made_anew_elsewhere_is_read_again(authority, begin, mltoken):
    begin(keyed(authority))
    old = mltoken("get", "k").out
    authority.azure_state.keys["endpoint"][0] = "made-elsewhere-MARK"
    assert mltoken("get", "k", "--refresh").out == "made-elsewhere-MARK\n" != old


@pytest.mark.parametrize("answer", [{}, {"primaryKey": None}, {"primaryKey": ""}, {"primaryKey": 7},
                                    {"primaryKey": "has blank"}, {"secondaryKey": "other"}])
def test_keys_that_are_not_there(authority, begin, mltoken, answer):
    authority.fault("arm_list", json=answer)
    begin(keyed(authority))
    result = mltoken("get", "k")
    assert result.code == 5 and "no primary key (primaryKey)" in result.err, result.err


def test_who_may_not_is_told_the_action(authority, begin, mltoken):
    authority.azure_state.forbidden = {"listKeys", "listkeys"}
    begin(keyed(authority))
    result = mltoken("get", "k")
    assert result.code == 5 and "AuthorizationFailed" in result.err
    assert "Microsoft.MachineLearningServices/workspaces/onlineEndpoints/listKeys/action" in result.err
    assert "mgmt" in result.err


def test_throttled_in_plain_text(authority, begin, mltoken):
    authority.fault("arm_list", status=429, body="too many", retry_after=30)
    begin(keyed(authority))
    result = mltoken("get", "k")
    assert result.code == 6 and "429" in result.err, result.err
    assert mltoken("get", "k").code == 6 and authority.count("arm_list") == 1, "Retry-After is obeyed"


def test_an_old_management_token_is_asked_for_anew_once(authority, begin, mltoken):
    begin(keyed(authority))
    assert mltoken("get", "mgmt").code == 0
    for token in authority.store.access_tokens.values():
        token.revoked = True
    assert served(authority, mltoken, "endpoint") == "primary"
    assert authority.count("arm_list") == 2 and authority.count("token") == 2


def test_a_management_token_that_is_never_taken(authority, begin, mltoken):
    authority.fault("arm_list", status=401, json={"error": {"code": "InvalidAuthenticationToken", "message": "no"}})
    begin(keyed(authority))
    result = mltoken("get", "k")
    assert result.code == 5 and "InvalidAuthenticationToken" in result.err
    assert authority.count("arm_list") == 2


@pytest.mark.parametrize("profile, words", [
    ({"authority": "https://management.azure.com"}, "whole address"),
    ({"authority": "https://management.azure.com" + ENDPOINT + "/"}, "whole address"),
    ({"authority": "https://management.azure.com" + ACCOUNT}, "azure_key"),
    ({"grant": "azure_key"}, "azureml_key"),
    ({"slot": "third"}, "primary or secondary"),
    ({"api_version": "2024&x"}, "no version"),
    ({"parent": None}, "parent"),
])
def test_wrong_settings(authority, home, mltoken, profile, words):
    home.config({"mgmt": service(authority, home),
                 "k": {**keyed(authority), "authority": "https://management.azure.com" + ENDPOINT, **profile}})
    result = mltoken("config", "check")
    assert result.code == 3 and words in result.out + result.err


# ---- tokens ----


@pytest.mark.parametrize("kind", ["endpoint", "service"])
@pytest.mark.parametrize("strings", [False, True])
def test_a_token_with_its_times(authority, begin, mltoken, kind, strings):
    authority.azure_state.strings = strings
    begin(tokened(authority, kind))
    token = json.loads(mltoken("get", "k", "--json").out)
    assert token["value"].startswith("amltoken-MARK")
    assert abs(token["expiresAt"] - time.time() - 7200) < 120
    assert token["refreshAt"] - time.time() < 3700
    assert authority.count("arm_token") == 1 and authority.requests("arm_token")[0].headers["content-length"] == "0"


def test_a_token_is_renewed_when_the_service_says(authority, begin, mltoken):
    authority.azure_state.life, authority.azure_state.refresh = 40, 4
    begin(tokened(authority))
    first = mltoken("get", "k").out
    wait_until(lambda: authority.count("arm_token") > 1)
    authority.azure_state.refresh = 3600
    wait_until(lambda: mltoken("get", "k").out != first)


@pytest.mark.parametrize("answer, words", [({}, "accessToken"), ({"accessToken": "a b"}, "accessToken"),
                                           ({"accessToken": "x", "tokenType": "PoP"}, "not Bearer"),
                                           ({"accessToken": "x", "expiryTimeUtc": "1000"}, "expired already")])
def test_a_token_that_cannot_be_used(authority, begin, mltoken, answer, words):
    authority.fault("arm_token", json=answer)
    begin(tokened(authority))
    result = mltoken("get", "k")
    assert result.code == 5 and words in result.err, result.err


def test_a_token_is_not_rotated(authority, begin, mltoken):
    begin(tokened(authority))
    assert mltoken("rotate", "k").code == 3


# ---- rotation ----


@pytest.mark.parametrize("kind", PLACES)
def test_rotation_goes_to_and_fro(authority, begin, mltoken, varlink, kind):
    agent = begin(keyed(authority, kind))
    state = authority.azure_state
    assert served(authority, mltoken, kind) == "primary"
    watch = varlink().more("Watch", profile="k")
    next(watch)
    before = list(state.keys[kind])
    result = mltoken("rotate", "k")
    assert result.code == 0 and "secondary" in result.out, result.err
    assert next(watch)["token"]["value"] == before[1]
    assert state.keys[kind][1] == before[1] and state.keys[kind][0] != before[0]
    assert served(authority, mltoken, kind) == served(authority, mltoken, kind, "--refresh") == "secondary"
    kill(agent)
    agent = begin(keyed(authority, kind))
    assert served(authority, mltoken, kind) == "secondary", "the slot outlives the agent"
    before = list(state.keys[kind])
    assert mltoken("--json", "rotate", "k").json() == {"slot": "primary"}
    assert state.keys[kind][0] == before[0] and state.keys[kind][1] != before[1]
    assert served(authority, mltoken, kind) == "primary"
    log = agent.log()
    assert "MARK" not in log and not any(key in log for key in state.keys[kind])


def test_a_changed_setting_rules_again(authority, begin, home, mltoken):
    agent = begin(keyed(authority))
    assert mltoken("rotate", "k").code == 0
    kill(agent)
    begin(keyed(authority, slot="primary"))
    assert served(authority, mltoken, "endpoint") == "primary"


@pytest.mark.parametrize("how", [{"first": 200}, {"first": 204}, {"location": "Location"}, {"location": "relative"},
                                 {"polls": 3}, {"location": "Location", "polls": 2}])
def test_every_form_of_the_operation(authority, begin, mltoken, how):
    for name, value in how.items():
        setattr(authority.azure_state, name, value)
    begin(keyed(authority))
    result = mltoken("rotate", "k")
    assert result.code == 0, result.err
    assert authority.azure_state.made == 1
    assert served(authority, mltoken, "endpoint") == "secondary"


@pytest.mark.parametrize("how, words", [
    ({"outcome": "Failed"}, "Failed: the deployment is busy"), ({"outcome": "Canceled"}, "Canceled"),
    ({"location": "none"}, "nothing says where"), ({"forgets": True}, "lists the same one"),
    ({"forbidden": {"regenerateKeys"}}, "onlineEndpoints/regenerateKeys/action"),
])
def test_an_operation_that_fails(authority, begin, mltoken, how, words):
    for name, value in how.items():
        setattr(authority.azure_state, name, value)
    begin(keyed(authority))
    old = mltoken("get", "k").out
    result = mltoken("rotate", "k")
    assert result.code == 5 and words in result.err and "the secondary key is served" in result.err, result.err
    assert served(authority, mltoken, "endpoint") == "secondary"
    for name, value in {"outcome": "Succeeded", "location": "Location", "forgets": False, "forbidden": set()}.items():
        setattr(authority.azure_state, name, value)
    assert mltoken("--json", "rotate", "k").json() == {"slot": "secondary"}, "it goes on with what was left"
    assert authority.azure_state.keys["endpoint"][0] != old.strip()
    assert served(authority, mltoken, "endpoint") == "secondary"


def test_an_operation_elsewhere_gets_no_token(authority, begin, mltoken):
    other = authority.listen()
    for origin in other, authority.http.replace("127.0.0.1", "127.0.0.2"), "http://127.0.0.1:1", "//127.0.0.1:1":
        authority.azure_state.origin = origin
        before = authority.count("arm_operation")
        begin(keyed(authority)) if origin == other else None
        result = mltoken("rotate", "k")
        assert result.code == 5 and "served and good" in result.err, result.err
        assert "another origin" in result.err or "cannot be read" in result.err
        assert authority.count("arm_operation") == before
    assert served(authority, mltoken, "endpoint") == "secondary"


def test_an_operation_that_hangs(authority, begin, mltoken):
    authority.azure_state.polls = 10 ** 6
    begin(keyed(authority, timeout=2))
    result = mltoken("rotate", "k")
    assert result.code == 6 and "has not ended within 40 s" in result.err and "secondary key is served" in result.err
    assert served(authority, mltoken, "endpoint") == "secondary"


def test_throttled_while_it_goes_on(authority, begin, mltoken):
    authority.fault("arm_operation", times=2, status=429, body="slow down", retry_after=0)
    begin(keyed(authority))
    assert mltoken("rotate", "k").code == 0


def test_a_key_that_is_not_there_is_not_switched_to(authority, begin, mltoken):
    authority.azure_state.keys["endpoint"][1] = ""
    begin(keyed(authority))
    result = mltoken("rotate", "k")
    assert result.code == 5 and "no secondary key" in result.err and "primary key is served as before" in result.err
    assert served(authority, mltoken, "endpoint") == "primary" and authority.azure_state.made == 0


def test_get_is_answered_while_it_goes_on_and_a_second_rotation_is_not(authority, begin, mltoken):
    authority.fault("arm_operation", hold=True)
    begin(keyed(authority))
    assert served(authority, mltoken, "endpoint") == "primary"
    rotation = mltoken.start("rotate", "k")
    wait_until(lambda: authority.count("arm_operation") == 1)
    assert served(authority, mltoken, "endpoint") == served(authority, mltoken, "endpoint", "--refresh") == "secondary"
    second = mltoken("rotate", "k")
    assert second.code == 6 and "being rotated already" in second.err
    authority.release()
    assert mltoken.finish(rotation).code == 0


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize("step, skip", [("arm_list", 0), ("arm_regenerate", 0), ("arm_operation", 0), ("arm_operation", 1),
                                        ("arm_list", 1)])
@pytest.mark.parametrize("process", [False, True])
def test_killed_at_each_step(authority, begin, mltoken, kind, step, skip, process):
    """Before the service did what it was asked, or after; what is served then is good, and the next rotation ends it."""
    if kind != "endpoint" and (step == "arm_operation" or skip):
        return
    agent = begin(keyed(authority, kind))
    old = list(authority.azure_state.keys[kind])
    authority.fault(step, skip=skip, **({"delay": 300} if process else {"hold": True}))
    rotation = mltoken.start("rotate", "k")
    wait_until(lambda: authority.count(step) == skip + 1)
    kill(agent)
    mltoken.finish(rotation)
    authority.clear_faults()
    agent = begin(keyed(authority, kind))
    slot = served(authority, mltoken, kind)
    assert slot == ("primary" if step == "arm_list" and skip == 0 else "secondary")
    result = mltoken("rotate", "k")
    assert result.code == 0, result.err
    assert served(authority, mltoken, kind) == "secondary"
    assert authority.azure_state.keys[kind][0] != old[0] and authority.azure_state.keys[kind][1] == old[1]


def test_the_doctor_looks_at_the_parent_and_at_where_the_slot_is_noted(authority, begin, mltoken):
    begin(keyed(authority))
    result = mltoken("doctor", "k")
    assert result.code == 0, result.out
    assert "k: its token is made from that of mgmt" in result.out and "k: store file" in result.out
    assert "mgmt: client_secret can be read" in result.out


@pytest.mark.parametrize("scope, fine", [("https://management.azure.com/.default", True), ("https://ml.azure.com/.default", False),
                                         ("api", False)])
def test_the_doctor_knows_what_lists_keys(authority, begin, home, mltoken, scope, fine):
    begin({"grant": "azureml_key", "authority": "https://management.azure.com" + ENDPOINT, "parent": "mgmt", "timeout": "1"},
          {"scope": scope})
    said = mltoken("doctor", "k", timeout=120).out
    assert ("k: its token is made from that of mgmt" in said) == fine
    assert ("set scope = https://management.azure.com/.default" in said) != fine
