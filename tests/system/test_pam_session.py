"""From the sign-in to the person's own agent: what the session is given, and what nobody else can make of it."""

import os
import re
import time

import pytest
from harness import wait_until
from pam import PEOPLE, SESSION, SPOOL, AgentOf, claims_of, configure, profile, put_in_stack, section, spool_is_sound, write_config

GET = "mltoken get company"
HANDLE = re.compile(r"^[0-9a-f]{32}$")


@pytest.fixture(autouse=True)
def with_stack(place, company):
    configure(place)
    put_in_stack(place, "sshd", "su", "login")


@pytest.fixture
def agent_of(place):
    """Starts the agent of a person: agent_of("mlt-alice")."""
    started = []

    def start(user, **more):
        started.append(AgentOf(place, user))
        return started[-1].start(**more)

    yield start
    for agent in started:
        agent.stop()


def with_runtime(person, user):
    """What pam_systemd would have set."""
    person(f"export XDG_RUNTIME_DIR=/run/user/{PEOPLE[user]} MLTOKEN_NO_AUTOSTART=1")
    return person


def log_has(place, pattern):
    wait_until(lambda: re.search(pattern, place.log.text()))
    return True


def test_get_in_the_fresh_shell_needs_no_second_sign_in(place, company, people, agent_of):
    agent_of("mlt-alice")
    place.start_sshd()
    alice = with_runtime(people.ssh("mlt-alice").sign_in().shell(), "mlt-alice")
    token = alice(GET)
    assert claims_of(token)["sub"] == "sub-alice-1"
    assert company.authority.count("device") == 1 and company.authority.count("token", grant="refresh_token") == 0
    assert alice("env | grep -c HANDOFF") == "0"
    assert spool_is_sound(place) == []
    second = with_runtime(people.ssh("mlt-alice").sign_in().shell(), "mlt-alice")
    second(GET)
    assert alice("mltoken status company --json").count("alice@example.org") >= 1


def test_the_refresh_token_came_along(place, company, people, agent_of):
    company.authority.set_client("device", token_lifetime=1)
    agent_of("mlt-alice")
    place.start_sshd()
    alice = with_runtime(people.ssh("mlt-alice").sign_in().shell(), "mlt-alice")
    time.sleep(1.2)
    company.authority.set_client("device", token_lifetime=3600)
    assert claims_of(alice(GET))["sub"] == "sub-alice-1"
    assert company.authority.count("token", grant="refresh_token") >= 1 and company.authority.count("device") == 1


def test_login_at_a_console(place, company, people, agent_of):
    agent_of("mlt-alice")
    alice = people.login("mlt-alice")
    alice.sign_in()
    with_runtime(alice.shell(), "mlt-alice")
    assert claims_of(alice(GET))["sub"] == "sub-alice-1" and company.authority.count("device") == 1


def test_su_in_the_session_of_another(place, company, people, agent_of):
    """The tokens go to the agent of the target, whatever the caller's environment says."""
    alices, _ = agent_of("mlt-alice"), agent_of("mlt-bob")
    bob = people.su("mlt-bob", "mlt-alice", "-", env={"XDG_RUNTIME_DIR": "/run/user/2001", "MLTOKEN_SOCK": "/run/user/2001/mltoken/agent.sock"})
    with_runtime(bob.sign_in("bob").shell(), "mlt-bob")
    assert claims_of(bob(GET))["sub"] == "sub-bob-2"
    assert place.run("mltoken", "get", "company", user="mlt-alice", env=environment("mlt-alice")).code == 4, "nothing came to alice's"
    assert alices.process.poll() is None


def environment(user):
    return {"HOME": f"/home/{user}", "XDG_RUNTIME_DIR": f"/run/user/{PEOPLE[user]}", "MLTOKEN_NO_AUTOSTART": "1"}


def test_no_agent_is_told_in_one_line_and_keeps_nobody_out(place, people):
    place.start_sshd()
    alice = people.ssh("mlt-alice").sign_in().shell()
    assert alice("id -un") == "mlt-alice"
    assert log_has(place, "no_agent")
    assert re.search(r"mltoken login", alice.shown), "and what to do"
    assert len(re.findall("mltoken: ", alice.shown)) == 1
    assert spool_is_sound(place) == [], "the record is used up"


def test_an_agent_is_started_where_that_is_wanted(place, company, people):
    configure(place, handoff_fallback="start")
    put_in_stack(place, "su")
    write_config(place, "mlt-bob", section("profile company", profile()))
    bob = people.su("mlt-bob", "mlt-alice", "-", env={"XDG_RUNTIME_DIR": "/run/user/2001"}).sign_in("bob").shell()
    with_runtime(bob, "mlt-bob")
    assert claims_of(bob(GET))["sub"] == "sub-bob-2" and company.authority.count("device") == 1
    agents = place.processes("mltoken-agent") + place.processes("mltoken-agent-main")
    assert agents
    for pid in agents:
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            assert re.search(r"^Uid:\t2002\t2002\t2002\t2002$", f.read(), re.M)
        with open(f"/proc/{pid}/environ", "rb") as f:
            assert b"2001" not in f.read(), "nothing of the caller's"
    bob.leave()


def test_an_agent_that_hangs_holds_up_nobody(place, company, people, agent_of):
    """3 s in all."""
    agent_of("mlt-alice")
    place.start_sshd()
    place.kill("mltoken-agent-main", 19)  # SIGSTOP
    place.kill("mltoken-agent", 19)
    alice = people.ssh("mlt-alice")
    alice.sign_in()
    alice.shell(30)
    assert alice("id -un") == "mlt-alice" and not place.processes("mltoken-pam-import")
    assert log_has(place, r"(?i)time")


def test_a_profile_that_is_not_the_companys_takes_nothing(place, company, people, agent_of):
    """Another client id there: Denied, told, and nobody is kept out."""
    company.authority.add_client("another", grants=("device_code", "refresh_token"))
    agent_of("mlt-alice", profiles={"company": profile("another")})
    place.start_sshd()
    alice = with_runtime(people.ssh("mlt-alice").sign_in().shell(), "mlt-alice")
    assert re.search("did not take", alice.shown)
    assert alice(GET + "; echo $?").endswith("4")
    assert spool_is_sound(place) == []


ROGUE = """
import os, socket, sys, time
path = sys.argv[1]
os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
s = socket.socket(socket.AF_UNIX); s.bind(path); os.chmod(path, 0o666); s.listen(8)
print(flush=True)
while True:
    c, _ = s.accept()
    data = c.recv(65536)
    open(sys.argv[2], "ab").write(data)
    c.sendall(eval(sys.argv[3])); c.close()
"""


def rogue(place, path, uid, answer, heard):
    process = place.popen("python3", "-c", ROGUE, path, heard, answer, user=uid)
    process.stdout.readline()
    return process


def test_an_agent_of_somebody_else_is_given_nothing(place, company, people):
    """bob sits where alice's agent should be: the server's uid is looked at."""
    os.makedirs(place.path("/run/user/2001/mltoken"))
    os.chown(place.path("/run/user/2001/mltoken"), 2002, 2002)
    os.chmod(place.path("/run/user/2001"), 0o711)
    place.write("/tmp/../home/mlt-bob/heard", "", mode=0o600, owner=2002)
    rogue(place, "/run/user/2001/mltoken/agent.sock", "mlt-bob", "b'{\"parameters\":{}}\\0'", "/home/mlt-bob/heard")
    place.start_sshd()
    alice = people.ssh("mlt-alice").sign_in().shell()
    assert alice("id -un") == "mlt-alice"
    assert place.read("/home/mlt-bob/heard") == ""
    assert log_has(place, "not handed to the agent")
    os.chmod(place.path("/run/user/2001"), 0o700)


@pytest.mark.parametrize("answer", ["b'x' * 10_000_000", "b'{\"parameters\":{\"a\":' * 100000", "b'\\0' * 100", "b'ok\\n\\0'", "b''"])
def test_a_rogue_agent_of_the_same_person_harms_nobody(place, company, people, answer):
    """It is theirs to have; sshd hears nothing of what it says."""
    place.write("/home/mlt-alice/heard", "", mode=0o600, owner=2001)
    rogue(place, "/run/user/2001/mltoken/agent.sock", "mlt-alice", answer, "/home/mlt-alice/heard")
    place.start_sshd()
    alice = people.ssh("mlt-alice").sign_in().shell(30)
    assert alice("id -un") == "mlt-alice"
    assert not place.processes("mltoken-pam-import")


# ---- the record on its way: by a root that sets the handle itself, as the other half of sshd does ----

def open_session(place, user, handle, service="sshd"):
    """Another process opens a session with this handle."""
    return place.run("pamtester", "-E", f"MLTOKEN_HANDOFF={handle}", service, user, "open_session", "close_session")


@pytest.fixture
def record(place, company, people):
    """A record that nobody has taken: a sign-in by pamtester, which opens no session. (handle, its text)"""
    done = people.pamtester("sshd", "mlt-alice", "authenticate", "acct_mgmt")
    done.sign_in()
    done.ended()
    assert done.child.exitstatus == 0, done.shown
    handle, = spool_is_sound(place)
    assert HANDLE.match(handle)
    return handle, place.read(f"{SPOOL}/{handle}")


def has_token(place, user="mlt-alice"):
    return place.run("mltoken", "get", "company", user=user, env=environment(user)).code == 0


def put_back(place, handle, text, mode=0o600, owner=0):
    return place.write(f"{SPOOL}/{handle}", text, mode=mode, owner=owner)


def test_a_record_is_good_once(place, record, agent_of):
    handle, _ = record
    agent_of("mlt-alice")
    open_session(place, "mlt-alice", handle).ok()
    assert has_token(place) and spool_is_sound(place) == []
    place.run("mltoken", "logout", "company", user="mlt-alice", env=environment("mlt-alice")).ok()
    open_session(place, "mlt-alice", handle).ok()
    assert not has_token(place)
    assert log_has(place, "taken before")


def test_a_record_of_another_user_service_boot_or_time(place, record, agent_of):
    import base64
    handle, text = record
    agent_of("mlt-alice")
    agent_of("mlt-bob")

    def encoded(value):
        return base64.urlsafe_b64encode(value.encode()).rstrip(b"=").decode()

    def changed(name, value):
        new, count = re.subn(rf"\b{name}=\S+", f"{name}={encoded(value)}", text, count=1)
        assert count == 1 and new != text
        return new

    open_session(place, "mlt-bob", handle).ok()
    assert not place.exists(f"{SPOOL}/{handle}") and not has_token(place, "mlt-bob"), "it is gone, for nothing"
    wait_until(lambda: place.log.text().count("another user, service or boot") == 1)  # the module says so, before anybody else could
    put_back(place, handle, text)
    open_session(place, "mlt-alice", handle, "login").ok()
    wait_until(lambda: place.log.text().count("another user, service or boot") == 2)
    for new in (changed("boot_id", "0" * 8 + "-0000-0000-0000-" + "0" * 12), changed("boottime_ms", "1"), changed("boottime_ms", str(2**53)),
                changed("boottime_ms", "-5"), changed("uid", "2002"), changed("version", "2"), text.replace("record ", "recor ", 1),
                text.split("\n", 1)[1], "", "\n\n", "x" * 300_000, text.replace(" uid=", " uid=MA uid=", 1)):
        put_back(place, handle, new)
        open_session(place, "mlt-alice", handle).ok()
        assert not has_token(place), new[:300]
        assert spool_is_sound(place) == []
    put_back(place, handle, text)
    open_session(place, "mlt-alice", handle).ok()
    assert has_token(place), "it was good but for those"


def test_a_file_that_is_none_of_roots(place, record, agent_of):
    handle, text = record
    agent_of("mlt-alice")
    place.write("/home/mlt-alice/mine", text, mode=0o600, owner=2001)
    os.unlink(place.path(f"{SPOOL}/{handle}"))
    for make in (lambda p: os.symlink("/home/mlt-alice/mine", p), lambda p: os.link(place.path("/home/mlt-alice/mine"), p), os.mkfifo, os.mkdir,
                 lambda p: put_back(place, handle, text, owner=2001), lambda p: put_back(place, handle, text, mode=0o644)):
        path = place.path(f"{SPOOL}/{handle}")
        try:
            make(path)
        except OSError as error:  # of another file system
            assert error.errno == 18
            continue
        start = time.monotonic()
        open_session(place, "mlt-alice", handle).ok()
        assert time.monotonic() - start < 30 and not has_token(place)
        if os.path.isdir(path):
            os.rmdir(path)
        elif os.path.lexists(path):
            os.unlink(path)


@pytest.mark.parametrize("handle", ["../../../home/mlt-alice/mine", "/home/mlt-alice/mine", "A" * 32, "0" * 31, "0" * 33, "0" * 31 + "\n", "", "." * 32])
def test_a_handle_that_is_none(place, record, agent_of, handle):
    real, text = record
    agent_of("mlt-alice")
    place.write("/home/mlt-alice/mine", text, mode=0o600, owner=0)
    open_session(place, "mlt-alice", handle).ok()
    assert not has_token(place) and place.exists("/home/mlt-alice/mine") and spool_is_sound(place) == [real]


def test_nobody_else_sees_the_spool(place, record):
    handle, _ = record
    for user in ("mlt-alice", "mlt-bob", 65534):
        assert place.run("cat", f"{SPOOL}/{handle}", user=user).code != 0
        assert place.run("ls", SPOOL, user=user).code != 0
    spool_is_sound(place)


def test_a_spool_that_somebody_else_made_is_not_used(place, company, people):
    """/run/mltoken of another owner, or open to others: no record is put there, and the sign-in is no worse for it."""
    for mode, owner in ((0o777, 0), (0o700, 2002)):
        place.reset()
        os.makedirs(place.path(SPOOL))
        os.chmod(place.path(SPOOL), mode)
        os.chown(place.path(SPOOL), owner, owner)
        alice = people.pamtester("sshd", "mlt-alice", "authenticate", "acct_mgmt")
        alice.sign_in()
        alice.ended()
        if place.listdir(SPOOL):
            assert spool_is_sound(place), "or it was put right"


def test_old_records_are_swept_at_the_next_sign_in(place, record, people, company):
    handle, _ = record
    old = time.time() - 3600
    os.utime(place.path(f"{SPOOL}/{handle}"), (old, old))
    alice = people.pamtester("sshd", "mlt-alice", "authenticate")
    alice.sign_in()
    alice.ended()
    left = spool_is_sound(place)
    assert handle not in left and len(left) == 1


def test_who_is_denied_by_account_leaves_a_record_for_the_sweep_alone(place, company, people, agent_of):
    """The account phase of another module says no: no session, no shell; the record is of no use to anybody."""
    agent_of("mlt-alice")
    text = place.read("/etc/pam.d/sshd")
    place.write("/etc/pam.d/sshd", text.replace("@include common-account", "account required pam_deny.so", 1))
    place.start_sshd()
    people.ssh("mlt-alice").sign_in().refused()
    left = spool_is_sound(place)
    assert len(left) <= 1 and not has_token(place)
    for handle in left:
        old = time.time() - 3600
        os.utime(place.path(f"{SPOOL}/{handle}"), (old, old))
    place.write("/etc/pam.d/sshd", text)
    people.ssh("mlt-alice").sign_in().shell()
    assert spool_is_sound(place) == []


WAITS = "/usr/local/bin/mlt-waits"


@pytest.fixture
def killed(place, people):
    """A record whose session never came: the monitor of an ssh connection was killed between auth and session."""
    text = place.read("/etc/pam.d/sshd")
    place.write(WAITS, "#!/bin/sh\ntouch /run/mlt-waits\nread -r never < /dev/zero\n", mode=0o755)
    assert text.count(SESSION) == 1
    place.write("/etc/pam.d/sshd", text.replace(SESSION, f"session required pam_exec.so quiet {WAITS}\n{SESSION}"))
    place.start_sshd()
    alice = people.ssh("mlt-alice").sign_in()
    waiting, = wait_until(lambda: place.exists("/run/mlt-waits") and place.processes("mlt-waits"))
    with open(f"/proc/{waiting}/status", encoding="ascii") as f:
        monitor = int(re.search(r"^PPid:\t(\d+)$", f.read(), re.M)[1])
    assert monitor in place.processes("sshd")
    os.kill(monitor, 9)
    alice.refused()
    place.kill("mlt-waits")
    place.write("/etc/pam.d/sshd", text)
    handle, = spool_is_sound(place)
    return handle


@pytest.mark.parametrize("sweep", ["auth", "tmpfiles"])
def test_a_killed_monitor_leaves_a_record_for_the_sweep_alone(place, people, killed, agent_of, sweep):
    agent_of("mlt-alice")
    for user in ("mlt-alice", "mlt-bob", 990, 65534):
        assert place.run("cat", f"{SPOOL}/{killed}", user=user).code != 0
    if sweep == "auth":
        old = time.time() - 3600
        os.utime(place.path(f"{SPOOL}/{killed}"), (old, old))
        people.ssh("mlt-alice").sign_in().shell()
    else:
        rules = "/usr/local/lib/tmpfiles.d/mltoken.conf"
        place.run("systemd-tmpfiles", "--clean", "--prefix=/run/mltoken", rules).ok()
        assert spool_is_sound(place) == [killed], "it is new"
        assert place.read(rules).count(" 10m\n") == 1
        place.write("/run/at-once.conf", place.read(rules).replace(" 10m\n", " 0\n"))
        place.run("systemd-tmpfiles", "--clean", "--prefix=/run/mltoken", "/run/at-once.conf").ok()
        assert not has_token(place)
    assert spool_is_sound(place) == []


@pytest.mark.parametrize("user, service", [("mlt-bob", "sshd"), ("mlt-alice", "su")])
def test_nobody_else_can_use_what_a_killed_monitor_left(place, killed, agent_of, user, service):
    """Not even somebody who knows the handle, which nobody does: it is of one user and one service, and then it is gone."""
    agent_of("mlt-bob")
    agent_of("mlt-alice")
    open_session(place, user, killed, service).ok()
    assert log_has(place, "made for another user, service") and spool_is_sound(place) == []
    assert not has_token(place) and not has_token(place, "mlt-bob")
    open_session(place, "mlt-alice", killed).ok()
    assert not has_token(place)


STALLING = """
import os, socket, sys, time
path = sys.argv[1]
os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
s = socket.socket(socket.AF_UNIX); s.bind(path); s.listen(100)
print(flush=True)
kept = []
while True:
    kept.append(s.accept()[0])
    open(sys.argv[2], "a").write("x")
"""


def test_an_agent_that_stalls_at_each_of_many_logins(place, company, people):
    """Each is held up for its own three seconds; nothing piles up, and other people notice nothing."""
    logins = 6
    place.write("/home/mlt-alice/heard", "", mode=0o600, owner=2001)
    process = place.popen("python3", "-c", STALLING, "/run/user/2001/mltoken/agent.sock", "/home/mlt-alice/heard", user="mlt-alice")
    process.stdout.readline()
    place.start_sshd()
    began = time.monotonic()
    several = [people.ssh("mlt-alice") for _ in range(logins)]
    for alice in several:
        alice.sign_in()
    for alice in several:
        alice.shell(60)
        assert alice("id -un") == "mlt-alice"
    together = time.monotonic() - began
    assert place.read("/home/mlt-alice/heard") == "x" * logins
    assert place.processes("mltoken-pam-import") == [] and spool_is_sound(place) == []
    assert place.log.text().count("was not handed to the agent") + place.log.text().count("was not done in time") == logins
    bob = people.ssh("mlt-bob").sign_in("bob").shell()
    assert bob("id -un") == "mlt-bob"
    for alice in several:
        alice.leave()
    wait_until(lambda: not place.processes("mltoken-pam-import") and len(place.processes("sshd")) <= 4)
    assert together < logins * 3 + 40, together


# ---- other local users ----

def test_others_cannot_read_import_into_or_lock_the_agent(place, company, people, agent_of):
    agent_of("mlt-alice")
    place.start_sshd()
    with_runtime(people.ssh("mlt-alice").sign_in().shell(), "mlt-alice")
    os.chmod(place.path("/run/user/2001"), 0o755)  # even if somebody opens the doors
    os.chmod(place.path("/run/user/2001/mltoken"), 0o755)
    for name in ("agent.sock", "get.sock"):
        if place.exists(f"/run/user/2001/mltoken/{name}"):
            os.chmod(place.path(f"/run/user/2001/mltoken/{name}"), 0o666)
    for user in ("mlt-bob", None, 990, 65534):
        for call in ("GetToken", "Import", "Lock", "Status"):
            assert place.run("python3", "-c", RAW, "/run/user/2001/mltoken/agent.sock", call, user=user).ok().out == "b''\n", (user, call)
    for name in ("/run/user/2001", "/run/user/2001/mltoken"):
        os.chmod(place.path(name), 0o700)


RAW = """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(30)
s.connect(sys.argv[1])
try:
    s.sendall(b'{"method":"org.mltoken.agent.%s","parameters":{"profile":"company"}}\\0' % sys.argv[2].encode())
    print(s.recv(65536))
except (BrokenPipeError, ConnectionResetError):
    print(b"")
"""
