"""A sign-in that rotates, for tests that kill: the real agent and the real sealed files against the scripted authority,
which knows what came with what."""

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import time
import urllib.request

from harness import Agent, Command, VarlinkError, person, program, wait_until
from store import Store

GRACE = 10
PROFILE = "me"
WRAPPER = """#!/bin/sh
# mltoken-store-file, once with a fault where one is wanted
cd "${0%/*}" || exit 1
if mv -- fault fault.used 2>/dev/null; then
    eval "set -- $(cat fault.used)"
    export ASAN_OPTIONS=detect_leaks=0  # it cannot work under strace
    exec strace -f -qqq -o /dev/null "$@" STORE
fi
exec STORE
"""


class Rotation:
    """Owns the agent. kill() and what follows are one round; look() says what may be said after any kill."""

    def __init__(self, authority, home, grace, faults=True, seen=None, **client):
        self.authority, self.home, self.seen = authority, home, seen
        if faults:
            self.directory = home.stores()
            self._write_wrapper()
        key = home.write("key", os.urandom(32).hex() + "\n")
        home.config({PROFILE: person(authority, store="file")}, {"key_file": key})
        self.key = key
        authority.set_client("device", auto_approve="alice", reuse_grace=grace, **client)
        authority.set_delay(0.002, "token")
        self.agent = Agent(home).start()
        Command(home)("login", PROFILE, "--json").ok()
        with Store(self.store_environment) as store:
            self.binding = store.ask("list", profile=PROFILE).value.decode().strip().split("\t")[2]
        self.answered = self.kept()["refresh_token"]
        self.late = 0

    def _write_wrapper(self):
        path = os.path.join(self.directory, "mltoken-store-file")
        with open(path, "w", encoding="ascii") as f:
            f.write(WRAPPER.replace("STORE", shlex.quote(program("mltoken-store-file"))))
        os.chmod(path, 0o755)

    # what is where

    def seen_state(self):
        """$XDG_STATE_HOME, by a path that leads into the agent's mounts."""
        return self.seen(self.agent) if self.seen else self.home.state

    @property
    def store_environment(self):
        return {"XDG_STATE_HOME": self.seen_state(), "MLTOKEN_KEY_FILE": self.key}

    @property
    def family(self):
        return list(self.authority.store.families.values())[-1]

    def kept(self):
        """What the store holds, read by a program of its own."""
        with Store(self.store_environment) as store:
            reply = store.get(PROFILE, binding=self.binding)
        assert reply.result == "ok", reply
        return json.loads(reply.value)

    def position(self, token):
        """In the order in which the authority gave them out."""
        return [refresh for _, refresh in self.family.issued].index(token)

    def heard(self, token):
        """A client was answered with this access token."""
        self.answered = dict(self.family.issued)[token["value"]]

    def in_time(self):
        """Whether the authority saw the last refresh token again within its grace, by its own clock."""
        requests = [r for r in self.authority.requests("token", grant="refresh_token")]
        last = requests[-1]
        first = next(r for r in requests if r.form["refresh_token"] == last.form["refresh_token"])
        return last.time - first.time < GRACE - 1

    # one after the other

    def get(self, timeout=60):
        """The token's reply, or the error."""
        with self.agent.varlink(timeout=timeout) as connection:
            try:
                token = connection.token(PROFILE, refresh=True)
            except VarlinkError as error:
                return error
        self.heard(token)
        return token

    def send(self):
        """A GetToken under way: (connection, whoever is to hear the answer)."""
        connection = self.agent.varlink(timeout=60)
        connection.send("GetToken", {"profile": PROFILE, "refresh": True})
        return connection

    def hear(self, connection):
        """Reads the answer if there is one; True when there was a token."""
        with connection, contextlib.suppress(EOFError, OSError):
            reply = connection.receive()
            if "error" not in reply:
                self.heard(reply["parameters"]["token"])
                return True
        return False

    def settle(self):
        """What was sent before has come, and has been answered."""
        with urllib.request.urlopen(self.authority.oidc + "/.well-known/openid-configuration", timeout=60) as page:
            page.read()
        wait_until(lambda: not self.authority.current["token"])

    def store_pids(self):
        """The store programs that the agent runs: one, or a corpse beside it."""
        return [pid for pid in children(self.agent.pid) if b"mltoken-store-file" in command_line(pid)]

    def kill_store(self):
        for pid in self.store_pids():
            kill(pid)

    def restart(self):
        kill(self.agent.pid)
        self.agent.process.wait()
        self.agent = Agent(self.home).start()

    def sign_in_anew(self):
        """Puts a fresh sign-in into the store, as a person's would be, and starts an agent that knows of nothing."""
        kill(self.agent.pid)
        self.agent.process.wait()
        with self.authority.lock:
            old = self.family
            family = type(old)(old.client, old.user, old.scopes, old.resource, old.prefix, old.expires, old.auth_time)
            token = self.authority.store.new_refresh_token(family)
            family.issued.append(("by a person", token))
        credential = {k: v for k, v in self.kept().items() if k != "sender"}
        credential.update(refresh_token=token, unanswered=False, uncertain=False)
        with Store(self.store_environment) as store:
            assert store.put(json.dumps(credential).encode(), PROFILE, binding=self.binding).result == "ok"
        self.answered = token
        self.agent = Agent(self.home).start()

    def look(self):
        """After any kill: the store holds the newest refresh token of those whose access token a client has, or a newer
        one. Returns what it holds."""
        kept = self.kept()
        assert self.position(kept["refresh_token"]) >= self.position(self.answered), "an answered token was lost"
        return kept

    def goes_on(self):
        """Nobody has to sign in: the authority's grace forgives."""
        found = self.get()
        if isinstance(found, VarlinkError) and not self.in_time():
            self.late += 1  # this machine was too slow for the grace, which says nothing about the agent
            self.sign_in_anew()
            return
        assert not isinstance(found, VarlinkError), f"{found}\n{self.agent.log()}"
        assert not self.family.revoked
        assert self.look()["refresh_token"] == self.family.current == self.answered

    def end(self):
        if self.agent.process:
            kill(self.agent.pid)
            self.agent.process.wait()

    # strace

    def fault_in_store(self, call, n):
        """The next store program is killed at its n-th call of that name. The one that runs is ended."""
        with open(os.path.join(self.directory, "fault.new"), "w", encoding="ascii") as f:
            f.write(f"-e trace={call} -e inject={call}:signal=SIGKILL:when={n}\n")
        os.rename(os.path.join(self.directory, "fault.new"), os.path.join(self.directory, "fault"))
        self.kill_store()
        wait_until(lambda: not self.store_pids())

    def store_was_struck(self):
        """Whether the fault was come to: what runs under strace still lives, or not."""
        assert not os.path.exists(os.path.join(self.directory, "fault")), "no store program was started"
        straces = [pid for pid in self.store_pids() if command_line(pid).startswith(b"strace")]
        return not any(command_line(pid) for strace in straces for pid in children(strace))

    @contextlib.contextmanager
    def fault_in_agent(self, call, n):
        """The agent's one thread is killed at its n-th call of that name from now on."""
        strace = subprocess.Popen(
            ["strace", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={n}", "-p",
             str(self.agent.pid)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            line = strace.stderr.readline()
            assert re.search(r"attached", line), line
            yield
        finally:
            strace.terminate()
            strace.stderr.read()
            strace.stderr.close()
            strace.wait()

    def agent_ended(self, patience=0.0):
        end = time.monotonic() + patience
        while self.agent.process.poll() is None and time.monotonic() < end:
            time.sleep(0.002)
        return self.agent.process.poll() is not None


def children(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(child) for child in f.read().split()]
    return []


def command_line(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as f:
        return f.read()
    return b""


def kill(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
