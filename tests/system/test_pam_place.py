"""The place where PAM is tested, with Debian's own stack alone: its programs work, and nothing of it gets out."""

import os
import subprocess
import time

import pytest
from pam import configure
from pam_place import PASSWORD, PEOPLE, ROOT_PASSWORD


@pytest.fixture(autouse=True)
def plain(place):
    configure(place)


def test_ssh_opens_a_shell_for_who_knows_the_password(place, people):
    place.start_sshd()
    alice = people.ssh("mlt-alice").password(PASSWORD).shell()
    assert alice("id -un; tty").startswith("mlt-alice\n/dev/pts/")
    alice.leave()
    people.ssh("mlt-alice").password("something else").refused()
    root = people.ssh("root").password(ROOT_PASSWORD).shell()
    assert root("id -u") == "0"


def test_login_and_su_too(people):
    alice = people.login("mlt-alice").password(PASSWORD).shell()
    assert alice("id -un") == "mlt-alice"
    alice.leave()
    bob = people.su("mlt-bob", "mlt-alice").password(PASSWORD).shell()
    assert bob("id -un; echo $HOME") == "mlt-bob\n/home/mlt-bob"
    bob.leave()
    people.su("mlt-bob", "mlt-alice").password("something else").refused()


def test_the_authority_answers_there_alone(place, company):
    get = ["curl", "--silent", "--show-error", "--max-time", "20", "--cacert", "/etc/mltoken/ca.pem", "https://localhost/oidc/.well-known/openid-configuration"]
    assert place.run(*get).ok().json()["issuer"] == "https://localhost/oidc"
    company.down()
    assert place.run(*get).code == 7  # connection refused
    company.up()
    place.run(*get).ok()


def test_nothing_of_it_is_seen_outside(place):
    place.write("/etc/mlt-probe", "x")
    place.write("/run/mlt-probe", "x")
    place.write("/home/mlt-alice/mlt-probe", "x")
    assert not any(os.path.exists(p) for p in ("/etc/mlt-probe", "/run/mlt-probe", "/home/mlt-alice"))
    with open("/etc/passwd", encoding="utf-8") as f:
        assert not any(name in f.read() for name in PEOPLE)
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        assert place.directory not in f.read()
    here = subprocess.run(["ip", "-o", "addr"], check=True, capture_output=True, text=True).stdout
    assert place.run("ip", "-o", "addr").ok().out != here


def test_it_hears_the_systems_log(place):
    place.run("logger", "a word for the log").ok()
    end = time.monotonic() + 60
    while "a word for the log" not in place.log.text():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_program_that_is_left_behind_ends_with_the_test(place):
    place.popen("sh", "-c", "setsid sleep 600 & sleep 600")
    end = time.monotonic() + 60
    while len(place.processes("sleep")) < 2:
        assert time.monotonic() < end
        time.sleep(0.02)
    place.reset()
    while place.processes("sleep"):
        assert time.monotonic() < end
        time.sleep(0.02)
