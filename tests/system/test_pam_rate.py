"""pam_mltoken.so: how often a sign-in may be begun."""

import fcntl
import os
import subprocess

from harness import wait_until
from pam_module import AUTH_ERR, CONV_ERR, GOOD, MAXTRIES, ROOT, SUCCESS, SYSTEM_ERR, Run, fail, prompt, say


def test_rate(guest):
    guest.config(map=guest.file("map"), rate="3/600")
    guest.login(say(prompt(), fail("denied")) + "exit 1\n")
    started = guest.file("told", "started")
    for _ in range(3):
        assert guest.auth("rhost=2001:db8:1:2::7").codes == [AUTH_ERR]
    guest.login(f"touch {started}\n" + GOOD)
    run = guest.auth("rhost=2001:db8:1:2:ffff::8")
    assert run.codes == [MAXTRIES] and run.prompts == [] and "too many" in run.log
    assert not os.path.exists(started), "no device code is asked for"
    for other in ("2001:db8:1:3::7", "192.0.2.1", "host.example"):
        assert guest.auth("rhost=" + other).codes == [SUCCESS], "nobody locks out others"


def test_rate_does_not_count_what_succeeds(guest):
    guest.config(map=guest.file("map"), rate="2/600")
    for _ in range(4):
        assert guest.auth("rhost=192.0.2.1").codes == [SUCCESS]


def test_rate_counts_attempts_that_run(guest):
    guest.config(map=guest.file("map"), rate="2/600")
    guest.login(say(prompt()) + f"echo x >> {guest.file('told', 'codes')}; exec sleep 1000\n")
    hosts = [subprocess.Popen(guest.command("rhost=192.0.2.1", "wait=" + guest.file("told", "go"), "conv=eof", "auth"),
                              stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) for _ in range(10)]
    try:
        wait_until(lambda: sum(host.poll() is not None for host in hosts) == 8)
        guest.write("told/go", "")
        texts = [host.communicate(timeout=60)[0] for host in hosts]
    finally:
        for host in hosts:
            host.kill()
    codes = sorted(Run(text, 0).codes[0] for text in texts)
    assert codes == [MAXTRIES] * 8 + [CONV_ERR] * 2
    assert guest.told("codes").count("x") == 2


def has_open(pid, path):
    try:
        return any(os.path.realpath(f"/proc/{pid}/fd/{fd}") == path for fd in os.listdir(f"/proc/{pid}/fd"))
    except FileNotFoundError:
        return False


def test_rate_of_attempts_at_one_moment(guest):
    """Whoever comes to the count last was not there first: all wait until we let go of it, and then in any order."""
    guest.config(map=guest.file("map"), rate="3/600")
    guest.login(say(prompt(), fail("denied")) + "exit 1\n")
    assert guest.auth("rhost=192.0.2.1").codes == [AUTH_ERR]
    count = os.path.realpath(guest.file("run", "rate", f"4-c0000201-{guest.uid}"))
    with open(count, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        hosts = [subprocess.Popen(guest.command("rhost=192.0.2.1", "auth"), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                  text=True) for _ in range(6)]
        wait_until(lambda: all(has_open(host.pid, count) for host in hosts))
    codes = sorted(Run(host.communicate(timeout=60)[0], 0).codes[0] for host in hosts)
    assert codes == [AUTH_ERR] * 2 + [MAXTRIES] * 4


def test_rate_is_for_a_source_as_well(guest):
    guest.config(map=guest.file("map"), rate="1/600")
    guest.login(say(prompt(), fail("denied")) + "exit 1\n")
    folder = guest.file("run", "rate")
    for _ in range(4):
        assert guest.auth("rhost=192.0.2.1").codes == [AUTH_ERR]
        os.remove(os.path.join(folder, f"4-c0000201-{guest.uid}"))  # as if for another user each time
    assert guest.auth("rhost=192.0.2.1").codes == [MAXTRIES]


def test_what_cannot_be_counted_is_refused(guest):
    guest.auth()
    if ROOT:
        os.chown(guest.file("run", "rate"), 12345, 12345)
    else:
        os.chmod(guest.file("run", "rate"), 0o755)
    run = guest.auth()
    assert run.codes == [SYSTEM_ERR] and "cannot be counted" in run.log
