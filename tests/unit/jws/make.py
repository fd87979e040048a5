#!/usr/bin/python3
"""Writes refused.json beside it: tokens that a careless verifier takes, and their good twins, in the style of Wycheproof.

Run by hand when a case is added (needs python3-cryptography): the keys are new each time and are not kept. The tokens are
made with numbers alone, so that no library has a say in what may be signed.
"""

import base64
import hashlib
import hmac
import json
import pathlib

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa, utils

HERE = pathlib.Path(__file__).resolve().parent
CLAIMS = '{"iss":"https://authority.example","sub":"alice"}'
DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
OK, MALFORMED, ALGORITHM, HEADER, NO_KEY, BAD = "ok", "malformed", "algorithm", "header", "no key", "bad signature"


def b64(data):
    data = data if isinstance(data, bytes) else data.encode("utf-8", "surrogateescape")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value, size=None):
    return value.to_bytes(size or (value.bit_length() + 7) // 8, "big")


class Rsa:
    kty = "RSA"

    def __init__(self, bits=2048, e=65537):
        self.key = rsa.generate_private_key(e, bits)
        private = self.key.private_numbers()
        self.n, self.e, self.d, self.size = private.public_numbers.n, e, private.d, bits // 8

    def jwk(self, **more):
        return {"kty": "RSA", "n": b64(number(self.n)), "e": b64(number(self.e)), **more}

    def raw(self, em):
        """em as a number, or bytes of an encoded message, signed."""
        return number(pow(int.from_bytes(em, "big") if isinstance(em, bytes) else em, self.d, self.n), self.size)

    def pkcs1(self, text, info=None, pad=b"\xff", after=b"", start=b"\0\1", fill=None):
        info = info or DIGEST_INFO + hashlib.sha256(text).digest()
        count = fill if fill is not None else self.size - len(start) - 1 - len(info) - len(after)
        em = start + pad * count + b"\0" + info + after
        return self.raw(em + b"\0" * (self.size - len(em)))

    def pss(self, text, salt=32, digest="sha256", mgf="sha256", trailer=0xbc, top=0, nonzero=False, separator=1):
        hash_ = hashlib.new(digest, text).digest()
        filling = bytes(range(salt % 256)) if salt < 256 else b"s" * salt
        h = hashlib.new(digest, b"\0" * 8 + hash_ + filling).digest()
        db = bytearray(b"\0" * (self.size - len(h) - 2 - salt) + bytes([separator]) + filling)
        if nonzero:
            db[len(db) - salt - 2] = 1
        mask = b"".join(hashlib.new(mgf, h + i.to_bytes(4, "big")).digest() for i in range(40))[:len(db)]
        masked = bytearray(a ^ b for a, b in zip(db, mask))
        masked[0] = masked[0] & 0x7f | top
        return self.raw(bytes(masked) + h + bytes([trailer]))


class Ec:
    kty = "EC"

    def __init__(self, curve=ec.SECP256R1(), name="P-256"):
        self.key, self.name = ec.generate_private_key(curve), name
        self.size = (curve.key_size + 7) // 8
        self.x, self.y = self.key.public_key().public_numbers().x, self.key.public_key().public_numbers().y

    def jwk(self, **more):
        return {"kty": "EC", "crv": self.name, "x": b64(number(self.x, self.size)), "y": b64(number(self.y, self.size)), **more}

    def numbers(self, text, digest=hashes.SHA256()):
        return utils.decode_dss_signature(self.key.sign(text, ec.ECDSA(digest)))

    def sign(self, text, digest=hashes.SHA256()):
        return b"".join(number(value, self.size) for value in self.numbers(text, digest))


class Group:
    def __init__(self, comment, *keys):
        self.value = {"comment": comment, "jwks": {"keys": list(keys)}, "tests": []}

    def add(self, result, comment, token, **more):
        self.value["tests"].append({"comment": comment, "result": result, "jws": token, **more})

    def signed(self, result, comment, header, signer, payload=CLAIMS, **more):
        text = f"{b64(header)}.{b64(payload)}"
        self.add(result, comment, f"{text}.{b64(signer(text.encode()))}", **more)


def rs256():
    key, other = Rsa(), Rsa()
    group = Group("RS256: the padding of PKCS #1 v1.5, and what is called by its name", key.jwk(kid="r"))
    head = '{"alg":"RS256","kid":"r"}'
    good = lambda comment, header=head, result=OK: group.signed(result, comment, header, key.pkcs1)
    good("good")
    good("without a key id", '{"alg":"RS256"}')
    group.signed(BAD, "another key's", head, other.pkcs1)
    group.signed(BAD, "a signature of PSS", head, key.pss)
    for name, comment in (("sha1", "SHA-1"), ("sha384", "SHA-384"), ("sha512", "SHA-512")):
        oid = {"sha1": "3021300906052b0e03021a05000414", "sha384": "3041300d060960864801650304020205000430",
               "sha512": "3051300d060960864801650304020305000440"}[name]
        group.signed(BAD, f"with {comment}", head,
                     lambda t, o=oid, h=name: key.pkcs1(t, bytes.fromhex(o) + hashlib.new(h, t).digest()))
    group.signed(BAD, "the digest of something else", head, lambda t: key.pkcs1(t + b" "))
    digest = lambda t: hashlib.sha256(t).digest()
    group.signed(BAD, "bytes after the digest, the padding shorter by them", head, lambda t: key.pkcs1(t, after=b"\0" * 8))
    group.signed(BAD, "eight bytes of padding, then garbage after the digest (Bleichenbacher)", head,
                 lambda t: key.pkcs1(t, after=b"\1", fill=8))
    group.signed(BAD, "the digest alone, without its algorithm", head, lambda t: key.pkcs1(t, digest(t)))
    group.signed(BAD, "algorithm without its NULL", head,
                 lambda t: key.pkcs1(t, bytes.fromhex("302f300b0609608648016503040201") + b"\4\x20" + digest(t)))
    group.signed(BAD, "a length in the long form of BER", head,
                 lambda t: key.pkcs1(t, bytes.fromhex("308131300d060960864801650304020105000420") + digest(t)))
    group.signed(BAD, "an element more in the algorithm", head,
                 lambda t: key.pkcs1(t, bytes.fromhex("3033300f0609608648016503040201050005000420") + digest(t)))
    group.signed(BAD, "padding of block type 2", head, lambda t: key.pkcs1(t, start=b"\0\2", pad=b"\xfe"))
    group.signed(BAD, "padding of block type 0", head, lambda t: key.pkcs1(t, start=b"\0\0", pad=b"\0"))
    group.signed(BAD, "padding with another byte", head, lambda t: key.pkcs1(t, pad=b"\xfe"))
    group.signed(BAD, "no padding: the digest as a number", head, lambda t: key.raw(digest(t)))
    for value, comment in ((0, "0"), (1, "1"), (key.n - 1, "n - 1"), (key.n, "n")):
        group.signed(BAD, f"the number {comment}", head, lambda t, v=value: number(v, key.size))
    for i in range(1000):  # until it fits
        text = f'{b64(head)}.{b64(json.dumps({"sub": str(i)}))}'
        more = int.from_bytes(key.pkcs1(text.encode()), "big") + key.n
        if more < 1 << 8 * key.size:
            group.add(BAD, "the good one plus n", f"{text}.{b64(number(more, key.size))}")
            break
    else:
        raise SystemExit("run it again: n is too close to its end")
    group.signed(BAD, "a zero byte before it", head, lambda t: b"\0" + key.pkcs1(t))
    group.signed(BAD, "a zero byte after it", head, lambda t: key.pkcs1(t) + b"\0")
    group.signed(BAD, "the last byte missing", head, lambda t: key.pkcs1(t)[:-1])
    group.signed(BAD, "twice", head, lambda t: key.pkcs1(t) * 2)
    group.signed(BAD, "empty", head, lambda t: b"")
    return group.value


def ps256():
    key = Rsa()
    group = Group("PS256: the padding of PSS, and what is called by its name", key.jwk(kid="p"))
    head = '{"alg":"PS256","kid":"p"}'
    group.signed(OK, "good", head, key.pss)
    group.signed(BAD, "a signature of PKCS #1 v1.5", head, key.pkcs1)
    for salt in (0, 20, 31, 33, 64, 222):
        group.signed(BAD, f"a salt of {salt} bytes", head, lambda t, s=salt: key.pss(t, salt=s))
    group.signed(BAD, "MGF1 with SHA-1", head, lambda t: key.pss(t, mgf="sha1"))
    group.signed(BAD, "MGF1 with SHA-512", head, lambda t: key.pss(t, mgf="sha512"))
    for name in ("sha1", "sha384", "sha512"):
        group.signed(BAD, f"with {name}", head, lambda t, h=name: key.pss(t, digest=h, mgf=h))
    group.signed(BAD, "another last byte", head, lambda t: key.pss(t, trailer=0xcc))
    group.signed(BAD, "the last byte zero", head, lambda t: key.pss(t, trailer=0))
    group.signed(BAD, "a bit among the zeros", head, lambda t: key.pss(t, nonzero=True))
    group.signed(BAD, "no 1 before the salt", head, lambda t: key.pss(t, separator=0))
    group.signed(BAD, "a 2 before the salt", head, lambda t: key.pss(t, separator=2))
    for value, comment in ((0, "0"), (1, "1"), (key.n - 1, "n - 1")):
        group.signed(BAD, f"the number {comment}", head, lambda t, v=value: number(v, key.size))
    return group.value


def es256():
    key, other, other_curve = Ec(), Ec(), Ec(ec.SECP384R1(), "P-384")
    group = Group("ES256: r and s as they are, each 32 bytes", key.jwk(kid="e"))
    head = '{"alg":"ES256","kid":"e"}'
    pair = lambda r, s: number(r, 32) + number(s, 32)
    group.signed(OK, "good", head, key.sign)
    group.signed(BAD, "another key's", head, other.sign)
    group.signed(BAD, "in DER", head, lambda t: key.key.sign(t, ec.ECDSA(hashes.SHA256())))
    group.signed(BAD, "in DER, filled up to 64 bytes", head, lambda t: key.key.sign(t, ec.ECDSA(hashes.SHA256())).ljust(64, b"\0")[:64])
    group.signed(BAD, "s before r", head, lambda t: pair(*key.numbers(t)[::-1]))
    group.signed(BAD, "with SHA-384", head, lambda t: key.sign(t, hashes.SHA384()))
    group.signed(BAD, "with SHA-512", head, lambda t: key.sign(t, hashes.SHA512()))
    numbers = {"0": 0, "1": 1, "the order less 1": ORDER - 1, "the order": ORDER, "the order plus 1": ORDER + 1,
               "all ones": 2**256 - 1}
    for a, r in numbers.items():
        for b, s in numbers.items():
            group.signed(BAD, f"r = {a}, s = {b}", head, lambda t, r=r, s=s: pair(r, s))
    for a, value in numbers.items():
        group.signed(BAD, f"r = {a}, s as it is", head, lambda t, v=value: pair(v, key.numbers(t)[1]))
        group.signed(BAD, f"r as it is, s = {a}", head, lambda t, v=value: pair(key.numbers(t)[0], v))
    for comment, change in (("the last byte missing", lambda s: s[:-1]), ("a zero byte after it", lambda s: s + b"\0"),
                            ("a zero byte before it", lambda s: b"\0" + s), ("33 bytes each", lambda s: b"\0" + s[:32] + b"\0" + s[32:]),
                            ("half of it", lambda s: s[:32]), ("twice", lambda s: s * 2), ("empty", lambda s: b"")):
        group.signed(BAD, comment, head, lambda t, c=change: c(key.sign(t)))
    second = Group("ES256 and keys that are not of it", other_curve.jwk(kid="p384"), {**key.jwk(kid="off"), "y": b64(number(key.y ^ 1, 32))},
                   {**other_curve.jwk(kid="lies"), "crv": "P-256"}, {**key.jwk(kid="zero"), "x": b64(b"\0" * 32), "y": b64(b"\0" * 32)},
                   {**key.jwk(kid="k256"), "crv": "secp256k1"}, {**key.jwk(kid="short"), "x": b64(number(key.x, 32)[1:])})
    for kid, comment in (("p384", "of the curve P-384"), ("off", "whose point is not on the curve"), ("lies", "too long for its curve"),
                         ("zero", "whose point is at infinity"), ("k256", "of secp256k1"), ("short", "with a byte missing")):
        second.signed(NO_KEY, f"a key {comment}", f'{{"alg":"ES256","kid":"{kid}"}}', key.sign)
    second.signed(NO_KEY, "a signature of P-384 that calls itself ES256", '{"alg":"ES256","kid":"p384"}',
                  lambda t: other_curve.sign(t, hashes.SHA384()))
    second.signed(ALGORITHM, "ES384", '{"alg":"ES384","kid":"p384"}', lambda t: other_curve.sign(t, hashes.SHA384()))
    return [group.value, second.value]


def confusion():
    key, curve = Rsa(), Ec()
    public = key.key.public_key()
    group = Group("what `alg` says, and what the keys are for", key.jwk(kid="r"), curve.jwk(kid="e"), key.jwk(kid="only-ps", alg="PS256"),
                  key.jwk(kid="enc", use="enc"), key.jwk(kid="ops", key_ops=["encrypt"]), key.jwk(kid="hs", alg="HS256"),
                  {"kty": "oct", "kid": "oct", "k": b64(b"k" * 32)})
    for name in ("none", "None", "NONE", "nOnE", "none ", "", "\u017fome"):
        head = json.dumps({"alg": name, "kid": "r"}, ensure_ascii=False)
        group.add(ALGORITHM, f"alg {name!r} and no signature", f"{b64(head)}.{b64(CLAIMS)}.")
        group.signed(ALGORITHM, f"alg {name!r} over a good signature of RS256", head, key.pkcs1)
    group.add(BAD, "RS256 and no signature", f'{b64(json.dumps({"alg": "RS256"}))}.{b64(CLAIMS)}.')
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    forms = {"PEM": pem, "PEM without its last line end": pem.rstrip(),
             "PKCS #1 PEM": public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1),
             "DER": public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
             "the modulus": number(key.n), "the modulus in base64url": b64(number(key.n)).encode(),
             "the JWK": json.dumps(key.jwk(kid="r")).encode(), "nothing": b"", "the octets of the symmetric key": b"k" * 32}
    for name, secret in forms.items():
        for kid in ("r", "oct"):
            group.signed(ALGORITHM, f"HS256 with {name} as its secret, key {kid}", json.dumps({"alg": "HS256", "kid": kid}),
                         lambda t, s=secret: hmac.new(s, t, "sha256").digest())
    for name in ("RS384", "RS512", "PS384", "PS512", "ES384", "ES512", "ES256K", "EdDSA", "RS1", "RSA1_5", "dir", "rs256", "RS256 ", " RS256",
                 "RS256\0", "RS256\n", "Rs256", "\uff32S256"):
        group.signed(ALGORITHM, f"alg {name!r}", json.dumps({"alg": name, "kid": "r"}), key.pkcs1)
    group.signed(ALGORITHM, "RS256 by the id of an EC key", '{"alg":"RS256","kid":"e"}', key.pkcs1)
    group.signed(ALGORITHM, "ES256 by the id of an RSA key", '{"alg":"ES256","kid":"r"}', curve.sign)
    group.signed(ALGORITHM, "RS256 by the id of a key for PS256", '{"alg":"RS256","kid":"only-ps"}', key.pkcs1)
    group.signed(OK, "PS256 by the id of a key for PS256", '{"alg":"PS256","kid":"only-ps"}', key.pss)
    group.signed(NO_KEY, "a key for encryption", '{"alg":"RS256","kid":"enc"}', key.pkcs1)
    group.signed(NO_KEY, "a key whose operations are others", '{"alg":"RS256","kid":"ops"}', key.pkcs1)
    group.signed(NO_KEY, "a key for HS256", '{"alg":"RS256","kid":"hs"}', key.pkcs1)
    group.signed(NO_KEY, "a symmetric key", '{"alg":"RS256","kid":"oct"}', key.pkcs1)
    short, long_e, even = Rsa(1024), Rsa(), Rsa()
    weak = Group("keys that are none", short.jwk(kid="1024"), {**long_e.jwk(kid="e1"), "e": b64(b"\1")},
                 {**long_e.jwk(kid="e0"), "e": b64(b"\0")}, {**long_e.jwk(kid="even"), "n": b64(number(even.n - 1))},
                 {**long_e.jwk(kid="no-n"), "n": ""}, {**long_e.jwk(kid="padded"), "n": b64(number(long_e.n)) + "="})
    weak.signed(NO_KEY, "RSA of 1024 bits", '{"alg":"RS256","kid":"1024"}', short.pkcs1)
    weak.signed(NO_KEY, "RSA of 1024 bits, PSS", '{"alg":"PS256","kid":"1024"}', short.pss)
    info = lambda t: DIGEST_INFO + hashlib.sha256(t).digest()
    weak.signed(NO_KEY, "the exponent 1: the padded digest is its own signature", '{"alg":"RS256","kid":"e1"}',
                lambda t: b"\0\1" + b"\xff" * (253 - len(info(t))) + b"\0" + info(t))
    weak.signed(NO_KEY, "the exponent 0", '{"alg":"RS256","kid":"e0"}', lambda t: number(1, 256))
    weak.signed(NO_KEY, "an even modulus", '{"alg":"RS256","kid":"even"}', long_e.pkcs1)
    weak.signed(NO_KEY, "no modulus", '{"alg":"RS256","kid":"no-n"}', long_e.pkcs1)
    weak.signed(NO_KEY, "a modulus with padding in its base64url", '{"alg":"RS256","kid":"padded"}', long_e.pkcs1)
    weak.signed(NO_KEY, "none of them by name", '{"alg":"RS256"}', long_e.pkcs1)
    return [group.value, weak.value]


def headers():
    key, evil = Rsa(), Rsa()
    group = Group("headers", key.jwk(kid="r"), key.jwk(kid="twice"), evil.jwk(kid="twice"))
    own = json.dumps(evil.jwk())
    cases = [
        (HEADER, "crit", '"crit":["exp"],"exp":1'), (HEADER, "an empty crit", '"crit":[]'), (HEADER, "crit null", '"crit":null'),
        (HEADER, "b64 false with crit (RFC 7797)", '"b64":false,"crit":["b64"]'), (HEADER, "b64 false alone", '"b64":false'),
        (HEADER, "b64 true", '"b64":true'),
        (HEADER, "jku", '"jku":"https://evil.example/keys"'), (HEADER, "jku of the authority itself", '"jku":"https://authority.example/keys"'),
        (HEADER, "x5u", '"x5u":"https://evil.example/cert"'), (HEADER, "x5u of file:", '"x5u":"file:///etc/passwd"'),
        (HEADER, "x5c", '"x5c":["MIIB"]'), (HEADER, "jwk of the signer", f'"jwk":{own}'), (HEADER, "jwk null", '"jwk":null'),
        (NO_KEY, "an unknown kid", '"kid":"q"'), (NO_KEY, "a kid in another case", '"kid":"R"'), (NO_KEY, "an empty kid", '"kid":""'),
        (NO_KEY, "a kid with a path", '"kid":"../../../dev/null"'), (NO_KEY, "a kid with SQL", '''"kid":"x' UNION SELECT 'key"'''),
        (NO_KEY, "a kid with a shell's words", '"kid":"r|/bin/true"'), (NO_KEY, "a kid with blanks", '"kid":" r "'),
        (MALFORMED, "a kid with NUL", '"kid":"r\\u0000"'), (MALFORMED, "a kid that is a number", '"kid":1'),
        (MALFORMED, "a kid that is a list", '"kid":["r"]'), (OK, "a kid that is null counts as none", '"kid":null'),
        (MALFORMED, "a kid of 513 bytes", f'"kid":"{"k" * 513}"'),
        (MALFORMED, "alg twice", '"alg":"RS256"'), (MALFORMED, "alg twice, none the last", '"alg":"none"'),
        (MALFORMED, "alg twice, once spelled otherwise", '"\\u0061lg":"none"'),
        (MALFORMED, "kid twice", '"kid":"r","kid":"r"'), (MALFORMED, "a member twice deep within", '"x":[{"a":1,"a":2}]'),
        (MALFORMED, "depth", '"x":' + "[" * 40 + "]" * 40), (MALFORMED, "a comment", '"x":1/**/'), (MALFORMED, "NaN", '"x":NaN'),
        (MALFORMED, "a name with NUL", '"x\\u0000":1'), (MALFORMED, "a comma at the end", '"x":1,'),
        (OK, "typ, cty, x5t and what nobody knows", '"typ":"JWT","cty":"x","x5t":"AAAA","x5t#S256":"BBBB","zz":{"alg":"none"}'),
        (OK, "the kid", '"kid":"r"'),
    ]
    for result, comment, members in cases:
        group.signed(result, comment, '{"alg":"RS256",' + members + "}", key.pkcs1)
    for result, comment, members in cases:
        if result == HEADER:
            group.signed(HEADER, comment + ", signed by its own key", '{"alg":"RS256",' + members + "}", evil.pkcs1)
    group.signed(OK, "two keys with one id, the second's", '{"alg":"RS256","kid":"twice"}', evil.pkcs1)
    group.signed(OK, "two keys with one id, the first's", '{"alg":"PS256","kid":"twice"}', key.pss)
    filler = 8192 - len('{"alg":"RS256","x":""}')
    group.signed(OK, "8192 bytes", '{"alg":"RS256","x":"%s"}' % ("a" * filler), key.pkcs1)
    group.signed(MALFORMED, "8193 bytes", '{"alg":"RS256","x":"%s"}' % ("a" * (filler + 1)), key.pkcs1)
    for comment, text in (("no object", '"RS256"'), ("a list", '[{"alg":"RS256"}]'), ("null", "null"), ("empty", ""), ("no alg", "{}"),
                          ("alg null", '{"alg":null}'), ("alg a list", '{"alg":["RS256"]}'), ("alg a number", '{"alg":256}'),
                          ("Alg", '{"Alg":"RS256"}'), ("single quotes", "{'alg':'RS256'}"), ("not whole", '{"alg":"RS256"'),
                          ("two objects", '{"alg":"RS256"}{}'), ("a byte order mark", '\ufeff{"alg":"RS256"}'),
                          ("no UTF-8", '{"alg":"RS256","x":"\udcff"}'), ("a NUL after it", '{"alg":"RS256"}\0')):
        group.signed(MALFORMED, comment, text, key.pkcs1)
    return group.value


def serialization_():
    key = Rsa()
    group = Group("how it is written", key.jwk(kid="r"))
    text = f'{b64(json.dumps({"alg": "RS256"}))}.{b64(CLAIMS)}'
    head, payload, signature = *text.split("."), b64(key.pkcs1(text.encode()))
    good = f"{text}.{signature}"
    group.add(OK, "good", good)
    flat = {"payload": payload, "protected": head, "signature": signature}
    general = {"payload": payload, "signatures": [{"protected": head, "signature": signature}]}
    group.add(BAD, "detached: the payload left out", f"{head}..{signature}")
    group.add(BAD, "one letter too many", good + "A")
    group.add(BAD, "another payload", f"{head}.{b64(CLAIMS.replace('alice', 'bob'))}.{signature}")
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    odd = signature[:-1] + last[last.index(signature[-1]) + 1]
    assert base64.urlsafe_b64decode(odd + "==") == base64.urlsafe_b64decode(signature + "==")
    cases = {"the flattened JSON serialization": json.dumps(flat), "the general one": json.dumps(general),
             "two parts": text, "one part": head, "none": "", "four parts": good + ".e30", "five parts, as an encrypted one": good + ".e30.e30",
             "dots alone": "..", "no header": f".{payload}.{signature}", "a line end after it": good + "\n", "a blank after it": good + " ",
             "a blank before it": " " + good, "a NUL after it": good + "\0", "Bearer before it": "Bearer " + good,
             "padded signature": good + "==", "padded payload": f"{head}.{payload}=.{signature}", "padded header": f"{head}=.{payload}.{signature}",
             "three letters too many": good + "AAA", "bits that nobody reads": f"{text}.{odd}",
             "the other alphabet": f'{text}.{signature.replace("-", "+").replace("_", "/")}',
             "a line end within": f"{text}.{signature[:100]}\n{signature[100:]}", "a blank within": f"{text}.{signature[:100]} {signature[100:]}",
             "percent-encoded": f"{text}.{signature[:-1]}%41", "quotes around it": f'"{good}"',
             "payload as it is": f"{head}.{CLAIMS}.{signature}", "header as it is": f'{{"alg":"RS256"}}.{payload}.{signature}'}
    for comment, token in cases.items():
        group.add(MALFORMED, comment, token)
    for result, comment, text in ((MALFORMED, "a claim twice", '{"sub":"alice","sub":"bob"}'), (MALFORMED, "a claim twice, once spelled otherwise", '{"sub":"a","s\\u0075b":"b"}'),
                                  (MALFORMED, "a list", '["sub"]'), (MALFORMED, "no JSON", "alice"), (MALFORMED, "empty", ""), (MALFORMED, "bytes after it", CLAIMS + "x"),
                                  (MALFORMED, "a NUL after it", CLAIMS + "\0"), (MALFORMED, "no UTF-8", '{"sub":"\udcff"}'), (MALFORMED, "depth", '{"x":' + "[" * 40 + "]" * 40 + "}"),
                                  (OK, "a member named like one outside", '{"x":{"sub":"a"},"sub":"b"}')):
        group.signed(OK, "claims: " + comment, '{"alg":"RS256"}', key.pkcs1, payload=text, claims=result)
    return group.value


def main():
    groups = [rs256(), ps256(), *es256(), *confusion(), headers(), serialization_()]
    for i, test in enumerate((test for group in groups for test in group["tests"]), 1):
        test["id"] = i
    text = json.dumps({"made by": "make.py", "groups": groups}, indent=0, ensure_ascii=True)
    (HERE / "refused.json").write_text(text + "\n", encoding="ascii")
    print(sum(len(group["tests"]) for group in groups), "tests")


if __name__ == "__main__":
    main()
