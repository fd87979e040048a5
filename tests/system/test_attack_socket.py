"""Garbage on the socket: each gets a clear error or a closed connection, and everybody else is still served."""

import json
import random
import socket
import threading

import pytest
from attack import call, gone, service, serves
from harness import INTERFACE, Varlink, VarlinkError, wait_until

TOKEN = call("GetToken", profile="p")
LIMIT_REQUEST = 64 * 1024


@pytest.fixture
def served(authority, home, start_agent):
    home.config({"p": service(authority, home)})
    agent = start_agent()
    serves(home)
    yield agent
    assert agent.alive(), agent.log()
    assert serves(home)


def ask(home, data):
    """Sends bytes; the reply, or None when the agent closed."""
    with Varlink(home.socket) as v:
        try:
            v.raw(data)
            return v.receive()
        except (EOFError, ConnectionResetError, BrokenPipeError):
            return None


def test_random_bytes(served, home):
    rng = random.Random(20261)
    for _ in range(300):
        with Varlink(home.socket) as v:
            v.raw(rng.randbytes(rng.randrange(1, 4000)) + b"\0")
            for reply in filter(None, gone(v).split(b"\0")):
                assert "error" in json.loads(reply)


def test_mutations_of_a_call(served, home):
    """Each byte of a good call changed: an answer that is JSON, or a closed connection, never silence."""
    rng = random.Random(7)
    message = b'{"method":"org.mltoken.agent.GetToken","parameters":{"profile":"p","minValid":1,"scopes":["a"],"refresh":false}}'
    for at in range(len(message)):
        for byte in rng.sample(range(1, 256), 4):
            data = message[:at] + bytes([byte]) + message[at + 1:] + b"\0"
            reply = ask(home, data)
            assert reply is None or "error" in reply or "parameters" in reply


def test_each_cut_of_a_call(served, home):
    """Split at each byte: the same answer. Cut at each byte: no answer, no harm."""
    for at in range(1, len(TOKEN)):
        with Varlink(home.socket) as v:
            v.raw(TOKEN[:at])
            v.raw(TOKEN[at:])
            assert v.reply()["token"]["profile"] == "p"
        with Varlink(home.socket) as v:
            v.raw(TOKEN[:at])
            v.socket.shutdown(socket.SHUT_WR)
            assert gone(v) == b""


@pytest.mark.parametrize("data", [
    b"\0", b"\0" * 5000, b" \0", b"{}\0", b"[]\0", b"null\0", b"1\0", b"\"x\"\0", b"{\0", b"}\0", b"{\"method\":}\0",
    b"{\"method\":1}\0", b"{\"method\":null}\0", b"{\"method\":[]}\0", b"{\"method\":\"org.mltoken.agent.Status\"}x\0",
    b"{'method':'org.mltoken.agent.Status'}\0", b"{\"method\":\"org.mltoken.agent.Status\",}\0",
    b"\xef\xbb\xbf{\"method\":\"org.mltoken.agent.Status\"}\0", b"{\"method\":\"org.mltoken.agent.Status\"} /* */\0",
    b"{\"method\":\"org.mltoken.agent.Status\xff\"}\0",
    b"{\"method\":\"org.mltoken.agent.Status\\u0000\"}\0", b"{\"method\":\"org.mltoken.agent.Status\\n\"}\0",
    b"{\"method\":\"org.mltoken.agent.Status\n\"}\0", b"{\"method\":\"org.mltoken.agent.Status\",\"parameters\":[]}\0",
    b"{\"method\":\"org.mltoken.agent.Status\",\"parameters\":\"x\"}\0",
    b"{\"method\":\"org.mltoken.agent.Status\",\"parameters\":1}\0",
    b"{\"method\":\"org.mltoken.agent.Status\",\"more\":1}\0", b"{\"method\":\"org.mltoken.agent.Status\",\"more\":\"true\"}\0",
    b"{\"method\":\"org.mltoken.agent.Status\",\"oneway\":{}}\0", b"{\"method\":NaN}\0", b"{\"method\":Infinity}\0",
    b"{\"method\":\"" + b"m" * 300 + b"\"}\0", b"{" * 60000 + b"\0", b"[" * 60000 + b"\0", b"{\"a\":" * 10000 + b"\0",
    b"x" * (1 << 20), b"\xff" * 70000 + b"\0", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n\0",
], ids=lambda data: repr(data[:48]))
def test_garbage_closes(served, home, data):
    with Varlink(home.socket) as v:
        try:
            v.raw(data)
            v.raw(TOKEN)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert gone(v) == b""


@pytest.mark.parametrize("method,error", [
    ("", "InterfaceNotFound"), (".", "InterfaceNotFound"), ("x", "InterfaceNotFound"), ("..", "InterfaceNotFound"),
    ("org.mltoken.agent", "InterfaceNotFound"), ("org.mltoken.agent.", "MethodNotFound"),
    ("org.mltoken.agent.gettoken", "MethodNotFound"), ("org.mltoken.agent.GetTokenX", "MethodNotFound"),
    ("org.mltoken.agentX.GetToken", "InterfaceNotFound"), ("org.varlink.service.Nope", "MethodNotFound"),
    ("%s%n%s%n", "InterfaceNotFound"), ("é.è", "InterfaceNotFound"), ("\ud800.X", "InterfaceNotFound"), ("a." * 127 + "b", "InterfaceNotFound"),
])
def test_unknown_methods(served, home, method, error):
    reply = ask(home, json.dumps({"method": method}).encode() + b"\0")
    assert reply["error"] == "org.varlink.service." + error


WRONG = [None, True, 0, -1, 1.5, 1e300, 2**63, -2**63, 2**64, "", "x", "x" * 9000, "a\0b", "a\nb", "\x1b[2J", "\x7f",
         [], [1], [None], [[]], ["x"] * 65, ["a b"], ["x" * 513], {}, {"a": 1}]
MEMBERS = {"GetToken": ("profile", "scopes", "resource", "audience", "claims", "minValid", "refresh", "application"),
           "Watch": ("profile",), "Login": ("profile", "policy", "claims", "switchAccount", "application"),
           "Logout": ("profile", "all"), "Show": ("profile", "remote"), "Verify": ("jwt", "profile", "audience"),
           "ListSecrets": ("profile",), "List": ("profile",), "Status": ("profile",)}


@pytest.mark.parametrize("method", MEMBERS)
def test_wrong_types(served, home, authority, method):
    """Every member with every wrong value: one reply each, which names the member when it is the fault."""
    typed = {"profile": str, "resource": str, "audience": str, "claims": str, "application": str, "policy": str,
             "jwt": str, "scopes": list, "minValid": int, "refresh": bool, "switchAccount": bool, "all": bool,
             "remote": bool}
    for member in MEMBERS[method]:
        for value in WRONG:
            if method == "Logout" and value is True:
                continue
            with Varlink(home.socket) as v:
                base = {"profile": "p"} if "profile" in MEMBERS[method] else {}
                v.send(method, {**base, member: value}, more=True)
                reply = v.receive()
                wrong_type = value is not None and (type(value) is not typed[member])
                control = isinstance(value, str) and any(c < " " or c == "\x7f" for c in value)
                if method not in ("List", "Status") and (wrong_type or control):
                    assert reply["error"] == "org.varlink.service.InvalidParameter", (member, value, reply)
                    assert reply["parameters"]["parameter"] == member


def test_member_names(served, home):
    for name in ("", "x", "\n", "PROFILE", "é", "%n%s", "x" * 60000, "\x01" * 10000, "\"" * 30000):
        with Varlink(home.socket) as v:
            error = v.error("GetToken", **{"profile": "p", name: 1})
        assert error.full == "org.varlink.service.InvalidParameter"
        assert error.parameters["parameter"] == name
    for name in ("\0", "profile\0x"):  # by C string it would read as another
        with Varlink(home.socket) as v:
            v.send("GetToken", {"profile": "p", name: 1})
            assert v.closed()


@pytest.mark.parametrize("length,whole", [(LIMIT_REQUEST - 1, True), (LIMIT_REQUEST, True), (LIMIT_REQUEST + 1, False)])
@pytest.mark.parametrize("parts", [1, 3, 64])
def test_the_longest_call(served, home, length, whole, parts):
    head, tail = b'{"method":"org.mltoken.agent.Status","x":"', b'"}'
    data = head + b"y" * (length - len(head) - len(tail)) + tail + b"\0"
    assert len(data) == length + 1
    with Varlink(home.socket) as v:
        try:
            for i in range(parts):
                v.raw(data[len(data) * i // parts:len(data) * (i + 1) // parts])
            v.raw(TOKEN)
        except (BrokenPipeError, ConnectionResetError):
            pass
        if whole:
            assert "counters" in v.reply()
            assert v.reply()["token"]["profile"] == "p"
        else:
            assert gone(v) == b""


@pytest.mark.parametrize("depth,whole", [(7, True), (8, True), (9, False), (30000, False)])
def test_the_deepest_call(served, home, depth, whole):
    inner = b"[" * (depth - 2) + b"]" * (depth - 2)
    reply = ask(home, b'{"method":"org.mltoken.agent.GetToken","parameters":{"scopes":' + inner + b"}}\0")
    assert (reply is not None) == whole
    if whole:
        assert reply["error"] == "org.varlink.service.InvalidParameter"


def test_flags(served, home):
    """oneway is not answered, whatever becomes of the call; `more` where there is no more changes nothing."""
    with Varlink(home.socket) as v:
        for method, parameters in (("GetToken", {"profile": "p"}), ("GetToken", {"profile": "nobody"}), ("Nope", {}),
                                   ("Status", {}), ("List", {}), ("Login", {"profile": "p"}), ("Logout", {"bad": 1}),
                                   ("Show", {"profile": "p"}), ("Verify", {"jwt": "x.y.z", "profile": "p"})):
            v.send(method, parameters, oneway=True, more=True)
        v.send("Status")
        assert "pid" in v.reply()
        for method in ("GetToken", "Show"):
            v.send(method, {"profile": "p"}, more=True)
            reply = v.receive()
            assert not reply.get("continues") and "parameters" in reply
        v.send("Watch", {"profile": "p"}, more=False)
        with pytest.raises(VarlinkError) as error:
            v.reply()
        assert error.value.name == "ExpectedMore"


def test_oneway_hits_and_others_do_not_mix(served, home):
    """A call that was answered once must not be silenced, nor a silent one answered, by what was remembered of it."""
    loud = TOKEN
    silent = TOKEN[:-2] + b',"oneway":true}\0'
    with Varlink(home.socket) as v:
        v.raw((silent + loud) * 500)
        for _ in range(500):
            assert v.reply()["token"]["profile"] == "p"
        v.send("Status")
        assert "pid" in v.reply()


def test_thousands_of_calls_in_one_write(served, home):
    good, unknown, bad = TOKEN, call("GetToken", profile="nobody"), call("Nope")
    with Varlink(home.socket) as v:
        data = (good + unknown + bad) * 2000
        writer = threading.Thread(target=v.raw, args=(data,))
        writer.start()
        for _ in range(2000):
            assert "parameters" in v.receive()
            assert v.receive()["error"].endswith(".NoSuchProfile")
            assert v.receive()["error"].endswith(".MethodNotFound")
        writer.join()


def test_a_good_call_before_garbage_is_answered(served, home):
    with Varlink(home.socket) as v:
        v.raw(TOKEN + b"garbage\0" + TOKEN)
        assert v.reply()["token"]["profile"] == "p"
        assert gone(v) == b""


def test_half_closed_clients_get_all_their_answers(served, home, authority):
    """nc and socat close their half when their input ends. Also when the answer is long, or comes late."""
    with Varlink(home.socket) as v:
        v.raw(TOKEN * 300)
        v.socket.shutdown(socket.SHUT_WR)
        assert gone(v).count(b"\0") == 300
    fault = authority.fault("token", hold=True)
    with Varlink(home.socket) as v:
        v.raw(call("GetToken", profile="p", scopes=["late"]) + TOKEN)
        v.socket.shutdown(socket.SHUT_WR)
        wait_until(lambda: fault.hits)
        authority.clear_faults()
        assert gone(v).count(b"\0") == 2


def test_get_sock_is_no_way_around(served, home):
    """Bytes that agent.sock has answered are not answered on get.sock because they are remembered."""
    message = call("Status")
    for _ in range(3):
        with Varlink(home.socket) as v:
            v.raw(message)
            v.reply()
        with Varlink(home.get_socket) as v:
            v.raw(message)
            with pytest.raises(VarlinkError) as error:
                v.reply()
            assert error.value.full == INTERFACE + ".Denied"
