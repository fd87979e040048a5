"""`mltoken login --policy NAME`: a step-up by another user flow of Azure AD B2C, from the browser to renewals after a restart."""

import json
import urllib.parse

import pytest

from authority import visit
from authority.b2c import ID, NAME
from authority.keys import KeySet
from harness import VarlinkError, wait_until

OWN, CHOSEN = "B2C_1_signin", "B2C_1_stepup"
FORMS = {"the path": (f"/{NAME}/{OWN}", {}), "tfp": (f"/tfp/{NAME}/{OWN}", {}), "the tenant's id": (f"/{ID}/{OWN}/v2.0", {}),
         "keys": ("", {"tenant": NAME, "policy": OWN})}


def profile(authority, path=f"/{NAME}/{OWN}", **more):
    return {"grant": "authorization_code", "dialect": "b2c", "authority": authority.http + path, "client_id": "web", **more}


@pytest.fixture
def setup(authority, home, start_agent):
    authority.set_client("web", refresh_token="always")
    home.config({"me": profile(authority)}, {"default_profile": "me"})
    return start_agent()


def sign_in(mltoken, *args, user="alice"):
    """(Result of the whole sign-in, the query of the authority's page)"""
    process = mltoken.start("login", "me", "--json", *args)
    line = process.stdout.readline()
    if not line:
        return mltoken.finish(process), None
    prompt = json.loads(line)["prompt"]
    visit(prompt["verificationUri"], user=user)
    address = urllib.parse.urlsplit(prompt["verificationUriComplete"])
    return mltoken.finish(process), (address.path, dict(urllib.parse.parse_qsl(address.query)))


def flow_of(request):
    return next(p for p in request.path.split("/") if p.lower().startswith("b2c_1"))


@pytest.mark.parametrize("form", FORMS)
def test_a_step_up_and_what_follows_it(authority, home, start_agent, mltoken, form):
    path, keys = FORMS[form]
    authority.set_client("web", refresh_token="always")
    for policy in (OWN, CHOSEN):  # each flow has keys of its own: the other's would not do
        authority.flow_keys[policy.lower()] = KeySet()
    home.config({"me": profile(authority, path, store="file", **keys)},
                {"default_profile": "me", "key_file": home.write("key", "k" * 40)})
    agent = start_agent()
    done, (page, query) = sign_in(mltoken)
    assert done.code == 0 and f"/{OWN}/oauth2/v2.0/authorize" in page, done
    assert query["redirect_uri"].startswith("http://localhost:") and "prompt" not in query
    assert set(query["scope"].split()) == {"openid", "offline_access", "web"}
    assert "policy" not in mltoken("status", "me", "--json").ok().json()
    first = mltoken("get").ok().out

    done, (page, _) = sign_in(mltoken, "--policy", CHOSEN)
    assert done.code == 0 and f"/{CHOSEN}/oauth2/v2.0/authorize" in page, done
    assert mltoken("status", "me", "--json").ok().json()["policy"] == CHOSEN
    stepped = mltoken("get").ok().out
    assert stepped != first
    assert [flow_of(r) for r in authority.requests("token")] == [OWN, CHOSEN]
    assert {flow_of(r) for r in authority.requests("metadata")} == {OWN, CHOSEN}
    assert {flow_of(r) for r in authority.requests("jwks")} == {OWN, CHOSEN}

    assert mltoken("get", "--refresh").ok().out != stepped
    agent.stop()
    agent = start_agent()  # all that is known is what was stored
    mltoken("get").ok()
    renewals = [r for r in authority.requests("token") if r.grant == "refresh_token"]
    assert [flow_of(r) for r in renewals] == [CHOSEN, CHOSEN]
    assert mltoken("status", "me", "--json").ok().json()["policy"] == CHOSEN

    done, _ = sign_in(mltoken)  # without it: the profile's own again
    assert done.code == 0
    mltoken("get", "--refresh").ok()
    assert flow_of(authority.requests("token")[-1]) == OWN
    assert "policy" not in mltoken("status", "me", "--json").ok().json()
    assert not [s for s in authority.secrets() if s in agent.log()]


@pytest.mark.parametrize("apart", [True, False], ids=["keys of their own", "the same keys"])
@pytest.mark.parametrize("form", FORMS)
def test_verify_goes_by_the_flow_of_the_sign_in(authority, home, start_agent, mltoken, form, apart):
    path, more = FORMS[form]
    authority.set_client("web", refresh_token="always", audience="api://x")
    if apart:
        for policy in (OWN, CHOSEN):
            authority.flow_keys[policy.lower()] = KeySet()
    home.config({"me": profile(authority, path, store="file", **more)},
                {"default_profile": "me", "key_file": home.write("key", "k" * 40)})
    agent = start_agent()

    def verify(token):
        """By the profile."""
        return mltoken("verify", "--profile", "me", "--audience", "api://x", input=token)

    assert sign_in(mltoken)[0].code == 0
    own = mltoken("get").ok().out
    verify(own).ok()
    assert sign_in(mltoken, "--policy", CHOSEN)[0].code == 0
    stepped = mltoken("get").ok().out
    assert f"tfp: {CHOSEN}" in verify(stepped).ok().out
    assert verify(own).code == 5, "who did not step up is not taken for one who did"
    agent.stop()
    agent = start_agent()  # nobody has asked for a token yet
    varlink = agent.varlink()
    varlink.call("Lock", passphrase="x")
    assert "locked" in verify(stepped).failed(8)
    varlink.call("Unlock", passphrase="x")
    verify(stepped).ok()
    assert verify(own).code == 5
    mltoken("get").ok()
    varlink.call("Lock", passphrase="x")
    verify(stepped).ok()
    varlink.call("Unlock", passphrase="x")
    assert sign_in(mltoken)[0].code == 0
    verify(mltoken("get").ok().out).ok()
    assert verify(stepped).code == (5 if apart or form == "tfp" else 0), "only keys and issuer tell: its own flow need not be said"


def test_two_flows_side_by_side_keep_apart(authority, home, start_agent, mltoken):
    authority.set_client("web", refresh_token="always")
    home.config({"me": profile(authority), "other": profile(authority)})
    start_agent()
    assert sign_in(mltoken, "--policy", CHOSEN)[0].code == 0
    mltoken("get", "me", "--refresh").ok()
    mltoken("get", "other").failed(4)
    assert flow_of(authority.requests("token")[-1]) == CHOSEN


def test_the_profiles_own_flow_by_name_is_no_choice(setup, authority, mltoken):
    done, (page, _) = sign_in(mltoken, "--policy", OWN.upper())
    assert done.code == 0 and f"/{OWN}/" in page
    assert "policy" not in mltoken("status", "me", "--json").ok().json()


def test_older_flows_say_it_in_acr(setup, mltoken):
    assert sign_in(mltoken, "--policy", "B2C_1_old_stepup")[0].code == 0


WRONG = {"another flow": {"tfp": OWN}, "another flow in acr": {"tfp": None, "acr": OWN}, "no flow": {"tfp": None},
         "no text": {"tfp": 1}, "a longer one": {"tfp": CHOSEN + "2"}, "the right one in acr alone beside": {"tfp": "x", "acr": CHOSEN}}


@pytest.mark.parametrize("case", WRONG)
def test_who_did_not_step_up_is_refused(setup, authority, mltoken, case):
    assert sign_in(mltoken)[0].code == 0
    before = mltoken("get").ok().out
    authority.set_client("web", id_token_claims=WRONG[case])
    done, _ = sign_in(mltoken, "--policy", CHOSEN)
    assert done.code == 5 and "user flow (tfp)" in done.err and CHOSEN in done.err, done
    assert mltoken("get").ok().out == before  # the sign-in before stays
    mltoken("get", "--refresh").ok()
    assert flow_of(authority.requests("token")[-1]) == OWN


def test_the_profiles_own_flow_need_not_be_said_but_no_other(setup, authority, mltoken):
    authority.set_client("web", id_token_claims={"tfp": None})
    assert sign_in(mltoken)[0].code == 0
    authority.set_client("web", id_token_claims={"tfp": CHOSEN})
    done, _ = sign_in(mltoken)
    assert done.code == 5 and "user flow (tfp)" in done.err


@pytest.mark.parametrize("form", ["the path", "tfp"])  # of tfp's, the issuer names the flow
def test_another_person_needs_a_switch(authority, home, start_agent, mltoken, form):
    authority.set_client("web", refresh_token="always")
    home.config({"me": profile(authority, FORMS[form][0])})
    start_agent()
    assert sign_in(mltoken)[0].code == 0
    assert sign_in(mltoken, "--policy", CHOSEN)[0].code == 0
    done, _ = sign_in(mltoken, "--policy", "B2C_1_third", user="bob")
    assert done.code == 4 and "another account" in done.err
    done, (_, query) = sign_in(mltoken, "--policy", "B2C_1_third", "--switch-account", user="bob")
    assert done.code == 0 and query["prompt"] == "login"
    assert "bob@example.org" in mltoken("status", "me").ok().out


REFUSED = {"plain OpenID": ({"authority": "https://login.example.org", "dialect": None}, "user flows"),
           "Entra": ({"authority": "https://login.microsoftonline.com/contoso.onmicrosoft.com/v2.0", "dialect": None}, "user flows"),
           "External ID": ({"authority": "https://contoso.ciamlogin.com/contoso.onmicrosoft.com", "dialect": None}, "External ID"),
           "an endpoint of its own": ({"authority": "https://contoso.b2clogin.com/t/B2C_1_a", "dialect": None,
                                       "jwks_uri": "https://contoso.b2clogin.com/t/B2C_1_a/discovery/v2.0/keys"}, "jwks_uri")}


@pytest.mark.parametrize("case", REFUSED)
def test_where_there_is_none_it_is_refused_early(authority, home, start_agent, mltoken, case):
    keys, said = REFUSED[case]
    home.config({"me": {**profile(authority), "scope": "openid", **keys}})
    start_agent()
    err = mltoken("login", "me", "--policy", CHOSEN).failed(3)
    assert said in err and CHOSEN in err
    assert authority.count() == 0


@pytest.mark.parametrize("name", ["a/b", "..", "x y", "ü", "?p=x"])
def test_what_no_name_is(setup, authority, mltoken, varlink, name):
    assert "letters" in mltoken("login", "me", "--policy", name).failed(3)
    with pytest.raises(VarlinkError) as refused:
        list(varlink().more("Login", profile="me", policy=name))
    assert refused.value.name == "NotSupported"
    assert authority.count() == 0


def test_how_long_a_name_may_be(setup, mltoken):
    assert sign_in(mltoken, "--policy", "B2C_1_" + "x" * 58)[0].code == 0
    assert "--policy" in mltoken("login", "me", "--policy", "B2C_1_" + "x" * 59).failed(2)


def test_a_flow_that_is_not_there_says_so(setup, authority, mltoken):
    authority.fault("metadata", status=404, body="<html>The page cannot be found</html>")
    done = mltoken("login", "me", "--policy", "B2C_1_none")
    assert done.code in (3, 5) and "B2C_1_none" in done.err, done


def test_signing_out_forgets_the_choice(setup, authority, mltoken):
    assert sign_in(mltoken, "--policy", CHOSEN)[0].code == 0
    mltoken("logout", "me").ok()
    mltoken("get", "me").failed(4)
    assert "policy" not in mltoken("status", "me", "--json").ok().json()
    assert sign_in(mltoken)[0].code == 0
    mltoken("get", "me", "--refresh").ok()
    assert flow_of(authority.requests("token")[-1]) == OWN


def test_a_changed_authority_does_not_get_what_was_chosen_before(setup, authority, home, mltoken):
    """The sign-in is bound to the profile's own settings, whichever flow made it."""
    assert sign_in(mltoken, "--policy", CHOSEN)[0].code == 0
    home.config({"me": profile(authority, f"/{NAME}/B2C_1_other")}, {"default_profile": "me"})
    wait_until(lambda: "B2C_1_other" in mltoken("status", "me").out)
    mltoken("get", "me", "--refresh").failed(4)
    assert not [r for r in authority.requests("token") if r.grant == "refresh_token"]
