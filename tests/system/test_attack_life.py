"""Signals, dying parts and a configuration that never rests: an end or a recovery, never a hang."""

import contextlib
import fcntl
import os
import random
import shutil
import signal
import subprocess
import threading
import time

import pytest
from attack import ENEMY, call, children, dead, end_agents, gone, idle, person, service, serves, state
from harness import PATIENCE, Varlink, VarlinkError, program, wait_until

FAILURES = (EOFError, ConnectionResetError, BrokenPipeError)


@pytest.fixture
def setup(authority, home):
    home.config({"p": service(authority, home), "q": service(authority, home, "load-1"), "me": person(authority)})
    return authority


def worker_of(agent):
    found = [pid for pid in children(agent.pid)]
    assert found, "no worker process"
    return found[0]


MOMENTS = {
    "fetching": call("GetToken", profile="q"),
    "signing in": b'{"method":"org.mltoken.agent.Login","parameters":{"profile":"me"},"more":true}\0',
    "watching": b'{"method":"org.mltoken.agent.Watch","parameters":{"profile":"p"},"more":true}\0',
    "listing": b'{"method":"org.mltoken.agent.List","more":true}\0',
    "in the middle of a call": call("GetToken", profile="p")[:30],
}


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_at_each_moment(setup, home, start_agent, moment, number):
    agent = start_agent()
    serves(home)
    fault = setup.fault("token", hang="before", client="load-1")
    with Varlink(home.socket) as v:
        v.raw(MOMENTS[moment])
        if moment == "fetching":
            wait_until(lambda: fault.hits)
        elif moment in ("signing in", "watching"):
            v.receive()
        worker = worker_of(agent)
        agent.process.send_signal(number)
        gone(v)
        assert agent.process.wait(20) == 0, agent.log()
        agent.expect_exit = 0
    wait_until(lambda: dead(worker))
    assert not os.path.exists(home.socket) and not os.path.exists(home.get_socket)


def test_ends_while_the_configuration_is_read(setup, home, start_agent):
    with open(home.config_path, encoding="utf-8") as f:
        text = f.read()
    for i in range(10):
        agent = start_agent()
        for n in range(i):
            home.config(text=text + f"# {n}\n")
        agent.process.send_signal(signal.SIGTERM)
        assert agent.process.wait(20) == 0, agent.log()
        agent.expect_exit = 0


def test_signals_in_a_storm(setup, home, start_agent):
    """Every signal that may be sent, hundreds of times: only the ones that end it do."""
    agent = start_agent()
    serves(home)
    rng = random.Random(5)
    harmless = [s for s in signal.valid_signals() if s not in (
        signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE,
        signal.SIGILL, signal.SIGABRT, signal.SIGTRAP, signal.SIGSYS)]
    for _ in range(500):
        agent.process.send_signal(rng.choice(harmless))
    serves(home)
    wait_until(lambda: idle(agent, 0.3) < 0.1)


def test_a_killed_agent_is_started_again(setup, home, mltoken):
    """Its remains (sockets, lock file, worker) are in nobody's way."""
    from attack import agents_of
    env = {"MLTOKEN_NO_AUTOSTART": None}
    try:
        for _ in range(3):
            mltoken("get", "p", env=env).ok()
            (pid,) = agents_of(home)
            worker = children(pid)[0]
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: dead(pid) and dead(worker))
            assert os.path.exists(home.socket)
        mltoken("get", "p", env=env).ok()
    finally:
        end_agents(home)


def test_the_worker_is_killed(setup, home, start_agent):
    """Without it no secret can be read: the agent ends with an error status, and its clients are told at once."""
    agent = start_agent()
    serves(home)
    fault = setup.fault("token", hang="before", client="load-1")
    with Varlink(home.socket) as waiting, Varlink(home.socket) as still:
        waiting.raw(call("GetToken", profile="q"))
        wait_until(lambda: fault.hits)
        os.kill(worker_of(agent), signal.SIGKILL)
        gone(waiting)
        gone(still)
    assert agent.process.wait(20) == 1
    agent.expect_exit = 1
    assert not os.path.exists(home.socket)


def test_the_worker_is_stopped(setup, home, start_agent):
    """A file that cannot be read in time costs those who need it; tokens at hand are served meanwhile, and all recovers."""
    agent = start_agent()
    serves(home)
    worker = worker_of(agent)
    os.kill(worker, signal.SIGSTOP)
    wait_until(lambda: state(worker) == "T")
    with Varlink(home.socket) as late:
        late.send("GetToken", {"profile": "q"})
        for _ in range(50):
            serves(home)
        assert idle(agent, 0.5) < 0.2
        with pytest.raises(VarlinkError) as error:
            late.reply()
        assert error.value.name == "SecretMissing" and "took more than" in error.value.parameters["reason"]
        serves(home)
    os.kill(worker, signal.SIGCONT)

    def recovered():
        with contextlib.suppress(VarlinkError), Varlink(home.socket) as v:
            return v.token("q", refresh=True)
    home.config(text=open(home.config_path, encoding="utf-8").read() + "\n# forget the failure\n")
    agent.process.send_signal(signal.SIGHUP)
    wait_until(recovered)


def test_a_stopped_agent_costs_its_client_the_timeout_only(setup, home, start_agent, mltoken):
    agent = start_agent()
    serves(home)
    agent.process.send_signal(signal.SIGSTOP)
    try:
        mltoken("get", "p", "--timeout", "1").failed(6)
    finally:
        agent.process.send_signal(signal.SIGCONT)
    mltoken("get", "p").ok()


def test_a_configuration_that_never_rests(setup, home, start_agent, authority):
    """Replaced hundreds of times while 16 clients ask: each gets the token of the profile it named."""
    agent = start_agent()
    serves(home)
    base = {"p": service(authority, home), "q": service(authority, home, "load-1")}
    wrong, done = [], threading.Event()

    def ask(number):
        with Varlink(home.socket) as v:
            while not done.is_set():
                try:
                    assert v.token("p")["profile"] == "p"
                    v.call("Status")
                except VarlinkError as error:
                    wrong.append(str(error))
                    return
                except Exception as error:  # whatever it was, the test wants to know
                    wrong.append(repr(error))
                    return
    clients = [threading.Thread(target=ask, args=(i,)) for i in range(16)]
    for thread in clients:
        thread.start()
    for i in range(1000):
        home.config({**base, "q": {**base["q"], "scope": f"api s{i % 7}"}, **({f"x{i}": base["q"]} if i % 3 else {})})
    done.set()
    for thread in clients:
        thread.join(30)
    assert not wrong, wrong[:3]
    home.config({"p": base["p"], "last": base["q"]})
    wait_until(lambda: gives(home, "last"))
    assert agent.descriptors() < 60
    wait_until(lambda: len(children(agent.pid)) == 1)


def call_quietly(home, profile):
    with Varlink(home.socket) as v:
        try:
            return v.call("GetToken", profile=profile)
        except VarlinkError as error:
            return error


def gives(home, profile):
    return isinstance(call_quietly(home, profile), dict)


def spoil_huge(home):
    home.config(text="# " + "x" * 4000 + "\n" + ("# " + "y" * 4000 + "\n") * 5000)


def spoil_binary(home):
    with open(home.config_path + ".new", "wb") as f:
        f.write(random.Random(1).randbytes(100_000))
    os.rename(home.config_path + ".new", home.config_path)


def spoil_one_line(home):
    home.config(text="a" * 1_000_000)


def spoil_directory(home):
    os.unlink(home.config_path)
    os.mkdir(home.config_path)


def spoil_fifo(home):
    os.unlink(home.config_path)
    os.mkfifo(home.config_path, 0o600)


def spoil_foreign(home):
    os.chown(home.config_path, ENEMY, ENEMY)


def spoil_open(home):
    os.chmod(home.config_path, 0o666)


def spoil_loop(home):
    os.unlink(home.config_path)
    os.symlink("config", home.config_path)


def spoil_dangling(home):
    os.unlink(home.config_path)
    os.symlink("/nonexistent/config", home.config_path)


def spoil_device(home):
    os.unlink(home.config_path)
    os.symlink("/dev/zero", home.config_path)


def restore(home, text):
    if os.path.isdir(home.config_path) and not os.path.islink(home.config_path):
        os.rmdir(home.config_path)
    home.config(text=text)


# What happens to the profiles: "kept", or shut until it is mended.
SPOILS = {spoil_huge: "kept", spoil_binary: None, spoil_one_line: None, spoil_directory: "kept", spoil_fifo: "kept",
          spoil_foreign: "kept", spoil_open: "kept", spoil_loop: "kept", spoil_dangling: None, spoil_device: "kept"}


@pytest.mark.parametrize("spoil", SPOILS, ids=lambda f: f.__name__)
def test_a_spoilt_configuration(setup, home, start_agent, authority, spoil):
    """While the agent runs. What cannot be read leaves the old one in force; nothing crashes, blocks or spins."""
    agent = start_agent()
    token = serves(home)
    with open(home.config_path, encoding="utf-8") as f:
        text = f.read()
    before = agent.log().count("configuration")
    spoil(home)
    wait_until(lambda: agent.log().count("configuration") > before)
    assert idle(agent, 0.4) < 0.2
    if SPOILS[spoil] == "kept":
        assert serves(home) == token
    else:
        assert isinstance(call_quietly(home, "p"), VarlinkError)
    restore(home, text + "\n[profile again]\n" + "".join(
        f"{k} = {v}\n" for k, v in service(authority, home, "load-2").items()))
    wait_until(lambda: gives(home, "again"))
    serves(home)


def test_the_configurations_directory_comes_and_goes(setup, home, start_agent, authority):
    agent = start_agent()
    serves(home)
    with open(home.config_path, encoding="utf-8") as f:
        text = f.read()
    for i in range(5):
        shutil.rmtree(os.path.dirname(home.config_path) if i % 2 else home.config_dir)
        wait_until(lambda: isinstance(call_quietly(home, "p"), VarlinkError))
        restore(home, text)
        wait_until(lambda: gives(home, "p"))
    assert agent.descriptors() < 60


@contextlib.contextmanager
def slow_call(agent, call, microseconds):
    """Each such call of the agent's main thread takes so long to come back."""
    with subprocess.Popen(["strace", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:delay_exit={microseconds}", "-p", str(agent.pid)],
                          stderr=subprocess.PIPE, text=True) as strace:
        assert "attached" in strace.stderr.readline()
        try:
            yield
        finally:
            strace.terminate()


@pytest.mark.parametrize("after", [100, 300, 500, 700])  # milliseconds: in the middle of each of its calls
def test_a_directory_made_while_the_agent_looks_for_it(setup, home, start_agent, after):
    """Between the look for it and the watch of the one above: nothing would tell of it later."""
    agent = start_agent()
    serves(home)
    with open(home.config_path, encoding="utf-8") as f:
        text = f.read()
    shutil.rmtree(home.config_dir)
    wait_until(lambda: isinstance(call_quietly(home, "p"), VarlinkError))
    with slow_call(agent, "inotify_add_watch", 200000):
        os.mkdir(home.config_dir, 0o700)
        time.sleep(after / 1000)
        os.mkdir(os.path.dirname(home.config_path), 0o700)
        time.sleep(3)  # by then it has found no file there
        with open(home.config_path, "w", encoding="utf-8") as f:
            f.write(text)
        wait_until(lambda: gives(home, "p"))


def test_a_symlinked_configuration(setup, home, start_agent):
    """As dotfile managers make them: followed, and read again when the link is replaced."""
    with open(home.config_path, encoding="utf-8") as f:
        text = f.read()
    one = home.write("dotfiles/one", text)
    two = home.write("dotfiles/two", text.replace("[profile q]", "[profile r]"))
    os.unlink(home.config_path)
    os.symlink(one, home.config_path)
    start_agent()
    serves(home)
    os.symlink(two, home.config_path + ".new")
    os.rename(home.config_path + ".new", home.config_path)
    wait_until(lambda: gives(home, "r"))
    assert call_quietly(home, "q").name == "NoSuchProfile"


def test_the_file_behind_a_symlinked_configuration(setup, home, start_agent):
    with open(home.config_path, encoding="utf-8") as f:
        text = f.read()
    one = home.write("dotfiles/one", text)
    os.unlink(home.config_path)
    os.symlink(one, home.config_path)
    start_agent()
    serves(home)
    home.write("dotfiles/one", text.replace("[profile q]", "[profile r]"))
    wait_until(lambda: gives(home, "r"))


def test_the_default_profile_changes(setup, home, start_agent, authority):
    """A call that names no profile, answered from memory before the change, gets the new one after."""
    base = {"p": service(authority, home), "q": service(authority, home, "load-1")}
    home.config(base, agent={"default_profile": "p"})
    start_agent()
    message = b'{"method":"org.mltoken.agent.GetToken","parameters":{}}\0'

    def profile():
        with Varlink(home.socket) as v:
            v.raw(message)
            return v.reply()["token"]["profile"]
    assert [profile(), profile(), profile()] == ["p"] * 3
    home.config(base, agent={"default_profile": "q"})
    wait_until(lambda: profile() == "q")
    home.config({"p": base["p"]}, agent={"default_profile": "p"})
    wait_until(lambda: profile() == "p")


@pytest.mark.parametrize("how", ["unlink", "replace", "rename the directory", "remove the directory"])
def test_the_socket_is_taken_away(setup, home, start_agent, how):
    """The agent ends, and takes nothing away that it did not make."""
    agent = start_agent()
    serves(home)
    directory = os.path.dirname(home.socket)
    if how == "unlink":
        os.unlink(home.socket)
    elif how == "replace":
        with open(home.socket + ".new", "w", encoding="ascii") as f:
            f.write("mine")
        os.rename(home.socket + ".new", home.socket)
    elif how == "rename the directory":
        os.rename(directory, directory + "-old")
    else:
        shutil.rmtree(directory)
    assert agent.process.wait(20) == 0
    agent.expect_exit = 0
    if how == "replace":
        with open(home.socket, encoding="ascii") as f:
            assert f.read() == "mine"


def test_a_log_that_nobody_reads(authority, home):
    """Lines are lost then, but nobody waits for them."""
    home.config({"p": service(authority, home, client_secret="file:/nonexistent/secret")})
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    agent = subprocess.Popen([program("mltoken-agent"), "--foreground", "--debug"], env=home.env(), stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=write)
    try:
        os.close(write)
        wait_until(lambda: os.path.exists(home.socket))
        with Varlink(home.socket) as connection:
            for _ in range(100):
                assert connection.error("GetToken", profile="p").name == "SecretMissing"
    finally:
        agent.terminate()
        agent.wait(timeout=PATIENCE)
        os.close(read)
    assert agent.returncode == 0
