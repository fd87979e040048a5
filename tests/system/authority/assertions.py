"""Client assertions (RFC 7523 section 3): strictly read, verified by openssl, each jti taken once."""

import base64
import hashlib
import subprocess
import tempfile
import time

from .dialects import Problem
from .keys import b64url, b64url_decode, decode

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
PSS = ["-sigopt", "rsa_padding_mode:pss", "-sigopt", "rsa_pss_saltlen:32"]


def thumbprint(certificate_pem, digest="sha256"):
    body = "".join(line for line in certificate_pem.splitlines() if "-----" not in line)
    return b64url(hashlib.new(digest, base64.b64decode(body)).digest())


def _integer(value):
    value = value.lstrip(b"\0") or b"\0"
    value = b"\0" + value if value[0] & 0x80 else value
    return b"\x02" + bytes([len(value)]) + value


def verify(public_pem, alg, token):
    """Whether a key made the signature of a compact JWS."""
    text, _, signature = token.rpartition(".")
    signature = b64url_decode(signature)
    if alg == "ES256":
        body = _integer(signature[:32]) + _integer(signature[32:])
        signature = b"\x30" + bytes([len(body)]) + body
    with tempfile.NamedTemporaryFile() as key, tempfile.NamedTemporaryFile() as sig:
        key.write(public_pem.encode())
        sig.write(signature)
        key.flush(), sig.flush()
        command = ["openssl", "dgst", "-sha256", *(PSS if alg == "PS256" else []), "-verify", key.name, "-signature", sig.name]
        return subprocess.run(command, input=text.encode(), capture_output=True).returncode == 0


class AssertionEndpoints:
    """Mixed into Authority. Accepted assertions are kept: (header, claims)."""

    def accept_assertion(self, request, form):
        """(client id, Client) of a form with client_assertion."""
        if form.get("client_assertion_type") != TYPE:
            raise Problem("invalid_request", "wrong client_assertion_type")
        try:
            header, claims = decode(form["client_assertion"])
        except ValueError:
            raise Problem("invalid_client", "the assertion is no JWT", 401) from None
        name = claims.get("sub", "")
        client = self.store.client(name)
        if client is None or not client.public_key or form.get("client_id", name) != name or claims.get("iss") != name:
            raise Problem("invalid_client", "no such client, or it has no key", 401)
        entra = request.dialect.name.startswith("entra")
        if header.get("alg") not in ("RS256", "PS256", "ES256") or \
                not verify(client.public_key, header["alg"], form["client_assertion"]):
            raise Problem("invalid_client", "Client assertion failed signature validation." if entra else "bad signature",
                          401, **({"aadsts": 700027} if entra else {}))
        if entra:
            field, digest = ("x5t", "sha1") if header["alg"] == "RS256" else ("x5t#S256", "sha256")
            # Python's msal pads it, and is understood
            if str(header.get(field)).rstrip("=") != thumbprint(client.certificate, digest):
                raise Problem("invalid_client", "The key was not found by its thumbprint.", 401, aadsts=700027)
        here = request.base + request.path.split("?")[0]
        now = time.time()
        if claims.get("aud") not in (here, request.dialect.issuer(request.base, self.store)):
            raise Problem("invalid_client", f"wrong audience {claims.get('aud')}", 401)
        if not claims.get("nbf", 0) - 30 <= now < claims.get("exp", 0) <= now + 660:
            raise Problem("invalid_client", "the assertion is not valid now", 401,
                          **({"aadsts": 700024} if entra else {}))
        if not claims.get("jti") or claims["jti"] in self.store.used_jtis:
            raise Problem("invalid_client", "the jti is missing or was used before", 401)
        self.store.used_jtis[claims["jti"]] = (header, claims)
        return name, client
