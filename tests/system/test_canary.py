"""Where secrets are in the memory of the agent, its worker and its store programs, while they rest: in the agent only in
its locked arena, in a store program nowhere once it has answered, and nowhere at all while the agent is locked. Every
kind of secret, every store, in every form that a buffer could hold (memory_scan)."""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time

import pytest
from attack import ENEMY, children, dead
from harness import PATIENCE, person, program, wait_until
from keyring_session import Session
from logind import Logind, SystemBus
from memory_scan import Secrets, mappings, private_numbers
from test_private_key_jwt import Pair, register

unsanitized = pytest.mark.skipif(bool(os.environ.get("MLTOKEN_SAN")), reason="a sanitizer keeps what was freed in quarantine")

ARENA = 4 << 20  # LIMIT_ARENA
SLOW = 6 * PATIENCE
ODD = "\"\\/+&=% é~"  # each form of it is another


def canary():
    """Long enough for its thirds to be looked for; with what has to be escaped in each of them."""
    return "".join(secrets.token_urlsafe(15) + ODD for _ in range(3))


def named(pid):
    with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
        return f.read().strip()


def arena_of(pid):
    """Its bounds: the locked mapping of that size with a guard at each end."""
    arena, = [m for m in mappings(pid) if m.end - m.start == ARENA and "lo" in m.fields["VmFlags"]]
    return f"{arena.start:x}-{arena.end:x} "


class Scene:
    """An agent with a profile of every kind that has secrets, all of them served once."""

    def __init__(self, kind, authority, home, start_agent, mltoken):
        self.kind, self.authority, self.home, self.mltoken = kind, authority, home, mltoken
        self.secrets, self.environment, self.to_store = Secrets(), {}, {}
        self.ends = []
        self.store = {"memory": "memory", "keyring": "keyring"}.get(kind, "file")
        self.passphrase = self.secrets.add("the lock's passphrase", canary())
        self.profiles = {}
        self.services()
        self.people()
        self.key()
        agent = {"default_profile": "me", "store": self.store}
        if kind == "file":
            agent["key_file"] = self.key_file()
        if kind == "keyring":
            agent["lock_on"] = "session"
            self.desktop()
        home.config(self.profiles, agent)
        self.agent = start_agent(**self.environment)
        self.arena = arena_of(self.agent.pid)
        self.begin()

    def key_file(self):
        key = os.urandom(32)
        self.secrets.add("key of the files", key)
        self.secrets.add("key of the files, as digits", key.hex())
        return self.home.write("key", key.hex() + "\n")

    def desktop(self):
        session = Session(self.home).start_keyring()
        bus = SystemBus(self.home).start()
        logind = Logind(bus).session("1")
        self.ends += [session.end, logind.end, bus.end]
        self.environment.update(DBUS_SESSION_BUS_ADDRESS=session.address, DBUS_SYSTEM_BUS_ADDRESS=bus.address)

    def services(self):
        """Client secrets from everywhere, in both ways of sending them."""
        for auth in ("client_secret_basic", "client_secret_post"):
            for source in ("stored", "file", "env", "command"):
                name = f"{source}-{auth[14:]}"
                secret = self.secrets.add("client secret " + name, canary(), "id-" + name)
                self.authority.add_client("id-" + name, secret=secret, grants=("client_credentials",), auth=(auth,))
                self.profiles[name] = {"grant": "client_credentials", "authority": self.authority.https + "/oidc",
                                       "ca_file": self.authority.ca_file, "client_id": "id-" + name, "client_auth": auth,
                                       "scope": "api", "client_secret": self.place(source, name, secret)}

    def place(self, source, name, secret, what="client_secret"):
        if source == "file":
            return self.home.secret(secret, name)
        if source == "env":
            variable = "SECRET_" + name.replace("-", "_").upper()
            self.environment[variable] = secret
            return "env:" + variable
        if source == "command":
            return f"command:/bin/cat {self.home.write('secrets/' + name, secret)}"
        self.to_store[name] = (what, secret)
        return "stored"

    def people(self):
        self.password = self.secrets.add("password", canary())
        self.authority.set_user("alice", password=self.password)
        self.profiles["me"] = person(self.authority)
        self.profiles["me-https"] = person(self.authority, base=self.authority.https + "/oidc", ca_file=self.authority.ca_file)
        conf = self.secrets.add("client secret of a person", canary(), "device-conf")
        self.authority.set_client("device-conf", secret=conf)
        self.profiles["conf"] = {**person(self.authority, "device-conf"), "client_secret": self.place("stored", "conf", conf)}
        for client in ("device", "device-conf"):
            self.authority.set_client(client, auto_approve="alice")
        both = {"password": {"grant": "password", "authority": self.authority.oidc, "client_id": "typed",
                             "scope": "openid offline_access", "username": "alice"},
                "mlserver": {"grant": "mlserver", "authority": self.authority.mls, "username": "alice"}}
        for name, keys in both.items():
            self.profiles[name + "-typed"] = keys
            for source in ("stored", "file"):
                profile = f"{name}-{source}"
                self.profiles[profile] = {**keys, "password": self.place(source, profile, self.password, "password")}

    def key(self):
        """An encrypted private key, its password, and a token that somebody else issued."""
        word = self.secrets.add("key password", secrets.token_urlsafe(48))
        pair = Pair(self.home, password=word)
        for name, number in private_numbers(pair.key, word).items():
            self.secrets.add("private key " + name, number)
        register(self.authority, pair)
        for source in ("stored", "file"):
            self.profiles["keyed-" + source] = {
                "grant": "client_credentials", "authority": self.authority.oidc, "client_id": "keyed", "scope": "api",
                "client_key": pair.key, "client_certificate": pair.certificate,
                "key_password": self.place(source, "keyed-" + source, word, "key_password")}
        for source in ("stored", "file"):
            value = self.secrets.add("static token " + source, secrets.token_urlsafe(48))
            self.profiles["static-" + source] = {"grant": "static",
                                                 "token": self.place(source, "static-" + source, value, "token")}

    def begin(self):
        if self.kind == "passphrase":
            self.files_passphrase = self.secrets.add("passphrase of the files", canary())
            self.mltoken("unlock", "--new", input=self.files_passphrase + "\n", timeout=SLOW).ok()
        for profile, (name, secret) in self.to_store.items():
            self.mltoken("secret", "set", profile, name, input=secret).ok()
        for profile in ("me", "me-https", "conf"):
            self.mltoken("login", profile, "--json").ok()
        for profile in ("password-typed", "mlserver-typed"):
            self.mltoken("login", profile, input=self.password + "\n").ok()
        self.serve()

    def serve(self, *more):
        for profile in self.profiles:
            self.mltoken("get", profile, *more, timeout=SLOW).ok()
        self.know_tokens()

    def know_tokens(self):
        """What the authority has given out by now."""
        for token, family in list(self.authority.store.refresh_tokens.items()):
            kind = "refresh token" if family.current == token else "used refresh token"
            name = f"{kind} {token[-6:]}"
            if name not in self.secrets.needles:
                self.secrets.needles.pop(f"refresh token {token[-6:]}", None)
                self.secrets.add(name, token)
        for number, token in enumerate(self.authority.store.access_tokens):
            name = f"access token {number}"
            if name not in self.secrets.needles:
                self.secrets.add(name, token.rpartition(".")[2])

    def programs(self):
        """{pid: name} of all that belongs to the agent."""
        return {pid: named(pid) for pid in [self.agent.pid, *children(self.agent.pid)]}

    def wrong(self, wanted, allowed):
        """Lines of what was found and is not allowed to be there."""
        lines = []
        for pid, name in self.programs().items():
            try:
                found = wanted.find(pid)
            except (FileNotFoundError, ProcessLookupError):
                continue
            lines += sorted(f"{name} {pid}: {f.secret} ({f.form}) in {f.mapping} {'locked' if f.locked else ''}"
                            for f in found if not allowed(pid == self.agent.pid, f))
        return lines

    def expect(self, when, wanted, allowed=lambda agent, found: False):
        """What is in flight is gone within a moment."""
        assert len(wanted), "nothing is looked for"
        end = time.monotonic() + PATIENCE
        while lines := self.wrong(wanted, allowed):
            if time.monotonic() > end:
                raise AssertionError(f"{when}, {self.kind}:\n" + "\n".join(lines))
            time.sleep(0.3)

    def resting(self, agent, found):
        """What may be where while nothing happens."""
        if not agent:  # a key that the files are sealed with stays while they are open, locked
            return found.locked and found.secret.startswith("key of the files")
        if found.secret.startswith(("access token", "static token")):
            return True  # tokens to be served
        if found.secret.startswith(("private key", "used refresh token", "key of the files", "the lock's passphrase")):
            return False
        return found.mapping.startswith(self.arena)

    def lock(self):
        self.mltoken("lock", input=self.passphrase + "\n", timeout=SLOW).ok()

    def unlock(self):
        self.mltoken("unlock", input=self.passphrase + "\n", timeout=SLOW).ok()

    def stores(self):
        return [pid for pid, name in self.programs().items() if name in ("mltoken-file", "mltoken-keyring")]

    def kill_stores(self):
        for pid in self.stores():
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda pid=pid: dead(pid))


@pytest.fixture(params=["memory", "file", "passphrase", "keyring"])
def scene(request, authority, home, start_agent, mltoken):
    assert os.getuid() == 0, "needs root to read the memory of programs"
    scene = Scene(request.param, authority, home, start_agent, mltoken)
    yield scene
    for end in scene.ends:
        end()


@unsanitized
def test_canaries(scene):
    """In one go: what is found later was not there before."""
    names = set(scene.programs().values())
    assert {"mltoken-worker"} < names
    assert len(scene.stores()) == {"memory": 0, "keyring": 2}.get(scene.kind, 1), names
    held = {f.secret for f in scene.secrets.find(scene.agent.pid)}
    there = {"client secret env-basic", "client secret env-post"} | set(scene.secrets.of("access token 1").needles)
    if scene.kind == "memory":
        there |= set(scene.secrets.of("refresh token").needles) | {f"client secret stored-{a}" for a in ("basic", "post")}
    assert there <= held, f"this scan does not find what is there: {there - held}"
    scene.expect("after the sign-ins", scene.secrets, scene.resting)
    scene.serve("--refresh")
    scene.expect("after renewals", scene.secrets, scene.resting)
    scene.kill_stores()
    scene.serve("--refresh")
    scene.expect("after the stores were killed", scene.secrets, scene.resting)
    scene.lock()
    scene.expect("locked", scene.secrets)
    scene.unlock()
    scene.serve("--refresh")
    scene.expect("unlocked", scene.secrets, scene.resting)
    scene.mltoken("logout", "--all").ok()
    scene.know_tokens()
    scene.expect("after logout", scene.secrets.of("refresh", "used refresh", "access"))
    for profile, (name, _) in scene.to_store.items():
        scene.mltoken("secret", "clear", profile, name).ok()
    scene.expect("after the stored secrets were cleared", Secrets.of(
        scene.secrets, *[f"client secret {p}" for p in scene.to_store], "client secret of", "static token stored",
        "private key", "key password"))


@pytest.mark.parametrize("name", ["mltoken-store-file", "mltoken-store-keyring"])
def test_a_store_program_cannot_be_dumped(home, name):
    """As an ordinary user: what can be dumped and looked into belongs to that user in /proc, what cannot to root."""
    os.chmod(home.path, 0o711)
    place = home._dir("enemy")
    shutil.copy(program(name), place)
    for path in (place, os.path.join(place, name)):
        os.chown(path, ENEMY, ENEMY)
    ours, theirs = socket.socketpair()
    ours.settimeout(PATIENCE)
    process = subprocess.Popen([os.path.join(place, name)], env={"XDG_STATE_HOME": place, "HOME": place}, cwd="/", stdin=theirs,
                               stdout=theirs, user=ENEMY, group=ENEMY, extra_groups=[])
    theirs.close()
    assert b"hello=1" in ours.recv(1000)
    with open(f"/proc/{process.pid}/status", encoding="ascii") as f:
        assert re.search(rf"^Uid:\s+{ENEMY}\s", f.read(), re.M)
    assert os.stat(f"/proc/{process.pid}/mem").st_uid == 0
    with open(f"/proc/{process.pid}/limits", encoding="ascii") as f:
        assert re.search(r"^Max core file size\s+0\s+0\s", f.read(), re.M)
    ours.close()
    assert process.wait(PATIENCE) == 0
