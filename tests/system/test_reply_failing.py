"""Memory runs out while a reply is made: then it is the whole reply, an error or the connection's end, and never one that lacks
something."""

import contextlib

import pytest

from failing import Failing
from harness import PATIENCE, Varlink, VarlinkError, service
from test_pam_import_failing import MALLOC, each_number

SERVICE = "org.varlink.service"
CALLS = {
    "Status": ("Status", {}), "List": ("List", {}), "ListSecrets": ("ListSecrets", {"profile": "p"}), "Show": ("Show", {"profile": "p"}),
    "GetInfo": (SERVICE + ".GetInfo", {}), "an interface": (SERVICE + ".GetInterfaceDescription", {"interface": "org.mltoken.agent"}),
    "no such profile": ("GetToken", {"profile": "none"}), "no such interface": (SERVICE + ".GetInterfaceDescription", {"interface": "x"}),
    "a wrong parameter": ("Verify", {"jwt": 7}), "invalid": ("GetToken", {"profile": "bad"}), "no secret": ("GetToken", {"profile": "q"}),
    "no sign-in": ("GetToken", {"profile": "me"}),
}


def shape(value):
    """All that it has, whatever it says."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    return [shape(member) for member in value] if isinstance(value, list) else type(value).__name__


def ask(socket, method, parameters):
    """Every reply's shape; None: the connection ended, or there was no memory for it, by its own word."""
    replies = []
    with Varlink(socket, timeout=PATIENCE) as varlink:
        varlink.send(method, parameters, **({"more": True} if method == "List" else {}))
        while not replies or replies[-1].get("continues"):
            replies.append(varlink.receive())
    last = replies[-1]
    if last.get("error", "").endswith(".Busy"):
        assert last["parameters"]["reason"], last
        return None
    return shape(replies), last.get("error"), last.get("parameters")


@pytest.mark.parametrize("case", CALLS)
def test_a_reply_is_whole_or_none(authority, home, start_agent, case):
    secret = service(authority, home)
    home.config({"p": {**secret, "allow": "/bin/true, /bin/false"} if case == "List" else secret, "bad": {**secret, "grant": "magic"},
                 "q": {**secret, "client_secret": "env:NOT_THERE"},
                 "me": {"grant": "device_code", "authority": authority.oidc, "client_id": "device"}})
    failing = Failing(home.stores(), "mltoken-agent-main")
    agent = start_agent()
    whole, error, _ = ask(home.socket, *CALLS[case])
    assert ask(home.socket, *CALLS[case])[0] == whole
    ends = []

    def is_whole(said):
        """What could not be found out for want of memory is told by other words, and where."""
        if case == "ListSecrets" and not said[1]:
            for secret in said[0][0]["parameters"]["secrets"]:
                secret.pop("reason", None)
        return said[0] == whole or (said[1] != error and said[2]["reason"])

    def once(number):
        failing.fail("malloc", number)
        ends.append(None)
        with contextlib.suppress(EOFError, ConnectionResetError, BrokenPipeError, VarlinkError):
            ends[-1] = ask(home.socket, *CALLS[case])
        counted = failing.off()
        assert ends[-1] is None or is_whole(ends[-1]), (number, ends[-1])
        assert agent.alive(), agent.log()
        failing.map[-4:] = counted.to_bytes(4, "little")

    last = each_number(failing, "malloc", once)
    assert ends[-1] and ends[-1][0] == whole, "without a failure it goes well"
    assert not MALLOC or (last > 10 and None in ends)
