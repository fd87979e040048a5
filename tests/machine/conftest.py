"""Fixtures of the machine's tests: one machine and one authority beside it serve them all. Run by tests/machine/run.py."""

import os
import sys
import time

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "system")]

from authority import Authority  # noqa: E402
from gate import Gate  # noqa: E402
from machine import Machine  # noqa: E402

FIGURES = []
STARTED = pytest.StashKey()


def pytest_terminal_summary(terminalreporter):
    for line in FIGURES:
        terminalreporter.write_line(line)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failure shows what the machine said since the test began."""
    report = (yield).get_result()
    machine = getattr(item, "funcargs", {}).get("machine")
    if report.when == "call" and report.failed and machine and machine.leader:
        lines = machine.run("journalctl", "--no-pager", "--quiet", "--output=short-monotonic", f"--since=@{call_start(item)}").out.splitlines()
        report.sections.append(("journal", "\n".join(lines[-80:])))


def call_start(item):
    return int(item.stash[STARTED])


def pytest_runtest_setup(item):
    item.stash[STARTED] = time.time()


@pytest.fixture(scope="session")
def figure():
    """figure("what", seconds): said at the end."""
    return lambda what, seconds: FIGURES.append(f"{what}: {seconds * 1000:.0f} ms")


@pytest.fixture(scope="session")
def machine(figure):
    machine = Machine(os.environ["MLTOKEN_MACHINE"])
    figure("boot until running", machine.boot())
    yield machine
    machine.stop()


@pytest.fixture(scope="session")
def authority_of_session():
    with Authority() as authority:
        yield authority


@pytest.fixture
def authority(authority_of_session):
    authority_of_session.reset()
    yield authority_of_session
    authority_of_session.clear_faults()


@pytest.fixture
def alice(machine):
    """A person whose manager runs, as after a login."""
    account = machine.account("alice")
    account.linger()
    yield account
    account.clean()


@pytest.fixture
def bob(machine):
    """Another person."""
    account = machine.account("bob")
    yield account
    account.clean()


@pytest.fixture
def people(machine):
    """Without sessions and settings of their own."""
    accounts = {name: machine.account(name) for name in ("alice", "bob")}
    for account in accounts.values():
        account.clean()
    yield accounts
    for account in accounts.values():
        account.clean()


@pytest.fixture(scope="module")
def gate_of_module(machine, authority_of_session):
    gate = Gate(machine, authority_of_session)
    yield gate
    gate.undo()


@pytest.fixture
def gate(gate_of_module, authority, people):
    """The way in, as it is shipped, with the scripted authority."""
    gate_of_module.configure()
    yield gate_of_module
    gate_of_module.hang_up()
