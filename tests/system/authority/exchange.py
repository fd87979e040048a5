"""Tokens for tokens: RFC 8693, RFC 7523 section 2.1, and Entra's on-behalf-of (WIRE sections 1 and 7)."""

import time

from .dialects import Problem
from .keys import decode

TYPE = "urn:ietf:params:oauth:token-type:"
SUBJECT_TYPES = ("access_token", "id_token", "jwt", "saml2")


def default_rules():
    """What a test may change of how tokens are exchanged."""
    return {
        "audiences": None,                   # that may be asked for; None: any
        "issued": None,                      # issued_token_type; None: as requested; False: left out
        "token_type": "Bearer",
        "members": {},                       # more of an answer
        "subject_audience": None,            # that an on-behalf-of assertion must have; None: any
        "problem": None,                     # (error, {members}) for the next trades that are otherwise sound
    }


class ExchangeEndpoints:
    """Mixed into Authority: uses exchange_rules."""

    def _subject(self, value, error, outside):
        """Whose a token is: (user or None). One of this authority's own, or a JWT that it signed for outsiders."""
        now = time.time()
        token = self.store.access_tokens.get(value)
        if token is not None:
            if token.revoked or now >= token.expires:
                raise Problem(error, "the token that was given has ended", **outside)
            return self.store.users.get(token.user)
        try:
            _, claims = decode(value)
        except ValueError:
            raise Problem(error, "the token that was given is not known", **outside) from None
        if claims.get("iss") != "https://outside.example" or now >= claims.get("exp", 0):
            raise Problem(error, "the token that was given is another's, or has ended", **outside)
        return next((u for u in self.store.users.values() if u.sub == claims.get("sub")), None)

    def _traded(self, request, dialect, name, client, form, user):
        problem = self.exchange_rules["problem"]
        if problem:
            raise Problem(problem[0], "as scripted", **problem[1])
        scopes = self._scopes(client, form, dialect)
        body = self._issue(request, dialect, name, client, user, scopes, self._resource(dialect, scopes, form), form,
                           None, new_refresh=False)
        body["refresh_token"] = "refreshMARKunwanted"
        body.update(self.exchange_rules["members"])
        return body

    def _grant_token_exchange(self, request, dialect, name, client, form):
        rules = self.exchange_rules
        kind = form.get("subject_token_type", "")
        if kind.removeprefix(TYPE) not in SUBJECT_TYPES or not kind.startswith(TYPE):
            raise Problem("invalid_request", f"subject_token_type {kind} is not supported")
        if ("actor_token" in form) != ("actor_token_type" in form):
            raise Problem("invalid_request", "actor_token and actor_token_type go together")
        user = self._subject(form.get("subject_token", ""), "invalid_request", {})
        if "actor_token" in form:
            self._subject(form["actor_token"], "invalid_request", {})
        if rules["audiences"] is not None and form.get("audience") not in rules["audiences"]:
            raise Problem("invalid_target", f"no tokens for {form.get('audience')}")
        body = self._traded(request, dialect, name, client, form, user)
        issued = rules["issued"]
        if issued is None:
            issued = form.get("requested_token_type", TYPE + "access_token")
        if issued:
            body["issued_token_type"] = issued
        body["token_type"] = rules["token_type"]
        return body

    def _grant_jwt_bearer(self, request, dialect, name, client, form):
        entra = dialect.name.startswith("entra")
        outside = {"aadsts": 500133} if entra else {}
        if entra and form.get("requested_token_use") != "on_behalf_of":
            raise Problem("invalid_request", "requested_token_use is missing")
        if entra and client.secret is None and not client.public_key:
            raise Problem("invalid_client", "", 401, aadsts=7000218)
        value = form.get("assertion", "")
        user = self._subject(value, "invalid_grant", outside)
        wanted = self.exchange_rules["subject_audience"]
        if entra and wanted and decode(value)[1].get("aud") != wanted:
            raise Problem("invalid_grant", "Assertion audience does not match the client app presenting the assertion.",
                          aadsts=50013)
        return self._traded(request, dialect, name, client, form, user)
