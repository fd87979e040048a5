"""mltoken log, on a real journal, by a person who may read only his own."""

import json
import re

import pytest
from test_session import enable, with_secret

CLIENT = """
import json, os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(os.environ["XDG_RUNTIME_DIR"] + "/mltoken/agent.sock")
for _ in range(int(sys.argv[2])):
    parameters = {"profile": sys.argv[1], "application": "trainer"}
    s.sendall(json.dumps({"method": "org.mltoken.agent.GetToken", "parameters": parameters}).encode() + b"\\0")
    reply = b""
    while not reply.endswith(b"\\0"):
        reply += s.recv(65536)
    assert b'"token"' in reply, reply
"""


def log(account, *args):
    account.machine.run("journalctl", "--sync").ok()
    return account.mltoken("log", *args)


def entries(account, *args):
    account.machine.run("journalctl", "--sync").ok()
    done = account.machine.in_session(account.name, "mltoken", "--json", "log", *args).ok()
    return [json.loads(line) for line in done.out.splitlines()]


@pytest.fixture
def told(machine, alice, authority):
    """Alice's journal of this test: two programs, two profiles. The journal is emptied before."""
    machine.run("sh", "-c", "journalctl --rotate && sleep 1.1 && journalctl --vacuum-time=1s").ok()
    alice.config({"p": with_secret(alice, authority), "q": with_secret(alice, authority, "load-1")})
    enable(alice)
    return alice


def test_fields(machine, told, authority):
    token = told.mltoken("get", "p").ok().out.strip()
    told.mltoken("get", "p").ok()
    first, second = entries(told)
    assert set(first) >= {"time", "profile", "pid", "executable", "source", "count"}
    assert (first["profile"], first["source"], first["count"]) == ("p", "fetched", 1)
    assert (second["source"], second["count"]) == ("hit", 1) and first["pid"] != second["pid"]
    assert first["executable"] == second["executable"] == "/usr/bin/mltoken"
    now = int(machine.run("date", "+%s").out)
    assert now - 300 < first["time"] <= second["time"] <= now
    lines = log(told).ok().out.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  p  1 fetched  /usr/bin/mltoken \(pid \d+\).*", lines[0]), lines
    assert token not in str(machine.journal()) and authority.client("svc").secret not in str(machine.journal())


def test_repeats_are_counted(machine, told):
    told("python3", "-c", CLIENT, "p", "5").ok()
    first, = entries(told)
    assert first["count"] == 1 and first["executable"].startswith("/usr/bin/python3")
    told("systemctl", "--user", "stop", "mltoken-agent.service").ok()  # a minute's count is told at the end, too
    first, more = entries(told)
    assert more["count"] == 4 and more["source"] == "hit" and more["pid"] == first["pid"]
    text = log(told).ok().out
    assert "4 more hit" in text and text.count('calls itself "trainer"') == 2


def test_filters(told):
    for profile in "p", "q", "p":
        told.mltoken("get", profile).ok()
    assert [e["profile"] for e in entries(told)] == ["p", "q", "p"]
    assert [e["profile"] for e in entries(told, "q")] == ["q"]
    assert [e["profile"] for e in entries(told, "-n", "2")] == ["q", "p"]
    assert [e["profile"] for e in entries(told, "p", "-n", "1")] == ["p"]
    assert len(entries(told, "--since", "-1h")) == 3 and entries(told, "--since", "+1h") == []
    done = log(told, "none")
    assert done.code == 0 and done.out == "" and "none" in done.err
    assert log(told, "--since", "the day before").code != 0


def test_each_sees_his_own(machine, told, bob, authority):
    told.mltoken("get", "p").ok()
    done = log(bob)
    assert (done.code, done.out) == (0, "") and "no token" in done.err
    bob.config({"b": with_secret(bob, authority)})
    bob.mltoken("get", "b", env={"MLTOKEN_NO_AUTOSTART": ""}).ok()  # started by the command, outside of any unit
    assert [e["profile"] for e in entries(bob)] == ["b"]
    assert [e["profile"] for e in entries(told)] == ["p"]


def test_a_journal_in_memory_is_not_for_everyone(machine, told):
    """Storage=volatile makes no journal of one's own: said, with what to do."""
    machine.write("/run/systemd/journald.conf.d/volatile.conf", "[Journal]\nStorage=volatile\n", mode="0644")
    try:
        machine.run("systemctl", "restart", "systemd-journald").ok()
        machine.run("mv", "/var/log/journal", "/var/log/journal.aside").ok()
        told.mltoken("get", "p").ok()
        done = told.mltoken("log")
        assert done.code == 3 and "Storage=persistent" in done.err and done.out == ""
    finally:
        machine.run("mv", "/var/log/journal.aside", "/var/log/journal").ok()
        machine.run("rm", "/run/systemd/journald.conf.d/volatile.conf").ok()
        machine.run("systemctl", "restart", "systemd-journald").ok()
        machine.run("journalctl", "--flush").ok()
    told.mltoken("get", "p").ok()
    assert log(told).ok().out.count("\n") >= 1
