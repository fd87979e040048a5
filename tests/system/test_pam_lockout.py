"""Whatever is broken, the lines that are shipped let root in with the password, and accounts that are not the module's; and
they let nobody else in."""

import os
import re

import pexpect
import pytest
from pam import CONFIG, ENTER, MAP, SECURITY, configure, put_in_stack
from pam_place import PASSWORD, ROOT_PASSWORD

LIBEXEC = "/usr/local/libexec/mltoken"


@pytest.fixture(autouse=True)
def local_account(place):
    """One of the host's own, below min_uid."""
    if "mlt-local:" not in place.read("/etc/passwd"):
        shadow = re.search(r"^mlt-alice:(.*)$", place.read("/etc/shadow"), re.M)[1]
        place.append("/etc/passwd", "mlt-local:x:999:999::/home:/bin/bash\n")
        place.append("/etc/group", "mlt-local:x:999:\n")
        place.append("/etc/shadow", f"mlt-local:{shadow}\n")


def gone(place, path):
    os.rename(place.path(path), place.path(path + ".gone"))
    return lambda: os.rename(place.path(path + ".gone"), place.path(path))


def rewritten(place, path, change):
    text, mode = place.read(path), os.stat(place.path(path)).st_mode & 0o7777
    group = os.stat(place.path(path)).st_gid
    place.write(path, change(text), mode=mode, group=group)
    return lambda: place.write(path, text, mode=mode, group=group)


def program_is(place, text):
    back = gone(place, f"{LIBEXEC}/mltoken-pam-login")
    place.write(f"{LIBEXEC}/mltoken-pam-login", text, mode=0o755)

    def undo():
        os.unlink(place.path(f"{LIBEXEC}/mltoken-pam-login"))
        back()

    return undo


def line(word, **fields):
    import base64
    return " ".join([word, *(f"{k}={base64.urlsafe_b64encode(v.encode()).rstrip(b'=').decode()}" for k, v in fields.items())])


DONE = line("done", issuer="https://localhost/oidc", client_id="device", sub="sub-alice-1", overage="no", id_token="a.b.c", access_token="x",
            expires_at="99999999999", scopes="openid", iat="1")
PROMPT = line("prompt", uri="https://localhost/device", code="ABCD-EFGH", expires_in="900")
BROKEN = {
    "no configuration": lambda p: gone(p, CONFIG),
    "an unknown key": lambda p: rewritten(p, CONFIG, lambda t: t.replace("[pam]", "[pam]\nuser_cliam = sub")),
    "no such profile": lambda p: rewritten(p, CONFIG, lambda t: t.replace("profile = company", "profile = other")),
    "neither map nor claim": lambda p: rewritten(p, CONFIG, lambda t: re.sub("^map = .*$", "", t, flags=re.M)),
    "the configuration of somebody else": lambda p: os.chown(p.path(CONFIG), 2001, 2001),
    "the configuration open to all": lambda p: os.chmod(p.path(CONFIG), 0o666),
    "no map": lambda p: gone(p, MAP),
    "a map with a line that is none": lambda p: rewritten(p, MAP, lambda t: t + "and alice too\n"),
    "a map open to all": lambda p: os.chmod(p.path(MAP), 0o666),
    "an unknown argument": lambda p: rewritten(p, "/etc/pam.d/sshd", lambda t: t.replace("pam_mltoken.so", "pam_mltoken.so nullok", 1)),
    "no helper": lambda p: gone(p, f"{LIBEXEC}/mltoken-pam-login"),
    "a helper that says nothing": lambda p: program_is(p, "#!/bin/sh\nexit 0\n"),
    "a helper of a strange form": lambda p: program_is(p, "\x7fELF nothing"),
    "a helper that is killed": lambda p: program_is(p, f"#!/bin/sh\necho '{PROMPT}'; kill -9 $$\n"),
    "a result and a bad end": lambda p: program_is(p, f"#!/bin/sh\necho '{PROMPT}'\necho '{DONE}'\nexit 1\n"),
    "two results": lambda p: program_is(p, f"#!/bin/sh\necho '{PROMPT}'\necho '{DONE}'\necho '{DONE}'\nexit 0\n"),
    "a result and then garbage": lambda p: program_is(p, f"#!/bin/sh\necho '{PROMPT}'\necho '{DONE}'\nprintf 'x'\nexit 0\n"),
    "a result without a prompt": lambda p: program_is(p, f"#!/bin/sh\necho '{DONE}'\nexit 0\n"),
    "no user for the helper": lambda p: rewritten(p, "/etc/passwd", lambda t: re.sub("^_mltoken:.*\n", "", t, flags=re.M)),
    "a user for the helper that is root": lambda p: rewritten(p, "/etc/passwd", lambda t: re.sub("^_mltoken:x:[0-9]+:[0-9]+:", "_mltoken:x:0:0:", t, flags=re.M)),
    "an authority whose certificate is none": lambda p: rewritten(p, CONFIG, lambda t: re.sub("^ca_file.*\n", "", t, flags=re.M)),
    "anybody's tenant": lambda p: rewritten(p, CONFIG, lambda t: t.replace("https://localhost/oidc", "https://login.microsoftonline.com/common/v2.0")),
    "no module": lambda p: gone(p, f"{SECURITY}/pam_mltoken.so"),
}


def as_far_as_it_goes(alice, company):
    """She signs in if she is asked to: it must not be her who fails. Whether she was."""
    if alice.child.expect([ENTER, pexpect.EOF], 60) == 1:
        alice.child.buffer = ""
        return False
    for code in company.codes():
        company.authority.approve(code.user_code, "alice")
    alice.enter()
    return True


@pytest.mark.parametrize("name", [*BROKEN, "nothing"])
def test_what_is_broken_lets_root_and_local_accounts_in_and_nobody_else(place, company, people, name):
    configure(place, max_wait=8)
    put_in_stack(place, "sshd")
    undo = BROKEN[name](place) if name in BROKEN else None
    try:
        place.start_sshd()
        alice = people.ssh("mlt-alice")
        if as_far_as_it_goes(alice, company) and name == "nothing":
            alice.shell()
        else:
            asked = alice.child.before if alice.child.flag_eof else ""
            text = asked + alice.refused(60)
            assert not re.search("assword: ?$", text, re.M)
            assert not re.search("Accepted", place.log.text())
            assert re.search("pam_mltoken", place.log.text()), "and says why"
        if name == "no module":  # then PAM has no stack for anybody: that is why it stands in no common file
            people.ssh("root").refused()
        else:
            assert people.ssh("root").password(ROOT_PASSWORD).shell()("id -u") == "0"
            assert people.ssh("mlt-local").password(PASSWORD).shell()("id -u") == "999"
        console = people.login("mlt-alice").password(PASSWORD).shell()  # whose stack has it not
        assert console("id -un") == "mlt-alice"
    finally:
        if callable(undo):
            undo()


MAPS = {
    "a line that is none": (lambda p: rewritten(p, MAP, lambda t: "# people\n" + t + "and alice too\n"), ", line 4: a line is ISSUER"),
    "missing": (lambda p: gone(p, MAP), ": there is no such file"),
    "of somebody else": (lambda p: os.chown(p.path(MAP), 2001, 2001), ": it must be a regular file of root"),
    "open to its group": (lambda p: os.chmod(p.path(MAP), 0o664), ": it must be a regular file of root"),
    "a link": (lambda p: (gone(p, MAP), os.symlink(MAP + ".gone", p.path(MAP))), ": it is a symbolic link"),
}


@pytest.mark.parametrize("name", [*MAPS, "sound"])
def test_a_broken_map_costs_no_code(place, company, people, name):
    """It is seen before the authority or the person is asked for anything."""
    configure(place)
    put_in_stack(place, "sshd")
    if name == "sound":
        people.pamtester("sshd", "mlt-alice").prompt()
        assert len(company.codes()) == 1
        return
    change, why = MAPS[name]
    change(place)
    try:
        alice = people.pamtester("sshd", "mlt-alice")
        assert "Enter" not in alice.refused() and f"{MAP}{why}" in place.log.text(), place.log.text()
        assert company.codes() == [] and company.authority.requests() == []
    finally:
        if place.exists(MAP + ".gone"):
            os.rename(place.path(MAP + ".gone"), place.path(MAP))
    assert "helper" not in place.log.text()


@pytest.mark.parametrize("form", ["refused", "silent", "slow"])
def test_with_a_dead_authority_too(place, company, people, form):
    """Refused connections, one that never answers, and one that dribbles: her attempt ends; root's does not even begin."""
    configure(place, max_wait=6)
    put_in_stack(place, "sshd", "login")
    place.start_sshd()
    if form == "refused":
        company.down()
    elif form == "silent":
        company.authority.fault("*", hang="before")
    else:
        company.authority.fault("*", dribble=0.5, dribble_head=0.5)
    alice, at_console = people.ssh("mlt-alice"), people.login("mlt-alice")
    root = people.ssh("root").password(ROOT_PASSWORD).shell(30)
    assert root("id -u") == "0"
    local = people.ssh("mlt-local").password(PASSWORD).shell(30)
    assert local("id -u") == "999"
    assert not re.search("assword: ?$", alice.refused(60), re.M)
    at_console.child.expect("(?i)incorrect|cannot be reached|is over", 60)
    company.authority.clear_faults()
    assert not re.search("Accepted.*alice", place.log.text())


def test_the_right_text_for_each_refusal(place, company, people):
    """What the person reads at a console, and the next step where there is one."""
    configure(place, max_wait=6, profile="company")
    put_in_stack(place, "su")
    rows = [("denied", "declined"), ("wrong person", "does not let you be this user"), ("down", "cannot be reached"), ("time", "time .* is over"),
            ("expired", "no longer valid")]
    for name, text in rows:
        company.up()
        company.authority.set_client("device", device_lifetime=2 if name == "expired" else 900)
        if name == "down":
            company.down()
        bob = people.su("mlt-bob", "mlt-alice")
        if name == "denied":
            bob.sign_in(deny=True)
        elif name == "wrong person":
            bob.sign_in("alice")
        elif name != "down":
            bob.prompt()
            bob.enter()
        assert re.search(text, bob.refused()), (name, bob.shown)
