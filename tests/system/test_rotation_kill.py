"""kill -9 of the agent and of the store at each step of a rotation and at random instants. MLTOKEN_KILLS: how many random
ones; `make torture` has 500, and injects at every call."""

import os
import random
import threading
import time
from collections import Counter

import pytest
from harness import Command, VarlinkError, wait_until
from rotation import GRACE, PROFILE, Rotation, kill

KILLS = int(os.environ.get("MLTOKEN_KILLS", "40"))
THOROUGH = KILLS >= 500
STORE_CALLS = ["write", "fsync", "renameat", "unlinkat"] + (["openat", "fcntl", "close", "read"] if THOROUGH else [])
AGENT_CALLS = ["sendto", "recvfrom", "read"] + (["write", "close", "epoll_wait", "epoll_ctl", "socket", "connect", "poll",
                                                 "getrandom", "timerfd_settime"] if THOROUGH else [])
MOST_CALLS = 400


@pytest.fixture
def rotate(authority, home):
    """rotate(grace): a sign-in that rotates."""
    made = []

    def make(grace):
        made.append(Rotation(authority, home, grace))
        return made[-1]

    yield make
    for rotation in made:
        rotation.end()


# at each step

@pytest.mark.parametrize("call", STORE_CALLS)
def test_the_store_killed_at_each_call_of_a_rotation(rotate, authority, call):
    rotation = rotate(GRACE)
    kills = Counter()
    for n in range(1, MOST_CALLS):
        rotation.fault_in_store(call, n)
        kills["answered"] += rotation.hear(rotation.send())
        struck = rotation.store_was_struck()
        rotation.look()
        rotation.goes_on()
        if not struck:
            break
        kills["kills"] += 1
    else:
        pytest.fail(f"{call} never ends")
    print(f"{call}: {dict(kills)}, {rotation.late} late")
    assert kills["kills"] >= {"write": 8, "fsync": 10, "renameat": 4}.get(call, 1)
    assert not authority.reuses or rotation.late


@pytest.mark.parametrize("call", AGENT_CALLS)
def test_the_agent_killed_at_each_call_of_a_rotation(rotate, authority, call):
    rotation = rotate(GRACE)
    rotation.goes_on()
    kills = Counter()
    for n in range(1, MOST_CALLS):
        with rotation.fault_in_agent(call, n):
            answered = rotation.hear(rotation.send())
            ended = rotation.agent_ended(3 if answered else 60)
        kills["answered"] += answered and ended
        kept = rotation.look()
        kills["in the window"] += kept["refresh_token"] != rotation.family.current
        if not ended:
            break
        kills["kills"] += 1
        rotation.restart()
        rotation.goes_on()
    else:
        pytest.fail(f"{call} never ends")
    print(f"{call}: {dict(kills)}, {rotation.late} late")
    assert kills["kills"] >= {"sendto": 4, "recvfrom": 4}.get(call, 1)
    assert kills["in the window"] or call not in ("sendto", "recvfrom")
    assert not authority.reuses or rotation.late


# at random instants

def length_of(rotation):
    """Of one rotation, in seconds."""
    started = time.monotonic()
    for _ in range(10):
        assert not isinstance(rotation.get(), VarlinkError)
    return (time.monotonic() - started) / 10


def kill_at_random(rotation, chance, longest, victim):
    """One rotation, and a kill in it: whether a token came."""
    timer = threading.Timer(chance.uniform(0, longest),
                            rotation.kill_store if victim == "store" else lambda: kill(rotation.agent.pid))
    connection = rotation.send()
    timer.start()
    answered = rotation.hear(connection)
    timer.join()
    if victim == "agent":
        rotation.agent.process.wait()
    rotation.settle()
    return answered


def test_killed_at_random_instants_with_grace(rotate, authority):
    rotation, chance, count = rotate(GRACE), random.Random(20261122), Counter()
    longest = length_of(rotation) * 1.2
    for round_ in range(KILLS):
        victim = "agent" if round_ % 2 == 0 else "store"
        count[victim + ", answered before"] += kill_at_random(rotation, chance, longest, victim)
        kept = rotation.look()
        count[victim + ", in the window"] += kept["refresh_token"] != rotation.family.current
        if victim == "agent":
            rotation.restart()
        rotation.goes_on()
    revoked = sum(f.revoked for f in authority.store.families.values())
    print(f"\n{KILLS} kills within {longest * 1000:.0f} ms of asking, grace {GRACE} s: {revoked} families revoked, "
          f"{rotation.late} late; {dict(count)}")
    assert revoked == rotation.late


def test_killed_at_random_instants_without_grace(rotate, authority, home):
    """A family is revoked when, and only when, an agent died between sending its refresh token and having the new one kept.
    Then the store has its mark, the log names what happened, and the command says what to do."""
    rotation, chance, count = rotate(0), random.Random(20261123), Counter()
    longest = length_of(rotation) * 1.2
    command = Command(home)
    for round_ in range(KILLS):
        victim = "agent" if round_ % 2 == 0 else "store"
        before = rotation.answered
        answered = kill_at_random(rotation, chance, longest, victim)
        kept = rotation.look()
        used = kept["refresh_token"] in rotation.family.used
        assert not rotation.family.revoked, "before anybody tried again"
        if victim == "agent":
            rotation.restart()
        if victim == "store" or not used:
            rotation.goes_on()
            continue
        # the window: sent (the authority used it up) and the new one not durable (the store has the used one, marked)
        count["in the window"] += 1
        assert kept["refresh_token"] == before and kept["sender"] and not answered
        error = command("get", PROFILE, "--refresh").failed(4)
        assert f"mltoken login {PROFILE}" in error and "reuse detection" in error, error
        log = rotation.agent.log()
        assert "an agent ended while it renewed this sign-in" in log
        assert [line for line in log.splitlines() if "why=LoginRequired" in line and "reuse detection" in line], log
        assert rotation.family.revoked
        rotation.sign_in_anew()
        rotation.goes_on()
    revoked = sum(f.revoked for f in authority.store.families.values())
    print(f"\n{KILLS} kills within {longest * 1000:.0f} ms of asking, no grace: {revoked} families revoked, all of them between "
          f"sending and durable ({dict(count)})")
    assert revoked == count["in the window"]


def test_killed_at_the_repeat_too(rotate, authority, home):
    """A refresh token goes out twice at most, whoever is killed how often: then a person has to come, and is told."""
    rotation = rotate(GRACE)
    before = rotation.kept()["refresh_token"]
    for sent in (1, 2):
        fault = authority.fault("token", hang="after")
        connection = rotation.send()
        wait_until(lambda hit=fault: hit.hits)
        assert rotation.kept()["uncertain"] == (sent == 2), "recorded before it was sent"
        rotation.restart()
        connection.close()
        authority.clear_faults()
    for _ in range(2):
        error = Command(home)("get", PROFILE, "--refresh").failed(4)
        assert "third try" in error and f"mltoken login {PROFILE}" in error
        rotation.restart()
    uses = [r.form["refresh_token"] for r in authority.requests("token", grant="refresh_token")]
    assert uses == [before, before] and not rotation.family.revoked


# asked to end

def test_an_orderly_end_keeps_what_comes(rotate, authority):
    """An agent that is asked to end while a refresh token is at the authority waits for the next one, and keeps it."""
    rotation = rotate(0)
    fault = authority.fault("token", hold=True, times=1)
    connection = rotation.send()
    wait_until(lambda: fault.hits)
    rotation.agent.process.terminate()
    assert not rotation.agent_ended(0.3)
    authority.release("token")
    rotation.agent.process.wait(60)
    connection.close()
    assert rotation.look()["refresh_token"] == rotation.family.current
    assert "sender" not in rotation.kept()
    rotation.agent = type(rotation.agent)(rotation.home).start()
    rotation.goes_on()
    assert not authority.reuses


def test_an_orderly_end_is_not_held_up_for_ever(rotate, authority):
    rotation = rotate(0)
    fault = authority.fault("token", hang="before")
    connection = rotation.send()
    wait_until(lambda: fault.hits)
    rotation.agent.process.terminate()
    rotation.agent.process.wait(60)
    connection.close()
