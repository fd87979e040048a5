"""The scripted authority itself: does it do what the other tests believe it does?"""

import base64
import concurrent.futures
import email.utils
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.parse

import pytest
from authority import BrowserError, Remote, keys, visit
from authority.store import SECRET_ODD, SECRET_PLAIN
from harness import PATIENCE

HERE = os.path.dirname(os.path.abspath(__file__))
DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


def ask(url, form=None, headers=None, ca_file=None, timeout=PATIENCE):
    """(status, headers, body)"""
    split = urllib.parse.urlsplit(url)
    if split.scheme == "https":
        context = ssl.create_default_context(cafile=ca_file)
        connection = http.client.HTTPSConnection(split.hostname, split.port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(split.hostname, split.port, timeout=timeout)
    path = split.path + ("?" + split.query if split.query else "")
    body = urllib.parse.urlencode(form) if form is not None else None
    kind = {"Content-Type": "application/x-www-form-urlencoded"} if form is not None else {}
    try:
        connection.request("GET" if form is None else "POST", path, body, {**kind, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def post(url, **form):
    status, _, body = ask(url, form)
    return status, json.loads(body)


def basic(name, secret):
    pair = urllib.parse.quote_plus(name) + ":" + urllib.parse.quote_plus(secret)
    return {"Authorization": "Basic " + base64.b64encode(pair.encode()).decode()}


def client_credentials(authority, **more):
    return post(authority.oidc + "/token", grant_type="client_credentials", client_id="svc", client_secret=SECRET_PLAIN,
                **more)


def sign_in(authority, client="device", scope="openid offline_access", prefix="/oidc"):
    _, device = post(authority.http + prefix + "/device_authorization", client_id=client, scope=scope)
    authority.approve(device["user_code"])
    return post(authority.http + prefix + "/token", grant_type=DEVICE, device_code=device["device_code"], client_id=client)


def refresh(authority, token, client="device", **more):
    return post(authority.oidc + "/token", grant_type="refresh_token", refresh_token=token, client_id=client, **more)


# Documents

def test_metadata_is_at_the_places_of_each_dialect(authority):
    for path, status, issuer in (
            ("/oidc/.well-known/openid-configuration", 200, "/oidc"),
            ("/.well-known/oauth-authorization-server/oidc", 200, "/oidc"),
            ("/oidc/realms/ml/.well-known/openid-configuration", 200, "/oidc/realms/ml"),
            ("/.well-known/oauth-authorization-server/oauth", 200, "/oauth"),
            ("/oauth/.well-known/openid-configuration", 404, None),
            ("/common/v2.0/.well-known/openid-configuration", 200, "/{tenantid}/v2.0"),
            ("/contoso.onmicrosoft.com/v2.0/.well-known/openid-configuration", 200,
             "/c0470500-0000-4000-8000-00000000c050/v2.0")):
        found, _, body = ask(authority.http + path)
        assert (path, found) == (path, status)
        if issuer:
            assert json.loads(body)["issuer"] == authority.http + issuer
    authority.switch("openid", False)
    assert ask(authority.oidc + "/.well-known/openid-configuration")[0] == 404
    authority.switch("revocation", False)
    document = json.loads(ask(authority.http + "/.well-known/oauth-authorization-server/oidc")[2])
    assert "revocation_endpoint" not in document
    assert ask(authority.oidc + "/revoke", {"token": "x", "client_id": "device"})[0] == 404
    assert authority.count("metadata") == 9
    assert authority.count("metadata:openid") == 6


def test_https_needs_the_right_ca_and_name(authority):
    status, _, body = ask(authority.https + "/oidc/.well-known/openid-configuration", ca_file=authority.ca_file)
    assert status == 200 and json.loads(body)["issuer"] == authority.https + "/oidc"
    for name in ("wrong_host", "other_ca", "expired"):
        with pytest.raises(ssl.SSLCertVerificationError):
            ask(authority.listen(name) + "/oidc/jwks", ca_file=authority.ca_file)
    with pytest.raises(ssl.SSLError):
        ask(authority.listen(max_version="TLSv1_1") + "/oidc/jwks", ca_file=authority.ca_file)


# Client authentication

def test_client_authentication_is_strict(authority):
    url = authority.oidc + "/token"
    form = {"grant_type": "client_credentials"}
    assert ask(url, form, basic("svc odd:id/+%", SECRET_ODD))[0] == 200
    assert ask(url, {**form, "client_id": "svc odd:id/+%", "client_secret": SECRET_ODD})[0] == 200
    raw = {"Authorization": "Basic " + base64.b64encode(f"svc-basic:{SECRET_ODD}".encode()).decode()}
    status, headers, body = ask(url, form, raw)
    assert status == 401 and headers["WWW-Authenticate"].startswith("Basic") and b"form-encoded" in body
    assert ask(url, form, basic("svc-basic", SECRET_ODD))[0] == 200
    assert ask(url, form, basic("svc-post", SECRET_ODD))[0] == 401
    assert ask(url, {**form, "client_id": "svc-basic", "client_secret": SECRET_ODD})[0] == 401
    assert ask(url, {**form, "client_secret": SECRET_PLAIN}, basic("svc", SECRET_PLAIN))[0] == 400
    assert ask(url, {**form, "client_id": "svc", "client_secret": "wrong"})[0] == 401
    assert ask(url, {**form, "client_id": "svc"})[0] == 401
    assert ask(url, {**form, "client_id": "nobody"})[0] == 401
    assert ask(url, {**form, "client_id": "load-77", "client_secret": SECRET_PLAIN})[0] == 200


# Device code and refresh

def test_device_code_through_the_browser(authority):
    status, device = post(authority.oidc + "/device_authorization", client_id="device", scope="openid offline_access")
    assert status == 200 and device["verification_uri"].startswith("https://127.0.0.1:")

    def poll():
        time.sleep(1)
        return post(authority.oidc + "/token", grant_type=DEVICE, device_code=device["device_code"], client_id="device")

    assert poll() == (400, {"error": "authorization_pending"})
    with pytest.raises(BrowserError):
        visit(device["verification_uri"], "WRNG-CODE", ca_file=authority.ca_file)
    assert "approved" in visit(device["verification_uri_complete"], user="bob", ca_file=authority.ca_file)
    status, tokens = poll()
    assert status == 200 and tokens["refresh_token"]
    assert keys.decode(tokens["id_token"])[1]["sub"] == "sub-bob-2"
    assert poll()[1]["error"] == "invalid_grant"


def test_device_code_ends_denied_expired_or_too_fast(authority):
    authority.set_client("device", device_lifetime=0.2)
    _, device = post(authority.oidc + "/device_authorization", client_id="device")
    time.sleep(0.25)
    form = {"grant_type": DEVICE, "device_code": device["device_code"], "client_id": "device"}
    assert post(authority.oidc + "/token", **form)[1]["error"] == "expired_token"
    authority.set_client("device", device_lifetime=600, interval=60)
    _, device = post(authority.oidc + "/device_authorization", client_id="device")
    form["device_code"] = device["device_code"]
    assert post(authority.oidc + "/token", **form)[1]["error"] == "authorization_pending"
    assert post(authority.oidc + "/token", **form)[1]["error"] == "slow_down"
    visit(device["verification_uri"], device["user_code"], deny=True, ca_file=authority.ca_file)
    authority.set_client("device", enforce_interval=False)
    assert post(authority.oidc + "/token", **form)[1]["error"] == "access_denied"


def test_rotation_detects_reuse_and_revokes_the_family(authority):
    first = sign_in(authority)[1]["refresh_token"]
    second = refresh(authority, first)[1]["refresh_token"]
    assert second != first
    assert refresh(authority, second, scope="openid more")[1]["error"] == "invalid_scope"
    assert refresh(authority, first)[1]["error"] == "invalid_grant"
    assert refresh(authority, second)[1]["error"] == "invalid_grant"
    assert len(authority.reuses) == 1
    authority.set_client("device", reuse_grace=60)
    first = sign_in(authority)[1]["refresh_token"]
    second = refresh(authority, first)[1]["refresh_token"]
    assert refresh(authority, first)[0] == 200 and refresh(authority, second)[0] == 200
    authority.set_client("device", rotation=False)
    first = sign_in(authority)[1]["refresh_token"]
    assert "refresh_token" not in refresh(authority, first)[1] and refresh(authority, first)[0] == 200


def test_revocation_introspection_and_userinfo(authority):
    tokens = sign_in(authority)[1]
    bearer = {"Authorization": "Bearer " + tokens["access_token"]}
    assert json.loads(ask(authority.oidc + "/userinfo", headers=bearer)[2])["sub"] == "sub-alice-1"
    form = {"client_id": "device", "token": tokens["access_token"]}
    assert post(authority.oidc + "/introspect", **form)[1]["active"] is True
    assert ask(authority.oidc + "/revoke", {"client_id": "device", "token": tokens["refresh_token"]})[0] == 200
    assert ask(authority.oidc + "/revoke", {"client_id": "device", "token": "unknown"})[0] == 200
    assert post(authority.oidc + "/introspect", **form)[1] == {"active": False}
    assert ask(authority.oidc + "/userinfo", headers=bearer)[0] == 401
    assert refresh(authority, tokens["refresh_token"])[1]["error"] == "invalid_grant"


# Entra

def test_entra_v2(authority):
    base = authority.http + "/contoso.onmicrosoft.com/oauth2/v2.0"
    form = {"grant_type": "client_credentials", "client_id": "svc", "client_secret": SECRET_PLAIN}
    status, body = post(base + "/token", **form, scope="https://graph.example/.default")
    assert status == 200 and body["ext_expires_in"] == body["expires_in"] == 3600
    assert keys.decode(body["access_token"])[1]["aud"] == "https://graph.example"
    status, body = post(base + "/token", **{**form, "client_secret": "no"}, scope="https://graph.example/.default")
    assert status == 401 and body["error_codes"] == [7000215] and body["error_description"].startswith("AADSTS7000215: ")
    assert body["trace_id"] in body["error_description"] and body["correlation_id"]
    _, device = post(base + "/devicecode", client_id="native", scope="openid offline_access")
    assert device["user_code"] in device["message"] and "verification_uri_complete" not in device
    form = {"grant_type": DEVICE, "device_code": device["device_code"], "client_id": "native"}
    assert post(base + "/token", **form)[1]["error_codes"] == [70016]
    authority.set_client("native", enforce_interval=False)
    authority.deny(device["user_code"])
    assert post(base + "/token", **form)[1]["error"] == "authorization_declined"


def test_entra_v1(authority):
    base = authority.http + "/contoso.onmicrosoft.com/oauth2"
    status, body = post(base + "/token", grant_type="client_credentials", client_id="svc", client_secret=SECRET_PLAIN,
                        resource="00000002-0000-0000-c000-000000000000")
    assert status == 200 and body["expires_in"] == "3600" and int(body["expires_on"]) > time.time() + 3500
    assert body["resource"] == "00000002-0000-0000-c000-000000000000"
    _, device = post(base + "/devicecode?api-version=1.0", client_id="native", resource="https://graph.example")
    assert device["verification_url"] and device["interval"] == "1" and "verification_uri" not in device
    authority.approve(device["user_code"])
    status, body = post(base + "/token", grant_type="device_code", code=device["device_code"], client_id="native",
                        resource="https://graph.example")
    assert status == 200 and body["refresh_token"] and body["expires_in"] == "3600"
    first = body["refresh_token"]
    form = {"grant_type": "refresh_token", "client_id": "native", "resource": "https://other.example"}
    for _ in range(2):  # an old one lives on
        assert post(base + "/token", **form, refresh_token=first)[1]["resource"] == "https://other.example"


# Signatures

def jose(token, key, tmp_path):
    path = tmp_path / "key.jwk"
    path.write_text(json.dumps(key))
    return subprocess.run(["jose", "jws", "ver", "-i", "-", "-k", str(path)], input=token.encode(), capture_output=True,
                          check=False).returncode == 0


@pytest.mark.parametrize("alg", ["RS256", "PS256", "ES256"])
def test_signatures_hold_for_an_independent_program(authority, tmp_path, alg):
    assert shutil.which("jose"), "the jose command is a test dependency"
    jwks = json.loads(ask(authority.oidc + "/jwks")[2])
    token = authority.mint(alg=alg)
    key = next(k for k in jwks["keys"] if k["kid"] == keys.decode(token)[0]["kid"])
    assert jose(token, {**key, "alg": alg}, tmp_path)
    for forge in ("tampered", "bad_signature", "other_key", "none"):
        assert not jose(authority.mint(alg=alg, forge=forge), {**key, "alg": alg}, tmp_path)


def test_each_forgery_differs_from_a_good_token(authority):
    for forge in keys.FORGED_SIGNATURES:
        assert authority.mint(forge=forge).count(".") >= 1
    claims = {"iss": "i", "aud": "c", "sub": "s", "iat": 1000, "exp": 2000}
    for forge in ("expired", "future", "wrong_aud", "wrong_iss", "azp", "aud_list_no_azp", "nul_sub", "no_exp"):
        assert keys.forged_claims(forge, claims) != claims
    authority.set_client("device", id_token_forge="wrong_aud")
    assert keys.decode(sign_in(authority)[1]["id_token"])[1]["aud"] == "someone-else"


def test_keys_roll_over(authority):
    before = json.loads(ask(authority.oidc + "/jwks")[2])["keys"]
    authority.rollover()
    after = json.loads(ask(authority.oidc + "/jwks")[2])["keys"]
    assert len(after) == len(before) + 2
    assert keys.decode(authority.mint())[0]["kid"] == "rsa-2"
    authority.rollover(keep_old=False)
    assert [k["kid"] for k in json.loads(ask(authority.oidc + "/jwks")[2])["keys"]] == ["rsa-3", "ec-3"]


# Faults

def test_faults_count_and_choose(authority):
    authority.fault("token", status=503, times=2, client="svc")
    assert ask(authority.oidc + "/jwks")[0] == 200
    assert sign_in(authority)[0] == 200
    answers = [ask(authority.oidc + "/token", {"grant_type": "client_credentials", "client_id": "svc",
                                               "client_secret": SECRET_PLAIN})[0] for _ in range(3)]
    assert answers == [503, 503, 200]


def test_faults_of_the_answer(authority):
    def faulty(**members):
        authority.clear_faults()
        authority.fault("token", **members)
        status, headers, body = ask(authority.oidc + "/token", {"grant_type": "client_credentials", "client_id": "svc",
                                                                "client_secret": SECRET_PLAIN})
        return status, headers, body

    assert faulty(html=True)[1]["Content-Type"].startswith("text/html")
    with pytest.raises(ValueError):
        json.loads(faulty(invalid_json=True)[2])
    assert faulty(deep=100)[2].count(b"[") == 100
    assert faulty(retry_after=7)[0] == 429
    dated = faulty(status=503, retry_after="+60")[1]["Retry-After"]
    assert 50 < email.utils.parsedate_to_datetime(dated).timestamp() - time.time() < 70
    assert faulty(status=429, body="slow down, please", headers={"Content-Type": "text/plain"})[2][:4] == b"slow"
    assert json.loads(faulty(error="invalid_grant", status=200)[2]) == {"error": "invalid_grant"}
    assert json.loads(faulty(strings=True)[2])["expires_in"] == "3600"
    members = json.loads(faulty(set={"token_type": "bearer\r\nX: y"}, drop=["access_token"])[2])
    assert members["token_type"] == "bearer\r\nX: y" and "access_token" not in members
    assert faulty(duplicate={"access_token": "second"})[2].count(b'"access_token"') == 2
    assert faulty(redirect="https://evil.example/")[1]["Location"] == "https://evil.example/"
    assert len(faulty(huge=3)[2]) > 3 << 20
    assert json.loads(faulty(chunked=True)[2])["token_type"] == "Bearer"


def test_faults_of_the_delivery(authority):
    def faulty(**members):
        authority.clear_faults()
        authority.fault("jwks", **members)
        return ask(authority.oidc + "/jwks", timeout=timeout)

    timeout = PATIENCE

    for members in ({"reset": "before"}, {"reset": "headers"}, {"reset": "body"}):
        with pytest.raises(ConnectionResetError):
            faulty(**members)
    with pytest.raises(http.client.RemoteDisconnected):
        faulty(close="before")
    for members in ({"close": "body"}, {"length": "long"}):
        with pytest.raises(http.client.IncompleteRead):
            faulty(**members)
    with pytest.raises(ValueError):
        json.loads(faulty(length="short")[2])
    timeout = 0.5
    for members in ({"hang": "before"}, {"hang": "after"}, {"dribble": 60}, {"dribble_head": 60}, {"delay": 600}):
        with pytest.raises(socket.timeout):
            faulty(**members)


def test_held_requests_are_answered_when_released(authority):
    authority.fault("token", hold=True)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(client_credentials, authority) for _ in range(8)]
        assert authority.wait_for("token", 8)
        assert not any(a.done() for a in asked)
        authority.release()
        assert [a.result()[0] for a in asked] == [200] * 8
    assert authority.max_concurrent("token") == 8


def test_lost_answers_have_happened(authority):
    token = sign_in(authority)[1]["refresh_token"]
    authority.fault("token", reset="body", times=1)
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        refresh(authority, token)
    assert refresh(authority, token)[1]["error"] == "invalid_grant"


# Many at once, and from outside

def test_two_hundred_requests_at_once(authority):
    """All are in flight together."""
    authority.fault("token", hold=True)
    form = b"grant_type=client_credentials&client_id=load-1&client_secret=" + SECRET_PLAIN.encode()
    request = (b"POST /oidc/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
               b"Content-Length: %d\r\n\r\n" % len(form)) + form
    sockets = [socket.create_connection(("127.0.0.1", authority.http_port)) for _ in range(200)]
    for s in sockets:
        s.sendall(request)
    assert authority.wait_for("token", 200, PATIENCE)
    authority.release()
    for s in sockets:
        assert s.recv(100).startswith(b"HTTP/1.1 200 OK")
        s.close()
    assert authority.max_concurrent("token") == 200


def test_as_a_program_with_control_and_browser(tmp_path):
    command = [sys.executable, os.path.join(HERE, "authority")]
    process = subprocess.Popen([*command, "--port", "0", "--interval", "1", "--die-with-parent"], stdout=subprocess.PIPE,
                               text=True, cwd=tmp_path)
    try:
        urls = json.loads(process.stdout.readline())
        remote = Remote(urls["http"])
        status, device = post(urls["oidc"] + "/device_authorization", client_id="device", scope="openid")
        assert status == 200
        done = subprocess.run([*command, "browser", device["verification_uri"], device["user_code"], "--as", "alice",
                               "--ca-file", urls["ca_file"]], capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "approved" in done.stdout, done.stderr
        done = subprocess.run([*command, "call", urls["http"], "fault", "endpoint=token", "status=503", "times=1"],
                              capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        form = {"grant_type": DEVICE, "device_code": device["device_code"], "client_id": "device"}
        assert ask(urls["oidc"] + "/token", form)[0] == 503
        assert post(urls["oidc"] + "/token", **form)[0] == 200
        assert remote.count(endpoint="token") == 2
        assert remote.requests(endpoint="token")[0].form["device_code"] == device["device_code"]
        assert remote.state()["counters"]["device"] == 1
        with pytest.raises(RuntimeError):
            remote.call("stop")
    finally:
        process.terminate()
        assert process.wait(PATIENCE) == 0
    assert not os.path.exists(urls["ca_file"])
