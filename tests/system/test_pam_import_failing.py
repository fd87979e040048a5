"""The way of a sign-in into the agent while calls of the system fail: those of mltoken-pam-import, and the agent's own. It
ends in time, no secret is told, and what is called ok is held by the agent."""

import contextlib
import json
import os
import shutil
import signal

import pytest
from elsewhere import sign_in
from failing import Failing
from harness import PATIENCE, SANITIZER, Varlink, VarlinkError, person, program, wait_until
from test_pam_import import Guest, known, processes  # noqa: F401  (a fixture)

SAN = bool(os.environ.get("MLTOKEN_SAN"))
MALLOC = [] if SAN else ["malloc"]  # a sanitizer has its own
MOST = 3000  # of such calls in one run
LATE = 15  # seconds, of which three are the program's own


@pytest.fixture
def guest(home):
    guest = Guest(home)
    yield guest
    guest.end()


@pytest.fixture
def failing(home):
    return Failing(home._dir("failing"), "mltoken-pam-import")


@pytest.fixture
def brought(authority):
    return sign_in(authority)


def held(socket):
    """The end of the access token that the agent has, or None."""
    with Varlink(socket, timeout=PATIENCE) as varlink:
        try:
            return varlink.call("GetToken", profile="me")["token"]["expiresAt"]
        except VarlinkError as error:
            assert error.name == "LoginRequired", error
            return None


def run(guest, failing, record, *args, prefix=()):
    """What it says; nothing of it may be a secret."""
    command = [failing.file("mltoken-pam-import") if word == program("mltoken-pam-import") else word for word in guest.command(*args)]
    lines = guest.run(record, command=[*prefix, *command], timeout=60, silent=True)
    assert guest.took < LATE
    told = json.dumps(lines)
    assert len(lines) <= 1 and not any(value in told for value in guest.secrets)
    return lines


def each_number(failing, call, once, most=MOST):
    """once(number) for each of these calls, until a run has fewer of them."""
    for number in range(1, most):
        once(number)
        if failing.off() < number:
            return number
    return most


CALLS = ["read", "write", "socket", "connect", "getsockopt", "poll", "send", "recv", "lstat", *MALLOC]


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("call", CALLS)
def test_no_failing_call_says_ok_for_nothing(authority, home, guest, start_agent, failing, brought, call, lasting):
    home.config({"me": person(authority)}, {"default_profile": "me", "store": "memory"})
    start_agent(MLTOKEN_SOCK=guest.socket)
    guest.secrets = [brought[name] for name in ("idToken", "accessToken", "refreshToken")]
    ends = []

    def once(number):
        expires = brought["expiresAt"] + number
        before = held(guest.socket)
        failing.fail(call, number, lasting)
        lines = run(guest, failing, guest.record(brought, expires_at=expires))
        ends.append(bool(lines) and lines[0][0] == "ok")
        assert held(guest.socket) in ((expires,) if ends[-1] else (before, expires)), (number, lines)

    last = each_number(failing, call, once)
    assert last < MOST and ends[-1], "without a failure it goes well"
    assert not all(ends) or call == "poll", "a poll that is disturbed is asked again"


STARTING = ["fork", "execve", "dup2", "close_range", "chdir", "waitpid", "readlink", "lstat", "connect", *MALLOC]


@pytest.mark.parametrize("call", STARTING)
def test_no_failing_call_while_it_starts_an_agent(authority, home, guest, failing, brought, known, call):  # noqa: F811
    home.config({"me": person(authority)}, {"store": "memory"})
    for name in ("mltoken-agent", "mltoken-agent-main"):
        shutil.copy(program(name), failing.folder)
    guest.secrets = [brought[name] for name in ("idToken", "accessToken", "refreshToken")]
    ends = []

    def end_agents():
        for pid in processes("mltoken-agent", guest.folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not processes("mltoken-agent", guest.folder)

    def once(number):
        failing.fail(call, number)
        lines = run(guest, failing, guest.record(brought), "--start", prefix=known)
        ends.append(bool(lines) and lines[0][0] == "ok")
        failed = failing.off()
        assert not ends[-1] or processes("mltoken-agent", guest.folder)
        wait_until(end_agents)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(guest.socket)
        failing.fail(call, 0)
        failing.map[-4:] = failed.to_bytes(4, "little")

    each_number(failing, call, once, 9)
    assert not ends[0] or call in ("waitpid", "chdir", "lstat", "malloc")


AGENTS = ["read", "recv", "recvmsg", "write", "send", "sendmsg", "socket", "connect", "poll", "fork", "epoll_ctl", *MALLOC]


@pytest.mark.parametrize("call", AGENTS)
def test_no_failing_call_of_the_agent_is_an_ok(authority, home, start_agent, brought, call):
    """It answers, or ends the connection; it lives on; and an answer that is none of the errors means that it holds it."""
    home.config({"me": person(authority)}, {"default_profile": "me", "store": "memory"})
    failing = Failing(home.stores(), "mltoken-agent-main")
    agent = start_agent()
    ends = []

    def once(number):
        expires = brought["expiresAt"] + number
        before, log = held(home.socket), agent.log()
        with Varlink(home.socket, timeout=PATIENCE) as varlink:
            failing.fail(call, number)
            try:
                ends.append(varlink.call("Import", **{**brought, "expiresAt": expires}) == {})
            except (VarlinkError, EOFError, ConnectionResetError, BrokenPipeError):
                ends.append(False)
            counted = failing.off()
        assert agent.alive(), agent.log()
        now, unkept = held(home.socket), agent.log().count("could not be kept") > log.count("could not be kept")
        # the refresh token may be all that it holds, and the same person's access token of before is as good
        assert now in ((expires,) if ends[-1] and not unkept else (before, expires)), (number, ends[-1], before, now, agent.log())
        assert now or not ends[-1]
        failing.map[-4:] = counted.to_bytes(4, "little")

    last = each_number(failing, call, once)
    assert last < MOST and ends[-1], "without a failure it goes well"
    log = agent.log()
    assert not SANITIZER.search(log) and not any(brought[name] in log for name in ("idToken", "accessToken", "refreshToken"))
