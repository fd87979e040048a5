"""mltoken against the real authorities: the built programs, a person at the browser, and the servers' own word on what
became of the tokens."""

import concurrent.futures
import json
import subprocess
import time

import pytest

import interop_oidc_provider
from interop_mltoken import Home
from interop_oauth import Client, Refused, claims

PATIENCE_S = 60


@pytest.fixture(scope="module")
def home(authority):
    """One user with all the profiles; each test that signs in has a profile of its own."""
    user = Home()
    machine, device = "client_credentials", "device_code"
    user.profile("basic", authority, authority.basic, machine, authority.machine_scope, client_auth="client_secret_basic")
    user.profile("post", authority, authority.post, machine, authority.machine_scope, client_auth="client_secret_post")
    user.profile("wrong", authority, (authority.basic[0], "not-the-secret"), machine, authority.machine_scope)
    for name in ("person", "leaver", "quiet", "robbed", "denier"):
        user.profile(name, authority, authority.public, device, authority.login_scope)
    user.profile("keyed", authority, authority.basic, device, authority.login_scope, client_auth="client_secret_basic")
    user.profile("posted", authority, authority.post, device, authority.login_scope, client_auth="client_secret_post")
    try:
        yield user.start()
    finally:
        for client_id in (authority.public, authority.basic[0], authority.post[0]):
            user.secrets += [value for value, _ in authority.refresh_tokens(client_id) if value]
        user.stop()


@pytest.fixture(scope="module")
def signed_in(home, authority):
    return home.sign_in("person", authority)


def alive(authority, client_id):
    return sum(live for _, live in authority.refresh_tokens(client_id))


# -- client credentials

@pytest.mark.parametrize("name", ["basic", "post"])
def test_get(home, authority, name):
    token = home.get(name)
    told = claims(token)
    assert told["iss"] == authority.issuer
    assert told["client_id"] == getattr(authority, name)[0]
    assert told["scope"] == authority.machine_scope
    assert home.get(name) == token, "the second one comes from the cache"
    fresh = home.get("--refresh", name)
    assert claims(fresh)["jti"] != told["jti"]
    assert home.get(name) == fresh


def test_get_json_has_the_expiry_of_that_very_token(home):
    answer = json.loads(home.ok("get", "--json", "basic"))
    assert answer["value"] == home.get("basic")
    assert abs(answer["expiresAt"] - claims(answer["value"])["exp"]) <= 2
    assert answer["scopes"] == ["api:read"]


def test_header_is_bearer_however_the_authority_writes_it(home):
    assert home.get("--header", "basic") == "Authorization: Bearer " + home.get("basic")


def test_another_scope_is_another_token(home):
    other = home.get("--scope", "api:write", "basic")
    assert claims(other)["scope"] == "api:write"
    assert claims(home.get("basic"))["scope"] == "api:read"


def test_resource(home, authority):
    told = claims(home.get("--resource", "urn:mltoken:other", "basic"))
    # glewlwyd, as it is set up, knows no resources: it ignores the parameter, and so goes on
    assert told["aud"] == ("urn:mltoken:other" if authority.name == "oidc-provider" else authority.machine_audience)


def test_wrong_secret(home, authority):
    why = home.fails(5, "get", "wrong")
    assert "wrong" in why
    assert home.get("basic"), "the good profile of the same client is not drawn in"


# -- a person

def test_login(home, authority, signed_in):
    assert signed_in["account"]
    told = claims(home.get("person"))
    assert told["iss"] == authority.issuer and told["client_id"] == authority.public
    assert told["scope"] == authority.granted_scope
    if authority.name == "oidc-provider":
        assert told["sub"] == authority.person


@pytest.mark.parametrize("authority", ["glewlwyd"], indirect=True)
def test_the_token_opens_the_door(home, authority, signed_in):
    """As one would use it: curl reads its configuration from us and asks the authority who the token belongs to. (The
    tokens of oidc-provider are for RESOURCE, which nobody serves here.)"""
    config = home.ok("get", "--curl", "person")
    door = Client(authority.issuer, authority.public).metadata["userinfo_endpoint"]
    said = subprocess.run(["curl", "-q", "--silent", "--show-error", "--fail", "-K", "-", door], input=config, text=True,
                          capture_output=True, timeout=30)
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["sub"] == claims(home.get("person"))["sub"]


@pytest.mark.parametrize("name", ["keyed", "posted"])
def test_login_of_a_client_with_a_secret(home, authority, name):
    """At oidc-provider these two also have id_tokens signed with ES256 and PS256."""
    client_id = (authority.basic if name == "keyed" else authority.post)[0]
    before = alive(authority, client_id)
    home.sign_in(name, authority, client_id=client_id)
    token = home.get(name)
    assert claims(home.get("--refresh", name))["jti"] != claims(token)["jti"]
    assert alive(authority, client_id) == before + 1
    home.ok("logout", name)
    assert alive(authority, client_id) == before, "the server says it is revoked"
    home.fails(4, "get", name)


def test_refresh_rotates_and_goes_on_rotating(home, authority, signed_in):
    seen = [claims(home.get("person"))["jti"]]
    given = len(authority.refresh_tokens(authority.public))
    for _ in range(3):
        seen.append(claims(home.get("--refresh", "person"))["jti"])
    assert len(set(seen)) == 4
    ours = authority.refresh_tokens(authority.public)[given:]
    assert [live for _, live in ours] == [False, False, True], "each was replaced, the last one lives"


def test_several_at_once_share_one_refresh(home, authority, signed_in):
    """Two refreshes with one refresh token would end the family at both authorities."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(lambda _: home.get("--refresh", "person"), range(16)))
    assert tokens
    home.get("--refresh", "person")
    assert alive(authority, authority.public) >= 1


def test_show(home, authority, signed_in):
    token = home.get("person")
    shown = home.ok("show", "--json", "person")
    assert token not in shown and token.split(".")[2] not in shown
    assert authority.issuer in shown and claims(token)["sub"] in shown
    plain = home.ok("show", "person")
    assert claims(token)["sub"] in plain and token.split(".")[2] not in plain


def test_status(home, authority, signed_in):
    home.get("person")
    line = next(line for line in home.ok("status").splitlines() if "person" in line.split())
    assert "device_code" in line and "ready" in line


@pytest.mark.parametrize("name", ["person", "basic"])
def test_verify(home, authority, signed_in, name):
    token = home.get(name)
    audience = authority.login_audience if name == "person" else authority.machine_audience
    said = home.ok("verify", "--profile", name, "--audience", audience, stdin=token + "\n")
    assert claims(token)["jti"] in said
    assert home.fails(5, "verify", "--profile", name, "--audience", "somebody-else", stdin=token)
    assert home.fails(5, "verify", "--profile", name, stdin=token), "no audience is the client id, never a skipped check"
    head, body, signature = token.split(".")
    forged = ".".join((head, body, ("A" if signature[0] != "A" else "B") + signature[1:]))
    assert home.fails(5, "verify", "--profile", name, "--audience", audience, stdin=forged)


def test_logout_revokes_at_the_authority(home, authority):
    """Where the authority lets a public client revoke. Where it does not, that is said, and it is forgotten here."""
    home.sign_in("leaver", authority)
    home.get("leaver")
    value, live = authority.refresh_tokens(authority.public)[-1]
    assert live
    said = home.run("logout", "leaver")
    assert said.returncode == 0, said.stderr
    assert authority.refresh_tokens(authority.public)[-1][1] is not authority.public_may_revoke
    outcome = said.stdout + said.stderr
    assert "revoke" in outcome, outcome
    assert ("not revoked" in outcome) is not authority.public_may_revoke, outcome
    if value:
        with pytest.raises(Refused):
            Client(authority.issuer, authority.public).refresh(value)
    assert "mltoken login leaver" in home.fails(4, "get", "leaver")


def test_refresh_token_ended_by_somebody_else(home, authority):
    """oidc-provider: a thief used it first, so the next use ends the family. glewlwyd: the administrator ended it, which
    the server says by a 400 with an empty body. Both: a person must sign in, and the message names the command."""
    home.sign_in("robbed", authority)
    home.get("robbed")
    if authority.name == "oidc-provider":
        Client(authority.issuer, authority.public).refresh(authority.refresh_tokens(authority.public)[-1][0])
    else:
        authority.end_last_refresh_token(authority.public)
    assert "mltoken login robbed" in home.fails(4, "get", "--refresh", "robbed")
    home.sign_in("robbed", authority)
    assert home.get("--refresh", "robbed")


@pytest.mark.parametrize("authority", ["oidc_provider"], indirect=True)
def test_person_says_no(home, authority):
    """glewlwyd's device pages have no way to."""
    code, said, stderr = home.login("denier", lambda prompt: authority.browse(prompt, deny=True))
    assert code == 4, stderr
    assert "denied" in stderr or "declined" in stderr, stderr
    assert "done" not in [one.get("state") for one in said]


# -- time

@pytest.fixture(scope="module")
def hasty(tmp_path_factory, oidc_provider_folder):
    """oidc-provider whose tokens and codes live for seconds."""
    with interop_oidc_provider.running(oidc_provider_folder, tmp_path_factory.mktemp("hasty"), access_ttl=6,
                                       device_ttl=7) as server:
        user = Home()
        user.profile("machine", server, server.basic, "client_credentials", server.machine_scope)
        user.profile("absent", server, server.public, "device_code", server.login_scope)
        try:
            yield user.start()
        finally:
            user.stop()


def test_renewed_before_it_ends(hasty):
    """Whoever asks gets a living token, each time, over several lives."""
    seen, until = set(), time.monotonic() + PATIENCE_S
    while len(seen) < 3:
        assert time.monotonic() < until, seen
        asked = int(time.time())
        told = claims(hasty.get("machine"))
        assert told["exp"] >= asked, "an expired token is never handed out"
        seen.add(told["jti"])
        time.sleep(0.2)


def test_nobody_comes_to_the_browser(hasty):
    code, said, stderr = hasty.login("absent", lambda prompt: None)
    assert code == 4, stderr
    assert "expired" in stderr, stderr
