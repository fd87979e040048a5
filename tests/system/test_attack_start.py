"""How the agent is started, by a caller who wishes it ill or is merely odd."""

import contextlib
import fcntl
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys

import pytest
from attack import (ENEMY, agents_of, as_enemy, children, dead, end_agents, environment_of, serves, service)
from harness import Varlink, program, wait_until

AUTO = {"MLTOKEN_NO_AUTOSTART": None}


@pytest.fixture
def setup(authority, home):
    home.config({"p": service(authority, home)})
    yield authority
    end_agents(home)


class Trap:
    """A listener that nobody should come to."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.socket.getsockname()[1]

    def visited(self):
        self.socket.settimeout(0.05)
        try:
            self.socket.accept()
            return True
        except TimeoutError:
            return False


def tree(path):
    return {os.path.join(d, f) for d, _, files in os.walk(path) for f in files}


@pytest.fixture(scope="module")
def dropper(tmp_path_factory):
    """A shared object that leaves a mark in every process that loads it."""
    directory = tmp_path_factory.mktemp("dropper")
    source = directory / "dropper.c"
    source.write_text(r"""
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void drop(void)
{
    char path[300], self[100] = "";
    (void)!readlink("/proc/self/exe", self, sizeof(self) - 1);
    snprintf(path, sizeof(path), "DIRECTORY/%d", (int)getpid());
    FILE *file = fopen(path, "w");
    if (file) {
        fputs(self, file);
        fclose(file);
    }
}
""".replace("DIRECTORY", str(directory)))
    library = directory / "dropper.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


def test_a_hostile_environment(setup, home, mltoken, dropper):
    """Each variable that makes a library write, read, run or connect: none has any effect on agent or worker."""
    bad = os.path.join(home.path, "bad")
    os.makedirs(bad)
    trap = Trap()
    openssl = os.path.join(bad, "openssl.cnf")
    with open(openssl, "w", encoding="ascii") as f:
        f.write(f"openssl_conf = x\n[x]\nengines = e\n[e]\nd = s\n[s]\nengine_id = d\ndynamic_path = {dropper}\ninit = 1\n")
    for name in (".curlrc", ".netrc", "_curlrc"):
        with open(os.path.join(home.home, name), "w", encoding="ascii") as f:
            f.write(f"proxy = http://{trap.address}\ntrace = {bad}/curl\n" if "rc" in name and "net" not in name else
                    "default login a password b\n")
    with open(os.path.join(bad, "gconv-modules"), "w", encoding="ascii") as f:
        f.write(f"module UTF-8// INTERNAL {dropper} 1\nmodule INTERNAL UTF-8// {dropper} 1\n")
    for name in ("libcurl.so.4", "libjson-c.so.5", "libcrypto.so.3", "libssl.so.3"):
        shutil.copy("/etc/hostname", os.path.join(bad, name))
    before = tree(bad)
    proxy = f"http://{trap.address}"
    hostile = {
        "SSLKEYLOGFILE": f"{bad}/keys", "http_proxy": proxy, "https_proxy": proxy, "HTTP_PROXY": proxy, "HTTPS_PROXY": proxy,
        "ALL_PROXY": proxy, "all_proxy": proxy, "NO_PROXY": "", "OPENSSL_CONF": openssl, "OPENSSL_ENGINES": bad,
        "OPENSSL_MODULES": bad, "SSL_CERT_FILE": f"{bad}/ca", "SSL_CERT_DIR": bad, "CURL_CA_BUNDLE": f"{bad}/ca", "CURL_HOME": bad,
        "CURL_SSL_BACKEND": "none", "NETRC": f"{bad}/netrc", "GCONV_PATH": bad, "LOCPATH": bad, "NLSPATH": f"{bad}/%N",
        "MALLOC_TRACE": f"{bad}/malloc", "MALLOC_CHECK_": "3", "GLIBC_TUNABLES": "glibc.malloc.check=3", "TZ": f":{bad}/zone",
        "TZDIR": bad, "RES_OPTIONS": "debug", "LOCALDOMAIN": "evil.example", "HOSTALIASES": f"{bad}/hosts",
        "TMPDIR": bad, "GETCONF_DIR": bad, "LD_DEBUG": "all", "LD_DEBUG_OUTPUT": f"{bad}/debug", "LD_PROFILE": "libc.so.6",
        "LD_AUDIT": str(dropper), "RESOLV_HOST_CONF": f"{bad}/host.conf", "PYTHONPATH": bad, "BASH_ENV": f"{bad}/env",
        "MLTOKEN_VALUE_LD_PRELOAD": str(dropper), "MLTOKEN_AGENT_CLEAN": "1", "MLTOKEN_AGENT_COMMAND": "1:3",
        "LISTEN_FDS": "5", "LISTEN_PID": str(os.getpid()), "NOTIFY_SOCKET": f"{bad}/notify", "WATCHDOG_USEC": "1000",
        "DBUS_SESSION_BUS_ADDRESS": f"unixexec:path=/usr/bin/touch,argv1={bad}/dbus", "PATH": bad, "LANG": f"{bad}/x",
        "LC_ALL": "../../" + bad,
    }
    # the command is the caller's own: what its loader does with LD_ is not the agent's to refuse, so these go to a shell's child
    command = {k: v for k, v in hostile.items() if not k.startswith("LD_")}
    # and so is what libc leaks there over a strange locale
    mltoken("get", "p", env={**AUTO, **command, "ASAN_OPTIONS": "detect_leaks=0"}).ok()
    (pid,) = agents_of(home)
    ours = {"PATH", "GLIBC_TUNABLES", "HOME", "MLTOKEN_AGENT_CLEAN", "MLTOKEN_AGENT_COMMAND", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC"}
    for one in (pid, *children(pid)):
        found = dict(e.partition("=")[::2] for e in environment_of(one))
        assert not set(found) & (set(hostile) - ours), found
        assert bad not in str(found) and "malloc.check" not in str(found)
        with open(f"/proc/{one}/maps", encoding="utf-8") as f:
            assert bad not in f.read()
        assert os.readlink(f"/proc/{one}/cwd") == "/"
    assert tree(bad) == before
    assert not trap.visited()


def test_a_library_before_ours(setup, home, mltoken, dropper):
    """LD_PRELOAD, LD_AUDIT, LD_LIBRARY_PATH reach the caller's command, but not the agent that it starts."""
    drops = dropper.parent
    env = home.env(**{**AUTO, "LD_PRELOAD": str(dropper), "LD_LIBRARY_PATH": str(drops),
                      "ASAN_OPTIONS": "verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", "")})
    done = subprocess.run([program("mltoken"), "get", "p"], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    who = set()
    for name in filter(str.isdigit, os.listdir(drops)):
        with open(os.path.join(drops, name), encoding="utf-8") as f:
            who.add(os.path.basename(f.read()))
    assert "mltoken" in who  # the trap works
    assert "mltoken-agent" not in who
    (pid,) = agents_of(home)
    with open(f"/proc/{pid}/maps", encoding="utf-8") as f:
        assert "dropper" not in f.read()


def test_nothing_foreign_in_the_agent_itself(setup, home, start_agent, dropper):
    """What the caller has the loader load gets into the program that cleans, and no further."""
    for name in filter(str.isdigit, os.listdir(dropper.parent)):
        os.unlink(dropper.parent / name)
    options = {"ASAN_OPTIONS": "verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", "")}
    agent = start_agent(LD_PRELOAD=str(dropper), **options)
    serves(home)
    who = [(dropper.parent / name).read_text() for name in os.listdir(dropper.parent) if name.isdigit()]
    assert [os.path.basename(path) for path in who] == ["mltoken-agent"]
    with open(f"/proc/{agent.pid}/maps", encoding="utf-8") as f:
        assert "dropper" not in f.read()
    assert os.path.basename(os.readlink(f"/proc/{agent.pid}/exe")) == "mltoken-agent-main"


def test_the_second_program_alone(setup, home):
    """Started by itself, with whatever environment: it cleans that as the first one would have done."""
    env = home.env(SSLKEYLOGFILE="/tmp/x", https_proxy="http://127.0.0.1:1", MLTOKEN_AGENT_CLEAN="1")
    read_end, write_end = os.pipe()
    process = subprocess.Popen([program("mltoken-agent-main"), "--foreground"], env=env, cwd=home.path, pass_fds=(write_end,),
                               stderr=subprocess.DEVNULL)
    try:
        os.close(write_end)
        wait_until(lambda: os.path.exists(home.socket))
        serves(home)
        assert not {"SSLKEYLOGFILE", "https_proxy"} & {e.partition("=")[0] for e in environment_of(process.pid)}
        assert os.readlink(f"/proc/{process.pid}/cwd") == "/"
        with os.fdopen(read_end, "rb") as f:
            assert f.read() == b""
    finally:
        process.terminate()
        process.wait()


def test_odd_processes_start_a_proper_agent(setup, home, mltoken):
    """Descriptors, directory, umask, ignored signals, a mask of blocked ones: the agent has its own."""
    gone = os.path.join(home.path, "gone")
    os.makedirs(gone)
    read_end, write_end = os.pipe()

    def odd():
        os.chdir(gone)
        os.rmdir(gone)
        os.umask(0)
        for number in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    done = subprocess.run([program("mltoken"), "get", "p"], env=home.env(**AUTO), capture_output=True, text=True, timeout=60,
                          check=False, preexec_fn=odd, pass_fds=(write_end,))
    assert done.returncode == 0, done.stderr
    os.close(write_end)
    with os.fdopen(read_end, "rb") as f:
        assert f.read() == b""  # nobody holds the other end
    (pid,) = agents_of(home)
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert stat.S_IMODE(os.stat(os.path.dirname(home.socket)).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(home.socket).st_mode) == 0o600
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: dead(pid))


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2), (0, 2)])
def test_closed_standard_descriptors(setup, home, closed):
    """What the command and the agent open must not become 0, 1 or 2 and receive a message or a token."""
    done = subprocess.run([program("mltoken"), "get", "p"], env=home.env(**AUTO), capture_output=True, text=True, timeout=60,
                          check=False, preexec_fn=lambda: [os.close(fd) for fd in closed])
    if 1 in closed:
        assert done.returncode != 0, "a token that could not be written is a failure"
    else:
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == serves(home)
    (pid,) = agents_of(home)
    for fd in range(3):
        assert os.readlink(f"/proc/{pid}/fd/{fd}") == "/dev/null"


def test_two_shells_at_once(setup, home):
    """Twenty commands, no agent: one agent afterwards, and a token for each."""
    started = [subprocess.Popen([program("mltoken"), "get", "p"], env=home.env(**AUTO), stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True) for _ in range(20)]
    done = [(p.communicate(timeout=60), p.returncode) for p in started]
    assert [code for _, code in done] == [0] * 20, done
    assert len({out for (out, _), _ in done}) == 1
    assert all(err == "" for (_, err), _ in done)
    wait_until(lambda: len(agents_of(home)) == 1)
    assert len(setup.requests(endpoint="token")) == 1


def test_two_shells_over_and_over_while_agents_die(setup, home):
    """Commands that meet an agent which is just being killed or ending: a token, or one clear line."""
    for i in range(6):
        started = [subprocess.Popen([program("mltoken"), "get", "p"], env=home.env(**AUTO), stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, text=True) for _ in range(5)]
        for pid in agents_of(home):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if i % 2 else signal.SIGTERM)
        for process in started:
            out, err = process.communicate(timeout=60)
            assert (process.returncode == 0 and out) or (err.count("\n") == 1 and not out), (process.returncode, err)
    assert len(agents_of(home)) <= 1


def test_the_callers_notify_socket_is_not_the_agents(setup, home, mltoken):
    """A command in a service of type notify must not make the service ready, nor end it, through the agent it starts."""
    path = os.path.join(home.path, "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(0.2)
        mltoken("get", "p", env={**AUTO, "NOTIFY_SOCKET": path}).ok()
        end_agents(home)
        with pytest.raises(TimeoutError):
            assert manager.recv(4096) is None


# ---- the places ----------------------------------------------------------------------------------------------------

def refused(home, *words, code=1, **env):
    """Starts an agent that must refuse: one line, and which."""
    done = subprocess.run([program("mltoken-agent"), "--foreground"], env=home.env(**env), capture_output=True, text=True,
                          timeout=30, check=False)
    assert done.returncode == code, done.stderr
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr, done.stderr
    return done.stderr


@pytest.mark.parametrize("kind", ["symlink", "directory", "held"])
def test_the_lock_is_squatted(setup, home, kind):
    directory = os.path.dirname(home.socket)
    os.makedirs(directory, mode=0o700)
    lock = os.path.join(directory, "agent.lock")
    elsewhere = os.path.join(home.path, "victim")
    if kind == "symlink":
        os.symlink(elsewhere, lock)
        refused(home, "cannot lock", directory)
        assert not os.path.exists(elsewhere)
    elif kind == "directory":
        os.mkdir(lock)
        refused(home, "cannot lock", directory)
    else:
        with open(lock, "w", encoding="ascii") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            refused(home, "another agent")


def test_a_fifo_for_a_lock_does_not_block(setup, home, start_agent):
    os.makedirs(os.path.dirname(home.socket), mode=0o700)
    os.mkfifo(os.path.join(os.path.dirname(home.socket), "agent.lock"), 0o600)
    start_agent()
    serves(home)


@pytest.mark.parametrize("which", ["agent.sock", "get.sock"])
@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
def test_something_in_the_sockets_place(setup, home, which, kind):
    """It is not ours to remove."""
    directory = os.path.dirname(home.socket)
    os.makedirs(directory, mode=0o700)
    path = os.path.join(directory, which)
    if kind == "file":
        with open(path, "w", encoding="ascii") as f:
            f.write("mine")
    elif kind == "directory":
        os.mkdir(path)
    else:
        os.symlink("/etc/passwd", path)
    refused(home, "cannot listen", path)
    assert os.path.lexists(path) and not stat.S_ISSOCK(os.lstat(path).st_mode)


@pytest.mark.parametrize("value", ["relative/agent.sock", "agent.sock", "./agent.sock", "/", "/dir/", "/" + "x" * 107,
                                   "/tmp/" + "y" * 4096], ids=lambda v: v[:20])
def test_a_bad_path(setup, home, mltoken, value):
    assert "MLTOKEN_SOCK" in refused(home, code=2, MLTOKEN_SOCK=value)
    for env in ({}, AUTO):
        assert "MLTOKEN_SOCK" in mltoken("get", "p", env={**env, "MLTOKEN_SOCK": value}).failed(2)
    assert "--socket" in mltoken("--socket", value, "get", "p", env=AUTO).failed(2)


def test_the_limited_socket_is_not_the_agents_own(setup, home):
    """Both sockets would have one path: nobody could sign in any more."""
    directory = os.path.join(home.runtime, "own")
    os.mkdir(directory, 0o700)
    refused(home, "get.sock", code=2, MLTOKEN_SOCK=directory + "/get.sock")


def test_a_foreign_runtime_directory(setup, home, mltoken):
    """As after su: it is not used, whatever it allows."""
    foreign = os.path.join(home.path, "foreign")
    os.mkdir(foreign)
    os.chown(foreign, ENEMY, ENEMY)
    os.chmod(foreign, 0o777)
    own = os.path.join(home.path, "own")
    os.mkdir(own, 0o700)
    mltoken("get", "p", env={"XDG_RUNTIME_DIR": foreign}).failed(7)
    assert os.listdir(foreign) == []


def test_a_rogue_server_hears_nothing(setup, home, mltoken):
    """Another uid listens where the socket should be: every command refuses before it has written a byte."""
    assert os.getuid() == 0
    directory = os.path.join(home.path, "shared")
    os.mkdir(directory, 0o700)
    os.chmod(home.path, 0o711)
    path = os.path.join(directory, "agent.sock")
    heard = os.path.join(directory, "heard")
    rogue = ("import os, socket, sys\nl = socket.socket(socket.AF_UNIX); l.bind(sys.argv[1]); l.listen(50)\n"
             "os.chmod(sys.argv[1], 0o777); f = open(sys.argv[2], 'ab', 0); print('up', flush=True)\n"
             "while True:\n    c, _ = l.accept(); f.write(b'+')\n"
             "    while (d := c.recv(4096)):\n        f.write(d)\n    f.write(b'-')\n    c.close()\n")
    os.chown(directory, ENEMY, ENEMY)
    process = subprocess.Popen([sys.executable, "-c", f"import os\nos.setgroups([]); os.setgid({ENEMY}); os.setuid({ENEMY})\n" + rogue,
                                path, heard], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "up\n"
        os.chown(directory, 0, 0)  # as if the squatter had been there first
        os.chmod(directory, 0o700)
        commands = [("get", "p"), ("login", "p"), ("logout", "p"), ("status",), ("show", "p"), ("verify", "--profile", "p"),
                    ("exec", "--env", "T=p", "--", "true")]
        for command in commands:
            for extra in ({}, AUTO):
                done = mltoken(*command, env={**extra, "MLTOKEN_SOCK": path}, input="x.y.z\n")
                assert done.code in (7, 8, 125), (command, done)
                assert done.out == "" and "user" in done.err, done.err
        def told():
            with open(heard, "rb") as f:
                return f.read()
        wait_until(lambda: told().count(b"-") >= 1)
        assert told().strip(b"+-") == b"", told()
    finally:
        process.kill()
        process.wait()


def test_another_user_at_the_socket(setup, home, start_agent):
    """With every mode opened: connected, and closed without an answer; in a crowd nobody else waits."""
    agent = start_agent()
    serves(home)
    for path, mode in ((home.path, 0o755), (home.runtime, 0o755), (os.path.dirname(home.socket), 0o755),
                       (home.socket, 0o666), (home.get_socket, 0o666)):
        os.chmod(path, mode)
    out = as_enemy("import socket\nn = 0\nfor path in sys.argv[1:]:\n  for i in range(500):\n"
                   "    s = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect(path)\n    try:\n"
                   "        s.sendall(b'{\"method\":\"org.mltoken.agent.GetToken\",\"parameters\":{\"profile\":\"p\"}}\\0')\n"
                   "        n += len(s.recv(4096))\n    except OSError: pass\n    s.close()\nprint('heard', n)\n",
                   home.socket, home.get_socket)
    assert out.endswith("heard 0\n"), out
    serves(home)
    assert agent.log().count("another user") < 50, "a stranger must not be able to fill the log"


@pytest.mark.parametrize("limit,value", [("RLIMIT_NOFILE", 30), ("RLIMIT_MEMLOCK", 0), ("RLIMIT_FSIZE", 0), ("RLIMIT_CORE", -1),
                                         ("RLIMIT_STACK", 1 << 20), ("RLIMIT_NOFILE", 12)])
def test_low_limits(setup, home, limit, value):
    """A token, or a clear line; never a crash."""
    number = getattr(resource, limit)
    done = subprocess.run([program("mltoken"), "get", "p"], env=home.env(**AUTO), capture_output=True, text=True, timeout=60,
                          check=False, preexec_fn=lambda: resource.setrlimit(number, (value, value)))
    assert done.returncode in (0, 3, 6, 7), (done.returncode, done.stderr)
    assert (done.returncode == 0) == bool(done.stdout)
    if done.returncode:
        assert done.stderr.count("\n") == 1, done.stderr
    if value != 12:
        assert done.returncode == 0, done.stderr
    for pid in agents_of(home):
        with open(f"/proc/{pid}/limits", encoding="ascii") as f:
            core = [line.split() for line in f if line.startswith("Max core")][0]
        assert core[4:6] == ["0", "0"]
