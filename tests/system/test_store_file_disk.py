"""mltoken-store-file: what may have happened to its files, and disks that are full or cannot be written to."""

import contextlib
import os
import random
import shutil

import pytest

from mounts import in_mounts, take_off
from store_place import NOBODY, ROOT, expect_fail, place, store  # noqa: F401

# ---- what may have happened to the files -----------------------------------------------------------------------------


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


# ---- disks -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def mounted(place, commands):
    """A store in a mount namespace of its own."""
    with place.open(prefix=in_mounts(commands), env={"PATH": os.environ["PATH"]}) as store:
        yield store
    take_off(place.home / "state")


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
