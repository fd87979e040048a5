"""A rotation with a disk that is full, read-only, not ours, or holds something else than it should: seen from the command.
Each says what it is, nothing is lost, nothing is overwritten, and it goes on when it is mended."""

import os
import subprocess

import pytest
from harness import Command, wait_until
from mounts import in_mounts, take_off
from rotation import PROFILE, Rotation
from store import Store

ROOT = os.geteuid() == 0
NOBODY = 65534
needs_root = pytest.mark.skipif(not ROOT, reason="gives files away, and changes mounts that another process sees")


@pytest.fixture
def rotation(authority, home):
    rotation = Rotation(authority, home, 0, faults=False)
    yield rotation
    rotation.end()


@pytest.fixture
def small(authority, home):
    """The same on a disk of the agent's own, of 80 KiB. `seen` is the folder as the agent sees it."""
    start = os.path.join(home.path, "agent-with-mounts")
    with open(start, "w", encoding="utf-8") as f:
        words = in_mounts("mount -t tmpfs -o size=80k,mode=700 none .")
        f.write("#!/bin/sh\nexec " + " ".join(quote(word) for word in words) + f' {home.agent_program} "$@"\n')
    os.chmod(start, 0o755)
    home.agent_program = start
    rotation = Rotation(authority, home, 0, faults=False, seen=lambda agent: f"/proc/{agent.pid}/root{home.state}")
    yield rotation
    rotation.end()
    take_off(home.state)


def quote(word):
    return "'" + word.replace("'", "'\\''") + "'"


def used(authority):
    return [r.form["refresh_token"] for r in authority.requests("token", grant="refresh_token")]


def fill(folder):
    with open(os.path.join(folder, "fill"), "ab", 0) as f:
        try:
            while True:
                f.write(b"x" * 4096)
        except OSError:
            pass


@needs_root
def test_full_before_it_begins(small, authority, home):
    """That it begins cannot be marked: nothing is sent, so that nothing can be lost."""
    command, folder = Command(home), small.seen_state()
    fill(folder)
    error = command("get", PROFILE, "--refresh").failed(8)
    assert "No space left on device" in error and folder.partition("root")[2] in error, error
    assert not used(authority)
    command("get", PROFILE).ok()  # the cached one
    os.unlink(os.path.join(folder, "fill"))
    command("get", PROFILE, "--refresh").ok()
    assert not authority.reuses and small.kept()["refresh_token"] == small.family.current


@needs_root
def test_full_when_the_new_token_comes(small, authority, home):
    """It is held, not used, until it can be kept: and then it is kept before it is used."""
    command, folder = Command(home), small.seen_state()
    before = small.kept()["refresh_token"]
    authority.fault("token", hold=True, times=1)
    waiting = command.start("get", PROFILE, "--refresh")
    wait_until(lambda: used(authority))
    fill(folder)
    authority.release("token")
    assert "No space left on device" in command.finish(waiting).failed(8)
    assert small.kept()["refresh_token"] == before != small.family.current
    for _ in range(2):
        assert "No space left on device" in command("get", PROFILE, "--refresh").failed(8)
    assert used(authority) == [before], "used before it was kept"
    held = small.family.current
    os.unlink(os.path.join(folder, "fill"))
    authority.fault("token", hold=True, times=1)
    waiting = command.start("get", PROFILE, "--refresh")
    wait_until(lambda: len(used(authority)) == 2)
    assert used(authority)[1] == held == small.kept()["refresh_token"], "kept before it is used"
    authority.release("token")
    command.finish(waiting).ok()
    assert not authority.reuses and small.kept()["refresh_token"] == small.family.current


@needs_root
def test_a_disk_that_became_read_only(small, authority, home):
    command, folder = Command(home), small.seen_state()

    def remount(mode):
        subprocess.run(["nsenter", "-t", str(small.agent.pid), "-m", "mount", "-o", "remount," + mode, home.state], check=True)

    remount("ro")
    assert "Read-only file system" in command("get", PROFILE, "--refresh").failed(8)
    command("get", PROFILE).ok()
    assert "Read-only file system" in command("logout", PROFILE).failed(8)  # it cannot be forgotten: said aloud
    assert not used(authority)
    remount("rw")
    assert os.path.exists(os.path.join(folder, "mltoken", PROFILE + ".sealed"))


def damage(path, how):
    with open(path, "rb") as f:
        good = f.read()
    bad = {"truncated": good[:60], "empty": b"", "a flipped bit": good[:200] + bytes([good[200] ^ 4]) + good[201:],
           "an older format": good[:8] + b"\0" + good[9:], "a newer format": good[:8] + b"\2" + good[9:]}[how]
    with open(path, "wb") as f:
        f.write(bad)
    return good, bad


@pytest.mark.parametrize("name", [PROFILE + ".sealed", "state"])
@pytest.mark.parametrize("how", ["truncated", "empty", "a flipped bit", "an older format", "a newer format"])
def test_a_file_that_is_not_what_it_should_be(rotation, authority, home, how, name):
    command = Command(home)
    path = os.path.join(home.state, "mltoken", name)
    good, bad = damage(path, how)
    for act in ("get", "--refresh"), ("login", "--json"):
        error = command(act[0], PROFILE, act[1]).failed(8)
        assert path in error and ("format" in how) == ("format" in error), error
    rotation.restart()
    assert path in command("get", PROFILE).failed(8)
    with open(path, "rb") as f:
        assert f.read() == bad, "it was overwritten"
    assert not used(authority)
    with open(path, "wb") as f:
        f.write(good)
    command("get", PROFILE).ok()
    assert rotation.kept()["refresh_token"] == rotation.family.current and not authority.reuses


@needs_root
@pytest.mark.parametrize("name", ["", PROFILE + ".sealed", "state", "lock"])
def test_what_belongs_to_somebody_else(rotation, authority, home, name):
    command = Command(home)
    path = os.path.join(home.state, "mltoken", name).rstrip("/")
    os.chown(path, NOBODY, NOBODY)
    error = command("get", PROFILE, "--refresh").failed(8)
    assert path in error and "belongs to uid 65534" in error, error
    assert not used(authority)
    os.chown(path, os.geteuid(), os.getegid())
    command("get", PROFILE, "--refresh").ok()
    assert rotation.kept()["refresh_token"] == rotation.family.current


@pytest.mark.parametrize("how", ["truncated", "a newer format", "put back from a copy"])
def test_the_way_out_of_a_damaged_file(rotation, authority, home, how):
    """As the message says: forget it, then sign in. What is another profile's stays."""
    command = Command(home)
    path = os.path.join(home.state, "mltoken", PROFILE + ".sealed")
    with Store(rotation.store_environment) as store:
        assert store.put(b"kept", "other").result == "ok"
    if how == "put back from a copy":
        with open(path, "rb") as f:
            copy = f.read()
        command("get", PROFILE, "--refresh").ok()
        with open(path, "wb") as f:
            f.write(copy)
    else:
        damage(path, how)
    for act in ("get", "--refresh"), ("login", "--json"):
        assert f"mltoken logout {PROFILE}" in command(act[0], PROFILE, act[1]).failed(8)
    command("logout", PROFILE).ok()
    assert "all that is stored for this profile is removed, for it cannot be read" in rotation.agent.log()
    command("get", PROFILE).failed(4)
    command("login", PROFILE, "--json").ok()
    command("get", PROFILE, "--refresh").ok()
    assert rotation.kept()["refresh_token"] == rotation.family.current
    with Store(rotation.store_environment) as store:
        assert store.get("other").value == b"kept"
