"""cached=yes of pam_mltoken.so in an application of ours: helpers and a person's own program that lie, hang and die. They
never let anybody in whom a code would not, and take no more than their time."""

import os
import time

import pam_module
import pytest
from pam_module import AUTH_ERR, GOOD, IGNORE, ISSUER, PERM_DENIED, ROOT, SERVICE_ERR, SUCCESS, Guest, done, fail, line, prompt, say

MODES = ["ordinary", "root"] if ROOT else ["ordinary"]
KEY = "env=SSH_AUTH_INFO_0=publickey ssh-ed25519 AAAAC3Nz\n"
JWT = "HEADER.CLAIMS-SECRET.SIGNATURE"
TOKEN = line("token", profile="mine", access_token=JWT)


def verified(*lists, iat=0, **more):
    """Shell: says that a token of alice-1's was issued so many seconds from now."""
    text = line("verified", *lists, **{"issuer": ISSUER, "client_id": "client", "sub": "alice-1", "overage": "no", **more})
    if iat is None:
        return say(text)
    return f"iat=$(($(date +%s) + {iat}))\n" + f"printf '%s iat=%s\\n' '{text}' \"$(printf %s \"$iat\" | base64 | tr -d '=\\n')\"\n"


class Cached(Guest):
    def __init__(self, ordinary):
        super().__init__(ordinary)
        self.arguments.update(cached="yes", cached_profile="mine")
        self.service(name="sshd")
        self.agent(say(TOKEN))
        self.proof(verified())

    def agent(self, script):
        """What the person's own program says."""
        self.importer(f"printf '%s ' \"$@\" > {self.file('told', 'argv')}; echo x >> {self.file('told', 'asked')}\n" + script)

    def proof(self, script, code=GOOD):
        """What mltoken-pam-login says of a token, and when it is to show a code."""
        self.login(f'if [ "$1" = --verify ]; then printf "%s " "$@" > {self.file("told", "verify")}; cat > {self.file("told", "token")}; '
                   f"{{\n{script}}}\nelse echo x >> {self.file('told', 'codes')}; {{\n{code}}}\nfi\n")

    def try_it(self, *words, key=KEY, **more):
        return self.run(*([key] if key else []), *words, "auth", service="sshd", **more)

    def count(self, name):
        return self.told(name).count("x") if os.path.exists(self.file("told", name)) else 0


@pytest.fixture(params=MODES)
def guest(request):
    guest = Cached(request.param == "ordinary")
    yield guest
    guest.remove()


def falls_to_a_code(guest, *words):
    """Nobody is let in by the token: a code is shown, and it alone decides."""
    before = guest.count("codes")
    run = guest.try_it(*words)
    assert run.codes == [SUCCESS] and len(run.prompts) == 1 and guest.count("codes") == before + 1, run.text
    assert run.changed == [] and "no cached token" in run.log or "does not let in" in run.log, run.log
    return run


def test_a_key_and_a_token(guest):
    run = guest.run(KEY, "auth", "account", "setcred", "open", "close", service="sshd")
    assert run.codes == [SUCCESS] * 5 and run.asked == [] and run.changed == [], run.text
    assert guest.told("argv") == "--get mine " and guest.told("token") == JWT
    argv = guest.told("verify")
    assert "--config " + guest.file("pam.conf") in argv and "--max-wait " in argv and JWT not in argv
    assert guest.records() == [] and "MLTOKEN_HANDOFF" not in run.pamenv, "the agent has the tokens"
    assert "cached token" in run.log and "SECRET" not in run.log
    assert guest.count("codes") == 0


KEYS = {
    "none at all": None,
    "nothing": "",
    "a password": "password\n",
    "a code of before": "keyboard-interactive/pam\n",
    "the word alone": "publickey\n",
    "the word and a blank": "publickey \n",
    "another word": "publickeys ssh-ed25519 AAAA\n",
    "not at the start of a line": "password publickey ssh-ed25519 AAAA\nhostbased publickey ssh-rsa AAAA\n",
    "a host's": "hostbased ssh-ed25519 AAAA\n",
}


@pytest.mark.parametrize("name", KEYS)
def test_no_key_is_refused(guest, name):
    """Also what would be let in by a code: and nobody is asked anything, neither the agent nor the authority."""
    key = KEYS[name]
    run = guest.try_it(key=None if key is None else "env=SSH_AUTH_INFO_0=" + key)
    assert run.codes == [SERVICE_ERR] and run.asked == [] and "key" in run.log
    assert guest.count("asked") == 0 and guest.count("codes") == 0


def test_a_key_behind_another_method(guest):
    assert guest.try_it(key="env=SSH_AUTH_INFO_0=hostbased ssh-rsa AAAA\npublickey ssh-ed25519 AAAA\n").codes == [SUCCESS]
    assert guest.count("codes") == 0


def test_the_environment_of_the_process_is_no_key(guest):
    run = guest.try_it(key=None, env={"SSH_AUTH_INFO_0": "publickey ssh-ed25519 AAAA"})
    assert run.codes == [SERVICE_ERR] and guest.count("asked") == 0


@pytest.mark.parametrize("name", ["su", "su-l", "sudo", "sudo-i", "polkit-1", "login", "guest", "sshd-x", "ssh"])
def test_other_services_never(guest, name):
    """Where the person's own file may fill the PAM environment."""
    guest.service(name=name)
    run = guest.run(KEY, "auth", service=name)
    assert run.codes == [SERVICE_ERR] and run.asked == [] and guest.count("asked") == 0 and "sshd" in run.log


def test_account_and_the_session_of_others(guest):
    """Not for another than who came in by it, and nothing for who did not."""
    assert guest.run("account", service="sshd").codes == [IGNORE]
    assert guest.run(KEY, "auth", "user=daemon", "account", service="sshd").codes == [SUCCESS, PERM_DENIED]
    guest.proof(verified(sub="bob"), code=say(prompt(), done(sub="bob")))
    assert guest.run(KEY, "auth", "account", service="sshd").codes == [AUTH_ERR, IGNORE]


def test_the_export_still_works(guest):
    guest.service(name="sshd", export="a:A_TOKEN")
    guest.agent('case "$1" in\n--get)\n' + say(TOKEN) + ";;\n*) cat > /dev/null\n" + say(line("value", profile="a", token="T")) + ";;\nesac\n")
    run = guest.run(KEY, "auth", "open", service="sshd")
    assert run.codes == [SUCCESS] * 2 and run.pamenv["A_TOKEN"] == "T"


# ---- what the person's own program says ----

ANSWERS = {
    "nothing": "true\n",
    "a failure": say(fail("no_agent")) + "exit 1\n",
    "a failure of no form": say(line("fail")) + "exit 1\n",
    "a failure in colours": say(fail("\x1b[2Jx", "\x1b[31m%n")) + "exit 1\n",
    "garbage": "printf 'x=y z\\n\\377\\n'\n",
    "a great line": "head -c 10000000 /dev/zero | tr '\\0' a\n",
    "a great many lines": "yes token | head -c 10000000\n",
    "another word": say(line("value", profile="mine", token=JWT)),
    "a result of its own": say(line("verified", issuer=ISSUER, client_id="client", sub="alice-1", overage="no", iat="4000000000")),
    "a sign-in of its own": say(done()),
    "no token": say(line("token", profile="mine")),
    "an empty token": say(line("token", profile="mine", access_token="")),
    "two": say(TOKEN, TOKEN),
    "a token and garbage": say(TOKEN) + "echo x\n",
    "a token and half a line": say(TOKEN) + "printf x\n",
    "a bad end": say(TOKEN) + "exit 1\n",
    "a kill": say(TOKEN) + "kill -9 $$\n",
    "a kill before": "kill -9 $$\n",
    "a log without end": "yes x >&2 | head -c 1000000 >&2; yes log | head -c 1000000 >&2\nexit 1\n",
}


@pytest.mark.parametrize("name", ANSWERS)
def test_what_the_persons_own_program_says(guest, name):
    guest.agent(ANSWERS[name])
    run = falls_to_a_code(guest)
    assert not os.path.exists(guest.file("told", "verify"))
    assert "\x1b" not in run.log and len(run.log) < 100_000 and "SECRET" not in run.log


def test_there_is_no_such_program(guest):
    guest.importer(None)
    run = guest.try_it()
    assert run.codes == [SUCCESS] and len(run.prompts) == 1 and "not started" in run.log


@pytest.mark.parametrize("script", ["exec sleep 1000\n", say(TOKEN) + "exec sleep 1000\n", "trap '' TERM HUP INT; exec 1>&- ; exec sleep 1000\n",
                                    "while :; do echo; sleep 1; done\n", "kill -STOP $$\n"])
def test_a_program_that_stalls_is_ended_at_its_time(guest, script):
    """After half of max_wait, so that there is time for a code; what it has said does not count."""
    guest.service(name="sshd", max_wait="8")
    guest.agent(f"echo $$ > {guest.file('told', 'pid')}\n" + script)
    began = time.monotonic()
    run = guest.try_it()
    assert run.codes == [SUCCESS] and len(run.prompts) == 1 and time.monotonic() - began < 60
    assert not os.path.exists("/proc/" + guest.told("pid").strip())


def test_the_whole_is_within_max_wait(guest):
    """What the agent has used up is not there for the code."""
    guest.service(name="sshd", max_wait="6")
    guest.agent("exec sleep 1000\n")
    guest.proof(verified(), code=f"printf '%s ' \"$@\" > {guest.file('told', 'waits')}\n" + say(prompt()) + "exec sleep 1000\n")
    began = time.monotonic()
    run = guest.try_it()
    assert run.codes == [AUTH_ERR] and time.monotonic() - began > 5
    wait = int(guest.told("waits").split("--max-wait ")[1].split()[0])
    assert 1 <= wait <= 3


# ---- what is said of the token ----

PROOFS = {
    "nothing": "true\n",
    "garbage": "echo x=y z\n",
    "untrusted": say(fail("untrusted", "alg none")) + "exit 1\n",
    "unreachable": say(fail("unreachable")) + "exit 1\n",
    "a sign-in": say(done()),
    "a token": say(TOKEN),
    "no iat": verified(iat=None),
    "an iat that is none": say(line("verified", issuer=ISSUER, client_id="client", sub="alice-1", overage="no", iat="now")),
    "issued before": verified(iat=-60),
    "issued just before": verified(iat=-20),
    "issued in a minute": verified(iat=60),
    "a bad end": verified() + "exit 1\n",
    "a kill": verified() + "kill -9 $$\n",
    "two": verified() + verified(),
    "two, one of another": verified() + verified(sub="bob"),
    "another person": verified(sub="bob"),
    "the beginning of a person": verified(sub="alice-"),
    "another issuer": verified(issuer="https://evil.example"),
    "no issuer": verified(issuer=None),
    "no groups told": verified(overage=None),
}


@pytest.mark.parametrize("name", PROOFS)
def test_what_is_said_of_the_token(guest, name):
    guest.proof(PROOFS[name])
    falls_to_a_code(guest)
    assert guest.count("asked") == 1


def test_the_code_decides_as_ever(guest):
    """Who is not let in by either."""
    guest.proof(verified(sub="bob"), code=say(prompt(), done(sub="bob")))
    assert guest.try_it().codes == [AUTH_ERR]
    guest.proof(verified(iat=-60), code=say(prompt(), fail("denied")) + "exit 1\n")
    assert guest.try_it().codes == [AUTH_ERR]


def test_a_helper_that_stalls_over_the_token(guest):
    guest.service(name="sshd", max_wait="8")
    guest.proof(f"echo $$ > {guest.file('told', 'pid')}; exec sleep 1000\n")
    run = falls_to_a_code(guest)
    assert "not done in time" in run.log
    assert not os.path.exists("/proc/" + guest.told("pid").strip())


def test_the_same_groups_and_roles(guest):
    guest.service(name="sshd", require_group="g", require_role="r")
    both = [("group", "g"), ("role", "r")]
    guest.proof(verified(*both), code=say(prompt(), done(("group", "g"))))
    assert guest.try_it().codes == [SUCCESS] and guest.count("codes") == 0
    for lists, more in (((), {}), (both[:1], {}), (both[1:], {}), ([("group", "gg"), ("role", "r")], {}), (both, {"overage": "yes"})):
        guest.proof(verified(*lists, **more), code=say(prompt(), done(("group", "g"))))
        assert guest.try_it().codes == [PERM_DENIED], lists


def test_the_same_claim(guest):
    guest.config(user_claim="unix_name", strip_domain="example.org")
    guest.proof(verified(claim__unix_name=f"{guest.user}@example.org"), code=say(prompt(), fail("denied")) + "exit 1\n")
    assert guest.try_it().codes == [SUCCESS] and "--claim unix_name" in guest.told("verify")
    for claim in (f"{guest.user}@example.com", guest.user, "root@example.org", None):
        guest.proof(verified(claim__unix_name=claim), code=say(prompt(), fail("denied")) + "exit 1\n")
        assert guest.try_it().codes == [AUTH_ERR], claim


def test_attempts_are_counted_like_others(guest):
    guest.service(name="sshd", rate="2/600")
    for _ in range(4):
        assert guest.try_it().codes == [SUCCESS], "what succeeded does not count"
    guest.proof(verified(iat=-60), code=say(prompt(), fail("denied")) + "exit 1\n")
    assert [guest.try_it().codes[0] for _ in range(3)] == [AUTH_ERR, AUTH_ERR, pam_module.MAXTRIES]
    assert guest.count("asked") == 6


@pytest.mark.parametrize("words,profile", [({}, "mine"), ({"cached_profile": None, "handoff_profile": "hers"}, "hers"),
                                           ({"cached_profile": None, "profile": "company"}, "company")])
def test_which_profile_of_the_agent(guest, words, profile):
    guest.service(name="sshd", **words)
    assert guest.try_it().codes == [SUCCESS] and guest.told("argv") == f"--get {profile} "


def test_some_profile_must_be_named(guest):
    guest.service(name="sshd", cached_profile=None)
    run = guest.try_it()
    assert run.codes == [SERVICE_ERR] and "cached_profile" in run.log and guest.count("asked") == 0


# ---- calls that fail ----

CALLS = ["fork", "pipe2", "socketpair", "fcntl", "dup2", "dup3", "close_range", "execve", "setresuid", "setresgid", "setgroups", "chdir", "setrlimit",
         "waitpid", "poll", "read", *([] if pam_module.SAN else ["malloc"])]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("stranger", ["verified for another", "from before"])
def test_no_failing_call_lets_a_stranger_in(guest, call, stranger):
    guest.service(name="sshd", rate="no")
    guest.proof(verified(sub="bob") if "another" in stranger else verified(iat=-60), code=say(prompt(), "pending", done(sub="bob")))
    for number in range(1, 400):
        run = guest.run(KEY, "close", f"fail={call}:{number}", "auth", service="sshd")
        assert run.codes[1] not in (SUCCESS, IGNORE) and run.changed == [], (call, number, run.text)
        if run.calls[0] < number:
            return
    raise AssertionError("no end")
