"""lock_on: a sleep or a locked session locks the agent, by a logind of the tests' own on a system bus of its own."""

import os
import re
import signal
import socket
import time

import pytest
from attack import SANITIZED
from harness import PATIENCE, SANITIZER, service, wait_until
from keyring_session import Store
from logind import MANAGER, PATH, SESSION, Logind, SystemBus

from gi.repository import GLib  # noqa: E402, after logind has chosen its version

SLEEP, LOCKED = "the computer goes to sleep", "the session was locked"
OTHER = 4321


@pytest.fixture
def bus(home):
    """A system bus with nothing on it."""
    bus = SystemBus(home).start()
    yield bus
    bus.end()


@pytest.fixture
def start_logind(bus):
    """start_logind(): one more on the bus."""
    started = []

    def start(**args):
        started.append(Logind(bus, **args))
        return started[-1]

    yield start
    for logind in started:
        if logind.thread.is_alive():
            logind.end()


@pytest.fixture
def logind(start_logind):
    """With one session of ours, and one of another's."""
    return start_logind().session("1").session("other", uid=OTHER)


# ---- the program that listens ------------------------------------------------------------------------------------------


@pytest.fixture
def start_store(home, bus):
    started = []

    def start(**env):
        started.append(Store("keyring", home.env(**{"DBUS_SYSTEM_BUS_ADDRESS": bus.address, **env}),
                             os.path.join(home.path, "store.log")))
        return started[-1]

    yield start
    for store in started:
        store.stop()
        with open(store.log, encoding="utf-8", errors="replace") as f:
            said = f.read()
        assert not SANITIZER.search(said), said


@pytest.fixture
def listening(logind, start_store):
    """A program that watches for both."""
    store = start_store()
    assert store("watch", events="suspend session")["result"] == "ok"
    return store


def silent(store, seconds=0.3):
    """Nothing comes; what an answer would have needed is long over."""
    with pytest.raises(TimeoutError):
        store.receive(seconds)


def locked(store):
    """As the agent: it is locked."""
    assert store("lock")["result"] == "ok"


def held_since(logind, slept):
    """The sleep is held back, or it has been for as long as it may be (HOLD_MS): then this machine was too slow to see it."""
    return logind.held() == 1 or time.monotonic() - slept > 3.9


def test_a_sleep_is_held_back_until_the_agent_is_locked(logind, listening):
    assert ("Inhibit", ("sleep", "mltoken", "The agent locks itself first", "delay")) in logind.asked
    logind.wait_held(1)
    slept = time.monotonic()
    logind.sleep()
    assert dict(listening.receive()) == {"event": "suspend"}
    assert held_since(logind, slept)
    locked(listening)
    locked(listening)  # with this answer, what the one before did is done
    logind.wait_held(0)  # on the bus a copy of it may live a moment longer
    logind.sleep(False)
    logind.wait_held(1)
    silent(listening)


def test_a_sleep_is_not_held_back_for_ever(logind, listening):
    logind.wait_held(1)
    logind.sleep()
    assert listening.receive()["event"] == "suspend"
    logind.wait_held(0)  # nobody said that anything is locked
    logind.sleep(False)
    logind.wait_held(1)
    logind.sleep()
    silent(listening)  # the first was not answered yet
    locked(listening)
    assert listening.receive()["event"] == "suspend"
    locked(listening)
    logind.wait_held(0)


def test_a_resume_whose_sleep_was_missed(logind, listening):
    logind.sleep(False)
    assert listening.receive()["event"] == "suspend"
    logind.wait_held(1)


def test_a_session_is_locked(logind, listening):
    logind.lock("1")
    assert dict(listening.receive()) == {"event": "session"}
    locked(listening)
    logind.hint("1")
    assert listening.receive()["event"] == "session"
    locked(listening)
    logind.hint("1")  # as before
    silent(listening, 1.5)
    logind.hint("1", False)
    logind.hint("1")
    assert listening.receive()["event"] == "session"


def test_only_what_was_asked_for(logind, start_store):
    store = start_store()
    assert store("watch", events="session")["result"] == "ok"
    assert logind.held() == 0
    logind.sleep()
    logind.lock("1")
    assert store.receive()["event"] == "session"
    store = start_store()
    assert store("watch", events="suspend later")["result"] == "ok"
    logind.lock("1")
    logind.sleep()
    assert store.receive()["event"] == "suspend"


def test_what_cannot_be_watched_for(logind, start_store):
    store = start_store()
    for events in ({}, {"events": "later"}, {"events": "Suspend"}, {"events": " "}):
        assert store("watch", **events)["kind"] == "invalid"
    assert store("watch", events="session")["result"] == "ok"
    assert store("watch", events="session")["kind"] == "invalid"


def test_the_program_still_answers(logind, listening):
    assert listening("get", profile="p", name="n", binding="a" * 64)["kind"] == "unavailable"
    logind.lock("1")
    assert listening.receive()["event"] == "session"


def test_anothers_session_does_nothing(logind, listening):
    logind.lock("other")
    logind.hint("other")
    logind.session("new", uid=OTHER, locked=True, tell=True)
    wait_until(lambda: ("property", logind.path("new")) in logind.asked)
    logind.lock("new")
    logind.lock("unheard-of")
    logind.flush()
    silent(listening)


@pytest.mark.parametrize("how", ["signal", "hint", "locked already", "locked at once"])
def test_a_session_that_comes_later(logind, listening, how):
    logind.session("2", locked=how == "locked already", tell=True)
    if how == "locked at once":  # before anybody knows whose it is
        logind.lock("2")
    if how in ("signal", "hint"):
        wait_until(lambda: ("property", logind.path("2")) in logind.asked)
        logind.flush()
        silent(listening)
        (logind.lock if how == "signal" else logind.hint)("2")
    assert listening.receive()["event"] == "session"
    locked(listening)
    logind.signal(MANAGER, "SessionRemoved", PATH, GLib.Variant("(so)", ("2", logind.path("2"))))
    logind.flush()
    logind.hint("2", False)
    logind.lock("2")
    silent(listening, 1.5)


def test_a_session_that_is_locked_when_the_watch_begins(start_logind, start_store):
    start_logind().session("1", locked=True)
    store = start_store()
    assert store("watch", events="session")["result"] == "ok"
    assert store.receive()["event"] == "session"


def test_what_another_on_the_bus_says(logind, listening, start_logind):
    """It does not own logind's name."""
    liar = start_logind(own=False)
    for name in ("1", "other"):
        liar.lock(name)
        liar.hint(name)
    liar.sleep()
    liar.flush()
    silent(listening)
    logind.lock("1")
    assert listening.receive()["event"] == "session"


def test_signals_of_another_form(logind, listening):
    for arguments in (None, GLib.Variant("(s)", ("x",)), GLib.Variant("(bb)", (True, True)), GLib.Variant("(a{sv})", ({},))):
        logind.signal(MANAGER, "PrepareForSleep", PATH, arguments)
        logind.signal(MANAGER, "SessionNew", PATH, arguments)
        logind.signal(MANAGER, "SessionRemoved", PATH, arguments)
        logind.signal("org.freedesktop.DBus.Properties", "PropertiesChanged", logind.path("1"), arguments)
    for value in (GLib.Variant("s", "true"), GLib.Variant("u", 1), GLib.Variant("b", False)):
        logind.signal("org.freedesktop.DBus.Properties", "PropertiesChanged", logind.path("1"),
                      GLib.Variant("(sa{sv}as)", (SESSION, {"LockedHint": value}, [])))
    logind.flush()
    silent(listening)
    logind.lock("1")
    assert listening.receive()["event"] == "session"


def test_a_flood(logind, listening):
    """One event until the agent is locked, and one a second after that."""
    for i in range(5000):
        logind.lock("1")
        logind.hint("1", i % 2 == 0)
        logind.sleep(i % 2 == 0)
        if i % 10 == 0:
            logind.session(f"flood{i}", tell=True)
    logind.flush()
    assert {listening.receive()["event"], listening.receive()["event"]} == {"suspend", "session"}
    silent(listening, 1.5)
    began, events = time.monotonic(), 0
    for _ in range(6):
        listening.send("lock")
        while True:  # what was pending, and what comes now
            try:
                frame = listening.receive(0.5)
            except TimeoutError:
                break
            events += "event" in frame
        for _ in range(50):
            logind.lock("1")
            logind.sleep(False)
            logind.sleep()
        logind.flush()
    assert 2 <= events <= 2 * (1 + time.monotonic() - began)
    logind.sleep(False)
    logind.wait_held(1)  # of thousands that were asked for, one at a time, none is left behind


def test_an_inhibitor_that_is_refused(start_logind, start_store):
    logind = start_logind().session("1")
    logind.refuses.add("Inhibit")
    store = start_store()
    reply = store("watch", events="suspend")
    assert reply["result"] == "ok" and "a sleep cannot be held back" in reply["reason"] and "not now" in reply["reason"]
    logind.sleep()
    assert store.receive()["event"] == "suspend"
    logind.refuses.clear()
    logind.sleep(False)
    logind.wait_held(1)


def test_nobody_to_listen_to(bus, start_logind, start_store, home):
    unavailable = start_store()("watch", events="suspend")
    assert (unavailable["kind"], unavailable["reason"]) == ("unavailable", "there is no logind on the system bus")
    for address in (f"unix:path={home.path}/none", "unixexec:path=/bin/false", "tcp:host=127.0.0.1,port=1", "nonsense"):
        reply = start_store(DBUS_SYSTEM_BUS_ADDRESS=address)("watch", events="suspend")
        assert reply["kind"] == "unavailable" and re.search("system bus|SYSTEM_BUS", reply["reason"]), reply
    start_logind().refuses.add("ListSessions")
    reply = start_store()("watch", events="session")
    assert reply["kind"] == "unavailable" and "sessions" in reply["reason"]


@pytest.mark.parametrize("what", ["logind", "bus"])
def test_it_goes_away(bus, logind, listening, what):
    (logind if what == "logind" else bus).end()
    event = listening.receive()
    assert event["event"] == "lost" and "went away" in event["reason"]
    locked(listening)


def test_the_agent_ends(logind, listening):
    logind.wait_held(1)
    assert listening.end() == 0
    logind.wait_held(0)


def test_the_program_is_killed_while_it_holds_a_sleep_back(logind, listening):
    logind.wait_held(1)
    listening.process.kill()
    logind.wait_held(0)


# ---- the agent ---------------------------------------------------------------------------------------------------------


def locks(agent, why):
    """How often it was locked for that reason."""
    return agent.log().count(why)


def listens(mltoken):
    """What status says."""
    return mltoken("status", "--json").ok().json()["agent"].get("lockOn")


def wait_listening(mltoken, what="suspend session: listening"):
    wait_until(lambda: listens(mltoken) == what)


def listeners(agent):
    """The pids of the agent's children that keep or watch something."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
                _, name, rest = re.split(r" \(|\) ", f.read(), maxsplit=2)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if name.startswith("mltoken-keyring") and rest.split()[1] == str(agent.pid) and rest[0] != "Z":
            found.append(int(pid))
    return found


def tokens(mltoken):
    return mltoken("status", "--json").ok().json()["agent"]["counters"]["tokens"]


@pytest.fixture
def serve(authority, home, start_agent, bus):
    """serve(lock_on, ...): an agent with a profile, and that in its configuration."""
    def serve(lock_on="suspend session", **env):
        home.config({"svc": service(authority, home)}, {"store": "memory", "lock_on": lock_on})
        return start_agent(**{"DBUS_SYSTEM_BUS_ADDRESS": bus.address, **env})
    return serve


def test_the_agent_locks_before_the_computer_sleeps(logind, serve, mltoken):
    agent = serve()
    wait_listening(mltoken)
    logind.wait_held(1)
    mltoken("get", "svc").ok()
    assert tokens(mltoken) == 1
    agent.process.send_signal(signal.SIGSTOP)
    slept = time.monotonic()
    logind.sleep()
    logind.flush()
    time.sleep(1)  # logind's patience is longer
    assert held_since(logind, slept)
    agent.process.send_signal(signal.SIGCONT)
    logind.wait_held(0)
    assert locks(agent, SLEEP) == 1
    assert tokens(mltoken) == 0
    logind.sleep(False)
    logind.wait_held(1)
    assert listens(mltoken) == "suspend session: listening"


@pytest.mark.parametrize("how", ["signal", "hint"])
def test_the_agent_locks_with_the_session(logind, serve, mltoken, how):
    agent = serve("session")
    wait_listening(mltoken, "session: listening")
    mltoken("get", "svc").ok()
    logind.sleep()
    logind.lock("other")
    logind.hint("other")
    logind.flush()
    assert tokens(mltoken) == 1
    (logind.lock if how == "signal" else logind.hint)("1")
    wait_until(lambda: locks(agent, LOCKED))
    assert tokens(mltoken) == 0
    assert locks(agent, SLEEP) == 0


@pytest.mark.parametrize("opened", [True, False])
def test_the_passphrase_that_was_used_last_locks(logind, serve, mltoken, opened):
    """Nobody is there to type one: its public half is known. Locked meanwhile, or just unlocked, it is the same."""
    agent = serve("session")
    wait_listening(mltoken, "session: listening")
    token = mltoken("get", "svc").ok().out
    if opened:  # by the sealed files' passphrase, which locks too
        mltoken("unlock", "--new", input="opens files").ok()
        wait_until(lambda: "can lock the agent" in agent.log())
    else:
        mltoken("lock", input="opens files").ok()
        mltoken("unlock", input="opens files").ok()
    for _ in range(2):
        count = locks(agent, LOCKED)
        logind.lock("1")
        wait_until(lambda count=count: locks(agent, LOCKED) > count)
        assert "the agent is locked" in mltoken("get", "svc").failed(8)
        mltoken("unlock", input="another").failed(8)
        mltoken("unlock", input="opens files").ok()
        assert mltoken("get", "svc").ok().out == token and tokens(mltoken) == 1


def test_one_that_was_stopped_is_noticed(logind, serve, home, mltoken):
    """While nothing happens. One that answers stays."""
    home.impatient("mltoken-store-keyring")
    agent = serve()
    wait_listening(mltoken)
    pid, = listeners(agent)
    time.sleep(4)  # pings that are answered
    assert listeners(agent) == [pid]
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: listeners(agent) not in ([], [pid]))
    assert "that listens to logind does not answer" in agent.log()
    wait_listening(mltoken)
    logind.sleep()
    wait_until(lambda: locks(agent, SLEEP))


def test_nobody_runs_unless_it_is_asked_for(logind, home, authority, start_agent, bus, mltoken):
    home.config({"svc": service(authority, home)}, {"store": "memory"})
    agent = start_agent(DBUS_SYSTEM_BUS_ADDRESS=bus.address)
    mltoken("get", "svc").ok()
    assert listens(mltoken) is None
    assert "lock_on" not in mltoken("status").ok().out
    assert listeners(agent) == []
    for words, what in (("suspend", "suspend"), ("session  suspend", "suspend session"), ("session", "session")):
        home.config({"svc": service(authority, home)}, {"store": "memory", "lock_on": words})
        wait_listening(mltoken, what + ": listening")
        assert len(listeners(agent)) == 1
        logind.wait_held(1 if "suspend" in what else 0)
    assert "lock_on session: listening\n" in mltoken("status").ok().out
    running = listeners(agent)
    home.config({"svc": service(authority, home), "more": service(authority, home)}, {"store": "memory", "lock_on": "session"})
    mltoken("get", "more").ok()
    assert listeners(agent) == running
    home.config({"svc": service(authority, home)}, {"store": "memory"})
    wait_until(lambda: not listeners(agent))
    assert listens(mltoken) is None
    logind.lock("1")
    logind.flush()
    assert mltoken("get", "svc").ok() and tokens(mltoken) == 1
    assert locks(agent, LOCKED) == 0


def test_no_bus_and_then_one(bus, start_logind, serve, mltoken, home):
    bus.end()
    os.unlink(bus.socket)
    agent = serve()
    wait_until(lambda: "not listening: there is no system bus" in (listens(mltoken) or ""))
    assert mltoken("get", "svc").ok()
    assert "lock_on suspend session: not listening" in mltoken("status").ok().out
    bus.start()
    wait_until(lambda: listens(mltoken) == "suspend session: not listening: there is no logind on the system bus")
    start_logind().session("1")
    wait_until(lambda: listens(mltoken) == "suspend session: listening", timeout=2 * PATIENCE)
    assert agent.log().count("lock_on does not listen") == 2  # once for each reason, however often it was tried


def test_the_program_that_listens_is_killed(logind, serve, mltoken):
    agent = serve()
    wait_listening(mltoken)
    for _ in range(2):
        logind.wait_held(1)
        pid, = listeners(agent)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: listeners(agent) not in ([], [pid]))
        wait_listening(mltoken)
    logind.lock("1")
    wait_until(lambda: locks(agent, LOCKED))


def test_logind_is_started_anew(start_logind, serve, mltoken):
    first = start_logind().session("1")
    agent = serve()
    wait_listening(mltoken)
    first.end()
    wait_until(lambda: "not listening" in listens(mltoken))
    second = start_logind().session("1")
    wait_listening(mltoken)
    second.wait_held(1)
    second.sleep()
    second.wait_held(0)
    assert locks(agent, SLEEP) == 1


def test_a_mute_bus(home, serve, mltoken):
    mute = socket.socket(socket.AF_UNIX)
    mute.bind(os.path.join(home.path, "mute"))
    mute.listen()
    agent = serve(DBUS_SYSTEM_BUS_ADDRESS=f"unix:path={home.path}/mute")
    wait_until(lambda: listeners(agent))
    assert listens(mltoken) == "suspend session: starting"
    assert mltoken("get", "svc").ok()
    wait_until(lambda: "does not answer" in listens(mltoken))
    mute.close()


def test_the_agent_under_a_flood(logind, serve, mltoken, varlink):
    agent = serve()
    wait_listening(mltoken)
    connection = varlink()
    began = time.monotonic()
    for i in range(3000):
        logind.lock("1")
        logind.sleep(i % 2 == 0)
        if i % 100 == 0:
            connection.call("Status")
    wait_until(lambda: locks(agent, SLEEP) and locks(agent, LOCKED) + locks(agent, SLEEP) >= 2)
    assert locks(agent, SLEEP) + locks(agent, LOCKED) <= 2 + time.monotonic() - began
    assert mltoken("get", "svc").ok()
    logind.sleep(False)
    logind.wait_held(1)


LIAR = """#!/usr/bin/python3 -SE
import os, struct, sys, time
def say(**fields):
    body = ''.join(f'{k}={v}\\n' for k, v in fields.items()).encode() + b'\\n'
    os.write(1, struct.pack('>I', len(body)) + body)
def hear():
    length = struct.unpack('>I', os.read(0, 4))[0]
    return dict(line.split('=', 1) for line in os.read(0, length).decode().split('\\n') if line)
with open(os.path.abspath(sys.argv[0]) + '.starts', 'a') as f: f.write('x')
say(hello=1, name='keyring')
id = hear()['id']
"""


@pytest.mark.parametrize("lie, said", [
    ("say(event='session')", "was not asked"),
    ("say(id=id, result='ok'); say(event='session'); say(event='session')", "must not"),
    ("say(id=id, result='ok'); say(event='party')", "must not"),
    ("say(id=id, result='ok'); say(id=id, result='ok')", "was not asked"),
    ("say(id=id, result='ok'); say(event='lost', reason='I \\x1b do not know')", None),
    ("say(id=id, result='fail', kind='unsupported', reason='what is that')", "what is that"),
    ("say(id='7', result='ok')", "was not asked"),
    ("os.write(1, b'\\0\\0\\0\\1x')", "no message"),
    ("os.write(1, b'\\xff' * 8)", "no message"),
    ("sys.exit(0)", "ended"),
], ids=str)
def test_a_program_that_lies(home, authority, start_agent, mltoken, lie, said):
    directory = home.stores()
    path = os.path.join(directory, "mltoken-store-keyring")
    with open(path, "w", encoding="utf-8") as f:
        f.write(LIAR + lie + "\ntime.sleep(600)\n")
    os.chmod(path, 0o700)
    home.config({"svc": service(authority, home)}, {"store": "memory", "lock_on": "session"})
    start_agent()
    wait_until(lambda: "not listening: " in (listens(mltoken) or ""))
    if said:
        assert said in listens(mltoken)
    assert mltoken("get", "svc").ok()
    wait_until(lambda: os.path.getsize(path + ".starts") > 1)  # it is tried again


def test_a_program_that_floods_by_the_rules(home, authority, start_agent, mltoken):
    """It answers each lock and tells at once of another: the agent locks once a second all the same."""
    directory = home.stores()
    path = os.path.join(directory, "mltoken-store-keyring")
    with open(path, "w", encoding="utf-8") as f:
        f.write(LIAR + "while True:\n    say(id=id, result='ok')\n    say(event='session')\n    id = hear()['id']\n")
    os.chmod(path, 0o700)
    home.config({"svc": service(authority, home)}, {"store": "memory", "lock_on": "session"})
    began = time.monotonic()
    agent = start_agent()
    wait_until(lambda: locks(agent, LOCKED) >= 3)
    assert locks(agent, LOCKED) <= 1 + time.monotonic() - began
    assert os.path.getsize(path + ".starts") == 1


def test_no_program_to_listen(home, authority, start_agent, mltoken):
    home.stores()
    home.config({"svc": service(authority, home)}, {"store": "memory", "lock_on": "session"})
    start_agent()
    wait_until(lambda: "there is no such program" in (listens(mltoken) or ""))


@pytest.mark.parametrize("there", [True, False])
def test_what_the_doctor_says(home, authority, bus, start_logind, mltoken, there):
    if there:
        start_logind().session("1")
    home.config({"svc": service(authority, home)}, {"store": "memory", "lock_on": "session suspend"})
    result = mltoken("doctor", env={"DBUS_SYSTEM_BUS_ADDRESS": bus.address})
    line, = [line for line in result.out.splitlines() if "lock_on" in line]
    if there:
        assert line == "ok    lock_on suspend session: listening" and result.code == 0
    else:
        assert line.startswith("FAIL  lock_on suspend session: not listening: there is no logind") and result.code == 3


def test_the_agent_is_locked_with_the_passphrase_that_it_knows(logind, serve, mltoken, varlink):
    """And stays so until it comes back, whatever else happens."""
    agent = serve()
    wait_listening(mltoken)
    connection = varlink()
    connection.call("Lock", passphrase="a passphrase")
    connection.call("Unlock", passphrase="a passphrase")
    token = mltoken("get", "svc").ok().out
    for happen, why in ((lambda: logind.lock("1"), LOCKED), (logind.sleep, SLEEP)):
        happen()
        wait_until(lambda: f'"{why}"' in agent.log())
        mltoken("get", "svc").failed(8)
        assert SANITIZED or not agent.memory_has(token.strip().encode())  # a sanitizer keeps what was freed
        logind.hint("1", False)
        logind.sleep(False)
        logind.flush()
        assert listens(mltoken) == "suspend session: listening"
        mltoken("get", "svc").failed(8)
        assert connection.error("Unlock", passphrase="another").name in ("Denied", "Locked")
        connection.call("Unlock", passphrase="a passphrase")
        assert mltoken("get", "svc").ok()
