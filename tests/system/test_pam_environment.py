"""A setuid program with PAM that anybody can start: nothing of the caller's environment has an effect, and no file or
connection is made that the caller wished for."""

import os
import re
import socket
import stat

import pytest
from harness import wait_until
from pam import configure, put_in_stack, spool_is_sound

SETUID = "/usr/local/bin/setuid-pamtester"
TRAPS = 3


@pytest.fixture(autouse=True)
def setuid_program(place, company):
    configure(place)
    put_in_stack(place, "sshd")
    if not place.exists(SETUID):
        place.run("cp", "/usr/bin/pamtester", SETUID).ok()
    os.chmod(place.path(SETUID), 0o4755)
    status = os.stat(place.path(SETUID))
    assert status.st_uid == 0 and status.st_mode & stat.S_ISUID


@pytest.fixture
def traps(place):
    """Ports that nobody should come to: a proxy, a debugger's, anything."""
    made = [place.listen("127.0.0.1", 0, 16) for _ in range(TRAPS)]
    for trap in made:
        trap.settimeout(0.2)
    return made


def came(traps):
    found = []
    for trap in traps:
        try:
            found.append(trap.accept()[0].recv(200))
        except (socket.timeout, TimeoutError, BlockingIOError):
            pass
    return found


def hostile(traps):
    proxy = "http://127.0.0.1:%d" % traps[0].getsockname()[1]
    home = "/home/mlt-bob"
    return {
        "SSLKEYLOGFILE": f"{home}/out/keys", "https_proxy": proxy, "HTTPS_PROXY": proxy, "http_proxy": proxy, "HTTP_PROXY": proxy, "all_proxy": proxy,
        "ALL_PROXY": proxy, "no_proxy": "", "CURL_HOME": home, "CURL_CA_BUNDLE": f"{home}/evil.pem", "SSL_CERT_FILE": f"{home}/evil.pem",
        "SSL_CERT_DIR": home, "OPENSSL_CONF": f"{home}/evil.cnf", "OPENSSL_MODULES": home, "OPENSSL_ENGINES": home, "LD_PRELOAD": f"{home}/evil.so",
        "LD_LIBRARY_PATH": home, "LD_AUDIT": f"{home}/evil.so", "LD_DEBUG": "all", "LD_DEBUG_OUTPUT": f"{home}/out/ld", "GCONV_PATH": home,
        "LOCPATH": home, "NLSPATH": f"{home}/%N", "HOSTALIASES": f"{home}/hosts", "RES_OPTIONS": "debug", "LOCALDOMAIN": "evil.example",
        "MALLOC_CONF": "prof:true", "MALLOC_TRACE": f"{home}/out/trace", "GLIBC_TUNABLES": "glibc.malloc.check=3", "TMPDIR": f"{home}/out",
        "HOME": home, "XDG_RUNTIME_DIR": f"{home}/out", "XDG_CONFIG_HOME": f"{home}/.config", "XDG_STATE_HOME": f"{home}/out",
        "DBUS_SESSION_BUS_ADDRESS": "tcp:host=127.0.0.1,port=%d" % traps[1].getsockname()[1], "DBUS_SYSTEM_BUS_ADDRESS": "unix:path=/home/mlt-bob/out/bus",
        "MLTOKEN_SOCK": f"{home}/out/agent.sock", "MLTOKEN_CONFIG": f"{home}/.config/mltoken/config", "MLTOKEN_DEBUG": "1", "MLTOKEN_HANDOFF": "0" * 32,
        "TZ": f":{home}/zone", "LC_ALL": "xx_YY.UTF-8", "LANG": "xx_YY", "LANGUAGE": "../../..", "PATH": f"{home}/bin", "BASH_ENV": f"{home}/bin/sh",
        "ENV": f"{home}/bin/sh", "IFS": "/", "SHELLOPTS": "xtrace", "PERL5OPT": "-d", "PYTHONSTARTUP": f"{home}/x.py", "LISTEN_FDS": "1", "LISTEN_PID": "1",
        "NOTIFY_SOCKET": f"{home}/out/notify", "JOURNAL_STREAM": "1:1", "SSH_AUTH_INFO_0": "publickey ssh-ed25519 AAAA", "TERMINFO": home,
    }


def lay_out(place):
    """Everything that the environment points at is there, and would be seen at work."""
    def put(name, text, mode=0o644):
        place.write("/home/mlt-bob/" + name, text, mode=mode, owner=2002)
        return name

    for folder in ("out", "bin", ".config", ".config/mltoken"):
        os.mkdir(place.path(f"/home/mlt-bob/{folder}"), 0o777)
        os.chown(place.path(f"/home/mlt-bob/{folder}"), 2002, 2002)
        os.chmod(place.path(f"/home/mlt-bob/{folder}"), 0o777)
    for name in ("bin/sh", "bin/mltoken-pam-login", "bin/curl", "bin/getent"):
        put(name, "#!/bin/dash\necho ran > /home/mlt-bob/out/ran\n", 0o755)
    put(".curlrc", "insecure\ndump-header = /home/mlt-bob/out/curl\n")
    put("evil.cnf", "openssl_conf = x\n[x]\nengines = y\n[y]\nz = w\n[w]\ndynamic_path = /home/mlt-bob/evil.so\ninit = 1\n")
    put("evil.pem", "no certificate\n")
    put("evil.so", "no object\n", 0o755)
    put("hosts", "localhost elsewhere.example\n")
    put(".config/mltoken/config", "[agent]\nnothing = 1\n", 0o600)


@pytest.mark.parametrize("debug", ["no", "yes"])
def test_a_sign_in_in_a_hostile_environment(place, company, people, traps, debug):
    configure(place, debug=debug)
    put_in_stack(place, "sshd")
    lay_out(place)
    alice = people.pamtester("sshd", "mlt-alice", "authenticate", "acct_mgmt", caller="mlt-bob", program=SETUID, env=hostile(traps))
    alice.prompt()
    helper, = wait_until(lambda: place.processes("mltoken-pam-login"))
    with open(f"/proc/{helper}/environ", "rb") as f:
        environ = f.read()
    for word in (b"mlt-bob", b"proxy", b"SSL", b"xx_YY", b"evil", b"HANDOFF", b"GLIBC_TUNABLES=glibc.malloc.check"):
        assert word not in environ, environ
    with open(f"/proc/{helper}/status", encoding="ascii") as f:
        status = f.read()
    uid = re.search(r"^_mltoken:[^:]*:(\d+)", place.read("/etc/passwd"), re.M)[1]
    assert re.search(rf"^Uid:\t{uid}\t{uid}\t{uid}\t{uid}$", status, re.M) and re.search(r"^NoNewPrivs:\t1$", status, re.M)
    assert re.search(r"^CapEff:\t0+$", status, re.M) and re.search(r"^CapBnd:\t\w+$", status, re.M)
    assert re.search(r"^Groups:\t\s*(%s)?\s*$" % place.helper_gid(), status, re.M), "no groups of the caller's or of root's"
    assert os.readlink(f"/proc/{helper}/cwd") == "/"
    kinds = sorted(os.readlink(f"/proc/{helper}/fd/{fd}").split(":")[0] for fd in os.listdir(f"/proc/{helper}/fd") if int(fd) <= 2)
    assert kinds == ["pipe", "pipe", "pipe"], kinds
    company.decide(0)
    alice.enter()
    rest = alice.ended()
    assert alice.child.exitstatus == 0 and "successfully authenticated" in rest, alice.shown
    assert place.listdir("/home/mlt-bob/out") == [] and came(traps) == []
    assert len(spool_is_sound(place)) == 1
    assert all(r.headers.get("x-proxied") is None for r in company.authority.requests())


def test_the_caller_cannot_stop_trace_or_starve_it(place, company, people):
    """bob started it; the helper is another user's, and cannot be looked into."""
    alice = people.pamtester("sshd", "mlt-alice", "authenticate", caller="mlt-bob", program=SETUID)
    alice.prompt()
    inside = place.run("pgrep", "-f", "mltoken-pam-login").ok().out.split()[0]
    assert place.run("kill", "-STOP", inside, user="mlt-bob").code != 0
    for name in ("environ", "mem", "maps"):
        assert place.run("cat", f"/proc/{inside}/{name}", user="mlt-bob").code != 0, name
        assert place.run("cat", f"/proc/{inside}/{name}", user=990).code != 0, "nor by its own user"
    company.decide(0)
    alice.enter()
    alice.ended()
    assert alice.child.exitstatus == 0


@pytest.mark.parametrize("limits", ["-n 16", "-u 1", "-f 0", "-t 1", "-v 30000", "-s 64"])
def test_limits_of_the_caller_refuse_at_worst(place, company, people, limits):
    """They are inherited: then nobody is let in, or the sign-in goes well; never anything between."""
    configure(place, max_wait=8)
    put_in_stack(place, "sshd")
    alice = people._at("sh", "-c", f"ulimit {limits} 2>/dev/null; exec {SETUID} sshd mlt-alice authenticate acct_mgmt", user="mlt-bob")
    import pexpect
    from pam import ENTER
    if alice.child.expect([ENTER, pexpect.EOF], 40) == 0:
        company.decide(0)
        alice.enter()
        alice.child.expect(pexpect.EOF, 60)
    said = alice.child.before
    alice.child.close()
    approved = any(code.state == "used" for code in company.codes())
    assert (alice.child.exitstatus == 0) <= approved, said
    wait_until(lambda: not place.processes("mltoken-pam-login"))
