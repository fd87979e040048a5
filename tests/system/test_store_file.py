"""mltoken-store-file: what it says to the agent, and to two of them. The program is spoken to as the agent does."""

import fcntl
import os
import stat
import struct
import threading

import pytest

from store import BINDING, OTHER_BINDING, Ended, frame
from store_place import expect_fail, place, store  # noqa: F401

# ---- the protocol ----------------------------------------------------------------------------------------------------


def test_a_secret_comes_back_as_it_was_and_to_its_receivers_alone(place, store):
    assert store.hello.fields["name"] == "file" and store.hello.fields["hello"] == "1"
    assert store.get().result == "missing"
    value = bytes(range(256)) * 3
    assert store.put(value).version == 1
    reply = store.get()
    assert (reply.result, reply.version, reply.value) == ("ok", 1, value)
    reply = store.get(binding=OTHER_BINDING)
    assert (reply.result, reply.value) == ("bound", b"")
    assert store.get(name="other").result == "missing" and store.get(profile="q").result == "missing"
    with place.open() as later:
        assert later.get().value == value
    for path in [place.folder, *place.folder.iterdir()]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert sorted(p.name for p in place.folder.iterdir()) == ["lock", "p.sealed", "state"]


def test_expect_keeps_a_rotated_token_from_an_older_one(store):
    assert store.put(b"one", expect=7).result == "conflict"
    assert store.put(b"one", expect=0).version == 1
    reply = store.put(b"other", expect=0)
    assert (reply.result, reply.version, reply.value) == ("conflict", 1, b"one")
    assert store.put(b"two", expect=1).version == 2
    reply = store.put(b"late", expect=1)
    assert (reply.result, reply.version, reply.value) == ("conflict", 2, b"two")
    reply = store.put(b"late", expect=1, binding=OTHER_BINDING)  # newer, and for others: not told
    assert (reply.result, reply.version, reply.value) == ("bound", 2, b"")
    assert store.get().value == b"two"
    assert store.put(b"three", binding=OTHER_BINDING).result == "ok"  # a new sign-in, under new settings
    assert store.get().result == "bound" and store.get(binding=OTHER_BINDING).value == b"three"
    before = store.get(binding=OTHER_BINDING).version
    assert store.ask("drop", profile="p").result == "ok"
    reply = store.put(b"late", expect=before)
    assert (reply.result, reply.version) == ("conflict", 0)
    assert store.put(b"new").version > before  # also across its removal


def test_drop_takes_one_or_all(place, store):
    assert store.ask("drop", profile="p").result == "ok" and not place.folder.exists()
    store.put(b"1")
    store.put(b"2", name="client_secret")
    store.put(b"3", profile="q")
    assert store.ask("drop", profile="p", name="none").result == "ok"
    assert store.ask("drop", profile="p", name="refresh_token").result == "ok"
    assert store.get().result == "missing" and store.get(name="client_secret").value == b"2"
    assert store.ask("drop", profile="p", name="client_secret").result == "ok"
    assert not (place.folder / "p.sealed").exists()
    assert store.ask("drop", profile="q").result == "ok" and store.ask("drop", profile="q").result == "ok"
    assert store.ask("list").value == b""


def test_list_comes_in_pages(store):
    wanted = []
    for i in range(60):
        for j in range(10):
            profile, name = f"{'x' * 55}{i:03}", f"{'n' * 28}{j}"
            wanted.append(f"{profile}\t{name}\t{BINDING}")
            assert store.put(b"v", profile=profile, name=name).result == "ok"
    got, after, pages = [], {}, 0
    while True:
        reply = store.ask("list", **after)
        assert reply.result == "ok" and len(reply.value) <= 65536
        lines = reply.value.decode().splitlines()
        got += lines
        pages += 1
        if reply.fields.get("more") != "1":
            break
        after = {"after": lines[-1].split("\t")[0]}
    assert pages == 2 and got == wanted
    assert len(store.ask("list", profile="x" * 55 + "007").value.splitlines()) == 10


def test_sizes_at_their_limit(store):
    for size in 1, 65535, 65536:
        value = os.urandom(size)
        assert store.put(value).result == "ok"
        assert store.get().value == value
    expect_fail(store.put(b"x" * 65537), "invalid")
    expect_fail(store.put(b""), "invalid")
    name, profile = "n" * 32, "P" * 64
    assert store.put(b"v", profile=profile, name=name).result == "ok"
    assert store.get(profile=profile, name=name).value == b"v"
    for wrong in {"profile": "P" * 65}, {"name": "n" * 33}, {"profile": "a/b"}, {"profile": ""}, {"binding": "a" * 63}, \
            {"binding": "A" * 64}, {"name": "N"}:
        expect_fail(store.get(**wrong), "invalid")
    expect_fail(store.put(b"v", expect="x"), "invalid")
    expect_fail(store.ask("get", name="n", binding=BINDING), "invalid")
    expect_fail(store.ask("dance"), "unsupported")
    for i in range(32):
        assert store.put(b"v", profile="many", name=f"n{i}").result == "ok"
    expect_fail(store.put(b"v", profile="many", name="n32"), "full")
    for i in range(16):
        reply = store.put(b"x" * 65536, profile="large", name=f"n{i}")
    expect_fail(reply, "full")
    assert store.get("large", "n14").value == b"x" * 65536
    for profile in "state", "lock", ".", "..", "new", "state.sealed":
        assert store.put(profile.encode(), profile=profile).result == "ok"
    for profile in "state", "lock", ".", "..", "new", "state.sealed":
        assert store.get(profile=profile).value == profile.encode()


@pytest.mark.parametrize("garbage", [
    b"\xff\xff\xff\xff", struct.pack(">I", 65536 + 8192 + 1), struct.pack(">I", 3) + b"abc", frame({}), frame({"op": "get"}),
    frame({"id": "1 2", "op": "get"}), struct.pack(">I", 15) + b"id=1\nid=2\nop=x\n", struct.pack(">I", 18) + b"id=1\nop\0x=get\n\n..",
    struct.pack(">I", 19) + b"id=1\nop=get\nid=1\n\n.", struct.pack(">I", 12) + b"id=1\nop=\x01a\n", b"\0\0",
    frame({f"k{'x' * i}": "v" for i in range(13)})])
def test_garbage_ends_it(place, garbage):
    with place.open() as store:
        store.socket.sendall(garbage)
        store.socket.shutdown(1)
        with pytest.raises(Ended):
            store.read()
        assert store.process.wait(10) == 1


def test_requests_may_come_in_pieces_and_in_rows(store):
    parts = frame({"op": "put", "id": "a", "profile": "p", "name": "n", "binding": BINDING, "unknown": "x"}, b"value")
    for i in range(len(parts)):
        store.socket.sendall(parts[i:i + 1])
    assert store.read().fields["id"] == "a"
    store.socket.sendall(b"".join(frame({"op": "get", "id": i, "profile": "p", "name": "n", "binding": BINDING}) for i in range(50)))
    for i in range(50):
        reply = store.read()
        assert (reply.fields["id"], reply.value) == (str(i), b"value")
    assert store.end() == 0


# ---- two of them -----------------------------------------------------------------------------------------------------


def test_two_agents_lose_no_update(place):
    """Each reads, adds one and puts with what it expects: as many were added as were answered with ok."""
    with place.open() as store:
        store.put(b"0")
    added, conflicts = [], []

    def run():
        with place.open() as store:
            for _ in range(60):
                held = store.get()
                reply = store.put(b"%d" % (int(held.value) + 1), expect=held.version)
                if reply.result == "conflict":
                    assert reply.version > held.version and int(reply.value) > int(held.value)
                    conflicts.append(1)
                else:
                    assert reply.result == "ok", reply
                    added.append(1)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(added) + len(conflicts) == 180 and conflicts
    with place.open() as store:
        assert int(store.get().value) == len(added)


def test_a_lock_that_is_held_is_told_of_in_time(place, store):
    store.put(b"v")
    with open(place.folder / "lock", "r+b") as held:
        fcntl.fcntl(held, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 0, 0, 0))
        assert store.get().value == b"v"  # readers do not disturb each other
        expect_fail(store.put(b"w"), "busy", "another agent")
    assert store.put(b"w").result == "ok"
