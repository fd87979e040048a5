"""Two agents of one person on one folder of sealed files, as on two hosts that share a home: both renew all the time."""

import os
import random
import signal
import threading

import pytest
from harness import Agent, VarlinkError
from rotation import GRACE, PROFILE, Rotation, kill


@pytest.fixture
def pair(authority, home):
    """pair(grace): (the sign-in, the other agent's starter). Whatever runs at the end is ended."""
    started, rotations = [], []

    def make(grace):
        rotations.append(Rotation(authority, home, grace, faults=False))

        def start():
            started.append(Agent(home, MLTOKEN_SOCK=os.path.join(home._dir("run2"), "agent.sock")).start())
            return started[-1]

        return rotations[-1], start

    yield make
    for agent in started:
        kill(agent.pid)
        agent.process.wait()
    for rotation in rotations:
        rotation.end()


class Client(threading.Thread):
    """Asks one agent for new tokens, so often or until told; keeps what it was told."""

    def __init__(self, socket, times):
        super().__init__()
        self.socket, self.left = socket, times
        self.tokens, self.errors = [], []
        self.start()

    def run(self):
        while self.left > 0:
            self.left -= 1
            try:
                with self.socket() as connection:
                    self.tokens.append(connection.token(PROFILE, refresh=True)["value"])
            except VarlinkError as error:
                self.errors.append(error)
            except (OSError, EOFError):
                pass  # the agent was killed


def used(authority):
    return [r.form["refresh_token"] for r in authority.requests("token", grant="refresh_token")]


def test_no_refresh_token_is_sent_twice(pair, authority):
    """The authority has no grace at all."""
    rotation, start = pair(0)
    other = start()
    clients = [Client(agent.varlink, 12) for agent in (rotation.agent, other) for _ in range(2)]
    for client in clients:
        client.join()
    assert not [error for client in clients for error in client.errors]
    assert all(len(client.tokens) == 12 for client in clients)
    tokens = used(authority)
    assert len(tokens) >= 24 and len(set(tokens)) == len(tokens) and authority.max_concurrent("token") == 1
    assert not authority.reuses and rotation.kept()["refresh_token"] == rotation.family.current


def test_each_killed_in_turn(pair, authority):
    """The one that is left goes on where the other was, within the authority's grace, and nobody signs in anew."""
    rotation, start = pair(GRACE)
    other, chance = start(), random.Random(20261124)
    for round_ in range(16):
        clients = [Client(agent.varlink, 1000) for agent in (rotation.agent, other)]
        victim, survivor = (rotation.agent, clients[1]) if round_ % 2 else (other, clients[0])
        threading.Event().wait(chance.uniform(0.02, 0.15))
        os.kill(victim.pid, signal.SIGKILL)
        victim.process.wait()
        clients[0].left = clients[1].left = 0
        for client in clients:
            client.join()
        survivor = Client(other.varlink if round_ % 2 else rotation.agent.varlink, 1)
        survivor.join()
        assert len(survivor.tokens) == 1, survivor.errors
        assert not [error for client in clients for error in client.errors]
        tokens = used(authority)
        assert max(tokens.count(token) for token in tokens) <= 2, "a token was sent a third time"
        assert rotation.kept()["refresh_token"] == rotation.family.current
        if round_ % 2:
            rotation.agent = Agent(rotation.home).start()
        else:
            other = start()
    assert not authority.reuses and not rotation.family.revoked
