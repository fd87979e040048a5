"""pam_mltoken.so with helpers that lie, hang, die and say what they must not."""

import time

import pytest
from pam_module import (AUTH_ERR, AUTHINFO_UNAVAIL, ERROR_MSG, GOOD, ISSUER, SERVICE_ERR, SUCCESS, SYSTEM_ERR, done, fail, line,
                        prompt, say)


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
