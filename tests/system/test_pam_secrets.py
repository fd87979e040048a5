"""With a debug log on, nothing of a sign-in is left where it does not belong: the system's log, what programs print, files,
environments, and the memory of sshd after the hand-off."""

import os
import re
import subprocess

import pytest
from harness import wait_until
from memory_scan import Secrets
from pam import AgentOf, configure, put_in_stack, spool_is_sound

pytestmark = pytest.mark.skipif(bool(os.environ.get("MLTOKEN_SAN")), reason="a sanitizer keeps what was freed in quarantine")


@pytest.fixture(autouse=True)
def with_stack(place, company):
    configure(place, debug="yes", max_wait=15)
    put_in_stack(place, "sshd", "su")
    place.start_sshd()


def known(company):
    """Each secret that the authority handed out; the user code is shown to the person, and is not one afterwards."""
    found = company.authority.secrets()
    assert any(s.startswith("refreshMARK") for s in found) and any(s.startswith("devicecodeMARK") for s in found)
    return [s for s in found if s.startswith(("refreshMARK", "devicecodeMARK")) or s.count(".") == 2]


def texts_of(place):
    """All that may be read afterwards: the log, files, environments and arguments of what runs."""
    yield "the log", place.log.text().encode()
    for folder in ("/run", "/home", "/etc", "/var/log", "/root", "/tmp"):
        for directory, _, names in os.walk(place.path(folder)):
            for name in names:
                path = os.path.join(directory, name)
                if os.path.isfile(path) and not os.path.islink(path) and os.path.getsize(path) < 1 << 24:
                    with open(path, "rb") as f:
                        yield path, f.read()
    for pid in place.processes():
        for name in ("environ", "cmdline"):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as f:
                    yield f"{name} of {pid}", f.read()
            except OSError:
                continue


def assert_nowhere(place, company, *more):
    secrets = known(company)
    for where, data in [*texts_of(place), *more]:
        for secret in secrets:
            for part in (secret.encode(), secret.encode()[-20:]):
                assert part not in data, (where, secret[:14])


def memory_of(place, company, *names):
    wanted = Secrets()
    for i, secret in enumerate(known(company)):
        wanted.add(f"{i} {secret[:14]}", secret)
    found = {}
    for name in names:
        for pid in place.processes(name):
            for one in wanted.find(pid):
                found.setdefault((name, pid), set()).add((one.secret, one.form, one.mapping))
    return found


def test_ssh_with_an_agent(place, company, people):
    agent = AgentOf(place, "mlt-alice").start()
    alice = people.ssh("mlt-alice").sign_in().shell()
    assert spool_is_sound(place) == []
    assert "pam_mltoken" in place.log.text()
    assert_nowhere(place, company, ("the terminal", alice.shown.encode()))
    assert len(place.processes("sshd")) >= 3, "the listener, the monitor and the person's"
    assert memory_of(place, company, "sshd") == {}
    assert memory_of(place, company, "mltoken-agent-main", "mltoken-agent") != {}, "who has them is found out by the same search"
    alice.leave()
    agent.stop()


def test_ssh_without_an_agent_refused_and_denied(place, company, people):
    people.ssh("mlt-alice").sign_in().shell()
    people.ssh("mlt-bob").sign_in("alice").refused()
    people.ssh("mlt-bob").sign_in("bob", deny=True).refused()
    company.authority.set_client("device", id_token_forge="bad_signature")
    people.ssh("mlt-alice").sign_in().refused()
    assert_nowhere(place, company)
    assert memory_of(place, company, "sshd") == {}


def test_su_which_is_one_process(place, company, people):
    """What auth held is in the very process that waits for the shell to end."""
    agent = AgentOf(place, "mlt-bob").start()
    bob = people.su("mlt-bob", "mlt-alice").sign_in("bob").shell()
    assert place.processes("su")
    assert_nowhere(place, company, ("the terminal", bob.shown.encode()))
    assert memory_of(place, company, "su") == {}
    bob.leave()
    agent.stop()


def test_no_core_of_the_helper_and_nothing_of_it_when_it_is_killed(place, company, people):
    alice = people.ssh("mlt-alice")
    alice.prompt()
    helper, = wait_until(lambda: place.processes("mltoken-pam-login"))
    with open(f"/proc/{helper}/limits", encoding="ascii") as f:
        assert re.search(r"^Max core file size\s+0\s+0", f.read(), re.M)
    os.kill(helper, 11)
    alice.enter()
    alice.refused()
    cores = subprocess.run(["find", place.path("/"), "-xdev", "-maxdepth", "2", "-name", "core*", "-newer", place.path("/etc/mltoken/pam.conf"), "-type", "f"],
                           capture_output=True, text=True, check=False).stdout
    assert cores == ""
    secrets = [s for s in company.authority.secrets() if s.startswith("devicecodeMARK")]
    assert secrets
    for where, data in texts_of(place):
        assert not any(s.encode() in data for s in secrets), where


def test_a_cached_token(place, company, people):
    """The agent's token goes through auth, which keeps nothing of it; nor of one that it does not take."""
    company.authority.set_client("device", audience="device")
    put_in_stack(place, "sshd", args="cached=yes")
    place.start_sshd("AuthenticationMethods publickey,keyboard-interactive:pam")
    place.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/root/secrets-key").ok()
    os.makedirs(place.path("/home/mlt-alice/.ssh"), 0o700)
    os.chown(place.path("/home/mlt-alice/.ssh"), 2001, 2001)
    place.write("/home/mlt-alice/.ssh/authorized_keys", place.read("/root/secrets-key.pub"), mode=0o600, owner=2001)
    agent = AgentOf(place, "mlt-alice").start()

    def ssh():
        return people.ssh("mlt-alice", "-i", "/root/secrets-key", method="publickey,keyboard-interactive")

    ssh().sign_in().shell().leave()
    alice = ssh().shell()
    company.authority.set_client("device", audience="https://elsewhere.example")
    again = ssh().sign_in().shell()
    assert company.authority.count("device") == 2 and "signed in by a key and a cached token" in place.log.text()
    assert_nowhere(place, company, ("the terminal", alice.shown.encode() + again.shown.encode()))
    assert len(place.processes("sshd")) >= 5
    assert memory_of(place, company, "sshd") == {}
    agent.stop()
