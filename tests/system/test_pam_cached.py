"""cached=yes at a real sshd: a key and a live agent open the shell with no code; an agent that lies, and an agent without a key,
open nothing."""

import base64
import json
import os
import re
import time

import pytest
from harness import wait_until
from pam import ISSUER, PEOPLE, AgentOf, Person, claims_of, configure, put_in_stack, spool_is_sound

BOTH = "AuthenticationMethods publickey,keyboard-interactive:pam"
KEY = "SSH_AUTH_INFO_0=publickey ssh-ed25519 AAAAC3Nz"


@pytest.fixture(autouse=True)
def with_stack(place, company):
    """Access tokens that are for the client itself, as an authority may give them out."""
    company.authority.set_client("device", audience="device")
    configure(place)
    put_in_stack(place, "sshd", args="cached=yes")


@pytest.fixture
def agent_of(place):
    started = []

    def start(user, **more):
        started.append(AgentOf(place, user))
        return started[-1].start(**more)

    yield start
    for agent in started:
        agent.stop()


def make_key(place, user):
    path, uid = f"/root/cached-{user}", PEOPLE[user]
    if not place.exists(path):
        place.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path).ok()
    os.makedirs(place.path(f"/home/{user}/.ssh"), 0o700, exist_ok=True)
    os.chown(place.path(f"/home/{user}/.ssh"), uid, uid)
    place.write(f"/home/{user}/.ssh/authorized_keys", place.read(path + ".pub"), mode=0o600, owner=uid)
    return path


def by_key(place, people, user="mlt-alice", *options):
    return people.ssh(user, "-i", make_key(place, user), *options, method="publickey,keyboard-interactive")


def codes(company):
    return company.authority.count("device")


def renewals(company):
    return company.authority.count("token", grant="refresh_token")


def log_has(place, pattern):
    wait_until(lambda: re.search(pattern, place.log.text()))
    return True


def signed_in(place, people, company, user="mlt-alice", person="alice"):
    """With a code, as the first time; the agent has the tokens then."""
    by_key(place, people, user).sign_in(person).shell().leave()
    assert codes(company) == 1 and spool_is_sound(place) == []


# ---- it opens ----

def test_a_key_and_a_live_agent_open_the_shell_with_no_code(place, company, people, agent_of):
    put_in_stack(place, "sshd", args="cached=yes export=company:COMPANY_TOKEN")
    agent_of("mlt-alice")
    place.start_sshd(BOTH)
    signed_in(place, people, company)
    assert log_has(place, r"no cached token \(refused\)"), "there was none"
    before = renewals(company)
    alice = by_key(place, people).shell()
    assert alice("id -un") == "mlt-alice" and "nter" not in alice.shown and codes(company) == 1
    assert renewals(company) == before + 1, "fetched for this very attempt"
    token = alice('echo "$COMPANY_TOKEN"')
    assert claims_of(token)["sub"] == "sub-alice-1"
    assert alice("env | grep -c HANDOFF") == "0" and spool_is_sound(place) == []
    assert claims_of(alice(f"XDG_RUNTIME_DIR=/run/user/{PEOPLE['mlt-alice']} mltoken get company"))["sub"] == "sub-alice-1"
    assert log_has(place, "signed in by a key and a cached token")
    alice.leave()
    assert by_key(place, people).shell().leave() is not None and renewals(company) == before + 2


def test_no_terminal_is_needed(place, company, people, agent_of):
    agent_of("mlt-alice")
    place.start_sshd(BOTH)
    signed_in(place, people, company)
    alice = people.ssh("mlt-alice", "-i", make_key(place, "mlt-alice"), method="publickey,keyboard-interactive", command=["id", "-un"])
    assert "mlt-alice" in alice.ended() and alice.child.exitstatus == 0 and codes(company) == 1


# ---- it does not ----

@pytest.mark.parametrize("methods", [None, "AuthenticationMethods keyboard-interactive:pam",
                                     "AuthenticationMethods keyboard-interactive:pam,publickey"])
def test_a_live_agent_and_no_key(place, company, people, agent_of, methods):
    """Refused, and the agent is not even asked."""
    agent_of("mlt-alice")
    place.start_sshd(BOTH)
    signed_in(place, people, company)
    before = renewals(company)
    place.start_sshd(*([methods] if methods else []))
    people.ssh("mlt-alice", "-o", "SetEnv=SSH_AUTH_INFO_0=publickey x").refused()
    by_key(place, people, "mlt-alice", "-o", "PubkeyAuthentication=no").refused()
    assert log_has(place, "accepted no key")
    assert codes(company) == 1 and renewals(company) == before
    assert len(re.findall("Accepted keyboard-interactive", place.log.text())) == 1


def test_a_key_of_somebody_else(place, company, people, agent_of):
    """bob's key is none of alice's: sshd says no before the module is asked."""
    agent_of("mlt-alice")
    place.start_sshd(BOTH)
    signed_in(place, people, company)
    people.ssh("mlt-alice", "-i", make_key(place, "mlt-bob"), method="publickey,keyboard-interactive").refused()
    assert codes(company) == 1


def try_pam(place, service, user="mlt-alice", *operations, env=KEY, **more):
    """An application that says what sshd would: whether it was let in."""
    words = ["-E", env] if env else []
    return place.run("pamtester", *words, service, user, *(operations or ("authenticate", "acct_mgmt")), **more)


@pytest.mark.parametrize("service", ["su", "su-l", "sudo", "polkit-1", "login"])
def test_other_services_never(place, company, people, agent_of, service):
    agent_of("mlt-alice")
    place.start_sshd(BOTH)
    signed_in(place, people, company)
    try_pam(place, "sshd").ok()
    before = renewals(company)
    own = place.read("/etc/pam.d/" + service) if place.exists("/etc/pam.d/" + service) else None
    place.write("/etc/pam.d/" + service, place.read("/etc/pam.d/sshd"))
    try:
        assert try_pam(place, service).code != 0
    finally:
        if own is None:
            os.unlink(place.path("/etc/pam.d/" + service))
        else:
            place.write("/etc/pam.d/" + service, own)
    assert log_has(place, "is for sshd alone")
    assert try_pam(place, "sshd", env=None).code != 0, "nor there without a key"
    assert codes(company) == 1 and renewals(company) == before


WITHOUT = ["no agent", "no sign-in", "the sign-in was ended", "an opaque token", "another audience", "another profile", "a stopped agent", "no group"]


@pytest.mark.parametrize("how", WITHOUT)
def test_who_has_no_good_token_signs_in_with_a_code(place, company, people, agent_of, how):
    if how != "no agent":
        agent_of("mlt-alice")
    place.start_sshd(BOTH)
    if how not in ("no agent", "no sign-in"):
        signed_in(place, people, company)
    before = codes(company)
    if how == "the sign-in was ended":
        company.authority.revoke_refresh_tokens()
    if how == "an opaque token":
        company.authority.set_client("device", token_format="opaque")
    if how == "another audience":
        company.authority.set_client("device", audience="https://elsewhere.example")
    if how == "another profile":
        put_in_stack(place, "sshd", args="cached=yes cached_profile=other")
    if how == "no group":
        configure(place, require_group="g-one")
        put_in_stack(place, "sshd", args="cached=yes")
        company.authority.set_client("device", audience="device", id_token_claims={"groups": ["g-one"]})
    if how == "a stopped agent":
        place.kill("mltoken-agent-main", 19)
        place.kill("mltoken-agent", 19)
    alice = by_key(place, people)
    alice.sign_in().shell()
    assert codes(company) == before + 1
    assert not place.processes("mltoken-pam-import") and not place.processes("mltoken-pam-login")
    assert log_has(place, "no cached token|does not let in")


def test_an_agent_in_which_another_person_is_signed_in(place, company, people, agent_of):
    """alice's tokens in bob's agent are not bob."""
    agent_of("mlt-bob")
    place.start_sshd(BOTH)
    login = place.popen("mltoken", "login", "company", user="mlt-bob", env={"HOME": "/home/mlt-bob", "XDG_RUNTIME_DIR": "/run/user/2002"}, text=True)
    company.decide(0, "alice")
    assert login.wait(60) == 0
    bob = by_key(place, people, "mlt-bob")
    bob.sign_in("alice")
    bob.refused()
    assert log_has(place, r"the cached token does not let in: .*sub-alice-1") and codes(company) == 2
    assert not re.search("Accepted keyboard", place.log.text())


def test_the_authority_is_down(place, company, people, agent_of):
    agent_of("mlt-alice")
    place.start_sshd(BOTH)
    signed_in(place, people, company)
    company.down()
    rest = by_key(place, people).refused()
    assert "cannot be reached" in rest and not re.search("assword: ?$", rest)


# ---- an agent of the same person that lies ----

ROGUE = """
import base64, json, os, socket, sys, time
path, what, tokens = sys.argv[1], sys.argv[2], json.load(open(sys.argv[3]))
os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
s = socket.socket(socket.AF_UNIX); s.bind(path); os.chmod(path, 0o666); s.listen(8)
print(flush=True)
held = []
while True:
    c, _ = s.accept()
    c.recv(65536)
    if what == "stall":
        held.append(c)
        continue
    if what == "dribble":
        try:
            while True:
                c.sendall(b" "); time.sleep(0.2)
        except OSError:
            continue
    if what == "bytes":
        try:
            for _ in range(1000):
                c.sendall(b"x" * 10000)
        except OSError:
            pass
    elif what != "die":
        token = tokens[str(int(time.time()))]
        c.sendall(json.dumps({"parameters": {"token": {"value": token, "type": "Bearer"}}}).encode() + b"\\0")
    c.close()
"""


def rogue(place, company, what="token", user="mlt-alice", forge=None, alg="RS256", shift=0, fixed=None, header=None, issuer=None, **claims):
    """An agent that gives out a token that was signed in the very second of the request, changed by so much."""
    now = int(time.time())

    def mint(at):
        return company.authority.mint({"iss": ISSUER, "client_id": "device", "iat": at + shift, "nbf": now - 600, "exp": now + 3600, **claims},
                                      alg=alg, forge=forge, header=header, issuer=issuer)

    tokens = {}
    if what == "token":
        tokens = {str(at): mint(at) if fixed is None else fixed for at in range(now, now + 150)}
    uid = PEOPLE[user]
    place.write(f"/home/{user}/tokens", json.dumps(tokens), mode=0o600, owner=uid)
    process = place.popen("python3", "-c", ROGUE, f"/run/user/{uid}/mltoken/agent.sock", what, f"/home/{user}/tokens", user=user)
    assert process.stdout.readline() == "\n", process.stderr.read()
    return process


def none_alg(**claims):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()
    now = int(time.time())
    return part({"alg": "none", "typ": "JWT"}) + "." + part({"iss": ISSUER, "sub": "sub-alice-1", "aud": "device", "client_id": "device",
                                                             "iat": now, "exp": now + 3600, **claims}) + "."


def test_such_an_agent_is_as_good_as_another_while_it_tells_the_truth(place, company, people):
    """What all the lies below are measured by. It opens nothing that the key and a sign-in of that person would not."""
    rogue(place, company)
    try_pam(place, "sshd").ok()
    place.start_sshd(BOTH)
    by_key(place, people).shell().leave()
    assert codes(company) == 0


LIES = {
    "another person's": {"sub": "sub-bob-2"},
    "nobody's": {"sub": None},
    "issued a minute before": {"shift": -60},
    "issued six seconds before and more": {"shift": -20},
    "issued in a minute": {"shift": 60},
    "without iat": {"iat": None},
    "iat as a text": {"iat": "now"},
    "over": {"exp": 1000},
    "for another client": {"aud": "someone-else"},
    "of another client": {"client_id": "someone-else"},
    "of another client by azp": {"azp": "someone-else"},
    "of another issuer": {"iss": "https://evil.example"},
    "with a broken signature": {"forge": "bad_signature"},
    "unsigned": {"fixed": none_alg()},
    "unsigned, with a full stop too many": {"fixed": none_alg() + "."},
    "garbage": {"fixed": "x" * 100},
    "three dots": {"fixed": "..."},
    "long garbage": {"fixed": "e30." * 20000},
    "with blanks": {"fixed": "a b"},
    "no text": {"fixed": 7},
    "empty": {"fixed": ""},
    "10 MB": {"what": "bytes"},
    "none: it dies": {"what": "die"},
}


@pytest.mark.parametrize("name", LIES)
def test_a_rogue_agent_opens_nothing(place, company, name):
    """A code is shown as ever, and who does not sign in with it is not let in."""
    rogue(place, company, **LIES[name])
    alice = Person(company, place.terminal("pamtester", "-E", KEY, "sshd", "mlt-alice", "authenticate", "acct_mgmt"))
    alice.sign_in(deny=True)
    alice.refused()
    assert codes(company) == 1 and log_has(place, "no cached token|does not let in")
    assert not place.processes("mltoken-pam-import")


@pytest.mark.parametrize("what", ["stall", "dribble"])
def test_a_rogue_agent_that_stalls(place, company, people, what):
    """Ends at its deadline; then the code, in the same attempt."""
    rogue(place, company, what)
    place.start_sshd(BOTH)
    alice = by_key(place, people)
    alice.sign_in().shell()
    assert codes(company) == 1 and log_has(place, r"no cached token \(timeout\)")
    assert not place.processes("mltoken-pam-import")


def test_alices_token_for_bob(place, company, people):
    """A rogue agent of bob's that has it from her, fresh and well signed."""
    rogue(place, company, user="mlt-bob")
    place.start_sshd(BOTH)
    bob = by_key(place, people, "mlt-bob")
    bob.sign_in("alice")
    bob.refused()
    assert not re.search("Accepted keyboard", place.log.text()) and log_has(place, r"the cached token does not let in: .*sub-alice-1")
