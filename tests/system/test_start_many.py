"""Ten thousand profiles whose secrets are kept in sealed files: at the start nothing is read before it is needed."""

import os
import re
import shutil

import pytest
from harness import Agent, Varlink, service, wait_until

COUNT = 10000
NO_LEAKS = {"ASAN_OPTIONS": "detect_leaks=0:" + os.environ.get("ASAN_OPTIONS", "")}  # it cannot work under strace


class Traced(Agent):
    """An agent, its worker and its stores, and what they open and execute."""

    def __init__(self, home):
        super().__init__(home, **NO_LEAKS)
        self.trace = os.path.join(home.path, "trace")

    def start(self, wait=True):
        # -D: the agent is our child, and strace its descendant
        self.args = ["-D", "-f", "-qqq", "-o", self.trace, "-e", "trace=execve,%file", self.home.agent_program, *self.args]
        self.home.agent_program = "strace"
        return super().start(wait)

    def lines(self, text):
        with open(self.trace, encoding="utf-8", errors="replace") as f:
            return [line for line in f if text in line]

    def programs(self):
        return [os.path.basename(line.split('"')[1]) for line in self.lines("execve(") if "ENOENT" not in line]

    def sealed(self):
        """Of which profiles a sealed file was opened or looked at."""
        return {re.search(r'([^/"]+)\.sealed', line)[1] for line in self.lines(".sealed")}


@pytest.fixture
def crowd(authority, home, start_agent, mltoken):
    """10,000 profiles with a sealed file each; p's holds its client secret, the others' are copies. One has a mistake."""
    keys = {**service(authority, home), "client_secret": "stored"}
    agent = {"store": "file", "key_file": home.write("key", "k" * 64)}
    home.config({"p": keys}, agent)
    first = start_agent()
    mltoken("secret", "set", "p", input=authority.client("svc").secret + "\n").ok()
    first.stop()
    folder = os.path.join(home.state, "mltoken")
    others = {f"other{i}": dict(keys) for i in range(COUNT - 1)}
    for name in others:
        shutil.copy(os.path.join(folder, "p.sealed"), os.path.join(folder, name + ".sealed"))
    others["other7777"]["scoop"] = "x"
    home.config({**others, "p": keys}, agent)
    return folder


def test_nothing_is_read_before_it_is_needed(crowd, home, mltoken):
    agent = Traced(home)
    try:
        agent.start()
        with Varlink(home.socket) as v:
            counters = v.call("Status")["counters"]  # it is answered when all of the configuration was read
        assert (counters["profiles"], counters["problems"]) == (COUNT, 1)
        assert agent.programs() == ["mltoken-agent", "mltoken-agent-main"]
        assert agent.sealed() == set() and agent.lines(crowd) == []
        assert len(agent.lines("libcurl.so")) == 1  # the libraries are loaded once
        # for one profile its own file is read, by one store program
        assert mltoken("get", "p").ok().out.strip()
        assert agent.programs()[2:] == ["mltoken-store-file"]
        assert agent.sealed() == {"p"}
        # a mistake is told to who asks for the profile, to who checks, and to the log
        assert "did you mean scope?" in mltoken("get", "other7777").failed(3)
        assert "scoop: unknown key" in mltoken("config", "check").out
        wait_until(lambda: "scoop: unknown key" in agent.log())
    finally:
        agent.stop()


def test_asked_at_once(crowd, home, start_agent, mltoken):
    """The first call finds its profile, and the wrong one its mistake, however much of the rest has been read."""
    for name, wanted in (("p", 0), ("other7777", 3), ("nobody", 3)):
        agent = start_agent()
        assert mltoken("get", name).code == wanted
        agent.stop()
