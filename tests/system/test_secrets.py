"""No secret and no token where none belongs: logs, process tables, memory, core dumps. Issue row 7."""

import os
import re
import shlex
import subprocess
import time

import pytest
from authority.store import SECRET_PLAIN
from harness import Varlink, person, program, service, wait_until


def read(path):
    with open(path, "rb") as f:
        return f.read()


def all_secrets(authority, *more):
    found = [s for s in authority.secrets() + list(more) if len(s) >= 8]
    return set(found) | {f for s in found for f in s.split(".") if len(f) > 40}


def test_no_log_names_a_secret(authority, home, start_agent, mltoken, varlink):
    """Every flow, good and bad, with debug on; then each secret used is looked for."""
    tenant = "c0470500-0000-4000-8000-00000000c050"
    troubles = [{"status": 500}, {"html": True}, {"reset": "body"}, {"set": {"token_type": "DPoP"}}, {"invalid_json": True},
                {"error": {"error": "invalid_request", "error_description": "you sent what you sent"}}]
    home.config({
        **{f"trouble{i}": service(authority, home, f"load-{10 + i}") for i in range(len(troubles))},
        "basic": service(authority, home, client_auth="client_secret_basic"),
        "post": service(authority, home, "svc-post", client_auth="client_secret_post"),
        "odd": service(authority, home, "svc odd:id/+%"),
        "opaque": service(authority, home, "load-1"), "wrong": service(authority, home, "load-2", secret="WRONGsecretMARK"),
        "env": {**service(authority, home), "client_secret": "env:SVC_SECRET"},
        "command": {**service(authority, home), "client_secret": "command:" + home.write(
            "bin/give", f"#!/bin/sh\necho {SECRET_PLAIN}\n", 0o700)},
        "me": person(authority), "conf": person(authority, "device-conf", client_secret=home.secret(SECRET_PLAIN)),
        "v2": person(authority, "native", base=f"{authority.http}/{tenant}/v2.0", dialect="entra"),
        "tls": service(authority, home, base=authority.https + "/oidc", ca_file=authority.ca_file)})
    agent = start_agent(SVC_SECRET=SECRET_PLAIN)
    for client in ("device", "device-conf", "native"):
        authority.set_client(client, auto_approve="alice")
    output = ""
    for name in ("basic", "post", "odd", "opaque", "env", "command", "tls"):
        mltoken("get", name).ok()
        mltoken("get", name, "--refresh").ok()
        output += mltoken("show", name).out
    output += mltoken("get", "wrong").failed(5)
    for name in ("me", "conf", "v2"):
        done = mltoken("login", name, "--json").ok()
        output += done.err
        mltoken("get", name, "--refresh").ok()
        mltoken("show", name, "--remote")
    for members in troubles:
        fault = authority.fault("token", **members)
        name = f"trouble{troubles.index(members)}"
        output += mltoken("get", name).err + mltoken("get", "me", "--refresh").err + mltoken("status", name).out
        authority.clear_faults()
        assert fault.hits
    mltoken("verify", "--profile", "me", input=authority.mint())
    with Varlink(home.socket) as v:
        v.raw(b'{"method":"org.mltoken.agent.Answer","parameters":{"session":"x","value":"typedMARKpassword"}}\0')
        v.receive()
    with Varlink(home.socket) as v:
        v.raw(b'{"method":"org.mltoken.agent.SetSecret","parameters":{"profile":"basic","name":"client_secret",'
              b'"value":"typedMARKpassword"}}\0')
        v.receive()
    for name in ("me", "conf", "v2"):
        mltoken("logout", name)
    output += mltoken("status").out + mltoken("doctor").out
    agent.process.send_signal(10)  # a stray SIGUSR1 dumps nothing
    time.sleep(0.2)
    log = agent.log()
    assert len(log.splitlines()) > 20, "debug is on, so something must have been logged"
    for secret in all_secrets(authority, "WRONGsecretMARK", "typedMARKpassword"):
        assert secret not in log, f"{secret[:20]}... in the log"
        assert secret not in output, f"{secret[:20]}... in the output"
    assert "half-a-token" not in log and "half-a-token" not in output


def test_the_test_above_would_notice(authority, home, start_agent, mltoken):
    """The secrets are known and in the token: the needle is there when it is looked for."""
    home.config({"p": service(authority, home, "load-1")})
    start_agent()
    out = mltoken("get", "p").out
    assert any(secret in out for secret in all_secrets(authority))


def test_no_command_line_or_environment_has_a_secret(authority, home, start_agent, mltoken):
    seen = os.path.join(home.path, "seen")
    script = home.write("bin/give", f"#!/bin/sh\ntr '\\0' '\\n' < /proc/$PPID/environ > {seen}.parent\nenv > {seen}\n"
                                    f"ls -l /proc/$$/fd > {seen}.fd\necho {SECRET_PLAIN}\n", 0o700)
    other = "envMARKsecret-of-another-profile"
    home.config({"p": {**service(authority, home), "client_secret": f"command:{script}"},
                 "q": {**service(authority, home, "load-1"), "client_secret": "env:OTHER_SECRET"}, "me": person(authority)})
    agent = start_agent(OTHER_SECRET=other, UNRELATED="unrelatedMARK")
    authority.set_client("device", auto_approve="alice")
    mltoken("login", "me", "--json").ok()
    mltoken("get", "p").ok()
    children = subprocess.run(["pgrep", "-P", str(agent.pid)], capture_output=True, text=True, check=False).stdout.split()
    for pid in [str(agent.pid), *children]:
        found = read(f"/proc/{pid}/cmdline")
        for secret in all_secrets(authority, other):
            assert secret.encode() not in found
    with open(seen, encoding="utf-8") as f:
        environment = f.read()
    assert other not in environment and "unrelatedMARK" not in environment
    with open(seen + ".fd", encoding="utf-8") as f:
        descriptors = f.read()
    assert "socket:" not in descriptors, descriptors


def test_exec_gives_what_was_asked_for_and_no_more(authority, home, start_agent, mltoken):
    home.config({"p": service(authority, home, "load-1"), "q": service(authority, home, "load-2")})
    start_agent()
    tokens = {name: mltoken("get", name).out.strip() for name in "pq"}
    result = mltoken("exec", "p", "--env", "T", "--", "sh", "-c", "env; tr '\\0' ' ' < /proc/$PPID/cmdline").ok()
    assert f"T={tokens['p']}\n" in result.out
    assert result.out.count(tokens["p"]) == 1 and tokens["q"] not in result.out


def refresh_token_of(authority):
    family = list(authority.store.families.values())[-1]
    return family.current


sanitized = pytest.mark.skipif(bool(os.environ.get("MLTOKEN_SAN")), reason="a sanitizer keeps what was freed in quarantine")


@sanitized
def test_memory_holds_no_refresh_token_after_logout(authority, home, start_agent, mltoken):
    assert os.getuid() == 0, "needs root to read the agent's memory"
    home.config({"me": person(authority)})
    agent = start_agent()
    authority.set_client("device", auto_approve="alice", token_format="opaque")
    mltoken("login", "me", "--json").ok()
    used = [refresh_token_of(authority)]
    mltoken("get", "me", "--refresh").ok()
    used.append(refresh_token_of(authority))
    access = list(authority.store.access_tokens)
    codes = [c.code for c in authority.device_codes()]
    assert used[0] != used[1]
    assert agent.memory_has(used[1].encode()), "the scan works: the token in use is found"
    assert not agent.memory_has(used[0].encode()), "a refresh token that was used up"
    assert not agent.memory_has(codes[0].encode()), "a device code that was used up"
    mltoken("logout", "me").ok()
    for name, secrets in (("refresh", used), ("device code", codes), ("access", access)):
        for secret in secrets:
            # a core of the needle: half of it is as bad
            where = agent.memory_has(secret[8:-8].encode())
            assert not where, f"{name} token in {where}"


@sanitized
def test_memory_holds_no_client_secret_after_use(authority, home, start_agent, mltoken):
    home.config({"p": service(authority, home, client_auth="client_secret_post"), "q": service(authority, home, "svc-basic")})
    agent = start_agent()
    for name in "pq":
        mltoken("get", name).ok()
    wait_until(lambda: not agent.memory_has(SECRET_PLAIN.encode()), 5)
    assert not agent.memory_has(b"secretMARKodd")


def test_the_agent_cannot_be_dumped_or_traced(authority, home, start_agent):
    home.config({"p": service(authority, home)})
    agent = start_agent()
    assert os.stat(f"/proc/{agent.pid}/mem").st_uid == 0  # not dumpable: owned by root, whoever runs it
    limits = read(f"/proc/{agent.pid}/limits").decode()
    assert re.search(r"Max core file size\s+0\s+0", limits)
    status = read(f"/proc/{agent.pid}/status").decode()
    assert re.search(r"^Umask:\s+0077$", status, re.M)
    assert re.search(r"^Threads:\s+1$", status, re.M) or "Threads" in status


def test_another_process_of_the_user_cannot_read_its_memory(authority, home):
    """As an ordinary user, which root is not."""
    uid = 12345
    home.config({"p": service(authority, home)})
    for path, _, files in os.walk(home.path):
        os.chown(path, uid, uid)
        for name in files:
            os.chown(os.path.join(path, name), uid, uid)
    from harness import Agent

    class AsUser(Agent):
        def start(self, wait=True):
            with open(self.log_path, "ab") as log:
                from harness import program
                self.process = subprocess.Popen([program("mltoken-agent"), *self.args], env=self.environment, cwd="/",
                                                stdin=subprocess.DEVNULL, stdout=log, stderr=log, user=uid, group=uid,
                                                extra_groups=[])
            return self

    agent = AsUser(home).start()
    try:
        wait_until(lambda: os.path.exists(home.socket) or agent.process.poll() is not None)
        assert agent.alive(), agent.log()
        done = subprocess.run(["cat", f"/proc/{agent.pid}/environ"], user=uid, group=uid, extra_groups=[],
                              capture_output=True, check=False)
        assert done.returncode != 0 and done.stdout == b""
        done = subprocess.run(["dd", f"if=/proc/{agent.pid}/mem", "bs=1", "count=1", "status=none"], user=uid, group=uid,
                              extra_groups=[], capture_output=True, check=False)
        assert done.returncode != 0
    finally:
        agent.stop()


ARENA = 4 << 20  # LIMIT_ARENA


def locked_kib(pid):
    return int(re.search(r"^VmLck:\s+(\d+) kB", read(f"/proc/{pid}/status").decode(), re.M).group(1))


@pytest.mark.skipif(bool(os.environ.get("MLTOKEN_SAN")), reason="mlock() does nothing under a sanitizer")
def test_secrets_are_locked_in_memory(authority, home, start_agent, mltoken):
    home.config({"p": service(authority, home)})
    agent = start_agent()
    assert locked_kib(agent.pid) * 1024 >= ARENA
    assert mltoken("status", "--json").json()["agent"]["counters"]["lockedBytes"] == ARENA
    assert "locked in memory" not in mltoken("status").ok().out


@pytest.mark.skipif(bool(os.environ.get("MLTOKEN_SAN")), reason="mlock() does nothing under a sanitizer")
@pytest.mark.parametrize("limit", [0, 64 << 10, ARENA - 1])
def test_memory_that_cannot_be_locked_is_told(authority, home, mltoken, start_agent, limit):
    home.config({"p": service(authority, home)})
    capable = ["setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"] if os.geteuid() == 0 else []
    starter = home.write("agent-with-limit", "#!/bin/sh\n" + shlex.join(
        ["exec", *capable, "prlimit", f"--memlock={limit}:{limit}", program("mltoken-agent")]) + ' "$@"\n', 0o700)
    home.agent_program = starter
    agent = start_agent()
    assert locked_kib(agent.pid) * 1024 < ARENA
    assert mltoken("status", "--json").json()["agent"]["counters"]["lockedBytes"] == 0
    said = mltoken("status").ok().out
    assert "not locked in memory" in said and "RLIMIT_MEMLOCK" in said
    assert "not locked in memory" in agent.log()
    mltoken("get", "p").ok()


@pytest.mark.parametrize("line", ["client_secret = hunter2MARKliteral", "client_secret = stored:hunter2MARKliteral",
                                  "client_secret=hunter2MARKliteral", "password = hunter2MARKliteral",
                                  "token = hunter2MARKliteral", "client_secrt = hunter2MARKliteral"])
def test_a_literal_secret_is_refused_and_not_repeated(authority, home, start_agent, mltoken, line):
    path = home.config(text=f"[profile p]\ngrant = client_credentials\nauthority = {authority.oidc}\nclient_id = svc\n{line}\n")
    agent = start_agent()
    results = [mltoken("get", "p"), mltoken("status"), mltoken("status", "p"), mltoken("config", "check"), mltoken("doctor")]
    assert results[0].code == 3 and f"{path}:5" in results[0].err
    for text in [r.out + r.err for r in results] + [agent.log()]:
        assert "hunter2" not in text, text
