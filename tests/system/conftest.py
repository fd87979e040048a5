"""Fixtures of the system tests. One authority serves them all; each test finds it as new."""

import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from authority import Authority  # noqa: E402
from harness import Agent, Command, Home, Varlink  # noqa: E402


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
