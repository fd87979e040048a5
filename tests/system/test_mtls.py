"""client_auth = tls_client_auth (RFC 8705): who the client is, by its certificate; and tokens that are bound to keys."""

import base64
import concurrent.futures
import os
import ssl
import time

import pytest

from attack import SANITIZED
from authority.assertions import thumbprint
from authority.store import SECRET_PLAIN
from authority.mutual import Gatekeeper
from harness import wait_until
from test_private_key_jwt import Pair, openssl


class Issued(Pair):
    """A pair whose certificate the local authority "clients" has issued."""

    def __init__(self, authority, home, name="client", **more):
        super().__init__(home, name, **more)
        self.issue(authority)

    def issue(self, authority):
        authority.issue_client(self.key, self.certificate)
        with open(self.certificate, encoding="ascii") as f:
            self.pem = f.read()

    @property
    def print(self):
        return thumbprint(self.pem)

    def replace(self, other):
        """Puts another pair's files in the place of these."""
        os.rename(other.key, self.key)
        os.rename(other.certificate, self.certificate)


def register(authority, name, pair, **more):
    return authority.add_client(name, tls_certificate=thumbprint(pair.pem),
                                grants=("client_credentials", "device_code", "refresh_token"), interval=1, **more)


def shown(scripted, base, pair, client="one", **more):
    profile = {"grant": "client_credentials", "authority": base + "/oidc", "ca_file": scripted.ca_file,
               "client_id": client, "scope": "api", "client_auth": "tls_client_auth",
               "client_certificate": pair.certificate, "client_key": pair.key}
    profile.update(more)
    return profile


@pytest.fixture
def pair(authority, home):
    pair = Issued(authority, home)
    register(authority, "one", pair)
    return pair


@pytest.fixture(scope="module")
def place(authority_of_session):
    return authority_of_session.listen_mutual()


@pytest.fixture(scope="module")
def strict(authority_of_session):
    return authority_of_session.listen_mutual(required=True)


@pytest.fixture(params=["TLSv1_2", "TLSv1_3"])
def gate(authority, request):
    """A server that refuses in TLS whoever it does not know."""
    context = authority.mutual_context(required=True)
    context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, request.param)
    gate = Gatekeeper(context)
    yield gate
    gate.close()


# Who it is

def test_a_certificate_proves_the_client(authority, place, home, start_agent, mltoken, pair):
    home.config({"p": shown(authority, place, pair)})
    start_agent()
    mltoken("get", "p").ok()
    [request] = authority.requests("token")
    assert request.certificate == pair.print and request.form["client_id"] == "one"
    assert not {"client_secret", "client_assertion"} & set(request.form) and "authorization" not in request.headers
    [metadata] = authority.requests("metadata")
    assert metadata.certificate is None, "what is public is fetched without saying who asks"


@pytest.mark.parametrize("kind", ["rsa", "P-256", "P-384"])
def test_a_self_signed_one(authority, place, home, start_agent, mltoken, kind):
    pair = Pair(home, kind=kind)
    register(authority, "one", pair)
    authority.trust_client(pair.certificate)
    home.config({"p": shown(authority, place, pair, client_auth="self_signed_tls_client_auth")})
    start_agent()
    mltoken("get", "p").ok()
    assert authority.requests("token")[0].certificate == thumbprint(pair.pem)


def test_the_issuers_go_along(authority, home, start_agent, mltoken, strict):
    """A chain: the server knows the root alone."""
    middle, leaf = Pair(home, "middle"), Pair(home, "leaf")
    extensions = home.write("keys/ca.ext", "basicConstraints=critical,CA:TRUE\n")
    openssl("req", "-new", "-key", middle.key, "-subj", "/CN=middle", "-out", middle.certificate + ".csr")
    root = authority.ca.ca_file("clients")
    openssl("x509", "-req", "-in", middle.certificate + ".csr", "-CA", root, "-CAkey", root[:-4] + ".key",
            "-CAcreateserial", "-extfile", extensions, "-days", "30", "-out", middle.certificate)
    openssl("req", "-new", "-key", leaf.key, "-subj", "/CN=leaf", "-out", leaf.certificate + ".csr")
    openssl("x509", "-req", "-in", leaf.certificate + ".csr", "-CA", middle.certificate, "-CAkey", middle.key,
            "-CAcreateserial", "-days", "30", "-out", leaf.certificate)
    with open(leaf.certificate, encoding="ascii") as f, open(middle.certificate, encoding="ascii") as g:
        leaf.pem = f.read()
        chain = home.write("keys/chain.pem", leaf.pem + g.read())
    register(authority, "one", leaf)
    endpoints = {"authority": None, "token_endpoint": strict + "/oidc/token"}
    home.config({"p": shown(authority, strict, leaf, client_certificate=chain, **endpoints)})
    start_agent()
    mltoken("get", "p").ok()
    assert authority.requests("token")[0].certificate == thumbprint(leaf.pem)


def test_key_and_certificate_in_one_file(authority, place, home, start_agent, mltoken, pair):
    with open(pair.key, encoding="ascii") as f:
        both = home.write("keys/both.pem", f.read() + pair.pem)
    home.config({"p": shown(authority, place, pair, client_key=None, client_certificate=both)})
    start_agent()
    mltoken("get", "p").ok()


def test_a_person_signs_in_through_it(authority, place, home, start_agent, mltoken, pair):
    home.config({"p": shown(authority, place, pair, grant="device_code", scope="openid offline_access")})
    start_agent()
    assert mltoken.login(authority, "p").code == 0
    mltoken("get", "p", "--refresh").ok()
    mltoken("logout", "p").ok()
    requests = [r for e in ("device", "token", "revoke") for r in authority.requests(e)]
    assert authority.revoked and len(requests) >= 4 and {r.certificate for r in requests} == {pair.print}
    assert {r.certificate for e in ("metadata", "jwks") for r in authority.requests(e)} == {None}


# Three identities

def identities(authority):
    """What each client showed: {client id: {thumbprint or None}}."""
    found = {}
    for request in authority.requests("token"):
        found.setdefault(request.client, set()).add(request.certificate)
    return found


def three(authority, place, home, one, two, copies=1):
    """Profiles a0.., b0.., c0..: two that show a certificate, and one that has a secret, on one host."""
    bare = {"grant": "client_credentials", "authority": place + "/oidc", "ca_file": authority.ca_file, "client_id": "svc",
            "client_secret": home.secret(SECRET_PLAIN)}
    profiles = {}
    for i in range(copies):
        profiles[f"a{i}"] = shown(authority, place, one, scope=f"s{i}")
        profiles[f"b{i}"] = shown(authority, place, two, client="two", scope=f"s{i}")
        profiles[f"c{i}"] = {**bare, "scope": f"s{i}"}
    return profiles


def test_three_identities_in_turns(authority, place, home, start_agent, mltoken, pair):
    two = Issued(authority, home, "two")
    register(authority, "two", two)
    home.config(three(authority, place, home, pair, two))
    start_agent()
    for name in ("a0", "c0", "b0", "c0", "a0", "b0", "a0", "a0", "c0"):
        mltoken("get", name, "--refresh").ok()
    assert identities(authority) == {"one": {pair.print}, "two": {two.print}, "svc": {None}}
    assert authority.count("metadata") == 1


def test_three_identities_at_once_and_after_one_was_replaced(authority, place, home, start_agent, mltoken, pair):
    copies = 8
    two = Issued(authority, home, "two")
    register(authority, "two", two)
    profiles = three(authority, place, home, pair, two, copies)
    home.config(profiles)
    start_agent()
    authority.set_delay(0.05, "token")  # they overlap

    def all_at_once():
        before = authority.count("token")
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            for result in pool.map(lambda name: mltoken("get", name, "--refresh"), profiles):
                result.ok()
        assert authority.count("token") - before == len(profiles)

    all_at_once()
    assert identities(authority) == {"one": {pair.print}, "two": {two.print}, "svc": {None}}
    first, newer = pair.print, Issued(authority, home, "newer")
    register(authority, "one", newer)  # the old one is refused from here on
    pair.replace(newer)
    all_at_once()
    assert identities(authority) == {"one": {first, newer.print}, "two": {two.print}, "svc": {None}}


def test_a_refused_one_that_was_replaced_is_tried_at_once(authority, place, home, start_agent, mltoken, pair):
    """Of three identities on one host, each refusal is remembered by itself."""
    two, newer = Issued(authority, home, "two"), Issued(authority, home, "newer")
    register(authority, "two", two)
    home.config(three(authority, place, home, pair, two))
    start_agent()
    register(authority, "one", newer)
    for _ in range(3):
        assert "another client's certificate" in mltoken("get", "a0").failed(5)
    mltoken("get", "a0", "--refresh").failed(5)
    assert authority.count("token") == 1, "what is as it was is not shown again"
    for name in ("b0", "c0"):
        mltoken("get", name).ok()
    first = pair.print
    pair.replace(newer)
    mltoken("get", "a0").ok()
    assert identities(authority) == {"one": {first, newer.print}, "two": {two.print}, "svc": {None}}
    assert authority.count("token") == 4


def test_one_that_is_replaced_by_another_bad_one(authority, place, home, start_agent, mltoken, pair):
    register(authority, "one", Issued(authority, home, "good"))
    home.config({"p": shown(authority, place, pair)})
    start_agent()
    for i in range(3):
        time.sleep(0.1)  # longer than the clock of a file system stands still
        for _ in range(3):
            mltoken("get", "p").failed(5)
        assert authority.count("token") == i + 1
        pair.replace(Issued(authority, home, f"bad{i}"))


def test_at_the_end_of_tls_it_is_the_same(authority, gate, place, home, start_agent, mltoken, pair):
    """A server that knows nobody, and says so in TLS: what it made of one certificate is not held against the next."""
    home.config({"p": shown(authority, place, pair, authority=None, token_endpoint=gate.base + "/token")})
    pair.replace(Pair(home, "stranger"))
    start_agent()
    time.sleep(0.1)
    for count in 1, 2, 3:
        assert mltoken("get", "p").code in (5, 6)
        wait_until(lambda: gate.refused >= count)
        pair.replace(Pair(home, f"stranger{count}"))
        time.sleep(0.1)


def test_one_certificate_for_two_clients_of_two_hosts(authority, place, strict, home, start_agent, mltoken, pair):
    register(authority, "two", pair)
    home.config({"p": shown(authority, place, pair),
                 "q": shown(authority, strict, pair, client="two", authority=None, token_endpoint=strict + "/oidc/token")})
    start_agent()
    mltoken("get", "p").ok()
    mltoken("get", "q").ok()
    assert identities(authority) == {"one": {pair.print}, "two": {pair.print}}


def test_a_proxy_is_not_shown_the_certificate(authority, place, home, start_agent, mltoken, pair):
    home.config({"p": shown(authority, place, pair, proxy=place), "q": shown(authority, place, pair, proxy=authority.http)})
    start_agent()
    for name in ("p", "q"):
        mltoken("get", name).ok()
    assert len(authority.shown_to_proxy) == 4 and set(authority.shown_to_proxy) == {None}
    assert identities(authority) == {"one": {pair.print}}


# Where to

def test_the_aliases_are_for_who_shows_a_certificate(authority, place, strict, home, start_agent, mltoken, pair):
    authority.set_metadata("/oidc", mtls_endpoint_aliases={"token_endpoint": strict + "/oidc/token"})
    profiles = three(authority, place, home, pair, pair)
    profiles["own"] = shown(authority, place, pair, token_endpoint=place + "/oidc/token", scope="own")
    home.config(profiles)
    start_agent()
    for name in ("a0", "c0", "own"):
        mltoken("get", name).ok()
    assert [(r.base, r.certificate) for r in authority.requests("token")] == \
        [(strict, pair.print), (place, None), (place, pair.print)]


def test_an_alias_that_is_silent_leaves_the_usual_address(authority, place, strict, home, start_agent, mltoken, pair):
    authority.set_metadata("/oidc", mtls_endpoint_aliases={"revocation_endpoint": strict + "/oidc/revoke"})
    home.config({"p": shown(authority, place, pair)})
    start_agent()
    mltoken("get", "p").ok()
    assert authority.requests("token")[0].base == place


@pytest.mark.parametrize("aliases, words", [
    ({"token_endpoint": "https://mtls.evil.example/token"}, "endpoint_hosts = mtls.evil.example"),
    ({"token_endpoint": "http://localhost/token"}, "not https"),
    ({"token_endpoint": 7}, "token_endpoint"),
    (["token_endpoint"], "mtls_endpoint_aliases"),
])
def test_aliases_that_may_not_be(authority, place, home, start_agent, mltoken, pair, aliases, words):
    authority.set_metadata("/oidc", mtls_endpoint_aliases=aliases)
    home.config(three(authority, place, home, pair, pair))
    start_agent()
    result = mltoken("get", "a0")
    assert result.code in (3, 5) and words in result.err, result.err
    assert authority.count("token") == 0
    mltoken("get", "c0").ok()


def test_plain_http_shows_nothing(authority, home, start_agent, mltoken, pair):
    home.config({"p": shown(authority, authority.http, pair)})
    start_agent()
    assert "https" in mltoken("get", "p").failed(3)
    assert authority.count("token") == 0


# What can be wrong

@pytest.mark.parametrize("spoil, words", [
    (lambda p, home: os.remove(p.key), "there is no such file"),
    (lambda p, home: os.remove(p.certificate), "there is no such file"),
    (lambda p, home: os.chmod(p.key, 0o644), "open to other users"),
    (lambda p, home: open(p.key, "w").write("nonsense"), "no private key"),
    (lambda p, home: open(p.certificate, "w").write("nonsense"), "no certificate"),
    (lambda p, home: os.rename(Pair(home, "other").certificate, p.certificate), "does not belong"),
])
def test_files_that_cannot_do(authority, place, home, start_agent, mltoken, pair, spoil, words):
    spoil(pair, home)
    home.config({"p": shown(authority, place, pair)})
    start_agent()
    assert words in mltoken("get", "p").failed(3)
    assert authority.count("token") == 0


def test_a_certificate_that_has_ended(authority, place, home, start_agent, mltoken, pair):
    authority.issue_client(pair.key, pair.certificate, days="-1")
    home.config({"p": shown(authority, place, pair)})
    start_agent()
    assert "has ended" in mltoken("get", "p").failed(3)


def test_an_encrypted_key(authority, place, home, start_agent, mltoken):
    pair = Issued.__new__(Issued)
    Pair.__init__(pair, home, password="keyMARKpass")
    authority.trust_client(pair.certificate)
    register(authority, "one", pair)
    home.config({"p": shown(authority, place, pair, key_password=home.secret("keyMARKpass", "key-password")),
                 "none": shown(authority, place, pair),
                 "wrong": shown(authority, place, pair, key_password=home.secret("badMARK", "bad"))})
    agent = start_agent()
    mltoken("get", "p").ok()
    none, wrong = mltoken("get", "none"), mltoken("get", "wrong")
    assert none.code == 3 and "set key_password" in none.err, none.err
    assert wrong.code == 3 and "is key_password the right one" in wrong.err, wrong.err
    assert "MARK" not in agent.log() + none.err + wrong.err
    assert authority.count("token") == 1


def test_a_certificate_that_tls_does_not_take(authority, gate, place, home, start_agent, mltoken, pair):
    foreign = Pair(home, "foreign")
    here = {"authority": None, "token_endpoint": gate.base + "/token"}
    home.config({"p": shown(authority, place, foreign, **here)})
    start_agent()
    err = mltoken("get", "p").failed(5)
    assert "tls_certificate" in err and "does not know who issued client_certificate" in err and gate.refused == 1
    assert authority.count() == 0


def test_another_clients_certificate(authority, place, home, start_agent, mltoken, pair):
    other = Issued(authority, home, "other")
    home.config({"p": shown(authority, place, other)})
    start_agent()
    assert "invalid_client" in mltoken("get", "p").failed(5)
    assert identities(authority) == {"one": {other.print}}


def test_one_who_has_none_is_told_so(authority, gate, place, home, start_agent, mltoken, pair):
    home.config({"p": {**three(authority, place, home, pair, pair)["c0"], "authority": None,
                       "token_endpoint": gate.base + "/token"}})
    start_agent()
    result = mltoken("get", "p")
    assert gate.refused == 1
    if gate.context.minimum_version == ssl.TLSVersion.TLSv1_3:
        assert result.code == 5 and "asks for a client certificate" in result.err, result.err
    else:  # its alert says no more than that it failed
        assert result.code == 6 and "alert" in result.err, result.err


@pytest.mark.parametrize("keys, words", [
    ({"client_certificate": None, "client_key": None}, "client_certificate"),
    ({"client_certificate": None}, "client_certificate"),
    ({"client_assertion_file": "/run/token"}, "client_assertion_file and a key"),
    ({"client_auth": "tls"}, "use one of"),
    ({"allow_bound": "perhaps"}, "allow_bound"),
])
def test_mistakes_in_the_profile(authority, place, home, mltoken, pair, keys, words):
    result = mltoken("config", "check", home.config({"p": shown(authority, place, pair, **keys)}))
    assert result.code == 3 and words in result.out + result.err, result.out + result.err


@pytest.mark.parametrize("days, code, words", [("300", 0, "client_key belongs to"), ("3", 0, "have a new one issued"),
                                               ("-1", 3, "has ended")])
def test_doctor_looks_at_the_pair(authority, place, home, mltoken, pair, days, code, words):
    authority.issue_client(pair.key, pair.certificate, days=days)
    home.config({"p": shown(authority, place, pair)})
    result = mltoken("doctor", "p")
    assert result.code == code and words in result.out, result.out + result.err


def test_doctor_finds_another_key(authority, place, home, mltoken, pair):
    os.rename(Pair(home, "other").key, pair.key)
    home.config({"p": shown(authority, place, pair)})
    result = mltoken("doctor", "p")
    assert result.code == 3 and "does not belong" in result.out, result.out


# Tokens that are bound to a key

def test_a_bound_token_is_refused_unless_it_is_wanted(authority, place, home, start_agent, mltoken, pair):
    register(authority, "one", pair, access_token_claims={"cnf": {"x5t#S256": pair.print}})
    home.config({"p": shown(authority, place, pair), "q": shown(authority, place, pair, allow_bound="yes")})
    start_agent()
    err = mltoken("get", "p").failed(5)
    assert "bound to the client's certificate" in err and "allow_bound = yes" in err and pair.print not in err
    assert mltoken("get", "q").ok().out.count(".") == 2


@pytest.mark.parametrize("client", [
    {"access_token_claims": {"cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}}},
    {"token_type": "DPoP"}, {"token_type": "dpop"},
])
def test_a_token_for_dpop_is_refused(authority, home, start_agent, mltoken, client):
    authority.set_client("svc", **client)
    home.config({"p": {"grant": "client_credentials", "authority": authority.oidc, "client_id": "svc",
                       "client_secret": home.secret(SECRET_PLAIN), "allow_bound": "yes"}})
    start_agent()
    err = mltoken("get", "p").failed(5)
    assert "DPoP (RFC 9449)" in err and "dpop_bound_access_tokens" in err


@pytest.mark.parametrize("error", ["use_dpop_nonce", "invalid_dpop_proof"])
def test_an_authority_that_wants_dpop(authority, home, start_agent, mltoken, error):
    authority.fault("token", status=400, json={"error": error, "error_description": "as it says"})
    home.config({"p": {"grant": "client_credentials", "authority": authority.oidc, "client_id": "svc",
                       "client_secret": home.secret(SECRET_PLAIN)}})
    start_agent()
    err = mltoken("get", "p").failed(5)
    assert error in err and "DPoP (RFC 9449)" in err and "as it says" in err


def confirmed_by(authority, home, start_agent, cnf):
    authority.set_client("svc", access_token_claims={"cnf": cnf})
    home.config({"p": {"grant": "client_credentials", "authority": authority.oidc, "client_id": "svc",
                       "client_secret": home.secret(SECRET_PLAIN), "allow_bound": "yes"}})
    start_agent()


@pytest.mark.parametrize("cnf", [{"kid": "7"}, {"x5t": "old"}, {"jwk": {"kty": "EC"}}], ids=str)
def test_a_token_bound_to_another_key_is_refused(authority, home, start_agent, mltoken, cnf):
    confirmed_by(authority, home, start_agent, cnf)
    err = mltoken("get", "p").failed(5)
    assert "bound to a key (cnf)" in err and "Bearer" in err


@pytest.mark.parametrize("cnf", ["text", None, {}, {"other": "7"}], ids=str)
def test_a_confirmation_without_a_key_is_none(authority, home, start_agent, mltoken, cnf):
    confirmed_by(authority, home, start_agent, cnf)
    mltoken("get", "p").ok()


# Where the key is, and where not

def traces(pair):
    """The private number of a key as it could lie in memory: as in its file, and as OpenSSL's numbers are."""
    text = openssl("pkey", "-in", pair.key, "-noout", "-text")
    part = text.split("prime1:")[1].split("prime2:")[0]
    number = bytes.fromhex("".join(part.split()).replace(":", "")).lstrip(b"\0")
    with open(pair.key, encoding="ascii") as f:
        line = f.read().splitlines()[8]
    return {"plain": number[40:72], "number": number[::-1][40:72], "text": line.encode(),
            "bytes": base64.b64decode(line)}


@pytest.mark.skipif(SANITIZED, reason="a sanitizer keeps what was freed in quarantine")
def test_the_key_is_in_memory_while_it_is_used_and_no_longer(authority, place, home, start_agent, mltoken, pair):
    home.config({"p": shown(authority, place, pair)})
    agent = start_agent()
    marks = traces(pair)
    authority.fault("token", hold=True)
    process = mltoken.start("get", "p")
    wait_until(lambda: authority.count("token") == 1)
    found = {name for name, mark in marks.items() if agent.memory_has(mark)}
    assert "number" in found, "this scan finds what is there"
    assert not {"text", "plain", "bytes"} & found, "what was read is gone once TLS has its key"
    authority.release()
    assert mltoken.finish(process).code == 0
    wait_until(lambda: not any(agent.memory_has(mark) for mark in marks.values()))
    for i in range(5):
        mltoken("get", "p", "--refresh").ok()
    wait_until(lambda: not any(agent.memory_has(mark) for mark in marks.values()))


@pytest.mark.skipif(SANITIZED, reason="a sanitizer keeps what was freed in quarantine")
def test_a_call_that_is_given_up_leaves_no_key(authority, place, home, start_agent, mltoken, pair):
    home.config({"p": shown(authority, place, pair, timeout="2")})
    agent = start_agent()
    authority.fault("token", hang="before")
    mltoken("get", "p").failed(6)
    wait_until(lambda: not any(agent.memory_has(mark) for mark in traces(pair).values()))


def test_nothing_of_the_key_in_the_log(authority, place, home, start_agent, mltoken, pair):
    home.config({"p": shown(authority, place, pair)})
    agent = start_agent()
    mltoken("get", "p").ok()
    log = agent.log()
    with open(pair.key, encoding="ascii") as f:
        assert not any(line in log for line in f.read().splitlines()[1:-1])
    assert "PRIVATE KEY" not in log


def test_each_request_leaves_no_descriptor(authority, place, home, start_agent, mltoken, pair):
    home.config({"p": shown(authority, place, pair)})
    agent = start_agent()
    mltoken("get", "p").ok()
    before = agent.descriptors()
    for _ in range(10):
        mltoken("get", "p", "--refresh").ok()
    wait_until(lambda: agent.descriptors() <= before)
