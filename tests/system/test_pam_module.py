"""pam_mltoken.so in an application of ours: whom it is about, what it is told, the conversation, and its manners as a guest."""

import os
import subprocess
import time

import pytest
from harness import wait_until
from pam_module import (AUTH_ERR, CONV_ERR, GOOD, IGNORE, NOBODY, PERM_DENIED, PROMPT_ECHO_OFF, ROOT, SAN, SERVICE_ERR, SUCCESS,
                        USER_UNKNOWN, Guest, Run, done, fail, mode_of, prompt, say)

# of the helpers; what libc and the shell make of it
ENVIRONMENT = {"PATH=/usr/local/bin:/usr/bin:/bin", "PWD=/", "GLIBC_TUNABLES=glibc.malloc.perturb=165",
               "glibc.malloc.tcache_count=0"}  # the loader cuts the last at its colon


# ---- one that goes well ----

def test_signs_in(guest):
    run = guest.auth("rhost=192.0.2.7")
    assert run.codes == [SUCCESS]
    (style, text), = run.asked
    assert style == PROMPT_ECHO_OFF and len(text.encode()) < 512
    host = os.uname().nodename
    for part in (guest.user, host[:20], "guest", "192.0.2.7", "https://authority.example/device", "WDJB-MJHT",
                 "Never enter a code that someone sent you", "Enter"):
        assert part in text
    assert all(c == "\n" or " " <= c <= "~" for c in text)


def test_all_phases_leave_the_process_as_it_was(guest):
    run = guest.run("auth", "setcred", "account", "open", "setcred", "close")
    assert run.codes == [SUCCESS] * 6
    assert run.changed == []


def test_reads_the_helper_to_its_end_while_the_prompt_is_open(guest):
    guest.login(say(prompt()) + "sleep 1\n" + say(done()) + f"touch {guest.file('told', 'ended')}\n")
    run = guest.auth("wait=" + guest.file("told", "ended"))
    assert run.codes == [SUCCESS] and len(run.prompts) == 1


def test_asks_again_after_a_quiet_while(guest):
    guest.login(say(prompt()) + "sleep 21\n" + say("pending", done()))
    run = guest.auth()
    assert run.codes == [SUCCESS] and len(run.prompts) == 2
    assert run.prompts[1].startswith("Not signed in yet.") and "WDJB-MJHT" in run.prompts[1]


def test_what_the_helper_gets(guest):
    guest.config(map=guest.file("map"), profile="corp", verification_hosts="authority.example, other.example", max_wait=70)
    out = guest.file("told", "surroundings")
    # the shell by itself: while it starts others, it is not as it was started
    guest.login(f"""
        for fd in /proc/self/fd/*; do [ ! -e "$fd" ] || fds="$fds ${{fd##*/}}"; done
        while read -r row; do echo "$row"; done < /proc/self/status > {out}-status
        while read -r row; do echo "$row"; done < /proc/self/limits > {out}-limits
        echo "$*" > {out}-arguments; echo "$fds" > {out}-fds; pwd -P > {out}-folder
        cat /proc/$$/environ > {out}-environment
        """ + GOOD)
    kept = os.open("/dev/null", os.O_RDONLY)  # that the host itself was given
    try:
        run = guest.auth(env={"HTTPS_PROXY": "http://evil", "SSLKEYLOGFILE": "/tmp/keys", "LD_LIBRARY_PATH": "/tmp",
                              "MLTOKEN_CONFIG": "/tmp/x", "TZ": ":/etc/shadow"}, pass_fds=[kept])
    finally:
        os.close(kept)
    assert run.codes == [SUCCESS]
    assert guest.told("surroundings-arguments").split() == [
        "--config", guest.file("pam.conf"), "--max-wait", "70", "--profile", "corp", "--verification-host",
        "authority.example", "--verification-host", "other.example"]
    assert set(guest.told("surroundings-environment").strip("\0").split("\0")) <= ENVIRONMENT
    status = dict(row.split(":", 1) for row in guest.told("surroundings-status").splitlines())
    assert status["Uid"].split() == [str(guest.uid)] * 4
    assert status["Groups"].split() == [] if ROOT else True
    own = 3 << 31  # 32 and 33 are the C library's: nobody can set them, and some test runners ignore them
    assert status["NoNewPrivs"].split() == ["1"] and int(status["SigIgn"], 16) & ~own == 0 and int(status["SigBlk"], 16) == 0
    assert status["Umask"].split() == ["0077"] and int(status["CapEff"], 16) == 0
    core, = [row for row in guest.told("surroundings-limits").splitlines() if row.startswith("Max core")]
    assert core.split()[4:6] == ["0", "0"]
    assert guest.told("surroundings-folder") == "/\n"
    assert set(guest.told("surroundings-fds").split()) <= {"0", "1", "2", "10"}  # 10: its own script


@pytest.mark.skipif(not ROOT, reason="makes a file setuid root")
def test_the_environment_of_an_unprivileged_caller_has_no_effect():
    guest = Guest(False)
    try:
        out = guest.file("told", "environment")
        guest.login(f"cat /proc/self/environ > {out}\n" + GOOD)
        guest.importer(f"cat /proc/self/environ > {out}-import; cat > /dev/null\n" + say("ok"))
        os.chmod(guest.file("pam_guest"), 0o4755)
        traps = {name: guest.file("told", f"trap-{name}") for name in
                 ("SSLKEYLOGFILE", "SSL_CERT_FILE", "OPENSSL_CONF", "CURL_HOME", "LD_DEBUG_OUTPUT", "HOME",
                  "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "DBUS_SESSION_BUS_ADDRESS", "MLTOKEN_SOCK", "MLTOKEN_CONFIG",
                  "TZ", "LC_ALL", "LOCPATH", "https_proxy", "ALL_PROXY", "LD_PRELOAD", "MALLOC_TRACE", "TMPDIR")}
        command = ["setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", guest.file("pam_guest"),
                   guest.file("services"), "guest", guest.user, "auth", "account", "open", "close"]
        result = subprocess.run(command, capture_output=True, text=True, env=traps, timeout=60, check=False)
        run = Run(result.stdout, result.returncode)
        assert run.codes == [SUCCESS] * 4, result.stdout + result.stderr
        assert run.changed == []
        assert sorted(os.listdir(guest.file("told"))) == ["environment", "environment-import"]
        for name in ("environment", "environment-import"):
            assert set(guest.told(name).strip("\0").split("\0")) <= ENVIRONMENT
    finally:
        guest.remove()


# ---- whom it is about ----

def test_root_is_not_its_business_whatever_is_broken(guest):
    guest.service("nonsense", config="/nonexistent", libexec="/nonexistent", min_uid="many")
    for words in (["auth"], ["auth", "silent=yes"], ["conv=none", "auth"]):
        assert guest.run(*words, user="root").codes == [IGNORE]
    assert guest.run("auth", "account", "setcred", user="root").codes == [IGNORE] * 3
    assert guest.run("open", "close", user="root").codes == [SUCCESS] * 2


def test_users_below_min_uid_are_not_its_business(guest):
    guest.service(min_uid=str(guest.uid + 1), config="/nonexistent")
    assert guest.auth().codes == [IGNORE]
    guest.service(min_uid=None)
    guest.config(map=guest.file("map"), min_uid=max(1000, guest.uid + 1))
    assert guest.auth().codes == [IGNORE] and guest.auth(user="daemon").codes == [IGNORE]
    guest.service(min_uid=str(guest.uid))
    assert guest.auth().codes == [SUCCESS], "an argument wins"


def test_a_user_that_there_is_not(guest):
    for name in ("no-such-user", "x" * 300, "%n%n", ".."):
        assert guest.auth(user=name).codes == [USER_UNKNOWN]


@pytest.mark.parametrize("argument", ["nonsense", "nonsense=1", "debug", "debug=", "debug=1", "min_uid=0", "min_uid=-1", "min_uid=1x", "max_wait=0",
                                      "max_wait=100000", "fallback=yes", "config=relative", "mutable_claim=yes", "user_claim=a/b", "user_claim=-a", "user_claim=Email", "user_claim=UPN", "map=x", "rate=5",
                                      "rate=0/10", "rate=99/10", "rate=5/0", "rate=no/5", "export=p:LD_PRELOAD", "export=p:PATH", "export=:X_TOKEN",
                                      "export=p", "qr=maybe", "profile=", "require_group=,", "handoff_fallback=maybe", "config=/etc/passwd", "map",
                                      "profile=\x1b[2J", "user_claim=unix_name", "strip_domain=example.org", "cached=yes"])
def test_an_argument_that_is_not_understood(guest, argument):
    guest.arguments = {key: value for key, value in guest.arguments.items() if key != argument.split("=")[0]}
    guest.service(argument)
    run = guest.auth()
    assert run.codes == [SERVICE_ERR] and run.log and "\x1b" not in run.log
    assert run.asked == []


@pytest.mark.parametrize("text", ["nonsense = 1\n", "map = /x\n", "[other]\n", "no equals sign\n", "libexec = /x\n", "debug = maybe\n", "\x01\n",
                                  "[pam\n", "[profile x]\n\xff\n", "debug=yes\ndebug=yes\n", "[profile x]\n[pam]\nmap=/y\n"])
def test_a_file_that_is_not_understood(guest, text):
    guest.config(text, map=guest.file("map"))
    run = guest.auth()
    assert run.codes == [SERVICE_ERR] and "line" in run.log


def test_a_key_twice_as_an_argument(guest):
    guest.service("debug=yes", "debug=yes")
    assert guest.auth().codes == [SERVICE_ERR]


def test_wrong_values_in_the_file_are_errors_also_where_an_argument_wins(guest):
    guest.config("max_wait = long\n", map=guest.file("map"))
    guest.service(max_wait="50")
    assert guest.auth().codes == [SERVICE_ERR]


def test_profiles_in_the_file_are_left_to_the_helper(guest):
    guest.config("[profile x]\nauthority = https://a.example\nanything = here\n", map=guest.file("map"))
    assert guest.auth().codes == [SUCCESS]


def test_it_needs_a_map_or_a_claim(guest):
    guest.config()
    assert guest.auth().codes == [SERVICE_ERR]
    guest.config(map=guest.file("map"), user_claim="unix_name")
    assert guest.auth().codes == [SERVICE_ERR]


@pytest.mark.skipif(not ROOT, reason="only root becomes another user")
@pytest.mark.parametrize("name", ["no-such-user", "root"])
def test_never_runs_the_helper_as_root(name):
    guest = Guest(False)
    try:
        guest.login(f"touch {guest.file('told', 'started')}\n" + GOOD)
        guest.service(helper_user=name)
        run = guest.auth()
        assert run.codes == [SERVICE_ERR] and "never run as root" in run.log
        assert not os.path.exists(guest.file("told", "started"))
    finally:
        guest.remove()


# ---- the conversation ----

@pytest.mark.parametrize("words", [["conv=none"], ["silent=yes"], ["silent=yes", "tty=ssh"], ["conv=none", "silent=yes", "tty=/dev/pts/9"]])
def test_an_application_that_cannot_ask(guest, words):
    guest.login(f"touch {guest.file('told', 'started')}\nexec sleep 1000\n")
    assert guest.auth(*words).codes == [CONV_ERR]
    assert not os.path.exists(guest.file("told", "started"))


def test_an_application_that_wants_silence_at_a_terminal(guest):
    """As sudo does: the prompt alone is shown. Its session is another user's, so that no tokens are kept for it."""
    guest.service(name="sudo")
    run = guest.auth("silent=yes", "tty=/dev/pts/9", service="sudo")
    assert run.codes == [SUCCESS] and len(run.prompts) == 1 and run.told == []
    assert "MLTOKEN_HANDOFF" not in run.pamenv and guest.records() == []
    guest.login(say(prompt(), fail("denied")))
    run = guest.auth("silent=yes", "tty=/dev/pts/9", service="sudo")
    assert run.codes == [AUTH_ERR] and run.told == []


@pytest.mark.parametrize("how", ["error", "eof"])
def test_a_person_who_is_gone(guest, how):
    guest.login(f"echo $$ > {guest.file('told', 'pid')}\n" + say(prompt()) + "exec sleep 1000\n")
    begun = time.monotonic()
    run = guest.auth("conv=" + how)
    assert run.codes == [CONV_ERR] and len(run.prompts) == 1
    assert time.monotonic() - begun < 15
    assert not os.path.exists(f"/proc/{guest.told('pid').strip()}")


def test_the_helper_goes_with_an_application_that_is_killed(guest):
    guest.login(f"echo $$ > {guest.file('told', 'pid')}\n" + say(prompt()) + "exec sleep 1000\n")
    with subprocess.Popen(guest.command("wait=/nonexistent/file", "auth"), stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as host:
        def helper():
            path = guest.file("told", "pid")
            return os.path.exists(path) and guest.told("pid").strip()
        pid = wait_until(helper)
        assert os.path.exists(f"/proc/{pid}")
        host.kill()
        host.wait()
        wait_until(lambda: not os.path.exists(f"/proc/{pid}"))


def test_a_qr_code_where_a_terminal_can_show_it(guest):
    side = 21
    rows = "\n".join("".join("01"[(x * y) % 3 == 0] for x in range(side)) for y in range(side))
    guest.login(f'case "$*" in *--qr*) touch {guest.file("told", "qr")};; esac\n' + say(prompt(qr=rows), done()))
    guest.service(name="login")
    assert guest.auth().told == [] and not os.path.exists(guest.file("told", "qr")), "not everywhere"
    run = guest.auth(service="login")
    assert len(run.told) == 13 and all(len(text) == side + 4 for text in run.told) and os.path.exists(guest.file("told", "qr"))
    assert set("".join(run.told)) <= set(" \u2580\u2584\u2588")
    assert guest.auth("rhost=192.0.2.1", service="login").told == [], "over a network: not by itself"
    guest.service(qr="no", name="login")
    assert guest.auth(service="login").told == []
    guest.service(qr="yes")
    assert len(guest.auth().told) == 13
    for bad in (rows[:-1], rows.replace("0", "x", 1), rows + "\n0", "1\n1"):
        guest.login(say(prompt(qr=bad), done()))
        run = guest.auth()
        assert run.codes == [SUCCESS] and run.told == []


# ---- a guest ----

@pytest.mark.parametrize("how", ["default", "ignore", "handler", "reap", "nocldwait"])
def test_whatever_the_host_does_with_its_children(guest, how):
    run = guest.run(f"sigchld={how}", "auth", "setcred", "account", "open", "close")
    assert run.codes == [SUCCESS] * 5, run.text
    assert run.changed == []
    guest.login(say(prompt(), done(sub="bob")))
    assert guest.auth(f"sigchld={how}").codes == [AUTH_ERR]


@pytest.mark.parametrize("closed", ["0", "1", "2", "012"])
def test_in_a_host_without_standard_descriptors(guest, closed):
    run = guest.run(f"close={closed}", "auth", "account", "open", "close")
    assert run.codes == [SUCCESS] * 4 and run.changed == []


@pytest.mark.parametrize("mask", [0o000, 0o777, 0o027])
def test_whatever_the_hosts_umask_is(guest, mask):
    if mask == 0o777 and guest.ordinary:
        mask = 0o077
    run = guest.run("auth", umask=mask)
    assert run.codes == [SUCCESS] and run.changed == []
    record, = guest.records()
    assert mode_of(guest.file("run", "handoff", record)) & ~0o600 == 0
    assert mode_of(guest.file("run", "handoff")) == 0o700 and mode_of(guest.file("run", "rate")) == 0o700


# ---- account ----

def test_account_is_for_the_user_who_signed_in(guest):
    assert guest.run("account").codes == [IGNORE]
    assert guest.run("auth", "account").codes == [SUCCESS] * 2
    other = "daemon"
    guest.service(min_uid="1")
    assert guest.run("auth", f"user={other}", "account").codes == [SUCCESS, PERM_DENIED]
    assert guest.run("auth", "user=root", "account").codes == [SUCCESS, PERM_DENIED]
    guest.login(say(prompt(), done(sub="bob")))
    assert guest.run("auth", "account").codes == [AUTH_ERR, IGNORE]


def test_a_failed_attempt_forgets_the_one_before(guest):
    guest.login(f"if [ -e {guest.file('told', 'second')} ]; then " + say(prompt(), done(sub="bob")) +
                f"else touch {guest.file('told', 'second')}; " + GOOD + "fi\n")
    assert guest.run("auth", "auth", "account").codes == [SUCCESS, AUTH_ERR, IGNORE]


# ---- by others' tools ----

def test_pamtester_as_an_ordinary_user():
    """With libpam_wrapper, as anybody can."""
    guest = Guest(True)
    try:
        words = " ".join(f"{key}={value}" for key, value in guest.arguments.items())
        guest.write("services/guest", "".join(f"{kind} required {guest.file('pam_mltoken.so')} {words}\n" for kind in ("auth", "account", "session")))
        env = {"PATH": os.environ["PATH"], "LD_PRELOAD": "libpam_wrapper.so", "PAM_WRAPPER": "1", "PAM_WRAPPER_SERVICE_DIR": guest.file("services")}
        prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if ROOT else []
        if SAN:
            asan = subprocess.run(["gcc", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True).stdout.strip()
            env.update(LD_PRELOAD=f"{asan} libpam_wrapper.so", ASAN_OPTIONS="detect_leaks=0")
        def tester(*operations):
            return subprocess.run([*prefix, "env", *(f"{name}={value}" for name, value in env.items()), "pamtester", "guest", guest.user, *operations],
                                  input="\n", capture_output=True, text=True, timeout=60, check=False)
        result = tester("authenticate", "acct_mgmt", "setcred", "open_session", "close_session")
        assert result.returncode == 0, result.stdout + result.stderr
        assert "WDJB-MJHT" in result.stdout + result.stderr
        guest.login(say(prompt(), done(sub="bob")))
        result = tester("authenticate")
        assert result.returncode != 0 and "Authentication failure" in result.stdout + result.stderr
    finally:
        guest.remove()
