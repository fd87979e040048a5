"""The authorization code grant at oidc-provider, which checks PKCE and says who it is when it sends a browser back."""

import re
import urllib.parse

import pytest

from interop_browser import Browser
from interop_mltoken import User
from interop_oauth import claims


@pytest.fixture
def user(oidc_provider):
    mine = User()
    mine.profile("person", oidc_provider, oidc_provider.web, "authorization_code", oidc_provider.login_scope)
    try:
        yield mine.start()
    finally:
        mine.home.known_secrets += [value for value, _ in oidc_provider.refresh_tokens(oidc_provider.web) if value]
        mine.stop()


def test_sign_in_renew_and_sign_out(user, oidc_provider):
    user.sign_in("person", oidc_provider, typed=True)
    told = claims(user.get("person"))
    assert told["sub"] == oidc_provider.person and told["client_id"] == oidc_provider.web
    assert claims(user.get("--refresh", "person"))["jti"] != told["jti"]
    assert [live for _, live in oidc_provider.refresh_tokens(oidc_provider.web)].count(True) == 1
    user.ok("logout", "person")
    assert not any(live for _, live in oidc_provider.refresh_tokens(oidc_provider.web)), "the server says it is revoked"
    user.fails(4, "get", "person")


def test_the_person_says_no(user, oidc_provider):
    def refuse(prompt):
        browser = Browser().open(prompt["verification_uri"])
        cancel = re.search(r'href="([^"]+/abort)"', browser.text)
        assert cancel, browser.text
        browser.open(urllib.parse.urljoin(browser.url, cancel.group(1)))
        assert browser.status == 200 and "close this window" in browser.text

    done, _ = user.login("person", refuse)
    assert done.code == 4 and "declined" in done.err
