"""pam_mltoken.so, each of whose calls of the system fails once."""

import os

import pytest
from pam_module import IGNORE, SAN, SUCCESS, SYSTEM_ERR, done, line, prompt, say


CALLS = ["fork", "pipe2", "socketpair", "fcntl", "dup2", "dup3", "close_range", "execve", "setresuid", "setresgid", "setgroups", "chdir", "setrlimit",
         "waitpid", "poll", "read", "open", "openat", "mkdirat", "flock", "pread", "pwrite", "ftruncate", "fstat", "getrandom", "write", "unlinkat",
         *([] if SAN else ["malloc"])]


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
