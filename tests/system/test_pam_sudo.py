"""sudo with an administrator's own line for the module: the code at the terminal of who types sudo; nobody else notices."""

import os
import re

import pexpect
import pytest
from pam import ENTER, configure, put_in_stack, spool_is_sound
from pam_place import PASSWORD, ROOT_PASSWORD

# nothing goes to /var, which is the real machine's; each command asks
SUDOERS = """Defaults lecture=never, !mailerpath, timestamp_timeout={timeout}
mlt-alice ALL=(ALL:ALL) ALL
mlt-local ALL=(ALL:ALL) ALL
"""


def sudoers(place, timeout=0):
    place.write("/etc/sudoers.d/mlt", SUDOERS.format(timeout=timeout), mode=0o440)


@pytest.fixture(autouse=True)
def with_sudo(place, company):
    if "mlt-local:" not in place.read("/etc/passwd"):  # an account below min_uid
        shadow = re.search(r"^mlt-alice:(.*)$", place.read("/etc/shadow"), re.M)[1]
        place.append("/etc/passwd", "mlt-local:x:999:999::/home:/bin/bash\n")
        place.append("/etc/group", "mlt-local:x:999:\n")
        place.append("/etc/shadow", f"mlt-local:{shadow}\n")
    configure(place)
    put_in_stack(place, "sudo", session=False)
    sudoers(place)
    yield
    os.unlink(place.path("/etc/sudoers.d/mlt"))


def sudo(people, *words, user="mlt-alice"):
    return people._at("sudo", *words, user=user)


def test_the_code_at_the_terminal_and_the_command_runs(place, company, people):
    alice = sudo(people, "sh", "-c", "echo ran-as $(id -u); env")
    alice.sign_in("alice")
    rest = alice.ended()
    assert alice.child.exitstatus == 0 and "ran-as 0" in rest, alice.shown
    for word in ("mlt-alice", "sudo", os.uname().nodename, company.codes()[0].user_code):
        assert word in alice.shown, word
    assert not re.search("[\u2580\u2584\u2588]", alice.shown), "sudo wants modules to be silent: no QR code, no other text"
    assert company.authority.count("device") == 1 and "assword" not in alice.shown
    assert "MLTOKEN" not in rest, "what is run has no handle of a sign-in"
    assert spool_is_sound(place) == []
    assert re.search(r"mlt-alice : .*COMMAND=/usr/bin/sh", place.log.text())


def test_sudo_remembers_as_it_does_with_a_password(place, company, people):
    sudoers(place, timeout=15)
    alice = people._at("sh", "-c", "sudo id -u && sudo id -u && sudo -k && sudo -n id -u", user="mlt-alice")
    alice.sign_in("alice")
    rest = alice.ended()
    assert re.findall(r"^\d+", rest, re.M) == ["0", "0"] and alice.child.exitstatus != 0
    assert company.authority.count("device") == 1


@pytest.mark.parametrize("how", ["denied", "another person", "expired", "down"])
def test_who_does_not_sign_in_does_not_become_root(place, company, people, how):
    """However often sudo asks anew, and with no way to a password."""
    if how == "expired":
        company.authority.set_client("device", device_lifetime=2)
    if how == "down":
        company.down()
    alice, asked = sudo(people, "id", "-u"), 0
    while alice.child.expect([ENTER, pexpect.EOF], 90) == 0:
        text = alice.child.before + alice.child.after
        alice.shown += text
        asked += 1
        if how in ("denied", "another person"):
            known = next(i for i, code in enumerate(company.codes()) if code.user_code in text)
            company.decide(known, "bob", deny=how == "denied")
        alice.enter()
    alice.shown += alice.child.before
    alice.child.close()
    assert alice.child.exitstatus == 1 and not re.search(r"^0\r?$", alice.shown, re.M), alice.shown
    assert "assword:" not in alice.shown and "COMMAND=/usr/bin/id\n" not in place.log.text()
    assert asked == company.authority.count("device") and asked <= 3
    assert (asked == 0) == (how == "down")
    assert spool_is_sound(place) == []


def test_nobody_else_notices(place, company, people):
    """root is asked nothing; an account of the host's own has its password; su and the passwords of others are as they were."""
    company.down()
    assert place.run("sudo", "-u", "mlt-bob", "id", "-un").ok().out == "mlt-bob\n"
    local = people._at("sudo", "-p", "Password: ", "id", "-u", user=999).password(PASSWORD)
    assert "0" in local.ended().split() and local.child.exitstatus == 0
    bob = people.su("mlt-bob", "mlt-alice").password(PASSWORD).shell()
    assert bob("id -un") == "mlt-bob"
    root = people.su("root", "mlt-alice").password(ROOT_PASSWORD).shell()
    assert root("id -u") == "0"
    assert company.authority.count("device") == 0


def test_without_anybody_to_ask(place, company, people):
    """A job of alice's: refused at once, with no code."""
    done = place.run("sudo", "-n", "id", "-u", user="mlt-alice")
    assert done.code == 1 and done.out == ""
    done = place.run("setsid", "--wait", "sudo", "id", "-u", user="mlt-alice")
    assert done.code == 1 and done.out == ""
    assert spool_is_sound(place) == [] and "COMMAND=/usr/bin/id\n" not in place.log.text()
