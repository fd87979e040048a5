"""mltoken-agent@NAME.service: an account with no session, no home and no person, set up as mltoken-agent(1) says."""

import os
import re

import pytest
from machine import config_text, wait_until
from test_session import namespace

UNIT = "mltoken-agent@daemon1.service"
SOCKET = "/run/mltoken/daemon1/agent.sock"
CONFIG = "/etc/mltoken/daemon1/config"
STATE = "/var/lib/mltoken/daemon1"
KEY = "/etc/credstore.encrypted/mltoken-store-key.daemon1"
NEW_KEY = f"head -c 32 /dev/urandom | systemd-creds encrypt --name=mltoken-store-key - {KEY}"
CANARY = "canary-b7e1-hunter2"


class Service:
    """The account and its agent."""

    def __init__(self, machine):
        self.machine = machine
        self.account = machine.account("daemon1", system=True)

    def config(self, authority, client="svc", secret="stored", **agent):
        self.machine.write(CONFIG, config_text({"p": {"grant": "client_credentials", "authority": authority.oidc, "client_id": client,
                                                      "client_secret": secret, "scope": "api"}}, **agent), mode="0644")

    def new_key(self):
        self.machine.run("sh", "-c", f"mkdir -p -m 0700 {os.path.dirname(KEY)} && {NEW_KEY}").ok()

    def systemctl(self, verb, *more):
        return self.machine.run("systemctl", verb, *more, UNIT)

    def mltoken(self, *args, **more):
        """As the account, with nothing set: the command finds the socket by itself."""
        return self.machine.as_account("daemon1", "mltoken", *args, **more)

    def status(self):
        return self.mltoken("--json", "status").ok().json()

    def pid(self):
        return int(self.machine.unit(UNIT, "MainPID"))

    def drop_in(self, text):
        self.machine.write(f"/run/systemd/system/{UNIT}.d/test.conf", text, mode="0644")
        self.machine.run("systemctl", "daemon-reload").ok()

    def clean(self):
        self.systemctl("disable", "--now")
        self.machine.run("sh", "-c", f"rm -rf /etc/mltoken {STATE} {KEY} /run/systemd/system/{UNIT}.d /tmp/mltoken-{self.account.uid}").ok()
        self.machine.run("systemctl", "daemon-reload").ok()
        self.systemctl("reset-failed")


@pytest.fixture
def daemon(machine):
    service = Service(machine)
    yield service
    service.clean()


@pytest.fixture
def sealed(daemon, authority):
    """It serves, with a key sealed by the host and a secret in the store."""
    daemon.config(authority, store="file")
    daemon.new_key()
    daemon.systemctl("enable", "--now").ok()
    daemon.mltoken("secret", "set", "p", "client_secret", input=authority.client("svc").secret).ok()
    return daemon


def test_it_serves_after_a_restart_with_no_person(machine, sealed, authority, figure):
    token = sealed.mltoken("get", "p").ok().out
    assert sealed.status()["agent"]["store"].startswith("file")
    files = machine.run("find", STATE, "-printf", "%y %m %u %p\\n").ok().out.splitlines()
    assert sorted(files) == sorted([f"d 700 daemon1 {STATE}", f"d 700 daemon1 {STATE}/mltoken", f"f 600 daemon1 {STATE}/mltoken/lock",
                                    f"f 600 daemon1 {STATE}/mltoken/p.sealed", f"f 600 daemon1 {STATE}/mltoken/state"])
    pid = sealed.pid()
    sealed.systemctl("restart").ok()
    assert sealed.pid() not in (0, pid)
    assert sealed.mltoken("get", "p").ok().out != token
    took = machine.reboot()
    figure("boot until running, with mltoken-agent@", took)
    assert sealed.mltoken("get", "p").ok().out.count(".") == 2
    assert machine.unit(UNIT, "NRestarts") == "0"


def test_the_manual_s_commands_are_all_it_takes(machine, authority):
    """Those of the README, as they stand there; mltoken-agent(1) has the same."""
    top = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    with open(os.path.join(top, "README.md"), encoding="utf-8") as f:
        block = re.search(r"^A service account gets.*?\n\n((?:    [^\n]*\n)+)", f.read(), re.M | re.S).group(1)
    with open(os.path.join(top, "lib/man/mltoken-agent.1"), encoding="utf-8") as f:
        manual = re.search(r"^useradd .*?(?=^\.Ed)", f.read(), re.M | re.S).group(0).replace("\\e\n", "")
    commands = [" ".join(line.partition("#")[0].split()) for line in block.splitlines()]
    assert [c for c in commands if c] == [" ".join(line.split()) for line in manual.splitlines()]
    config = {"aoai": {"grant": "client_credentials", "authority": authority.oidc, "client_id": "svc", "client_secret": "stored", "scope": "api"}}
    machine.write("/var/tmp/config", config_text(config, store="file"))
    try:
        machine.run("sh", "-ec", "cd /var/tmp\n" + block, input=authority.client("svc").secret + "\n").ok()
        machine.run("systemctl", "restart", "mltoken-agent@batch.service").ok()
        assert machine.as_account("batch", "mltoken", "get", "aoai").ok().out.count(".") == 2
    finally:
        machine.run("systemctl", "disable", "--now", "mltoken-agent@batch.service")


def test_a_key_in_plain_text_comes_by_a_drop_in(machine, daemon, authority):
    machine.write("/var/tmp/key", "k" * 40)
    daemon.drop_in("[Service]\nLoadCredentialEncrypted=\nLoadCredential=mltoken-store-key:/var/tmp/key\n")
    daemon.config(authority, store="file")
    daemon.systemctl("start").ok()
    daemon.mltoken("secret", "set", "p", "client_secret", input=authority.client("svc").secret).ok()
    daemon.systemctl("restart").ok()
    daemon.mltoken("get", "p").ok()


def test_an_application_s_own_unit_gets_a_token(machine, sealed):
    """With MLTOKEN_SOCK, as the manual says; the audit names it."""
    done = machine.run("systemd-run", "--quiet", "--pipe", "--wait", "--collect", "--property=User=daemon1", f"--property=After={UNIT}",
                       f"--setenv=MLTOKEN_SOCK={SOCKET}", "mltoken", "get", "p")
    assert done.ok().out.count(".") == 2
    event = machine.journal("MLTOKEN_EVENT=token-handed-out", f"_SYSTEMD_UNIT={UNIT}")[-1]
    assert event["MLTOKEN_EXE"] == "/usr/bin/mltoken" and event["MLTOKEN_PROFILE"] == "p"
    assert event["_PID"] == str(sealed.pid()) and event["_UID"] == str(sealed.account.uid)


def test_an_application_gets_its_token_at_boot(machine, sealed):
    """Its unit is the manual's: Wants=, After=, User=, MLTOKEN_SOCK. The agent says when it is ready, so the first get counts."""
    machine.write("/etc/systemd/system/application.service", f"""
[Unit]
Wants={UNIT}
After={UNIT}
[Service]
Type=oneshot
RemainAfterExit=yes
User=daemon1
Environment=MLTOKEN_SOCK={SOCKET}
ExecStart=/usr/bin/mltoken get p
[Install]
WantedBy=multi-user.target
""", mode="0644")
    machine.run("systemctl", "daemon-reload").ok()
    machine.run("systemctl", "enable", "application.service").ok()
    sealed.systemctl("disable").ok()  # Wants= is enough
    try:
        for _ in range(3):
            machine.reboot()
            assert machine.unit("application.service", "Result") == "success"
            assert machine.unit("application.service", "ActiveState") == "active"
    finally:
        machine.run("systemctl", "disable", "--now", "application.service").ok()
        machine.run("rm", "/etc/systemd/system/application.service").ok()


def test_secrets_from_credentials_need_no_store(machine, daemon, authority):
    machine.run("sh", "-c", "mkdir -p -m 0700 /etc/credstore.encrypted && systemd-creds encrypt --name=aoai - /etc/credstore.encrypted/aoai",
                input=authority.client("svc").secret).ok()
    daemon.drop_in("[Service]\nLoadCredentialEncrypted=aoai\n")
    daemon.config(authority, secret="credential:aoai")
    daemon.systemctl("start").ok()
    assert daemon.mltoken("get", "p").ok().out.count(".") == 2
    assert "FAIL" not in daemon.mltoken("doctor").ok().out


def test_nothing_is_in_plain_text(machine, daemon, authority):
    authority.add_client("canary", secret=CANARY)
    daemon.config(authority, client="canary", store="file")
    daemon.new_key()
    daemon.drop_in("[Service]\nExecStart=\nExecStart=/usr/bin/mltoken-agent --debug\n")
    daemon.systemctl("start").ok()
    daemon.mltoken("secret", "set", "p", "client_secret", input=CANARY).ok()
    token = daemon.mltoken("get", "p").ok().out.strip()
    daemon.systemctl("restart").ok()
    daemon.mltoken("get", "p").ok()
    machine.run("journalctl", "--sync", "--rotate")
    for needle in (CANARY, token, token.split(".")[2]):
        for place in (STATE, "/var/log/journal", "/run/mltoken", "/etc/mltoken", "/etc/credstore.encrypted"):
            assert machine.run("grep", "-raqF", "--", needle, place).code == 1, (needle, place)
        assert needle not in str(machine.journal())
    assert "p.sealed" in machine.run("ls", f"{STATE}/mltoken").out
    assert "token-handed-out" in str(machine.journal()), "the search would find what is there"


def test_nobody_else_gets_in(machine, sealed, bob, authority):
    sealed.mltoken("get", "p").ok()
    for name in ("agent.sock", "get.sock"):
        path = SOCKET.replace("agent.sock", name)
        assert machine.run("stat", "-c", "%a %U", path).ok().out == "600 daemon1\n"
        assert bob.mltoken("--socket", path, "get", "p").code != 0
        assert machine.run("mltoken", "--socket", path, "get", "p").code != 0, "not even root, by mistake"
        assert machine.ask_raw(path) == "b''\n"
    assert machine.run("stat", "-c", "%a %U", os.path.dirname(SOCKET), "/run/mltoken").ok().out == "700 daemon1\n755 root\n"
    assert authority.count("token") == 1


def test_it_is_confined(machine, sealed):
    process = machine.read(f"/proc/{sealed.pid()}/status")
    for line in ("NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000"):
        assert line in process, line
    assert re.search(r"^Uid:\s+" + r"\s+".join([str(sealed.account.uid)] * 4) + "$", process, re.M)
    assert sealed.status()["agent"]["counters"]["lockedBytes"] == 4 << 20
    assert namespace(machine, sealed.pid(), "mnt") != namespace(machine, 1, "mnt")
    assert namespace(machine, sealed.pid(), "user") == namespace(machine, 1, "user"), "or the audit could not name programs"
    mounts = machine.read(f"/proc/{sealed.pid()}/mountinfo")
    root, = [line for line in mounts.splitlines() if line.split()[4] == "/"]
    assert "ro" in root.split()[5].split(",")


def test_without_a_credential_it_starts_and_says_what_is_missing(machine, daemon, authority):
    daemon.config(authority, store="file")
    daemon.systemctl("start").ok()
    done = daemon.mltoken("secret", "set", "p", "client_secret", input="x")
    assert done.code == 8 and "mltoken-store-key" in done.err and "key_file" in done.err, done.err
    key = "/etc/mltoken/daemon1/key"
    machine.write(key, "k" * 40, owner="daemon1")
    daemon.config(authority, store="file", key_file=key)
    daemon.systemctl("reload").ok()

    def set_secret():
        """The agent has read its configuration."""
        return daemon.mltoken("secret", "set", "p", "client_secret", input=authority.client("svc").secret).code == 0

    wait_until(set_secret)
    daemon.systemctl("restart").ok()
    assert daemon.mltoken("get", "p").ok().out


def test_another_key_is_named(machine, sealed):
    sealed.mltoken("get", "p").ok()
    before = machine.run("sha256sum", f"{STATE}/mltoken/p.sealed").ok().out
    sealed.new_key()
    sealed.systemctl("restart").ok()
    done = sealed.mltoken("get", "p")
    assert done.code == 8 and "the systemd credential mltoken-store-key that is not the present one" in done.err, done.err
    machine.run("rm", KEY).ok()
    sealed.systemctl("restart").ok()
    done = sealed.mltoken("get", "p")
    assert done.code == 8 and "the systemd credential mltoken-store-key" in done.err, done.err
    assert machine.run("sha256sum", f"{STATE}/mltoken/p.sealed").ok().out == before


def test_a_credential_of_another_host_is_refused_by_systemd(machine, sealed):
    """What cannot be unsealed is no reason to start without it."""
    machine.run("sh", "-c", f"head -c 32 /dev/urandom | systemd-creds encrypt --name=another - {KEY}").ok()
    assert sealed.systemctl("restart").code != 0
    wait_until(lambda: machine.unit(UNIT, "ActiveState") == "failed")
    assert machine.unit(UNIT, "ExecMainStatus") == "243"  # CREDENTIALS
    said = machine.run("systemctl", "status", "--no-pager", UNIT).out
    assert "credential" in said.lower(), said


def test_the_account_s_commands_find_it(machine, sealed):
    """Also in a session that su makes: it has a runtime directory, and no agent in there."""
    ways = [["runuser", "-u", "daemon1", "--"], ["su", "-s", "/bin/sh", "daemon1", "-c"], ["runuser", "-u", "daemon1", "--"],
            ["su", "-", "-s", "/bin/sh", "daemon1", "-c"], ["setpriv", "--reuid=daemon1", "--regid=daemon1", "--clear-groups"]]
    for way in ways:
        command = ["mltoken", "get", "p"]
        machine.run(*way, *([" ".join(command)] if way[-1] == "-c" else command)).ok()
    assert sealed.account.agents() == [sealed.pid()]
    for way in ways:
        command = ["mltoken", "doctor"]
        done = machine.run(*way, *([" ".join(command)] if way[-1] == "-c" else command)).ok()
        assert SOCKET in done.out and "p:" in done.out and "FAIL" not in done.out, done.out
    done = sealed.mltoken("log")
    assert done.code == 3 and "systemd-journal" in done.err


def test_killed_at_any_time_it_comes_back(machine, sealed):
    """And no program of the account starts another, with MLTOKEN_SOCK set."""
    sealed.drop_in("[Unit]\nStartLimitIntervalSec=0\n")
    for _ in range(8):
        pid = sealed.pid()
        if pid:
            machine.run("kill", "-KILL", str(pid))
        done = machine.run("runuser", "-u", "daemon1", "--", "env", f"MLTOKEN_SOCK={SOCKET}", "mltoken", "get", "p")
        assert done.code in (0, 7), done.err
    wait_until(lambda: machine.unit(UNIT, "ActiveState") == "active")
    sealed.mltoken("get", "p").ok()
    assert sealed.account.agents() == [sealed.pid()]


def test_nobody_takes_its_place(machine, sealed):
    """While it is stopped, a program of the account starts no other agent at its socket."""
    sealed.systemctl("stop").ok()
    assert not machine.exists("/run/mltoken/daemon1")
    done = machine.run("runuser", "-u", "daemon1", "--", "env", f"MLTOKEN_SOCK={SOCKET}", "mltoken", "get", "p")
    assert "systemctl start mltoken-agent@daemon1.service" in done.failed(7)
    assert sealed.account.agents() == []
    sealed.systemctl("start").ok()
    sealed.mltoken("get", "p").ok()


def test_two_accounts_side_by_side(machine, sealed, authority):
    other = machine.account("daemon2", system=True)
    machine.write("/etc/mltoken/daemon2/config", config_text({"q": {"grant": "client_credentials", "authority": authority.oidc, "scope": "api",
                  "client_id": "load-1", "client_secret": "file:/etc/mltoken/daemon2/secret"}}), mode="0644")
    machine.write("/etc/mltoken/daemon2/secret", authority.client("load-1").secret, owner="daemon2")
    machine.run("systemctl", "start", "mltoken-agent@daemon2.service").ok()
    try:
        assert machine.as_account("daemon2", "mltoken", "get", "q").ok().out
        assert machine.as_account("daemon2", "mltoken", "get", "p").code == 3
        assert sealed.mltoken("get", "p").ok().out.count(".") == 2
        assert len(other.agents()) == len(sealed.account.agents()) == 1
    finally:
        machine.run("systemctl", "stop", "mltoken-agent@daemon2.service").ok()


@pytest.mark.parametrize("limit,locked", [("64K", 0), ("8M", 4 << 20)])
def test_a_small_memlock_is_told(daemon, authority, limit, locked):
    daemon.config(authority)
    daemon.drop_in(f"[Service]\nLimitMEMLOCK={limit}\n")
    daemon.systemctl("start").ok()
    assert daemon.status()["agent"]["counters"]["lockedBytes"] == locked
    assert ("not locked in memory" in daemon.mltoken("status").ok().out) == (locked == 0)


def test_a_hung_one_is_replaced(machine, sealed):
    sealed.drop_in("[Service]\nWatchdogSec=8\nTimeoutStopSec=2\n")
    sealed.systemctl("restart").ok()
    pid = sealed.pid()
    machine.run("kill", "-STOP", str(pid)).ok()
    wait_until(lambda: machine.unit(UNIT, "NRestarts") == "1" and sealed.pid() not in (0, pid))
    wait_until(lambda: machine.unit(UNIT, "ActiveState") == "active")
    sealed.mltoken("get", "p").ok()
