"""Those who mean ill: the environment, the authority's words, and where its documents point. Issue row 9."""

import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
from harness import Varlink, person, program, service, wait_until

NASTY = "a\u001b[2Jb\u0007c\u202ed\u2066e\u200ff\r\ng\u0085h\u0000i\u009b31mj\u2028k\u007fl"
BAD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]")


class Listener:
    """A TCP port that notes who comes."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.seen = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            client.settimeout(2)
            try:
                self.seen.append(client.recv(4096))
            except OSError:
                self.seen.append(b"")
            client.close()

    def close(self):
        self.socket.close()


@pytest.fixture
def listener():
    listener = Listener()
    yield listener
    listener.close()


# The environment

def agent_pid(home):
    with Varlink(home.socket) as v:
        return v.call("Status")["pid"]


def end_autostarted(home):
    pid = agent_pid(home)
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not os.path.exists(home.socket))


def test_a_hostile_environment_at_autostart(authority, home, mltoken, listener):
    keylog = os.path.join(home.path, "keylog")
    preload_mark = os.path.join(home.path, "preloaded")
    source = home.write("evil.c", '#include <fcntl.h>\n#include <stdio.h>\n#include <string.h>\n__attribute__((constructor)) '
                        'static void go(void) { char n[4096] = ""; int f = open("/proc/self/comm", O_RDONLY); '
                        'if (f >= 0) { FILE *s = fdopen(f, "r"); if (!fgets(n, sizeof n, s)) n[0] = 0; } '
                        f'FILE *o = fopen("{preload_mark}", "a"); if (o) {{ fputs(n, o); fclose(o); }} }}\n')
    library = os.path.join(home.path, "evil.so")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    proxy = f"http://127.0.0.1:{listener.port}"
    home.config({"tls": service(authority, home, base=authority.https + "/oidc", ca_file=authority.ca_file),
                 "p": service(authority, home)})
    env = {"MLTOKEN_NO_AUTOSTART": None, "SSLKEYLOGFILE": keylog, "http_proxy": proxy, "HTTP_PROXY": proxy,
           "https_proxy": proxy, "HTTPS_PROXY": proxy, "all_proxy": proxy, "ALL_PROXY": proxy, "LD_LIBRARY_PATH": None,
           "LD_AUDIT": library, "CURL_CA_BUNDLE": "/nonexistent", "SSL_CERT_FILE": "/nonexistent",
           "SSL_CERT_DIR": "/nonexistent", "OPENSSL_CONF": "/nonexistent", "CURL_HOME": home.path, "NETRC": "/nonexistent",
           "MALLOC_TRACE": os.path.join(home.path, "trace"), "RES_OPTIONS": "debug", "HOSTALIASES": "/nonexistent",
           "GCONV_PATH": home.path, "NLSPATH": home.path, "TMPDIR": home.path + "/tmp-none", "SECRET_OF_OTHERS": "leakMARK"}
    home.write(".curlrc", f'proxy = "{proxy}"\n')
    home.write(".netrc", "machine 127.0.0.1 login x password y\n")
    try:
        mltoken("get", "tls", env=env).ok()
        mltoken("get", "p", env=env).ok()
        pid = agent_pid(home)
        with open(f"/proc/{pid}/environ", "rb") as f:
            names = {e.partition(b"=")[0].decode() for e in f.read().split(b"\0") if e}
        assert not names & {"SSLKEYLOGFILE", "https_proxy", "ALL_PROXY", "LD_AUDIT", "SECRET_OF_OTHERS", "CURL_CA_BUNDLE"}
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
        for fd in os.listdir(f"/proc/{pid}/fd"):
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
            assert not target.startswith(home.path) or target.startswith(home.runtime), target
        with open(f"/proc/{pid}/maps", encoding="utf-8") as f:
            assert library not in f.read()
        # all that connected went to the authority directly
        assert listener.seen == [] and authority.proxied == []
        assert not os.path.exists(keylog)
    finally:
        end_autostarted(home)


def test_a_preloaded_library_is_gone_from_the_agent(authority, home, mltoken):
    source = home.write("pre.c", "int preloaded_mark = 7;\n")
    library = os.path.join(home.path, "pre.so")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    home.config({"p": service(authority, home)})
    try:
        # the second is for sanitizer builds, whose runtime wants to be the first library
        env = {"MLTOKEN_NO_AUTOSTART": None, "LD_PRELOAD": library, "ASAN_OPTIONS": "verify_asan_link_order=0"}
        mltoken("get", "p", env=env).ok()
        pid = agent_pid(home)
        with open(f"/proc/{pid}/maps", encoding="utf-8") as f:
            assert library not in f.read()
    finally:
        end_autostarted(home)


def test_a_foreign_runtime_directory_at_autostart(authority, home, mltoken):
    """Nothing is made in it."""
    home.config({"p": service(authority, home)})
    foreign = os.path.join(home.path, "foreign")
    os.mkdir(foreign, 0o777)
    os.chown(foreign, 12345, 12345)
    other = os.path.join(home.path, "own", "agent.sock")
    os.mkdir(os.path.dirname(other), 0o700)
    env = {"MLTOKEN_NO_AUTOSTART": None, "XDG_RUNTIME_DIR": foreign, "MLTOKEN_SOCK": other}
    try:
        mltoken("get", "p", env=env).ok()
        assert os.listdir(foreign) == []
    finally:
        with Varlink(other) as v:
            os.kill(v.call("Status")["pid"], signal.SIGTERM)
        wait_until(lambda: not os.path.exists(other))


def test_the_path_chooses_no_program(authority, home, mltoken):
    """The agent is executed by its own path, never through PATH."""
    mark = os.path.join(home.path, "pwned")
    directory = os.path.dirname(home.write("evilbin/mltoken-agent", f"#!/bin/sh\ntouch {mark}\n", 0o700))
    home.config({"p": service(authority, home)})
    try:
        mltoken("get", "p", env={"MLTOKEN_NO_AUTOSTART": None, "PATH": f"{directory}:/usr/bin:/bin"}, cwd=directory).ok()
        assert not os.path.exists(mark)
    finally:
        end_autostarted(home)


# Where documents point

FOREIGN = ["http://{host}/oidc/token", "https://evil.example/token", "https://127.0.0.1.evil.example/token",
           "http://127.0.0.1:{port}/oidc/token", "http://localhost:{port}/oidc/token", "https://[::1]:{port}/token",
           "https://{host}@evil.example/token", "//evil.example/token", "ftp://{host}/token", "https://169.254.169.254/token",
           "https://localhost.evil.example/token", "https://evil.example/\u202e", "https://{host}\r\nX: y/token",
           "https://{host} .evil.example/", "https://evil.example#@{host}/", "https://evil.example\\@{host}/"]


@pytest.mark.parametrize("template", FOREIGN)
def test_an_https_document_cannot_send_a_secret_elsewhere(authority, home, start_agent, mltoken, listener, template):
    host = authority.https.partition("://")[2]
    address = template.format(host=host, port=listener.port)
    authority.set_metadata(token_endpoint=address, device_authorization_endpoint=address)
    tls = {"base": authority.https + "/oidc", "ca_file": authority.ca_file}
    home.config({"p": service(authority, home, **tls), "me": person(authority, **tls)})
    start_agent()
    result = mltoken("get", "p")
    assert result.code in (3, 5, 6), result
    assert not BAD.search(result.failed(result.code).rstrip("\n"))
    result = mltoken("login", "me", "--json")
    assert result.code in (3, 5, 6), result
    assert listener.seen == []
    assert authority.count("token") == authority.count("device") == authority.count("unknown") == 0


def test_a_jwks_elsewhere_is_not_believed(authority, home, start_agent, mltoken, listener):
    authority.set_metadata(jwks_uri=f"http://127.0.0.1:{listener.port}/jwks")
    home.config({"me": person(authority, base=authority.https + "/oidc", ca_file=authority.ca_file)})
    start_agent()
    authority.set_client("device", auto_approve="alice")
    assert mltoken("login", "me", "--json").code in (3, 5, 6)
    assert listener.seen == []


# Words of the authority

def clean(*texts):
    for text in texts:
        found = BAD.search(text.replace("\n", "").replace("\t", ""))
        assert not found, f"{found.group(0)!r} in {text!r}"


def shown(result):
    """One line of error; a CR or LF in the authority's words has not made two."""
    assert result.err.count("\n") <= 1, result.err
    clean(result.out, result.err)
    return result


FIELDS = ("error", "error_description", "error_uri", "trace_id", "correlation_id", "suberror", "timestamp")


@pytest.mark.parametrize("status", [400, 401, 200, 503])
def test_escapes_in_errors(authority, home, start_agent, mltoken, varlink, status):
    home.config({"p": service(authority, home)})
    agent = start_agent()
    authority.fault("token", status=status, error={name: NASTY for name in FIELDS})
    result = shown(mltoken("get", "p"))
    assert result.code in (5, 6)
    shown(mltoken("status"))
    shown(mltoken("status", "p"))
    shown(mltoken("status", "p", "--json"))
    clean(mltoken("doctor").out)
    clean(agent.log())
    error = varlink().error("GetToken", profile="p")
    assert "\u0000" not in json.dumps(error.parameters, ensure_ascii=False)


@pytest.mark.parametrize("length", [511, 512, 513, 100_000])
def test_long_words_are_cut(authority, home, start_agent, mltoken, length):
    home.config({"p": service(authority, home)})
    start_agent()
    authority.fault("token", error={"error": "e" * length, "error_description": "d" * length, "trace_id": "t" * length})
    err = mltoken("get", "p").failed(5)
    assert len(err) < 2500


def test_escapes_in_the_reason_phrase_and_headers(authority, home, start_agent, mltoken):
    home.config({"p": service(authority, home)})
    start_agent()
    authority.fault("token", status=429, raw_headers="Retry-After: \x1b[2J\r\nX: \x9b31m\r\n")
    shown(mltoken("get", "p"))


DEVICE_FIELDS = ("user_code", "verification_uri_complete", "message", "verification_uri")


@pytest.mark.parametrize("field", DEVICE_FIELDS)
def test_escapes_in_a_device_answer(authority, home, start_agent, mltoken, field):
    home.config({"me": person(authority)})
    agent = start_agent()
    value = "https://127.0.0.1/" + NASTY if "uri" in field else NASTY
    authority.set_client("device", device_extra={field: value}, auto_approve="alice")
    for args in ((), ("--json",), ("--no-qr",)):
        result = mltoken.finish(mltoken.start("login", "me", *args))
        clean(result.out, result.err)
        if field == "verification_uri":
            assert result.code in (4, 5), result
    clean(agent.log())


@pytest.mark.parametrize("field, length", [("user_code", 100_000), ("message", 100_000), ("verification_uri_complete", 100_000),
                                           ("device_code", 100_000), ("verification_uri", 100_000)])
def test_long_device_answers_are_bounded(authority, home, start_agent, mltoken, field, length):
    home.config({"me": person(authority)})
    agent = start_agent()
    value = ("https://127.0.0.1/" if "uri" in field else "") + "x" * length
    authority.set_client("device", device_extra={field: value}, auto_approve="alice")
    result = mltoken.finish(mltoken.start("login", "me", "--json"))
    assert len(result.out) + len(result.err) < 20_000
    assert agent.alive()


def test_escapes_in_claims(authority, home, start_agent, mltoken):
    nasty = NASTY.replace("\u0000", "")
    authority.set_user("alice", email=nasty, full_name=nasty, claims={"upn": nasty, "preferred_username": nasty})
    authority.set_client("device", auto_approve="alice", access_token_claims={"name": nasty, "roles": [nasty]})
    home.config({"me": person(authority)})
    agent = start_agent()
    clean(*[getattr(mltoken("login", "me", *args), part) for args in ((), ("--json",)) for part in ("out", "err")])
    for command in (("status",), ("status", "me"), ("status", "--json"), ("show", "me"), ("show", "me", "--json"),
                    ("show", "me", "--remote"), ("get", "me", "--json")):
        shown(mltoken(*command))
    clean(agent.log())


def test_escapes_from_a_client_do_not_reach_the_log(authority, home, start_agent, varlink):
    home.config({"p": service(authority, home)})
    agent = start_agent()
    v = varlink()
    for parameters in ({"profile": NASTY}, {"profile": "p", "application": NASTY}, {"profile": "p", "scopes": [NASTY]},
                       {"profile": "p", NASTY: 1}):
        try:
            v.error("GetToken", **parameters)
        except (EOFError, OSError):
            v = varlink()
    try:
        v.error("org.mltoken.agent." + NASTY)
    except (EOFError, OSError):
        pass
    clean(agent.log())


def test_arguments_are_cleaned_too(authority, home, start_agent, mltoken):
    home.config({"p": service(authority, home)})
    start_agent()
    nasty = NASTY.replace("\u0000", "")
    for args in (("get", nasty), ("get", "p", "--" + nasty), (nasty,), ("status", nasty), ("--socket", "/" + nasty, "status")):
        result = mltoken(*args)
        assert result.code in (2, 3, 7)
        shown(result)


# A server that is not the agent

class FakeAgent:
    """Answers each call with given bytes."""

    def __init__(self, path, answer):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        os.chmod(path, 0o600)
        self.socket.listen()
        self.answer = answer
        self.closed = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                client, _ = self.socket.accept()
                client.recv(65536)
                if self.answer is not None:
                    client.sendall(self.answer)
                    time.sleep(0.3)
                else:
                    self.closed.wait()
                client.close()
            except OSError:
                if self.socket.fileno() < 0:
                    return

    def close(self):
        self.closed.set()
        self.socket.close()


ANSWERS = [b"", b"\0", b"x\0", b"{}\0", b"[]\0", b'{"parameters":{}}\0', b'{"parameters":{"token":7}}\0',
           b'{"parameters":{"token":{"value":"a\\u0000b"}}}\0', b'{"parameters":{"token":{"value":7}}}\0',
           b'{"parameters":{"token":{"profile":"p","value":"a\\u001b[2J","type":"Bearer","header":"x"}}}\0',
           b'{"error":7}\0', b'{"error":"org.mltoken.agent.Busy"}\0', b'{"error":"org.example.\\u001b[2J","parameters":{}}\0',
           b'{"error":"org.mltoken.agent.LoginRequired","parameters":{"profile":"\\u001b[2J\\u202e","reason":"\\r\\n\\n"}}\0',
           b"x" * 300_000 + b"\0", b'{"parameters":' + b"[" * 50_000 + b"]" * 50_000 + b"}\0", b'{"parameters":{"token"']


@pytest.mark.parametrize("answer", ANSWERS, ids=range(len(ANSWERS)))
def test_a_strange_agent(home, mltoken, answer):
    fake = FakeAgent(home.socket, answer)
    try:
        for command in (("get", "p"), ("get", "p", "--json"), ("status",), ("show", "p"), ("logout", "p")):
            result = mltoken(*command, timeout=40)
            # members of a reply may be absent for a command that can do without; a token may not
            lenient = command[0] != "get" and answer.startswith((b'{"parameters":{', b"{}")) or command[0] == "status"
            assert result.code not in (0, 2) or lenient, (command, result)
            clean(result.out, result.err)
            if result.code:
                clean(result.failed(result.code))
    finally:
        fake.close()


def test_a_mute_agent_costs_the_timeout_only(home, mltoken):
    fake = FakeAgent(home.socket, None)
    try:
        started = time.monotonic()
        mltoken("get", "p", "--timeout", "1").failed(6)
        assert time.monotonic() - started < 25  # without it: 30 s
    finally:
        fake.close()


def test_programs_link_what_they_may():
    """The agent has no GLib and no libsystemd; the command has no TLS."""
    for name, banned in (("mltoken-agent", ("libglib", "libsystemd", "libsecret")),
                         ("mltoken", ("libcurl", "libssl", "libcrypto", "libglib", "libsystemd"))):
        needed = subprocess.run(["readelf", "-d", program(name)], capture_output=True, text=True, check=True).stdout
        for library in banned:
            assert library not in needed, (name, library)
