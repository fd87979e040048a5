"""Fixtures of the system tests. One authority serves them all; each test finds it as new."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from authority import Authority  # noqa: E402
from harness import Agent, Command, Home, Varlink  # noqa: E402


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failure of PAM's shows what the programs of its place logged."""
    report = (yield).get_result()
    place = getattr(item, "funcargs", {}).get("place")
    if report.when == "call" and report.failed and hasattr(place, "log"):
        report.sections.append(("the place's log", "\n".join(place.log.lines[-60:])))


@pytest.fixture(scope="session")
def authority_of_session():
    with Authority() as authority:
        yield authority


@pytest.fixture
def authority(authority_of_session):
    """The scripted authority, reset."""
    authority_of_session.reset()
    yield authority_of_session
    authority_of_session.clear_faults()


@pytest.fixture
def home():
    """A temporary HOME with its XDG directories."""
    home = Home()
    yield home
    home.remove()


@pytest.fixture
def start_agent(home):
    """Starts agents in the home: start_agent(*more arguments, **environment). All are ended and looked over."""
    started = []

    def start(*args, wait=True, **env):
        agent = Agent(home, ("--foreground", "--debug", *args), **env)
        started.append(agent)
        return agent.start(wait)

    yield start
    for agent in started:
        agent.stop()


@pytest.fixture
def agent(start_agent):
    """An agent that runs. Write the configuration before asking for it, or let it be read again."""
    return start_agent()


@pytest.fixture
def mltoken(home):
    """Runs the command: mltoken("get", "p") -> Result."""
    command = Command(home)
    yield command
    command.end()


@pytest.fixture
def varlink(home):
    """Opens raw connections: varlink() -> Varlink."""
    opened = []

    def connect(path=None, **args):
        opened.append(Varlink(path or home.socket, **args))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture(params=["ordinary", "root"] if os.geteuid() == 0 else ["ordinary"])
def guest(request):
    """A private place for the PAM module, which runs as an ordinary user and as root: see pam_module.py."""
    from pam_module import Guest
    guest = Guest(request.param == "ordinary")
    yield guest
    guest.remove()


@pytest.fixture(scope="session")
def place_of_session():
    """A host for PAM: see pam_place.py. Skips, with the reason, where none can be made."""
    from pam_place import make_place
    place = make_place()
    yield place
    place.close()


@pytest.fixture(scope="session")
def company_of_session(place_of_session, authority_of_session):
    from pam import Company
    company = Company(place_of_session, authority_of_session)
    yield company
    company.down()


@pytest.fixture
def place(place_of_session):
    place_of_session.reset()
    yield place_of_session
    place_of_session.reset()


@pytest.fixture
def company(company_of_session, authority):
    """The authority of the place's people."""
    company_of_session.up()
    yield company_of_session
    company_of_session.up()


@pytest.fixture
def people(place, company):
    """Opens terminals: people.ssh("mlt-alice"), people.su("mlt-bob", "mlt-alice"), ..."""
    from pam import People
    return People(place, company)
