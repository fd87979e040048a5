"""What the attacks share: profiles, crowds, and looking at processes from outside."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time

from harness import INTERFACE, Varlink, VarlinkError, wait_until

ENEMY = 12345  # a uid that owns nothing
# A sanitizer keeps what was freed: then memory is not measured, and there are fewer rounds.
SANITIZED = "address" in os.path.basename(os.environ.get("MLTOKEN_BUILD", "")) or bool(os.environ.get("MLTOKEN_SAN"))


def service(authority, home, client="svc", **more):
    """A client_credentials profile."""
    secret = home.secret(authority.client(client).secret, "secret-" + client)
    return {"grant": "client_credentials", "authority": authority.oidc, "client_id": client, "client_secret": secret,
            "scope": "api", **more}


def person(authority, client="device", **more):
    """A device_code profile."""
    return {"grant": "device_code", "authority": authority.oidc, "client_id": client, "scope": "openid offline_access",
            **more}


def call(method, **parameters):
    """The bytes of a call of the agent's interface."""
    import json
    return json.dumps({"method": f"{INTERFACE}.{method}", "parameters": parameters}).encode() + b"\0"


def gone(connection, timeout=20):
    """Reads until the agent closes; what came before that."""
    connection.socket.settimeout(timeout)
    data = connection.buffer
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.socket.recv(1 << 16):
            data += chunk
    return data


def serves(home, profile="p"):
    """A token for a fresh client."""
    with Varlink(home.socket) as connection:
        return connection.token(profile)["value"]


@contextlib.contextmanager
def descriptors(least):
    """The soft limit of this process for a test with many connections."""
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    if old[0] < least:
        resource.setrlimit(resource.RLIMIT_NOFILE, (least, max(old[1], least)))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, old)


def children(pid):
    """The pids below a process, nearest first."""
    found = []
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        for child in f.read().split():
            found += [int(child), *children(int(child))]
    return found


def state(pid):
    """R, S, Z, T ... or None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def dead(pid):
    return state(pid) in (None, "Z")


def agents_of(home):
    """The pids of the agents (not their workers) that run with this home's runtime directory."""
    found = []
    mark = f"XDG_RUNTIME_DIR={home.runtime}".encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as e, open(f"/proc/{pid}/comm", encoding="utf-8") as c:
                if mark in e.read().split(b"\0") and c.read().strip() == "mltoken-agent":
                    found.append(int(pid))
        except OSError:
            continue
    return found


def end_agents(home):
    for pid in agents_of(home):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not agents_of(home))


def environment_of(pid):
    with open(f"/proc/{pid}/environ", "rb") as f:
        return [e.decode("utf-8", "surrogateescape") for e in f.read().split(b"\0") if e]


def as_enemy(code, *args, uid=ENEMY, timeout=60):
    """Runs Python code as another uid; its output, errors included."""
    head = f"import os, sys\nos.setgroups([]); os.setgid({uid}); os.setuid({uid})\n"
    done = subprocess.run([sys.executable, "-c", head + code, *args], capture_output=True, text=True, timeout=timeout,
                          check=False, cwd="/")
    return done.stdout + done.stderr


def grown(agent, since):
    """KiB of memory that the agent has taken since."""
    return 0 if SANITIZED else agent.anonymous_kib() - since


def idle(process, seconds=1.0):
    """CPU seconds that a process used within the next ones."""
    before = process.cpu_seconds()
    time.sleep(seconds)
    return process.cpu_seconds() - before


__all__ = [name for name in dir() if not name.startswith("_")]
