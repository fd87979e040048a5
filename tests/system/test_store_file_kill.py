"""mltoken-store-file, killed at every call and at random instants (MLTOKEN_KILLS of them)."""

import os
import random
import shutil
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from store import Ended
from store_place import place  # noqa: F401

NO_LEAKS = {"ASAN_OPTIONS": "detect_leaks=0"}  # it cannot work under strace
CALLS = ["write", "fsync", "renameat", "unlinkat", "openat", "fcntl", "close", "mkdir"]


def look(place, answered, allowed, profile="p"):
    """What is there after a crash, and that life goes on."""
    with place.open() as store:
        reply = store.get(profile)
        value = reply.value if reply.result == "ok" else None
        assert reply.result in ("ok", "missing"), reply
        assert value in allowed, (value, allowed)
        if answered is not None:
            assert value == answered[0]
        assert store.get("bystander").result in ("ok", "missing")
        assert store.put(b"no", profile, expect=999).result == "conflict"  # a writer that writes nothing
        reply = store.get(profile)
        assert (reply.value if reply.result == "ok" else None) == value
        assert store.put(b"after", "q").result == "ok"
        reply = store.get(profile)
        assert (reply.value if reply.result == "ok" else None) == value
        assert store.put(b"after", profile).result == "ok" and store.get(profile).value == b"after"
    assert not [p.name for p in place.folder.iterdir() if "~" in p.name]


def crash_each(place, prepare, act):
    """Kills the program at the n-th of each call, for each n until a run is untouched."""
    for call in CALLS:
        for n in range(1, 200):
            shutil.rmtree(place.home / "state", ignore_errors=True)
            prepare()
            strace = ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", "trace=" + call, "-e",
                      f"inject={call}:signal=SIGKILL:when={n}"]
            store = place.open(prefix=strace, hello=False, env={"PATH": os.environ["PATH"], **NO_LEAKS})
            answered = None
            try:
                store.read()
                answered = act(store)
                status = store.end()
            except Ended:
                store.socket.close()
                store.process.stderr.close()
                status = store.process.wait(30)
            if status == 0:
                break
            yield call, answered
        else:
            pytest.fail(f"{call} never ends")


@pytest.mark.parametrize("what", ["first", "replace", "drop"])
def test_killed_at_every_step(place, what):
    def prepare():
        if what != "first":
            with place.open() as store:
                assert store.put(b"bystander", "bystander").result == "ok"
                assert store.put(b"old").result == "ok"

    def act(store):
        reply = store.ask("drop", profile="p") if what == "drop" else store.put(b"new")
        assert reply.result == "ok", reply
        return [None if what == "drop" else b"new"]

    allowed = {"first": [None, b"new"], "replace": [b"old", b"new"], "drop": [b"old", None]}[what]
    kills = Counter()
    for call, answered in crash_each(place, prepare, act):
        kills[call] += 1
        if what != "first":
            with place.open() as store:
                assert store.get("bystander").value == b"bystander"
        look(place, answered, allowed)
    print(what, dict(kills))
    assert kills["fsync"] >= (3 if what == "drop" else 5) and kills["renameat"] == (1 if what == "drop" else 2)


def test_killed_at_random_instants(place):
    """Values grow; what is found is the newest that was answered with, or the one that was on its way."""
    count = int(os.environ.get("MLTOKEN_KILLS", "40"))
    answered = 0
    with place.open() as store:
        store.put(b"0")
    for _ in range(count):
        store = place.open()
        timer = threading.Timer(random.uniform(0, 0.04), store.process.kill)
        timer.start()
        sent = answered
        try:
            while True:
                sent += 1
                assert store.put(b"%d" % sent, profile="p").result == "ok"
                answered = sent
        except Ended:
            pass
        timer.join()
        store.socket.close()
        store.process.stderr.close()
        store.process.wait(10)
        with place.open() as later:
            found = int(later.get().value)
            assert found in (answered, sent), (answered, sent, found)
            answered = found
            assert later.put(b"x", profile="q").result == "ok"
    assert answered > count / 4


def test_several_that_are_killed_lose_nothing(place):
    """Three agents of one user rotate one token against each other and are killed: nobody ever reads an older one than was
    answered with before it asked."""
    rounds = int(os.environ.get("MLTOKEN_KILLS", "40")) // 3
    newest, lock, kills = [0], threading.Lock(), []

    def run():
        for _ in range(rounds):
            store = place.open()
            timer = threading.Timer(random.uniform(0, 0.05), store.process.kill)
            timer.start()
            try:
                while True:
                    with lock:
                        known = newest[0]
                    held = store.get()
                    assert (held.version or 0) >= known, (held, known)
                    reply = store.put(b"%d" % ((held.version or 0) + 1), expect=held.version or 0)
                    assert reply.result in ("ok", "conflict"), reply
                    with lock:
                        newest[0] = max(newest[0], reply.version)
            except Ended:
                kills.append(1)
            timer.join()
            store.socket.close()
            store.process.stderr.close()
            store.process.wait(10)

    with ThreadPoolExecutor(3) as pool:
        for job in [pool.submit(run) for _ in range(3)]:
            job.result()
    assert len(kills) == 3 * rounds
    with place.open() as store:
        assert newest[0] <= store.get().version <= newest[0] + 3
