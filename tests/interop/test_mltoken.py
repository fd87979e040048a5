"""mltoken against the real authorities: the built programs, a person at the browser, and the servers' own word on what
became of the tokens."""

import concurrent.futures
import json
import subprocess
import time

import pytest

import interop_oidc_provider
from interop_mltoken import User
from interop_oauth import Client, Refused, claims

PATIENCE_S = 180


@pytest.fixture(scope="module")
def user(authority):
    """One user with all the profiles; each test that signs in has a profile of its own."""
    mine = User()
    machine, device = "client_credentials", "device_code"
    mine.profile("basic", authority, authority.basic, machine, authority.machine_scope, client_auth="client_secret_basic")
    mine.profile("post", authority, authority.post, machine, authority.machine_scope, client_auth="client_secret_post")
    mine.profile("wrong", authority, (authority.basic[0], "not-the-secret"), machine, authority.machine_scope)
    for name in ("person", "leaver", "robbed", "denier"):
        mine.profile(name, authority, authority.public, device, authority.login_scope)
    mine.profile("keyed", authority, authority.basic, device, authority.login_scope, client_auth="client_secret_basic")
    mine.profile("posted", authority, authority.post, device, authority.login_scope, client_auth="client_secret_post")
    try:
        yield mine.start()
    finally:
        for client_id in (authority.public, authority.basic[0], authority.post[0]):
            mine.home.known_secrets += [value for value, _ in authority.refresh_tokens(client_id) if value]
        mine.stop()


@pytest.fixture(scope="module")
def signed_in(user, authority):
    return user.sign_in("person", authority)


def alive(authority, client_id):
    return sum(live for _, live in authority.refresh_tokens(client_id))


# -- client credentials

@pytest.mark.parametrize("name", ["basic", "post"])
def test_get(user, authority, name):
    token = user.get(name)
    told = claims(token)
    assert told["iss"] == authority.issuer
    assert told["client_id"] == getattr(authority, name)[0]
    assert told["scope"] == authority.machine_scope
    assert user.get(name) == token, "the second one comes from the cache"
    fresh = user.get("--refresh", name)
    assert claims(fresh)["jti"] != told["jti"]
    assert user.get(name) == fresh


def test_get_json_has_the_expiry_of_that_very_token(user):
    answer = json.loads(user.ok("get", "--json", "basic"))
    assert answer["value"] == user.get("basic")
    assert abs(answer["expiresAt"] - claims(answer["value"])["exp"]) <= 2
    assert answer["scopes"] == ["api:read"]


def test_header_is_bearer_however_the_authority_writes_it(user):
    assert user.get("--header", "basic") == "Authorization: Bearer " + user.get("basic")


def test_another_scope_is_another_token(user):
    other = user.get("--scope", "api:write", "basic")
    assert claims(other)["scope"] == "api:write"
    assert claims(user.get("basic"))["scope"] == "api:read"


def test_resource(user, authority):
    told = claims(user.get("--resource", "urn:mltoken:other", "basic"))
    # glewlwyd, as it is set up, knows no resources: it ignores the parameter, and so goes on
    assert told["aud"] == ("urn:mltoken:other" if authority.name == "oidc-provider" else authority.machine_audience)


def test_wrong_secret(user, authority):
    why = user.fails(5, "get", "wrong")
    assert "wrong" in why
    assert user.get("basic"), "the good profile of the same client is not drawn in"


# -- a person

def test_login(user, authority, signed_in):
    assert signed_in["account"]
    told = claims(user.get("person"))
    assert told["iss"] == authority.issuer and told["client_id"] == authority.public
    assert told["scope"] == authority.granted_scope
    if authority.name == "oidc-provider":
        assert told["sub"] == authority.person


def test_the_token_opens_the_door(user, authority, signed_in):
    """As one would use it: curl reads its configuration from us and asks a service that looks at the token."""
    config = user.ok("get", "--curl", "person")
    said = subprocess.run(["curl", "-q", "--silent", "--show-error", "--fail", "-K", "-", authority.door], input=config,
                          text=True, capture_output=True, timeout=120)
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["sub"] == claims(user.get("person"))["sub"]


@pytest.mark.parametrize("name", ["keyed", "posted"])
def test_login_of_a_client_with_a_secret(user, authority, name):
    """At oidc-provider these two also have id_tokens signed with ES256 and PS256."""
    client_id = (authority.basic if name == "keyed" else authority.post)[0]
    before = alive(authority, client_id)
    user.sign_in(name, authority, client_id=client_id)
    token = user.get(name)
    assert claims(user.get("--refresh", name))["jti"] != claims(token)["jti"]
    assert alive(authority, client_id) == before + 1
    user.ok("logout", name)
    assert alive(authority, client_id) == before, "the server says it is revoked"
    user.fails(4, "get", name)


def test_refresh_rotates_and_goes_on_rotating(user, authority, signed_in):
    seen = [claims(user.get("person"))["jti"]]
    given = len(authority.refresh_tokens(authority.public))
    for _ in range(3):
        seen.append(claims(user.get("--refresh", "person"))["jti"])
    assert len(set(seen)) == 4
    ours = authority.refresh_tokens(authority.public)[given:]
    assert [live for _, live in ours] == [False, False, True], "each was replaced, the last one lives"


def test_several_at_once_share_one_refresh(user, authority, signed_in):
    """Two refreshes with one refresh token would end the family at both authorities."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(lambda _: user.get("--refresh", "person"), range(16)))
    assert tokens
    user.get("--refresh", "person")
    assert alive(authority, authority.public) >= 1


def test_show(user, authority, signed_in):
    token = user.get("person")
    shown = user.ok("show", "--json", "person")
    assert token not in shown and token.split(".")[2] not in shown
    assert authority.issuer in shown and claims(token)["sub"] in shown
    plain = user.ok("show", "person")
    assert claims(token)["sub"] in plain and token.split(".")[2] not in plain


def test_status(user, authority, signed_in):
    user.get("person")
    line = next(line for line in user.ok("status").splitlines() if "person" in line.split())
    assert "device_code" in line and "ready" in line


@pytest.mark.parametrize("authority", ["glewlwyd"], indirect=True)
def test_what_the_authority_says_of_a_token(user, authority, signed_in):
    """Introspection for a client with a secret, userinfo for a person without one. oidc-provider's are in test_secure.py."""
    told = json.loads(user.ok("show", "basic", "--remote", "--json"))["claims"]
    assert told["active"] is True and told["client_id"] == authority.basic[0] and told["scope"] == authority.machine_scope
    told = json.loads(user.ok("show", "person", "--remote", "--json"))["claims"]
    assert told["sub"] == claims(user.get("person"))["sub"]


@pytest.mark.parametrize("name", ["person", "basic"])
def test_verify(user, authority, signed_in, name):
    token = user.get(name)
    audience = authority.login_audience if name == "person" else authority.machine_audience
    said = user.ok("verify", "--profile", name, "--audience", audience, input=token + "\n")
    assert claims(token)["jti"] in said
    assert user.fails(5, "verify", "--profile", name, "--audience", "somebody-else", input=token)
    assert user.fails(5, "verify", "--profile", name, input=token), "no audience is the client id, never a skipped check"
    head, body, signature = token.split(".")
    forged = ".".join((head, body, ("A" if signature[0] != "A" else "B") + signature[1:]))
    assert user.fails(5, "verify", "--profile", name, "--audience", audience, input=forged)


def test_logout_revokes_at_the_authority(user, authority):
    """Where the authority lets a public client revoke. Where it does not, that is said, and it is forgotten here."""
    user.sign_in("leaver", authority)
    user.get("leaver")
    value, live = authority.refresh_tokens(authority.public)[-1]
    assert live
    said = user.run("logout", "leaver").ok()
    assert authority.refresh_tokens(authority.public)[-1][1] is not authority.public_may_revoke
    outcome = said.out + said.err
    assert "revoke" in outcome, outcome
    assert ("not revoked" in outcome) is not authority.public_may_revoke, outcome
    if value:
        with pytest.raises(Refused):
            Client(authority.issuer, authority.public).refresh(value)
    assert "mltoken login leaver" in user.fails(4, "get", "leaver")


def test_refresh_token_ended_by_somebody_else(user, authority):
    """oidc-provider: a thief used it first, so the next use ends the family. glewlwyd: the administrator ended it, which
    the server says by a 400 with an empty body. Both: a person must sign in, and the message names the command."""
    user.sign_in("robbed", authority)
    user.get("robbed")
    if authority.name == "oidc-provider":
        Client(authority.issuer, authority.public).refresh(authority.refresh_tokens(authority.public)[-1][0])
    else:
        authority.end_last_refresh_token(authority.public)
    assert "mltoken login robbed" in user.fails(4, "get", "--refresh", "robbed")
    user.sign_in("robbed", authority)
    assert user.get("--refresh", "robbed")


@pytest.mark.parametrize("authority", ["oidc_provider"], indirect=True)
def test_person_says_no(user, authority):
    """glewlwyd's device pages have no way to."""
    done, said = user.login("denier", lambda prompt: authority.browse(prompt, deny=True))
    assert done.code == 4, done
    assert "denied" in done.err or "declined" in done.err, done
    assert "done" not in [one.get("state") for one in said]


# -- time

@pytest.fixture(scope="module")
def hasty(tmp_path_factory, oidc_provider_folder):
    """oidc-provider whose tokens and codes live for seconds."""
    with interop_oidc_provider.running(oidc_provider_folder, tmp_path_factory.mktemp("hasty"), access_ttl=12,
                                       device_ttl=7) as server:
        mine = User()
        mine.profile("machine", server, server.basic, "client_credentials", server.machine_scope)
        mine.profile("absent", server, server.public, "device_code", server.login_scope)
        try:
            yield mine.start()
        finally:
            mine.stop()


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
    done, _ = hasty.login("absent", lambda prompt: None)
    assert done.code == 4, done
    assert "expired" in done.err, done
