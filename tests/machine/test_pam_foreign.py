"""Signing in at the booted machine with an authority that somebody else wrote: glewlwyd, as Debian has it, by https."""

import json
import os
import re
import ssl
import sys
import urllib.request

import pytest
from authority.tls import LocalCa
from gate import CA, GET, HELPER, MAP
from pam import claims_of

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "interop"))

import interop_glewlwyd  # noqa: E402

CODE = r"\b[A-Z0-9]{4}-[A-Z0-9]{4}\b"


@pytest.fixture(scope="module")
def glewlwyd(tmp_path_factory):
    ca = LocalCa(str(tmp_path_factory.mktemp("ca")))
    cert, key = ca.certificate()
    with interop_glewlwyd.running(tmp_path_factory.mktemp("glewlwyd"), tls={"cert": cert, "key": key, "ca": ca.ca_file()}) as server:
        admin = interop_glewlwyd.Api(server.base, *interop_glewlwyd.ADMIN, server.ca_file)
        admin.call("POST", "/user/", {"username": "bob", "password": server.password, "name": "Bob", "scope": list(interop_glewlwyd.SCOPES), "enabled": True})
        yield server


@pytest.fixture
def foreign(machine, gate, glewlwyd):
    """The gate, for which pam.conf names glewlwyd, and the map is the example, with nobody in it."""
    gate.configure({"authority": glewlwyd.issuer, "client_id": glewlwyd.public, "scope": glewlwyd.login_scope, "ca_file": CA})
    gate.trust(glewlwyd.ca_file)
    gate.map("")
    return gate


def browse(glewlwyd, text, person="alice"):
    """What is shown at a terminal, in the hands of a person with a browser."""
    address, = set(re.findall(r"https://[^\s]+", text))
    code, = set(re.findall(CODE, text))
    glewlwyd.browse({"verification_uri": address, "user_code": code}, typed=True, person=person)


def write_map(machine, gate, glewlwyd, user):
    """As the README has it. Returns the subject."""
    command = f"runuser -u _mltoken -- {HELPER} --map --user {user} >> {MAP}"
    here = gate.terminal(f"sh -c '{command}'")
    here.child.expect(CODE + r"\s")
    browse(glewlwyd, here.child.before + here.child.after, user)
    here.ended()
    assert here.child.exitstatus == 0, here.shown
    lines = [line for line in machine.read(MAP).splitlines() if line.endswith(" " + user) and not line.startswith("#")]
    issuer, subject, name = lines[-1].split(" ")
    assert issuer == glewlwyd.issuer and name == user and subject.startswith("sub:"), lines
    return subject.removeprefix("sub:")


def sign_in(gate, glewlwyd, user, person):
    here = gate.ssh(user)
    browse(glewlwyd, here.prompt(), person)
    here.enter()
    return here


def userinfo(glewlwyd, token):
    """What glewlwyd itself says of whoever has this token."""
    request = urllib.request.Request(glewlwyd.door, headers={"Authorization": "Bearer " + token})
    with urllib.request.urlopen(request, timeout=60, context=ssl.create_default_context(cafile=glewlwyd.ca_file)) as reply:
        return json.load(reply)


def test_from_the_map_to_the_first_token(machine, foreign, glewlwyd, people):
    """The line of the map by --map, then ssh with a key and a code; the token is that person's, and comes with no other sign-in."""
    subject = write_map(machine, foreign, glewlwyd, "alice")
    given = len(glewlwyd.refresh_tokens(glewlwyd.public))
    alice = sign_in(foreign, glewlwyd, "alice", "alice").shell()
    token = alice(GET)
    told = claims_of(token)
    assert told["sub"] == subject and told["iss"] == glewlwyd.issuer and told["client_id"] == glewlwyd.public
    assert userinfo(glewlwyd, token)["sub"] == subject
    assert alice("id -un") == "alice" and alice(GET) == token
    assert glewlwyd.refresh_tokens(glewlwyd.public)[given:] == [(None, True)], "one sign-in, and no refresh"
    renewed = claims_of(alice(GET + " --refresh"))
    assert renewed["sub"] == subject and renewed["jti"] != told["jti"], "the agent can renew what was handed to it"
    assert [live for _, live in glewlwyd.refresh_tokens(glewlwyd.public)[given:]] == [False, True]
    assert len(people["alice"].agents()) == 1
    alice.leave()


def test_another_person_of_the_same_authority(machine, foreign, glewlwyd):
    """Who signs in at glewlwyd as bob is not alice here; nor is alice while the map does not have her."""
    sign_in(foreign, glewlwyd, "alice", "alice").refused()
    write_map(machine, foreign, glewlwyd, "alice")
    bob = write_map(machine, foreign, glewlwyd, "bob")
    here = sign_in(foreign, glewlwyd, "alice", "bob")
    here.refused()
    assert "does not let you be this user" in here.shown
    said = [e["MESSAGE"] for e in machine.journal("--since=-5min") if "pam_mltoken" in str(e.get("MESSAGE"))]
    assert any(bob in message for message in said), said
