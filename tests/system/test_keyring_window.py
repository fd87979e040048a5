"""The window in which a Secret Service asks for its password: opened only for who waits, and closed when nobody does."""

import os
import signal
import threading

import pytest
from harness import PATIENCE, person, service, wait_until
from keyring_session import PASSWORD, ROOT, Session, Store, heard
from secret_service import SecretService

ME = {"profile": "me", "name": "refresh_token", "binding": "a" * 64}


@pytest.fixture
def session(home):
    """A session bus with an open keyring."""
    session = Session(home)
    yield session.start_keyring()
    session.end()


@pytest.fixture
def store(session, home):
    """A store program with a secret of a keyring that is locked now."""
    store = Store("keyring", session.env, os.path.join(home.path, "store.log"))
    assert store("put", b"the secret", **ME)["result"] == "ok"
    session.lock()
    yield store
    if store.process.poll() is None:
        store.stop()
    store.socket.close()


def ask(store, prompter):
    """A person is being asked."""
    store.send("get", **ME)
    assert store.receive()["result"] == "waiting"
    assert heard(prompter) == "asked password\n"


@pytest.mark.parametrize("how", ["end of the stream", "SIGTERM"])
def test_gnome_keyring_survives_that_nobody_waits_any_more(store, session, how):
    """It ends itself when it is told to close its window (42.1: perform_next_unlock: assertion failed)."""
    prompter = session.prompter("wait")
    ask(store, prompter)
    if how == "SIGTERM":
        store.process.send_signal(signal.SIGTERM)
        assert store.process.wait(PATIENCE) == 0
    else:
        assert store.end() == 0
    assert session.property(ROOT + "/collection/login", "Collection", "Locked")
    assert session.keyring.poll() is None


@pytest.mark.parametrize("who", ["service", "bus"])
def test_the_program_ends_whoever_is_mute(store, session, who):
    """Its window is then not its own any more, but it does not stay."""
    ask(store, session.prompter("wait"))
    process = session.keyring if who == "service" else session.bus
    process.send_signal(signal.SIGSTOP)
    store.process.send_signal(signal.SIGTERM)
    assert store.process.wait(PATIENCE) == 0
    process.send_signal(signal.SIGCONT)


def test_the_program_ends_by_sigterm_when_nobody_is_asked(store):
    store.process.send_signal(signal.SIGTERM)
    assert store.process.wait(PATIENCE) == -signal.SIGTERM


def test_the_signal_is_as_before_after_a_question(store, session):
    session.prompter("dismiss")
    assert store("get", **ME)["kind"] == "locked"
    store.process.send_signal(signal.SIGTERM)
    assert store.process.wait(PATIENCE) == -signal.SIGTERM


@pytest.mark.parametrize("op", ["get", "put"])
def test_nobody_is_asked_when_nobody_waits(store, session, op):
    prompter = session.prompter("answer", PASSWORD)
    for _ in range(3):
        reply = store(op, b"new" if op == "put" else b"", **ME, ask="no")
        assert (reply["result"], reply["kind"], reply.waits) == ("fail", "locked", [])
        assert "the keyring is locked" in reply["reason"]
    assert store(op, b"new" if op == "put" else b"", **ME)["result"] == "ok"
    assert heard(prompter) == "asked password\n"  # the first
    assert store(op, b"newer" if op == "put" else b"", **ME, ask="no")["result"] == "ok"


def test_no_keyring_is_made_when_nobody_waits(home):
    session = Session(home).start_keyring(password=None)
    try:
        store = Store("keyring", session.env, os.path.join(home.path, "store.log"))
        reply = store("put", b"x", **ME, ask="no")
        assert (reply["kind"], reply.waits) == ("locked", [])
        store.stop()
    finally:
        session.end()


@pytest.fixture
def other(home):
    """A service that closes its window when it is told to, and a program that asks it: (program, service)."""
    session = Session(home)
    service = SecretService(session)
    store = Store("keyring", session.env, os.path.join(home.path, "store.log"))
    store.send("get", **ME)
    assert store.receive()["result"] == "waiting"
    wait_until(lambda: "Prompt" in service.asked)
    yield store, service
    service.end()
    session.end()
    store.process.kill()
    store.process.wait()
    store.socket.close()


@pytest.mark.parametrize("how", ["end of the stream", "SIGTERM"])
def test_the_window_closes_with_the_program(other, how):
    store, service = other
    assert "Dismiss" not in service.asked
    if how == "SIGTERM":
        store.process.send_signal(signal.SIGTERM)
        assert store.process.wait(PATIENCE) == 0
    else:
        assert store.end() == 0
    assert service.asked.count("Dismiss") == 1


def test_a_service_that_does_not_close_its_window(other):
    store, service = other
    service.mute.add("Dismiss")
    store.process.send_signal(signal.SIGTERM)
    assert store.process.wait(PATIENCE) == 0
    assert service.asked.count("Dismiss") == 1


# ---- the agent ---------------------------------------------------------------------------------------------------------


QUIET = "the next mltoken get asks to unlock it"


class Questions:
    """How often a person is asked."""

    def __init__(self, prompter):
        self.prompter, self.lines = prompter, []
        self.thread = threading.Thread(target=self.listen)
        self.thread.start()

    def listen(self):
        for line in self.prompter.stdout:
            self.lines.append(line)

    def count(self):
        return self.lines.count("asked password\n")

    def end(self):
        self.prompter.kill()
        self.prompter.wait()
        self.thread.join()


def test_a_renewal_ahead_of_time_opens_no_window(authority, session, home, start_agent, mltoken):
    """However often it is tried, also after a person said no; who asks for a token is asked for the password."""
    home.config({"me": person(authority)}, {"store": "keyring"})
    agent = start_agent(DBUS_SESSION_BUS_ADDRESS=session.address)
    authority.set_client("device", auto_approve="alice", token_lifetime=30, refresh_in=3)
    mltoken("login", "me", "--json").ok()
    session.lock()
    questions = Questions(session.prompter("dismiss"))
    wait_until(lambda: agent.log().count(QUIET) >= 2)
    assert questions.count() == 0
    assert QUIET in mltoken("status", "me", "--json").ok().json()["lastError"]
    assert "was not unlocked when asked" in mltoken("get", "me", "--refresh").failed(8)
    wait_until(lambda: questions.count() == 1)
    before = agent.log().count(QUIET)
    wait_until(lambda: agent.log().count(QUIET) > before, 2 * PATIENCE)
    questions.end()
    assert questions.count() == 1
    questions = Questions(session.prompter("answer", PASSWORD))
    wait_until(lambda: mltoken("get", "me", "--refresh").code == 0)  # who said no is left in peace for some seconds
    questions.end()
    assert questions.count() == 1


def test_a_stored_secret_for_a_renewal_opens_no_window(authority, session, home, start_agent, mltoken):
    secret = authority.client("svc").secret
    home.config({"svc": {**service(authority, home), "client_secret": "stored"}}, {"store": "keyring"})
    agent = start_agent(DBUS_SESSION_BUS_ADDRESS=session.address)
    authority.set_client("svc", token_lifetime=30, refresh_in=3)
    mltoken("secret", "set", "svc", "client_secret", input=secret).ok()
    mltoken("get", "svc").ok()
    session.lock()
    questions = Questions(session.prompter("answer", PASSWORD))
    wait_until(lambda: agent.log().count(QUIET) >= 1)
    assert questions.count() == 0
    mltoken("get", "svc", "--refresh").ok()
    questions.end()
    assert questions.count() == 1


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_window_closes_with_the_agent(authority, home, start_agent, mltoken, how):
    session = Session(home)
    other = SecretService(session)
    try:
        home.config({"me": person(authority)}, {"store": "keyring"})
        agent = start_agent(DBUS_SESSION_BUS_ADDRESS=session.address)
        asking = mltoken.start("get", "me")
        wait_until(lambda: "Prompt" in other.asked)
        assert "waits: the keyring is locked" in mltoken("status").ok().out
        agent.expect_exit = -how if how == signal.SIGKILL else 0
        agent.process.send_signal(how)
        agent.process.wait(PATIENCE)
        wait_until(lambda: other.asked.count("Dismiss") == 1)
        asking.wait(PATIENCE)
    finally:
        other.end()
        session.end()
