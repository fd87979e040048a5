"""Machine Learning Server's web node (WIRE section 3): local accounts, JSON, a pair of tokens that rotates whole.

http://127.0.0.1:PORT/mls is the server; the client "mlserver" holds its lifetimes, the users' passwords are the accounts.
"""

import time

from .dialects import Problem
from .endpoints import json_response
from .server import json_body
from .store import AccessToken, Family


class MlServerEndpoints:
    """Mixed into Authority."""

    def _mls_json(self, request, *names):
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if request.method != "POST" or kind != "application/json":
            raise Problem("bad_request", "a POST of application/json is required", 400)
        body = json_body(request)
        if set(body) != set(names) or not all(isinstance(body[n], str) for n in names):
            raise Problem("bad_request", f"wrong members: {sorted(body)}", 400)
        return body

    def _mls_login(self, request, dialect):
        body = self._mls_json(request, "username", "password")
        user = self.store.users.get(body["username"])
        if user is None or body["password"] != user.password:
            raise Problem("unauthorized", "The user name or password is incorrect.", 401)
        client, now = self.store.client("mlserver"), time.time()
        family = Family("mlserver", user.name, [], None, dialect.prefix, now + client.refresh_lifetime, now)
        return self._mls_pair(client, family)

    def _mls_renewal(self, request, dialect):
        if request.method == "DELETE":
            return self._mls_removal(request)
        value = self._mls_json(request, "refreshToken")["refreshToken"]
        client, family = self.store.client("mlserver"), self.store.refresh_tokens.get(value)
        now = time.time()
        used = family.used.get(value) if family else None
        if family is None or family.revoked or now >= family.expires or \
                (used is not None and now - used > client.reuse_grace):
            raise Problem("unauthorized", "The refresh token is invalid or has expired.", 401)
        family.used.setdefault(value, now)
        for old in family.access:
            self.store.access_tokens[old].revoked = True
        return self._mls_pair(client, family)

    def _mls_pair(self, client, family):
        now, life = time.time(), client.token_lifetime
        value = self._access_token(self.keys, "mlserver", client, self.store.users[family.user], [], "mlserver", "mlserver", now, life)
        self.store.access_tokens[value] = AccessToken(value, "mlserver", family.user, "", None, "mlserver", now + life,
                                                      now, family.id)
        family.access.append(value)
        body = {"token_type": "Bearer", "access_token": value, "expires_in": life, "expires_on": int(now + life),
                "refresh_token": self.store.new_refresh_token(family)}
        body.update(client.extra)
        return json_response({k: v for k, v in body.items() if v is not None})

    def _mls_bearer(self, request):
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        token = self.store.access_tokens.get(value) if scheme == "Bearer" else None
        if token is None or token.revoked or time.time() >= token.expires:
            raise Problem("unauthorized", "Authorization has been denied for this request.", 401)
        return token

    def _mls_removal(self, request):
        token = self._mls_bearer(request)
        value = request.query.get("refreshToken", "")
        family = self.store.refresh_tokens.get(value)
        if family is None or family.id != token.family or value != family.current:
            raise Problem("unauthorized", "The refresh token is invalid or has expired.", 401)
        self.store.revoke_family(family)
        self.revoked.append(value)
        return json_response({})

    def _mls_status(self, request, dialect):
        self._mls_bearer(request)
        return json_response({"statusCode": "pass", "components": {"database": {"statusCode": "pass"}}, "details": {}})
