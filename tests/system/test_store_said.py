"""What a store program writes to its standard error (agent/store/said.h): in the agent's log at debug level, line by line,
cleaned and bounded, and at nobody's cost."""

import os
import signal

import pytest
from harness import Agent, service, wait_until
from test_stores import Store

LINES = 200  # LIMIT_STORE_SAID
LONGEST = 1024  # LIMIT_LOG_VALUE


class Talker(Store):
    """A store program that says something with its first request."""

    def says(self, data, word="say"):
        with open(self.base + ".says", "wb") as f:
            f.write(data)
        self.script(word)

    def lost(self):
        return int(wait_until(lambda: [n for n in self.notes() if n.startswith("lost")])[-1].split()[1])


@pytest.fixture
def talker(authority, home):
    home.config({"p": {**service(authority, home), "client_secret": "stored", "store": "test"}})
    return Talker(home.stores("test"), "test")


def said(agent):
    return [line for line in agent.log().splitlines() if "a store program says program=mltoken-store-test" in line]


def test_lines_are_told_and_cleaned(talker, start_agent, mltoken):
    agent = start_agent()
    talker.says(b"one\n\ntwo \x1b[31mred\x00\xff\n" + b"x" * 3000 + b"\nERROR: AddressSanitizer-like words\nno end")
    mltoken("secret", "set", "p", input="x" * 20).ok()
    lines = wait_until(lambda: len(said(agent)) >= 4 and said(agent))
    assert lines[0].endswith("line=one") and "two" in lines[1] and "red" in lines[1]
    assert "\x1b" not in agent.log() and "\0" not in agent.log()
    assert "xxx..." in lines[2] and len(lines[2]) < LONGEST + 200
    assert "AddressSanitizer-like" in lines[3]
    os.kill(talker.pid(), signal.SIGKILL)
    wait_until(lambda: said(agent)[-1].endswith('line="no end"'))
    agent.expect_exit = None
    with open(agent.log_path, "w", encoding="utf-8"):
        pass  # the fixture would take the words for a sanitizer's


@pytest.mark.parametrize("word, act", [("say-die", None), ("say-hang", "kill"), ("say-hang", "agent")])
def test_last_words(talker, start_agent, mltoken, word, act):
    """Of a program that ends by itself, is killed, or is killed with the agent."""
    agent = start_agent()
    talker.says(b"a\nthe last word", f"{word} {word}")
    command = mltoken.start("secret", "set", "p", stdin=-1)
    command.stdin.write("x" * 20)
    command.stdin.close()
    command.stdin = None
    wait_until(lambda: [n for n in talker.notes() if n.startswith("lost")])
    if act == "kill":
        os.kill(talker.pid(), signal.SIGKILL)
    elif act == "agent":
        agent.stop()
    wait_until(lambda: said(agent) and said(agent)[-1].endswith('line="the last word"'))


def test_a_flood_costs_nobody_anything(talker, start_agent, mltoken):
    """The program does not wait for the agent, the log stays small, and both go on."""
    agent = start_agent()
    talker.says(b"a line of a flood\n" * 500000)
    mltoken("secret", "set", "p", input="x" * 20).ok()
    assert talker.lost() > 1000000
    assert LINES <= len(said(agent)) <= 4 * LINES, "with what came when the next turn began"
    assert "says more than is told" in agent.log()
    mltoken("secret", "list", "p").ok()


def test_nothing_is_read_without_debug(talker, home, mltoken):
    agent = Agent(home, ("--foreground",)).start()
    try:
        talker.says(b"nobody hears\n")
        mltoken("secret", "set", "p", input="x" * 20).ok()
        assert talker.lost() == 0
        assert os.readlink(f"/proc/{talker.pid()}/fd/2") == "/dev/null"
        assert "nobody hears" not in agent.log()
    finally:
        agent.stop()
