"""mltoken lock and unlock: nobody is served, nothing can be read, and nothing is lost meanwhile."""

import contextlib
import os
import resource
import shutil
import signal
import time

import pexpect
import pytest
from attack import SANITIZED, children, dead
from authority.store import SECRET_PLAIN
from harness import INTERFACE, PATIENCE, VarlinkError, memory_has, person, program, service, wait_until
from test_stores import Store, refreshes, restart, states

RIGHT, WRONG = "correct horse battery staple MARKlock", "Tr0ub4dor&3"
ENV_SECRET = "secretMARKenv0123456789"
SLOW = 6 * PATIENCE  # Argon2id takes its time on a host that has other things to do


def lock(mltoken, passphrase=RIGHT):
    mltoken("lock", input=passphrase + "\n", timeout=SLOW).ok()


def unlock(mltoken, *options, passphrase=RIGHT):
    return mltoken("unlock", *options, input=passphrase + "\n", timeout=SLOW)


def refused(mltoken, *command, **more):
    why = mltoken(*command, **more).failed(8)
    assert "the agent is locked" in why and "mltoken unlock" in why
    return why


def named(pid):
    with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
        return f.read().strip()


def worker_of(agent):
    pid, = [p for p in children(agent.pid) if named(p) == "mltoken-worker"]
    return pid


def stores_of(agent):
    return [p for p in children(agent.pid) if named(p) == "mltoken-file"]


@contextlib.contextmanager
def worker_stopped(agent):
    """No passphrase is tried meanwhile."""
    pid = worker_of(agent)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def current(authority):
    """The refresh token that the authority takes."""
    return list(authority.store.families.values())[-1].current


@pytest.fixture
def served(authority, home, start_agent, mltoken):
    """A person, a service with a stored secret and one whose secret is in the environment; all were served once."""
    authority.set_client("svc-basic", secret=ENV_SECRET)
    home.config({"me": person(authority, store="memory"),
                 "p": {**service(authority, home), "client_secret": "stored", "store": "memory"},
                 "env": {**service(authority, home, "svc-basic"), "client_secret": "env:THE_SECRET"}},
                {"default_profile": "me"})
    agent = start_agent(THE_SECRET=ENV_SECRET)
    authority.set_client("device", auto_approve="alice")
    mltoken("login", "me", "--json").ok()
    mltoken("secret", "set", "p", input=SECRET_PLAIN).ok()
    agent.tokens = {p: mltoken("get", p).ok().out for p in ("me", "p", "env")}
    authority.forget_requests()
    return agent


METHODS = {
    "GetToken": {"profile": "me"}, "Show": {"profile": "me"}, "Logout": {"profile": "me"}, "Logout ": {"all": True},
    "SetSecret": {"profile": "p", "name": "client_secret", "value": "x"}, "ListSecrets": {"profile": "p"},
    "MoveSecrets": {"profile": "p", "store": "memory"}, "Lock": {"passphrase": RIGHT}, "Watch": {"profile": "me"},
    "Rotate": {"profile": "p"}, "Login": {"profile": "me"}, "Answer": {"session": "0" * 32, "value": "x"},
    "Unlock": {"passphrase": RIGHT, "new": True},
}


def test_nobody_is_served_and_everything_comes_back(served, authority, mltoken, varlink):
    connection, limited = varlink(), varlink(served.home.get_socket)
    for _ in range(3):  # remembered by their bytes
        connection.token("me")
        limited.token("me")
    lock(mltoken)
    for method, parameters in METHODS.items():
        connection.send(method.strip(), parameters, more=method in ("Watch", "Login"))
        with pytest.raises(VarlinkError) as error:
            connection.reply()
        assert error.value.full == INTERFACE + ".Locked", method
    for profile in "me", "p", "env":
        assert connection.error("GetToken", profile=profile).name == "Locked"
        assert limited.error("GetToken", profile=profile).name == "Locked"
        refused(mltoken, "get", profile)
    assert connection.error("GetToken", profile="me", scopes=["other"], refresh=True).name == "Locked"
    assert {p["state"] for p in states(mltoken).values()} == {"locked"}
    assert mltoken("status", "--json").ok().json()["agent"]["locked"] is True
    assert ", locked, pid" in mltoken("status").ok().out
    mltoken("verify", "--profile", "me", "--audience", authority.oidc, input=served.tokens["me"]).ok()
    assert "not the passphrase" in unlock(mltoken, passphrase=WRONG).failed(8)
    refused(mltoken, "get", "me")
    assert not authority.requests("token")
    unlock(mltoken).ok()
    assert {p: mltoken("get", p).ok().out for p in served.tokens} == served.tokens
    assert connection.token("me")["value"] + "\n" == served.tokens["me"]
    assert not authority.requests("token"), "what was there is served again"
    for profile in served.tokens:
        assert mltoken("get", profile, "--refresh").ok().out != served.tokens[profile]
    assert not authority.reuses and states(mltoken)["me"]["account"] == "alice@example.org"


def test_what_waits_ends(served, authority, mltoken, varlink):
    """A watch, a call that waits for the authority, a sign-in, one that has not begun."""
    authority.set_client("device", auto_approve=None)
    watch, waiter, behind, login = varlink(), varlink(), varlink(), varlink()
    watch.send("Watch", {"profile": "me"}, more=True)
    watch.reply()
    authority.fault("token", hold=True, grant="refresh_token")
    waiter.send("GetToken", {"profile": "me", "scopes": ["openid"], "refresh": True})
    wait_until(lambda: refreshes(authority))
    behind.send("GetToken", {"profile": "me", "scopes": ["offline_access"]})
    login.send("Login", {"profile": "me"}, more=True)
    assert login.reply()["state"] == "prompt"
    lock(mltoken)
    for connection in watch, waiter, behind, login:
        with pytest.raises(VarlinkError) as error:
            connection.reply()
        assert error.value.name == "Locked"
    authority.release()
    wait_until(lambda: "token fetched profile=me" in served.log().split(" locked")[-1])
    assert len(refreshes(authority)) == 1, "who waited behind it has not begun"
    unlock(mltoken).ok()
    assert mltoken("get", "me").ok().out == served.tokens["me"]
    mltoken("get", "me", "--refresh").ok()
    assert not authority.reuses


def test_a_token_ends_while_locked_and_nothing_is_renewed(authority, home, start_agent, mltoken):
    authority.set_client("svc", token_lifetime=6)
    home.config({"p": service(authority, home)})
    start_agent()
    first = mltoken("get", "p").ok().out
    lock(mltoken)
    count = len(authority.requests("token"))
    time.sleep(7)
    assert len(authority.requests("token")) == count
    authority.set_client("svc", token_lifetime=3600)
    unlock(mltoken).ok()
    assert mltoken("get", "p").ok().out != first


def test_locked_twice(served, mltoken, varlink):
    first, second = varlink(timeout=SLOW), varlink(timeout=SLOW)
    first.send("Lock", {"passphrase": RIGHT})
    varlink().call("Status")  # it has been read
    second.send("Lock", {"passphrase": WRONG})
    assert first.reply() == {}
    with pytest.raises(VarlinkError) as error:
        second.reply()
    assert error.value.name == "Locked"
    refused(mltoken, "lock", input=WRONG)
    unlock(mltoken, passphrase=WRONG).failed(8)
    unlock(mltoken).ok()
    lock(mltoken, WRONG)
    unlock(mltoken).failed(8)
    unlock(mltoken, passphrase=WRONG).ok()
    assert mltoken("get", "me").ok().out == served.tokens["me"]


# the line of those who try

def test_a_flood_of_wrong_passphrases_delays_the_right_one(served, mltoken, varlink):
    lock(mltoken)
    order = []
    connections = [varlink(timeout=20 * SLOW) for _ in range(21)]
    with worker_stopped(served):
        for connection in connections[:20]:
            connection.send("Unlock", {"passphrase": WRONG})
        varlink().call("Status")  # they have been read
        connections[20].send("Unlock", {"passphrase": RIGHT})
        assert varlink().call("Status")["locked"] is True
    for i, connection in enumerate(connections):
        if i < 20:
            with pytest.raises(VarlinkError) as error:
                connection.reply()
            assert error.value.name == "Denied"
        else:
            assert connection.reply() == {}
        order.append(i)
    assert mltoken("get", "me").ok().out == served.tokens["me"]
    assert served.log().count("a wrong passphrase") == 20


def test_who_hangs_up_leaves_the_line(served, mltoken, varlink):
    lock(mltoken)
    with worker_stopped(served):
        gone = [varlink() for _ in range(10)]
        for connection in gone:
            connection.send("Unlock", {"passphrase": WRONG})
        right = varlink(timeout=SLOW)
        right.call("Status")
        right.send("Unlock", {"passphrase": RIGHT})
        with varlink() as other:
            before = other.call("Status")["counters"]["connections"]
            for connection in gone:
                connection.close()
            wait_until(lambda: other.call("Status")["counters"]["connections"] == before - len(gone))
    assert right.reply() == {}
    assert served.log().count("a wrong passphrase") == 0


def test_tokens_go_out_while_a_passphrase_is_tried(served, mltoken, varlink):
    asker, locker = varlink(), varlink(timeout=SLOW)
    with worker_stopped(served):
        locker.send("Lock", {"passphrase": RIGHT})
        for _ in range(100):
            assert asker.token("me")["value"] + "\n" == served.tokens["me"]
    assert locker.reply() == {}
    assert asker.error("GetToken", profile="me").name == "Locked"
    with worker_stopped(served):
        locker.send("Unlock", {"passphrase": RIGHT})
        for _ in range(20):
            assert asker.error("GetToken", profile="me").name == "Locked"
    assert locker.reply() == {}
    asker.token("me")


@pytest.mark.skipif(SANITIZED, reason="its shadow memory is not to be had within such a limit")
def test_no_memory_for_argon2(served, mltoken):
    """It is said, and nothing changes; the right passphrase opens when there is memory again."""
    worker = worker_of(served)
    before = resource.prlimit(worker, resource.RLIMIT_AS, (128 << 20, -1))
    assert "256 MiB" in mltoken("lock", input=RIGHT, timeout=SLOW).failed(6)
    mltoken("get", "me").ok()
    resource.prlimit(worker, resource.RLIMIT_AS, before)
    lock(mltoken)
    resource.prlimit(worker, resource.RLIMIT_AS, (128 << 20, -1))
    assert "256 MiB" in unlock(mltoken).failed(6)
    refused(mltoken, "get", "me")
    resource.prlimit(worker, resource.RLIMIT_AS, before)
    unlock(mltoken).ok()
    assert mltoken("get", "me").ok().out == served.tokens["me"]


def test_passphrases_at_their_limit(served, varlink):
    connection = varlink(timeout=SLOW)
    for wrong in "", "x" * 1025, "a\nb", "a\0b":
        assert connection.error("Lock", passphrase=wrong).full == "org.varlink.service.InvalidParameter"
        assert connection.error("Unlock", passphrase=wrong).full == "org.varlink.service.InvalidParameter"
    for length in 1, 1023, 1024:
        connection.call("Lock", passphrase="x" * length)
        assert connection.error("Unlock", passphrase="x" * (length - 1 or 2)).name == "Denied"
        connection.call("Unlock", passphrase="x" * length)
        connection.token("me")


# a renewal that is under way

def place(authority, home, how):
    """The configuration of a person in that store, and the store of the tests if it is that."""
    if how in ("memory", "file"):
        agent = {"key_file": home.write("key", os.urandom(32).hex())} if how == "file" else None
        home.config({"me": person(authority, store=how)}, agent)
        return None
    store = Store(home.stores("test"), "test")
    home.config({"me": person(authority, store="test")})
    return store


@pytest.fixture(params=["memory", "file", "test", "full"])
def renewing(request, authority, home, start_agent, mltoken):
    """Locked while the authority holds back its answer with a new refresh token."""
    store = place(authority, home, request.param)
    agent = start_agent()
    authority.set_client("device", auto_approve="alice")
    mltoken("login", "me", "--json").ok()
    agent.token = mltoken("get", "me").ok().out
    agent.before, agent.kind = current(authority), request.param
    if request.param == "full":
        store.script("ok ok full* ")  # the sign-in is read, the mark is kept
    fault = authority.fault("token", hold=True, grant="refresh_token")
    asker = mltoken.start("get", "me", "--refresh")
    wait_until(lambda: fault.hits)
    lock(mltoken)
    assert mltoken.finish(asker).code == 8
    assert current(authority) == agent.before
    authority.release()
    wait_until(lambda: "token fetched" in agent.log().split(" locked")[-1] or "no token" in agent.log().split(" locked")[-1])
    assert current(authority) != agent.before
    if store:
        store.script("ok*")
        wait_until(lambda: store.notes()[-1].startswith("lock"))  # what it had to read again, it forgets again
    return agent


def test_a_rotation_that_ends_while_locked(renewing, authority, mltoken):
    refused(mltoken, "get", "me")
    scan(renewing, current(authority), renewing.before)
    newest = current(authority)
    unlock(mltoken).ok()
    got = mltoken("get", "me").ok().out
    if renewing.kind != "full":  # its renewal failed, and may have been tried again by now
        assert got != renewing.token and len(refreshes(authority)) == 1
    mltoken("get", "me", "--refresh").ok()
    sent = [r.form["refresh_token"] for r in refreshes(authority)]
    assert sent[:2] == [renewing.before, newest] and len(set(sent)) == len(sent)
    assert not authority.reuses


def test_kill_9_while_locked(renewing, authority, start_agent, mltoken):
    """What the store could keep is there; what it could not is lost with the agent, and that is all."""
    newest = current(authority)
    restart(renewing, start_agent)
    if renewing.kind == "memory":
        mltoken("get", "me").failed(4)
        return
    got = mltoken("get", "me")
    if renewing.kind == "full":
        assert got.code == 4 and authority.reuses  # the mark told that it was sent: its one repeat
        return
    got.ok()
    assert refreshes(authority)[-1].form["refresh_token"] == newest and not authority.reuses


def test_killed_while_locked_loses_no_file(authority, home, start_agent, mltoken):
    place(authority, home, "file")
    agent = start_agent()
    authority.set_client("device", auto_approve="alice")
    mltoken("login", "me", "--json").ok()
    lock(mltoken)
    restart(agent, start_agent)
    mltoken("get", "me").ok()
    assert not authority.reuses


# the passphrase of the sealed files

STORES = "passphrase MARK of the sealed files"


@pytest.fixture
def sealed(authority, home, start_agent, mltoken):
    """Sealed files with a passphrase, alice is signed in; the agent was started anew."""
    home.config({"me": person(authority, store="file")})
    agent = start_agent()
    assert "mltoken unlock --new" in mltoken("get", "me").failed(8)
    assert "mltoken unlock --new" in unlock(mltoken, passphrase=STORES).failed(8)
    unlock(mltoken, "--new", passphrase=STORES).ok()
    authority.set_client("device", auto_approve="alice")
    mltoken("login", "me", "--json").ok()
    return restart(agent, start_agent)


def test_sealed_files_wait_for_their_passphrase(sealed, authority, mltoken):
    assert "mltoken unlock" in mltoken("get", "me").failed(8)
    assert "file is locked" in mltoken("status").ok().out and "mltoken unlock" in mltoken("status").ok().out
    assert "sealed with" in unlock(mltoken, passphrase=WRONG).failed(8)
    mltoken("get", "me").failed(8)
    unlock(mltoken, passphrase=STORES).ok()
    mltoken("get", "me").ok()
    assert "is locked" not in mltoken("status").ok().out
    assert "sealed with" in unlock(mltoken, passphrase=WRONG).failed(8)  # takes nothing away
    assert "is set already" in unlock(mltoken, "--new", passphrase=WRONG).failed(8)
    mltoken("get", "me", "--refresh").ok()
    assert not authority.reuses


def test_a_store_program_that_was_killed_opens_its_files_by_itself(sealed, authority, mltoken):
    unlock(mltoken, passphrase=STORES).ok()
    for _ in range(2):
        pid, = stores_of(sealed)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: dead(pid))
        mltoken("get", "me", "--refresh", timeout=SLOW).ok()
    assert not authority.reuses


def test_a_store_that_does_not_answer_does_not_keep_the_agent_open(sealed, authority, mltoken):
    """It holds a key, and is ended when it does not say that it has forgotten it."""
    unlock(mltoken, passphrase=STORES).ok()
    token = mltoken("get", "me").ok().out
    pid, = stores_of(sealed)
    os.kill(pid, signal.SIGSTOP)
    lock(mltoken)
    wait_until(lambda: dead(pid))
    unlock(mltoken).ok()
    assert mltoken("get", "me").ok().out == token
    mltoken("get", "me", "--refresh", timeout=SLOW).ok()
    assert not authority.reuses


def test_one_unlock_opens_both(sealed, authority, mltoken):
    unlock(mltoken, passphrase=STORES).ok()
    token = mltoken("get", "me").ok().out
    lock(mltoken, RIGHT)
    scan(sealed, STORES, RIGHT, current(authority), token.strip().rpartition(".")[2])
    assert "locked with" in unlock(mltoken, passphrase=STORES).failed(8)
    unlock(mltoken).ok()
    assert mltoken("get", "me").ok().out == token
    mltoken("get", "me", "--refresh", timeout=SLOW).ok()
    for pid in stores_of(sealed):
        os.kill(pid, signal.SIGKILL)
    mltoken("get", "me", "--refresh", timeout=SLOW).ok()
    assert not authority.reuses


def test_a_rotation_that_the_sealed_files_cannot_take(sealed, authority, mltoken):
    """They have forgotten their key: it is held, sealed, and kept first after the unlock."""
    unlock(mltoken, passphrase=STORES).ok()
    mltoken("get", "me").ok()
    fault = authority.fault("token", hold=True, grant="refresh_token")
    asker = mltoken.start("get", "me", "--refresh")
    wait_until(lambda: fault.hits)
    lock(mltoken)
    mltoken.finish(asker)
    authority.release()
    wait_until(lambda: "no token" in sealed.log().split(" locked")[-1])
    newest = current(authority)
    scan(sealed, newest, STORES)
    unlock(mltoken).ok()
    mltoken("get", "me", "--refresh", timeout=SLOW).ok()
    assert newest in [r.form["refresh_token"] for r in refreshes(authority)] and not authority.reuses


@pytest.mark.parametrize("begun", [False, True])
def test_a_passphrase_is_set_where_memory_was_chosen(authority, home, start_agent, mltoken, begun):
    """For want of a key. What is in memory already stays to be had."""
    home.config({"me": person(authority)})
    agent = start_agent()
    authority.set_client("device", auto_approve="alice")
    mltoken("get", "me").failed(4)
    assert "store memory" in mltoken("status").ok().out and "mltoken unlock --new" in mltoken("status").ok().out
    if begun:
        mltoken("login", "me", "--json").ok()
    unlock(mltoken, "--new", passphrase=STORES).ok()
    assert ("store memory" in mltoken("status").ok().out) == begun
    if not begun:
        mltoken("login", "me", "--json").ok()
    mltoken("get", "me", "--refresh").ok()
    restart(agent, start_agent)
    assert mltoken("get", "me").code == 8
    unlock(mltoken, passphrase=STORES).ok()
    assert mltoken("get", "me").code == (4 if begun else 0)
    assert not authority.reuses


def test_unlock_where_no_passphrase_is(served, mltoken):
    assert "mltoken unlock --new" in unlock(mltoken).failed(8)
    mltoken("get", "me").ok()


# what can be read

def scan(agent, *secrets):
    """None of these is in the memory of the agent or of any program of its. (A sanitizer keeps what was freed.)"""
    if SANITIZED:
        return
    for secret in secrets:
        for pid in [agent.pid, *children(agent.pid)]:
            wait_until(lambda pid=pid, secret=secret: dead(pid) or not memory_has(pid, secret.encode()), step=0.2)


def test_nothing_can_be_read(authority, home, start_agent, mltoken):
    store = Store(home.stores("test"), "test")
    shutil.copy(program("mltoken-store-file"), home.stores())
    authority.set_client("svc-basic", secret=ENV_SECRET)
    profiles = {"me": person(authority, store="memory"), "file": person(authority, store="file"),
                "test": person(authority, store="test"),
                "p": {**service(authority, home), "client_secret": "stored", "store": "memory"},
                "env": {**service(authority, home, "svc-basic"), "client_secret": "env:THE_SECRET"}}
    home.config(profiles, {"key_file": home.write("key", "keyMARKfile" * 4)})
    agent = start_agent(THE_SECRET=ENV_SECRET)
    authority.set_client("device", auto_approve="alice")
    mltoken("secret", "set", "p", input=SECRET_PLAIN).ok()
    unlock(mltoken, "--new", passphrase=STORES).ok()
    tokens = []
    for profile in profiles:
        if profile in ("me", "file", "test"):
            mltoken("login", profile, "--json").ok()
        tokens += [mltoken("get", profile).ok().out.strip(), mltoken("get", profile, "--refresh").ok().out.strip()]
    secrets = [s for s in authority.secrets() if "refresh" in s.lower()] + [SECRET_PLAIN, ENV_SECRET, STORES, RIGHT]
    assert len(secrets) >= 9 and store.notes()
    if not SANITIZED:
        found = {s for s in secrets + tokens if memory_has(agent.pid, s.encode())}
        assert {SECRET_PLAIN, ENV_SECRET, STORES} < found and len(found) >= 9, "this scan finds what is there"
    lock(mltoken)
    scan(agent, *secrets, *[t.rpartition(".")[2] for t in tokens])
    unlock(mltoken).ok()
    for profile in profiles:
        assert mltoken("get", profile).ok().out.strip() in tokens
        mltoken("get", profile, "--refresh", timeout=SLOW).ok()
    assert not authority.reuses


# the command

def test_the_command_reads_one_line(served, mltoken):
    for command in "lock", "unlock":
        assert "empty" in mltoken(command, input="").failed(2)
        assert "empty" in mltoken(command, input="\n" + RIGHT).failed(2)
        assert "longer than 1024" in mltoken(command, input="x" * 1025 + "\n").failed(2)
        assert "control character" in mltoken(command, input="a\tb\n").failed(2)
        mltoken(command, "argument").failed(2)
    mltoken("lock", input=f"{RIGHT}\r\nsomething else\n", timeout=SLOW).ok()
    mltoken("unlock", input=RIGHT, timeout=SLOW).ok()


def test_no_agent_is_started_to_be_locked(home, mltoken):
    home.config({})
    assert "no agent" in mltoken("lock", input=RIGHT, env={"MLTOKEN_NO_AUTOSTART": None}).failed(7)
    assert not os.path.exists(home.socket)


@pytest.mark.parametrize("second, code", [(RIGHT, 0), (WRONG, 2)])
def test_a_terminal_is_asked_twice(served, home, mltoken, second, code):
    with pexpect.spawn(program("mltoken"), ["lock"], env=home.env(), encoding="utf-8", timeout=SLOW) as terminal:
        terminal.expect("new passphrase: ")
        terminal.sendline(RIGHT)
        terminal.expect("the same again: ")
        terminal.sendline(second)
        terminal.expect(pexpect.EOF)
        terminal.wait()
        assert terminal.exitstatus == code
        assert RIGHT not in terminal.before and ("not the same" in terminal.before) == (code == 2)
    if code == 0:
        refused(mltoken, "get", "me")
