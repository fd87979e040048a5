"""mltoken-pam-import: the record that it is given, the agents that it may find, and what it says. It runs under a uid of the
test's own (a user namespace maps ours), for it finds the socket by the uid alone."""

import base64
import contextlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import pytest
from elsewhere import sign_in
from harness import PATIENCE, SANITIZER, person, program, wait_until

TOKENS = ("id_token", "access_token", "refresh_token")


def line(word, **fields):
    return word + "".join(f" {name}={base64.urlsafe_b64encode(str(value).encode()).rstrip(b'=').decode()}"
                          for name, value in fields.items() if value is not None) + "\n"


def heard(text):
    """[(word, {name: value})] of what the program says; fails on what is no line of the protocol."""
    found = []
    for one in text.splitlines():
        assert re.fullmatch(r"[a-z_]+( [A-Za-z0-9_.-]+=[A-Za-z0-9_-]*)*", one), one[:200]
        word, *fields = one.split(" ")
        pairs = [field.split("=") for field in fields]
        found.append((word, {n: base64.urlsafe_b64decode(v + "=" * (-len(v) % 4)).decode() for n, v in pairs}))
    return found


class Guest:
    """A uid, its folder for the socket, and the program that runs as it."""

    def __init__(self, home):
        self.home = home
        self.uid = random.randrange(60000, 65000)
        self.folder = f"/tmp/mltoken-{self.uid}"
        self.socket = self.folder + "/agent.sock"
        os.mkdir(self.folder, 0o700)
        self.servers = []

    def record(self, brought, profile="me", **more):
        fields = {"issuer": brought["issuer"], "client_id": brought["clientId"], "sub": "sub-alice-1",
                  "id_token": brought["idToken"], "access_token": brought["accessToken"],
                  "refresh_token": brought["refreshToken"], "expires_at": brought["expiresAt"],
                  "scopes": " ".join(brought["scopes"])}
        return line("record", version=1, uid=self.uid, service="sshd", boot_id="x", boottime_ms=1, profile=profile) + \
            line("done", **{**fields, **more})

    def command(self, *args, uid=None):
        uid = self.uid if uid is None else uid
        return ["unshare", "-U", f"--map-user={uid}", f"--map-group={uid}", program("mltoken-pam-import"), *args]

    def run(self, record="", *args, silent=False, command=None, env=None, timeout=PATIENCE):
        """Its lines. Nothing else may come of it. `silent`: it may fail without a word."""
        began = time.monotonic()
        done = subprocess.run(command or self.command(*args), input=record.encode() if isinstance(record, str) else record,
                              capture_output=True, timeout=timeout, env=self.home.env(**(env or {})))
        self.took = time.monotonic() - began
        err = done.stderr.decode("utf-8", "replace")
        assert not SANITIZER.search(err), err
        assert err == "" and done.returncode in (0, 1), (done.returncode, err)
        lines = heard(done.stdout.decode())
        assert (done.returncode == 0) == all(word != "fail" for word, _ in lines) or (silent and not lines), lines
        return lines

    def fail(self, *args, **more):
        (word, fields), = self.run(*args, **more)
        assert word == "fail" and set(fields) == {"class", "text"}, (word, fields)
        return fields["class"], fields["text"]

    def rogue(self, serve, path=None):
        """An agent of another make: serve(connection) for each that comes."""
        server = socket.socket(socket.AF_UNIX)
        server.bind(path or self.socket)
        server.listen(8)
        self.servers.append(server)
        asked = []

        def one(connection):
            with connection, contextlib.suppress(OSError):
                serve(connection, asked)

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=one, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return asked

    def end(self):
        for server in self.servers:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def guest(home):
    guest = Guest(home)
    yield guest
    guest.end()


@pytest.fixture
def setup(authority, home, guest, start_agent):
    home.config({"me": person(authority)}, {"default_profile": "me"})
    return start_agent(MLTOKEN_SOCK=guest.socket)


def call(connection):
    data = b""
    while not data.endswith(b"\0"):
        more = connection.recv(65536)
        if not more:
            raise OSError
        data += more
    return json.loads(data[:-1])


def answering(reply):
    """An agent that answers everything with these bytes."""
    def serve(connection, asked):
        asked.append(call(connection))
        connection.sendall(reply)
        connection.recv(1)
    return serve


# ---- bringing it

def test_ok(setup, authority, guest, mltoken):
    brought = sign_in(authority)
    assert guest.run(guest.record(brought)) == [("ok", {})]
    env = {"MLTOKEN_SOCK": guest.socket}
    assert mltoken("get", "me", env=env).ok().out.strip() == brought["accessToken"]
    mltoken("get", "me", "--refresh", env=env).ok()
    assert authority.requests("token", grant="refresh_token")[0].form["refresh_token"] == brought["refreshToken"]


def test_the_environment_does_not_count(setup, authority, guest, home):
    home.stores()
    elsewhere = os.path.join(home._dir("elsewhere"), "agent.sock")
    asked = guest.rogue(answering(b'{"parameters":{}}\0'), elsewhere)
    env = {"MLTOKEN_SOCK": elsewhere, "XDG_RUNTIME_DIR": home.runtime, "HOME": "/nonexistent", "TMPDIR": home.runtime,
           "MLTOKEN_CONFIG": "/nonexistent", "LC_ALL": "tr_TR.UTF-8", "TZ": ":/etc/passwd"}
    assert guest.run(guest.record(sign_in(authority)), env=env) == [("ok", {})]
    assert asked == []


@pytest.mark.parametrize("wrong", ["issuer", "client", "profile", "token", "locked"])
def test_what_the_agent_denies(setup, authority, guest, mltoken, wrong):
    brought = sign_in(authority)
    more = {"issuer": {"issuer": "https://evil.example"}, "client": {"client_id": "evil"},
            "token": {"id_token": authority.mint(forge="tampered")}}.get(wrong, {})
    if wrong == "locked":
        mltoken("lock", input="MARKlock\n", timeout=6 * PATIENCE, env={"MLTOKEN_SOCK": guest.socket}).ok()
    kind, text = guest.fail(guest.record(brought, profile="nobody" if wrong == "profile" else "me", **more))
    assert kind == ("refused" if wrong == "profile" else "denied")
    assert "evil" not in text or wrong == "profile"
    assert not any(brought[name] in text for name in ("idToken", "accessToken", "refreshToken"))


def test_without_a_profile_the_one_of_that_issuer(authority, home, guest, start_agent, mltoken):
    home.config({"svc": {"grant": "client_credentials", "authority": authority.oidc, "client_id": "svc",
                         "client_secret": home.secret("x")},
                 "other": person(authority, base=authority.oidc.replace("/oidc", "/other")), "mine": person(authority)})
    start_agent(MLTOKEN_SOCK=guest.socket)
    assert guest.run(guest.record(sign_in(authority), profile=None)) == [("ok", {})]
    mltoken("get", "mine", env={"MLTOKEN_SOCK": guest.socket}).ok()


def test_without_a_profile_and_no_way_to_tell(authority, home, guest, start_agent):
    home.config({"a": person(authority), "b": person(authority)})
    start_agent(MLTOKEN_SOCK=guest.socket)
    kind, text = guest.fail(guest.record(sign_in(authority), profile=None))
    assert kind == "refused" and "handoff_profile" in text


def test_more_than_a_call_can_hold(setup, authority, guest, mltoken):
    """The access token stays behind then, and is fetched anew."""
    brought = {**sign_in(authority), "accessToken": "x" * 40000}
    assert guest.run(guest.record(brought)) == [("ok", {})]
    fat = {**brought, "accessToken": "x" * 46000, "refreshToken": "y" * 20000, "idToken": "z" * 20}
    kind, _ = guest.fail(guest.record(fat))
    assert kind == "internal"  # longer than a line can be
    mltoken("get", "me", env={"MLTOKEN_SOCK": guest.socket}).ok()


# ---- tokens for the session, and for auth

def test_exports(setup, authority, guest):
    brought = sign_in(authority)
    lines = guest.run(guest.record(brought), "--export", "me", "--export", "nobody")
    assert lines[:2] == [("ok", {}), ("value", {"profile": "me", "token": brought["accessToken"]})]
    assert lines[2][0] == "fail" and lines[2][1]["class"] == "refused"
    assert guest.run("", "--export", "me") == [("value", {"profile": "me", "token": brought["accessToken"]})]


@pytest.mark.parametrize("value", ["x" * (16 * 1024 + 1), "a b", "a\nb", "a\u0000b", "a\u202eb", "", 7, None])
def test_a_token_that_is_none(guest, value):
    guest.rogue(answering(json.dumps({"parameters": {"token": {"value": value}}}).encode() + b"\0"))
    kind, text = guest.fail("", "--export", "me")
    assert kind == "refused" and "no plain text" in text


def test_the_longest_token(guest):
    guest.rogue(answering(json.dumps({"parameters": {"token": {"value": "x" * 16384}}}).encode() + b"\0"))
    (word, fields), = guest.run("", "--export", "me")
    assert word == "value" and len(fields["token"]) == 16384


def test_get_is_fetched_just_now(setup, authority, guest):
    brought = sign_in(authority)
    guest.run(guest.record(brought))
    (word, fields), = guest.run("", "--get", "me")
    assert word == "token" and fields["access_token"] != brought["accessToken"]
    assert authority.count("token", grant="refresh_token") == 1


# ---- records that are none

def test_records_that_are_none(setup, authority, guest):
    good = guest.record(sign_in(authority))
    head, done = good.splitlines(keepends=True)
    wrong = {
        "head alone": head, "done alone": done, "swapped": done + head, "twice": head + head, "cut": good[:-1],
        "more": good + "x\n", "more than that": good + good, "nothing": "\n\n", "garbage": "\x01\x02\n\xff\n",
        "version": good.replace(head, line("record", version=2, uid=guest.uid)),
        "uid": good.replace(head, line("record", version=1, uid=guest.uid + 1)),
        "no uid": good.replace(head, line("record", version=1)),
        "profile": good.replace(head, line("record", version=1, uid=guest.uid, profile="x" * 65)),
        "twice a field": head + done.rstrip("\n") + " " + done.split(" ")[1] + "\n",
        "base64": head + done.replace("issuer=", "issuer=*"), "a NUL": head + done.replace("client_id=", "client_id=AGEA"),
        "no token": head + line("done", issuer="x", client_id="y"),
        "scopes": head + line("done", issuer="x", client_id="y", id_token="z", scopes="s " * 65),
        "a long scope": head + line("done", issuer="x", client_id="y", id_token="z", scopes="s" * 513),
        "expires": head + line("done", issuer="x", client_id="y", id_token="z", expires_at="soon"),
        "past": head + line("done", issuer="x", client_id="y", id_token="z", expires_at="-5"),
        "issuer": head + line("done", issuer="x" * 2049, client_id="y", id_token="z"),
    }
    for name, record in wrong.items():
        kind, text = guest.fail(record)
        assert kind == "internal" and text.startswith("the record is none"), (name, text)
    assert guest.run(good) == [("ok", {})]


def test_random_records(guest, authority):
    good = guest.record(sign_in(authority)).encode()
    chance = random.Random(5)
    for _ in range(60):
        record = bytearray(good)
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(record))
            record[at:at + chance.randrange(0, 40)] = bytes(chance.randrange(256) for _ in range(chance.randrange(0, 6)))
        guest.fail(bytes(record))  # there is no agent either


def test_a_huge_record(guest):
    began = time.monotonic()
    process = subprocess.Popen(guest.command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=guest.home.env())
    with contextlib.suppress(BrokenPipeError):
        for _ in range(1 << 16):
            process.stdin.write(b"x" * 65536)
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    assert process.wait(PATIENCE) == 1 and time.monotonic() - began < PATIENCE
    assert heard(process.stdout.read().decode())[0][1]["class"] == "internal"
    process.stdout.close()


def test_a_record_that_does_not_end(guest):
    process = subprocess.Popen(guest.command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=guest.home.env())
    process.stdin.write(b"record ")
    process.stdin.flush()
    assert process.wait(PATIENCE) == 1
    assert heard(process.stdout.read().decode())[0][1]["class"] == "timeout"
    process.stdin.close()
    process.stdout.close()


@pytest.mark.parametrize("args", [["--unknown"], ["--export"], ["--export", ""], ["--get", "a", "--get", "b"],
                                  ["--get", "a", "--start"], ["x"], ["--export", "x" * 65], ["--export", "a"] * 33])
def test_arguments(guest, args):
    assert guest.fail("", *args)[0] == "internal"


# ---- agents that are none, and others

def test_no_agent(guest, authority):
    kind, text = guest.fail(guest.record(sign_in(authority)))
    assert kind == "no_agent" and guest.socket in text


def test_a_socket_that_nobody_serves(guest, authority):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(guest.socket)
    assert guest.fail(guest.record(sign_in(authority)))[0] == "no_agent"


@pytest.mark.parametrize("how", ["mode", "link", "file"])
def test_a_folder_that_somebody_else_may_have_made(guest, authority, home, how):
    asked = guest.rogue(answering(b'{"parameters":{}}\0'))
    if how == "mode":
        os.chmod(guest.folder, 0o770)
    else:
        os.rename(guest.folder, guest.folder + ".away")
        if how == "link":
            os.symlink(guest.folder + ".away", guest.folder)
        else:
            with open(guest.folder, "w", encoding="ascii"):
                pass
    try:
        assert guest.fail(guest.record(sign_in(authority)))[0] == "no_agent"
        assert asked == []
    finally:
        os.chmod(guest.folder, 0o700)
        if how != "mode":
            os.unlink(guest.folder)
            os.rename(guest.folder + ".away", guest.folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_a_server_of_another_user(guest, authority):
    """Also in a folder of ours it gets nothing: not a byte is written to it."""
    os.chmod(guest.folder, 0o777)
    code = f"""
import os, socket
os.setgid(65534); os.setuid(65534)
s = socket.socket(socket.AF_UNIX); s.bind({guest.socket!r}); s.listen(4); os.chmod({guest.socket!r}, 0o777)
print("ready", flush=True)
c, _ = s.accept()
print(len(c.recv(10)), flush=True)
"""
    server = subprocess.Popen(["/usr/bin/python3", "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout.readline() == "ready\n"
        os.chmod(guest.folder, 0o700)
        kind, text = guest.fail(guest.record(sign_in(authority)))
        assert kind == "no_agent" and "another user" in text
        assert server.stdout.readline() == "0\n"
    finally:
        server.kill()
        server.wait()
        server.stdout.close()


def test_an_agent_that_says_nothing(guest, authority):
    guest.rogue(lambda connection, asked: connection.recv(1 << 20) and time.sleep(PATIENCE))
    assert guest.fail(guest.record(sign_in(authority)))[0] == "timeout"
    assert 2.5 < guest.took, "it gave up at once"


def test_an_agent_that_accepts_nobody(guest, authority):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(guest.socket)
        server.listen(0)
        waiting = []
        for _ in range(4):
            waiting.append(socket.socket(socket.AF_UNIX))
            waiting[-1].setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting[-1].connect(guest.socket)
        assert guest.fail(guest.record(sign_in(authority)))[0] == "timeout"
        for one in waiting:
            one.close()


def dribble(connection, asked):
    asked.append(call(connection))
    for byte in b'{"parameters":{}' + b" " * 1000:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def flood(connection, asked):
    asked.append(call(connection))
    while True:
        connection.sendall(b"x" * 65536)


ROGUES = {
    "dribble": (dribble, "timeout"), "flood": (flood, "refused"),
    "eof": (lambda c, a: a.append(call(c)), "refused"),
    "garbage": (answering(b"\xff\xfe\0"), "refused"),
    "not json": (answering(b"{\0"), "refused"),
    "array": (answering(b"[]\0"), "refused"),
    "deep": (answering(b'{"parameters":' + b'{"a":' * 100 + b"1" + b"}" * 100 + b"}\0"), "refused"),
    "huge": (answering(b'{"parameters":{"a":"' + b"x" * 300000 + b'"}}\0'), "refused"),
    "parameters": (answering(b'{"parameters":7}\0'), "refused"),
    "continues": (answering(b'{"parameters":{},"continues":true}\0'), "refused"),
    "error": (answering(b'{"error":7}\0'), "refused"),
    "unknown": (answering(b'{"error":"x.y.Z","parameters":{"reason":"' + b"x" * 100000 + b'"}}\0'), "refused"),
    "words": (answering(json.dumps({"error": "org.mltoken.agent.Denied", "parameters": {
        "reason": "%n%s\x1b[31m\u202e\r\nok\n" + "y" * 9000}}).encode() + b"\0"), "denied"),
    "old": (answering(b'{"error":"org.varlink.service.MethodNotFound","parameters":{"method":"x"}}\0'), "refused"),
}


@pytest.mark.parametrize("how", ROGUES)
def test_rogue_agents(guest, authority, how):
    """One of the same user may say what it wants: it is bounded, cleaned, and no `ok`."""
    serve, kind = ROGUES[how]
    asked = guest.rogue(serve)
    found, text = guest.fail(guest.record(sign_in(authority)))
    assert found == kind and len(text) < 2000, (found, text)
    assert text.isprintable() and "\u202e" not in text
    assert [a["method"] for a in asked] == ["org.mltoken.agent.Import"]


def test_a_rogue_that_says_yes_authorises_nothing(guest, authority):
    """It gets what its own user has: an ok of it only means that it has taken it."""
    guest.rogue(answering(b'{"parameters":{"uid":0,"ok":["root"]}}\0'))
    assert guest.run(guest.record(sign_in(authority))) == [("ok", {})]


def test_endless_lists_of_profiles(guest, authority):
    def serve(connection, asked):
        asked.append(call(connection))
        while True:
            connection.sendall(b'{"parameters":{"profile":{"name":"a","grant":"device_code","signsIn":true}},"continues":true}\0')

    guest.rogue(serve)
    assert guest.fail(guest.record(sign_in(authority), profile=None))[0] in ("timeout", "refused")


# ---- starting one

@pytest.fixture
def known(guest, home):
    """A user database that has the uid: the beginning of a command line."""
    home.write("passwd", f"root:x:0:0:root:/root:/bin/sh\nguest:x:{guest.uid}:{guest.uid}::{home.home}:/bin/sh\n", mode=0o644)
    mount = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    return [*mount, "sh", "-c", f'mount --bind {home.home}/passwd /etc/passwd && exec "$0" "$@"']


def processes(name, folder):
    """Pids of programs of that name that have the folder's socket open, by what they were told."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/comm", encoding="ascii") as f:
                if f.read().strip() != name:
                    continue
            with open("/proc/" + pid + "/net/unix", encoding="ascii") as f:
                if folder not in f.read():
                    continue
            status = open(f"/proc/{pid}/uid_map", encoding="ascii").read().split()
            if status[0] == folder.rpartition("-")[2]:
                found.append(int(pid))
    return found


def test_start(guest, authority, home, known):
    home.config({"me": person(authority)}, {"store": "memory"})
    kept = {"SSLKEYLOGFILE": home.home + "/keys", "https_proxy": "http://127.0.0.1:9", "LD_DEBUG_OUTPUT": home.home + "/ld",
            "MLTOKEN_CONFIG": "/nonexistent", "SECRET_OF_ROOT": "x", "XDG_CONFIG_HOME": "/nonexistent"}
    brought = sign_in(authority)
    lines = guest.run(guest.record(brought), command=known + guest.command("--start", "--export", "me"), env=kept, timeout=60)
    pids = processes("mltoken-agent", guest.folder)
    try:
        assert lines == [("ok", {}), ("value", {"profile": "me", "token": brought["accessToken"]})]
        assert pids, "no agent runs"
        for pid in pids:
            with open(f"/proc/{pid}/environ", "rb") as f:
                told = f.read()
            assert b"SECRET_OF_ROOT" not in told and b"SSLKEYLOGFILE" not in told and b"nonexistent" not in told
            assert os.getsid(pid) != os.getsid(0) and os.readlink(f"/proc/{pid}/cwd") == "/"
        assert guest.run("", "--export", "me") == [("value", {"profile": "me", "token": brought["accessToken"]})]
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not processes("mltoken-agent", guest.folder))
    assert not os.path.exists(home.home + "/keys")


def test_start_of_a_user_that_there_is_not(guest, authority):
    kind, text = guest.fail(guest.record(sign_in(authority)), "--start")
    assert kind == "no_agent" and "user database" in text


def test_no_start_where_one_runs(setup, guest, authority):
    before = len(processes("mltoken-agent", guest.folder))
    assert guest.run(guest.record(sign_in(authority)), "--start") == [("ok", {})]
    assert len(processes("mltoken-agent", guest.folder)) == before


# ---- what it leaves

@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_nobody_looks_into_it(guest):
    """Its memory and its core are closed to the person's other programs."""
    os.chmod(guest.folder, 0o755)
    copy = shutil.copy(program("mltoken-pam-import"), guest.folder)
    process = subprocess.Popen(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", copy],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=guest.home.env())

    def closed():
        """It is the program itself by now, and its files in /proc are root's, as those of all that have ended are."""
        assert process.poll() is None
        with open(f"/proc/{process.pid}/comm", encoding="ascii") as f, open(f"/proc/{process.pid}/limits", encoding="ascii") as g:
            program_name, core = f.read().strip(), re.search(r"Max core file size\s+(\S+)\s+(\S+)", g.read())
        owner = os.stat(f"/proc/{process.pid}/environ").st_uid
        return program_name == "mltoken-pam-imp" and core.groups() == ("0", "0") and owner == 0 and process.poll() is None

    wait_until(closed)
    process.stdin.close()
    process.wait(PATIENCE)
    process.stdout.close()


def test_no_token_on_its_command_line_or_in_what_it_says(setup, authority, guest):
    brought = sign_in(authority)
    said = json.dumps([guest.run(guest.record(brought)), guest.fail(guest.record(brought, client_id="x"))])
    assert not any(secret in said for secret in authority.secrets())
