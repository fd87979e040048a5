"""The agent with a real gnome-keyring on a bus of the test's own: what it keeps there, and what happens while the keyring
is locked, mute, dead or not there at all. In each of these a cached token of another profile is served meanwhile, and how
long that takes is printed beside how long it takes an agent in peace, in turns with it."""

import os
import re
import signal
import statistics
import subprocess
import time

import pytest
from authority.store import SECRET_PLAIN
from harness import ROOT, person, service, wait_until
from keyring_session import PASSWORD, Session, heard

LOCKED = "the keyring is locked; unlock it in the window that it opens"
REQUESTS, ROUNDS = 300, 15


@pytest.fixture
def session(home):
    """A session bus with nothing on it."""
    session = Session(home)
    yield session
    session.end()


@pytest.fixture
def keyring(session):
    """An open keyring on it."""
    return session.start_keyring()


class Desk:
    """A person's desktop: profiles of the keyring, who are signed in, and one that has nothing to do with it. The agent
    was started anew after the sign-in, so no token but the neighbour's is cached."""

    def __init__(self, session, authority, home, start_agent, mltoken, varlink):
        self.session, self.authority, self.mltoken = session, authority, mltoken
        self.start_agent, self.varlink = start_agent, varlink
        home.config({"me": person(authority, store="keyring"), "you": person(authority, store="keyring"),
                     "neighbour": service(authority, home, store="memory")})
        authority.set_client("device", auto_approve="alice")
        self.agent = self.start()
        for name in ("me", "you"):
            mltoken("login", name, "--json").ok()
        elsewhere = os.path.join(home._dir("peace"), "agent.sock")
        start_agent(MLTOKEN_SOCK=elsewhere)
        self.peace = varlink(elsewhere)
        self.peace.token("neighbour")
        self.restart()

    def start(self):
        return self.start_agent(DBUS_SESSION_BUS_ADDRESS=self.session.address)

    def restart(self):
        self.agent.process.kill()
        self.agent.process.wait()
        self.agent.expect_exit = -signal.SIGKILL
        self.agent = self.start()
        self.connection = self.varlink()
        self.connection.token("neighbour")

    def get(self, *args):
        """A get that is not waited for."""
        return self.mltoken.start("get", *args)

    def waits(self):
        """What the agent says it waits for."""
        return self.mltoken("status", "--json").ok().json()["agent"]["store"]

    def asked(self, profile="me", *args):
        """A get that waits for the keyring, as soon as somebody is asked."""
        process = self.get(profile, *args)
        wait_until(lambda: LOCKED in self.waits())
        return process

    @staticmethod
    def round(connection, profile):
        """How long each of some requests for a token took, in microseconds."""
        took = []
        for _ in range(REQUESTS):
            began = time.monotonic_ns()
            connection.token(profile)
            took.append((time.monotonic_ns() - began) / 1000)
        return sorted(took)

    def served(self, trouble, *waiting, profile="neighbour"):
        """The profile's cached token is served while these commands wait: they still do when the last request is answered."""
        fetched = len(self.authority.requests("token"))
        rounds = []
        while len(rounds) < ROUNDS:
            took = self.round(self.connection, profile), self.round(self.peace, "neighbour")
            over = [process for process in waiting if process.poll() is not None]
            if over and rounds:
                break  # on a busy machine fewer rounds fit in
            assert not over, f"the trouble was over: {self.mltoken.finish(over[0])}"
            rounds.append(took)
        assert len(self.authority.requests("token")) == fetched, "it was not cached"
        print(f"\n{trouble}: {len(rounds) * REQUESTS} cached tokens of {profile}: " + ", ".join(
            f"{name} {statistics.median(took[at] for took, _ in rounds):.0f} us, in peace "
            f"{statistics.median(peace[at] for _, peace in rounds):.0f} us "
            f"({statistics.median(took[at] / peace[at] for took, peace in rounds):.2f}x)"
            for name, at in (("median", REQUESTS // 2), ("p99", REQUESTS * 99 // 100))))


@pytest.fixture
def desk(keyring, authority, home, start_agent, mltoken, varlink):
    return Desk(keyring, authority, home, start_agent, mltoken, varlink)


def sentence(error, profile, *words):
    """One line that names the profile and says all of that."""
    print(f"\n  {error.strip()}")
    assert error.startswith(f"mltoken: cannot get a token for {profile}: "), error
    for word in words:
        assert word in error, f"{word!r} is not in {error!r}"


def mute(session, stopped=True):
    session.keyring.send_signal(signal.SIGSTOP if stopped else signal.SIGCONT)


# ---- what is kept ------------------------------------------------------------------------------------------------------


def found(session, profile):
    """What another program of the desktop finds: [{key: value}]."""
    done = subprocess.run(["secret-tool", "search", "--all", "profile", profile], env=session.env, text=True, timeout=60,
                          capture_output=True, check=True)
    items = [{}]
    for line in re.findall(r"^(\S+) = (.*)$", done.stdout + done.stderr, re.M):
        if line[0] in items[-1]:
            items.append({})
        items[-1][line[0]] = line[1]
    return [item for item in items if item]


def test_a_sign_in_is_kept_and_serves_after_a_restart(desk, session, authority, mltoken):
    item, = found(session, "me")
    assert {key for key in item if key.startswith("attribute.")} == {
        "attribute.profile", "attribute.name", "attribute.binding"}
    assert (item["attribute.profile"], item["attribute.name"]) == ("me", "refresh_token")
    assert re.fullmatch("[0-9a-f]{64}", item["attribute.binding"])
    assert item["schema"] == "org.mltoken.Secret"
    assert item["label"] == "mltoken: refresh token of profile me"
    assert len(session.items()) == 2  # you's
    mltoken("get", "me").ok()
    families = list(authority.store.families.values())
    assert any(family.current in item for family in families for item in secrets(session, "me"))
    desk.restart()
    mltoken("get", "me").ok()
    assert not authority.reuses
    assert "account" in mltoken("status", "me").ok().out
    mltoken("logout", "me").ok()
    assert found(session, "me") == [] and len(session.items()) == 1
    assert "mltoken login me" in mltoken("get", "me").failed(4)


def secrets(session, profile):
    """The secrets themselves, as another program of the person can read them."""
    done = subprocess.run(["secret-tool", "lookup", "profile", profile], env=session.env, text=True, timeout=60,
                          capture_output=True, check=True)
    return [done.stdout]


def test_a_client_secret_is_kept_until_it_is_cleared(session, keyring, authority, home, start_agent, mltoken):
    home.config({"p": {**service(authority, home), "client_secret": "stored", "store": "keyring"}})
    agent = start_agent(DBUS_SESSION_BUS_ADDRESS=session.address)
    assert "mltoken secret set p" in mltoken("get", "p").failed(3)
    mltoken("secret", "set", "p", "client_secret", input=SECRET_PLAIN).ok()
    item, = found(session, "p")
    assert item["label"] == "mltoken: client secret of profile p"
    assert SECRET_PLAIN not in "".join(f"{key}{value}" for key, value in item.items() if key != "secret")
    mltoken("get", "p").ok()
    agent.process.kill()
    agent.process.wait()
    agent.expect_exit = -signal.SIGKILL
    start_agent(DBUS_SESSION_BUS_ADDRESS=session.address)
    mltoken("get", "p").ok()
    assert "client_secret" in mltoken("secret", "list", "p").ok().out
    mltoken("logout", "p")
    assert len(session.items()) == 1, "a logout leaves client secrets"
    mltoken("secret", "clear", "p", "client_secret").ok()
    assert session.items() == {}


# ---- locked ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def locked(desk, session):
    """The keyring is locked now."""
    session.lock()
    return desk


def test_a_window_is_open_and_a_person_closes_it(locked, session, authority, mltoken):
    prompter = session.prompter("wait")
    waiting = locked.asked()
    assert heard(prompter) == "asked password\n"
    assert LOCKED in mltoken("status").ok().out
    locked.served("keyring locked, a window is open", waiting)
    prompter.send_signal(signal.SIGUSR1)
    sentence(mltoken.finish(waiting).failed(8), "me", "the keyring is locked, and was not unlocked when asked", "store = file")
    assert LOCKED not in mltoken("status").ok().out
    prompter.kill()
    prompter.wait()
    session.prompter("answer", PASSWORD)
    wait_until(lambda: mltoken("get", "me").code == 0)
    mltoken("get", "you").ok()
    assert not authority.reuses


def test_a_person_unlocks(locked, session, authority, mltoken):
    prompter = session.prompter("wait", PASSWORD)
    waiting = locked.asked()
    assert heard(prompter) == "asked password\n"
    locked.served("keyring locked, until a person unlocks it", waiting)
    prompter.send_signal(signal.SIGUSR2)
    mltoken.finish(waiting).ok()
    assert LOCKED not in mltoken("status").ok().out
    mltoken("get", "you").ok()
    assert not authority.reuses


def test_a_cached_token_of_the_keyrings_own_profile_is_served(desk, session, mltoken):
    mltoken("get", "me").ok()
    desk.connection.token("me")
    session.lock()
    prompter = session.prompter("wait")
    waiting = desk.asked("me", "--refresh")
    assert heard(prompter) == "asked password\n"
    desk.served("keyring locked, a window is open for the same profile", waiting, profile="me")
    prompter.send_signal(signal.SIGUSR1)
    mltoken.finish(waiting).failed(8)
    mltoken("get", "me").ok()


def test_no_window_can_open(locked, mltoken):
    sentence(mltoken("get", "me").failed(8), "me", "the keyring is locked, and no window can open here", "store = file")


def test_who_does_not_wait_that_long_is_told_what_for(locked, session, mltoken):
    prompter = session.prompter("wait")
    waiting = locked.asked("me", "--timeout", "10")
    assert heard(prompter) == "asked password\n"
    behind = locked.get("you", "--timeout", "10")
    for process, name in ((waiting, "me"), (behind, "you")):
        sentence(mltoken.finish(process).failed(6), name, "in time", LOCKED)


def test_two_minutes_are_a_persons():
    """What the next test has seconds for."""
    with open(os.path.join(ROOT, "lib/common/limits.h"), encoding="utf-8") as f:
        assert re.search(r"^#define LIMIT_STORE_WAIT_MS 120000\b", f.read(), re.M)


def test_nobody_answers(session, keyring, authority, home, start_agent, mltoken, varlink):
    """The agent's own deadline: of one window, for all who waited for it."""
    home.impatient("mltoken-store-keyring")
    desk = Desk(session, authority, home, start_agent, mltoken, varlink)
    session.lock()
    prompter = session.prompter("wait")
    waiting = [desk.get(name, "--timeout", "300") for name in ("me", "you")]
    assert heard(prompter) == "asked password\n"
    said = [sentence(mltoken.finish(process, timeout=200).failed(8), name, "keyring", "waited 8 s in vain")
            for process, name in zip(waiting, ("me", "you"))]
    assert len(said) == 2 and "in vain" in desk.agent.log()


PROFILES = 6


def test_a_person_says_no_once(session, keyring, authority, home, start_agent, mltoken, varlink):
    """However many profiles wait for the same keyring."""
    names = [f"p{i}" for i in range(PROFILES)]
    home.config({name: {**service(authority, home), "client_secret": "stored", "store": "keyring"} for name in names})
    start_agent(DBUS_SESSION_BUS_ADDRESS=session.address)
    for name in names:
        mltoken("secret", "set", name, "client_secret", input=SECRET_PLAIN).ok()
    session.lock()
    prompter = session.prompter("wait")
    waiting = [mltoken.start("get", name) for name in names]
    assert heard(prompter) == "asked password\n"

    def all_wait():
        profiles = mltoken("status", "--json").ok().json()["profiles"]
        return [p for p in profiles if p.get("waiting")] == profiles

    wait_until(all_wait)
    told = [line for line in mltoken("status").ok().out.splitlines() if LOCKED in line]
    print("\n" + "\n".join(told))
    prompter.send_signal(signal.SIGUSR1)
    for name, process in zip(names, waiting):
        sentence(mltoken.finish(process).failed(8), name, "keyring is locked", "asked")
    sentence(mltoken("get", names[0]).failed(8), names[0], "a person was asked in vain a moment ago")
    prompter.kill()
    assert prompter.stdout.read().count("asked") == 0, "there was another window"
    session.prompter("answer", PASSWORD)
    wait_until(lambda: mltoken("get", names[0]).code == 0)
    for name in names:
        mltoken("get", name).ok()


# ---- mute, dead, not there ---------------------------------------------------------------------------------------------


def test_the_keyring_does_not_answer(desk, session, authority, mltoken):
    mute(session)
    waiting = desk.get("me")
    behind = desk.get("you")
    wait_until(lambda: [p for p in mltoken("status", "--json").ok().json()["profiles"] if p["state"] == "refreshing"])
    desk.served("keyring mute (SIGSTOP)", waiting, behind)
    for process, name in ((waiting, "me"), (behind, "you")):
        sentence(mltoken.finish(process).failed(8), name, "store keyring does not answer within 10 s", "mltoken doctor")
    mute(session, False)
    mltoken("get", "me").ok()
    mltoken("get", "you").ok()
    assert not authority.reuses


def test_a_keyring_that_was_stopped_goes_on(desk, session, authority, mltoken):
    mute(session)
    waiting = desk.get("me")
    wait_until(lambda: "refreshing" in mltoken("status", "me").ok().out)
    desk.served("keyring mute, goes on in time", waiting)
    mute(session, False)
    mltoken.finish(waiting).ok()
    assert not authority.reuses


def test_a_renewal_meets_a_mute_keyring(desk, session, authority, mltoken):
    """The new refresh token cannot be kept: nobody sees the access token, and it is not lost."""
    mltoken("get", "me").ok()
    desk.connection.token("me")
    authority.set_delay(1, "token")
    sent = len(authority.requests("token"))
    waiting = desk.get("me", "--refresh")
    wait_until(lambda: len(authority.requests("token")) > sent)
    mute(session)
    authority.set_delay(0, "token")
    desk.served("keyring mute at a renewal, same profile", waiting, profile="me")
    error = mltoken.finish(waiting, timeout=60).failed(8)
    sentence(error, "me", "could not be kept", "does not answer within 10 s")
    mute(session, False)
    mltoken("get", "me", "--refresh").ok()
    assert not authority.reuses
    desk.restart()
    mltoken("get", "me").ok()
    assert not authority.reuses


@pytest.mark.parametrize("connected", [True, False])
def test_the_keyring_is_killed_amid_a_call(desk, session, authority, mltoken, connected):
    if connected:
        mltoken("get", "me").ok()
    mute(session)
    waiting = desk.get("me", "--refresh")
    wait_until(lambda: "waiting: store keyring has not answered yet" in mltoken("status", "me").ok().out)
    desk.served("keyring mute, then killed", waiting)
    session.end_keyring()
    sentence(mltoken.finish(waiting).failed(8), "me",
             "the Secret Service (the keyring) went away" if connected else "no Secret Service", "mltoken doctor me")
    sentence(mltoken("get", "you").failed(8), "you", "no Secret Service", "mltoken doctor you")
    desk.served("keyring dead")
    session.start_keyring()
    mltoken("get", "me", "--refresh").ok()
    mltoken("get", "you").ok()
    assert not authority.reuses


def test_the_keyring_is_killed_while_a_window_is_open(locked, session, mltoken):
    prompter = session.prompter("wait")
    waiting = locked.asked()
    assert heard(prompter) == "asked password\n"
    session.end_keyring()
    sentence(mltoken.finish(waiting).failed(8), "me", "the Secret Service (the keyring) went away", "mltoken doctor me")
    session.start_keyring()
    mltoken("get", "me").ok()


def test_no_bus_but_the_keyring_was_asked_for(desk, session, authority, mltoken):
    session.end_keyring()
    session.end_bus()
    for _ in range(2):
        sentence(mltoken("get", "me").failed(8), "me", "D-Bus", "mltoken doctor me")
    desk.served("no D-Bus")
    session.start_bus()
    session.start_keyring()
    mltoken("get", "me").ok()
    assert not authority.reuses


def test_no_bus_and_no_store_was_named(authority, home, start_agent, mltoken, varlink):
    """Falls to sealed files, and says so once; a keyring that comes later changes nothing until the agent begins anew."""
    key = home.write("key", os.urandom(32).hex() + "\n")
    home.config({"me": person(authority)}, {"key_file": key})
    authority.set_client("device", auto_approve="alice")
    agent = start_agent()
    began = time.monotonic()
    mltoken("get", "me").failed(4)
    print(f"\nno D-Bus at all: the next store after {time.monotonic() - began:.3f} s")
    mltoken("login", "me", "--json").ok()
    mltoken("get", "me").ok()
    said = [line for line in agent.log().splitlines() if "D-Bus" in line]
    assert len(said) == 1, said
    print(said[0])
    assert "store=file" in said[0] and "there is no D-Bus session bus here, and so no keyring" in said[0]
    assert "store file: there is no D-Bus" in mltoken("status").ok().out
    session = Session(home)
    try:
        session.start_keyring()
        mltoken("get", "me", "--refresh").ok()
        assert session.items() == {} and not authority.reuses
    finally:
        session.end()


def test_the_keyring_comes_later(session, authority, home, start_agent, mltoken):
    """As when the agent is there before the desktop is: a profile that names the keyring gets it."""
    home.config({"me": person(authority, store="keyring")})
    authority.set_client("device", auto_approve="alice")
    start_agent(DBUS_SESSION_BUS_ADDRESS=session.address)
    sentence(mltoken("get", "me").failed(8), "me", "no Secret Service", "mltoken doctor me")
    session.start_keyring()
    mltoken("get", "me").failed(4)
    mltoken("login", "me", "--json").ok()
    assert len(session.items()) == 1


# ---- doctor ------------------------------------------------------------------------------------------------------------


def test_the_doctor_looks_at_the_keyring(session, authority, home, mltoken, start_agent):
    """Reachable, locked (without opening a window), or not there."""
    home.config({"p": {**service(authority, home), "client_secret": "stored", "store": "keyring"}})

    def doctor():
        done = mltoken("doctor", "p", env={"DBUS_SESSION_BUS_ADDRESS": session.address})
        line, = [line for line in done.out.splitlines() if "store keyring" in line]
        print("\n  " + line)
        return done.code, line

    code, line = doctor()
    assert code == 3 and line.startswith("FAIL") and "no Secret Service" in line and "store = file" in line
    session.start_keyring()
    start_agent(DBUS_SESSION_BUS_ADDRESS=session.address)
    mltoken("secret", "set", "p", "client_secret", input=SECRET_PLAIN).ok()
    code, line = doctor()
    assert code == 0 and line.startswith("ok") and "locked" not in line
    session.lock()
    prompter = session.prompter("wait")
    code, line = doctor()
    assert code == 0 and line.startswith("warn") and "the keyring is locked" in line
    session.end_keyring()
    session.start_keyring(password=None)  # one that was never opened does not even tell what is in it
    code, line = doctor()
    assert line.startswith("warn") and "the keyring is locked" in line
    mute(session)
    code, line = doctor()
    assert code == 3 and line.startswith("FAIL") and "does not answer within 10 s" in line
    mute(session, False)
    prompter.kill()
    assert "asked" not in prompter.stdout.read()
