"""Clients that prove themselves with a key (private_key_jwt, RFC 7523), as oidc-provider wants it: its own library reads
the assertions, checks their times and audience, and takes each jti once."""

import pytest

from interop_mltoken import User
from interop_oauth import claims

CASES = [("mltoken-rsa", None), ("mltoken-rsa", "RS256"), ("mltoken-rsa", "PS256"), ("mltoken-ec", None)]


def key_of(authority, client):
    return str(authority.keys / f"{client}.pem")


@pytest.fixture(scope="module")
def user(oidc_provider):
    mine = User()
    for client, alg in CASES:
        mine.profile(f"{client}-{alg}", oidc_provider, client, "client_credentials", oidc_provider.machine_scope,
                     client_key=key_of(oidc_provider, client), assertion_kid=client, assertion_alg=alg)
    mine.profile("issuer", oidc_provider, "mltoken-ec", "client_credentials", oidc_provider.machine_scope,
                 client_key=key_of(oidc_provider, "mltoken-ec"), assertion_audience=oidc_provider.issuer)
    mine.profile("other", oidc_provider, "mltoken-ec", "client_credentials", oidc_provider.machine_scope,
                 client_key=key_of(oidc_provider, "mltoken-rsa"))
    mine.profile("person", oidc_provider, "mltoken-ec", "device_code", oidc_provider.login_scope,
                 client_key=key_of(oidc_provider, "mltoken-ec"))
    try:
        yield mine.start()
    finally:
        mine.home.known_secrets += [value for value, _ in oidc_provider.refresh_tokens("mltoken-ec") if value]
        mine.stop()


@pytest.mark.parametrize("client, alg", CASES)
def test_each_algorithm(user, oidc_provider, client, alg):
    first = claims(user.get(f"{client}-{alg}"))
    assert first["client_id"] == client and first["iss"] == oidc_provider.issuer
    assert claims(user.get("--refresh", f"{client}-{alg}"))["jti"] != first["jti"]


def test_meant_for_the_issuer(user):
    assert claims(user.get("issuer"))["client_id"] == "mltoken-ec"


def test_the_key_of_somebody_else(user):
    assert "invalid_client" in user.fails(5, "get", "other")


def test_a_person_renews_and_leaves(user, oidc_provider):
    user.sign_in("person", oidc_provider, client_id="mltoken-ec")
    first = user.get("person")
    assert user.get("--refresh", "person") != first
    assert sum(live for _, live in oidc_provider.refresh_tokens("mltoken-ec")) == 1
    user.ok("logout", "person")
    assert not any(live for _, live in oidc_provider.refresh_tokens("mltoken-ec"))
