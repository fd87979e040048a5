"""Signing in at a real sshd by the module: what the person sees, who gets in, who does not, and why."""

import contextlib
import os
import re
import signal
import time

import pytest
from harness import wait_until
from pam import SHELL, configure, put_in_stack, spool_is_sound, ssh_words, within
from pam_place import PASSWORD, ROOT_PASSWORD


@pytest.fixture(autouse=True)
def with_sshd(place, company):
    configure(place)
    put_in_stack(place, "sshd")
    place.start_sshd()


def helpers(place):
    return place.processes("mltoken-pam-login")


def no_leftovers(place):
    """No helper and no record is left."""
    wait_until(lambda: not helpers(place))
    assert spool_is_sound(place) == []


def log_has(place, pattern):
    wait_until(lambda: re.search(pattern, place.log.text()))
    return True


def test_the_code_is_shown_once_and_who_approved_it_is_in(place, company, people):
    alice = people.ssh("mlt-alice")
    text = alice.prompt()
    code = company.decide(0, "alice")
    alice.enter()
    alice.shell()
    assert alice("id -un; echo $HOME; tty | cut -c 1-9") == "mlt-alice\n/home/mlt-alice\n/dev/pts/"
    assert text.count(code) == 1 and alice.shown.count(code) == 1, "shown once"
    assert text.count("/device") == 1 and "https://localhost" in text
    for word in ("mlt-alice", "sshd", "127.0.0.1", os.uname().nodename):
        assert word in text, word
    assert re.search(r"never enter a code", text, re.I)
    assert "\\033" not in alice.shown and "\x1b[" not in text and "mlt-alice@127.0.0.1's password" not in alice.shown
    assert company.authority.count("device") == 1
    alice.leave()
    no_leftovers(place)


def test_enter_waits_for_the_person_who_is_still_in_the_browser(place, company, people):
    """Enter first: no new prompt, and the shell opens as soon as the authority says so."""
    alice = people.ssh("mlt-alice")
    alice.prompt()
    alice.enter()
    polls = company.authority.count("token")
    assert company.authority.wait_for("token", polls + 2, 40)
    company.decide(0, "alice")
    alice.shell()
    assert len(re.findall("(?i)press enter", alice.shown)) == 1 and company.authority.count("device") == 1


def test_who_is_still_not_signed_in_is_asked_again_with_the_same_code(company, people):
    alice = people.ssh("mlt-alice")
    alice.prompt()
    alice.enter()
    again = alice.prompt()
    assert company.codes()[0].user_code in again and company.authority.count("device") == 1
    company.decide(0, "alice")
    alice.enter()
    alice.shell()


def test_another_persons_sign_in_is_refused(place, company, people):
    """alice at the company is not bob here, nor the other way round; nobody else is anyone."""
    company.authority.set_user("mallory", claims={"preferred_username": "mlt-alice", "email": "mlt-alice", "name": "mlt-alice", "upn": "mlt-alice"})
    for user, person in (("mlt-bob", "alice"), ("mlt-alice", "bob"), ("mlt-alice", "mallory")):
        here = people.ssh(user)
        here.sign_in(person)
        rest = here.refused()
        assert SHELL not in rest and "$ " not in rest
    assert not re.search("Accepted", place.log.text())
    assert log_has(place, r"sub-alice-1") and log_has(place, r"sub-bob-2") and log_has(place, r"sub-mallory")
    no_leftovers(place)


def test_one_who_is_in_no_map_line_is_refused(place, company, people):
    """carol has a local account, and nobody at the company is her."""
    carol = people.ssh("mlt-carol")
    carol.sign_in("alice")
    carol.refused()
    assert not re.search("Accepted", place.log.text())


GROUPS = {
    # what the authority says of the groups -> is she in?
    "none": ({}, False),
    "another": ({"groups": ["g-two"]}, False),
    "the beginning of one": ({"groups": ["g-on", "g-one-more", "G-ONE"]}, False),
    "hers, as a text": ({"groups": "g-one"}, True),
    "too many to tell": ({"groups": ["g-one"], "_claim_names": {"groups": "src1"}, "hasgroups": True}, False),
    "hers": ({"groups": ["g-two", "g-one"]}, True),
}


@pytest.mark.parametrize("name", GROUPS)
def test_a_required_group(place, company, people, name):
    claims, allowed = GROUPS[name]
    configure(place, require_group="g-one g-other")
    put_in_stack(place, "sshd")
    company.authority.set_client("device", id_token_claims=claims)
    alice = people.ssh("mlt-alice")
    alice.sign_in("alice")
    if allowed:
        alice.shell()
    else:
        alice.refused()
        assert not re.search("Accepted", place.log.text())
        no_leftovers(place)


def test_who_declines_is_refused(place, company, people):
    alice = people.ssh("mlt-alice")
    alice.sign_in(deny=True)
    alice.refused()
    assert log_has(place, r"denied.*declined|declined")
    no_leftovers(place)


def test_a_code_that_runs_out_is_refused(place, company, people):
    company.authority.set_client("device", device_lifetime=2)
    alice = people.ssh("mlt-alice")
    alice.prompt()
    alice.enter()
    alice.refused()
    assert log_has(place, r"expired|no longer valid")
    no_leftovers(place)


def test_nobody_signs_in_until_the_end_of_the_time(place, company, people):
    """However often Enter is pressed; and an approval after that is too late."""
    configure(place, max_wait=20)
    put_in_stack(place, "sshd")
    alice, silent = people.ssh("mlt-alice"), people.ssh("mlt-bob")
    alice.prompt()
    silent.prompt()
    alice.enter()
    alice.refused()
    assert log_has(place, r"(?i)time|within 20 s|timeout")
    wait_until(lambda: not helpers(place))  # also of the one that never pressed it
    for code in company.codes():
        company.authority.approve(code.user_code, "bob")
    silent.enter()
    silent.refused()
    assert not re.search("Accepted", place.log.text())
    no_leftovers(place)


def test_the_authority_is_down(place, company, people):
    """Refused at once, in words; root and local accounts below min_uid still come in by password."""
    company.down()
    alice = people.ssh("mlt-alice")
    text = alice.refused()
    assert log_has(place, r"unreachable")
    assert not re.search("assword: ?$", text), "no way back to a password"
    root = people.ssh("root").password(ROOT_PASSWORD).shell()
    assert root("id -u") == "0"


def test_fallback_to_a_password_only_when_the_authority_never_answered(place, company, people):
    configure(place, fallback="password", max_wait=6)
    put_in_stack(place, "sshd")
    lines = place.read("/etc/pam.d/sshd").replace("ignore=ignore default=die", "ignore=ignore authinfo_unavail=ignore default=die", 1)
    place.write("/etc/pam.d/sshd", lines)
    company.down()
    alice = people.ssh("mlt-alice").password(PASSWORD).shell()
    assert alice("id -un") == "mlt-alice"
    alice.leave()
    company.up()
    for spoil in ("stall", "deny", "expire", "error"):
        company.authority.clear_faults()
        company.authority.set_client("device", device_lifetime=2 if spoil == "expire" else 900)
        if spoil == "error":
            company.authority.fault("device", status=503)
        alice = people.ssh("mlt-alice")
        if spoil != "error":
            alice.prompt()
            if spoil == "deny":
                company.decide(len(company.codes()) - 1, deny=True)
            if spoil == "stall":
                company.authority.fault("token", hang="before")
            alice.enter()
        assert not re.search("assword: ", alice.refused()), spoil
    assert len(re.findall("Accepted", place.log.text())) == 1


def test_a_client_that_dies_leaves_no_helper(place, company, people):
    """At the latest 30 s after it: a new prompt finds out. The same when the connection is cut without a word."""
    alice = people.ssh("mlt-alice")
    alice.prompt()
    alice.enter()
    wait_until(lambda: helpers(place))
    for pid in place.processes("ssh"):
        os.kill(pid, signal.SIGKILL)
    took = within(60, lambda: not helpers(place))
    assert took < 30, took
    no_leftovers(place)


def test_a_client_that_dies_before_it_answered(place, company, people):
    alice = people.ssh("mlt-alice")
    alice.prompt()
    for pid in place.processes("ssh"):
        os.kill(pid, signal.SIGKILL)
    took = within(60, lambda: not helpers(place))
    assert took < 30, took
    no_leftovers(place)


def test_ten_clients_do_not_get_ten_codes(place, company, people):
    """Who asks again and again, without ever signing in, gets as many as rate says; others are not locked out."""
    configure(place, rate="3/600", max_wait=30)
    put_in_stack(place, "sshd")
    crowd = [people.ssh("mlt-alice") for _ in range(10)]
    wait_until(lambda: sum(not c.child.isalive() or "nter" in read_some(c) for c in crowd) == 10, 60)
    assert company.authority.count("device") == 3
    assert sum("nter" in c.shown for c in crowd) == 3
    bob = people.ssh("mlt-bob")  # another user from the same place
    bob.sign_in("bob")
    bob.shell()
    alice = people.ssh("mlt-alice", "-b", "127.0.0.2")  # and she herself, from elsewhere
    alice.sign_in("alice")
    alice.shell()


def read_some(person):
    """What it has shown until now."""
    import pexpect
    with contextlib.suppress(pexpect.TIMEOUT, pexpect.EOF):
        person.shown += person.child.read_nonblocking(4096, timeout=0.05)
    return person.shown


def test_who_signs_in_may_do_so_as_often_as_they_like(place, company, people):
    """What succeeded does not count."""
    configure(place, rate="2/600")
    put_in_stack(place, "sshd")
    for i in range(4):
        alice = people.ssh("mlt-alice", command=["true"])
        alice.sign_in("alice")
        alice.ended()
        assert alice.child.exitstatus == 0, i


def test_an_unknown_user_learns_nothing_and_costs_no_code(place, company, people):
    people.ssh("nobody-of-that-name").refused()
    assert company.authority.count("device") == 0


def make_key(place, user):
    path = f"/root/key-{user}"
    if not place.exists(path):
        place.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path).ok()
    uid = os.stat(place.path(f"/home/{user}")).st_uid
    os.mkdir(place.path(f"/home/{user}/.ssh"), 0o700)
    os.chown(place.path(f"/home/{user}/.ssh"), uid, uid)
    place.write(f"/home/{user}/.ssh/authorized_keys", place.read(path + ".pub"), mode=0o600, owner=uid)
    return path


def test_a_key_and_a_code_as_the_shipped_example_asks_for(place, company, people):
    key = make_key(place, "mlt-alice")
    place.start_sshd("AuthenticationMethods publickey,keyboard-interactive:pam")
    alice = people.ssh("mlt-alice", "-i", key, method="publickey,keyboard-interactive")
    alice.sign_in("alice")
    alice.shell()
    alice.leave()
    people.ssh("mlt-alice", method="publickey,keyboard-interactive").refused()  # without the key
    assert company.authority.count("device") == 1, "no code for who has no key"


def test_a_key_alone_skips_the_module_and_is_not_held_up_by_it(place, company, people):
    """account says nothing of whom it did not sign in; there are no tokens then."""
    key = make_key(place, "mlt-alice")
    alice = people.ssh("mlt-alice", "-i", key, method="publickey").shell()
    assert alice("id -un") == "mlt-alice" and company.authority.count("device") == 0
    assert alice("env | grep -c MLTOKEN_HANDOFF") == "0"


def test_a_client_that_shows_nothing_but_prompts(company, people):
    """LogLevel ERROR hides texts: all that is needed is in the prompt."""
    alice = people.ssh("mlt-alice", "-o", "LogLevel=ERROR")
    text = alice.prompt()
    assert company.codes()[0].user_code in text and "https://" in text


def test_someone_without_a_terminal_is_refused_soon(place, company):
    """BatchMode asks nothing; without a terminal ssh answers each prompt with nothing, which is not told from Enter."""
    configure(place, max_wait=6)
    put_in_stack(place, "sshd")
    method = ("-o", "PreferredAuthentications=keyboard-interactive")
    assert place.run(*ssh_words("mlt-alice", "-o", "BatchMode=yes", *method, command=["true"])).code != 0
    start = time.monotonic()
    done = place.run("setsid", "--wait", *ssh_words("mlt-alice", *method, command=["true"]), env={"SSH_ASKPASS_REQUIRE": "never"})
    assert done.code != 0 and time.monotonic() - start < 60
    assert not re.search("Accepted", place.log.text())
    no_leftovers(place)
