"""client_credentials: how the client shows who it is, where its secret comes from, and the dialects."""

import base64
import os
import time

import pytest
from authority import keys
from authority.store import SECRET_ODD, SECRET_PLAIN
from harness import service, wait_until


def get(home, start_agent, mltoken, profile, **env):
    home.config({"p": profile})
    start_agent(**env)
    return mltoken("get", "p")


@pytest.mark.parametrize("auth, method", [("client_secret_basic", "basic"), ("client_secret_post", "post")])
@pytest.mark.parametrize("client", ["svc", "svc odd:id/+%"])
def test_both_ways_with_awkward_characters(authority, home, start_agent, mltoken, auth, method, client):
    get(home, start_agent, mltoken, service(authority, home, client, client_auth=auth)).ok()
    record = authority.requests("token")[0]
    assert ("authorization" in record.headers) == (method == "basic")
    assert ("client_secret" in record.form) == (method == "post")


def test_the_metadata_chooses(authority, home, start_agent, mltoken):
    authority.set_metadata(token_endpoint_auth_methods_supported=["client_secret_post"])
    get(home, start_agent, mltoken, service(authority, home, "svc-post")).ok()


def test_basic_is_the_default_where_the_metadata_is_silent(authority, home, start_agent, mltoken):
    authority.set_metadata(token_endpoint_auth_methods_supported=None)
    get(home, start_agent, mltoken, service(authority, home, "svc-basic")).ok()


def test_secret_from_a_file_loses_one_newline_only(authority, home, start_agent, mltoken):
    authority.set_client("svc", secret=" blanks around \t")
    get(home, start_agent, mltoken, service(authority, home, client_auth="client_secret_post")).ok()
    assert authority.requests("token")[0].form["client_secret"] == " blanks around \t"


def test_secret_from_the_environment(authority, home, start_agent, mltoken):
    profile = {**service(authority, home), "client_secret": "env:SVC_SECRET"}
    get(home, start_agent, mltoken, profile, SVC_SECRET=SECRET_PLAIN).ok()


def test_secret_from_an_environment_that_lacks_it(authority, home, start_agent, mltoken):
    profile = {**service(authority, home), "client_secret": "env:SVC_SECRET"}
    err = get(home, start_agent, mltoken, profile).failed(3)
    assert "SVC_SECRET" in err and "environment" in err


def test_secret_from_a_credential(authority, home, start_agent, mltoken):
    path = home.write("credentials/svc", SECRET_PLAIN, 0o400)
    profile = {**service(authority, home), "client_secret": "credential:svc"}
    get(home, start_agent, mltoken, profile, CREDENTIALS_DIRECTORY=os.path.dirname(path)).ok()


def test_secret_from_a_command(authority, home, start_agent, mltoken):
    script = home.write("bin/give", f"#!/bin/sh\n[ \"$1\" = 'two words' ] && printf '%s\\n' '{SECRET_PLAIN}'\n", 0o700)
    profile = {**service(authority, home), "client_secret": f"command:{script} 'two words'"}
    get(home, start_agent, mltoken, profile).ok()


def test_a_command_runs_without_a_shell(authority, home, start_agent, mltoken):
    mark = os.path.join(home.path, "pwned")
    profile = {**service(authority, home), "client_secret": f"command:/bin/echo x; touch {mark}"}
    get(home, start_agent, mltoken, profile)
    assert not os.path.exists(mark)


@pytest.mark.parametrize("script", ["exit 1", "kill -9 $$", "printf ''", "head -c 100000 /dev/zero | tr '\\0' x"])
def test_a_command_that_fails(authority, home, start_agent, mltoken, script):
    path = home.write("bin/give", f"#!/bin/sh\n{script}\n", 0o700)
    profile = {**service(authority, home), "client_secret": f"command:{path}"}
    assert "client_secret" in get(home, start_agent, mltoken, profile).failed(3)
    assert authority.count("token") == 0


def test_a_command_that_hangs_costs_only_itself(authority, home, start_agent, mltoken):
    path = home.write("bin/give", "#!/bin/sh\nexec sleep 600\n", 0o700)
    home.config({"p": {**service(authority, home), "client_secret": f"command:{path}"}, "q": service(authority, home)})
    start_agent()
    waiting = mltoken.start("get", "p", "--timeout", "30")
    mltoken("get", "q").ok()
    assert waiting.poll() is None, "it was waited for"
    assert mltoken.finish(waiting).code in (3, 6)


def test_a_file_that_is_not_there(authority, home, start_agent, mltoken):
    profile = {**service(authority, home), "client_secret": "file:" + home.path + "/none"}
    assert "none" in get(home, start_agent, mltoken, profile).failed(3)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o644, 0o666])
def test_a_file_that_others_can_read(authority, home, start_agent, mltoken, mode):
    profile = service(authority, home)
    os.chmod(profile["client_secret"][5:], mode)
    get(home, start_agent, mltoken, profile).failed(3)
    assert authority.count("token") == 0


def test_a_file_that_is_no_file(authority, home, start_agent, mltoken):
    os.mkfifo(os.path.join(home.path, "fifo"), 0o600)
    profile = {**service(authority, home), "client_secret": f"file:{home.path}/fifo"}
    get(home, start_agent, mltoken, profile).failed(3)


def test_a_secret_is_read_anew(authority, home, start_agent, mltoken):
    authority.set_client("svc", secret="second")
    profile = service(authority, home, secret="first")
    err = get(home, start_agent, mltoken, profile).failed(5)
    assert "invalid_client" in err
    home.config({"p": {**service(authority, home, secret="second"), "scope": "changed"}})
    wait_until(lambda: mltoken("get", "p").code == 0)


# Where the endpoints come from

def test_an_authority_with_an_rfc8414_document_alone(authority, home, start_agent, mltoken):
    get(home, start_agent, mltoken, service(authority, home, base=authority.oauth)).ok()
    authority.set_client("svc", token_lifetime=3600)
    assert mltoken("get", "p", "--refresh").ok()
    assert authority.count("metadata:rfc8414") == 1


def test_openid_discovery_comes_first(authority, home, start_agent, mltoken):
    get(home, start_agent, mltoken, service(authority, home)).ok()
    assert [r.endpoint for r in authority.requests()] == ["metadata:openid", "token"]


def test_configured_endpoints_need_no_metadata(authority, home, start_agent, mltoken):
    profile = service(authority, home, token_endpoint=authority.oidc + "/token")
    get(home, start_agent, mltoken, profile).ok()
    assert authority.count("metadata") == 0


def test_configured_endpoints_win(authority, home, start_agent, mltoken):
    authority.set_metadata(token_endpoint=authority.oidc + "/nowhere")
    profile = service(authority, home, token_endpoint=authority.oidc + "/token")
    get(home, start_agent, mltoken, profile).ok()


def test_an_authority_with_no_metadata_at_all(authority, home, start_agent, mltoken):
    authority.switch("openid", False)
    authority.switch("rfc8414", False)
    result = get(home, start_agent, mltoken, service(authority, home))
    assert result.code in (3, 5, 6) and authority.oidc in result.failed(result.code)


def test_another_issuer_in_the_document(authority, home, start_agent, mltoken):
    for issuer in (authority.oidc + "/", authority.oidc.upper(), authority.oidc + "/x", "https://evil.example", None, 7):
        authority.forget_requests()
        authority.set_metadata(issuer=issuer)
        home.config({"p": service(authority, home)})
        agent = start_agent()
        result = mltoken("get", "p")
        assert result.code in (3, 5, 6), (issuer, result)
        result.failed(result.code)
        assert authority.count("token") == 0
        agent.stop()


def test_metadata_is_fetched_once_for_many_profiles(authority, home, start_agent, varlink):
    home.config({f"p{i}": service(authority, home, f"load-{i}") for i in range(50)})
    start_agent()
    connections = [varlink() for _ in range(50)]
    for i, connection in enumerate(connections):
        connection.send("GetToken", {"profile": f"p{i}"})
    assert len({c.reply()["token"]["value"] for c in connections}) == 50
    assert authority.count("metadata") == 1


# TLS

def test_https_with_a_ca_file(authority, home, start_agent, mltoken):
    get(home, start_agent, mltoken, service(authority, home, base=authority.https + "/oidc", ca_file=authority.ca_file)).ok()


@pytest.mark.parametrize("certificate, version", [("wrong_host", None), ("other_ca", None), ("expired", None),
                                                  ("good", "TLSv1_1")])
def test_https_that_does_not_prove_itself(authority, home, start_agent, mltoken, certificate, version):
    base = authority.listen(certificate, version)
    profile = service(authority, home, base=base + "/oidc", ca_file=authority.ca_file)
    err = get(home, start_agent, mltoken, profile).failed(6)
    assert "p" in err and authority.count() == 0


def test_https_without_the_ca(authority, home, start_agent, mltoken):
    get(home, start_agent, mltoken, service(authority, home, base=authority.https + "/oidc")).failed(6)
    assert authority.count() == 0


def test_plain_http_is_for_literal_loopback_only(authority, home, start_agent, mltoken):
    port = authority.http_port
    for host in ("localhost", "authority.test", "0.0.0.0", "127.0.0.1.evil.example", "127.1", "2130706433"):
        home.config({"p": service(authority, home, base=f"http://{host}:{port}/oidc")})
        agent = start_agent()
        assert "ssh" in mltoken("get", "p").failed(3) or host[0] in "012"  # or not an address at all
        agent.stop()
    assert authority.count() == 0


# Entra

SCOPE = "https://cognitiveservices.example/.default"
TENANT = "c0470500-0000-4000-8000-00000000c050"


def test_entra_v2(authority, home, start_agent, mltoken):
    base = f"{authority.http}/{TENANT}/v2.0"
    get(home, start_agent, mltoken, service(authority, home, base=base, dialect="entra", scope=SCOPE)).ok()
    assert keys.decode(mltoken("get", "p").out.strip())[1]["aud"] == "https://cognitiveservices.example"
    [request] = authority.requests("token")
    assert request.path == f"/{TENANT}/oauth2/v2.0/token"
    assert request.headers["x-ms-lib-capability"] == "retry-after, h429"


def test_entra_v1_counts_in_strings(authority, home, start_agent, mltoken):
    profile = service(authority, home, base=f"{authority.http}/{TENANT}", dialect="entra_v1", scope=None,
                      resource="00000002-0000-0000-c000-000000000000")
    get(home, start_agent, mltoken, profile).ok()
    token = mltoken("get", "p", "--json").json()
    assert abs(token["expiresAt"] - time.time() - 3600) < 30
    form = authority.requests("token")[0].form
    assert form["resource"] == "00000002-0000-0000-c000-000000000000" and "scope" not in form
    assert authority.requests("token")[0].path == f"/{TENANT}/oauth2/token"


def test_entra_errors_carry_their_ids(authority, home, start_agent, mltoken):
    profile = service(authority, home, secret="wrong", base=f"{authority.http}/{TENANT}/v2.0", dialect="entra", scope=SCOPE)
    err = get(home, start_agent, mltoken, profile).failed(5)
    assert "invalid_client" in err and "AADSTS7000215" in err


def test_entra_ids_are_in_the_error_reply(authority, home, start_agent, varlink):
    home.config({"p": service(authority, home, secret="wrong", base=f"{authority.http}/{TENANT}/v2.0", dialect="entra",
                              scope=SCOPE)})
    start_agent()
    error = varlink().error("GetToken", profile="p")
    assert error.name == "AuthorityRefused"
    assert len(error.parameters["correlationId"]) == 36 and len(error.parameters["traceId"]) == 36


def test_basic_credentials_are_encoded_before_base64(authority, home, start_agent, mltoken):
    get(home, start_agent, mltoken, service(authority, home, "svc-basic", client_auth="client_secret_basic")).ok()
    raw = base64.b64decode(authority.requests("token")[0].headers["authorization"][6:]).decode()
    assert SECRET_ODD not in raw and raw.count(":") == 1


def test_a_command_that_prints_nul(authority, home, start_agent, mltoken):
    script = home.write("bin/give", "#!/bin/sh\nprintf 'a\\0b'\n", 0o700)
    profile = {**service(authority, home), "client_secret": f"command:{script}"}
    assert "client_secret" in get(home, start_agent, mltoken, profile).failed(3)
    assert authority.count("token") == 0
