"""The socket: who may use it, where it may lie, and what garbage does to it."""

import json
import os
import socket
import stat
import struct
import subprocess
import sys
import threading
import time

import pytest
from harness import Agent, Varlink, VarlinkError, program, service, wait_until

OTHER_UID = 12345


@pytest.fixture
def setup(authority, home, start_agent):
    home.config({"p": service(authority, home)})
    agent = start_agent()
    with Varlink(home.socket) as connection:
        connection.token("p")
    return agent


def as_other(code, *args, uid=OTHER_UID):
    """Runs python code as another uid; (exit status, stdout)."""
    done = subprocess.run([sys.executable, "-c", f"import os; os.setgroups([]); os.setgid({uid}); os.setuid({uid})\n{code}",
                           *args], capture_output=True, text=True, timeout=60, check=False, cwd="/")
    return done.returncode, done.stdout + done.stderr


def test_modes(setup, home):
    assert stat.S_IMODE(os.stat(os.path.dirname(home.socket)).st_mode) == 0o700
    for path in (home.socket, home.get_socket):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_ISSOCK(os.stat(path).st_mode)


def test_another_uid_gets_nothing(setup, home):
    """Even with the file modes opened wide, SO_PEERCRED decides."""
    assert os.getuid() == 0, "needs root to become somebody else"
    ask = ("import socket, sys\ns = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect(sys.argv[1])\n"
           "try:\n    s.sendall(b'{\"method\":\"org.mltoken.agent.GetToken\",\"parameters\":{\"profile\":\"p\"}}\\0')\n"
           "    print('GOT', s.recv(4096))\nexcept OSError as error: print('GOT', b'', error)")
    status, out = as_other(ask, home.socket)
    assert status != 0 and "PermissionError" in out
    for path in (home.path, home.runtime, os.path.dirname(home.socket)):
        os.chmod(path, 0o755)
    for path in (home.socket, home.get_socket):
        os.chmod(path, 0o666)
        status, out = as_other(ask, path)
        assert status == 0 and "GOT b''" in out, out
    with Varlink(home.socket) as connection:
        connection.token("p")


def test_another_uids_server_is_told_nothing(authority, home, mltoken):
    """The client checks who serves before it writes a byte."""
    home.config({"p": service(authority, home)})
    directory = os.path.dirname(home.socket)
    os.mkdir(directory, 0o700)
    code = ("import socket, sys\ns = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); print('ready', flush=True)\n"
            "s.settimeout(30)\nc, _ = s.accept(); c.settimeout(5)\n"
            "try: print('READ', c.recv(4096), flush=True)\nexcept OSError as e: print('READ', e, flush=True)")
    os.chmod(home.path, 0o755)
    os.mkdir(home.path + "/open", 0o777)
    os.chmod(home.path + "/open", 0o777)
    path = home.path + "/open/s"
    server = subprocess.Popen([sys.executable, "-c", f"import os; os.setgid({OTHER_UID}); os.setuid({OTHER_UID})\n{code}", path],
                              stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout.readline() == "ready\n"
        os.rename(path, home.socket)
        result = mltoken("get", "p")
        assert result.code in (7, 8), result
        result.failed(result.code)
        assert server.stdout.readline() == "READ b''\n"
    finally:
        server.kill()
        server.communicate()


def expect_refusal(home, word=None):
    agent = Agent(home)
    agent.expect_exit = -1
    agent.start(wait=False)
    code = agent.process.wait(20)
    log = agent.log()
    agent.process = None
    assert code not in (0, None) and code > 0, log
    assert "mltoken" in log
    assert not os.path.exists(home.socket) or not stat.S_ISSOCK(os.lstat(home.socket).st_mode)
    if word:
        assert word in log
    return log


def test_a_socket_directory_that_is_a_symlink(authority, home, mltoken):
    home.config({"p": service(authority, home)})
    real = os.path.join(home.path, "elsewhere")
    os.mkdir(real, 0o700)
    os.symlink(real, os.path.dirname(home.socket))
    expect_refusal(home, os.path.dirname(home.socket))
    assert os.listdir(real) == []
    mltoken("get", "p").failed(7)


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o770, 0o777, 0o1777])
def test_a_socket_directory_that_is_too_open(authority, home, mltoken, mode):
    home.config({"p": service(authority, home)})
    directory = os.path.dirname(home.socket)
    os.mkdir(directory)
    os.chmod(directory, mode)
    expect_refusal(home, directory)
    mltoken("get", "p").failed(7)


def test_a_socket_directory_of_somebody_else(authority, home, mltoken):
    home.config({"p": service(authority, home)})
    directory = os.path.dirname(home.socket)
    os.mkdir(directory, 0o700)
    os.chown(directory, OTHER_UID, OTHER_UID)
    expect_refusal(home, directory)
    mltoken("get", "p").failed(7)


def test_a_file_in_the_place_of_the_directory(home):
    with open(os.path.dirname(home.socket), "w", encoding="ascii"):
        pass
    expect_refusal(home)


def test_a_path_that_is_too_long(home, mltoken):
    path = home.path + "/" + "x" * 200 + "/agent.sock"
    assert "107" in mltoken("--socket", path, "status").failed(2)
    assert "107" in mltoken("status", env={"MLTOKEN_SOCK": path}).failed(2)


def test_a_runtime_directory_of_somebody_else_is_skipped(authority, home, start_agent, mltoken):
    """As after su: the socket lies elsewhere, and agent and command agree where."""
    home.config({"p": service(authority, home)})
    foreign = os.path.join(home.path, "foreign")
    os.mkdir(foreign, 0o700)
    os.chown(foreign, OTHER_UID, OTHER_UID)
    before = set(os.listdir(foreign))
    result = mltoken("status", env={"XDG_RUNTIME_DIR": foreign})
    assert result.code in (0, 7)
    assert set(os.listdir(foreign)) == before
    assert foreign not in result.err


def test_a_second_agent_does_not_take_the_place_of_the_first(setup, home):
    agent = Agent(home)
    agent.expect_exit = -1
    agent.start(wait=False)
    assert agent.process.wait(20) != 0
    agent.process = None
    with Varlink(home.socket) as connection:
        assert connection.call("Status")["pid"] == setup.pid


def test_a_stale_socket_is_replaced(authority, home, start_agent):
    home.config({"p": service(authority, home)})
    agent = start_agent()
    agent.process.kill()
    agent.process.wait()
    agent.process = None
    assert os.path.exists(home.socket)
    start_agent()
    with Varlink(home.socket) as connection:
        connection.token("p")


# Garbage

GARBAGE = {
    "no-json": b"hello\0",
    "empty-message": b"\0",
    "many-nuls": b"\0" * 100,
    "array": b"[]\0",
    "string": b'"x"\0',
    "number": b"7\0",
    "null": b"null\0",
    "half": b'{"method":"org.mltoken.agent.\0',
    "trailing": b'{"method":"org.mltoken.agent.Status"}x\0',
    "two-in-one": b'{"method":"org.mltoken.agent.Status"}{"method":"org.mltoken.agent.Status"}\0',
    "single-quotes": b"{'method':'org.mltoken.agent.Status'}\0",
    "comment": b'/* x */{"method":"org.mltoken.agent.Status"}\0',
    "nan": b'{"method":"org.mltoken.agent.GetToken","parameters":{"minValid":NaN}}\0',
    "not-utf8": b'{"method":"org.mltoken.agent.GetToken","parameters":{"profile":"\xff\xfe"}}\0',
    "overlong": b'{"method":"org.mltoken.agent.GetToken","parameters":{"profile":"\xc0\x80"}}\0',
    "no-method": b'{"parameters":{}}\0',
    "method-number": b'{"method":7}\0',
    "method-null": b'{"method":null}\0',
    "parameters-array": b'{"method":"org.mltoken.agent.Status","parameters":[]}\0',
    "parameters-text": b'{"method":"org.mltoken.agent.Status","parameters":"x"}\0',
    "more-text": b'{"method":"org.mltoken.agent.List","more":"yes"}\0',
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n\0",
    "deep": b'{"method":"org.mltoken.agent.GetToken","parameters":' + b'{"a":' * 50 + b"1" + b"}" * 50 + b"}\0",
    "very-deep": b"[" * 60000 + b"\0",
    "too-long": b'{"method":"' + b"x" * 70000 + b'"}\0',
    "too-long-without-end": b"x" * 200000,
    "duplicate-method": b'{"method":"org.mltoken.agent.Status","method":"org.mltoken.agent.GetToken"}\0',
    "nul-in-name": b'{"method":"org.mltoken.agent.GetToken","parameters":{"profile":"p\\u0000x"}}\0',
    "control-in-name": b'{"method":"org.mltoken.agent.GetToken","parameters":{"profile":"p\\u001b[2J"}}\0',
    "lone-surrogate": b'{"method":"org.mltoken.agent.GetToken","parameters":{"profile":"\\ud800"}}\0',
}


@pytest.mark.parametrize("name", GARBAGE)
def test_garbage(setup, home, name):
    """Issue row 10: a clear error or a closed connection, and everybody else still served."""
    with Varlink(home.socket) as other, Varlink(home.socket) as connection:
        other.call("Status")
        try:
            connection.raw(GARBAGE[name])
            reply = connection.receive()
            assert name == "duplicate-method" or reply.get("error"), reply
            if "error" in reply:
                assert "." in reply["error"]
        except (EOFError, OSError):
            pass
        assert other.token("p")
    assert setup.alive()


def test_any_bytes(setup, home):
    """A fixed sequence of pseudo-random messages, whole and split."""
    seed = 1
    base = b'{"method":"org.mltoken.agent.GetToken","parameters":{"profile":"p","scopes":["a"],"minValid":5}}\0'
    for _ in range(300):
        data = bytearray(base)
        for _ in range(3):
            seed = (seed * 6364136223846793005 + 1442695040888963407) % 2**64
            data[(seed >> 33) % len(data)] = (seed >> 20) & 0xFF
        with Varlink(home.socket, timeout=8) as connection:
            try:
                connection.raw(bytes(data) + b"\0")
                connection.receive()
            except (EOFError, OSError):
                pass
    assert setup.alive()
    with Varlink(home.socket) as connection:
        connection.token("p")


def call_of(length):
    """A GetToken call of exactly so many bytes without its NUL."""
    head, tail = b'{"method":"org.mltoken.agent.GetToken","parameters":{"profile":"p"}', b"}"
    return head + b" " * (length - len(head) - len(tail)) + tail


@pytest.mark.parametrize("length, fits", [(65535, True), (65536, True), (65537, False)])
def test_the_longest_request(setup, home, length, fits):
    with Varlink(home.socket) as connection:
        try:
            connection.raw(call_of(length) + b"\0")
            answered = "parameters" in connection.receive() and True
        except (EOFError, OSError):
            answered = False
        assert answered == fits


@pytest.mark.parametrize("depth, fits", [(7, True), (8, True), (9, False)])
def test_the_deepest_request(setup, home, depth, fits):
    """The message is one level, parameters another; the rest nests in an unknown member of the message."""
    inner = "1"
    for _ in range(depth - 1):
        inner = f"[{inner}]"
    with Varlink(home.socket) as connection:
        connection.raw(b'{"method":"org.mltoken.agent.Status","x":' + inner.encode() + b"}\0")
        try:
            reply = connection.receive()
            known = "error" not in reply or "InvalidParameter" in reply["error"]
            assert known == fits, reply
        except EOFError:
            assert not fits


def test_a_request_must_come_within_five_seconds(setup, home):
    with Varlink(home.socket) as slow, Varlink(home.socket) as idle:
        started = time.monotonic()
        slow.raw(b'{"method"')
        assert slow.closed()
        assert 4 <= time.monotonic() - started <= 25
        assert idle.token("p")  # silence before the first byte costs nothing


def test_a_split_message_is_read_whole(setup, home):
    message = b'{"method":"org.mltoken.agent.GetToken","parameters":{"profile":"p"}}\0'
    with Varlink(home.socket) as connection:
        for byte in message:
            connection.raw(bytes([byte]))
        assert connection.reply()["token"]["profile"] == "p"


def test_many_messages_in_one_write_are_answered_in_order(setup, home):
    with Varlink(home.socket) as connection:
        connection.raw(b"".join(json.dumps({"method": "org.mltoken.agent.GetToken", "parameters": {
            "profile": "p" if i % 2 == 0 else f"none{i}"}}).encode() + b"\0" for i in range(200)))
        for i in range(200):
            if i % 2 == 0:
                assert connection.reply()["token"]["profile"] == "p"
            else:
                with pytest.raises(VarlinkError) as caught:
                    connection.reply()
                assert caught.value.parameters["profile"] == f"none{i}"


def test_a_client_that_goes_away_while_waiting(setup, home, authority):
    home.config({"p": service(authority, home), "q": service(authority, home, "load-1")})
    authority.fault("token", hold=True, client="load-1")
    clients = []
    for _ in range(20):
        connection = Varlink(home.socket)
        connection.send("GetToken", {"profile": "q"})
        clients.append(connection)
    assert authority.wait_for("token", 1, client="load-1")
    for i, connection in enumerate(clients[:-1]):
        if i % 2:
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    time.sleep(0.2)
    authority.release()
    assert clients[-1].reply()["token"]["profile"] == "q"
    assert authority.count("token", client="load-1") == 1
    clients[-1].close()


def test_a_half_closed_client_still_gets_its_answer(setup, home):
    with Varlink(home.socket) as connection:
        connection.send("GetToken", {"profile": "p"})
        connection.socket.shutdown(socket.SHUT_WR)
        assert connection.reply()["token"]
        assert connection.closed()


def test_descriptors_sent_along_are_closed(setup, home):
    before = setup.descriptors()
    read, write = os.pipe()
    with Varlink(home.socket) as connection:
        socket.send_fds(connection.socket, [b'{"method":"org.mltoken.agent.Status"}\0'], [read] * 50)
        connection.receive()
        os.close(read)
        wait_until(lambda: setup.descriptors() <= before + 2)
    os.close(write)


def test_threads_of_clients(setup, home):
    """Calls of 30 clients at once, each answered with what it asked for."""
    wrong = []

    def run(i):
        with Varlink(home.socket) as connection:
            for k in range(50):
                name = f"none-{i}-{k}"
                error = connection.error("GetToken", profile=name)
                if error.parameters.get("profile") != name:
                    wrong.append(name)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_other_users_agents_are_not_ours(home):
    """mltoken-agent run as somebody else makes its own place, not this one."""
    assert os.path.exists(program("mltoken-agent"))
    status, out = as_other("import subprocess, sys\nprint(subprocess.run([sys.argv[1], '--foreground'], env={'XDG_RUNTIME_DIR': "
                           "sys.argv[2], 'HOME': '/nonexistent', 'MLTOKEN_SOCK': sys.argv[2] + '/mltoken/agent.sock'}, "
                           "timeout=10, capture_output=True).returncode)", program("mltoken-agent"), home.runtime)
    assert status != 0 or out.strip() != "0"
    assert not os.path.exists(home.socket)
