"""Secrets that outlive the agent: stores in programs of their own, what is bound to what, and rotation."""

import json
import os
import random
import signal
import threading
import time
import urllib.parse
import urllib.request

import pexpect
import pytest
from authority.store import SECRET_PLAIN
from harness import Agent, person, program, service, wait_until


class Store:
    """The files of a store program of the tests."""

    def __init__(self, directory, name):
        self.base = os.path.join(directory, name)

    def _read(self, ending):
        try:
            with open(self.base + ending, encoding="utf-8") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def script(self, words):
        with open(self.base + ".new", "w", encoding="utf-8") as f:
            f.write(words)
        os.rename(self.base + ".new", self.base + ".script")

    def left(self):
        return self._read(".script")

    def notes(self):
        return self._read(".notes").splitlines()

    def pid(self):
        return int([n for n in self.notes() if n.startswith("start")][-1].split()[1])

    def file(self, profile, name="refresh_token"):
        return os.path.join(self.base + ".data", f"{profile}\t{name}")

    def value(self, profile, name="refresh_token"):
        with open(self.file(profile, name), "rb") as f:
            return f.read().split(b"\n", 2)[2]

    def version(self, profile, name="refresh_token"):
        with open(self.file(profile, name), "rb") as f:
            return int(f.readline())

    def token(self, profile):
        return json.loads(self.value(profile))["refresh_token"]

    def replace(self, profile, version, change):
        """What another agent does to a sign-in: change() gets what is kept, and returns what is to be."""
        with open(self.file(profile), "rb") as f:
            binding, value = f.read().split(b"\n", 2)[1:]
        with open(self.base + ".replaced", "wb") as f:
            f.write(b"%d\n%s\n%s" % (version, binding, json.dumps(change(json.loads(value))).encode()))
        os.rename(self.base + ".replaced", self.file(profile))


@pytest.fixture
def store(home):
    return Store(home.stores("test"), "test")


@pytest.fixture
def signed_in(authority, home, start_agent, mltoken, store):
    """alice is signed in as me, whose store is the tests' own."""
    home.config({"me": person(authority, store="test")})
    agent = start_agent()
    authority.set_client("device", auto_approve="alice")
    mltoken("login", "me", "--json").ok()
    return agent


def restart(agent, start_agent):
    agent.process.kill()
    agent.process.wait()
    agent.expect_exit = -signal.SIGKILL
    return start_agent()


def states(mltoken):
    return {p["name"]: p for p in mltoken("status", "--json").ok().json()["profiles"]}


def refreshes(authority):
    return authority.requests("token", grant="refresh_token")


# restarts

def test_a_sign_in_survives_the_agent(signed_in, store, authority, start_agent, mltoken):
    first = store.token("me")
    restart(signed_in, start_agent)
    before = len(store.notes())
    state = states(mltoken)["me"]
    assert state["state"] == "empty" and "account" not in state
    assert len(store.notes()) == before, "nothing is read before it is needed"
    mltoken("get", "me").ok()
    assert refreshes(authority)[-1].form["refresh_token"] == first
    assert store.token("me") != first
    state = states(mltoken)["me"]
    assert state["state"] == "ready" and state["account"] == "alice@example.org"
    mltoken("get", "me", "--refresh").ok()
    assert not authority.reuses


def test_the_account_is_remembered_across_a_restart(signed_in, authority, start_agent, mltoken):
    restart(signed_in, start_agent)
    authority.set_client("device", auto_approve="bob")
    assert "another account" in mltoken("login", "me", "--json").err
    mltoken("get", "me").ok()
    mltoken("login", "me", "--json", "--switch-account").ok()
    assert states(mltoken)["me"]["account"] == "bob@example.org"


def test_who_signed_out_stays_signed_out(signed_in, store, authority, start_agent, mltoken):
    mltoken("logout", "me").ok()
    assert not os.path.exists(store.file("me"))
    restart(signed_in, start_agent)
    mltoken("get", "me").failed(4)
    assert states(mltoken)["me"]["state"] == "login_required"


def test_signing_out_after_a_restart_revokes(signed_in, store, authority, start_agent, mltoken):
    token = store.token("me")
    restart(signed_in, start_agent)
    assert "revoked at the authority" in mltoken("logout", "me").ok().out
    assert token in [r.form["token"] for r in authority.requests("revoke")]
    assert not os.path.exists(store.file("me"))


def test_signing_out_of_everything_after_a_restart(signed_in, store, authority, start_agent, mltoken):
    restart(signed_in, start_agent)
    mltoken("logout", "--all").ok()
    assert authority.requests("revoke") and not os.path.exists(store.file("me"))


# what a secret is bound to

def other_settings(authority, home):
    """Each changes one receiver, and stays usable."""
    with open(authority.ca_file, encoding="utf-8") as f:
        ca = home.write("ca.pem", f.read(), 0o644)
    return {
        "token_endpoint": {"token_endpoint": authority.oidc + "/token"},
        "revocation_endpoint": {"revocation_endpoint": authority.oidc + "/revoke"},
        "proxy": {"proxy": authority.http},
        "ca_file": {"ca_file": ca},
        "client_id": {"client_id": "load-1"},
        "authority": {"authority": authority.http + "/oauth"},
    }


@pytest.mark.parametrize("key", ["token_endpoint", "revocation_endpoint", "proxy", "ca_file", "client_id", "authority"])
@pytest.mark.parametrize("stopped", [False, True])
def test_changed_settings_get_no_secret(signed_in, store, authority, home, start_agent, mltoken, key, stopped):
    settings = person(authority, store="test")
    token, agent = store.token("me"), signed_in
    if stopped:
        agent.stop()
    authority.forget_requests()
    home.config({"me": {**settings, **other_settings(authority, home)[key]}})
    if stopped:
        start_agent()
    assert "settings changed since it was stored" in wait_until(
        lambda: mltoken("get", "me", "--refresh").err).strip()
    mltoken("logout", "me")
    assert token not in json.dumps([r.form for r in authority.requests()]), "the refresh token was sent"


def test_settings_that_are_changed_back(signed_in, store, authority, home, mltoken):
    settings = person(authority, store="test")
    home.config({"me": {**settings, "proxy": authority.http}})
    wait_until(lambda: mltoken("get", "me", "--refresh").code == 4)
    home.config({"me": settings})
    wait_until(lambda: mltoken("get", "me", "--refresh").code == 0)


def test_the_content_of_the_ca_file_counts(authority, home, start_agent, mltoken, store):
    with open(authority.ca_file, encoding="utf-8") as f:
        text = f.read()
    ca = home.write("ca.pem", text, 0o644)
    home.config({"p": {**service(authority, home, base=authority.https + "/oidc", ca_file=ca, store="test"),
                       "client_secret": "stored"}})
    start_agent()
    mltoken("secret", "set", "p", input=SECRET_PLAIN + "\n").ok()
    mltoken("get", "p").ok()
    home.write("ca.pem", "# another\n" + text, 0o644)
    authority.forget_requests()
    err = mltoken("get", "p", "--refresh").failed(3)
    assert "settings changed since it was stored" in err and "mltoken secret set p client_secret" in err
    assert not authority.requests("token")
    listed = mltoken("secret", "list", "p", "--json").ok().json()
    assert listed == [{"name": "client_secret", "source": "test", "stored": True, "present": False,
                       "reason": "settings changed since it was stored"}]


# secrets that a person stores

def test_a_stored_client_secret(authority, home, start_agent, mltoken, store):
    home.config({"p": {**service(authority, home, store="test"), "client_secret": "stored"}})
    agent = start_agent()
    err = mltoken("get", "p").failed(3)
    assert "mltoken secret set p client_secret" in err
    assert "missing" in mltoken("secret", "list", "p").ok().out
    mltoken("secret", "set", "p", input="wrongMARKsecret").ok()
    mltoken("get", "p").failed(5)
    mltoken("secret", "set", "p", "client_secret", input=SECRET_PLAIN + "\n").ok()
    mltoken("get", "p").ok()  # the refusal is forgotten
    assert store.value("p", "client_secret") == SECRET_PLAIN.encode()
    assert "present" in mltoken("secret", "list", "p").ok().out
    assert states(mltoken)["p"]["state"] == "ready"
    # a sanitizer keeps what was freed in quarantine
    wait_until(lambda: os.environ.get("MLTOKEN_SAN") or not agent.memory_has(SECRET_PLAIN.encode()), 5)
    agent = restart(agent, start_agent)
    mltoken("get", "p").ok()
    mltoken("secret", "clear", "p").ok()
    mltoken("get", "p", "--refresh").failed(3)
    assert SECRET_PLAIN not in agent.log() and "MARK" not in agent.log()


def test_what_no_secret_is(authority, home, start_agent, mltoken, store):
    home.config({"p": service(authority, home, store="test"), "me": person(authority, store="test")})
    start_agent()
    assert "logout" in mltoken("secret", "clear", "me", "refresh_token").failed(3)
    mltoken("secret", "set", "p", "pasword", input="x").failed(3)
    mltoken("secret", "set", "nobody", input="x").failed(3)
    assert "empty" in mltoken("secret", "set", "p", input="\n").failed(2)
    mltoken("secret", "set", "p", input="a\nb\n").failed(2)
    mltoken("secret", "set", "p", "password", "hunter2", input="x").failed(2)
    mltoken("secret", "sett", "p").failed(2)
    assert {note.split()[0] for note in store.notes()} <= {"start", "list"}


def test_it_is_asked_for_without_echo(authority, home, start_agent, mltoken, store):
    home.config({"p": {**service(authority, home, store="test"), "client_secret": "stored"}})
    start_agent()
    terminal = pexpect.spawn(program("mltoken"), ["secret", "set", "p"], env=home.env(), encoding="utf-8", timeout=20)
    terminal.expect("client_secret of p: ")
    assert not terminal.getecho()
    terminal.sendline(SECRET_PLAIN)
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0 and SECRET_PLAIN not in terminal.before
    assert store.value("p", "client_secret") == SECRET_PLAIN.encode()


def test_logging_out_keeps_client_secrets(authority, home, start_agent, mltoken, store):
    home.config({"me": person(authority, "device-conf", client_secret="stored", store="test")})
    start_agent()
    authority.set_client("device-conf", auto_approve="alice")
    mltoken("secret", "set", "me", input=SECRET_PLAIN).ok()
    mltoken("login", "me", "--json").ok()
    mltoken("get", "me", "--refresh").ok()
    mltoken("logout", "me").ok()
    assert os.path.exists(store.file("me", "client_secret")) and not os.path.exists(store.file("me"))


def test_moving(signed_in, store, authority, home, mltoken):
    home.stores("other")
    other = Store(home.stores(), "other")
    mltoken("secret", "set", "me", "client_secret", input="kept").ok()
    token = store.token("me")
    assert ": 2;" in mltoken("secret", "move", "me", "other").ok().err
    assert other.token("me") == token and other.value("me", "client_secret") == b"kept"
    assert not os.path.exists(store.file("me"))
    home.config({"me": person(authority, store="other")})
    wait_until(lambda: mltoken("get", "me", "--refresh").code == 0)
    home.config({"me": person(authority, store="memory")})  # and what is asked for first, then named
    wait_until(lambda: mltoken("get", "me", "--refresh").code == 4)
    home.config({"me": person(authority, store="other")})
    wait_until(lambda: mltoken("get", "me", "--refresh").code == 0)
    assert not authority.reuses


# which store

def test_the_store_that_is_there(authority, home, start_agent, mltoken):
    stores = {name: Store(home.stores(name), name) for name in ("keyring", "file")}
    home.config({"me": person(authority)})
    authority.set_client("device", auto_approve="alice")
    for name in ("", "keyring", "file"):  # so many of them are unavailable
        if name:
            stores[name].script("unavailable*")
        agent = start_agent()
        mltoken("get", "me")
        mltoken("get", "me")
        chosen = mltoken("status", "--json").ok().json()["agent"]["store"]
        wanted = {"": "keyring", "keyring": "file", "file": "memory"}[name]
        assert chosen.partition(":")[0] == wanted
        said = [line for line in agent.log().splitlines() if "store=" + wanted in line]
        assert len(said) == 1, agent.log()
        if name:
            assert "the keyring of this test is unavailable" in said[0] and "the keyring" in chosen
        mltoken("login", "me", "--json").ok()
        assert [os.path.exists(stores[n].file("me")) for n in ("keyring", "file")] == [
            True, name in ("keyring", "file")]
        agent.stop()
        agent.process = None


def test_without_any_store_program_it_is_memory(authority, home, start_agent, mltoken):
    home.stores()
    home.config({"me": person(authority)})
    start_agent()
    assert "not chosen" in mltoken("status").ok().out
    authority.set_client("device", auto_approve="alice")
    mltoken("login", "me", "--json").ok()
    assert "store memory: there is no program mltoken-store-keyring, and " in mltoken("status").ok().out


def test_a_store_that_is_not_there(authority, home, start_agent, mltoken):
    home.stores()
    home.config({"me": person(authority, store="nosuch"), "p": service(authority, home, store="nosuch")})
    start_agent()
    assert "mltoken-store-nosuch" in mltoken("get", "me").failed(8)
    mltoken("get", "p").ok()  # needs none


def test_no_path_is_searched(authority, home, start_agent, mltoken, store):
    directory = home._dir("elsewhere")
    os.rename(os.path.join(home.stores(), "mltoken-store-test"), os.path.join(directory, "mltoken-store-test"))
    home.config({"me": person(authority, store="test")})
    start_agent(PATH=directory + ":" + os.environ["PATH"])
    mltoken("get", "me").failed(8)


def test_a_private_agent_keeps_nothing(authority, home, mltoken, store):
    import subprocess
    home.config({"me": person(authority, store="test")})
    script = f"{program('mltoken')} get me; {program('mltoken')} status --json"
    done = subprocess.run([home.agent_program, "--", "sh", "-c", script], env=home.env(), capture_output=True, text=True,
                          timeout=60, check=False)
    assert json.loads(done.stdout)["agent"]["store"] == "memory"
    assert not store.notes()


# stores that do not do what they should

def test_a_store_that_hangs_holds_nobody_else_up(signed_in, store, authority, home, mltoken, varlink):
    home.config({"me": person(authority, store="test"), "p": service(authority, home, store="memory"),
                 "other": person(authority, store="test")})
    wait_until(lambda: mltoken("get", "p").code == 0)
    store.script("hang")
    waiting = mltoken.start("get", "me", "--refresh")
    wait_until(lambda: store.left() == "" and store.notes()[-1].startswith("get"))
    connection = varlink()
    connection.token("p")
    assert waiting.poll() is None, "the hanging one is still being waited for"
    err = mltoken.finish(waiting).failed(8)
    assert "store test does not answer within 10 s" in err
    mltoken("get", "me", "--refresh").ok()  # with a new program
    assert len([n for n in store.notes() if n.startswith("start")]) == 2


def test_a_store_that_was_stopped_is_replaced(signed_in, store, mltoken):
    os.kill(store.pid(), signal.SIGSTOP)
    assert "does not answer" in mltoken("get", "me", "--refresh").failed(8)
    mltoken("get", "me", "--refresh").ok()


def test_what_a_store_waits_for_is_told(signed_in, store, mltoken):
    lock = store.base + ".locked"
    open(lock, "w", encoding="ascii").close()
    store.script("wait")
    waiting = mltoken.start("get", "me", "--refresh")
    wait_until(lambda: "somebody is to unlock it" in mltoken("status").ok().out)
    os.unlink(lock)
    mltoken.finish(waiting).ok()
    assert "unlock" not in mltoken("status").ok().out


@pytest.mark.parametrize("step", ["die-before", "die-after", "ok die-before", "ok die-after", "ok ok die-before",
                                  "ok ok die-after"])
def test_a_store_that_dies(signed_in, store, authority, mltoken, step):
    """At the get, at the put of the mark, and at that of the rotated token: before and after it is durable."""
    store.script(step)
    done = mltoken("get", "me", "--refresh")
    assert done.code in (0, 8)
    assert "ok" not in step or done.code == 0, "a put is tried again"
    mltoken("get", "me", "--refresh").ok()
    assert not authority.reuses
    assert store.token("me") == list(authority.store.families.values())[-1].current


def test_a_full_disk_loses_no_rotated_token(signed_in, store, authority, mltoken):
    store.script("ok full")  # that it begins cannot be marked: nothing is sent
    assert "full" in mltoken("get", "me", "--refresh").failed(8)
    assert not refreshes(authority)
    store.script("ok ok full")
    assert "full" in mltoken("get", "me", "--refresh").failed(8)
    store.script("full")
    mltoken("get", "me", "--refresh").failed(8)
    mltoken("get", "me", "--refresh").ok()  # what could not be kept then is kept now, and used
    assert not authority.reuses
    assert store.token("me") == list(authority.store.families.values())[-1].current


def test_a_sign_in_that_cannot_be_forgotten_is_told(signed_in, store, mltoken):
    store.script("ok full")
    assert "still in the store" in mltoken("logout", "me").failed(8)
    mltoken("logout", "me").ok()


def test_what_is_kept_but_not_understood(signed_in, store, authority, mltoken):
    with open(store.file("me"), "rb") as f:
        head = f.read().split(b"\n", 2)[:2]
    with open(store.file("me"), "wb") as f:
        f.write(b"\n".join([*head, b'{"refresh_token":7}']))
    mltoken("get", "me", "--refresh").failed(4)
    mltoken("login", "me", "--json").ok()
    mltoken("get", "me", "--refresh").ok()


# two agents on one store

def second_agent(home, authority):
    """Another agent of the same person, as on another host of a shared home."""
    socket = os.path.join(home._dir("run2"), "agent.sock")
    agent = Agent(home, MLTOKEN_SOCK=socket)
    agent.start()
    return agent


def test_two_agents_use_the_newest_token(signed_in, store, authority, home, mltoken):
    other = second_agent(home, authority)
    try:
        for i in range(6):
            with (other if i % 2 else signed_in).varlink() as v:
                v.token("me", refresh=True)
        assert not authority.reuses
        assert store.token("me") == list(authority.store.families.values())[-1].current
    finally:
        other.stop()


def test_two_agents_never_send_the_same_token(signed_in, store, authority, home, mltoken):
    """Both renew at once, and the authority has no grace: one waits for what the other gets."""
    other = second_agent(home, authority)
    try:
        authority.set_delay(1, "token")
        connections = [signed_in.varlink(), other.varlink()]
        for connection in connections:
            connection.send("GetToken", {"profile": "me", "refresh": True})
        for connection in connections:
            connection.reply()
        used = [r.form["refresh_token"] for r in refreshes(authority)]
        assert len(set(used)) == len(used) == 2 and not authority.reuses
        assert authority.max_concurrent("token") == 1
        assert store.token("me") == list(authority.store.families.values())[-1].current
    finally:
        other.stop()


def test_an_agent_that_died_is_not_waited_for(signed_in, store, authority, home, mltoken):
    """Within the authority's grace the other one goes on at once; the third one would not."""
    authority.set_client("device", reuse_grace=60)
    other = second_agent(home, authority)
    try:
        authority.fault("token", hang="after", times=1)
        waiting = signed_in.varlink()
        waiting.send("GetToken", {"profile": "me", "refresh": True})
        wait_until(lambda: len(refreshes(authority)) == 1)
        following = other.varlink()
        following.send("GetToken", {"profile": "me", "refresh": True})
        time.sleep(0.5)
        assert len(refreshes(authority)) == 1, "it did not wait"
        signed_in.process.kill()
        signed_in.process.wait()
        signed_in.expect_exit = -signal.SIGKILL
        assert following.reply()["token"]["value"]
        used = [r.form["refresh_token"] for r in refreshes(authority)]
        assert used[0] == used[1] and not authority.reuses
        assert "an agent ended while it renewed this sign-in" in other.log()
        assert store.token("me") == list(authority.store.families.values())[-1].current
    finally:
        other.stop()


def test_an_older_token_never_replaces_a_newer_one(signed_in, store, authority, home, mltoken):
    """Somebody who does not look at marks (an older version) renews meanwhile: what that one kept stays."""
    authority.set_client("device", reuse_grace=60)
    authority.fault("token", hold=True, times=1)
    connection = signed_in.varlink()
    connection.send("GetToken", {"profile": "me", "refresh": True})
    wait_until(lambda: len(refreshes(authority)) == 1)
    version, used = store.version("me"), store.token("me")
    form = urllib.parse.urlencode({"grant_type": "refresh_token", "refresh_token": used, "client_id": "device"}).encode()
    with urllib.request.urlopen(authority.oidc + "/token", form, timeout=20) as answer:
        newer = json.load(answer)["refresh_token"]
    store.replace("me", version + 1, lambda kept: {**kept, "refresh_token": newer, "sender": ""})
    authority.release("token")
    connection.reply()
    assert (store.version("me"), store.token("me")) == (version + 1, newer)
    connection.call("GetToken", profile="me", refresh=True)
    assert refreshes(authority)[-1].form["refresh_token"] == newer
    assert not authority.reuses


def test_another_account_signed_in_elsewhere(signed_in, store, authority, home, mltoken):
    other = second_agent(home, authority)
    try:
        authority.set_client("device", auto_approve="bob", scopes=None)
        with signed_in.varlink() as v:
            alices = v.token("me")
            assert alices["account"] == "alice@example.org"
            before = v.token("me", scopes=["openid"])["value"]
            with other.varlink() as elsewhere:
                list(elsewhere.more("Login", profile="me", switchAccount=True))
            bobs = v.token("me", refresh=True)
            assert bobs["account"] == "bob@example.org" and bobs["value"] != alices["value"]
            assert v.token("me")["value"] == bobs["value"]
            after = v.token("me", scopes=["openid"])
            assert after["value"] != before and after["account"] == "bob@example.org"
        assert not authority.reuses
    finally:
        other.stop()


def test_moving_in_a_private_agent_loses_nothing(authority, home, mltoken):
    import subprocess
    home.config({"p": {**service(authority, home), "client_secret": "stored"}})
    script = f"echo {SECRET_PLAIN} | {program('mltoken')} secret set p && {program('mltoken')} secret move p file && " \
             f"{program('mltoken')} secret move p memory && {program('mltoken')} get p"
    done = subprocess.run([home.agent_program, "--", "sh", "-c", script], env=home.env(), capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 0, done.stderr


# kill -9 at random instants

def test_rotation_survives_kill_at_any_instant(authority, home, mltoken, store):
    """With a grace for reuse nobody has to sign in anew, whatever is killed when; and the store holds the newest token that
    an answer came with."""
    authority.set_client("device", auto_approve="alice", reuse_grace=10)
    authority.set_delay(0.005, "token")
    home.config({"me": person(authority, store="test")})
    agent = Agent(home).start()
    mltoken("login", "me", "--json").ok()
    chance = random.Random(20261122)
    answered = killed_store = 0
    for round_ in range(100):
        with agent.varlink() as connection:
            stop_at = chance.uniform(0, 0.04)
            victim = agent.pid if round_ % 4 else store.pid()
            timer = threading.Timer(stop_at, lambda pid=victim: kill(pid))
            connection.send("GetToken", {"profile": "me", "refresh": True})
            timer.start()
            try:
                answered += "error" not in connection.receive()
            except (EOFError, OSError):
                pass
            timer.join()
        killed_store += victim != agent.pid
        if victim == agent.pid:
            agent.process.wait()
            agent = Agent(home).start()
        family = list(authority.store.families.values())[-1]
        assert not family.revoked, round_
        assert store.token("me") in [family.current, *family.used], round_
        with agent.varlink() as connection:
            assert connection.token("me", refresh=True)["value"]
        assert store.token("me") == list(authority.store.families.values())[-1].current
    agent.stop()
    assert not authority.reuses or not list(authority.store.families.values())[-1].revoked
    print(f"100 kills, {killed_store} of them of the store; {answered} were answered before")


def test_without_grace_only_the_window_costs_a_sign_in(authority, home, mltoken, store):
    """A sign-in is lost when, and only when, the agent died between sending its refresh token and having the new one kept;
    then the command says what to do, and so does the log."""
    authority.set_client("device", auto_approve="alice", reuse_grace=0)
    home.config({"me": person(authority, store="test")})
    agent = Agent(home).start()
    mltoken("login", "me", "--json").ok()
    chance = random.Random(20261123)
    lost_rounds = 0
    for _ in range(40):
        with agent.varlink() as connection:
            timer = threading.Timer(chance.uniform(0, 0.03), lambda pid=agent.pid: kill(pid))
            connection.send("GetToken", {"profile": "me", "refresh": True})
            timer.start()
            timer.join()
        agent.process.wait()
        agent = Agent(home).start()
        lost = store.token("me") != list(authority.store.families.values())[-1].current
        lost_rounds += lost
        if not lost:
            mltoken("get", "me", "--refresh").ok()
            continue
        assert "mltoken login me" in mltoken("get", "me", "--refresh").failed(4)
        assert "LoginRequired" in agent.log()
        mltoken("login", "me", "--json").ok()
    agent.stop()
    print(f"40 kills without grace: {lost_rounds} sign-ins lost, all of them in the window")


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


# the store that comes with mltoken for hosts without a desktop

@pytest.mark.parametrize("named", [True, False])
def test_sealed_files_survive_the_agent(authority, home, start_agent, mltoken, named):
    key = home.write("key", os.urandom(32).hex() + "\n")
    home.config({"me": person(authority, store="file" if named else None),
                 "p": {**service(authority, home), "client_secret": "stored"}}, {"key_file": key})
    authority.set_client("device", auto_approve="alice")
    agent = start_agent()
    mltoken("login", "me", "--json").ok()
    mltoken("secret", "set", "p", input=SECRET_PLAIN).ok()
    for _ in range(3):
        agent = restart(agent, start_agent)
        mltoken("get", "me").ok()
        mltoken("get", "me", "--refresh").ok()
        mltoken("get", "p").ok()
    assert not authority.reuses
    token = list(authority.store.families.values())[-1].current
    for directory, _, names in os.walk(home.state):
        for name in names:
            with open(os.path.join(directory, name), "rb") as f:
                data = f.read()
            assert token.encode() not in data and SECRET_PLAIN.encode() not in data
    home.config({"me": person(authority, store="file" if named else None, proxy=authority.http)}, {"key_file": key})
    wait_until(lambda: "settings changed" in mltoken("get", "me", "--refresh").err)


def test_a_key_file_that_is_named_later_is_used(authority, home, start_agent, mltoken):
    """Also by a store that runs already, and was without one."""
    profiles = {"p": {**service(authority, home, store="file"), "client_secret": "stored"}}
    home.config(profiles)
    start_agent()
    assert "no key to seal files with" in mltoken("secret", "set", "p", input=SECRET_PLAIN).failed(8)
    home.config(profiles, {"key_file": home.write("key", os.urandom(32).hex())})
    wait_until(lambda: mltoken("secret", "set", "p", input=SECRET_PLAIN).code == 0)
    mltoken("get", "p").ok()
    home.config(profiles, {"key_file": home.write("other-key", os.urandom(32).hex())})
    wait_until(lambda: "not the present one" in mltoken("secret", "set", "p", input="x").err)


def test_the_doctor_looks_at_the_store(authority, home, mltoken, store):
    home.config({"p": {**service(authority, home, store="test"), "client_secret": "stored"}, "me": person(authority, store="none")})
    out = mltoken("doctor").out
    assert "store none: there is no program mltoken-store-none" in out
