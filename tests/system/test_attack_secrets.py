"""Where a secret could be found by somebody who looks: process tables, memory, core files, debuggers."""

import base64
import os
import signal
import subprocess
import threading

import pytest
from attack import ENEMY, SANITIZED, as_enemy, children, person, service, serves
from harness import Varlink, program, wait_until


def processes(agent):
    return [agent.pid, *children(agent.pid)]


def look(pids, secrets):
    """Which secrets stand in the command line or environment of which process."""
    found = []
    for pid in pids:
        for name in ("cmdline", "environ"):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as f:
                    data = f.read()
            except OSError:
                continue
            found += [(pid, name, secret) for secret in secrets if secret.encode() in data]
    return found


def test_process_tables_while_everything_happens(authority, home, start_agent, mltoken):
    """Watched all the time, the worker's short-lived children included."""
    secret = authority.client("svc").secret
    home.config({"file": service(authority, home), "me": person(authority),
                 "command": {**service(authority, home, "load-1"), "client_secret": "command:" + home.write(
                     "bin/give", f"#!/bin/sh\nsleep 0.1\necho {authority.client('load-1').secret}\n", 0o700)},
                 "env": {**service(authority, home, "load-2"), "client_secret": "env:THE_SECRET"}})
    agent = start_agent(THE_SECRET=authority.client("load-2").secret)
    found, stop, seen = [], threading.Event(), set()

    def watch():
        while not stop.is_set():
            try:
                pids = processes(agent)
            except (FileNotFoundError, ProcessLookupError):
                continue
            seen.update(pids)
            found.extend(look(pids, [s for s in authority.secrets() if len(s) > 8]))
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        authority.set_client("device", auto_approve="alice")
        for _ in range(3):
            for name in ("file", "command"):
                mltoken("get", name, "--refresh").ok()
        mltoken("login", "me", "--json").ok()
        mltoken("get", "me", "--refresh").ok()
    finally:
        stop.set()
        watcher.join()
    assert len(seen) > 3 and secret
    # the agent's own environ as it was executed holds what env: names; it is wiped once it has been taken over
    assert not found, found[:3]
    mltoken("get", "env").ok()
    assert not look(processes(agent), [authority.client("load-2").secret])


def test_nothing_to_dump(authority, home, start_agent):
    """Agent, worker and readers: not dumpable, no core size; a fault of memory leaves no core file."""
    home.config({"p": service(authority, home)})
    agent = start_agent()
    serves(home)
    for pid in processes(agent):
        with open(f"/proc/{pid}/limits", encoding="ascii") as f:
            assert [line.split()[4:6] for line in f if line.startswith("Max core")] == [["0", "0"]]
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            assert "NoNewPrivs:\t1" in f.read()


SAME_USER = r"""
import ctypes, os, subprocess, sys, time
home, agent_program, config = sys.argv[1:4]
runtime = os.path.join(home, "run"); os.makedirs(runtime, mode=0o700); os.chmod(runtime, 0o700)
env = {"PATH": "/usr/bin:/bin", "HOME": home, "XDG_RUNTIME_DIR": runtime, "MLTOKEN_CONFIG": config, "LD_LIBRARY_PATH": sys.argv[4]}
agent = subprocess.Popen([agent_program, "--foreground"], env=env, stderr=subprocess.DEVNULL)
path = os.path.join(runtime, "mltoken", "agent.sock")
end = time.monotonic() + 60
while not os.path.exists(path) and time.monotonic() < end:
    time.sleep(0.01)
children = open(f"/proc/{agent.pid}/task/{agent.pid}/children").read().split() if os.access(f"/proc/{agent.pid}/task/{agent.pid}/children", os.R_OK) else []
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, f):
    try:
        print(name, "OPEN" if f() is not None else "refused")
    except OSError as error:
        print(name, "refused")
class iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]
def vm_read(pid):
    buffer = ctypes.create_string_buffer(16)
    local, remote = iovec(ctypes.cast(buffer, ctypes.c_void_p), 16), iovec(0x400000, 16)
    n = libc.process_vm_readv(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
    if n < 0 and ctypes.get_errno() == 1: return None
    return n if n >= 0 or ctypes.get_errno() == 14 else None
for pid in [agent.pid, *map(int, children)]:
    attempt("mem", lambda: open(f"/proc/{pid}/mem", "rb"))
    attempt("environ", lambda: open(f"/proc/{pid}/environ", "rb").read())
    attempt("maps", lambda: open(f"/proc/{pid}/maps").read())
    attempt("fd", lambda: os.listdir(f"/proc/{pid}/fd"))
    attempt("vm", lambda: vm_read(pid))
    attempt("ptrace", lambda: 1 if libc.ptrace(16, pid, 0, 0) == 0 else None)
    pidfd = libc.syscall(434, pid, 0)
    attempt("getfd", lambda: 1 if libc.syscall(438, pidfd, 3, 0) >= 0 else None)
import socket
s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect(path)
s.sendall(b'{"method":"org.mltoken.agent.Status"}\0')
print("served", b'"pid"' in s.recv(65536))
agent.terminate(); print("exit", agent.wait(20))
"""


def test_the_same_user_cannot_look_inside(home, authority):
    """As an ordinary user (root may do anything): no memory, environment, descriptors, no debugger, by whatever call."""
    place = os.path.join(home.path, "enemy")
    os.mkdir(place, 0o700)
    os.chown(place, ENEMY, ENEMY)
    os.chmod(home.path, 0o711)
    config = os.path.join(place, "config")
    with open(config, "w", encoding="ascii") as f:
        f.write("[profile p]\ngrant = device_code\nauthority = https://login.example.org/\nclient_id = x\n")
    os.chown(config, ENEMY, ENEMY)
    # the build may lie where the other user cannot go
    copy = os.path.join(home.path, "bin")
    os.mkdir(copy)
    os.chmod(copy, 0o755)
    subprocess.run(["cp", program("mltoken-agent"), program("mltoken-agent-main"), copy], check=True)
    out = as_enemy(SAME_USER, place, os.path.join(copy, "mltoken-agent"), config, copy)
    assert "OPEN" not in out, out
    assert out.count("refused") >= 7 and "served True" in out and "exit 0" in out, out




def absent(agent, *secrets):
    """Nothing of these is left in the agent's memory. What is in flight is gone within a moment. (A sanitizer keeps what
    was freed, in terabytes of address space: there the flows run, and memory is not looked at.)"""
    if SANITIZED:
        return
    for secret in secrets:
        needle = secret.encode()
        wait_until(lambda needle=needle: not agent.memory_has(needle), step=0.2)


FAULTS = {"none": None, "server error": {"status": 500}, "cut before": {"reset": "before"}, "cut in the body": {"reset": "body"},
          "not json": {"invalid_json": True}, "refused": {"error": "invalid_client"}, "html": {"html": True}}


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("auth", ["client_secret_basic", "client_secret_post"])
def test_no_client_secret_after_use(authority, home, start_agent, scheme, fault, auth):
    """Neither as it is, nor form-encoded, nor as the header that carried it; also when the request failed."""
    client, secret = "svc-" + auth.rpartition("_")[2], f"MARKsecretMARK{fault.replace(' ', '')}{scheme}0123456789"
    authority.set_client(client, secret=secret, auth=(auth,))
    keys = {"grant": "client_credentials", "authority": getattr(authority, scheme) + "/oidc", "client_id": client, "client_auth": auth,
            "client_secret": home.secret(secret), "scope": "api"}
    if scheme == "https":
        keys["ca_file"] = authority.ca_file
    home.config({"p": keys})
    agent = start_agent()
    if FAULTS[fault]:
        authority.fault("token", **FAULTS[fault])
    with Varlink(home.socket) as v:
        if FAULTS[fault]:
            v.error("GetToken", profile="p")
        else:
            v.token("p")
    assert authority.requests(endpoint="token"), "it was never used"
    absent(agent, secret, base64.b64encode(f"{client}:{secret}".encode()).decode()[8:-8])


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("trouble", [False, True])
def test_no_refresh_token_after_logout(authority, home, start_agent, mltoken, scheme, trouble):
    """Every one that ever came, the rotated ones included, with failures on the way, and the access tokens with them."""
    keys = {**person(authority), "authority": getattr(authority, scheme) + "/oidc"}
    if scheme == "https":
        keys["ca_file"] = authority.ca_file
    home.config({"me": keys})
    agent = start_agent()
    authority.set_client("device", auto_approve="alice")
    mltoken("login", "me", "--json").ok()
    tokens = [mltoken("get", "me").ok().out.strip()]
    for i in range(3):
        if trouble:
            authority.fault("token", times=1, reset="body" if i == 1 else None, status=503 if i != 1 else None)
            mltoken("get", "me", "--refresh")
            authority.clear_faults()
        done = mltoken("get", "me", "--refresh")
        tokens += [done.out.strip()] if done.code == 0 else []
    known = [s for s in authority.secrets() if "refresh" in s.lower()]
    assert known
    mltoken("logout", "me").ok()
    absent(agent, *known)
    absent(agent, *[t.rpartition(".")[2] for t in tokens])


def test_the_scan_finds_what_is_there(authority, home, start_agent, mltoken):
    """Before the logout the same scan finds them: the tests above can fail."""
    home.config({"me": person(authority)})
    agent = start_agent()
    authority.set_client("device", auto_approve="alice")
    mltoken("login", "me", "--json").ok()
    known = [s for s in authority.secrets() if "refresh" in s.lower()]
    assert known and (SANITIZED or any(agent.memory_has(s.encode()) for s in known))


def test_a_crash_writes_no_core(authority, home, start_agent):
    home.config({"p": service(authority, home)})
    agent = start_agent()
    serves(home)
    agent.process.send_signal(signal.SIGSEGV)
    assert agent.process.wait(20) != 0
    agent.process = None
    assert not [n for n in os.listdir("/") if n.startswith("core")]
