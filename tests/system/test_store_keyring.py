"""mltoken-store-keyring against a real gnome-keyring."""

import os
import re
import signal
import socket
import stat
import threading
import time

import pytest
from attack import SANITIZED
from harness import PATIENCE, SANITIZER, wait_until
from keyring_session import PASSWORD, Session, Store, heard

A, B = "a" * 64, "b" * 64
LOCKED_WAIT = "the keyring is locked; unlock it in the window that it opens"


@pytest.fixture
def session(home):
    """A session bus with nothing on it."""
    session = Session(home)
    yield session
    session.end()


@pytest.fixture
def start_store(home):
    """start_store(env): a store program in that environment, ended with the test."""
    started = []

    def start(env):
        started.append(Store("keyring", env, os.path.join(home.path, "store.log")))
        return started[-1]

    yield start
    for store in started:
        store.stop()
        with open(store.log, encoding="utf-8", errors="replace") as f:
            said = f.read()
        assert not SANITIZER.search(said), said


@pytest.fixture
def keyring(session):
    """An open keyring on it."""
    return session.start_keyring()


@pytest.fixture
def store(keyring, start_store):
    return start_store(keyring.env)


def me(binding=A, name="refresh_token", profile="me", **more):
    return {"profile": profile, "name": name, "binding": binding, **more}


def one():
    return {"profile": "me", "name": "refresh_token"}


def put(store, value, **fields):
    reply = store("put", value, **{**me(), **fields})
    assert reply["result"] == "ok", reply
    return int(reply["version"])


def failed(reply, kind):
    assert (reply["result"], reply.get("kind")) == ("fail", kind), reply
    assert reply.value == b"" and "\n" not in reply["reason"]
    return reply["reason"]


# ---- keeping --------------------------------------------------------------------------------------------------------


def test_says_hello_and_ends_with_the_stream(store):
    assert (store.hello["hello"], store.hello["name"]) == ("1", "keyring")
    assert store.end() == 0


def test_what_is_put_is_got_until_it_is_dropped(store):
    assert store("get", **me())["result"] == "missing"
    version = put(store, b"token 1")
    reply = store("get", **me())
    assert (reply["result"], int(reply["version"]), reply.value) == ("ok", version, b"token 1")
    assert store("drop", **one())["result"] == "ok"
    assert store("get", **me())["result"] == "missing"
    assert store("drop", **one())["result"] == "ok"


@pytest.mark.parametrize("value", [b"\0", bytes(range(256)), "müde".encode(), b"\n", b"two\n\nlines=1\n", b"\xff" * (64 * 1024),
                                   b"\xff" * (64 * 1024 - 1), b"\xff" * (64 * 1024 - 2), b"x" * (64 * 1024)],
                         ids=lambda value: f"{value[:4].hex()}-{len(value)}")
def test_any_bytes_come_back(store, value):
    put(store, value)
    assert store("get", **me()).value == value


def test_a_replaced_secret_is_one_item_and_its_version_grows(store, keyring):
    versions = [put(store, b"token %d" % i) for i in range(5)]
    assert versions == sorted(set(versions))
    assert store("get", **me()).value == b"token 4"
    assert len(keyring.items()) == 1


def test_versions_grow_across_a_removal(store):
    first = put(store, b"one")
    store("drop", profile="me")
    assert put(store, b"two") > first


def test_a_drop_without_a_name_takes_the_profile_alone(store):
    put(store, b"1")
    put(store, b"2", name="client_secret")
    put(store, b"3", profile="me2")
    assert store("drop", profile="me")["result"] == "ok"
    assert store.lines() == [["me2", "refresh_token", A]]


def test_lists_sorted(store):
    for profile in ("b", "a", "a-b", "B", "a.c"):
        put(store, b"x", profile=profile)
    put(store, b"x", profile="a", name="client_secret", binding=B)
    assert store.lines() == [["B", "refresh_token", A], ["a", "client_secret", B], ["a", "refresh_token", A],
                             ["a-b", "refresh_token", A], ["a.c", "refresh_token", A], ["b", "refresh_token", A]]
    assert store.lines(profile="a") == [["a", "client_secret", B], ["a", "refresh_token", A]]
    assert store.lines(profile="none") == []


def test_lists_in_pages(store, keyring):
    """gnome-keyring's own collection in memory makes them fast; their values are not looked at."""
    names = [f"p{i:03}-{'x' * 59}" for i in range(240)]
    for i, name in enumerate(reversed(names)):
        for kind in ("n" * 32, str(i % 2) * 32):
            keyring.create_item({"profile": name, "name": kind, "binding": A, "xdg:schema": "org.mltoken.Secret"}, b"x", "session")
    first = store("list")
    assert first.get("more") == "1"
    lines = store.lines()
    assert [line[0] for line in lines] == sorted(names * 2)
    assert len({tuple(line) for line in lines}) == 480


def test_what_was_answered_for_survives_kill_9_of_the_service(store, session):
    for i in range(10):
        version = put(store, b"token %d" % i)
        session.end_keyring()
        session.start_keyring()
        reply = store("get", **me())
        assert (reply["result"], reply.value, int(reply["version"])) == ("ok", b"token %d" % i, version)


# ---- other receivers, other agents -------------------------------------------------------------------------------------


def test_a_secret_for_other_receivers_is_not_given_out(store, keyring):
    version = put(store, b"for a")
    reply = store("get", **me(B))
    assert (reply["result"], int(reply["version"]), reply.value) == ("bound", version, b"")
    assert put(store, b"for b", binding=B) > version
    assert store("get", **me(A))["result"] == "bound"
    assert store("get", **me(B)).value == b"for b"
    assert [attributes["binding"] for attributes, _ in keyring.items().values()] == [B]


def test_a_put_happens_only_over_what_it_expects(store):
    first = put(store, b"one", expect=0)
    reply = store("put", b"late", **me(), expect=0)
    assert (reply["result"], int(reply["version"]), reply.value) == ("conflict", first, b"one")
    second = put(store, b"two", expect=first)
    reply = store("put", b"late", **me(), expect=first)
    assert (reply["result"], int(reply["version"]), reply.value) == ("conflict", second, b"two")
    reply = store("put", b"late", **me(B), expect=first)
    assert (reply["result"], int(reply["version"]), reply.value) == ("bound", second, b"")
    assert store("get", **me()).value == b"two"
    store("drop", profile="me")
    reply = store("put", b"late", **me(), expect=second)
    assert (reply["result"], reply["version"], reply.value) == ("conflict", "0", b"")
    assert store("get", **me())["result"] == "missing"


def test_two_agents_never_overwrite_one_anothers_secret(keyring, start_store):
    """Each adds one to the number it read, 40 times: a lost one would show in the sum."""
    put(start_store(keyring.env), b"0")
    added = []

    def add(store):
        while len(added) < 80:
            read = store("get", **me())
            reply = store("put", b"%d" % (int(read.value) + 1), **me(), expect=read["version"])
            assert reply["result"] in ("ok", "conflict"), reply
            if reply["result"] == "ok":
                added.append(1)

    stores = [start_store(keyring.env) for _ in range(2)]
    threads = [threading.Thread(target=add, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert int(stores[0]("get", **me()).value) == len(added) >= 80


def test_does_without_the_lock_file_where_there_can_be_none(keyring, start_store, home):
    store = start_store({**keyring.env, "XDG_STATE_HOME": "/proc/nowhere"})
    put(store, b"x")
    assert store("get", **me()).value == b"x"
    assert not os.path.exists(os.path.join(home.state, "mltoken"))
    put(start_store(keyring.env), b"y")
    assert stat.S_IMODE(os.stat(os.path.join(home.state, "mltoken/keyring.lock")).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.join(home.state, "mltoken")).st_mode) == 0o700


# ---- what others see ---------------------------------------------------------------------------------------------------


def test_attributes_and_label_of_an_item_while_it_is_locked(store, keyring):
    put(store, b"the secret")
    keyring.lock()
    (attributes, label), = keyring.items().values()
    assert attributes == {"profile": "me", "name": "refresh_token", "binding": A, "xdg:schema": "org.mltoken.Secret"}
    assert label == "mltoken: refresh token of profile me"


def test_items_of_other_programs_are_left_alone(store, keyring):
    """The same attributes, under another schema's name."""
    keyring.create_item({"profile": "me", "name": "refresh_token", "binding": A, "xdg:schema": "org.example.Other"}, b"theirs")
    assert store("get", **me())["result"] == "missing"
    assert store.lines() == []
    put(store, b"ours", expect=0)
    assert len(keyring.items()) == 2
    assert store("drop", profile="me")["result"] == "ok"
    (attributes, _), = keyring.items().values()
    assert attributes["xdg:schema"] == "org.example.Other"


def test_an_item_that_someone_edited_is_corrupt_and_not_overwritten_unless_asked(store, keyring):
    put(store, b"token")
    path, = keyring.items()
    for wrong in (b"", b"token", b"mltoken-secret 1 7", b"mltoken-secret 1 0 plain\nx", b"mltoken-secret 1 x plain\nx",
                  b"mltoken-secret 2 7 plain\nx", b"mltoken-secret 1 7 base64\nA", b"mltoken-secret 1 7 base64\nAA=A",
                  b"mltoken-secret 1 1234567890123456789 plain\nx", b"mltoken-secret 1 7 plaint\nx"):
        keyring.set_secret(path, wrong)
        failed(store("get", **me()), "corrupt")
        failed(store("put", b"new", **me(), expect=7), "corrupt")
        failed(store("get", **me()), "corrupt")
    put(store, b"new")
    assert store("get", **me()).value == b"new"


# ---- locked ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def locked(store, keyring):
    """The store, with a secret of a keyring that is locked now."""
    put(store, b"the secret")
    keyring.lock()
    return store


@pytest.mark.parametrize("op", ["get", "put", "drop"])
def test_a_person_closes_the_window(locked, session, op):
    prompter = session.prompter("dismiss")
    reply = locked(op, b"new" if op == "put" else b"", **(one() if op == "drop" else me()))
    assert "was not unlocked when asked" in failed(reply, "locked")
    assert reply.waits == [LOCKED_WAIT]
    assert heard(prompter) == "asked password\n"
    assert len(session.items()) == 1


def test_a_person_unlocks(locked, session):
    session.prompter("answer", PASSWORD)
    reply = locked("get", **me())
    assert (reply["result"], reply.value, reply.waits) == ("ok", b"the secret", [LOCKED_WAIT])
    assert locked("get", **me()).waits == []


def test_a_put_into_a_locked_keyring_asks_once(locked, session):
    session.prompter("answer", PASSWORD)
    reply = locked("put", b"new", **me())
    assert (reply["result"], reply.waits) == ("ok", [LOCKED_WAIT])
    assert locked("get", **me()).value == b"new"


def test_a_wrong_password(locked, session):
    session.prompter("answer", "wrong")
    failed(locked("get", **me()), "locked")


def test_no_window_can_open(locked):
    """The window's real program starts, and ends for want of a display."""
    reply = locked("get", **me())
    reason = failed(reply, "locked")
    assert "no window can open here" in reason and "store = file" in reason
    assert reply.waits == [LOCKED_WAIT]


def test_a_secret_that_is_not_there_is_missing_without_a_question(locked):
    reply = locked("get", **me(profile="other"))
    assert (reply["result"], reply.waits) == ("missing", [])


def test_lists_a_locked_keyring_without_a_question(locked):
    reply = locked("list")
    assert (reply["result"], reply.waits) == ("ok", [])
    assert reply.value.decode() == f"me\trefresh_token\t{A}\n"


def test_lists_a_keyring_that_was_never_opened_after_a_question(store, session):
    """gnome-keyring keeps attributes as hashes until the first password."""
    put(store, b"x")
    session.end_keyring()
    session.start_keyring(password=None)
    failed(store("list"), "locked")
    session.prompter("answer", PASSWORD)
    reply = store("list")
    assert (reply["result"], reply.waits) == ("ok", [LOCKED_WAIT])
    assert reply.value.decode() == f"me\trefresh_token\t{A}\n"


@pytest.mark.parametrize("op", ["get", "put", "drop"])
def test_finds_a_secret_in_a_keyring_that_was_never_opened(store, session, op):
    """As after a login without a password: gnome-keyring does not even know the schema then."""
    put(store, b"x")
    session.end_keyring()
    session.start_keyring(password=None)
    request = (op, b"new" if op == "put" else b"")
    fields = one() if op == "drop" else me()
    failed(store(*request, **fields), "locked")
    session.prompter("answer", PASSWORD)
    reply = store(*request, **fields)
    assert (reply["result"], reply.waits) == ("ok", [LOCKED_WAIT])
    assert len(session.items()) == (0 if op == "drop" else 1)


def test_ends_with_the_agent_while_a_person_is_asked(locked, session):
    prompter = session.prompter("wait")
    locked.send("get", **me())
    assert locked.receive()["result"] == "waiting"
    assert heard(prompter) == "asked password\n"
    assert locked.end() == 0


def test_another_agent_is_served_while_a_person_is_asked(locked, session, start_store):
    """Nobody holds the lock file while waiting for a person."""
    prompter = session.prompter("wait")
    locked.send("get", **me())
    assert locked.receive()["result"] == "waiting"
    assert heard(prompter) == "asked password\n"
    assert start_store(session.env)("drop", profile="other")["result"] == "ok"


def test_no_keyring_was_ever_made(session, start_store):
    session.start_keyring(password=None)
    # libsecret 0.20.5 forgets the prompt of a keyring that it makes
    store = start_store({**session.env, "ASAN_OPTIONS": session.env.get("ASAN_OPTIONS", "") + ":detect_leaks=0"})
    assert store("get", **me())["result"] == "missing"
    reply = store("put", b"x", **me())
    assert "no default keyring" in failed(reply, "unavailable")
    assert len(reply.waits) == 1
    session.prompter("answer", PASSWORD)
    assert store("put", b"x", **me())["result"] == "ok"
    assert store("get", **me()).value == b"x"


# ---- trouble -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", ["get", "put", "drop", "list"])
def test_the_service_is_killed_amid_a_call(store, session, op):
    put(store, b"x")
    session.keyring.send_signal(signal.SIGSTOP)
    store.send(op, b"new" if op == "put" else b"", **({} if op == "list" else one() if op == "drop" else me()))
    with pytest.raises(TimeoutError):
        store.answer(timeout=0.3)
    session.end_keyring()
    failed(store.answer(), "unavailable")
    failed(store(op, b"new" if op == "put" else b"", **({} if op == "list" else one() if op == "drop" else me())), "unavailable")
    session.start_keyring()
    assert store("get", **me()).value == b"x"


def test_the_service_is_killed_while_a_person_is_asked(locked, session):
    prompter = session.prompter("wait")
    locked.send("get", **me())
    assert locked.receive()["result"] == "waiting"
    assert heard(prompter) == "asked password\n"
    session.end_keyring()
    failed(locked.answer(), "unavailable")
    session.start_keyring()
    assert locked("get", **me()).value == b"the secret"


def test_the_service_is_stopped_and_the_program_killed(store, session, start_store):
    put(store, b"x")
    session.keyring.send_signal(signal.SIGSTOP)
    store.send("get", **me())
    with pytest.raises(TimeoutError):
        store.answer(timeout=1)
    store.process.kill()
    assert store.process.wait(PATIENCE) == -signal.SIGKILL
    session.keyring.send_signal(signal.SIGCONT)
    assert start_store(session.env)("get", **me()).value == b"x"


def test_the_bus_ends_and_comes_back(store, session):
    put(store, b"x")
    session.end_keyring()
    session.end_bus()
    for _ in range(2):
        failed(store("get", **me()), "unavailable")
    session.start_bus()
    session.start_keyring()
    assert store("get", **me()).value == b"x"


def test_the_bus_ends_amid_a_call(store, session):
    put(store, b"x")
    session.keyring.send_signal(signal.SIGSTOP)
    store.send("get", **me())
    with pytest.raises(TimeoutError):
        store.answer(timeout=0.3)
    session.end_bus()
    failed(store.answer(), "unavailable")


def test_a_bus_without_a_keyring(session, start_store):
    store = start_store(session.env)
    for op in ("get", "put"):
        assert "Secret Service" in failed(store(op, b"x" if op == "put" else b"", **me()), "unavailable")


def test_no_bus(home, start_store):
    """None named, and none beside the sockets: no other is looked for and none is started."""
    marker = os.path.join(home.path, "launched")
    launcher = home.write("bin/dbus-launch", f"#!/bin/sh\ntouch {marker}\n", 0o700)
    env = home.env(PATH=os.path.dirname(launcher) + ":" + os.environ["PATH"], DISPLAY=":99")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(os.path.join(home.path, "mute"))
    listening.close()
    for address in (None, "", "autolaunch:", "unix:path=/nonexistent/bus", f"unix:path={home.path}/mute", "nonsense",
                    f"unixexec:path={launcher}", f"unix:path=/nonexistent;unixexec:path={launcher}", "unix:", "tcp:host=127.0.0.1,port=1"):
        store = start_store({**env, **({} if address is None else {"DBUS_SESSION_BUS_ADDRESS": address})})
        began = time.monotonic()
        for op in ("get", "list"):
            failed(store(op, **({} if op == "list" else me())), "unavailable")
        assert time.monotonic() - began < PATIENCE / 2
        assert store.end() == 0
    store = start_store({k: v for k, v in env.items() if k != "XDG_RUNTIME_DIR"})
    failed(store("get", **me()), "unavailable")
    assert not os.path.exists(marker)


def test_the_bus_of_the_runtime_directory_is_found(keyring, start_store):
    store = start_store({k: v for k, v in keyring.env.items() if k != "DBUS_SESSION_BUS_ADDRESS"})
    put(store, b"x")
    assert store("get", **me()).value == b"x"


def test_something_else_in_place_of_the_bus(home, start_store):
    store = start_store(home.env())
    path = os.path.join(home.runtime, "bus")
    open(path, "w").close()
    assert "no D-Bus" in failed(store("get", **me()), "unavailable")
    os.unlink(path)
    mine = socket.socket(socket.AF_UNIX)
    mine.bind(path)
    os.chown(path, 65534, 65534)
    assert "no D-Bus" in failed(store("get", **me()), "unavailable")
    mine.close()


# ---- memory ------------------------------------------------------------------------------------------------------------


def in_memory(pid, needle):
    found = []
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            start, end = (int(x, 16) for x in line.split()[0].split("-"))
            try:
                memory.seek(start)
                if needle in memory.read(end - start):
                    found.append(line.strip())
            except (OSError, ValueError, OverflowError):
                continue
    return found


@pytest.mark.parametrize("value", [b"canary-of-the-store-" * 20, b"\xffcanary-of-the-store-\xfe" * 20], ids=["text", "binary"])
def test_nothing_of_a_secret_stays_in_the_program(store, keyring, value):
    put(store, value)
    put(store, value, expect=store("get", **me())["version"])
    assert store("get", **me()).value == value
    assert store("put", b"late", **me(), expect=1).value == value
    if SANITIZED:  # it keeps what was freed
        return
    assert in_memory(store.process.pid, b"mltoken-store-keyring")  # the scan does find what is there
    assert in_memory(store.process.pid, b"canary-of-the-store") == []


def test_cannot_be_dumped(store):
    with open(f"/proc/{store.process.pid}/limits", encoding="ascii") as f:
        assert re.search(r"Max core file size +0 +0 ", f.read())


def test_says_nothing_of_its_own(store, session):
    put(store, b"x")
    session.end_keyring()
    failed(store("get", **me()), "unavailable")
    assert store.end() == 0
    wait_until(lambda: os.path.exists(store.log))
    assert os.path.getsize(store.log) == 0
