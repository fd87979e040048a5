"""client_auth = private_key_jwt (RFC 7523): keys and certificates, as Entra and as anybody else wants them."""

import json
import os
import re
import subprocess
import time

import pytest

from authority.assertions import thumbprint
from authority.keys import b64url
from harness import wait_until

TENANT = "c0470500-0000-4000-8000-00000000c050"


def openssl(*arguments, **more):
    return subprocess.run(["openssl", *arguments], check=True, capture_output=True, text=True, **more).stdout


class Pair:
    """A private key and its certificate, in files of the home."""

    def __init__(self, home, name="client", kind="rsa", days="30", password=None):
        self.key = home.write(f"keys/{name}.key", "")
        self.certificate = home.write(f"keys/{name}.pem", "")
        new = ["rsa:2048"] if kind == "rsa" else ["ec", "-pkeyopt", "ec_paramgen_curve:" + kind]
        secret = ["-passout", "pass:" + password] if password else ["-noenc"]
        openssl("req", "-x509", "-newkey", *new, *secret, "-keyout", self.key, "-out", self.certificate,
                "-subj", "/CN=mltoken", "-days", days)
        os.chmod(self.key, 0o600)
        with open(self.certificate, encoding="ascii") as f:
            self.pem = f.read()
        self.public = openssl("x509", "-in", self.certificate, "-noout", "-pubkey")


@pytest.fixture
def pair(home):
    return Pair(home)


def register(authority, pair, client="keyed"):
    authority.add_client(client, grants=("client_credentials", "device_code", "refresh_token"), interval=1,
                         public_key=pair.public, certificate=pair.pem)


def keyed(authority, pair, base=None, **more):
    profile = {"grant": "client_credentials", "authority": base or authority.oidc, "client_id": "keyed", "scope": "api",
               "client_key": pair.key, "client_certificate": pair.certificate}
    profile.update(more)
    return profile


def sent(authority):
    return list(authority.store.used_jtis.values())


def test_a_key_and_a_certificate(authority, home, start_agent, mltoken, pair):
    register(authority, pair)
    home.config({"p": keyed(authority, pair)})
    start_agent()
    result = mltoken("get", "p")
    assert result.code == 0, result.err
    (header, claims), form = sent(authority)[0], authority.requests("token")[0].form
    assert header == {"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint(pair.pem)}
    assert claims["iss"] == claims["sub"] == form["client_id"] == "keyed"
    assert claims["aud"] == authority.oidc + "/token"
    assert claims["exp"] - claims["iat"] == 300 and abs(claims["iat"] - time.time()) < 60
    assert "client_secret" not in form


def test_each_request_has_an_assertion_of_its_own(authority, home, start_agent, mltoken, pair):
    register(authority, pair)
    home.config({"p": keyed(authority, pair)})
    start_agent()
    for _ in range(3):
        assert mltoken("get", "p", "--refresh").code == 0
    assert len(sent(authority)) == 3


@pytest.mark.parametrize("alg, field, digest", [(None, "x5t#S256", "sha256"), ("PS256", "x5t#S256", "sha256"),
                                                ("RS256", "x5t", "sha1")])
def test_entra_v2(authority, home, start_agent, mltoken, pair, alg, field, digest):
    register(authority, pair)
    home.config({"p": keyed(authority, pair, f"{authority.http}/{TENANT}/v2.0", dialect="entra", assertion_alg=alg,
                            scope="https://cognitiveservices.azure.com/.default")})
    start_agent()
    result = mltoken("get", "p")
    assert result.code == 0, result.err
    header, claims = sent(authority)[0]
    assert header == {"alg": alg or "PS256", "typ": "JWT", field: thumbprint(pair.pem, digest)}
    assert claims["aud"] == f"{authority.http}/{TENANT}/oauth2/v2.0/token"


def test_entra_v1(authority, home, start_agent, mltoken, pair):
    register(authority, pair)
    home.config({"p": keyed(authority, pair, f"{authority.http}/{TENANT}", dialect="entra_v1", scope=None,
                            resource="https://management.azure.com/")})
    start_agent()
    result = mltoken("get", "p")
    assert result.code == 0, result.err
    header, claims = sent(authority)[0]
    assert header == {"alg": "RS256", "typ": "JWT", "x5t": thumbprint(pair.pem, "sha1")}
    assert claims["aud"] == f"{authority.http}/{TENANT}/oauth2/token"


def test_the_certificate_goes_along_when_asked(authority, home, start_agent, mltoken, pair):
    register(authority, pair)
    home.config({"p": keyed(authority, pair, send_certificate="yes")})
    start_agent()
    assert mltoken("get", "p").code == 0
    body = "".join(line for line in pair.pem.splitlines() if "-----" not in line)
    assert sent(authority)[0][0]["x5c"] == [body]


def test_an_elliptic_key_alone_with_its_id(authority, home, start_agent, mltoken):
    pair = Pair(home, kind="P-256")
    register(authority, pair)
    home.config({"p": keyed(authority, pair, client_certificate=None, assertion_kid="key-7",
                            assertion_audience=authority.oidc)})
    start_agent()
    result = mltoken("get", "p")
    assert result.code == 0, result.err
    header, claims = sent(authority)[0]
    assert header == {"alg": "ES256", "typ": "JWT", "kid": "key-7"} and claims["aud"] == authority.oidc


def test_key_and_certificate_in_one_file(authority, home, start_agent, mltoken, pair):
    register(authority, pair)
    with open(pair.key, encoding="ascii") as f:
        both = home.write("keys/both.pem", f.read() + pair.pem)
    home.config({"p": keyed(authority, pair, client_key=None, client_certificate=both)})
    start_agent()
    assert mltoken("get", "p").code == 0


def test_an_encrypted_key(authority, home, start_agent, mltoken):
    pair = Pair(home, password="keyMARKpass")
    register(authority, pair)
    where = home.secret("keyMARKpass", "key-password")
    home.config({"p": keyed(authority, pair, key_password=where), "none": keyed(authority, pair),
                 "wrong": keyed(authority, pair, key_password=home.secret("badMARK", "bad"))})
    agent = start_agent()
    assert mltoken("get", "p").code == 0
    none, wrong = mltoken("get", "none"), mltoken("get", "wrong")
    assert none.code == 3 and "set key_password" in none.err, none.err
    assert wrong.code == 3 and "is key_password the right one" in wrong.err, wrong.err
    assert "MARK" not in agent.log() + none.err + wrong.err
    assert authority.count("token") == 1


def test_a_person_signs_in_through_a_client_with_a_key(authority, home, start_agent, mltoken, pair):
    register(authority, pair)
    home.config({"p": keyed(authority, pair, grant="device_code", scope="openid offline_access")})
    start_agent()
    assert mltoken.login(authority, "p").code == 0
    assert mltoken("get", "p", "--refresh").code == 0
    assert mltoken("logout", "p").code == 0
    assert authority.revoked and len({c["jti"] for _, c in sent(authority)}) == len(sent(authority)) >= 4
    assert sent(authority)[-1][1]["aud"] == authority.oidc + "/revoke"


def test_a_replaced_key_is_used_at_once(authority, home, start_agent, mltoken, pair):
    register(authority, pair)
    home.config({"p": keyed(authority, pair)})
    start_agent()
    assert mltoken("get", "p").code == 0
    other = Pair(home, "other")
    os.rename(other.key, pair.key)
    os.rename(other.certificate, pair.certificate)
    register(authority, other)
    assert mltoken("get", "p", "--refresh").code == 0


@pytest.mark.parametrize("spoil, words", [
    (lambda p, home: os.remove(p.key), "there is no such file"),
    (lambda p, home: os.chmod(p.key, 0o644), "open to other users"),
    (lambda p, home: open(p.key, "w").write("nonsense"), "no private key"),
    (lambda p, home: open(p.certificate, "w").write("nonsense"), "no certificate"),
    (lambda p, home: os.rename(Pair(home, "other").certificate, p.certificate), "does not belong"),
    (lambda p, home: os.rename(Pair(home, "curve", "P-384").key, p.key), "client_key"),
])
def test_files_that_cannot_do(authority, home, start_agent, mltoken, pair, spoil, words):
    register(authority, pair)
    spoil(pair, home)
    home.config({"p": keyed(authority, pair)})
    start_agent()
    result = mltoken("get", "p")
    assert result.code == 3 and words in result.err, result.err
    assert authority.count("token") == 0


def test_a_certificate_that_has_ended(authority, home, start_agent, mltoken):
    pair = Pair(home)
    openssl("x509", "-in", pair.certificate, "-signkey", pair.key, "-days", "-1", "-out", pair.certificate + ".old")
    os.rename(pair.certificate + ".old", pair.certificate)
    register(authority, pair)
    home.config({"p": keyed(authority, pair)})
    start_agent()
    result = mltoken("get", "p")
    assert result.code == 3 and "has ended" in result.err, result.err


def test_a_key_that_the_authority_does_not_know(authority, home, start_agent, mltoken, pair):
    register(authority, Pair(home, "other"))
    home.config({"p": keyed(authority, pair, f"{authority.http}/{TENANT}/v2.0", dialect="entra", scope="x/.default")})
    start_agent()
    result = mltoken("get", "p")
    assert result.code == 5 and "AADSTS700027" in result.err, result.err


def federated(authority, home, text):
    """A profile whose assertion is made by somebody else."""
    path = home.write("projected/token", text, 0o644)
    return path, {"grant": "client_credentials", "authority": f"{authority.http}/{TENANT}/v2.0", "dialect": "entra",
                  "client_id": "keyed", "scope": "x/.default", "client_assertion_file": path}


def test_an_assertion_that_somebody_else_makes(authority, home, start_agent, mltoken, pair):
    """Read anew each time: projected tokens are replaced in place."""
    register(authority, pair)
    path, profile = federated(authority, home, "\n eyJhbGciOiJub25lIn0.e30.first \n")
    home.config({"p": profile})
    start_agent()
    assert mltoken("get", "p").code == 5
    home.write("projected/token", "eyJhbGciOiJub25lIn0.e30.second")
    assert mltoken("config", "check", home.config_path).code == 0
    home.config({"p": {**profile, "timeout": "20"}})
    wait_until(lambda: mltoken("get", "p") and authority.count("token") == 2)
    assert [r.form["client_assertion"].rpartition(".")[2] for r in authority.requests("token")] == ["first", "second"]
    os.remove(path)


@pytest.mark.parametrize("text, words", [(None, "no such file"), ("", "one token"), ("two words", "one token")])
def test_an_assertion_file_that_holds_none(authority, home, start_agent, mltoken, pair, text, words):
    path, profile = federated(authority, home, text or "")
    if text is None:
        os.remove(path)
    home.config({"p": profile})
    start_agent()
    result = mltoken("get", "p")
    assert result.code == 3 and words in result.err and path in result.err, result.err
    assert authority.count("token") == 0


@pytest.mark.parametrize("keys, words", [
    ({"client_key": None, "client_certificate": None, "client_auth": "private_key_jwt"}, "client_key"),
    ({"client_key": None, "client_certificate": None}, "client_secret"),
    ({"client_secret": "env:X"}, "client_auth"),
    ({"client_assertion_file": "/run/token"}, "client_assertion_file and a key"),
    ({"assertion_alg": "HS256"}, "assertion_alg"),
    ({"send_certificate": "maybe"}, "send_certificate"),
    ({"client_key": "relative.pem"}, "whole path"),
    ({"key_password": "hunter2"}, "key_password"),
])
def test_mistakes_in_the_profile(authority, home, mltoken, pair, keys, words):
    result = mltoken("config", "check", home.config({"p": keyed(authority, pair, **keys)}))
    assert result.code == 3 and words in result.out + result.err, result.err


def public_jwk(pair, alg):
    """The public key as the jose command wants it."""
    if alg != "ES256":
        modulus = openssl("rsa", "-pubin", "-modulus", "-noout", input=pair.public).strip().partition("=")[2]
        return {"kty": "RSA", "alg": alg, "n": b64url(bytes.fromhex(modulus)), "e": "AQAB"}
    text = openssl("ec", "-pubin", "-text", "-noout", input=pair.public)
    point = bytes.fromhex(re.search(r"pub:\s+((?:[0-9a-f]{2}:?\s*)+)", text)[1].replace(":", "").replace("\n", "").replace(" ", ""))
    return {"kty": "EC", "crv": "P-256", "alg": alg, "x": b64url(point[1:33]), "y": b64url(point[33:])}


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256"])
def test_the_jose_command_takes_our_signatures(authority, home, start_agent, mltoken, alg):
    """A peer that others wrote."""
    pair = Pair(home, kind="P-256" if alg == "ES256" else "rsa")
    register(authority, pair)
    home.config({"p": keyed(authority, pair, assertion_alg=alg)})
    start_agent()
    assert mltoken("get", "p").code == 0
    assertion = authority.requests("token")[0].form["client_assertion"]
    key = home.write("public.jwk", json.dumps(public_jwk(pair, alg)))
    verify = ["jose", "jws", "ver", "-i", "-", "-k", key, "-O", "-"]
    good = subprocess.run(verify, input=assertion, capture_output=True, text=True)
    assert good.returncode == 0 and json.loads(good.stdout)["iss"] == "keyed", good.stderr
    head, _, signature = assertion.rpartition(".")
    flipped = signature[:20] + ("A" if signature[20] != "A" else "B") + signature[21:]
    assert subprocess.run(verify, input=f"{head}.{flipped}", capture_output=True, text=True).returncode != 0


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256"])
def test_we_take_the_jose_commands_signatures(authority, home, start_agent, mltoken, monkeypatch, alg):
    key = home.write("jose.jwk", "")
    subprocess.run(["jose", "jwk", "gen", "-i", json.dumps({"alg": alg, "kid": "of-jose"}), "-o", key], check=True)
    public = subprocess.run(["jose", "jwk", "pub", "-i", key], check=True, capture_output=True, text=True).stdout
    monkeypatch.setattr(authority.keys, "jwks", lambda: {"keys": [json.loads(public)]})
    now = int(time.time())
    claims = home.write("claims", json.dumps({"iss": authority.oidc, "sub": "s", "aud": "me", "iat": now, "exp": now + 60}))
    head = json.dumps({"protected": {"alg": alg, "kid": "of-jose"}})
    token = subprocess.run(["jose", "jws", "sig", "-I", claims, "-k", key, "-s", head, "-c"], check=True,
                           capture_output=True, text=True).stdout
    home.config({"p": {"grant": "device_code", "authority": authority.oidc, "client_id": "me"}})
    start_agent()
    assert mltoken("verify", "--profile", "p", input=token).code == 0
    head, payload, signature = token.strip().split(".")
    flipped = signature[:20] + ("A" if signature[20] != "A" else "B") + signature[21:]
    assert mltoken("verify", "--profile", "p", input=f"{head}.{payload}.{flipped}").code == 5


def test_no_assertion_in_the_log(authority, home, start_agent, mltoken, pair):
    register(authority, pair)
    home.config({"p": keyed(authority, pair)})
    agent = start_agent()
    assert mltoken("get", "p").code == 0
    assertion = authority.requests("token")[0].form["client_assertion"]
    assert assertion not in agent.log() and assertion.split(".")[2] not in agent.log()
