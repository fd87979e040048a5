"""grant = static: a key or bearer that somebody else issued, in two slots, with an end."""

import json
import os
import signal
import time

import pytest

from harness import PATIENCE, service, wait_until

DAY = 86400


def day(days):
    return time.strftime("%Y-%m-%d", time.gmtime(time.time() + days * DAY))


def instant(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


def keyed(home, value="keyMARK0123456789", **more):
    return {"grant": "static", "token": home.secret(value, "token"), **more}


def test_a_key_in_a_file(home, start_agent, mltoken):
    home.config({"k": keyed(home, header="api-key: {token}")})
    start_agent()
    assert mltoken("get", "k").out == "keyMARK0123456789\n"
    assert mltoken("get", "k", "--header").out == "api-key: keyMARK0123456789\n"
    token = json.loads(mltoken("get", "k", "--json").out)
    assert "expiresAt" not in token, "nobody said that it ends"
    assert mltoken("status", "k").code == 0


def test_a_key_in_the_store(home, start_agent, mltoken):
    home.config({"k": {"grant": "static", "token": "stored", "store": "memory"}})
    start_agent()
    missing = mltoken("get", "k")
    assert missing.code == 3 and "mltoken secret set k token" in missing.err
    assert mltoken("secret", "set", "k", "token", input="firstMARK").code == 0
    assert mltoken("get", "k").out == "firstMARK\n"
    assert mltoken("secret", "set", "k", "token", input="secondMARK").code == 0
    assert mltoken("get", "k").out == "secondMARK\n", "a stored key is served as it is now"
    assert mltoken("secret", "clear", "k", "token").code == 0
    assert mltoken("get", "k").code == 3


def test_who_watches_is_told_of_a_new_one(home, start_agent, mltoken, varlink):
    home.config({"k": {"grant": "static", "token": "stored", "store": "memory"}})
    start_agent()
    assert mltoken("secret", "set", "k", "token", input="firstMARK").code == 0
    watch = varlink().more("Watch", profile="k")
    assert next(watch)["token"]["value"] == "firstMARK"
    assert mltoken("secret", "set", "k", "token", input="secondMARK").code == 0
    assert next(watch)["token"]["value"] == "secondMARK"


def test_an_end(home, start_agent, mltoken):
    home.config({"k": keyed(home, expires=day(400)), "soon": keyed(home, expires=instant(3600))})
    start_agent()
    token = json.loads(mltoken("get", "k", "--json").out)
    assert abs(token["expiresAt"] - time.time() - 400 * DAY) < DAY + 60, "the end is the token's, beyond a year too"
    token = json.loads(mltoken("get", "soon", "--json").out)
    assert abs(token["expiresAt"] - time.time() - 3600) < PATIENCE
    assert mltoken("get", "soon", "--min-valid", "7200").code == 9


def test_after_the_end_it_is_refused(home, start_agent, mltoken):
    home.config({"k": keyed(home, expires=day(-2))})
    agent = start_agent()
    result = mltoken("get", "k")
    assert result.code == 3 and "ended on " + day(-2) in result.err, result.err
    assert result.out == ""
    assert "keyMARK" not in agent.log()


def test_it_ends_while_it_is_served(home, start_agent, mltoken):
    home.config({"k": keyed(home, expires=instant(20))})
    start_agent()
    assert mltoken("get", "k").code == 0
    assert wait_until(lambda: mltoken("get", "k").code, step=0.5) == 3


def test_the_second_slot_takes_over(home, start_agent, mltoken):
    second = home.secret("otherMARK", "second")
    home.config({"k": keyed(home, expires=instant(20), token_secondary=second)})
    start_agent()
    assert mltoken("get", "k").out == "keyMARK0123456789\n"
    assert wait_until(lambda: mltoken("get", "k").out.replace("keyMARK0123456789\n", ""), step=0.5) == "otherMARK\n"


def test_the_second_slot_when_the_first_is_empty(home, start_agent, mltoken):
    home.config({"k": {"grant": "static", "token": "stored", "token_secondary": "stored", "store": "memory"}})
    start_agent()
    assert mltoken("secret", "set", "k", "token_secondary", input="otherMARK").code == 0
    assert mltoken("get", "k").out == "otherMARK\n"
    assert mltoken("secret", "set", "k", "token", input="firstMARK").code == 0
    assert mltoken("get", "k").out == "firstMARK\n"


def test_a_slot_can_be_chosen(home, start_agent, mltoken):
    second = home.secret("otherMARK", "second")
    home.config({"k": keyed(home, token_secondary=second, slot="secondary")})
    start_agent()
    assert mltoken("get", "k").out == "otherMARK\n"


@pytest.mark.parametrize("days, words", [(120, None), (80.5, "80 d"), (20.5, "20 d"), (5.5, "5 d"), (0.5, " h"), (-2, "has ended")])
def test_warnings_in_status(home, start_agent, mltoken, days, words):
    home.config({"k": keyed(home, expires=instant(days * DAY))})
    start_agent()
    shown = mltoken("status")
    assert shown.code == 0
    if words:
        assert "k: the last token" in shown.err and words in shown.err, shown.err
    else:
        assert "token" not in shown.err
    mltoken("get", "k")
    mltoken("get", "k", "--refresh")


def test_warnings_in_the_log_once_for_each_mark(home, start_agent, mltoken):
    home.config({"k": keyed(home, expires=instant(20 * DAY))})
    agent = start_agent()
    for _ in range(3):
        assert mltoken("get", "k", "--refresh").code == 0
    assert agent.log().count("the last token ends in") == 1


@pytest.mark.parametrize("keys, words", [
    ({"expires": "tomorrow"}, "2027-01-31"),
    ({"expires": "2026-02-30"}, "2027-01-31"),
    ({"expires_secondary": "2027-01-31"}, "token_secondary"),
    ({"slot": "third"}, "primary or secondary"),
    ({"slot": "secondary"}, "no token"),
    ({"token": None}, "needs token"),
    ({"token": "keyMARK0123456789"}, "token"),
])
def test_mistakes_in_the_profile(home, mltoken, keys, words):
    path = home.config({"k": {**keyed(home), **keys}})
    result = mltoken("config", "check", path)
    assert result.code == 3 and words in result.out + result.err, result.err
    assert "keyMARK" not in result.out + result.err


@pytest.mark.parametrize("value", ["two words", "über", "x" * 110000])
def test_what_no_header_can_carry(home, start_agent, mltoken, value):
    home.config({"k": keyed(home, value)})
    agent = start_agent()
    result = mltoken("get", "k")
    assert result.code == 3 and result.out == "", result.err
    assert value not in result.err + agent.log()


# ---- two slots in the store, rotated ----


def two(home, start_agent, mltoken, **more):
    """Two keys in a store that outlives the agent; the primary is served."""
    home.config({"k": {"grant": "static", "token": "stored", "token_secondary": "stored", "store": "file", **more}},
                {"key_file": home.write("key", os.urandom(32).hex())})
    agent = start_agent()
    assert mltoken("secret", "set", "k", "token", input="firstMARK").code == 0
    assert mltoken("secret", "set", "k", "token_secondary", input="secondMARK").code == 0
    assert mltoken("get", "k").out == "firstMARK\n"
    assert slot(mltoken) == "primary"
    return agent


def slot(mltoken):
    return mltoken("status", "k", "--json").ok().json().get("slot")


def test_rotating_serves_the_other_slot_also_after_a_restart(home, start_agent, mltoken, varlink):
    agent = two(home, start_agent, mltoken)
    watch = varlink().more("Watch", profile="k")
    assert next(watch)["token"]["value"] == "firstMARK"
    result = mltoken("rotate", "k")
    assert result.code == 0 and "secondary is served" in result.out, result.err
    assert next(watch)["token"]["value"] == "secondMARK"
    assert slot(mltoken) == "secondary" and "slot: secondary" in mltoken("status", "k").out
    assert mltoken("get", "k").out == "secondMARK\n"
    assert mltoken("get", "k", "--refresh").out == "secondMARK\n"
    agent.expect_exit = -signal.SIGKILL
    os.kill(agent.pid, signal.SIGKILL)
    agent.process.wait()
    start_agent()
    assert mltoken("get", "k").out == "secondMARK\n"
    assert slot(mltoken) == "secondary"
    assert mltoken("--json", "rotate", "k").json() == {"slot": "primary"}
    assert mltoken("get", "k").out == "firstMARK\n"


def test_a_slot_that_is_not_there_is_not_rotated_to(home, start_agent, mltoken):
    two(home, start_agent, mltoken)
    assert mltoken("secret", "clear", "k", "token_secondary").code == 0
    refused = mltoken("rotate", "k")
    assert refused.code == 3 and "token_secondary" in refused.err, refused.err
    assert mltoken("get", "k", "--refresh").out == "firstMARK\n"


def test_a_slot_that_has_ended_is_not_rotated_to(home, start_agent, mltoken):
    two(home, start_agent, mltoken, expires_secondary=day(-2))
    refused = mltoken("rotate", "k")
    assert refused.code == 3 and "token_secondary ended" in refused.err, refused.err
    assert mltoken("get", "k", "--refresh").out == "firstMARK\n"


def test_after_rotating_the_end_of_the_one_leaves_the_other(home, start_agent, mltoken):
    two(home, start_agent, mltoken)
    assert mltoken("rotate", "k").code == 0
    assert mltoken("secret", "clear", "k", "token_secondary").code == 0
    assert mltoken("get", "k").out == "firstMARK\n"


@pytest.mark.parametrize("more, words", [({"slot": "primary"}, "slot in the configuration"),
                                         ({"token_secondary": None}, "but one token")])
def test_what_cannot_be_rotated_says_what_to_do(home, start_agent, mltoken, more, words):
    home.config({"k": {"grant": "static", "token": "stored", "token_secondary": "stored", "store": "memory", **more},
                 "f": keyed(home, token_secondary=home.secret("other", "other"))})
    start_agent()
    refused = mltoken("rotate", "k")
    assert refused.code == 3 and words in refused.err, refused.err
    refused = mltoken("rotate", "f")
    assert refused.code == 3 and "not both in the store" in refused.err
    assert mltoken("rotate").code == 2 and mltoken("rotate", "nobody").code == 3


def test_a_grant_without_slots_is_not_rotated(authority, home, start_agent, mltoken):
    home.config({"svc": service(authority, home)})
    start_agent()
    refused = mltoken("rotate", "svc")
    assert refused.code == 3 and "get --refresh" in refused.err


def test_a_store_that_cannot_keep_the_slot_leaves_the_old_one_served(home, start_agent, mltoken):
    two(home, start_agent, mltoken)
    folder = os.path.join(home.state, "mltoken")
    place = os.path.join(folder, "k.sealed")
    os.rename(place, place + ".aside")
    os.mkdir(place)
    refused = mltoken("rotate", "k")
    os.rmdir(place)
    os.rename(place + ".aside", place)
    assert refused.code == 8, refused.err
    assert mltoken("get", "k").out == "firstMARK\n"
    assert mltoken("get", "k", "--refresh").out == "firstMARK\n"
