"""confirm = yes: a person is asked at each use, by pinentry. With a pinentry of the tests for what may go wrong, and with
the real ones of a terminal for what a person sees."""

import fcntl
import os
import pty
import re
import select
import shlex
import shutil
import socket
import struct
import subprocess
import termios
import urllib.parse

import pytest
from harness import Varlink, VarlinkError, person, program, service, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))


class Pinentry:
    """The test's own, in a home."""

    def __init__(self, home):
        self.path = os.path.join(home.home, "pinentry")
        shutil.copy(os.path.join(HERE, "pinentry_program.py"), self.path)
        self.does("allow")

    def does(self, *ways):
        with open(self.path + ".does.test", "w", encoding="utf-8") as f:
            f.write("\n".join(ways))
        os.rename(self.path + ".does.test", self.path + ".does")

    def _read(self, name):
        try:
            with open(self.path + name, encoding="utf-8") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    @property
    def heard(self):
        return self._read(".heard")

    @property
    def questions(self):
        """How often it was asked."""
        return self.heard.count("CONFIRM\n")

    @property
    def pids(self):
        return [int(pid) for pid in self._read(".pid").split()]

    def description(self):
        """What the last one showed."""
        return urllib.parse.unquote(re.findall(r"^SETDESC (.*)$", self.heard, re.M)[-1])


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def denials(agent):
    found = []
    for line in agent.log().splitlines():
        fields = dict(w.partition("=")[::2] for w in shlex.split(line) if "=" in w)
        if fields.get("event") == "token-denied":
            found.append({**fields, "line": line})
    return found


@pytest.fixture
def pinentry(home):
    return Pinentry(home)


@pytest.fixture
def setup(authority, home, start_agent, pinentry):
    home.config({"p": service(authority, home, "load-1", confirm="yes"), "q": service(authority, home, "load-2"),
                 "r": service(authority, home, "load-3", confirm="yes")}, agent={"pinentry": pinentry.path})
    return start_agent()


# ---- allowing and denying ----

def test_each_use_is_asked(setup, pinentry, authority, home):
    """Also over one connection, byte for byte the same, with the token in the cache."""
    with Varlink(home.socket) as v:
        tokens = {v.token("p")["value"] for _ in range(5)}
    assert pinentry.questions == 5 and len(tokens) == 1
    assert len(set(pinentry.pids)) == 5
    assert pinentry.heard.count("SETOK Allow\n") == 5 and pinentry.heard.count("SETCANCEL Deny\n") == 5
    assert pinentry.heard.count("SETTIMEOUT 60\n") == 5
    with Varlink(home.socket) as v:
        v.token("q")
    assert pinentry.questions == 5


def test_nothing_is_fetched_before_the_answer(setup, pinentry, authority, mltoken):
    pinentry.does("deny")
    before = authority.count()
    assert "denied" in mltoken("get", "p").failed(8)
    assert authority.count() == before


def test_what_is_shown(setup, pinentry, home):
    """Who asks, what it calls itself as its own word, for what; nothing that deceives."""
    with Varlink(home.socket) as v:
        v.token("p", application="ssh\u202egnp <b>100%%0A</b>")
    text = pinentry.description()
    assert f"Program: {os.path.realpath('/proc/self/exe')} (pid {os.getpid()})" in text
    assert "calls itself \"ssh\\u{202e}gnp ?b>100%%0A?/b>\": its own word, not checked" in text
    assert "Profile: p" in text and "\u202e" not in text and "<" not in text
    assert max(len(line) for line in pinentry.heard.encode().split(b"\n")) <= 1000


def test_long_paths_still_fit(setup, pinentry, home, mltoken):
    """A path of which every byte must be escaped."""
    directory = os.path.join(home.home, *["%" * 200] * 4)
    os.makedirs(directory)
    shutil.copy(program("mltoken"), os.path.join(directory, "client"))
    subprocess.run([os.path.join(directory, "client"), "get", "p"], env=home.env(), check=True, capture_output=True)
    assert "%%%..." in pinentry.description() and "%/client (pid" in pinentry.description()
    assert max(len(line) for line in pinentry.heard.encode().split(b"\n")) <= 1000


def test_the_account_is_shown(authority, home, start_agent, pinentry, mltoken):
    home.config({"me": person(authority, confirm="yes", store="memory")}, agent={"pinentry": pinentry.path})
    start_agent()
    assert mltoken.login(authority, "me").code == 0
    assert pinentry.questions == 0, "signing in hands no token out"
    mltoken("get", "me").ok()
    assert re.search(r"^Account: .*alice", pinentry.description(), re.M)
    mltoken("show", "me").ok()
    assert pinentry.questions == 1, "what is in a token is no use of it"


@pytest.mark.parametrize("way,why", [("deny", "denied"), ("cancel", "denied"), ("timeout", "nobody answered")])
def test_a_denial_holds_for_its_profile(setup, pinentry, home, mltoken, way, why):
    pinentry.does(way, "allow")
    with Varlink(home.socket) as v:
        error = v.error("GetToken", profile="p")
        assert error.name == "Denied" and why in error.parameters["reason"] and " p " in error.parameters["reason"]
        for _ in range(3):
            error = v.error("GetToken", profile="p")
            assert error.name == "Denied" and "not asked" not in error.parameters["reason"]
        assert pinentry.questions == 1
        v.token("r")
        v.token("q")
    assert pinentry.questions == 2
    first, = denials(setup)
    assert first["profile"] == "p" and first["source"] == "denied" and why in first["reason"]
    assert first["pid"] == str(os.getpid()) and first["exe"] == os.path.realpath("/proc/self/exe")
    setup.stop()
    assert [d["count"] for d in denials(setup)] == ["1", "3"]


def test_a_denial_answers_those_that_wait_for_the_same(setup, pinentry, home):
    go = os.path.join(home.home, "go")
    pinentry.does("deny after " + go, "allow")
    waiting = [Varlink(home.socket) for _ in range(10)]
    for i, v in enumerate(waiting):
        v.send("GetToken", {"profile": "r" if i == 5 else "p"})
    wait_until(lambda: pinentry.questions == 1)
    open(go, "w").close()
    for i, v in enumerate(waiting):
        if i == 5:
            assert v.reply()["token"]["profile"] == "r"
        else:
            with pytest.raises(VarlinkError) as error:
                v.reply()
            assert error.value.name == "Denied"
        v.close()
    assert pinentry.questions == 2


def test_one_window_at_a_time_in_order(setup, pinentry, home):
    """And an answer is nobody else's: the second request of the same is asked again."""
    gates = [os.path.join(home.home, f"go{i}") for i in range(3)]
    pinentry.does(*["allow after " + gate for gate in gates])
    waiting = [Varlink(home.socket) for _ in range(3)]
    for i, v in enumerate(waiting):
        v.send("GetToken", {"profile": "p"})
        with Varlink(home.socket) as w:
            w.token("q")
    for i, v in enumerate(waiting):
        wait_until(lambda: pinentry.questions == i + 1)
        for later in waiting[i:]:
            assert not select.select([later.socket], [], [], 0)[0]
        assert len([p for p in pinentry.pids if alive(p)]) == 1
        open(gates[i], "w").close()
        assert v.reply()["token"]["profile"] == "p"
        v.close()
    assert pinentry.questions == 3


def test_the_line_is_bounded(setup, pinentry, home):
    pinentry.does("waits")
    waiting = [Varlink(home.socket) for _ in range(64)]
    for v in waiting:
        v.send("GetToken", {"profile": "p"})
    wait_until(lambda: pinentry.questions == 1)
    with Varlink(home.socket) as v:
        wait_until(lambda: v.error("GetToken", profile="r").name == "Busy" or pytest.fail("there was room"))
        waiting.pop().close()
        waiting.append(Varlink(home.socket))
        waiting[-1].send("GetToken", {"profile": "p"})
        v.token("q")
    for v in waiting:
        v.close()
    wait_until(lambda: not any(alive(p) for p in pinentry.pids))


def test_hanging_up_takes_the_question_back(setup, pinentry, home):
    """The window closes, and the next question is asked."""
    pinentry.does("waits", "allow")
    first, second = Varlink(home.socket), Varlink(home.socket)
    first.send("GetToken", {"profile": "p"})
    wait_until(lambda: pinentry.questions == 1)
    second.send("GetToken", {"profile": "p"})
    with Varlink(home.socket) as v:
        v.token("q")
    first.close()
    assert second.reply()["token"]["profile"] == "p"
    second.close()
    wait_until(lambda: not any(alive(p) for p in pinentry.pids))
    assert pinentry.questions == 2


def test_half_closed_is_not_gone(setup, pinentry, home):
    """A client that has said all it has to say still waits."""
    go = os.path.join(home.home, "go")
    pinentry.does("allow after " + go)
    with Varlink(home.socket) as v:
        v.send("GetToken", {"profile": "p"})
        v.socket.shutdown(socket.SHUT_WR)
        wait_until(lambda: pinentry.questions == 1)
        open(go, "w").close()
        assert v.reply()["token"]["profile"] == "p"


def test_mltoken_get_gives_up_and_the_window_closes(setup, pinentry, mltoken):
    pinentry.does("waits")
    mltoken("get", "p", "--timeout", "8").failed(6)
    wait_until(lambda: pinentry.pids and not any(alive(p) for p in pinentry.pids))


def test_a_lock_counts_more_than_an_answer(setup, pinentry, home):
    """Locked while the question is open: the yes comes too late. And nobody is asked for what is locked."""
    go = os.path.join(home.home, "go")
    pinentry.does("allow after " + go)
    with Varlink(home.socket) as v, Varlink(home.socket) as w:
        v.send("GetToken", {"profile": "p"})
        wait_until(lambda: pinentry.questions == 1)
        w.call("Lock", passphrase="a passphrase")
        open(go, "w").close()
        with pytest.raises(VarlinkError) as error:
            v.reply()
        assert error.value.name == "Locked"
        assert w.error("GetToken", profile="r").name == "Locked"
    assert pinentry.questions == 1


# ---- what is not asked ----

def test_it_cannot_be_watched(setup, home, pinentry):
    with Varlink(home.socket) as v:
        v.send("Watch", {"profile": "p"}, more=True)
        with pytest.raises(VarlinkError) as error:
            v.reply()
    assert error.value.name == "NotSupported" and "confirm" in error.value.parameters["reason"]
    assert error.value.parameters["profile"] == "p" and pinentry.questions == 0


def test_one_way_asks_nobody(setup, home, pinentry):
    with Varlink(home.socket) as v:
        v.send("GetToken", {"profile": "p"}, oneway=True)
        v.call("org.varlink.service.GetInfo")
        v.token("q")
    assert pinentry.questions == 0


def test_status_tells(setup, mltoken):
    assert "confirm: true" in mltoken("status", "p").ok().out
    assert "confirm" not in mltoken("status", "q").ok().out


def test_switching_it_on_under_a_hot_cache(authority, home, start_agent, pinentry):
    """What a connection has been answered a thousand times from memory is asked from the next one on."""
    start_agent_with = {"p": service(authority, home, "load-1")}
    home.config(start_agent_with, agent={"pinentry": pinentry.path})
    agent = start_agent()
    with Varlink(home.socket) as v, Varlink(home.socket) as watching:
        for _ in range(1000):
            v.token("p")
        watching.send("Watch", {"profile": "p"}, more=True)
        watching.reply()
        start_agent_with["p"]["confirm"] = "yes"
        pinentry.does("deny")
        home.config(start_agent_with, agent={"pinentry": pinentry.path})
        with pytest.raises(VarlinkError):
            watching.reply()
        with Varlink(home.socket) as w:
            listed = [p["profile"].get("confirm") for p in w.more("List")]
        assert listed == [True]
        assert v.error("GetToken", profile="p").name == "Denied"
    assert pinentry.questions == 1 and agent.alive()


def test_switching_it_on_while_a_question_of_another_kind_is_open(authority, home, start_agent, pinentry):
    """A fetch under way when the profile becomes guarded: what it brings is not handed out unasked."""
    profiles = {"p": service(authority, home, "load-1")}
    home.config(profiles, agent={"pinentry": pinentry.path})
    start_agent()
    authority.fault("token", hold=True)
    with Varlink(home.socket) as v:
        v.send("GetToken", {"profile": "p"})
        wait_until(lambda: authority.requests("token"))
        pinentry.does("deny")
        profiles["p"]["confirm"] = "yes"
        home.config(profiles, agent={"pinentry": pinentry.path})
        with Varlink(home.socket) as w:
            wait_until(lambda: [p["profile"].get("confirm") for p in w.more("List")] == [True])
        authority.clear_faults()
        with pytest.raises(VarlinkError) as error:
            v.reply()
    assert error.value.name == "Denied" and pinentry.questions == 1


# ---- a pinentry that is not well ----

@pytest.mark.parametrize("way,why", [
    ("crash", "signal 11"), ("closes", "without an answer"), ("garbage", "protocol"), ("shell", "protocol"),
    ("flood", "too much"), ("long", "protocol"), ("eager", "before it is asked"), ("speechless", "Unknown IPC command"),
    ("no terminal", "Inappropriate ioctl"), ("asks", "protocol"), ("dies", "status 3")])
def test_a_pinentry_that_fails_is_a_denial(setup, pinentry, mltoken, way, why):
    """With its reason, for this request alone: the next one is asked anew."""
    pinentry.does(way, "allow")
    error = mltoken("get", "p").failed(8)
    assert why in error and "could be asked" in error and pinentry.path in error, error
    mltoken("get", "p").ok()
    assert pinentry.questions == 1 + (way in ("no terminal", "asks", "dies"))
    assert [d["profile"] for d in denials(setup)] == ["p"]
    wait_until(lambda: not any(alive(p) for p in pinentry.pids))


@pytest.mark.parametrize("way", ["plain", "bytes"])
def test_a_pinentry_that_is_simple_or_slow_will_do(setup, pinentry, mltoken, way):
    pinentry.does(way)
    mltoken("get", "p").ok()


def test_one_that_hangs_hinders_nobody(setup, pinentry, home):
    pinentry.does("hangs", "allow")
    with Varlink(home.socket) as hanging:
        hanging.send("GetToken", {"profile": "p"})
        wait_until(lambda: "hangs" in pinentry.heard)
        with Varlink(home.socket) as v:
            for _ in range(200):
                v.token("q")
        assert not select.select([hanging.socket], [], [], 0)[0]
    with Varlink(home.socket) as v:
        v.token("p")
    wait_until(lambda: not any(alive(p) for p in pinentry.pids))


def test_no_pinentry_there(authority, home, start_agent, mltoken):
    home.config({"p": service(authority, home, "load-1", confirm="yes")}, agent={"pinentry": "/nowhere/pinentry"})
    start_agent()
    error = mltoken("get", "p").failed(8)
    assert "/nowhere/pinentry" in error and "no such program" in error
    assert "nobody to ask" in error


def test_the_agent_ends_with_an_open_window(setup, pinentry, home):
    pinentry.does("waits")
    with Varlink(home.socket) as v:
        v.send("GetToken", {"profile": "p"})
        wait_until(lambda: pinentry.questions == 1)
        setup.stop()
    wait_until(lambda: not any(alive(p) for p in pinentry.pids))


# ---- real ones ----

class Terminal:
    """A terminal with a program in front, as a person has it."""

    def __init__(self, argv, env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(argv[0], argv, env)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
        self.seen = b""
        self.status = None

    def read(self):
        while select.select([self.fd], [], [], 0.05)[0]:
            try:
                data = os.read(self.fd, 65536)
            except OSError:
                return
            if not data:
                return
            self.seen += data

    def text(self):
        """What was written, without what moves the cursor."""
        plain = re.sub(rb"\x1b\[[0-9;]*m", b"", self.seen)
        plain = re.sub(rb"\x1b(\[[0-9;?]*[a-zA-Z]|[()][0-9A-B]|[=>])", b" ", plain)
        return re.sub(r"\s+", " ", plain.decode("utf-8", "replace"))

    def wait_for(self, text):
        def there():
            self.read()
            return text in self.text()
        wait_until(there)

    def type(self, keys):
        os.write(self.fd, keys)

    def end(self):
        def over():
            self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            return pid
        wait_until(over)
        self.read()
        return self.status

    def flags(self):
        return termios.tcgetattr(self.fd)[3]

    def close(self):
        if self.status is None:
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


REAL = {"pinentry-tty": {"allow": b"a", "deny": b"d"}, "pinentry-curses": {"allow": b"\r", "deny": b"\t\r"}}


@pytest.fixture
def real(authority, home, start_agent):
    """real(pinentry): an agent that asks with it, and a terminal with `mltoken get p` in front."""
    terminals = []

    def start(name, *more):
        home.config({"p": service(authority, home, "load-1", confirm="yes"), "q": service(authority, home, "load-2")},
                    agent={"pinentry": name})
        agent = start_agent()
        terminals.append(Terminal([program("mltoken"), "get", "p", *more], home.env(TERM="xterm")))
        return agent, terminals[-1]

    yield start
    for terminal in terminals:
        terminal.close()


@pytest.mark.parametrize("name", REAL)
def test_a_person_allows(real, home, name):
    agent, terminal = real(name)
    before = terminal.flags()
    terminal.wait_for("Allow")
    text = terminal.text()
    assert "A program asks mltoken" in text and "Profile: p" in text and "Deny" in text
    assert f"(pid {terminal.pid})" in text
    with Varlink(home.socket) as v:
        v.token("q")
    terminal.type(REAL[name]["allow"])
    assert terminal.end() == 0
    assert terminal.flags() == before
    assert not denials(agent)


@pytest.mark.parametrize("name", REAL)
def test_a_person_denies(real, name):
    agent, terminal = real(name)
    terminal.wait_for("Allow")
    terminal.type(REAL[name]["deny"])
    assert terminal.end() == 8
    assert "denied" in terminal.text()
    assert [d["profile"] for d in denials(agent)] == ["p"]


@pytest.mark.parametrize("name", REAL)
def test_who_gives_up_has_a_sound_terminal(real, name):
    """The window closes, and leaves the terminal as it was: echo, whole lines."""
    _, terminal = real(name, "--timeout", "10")
    before = terminal.flags()
    terminal.wait_for("Allow")
    wait_until(lambda: terminal.flags() != before)
    assert terminal.end() == 6
    wait_until(lambda: terminal.flags() == before)


def test_a_real_one_with_nobody_there(authority, home, start_agent, mltoken):
    """A job without a terminal, on a host without a display."""
    home.config({"p": service(authority, home, "load-1", confirm="yes")}, agent={"pinentry": "pinentry-curses"})
    start_agent()
    error = mltoken("get", "p").failed(8)
    assert "nobody to ask" in error and "no display" in error and "Inappropriate ioctl" in error


def test_a_job_in_the_background_does_not_take_the_terminal(authority, home, start_agent):
    home.config({"p": service(authority, home, "load-1", confirm="yes")}, agent={"pinentry": "pinentry-tty"})
    start_agent()
    script = f"set -m; {program('mltoken')} get p & wait $!; echo ended $?"
    terminal = Terminal(["/bin/bash", "-c", script], home.env(TERM="xterm"))
    try:
        terminal.wait_for("ended 8")
        assert "Allow" not in terminal.text() and "nobody to ask" in terminal.text()
        terminal.end()
    finally:
        terminal.close()
