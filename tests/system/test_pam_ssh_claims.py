"""At a real sshd: claims that are nearly somebody's, of well-signed tokens. Each is refused, and the log says why."""

import json
import re
import time

import pytest
from authority import keys
from harness import wait_until
from pam import ISSUER, MAP, configure, put_in_stack, spool_is_sound

HERE, ELSEWHERE = "11111111-0000-0000-0000-000000000001", "22222222-0000-0000-0000-000000000002"
OBJECT = "aaaaaaaa-0000-0000-0000-00000000000a"
BY_CLAIM = {"map": None, "user_claim": "unix_name"}
BY_TENANT = f"{ISSUER} tid:{HERE},oid:{OBJECT} mlt-alice\n"


class Raw(bytes):
    """A member of the token as it stands, for what no JSON library would write."""


# settings, lines of the map instead of the usual, claims of the id_token -> what the log says, or None: she is let in
CLAIMS = {
    "her name": (BY_CLAIM, "", {"unix_name": "mlt-alice"}, None),
    "a NUL and more": (BY_CLAIM, "", {"unix_name": "mlt-alice\0x"}, "no usable claim unix_name"),
    "a NUL at the end": (BY_CLAIM, "", {"unix_name": "mlt-alice\0"}, "no usable claim unix_name"),
    "a newline": (BY_CLAIM, "", {"unix_name": "mlt-alice\n"}, "no usable claim unix_name"),
    "a line of its own": (BY_CLAIM, "", {"unix_name": "mallory\nmlt-alice"}, "no usable claim unix_name"),
    "no valid UTF-8": (BY_CLAIM, "", Raw(b'"unix_name":"mlt-alice\xff"'), "well-formed"),
    "two of it": (BY_CLAIM, "", Raw(b'"unix_name":"mallory","unix_name":"mlt-alice"'), "well-formed"),
    "a list": (BY_CLAIM, "", {"unix_name": ["mlt-alice"]}, "no usable claim unix_name"),
    "capitals": (BY_CLAIM, "", {"unix_name": "MLT-alice"}, "which is another user"),
    "a NUL in the subject": ({}, "", {"sub": "sub-alice-1\0x"}, "subject"),
    "a newline in the subject": ({}, "", {"sub": "sub-alice-1\n"}, "subject"),
    "her tenant": ({}, BY_TENANT, {"tid": HERE, "oid": OBJECT}, None),
    "another tenant's alice, by tid": ({}, BY_TENANT, {"tid": ELSEWHERE, "oid": OBJECT}, "the map does not let"),
    "a NUL in the tenant": ({}, BY_TENANT, {"tid": HERE + "\0", "oid": OBJECT}, "the map does not let"),
    "another tenant's alice, by issuer": ({}, "", {"iss": f"https://localhost/{ELSEWHERE}/v2.0"}, "issuer"),
    "an alice whom another tenant's line names": ({}, f"https://localhost/{ELSEWHERE}/v2.0 sub:sub-alice-1 mlt-alice\n", {}, "the map does not let"),
}


def signed(company, member):
    """As the authority signs it, with one more member."""
    key, now = company.authority.keys.signer("RS256"), int(time.time())
    body = json.dumps({"iss": ISSUER, "sub": "sub-alice-1", "aud": "device", "iat": now, "exp": now + 3600}).encode()
    return keys.encode({"alg": "RS256", "kid": key.kid}, body[:-1] + b"," + member + b"}", lambda data: key.sign("RS256", data))


@pytest.mark.parametrize("name", CLAIMS)
def test_who_the_claims_say(place, company, people, name):
    settings, lines, claims, said = CLAIMS[name]
    configure(place, **settings)
    if lines:
        place.write(MAP, lines)
    put_in_stack(place, "sshd")
    place.start_sshd()
    if isinstance(claims, Raw):
        company.authority.set_client("device", extra={"id_token": signed(company, claims)})
    else:
        company.authority.set_client("device", id_token_claims=claims)
    alice = people.ssh("mlt-alice")
    alice.sign_in("alice")
    if said is None:
        alice.shell()
        return
    alice.refused()
    wait_until(lambda: re.search(rf"pam_mltoken\(sshd:auth\): (?!mltoken-pam-login).*{said}", place.log.text()))
    assert "Accepted" not in place.log.text() and "session opened for user mlt-alice" not in place.log.text()
    wait_until(lambda: not place.processes("mltoken-pam-login"))
    assert spool_is_sound(place) == []
