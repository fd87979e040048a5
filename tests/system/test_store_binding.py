"""What may receive a secret: a profile whose settings change sends neither the refresh token nor the client secret that
were stored under the old ones. The authority's own record is the proof. With the real sealed files, and a fresh agent."""

import base64
import os
import urllib.parse

import pytest
from authority.store import SECRET_PLAIN
from harness import person, wait_until


@pytest.fixture
def settings(authority, home):
    """A profile that has both secrets, over https."""
    with open(authority.ca_file, encoding="utf-8") as f:
        ca = home.write("ca.pem", f.read(), 0o644)
    return person(authority, "device-conf", base=authority.https + "/oidc", ca_file=ca, client_secret="stored", store="file",
                  token_endpoint=authority.https + "/oidc/token")


def change(key, settings, authority, home):
    """Changes one receiver, so that the profile stays usable."""
    if key == "the content of ca_file":
        with open(settings["ca_file"], encoding="utf-8") as f:
            home.write("ca.pem", "# another\n" + f.read(), 0o644)
        return settings
    with open(settings["ca_file"], encoding="utf-8") as f:
        other_ca = home.write("other.pem", f.read(), 0o644)
    return {**settings, **{
        "token_endpoint": {"token_endpoint": authority.https + "/oauth/token"},
        "revocation_endpoint": {"revocation_endpoint": authority.https + "/oidc/revoke"},
        "device_authorization_endpoint": {"device_authorization_endpoint": authority.https + "/oidc/device"},
        "endpoint_hosts": {"endpoint_hosts": "elsewhere.example.org"},
        "authority": {"authority": authority.https + "/oauth"},
        "client_id": {"client_id": "load-1"},
        "proxy": {"proxy": authority.http},
        "ca_file of other content": {"ca_file": home.write("other.pem", "# another\n" + open(other_ca, encoding="utf-8").read(),
                                                           0o644)},
    }[key]}


def sent(authority, *secrets):
    """Which of the secrets are in what the authority was sent, in whatever form."""
    found = set()
    for request in authority.requests():
        basic = request.headers.get("authorization", "").partition(" ")[2]
        texts = [str(request.form), str(request.query), str(dict(request.headers)), urllib.parse.unquote_plus(
            base64.b64decode(basic + "===").decode("utf-8", "replace")) if basic else ""]
        found |= {secret for secret in secrets if any(secret in text for text in texts)}
    return found


KEYS = ["token_endpoint", "revocation_endpoint", "device_authorization_endpoint", "endpoint_hosts", "authority", "client_id",
        "proxy", "ca_file of other content", "the content of ca_file"]


@pytest.mark.parametrize("key", KEYS)
def test_nothing_stored_is_sent_under_changed_settings(authority, home, start_agent, mltoken, settings, key):
    agent_section = {"key_file": home.write("key", os.urandom(32).hex() + "\n")}
    home.config({"me": settings}, agent_section)
    agent = start_agent()
    authority.set_client("device-conf", auto_approve="alice")
    mltoken("secret", "set", "me", input=SECRET_PLAIN).ok()
    mltoken("login", "me", "--json").ok()
    mltoken("get", "me", "--refresh").ok()
    token = list(authority.store.families.values())[-1].current
    assert sent(authority, SECRET_PLAIN, token) == {SECRET_PLAIN}  # it would be seen
    agent.stop()
    agent.process = None
    changed = change(key, settings, authority, home)
    home.config({"me": changed}, agent_section)
    authority.forget_requests()
    start_agent()
    # the sign-in is not looked at before the client secret is: each by itself
    assert mltoken("get", "me").code in (3, 4)
    error = mltoken("get", "me", "--refresh").err
    assert "settings changed since it was stored" in error, error
    assert "settings changed since it was stored" in mltoken("login", "me", "--json").failed(3)
    mltoken("logout", "me")
    assert not sent(authority, SECRET_PLAIN, token), "a stored secret was sent"
    listed = {s["name"]: s for s in mltoken("secret", "list", "me", "--json").ok().json()}
    assert not listed["client_secret"]["present"]


def test_what_was_changed_back_is_sent_again(authority, home, start_agent, mltoken, settings):
    agent_section = {"key_file": home.write("key", os.urandom(32).hex() + "\n")}
    home.config({"me": settings}, agent_section)
    start_agent()
    authority.set_client("device-conf", auto_approve="alice")
    mltoken("secret", "set", "me", input=SECRET_PLAIN).ok()
    mltoken("login", "me", "--json").ok()
    home.config({"me": {**settings, "proxy": authority.http}}, agent_section)
    wait_until(lambda: mltoken("get", "me", "--refresh").code in (3, 4))
    home.config({"me": settings}, agent_section)
    wait_until(lambda: mltoken("get", "me", "--refresh").code == 0)
    assert not authority.reuses
