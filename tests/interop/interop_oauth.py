"""A bare OAuth client of the standard library: the yardstick that the authorities are measured with before mltoken is."""

import base64
import json
import urllib.error
import urllib.parse
import urllib.request

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
TIMEOUT_S = 60


class Refused(Exception):
    """The authority said no: HTTP status and its JSON."""

    def __init__(self, status, body):
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body
        self.error = body.get("error") if isinstance(body, dict) else None


def http(url, data=None, headers=None, method=None):
    """Status, headers and body; never follows a redirect, never uses a proxy."""

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirect)
    request = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
    try:
        with opener.open(request, timeout=TIMEOUT_S) as reply:
            return reply.status, reply.headers, reply.read()
    except urllib.error.HTTPError as reply:
        return reply.code, reply.headers, reply.read()


def as_json(body):
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")


class Client:
    """One client of one authority. auth: "client_secret_basic", "client_secret_post" or "none"."""

    def __init__(self, issuer, client_id, secret=None, auth="none", encode_basic=True):
        self.issuer, self.client_id, self.secret, self.auth = issuer, client_id, secret, auth
        self.encode_basic = encode_basic
        status, _, body = http(issuer + "/.well-known/openid-configuration")
        assert status == 200, body
        self.metadata = json.loads(body)
        assert self.metadata["issuer"] == issuer

    def post(self, endpoint, **fields):
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        if self.auth == "client_secret_basic":
            # RFC 6749 2.3.1: form-encoded first, then Base64
            quote = urllib.parse.quote_plus if self.encode_basic else str
            pair = f"{quote(self.client_id)}:{quote(self.secret)}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            fields["client_id"] = self.client_id
            if self.auth == "client_secret_post":
                fields["client_secret"] = self.secret
        status, _, body = http(self.metadata[endpoint], urllib.parse.urlencode(fields).encode(), headers)
        answer = as_json(body)
        if status != 200:
            raise Refused(status, answer)
        return answer

    def client_credentials(self, **fields):
        return self.post("token_endpoint", grant_type="client_credentials", **fields)

    def device_authorization(self, **fields):
        return self.post("device_authorization_endpoint", **fields)

    def device_token(self, device_code):
        return self.post("token_endpoint", grant_type=DEVICE_GRANT, device_code=device_code)

    def refresh(self, refresh_token, **fields):
        return self.post("token_endpoint", grant_type="refresh_token", refresh_token=refresh_token, **fields)

    def revoke(self, token, hint=None):
        fields = {"token_type_hint": hint} if hint else {}
        return self.post("revocation_endpoint", token=token, **fields)

    def introspect(self, token, hint=None):
        fields = {"token_type_hint": hint} if hint else {}
        return self.post("introspection_endpoint", token=token, **fields)


def claims(jwt):
    """The payload, unverified: for looking only."""
    part = jwt.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def jose_header(jwt):
    part = jwt.split(".")[0]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
