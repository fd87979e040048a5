"""What each endpoint answers, with no I/O: a Request goes in, a Response comes out."""

import base64
import html
import json
import re
import time
import urllib.parse
import uuid

from .dialects import FEATURES, Problem
from .store import AccessToken, Family

FORM_ENCODED = re.compile(r"(?:[A-Za-z0-9*._~\-+]|%[0-9A-Fa-f]{2})*\Z")


class Response:
    """An answer. Header names are unique; raw_headers go out unchecked."""

    __slots__ = ("status", "headers", "body", "content_type", "raw_headers")

    def __init__(self, status=200, body=b"", content_type="application/json", headers=None):
        self.status, self.body, self.content_type = status, body, content_type
        self.headers = headers or {}
        self.raw_headers = b""


def json_response(members, status=200, headers=None):
    return Response(status, json.dumps(members, ensure_ascii=False).encode("utf-8", "surrogatepass"), headers=headers)


def _number(value):
    return int(value) if value == int(value) else value


class Endpoints:
    """Mixed into Authority: uses its store, keys, features and bases."""

    def answer(self, request):
        try:
            if request.dialect is None:
                return self._plain(request)
            endpoint = request.endpoint.split(":")[0]
            features = self.features_of(request.dialect)
            switch = request.endpoint.split(":")[1] if endpoint == "metadata" else \
                {"revoke": "revocation", "introspect": "introspection"}.get(endpoint, endpoint)
            if switch in FEATURES and switch not in features:
                return json_response({"error": "not_found"}, 404)
            return getattr(self, "_" + endpoint)(request, request.dialect)
        except Problem as problem:
            return json_response(request.dialect.error(problem), problem.status,
                                 {"Cache-Control": "no-store", **problem.headers})

    def features_of(self, dialect):
        """The features of an issuer path: those of its dialect, less what a test switched off."""
        off = self.switched_off.get(dialect.prefix, set()) | self.switched_off.get("*", set())
        return dialect.features - off

    def _plain(self, request):
        if request.path == "/device":
            return self._browser_page(request)
        return json_response({"error": "not_found", "path": request.path}, 404)

    # Documents

    def _metadata(self, request, dialect):
        document = dialect.metadata(request.base, self.store, self.features_of(dialect), self.auth_methods)
        document.update(self.metadata_extra.get(dialect.prefix, {}))
        return json_response({k: v for k, v in document.items() if v is not None})

    def _jwks(self, request, dialect):
        return json_response(self.keys_of(dialect).jwks(), headers={"Cache-Control": "max-age=300"})

    def keys_of(self, dialect):
        """A user flow of B2C may have its own."""
        return self.flow_keys.get(getattr(dialect, "policy", "").lower(), self.keys)

    # Client authentication

    def _form(self, request):
        if request.method != "POST":
            raise Problem("invalid_request", "POST is required", 405, {"Allow": "POST"})
        kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise Problem("invalid_request", "the body must be application/x-www-form-urlencoded")
        if request.form_problem:
            raise Problem("invalid_request", request.form_problem)
        return request.form

    def _authenticate(self, request, form):
        """(client id, Client); strict, by RFC 6749 section 2.3.1."""
        header = request.headers.get("authorization", "")
        known = self.store.client(form.get("client_id", ""))
        if known is not None and known.tls_certificate:
            return self.accept_certificate(request, form)
        if "client_assertion" in form:
            return self.accept_assertion(request, form)
        if header:
            name, secret = self._basic(header)
            method = "client_secret_basic"
            if "client_secret" in form:
                raise Problem("invalid_request", "two ways of client authentication in one request")
            if form.get("client_id", name) != name:
                raise Problem("invalid_request", "client_id differs from the one in Authorization")
            headers, status = {"WWW-Authenticate": 'Basic realm="token"'}, 401
        else:
            name, secret = form.get("client_id", ""), form.get("client_secret")
            method = "none" if secret is None else "client_secret_post"
            headers, status = {}, 401
        client = self.store.client(name)
        if client is None:
            raise Problem("invalid_client", "unknown client", status, headers, **self._unknown_client(request))
        if not client.accepts(method):
            raise Problem("invalid_client", f"this client may not use {method}", status, headers)
        if method != "none" and secret != client.secret:
            raise Problem("invalid_client", "" if request.dialect.name.startswith("entra") else "wrong client secret",
                          status, headers)
        return name, client

    @staticmethod
    def _unknown_client(request):
        return {"aadsts": 700016} if request.dialect.name.startswith("entra") else {}

    @staticmethod
    def _basic(header):
        headers = {"WWW-Authenticate": 'Basic realm="token"'}
        scheme, _, value = header.partition(" ")
        try:
            if scheme.lower() != "basic":
                raise ValueError(scheme)
            name, colon, secret = base64.b64decode(value.strip(), validate=True).decode("ascii").partition(":")
            if not colon or not FORM_ENCODED.match(name) or not FORM_ENCODED.match(secret):
                raise ValueError("not form-encoded")
            return (urllib.parse.unquote_plus(name, errors="strict"),
                    urllib.parse.unquote_plus(secret, errors="strict"))
        except ValueError:
            raise Problem("invalid_client", "Authorization is not Basic with form-encoded parts", 401,
                          headers) from None

    # Tokens

    def _token(self, request, dialect):
        form = self._form(request)
        name, client = self._authenticate(request, form)
        grant = dialect.grant(form)
        if grant is None:
            raise Problem("unsupported_grant_type", form.get("grant_type", "no grant_type"))
        if grant not in client.grants:
            raise Problem("unauthorized_client", f"this client may not use {grant}", aadsts=700016) \
                if dialect.name.startswith("entra") else Problem("unauthorized_client", f"not {grant}")
        body = getattr(self, "_grant_" + grant)(request, dialect, name, client, form)
        return json_response(body, headers={"Cache-Control": "no-store", "Pragma": "no-cache"})

    def _scopes(self, client, form, dialect):
        asked = form.get("scope", "").split()
        if client.scopes is not None and any(s not in client.scopes for s in asked):
            raise Problem("invalid_scope", "a scope is not allowed for this client")
        return asked or client.default_scope.split()

    def _resource(self, dialect, scopes, form):
        if dialect.resource_is_scope:
            named = [s for s in scopes if "://" in s or "/" in s]
            return named[0].rsplit("/", 1)[0] if named else None
        return form.get("resource")

    def _grant_client_credentials(self, request, dialect, name, client, form):
        if client.secret is None and not client.public_key and not client.tls_certificate:
            raise Problem("unauthorized_client", "a public client has no credentials")
        if dialect.name == "entra" and not all(s.endswith("/.default") for s in form.get("scope", "x").split()):
            raise Problem("invalid_scope", "The provided request must include a 'scope' input parameter that ends "
                                           "with /.default.", aadsts=1002012)
        if dialect.name == "entra_v1" and "resource" not in form:
            raise Problem("invalid_resource", "", aadsts=500011)
        scopes = self._scopes(client, form, dialect)
        family = None
        if client.cc_refresh_token:
            family = self._family(name, client, None, scopes, self._resource(dialect, scopes, form), dialect)
        return self._issue(request, dialect, name, client, None, scopes,
                           self._resource(dialect, scopes, form), form, family, new_refresh=family is not None)

    def _grant_password(self, request, dialect, name, client, form):
        entra = dialect.name.startswith("entra")
        if entra and getattr(dialect, "tenant", "") in ("common", "consumers"):
            raise Problem("invalid_request", "", aadsts=9001023)
        user = self.store.users.get(form.get("username", ""))
        if user is None or form.get("password") != user.password:
            if entra:
                raise Problem("invalid_grant", "Error validating credentials due to invalid username or password.",
                              aadsts=50126)
            raise Problem("invalid_grant", "wrong user name or password")
        if user.second_factor:
            raise Problem("interaction_required", "", aadsts=50076) if entra else \
                Problem("invalid_grant", "a second factor is needed")
        scopes = self._scopes(client, form, dialect)
        resource = self._resource(dialect, scopes, form)
        family = self._family(name, client, user.name, scopes, resource, dialect)
        return self._issue(request, dialect, name, client, user, scopes, resource, form, family,
                           new_refresh=self._wants_refresh(client, scopes, dialect))

    def _grant_device_code(self, request, dialect, name, client, form):
        code = self.store.device_codes.get(form.get(dialect.device_code_field, ""))
        now = time.time()
        if code is None or code.client != name or code.state == "used":
            entra = dialect.name.startswith("entra")
            raise Problem("bad_verification_code" if entra else "invalid_grant", "" if entra else "no such device code")
        code.polls += 1
        gap, code.last_poll = now - code.last_poll, now
        if client.device_script:
            word = client.device_script.pop(0)
            if word == "slow_down":
                code.interval += 5
            if word is not None:
                raise Problem(word, "" if dialect.name.startswith("entra") else "as scripted")
        if now >= code.expires:
            raise Problem("expired_token")
        if client.auto_approve and code.state == "pending" and code.polls > client.auto_approve_after:
            code.state, code.user = "approved", client.auto_approve
        if client.enforce_interval and code.polls > 1 and gap < code.interval - 0.15:
            code.interval += 5
            raise Problem("slow_down", "" if dialect.name.startswith("entra") else "polled too fast")
        if code.state == "denied":
            raise Problem("access_denied", "" if dialect.name.startswith("entra") else "the person said no")
        if code.state == "pending":
            raise Problem("authorization_pending")
        code.state = "used"
        user = self.store.users[code.user]
        family = self._family(name, client, user.name, code.scopes, code.resource, dialect)
        return self._issue(request, dialect, name, client, user, code.scopes, code.resource, form, family,
                           new_refresh=self._wants_refresh(client, code.scopes, dialect))

    @staticmethod
    def _wants_refresh(client, scopes, dialect):
        if dialect.name == "entra_v1":
            return client.refresh_token != "never"
        return client.refresh_token == "always" or \
            (client.refresh_token == "offline_access" and "offline_access" in scopes)

    def _grant_refresh_token(self, request, dialect, name, client, form):
        value = form.get("refresh_token", "")
        family, now = self.store.refresh_tokens.get(value), time.time()
        if family is None or family.client != name or not dialect.owns(family.prefix):
            raise Problem("invalid_grant", "unknown refresh token", **self._bad_token(dialect))
        if family.revoked or now >= family.expires:
            raise Problem("invalid_grant", "this refresh token is no longer valid", **self._bad_token(dialect))
        used = family.used.get(value)
        if used is not None and client.rotation is True and now - used > client.reuse_grace:
            if client.revoke_family_on_reuse:
                self.store.revoke_family(family)
                self.reuses.append(family.id)
            raise Problem("invalid_grant", "this refresh token was used before", **self._bad_token(dialect))
        scopes = form["scope"].split() if "scope" in form else family.scopes
        if not dialect.name.startswith("entra") and any(s not in family.scopes for s in scopes):
            raise Problem("invalid_scope", "scope exceeds what was granted")
        resource = self._resource(dialect, scopes, form) or family.resource
        user = self.store.users.get(family.user) if family.user else None
        rotate = client.rotation in (True, "overlap")
        if client.rotation is True:
            family.used.setdefault(value, now)
        body = self._issue(request, dialect, name, client, user, scopes, resource, form, family, new_refresh=rotate)
        if client.rotation == "same":
            body["refresh_token"] = value
        return body

    @staticmethod
    def _bad_token(dialect):
        return {"suberror": "bad_token", "aadsts": 70000} if dialect.name.startswith("entra") else {}

    def _family(self, name, client, user, scopes, resource, dialect):
        now = time.time()
        return Family(name, user, scopes, resource, dialect.prefix, now + client.refresh_lifetime, now)

    def _issue(self, request, dialect, name, client, user, scopes, resource, form, family, new_refresh):
        now, life = time.time(), client.token_lifetime
        issuer = dialect.issuer(request.base, self.store, user)
        audience = client.audience or resource or form.get("audience") or issuer
        value = self._access_token(self.keys_of(dialect), name, client, user, scopes, audience, issuer, now, life,
                                   dialect.identity_claims())
        self.store.access_tokens[value] = AccessToken(value, name, user.name if user else None, " ".join(scopes),
                                                      audience, issuer, now + life, now, family.id if family else None)
        body = {"access_token": value, "token_type": client.token_type}
        if client.expires_in is True:
            body["expires_in"] = _number(life)
        elif client.expires_in is not False:
            body["expires_in"] = client.expires_in
        if client.scope_told:
            body["scope"] = " ".join(scopes)
        if dialect.name == "entra_v1" and resource:
            body["resource"] = resource
        if client.refresh_in is not None:
            body["refresh_in"] = client.refresh_in
        if family:
            family.access.append(value)
            if new_refresh:
                body["refresh_token"] = self.store.new_refresh_token(family)
            family.issued.append((value, body.get("refresh_token")))
        if user and client.id_token and ("openid" in scopes or dialect.name == "entra_v1"):
            body["id_token"] = self.id_token(dialect, issuer, name, client, user, family.auth_time if family else now,
                                             family.nonce if family else None)
        if form.get("client_info") == "1" and user:
            info = json.dumps({"uid": user.oid, "utid": user.tid}).encode()
            body["client_info"] = base64.urlsafe_b64encode(info).rstrip(b"=").decode()
        body = dialect.tokens(body, form.get("grant_type"))
        body.update(client.extra)
        return {k: v for k, v in body.items() if v is not None}

    def _access_token(self, keys, name, client, user, scopes, audience, issuer, now, life, more=()):
        if client.token_format == "opaque":
            return "accessMARK" + uuid.uuid4().hex + "x" * client.token_padding
        claims = {"iss": issuer, "sub": user.sub if user else name, "aud": audience, "client_id": name,
                  "scope": " ".join(scopes), "iat": int(now), "nbf": int(now), "exp": int(now + life),
                  "jti": uuid.uuid4().hex, **dict(more)}
        if client.token_padding:
            claims["padding"] = "x" * client.token_padding
        claims.update(client.access_token_claims)
        return keys.jwt({k: v for k, v in claims.items() if v is not None}, client.alg)

    def id_token(self, dialect, issuer, name, client, user, auth_time, nonce=None):
        now = int(time.time())
        claims = {"iss": issuer, "sub": user.sub, "aud": name, "iat": now, "nbf": now,
                  "exp": int(now + client.id_token_lifetime), "auth_time": int(auth_time), **user.identity_claims()}
        if user.oid and issuer.endswith("/v2.0"):
            claims.update(tid=user.tid, oid=user.oid, ver="2.0")
        if nonce is not None:
            claims["nonce"] = nonce
        claims.update(dialect.identity_claims())
        claims.update(client.id_token_claims)
        claims = {k: v for k, v in claims.items() if v is not None}
        token = self.keys_of(dialect).jwt(claims, client.id_token_alg, client.id_token_forge)
        self.store.id_tokens.append(token)
        return token

    # Device authorization and the page for the person

    def _device(self, request, dialect):
        form = self._form(request)
        name, client = self._authenticate(request, form)
        if "device_code" not in client.grants:
            raise Problem("unauthorized_client", "this client may not use device_code")
        if dialect.name == "entra_v1" and "resource" not in form:
            raise Problem("invalid_resource", "", aadsts=500011)
        scopes = self._scopes(client, form, dialect)
        code = self.store.new_device_code(name, client, scopes, form.get("resource"), dialect.prefix)
        page = client.verification_uri or self.page_base(request) + "/device"
        body = dialect.device(code, client, page, client.device_lifetime)
        body.update(client.device_extra)
        return json_response({k: v for k, v in body.items() if v is not None}, headers={"Cache-Control": "no-store"})

    def _browser_page(self, request):
        fields = request.form if request.method == "POST" else request.query
        if request.method != "POST":
            return self._page("Enter the code", f"""<form method="post" action="/device">
<label>Code <input name="user_code" value="{html.escape(fields.get("user_code", ""))}"></label>
<label>User <input name="username"></label> <label>Password <input type="password" name="password"></label>
<button name="action" value="approve">Approve</button> <button name="action" value="deny">Deny</button></form>""")
        code = self.store.by_user_code(fields.get("user_code", ""))
        if code is None or code.state != "pending" or time.time() >= code.expires:
            return self._page("This code is not valid (any more)", "", 400)
        user = self.store.users.get(fields.get("username", ""))
        if user is None or fields.get("password", user.password) not in (user.password, ""):
            return self._page("Unknown user or wrong password", "", 403)
        code.state = "approved" if fields.get("action") == "approve" else "denied"
        code.user = user.name
        return self._page(f"Device {code.state}", f"<p>You may close this window, {html.escape(user.full_name)}.</p>")

    @staticmethod
    def _page(title, body, status=200):
        text = f"<!DOCTYPE html><html><head><title>{title}</title></head><body><h1>{title}</h1>{body}</body></html>"
        return Response(status, text.encode(), "text/html; charset=utf-8")

    # Revocation, introspection, userinfo

    def _revoke(self, request, dialect):
        form = self._form(request)
        name, _ = self._authenticate(request, form)
        if "token" not in form:
            raise Problem("invalid_request", "no token")
        family = self.store.refresh_tokens.get(form["token"])
        if family is not None and family.client == name:
            self.store.revoke_family(family)
            self.revoked.append(form["token"])
        token = self.store.access_tokens.get(form["token"])
        if token is not None and token.client == name:
            token.revoked = True
            self.revoked.append(form["token"])
        return Response(200, b"", "text/plain")

    def _introspect(self, request, dialect):
        form = self._form(request)
        self._authenticate(request, form)
        now = time.time()
        token = self.store.access_tokens.get(form.get("token", ""))
        if token is not None and not token.revoked and now < token.expires:
            user = self.store.users.get(token.user) if token.user else None
            return json_response({"active": True, "scope": token.scope, "client_id": token.client,
                                  "token_type": "Bearer", "exp": int(token.expires), "iat": int(token.issued),
                                  "sub": user.sub if user else token.client, "aud": token.audience,
                                  "iss": token.issuer, **({"username": user.email} if user else {})})
        family = self.store.refresh_tokens.get(form.get("token", ""))
        if family is not None and not family.revoked and form["token"] == family.current:
            return json_response({"active": True, "client_id": family.client, "exp": int(family.expires)})
        return json_response({"active": False})

    def _userinfo(self, request, dialect):
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        token = self.store.access_tokens.get(value) if scheme.lower() == "bearer" else None
        if token is None or token.revoked or time.time() >= token.expires or token.user is None:
            return json_response({"error": "invalid_token"}, 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'})
        user = self.store.users[token.user]
        return json_response({"sub": user.sub, **user.identity_claims(), **self.userinfo_extra})
