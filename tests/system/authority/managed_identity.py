"""The endpoints of Azure's platforms that give managed identities their tokens (WIRE section 6).

/metadata/identity/oauth2/token is IMDS, Arc or Service Fabric, by its api-version; /msi/token is App Service of both
generations and Azure ML compute; /shell/token is Cloud Shell. What the platform has is authority.identity.
"""

import re
import time
import uuid
from dataclasses import dataclass, field
from typing import Any, Optional

from .dialects import Problem
from .endpoints import json_response

SYSTEM = "5a5a5a5a-0000-4000-8000-000000000001"
VERSIONS = {"2018-02-01": "imds", "2020-06-01": "arc", "2019-07-01-preview": "service_fabric",
            "2019-08-01": "app_service", "2017-09-01": "msi"}
NAMES = {"imds": {"client_id": "client_id", "object_id": "object_id", "msi_res_id": "mi_res_id"},
         "app_service": {"client_id": "client_id", "principal_id": "object_id", "object_id": "object_id",
                         "mi_res_id": "mi_res_id"},
         "msi": {"clientid": "client_id"}, "arc": {}, "service_fabric": {}, "cloud_shell": {}}


@dataclass
class Platform:
    """What a host's platform has and how it answers."""

    secret: str = "headerMARK-4f1d2c"             # IDENTITY_HEADER, MSI_SECRET
    system: Optional[str] = SYSTEM                # the client id of the system-assigned identity; None: it has none
    users: list = field(default_factory=list)     # {"client_id", "object_id", "mi_res_id"} of the user-assigned ones
    lifetime: int = 86400
    dates: Any = "epoch"                          # expires_on: epoch, number, us, us12, iso
    challenge: Optional[str] = None               # Arc: the realm
    challenge_scheme: str = "Basic realm="
    key: Optional[str] = None                     # Arc: what its file holds
    tokens: list = field(default_factory=list)


def _date(kind, when):
    form = {"us": "%m/%d/%Y %H:%M:%S +00:00", "us12": "%m/%d/%Y %I:%M:%S %p +00:00", "iso": "%Y-%m-%dT%H:%M:%S.000Z"}
    if kind in form:
        return time.strftime(form[kind], time.gmtime(when))
    return int(when) if kind == "number" else str(int(when))


class IdentityEndpoints:
    """Mixed into Authority."""

    def set_identity(self, **settings):
        for name, value in settings.items():
            if not hasattr(self.identity, name):
                raise AttributeError(name)
            setattr(self.identity, name, value)

    def _identity(self, request, dialect):
        if request.path.startswith("/shell/"):
            return self._cloud_shell(request)
        kind = VERSIONS.get(request.query.get("api-version"))
        old = request.path.startswith("/msi/")
        if request.method != "GET" or kind is None or old != (kind in ("app_service", "msi")):
            self._refuse(kind, "invalid_request", "Bad request: method, path or api-version", 400)
        if set(request.query) - {"api-version", "resource"} - set(NAMES[kind]):
            self._refuse(kind, "invalid_request", f"unknown parameter among {sorted(request.query)}", 400)
        getattr(self, "_check_" + kind)(request)
        return self._identity_token(kind, request.query)

    def _refuse(self, kind, code, words, status, headers=None):
        if kind in ("app_service", "msi"):
            body = {"statusCode": status, "message": words, "correlationId": str(uuid.uuid4())}
        elif kind == "service_fabric":
            body = {"error": {"correlationId": str(uuid.uuid4()), "code": code, "message": words}}
        else:
            body = {"error": code, "error_description": words}
        raise Problem(code, words, status, headers or {}, body=body)

    def _check_imds(self, request):
        if request.headers.get("metadata") != "true":
            self._refuse("imds", "bad_request_102", "Required metadata header not specified", 400)

    def _check_secret(self, kind, request, header):
        if request.headers.get(header) != self.identity.secret:
            self._refuse(kind, "SecretHeaderNotFound", "the secret header is missing or wrong", 401)

    def _check_app_service(self, request):
        self._check_secret("app_service", request, "x-identity-header")

    def _check_msi(self, request):
        self._check_secret("msi", request, "secret")

    def _check_service_fabric(self, request):
        if request.scheme != "https":
            self._refuse("service_fabric", "InvalidRequest", "https only", 400)
        self._check_secret("service_fabric", request, "secret")

    def _check_arc(self, request):
        if request.headers.get("metadata") != "true":
            self._refuse("arc", "bad_request_102", "Required metadata header not specified", 400)
        given = request.headers.get("authorization")
        if self.identity.key is not None and given != "Basic " + self.identity.key:
            self._refuse("arc", "unauthorized", "challenge", 401,
                         {"WWW-Authenticate": self.identity.challenge_scheme + self.identity.challenge})

    def _cloud_shell(self, request):
        if request.method != "POST" or request.headers.get("metadata") != "true" or set(request.form) != {"resource"}:
            self._refuse("cloud_shell", "invalid_request", "a POST of resource with Metadata: true", 400)
        return self._identity_token("cloud_shell", request.form)

    def _whose(self, kind, asked):
        names = {NAMES[kind][name]: value for name, value in asked.items() if name in NAMES[kind]}
        if len(names) > 1:
            self._refuse(kind, "invalid_request", "more than one identity is named", 400)
        for name, value in names.items():
            for user in self.identity.users:
                if user.get(name, "").lower() == value.lower():
                    return user["client_id"]
        if not names and self.identity.system:
            return self.identity.system
        if not names and kind == "imds" and len(self.identity.users) == 1:
            return self.identity.users[0]["client_id"]
        if kind == "service_fabric":
            self._refuse(kind, "ManagedIdentityNotFound", "The application has no managed identity.", 404)
        if kind in ("app_service", "msi"):
            self._refuse(kind, "", "No User Assigned or Delegated Managed Identity found for specified ClientId", 400)
        return self._refuse(kind, "invalid_request", "Identity not found", 400)

    def _identity_token(self, kind, asked):
        if not re.match(r"https?://|[0-9a-f-]{36}\Z", asked.get("resource", "")):
            self._refuse(kind, "invalid_resource", "AADSTS500011: The resource principal was not found.", 400)
        client, now, life = self._whose(kind, asked), time.time(), self.identity.lifetime
        value = "identityMARK" + uuid.uuid4().hex
        self.identity.tokens.append(value)
        body = {"access_token": value, "client_id": client, "expires_in": str(life), "expires_on": str(int(now + life)),
                "ext_expires_in": str(life), "not_before": str(int(now)), "refresh_token": "",
                "resource": asked["resource"], "token_type": "Bearer"}
        if kind in ("app_service", "msi", "service_fabric"):
            for name in ("expires_in", "ext_expires_in", "not_before", "refresh_token"):
                del body[name]
            body["expires_on"] = _date(self.identity.dates, now + life)
        if kind == "service_fabric":
            del body["client_id"]
        return json_response(body)
