"""Who was handed what: a line for the first use of a profile by a process, a count for the others, never a token."""

import os
import re
import shlex
import subprocess
import sys

import pytest
from harness import Varlink, program, service

CLIENT = """
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
for profile in sys.argv[2:]:
    s.sendall(json.dumps({"method": "org.mltoken.agent.GetToken", "parameters": {"profile": profile}}).encode() + b"\\0")
    reply = b""
    while not reply.endswith(b"\\0"):
        reply += s.recv(65536)
    assert b'"token"' in reply, reply
"""


def lines(agent):
    """The audit's lines as dictionaries."""
    found = []
    for line in agent.log().splitlines():
        fields = dict(w.partition("=")[::2] for w in shlex.split(line) if "=" in w)
        if fields.get("event") == "token-handed-out":
            found.append({**fields, "line": line})
    return found


@pytest.fixture
def setup(authority, home, start_agent):
    home.config({"p": service(authority, home, "load-1"), "q": service(authority, home, "load-2")})
    return start_agent()


def test_a_get_is_one_line_with_its_program(setup, mltoken):
    token = mltoken("get", "p").ok().out.strip()
    first, = lines(setup)
    assert first["profile"] == "p" and first["source"] == "fetched" and first["count"] == "1"
    assert first["exe"] == os.path.realpath(program("mltoken"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", first["time"]) and ": info: " in first["line"]
    assert "profile=p" in first["line"] and f"exe={os.path.realpath(program('mltoken'))}" in first["line"]
    mltoken("get", "p").ok()
    second = lines(setup)[1]
    assert second["source"] == "hit" and second["exe"] == first["exe"] and second["pid"] != first["pid"]
    assert len(lines(setup)) == 2
    assert token not in setup.log() and token.split(".")[0][:30] not in setup.log()


def test_repeats_are_counted(setup, home):
    """A hundred over one connection, and one more over another, of one process: a line, then a count."""
    with Varlink(home.socket) as v:
        for _ in range(100):
            v.token("p")
    with Varlink(home.socket) as v:
        v.token("p")
    first, = lines(setup)
    assert first["pid"] == str(os.getpid()) and first["exe"] == os.path.realpath("/proc/self/exe")
    setup.stop()
    _, count = lines(setup)
    assert count["count"] == "100" and count["source"] == "hit" and count["pid"] == str(os.getpid())
    assert "more tokens" in count["line"]


def test_profiles_and_processes_are_told_apart(setup, home):
    for _ in range(2):
        subprocess.run([sys.executable, "-c", CLIENT, home.socket, "p", "q", "p", "q"], check=True)
    found = lines(setup)
    assert [line["profile"] for line in found] == ["p", "q", "p", "q"]
    assert len({line["pid"] for line in found}) == 2
    assert {line["exe"] for line in found} == {os.path.realpath(sys.executable)}
    setup.stop()
    assert [line["count"] for line in lines(setup)[4:]] == ["1"] * 4


def test_another_program_in_the_same_process(setup, home, mltoken):
    """What mltoken exec hands on, and what the command then asks for itself."""
    mltoken("exec", "p", "--", sys.executable, "-c", CLIENT, home.socket, "p").ok()
    ours, its = lines(setup)
    assert ours["pid"] == its["pid"]
    assert ours["exe"] == os.path.realpath(program("mltoken")) and its["exe"] == os.path.realpath(sys.executable)


def test_a_hint_is_only_a_hint(setup, home):
    """It is cleaned, cannot make fields or lines of its own, and is called what it is."""
    with Varlink(home.socket) as v:
        assert v.error("GetToken", profile="p", application="a\nmltoken-agent: info: x").name == "InvalidParameter"
        assert v.error("GetToken", profile="p", application="a" * 65).name == "InvalidParameter"
        assert not lines(setup)
        v.token("p", application="\u202e\u009b2J x\" exe=/usr/bin/trusted")
    line, = lines(setup)
    assert line["exe"] == os.path.realpath("/proc/self/exe")
    assert "what the client calls itself" in line["line"]
    assert "\u202e" not in line["line"] and "\u009b" not in line["line"] and line["application"].endswith("/usr/bin/trusted")


def test_a_hit_has_the_hint_of_its_own_message(setup, home):
    """A memo of somebody's message keeps what was in it."""
    with Varlink(home.socket) as v:
        v.token("p", application="one")
    script = CLIENT.replace('{"profile": profile}', '{"profile": profile, "application": "one"}')
    for _ in range(3):
        subprocess.run([sys.executable, "-c", script, home.socket, "p"], check=True)
    subprocess.run([sys.executable, "-c", CLIENT, home.socket, "p"], check=True)
    assert [line.get("application") for line in lines(setup)] == ["one"] * 4 + [None]


def test_watching_is_told_too(setup, home):
    with Varlink(home.socket) as watching, Varlink(home.socket) as v:
        watching.send("Watch", {"profile": "p"}, more=True)
        watching.reply()
        assert [line["source"] for line in lines(setup)] == ["fetched"]
        v.token("p", refresh=True)
        watching.reply()
    setup.stop()
    count = lines(setup)[1]
    assert count["count"] == "2" and count["source"] == "fetched"


def test_nothing_handed_out_is_no_line(setup, home, mltoken):
    mltoken("get", "nobody").failed(3)
    mltoken("status").ok()
    with Varlink(home.socket) as v:
        v.send("GetToken", {"profile": "p"}, oneway=True)
        v.call("org.varlink.service.GetInfo")
        assert v.error("GetToken", profile="p", minValid=99999999).name
    assert not lines(setup)


def test_log_without_a_journal_says_what_to_do(mltoken):
    if os.path.exists("/run/systemd/journal/socket"):
        mltoken("log", "surely-no-such-profile").ok()
        return
    assert "--foreground" in mltoken("log").failed(3)


def test_log_asks_for_sensible_things(mltoken):
    assert "-n" in mltoken("log", "-n", "0").failed(2)
    assert "time" in mltoken("log", "--since", "x" * 65).failed(2)
    assert "64" in mltoken("log", "x" * 65).failed(2)
    mltoken("log", "--since", "no such time").failed(1)
