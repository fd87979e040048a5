"""mltoken-pam-login: what it tells the PAM module, and what it never does."""

import time

import pytest
from harness import memory_has, person, wait_until
from login_helper import Helper, alive, children, wait_gone

CONFIG = "[pam]\nprofile = me\nuser_claim = nickname\n\n"


@pytest.fixture
def login(home):
    """Starts helpers: login("--claim", "email", ...) -> Helper. All are ended."""
    started = []

    def start(*args, wait="60", **more):
        started.append(Helper(home, "--max-wait", wait, *args, **more))
        return started[-1]

    yield start
    for helper in started:
        helper.close()


def write(home, keys, head=CONFIG, name="me"):
    home.config(text=head + f"[profile {name}]\n" + "".join(f"{k} = {v}\n" for k, v in keys.items() if v is not None), mode=0o600)


@pytest.fixture
def setup(authority, home):
    write(home, person(authority))
    authority.set_client("device", auto_approve="alice", enforce_interval=False)
    return authority


# ---- the line protocol ----

def test_a_sign_in(authority, home, login):
    write(home, person(authority))
    helper = login("--claim", "email", "--claim", "name", "--claim", "nothing")
    prompt = helper.prompt()
    code = authority.device_codes()[0]
    assert prompt["code"] == code.user_code and prompt["uri"] == authority.https.replace("localhost", "127.0.0.1") + "/device"
    assert prompt["complete"].startswith(prompt["uri"] + "?") and 880 <= int(prompt["expires_in"]) <= 900
    assert helper.line()[0] == "pending"
    authority.approve(code.user_code)
    done = helper.done()
    assert done["issuer"] == authority.oidc and done["client_id"] == "device" and done["sub"] == "sub-alice-1"
    assert done["claim.email"] == "alice@example.org" and done["claim.email_verified"] == "false"
    assert done["claim.name"] == "Alice Example" and "claim.nothing" not in done and "claim.nickname" not in done
    assert done["overage"] == "no" and done["group"] == done["role"] == []
    assert abs(int(done["iat"]) - time.time()) < 120 and abs(int(done["expires_at"]) - time.time() - 3600) < 120
    assert sorted(done["scopes"].split()) == ["offline_access", "openid"]
    assert done["id_token"] in authority.store.id_tokens and done["access_token"] in authority.store.access_tokens
    assert done["refresh_token"] in authority.store.refresh_tokens
    assert [word for word, _ in helper.seen if word != "pending"] == ["prompt", "done"]


def test_the_profile_may_be_named_or_be_the_only_one(setup, home, login):
    assert login("--profile", "me").done()["sub"] == "sub-alice-1"
    text = login("--profile", "mi").fail("config")
    assert text == f"{home.config_path}: has no [profile mi]; did you mean me?"


def test_a_client_with_a_secret(authority, home, login):
    authority.set_client("device-conf", auto_approve="alice")
    write(home, person(authority, "device-conf", client_secret=home.secret(authority.client("device-conf").secret)))
    assert login().done()["client_id"] == "device-conf"


def test_over_tls_with_a_private_authority(authority, home, login):
    authority.set_client("device", auto_approve="alice")
    write(home, person(authority, base=authority.https + "/oidc", ca_file=authority.ca_file))
    assert login().done()["issuer"] == authority.https + "/oidc"
