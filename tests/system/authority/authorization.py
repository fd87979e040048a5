"""Sign-in with a browser: the authorization endpoint with its login page, pushed requests, and the code grant with PKCE.

Strict about what RFC 6749, 7636 and 8252 say of a native client; what it answers can be bent by Client.redirect_extra.
"""

import base64
import hashlib
import html
import re
import secrets
import time
import urllib.parse
from dataclasses import dataclass
from typing import Optional

from .dialects import Problem
from .endpoints import Response, json_response

LOOPBACK = {"oidc": re.compile(r"http://127\.0\.0\.1:\d+/\Z"), "entra": re.compile(r"http://localhost:\d+\Z")}
CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}\Z")
VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}\Z")


@dataclass
class Code:
    code: str
    client: str
    user: str
    scopes: list
    resource: Optional[str]
    prefix: str
    redirect_uri: str
    challenge: str
    nonce: Optional[str]
    expires: float
    family: Optional[object] = None              # once it has been used


class AuthorizationEndpoints:
    """Mixed into Authority."""

    def _authorization_request(self, request, dialect, form):
        client = self.store.client(form.get("client_id", ""))
        if client is None or "authorization_code" not in client.grants:
            raise Problem("unauthorized_client", "this client may not use authorization_code")
        microsoft = dialect.name.startswith(("entra", "b2c"))
        kind = "entra" if microsoft else "oidc"
        if dialect.name == "b2c" and form.get("prompt", "login") != "login":
            raise Problem("invalid_request", "AADB2C90000: prompt")
        if microsoft and " " in form.get("prompt", ""):
            raise Problem("invalid_request", "AADSTS90023: prompt")
        if not LOOPBACK[kind].match(form.get("redirect_uri", "")):
            raise Problem("invalid_request", "redirect_uri is not registered")
        if form.get("response_type") != "code" or not form.get("state"):
            raise Problem("invalid_request", "response_type or state")
        if form.get("code_challenge_method") != "S256" or not CHALLENGE.match(form.get("code_challenge", "")):
            raise Problem("invalid_request", "PKCE with S256 is required")
        return client

    def _push(self, request, dialect):
        form = self._form(request)
        name, _ = self._authenticate(request, form)
        if form.get("client_id") != name:
            raise Problem("invalid_request", "client_id is missing")
        self._authorization_request(request, dialect, form)
        uri = "urn:ietf:params:oauth:request_uri:" + secrets.token_urlsafe(16)
        self.store.pushed[uri] = form
        return json_response({"request_uri": uri, "expires_in": 60}, 201, {"Cache-Control": "no-store"})

    def _asked(self, request, dialect):
        asked = request.query
        if "request_uri" in asked:
            pushed = self.store.pushed.get(asked["request_uri"])
            if pushed is None or pushed["client_id"] != asked.get("client_id"):
                raise Problem("invalid_request", "unknown request_uri")
            asked = pushed
        elif self.metadata_extra.get(dialect.prefix, {}).get("require_pushed_authorization_requests"):
            raise Problem("invalid_request", "the request must be pushed")
        return asked, self._authorization_request(request, dialect, asked)

    def _authorize(self, request, dialect):
        asked, client = self._asked(request, dialect)
        if client.auto_approve:
            return self._send_back(request, dialect, asked, client, client.auto_approve, True)
        if request.method != "POST":
            hidden = html.escape(request.path + "?" + urllib.parse.urlsplit(request.target).query)
            return self._page("Sign in", f"""<form method="post" action="{hidden}">
<label>User <input name="username"></label> <label>Password <input type="password" name="password"></label>
<button name="action" value="approve">Approve</button> <button name="action" value="deny">Deny</button></form>""")
        user = self.store.users.get(request.form.get("username", ""))
        if user is None:
            return self._page("Unknown user or wrong password", "", 403)
        return self._send_back(request, dialect, asked, client, user.name, request.form.get("action") == "approve")

    def _send_back(self, request, dialect, asked, client, user, approved):
        back = {"state": asked["state"]}
        if approved:
            code = Code("codeMARK" + secrets.token_urlsafe(24), asked["client_id"], user,
                        self._scopes(client, asked, dialect), asked.get("resource"), dialect.prefix,
                        asked["redirect_uri"], asked["code_challenge"], asked.get("nonce"), time.time() + 60)
            self.store.codes[code.code] = code
            back["code"] = code.code
        else:
            back.update(error="access_denied", error_description="The resource owner said no.")
        if self.metadata_extra.get(dialect.prefix, {}).get("authorization_response_iss_parameter_supported"):
            back["iss"] = dialect.issuer(request.base, self.store)
        back.update(client.redirect_extra)
        query = urllib.parse.urlencode({k: v for k, v in back.items() if v is not None})
        self.redirects.append(asked["redirect_uri"] + "?" + query)
        return Response(302, b"", "text/plain", {"Location": asked["redirect_uri"] + "?" + query,
                                                 "Cache-Control": "no-store"})

    def _grant_authorization_code(self, request, dialect, name, client, form):
        code = self.store.codes.get(form.get("code", ""))
        if code is None or code.client != name or code.prefix != dialect.prefix or time.time() >= code.expires:
            raise Problem("invalid_grant", "unknown code")
        if code.family is not None:
            self.store.revoke_family(code.family)
            self.reuses.append(code.family.id)
            raise Problem("invalid_grant", "this code was used before")
        verifier = form.get("code_verifier", "")
        digest = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        if not VERIFIER.match(verifier) or digest != code.challenge:
            raise Problem("invalid_grant", "code_verifier does not fit the code_challenge")
        if form.get("redirect_uri") != code.redirect_uri:
            raise Problem("invalid_grant", "redirect_uri differs")
        user = self.store.users[code.user]
        code.family = family = self._family(name, client, user.name, code.scopes, code.resource, dialect)
        family.nonce = code.nonce
        return self._issue(request, dialect, name, client, user, code.scopes, code.resource, form, family,
                           new_refresh=self._wants_refresh(client, code.scopes, dialect))
