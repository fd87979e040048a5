"""Signing in at the booted machine by the PAM module: sshd, login and su, logind, each person's own systemd and agent."""

import contextlib
import os
import re
import time

import pytest
from gate import CONFIG, EXAMPLES, GET, MAP, ROOT_PASSWORD, SERVICES
from machine import wait_until
from memory_scan import Secrets
from pam import claims_of


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


def test_what_is_installed_is_what_is_used(machine, gate):
    """Users, folders, modes and lines are those of the packaged files; cron and sudo have none of them."""
    def status(path):
        return machine.run("stat", "-c", "%a %U %G", path).ok().out.strip()

    passwd = machine.run("getent", "passwd", "_mltoken").ok().out.split(":")
    assert 0 < int(passwd[2]) < 1000 and passwd[5:] == ["/", "/usr/sbin/nologin\n"], passwd
    assert status(CONFIG) == "640 root _mltoken" and status(MAP) == "644 root root"
    assert {path: status("/run/mltoken" + path) for path in ("", "/handoff", "/rate")} == {
        "": "755 root root", "/handoff": "700 root root", "/rate": "700 root root"}
    machine.run("chmod", "600", CONFIG).ok()
    machine.run("systemd-tmpfiles", "--create", "/usr/lib/tmpfiles.d/mltoken.conf").ok()
    assert status(CONFIG) == "640 root _mltoken", "tmpfiles.d mends it at the next boot"
    with_module = machine.run("grep", "-l", "pam_mltoken", "-r", "/etc/pam.d").ok().out.split()
    assert sorted(with_module) == sorted("/etc/pam.d/" + name for name in (*SERVICES, "common-session"))
    session = machine.read("/etc/pam.d/common-session")
    assert re.search(r"pam_systemd\.so.*^session\s+optional\s+pam_mltoken\.so", session, re.M | re.S), session
    assert machine.read("/etc/ssh/sshd_config.d/mltoken.conf") == machine.read(f"{EXAMPLES}/sshd_config.d-mltoken.conf")
    shipped, used = (machine.read(path).splitlines() for path in (f"{EXAMPLES}/pam.conf", CONFIG))
    ours = [line.split()[0] for line in used if line not in shipped]
    assert ours == ["authority", "client_id", "ca_file"], "the authority's own values alone were filled in"


def test_ssh_to_the_first_token(machine, gate, authority, figure, people):
    """The whole: code, browser, shell, token; the agent by socket activation, shared by a second session; logout ends it."""
    alice = people["alice"]
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

    start = time.time()
    second = gate.ssh("alice").sign_in().shell()
    figure("hand-off at ssh, warm agent", hand_off_time(machine, start))
    token = second(GET)
    assert claims_of(token)["sub"] == "sub-alice-1" and first(GET) == token and alice.agents() == [pid], "one agent for both"
    gate.ssh("alice", method="publickey").refused()  # the key alone opens nothing
    for person in (first, second):
        person.leave()
    wait_until(lambda: alice.agents() == [])
    wait_until(lambda: not machine.exists(f"/run/user/{alice.uid}"))


def test_login_at_a_terminal(machine, gate, authority, people):
    alice = people["alice"]
    here = gate.login("alice").sign_in()
    here.shell()
    assert claims_of(here(GET))["sub"] == "sub-alice-1" and authority.count("device") == 1
    assert alice.agents() == [int(service(machine, "alice", "MainPID"))]
    here.leave()
    wait_until(lambda: alice.agents() == [])


def test_su_in_the_session_of_another(machine, gate, authority, people):
    """handoff_fallback=start: there is no /run/user of bob's, and the environment is alice's."""
    bob = people["bob"]
    gate.configure(handoff_fallback="start")
    alice = gate.ssh("alice").sign_in().shell()
    token = alice(GET)
    alice.child.sendline("su - bob")
    alice.shown = ""
    alice.sign_in("bob")
    alice.shell()
    assert alice("id -un") == "bob"
    assert claims_of(alice(GET))["sub"] == "sub-bob-2" and authority.count("device") == 2
    assert len(bob.agents()) == 1
    alice.child.sendline("exit")
    alice.child.expect_exact("READY>")
    assert alice(GET) == token, "alice has her own token, and none of bob's"


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
    gate.configure({"authority": "https://localhost:9/oidc"} if name == "down" else {}, max_wait=6,
                   **({"require_group": "g-one"} if name == "no group" else {}))
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
    assert not since(machine, "^Accepted keyboard-interactive", start) and not since(machine, "session opened for user alice", start)
    console = gate.login("root").password(ROOT_PASSWORD).shell()
    assert console("id -u") == "0"
    console.leave()
    root = gate.ssh("root", method="publickey").shell()
    assert root("id -u") == "0"
    root.leave()


def processes(machine):
    """Those of the machine, as we see them: pid -> name."""
    space, found = os.readlink(f"/proc/{machine.leader}/ns/pid"), {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/ns/pid") == space:
                with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as f:
                    found[int(pid)] = f.read().strip()
    return found


def test_nothing_secret_is_left(machine, gate, authority):
    """A whole sign-in with debug=yes: the journal, the spool, the terminal, all environments and arguments, and the memory of
    sshd. The agent's is searched in the same way, and has them."""
    gate.configure(debug="yes")
    start = time.time()
    alice = gate.ssh("alice").sign_in().shell()
    secrets = [s for s in authority.secrets() if "refreshMARK" in s or "devicecodeMARK" in s or s.count(".") == 2]
    assert len(secrets) >= 4
    wanted, holders = Secrets(), set()
    for i, secret in enumerate(secrets):
        wanted.add(str(i), secret)
    running = processes(machine)
    for pid, name in running.items():
        for kind in ("environ", "cmdline"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/{kind}", "rb") as f:
                text = f.read().decode(errors="replace")
                assert not any(secret in text for secret in secrets), (name, kind)
        if name.startswith(("sshd", "mltoken-agent")) and wanted.find(pid):
            holders.add(name)
    assert sum(name == "sshd" for name in running.values()) >= 3, "the listener, the monitor and the person's"
    assert "sshd" not in holders and holders, holders
    alice(GET)
    events = machine.run("journalctl", "--no-pager", "--quiet", "--all", "--output=json", f"--since=@{start:.0f}").ok().out
    assert "pam_mltoken" in events
    spool = machine.run("sh", "-c", "cat /run/mltoken/handoff/*").out
    for secret in secrets:
        assert secret not in events and secret not in spool and secret not in alice.shown


def test_a_token_in_the_sessions_environment(machine, gate, authority, people):
    """export, as the commented line of the example has it: for that session alone, and nowhere in the journal."""
    gate.configure(export="company:COMPANY_TOKEN", debug="yes")
    start = time.time()
    alice = gate.ssh("alice").sign_in().shell()
    token = alice("printenv COMPANY_TOKEN")
    assert claims_of(token)["sub"] == "sub-alice-1" and alice(GET) == token
    assert alice("env | grep -c MLTOKEN_") == "0"
    assert authority.count("device") == 1
    console = gate.login("root").password(ROOT_PASSWORD).shell()
    assert console("printenv COMPANY_TOKEN || echo none").endswith("none")
    console.leave()
    assert token not in machine.run("journalctl", "--no-pager", "--quiet", "--all", "--output=json", f"--since=@{start:.0f}").ok().out
    assert "COMPANY_TOKEN" not in machine.run("cat", f"/proc/{service(machine, 'alice', 'MainPID')}/environ").out
    alice.leave()
    gate.configure()
    bare = gate.ssh("alice").sign_in().shell()
    assert bare("printenv COMPANY_TOKEN || echo none") == "none", "it is off by default"
