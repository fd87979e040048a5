"""mltoken doctor --pam in the booted machine, which asks the real sshd: content with what is shipped, and each of these is named."""

import pytest
from gate import CONFIG, MAP
from machine import wait_until

EARLY = "/etc/ssh/sshd_config.d/00-early.conf"  # the first value counts


def sshd_says(text):
    return (f"printf '%s\\n' {text} > {EARLY}", f"rm {EARLY}")


def edited(path, script):
    return (f"cp -p {path} /run/edited && sed -i -E '{script}' {path}", f"cp -p /run/edited {path}")


def moved(path):
    return (f"mv {path} {path}.away", f"mv {path}.away {path}")


# the helper is tried, too, and what it says follows
FOLLOWED = ("pam.conf of root alone", "no helper")
# what an administrator did, and how it is undone; what the one FAIL says
BREAKAGES = {
    "a Match of alice": (*sshd_says("'Match User alice' ' AuthenticationMethods publickey'"), ["AuthenticationMethods publickey never asks the module"]),
    "a drop-in before ours": (*sshd_says("'KbdInteractiveAuthentication no'"), ["cannot ask anything", "KbdInteractiveAuthentication yes"]),
    "a short grace": (*sshd_says("'LoginGraceTime 1m'"), ["60 s", "100 s", "max_wait"]),
    "a password opens too": (*edited("/etc/pam.d/sshd", r"s/^auth .*(pam_mltoken)/auth sufficient \1/"), ["/etc/pam.d/sshd", "a password opens too"]),
    "no account line": (*edited("/etc/pam.d/sshd", "/^account .*pam_mltoken/d"), ["no account line"]),
    "after the password": (*edited("/etc/pam.d/sshd", "/^auth .*pam_mltoken/{h;d};/common-auth/G"), ["before @include common-auth"]),
    "pam.conf open to all": (f"chmod 666 {CONFIG}", f"chmod 640 {CONFIG}", ["pam.conf", "chmod go-w"]),
    "pam.conf of root alone": (f"chmod 600 {CONFIG}", f"chmod 640 {CONFIG}", ["cannot be read by the helper"]),
    "an unknown key": (*edited(CONFIG, "s/^profile = company/&\\nuser_cliam = x/"), ["user_cliam", "nobody but root"]),
    "no map": (*moved(MAP), ["pam.map", "--map"]),
    "a line that is none": (f"cp -p {MAP} /run/edited && echo and alice too >> {MAP}", f"cp -p /run/edited {MAP}", ["pam.map", "lets nobody in"]),
    "no helper": (*moved("/usr/libexec/mltoken/mltoken-pam-login"), ["mltoken-pam-login"]),
    "no session line": ("pam-auth-update --disable mltoken", "pam-auth-update --enable mltoken", ["pam-auth-update --enable mltoken"]),
    "no socket": ("systemctl --global disable mltoken-agent.socket", "systemctl --global enable mltoken-agent.socket",
                  ["systemctl --global enable mltoken-agent.socket"]),
}


def doctor(machine, *more, user="alice"):
    return machine.run("mltoken", "doctor", "--pam", "--user", user, *more)


def test_content_with_what_is_shipped(machine, gate, authority):
    done = doctor(machine)
    assert done.code == 0 and "FAIL" not in done.out, done.out
    for words in ("sshd: AuthenticationMethods publickey,keyboard-interactive:pam", "alice is sub:sub-alice-1", "systemd starts agents", "gives out codes"):
        assert words in done.out, done.out
    assert "not asked itself" not in done.out, "it was sshd who said so"
    assert authority.count("device") == 1
    wait_until(lambda: machine.run("pgrep", "-f", "mltoken-pam-login").code == 1)
    assert machine.run("sh", "-c", "ls -A /run/mltoken/handoff /run/mltoken/rate").out.split() == ["/run/mltoken/handoff:", "/run/mltoken/rate:"]


@pytest.mark.parametrize("name", BREAKAGES)
def test_names_what_is_wrong(machine, gate, name):
    breaks, mends, words = BREAKAGES[name]
    machine.run("sh", "-c", breaks).ok()
    try:
        done = doctor(machine)
        others = doctor(machine, user="bob")
    finally:
        machine.run("sh", "-c", mends).ok()
    failed = [line for line in done.out.splitlines() if line.startswith("FAIL")]
    assert done.code == 3 and len(failed) == 1 + (name in FOLLOWED), done.out
    for word in words:
        assert word in failed[0], failed
    assert (others.code == 0) == (name == "a Match of alice"), "only sshd knows for whom a Match is"
    assert doctor(machine).code == 0


def test_names_an_authority_that_is_away(machine, gate):
    gate.configure({"authority": "https://localhost:9/oidc"})
    gate.map("https://localhost:9/oidc sub:x alice\n")
    done = doctor(machine)
    failed = [line for line in done.out.splitlines() if line.startswith("FAIL")]
    assert done.code == 6 and len(failed) == 1 and "cannot be reached" in failed[0], done.out
