"""The authorities as they are, asked by a bare client: what the tests of mltoken beside this file stand on."""

import time

import pytest

from interop_oauth import Client, Refused, claims, jose_header


def basic(authority):
    return Client(authority.issuer, *authority.basic, auth="client_secret_basic")


def post(authority):
    return Client(authority.issuer, *authority.post, auth="client_secret_post")


def public(authority):
    return Client(authority.issuer, authority.public)


def sign_in(authority, client, **how):
    started = client.device_authorization(scope=authority.login_scope)
    authority.browse(started, client_id=client.client_id, **how)
    return client.device_token(started["device_code"])


@pytest.mark.parametrize("make", [basic, post])
def test_client_credentials(authority, make):
    client = make(authority)
    answer = client.client_credentials(scope=authority.machine_scope)
    assert answer["token_type"].lower() == "bearer"
    assert "refresh_token" not in answer
    told = claims(answer["access_token"])
    assert told["iss"] == authority.issuer
    assert told["aud"] == authority.machine_audience
    assert told["client_id"] == client.client_id
    assert told["exp"] - told["iat"] == answer["expires_in"]


@pytest.mark.parametrize("kind", ["basic", "post"])
def test_wrong_secret_is_refused(authority, kind):
    client = Client(authority.issuer, getattr(authority, kind)[0], "wrong", auth=f"client_secret_{kind}")
    with pytest.raises(Refused) as refusal:
        client.client_credentials(scope=authority.machine_scope)
    assert refusal.value.status in (400, 401, 403)


def test_basic_without_form_encoding_is_refused(oidc_provider):
    client = Client(oidc_provider.issuer, *oidc_provider.basic, auth="client_secret_basic", encode_basic=False)
    with pytest.raises(Refused) as refusal:
        client.client_credentials(scope=oidc_provider.machine_scope)
    assert refusal.value.status == 401 or refusal.value.error in ("invalid_request", "invalid_client")


@pytest.mark.parametrize("make", [public, basic, post])
def test_device_flow(authority, make):
    client = make(authority)
    started = client.device_authorization(scope=authority.login_scope)
    with pytest.raises(Refused) as pending:
        client.device_token(started["device_code"])
    assert pending.value.error == "authorization_pending"
    authority.browse(started, client_id=client.client_id)
    time.sleep(started.get("interval", 0))  # else slow_down
    answer = client.device_token(started["device_code"])
    who = claims(answer["id_token"])
    assert (who["iss"], who["aud"]) == (authority.issuer, client.client_id)
    assert claims(answer["access_token"])["sub"] == who["sub"]
    assert answer["scope"] == authority.granted_scope
    with pytest.raises(Refused):
        client.device_token(started["device_code"])


def test_id_tokens_come_in_three_algorithms(oidc_provider):
    seen = [jose_header(sign_in(oidc_provider, make(oidc_provider))["id_token"])["alg"]
            for make in (public, basic, post)]
    assert seen == ["RS256", "ES256", "PS256"]


def test_code_typed_by_hand(authority):
    assert "access_token" in sign_in(authority, public(authority), typed=True)


def test_person_says_no(oidc_provider):
    client = public(oidc_provider)
    started = client.device_authorization(scope=oidc_provider.login_scope)
    oidc_provider.browse(started, deny=True)
    with pytest.raises(Refused) as refusal:
        client.device_token(started["device_code"])
    assert refusal.value.error == "access_denied"


def test_polling_too_fast_is_slowed_down(glewlwyd):
    client = public(glewlwyd)
    started = client.device_authorization(scope=glewlwyd.login_scope)
    errors = []
    for _ in range(2):
        with pytest.raises(Refused) as refusal:
            client.device_token(started["device_code"])
        errors.append(refusal.value.error)
    assert errors == ["authorization_pending", "slow_down"]


def test_no_offline_access_no_refresh_token(oidc_provider):
    client = public(oidc_provider)
    started = client.device_authorization(scope="openid api:read")
    oidc_provider.browse(started)
    assert "refresh_token" not in client.device_token(started["device_code"])


@pytest.mark.parametrize("make", [public, basic, post])
def test_refresh_rotates_and_the_old_one_kills_the_family(authority, make):
    client = make(authority)
    first = sign_in(authority, client)
    second = client.refresh(first["refresh_token"])
    assert second["refresh_token"] != first["refresh_token"]
    third = client.refresh(second["refresh_token"])
    assert [live for _, live in authority.refresh_tokens(client.client_id)][-3:] == [False, False, True]
    assert claims(third["access_token"])["jti"] != claims(second["access_token"])["jti"]
    for dead in (first, third):
        with pytest.raises(Refused) as refusal:
            client.refresh(dead["refresh_token"])
        assert refusal.value.status == 400
        # glewlwyd says it with an empty body: a refusal must be known by its status, too
        assert refusal.value.error == ("invalid_grant" if authority.name == "oidc-provider" else None)
    assert not any(live for _, live in authority.refresh_tokens(client.client_id)[-3:])


@pytest.mark.parametrize("make", [basic, post])
def test_revocation(authority, make):
    client = make(authority)
    refresh_token = sign_in(authority, client)["refresh_token"]
    assert client.introspect(refresh_token)["active"] is True
    client.revoke(refresh_token, "refresh_token")
    assert client.introspect(refresh_token)["active"] is False
    with pytest.raises(Refused):
        client.refresh(refresh_token)
    client.revoke(refresh_token, "refresh_token")  # RFC 7009 2.2: a dead token is no error


def test_revocation_by_a_public_client(authority):
    client = public(authority)
    refresh_token = sign_in(authority, client)["refresh_token"]
    if not authority.public_may_revoke:
        with pytest.raises(Refused) as refusal:
            client.revoke(refresh_token, "refresh_token")
        assert refusal.value.status == 401
        assert "refresh_token" in client.refresh(refresh_token)
        return
    client.revoke(refresh_token, "refresh_token")
    with pytest.raises(Refused):
        client.refresh(refresh_token)


def test_resource_of_the_token(oidc_provider):
    answer = basic(oidc_provider).client_credentials(resource="urn:mltoken:other", scope="api:write")
    assert claims(answer["access_token"])["aud"] == "urn:mltoken:other"
    assert claims(answer["access_token"])["scope"] == "api:write"
