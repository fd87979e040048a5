"""`mltoken-agent -- COMMAND` and the service manager's side: what a script, a CI job or systemd could meet."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import time

import pytest
from attack import children, dead, serves, service, state
from harness import PATIENCE, Varlink, program, wait_until


@pytest.fixture
def setup(authority, home):
    home.config({"p": service(authority, home)})
    yield authority
    assert os.listdir(home.runtime) == [], "something was left behind"


def private(home, *command, timeout=60, popen=None, **env):
    # what a test was started with, nohup for one, is not the command's matter
    popen = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL), **(popen or {})}
    return subprocess.run([program("mltoken-agent"), "--", *command], env=home.env(**env), capture_output=True, text=True,
                          timeout=timeout, check=False, **popen)


def python(code):
    return (sys.executable, "-c", code)


@pytest.mark.parametrize("code", [0, 1, 7, 124, 125, 126, 127, 128, 255])
def test_exit_status(setup, home, code):
    done = private(home, "sh", "-c", f"exit {code}")
    assert (done.returncode, done.stdout) == (code, "")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGPIPE, signal.SIGHUP])
def test_a_command_that_is_killed(setup, home, number):
    assert private(home, "sh", "-c", f"kill -{int(number)} $$").returncode == 128 + number


@pytest.mark.parametrize("command,code", [(["/nonexistent"], 127), (["no-such-program"], 127), (["/etc"], 126), (["/etc/passwd"], 126),
                                          ([""], 127)])
def test_no_command(setup, home, command, code):
    done = private(home, *command)
    assert done.returncode == code
    assert len([line for line in done.stderr.splitlines() if "cannot run" in line]) == 1, done.stderr


def test_the_callers_world_is_kept(setup, home):
    """Environment, directory, umask, descriptors, signals and their mask, standard input: the command's are the caller's."""
    show = ("import os, signal, sys, json\nprint(json.dumps([sorted((k, v) for k, v in os.environ.items() if k != 'MLTOKEN_SOCK' and k[:3] != 'LC_'),"
            "os.getcwd(), os.umask(0), sorted(map(int, os.listdir('/proc/self/fd')))[:-1], sys.stdin.read(),"
            "signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN, signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN, "
            "sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, [])))]))")
    read_end, write_end = os.pipe()

    def odd():
        os.umask(0o27)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    how = {"env": home.env(SSLKEYLOGFILE="/nowhere/keys", HTTP_PROXY="http://p", FOO="bär\n", LD_BIND_NOW="1"), "cwd": "/usr/share",
           "input": "read me", "capture_output": True, "text": True, "timeout": 60, "check": False, "preexec_fn": odd,
           "pass_fds": (write_end,), "restore_signals": False}
    direct = subprocess.run(python(show), **how)
    inside = subprocess.run([program("mltoken-agent"), "--", *python(show)], **how)
    os.close(write_end)
    os.close(read_end)
    assert direct.returncode == 0
    assert inside.returncode == 0, inside.stderr
    assert inside.stdout == direct.stdout


def test_it_works_and_nests(setup, home):
    inner = [program("mltoken-agent"), "--", "sh", "-c", f'echo "$MLTOKEN_SOCK"; {program("mltoken")} get p']
    done = private(home, "sh", "-c", f'echo "$MLTOKEN_SOCK"; {program("mltoken")} get p; exec "$@"', "sh", *inner)
    assert done.returncode == 0, done.stderr
    outer_socket, outer, inner_socket, token = done.stdout.split()
    assert outer_socket != inner_socket and outer and token
    assert not os.path.exists(os.path.dirname(outer_socket)) and not os.path.exists(os.path.dirname(inner_socket))
    assert len(setup.requests(endpoint="token")) == 2


@pytest.mark.parametrize("length", range(60, 108, 3))
def test_a_long_runtime_directory(setup, home, length):
    """Its agent's directory goes elsewhere when there is no room, and away in any case."""
    path = os.path.join(home.path, "r" * (length - len(home.path) - 1))
    os.mkdir(path, 0o700)
    before = set(os.listdir("/tmp"))
    done = private(home, "sh", "-c", f'echo "$MLTOKEN_SOCK"; {program("mltoken")} get p', XDG_RUNTIME_DIR=path)
    assert done.returncode == 0, done.stderr
    assert os.listdir(path) == []
    assert not os.path.exists(os.path.dirname(done.stdout.split()[0]))
    assert not [n for n in set(os.listdir("/tmp")) - before if n.startswith("mltoken-") and
                n in done.stdout]


@pytest.mark.parametrize("disposition", [signal.SIG_DFL, signal.SIG_IGN])
def test_a_caller_that_ignores_its_children(setup, home, disposition):
    """Inherited, that would keep the agent from ever hearing of its command's end, and of a secret's reader's."""
    done = private(home, "sh", "-c", f'{program("mltoken")} get p >/dev/null && exit 3', timeout=30,
                   popen={"preexec_fn": lambda: signal.signal(signal.SIGCHLD, disposition)})
    assert done.returncode == 3, done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_while_it_runs(setup, home, number):
    """SIGTERM ends the command and then the agent; SIGHUP reads the configuration."""
    code = "echo up; exec sleep 300" if number == signal.SIGTERM else "echo up; read x; exit 9"
    process = subprocess.Popen([program("mltoken-agent"), "--", "sh", "-c", code], env=home.env(),
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "up\n"
    process.send_signal(number)
    if number == signal.SIGTERM:
        process.wait(timeout=PATIENCE)  # its input stays open: the end of that would end it too, with 9
        assert process.returncode == 128 + signal.SIGTERM
    else:
        process.communicate("go\n", timeout=PATIENCE)
        assert process.returncode == 9


def test_ctrl_c(setup, home):
    """The terminal signals the whole group: the command decides, the agent stays for it and passes its status on."""
    code = "trap 'exit 42' INT; echo up; while :; do sleep 0.05; done"
    process = subprocess.Popen([program("mltoken-agent"), "--", "sh", "-c", code], env=home.env(), stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, start_new_session=True,
                               # a shell cannot trap what was ignored when it began, as it is in background jobs
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert process.stdout.readline() == "up\n"
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 42


def test_what_the_command_leaves_running(setup, home):
    """A background child of the command does not keep the agent: it ends with the command."""
    done = private(home, "sh", "-c", "sleep 300 >/dev/null 2>&1 & echo $!", timeout=30)
    os.kill(int(done.stdout), signal.SIGKILL)
    assert done.returncode == 0


def test_the_manager_of_the_caller(setup, home):
    """Readiness and sockets that were meant for the command's own manager are not taken by the agent."""
    path = os.path.join(home.path, "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(0.2)
        done = private(home, "sh", "-c", 'echo "$NOTIFY_SOCKET"', NOTIFY_SOCKET=path, WATCHDOG_USEC="200000")
        assert done.stdout == path + "\n"
        with pytest.raises(TimeoutError):
            assert manager.recv(4096) is None


def test_no_way_to_start(setup, home):
    """Where it cannot make its directory: 125, a line that says why, and the command is not run."""
    done = private(home, "touch", os.path.join(home.path, "ran"), popen={
        "preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (8, 8))})
    assert done.returncode == 125, done
    assert "mltoken-agent:" in done.stderr
    assert not os.path.exists(os.path.join(home.path, "ran"))


def test_an_agent_that_cannot_go_on(setup, home):
    """Its worker is killed: the command is told to end, and the status is the agent's own failure."""
    process = subprocess.Popen([program("mltoken-agent"), "--", "sh", "-c", "echo $$; exec sleep 300"], env=home.env(),
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    command = int(process.stdout.readline())
    (worker,) = [pid for pid in children(process.pid) if pid != command]
    os.kill(worker, signal.SIGKILL)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 125
    wait_until(lambda: dead(command))


# ---- the service manager -------------------------------------------------------------------------------------------

@pytest.fixture
def activated(authority, home):
    """Started as systemd would: listening sockets from descriptor 3 on, named; a notify socket; a watchdog."""
    home.config({"p": service(authority, home)})
    directory = os.path.dirname(home.socket)
    os.makedirs(directory, mode=0o700)
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(os.path.join(home.path, "notify"))
    manager.settimeout(PATIENCE)
    listeners = []
    for path in (home.socket, home.get_socket):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(16)
        listeners.append(listener)
    log = open(os.path.join(home.path, "activated.log"), "w+b")
    processes = []

    def start(count=2, **env):
        def descriptors():
            saved = [os.dup2(listener.fileno(), 50 + i) for i, listener in enumerate(listeners[:count])]
            for i, fd in enumerate(saved):
                os.dup2(fd, 3 + i)
            os.environ["LISTEN_PID"] = str(os.getpid())
        code = ("import os, sys\nos.environ['LISTEN_PID'] = str(os.getpid())\nos.execv(sys.argv[1], sys.argv[1:])")
        env = home.env(NOTIFY_SOCKET=os.path.join(home.path, "notify"), WATCHDOG_USEC="2000000", LISTEN_FDS=str(count),
                       LISTEN_FDNAMES=":".join(["agent.sock", "get.sock"][:count]), **env)
        processes.append(subprocess.Popen([sys.executable, "-c", code, program("mltoken-agent"), "--foreground"], env=env,
                                          stdout=log, stderr=log, preexec_fn=descriptors, close_fds=False, cwd="/"))
        return processes[-1]
    start.manager, start.listeners = manager, listeners
    yield start
    for process in processes:
        if process.poll() is None:
            process.terminate()
            assert process.wait(PATIENCE) == 0
    log.seek(0)
    assert b"Sanitizer" not in log.read()
    manager.close()
    for listener in listeners:
        listener.close()
    log.close()


def test_a_whole_life_under_a_manager(activated, home):
    """Who came before it was there is served; it says READY, feeds the watchdog, and leaves the manager's sockets alone."""
    early = Varlink(home.socket)
    early.send("GetToken", {"profile": "p"})
    process = activated()
    assert b"READY=1" in activated.manager.recv(4096)
    assert early.reply()["token"]["profile"] == "p"
    early.close()
    for _ in range(3):
        assert activated.manager.recv(4096) == b"WATCHDOG=1\n"
    with Varlink(home.get_socket) as limited:
        assert limited.error("Status").name == "Denied"
        limited.token("p")
    process.terminate()
    told = b""
    while b"STOPPING=1" not in told:
        told = activated.manager.recv(4096)
    assert process.wait(PATIENCE) == 0
    assert os.path.exists(home.socket) and os.path.exists(home.get_socket)
    again = Varlink(home.socket)  # waits in the manager's socket
    again.send("GetToken", {"profile": "p"})
    activated()
    assert again.reply()["token"]["profile"] == "p"
    again.close()


def test_activated_while_a_client_crowd_waits(activated, home):
    crowd = []
    for _ in range(16):
        crowd.append(Varlink(home.socket))
        crowd[-1].send("GetToken", {"profile": "p"})
    activated()
    for v in crowd:
        assert v.reply()["token"]["profile"] == "p"
        v.close()


def test_a_stopped_agent_starves_the_watchdog(activated, home):
    """The watchdog is fed from the loop: when that stands still, the manager hears nothing."""
    process = activated()
    assert b"READY=1" in activated.manager.recv(4096)
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: state(process.pid) == "T")
    activated.manager.settimeout(0)
    with contextlib.suppress(BlockingIOError):
        while True:  # what was sent before
            activated.manager.recv(4096)
    activated.manager.settimeout(2.5)
    with pytest.raises(TimeoutError):
        activated.manager.recv(4096)
    activated.manager.settimeout(PATIENCE)
    process.send_signal(signal.SIGCONT)
    assert activated.manager.recv(4096) == b"WATCHDOG=1\n"


def test_a_manager_that_went_away(activated, home):
    activated()
    assert b"READY=1" in activated.manager.recv(4096)
    os.unlink(os.path.join(home.path, "notify"))
    activated.manager.close()
    time.sleep(2.5)
    serves(home)


def test_one_socket_handed_over(activated, home):
    """Only agent.sock: the other one is made, and the one that was given is served."""
    activated.listeners[1].close()
    os.unlink(home.get_socket)
    activated(count=1)
    assert b"READY=1" in activated.manager.recv(4096)
    serves(home)
    with Varlink(home.get_socket) as limited:
        limited.token("p")


def test_the_real_activator(authority, home):
    home.config({"p": service(authority, home)})
    os.makedirs(os.path.dirname(home.socket), mode=0o700)
    process = subprocess.Popen(["systemd-socket-activate", "-l", home.socket, "-l", home.get_socket, "--fdname=agent.sock:get.sock",
                                *[f"--setenv={k}={v}" for k, v in home.env().items()], program("mltoken-agent"), "--foreground"],
                               env=home.env(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
                               preexec_fn=lambda: os.umask(0o77))
    try:
        wait_until(lambda: os.path.exists(home.get_socket))
        for path in (home.socket, home.get_socket):
            with Varlink(path) as v:
                assert v.token("p")["profile"] == "p"
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
