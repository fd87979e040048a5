"""mltoken-store-file: sealed files, attacked. The program is spoken to as the agent does."""

import fcntl
import hashlib
import os
import random
import shutil
import stat
import struct
import subprocess
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from store import BINDING, OTHER_BINDING, Ended, Store, frame

ROOT = os.geteuid() == 0
NOBODY = 65534
# mlock() does nothing under a sanitizer, and what was freed is kept aside, unwiped
PLAIN = pytest.mark.skipif(bool(os.environ.get("MLTOKEN_SAN")), reason="says nothing about memory under a sanitizer")
NO_LEAKS = {"ASAN_OPTIONS": "detect_leaks=0"}  # it cannot work under strace


class Place:
    """A home with a key file."""

    def __init__(self, path):
        self.home = path
        self.folder = path / "state" / "mltoken"
        self.key = path / "key"
        self.key.write_bytes(os.urandom(32))
        self.key.chmod(0o600)
        self.env = {"XDG_STATE_HOME": path / "state", "MLTOKEN_KEY_FILE": self.key}

    def open(self, without=(), **more):
        env = {k: v for k, v in {**self.env, **more.pop("env", {})}.items() if k not in without}
        return Store(env, **more)

    def files(self):
        return {p.name: p.read_bytes() for p in self.folder.iterdir() if p.name != "lock"}

    def restore(self, files):
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
            (self.folder / name).chmod(0o600)


@pytest.fixture
def place():
    """Not pytest's: another uid must get there."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield Place(Path(path))


@pytest.fixture
def store(place):
    with place.open() as store:
        yield store


def expect_fail(reply, kind, *words):
    assert (reply.result, reply.kind) == ("fail", kind), reply
    for word in words:
        assert word in reply.reason, reply
    assert "hunter2" not in reply.reason


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


# ---- keys ------------------------------------------------------------------------------------------------------------


def test_without_a_key_nothing_is_made(place):
    with place.open(without=["MLTOKEN_KEY_FILE"]) as store:
        for reply in store.get(), store.put(b"v"), store.ask("list"), store.ask("drop", profile="p"):
            expect_fail(reply, "unavailable", "systemd credential", "key_file")
        expect_fail(store.ask("unlock", b"hunter2"), "unavailable")
    assert not place.folder.parent.exists()
    with place.open() as store:
        assert store.get().result == "missing"
    assert not place.folder.parent.exists()


def test_a_passphrase(place):
    with place.open(without=["MLTOKEN_KEY_FILE"]) as store:
        assert store.ask("unlock", b"hunter2", new=1).result == "ok"
        expect_fail(store.ask("unlock", b"other", new=1), "denied")
        assert store.put(b"v").result == "ok"
        assert store.ask("lock").result == "ok"
        expect_fail(store.get(), "locked", "passphrase")
        expect_fail(store.put(b"x"), "locked")
        expect_fail(store.ask("list"), "locked")
        expect_fail(store.ask("unlock", b"hunter"), "locked")
        expect_fail(store.get(), "locked")
        assert store.ask("unlock", b"hunter2").result == "ok"
        assert store.get().value == b"v"
        expect_fail(store.ask("unlock", b"wrong"), "locked")  # takes nothing away
        assert store.get().value == b"v"
    with place.open() as store:  # a key file as well: the passphrase goes first
        expect_fail(store.get(), "locked")
        expect_fail(store.put(b"w", profile="q"), "locked")
        assert store.ask("unlock", b"hunter2").result == "ok"
        assert store.put(b"w", profile="q").result == "ok"
    assert all(content[10] == 2 for content in place.files().values())


def credential(place, content):
    folder = place.home / "credentials"
    folder.mkdir(exist_ok=True)
    path = folder / "mltoken-store-key"
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(0o440)
    return {"CREDENTIALS_DIRECTORY": folder}


def test_the_credential_goes_first_and_each_key_opens_its_own(place):
    with place.open() as store:
        store.put(b"old")
    env = credential(place, os.urandom(48))
    with place.open(env=env) as store:
        assert store.get().value == b"old"
        assert store.put(b"new", profile="q").result == "ok"
        expect_fail(store.ask("unlock", b"x", new=1), "denied", "credential")
    with place.open(env=env, without=["MLTOKEN_KEY_FILE"]) as store:
        assert store.get("q").value == b"new"
        expect_fail(store.get("p"), "unavailable", "p.sealed", "key file")
        expect_fail(store.put(b"x", "p"), "unavailable")  # nothing overwritten
        lines = store.ask("list").value.decode().splitlines()
        assert lines == ["p\t?\t?", f"q\trefresh_token\t{BINDING}"]
    with place.open(env=env) as store:
        assert store.get("p").value == b"old"
        assert store.put(b"moved", "p").result == "ok"
    with place.open(env=env, without=["MLTOKEN_KEY_FILE"]) as store:
        assert store.get("p").value == b"moved"
    with place.open() as store:
        expect_fail(store.get("q"), "unavailable", "credential")
    with place.open(env=credential(place, b"x" * 31)) as store:
        expect_fail(store.get("q"), "denied", "too short")  # and the key file is not taken in its place
    with place.open(env=credential(place, os.urandom(32))) as store:
        expect_fail(store.get("q"), "corrupt", "not the present one")


def test_a_key_file_moves_to_a_passphrase(place):
    with place.open() as store:
        store.put(b"v")
        assert store.ask("unlock", b"hunter2", new=1).result == "ok"
        assert store.get().value == b"v"
        assert store.put(b"w").result == "ok"
    with place.open(without=["MLTOKEN_KEY_FILE"]) as store:
        expect_fail(store.get(), "locked")
        assert store.ask("unlock", b"hunter2").result == "ok"
        assert store.get().value == b"w"


def test_key_files_that_are_not_used(place):
    with place.open() as store:
        store.put(b"v")
    good = place.key.read_bytes()

    def refused(kind, *words):
        with place.open() as store:
            expect_fail(store.get(), kind, *words)
            expect_fail(store.put(b"w"), kind)

    place.key.chmod(0o640)
    refused("denied", "0600")
    place.key.chmod(0o600)
    place.key.write_bytes(good[:31])
    refused("denied", "too short")
    place.key.write_bytes(b"x" * 4097)
    refused("denied", "too long")
    place.key.write_bytes(os.urandom(32))
    refused("corrupt", "not the present one")
    place.key.unlink()
    refused("unavailable", "does not exist")
    place.key.mkdir(0o700)
    refused("denied", "no regular file")
    place.key.rmdir()
    os.mkfifo(place.key, 0o600)
    refused("denied", "no regular file")
    place.key.unlink()
    if ROOT:
        place.key.write_bytes(good)
        place.key.chmod(0o600)
        os.chown(place.key, NOBODY, NOBODY)
        refused("denied", "does not belong")
        os.chown(place.key, 0, 0)
    else:
        place.key.write_bytes(good)
        place.key.chmod(0o600)
    with place.open() as store:
        assert store.get().value == b"v"


# ---- what may have happened to the files -------------------------------------------------------------------------------


def test_folders_that_are_not_used(place, store):
    store.put(b"v")

    def refused(*words):
        expect_fail(store.get(), "denied", *words)
        expect_fail(store.put(b"w"), "denied", *words)
        expect_fail(store.ask("list"), "denied", *words)

    for mode in 0o750, 0o701, 0o777:
        place.folder.chmod(mode)
        refused(str(place.folder), "0700")
    place.folder.chmod(0o700)
    moved = place.folder.with_name("elsewhere")
    place.folder.rename(moved)
    place.folder.symlink_to(moved)
    refused("symbolic link")
    place.folder.unlink()
    place.folder.write_bytes(b"")
    refused("no directory")
    place.folder.unlink()
    moved.rename(place.folder)
    if ROOT:
        os.chown(place.folder, NOBODY, NOBODY)
        refused("belongs to uid")
        os.chown(place.folder, 0, 0)
    assert store.get().value == b"v"


@pytest.mark.parametrize("name", ["p.sealed", "state", "lock"])
def test_files_that_are_not_used(place, store, name):
    store.put(b"v")
    path, aside = place.folder / name, place.folder / "aside"

    def refused(*words):
        expect_fail(store.get(), "denied", *words)
        expect_fail(store.put(b"w"), "denied", *words)

    path.chmod(0o644)
    refused(name, "0600")
    path.chmod(0o600)
    path.rename(aside)
    path.symlink_to(aside)
    refused(name)
    path.unlink()
    if name != "lock":
        os.mkfifo(path, 0o600)
        refused("no regular file")
        path.unlink()
    aside.rename(path)
    if ROOT:
        os.chown(path, NOBODY, NOBODY)
        refused("belongs to uid")
        os.chown(path, 0, 0)
    assert store.get().value == b"v"


@pytest.mark.parametrize("name", ["p.sealed", "state"])
def test_cut_at_every_length_and_changed_at_every_byte(place, store, name):
    store.put(b"the secret")
    store.put(b"another", profile="q")
    before = place.files()
    path, good = place.folder / name, before[name]

    def damaged(content, what):
        path.write_bytes(content)
        for reply in store.get(), store.put(b"w"), store.ask("drop", profile="p", name="refresh_token"):
            assert reply.result == "fail" and reply.kind in ("corrupt", "unavailable", "locked"), (what, reply)
        assert place.files() == {**before, name: content}, what
        assert store.get("q").result == ("ok" if name == "p.sealed" else "fail"), what

    for length in range(len(good)):
        damaged(good[:length], f"cut at {length}")
    for i in range(len(good)):
        for change in (0x01, 0x80) if i >= 11 else (1, 2, 3, 0x80):
            damaged(good[:i] + bytes([good[i] ^ change]) + good[i + 1:], f"byte {i} changed by {change}")
    damaged(good + b"\0", "longer")
    damaged(b"", "empty")
    damaged(b"x" * (5 << 20), "too long")
    for version in 0, 2, 255:
        path.write_bytes(good[:8] + bytes([version]) + good[9:])
        expect_fail(store.get(), "corrupt", f"format {version}")
    path.write_bytes(good)
    assert store.get().value == b"the secret"
    path.write_bytes(good[:40])
    assert (store.ask("drop", profile="p").result == "ok") == (name == "p.sealed")  # the person asked for it


def test_files_of_other_profiles_and_old_copies_are_found_out(place, store):
    store.put(b"used", profile="p")
    old = place.files()
    store.put(b"present", profile="p")
    store.put(b"other", profile="q")
    present = place.files()

    place.restore({"p.sealed": present["q.sealed"]})
    expect_fail(store.get("p"), "corrupt", "not this profile's")
    place.restore({"p.sealed": present["state"]})
    expect_fail(store.get("p"), "corrupt")
    place.restore({"p.sealed": old["p.sealed"]})
    expect_fail(store.get("p"), "corrupt", "not the newest", "logout p")
    expect_fail(store.put(b"x", "p"), "corrupt")
    assert store.get("q").value == b"other"
    with place.open() as later:
        expect_fail(later.get("p"), "corrupt", "not the newest")
    place.restore({"state": old["state"]})  # with it: what was changed since then shows
    with place.open() as later:
        assert later.get("p").value == b"used"
        expect_fail(later.get("q"), "corrupt", "not the newest")
    expect_fail(store.get("p"), "corrupt", "older than what this agent has seen")
    expect_fail(store.put(b"x", "p"), "corrupt", "older")
    place.restore(present)
    assert store.get("p").value == b"present"
    (place.folder / "state").unlink()
    expect_fail(store.get("p"), "corrupt", "state is missing")
    expect_fail(store.put(b"x", "new"), "corrupt", "state is missing")
    assert not (place.folder / "new.sealed").exists()
    place.restore(present)

    reply = store.ask("drop", profile="p")
    assert reply.result == "ok", reply
    place.restore({"p.sealed": present["p.sealed"]})  # signed out, and back from a copy
    expect_fail(store.get("p"), "corrupt", "not the newest")
    assert store.ask("drop", profile="p").result == "ok"
    assert store.put(b"again", "p").result == "ok"
    place.restore({"p.sealed": present["p.sealed"]})
    expect_fail(store.get("p"), "corrupt", "not the newest")


def test_the_whole_folder_put_back_is_seen_by_who_saw_more(place, store):
    store.put(b"used")
    copy = place.home / "copy"
    shutil.copytree(place.folder, copy)
    store.put(b"present")
    shutil.rmtree(place.folder)
    shutil.copytree(copy, place.folder)
    expect_fail(store.get(), "corrupt", "put back from a copy")
    with place.open() as later:  # and, as sealed_vault.h says, by nobody after a restart
        assert later.get().value == b"used"


def test_a_folder_that_was_removed_begins_anew_with_larger_versions(place, store):
    store.put(b"1")
    store.put(b"2")
    shutil.rmtree(place.folder)
    assert store.get().result == "missing"
    assert store.put(b"3").version == 3


# ---- two of them -------------------------------------------------------------------------------------------------------


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


# ---- disks -------------------------------------------------------------------------------------------------------------


def mounted(place, commands):
    """A store in a mount namespace of its own."""
    unshare = ["unshare", "-m"] if ROOT else ["unshare", "-rm"]
    return place.open(prefix=[*unshare, "sh", "-c", f'set -e; cd "$XDG_STATE_HOME"; {commands}; cd /; exec "$0"'],
                      env={"PATH": os.environ["PATH"]})


@pytest.mark.parametrize("size", [24, 40, 64])
def test_a_full_disk_loses_nothing(place, size):
    (place.home / "state").mkdir()
    kept, chance = {}, random.Random(size)
    with mounted(place, f"mount -t tmpfs -o size={size}k,mode=700 none .") as store:
        failed = 0
        for i in range(60):
            profile, value = f"p{i % 7}", os.urandom(chance.choice([10, 3000, 9000, 20000]))
            reply = store.put(value, profile=profile)
            if reply.result == "ok":
                kept[profile] = value
            else:
                expect_fail(reply, "full")
                failed += 1
            for name, held in kept.items():
                assert store.get(name).value == held
        assert failed > 5 and kept
        for profile in list(kept):
            reply = store.ask("drop", profile=profile)
            assert reply.result == "ok" or reply.kind == "full", reply
            assert store.get(profile).result == "missing"  # what shall be forgotten is


def test_a_read_only_disk_can_be_read(place):
    with place.open() as store:
        store.put(b"v")
    before = place.files()
    (place.folder / "lock").unlink()
    with mounted(place, "mount --bind . .; mount -o remount,bind,ro .; cd .") as store:
        assert store.get().value == b"v"
        expect_fail(store.put(b"w"), "denied", "Read-only")
        expect_fail(store.ask("drop", profile="p"), "denied", "Read-only")
        assert store.get().value == b"v"
    assert place.files() == before


# ---- kill -9 -----------------------------------------------------------------------------------------------------------

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


# ---- memory ------------------------------------------------------------------------------------------------------------


def scan(pid, needle):
    """Where `needle` is in the memory of a process."""
    found = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            start, end = (int(x, 16) for x in line.split()[0].split("-"))
            if "r" not in line.split()[1] or "[v" in line:
                continue
            try:
                memory.seek(start)
                if needle in memory.read(end - start):
                    found.append(line.strip())
            except OSError:
                pass
    return found


def status(pid, key):
    with open(f"/proc/{pid}/status") as lines:
        return next(line.split()[1] for line in lines if line.startswith(key + ":"))


def derived(key):
    """What the program makes of a key file (libsodium's crypto_kdf): the root, and the key that seals."""
    root = hashlib.blake2b(key, digest_size=32, key=b"mltoken-store-file key").digest()
    return root, hashlib.blake2b(digest_size=32, key=root, salt=(1).to_bytes(16, "little"), person=b"mltkfile".ljust(16, b"\0")).digest()


@PLAIN
@pytest.mark.skipif(not ROOT, reason="only root can look")
def test_lock_forgets_the_keys(place, store):
    store.put(b"v")
    root, key = derived(place.key.read_bytes())
    assert scan(store.process.pid, key) and not scan(store.process.pid, root)
    assert store.ask("lock").result == "ok"
    assert not scan(store.process.pid, key[:16]) and not scan(store.process.pid, key[16:])
    assert store.get().value == b"v"  # read anew: it is the agent that is locked


@PLAIN
def test_nothing_is_left_in_memory_or_in_files(place, store):
    secret, passphrase = b"CANARY" + os.urandom(20).hex().encode(), b"PASSPHRASE-CANARY-hunter2"
    pid = store.process.pid
    store.put(b"x" * 2000)
    store.put(secret)
    store.put(secret, name="again")
    assert store.get().value == secret
    assert store.put(b"y", expect=1).value == secret
    store.ask("unlock", passphrase, new=1)
    store.put(secret, name="third")
    store.ask("lock")
    expect_fail(store.ask("unlock", passphrase + b"wrong"), "locked")
    store.ask("unlock", passphrase)
    assert store.get().value == secret
    store.ask("drop", profile="p", name="again")
    assert int(status(pid, "VmLck")) >= 2 * 72
    assert store.hello.fields["memory"] == "locked"
    with open(f"/proc/{pid}/limits") as limits:
        assert "Max core file size        0                    0" in limits.read()
    if ROOT:
        key = place.key.read_bytes()
        assert scan(pid, b"mltoken-store-file key")  # it sees what is there
        for text in secret, passphrase, key:
            for i in range(0, len(text) - 11, 4):  # a part may be overwritten by chance
                assert not scan(pid, text[i:i + 12]), (text, i)
    else:
        with pytest.raises(PermissionError):
            open(f"/proc/{pid}/mem", "rb")
    for content in place.files().values():
        assert secret not in content and passphrase not in content and b"refresh_token" not in content


@PLAIN
@pytest.mark.skipif(not ROOT, reason="gives up rights that only root has")
def test_memory_that_cannot_be_locked_is_told_of(place):
    os.chown(place.home, NOBODY, NOBODY)
    os.chown(place.key, NOBODY, NOBODY)
    program = os.path.join(os.path.abspath(os.environ.get("MLTOKEN_BUILD", "build")), "mltoken-store-file")
    if subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", "test", "-x", program], check=False).returncode:
        copy = place.home / "mltoken-store-file"
        shutil.copy(program, copy)
        copy.chmod(0o755)
        program = str(copy)
    room = -(-(65536 + 8192 + 8) // 4096) * 4096  # of requests, and of answers
    for limit, said in (0, "unlocked"), (65536, "unlocked"), (2 * room, "unlocked"), (1 << 20, "locked"):
        prefix = ["setpriv", "--reuid=65534", "--clear-groups", "prlimit", f"--memlock={limit}:{limit}", "sh", "-c", f'exec {program}']
        with place.open(prefix=prefix, env={"PATH": os.environ["PATH"]}) as store:
            assert store.hello.fields["memory"] == said, limit
            assert store.put(b"v").result == "ok" and store.get().value == b"v"
