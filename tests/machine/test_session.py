"""The agent in a person's own systemd: activation by socket, hardening, restart, watchdog."""

import os
import re
import time

import pytest
from machine import wait_until

SANDBOX = "/usr/share/doc/mltoken/examples/sandbox.conf"


def service(authority, client="svc", **more):
    return {"grant": "client_credentials", "authority": authority.oidc, "client_id": client, "scope": "api", **more}


def with_secret(account, authority, client="svc"):
    path = account.write("keys/" + client, authority.client(client).secret)
    return service(authority, client, client_secret="file:" + path)


def enable(account):
    account("systemctl", "--user", "enable", "--now", "mltoken-agent.socket").ok()


def agent_pid(account):
    return int(account.machine.unit("mltoken-agent.service", "MainPID", account.name))


def namespace(machine, pid, kind):
    return machine.run("readlink", f"/proc/{pid}/ns/{kind}").ok().out


@pytest.fixture(params=["plain", "sandbox"])
def form(request, machine, alice):
    """Both forms of the service: as it is installed, and with the example drop-in."""
    if request.param == "sandbox":
        alice.drop_in("sandbox.conf", machine.read(SANDBOX))
    return request.param


def test_the_first_get_starts_the_agent_by_its_socket(machine, alice, authority, figure, form):
    alice.config({"p": with_secret(alice, authority)})
    enable(alice)
    assert machine.unit("mltoken-agent.service", "ActiveState", "alice") == "inactive" and alice.agents() == []
    done = alice("bash", "-c", "TIMEFORMAT=%R; time mltoken get p").ok()
    figure(f"cold get by socket activation ({form})", float(done.err))
    assert authority.count("token") == 1 and done.out.count(".") == 2
    status = alice.mltoken("status", "--json").ok().json()["agent"]
    assert machine.unit("mltoken-agent.service", "ActiveState", "alice") == "active"  # Type=notify: it said READY=1
    assert status["pid"] == agent_pid(alice) and alice.agents() == [status["pid"]]
    assert machine.unit("mltoken-agent.service", "StatusText", "alice") != ""
    assert status["counters"]["lockedBytes"] == 4 << 20
    assert alice.mltoken("get", "p").ok().out == done.out and authority.count("token") == 1
    events = machine.journal("SYSLOG_IDENTIFIER=mltoken-agent", f"_UID={alice.uid}", f"_PID={status['pid']}")
    assert any(e["MESSAGE"] == "serving" and e["MLTOKEN_PATH"].endswith("/mltoken/agent.sock") for e in events), events
    assert {e.get("_SYSTEMD_USER_UNIT") for e in events} == {"mltoken-agent.service"}
    in_namespace = namespace(machine, status["pid"], "user") != namespace(machine, 1, "user")
    assert in_namespace == (form == "sandbox")
    process = machine.read(f"/proc/{status['pid']}/status")
    assert re.search(r"^NoNewPrivs:\s+1$", process, re.M) and re.search(r"^Seccomp:\s+2$", process, re.M)


def test_a_sign_in_outlives_a_restart(machine, alice, authority, form):
    key = alice.write("keys/store", "k" * 48)
    alice.config({"me": {"grant": "device_code", "authority": authority.oidc, "client_id": "device", "scope": "openid offline_access"}},
                 store="file", key_file=key)
    enable(alice)
    authority.set_client("device", auto_approve="alice")
    alice.mltoken("login", "me", "--no-qr").ok()
    before, pid = alice.mltoken("get", "me").ok().out, agent_pid(alice)
    assert machine.run("sh", "-c", f"ls {alice.home}/.local/state/mltoken").ok().out.split() == ["lock", "me.sealed", "state"]
    alice("systemctl", "--user", "restart", "mltoken-agent.service").ok()
    codes = authority.count("device")
    after = alice.mltoken("get", "me").ok().out
    assert after != before and agent_pid(alice) != pid
    assert authority.count("device") == codes, "no person was asked"
    status = alice.mltoken("status", "--json").ok().json()
    assert status["profiles"][0]["state"] == "ready" and status["agent"]["store"].startswith("file")


def test_it_ends_with_the_person(machine, bob, authority):
    """With no session and no lingering nothing is left: no agent, no socket."""
    bob.config({"p": with_secret(bob, authority)})
    bob("sh", "-c", "systemctl --user enable --now mltoken-agent.socket && mltoken get p").ok()
    wait_until(lambda: bob.agents() == [])
    wait_until(lambda: not machine.exists(f"/run/user/{bob.uid}"))
    bob.mltoken("get", "p").ok()  # at the next login it is there again


def test_one_that_the_command_started_stays_as_programs_in_the_background_do(machine, bob, authority):
    """logind leaves it alone (KillUserProcesses=no) and keeps the runtime directory for it: the next login finds it. It
    ends with its socket."""
    bob.config({"p": with_secret(bob, authority)})
    token = bob.mltoken("get", "p").ok().out
    assert machine.unit("mltoken-agent.socket", "ActiveState", "bob") == "inactive"
    agents = bob.agents()
    assert len(agents) == 1 and bob.mltoken("get", "p").ok().out == token and bob.agents() == agents
    machine.run("rm", bob.socket).ok()
    wait_until(lambda: bob.agents() == [])
    wait_until(lambda: not machine.exists(f"/run/user/{bob.uid}"))


def test_nobody_else_gets_in(machine, alice, bob, authority):
    alice.config({"p": with_secret(alice, authority)})
    enable(alice)
    alice.mltoken("get", "p").ok()
    for name in ("agent.sock", "get.sock"):
        path = alice.socket.replace("agent.sock", name)
        assert bob.mltoken("--socket", path, "get", "p").code != 0
        assert machine.run("stat", "-c", "%a %U", path).ok().out == "600 alice\n"
    assert machine.run("stat", "-c", "%a %U", os.path.dirname(alice.socket)).ok().out == "700 alice\n"
    # root opens the door, and is still refused: by the command, and by the agent
    assert machine.run("mltoken", "--socket", alice.socket, "get", "p").code != 0
    assert machine.ask_raw(alice.socket) == "b''\n"
    assert authority.count("token") == 1


def test_a_hung_agent_is_replaced(machine, alice, authority):
    alice.config({"p": with_secret(alice, authority)})
    alice.drop_in("watchdog.conf", "[Service]\nWatchdogSec=12\nTimeoutStopSec=2\n")
    enable(alice)
    alice.mltoken("get", "p").ok()
    pid = agent_pid(alice)
    time.sleep(25)  # one that says nothing would be dead by now
    assert agent_pid(alice) == pid and machine.unit("mltoken-agent.service", "NRestarts", "alice") == "0"
    machine.run("kill", "-STOP", str(pid)).ok()
    wait_until(lambda: machine.unit("mltoken-agent.service", "NRestarts", "alice") == "1")
    alice.mltoken("get", "p").ok()
    assert agent_pid(alice) != pid
    assert machine.unit("mltoken-agent.service", "NRestarts", "alice") == "1"


def test_a_killed_agent_comes_back(machine, alice, authority):
    alice.config({"p": with_secret(alice, authority)})
    enable(alice)
    alice.mltoken("get", "p").ok()
    for round_ in range(3):
        pid = agent_pid(alice)
        machine.run("kill", "-KILL", str(pid)).ok()
        alice.mltoken("get", "p").ok()  # the socket stayed with the manager
        wait_until(lambda pid=pid: agent_pid(alice) not in (0, pid))
        assert len(alice.agents()) == 1, round_


@pytest.mark.parametrize("limit,locked", [("64K", 0), ("8M", 4 << 20)])
def test_a_small_memlock_is_told(machine, alice, authority, limit, locked):
    alice.config({"p": with_secret(alice, authority)})
    alice.drop_in("memlock.conf", f"[Service]\nLimitMEMLOCK={limit}\n")
    enable(alice)
    alice.mltoken("get", "p").ok()
    assert alice.mltoken("status", "--json").ok().json()["agent"]["counters"]["lockedBytes"] == locked
    assert ("not locked in memory" in alice.mltoken("status").ok().out) == (locked == 0)
    process = machine.read(f"/proc/{agent_pid(alice)}/status")
    held = int(re.search(r"^VmLck:\s+(\d+) kB", process, re.M).group(1)) * 1024
    assert held >= locked and (locked or held <= 64 << 10)


def lock_sessions(machine, account):
    """As a desktop does: logind tells who listens. The account has a session meanwhile."""
    script = "loginctl --no-legend list-sessions | awk -v name=$1 '$3 == name { print $1 }' | xargs -r -n 1 loginctl lock-session"
    account("sh", "-c", "sleep 600 > /dev/null 2>&1 < /dev/null &").ok()  # logind keeps the session for it
    machine.run("sh", "-c", script, "sh", account.name).ok()


def test_a_locked_session_locks_the_agent(machine, alice, authority, form):
    """lock_on, with the real logind."""
    key = alice.write("keys/store", "k" * 48)
    alice.config({"p": with_secret(alice, authority)}, lock_on="session suspend", store="file", key_file=key)
    enable(alice)
    alice.mltoken("get", "p").ok()
    wait_until(lambda: "lock_on suspend session: listening" in alice.mltoken("status").out)
    alice.mltoken("lock", input="a passphrase\n").ok()
    assert alice.mltoken("get", "p").code == 8
    alice.mltoken("unlock", input="a passphrase\n").ok()
    alice.mltoken("get", "p").ok()
    lock_sessions(machine, alice)
    wait_until(lambda: alice.mltoken("get", "p").code == 8)
    alice.mltoken("unlock", input="a passphrase\n").ok()
    alice.mltoken("get", "p").ok()
