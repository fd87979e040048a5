"""pam_mltoken.so in an application of ours, with helpers that lie, hang, die and say what they must not."""

import os
import subprocess
import time

import pytest

import pam_module
from harness import wait_until
from pam_module import (AUTH_ERR, AUTHINFO_UNAVAIL, CONV_ERR, ERROR_MSG, GOOD, IGNORE, ISSUER, MAXTRIES, NOBODY, PERM_DENIED,
                       PROMPT_ECHO_OFF, ROOT, SERVICE_ERR, SUCCESS, SYSTEM_ERR, USER_UNKNOWN, Guest, done, fail, line,
                       mode_of, parse, prompt, say)

# of the helpers; what libc and the shell make of it
ENVIRONMENT = {"PATH=/usr/local/bin:/usr/bin:/bin", "PWD=/", "GLIBC_TUNABLES=glibc.malloc.perturb=165",
               "glibc.malloc.tcache_count=0"}  # the loader cuts the last at its colon
MODES = ["ordinary", "root"] if ROOT else ["ordinary"]


@pytest.fixture(params=MODES)
def guest(request):
    guest = Guest(request.param == "ordinary")
    yield guest
    guest.remove()


# ---- one that goes well ----

def test_signs_in(guest):
    run = guest.auth("rhost=192.0.2.7")
    assert run.codes == [SUCCESS]
    (style, text), = run.asked
    assert style == PROMPT_ECHO_OFF and len(text.encode()) < 512
    host = os.uname().nodename
    for part in (guest.user, host[:20], "guest", "192.0.2.7", "https://authority.example/device", "WDJB-MJHT",
                 "Never enter a code that someone sent you", "Enter"):
        assert part in text
    assert all(c == "\n" or " " <= c <= "~" for c in text)


def test_all_phases_leave_the_process_as_it_was(guest):
    run = guest.run("auth", "setcred", "account", "open", "setcred", "close")
    assert run.codes == [SUCCESS] * 6
    assert run.changed == []


def test_reads_the_helper_to_its_end_while_the_prompt_is_open(guest):
    guest.login(say(prompt()) + "sleep 1\n" + say(done()) + f"touch {guest.file('told', 'ended')}\n")
    run = guest.auth("wait=" + guest.file("told", "ended"))
    assert run.codes == [SUCCESS] and len(run.prompts) == 1


def test_asks_again_after_a_quiet_while(guest):
    guest.login(say(prompt()) + "sleep 21\n" + say("pending", done()))
    run = guest.auth()
    assert run.codes == [SUCCESS] and len(run.prompts) == 2
    assert run.prompts[1].startswith("Not signed in yet.") and "WDJB-MJHT" in run.prompts[1]


def test_what_the_helper_gets(guest):
    guest.config(map=guest.file("map"), profile="corp", verification_hosts="authority.example, other.example", max_wait=70)
    out = guest.file("told", "surroundings")
    # the shell by itself: while it starts others, it is not as it was started
    guest.login(f"""
        for fd in /proc/self/fd/*; do [ ! -e "$fd" ] || fds="$fds ${{fd##*/}}"; done
        while read -r row; do echo "$row"; done < /proc/self/status > {out}-status
        while read -r row; do echo "$row"; done < /proc/self/limits > {out}-limits
        echo "$*" > {out}-arguments; echo "$fds" > {out}-fds; pwd -P > {out}-folder
        cat /proc/$$/environ > {out}-environment
        """ + GOOD)
    kept = os.open("/dev/null", os.O_RDONLY)  # that the host itself was given
    try:
        run = guest.auth(env={"HTTPS_PROXY": "http://evil", "SSLKEYLOGFILE": "/tmp/keys", "LD_LIBRARY_PATH": "/tmp",
                              "MLTOKEN_CONFIG": "/tmp/x", "TZ": ":/etc/shadow"}, pass_fds=[kept])
    finally:
        os.close(kept)
    assert run.codes == [SUCCESS]
    assert guest.told("surroundings-arguments").split() == [
        "--config", guest.file("pam.conf"), "--max-wait", "70", "--profile", "corp", "--verification-host",
        "authority.example", "--verification-host", "other.example"]
    assert set(guest.told("surroundings-environment").strip("\0").split("\0")) <= ENVIRONMENT
    status = dict(row.split(":", 1) for row in guest.told("surroundings-status").splitlines())
    assert status["Uid"].split() == [str(guest.uid)] * 4
    assert status["Groups"].split() == [] if ROOT else True
    own = 3 << 31  # 32 and 33 are the C library's: nobody can set them, and some test runners ignore them
    assert status["NoNewPrivs"].split() == ["1"] and int(status["SigIgn"], 16) & ~own == 0 and int(status["SigBlk"], 16) == 0
    assert status["Umask"].split() == ["0077"] and int(status["CapEff"], 16) == 0
    core, = [row for row in guest.told("surroundings-limits").splitlines() if row.startswith("Max core")]
    assert core.split()[4:6] == ["0", "0"]
    assert guest.told("surroundings-folder") == "/\n"
    assert set(guest.told("surroundings-fds").split()) <= {"0", "1", "2", "10"}  # 10: its own script


@pytest.mark.skipif(not ROOT, reason="makes a file setuid root")
def test_the_environment_of_an_unprivileged_caller_has_no_effect():
    guest = Guest(False)
    try:
        out = guest.file("told", "environment")
        guest.login(f"cat /proc/self/environ > {out}\n" + GOOD)
        guest.importer(f"cat /proc/self/environ > {out}-import; cat > /dev/null\n" + say("ok"))
        os.chmod(guest.file("pam_guest"), 0o4755)
        traps = {name: guest.file("told", f"trap-{name}") for name in
                 ("SSLKEYLOGFILE", "SSL_CERT_FILE", "OPENSSL_CONF", "CURL_HOME", "LD_DEBUG_OUTPUT", "HOME",
                  "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DBUS_SESSION_BUS_ADDRESS", "MLTOKEN_SOCK", "MLTOKEN_CONFIG",
                  "TZ", "LC_ALL", "LOCPATH", "https_proxy", "ALL_PROXY", "LD_PRELOAD", "MALLOC_TRACE", "TMPDIR")}
        command = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", guest.file("pam_guest"),
                   guest.file("services"), "guest", guest.user, "auth", "account", "open", "close"]
        result = subprocess.run(command, capture_output=True, text=True, env=traps, timeout=60, check=False)
        run = pam_module.Run(result.stdout, result.returncode)
        assert run.codes == [SUCCESS] * 4, result.stdout + result.stderr
        assert run.changed == []
        assert sorted(os.listdir(guest.file("told"))) == ["environment", "environment-import"]
        for name in ("environment", "environment-import"):
            assert set(guest.told(name).strip("\0").split("\0")) <= ENVIRONMENT
    finally:
        guest.remove()


# ---- helpers that are none ----

REFUSED = {
    "says nothing": ("exit 0\n", SYSTEM_ERR),
    "no result": (say(prompt(), "pending"), SYSTEM_ERR),
    "no result, later": (say(prompt()) + "sleep 1; exit 0\n", SYSTEM_ERR),
    "garbage": ("printf 'Segmentation fault\\n'; exit 0\n", SYSTEM_ERR),
    "garbage after the prompt": (say(prompt(), "Traceback (most recent call last):"), SYSTEM_ERR),
    "garbage after the result": (say(prompt(), done(), "!"), SYSTEM_ERR),
    "bytes after the result": (say(prompt(), done()) + "printf pend\n", SYSTEM_ERR),
    "two results": (say(prompt(), done(), done()), SYSTEM_ERR),
    "done, then fail": (say(prompt(), done(), fail("denied")), SYSTEM_ERR),
    "fail, then done": (say(prompt(), fail("denied"), done()), SYSTEM_ERR),
    "done without a prompt": (say(done()), SYSTEM_ERR),
    "two prompts": (say(prompt(), prompt(), done()), SYSTEM_ERR),
    "an unknown line": (say(prompt(), "hello", done()), SYSTEM_ERR),
    "exit 1 after done": (GOOD + "exit 1\n", SYSTEM_ERR),
    "killed after done": (GOOD + "kill -9 $$\n", SYSTEM_ERR),
    "killed": (say(prompt()) + "kill -9 $$\n", SYSTEM_ERR),
    "hangs after done": (GOOD + "exec sleep 1000\n", SYSTEM_ERR),
    "half a line": ("printf 'done sub=YQ'\n", SYSTEM_ERR),
    "an endless line": (say(prompt()) + "while :; do printf aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done\n",
                        SYSTEM_ERR),
    "a NUL": (say(prompt()) + "printf 'done sub=YQ\\000\\n'\n", SYSTEM_ERR),
    "a field twice": (say(prompt(), done(("sub", "alice-1"))), SYSTEM_ERR),
    "too many fields": (say(prompt(), done(*[("group", "g")] * 600)), SYSTEM_ERR),
    "empty lines": (say("", prompt(), done()), SYSTEM_ERR),
    "nobody": (say(prompt(), done(sub=None)), SERVICE_ERR),
    "an empty person": (say(prompt(), done(sub="")), SERVICE_ERR),
    "no issuer": (say(prompt(), done(issuer=None)), SERVICE_ERR),
    "a NUL in the person": (say(prompt(), done(sub="alice-1\0x")), SERVICE_ERR),
    "nothing about groups": (say(prompt(), done(overage=None)), SERVICE_ERR),
    "another person": (say(prompt(), done(sub="bob-1")), AUTH_ERR),
    "a prefix of the person": (say(prompt(), done(sub="alice-")), AUTH_ERR),
    "a longer person": (say(prompt(), done(sub="alice-10")), AUTH_ERR),
    "another case": (say(prompt(), done(sub="Alice-1")), AUTH_ERR),
    "a newline in the person": (say(prompt(), done(sub="alice-1\n")), AUTH_ERR),
    "another issuer": (say(prompt(), done(issuer=ISSUER + "/")), AUTH_ERR),
    "config": (say(fail("config")) + "exit 1\n", SERVICE_ERR),
    "unreachable": (say(fail("unreachable")) + "exit 1\n", AUTH_ERR),
    "denied": (say(prompt(), "pending", fail("denied")) + "exit 1\n", AUTH_ERR),
    "expired": (say(prompt(), fail("expired")) + "exit 1\n", AUTH_ERR),
    "refused": (say(fail("refused")) + "exit 1\n", AUTH_ERR),
    "untrusted": (say(prompt(), fail("untrusted")) + "exit 1\n", AUTH_ERR),
    "timeout": (say(prompt(), fail("timeout")) + "exit 1\n", AUTH_ERR),
    "internal": (say(prompt(), fail("internal")) + "exit 1\n", SYSTEM_ERR),
    "a class that is none": (say(prompt(), fail("success")) + "exit 1\n", SYSTEM_ERR),
    "no class": (say(prompt(), line("fail", text="x")) + "exit 1\n", SYSTEM_ERR),
    "fail, but exit 0": (say(prompt(), fail("denied")), AUTH_ERR),
    "unreachable after a prompt": (say(prompt(), fail("unreachable")) + "exit 1\n", SYSTEM_ERR),
    "an address that is not https": (say(prompt(uri="http://authority.example/device"), done()), SYSTEM_ERR),
    "a javascript address": (say(prompt(uri="javascript:alert(1)"), done()), SYSTEM_ERR),
    "an address with an escape": (say(prompt(uri="https://a.example/\x1b[2J"), done()), SYSTEM_ERR),
    "an address with a newline": (say(prompt(uri="https://a.example/\nhttps://b.example/"), done()), SYSTEM_ERR),
    "an address with U+202E": (say(prompt(uri="https://a.example/\u202e"), done()), SYSTEM_ERR),
    "an address with user and host": (say(prompt(uri="https://authority.example@evil.example/"), done()), SYSTEM_ERR),
    "an address of 4 KiB": (say(prompt(uri="https://a.example/" + "x" * 4096), done()), SYSTEM_ERR),
    "an address that does not fit": (say(prompt(uri="https://a.example/" + "x" * 400), done()), SYSTEM_ERR),
    "a code with CR": (say(prompt(code="ABC\rDEF"), done()), SYSTEM_ERR),
    "a code of 4 KiB": (say(prompt(code="A" * 4096), done()), SYSTEM_ERR),
    "no code": (say(prompt(code=None), done()), SYSTEM_ERR),
    "cannot be executed": ("#!/nonexistent/interpreter\n", SYSTEM_ERR),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(guest, name):
    script, code = REFUSED[name]
    guest.login(script)
    run = guest.auth()
    assert run.codes == [code]
    assert run.log, "each refusal has its line in the log"
    assert "MLTOKEN_HANDOFF" not in run.pamenv and guest.records() == []


def test_refuses_without_a_helper(guest):
    guest.login(None)
    run = guest.auth()
    assert run.codes == [SYSTEM_ERR] and "executing it" in run.log


@pytest.mark.parametrize("script", ["exec sleep 1000\n", say(prompt()) + "exec sleep 1000\n",
                                    say(prompt()) + "while :; do echo pending; sleep 0.2; done\n",
                                    say(prompt()) + "exec yes pending\n"], ids=["silent", "hangs", "pending", "flood"])
def test_refuses_at_the_deadline(guest, script):
    guest.login(script)
    guest.config(map=guest.file("map"), max_wait=3, fallback="password")
    begun = time.monotonic()
    run = guest.auth()
    assert run.codes == [AUTH_ERR]
    assert 2.5 < time.monotonic() - begun < 30
    assert "within 3 s" in run.log


def test_an_enter_after_the_deadline_comes_too_late(guest):
    """Nobody may have been watching the terminal since."""
    guest.config(map=guest.file("map"), max_wait=2)
    guest.login(say(prompt(), done()) + f"(sleep 3; touch {guest.file('told', 'late')}) >/dev/null 2>&1 &\n")
    assert guest.auth("wait=" + guest.file("told", "late")).codes == [AUTH_ERR]


def test_falls_back_to_a_password_only_when_the_authority_never_answered(guest):
    guest.config(map=guest.file("map"), fallback="password")
    for script, code in ((say(fail("unreachable")), AUTHINFO_UNAVAIL),
                         (say(prompt(), fail("unreachable")), SYSTEM_ERR),
                         (say("pending", fail("unreachable")), SYSTEM_ERR),
                         (say(fail("timeout")), AUTH_ERR), (say(fail("config")), SERVICE_ERR), ("exit 1\n", SYSTEM_ERR),
                         (say(fail("unreachable"), fail("unreachable")), SYSTEM_ERR)):
        guest.login(script + "exit 1\n")
        guest.service(rate="no")
        assert guest.auth().codes == [code], script


@pytest.mark.parametrize("uri, good", [("https://authority.example/x", True), ("https://AUTHORITY.example:8443/x", True),
                                       ("https://authority.example.evil.test/", False), ("https://evil.test/authority.example", False),
                                       ("https://evil.test#authority.example", False), ("https://evil.test\\@authority.example/", False),
                                       ("https://authority.example", True), ("https://", False), ("https:///x", False)])
def test_verification_hosts(guest, uri, good):
    guest.config(map=guest.file("map"), verification_hosts="authority.example")
    guest.login(say(prompt(uri=uri), done()))
    assert guest.auth().codes == [SUCCESS if good else SYSTEM_ERR]


def test_texts_from_outside_are_cleaned_and_bounded(guest):
    evil = "%n%s\x1b[31m\r\n\u202eabc" + "x" * 4096
    guest.login("printf 'one %%n \\033[31m two\\n' >&2\n" + say(prompt(), fail("refused", evil)) + "exit 1\n")
    run = guest.auth("rhost=evil\x1b[2Jhost" + "y" * 300)
    assert run.codes == [AUTH_ERR]
    everything = run.log + "".join(text for _, text in run.asked)
    assert "\x1b" not in everything and "\r" not in everything and "\u202e" not in everything
    assert "%n%s\\x1b[31m\\x0d\\x0a\\u{202e}abc" in run.log and "x" * 600 not in run.log
    assert "one %n \\x1b[31m two" in run.log
    assert len(run.prompts[0].encode()) < 512 and "evil\\x1b[2Jhost" in run.prompts[0]
    assert all(style != ERROR_MSG or "abc" not in text for style, text in run.asked), "persons get our own words"


def test_an_endless_log_of_the_helper_is_cut(guest):
    guest.login("i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done\n" + GOOD)
    run = guest.auth()
    assert run.codes == [SUCCESS] and run.log.count("line ") == 50


# ---- who is who ----

def with_claim(guest, claim, value, *lists, strip=None, accepted=False, **more):
    keys = {"user_claim": claim, **({"strip_domain": strip} if strip else {}), **({"mutable_claim": "accepted"} if accepted else {})}
    guest.config(**keys)
    fields = {} if value is None else {f"claim__{claim}": value}
    guest.login(say(prompt(), done(*lists, **fields, **more)))
    return guest.auth().codes[0]


def test_a_claim(guest):
    user = guest.user
    guest.service(rate="no")
    assert with_claim(guest, "unix_name", user) == SUCCESS
    for value in (user + "x", user[:-1], user.upper(), user + "\n", "", " " + user, "bob", user + "@example.org", None, "root"):
        assert with_claim(guest, "unix_name", value) == AUTH_ERR, value
    assert with_claim(guest, "unix_name", user + "\0x") == SERVICE_ERR
    assert with_claim(guest, "unix_name", user + "@example.org", strip="example.org") == SUCCESS
    for value in (user, user + "@evil.org", user + "@sub.example.org", user + "@Example.org", user + "@example.org.evil",
                  "@example.org", user + "@evil@example.org", user + "xexample.org"):
        assert with_claim(guest, "unix_name", value, strip="example.org") == AUTH_ERR, value


def test_claims_that_people_can_change(guest):
    guest.service(rate="no")
    assert with_claim(guest, "preferred_username", guest.user) == SERVICE_ERR
    assert with_claim(guest, "preferred_username", guest.user, accepted=True) == SUCCESS
    assert with_claim(guest, "email", guest.user, accepted=True) == AUTH_ERR, "not verified"
    assert with_claim(guest, "email", guest.user, accepted=True, claim__email_verified="false") == AUTH_ERR
    assert with_claim(guest, "email", guest.user, accepted=True, claim__email_verified="true") == SUCCESS


def test_no_claim_stands_in_for_another(guest):
    guest.service(rate="no")
    guest.config(user_claim="unix_name")
    guest.login(say(prompt(), done(claim__preferred_username=guest.user, claim__sub=guest.user, sub=guest.user)))
    assert guest.auth().codes == [AUTH_ERR]


def test_the_sign_in_of_one_is_not_for_another(guest):
    """alice proves that she is alice, and asks for bob."""
    guest.map(f"{ISSUER} sub:alice-1 daemon", f"{ISSUER} sub:bob-1 {guest.user}")
    run = guest.auth()
    assert run.codes == [AUTH_ERR] and "does not let alice-1 of " + ISSUER in run.log
    guest.service(rate="no")
    for name in (guest.user + "x", guest.user[:-1], guest.user.upper()):
        guest.map(f"{ISSUER} sub:alice-1 {name}")
        assert guest.auth().codes == [AUTH_ERR], name


def test_entra_is_tenant_and_object(guest):
    guest.service(rate="no")
    guest.map("# tenant and object", f"{ISSUER} tid:t-1,oid:o-1 {guest.user}")
    for tid, oid, code in (("t-1", "o-1", SUCCESS), ("t-2", "o-1", AUTH_ERR), ("t-1", "o-2", AUTH_ERR), (None, "o-1", AUTH_ERR),
                           ("t-1", None, AUTH_ERR), ("t-1", "o-11", AUTH_ERR), ("o-1", "t-1", AUTH_ERR), ("", "o-1", SERVICE_ERR)):
        guest.login(say(prompt(), done(tid=tid, oid=oid, sub="o-1")))
        assert guest.auth().codes == [code], (tid, oid)


@pytest.mark.parametrize("text", ["alice-1 {user}", "{issuer} alice-1 {user}", "{issuer} sub: {user}", "{issuer} sub:alice-1", "{issuer} sub:x {user} y",
                                  "{issuer} tid:a,oid: {user}", "{issuer} tid:a {user}", "{issuer} oid:b,tid:a {user}", "authority sub:x {user}",
                                  "{issuer} sub:x {user}\r", "{issuer} sub:\u00e9 {user}", "{issuer} email:x {user}", "{issuer} sub:" + "x" * 5000 + " {user}"])
def test_one_bad_line_spoils_the_map(guest, text):
    """Before anybody is asked anything."""
    started = guest.file("told", "started")
    guest.login(f"touch {started}\n" + GOOD)
    guest.map(f"{ISSUER} sub:alice-1 {guest.user}", text.format(issuer=ISSUER, user=guest.user))
    run = guest.auth()
    assert run.codes == [SERVICE_ERR] and f"{guest.file('map')}, line 2: a line is ISSUER" in run.log
    assert run.asked == [] and not os.path.exists(started)


def test_files_that_others_can_write_are_not_believed(guest):
    guest.service(rate="no")
    for name in ("pam.conf", "map"):
        for mode in (0o664, 0o646, 0o666):
            os.chmod(guest.file(name), mode)
            run = guest.auth()
            assert run.codes == [SERVICE_ERR] and "neither its group nor others" in run.log
        os.chmod(guest.file(name), 0o644)
        os.rename(guest.file(name), guest.file("real"))
        os.symlink(guest.file("real"), guest.file(name))
        assert guest.auth().codes == [SERVICE_ERR]
        os.remove(guest.file(name))
        assert guest.auth().codes == [SERVICE_ERR]
        os.mkfifo(guest.file(name), 0o600)
        assert guest.auth().codes == [SERVICE_ERR]
        os.remove(guest.file(name))
        os.rename(guest.file("real"), guest.file(name))
    assert guest.auth().codes == [SUCCESS]


@pytest.mark.skipif(not ROOT, reason="gives files to another user")
def test_files_of_others_are_not_believed(guest):
    for name in ("pam.conf", "map"):
        os.chown(guest.file(name), 12345, 12345)
        assert guest.auth().codes == [SERVICE_ERR]
        os.chown(guest.file(name), 0, 0)


def test_groups_and_roles(guest):
    guest.service(rate="no")
    groups = [("group", "g-1"), ("group", "g-2")]
    for keys, lists, overage, code in (
            ({"require_group": "g-2"}, groups, "no", SUCCESS), ({"require_group": "g-3, g-1"}, groups, "no", SUCCESS),
            ({"require_group": "g-3"}, groups, "no", PERM_DENIED), ({"require_group": "g"}, groups, "no", PERM_DENIED),
            ({"require_group": "g-22"}, groups, "no", PERM_DENIED), ({"require_group": "g-1"}, [], "no", PERM_DENIED),
            ({"require_group": "g-1"}, groups, "yes", PERM_DENIED), ({"require_role": "r"}, groups, "yes", PERM_DENIED),
            ({"require_role": "r"}, [("role", "r")], "yes", SUCCESS), ({"require_role": "g-1"}, groups, "no", PERM_DENIED),
            ({"require_group": "g-1", "require_role": "r"}, groups, "no", PERM_DENIED),
            ({"require_group": "g-1", "require_role": "r"}, groups + [("role", "r")], "no", SUCCESS),
            ({}, groups, "yes", SUCCESS), ({}, groups, "perhaps", SERVICE_ERR)):
        guest.config(map=guest.file("map"), **keys)
        guest.login(say(prompt(), done(*lists, overage=overage)))
        assert guest.auth().codes == [code], (keys, lists, overage)


# ---- whom it is about ----

def test_root_is_not_its_business_whatever_is_broken(guest):
    guest.service("nonsense", config="/nonexistent", libexec="/nonexistent", min_uid="many")
    for words in (["auth"], ["auth", "silent=yes"], ["conv=none", "auth"]):
        assert guest.run(*words, user="root").codes == [IGNORE]
    assert guest.run("auth", "account", "setcred", user="root").codes == [IGNORE] * 3
    assert guest.run("open", "close", user="root").codes == [SUCCESS] * 2


def test_users_below_min_uid_are_not_its_business(guest):
    guest.service(min_uid=str(guest.uid + 1), config="/nonexistent")
    assert guest.auth().codes == [IGNORE]
    guest.service(min_uid=None)
    guest.config(map=guest.file("map"), min_uid=max(1000, guest.uid + 1))
    assert guest.auth().codes == [IGNORE] and guest.auth(user="daemon").codes == [IGNORE]
    guest.service(min_uid=str(guest.uid))
    assert guest.auth().codes == [SUCCESS], "an argument wins"


def test_a_user_that_there_is_not(guest):
    for name in ("no-such-user", "x" * 300, "%n%n", ".."):
        assert guest.auth(user=name).codes == [USER_UNKNOWN]


@pytest.mark.parametrize("argument", ["nonsense", "nonsense=1", "debug", "debug=", "debug=1", "min_uid=0", "min_uid=-1", "min_uid=1x", "max_wait=0",
                                      "max_wait=100000", "fallback=yes", "config=relative", "mutable_claim=yes", "user_claim=Sub", "map=x", "rate=5",
                                      "rate=0/10", "rate=99/10", "rate=5/0", "rate=no/5", "export=p:LD_PRELOAD", "export=p:PATH", "export=:X_TOKEN",
                                      "export=p", "qr=maybe", "profile=", "require_group=,", "handoff_fallback=maybe", "config=/etc/passwd", "map",
                                      "profile=\x1b[2J", "user_claim=unix_name", "strip_domain=example.org", "cached=yes"])
def test_an_argument_that_is_not_understood(guest, argument):
    guest.arguments = {key: value for key, value in guest.arguments.items() if key != argument.split("=")[0]}
    guest.service(argument)
    run = guest.auth()
    assert run.codes == [SERVICE_ERR] and run.log and "\x1b" not in run.log
    assert run.asked == []


@pytest.mark.parametrize("text", ["nonsense = 1\n", "map = /x\n", "[other]\n", "no equals sign\n", "libexec = /x\n", "debug = maybe\n", "\x01\n",
                                  "[pam\n", "[profile x]\n\xff\n", "debug=yes\ndebug=yes\n", "[profile x]\n[pam]\nmap=/y\n"])
def test_a_file_that_is_not_understood(guest, text):
    guest.config(text, map=guest.file("map"))
    run = guest.auth()
    assert run.codes == [SERVICE_ERR] and "line" in run.log


def test_a_key_twice_as_an_argument(guest):
    guest.service("debug=yes", "debug=yes")
    assert guest.auth().codes == [SERVICE_ERR]


def test_wrong_values_in_the_file_are_errors_also_where_an_argument_wins(guest):
    guest.config("max_wait = long\n", map=guest.file("map"))
    guest.service(max_wait="50")
    assert guest.auth().codes == [SERVICE_ERR]


def test_profiles_in_the_file_are_left_to_the_helper(guest):
    guest.config("[profile x]\nauthority = https://a.example\nanything = here\n", map=guest.file("map"))
    assert guest.auth().codes == [SUCCESS]


def test_it_needs_a_map_or_a_claim(guest):
    guest.config()
    assert guest.auth().codes == [SERVICE_ERR]
    guest.config(map=guest.file("map"), user_claim="unix_name")
    assert guest.auth().codes == [SERVICE_ERR]


@pytest.mark.skipif(not ROOT, reason="only root becomes another user")
@pytest.mark.parametrize("name", ["no-such-user", "root"])
def test_never_runs_the_helper_as_root(name):
    guest = Guest(False)
    try:
        guest.login(f"touch {guest.file('told', 'started')}\n" + GOOD)
        guest.service(helper_user=name)
        run = guest.auth()
        assert run.codes == [SERVICE_ERR] and "never run as root" in run.log
        assert not os.path.exists(guest.file("told", "started"))
    finally:
        guest.remove()


# ---- the conversation ----

@pytest.mark.parametrize("words", [["conv=none"], ["silent=yes"]])
def test_an_application_that_cannot_ask(guest, words):
    guest.login(f"touch {guest.file('told', 'started')}\nexec sleep 1000\n")
    assert guest.auth(*words).codes == [CONV_ERR]
    assert not os.path.exists(guest.file("told", "started"))


@pytest.mark.parametrize("how", ["error", "eof"])
def test_a_person_who_is_gone(guest, how):
    guest.login(f"echo $$ > {guest.file('told', 'pid')}\n" + say(prompt()) + "exec sleep 1000\n")
    begun = time.monotonic()
    run = guest.auth("conv=" + how)
    assert run.codes == [CONV_ERR] and len(run.prompts) == 1
    assert time.monotonic() - begun < 15
    assert not os.path.exists(f"/proc/{guest.told('pid').strip()}")


def test_the_helper_goes_with_an_application_that_is_killed(guest):
    guest.login(f"echo $$ > {guest.file('told', 'pid')}\n" + say(prompt()) + "exec sleep 1000\n")
    with subprocess.Popen(guest.command("wait=/nonexistent/file", "auth"), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as host:
        def helper():
            path = guest.file("told", "pid")
            return os.path.exists(path) and guest.told("pid").strip()
        pid = wait_until(helper)
        assert os.path.exists(f"/proc/{pid}")
        host.kill()
        host.wait()
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"))


def test_a_qr_code_where_a_terminal_can_show_it(guest):
    side = 21
    rows = "\n".join("".join("01"[(x * y) % 3 == 0] for x in range(side)) for y in range(side))
    guest.login(f'case "$*" in *--qr*) touch {guest.file("told", "qr")};; esac\n' + say(prompt(qr=rows), done()))
    guest.service(name="login")
    assert guest.auth().told == [] and not os.path.exists(guest.file("told", "qr")), "not everywhere"
    run = guest.auth(service="login")
    assert len(run.told) == 13 and all(len(text) == side + 4 for text in run.told) and os.path.exists(guest.file("told", "qr"))
    assert set("".join(run.told)) <= set(" \u2580\u2584\u2588")
    assert guest.auth("rhost=192.0.2.1", service="login").told == [], "over a network: not by itself"
    guest.service(qr="no", name="login")
    assert guest.auth(service="login").told == []
    guest.service(qr="yes")
    assert len(guest.auth().told) == 13
    for bad in (rows[:-1], rows.replace("0", "x", 1), rows + "\n0", "1\n1"):
        guest.login(say(prompt(qr=bad), done()))
        run = guest.auth()
        assert run.codes == [SUCCESS] and run.told == []


# ---- a guest ----

@pytest.mark.parametrize("how", ["default", "ignore", "handler", "reap", "nocldwait"])
def test_whatever_the_host_does_with_its_children(guest, how):
    run = guest.run(f"sigchld={how}", "auth", "setcred", "account", "open", "close")
    assert run.codes == [SUCCESS] * 5, run.text
    assert run.changed == []
    guest.login(say(prompt(), done(sub="bob")))
    assert guest.auth(f"sigchld={how}").codes == [AUTH_ERR]


@pytest.mark.parametrize("closed", ["0", "1", "2", "012"])
def test_in_a_host_without_standard_descriptors(guest, closed):
    run = guest.run(f"close={closed}", "auth", "account", "open", "close")
    assert run.codes == [SUCCESS] * 4 and run.changed == []


@pytest.mark.parametrize("mask", [0o000, 0o777, 0o027])
def test_whatever_the_hosts_umask_is(guest, mask):
    if mask == 0o777 and guest.ordinary:
        mask = 0o077
    run = guest.run("auth", umask=mask)
    assert run.codes == [SUCCESS] and run.changed == []
    record, = guest.records()
    assert mode_of(guest.file("run", "handoff", record)) & ~0o600 == 0
    assert mode_of(guest.file("run", "handoff")) == 0o700 and mode_of(guest.file("run", "rate")) == 0o700


# ---- how often ----

def test_rate(guest):
    guest.config(map=guest.file("map"), rate="3/600")
    guest.login(say(prompt(), fail("denied")) + "exit 1\n")
    started = guest.file("told", "started")
    for _ in range(3):
        assert guest.auth("rhost=2001:db8:1:2::7").codes == [AUTH_ERR]
    guest.login(f"touch {started}\n" + GOOD)
    run = guest.auth("rhost=2001:db8:1:2:ffff::8")
    assert run.codes == [MAXTRIES] and run.prompts == [] and "too many" in run.log
    assert not os.path.exists(started), "no device code is asked for"
    for other in ("2001:db8:1:3::7", "192.0.2.1", "host.example"):
        assert guest.auth("rhost=" + other).codes == [SUCCESS], "nobody locks out others"


def test_rate_does_not_count_what_succeeds(guest):
    guest.config(map=guest.file("map"), rate="2/600")
    for _ in range(4):
        assert guest.auth("rhost=192.0.2.1").codes == [SUCCESS]


def test_rate_counts_attempts_that_run(guest):
    guest.config(map=guest.file("map"), rate="2/600")
    guest.login(say(prompt()) + f"echo x >> {guest.file('told', 'codes')}; exec sleep 1000\n")
    hosts = [subprocess.Popen(guest.command("rhost=192.0.2.1", "wait=" + guest.file("told", "go"), "conv=eof", "auth"),
                              stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) for _ in range(10)]
    try:
        wait_until(lambda: sum(host.poll() is not None for host in hosts) == 8)
        guest.write("told/go", "")
        texts = [host.communicate(timeout=60)[0] for host in hosts]
    finally:
        for host in hosts:
            host.kill()
    codes = sorted(pam_module.Run(text, 0).codes[0] for text in texts)
    assert codes == [MAXTRIES] * 8 + [CONV_ERR] * 2
    assert guest.told("codes").count("x") == 2


def test_rate_is_for_a_source_as_well(guest):
    guest.config(map=guest.file("map"), rate="1/600")
    guest.login(say(prompt(), fail("denied")) + "exit 1\n")
    folder = guest.file("run", "rate")
    for _ in range(4):
        assert guest.auth("rhost=192.0.2.1").codes == [AUTH_ERR]
        os.remove(os.path.join(folder, f"4-c0000201-{guest.uid}"))  # as if for another user each time
    assert guest.auth("rhost=192.0.2.1").codes == [MAXTRIES]


def test_what_cannot_be_counted_is_refused(guest):
    guest.auth()
    if ROOT:
        os.chown(guest.file("run", "rate"), 12345, 12345)
    else:
        os.chmod(guest.file("run", "rate"), 0o755)
    run = guest.auth()
    assert run.codes == [SYSTEM_ERR] and "cannot be counted" in run.log


# ---- account ----

def test_account_is_for_the_user_who_signed_in(guest):
    assert guest.run("account").codes == [IGNORE]
    assert guest.run("auth", "account").codes == [SUCCESS] * 2
    other = "daemon"
    guest.service(min_uid="1")
    assert guest.run("auth", f"user={other}", "account").codes == [SUCCESS, PERM_DENIED]
    assert guest.run("auth", "user=root", "account").codes == [SUCCESS, PERM_DENIED]
    guest.login(say(prompt(), done(sub="bob")))
    assert guest.run("auth", "account").codes == [AUTH_ERR, IGNORE]


def test_a_failed_attempt_forgets_the_one_before(guest):
    guest.login(f"if [ -e {guest.file('told', 'second')} ]; then " + say(prompt(), done(sub="bob")) +
                f"else touch {guest.file('told', 'second')}; " + GOOD + "fi\n")
    assert guest.run("auth", "auth", "account").codes == [SUCCESS, AUTH_ERR, IGNORE]


# ---- the way to the session ----

def test_hand_off(guest):
    out = guest.file("told", "record")
    guest.importer(f"cat > {out}; printf '%s ' \"$@\" > {out}-argv; grep -E '^(Uid|Groups)' /proc/$$/status > {out}-ids\n" + say("ok"))
    guest.config(map=guest.file("map"), profile="corp", handoff_profile="work")
    run = guest.run("auth", "open", "open")
    assert run.codes == [SUCCESS] * 3 and run.told == []
    first, second, end = guest.told("record").split("\n")
    word, record = parse(first)
    assert word == "record" and end == ""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        assert record["boot_id"] == file.read().strip()
    assert (record["version"], record["uid"], record["service"], record["profile"]) == ("1", str(guest.uid), "guest", "work")
    assert second == done(), "as the helper told it"
    assert guest.told("record-argv").strip() == ""
    assert f"Uid:\t{guest.uid}\t{guest.uid}\t{guest.uid}\t{guest.uid}" in guest.told("record-ids")
    assert guest.records() == []


def sign_in(guest, *words):
    """A record, and its handle."""
    run = guest.run(*words, "auth")
    assert run.codes == [SUCCESS]
    handle, = guest.records()
    path = guest.file("run", "handoff", handle)
    assert mode_of(path) == 0o600 and mode_of(guest.file("run", "handoff")) == 0o700
    assert os.stat(path).st_uid == (guest.uid if guest.ordinary else 0)
    assert run.pamenv["MLTOKEN_HANDOFF"] == handle and len(handle) == 32
    return handle, path


def opens(guest, handle, **more):
    """Whether the record of that handle came to mltoken-pam-import, in a process of its own."""
    out = guest.file("told", "came")
    guest.importer(f"cat > {out}\n" + say("ok"))
    if os.path.exists(out):
        os.remove(out)
    run = guest.run(f"env=MLTOKEN_HANDOFF={handle}", "open", **more)
    assert run.codes == [SUCCESS] and run.changed == []
    assert "MLTOKEN_HANDOFF" not in run.pamenv, "it never comes into the session"
    return os.path.exists(out) and guest.told("came") != ""


def test_a_record_is_good_once(guest):
    handle, path = sign_in(guest)
    with open(path, encoding="ascii") as file:
        copy = file.read()
    assert opens(guest, handle) and not os.path.exists(path)
    assert not opens(guest, handle), "a replay"
    assert "ACCESS-SECRET" not in copy and "record version=" in copy


@pytest.mark.parametrize("change", ["uid", "service", "boot_id", "old", "future", "version", "word", "cut", "empty", "garbage"])
def test_a_record_that_is_not_for_this_session(guest, change):
    handle, path = sign_in(guest)
    with open(path, encoding="ascii") as file:
        first, second, _ = file.read().split("\n")
    word, record = parse(first)
    changes = {"uid": {"uid": "12345"}, "service": {"service": "sshd"}, "boot_id": {"boot_id": "0" * 36}, "version": {"version": "2"},
               "old": {"boottime_ms": str(int(record["boottime_ms"]) - 301_000)}, "future": {"boottime_ms": str(int(record["boottime_ms"]) + 10**7)}}
    record.update(changes.get(change, {}))
    text = line("done" if change == "word" else word, **record) + "\n" + second + "\n"
    text = {"cut": text[:20], "empty": "", "garbage": "\0" * 100 + "\n"}.get(change, text)
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
    assert not opens(guest, handle)
    assert not os.path.exists(path), "it is removed all the same"


@pytest.mark.parametrize("kind", ["wide", "symlink", "hard link", "fifo", "long", "owner"])
def test_a_file_that_is_no_record(guest, kind):
    handle, path = sign_in(guest)
    if kind == "wide":
        os.chmod(path, 0o640)
    elif kind == "long":
        with open(path, "a", encoding="ascii") as file:
            file.write("x" * 200_000)
    elif kind == "hard link":
        os.link(path, guest.file("run", "handoff", "0" * 32))
    elif kind == "owner":
        if not ROOT:
            os.chmod(path, 0o604)
        else:
            os.chown(path, 12345, 12345)
    else:
        os.rename(path, guest.file("run", "other"))
        if kind == "symlink":
            os.symlink(guest.file("run", "other"), path)
        else:
            os.mkfifo(path, 0o600)
    assert not opens(guest, handle)


@pytest.mark.parametrize("handle", ["", "x", "0" * 31, "0" * 33, "A" * 32, "../" + "0" * 29, "/etc/passwd", "0" * 31 + "\n", "%n" * 16, "." * 32])
def test_a_handle_that_is_none(guest, handle):
    sign_in(guest)
    assert not opens(guest, handle)
    assert len(guest.records()) == 1


def test_old_records_are_swept_at_the_next_auth(guest):
    handle, path = sign_in(guest)
    os.utime(path, (1, 1))
    run = guest.auth()
    assert handle not in guest.records() and guest.records() == [run.pamenv["MLTOKEN_HANDOFF"]]


def test_without_hand_off(guest):
    guest.config(map=guest.file("map"), handoff="no")
    run = guest.run("auth", "setcred", "account", "open")
    assert run.codes == [SUCCESS] * 4 and guest.records() == [] and "MLTOKEN_HANDOFF" not in run.pamenv


def test_a_full_spool_lets_people_in(guest):
    os.makedirs(guest.file("run", "handoff"))
    os.chmod(guest.file("run", "handoff"), 0o755)
    run = guest.run("auth", "open")
    assert run.codes == [SUCCESS] * 2 and "not kept" in run.log


IMPORTERS = {
    "missing": (None, "not started"), "silent": ("cat >/dev/null\n", "without a result"), "garbage": ("echo Hello, World\n", "none of its lines"),
    "does not read": ("exec sleep 1000\n", "not done in time"), "hangs": ("cat >/dev/null; exec sleep 1000\n", "not done in time"),
    "killed": ("kill -9 $$\n", ""), "floods": ("exec yes ok\n", ""), "endless": ("exec cat /dev/zero\n", "none of its lines"),
    "no agent": (say(line("fail", **{"class": "no_agent", "text": "\x1b[2Jnobody"})), "no_agent): \\x1b[2Jnobody"),
    "refused": (say(line("fail", **{"class": "refused", "text": "no"})), "refused"), "nothing": (say("fail"), "refused"),
}


@pytest.mark.parametrize("name", IMPORTERS)
def test_an_import_that_fails_fails_no_login(guest, name):
    script, logged = IMPORTERS[name]
    guest.importer(script)
    guest.config(map=guest.file("map"), profile="corp")
    begun = time.monotonic()
    run = guest.run("auth", "open", "close")
    assert run.codes == [SUCCESS] * 3 and run.changed == []
    assert logged in run.log
    assert time.monotonic() - begun < 20
    if name in ("no agent", "refused"):
        text, = run.told
        assert "mltoken login corp" in text and "\x1b" not in text and "\n" not in text


def test_arguments_of_the_import(guest):
    out = guest.file("told", "argv")
    guest.importer(f"printf '%s ' \"$@\" > {out}; cat > {out}-input\n" + say("ok", line("value", profile="a", token="T.1")))
    guest.config(map=guest.file("map"), handoff_fallback="start", export="a:A_TOKEN b:MY_B_TOKEN")
    run = guest.run("auth", "open")
    assert run.codes == [SUCCESS] * 2
    assert guest.told("argv").split() == ["--start", "--export", "a", "--export", "b"]
    assert run.pamenv.get("A_TOKEN") == "T.1" and "MY_B_TOKEN" not in run.pamenv
    run = guest.run("open")
    assert guest.told("argv-input") == "" and run.pamenv == {"A_TOKEN": "T.1"}, "without a sign-in too"


@pytest.mark.parametrize("token", ["", "a b", "a\nLD_PRELOAD=/x", "\x1b[2J", "\u00e9", "x" * (16 * 1024 + 1), "a\0b"])
def test_an_export_is_bounded_and_printable(guest, token):
    guest.importer("cat > /dev/null\n" + say(line("value", profile="a", token=token), line("value", profile="other", token="x")))
    guest.config(map=guest.file("map"), export="a:A_TOKEN")
    run = guest.run("open")
    assert run.codes == [SUCCESS] and run.pamenv == {}


def test_an_export_of_the_greatest_length(guest):
    guest.importer("cat > /dev/null\n" + say(line("value", profile="a", token="x" * (16 * 1024))))
    guest.config(map=guest.file("map"), export="a:A_TOKEN")
    assert guest.run("open").pamenv == {"A_TOKEN": "x" * (16 * 1024)}


def test_a_session_of_a_user_out_of_scope(guest):
    guest.importer(f"touch {guest.file('told', 'started')}\n")
    guest.config(map=guest.file("map"), export="a:A_TOKEN")
    guest.service(min_uid=str(guest.uid + 1))
    assert guest.run("open", "close").codes == [SUCCESS] * 2
    assert guest.run("open", user="no-such-user").codes == [SUCCESS]
    assert not os.path.exists(guest.file("told", "started"))


# ---- calls that fail ----

CALLS = ["fork", "pipe2", "socketpair", "fcntl", "dup2", "dup3", "close_range", "execve", "setresuid", "setresgid", "setgroups", "chdir", "setrlimit",
         "waitpid", "poll", "read", "open", "openat", "mkdirat", "flock", "pread", "pwrite", "ftruncate", "fstat", "getrandom", "write", "unlinkat",
         *([] if pam_module.SAN else ["malloc"])]


def each_call(guest, call, *words):
    """Runs once for each of those calls, until one run was not touched. The first phase has libpam read its files:
    whether it survives a failure there is not ours."""
    seen = 0
    for number in range(1, 400):
        run = guest.run("close", f"fail={call}:{number}", *words)
        assert run.phases.pop(0) == ("close", SUCCESS)
        assert run.changed == [], (call, number)
        yield number, run
        if run.calls[0] < number:
            return
        seen += 1
    raise AssertionError(f"{call}: no end after {seen}")


@pytest.mark.parametrize("call", CALLS)
def test_no_failing_call_lets_a_stranger_in(guest, call):
    guest.service(rate="16/600")
    guest.login(say(prompt(), "pending", done(sub="bob")))
    guest.run("auth")  # what it makes once is there
    for number, run in each_call(guest, call, "auth"):
        assert run.codes[0] not in (SUCCESS, IGNORE), (call, number, run.text)
        assert guest.records() == []
        for name in os.listdir(guest.file("run", "rate")):
            os.remove(guest.file("run", "rate", name))


@pytest.mark.parametrize("call", CALLS)
def test_no_failing_call_makes_it_silent_or_breaks_it(guest, call):
    """A sign-in that may go well: it does, or it is refused."""
    for number, run in each_call(guest, call, "auth", "account", "open", "close"):
        first, account, *session = run.codes
        assert first != IGNORE, (call, number)
        assert account == (SUCCESS if first == SUCCESS else IGNORE), (call, number, run.text)
        assert session == [SUCCESS, SUCCESS]
        if call in ("fork", "execve", "pipe2", "dup2", "setresuid") and number == 1:
            assert first == SYSTEM_ERR


@pytest.mark.parametrize("call", CALLS)
def test_no_failing_call_fails_a_session(guest, call):
    guest.config(map=guest.file("map"), export="a:A_TOKEN")
    guest.importer("cat > /dev/null\n" + say(line("value", profile="a", token="T")))
    for number, run in each_call(guest, call, "open"):
        assert run.codes == [SUCCESS], (call, number)


# ---- by others' tools ----

def test_pamtester_as_an_ordinary_user():
    """With libpam_wrapper, as anybody can."""
    guest = Guest(True)
    try:
        words = " ".join(f"{key}={value}" for key, value in guest.arguments.items())
        guest.write("services/guest", "".join(f"{kind} required {guest.file('pam_mltoken.so')} {words}\n" for kind in ("auth", "account", "session")))
        env = {"PATH": os.environ["PATH"], "LD_PRELOAD": "libpam_wrapper.so", "PAM_WRAPPER": "1", "PAM_WRAPPER_SERVICE_DIR": guest.file("services")}
        prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if ROOT else []
        if pam_module.SAN:
            asan = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout.strip()
            env.update(LD_PRELOAD=f"{asan} libpam_wrapper.so", ASAN_OPTIONS="detect_leaks=0")
        def tester(*operations):
            return subprocess.run([*prefix, "env", *(f"{name}={value}" for name, value in env.items()), "pamtester", "guest", guest.user, *operations],
                                  input="\n", capture_output=True, text=True, timeout=60, check=False)
        result = tester("authenticate", "acct_mgmt", "setcred", "open_session", "close_session")
        assert result.returncode == 0, result.stdout + result.stderr
        assert "WDJB-MJHT" in result.stdout + result.stderr
        guest.login(say(prompt(), done(sub="bob")))
        result = tester("authenticate")
        assert result.returncode != 0 and "Authentication failure" in result.stdout + result.stderr
    finally:
        guest.remove()
