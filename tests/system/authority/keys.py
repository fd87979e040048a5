"""Signing keys and JWTs in pure Python: RS256, PS256, ES256, and every way to get them wrong.

Who owns what: a KeySet owns its keys; the newest of a type signs, older ones stay published until dropped.
"""

import base64
import hashlib
import hmac
import json
import secrets
import subprocess


def b64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def b64url_decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def compact_json(value):
    return json.dumps(value, separators=(",", ":")).encode()


def _int_bytes(value, length=None):
    return value.to_bytes(length or (value.bit_length() + 7) // 8, "big")


def _der_integers(der):
    """The integers of a DER SEQUENCE OF INTEGER (PKCS #1)."""

    def item(at):
        length = der[at + 1]
        at += 2
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(der[at:at + count], "big")
            at += count
        return at, length

    at, length = item(0)
    end, found = at + length, []
    while at < end:
        at, length = item(at)
        found.append(int.from_bytes(der[at:at + length], "big"))
        at += length
    return found


class RsaKey:
    """An RSA key made by openssl; signs by CRT."""

    kty = "RSA"
    DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")

    def __init__(self, kid, bits=2048):
        self.kid = kid
        pem = subprocess.run(["openssl", "genrsa", str(bits)], check=True, capture_output=True).stdout
        der = subprocess.run(["openssl", "rsa", "-traditional", "-outform", "DER"], check=True,
                             input=pem, capture_output=True).stdout
        self.public_pem = subprocess.run(["openssl", "rsa", "-pubout"], check=True, input=pem,
                                         capture_output=True).stdout
        _, self.n, self.e, self.d, self.p, self.q, self.dp, self.dq, self.qinv = _der_integers(der)
        self.length = (self.n.bit_length() + 7) // 8

    def _private(self, encoded):
        m = int.from_bytes(encoded, "big")
        one, two = pow(m, self.dp, self.p), pow(m, self.dq, self.q)
        h = (one - two) * self.qinv % self.p
        return _int_bytes(two + h * self.q, self.length)

    def sign(self, alg, data):
        digest = hashlib.sha256(data).digest()
        if alg == "PS256":
            return self._private(self._pss(digest))
        info = self.DIGEST_INFO + digest
        return self._private(b"\x00\x01" + b"\xff" * (self.length - len(info) - 3) + b"\x00" + info)

    def _pss(self, digest):
        bits = self.n.bit_length() - 1
        length = (bits + 7) // 8
        salt = secrets.token_bytes(32)
        h = hashlib.sha256(b"\x00" * 8 + digest + salt).digest()
        block = b"\x00" * (length - 32 - 32 - 2) + b"\x01" + salt
        mask = b"".join(hashlib.sha256(h + i.to_bytes(4, "big")).digest() for i in range((len(block) + 31) // 32))
        masked = bytearray(a ^ b for a, b in zip(block, mask))
        masked[0] &= 0xFF >> (8 * length - bits)
        return bytes(masked) + h + b"\xbc"

    def jwk(self):
        return {"kty": "RSA", "use": "sig", "kid": self.kid, "n": b64url(_int_bytes(self.n)),
                "e": b64url(_int_bytes(self.e))}


class P256:
    """NIST P-256, just enough to multiply the base point quickly (a table of 4-bit windows)."""

    P = 2**256 - 2**224 + 2**192 + 2**96 - 1
    N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    G = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
         0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)
    table = None

    @classmethod
    def add(cls, a, b):
        """Affine addition; slow, for building the table alone."""
        if a is None or b is None:
            return a or b
        p = cls.P
        if a == b:
            slope = 3 * (a[0] * a[0] - 1) * pow(2 * a[1], -1, p) % p
        else:
            slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, p) % p
        x = (slope * slope - a[0] - b[0]) % p
        return x, (slope * (a[0] - x) - a[1]) % p

    @classmethod
    def base_multiple(cls, k):
        if cls.table is None:
            rows, step = [], cls.G
            for _ in range(64):
                row = [None]
                for _ in range(15):
                    row.append(cls.add(row[-1], step))
                rows.append(row)
                step = cls.add(row[-1], step)
            cls.table = rows
        p = cls.P
        x, y, z = 0, 1, 0
        for i in range(64):
            q = cls.table[i][(k >> (4 * i)) & 15]
            if q is None:
                continue
            if z == 0:
                x, y, z = q[0], q[1], 1
                continue
            zz = z * z % p
            h = (q[0] * zz - x) % p
            r = (q[1] * zz * z - y) % p
            hh = h * h % p
            hhh, v = h * hh % p, x * hh % p
            x = (r * r - hhh - 2 * v) % p
            y = (r * (v - x) - y * hhh) % p
            z = z * h % p
        inverse = pow(z, -1, p)
        square = inverse * inverse % p
        return x * square % p, y * square * inverse % p


class EcKey:
    """A P-256 key."""

    kty = "EC"

    def __init__(self, kid):
        self.kid = kid
        self.d = secrets.randbelow(P256.N - 1) + 1
        self.x, self.y = P256.base_multiple(self.d)
        self.public_pem = _spki_pem(self.x, self.y)

    def sign(self, alg, data):
        e = int.from_bytes(hashlib.sha256(data).digest(), "big")
        while True:
            k = secrets.randbelow(P256.N - 1) + 1
            r = P256.base_multiple(k)[0] % P256.N
            s = pow(k, -1, P256.N) * (e + r * self.d) % P256.N
            if r and s:
                return _int_bytes(r, 32) + _int_bytes(s, 32)

    def jwk(self):
        return {"kty": "EC", "use": "sig", "kid": self.kid, "crv": "P-256", "x": b64url(_int_bytes(self.x, 32)),
                "y": b64url(_int_bytes(self.y, 32))}


def _spki_pem(x, y):
    prefix = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200")
    der = prefix + b"\x04" + _int_bytes(x, 32) + _int_bytes(y, 32)
    text = base64.b64encode(der).decode()
    lines = "\n".join(text[i:i + 64] for i in range(0, len(text), 64))
    return f"-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n".encode()


def key_type(alg):
    return "EC" if alg == "ES256" else "RSA"


def encode(header, claims, signer):
    """header.claims.signature; claims may be a dict or raw bytes."""
    body = claims if isinstance(claims, bytes) else compact_json(claims)
    text = b64url(compact_json(header)) + "." + b64url(body)
    return text + "." + b64url(signer(text.encode()))


def decode(token):
    """(header, claims) with no check at all."""
    header, claims, _ = token.split(".")
    return json.loads(b64url_decode(header)), json.loads(b64url_decode(claims))


# Ways to spoil a token after its claims were chosen. Those that only change claims are in FORGED_CLAIMS.
FORGED_SIGNATURES = ("tampered", "bad_signature", "empty_signature", "none", "hs256", "hs256_jwk", "unknown_kid",
                     "no_kid", "crit", "jku", "jwk", "other_key", "alg_mismatch", "es256_zero", "es256_der", "two_parts",
                     "not_json", "rs384", "duplicate_claims", "duplicate_alg")


def forged_claims(name, claims):
    """The claims of a forged token, or None if that forgery leaves them alone."""
    now = claims["iat"]
    aud = claims.get("aud")
    client = aud[0] if isinstance(aud, list) else aud
    changes = {
        "expired": {"exp": now - 3600, "iat": now - 7200},
        "no_exp": {"exp": None},
        "future": {"iat": now + 7200, "nbf": now + 7200, "exp": now + 10800},
        "wrong_aud": {"aud": "someone-else"},
        "no_aud": {"aud": None},
        "wrong_iss": {"iss": "https://evil.example"},
        "iss_slash": {"iss": claims["iss"] + "/"},
        "no_iss": {"iss": None},
        "no_sub": {"sub": None},
        "azp": {"azp": "someone-else"},
        "aud_list": {"aud": [client, "someone-else"], "azp": client},
        "aud_list_no_azp": {"aud": [client, "someone-else"]},
        "aud_list_wrong_azp": {"aud": [client, "someone-else"], "azp": "someone-else"},
        "nul_sub": {"sub": str(claims.get("sub")) + "\u0000@evil.example"},
        "number_sub": {"sub": 7},
        "huge_exp": {"exp": 10**30},
        "string_exp": {"exp": "tomorrow"},
    }.get(name)
    if changes is None:
        return None
    changed = {**claims, **changes}
    return {k: v for k, v in changed.items() if v is not None}


class KeySet:
    """The authority's keys. The newest of a type signs."""

    def __init__(self):
        self.serial = 0
        self.keys = []
        self.hidden = []
        self._rogue = None
        self.rollover()

    def rollover(self, keep_old=True):
        """New keys of each type; keep_old=False unpublishes the ones before."""
        self.serial += 1
        fresh = [RsaKey(f"rsa-{self.serial}"), EcKey(f"ec-{self.serial}")]
        self.keys = fresh + (self.keys if keep_old else [])

    def signer(self, alg):
        return next(k for k in self.keys if k.kty == key_type(alg))

    def jwks(self):
        return {"keys": [k.jwk() for k in self.keys]}

    def rogue(self, alg):
        """A key that is nowhere published."""
        if self._rogue is None:
            self._rogue = {"RSA": RsaKey("rogue-rsa"), "EC": EcKey("rogue-ec")}
        return self._rogue[key_type(alg)]

    def jwt(self, claims, alg="RS256", forge=None, header=None):
        """Signs claims; `forge` names one spoiling of FORGED_SIGNATURES or forged_claims()."""
        key = self.signer(alg)
        head = {"alg": alg, "typ": "JWT", "kid": key.kid, **(header or {})}
        if forge is None:
            return encode(head, claims, lambda d: key.sign(alg, d))
        changed = forged_claims(forge, claims)
        if changed is not None:
            return encode(head, changed, lambda d: key.sign(alg, d))
        return self._forge_signature(forge, claims, alg, head, key)

    def _forge_signature(self, forge, claims, alg, head, key):
        def good(data):
            return key.sign(alg, data)

        token = encode(head, claims, good)
        h, c, s = token.split(".")
        if forge == "tampered":
            return ".".join((h, b64url(compact_json({**claims, "sub": "mallory"})), s))
        if forge == "bad_signature":
            raw = bytearray(b64url_decode(s))
            raw[-1] ^= 1
            return ".".join((h, c, b64url(bytes(raw))))
        if forge == "empty_signature":
            return ".".join((h, c, ""))
        if forge == "none":
            return encode({**head, "alg": "none"}, claims, lambda d: b"")
        if forge == "hs256":
            return encode({**head, "alg": "HS256"}, claims, lambda d: hmac.digest(key.public_pem, d, "sha256"))
        if forge == "hs256_jwk":
            secret = b64url_decode(key.jwk().get("n") or key.jwk()["x"])
            return encode({**head, "alg": "HS256"}, claims, lambda d: hmac.digest(secret, d, "sha256"))
        if forge == "unknown_kid":
            return encode({**head, "kid": "no-such-key"}, claims, lambda d: self.rogue(alg).sign(alg, d))
        if forge == "no_kid":
            return encode({k: v for k, v in head.items() if k != "kid"}, claims, good)
        if forge == "crit":
            return encode({**head, "crit": ["exp"]}, claims, good)
        if forge == "jku":
            rogue = self.rogue(alg)
            return encode({**head, "jku": "https://evil.example/jwks", "kid": rogue.kid}, claims,
                          lambda d: rogue.sign(alg, d))
        if forge == "jwk":
            rogue = self.rogue(alg)
            return encode({**head, "jwk": rogue.jwk(), "kid": rogue.kid}, claims, lambda d: rogue.sign(alg, d))
        if forge == "other_key":
            return encode(head, claims, lambda d: self.rogue(alg).sign(alg, d))
        if forge == "alg_mismatch":
            other = "ES256" if key.kty == "RSA" else "RS256"
            return encode({**head, "alg": other}, claims, good)
        if forge == "rs384":
            return encode({**head, "alg": "RS384"}, claims, good)
        if forge == "es256_zero":
            ec = self.signer("ES256")
            return encode({**head, "alg": "ES256", "kid": ec.kid}, claims, lambda d: b"\x00" * 64)
        if forge == "es256_der":
            ec = self.signer("ES256")
            return encode({**head, "alg": "ES256", "kid": ec.kid}, claims, lambda d: _der_signature(ec.sign("ES256", d)))
        if forge == "two_parts":
            return ".".join((h, c))
        if forge == "not_json":
            return encode(head, b"sub=alice", good)
        if forge == "duplicate_claims":
            body = compact_json(claims)
            return encode(head, body[:-1] + b',"sub":"mallory"}', good)
        if forge == "duplicate_alg":
            raw = compact_json(head)[:-1] + b',"alg":"none"}'
            text = b64url(raw) + "." + c
            return text + "." + b64url(good(text.encode()))
        raise ValueError(f"no such forgery: {forge}")


def _der_signature(raw):
    def integer(part):
        part = part.lstrip(b"\x00") or b"\x00"
        if part[0] & 0x80:
            part = b"\x00" + part
        return b"\x02" + bytes([len(part)]) + part

    body = integer(raw[:32]) + integer(raw[32:])
    return b"\x30" + bytes([len(body)]) + body
