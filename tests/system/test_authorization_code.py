"""Sign-in with a browser: the loopback page and what comes back to it, the code and its exchange, and who may interfere."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.parse

import pexpect
import pytest
from authority import BrowserError, visit
from harness import PATIENCE, program, wait_until


def profile(authority, client="web", base=None, **more):
    return {"grant": "authorization_code", "authority": base or authority.oidc, "client_id": client,
            "scope": "openid offline_access", **more}


class SignIn:
    """`mltoken login --json` under way, as far as its prompt."""

    def __init__(self, mltoken, *args, **popen):
        self.mltoken = mltoken
        self.process = mltoken.start("login", *(args or ("me",)), "--json", **popen)
        line = self.process.stdout.readline()
        assert line, self.process.communicate()
        reply = json.loads(line)
        self.session, self.prompt = reply["session"], reply["prompt"]
        self.page, self.address = self.prompt["verificationUri"], self.prompt["verificationUriComplete"]
        split = urllib.parse.urlsplit(self.page)
        self.host, self.port, self.path = split.hostname, split.port, split.path
        self.query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(self.address).query))
        self.state = self.query.get("state")

    def ask(self, path, headers=None, method="GET", host=None, address=None):
        """One request to the listener: (status, headers, body)."""
        connection = http.client.HTTPConnection(address or self.host, self.port, timeout=PATIENCE)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", host or f"{self.host}:{self.port}")
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            connection.endheaders()
            reply = connection.getresponse()
            return reply.status, dict(reply.getheaders()), reply.read().decode()
        finally:
            connection.close()

    def open_page(self):
        """What a browser does first; returns the cookie as it is sent back."""
        status, headers, _ = self.ask(self.path)
        assert status == 303 and headers["Location"] == self.address
        return {"Cookie": headers["Set-Cookie"].partition(";")[0]}

    def waits(self):
        """It is still under way."""
        assert self.ask("/")[0] == 404
        assert self.process.poll() is None

    def end(self):
        return self.mltoken.finish(self.process)

    def failed(self, code, words):
        result = self.end()
        assert result.code == code and words in result.err and result.err.count("\n") == 1, result
        return result

    def done(self):
        result = self.end()
        assert result.code == 0, result
        return json.loads(result.out.splitlines()[-1])


@pytest.fixture
def setup(authority, home, start_agent):
    home.config({"me": profile(authority)}, {"default_profile": "me"})
    return start_agent()


@pytest.fixture
def sign_in(setup, mltoken):
    return SignIn(mltoken)


def code_at(authority, sign_in, user="alice"):
    """Goes through the authority as a browser elsewhere would; returns the address where it ends, without asking it."""
    before = len(authority.redirects)
    authority.set_client("web", auto_approve=user)
    split = urllib.parse.urlsplit(sign_in.address)
    connection = http.client.HTTPConnection(split.hostname, split.port, timeout=PATIENCE)
    connection.request("GET", split.path + "?" + split.query)
    reply = connection.getresponse()
    assert reply.status == 302, reply.read()
    connection.close()
    assert len(authority.redirects) == before + 1
    return reply.headers["Location"]


def listening(port, host="127.0.0.1"):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        return probe.connect_ex((host, port)) == 0


def test_sign_in_renew_and_sign_out(setup, authority, mltoken):
    sign_in = SignIn(mltoken)
    assert sign_in.prompt["kind"] == "browser" and sign_in.host == "127.0.0.1"
    assert re.fullmatch(r"/[0-9a-f]{32}", sign_in.path)
    assert abs(sign_in.prompt["expiresAt"] - time.time() - 600) < 60
    assert sign_in.query["response_type"] == "code" and sign_in.query["code_challenge_method"] == "S256"
    assert sign_in.query["redirect_uri"] == f"http://127.0.0.1:{sign_in.port}/"
    assert sign_in.query["prompt"] == "consent"  # offline_access is asked for
    assert visit(sign_in.page, user="bob") == "You may close this window"
    assert sign_in.done()["account"] == "bob@example.org"
    assert not listening(sign_in.port)
    request = authority.requests("token")[0]
    assert 43 <= len(request.form["code_verifier"]) <= 128
    token = mltoken("get", "me").ok().out
    assert mltoken("get", "me", "--refresh").ok().out != token
    assert authority.count("token", grant="refresh_token") == 1
    assert "bob@example.org" in mltoken("status", "me").ok().out
    mltoken("logout", "me").ok()
    assert len(authority.revoked) == 1
    mltoken("get", "me").failed(4)
    secrets = authority.secrets() + [sign_in.state, sign_in.query["nonce"], request.form["code_verifier"], sign_in.path]
    log = setup.log()
    assert not [s for s in secrets if s.strip("/") in log]


def test_each_sign_in_has_its_own_marks(setup, mltoken):
    a, b = SignIn(mltoken), SignIn(mltoken)
    for name in ("state", "nonce", "code_challenge", "redirect_uri"):
        assert a.query[name] != b.query[name]
    assert a.path != b.path and a.open_page() != b.open_page()


def test_two_at_once_do_not_take_each_others_answers(setup, authority, mltoken):
    a, b = SignIn(mltoken), SignIn(mltoken)
    visit(b.page, user="alice")
    assert b.done()["account"] == "alice@example.org"
    a.waits()
    cookie = a.open_page()
    assert a.ask("/?code=x&state=" + b.state, cookie)[0] == 400
    a.process.terminate()


def test_a_confidential_client(authority, home, start_agent, mltoken):
    secret = home.secret(authority.client("web-conf").secret)
    home.config({"me": profile(authority, "web-conf", client_secret=secret)})
    start_agent()
    sign_in = SignIn(mltoken)
    visit(sign_in.page)
    sign_in.done()
    assert authority.requests("token")[0].headers["authorization"].startswith("Basic ")


def test_entra_comes_back_to_localhost(authority, home, start_agent, mltoken):
    tenant = "11111111-2222-4333-8444-555555555555"
    base = f"{authority.http}/{tenant}/v2.0"
    home.config({"me": profile(authority, "web-native", base, dialect="entra", scope="openid offline_access api/x")})
    start_agent()
    sign_in = SignIn(mltoken)
    assert sign_in.query["redirect_uri"] == f"http://localhost:{sign_in.port}" and sign_in.host == "localhost"
    assert "prompt" not in sign_in.query
    assert listening(sign_in.port)
    if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6") and "00000001 01" in open("/proc/net/if_inet6").read():
        assert listening(sign_in.port, "::1")
    visit(sign_in.page)
    sign_in.done()
    assert authority.requests("token")[0].form["scope"]
    assert not listening(sign_in.port)


def test_claims_resource_and_login_hint_go_along(authority, home, start_agent, mltoken, varlink):
    home.config({"me": profile(authority, resource="https://api.example.org/", username="alice@example.org")})
    start_agent()
    connection = varlink()
    connection.send("Login", {"profile": "me", "claims": '{"a":1}'}, more=True)
    prompt = connection.reply()["prompt"]
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(prompt["verificationUriComplete"]).query))
    assert query["claims"] == '{"a":1}' and query["resource"] == "https://api.example.org/"
    assert query["login_hint"] == "alice@example.org"


def test_pushed_requests(authority, home, start_agent, mltoken):
    authority.set_metadata(pushed_authorization_request_endpoint=authority.oidc + "/par",
                           require_pushed_authorization_requests=True)
    secret = home.secret(authority.client("web-conf").secret)
    home.config({"me": profile(authority), "conf": profile(authority, "web-conf", client_secret=secret)})
    start_agent()
    for name in ("me", "conf"):
        sign_in = SignIn(mltoken, name)
        assert set(sign_in.query) == {"client_id", "request_uri"}
        assert sign_in.prompt["expiresAt"] - time.time() < 61
        visit(sign_in.page)
        sign_in.done()


def test_pushing_is_demanded_and_nowhere_to_push(authority, home, start_agent, mltoken):
    authority.set_metadata(require_pushed_authorization_requests=True)
    home.config({"me": profile(authority)})
    start_agent()
    assert "pushed_authorization_request_endpoint" in mltoken("login", "me").failed(3)


# The page and its listener


def test_the_page_is_plain_and_kept_by_nobody(sign_in):
    status, headers, _ = sign_in.ask(sign_in.path)
    assert status == 303
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Path=/" in cookie and sign_in.state not in cookie
    for answer in (headers, sign_in.ask("/")[1]):
        assert answer["Cache-Control"] == "no-store" and answer["Referrer-Policy"] == "no-referrer"
        assert answer["Content-Security-Policy"].startswith("default-src 'none'")


def test_the_page_counts_once(sign_in, setup):
    sign_in.open_page()
    assert sign_in.ask(sign_in.path)[0] == 410
    sign_in.failed(8, "opened twice")
    wait_until(lambda: not listening(sign_in.port))
    assert "opened twice" in setup.log()


def test_without_the_cookie_nothing_is_taken(sign_in, authority):
    back = "/?" + urllib.parse.urlsplit(code_at(authority, sign_in)).query
    assert sign_in.ask(back)[0] == 404
    cookie = sign_in.open_page()
    assert sign_in.ask(back)[0] == 404
    name, _, value = cookie["Cookie"].partition("=")
    assert sign_in.ask(back, {"Cookie": name + "=" + value[:-1] + ("0" if value[-1] != "0" else "1")})[0] == 404
    assert sign_in.ask(back, {"Cookie": "other=" + value})[0] == 404
    assert authority.count("token") == 0
    assert sign_in.ask(back, {"Cookie": "a=b; " + cookie["Cookie"] + "; c=d"})[0] == 200
    sign_in.done()


@pytest.mark.parametrize("change", [lambda s: s[:-1], lambda s: s + "A", lambda s: "", lambda s: s[::-1],
                                    lambda s: s + "&state=" + s])
def test_another_state_changes_nothing(sign_in, authority, change):
    back = code_at(authority, sign_in)
    cookie = sign_in.open_page()
    code = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(back).query))["code"]
    assert sign_in.ask(f"/?code={code}&state={change(sign_in.state)}", cookie)[0] == 400
    assert sign_in.ask(f"/?error=access_denied&state={change(sign_in.state)}", cookie)[0] == 400
    sign_in.waits()
    assert authority.count("token") == 0
    assert sign_in.ask("/?" + urllib.parse.urlsplit(back).query, cookie)[0] == 200
    sign_in.done()


@pytest.mark.parametrize("host", ["evil.example.org", "localhost", "127.0.0.1", "127.0.0.1:1", "[::1]", "127.1"])
def test_another_host_is_not_us(sign_in, host):
    assert sign_in.ask(sign_in.path, host=host)[0] == 421
    sign_in.waits()
    sign_in.open_page()


def test_guesses_change_nothing(sign_in):
    for path in ("/favicon.ico", "/", "/?", "/" + "0" * 32, sign_in.path + "/", sign_in.path + "?a", sign_in.path[:-1],
                 "//", "/%2e%2e", "/robots.txt"):
        assert sign_in.ask(path)[0] == 404, path
    for method in ("POST", "HEAD", "PUT", "OPTIONS", "DELETE"):
        assert sign_in.ask(sign_in.path, method=method)[0] == 405
    assert sign_in.ask(sign_in.path, {"Sec-Purpose": "prefetch"})[0] == 404
    sign_in.open_page()


GARBAGE = [b"\0" * 100, b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/2.0\r\nHost: {host}\r\n\r\n",
           b"GET http://127.0.0.1/ HTTP/1.1\r\nHost: {host}\r\n\r\n", b"GET / HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n",
           b"GET / HTTP/1.1\r\n Host: {host}\r\n\r\n", b"GET / HTTP/1.1\r\nHost : {host}\r\n\r\n",
           b"GET / HTTP/1.1\nHost: {host}\n\n\r\n\r\n", b"GET /\x01 HTTP/1.1\r\nHost: {host}\r\n\r\n", b"GET\r\n\r\n",
           b"GET / HTTP/1.1\r\nHost: {host}\r\nA: " + b"x" * 40000 + b"\r\n\r\n", b"A" * 100000,
           b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"z" * 200]


def test_garbage_at_the_listener(sign_in, authority):
    for garbage in GARBAGE:
        with socket.create_connection(("127.0.0.1", sign_in.port), PATIENCE) as peer:
            try:
                peer.sendall(garbage.replace(b"{host}", f"127.0.0.1:{sign_in.port}".encode()))
                peer.shutdown(socket.SHUT_WR)
                said = peer.recv(100)
            except OSError:  # it has closed already
                continue
            assert said == b"" or re.match(rb"HTTP/1\.1 4(00|04|05|31) ", said), (garbage[:60], said)
    visit(sign_in.page)
    sign_in.done()


def test_the_slow_and_the_many(sign_in):
    slow = [socket.create_connection(("127.0.0.1", sign_in.port), PATIENCE) for _ in range(40)]
    for peer in slow:
        try:
            peer.sendall(b"GET / HT")
        except ConnectionError:
            pass
    late = slow[-8]  # the oldest make room, never those who have just come
    late.sendall(f"TP/1.1\r\nHost: 127.0.0.1:{sign_in.port}\r\n\r\n".encode())
    assert late.recv(100).startswith(b"HTTP/1.1 404 ")
    visit(sign_in.page)
    sign_in.done()
    for peer in slow:
        peer.close()


def test_the_slow_are_closed(sign_in):
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", sign_in.port), PATIENCE) as peer:
        peer.sendall(b"GET /")
        try:
            assert peer.recv(100) == b""
        except ConnectionError:
            pass
        assert time.monotonic() - began > 3
    sign_in.waits()


OTHER = """
import os, socket, sys
os.setgid(12345); os.setuid(12345)
peer = socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10)
try:
    peer.sendall(sys.argv[2].encode().decode("unicode_escape").encode())
    print(len(peer.recv(1000)))
except ConnectionError:
    print(0)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to be another user")
def test_another_user_is_not_heard(sign_in, setup):
    request = f"GET {sign_in.path} HTTP/1.1\\r\\nHost: 127.0.0.1:{sign_in.port}\\r\\n\\r\\n"
    told = subprocess.run([sys.executable, "-c", OTHER, str(sign_in.port), request], capture_output=True, text=True,
                          timeout=60, check=True)
    assert told.stdout == "0\n"
    assert "another user's connection" in setup.log()
    visit(sign_in.page)
    sign_in.done()


HASTY = """
import os, socket, sys
os.setgid(12345); os.setuid(12345)
for _ in range(50):
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 10) as peer:
        peer.sendall(sys.argv[2].encode().decode("unicode_escape").encode())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to be another user")
def test_another_user_who_closes_at_once(sign_in, setup):
    """Whose a connection was cannot be told once it is closed; it must not count as a visit."""
    request = f"GET {sign_in.path} HTTP/1.1\\r\\nHost: 127.0.0.1:{sign_in.port}\\r\\n\\r\\n"
    os.kill(setup.pid, signal.SIGSTOP)
    try:
        subprocess.run([sys.executable, "-c", HASTY.replace("50", "20"), str(sign_in.port), request], timeout=60, check=True)
    finally:
        os.kill(setup.pid, signal.SIGCONT)
    subprocess.run([sys.executable, "-c", HASTY, str(sign_in.port), request], timeout=60, check=True)
    visit(sign_in.page)
    sign_in.done()


def test_the_listener_ends_with_the_login(sign_in):
    assert listening(sign_in.port)
    sign_in.process.terminate()
    sign_in.end()
    wait_until(lambda: not listening(sign_in.port))


def test_a_port_that_is_registered(authority, home, start_agent, mltoken):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        taken.listen()
        home.config({"me": profile(authority, redirect_port=port)})
        start_agent()
        said = mltoken("login", "me")
        assert said.code != 0 and f"port {port}" in said.err and "in use" in said.err
    for _ in range(2):  # also right after the one before
        sign_in = SignIn(mltoken)
        assert sign_in.port == port
        visit(sign_in.page)
        sign_in.done()


@pytest.mark.parametrize("value", ["80", "65536", "-1", "any", "12345678901"])
def test_a_port_that_is_none(authority, home, mltoken, value):
    home.config({"me": profile(authority, redirect_port=value)})
    result = mltoken("config", "check")
    assert result.code == 3 and "redirect_port" in result.out + result.err


# What the authority says


def test_the_person_says_no(sign_in):
    visit(sign_in.page, deny=True)
    sign_in.failed(4, "declined")


def test_another_error_is_told_in_the_authoritys_words(setup, authority, mltoken):
    authority.set_client("web", redirect_extra={"code": None, "error": "server_error", "error_description": "no\u202eway %s"})
    sign_in = SignIn(mltoken)
    visit(sign_in.page)
    result = sign_in.failed(5, "server_error")
    assert "\u202e" not in result.err


@pytest.mark.parametrize("extra, announced, words", [
    ({"iss": "https://evil.example.org"}, True, "another authority"), ({"iss": None}, True, "without the iss"),
    ({"iss": "https://evil.example.org"}, False, "another authority")])
def test_another_issuer(authority, home, start_agent, mltoken, extra, announced, words):
    authority.set_metadata(authorization_response_iss_parameter_supported=announced)
    authority.set_client("web", redirect_extra=extra)
    home.config({"me": profile(authority)})
    start_agent()
    sign_in = SignIn(mltoken)
    visit(sign_in.page)
    sign_in.failed(5, words)
    assert authority.count("token") == 0


def test_the_right_issuer(authority, home, start_agent, mltoken):
    authority.set_metadata(authorization_response_iss_parameter_supported=True)
    home.config({"me": profile(authority)})
    start_agent()
    sign_in = SignIn(mltoken)
    visit(sign_in.page)
    sign_in.done()


@pytest.mark.parametrize("claims", [{"nonce": "another"}, {"nonce": None}])
def test_another_nonce(setup, authority, mltoken, claims):
    authority.set_client("web", id_token_claims=claims)
    sign_in = SignIn(mltoken)
    visit(sign_in.page)
    result = sign_in.end()
    assert result.code != 0 and "nonce" in result.err
    mltoken("get", "me").failed(4)


def test_no_code(setup, authority, mltoken):
    authority.set_client("web", redirect_extra={"code": None})
    sign_in = SignIn(mltoken)
    visit(sign_in.page)
    sign_in.failed(5, "without a code")


def test_a_code_that_was_used(sign_in, authority):
    back = code_at(authority, sign_in)
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(back).query))
    body = urllib.parse.urlencode({"grant_type": "authorization_code", "client_id": "web", "code": query["code"],
                                   "redirect_uri": sign_in.query["redirect_uri"], "code_verifier": "v" * 43})
    connection = http.client.HTTPConnection("127.0.0.1", authority.http_port, timeout=PATIENCE)
    connection.request("POST", "/oidc/token", body, {"Content-Type": "application/x-www-form-urlencoded"})
    assert connection.getresponse().status == 400  # a thief has no verifier
    connection.close()
    authority.store.codes[query["code"]].family = authority.store.codes[query["code"]].family or \
        authority._family("web", authority.client("web"), "alice", [], None, __import__("types").SimpleNamespace(prefix="/oidc"))
    assert sign_in.ask("/?" + urllib.parse.urlsplit(back).query, sign_in.open_page())[0] == 200
    sign_in.failed(5, "used before")


def test_pkce_is_ours(sign_in, authority):
    """A code that was made for another challenge is refused: what was injected is worth nothing."""
    back = code_at(authority, sign_in)
    code = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(back).query))["code"]
    authority.store.codes[code].challenge = "A" * 43
    assert sign_in.ask("/?" + urllib.parse.urlsplit(back).query, sign_in.open_page())[0] == 200
    sign_in.failed(5, "code_verifier")


@pytest.mark.parametrize("where", ["file:///etc/passwd", "https://evil.example.org/authorize", "javascript:alert(1)",
                                   "http://192.0.2.1/authorize"])
def test_the_metadata_sends_elsewhere(authority, home, start_agent, mltoken, where):
    authority.set_metadata(authorization_endpoint=where)
    home.config({"me": profile(authority), "service": {
        "grant": "client_credentials", "authority": authority.oidc, "client_id": "svc",
        "client_secret": home.secret(authority.client("svc").secret)}})
    start_agent()
    result = mltoken("login", "me")
    assert result.code in (3, 5) and "authorization_endpoint" in result.err and result.err.count("\n") == 1
    assert "authorization_endpoint" in mltoken("doctor", "me").out
    mltoken("get", "service").ok()  # who needs no browser is not held up


def test_no_authorization_endpoint(authority, home, start_agent, mltoken):
    authority.set_metadata(authorization_endpoint=None)
    home.config({"me": profile(authority)})
    start_agent()
    assert "authorization_endpoint" in mltoken("login", "me").failed(3)


def test_the_endpoint_as_a_key(authority, home, start_agent, mltoken):
    authority.set_metadata(authorization_endpoint=None)
    home.config({"me": profile(authority, authorization_endpoint=authority.oidc + "/authorize?p=flow")})
    start_agent()
    sign_in = SignIn(mltoken)
    assert sign_in.query["p"] == "flow"
    visit(sign_in.page)
    sign_in.done()


# A browser elsewhere


def test_the_address_is_pasted(setup, authority, mltoken):
    sign_in = SignIn(mltoken, "me", "--no-browser", stdin=subprocess.PIPE)
    sign_in.process.stdin.write(code_at(authority, sign_in) + "\n")
    sign_in.process.stdin.flush()
    assert sign_in.done()["account"] == "alice@example.org"


def test_a_wrong_address_is_pasted(setup, authority, mltoken):
    sign_in = SignIn(mltoken, "me", "--no-browser", stdin=subprocess.PIPE)
    sign_in.process.stdin.write(code_at(authority, sign_in).replace("state=", "state=x") + "\n")
    sign_in.process.stdin.flush()
    result = sign_in.end()
    assert result.code == 8 and "not the address" in result.err and "codeMARK" not in result.err
    assert authority.count("token") == 0


def test_an_answer_on_another_connection(sign_in, authority, varlink):
    back = code_at(authority, sign_in)
    other = varlink()
    assert other.error("Answer", session=sign_in.session, value="http://127.0.0.1/?code=a&state=b").name == "Denied"
    assert other.error("Answer", session="0" * 32, value=back).name == "InvalidParameter"
    sign_in.waits()
    other.call("Answer", session=sign_in.session, value=urllib.parse.urlsplit(back).query)
    sign_in.done()
    assert other.error("Answer", session=sign_in.session, value=back).name == "InvalidParameter"


def test_on_a_terminal_without_a_browser(setup, authority, home, mltoken):
    terminal = pexpect.spawn(program("mltoken"), ["login", "me"], env=home.env(SSH_CONNECTION="192.0.2.1 1 192.0.2.2 22"),
                             encoding="utf-8", timeout=PATIENCE, dimensions=(50, 500))
    terminal.expect(r"open in a browser\s+(http://\S+)\s")
    address = terminal.match.group(1)
    query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(address).query))
    terminal.expect("address: ")
    terminal.sendline(query["redirect_uri"] + "?code=codeMARKwrong&state=" + "y" * 22)
    terminal.expect("not the address")
    terminal.expect("address: ")
    holder = type("Elsewhere", (), {"address": address})
    back = code_at(authority, holder)
    terminal.send("nonsense" + "\x15" + back + "x\x7f\r")
    terminal.expect("signed in as alice@example.org")
    terminal.expect(pexpect.EOF)
    assert "codeMARK" not in (terminal.before or "")
    terminal.close()
    assert terminal.exitstatus == 0


def test_the_browser_comes_back_while_a_person_is_asked(setup, authority, home, mltoken):
    terminal = pexpect.spawn(program("mltoken"), ["login", "me", "--no-browser"], env=home.env(), encoding="utf-8",
                             timeout=PATIENCE, dimensions=(50, 500))
    terminal.expect(r"on this machine\s+(http://127\.0\.0\.1:\d+/[0-9a-f]{32})\s")
    page = terminal.match.group(1)
    terminal.expect("address: ")
    visit(page)
    terminal.expect("signed in as alice@example.org")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


def test_interrupted_while_a_person_is_asked(setup, authority, home, mltoken):
    terminal = pexpect.spawn(program("mltoken"), ["login", "me", "--no-browser"], env=home.env(), encoding="utf-8",
                             timeout=PATIENCE, dimensions=(50, 500))
    terminal.expect("address: ")
    terminal.sendintr()
    terminal.expect("cancelled")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 130


def test_text_for_a_person(setup, mltoken):
    process = mltoken.start("login", "me")
    line = process.stderr.readline()
    assert re.match(r"To sign in, open in a browser on this machine  http://127\.0\.0\.1:\d+/[0-9a-f]{32}$", line)
    visit(line.split()[-1])
    result = mltoken.finish(process)
    assert result.code == 0 and "signed in as alice@example.org" in result.out


def test_the_command_line_of_a_browser_tells_nothing(setup, authority, home, mltoken):
    """What xdg-open is given is the page alone: no state, no challenge."""
    seen = os.path.join(home.path, "seen")
    folder = home._dir("fake")
    with open(os.path.join(folder, "xdg-open"), "w", encoding="ascii") as f:
        os.fchmod(f.fileno(), 0o700)
        f.write(f"#!/bin/sh\necho \"$@\" > {seen}.new && mv {seen}.new {seen}\n")
    process = mltoken.start("login", "me", "--browser", env={"PATH": folder + ":" + os.environ["PATH"]})
    wait_until(lambda: os.path.exists(seen))
    with open(seen, encoding="ascii") as f:
        opened = f.read()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[0-9a-f]{32}\n", opened)
    visit(opened.strip())
    assert mltoken.finish(process).code == 0


def test_another_account_needs_the_word(setup, authority, mltoken):
    sign_in = SignIn(mltoken)
    visit(sign_in.page, user="alice")
    sign_in.done()
    sign_in = SignIn(mltoken)
    visit(sign_in.page, user="bob")
    sign_in.failed(4, "account")
    sign_in = SignIn(mltoken, "me", "--switch-account")
    visit(sign_in.page, user="bob")
    assert sign_in.done()["account"] == "bob@example.org"


PROMPTS = {"any": ({}, "openid", "select_account"), "renewable": ({}, "openid offline_access", "select_account consent"),
           "one that cannot": ({"prompt_values_supported": ["none", "login", "consent"]}, "openid", "login"),
           "one that can": ({"prompt_values_supported": ["login", "select_account"]}, "openid", "select_account"),
           "one that cannot be read": ({"prompt_values_supported": "login"}, "openid", "select_account")}


@pytest.mark.parametrize("case", PROMPTS)
def test_a_switch_asks_which_account(authority, home, start_agent, mltoken, case):
    metadata, scope, prompt = PROMPTS[case]
    authority.set_metadata("/oidc", **metadata)
    home.config({"me": profile(authority, scope=scope, username="alice@example.org")})
    start_agent()
    plain = SignIn(mltoken, "me")
    assert plain.query.get("prompt") == ("consent" if "offline" in scope else None)
    assert plain.query["login_hint"] == "alice@example.org"
    switch = SignIn(mltoken, "me", "--switch-account")
    assert switch.query["prompt"] == prompt
    assert "login_hint" not in switch.query  # that would bring the same person again


def test_a_switch_asks_entra_which_account(authority, home, start_agent, mltoken):
    base = f"{authority.http}/11111111-2222-4333-8444-555555555555/v2.0"
    home.config({"me": profile(authority, "web-native", base, dialect="entra", scope="openid offline_access api/x")})
    start_agent()
    sign_in = SignIn(mltoken, "me", "--switch-account")
    assert sign_in.query["prompt"] == "select_account"
    visit(sign_in.page)
    sign_in.done()
