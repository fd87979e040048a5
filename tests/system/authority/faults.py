"""Faults: what the authority does wrong, at which endpoint, for whom and how often.

A fault is matched before a request is handled. Those in REPLACING answer in place of the handler; all others let the
handler run (tokens rotate, codes are used up) and then spoil the answer or its delivery. `process` overrules that.
"""

import base64
import email.utils
import json
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import Any, Optional

REPLACING = ("html", "invalid_json", "body", "json", "error", "redirect", "status", "retry_after", "deep", "echo")


@dataclass(eq=False)
class Fault:
    """One fault. Members that are None do nothing."""

    endpoint: str = "*"               # metadata, metadata:openid, token, device, jwks, revoke, ...; * for all of these
    times: Optional[int] = None       # how many requests; None: until cleared
    skip: int = 0                     # let so many matching requests pass first
    client: Optional[str] = None      # only this client_id
    grant: Optional[str] = None       # only this grant_type
    prefix: Optional[str] = None      # only this issuer path, as /oidc
    process: Optional[bool] = None    # run the handler (with its side effects) or not

    delay: Optional[float] = None     # seconds before the answer
    hold: bool = False                # wait until cleared or released, then answer as usual
    hang: Optional[str] = None        # "before" headers, "after" headers: until cleared, then the connection is cut
    reset: Optional[str] = None       # "before" any byte, after "headers", mid-"body": RST
    close: Optional[str] = None       # the same with an orderly close
    dribble: Optional[float] = None   # seconds for each byte of the body
    dribble_head: Optional[float] = None  # seconds for each byte from the first
    length: Optional[Any] = None      # "short" or "long" or a number added to Content-Length
    chunked: bool = False             # Transfer-Encoding: chunked
    huge: Optional[float] = None      # MiB of a member `padding` in the body
    headers_huge: Optional[float] = None  # MiB of header lines

    html: bool = False                # an HTML page with 200
    invalid_json: bool = False
    deep: Optional[int] = None        # a body of so many nested arrays
    body: Optional[str] = None        # this body, as it is
    json: Optional[Any] = None        # this body, as JSON
    error: Optional[Any] = None       # an OAuth error (a word, or the members); with `status` 200 too
    echo: Optional[int] = None        # an error that repeats the n-th of what was sent, as some authorities do
    redirect: Optional[str] = None    # 302 to there
    status: Optional[int] = None      # this status; alone: an empty body
    retry_after: Optional[Any] = None  # number: seconds; "+N": an HTTP date N seconds ahead; other text as it is
    headers: Optional[dict] = None    # more header lines
    raw_headers: Optional[str] = None  # more header bytes, unchecked (latin-1)

    set: Optional[dict] = None        # members to add or overrule in a JSON body
    drop: Optional[list] = None       # members to leave out
    duplicate: Optional[dict] = None  # members written a second time, after the others
    strings: bool = False             # numbers as strings
    prepend: Optional[str] = None     # before the body (a BOM, blanks)
    append: Optional[str] = None      # after the body

    hits: int = 0
    seen: int = 0
    cleared: bool = False
    waiting: list = field(default_factory=list, repr=False)

    def matches(self, endpoint, client, grant, prefix):
        if self.cleared or (self.times is not None and self.hits >= self.times):
            return False
        if endpoint in ("control", "browser") and self.endpoint != endpoint:
            return False
        if self.endpoint not in ("*", endpoint, endpoint.split(":")[0]):
            return False
        for want, have in ((self.client, client), (self.grant, grant), (self.prefix, prefix)):
            if want is not None and want != have:
                return False
        self.seen += 1
        return self.seen > self.skip

    def processes(self):
        if self.process is not None:
            return self.process
        if self.hang == "before" or self.reset == "before" or self.close == "before":
            return False
        return not any(getattr(self, name) not in (None, False) for name in REPLACING)

    def public(self):
        return {k: v for k, v in self.__dict__.items() if k != "waiting" and v not in (None, False)}


def retry_after_text(value):
    if isinstance(value, str) and value.startswith("+"):
        return email.utils.formatdate(time.time() + float(value[1:]), usegmt=True)
    return str(value)


def _stringly(value):
    if isinstance(value, dict):
        return {k: _stringly(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_stringly(v) for v in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return value


def _echo(request):
    """Every value of a request in an error's words: as it was sent, and as it was meant."""
    values = [v for place in (request.form, request.query) for v in place.values()]
    values += [v for k, v in request.headers.items() if k not in ("host", "accept", "content-type", "content-length", "user-agent")]
    for value in list(values):
        if value.startswith("Basic "):
            plain = base64.b64decode(value[6:]).decode().partition(":")[2]
            values += [plain, urllib.parse.unquote_plus(plain)]
    values.append(request.body.decode("utf-8", "replace"))
    try:
        values += [str(v) for v in json.loads(request.body).values()]
    except (ValueError, AttributeError):
        pass
    return sorted(set(values))


def replace(fault, response, request=None):
    """The answer of a fault that does not ask the handler; response is an empty 200 to fill."""
    response.status = fault.status or 200
    if fault.echo is not None:
        said = _echo(request)
        words = said[fault.echo % len(said)] if said else ""
        response.status = fault.status or 400
        response.body = json.dumps({"error": "invalid_request", "error_description": f"Invalid: {words}", "message": f"Invalid: {words}"}).encode()
    elif fault.html:
        response.content_type = "text/html; charset=utf-8"
        response.body = b"<!DOCTYPE html><html><body><h1>Sign in to the network</h1></body></html>"
    elif fault.invalid_json:
        response.body = b'{"access_token":"half-a-token","token_type":"Bear'
    elif fault.deep is not None:
        response.body = b'{"deep":' + b"[" * fault.deep + b"]" * fault.deep + b"}"
    elif fault.body is not None:
        response.body = fault.body.encode("utf-8", "surrogateescape")
    elif fault.json is not None:
        response.body = json.dumps(fault.json).encode()
    elif fault.error is not None:
        members = fault.error if isinstance(fault.error, dict) else {"error": fault.error}
        response.status = fault.status or 400
        response.body = json.dumps(members).encode()
    elif fault.redirect is not None:
        response.status = fault.status or 302
        response.headers["Location"] = fault.redirect
        response.body = b""
    elif fault.retry_after is not None and fault.status is None:
        response.status = 429
    return response


def spoil(fault, response):
    """Changes the answer of a handler (or of replace()) in place."""
    if fault.processes() and fault.status is not None:
        response.status = fault.status
    if fault.retry_after is not None:
        response.headers["Retry-After"] = retry_after_text(fault.retry_after)
    if fault.headers:
        for name, value in fault.headers.items():
            if name.lower() == "content-type":
                response.content_type = value
            else:
                response.headers[name] = value
    if fault.set or fault.drop or fault.strings or fault.huge or fault.duplicate:
        try:
            members = json.loads(response.body)
        except ValueError:
            members = {}
        members.update(fault.set or {})
        for name in fault.drop or ():
            members.pop(name, None)
        if fault.strings:
            members = _stringly(members)
        if fault.huge:
            members["padding"] = "x" * int(fault.huge * (1 << 20))
        text = json.dumps(members)
        for name, value in (fault.duplicate or {}).items():
            text = text[:-1] + f",{json.dumps(name)}:{json.dumps(value)}" + "}"
        response.body = text.encode()
    if fault.prepend:
        response.body = fault.prepend.encode("utf-8", "surrogateescape") + response.body
    if fault.append:
        response.body += fault.append.encode("utf-8", "surrogateescape")
