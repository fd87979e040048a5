"""allow = PROGRAM ...: which executables may have a profile's tokens. They are compared as files, by device and inode, and
what cannot be compared is denied."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys

import pytest
from harness import Varlink, VarlinkError, program, service, wait_until

# asks for a token when it is told to, and says what came
CLIENT = """
import json, os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
for line in sys.stdin:
    s.sendall(line.strip().encode() + b"\\0")
    reply = b""
    while not reply.endswith(b"\\0"):
        data = s.recv(65536)
        if not data:
            sys.exit(9)
        reply += data
    print(reply[:-1].decode(), flush=True)
"""


def denials(agent):
    found = []
    for line in agent.log().splitlines():
        fields = dict(w.partition("=")[::2] for w in shlex.split(line) if "=" in w)
        if fields.get("event") == "token-denied":
            found.append(fields)
    return found


def get(path, home, profile="p", command="get", argv0=None):
    """Runs a copy of the command; its result."""
    return subprocess.run([argv0 or path, command, profile], executable=path, env=home.env(), capture_output=True, text=True,
                          timeout=60)


@pytest.fixture
def client(home):
    """A copy of mltoken that is no other file."""
    path = os.path.join(home.home, "client")
    shutil.copy(program("mltoken"), path)
    return path


@pytest.fixture
def setup(authority, home, start_agent, client):
    home.config({"p": service(authority, home, "load-1", allow=client), "q": service(authority, home, "load-2")})
    return start_agent()


def denied(result, *words):
    assert result.returncode == 8 and result.stdout == "", result
    for word in words:
        assert word in result.stderr, result.stderr


def test_the_one_that_is_named(setup, home, client, mltoken):
    assert get(client, home).returncode == 0
    before = len(denials(setup))
    ours = os.path.realpath(program("mltoken"))
    denied(get(program("mltoken"), home), ours, "allow", "profile p")
    assert get(program("mltoken"), home, "q").returncode == 0
    assert get(client, home, "q").returncode == 0
    found = denials(setup)[before:]
    assert [d["exe"] for d in found] == [ours] and "allow" in found[0]["reason"]
    mltoken("status", "p").ok()
    assert json.dumps([client]).replace(" ", "") in mltoken("status", "p").ok().out


def test_denied_before_anything_is_fetched(setup, home, authority):
    before = authority.count()
    denied(get(program("mltoken"), home))
    assert authority.count() == before


def test_copies_links_and_names(setup, home, client):
    """The file is what counts: not its name, nor its content."""
    copy, hard, soft = (os.path.join(home.home, name) for name in ("copy", "hard", "soft"))
    shutil.copy(client, copy)
    os.link(client, hard)
    os.symlink(client, soft)
    denied(get(copy, home), copy)
    assert get(hard, home).returncode == 0
    assert get(soft, home).returncode == 0
    denied(get(program("mltoken"), home, argv0=client))


def test_a_path_in_the_configuration_that_is_a_link(authority, home, start_agent, client):
    """As /usr/bin/python3 is one; where it leads is read at each use."""
    soft, other = os.path.join(home.home, "soft"), os.path.join(home.home, "other")
    shutil.copy(client, other)
    os.symlink(client, soft)
    home.config({"p": service(authority, home, "load-1", allow=f"/nowhere {soft}\t~/third")})
    start_agent()
    assert get(client, home).returncode == 0
    denied(get(other, home), other)
    os.symlink(other, soft + ".new")
    os.rename(soft + ".new", soft)
    denied(get(client, home), client)
    assert get(other, home).returncode == 0
    third = os.path.join(home.home, "third")
    denied(get(program("mltoken"), home))
    shutil.copy(client, third)
    assert get(third, home).returncode == 0


class Script:
    """A client in Python that keeps its connection."""

    def __init__(self, home, python):
        self.process = subprocess.Popen([python, "-I", "-c", CLIENT, home.socket], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)

    def ask(self, method="GetToken", **flags):
        message = {"method": "org.mltoken.agent." + method, "parameters": {"profile": "p"}, **flags}
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()
        reply = self.process.stdout.readline()
        assert reply, "the agent closed the connection"
        return json.loads(reply)

    def end(self):
        self.process.stdin.close()
        self.process.wait(20)
        self.process.stdout.close()


def test_a_script_is_its_interpreter(authority, home, start_agent):
    """So naming an interpreter allows all that it runs, and naming a script allows nothing."""
    script = home.write("script", "#!/bin/sh\nexec true\n", 0o700)
    python = os.path.realpath(sys.executable)
    home.config({"p": service(authority, home, "load-1", allow=script)})
    agent = start_agent()
    client = Script(home, python)
    assert client.ask()["error"].endswith(".Denied")
    home.config({"p": service(authority, home, "load-1", allow=python)})
    os.kill(agent.pid, signal.SIGHUP)
    wait_until(lambda: "token" in client.ask().get("parameters", {}))
    client.end()


def test_a_binary_that_was_replaced(authority, home, start_agent):
    """A program that runs on while another version took its name is not what the name means any more."""
    python = os.path.join(home.home, "python")
    shutil.copy(os.path.realpath(sys.executable), python)
    home.config({"p": service(authority, home, "load-1", allow=python)})
    start_agent()
    old = Script(home, python)
    assert "token" in old.ask()["parameters"]
    shutil.copy(python, python + ".new")
    os.rename(python + ".new", python)
    reply = old.ask()
    assert reply["error"].endswith(".Denied") and "(deleted)" in reply["parameters"]["reason"]
    new = Script(home, python)
    assert "token" in new.ask()["parameters"]
    os.unlink(python)
    assert new.ask()["error"].endswith(".Denied")
    old.end()
    new.end()


def test_one_that_became_another(authority, home, start_agent):
    """exec() over a connection that an allowed program opened: what it is now counts."""
    home.config({"p": service(authority, home, "load-1", allow=os.path.realpath(sys.executable))})
    start_agent()
    read, write = os.pipe()
    with Varlink(home.socket) as v:
        pid = os.fork()
        if pid == 0:
            try:
                w = Varlink(home.socket)
                w.socket.setblocking(True)
                os.set_inheritable(w.socket.fileno(), True)
                os.set_inheritable(read, True)
                ask = json.dumps({"method": "org.mltoken.agent.GetToken", "parameters": {"profile": "p"}})
                os.execv("/bin/bash", ["bash", "-c", f"read go <&{read}; printf '%s\\0' '{ask}' >&{w.socket.fileno()}; "
                                     f"head -c 60 <&{w.socket.fileno()} >{home.home}/reply"])
            finally:
                os._exit(1)
        v.token("p")
    os.write(write, b"go\n")
    os.waitpid(pid, 0)
    with open(os.path.join(home.home, "reply"), encoding="utf-8") as f:
        assert "Denied" in f.read()
    os.close(read)
    os.close(write)


def test_a_dead_peer(authority, home, start_agent):
    """Whoever inherits the connection of a process that has ended is nobody that can be compared."""
    python = os.path.realpath(sys.executable)
    home.config({"p": service(authority, home, "load-1", allow=python)})
    agent = start_agent()
    (said, say), (gone, go) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        v = Varlink(home.socket)
        if os.fork() == 0:
            os.read(gone, 1)
            try:
                v.token("p")
                os.write(say, b"token")
            except VarlinkError as error:
                os.write(say, str(error).encode())
            finally:
                os._exit(0)
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(say)
    os.write(go, b".")
    words = b""
    while data := os.read(said, 4096):
        words += data
    for fd in (said, gone, go):
        os.close(fd)
    assert b"Denied" in words and b"is gone" in words
    assert [d["exe"] for d in denials(agent)] == ["?"]


def test_a_crowd(setup, home, client):
    """More at once than are looked at; each gets its own answer."""
    asking = [subprocess.Popen([path, "get", "p"], env=home.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
              for path in [client, program("mltoken")] * 20]
    for i, process in enumerate(asking):
        out, err = process.communicate(timeout=60)
        assert (process.returncode, bool(out)) == ((8, False) if i % 2 else (0, True)), err


def test_watch_and_show(setup, home, client):
    with Varlink(home.socket) as v:
        v.send("Watch", {"profile": "p"}, more=True)
        with pytest.raises(VarlinkError) as error:
            v.reply()
        assert error.value.name == "Denied"
        assert v.error("Show", profile="p").name == "Denied"
    assert get(client, home, command="show").returncode == 0


def test_what_needs_no_token_needs_no_leave(setup, mltoken):
    mltoken("status").ok()
    mltoken("logout", "p").ok()


def test_many_who_go_away(setup, home):
    """Clients that do not wait for what the comparison says cost no descriptor and no process."""
    with Varlink(home.socket) as v:
        v.token("q")
    before = setup.descriptors()
    for _ in range(10):
        crowd = [Varlink(home.socket) for _ in range(40)]
        for v in crowd:
            v.send("GetToken", {"profile": "p"})
        for v in crowd:
            v.close()
    with Varlink(home.socket) as v:
        assert v.error("GetToken", profile="p").name == "Denied"
        v.token("q")
    wait_until(lambda: setup.descriptors() <= before + 2)


@pytest.fixture
def apart(authority, home, start_agent, client):
    """An agent in a user namespace of its own, as with PrivateUsers=yes."""
    home.config({"p": service(authority, home, "load-1", allow=client), "q": service(authority, home, "load-2")})
    home.agent_program = home.write("agent", "#!/bin/sh\nexec unshare --user --map-current-user "
                                    f"{shlex.quote(program('mltoken-agent'))} \"$@\"\n", 0o700)
    return start_agent()


def test_what_cannot_be_seen_is_denied(apart, home, client, mltoken):
    denied(get(client, home), "may not see", "mltoken doctor", "profile p")
    assert get(client, home, "q").returncode == 0
    assert [d["exe"] for d in denials(apart)] == ["?"]
    result = mltoken("doctor", "p")
    assert result.code == 3 and "PrivateUsers" in result.out and "refuses everybody" in result.out


def test_doctor_on_a_sound_one(setup, mltoken):
    said = mltoken("doctor", "p").ok().out
    assert "can see which program asks" in said and "allow names what is there" in said


@pytest.mark.parametrize("value,why", [
    ("relative/path", "whole path"), ("/bin/true other", "whole path"), (" ".join(["/bin/x"] * 17), "at most 16")])
def test_mistakes_in_the_configuration(authority, home, mltoken, value, why):
    home.config({"p": service(authority, home, "load-1", allow=value)})
    result = mltoken("config", "check")
    assert result.code == 3 and "allow" in result.out + result.err and why in result.out + result.err


def test_sixteen_programs(authority, home, start_agent, client):
    home.config({"p": service(authority, home, "load-1", allow=" ".join(["/bin/x"] * 15 + [client]))})
    start_agent()
    assert get(client, home).returncode == 0


def test_mistakes_of_confirm(authority, home, mltoken):
    home.config({"p": service(authority, home, "load-1", confirm="perhaps")}, agent={"pinentry": "pinentry --x"})
    result = mltoken("config", "check")
    assert result.code == 3 and "confirm" in result.out + result.err and "pinentry" in result.out + result.err
