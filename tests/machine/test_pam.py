"""Signing in at the booted machine by the PAM module: sshd, login and su, logind, each person's own systemd and agent."""

import os
import re
import time

import pexpect
import pytest
from machine import wait_until
from pam import ACCOUNT, AUTH, SESSION, Pages, Person, claims_of, section

MODULE = "/usr/local/lib/security/pam_mltoken.so"
CA = "/etc/mltoken/ca.pem"
ROOT_PASSWORD = "root's own word"
SUBJECTS = {"alice": "sub-alice-1", "bob": "sub-bob-2", "carol": "sub-carol-3"}
GET = "mltoken get company"


def company_profile(authority, **more):
    return {"grant": "device_code", "authority": authority.https + "/oidc", "client_id": "device", "scope": "openid offline_access", "ca_file": CA, **more}


class Gate:
    """The machine with the module in its stacks."""

    def __init__(self, machine, authority):
        self.machine, self.authority, self.pages = machine, authority, Pages(authority)
        self.debian, self.opened = {}, []
        self._once()

    def _once(self):
        run = self.machine.run
        assert self.machine.exists(MODULE), "make install brings it"
        with open(self.authority.ca_file, encoding="ascii") as f:
            self.machine.write(CA, f.read(), mode="0644")
        if run("id", "_mltoken").code != 0:
            run("useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", "_mltoken").ok()
        run("chpasswd", input=f"root:{ROOT_PASSWORD}\n").ok()
        self.machine.write("/etc/ssh/sshd_config.d/mltoken-test.conf",
                           "KbdInteractiveAuthentication yes\nPermitRootLogin yes\nLogLevel VERBOSE\nUsePAM yes\nPrintMotd no\nPrintLastLog no\n", mode="0644")
        run("systemctl", "restart", "ssh").ok()
        run("systemctl", "--global", "enable", "mltoken-agent.socket").ok()
        self.debian = {name: self.machine.read("/etc/pam.d/" + name) for name in ("sshd", "login", "su-l")}

    def configure(self, **keys):
        pam = {"profile": "company", "map": "/etc/mltoken/pam.map", "rate": "no", **keys}
        self.machine.write("/etc/mltoken/pam.conf", section("pam", pam) + section("profile company", company_profile(self.authority)), mode="0640")
        self.machine.run("chgrp", "_mltoken", "/etc/mltoken/pam.conf").ok()
        self.machine.write("/etc/mltoken/pam.map", "".join(f"{self.authority.https}/oidc sub:{sub} {user}\n" for user, sub in SUBJECTS.items()), mode="0644")
        for name, text in self.debian.items():
            lines = text.splitlines()
            at = next((i + 1 for i, line in enumerate(lines) if "pam_rootok.so" in line), 0)
            lines[at:at] = [AUTH.replace("pam_mltoken.so", MODULE), ACCOUNT.replace("pam_mltoken.so", MODULE)]
            self.machine.write("/etc/pam.d/" + name, "\n".join([*lines, SESSION.replace("pam_mltoken.so", MODULE)]) + "\n", mode="0644")

    def _at(self, *words):
        child = pexpect.spawn("nsenter", [f"--target={self.machine.leader}", "--all", "--wd=/", *words], timeout=60, encoding="utf-8",
                              codec_errors="backslashreplace", dimensions=(50, 200), env={"PATH": os.environ["PATH"], "TERM": "dumb", "LANG": "C.UTF-8"})
        child.delaybeforesend = None
        self.opened.append(child)
        return Person(self.pages, child)

    def terminal(self, command):
        """On one of the machine's own terminals."""
        return self._at("script", "--quiet", "--return", "--command", command, "/dev/null")

    def ssh(self, user, *options, method="keyboard-interactive"):
        options = ["-o", f"PreferredAuthentications={method}", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                   "-o", "NumberOfPasswordPrompts=1", *options]
        return self.terminal(" ".join(["ssh -F none", *options, f"{user}@127.0.0.1"]))

    def login(self, user):
        return self.terminal(f"login {user}")

    def key(self, user):
        """One that may log in as the user."""
        path = f"/etc/ssh/key-{user}"
        if not self.machine.exists(path):
            self.machine.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path).ok()
        self.machine.write(f"/home/{user}/.ssh/authorized_keys", self.machine.read(path + ".pub"), user)
        return ("-i", path)


    def undo(self):
        """For the tests that follow: nobody's agent is there but who asks for it."""
        self.machine.run("systemctl", "--global", "disable", "mltoken-agent.socket").ok()
        for name, text in self.debian.items():
            self.machine.write("/etc/pam.d/" + name, text, mode="0644")


@pytest.fixture(scope="module")
def gate_of_module(machine, authority_of_session):
    gate = Gate(machine, authority_of_session)
    yield gate
    gate.undo()


@pytest.fixture
def gate(gate_of_module, authority):
    gate_of_module.configure()
    yield gate_of_module
    while gate_of_module.opened:  # the machine's systemd does not know them, and would wait for them at its end
        gate_of_module.opened.pop().close(force=True)


@pytest.fixture(autouse=True)
def people_without_sessions(machine, authority):
    accounts = {name: machine.account(name) for name in ("alice", "bob")}
    for account in accounts.values():
        account.clean()
        account.config({"company": company_profile(authority)})
    yield accounts
    for account in accounts.values():
        account.clean()


def service(machine, name, prop):
    return machine.unit("mltoken-agent.service", prop, name)


def since(machine, pattern, start):
    """The journal's entries of the machine since then whose message matches, as (seconds since boot, message)."""
    found = []
    for event in machine.journal(f"--since=@{start:.3f}"):
        message = event.get("MESSAGE", "")
        if isinstance(message, str) and re.search(pattern, message):
            found.append((int(event["__MONOTONIC_TIMESTAMP"]) / 1e6, message))
    return found


def hand_off_time(machine, start):
    """From the opened session (pam_unix) until sshd goes on: everything after pam_systemd's reply is the module."""
    opened, = [t for t, _ in since(machine, r"^pam_systemd\(sshd:session\)|^New session .* of user", start)][-1:]
    on, = [t for t, _ in since(machine, r"^User child is on pid", start)][-1:]
    return on - opened


def test_ssh_to_the_first_token(machine, gate, authority, figure, people_without_sessions):
    """The whole: code, browser, shell, token; the agent by socket activation, shared by a second session; logout ends it."""
    alice = people_without_sessions["alice"]
    assert alice.agents() == [] and not machine.exists(f"/run/user/{alice.uid}")
    start = time.time()
    first = gate.ssh("alice").sign_in().shell()
    figure("hand-off at ssh, cold user manager", hand_off_time(machine, start))
    token = first(GET)
    assert claims_of(token)["sub"] == "sub-alice-1"
    assert authority.count("device") == 1 and authority.count("token", grant="refresh_token") == 0
    assert first("echo $XDG_RUNTIME_DIR") == f"/run/user/{alice.uid}" and first("env | grep -c HANDOFF") == "0"
    pid = int(service(machine, "alice", "MainPID"))
    assert alice.agents() == [pid] and service(machine, "alice", "ActiveState") == "active"
    assert machine.unit("mltoken-agent.socket", "ActiveState", "alice") == "active"
    assert machine.run("systemctl", "show", "--value", "--property=Id", "user@%d.service" % alice.uid).out.strip() in machine.read(f"/proc/{pid}/cgroup")
    assert machine.run("sh", "-c", "ls /run/mltoken/handoff").out == ""

    second = gate.ssh("alice", *gate.key("alice"), method="publickey").shell()  # skips auth, brings no token, finds the agent
    assert second(GET) == token and alice.agents() == [pid]
    start = time.time()
    third = gate.ssh("alice").sign_in().shell()
    figure("hand-off at ssh, warm agent", hand_off_time(machine, start))
    assert claims_of(third(GET))["sub"] == "sub-alice-1" and alice.agents() == [pid]
    for person in (first, second, third):
        person.leave()
    wait_until(lambda: alice.agents() == [])
    wait_until(lambda: not machine.exists(f"/run/user/{alice.uid}"))


def test_login_at_a_terminal(machine, gate, authority, people_without_sessions):
    alice = people_without_sessions["alice"]
    here = gate.login("alice").sign_in()
    here.shell()
    assert claims_of(here(GET))["sub"] == "sub-alice-1" and authority.count("device") == 1
    assert alice.agents() == [int(service(machine, "alice", "MainPID"))]
    here.leave()
    wait_until(lambda: alice.agents() == [])


def test_su_in_the_session_of_another(machine, gate, authority, people_without_sessions):
    """handoff_fallback=start: there is no /run/user of bob's, and the environment is alice's."""
    bob = people_without_sessions["bob"]
    gate.configure(handoff_fallback="start")
    alice = gate.ssh("alice", *gate.key("alice"), method="publickey").shell()
    alice.child.sendline("su - bob")
    alice.shown = ""
    alice.sign_in("bob")
    alice.shell()
    assert alice("id -un") == "bob"
    assert claims_of(alice(GET))["sub"] == "sub-bob-2" and authority.count("device") == 1
    assert len(bob.agents()) == 1
    alice.child.sendline("exit")
    alice.child.expect_exact("READY>")
    assert alice(GET + " || echo none").endswith("none"), "alice has no token of bob's, and none of her own"


REFUSALS = {
    # what happens -> what the person reads, and what the log says
    "wrong person": ("does not let you be this user", "sub-bob-2"),
    "no group": ("not allowed to use this host", "group"),
    "denied": ("declined", "denied"),
    "timed out": ("time for signing in is over", "within 6 s|timeout"),
    "down": ("cannot be reached", "unreachable"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_in_words_and_roots_password_still_works(machine, gate, authority, name):
    text, logged = REFUSALS[name]
    gate.configure(max_wait=6, **({"require_group": "g-one"} if name == "no group" else {}))
    if name == "down":
        port = authority.https_port
        conf = machine.read("/etc/mltoken/pam.conf").replace(f":{port}", ":9")
        machine.write("/etc/mltoken/pam.conf", conf, mode="0640")
        machine.run("chgrp", "_mltoken", "/etc/mltoken/pam.conf").ok()
    start = time.time()
    alice = gate.ssh("alice")
    if name == "timed out":
        alice.prompt()
        alice.enter()
    elif name != "down":
        alice.sign_in("bob" if name == "wrong person" else "alice", deny=name == "denied")
    alice.refused()
    assert re.search(text, alice.shown), alice.shown
    assert since(machine, f"pam_mltoken.*({logged})", start)
    assert not since(machine, "^Accepted", start)
    root = gate.ssh("root").password(ROOT_PASSWORD).shell()
    assert root("id -u") == "0"
    root.leave()


def test_nothing_secret_in_the_journal(machine, gate, authority):
    """A whole sign-in with debug=yes: the journal, the spool, the environment and the memory of sshd."""
    gate.configure(debug="yes")
    start = time.time()
    alice = gate.ssh("alice").sign_in().shell()
    alice(GET)
    events = machine.run("journalctl", "--no-pager", "--quiet", "--all", "--output=json", f"--since=@{start:.0f}").ok().out
    assert "pam_mltoken" in events
    secrets = [s for s in authority.secrets() if "refreshMARK" in s or "devicecodeMARK" in s or s.count(".") == 2]
    assert len(secrets) >= 4
    spool = machine.run("sh", "-c", "cat /run/mltoken/handoff/*").out
    for secret in secrets:
        assert secret not in events and secret not in spool and secret not in alice.shown
