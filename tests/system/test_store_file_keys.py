"""mltoken-store-file: its keys, and what of them and of secrets is in memory."""

import hashlib
import os
import shutil
import subprocess

import pytest

from store import BINDING
from store_place import NOBODY, PLAIN, ROOT, expect_fail, place, store  # noqa: F401

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


# ---- memory ----------------------------------------------------------------------------------------------------------


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
