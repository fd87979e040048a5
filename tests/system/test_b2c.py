"""Azure AD B2C and Entra External ID: the user flow in the authority's path (WIRE section 8)."""

import json

import pytest

from authority.b2c import ID, NAME

PASSWORD = "correct horse"
OTHER = "b2c00000-0000-4000-8000-0000000000b3"
FORMS = {"the path": (f"/{NAME}/B2C_1_ropc", {}), "with its version": (f"/{NAME}/B2C_1_ropc/v2.0/", {}),
         "tfp": (f"/tfp/{NAME}/B2C_1_ropc", {}), "the tenant's id": (f"/{ID}/B2C_1_ropc", {}),
         "keys": ("", {"tenant": NAME, "policy": "B2C_1_ropc"}), "a key": (f"/{NAME}/", {"policy": "B2C_1_ropc"})}


def service(authority, home, path=f"/{NAME}/B2C_1_ropc", **more):
    return {"grant": "client_credentials", "dialect": "b2c", "authority": authority.http + path, "client_id": "svc",
            "client_secret": home.secret(authority.client("svc").secret),
            "scope": f"https://{NAME}/api/.default", **more}


def robot(authority, home, path=f"/{NAME}/B2C_1_ropc", **more):
    return {"grant": "password", "dialect": "b2c", "authority": authority.http + path, "client_id": "typed",
            "username": "alice", "password": home.secret(PASSWORD, "password"), **more}


def config_error(home, mltoken, profile):
    home.config({"p": profile})
    result = mltoken("config", "check")
    assert result.code == 3
    return result.out + result.err


@pytest.mark.parametrize("form", FORMS)
def test_client_credentials(authority, home, start_agent, mltoken, form):
    path, keys = FORMS[form]
    home.config({"p": service(authority, home, path, **keys)})
    start_agent()
    token = mltoken("get", "p", "--json").ok().json()
    assert 3500 < token["expiresAt"] - __import__("time").time() <= 3600
    request = authority.requests("token")[0]
    assert request.path.endswith("/B2C_1_ropc/oauth2/v2.0/token")
    assert request.form["scope"] == f"https://{NAME}/api/.default" and request.form["client_secret"]
    assert [r.path for r in authority.requests("metadata")][0].endswith(
        "/B2C_1_ropc/v2.0/.well-known/openid-configuration")


@pytest.mark.parametrize("form", FORMS)
def test_a_password(authority, home, start_agent, mltoken, form):
    path, keys = FORMS[form]
    home.config({"p": robot(authority, home, path, **keys)})
    agent = start_agent()
    token = mltoken("get", "p", "--json").ok().json()
    assert token["account"] == "alice@example.org"  # from an id_token whose issuer is B2C's own
    form = authority.requests("token")[0].form
    assert form["response_type"] == "token id_token" and "client_secret" not in form
    assert set(form["scope"].split()) == {"openid", "typed", "offline_access"}
    again = mltoken("get", "p", "--refresh", "--json").ok().json()
    assert again["value"] != token["value"]
    renewal = authority.requests("token")[1]
    assert renewal.grant == "refresh_token" and set(renewal.form["scope"].split()) == {"openid", "typed", "offline_access"}
    assert PASSWORD not in agent.log() and token["value"] not in agent.log()


def test_a_wrong_password_is_sent_once(authority, home, start_agent, mltoken):
    home.config({"p": robot(authority, home, password=home.secret("wrong horse", "wrong"))})
    agent = start_agent()
    err = mltoken("get", "p").failed(5)
    assert "AADB2C90225" in err and "wrong horse" not in err + agent.log()
    for _ in range(3):
        mltoken("get", "p", "--refresh").failed(5)
    assert authority.count("token") == 1


@pytest.mark.parametrize("host", ["contoso.b2clogin.com", "contoso.ciamlogin.com"])
def test_device_codes_are_refused_early(home, mltoken, host):
    path = "/contoso.onmicrosoft.com" + ("/B2C_1_x" if "b2c" in host else "")
    said = config_error(home, mltoken, {"grant": "device_code", "authority": f"https://{host}{path}", "client_id": "x"})
    assert "no device code flow" in said and "authorization_code" in said


WRONG = {"no user flow": ({"authority": "https://contoso.b2clogin.com/contoso.onmicrosoft.com"}, "policy = "),
         "no tenant": ({"authority": "https://contoso.b2clogin.com"}, "tenant"),
         "two user flows": ({"authority": "https://contoso.b2clogin.com/t/B2C_1_a", "policy": "B2C_1_b"}, "another user flow"),
         "two tenants": ({"authority": "https://contoso.b2clogin.com/t/B2C_1_a", "tenant": "u"}, "another tenant"),
         "too deep": ({"authority": "https://contoso.b2clogin.com/t/B2C_1_a/oauth2"}, "not an address"),
         "a flow for External ID": ({"authority": "https://contoso.ciamlogin.com/t/B2C_1_a"}, "has a user flow"),
         "a flow elsewhere": ({"authority": "https://login.example.org", "policy": "B2C_1_a"}, "dialect = b2c"),
         "a bad name": ({"authority": "https://contoso.b2clogin.com/t", "policy": "a/b"}, "letters")}


@pytest.mark.parametrize("case", WRONG)
def test_what_no_address_is(home, mltoken, case):
    keys, said = WRONG[case]
    assert said in config_error(home, mltoken, {"grant": "client_credentials", "client_id": "x",
                                                "client_secret": "stored", "scope": "y/.default", **keys})


def test_no_proof_of_the_client_with_a_password(authority, home, mltoken):
    assert "would not look at it" in config_error(home, mltoken, robot(authority, home, client_secret="stored"))


ISSUERS = {"another tenant": f"/{OTHER}/v2.0/x/y", "another user flow": f"/tfp/{ID}/b2c_1_other/v2.0/",
           "another place": "https://evil.example/" + ID + "/v2.0/"}


@pytest.mark.parametrize("case", ISSUERS)
def test_another_issuer_is_refused(authority, home, start_agent, mltoken, case):
    issuer = ISSUERS[case] if "://" in ISSUERS[case] else authority.http + ISSUERS[case]
    authority.set_metadata(f"/{NAME}/B2C_1_ropc", issuer=issuer)
    home.config({"p": service(authority, home)})
    start_agent()
    assert "byte for byte" in mltoken("get", "p").failed(3)
    assert authority.count("token") == 0


def test_another_tenants_id_is_refused_where_an_id_is_configured(authority, home, start_agent, mltoken):
    authority.set_metadata(f"/{ID}/B2C_1_ropc", issuer=f"{authority.http}/{OTHER}/v2.0/")
    home.config({"p": service(authority, home, f"/{ID}/B2C_1_ropc")})
    start_agent()
    assert "byte for byte" in mltoken("get", "p").failed(3)


def test_an_id_token_of_another_issuer_is_refused(authority, home, start_agent, mltoken):
    authority.set_client("typed", id_token_claims={"iss": f"{authority.http}/{OTHER}/v2.0/"})
    home.config({"p": robot(authority, home)})
    start_agent()
    assert "issuer" in mltoken("get", "p").failed(5)


def test_numbers_are_what_b2c_sends(authority, home, start_agent, mltoken):
    home.config({"p": robot(authority, home)})
    start_agent()
    mltoken("get", "p").ok()
    body = {"expires_in": "3600"}
    from authority.b2c import B2c
    dialect = B2c("/" + NAME, "B2C_1_ropc")
    assert dialect.tokens({"expires_in": 3600, "scope": "x"}, "password") == body
    assert isinstance(json.dumps(dialect.tokens({"expires_in": 3600}, "refresh_token")), str)
